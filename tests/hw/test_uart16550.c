/* The 16550A, register by register. */
#include "hw/chipset/uart16550.h"
#include "tests/hw/bench.h"

#define BASE 0x3f8
enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static struct uart16550 *uart;
static struct byte_port *port;
static struct wire irq;
static char sent[64];
static size_t sent_count;
static unsigned room_calls;

static void on_send(void *outside, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sent[sent_count++ % sizeof sent] = (char)bytes[i];
}

static void on_writable(void *outside)
{
    room_calls++;
}

static uint8_t get(unsigned reg)
{
    return inb((uint16_t)(BASE + reg));
}

static void put(unsigned reg, uint8_t value)
{
    outb((uint16_t)(BASE + reg), value);
}

static void setup(void)
{
    bench_setup();
    irq = (struct wire){0};
    sent_count = room_calls = 0;
    uart = uart16550_new(&bench_devices, bench_io, BASE, bench_clock, wire_line(&irq), "serial0");
    port = uart16550_port(uart);
    port->send = on_send;
    port->writable = on_writable;
    put(LCR, 0x83);
    put(RBR, 1); /* 115200 */
    put(IER, 0);
    put(LCR, 0x03);
    put(MCR, 0x0b);
    room_calls = 0;
}

static size_t feed(const char *text)
{
    return port->receive(port->device, (const uint8_t *)text, strlen(text));
}

START_TEST(registers)
{
    put(LCR, 0x80);
    put(RBR, 0x34);
    put(IER, 0x12);
    ck_assert_int_eq(get(RBR), 0x34);
    ck_assert_int_eq(get(IER), 0x12);
    put(LCR, 0x03);
    ck_assert_int_eq(get(IER), 0);
    put(IER, 0xff);
    ck_assert_int_eq(get(IER), 0x0f);
    put(SCR, 0xa5);
    ck_assert_int_eq(get(SCR), 0xa5);
    put(MCR, 0xff);
    ck_assert_int_eq(get(MCR), 0x1f);
    put(IIR, 0x01);
    ck_assert_int_eq(get(IIR) & 0xc0, 0xc0);
    put(IIR, 0xc0); /* not without the enable bit */
    ck_assert_int_eq(get(IIR) & 0xc0, 0);
    ck_assert_int_eq(get(LSR), 0x60);
}
END_TEST

START_TEST(transmit)
{
    put(RBR, 'h');
    ck_assert(!irq.level);
    put(IER, 0x02); /* enabling with THR empty interrupts at once */
    ck_assert(irq.level);
    ck_assert_int_eq(get(IIR), 0x02);
    ck_assert(!irq.level);
    ck_assert_int_eq(get(IIR), 0x01);
    put(RBR, 'i');
    ck_assert(irq.level);
    unsigned rises = irq.rises;
    put(RBR, '!'); /* each byte is an edge */
    ck_assert_uint_eq(irq.rises, rises + 1);
    ck_assert_uint_eq(sent_count, 3);
    ck_assert(memcmp(sent, "hi!", 3) == 0);
    put(MCR, 0x03); /* OUT2 gates the line */
    ck_assert(!irq.level);
}
END_TEST

START_TEST(receive_without_fifo)
{
    put(IER, 0x01);
    ck_assert_uint_eq(feed("ab"), 1);
    ck_assert(irq.level);
    ck_assert_int_eq(get(IIR), 0x04);
    ck_assert_int_eq(get(LSR), 0x61);
    ck_assert_int_eq(get(RBR), 'a');
    ck_assert_uint_eq(room_calls, 1);
    ck_assert(!irq.level);
    ck_assert_int_eq(get(LSR), 0x60);
}
END_TEST

START_TEST(receive_fifo)
{
    put(IIR, 0x81); /* trigger at 8 */
    put(IER, 0x01);
    ck_assert_uint_eq(feed("1234567"), 7);
    ck_assert(!irq.level);
    bench_run(4 * 86 * US); /* not quite four characters of 86.8 us */
    ck_assert(!irq.level);
    bench_run(4 * US);
    ck_assert_int_eq(get(IIR), 0xcc);
    ck_assert_int_eq(get(RBR), '1');
    ck_assert(!irq.level);
    ck_assert_uint_eq(feed("89"), 2);
    ck_assert_int_eq(get(IIR), 0xc4);
    ck_assert_uint_eq(feed("abcdefghijk"), 8);
    for (const char *c = "23456789abcdefgh"; *c; c++) {
        ck_assert_int_eq(get(LSR), 0x61);
        ck_assert_int_eq(get(RBR), *c);
    }
    ck_assert_int_eq(get(LSR), 0x60);
    ck_assert_uint_eq(room_calls, 2); /* one for the FIFO's reset */
    feed("xyz");
    put(IIR, 0x83);
    ck_assert_int_eq(get(LSR), 0x60);
    bench_run(MS);
    ck_assert(!irq.level);
}
END_TEST

