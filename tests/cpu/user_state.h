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

/* On the host, code ends by a jump to these; for doppel that jump faults, which is as good an end.
 */
#define USER_EXIT          0x2a5b8000u /* exit code, of 16-bit and 32-bit programs by far jump */
#define USER_EXIT_POINTER  0x2a5b6098u /* where 64-bit programs find its address */
#define USER_EXIT_SELECTOR 0x33

/* Fills the code page: the code, the jump to the exit, INT3s. */
static inline void user_place_code(uint8_t page[USER_PAGE], int bits, const uint8_t *code,
                                   size_t length)
{
    const uint32_t target = bits == 64 ? USER_EXIT_POINTER : USER_EXIT;
    uint8_t *next = page + length;
    memset(page, 0xcc, USER_PAGE);
    memcpy(page, code, length);
    if (bits == 64) {
        memcpy(next, "\xff\x24\x25", 3); /* jmp [target] */
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
