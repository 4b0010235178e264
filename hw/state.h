/*
 * Saving, loading, comparing and printing state by its field tables (cpu/field.h).
 *
 * The format names everything, so that a later version can read it and a damaged file gives a
 * sentence instead of a strange machine. All numbers are little-endian:
 *
 *     file    "doppel state" u32 format  u32 records  record...
 *     record  name type  name id  u32 version  u32 length  field...
 *     field   name  u32 size  u32 count  u8 nested  u32 length  data
 *     data    count * size bytes, or if nested count times: u32 length  field...
 *     name    u8 length  characters
 *
 * Loading accepts records of the same or an older version: a field whose `since` is newer than the
 * record keeps the value it has (so reset first); every other field must be there, once, in its
 * size. Input is checked completely before anything is changed, and may be hostile.
 *
 * Locking: board lock, CPUs stopped, workers drained.
 */
#ifndef DOPPEL_HW_STATE_H
#define DOPPEL_HW_STATE_H

#include "hw/device.h"

#include <stdio.h>

/* Grows by saving; zero-initialize before first use. */
struct state_buffer {
    uint8_t *bytes;
    size_t length, capacity;
};

void state_buffer_free(struct state_buffer *buffer);

/* A file with one record for each device of the list. */
void state_save_devices(struct state_buffer *buffer, const struct device_list *list);
/* Loads into a list of the same devices (by type and id) and calls post_load in list order, after
 * all fields of all devices are in place. On false from a post_load the machine is unusable until
 * it is reset or loaded again; on other errors it is unchanged. */
bool state_load_devices(const uint8_t *bytes, size_t length, struct device_list *list,
                        struct error *error);

/* The same for one struct that is no device (a CPU): a file with one record. */
void state_save_struct(struct state_buffer *buffer, const char *type, const char *id,
                       uint32_t version, const struct field *fields, const void *object);
bool state_load_struct(const uint8_t *bytes, size_t length, const char *type, const char *id,
                       uint32_t version, const struct field *fields, void *object,
                       struct error *error);

/* True if equal; otherwise `difference` (may be NULL) names the first differing field and both
 * values. */
bool state_compare(const struct field *fields, const void *left, const void *right,
                   struct error *difference);
bool state_compare_devices(const struct device_list *left, const struct device_list *right,
                           struct error *difference);

/* One line a field, for the monitor's `info`. */
void state_dump(FILE *out, const struct field *fields, const void *object);

#endif
