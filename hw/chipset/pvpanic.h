/*
 * pvpanic: by which a guest's kernel says that it has crashed.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_PVPANIC_H
#define DOPPEL_HW_CHIPSET_PVPANIC_H

#include "hw/device.h"

enum pvpanic_event {
    PVPANIC_PANICKED = 1 << 0,
    PVPANIC_CRASH_LOADED = 1 << 1, /* a crash kernel takes over */
};

/* The ISA device at port 0x505. `event` is called from within the guest's write, with bits of enum
 * pvpanic_event. */
void pvpanic_new(struct device_list *list, struct io_bus *io,
                 void (*event)(void *opaque, unsigned events), void *opaque);

#endif
