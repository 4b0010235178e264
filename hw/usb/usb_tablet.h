/*
 * A USB pointer that tells where it is, rather than how far it moved: five buttons and a wheel.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_USB_USB_TABLET_H
#define DOPPEL_HW_USB_USB_TABLET_H

#include "hw/clock.h"
#include "hw/input/input_routes.h"
#include "hw/usb/usb.h"

/* Takes positions from `routes` while a driver has configured it. Full and high speed. */
struct usb_device *usb_tablet_new(struct device_list *list, struct clock *clock,
                                  struct input_routes *routes, const char *id);

#endif
