/*
 * The narrow interface between a processor and the rest of the machine. cpu/ knows the board only
 * through these functions; hw/ (or a test) supplies them. They take whatever locks they need.
 */
#ifndef DOPPEL_CPU_BUS_H
#define DOPPEL_CPU_BUS_H

#include "cpu/state.h"

/* What backs a guest physical page. */
struct bus_page {
    uint8_t *host;  /* start of the page; NULL: every access goes through mem_read/mem_write */
    bool writable;  /* false: writes go through mem_write (ROM) */
    bool log_dirty; /* the first write after each dirty_cleared must call note_write */
};

#define CPU_BUS_RAM 3

struct cpu_bus {
    void *opaque;

    /* Main RAM that stays at its place: guest physical [first, end) is at host + gpa, writable, not
     * logged. The processor reaches it without asking page(). Unused ranges are all zero. */
    struct {
        gpa_t first, end;
        uint8_t *host;
    } ram[CPU_BUS_RAM];

    /* The file that main RAM is, mapped as a whole at `host`; size 0: it is none. */
    struct {
        uint8_t *host;
        size_t size;
        int fd;
    } ram_file;

    /* Physical address bits that are forced to 0: the A20 gate, while it is closed. The bus applies
     * it to what it is asked; the processor to the pages it finds. Changes come with
     * EVENT_FLUSH_TLB. */
    gpa_t blocked_address_bits;

    struct bus_page (*page)(void *opaque, struct cpu *cpu, gpa_t gpa);
    /* Accesses without host memory: size 1, 2, 4, 8, naturally split by the caller at pages. */
    uint64_t (*mem_read)(void *opaque, struct cpu *cpu, gpa_t gpa, unsigned size);
    void (*mem_write)(void *opaque, struct cpu *cpu, gpa_t gpa, uint64_t value, unsigned size);
    void (*note_write)(void *opaque, gpa_t gpa, unsigned size); /* dirty log */

    uint32_t (*io_read)(void *opaque, struct cpu *cpu, uint16_t port, unsigned size); /* 1, 2, 4 */
    void (*io_write)(void *opaque, struct cpu *cpu, uint16_t port, uint32_t value, unsigned size);

    /* Interrupt controller of this CPU. irq_pending: would irq_accept give a vector now (cheap, no
     * lock)? irq_accept acknowledges and returns the vector, or -1. */
    bool (*irq_pending)(void *opaque, struct cpu *cpu);
    int (*irq_accept)(void *opaque, struct cpu *cpu);
    uint8_t (*tpr_read)(void *opaque, struct cpu *cpu); /* CR8: priority class 0-15 */
    void (*tpr_write)(void *opaque, struct cpu *cpu, uint8_t class_);
    /* IA32_APIC_BASE, x2APIC MSRs 0x800-0x8ff, IA32_TSC_DEADLINE; false raises #GP. */
    bool (*apic_msr_read)(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value);
    bool (*apic_msr_write)(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value);

    uint64_t (*clock_ns)(void *opaque); /* virtual time, for the TSC */
    /* A page with log_dirty is about to be written for the first time. May be NULL. */
    void (*before_write)(void *opaque, struct cpu *cpu, gva_t gva, gpa_t gpa);
    /* The guest wrote its TSC: pending deadlines move. May be NULL. */
    void (*tsc_changed)(void *opaque, struct cpu *cpu);

    /* FERR#: an x87 exception with CR0.NE clear; the PC's board raises IRQ 13. NULL if it has none.
     */
    void (*fpu_error)(void *opaque, struct cpu *cpu);
};

#endif
