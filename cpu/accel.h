/*
 * struct accel: one way to run a CPU. The interpreter, the translator and KVM are three of these;
 * cpu_run() and the board know none of them by name.
 */
#ifndef DOPPEL_CPU_ACCEL_H
#define DOPPEL_CPU_ACCEL_H

#include "cpu/error.h"
#include "cpu/state.h"

enum cpu_exit {
    CPU_EXIT_STOPPED,  /* EVENT_STOP was seen (and cleared) */
    CPU_EXIT_HALTED,   /* nothing to do until an event: the thread may sleep (cpu_wait) */
    CPU_EXIT_SHUTDOWN, /* triple fault: the board resets the machine */
    CPU_EXIT_RESET,    /* EVENT_RESET was seen */
    CPU_EXIT_FAILED,   /* the engine itself failed (--verify difference); message already logged */
};

struct accel {
    const char *name;
    bool (*create)(struct cpu *cpu, struct error *error); /* fills cpu->accel_state */
    /* Executes guest instructions until cpu->event is non-zero or the CPU halts. Called by cpu_run()
     * with no events due; returns at an instruction boundary with all state in struct cpu. */
    void (*run)(struct cpu *cpu);
    void (*destroy)(struct cpu *cpu);
    /* Optional: print figures for --stats. */
    void (*stats)(struct cpu *cpu, FILE *out);
};

extern const struct accel accel_interpreter; /* cpu/interp/run.c */
extern const struct accel accel_translator;  /* translator/translator.c; listed by ui/, not by cpu/ */

#endif
