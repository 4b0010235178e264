/*
 * PCI Express root port of the ICH9 with native hot-plug (PCI Express Base 3.0, sections 6.7 and
 * 7.8; Intel 316972, chapter 19).
 *
 *     insert:   presence, PDC event   -> the guest powers the slot -> link up, DLLSC event
 *     removal:  attention button      -> the guest powers it off   -> link down, card out
 *
 * The slot has a button, a power controller and a power indicator, and completes every command at
 * once (it says that it does not notify). A card is reset whenever its link comes up.
 *
 * Not modelled: errors and their messages, power management events, link training and speed, ASPM.
 */
#include "hw/pcie_port.h"
#include "hw/alloc.h"
#include "hw/pci_msi.h"

#define CAP_EXPRESS        0x40
#define CAP_EXPRESS_BYTES  0x3c
#define CAP_MSI            0x80
#define CAP_SUBSYSTEM      0x90
#define CAP_SUBSYSTEM_SIZE 8

/* In the PCI Express capability. */
#define PCIE_CAP           0x02
#define PCIE_DEVCAP        0x04
#define PCIE_DEVCTL        0x08
#define PCIE_LNKCAP        0x0c
#define PCIE_LNKCTL        0x10
#define PCIE_LNKSTA        0x12
#define PCIE_SLTCAP        0x14
#define PCIE_SLTCTL        0x18
#define PCIE_SLTSTA        0x1a
#define PCIE_RTCTL         0x1c
#define PCIE_RTSTA         0x20
#define PCIE_LNKCAP2       0x2c
#define PCIE_LNKCTL2       0x30

#define CAP_ROOT_PORT      0x0142 /* version 2, root port, slot implemented */
#define DEVCAP_ROLE_ERRORS 0x8000
#define LNK_2_5GT          0x1
#define LNK_X1             0x10
#define LNKCAP_ACTIVE      0x100000 /* says when the link is up */
#define LNKSTA_SLOT_CLOCK  0x1000
#define LNKSTA_ACTIVE      0x2000
#define LNKCAP2_2_5GT      0x2

#define SLTCAP_FEATURES    0x40053 /* button, power controller and indicator, hot-plug, no notice */
#define SLTCAP_NUMBER(n)   ((n) << 19)
#define SLTCTL_INTERRUPT   0x0020
#define SLTCTL_POWER_OFF   0x0400
#define SLTCTL_LINK        0x1000 /* DLLSCE */
#define SLTCTL_WRITABLE    0x17ff
#define SLTCTL_RESET       0x03c0 /* indicators off */
#define SLT_BUTTON         0x0001
#define SLT_PRESENCE       0x0008 /* has changed */
#define SLT_PRESENT        0x0040
#define SLT_LINK_CHANGED   0x0100
#define SLT_EVENTS         0x011f
#define SLT_EVENTS_PLAIN   0x001f /* their enable bits stand at the same places */

struct pcie_port {
    struct pci_bridge bridge;
    bool occupied;
    void (*removed)(void *opaque);
    void *removed_opaque;
};

static const struct field pcie_port_fields[] = {
    FIELD_STRUCT(struct pcie_port, bridge.pci, pci_device_fields, 1),
    FIELD(struct pcie_port, occupied, 1),
    FIELD_END,
};

static uint8_t *express(struct pcie_port *port, unsigned reg)
{
    return &port->bridge.pci.config[CAP_EXPRESS + reg];
}

static uint32_t slot_control(struct pcie_port *port)
{
    return pci_get(express(port, PCIE_SLTCTL), 0, 2);
}

/* -- Events -- */

static bool wants_interrupt(struct pcie_port *port)
{
    uint32_t control = slot_control(port), status = pci_get(express(port, PCIE_SLTSTA), 0, 2);
    uint32_t enabled =
        (control & SLT_EVENTS_PLAIN) | (control & SLTCTL_LINK ? SLT_LINK_CHANGED : 0);

    return (control & SLTCTL_INTERRUPT) && (status & enabled);
}

