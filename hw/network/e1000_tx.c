/*
 * 82540EM transmitter: legacy, context and data descriptors, checksum insertion, TCP segmentation,
 * VLAN tags (manual 317453, section 3.3 to 3.5).
 *
 * A frame is gathered in tx.frame over its descriptors. With segmentation the buffer holds the
 * prototype header, then payload up to MSS; whenever more payload comes to a full buffer, a segment
 * leaves and the header stays:
 *
 *     | header_length | mss bytes ...... |  -> segment 0, 1, 2 ... (sequence + n * mss, id + n)
 *
 * Work per call is bounded in descriptors and segments; what is left is done from a timer.
 */
#include "hw/network/e1000_internal.h"

#include <string.h>

#define BUDGET    256 /* descriptors and segments of one call */
#define MIN_FRAME 60
#define FCS       4

enum { TYPE_CONTEXT = 0, TYPE_DATA = 1 };

/* A transmit descriptor, taken apart. */
struct tx_descriptor {
    uint64_t address; /* and the first half of a context descriptor */
    uint32_t length;
    uint8_t command, status, type;
    bool legacy;
    uint8_t checksum_offset, checksum_start; /* legacy CSO, CSS */
    uint8_t options;                         /* data POPTS */
    uint16_t special;
    uint32_t high; /* upper half of a context descriptor */
};

static struct tx_descriptor parse_descriptor(const uint64_t words[2])
{
    uint32_t low = (uint32_t)words[1], high = (uint32_t)(words[1] >> 32);
    struct tx_descriptor descriptor = {
        .address = words[0],
        .command = (uint8_t)(low >> 24),
        .legacy = !(low >> 24 & TXD_CMD_DEXT),
        .status = (uint8_t)high,
        .special = (uint16_t)(high >> 16),
        .high = high,
    };
    if (descriptor.legacy) {
        descriptor.length = low & 0xffff;
        descriptor.checksum_offset = (uint8_t)(low >> 16);
        descriptor.checksum_start = (uint8_t)(high >> 8);
    } else {
        descriptor.length = low & 0xfffff;
        descriptor.type = low >> 20 & 0xf;
        descriptor.options = (uint8_t)(high >> 8);
    }
    return descriptor;
}

static void load_context(struct e1000 *nic, const struct tx_descriptor *descriptor)
{
    uint64_t low = descriptor->address;
    nic->tx.context = (struct tx_context){
        .ip_start = (uint8_t)low,
        .ip_offset = (uint8_t)(low >> 8),
        .ip_end = (uint16_t)(low >> 16),
        .tu_start = (uint8_t)(low >> 32),
        .tu_offset = (uint8_t)(low >> 40),
        .tu_end = (uint16_t)(low >> 48),
        .command = descriptor->command,
        .header_length = (uint8_t)(descriptor->high >> 8),
        .mss = (uint16_t)(descriptor->high >> 16),
    };
}

/* -- Sending one frame -- */

static void put_on_wire(struct e1000 *nic, const uint8_t *frame, size_t length)
{
    struct packet_port *port = nic->port;
    e1000_count(nic, GPTC, 1);
    e1000_count_pair(nic, GOTCL, (uint32_t)length + FCS);
    e1000_count_frame(nic, frame, length + FCS, false);
    atomic_fetch_add_explicit(&nic->activity, 1, memory_order_relaxed);
    if ((nic->phy[PHY_CONTROL] & PHY_CONTROL_LOOPBACK) ||
        (nic->reg[RCTL] & RCTL_LBM) == RCTL_LBM_MAC)
        e1000_receive(nic, frame, length);
    else if (port->send && port->link_up)
        port->send(port->network, frame, length);
}

static void send_frame(struct e1000 *nic, const uint8_t *frame, size_t length, bool tagged,
                       uint16_t tag)
{
    uint8_t copy[E1000_FRAME_MAX + VLAN_TAG];
    if (length < 14)
        return; /* not even an Ethernet header */
    if (!tagged && length >= MIN_FRAME) {
        put_on_wire(nic, frame, length);
        return;
    }
    size_t addresses = tagged ? 12 : 0;
    uint8_t *to = copy;
    if (tagged) {
        memcpy(copy, frame, addresses);
        store16(copy + 12, nic->reg[VET] & 0xffff);
        store16(copy + 14, tag);
        to += addresses + VLAN_TAG;
    }
    memcpy(to, frame + addresses, length - addresses);
    length += tagged ? VLAN_TAG : 0;
    if (length < MIN_FRAME && (nic->reg[TCTL] & TCTL_PSP)) {
        memset(copy + length, 0, MIN_FRAME - length);
        length = MIN_FRAME;
    }
    put_on_wire(nic, copy, length);
}

/* Puts the checksum of bytes [start, last] at `offset`; `last` 0 or beyond means the frame's end.
 */
