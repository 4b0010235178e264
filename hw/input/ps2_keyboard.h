/*
 * A PS/2 keyboard with 105 keys and the usual multimedia keys.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_INPUT_PS2_KEYBOARD_H
#define DOPPEL_HW_INPUT_PS2_KEYBOARD_H

#include "hw/clock.h"
#include "hw/device.h"
#include "hw/input/ps2.h"
#include "hw/port.h"

struct ps2_keyboard;

/* Joins `link` and fills in the keyboard's side of `input`; both outlive it. */
struct ps2_keyboard *ps2_keyboard_new(struct device_list *list, struct clock *clock,
                                      struct ps2_link *link, struct input_port *input,
                                      const char *id);

#endif
