/*
 * Virtio network device, to the guest: filters, buffers, large segments (Virtio 1.1, 5.1.6.3).
 *
 * Consecutive TCP segments of one flow that arrive in one turn of the event loop are put together
 * and handed over as one large segment, if the driver takes such; that spares the guest most of the
 * work per packet. The order of frames stays what it was: whatever does not fit is sent after it.
 */
#include "hw/virtio/virtio_net_internal.h"

enum { ETHERTYPE_VLAN = 0x8100, ETHERTYPE_IPV4 = 0x0800, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { TCP_PUSH = 0x08, TCP_ACK = 0x10 };
#define IP        14
#define TCP       34 /* without IP options */
#define TOTAL_MAX 65535

/* -- Filters (5.1.6.5) -- */

static bool in_table(const struct address_table *table, const uint8_t *address)
{
    for (uint32_t i = 0; i < table->count; i++)
        if (!memcmp(table->address[i], address, 6))
            return true;
    return table->overflow;
}

static bool wanted(const struct virtio_net *net, const uint8_t *frame, size_t length)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (net->promiscuous)
        return true;
    if (virtio_has(&net->virtio, F_CTRL_VLAN) && length >= 18 &&
        load16(frame + 12) == ETHERTYPE_VLAN) {
        unsigned id = load16(frame + 14) & 0xfff;
        if (!(net->vlan[id / 8] >> (id % 8) & 1))
            return false;
    }
    if (!memcmp(frame, broadcast, 6))
        return !net->no_broadcast;
    if (frame[0] & 1)
        return !net->no_multicast && (net->all_multicast || in_table(&net->multicast, frame));
    return !net->no_unicast && (net->all_unicast || !memcmp(frame, net->virtio.config, 6) ||
                                in_table(&net->unicast, frame));
}

/* -- Into the ring -- */

/* Frames of one flow go to one queue. */
static struct virtqueue *choose_queue(struct virtio_net *net, const uint8_t *frame, size_t length)
{
    uint32_t hash = 0;
    if (net->active_pairs > 1 && length >= TCP + 4 && load16(frame + 12) == ETHERTYPE_IPV4)
        hash =
            (load32(frame + IP + 12) ^ load32(frame + IP + 16) ^ load32(frame + TCP)) * 2654435761u;
    return &net->virtio.queue[RX_QUEUE((hash >> 16) % net->active_pairs)];
}

/* Takes chains until they hold `length` bytes. False: there are too few, none is taken. */
static bool take_chains(struct virtqueue *queue, bool mergeable, size_t length,
                        struct virtio_chain **first, unsigned *count)
{
    struct virtio_chain *last = NULL;
    uint64_t room = 0;
    *first = NULL;
    *count = 0;
    while (room < length && (*count == 0 || mergeable)) {
        struct virtio_chain *chain = virtqueue_pop(queue);
        if (!chain)
            break;
        chain->next_free = NULL;
        if (last)
            last->next_free = chain;
        else
            *first = chain;
        last = chain;
        room += chain->in_bytes;
        ++*count;
    }
    return room >= length;
}

/* In the reverse order of taking. */
static void put_back(struct virtio_chain *chain)
{
    if (!chain)
        return;
    put_back(chain->next_free);
    virtqueue_unpop(chain);
}

static void fill_chains(struct virtqueue *queue, struct virtio_chain *chain, unsigned header_bytes,
                        const uint8_t *header, const uint8_t *frame, size_t length)
{
    unsigned count = 0;
    size_t done = 0;
    for (struct virtio_chain *next; chain; chain = next, count++) {
        size_t start = count ? 0 : header_bytes;
        next = chain->next_free;
        if (!count)
            virtio_write(chain, 0, header, header_bytes);
        size_t put = virtio_write(chain, start, frame + done, length - done);
        done += put;
        virtqueue_fill(chain, start + put, count);
    }
    virtqueue_publish(queue, count);
    virtqueue_notify(queue);
}

