/*
 * Local APIC: xAPIC (register page) and x2APIC (MSRs), with APIC timer and TSC deadline.
 *
 * Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller (APIC)"; names of
 * registers and fields are the manual's.
 *
 *     message from the bus ---> IRR ---(above PPR)---> accept ---> ISR ---> EOI
 *     LVT: timer, error, LINT0/1 -^                                          |
 *                                              level-triggered (TMR): to the I/O APICs
 *
 * `pending` is the summary that the processor polls without the lock; every change of IRR, ISR, TPR
 * or the ExtINT request ends in update(), which computes it and calls the processor if it is set.
 *
 * Not modelled: SMM (SMI is dropped and logged), remote reads, focus processor, performance and
 * thermal interrupts (their LVT entries are kept; nothing raises them). The spurious vector is
 * kept; acceptance and TPR changes are atomic here, so it never comes up.
 */
#include "hw/irq/lapic.h"

#include "hw/alloc.h"

#include <stdatomic.h>

#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST 0x800
#define MSR_X2APIC_LAST  0x8ff

#define BASE_BSP         (1ull << 8)
#define BASE_EXTD        (1ull << 10)
#define BASE_EN          (1ull << 11)
#define BASE_DEFAULT     0xfee00000ull

/* Registers by number: offset in the page / 16, MSR - 0x800 */
enum {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_APR = 0x09,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_RRD = 0x0c,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32,
    REG_INITIAL_COUNT = 0x38,
    REG_CURRENT_COUNT = 0x39,
    REG_DIVIDE = 0x3e,
    REG_SELF_IPI = 0x3f,
    REGISTERS = 0x40,
};

enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

#define VERSION                    (1u << 24 | (LVTS - 1) << 16 | 0x14) /* EOI broadcasts can be suppressed */

#define SVR_ENABLED                0x100u
#define SVR_SUPPRESS_EOI_BROADCAST 0x1000u

#define LVT_DELIVERY(value)        ((value) >> 8 & 7)
#define LVT_DELIVERY_STATUS        0x1000u
#define LVT_REMOTE_IRR             0x4000u
#define LVT_LEVEL                  0x8000u
#define LVT_MASKED                 0x10000u
#define TIMER_MODE(value)          ((value) >> 17 & 3)
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE };

#define ESR_SEND_ILLEGAL_VECTOR     0x20
#define ESR_RECEIVED_ILLEGAL_VECTOR 0x40
#define ESR_ILLEGAL_REGISTER        0x80

#define ICR_DELIVERY(value)         ((value) >> 8 & 7)
#define ICR_LOGICAL                 0x800u
#define ICR_ASSERT                  0x4000u
#define ICR_LEVEL                   0x8000u
#define ICR_SHORTHAND(value)        ((value) >> 18 & 3)
enum { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

#define DFR_MODEL(value)          ((value) >> 28)
#define DFR_FLAT                  0xf

#define TIMER_TICK_NS             1     /* a 1 GHz bus clock */
#define TIMER_PERIOD_EVENT_MIN_NS 20000 /* tiny periods do not keep the loop busy */

/* What can be done with a register in each mode, and its bits that exist for writes. */
#define X_R  1
#define X_W  2
#define X2_R 4
#define X2_W 8
static const struct {
    uint8_t access;
    uint32_t writable;
} registers[REGISTERS] = {
    [REG_ID] = {X_R | X_W | X2_R, 0xff000000},
    [REG_VERSION] = {X_R | X2_R, 0},
    [REG_TPR] = {X_R | X_W | X2_R | X2_W, 0xff},
    [REG_APR] = {X_R, 0},
    [REG_PPR] = {X_R | X2_R, 0},
    [REG_EOI] = {X_W | X2_W, 0},
    [REG_RRD] = {X_R, 0},
    [REG_LDR] = {X_R | X_W | X2_R, 0xff000000},
    [REG_DFR] = {X_R | X_W, 0xf0000000},
    [REG_SVR] = {X_R | X_W | X2_R | X2_W, 0x11ff},
    [REG_ISR... REG_ISR + 7] = {X_R | X2_R, 0},
    [REG_TMR... REG_TMR + 7] = {X_R | X2_R, 0},
    [REG_IRR... REG_IRR + 7] = {X_R | X2_R, 0},
    [REG_ESR] = {X_R | X_W | X2_R | X2_W, 0},
    [REG_ICR] = {X_R | X_W | X2_R | X2_W, 0xccfff},
    [REG_ICR_HIGH] = {X_R | X_W, 0xff000000},
    [REG_LVT + LVT_TIMER] = {X_R | X_W | X2_R | X2_W, 0x700ff},
    [REG_LVT + LVT_THERMAL] = {X_R | X_W | X2_R | X2_W, 0x107ff},
    [REG_LVT + LVT_PERFORMANCE] = {X_R | X_W | X2_R | X2_W, 0x107ff},
    [REG_LVT + LVT_LINT0] = {X_R | X_W | X2_R | X2_W, 0x1a7ff},
    [REG_LVT + LVT_LINT1] = {X_R | X_W | X2_R | X2_W, 0x1a7ff},
    [REG_LVT + LVT_ERROR] = {X_R | X_W | X2_R | X2_W, 0x100ff},
    [REG_INITIAL_COUNT] = {X_R | X_W | X2_R | X2_W, 0xffffffff},
    [REG_CURRENT_COUNT] = {X_R | X2_R, 0},
    [REG_DIVIDE] = {X_R | X_W | X2_R | X2_W, 0xb},
    [REG_SELF_IPI] = {X2_W, 0xff},
};

struct lapic {
    struct device device;
    _Atomic bool pending;

