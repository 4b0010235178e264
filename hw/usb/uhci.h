/*
 * A UHCI host controller (USB 1.1) with two ports.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_USB_UHCI_H
#define DOPPEL_HW_USB_UHCI_H

#include "hw/clock.h"
#include "hw/pci.h"
#include "hw/usb/usb.h"

enum uhci_model { UHCI_PIIX3, UHCI_ICH9 };

/* Registers in I/O BAR 4. Returns its bus, for usb_attach. */
struct usb_bus *uhci_new(struct device_list *list, struct pci_bus *pci, uint8_t devfn,
                         enum uhci_model model, struct clock *clock, const char *id);

#endif