/* False: no buffers now. A frame that no buffer will ever hold is lost. */
static bool deliver(struct virtio_net *net, uint8_t *header, const uint8_t *frame, size_t length)
{
    struct virtqueue *queue = choose_queue(net, frame, length);
    bool mergeable = virtio_has(&net->virtio, F_MRG_RXBUF);
    unsigned header_bytes = header_size(net), count;
    struct virtio_chain *chain;
    while (!take_chains(queue, mergeable, header_bytes + length, &chain, &count)) {
        bool never = chain && (!mergeable || count == queue->size);
        if (never)
            log_guest("virtio-net: no receive buffer holds %zu bytes", length);
        put_back(chain);
        if (never)
            return true;
        net->starving = true;
        if (!virtqueue_ask(queue) || !virtqueue_ready(queue))
            return false;
        if (chain) /* too little, but something: wait for more */
            return false;
    }
    virtio_put(header + HEADER_BUFFERS, count, 2);
    fill_chains(queue, chain, header_bytes, header, frame, length);
    return true;
}

/* -- Checksums -- */

/* DATA_VALID if the frame is TCP or UDP on IPv4 and its checksums are right. */
static uint8_t checked_flags(const struct virtio_net *net, const uint8_t *frame, size_t length)
{
    const uint8_t *ip = frame + IP;
    if (!(net->offloads & F_GUEST_CSUM) || length < TCP + 8 || load16(frame + 12) != ETHERTYPE_IPV4)
        return 0;
    size_t header = (ip[0] & 0xfu) * 4u, total = load16(ip + 2);
    bool tcp = ip[9] == PROTOCOL_TCP;
    if (header < 20 || total > length - IP || total < header + (tcp ? 20 : 8) ||
        (load16(ip + 6) & 0x3fff) || (!tcp && ip[9] != PROTOCOL_UDP))
        return 0;
    size_t payload = total - header;
    uint32_t sum = sum_words(ip + 12, 8) + ip[9] + (uint32_t)payload;
    return fold_sum(sum + sum_words(ip + header, payload)) == 0xffff ? HEADER_DATA_VALID : 0;
}

static bool deliver_plain(struct virtio_net *net, const uint8_t *frame, size_t length)
{
    uint8_t header[HEADER_SIZE] = {0};
    header[HEADER_FLAGS] = checked_flags(net, frame, length);
    return deliver(net, header, frame, length);
}

/* -- Putting segments together -- */

/* Payload bytes if the frame is a TCP segment that carries data and nothing special, else 0. */
static size_t plain_payload(const struct virtio_net *net, const uint8_t *frame, size_t length)
{
    const uint8_t *ip = frame + IP, *tcp = frame + TCP;
    if (length < TCP + 20 || load16(frame + 12) != ETHERTYPE_IPV4 || ip[0] != 0x45 ||
        ip[9] != PROTOCOL_TCP || (load16(ip + 6) & 0x3fff))
        return 0;
    size_t header = (size_t)(tcp[12] >> 4) * 4, total = load16(ip + 2);
    if (header < 20 || total + IP > length || total < 20 + header ||
        (tcp[13] & (uint8_t)~TCP_PUSH) != TCP_ACK)
        return 0;
    return checked_flags(net, frame, length) ? total - 20 - header : 0;
}

/* True if the segment continues what is held: the same flow, headers and acknowledgement. */
static bool continues(const struct coalesced *held, const uint8_t *frame, size_t payload)
{
    const uint8_t *a = held->frame, *b = frame;
    const uint8_t *x = a + TCP, *y = b + TCP;
    size_t header = (size_t)(y[12] >> 4) * 4;
    return !held->closed && held->header == TCP + header && payload <= held->segment &&
           held->length + payload <= IP + TOTAL_MAX && load32(y + 4) == held->next_sequence &&
           !memcmp(a, b, IP) && a[IP + 1] == b[IP + 1] && a[IP + 8] == b[IP + 8] &&
           !memcmp(a + IP + 12, b + IP + 12, 8) && !memcmp(x, y, 4) && !memcmp(x + 8, y + 8, 4) &&
           !memcmp(x + 14, y + 14, 2) && !memcmp(x + 18, y + 18, header - 18);
}

