/*
 * Paravirtual panic device (QEMU's specification, docs/specs/pvpanic): one port. Reading shows the
 * events that it knows, writing sends them.
 */
#include "hw/chipset/pvpanic.h"

#include "hw/alloc.h"

#define PORT   0x505
#define EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

struct pvpanic {
    struct device device;
    uint8_t last; /* events seen since the reset */
    void (*event)(void *opaque, unsigned events);
    void *opaque;
};

static const struct field pvpanic_fields[] = {
    FIELD(struct pvpanic, last, 1),
    FIELD_END,
};

static uint64_t pvpanic_read(void *opaque, uint64_t offset, unsigned size)
{
    return EVENTS;
}

static void pvpanic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pvpanic *pvpanic = opaque;

    if (value & ~(uint64_t)EVENTS)
        log_guest("pvpanic: event %02x is unknown", (unsigned)value);
    pvpanic->last |= value & EVENTS;
    if (value & EVENTS)
        pvpanic->event(pvpanic->opaque, value & EVENTS);
}

static const struct access_ops pvpanic_ops = {pvpanic_read, pvpanic_write, 1, 1};

static void pvpanic_reset(struct device *device)
{
    ((struct pvpanic *)device)->last = 0;
}

static void pvpanic_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops pvpanic_device_ops = {
    .name = "pvpanic",
    .fields = pvpanic_fields,
    .version = 1,
    .reset = pvpanic_reset,
    .destroy = pvpanic_destroy,
};

void pvpanic_new(struct device_list *list, struct io_bus *io,
                 void (*event)(void *opaque, unsigned events), void *opaque)
{
    struct pvpanic *pvpanic = alloc_zeroed(sizeof *pvpanic);

    pvpanic->event = event;
    pvpanic->opaque = opaque;
    device_add(list, &pvpanic->device, &pvpanic_device_ops, "pvpanic");
    io_bus_add(io, PORT, 1, &pvpanic_ops, pvpanic);
}
