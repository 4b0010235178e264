/*
 * National Semiconductor PC16550D UART, as PCs have it: interrupt gated by OUT2.
 *
 * PC16550D data sheet, sections 8 (registers) and 9 (FIFO interrupt and polled modes).
 *
 * Transmission takes no time: a byte written to THR has left when the write ends, THRE and TEMT
 * always read as set, and the interrupt line falls and rises once per byte, so that edge-triggered
 * controllers see each "transmitter empty". Reception takes what the FIFO has room for; the
 * outside keeps the rest. The character timeout is real time of four characters at the programmed
 * speed.
 *
 * The modem inputs CTS, DSR and DCD are always asserted, RI never. Not modelled: parity and framing
 * errors (the channel has none), the DMA pins, hardware flow control toward the outside.
 */
#include "hw/chipset/uart16550.h"

#include "hw/alloc.h"

#include <string.h>

enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RECEIVED       0x01
#define IER_TRANSMITTER    0x02
#define IER_LINE           0x04
#define IER_MODEM          0x08
#define IER_WRITABLE       0x0f

#define IIR_NONE           0x01
#define IIR_MODEM          0x00
#define IIR_TRANSMITTER    0x02
#define IIR_RECEIVED       0x04
#define IIR_LINE           0x06
#define IIR_TIMEOUT        0x0c
#define IIR_FIFOS          0xc0

#define FCR_ENABLE         0x01
#define FCR_RESET_RECEIVER 0x02
#define FCR_KEPT           0xc9 /* trigger, DMA mode, enable */
#define FCR_TRIGGER(value) ((value) >> 6)

#define LCR_LENGTH(value)  (5 + ((value)&3))
#define LCR_STOP2          0x04
#define LCR_PARITY         0x08
#define LCR_BREAK          0x40
#define LCR_DLAB           0x80

#define MCR_DTR            0x01
#define MCR_RTS            0x02
#define MCR_OUT1           0x04
#define MCR_OUT2           0x08
#define MCR_LOOP           0x10
#define MCR_WRITABLE       0x1f

#define LSR_DATA           0x01
#define LSR_OVERRUN        0x02
#define LSR_BREAK          0x10
#define LSR_THRE           0x20
#define LSR_TEMT           0x40
#define LSR_FIFO_ERROR     0x80
#define LSR_ERRORS         0x1e

#define MSR_CTS            0x10
#define MSR_DSR            0x20
#define MSR_RI             0x40
#define MSR_DCD            0x80
#define MSR_CONNECTED      (MSR_CTS | MSR_DSR | MSR_DCD)

#define FIFO_SIZE          16
#define CLOCK_HZ           1843200
#define TIMEOUT_CHARACTERS 4

static const uint8_t trigger_levels[4] = {1, 4, 8, 14};

struct uart16550 {
    struct device device;
    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint8_t lsr_errors; /* OE, and the errors of the character at the head */
    uint16_t divisor;
    uint8_t fifo[FIFO_SIZE]; /* oldest first; one place of it without FCR_ENABLE */
    uint8_t fifo_error[FIFO_SIZE];
    uint8_t fifo_count;
    bool transmitter_interrupt; /* THR became empty and nobody has been told */
    bool timeout_interrupt;
    bool irq_level;
    struct timer timeout;

    struct clock *clock;
    struct irq_line irq;
    struct byte_port port;
};

static const struct field uart_fields[] = {
    FIELD(struct uart16550, ier, 1),
    FIELD(struct uart16550, fcr, 1),
    FIELD(struct uart16550, lcr, 1),
    FIELD(struct uart16550, mcr, 1),
    FIELD(struct uart16550, msr, 1),
    FIELD(struct uart16550, scr, 1),
    FIELD(struct uart16550, lsr_errors, 1),
    FIELD(struct uart16550, divisor, 1),
    FIELD_ARRAY(struct uart16550, fifo, 1),
    FIELD_ARRAY(struct uart16550, fifo_error, 1),
    FIELD(struct uart16550, fifo_count, 1),
    FIELD(struct uart16550, transmitter_interrupt, 1),
    FIELD(struct uart16550, timeout_interrupt, 1),
    FIELD(struct uart16550, timeout.deadline_ns, 1),
    FIELD_END,
};

