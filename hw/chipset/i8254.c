/*
 * Intel 8254 programmable interval timer: three 16-bit counters at 1.193182 MHz, and port 0x61 with
 * the gate of counter 2 (8254 data sheet 231164; 82371SB data sheet, "NMI Status and Control").
 *
 * Nothing counts here. A counting element is known by the tick at which it was loaded, so its
 * value and OUT at any moment are arithmetic on the clock; only counter 0, whose OUT is an
 * interrupt line, has a timer for its next edge.
 *
 *      control word   count written          load (next CLK, or trigger)
 *           |              |                      |
 *        STOPPED ------> WAITING ------------> COUNTING <---> PAUSED (GATE low, modes 0 2 3 4)
 *                        (modes 1, 5: for GATE to rise)
 *
 * A count written to a counter in mode 2 or 3 that is COUNTING waits in the count register
 * (`reload`) until the current period, or half period in mode 3, is over.
 *
 * When the loop was late by whole periods, the missed interrupts of counter 0 are given at twice
 * the rate until they are made good, at most MISSED_MAX of them: guests that count ticks keep time.
 *
 * Not modelled: parity and channel check sources of port 0x61 (always clear).
 */
#include "hw/chipset/i8254.h"

#include "hw/alloc.h"

#define PORT_COUNTERS          0x40
#define PORT_CONTROL_B         0x61

#define CONTROL_BCD            0x01
#define CONTROL_MODE(value)    (((value) >> 1) & 7)
#define CONTROL_ACCESS(value)  (((value) >> 4) & 3)
#define CONTROL_COUNTER(value) ((value) >> 6)
#define CONTROL_KEPT           0x3f

#define ACCESS_LATCH           0
#define ACCESS_LOW             1
#define ACCESS_HIGH            2
#define ACCESS_BOTH            3
#define COUNTER_READ_BACK      3

#define READ_BACK_NOT_COUNT    0x20
#define READ_BACK_NOT_STATUS   0x10

#define STATUS_OUT             0x80
#define STATUS_NULL            0x40

#define PORT61_GATE2           0x01
#define PORT61_SPEAKER         0x02
#define PORT61_WRITABLE        0x0f
#define PORT61_REFRESH         0x10
#define PORT61_OUT2            0x20

#define REFRESH_TICKS          18 /* 15 us, whatever counter 1 is set to */

#define MISSED_MAX             64
#define MISSED_PERIOD_MIN_NS   100000u /* faster rates are never made good */
#define RESCHEDULE_MIN_NS      20000u  /* tiny counts do not keep the loop busy */

enum phase { STOPPED, WAITING, COUNTING, PAUSED };

struct counter {
    uint8_t control; /* access, mode and BCD as last written */
    uint8_t phase;
    bool gate;
    bool null_count; /* the count register has not reached the counting element */
    bool half_high;  /* mode 3: which half of the wave began at `loaded` */
    uint32_t reload; /* count register, 1 to 0x10000 */
    uint32_t count;  /* what the counting element was loaded with */
    uint64_t loaded; /* tick of that load: COUNTING */
    uint64_t passed; /* ticks counted since: PAUSED and STOPPED */

    uint8_t write_low;
    bool write_high_next;
    bool read_high_next;
    uint16_t latch;
    uint8_t latch_bytes; /* still to be read, 0 to 2 */
    uint8_t status_latch;
    bool status_latched;
};

struct i8254 {
    struct device device;
    struct counter counter[3];
    uint8_t port61;
    struct timer edge;
    uint64_t edge_tick; /* next edge of counter 0's OUT, and whether it rises */
    bool edge_rises;
    uint32_t missed; /* interrupts of counter 0 still owed */
    bool irq_level;  /* as driven last: OUT of counter 0, but for late looks at it */
    struct clock *clock;
    struct irq_line irq0;
    void (*tone_changed)(void *opaque);
    void *tone_opaque;
};

static const struct field counter_fields[] = {
    FIELD(struct counter, control, 1),
    FIELD(struct counter, phase, 1),
    FIELD(struct counter, gate, 1),
    FIELD(struct counter, null_count, 1),
    FIELD(struct counter, half_high, 1),
    FIELD(struct counter, reload, 1),
    FIELD(struct counter, count, 1),
    FIELD(struct counter, loaded, 1),
    FIELD(struct counter, passed, 1),
    FIELD(struct counter, write_low, 1),
    FIELD(struct counter, write_high_next, 1),
    FIELD(struct counter, read_high_next, 1),
    FIELD(struct counter, latch, 1),
    FIELD(struct counter, latch_bytes, 1),
    FIELD(struct counter, status_latch, 1),
    FIELD(struct counter, status_latched, 1),
    FIELD_END,
};

