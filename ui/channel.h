/*
 * Where a serial line goes: the terminal, a file, a socket. A channel fills the outside half of a
 * struct byte_port (hw/port.h) and feeds it from the event loop.
 */
#ifndef DOPPEL_UI_CHANNEL_H
#define DOPPEL_UI_CHANNEL_H

#include "cpu/error.h"
#include "hw/loop.h"
#include "hw/port.h"

struct channel;

/* What Ctrl-A commands on the terminal ask for. */
struct channel_keys {
    void (*quit)(void *opaque);
    void *opaque;
};

/* `where` is stdio, null, file:PATH, unix:PATH or tcp:HOST:PORT (both listen; one client at a
 * time). NULL + error. Board lock held, or the machine not started yet. */
struct channel *channel_open(const char *where, struct byte_port *port, struct loop *loop,
                             const struct channel_keys *keys, struct error *error);
/* Restores the terminal, removes a socket's path. */
void channel_close(struct channel *channel);

#endif
