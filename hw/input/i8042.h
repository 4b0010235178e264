/*
 * The keyboard and mouse controller of a PC.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_INPUT_I8042_H
#define DOPPEL_HW_INPUT_I8042_H

#include "hw/clock.h"
#include "hw/device.h"
#include "hw/port.h"

struct i8042;

/* Claims 0x60 and 0x64, and plugs in a keyboard ("<id>-keyboard") and a mouse ("<id>-mouse") that
 * fill in the machine's side of `input`. `reset` is called from within a register write when the
 * guest pulses the reset line. */
struct i8042 *i8042_new(struct device_list *list, struct io_bus *io, struct clock *clock,
                        struct irq_line irq1, struct irq_line irq12, void (*reset)(void *opaque),
                        void *opaque, struct input_port *input, const char *id);

/* Where the A20 gate leads (high: address line 20 passes), if the board has one. */
void i8042_connect_a20(struct i8042 *kbc, struct irq_line a20);

#endif
