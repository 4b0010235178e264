/*
 * Hot-plug slots by ACPI (ACPI 6.4, sections 5.6.4, 5.6.6 and 6.3): a device of our own that only
 * the DSDT's methods program, so it follows no other specification. Bit n is slot n.
 *
 *     PCI_SLOTS_PORT + 0  cards that came since the last read; reading clears
 *                    + 4  cards that are asked for since the last read; reading clears
 *                    + 8  write: the guest gives these cards back (_EJ0)
 *
 *     insert:   bit in +0, GPE 1 -> _E01 notifies "device check"  -> the guest looks at the slot
 *     removal:  bit in +4, GPE 1 -> _E01 notifies "eject request" -> driver leaves -> _EJ0 -> +8
 */
#include "hw/chipset/pci_slots.h"

#include "hw/alloc.h"

enum { INSERTED = 0, WANTED = 4, EJECT = 8, PORTS = 12 };
#define GPE_SLOTS 1
#define ALL_SLOTS ((1u << PCI_SLOTS) - 1)

struct pci_slots {
    struct device device;
    struct pci_bus *bus;
    struct acpi_pm *pm;
    uint32_t inserted, wanted; /* not yet read */
    uint32_t empty;            /* slots whose card has been given back */
    struct removal {
        void (*removed)(void *opaque);
        void *opaque;
    } removal[PCI_SLOTS];
};

static const struct field pci_slots_fields[] = {
    FIELD(struct pci_slots, inserted, 1),
    FIELD(struct pci_slots, wanted, 1),
    FIELD(struct pci_slots, empty, 1),
    FIELD_END,
};

static struct pci_device *card(const struct pci_slots *slots, unsigned slot)
{
    return pci_bus_device(slots->bus, PCI_DEVFN(PCI_SLOTS_FIRST + slot, 0));
}

void pci_slots_insert(struct pci_slots *slots, unsigned slot)
{
    slots->empty &= ~(1u << slot);
    pci_device_hide(card(slots, slot), false);
    slots->inserted |= 1u << slot;
    acpi_pm_raise_gpe(slots->pm, GPE_SLOTS);
}

bool pci_slots_request_removal(struct pci_slots *slots, unsigned slot,
                               void (*removed)(void *opaque), void *opaque)
{
    if (!card(slots, slot) || (slots->empty >> slot & 1))
        return false;
    slots->removal[slot] = (struct removal){removed, opaque};
    slots->wanted |= 1u << slot;
    acpi_pm_raise_gpe(slots->pm, GPE_SLOTS);
    return true;
}

/* The guest may give a card back that nobody asked for: its user pressed a button there. */
static void eject(struct pci_slots *slots, uint32_t which)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        struct removal *removal = &slots->removal[slot];
        void (*removed)(void *opaque) = removal->removed;
        if (!(which >> slot & 1) || !card(slots, slot) || (slots->empty >> slot & 1))
            continue;
        slots->empty |= 1u << slot;
        pci_device_hide(card(slots, slot), true);
        removal->removed = NULL;
        if (removed)
            removed(removal->opaque);
    }
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pci_slots *slots = opaque;
    uint32_t *reg = offset == INSERTED ? &slots->inserted
                    : offset == WANTED ? &slots->wanted
                                       : NULL;
    uint32_t value = reg ? *reg : 0;
    if (reg)
        *reg = 0;
    return value;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (offset == EJECT)
        eject(opaque, (uint32_t)value);
}

static const struct access_ops ports = {ports_read, ports_write, 4, 4};

static void pci_slots_reset(struct device *device)
{
    struct pci_slots *slots = (struct pci_slots *)device;
    slots->inserted = slots->wanted = 0;
}

static bool pci_slots_post_load(struct device *device, struct error *error)
{
    struct pci_slots *slots = (struct pci_slots *)device;
    slots->empty &= ALL_SLOTS;
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
        if (card(slots, slot))
            pci_device_hide(card(slots, slot), slots->empty >> slot & 1);
    return true;
}

static void pci_slots_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops pci_slots_ops = {
    .name = "pci-slots",
    .fields = pci_slots_fields,
    .version = 1,
    .reset = pci_slots_reset,
    .post_load = pci_slots_post_load,
    .destroy = pci_slots_destroy,
};

struct pci_slots *pci_slots_new(struct device_list *list, struct io_bus *io, struct pci_bus *bus,
                                struct acpi_pm *pm)
{
    struct pci_slots *slots = alloc_zeroed(sizeof *slots);
    slots->bus = bus;
    slots->pm = pm;
    io_bus_add(io, PCI_SLOTS_PORT, PORTS, &ports, slots);
    device_add(list, &slots->device, &pci_slots_ops, "pci-slots");
    return slots;
}
