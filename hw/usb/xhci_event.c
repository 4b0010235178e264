/*
 * xHCI: interrupter registers (5.5.2), event rings (4.9.4), interrupts (4.17).
 *
 * An event is never lost: who produces one asks for room first, and waits until the guest moves its
 * dequeue pointer. Port events that find no room are kept as a bit.
 *
 * Not modelled: interrupt moderation. The interval is kept; interrupts come as soon as the guest
 * has acknowledged the last one, which bounds their rate.
 */
#include "hw/usb/xhci_internal.h"

#include <string.h>

/* Registers of an interrupter. */
enum {
    IMAN = 0x00,
    IMOD = 0x04,
    ERSTSZ = 0x08,
    ERSTBA = 0x10,
    ERDP = 0x18,
};
#define IMAN_PENDING 1u
#define IMAN_ENABLE  2u
#define IMOD_DEFAULT 4000u /* 1 ms */
#define ERDP_BUSY    8u
#define ERDP_SEGMENT 7u
#define COMMAND_INTE 4u
#define STATUS_EINT  8u
#define SEGMENT_MIN  16u
#define SEGMENT_MAX  4096u
#define ENTRY_BYTES  16

const struct field xhci_interrupter_fields[] = {
    FIELD(struct xhci_interrupter, management, 1),
    FIELD(struct xhci_interrupter, moderation, 1),
    FIELD(struct xhci_interrupter, table_size, 1),
    FIELD(struct xhci_interrupter, table, 1),
    FIELD(struct xhci_interrupter, dequeue, 1),
    FIELD(struct xhci_interrupter, started, 1),
    FIELD(struct xhci_interrupter, cycle, 1),
    FIELD(struct xhci_interrupter, segments, 1),
    FIELD(struct xhci_interrupter, segment, 1),
    FIELD(struct xhci_interrupter, index, 1),
    FIELD_ARRAY(struct xhci_interrupter, base, 1),
    FIELD_ARRAY(struct xhci_interrupter, size, 1),
    FIELD_END,
};

/* -- Interrupts -- */

/* The pin follows the pending bits. */
void xhci_update_irq(struct xhci *xhci)
{
    bool level = false;

    for (unsigned i = 0; i < XHCI_INTERRUPTERS; i++)
        level |= (xhci->interrupter[i].management & (IMAN_PENDING | IMAN_ENABLE)) ==
                 (IMAN_PENDING | IMAN_ENABLE);
    pci_set_irq(&xhci->pci, level && (xhci->command & COMMAND_INTE));
}

/* Events wait: tells so unless the guest is still busy with the last interrupt. */
static void interrupt(struct xhci *xhci, unsigned number)
{
    struct xhci_interrupter *interrupter = &xhci->interrupter[number];

    if (interrupter->dequeue & ERDP_BUSY)
        return;
    interrupter->dequeue |= ERDP_BUSY;
    interrupter->management |= IMAN_PENDING;
    xhci->status |= STATUS_EINT;
    if ((interrupter->management & IMAN_ENABLE) && (xhci->command & COMMAND_INTE) &&
        pci_notify(&xhci->pci, number))
        interrupter->management &= ~IMAN_PENDING; /* a message clears it */
    xhci_update_irq(xhci);
}

/* -- Rings -- */

static bool start_ring(struct xhci *xhci, struct xhci_interrupter *interrupter)
{
    if (interrupter->started)
        return true;
    if (!interrupter->table_size || interrupter->table_size > XHCI_SEGMENTS || !interrupter->table)
        return false;
    for (unsigned i = 0; i < interrupter->table_size; i++) {
        uint8_t entry[ENTRY_BYTES];
        if (!pci_dma_read(&xhci->pci, interrupter->table + ENTRY_BYTES * i, entry, sizeof entry))
            return false;
        memcpy(&interrupter->base[i], entry, 8);
        interrupter->base[i] &= ~UINT64_C(0x3f);
        interrupter->size[i] = pci_get(entry, 8, 4) & 0xffff;
        if (interrupter->size[i] < SEGMENT_MIN || interrupter->size[i] > SEGMENT_MAX)
            return false;
    }
    interrupter->segments = (uint8_t)interrupter->table_size;
    interrupter->segment = 0;
    interrupter->index = 0;
    interrupter->cycle = true;
    interrupter->started = true;
    return true;
}

/* Entries that the guest has not taken yet. An impossible dequeue pointer counts as a full ring. */
static uint32_t waiting(const struct xhci_interrupter *interrupter)
{
    uint64_t dequeue = interrupter->dequeue & ~UINT64_C(0xf);
    uint32_t total = 0, produced = 0, consumed = UINT32_MAX;

    for (unsigned i = 0; i < interrupter->segments; i++) {
        uint64_t base = interrupter->base[i], bytes = (uint64_t)interrupter->size[i] * ENTRY_BYTES;
        if (i == interrupter->segment)
            produced = total + interrupter->index;
        if (dequeue >= base && dequeue - base < bytes)
            consumed = total + (uint32_t)((dequeue - base) / ENTRY_BYTES);
        total += interrupter->size[i];
    }
    if (consumed == UINT32_MAX)
        return total;
    return produced >= consumed ? produced - consumed : produced + total - consumed;
}

static uint32_t capacity(const struct xhci_interrupter *interrupter)
{
    uint32_t total = 0;

    for (unsigned i = 0; i < interrupter->segments; i++)
        total += interrupter->size[i];
    return total - 1; /* a full ring must differ from an empty one */
}

