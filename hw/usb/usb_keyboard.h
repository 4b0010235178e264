/*
 * A USB keyboard with the boot protocol, which firmware understands too.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_USB_USB_KEYBOARD_H
#define DOPPEL_HW_USB_USB_KEYBOARD_H

#include "hw/clock.h"
#include "hw/input/input_routes.h"
#include "hw/usb/usb.h"

/* Takes keys from `routes` while a driver has configured it, and keeps the lamps in `leds` (the
 * bits of struct input_port). Low, full and high speed. */
struct usb_device *usb_keyboard_new(struct device_list *list, struct clock *clock,
                                    struct input_routes *routes, uint8_t *leds, const char *id);

#endif
