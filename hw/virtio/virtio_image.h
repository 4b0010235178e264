/* Data between the buffers of a request and a disk image, in place. */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_IMAGE_H
#define DOPPEL_HW_VIRTIO_VIRTIO_IMAGE_H

#include "hw/image/image.h"
#include "hw/virtio/virtio.h"

/* Bytes [at, at + length) of the chain's writable (reading the image) or readable buffers, and the
 * image at `offset`. 0 or an errno value; EAGAIN as image_readv says. Without the board lock. */
int virtio_image_read(struct image *image, uint64_t offset, const struct virtio_chain *chain,
                      uint64_t at, uint64_t length, bool wait);
int virtio_image_write(struct image *image, uint64_t offset, const struct virtio_chain *chain,
                       uint64_t at, uint64_t length);

#endif
