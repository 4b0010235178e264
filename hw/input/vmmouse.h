/*
 * The absolute mouse of VMware's backdoor port, beside the PS/2 mouse.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_INPUT_VMMOUSE_H
#define DOPPEL_HW_INPUT_VMMOUSE_H

#include "cpu/state.h"
#include "hw/device.h"
#include "hw/input/input_routes.h"

/* Claims port 0x5658. `*cpu` is the processor whose access is under way: the port's answers go into
 * its registers. Takes positions from `routes` while a driver has enabled it, and makes the PS/2
 * mouse of `input` speak when there are some. */
void vmmouse_new(struct device_list *list, struct io_bus *io, struct cpu *const *cpu,
                 struct input_routes *routes, struct input_port *input, const char *id);

#endif
