/*
 * UHCI host controller: function 2 of the PIIX3 (Intel 290550), device 29 of the ICH9 (316972).
 *
 * Specification: Universal Host Controller Interface Design Guide 1.1; sections in parentheses.
 *
 *     frame list (1024)  ->  TD -> TD -> ...        one entry a millisecond
 *                            QH -> QH -> ...        across
 *                            |                      down: the first TD that is to be done
 *                            TD
 *
 * Frames are done by a timer, several at once when the last ones had nothing to do: an idle bus
 * wakes the host 125 times a second, one without devices 31 times, a stopped one never. Reading the
 * frame number or the status catches up first, so that the guest cannot tell.
 *
 * Not modelled: legacy keyboard emulation by system management interrupts, software debug mode,
 * data toggles, isochronous devices.
 */
#include "hw/usb/uhci.h"
#include "hw/alloc.h"

#include <string.h>

#define PORTS        2
#define IO_BAR       4
#define IO_SIZE      32
#define FRAME_NS     1000000ull
#define FRAMES       1024
#define FRAME_NUMBER 0x7ff
#define FRAME_BYTES  1280 /* that pass in one frame */
#define FRAME_STEPS  512  /* queue heads and TDs looked at in one frame */
#define CATCH_UP     32   /* frames done at one time; of more only the number is counted */
#define QUIET_FRAMES 16   /* without data before frames are done in groups */
#define GROUP_IDLE   8
#define GROUP_EMPTY  32
#define SOF_DEFAULT  64

/* Registers (2.1). */
enum {
    USBCMD = 0x00,
    USBSTS = 0x02,
    USBINTR = 0x04,
    FRNUM = 0x06,
    FRBASEADD = 0x08,
    SOFMOD = 0x0c,
    PORTSC = 0x10,
};
#define CMD_RUN         0x0001
#define CMD_HC_RESET    0x0002
#define CMD_BUS_RESET   0x0004
#define CMD_SUSPEND     0x0008
#define CMD_DEBUG       0x0020
#define CMD_WRITABLE    0x00fd
#define STS_INTERRUPT   0x0001
#define STS_ERROR       0x0002
#define STS_RESUME      0x0004
#define STS_HOST_ERROR  0x0008
#define STS_BAD_TD      0x0010
#define STS_HALTED      0x0020
#define INTR_ERROR      0x0001
#define INTR_RESUME     0x0002
#define INTR_COMPLETE   0x0004
#define INTR_SHORT      0x0008
#define PORT_CONNECTED  0x0001
#define PORT_CONNECTION 0x0002 /* changed */
#define PORT_ENABLED    0x0004
#define PORT_ENABLING   0x0008 /* changed */
#define PORT_LINE_PLUS  0x0010
#define PORT_LINE_MINUS 0x0020
#define PORT_RESUME     0x0040
#define PORT_ALWAYS     0x0080
#define PORT_LOW_SPEED  0x0100
#define PORT_RESET      0x0200
#define PORT_SUSPENDED  0x1000

/* Links (3.1, 3.2). */
#define LINK_END     1u
#define LINK_QUEUE   2u
#define LINK_DEPTH   4u
#define LINK_ADDRESS 0xfffffff0u

/* Control and status of a transfer descriptor (3.2.2). */
#define TD_SPD          0x20000000u /* a short packet ends the queue's turn */
#define TD_ERRORS_SHIFT 27
#define TD_IOC          0x01000000u
#define TD_ACTIVE       0x00800000u
#define TD_STALLED      0x00400000u
#define TD_BABBLE       0x00100000u
#define TD_NAK          0x00080000u
#define TD_TIMEOUT      0x00040000u
#define TD_STATUS       0x00ff0000u
#define TD_LENGTH       0x7ffu
/* Its token (3.2.3). */
#define TOKEN_PID(t)      ((t)&0xff)
#define TOKEN_ADDRESS(t)  ((t) >> 8 & 0x7f)
#define TOKEN_ENDPOINT(t) ((t) >> 15 & 0xf)
#define TOKEN_LENGTH(t)   ((((t) >> 21) + 1) & TD_LENGTH)
#define PACKET_MAX        1280
enum { PID_SETUP = 0x2d, PID_IN = 0x69, PID_OUT = 0xe1 };

