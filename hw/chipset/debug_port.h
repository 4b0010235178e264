/*
 * Two one-port devices for firmware and tests: the debug console (0x402) and the exit port (0xf4).
 */
#ifndef DOPPEL_HW_CHIPSET_DEBUG_PORT_H
#define DOPPEL_HW_CHIPSET_DEBUG_PORT_H

#include "hw/device.h"
#include "hw/port.h"

#define DEBUG_CONSOLE_PORT 0x402
#define EXIT_PORT          0xf4

/* Bytes written go to port->send (dropped while it is NULL). */
void debug_console_new(struct device_list *list, struct io_bus *io, struct byte_port *port,
                       const char *id);

/* A write of v calls `exited` with the status (v << 1) | 1. */
void exit_port_new(struct device_list *list, struct io_bus *io,
                   void (*exited)(void *opaque, int status), void *opaque, const char *id);

#endif
