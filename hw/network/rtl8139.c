/*
 * Realtek RTL8139C and RTL8139C+ fast Ethernet controllers: registers, interrupts, timer, EEPROM
 * and PHY. The transmitter is in rtl8139_tx.c, the receiver in rtl8139_rx.c.
 *
 * Specification: Realtek RTL8139C(L) data sheet 1.4 and RTL8139C+ data sheet 1.6.
 *
 *     BAR 0  256 ports: all registers
 *     BAR 1  256 bytes of memory: the same
 *
 * Negotiation is instant, at 100 Mb/s full duplex. Kept but without effect: DMA bursts, thresholds,
 * early receive, flow control, LEDs, wake-up frames, PHY parameters.
 * Not modelled: flash memory, CardBus, the PHY's error counters.
 */
#include "hw/alloc.h"
#include "hw/network/rtl8139_internal.h"
#include "hw/pci_power.h"

#include <string.h>

#define BAR_SIZE     256
#define PCI_CLOCK_NS 30 /* what TCTR counts */
#define TCTR_PERIOD  (1ull << 32)

/* Words of the EEPROM. */
enum { EEPROM_ID = 0, EEPROM_IDENTITY = 1, EEPROM_ADDRESS = 7 };

static const struct field tx_fields[] = {
    FIELD(struct rtl8139_tx, started, 1),
    FIELD(struct rtl8139_tx, complete, 1),
    FIELD(struct rtl8139_tx, dropping, 1),
    FIELD(struct rtl8139_tx, queue, 1),
    FIELD(struct rtl8139_tx, current, 1),
    FIELD(struct rtl8139_tx, first, 1),
    FIELD(struct rtl8139_tx, vlan, 1),
    FIELD(struct rtl8139_tx, length, 1),
    FIELD(struct rtl8139_tx, segment, 1),
    FIELD_ARRAY(struct rtl8139_tx, frame, 1),
    FIELD_END,
};

static const struct field tally_fields[] = {
    FIELD(struct rtl8139_tally, tx_ok, 1),
    FIELD(struct rtl8139_tally, rx_ok, 1),
    FIELD(struct rtl8139_tally, tx_errors, 1),
    FIELD(struct rtl8139_tally, rx_errors, 1),
    FIELD(struct rtl8139_tally, rx_missed, 1),
    FIELD(struct rtl8139_tally, rx_unicast, 1),
    FIELD(struct rtl8139_tally, rx_broadcast, 1),
    FIELD(struct rtl8139_tally, rx_multicast, 1),
    FIELD_END,
};

static const struct field rtl8139_fields[] = {
    FIELD_STRUCT(struct rtl8139, pci, pci_device_fields, 1),
    FIELD_ARRAY(struct rtl8139, reg, 1),
    FIELD_STRUCT(struct rtl8139, eeprom, eeprom93_fields, 1),
    FIELD(struct rtl8139, tx_turn, 1),
    FIELD_ARRAY(struct rtl8139, tx_index, 1),
    FIELD(struct rtl8139, rx_index, 1),
    FIELD_STRUCT(struct rtl8139, tx, tx_fields, 1),
    FIELD_STRUCT(struct rtl8139, tally, tally_fields, 1),
    FIELD(struct rtl8139, timer_start_ns, 1),
    FIELD(struct rtl8139, timer.deadline_ns, 1),
    FIELD(struct rtl8139, tx_timer.deadline_ns, 1),
    FIELD(struct rtl8139, rx_timer.deadline_ns, 1),
    FIELD_END,
};

/* -- Interrupts -- */

static void update_irq(struct rtl8139 *nic)
{
    pci_set_irq(&nic->pci, rtl8139_get(nic, ISR, 2) & rtl8139_get(nic, IMR, 2));
}

void rtl8139_raise(struct rtl8139 *nic, uint32_t causes)
{
    rtl8139_put(nic, ISR, rtl8139_get(nic, ISR, 2) | causes, 2);
    update_irq(nic);
}

void rtl8139_offer_room(struct rtl8139 *nic)
{
    if (nic->port->writable && (nic->reg[CR] & CR_RE))
        nic->port->writable(nic->port->network);
}

/* -- The timer: TCTR counts PCI clocks and reports when it passes TIMERINT -- */

static uint64_t clocks_passed(const struct rtl8139 *nic)
{
    uint64_t now = clock_now(nic->clock);
    return now > nic->timer_start_ns ? (now - nic->timer_start_ns) / PCI_CLOCK_NS : 0;
}

