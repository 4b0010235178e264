/*
 * 82371AB PIIX4, function 3: power management and SMBus host controller (Intel 290562, chapters 7
 * and 11). The ACPI registers are in acpi_pm.c, the SMBus ones in smbus_host.c.
 *
 *     PMBASE  + 0..63      PM registers
 *     SMBBASE + 0..15      SMBus host controller
 *     0xAFE0               general purpose events: two status bytes, two enable bytes
 *
 * There is no system management mode: DEVACTB.APMC_EN reads as set after reset, by which firmware
 * sees that SMI handling needs no setup.
 *
 * Not modelled: clock control, device monitors, general purpose pins, SMBus slave.
 */
#include "hw/chipset/piix4_pm.h"
#include "hw/alloc.h"
#include "hw/chipset/smbus_host.h"

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

struct piix4_pm {
    struct pci_device pci;
    struct acpi_pm acpi;
    struct smbus_host smbus;
    struct io_bus *io;
    struct io_range *pm_range, *smb_range;
};

static const struct field piix4_pm_fields[] = {
    FIELD_STRUCT(struct piix4_pm, pci, pci_device_fields, 1),
    FIELD_STRUCT(struct piix4_pm, acpi, acpi_pm_fields, 1),
    FIELD_STRUCT(struct piix4_pm, smbus, smbus_host_fields, 1),
    FIELD_END,
};

/* The SMBus controller's interrupt is wired to the SCI. */
static void update(struct piix4_pm *pm)
{
    pm->acpi.other_sci =
        smbus_wants_irq(&pm->smbus) && (pm->pci.config[SMBHSTCFG] & SMB_INTRSEL) == SMB_IRQ9;
    acpi_pm_update(&pm->acpi);
}

/* -- Ports -- */

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = opaque;

    if (offset + size <= ACPI_PM_BYTES)
        return acpi_pm_read(&pm->acpi, (unsigned)offset, size);
    log_guest("piix4_pm: read of register %02x, which is not modelled", (unsigned)offset);
    return 0;
}

static void pm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;

    if (offset + size <= ACPI_PM_BYTES)
        acpi_pm_write(&pm->acpi, (unsigned)offset, value, size);
    else
        log_guest("piix4_pm: write of %02x to register %02x, which is not modelled",
                  (unsigned)value, (unsigned)offset);
}

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
    return acpi_pm_gpe_read(&((struct piix4_pm *)opaque)->acpi, (unsigned)offset, PIIX4_GPE0_BYTES);
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    acpi_pm_gpe_write(&((struct piix4_pm *)opaque)->acpi, (unsigned)offset, PIIX4_GPE0_BYTES,
                      (uint8_t)value);
}

static uint64_t smb_read(void *opaque, uint64_t offset, unsigned size)
{
    return smbus_read(&((struct piix4_pm *)opaque)->smbus, (unsigned)offset);
}

static void smb_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;

    smbus_write(&pm->smbus, (unsigned)offset, (uint8_t)value);
    update(pm);
}

static const struct access_ops pm_ops = {pm_read, pm_write, 1, 4};
static const struct access_ops gpe_ops = {gpe_read, gpe_write, 1, 1};
static const struct access_ops smb_ops = {smb_read, smb_write, 1, 1};

/* -- Configuration -- */

static void map_block(struct piix4_pm *pm, struct io_range **range, bool enabled, unsigned port,
                      unsigned count, const struct access_ops *ops)
{
    io_bus_remove(pm->io, *range);
    *range = enabled && port ? io_bus_add(pm->io, (uint16_t)port, count, ops, pm) : NULL;
}

uint16_t piix4_pm_base(const struct piix4_pm *pm)
{
    return pci_get(pm->pci.config, PMBA, 2) & PMBA_MASK;
}

static void map_blocks(struct piix4_pm *pm)
{
    const uint8_t *config = pm->pci.config;

    map_block(pm, &pm->pm_range, config[PMREGMISC] & PMIOSE, piix4_pm_base(pm), PM_BYTES, &pm_ops);
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
    smbus_reset(&pm->smbus);
    map_blocks(pm);
    acpi_pm_reset(&pm->acpi);
}

static bool piix4_pm_post_load(struct device *device, struct error *error)
{
    struct piix4_pm *pm = (struct piix4_pm *)device;

    if (!pci_device_post_load(&pm->pci, error) || !smbus_post_load(&pm->smbus, error) ||
        !acpi_pm_post_load(&pm->acpi, error))
        return false;
    map_blocks(pm);
    update(pm);
    return true;
}

static void piix4_pm_destroy(struct device *device)
{
    acpi_pm_destroy(&((struct piix4_pm *)device)->acpi);
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

struct acpi_pm *piix4_pm_acpi(struct piix4_pm *pm)
{
    return &pm->acpi;
}

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
    const struct acpi_sleep_types types = {PIIX4_SLEEP_TYPE_SUSPEND, PIIX4_SLEEP_TYPE_OFF};
    struct piix4_pm *pm = alloc_zeroed(sizeof *pm);

    pm->io = io;
    pci_device_init(&pm->pci, pci, PCI_DEVFN(1, 3), &identity);
    set_write_masks(pm->pci.write_mask);
    pm->pci.config_written = piix4_pm_config_written;
    acpi_pm_init(&pm->acpi, "piix4_pm", io, clock, sci, requests, types);
    io_bus_add(io, PIIX4_GPE0_PORT, PIIX4_GPE0_BYTES, &gpe_ops, pm);
    device_add(list, &pm->pci.device, &piix4_pm_ops, "piix4-pm");
    piix4_pm_reset(&pm->pci.device);
    return pm;
}