/* Legacy support register: whether the interrupt goes to the chipset. */
enum { CONFIG_SBRN = 0x60, CONFIG_LEGSUP = 0xc0 };
#define LEGSUP_PIRQ 0x20 /* of its second byte */

struct uhci {
    struct pci_device pci;
    uint16_t command, status, interrupts;
    uint16_t frame; /* number of the one that begins at frame_ns */
    uint32_t list;
    uint8_t sof;
    uint16_t portsc[PORTS];
    bool completed, was_short; /* what the interrupt status stands for */
    uint64_t frame_ns;
    uint32_t quiet; /* frames without data */
    struct timer timer;
    /* -- Not saved -- */
    struct clock *clock;
    struct usb_bus bus;
    struct usb_port port[PORTS];
    bool in_frame;
    uint8_t packet[PACKET_MAX];
};

static const struct field uhci_fields[] = {
    FIELD_STRUCT(struct uhci, pci, pci_device_fields, 1),
    FIELD(struct uhci, command, 1),
    FIELD(struct uhci, status, 1),
    FIELD(struct uhci, interrupts, 1),
    FIELD(struct uhci, frame, 1),
    FIELD(struct uhci, list, 1),
    FIELD(struct uhci, sof, 1),
    FIELD_ARRAY(struct uhci, portsc, 1),
    FIELD(struct uhci, completed, 1),
    FIELD(struct uhci, was_short, 1),
    FIELD(struct uhci, frame_ns, 1),
    FIELD(struct uhci, quiet, 1),
    FIELD(struct uhci, timer.deadline_ns, 1),
    FIELD_END,
};

static bool running(const struct uhci *uhci)
{
    return !(uhci->status & STS_HALTED);
}

static void update_irq(struct uhci *uhci)
{
    uint16_t status = uhci->status, enabled = uhci->interrupts;
    bool level = (uhci->completed && (enabled & INTR_COMPLETE)) ||
                 (uhci->was_short && (enabled & INTR_SHORT)) ||
                 ((status & STS_ERROR) && (enabled & INTR_ERROR)) ||
                 ((status & STS_RESUME) && (enabled & INTR_RESUME)) ||
                 (status & (STS_HOST_ERROR | STS_BAD_TD));

    pci_set_irq(&uhci->pci, level && (uhci->pci.config[CONFIG_LEGSUP + 1] & LEGSUP_PIRQ));
}

static void halt(struct uhci *uhci, uint16_t why)
{
    uhci->command &= (uint16_t)~CMD_RUN;
    uhci->status |= STS_HALTED | why;
    timer_cancel(&uhci->timer);
}

/* -- Guest memory -- */

static bool read_dwords(struct uhci *uhci, uint32_t at, uint32_t *values, unsigned count)
{
    uint8_t bytes[16];

    if (!pci_dma_read(&uhci->pci, at, bytes, 4 * count)) {
        log_guest("uhci: the schedule is no memory");
        halt(uhci, STS_HOST_ERROR);
        return false;
    }
    for (unsigned i = 0; i < count; i++)
        values[i] = pci_get(bytes, 4 * i, 4);
    return true;
}

static void write_dword(struct uhci *uhci, uint32_t at, uint32_t value)
{
    uint8_t bytes[4];

    pci_put(bytes, 0, value, 4);
    pci_dma_write(&uhci->pci, at, bytes, sizeof bytes);
}

/* -- Transfer descriptors -- */

enum outcome {
    PASSED,  /* done: the queue goes on with the next one */
    STAYS,   /* not now, not any more, or the end of a short transfer: the queue stays here */
    STOPPED, /* the controller has halted */
};

