/*
 * RTL8139 transmitter: the C's four descriptors, and the C+'s two rings with checksum insertion,
 * VLAN tags and large send.
 *
 * The four descriptors take turns. A ring's frame is gathered in tx.frame over its descriptors,
 * then sent; a large one leaves in TCP segments. Work per call is bounded in descriptors and
 * segments; what is left is done from a timer.
 */
#include "hw/network/rtl8139_internal.h"

#define BUDGET         256   /* descriptors and segments of one call */
#define FOUR_FRAME_MAX 1792u /* of the four descriptors */
#define HEADERS_MAX    (ETHERNET_HEADER + 60 + 60)
#define MSS_MAX        2047
#define TRANSMITTERS   4u

enum { QUEUE_NORMAL, QUEUE_HIGH };

static void put_on_wire(struct rtl8139 *nic, const uint8_t *frame, size_t length)
{
    struct packet_port *port = nic->port;
    if (length < ETHERNET_HEADER)
        return;
    nic->tally.tx_ok++;
    if ((rtl8139_get(nic, TCR, 4) & TCR_LBK) == TCR_LBK)
        rtl8139_receive(nic, frame, length);
    else if (port->send && port->link_up)
        port->send(port->network, frame, length);
}

/* -- The four descriptors -- */

static void send_described(struct rtl8139 *nic, enum rtl8139_reg tsd, enum rtl8139_reg address)
{
    uint8_t frame[FOUR_FRAME_MAX];
    uint32_t status = rtl8139_get(nic, tsd, 4), length = status & TSD_SIZE;
    if (length > sizeof frame) {
        log_guest("rtl8139: frame of %u bytes dropped, the longest is %zu", length, sizeof frame);
        nic->tally.tx_errors++;
        rtl8139_put(nic, tsd, status | TSD_OWN | TSD_TABT, 4);
        rtl8139_raise(nic, ISR_TER);
        return;
    }
    pci_dma_read(&nic->pci, rtl8139_get(nic, address, 4), frame, length);
    if ((rtl8139_get(nic, TCR, 4) & TCR_CRC) && length > ETHERNET_FCS)
        length -= ETHERNET_FCS;
    rtl8139_put(nic, tsd, status | TSD_OWN | TSD_TOK, 4);
    put_on_wire(nic, frame, length);
    rtl8139_raise(nic, ISR_TOK);
}

static void send_four(struct rtl8139 *nic)
{
    for (unsigned i = 0; i < TRANSMITTERS; i++) {
        enum rtl8139_reg tsd = (enum rtl8139_reg)(TSD0 + 4 * nic->tx_turn);
        if (rtl8139_get(nic, tsd, 4) & TSD_OWN)
            return;
        send_described(nic, tsd, (enum rtl8139_reg)(TSAD0 + 4 * nic->tx_turn));
        nic->tx_turn = (nic->tx_turn + 1) % TRANSMITTERS;
    }
}

/* -- Frames of the rings -- */

static void fill_checksums(uint8_t *frame, size_t length, bool header, bool tcp, bool udp)
{
    const struct ipv4_check check = ipv4_check(frame, length);
    if (check.is_ip && header)
        ipv4_fill_header(frame, &check);
    if ((tcp && check.protocol == PROTOCOL_TCP) || (udp && check.protocol == PROTOCOL_UDP))
        ipv4_fill_payload(frame, &check);
}

/* Sends a frame with the tag that its first descriptor asks for; room for the tag is behind it. */
static void send_tagged(struct rtl8139 *nic, uint8_t *frame, size_t length)
{
    if ((nic->tx.vlan & DESC_VLAN_TX) && length >= ETHERNET_HEADER) {
        memmove(frame + 12 + ETHERNET_TAG, frame + 12, length - 12);
        store16(frame + 12, ETHERTYPE_VLAN);
        pci_put(frame, 14, nic->tx.vlan & 0xffff, 2); /* in the order of the wire already */
        length += ETHERNET_TAG;
    }
    put_on_wire(nic, frame, length);
}

