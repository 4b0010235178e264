/*
 * The TCO watchdog timer of the ICH9.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_TCO_H
#define DOPPEL_HW_CHIPSET_TCO_H

#include "hw/clock.h"
#include "hw/device.h"

#define TCO_BYTES 32

/* Part of the LPC bridge's struct. */
struct tco {
    uint8_t reg[TCO_BYTES];
    bool second; /* the timer runs for the second time */
    struct timer expiry;

    struct clock *clock;
    bool (*no_reboot)(void *opaque); /* the strap that turns the reset off */
    void (*reset)(void *opaque);
    void *opaque;
};

extern const struct field tco_fields[];

void tco_init(struct tco *tco, struct clock *clock, bool (*no_reboot)(void *opaque),
              void (*reset)(void *opaque), void *opaque);
void tco_reset(struct tco *tco);
void tco_post_load(struct tco *tco);
void tco_destroy(struct tco *tco);
uint8_t tco_read(struct tco *tco, unsigned offset);
void tco_write(struct tco *tco, unsigned offset, uint8_t value);

#endif
