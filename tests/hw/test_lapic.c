/* Local APICs on a bus: registers, priorities, destinations, IPIs, timer, x2APIC. */
#include "hw/irq/lapic.h"
#include "tests/hw/bench.h"

#define CPUS      3

#define ID        0x20
#define VERSION   0x30
#define TPR       0x80
#define PPR       0xa0
#define EOI       0xb0
#define LDR       0xd0
#define DFR       0xe0
#define SVR       0xf0
#define ISR       0x100
#define TMR       0x180
#define IRR       0x200
#define ESR       0x280
#define ICR       0x300
#define ICR_HIGH  0x310
#define LVT_TIMER 0x320
#define LVT_LINT0 0x350
#define LVT_LINT1 0x360
#define LVT_ERROR 0x370
#define INITIAL   0x380
#define CURRENT   0x390
#define DIVIDE    0x3e0

struct fake_cpu {
    unsigned interrupts, nmis, inits, startups;
    uint8_t startup_vector;
};

static struct fake_cpu cpu[CPUS];
static struct lapic *apic[CPUS];
static struct apic_bus *bus;
static unsigned eois;
static uint8_t last_eoi;

static void on_interrupt(void *opaque)
{
    ((struct fake_cpu *)opaque)->interrupts++;
}

static void on_nmi(void *opaque)
{
    ((struct fake_cpu *)opaque)->nmis++;
}

static void on_init(void *opaque)
{
    ((struct fake_cpu *)opaque)->inits++;
}

static void on_startup(void *opaque, uint8_t vector)
{
    ((struct fake_cpu *)opaque)->startups++;
    ((struct fake_cpu *)opaque)->startup_vector = vector;
}

/* A 2 GHz TSC that was 0 at virtual 0. */
static uint64_t tsc_to_ns(void *opaque, uint64_t tsc)
{
    return tsc / 2;
}

static void on_eoi(void *opaque, uint8_t vector)
{
    eois++;
    last_eoi = vector;
}

static struct lapic *make(int index, const char *id)
{
    const struct lapic_cpu callbacks = {&cpu[index], on_interrupt, on_nmi, on_init,
                                        on_startup,  tsc_to_ns,    40};

    return lapic_new(&bench_devices, index, bench_clock, &callbacks, bus, id);
}

static void setup(void)
{
    static const char *const names[CPUS] = {"lapic0", "lapic1", "lapic2"};

    bench_setup();
    eois = 0;
    memset(cpu, 0, sizeof cpu);
    bus = apic_bus_new(&bench_devices, "bus");
    apic_bus_add_eoi_listener(bus, on_eoi, NULL);
    for (int i = 0; i < CPUS; i++) {
        apic[i] = make(i, names[i]);
        lapic_write(apic[i], SVR, 0x1ff, 4);
        lapic_write(apic[i], DFR, 0xffffffff, 4);
        lapic_write(apic[i], LDR, 0x01000000u << i, 4);
    }
}

static uint32_t get(int n, unsigned offset)
{
    return (uint32_t)lapic_read(apic[n], offset, 4);
}

static void put(int n, unsigned offset, uint32_t value)
{
    lapic_write(apic[n], offset, value, 4);
}

static void fixed(int n, uint8_t vector, bool level)
{
    const struct apic_message message = {
        .destination = (uint32_t)n, .vector = vector, .level_triggered = level};

    ck_assert(apic_bus_deliver(bus, &message, NULL));
}

START_TEST(power_up)
{
    lapic_write(apic[0], SVR, 0, 4);
    device_list_reset(&bench_devices);
    uint64_t base, value;
    ck_assert(lapic_page(apic[0], &base));
    ck_assert_uint_eq(base, 0xfee00000);
    ck_assert(lapic_msr_read(apic[0], 0x1b, &value));
    ck_assert_uint_eq(value, 0xfee00900);
    ck_assert(lapic_msr_read(apic[1], 0x1b, &value));
    ck_assert_uint_eq(value, 0xfee00800);
    ck_assert_uint_eq(get(2, ID), 2u << 24);
    ck_assert_uint_eq(get(0, VERSION), 0x01050014);
    ck_assert_uint_eq(get(0, SVR), 0xff);
    ck_assert_uint_eq(get(0, DFR), 0xffffffff);
    ck_assert_uint_eq(get(0, LVT_LINT0), 0x10000);
    /* Software disabled: not accepted, masks stay set. */
    const struct apic_message message = {.destination = 0, .vector = 0x40};
    ck_assert(!apic_bus_deliver(bus, &message, NULL));
    put(0, LVT_TIMER, 0x30);
    ck_assert_uint_eq(get(0, LVT_TIMER), 0x10030);
}
END_TEST

