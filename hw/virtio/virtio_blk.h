/* A virtio block device (virtio_blk.c). */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_BLK_H
#define DOPPEL_HW_VIRTIO_VIRTIO_BLK_H

#include "hw/image/image.h"
#include "hw/virtio/virtio.h"

#include <stdatomic.h>

/* `image` stays the caller's and outlives the device. `number` makes the disk's serial number;
 * `activity` counts sectors moved. One request queue for each of `queues` (1 to 8). */
struct virtio_blk *virtio_blk_new(const struct virtio_place *place, struct memory *memory,
                                  struct image *image, unsigned number, unsigned queues,
                                  _Atomic uint64_t *activity);

#endif
