/*
 * xHCI host controller: registers (5.3 to 5.6), root hub ports (4.19), extended capabilities (7).
 *
 *     BAR 0    0x0000  capability registers      0x1000  runtime registers: interrupters
 *              0x0040  operational registers     0x2000  doorbells
 *              0x0440  ports, 16 bytes each
 *              0x0500  supported protocols
 *     BAR 1    MSI-X
 *
 * Specification: eXtensible Host Controller Interface for USB 1.1 (the version register says 1.0,
 * whose registers these are). The other parts and what they leave out: xhci_event.c,
 * xhci_command.c, xhci_transfer.c.
 *
 * Not modelled: saving and restoring the controller's state (a restore tells an error, after which
 * drivers start anew), events when the frame counter wraps, link power management, port power.
 */
#include "hw/alloc.h"
#include "hw/usb/xhci_internal.h"

#include <string.h>

#define BAR_SIZE     0x4000
#define OPERATIONAL  0x0040
#define PORTS        0x0440
#define PORT_BYTES   0x10
#define PROTOCOLS    0x0500
#define RUNTIME      0x1000
#define INTERRUPTERS 0x1020
#define INTERRUPTER  0x20
#define DOORBELLS    0x2000

/* Capability registers. */
enum {
    CAPLENGTH = 0x00, /* and HCIVERSION */
    HCSPARAMS1 = 0x04,
    HCSPARAMS2 = 0x08,
    HCCPARAMS1 = 0x10,
    DBOFF = 0x14,
    RTSOFF = 0x18,
};
#define VERSION  0x0100u
#define ERST_MAX 3u /* 2^3 segments */
#define AC64     0x0001u
#define NSS      0x0080u /* no secondary stream identifiers */
#define PAE      0x0100u /* all event data TRBs are looked at */

/* Operational registers. */
enum {
    USBCMD = 0x00,
    USBSTS = 0x04,
    PAGESIZE = 0x08,
    DNCTRL = 0x14,
    CRCR = 0x18,
    DCBAAP = 0x30,
    CONFIG = 0x38,
};
#define CMD_RUN        0x0001u
#define CMD_RESET      0x0002u
#define CMD_SAVE       0x0100u
#define CMD_RESTORE    0x0200u
#define CMD_WRAP       0x0400u
#define CMD_KEPT       0x000du /* run, interrupts, host errors */
#define STS_HALTED     0x0001u
#define STS_HOST_ERROR 0x0004u
#define STS_PORT       0x0010u
#define STS_RESTORE    0x0400u /* save/restore error */
#define STS_HC_ERROR   0x1000u
#define STS_CLEARS     0x041cu
#define CRCR_CYCLE     1u
#define CRCR_STOP      2u
#define CRCR_ABORT     4u
#define CRCR_RUNNING   8u
#define RING_POINTER   UINT32_C(0xffffffc0)

/* Ports (5.4.8). */
enum { PORTSC = 0x0, PORTPMSC = 0x4 };
#define PORT_CONNECTED   0x00000001u
#define PORT_ENABLED     0x00000002u
#define PORT_RESET       0x00000010u
#define PORT_LINK_SHIFT  5
#define PORT_LINK        (0xfu << PORT_LINK_SHIFT)
#define PORT_POWER       0x00000200u
#define PORT_SPEED_SHIFT 10
#define PORT_WRITE_LINK  0x00010000u
#define PORT_CSC         0x00020000u /* connection changed */
#define PORT_WRC         0x00080000u /* warm reset done */
#define PORT_PRC         0x00200000u /* reset done */
#define PORT_PLC         0x00400000u /* link state changed */
#define PORT_CHANGES     0x00fe0000u
#define PORT_WAKE        0x0e000000u
#define PORT_WARM_RESET  0x80000000u
#define PORT_TIMEOUTS    0x0001ffffu
enum {
    LINK_U0 = 0,
    LINK_U3 = 3,
    LINK_DISABLED = 4,
    LINK_DETECT = 5,
    LINK_POLLING = 7,
    LINK_RESUME = 15
};

