/*
 * xHCI: transfer rings (4.9.2, 4.10, 4.11).
 *
 * A transfer descriptor is a run of TRBs joined by chain bits. It is gathered whole, its data go
 * through one buffer to or from the device, and the events that its TRBs ask for follow. When the
 * device has nothing to say (NAK), the endpoint remembers how many bytes have passed, and the same
 * descriptor is gathered anew when the device calls usb_ready().
 *
 * Not modelled: isochronous endpoints (no device has one), streams.
 */
#include "hw/usb/xhci_internal.h"

#define LINKS_MAX       64   /* followed within one descriptor */
#define SERVE_TRBS      4096 /* done at one time; the rest follows when others had a turn */
#define SERVE_BYTES     8388608
#define TRB_DATA_MAX    65536u
#define TARGET_OF(trb)  (((trb)->status >> 22) % XHCI_INTERRUPTERS)
#define EVENT_LENGTH(n) ((n)&0xffffff)

/* The descriptor at hand; its TRBs are in xhci->td. */
struct td {
    unsigned slot, endpoint; /* device context index */
    unsigned trbs;
    uint32_t total; /* bytes */
    uint64_t next;  /* where the next one begins */
    bool next_cycle;
};

struct budget {
    int64_t trbs, bytes;
};

enum outcome { IDLE, WAITS_FOR_DEVICE, WAITS_FOR_ROOM, DONE, FAILED };

/* -- Gathering -- */

static bool carries_data(const struct xhci_trb *trb)
{
    unsigned type = TRB_TYPE(trb->control);

    return type == TRB_NORMAL || type == TRB_DATA;
}

/* False: no whole descriptor is there. */
static bool gather(struct xhci *xhci, struct td *td)
{
    const struct xhci_endpoint *ep = &xhci->slot[td->slot].endpoint[td->endpoint];
    bool chained = true;

    td->trbs = 0;
    td->total = 0;
    td->next = ep->dequeue;
    td->next_cycle = ep->cycle;
    for (unsigned links = 0; chained;) {
        struct xhci_trb trb;
        if (links > LINKS_MAX || td->trbs == XHCI_TD_TRBS) {
            xhci_host_error(xhci, "a transfer ring does not end");
            return false;
        }
        if (!xhci_read_trb(xhci, td->next, &trb)) {
            xhci_host_error(xhci, "a transfer ring is no memory");
            return false;
        }
        if ((trb.control & TRB_CYCLE) != td->next_cycle)
            return false;
        if (TRB_TYPE(trb.control) == TRB_LINK) {
            td->next = trb.parameter & ~UINT64_C(0xf);
            td->next_cycle ^= (trb.control & TRB_TOGGLE) != 0;
            links++;
            continue;
        }
        td->next += XHCI_TRB_BYTES;
        chained = trb.control & TRB_CHAIN;
        if (carries_data(&trb))
            td->total += TRB_LENGTH(trb.status);
        xhci->td[td->trbs++] = trb;
    }
    return true;
}

/* -- Data -- */

/* Moves `count` bytes between the bounce buffer and the descriptor's data from `offset` on. */
static bool move(struct xhci *xhci, const struct td *td, uint32_t offset, uint32_t count,
                 bool to_guest)
{
    uint8_t *at = xhci->bounce;

    for (unsigned i = 0; i < td->trbs && count; i++) {
        const struct xhci_trb *trb = &xhci->td[i];
        uint32_t length = carries_data(trb) ? TRB_LENGTH(trb->status) : 0;
        if (offset >= length) {
            offset -= length;
            continue;
        }
        uint32_t part = length - offset < count ? length - offset : count;
        if (trb->control & TRB_IDT) { /* up to 8 bytes, to the device */
            for (uint32_t j = 0; j < part; j++)
                at[j] = offset + j < 8 ? (uint8_t)(trb->parameter >> (8 * (offset + j))) : 0;
        } else if (!(to_guest ? pci_dma_write(&xhci->pci, trb->parameter + offset, at, part)
                              : pci_dma_read(&xhci->pci, trb->parameter + offset, at, part))) {
            return false;
        }
        at += part;
        count -= part;
        offset = 0;
    }
    return true;
}