static void set_timer(struct rtl8139 *nic)
{
    uint64_t match = rtl8139_get(nic, TIMERINT, 4), passed = clocks_passed(nic);
    if (match == 0) {
        timer_cancel(&nic->timer);
        return;
    }
    if (match <= passed)
        match += ((passed - match) / TCTR_PERIOD + 1) * TCTR_PERIOD;
    timer_set(&nic->timer, nic->timer_start_ns + match * PCI_CLOCK_NS);
}

static void fire_timer(void *opaque)
{
    struct rtl8139 *nic = opaque;
    rtl8139_raise(nic, ISR_TIMEOUT);
    set_timer(nic);
}

static void fire_tx(void *opaque)
{
    rtl8139_transmit(opaque);
}

static void fire_rx(void *opaque)
{
    rtl8139_retry(opaque);
}

/* -- Reset -- */

#define BMCR_DEFAULT 0x3100u /* 100 Mb/s, negotiation, full duplex */

/* What CR.RST does: addresses, configuration and PHY stay. */
static void reset_chip(struct rtl8139 *nic)
{
    static const struct {
        uint8_t reg, bytes;
        uint32_t value;
    } values[] = {
        {TSD0, 4, TSD_OWN},
        {TSD0 + 4, 4, TSD_OWN},
        {TSD0 + 8, 4, TSD_OWN},
        {TSD0 + 12, 4, TSD_OWN},
        {TSAD0, 4, 0},
        {TSAD0 + 4, 4, 0},
        {TSAD0 + 8, 4, 0},
        {TSAD0 + 12, 4, 0},
        {CR, 1, 0},
        {CAPR, 2, 0xfff0},
        {CBR, 2, 0},
        {IMR, 2, 0},
        {ISR, 2, 0},
        {TCR, 4, TCR_VERSION},
        {RCR, 4, 0},
        {MPC, 3, 0},
        {TIMERINT, 4, 0},
        {MULINT, 2, 0},
        {TPPOLL, 1, 0},
        {CPCR, 2, 0},
        {RDSAR, 4, 0},
        {RDSAR + 4, 4, 0},
        {ETTHR, 1, 0},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        pci_put(nic->reg, values[i].reg, values[i].value, values[i].bytes);
    if (nic->plus)
        rtl8139_put(nic, TCR, TCR_VERSION_CP, 4);
    memset(&nic->tx, 0, sizeof nic->tx);
    memset(nic->tx_index, 0, sizeof nic->tx_index);
    nic->tx_turn = nic->rx_index = 0;
    nic->timer_start_ns = clock_now(nic->clock);
    timer_cancel(&nic->timer);
    timer_cancel(&nic->tx_timer);
    timer_cancel(&nic->rx_timer);
    update_irq(nic);
}

/* Takes the station address from the EEPROM, and sets what else comes from there. */
static void load_eeprom(struct rtl8139 *nic)
{
    for (unsigned i = 0; i < 3; i++)
        pci_put(nic->reg, IDR0 + 2 * i, nic->eeprom.word[EEPROM_ADDRESS + i], 2);
    nic->reg[CONFIG1] = 0x0d; /* decodes ports and memory, power management */
    nic->reg[CONFIG3] = 0x00;
    nic->reg[CONFIG4] = 0x00;
}

static void reset_phy(struct rtl8139 *nic)
{
    rtl8139_put(nic, BMCR, BMCR_DEFAULT, 2);
    rtl8139_put(nic, ANAR, 0x05e1, 2);   /* all speeds, and pause */
    rtl8139_put(nic, ANLPAR, 0x45e1, 2); /* a partner that can do the same */
    rtl8139_put(nic, ANER, 0x0001, 2);
}

/* -- Register handlers -- */

/* `value` has meaning in the bits of `lanes`: what the guest's access covers of the register. */
static uint32_t merged(struct rtl8139 *nic, enum rtl8139_reg reg, unsigned bytes, uint32_t value,
                       uint32_t lanes)
{
    return (rtl8139_get(nic, reg, bytes) & ~lanes) | (value & lanes);
}

static bool plus_transmits(const struct rtl8139 *nic)
{
    return nic->plus && (rtl8139_get(nic, CPCR, 2) & CPCR_TXE);
}

static void dump_tally(struct rtl8139 *nic)
{
    const struct rtl8139_tally *tally = &nic->tally;
    uint64_t address = (uint64_t)rtl8139_get(nic, (enum rtl8139_reg)(DTCCR + 4), 4) << 32 |
                       (rtl8139_get(nic, DTCCR, 4) & ~0x3fu);
    const uint64_t words[8] = {
        tally->tx_ok,
        tally->rx_ok,
        tally->tx_errors,
        tally->rx_errors | (uint64_t)tally->rx_missed << 32, /* and alignment errors */
        0,                                                   /* collisions */
        tally->rx_unicast,
        tally->rx_broadcast,
        tally->rx_multicast, /* and aborts, underruns */
    };
    pci_dma_write(&nic->pci, address, words, sizeof words);
    rtl8139_put(nic, DTCCR, rtl8139_get(nic, DTCCR, 4) & ~DTCCR_CMD, 4);
}

static void write_tsd(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    value = merged(nic, reg, 4, value, lanes);
    if (plus_transmits(nic)) {
        rtl8139_put(nic, reg, value, 4);
        if (reg == DTCCR && (value & DTCCR_CMD))
            dump_tally(nic);
        return;
    }
    rtl8139_put(nic, reg, value & (TSD_WRITABLE | TSD_OWN), 4);
    rtl8139_transmit(nic);
}

static void read_tsad(struct rtl8139 *nic)
{
    uint32_t summary = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t status = pci_get(nic->reg, TSD0 + 4 * i, 4);
        summary |= (status & TSD_OWN ? 1u << i : 0) | (status & TSD_TABT ? 0x10u << i : 0) |
                   (status & TSD_TOK ? 0x1000u << i : 0);
    }
    rtl8139_put(nic, TSAD, summary, 2);
}

