/* A virtio network device (virtio_net.c). */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_NET_H
#define DOPPEL_HW_VIRTIO_VIRTIO_NET_H

#include "hw/port.h"
#include "hw/virtio/virtio.h"

#define VIRTIO_NET_PAIRS_MAX 8

/* `port` is the NIC's side of a packet port; the network joins it later. `pairs` of receive and
 * transmit queues, 1 to VIRTIO_NET_PAIRS_MAX. */
struct virtio_net *virtio_net_new(const struct virtio_place *place, struct memory *memory,
                                  struct clock *clock, const uint8_t mac[6],
                                  struct packet_port *port, unsigned pairs);

/* Tells the guest's driver after port->link_up changed while the machine runs. Board lock held. */
void virtio_net_link_changed(struct virtio_net *net);

#endif
