/*
 * Realtek RTL8029AS: a DP8390 network controller, 16 KiB of packet memory and an address PROM, as
 * the NE2000 has them, on PCI.
 *
 * Specification: National Semiconductor DP8390D/NS32490D data sheet (sections 7 to 11), Realtek
 * RTL8029AS data sheet (page 3, PCI).
 *
 *     BAR 0, 32 ports:  00-0f  registers; bits 7 and 6 of CR choose among four pages
 *                       10-17  data: remote DMA between the processor and the card's memory
 *                       18-1f  reset, by reading
 *
 *     card memory:      0000-001f  address PROM, every byte twice
 *                       4000-7fff  packet memory, in pages of 256 bytes
 *
 * Received frames go into the ring of pages [PSTART, PSTOP) from CURR on, up to BNRY, each with a
 * header: status, page of the next frame, length (two bytes) with the header.
 *
 * A frame that finds no room is left to the network, which offers it again when the driver has made
 * some; hardware would lose it and report an overflow. Drivers rely on the next frame's interrupt
 * to look at frames that they left in the ring: after such a refusal PRX is set again from time to
 * time until the ring is empty.
 *
 * Not modelled: what loopback leaves in the FIFO, collisions, the EEPROM behind 9346CR.
 */
#include "hw/network/ne2000.h"

#include "hw/alloc.h"
#include "hw/network/ethernet.h"

#include <string.h>

#define PORTS         32
#define PORT_DATA     0x10
#define PORT_RESET    0x18
#define PROM_SIZE     32u
#define RAM_BASE      0x4000u
#define RAM_SIZE      0x4000u
#define PAGE          256u
#define HEADER        4u
#define RETRY_NS      1000000 /* how long a refused frame waits at most */

#define CR_STP        0x01u
#define CR_STA        0x02u
#define CR_TXP        0x04u
#define CR_READ       0x08u /* remote DMA: the lower two of three bits */
#define CR_WRITE      0x10u
#define CR_SEND       0x18u
#define CR_ABORT      0x20u
#define CR_PAGE       0xc0u

#define ISR_PRX       0x01u
#define ISR_PTX       0x02u
#define ISR_RDC       0x40u
#define ISR_RST       0x80u

#define DCR_WTS       0x01u /* remote DMA of words */
#define RCR_AR        0x02u
#define RCR_AB        0x04u
#define RCR_AM        0x08u
#define RCR_PRO       0x10u
#define RCR_MON       0x20u
#define TCR_LB        0x06u
#define TSR_PTX       0x01u
#define RSR_PRX       0x01u
#define RSR_PHY       0x20u /* not by the station's own address */

#define CR9346_CONFIG 0xc0u /* EEM: CONFIG registers are writable */
#define CONFIG3_FUDUP 0x40u

enum { REG_CR = 0, REG_BNRY = 3, REG_ISR = 7, REG_IMR = 15, REG_CONFIG3 = 6 };
enum { PAGE_0, PAGE_1, PAGE_2, PAGE_3 };

struct ne2000 {
    struct pci_device pci;
    struct clock *clock;
    struct packet_port *port;

    uint8_t cr, isr, imr, dcr, tcr, rcr, tsr, rsr;
    uint8_t pstart, pstop, bnry, curr, tpsr;
    uint8_t tbcr[2], rsar[2], rbcr[2]; /* low byte first */
    uint8_t par[6], mar[8];
    uint8_t cr9346, config3;
    bool started;        /* by STA, until STP; commands with neither change nothing about it */
    bool sending_packet; /* remote DMA by the send packet command: moves BNRY at its end */
    uint8_t prom[PROM_SIZE];
    uint8_t ram[RAM_SIZE];
    struct timer timer; /* a refused frame is tried again */

    uint8_t zero, id[2], id3[2]; /* what some registers always read as, not saved */
};

