/*
 * The two 8259A interrupt controllers of a PC and their edge/level registers.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_IRQ_I8259_H
#define DOPPEL_HW_IRQ_I8259_H

#include "hw/device.h"

struct i8259;

/* Claims 0x20/0x21, 0xa0/0xa1 and 0x4d0/0x4d1. `intr` follows the master's INT output. */
struct i8259 *i8259_new(struct device_list *list, struct io_bus *io, struct irq_line intr,
                        const char *id);

/* Input IRQ n, 0 to 15. IRQ 2 is the cascade and not connected. */
struct irq_line i8259_line(struct i8259 *pic, int n);

/* Level of the INT output. */
bool i8259_intr(const struct i8259 *pic);

/* The processor's interrupt acknowledge cycles: returns the vector on the data bus (0 to 255). If
 * the request has gone away meanwhile that is the spurious IRQ 7 or 15. */
int i8259_acknowledge(struct i8259 *pic);

#endif
