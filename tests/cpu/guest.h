/*
 * Runs user code on a doppel processor: a tiny supervisor in the guest's memory gives it the same
 * address space as native.c does, in 64-bit mode or in compatibility mode at CPL 3.
 */
#ifndef DOPPEL_TESTS_CPU_GUEST_H
#define DOPPEL_TESTS_CPU_GUEST_H

#include "cpu/accel.h"
#include "tests/cpu/user_state.h"

struct guest {
    uint8_t *data; /* USER_DATA_SIZE bytes, seen by the code at USER_DATA */
    struct cpu *cpu;
};

/* Exits with a message on failure. */
struct guest *guest_new(const struct accel *accel);
void guest_free(struct guest *guest);
/* As native_run(). */
void guest_run(struct guest *guest, int bits, const uint8_t *code, size_t length,
               struct user_state *state);

#endif
