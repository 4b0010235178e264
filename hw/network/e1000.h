/*
 * Intel 82540EM ("e1000"): gigabit Ethernet on PCI.
 */
#ifndef DOPPEL_HW_NETWORK_E1000_H
#define DOPPEL_HW_NETWORK_E1000_H

#include "hw/clock.h"
#include "hw/pci.h"
#include "hw/port.h"

struct e1000;

/* `port` is the NIC's side of a packet port; the network joins it later. */
struct e1000 *e1000_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                        struct clock *clock, const uint8_t mac[6], struct packet_port *port,
                        const char *id);

/* Tells the guest's driver after port->link_up changed while the machine runs. Board lock held. */
void e1000_link_changed(struct e1000 *nic);

/* Frames sent and received so far: for a status light. Any thread. */
uint64_t e1000_activity(const struct e1000 *nic);

#endif