static void insert_checksum(uint8_t *frame, size_t length, size_t start, size_t offset, size_t last)
{
    size_t end = last && last < length ? last + 1 : length;
    if (start >= end || offset + 2 > length)
        return;
    uint16_t sum = (uint16_t)~fold_sum(sum_words(frame + start, end - start));
    store16(frame + offset, sum);
}

static void insert_checksums(struct e1000 *nic)
{
    struct e1000_tx *tx = &nic->tx;
    const struct tx_context *context = &tx->context;
    if (tx->options & TXD_POPTS_TXSM) {
        size_t at = context->tu_offset;
        insert_checksum(tx->frame, tx->length, context->tu_start, at, context->tu_end);
        /* UDP's zero means none: the equal value 0xffff goes out instead (RFC 768). */
        if (!(context->command & TXD_TUCMD_TCP) && at + 2 <= tx->length &&
            load16(tx->frame + at) == 0)
            store16(tx->frame + at, 0xffff);
    }
    if (tx->options & TXD_POPTS_IXSM)
        insert_checksum(tx->frame, tx->length, context->ip_start, context->ip_offset,
                        context->ip_end);
}

static bool vlan_wanted(const struct e1000 *nic, const struct tx_descriptor *descriptor)
{
    return (descriptor->command & TXD_CMD_VLE) && (nic->reg[CTRL] & CTRL_VME);
}

static void send_plain(struct e1000 *nic, const struct tx_descriptor *descriptor)
{
    struct e1000_tx *tx = &nic->tx;
    if (!descriptor->legacy)
        insert_checksums(nic);
    else if (descriptor->command & TXD_CMD_IC)
        insert_checksum(tx->frame, tx->length, descriptor->checksum_start,
                        descriptor->checksum_offset, 0);
    send_frame(nic, tx->frame, tx->length, vlan_wanted(nic, descriptor), descriptor->special);
}

