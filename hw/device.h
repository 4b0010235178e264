/*
 * What every device of the board looks like, and the wires between them.
 *
 * A device is a struct that starts with `struct device`, made by one constructor that takes all it
 * touches: `pit_new(io, 0x40, irq_line, clock)`. It registers its ports or MMIO with the bus it was
 * given, and joins the board's list so that reset, save, load and destroy reach it.
 *
 * Locking: all ops and access handlers run under the board lock.
 */
#ifndef DOPPEL_HW_DEVICE_H
#define DOPPEL_HW_DEVICE_H

#include "cpu/error.h"
#include "cpu/field.h"
#include "cpu/log.h"

#include <stdbool.h>
#include <stdint.h>

struct device;

struct device_ops {
    const char *name;           /* type, e.g. "i8254" */
    const struct field *fields; /* the whole persistent state (cpu/field.h); never NULL */
    uint32_t version;           /* highest `since` in the table */
    void (*reset)(struct device *device);
    /* After fields were loaded: checks them (false + error if impossible), rebuilds caches, rearms
     * timers, drives output lines again. May be NULL. */
    bool (*post_load)(struct device *device, struct error *error);
    void (*destroy)(struct device *device); /* frees the device itself */
};

struct device {
    const struct device_ops *ops;
    char id[24]; /* unique on the board, e.g. "serial0" */
    struct device *next;
};

/* The devices of one board, in construction order. */
struct device_list {
    struct device *first;
    struct device **last;
};

void device_list_init(struct device_list *list);
/* Sets ops and id and appends; `id` is "name" or "name%u" style text given by the board. */
void device_add(struct device_list *list, struct device *device, const struct device_ops *ops,
                const char *id);
void device_list_reset(struct device_list *list);
void device_list_destroy(struct device_list *list); /* in reverse order */

/* -- Interrupt lines -- */

/* One end of a wire, passed by value. A line with a NULL `set` is not connected. */
struct irq_line {
    void (*set)(void *opaque, int number, bool level);
    void *opaque;
    int number;
};

static inline void irq_set(struct irq_line line, bool level)
{
    if (line.set)
        line.set(line.opaque, line.number, level);
}

static inline void irq_pulse(struct irq_line line)
{
    irq_set(line, true);
    irq_set(line, false);
}

/* -- Access handlers -- */

/*
 * Handlers see offsets from the region's base, never their own address. `size` is 1, 2, 4 or 8 and
 * within [min_size, max_size], `offset` is a multiple of min_size, and offset + size never exceeds
 * the region; nothing else is promised about alignment (a word at an odd port is common). The bus
 * splits wider accesses, lowest address first. A narrower read takes its bytes out of a min_size
 * read; a narrower write arrives as a min_size write with zeros around it, so registers that care
 * about single bytes take min_size 1. Values are little-endian numbers in the low bits. Reads of
 * nothing return all ones; so does a NULL read. A NULL write drops the value.
 */
struct access_ops {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    unsigned min_size, max_size; /* 0, 0 means 1 to 4 */
};

/* -- Port I/O space -- */

struct io_bus;

struct io_bus *io_bus_new(void);
void io_bus_free(struct io_bus *bus);
/* Claims [port, port + count). A later claim shadows an earlier one (PCI BARs over fixed ports).
 * The claim that owns the first byte takes the whole access if its extent covers it (a dword at
 * 0xCF8 reaches the host bridge although another device owns byte 0xCF9). Accesses not claimed read
 * as all ones. Returns a handle for io_bus_remove. */
struct io_range *io_bus_add(struct io_bus *bus, uint16_t port, unsigned count,
                            const struct access_ops *ops, void *opaque);
void io_bus_remove(struct io_bus *bus, struct io_range *range);
uint32_t io_bus_read(struct io_bus *bus, uint16_t port, unsigned size);
void io_bus_write(struct io_bus *bus, uint16_t port, uint32_t value, unsigned size);

#endif
