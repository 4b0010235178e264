/* A virtio console with several ports (virtio_console.c). */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_CONSOLE_H
#define DOPPEL_HW_VIRTIO_VIRTIO_CONSOLE_H

#include "hw/port.h"
#include "hw/virtio/virtio.h"

#define VIRTIO_CONSOLE_PORTS_MAX 8
#define VIRTIO_CONSOLE_NAME_MAX  64

/* `names`: one for each port, at least one. NULL: a console (hvc0, ...); else a plain port that the
 * guest's system finds by this name. The names are copied. */
struct virtio_console *virtio_console_new(const struct virtio_place *place, struct memory *memory,
                                          const char *const *names, unsigned ports);
/* The device's side of a port. */
struct byte_port *virtio_console_port(struct virtio_console *console, unsigned index);

#endif
