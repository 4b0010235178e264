/*
 * Intel 82540EM gigabit Ethernet controller: registers, interrupts, EEPROM and PHY. The transmitter
 * is in e1000_tx.c, the receiver in e1000_rx.c.
 *
 * Specification: PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual
 * (Intel 317453), chapters 3 (descriptors), 5 (EEPROM), 8 and 11 (MAC, PHY), 13 (registers);
 * Marvell M88E1011 for the PHY's own registers.
 *
 *     BAR 0  128 KiB of memory: all registers
 *     BAR 1  64 ports: IOADDR (0) and IODATA (4), a window on the same registers
 *
 * Link negotiation is instant. Kept but without effect: flow control, inter-packet gaps, prefetch
 * and write-back thresholds (descriptors are written back at once), LEDs, wake-up filters.
 * Not modelled: packet buffer memory, loopback in the transceiver, the test registers.
 */
#include "hw/alloc.h"
#include "hw/network/e1000_internal.h"
#include "hw/pci_power.h"

#include <string.h>

#define MMIO_SIZE       0x20000
#define IO_SIZE         64
#define DELAY_UNIT_NS   1024
#define ITR_UNIT_NS     256

#define EEPROM_CHECKSUM 0xbaba /* sum of all words (5.6.35) */

#define PHY_ADDRESS     1

#define CAP_POWER       0xdc /* in configuration space */

static const struct field tx_context_fields[] = {
    FIELD(struct tx_context, ip_start, 1), FIELD(struct tx_context, ip_offset, 1),
    FIELD(struct tx_context, tu_start, 1), FIELD(struct tx_context, tu_offset, 1),
    FIELD(struct tx_context, ip_end, 1),   FIELD(struct tx_context, tu_end, 1),
    FIELD(struct tx_context, mss, 1),      FIELD(struct tx_context, header_length, 1),
    FIELD(struct tx_context, command, 1),  FIELD_END,
};

static const struct field tx_fields[] = {
    FIELD_STRUCT(struct e1000_tx, context, tx_context_fields, 1),
    FIELD(struct e1000_tx, started, 1),
    FIELD(struct e1000_tx, dropping, 1),
    FIELD(struct e1000_tx, segmenting, 1),
    FIELD(struct e1000_tx, options, 1),
    FIELD(struct e1000_tx, consumed, 1),
    FIELD(struct e1000_tx, segment, 1),
    FIELD(struct e1000_tx, length, 1),
    FIELD_ARRAY(struct e1000_tx, frame, 1),
    FIELD_END,
};

static const struct field delay_fields[] = {
    FIELD(struct e1000_delay, timer.deadline_ns, 1),
    FIELD(struct e1000_delay, limit_ns, 1),
    FIELD_END,
};

static const struct field e1000_fields[] = {
    FIELD_STRUCT(struct e1000, pci, pci_device_fields, 1),
    FIELD_ARRAY(struct e1000, reg, 1),
    FIELD_ARRAY(struct e1000, phy, 1),
    FIELD(struct e1000, io_address, 1),
    FIELD_STRUCT(struct e1000, eeprom, eeprom93_fields, 1),
    FIELD_STRUCT(struct e1000, tx, tx_fields, 1),
    FIELD(struct e1000, irq_allowed_ns, 1),
    FIELD(struct e1000, irq_timer.deadline_ns, 1),
    FIELD(struct e1000, tx_timer.deadline_ns, 1),
    FIELD_STRUCT(struct e1000, rx_delay, delay_fields, 1),
    FIELD_STRUCT(struct e1000, tx_delay, delay_fields, 1),
    FIELD_END,
};

/* -- Interrupts -- */