/* Serial bus release and frame length registers in configuration space (5.2.3, 5.2.4). */
enum { CONFIG_SBRN = 0x60, CONFIG_FLADJ = 0x61, CONFIG_MSI = 0x70, CONFIG_MSIX = 0x90 };

static const struct field xhci_endpoint_fields[] = {
    FIELD(struct xhci_endpoint, state, 1), FIELD(struct xhci_endpoint, type, 1),
    FIELD(struct xhci_endpoint, cycle, 1), FIELD(struct xhci_endpoint, dequeue, 1),
    FIELD(struct xhci_endpoint, done, 1),  FIELD_END,
};

static const struct field xhci_slot_fields[] = {
    FIELD(struct xhci_slot, enabled, 1),
    FIELD(struct xhci_slot, state, 1),
    FIELD(struct xhci_slot, port, 1),
    FIELD(struct xhci_slot, interrupter, 1),
    FIELD_STRUCTS(struct xhci_slot, endpoint, xhci_endpoint_fields, 1),
    FIELD(struct xhci_slot, pending, 1),
    FIELD(struct xhci_slot, blocked, 1),
    FIELD_END,
};

static const struct field xhci_fields[] = {
    FIELD_STRUCT(struct xhci, pci, pci_device_fields, 1),
    FIELD_STRUCT(struct xhci, msix, pci_msix_fields, 1),
    FIELD(struct xhci, command, 1),
    FIELD(struct xhci, status, 1),
    FIELD(struct xhci, notifications, 1),
    FIELD(struct xhci, config, 1),
    FIELD(struct xhci, command_ring, 1),
    FIELD(struct xhci, contexts, 1),
    FIELD(struct xhci, command_cycle, 1),
    FIELD(struct xhci, command_running, 1),
    FIELD_ARRAY(struct xhci, portsc, 1),
    FIELD_ARRAY(struct xhci, portpmsc, 1),
    FIELD_ARRAY(struct xhci, port_event, 1),
    FIELD_STRUCTS(struct xhci, interrupter, xhci_interrupter_fields, 1),
    FIELD_STRUCTS(struct xhci, slot, xhci_slot_fields, 1),
    FIELD(struct xhci, again.deadline_ns, 1),
    FIELD_END,
};

bool xhci_running(const struct xhci *xhci)
{
    return !(xhci->status & STS_HALTED);
}

void xhci_host_error(struct xhci *xhci, const char *what)
{
    log_guest("xhci: the controller stops: %s", what);
    xhci->command &= ~CMD_RUN;
    xhci->command_running = false;
    xhci->status |= STS_HALTED | STS_HC_ERROR;
}

/* -- Ports -- */

static bool is_usb3(unsigned port)
{
    return port >= XHCI_PORTS_2;
}

static unsigned link_of(const struct xhci *xhci, unsigned port)
{
    return (xhci->portsc[port] & PORT_LINK) >> PORT_LINK_SHIFT;
}

static void set_link(struct xhci *xhci, unsigned port, unsigned state)
{
    xhci->portsc[port] = (xhci->portsc[port] & ~PORT_LINK) | state << PORT_LINK_SHIFT;
}

struct usb_device *xhci_device(struct xhci *xhci, unsigned port)
{
    if (port == 0 || port > XHCI_PORTS || !(xhci->portsc[port - 1] & PORT_ENABLED))
        return NULL;
    return xhci->port[port - 1].device;
}

/* A change is told once, until the guest has cleared all. */
static void note_change(struct xhci *xhci, unsigned port, uint32_t change)
{
    bool told = xhci->portsc[port] & PORT_CHANGES;

    xhci->portsc[port] |= change;
    if (told)
        return;
    xhci->status |= STS_PORT;
    xhci_port_event(xhci, port);
}