static struct usb_device *find_device(struct uhci *uhci, unsigned address)
{
    for (unsigned i = 0; i < PORTS; i++) {
        struct usb_device *device = uhci->port[i].device;
        if (device && (uhci->portsc[i] & PORT_ENABLED) && device->address == address)
            return device;
    }
    return NULL;
}

/* Sends the token; false: the buffer is no memory. */
static bool send_token(struct uhci *uhci, const uint32_t *td, struct usb_transfer *transfer,
                       enum usb_result *result)
{
    struct usb_device *device = find_device(uhci, TOKEN_ADDRESS(td[2]));

    *transfer = (struct usb_transfer){
        .token = TOKEN_PID(td[2]) == PID_IN      ? USB_IN
                 : TOKEN_PID(td[2]) == PID_SETUP ? USB_SETUP
                                                 : USB_OUT,
        .endpoint = TOKEN_ENDPOINT(td[2]),
        .data = uhci->packet,
        .length = TOKEN_LENGTH(td[2]),
    };
    if (transfer->token != USB_IN &&
        !pci_dma_read(&uhci->pci, td[3], uhci->packet, transfer->length))
        return false;
    *result = device ? usb_submit(device, transfer) : USB_LOST;
    return transfer->token != USB_IN ||
           pci_dma_write(&uhci->pci, td[3], uhci->packet, transfer->actual);
}

static enum outcome complete(struct uhci *uhci, uint32_t *control, const struct usb_transfer *t)
{
    bool is_short = t->token == USB_IN && t->actual < t->length;

    *control &= ~(TD_STATUS | TD_LENGTH);
    *control |= (t->actual - 1) & TD_LENGTH;
    uhci->quiet = 0;
    if (*control & TD_IOC) {
        uhci->status |= STS_INTERRUPT;
        uhci->completed = true;
    }
    if (!is_short || !(*control & TD_SPD))
        return PASSED;
    uhci->status |= STS_INTERRUPT;
    uhci->was_short = true;
    return STAYS;
}

static enum outcome give_up(struct uhci *uhci, uint32_t *control, uint32_t why)
{
    *control = (*control & ~(TD_STATUS | TD_LENGTH)) | TD_LENGTH | TD_STALLED | why;
    uhci->quiet = 0;
    uhci->status |= STS_ERROR;
    if (*control & TD_IOC) {
        uhci->status |= STS_INTERRUPT;
        uhci->completed = true;
    }
    return STAYS;
}

/* Nobody answered: the error counter tells how often to try (0: for ever). */
static enum outcome try_again(struct uhci *uhci, uint32_t *control)
{
    uint32_t errors = *control >> TD_ERRORS_SHIFT & 3;

    if (errors == 1)
        return give_up(uhci, control, TD_TIMEOUT);
    if (errors)
        *control -= 1u << TD_ERRORS_SHIFT;
    *control |= TD_TIMEOUT;
    return STAYS;
}

/* Executes a TD as it was read; what is to be written back is in td[1] then. */
static enum outcome run_td(struct uhci *uhci, uint32_t *td, int32_t *bytes)
{
    struct usb_transfer transfer;
    enum usb_result result;
    enum outcome outcome = STAYS;
    uint32_t pid = TOKEN_PID(td[2]);