/* The interrupt line, and a message when the first cause appeared. */
static void update_interrupt(struct pcie_port *port, bool wanted_before)
{
    bool wanted = wants_interrupt(port);

    if (wanted && !wanted_before)
        pci_notify(&port->bridge.pci, 0);
    pci_set_irq(&port->bridge.pci, wanted);
}

static void raise_events(struct pcie_port *port, uint32_t events)
{
    bool before = wants_interrupt(port);
    uint8_t *status = express(port, PCIE_SLTSTA);

    pci_put(status, 0, pci_get(status, 0, 2) | events, 2);
    update_interrupt(port, before);
}

/* -- The slot -- */

/* Shows whether a card is there and the link up; returns the events that this is. */
static uint32_t update_slot(struct pcie_port *port)
{
    uint8_t *slot = express(port, PCIE_SLTSTA), *link = express(port, PCIE_LNKSTA);
    bool up = port->occupied && !(slot_control(port) & SLTCTL_POWER_OFF);
    uint32_t before = pci_get(slot, 0, 2), events = 0;
    bool was_up = pci_get(link, 0, 2) & LNKSTA_ACTIVE;

    if (!(before & SLT_PRESENT) != !port->occupied)
        events |= SLT_PRESENCE;
    if (was_up != up)
        events |= SLT_LINK_CHANGED;
    pci_put(slot, 0, (before & ~SLT_PRESENT) | (port->occupied ? SLT_PRESENT : 0), 2);
    pci_put(link, 0, LNK_2_5GT | LNK_X1 | LNKSTA_SLOT_CLOCK | (up ? LNKSTA_ACTIVE : 0), 2);
    pci_bridge_connect(&port->bridge, up);
    if (up && !was_up)
        pci_bus_reset_devices(port->bridge.bus);
    return events;
}

static void power_switched(struct pcie_port *port)
{
    void (*removed)(void *opaque) = port->removed;

    if ((slot_control(port) & SLTCTL_POWER_OFF) && removed) {
        port->removed = NULL;
        port->occupied = false;
        raise_events(port, update_slot(port));
        removed(port->removed_opaque);
    } else {
        raise_events(port, update_slot(port));
    }
}

void pcie_port_populate(struct pcie_port *port)
{
    port->occupied = true;
    update_slot(port);
}

void pcie_port_insert(struct pcie_port *port)
{
    port->occupied = true;
    raise_events(port, update_slot(port) | SLT_BUTTON);
}

bool pcie_port_request_removal(struct pcie_port *port, void (*removed)(void *opaque), void *opaque)
{
    if (!port->occupied)
        return false;
    port->removed = removed;
    port->removed_opaque = opaque;
    raise_events(port, SLT_BUTTON);
    return true;
}

void pcie_port_remove(struct pcie_port *port)
{
    port->removed = NULL;
    port->occupied = false;
    raise_events(port, update_slot(port));
}

bool pcie_port_occupied(const struct pcie_port *port)
{
    return port->occupied;
}

struct pci_bus *pcie_port_bus(struct pcie_port *port)
{
    return port->bridge.bus;
}

/* -- Configuration -- */

static bool touches(unsigned offset, unsigned size, unsigned reg, unsigned count)
{
    return offset < CAP_EXPRESS + reg + count && CAP_EXPRESS + reg < offset + size;
}

static void pcie_port_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct pcie_port *port = (struct pcie_port *)pci;

    pci_bridge_config_written(&port->bridge, offset, size);
    if (touches(offset, size, PCIE_SLTCTL, 4)) {
        power_switched(port);
        update_interrupt(port, true);
    }
}

static void reset_behind(struct pci_bridge *bridge)
{
    pci_bus_reset_devices(bridge->bus);
}