START_TEST(priorities)
{
    fixed(0, 0x51, false);
    ck_assert(lapic_pending(apic[0]));
    ck_assert_uint_eq(cpu[0].interrupts, 1);
    ck_assert_uint_eq(get(0, IRR + 0x20), 1u << 17);
    ck_assert_int_eq(lapic_accept(apic[0]), 0x51);
    ck_assert(!lapic_pending(apic[0]));
    ck_assert_uint_eq(get(0, ISR + 0x20), 1u << 17);
    ck_assert_uint_eq(get(0, PPR), 0x50);
    fixed(0, 0x5f, false); /* same class */
    ck_assert(!lapic_pending(apic[0]));
    ck_assert_int_eq(lapic_accept(apic[0]), LAPIC_NONE);
    fixed(0, 0x60, false);
    ck_assert_int_eq(lapic_accept(apic[0]), 0x60);
    put(0, EOI, 0);
    ck_assert_uint_eq(get(0, PPR), 0x50);
    put(0, EOI, 0);
    ck_assert(lapic_pending(apic[0]));
    lapic_set_tpr(apic[0], 5);
    ck_assert_uint_eq(get(0, TPR), 0x50);
    ck_assert(!lapic_pending(apic[0]));
    put(0, TPR, 0x4f);
    ck_assert_int_eq(lapic_get_tpr(apic[0]), 4);
    ck_assert_int_eq(lapic_accept(apic[0]), 0x5f);
    ck_assert_uint_eq(eois, 0);
}
END_TEST

START_TEST(level_eoi)
{
    fixed(1, 0x77, true);
    ck_assert_uint_eq(get(1, TMR + 0x30), 1u << 23);
    ck_assert_int_eq(lapic_accept(apic[1]), 0x77);
    put(1, EOI, 0);
    ck_assert_uint_eq(eois, 1);
    ck_assert_int_eq(last_eoi, 0x77);
    put(1, SVR, 0x11ff); /* broadcasts suppressed */
    fixed(1, 0x77, true);
    lapic_accept(apic[1]);
    put(1, EOI, 0);
    ck_assert_uint_eq(eois, 1);
    put(1, EOI, 0); /* nothing in service */
    fixed(1, 0x77, false);
    ck_assert_uint_eq(get(1, TMR + 0x30), 0);
}
END_TEST

START_TEST(ipis)
{
    put(0, ICR_HIGH, 2u << 24);
    put(0, ICR, 0x4031);
    ck_assert_int_eq(lapic_accept(apic[2]), 0x31);
    put(0, ICR, 0x44031); /* self */
    ck_assert_int_eq(lapic_accept(apic[0]), 0x31);
    put(0, EOI, 0);
    put(2, EOI, 0);
    put(0, ICR, 0x84032); /* all */
    put(0, ICR, 0xc4043); /* others */
    ck_assert_int_eq(lapic_accept(apic[0]), 0x32);
    ck_assert_int_eq(lapic_accept(apic[0]), LAPIC_NONE);
    for (int i = 1; i < CPUS; i++)
        ck_assert_int_eq(lapic_accept(apic[i]), 0x43);
    put(0, ICR_HIGH, 0xff000000);
    put(0, ICR, 0x4054); /* physical broadcast includes the sender */
    ck_assert_int_eq(lapic_accept(apic[0]), 0x54);

    put(0, ICR_HIGH, 1u << 24);
    put(0, ICR, 0x4400);
    ck_assert_uint_eq(cpu[1].nmis, 1);
    put(1, LVT_TIMER, 0x20044);
    put(0, ICR, 0xc500);
    ck_assert_uint_eq(cpu[1].inits, 1);
    ck_assert_uint_eq(get(1, LVT_TIMER), 0x10000); /* INIT resets the APIC */
    ck_assert_uint_eq(get(1, SVR), 0xff);
    put(0, ICR, 0x8500); /* de-assert */
    ck_assert_uint_eq(cpu[1].inits, 1);
    put(0, ICR, 0x4699);
    ck_assert_uint_eq(cpu[1].startups, 1);
    ck_assert_int_eq(cpu[1].startup_vector, 0x99);
    ck_assert_uint_eq(get(0, ICR), 0x4699); /* delivery status idle */
}
END_TEST

