/*
 * ICH9 LPC bridge (Intel 316972, chapter 13) and chipset configuration registers (chapter 10).
 *
 *     PMBASE   + 00..0B  ACPI fixed hardware (acpi_pm.c)   + 20..2F  general purpose events
 *              + 30..37  SMI enable and status             + 60..7F  TCO (tco.c)
 *     GPIOBASE + 00..3F  general purpose pins, with nothing connected
 *     RCBA     16 KiB    D25IR-D31IR: which PIRQ each device's pins drive; HPTC; GCS
 *
 * Interrupt routing: PIRQA to H lead to pins 16 to 23 of the I/O APIC always, and to one of the ISA
 * interrupts each by the route registers. Devices 25 to 31 choose their PIRQs in RCBA; the others
 * (root ports, cards) are wired (slot + pin) mod 4 to PIRQE to H.
 *
 * There is no system management mode: SMI_EN is a register, and writing the SMI command port does
 * what a firmware's handler would. The HPET is always decoded, whatever HPTC says.
 *
 * Not modelled: throttling, LPC decode ranges (the devices sit at their usual ports), serial
 * interrupts, alternate access, the RTC's and the other functions' disable bits, SMBus devices.
 */
#include "hw/chipset/ich9_lpc.h"
#include "hw/alloc.h"
#include "hw/chipset/tco.h"

#include <string.h>

/* Configuration registers, section 13.1. */
#define PMBASE          0x40
#define ACPI_CNTL       0x44
#define GPIOBASE        0x48
#define GC              0x4c
#define PIRQA_ROUT      0x60
#define SIRQ_CNTL       0x64
#define PIRQE_ROUT      0x68
#define LPC_IOD         0x80 /* with LPC_EN and GEN1_DEC to GEN4_DEC */
#define LPC_DECODES_END 0x94
#define GEN_PMCON_1     0xa0
#define GEN_PMCON_LOCK  0xa6
#define GPI_ROUT        0xb8
#define BIOS_CNTL       0xdc
#define RCBA            0xf0

#define PMBASE_MASK     0xff80
#define PM_BYTES        128
#define ACPI_EN         0x80
#define GPIOBASE_MASK   0xffc0
#define GPIO_BYTES      64
#define GPIO_EN         0x10
#define RCBA_MASK       0xffffc000u
#define RCBA_BYTES      0x4000u
#define RCBA_EN         0x1
#define RCR_WRITABLE    0x0e /* reset CPU, hard or soft, full */

/* In the PM block, section 13.8. */
#define PM_GPE0      ICH9_GPE0_OFFSET
#define PM_SMI_EN    0x30
#define PM_SMI_STS   0x34
#define SMI_APMC_EN  0x20 /* by which firmware sees that SMI handling needs no setup */
#define PM_TCO       0x60
#define SMI_EN_BYTES 8

/* GPIO registers, section 13.10. */
#define GPIO_USE_SEL 0x00
#define GP_IO_SEL    0x04
#define GP_LVL       0x0c

/* Chipset configuration, section 10.1. */
#define CC_D31IR        0x3140
#define CC_D25IR        0x3150
#define CC_HPTC         0x3404
#define CC_GCS          0x3410
#define HPTC_ENABLED    0x80
#define GCS_NO_REBOOT   0x20
#define CC_STORED       0x3100 /* what lies in cc[] */
#define CC_STORED_BYTES 0x400

struct ich9_lpc {
    struct pci_device pci;
    struct isa_bridge isa;
    struct acpi_pm acpi;
    struct tco tco;
    uint8_t smi[SMI_EN_BYTES]; /* SMI_EN, SMI_STS */
    uint8_t gpio[GPIO_BYTES];
    uint8_t cc[CC_STORED_BYTES]; /* chipset configuration from CC_STORED up */

    struct io_bus *io;
    struct irq_line pirq_pins[PCI_PIRQS];
    struct io_range *pm_range, *gpio_range;
    struct region *rcba;
};

static const struct field ich9_lpc_fields[] = {
    FIELD_STRUCT(struct ich9_lpc, pci, pci_device_fields, 1),
    FIELD_STRUCT(struct ich9_lpc, isa, isa_bridge_fields, 1),
    FIELD_STRUCT(struct ich9_lpc, acpi, acpi_pm_fields, 1),
    FIELD_STRUCT(struct ich9_lpc, tco, tco_fields, 1),
    FIELD_ARRAY(struct ich9_lpc, smi, 1),
    FIELD_ARRAY(struct ich9_lpc, gpio, 1),
    FIELD_ARRAY(struct ich9_lpc, cc, 1),
    FIELD_END,
};

