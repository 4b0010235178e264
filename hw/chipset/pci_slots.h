/*
 * Hot-plug slots of the PC board: PCI slots whose cards come and go while the machine runs, told to
 * the guest by ACPI (the DSDT's devices S18 to S1B and the event _E01).
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_PCI_SLOTS_H
#define DOPPEL_HW_CHIPSET_PCI_SLOTS_H

#include "hw/chipset/acpi_pm.h"
#include "hw/pci.h"

#define PCI_SLOTS       4
#define PCI_SLOTS_FIRST 0x18 /* on bus 0 */
#define PCI_SLOTS_PORT  0xae00

struct pci_slots;

struct pci_slots *pci_slots_new(struct device_list *list, struct io_bus *io, struct pci_bus *bus,
                                struct acpi_pm *pm);
/* The card that was made at function 0 of slot PCI_SLOTS_FIRST + `slot`, and perhaps removed since,
 * is in the slot of a running machine now. */
void pci_slots_insert(struct pci_slots *slots, unsigned slot);
/* Asks the guest to give the card back. `removed` is called when it has (from its register write),
 * with the card out of its sight. False if the slot is empty. */
bool pci_slots_request_removal(struct pci_slots *slots, unsigned slot,
                               void (*removed)(void *opaque), void *opaque);

#endif
