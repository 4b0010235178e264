/*
 * The flat view that memory.c makes and memory_access.c reads.
 *
 * A view is an immutable sorted array of segments that do not overlap. It is published through one
 * atomic pointer. Readers announce themselves in `readers` while they look at a view, without any
 * lock; the writer (under the board lock) frees replaced views, removed regions and their logs only
 * after it saw no reader.
 */
#ifndef DOPPEL_HW_MEMORY_INTERNAL_H
#define DOPPEL_HW_MEMORY_INTERNAL_H

#include "hw/memory.h"

#include <stdatomic.h>

/* One bit a page, written by any thread. */
struct dirty_log {
    size_t pages;
    _Atomic uint64_t words[];
};

struct region {
    struct memory *memory;
    struct region *next; /* by priority from high to low; later before earlier */
    const char *name;
    enum region_kind kind;
    int priority;
    bool enabled;
    uint64_t base, size;
    uint8_t *host;         /* RAM, ROM */
    struct dirty_log *log; /* or NULL */
    const struct access_ops *ops;
    void *opaque;
};

struct segment {
    uint64_t start, end; /* [start, end) */
    enum region_kind kind;
    uint64_t offset; /* of start within the region */
    uint8_t *host;   /* of start */
    struct dirty_log *log;
    const struct access_ops *ops;
    void *opaque;
};

struct view {
    size_t count;
    struct segment segments[];
};

#define OBSERVERS_MAX 8

struct memory {
    _Atomic(struct view *) view;
    _Atomic unsigned readers;
    _Atomic uint64_t plain_ram; /* pages [bits 0-31, bits 32-63): main RAM that nothing hides */

    uint8_t *ram;
    int ram_fd; /* its file */
    uint64_t ram_bytes;
    uint64_t low_max; /* at most so many bytes lie below the PCI hole */

    struct region *regions;
    struct retired *retired; /* waits until no reader is left */
    size_t retired_count;
    struct memory_observer observers[OBSERVERS_MAX];
    size_t observer_count;
};

/* Where main RAM at its usual guest address lies in memory->ram. */
static inline uint64_t main_ram_offset(const struct memory *memory, uint64_t gpa)
{
    return gpa < MEMORY_HIGH_BASE ? gpa : gpa - (MEMORY_HIGH_BASE - memory->low_max);
}

/* Copies the segment that holds `gpa` to *segment; false (and *segment spans the gap up to the next
 * one or the end of the space) if nothing is there. Any thread. */
bool memory_lookup(struct memory *memory, uint64_t gpa, struct segment *segment);

/* The same for a caller between memory_read_begin and memory_read_end, whose host pointers stay
 * valid until then. Nothing in between may take a lock. */
bool view_lookup(const struct view *view, uint64_t gpa, struct segment *segment);

static inline const struct view *memory_read_begin(struct memory *memory)
{
    atomic_fetch_add(&memory->readers, 1);
    return atomic_load(&memory->view);
}

static inline void memory_read_end(struct memory *memory)
{
    atomic_fetch_sub(&memory->readers, 1);
}

void dirty_log_mark(struct dirty_log *log, uint64_t offset, uint64_t length);

#endif
