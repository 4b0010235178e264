/* A growing byte buffer for firmware tables, and the builders inside bios/. */
#ifndef DOPPEL_BIOS_TABLES_H
#define DOPPEL_BIOS_TABLES_H

#include "bios/bios.h"

struct table {
    uint8_t *bytes;
    size_t size, capacity;
};

void table_free(struct table *table);
/* Appends `size` bytes (zeros if `bytes` is NULL); returns their offset. Out of memory aborts. */
size_t table_append(struct table *table, const void *bytes, size_t size);
void table_align(struct table *table, size_t alignment);
size_t table_u8(struct table *table, uint8_t value);
size_t table_u16(struct table *table, uint16_t value);
size_t table_u32(struct table *table, uint32_t value);
size_t table_u64(struct table *table, uint64_t value);
/* Stores `size` little-endian bytes of value at an offset. */
void table_patch(struct table *table, size_t offset, uint64_t value, unsigned size);

void acpi_add_tables(struct fw_cfg *fw_cfg, const struct bios_config *config);
void smbios_add_tables(struct fw_cfg *fw_cfg, const struct bios_config *config);

#endif
