/* The 8259A pair, register by register. */
#include "hw/irq/i8259.h"
#include "tests/hw/bench.h"

static struct i8259 *pic;
static struct wire intr;

static void init_pair(uint8_t master_icw4, uint8_t slave_icw4)
{
    outb(0x20, 0x11);
    outb(0x21, 0x20);
    outb(0x21, 0x04);
    outb(0x21, master_icw4);
    outb(0xa0, 0x11);
    outb(0xa1, 0x28);
    outb(0xa1, 0x02);
    outb(0xa1, slave_icw4);
}

static void setup(void)
{
    bench_setup();
    intr = (struct wire){0};
    pic = i8259_new(&bench_devices, bench_io, wire_line(&intr), "pic");
    init_pair(0x01, 0x01);
}

static void line(int n, bool level)
{
    irq_set(i8259_line(pic, n), level);
}

static uint8_t isr(uint16_t port)
{
    outb(port, 0x0b);
    return inb(port);
}

static uint8_t irr(uint16_t port)
{
    outb(port, 0x0a);
    return inb(port);
}

START_TEST(edge_request_and_eoi)
{
    line(4, true);
    ck_assert(intr.level);
    ck_assert_int_eq(irr(0x20), 0x10);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x24);
    ck_assert(!intr.level);
    ck_assert_int_eq(isr(0x20), 0x10);
    ck_assert_int_eq(irr(0x20), 0);
    outb(0x20, 0x20);
    ck_assert_int_eq(isr(0x20), 0);
    ck_assert(!intr.level); /* still high, but no new edge */
    line(4, false);
    line(4, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x24);
}
END_TEST

START_TEST(spurious)
{
    line(3, true);
    line(3, false);
    ck_assert(!intr.level);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x27);
    ck_assert_int_eq(isr(0x20), 0);

    /* From the slave: the master has IRQ 2 in service, the slave nothing. */
    outb(0xa1, 0x00);
    line(10, true);
    outb(0xa0, 0x0b);
    ck_assert(intr.level);
    line(10, false);
    ck_assert(!intr.level);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x27);
}
END_TEST

START_TEST(masks)
{
    outb(0x21, 0x10);
    line(4, true);
    ck_assert(!intr.level);
    ck_assert_int_eq(irr(0x20), 0x10);
    ck_assert_int_eq(inb(0x21), 0x10);
    outb(0x21, 0x00);
    ck_assert(intr.level);
    outb(0x21, 0xff);
    ck_assert(!intr.level);
}
END_TEST

START_TEST(priority_nesting)
{
    line(5, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x25);
    line(6, true);
    ck_assert(!intr.level);
    line(1, true);
    ck_assert(intr.level);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x21);
    ck_assert_int_eq(isr(0x20), 0x22);
    outb(0x20, 0x20); /* ends 1, the highest */
    ck_assert_int_eq(isr(0x20), 0x20);
    outb(0x20, 0x65); /* specific 5 */
    ck_assert_int_eq(isr(0x20), 0);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x26);
}
END_TEST

START_TEST(cascade)
{
    line(12, true);
    ck_assert_int_eq(irr(0x20), 0x04);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x2c);
    ck_assert_int_eq(isr(0x20), 0x04);
    ck_assert_int_eq(isr(0xa0), 0x10);
    line(8, true); /* more urgent, but the master has 2 in service */
    ck_assert(!intr.level);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    ck_assert(intr.level);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x28);
}
END_TEST

START_TEST(cascade_two_at_once)
{
    line(9, true);
    line(14, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x29);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x2e);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    ck_assert(!intr.level);
}
END_TEST

START_TEST(special_fully_nested)
{
    init_pair(0x11, 0x01);
    line(12, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x2c);
    line(3, true); /* less urgent than the slave */
    ck_assert(!intr.level);
    line(8, true);
    ck_assert(intr.level);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x28);
}
END_TEST

START_TEST(automatic_eoi)
{
    init_pair(0x03, 0x03);
    line(0, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x20);
    ck_assert_int_eq(isr(0x20), 0);
    outb(0x20, 0x80); /* rotate in AEOI */
    line(3, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x23);
    line(3, false);
    line(3, true);
    line(4, true); /* 3 is now last */
    ck_assert_int_eq(i8259_acknowledge(pic), 0x24);
}
END_TEST

