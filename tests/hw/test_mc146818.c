/* Real-time clock and CMOS memory. */
#include "hw/chipset/mc146818.h"
#include "tests/hw/bench.h"

#include <time.h>

static struct mc146818 *rtc;
static struct wire irq8, nmi_mask;

static uint8_t get(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void put(uint8_t index, uint8_t value)
{
    outb(0x70, index);
    outb(0x71, value);
}

static void setup(void)
{
    bench_setup();
    irq8 = nmi_mask = (struct wire){0};
    rtc = mc146818_new(&bench_devices, bench_io, bench_clock, wire_line(&irq8),
                       wire_line(&nmi_mask), "rtc");
}

static int bcd(uint8_t value)
{
    return (value >> 4) * 10 + (value & 15);
}

static void set_time(int year, int month, int day, int hour, int minute, int second)
{
    const int values[] = {second, minute, hour, day, month, year % 100, year / 100};
    static const uint8_t registers[] = {0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32};

    put(0x0b, 0x82);
    for (int i = 0; i < 7; i++)
        put(registers[i], (uint8_t)(values[i] / 10 << 4 | values[i] % 10));
    put(0x0b, 0x02);
}

START_TEST(host_time)
{
    struct tm tm = {.tm_sec = bcd(get(0)),
                    .tm_min = bcd(get(2)),
                    .tm_hour = bcd(get(4)),
                    .tm_mday = bcd(get(7)),
                    .tm_mon = bcd(get(8)) - 1,
                    .tm_year = bcd(get(0x32)) * 100 + bcd(get(9)) - 1900};
    int64_t difference = timegm(&tm) - clock_wall_seconds(bench_clock);
    ck_assert_int_le(difference, 1);
    ck_assert_int_ge(difference, -1);
    ck_assert_int_eq(get(6), tm.tm_wday + 1);
    ck_assert_int_eq(get(0x0d), 0x80);
    ck_assert_int_eq(get(0x0b), 0x02);
}
END_TEST

START_TEST(memory)
{
    put(0x40, 0x5a);
    ck_assert_int_eq(get(0x40), 0x5a);
    outb(0x72, 0x40);
    outb(0x73, 0xa5);
    ck_assert_int_eq(get(0x40), 0x5a);
    outb(0x76, 0x40);
    ck_assert_int_eq(inb(0x77), 0xa5);
    ck_assert_int_eq(mc146818_get_cmos(rtc, 0xc0), 0xa5);
    ck_assert_int_eq(inb(0x70), 0xff);
    mc146818_set_cmos(rtc, 0x34, 0x12);
    ck_assert_int_eq(get(0x34), 0x12);
    outb(0x70, 0x80 | 0x34);
    ck_assert(nmi_mask.level);
    ck_assert_int_eq(inb(0x71), 0x12);
    device_list_reset(&bench_devices);
    ck_assert(!nmi_mask.level);
    ck_assert_int_eq(get(0x40), 0x5a);
    put(0x0d, 0);
    ck_assert_int_eq(get(0x0d), 0x80);
}
END_TEST

START_TEST(setting_and_rollover)
{
    set_time(1999, 12, 31, 23, 59, 58);
    bench_run(2 * NS_PER_SECOND);
    ck_assert_int_eq(get(0x00), 0x00);
    ck_assert_int_eq(get(0x02), 0x00);
    ck_assert_int_eq(get(0x04), 0x00);
    ck_assert_int_eq(get(0x07), 0x01);
    ck_assert_int_eq(get(0x08), 0x01);
    ck_assert_int_eq(get(0x09), 0x00);
    ck_assert_int_eq(get(0x32), 0x20);
    ck_assert_int_eq(get(0x06), 7); /* a Saturday */
    set_time(2024, 2, 28, 23, 59, 59);
    bench_run(NS_PER_SECOND);
    ck_assert_int_eq(get(0x07), 0x29);
    put(0x0b, 0x82); /* SET stops updates */
    bench_run(5 * NS_PER_SECOND);
    ck_assert_int_eq(get(0x00), 0x00);
    put(0x0b, 0x02);
    bench_run(10 * NS_PER_SECOND); /* it was not set, so it has not lost time */
    ck_assert_int_ge(bcd(get(0x00)), 13);
}
END_TEST

START_TEST(formats)
{
    set_time(2020, 6, 15, 13, 45, 10);
    put(0x0b, 0x06);
    bench_run(NS_PER_SECOND);
    ck_assert_int_eq(get(0x04), 13);
    ck_assert_int_eq(get(0x02), 45);
    ck_assert_int_eq(get(0x32), 20);
    put(0x0b, 0x00);
    bench_run(NS_PER_SECOND);
    ck_assert_int_eq(get(0x04), 0x81);
    ck_assert_int_eq(get(0x02), 0x45);
    put(0x0b, 0x80);
    put(0x04, 0x12); /* midnight */
    put(0x0b, 0x00);
    put(0x0b, 0x02);
    bench_run(NS_PER_SECOND);
    ck_assert_int_eq(get(0x04), 0x00);
    put(0x0b, 0x00);
    bench_run(NS_PER_SECOND);
    ck_assert_int_eq(get(0x04), 0x12);
}
END_TEST

START_TEST(update_in_progress)
{
    bench_run_to(500 * MS); /* the first update ends */
    uint8_t second = get(0);
    bench_run_to(1500 * MS - 2229 * US);
    ck_assert_int_eq(get(0x0a), 0x26);
    bench_run(2 * US);
    ck_assert_int_eq(get(0x0a), 0xa6);
    ck_assert_int_eq(get(0), second);
    /* The access sees the end even before the loop has its turn. */
    clock_set(bench_clock, 1500 * MS);
    ck_assert_int_eq(get(0x0a), 0x26);
    ck_assert_int_ne(get(0), second);
    put(0x0a, 0x76); /* divider held */
    bench_run(5 * NS_PER_SECOND);
    second = get(0);
    put(0x0a, 0x26);
    bench_run(499 * MS);
    ck_assert_int_eq(get(0), second);
    bench_run(1 * MS);
    ck_assert_int_ne(get(0), second);
}
END_TEST

START_TEST(update_interrupt)
{
    get(0x0c);
    put(0x0b, 0x12);
    bench_run(NS_PER_SECOND);
    ck_assert(irq8.level);
    ck_assert_int_eq(get(0x0c) & 0xb0, 0x90);
    ck_assert(!irq8.level);
    ck_assert_int_eq(get(0x0c), 0x00);
    bench_run(3 * NS_PER_SECOND);
    ck_assert_uint_eq(irq8.rises, 2);
    put(0x0b, 0x92);
    ck_assert_int_eq(get(0x0b), 0x82); /* SET clears UIE */
}
END_TEST

START_TEST(alarm_interrupt)
{
    set_time(2020, 1, 1, 10, 0, 0);
    put(0x01, 0x05);
    put(0x03, 0x00);
    put(0x05, 0xff); /* any hour */
    get(0x0c);
    put(0x0b, 0x22);
    bench_run(4 * NS_PER_SECOND);
    ck_assert(!irq8.level);
    bench_run(1 * NS_PER_SECOND);
    ck_assert(irq8.level);
    ck_assert_int_eq(get(0x0c) & 0xa0, 0xa0);
    bench_run(3599 * NS_PER_SECOND);
    ck_assert(!irq8.level);
    bench_run(1 * NS_PER_SECOND);
    ck_assert(irq8.level);
    put(0x0b, 0x02); /* the enable bit off lowers the line, AF stays */
    ck_assert(!irq8.level);
    ck_assert_int_eq(get(0x0c) & 0xa0, 0x20);
}
END_TEST

START_TEST(periodic_interrupt)
{
    unsigned taken = 0;

    get(0x0c);
    put(0x0a, 0x26); /* 1024 Hz */
    put(0x0b, 0x42);
    while (clock_now(bench_clock) < NS_PER_SECOND) {
        bench_run(100 * US);
        if (irq8.level) {
            taken++;
            ck_assert_int_eq(get(0x0c) & 0xc0, 0xc0);
        }
    }
    ck_assert_uint_ge(taken, 1023);
    ck_assert_uint_le(taken, 1025);
    put(0x0a, 0x2f); /* 2 Hz */
    put(0x0b, 0x02);
    get(0x0c);
    bench_run(600 * MS);
    ck_assert_int_eq(get(0x0c) & 0xc0, 0x40); /* PF without PIE */
    put(0x0a, 0x20);                          /* none */
    get(0x0c);
    bench_run(2 * NS_PER_SECOND);
    ck_assert_int_eq(get(0x0c) & 0x40, 0);
}
END_TEST

START_TEST(long_sleep)
{
    put(0x0b, 0x52);
    bench_jump(100000 * NS_PER_SECOND); /* one interrupt, right time */
    ck_assert_uint_eq(irq8.rises, 1);
    struct tm tm = {.tm_sec = bcd(get(0)),
                    .tm_min = bcd(get(2)),
                    .tm_hour = bcd(get(4)),
                    .tm_mday = bcd(get(7)),
                    .tm_mon = bcd(get(8)) - 1,
                    .tm_year = bcd(get(0x32)) * 100 + bcd(get(9)) - 1900};
    ck_assert_int_le(llabs(timegm(&tm) - clock_wall_seconds(bench_clock)), 1);
}
END_TEST

START_TEST(state)
{
    struct wire other = {0};

    set_time(2001, 9, 9, 1, 46, 40);
    put(0x0b, 0x72);
    bench_run(1234 * MS);
    struct mc146818 *copy = mc146818_new(&bench_devices, bench_other_io(), bench_clock,
                                         wire_line(&other), (struct irq_line){0}, "copy");
    ck_assert(copy_state((struct device *)copy, (struct device *)rtc));
    ck_assert(same_state((struct device *)copy, (struct device *)rtc));
    ck_assert(other.level);
    bench_run(NS_PER_SECOND);
    for (unsigned i = 0; i < CMOS_SIZE; i++)
        ck_assert_int_eq(mc146818_get_cmos(copy, i), mc146818_get_cmos(rtc, i));
}
END_TEST

START_TEST(hostile)
{
    uint32_t seed = 11;

    log_items = 0;
    for (int i = 0; i < 100000; i++) {
        uint32_t r = bench_random(&seed);
        if (r & 1)
            put((r >> 4) & 15, (uint8_t)(r >> 8));
        else if (r & 2)
            get((r >> 4) & 15);
        else if (r & 4)
            put(0x32, (uint8_t)(r >> 8));
        else if (r & 8)
            bench_run(r & 0xfffffff);
        else
            bench_jump((uint64_t)(r >> 4) << 8);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        host_time,        memory,          setting_and_rollover, formats,    update_in_progress,
        update_interrupt, alarm_interrupt, periodic_interrupt,   long_sleep, state,
        hostile,
    };

    return bench_main("mc146818", setup, tests, sizeof tests / sizeof tests[0]);
}
