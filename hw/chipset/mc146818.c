/*
 * Motorola MC146818 real-time clock with 256 bytes of CMOS memory, as in the 82371SB.
 *
 * MC146818A data sheet (registers A to D, update cycle, interrupts); 82371SB data sheet, "Real-time
 * clock" for the ports: 0x70/0x71 reach the first 128 bytes, 0x72/0x73 the others, 0x74-0x77
 * repeat them. Byte 0x32 is the century, as the ACPI table says.
 *
 * Time is the host's, at the start and again whenever the two have drifted apart by more than a
 * second (the machine was paused); between, the clock counts seconds of virtual time by itself.
 * A guest that sets the clock gets an offset to the host's time. The first 10 bytes hold what
 * the update cycle put there or the guest wrote.
 *
 *                    244 us      1984 us
 *     ------------------|-----------|---------------  time
 *        UIP = 0        |  UIP = 1  : update ends: new values, UF, AF
 *
 * Not modelled: daylight saving (DSE), the square wave, a failing battery, dividers for crystals
 * other than 32.768 kHz.
 */
#include "hw/chipset/mc146818.h"

#include "hw/alloc.h"

#include <time.h>

#define PORT            0x70
#define PORT_NMI_MASKED 0x80

enum {
    SECONDS = 0x00,
    SECONDS_ALARM = 0x01,
    MINUTES = 0x02,
    MINUTES_ALARM = 0x03,
    HOURS = 0x04,
    HOURS_ALARM = 0x05,
    WEEKDAY = 0x06,
    DAY = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    CENTURY = 0x32,
};

#define A_UIP            0x80
#define A_DIVIDER(value) (((value) >> 4) & 7)
#define A_DIVIDER_NORMAL 2
#define A_RATE(value)    ((value)&15)

#define B_SET            0x80
#define B_PIE            0x40
#define B_AIE            0x20
#define B_UIE            0x10
#define B_SQWE           0x08
#define B_BINARY         0x04
#define B_24_HOURS       0x02
#define B_DSE            0x01

#define C_IRQF           0x80
#define C_PF             0x40
#define C_AF             0x20
#define C_UF             0x10
#define C_SOURCES        (C_PF | C_AF | C_UF)

#define D_VRT            0x80

#define HOURS_PM         0x80
#define ALARM_ANY        0xc0

#define UIP_NS           ((244 + 1984) * 1000ull)
#define FIRST_UPDATE_NS  (NS_PER_SECOND / 2) /* after the divider was released */
#define CRYSTAL_HZ       32768
#define SECONDS_MAX      1000000000000ll /* more than the registers can express */

struct mc146818 {
    struct device device;
    uint8_t index[2]; /* selected byte of each bank */
    bool nmi_masked;
    uint8_t cmos[CMOS_SIZE];
    int64_t seconds;  /* time of the last update, since 1970 */
    int64_t offset;   /* guest's time - host's time */
    bool time_edited; /* the guest wrote to the time while SET was on */
    uint64_t divider_start_ns;
    struct timer update;       /* end of the next update cycle */
    struct timer periodic;     /* next periodic edge while PIE is on */
    uint64_t periodic_seen_ns; /* PF accounts for edges up to here */
    bool irq_level;

    struct clock *clock;
    struct irq_line irq, nmi_mask;
};

static const struct field mc146818_fields[] = {
    FIELD_ARRAY(struct mc146818, index, 1),
    FIELD(struct mc146818, nmi_masked, 1),
    FIELD_ARRAY(struct mc146818, cmos, 1),
    FIELD(struct mc146818, seconds, 1),
    FIELD(struct mc146818, offset, 1),
    FIELD(struct mc146818, time_edited, 1),
    FIELD(struct mc146818, divider_start_ns, 1),
    FIELD(struct mc146818, update.deadline_ns, 1),
    FIELD(struct mc146818, periodic.deadline_ns, 1),
    FIELD(struct mc146818, periodic_seen_ns, 1),
    FIELD_END,
};

