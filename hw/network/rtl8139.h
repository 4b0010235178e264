/*
 * Realtek RTL8139C and RTL8139C+: fast Ethernet on PCI.
 */
#ifndef DOPPEL_HW_NETWORK_RTL8139_H
#define DOPPEL_HW_NETWORK_RTL8139_H

#include "hw/clock.h"
#include "hw/pci.h"
#include "hw/port.h"

struct rtl8139;

/* `plus`: a C+, with descriptor rings and offloads beside the C's four transmit registers and
 * receive ring. `port` is the NIC's side of a packet port; the network joins it later. */
struct rtl8139 *rtl8139_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                            struct clock *clock, const uint8_t mac[6], struct packet_port *port,
                            bool plus, const char *id);

/* Tells the guest's driver after port->link_up changed while the machine runs. Board lock held. */
void rtl8139_link_changed(struct rtl8139 *nic);

#endif