static void hold(struct coalesced *held, const uint8_t *frame, size_t payload)
{
    size_t header = TCP + (size_t)(frame[TCP + 12] >> 4) * 4;
    if (!held->length) {
        memcpy(held->frame, frame, header);
        held->length = held->header = (uint32_t)header;
        held->segment = (uint16_t)payload;
        held->segments = 0;
        held->closed = false;
        held->next_sequence = load32(frame + TCP + 4);
    }
    memcpy(held->frame + held->length, frame + header, payload);
    held->frame[TCP + 13] |= frame[TCP + 13];
    held->length += (uint32_t)payload;
    held->next_sequence += (uint32_t)payload;
    held->segments++;
    held->closed = payload < held->segment || (frame[TCP + 13] & TCP_PUSH);
}

/* The checksum of the whole is the driver's to finish; the field holds that of the pseudo header.
 */
static void make_large(struct coalesced *held, uint8_t *header)
{
    uint8_t *ip = held->frame + IP, *tcp = held->frame + TCP;
    store16(ip + 2, held->length - IP);
    store16(ip + 10, 0);
    store16(ip + 10, (uint16_t)~fold_sum(sum_words(ip, 20)));
    store16(tcp + 16, fold_sum(sum_words(ip + 12, 8) + PROTOCOL_TCP + held->length - TCP));
    header[HEADER_FLAGS] = HEADER_NEEDS_CSUM;
    header[HEADER_GSO_TYPE] = GSO_TCPV4;
    virtio_put(header + HEADER_LENGTH, held->header, 2);
    virtio_put(header + HEADER_GSO_SIZE, held->segment, 2);
    virtio_put(header + HEADER_CSUM_START, TCP, 2);
    virtio_put(header + HEADER_CSUM_OFFSET, 16, 2);
}

bool virtio_net_flush(struct virtio_net *net)
{
    struct coalesced *held = &net->held;
    uint8_t header[HEADER_SIZE] = {0};
    if (!held->length)
        return true;
    if (held->segments > 1)
        make_large(held, header);
    else
        header[HEADER_FLAGS] = HEADER_DATA_VALID;
    if (!deliver(net, header, held->frame, held->length))
        return false;
    held->length = 0;
    return true;
}

/* The turn of the loop that brought the segments is over. */
void virtio_net_flush_due(void *opaque)
{
    struct virtio_net *net = opaque;
    if (virtio_net_can_receive(net))
        virtio_net_flush(net);
    else
        net->held.length = 0;
}

/* -- The packet port -- */

bool virtio_net_can_receive(void *opaque)
{
    const struct virtio_net *net = opaque;
    return (net->virtio.status & VIRTIO_STATUS_DRIVER_OK) && virtio_running(&net->virtio);
}

bool virtio_net_receive(void *opaque, const uint8_t *frame, size_t length)
{
    struct virtio_net *net = opaque;
    if (!virtio_net_can_receive(net) || length < 14 || length > FRAME_MAX ||
        !wanted(net, frame, length))
        return true; /* nobody listens */
    size_t payload = net->offloads & F_GUEST_TSO4 ? plain_payload(net, frame, length) : 0;
    bool joins = payload && net->held.length && continues(&net->held, frame, payload);
    if (!joins && !virtio_net_flush(net))
        return false;
    if (!payload)
        return deliver_plain(net, frame, length);
    hold(&net->held, frame, payload);
    if (!timer_pending(&net->flush_timer))
        timer_set(&net->flush_timer, 0);
    return true;
}
