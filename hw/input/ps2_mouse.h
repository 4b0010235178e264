/*
 * A PS/2 mouse with wheel and five buttons.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_INPUT_PS2_MOUSE_H
#define DOPPEL_HW_INPUT_PS2_MOUSE_H

#include "hw/clock.h"
#include "hw/device.h"
#include "hw/input/ps2.h"
#include "hw/port.h"

struct ps2_mouse;

/* Joins `link` and fills in the mouse's side of `input`; both outlive it. dy grows downwards, a
 * positive wheel notch is away from the user; buttons 3 and 4 are the side buttons. */
struct ps2_mouse *ps2_mouse_new(struct device_list *list, struct clock *clock,
                                struct ps2_link *link, struct input_port *input, const char *id);

#endif
