/*
 * 82371AB PIIX4, function 3: power management and SMBus host controller (Intel 290562, chapters 7
 * and 11; ACPI 1.0b, section 4.7 for the meaning of the ACPI registers).
 *
 *     PMBASE  + 0  PMSTS   + 2  PMEN   + 4  PMCNTRL   + 8  PMTMR (24 bits at 3.579545 MHz)
 *     SMBBASE + 0..13      SMBus host controller, without any device on its wires
 *     0xAFE0               general purpose events: two status bytes, two enable bytes
 *     0xB2, 0xB3           APM control and status, the "SMI command" port of the ACPI tables
 *
 * There is no system management mode: a write of ACPI_ENABLE or ACPI_DISABLE to 0xB2 does what a
 * firmware's SMI handler would, and DEVACTB.APMC_EN reads as set after reset, by which firmware
 * sees that SMI handling needs no setup.
 *
 * Not modelled: sleep states but S5 (the guest is woken at once), clock control, device monitors,
 * general purpose pins, RTC alarm wake, SMBus slave.
 */
#include "hw/chipset/piix4_pm.h"
#include "hw/alloc.h"

#include <string.h>

/* Configuration registers, section 7.1. */
#define PMBA            0x40
#define DEVACTB         0x58
#define PMREGMISC       0x80
#define SMBBA           0x90
#define SMBHSTCFG       0xd2
#define SMBSLVC         0xd3
#define SMBSHDW1        0xd4
#define SMBSHDW2        0xd5

#define PMBA_MASK       0xffc0
#define PM_BYTES        64
#define SMBBA_MASK      0xfff0
#define SMB_BYTES       16
#define PMIOSE          0x01
#define SMB_HST_EN      0x01
#define SMB_INTRSEL     0x0e
#define SMB_IRQ9        0x08
#define DEVACTB_APMC_EN 0x02000000

/* Power management I/O registers, section 7.2. */
#define PMSTS           0x00
#define PMEN            0x02
#define PMCNTRL         0x04
#define PMTMR           0x08
#define TMROF_STS       0x0001
#define GBL_STS         0x0020
#define PWRBTN_STS      0x0100
#define RTC_STS         0x0400
#define WAK_STS         0x8000
#define STS_CLEARS      (TMROF_STS | 0x0010 | GBL_STS | PWRBTN_STS | RTC_STS | WAK_STS)
#define EN_WRITE        (TMROF_STS | GBL_STS | PWRBTN_STS | RTC_STS)
#define SCI_EN          0x0001
#define GBL_RLS         0x0004
#define SLP_EN          0x2000
#define CNT_WRITE       0x1c03 /* SCI_EN, BRLD_EN, SLP_TYP */
#define SLP_TYP(v)      ((v) >> 10 & 7)

#define PM_TIMER_HZ     3579545u
#define PM_TIMER_MASK   0x00ffffffu
#define PM_TIMER_TOGGLE 0x00800000u /* ticks between two changes of bit 23 */

/* SMBus host registers, section 7.3. */
#define SMBHSTSTS   0x0
#define SMBSLVSTS   0x1
#define SMBHSTCNT   0x2
#define SMBHSTCMD   0x3
#define SMBHSTDAT1  0x6
#define SMBBLKDAT   0x7
#define SMBSLVCNT   0x8
#define SMBSLVEVT1  0xb
#define STS_DEV_ERR 0x04
#define STS_EVENTS  0x1e
#define CNT_INTEREN 0x01
#define CNT_START   0x40
#define CNT_STORED  0x1d

#define APM_PORT    PIIX4_SMI_COMMAND_PORT

struct piix4_pm {
    struct pci_device pci;
    struct io_bus *io;
    struct clock *clock;
    struct irq_line sci;
    struct board_requests requests;
    struct io_range *pm_range, *smb_range;

    uint16_t status, enable, control;
    struct timer overflow; /* armed while the guest wants to be told */
    uint64_t toggle_ns;    /* when bit 23 of the timer changes next, counted from the last clear */
    uint8_t gpe[PIIX4_GPE0_BYTES];
    uint8_t apm[2];

    uint8_t smb[SMB_BYTES];
    uint8_t smb_block[32];
    uint8_t smb_block_index;
};