START_TEST(priorities)
{
    put(IIR, 0x01);
    put(IER, 0x0f);
    put(MCR, 0x1b); /* loopback: OUT2's line is off, IIR still works */
    put(MCR, 0x1f);
    put(MCR, 0x10); /* CTS, DSR, DCD fall, RI's trailing edge */
    for (int i = 0; i < 17; i++)
        put(RBR, (uint8_t)('a' + i));
    ck_assert(!irq.level);
    ck_assert_int_eq(get(IIR), 0xc6);
    ck_assert_int_eq(get(LSR), 0x63); /* overrun */
    ck_assert_int_eq(get(IIR), 0xc4);
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(get(RBR), 'a' + i);
    ck_assert_int_eq(get(IIR), 0xc2);
    ck_assert_int_eq(get(IIR), 0xc0);
    ck_assert_int_eq(get(MSR), 0x0f);
    ck_assert_int_eq(get(IIR), 0xc1);
    ck_assert_uint_eq(sent_count, 0);
    ck_assert_uint_eq(feed("x"), 0); /* off the line */
    put(MCR, 0x08);
    ck_assert_int_eq(get(MSR), 0xbb);
}
END_TEST

START_TEST(loopback_lines)
{
    static const uint8_t expected[16] = {0x00, 0x20, 0x10, 0x30, 0x40, 0x60, 0x50, 0x70,
                                         0x80, 0xa0, 0x90, 0xb0, 0xc0, 0xe0, 0xd0, 0xf0};
    for (unsigned i = 0; i < 16; i++) {
        put(MCR, (uint8_t)(0x10 | i));
        ck_assert_int_eq(get(MSR) & 0xf0, expected[i]);
    }
    put(LCR, 0x00); /* five bits */
    put(RBR, 0xff);
    ck_assert_int_eq(get(RBR), 0x1f);
    put(LCR, 0x40);
    ck_assert_int_eq(get(LSR), 0x71);
    ck_assert_int_eq(get(RBR), 0);
}
END_TEST

START_TEST(breaks)
{
    put(IIR, 0x01);
    put(IER, 0x05);
    feed("a");
    uart16550_receive_break(uart);
    ck_assert_int_eq(get(LSR), 0xe1); /* an error is in the FIFO, not at its head */
    ck_assert_int_eq(get(RBR), 'a');
    ck_assert_int_eq(get(IIR), 0xc6);
    ck_assert_int_eq(get(LSR), 0xf1);
    ck_assert_int_eq(get(LSR), 0x61);
    ck_assert_int_eq(get(RBR), 0);
}
END_TEST

START_TEST(state)
{
    struct wire other = {0};

    put(IIR, 0xc1);
    put(IER, 0x01);
    feed("hello");
    struct uart16550 *copy =
        uart16550_new(&bench_devices, bench_io, 0x2f8, bench_clock, wire_line(&other), "serial1");
    ck_assert(copy_state((struct device *)copy, (struct device *)uart));
    ck_assert(same_state((struct device *)copy, (struct device *)uart));
    bench_run(MS);
    ck_assert(other.level);
    ck_assert_int_eq(inb(0x2f8 + IIR), 0xcc);
    for (const char *c = "hello"; *c; c++)
        ck_assert_int_eq(inb(0x2f8), *c);
    ck_assert(!other.level);
}
END_TEST

START_TEST(hostile)
{
    uint32_t seed = 3;

    log_items = 0;
    for (int i = 0; i < 300000; i++) {
        uint32_t r = bench_random(&seed);
        if (r & 1)
            put((r >> 4) & 7, (uint8_t)(r >> 8));
        else if (r & 2)
            get((r >> 4) & 7);
        else if (r & 4)
            feed(&"0123456789abcdefghij"[(r >> 8) & 15]);
        else if (r & 8)
            uart16550_receive_break(uart);
        else
            bench_run((r >> 8) & 0xfffff);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        registers, transmit, receive_without_fifo, receive_fifo, priorities, loopback_lines, breaks,
        state,     hostile,
    };

    return bench_main("uart16550", setup, tests, sizeof tests / sizeof tests[0]);
}
