/*
 * The PS/2 connector between the keyboard controller and a keyboard or mouse.
 *
 * A device keeps what it has to say in queues of its own; the controller takes one byte at a time,
 * when its buffer is empty and the interface enabled (it holds the clock line low otherwise).
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_INPUT_PS2_H
#define DOPPEL_HW_INPUT_PS2_H

#include "cpu/field.h"

#include <string.h>

struct ps2_link {
    /* Controller -> device; set by the device. */
    void (*command)(void *device, uint8_t byte);
    bool (*waiting)(void *device); /* has a byte to send */
    uint8_t (*next)(void *device); /* takes it; only if waiting */
    void *device;
    /* Device -> controller; set by the controller: something is waiting now. */
    void (*ready)(void *controller);
    void *controller;
};

/* Scan code set 2 to set 1, byte by byte, as the controller translates (without the break prefix
 * 0xf0, which becomes bit 7 of the next byte). */
extern const uint8_t ps2_set1_of_set2[256];

#define PS2_BREAK            0xf0
#define PS2_ACK              0xfa
#define PS2_RESEND           0xfe
#define PS2_SELF_TEST_PASSED 0xaa

/* -- A queue of bytes -- */

#define PS2_QUEUE_SIZE 32

struct ps2_queue {
    uint8_t bytes[PS2_QUEUE_SIZE]; /* oldest first */
    uint8_t count;
};

extern const struct field ps2_queue_fields[];

static inline void ps2_queue_put(struct ps2_queue *queue, uint8_t byte)
{
    if (queue->count < PS2_QUEUE_SIZE)
        queue->bytes[queue->count++] = byte;
}

static inline uint8_t ps2_queue_take(struct ps2_queue *queue)
{
    uint8_t byte = queue->bytes[0];

    if (queue->count)
        memmove(queue->bytes, queue->bytes + 1, --queue->count);
    return byte;
}

#endif
