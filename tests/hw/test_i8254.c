/* The 8254 in all modes, on a clock moved by hand. */
#include "hw/chipset/i8254.h"
#include "tests/hw/bench.h"

static struct i8254 *pit;
static struct wire irq0;

static void setup(void)
{
    bench_setup();
    irq0 = (struct wire){0};
    pit = i8254_new(&bench_devices, bench_io, bench_clock, wire_line(&irq0), "pit");
}

/* Moves to the middle of the tick `ticks` later than the present one. */
static void run_ticks(uint64_t ticks)
{
    uint64_t tick = clock_scale(clock_now(bench_clock), PIT_HZ, NS_PER_SECOND) + ticks;

    bench_run_to(clock_scale(2 * tick + 1, NS_PER_SECOND, 2 * PIT_HZ));
}

static void program(int counter, int mode, uint16_t count)
{
    outb(0x43, (uint8_t)(counter << 6 | 0x30 | mode << 1));
    outb((uint16_t)(0x40 + counter), (uint8_t)count);
    outb((uint16_t)(0x40 + counter), (uint8_t)(count >> 8));
    run_ticks(1); /* the load */
}

static unsigned read16(int counter)
{
    unsigned low = inb((uint16_t)(0x40 + counter));

    return low | (unsigned)inb((uint16_t)(0x40 + counter)) << 8;
}

static unsigned latched(int counter)
{
    outb(0x43, (uint8_t)(counter << 6));
    return read16(counter);
}

static uint8_t status(int counter)
{
    outb(0x43, (uint8_t)(0xe0 | 2 << counter));
    return inb((uint16_t)(0x40 + counter));
}

static bool out2(void)
{
    return inb(0x61) & 0x20;
}

START_TEST(mode0)
{
    program(0, 0, 1000);
    ck_assert(!irq0.level);
    ck_assert_uint_eq(latched(0), 1000);
    run_ticks(10);
    ck_assert_uint_eq(latched(0), 990);
    run_ticks(989);
    ck_assert(!irq0.level);
    run_ticks(1);
    ck_assert(irq0.level);
    ck_assert_uint_eq(latched(0), 0);
    run_ticks(1);
    ck_assert_uint_eq(latched(0), 0xffff);
    run_ticks(200000);
    ck_assert_uint_eq(irq0.rises, 1);
    outb(0x40, 5); /* the first byte stops it and lowers OUT */
    run_ticks(5);
    unsigned held = latched(0);
    run_ticks(5);
    ck_assert_uint_eq(latched(0), held);
    outb(0x43, 0x30);
    ck_assert(!irq0.level);
}
END_TEST

START_TEST(mode0_gate)
{
    outb(0x61, 0);
    program(2, 0, 100);
    run_ticks(500);
    ck_assert_uint_eq(latched(2), 100);
    outb(0x61, 1);
    run_ticks(60);
    ck_assert_uint_eq(latched(2), 40);
    ck_assert(!out2());
    outb(0x61, 0);
    run_ticks(100);
    ck_assert_uint_eq(latched(2), 40);
    outb(0x61, 1);
    run_ticks(40);
    ck_assert(out2());
}
END_TEST

START_TEST(mode1_one_shot)
{
    program(2, 1, 50);
    run_ticks(100);
    ck_assert(out2());
    outb(0x61, 1);
    run_ticks(1);
    ck_assert(!out2());
    run_ticks(30);
    outb(0x61, 0); /* the gate's level does not matter */
    ck_assert(!out2());
    outb(0x61, 1); /* retrigger */
    run_ticks(1);
    run_ticks(49);
    ck_assert(!out2());
    run_ticks(1);
    ck_assert(out2());
}
END_TEST

