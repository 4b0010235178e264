/* The I/O APIC with one local APIC behind it. */
#include "hw/irq/ioapic.h"
#include "hw/irq/lapic.h"
#include "tests/hw/bench.h"

#define EOI 0xb0
#define SVR 0xf0

static struct memory *memory;
static struct apic_bus *bus;
static struct ioapic *ioapic;
static struct lapic *apic;
static unsigned nmis;

static void ignore(void *opaque)
{
}

static void ignore_startup(void *opaque, uint8_t vector)
{
}

static void on_nmi(void *opaque)
{
    nmis++;
}

static uint64_t tsc_to_ns(void *opaque, uint64_t tsc)
{
    return tsc;
}

static void setup(void)
{
    static const struct lapic_cpu cpu = {NULL,           ignore,    on_nmi, ignore,
                                         ignore_startup, tsc_to_ns, 40};

    bench_setup();
    nmis = 0;
    memory = memory_new(1 << 20, NULL);
    ck_assert_ptr_nonnull(memory);
    bus = apic_bus_new(&bench_devices, "bus");
    apic = lapic_new(&bench_devices, 0, bench_clock, &cpu, bus, "lapic");
    lapic_write(apic, SVR, 0x1ff, 4);
    ioapic = ioapic_new(&bench_devices, memory, bus, "ioapic");
}

static void undo(void)
{
    memory_free(memory);
}

static uint32_t get(uint8_t index)
{
    memory_mmio_write(memory, IOAPIC_BASE, index, 4);
    return (uint32_t)memory_mmio_read(memory, IOAPIC_BASE + 0x10, 4);
}

static void put(uint8_t index, uint32_t value)
{
    memory_mmio_write(memory, IOAPIC_BASE, index, 4);
    memory_mmio_write(memory, IOAPIC_BASE + 0x10, value, 4);
}

static void line(int pin, bool level)
{
    irq_set(ioapic_line(ioapic, pin), level);
}

static uint8_t entry(int pin)
{
    return (uint8_t)(0x10 + 2 * pin);
}

START_TEST(identification)
{
    ck_assert_uint_eq(get(1), 0x00170020);
    put(0, 0xffffffff);
    ck_assert_uint_eq(get(0), 0x0f000000);
    ck_assert_uint_eq(get(2), 0x0f000000);
    put(1, 0);
    ck_assert_uint_eq(get(1), 0x00170020);
    put(entry(5), 0xffffffff);
    put(entry(5) + 1, 0xffffffff);
    ck_assert_uint_eq(get(entry(5)), 0x1afff);
    ck_assert_uint_eq(get(entry(5) + 1), 0xff000000);
    device_list_reset(&bench_devices);
    ck_assert_uint_eq(get(entry(5)), 0x10000);
}
END_TEST

START_TEST(edge)
{
    line(4, true); /* masked: lost */
    put(entry(4), 0x34);
    ck_assert_int_eq(lapic_accept(apic), LAPIC_NONE);
    line(4, false);
    line(4, true);
    ck_assert_int_eq(lapic_accept(apic), 0x34);
    lapic_write(apic, EOI, 0, 4);
    ck_assert_int_eq(lapic_accept(apic), LAPIC_NONE);
    ck_assert_uint_eq(get(entry(4)), 0x34);
}
END_TEST

START_TEST(level)
{
    put(entry(11), 0xa05b); /* level, active low */
    line(11, true);
    ck_assert_uint_eq(get(entry(11)), 0xe05b);
    ck_assert_int_eq(lapic_accept(apic), 0x5b);
    line(11, false);
    line(11, true); /* in service: not again */
    ck_assert_int_eq(lapic_accept(apic), LAPIC_NONE);
    lapic_write(apic, EOI, 0, 4);
    ck_assert_int_eq(lapic_accept(apic), 0x5b); /* still asserted */
    line(11, false);
    lapic_write(apic, EOI, 0, 4);
    ck_assert_uint_eq(get(entry(11)), 0xa05b);

    put(entry(11), 0x1a05b);
    line(11, true);
    ck_assert_int_eq(lapic_accept(apic), LAPIC_NONE);
    put(entry(11), 0xa05b); /* unmasked: a level is not lost */
    ck_assert_int_eq(lapic_accept(apic), 0x5b);
    /* Masked, to edge and back: clears remote IRR. */
    put(entry(11), 0x1205b);
    put(entry(11), 0x1a05b);
    ck_assert_uint_eq(get(entry(11)), 0x1a05b);
}
END_TEST

