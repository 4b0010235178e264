/*
 * Virtio network device, from the guest: checksums, large segments (Virtio 1.1, 5.1.6.2).
 *
 * A packet is gathered into one buffer without the board lock, its checksum completed there, and
 * then sent. A TCP segment larger than the network takes is cut into frames as a card would.
 */
#include "hw/virtio/virtio_net_internal.h"

enum { ETHERTYPE_VLAN = 0x8100, ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_IPV6 = 0x86dd };
enum { PROTOCOL_TCP = 6, TCP_FIN = 1, TCP_PUSH = 8, TCP_CWR = 0x80 };

/* Where the parts of a TCP packet begin. */
struct tcp_packet {
    uint8_t *frame;
    size_t length;
    size_t ip, tcp, payload;
    bool ipv6;
};

/* False if it is no TCP packet without extension headers. */
static bool find_tcp(uint8_t *frame, size_t length, struct tcp_packet *packet)
{
    size_t ip = 14;
    if (length < ip + 4 + 40 + 20)
        return false;
    uint16_t type = load16(frame + 12);
    if (type == ETHERTYPE_VLAN) {
        type = load16(frame + 16);
        ip += 4;
    }
    bool ipv6 = type == ETHERTYPE_IPV6;
    if (!ipv6 && type != ETHERTYPE_IPV4)
        return false;
    size_t tcp = ip + (ipv6 ? 40 : (frame[ip] & 0xfu) * 4u);
    uint8_t protocol = frame[ip + (ipv6 ? 6 : 9)];
    if (tcp < ip + 20 || tcp + 20 > length || protocol != PROTOCOL_TCP)
        return false;
    size_t payload = tcp + (size_t)(frame[tcp + 12] >> 4) * 4;
    if (payload < tcp + 20 || payload > length)
        return false;
    *packet = (struct tcp_packet){frame, length, ip, tcp, payload, ipv6};
    return true;
}

static uint32_t pseudo_sum(const struct tcp_packet *packet, size_t tcp_length)
{
    const uint8_t *addresses = packet->frame + packet->ip + (packet->ipv6 ? 8 : 12);
    return sum_words(addresses, packet->ipv6 ? 32 : 8) + PROTOCOL_TCP + (uint32_t)tcp_length;
}

/* Makes the segment with payload [start, start + count) in `out`; returns its length. */
static size_t cut_segment(const struct tcp_packet *packet, size_t start, size_t count,
                          unsigned index, uint8_t *out)
{
    size_t length = packet->payload + count;
    bool last = packet->payload + start + count == packet->length;
    memcpy(out, packet->frame, packet->payload);
    memcpy(out + packet->payload, packet->frame + packet->payload + start, count);
    uint8_t *ip = out + packet->ip, *tcp = out + packet->tcp;
    if (packet->ipv6) {
        store16(ip + 4, (uint32_t)(length - packet->ip - 40));
    } else {
        store16(ip + 2, (uint32_t)(length - packet->ip));
        store16(ip + 4, load16(ip + 4) + index);
        store16(ip + 10, 0);
        store16(ip + 10, (uint16_t)~fold_sum(sum_words(ip, packet->tcp - packet->ip)));
    }
    store32(tcp + 4, load32(tcp + 4) + (uint32_t)start);
    if (!last)
        tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PUSH);
    if (index)
        tcp[13] &= (uint8_t)~TCP_CWR;
    store16(tcp + 16, 0);
    size_t tcp_length = length - packet->tcp;
    store16(tcp + 16,
            (uint16_t)~fold_sum(pseudo_sum(packet, tcp_length) + sum_words(tcp, tcp_length)));
    return length;
}

static void send_cut(struct virtio_net *net, const struct tcp_packet *packet, size_t size)
{
    struct packet_port *port = net->port;
    size_t payload = packet->length - packet->payload;
    unsigned index = 0;
    for (size_t start = 0; start < payload && port->send; start += size) {
        size_t count = payload - start < size ? payload - start : size;
        size_t length = cut_segment(packet, start, count, index++, net->tx_segment);
        port->send(port->network, net->tx_segment, length);
    }
}

/* Completes the checksum that the driver began. */
static bool complete_checksum(uint8_t *frame, size_t length, const uint8_t *header)
{
    size_t start = virtio_le16(header + HEADER_CSUM_START);
    size_t at = start + virtio_le16(header + HEADER_CSUM_OFFSET);
    if (start > length || at + 2 > length)
        return false;
    uint16_t sum = (uint16_t)~fold_sum(sum_words(frame + start, length - start));
    store16(frame + at, sum ? sum : 0xffff);
    return true;
}

static void send_packet(struct virtio_net *net, const uint8_t *header, size_t length)
{
    struct packet_port *port = net->port;
    size_t limit = port->send_max ? port->send_max : FRAME_STANDARD;
    uint8_t gso = header[HEADER_GSO_TYPE] & (uint8_t)~GSO_ECN;
    uint16_t size = virtio_le16(header + HEADER_GSO_SIZE);
    struct tcp_packet packet;
    if (!port->send || !port->link_up || length < 14)
        return;
    if (gso != GSO_NONE && length > limit) {
        if (!size || !find_tcp(net->tx_frame, length, &packet) ||
            packet.ipv6 != (gso == GSO_TCPV6) || packet.payload + size > limit)
            log_guest("virtio-net: a large packet (type %u, segments of %u) is no TCP", gso, size);
        else
            send_cut(net, &packet, size);
        return;
    }
    if (length <= limit)
        port->send(port->network, net->tx_frame, length);
}

static void transmit_one(struct virtio_net *net, struct virtio_chain *chain)
{
    uint8_t header[HEADER_SIZE] = {0};
    unsigned skip = header_size(net);
    uint64_t length = chain->out_bytes < skip ? 0 : chain->out_bytes - skip;
    if (length == 0 || length > FRAME_MAX) {
        log_guest("virtio-net: a packet of %llu bytes", (unsigned long long)chain->out_bytes);
        return;
    }
    loop_unlock(net->virtio.loop);
    virtio_read(chain, 0, header, skip);
    virtio_read(chain, skip, net->tx_frame, (size_t)length);
    bool good = !(header[HEADER_FLAGS] & HEADER_NEEDS_CSUM) ||
                complete_checksum(net->tx_frame, (size_t)length, header);
    loop_lock(net->virtio.loop);
    if (good && virtio_running(&net->virtio))
        send_packet(net, header, (size_t)length);
}

void virtio_net_transmit(struct virtio_net *net, struct virtqueue *queue)
{
    do {
        struct virtio_chain *chain;
        virtqueue_hush(queue);
        while ((chain = virtqueue_pop(queue)) != NULL) {
            transmit_one(net, chain);
            virtqueue_push(chain, 0);
        }
        virtqueue_notify(queue);
    } while (virtqueue_ask(queue));
}
