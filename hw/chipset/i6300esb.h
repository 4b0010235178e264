/*
 * The watchdog timer of the Intel 6300ESB.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_I6300ESB_H
#define DOPPEL_HW_CHIPSET_I6300ESB_H

#include "hw/clock.h"
#include "hw/pci.h"

/* `expired` is called from a timer when the guest did not reload the watchdog in time. */
void i6300esb_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn, struct clock *clock,
                  void (*expired)(void *opaque), void *opaque);

#endif