static const struct field i8254_fields[] = {
    FIELD_STRUCTS(struct i8254, counter, counter_fields, 1),
    FIELD(struct i8254, port61, 1),
    FIELD(struct i8254, edge.deadline_ns, 1),
    FIELD(struct i8254, edge_tick, 1),
    FIELD(struct i8254, edge_rises, 1),
    FIELD(struct i8254, missed, 1),
    FIELD(struct i8254, irq_level, 1),
    FIELD_END,
};

/* -- Time in ticks -- */

static uint64_t now_tick(const struct i8254 *pit)
{
    return clock_scale(clock_now(pit->clock), PIT_HZ, NS_PER_SECOND);
}

/* The first nanosecond of a tick. */
static uint64_t tick_ns(uint64_t tick)
{
    return clock_scale(tick, NS_PER_SECOND, PIT_HZ) + 1;
}

/* -- The counting element -- */

static unsigned counter_mode(const struct counter *counter)
{
    unsigned mode = CONTROL_MODE(counter->control);

    return mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
}

static bool is_periodic(const struct counter *counter)
{
    return counter_mode(counter) == 2 || counter_mode(counter) == 3;
}

static bool is_triggered_by_gate(const struct counter *counter)
{
    return counter_mode(counter) == 1 || counter_mode(counter) == 5;
}

/* Length of the wave's part that began at `loaded`. Odd counts in mode 3 are one longer high. */
static uint64_t part_length(const struct counter *counter)
{
    if (counter_mode(counter) == 2)
        return counter->count;
    uint64_t length = counter->half_high ? (counter->count + 1) / 2 : counter->count / 2;
    return length ? length : 1;
}

/* Moves `loaded` of a periodic counter to the start of the part that holds tick `now`. */
static void catch_up(struct counter *counter, uint64_t now)
{
    if (counter->phase != COUNTING || !is_periodic(counter) || now < counter->loaded)
        return;

    bool square = counter_mode(counter) == 3;
    /* One part may end an old count; after two, whole periods of the same count are skipped. */
    for (int parts = 0; now - counter->loaded >= part_length(counter); parts++) {
        if (parts == 2) {
            bool high = counter->half_high;
            uint64_t period = part_length(counter);
            if (square) {
                counter->half_high = !high;
                period += part_length(counter);
                counter->half_high = high;
            }
            counter->loaded += (now - counter->loaded) / period * period;
            continue;
        }
        counter->loaded += part_length(counter);
        counter->count = counter->reload;
        counter->null_count = false;
        if (square)
            counter->half_high = !counter->half_high;
    }
}

/* Ticks since the load. */
static uint64_t elapsed(const struct counter *counter, uint64_t now)
{
    if (counter->phase == COUNTING)
        return now > counter->loaded ? now - counter->loaded : 0;
    return counter->passed;
}

static bool counter_out(struct counter *counter, uint64_t now)
{
    catch_up(counter, now);
    uint64_t passed = elapsed(counter, now);
    bool counting = counter->phase == COUNTING;

    switch (counter_mode(counter)) {
    case 0:
        return (counting || counter->phase == PAUSED) && passed >= counter->count;
    case 1:
        return !counting || passed >= counter->count;
    case 2:
        return !counting || passed != counter->count - 1;
    case 3:
        return !counting || counter->half_high;
    default:
        return !counting || passed != counter->count;
    }
}

static uint32_t modulus(const struct counter *counter)
{
    return counter->control & CONTROL_BCD ? 10000 : 0x10000;
}

static uint16_t to_bcd(uint32_t value)
{
    return (uint16_t)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 |
                      value / 1000 % 10 << 12);
}

/* What a read of the counting element gives. */
static uint16_t counter_value(struct counter *counter, uint64_t now)
{
    catch_up(counter, now);
    uint64_t passed = elapsed(counter, now);
    uint32_t range = modulus(counter);
    uint32_t value;

    if (counter_mode(counter) == 3)
        value = (counter->count & ~1u) - 2 * (uint32_t)(passed % 0x10000);
    else
        value = counter->count - (uint32_t)(passed % range);
    /* Only the wrapped low part is meant; `range` keeps BCD differences positive. */
    value = range == 0x10000 ? value & 0xffff : (value + 8 * range) % range;
    return counter->control & CONTROL_BCD ? to_bcd(value) : (uint16_t)value;
}

