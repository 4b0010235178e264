/*
 * Ports for firmware and test guests: a debug console and an exit.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_DEBUG_PORT_H
#define DOPPEL_HW_CHIPSET_DEBUG_PORT_H

#include "hw/device.h"
#include "hw/port.h"

#define DEBUG_CONSOLE_PORT 0x402
#define EXIT_PORT          0xf4

struct debug_console;

struct debug_console *debug_console_new(struct device_list *list, struct io_bus *io, uint16_t port,
                                        const char *id);
/* The channel for what the guest writes; the outside fills in `send`. There is no way back. */
struct byte_port *debug_console_port(struct debug_console *console);

struct exit_port;

/* A write of `value` calls `exit` with the process status (value << 1) | 1. */
struct exit_port *exit_port_new(struct device_list *list, struct io_bus *io, uint16_t port,
                                void (*exit)(void *opaque, int status), void *opaque,
                                const char *id);

#endif
