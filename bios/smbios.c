/*
 * SMBIOS 2.8 structures (DMTF DSP0134): what `dmidecode` in the guest shows. SeaBIOS relocates them
 * and completes the entry point's address and checksums.
 */
#include "cpu/version.h"
#include "bios/tables.h"

#include <string.h>

#define TABLES_FILE "etc/smbios/smbios-tables"
#define ANCHOR_FILE "etc/smbios/smbios-anchor"

enum smbios_type {
    SMBIOS_BIOS = 0,
    SMBIOS_SYSTEM = 1,
    SMBIOS_CHASSIS = 3,
    SMBIOS_PROCESSOR = 4,
    SMBIOS_MEMORY_ARRAY = 16,
    SMBIOS_MEMORY_DEVICE = 17,
    SMBIOS_MEMORY_MAPPED = 19,
    SMBIOS_BOOT = 32,
    SMBIOS_END = 127,
};

/* Structures under construction: one formatted area, then its strings. */
struct smbios {
    struct table table;
    size_t start;
    uint16_t count;
    size_t largest;
    const char *strings[6];
    unsigned string_count;
};

static void begin(struct smbios *smbios, enum smbios_type type, uint16_t handle)
{
    smbios->start = smbios->table.size;
    smbios->string_count = 0;
    table_u8(&smbios->table, (uint8_t)type);
    table_u8(&smbios->table, 0); /* length, by end() */
    table_u16(&smbios->table, handle);
}

static void string(struct smbios *smbios, const char *text)
{
    smbios->strings[smbios->string_count++] = text;
    table_u8(&smbios->table, (uint8_t)smbios->string_count);
}

static void end(struct smbios *smbios)
{
    struct table *table = &smbios->table;
    table_patch(table, smbios->start + 1, table->size - smbios->start, 1);
    for (unsigned i = 0; i < smbios->string_count; i++)
        table_append(table, smbios->strings[i], strlen(smbios->strings[i]) + 1);
    if (smbios->string_count == 0)
        table_u8(table, 0);
    table_u8(table, 0);
    if (table->size - smbios->start > smbios->largest)
        smbios->largest = table->size - smbios->start;
    smbios->count++;
}

static void add_bios(struct smbios *smbios)
{
    struct table *table = &smbios->table;
    begin(smbios, SMBIOS_BIOS, 0);
    string(smbios, "SeaBIOS");
    string(smbios, DOPPEL_VERSION);
    table_u16(table, 0xe800);
    string(smbios, "04/01/2014");
    table_u8(table, 0);          /* ROM size: one 64 KiB unit */
    table_u64(table, 1ull << 3); /* characteristics not supported */
    table_u8(table, 0);
    table_u8(table, 1 << 4); /* is a virtual machine */
    table_u8(table, 0);
    table_u8(table, 0);
    table_u8(table, 0xff);
    table_u8(table, 0xff);
    end(smbios);
}

static void add_system(struct smbios *smbios, const struct bios_config *config)
{
    struct table *table = &smbios->table;
    begin(smbios, SMBIOS_SYSTEM, 0x100);
    string(smbios, "doppel");
    string(smbios, config->name && *config->name ? config->name : "doppel PC");
    string(smbios, DOPPEL_VERSION);
    table_u8(table, 0);            /* no serial number */
    table_append(table, NULL, 16); /* UUID not set */
    table_u8(table, 6);            /* wake-up: power switch */
    table_u8(table, 0);
    table_u8(table, 0);
    end(smbios);

    begin(smbios, SMBIOS_CHASSIS, 0x300);
    string(smbios, "doppel");
    table_u8(table, 1); /* other */
    table_u8(table, 0);
    table_u8(table, 0);
    table_u8(table, 0);
    table_u8(table, 3); /* states: safe */
    table_u8(table, 3);
    table_u8(table, 3);
    table_u8(table, 2); /* security: unknown */
    table_u32(table, 0);
    table_u8(table, 0);
    table_u8(table, 0);
    table_u8(table, 0);
    table_u8(table, 0);
    end(smbios);
}