    uint64_t base; /* IA32_APIC_BASE */
    uint32_t id;   /* 8 bits in xAPIC mode */
    uint32_t tpr, ldr, dfr, svr;
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t esr, errors; /* readable, and collected since the last write */
    uint32_t icr, icr_high;
    uint32_t lvt[LVTS];
    bool lint[2];        /* level of the pins */
    bool extint_message; /* ExtINT delivered by message, not yet acknowledged */

    uint32_t initial_count, divide;
    uint32_t count_at_base; /* current count at base_ns; 0: stopped */
    uint64_t base_ns;
    uint64_t tsc_deadline;
    struct timer timer;

    uint32_t index;
    struct clock *clock;
    struct lapic_cpu cpu;
    struct apic_bus *bus;
};

static const struct field lapic_fields[] = {
    FIELD(struct lapic, base, 1),
    FIELD(struct lapic, id, 1),
    FIELD(struct lapic, tpr, 1),
    FIELD(struct lapic, ldr, 1),
    FIELD(struct lapic, dfr, 1),
    FIELD(struct lapic, svr, 1),
    FIELD_ARRAY(struct lapic, isr, 1),
    FIELD_ARRAY(struct lapic, tmr, 1),
    FIELD_ARRAY(struct lapic, irr, 1),
    FIELD(struct lapic, esr, 1),
    FIELD(struct lapic, errors, 1),
    FIELD(struct lapic, icr, 1),
    FIELD(struct lapic, icr_high, 1),
    FIELD_ARRAY(struct lapic, lvt, 1),
    FIELD_ARRAY(struct lapic, lint, 1),
    FIELD(struct lapic, extint_message, 1),
    FIELD(struct lapic, initial_count, 1),
    FIELD(struct lapic, divide, 1),
    FIELD(struct lapic, count_at_base, 1),
    FIELD(struct lapic, base_ns, 1),
    FIELD(struct lapic, tsc_deadline, 1),
    FIELD(struct lapic, timer.deadline_ns, 1),
    FIELD_END,
};

static bool is_enabled(const struct lapic *lapic)
{
    return lapic->base & BASE_EN;
}

static bool is_x2apic(const struct lapic *lapic)
{
    return lapic->base & BASE_EXTD;
}

/* -- Priority -- */

static int highest(const uint32_t bits[8])
{
    for (int word = 7; word >= 0; word--) {
        if (bits[word])
            return 32 * word + 31 - __builtin_clz(bits[word]);
    }
    return -1;
}

static bool test_bit(const uint32_t bits[8], unsigned vector)
{
    return bits[vector / 32] >> (vector % 32) & 1;
}

static void assign_bit(uint32_t bits[8], unsigned vector, bool value)
{
    uint32_t bit = 1u << (vector % 32);

    bits[vector / 32] = value ? bits[vector / 32] | bit : bits[vector / 32] & ~bit;
}

static uint32_t ppr(const struct lapic *lapic)
{
    int serving = highest(lapic->isr);
    uint32_t class_in_service = serving < 0 ? 0 : (uint32_t)serving & 0xf0;

    return (lapic->tpr & 0xf0) >= class_in_service ? lapic->tpr : class_in_service;
}

/* Arbitration priority, xAPIC only. */
static uint32_t apr(const struct lapic *lapic)
{
    int serving = highest(lapic->isr), asking = highest(lapic->irr);
    uint32_t isr_class = serving < 0 ? 0 : (uint32_t)serving & 0xf0;
    uint32_t irr_class = asking < 0 ? 0 : (uint32_t)asking & 0xf0;

    if ((lapic->tpr & 0xf0) >= irr_class && (lapic->tpr & 0xf0) > isr_class)
        return lapic->tpr;
    return isr_class > irr_class ? isr_class : irr_class;
}

/* Does the processor's INTR ask for a vector from the 8259? */
static bool extint_asks(const struct lapic *lapic)
{
    uint32_t lint0 = lapic->lvt[LVT_LINT0];

    if (!is_enabled(lapic))
        return lapic->lint[0];
    return lapic->extint_message ||
           (lapic->lint[0] && !(lint0 & LVT_MASKED) && LVT_DELIVERY(lint0) == APIC_EXTINT);
}

/* The vector that would be accepted, or -1. */
static int deliverable(const struct lapic *lapic)
{
    int vector = highest(lapic->irr);

    return vector >= 0 && ((uint32_t)vector & 0xf0) > (ppr(lapic) & 0xf0) ? vector : -1;
}

static bool compute_pending(struct lapic *lapic)
{
    bool pending = extint_asks(lapic) || deliverable(lapic) >= 0;

    atomic_store_explicit(&lapic->pending, pending, memory_order_release);
    return pending;
}

static void update(struct lapic *lapic)
{
    if (compute_pending(lapic))
        lapic->cpu.interrupt(lapic->cpu.opaque);
}

bool lapic_pending(const struct lapic *lapic)
{
    return atomic_load_explicit(&lapic->pending, memory_order_acquire);
}

int lapic_accept(struct lapic *lapic)
{
    int vector = LAPIC_NONE;

    if (extint_asks(lapic)) {
        lapic->extint_message = false;
        vector = LAPIC_EXTINT;
    } else {
        vector = deliverable(lapic);
        if (vector >= 0) {
            assign_bit(lapic->irr, (unsigned)vector, false);
            assign_bit(lapic->isr, (unsigned)vector, true);
        }
    }
    compute_pending(lapic);
    return vector;
}

uint8_t lapic_get_tpr(const struct lapic *lapic)
{
    return (uint8_t)(lapic->tpr >> 4);
}

void lapic_set_tpr(struct lapic *lapic, uint8_t priority_class)
{
    lapic->tpr = (uint32_t)(priority_class & 15) << 4;
    update(lapic);
}

/* -- Local interrupts -- */

static void request(struct lapic *lapic, uint8_t vector, bool level_triggered);

static void raise_error(struct lapic *lapic, uint32_t error)
{
    uint32_t entry = lapic->lvt[LVT_ERROR];

    lapic->errors |= error;
    /* An illegal error vector is not an error again. */
    if (!(entry & LVT_MASKED) && (uint8_t)entry >= 16)
        request(lapic, (uint8_t)entry, false);
}

/* Puts a vector into IRR. */
static void request(struct lapic *lapic, uint8_t vector, bool level_triggered)
{
    if (vector < 16) {
        raise_error(lapic, ESR_RECEIVED_ILLEGAL_VECTOR);
        return;
    }
    assign_bit(lapic->irr, vector, true);
    assign_bit(lapic->tmr, vector, level_triggered);
    update(lapic);
}

static void reset_registers(struct lapic *lapic);

static void receive_init(struct lapic *lapic)
{
    uint32_t id = lapic->id;

    reset_registers(lapic);
    lapic->id = id; /* INIT keeps it */
    lapic->cpu.init(lapic->cpu.opaque);
}

/* A LINT pin is asserted and its entry not masked. */
static void fire_lint(struct lapic *lapic, enum lvt which)
{
    uint32_t entry = lapic->lvt[which];

    switch (LVT_DELIVERY(entry)) {
    case APIC_FIXED:
        if (which == LVT_LINT0 && (entry & LVT_LEVEL)) {
            if (entry & LVT_REMOTE_IRR)
                return;
            lapic->lvt[which] |= LVT_REMOTE_IRR;
            request(lapic, (uint8_t)entry, true);
        } else {
            request(lapic, (uint8_t)entry, false);
        }
        break;
    case APIC_NMI:
        lapic->cpu.nmi(lapic->cpu.opaque);
        break;
    case APIC_INIT:
        receive_init(lapic);
        break;
    case APIC_EXTINT:
        update(lapic); /* follows the pin's level */
        break;
    default:
        log_guest("lapic %u: LINT%d delivery mode %u ignored", lapic->index, which - LVT_LINT0,
                  LVT_DELIVERY(entry));
    }
}

static void set_lint(struct lapic *lapic, enum lvt which, bool level)
{
    bool *pin = &lapic->lint[which - LVT_LINT0];
    bool rising = level && !*pin;

    *pin = level;
    if (!is_enabled(lapic)) {
        if (which == LVT_LINT1 && rising)
            lapic->cpu.nmi(lapic->cpu.opaque);
        update(lapic);
    } else if (rising && !(lapic->lvt[which] & LVT_MASKED)) {
        fire_lint(lapic, which);
    } else {
        compute_pending(lapic);
    }
}

void lapic_extint(struct lapic *lapic, bool level)
{
    set_lint(lapic, LVT_LINT0, level);
}

void lapic_lint1(struct lapic *lapic, bool level)
{
    set_lint(lapic, LVT_LINT1, level);
}

static void end_of_interrupt(struct lapic *lapic)
{
    int vector = highest(lapic->isr);

    if (vector < 0)
        return;
    assign_bit(lapic->isr, (unsigned)vector, false);
    if (test_bit(lapic->tmr, (unsigned)vector)) {
        if (!(lapic->svr & SVR_SUPPRESS_EOI_BROADCAST))
            apic_bus_eoi(lapic->bus, (uint8_t)vector);
        uint32_t *lint0 = &lapic->lvt[LVT_LINT0];
        if ((*lint0 & LVT_REMOTE_IRR) && (uint8_t)*lint0 == vector) {
            *lint0 &= ~LVT_REMOTE_IRR;
            if (lapic->lint[0] && !(*lint0 & LVT_MASKED))
                fire_lint(lapic, LVT_LINT0);
        }
    }
    update(lapic);
}

/* -- The bus's side -- */

static bool is_addressed(void *opaque, const struct apic_message *message)
{
    const struct lapic *lapic = opaque;
    uint32_t destination = message->destination;

    if (!is_enabled(lapic))
        return false;
    if (!message->logical)
        return destination == APIC_DESTINATION_ALL || destination == lapic->id;
    if (is_x2apic(lapic))
        return destination == APIC_DESTINATION_ALL ||
               (destination >> 16 == lapic->ldr >> 16 && (destination & lapic->ldr & 0xffff));

    uint32_t logical_id = lapic->ldr >> 24;
    if (DFR_MODEL(lapic->dfr) == DFR_FLAT)
        return destination & logical_id & 0xff;
    bool same_cluster = (destination & 0xf0) == 0xf0 || (destination & 0xf0) == (logical_id & 0xf0);
    return same_cluster && (destination & logical_id & 0x0f);
}

static int arbitration_priority(void *opaque)
{
    const struct lapic *lapic = opaque;

    return lapic->svr & SVR_ENABLED ? (int)ppr(lapic) : -1;
}

static bool receive(void *opaque, const struct apic_message *message)
{
    struct lapic *lapic = opaque;

    switch (message->delivery) {
    case APIC_FIXED:
    case APIC_LOWEST:
        if (!(lapic->svr & SVR_ENABLED))
            return false;
        request(lapic, message->vector, message->level_triggered);
        return true;
    case APIC_NMI:
        lapic->cpu.nmi(lapic->cpu.opaque);
        return true;
    case APIC_INIT:
        receive_init(lapic);
        return true;
    case APIC_STARTUP:
        lapic->cpu.startup(lapic->cpu.opaque, message->vector);
        return true;
    case APIC_EXTINT:
        lapic->extint_message = true;
        update(lapic);
        return true;
    default:
        log_guest("lapic %u: message with delivery mode %u (SMI or reserved) dropped", lapic->index,
                  message->delivery);
        return false;
    }
}

static void send_ipi(struct lapic *lapic)
{
    uint32_t icr = lapic->icr;
    unsigned shorthand = ICR_SHORTHAND(icr);
    bool logical = icr & ICR_LOGICAL;
    struct apic_message message = {
        .destination = is_x2apic(lapic)
                           ? lapic->icr_high
                           : apic_destination8((uint8_t)(lapic->icr_high >> 24), logical),
        .logical = logical,
        .delivery = (uint8_t)ICR_DELIVERY(icr),
        .vector = (uint8_t)icr,
    };

    if (message.delivery == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
        return; /* INIT level de-assert only set arbitration IDs, long ago */
    if (message.delivery == 3 || message.delivery == APIC_EXTINT ||
        (shorthand == SHORTHAND_SELF && message.delivery > APIC_LOWEST)) {
        log_guest("lapic %u: IPI with delivery mode %u, shorthand %u ignored", lapic->index,
                  message.delivery, shorthand);
        return;
    }
    if (message.delivery <= APIC_LOWEST && message.vector < 16) {
        raise_error(lapic, ESR_SEND_ILLEGAL_VECTOR);
        return;
    }
    if (shorthand == SHORTHAND_SELF) {
        receive(lapic, &message);
        return;
    }
    if (shorthand != SHORTHAND_NONE) {
        message.destination = APIC_DESTINATION_ALL;
        message.logical = false;
    }
    apic_bus_deliver(lapic->bus, &message, shorthand == SHORTHAND_OTHERS ? lapic : NULL);
}

/* -- Timer -- */

static unsigned timer_mode(const struct lapic *lapic)
{
    return TIMER_MODE(lapic->lvt[LVT_TIMER]);
}

/* Nanoseconds a count. */
static uint64_t count_ns(const struct lapic *lapic)
{
    unsigned code = (lapic->divide & 3) | (lapic->divide >> 1 & 4);

    return TIMER_TICK_NS * (1ull << ((code + 1) & 7));
}

static uint32_t current_count(const struct lapic *lapic)
{
    if (timer_mode(lapic) == TIMER_DEADLINE || !lapic->count_at_base)
        return 0;
    uint64_t passed = (clock_now(lapic->clock) - lapic->base_ns) / count_ns(lapic);
    if (passed < lapic->count_at_base)
        return lapic->count_at_base - (uint32_t)passed;
    if (timer_mode(lapic) != TIMER_PERIODIC || !lapic->initial_count)
        return 0;
    passed -= lapic->count_at_base;
    return lapic->initial_count - (uint32_t)(passed % lapic->initial_count);
}

/* Counts down from `count`, beginning at `from_ns`. */
static void timer_start(struct lapic *lapic, uint32_t count, uint64_t from_ns)
{
    lapic->count_at_base = count;
    lapic->base_ns = from_ns;
    if (count)
        timer_set(&lapic->timer, from_ns + count * count_ns(lapic));
    else
        timer_cancel(&lapic->timer);
}

static void fire_timer(struct lapic *lapic)
{
    uint32_t entry = lapic->lvt[LVT_TIMER];

    if (!(entry & LVT_MASKED))
        request(lapic, (uint8_t)entry, false);
}

static void timer_due(void *opaque)
{
    struct lapic *lapic = opaque;
    uint64_t now = clock_now(lapic->clock);

    if (timer_mode(lapic) == TIMER_DEADLINE) {
        lapic->tsc_deadline = 0;
    } else if (timer_mode(lapic) == TIMER_PERIODIC && lapic->initial_count) {
        uint64_t period = lapic->initial_count * count_ns(lapic);
        uint64_t expired = lapic->base_ns + lapic->count_at_base * count_ns(lapic);
        if (now > expired)
            expired += (now - expired) / period * period; /* IRR holds one anyway */
        timer_start(lapic, lapic->initial_count, expired);
        if (lapic->timer.deadline_ns < now + TIMER_PERIOD_EVENT_MIN_NS)
            timer_set(&lapic->timer, now + TIMER_PERIOD_EVENT_MIN_NS);
    } else {
        lapic->count_at_base = 0;
    }
    fire_timer(lapic);
}

static void arm_deadline(struct lapic *lapic)
{
    timer_cancel(&lapic->timer);
    if (!lapic->tsc_deadline)
        return;
    uint64_t deadline_ns = lapic->cpu.tsc_to_ns(lapic->cpu.opaque, lapic->tsc_deadline);
    if (deadline_ns <= clock_now(lapic->clock)) {
        lapic->tsc_deadline = 0;
        fire_timer(lapic);
    } else {
        timer_set(&lapic->timer, deadline_ns);
    }
}

void lapic_tsc_changed(struct lapic *lapic)
{
    if (timer_mode(lapic) == TIMER_DEADLINE)
        arm_deadline(lapic);
}

static void write_lvt(struct lapic *lapic, enum lvt which, uint32_t value)
{
    uint32_t old = lapic->lvt[which];

    if (!(lapic->svr & SVR_ENABLED))
        value |= LVT_MASKED;
    if (which == LVT_LINT0 && (value & LVT_LEVEL) && LVT_DELIVERY(value) == APIC_FIXED)
        value |= old & LVT_REMOTE_IRR;
    lapic->lvt[which] = value;

    if (which == LVT_TIMER && TIMER_MODE(old) != TIMER_MODE(value)) {
        if (TIMER_MODE(value) == 3)
            log_guest("lapic %u: reserved timer mode, one-shot used", lapic->index);
        /* Going to or from deadline mode disarms; otherwise the count goes on. */
        if (TIMER_MODE(old) == TIMER_DEADLINE || TIMER_MODE(value) == TIMER_DEADLINE) {
            lapic->tsc_deadline = 0;
            lapic->initial_count = 0;
            timer_start(lapic, 0, 0);
        }
    }
    if (which == LVT_LINT0 || which == LVT_LINT1) {
        /* An unmasked level input that is already asserted is seen now. */
        if (lapic->lint[which - LVT_LINT0] && !(value & LVT_MASKED) && (value & LVT_LEVEL) &&
            LVT_DELIVERY(value) == APIC_FIXED)
            fire_lint(lapic, which);
        update(lapic);
    }
}

/* -- Registers -- */

static uint32_t register_read(struct lapic *lapic, unsigned reg)
{
    switch (reg) {
    case REG_ID:
        return is_x2apic(lapic) ? lapic->id : lapic->id << 24;
    case REG_VERSION:
        return VERSION;
    case REG_TPR:
        return lapic->tpr;
    case REG_APR:
        return apr(lapic);
    case REG_PPR:
        return ppr(lapic);
    case REG_LDR:
        return lapic->ldr;
    case REG_DFR:
        return lapic->dfr;
    case REG_SVR:
        return lapic->svr;
    case REG_ISR ... REG_ISR + 7:
        return lapic->isr[reg - REG_ISR];
    case REG_TMR ... REG_TMR + 7:
        return lapic->tmr[reg - REG_TMR];
    case REG_IRR ... REG_IRR + 7:
        return lapic->irr[reg - REG_IRR];
    case REG_ESR:
        return lapic->esr;
    case REG_ICR:
        return lapic->icr;
    case REG_ICR_HIGH:
        return lapic->icr_high;
    case REG_LVT ... REG_LVT + LVTS - 1:
        return lapic->lvt[reg - REG_LVT];
    case REG_INITIAL_COUNT:
        return lapic->initial_count;
    case REG_CURRENT_COUNT:
        return current_count(lapic);
    case REG_DIVIDE:
        return lapic->divide;
    default:
        return 0;
    }
}

static void write_svr(struct lapic *lapic, uint32_t value)
{
    lapic->svr = value;
    if (!(value & SVR_ENABLED)) {
        for (int i = 0; i < LVTS; i++)
            lapic->lvt[i] |= LVT_MASKED;
        compute_pending(lapic);
    }
}

static void write_divide(struct lapic *lapic, uint32_t value)
{
    uint32_t count = current_count(lapic);
    bool counting = lapic->count_at_base && timer_mode(lapic) != TIMER_DEADLINE;

    lapic->divide = value;
    if (counting)
        timer_start(lapic, count, clock_now(lapic->clock));
}

/* `value` has been limited to the register's writable bits. */
static void register_write(struct lapic *lapic, unsigned reg, uint32_t value)
{
    switch (reg) {
    case REG_ID:
        lapic->id = value >> 24;
        break;
    case REG_TPR:
        lapic->tpr = value;
        update(lapic);
        break;
    case REG_EOI:
        end_of_interrupt(lapic);
        break;
    case REG_LDR:
        lapic->ldr = value;
        break;
    case REG_DFR:
        lapic->dfr = value;
        break;
    case REG_SVR:
        write_svr(lapic, value);
        break;
    case REG_ESR:
        lapic->esr = lapic->errors;
        lapic->errors = 0;
        break;
    case REG_ICR:
        lapic->icr = value;
        send_ipi(lapic);
        break;
    case REG_ICR_HIGH:
        lapic->icr_high = value;
        break;
    case REG_LVT ... REG_LVT + LVTS - 1:
        write_lvt(lapic, (enum lvt)(reg - REG_LVT), value);
        break;
    case REG_INITIAL_COUNT:
        if (timer_mode(lapic) == TIMER_DEADLINE)
            break;
        lapic->initial_count = value;
        timer_start(lapic, value, clock_now(lapic->clock));
        break;
    case REG_DIVIDE:
        write_divide(lapic, value);
        break;
    case REG_SELF_IPI:
        if (value < 16)
            raise_error(lapic, ESR_SEND_ILLEGAL_VECTOR);
        else if (lapic->svr & SVR_ENABLED)
            request(lapic, (uint8_t)value, false);
        break;
    }
}

bool lapic_page(const struct lapic *lapic, uint64_t *base)
{
    *base = lapic->base & ~0xfffull;
    return (lapic->base & (BASE_EN | BASE_EXTD)) == BASE_EN;
}

uint64_t lapic_read(struct lapic *lapic, uint64_t offset, unsigned size)
{
    unsigned reg = (unsigned)(offset >> 4), byte = offset & 15;

    if (reg >= REGISTERS || !(registers[reg].access & X_R)) {
        raise_error(lapic, ESR_ILLEGAL_REGISTER);
        return 0;
    }
    /* Only the first four bytes of a register's sixteen exist. */
    return byte < 4 ? register_read(lapic, reg) >> 8 * byte : 0;
}

void lapic_write(struct lapic *lapic, uint64_t offset, uint64_t value, unsigned size)
{
    unsigned reg = (unsigned)(offset >> 4);

    if (reg >= REGISTERS || !(registers[reg].access & X_W)) {
        raise_error(lapic, ESR_ILLEGAL_REGISTER);
    } else if ((offset & 15) || size < 4) {
        log_guest("lapic %u: %u-byte write at offset %#llx ignored", lapic->index, size,
                  (unsigned long long)offset);
    } else {
        uint32_t writable = registers[reg].writable;
        uint32_t kept = reg == REG_DFR ? ~writable : 0; /* its reserved bits are ones */
        register_write(lapic, reg, ((uint32_t)value & writable) | kept);
    }
}

/* -- MSRs -- */

static uint32_t x2apic_ldr(uint32_t id)
{
    return id >> 4 << 16 | 1u << (id & 15);
}

static bool write_apic_base(struct lapic *lapic, uint64_t value)
{
    unsigned bits = lapic->cpu.physical_bits ? lapic->cpu.physical_bits : 52;
    uint64_t known = ((1ull << bits) - 1) & ~0xfffull;
    uint64_t old_mode = lapic->base & (BASE_EN | BASE_EXTD);
    uint64_t mode = value & (BASE_EN | BASE_EXTD);

    if (value & ~(known | BASE_BSP | BASE_EN | BASE_EXTD))
        return false;
    if (mode == BASE_EXTD || (mode == BASE_EN && old_mode == (BASE_EN | BASE_EXTD)) ||
        (mode == (BASE_EN | BASE_EXTD) && old_mode == 0))
        return false;

    if (mode == 0 && old_mode != 0)
        reset_registers(lapic);
    lapic->base = value;
    if (mode == (BASE_EN | BASE_EXTD) && old_mode == BASE_EN) {
        lapic->id = lapic->index;
        lapic->ldr = x2apic_ldr(lapic->id);
        lapic->icr_high = 0;
    }
    update(lapic);
    return true;
}

static unsigned x2apic_access(const struct lapic *lapic, uint32_t msr)
{
    uint32_t reg = msr - MSR_X2APIC_FIRST;

    return is_x2apic(lapic) && reg < REGISTERS ? registers[reg].access : 0;
}

bool lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *value)
{
    if (msr == MSR_APIC_BASE) {
        *value = lapic->base;
        return true;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *value = lapic->tsc_deadline;
        return true;
    }
    if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !(x2apic_access(lapic, msr) & X2_R))
        return false;
    *value = register_read(lapic, msr - MSR_X2APIC_FIRST);
    if (msr == MSR_X2APIC_FIRST + REG_ICR)
        *value |= (uint64_t)lapic->icr_high << 32;
    return true;
}

