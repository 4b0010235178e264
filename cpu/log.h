/*
 * Diagnostics about the guest: one line each on stderr (or the --log file), rate limited, never fatal.
 *
 * LOG_GUEST is for guest behaviour that hardware would tolerate and we do not model (reserved
 * registers, malformed rings). A call site prints at most LOG_ONCE_LIMIT times. Any thread may log.
 */
#ifndef DOPPEL_CPU_LOG_H
#define DOPPEL_CPU_LOG_H

#include <stdatomic.h>
#include <stdio.h>

enum log_item {
    LOG_GUEST = 1 << 0, /* guest does something unknown or wrong (on by default) */
    LOG_IN = 1 << 1,    /* guest instructions when translated */
    LOG_IR = 1 << 2,    /* intermediate representation */
    LOG_OUT = 1 << 3,   /* host code */
    LOG_EXEC = 1 << 4,  /* each interpreted instruction or block entered */
    LOG_INT = 1 << 5,   /* exceptions and interrupts delivered */
    LOG_IO = 1 << 6,    /* port and MMIO accesses */
    LOG_MSR = 1 << 7,   /* refused MSR accesses: systems probe for MSRs by trying */
};

extern unsigned log_items; /* set once before the machine starts (--log) */
extern FILE *log_file;     /* stderr unless --log ITEMS:FILE */

__attribute__((format(printf, 1, 2))) void log_line(const char *format, ...);

#define LOG_ONCE_LIMIT 3

/* Logs wrong or unknown guest behaviour, at most LOG_ONCE_LIMIT times per call site. */
#define log_guest(...)                                                                             \
    do {                                                                                           \
        static _Atomic unsigned log_count_;                                                        \
        if ((log_items & LOG_GUEST) &&                                                             \
            atomic_fetch_add_explicit(&log_count_, 1, memory_order_relaxed) < LOG_ONCE_LIMIT)      \
            log_line(__VA_ARGS__);                                                                 \
    } while (0)

#define log_if(item, ...)                                                                          \
    do {                                                                                           \
        if (__builtin_expect((log_items & (item)) != 0, 0))                                        \
            log_line(__VA_ARGS__);                                                                 \
    } while (0)

#endif