START_TEST(mode2_rate)
{
    program(0, 2, 100);
    ck_assert(irq0.level);
    irq0.rises = 0;
    run_ticks(1000);
    ck_assert_uint_eq(irq0.rises, 10);
    ck_assert_uint_eq(latched(0), 100);
    run_ticks(99);
    ck_assert_uint_eq(latched(0), 1);
    ck_assert_int_eq(status(0), 0x34); /* OUT low for this tick */
    run_ticks(1);
    ck_assert_int_eq(status(0), 0xb4);
    /* A new count waits for the end of the period. */
    outb(0x40, 20);
    outb(0x40, 0);
    ck_assert_int_eq(status(0), 0xf4);
    run_ticks(50);
    ck_assert_uint_eq(latched(0), 50);
    run_ticks(50);
    ck_assert_uint_eq(latched(0), 20);
    ck_assert_int_eq(status(0), 0xb4);
    /* Reads that pass an edge do not swallow the interrupt. */
    irq0.rises = 0;
    clock_set(bench_clock, clock_now(bench_clock) + 20 * US);
    latched(0);
    status(0);
    clock_fire_due(bench_clock);
    ck_assert_uint_eq(irq0.rises, 1);
}
END_TEST

START_TEST(mode3_square)
{
    outb(0x61, 1);
    program(2, 3, 5);
    static const struct {
        unsigned value;
        bool out;
    } expected[] = {{4, 1}, {2, 1}, {0, 1}, {4, 0}, {2, 0}, {4, 1}, {2, 1}, {0, 1}, {4, 0}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        ck_assert_uint_eq(latched(2), expected[i].value);
        ck_assert_int_eq(out2(), expected[i].out);
        run_ticks(1);
    }
    outb(0x61, 0); /* the gate forces OUT high */
    ck_assert(out2());
    run_ticks(4);
    ck_assert(out2());

    program(0, 3, 1000);
    irq0 = (struct wire){.level = true};
    run_ticks(499);
    ck_assert(irq0.level);
    run_ticks(1);
    ck_assert(!irq0.level);
    run_ticks(9500);
    ck_assert_uint_eq(irq0.rises, 10);
    ck_assert_uint_eq(irq0.falls, 10);
}
END_TEST

START_TEST(mode4_strobe)
{
    outb(0x61, 1);
    program(2, 4, 10);
    run_ticks(9);
    ck_assert(out2());
    run_ticks(1);
    ck_assert(!out2());
    run_ticks(1);
    ck_assert(out2());
    run_ticks(0x10000);
    ck_assert(out2()); /* once */

    program(0, 4, 100);
    irq0.rises = 0;
    run_ticks(101);
    ck_assert_uint_eq(irq0.rises, 1);
    run_ticks(300000);
    ck_assert_uint_eq(irq0.rises, 1);
}
END_TEST

START_TEST(mode5_triggered_strobe)
{
    program(2, 5, 10);
    run_ticks(20);
    ck_assert(out2());
    outb(0x61, 1);
    run_ticks(1 + 10);
    ck_assert(!out2());
    run_ticks(1);
    ck_assert(out2());
}
END_TEST

START_TEST(latches)
{
    program(0, 2, 0x1234);
    outb(0x43, 0x00);
    run_ticks(100);
    outb(0x43, 0x00); /* ignored until the first was read */
    ck_assert_uint_eq(read16(0), 0x1234);
    outb(0x43, 0xc2); /* read back count and status */
    ck_assert_int_eq(inb(0x40), 0xb4);
    ck_assert_uint_eq(read16(0), 0x1234 - 100);

    outb(0x43, 0x20 | 0x04); /* high byte only */
    outb(0x40, 0x12);
    run_ticks(1);
    ck_assert_int_eq(inb(0x40), 0x12);
    ck_assert_int_eq(inb(0x40), 0x12);
    outb(0x43, 0x10 | 0x04); /* low byte only */
    outb(0x40, 0x12);
    run_ticks(1 + 2);
    ck_assert_int_eq(inb(0x40), 0x10);
    ck_assert_int_eq(inb(0x43), 0xff);
}
END_TEST

START_TEST(bcd)
{
    outb(0x43, 0x35);
    outb(0x40, 0x00);
    outb(0x40, 0x10);
    run_ticks(1);
    ck_assert_uint_eq(latched(0), 0x1000);
    run_ticks(1);
    ck_assert_uint_eq(latched(0), 0x0999);
    run_ticks(999);
    ck_assert_uint_eq(latched(0), 0x1000);
    outb(0x43, 0x31);
    outb(0x40, 0);
    outb(0x40, 0);
    run_ticks(1);
    ck_assert_uint_eq(latched(0), 0); /* 10000 */
    run_ticks(1);
    ck_assert_uint_eq(latched(0), 0x9999);
    run_ticks(10000);
    ck_assert_uint_eq(latched(0), 0x9999);
}
END_TEST

