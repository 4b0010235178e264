/*
 * Intel 82093AA I/O APIC (data sheet 290566), with the EOI register of version 0x20 (82801 ICH data
 * sheets, "APIC registers").
 *
 * Not modelled: the electrical meaning of the polarity bit. The board's lines carry "asserted", and
 * tables that describe the same wire as active-high and active-low are both in use, so the bit
 * is kept and does not invert. Arbitration ID equals the ID.
 */
#include "hw/irq/ioapic.h"

#include "hw/alloc.h"

#define IOAPIC_SIZE 0x1000

/* Memory-mapped */
#define IOREGSEL 0x00
#define IOWIN    0x10
#define IOEOI    0x40

/* Behind IOREGSEL */
#define IOAPICID                 0x00
#define IOAPICVER                0x01
#define IOAPICARB                0x02
#define IOREDTBL                 0x10

#define ID_MASK                  0x0f000000u
#define VERSION                  0x20u

#define ENTRY_VECTOR(entry)      ((uint8_t)(entry))
#define ENTRY_DELIVERY(entry)    ((entry) >> 8 & 7)
#define ENTRY_LOGICAL            (1u << 11)
#define ENTRY_REMOTE_IRR         (1u << 14)
#define ENTRY_LEVEL              (1u << 15)
#define ENTRY_MASKED             (1u << 16)
#define ENTRY_DESTINATION(entry) ((uint8_t)((entry) >> 56))
#define ENTRY_WRITABLE_LOW       0x1afffu /* not delivery status and remote IRR */
#define ENTRY_WRITABLE_HIGH      0xff000000u

struct ioapic {
    struct device device;
    uint8_t select;
    uint32_t apic_id;
    uint32_t lines; /* level of the pins */
    uint64_t entry[IOAPIC_PINS];
    struct apic_bus *bus;
};

static const struct field ioapic_fields[] = {
    FIELD(struct ioapic, select, 1),
    FIELD(struct ioapic, apic_id, 1),
    FIELD(struct ioapic, lines, 1),
    FIELD_ARRAY(struct ioapic, entry, 1),
    FIELD_END,
};

/* -- Delivery -- */

/* Only fixed and lowest priority can be level-triggered; the others act on the edge. */
static bool is_level(uint64_t entry)
{
    return (entry & ENTRY_LEVEL) && ENTRY_DELIVERY(entry) <= APIC_LOWEST;
}

static bool send(struct ioapic *ioapic, int pin)
{
    uint64_t entry = ioapic->entry[pin];
    bool logical = entry & ENTRY_LOGICAL;
    struct apic_message message = {
        .destination = apic_destination8(ENTRY_DESTINATION(entry), logical),
        .logical = logical,
        .level_triggered = is_level(entry),
        .delivery = (uint8_t)ENTRY_DELIVERY(entry),
        .vector = ENTRY_VECTOR(entry),
    };

    if (message.delivery == 3 || message.delivery == APIC_STARTUP) {
        log_guest("ioapic: pin %d has reserved delivery mode %u", pin, message.delivery);
        return false;
    }
    return apic_bus_deliver(ioapic->bus, &message, NULL);
}

/* Sends the interrupt of a level-triggered pin that is asserted, unmasked and not in service. One
 * that nobody takes stays asked for, and is tried again when anything changes. */
static void serve_level(struct ioapic *ioapic, int pin)
{
    uint64_t entry = ioapic->entry[pin];

    if (is_level(entry) && !(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) &&
        (ioapic->lines & (1u << pin)) && send(ioapic, pin))
        ioapic->entry[pin] |= ENTRY_REMOTE_IRR;
}

static void set_line(void *opaque, int pin, bool level)
{
    struct ioapic *ioapic = opaque;
    uint32_t bit = 1u << pin;
    bool rising = level && !(ioapic->lines & bit);

    ioapic->lines = level ? ioapic->lines | bit : ioapic->lines & ~bit;
    if (is_level(ioapic->entry[pin]))
        serve_level(ioapic, pin);
    else if (rising && !(ioapic->entry[pin] & ENTRY_MASKED))
        send(ioapic, pin); /* an edge at a masked pin is lost */
}

struct irq_line ioapic_line(struct ioapic *ioapic, int pin)
{
    if (pin < 0 || pin >= IOAPIC_PINS)
        return (struct irq_line){0};
    return (struct irq_line){set_line, ioapic, pin};
}

void ioapic_eoi(struct ioapic *ioapic, uint8_t vector)
{
    for (int pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *entry = &ioapic->entry[pin];
        if (!(*entry & ENTRY_REMOTE_IRR) || ENTRY_VECTOR(*entry) != vector)
            continue;
        *entry &= ~(uint64_t)ENTRY_REMOTE_IRR;
        serve_level(ioapic, pin);
    }
}

static void bus_eoi(void *opaque, uint8_t vector)
{
    ioapic_eoi(opaque, vector);
}