/* -- Interrupts -- */

static unsigned capacity(const struct uart16550 *uart)
{
    return uart->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static unsigned trigger_level(const struct uart16550 *uart)
{
    return uart->fcr & FCR_ENABLE ? trigger_levels[FCR_TRIGGER(uart->fcr)] : 1;
}

/* The pending interrupt of highest priority. */
static uint8_t pending_interrupt(const struct uart16550 *uart)
{
    if ((uart->ier & IER_LINE) && (uart->lsr_errors & LSR_ERRORS))
        return IIR_LINE;
    if ((uart->ier & IER_RECEIVED) && uart->fifo_count >= trigger_level(uart))
        return IIR_RECEIVED;
    if ((uart->ier & IER_RECEIVED) && uart->timeout_interrupt)
        return IIR_TIMEOUT;
    if ((uart->ier & IER_TRANSMITTER) && uart->transmitter_interrupt)
        return IIR_TRANSMITTER;
    if ((uart->ier & IER_MODEM) && (uart->msr & 0x0f))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct uart16550 *uart)
{
    /* Loopback forces the OUT2 pin inactive, and with it the board's interrupt gate. */
    bool gate = (uart->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
    bool level = gate && pending_interrupt(uart) != IIR_NONE;

    if (level != uart->irq_level) {
        uart->irq_level = level;
        irq_set(uart->irq, level);
    }
}

static uint64_t character_ns(const struct uart16550 *uart)
{
    unsigned bits = 1 + LCR_LENGTH(uart->lcr) + (uart->lcr & LCR_PARITY ? 1 : 0) +
                    (uart->lcr & LCR_STOP2 ? 2 : 1);
    unsigned divisor = uart->divisor ? uart->divisor : 1;

    return clock_scale(16ull * bits * divisor, NS_PER_SECOND, CLOCK_HZ);
}

/* The FIFO was filled or emptied: the timeout starts over, if something is waiting in it. */
static void restart_timeout(struct uart16550 *uart)
{
    uart->timeout_interrupt = false;
    if (uart->fifo_count && (uart->fcr & FCR_ENABLE))
        timer_set(&uart->timeout, clock_now(uart->clock) + TIMEOUT_CHARACTERS * character_ns(uart));
    else
        timer_cancel(&uart->timeout);
}

static void timeout_due(void *opaque)
{
    struct uart16550 *uart = opaque;

    uart->timeout_interrupt = uart->fifo_count > 0;
    update_irq(uart);
}

/* -- Receiver -- */

/* The errors of a character show when it is at the head. */
static void show_head_errors(struct uart16550 *uart)
{
    if (uart->fifo_count)
        uart->lsr_errors |= uart->fifo_error[0];
    uart->fifo_error[0] = 0;
}

static void receive_character(struct uart16550 *uart, uint8_t character, uint8_t error)
{
    character &= (uint8_t)((1u << LCR_LENGTH(uart->lcr)) - 1);
    if (uart->fifo_count >= capacity(uart)) {
        uart->lsr_errors |= LSR_OVERRUN;
        if (uart->fcr & FCR_ENABLE)
            return; /* the FIFO keeps the old ones, the holding register the new one */
        uart->fifo_count = 0;
    }
    uart->fifo[uart->fifo_count] = character;
    uart->fifo_error[uart->fifo_count] = error;
    uart->fifo_count++;
    if (uart->fifo_count == 1)
        show_head_errors(uart);
    restart_timeout(uart);
}

static size_t port_receive(void *device, const uint8_t *bytes, size_t count)
{
    struct uart16550 *uart = device;
    size_t taken = 0;

    if (uart->mcr & MCR_LOOP)
        return 0; /* the receiver is off the line; the outside waits */
    while (taken < count && uart->fifo_count < capacity(uart))
        receive_character(uart, bytes[taken++], 0);
    update_irq(uart);
    return taken;
}

void uart16550_receive_break(struct uart16550 *uart)
{
    if (uart->mcr & MCR_LOOP)
        return;
    receive_character(uart, 0, LSR_BREAK);
    update_irq(uart);
}

static void clear_receiver(struct uart16550 *uart)
{
    uart->fifo_count = 0;
    memset(uart->fifo_error, 0, sizeof uart->fifo_error);
    uart->lsr_errors &= LSR_OVERRUN;
    restart_timeout(uart);
}

/* Last in a register access: the outside may send at once. */
static void offer_room(struct uart16550 *uart)
{
    if (uart->fifo_count == 0 && !(uart->mcr & MCR_LOOP) && uart->port.writable)
        uart->port.writable(uart->port.outside);
}

static uint8_t read_rbr(struct uart16550 *uart)
{
    uint8_t character = uart->fifo[0];

    if (uart->fifo_count) {
        uart->fifo_count--;
        memmove(uart->fifo, uart->fifo + 1, uart->fifo_count);
        memmove(uart->fifo_error, uart->fifo_error + 1, uart->fifo_count);
        show_head_errors(uart);
        restart_timeout(uart);
        update_irq(uart);
        offer_room(uart);
    }
    return character;
}

/* -- Transmitter -- */

static void write_thr(struct uart16550 *uart, uint8_t character)
{
    uart->transmitter_interrupt = false;
    update_irq(uart);
    character &= (uint8_t)((1u << LCR_LENGTH(uart->lcr)) - 1);
    if (uart->mcr & MCR_LOOP)
        receive_character(uart, character, 0);
    else if (uart->port.send)
        uart->port.send(uart->port.outside, &character, 1);
    uart->transmitter_interrupt = true;
    update_irq(uart);
}

/* -- Modem lines -- */

static void update_modem(struct uart16550 *uart)
{
    uint8_t lines = MSR_CONNECTED;

    if (uart->mcr & MCR_LOOP)
        lines =
            (uint8_t)((uart->mcr & MCR_RTS ? MSR_CTS : 0) | (uart->mcr & MCR_DTR ? MSR_DSR : 0) |
                      (uart->mcr & MCR_OUT1 ? MSR_RI : 0) | (uart->mcr & MCR_OUT2 ? MSR_DCD : 0));
    uint8_t changed = (uart->msr ^ lines) & 0xf0;
    /* The delta of RI marks its trailing edge only. */
    if (lines & MSR_RI)
        changed &= (uint8_t)~MSR_RI;
    uart->msr = (uint8_t)(lines | (uart->msr & 0x0f) | changed >> 4);
}

/* -- Registers -- */

static void write_ier(struct uart16550 *uart, uint8_t value)
{
    bool enabled = (value & IER_TRANSMITTER) && !(uart->ier & IER_TRANSMITTER);

    uart->ier = value & IER_WRITABLE;
    if (enabled)
        uart->transmitter_interrupt = true; /* THR is empty */
}

static void write_fcr(struct uart16550 *uart, uint8_t value)
{
    bool toggled = (value ^ uart->fcr) & FCR_ENABLE;

    if (toggled || (value & FCR_RESET_RECEIVER))
        clear_receiver(uart);
    /* The other bits are only programmed together with the enable bit. */
    uart->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static void write_lcr(struct uart16550 *uart, uint8_t value)
{
    bool break_begins = (value & LCR_BREAK) && !(uart->lcr & LCR_BREAK);

    uart->lcr = value;
    if (break_begins && (uart->mcr & MCR_LOOP))
        receive_character(uart, 0, LSR_BREAK);
}

static void uart_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct uart16550 *uart = opaque;
    uint8_t byte = (uint8_t)value;
    bool dlab = uart->lcr & LCR_DLAB;

    switch (offset) {
    case RBR_THR:
        if (dlab)
            uart->divisor = (uart->divisor & 0xff00) | byte;
        else
            write_thr(uart, byte);
        break;
    case IER:
        if (dlab)
            uart->divisor = (uint16_t)(byte << 8 | (uart->divisor & 0xff));
        else
            write_ier(uart, byte);
        break;
    case IIR_FCR:
        write_fcr(uart, byte);
        break;
    case LCR:
        write_lcr(uart, byte);
        break;
    case MCR:
        uart->mcr = byte & MCR_WRITABLE;
        update_modem(uart);
        break;
    case SCR:
        uart->scr = byte;
        break;
    default: /* LSR and MSR are written in factory tests only */
        log_guest("%s: write of %#x to a status register ignored", uart->device.id, byte);
    }
    update_irq(uart);
    if (offset == IIR_FCR || offset == MCR)
        offer_room(uart);
}

static uint8_t read_iir(struct uart16550 *uart)
{
    uint8_t source = pending_interrupt(uart);

    if (source == IIR_TRANSMITTER)
        uart->transmitter_interrupt = false;
    return source | (uart->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct uart16550 *uart)
{
    uint8_t value = LSR_THRE | LSR_TEMT | uart->lsr_errors;

    if (uart->fifo_count)
        value |= LSR_DATA;
    if (uart->fcr & FCR_ENABLE) {
        if (uart->lsr_errors & LSR_ERRORS & ~LSR_OVERRUN)
            value |= LSR_FIFO_ERROR;
        for (unsigned i = 0; i < uart->fifo_count; i++)
            value |= uart->fifo_error[i] ? LSR_FIFO_ERROR : 0;
    }
    uart->lsr_errors = 0;
    return value;
}

static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
    struct uart16550 *uart = opaque;
    bool dlab = uart->lcr & LCR_DLAB;
    uint8_t value;

    switch (offset) {
    case RBR_THR:
        return dlab ? uart->divisor & 0xff : read_rbr(uart);
    case IER:
        return dlab ? uart->divisor >> 8 : uart->ier;
    case IIR_FCR:
        value = read_iir(uart);
        break;
    case LCR:
        return uart->lcr;
    case MCR:
        return uart->mcr;
    case LSR:
        value = read_lsr(uart);
        break;
    case MSR:
        value = uart->msr;
        uart->msr &= 0xf0;
        break;
    default:
        return uart->scr;
    }
    update_irq(uart);
    return value;
}

static const struct access_ops uart_ops = {uart_read, uart_write, 1, 1};

/* -- Device -- */

static void uart_reset(struct device *device)
{
    struct uart16550 *uart = (struct uart16550 *)device;

    uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scr = 0;
    uart->msr = MSR_CONNECTED;
    uart->divisor = 12; /* undefined after reset; 9600 is harmless */
    uart->lsr_errors = 0;
    uart->transmitter_interrupt = false;
    memset(uart->fifo, 0, sizeof uart->fifo);
    clear_receiver(uart);
    update_irq(uart);
}

static bool uart_post_load(struct device *device, struct error *error)
{
    struct uart16550 *uart = (struct uart16550 *)device;

    if (uart->fifo_count > capacity(uart) || (uart->ier & ~IER_WRITABLE) ||
        (uart->mcr & ~MCR_WRITABLE) || (uart->fcr & ~FCR_KEPT) || (uart->lsr_errors & ~LSR_ERRORS))
        return error_set(error, "%s: the saved serial port state is impossible", device->id);
    timer_rearm(&uart->timeout);
    uart->irq_level = false;
    update_irq(uart);
    return true;
}

static void uart_destroy(struct device *device)
{
    struct uart16550 *uart = (struct uart16550 *)device;

    timer_cancel(&uart->timeout);
    free(uart);
}

static const struct device_ops uart_device_ops = {
    .name = "uart16550",
    .fields = uart_fields,
    .version = 1,
    .reset = uart_reset,
    .post_load = uart_post_load,
    .destroy = uart_destroy,
};

struct byte_port *uart16550_port(struct uart16550 *uart)
{
    return &uart->port;
}

struct uart16550 *uart16550_new(struct device_list *list, struct io_bus *io, uint16_t port,
                                struct clock *clock, struct irq_line irq, const char *id)
{
    struct uart16550 *uart = alloc_zeroed(sizeof *uart);

    uart->clock = clock;
    uart->irq = irq;
    uart->port.receive = port_receive;
    uart->port.device = uart;
    timer_init(&uart->timeout, clock, timeout_due, uart);
    device_add(list, &uart->device, &uart_device_ops, id);
    io_bus_add(io, port, 8, &uart_ops, uart);
    uart_reset(&uart->device);
    return uart;
}