/* -- Events -- */

static void post(struct xhci *xhci, const struct td *td, const struct xhci_trb *trb,
                 enum xhci_code code, uint32_t length)
{
    bool event_data = TRB_TYPE(trb->control) == TRB_EVENT_DATA_TYPE;
    struct xhci_trb event = {
        .parameter = event_data ? trb->parameter : trb->at,
        .status = (uint32_t)code << 24 | EVENT_LENGTH(length),
        .control = td->slot << 24 | td->endpoint << 16 | TRB_TRANSFER_EVENT << 10 |
                   (event_data ? TRB_EVENT_DATA : 0),
    };

    xhci_post_event(xhci, TARGET_OF(trb), &event);
}

static bool room_for_events(struct xhci *xhci, const struct td *td)
{
    unsigned wanted[XHCI_INTERRUPTERS] = {0};

    for (unsigned i = 0; i < td->trbs; i++) /* the last one, perhaps an error */
        if ((xhci->td[i].control & (TRB_IOC | TRB_ISP)) || i + 1 == td->trbs)
            wanted[TARGET_OF(&xhci->td[i])]++;
    for (unsigned i = 0; i < XHCI_INTERRUPTERS; i++)
        if (wanted[i] && !xhci_event_room(xhci, i, wanted[i]))
            return false;
    return true;
}

/* The TRB in which byte `offset` lies, and how much of its data is left from there on. */
static const struct xhci_trb *trb_at(const struct xhci *xhci, const struct td *td, uint32_t offset,
                                     uint32_t *left)
{
    for (unsigned i = 0; i < td->trbs; i++) {
        const struct xhci_trb *trb = &xhci->td[i];
        uint32_t length = carries_data(trb) ? TRB_LENGTH(trb->status) : 0;
        *left = length - offset;
        if (offset < length)
            return trb;
        offset -= length;
    }
    *left = 0;
    return &xhci->td[td->trbs - 1];
}

/* The events of a descriptor of which `actual` bytes have passed (4.10.1.1, 4.11.5.2). */
static void post_events(struct xhci *xhci, const struct td *td, uint32_t actual)
{
    uint32_t left = actual, since = 0; /* bytes since the last event of the guest's own */
    bool is_short = false, told = false;

    for (unsigned i = 0; i < td->trbs; i++) {
        const struct xhci_trb *trb = &xhci->td[i];
        uint32_t length = carries_data(trb) ? TRB_LENGTH(trb->status) : 0;
        uint32_t moved = length < left ? length : left;
        bool wanted = trb->control & TRB_IOC;
        left -= moved;
        since += moved;
        is_short |= moved < length;
        if (TRB_TYPE(trb->control) == TRB_EVENT_DATA_TYPE) {
            if (wanted)
                post(xhci, td, trb, is_short ? CODE_SHORT_PACKET : CODE_SUCCESS, since);
            since = 0;
        } else if ((wanted || (is_short && (trb->control & TRB_ISP))) && !told) {
            post(xhci, td, trb, is_short ? CODE_SHORT_PACKET : CODE_SUCCESS, length - moved);
            told = is_short; /* one event tells that the packet was short */
        }
    }
}

static enum outcome fail(struct xhci *xhci, const struct td *td, enum xhci_code code)
{
    struct xhci_endpoint *ep = &xhci->slot[td->slot].endpoint[td->endpoint];
    uint32_t left;
    const struct xhci_trb *trb = trb_at(xhci, td, ep->done, &left);

    ep->state = code == CODE_TRB_ERROR ? EP_ERROR : EP_HALTED;
    xhci_write_endpoint(xhci, td->slot, td->endpoint);
    post(xhci, td, trb, code, left);
    return FAILED;
}

