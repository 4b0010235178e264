/*
 * What carries interrupt messages between I/O APICs, MSI sources and local APICs (SDM volume 3,
 * "Advanced Programmable Interrupt Controller": system bus messages).
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_IRQ_APIC_BUS_H
#define DOPPEL_HW_IRQ_APIC_BUS_H

#include "hw/device.h"

struct apic_bus;

/* Delivery modes, as encoded in ICR, LVT, redirection entries and MSI data. */
enum apic_delivery {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6,
    APIC_EXTINT = 7,
};

/* Physical destination of all. Senders with 8-bit destinations translate their 0xff into it. */
#define APIC_DESTINATION_ALL 0xffffffffu

struct apic_message {
    uint32_t destination;
    bool logical; /* destination is a set rather than an ID */
    bool level_triggered;
    uint8_t delivery; /* enum apic_delivery */
    uint8_t vector;
};

/* A local APIC as the bus sees it. */
struct apic_node {
    void *opaque;
    bool (*is_addressed)(void *opaque, const struct apic_message *message);
    /* Priority for lowest-priority arbitration (smallest wins), -1: takes no part. */
    int (*priority)(void *opaque);
    /* False if the message was not taken. */
    bool (*receive)(void *opaque, const struct apic_message *message);
};

struct apic_bus *apic_bus_new(struct device_list *list, const char *id);

void apic_bus_add_node(struct apic_bus *bus, const struct apic_node *node);
/* `eoi` hears of each level-triggered interrupt that a processor has ended. */
void apic_bus_add_eoi_listener(struct apic_bus *bus, void (*eoi)(void *opaque, uint8_t vector),
                               void *opaque);

/* Delivers to all nodes addressed, except the one whose `opaque` is `exclude` (NULL: none). True if
 * at least one took it. */
bool apic_bus_deliver(struct apic_bus *bus, const struct apic_message *message,
                      const void *exclude);
/* A message signalled interrupt: a 32-bit write of `data` to 0xfeexxxxx. */
void apic_bus_deliver_msi(struct apic_bus *bus, uint64_t address, uint32_t data);
void apic_bus_eoi(struct apic_bus *bus, uint8_t vector);

/* The 8-bit destination field of I/O APICs, MSIs and xAPIC ICRs. */
static inline uint32_t apic_destination8(uint8_t destination, bool logical)
{
    return destination == 0xff && !logical ? APIC_DESTINATION_ALL : destination;
}

#endif
