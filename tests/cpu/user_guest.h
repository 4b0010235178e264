/*
 * Runs user code on a doppel processor: a tiny supervisor in the guest's memory gives it the same
 * address space as native.c does, in 64-bit mode or in compatibility mode at CPL 3.
 */
#ifndef DOPPEL_TESTS_CPU_USER_GUEST_H
#define DOPPEL_TESTS_CPU_USER_GUEST_H

#include "cpu/accel.h"
#include "tests/cpu/user_state.h"

struct user_guest {
    uint8_t *data; /* USER_DATA_SIZE bytes, seen by the code at USER_DATA */
    struct cpu *cpu;
    bool has_avx; /* the upper halves of the vector registers count */
};

/* The limit of the host's segment USER_SELECTOR_CPU. Exits with a message on failure. */
struct user_guest *user_guest_new(const struct accel *accel, uint32_t cpu_number_limit);
void user_guest_free(struct user_guest *guest);
/* As native_run(). cpu_post(EVENT_STOP) from another thread ends a program that runs too long; one
 * from before it began does not. */
void user_guest_run(struct user_guest *guest, int bits, const uint8_t *code, size_t length,
                    struct user_state *state);

#endif