/* -- Interrupt routing -- */

/* Four bits a pin. */
static unsigned device_route(const struct ich9_lpc *lpc, unsigned slot)
{
    static const uint16_t registers[7] = {0x3150, 0x314c, 0x3148, 0x3146, 0x3144, 0x3142, 0x3140};

    return pci_get(lpc->cc, registers[slot - 25] - CC_STORED, 2);
}

static unsigned map_irq(void *opaque, unsigned slot, unsigned pin)
{
    const struct ich9_lpc *lpc = opaque;

    if (slot >= 25)
        return device_route(lpc, slot) >> (4 * pin) & 7;
    return 4 + ((slot + pin) & 3);
}

static void set_pirq(void *opaque, int number, bool level)
{
    struct ich9_lpc *lpc = opaque;

    irq_set(lpc->pirq_pins[number], level);
    isa_bridge_set_pirq(&lpc->isa, number, level);
}

/* -- Power management block -- */

static bool no_reboot(void *opaque)
{
    return ((struct ich9_lpc *)opaque)->cc[CC_GCS - CC_STORED] & GCS_NO_REBOOT;
}

static void watchdog_reset(void *opaque)
{
    const struct board_requests *requests = &((struct ich9_lpc *)opaque)->isa.requests;

    if (requests->reset)
        requests->reset(requests->opaque);
}

static uint8_t pm_read_byte(struct ich9_lpc *lpc, unsigned offset)
{
    if (offset >= PM_GPE0 && offset < PM_GPE0 + ICH9_GPE0_BYTES)
        return acpi_pm_gpe_read(&lpc->acpi, offset - PM_GPE0, ICH9_GPE0_BYTES);
    if (offset >= PM_SMI_EN && offset < PM_SMI_EN + SMI_EN_BYTES)
        return lpc->smi[offset - PM_SMI_EN];
    if (offset >= PM_TCO)
        return tco_read(&lpc->tco, offset - PM_TCO);
    return 0;
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ich9_lpc *lpc = opaque;
    uint64_t value = 0;

    if (offset + size <= ACPI_PM_BYTES)
        return acpi_pm_read(&lpc->acpi, (unsigned)offset, size);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)pm_read_byte(lpc, (unsigned)offset + i) << (8 * i);
    return value;
}

static void pm_write_byte(struct ich9_lpc *lpc, unsigned offset, uint8_t value)
{
    if (offset >= PM_GPE0 && offset < PM_GPE0 + ICH9_GPE0_BYTES)
        acpi_pm_gpe_write(&lpc->acpi, offset - PM_GPE0, ICH9_GPE0_BYTES, value);
    else if (offset >= PM_SMI_EN && offset < PM_SMI_STS)
        lpc->smi[offset - PM_SMI_EN] = value;
    else if (offset >= PM_SMI_STS && offset < PM_SMI_EN + SMI_EN_BYTES)
        lpc->smi[offset - PM_SMI_EN] &= (uint8_t)~value;
    else if (offset >= PM_TCO)
        tco_write(&lpc->tco, offset - PM_TCO, value);
    else
        log_guest("ich9: write of %02x to PM register %02x, which is not modelled", value, offset);
}

static void pm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ich9_lpc *lpc = opaque;

    if (offset + size <= ACPI_PM_BYTES) {
        acpi_pm_write(&lpc->acpi, (unsigned)offset, value, size);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        pm_write_byte(lpc, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

static const struct access_ops pm_ops = {pm_read, pm_write, 1, 4};

/* -- General purpose pins: registers that keep what is written; inputs read as ones -- */

static uint64_t gpio_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct ich9_lpc *lpc = opaque;

    if (offset >= GP_LVL && offset < GP_LVL + 4) {
        uint8_t inputs = lpc->gpio[GP_IO_SEL + offset - GP_LVL];
        return lpc->gpio[offset] | inputs;
    }
    return lpc->gpio[offset];
}

static void gpio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ((struct ich9_lpc *)opaque)->gpio[offset] = (uint8_t)value;
}

static const struct access_ops gpio_ops = {gpio_read, gpio_write, 1, 1};

/* -- Chipset configuration -- */

static uint64_t rcba_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct ich9_lpc *lpc = opaque;

    if (offset < CC_STORED || offset + size > CC_STORED + CC_STORED_BYTES)
        return 0;
    return pci_get(lpc->cc, (unsigned)offset - CC_STORED, size);
}

