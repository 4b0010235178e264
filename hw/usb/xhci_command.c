/*
 * xHCI: the command ring (4.6), device slots, and the contexts by which the guest describes them
 * (6.2). Contexts have 32 bytes:
 *
 *     input context    control (drop flags, add flags) | slot | endpoint 0 | 1 OUT | 1 IN | ...
 *     device context                                     slot | endpoint 0 | 1 OUT | 1 IN | ...
 *
 * Not modelled: hubs (route strings), streams, virtualization and bandwidth commands.
 */
#include "hw/usb/xhci_internal.h"

#include <string.h>

#define CONTEXT_BYTES        32
#define CONTEXT_WORDS        8
#define COMMANDS_MAX         1024 /* run at one time */
#define LINKS_MAX            16   /* followed without a command between them */
#define COMMAND_RING_POINTER (~UINT64_C(0x3f))
#define SLOT_OF(control)     ((control) >> 24)
#define ENDPOINT_OF(control) ((control) >> 16 & 0x1f)
#define ADD_SLOT             1u
#define ADD_EP0              2u

/* Words of a slot context (6.2.2). */
#define SLOT_ROUTE(words)       ((words)[0] & 0xfffff)
#define SLOT_PORT(words)        ((words)[1] >> 16 & 0xff)
#define SLOT_INTERRUPTER(words) ((words)[2] >> 22)
#define SLOT_ENTRIES_SHIFT      27
#define SLOT_STATE_SHIFT        27
/* Words of an endpoint context (6.2.3). */
#define EP_TYPE(words)        ((words)[1] >> 3 & 7)
#define EP_MAX_STREAMS(words) ((words)[0] >> 10 & 0x1f)
#define EP_DEQUEUE_CYCLE      1u
#define EP_DEQUEUE_POINTER    (~UINT64_C(0xf))

/* -- Guest memory -- */

bool xhci_read_trb(struct xhci *xhci, uint64_t at, struct xhci_trb *trb)
{
    uint8_t bytes[XHCI_TRB_BYTES];

    if (!pci_dma_read(&xhci->pci, at, bytes, sizeof bytes))
        return false;
    trb->parameter = pci_get(bytes, 0, 4) | (uint64_t)pci_get(bytes, 4, 4) << 32;
    trb->status = pci_get(bytes, 8, 4);
    trb->control = pci_get(bytes, 12, 4);
    trb->at = at;
    return true;
}

static bool read_words(struct xhci *xhci, uint64_t at, uint32_t *words, unsigned count)
{
    uint8_t bytes[4 * CONTEXT_WORDS];

    if (!pci_dma_read(&xhci->pci, at, bytes, 4 * count))
        return false;
    for (unsigned i = 0; i < count; i++)
        words[i] = pci_get(bytes, 4 * i, 4);
    return true;
}

static bool write_words(struct xhci *xhci, uint64_t at, const uint32_t *words, unsigned count)
{
    uint8_t bytes[4 * CONTEXT_WORDS];

    for (unsigned i = 0; i < count; i++)
        pci_put(bytes, 4 * i, words[i], 4);
    return pci_dma_write(&xhci->pci, at, bytes, 4 * count);
}

/* Where the slot's device context is; 0 if the guest has none. */
static uint64_t device_context(struct xhci *xhci, unsigned slot)
{
    uint32_t pointer[2];

    if (!read_words(xhci, xhci->contexts + 8 * slot, pointer, 2))
        return 0;
    return (pointer[0] | (uint64_t)pointer[1] << 32) & COMMAND_RING_POINTER;
}

static uint64_t endpoint_context(struct xhci *xhci, unsigned slot, unsigned endpoint)
{
    uint64_t context = device_context(xhci, slot);

    return context ? context + CONTEXT_BYTES * endpoint : 0;
}

void xhci_write_endpoint(struct xhci *xhci, unsigned slot, unsigned endpoint)
{
    const struct xhci_endpoint *ep = &xhci->slot[slot].endpoint[endpoint];
    uint64_t context = endpoint_context(xhci, slot, endpoint);
    uint32_t words[4];

    if (!context || !read_words(xhci, context, words, 4))
        return;
    words[0] = (words[0] & ~7u) | ep->state;
    words[2] = (uint32_t)ep->dequeue | ep->cycle;
    words[3] = (uint32_t)(ep->dequeue >> 32);
    write_words(xhci, context, words, 4);
}