static void load(struct counter *counter, uint64_t now)
{
    counter->count = counter->reload;
    counter->loaded = now + 1; /* at the next CLK pulse */
    counter->half_high = true;
    counter->null_count = false;
    counter->phase = COUNTING;
    if (!counter->gate && !is_triggered_by_gate(counter)) {
        counter->phase = PAUSED;
        counter->passed = 0;
    }
}

static void count_written(struct counter *counter, uint16_t value, uint64_t now)
{
    catch_up(counter, now);
    uint32_t count = value;
    if (counter->control & CONTROL_BCD)
        count = (value & 15u) + 10 * (value >> 4 & 15u) + 100 * (value >> 8 & 15u) +
                1000 * (value >> 12 & 15u);
    counter->reload = count ? count : modulus(counter);
    counter->null_count = true;

    if (is_triggered_by_gate(counter)) {
        if (counter->phase == STOPPED)
            counter->phase = WAITING;
    } else if (!is_periodic(counter) || counter->phase != COUNTING) {
        load(counter, now);
    }
}

/* Freezes the value: the first byte of a new count in mode 0, or GATE low. */
static void hold(struct counter *counter, uint64_t now, enum phase phase)
{
    catch_up(counter, now);
    counter->passed = elapsed(counter, now);
    counter->phase = phase;
}

static void set_gate(struct counter *counter, bool gate, uint64_t now)
{
    if (gate == counter->gate)
        return;
    counter->gate = gate;

    if (is_triggered_by_gate(counter)) {
        if (gate && counter->phase != STOPPED)
            load(counter, now);
    } else if (!gate) {
        if (counter->phase == COUNTING)
            hold(counter, now, PAUSED);
    } else if (counter->phase == PAUSED) {
        if (is_periodic(counter)) {
            load(counter, now);
        } else {
            counter->phase = COUNTING;
            counter->loaded = now - (counter->passed < now ? counter->passed : now);
        }
    }
}

/* -- Interrupts of counter 0 -- */

/* First tick after `now` at which OUT rises, falls, or (modes 2, 4, 5) ends its one low tick;
 * UINT64_MAX if it stays as it is. */
static uint64_t next_edge(struct counter *counter, uint64_t now)
{
    catch_up(counter, now);
    if (counter->phase != COUNTING)
        return UINT64_MAX;

    uint64_t edge;
    switch (counter_mode(counter)) {
    case 0:
    case 1:
        edge = counter->loaded + counter->count;
        break;
    case 2:
    case 3:
        edge = counter->loaded + part_length(counter);
        break;
    default:
        edge = counter->loaded + counter->count + 1;
    }
    return edge > now ? edge : UINT64_MAX;
}

static uint64_t period_ns(const struct counter *counter)
{
    return clock_scale(counter->count, NS_PER_SECOND, PIT_HZ);
}

static void schedule(struct i8254 *pit, uint64_t now)
{
    struct counter *counter = &pit->counter[0];
    uint64_t now_ns = clock_now(pit->clock);

    pit->edge_tick = next_edge(counter, now);
    pit->edge_rises = counter_mode(counter) != 3 || !counter->half_high;
    if (pit->edge_tick == UINT64_MAX) {
        timer_cancel(&pit->edge);
        return;
    }
    uint64_t deadline = tick_ns(pit->edge_tick);
    if (is_periodic(counter)) {
        if (pit->missed && counter_mode(counter) == 2 && now_ns + period_ns(counter) / 2 < deadline)
            deadline = now_ns + period_ns(counter) / 2;
        if (deadline < now_ns + RESCHEDULE_MIN_NS)
            deadline = now_ns + RESCHEDULE_MIN_NS;
    }
    timer_set(&pit->edge, deadline);
}

static void drive_irq(struct i8254 *pit, bool level)
{
    pit->irq_level = level;
    irq_set(pit->irq0, level);
}

/* After anything was written: OUT as it is now, and the timer for its next edge. */
static void counter0_changed(struct i8254 *pit)
{
    uint64_t now = now_tick(pit);

    pit->missed = 0;
    drive_irq(pit, counter_out(&pit->counter[0], now));
    schedule(pit, now);
}

/* Whether OUT rose since the last look, noting further periods that went by while the loop was
 * late. In mode 3 the high half may be over again: the line then stays high until the next edge,
 * for a request that is withdrawn before anybody saw it would be lost. */