bool xhci_event_room(struct xhci *xhci, unsigned number, unsigned count)
{
    struct xhci_interrupter *interrupter = &xhci->interrupter[number];

    if (!start_ring(xhci, interrupter))
        return false;
    uint32_t most = capacity(interrupter);
    return waiting(interrupter) + (count < most ? count : most) <= most;
}

void xhci_post_event(struct xhci *xhci, unsigned number, const struct xhci_trb *event)
{
    struct xhci_interrupter *interrupter = &xhci->interrupter[number];
    uint8_t bytes[XHCI_TRB_BYTES];

    if (!xhci_event_room(xhci, number, 1)) {
        log_guest("xhci: an event finds no room in event ring %u", number);
        return;
    }
    uint64_t at =
        interrupter->base[interrupter->segment] + (uint64_t)interrupter->index * ENTRY_BYTES;
    pci_put(bytes, 0, (uint32_t)event->parameter, 4);
    pci_put(bytes, 4, (uint32_t)(event->parameter >> 32), 4);
    pci_put(bytes, 8, event->status, 4);
    pci_put(bytes, 12, (event->control & ~TRB_CYCLE) | interrupter->cycle, 4);
    /* The cycle bit makes the entry valid: it comes last. */
    pci_dma_write(&xhci->pci, at, bytes, 12);
    pci_dma_write(&xhci->pci, at + 12, bytes + 12, 4);
    if (++interrupter->index == interrupter->size[interrupter->segment]) {
        interrupter->index = 0;
        if (++interrupter->segment == interrupter->segments) {
            interrupter->segment = 0;
            interrupter->cycle = !interrupter->cycle;
        }
    }
    interrupt(xhci, number);
}

void xhci_port_event(struct xhci *xhci, unsigned port)
{
    struct xhci_trb event = {.parameter = (uint64_t)(port + 1) << 24,
                             .status = (uint32_t)CODE_SUCCESS << 24,
                             .control = TRB_PORT_EVENT << 10};

    xhci->port_event[port] = !xhci_running(xhci) || !xhci_event_room(xhci, 0, 1);
    if (!xhci->port_event[port])
        xhci_post_event(xhci, 0, &event);
}

/* The guest has taken events: what waited for room goes on. */
static void room_appeared(struct xhci *xhci)
{
    for (unsigned i = 0; i < XHCI_PORTS; i++)
        if (xhci->port_event[i])
            xhci_port_event(xhci, i);
    xhci_run_commands(xhci);
    xhci_serve_blocked(xhci);
}

/* -- Registers -- */

uint32_t xhci_interrupter_read(struct xhci *xhci, unsigned number, unsigned reg)
{
    const struct xhci_interrupter *interrupter = &xhci->interrupter[number];

    switch (reg) {
    case IMAN:
        return interrupter->management;
    case IMOD:
        return interrupter->moderation;
    case ERSTSZ:
        return interrupter->table_size;
    case ERSTBA:
        return (uint32_t)interrupter->table;
    case ERSTBA + 4:
        return (uint32_t)(interrupter->table >> 32);
    case ERDP:
        return (uint32_t)interrupter->dequeue;
    case ERDP + 4:
        return (uint32_t)(interrupter->dequeue >> 32);
    }
    return 0;
}

static void write_dequeue_low(struct xhci *xhci, unsigned number, uint32_t value)
{
    struct xhci_interrupter *interrupter = &xhci->interrupter[number];
    uint32_t busy = (uint32_t)interrupter->dequeue & ~value & ERDP_BUSY;

    interrupter->dequeue =
        (interrupter->dequeue & ~UINT64_C(0xffffffff)) | (value & ~(0xfu & ~ERDP_SEGMENT)) | busy;
}

/* A 64-bit pointer is complete when its upper half has been written; guests without such addresses
 * may write the lower one alone. */
static void dequeue_written(struct xhci *xhci, unsigned number)
{
    struct xhci_interrupter *interrupter = &xhci->interrupter[number];

    if (!xhci_running(xhci) || !interrupter->started)
        return;
    if (waiting(interrupter))
        interrupt(xhci, number);
    room_appeared(xhci);
}

void xhci_interrupter_write(struct xhci *xhci, unsigned number, unsigned reg, uint32_t value)
{
    struct xhci_interrupter *interrupter = &xhci->interrupter[number];

    switch (reg) {
    case IMAN:
        interrupter->management =
            (value & IMAN_ENABLE) | (interrupter->management & ~value & IMAN_PENDING);
        xhci_update_irq(xhci);
        break;
    case IMOD:
        interrupter->moderation = value;
        break;
    case ERSTSZ:
        interrupter->table_size = value & 0xffff;
        break;
    case ERSTBA:
        interrupter->table =
            (interrupter->table & ~UINT64_C(0xffffffff)) | (value & ~UINT32_C(0x3f));
        interrupter->started = false;
        break;
    case ERSTBA + 4:
        interrupter->table = (interrupter->table & 0xffffffff) | (uint64_t)value << 32;
        interrupter->started = false;
        break;
    case ERDP:
        write_dequeue_low(xhci, number, value);
        dequeue_written(xhci, number);
        break;
    case ERDP + 4:
        interrupter->dequeue = (interrupter->dequeue & 0xffffffff) | (uint64_t)value << 32;
        dequeue_written(xhci, number);
        break;
    default:
        log_guest("xhci: write of %#x to interrupter register %#x, which is reserved", value, reg);
    }
}

void xhci_interrupters_reset(struct xhci *xhci)
{
    memset(xhci->interrupter, 0, sizeof xhci->interrupter);
    for (unsigned i = 0; i < XHCI_INTERRUPTERS; i++)
        xhci->interrupter[i].moderation = IMOD_DEFAULT;
}
