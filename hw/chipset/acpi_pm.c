/*
 * Fixed ACPI hardware (ACPI 6.4, section 4.8; Intel 290562, section 7.2; 316972, section 13.8).
 *
 *     + 0  PM1_STS   + 2  PM1_EN   + 4  PM1_CNT   + 8  PM_TMR (24 bits at 3.579545 MHz)
 *     0xB2, 0xB3     APM control and status, the "SMI command" port of the ACPI tables
 *
 * There is no system management mode: a write of ACPI_PM_ENABLE or ACPI_PM_DISABLE to 0xB2 does
 * what a firmware's SMI handler would.
 *
 * Sleep: S3 stops the processors (board_requests.sleep) until the power button, the RTC's alarm (if
 * RTC_EN) or a key; the machine then resets, but for RAM. S5 ends the run. S4 is S5 with another
 * number, and is not offered.
 *
 * Not modelled: throttling, C-states, bus master status, the sleep button.
 */
#include "hw/chipset/acpi_pm.h"

#define PM1_STS         0x00
#define PM1_EN          0x02
#define PM1_CNT         0x04
#define PM_TMR          0x08

#define TMROF_STS       0x0001
#define GBL_STS         0x0020
#define PWRBTN_STS      0x0100
#define RTC_STS         0x0400
#define WAK_STS         0x8000
#define STS_CLEARS      (TMROF_STS | 0x0010 | GBL_STS | PWRBTN_STS | RTC_STS | WAK_STS)
#define EN_WRITE        (TMROF_STS | GBL_STS | PWRBTN_STS | RTC_STS)
#define SCI_EN          0x0001
#define GBL_RLS         0x0004
#define SLP_EN          0x2000
#define CNT_WRITE       0x1c03 /* SCI_EN, BRLD_EN, SLP_TYP */
#define SLP_TYP(v)      ((v) >> 10 & 7)

#define PM_TIMER_HZ     3579545u
#define PM_TIMER_MASK   0x00ffffffu
#define PM_TIMER_TOGGLE 0x00800000u /* ticks between two changes of bit 23 */

const struct field acpi_pm_fields[] = {
    FIELD(struct acpi_pm, status, 1),     FIELD(struct acpi_pm, enable, 1),
    FIELD(struct acpi_pm, control, 1),    FIELD(struct acpi_pm, overflow.deadline_ns, 1),
    FIELD(struct acpi_pm, toggle_ns, 1),  FIELD(struct acpi_pm, gpe_status, 1),
    FIELD(struct acpi_pm, gpe_enable, 1), FIELD_ARRAY(struct acpi_pm, apm, 1),
    FIELD(struct acpi_pm, asleep, 1),     FIELD_END,
};

/* -- Events and the timer -- */

static uint64_t timer_ticks(const struct acpi_pm *pm)
{
    return clock_scale(clock_now(pm->clock), PM_TIMER_HZ, NS_PER_SECOND);
}

/* When the tick count next passes a multiple of 2^23, rounded up to whole nanoseconds. */
static uint64_t next_toggle_ns(const struct acpi_pm *pm)
{
    uint64_t ticks = (timer_ticks(pm) / PM_TIMER_TOGGLE + 1) * PM_TIMER_TOGGLE;

    return clock_scale(ticks, NS_PER_SECOND, PM_TIMER_HZ) + 1;
}

void acpi_pm_update(struct acpi_pm *pm)
{
    if (clock_now(pm->clock) >= pm->toggle_ns)
        pm->status |= TMROF_STS;

    bool alarm = (pm->enable & TMROF_STS) && !(pm->status & TMROF_STS);
    if (!alarm)
        timer_cancel(&pm->overflow);
    else if (!timer_pending(&pm->overflow) || pm->overflow.deadline_ns != pm->toggle_ns)
        timer_set(&pm->overflow, pm->toggle_ns);

    bool event = (pm->control & SCI_EN) &&
                 ((pm->status & pm->enable & EN_WRITE) || (pm->gpe_status & pm->gpe_enable));
    irq_set(pm->sci, event || pm->other_sci);
}

static void timer_overflowed(void *opaque)
{
    acpi_pm_update(opaque);
}

/* -- Sleeping and waking -- */

static void wake(struct acpi_pm *pm)
{
    if (pm->asleep && pm->requests.wake)
        pm->requests.wake(pm->requests.opaque);
}

void acpi_pm_wake(struct acpi_pm *pm)
{
    wake(pm);
}

bool acpi_pm_power_button(struct acpi_pm *pm)
{
    pm->status |= PWRBTN_STS;
    acpi_pm_update(pm);
    wake(pm);
    return (pm->control & SCI_EN) && (pm->enable & PWRBTN_STS);
}

void acpi_pm_rtc_interrupt(struct acpi_pm *pm)
{
    pm->status |= RTC_STS;
    acpi_pm_update(pm);
    if (pm->enable & RTC_STS)
        wake(pm);
}

void acpi_pm_woken(struct acpi_pm *pm, uint16_t status)
{
    pm->status |= WAK_STS | (status & (PWRBTN_STS | RTC_STS));
}

bool acpi_pm_asleep(const struct acpi_pm *pm)
{
    return __atomic_load_n(&pm->asleep, __ATOMIC_RELAXED);
}

static void enter_sleep(struct acpi_pm *pm)
{
    unsigned type = SLP_TYP(pm->control);

    if (type == pm->types.off) {
        if (pm->requests.power_off)
            pm->requests.power_off(pm->requests.opaque);
    } else if (type == pm->types.suspend && pm->requests.sleep) {
        __atomic_store_n(&pm->asleep, true, __ATOMIC_RELAXED);
        pm->requests.sleep(pm->requests.opaque);
    } else {
        log_guest("%s: the guest asks for sleep type %u, which this board does not have", pm->name,
                  type);
        pm->status |= WAK_STS;
    }
}