/* Segment at `offset` of the payload. Sequence number, identification and lengths follow it. */
static void send_segment(struct rtl8139 *nic, uint32_t headers, uint32_t offset, uint32_t count)
{
    enum { TCP_FIN = 0x01, TCP_PSH = 0x08 };
    const struct rtl8139_tx *tx = &nic->tx;
    uint8_t frame[HEADERS_MAX + MSS_MAX + ETHERNET_TAG];
    uint8_t *ip = frame + ETHERNET_HEADER, *tcp = ip + (tx->frame[ETHERNET_HEADER] & 0xfu) * 4;
    uint32_t mss = tx->first >> 16 & MSS_MAX;
    memcpy(frame, tx->frame, headers);
    memcpy(frame + headers, tx->frame + headers + offset, count);
    store16(ip + 2, headers - ETHERNET_HEADER + count);
    store16(ip + 4, load16(ip + 4) + offset / mss);
    store32(tcp + 4, load32(tcp + 4) + offset);
    if (headers + offset + count < tx->length)
        tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    fill_checksums(frame, headers + count, true, true, false);
    send_tagged(nic, frame, headers + count);
}

/* Bytes of headers before the payload of an IPv4 TCP frame, or 0. */
static uint32_t tcp_headers(const uint8_t *frame, uint32_t length)
{
    const uint8_t *ip = frame + ETHERNET_HEADER;
    if (length < ETHERNET_HEADER + 40 || load16(frame + 12) != ETHERTYPE_IPV4 || ip[0] >> 4 != 4 ||
        ip[9] != PROTOCOL_TCP)
        return 0;
    uint32_t header = (ip[0] & 0xfu) * 4;
    if (header < 20 || ETHERNET_HEADER + header + 20 > length)
        return 0;
    uint32_t tcp = (ip[header + 12] >> 4) * 4u, headers = ETHERNET_HEADER + header + tcp;
    return tcp >= 20 && headers <= length ? headers : 0;
}

/* False: out of budget in the middle. */
static bool send_large(struct rtl8139 *nic, int *budget)
{
    struct rtl8139_tx *tx = &nic->tx;
    uint32_t headers = tcp_headers(tx->frame, tx->length), mss = tx->first >> 16 & MSS_MAX;
    if (!headers || !mss || headers + tx->segment > tx->length) {
        log_guest("rtl8139: large send of what is not TCP over IPv4, or without a segment size");
        return true;
    }
    do {
        uint32_t left = tx->length - headers - tx->segment, count = left < mss ? left : mss;
        if (--*budget < 0)
            return false;
        send_segment(nic, headers, tx->segment, count);
        tx->segment += count;
    } while (headers + tx->segment < tx->length);
    return true;
}

static bool send_gathered(struct rtl8139 *nic, int *budget)
{
    struct rtl8139_tx *tx = &nic->tx;
    uint8_t frame[RX_FRAME_MAX + ETHERNET_TAG];
    if (tx->dropping)
        return true;
    if (tx->first & TXD_LGSEN)
        return send_large(nic, budget);
    if (tx->length > RX_FRAME_MAX) {
        log_guest("rtl8139: frame of %u bytes dropped", tx->length);
        return true;
    }
    memcpy(frame, tx->frame, tx->length);
    fill_checksums(frame, tx->length, tx->first & TXD_IPCS, tx->first & TXD_TCPCS,
                   tx->first & TXD_UDPCS);
    send_tagged(nic, frame, tx->length);
    return true;
}

/* -- The rings -- */

static uint64_t descriptor_address(const struct rtl8139 *nic, unsigned queue)
{
    enum rtl8139_reg low = queue == QUEUE_HIGH ? THPDS : TNPDS;
    uint64_t high = rtl8139_get(nic, (enum rtl8139_reg)(low + 4), 4);
    return (high << 32 | (rtl8139_get(nic, low, 4) & ~0xffu)) + nic->tx_index[queue] * DESC_BYTES;
}