/* Makes the prototype header that of segment number tx.segment (section 3.5.7). */
static void adapt_header(struct e1000 *nic, bool last)
{
    enum { TCP_FIN = 0x01, TCP_PSH = 0x08 };
    struct e1000_tx *tx = &nic->tx;
    const struct tx_context *context = &tx->context;
    uint8_t *ip = tx->frame + context->ip_start, *tu = tx->frame + context->tu_start;
    uint32_t ip_length = tx->length - context->ip_start, tu_length = tx->length - context->tu_start;

    if (context->command & TXD_TUCMD_IP) {
        store16(ip + 2, ip_length);
        store16(ip + 4, load16(ip + 4) + tx->segment);
    } else {
        store16(ip + 4, ip_length - 40); /* IPv6 payload length */
    }
    if (context->command & TXD_TUCMD_TCP) {
        uint32_t sequence = (uint32_t)load16(tu + 4) << 16 | load16(tu + 6);
        sequence += tx->segment * context->mss;
        store16(tu + 4, sequence >> 16);
        store16(tu + 6, sequence);
        if (!last)
            tu[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    } else {
        store16(tu + 4, tu_length);
    }
    if (tx->options & TXD_POPTS_TXSM) { /* the prototype's pseudo header sum lacks the length */
        uint8_t *field = tx->frame + context->tu_offset;
        store16(field, fold_sum((uint32_t)load16(field) + tu_length));
    }
}

static void send_segment(struct e1000 *nic, const struct tx_descriptor *descriptor, bool last)
{
    struct e1000_tx *tx = &nic->tx;
    uint8_t prototype[256];
    uint8_t header = tx->context.header_length;
    memcpy(prototype, tx->frame, header);
    adapt_header(nic, last);
    insert_checksums(nic);
    send_frame(nic, tx->frame, tx->length, vlan_wanted(nic, descriptor), descriptor->special);
    memcpy(tx->frame, prototype, header);
    tx->length = header;
    tx->segment++;
}

/* -- Gathering -- */

/* All that adapt_header touches lies within the header, and a segment within the buffer. */
bool e1000_context_usable(const struct tx_context *context)
{
    unsigned header = context->header_length;
    return context->mss > 0 && header + context->mss <= E1000_FRAME_MAX &&
           context->ip_start + 20u <= header && context->tu_offset + 2u <= header &&
           context->tu_start + (context->command & TXD_TUCMD_TCP ? 20u : 8u) <= header &&
           context->ip_start <= context->tu_start;
}

static void begin_frame(struct e1000 *nic, const struct tx_descriptor *descriptor)
{
    struct e1000_tx *tx = &nic->tx;
    tx->started = true;
    tx->dropping = false;
    tx->length = tx->segment = 0;
    tx->options = descriptor->legacy ? 0 : descriptor->options;
    tx->segmenting = !descriptor->legacy && (descriptor->command & TXD_CMD_TSE);
    if (tx->segmenting && !e1000_context_usable(&tx->context)) {
        log_guest("e1000: segmentation with an impossible context (header %u, MSS %u)",
                  tx->context.header_length, tx->context.mss);
        tx->dropping = true;
    }
}

/* Takes the descriptor's data into the frame, sending full segments. False: out of budget. */
static bool gather(struct e1000 *nic, const struct tx_descriptor *descriptor, int *budget)
{
    struct e1000_tx *tx = &nic->tx;
    uint32_t capacity = E1000_FRAME_MAX;
    if (tx->segmenting)
        capacity = tx->context.header_length + tx->context.mss;
    while (tx->consumed < descriptor->length && !tx->dropping) {
        if (tx->length == capacity) {
            if (!tx->segmenting) {
                log_guest("e1000: frame of more than %u bytes dropped", capacity);
                tx->dropping = true;
                break;
            }
            if (--*budget < 0)
                return false;
            send_segment(nic, descriptor, false);
        }
        uint32_t count = descriptor->length - tx->consumed;
        if (count > capacity - tx->length)
            count = capacity - tx->length;
        pci_dma_read(&nic->pci, descriptor->address + tx->consumed, tx->frame + tx->length, count);
        tx->length += count;
        tx->consumed += count;
    }
    return true;
}

static void end_frame(struct e1000 *nic, const struct tx_descriptor *descriptor)
{
    struct e1000_tx *tx = &nic->tx;
    tx->started = false;
    if (tx->dropping)
        return;
    if (!tx->segmenting) {
        send_plain(nic, descriptor);
    } else if (tx->length > tx->context.header_length ||
               (tx->segment == 0 && tx->length == tx->context.header_length)) {
        send_segment(nic, descriptor, true);
        e1000_count(nic, TSCTC, 1);
    }
}

/* False: out of budget in the middle; the same descriptor comes again. */
static bool process(struct e1000 *nic, const struct tx_descriptor *descriptor, int *budget)
{
    struct e1000_tx *tx = &nic->tx;
    if (!descriptor->legacy && descriptor->type == TYPE_CONTEXT) {
        if (tx->started) {
            log_guest("e1000: context descriptor in the middle of a frame, frame dropped");
            tx->started = false;
        }
        load_context(nic, descriptor);
        return true;
    }
    if (!descriptor->legacy && descriptor->type != TYPE_DATA) {
        log_guest("e1000: transmit descriptor of type %u", descriptor->type);
        return true;
    }
    if (!tx->started) {
        begin_frame(nic, descriptor);
        tx->consumed = 0;
    }
    if (!gather(nic, descriptor, budget))
        return false;
    tx->consumed = 0;
    if (descriptor->command & TXD_CMD_EOP)
        end_frame(nic, descriptor);
    return true;
}

/* -- The ring -- */

/* Reports a descriptor as done if that was asked for; returns the causes it gives. */
static uint32_t write_back(struct e1000 *nic, uint64_t address,
                           const struct tx_descriptor *descriptor)
{
    if (!(descriptor->command & (TXD_CMD_RS | TXD_CMD_RPS)))
        return 0;
    uint8_t status = (descriptor->status & 0xf0) | TXD_STA_DD;
    pci_dma_write(&nic->pci, address + 12, &status, 1);
    if ((descriptor->command & TXD_CMD_IDE) && (nic->reg[TIDV] & 0xffff)) {
        e1000_raise_later(nic, &nic->tx_delay, nic->reg[TIDV] & 0xffff, nic->reg[TADV] & 0xffff);
        return 0;
    }
    return ICR_TXDW;
}

void e1000_transmit(struct e1000 *nic)
{
    uint32_t *reg = nic->reg;
    uint32_t causes = 0, count = reg[TDLEN] / E1000_DESCRIPTOR;
    int budget = BUDGET;
    bool worked = false;

    if (!(reg[TCTL] & TCTL_EN) || reg[TDH] == reg[TDT])
        return;
    if (reg[TDH] >= count || reg[TDT] >= count) {
        log_guest("e1000: transmit ring of %u descriptors with head %u and tail %u", count,
                  reg[TDH], reg[TDT]);
        return;
    }
    while (reg[TDH] != reg[TDT]) {
        uint64_t words[2], address = ring_base(nic, TDBAL) + reg[TDH] * E1000_DESCRIPTOR;
        if (!pci_dma_read(&nic->pci, address, words, sizeof words)) {
            log_guest("e1000: transmit ring at %#llx is not in RAM", (unsigned long long)address);
            return;
        }
        struct tx_descriptor descriptor = parse_descriptor(words);
        if (--budget < 0 || !process(nic, &descriptor, &budget)) {
            timer_set(&nic->tx_timer, clock_now(nic->clock));
            break;
        }
        causes |= write_back(nic, address, &descriptor);
        reg[TDH] = reg[TDH] + 1 == count ? 0 : reg[TDH] + 1;
        worked = true;
    }
    if (worked && reg[TDH] == reg[TDT])
        causes |= ICR_TXQE;
    e1000_raise(nic, causes);
}