static bool periodic_rise(struct i8254 *pit, uint64_t now)
{
    const struct counter *counter = &pit->counter[0];

    if (now < pit->edge_tick)
        return false;
    uint64_t late = now - pit->edge_tick;
    if (period_ns(counter) >= MISSED_PERIOD_MIN_NS) {
        uint64_t missed = pit->missed + late / counter->count;
        pit->missed = missed < MISSED_MAX ? (uint32_t)missed : MISSED_MAX;
    }
    return pit->edge_rises || late >= counter->count / 2;
}

static void edge_due(void *opaque)
{
    struct i8254 *pit = opaque;
    struct counter *counter = &pit->counter[0];
    uint64_t now = now_tick(pit);

    if (is_periodic(counter)) {
        bool rise = periodic_rise(pit, now);
        if (!rise && pit->missed) {
            pit->missed--; /* at half a period in mode 2, instead of the fall in mode 3 */
            rise = true;
        }
        if (rise) {
            drive_irq(pit, false);
            drive_irq(pit, true);
        } else if (counter_mode(counter) == 3) {
            drive_irq(pit, counter_out(counter, now));
        }
    } else {
        if (counter_mode(counter) >= 4)
            drive_irq(pit, false); /* the strobe: one tick, over by now */
        drive_irq(pit, true);
    }
    schedule(pit, now);
}

/* -- Registers -- */

static void latch_count(struct counter *counter, uint64_t now)
{
    if (counter->latch_bytes)
        return; /* the first latch holds until it is read */
    counter->latch = counter_value(counter, now);
    counter->latch_bytes = CONTROL_ACCESS(counter->control) == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct counter *counter, uint64_t now)
{
    if (counter->status_latched)
        return;
    bool out = counter_out(counter, now);
    bool null = counter->null_count || (counter->phase == COUNTING && now < counter->loaded);
    counter->status_latch =
        (uint8_t)((out ? STATUS_OUT : 0) | (null ? STATUS_NULL : 0) | counter->control);
    counter->status_latched = true;
}

static void read_back(struct i8254 *pit, uint8_t value, uint64_t now)
{
    for (int i = 0; i < 3; i++) {
        if (!(value & (2u << i)))
            continue;
        if (!(value & READ_BACK_NOT_COUNT))
            latch_count(&pit->counter[i], now);
        if (!(value & READ_BACK_NOT_STATUS))
            latch_status(&pit->counter[i], now);
    }
}

static void write_control(struct i8254 *pit, uint8_t value, uint64_t now)
{
    unsigned index = CONTROL_COUNTER(value);

    if (index == COUNTER_READ_BACK) {
        read_back(pit, value, now);
        return;
    }
    struct counter *counter = &pit->counter[index];
    if (CONTROL_ACCESS(value) == ACCESS_LATCH) {
        latch_count(counter, now);
        return;
    }
    hold(counter, now, STOPPED);
    counter->control = value & CONTROL_KEPT;
    counter->null_count = true;
    counter->write_high_next = false;
    counter->read_high_next = false;
    counter->latch_bytes = 0;
    counter->status_latched = false;
    if (index == 0)
        counter0_changed(pit);
}

static void write_count(struct i8254 *pit, unsigned index, uint8_t value, uint64_t now)
{
    struct counter *counter = &pit->counter[index];

    switch (CONTROL_ACCESS(counter->control)) {
    case ACCESS_LOW:
        count_written(counter, value, now);
        break;
    case ACCESS_HIGH:
        count_written(counter, (uint16_t)(value << 8), now);
        break;
    default:
        counter->write_high_next = !counter->write_high_next;
        if (counter->write_high_next) {
            counter->write_low = value;
            if (counter_mode(counter) == 0)
                hold(counter, now, STOPPED);
        } else {
            count_written(counter, (uint16_t)(value << 8 | counter->write_low), now);
        }
    }
    if (index == 0)
        counter0_changed(pit);
}

static uint8_t read_count(struct i8254 *pit, unsigned index, uint64_t now)
{
    struct counter *counter = &pit->counter[index];
    unsigned access = CONTROL_ACCESS(counter->control);

    if (counter->status_latched) {
        counter->status_latched = false;
        return counter->status_latch;
    }
    uint16_t value = counter->latch_bytes ? counter->latch : counter_value(counter, now);
    if (counter->latch_bytes)
        counter->latch_bytes--;
    bool high = access == ACCESS_HIGH || (access == ACCESS_BOTH && counter->read_high_next);
    if (access == ACCESS_BOTH)
        counter->read_high_next = !counter->read_high_next;
    return (uint8_t)(high ? value >> 8 : value);
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8254 *pit = opaque;

    if (offset == 3)
        return 0xff; /* the control word is write-only */
    return read_count(pit, (unsigned)offset, now_tick(pit));
}