/* Endpoints of the port's device have something to find out: that it is gone, or there again. */
static void mark_port(struct xhci *xhci, unsigned port)
{
    for (unsigned i = 1; i <= XHCI_SLOTS; i++)
        if (xhci->slot[i].enabled && xhci->slot[i].port == port + 1)
            xhci->slot[i].pending = ~1u;
    xhci_serve(xhci);
}

/* What is plugged in, as after power-on. A USB 3 link trains by itself; a USB 2 port waits for a
 * reset. */
static void detect(struct xhci *xhci, unsigned port)
{
    static const uint8_t speeds[USB_SPEEDS] = {2, 1, 3, 4};
    const struct usb_device *device = xhci->port[port].device;

    xhci->portsc[port] = PORT_POWER;
    set_link(xhci, port, LINK_DETECT);
    if (!device)
        return;
    xhci->portsc[port] |= PORT_CONNECTED | (uint32_t)speeds[device->speed] << PORT_SPEED_SHIFT;
    set_link(xhci, port, is_usb3(port) ? LINK_U0 : LINK_POLLING);
    if (is_usb3(port))
        xhci->portsc[port] |= PORT_ENABLED;
}

static void port_changed(void *controller, struct usb_port *port)
{
    struct xhci *xhci = controller;
    uint32_t changes = xhci->portsc[port->number] & PORT_CHANGES;

    detect(xhci, port->number);
    xhci->portsc[port->number] |= changes;
    note_change(xhci, port->number, PORT_CSC);
    mark_port(xhci, port->number);
}

static void port_ready(void *controller, struct usb_port *port, uint8_t endpoint)
{
    struct xhci *xhci = controller;
    unsigned index = 2u * (endpoint & 15) + (endpoint >> 7 || !(endpoint & 15));

    for (unsigned i = 1; i <= XHCI_SLOTS; i++)
        if (xhci->slot[i].enabled && xhci->slot[i].port == port->number + 1)
            xhci_mark(xhci, i, index);
    xhci_serve(xhci);
}

static void port_wake(void *controller, struct usb_port *port)
{
    struct xhci *xhci = controller;

    if (link_of(xhci, port->number) != LINK_U3)
        return;
    set_link(xhci, port->number, LINK_RESUME);
    note_change(xhci, port->number, PORT_PLC);
}

static void reset_port(struct xhci *xhci, unsigned port, bool warm)
{
    struct usb_device *device = xhci->port[port].device;

    if (!device)
        return;
    usb_bus_reset(device);
    xhci->portsc[port] |= PORT_ENABLED;
    set_link(xhci, port, LINK_U0);
    note_change(xhci, port, PORT_PRC | (warm ? PORT_WRC : 0));
}

static void disable_port(struct xhci *xhci, unsigned port)
{
    xhci->portsc[port] &= ~PORT_ENABLED;
    set_link(xhci, port, is_usb3(port) ? LINK_DISABLED : LINK_POLLING);
    mark_port(xhci, port);
}

/* The guest moves the link: into suspension and out of it; a disabled USB 3 port back to life. */
static void write_link(struct xhci *xhci, unsigned port, unsigned wanted)
{
    struct usb_device *device = xhci->port[port].device;
    unsigned now = link_of(xhci, port);

    if (wanted == LINK_DETECT && now == LINK_DISABLED && is_usb3(port)) {
        detect(xhci, port);
        if (device)
            note_change(xhci, port, PORT_CSC);
        return;
    }
    if (!device || !(xhci->portsc[port] & PORT_ENABLED))
        return;
    if (wanted == LINK_U3 && now == LINK_U0) {
        set_link(xhci, port, LINK_U3);
        usb_suspend(device, true);
    } else if (wanted == LINK_RESUME && now == LINK_U3 && !is_usb3(port)) {
        set_link(xhci, port, LINK_RESUME);
    } else if (wanted == LINK_U0 && (now == LINK_U3 || now == LINK_RESUME)) {
        set_link(xhci, port, LINK_U0);
        usb_suspend(device, false);
        note_change(xhci, port, PORT_PLC);
        mark_port(xhci, port);
    }
}