static void read_cr(struct rtl8139 *nic)
{
    uint32_t write = rtl8139_get(nic, CBR, 2) % rtl8139_ring_size(nic);
    nic->reg[CR] &= (uint8_t)~CR_BUFE;
    if (write == rtl8139_read_offset(nic))
        nic->reg[CR] |= CR_BUFE;
}

static void write_cr(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    uint32_t starts = value & ~nic->reg[CR];
    if (value & CR_RST) {
        reset_chip(nic);
        return;
    }
    nic->reg[CR] = value & (CR_TE | CR_RE);
    if (starts & CR_RE) {
        rtl8139_put(nic, CAPR, 0xfff0, 2);
        rtl8139_put(nic, CBR, 0, 2);
        nic->rx_index = 0;
    }
    if (starts & CR_TE) {
        memset(nic->tx_index, 0, sizeof nic->tx_index);
        nic->tx.started = nic->tx.complete = false;
    }
    rtl8139_offer_room(nic);
    rtl8139_transmit(nic);
}

static void write_capr(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    rtl8139_put(nic, CAPR, merged(nic, CAPR, 2, value, lanes), 2);
    rtl8139_offer_room(nic);
}

static void write_imr(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    rtl8139_put(nic, IMR, merged(nic, IMR, 2, value, lanes) & ISR_BITS, 2);
    update_irq(nic);
    rtl8139_offer_room(nic);
}

static void write_isr(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    rtl8139_put(nic, ISR, rtl8139_get(nic, ISR, 2) & ~(value & lanes), 2);
    update_irq(nic);
    rtl8139_offer_room(nic);
}

static void read_tctr(struct rtl8139 *nic)
{
    rtl8139_put(nic, TCTR, (uint32_t)clocks_passed(nic), 4);
}

static void write_tctr(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    nic->timer_start_ns = clock_now(nic->clock);
    set_timer(nic);
}

static void write_timerint(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value,
                           uint32_t lanes)
{
    rtl8139_put(nic, TIMERINT, merged(nic, TIMERINT, 4, value, lanes), 4);
    set_timer(nic);
}

static void write_mpc(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    rtl8139_put(nic, MPC, 0, 3);
}

static void read_9346(struct rtl8139 *nic)
{
    bool out = nic->eeprom.data_out && (nic->reg[CR9346] & CR9346_MODE) == CR9346_PROGRAM;
    nic->reg[CR9346] = (uint8_t)((nic->reg[CR9346] & ~CR9346_EEDO) | (out ? CR9346_EEDO : 0));
}