START_TEST(eoi_register)
{
    lapic_write(apic, SVR, 0x11ff, 4);
    put(entry(9), 0x8050);
    line(9, true);
    ck_assert_int_eq(lapic_accept(apic), 0x50);
    line(9, false);
    lapic_write(apic, EOI, 0, 4);
    ck_assert_uint_eq(get(entry(9)), 0xc050); /* broadcast suppressed */
    memory_mmio_write(memory, IOAPIC_BASE + 0x40, 0x51, 4);
    ck_assert_uint_eq(get(entry(9)), 0xc050);
    memory_mmio_write(memory, IOAPIC_BASE + 0x40, 0x50, 4);
    ck_assert_uint_eq(get(entry(9)), 0x8050);
}
END_TEST

START_TEST(not_taken)
{
    put(entry(9) + 1, 7u << 24); /* nobody has ID 7 */
    put(entry(9), 0x8050);
    line(9, true);
    ck_assert_uint_eq(get(entry(9)), 0x8050);
    put(entry(9) + 1, 0);
    ck_assert_int_eq(lapic_accept(apic), 0x50);
}
END_TEST

START_TEST(modes)
{
    log_items = 0;
    put(entry(2), 0x8400); /* NMI acts on the edge, whatever it says */
    line(2, true);
    ck_assert_uint_eq(nmis, 1);
    ck_assert_uint_eq(get(entry(2)), 0x8400);
    put(entry(0), 0x700);
    line(0, true);
    ck_assert_int_eq(lapic_accept(apic), LAPIC_EXTINT);
    put(entry(3), 0x0940); /* logical lowest priority, nobody in the set */
    line(3, true);
    ck_assert_int_eq(lapic_accept(apic), LAPIC_NONE);
    put(entry(3) + 1, 0xff000000);
    lapic_write(apic, 0xd0, 0x01000000, 4);
    line(3, false);
    line(3, true);
    ck_assert_int_eq(lapic_accept(apic), 0x40);
    put(entry(3), 0x340); /* reserved */
    line(3, false);
    line(3, true);
    ck_assert_int_eq(lapic_accept(apic), LAPIC_NONE);
}
END_TEST

START_TEST(odd_accesses)
{
    log_items = 0;
    memory_mmio_write(memory, IOAPIC_BASE, 0x01, 1);
    ck_assert_uint_eq(memory_mmio_read(memory, IOAPIC_BASE + 0x10, 4), 0x00170020);
    ck_assert_uint_eq(memory_mmio_read(memory, IOAPIC_BASE + 0x12, 1), 0x17);
    memory_mmio_write(memory, IOAPIC_BASE + 0x20, 1, 4);
    ck_assert_uint_eq(memory_mmio_read(memory, IOAPIC_BASE + 0x20, 4), 0);
    ck_assert_uint_eq(get(0x40), 0);
    ck_assert_uint_eq(get(0xff), 0);
    ck_assert_ptr_null(ioapic_line(ioapic, 24).set);
}
END_TEST

START_TEST(state)
{
    put(entry(9), 0x8050);
    line(9, true);
    struct ioapic *copy = ioapic_new(&bench_devices, memory, bus, "copy");
    ck_assert(copy_state((struct device *)copy, (struct device *)ioapic));
    ck_assert(same_state((struct device *)copy, (struct device *)ioapic));
    ioapic_write(copy, 0, entry(9), 4);
    ck_assert_uint_eq(ioapic_read(copy, 0x10, 4), 0xc050);
}
END_TEST

START_TEST(hostile)
{
    uint32_t seed = 5;

    log_items = 0;
    for (int i = 0; i < 200000; i++) {
        uint32_t r = bench_random(&seed);
        if (r & 1)
            memory_mmio_write(memory, IOAPIC_BASE + ((r >> 4) & 0x5c), bench_random(&seed),
                              1u << (r >> 30));
        else if (r & 2)
            put((uint8_t)(r >> 8), bench_random(&seed) & 0xff01ffff);
        else if (r & 4)
            line((r >> 8) % 24, r & 8);
        else
            memory_mmio_read(memory, IOAPIC_BASE + ((r >> 4) & 0xff8), 4);
        if (lapic_accept(apic) >= 0)
            lapic_write(apic, EOI, 0, 4);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        identification, edge, level, eoi_register, not_taken, modes, odd_accesses, state, hostile,
    };

    bench_undo = undo;
    return bench_main("ioapic", setup, tests, sizeof tests / sizeof tests[0]);
}
