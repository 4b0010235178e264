/*
 * State tables: every device and the CPU list the fields that make up their state, once. Save,
 * load, comparison and the monitor's `info` walk the table; nothing else knows a struct's layout.
 *
 *     static const struct field pit_fields[] = {
 *         FIELD(struct pit, gate, 1),
 *         FIELD_STRUCTS(struct pit, channel, pit_channel_fields, 1),
 *         FIELD_END
 *     };
 *
 * `since` is the state format version in which a field appeared. Fields that follow from others
 * (caches, pointers, host handles) are not listed; the device's `post_load` rebuilds them.
 */
#ifndef DOPPEL_CPU_FIELD_H
#define DOPPEL_CPU_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct field {
    const char *name;
    size_t offset;
    uint32_t size;              /* bytes of one element */
    uint32_t count;             /* elements (1 for a scalar) */
    const struct field *nested; /* element's own table, or NULL for plain little-endian data */
    uint32_t since;
    bool is_bool; /* a loaded value other than 0 and 1 is refused */
};

#define FIELD_SIZE_(type, member) sizeof(((type *)0)->member)
#define FIELD_BOOL_(type, member) _Generic(((type *)0)->member, bool: true, default: false)

/* A scalar: integer, bool, enum. */
#define FIELD(type, member, version)                                                               \
    {#member, offsetof(type, member), FIELD_SIZE_(type, member), 1, NULL, version,                 \
     FIELD_BOOL_(type, member)}
/* An array of scalars. */
#define FIELD_ARRAY(type, member, version)                                                         \
    {#member, offsetof(type, member), FIELD_SIZE_(type, member[0]),                                \
     FIELD_SIZE_(type, member) / FIELD_SIZE_(type, member[0]), NULL, version,                      \
     FIELD_BOOL_(type, member[0])}
/* One embedded struct with a table of its own. */
#define FIELD_STRUCT(type, member, table, version)                                                 \
    {#member, offsetof(type, member), FIELD_SIZE_(type, member), 1, table, version, false}
/* An array of embedded structs. */
#define FIELD_STRUCTS(type, member, table, version)                                                \
    {#member, offsetof(type, member), FIELD_SIZE_(type, member[0]),                                \
     FIELD_SIZE_(type, member) / FIELD_SIZE_(type, member[0]), table, version, false}
#define FIELD_END {NULL, 0, 0, 0, NULL, 0, false}

#endif
