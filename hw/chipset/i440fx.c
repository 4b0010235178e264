/*
 * 82441FX PCI and memory controller (Intel 290549): host bridge. The windows between 768 KiB and
 * 1 MiB are in shadow.c.
 *
 * Not modelled: system management mode (SMRAM is a register with its lock, 0xA0000 always belongs
 * to PCI), the fixed DRAM hole, DRAM timing, ECC, the turbo reset register (the PIIX3 has another).
 */
#include "hw/chipset/i440fx.h"
#include "hw/alloc.h"

#include <string.h>

/* Configuration registers, section 3.2. */
#define PMCCFG         0x50
#define DETURBO        0x52
#define DBC            0x53
#define AXC            0x54
#define DRT            0x55
#define DRAMC          0x57
#define DRAMT          0x58
#define PAM0           0x59
#define PAM6           0x5f
#define DRB0           0x60
#define DRB7           0x67
#define MTT            0x70
#define CLT            0x71
#define SMRAM          0x72
#define ERRCMD         0x90

#define SMRAM_OPEN     0x40
#define SMRAM_LOCK     0x10
#define SMRAM_WRITABLE 0x78
#define SMRAM_RESET    0x02 /* the compatible segment at 0xA0000, fixed */

#define DRB_UNIT       (8u << 20)

struct i440fx {
    struct pci_device pci;
    struct memory *memory;
    struct shadow shadow;
};

static const struct field i440fx_fields[] = {
    FIELD_STRUCT(struct i440fx, pci, pci_device_fields, 1),
    FIELD_END,
};

/* D_LCK freezes the register until reset and closes SMRAM. */
static void apply_smram_lock(struct pci_device *pci)
{
    bool locked = pci->config[SMRAM] & SMRAM_LOCK;

    if (locked)
        pci->config[SMRAM] &= (uint8_t)~SMRAM_OPEN;
    pci->write_mask[SMRAM] = locked ? 0 : SMRAM_WRITABLE;
}

static void i440fx_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct i440fx *chipset = (struct i440fx *)pci;

    if (offset <= PAM6 && offset + size > PAM0)
        shadow_update(&chipset->shadow);
    if (offset <= SMRAM && offset + size > SMRAM) {
        apply_smram_lock(pci);
        if (pci->config[SMRAM] & SMRAM_OPEN)
            log_guest("the guest opens SMRAM; there is no system management mode");
    }
    if (offset >= 0x40 && pci_get(pci->write_mask, offset, size) == 0)
        log_guest("i440fx: write to read-only or unknown configuration register %02x", offset);
}

static void set_write_masks(uint8_t *mask)
{
    static const uint8_t plain[] = {PMCCFG,  PMCCFG + 1, DETURBO, DBC, AXC, DRT,
                                    DRT + 1, DRAMC,      DRAMT,   MTT, CLT, ERRCMD};

    for (size_t i = 0; i < sizeof plain; i++)
        mask[plain[i]] = 0xff;
    shadow_write_mask(mask + PAM0);
    memset(mask + DRB0, 0xff, DRB7 - DRB0 + 1);
    pci_put(mask, PCI_COMMAND, 0x0100, 2); /* only SERR#; memory and master are fixed on */
}

static void i440fx_reset(struct device *device)
{
    struct i440fx *chipset = (struct i440fx *)device;
    uint8_t *config = chipset->pci.config;
    uint64_t rows = memory_ram_low(chipset->memory) / DRB_UNIT;

    pci_device_reset(&chipset->pci);
    pci_put(config, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    pci_put(config, PCI_STATUS, 0x0280, 2);
    memset(config + PMCCFG, 0, PAM6 + 1 - PMCCFG);
    config[DRAMC] = 0x01;
    config[DRAMT] = 0x10;
    config[MTT] = 0;
    config[CLT] = 0x10;
    config[ERRCMD] = 0;
    config[SMRAM] = SMRAM_RESET;
    apply_smram_lock(&chipset->pci);
    /* Firmware for virtual machines does not size DRAM: the rows say what is there. */
    memset(config + DRB0, rows > 0xff ? 0xff : (int)rows, DRB7 - DRB0 + 1);
    shadow_update(&chipset->shadow);
}

static bool i440fx_post_load(struct device *device, struct error *error)
{
    struct i440fx *chipset = (struct i440fx *)device;

    if (!pci_device_post_load(&chipset->pci, error))
        return false;
    apply_smram_lock(&chipset->pci);
    shadow_update(&chipset->shadow);
    return true;
}

static void i440fx_destroy(struct device *device)
{
    struct i440fx *chipset = (struct i440fx *)device;

    shadow_release(&chipset->shadow);
    free(chipset);
}

static const struct device_ops i440fx_ops = {
    .name = "i440fx",
    .fields = i440fx_fields,
    .version = 1,
    .reset = i440fx_reset,
    .post_load = i440fx_post_load,
    .destroy = i440fx_destroy,
};

struct i440fx *i440fx_new(struct device_list *list, struct pci_bus *pci, struct memory *memory,
                          const void *bios, size_t bios_size, struct error *error)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x1237,
        .revision = 0x02,
        .class_code = 0x0600,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
    };
    struct i440fx *chipset = alloc_zeroed(sizeof *chipset);

    chipset->memory = memory;
    if (!shadow_init(&chipset->shadow, memory, chipset->pci.config + PAM0, bios, bios_size,
                     error)) {
        free(chipset);
        return NULL;
    }
    pci_device_init(&chipset->pci, pci, PCI_DEVFN(0, 0), &identity);
    set_write_masks(chipset->pci.write_mask);
    chipset->pci.config_written = i440fx_config_written;
    device_add(list, &chipset->pci.device, &i440fx_ops, "i440fx");
    i440fx_reset(&chipset->pci.device);
    return chipset;
}
