/*
 * A machine for translator tests: one CPU, RAM from address 0, nothing else. Programs are placed at
 * GUEST_CODE and end by HLT; every exception leads to a HLT of its own, with the frame left on the
 * stack.
 */
#ifndef DOPPEL_TESTS_TRANSLATOR_GUEST_H
#define DOPPEL_TESTS_TRANSLATOR_GUEST_H

#include "cpu/cpu.h"

#include <stdint.h>

#define GUEST_RAM      (8u << 20)
#define GUEST_TABLES   0x1000u /* page tables */
#define GUEST_GDT      0x8000u
#define GUEST_IDT      0x9000u
#define GUEST_HANDLERS 0xa000u
#define GUEST_STACK    0x20000u /* top */
#define GUEST_CODE     0x100000u
#define GUEST_DATA     0x200000u
#define GUEST_UNMAPPED 0x700000u /* the last megabyte is not present */

enum guest_bits { GUEST_16, GUEST_32, GUEST_64 };

struct guest {
    struct cpu *cpu;
    uint8_t *ram;
    struct code_map *code;
    struct cpu_bus bus;
    uint64_t io_sum;     /* what was written to ports */
    unsigned stop_after; /* milliseconds, for guest_run_timed() */
};

/* Creates the machine in the mode with flat segments (16-bit: real mode, code at 0x1000:0). */
struct guest *guest_new(const struct accel *accel, enum guest_bits bits);
void guest_free(struct guest *guest);
/* Puts the machine into its initial state again, keeping RAM outside of tables. */
void guest_reset(struct guest *guest, enum guest_bits bits);
void guest_load(struct guest *guest, uint32_t address, const void *bytes, size_t size);
/* Runs until HLT; false if it shut down or did not halt. */
bool guest_run(struct guest *guest);
/* Runs, while another thread posts EVENT_STOP after guest->stop_after. */
enum cpu_exit guest_run_timed(struct guest *guest);

#endif