/* Drives INTA by cause and mask; ITR keeps a distance between rising edges. */
static void update_irq(struct e1000 *nic)
{
    uint64_t interval = (nic->reg[ITR] & 0xffff) * (uint64_t)ITR_UNIT_NS;
    if (!(nic->reg[ICR] & nic->reg[IMS])) {
        pci_set_irq(&nic->pci, false);
        return;
    }
    if (nic->pci.irq_level)
        return;
    uint64_t now = clock_now(nic->clock);
    if (interval && now < nic->irq_allowed_ns) {
        timer_set(&nic->irq_timer, nic->irq_allowed_ns);
        return;
    }
    nic->irq_allowed_ns = now + interval;
    pci_set_irq(&nic->pci, true);
}

void e1000_raise(struct e1000 *nic, uint32_t causes)
{
    if (!causes)
        return;
    nic->reg[ICR] |= causes;
    update_irq(nic);
}

void e1000_raise_later(struct e1000 *nic, struct e1000_delay *delay, uint32_t delay_units,
                       uint32_t limit_units)
{
    uint64_t now = clock_now(nic->clock);
    uint64_t deadline = now + delay_units * (uint64_t)DELAY_UNIT_NS;
    if (!timer_pending(&delay->timer))
        delay->limit_ns = limit_units ? now + limit_units * (uint64_t)DELAY_UNIT_NS : TIMER_NEVER;
    timer_set(&delay->timer, deadline < delay->limit_ns ? deadline : delay->limit_ns);
}

static void fire_irq(void *opaque)
{
    update_irq(opaque);
}

static void fire_rx_delay(void *opaque)
{
    e1000_raise(opaque, ICR_RXT0);
}

static void fire_tx_delay(void *opaque)
{
    e1000_raise(opaque, ICR_TXDW);
}

static void fire_tx(void *opaque)
{
    e1000_transmit(opaque);
}

/* -- Statistics -- */

void e1000_count(struct e1000 *nic, enum e1000_reg reg, uint32_t amount)
{
    if (__builtin_add_overflow(nic->reg[reg], amount, &nic->reg[reg]))
        nic->reg[reg] = UINT32_MAX;
}

void e1000_count_pair(struct e1000 *nic, enum e1000_reg low, uint32_t amount)
{
    uint64_t value = (uint64_t)nic->reg[low + 1] << 32 | nic->reg[low];
    if (__builtin_add_overflow(value, amount, &value))
        value = UINT64_MAX;
    nic->reg[low] = (uint32_t)value;
    nic->reg[low + 1] = (uint32_t)(value >> 32);
}

void e1000_count_frame(struct e1000 *nic, const uint8_t *frame, size_t length, bool received)
{
    static const uint16_t bounds[] = {64, 127, 255, 511, 1023};
    unsigned size = 0;
    while (size < 5 && length > bounds[size])
        size++;
    e1000_count(nic, (enum e1000_reg)((received ? PRC64 : PTC64) + size), 1);
    if (ethernet_kind(frame) == ETHERNET_BROADCAST)
        e1000_count(nic, received ? BPRC : BPTC, 1);
    else if (ethernet_kind(frame) == ETHERNET_MULTICAST)
        e1000_count(nic, received ? MPRC : MPTC, 1);
    if (!received) {
        e1000_count(nic, TPT, 1);
        e1000_count_pair(nic, TOTL, (uint32_t)length);
    }
}

/* -- EEPROM: behind its own pins (5.3) or the read register -- */

