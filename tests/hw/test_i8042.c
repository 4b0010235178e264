/* Keyboard controller, keyboard and mouse together, as software sees them. */
#include "hw/input/i8042.h"
#include "hw/input/ps2_keys.h"
#include "tests/hw/bench.h"

static struct i8042 *kbc;
static struct input_port input;
static struct wire irq1, irq12, a20;
static unsigned resets;

static void on_reset(void *opaque)
{
    resets++;
}

static void setup(void)
{
    bench_setup();
    irq1 = irq12 = a20 = (struct wire){0};
    resets = 0;
    input = (struct input_port){0};
    kbc = i8042_new(&bench_devices, bench_io, bench_clock, wire_line(&irq1), wire_line(&irq12),
                    on_reset, NULL, &input, "kbc");
    i8042_connect_a20(kbc, wire_line(&a20));
}

/* The next byte in the output buffer, or -1 if none comes within 5 ms. */
static int take(void)
{
    if (!(inb(0x64) & 1))
        bench_run(5 * MS);
    return inb(0x64) & 1 ? inb(0x60) : -1;
}

static void expect_bytes(const uint8_t *bytes, size_t count, int line)
{
    for (size_t i = 0; i < count; i++) {
        int got = take();
        ck_assert_msg(got == bytes[i], "line %d, byte %zu: %#x instead of %#x", line, i, got,
                      bytes[i]);
    }
    ck_assert_msg(take() == -1, "line %d: more than %zu bytes", line, count);
}

#define EXPECT(...)                                                                                \
    do {                                                                                           \
        const uint8_t expected_[] = {__VA_ARGS__};                                                 \
        expect_bytes(expected_, sizeof expected_, __LINE__);                                       \
    } while (0)

static void mode(uint8_t value)
{
    outb(0x64, 0x60);
    outb(0x60, value);
}

static void mouse_command(uint8_t byte)
{
    outb(0x64, 0xd4);
    outb(0x60, byte);
}

static void key(uint16_t usage, bool down)
{
    input.key(input.keyboard, usage, down);
}

static void mouse_say(uint8_t byte)
{
    mouse_command(byte);
    ck_assert_int_eq(take(), 0xfa);
}

static void keyboard_say(uint8_t byte)
{
    outb(0x60, byte);
    ck_assert_int_eq(take(), 0xfa);
}

static void move(int dx, int dy, int wheel, unsigned buttons)
{
    input.pointer(input.mouse, dx, dy, wheel, buttons);
}

START_TEST(controller_commands)
{
    log_items = 0;
    ck_assert_int_eq(inb(0x64), 0x10);
    outb(0x64, 0xaa);
    ck_assert_int_eq(inb(0x64), 0x1d);
    ck_assert_int_eq(inb(0x60), 0x55);
    ck_assert_int_eq(inb(0x64), 0x1c);
    ck_assert_int_eq(inb(0x60), 0x55); /* stays */
    outb(0x64, 0xab);
    EXPECT(0x00);
    outb(0x64, 0xa9);
    EXPECT(0x00);
    mode(0x47);
    outb(0x64, 0x20);
    EXPECT(0x47);
    ck_assert_int_eq(inb(0x64) & 0x08, 0x08);
    outb(0x64, 0xad);
    outb(0x64, 0xa7);
    outb(0x64, 0x20);
    EXPECT(0x77);
    outb(0x64, 0xae);
    outb(0x64, 0xa8);
    outb(0x64, 0x20);
    EXPECT(0x47);
    outb(0x64, 0x65);
    outb(0x60, 0x99);
    outb(0x64, 0x25);
    EXPECT(0x99);
    outb(0x64, 0xa4);
    EXPECT(0xf1);
    outb(0x64, 0xc0);
    EXPECT(0xb0);
    outb(0x64, 0xe0);
    EXPECT(0x03);
    outb(0x64, 0xd2);
    outb(0x60, 0x42);
    ck_assert(irq1.level);
    EXPECT(0x42);
    outb(0x64, 0xd3);
    outb(0x60, 0x43);
    ck_assert(irq12.level && !irq1.level);
    ck_assert_int_eq(inb(0x64) & 0x21, 0x21);
    EXPECT(0x43);
    ck_assert(!irq12.level);
    outb(0x64, 0xac); /* not modelled */
    ck_assert_int_eq(take(), -1);
}
END_TEST