static const struct field piix4_pm_fields[] = {
    FIELD_STRUCT(struct piix4_pm, pci, pci_device_fields, 1),
    FIELD(struct piix4_pm, status, 1),
    FIELD(struct piix4_pm, enable, 1),
    FIELD(struct piix4_pm, control, 1),
    FIELD(struct piix4_pm, overflow.deadline_ns, 1),
    FIELD(struct piix4_pm, toggle_ns, 1),
    FIELD_ARRAY(struct piix4_pm, gpe, 1),
    FIELD_ARRAY(struct piix4_pm, apm, 1),
    FIELD_ARRAY(struct piix4_pm, smb, 1),
    FIELD_ARRAY(struct piix4_pm, smb_block, 1),
    FIELD(struct piix4_pm, smb_block_index, 1),
    FIELD_END,
};

/* -- Events and the timer -- */

static uint64_t timer_ticks(const struct piix4_pm *pm)
{
    return clock_scale(clock_now(pm->clock), PM_TIMER_HZ, NS_PER_SECOND);
}

/* When the tick count next passes a multiple of 2^23, rounded up to whole nanoseconds. */
static uint64_t next_toggle_ns(const struct piix4_pm *pm)
{
    uint64_t ticks = (timer_ticks(pm) / PM_TIMER_TOGGLE + 1) * PM_TIMER_TOGGLE;

    return clock_scale(ticks, NS_PER_SECOND, PM_TIMER_HZ) + 1;
}

static bool smb_wants_irq(const struct piix4_pm *pm)
{
    return (pm->smb[SMBHSTSTS] & STS_EVENTS) && (pm->smb[SMBHSTCNT] & CNT_INTEREN) &&
           (pm->pci.config[SMBHSTCFG] & SMB_INTRSEL) == SMB_IRQ9;
}

/* Brings timer overflow, its alarm and the interrupt line up to date. */
static void update(struct piix4_pm *pm)
{
    if (clock_now(pm->clock) >= pm->toggle_ns)
        pm->status |= TMROF_STS;

    bool alarm = (pm->enable & TMROF_STS) && !(pm->status & TMROF_STS);
    if (!alarm)
        timer_cancel(&pm->overflow);
    else if (!timer_pending(&pm->overflow) || pm->overflow.deadline_ns != pm->toggle_ns)
        timer_set(&pm->overflow, pm->toggle_ns);

    bool event = (pm->control & SCI_EN) && (pm->status & pm->enable & EN_WRITE);
    irq_set(pm->sci, event || smb_wants_irq(pm));
}

static void timer_overflowed(void *opaque)
{
    update(opaque);
}

bool piix4_pm_power_button(struct piix4_pm *pm)
{
    pm->status |= PWRBTN_STS;
    update(pm);
    return (pm->control & SCI_EN) && (pm->enable & PWRBTN_STS);
}

/* -- The power management block, byte by byte -- */

static uint8_t pm_read_byte(const struct piix4_pm *pm, unsigned offset, uint32_t timer)
{
    switch (offset & ~1u) {
    case PMSTS:
        return (uint8_t)(pm->status >> (8 * (offset & 1)));
    case PMEN:
        return (uint8_t)(pm->enable >> (8 * (offset & 1)));
    case PMCNTRL:
        return (uint8_t)(pm->control >> (8 * (offset & 1)));
    case PMTMR:
    case PMTMR + 2:
        return (uint8_t)(timer >> (8 * (offset & 3)));
    default:
        log_guest("piix4_pm: read of register %02x, which is not modelled", offset);
        return 0;
    }
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = opaque;
    uint32_t timer = timer_ticks(pm) & PM_TIMER_MASK;
    uint64_t value = 0;

    update(pm);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)pm_read_byte(pm, (unsigned)offset + i, timer) << (8 * i);
    return value;
}

static void enter_sleep(struct piix4_pm *pm)
{
    unsigned type = SLP_TYP(pm->control);

    if (type == PIIX4_SLEEP_TYPE_OFF) {
        if (pm->requests.power_off)
            pm->requests.power_off(pm->requests.opaque);
        return;
    }
    log_guest("the guest suspends to type %u; only power off is modelled, it is woken at once",
              type);
    pm->status |= WAK_STS;
}

static void write_half(uint16_t *target, uint16_t mask, unsigned shift, uint8_t value)
{
    mask &= (uint16_t)(0xff << shift);
    *target = (uint16_t)((*target & ~mask) | (value << shift & mask));
}