    if (!(td[1] & TD_ACTIVE)) { /* its interrupt comes all the same: drivers wait for a frame so */
        if (td[1] & TD_IOC) {
            uhci->status |= STS_INTERRUPT;
            uhci->completed = true;
        }
        return STAYS;
    }
    if ((pid != PID_IN && pid != PID_OUT && pid != PID_SETUP) || TOKEN_LENGTH(td[2]) > PACKET_MAX) {
        log_guest("uhci: a transfer descriptor with token %08x", td[2]);
        halt(uhci, STS_BAD_TD);
        return STOPPED;
    }
    if (!send_token(uhci, td, &transfer, &result)) {
        log_guest("uhci: a buffer is no memory");
        halt(uhci, STS_HOST_ERROR);
        return STOPPED;
    }
    *bytes -= (int32_t)transfer.actual;
    switch (result) {
    case USB_OK:
        outcome = complete(uhci, &td[1], &transfer);
        break;
    case USB_NAK:
        td[1] |= TD_NAK;
        break;
    case USB_STALL:
        outcome = give_up(uhci, &td[1], 0);
        break;
    case USB_BABBLE:
        outcome = give_up(uhci, &td[1], TD_BABBLE);
        break;
    case USB_LOST:
        outcome = try_again(uhci, &td[1]);
        break;
    }
    return outcome;
}

/* -- Frames -- */

static void write_back(struct uhci *uhci, uint32_t at, uint32_t before, uint32_t control)
{
    if (control != before)
        write_dword(uhci, at + 4, control);
}

/* A queue's turn: TDs from its element on, as long as they pass and say to go on downwards. A
 * driver that sees the last TD done may give the queue another element at once, which must not be
 * overwritten: so the element is written before the TD. */
static bool run_queue(struct uhci *uhci, uint32_t at, uint32_t element, int32_t *bytes, int *steps)
{
    while (!(element & (LINK_END | LINK_QUEUE)) && *bytes > 0 && *steps > 0) {
        uint32_t td[4], address = element & LINK_ADDRESS;
        --*steps;
        if (!read_dwords(uhci, address, td, 4))
            return false;
        uint32_t before = td[1];
        enum outcome outcome = run_td(uhci, td, bytes);
        if (outcome == PASSED)
            write_dword(uhci, at + 4, td[0]);
        write_back(uhci, address, before, td[1]);
        if (outcome != PASSED)
            return outcome != STOPPED;
        element = td[0];
        if (!(element & LINK_DEPTH))
            break;
    }
    return true;
}

/* Drivers close the queues of bulk transfers to a ring, which a frame goes round until its time is
 * over. `mark` finds the turn in which nothing moved. */
static void run_frame(struct uhci *uhci)
{
    uint32_t link, mark = LINK_END;
    int32_t bytes = FRAME_BYTES, marked_bytes = 0;
    int steps = FRAME_STEPS, remark = 0;

    if (!read_dwords(uhci, uhci->list + 4u * (uhci->frame % FRAMES), &link, 1))
        return;
    while (!(link & LINK_END) && bytes > 0 && steps-- > 0) {
        uint32_t words[4], address = link & LINK_ADDRESS;
        if (link == mark && bytes == marked_bytes)
            return;
        if (steps <= remark || mark == LINK_END || bytes != marked_bytes) {
            mark = link;
            marked_bytes = bytes;
            remark = steps / 2;
        }
        if (!(link & LINK_QUEUE)) {
            if (!read_dwords(uhci, address, words, 4))
                return;
            uint32_t before = words[1];
            enum outcome outcome = run_td(uhci, words, &bytes);
            write_back(uhci, address, before, words[1]);
            if (outcome == STOPPED)
                return;
        } else if (!read_dwords(uhci, address, words, 2) ||
                   !run_queue(uhci, address, words[1], &bytes, &steps)) {
            return;
        }
        link = words[0];
    }
}

/* Milliseconds until frames are looked at again. */
static unsigned group(const struct uhci *uhci)
{
    if (uhci->quiet < QUIET_FRAMES)
        return 1;
    for (unsigned i = 0; i < PORTS; i++)
        if (uhci->portsc[i] & PORT_ENABLED)
            return GROUP_IDLE;
    return GROUP_EMPTY;
}