START_TEST(rotation)
{
    line(2, true); /* not connected */
    ck_assert(!intr.level);
    line(1, true);
    line(6, true);
    outb(0x20, 0xc5); /* 5 lowest: 6 is highest */
    ck_assert_int_eq(i8259_acknowledge(pic), 0x26);
    outb(0x20, 0xa0); /* rotate on non-specific EOI: 6 lowest */
    ck_assert_int_eq(isr(0x20), 0);
    line(6, false);
    line(6, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x21);
    outb(0x20, 0xe1); /* rotate on specific EOI */
    ck_assert_int_eq(i8259_acknowledge(pic), 0x26);
}
END_TEST

START_TEST(special_mask)
{
    line(3, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x23);
    line(5, true);
    ck_assert(!intr.level);
    outb(0x21, 0x08);
    outb(0x20, 0x68);
    ck_assert(intr.level);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x25);
    outb(0x20, 0x20); /* the masked level is not ended */
    ck_assert_int_eq(isr(0x20), 0x08);
    outb(0x20, 0x48); /* leave special mask mode */
    line(6, true);
    ck_assert(!intr.level);
}
END_TEST

START_TEST(level_triggered)
{
    outb(0x4d0, 0xff);
    outb(0x4d1, 0xff);
    ck_assert_int_eq(inb(0x4d0), 0xf8);
    ck_assert_int_eq(inb(0x4d1), 0xde);
    line(11, true);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x2b);
    ck_assert_int_eq(irr(0xa0), 0x08); /* still asking */
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    ck_assert(intr.level);
    line(11, false);
    ck_assert(!intr.level);
}
END_TEST

START_TEST(poll)
{
    outb(0x20, 0x0c);
    ck_assert_int_eq(inb(0x20), 0x07);
    line(7, true);
    outb(0x20, 0x0c);
    ck_assert_int_eq(inb(0x21), 0x87);
    ck_assert(!intr.level);
    ck_assert_int_eq(isr(0x20), 0x80);
    ck_assert_int_eq(inb(0x21), 0x00); /* one read only */
}
END_TEST

START_TEST(initialisation)
{
    line(1, true);
    outb(0x20, 0x11);
    ck_assert(!intr.level); /* latch cleared, and no INT until initialised */
    outb(0x21, 0x40);
    outb(0x21, 0x04);
    line(3, true);
    ck_assert(!intr.level);
    outb(0x21, 0x01);
    ck_assert(intr.level);
    ck_assert_int_eq(i8259_acknowledge(pic), 0x43);

    outb(0x20, 0x12); /* single, no ICW4: ICW2 completes it */
    outb(0x21, 0x50);
    outb(0x21, 0xfe);
    ck_assert_int_eq(inb(0x21), 0xfe);
}
END_TEST

START_TEST(state)
{
    struct wire other = {0};
    struct i8259 *copy = i8259_new(&bench_devices, bench_other_io(), wire_line(&other), "copy");

    line(9, true);
    line(4, true);
    i8259_acknowledge(pic);
    outb(0x20, 0x20);
    ck_assert(copy_state((struct device *)copy, (struct device *)pic));
    ck_assert(same_state((struct device *)copy, (struct device *)pic));
    ck_assert_int_eq(other.level, intr.level);
    ck_assert_int_eq(i8259_acknowledge(copy), i8259_acknowledge(pic));
}
END_TEST

START_TEST(hostile)
{
    static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
    uint32_t seed = 1;

    log_items = 0;
    for (int i = 0; i < 200000; i++) {
        uint32_t r = bench_random(&seed);
        if (r & 1)
            outb(ports[(r >> 1) % 6], (uint8_t)(r >> 8));
        else if (r & 2)
            inb(ports[(r >> 2) % 6]);
        else if (r & 4)
            line((r >> 8) & 15, r & 8);
        else
            ck_assert_int_le(i8259_acknowledge(pic), 255);
        ck_assert_int_eq(i8259_intr(pic), intr.level);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        edge_request_and_eoi, spurious,        masks,
        priority_nesting,     cascade,         special_fully_nested,
        automatic_eoi,        rotation,        cascade_two_at_once,
        special_mask,         level_triggered, poll,
        initialisation,       state,           hostile,
    };

    return bench_main("i8259", setup, tests, sizeof tests / sizeof tests[0]);
}