/* -- Time in registers -- */

static uint8_t to_register(const struct mc146818 *rtc, int value)
{
    if (rtc->cmos[REG_B] & B_BINARY)
        return (uint8_t)value;
    return (uint8_t)(value / 10 << 4 | value % 10);
}

static int from_register(const struct mc146818 *rtc, uint8_t value)
{
    if (rtc->cmos[REG_B] & B_BINARY)
        return value;
    return (value >> 4) * 10 + (value & 15);
}

static void show_time(struct mc146818 *rtc)
{
    time_t seconds = (time_t)rtc->seconds;
    struct tm tm = {0};
    uint8_t *cmos = rtc->cmos;

    gmtime_r(&seconds, &tm);
    int year = tm.tm_year < -1900 ? 0 : tm.tm_year + 1900;
    cmos[SECONDS] = to_register(rtc, tm.tm_sec);
    cmos[MINUTES] = to_register(rtc, tm.tm_min);
    if (cmos[REG_B] & B_24_HOURS) {
        cmos[HOURS] = to_register(rtc, tm.tm_hour);
    } else {
        cmos[HOURS] = to_register(rtc, tm.tm_hour % 12 ? tm.tm_hour % 12 : 12);
        if (tm.tm_hour >= 12)
            cmos[HOURS] |= HOURS_PM;
    }
    cmos[WEEKDAY] = to_register(rtc, tm.tm_wday + 1);
    cmos[DAY] = to_register(rtc, tm.tm_mday);
    cmos[MONTH] = to_register(rtc, tm.tm_mon + 1);
    cmos[YEAR] = to_register(rtc, year % 100);
    cmos[CENTURY] = to_register(rtc, year / 100);
}

/* The guest changed the time: the clock goes on from there. Values out of range carry over. */
static void adopt_time(struct mc146818 *rtc)
{
    const uint8_t *cmos = rtc->cmos;
    int hours = from_register(rtc, cmos[HOURS] & (uint8_t)~HOURS_PM);

    if (!(cmos[REG_B] & B_24_HOURS))
        hours = hours % 12 + (cmos[HOURS] & HOURS_PM ? 12 : 0);
    else
        hours = from_register(rtc, cmos[HOURS]);
    struct tm tm = {
        .tm_sec = from_register(rtc, cmos[SECONDS]),
        .tm_min = from_register(rtc, cmos[MINUTES]),
        .tm_hour = hours,
        .tm_mday = from_register(rtc, cmos[DAY]),
        .tm_mon = from_register(rtc, cmos[MONTH]) - 1,
        .tm_year = from_register(rtc, cmos[CENTURY]) * 100 + from_register(rtc, cmos[YEAR]) - 1900,
    };
    rtc->seconds = timegm(&tm);
    rtc->offset = rtc->seconds - clock_wall_seconds(rtc->clock);
    rtc->time_edited = false;
}

static bool is_time(unsigned index)
{
    return index == SECONDS || index == MINUTES || index == HOURS ||
           (index >= WEEKDAY && index <= YEAR) || index == CENTURY;
}

/* -- Interrupts -- */

static void update_irq(struct mc146818 *rtc)
{
    /* PF, AF, UF and PIE, AIE, UIE stand at the same places. */
    bool level = rtc->cmos[REG_C] & rtc->cmos[REG_B] & C_SOURCES;

    rtc->cmos[REG_C] = (uint8_t)((rtc->cmos[REG_C] & C_SOURCES) | (level ? C_IRQF : 0));
    if (level != rtc->irq_level) {
        rtc->irq_level = level;
        irq_set(rtc->irq, level);
    }
}

static bool divider_runs(const struct mc146818 *rtc)
{
    return A_DIVIDER(rtc->cmos[REG_A]) == A_DIVIDER_NORMAL;
}