static void write_portsc(struct xhci *xhci, unsigned port, uint32_t value)
{
    xhci->portsc[port] &= ~(value & PORT_CHANGES) & ~PORT_WAKE;
    xhci->portsc[port] |= value & PORT_WAKE;
    if (value & (PORT_RESET | (is_usb3(port) ? PORT_WARM_RESET : 0)))
        reset_port(xhci, port, value & PORT_WARM_RESET);
    else if ((value & PORT_ENABLED) && (xhci->portsc[port] & PORT_ENABLED))
        disable_port(xhci, port);
    else if (value & PORT_WRITE_LINK)
        write_link(xhci, port, (value & PORT_LINK) >> PORT_LINK_SHIFT);
}

static uint32_t read_port(const struct xhci *xhci, unsigned offset)
{
    unsigned port = offset / PORT_BYTES;

    switch (offset % PORT_BYTES) {
    case PORTSC:
        return xhci->portsc[port];
    case PORTPMSC:
        return xhci->portpmsc[port];
    }
    return 0;
}

static void write_port(struct xhci *xhci, unsigned offset, uint32_t value)
{
    unsigned port = offset / PORT_BYTES;

    if (offset % PORT_BYTES == PORTSC)
        write_portsc(xhci, port, value);
    else if (offset % PORT_BYTES == PORTPMSC && is_usb3(port))
        xhci->portpmsc[port] = value & PORT_TIMEOUTS;
}

/* -- Resets -- */

static void controller_reset(struct xhci *xhci)
{
    timer_cancel(&xhci->again);
    xhci->command = xhci->notifications = xhci->config = 0;
    xhci->status = STS_HALTED;
    xhci->command_ring = xhci->contexts = 0;
    xhci->command_cycle = xhci->command_running = false;
    memset(xhci->slot, 0, sizeof xhci->slot);
    memset(xhci->portpmsc, 0, sizeof xhci->portpmsc);
    memset(xhci->port_event, 0, sizeof xhci->port_event);
    xhci_interrupters_reset(xhci);
    xhci_update_irq(xhci);
    for (unsigned i = 0; i < XHCI_PORTS; i++) {
        if (xhci->port[i].device)
            usb_bus_reset(xhci->port[i].device);
        detect(xhci, i);
        if (xhci->port[i].device)
            note_change(xhci, i, PORT_CSC);
    }
}

/* -- Operational registers -- */

static void go_on(void *opaque)
{
    struct xhci *xhci = opaque;

    xhci_run_commands(xhci);
    xhci_serve(xhci);
}

static void start(struct xhci *xhci)
{
    xhci->status &= ~STS_HALTED;
    for (unsigned i = 0; i < XHCI_PORTS; i++)
        if (xhci->port_event[i])
            xhci_port_event(xhci, i);
    xhci_serve(xhci);
}

static void stop(struct xhci *xhci)
{
    xhci->status |= STS_HALTED;
    xhci->command_running = false;
}

static void write_command(struct xhci *xhci, uint32_t value)
{
    if (value & CMD_RESET) {
        controller_reset(xhci);
        return;
    }
    if (value & CMD_RESTORE)
        xhci->status |= STS_RESTORE;
    if (value & CMD_WRAP)
        log_guest("xhci: events of the frame counter's wrap are not built");
    xhci->command = value & CMD_KEPT;
    xhci_update_irq(xhci);
    if ((value & CMD_RUN) && !xhci_running(xhci) && !(xhci->status & STS_HC_ERROR))
        start(xhci);
    else if (!(value & CMD_RUN) && xhci_running(xhci))
        stop(xhci);
}

