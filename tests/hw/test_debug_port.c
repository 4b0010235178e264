/* Debug console and exit port. */
#include "hw/chipset/debug_port.h"
#include "tests/hw/bench.h"

static char text[32];
static size_t length;
static int status;
static unsigned exits;
static struct byte_port port;

static void on_send(void *outside, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count && length < sizeof text; i++)
        text[length++] = (char)bytes[i];
}

static void on_exit_port(void *opaque, int value)
{
    status = value;
    exits++;
}

static void setup(void)
{
    bench_setup();
    length = exits = 0;
    port = (struct byte_port){0};
    debug_console_new(&bench_devices, bench_io, &port, "debug");
    exit_port_new(&bench_devices, bench_io, on_exit_port, NULL, "exit");
}

START_TEST(prints)
{
    ck_assert_int_eq(inb(0x402), 0xe9);
    outb(0x402, 'x'); /* nobody listens */
    port.send = on_send;
    outb(0x402, 'o');
    io_bus_write(bench_io, 0x402, 'k', 1);
    ck_assert_uint_eq(length, 2);
    ck_assert(memcmp(text, "ok", 2) == 0);
}
END_TEST

START_TEST(exits_with_status)
{
    ck_assert_int_eq(inb(0xf4), 0);
    outb(0xf4, 0x10);
    ck_assert_int_eq(status, 0x21);
    io_bus_write(bench_io, 0xf4, 0x1234, 2);
    ck_assert_int_eq(status, 0x69); /* a process status has 8 bits */
    io_bus_write(bench_io, 0xf4, 0, 4);
    ck_assert_int_eq(status, 1);
    ck_assert_uint_eq(exits, 3);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {prints, exits_with_status};

    return bench_main("debug ports", setup, tests, sizeof tests / sizeof tests[0]);
}