START_TEST(logical_destinations)
{
    struct apic_message message = {.destination = 0x06, .logical = true, .vector = 0x90};

    ck_assert(apic_bus_deliver(bus, &message, NULL));
    ck_assert_int_eq(lapic_accept(apic[0]), LAPIC_NONE);
    ck_assert_int_eq(lapic_accept(apic[1]), 0x90);
    ck_assert_int_eq(lapic_accept(apic[2]), 0x90);

    for (int i = 0; i < CPUS; i++) {
        put(i, EOI, 0);
        put(i, DFR, 0x0fffffff);
        put(i, LDR, i == 2 ? 0x21000000 : 0x11000000u << i);
        ck_assert_uint_eq(get(i, DFR), 0x0fffffff);
    }
    put(1, LDR, 0x12000000);
    message.destination = 0x13;
    ck_assert(apic_bus_deliver(bus, &message, NULL));
    ck_assert_int_eq(lapic_accept(apic[0]), 0x90);
    ck_assert_int_eq(lapic_accept(apic[1]), 0x90);
    ck_assert_int_eq(lapic_accept(apic[2]), LAPIC_NONE);
    message.destination = 0xf1;
    message.vector = 0xa0;
    ck_assert(apic_bus_deliver(bus, &message, NULL));
    ck_assert_int_eq(lapic_accept(apic[2]), 0xa0);
}
END_TEST

START_TEST(lowest_priority)
{
    struct apic_message message = {
        .destination = 0xff, .logical = true, .vector = 0xb0, .delivery = APIC_LOWEST};
    int taken[CPUS] = {0};

    put(0, TPR, 0x20);
    put(1, TPR, 0x10);
    put(2, TPR, 0x20);
    ck_assert(apic_bus_deliver(bus, &message, NULL));
    ck_assert_int_eq(lapic_accept(apic[1]), 0xb0);
    put(1, EOI, 0);
    put(1, TPR, 0x20);
    for (int i = 0; i < 6; i++) {
        ck_assert(apic_bus_deliver(bus, &message, NULL));
        for (int n = 0; n < CPUS; n++) {
            if (lapic_accept(apic[n]) == 0xb0) {
                taken[n]++;
                put(n, EOI, 0);
            }
        }
    }
    for (int n = 0; n < CPUS; n++)
        ck_assert_int_eq(taken[n], 2);
    for (int n = 0; n < CPUS; n++)
        put(n, SVR, 0xff);
    ck_assert(!apic_bus_deliver(bus, &message, NULL));
}
END_TEST

START_TEST(msi)
{
    apic_bus_deliver_msi(bus, 0xfee01000, 0x0061);
    ck_assert_int_eq(lapic_accept(apic[1]), 0x61);
    apic_bus_deliver_msi(bus, 0xfeeff00c, 0x0071); /* redirected to one */
    int takers = 0;
    for (int i = 0; i < CPUS; i++)
        takers += lapic_accept(apic[i]) == 0x71;
    ck_assert_int_eq(takers, 1);
    log_items = 0;
    apic_bus_deliver_msi(bus, 0x1000, 0x61);
    ck_assert_int_eq(lapic_accept(apic[1]), LAPIC_NONE);
}
END_TEST