/* Crystal ticks between periodic interrupts, 0 for none. */
static uint64_t periodic_ticks(const struct mc146818 *rtc)
{
    unsigned rate = A_RATE(rtc->cmos[REG_A]);

    if (rate == 0 || !divider_runs(rtc))
        return 0;
    return 1u << (rate <= 2 ? rate + 6 : rate - 1);
}

static uint64_t crystal_ticks(const struct mc146818 *rtc, uint64_t now)
{
    return now < rtc->divider_start_ns
               ? 0
               : clock_scale(now - rtc->divider_start_ns, CRYSTAL_HZ, NS_PER_SECOND);
}

/* Sets PF if an edge passed since the last look. */
static void look_at_periodic(struct mc146818 *rtc)
{
    uint64_t now = clock_now(rtc->clock);
    uint64_t ticks = periodic_ticks(rtc);

    if (ticks &&
        crystal_ticks(rtc, now) / ticks != crystal_ticks(rtc, rtc->periodic_seen_ns) / ticks)
        rtc->cmos[REG_C] |= C_PF;
    rtc->periodic_seen_ns = now;
}

/* The next edge is waited for only if it interrupts, and only until register C has been read. */
static void arm_periodic(struct mc146818 *rtc)
{
    uint64_t ticks = periodic_ticks(rtc);

    if (!ticks || !(rtc->cmos[REG_B] & B_PIE) || (rtc->cmos[REG_C] & C_PF)) {
        timer_cancel(&rtc->periodic);
        return;
    }
    uint64_t next = (crystal_ticks(rtc, clock_now(rtc->clock)) / ticks + 1) * ticks;
    timer_set(&rtc->periodic,
              rtc->divider_start_ns + clock_scale(next, NS_PER_SECOND, CRYSTAL_HZ) + 1);
}

static void periodic_due(void *opaque)
{
    struct mc146818 *rtc = opaque;

    look_at_periodic(rtc);
    update_irq(rtc);
    arm_periodic(rtc);
}

/* -- Update cycle -- */

static bool alarm_matches(const struct mc146818 *rtc)
{
    static const uint8_t pairs[3][2] = {
        {SECONDS, SECONDS_ALARM}, {MINUTES, MINUTES_ALARM}, {HOURS, HOURS_ALARM}};

    for (int i = 0; i < 3; i++) {
        uint8_t alarm = rtc->cmos[pairs[i][1]];
        if ((alarm & ALARM_ANY) != ALARM_ANY && alarm != rtc->cmos[pairs[i][0]])
            return false;
    }
    return true;
}

/* The end of an update cycle, at `due_ns`. */
static void update_ends(struct mc146818 *rtc, uint64_t due_ns)
{
    uint64_t now = clock_now(rtc->clock);
    uint64_t late = now > due_ns ? (now - due_ns) / NS_PER_SECOND : 0;

    timer_set(&rtc->update, due_ns + (late + 1) * NS_PER_SECOND);
    rtc->seconds += (int64_t)late + 1;
    int64_t host = clock_wall_seconds(rtc->clock) + rtc->offset;
    if (host > rtc->seconds + 1 || host < rtc->seconds - 1)
        rtc->seconds = host;
    show_time(rtc);
    rtc->cmos[REG_C] |= C_UF | (alarm_matches(rtc) ? C_AF : 0);
    update_irq(rtc);
}

static void update_due(void *opaque)
{
    struct mc146818 *rtc = opaque;

    update_ends(rtc, rtc->update.deadline_ns);
}

/* A guest's access may come before the loop has had its turn. */
static void catch_up(struct mc146818 *rtc)
{
    if (timer_pending(&rtc->update) && clock_now(rtc->clock) >= rtc->update.deadline_ns)
        update_ends(rtc, rtc->update.deadline_ns);
}

/* -- Registers -- */