bool lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value)
{
    if (msr == MSR_APIC_BASE)
        return write_apic_base(lapic, value);
    if (msr == MSR_TSC_DEADLINE) {
        if (timer_mode(lapic) == TIMER_DEADLINE) {
            lapic->tsc_deadline = value;
            arm_deadline(lapic);
        }
        return true;
    }
    if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !(x2apic_access(lapic, msr) & X2_W))
        return false;

    uint32_t reg = msr - MSR_X2APIC_FIRST;
    uint64_t writable = registers[reg].writable;
    if (reg == REG_ICR)
        writable |= 0xffffffffull << 32;
    if (reg >= REG_LVT && reg < REG_LVT + LVTS) /* read-only rather than reserved */
        value &= ~(uint64_t)(LVT_REMOTE_IRR | LVT_DELIVERY_STATUS);
    if (value & ~writable)
        return false;
    if (reg == REG_ICR)
        lapic->icr_high = (uint32_t)(value >> 32);
    register_write(lapic, reg, (uint32_t)value);
    return true;
}

/* -- Device -- */

/* All but IA32_APIC_BASE and the pins. */
static void reset_registers(struct lapic *lapic)
{
    lapic->id = lapic->index;
    lapic->tpr = 0;
    lapic->ldr = is_x2apic(lapic) ? x2apic_ldr(lapic->id) : 0;
    lapic->dfr = 0xffffffff;
    lapic->svr = 0xff;
    for (int i = 0; i < 8; i++)
        lapic->isr[i] = lapic->tmr[i] = lapic->irr[i] = 0;
    lapic->esr = lapic->errors = 0;
    lapic->icr = lapic->icr_high = 0;
    for (int i = 0; i < LVTS; i++)
        lapic->lvt[i] = LVT_MASKED;
    lapic->extint_message = false;
    lapic->initial_count = 0;
    lapic->divide = 0;
    lapic->tsc_deadline = 0;
    timer_start(lapic, 0, 0);
    compute_pending(lapic);
}