static void pm_write_byte(struct piix4_pm *pm, unsigned offset, uint8_t value)
{
    unsigned shift = 8 * (offset & 1);
    uint16_t word = (uint16_t)(value << shift);

    switch (offset & ~1u) {
    case PMSTS:
        if (word & TMROF_STS)
            pm->toggle_ns = next_toggle_ns(pm);
        pm->status &= (uint16_t) ~(word & STS_CLEARS);
        break;
    case PMEN:
        write_half(&pm->enable, EN_WRITE, shift, value);
        break;
    case PMCNTRL:
        write_half(&pm->control, CNT_WRITE, shift, value);
        if (word & GBL_RLS)
            log_guest("piix4_pm: GBL_RLS wants an SMI; there is no system management mode");
        if (word & SLP_EN)
            enter_sleep(pm);
        break;
    case PMTMR:
    case PMTMR + 2:
        break; /* read-only */
    default:
        log_guest("piix4_pm: write of %02x to register %02x, which is not modelled", value, offset);
        break;
    }
}

static void pm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;

    update(pm);
    for (unsigned i = 0; i < size; i++)
        pm_write_byte(pm, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
    update(pm);
}

static const struct access_ops pm_ops = {pm_read, pm_write, 1, 4};

/* -- General purpose events: nothing on this board raises one -- */

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct piix4_pm *)opaque)->gpe[offset];
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;

    if (offset < PIIX4_GPE0_BYTES / 2)
        pm->gpe[offset] &= (uint8_t)~value;
    else
        pm->gpe[offset] = (uint8_t)value;
}

static const struct access_ops gpe_ops = {gpe_read, gpe_write, 1, 1};

/* -- APM ports -- */

static uint64_t apm_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct piix4_pm *)opaque)->apm[offset];
}

static void apm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;

    pm->apm[offset] = (uint8_t)value;
    if (offset != 0)
        return;
    if (value == PIIX4_ACPI_ENABLE)
        pm->control |= SCI_EN;
    else if (value == PIIX4_ACPI_DISABLE)
        pm->control &= (uint16_t)~SCI_EN;
    else
        log_guest("SMI command %02x; there is no system management mode", (unsigned)value);
    update(pm);
}

static const struct access_ops apm_ops = {apm_read, apm_write, 1, 1};

/* -- SMBus host controller -- */

static uint64_t smb_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = opaque;

    if (offset == SMBHSTCNT)
        pm->smb_block_index = 0;
    if (offset == SMBBLKDAT) {
        uint8_t value = pm->smb_block[pm->smb_block_index];
        pm->smb_block_index = (pm->smb_block_index + 1) % sizeof pm->smb_block;
        return value;
    }
    return pm->smb[offset];
}

static void smb_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;

    switch (offset) {
    case SMBHSTSTS:
        pm->smb[offset] &= (uint8_t) ~(value & STS_EVENTS);
        break;
    case SMBHSTCNT:
        pm->smb[offset] = value & CNT_STORED;
        /* Nobody acknowledges the address, so each transfer ends before it can be seen busy. */
        if (value & CNT_START)
            pm->smb[SMBHSTSTS] |= STS_DEV_ERR;
        break;
    case SMBBLKDAT:
        pm->smb_block[pm->smb_block_index] = (uint8_t)value;
        pm->smb_block_index = (pm->smb_block_index + 1) % sizeof pm->smb_block;
        break;
    default:
        /* Slave status never shows an event, and slave data is read-only. */
        if ((offset >= SMBHSTCMD && offset <= SMBHSTDAT1) ||
            (offset >= SMBSLVCNT && offset <= SMBSLVEVT1))
            pm->smb[offset] = (uint8_t)value;
        else if (offset != SMBSLVSTS)
            log_guest("piix4_pm: write to read-only SMBus register %02x", (unsigned)offset);
        break;
    }
    update(pm);
}

static const struct access_ops smb_ops = {smb_read, smb_write, 1, 1};

/* -- Configuration -- */

static void map_block(struct piix4_pm *pm, struct io_range **range, bool enabled, unsigned port,
                      unsigned count, const struct access_ops *ops)
{
    io_bus_remove(pm->io, *range);
    *range = enabled && port ? io_bus_add(pm->io, (uint16_t)port, count, ops, pm) : NULL;
}

static void map_blocks(struct piix4_pm *pm)
{
    const uint8_t *config = pm->pci.config;

    map_block(pm, &pm->pm_range, config[PMREGMISC] & PMIOSE, pci_get(config, PMBA, 2) & PMBA_MASK,
              PM_BYTES, &pm_ops);
    map_block(pm, &pm->smb_range, config[SMBHSTCFG] & SMB_HST_EN,
              pci_get(config, SMBBA, 2) & SMBBA_MASK, SMB_BYTES, &smb_ops);
}

