/*
 * Total cost of ownership logic of the ICH9 (316972, section 13.9), version 2: a timer that counts
 * TCO_TMR steps of 0.6 s. When it ends for the first time it notes TIMEOUT and starts again; when
 * it ends for the second time the machine is reset, unless NO_REBOOT is set.
 *
 * Not modelled: SMIs (there is no system management mode), intruder detection, messages over SMBus.
 */
#include "hw/chipset/tco.h"

#include <string.h>

#define TCO_RLD        0x00
#define TCO_DAT_IN     0x02
#define TCO_DAT_OUT    0x03
#define TCO1_STS       0x04
#define TCO2_STS       0x06
#define TCO1_CNT       0x08
#define TCO2_CNT       0x0a
#define TCO_MESSAGE    0x0c
#define TCO_WDCNT      0x0e
#define SW_IRQ_GEN     0x10
#define TCO_TMR        0x12

#define STS1_TIMEOUT   0x08
#define STS2_SECOND_TO 0x02
#define STS2_BOOT      0x04
#define CNT1_LOCK      0x10 /* bit 12, in the upper byte */
#define CNT1_HALT      0x08 /* bit 11 */

#define TMR_MASK       0x03ff
#define TMR_RESET      0x0004
#define SW_IRQ_RESET   0x03
#define STEP_NS        600000000ull

const struct field tco_fields[] = {
    FIELD_ARRAY(struct tco, reg, 1),
    FIELD(struct tco, second, 1),
    FIELD(struct tco, expiry.deadline_ns, 1),
    FIELD_END,
};

static bool halted(const struct tco *tco)
{
    return tco->reg[TCO1_CNT + 1] & CNT1_HALT;
}

static uint64_t period_ns(const struct tco *tco)
{
    unsigned steps = (tco->reg[TCO_TMR] | tco->reg[TCO_TMR + 1] << 8) & TMR_MASK;

    return (steps < 2 ? 2 : steps) * STEP_NS; /* 0 and 1 are not allowed */
}

static void start(struct tco *tco)
{
    if (halted(tco))
        timer_cancel(&tco->expiry);
    else
        timer_set(&tco->expiry, clock_now(tco->clock) + period_ns(tco));
}

static void expired(void *opaque)
{
    struct tco *tco = opaque;

    if (!tco->second) {
        tco->second = true;
        tco->reg[TCO1_STS] |= STS1_TIMEOUT;
        start(tco);
        return;
    }
    tco->second = false;
    tco->reg[TCO2_STS] |= STS2_SECOND_TO;
    if (tco->no_reboot(tco->opaque)) {
        start(tco);
        return;
    }
    log_line("the guest's watchdog (TCO) ran out: the machine is reset");
    tco->reset(tco->opaque);
}

uint8_t tco_read(struct tco *tco, unsigned offset)
{
    if (offset > TCO_RLD + 1)
        return tco->reg[offset];
    /* The current count. */
    uint64_t now = clock_now(tco->clock), left = 0;
    if (timer_pending(&tco->expiry) && tco->expiry.deadline_ns > now)
        left = (tco->expiry.deadline_ns - now + STEP_NS - 1) / STEP_NS;
    else if (!timer_pending(&tco->expiry))
        left = tco->reg[TCO_TMR] | tco->reg[TCO_TMR + 1] << 8;
    return (uint8_t)(left >> (8 * offset));
}

void tco_write(struct tco *tco, unsigned offset, uint8_t value)
{
    uint8_t *reg = &tco->reg[offset];

    switch (offset) {
    case TCO_RLD:
        tco->second = false;
        start(tco);
        break;
    case TCO_RLD + 1:
        break;
    case TCO1_STS:
    case TCO1_STS + 1:
    case TCO2_STS:
    case TCO2_STS + 1:
        *reg &= (uint8_t)~value;
        break;
    case TCO1_CNT + 1:
        *reg = (uint8_t)((value & (CNT1_HALT | CNT1_LOCK | 0x03)) | (*reg & CNT1_LOCK));
        start(tco);
        break;
    case TCO_TMR + 1:
        *reg = value & (TMR_MASK >> 8);
        break;
    case TCO_DAT_IN:
    case TCO_DAT_OUT:
    case TCO1_CNT:
    case TCO2_CNT:
    case TCO2_CNT + 1:
    case TCO_MESSAGE:
    case TCO_MESSAGE + 1:
    case TCO_WDCNT:
    case SW_IRQ_GEN:
    case TCO_TMR:
        *reg = value;
        break;
    default:
        log_guest("tco: write to reserved register %02x", offset);
    }
}

/* The status of an expired timer survives the reset that it caused: firmware looks at it. */
void tco_reset(struct tco *tco)
{
    uint8_t second_to = tco->reg[TCO2_STS] & STS2_SECOND_TO;

    memset(tco->reg, 0, sizeof tco->reg);
    tco->reg[TCO2_STS] = (uint8_t)(second_to ? second_to | STS2_BOOT : 0);
    tco->reg[TCO_TMR] = TMR_RESET;
    tco->reg[SW_IRQ_GEN] = SW_IRQ_RESET;
    tco->reg[TCO1_CNT + 1] = CNT1_HALT; /* as firmware leaves it; a chip would be counting */
    tco->second = false;
    timer_cancel(&tco->expiry);
}

void tco_post_load(struct tco *tco)
{
    timer_rearm(&tco->expiry);
}

void tco_destroy(struct tco *tco)
{
    timer_cancel(&tco->expiry);
}

void tco_init(struct tco *tco, struct clock *clock, bool (*no_reboot)(void *opaque),
              void (*reset)(void *opaque), void *opaque)
{
    tco->clock = clock;
    tco->no_reboot = no_reboot;
    tco->reset = reset;
    tco->opaque = opaque;
    timer_init(&tco->expiry, clock, expired, tco);
}