/* -- Registers, byte by byte -- */

static uint8_t read_byte(const struct acpi_pm *pm, unsigned offset, uint32_t timer)
{
    switch (offset & ~1u) {
    case PM1_STS:
        return (uint8_t)(pm->status >> (8 * (offset & 1)));
    case PM1_EN:
        return (uint8_t)(pm->enable >> (8 * (offset & 1)));
    case PM1_CNT:
        return (uint8_t)(pm->control >> (8 * (offset & 1)));
    case PM_TMR:
    case PM_TMR + 2:
        return (uint8_t)(timer >> (8 * (offset & 3)));
    default:
        return 0; /* reserved */
    }
}

uint64_t acpi_pm_read(struct acpi_pm *pm, unsigned offset, unsigned size)
{
    uint32_t timer = timer_ticks(pm) & PM_TIMER_MASK;
    uint64_t value = 0;

    acpi_pm_update(pm);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_byte(pm, offset + i, timer) << (8 * i);
    return value;
}

static void write_half(uint16_t *target, uint16_t mask, unsigned shift, uint8_t value)
{
    mask &= (uint16_t)(0xff << shift);
    *target = (uint16_t)((*target & ~mask) | (value << shift & mask));
}

static void write_byte(struct acpi_pm *pm, unsigned offset, uint8_t value)
{
    unsigned shift = 8 * (offset & 1);
    uint16_t word = (uint16_t)(value << shift);

    switch (offset & ~1u) {
    case PM1_STS:
        if (word & TMROF_STS)
            pm->toggle_ns = next_toggle_ns(pm);
        pm->status &= (uint16_t) ~(word & STS_CLEARS);
        break;
    case PM1_EN:
        write_half(&pm->enable, EN_WRITE, shift, value);
        break;
    case PM1_CNT:
        write_half(&pm->control, CNT_WRITE, shift, value);
        if (word & GBL_RLS)
            log_guest("%s: GBL_RLS wants an SMI; there is no system management mode", pm->name);
        if (word & SLP_EN)
            enter_sleep(pm);
        break;
    default:
        break; /* the timer is read-only, the rest reserved */
    }
}

void acpi_pm_write(struct acpi_pm *pm, unsigned offset, uint64_t value, unsigned size)
{
    acpi_pm_update(pm);
    for (unsigned i = 0; i < size; i++)
        write_byte(pm, offset + i, (uint8_t)(value >> (8 * i)));
    acpi_pm_update(pm);
}

/* -- General purpose events -- */

uint8_t acpi_pm_gpe_read(const struct acpi_pm *pm, unsigned offset, unsigned bytes)
{
    uint64_t block = offset < bytes / 2 ? pm->gpe_status : pm->gpe_enable;

    return (uint8_t)(block >> (8 * (offset % (bytes / 2))));
}

void acpi_pm_gpe_write(struct acpi_pm *pm, unsigned offset, unsigned bytes, uint8_t value)
{
    unsigned shift = 8 * (offset % (bytes / 2));

    if (offset < bytes / 2)
        pm->gpe_status &= ~((uint64_t)value << shift);
    else
        pm->gpe_enable = (pm->gpe_enable & ~(UINT64_C(0xff) << shift)) | (uint64_t)value << shift;
    acpi_pm_update(pm);
}

void acpi_pm_raise_gpe(struct acpi_pm *pm, unsigned number)
{
    pm->gpe_status |= UINT64_C(1) << (number % ACPI_PM_GPES);
    acpi_pm_update(pm);
}

/* -- APM ports -- */

static uint64_t apm_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct acpi_pm *)opaque)->apm[offset];
}

static void apm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct acpi_pm *pm = opaque;

    pm->apm[offset] = (uint8_t)value;
    if (offset != 0)
        return;
    if (value == ACPI_PM_ENABLE)
        pm->control |= SCI_EN;
    else if (value == ACPI_PM_DISABLE)
        pm->control &= (uint16_t)~SCI_EN;
    else
        log_guest("SMI command %02x; there is no system management mode", (unsigned)value);
    acpi_pm_update(pm);
}

static const struct access_ops apm_ops = {apm_read, apm_write, 1, 1};

/* -- Life -- */

void acpi_pm_reset(struct acpi_pm *pm)
{
    pm->status = pm->enable = pm->control = 0;
    pm->toggle_ns = next_toggle_ns(pm);
    pm->gpe_status = pm->gpe_enable = 0;
    pm->apm[0] = pm->apm[1] = 0;
    pm->asleep = false;
    pm->other_sci = false;
    acpi_pm_update(pm);
}

bool acpi_pm_post_load(struct acpi_pm *pm, struct error *error)
{
    pm->status &= STS_CLEARS;
    pm->enable &= EN_WRITE;
    pm->control &= CNT_WRITE;
    timer_rearm(&pm->overflow);
    acpi_pm_update(pm);
    return true;
}

void acpi_pm_destroy(struct acpi_pm *pm)
{
    timer_cancel(&pm->overflow);
}

void acpi_pm_init(struct acpi_pm *pm, const char *name, struct io_bus *io, struct clock *clock,
                  struct irq_line sci, const struct board_requests *requests,
                  struct acpi_sleep_types types)
{
    pm->name = name;
    pm->clock = clock;
    pm->sci = sci;
    pm->requests = *requests;
    pm->types = types;
    timer_init(&pm->overflow, clock, timer_overflowed, pm);
    io_bus_add(io, ACPI_PM_SMI_PORT, 2, &apm_ops, pm);
}
