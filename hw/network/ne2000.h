/*
 * Realtek RTL8029AS: an NE2000 on PCI.
 */
#ifndef DOPPEL_HW_NETWORK_NE2000_H
#define DOPPEL_HW_NETWORK_NE2000_H

#include "hw/clock.h"
#include "hw/pci.h"
#include "hw/port.h"

struct ne2000;

/* `port` is the NIC's side of a packet port; the network joins it later. */
struct ne2000 *ne2000_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                          struct clock *clock, const uint8_t mac[6], struct packet_port *port,
                          const char *id);

#endif