/* The parts of the slot's context that the controller keeps. */
static void write_slot(struct xhci *xhci, unsigned slot, uint8_t address)
{
    uint64_t context = device_context(xhci, slot);
    uint32_t words[4];

    if (!context || !read_words(xhci, context, words, 4))
        return;
    words[3] = (uint32_t)xhci->slot[slot].state << SLOT_STATE_SHIFT | address;
    write_words(xhci, context, words, 4);
}

static void write_slot_entries(struct xhci *xhci, unsigned slot, unsigned entries)
{
    uint64_t context = device_context(xhci, slot);
    uint32_t word;

    if (!context || !read_words(xhci, context, &word, 1))
        return;
    word = (word & ~(0x1fu << SLOT_ENTRIES_SHIFT)) | entries << SLOT_ENTRIES_SHIFT;
    write_words(xhci, context, &word, 1);
}

/* -- Endpoints -- */

static void disable_endpoint(struct xhci *xhci, unsigned slot, unsigned endpoint)
{
    xhci->slot[slot].endpoint[endpoint] = (struct xhci_endpoint){0};
    xhci->slot[slot].pending &= ~(1u << endpoint);
}

static void drop_endpoint(struct xhci *xhci, unsigned slot, unsigned endpoint)
{
    uint64_t context = endpoint_context(xhci, slot, endpoint);
    uint32_t word;

    disable_endpoint(xhci, slot, endpoint);
    if (!context || !read_words(xhci, context, &word, 1))
        return;
    word &= ~7u;
    write_words(xhci, context, &word, 1);
}

/* Whether the guest describes an endpoint that can be: odd indices are IN, 1 is the control one. */
static bool possible(const uint32_t *words, unsigned endpoint)
{
    static const bool known[8] = {
        [EP_ISOCH_OUT] = true, [EP_BULK_OUT] = true, [EP_INTERRUPT_OUT] = true, [EP_CONTROL] = true,
        [EP_ISOCH_IN] = true,  [EP_BULK_IN] = true,  [EP_INTERRUPT_IN] = true};
    unsigned type = EP_TYPE(words);

    if (!known[type] || EP_MAX_STREAMS(words))
        return false;
    if (type == EP_CONTROL || endpoint == 1)
        return type == EP_CONTROL && (endpoint & 1);
    return (type > EP_CONTROL) == (endpoint & 1);
}

/* Takes an endpoint over from the input context, and shows it in the device context. */
static bool add_endpoint(struct xhci *xhci, unsigned slot, unsigned endpoint, uint64_t input)
{
    struct xhci_endpoint *ep = &xhci->slot[slot].endpoint[endpoint];
    uint64_t context = endpoint_context(xhci, slot, endpoint);
    uint32_t words[CONTEXT_WORDS];

    if (!context ||
        !read_words(xhci, input + CONTEXT_BYTES * (endpoint + 1), words, CONTEXT_WORDS) ||
        !possible(words, endpoint))
        return false;
    uint64_t dequeue = words[2] | (uint64_t)words[3] << 32;
    *ep = (struct xhci_endpoint){.state = EP_RUNNING,
                                 .type = (uint8_t)EP_TYPE(words),
                                 .cycle = words[2] & EP_DEQUEUE_CYCLE,
                                 .dequeue = dequeue & EP_DEQUEUE_POINTER};
    xhci->slot[slot].pending &= ~(1u << endpoint);
    words[0] = (words[0] & ~7u) | EP_RUNNING;
    return write_words(xhci, context, words, CONTEXT_WORDS);
}

/* -- Commands on slots -- */

static enum xhci_code enable_slot(struct xhci *xhci, unsigned *number)
{
    for (unsigned i = 1; i <= XHCI_SLOTS && i <= (xhci->config & 0xff); i++) {
        if (xhci->slot[i].enabled)
            continue;
        xhci->slot[i] = (struct xhci_slot){.enabled = true};
        *number = i;
        return CODE_SUCCESS;
    }
    return CODE_NO_SLOTS;
}

static enum xhci_code disable_slot(struct xhci *xhci, unsigned slot, const struct xhci_trb *trb)
{
    xhci->slot[slot] = (struct xhci_slot){0};
    write_slot(xhci, slot, 0);
    return CODE_SUCCESS;
}

