/*
 * Micro benchmarks: a bare-metal guest that starts from a disk's boot sector and measures single
 * mechanisms in time stamp counter cycles. The part that needs no privileges is also built as a
 * host program (native.c).
 */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096

/* Does `count` turns of what is measured. */
typedef void micro_fn(uint64_t count);

struct micro_test {
    const char *name;
    micro_fn *turn;
    unsigned operations; /* in one turn */
};

/* Tests without privileges, ended by a row without a name. */
extern const struct micro_test micro_user_tests[];

/* What user.c gets from its surroundings: 64 KiB of data in 4 KiB pages, and a page that can be
 * both written and executed. */
extern uint8_t *micro_data, *micro_code;
#define MICRO_DATA_SIZE 65536

static inline uint64_t read_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

/* Hundredths of a cycle per operation, the best of several runs of about `cycles` each. */
uint64_t micro_measure(const struct micro_test *test, uint64_t cycles);

/* Writes `value` in decimal to the end of text (at least 21 characters); returns its start. */
char *micro_decimal(char text[24], uint64_t value);

#endif
