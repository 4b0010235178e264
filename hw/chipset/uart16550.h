/*
 * A 16550A serial port.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_UART16550_H
#define DOPPEL_HW_CHIPSET_UART16550_H

#include "hw/clock.h"
#include "hw/device.h"
#include "hw/port.h"

struct uart16550;

/* Claims [port, port + 8). */
struct uart16550 *uart16550_new(struct device_list *list, struct io_bus *io, uint16_t port,
                                struct clock *clock, struct irq_line irq, const char *id);

/* The byte channel: the outside fills in its own side (send, outside, writable). */
struct byte_port *uart16550_port(struct uart16550 *uart);

/* The outside sends a break (a line held low), which Linux takes for Magic SysRq. */
void uart16550_receive_break(struct uart16550 *uart);

#endif
