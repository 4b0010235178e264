/*
 * A PCI Express root port with a slot that takes cards while the machine runs.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_PCIE_PORT_H
#define DOPPEL_HW_PCIE_PORT_H

#include "hw/pci_bridge.h"

struct pcie_port;

/* `slot` is the number that the guest shows for the slot, unique on the board. */
struct pcie_port *pcie_port_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                                unsigned slot, const char *id);
/* The bus that the slot's card belongs on, at device 0. A card that is made before the machine
 * starts needs no pcie_port_insert when the port is told of it by pcie_port_populate. */
struct pci_bus *pcie_port_bus(struct pcie_port *port);
void pcie_port_populate(struct pcie_port *port);

/* The card on the port's bus has been put into the slot of a running machine. */
void pcie_port_insert(struct pcie_port *port);
/* Presses the slot's attention button: a guest that listens stops using the card and switches the
 * slot off. `removed` is called then (from the guest's register write), with the card out of the
 * guest's sight. False if the slot is empty. */
bool pcie_port_request_removal(struct pcie_port *port, void (*removed)(void *opaque), void *opaque);
/* Pulls the card without a word. */
void pcie_port_remove(struct pcie_port *port);
bool pcie_port_occupied(const struct pcie_port *port);

#endif
