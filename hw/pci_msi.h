/*
 * Interrupts by message: the MSI and MSI-X capabilities of a PCI device (PCI Local Bus 3.0, section
 * 6.8), and the list of capabilities they hang on (6.7).
 *
 * A device with MSI-X embeds a struct pci_msix, lists it in its state table, and adds the
 * capability in its constructor after pci_device_init():
 *
 *     FIELD_STRUCT(struct x, msix, pci_msix_fields, 1),
 *     ...
 *     pci_add_msix(&x->pci, &x->msix, 0, vectors, 4);
 *
 * The table and the pending bits get a memory BAR of their own (4 KiB). MSI needs only a call of
 * pci_add_msi(); its whole state is in configuration space. A device may have both; the guest
 * enables at most one. To interrupt:
 *
 *     if (!pci_notify(&x->pci, vector))
 *         pci_set_irq(&x->pci, true);    // the level, as long as the cause stands
 *
 * Everything else happens here and in pci.c: masks and pending bits, reset (pci_device_reset),
 * saving, no INTx while messages are enabled, nothing sent without bus mastering. pci_set_irq() may
 * be called at any time; its level reaches the bus when messages are off.
 *
 * Messages are edges: a device sends one when a cause appears (and, if its specification says so,
 * again when the guest acknowledges while causes remain).
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_PCI_MSI_H
#define DOPPEL_HW_PCI_MSI_H

#include "hw/pci.h"

/* -- Capabilities -- */

enum pci_capability {
    PCI_CAPABILITY_POWER = 0x01,
    PCI_CAPABILITY_MSI = 0x05,
    PCI_CAPABILITY_VENDOR = 0x09,
    PCI_CAPABILITY_SUBSYSTEM = 0x0d, /* of bridges */
    PCI_CAPABILITY_EXPRESS = 0x10,
    PCI_CAPABILITY_MSIX = 0x11,
};

/* Appends a capability of `size` bytes, head included, at configuration `offset` (0: behind the
 * last one, from 0x40 on, dword aligned) and returns the offset. All of it is read-only until the
 * caller sets bits in write_mask. Constructors only. */
unsigned pci_add_capability(struct pci_device *device, enum pci_capability id, unsigned offset,
                            unsigned size);

/* -- MSI -- */

#define PCI_MSI_64BIT   1 /* can send to addresses above 4 GiB: most devices */
#define PCI_MSI_MASKING 2 /* a mask and a pending bit for each vector */

/* `vectors`: 1, 2, 4, 8, 16 or 32. `offset` as in pci_add_capability. */
void pci_add_msi(struct pci_device *device, unsigned offset, unsigned vectors, unsigned flags);
bool pci_msi_enabled(const struct pci_device *device);
/* How many vectors the guest allowed (vectors beyond it wrap around); 0 while MSI is off. */
unsigned pci_msi_allowed(const struct pci_device *device);

/* -- MSI-X -- */

#define PCI_MSIX_VECTORS_MAX 64

struct pci_msix {
    struct msix_entry {
        uint32_t address_low, address_high, data, control;
    } table[PCI_MSIX_VECTORS_MAX];
    uint64_t pending; /* one bit a vector */
    struct pci_device *device;
    unsigned vectors;
    unsigned capability; /* its offset in configuration space */
};

extern const struct field pci_msix_fields[];

/* 1 to PCI_MSIX_VECTORS_MAX vectors, shown in memory BAR `bar`, which must be free. */
void pci_add_msix(struct pci_device *device, struct pci_msix *msix, unsigned offset,
                  unsigned vectors, int bar);
bool pci_msix_enabled(const struct pci_device *device);

/* -- Sending -- */

/* Sends `vector`'s message, or marks it pending while it is masked. False if the guest has enabled
 * neither MSI nor MSI-X: the device then uses its INTx level. A vector that the device does not
 * have sends nothing and returns true. */
bool pci_notify(struct pci_device *device, unsigned vector);

/* -- For pci.c -- */

/* The guest wrote [offset, offset + size) of configuration space. */
void pci_messages_config_written(struct pci_device *device, unsigned offset, unsigned size);
void pci_messages_reset(struct pci_device *device);

#endif
