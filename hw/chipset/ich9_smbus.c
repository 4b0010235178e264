/*
 * ICH9 SMBus controller, function 3 of device 31 (Intel 316972, chapter 18): the host controller of
 * smbus_host.c at an I/O BAR, with an interrupt of its own.
 *
 * Not modelled: the memory BAR (it is optional for software), SMI instead of an interrupt, I2C
 * reads.
 */
#include "hw/alloc.h"
#include "hw/chipset/ich9_lpc.h"
#include "hw/chipset/smbus_host.h"

#define IO_BAR   4
#define HOSTC    0x40
#define HST_EN   0x01
#define HOSTC_RW 0x0f

struct ich9_smbus {
    struct pci_device pci;
    struct smbus_host smbus;
};

static const struct field ich9_smbus_fields[] = {
    FIELD_STRUCT(struct ich9_smbus, pci, pci_device_fields, 1),
    FIELD_STRUCT(struct ich9_smbus, smbus, smbus_host_fields, 1),
    FIELD_END,
};

static uint64_t host_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ich9_smbus *device = opaque;

    if (!(device->pci.config[HOSTC] & HST_EN))
        return UINT64_MAX;
    return smbus_read(&device->smbus, (unsigned)offset);
}

static void host_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ich9_smbus *device = opaque;

    if (!(device->pci.config[HOSTC] & HST_EN))
        return;
    smbus_write(&device->smbus, (unsigned)offset, (uint8_t)value);
    pci_set_irq(&device->pci, smbus_wants_irq(&device->smbus));
}

static const struct access_ops host_ops = {host_read, host_write, 1, 1};

static void ich9_smbus_reset(struct device *opaque)
{
    struct ich9_smbus *device = (struct ich9_smbus *)opaque;

    pci_device_reset(&device->pci);
    device->pci.config[HOSTC] = 0;
    smbus_reset(&device->smbus);
}

static bool ich9_smbus_post_load(struct device *opaque, struct error *error)
{
    struct ich9_smbus *device = (struct ich9_smbus *)opaque;

    return pci_device_post_load(&device->pci, error) && smbus_post_load(&device->smbus, error);
}

static void ich9_smbus_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops ich9_smbus_ops = {
    .name = "ich9-smbus",
    .fields = ich9_smbus_fields,
    .version = 1,
    .reset = ich9_smbus_reset,
    .post_load = ich9_smbus_post_load,
    .destroy = ich9_smbus_destroy,
};

void ich9_smbus_new(struct device_list *list, struct pci_bus *pci)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x2930,
        .revision = 0x02,
        .class_code = 0x0c05,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
        .interrupt_pin = 1,
    };
    struct ich9_smbus *device = alloc_zeroed(sizeof *device);

    device->smbus.ich = true;
    device_add(list, &device->pci.device, &ich9_smbus_ops, "ich9-smbus");
    pci_device_init(&device->pci, pci, PCI_DEVFN(31, 3), &identity);
    device->pci.write_mask[HOSTC] = HOSTC_RW;
    pci_add_io_bar(&device->pci, IO_BAR, SMBUS_REGISTERS, &host_ops, device);
    ich9_smbus_reset(&device->pci.device);
}