static void write_9346(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    bool program = (value & CR9346_MODE) == CR9346_PROGRAM;
    nic->reg[CR9346] = (uint8_t)(value & ~CR9346_EEDO);
    eeprom93_set_pins(&nic->eeprom, program && (value & CR9346_EECS), value & CR9346_EESK,
                      value & CR9346_EEDI);
    if ((value & CR9346_MODE) == CR9346_LOAD) {
        load_eeprom(nic);
        nic->reg[CR9346] = 0;
    }
}

static void read_msr(struct rtl8139 *nic)
{
    nic->reg[MSR] = nic->port->link_up ? 0 : MSR_LINKB;
}

static void write_bmcr(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    enum { PROTECTED = 0x3100 };
    bool open = (nic->reg[CR9346] & CR9346_MODE) == CR9346_CONFIG;
    value = merged(nic, BMCR, 2, value, open ? lanes : lanes & ~(uint32_t)PROTECTED);
    if (value & BMCR_RESET)
        reset_phy(nic);
    else
        rtl8139_put(nic, BMCR, value & 0x3d00, 2);
    if ((value & (BMCR_RESET | BMCR_RESTART)) && nic->port->link_up)
        rtl8139_raise(nic, ISR_LINK); /* negotiated anew, at once */
}

static void read_bmsr(struct rtl8139 *nic)
{
    rtl8139_put(nic, BMSR, 0x7809 | (nic->port->link_up ? BMSR_LINK : 0), 2);
    rtl8139_put(nic, CSCR, nic->port->link_up ? CSCR_LINK : 0, 2);
}

static void write_tppoll(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes)
{
    rtl8139_poll(nic, value);
}

/* -- The register table -- */

#define ALL 0xffffffffu

enum access {
    ANY,
    LOCKED, /* writable while CR9346 says so */
    PLUS,   /* only a C+ has it */
};

static const struct rtl8139_register {
    uint8_t first, bytes, count; /* the first one's offset, bytes of one, how many */
    enum access access;
    uint32_t writable; /* bits that a plain write changes */
    void (*refresh)(struct rtl8139 *nic);
    void (*write)(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value, uint32_t lanes);
} registers[] = {
    {0, 1, 0, ANY, 0, NULL, NULL}, /* row 0: registers that do not exist */
    {IDR0, 1, 6, ANY, ALL, NULL, NULL},
    {IDR0 + 6, 1, 2, ANY, 0, NULL, NULL},
    {MAR0, 4, 2, ANY, ALL, NULL, NULL},
    {TSD0, 4, 4, ANY, 0, NULL, write_tsd},
    {TSAD0, 4, 4, ANY, ALL, NULL, NULL},
    {RBSTART, 4, 1, ANY, ALL, NULL, NULL},
    {ERBCR, 2, 1, ANY, 0, NULL, NULL},
    {ERSR, 1, 1, ANY, 0, NULL, NULL},
    {CR, 1, 1, ANY, 0, read_cr, write_cr},
    {CAPR, 2, 1, ANY, 0, NULL, write_capr},
    {CBR, 2, 1, ANY, 0, NULL, NULL},
    {IMR, 2, 1, ANY, 0, NULL, write_imr},
    {ISR, 2, 1, ANY, 0, NULL, write_isr},
    {TCR, 4, 1, ANY, 0x030707f0, NULL, NULL},
    {RCR, 4, 1, ANY, 0x0f03ffbf, NULL, NULL},
    {TCTR, 4, 1, ANY, 0, read_tctr, write_tctr},
    {MPC, 4, 1, ANY, 0, NULL, write_mpc},
    {CR9346, 1, 1, ANY, 0, read_9346, write_9346},
    {CONFIG0, 1, 1, ANY, 0, NULL, NULL},
    {CONFIG1, 1, 1, LOCKED, 0xf3, NULL, NULL},
    {TIMERINT, 4, 1, ANY, 0, NULL, write_timerint},
    {MSR, 1, 1, ANY, 0, read_msr, NULL},
    {CONFIG3, 1, 1, LOCKED, 0x74, NULL, NULL},
    {CONFIG4, 1, 1, LOCKED, 0xfd, NULL, NULL},
    {CONFIG4 + 1, 1, 1, ANY, 0, NULL, NULL},
    {MULINT, 2, 1, ANY, 0x0fff, NULL, NULL},
    {RERID, 1, 1, ANY, 0, NULL, NULL},
    {TSAD, 2, 1, ANY, 0, read_tsad, NULL},
    {BMCR, 2, 1, ANY, 0, NULL, write_bmcr},
    {BMSR, 2, 1, ANY, 0, read_bmsr, NULL},
    {ANAR, 2, 1, ANY, 0x2fe0, NULL, NULL},
    {ANLPAR, 2, 1, ANY, 0, NULL, NULL},
    {ANER, 2, 1, ANY, 0, NULL, NULL},
    {DIS, 2, 3, ANY, 0, NULL, NULL}, /* and FCSC, NWAYTR: no errors on this wire */
    {REC, 2, 1, ANY, 0, NULL, NULL},
    {CSCR, 2, 1, ANY, 0, read_bmsr, NULL},
    {PHY1_PARM, 4, 3, ANY, ALL, NULL, NULL}, /* and TW_PARM, PHY2_PARM */
    {CRC0, 4, 2, ANY, ALL, NULL, NULL},
    {WAKEUP0, 4, 16, ANY, ALL, NULL, NULL},
    {LSBCRC0, 4, 2, ANY, ALL, NULL, NULL},
    {CONFIG5, 1, 1, ANY, 0x7f, NULL, NULL},
    {TPPOLL, 1, 1, PLUS, 0, NULL, write_tppoll},
    {RMS, 2, 1, ANY, 0, NULL, NULL}, /* the RTL8169 has it: drivers look whether it keeps a value */
    {CPCR, 2, 1, PLUS, 0x007b, NULL, NULL},
    {RDSAR, 4, 2, PLUS, ALL, NULL, NULL},
    {ETTHR, 1, 1, PLUS, 0x3f, NULL, NULL},
};

