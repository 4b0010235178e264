#include "bios/tables.h"

#include <stdlib.h>
#include <string.h>

void table_free(struct table *table)
{
    free(table->bytes);
    *table = (struct table){0};
}

size_t table_append(struct table *table, const void *bytes, size_t size)
{
    size_t offset = table->size;
    if (table->capacity - table->size < size) {
        table->capacity = (table->size + size) * 2 + 256;
        table->bytes = realloc(table->bytes, table->capacity);
        if (!table->bytes)
            abort(); /* a few kilobytes at start-up */
    }
    if (bytes)
        memcpy(table->bytes + offset, bytes, size);
    else
        memset(table->bytes + offset, 0, size);
    table->size += size;
    return offset;
}

void table_align(struct table *table, size_t alignment)
{
    while (table->size % alignment)
        table_u8(table, 0);
}

void table_patch(struct table *table, size_t offset, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        table->bytes[offset + i] = (uint8_t)(value >> (8 * i));
}

static size_t append_number(struct table *table, uint64_t value, unsigned size)
{
    size_t offset = table_append(table, NULL, size);
    table_patch(table, offset, value, size);
    return offset;
}

size_t table_u8(struct table *table, uint8_t value)
{
    return append_number(table, value, 1);
}

size_t table_u16(struct table *table, uint16_t value)
{
    return append_number(table, value, 2);
}

size_t table_u32(struct table *table, uint32_t value)
{
    return append_number(table, value, 4);
}

size_t table_u64(struct table *table, uint64_t value)
{
    return append_number(table, value, 8);
}