static void lapic_reset(struct device *device)
{
    struct lapic *lapic = (struct lapic *)device;

    lapic->base = BASE_DEFAULT | BASE_EN | (lapic->index == 0 ? BASE_BSP : 0);
    reset_registers(lapic);
}

static bool lapic_post_load(struct device *device, struct error *error)
{
    struct lapic *lapic = (struct lapic *)device;
    bool plausible = (lapic->base & (BASE_EN | BASE_EXTD)) != BASE_EXTD && !(lapic->base & 0x2ff) &&
                     lapic->id == (is_x2apic(lapic) ? lapic->index : lapic->id & 0xff) &&
                     !(lapic->divide & ~0xbu) && !(lapic->tpr & ~0xffu) &&
                     !(lapic->irr[0] & 0xffff) && !(lapic->isr[0] & 0xffff) &&
                     !(lapic->svr & ~registers[REG_SVR].writable) &&
                     lapic->base_ns < UINT64_MAX / 2;

    for (int i = 0; i < LVTS; i++)
        plausible &= !(lapic->lvt[i] & ~(registers[REG_LVT + i].writable | LVT_REMOTE_IRR));
    if (!plausible)
        return error_set(error, "%s: the saved local APIC state is impossible", device->id);
    timer_rearm(&lapic->timer);
    update(lapic);
    return true;
}

static void lapic_destroy(struct device *device)
{
    struct lapic *lapic = (struct lapic *)device;

    timer_cancel(&lapic->timer);
    free(lapic);
}

static const struct device_ops lapic_device_ops = {
    .name = "lapic",
    .fields = lapic_fields,
    .version = 1,
    .reset = lapic_reset,
    .post_load = lapic_post_load,
    .destroy = lapic_destroy,
};

struct lapic *lapic_new(struct device_list *list, int cpu_index, struct clock *clock,
                        const struct lapic_cpu *cpu, struct apic_bus *bus, const char *id)
{
    struct lapic *lapic = alloc_zeroed(sizeof *lapic);
    const struct apic_node node = {lapic, is_addressed, arbitration_priority, receive};

    lapic->index = (uint32_t)cpu_index;
    lapic->clock = clock;
    lapic->cpu = *cpu;
    lapic->bus = bus;
    timer_init(&lapic->timer, clock, timer_due, lapic);
    device_add(list, &lapic->device, &lapic_device_ops, id);
    apic_bus_add_node(bus, &node);
    lapic_reset(&lapic->device);
    return lapic;
}
