/*
 * Delivery of interrupt messages: a list of local APICs that are asked in turn.
 *
 * Lowest-priority arbitration picks the smallest task/processor priority; equals take turns,
 * beginning after the last winner.
 */
#include "hw/irq/apic_bus.h"

#include "hw/alloc.h"

/* MSI address and data, SDM volume 3, "Message Signalled Interrupts" */
#define MSI_ADDRESS              0xfee00000u
#define MSI_DESTINATION(address) ((uint8_t)((address) >> 12))
#define MSI_REDIRECTION_HINT     0x08
#define MSI_LOGICAL              0x04
#define MSI_DELIVERY(data)       ((data) >> 8 & 7)
#define MSI_LEVEL_ASSERT         0x4000
#define MSI_LEVEL_TRIGGERED      0x8000

struct eoi_listener {
    void (*eoi)(void *opaque, uint8_t vector);
    void *opaque;
};

struct apic_bus {
    struct device device;
    struct apic_node *node;
    uint32_t nodes;
    struct eoi_listener *listener;
    uint32_t listeners;
    uint32_t last_winner;
};

static const struct field apic_bus_fields[] = {
    FIELD(struct apic_bus, last_winner, 1),
    FIELD_END,
};

void apic_bus_add_node(struct apic_bus *bus, const struct apic_node *node)
{
    bus->node = alloc_grown(bus->node, (bus->nodes + 1) * sizeof *node);
    bus->node[bus->nodes++] = *node;
}

void apic_bus_add_eoi_listener(struct apic_bus *bus, void (*eoi)(void *opaque, uint8_t vector),
                               void *opaque)
{
    bus->listener = alloc_grown(bus->listener, (bus->listeners + 1) * sizeof *bus->listener);
    bus->listener[bus->listeners++] = (struct eoi_listener){eoi, opaque};
}

static bool is_target(const struct apic_node *node, const struct apic_message *message,
                      const void *exclude)
{
    return node->opaque != exclude && node->is_addressed(node->opaque, message);
}

static bool deliver_to_lowest(struct apic_bus *bus, const struct apic_message *message,
                              const void *exclude)
{
    uint32_t winner = bus->nodes;
    int lowest = 0;

    for (uint32_t i = 0; i < bus->nodes; i++) {
        uint32_t candidate = (bus->last_winner + 1 + i) % bus->nodes;
        const struct apic_node *node = &bus->node[candidate];
        if (!is_target(node, message, exclude))
            continue;
        int priority = node->priority(node->opaque);
        if (priority >= 0 && (winner == bus->nodes || priority < lowest)) {
            winner = candidate;
            lowest = priority;
        }
    }
    if (winner == bus->nodes)
        return false;
    bus->last_winner = winner;
    return bus->node[winner].receive(bus->node[winner].opaque, message);
}

bool apic_bus_deliver(struct apic_bus *bus, const struct apic_message *message, const void *exclude)
{
    bool taken = false;

    if (message->delivery == APIC_LOWEST)
        return deliver_to_lowest(bus, message, exclude);
    for (uint32_t i = 0; i < bus->nodes; i++) {
        const struct apic_node *node = &bus->node[i];
        if (is_target(node, message, exclude))
            taken |= node->receive(node->opaque, message);
    }
    return taken;
}

void apic_bus_deliver_msi(struct apic_bus *bus, uint64_t address, uint32_t data)
{
    bool logical = address & MSI_LOGICAL;
    struct apic_message message = {
        .destination = apic_destination8(MSI_DESTINATION(address), logical),
        .logical = logical,
        .level_triggered = data & MSI_LEVEL_TRIGGERED,
        .delivery = (uint8_t)MSI_DELIVERY(data),
        .vector = (uint8_t)data,
    };

    if ((address >> 20) != MSI_ADDRESS >> 20) {
        log_guest("MSI to address %#llx is outside the interrupt range",
                  (unsigned long long)address);
        return;
    }
    if (message.level_triggered && !(data & MSI_LEVEL_ASSERT))
        return; /* deassert messages have no effect on a local APIC */
    if ((address & MSI_REDIRECTION_HINT) && logical && message.delivery == APIC_FIXED)
        message.delivery = APIC_LOWEST;
    apic_bus_deliver(bus, &message, NULL);
}

void apic_bus_eoi(struct apic_bus *bus, uint8_t vector)
{
    for (uint32_t i = 0; i < bus->listeners; i++)
        bus->listener[i].eoi(bus->listener[i].opaque, vector);
}

static void apic_bus_reset(struct device *device)
{
    struct apic_bus *bus = (struct apic_bus *)device;

    bus->last_winner = 0;
}

static bool apic_bus_post_load(struct device *device, struct error *error)
{
    struct apic_bus *bus = (struct apic_bus *)device;

    if (bus->last_winner && bus->last_winner >= bus->nodes)
        return error_set(error, "%s: the saved state is of a machine with more processors",
                         device->id);
    return true;
}

static void apic_bus_destroy(struct device *device)
{
    struct apic_bus *bus = (struct apic_bus *)device;

    free(bus->node);
    free(bus->listener);
    free(bus);
}

static const struct device_ops apic_bus_ops = {
    .name = "apic-bus",
    .fields = apic_bus_fields,
    .version = 1,
    .reset = apic_bus_reset,
    .post_load = apic_bus_post_load,
    .destroy = apic_bus_destroy,
};

struct apic_bus *apic_bus_new(struct device_list *list, const char *id)
{
    struct apic_bus *bus = alloc_zeroed(sizeof *bus);

    device_add(list, &bus->device, &apic_bus_ops, id);
    return bus;
}