static void write_command_ring(struct xhci *xhci, uint32_t value)
{
    if (!xhci->command_running) {
        xhci->command_ring = (xhci->command_ring & ~UINT64_C(0xffffffff)) | (value & RING_POINTER);
        xhci->command_cycle = value & CRCR_CYCLE;
    } else if (value & (CRCR_STOP | CRCR_ABORT)) {
        struct xhci_trb event = {.parameter = xhci->command_ring,
                                 .status = (uint32_t)CODE_RING_STOPPED << 24,
                                 .control = TRB_COMMAND_EVENT << 10};
        xhci->command_running = false;
        xhci_post_event(xhci, 0, &event);
    }
}

static uint32_t read_operational(const struct xhci *xhci, unsigned offset)
{
    switch (offset) {
    case USBCMD:
        return xhci->command;
    case USBSTS:
        return xhci->status;
    case PAGESIZE:
        return 1; /* 4 KiB */
    case DNCTRL:
        return xhci->notifications;
    case CRCR: /* the pointer reads as zeros */
        return xhci->command_running ? CRCR_RUNNING : 0;
    case DCBAAP:
        return (uint32_t)xhci->contexts;
    case DCBAAP + 4:
        return (uint32_t)(xhci->contexts >> 32);
    case CONFIG:
        return xhci->config;
    }
    return 0;
}

static void write_operational(struct xhci *xhci, unsigned offset, uint32_t value)
{
    switch (offset) {
    case USBCMD:
        write_command(xhci, value);
        break;
    case USBSTS:
        xhci->status &= ~(value & STS_CLEARS);
        break;
    case DNCTRL:
        xhci->notifications = value & 0xffff;
        break;
    case CRCR:
        write_command_ring(xhci, value);
        break;
    case CRCR + 4:
        if (!xhci->command_running)
            xhci->command_ring = (xhci->command_ring & 0xffffffff) | (uint64_t)value << 32;
        break;
    case DCBAAP:
        xhci->contexts = (xhci->contexts & ~UINT64_C(0xffffffff)) | (value & RING_POINTER);
        break;
    case DCBAAP + 4:
        xhci->contexts = (xhci->contexts & 0xffffffff) | (uint64_t)value << 32;
        break;
    case CONFIG:
        xhci->config = value & 0xff;
        break;
    case PAGESIZE:
        break; /* read-only */
    default:
        log_guest("xhci: write of %#x to operational register %#x, which is reserved", value,
                  offset);
    }
}

/* -- Capability registers -- */

static uint32_t read_capability(unsigned offset)
{
    switch (offset) {
    case CAPLENGTH:
        return OPERATIONAL | VERSION << 16;
    case HCSPARAMS1:
        return XHCI_SLOTS | XHCI_INTERRUPTERS << 8 | XHCI_PORTS << 24;
    case HCSPARAMS2:
        return ERST_MAX << 4;
    case HCCPARAMS1:
        return AC64 | NSS | PAE | PROTOCOLS / 4 << 16;
    case DBOFF:
        return DOORBELLS;
    case RTSOFF:
        return RUNTIME;
    }
    return 0;
}

/* Which ports speak what (7.2). */
static uint32_t read_protocol(unsigned offset)
{
    enum { ID = 2, NAME = 0x20425355 /* "USB " */, NEXT = 4 /* dwords */ };
    static const uint32_t protocols[] = {
        ID | NEXT << 8 | 0x0200u << 16,
        NAME,
        1 | XHCI_PORTS_2 << 8,
        0,
        ID | 0x0300u << 16,
        NAME,
        (XHCI_PORTS_2 + 1) | XHCI_PORTS_3 << 8,
        0,
    };

    return offset / 4 < sizeof protocols / 4 ? protocols[offset / 4] : 0;
}

/* -- Runtime registers and doorbells -- */