static void write_a(struct mc146818 *rtc, uint8_t value)
{
    uint64_t now = clock_now(rtc->clock);
    bool ran = divider_runs(rtc);

    look_at_periodic(rtc);
    rtc->cmos[REG_A] = value & (uint8_t)~A_UIP;
    if (divider_runs(rtc) && !ran) {
        rtc->divider_start_ns = now;
        rtc->periodic_seen_ns = now;
        if (!(rtc->cmos[REG_B] & B_SET))
            timer_set(&rtc->update, now + FIRST_UPDATE_NS);
    } else if (!divider_runs(rtc)) {
        timer_cancel(&rtc->update);
        if (A_DIVIDER(value) < 6)
            log_guest("%s: divider %u is for a crystal that is not there", rtc->device.id,
                      A_DIVIDER(value));
    }
    arm_periodic(rtc);
}

static void write_b(struct mc146818 *rtc, uint8_t value)
{
    uint8_t old = rtc->cmos[REG_B];

    if (value & B_DSE)
        log_guest("%s: daylight saving is left to the guest", rtc->device.id);
    if (value & B_SET)
        value &= (uint8_t)~B_UIE; /* SET clears it */
    look_at_periodic(rtc);
    rtc->cmos[REG_B] = value;

    /* Without SET, time registers keep their old coding until the next update, as on the chip. */
    if ((value & B_SET) && !(old & B_SET)) {
        timer_cancel(&rtc->update);
    } else if (!(value & B_SET) && (old & B_SET)) {
        if (rtc->time_edited)
            adopt_time(rtc);
        if (divider_runs(rtc)) {
            /* Updates come at whole seconds of the divider, which SET did not stop. */
            uint64_t first = rtc->divider_start_ns + FIRST_UPDATE_NS;
            uint64_t now = clock_now(rtc->clock);
            uint64_t passed = now >= first ? (now - first) / NS_PER_SECOND + 1 : 0;
            timer_set(&rtc->update, first + passed * NS_PER_SECOND);
        }
    }
    update_irq(rtc);
    arm_periodic(rtc);
}

static uint8_t read_c(struct mc146818 *rtc)
{
    look_at_periodic(rtc);
    update_irq(rtc);
    uint8_t value = rtc->cmos[REG_C];

    rtc->cmos[REG_C] = 0;
    update_irq(rtc);
    arm_periodic(rtc);
    return value;
}

static uint8_t read_a(struct mc146818 *rtc)
{
    uint64_t now = clock_now(rtc->clock);
    bool updating = timer_pending(&rtc->update) && rtc->update.deadline_ns - now <= UIP_NS;

    return rtc->cmos[REG_A] | (updating ? A_UIP : 0);
}

static uint8_t read_byte(struct mc146818 *rtc, unsigned index)
{
    catch_up(rtc);
    switch (index) {
    case REG_A:
        return read_a(rtc);
    case REG_C:
        return read_c(rtc);
    case REG_D:
        return D_VRT;
    default:
        return rtc->cmos[index];
    }
}

static void write_byte(struct mc146818 *rtc, unsigned index, uint8_t value)
{
    catch_up(rtc);
    switch (index) {
    case REG_A:
        write_a(rtc, value);
        break;
    case REG_B:
        write_b(rtc, value);
        break;
    case REG_C:
    case REG_D:
        break; /* read-only */
    default:
        rtc->cmos[index] = value;
        if (!is_time(index))
            break;
        if (timer_pending(&rtc->update))
            adopt_time(rtc);
        else
            rtc->time_edited = true; /* adopted when the clock runs again */
    }
}

static uint64_t cmos_read(void *opaque, uint64_t offset, unsigned size)
{
    struct mc146818 *rtc = opaque;
    unsigned bank = (unsigned)offset >> 1 & 1;

    if (!(offset & 1))
        return 0xff; /* the index is write-only */
    return read_byte(rtc, bank * 128u + rtc->index[bank]);
}

