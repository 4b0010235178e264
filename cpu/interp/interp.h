/*
 * The interpreter: decoded blocks and the loop that executes them. As an engine of its own it is
 * accel_interpreter; the other engines use it for cold code, single steps and rare instructions.
 *
 * All functions run on the CPU's thread; faults leave through cpu->unwind.
 */
#ifndef DOPPEL_CPU_INTERP_INTERP_H
#define DOPPEL_CPU_INTERP_INTERP_H

#include "cpu/cpu.h"

bool interp_create(struct cpu *cpu, struct error *error);
void interp_destroy(struct cpu *cpu);
/* The calling thread runs the CPU from now on. */
void interp_enter(struct cpu *cpu);

/* A fault or cpu_unwind() may have left a block half-way: settles what that owes. */
void interp_leave(struct cpu *cpu);

/* Physical address of the byte at cpu->rip if its page is in the TLB, plain memory and executable.
 */
bool interp_cached_gpa(const struct cpu *cpu, gpa_t *gpa);
/* Fetches into the host's cache where interp_block() will look for the code at that address. */
void interp_prefetch(const struct cpu *cpu, gpa_t gpa);
/* Executes from cpu->rip to the end of that basic block (at most a few dozen instructions). */
void interp_block(struct cpu *cpu);
/* Executes the one instruction at cpu->rip, without debug traps. */
void interp_one(struct cpu *cpu);
/* Executes one instruction with everything that a boundary can owe: instruction breakpoints, RF,
 * the end of STI and MOV SS shadows, single-step and data breakpoint traps. */
void interp_step(struct cpu *cpu);

/* Fetches and decodes the instruction at cpu->rip; raises what fetching it raises. */
void interp_decode(struct cpu *cpu, struct insn *insn);
/* decode() of the bytes at `host`, which are at the physical address `gpa`, in the current mode:
 * a copy if they were decoded to be interpreted before. */
int interp_decode_at(struct cpu *cpu, gpa_t gpa, const uint8_t *host, size_t available,
                     struct insn *insn);

#endif