START_TEST(output_port)
{
    ck_assert(a20.level);
    outb(0x64, 0xd1);
    outb(0x60, 0xdd);
    ck_assert(!a20.level);
    outb(0x64, 0xd0);
    ck_assert_int_eq(inb(0x60) & 3, 1);
    outb(0x64, 0xdf);
    ck_assert(a20.level);
    outb(0x64, 0xdd);
    ck_assert(!a20.level);
    ck_assert_uint_eq(resets, 0);
    outb(0x64, 0xff);
    ck_assert_uint_eq(resets, 0);
    outb(0x64, 0xfe);
    ck_assert_uint_eq(resets, 1);
    outb(0x64, 0xd1);
    outb(0x60, 0xfe);
    ck_assert_uint_eq(resets, 2);
    ck_assert(a20.level);
}
END_TEST

START_TEST(keys_translated)
{
    key(0x04, true);
    ck_assert(!irq1.level); /* the wire takes its time */
    bench_run(MS);
    ck_assert(irq1.level);
    EXPECT(0x1e);
    ck_assert(!irq1.level);
    key(0x04, false);
    EXPECT(0x9e);
    key(0x52, true);
    key(0x52, false);
    EXPECT(0xe0, 0x48, 0xe0, 0xc8);
    key(0x40, true); /* F7 */
    key(0x40, false);
    EXPECT(0x41, 0xc1);
    key(0xe4, true);
    key(0xe4, false);
    EXPECT(0xe0, 0x1d, 0xe0, 0x9d);
    key(0x04, false); /* not down */
    key(0x00, true);
    key(0xffff, true);
    key(0x44, true);
    key(0x44, true); /* the host's repeat */
    EXPECT(0x57);
}
END_TEST