static void rcba_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ich9_lpc *lpc = opaque;

    if (offset < CC_STORED || offset + size > CC_STORED + CC_STORED_BYTES) {
        log_guest("ich9: write to chipset configuration register %04x, which is not modelled",
                  (unsigned)offset);
        return;
    }
    pci_put(lpc->cc, (unsigned)offset - CC_STORED, (uint32_t)value, size);
    if (offset < CC_D25IR + 2 && offset + size > CC_D31IR)
        pci_bus_irqs_changed(lpc->pci.bus);
}

static const struct access_ops rcba_ops = {rcba_read, rcba_write, 1, 4};

/* -- Configuration -- */

uint16_t ich9_lpc_pm_base(const struct ich9_lpc *lpc)
{
    return pci_get(lpc->pci.config, PMBASE, 2) & PMBASE_MASK;
}

static void map_block(struct ich9_lpc *lpc, struct io_range **range, bool enabled, unsigned port,
                      unsigned count, const struct access_ops *ops)
{
    io_bus_remove(lpc->io, *range);
    *range = enabled && port ? io_bus_add(lpc->io, (uint16_t)port, count, ops, lpc) : NULL;
}

static void map_blocks(struct ich9_lpc *lpc)
{
    const uint8_t *config = lpc->pci.config;
    uint32_t rcba = pci_get(config, RCBA, 4);

    map_block(lpc, &lpc->pm_range, config[ACPI_CNTL] & ACPI_EN, ich9_lpc_pm_base(lpc), PM_BYTES,
              &pm_ops);
    map_block(lpc, &lpc->gpio_range, config[GC] & GPIO_EN,
              pci_get(config, GPIOBASE, 2) & GPIOBASE_MASK, GPIO_BYTES, &gpio_ops);
    region_place(lpc->rcba, rcba & RCBA_MASK, (rcba & RCBA_EN) && (rcba & RCBA_MASK));
}

static void ich9_lpc_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct ich9_lpc *lpc = (struct ich9_lpc *)pci;

    if (offset < 0x40)
        return;
    if (pci_get(pci->write_mask, offset, size) == 0)
        log_guest("ich9: write to unknown configuration register %02x", offset);
    if (offset < PIRQE_ROUT + 4 && offset + size > PIRQA_ROUT)
        isa_bridge_rerouted(&lpc->isa);
    map_blocks(lpc);
}

static void set_write_masks(uint8_t *mask)
{
    pci_put(mask, PMBASE, PMBASE_MASK, 4);
    mask[ACPI_CNTL] = 0x87;
    pci_put(mask, GPIOBASE, GPIOBASE_MASK, 4);
    mask[GC] = 0x11;
    memset(mask + PIRQA_ROUT, PIRQ_DISABLED | PIRQ_IRQ, 4);
    memset(mask + PIRQE_ROUT, PIRQ_DISABLED | PIRQ_IRQ, 4);
    mask[SIRQ_CNTL] = 0xff;
    memset(mask + LPC_IOD, 0xff, LPC_DECODES_END - LPC_IOD);
    memset(mask + GEN_PMCON_1, 0xff, GEN_PMCON_LOCK - GEN_PMCON_1);
    pci_put(mask, GPI_ROUT, UINT32_MAX, 4);
    mask[BIOS_CNTL] = 0x0f;
    pci_put(mask, RCBA, RCBA_MASK | RCBA_EN, 4);
    pci_put(mask, PCI_COMMAND, 0x0100, 2);
}

/* -- Life -- */

static void reset_chipset_configuration(struct ich9_lpc *lpc)
{
    static const struct {
        uint16_t reg;
        uint32_t value;
    } defaults[] = {
        {0x3100, 0x03243200}, {0x3108, 0x10004321}, {0x310c, 0x00214321}, {0x3110, 0x00000001},
        {0x3114, 0x30214321}, {0x3118, 0x30214321}, {0x3140, 0x3210},     {0x3144, 0x3210},
        {0x3146, 0x3210},     {0x3148, 0x3210},     {0x314c, 0x3210},     {0x3150, 0x3210},
    };

    memset(lpc->cc, 0, sizeof lpc->cc);
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        pci_put(lpc->cc, defaults[i].reg - CC_STORED, defaults[i].value,
                defaults[i].reg < CC_D31IR ? 4 : 2);
    pci_put(lpc->cc, CC_HPTC - CC_STORED, HPTC_ENABLED, 4);
    pci_bus_irqs_changed(lpc->pci.bus);
}