/* -- The loudspeaker -- */

uint32_t i8254_tone(const struct i8254 *pit)
{
    const struct counter *counter = &pit->counter[2];
    unsigned mode = CONTROL_MODE(counter->control);
    bool wave = mode == 2 || mode == 3 || mode == 6 || mode == 7;
    bool heard = (pit->port61 & PORT61_SPEAKER) && counter->gate && counter->phase != STOPPED;
    return wave && heard ? counter->reload : 0;
}

void i8254_on_tone(struct i8254 *pit, void (*changed)(void *opaque), void *opaque)
{
    pit->tone_changed = changed;
    pit->tone_opaque = opaque;
}

static void tell_tone(struct i8254 *pit)
{
    if (pit->tone_changed)
        pit->tone_changed(pit->tone_opaque);
}

static void pit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8254 *pit = opaque;

    if (offset == 3)
        write_control(pit, (uint8_t)value, now_tick(pit));
    else
        write_count(pit, (unsigned)offset, (uint8_t)value, now_tick(pit));
    tell_tone(pit);
}

static uint64_t port61_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8254 *pit = opaque;
    uint64_t now = now_tick(pit);
    uint8_t value = pit->port61;

    if (now / REFRESH_TICKS & 1)
        value |= PORT61_REFRESH;
    if (counter_out(&pit->counter[2], now))
        value |= PORT61_OUT2;
    return value;
}

static void port61_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8254 *pit = opaque;

    pit->port61 = (uint8_t)value & PORT61_WRITABLE;
    set_gate(&pit->counter[2], value & PORT61_GATE2, now_tick(pit));
    tell_tone(pit);
}

static const struct access_ops pit_ops = {pit_read, pit_write, 1, 1};
static const struct access_ops port61_ops = {port61_read, port61_write, 1, 1};

/* -- Device -- */

static void i8254_reset(struct device *device)
{
    struct i8254 *pit = (struct i8254 *)device;

    for (int i = 0; i < 3; i++) {
        pit->counter[i] = (struct counter){
            .control = ACCESS_BOTH << 4,
            .reload = 0x10000,
            .count = 0x10000,
            .null_count = true,
            .gate = i != 2,
        };
    }
    pit->port61 = 0;
    counter0_changed(pit);
}

static bool i8254_post_load(struct device *device, struct error *error)
{
    struct i8254 *pit = (struct i8254 *)device;

    for (int i = 0; i < 3; i++) {
        struct counter *counter = &pit->counter[i];
        bool plausible = !(counter->control & ~CONTROL_KEPT) &&
                         CONTROL_ACCESS(counter->control) != ACCESS_LATCH &&
                         counter->phase <= PAUSED && counter->latch_bytes <= 2 &&
                         counter->reload - 1 < 0x10000 && counter->count - 1 < 0x10000 &&
                         counter->loaded < UINT64_MAX / 2 &&
                         (i == 2 ? counter->gate == (pit->port61 & PORT61_GATE2) : counter->gate);
        if (!plausible)
            return error_set(error, "%s: the saved state of timer counter %d is impossible",
                             device->id, i);
    }
    if (pit->missed > MISSED_MAX || (pit->port61 & ~PORT61_WRITABLE))
        return error_set(error, "%s: the saved timer state is impossible", device->id);
    irq_set(pit->irq0, pit->irq_level);
    timer_rearm(&pit->edge);
    return true;
}

static void i8254_destroy(struct device *device)
{
    struct i8254 *pit = (struct i8254 *)device;

    timer_cancel(&pit->edge);
    free(pit);
}

static const struct device_ops i8254_device_ops = {
    .name = "i8254",
    .fields = i8254_fields,
    .version = 1,
    .reset = i8254_reset,
    .post_load = i8254_post_load,
    .destroy = i8254_destroy,
};

struct i8254 *i8254_new(struct device_list *list, struct io_bus *io, struct clock *clock,
                        struct irq_line irq0, const char *id)
{
    struct i8254 *pit = alloc_zeroed(sizeof *pit);

    pit->clock = clock;
    pit->irq0 = irq0;
    timer_init(&pit->edge, clock, edge_due, pit);
    device_add(list, &pit->device, &i8254_device_ops, id);
    io_bus_add(io, PORT_COUNTERS, 4, &pit_ops, pit);
    io_bus_add(io, PORT_CONTROL_B, 1, &port61_ops, pit);
    i8254_reset(&pit->device);
    return pit;
}
