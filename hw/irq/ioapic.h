/*
 * I/O APIC: 24 interrupt inputs to messages on the APIC bus.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_IRQ_IOAPIC_H
#define DOPPEL_HW_IRQ_IOAPIC_H

#include "hw/device.h"
#include "hw/irq/apic_bus.h"
#include "hw/memory.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000ull

struct ioapic;

/* Maps its registers at IOAPIC_BASE. */
struct ioapic *ioapic_new(struct device_list *list, struct memory *memory, struct apic_bus *bus,
                          const char *id);

/* Input pin n, 0 to 23. True on the line means asserted, whatever its electrical polarity. */
struct irq_line ioapic_line(struct ioapic *ioapic, int pin);

/* A processor ended a level-triggered interrupt. (The APIC bus calls it; here for tests.) */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

/* Accesses to the register page, as the memory map makes them; size 1 to 4. */
uint64_t ioapic_read(struct ioapic *ioapic, uint64_t offset, unsigned size);
void ioapic_write(struct ioapic *ioapic, uint64_t offset, uint64_t value, unsigned size);

#endif