void xhci_report_stopped(struct xhci *xhci, unsigned slot, unsigned endpoint)
{
    struct td td = {.slot = slot, .endpoint = endpoint};
    uint32_t left;

    if (!gather(xhci, &td))
        return;
    const struct xhci_trb *trb = trb_at(xhci, &td, xhci->slot[slot].endpoint[endpoint].done, &left);
    post(xhci, &td, trb, CODE_STOPPED, left);
}

/* -- Transfers -- */

/* Whether the descriptor is one that the endpoint can have; then what goes over the wire. */
static bool token_of(const struct xhci *xhci, const struct td *td, enum usb_token *token)
{
    const struct xhci_endpoint *ep = &xhci->slot[td->slot].endpoint[td->endpoint];
    const struct xhci_trb *trb = &xhci->td[0];
    unsigned type = TRB_TYPE(trb->control);
    bool in = trb->control & TRB_DIRECTION_IN;

    for (unsigned i = 0; i < td->trbs; i++) {
        unsigned other = TRB_TYPE(xhci->td[i].control);
        if (TRB_LENGTH(xhci->td[i].status) > TRB_DATA_MAX && carries_data(&xhci->td[i]))
            return false;
        if (i > 0 && other != TRB_NORMAL && other != TRB_EVENT_DATA_TYPE && other != TRB_NOOP)
            return false;
    }
    if (ep->type == EP_CONTROL) {
        *token = type == TRB_SETUP ? USB_SETUP : in ? USB_IN : USB_OUT;
        return type == TRB_DATA || type == TRB_STATUS ||
               (type == TRB_SETUP && (trb->control & TRB_IDT) && TRB_LENGTH(trb->status) == 8);
    }
    *token = ep->type > EP_CONTROL ? USB_IN : USB_OUT;
    return type == TRB_NORMAL && ep->type != EP_ISOCH_IN && ep->type != EP_ISOCH_OUT;
}

/* Passes data until the descriptor or the device's transfer ends; *memory is false if the guest's
 * buffers are none. */
static enum usb_result pass(struct xhci *xhci, const struct td *td, enum usb_token token,
                            bool *memory)
{
    struct xhci_slot *slot = &xhci->slot[td->slot];
    struct xhci_endpoint *ep = &slot->endpoint[td->endpoint];
    struct usb_device *device = xhci_device(xhci, slot->port);
    struct usb_transfer transfer = {
        .token = token, .endpoint = (uint8_t)(td->endpoint / 2), .data = xhci->bounce};

    *memory = true;
    if (!device)
        return USB_LOST;
    if (token == USB_SETUP) {
        pci_put(xhci->bounce, 0, (uint32_t)xhci->td[0].parameter, 4);
        pci_put(xhci->bounce, 4, (uint32_t)(xhci->td[0].parameter >> 32), 4);
        transfer.length = USB_SETUP_BYTES;
        return usb_submit(device, &transfer);
    }
    do {
        uint32_t left = td->total - ep->done;
        transfer.length = left < XHCI_BOUNCE ? left : XHCI_BOUNCE;
        if (token == USB_OUT && !(*memory = move(xhci, td, ep->done, transfer.length, false)))
            return USB_LOST;
        enum usb_result result = usb_submit(device, &transfer);
        if (token == USB_IN && !(*memory = move(xhci, td, ep->done, transfer.actual, true)))
            return USB_LOST;
        ep->done += transfer.actual;
        if (result != USB_OK)
            return result;
        if (transfer.short_packet)
            break;
        if (!transfer.actual && transfer.length)
            return USB_NAK;
    } while (ep->done < td->total);
    return USB_OK;
}