/* Does the frames whose time has come. */
static void catch_up(struct uhci *uhci)
{
    uint64_t now = clock_now(uhci->clock);

    if (!running(uhci) || uhci->in_frame)
        return;
    uhci->in_frame = true;
    if (now > uhci->frame_ns + CATCH_UP * FRAME_NS) {
        uint64_t lost = (now - uhci->frame_ns) / FRAME_NS - CATCH_UP;
        uhci->frame = (uint16_t)((uhci->frame + lost) & FRAME_NUMBER);
        uhci->frame_ns += lost * FRAME_NS;
    }
    while (running(uhci) && uhci->frame_ns + FRAME_NS <= now) {
        uhci->quiet += uhci->quiet < QUIET_FRAMES;
        run_frame(uhci);
        uhci->frame = (uhci->frame + 1) & FRAME_NUMBER;
        uhci->frame_ns += FRAME_NS;
    }
    uhci->in_frame = false;
    if (running(uhci))
        timer_set(&uhci->timer, uhci->frame_ns + group(uhci) * FRAME_NS);
    update_irq(uhci);
}

static void frame_due(void *opaque)
{
    catch_up(opaque);
}

/* -- Ports -- */

static void detect(struct uhci *uhci, unsigned number)
{
    const struct usb_device *device = uhci->port[number].device;
    uint16_t *port = &uhci->portsc[number];

    *port = (uint16_t)(PORT_ALWAYS | (*port & (PORT_CONNECTION | PORT_ENABLING)));
    if (!device)
        return;
    *port |= PORT_CONNECTED |
             (device->speed == USB_LOW ? PORT_LOW_SPEED | PORT_LINE_MINUS : PORT_LINE_PLUS);
}

static void resume_detected(struct uhci *uhci)
{
    if (uhci->command & CMD_SUSPEND)
        uhci->status |= STS_RESUME;
    update_irq(uhci);
}

static void port_changed(void *controller, struct usb_port *port)
{
    struct uhci *uhci = controller;
    bool was_enabled = uhci->portsc[port->number] & PORT_ENABLED;

    detect(uhci, port->number);
    uhci->portsc[port->number] |= PORT_CONNECTION | (was_enabled ? PORT_ENABLING : 0);
    resume_detected(uhci);
}

/* A device has something to say: the next frame should come soon. */
static void port_ready(void *controller, struct usb_port *port, uint8_t endpoint)
{
    struct uhci *uhci = controller;

    uhci->quiet = 0;
    if (running(uhci) && !uhci->in_frame &&
        uhci->timer.deadline_ns > clock_now(uhci->clock) + FRAME_NS)
        timer_set(&uhci->timer, clock_now(uhci->clock) + FRAME_NS);
}

static void port_wake(void *controller, struct usb_port *port)
{
    struct uhci *uhci = controller;

    uhci->portsc[port->number] |= PORT_RESUME;
    uhci->status |= STS_RESUME;
    update_irq(uhci);
}

static void suspend_port(struct uhci *uhci, unsigned number, bool suspended)
{
    if (uhci->port[number].device)
        usb_suspend(uhci->port[number].device, suspended);
}

static void write_port(struct uhci *uhci, unsigned number, uint16_t value)
{
    struct usb_device *device = uhci->port[number].device;
    uint16_t *port = &uhci->portsc[number], before = *port;

    *port &= (uint16_t) ~(value & (PORT_CONNECTION | PORT_ENABLING));
    *port &= (uint16_t) ~(PORT_ENABLED | PORT_RESUME | PORT_RESET | PORT_SUSPENDED);
    *port |= value & (PORT_RESUME | PORT_RESET | PORT_SUSPENDED);
    if (device && !(value & PORT_RESET))
        *port |= value & PORT_ENABLED;
    if ((value & PORT_RESET) && !(before & PORT_RESET) && device)
        usb_bus_reset(device);
    if ((before ^ *port) & (PORT_SUSPENDED | PORT_RESUME))
        suspend_port(uhci, number, (*port & PORT_SUSPENDED) && !(*port & PORT_RESUME));
    if (*port & PORT_ENABLED)
        uhci->quiet = 0;
}

/* -- Registers -- */