static void fill_eeprom(struct e1000 *nic, const uint8_t mac[6])
{
    uint16_t *word = nic->eeprom.word, sum = 0;
    for (int i = 0; i < 3; i++)
        word[i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
    word[0x03] = 0x0300; /* compatibility */
    word[0x08] = 0xd870; /* printed board assembly number, two words */
    word[0x09] = 0x0001;
    word[0x0a] = 0x6408; /* initialization control 1 */
    word[0x0b] = 0x001e; /* subsystem */
    word[0x0c] = 0x8086;
    word[0x0d] = 0x100e;
    word[0x0e] = 0x8086;
    word[0x0f] = 0x3040; /* initialization control 2 */
    for (int i = 0; i < EEPROM93_WORDS - 1; i++)
        sum = (uint16_t)(sum + word[i]);
    word[EEPROM93_WORDS - 1] = (uint16_t)(EEPROM_CHECKSUM - sum);
}

static void write_eecd(struct e1000 *nic, uint32_t value)
{
    nic->reg[EECD] = (value & (EECD_SK | EECD_CS | EECD_DI | EECD_REQ)) | EECD_PRES;
    if (value & EECD_REQ)
        nic->reg[EECD] |= EECD_GNT;
    eeprom93_set_pins(&nic->eeprom, value & EECD_CS, value & EECD_SK, value & EECD_DI);
    if (nic->eeprom.data_out)
        nic->reg[EECD] |= EECD_DO;
}

static void write_eerd(struct e1000 *nic, uint32_t value)
{
    uint32_t address = value >> 8 & 0xff;
    if (!(value & EERD_START))
        return;
    nic->reg[EERD] =
        EERD_DONE | address << 8 | (uint32_t)nic->eeprom.word[address % EEPROM93_WORDS] << 16;
}

/* -- PHY, behind MDIC -- */

static const struct {
    uint8_t reg;
    uint16_t reset, writable;
} phy_registers[] = {
    {PHY_CONTROL, 0x1140, 0x7dff},
    {PHY_STATUS, 0x7949, 0}, /* link and negotiation bits are added on read */
    {PHY_ID1, 0x0141, 0},    /* M88E1011 revision 0 */
    {PHY_ID2, 0x0c20, 0},
    {PHY_ADVERTISE, 0x0de1, 0xffff},
    {PHY_PARTNER, 0xcde1, 0}, /* a partner that can do all */
    {PHY_EXPANSION, 0x0003, 0},
    {PHY_1000T_CONTROL, 0x0e00, 0xffff},
    {PHY_1000T_STATUS, 0x3c00, 0},
    {PHY_SPECIFIC_CONTROL, 0x0360, 0xffff},
    {PHY_SPECIFIC_STATUS, 0xa800, 0}, /* 1000 Mb/s, full duplex, resolved */
    {PHY_EXTENDED_CONTROL, 0x0d60, 0xffff},
};

#define PHY_REGISTERS (sizeof phy_registers / sizeof *phy_registers)

static void reset_phy(struct e1000 *nic)
{
    memset(nic->phy, 0, sizeof nic->phy);
    for (size_t i = 0; i < PHY_REGISTERS; i++)
        nic->phy[phy_registers[i].reg] = phy_registers[i].reset;
}

static uint16_t read_phy(const struct e1000 *nic, unsigned reg)
{
    uint16_t value = nic->phy[reg];
    if (nic->port->link_up && reg == PHY_STATUS)
        value |= PHY_STATUS_LINK | PHY_STATUS_AN_DONE;
    if (nic->port->link_up && reg == PHY_SPECIFIC_STATUS)
        value |= PHY_SPECIFIC_LINK;
    return value;
}

static void write_phy(struct e1000 *nic, unsigned reg, uint16_t value)
{
    for (size_t i = 0; i < PHY_REGISTERS; i++)
        if (phy_registers[i].reg == reg)
            nic->phy[reg] = (nic->phy[reg] & (uint16_t)~phy_registers[i].writable) |
                            (value & phy_registers[i].writable);
    if (reg == PHY_CONTROL && (value & PHY_CONTROL_RESET))
        reset_phy(nic);
    if (reg == PHY_CONTROL && (value & (PHY_CONTROL_RESET | PHY_CONTROL_RESTART)) &&
        nic->port->link_up)
        e1000_raise(nic, ICR_LSC); /* negotiated anew, at once */
}

static void write_mdic(struct e1000 *nic, uint32_t value)
{
    unsigned reg = value >> 16 & 0x1f, address = value >> 21 & 0x1f, operation = value >> 26 & 3;
    uint32_t result = (value & 0x23ff0000) | MDIC_READY;
    result |= value & 0x0c000000;
    if (address != PHY_ADDRESS || (operation != MDIC_OP_READ && operation != MDIC_OP_WRITE)) {
        result |= MDIC_ERROR;
    } else if (operation == MDIC_OP_READ) {
        result |= read_phy(nic, reg);
    } else {
        write_phy(nic, reg, (uint16_t)value);
        result |= value & 0xffff;
    }
    nic->reg[MDIC] = result;
    if (value & MDIC_INTERRUPT)
        e1000_raise(nic, ICR_MDAC);
}

/* -- Reset -- */

static const struct {
    uint16_t reg;
    uint32_t value;
} reset_values[] = {
    {CTRL, CTRL_FD | CTRL_SLU | 0x200}, /* 1000 Mb/s */
    {EECD, EECD_PRES | EECD_DO},
    {MDIC, MDIC_READY},
    {VET, 0x8100},
    {LEDCTL, 0x07061302},
    {PBA, 0x00100030}, /* 48 KiB receive, 16 KiB transmit */
    {TXDCTL, 0},
    {RXDCTL, 0x00010000},
    {MANC, 0},
};

/* What CTRL.RST does: all but the PHY and PCI configuration. */
static void reset_mac(struct e1000 *nic)
{
    timer_cancel(&nic->irq_timer);
    timer_cancel(&nic->tx_timer);
    timer_cancel(&nic->rx_delay.timer);
    timer_cancel(&nic->tx_delay.timer);
    memset(nic->reg, 0, sizeof nic->reg);
    memset(&nic->tx, 0, sizeof nic->tx);
    eeprom93_release(&nic->eeprom);
    nic->irq_allowed_ns = 0;
    for (size_t i = 0; i < sizeof reset_values / sizeof *reset_values; i++)
        nic->reg[reset_values[i].reg] = reset_values[i].value;
    nic->reg[RAL0] = nic->eeprom.word[0] | (uint32_t)nic->eeprom.word[1] << 16;
    nic->reg[RAH0] = nic->eeprom.word[2] | RAH_AV;
    update_irq(nic);
}

/* -- Register handlers: reads with effects, writes with effects -- */

static void write_ctrl(struct e1000 *nic, uint32_t value)
{
    if (value & CTRL_RST) {
        reset_mac(nic);
        return;
    }
    nic->reg[CTRL] = value & ~CTRL_PHY_RST;
    if (value & CTRL_PHY_RST)
        reset_phy(nic);
}

static uint32_t read_status(struct e1000 *nic)
{
    return STATUS_FD | STATUS_SPEED_1000 | STATUS_ASDV_1000 | (nic->port->link_up ? STATUS_LU : 0);
}

static uint32_t read_icr(struct e1000 *nic)
{
    uint32_t causes = nic->reg[ICR];
    nic->reg[ICR] = 0;
    update_irq(nic);
    return causes;
}

static void write_icr(struct e1000 *nic, uint32_t value)
{
    nic->reg[ICR] &= ~value;
    update_irq(nic);
}

static void write_ics(struct e1000 *nic, uint32_t value)
{
    e1000_raise(nic, value & 0x1ffff);
}

static void write_ims(struct e1000 *nic, uint32_t value)
{
    nic->reg[IMS] |= value & 0x1ffff;
    update_irq(nic);
}

static void write_imc(struct e1000 *nic, uint32_t value)
{
    nic->reg[IMS] &= ~value;
    update_irq(nic);
}

/* The driver has given buffers: the network may have frames that wait for them. */
static void offer_buffers(struct e1000 *nic)
{
    if (nic->port->writable && (nic->reg[RCTL] & RCTL_EN))
        nic->port->writable(nic->port->network);
}

static void write_rctl(struct e1000 *nic, uint32_t value)
{
    nic->reg[RCTL] = value;
    if ((value & RCTL_LBM) > RCTL_LBM_MAC)
        log_guest("e1000: loopback in the transceiver is not modelled");
    offer_buffers(nic);
}

static void write_rdt(struct e1000 *nic, uint32_t value)
{
    nic->reg[RDT] = value & 0xffff;
    offer_buffers(nic);
}

static void write_rdtr(struct e1000 *nic, uint32_t value)
{
    nic->reg[RDTR] = value & 0xffff;
    if ((value & RDTR_FPD) && timer_pending(&nic->rx_delay.timer)) {
        timer_cancel(&nic->rx_delay.timer);
        e1000_raise(nic, ICR_RXT0);
    }
}

static void write_tctl(struct e1000 *nic, uint32_t value)
{
    nic->reg[TCTL] = value;
    e1000_transmit(nic);
}

static void write_tdt(struct e1000 *nic, uint32_t value)
{
    nic->reg[TDT] = value & 0xffff;
    e1000_transmit(nic);
}

/* Head registers may be set only while the unit is stopped; a frame under way is forgotten. */
static void write_tdh(struct e1000 *nic, uint32_t value)
{
    nic->reg[TDH] = value & 0xffff;
    nic->tx.started = false;
    nic->tx.consumed = 0;
}

/* -- The register table -- */

#define ALL 0xffffffffu

struct e1000_register {
    uint16_t first, count;
    uint32_t writable; /* bits that a plain write changes */
    uint32_t (*read)(struct e1000 *nic);
    void (*write)(struct e1000 *nic, uint32_t value);
};

static const struct e1000_register registers[] = {
    {0, 0, 0, NULL, NULL}, /* row 0: registers that do not exist */
    {CTRL, 1, 0, NULL, write_ctrl},
    {CTRL + 1, 1, 0, NULL, write_ctrl}, /* CTRL's shadow */
    {STATUS, 1, 0, read_status, NULL},
    {EECD, 1, 0, NULL, write_eecd},
    {EERD, 1, 0, NULL, write_eerd},
    {CTRL_EXT, 1, ALL, NULL, NULL},
    {MDIC, 1, 0, NULL, write_mdic},
    {FCAL, 1, ALL, NULL, NULL},
    {FCAH, 1, 0xffff, NULL, NULL},
    {FCT, 1, 0xffff, NULL, NULL},
    {VET, 1, 0xffff, NULL, NULL},
    {ICR, 1, 0, read_icr, write_icr},
    {ITR, 1, 0xffff, NULL, NULL},
    {ICS, 1, 0, NULL, write_ics},
    {IMS, 1, 0, NULL, write_ims},
    {IMC, 1, 0, NULL, write_imc},
    {RCTL, 1, 0, NULL, write_rctl},
    {FCTTV, 1, 0xffff, NULL, NULL},
    {TXCW, 1, ALL, NULL, NULL},
    {RXCW, 1, 0, NULL, NULL},
    {TCTL, 1, 0, NULL, write_tctl},
    {TIPG, 1, ALL, NULL, NULL},
    {AIFS, 1, 0xffff, NULL, NULL},
    {LEDCTL, 1, ALL, NULL, NULL},
    {PBA, 1, 0xffff, NULL, NULL},
    {FCRTL, 1, ALL, NULL, NULL},
    {FCRTH, 1, ALL, NULL, NULL},
    {RDBAL, 1, 0xfffffff0, NULL, NULL},
    {RDBAH, 1, ALL, NULL, NULL},
    {RDLEN, 1, 0xfff80, NULL, NULL},
    {RDH, 1, 0xffff, NULL, NULL},
    {RDT, 1, 0, NULL, write_rdt},
    {RDTR, 1, 0, NULL, write_rdtr},
    {RXDCTL, 1, ALL, NULL, NULL},
    {RADV, 1, 0xffff, NULL, NULL},
    {RSRPD, 1, 0xfff, NULL, NULL},
    {TDFH, TDFPC - TDFH + 1, 0, NULL, NULL}, /* transmit FIFO: always empty */
    {TDBAL, 1, 0xfffffff0, NULL, NULL},
    {TDBAH, 1, ALL, NULL, NULL},
    {TDLEN, 1, 0xfff80, NULL, NULL},
    {TDH, 1, 0, NULL, write_tdh},
    {TDT, 1, 0, NULL, write_tdt},
    {TIDV, 1, 0xffff, NULL, NULL},
    {TXDCTL, 1, ALL, NULL, NULL},
    {TADV, 1, 0xffff, NULL, NULL},
    {TSPMT, 1, ALL, NULL, NULL},
    {CRCERRS, STATISTICS_LAST - CRCERRS + 1, 0, NULL, NULL},
    {RXCSUM, 1, 0x7ff, NULL, NULL},
    {MTA, 128, ALL, NULL, NULL},
    {RAL0, 32, 0, NULL, NULL}, /* by write_register */
    {VFTA, 128, ALL, NULL, NULL},
    {WUC, 1, ALL, NULL, NULL},
    {WUFC, 1, ALL, NULL, NULL},
    {WUS, 1, ALL, NULL, NULL},
    {MANC, 1, ALL, NULL, NULL},
};

static void index_registers(struct e1000 *nic)
{
    for (size_t row = 1; row < sizeof registers / sizeof *registers; row++)
        for (unsigned i = 0; i < registers[row].count; i++)
            nic->lookup[registers[row].first + i] = (uint8_t)row;
}

/* Statistics are cleared by reading; a pair is cleared by its upper half. */
static uint32_t read_statistic(struct e1000 *nic, unsigned reg)
{
    static const uint16_t pairs[] = {GORCL, GOTCL, TORL, TOTL};
    uint32_t value = nic->reg[reg];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (reg == pairs[i])
            return value;
        if (reg == pairs[i] + 1u)
            nic->reg[pairs[i]] = 0;
    }
    nic->reg[reg] = 0;
    return value;
}