START_TEST(catching_up)
{
    program(0, 2, 1193); /* 1 ms */
    irq0.rises = 0;
    bench_jump(10 * MS + 100 * US);
    ck_assert_uint_eq(irq0.rises, 1);
    bench_run(20 * MS);
    ck_assert_uint_ge(irq0.rises, 29); /* none is lost */
    ck_assert_uint_le(irq0.rises, 31);
    irq0.rises = 0;
    bench_run(100 * MS);
    ck_assert_uint_ge(irq0.rises, 99);
    ck_assert_uint_le(irq0.rises, 101);

    bench_jump(3600 * NS_PER_SECOND); /* and not millions at once */
    irq0.rises = 0;
    bench_run(NS_PER_SECOND);
    ck_assert_uint_le(irq0.rises, 1100);

    program(0, 3, 11932); /* 10 ms */
    irq0.rises = 0;
    bench_jump(107 * MS);
    bench_run(200 * MS);
    ck_assert_uint_ge(irq0.rises, 29);
    ck_assert_uint_le(irq0.rises, 31);
}
END_TEST

START_TEST(no_storm)
{
    program(0, 2, 2);
    uint64_t fired = 0;
    while (clock_next_deadline(bench_clock) < 100 * MS) {
        clock_set(bench_clock, clock_next_deadline(bench_clock));
        clock_fire_due(bench_clock);
        fired++;
    }
    ck_assert_uint_lt(fired, 6000);
}
END_TEST

START_TEST(refresh_toggle)
{
    bool last = inb(0x61) & 0x10;
    unsigned toggles = 0;

    for (int i = 0; i < 1000; i++) {
        bench_run(1 * US);
        bool now = inb(0x61) & 0x10;
        toggles += now != last;
        last = now;
    }
    ck_assert_uint_ge(toggles, 65);
    ck_assert_uint_le(toggles, 67);
    outb(0x61, 0xff);
    ck_assert_int_eq(inb(0x61) & 0xcf, 0x0f);
}
END_TEST

START_TEST(state)
{
    struct wire other = {0};

    program(0, 3, 5000);
    program(2, 0, 100);
    run_ticks(1234);
    outb(0x43, 0x00);
    outb(0x40, 7); /* half of a new count */
    struct i8254 *copy =
        i8254_new(&bench_devices, bench_other_io(), bench_clock, wire_line(&other), "copy");
    ck_assert(copy_state((struct device *)copy, (struct device *)pit));
    ck_assert(same_state((struct device *)copy, (struct device *)pit));
    irq0.rises = other.rises = 0;
    run_ticks(100000);
    ck_assert_uint_eq(irq0.rises, 20);
    ck_assert_uint_eq(other.rises, 20);
}
END_TEST

START_TEST(hostile)
{
    static const uint16_t ports[] = {0x40, 0x41, 0x42, 0x43, 0x43, 0x61};
    uint32_t seed = 7;

    for (int i = 0; i < 300000; i++) {
        uint32_t r = bench_random(&seed);
        uint16_t port = ports[(r >> 4) % 6];
        if (r & 1)
            outb(port, (uint8_t)(r >> 8));
        else if (r & 2)
            inb(port);
        else if (r & 4)
            bench_jump((uint64_t)(r >> 8) << (r >> 28));
        else
            bench_run((r >> 8) & 0xffff);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        mode0,
        mode0_gate,
        mode1_one_shot,
        mode2_rate,
        mode3_square,
        mode4_strobe,
        mode5_triggered_strobe,
        latches,
        bcd,
        catching_up,
        no_storm,
        refresh_toggle,
        state,
        hostile,
    };

    return bench_main("i8254", setup, tests, sizeof tests / sizeof tests[0]);
}
