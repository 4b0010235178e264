/*
 * Power management of a PCI function: the capability with the states D0 and D3hot (PCI Bus Power
 * Management Interface 1.2).
 *
 * Asleep, a function answers configuration cycles only: no ports, no memory, no DMA, no interrupt.
 * When it wakes it starts from reset, as the capability says (No_Soft_Reset is 0). It cannot wake
 * the machine: no state can give PME#.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_PCI_POWER_H
#define DOPPEL_HW_PCI_POWER_H

#include "hw/pci.h"

/* Constructors only; `offset` as in pci_add_capability. */
void pci_add_power_management(struct pci_device *device, unsigned offset);
bool pci_asleep(const struct pci_device *device);

/* -- For pci.c -- */

/* The guest wrote [offset, offset + size) of configuration space. True: the state changed. */
bool pci_power_config_written(struct pci_device *device, unsigned offset, unsigned size,
                              bool was_asleep);
void pci_power_reset(struct pci_device *device);

#endif
