/*
 * High precision event timers.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_HPET_H
#define DOPPEL_HW_CHIPSET_HPET_H

#include "hw/clock.h"
#include "hw/irq/apic_bus.h"
#include "hw/memory.h"

#define HPET_BASE     0xfed00000ull
#define HPET_TIMERS   3
#define HPET_ID       0x8086a201u /* low half of the capability register; ACPI tables repeat it */
#define HPET_MIN_TICK 0x0080      /* shortest period that the ACPI table promises */

struct hpet;

/* Maps its registers at HPET_BASE. `irq0` and `irq8` lead to where the legacy timer and the RTC
 * interrupt; those two connect to hpet_legacy_line() instead. */
struct hpet *hpet_new(struct device_list *list, struct memory *memory, struct clock *clock,
                      struct apic_bus *apic_bus, struct irq_line irq0, struct irq_line irq8,
                      const char *id);

/* Inputs for the legacy devices' interrupts: 0 the timer, 1 the RTC. They pass while legacy
 * replacement is off. */
struct irq_line hpet_legacy_line(struct hpet *hpet, int which);

#endif