static const struct field ne2000_fields[] = {
    FIELD_STRUCT(struct ne2000, pci, pci_device_fields, 1),
    FIELD(struct ne2000, cr, 1),
    FIELD(struct ne2000, isr, 1),
    FIELD(struct ne2000, imr, 1),
    FIELD(struct ne2000, dcr, 1),
    FIELD(struct ne2000, tcr, 1),
    FIELD(struct ne2000, rcr, 1),
    FIELD(struct ne2000, tsr, 1),
    FIELD(struct ne2000, rsr, 1),
    FIELD(struct ne2000, pstart, 1),
    FIELD(struct ne2000, pstop, 1),
    FIELD(struct ne2000, bnry, 1),
    FIELD(struct ne2000, curr, 1),
    FIELD(struct ne2000, tpsr, 1),
    FIELD_ARRAY(struct ne2000, tbcr, 1),
    FIELD_ARRAY(struct ne2000, rsar, 1),
    FIELD_ARRAY(struct ne2000, rbcr, 1),
    FIELD_ARRAY(struct ne2000, par, 1),
    FIELD_ARRAY(struct ne2000, mar, 1),
    FIELD(struct ne2000, cr9346, 1),
    FIELD(struct ne2000, config3, 1),
    FIELD(struct ne2000, started, 1),
    FIELD(struct ne2000, sending_packet, 1),
    FIELD_ARRAY(struct ne2000, prom, 1),
    FIELD_ARRAY(struct ne2000, ram, 1),
    FIELD(struct ne2000, timer.deadline_ns, 1),
    FIELD_END,
};

/* -- Interrupts -- */

static void update_irq(struct ne2000 *nic)
{
    pci_set_irq(&nic->pci, nic->isr & nic->imr & 0x7f);
}

static void raise_cause(struct ne2000 *nic, uint8_t causes)
{
    nic->isr |= causes;
    update_irq(nic);
}

/* The driver may have made room: the network may have frames that wait for it. */
static void offer_room(struct ne2000 *nic)
{
    if (nic->port->writable && nic->started)
        nic->port->writable(nic->port->network);
}

/* -- The card's memory -- */

static uint8_t read_byte(const struct ne2000 *nic, uint16_t address)
{
    if (address < PROM_SIZE)
        return nic->prom[address];
    if (address >= RAM_BASE && address < RAM_BASE + RAM_SIZE)
        return nic->ram[address - RAM_BASE];
    return 0xff;
}

static void write_byte(struct ne2000 *nic, uint16_t address, uint8_t value)
{
    if (address >= RAM_BASE && address < RAM_BASE + RAM_SIZE)
        nic->ram[address - RAM_BASE] = value;
}

static uint16_t pair(const uint8_t bytes[2])
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static void set_pair(uint8_t bytes[2], unsigned value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

/* -- Remote DMA -- */

static void end_dma(struct ne2000 *nic)
{
    if (nic->sending_packet)
        nic->bnry = read_byte(nic, (uint16_t)(nic->bnry * PAGE + 1));
    nic->sending_packet = false;
    raise_cause(nic, ISR_RDC);
}

/* Moves one byte's address and count on; the ring's end leads to its start. */
static void advance_dma(struct ne2000 *nic)
{
    unsigned address = pair(nic->rsar) + 1u, count = pair(nic->rbcr);
    if (address == nic->pstop * PAGE)
        address = nic->pstart * PAGE;
    set_pair(nic->rsar, address);
    set_pair(nic->rbcr, count - 1);
    if (count == 1)
        end_dma(nic);
}

/* Bytes that an access moves: a word at least, in word mode. */
static unsigned dma_width(const struct ne2000 *nic, unsigned size)
{
    return (nic->dcr & DCR_WTS) && size == 1 ? 2 : size;
}

static uint32_t read_data(struct ne2000 *nic, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < dma_width(nic, size); i++) {
        bool active = pair(nic->rbcr) && (nic->cr & (CR_READ | CR_ABORT)) == CR_READ;
        value |= (uint32_t)(active ? read_byte(nic, pair(nic->rsar)) : 0xff) << (8 * i);
        if (active)
            advance_dma(nic);
    }
    return value;
}

