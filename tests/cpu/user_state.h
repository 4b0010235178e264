/*
 * What a user program sees of its processor, and the address space that both sides of the oracle
 * (tests/cpu/oracle.c) give it: one read-only code page and some data pages with nothing around
 * them, all within 64 KiB so that a 16-bit segment reaches them.
 */
#ifndef DOPPEL_TESTS_CPU_USER_STATE_H
#define DOPPEL_TESTS_CPU_USER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#define USER_BASE      0x10000000u /* base of 16-bit segments */
#define USER_CODE      (USER_BASE + 0x1000u)
#define USER_DATA      (USER_BASE + 0x8000u)
#define USER_DATA_SIZE 0x2000u
#define USER_PAGE      4096u

#define VECTOR_END     (-1) /* the code ran to its end */

/* Offsets in an FXSAVE image. */
enum { FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_MXCSR = 24, FX_ST = 32, FX_XMM = 160 };

struct user_state {
    uint64_t gpr[16];
    uint64_t rip; /* offset in the code segment */
    uint64_t eflags;
    int vector; /* exception that ended the run, or VECTOR_END */
    uint64_t error;
    uint64_t cr2; /* of a page fault */
    _Alignas(16) uint8_t fx[512];
};

#endif
