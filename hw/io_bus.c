/*
 * The 64 KiB port space: one table entry a port points at the claim that owns it.
 */
#include "hw/access.h"
#include "hw/alloc.h"

#include <assert.h>

#define PORTS 0x10000u

struct io_range {
    struct io_range *older; /* the claim made before this one */
    const struct access_ops *ops;
    void *opaque;
    unsigned port, count;
};

struct io_bus {
    struct io_range *newest;
    struct io_range *owner[PORTS];
};

struct io_bus *io_bus_new(void)
{
    return alloc_zeroed(sizeof(struct io_bus));
}

void io_bus_free(struct io_bus *bus)
{
    if (!bus)
        return;
    for (struct io_range *range = bus->newest, *older; range; range = older) {
        older = range->older;
        free(range);
    }
    free(bus);
}

struct io_range *io_bus_add(struct io_bus *bus, uint16_t port, unsigned count,
                            const struct access_ops *ops, void *opaque)
{
    struct io_range *range = alloc_zeroed(sizeof *range);

    assert(count > 0 && port + count <= PORTS && access_fits(ops, count));
    *range = (struct io_range){bus->newest, ops, opaque, port, count};
    bus->newest = range;
    for (unsigned i = 0; i < count; i++)
        bus->owner[port + i] = range;
    return range;
}

void io_bus_remove(struct io_bus *bus, struct io_range *range)
{
    if (!range)
        return;
    for (struct io_range **link = &bus->newest; *link; link = &(*link)->older) {
        if (*link == range) {
            *link = range->older;
            break;
        }
    }
    /* What the claim had shadowed comes back. */
    for (unsigned port = range->port; port < range->port + range->count; port++) {
        if (bus->owner[port] != range)
            continue;
        struct io_range *below = bus->newest;
        while (below && (port < below->port || port >= below->port + below->count))
            below = below->older;
        bus->owner[port] = below;
    }
    free(range);
}

static bool covers(const struct io_range *range, unsigned port, unsigned size)
{
    return port + size <= range->port + range->count;
}

static uint32_t read_port(struct io_bus *bus, uint16_t port, unsigned size)
{
    struct io_range *range = bus->owner[port];

    if (range && covers(range, port, size))
        return (uint32_t)access_read(range->ops, range->opaque, port - range->port, size);
    if (size == 1)
        return 0xff;
    /* Two claims, or a claim and nothing: as two halves. Port numbers wrap at 64 KiB. */
    uint32_t low = read_port(bus, port, size / 2);
    uint32_t high = read_port(bus, (uint16_t)(port + size / 2), size / 2);
    return low | high << (4 * size);
}

static void write_port(struct io_bus *bus, uint16_t port, uint32_t value, unsigned size)
{
    struct io_range *range = bus->owner[port];

    if (range && covers(range, port, size)) {
        access_write(range->ops, range->opaque, port - range->port, value, size);
    } else if (size > 1) {
        write_port(bus, port, value, size / 2);
        write_port(bus, (uint16_t)(port + size / 2), value >> (4 * size), size / 2);
    }
}

uint32_t io_bus_read(struct io_bus *bus, uint16_t port, unsigned size)
{
    uint32_t value = read_port(bus, port, size);

    log_if(LOG_IO, "in  %04x.%u -> %0*x", port, size, (int)size * 2, value);
    return value;
}

void io_bus_write(struct io_bus *bus, uint16_t port, uint32_t value, unsigned size)
{
    log_if(LOG_IO, "out %04x.%u <- %0*x", port, size, (int)size * 2, value);
    write_port(bus, port, value, size);
}
