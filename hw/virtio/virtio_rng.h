/* A virtio entropy device (virtio_rng.c). */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_RNG_H
#define DOPPEL_HW_VIRTIO_VIRTIO_RNG_H

#include "hw/virtio/virtio.h"

struct virtio_rng *virtio_rng_new(const struct virtio_place *place, struct memory *memory);

#endif
