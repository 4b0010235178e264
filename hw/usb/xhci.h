/*
 * An xHCI host controller with four USB 2 and four USB 3 ports.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_USB_XHCI_H
#define DOPPEL_HW_USB_XHCI_H

#include "hw/clock.h"
#include "hw/pci.h"
#include "hw/usb/usb.h"

/* Registers in BAR 0, MSI-X in BAR 1, also MSI and INTA. Returns its bus, for usb_attach. */
struct usb_bus *xhci_new(struct device_list *list, struct pci_bus *pci, uint8_t devfn,
                         struct clock *clock, const char *id);

#endif