static bool slot_of_port(const struct xhci *xhci, unsigned port, unsigned but)
{
    for (unsigned i = 1; i <= XHCI_SLOTS; i++)
        if (i != but && xhci->slot[i].enabled && xhci->slot[i].port == port)
            return true;
    return false;
}

/* Address Device (4.6.5). */
static enum xhci_code address_device(struct xhci *xhci, unsigned slot, const struct xhci_trb *trb)
{
    struct xhci_slot *s = &xhci->slot[slot];
    uint64_t input = trb->parameter & EP_DEQUEUE_POINTER, context = device_context(xhci, slot);
    uint32_t flags[2], words[CONTEXT_WORDS];
    bool only_context = trb->control & TRB_BSR;

    if (!read_words(xhci, input, flags, 2) || flags[0] ||
        (flags[1] & (ADD_SLOT | ADD_EP0)) != (ADD_SLOT | ADD_EP0) || !context ||
        !read_words(xhci, input + CONTEXT_BYTES, words, CONTEXT_WORDS))
        return CODE_PARAMETER_ERROR;
    if (s->state > SLOT_DEFAULT || (only_context && s->state != SLOT_ENABLED))
        return CODE_CONTEXT_STATE_ERROR;
    unsigned port = SLOT_PORT(words);
    if (port == 0 || port > XHCI_PORTS || SLOT_INTERRUPTER(words) >= XHCI_INTERRUPTERS ||
        slot_of_port(xhci, port, slot))
        return CODE_PARAMETER_ERROR;
    struct usb_device *device = SLOT_ROUTE(words) ? NULL : xhci_device(xhci, port);
    if (!device)
        return CODE_TRANSACTION_ERROR;
    if (!add_endpoint(xhci, slot, 1, input))
        return CODE_PARAMETER_ERROR;
    s->port = (uint8_t)port;
    s->interrupter = (uint16_t)SLOT_INTERRUPTER(words);
    s->state = only_context ? SLOT_DEFAULT : SLOT_ADDRESSED;
    uint8_t address = only_context ? 0 : (uint8_t)slot;
    usb_set_address(device, address);
    words[3] = (uint32_t)s->state << SLOT_STATE_SHIFT | address;
    write_words(xhci, context, words, CONTEXT_WORDS);
    return CODE_SUCCESS;
}

static enum xhci_code deconfigure(struct xhci *xhci, unsigned slot)
{
    for (unsigned i = 2; i < XHCI_ENDPOINTS; i++)
        if (xhci->slot[slot].endpoint[i].state != EP_DISABLED)
            drop_endpoint(xhci, slot, i);
    xhci->slot[slot].state = SLOT_ADDRESSED;
    write_slot_entries(xhci, slot, 1);
    write_slot(xhci, slot, (uint8_t)slot);
    return CODE_SUCCESS;
}

/* Configure Endpoint (4.6.6). */
static enum xhci_code configure_endpoint(struct xhci *xhci, unsigned slot,
                                         const struct xhci_trb *trb)
{
    struct xhci_slot *s = &xhci->slot[slot];
    uint64_t input = trb->parameter & EP_DEQUEUE_POINTER;
    uint32_t flags[2], word;
    unsigned entries = 1;

    if (s->state < SLOT_ADDRESSED)
        return CODE_CONTEXT_STATE_ERROR;
    if (trb->control & TRB_DECONFIGURE)
        return deconfigure(xhci, slot);
    if (!read_words(xhci, input, flags, 2) || (flags[0] & 3) || (flags[1] & 3) != ADD_SLOT ||
        !read_words(xhci, input + CONTEXT_BYTES, &word, 1))
        return CODE_PARAMETER_ERROR;
    for (unsigned i = 2; i < XHCI_ENDPOINTS; i++)
        if (flags[0] >> i & 1)
            drop_endpoint(xhci, slot, i);
    for (unsigned i = 2; i < XHCI_ENDPOINTS; i++) {
        if ((flags[1] >> i & 1) && !add_endpoint(xhci, slot, i, input)) {
            disable_endpoint(xhci, slot, i);
            return CODE_PARAMETER_ERROR;
        }
        if (s->endpoint[i].state != EP_DISABLED)
            entries = i;
    }
    s->state = entries > 1 ? SLOT_CONFIGURED : SLOT_ADDRESSED;
    write_slot_entries(xhci, slot, entries);
    write_slot(xhci, slot, (uint8_t)slot);
    return CODE_SUCCESS;
}