static uint32_t read_register(struct e1000 *nic, uint32_t offset)
{
    unsigned index = offset / 4;
    if (index >= E1000_REGISTERS || !nic->lookup[index]) {
        log_guest("e1000: read of register %05x", offset);
        return 0;
    }
    const struct e1000_register *reg = &registers[nic->lookup[index]];
    if (reg->read)
        return reg->read(nic);
    if (reg->first == CRCERRS)
        return read_statistic(nic, index);
    if (index == CTRL + 1)
        return nic->reg[CTRL];
    return nic->reg[index];
}

static void write_register(struct e1000 *nic, uint32_t offset, uint32_t value)
{
    unsigned index = offset / 4;
    if (index >= E1000_REGISTERS || !nic->lookup[index]) {
        log_guest("e1000: write of %08x to register %05x", value, offset);
        return;
    }
    const struct e1000_register *reg = &registers[nic->lookup[index]];
    uint32_t writable = reg->writable;
    if (reg->first == RAL0)
        writable = (index - RAL0) % 2 ? RAH_WRITABLE : ALL;
    if (reg->write)
        reg->write(nic, value);
    else
        nic->reg[index] = (nic->reg[index] & ~writable) | (value & writable);
}

/* -- BARs -- */

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    return read_register(opaque, (uint32_t)offset & ~3u);
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    write_register(opaque, (uint32_t)offset & ~3u, (uint32_t)value);
}