START_TEST(virtual_wire)
{
    put(0, LVT_LINT0, 0x700);
    put(0, LVT_LINT1, 0x400);
    lapic_extint(apic[0], true);
    ck_assert(lapic_pending(apic[0]));
    put(0, TPR, 0xff); /* no influence */
    ck_assert_int_eq(lapic_accept(apic[0]), LAPIC_EXTINT);
    ck_assert(lapic_pending(apic[0])); /* until the 8259 lowers it */
    lapic_extint(apic[0], false);
    ck_assert(!lapic_pending(apic[0]));
    lapic_lint1(apic[0], true);
    ck_assert_uint_eq(cpu[0].nmis, 1);
    put(0, LVT_LINT0, 0x10700);
    lapic_extint(apic[0], true);
    ck_assert(!lapic_pending(apic[0]));
    put(0, LVT_LINT0, 0x700);
    ck_assert(lapic_pending(apic[0]));
    lapic_extint(apic[0], false);

    /* Disabled, the pins go to the processor. */
    ck_assert(lapic_msr_write(apic[0], 0x1b, 0xfee00100));
    lapic_extint(apic[0], true);
    ck_assert_int_eq(lapic_accept(apic[0]), LAPIC_EXTINT);
    lapic_lint1(apic[0], false);
    lapic_lint1(apic[0], true);
    ck_assert_uint_eq(cpu[0].nmis, 2);

    /* From the I/O APIC as a message, once. */
    const struct apic_message message = {.destination = 1, .delivery = APIC_EXTINT};
    ck_assert(apic_bus_deliver(bus, &message, NULL));
    ck_assert_int_eq(lapic_accept(apic[1]), LAPIC_EXTINT);
    ck_assert_int_eq(lapic_accept(apic[1]), LAPIC_NONE);
}
END_TEST

START_TEST(lint0_fixed_level)
{
    put(0, LVT_LINT0, 0x8045);
    lapic_extint(apic[0], true);
    ck_assert_uint_eq(get(0, LVT_LINT0), 0xc045); /* remote IRR */
    ck_assert_int_eq(lapic_accept(apic[0]), 0x45);
    put(0, EOI, 0);
    ck_assert_int_eq(lapic_accept(apic[0]), 0x45); /* still high */
    lapic_extint(apic[0], false);
    put(0, EOI, 0);
    ck_assert_int_eq(lapic_accept(apic[0]), LAPIC_NONE);
    ck_assert_uint_eq(get(0, LVT_LINT0), 0x8045);
}
END_TEST

START_TEST(errors)
{
    put(0, LVT_ERROR, 0xfe);
    put(0, ICR, 0x44005); /* illegal vector */
    ck_assert_int_eq(lapic_accept(apic[0]), 0xfe);
    put(0, EOI, 0);
    ck_assert_uint_eq(get(0, ESR), 0); /* shown after a write */
    put(0, ESR, 0);
    ck_assert_uint_eq(get(0, ESR), 0x20);
    fixed(0, 3, false);
    get(0, 0x3f0);
    put(0, 0x500, 1);
    put(0, ESR, 0);
    ck_assert_uint_eq(get(0, ESR), 0xc0);
    put(0, ESR, 0);
    ck_assert_uint_eq(get(0, ESR), 0);
}
END_TEST

START_TEST(timer_one_shot_and_periodic)
{
    put(0, DIVIDE, 0x3); /* by 16 */
    put(0, LVT_TIMER, 0x40);
    put(0, INITIAL, 1000);
    bench_run(8 * US);
    ck_assert_uint_eq(get(0, CURRENT), 500);
    put(0, DIVIDE, 0xb); /* by 1: what is left goes on faster */
    ck_assert_uint_eq(get(0, CURRENT), 500);
    bench_run(499);
    ck_assert(!lapic_pending(apic[0]));
    bench_run(1);
    ck_assert_int_eq(lapic_accept(apic[0]), 0x40);
    put(0, EOI, 0);
    ck_assert_uint_eq(get(0, CURRENT), 0);
    bench_run(NS_PER_SECOND);
    ck_assert(!lapic_pending(apic[0]));

    put(0, LVT_TIMER, 0x20041);
    put(0, INITIAL, 1000000);
    for (int i = 0; i < 10; i++) {
        bench_run(1 * MS - 1);
        ck_assert_int_eq(lapic_accept(apic[0]), LAPIC_NONE);
        bench_run(1);
        ck_assert_int_eq(lapic_accept(apic[0]), 0x41);
        put(0, EOI, 0);
    }
    bench_jump(5 * MS + 300 * US); /* late: one interrupt, same phase */
    ck_assert_int_eq(lapic_accept(apic[0]), 0x41);
    put(0, EOI, 0);
    ck_assert_uint_eq(get(0, CURRENT), 700000);
    bench_run(700 * US);
    ck_assert_int_eq(lapic_accept(apic[0]), 0x41);
    put(0, EOI, 0);

    put(0, LVT_TIMER, 0x30041); /* masked: counts, says nothing */
    bench_run(3 * MS + 1);
    ck_assert(!lapic_pending(apic[0]));
    ck_assert_uint_eq(get(0, CURRENT), 999999);
    put(0, INITIAL, 0);
    ck_assert_uint_eq(get(0, CURRENT), 0);
    ck_assert_uint_eq(clock_next_deadline(bench_clock), TIMER_NEVER);
}
END_TEST