static uint32_t read_runtime(struct xhci *xhci, unsigned offset)
{
    if (offset == RUNTIME) /* microframes of 125 us */
        return xhci_running(xhci) ? clock_now(xhci->clock) / 125000 & 0x3fff : 0;
    if (offset < INTERRUPTERS)
        return 0;
    unsigned number = (offset - INTERRUPTERS) / INTERRUPTER;
    if (number >= XHCI_INTERRUPTERS)
        return 0;
    return xhci_interrupter_read(xhci, number, (offset - INTERRUPTERS) % INTERRUPTER);
}

static void write_runtime(struct xhci *xhci, unsigned offset, uint32_t value)
{
    unsigned number = (offset - INTERRUPTERS) / INTERRUPTER;

    if (offset >= INTERRUPTERS && number < XHCI_INTERRUPTERS)
        xhci_interrupter_write(xhci, number, (offset - INTERRUPTERS) % INTERRUPTER, value);
}

static void ring_doorbell(struct xhci *xhci, unsigned slot, unsigned target)
{
    if (!xhci_running(xhci))
        return;
    if (slot == 0) {
        xhci->command_running = true;
        xhci_run_commands(xhci);
        return;
    }
    if (slot > XHCI_SLOTS || !xhci->slot[slot].enabled || target == 0 || target >= XHCI_ENDPOINTS) {
        log_guest("xhci: doorbell %u rung for endpoint %u, which is not there", slot, target);
        return;
    }
    struct xhci_endpoint *ep = &xhci->slot[slot].endpoint[target];
    if (ep->state == EP_STOPPED) {
        ep->state = EP_RUNNING;
        xhci_write_endpoint(xhci, slot, target);
    }
    xhci_mark(xhci, slot, target);
    xhci_serve(xhci);
}

/* -- All registers -- */

static uint32_t read_dword(struct xhci *xhci, unsigned offset)
{
    if (offset >= DOORBELLS)
        return 0;
    if (offset >= RUNTIME)
        return read_runtime(xhci, offset);
    if (offset >= PROTOCOLS)
        return read_protocol(offset - PROTOCOLS);
    if (offset >= PORTS)
        return offset < PORTS + XHCI_PORTS * PORT_BYTES ? read_port(xhci, offset - PORTS) : 0;
    if (offset >= OPERATIONAL)
        return read_operational(xhci, offset - OPERATIONAL);
    return read_capability(offset);
}

static void write_dword(struct xhci *xhci, unsigned offset, uint32_t value)
{
    if (offset >= DOORBELLS)
        ring_doorbell(xhci, (offset - DOORBELLS) / 4, value & 0xff);
    else if (offset >= RUNTIME)
        write_runtime(xhci, offset, value);
    else if (offset >= PORTS && offset < PORTS + XHCI_PORTS * PORT_BYTES)
        write_port(xhci, offset - PORTS, value);
    else if (offset >= OPERATIONAL && offset < PORTS)
        write_operational(xhci, offset - OPERATIONAL, value);
    else
        log_guest("xhci: write of %#x to register %#x, which is read-only", value, offset);
}

static uint64_t xhci_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = read_dword(opaque, (unsigned)offset);

    if (size == 8)
        value |= (uint64_t)read_dword(opaque, (unsigned)offset + 4) << 32;
    return value;
}

static void xhci_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    write_dword(opaque, (unsigned)offset, (uint32_t)value);
    if (size == 8)
        write_dword(opaque, (unsigned)offset + 4, (uint32_t)(value >> 32));
}

static const struct access_ops xhci_access = {xhci_read, xhci_write, 4, 8};

/* -- Life -- */

static void xhci_reset(struct device *device)
{
    struct xhci *xhci = (struct xhci *)device;

    controller_reset(xhci);
    pci_device_reset(&xhci->pci);
}

