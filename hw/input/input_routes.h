/*
 * Which of a board's keyboards and pointers gets what the user does: the one that the guest's
 * driver has taken into use, else the PS/2 ones, which are always there.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_INPUT_INPUT_ROUTES_H
#define DOPPEL_HW_INPUT_INPUT_ROUTES_H

#include "hw/port.h"

struct input_routes;

/* Embedded in a keyboard. */
struct key_route {
    void (*key)(void *device, uint16_t hid_usage, bool down);
    void *device;
    struct key_route *next; /* of those in use */
};

/* Embedded in a pointer that takes absolute positions. */
struct pointer_route {
    void (*position)(void *device, unsigned x, unsigned y, int wheel, unsigned buttons);
    void *device;
    struct pointer_route *next;
};

/* Takes the port's key handler (the PS/2 keyboard's) over; the port outlives it. */
struct input_routes *input_routes_new(struct input_port *port);
void input_routes_free(struct input_routes *routes);
/* A driver has taken the device into use, or left it. The latest one gets the input. A key goes up
 * where it went down. */
void input_routes_use_keyboard(struct input_routes *routes, struct key_route *route, bool in_use);
void input_routes_use_pointer(struct input_routes *routes, struct pointer_route *route,
                              bool in_use);

#endif
