/*
 * High precision event timers (IA-PC HPET Specification 1.0a, chapter 2): a 64-bit counter at 100
 * MHz and three comparators, all of them periodic, 64 bits wide and able to send messages.
 *
 *     timer   legacy replacement   otherwise
 *       0     IRQ 0 (pin 2)        pin 2 or 8 of the I/O APIC, or a message
 *       1     IRQ 8                the same
 *       2     -                    the same
 *
 * Nothing counts here: the counter is arithmetic on the clock. A comparator has a timer for the
 * next tick at which the counter equals it; a value that the counter has just passed waits for the
 * counter to come round, as the hardware does. Each output is held until the next edge, for a
 * request that is withdrawn before the 8259 was asked would be lost.
 *
 * Not modelled: other routes than pins 2 and 8 (the capability register says so); periods that the
 * loop cannot follow are merged.
 */
#include "hw/chipset/hpet.h"

#include "hw/alloc.h"

#include <inttypes.h>

#define HPET_SIZE         1024

#define REG_CAPABILITIES  0x000
#define REG_CONFIG        0x010
#define REG_STATUS        0x020
#define REG_COUNTER       0x0f0
#define REG_TIMERS        0x100
#define TIMER_BYTES       0x20
#define REG_TIMER_CONFIG  0x00
#define REG_COMPARATOR    0x08
#define REG_MESSAGE       0x10

#define NS_PER_TICK       10
#define PERIOD_FS         (NS_PER_TICK * 1000000u)

#define CONFIG_ENABLE     0x1
#define CONFIG_LEGACY     0x2

#define TIMER_LEVEL       0x0002
#define TIMER_INTERRUPT   0x0004
#define TIMER_PERIODIC    0x0008
#define TIMER_CAP_PERIOD  0x0010
#define TIMER_CAP_64      0x0020
#define TIMER_SET_VALUE   0x0040
#define TIMER_32BIT       0x0100
#define TIMER_ROUTE(v)    ((v) >> 9 & 31)
#define TIMER_MESSAGE     0x4000
#define TIMER_CAP_MESSAGE 0x8000
#define TIMER_WRITABLE    0x7f4eu
#define TIMER_ROUTES      0x104u /* pins 2 and 8 */
#define TIMER_FIXED       (UINT64_C(0x104) << 32 | TIMER_CAP_PERIOD | TIMER_CAP_64 | TIMER_CAP_MESSAGE)

#define REARM_MIN_NS      20000u /* tiny periods do not keep the loop busy */

struct hpet_timer {
    uint64_t config; /* what the guest wrote, TIMER_WRITABLE */
    uint64_t comparator, period;
    uint64_t message; /* address << 32 | data */
    struct timer match;
    bool line;

    struct hpet *hpet;
};

struct hpet {
    struct device device;
    uint64_t config;
    uint64_t status;
    uint64_t counter;  /* when it was last started or written */
    uint64_t start_ns; /* when that was; only while enabled */
    struct hpet_timer timer[HPET_TIMERS];
    bool legacy[2]; /* levels of the legacy devices */

    struct clock *clock;
    struct apic_bus *apic_bus;
    struct irq_line out[2]; /* IRQ 0, IRQ 8 */
};

static const struct field hpet_timer_fields[] = {
    FIELD(struct hpet_timer, config, 1),
    FIELD(struct hpet_timer, comparator, 1),
    FIELD(struct hpet_timer, period, 1),
    FIELD(struct hpet_timer, message, 1),
    FIELD(struct hpet_timer, match.deadline_ns, 1),
    FIELD(struct hpet_timer, line, 1),
    FIELD_END,
};

static const struct field hpet_fields[] = {
    FIELD(struct hpet, config, 1),
    FIELD(struct hpet, status, 1),
    FIELD(struct hpet, counter, 1),
    FIELD(struct hpet, start_ns, 1),
    FIELD_ARRAY(struct hpet, legacy, 1),
    FIELD_STRUCTS(struct hpet, timer, hpet_timer_fields, 1),
    FIELD_END,
};

/* -- Counting -- */

static uint64_t counter_now(const struct hpet *hpet)
{
    if (!(hpet->config & CONFIG_ENABLE))
        return hpet->counter;
    return hpet->counter + (clock_now(hpet->clock) - hpet->start_ns) / NS_PER_TICK;
}

