/*
 * RTL8139 receiver: address filters, the C's receive ring, the C+'s descriptors.
 *
 * The ring is one buffer of 8 to 64 KiB; each frame has a header of 4 bytes and its FCS, and starts
 * at a multiple of four:
 *
 *     RBSTART ... | read up to CAPR + 16 | status, length, frame, FCS | ... | CBR: the next goes
 * here
 *
 * With RCR.WRAP a frame that reaches the ring's end goes on behind it, where the driver has left
 * room, else at its start.
 *
 * A frame that finds no room is left to the network, which offers it again when the driver may have
 * made some; hardware would lose it. Drivers rely on the next frame's interrupt to look at frames
 * that they left in the ring: after such a refusal ROK is set again from time to time until the
 * ring is empty.
 */
#include "hw/network/rtl8139_internal.h"

#define RING_HEADER 4u
#define RETRY_NS    1000000 /* how long a refused frame waits at most */

uint32_t rtl8139_ring_size(const struct rtl8139 *nic)
{
    return 8192u << (rtl8139_get(nic, RCR, 4) >> 11 & 3);
}

uint32_t rtl8139_read_offset(const struct rtl8139 *nic)
{
    return (rtl8139_get(nic, CAPR, 2) + 16) % rtl8139_ring_size(nic);
}

/* -- Filters -- */

static bool hash_matches(const struct rtl8139 *nic, const uint8_t *address)
{
    unsigned hash = ethernet_hash(address);
    return nic->reg[MAR0 + hash / 8] >> (hash % 8) & 1;
}

static bool wanted(const struct rtl8139 *nic, const uint8_t *frame)
{
    uint32_t rcr = rtl8139_get(nic, RCR, 4);
    switch (ethernet_kind(frame)) {
    case ETHERNET_BROADCAST:
        return rcr & RCR_AB;
    case ETHERNET_MULTICAST:
        return (rcr & RCR_AM) && hash_matches(nic, frame);
    default:
        return (rcr & RCR_AAP) || ((rcr & RCR_APM) && !memcmp(frame, nic->reg + IDR0, 6));
    }
}

static void count(struct rtl8139 *nic, const uint8_t *frame)
{
    nic->tally.rx_ok++;
    if (ethernet_kind(frame) == ETHERNET_BROADCAST)
        nic->tally.rx_broadcast++;
    else if (ethernet_kind(frame) == ETHERNET_MULTICAST)
        nic->tally.rx_multicast++;
    else
        nic->tally.rx_unicast++;
}

/* A frame that can never be stored: it counts as missed. */
static bool lose(struct rtl8139 *nic)
{
    uint32_t missed = rtl8139_get(nic, MPC, 3);
    if (missed < 0xffffff)
        rtl8139_put(nic, MPC, missed + 1, 3);
    nic->tally.rx_missed++;
    rtl8139_raise(nic, ISR_RXOVW);
    return true;
}

/* -- The C's ring -- */

static bool store_in_ring(struct rtl8139 *nic, const uint8_t *frame, uint32_t length)
{
    static const uint16_t kinds[] = {RXS_PAM, RXS_MAR, RXS_BAR};
    uint8_t packet[RING_HEADER + RX_FRAME_MAX + ETHERNET_FCS];
    uint32_t size = rtl8139_ring_size(nic), at = rtl8139_get(nic, CBR, 2) % size;
    uint32_t used = (at - rtl8139_read_offset(nic)) % size, base = rtl8139_get(nic, RBSTART, 4);
    uint32_t total = RING_HEADER + length + ETHERNET_FCS;
    if (((total + 3) & ~3u) >= size - used) /* a full ring would look like an empty one */
        return false;
    pci_put(packet, 0, RXS_ROK | kinds[ethernet_kind(frame)], 2);
    pci_put(packet, 2, length + ETHERNET_FCS, 2);
    memcpy(packet + RING_HEADER, frame, length);
    pci_put(packet, RING_HEADER + length, ethernet_fcs(frame, length), 4);
    bool contiguous = (rtl8139_get(nic, RCR, 4) & RCR_WRAP) && size < 8192u << RCR_RBLEN_64K;
    uint32_t first = contiguous || total <= size - at ? total : size - at;
    pci_dma_write(&nic->pci, base + at, packet, first);
    if (first < total)
        pci_dma_write(&nic->pci, base, packet + first, total - first);
    rtl8139_put(nic, CBR, ((at + total + 3) & ~3u) % size, 2);
    return true;
}

/* -- The C+'s descriptors: size and status, VLAN tag, address -- */

static uint64_t ring_base(const struct rtl8139 *nic)
{
    uint64_t high = rtl8139_get(nic, (enum rtl8139_reg)(RDSAR + 4), 4);
    return high << 32 | (rtl8139_get(nic, RDSAR, 4) & ~0xffu);
}

static bool read_descriptor(struct rtl8139 *nic, uint32_t index, uint32_t words[4])
{
    return pci_dma_read(&nic->pci, ring_base(nic) + index * DESC_BYTES, words, DESC_BYTES);
}

static uint32_t following(uint32_t index, uint32_t first_word)
{
    return (first_word & DESC_EOR) || index + 1 == DESC_RING ? 0 : index + 1;
}

