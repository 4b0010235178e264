/*
 * What the firmware asks of fw_cfg besides tables: memory map, processor counts, boot order.
 */
#include "bios/tables.h"

#include <string.h>

enum e820_type { E820_RAM = 1, E820_RESERVED = 2 };

static void add_e820(struct fw_cfg *fw_cfg, const struct bios_config *config)
{
    const struct {
        uint64_t base, size;
        enum e820_type type;
    } ranges[] = {
        {0, config->ram_low, E820_RAM},
        {1ull << 32, config->ram_high, E820_RAM},
    };
    struct table map = {0};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (!ranges[i].size)
            continue;
        table_u64(&map, ranges[i].base);
        table_u64(&map, ranges[i].size);
        table_u32(&map, ranges[i].type);
    }
    fw_cfg_add_file(fw_cfg, "etc/e820", map.bytes, map.size);
    table_free(&map);
}

/* -- Boot order -- */

/* Boot devices as the nibbles of CMOS 0x3d and 0x38 name them. */
enum { CMOS_FLOPPY = 1, CMOS_DISK, CMOS_CDROM, CMOS_NETWORK };

/* Open Firmware style paths as SeaBIOS builds them for the board's devices; that of the network
 * card depends on its slot. */
static const struct boot_device {
    const char *name;
    const char *const paths[5];
    uint8_t cmos;
} boot_devices[] = {
    {"disk",
     {"/pci@i0cf8/ide@1,1/drive@0/disk@0", "/pci@i0cf8/ide@1,1/drive@0/disk@1",
      "/pci@i0cf8/ide@1,1/drive@1/disk@0", "/pci@i0cf8/ide@1,1/drive@1/disk@1", NULL},
     CMOS_DISK},
    {"cdrom",
     {"/pci@i0cf8/ide@1,1/drive@1/disk@0", "/pci@i0cf8/ide@1,1/drive@1/disk@1",
      "/pci@i0cf8/ide@1,1/drive@0/disk@0", "/pci@i0cf8/ide@1,1/drive@0/disk@1", NULL},
     CMOS_CDROM},
    {"floppy",
     {"/pci@i0cf8/isa@1/fdc@03f0/floppy@0", "/pci@i0cf8/isa@1/fdc@03f0/floppy@1",
      "/pci@i0cf8/isa@1f/fdc@03f0/floppy@0", "/pci@i0cf8/isa@1f/fdc@03f0/floppy@1", NULL},
     CMOS_FLOPPY},
    {"net", {NULL}, CMOS_NETWORK},
};
#define BOOT_DEVICES (sizeof boot_devices / sizeof boot_devices[0])
#define MENU         "menu"

/* Walks the comma-separated words of an order; returns the word's length, 0 at the end. */
static size_t next_word(const char **text, const char **word)
{
    while (**text == ',')
        (*text)++;
    *word = *text;
    size_t length = strcspn(*text, ",");
    *text += length;
    return length;
}

static bool word_is(const char *word, size_t length, const char *name)
{
    return strlen(name) == length && memcmp(word, name, length) == 0;
}

static const struct boot_device *find_boot_device(const char *word, size_t length)
{
    for (size_t i = 0; i < BOOT_DEVICES; i++)
        if (word_is(word, length, boot_devices[i].name))
            return &boot_devices[i];
    return NULL;
}

bool bios_boot_names(const char *order, const char *device)
{
    const char *word;
    size_t length;
    while (order && (length = next_word(&order, &word)) > 0)
        if (word_is(word, length, device))
            return true;
    return false;
}

bool bios_check_boot(const char *text, struct error *error)
{
    const char *word;
    size_t length, count = 0;
    for (; (length = next_word(&text, &word)) > 0; count++) {
        if (!find_boot_device(word, length) && !word_is(word, length, MENU))
            return error_set(error,
                             "--boot: '%.*s' is no boot device; use disk, cdrom, floppy, net, menu",
                             (int)length, word);
    }
    return count > 0 || error_set(error, "--boot needs a list such as disk,cdrom,menu");
}