static void add_processor(struct smbios *smbios, unsigned index)
{
    struct table *table = &smbios->table;
    begin(smbios, SMBIOS_PROCESSOR, (uint16_t)(0x400 + index));
    string(smbios, "CPU");
    table_u8(table, 3); /* central processor */
    table_u8(table, 1); /* family: other */
    string(smbios, "doppel");
    table_u64(table, 0);
    string(smbios, DOPPEL_VERSION);
    table_u8(table, 0);
    table_u16(table, 0);
    table_u16(table, 0); /* speeds unknown */
    table_u16(table, 0);
    table_u8(table, 0x41); /* populated, enabled */
    table_u8(table, 1);
    table_u16(table, 0xffff); /* no cache information */
    table_u16(table, 0xffff);
    table_u16(table, 0xffff);
    table_append(table, NULL, 3);
    table_u8(table, 1);
    table_u8(table, 1);
    table_u8(table, 1);
    table_u16(table, 1 << 2); /* 64-bit capable */
    table_u16(table, 1);
    end(smbios);
}

static void add_memory_range(struct smbios *smbios, uint16_t handle, uint64_t base, uint64_t size)
{
    struct table *table = &smbios->table;
    begin(smbios, SMBIOS_MEMORY_MAPPED, handle);
    table_u32(table, (uint32_t)(base >> 10));
    table_u32(table, (uint32_t)((base + size - 1) >> 10));
    table_u16(table, 0x1000);
    table_u8(table, 1);
    table_u64(table, 0);
    table_u64(table, 0);
    end(smbios);
}

static void add_memory(struct smbios *smbios, const struct bios_config *config)
{
    struct table *table = &smbios->table;
    uint64_t total = config->ram_low + config->ram_high;
    begin(smbios, SMBIOS_MEMORY_ARRAY, 0x1000);
    table_u8(table, 1); /* other */
    table_u8(table, 3); /* system memory */
    table_u8(table, 6); /* multi-bit ECC, as virtual machines report */
    table_u32(table, 0x80000000);
    table_u16(table, 0xfffe);
    table_u16(table, 1);
    table_u64(table, total);
    end(smbios);

    begin(smbios, SMBIOS_MEMORY_DEVICE, 0x1100);
    table_u16(table, 0x1000);
    table_u16(table, 0xfffe);
    table_u16(table, 0xffff);
    table_u16(table, 0xffff);
    table_u16(table, total >> 20 < 0x7fff ? (uint16_t)(total >> 20) : 0x7fff);
    table_u8(table, 9); /* DIMM */
    table_u8(table, 0);
    string(smbios, "DIMM 0");
    table_u8(table, 0);
    table_u8(table, 7); /* RAM */
    table_u16(table, 1 << 1);
    table_u16(table, 0);
    string(smbios, "doppel");
    table_u8(table, 0);
    table_u8(table, 0);
    table_u8(table, 0);
    table_u8(table, 0);
    table_u32(table, (uint32_t)(total >> 20));
    table_u16(table, 0);
    table_append(table, NULL, 6);
    end(smbios);

    add_memory_range(smbios, 0x1300, 0, config->ram_low);
    if (config->ram_high)
        add_memory_range(smbios, 0x1301, 1ull << 32, config->ram_high);
}

/* Entry point structure (5.2.1). Address and checksums are the firmware's. */
static void build_anchor(struct table *anchor, const struct smbios *smbios)
{
    table_append(anchor, "_SM_", 4);
    table_u8(anchor, 0);
    table_u8(anchor, 0x1f);
    table_u8(anchor, 2);
    table_u8(anchor, 8);
    table_u16(anchor, (uint16_t)smbios->largest);
    table_append(anchor, NULL, 6);
    table_append(anchor, "_DMI_", 5);
    table_u8(anchor, 0);
    table_u16(anchor, (uint16_t)smbios->table.size);
    table_u32(anchor, 0);
    table_u16(anchor, smbios->count);
    table_u8(anchor, 0x28);
}

void smbios_add_tables(struct fw_cfg *fw_cfg, const struct bios_config *config)
{
    struct smbios smbios = {0};
    struct table anchor = {0};
    add_bios(&smbios);
    add_system(&smbios, config);
    for (unsigned i = 0; i < config->cpus; i++)
        add_processor(&smbios, i);
    add_memory(&smbios, config);
    begin(&smbios, SMBIOS_BOOT, 0x2000);
    table_append(&smbios.table, NULL, 7); /* no errors detected */
    end(&smbios);
    begin(&smbios, SMBIOS_END, 0x7f00);
    end(&smbios);
    build_anchor(&anchor, &smbios);
    fw_cfg_add_file(fw_cfg, TABLES_FILE, smbios.table.bytes, smbios.table.size);
    fw_cfg_add_file(fw_cfg, ANCHOR_FILE, anchor.bytes, anchor.size);
    table_free(&smbios.table);
    table_free(&anchor);
}
