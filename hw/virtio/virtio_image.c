/*
 * Data between the buffers of a request and a disk image.
 */
#include "hw/virtio/virtio_image.h"

#include <errno.h>

#define PIECES_MAX 1024 /* of one call of the host */

static int move(struct image *image, uint64_t offset, const struct virtio_chain *chain, uint64_t at,
                uint64_t length, bool reading, bool wait)
{
    struct iovec iov[PIECES_MAX];
    int status = 0;
    while (length && !status) {
        uint64_t part = length;
        unsigned count = virtio_slice(chain, reading, at, &part, iov, PIECES_MAX);
        if (!count)
            return EINVAL; /* the caller promised more bytes than there are */
        status = reading ? image_readv(image, offset, iov, count, wait)
                         : image_writev(image, offset, iov, count);
        at += part;
        offset += part;
        length -= part;
    }
    return status;
}

int virtio_image_read(struct image *image, uint64_t offset, const struct virtio_chain *chain,
                      uint64_t at, uint64_t length, bool wait)
{
    return move(image, offset, chain, at, length, true, wait);
}

int virtio_image_write(struct image *image, uint64_t offset, const struct virtio_chain *chain,
                       uint64_t at, uint64_t length)
{
    return move(image, offset, chain, at, length, false, true);
}