static enum outcome run_td(struct xhci *xhci, const struct td *td)
{
    static const enum xhci_code codes[] = {
        [USB_STALL] = CODE_STALL, [USB_BABBLE] = CODE_BABBLE, [USB_LOST] = CODE_TRANSACTION_ERROR};
    struct xhci_endpoint *ep = &xhci->slot[td->slot].endpoint[td->endpoint];
    unsigned type = TRB_TYPE(xhci->td[0].control);
    bool moves = type != TRB_NOOP && type != TRB_EVENT_DATA_TYPE, memory;
    enum usb_token token = USB_OUT;

    if (moves && !token_of(xhci, td, &token)) {
        log_guest("xhci: a transfer descriptor of type %u on an endpoint of type %u", type,
                  ep->type);
        return fail(xhci, td, CODE_TRB_ERROR);
    }
    if (ep->done > td->total) /* the guest changed it under way */
        ep->done = td->total;
    if (moves) {
        enum usb_result result = pass(xhci, td, token, &memory);
        if (!memory) {
            xhci_host_error(xhci, "a buffer is no memory");
            return FAILED;
        }
        if (result == USB_NAK)
            return WAITS_FOR_DEVICE;
        if (result != USB_OK)
            return fail(xhci, td, codes[result]);
    }
    uint32_t actual = ep->done;
    ep->dequeue = td->next;
    ep->cycle = td->next_cycle;
    ep->done = 0;
    post_events(xhci, td, actual);
    return DONE;
}

static enum outcome run_endpoint(struct xhci *xhci, unsigned slot, unsigned endpoint,
                                 struct budget *budget)
{
    const struct xhci_endpoint *ep = &xhci->slot[slot].endpoint[endpoint];
    struct td td = {.slot = slot, .endpoint = endpoint};

    budget->trbs--;
    if (ep->state != EP_RUNNING || !gather(xhci, &td))
        return IDLE;
    if (!room_for_events(xhci, &td))
        return WAITS_FOR_ROOM;
    budget->trbs -= td.trbs;
    budget->bytes -= td.total;
    return run_td(xhci, &td);
}

/* -- All endpoints -- */

void xhci_mark(struct xhci *xhci, unsigned slot, unsigned endpoint)
{
    xhci->slot[slot].pending |= 1u << endpoint;
}

static bool serve_slot(struct xhci *xhci, unsigned number, struct budget *budget)
{
    struct xhci_slot *slot = &xhci->slot[number];
    bool any = false;

    while (slot->pending && xhci_running(xhci)) {
        unsigned endpoint = (unsigned)__builtin_ctz(slot->pending);
        slot->pending &= slot->pending - 1;
        any = true;
        enum outcome outcome;
        do
            outcome = run_endpoint(xhci, number, endpoint, budget);
        while (outcome == DONE && budget->trbs > 0 && budget->bytes > 0);
        if (outcome == WAITS_FOR_ROOM)
            slot->blocked |= 1u << endpoint;
        if (outcome == DONE)
            xhci_mark(xhci, number, endpoint);
        if (budget->trbs <= 0 || budget->bytes <= 0)
            break;
    }
    return any;
}

void xhci_serve(struct xhci *xhci)
{
    struct budget budget = {SERVE_TRBS, SERVE_BYTES};
    bool any = true;

    if (xhci->serving)
        return; /* a device called usb_ready from within a transfer: the loop below sees it */
    xhci->serving = true;
    while (any && xhci_running(xhci)) {
        any = false;
        for (unsigned i = 1; i <= XHCI_SLOTS; i++)
            any |= serve_slot(xhci, i, &budget);
        if (any && (budget.trbs <= 0 || budget.bytes <= 0)) {
            timer_set(&xhci->again, clock_now(xhci->clock));
            break;
        }
    }
    xhci->serving = false;
}

void xhci_serve_blocked(struct xhci *xhci)
{
    for (unsigned i = 1; i <= XHCI_SLOTS; i++) {
        xhci->slot[i].pending |= xhci->slot[i].blocked;
        xhci->slot[i].blocked = 0;
    }
    xhci_serve(xhci);
}