/* Descriptors that a frame takes; 0: the driver has not given enough. */
static unsigned descriptors_for(struct rtl8139 *nic, uint32_t length)
{
    uint32_t words[4], room = 0, index = nic->rx_index;
    for (unsigned taken = 1; taken <= DESC_RING; taken++) {
        if (!read_descriptor(nic, index, words) || !(words[0] & DESC_OWN))
            return 0;
        room += words[0] & RXD_SIZE;
        if (room >= length)
            return taken;
        index = following(index, words[0]);
        if (index == nic->rx_index)
            return 0;
    }
    return 0;
}

static uint32_t checksum_status(const uint8_t *frame, uint32_t length)
{
    const struct ipv4_check check = ipv4_check(frame, length);
    uint32_t status = check.header_bad ? RXD_IPF : 0;
    if (!check.is_ip)
        return 0;
    if (check.protocol == PROTOCOL_TCP)
        return status | RXD_TCP | (check.payload_bad ? RXD_TCPF : 0);
    if (check.protocol == PROTOCOL_UDP)
        return status | RXD_UDP | (check.payload_bad ? RXD_UDPF : 0);
    return status | RXD_IP;
}

static bool store_in_descriptors(struct rtl8139 *nic, const uint8_t *frame, uint32_t length)
{
    static const uint32_t kinds[] = {RXD_PAM, RXD_MAR, RXD_BAR};
    uint8_t packet[RX_FRAME_MAX + ETHERNET_FCS];
    uint32_t status = kinds[ethernet_kind(frame)], vlan = 0, words[4];
    memcpy(packet, frame, length);
    pci_put(packet, length, ethernet_fcs(frame, length), 4);
    length += ETHERNET_FCS;
    if ((rtl8139_get(nic, CPCR, 2) & CPCR_RXVLAN) && load16(packet + 12) == ETHERTYPE_VLAN) {
        vlan = DESC_VLAN_RX | pci_get(packet, 14, 2);
        length -= ETHERNET_TAG;
        memmove(packet + 12, packet + 12 + ETHERNET_TAG, length - 12);
    }
    if (rtl8139_get(nic, CPCR, 2) & CPCR_RXCHKSUM)
        status |= checksum_status(packet, length - ETHERNET_FCS);
    unsigned taken = descriptors_for(nic, length);
    if (!taken)
        return false;
    for (uint32_t done = 0, place = 0; place < taken; place++) {
        uint64_t at = ring_base(nic) + nic->rx_index * DESC_BYTES;
        if (!read_descriptor(nic, nic->rx_index, words))
            return true; /* a buffer has covered the ring: what became of it is the guest's */
        uint32_t size = words[0] & RXD_SIZE;
        uint32_t part = length - done < size ? length - done : size;
        pci_dma_write(&nic->pci, (uint64_t)words[3] << 32 | words[2], packet + done, part);
        done += part;
        nic->rx_index = following(nic->rx_index, words[0]);
        words[0] = (words[0] & DESC_EOR) | (place == 0 ? DESC_FS : 0);
        if (place + 1 == taken)
            words[0] |= DESC_LS | status | length;
        words[1] = vlan;
        pci_dma_write(&nic->pci, at, words, 2 * sizeof *words);
    }
    return true;
}

/* -- Frames -- */

static bool plus_mode(const struct rtl8139 *nic)
{
    return rtl8139_get(nic, CPCR, 2) & CPCR_RXE;
}

static bool refuse(struct rtl8139 *nic)
{
    if (!timer_pending(&nic->rx_timer))
        timer_set(&nic->rx_timer, clock_now(nic->clock) + RETRY_NS);
    return false;
}

void rtl8139_retry(struct rtl8139 *nic)
{
    if (!(nic->reg[CR] & CR_RE))
        return;
    if (!plus_mode(nic) &&
        rtl8139_get(nic, CBR, 2) % rtl8139_ring_size(nic) != rtl8139_read_offset(nic)) {
        rtl8139_raise(nic, ISR_ROK);
        timer_set(&nic->rx_timer, clock_now(nic->clock) + RETRY_NS);
    }
    rtl8139_offer_room(nic);
}

static bool receives(const struct rtl8139 *nic)
{
    return (nic->reg[CR] & CR_RE) && pci_bus_master(&nic->pci);
}

bool rtl8139_can_receive(void *opaque)
{
    struct rtl8139 *nic = opaque;
    if (!receives(nic))
        return true; /* to lose it */
    if (plus_mode(nic))
        return descriptors_for(nic, ETHERNET_MAX + ETHERNET_FCS) > 0;
    uint32_t size = rtl8139_ring_size(nic);
    uint32_t used = (rtl8139_get(nic, CBR, 2) - rtl8139_read_offset(nic)) % size;
    return size - used > RING_HEADER + ETHERNET_MAX + ETHERNET_FCS + 3;
}

bool rtl8139_receive(void *opaque, const uint8_t *frame, size_t length)
{
    struct rtl8139 *nic = opaque;
    uint8_t padded[ETHERNET_MIN] = {0};
    if (!receives(nic) || length < ETHERNET_HEADER || !wanted(nic, frame))
        return true;
    if (length > RX_FRAME_MAX)
        return lose(nic);
    if (length < ETHERNET_MIN) { /* a wire brings none shorter */
        memcpy(padded, frame, length);
        frame = padded;
        length = ETHERNET_MIN;
    }
    if (plus_mode(nic)) {
        if (!store_in_descriptors(nic, frame, (uint32_t)length)) {
            rtl8139_raise(nic, ISR_RXOVW);
            return refuse(nic);
        }
    } else if (!store_in_ring(nic, frame, (uint32_t)length)) {
        return refuse(nic);
    }
    count(nic, frame);
    rtl8139_raise(nic, ISR_ROK);
    return true;
}