static void ich9_lpc_reset(struct device *device)
{
    struct ich9_lpc *lpc = (struct ich9_lpc *)device;
    uint8_t *config = lpc->pci.config;

    pci_device_reset(&lpc->pci);
    /* A bridge decodes I/O and memory and masters the bus always. */
    pci_put(config, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    pci_put(config, PCI_STATUS, 0x0200, 2);
    memset(config + PMBASE, 0, 0x100 - PMBASE);
    pci_put(config, PMBASE, 1, 4);
    pci_put(config, GPIOBASE, 1, 4);
    memset(config + PIRQA_ROUT, PIRQ_DISABLED, 4);
    memset(config + PIRQE_ROUT, PIRQ_DISABLED, 4);
    config[SIRQ_CNTL] = 0x10;
    memset(lpc->smi, 0, sizeof lpc->smi);
    lpc->smi[0] = SMI_APMC_EN;
    memset(lpc->gpio, 0, sizeof lpc->gpio);
    memset(lpc->gpio + GPIO_USE_SEL, 0xff, 8); /* pins of their native functions, inputs */
    isa_bridge_reset(&lpc->isa);
    reset_chipset_configuration(lpc);
    tco_reset(&lpc->tco);
    map_blocks(lpc);
    acpi_pm_reset(&lpc->acpi);
}

static bool ich9_lpc_post_load(struct device *device, struct error *error)
{
    struct ich9_lpc *lpc = (struct ich9_lpc *)device;

    if (!pci_device_post_load(&lpc->pci, error) || !acpi_pm_post_load(&lpc->acpi, error))
        return false;
    pci_bus_irqs_changed(lpc->pci.bus);
    isa_bridge_post_load(&lpc->isa);
    tco_post_load(&lpc->tco);
    map_blocks(lpc);
    return true;
}

static void ich9_lpc_destroy(struct device *device)
{
    struct ich9_lpc *lpc = (struct ich9_lpc *)device;

    acpi_pm_destroy(&lpc->acpi);
    tco_destroy(&lpc->tco);
    free(lpc);
}

static const struct device_ops ich9_lpc_ops = {
    .name = "ich9-lpc",
    .fields = ich9_lpc_fields,
    .version = 1,
    .reset = ich9_lpc_reset,
    .post_load = ich9_lpc_post_load,
    .destroy = ich9_lpc_destroy,
};

struct isa_bridge *ich9_lpc_isa(struct ich9_lpc *lpc)
{
    return &lpc->isa;
}

struct acpi_pm *ich9_lpc_acpi(struct ich9_lpc *lpc)
{
    return &lpc->acpi;
}

struct ich9_lpc *ich9_lpc_new(struct device_list *list, struct pci_bus *pci, struct io_bus *io,
                              struct memory *memory, struct clock *clock,
                              const struct irq_line isa[ISA_IRQS],
                              const struct irq_line pirq[PCI_PIRQS],
                              const struct board_requests *requests)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x2918,
        .revision = 0x02,
        .class_code = 0x0601,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
    };
    const struct acpi_sleep_types types = {ICH9_SLEEP_TYPE_SUSPEND, ICH9_SLEEP_TYPE_OFF};
    struct ich9_lpc *lpc = alloc_zeroed(sizeof *lpc);
    struct irq_line inputs[PCI_PIRQS];

    lpc->io = io;
    memcpy(lpc->pirq_pins, pirq, sizeof lpc->pirq_pins);
    pci_device_init(&lpc->pci, pci, PCI_DEVFN(31, 0), &identity);
    lpc->pci.config[PCI_HEADER_TYPE] = PCI_HEADER_MULTIFUNCTION;
    set_write_masks(lpc->pci.write_mask);
    lpc->pci.config_written = ich9_lpc_config_written;
    isa_bridge_init(&lpc->isa, io, isa, requests, RCR_WRITABLE);
    for (int i = 0; i < PCI_PIRQS; i++) {
        lpc->isa.route[i] = &lpc->pci.config[i < 4 ? PIRQA_ROUT + i : PIRQE_ROUT + i - 4];
        inputs[i] = (struct irq_line){set_pirq, lpc, i};
    }
    pci_bus_route_mapped(pci, inputs, map_irq, lpc);
    acpi_pm_init(&lpc->acpi, "ich9", io, clock, isa_bridge_line(&lpc->isa, 9), requests, types);
    tco_init(&lpc->tco, clock, no_reboot, watchdog_reset, lpc);
    lpc->rcba = memory_add_mmio(memory, 0, RCBA_BYTES, PRIORITY_BOARD, &rcba_ops, lpc, "rcba");
    region_place(lpc->rcba, 0, false);
    device_add(list, &lpc->pci.device, &ich9_lpc_ops, "ich9-lpc");
    ich9_lpc_reset(&lpc->pci.device);
    return lpc;
}