START_TEST(special_keys)
{
    key(0x46, true);
    key(0x46, false);
    EXPECT(0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa);
    key(0x48, true);
    key(0x48, false);
    EXPECT(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
    key(0xe2, true);
    key(0x46, true);
    key(0x46, false);
    key(0xe2, false);
    EXPECT(0x38, 0x54, 0xd4, 0xb8);
    key(0xe0, true);
    key(0x48, true);
    key(0x48, false);
    key(0xe0, false);
    EXPECT(0x1d, 0xe0, 0x46, 0xe0, 0xc6, 0x9d);
}
END_TEST

/* Every key of a PC-105 has a code of its own in set 1 and breaks with it. */
START_TEST(all_keys)
{
    bool seen[2][256] = {{false}};
    unsigned keys = 0;

    for (unsigned usage = 0x04; usage <= 0xe7; usage++) {
        if (usage == 0x67 || usage == HID_PRINT_SCREEN || usage == HID_PAUSE || usage == 0x32)
            continue;
        if (usage > 0x65 && usage < 0xe0)
            continue;
        key((uint16_t)usage, true);
        int code = take();
        bool extended = code == 0xe0;
        if (extended)
            code = take();
        ck_assert_msg(code > 0 && code < 0x80, "usage %#x", usage);
        ck_assert_msg(!seen[extended][code], "usage %#x", usage);
        seen[extended][code] = true;
        key((uint16_t)usage, false);
        if (extended)
            ck_assert_int_eq(take(), 0xe0);
        ck_assert_int_eq(take(), code | 0x80);
        keys++;
    }
    ck_assert_uint_eq(keys, 105 - 2); /* without print screen and pause */
}
END_TEST

START_TEST(scan_sets)
{
    mode(0x01); /* no translation */
    keyboard_say(0xf0);
    keyboard_say(0x00);
    EXPECT(0x02);
    key(0x04, true);
    key(0x04, false);
    EXPECT(0x1c, 0xf0, 0x1c);
    keyboard_say(0xf0);
    keyboard_say(0x01);
    key(0x52, true);
    key(0x52, false);
    EXPECT(0xe0, 0x48, 0xe0, 0xc8);
    keyboard_say(0xf0);
    keyboard_say(0x03);
    key(0x52, true);
    key(0x52, false); /* no break code by default */
    key(0xe1, true);
    key(0xe1, false);
    EXPECT(0x63, 0x12, 0xf0, 0x12);
    keyboard_say(0xfa);
    key(0x52, true);
    key(0x52, false);
    EXPECT(0x63, 0xf0, 0x63);
    keyboard_say(0xfd); /* make only */
    keyboard_say(0x63);
    keyboard_say(0x6a);
    key(0x52, true);
    key(0x52, false);
    EXPECT(0x63);
    outb(0x60, 0xf0);
    take();
    outb(0x60, 0x07);
    EXPECT(0xfe);
}
END_TEST

START_TEST(keyboard_commands)
{
    outb(0x60, 0xf2);
    EXPECT(0xfa, 0xab, 0x41); /* the ID, translated */
    mode(0x01);
    outb(0x60, 0xf2);
    EXPECT(0xfa, 0xab, 0x83);
    outb(0x60, 0xfe);
    EXPECT(0x83);
    outb(0x60, 0xee);
    EXPECT(0xee);
    keyboard_say(0xed);
    keyboard_say(0x05);
    ck_assert_int_eq(input.leds, 5);
    keyboard_say(0xed);
    outb(0x60, 0xf4); /* a command instead of the argument */
    EXPECT(0xfa);
    ck_assert_int_eq(input.leds, 5);
    keyboard_say(0xf5);
    ck_assert_int_eq(input.leds, 0);
    key(0x04, true);
    ck_assert_int_eq(take(), -1);
    key(0x04, false);
    keyboard_say(0xf4);
    key(0x04, true);
    EXPECT(0x1c);
    outb(0x60, 0xff);
    EXPECT(0xfa, 0xaa);
    outb(0x60, 0x80);
    EXPECT(0xfe);
    outb(0x64, 0xad); /* sending enables the interface again */
    outb(0x60, 0xee);
    EXPECT(0xee);
    /* An answer overtakes scan codes that wait. */
    key(0x05, true);
    key(0x05, false);
    outb(0x60, 0xed);
    EXPECT(0xfa, 0x32, 0xf0, 0x32);
}
END_TEST

START_TEST(typematic)
{
    unsigned repeats = 0;

    mode(0x01);
    keyboard_say(0xf3);
    keyboard_say(0x20); /* 500 ms, 30 a second */
    key(0x04, true);
    EXPECT(0x1c);
    bench_run(480 * MS);
    ck_assert_int_eq(take(), -1);
    for (int ms = 0; ms < 1000; ms += 5) {
        int code = take();
        if (code != -1) {
            ck_assert_int_eq(code, 0x1c);
            repeats++;
        }
    }
    ck_assert_uint_ge(repeats, 28);
    ck_assert_uint_le(repeats, 31);
    key(0x05, true); /* the last key repeats */
    take();
    bench_run(600 * MS);
    ck_assert_int_eq(take(), 0x32);
    key(0x05, false);
    while (take() != -1)
        ;
    bench_run(NS_PER_SECOND);
    ck_assert_int_eq(take(), -1); /* and the one before does not resume */
}
END_TEST

START_TEST(overrun)
{
    outb(0x64, 0xad);
    for (int i = 0; i < 12; i++) {
        key((uint16_t)(0x04 + i), true);
        key((uint16_t)(0x04 + i), false);
    }
    outb(0x64, 0xae);
    mode(0x01);
    unsigned count = 0;
    int last = 0;
    for (int code; (code = take()) != -1; count++)
        last = code;
    ck_assert_uint_eq(count, 17);
    ck_assert_int_eq(last, 0x00);
    key(0x04, true); /* works again */
    EXPECT(0x1c);
}
END_TEST

START_TEST(mouse_protocol)
{
    mode(0x43);
    mouse_command(0xff);
    bench_run(MS);
    ck_assert(irq12.level && !irq1.level);
    ck_assert_int_eq(inb(0x64) & 0x21, 0x21);
    EXPECT(0xfa, 0xaa, 0x00);
    mouse_command(0xf2);
    EXPECT(0xfa, 0x00);
    mouse_command(0xe9);
    EXPECT(0xfa, 0x00, 0x02, 0x64);
    move(5, 5, 0, 0); /* reporting is off */
    ck_assert_int_eq(take(), -1);
    mouse_say(0xf4);
    bench_run(20 * MS);
    move(10, 3, 0, 1);
    EXPECT(0x29, 0x0a, 0xfd);
    bench_run(20 * MS);
    move(-300, 0, 0, 1); /* in two packets */
    EXPECT(0x19, 0x01, 0x00, 0x19, 0xd3, 0x00);
    move(0, 0, 0, 6);
    EXPECT(0x0e, 0x00, 0x00);
    mouse_command(0xe9);
    EXPECT(0xfa, 0x23, 0x02, 0x64);
    mouse_say(0xe8);
    mouse_say(0x03);
    mouse_say(0xe7);
    bench_run(20 * MS);
    move(5, -20, 0, 6);
    EXPECT(0x0e, 0x09, 0x28);
    mouse_say(0xe8);
    mouse_command(0x09);
    EXPECT(0xfe);
    mouse_say(0xf6);
    mouse_command(0xe9);
    EXPECT(0xfa, 0x03, 0x02, 0x64);
    mouse_command(0x11);
    EXPECT(0xfe);
}
END_TEST

START_TEST(mouse_sampling)
{
    mode(0x43);
    mouse_say(0xf3);
    mouse_say(10);
    mouse_say(0xf4);
    bench_run(200 * MS);
    unsigned packets = 0;
    int sum = 0;
    for (int ms = 0; ms < 1000; ms += 10) {
        move(1, 0, 0, 0);
        bench_run(10 * MS);
        if (inb(0x64) & 1) {
            take();
            sum += take();
            take();
            packets++;
        }
    }
    ck_assert_uint_ge(packets, 9);
    ck_assert_uint_le(packets, 13); /* taking them takes time too */
    ck_assert_int_ge(sum, 90);
    /* A click does not wait. */
    move(0, 0, 0, 1);
    bench_run(MS);
    ck_assert_int_eq(inb(0x64) & 0x21, 0x21);
}
END_TEST

START_TEST(mouse_knocks)
{
    static const uint8_t wheel[] = {0xf3, 200, 0xf3, 100, 0xf3, 80};
    static const uint8_t explorer[] = {0xf3, 200, 0xf3, 200, 0xf3, 80};

    mode(0x43);
    for (int i = 0; i < 6; i++)
        mouse_say(wheel[i]);
    mouse_command(0xf2);
    EXPECT(0xfa, 0x03);
    mouse_say(0xf4);
    bench_run(50 * MS);
    move(0, 0, 1, 0);
    EXPECT(0x08, 0x00, 0x00, 0xff);
    for (int i = 0; i < 6; i++)
        mouse_say(explorer[i]);
    mouse_command(0xf2);
    EXPECT(0xfa, 0x04);
    bench_run(50 * MS);
    move(0, 0, -2, 0x18);
    EXPECT(0x08, 0x00, 0x00, 0x32);
    mouse_command(0xff);
    EXPECT(0xfa, 0xaa, 0x00);
}
END_TEST

START_TEST(mouse_modes)
{
    mode(0x43);
    mouse_say(0xf0);
    mouse_say(0xf4);
    move(3, 4, 0, 2);
    ck_assert_int_eq(take(), -1);
    mouse_command(0xeb);
    EXPECT(0xfa, 0x2a, 0x03, 0xfc);
    mouse_command(0xe9);
    EXPECT(0xfa, 0x61, 0x02, 0x64);
    mouse_say(0xee);
    mouse_command(0x55);
    EXPECT(0x55);
    mouse_command(0xf4);
    EXPECT(0xf4);
    mouse_say(0xec);
    mouse_say(0xea);
    bench_run(20 * MS);
    move(1, 0, 0, 2);
    EXPECT(0x0a, 0x01, 0x00);
}
END_TEST

START_TEST(state)
{
    struct input_port other_input = {0};
    struct io_bus *other_io = bench_other_io();
    const struct irq_line none = {0};
    struct i8042 *other = i8042_new(&bench_devices, other_io, bench_clock, none, none, on_reset,
                                    NULL, &other_input, "kbc2");
    struct device *keyboard = other_input.keyboard, *mouse = other_input.mouse;

    mode(0x43);
    keyboard_say(0xed);
    keyboard_say(0x02);
    mouse_say(0xf4);
    key(0x52, true);
    move(1, 2, 0, 1);
    ck_assert(copy_state((struct device *)other, (struct device *)kbc));
    ck_assert(copy_state(keyboard, input.keyboard));
    ck_assert(copy_state(mouse, input.mouse));
    ck_assert(same_state(keyboard, input.keyboard));
    ck_assert(same_state(mouse, input.mouse));
    ck_assert_int_eq(other_input.leds, 2);
    for (int i = 0; i < 5; i++) {
        bench_run(MS);
        ck_assert_int_eq(io_bus_read(other_io, 0x64, 1), inb(0x64));
        ck_assert_int_eq(io_bus_read(other_io, 0x60, 1), inb(0x60));
    }
}
END_TEST

START_TEST(hostile)
{
    uint32_t seed = 17;

    log_items = 0;
    for (int i = 0; i < 400000; i++) {
        uint32_t r = bench_random(&seed);
        uint8_t byte = (uint8_t)(r >> 8);
        switch (r & 7) {
        case 0:
            outb(0x60, byte);
            break;
        case 1:
            outb(0x64, byte);
            break;
        case 2:
            mouse_command(byte);
            break;
        case 3:
            inb(0x60);
            break;
        case 4:
            key((uint16_t)((r >> 8) % 0x140), r >> 31);
            break;
        case 5:
            move((int)bench_random(&seed), (int)bench_random(&seed), (int)r, r >> 8);
            break;
        case 6:
            inb(0x64);
            break;
        default:
            bench_run(r & 0xfffff);
        }
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        controller_commands, output_port,       keys_translated, special_keys, all_keys,
        scan_sets,           keyboard_commands, typematic,       overrun,      mouse_protocol,
        mouse_sampling,      mouse_knocks,      mouse_modes,     state,        hostile,
    };

    return bench_main("i8042", setup, tests, sizeof tests / sizeof tests[0]);
}