static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    struct e1000 *nic = opaque;
    if (offset == 0)
        return nic->io_address;
    return offset == 4 ? read_register(nic, nic->io_address & (MMIO_SIZE - 4)) : 0;
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct e1000 *nic = opaque;
    if (offset == 0)
        nic->io_address = (uint32_t)value;
    else if (offset == 4)
        write_register(nic, nic->io_address & (MMIO_SIZE - 4), (uint32_t)value);
}

static const struct access_ops mmio_ops = {mmio_read, mmio_write, 4, 4};
static const struct access_ops io_ops = {io_read, io_write, 4, 4};

/* -- Life -- */

void e1000_link_changed(struct e1000 *nic)
{
    e1000_raise(nic, ICR_LSC);
}

uint64_t e1000_activity(const struct e1000 *nic)
{
    return atomic_load_explicit(&nic->activity, memory_order_relaxed);
}

static void e1000_reset(struct device *device)
{
    struct e1000 *nic = (struct e1000 *)device;
    pci_device_reset(&nic->pci);
    reset_phy(nic);
    reset_mac(nic);
    nic->io_address = 0;
}

static bool e1000_post_load(struct device *device, struct error *error)
{
    struct e1000 *nic = (struct e1000 *)device;
    const struct e1000_tx *tx = &nic->tx;
    const struct tx_context *context = &tx->context;
    uint32_t capacity = E1000_FRAME_MAX;
    if (tx->started && tx->segmenting && !tx->dropping) {
        capacity = context->header_length + (uint32_t)context->mss;
        if (!e1000_context_usable(context))
            return error_set(error, "The saved state of network card '%s' is damaged", device->id);
    }
    if (tx->length > E1000_FRAME_MAX || tx->length > capacity || !eeprom93_valid(&nic->eeprom))
        return error_set(error, "The saved state of network card '%s' is damaged", device->id);
    if (!pci_device_post_load(&nic->pci, error))
        return false;
    timer_rearm(&nic->irq_timer);
    timer_rearm(&nic->tx_timer);
    timer_rearm(&nic->rx_delay.timer);
    timer_rearm(&nic->tx_delay.timer);
    return true;
}

