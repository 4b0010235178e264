/*
 * 82540EM receiver: address and VLAN filters, descriptor ring, checksum verification (manual
 * 317453, sections 3.2 and 13.4.22, 13.5).
 *
 * A frame that finds too few descriptors is left to the network, which offers it again when the
 * driver moves the tail; hardware would lose it. Frames come without FCS; it is made anew if the
 * driver wants it.
 */
#include "hw/network/e1000_internal.h"

#include <string.h>

#define MIN_FRAME    60u
#define FCS          4u
#define MAX_STANDARD 1518u /* with FCS; a VLAN tag adds 4 */

static uint32_t ring_size(const struct e1000 *nic)
{
    return nic->reg[RDLEN] / E1000_DESCRIPTOR;
}

/* Descriptors that the driver has handed over; 0 if head or tail lie outside the ring. */
static uint32_t free_descriptors(const struct e1000 *nic)
{
    uint32_t size = ring_size(nic), head = nic->reg[RDH], tail = nic->reg[RDT];
    if (head >= size || tail >= size)
        return 0;
    return tail >= head ? tail - head : size - head + tail;
}

static uint32_t buffer_size(const struct e1000 *nic)
{
    static const uint16_t sizes[2][4] = {{2048, 1024, 512, 256}, {0, 16384, 8192, 4096}};
    uint32_t size = sizes[!!(nic->reg[RCTL] & RCTL_BSEX)][nic->reg[RCTL] >> 16 & 3];
    return size ? size : 2048; /* the reserved code */
}

/* -- Filters -- */

static bool matches_address(const struct e1000 *nic, const uint8_t *destination)
{
    for (int i = 0; i < 16; i++) {
        uint32_t low = nic->reg[RAL0 + 2 * i], high = nic->reg[RAH0 + 2 * i];
        uint8_t address[6] = {(uint8_t)low,         (uint8_t)(low >> 8), (uint8_t)(low >> 16),
                              (uint8_t)(low >> 24), (uint8_t)high,       (uint8_t)(high >> 8)};
        if ((high & RAH_AV) && !memcmp(destination, address, 6))
            return true;
    }
    return false;
}

/* Twelve bits of the address choose a bit of the multicast table; RCTL.MO says which. */
static bool matches_hash(const struct e1000 *nic, const uint8_t *destination)
{
    static const uint8_t shifts[4] = {4, 3, 2, 0};
    unsigned shift = shifts[nic->reg[RCTL] >> 12 & 3];
    unsigned hash = ((unsigned)destination[5] << 8 | destination[4]) >> shift & 0xfff;
    return nic->reg[MTA + (hash >> 5)] >> (hash & 31) & 1;
}

static bool is_tagged(const struct e1000 *nic, const uint8_t *frame, size_t length)
{
    return length >= 14 + VLAN_TAG && load16(frame + 12) == (nic->reg[VET] & 0xffff);
}

static bool wanted(const struct e1000 *nic, const uint8_t *frame, size_t length)
{
    uint32_t rctl = nic->reg[RCTL];
    if ((rctl & RCTL_VFE) && is_tagged(nic, frame, length)) {
        unsigned id = load16(frame + 14) & 0xfff;
        if (!(nic->reg[VFTA + (id >> 5)] >> (id & 31) & 1))
            return false;
    }
    bool own = matches_address(nic, frame);
    switch (ethernet_kind(frame)) {
    case ETHERNET_BROADCAST:
        return own || (rctl & (RCTL_BAM | RCTL_MPE));
    case ETHERNET_MULTICAST:
        return own || (rctl & RCTL_MPE) || matches_hash(nic, frame);
    default:
        return own || (rctl & RCTL_UPE);
    }
}

/* -- Checksums -- */

/* What RXCSUM asks to be checked of an IPv4 frame. */
static void verify(const struct e1000 *nic, const uint8_t *frame, size_t length, uint8_t *status,
                   uint8_t *errors)
{
    uint32_t wanted = nic->reg[RXCSUM];
    if (!(wanted & (RXCSUM_IPOFL | RXCSUM_TUOFL))) {
        *status |= RXD_STA_IXSM;
        return;
    }
    const struct ipv4_check check = ipv4_check(frame, length);
    if (check.is_ip && (wanted & RXCSUM_IPOFL)) {
        *status |= RXD_STA_IPCS;
        *errors |= check.header_bad ? RXD_ERR_IPE : 0;
    }
    if (check.checked && (wanted & RXCSUM_TUOFL)) {
        *status |= RXD_STA_TCPCS;
        *errors |= check.payload_bad ? RXD_ERR_TCPE : 0;
    }
}

/* -- The ring -- */

/* Upper half of a receive descriptor: length, packet checksum, status, errors, VLAN tag. */
static uint64_t descriptor_word(uint32_t length, uint16_t checksum, uint8_t status, uint8_t errors,
                                uint16_t tag)
{
    return length | (uint64_t)checksum << 16 | (uint64_t)status << 32 | (uint64_t)errors << 40 |
           (uint64_t)tag << 48;
}

