/*
 * The local APIC of one processor: xAPIC through its register page, x2APIC through MSRs.
 *
 * Locking: everything under the board lock, except lapic_pending() and lapic_page(), which the
 * processor's own thread calls without it.
 */
#ifndef DOPPEL_HW_IRQ_LAPIC_H
#define DOPPEL_HW_IRQ_LAPIC_H

#include "hw/clock.h"
#include "hw/device.h"
#include "hw/irq/apic_bus.h"

struct lapic;

/* The processor that the APIC belongs to. */
struct lapic_cpu {
    void *opaque;
    /* Something may be deliverable: look at lapic_pending(). */
    void (*interrupt)(void *opaque);
    void (*nmi)(void *opaque);
    /* INIT was received; the APIC has reset itself. */
    void (*init)(void *opaque);
    void (*startup)(void *opaque, uint8_t vector);
    /* Virtual time at which the processor's TSC reaches `tsc`; TIMER_NEVER if it is out of range.
     */
    uint64_t (*tsc_to_ns)(void *opaque, uint64_t tsc);
    unsigned physical_bits; /* MAXPHYADDR, for IA32_APIC_BASE; 0 means 52 */
};

/* The APIC ID is the processor's index; processor 0 is the bootstrap processor. */
struct lapic *lapic_new(struct device_list *list, int cpu_index, struct clock *clock,
                        const struct lapic_cpu *cpu, struct apic_bus *bus, const char *id);

/* -- The processor's side -- */

/* True if lapic_accept() would give something now. Any thread, no lock. */
bool lapic_pending(const struct lapic *lapic);

#define LAPIC_NONE   (-1)
#define LAPIC_EXTINT (-2)
/* Interrupt acknowledge: the vector, now in service; LAPIC_EXTINT if the vector is to be had from
 * the 8259; LAPIC_NONE. */
int lapic_accept(struct lapic *lapic);

/* CR8: the priority class, bits 7:4 of the TPR. */
uint8_t lapic_get_tpr(const struct lapic *lapic);
void lapic_set_tpr(struct lapic *lapic, uint8_t priority_class);

/* IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) and 0x800-0x8ff. False raises #GP. */
bool lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *value);
bool lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value);

/* True if the register page is enabled (xAPIC mode), and its address. Own thread, no lock. */
bool lapic_page(const struct lapic *lapic, uint64_t *base);
/* This processor's accesses to that page; offset + size <= 4096. */
uint64_t lapic_read(struct lapic *lapic, uint64_t offset, unsigned size);
void lapic_write(struct lapic *lapic, uint64_t offset, uint64_t value, unsigned size);

/* The processor's TSC was written: a pending deadline is another moment now. */
void lapic_tsc_changed(struct lapic *lapic);

/* -- The board's side -- */

/* The INTR output of the 8259 pair, on LINT0 (and straight to the processor while the APIC is
 * disabled). */
void lapic_extint(struct lapic *lapic, bool level);
/* The board's NMI wire, on LINT1 likewise. */
void lapic_lint1(struct lapic *lapic, bool level);

#endif