START_TEST(timer_storm)
{
    unsigned fired = 0;

    put(0, DIVIDE, 0xb);
    put(0, LVT_TIMER, 0x20041);
    put(0, INITIAL, 1);
    while (clock_next_deadline(bench_clock) < 10 * MS) {
        clock_set(bench_clock, clock_next_deadline(bench_clock));
        clock_fire_due(bench_clock);
        fired++;
    }
    ck_assert_uint_lt(fired, 600);
}
END_TEST

START_TEST(timer_deadline)
{
    uint64_t value;

    ck_assert(lapic_msr_write(apic[0], 0x6e0, 5000)); /* ignored in other modes */
    ck_assert(lapic_msr_read(apic[0], 0x6e0, &value));
    ck_assert_uint_eq(value, 0);
    put(0, LVT_TIMER, 0x40042);
    ck_assert(lapic_msr_write(apic[0], 0x6e0, 2 * MS));
    put(0, INITIAL, 5);
    ck_assert_uint_eq(get(0, INITIAL), 0);
    bench_run(1 * MS - 1);
    ck_assert(lapic_msr_read(apic[0], 0x6e0, &value));
    ck_assert_uint_eq(value, 2 * MS);
    bench_run(1);
    ck_assert_int_eq(lapic_accept(apic[0]), 0x42);
    put(0, EOI, 0);
    ck_assert(lapic_msr_read(apic[0], 0x6e0, &value));
    ck_assert_uint_eq(value, 0);
    ck_assert(lapic_msr_write(apic[0], 0x6e0, 1)); /* past: at once */
    ck_assert_int_eq(lapic_accept(apic[0]), 0x42);
    put(0, EOI, 0);
    ck_assert(lapic_msr_write(apic[0], 0x6e0, 10 * MS));
    put(0, LVT_TIMER, 0x42); /* leaving the mode disarms */
    bench_run(NS_PER_SECOND);
    ck_assert(!lapic_pending(apic[0]));
}
END_TEST