/* Spreads the frame over descriptors, of which there are enough. */
static void fill_ring(struct e1000 *nic, const uint8_t *frame, size_t length, uint16_t checksum,
                      uint8_t status, uint8_t errors, uint16_t tag)
{
    uint32_t *reg = nic->reg, size = buffer_size(nic);
    for (size_t done = 0; done < length;) {
        uint64_t address = ring_base(nic, RDBAL) + reg[RDH] * E1000_DESCRIPTOR, buffer = 0;
        uint32_t count = length - done < size ? (uint32_t)(length - done) : size;
        bool last = done + count == length;
        pci_dma_read(&nic->pci, address, &buffer, sizeof buffer);
        pci_dma_write(&nic->pci, buffer, frame + done, count);
        uint64_t word = descriptor_word(
            count, checksum, last ? status | RXD_STA_DD | RXD_STA_EOP : RXD_STA_DD | RXD_STA_IXSM,
            last ? errors : 0, tag);
        pci_dma_write(&nic->pci, address + 8, &word, sizeof word);
        reg[RDH] = reg[RDH] + 1 == ring_size(nic) ? 0 : reg[RDH] + 1;
        done += count;
    }
}

static void announce(struct e1000 *nic)
{
    uint32_t *reg = nic->reg;
    unsigned threshold = reg[RCTL] >> 8 & 3; /* RDMTS: 1/2, 1/4, 1/8 of the ring */
    uint32_t causes = 0;
    if (free_descriptors(nic) <= ring_size(nic) >> (threshold + 1))
        causes |= ICR_RXDMT0;
    if (reg[RDTR] & 0xffff)
        e1000_raise_later(nic, &nic->rx_delay, reg[RDTR] & 0xffff, reg[RADV] & 0xffff);
    else
        causes |= ICR_RXT0;
    e1000_raise(nic, causes);
}

bool e1000_can_receive(void *opaque)
{
    struct e1000 *nic = opaque;
    return !(nic->reg[RCTL] & RCTL_EN) || free_descriptors(nic) > 0;
}

bool e1000_receive(void *opaque, const uint8_t *frame, size_t length)
{
    struct e1000 *nic = opaque;
    uint8_t copy[E1000_FRAME_MAX + FCS];
    uint8_t status = 0, errors = 0;
    uint16_t tag = 0;

    if (!(nic->reg[RCTL] & RCTL_EN) || !pci_bus_master(&nic->pci) || length < 14)
        return true; /* nobody listens */
    bool tagged = is_tagged(nic, frame, length);
    if (length + FCS > MAX_STANDARD + (tagged ? VLAN_TAG : 0) &&
        (!(nic->reg[RCTL] & RCTL_LPE) || length + FCS > E1000_FRAME_MAX)) {
        e1000_count(nic, ROC, 1);
        return true;
    }
    if (!wanted(nic, frame, length))
        return true;

    bool strip_tag = tagged && (nic->reg[CTRL] & CTRL_VME);
    size_t padded = length < MIN_FRAME ? MIN_FRAME : length;
    size_t stored = padded - (strip_tag ? VLAN_TAG : 0);
    size_t total = stored + (nic->reg[RCTL] & RCTL_SECRC ? 0 : FCS);
    uint32_t needed = (uint32_t)((total + buffer_size(nic) - 1) / buffer_size(nic));
    if (needed > free_descriptors(nic)) {
        bool never = needed >= ring_size(nic);
        e1000_count(nic, RNBC, 1);
        if (never)
            e1000_count(nic, MPC, 1);
        e1000_raise(nic, ICR_RXO);
        return never;
    }

    memcpy(copy, frame, length);
    memset(copy + length, 0, padded - length);
    uint32_t fcs = ethernet_fcs(copy, padded);
    e1000_count(nic, GPRC, 1);
    e1000_count(nic, TPR, 1);
    e1000_count_pair(nic, GORCL, (uint32_t)(padded + FCS));
    e1000_count_pair(nic, TORL, (uint32_t)(padded + FCS));
    e1000_count_frame(nic, copy, padded + FCS, true);
    if (strip_tag) {
        tag = load16(copy + 14);
        status |= RXD_STA_VP;
        memmove(copy + 12, copy + 12 + VLAN_TAG, padded - 12 - VLAN_TAG);
    }
    verify(nic, copy, stored, &status, &errors);
    for (unsigned i = 0; i < FCS; i++)
        copy[stored + i] = (uint8_t)(fcs >> (8 * i));

    size_t start = nic->reg[RXCSUM] & 0xff; /* PCSS */
    uint16_t checksum = start < stored ? fold_sum(sum_words(copy + start, stored - start)) : 0;
    atomic_fetch_add_explicit(&nic->activity, 1, memory_order_relaxed);
    fill_ring(nic, copy, total, (uint16_t)(checksum << 8 | checksum >> 8), status, errors, tag);
    announce(nic);
    return true;
}