static void write_data(struct ne2000 *nic, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < dma_width(nic, size); i++) {
        if (!pair(nic->rbcr) || (nic->cr & CR_SEND) != CR_WRITE || (nic->cr & CR_ABORT))
            return;
        write_byte(nic, pair(nic->rsar), (uint8_t)(value >> (8 * i)));
        advance_dma(nic);
    }
}

static void start_dma(struct ne2000 *nic)
{
    unsigned mode = nic->cr & (CR_SEND | CR_ABORT);
    nic->sending_packet = mode == CR_SEND;
    if (nic->sending_packet) { /* the frame at BNRY, without being asked for address and length */
        uint16_t header = (uint16_t)(nic->bnry * PAGE);
        set_pair(nic->rsar, header);
        set_pair(nic->rbcr, read_byte(nic, header + 2) | read_byte(nic, header + 3) << 8);
    }
    if ((mode == CR_READ || mode == CR_WRITE || mode == CR_SEND) && pair(nic->rbcr) == 0)
        end_dma(nic);
}

/* -- Transmission -- */

static void transmit(struct ne2000 *nic)
{
    uint8_t frame[ETHERNET_MAX + ETHERNET_TAG];
    unsigned length = pair(nic->tbcr);
    struct packet_port *port = nic->port;
    nic->cr &= (uint8_t)~CR_TXP;
    nic->tsr = TSR_PTX;
    if (length > sizeof frame) {
        log_guest("ne2000: frame of %u bytes dropped", length);
    } else if (length >= ETHERNET_HEADER && !(nic->tcr & TCR_LB)) {
        for (unsigned i = 0; i < length; i++)
            frame[i] = read_byte(nic, (uint16_t)(nic->tpsr * PAGE + i));
        if (port->send && port->link_up)
            port->send(port->network, frame, length);
    }
    raise_cause(nic, ISR_PTX);
}

/* -- Reception -- */

static unsigned ring_pages(const struct ne2000 *nic)
{
    return nic->pstop > nic->pstart ? nic->pstop - nic->pstart : 0;
}

/* Pages from CURR up to BNRY. Equal ones mean an empty ring. Linux's driver sets BNRY to the page
 * before the next frame's without regard to the ring's end. */
static unsigned free_pages(const struct ne2000 *nic)
{
    unsigned pages = ring_pages(nic), curr = nic->curr, bnry = nic->bnry;
    if (bnry + 1 == nic->pstart)
        bnry = nic->pstop - 1u;
    if (curr < nic->pstart || curr >= nic->pstop || bnry < nic->pstart || bnry >= nic->pstop)
        return 0;
    return bnry > curr ? bnry - curr : pages - (curr - bnry);
}

static bool receives(const struct ne2000 *nic)
{
    return nic->started && !(nic->rcr & RCR_MON) && ring_pages(nic) > 0 && !(nic->tcr & TCR_LB);
}

static bool wanted(const struct ne2000 *nic, const uint8_t *frame)
{
    unsigned hash = ethernet_hash(frame);
    switch (ethernet_kind(frame)) {
    case ETHERNET_BROADCAST:
        return nic->rcr & RCR_AB;
    case ETHERNET_MULTICAST:
        return (nic->rcr & RCR_AM) && (nic->mar[hash / 8] >> (hash % 8) & 1);
    default:
        return (nic->rcr & RCR_PRO) || !memcmp(frame, nic->par, sizeof nic->par);
    }
}

