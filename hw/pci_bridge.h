/*
 * PCI-to-PCI bridges: a device with a type 1 header and the bus behind it (PCI-to-PCI Bridge
 * Architecture 1.2, section 3.2).
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_PCI_BRIDGE_H
#define DOPPEL_HW_PCI_BRIDGE_H

#include "hw/pci.h"

enum pci_bridge_register {
    PCI_PRIMARY_BUS = 0x18,
    PCI_SECONDARY_BUS = 0x19,
    PCI_SUBORDINATE_BUS = 0x1a,
    PCI_IO_BASE = 0x1c,
    PCI_IO_LIMIT = 0x1d,
    PCI_MEMORY_BASE = 0x20,
    PCI_MEMORY_LIMIT = 0x22,
    PCI_PREFETCH_BASE = 0x24,
    PCI_PREFETCH_LIMIT = 0x26,
    PCI_PREFETCH_BASE_HIGH = 0x28,
    PCI_PREFETCH_LIMIT_HIGH = 0x2c,
    PCI_IO_BASE_HIGH = 0x30,
    PCI_IO_LIMIT_HIGH = 0x32,
    PCI_BRIDGE_CONTROL = 0x3e,
};

enum bridge_space { BRIDGE_IO, BRIDGE_MEMORY };

/* Placed at the start of a bridge's struct. */
struct pci_bridge {
    struct pci_device pci;
    struct pci_bus *bus; /* the secondary bus */
    bool connected;      /* false: the link is down, nothing behind it can be seen */
    /* The guest set the secondary bus reset bit. May be NULL. */
    void (*reset_behind)(struct pci_bridge *bridge);
};

/* Fills the type 1 header, puts the bridge on `bus`, and makes the bus behind it. The caller sets
 * config_written to a function that calls pci_bridge_config_written. */
void pci_bridge_init(struct pci_bridge *bridge, struct pci_bus *bus, uint8_t devfn,
                     const struct pci_identity *identity);
void pci_bridge_config_written(struct pci_bridge *bridge, unsigned offset, unsigned size);
void pci_bridge_reset(struct pci_bridge *bridge); /* in place of pci_device_reset */
/* The link comes up or goes down: what is behind appears or vanishes. */
void pci_bridge_connect(struct pci_bridge *bridge, bool connected);
/* Frees the bus behind, not the bridge. */
void pci_bridge_release(struct pci_bridge *bridge);

/* NULL if it is none (or NULL). */
static inline struct pci_bridge *pci_bridge_of(struct pci_device *device)
{
    return device && device->is_bridge ? (struct pci_bridge *)device : NULL;
}

/* Does bus `number` lie behind the bridge? */
bool pci_bridge_leads_to(const struct pci_bridge *bridge, unsigned number);
/* Do all of these addresses pass to the secondary bus? */
bool pci_bridge_passes(const struct pci_bridge *bridge, enum bridge_space space, uint64_t base,
                       uint64_t size);

/* -- pci.c -- */

struct pci_bus *pci_bus_new_behind(struct pci_bridge *bridge);
void pci_bus_free_behind(struct pci_bus *bus);
/* What the bridge in front passes has changed: devices appear at or vanish from their addresses. */
void pci_bus_windows_changed(struct pci_bus *bus);
/* Resets every device on the bus. */
void pci_bus_reset_devices(struct pci_bus *bus);

#endif