static void index_registers(struct rtl8139 *nic)
{
    for (size_t row = 1; row < sizeof registers / sizeof *registers; row++) {
        const struct rtl8139_register *reg = &registers[row];
        for (unsigned i = 0; i < (unsigned)reg->bytes * reg->count; i++)
            if (reg->access != PLUS || nic->plus)
                nic->lookup[reg->first + i] = (uint8_t)row;
    }
}

/* Start of the register that byte `offset` belongs to. */
static unsigned start_of(const struct rtl8139_register *reg, unsigned offset)
{
    return offset - (offset - reg->first) % reg->bytes;
}

/* -- BARs: an access may cover parts of several registers -- */

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
    struct rtl8139 *nic = opaque;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)offset + i;
        const struct rtl8139_register *reg = &registers[nic->lookup[at]];
        if (!nic->lookup[at])
            continue;
        if (reg->refresh && (i == 0 || at == start_of(reg, at)))
            reg->refresh(nic);
        value |= (uint64_t)nic->reg[at] << (8 * i);
    }
    if (!nic->lookup[offset])
        log_guest("rtl8139: read of register %02x", (unsigned)offset);
    return value;
}

static void write_register(struct rtl8139 *nic, const struct rtl8139_register *reg, unsigned start,
                           uint32_t value, uint32_t lanes)
{
    bool locked = reg->access == LOCKED && (nic->reg[CR9346] & CR9346_MODE) != CR9346_CONFIG;
    if (reg->write)
        reg->write(nic, (enum rtl8139_reg)start, value, lanes);
    else if (!locked)
        pci_put(nic->reg, start,
                merged(nic, (enum rtl8139_reg)start, reg->bytes, value, lanes & reg->writable),
                reg->bytes);
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct rtl8139 *nic = opaque;
    unsigned end = (unsigned)offset + size;
    for (unsigned at = (unsigned)offset; at < end;) {
        const struct rtl8139_register *reg = &registers[nic->lookup[at]];
        if (!nic->lookup[at]) {
            log_guest("rtl8139: write to register %02x", at);
            at++;
            continue;
        }
        unsigned start = start_of(reg, at),
                 next = start + reg->bytes < end ? start + reg->bytes : end;
        unsigned shift = 8 * (at - start), bits = 8 * (next - at);
        uint32_t part = (uint32_t)(value >> (8 * (at - (unsigned)offset)));
        uint32_t lanes = (ALL >> (32 - bits)) << shift;
        write_register(nic, reg, start, (part << shift) & lanes, lanes);
        at = next;
    }
}

static const struct access_ops bar_ops = {bar_read, bar_write, 1, 4};

/* -- Life -- */

void rtl8139_link_changed(struct rtl8139 *nic)
{
    rtl8139_raise(nic, ISR_LINK);
}