void bios_cmos_boot(const char *order, uint8_t *reg_3d, uint8_t *reg_38)
{
    uint8_t nibbles[3] = {CMOS_DISK, CMOS_CDROM, 0};
    if (order) {
        unsigned count = 0;
        const char *word;
        size_t length;
        memset(nibbles, 0, sizeof nibbles);
        while ((length = next_word(&order, &word)) > 0) {
            const struct boot_device *device = find_boot_device(word, length);
            if (device && count < 3)
                nibbles[count++] = device->cmos;
        }
        if (count == 0)
            nibbles[0] = CMOS_DISK, nibbles[1] = CMOS_CDROM;
    }
    *reg_3d = (uint8_t)(nibbles[0] | nibbles[1] << 4);
    *reg_38 = (uint8_t)(nibbles[2] << 4 | 1); /* bit 0: do not insist on a floppy signature */
}

/* The "bootorder" file: paths separated by newlines. */
struct boot_list {
    char text[2048];
    size_t used;
};

static void add_path(struct boot_list *list, const char *path)
{
    if (strstr(list->text, path) || list->used + strlen(path) + 2 > sizeof list->text)
        return;
    list->used +=
        (size_t)snprintf(list->text + list->used, sizeof list->text - list->used, "%s\n", path);
}

static void add_boot_device(struct boot_list *list, const struct boot_device *device,
                            const struct bios_config *config)
{
    enum { PC_NIC_SLOT = 3 };
    char path[64];
    for (size_t i = 0; device->paths[i]; i++)
        add_path(list, device->paths[i]);
    if (device->cmos == CMOS_NETWORK) {
        unsigned slot = config->machine ? machine_platform(config->machine).nic_slot : PC_NIC_SLOT;
        snprintf(path, sizeof path, "/pci@i0cf8/ethernet@%x/ethernet-phy@0", slot);
        add_path(list, path);
    }
}

static void add_boot_order(struct fw_cfg *fw_cfg, const struct bios_config *config)
{
    struct boot_list list = {.used = 0};
    bool menu = false;
    if (config->direct_kernel)
        add_path(&list, "/rom@genroms/kernelboot.bin");
    const char *text = config->boot ? config->boot : "disk,cdrom", *word;
    size_t length;
    while ((length = next_word(&text, &word)) > 0) {
        menu |= word_is(word, length, MENU);
        const struct boot_device *device = find_boot_device(word, length);
        if (device)
            add_boot_device(&list, device, config);
    }
    if (list.used) { /* a zero byte ends the file, in the place of the last newline */
        list.text[list.used - 1] = 0;
        fw_cfg_add_file(fw_cfg, "bootorder", list.text, list.used);
    }
    fw_cfg_add_u16(fw_cfg, FW_CFG_BOOT_MENU, menu);
}

/* Which sleep states there are (bit 7), by number, and that the firmware shall set the display up
 * again when it resumes. */
static void add_sleep_states(struct fw_cfg *fw_cfg)
{
    static const uint8_t states[6] = {0x80, 0, 0, 0x80, 0, 0x80};
    static const uint8_t display[8] = {1};
    fw_cfg_add_file(fw_cfg, "etc/system-states", states, sizeof states);
    fw_cfg_add_file(fw_cfg, "etc/s3-resume-vga-init", display, sizeof display);
}

void bios_add_tables(struct fw_cfg *fw_cfg, const struct bios_config *config)
{
    fw_cfg_add_u16(fw_cfg, FW_CFG_NB_CPUS, (uint16_t)config->cpus);
    fw_cfg_add_u16(fw_cfg, FW_CFG_MAX_CPUS, (uint16_t)config->cpus);
    fw_cfg_add_u64(fw_cfg, FW_CFG_RAM_SIZE, config->ram_low + config->ram_high);
    add_e820(fw_cfg, config);
    add_boot_order(fw_cfg, config);
    add_sleep_states(fw_cfg);
    acpi_add_tables(fw_cfg, config);
    smbios_add_tables(fw_cfg, config);
}