/* Evaluate Context (4.6.7): latency and interrupter of the slot, packet size of endpoint 0. */
static enum xhci_code evaluate_context(struct xhci *xhci, unsigned slot, const struct xhci_trb *trb)
{
    struct xhci_slot *s = &xhci->slot[slot];
    uint64_t input = trb->parameter & EP_DEQUEUE_POINTER, context = device_context(xhci, slot);
    uint32_t flags[2], from[CONTEXT_WORDS], to[CONTEXT_WORDS];

    if (s->state < SLOT_DEFAULT)
        return CODE_CONTEXT_STATE_ERROR;
    if (!context || !read_words(xhci, input, flags, 2) || flags[0] ||
        (flags[1] & ~(ADD_SLOT | ADD_EP0)))
        return CODE_PARAMETER_ERROR;
    if (flags[1] & ADD_SLOT) {
        if (!read_words(xhci, input + CONTEXT_BYTES, from, CONTEXT_WORDS) ||
            SLOT_INTERRUPTER(from) >= XHCI_INTERRUPTERS ||
            !read_words(xhci, context, to, CONTEXT_WORDS))
            return CODE_PARAMETER_ERROR;
        s->interrupter = (uint16_t)SLOT_INTERRUPTER(from);
        to[1] = (to[1] & ~0xffffu) | (from[1] & 0xffff);
        to[2] = (to[2] & 0x3fffff) | (from[2] & ~0x3fffffu);
        write_words(xhci, context, to, CONTEXT_WORDS);
    }
    if (flags[1] & ADD_EP0) {
        if (!read_words(xhci, input + 2 * CONTEXT_BYTES, from, CONTEXT_WORDS) ||
            !read_words(xhci, context + CONTEXT_BYTES, to, CONTEXT_WORDS))
            return CODE_PARAMETER_ERROR;
        to[1] = (to[1] & 0xffff) | (from[1] & ~0xffffu);
        write_words(xhci, context + CONTEXT_BYTES, to, CONTEXT_WORDS);
    }
    return CODE_SUCCESS;
}

/* Reset Device (4.6.11): as after a reset of its port. */
static enum xhci_code reset_device(struct xhci *xhci, unsigned slot, const struct xhci_trb *trb)
{
    struct xhci_slot *s = &xhci->slot[slot];
    struct usb_device *device = xhci_device(xhci, s->port);

    if (s->state < SLOT_ADDRESSED)
        return CODE_CONTEXT_STATE_ERROR;
    deconfigure(xhci, slot);
    s->state = SLOT_DEFAULT;
    write_slot(xhci, slot, 0);
    if (device)
        usb_set_address(device, 0);
    return CODE_SUCCESS;
}

/* -- Commands on endpoints -- */

static enum xhci_code reset_endpoint(struct xhci *xhci, unsigned slot, const struct xhci_trb *trb)
{
    unsigned endpoint = ENDPOINT_OF(trb->control);
    struct xhci_endpoint *ep = &xhci->slot[slot].endpoint[endpoint];

    if (ep->state != EP_HALTED)
        return CODE_CONTEXT_STATE_ERROR;
    ep->state = EP_STOPPED;
    xhci_write_endpoint(xhci, slot, endpoint);
    return CODE_SUCCESS;
}

static enum xhci_code stop_endpoint(struct xhci *xhci, unsigned slot, const struct xhci_trb *trb)
{
    unsigned endpoint = ENDPOINT_OF(trb->control);
    struct xhci_endpoint *ep = &xhci->slot[slot].endpoint[endpoint];

    if (ep->state != EP_RUNNING)
        return CODE_CONTEXT_STATE_ERROR;
    xhci_report_stopped(xhci, slot, endpoint);
    ep->state = EP_STOPPED;
    xhci_write_endpoint(xhci, slot, endpoint);
    return CODE_SUCCESS;
}

