/*
 * Intel Q35 MCH (316966, section 5.1): host bridge, memory-mapped configuration space (PCIEXBAR)
 * and the windows between 768 KiB and 1 MiB (shadow.c).
 *
 * Not modelled: system management mode (SMRAM and ESMRAMC are registers with their lock), the DRAM
 * controller, DMI and egress ports (their base registers keep what is written), graphics.
 */
#include "hw/chipset/q35.h"
#include "hw/alloc.h"

#include <string.h>

/* Configuration registers. */
#define EPBAR            0x40
#define MCHBAR           0x48
#define DEVEN            0x54
#define PCIEXBAR         0x60
#define DMIBAR           0x68
#define PAM0             0x90
#define PAM6             0x96
#define LAC              0x97
#define SMRAM            0x9d
#define ESMRAMC          0x9e
#define TOM              0xa0
#define TOUUD            0xa2
#define TOLUD            0xb0

#define PCIEXBAR_ENABLE  0x1
#define PCIEXBAR_LENGTH  0x6 /* 256, 128, 64 MiB */
#define PCIEXBAR_BASE    0xff0000000ull
#define PCIEXBAR_RESET   0xe0000000u

#define SMRAM_OPEN       0x40
#define SMRAM_LOCK       0x10
#define SMRAM_WRITABLE   0x78
#define SMRAM_RESET      0x02
#define ESMRAMC_WRITABLE 0x87
#define ESMRAMC_CACHE    0x38 /* reads as ones */

struct q35 {
    struct pci_device pci;
    struct memory *memory;
    struct shadow shadow;
};

static const struct field q35_fields[] = {
    FIELD_STRUCT(struct q35, pci, pci_device_fields, 1),
    FIELD_END,
};

/* -- Memory-mapped configuration space -- */

static enum pci_ecam_size ecam_size(const struct q35 *q35)
{
    return (enum pci_ecam_size)((q35->pci.config[PCIEXBAR] & PCIEXBAR_LENGTH) >> 1);
}

uint64_t q35_ecam(const struct q35 *q35, unsigned *buses)
{
    const uint8_t *config = q35->pci.config;
    uint64_t value = pci_get(config, PCIEXBAR, 4) | (uint64_t)pci_get(config, PCIEXBAR + 4, 4)
                                                        << 32;
    uint64_t size = ecam_size(q35) < PCI_ECAM_SIZES ? (uint64_t)(256u >> ecam_size(q35)) << 20 : 0;

    *buses = (unsigned)(size >> 20);
    return (value & PCIEXBAR_ENABLE) && size ? value & PCIEXBAR_BASE & ~(size - 1) : 0;
}

static void place_ecam(struct q35 *q35)
{
    unsigned buses;
    uint64_t base = q35_ecam(q35, &buses);

    pci_bus_place_ecam(q35->pci.bus, ecam_size(q35), base, base != 0);
}

/* -- Configuration -- */

/* D_LCK freezes the registers until reset and closes SMRAM. */
static void apply_smram_lock(struct pci_device *pci)
{
    bool locked = pci->config[SMRAM] & SMRAM_LOCK;

    if (locked)
        pci->config[SMRAM] &= (uint8_t)~SMRAM_OPEN;
    pci->write_mask[SMRAM] = locked ? 0 : SMRAM_WRITABLE;
    pci->write_mask[ESMRAMC] = locked ? 0 : ESMRAMC_WRITABLE;
}

static void q35_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct q35 *q35 = (struct q35 *)pci;

    if (offset <= PAM6 && offset + size > PAM0)
        shadow_update(&q35->shadow);
    if (offset < PCIEXBAR + 8 && offset + size > PCIEXBAR)
        place_ecam(q35);
    if (offset <= ESMRAMC && offset + size > SMRAM) {
        apply_smram_lock(pci);
        if (pci->config[SMRAM] & SMRAM_OPEN)
            log_guest("the guest opens SMRAM; there is no system management mode");
    }
    if (offset >= 0x40 && pci_get(pci->write_mask, offset, size) == 0)
        log_guest("q35: write to read-only or unknown configuration register %02x", offset);
}

static void set_write_masks(uint8_t *mask)
{
    shadow_write_mask(mask + PAM0);
    pci_put(mask, EPBAR, 0xfffff001, 4);
    pci_put(mask, MCHBAR, 0xffffc001, 4);
    pci_put(mask, DMIBAR, 0xfffff001, 4);
    pci_put(mask, PCIEXBAR, 0xf0000007, 4);
    mask[PCIEXBAR + 3] = 0xff; /* down to 64 MiB */
    mask[PCIEXBAR + 4] = 0x0f;
    mask[LAC] = 0x81;
    pci_put(mask, PCI_COMMAND, 0x0100, 2); /* only SERR#; memory and master are fixed on */
}

static void q35_reset(struct device *device)
{
    struct q35 *q35 = (struct q35 *)device;
    uint8_t *config = q35->pci.config;
    uint64_t low = memory_ram_low(q35->memory), high = memory_ram_high(q35->memory);
    uint64_t top = high ? MEMORY_HIGH_BASE + high : low;

    pci_device_reset(&q35->pci);
    pci_put(config, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    pci_put(config, PCI_STATUS, 0x0080, 2);
    memset(config + EPBAR, 0, TOLUD + 2 - EPBAR);
    pci_put(config, DEVEN, 0x3db, 4);
    pci_put(config, PCIEXBAR, PCIEXBAR_RESET, 4);
    config[SMRAM] = SMRAM_RESET;
    config[ESMRAMC] = ESMRAMC_CACHE;
    /* Firmware for virtual machines does not size DRAM: these say what is there. */
    pci_put(config, TOM, (uint32_t)((low + high) >> 26), 2);
    pci_put(config, TOUUD, (uint32_t)(top >> 20), 2);
    pci_put(config, TOLUD, (uint32_t)(low >> 20) << 4, 2);
    apply_smram_lock(&q35->pci);
    place_ecam(q35);
    shadow_update(&q35->shadow);
}

static bool q35_post_load(struct device *device, struct error *error)
{
    struct q35 *q35 = (struct q35 *)device;

    if (!pci_device_post_load(&q35->pci, error))
        return false;
    apply_smram_lock(&q35->pci);
    place_ecam(q35);
    shadow_update(&q35->shadow);
    return true;
}

static void q35_destroy(struct device *device)
{
    struct q35 *q35 = (struct q35 *)device;

    shadow_release(&q35->shadow);
    free(q35);
}

static const struct device_ops q35_ops = {
    .name = "q35",
    .fields = q35_fields,
    .version = 1,
    .reset = q35_reset,
    .post_load = q35_post_load,
    .destroy = q35_destroy,
};

struct q35 *q35_new(struct device_list *list, struct pci_bus *pci, struct memory *memory,
                    const void *bios, size_t bios_size, struct error *error)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x29c0,
        .revision = 0x02,
        .class_code = 0x0600,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
    };
    struct q35 *q35 = alloc_zeroed(sizeof *q35);

    q35->memory = memory;
    if (!shadow_init(&q35->shadow, memory, q35->pci.config + PAM0, bios, bios_size, error)) {
        free(q35);
        return NULL;
    }
    pci_device_init(&q35->pci, pci, PCI_DEVFN(0, 0), &identity);
    q35->pci.express = true;
    set_write_masks(q35->pci.write_mask);
    q35->pci.config_written = q35_config_written;
    device_add(list, &q35->pci.device, &q35_ops, "q35");
    q35_reset(&q35->pci.device);
    return q35;
}