static void set_up_capabilities(struct pcie_port *port, unsigned slot)
{
    struct pci_device *pci = &port->bridge.pci;
    uint8_t *mask = pci->write_mask + CAP_EXPRESS;

    pci_add_capability(pci, PCI_CAPABILITY_EXPRESS, CAP_EXPRESS, CAP_EXPRESS_BYTES);
    pci_add_msi(pci, CAP_MSI, 1, 0);
    pci_add_capability(pci, PCI_CAPABILITY_SUBSYSTEM, CAP_SUBSYSTEM, CAP_SUBSYSTEM_SIZE);
    pci_put(pci->config, CAP_SUBSYSTEM + 4, PCI_SUBSYSTEM_VENDOR_VIRTUAL, 2);
    pci_put(pci->config, CAP_SUBSYSTEM + 6, PCI_SUBSYSTEM_VIRTUAL, 2);
    pci_put(express(port, PCIE_CAP), 0, CAP_ROOT_PORT, 2);
    pci_put(express(port, PCIE_DEVCAP), 0, DEVCAP_ROLE_ERRORS, 4);
    pci_put(express(port, PCIE_LNKCAP), 0, LNK_2_5GT | LNK_X1 | LNKCAP_ACTIVE | slot << 24, 4);
    pci_put(express(port, PCIE_SLTCAP), 0, SLTCAP_FEATURES | SLTCAP_NUMBER(slot), 4);
    pci_put(express(port, PCIE_LNKCAP2), 0, LNKCAP2_2_5GT, 4);
    pci_put(mask, PCIE_DEVCTL, 0x00ff, 2);
    pci_put(mask, PCIE_LNKCTL, 0x00fb, 2);
    pci_put(mask, PCIE_SLTCTL, SLTCTL_WRITABLE, 2);
    pci_put(mask, PCIE_RTCTL, 0x000f, 2);
    pci_put(mask, PCIE_LNKCTL2, 0x000f, 2);
    pci_put(pci->write_one_clears, CAP_EXPRESS + PCIE_SLTSTA, SLT_EVENTS, 2);
}

/* -- Life -- */

static void pcie_port_reset(struct device *device)
{
    struct pcie_port *port = (struct pcie_port *)device;

    pci_bridge_reset(&port->bridge);
    pci_put(express(port, PCIE_DEVCTL), 0, 0, 4);
    pci_put(express(port, PCIE_LNKCTL), 0, 0, 2);
    pci_put(express(port, PCIE_SLTCTL), 0, SLTCTL_RESET, 2);
    pci_put(express(port, PCIE_SLTSTA), 0, 0, 2);
    pci_put(express(port, PCIE_RTCTL), 0, 0, 2);
    pci_put(express(port, PCIE_RTSTA), 0, 0, 4);
    pci_put(express(port, PCIE_LNKCTL2), 0, LNK_2_5GT, 2);
    update_slot(port);
    update_interrupt(port, true);
}

static bool pcie_port_post_load(struct device *device, struct error *error)
{
    struct pcie_port *port = (struct pcie_port *)device;

    if (!pci_device_post_load(&port->bridge.pci, error))
        return false;
    port->bridge.connected = port->occupied && !(slot_control(port) & SLTCTL_POWER_OFF);
    pci_bus_windows_changed(port->bridge.bus);
    pci_bus_irqs_changed(port->bridge.bus);
    return true;
}

static void pcie_port_destroy(struct device *device)
{
    pci_bridge_release(&((struct pcie_port *)device)->bridge);
    free(device);
}

static const struct device_ops pcie_port_ops = {
    .name = "pcie-port",
    .fields = pcie_port_fields,
    .version = 1,
    .reset = pcie_port_reset,
    .post_load = pcie_port_post_load,
    .destroy = pcie_port_destroy,
};

struct pcie_port *pcie_port_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                                unsigned slot, const char *id)
{
    const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = (uint16_t)(0x2940 + 2 * (devfn & 7)),
        .revision = 0x02,
        .class_code = PCI_CLASS_BRIDGE,
        .interrupt_pin = (uint8_t)(1 + (devfn & 3)),
    };
    struct pcie_port *port = alloc_zeroed(sizeof *port);

    device_add(list, &port->bridge.pci.device, &pcie_port_ops, id);
    pci_bridge_init(&port->bridge, bus, devfn, &identity);
    port->bridge.pci.express = true;
    port->bridge.pci.config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTIFUNCTION;
    port->bridge.pci.config_written = pcie_port_config_written;
    port->bridge.reset_behind = reset_behind;
    set_up_capabilities(port, slot);
    pcie_port_reset(&port->bridge.pci.device);
    return port;
}
