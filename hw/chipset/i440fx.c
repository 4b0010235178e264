/*
 * 82441FX PCI and memory controller (Intel 290549): host bridge, and what the processor sees
 * between 768 KiB and 1 MiB.
 *
 * Thirteen windows between 0xC0000 and 0xFFFFF are governed by two bits each in PAM0-PAM6
 * (section 3.2.18): reads come from PCI/ROM or from DRAM, writes go to the one or the other.
 *
 *     write read   what the window shows
 *       0    0     ROM (0xE0000 up), or nothing
 *       0    1     DRAM, write protected
 *       1    0     reads from ROM or nothing, writes go to the DRAM below: made with handlers
 *       1    1     DRAM: no region at all, main RAM shows through
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

#define PAM_READ       1
#define PAM_WRITE      2

#define SMRAM_OPEN     0x40
#define SMRAM_LOCK     0x10
#define SMRAM_WRITABLE 0x78
#define SMRAM_RESET    0x02 /* the compatible segment at 0xA0000, fixed */

#define DRB_UNIT       (8u << 20)

#define WINDOWS        13
#define WINDOWS_BASE   0xc0000u
#define BIOS_BASE      0xe0000u
#define BIOS_END       0x100000u
#define BIOS_GRANULE   0x10000u
#define BIOS_MAX_BYTES (16u << 20)

struct pam_window {
    struct i440fx *chipset;
    uint32_t base, size;
    const uint8_t *rom;       /* bytes the window shows from ROM, or NULL */
    struct region *rom_pages; /* read 0 write 0, where there is ROM */
    struct region *handlers;  /* read 0, where rom_pages do not do */
    struct region *shadow;    /* read 1 write 0 */
};

struct i440fx {
    struct pci_device pci;
    struct memory *memory;
    uint8_t *bios;
    size_t bios_size;
    struct pam_window window[WINDOWS];
};

static const struct field i440fx_fields[] = {
    FIELD_STRUCT(struct i440fx, pci, pci_device_fields, 1),
    FIELD_END,
};

/* Window 0 is the BIOS area 0xF0000 in the high half of PAM0; windows 1 to 12 are 16 KiB each from
 * 0xC0000 up, two to a register. */
static unsigned pam_bits(const struct i440fx *chipset, unsigned window)
{
    unsigned nibble = window == 0 ? 1 : window + 1;

    return chipset->pci.config[PAM0 + nibble / 2] >> (nibble % 2 * 4) & 3;
}

static void place_window(struct i440fx *chipset, unsigned index)
{
    struct pam_window *window = &chipset->window[index];
    unsigned bits = pam_bits(chipset, index);
    bool from_rom = !(bits & PAM_READ);
    bool plain_rom = from_rom && !(bits & PAM_WRITE) && window->rom_pages;

    if (window->rom_pages)
        region_place(window->rom_pages, window->base, plain_rom);
    region_place(window->handlers, window->base, from_rom && !plain_rom);
    region_place(window->shadow, window->base, bits == PAM_READ);
}

static void place_windows(struct i440fx *chipset)
{
    for (unsigned i = 0; i < WINDOWS; i++)
        place_window(chipset, i);
}

/* -- A window whose reads do not come from DRAM -- */

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct pam_window *window = opaque;
    uint64_t value = UINT64_MAX;

    if (window->rom)
        memcpy(&value, window->rom + offset, size);
    return value;
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    const struct pam_window *window = opaque;
    struct i440fx *chipset = window->chipset;

    if (pam_bits(chipset, (unsigned)(window - chipset->window)) & PAM_WRITE)
        memory_write_ram(chipset->memory, window->base + offset, &value, size);
}

static const struct access_ops window_ops = {window_read, window_write, 1, 8};

/* -- Configuration -- */

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
        place_windows(chipset);
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
    mask[PAM0] = 0x30;
    memset(mask + PAM0 + 1, 0x33, PAM6 - PAM0);
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
    place_windows(chipset);
}

static bool i440fx_post_load(struct device *device, struct error *error)
{
    struct i440fx *chipset = (struct i440fx *)device;

    if (!pci_device_post_load(&chipset->pci, error))
        return false;
    apply_smram_lock(&chipset->pci);
    place_windows(chipset);
    return true;
}

static void i440fx_destroy(struct device *device)
{
    struct i440fx *chipset = (struct i440fx *)device;

    memory_free_host(chipset->bios, chipset->bios_size);
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

static void add_window(struct i440fx *chipset, unsigned index)
{
    struct pam_window *window = &chipset->window[index];
    struct memory *memory = chipset->memory;
    uint8_t *rom = NULL;

    window->chipset = chipset;
    window->size = index == 0 ? 0x10000 : 0x4000;
    window->base = index == 0 ? 0xf0000 : WINDOWS_BASE + (index - 1) * 0x4000;
    if (window->base >= BIOS_BASE && BIOS_END - window->base <= chipset->bios_size)
        rom = chipset->bios + chipset->bios_size - (BIOS_END - window->base);
    window->rom = rom;
    if (rom)
        window->rom_pages = memory_add_host(memory, REGION_ROM, window->base, window->size,
                                            PRIORITY_BOARD, rom, false, "bios");
    window->handlers = memory_add_mmio(memory, window->base, window->size, PRIORITY_BOARD,
                                       &window_ops, window, "pam");
    window->shadow = memory_add_ram_alias(memory, REGION_ROM, window->base, window->size,
                                          PRIORITY_BOARD, window->base, "shadow");
    place_window(chipset, index);
}

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

    if (bios_size == 0 || bios_size % BIOS_GRANULE != 0 || bios_size > BIOS_MAX_BYTES) {
        error_set(error,
                  "the firmware image has %zu bytes; it must be a multiple of 64 KiB up to 16 MiB",
                  bios_size);
        return NULL;
    }
    if (memory_ram_low(memory) < BIOS_END) {
        error_set(error, "a PC needs at least 1 MiB of memory");
        return NULL;
    }

    struct i440fx *chipset = alloc_zeroed(sizeof *chipset);
    chipset->memory = memory;
    chipset->bios_size = bios_size;
    chipset->bios = memory_alloc_host(bios_size);
    memcpy(chipset->bios, bios, bios_size);
    pci_device_init(&chipset->pci, pci, PCI_DEVFN(0, 0), &identity);
    set_write_masks(chipset->pci.write_mask);
    chipset->pci.config_written = i440fx_config_written;
    memory_add_host(memory, REGION_ROM, MEMORY_HIGH_BASE - bios_size, bios_size, PRIORITY_BOARD,
                    chipset->bios, false, "bios");
    for (unsigned i = 0; i < WINDOWS; i++)
        add_window(chipset, i);
    device_add(list, &chipset->pci.device, &i440fx_ops, "i440fx");
    i440fx_reset(&chipset->pci.device);
    return chipset;
}