static void store(struct ne2000 *nic, const uint8_t *frame, unsigned length, unsigned pages)
{
    unsigned next = nic->curr + pages, at = nic->curr * PAGE, total = length + ETHERNET_FCS;
    uint32_t fcs = ethernet_fcs(frame, length);
    if (next >= nic->pstop)
        next -= ring_pages(nic);
    nic->rsr = RSR_PRX | (ethernet_kind(frame) == ETHERNET_UNICAST ? 0 : RSR_PHY);
    const uint8_t header[HEADER] = {nic->rsr, (uint8_t)next, (uint8_t)(total + HEADER),
                                    (uint8_t)((total + HEADER) >> 8)};
    for (unsigned i = 0; i < HEADER + total; i++) {
        uint8_t byte = i < HEADER            ? header[i]
                       : i - HEADER < length ? frame[i - HEADER]
                                             : (uint8_t)(fcs >> (8 * (i - HEADER - length)));
        write_byte(nic, (uint16_t)at, byte);
        if (++at == nic->pstop * PAGE)
            at = nic->pstart * PAGE;
    }
    nic->curr = (uint8_t)next;
}

static bool ne2000_receive(void *opaque, const uint8_t *frame, size_t length)
{
    struct ne2000 *nic = opaque;
    uint8_t padded[ETHERNET_MIN] = {0};
    if (!receives(nic) || length < ETHERNET_HEADER || length > ETHERNET_MAX + ETHERNET_TAG ||
        !wanted(nic, frame))
        return true;
    if (length < ETHERNET_MIN) { /* a wire brings none shorter */
        memcpy(padded, frame, length);
        frame = padded;
        length = ETHERNET_MIN;
    }
    unsigned pages = (HEADER + (unsigned)length + ETHERNET_FCS + PAGE - 1) / PAGE;
    if (pages >= ring_pages(nic))
        return true;
    if (pages >= free_pages(nic)) { /* a full ring would look like an empty one */
        if (!timer_pending(&nic->timer))
            timer_set(&nic->timer, clock_now(nic->clock) + RETRY_NS);
        return false;
    }
    store(nic, frame, (unsigned)length, pages);
    raise_cause(nic, ISR_PRX);
    return true;
}

static bool ne2000_can_receive(void *opaque)
{
    struct ne2000 *nic = opaque;
    return !receives(nic) || free_pages(nic) > (HEADER + ETHERNET_MAX + ETHERNET_FCS) / PAGE + 1;
}

/* Drivers keep BNRY at CURR, or at the page before it, when they have taken all. */
static void fire_timer(void *opaque)
{
    struct ne2000 *nic = opaque;
    if (!receives(nic))
        return;
    if (free_pages(nic) + 1 < ring_pages(nic)) {
        raise_cause(nic, ISR_PRX);
        timer_set(&nic->timer, clock_now(nic->clock) + RETRY_NS);
    }
    offer_room(nic);
}

/* -- Registers -- */

#define AT(field) offsetof(struct ne2000, field)

