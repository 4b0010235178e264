/*
 * What cpu/ offers to the rest of doppel.
 *
 * Threads: a struct cpu belongs to its CPU thread. Other threads may call only cpu_post() and
 * cpu_wake_fd-free waits described below.
 */
#ifndef DOPPEL_CPU_CPU_H
#define DOPPEL_CPU_CPU_H

#include "cpu/accel.h"
#include "cpu/bus.h"
#include "cpu/code.h"
#include "cpu/field.h"

/* MAXPHYADDR: bits of a physical address. */
#define CPU_PHYSICAL_BITS 40
/* Rate of the time stamp counter and of the APIC timer's clock. */
#define CPU_TSC_HZ 1000000000ull

/* -- Life -- */

/* NULL + error. The caller owns bus, code map and model, and frees with cpu_free. */
struct cpu *cpu_new(int index, struct cpu_bus *bus, struct code_map *code,
                    const struct cpu_model *model, const struct accel *accel, struct error *error);
void cpu_free(struct cpu *cpu);
void cpu_reset(struct cpu *cpu);            /* power-on state (SDM 3A table 9-1) */
extern const struct field cpu_fields[];     /* state table (cpu/field.h) */
extern const unsigned cpu_fields_version;
bool cpu_post_load(struct cpu *cpu, struct error *error);

/* Looks a model up by name with toggles ("default", "x86-64-v2", "pentium3,-sse"...). The caller frees
 * it with cpu_model_free() after the CPUs. */
const struct cpu_model *cpu_model_find(const char *text, struct error *error);
void cpu_model_free(const struct cpu_model *model);

/* -- Running (CPU thread) -- */

/* Handles events and runs until one of the exits. */
enum cpu_exit cpu_run(struct cpu *cpu);
/* Exactly one instruction (or one event delivery) with the interpreter: tests, --verify, replays. */
void cpu_step(struct cpu *cpu);

/* Virtual time in ns at which this CPU's TSC reaches `tsc`; UINT64_MAX if never (CPU thread). */
uint64_t cpu_tsc_to_ns(const struct cpu *cpu, uint64_t tsc);

/* -- From any thread -- */

/* Sets event bits; the CPU notices at its next safe point. Does not wake a halted CPU's thread: the
 * board does that with the condition variable that it sleeps on. */
void cpu_post(struct cpu *cpu, uint32_t events);
/* Would a halted CPU run now? (events, deliverable interrupts) */
bool cpu_has_work(struct cpu *cpu);

/* -- Inside an instruction -- */

/* Raises a fault: unwinds to the engine, which delivers it. Vectors with error code push `error`. */
_Noreturn void cpu_raise(struct cpu *cpu, int vector, uint32_t error);
_Noreturn void cpu_raise_ud(struct cpu *cpu);
_Noreturn void cpu_raise_gp(struct cpu *cpu, uint32_t error);
_Noreturn void cpu_raise_page_fault(struct cpu *cpu, gva_t gva, uint32_t error);
/* Leaves the engine's current run at the boundary described by cpu->rip (already final). */
_Noreturn void cpu_unwind(struct cpu *cpu);

/* Derived state after changes of CR0, CR4, EFER, segments, EFLAGS (VM, AC, TF), DR7. */
void cpu_update_mode(struct cpu *cpu);

/* -- TLB (cpu/paging.c) -- */

void tlb_flush_all(struct cpu *cpu);             /* globals too, every PCID */
void tlb_flush_moved(struct cpu *cpu);           /* EVENT_FLUSH_TLB: memory may have moved */
void tlb_flush_nonglobal(struct cpu *cpu);       /* CR3 load without PCID bit 63 */
void tlb_flush_page(struct cpu *cpu, gva_t gva); /* INVLPG */
/* Write entries that map this physical page become slow (code was marked, dirty log cleared). */
void tlb_protect_page(struct cpu *cpu, gpa_t gpa);

#endif