static void cmos_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct mc146818 *rtc = opaque;
    unsigned bank = (unsigned)offset >> 1 & 1;

    if (offset & 1) {
        write_byte(rtc, bank * 128u + rtc->index[bank], (uint8_t)value);
        return;
    }
    rtc->index[bank] = value & 0x7f;
    if (bank == 0) {
        rtc->nmi_masked = value & PORT_NMI_MASKED;
        irq_set(rtc->nmi_mask, rtc->nmi_masked);
    }
}

static const struct access_ops cmos_ops = {cmos_read, cmos_write, 1, 1};

void mc146818_set_cmos(struct mc146818 *rtc, unsigned index, uint8_t value)
{
    if (index > REG_D && index < CMOS_SIZE && index != CENTURY)
        rtc->cmos[index] = value;
}

uint8_t mc146818_get_cmos(const struct mc146818 *rtc, unsigned index)
{
    return index < CMOS_SIZE ? rtc->cmos[index] : 0xff;
}

/* -- Device -- */

/* The RESET pin: time and memory are on battery. */
static void mc146818_reset(struct device *device)
{
    struct mc146818 *rtc = (struct mc146818 *)device;

    catch_up(rtc);
    rtc->cmos[REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->cmos[REG_C] = 0;
    rtc->index[0] = rtc->index[1] = 0;
    rtc->nmi_masked = false;
    irq_set(rtc->nmi_mask, false);
    update_irq(rtc);
    arm_periodic(rtc);
}

static bool mc146818_post_load(struct device *device, struct error *error)
{
    struct mc146818 *rtc = (struct mc146818 *)device;

    if (rtc->index[0] > 127 || rtc->index[1] > 127 || (rtc->cmos[REG_A] & A_UIP) ||
        rtc->divider_start_ns > UINT64_MAX / 2 || llabs(rtc->seconds) > SECONDS_MAX ||
        llabs(rtc->offset) > SECONDS_MAX)
        return error_set(error, "%s: the saved clock state is impossible", device->id);
    timer_rearm(&rtc->update);
    timer_rearm(&rtc->periodic);
    irq_set(rtc->nmi_mask, rtc->nmi_masked);
    rtc->irq_level = false;
    update_irq(rtc);
    return true;
}

static void mc146818_destroy(struct device *device)
{
    struct mc146818 *rtc = (struct mc146818 *)device;

    timer_cancel(&rtc->update);
    timer_cancel(&rtc->periodic);
    free(rtc);
}

static const struct device_ops mc146818_device_ops = {
    .name = "mc146818",
    .fields = mc146818_fields,
    .version = 1,
    .reset = mc146818_reset,
    .post_load = mc146818_post_load,
    .destroy = mc146818_destroy,
};

struct mc146818 *mc146818_new(struct device_list *list, struct io_bus *io, struct clock *clock,
                              struct irq_line irq8, struct irq_line nmi_mask, const char *id)
{
    struct mc146818 *rtc = alloc_zeroed(sizeof *rtc);

    rtc->clock = clock;
    rtc->irq = irq8;
    rtc->nmi_mask = nmi_mask;
    timer_init(&rtc->update, clock, update_due, rtc);
    timer_init(&rtc->periodic, clock, periodic_due, rtc);
    device_add(list, &rtc->device, &mc146818_device_ops, id);
    io_bus_add(io, PORT, 8, &cmos_ops, rtc);

    /* As a battery has kept it. */
    rtc->cmos[REG_A] = A_DIVIDER_NORMAL << 4 | 6;
    rtc->cmos[REG_B] = B_24_HOURS;
    rtc->seconds = clock_wall_seconds(clock);
    rtc->divider_start_ns = rtc->periodic_seen_ns = clock_now(clock);
    show_time(rtc);
    timer_set(&rtc->update, rtc->divider_start_ns + FIRST_UPDATE_NS);
    mc146818_reset(&rtc->device);
    return rtc;
}
