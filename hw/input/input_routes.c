/*
 * Routes of the user's input. Devices in use stand on a stack; the top one gets it.
 */
#include "hw/input/input_routes.h"
#include "hw/alloc.h"

#define KEYS 256

struct input_routes {
    struct input_port *port;
    struct key_route ps2;
    struct key_route *keyboard;      /* the top one in use, ending with ps2 */
    struct key_route *pressed[KEYS]; /* who holds the key down */
    struct pointer_route *pointer;   /* or NULL */
};

static void route_key(void *opaque, uint16_t hid_usage, bool down)
{
    struct input_routes *routes = opaque;
    struct key_route *to = routes->keyboard;

    if (hid_usage < KEYS) {
        if (routes->pressed[hid_usage])
            to = routes->pressed[hid_usage];
        routes->pressed[hid_usage] = down ? to : NULL;
    }
    to->key(to->device, hid_usage, down);
}

static void route_position(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    struct pointer_route *to = ((struct input_routes *)opaque)->pointer;

    if (to)
        to->position(to->device, x, y, wheel, buttons);
}

void input_routes_use_keyboard(struct input_routes *routes, struct key_route *route, bool in_use)
{
    for (struct key_route **link = &routes->keyboard; *link; link = &(*link)->next) {
        if (*link == route) {
            *link = route->next;
            break;
        }
    }
    if (in_use) {
        route->next = routes->keyboard;
        routes->keyboard = route;
    }
}

void input_routes_use_pointer(struct input_routes *routes, struct pointer_route *route, bool in_use)
{
    for (struct pointer_route **link = &routes->pointer; *link; link = &(*link)->next) {
        if (*link == route) {
            *link = route->next;
            break;
        }
    }
    if (in_use) {
        route->next = routes->pointer;
        routes->pointer = route;
    }
    routes->port->absolute = routes->pointer != NULL;
}

struct input_routes *input_routes_new(struct input_port *port)
{
    struct input_routes *routes = alloc_zeroed(sizeof *routes);

    routes->port = port;
    routes->ps2 = (struct key_route){.key = port->key, .device = port->keyboard};
    routes->keyboard = &routes->ps2;
    port->key = route_key;
    port->keyboard = routes;
    port->position = route_position;
    port->tablet = routes;
    port->absolute = false;
    return routes;
}

void input_routes_free(struct input_routes *routes)
{
    free(routes);
}