/* Takes the current descriptor's data. False: it is not the card's. */
static bool gather(struct rtl8139 *nic, unsigned queue)
{
    struct rtl8139_tx *tx = &nic->tx;
    uint32_t words[4];
    if (!pci_dma_read(&nic->pci, descriptor_address(nic, queue), words, sizeof words)) {
        log_guest("rtl8139: the transmit ring is not in RAM");
        return false;
    }
    if (!(words[0] & DESC_OWN))
        return false;
    if (words[0] & DESC_FS) {
        tx->first = words[0];
        tx->vlan = words[1];
        tx->length = tx->segment = 0;
        tx->dropping = false;
    } else if (!tx->started) {
        log_guest("rtl8139: a frame without a first descriptor");
        tx->dropping = true;
    }
    uint32_t size = words[0] & TXD_SIZE;
    if (!tx->dropping && tx->length + size > TX_FRAME_MAX) {
        log_guest("rtl8139: frame of more than %u bytes dropped", TX_FRAME_MAX);
        tx->dropping = true;
    }
    if (!tx->dropping) {
        pci_dma_read(&nic->pci, (uint64_t)words[3] << 32 | words[2], tx->frame + tx->length, size);
        tx->length += size;
    }
    tx->started = true;
    tx->queue = queue;
    tx->current = words[0];
    tx->complete = words[0] & DESC_LS;
    return true;
}

/* Gives the current descriptor back and goes to the next. */
static void finish_descriptor(struct rtl8139 *nic, unsigned queue)
{
    struct rtl8139_tx *tx = &nic->tx;
    uint32_t *index = &nic->tx_index[queue];
    uint32_t word = tx->current & (DESC_EOR | DESC_FS | DESC_LS | TXD_SIZE);
    pci_dma_write(&nic->pci, descriptor_address(nic, queue), &word, sizeof word);
    *index = (tx->current & DESC_EOR) || *index + 1 == DESC_RING ? 0 : *index + 1;
}

/* One descriptor of a queue. False: stop for now. */
static bool step(struct rtl8139 *nic, unsigned queue, int *budget)
{
    struct rtl8139_tx *tx = &nic->tx;
    if (--*budget < 0)
        return false;
    if (!tx->complete && !gather(nic, queue)) {
        nic->reg[TPPOLL] &= (uint8_t) ~(queue == QUEUE_HIGH ? TPPOLL_HPQ : TPPOLL_NPQ);
        rtl8139_raise(nic, ISR_TDU);
        return true;
    }
    if (tx->complete) {
        if (!send_gathered(nic, budget))
            return false;
        tx->complete = tx->started = false;
        if (tx->dropping)
            nic->tally.tx_errors++;
        rtl8139_raise(nic, ISR_TOK);
    }
    finish_descriptor(nic, queue);
    return true;
}

static void send_rings(struct rtl8139 *nic)
{
    int budget = BUDGET;
    for (;;) {
        uint8_t polled = nic->reg[TPPOLL];
        /* A frame that was begun goes on before the other queue's. */
        bool high = nic->tx.started ? nic->tx.queue == QUEUE_HIGH : polled & TPPOLL_HPQ;
        if (!(polled & (high ? TPPOLL_HPQ : TPPOLL_NPQ)))
            return;
        if (!step(nic, high ? QUEUE_HIGH : QUEUE_NORMAL, &budget)) {
            timer_set(&nic->tx_timer, clock_now(nic->clock));
            return;
        }
    }
}

void rtl8139_transmit(struct rtl8139 *nic)
{
    if (!(nic->reg[CR] & CR_TE) || !pci_bus_master(&nic->pci))
        return;
    if (rtl8139_get(nic, CPCR, 2) & CPCR_TXE)
        send_rings(nic);
    else
        send_four(nic);
}

void rtl8139_poll(struct rtl8139 *nic, uint32_t queues)
{
    nic->reg[TPPOLL] |= queues & (TPPOLL_HPQ | TPPOLL_NPQ);
    if (queues & TPPOLL_FSWINT)
        rtl8139_raise(nic, ISR_SWINT);
    rtl8139_transmit(nic);
}