/* Where each register's byte is, for reading and writing; 0: nothing is there. */
static const struct {
    uint16_t read, write;
} registers[4][16] = {
    [PAGE_0] = {[0x1] = {AT(zero), AT(pstart)},
                [0x2] = {AT(curr), AT(pstop)},
                [0x3] = {AT(bnry), AT(bnry)},
                [0x4] = {AT(tsr), AT(tpsr)},
                [0x5] = {AT(zero), AT(tbcr[0])},
                [0x6] = {AT(zero), AT(tbcr[1])},
                [0x7] = {AT(isr), 0},
                [0x8] = {AT(rsar[0]), AT(rsar[0])},
                [0x9] = {AT(rsar[1]), AT(rsar[1])},
                [0xa] = {AT(id[0]), AT(rbcr[0])},
                [0xb] = {AT(id[1]), AT(rbcr[1])},
                [0xc] = {AT(rsr), AT(rcr)},
                [0xd] = {AT(zero), AT(tcr)},
                [0xe] = {AT(zero), AT(dcr)},
                [0xf] = {AT(zero), AT(imr)}},
    [PAGE_1] = {[0x1] = {AT(par[0]), AT(par[0])},
                [0x2] = {AT(par[1]), AT(par[1])},
                [0x3] = {AT(par[2]), AT(par[2])},
                [0x4] = {AT(par[3]), AT(par[3])},
                [0x5] = {AT(par[4]), AT(par[4])},
                [0x6] = {AT(par[5]), AT(par[5])},
                [0x7] = {AT(curr), AT(curr)},
                [0x8] = {AT(mar[0]), AT(mar[0])},
                [0x9] = {AT(mar[1]), AT(mar[1])},
                [0xa] = {AT(mar[2]), AT(mar[2])},
                [0xb] = {AT(mar[3]), AT(mar[3])},
                [0xc] = {AT(mar[4]), AT(mar[4])},
                [0xd] = {AT(mar[5]), AT(mar[5])},
                [0xe] = {AT(mar[6]), AT(mar[6])},
                [0xf] = {AT(mar[7]), AT(mar[7])}},
    [PAGE_2] = {[0x1] = {AT(pstart), 0},
                [0x2] = {AT(pstop), 0},
                [0x4] = {AT(tpsr), 0},
                [0xc] = {AT(rcr), 0},
                [0xd] = {AT(tcr), 0},
                [0xe] = {AT(dcr), 0},
                [0xf] = {AT(imr), 0}},
    [PAGE_3] = {[0x1] = {AT(cr9346), AT(cr9346)},
                [0x3] = {AT(zero), 0}, /* CONFIG0 */
                [0x5] = {AT(zero), 0}, /* CONFIG2: no boot ROM of its own */
                [0x6] = {AT(config3), 0},
                [0xe] = {AT(id3[0]), 0},
                [0xf] = {AT(id3[1]), 0}},
};

static void write_cr(struct ne2000 *nic, uint8_t value)
{
    bool dma = (value ^ nic->cr) & (CR_SEND | CR_ABORT);
    nic->cr = value;
    if (value & CR_STP) {
        nic->started = false;
        nic->isr |= ISR_RST;
    } else if (value & CR_STA) {
        nic->started = true;
        nic->isr &= (uint8_t)~ISR_RST;
    }
    if (dma || pair(nic->rbcr) == 0)
        start_dma(nic);
    if (value & CR_TXP) {
        if (nic->started)
            transmit(nic);
        else
            nic->cr &= (uint8_t)~CR_TXP;
    }
    offer_room(nic);
}

static uint8_t read_register(struct ne2000 *nic, unsigned index)
{
    unsigned page = nic->cr >> 6;
    if (index == REG_CR)
        return nic->cr;
    if (!registers[page][index].read) {
        log_guest("ne2000: read of register %x of page %u", index, page);
        return 0xff;
    }
    return *((const uint8_t *)nic + registers[page][index].read);
}

static void write_register(struct ne2000 *nic, unsigned index, uint8_t value)
{
    unsigned page = nic->cr >> 6;
    if (index == REG_CR) {
        write_cr(nic, value);
        return;
    }
    if (page == PAGE_0 && index == REG_ISR) {
        nic->isr &= (uint8_t) ~(value & ~ISR_RST); /* RST is cleared by starting */
    } else if (page == PAGE_3 && index == REG_CONFIG3) {
        if ((nic->cr9346 & CR9346_CONFIG) == CR9346_CONFIG)
            nic->config3 = value & CONFIG3_FUDUP;
    } else if (registers[page][index].write) {
        *((uint8_t *)nic + registers[page][index].write) = value;
    } else {
        log_guest("ne2000: write to register %x of page %u", index, page);
    }
    if (page == PAGE_0 && (index == REG_ISR || index == REG_IMR))
        update_irq(nic);
    if (page == PAGE_0 && index == REG_BNRY)
        offer_room(nic);
}