static void reset_controller(struct uhci *uhci)
{
    timer_cancel(&uhci->timer);
    uhci->command = uhci->interrupts = uhci->frame = 0;
    uhci->status = STS_HALTED;
    uhci->list = 0;
    uhci->sof = SOF_DEFAULT;
    uhci->completed = uhci->was_short = false;
    uhci->frame_ns = 0;
    uhci->quiet = 0;
    for (unsigned i = 0; i < PORTS; i++) {
        if (uhci->port[i].device)
            usb_bus_reset(uhci->port[i].device);
        uhci->portsc[i] = 0;
        detect(uhci, i);
        if (uhci->port[i].device)
            uhci->portsc[i] |= PORT_CONNECTION;
    }
    update_irq(uhci);
}

static void write_command(struct uhci *uhci, uint16_t value)
{
    if (value & CMD_HC_RESET) {
        reset_controller(uhci);
        return;
    }
    if (value & CMD_DEBUG)
        log_guest("uhci: software debug mode is not built");
    if ((value & CMD_BUS_RESET) && !(uhci->command & CMD_BUS_RESET)) {
        reset_controller(uhci);
        uhci->command = CMD_BUS_RESET;
        return;
    }
    catch_up(uhci);
    uhci->command = value & CMD_WRITABLE & ~CMD_DEBUG;
    if ((value & CMD_RUN) && !running(uhci)) {
        uhci->status &= (uint16_t)~STS_HALTED;
        uhci->frame_ns = clock_now(uhci->clock);
        uhci->quiet = 0;
        timer_set(&uhci->timer, uhci->frame_ns + FRAME_NS);
    } else if (!(value & CMD_RUN) && running(uhci)) {
        halt(uhci, 0);
    }
}

static void write_status(struct uhci *uhci, uint16_t value)
{
    uhci->status &= (uint16_t) ~(value & (STS_HALTED - 1));
    if (value & STS_INTERRUPT)
        uhci->completed = uhci->was_short = false;
    update_irq(uhci);
}

static uint16_t read_word(struct uhci *uhci, unsigned offset)
{
    switch (offset) {
    case USBCMD:
        return uhci->command;
    case USBSTS:
        catch_up(uhci);
        return uhci->status;
    case USBINTR:
        return uhci->interrupts;
    case FRNUM:
        catch_up(uhci);
        return uhci->frame;
    case FRBASEADD:
        return uhci->list & 0xffff;
    case FRBASEADD + 2:
        return uhci->list >> 16;
    case SOFMOD:
        return uhci->sof;
    case PORTSC:
    case PORTSC + 2:
        return uhci->portsc[(offset - PORTSC) / 2];
    }
    /* Further ports are told from none by a bit that every port has. */
    return offset > PORTSC + 2 ? 0 : 0xffff;
}

static void write_word(struct uhci *uhci, unsigned offset, uint16_t word)
{
    switch (offset) {
    case USBCMD:
        write_command(uhci, word);
        break;
    case USBSTS:
        write_status(uhci, word);
        break;
    case USBINTR:
        uhci->interrupts = word & 0xf;
        update_irq(uhci);
        break;
    case FRNUM: /* only while it stands */
        if (!running(uhci))
            uhci->frame = word & FRAME_NUMBER;
        break;
    case FRBASEADD:
        uhci->list = (uhci->list & 0xffff0000) | (word & 0xf000);
        break;
    case FRBASEADD + 2:
        uhci->list = (uhci->list & 0xffff) | (uint32_t)word << 16;
        break;
    case SOFMOD: /* how long a frame is, within some bits: no device here minds */
        uhci->sof = word & 0x7f;
        break;
    case PORTSC:
    case PORTSC + 2:
        write_port(uhci, (offset - PORTSC) / 2, word);
        break;
    default:
        log_guest("uhci: write of %#x to register %#x, which is reserved", word, offset);
    }
}