static bool possible_slot(const struct xhci_slot *slot)
{
    bool ok = slot->state <= SLOT_CONFIGURED && slot->port <= XHCI_PORTS &&
              slot->interrupter < XHCI_INTERRUPTERS && !(slot->pending & 1) && !(slot->blocked & 1);

    for (unsigned i = 0; i < XHCI_ENDPOINTS; i++)
        ok &= slot->endpoint[i].state <= EP_ERROR && slot->endpoint[i].type <= EP_INTERRUPT_IN;
    return ok;
}

static bool possible_interrupter(const struct xhci_interrupter *interrupter)
{
    bool ok = interrupter->segments <= XHCI_SEGMENTS;

    if (!interrupter->started || !ok)
        return ok;
    for (unsigned i = 0; i < interrupter->segments; i++)
        ok &= interrupter->size[i] > 0 && interrupter->size[i] <= 0xffff;
    return ok && interrupter->segment < interrupter->segments &&
           interrupter->index < interrupter->size[interrupter->segment];
}

static bool xhci_post_load(struct device *device, struct error *error)
{
    struct xhci *xhci = (struct xhci *)device;
    bool ok = true;

    if (!pci_device_post_load(&xhci->pci, error))
        return false;
    for (unsigned i = 0; i <= XHCI_SLOTS; i++)
        ok &= possible_slot(&xhci->slot[i]);
    for (unsigned i = 0; i < XHCI_INTERRUPTERS; i++)
        ok &= possible_interrupter(&xhci->interrupter[i]);
    if (!ok)
        return error_set(error, "The saved state of USB controller '%s' is damaged", device->id);
    timer_rearm(&xhci->again);
    xhci_update_irq(xhci);
    return true;
}

static void xhci_destroy(struct device *device)
{
    timer_cancel(&((struct xhci *)device)->again);
    free(device);
}

static const struct device_ops xhci_ops = {
    .name = "xhci",
    .fields = xhci_fields,
    .version = 1,
    .reset = xhci_reset,
    .post_load = xhci_post_load,
    .destroy = xhci_destroy,
};

struct usb_bus *xhci_new(struct device_list *list, struct pci_bus *pci, uint8_t devfn,
                         struct clock *clock, const char *id)
{
    /* The numbers by which drivers know a virtual controller without quirks. */
    static const struct pci_identity identity = {
        .vendor = 0x1b36,
        .device = 0x000d,
        .revision = 1,
        .class_code = 0x0c03,
        .prog_if = 0x30, /* xHCI */
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
        .interrupt_pin = 1,
    };
    struct xhci *xhci = alloc_zeroed(sizeof *xhci);

    device_add(list, &xhci->pci.device, &xhci_ops, id);
    pci_device_init(&xhci->pci, pci, devfn, &identity);
    xhci->pci.config[CONFIG_SBRN] = 0x30;
    xhci->pci.config[CONFIG_FLADJ] = 0x20;
    pci_add_mmio_bar(&xhci->pci, 0, BAR_SIZE, &xhci_access, xhci);
    pci_add_msi(&xhci->pci, CONFIG_MSI, XHCI_INTERRUPTERS, PCI_MSI_64BIT);
    pci_add_msix(&xhci->pci, &xhci->msix, CONFIG_MSIX, XHCI_INTERRUPTERS, 1);
    xhci->clock = clock;
    timer_init(&xhci->again, clock, go_on, xhci);
    for (unsigned i = 0; i < XHCI_PORTS; i++)
        xhci->port[i] = (struct usb_port){
            .speeds = is_usb3(i) ? USB_SPEED_BIT(USB_SUPER)
                                 : USB_SPEED_BIT(USB_LOW) | USB_SPEED_BIT(USB_FULL) |
                                       USB_SPEED_BIT(USB_HIGH),
            .number = i,
            .controller = xhci,
            .changed = port_changed,
            .ready = port_ready,
            .wake = port_wake,
        };
    xhci->bus = (struct usb_bus){xhci->port, XHCI_PORTS};
    controller_reset(xhci);
    return &xhci->bus;
}