/* -- Registers -- */

static uint32_t register_read(const struct ioapic *ioapic)
{
    unsigned index = ioapic->select;

    if (index == IOAPICID || index == IOAPICARB)
        return ioapic->apic_id;
    if (index == IOAPICVER)
        return (IOAPIC_PINS - 1) << 16 | VERSION;
    if (index >= IOREDTBL && index < IOREDTBL + 2 * IOAPIC_PINS) {
        uint64_t entry = ioapic->entry[(index - IOREDTBL) / 2];
        return (uint32_t)(index & 1 ? entry >> 32 : entry);
    }
    log_guest("ioapic: read of reserved register %#x", index);
    return 0;
}

static void register_write(struct ioapic *ioapic, uint32_t value)
{
    unsigned index = ioapic->select;

    if (index == IOAPICID) {
        ioapic->apic_id = value & ID_MASK;
    } else if (index >= IOREDTBL && index < IOREDTBL + 2 * IOAPIC_PINS) {
        int pin = (int)(index - IOREDTBL) / 2;
        uint64_t entry = ioapic->entry[pin];
        if (index & 1) {
            entry = (uint32_t)entry | (uint64_t)(value & ENTRY_WRITABLE_HIGH) << 32;
        } else {
            entry = (entry & ~(uint64_t)ENTRY_WRITABLE_LOW) | (value & ENTRY_WRITABLE_LOW);
            /* Remote IRR has a meaning in level mode only; drivers clear it this way. */
            if (!is_level(entry))
                entry &= ~(uint64_t)ENTRY_REMOTE_IRR;
        }
        ioapic->entry[pin] = entry;
        serve_level(ioapic, pin);
    } else {
        log_guest("ioapic: write of %#x to reserved or read-only register %#x", value, index);
    }
}

uint64_t ioapic_read(struct ioapic *ioapic, uint64_t offset, unsigned size)
{
    uint32_t value = 0;

    switch (offset & ~3ull) {
    case IOREGSEL:
        value = ioapic->select;
        break;
    case IOWIN:
        value = register_read(ioapic);
        break;
    default:
        log_guest("ioapic: read at reserved offset %#llx", (unsigned long long)offset);
    }
    return value >> 8 * (offset & 3);
}

void ioapic_write(struct ioapic *ioapic, uint64_t offset, uint64_t value, unsigned size)
{
    if (offset == IOREGSEL)
        ioapic->select = (uint8_t)value;
    else if (offset == IOWIN && size == 4)
        register_write(ioapic, (uint32_t)value);
    else if (offset == IOEOI)
        ioapic_eoi(ioapic, (uint8_t)value);
    else
        log_guest("ioapic: %u-byte write at offset %#llx ignored", size,
                  (unsigned long long)offset);
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
    return ioapic_read(opaque, offset, size);
}

static void page_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ioapic_write(opaque, offset, value, size);
}

static const struct access_ops page_ops = {page_read, page_write, 1, 4};

/* -- Device -- */

static void ioapic_reset(struct device *device)
{
    struct ioapic *ioapic = (struct ioapic *)device;

    ioapic->select = 0;
    ioapic->apic_id = 0;
    for (int pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->entry[pin] = ENTRY_MASKED;
}

static bool ioapic_post_load(struct device *device, struct error *error)
{
    struct ioapic *ioapic = (struct ioapic *)device;
    const uint64_t known =
        (uint64_t)ENTRY_WRITABLE_HIGH << 32 | ENTRY_WRITABLE_LOW | ENTRY_REMOTE_IRR;

    for (int pin = 0; pin < IOAPIC_PINS; pin++) {
        if (ioapic->entry[pin] & ~known)
            return error_set(error, "%s: the saved entry of pin %d is impossible", device->id, pin);
    }
    if ((ioapic->lines >> IOAPIC_PINS) || (ioapic->apic_id & ~ID_MASK))
        return error_set(error, "%s: the saved I/O APIC state is impossible", device->id);
    return true;
}

static void ioapic_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops ioapic_device_ops = {
    .name = "ioapic",
    .fields = ioapic_fields,
    .version = 1,
    .reset = ioapic_reset,
    .post_load = ioapic_post_load,
    .destroy = ioapic_destroy,
};

struct ioapic *ioapic_new(struct device_list *list, struct memory *memory, struct apic_bus *bus,
                          const char *id)
{
    struct ioapic *ioapic = alloc_zeroed(sizeof *ioapic);

    ioapic->bus = bus;
    device_add(list, &ioapic->device, &ioapic_device_ops, id);
    memory_add_mmio(memory, IOAPIC_BASE, IOAPIC_SIZE, 0, &page_ops, ioapic, "ioapic");
    apic_bus_add_eoi_listener(bus, bus_eoi, ioapic);
    ioapic_reset(&ioapic->device);
    return ioapic;
}