static uint64_t uhci_read(void *opaque, uint64_t offset, unsigned size)
{
    return (uint64_t)read_word(opaque, (unsigned)offset & ~1u) >> (8 * (offset & 1));
}

/* A write of one byte leaves the other one of its register as it is. */
static void uhci_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    unsigned at = (unsigned)offset & ~1u, shift = 8 * ((unsigned)offset & 1);
    uint16_t other = 0, clears = at >= PORTSC ? PORT_CONNECTION | PORT_ENABLING : 0;

    if (size == 1 && at != USBSTS)
        other = (uint16_t)(read_word(opaque, at) & ~clears & ~(0xffu << shift));
    write_word(opaque, at, (uint16_t)(value << shift | other));
}

static const struct access_ops uhci_access = {uhci_read, uhci_write, 1, 2};

static void config_written(struct pci_device *device, unsigned offset, unsigned size)
{
    update_irq((struct uhci *)device);
}

/* -- Life -- */

static void uhci_reset(struct device *device)
{
    struct uhci *uhci = (struct uhci *)device;

    uhci->pci.config[CONFIG_LEGSUP + 1] = LEGSUP_PIRQ;
    reset_controller(uhci);
    pci_device_reset(&uhci->pci);
}

static bool uhci_post_load(struct device *device, struct error *error)
{
    struct uhci *uhci = (struct uhci *)device;

    if (!pci_device_post_load(&uhci->pci, error))
        return false;
    if (uhci->frame > FRAME_NUMBER || (uhci->list & 0xfff) || uhci->frame_ns > INT64_MAX)
        return error_set(error, "The saved state of USB controller '%s' is damaged", device->id);
    timer_rearm(&uhci->timer);
    update_irq(uhci);
    return true;
}

static void uhci_destroy(struct device *device)
{
    timer_cancel(&((struct uhci *)device)->timer);
    free(device);
}

static const struct device_ops uhci_ops = {
    .name = "uhci",
    .fields = uhci_fields,
    .version = 1,
    .reset = uhci_reset,
    .post_load = uhci_post_load,
    .destroy = uhci_destroy,
};

struct usb_bus *uhci_new(struct device_list *list, struct pci_bus *pci, uint8_t devfn,
                         enum uhci_model model, struct clock *clock, const char *id)
{
    static const struct pci_identity identities[] = {
        [UHCI_PIIX3] = {.vendor = 0x8086,
                        .device = 0x7020,
                        .revision = 1,
                        .class_code = 0x0c03,
                        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
                        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
                        .interrupt_pin = 4},
        [UHCI_ICH9] = {.vendor = 0x8086,
                       .device = 0x2934,
                       .revision = 3,
                       .class_code = 0x0c03,
                       .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
                       .subsystem = PCI_SUBSYSTEM_VIRTUAL,
                       .interrupt_pin = 1},
    };
    struct uhci *uhci = alloc_zeroed(sizeof *uhci);

    device_add(list, &uhci->pci.device, &uhci_ops, id);
    pci_device_init(&uhci->pci, pci, devfn, &identities[model]);
    uhci->pci.config[CONFIG_SBRN] = 0x10;
    uhci->pci.write_mask[CONFIG_LEGSUP + 1] = LEGSUP_PIRQ;
    uhci->pci.config_written = config_written;
    pci_add_io_bar(&uhci->pci, IO_BAR, IO_SIZE, &uhci_access, uhci);
    uhci->clock = clock;
    timer_init(&uhci->timer, clock, frame_due, uhci);
    for (unsigned i = 0; i < PORTS; i++)
        uhci->port[i] = (struct usb_port){
            .speeds = USB_SPEED_BIT(USB_LOW) | USB_SPEED_BIT(USB_FULL),
            .number = i,
            .controller = uhci,
            .changed = port_changed,
            .ready = port_ready,
            .wake = port_wake,
        };
    uhci->bus = (struct usb_bus){uhci->port, PORTS};
    uhci_reset(&uhci->pci.device);
    return &uhci->bus;
}