static void piix4_pm_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct piix4_pm *pm = (struct piix4_pm *)pci;

    if (offset < 0x40)
        return;
    if (pci_get(pci->write_mask, offset, size) == 0)
        log_guest("piix4_pm: write to unknown configuration register %02x", offset);
    map_blocks(pm);
    update(pm);
}

static void set_write_masks(uint8_t *mask)
{
    pci_put(mask, PMBA, PMBA_MASK, 4);
    pci_put(mask, DEVACTB, UINT32_MAX, 4);
    mask[PMREGMISC] = PMIOSE;
    pci_put(mask, SMBBA, SMBBA_MASK, 4);
    mask[SMBHSTCFG] = SMB_HST_EN | SMB_INTRSEL;
    mask[SMBSLVC] = mask[SMBSHDW1] = mask[SMBSHDW2] = 0xff;
    pci_put(mask, PCI_COMMAND, PCI_COMMAND_IO, 2);
}

static void piix4_pm_reset(struct device *device)
{
    struct piix4_pm *pm = (struct piix4_pm *)device;
    uint8_t *config = pm->pci.config;

    pci_device_reset(&pm->pci);
    pci_put(config, PCI_STATUS, 0x0280, 2);
    pci_put(config, PMBA, 1, 4);
    pci_put(config, DEVACTB, DEVACTB_APMC_EN, 4);
    config[PMREGMISC] = 0;
    pci_put(config, SMBBA, 1, 4);
    memset(config + SMBHSTCFG, 0, SMBSHDW2 + 1 - SMBHSTCFG);
    pm->status = pm->enable = pm->control = 0;
    pm->toggle_ns = next_toggle_ns(pm);
    memset(pm->gpe, 0, sizeof pm->gpe);
    memset(pm->apm, 0, sizeof pm->apm);
    memset(pm->smb, 0, sizeof pm->smb);
    memset(pm->smb_block, 0, sizeof pm->smb_block);
    pm->smb_block_index = 0;
    map_blocks(pm);
    update(pm);
}

static bool piix4_pm_post_load(struct device *device, struct error *error)
{
    struct piix4_pm *pm = (struct piix4_pm *)device;

    if (!pci_device_post_load(&pm->pci, error))
        return false;
    if (pm->smb_block_index >= sizeof pm->smb_block)
        return error_set(error, "the saved state of %s has an SMBus block index of %u", device->id,
                         pm->smb_block_index);
    pm->status &= STS_CLEARS;
    pm->enable &= EN_WRITE;
    pm->control &= CNT_WRITE;
    timer_rearm(&pm->overflow);
    map_blocks(pm);
    update(pm);
    return true;
}

static void piix4_pm_destroy(struct device *device)
{
    timer_cancel(&((struct piix4_pm *)device)->overflow);
    free(device);
}

static const struct device_ops piix4_pm_ops = {
    .name = "piix4-pm",
    .fields = piix4_pm_fields,
    .version = 1,
    .reset = piix4_pm_reset,
    .post_load = piix4_pm_post_load,
    .destroy = piix4_pm_destroy,
};

struct piix4_pm *piix4_pm_new(struct device_list *list, struct pci_bus *pci, struct io_bus *io,
                              struct clock *clock, struct irq_line sci,
                              const struct board_requests *requests)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x7113,
        .revision = 0x03,
        .class_code = 0x0680,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
        .interrupt_pin = 1,
    };
    struct piix4_pm *pm = alloc_zeroed(sizeof *pm);

    pm->io = io;
    pm->clock = clock;
    pm->sci = sci;
    pm->requests = *requests;
    timer_init(&pm->overflow, clock, timer_overflowed, pm);
    pci_device_init(&pm->pci, pci, PCI_DEVFN(1, 3), &identity);
    set_write_masks(pm->pci.write_mask);
    pm->pci.config_written = piix4_pm_config_written;
    io_bus_add(io, APM_PORT, 2, &apm_ops, pm);
    io_bus_add(io, PIIX4_GPE0_PORT, PIIX4_GPE0_BYTES, &gpe_ops, pm);
    device_add(list, &pm->pci.device, &piix4_pm_ops, "piix4-pm");
    piix4_pm_reset(&pm->pci.device);
    return pm;
}