static unsigned timer_index(const struct hpet_timer *timer)
{
    return (unsigned)(timer - timer->hpet->timer);
}

/* Ticks until the counter equals the comparator, at least 1. */
static uint64_t ticks_left(const struct hpet_timer *timer, uint64_t counter)
{
    uint64_t left = timer->comparator - counter;

    if (timer->config & TIMER_32BIT) {
        left = (uint32_t)left;
        return left ? left : UINT64_C(1) << 32;
    }
    return left ? left : UINT64_MAX;
}

static void arm(struct hpet_timer *timer)
{
    struct hpet *hpet = timer->hpet;
    uint64_t now = clock_now(hpet->clock), left = ticks_left(timer, counter_now(hpet));

    if (!(hpet->config & CONFIG_ENABLE) || left > (UINT64_MAX / 2 - now) / NS_PER_TICK) {
        timer_cancel(&timer->match);
        return;
    }
    /* The counter reached its present value somewhere in the tick that has begun. */
    uint64_t part = (now - hpet->start_ns) % NS_PER_TICK;
    timer_set(&timer->match, now - part + left * NS_PER_TICK);
}

/* -- Interrupts -- */

/* The output that the timer drives, or -1: none, or messages. */
static int output_of(const struct hpet_timer *timer)
{
    unsigned index = timer_index(timer), route = (unsigned)TIMER_ROUTE(timer->config);

    if ((timer->hpet->config & CONFIG_LEGACY) && index < 2)
        return (int)index;
    if (timer->config & TIMER_MESSAGE)
        return -1;
    return route == 2 ? 0 : route == 8 ? 1 : -1;
}

static void drive(struct hpet *hpet)
{
    for (int i = 0; i < 2; i++) {
        bool level = !(hpet->config & CONFIG_LEGACY) && hpet->legacy[i];
        for (int t = 0; t < HPET_TIMERS; t++)
            level |= hpet->timer[t].line && output_of(&hpet->timer[t]) == i;
        irq_set(hpet->out[i], level);
    }
}

static void interrupt(struct hpet_timer *timer)
{
    struct hpet *hpet = timer->hpet;

    if (timer->config & TIMER_LEVEL)
        hpet->status |= UINT64_C(1) << timer_index(timer);
    if (!(timer->config & TIMER_INTERRUPT))
        return;
    if (output_of(timer) < 0) {
        if (timer->config & TIMER_MESSAGE)
            apic_bus_deliver_msi(hpet->apic_bus, timer->message >> 32, (uint32_t)timer->message);
        return;
    }
    if (!(timer->config & TIMER_LEVEL)) {
        timer->line = false;
        drive(hpet);
    }
    timer->line = true;
    drive(hpet);
}

/* A level output follows the status bit; disabled ones are low. */
static void update_line(struct hpet_timer *timer)
{
    bool asked = timer->hpet->status >> timer_index(timer) & 1;

    if (!(timer->config & TIMER_INTERRUPT) || ((timer->config & TIMER_LEVEL) && !asked))
        timer->line = false;
    else if (timer->config & TIMER_LEVEL)
        timer->line = true;
}

static void matched(void *opaque)
{
    struct hpet_timer *timer = opaque;
    struct hpet *hpet = timer->hpet;

    if ((timer->config & TIMER_PERIODIC) && timer->period) {
        uint64_t passed = counter_now(hpet) - timer->comparator;
        if (timer->config & TIMER_32BIT)
            passed = (uint32_t)passed;
        timer->comparator += (passed / timer->period + 1) * timer->period;
        if (timer->config & TIMER_32BIT)
            timer->comparator = (uint32_t)timer->comparator;
    }
    arm(timer);
    uint64_t soonest = clock_now(hpet->clock) + REARM_MIN_NS;
    if (timer_pending(&timer->match) && timer->match.deadline_ns < soonest)
        timer_set(&timer->match, soonest);
    interrupt(timer);
}

/* A guest's access may come before the loop has had its turn. */
static void catch_up(struct hpet *hpet)
{
    for (int i = 0; i < HPET_TIMERS; i++) {
        struct hpet_timer *timer = &hpet->timer[i];
        if (timer_pending(&timer->match) && clock_now(hpet->clock) >= timer->match.deadline_ns)
            matched(timer);
    }
}