static enum xhci_code set_dequeue(struct xhci *xhci, unsigned slot, const struct xhci_trb *trb)
{
    unsigned endpoint = ENDPOINT_OF(trb->control);
    struct xhci_endpoint *ep = &xhci->slot[slot].endpoint[endpoint];

    if (ep->state != EP_STOPPED && ep->state != EP_ERROR)
        return CODE_CONTEXT_STATE_ERROR;
    ep->dequeue = trb->parameter & EP_DEQUEUE_POINTER;
    ep->cycle = trb->parameter & EP_DEQUEUE_CYCLE;
    ep->done = 0;
    ep->state = EP_STOPPED;
    xhci_write_endpoint(xhci, slot, endpoint);
    return CODE_SUCCESS;
}

static const struct command {
    enum xhci_code (*run)(struct xhci *xhci, unsigned slot, const struct xhci_trb *trb);
    bool on_endpoint;
} commands[] = {
    [TRB_DISABLE_SLOT] = {disable_slot, false},
    [TRB_ADDRESS_DEVICE] = {address_device, false},
    [TRB_CONFIGURE_ENDPOINT] = {configure_endpoint, false},
    [TRB_EVALUATE_CONTEXT] = {evaluate_context, false},
    [TRB_RESET_DEVICE] = {reset_device, false},
    [TRB_RESET_ENDPOINT] = {reset_endpoint, true},
    [TRB_STOP_ENDPOINT] = {stop_endpoint, true},
    [TRB_SET_DEQUEUE] = {set_dequeue, true},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static enum xhci_code run_command(struct xhci *xhci, const struct xhci_trb *trb, unsigned *slot)
{
    unsigned type = TRB_TYPE(trb->control);

    *slot = 0;
    if (type == TRB_NOOP_COMMAND)
        return CODE_SUCCESS;
    if (type == TRB_ENABLE_SLOT)
        return enable_slot(xhci, slot);
    if (type >= COMMANDS || !commands[type].run) {
        log_guest("xhci: command %u, which is not built", type);
        return CODE_TRB_ERROR;
    }
    *slot = SLOT_OF(trb->control);
    if (*slot == 0 || *slot > XHCI_SLOTS || !xhci->slot[*slot].enabled)
        return CODE_SLOT_NOT_ENABLED;
    if (commands[type].on_endpoint) {
        unsigned endpoint = ENDPOINT_OF(trb->control);
        if (endpoint == 0)
            return CODE_TRB_ERROR;
        if (xhci->slot[*slot].endpoint[endpoint].state == EP_DISABLED)
            return CODE_ENDPOINT_NOT_ENABLED;
    }
    return commands[type].run(xhci, *slot, trb);
}

/* -- The ring -- */

/* Fetches the next command, past links. False: there is none. */
static bool next_command(struct xhci *xhci, struct xhci_trb *trb)
{
    for (unsigned links = 0; links < LINKS_MAX; links++) {
        if (!xhci_read_trb(xhci, xhci->command_ring, trb)) {
            xhci_host_error(xhci, "its command ring is no memory");
            return false;
        }
        if ((trb->control & TRB_CYCLE) != xhci->command_cycle)
            return false;
        if (TRB_TYPE(trb->control) != TRB_LINK)
            return true;
        xhci->command_ring = trb->parameter & EP_DEQUEUE_POINTER;
        if (trb->control & TRB_TOGGLE)
            xhci->command_cycle = !xhci->command_cycle;
    }
    xhci_host_error(xhci, "its command ring has links to links");
    return false;
}

void xhci_run_commands(struct xhci *xhci)
{
    struct xhci_trb trb;

    /* A stopped transfer and the command have an event each. */
    for (unsigned count = 0; xhci->command_running && xhci_running(xhci); count++) {
        struct xhci_trb event = {0};
        unsigned slot;
        if (!xhci_event_room(xhci, 0, 2) || !next_command(xhci, &trb))
            return;
        if (count == COMMANDS_MAX) {
            timer_set(&xhci->again, clock_now(xhci->clock));
            return;
        }
        xhci->command_ring += XHCI_TRB_BYTES;
        enum xhci_code code = run_command(xhci, &trb, &slot);
        event.parameter = trb.at;
        event.status = (uint32_t)code << 24;
        event.control = slot << 24 | TRB_COMMAND_EVENT << 10;
        xhci_post_event(xhci, 0, &event);
    }
}