START_TEST(x2apic)
{
    uint64_t value;

    ck_assert(!lapic_msr_read(apic[1], 0x802, &value)); /* not in xAPIC mode */
    ck_assert(!lapic_msr_write(apic[1], 0x1b, 0xfee00400));
    ck_assert(!lapic_msr_write(apic[1], 0x1b, 0xfee00801));
    ck_assert(!lapic_msr_write(apic[1], 0x1b, 1ull << 40 | 0xfee00800));
    for (int i = 0; i < CPUS; i++)
        ck_assert(lapic_msr_write(apic[i], 0x1b, 0xfee00c00));
    ck_assert(!lapic_msr_write(apic[1], 0x1b, 0xfee00800)); /* back to xAPIC */
    ck_assert(!lapic_page(apic[1], &value));
    ck_assert(lapic_msr_read(apic[1], 0x802, &value));
    ck_assert_uint_eq(value, 1);
    ck_assert(lapic_msr_read(apic[2], 0x80d, &value));
    ck_assert_uint_eq(value, 4);
    ck_assert(!lapic_msr_write(apic[1], 0x802, 5));
    ck_assert(!lapic_msr_read(apic[1], 0x80e, &value));
    ck_assert(!lapic_msr_read(apic[1], 0x80b, &value));
    ck_assert(!lapic_msr_read(apic[1], 0x831, &value));
    ck_assert(!lapic_msr_read(apic[1], 0x8c0, &value));
    ck_assert(!lapic_msr_write(apic[1], 0x80b, 1));
    ck_assert(!lapic_msr_write(apic[1], 0x808, 0x100));
    ck_assert(!lapic_msr_write(apic[1], 0x80f, 0x2ff));
    ck_assert(!lapic_msr_write(apic[1], 0x832, 0x80000));
    ck_assert(!lapic_msr_write(apic[1], 0x828, 1));

    ck_assert(lapic_msr_write(apic[1], 0x830, 2ull << 32 | 0x4055));
    ck_assert(lapic_msr_read(apic[1], 0x830, &value));
    ck_assert_uint_eq(value, 2ull << 32 | 0x4055);
    ck_assert_int_eq(lapic_accept(apic[2]), 0x55);
    ck_assert(lapic_msr_write(apic[2], 0x80b, 0));
    ck_assert(lapic_msr_write(apic[1], 0x830, 5ull << 32 | 0x4856)); /* logical 0 and 2 */
    ck_assert_int_eq(lapic_accept(apic[0]), 0x56);
    ck_assert_int_eq(lapic_accept(apic[1]), LAPIC_NONE);
    ck_assert_int_eq(lapic_accept(apic[2]), 0x56);
    ck_assert(lapic_msr_write(apic[1], 0x83f, 0x57));
    ck_assert_int_eq(lapic_accept(apic[1]), 0x57);
    ck_assert(lapic_msr_write(apic[1], 0x80b, 0));
    /* All ones reaches everybody. */
    ck_assert(lapic_msr_write(apic[1], 0x830, 0xffffffffull << 32 | 0x4098));
    for (int i = 0; i < CPUS; i++)
        ck_assert_int_eq(lapic_accept(apic[i]), 0x98);

    ck_assert(lapic_msr_write(apic[1], 0x1b, 0xfee00000));
    ck_assert(!lapic_msr_write(apic[1], 0x1b, 0xfee00c00)); /* disabled straight to x2APIC */
    ck_assert(lapic_msr_write(apic[1], 0x1b, 0xfee00800));
    ck_assert_uint_eq(get(1, SVR), 0xff);
}
END_TEST

START_TEST(state)
{
    put(2, LVT_TIMER, 0x20041);
    put(2, INITIAL, 1000000);
    fixed(2, 0x66, true);
    fixed(2, 0x44, false);
    lapic_accept(apic[2]);
    struct lapic *copy = make(2, "copy");
    ck_assert(copy_state((struct device *)copy, (struct device *)apic[2]));
    ck_assert(same_state((struct device *)copy, (struct device *)apic[2]));
    lapic_write(copy, EOI, 0, 4);
    ck_assert_int_eq(lapic_accept(copy), 0x44);
    lapic_write(copy, EOI, 0, 4);
    bench_run(2 * MS);
    ck_assert_int_eq(lapic_accept(copy), 0x41);
}
END_TEST

START_TEST(hostile)
{
    uint32_t seed = 99;

    log_items = 0;
    for (int i = 0; i < 300000; i++) {
        uint32_t r = bench_random(&seed), value = bench_random(&seed);
        int n = (int)(r >> 4) % CPUS;
        uint64_t out;
        switch (r & 7) {
        case 0:
        case 1:
            lapic_write(apic[n], (r >> 8) & 0x7fc, value, 4);
            break;
        case 2:
            lapic_read(apic[n], (r >> 8) & 0xfff, 1u << (value & 2));
            break;
        case 3:
            lapic_msr_write(apic[n], 0x800 + ((r >> 8) & 0x3f), value & 0xcffff);
            break;
        case 4:
            lapic_msr_read(apic[n], 0x800 + ((r >> 8) & 0xff), &out);
            lapic_msr_write(apic[n], 0x1b, 0xfee00000 | (value & 0xd00));
            break;
        case 5:
            lapic_accept(apic[n]);
            lapic_extint(apic[n], value & 1);
            lapic_lint1(apic[n], value & 2);
            break;
        case 6:
            apic_bus_deliver_msi(bus, 0xfee00000 | (value & 0xffffc), r >> 8);
            break;
        default:
            bench_run(value & 0xffff);
        }
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        power_up,
        priorities,
        level_eoi,
        ipis,
        logical_destinations,
        lowest_priority,
        msi,
        virtual_wire,
        lint0_fixed_level,
        errors,
        timer_one_shot_and_periodic,
        timer_storm,
        timer_deadline,
        x2apic,
        state,
        hostile,
    };

    return bench_main("lapic", setup, tests, sizeof tests / sizeof tests[0]);
}