static void set_legacy(void *opaque, int which, bool level)
{
    struct hpet *hpet = opaque;

    hpet->legacy[which] = level;
    drive(hpet);
}

struct irq_line hpet_legacy_line(struct hpet *hpet, int which)
{
    return (struct irq_line){set_legacy, hpet, which};
}

/* -- Registers: 64 bits wide, reached as such or by halves -- */

static uint64_t timer_register(const struct hpet_timer *timer, unsigned reg)
{
    switch (reg) {
    case REG_TIMER_CONFIG:
        return timer->config | TIMER_FIXED;
    case REG_COMPARATOR:
        return timer->comparator;
    case REG_MESSAGE:
        return timer->message;
    default:
        return 0;
    }
}

static uint64_t register_value(const struct hpet *hpet, unsigned reg)
{
    if (reg >= REG_TIMERS && reg < REG_TIMERS + HPET_TIMERS * TIMER_BYTES)
        return timer_register(&hpet->timer[(reg - REG_TIMERS) / TIMER_BYTES], reg % TIMER_BYTES);
    switch (reg) {
    case REG_CAPABILITIES:
        return (uint64_t)PERIOD_FS << 32 | HPET_ID;
    case REG_CONFIG:
        return hpet->config;
    case REG_STATUS:
        return hpet->status;
    case REG_COUNTER:
        return counter_now(hpet);
    default:
        return 0;
    }
}

static void write_timer(struct hpet_timer *timer, unsigned reg, uint64_t value, uint64_t mask)
{
    bool narrow = timer->config & TIMER_32BIT;

    switch (reg) {
    case REG_TIMER_CONFIG:
        timer->config = value & TIMER_WRITABLE;
        if (!(timer->config & TIMER_MESSAGE) && (timer->config & TIMER_INTERRUPT) &&
            !(TIMER_ROUTES >> TIMER_ROUTE(timer->config) & 1) &&
            !(timer->hpet->config & CONFIG_LEGACY))
            log_guest("hpet: timer %u is routed to pin %u, which it has no wire to",
                      timer_index(timer), (unsigned)TIMER_ROUTE(timer->config));
        if (timer->config & TIMER_32BIT) {
            timer->comparator = (uint32_t)timer->comparator;
            timer->period = (uint32_t)timer->period;
        }
        update_line(timer);
        arm(timer);
        break;
    case REG_COMPARATOR:
        if (narrow)
            value = (uint32_t)value;
        if (timer->config & TIMER_PERIODIC) {
            /* The value last written is the period; the comparator takes it when so told. */
            uint64_t other = (timer->period & ~mask) | (value & mask);
            if (timer->config & TIMER_SET_VALUE)
                timer->comparator = value;
            timer->period = other;
            if (mask & 1)
                timer->config &= ~(uint64_t)TIMER_SET_VALUE;
        } else {
            timer->comparator = value;
        }
        arm(timer);
        break;
    case REG_MESSAGE:
        timer->message = value;
        break;
    default:
        break;
    }
}

static void write_config(struct hpet *hpet, uint64_t value)
{
    bool was_on = hpet->config & CONFIG_ENABLE, on = value & CONFIG_ENABLE;

    if (was_on && !on)
        hpet->counter = counter_now(hpet);
    if (!was_on && on)
        hpet->start_ns = clock_now(hpet->clock);
    hpet->config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
    for (int i = 0; i < HPET_TIMERS; i++)
        arm(&hpet->timer[i]);
}

static void write_status(struct hpet *hpet, uint64_t clears)
{
    hpet->status &= ~clears;
    for (int i = 0; i < HPET_TIMERS; i++)
        update_line(&hpet->timer[i]);
}

static void write_counter(struct hpet *hpet, uint64_t value)
{
    if (hpet->config & CONFIG_ENABLE)
        log_guest("hpet: the counter is written while it runs");
    hpet->counter = value;
    hpet->start_ns = clock_now(hpet->clock);
    for (int i = 0; i < HPET_TIMERS; i++)
        arm(&hpet->timer[i]);
}

static bool regular(uint64_t offset, unsigned size)
{
    if ((size == 4 || size == 8) && offset % size == 0)
        return true;
    log_guest("hpet: access of %u bytes at %03" PRIx64, size, offset);
    return false;
}

