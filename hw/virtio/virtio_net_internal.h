/* Between virtio_net.c (registers, control queue), virtio_net_tx.c and virtio_net_rx.c. */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_NET_INTERNAL_H
#define DOPPEL_HW_VIRTIO_VIRTIO_NET_INTERNAL_H

#include "hw/network/checksum.h"
#include "hw/virtio/virtio_net.h"

/* Features (5.1.3). */
#define F_CSUM           (UINT64_C(1) << 0)
#define F_GUEST_CSUM     (UINT64_C(1) << 1)
#define F_GUEST_OFFLOADS (UINT64_C(1) << 2)
#define F_MAC            (UINT64_C(1) << 5)
#define F_GUEST_TSO4     (UINT64_C(1) << 7)
#define F_GUEST_TSO6     (UINT64_C(1) << 8)
#define F_HOST_TSO4      (UINT64_C(1) << 11)
#define F_HOST_TSO6      (UINT64_C(1) << 12)
#define F_HOST_ECN       (UINT64_C(1) << 13)
#define F_MRG_RXBUF      (UINT64_C(1) << 15)
#define F_STATUS         (UINT64_C(1) << 16)
#define F_CTRL_VQ        (UINT64_C(1) << 17)
#define F_CTRL_RX        (UINT64_C(1) << 18)
#define F_CTRL_VLAN      (UINT64_C(1) << 19)
#define F_CTRL_RX_EXTRA  (UINT64_C(1) << 20)
#define F_GUEST_ANNOUNCE (UINT64_C(1) << 21)
#define F_MQ             (UINT64_C(1) << 22)
#define F_CTRL_MAC_ADDR  (UINT64_C(1) << 23)

/* The header before each packet (5.1.6). */
enum {
    HEADER_FLAGS = 0,
    HEADER_GSO_TYPE = 1,
    HEADER_LENGTH = 2,
    HEADER_GSO_SIZE = 4,
    HEADER_CSUM_START = 6,
    HEADER_CSUM_OFFSET = 8,
    HEADER_BUFFERS = 10,
    HEADER_SIZE = 12,
    HEADER_SIZE_LEGACY = 10, /* no count of buffers: neither 1.0 nor mergeable */
};
#define HEADER_NEEDS_CSUM 1
#define HEADER_DATA_VALID 2
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_ECN = 0x80 };

#define FRAME_MAX        (14 + 4 + 65535)
#define FRAME_STANDARD   1518 /* with VLAN tag, without FCS */
#define FILTER_ADDRESSES 64

struct address_table {
    uint8_t address[FILTER_ADDRESSES][6];
    uint32_t count;
    bool overflow; /* the driver gave more: all of the kind pass */
};

/* TCP segments of one flow on their way to the guest, put together as one (virtio_net_rx.c). */
struct coalesced {
    uint32_t length; /* of the frame, 0: none */
    uint32_t header; /* bytes before the payload */
    uint16_t segment;
    uint16_t segments;
    uint32_t next_sequence;
    bool closed; /* a short or pushed segment was the last */
    uint8_t frame[FRAME_MAX];
};

struct virtio_net {
    struct virtio virtio;
    struct packet_port *port;
    unsigned pairs;
    /* -- State -- */
    bool promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
    struct address_table unicast, multicast;
    uint8_t vlan[4096 / 8];
    uint16_t active_pairs;
    uint64_t offloads; /* of the guest offloads negotiated, those in force */
    bool announce;
    struct coalesced held;
    /* -- Not saved -- */
    struct timer flush_timer; /* set to now: fires at the end of the loop's turn */
    bool starving;            /* a frame waits for receive buffers */
    uint8_t tx_frame[FRAME_MAX];
    uint8_t tx_segment[FRAME_MAX];
};

#define RX_QUEUE(pair) (2 * (pair))
#define TX_QUEUE(pair) (2 * (pair) + 1)

static inline unsigned header_size(const struct virtio_net *net)
{
    return virtio_has(&net->virtio, F_MRG_RXBUF | VIRTIO_F_VERSION_1) ? HEADER_SIZE
                                                                      : HEADER_SIZE_LEGACY;
}

/* The worker's turn on a transmit queue. */
void virtio_net_transmit(struct virtio_net *net, struct virtqueue *queue);
/* The packet port's callbacks. */
bool virtio_net_receive(void *opaque, const uint8_t *frame, size_t length);
bool virtio_net_can_receive(void *opaque);
/* Hands what is put together to the guest; false if it has no buffers. */
bool virtio_net_flush(struct virtio_net *net);
void virtio_net_flush_due(void *opaque);

#endif