static void rtl8139_reset(struct device *device)
{
    struct rtl8139 *nic = (struct rtl8139 *)device;
    pci_device_reset(&nic->pci);
    memset(nic->reg, 0, sizeof nic->reg);
    memset(&nic->tally, 0, sizeof nic->tally);
    eeprom93_release(&nic->eeprom);
    nic->reg[RERID] = nic->pci.identity.revision;
    load_eeprom(nic);
    reset_phy(nic);
    reset_chip(nic);
}

static bool rtl8139_post_load(struct device *device, struct error *error)
{
    struct rtl8139 *nic = (struct rtl8139 *)device;
    if (nic->tx.length > TX_FRAME_MAX || nic->tx.queue > 1 || nic->tx_turn > 3 ||
        nic->tx_index[0] >= DESC_RING || nic->tx_index[1] >= DESC_RING ||
        nic->rx_index >= DESC_RING || !eeprom93_valid(&nic->eeprom))
        return error_set(error, "The saved state of network card '%s' is damaged", device->id);
    if (!pci_device_post_load(&nic->pci, error))
        return false;
    timer_rearm(&nic->timer);
    timer_rearm(&nic->tx_timer);
    timer_rearm(&nic->rx_timer);
    return true;
}

static void rtl8139_destroy(struct device *device)
{
    struct rtl8139 *nic = (struct rtl8139 *)device;
    timer_cancel(&nic->timer);
    timer_cancel(&nic->tx_timer);
    timer_cancel(&nic->rx_timer);
    free(nic);
}

static const struct device_ops rtl8139_ops = {
    .name = "rtl8139",
    .fields = rtl8139_fields,
    .version = 1,
    .reset = rtl8139_reset,
    .post_load = rtl8139_post_load,
    .destroy = rtl8139_destroy,
};

static void fill_eeprom(struct rtl8139 *nic, const uint8_t mac[6])
{
    uint16_t *word = nic->eeprom.word;
    const struct pci_identity *identity = &nic->pci.identity;
    word[EEPROM_ID] = 0x8129;
    word[EEPROM_IDENTITY] = identity->vendor;
    word[EEPROM_IDENTITY + 1] = identity->device;
    word[EEPROM_IDENTITY + 2] = identity->subsystem_vendor;
    word[EEPROM_IDENTITY + 3] = identity->subsystem;
    word[EEPROM_IDENTITY + 4] = 0x4020; /* MXLAT, MNGNT */
    for (int i = 0; i < 3; i++)
        word[EEPROM_ADDRESS + i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
}

struct rtl8139 *rtl8139_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                            struct clock *clock, const uint8_t mac[6], struct packet_port *port,
                            bool plus, const char *id)
{
    enum {
        MIN_GNT = 0x3e,
        MAX_LAT = 0x3f,
        CAP_POWER = 0x50,
        REVISION_C = 0x10,
        REVISION_C_PLUS = 0x20
    };
    const struct pci_identity identity = {
        .vendor = 0x10ec,
        .device = 0x8139,
        .revision = plus ? REVISION_C_PLUS : REVISION_C,
        .class_code = 0x0200,
        .subsystem_vendor = 0x10ec,
        .subsystem = 0x8139,
        .interrupt_pin = 1,
    };
    struct rtl8139 *nic = alloc_zeroed(sizeof *nic);
    nic->clock = clock;
    nic->port = port;
    nic->plus = plus;
    index_registers(nic);
    timer_init(&nic->timer, clock, fire_timer, nic);
    timer_init(&nic->tx_timer, clock, fire_tx, nic);
    timer_init(&nic->rx_timer, clock, fire_rx, nic);

    device_add(list, &nic->pci.device, &rtl8139_ops, id);
    pci_device_init(&nic->pci, bus, devfn, &identity);
    nic->pci.config[MIN_GNT] = 0x20;
    nic->pci.config[MAX_LAT] = 0x40;
    pci_add_power_management(&nic->pci, CAP_POWER);
    pci_add_io_bar(&nic->pci, 0, BAR_SIZE, &bar_ops, nic);
    pci_add_mmio_bar(&nic->pci, 1, BAR_SIZE, &bar_ops, nic);
    fill_eeprom(nic, mac);
    rtl8139_reset(&nic->pci.device);

    port->receive = rtl8139_receive;
    port->can_receive = rtl8139_can_receive;
    port->nic = nic;
    return nic;
}