static uint64_t hpet_read(void *opaque, uint64_t offset, unsigned size)
{
    struct hpet *hpet = opaque;

    catch_up(hpet);
    if (!regular(offset, size))
        return UINT64_MAX;
    uint64_t value = register_value(hpet, (unsigned)offset & ~7u);
    return size == 4 && (offset & 4) ? value >> 32 : value;
}

static void hpet_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct hpet *hpet = opaque;
    unsigned reg = (unsigned)offset & ~7u;
    uint64_t mask = UINT64_MAX, written = value;

    catch_up(hpet);
    if (!regular(offset, size))
        return;
    if (size == 4) {
        mask = offset & 4 ? UINT64_C(0xffffffff) << 32 : UINT32_MAX;
        written = offset & 4 ? value << 32 : (uint32_t)value;
    }
    /* The register with the written half in place. */
    uint64_t whole = (register_value(hpet, reg) & ~mask) | written;

    if (reg >= REG_TIMERS && reg < REG_TIMERS + HPET_TIMERS * TIMER_BYTES)
        write_timer(&hpet->timer[(reg - REG_TIMERS) / TIMER_BYTES], reg % TIMER_BYTES, whole, mask);
    else if (reg == REG_CONFIG)
        write_config(hpet, whole);
    else if (reg == REG_STATUS)
        write_status(hpet, written);
    else if (reg == REG_COUNTER)
        write_counter(hpet, whole);
    else
        log_guest("hpet: write to read-only or reserved register %03x", reg);
    drive(hpet);
}

static const struct access_ops hpet_ops = {hpet_read, hpet_write, 1, 8};

/* -- Device -- */

static void hpet_reset(struct device *device)
{
    struct hpet *hpet = (struct hpet *)device;

    hpet->config = hpet->status = hpet->counter = hpet->start_ns = 0;
    for (int i = 0; i < HPET_TIMERS; i++) {
        struct hpet_timer *timer = &hpet->timer[i];
        timer->config = timer->period = timer->message = 0;
        timer->comparator = UINT64_MAX;
        timer->line = false;
        timer_cancel(&timer->match);
    }
    drive(hpet);
}

static bool hpet_post_load(struct device *device, struct error *error)
{
    struct hpet *hpet = (struct hpet *)device;

    if (hpet->start_ns > clock_now(hpet->clock) && (hpet->config & CONFIG_ENABLE))
        return error_set(error, "%s: the saved counter started in the future", device->id);
    hpet->config &= CONFIG_ENABLE | CONFIG_LEGACY;
    for (int i = 0; i < HPET_TIMERS; i++) {
        hpet->timer[i].config &= TIMER_WRITABLE;
        timer_rearm(&hpet->timer[i].match);
    }
    drive(hpet);
    return true;
}

static void hpet_destroy(struct device *device)
{
    struct hpet *hpet = (struct hpet *)device;

    for (int i = 0; i < HPET_TIMERS; i++)
        timer_cancel(&hpet->timer[i].match);
    free(hpet);
}

static const struct device_ops hpet_device_ops = {
    .name = "hpet",
    .fields = hpet_fields,
    .version = 1,
    .reset = hpet_reset,
    .post_load = hpet_post_load,
    .destroy = hpet_destroy,
};

struct hpet *hpet_new(struct device_list *list, struct memory *memory, struct clock *clock,
                      struct apic_bus *apic_bus, struct irq_line irq0, struct irq_line irq8,
                      const char *id)
{
    struct hpet *hpet = alloc_zeroed(sizeof *hpet);

    hpet->clock = clock;
    hpet->apic_bus = apic_bus;
    hpet->out[0] = irq0;
    hpet->out[1] = irq8;
    for (int i = 0; i < HPET_TIMERS; i++) {
        hpet->timer[i].hpet = hpet;
        timer_init(&hpet->timer[i].match, clock, matched, &hpet->timer[i]);
    }
    device_add(list, &hpet->device, &hpet_device_ops, id);
    memory_add_mmio(memory, HPET_BASE, HPET_SIZE, PRIORITY_BOARD, &hpet_ops, hpet, id);
    hpet_reset(&hpet->device);
    return hpet;
}