static void e1000_destroy(struct device *device)
{
    struct e1000 *nic = (struct e1000 *)device;
    timer_cancel(&nic->irq_timer);
    timer_cancel(&nic->tx_timer);
    timer_cancel(&nic->rx_delay.timer);
    timer_cancel(&nic->tx_delay.timer);
    free(nic);
}

static const struct device_ops e1000_ops = {
    .name = "e1000",
    .fields = e1000_fields,
    .version = 1,
    .reset = e1000_reset,
    .post_load = e1000_post_load,
    .destroy = e1000_destroy,
};

struct e1000 *e1000_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                        struct clock *clock, const uint8_t mac[6], struct packet_port *port,
                        const char *id)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x100e,
        .revision = 0x03,
        .class_code = 0x0200,
        .subsystem_vendor = 0x8086,
        .subsystem = 0x001e, /* PRO/1000 MT Desktop */
        .interrupt_pin = 1,
    };
    struct e1000 *nic = alloc_zeroed(sizeof *nic);
    nic->clock = clock;
    nic->port = port;
    fill_eeprom(nic, mac);
    index_registers(nic);
    timer_init(&nic->irq_timer, clock, fire_irq, nic);
    timer_init(&nic->tx_timer, clock, fire_tx, nic);
    timer_init(&nic->rx_delay.timer, clock, fire_rx_delay, nic);
    timer_init(&nic->tx_delay.timer, clock, fire_tx_delay, nic);

    device_add(list, &nic->pci.device, &e1000_ops, id);
    pci_device_init(&nic->pci, bus, devfn, &identity);
    pci_add_power_management(&nic->pci, CAP_POWER);
    pci_add_mmio_bar(&nic->pci, 0, MMIO_SIZE, &mmio_ops, nic);
    pci_add_io_bar(&nic->pci, 1, IO_SIZE, &io_ops, nic);
    reset_phy(nic);
    reset_mac(nic);

    port->receive = e1000_receive;
    port->can_receive = e1000_can_receive;
    port->nic = nic;
    return nic;
}
