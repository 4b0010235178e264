/*
 * The keyboard and mouse controller of a PC.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_INPUT_I8042_H
#define DOPPEL_HW_INPUT_I8042_H

#include "hw/clock.h"
#include "hw/device.h"
#include "hw/input/ps2.h"

struct i8042;

struct i8042_wires {
    struct irq_line irq1, irq12;
    struct irq_line a20;   /* high: address line 20 passes */
    struct irq_line reset; /* pulsed: reset the machine */
};

/* Claims 0x60 and 0x64. */
struct i8042 *i8042_new(struct device_list *list, struct io_bus *io, struct clock *clock,
                        const struct i8042_wires *wires, const char *id);

/* The connectors, for the constructors of keyboard and mouse. */
struct ps2_link *i8042_keyboard_link(struct i8042 *kbc);
struct ps2_link *i8042_mouse_link(struct i8042 *kbc);

#endif
