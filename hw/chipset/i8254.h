/*
 * The 8254 timer of a PC, with the system control port 0x61 that drives its third counter.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_I8254_H
#define DOPPEL_HW_CHIPSET_I8254_H

#include "hw/clock.h"
#include "hw/device.h"

#define PIT_HZ 1193182ull

struct i8254;

/* Claims 0x40-0x43 and 0x61. `irq0` follows OUT of counter 0. */
struct i8254 *i8254_new(struct device_list *list, struct io_bus *io, struct clock *clock,
                        struct irq_line irq0, const char *id);

/* The period, in timer ticks, of the wave that reaches the loudspeaker; 0: it is silent. */
uint32_t i8254_tone(const struct i8254 *pit);
/* `changed` is called when that may be different. */
void i8254_on_tone(struct i8254 *pit, void (*changed)(void *opaque), void *opaque);

#endif