static void reset_chip(struct ne2000 *nic)
{
    nic->cr = CR_STP | CR_ABORT;
    nic->isr = ISR_RST;
    nic->imr = nic->tcr = nic->dcr = nic->rcr = nic->tsr = nic->rsr = 0;
    nic->started = nic->sending_packet = false;
    timer_cancel(&nic->timer);
    update_irq(nic);
}

/* -- Ports -- */

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ne2000 *nic = opaque;
    uint32_t value = 0;
    if (offset >= PORT_RESET) {
        reset_chip(nic);
        return 0;
    }
    if (offset >= PORT_DATA)
        return read_data(nic, size);
    for (unsigned i = 0; i < size && offset + i < PORT_DATA; i++)
        value |= (uint32_t)read_register(nic, (unsigned)offset + i) << (8 * i);
    return value;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ne2000 *nic = opaque;
    if (offset >= PORT_RESET)
        return; /* the end of a reset */
    if (offset >= PORT_DATA) {
        write_data(nic, (uint32_t)value, size);
        return;
    }
    for (unsigned i = 0; i < size && offset + i < PORT_DATA; i++)
        write_register(nic, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

static const struct access_ops port_ops = {port_read, port_write, 1, 4};

/* -- Life -- */

static void ne2000_reset(struct device *device)
{
    struct ne2000 *nic = (struct ne2000 *)device;
    pci_device_reset(&nic->pci);
    nic->pstart = nic->pstop = nic->bnry = nic->curr = nic->tpsr = 0;
    set_pair(nic->tbcr, 0);
    set_pair(nic->rsar, 0);
    set_pair(nic->rbcr, 0);
    memset(nic->par, 0, sizeof nic->par);
    memset(nic->mar, 0, sizeof nic->mar);
    memset(nic->ram, 0, sizeof nic->ram);
    nic->cr9346 = nic->config3 = 0;
    reset_chip(nic);
}

static bool ne2000_post_load(struct device *device, struct error *error)
{
    struct ne2000 *nic = (struct ne2000 *)device;
    if (!pci_device_post_load(&nic->pci, error))
        return false;
    timer_rearm(&nic->timer);
    return true;
}

static void ne2000_destroy(struct device *device)
{
    timer_cancel(&((struct ne2000 *)device)->timer);
    free(device);
}

static const struct device_ops ne2000_ops = {
    .name = "ne2000",
    .fields = ne2000_fields,
    .version = 1,
    .reset = ne2000_reset,
    .post_load = ne2000_post_load,
    .destroy = ne2000_destroy,
};

struct ne2000 *ne2000_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                          struct clock *clock, const uint8_t mac[6], struct packet_port *port,
                          const char *id)
{
    static const struct pci_identity identity = {
        .vendor = 0x10ec,
        .device = 0x8029,
        .class_code = 0x0200,
        .subsystem_vendor = 0x10ec,
        .subsystem = 0x8029,
        .interrupt_pin = 1,
    };
    struct ne2000 *nic = alloc_zeroed(sizeof *nic);
    nic->clock = clock;
    nic->port = port;
    memcpy(nic->id, "\x50\x43", 2);
    memcpy(nic->id3, "\x29\x80", 2);
    for (unsigned i = 0; i < 16; i++) /* the address, and at its end the mark of a 16-bit card */
        nic->prom[2 * i] = nic->prom[2 * i + 1] = i < 6 ? mac[i] : i < 14 ? 0 : 0x57;
    timer_init(&nic->timer, clock, fire_timer, nic);

    device_add(list, &nic->pci.device, &ne2000_ops, id);
    pci_device_init(&nic->pci, bus, devfn, &identity);
    pci_add_io_bar(&nic->pci, 0, PORTS, &port_ops, nic);
    ne2000_reset(&nic->pci.device);

    port->receive = ne2000_receive;
    port->can_receive = ne2000_can_receive;
    port->nic = nic;
    return nic;
}
