/*
 * Runs user code on the host processor itself.
 */
#ifndef DOPPEL_TESTS_CPU_NATIVE_H
#define DOPPEL_TESTS_CPU_NATIVE_H

#include "tests/cpu/user_state.h"

#include <stddef.h>

struct native {
    uint8_t *data; /* USER_DATA_SIZE bytes, seen by the code at USER_DATA */
    bool has_avx;  /* the upper halves of the vector registers count */
};

/* NULL with a reason in *why if the host cannot do it. One at a time in a process: it owns signal
 * handlers. */
struct native *native_new(const char **why);
void native_free(struct native *native);
/* Another thread ends a program that runs too long: VECTOR_ENDLESS. Nothing happens between runs.
 */
void native_stop(struct native *native);
/* Can the host run code of this size? */
bool native_supports(const struct native *native, int bits);
/* Runs `length` bytes of code from `state` on and changes *state to what it left. */
void native_run(struct native *native, int bits, const uint8_t *code, size_t length,
                struct user_state *state);

#endif
