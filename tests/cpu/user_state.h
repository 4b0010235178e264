/*
 * What a user program sees of its processor, and the address space that both sides of the oracle
 * (tests/cpu/oracle.c) give it: one read-only code page and some data pages with nothing around
 * them, all within 64 KiB so that a 16-bit segment reaches them.
 */
#ifndef DOPPEL_TESTS_CPU_USER_STATE_H
#define DOPPEL_TESTS_CPU_USER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define USER_BASE      0x10000000u /* base of 16-bit segments */
#define USER_CODE      (USER_BASE + 0x1000u)
#define USER_DATA      (USER_BASE + 0x8000u)
#define USER_DATA_SIZE 0x2000u
#define USER_PAGE      4096u

#define VECTOR_END     (-1) /* the code ran to its end */
#define VECTOR_ENDLESS (-2) /* it was stopped */

/* Offsets in the image of x87, SSE and AVX state: XSAVE's standard form. */
enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160,
    FX_COMPONENTS = 512, /* XSTATE_BV */
    FX_YMM = 576,        /* upper halves */
    FX_SIZE = 832,
};

struct user_state {
    uint64_t gpr[16];
    uint64_t rip; /* offset in the code segment */
    uint64_t eflags;
    uint64_t fs_base, gs_base; /* set in 64-bit code only; others follow from the selectors */
    uint16_t selector[6];      /* by enum segment_register; CS and SS are given by the code size */
    int vector;                /* exception that ended the run, or VECTOR_END */
    uint64_t error;
    uint64_t cr2; /* of a page fault */
    _Alignas(64) uint8_t fx[FX_SIZE];
};

/* -- Descriptors: Linux's global ones, and a local table that both sides set up -- */

#define USER_SELECTOR_CODE64 0x33
#define USER_SELECTOR_CODE32 0x23
#define USER_SELECTOR_DATA   0x2b
#define USER_SELECTOR_CPU    0x7b /* Linux: the number of the processor as its limit */
#define USER_LOCAL(index)    ((index) << 3 | 7)
#define USER_SELECTOR_CODE16 USER_LOCAL(1)
#define USER_SELECTOR_DATA16 USER_LOCAL(2)

/* The local descriptor table's entries from 1 on: privilege level 3. */
static const struct user_segment {
    uint32_t base, limit;
    uint8_t contents; /* 0 data, 1 expand-down data, 2 code, 3 conforming code */
    bool big;         /* D or B */
    bool read_exec_only, pages, not_present;
} user_segments[] = {
    {USER_BASE, 0xffff, 2, false, false, false, false},
    {USER_BASE, 0xffff, 0, false, false, false, false},
    {USER_BASE, 0x8fff, 0, true, false, false, false},  /* ends in the middle of the data */
    {USER_BASE, 0x8fff, 1, true, false, false, false},  /* begins there */
    {USER_BASE, 0x87ff, 1, false, false, false, false}, /* ... and ends at 64 KiB */
    {USER_BASE, 0xffff, 0, true, true, false, false},   /* read only */
    {USER_BASE, 0xffff, 2, true, true, false, false},   /* execute only */
    {0, 0xfffff, 2, true, false, true, false},          /* flat, readable code */
    {0, 0xfffff, 3, true, false, true, true},           /* conforming; Linux wants it not present */
    {0, 0xfffff, 0, true, false, true, true},           /* not present */
    {USER_BASE + 0x800, 0xffff, 0, true, false, true, false},
};
#define USER_SEGMENTS (sizeof user_segments / sizeof *user_segments)

/* On the host, code ends by a far jump to these; for doppel that faults, which is as good an end.
 */
#define USER_EXIT          0x2a5b8000u /* exit code, of 16-bit and 32-bit programs by far jump */
#define USER_EXIT_POINTER  0x2a5b6098u /* where 64-bit programs find its address */
#define USER_EXIT_SELECTOR USER_SELECTOR_CODE64

/* Fills the code page: the code, the jump to the exit, INT3s. */
static inline void user_place_code(uint8_t page[USER_PAGE], int bits, const uint8_t *code,
                                   size_t length)
{
    const uint32_t target = bits == 64 ? USER_EXIT_POINTER : USER_EXIT;
    uint8_t *next = page + length;
    memset(page, 0xcc, USER_PAGE);
    memcpy(page, code, length);
    if (bits == 64) {
        memcpy(next, "\xff\x2c\x25", 3); /* jmp far [target], in 32-bit code too */
        memcpy(next + 3, &target, 4);
        return;
    }
    if (bits == 16)
        *next++ = 0x66;
    *next = 0xea; /* jmp selector:target */
    memcpy(next + 1, &target, 4);
    next[5] = USER_EXIT_SELECTOR;
    next[6] = 0;
}

#endif
