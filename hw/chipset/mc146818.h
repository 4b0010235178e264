/*
 * Real-time clock and CMOS memory.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_MC146818_H
#define DOPPEL_HW_CHIPSET_MC146818_H

#include "hw/clock.h"
#include "hw/device.h"

#define CMOS_SIZE 256

struct mc146818;

/* Claims 0x70-0x77. `irq8` is the interrupt; `nmi_mask` follows bit 7 of port 0x70. Shows the
 * host's time in UTC. */
struct mc146818 *mc146818_new(struct device_list *list, struct io_bus *io, struct clock *clock,
                              struct irq_line irq8, struct irq_line nmi_mask, const char *id);

/* The board's settings (memory sizes, boot order): bytes 0x0e to 0xff except the century. */
void mc146818_set_cmos(struct mc146818 *rtc, unsigned index, uint8_t value);
uint8_t mc146818_get_cmos(const struct mc146818 *rtc, unsigned index);

#endif
