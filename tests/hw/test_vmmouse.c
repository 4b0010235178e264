/*
 * The absolute mouse behind VMware's port, as its drivers talk to it, and who gets the pointer.
 */
#include "hw/input/i8042.h"
#include "hw/input/vmmouse.h"
#include "tests/hw/bench.h"

#define MAGIC    0x564d5868u
#define ENABLE   0x45414552u
#define DISABLE  0xf5u
#define ABSOLUTE 0x53424152u

static struct input_port input;
static struct input_routes *routes;
static struct cpu processor, *cpu;
static struct wire irq1, irq12;

static void reset_line(void *opaque)
{
}

static void free_routes(void)
{
    input_routes_free(routes);
}

/* What the port answers in EAX; the rest is in the registers. */
static uint32_t call(uint32_t command, uint32_t argument)
{
    processor.gpr[RAX] = MAGIC;
    processor.gpr[RBX] = argument;
    processor.gpr[RCX] = command;
    processor.gpr[RDX] = 0x5658;
    return io_bus_read(bench_io, 0x5658, 4);
}

static void setup(void)
{
    bench_setup();
    log_items = 0;
    memset(&input, 0, sizeof input);
    memset(&processor, 0, sizeof processor);
    cpu = &processor;
    irq1 = irq12 = (struct wire){0};
    i8042_new(&bench_devices, bench_io, bench_clock, wire_line(&irq1), wire_line(&irq12),
              reset_line, NULL, &input, "i8042");
    routes = input_routes_new(&input);
    bench_undo = free_routes;
    vmmouse_new(&bench_devices, bench_io, &cpu, routes, &input, "vmmouse");
    device_list_reset(&bench_devices);
}

/* Lets the PS/2 mouse send packets, as drivers of the other one do. */
static void stream(void)
{
    outb(0x64, 0x60);
    outb(0x60, 0x47);
    outb(0x64, 0xd4);
    outb(0x60, 0xf4);
    bench_run(20 * MS);
    ck_assert_uint_eq(inb(0x60), 0xfa);
    bench_run(20 * MS);
}

START_TEST(the_port_answers_only_to_the_magic)
{
    ck_assert_uint_eq(call(10, 0), 6);
    ck_assert_uint_eq(processor.gpr[RBX], MAGIC);
    ck_assert_uint_eq(call(1000, 0), UINT32_MAX);
    processor.gpr[RAX] = 0;
    ck_assert_uint_eq(io_bus_read(bench_io, 0x5658, 4), UINT32_MAX);
    processor.gpr[RAX] = MAGIC;
    ck_assert_uint_eq(io_bus_read(bench_io, 0x5658, 1), 0xff);
    cpu = NULL; /* no processor: a debugger reads the port */
    ck_assert_uint_eq(io_bus_read(bench_io, 0x5658, 4), UINT32_MAX);
}
END_TEST

START_TEST(a_driver_gets_positions)
{
    ck_assert_uint_eq(call(40, 0), 0xffff0000);
    call(41, ENABLE);
    ck_assert_uint_eq(call(40, 0), 1);
    ck_assert_uint_eq(call(39, 1), 0x3442554a);
    ck_assert_uint_eq(call(40, 0), 0);
    ck_assert(!input.absolute);
    call(41, ABSOLUTE);
    ck_assert(input.absolute);
    stream();
    unsigned before = irq12.rises;
    input.position(input.tablet, 0, 32767, -1, 5);
    bench_run(20 * MS);
    ck_assert_uint_eq(irq12.rises, before + 1); /* a packet of the other mouse tells of it */
    ck_assert_uint_eq(call(40, 0), 4);
    ck_assert_uint_eq(call(39, 4), 0x28);
    ck_assert_uint_eq(processor.gpr[RBX], 0);
    ck_assert_uint_eq(processor.gpr[RCX], 65535);
    ck_assert_uint_eq(processor.gpr[RDX], 1);
    call(41, DISABLE);
    ck_assert(!input.absolute);
    ck_assert_uint_eq(call(40, 0), 0xffff0000);
}
END_TEST

START_TEST(only_the_newest_place_waits)
{
    call(41, ENABLE);
    call(39, 1);
    call(41, ABSOLUTE);
    for (unsigned i = 0; i < 1000; i++)
        input.position(input.tablet, i, i, 0, 0);
    ck_assert_uint_eq(call(40, 0), 4);
    for (unsigned i = 0; i < 1000; i++)
        input.position(input.tablet, i, i, 0, i & 1);
    ck_assert_uint_eq(call(40, 0), 64);
    ck_assert_uint_eq(call(39, 5), 0xffff0000); /* wrong: the driver has to begin anew */
    ck_assert_uint_eq(call(40, 0), 0xffff0000);
}
END_TEST

static void take_position(void *device, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    *(unsigned *)device = x;
}

START_TEST(the_latest_pointer_is_used)
{
    unsigned first = 0, second = 0;
    struct pointer_route a = {.position = take_position, .device = &first};
    struct pointer_route b = {.position = take_position, .device = &second};
    input_routes_use_pointer(routes, &a, true);
    input_routes_use_pointer(routes, &b, true);
    input.position(input.tablet, 1, 0, 0, 0);
    ck_assert_uint_eq(second, 1);
    input_routes_use_pointer(routes, &b, true); /* once more changes nothing */
    input_routes_use_pointer(routes, &b, false);
    ck_assert(input.absolute);
    input.position(input.tablet, 2, 0, 0, 0);
    ck_assert_uint_eq(first, 2);
    ck_assert_uint_eq(second, 1);
    input_routes_use_pointer(routes, &a, false);
    ck_assert(!input.absolute);
    input.position(input.tablet, 3, 0, 0, 0);
    ck_assert_uint_eq(first, 2);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        the_port_answers_only_to_the_magic,
        a_driver_gets_positions,
        only_the_newest_place_waits,
        the_latest_pointer_is_used,
    };
    return bench_main("vmmouse", setup, tests, sizeof tests / sizeof *tests);
}
