/*
 * Inside of hw/image: what a format (or a layer over one) supplies to image.c.
 *
 * image.c checks ranges and read-only before it calls; `offset + length` is within the image.
 * read and write may be called from several worker threads at once.
 */
#ifndef DOPPEL_HW_IMAGE_FORMAT_H
#define DOPPEL_HW_IMAGE_FORMAT_H

#include "hw/image/image.h"

struct layer;

struct layer_ops {
    int (*read)(struct layer *layer, uint64_t offset, void *data, size_t length);
    int (*write)(struct layer *layer, uint64_t offset, const void *data, size_t length);
    int (*flush)(struct layer *layer);
    void (*close)(struct layer *layer); /* frees the layer and what it owns */
    /* May be NULL; then image.c makes them of read and write, and a discard does nothing. */
    int (*readv)(struct layer *layer, uint64_t offset, const struct iovec *iov, unsigned count,
                 bool wait);
    int (*writev)(struct layer *layer, uint64_t offset, const struct iovec *iov, unsigned count);
    int (*discard)(struct layer *layer, uint64_t offset, uint64_t length);
    int (*write_zeroes)(struct layer *layer, uint64_t offset, uint64_t length, bool unmap);
};

struct layer {
    const struct layer_ops *ops;
    uint64_t bytes;
};

/* A file or block device as it is. Owns `fd` from now on. NULL + error without memory. */
struct layer *raw_new(int fd, uint64_t bytes, struct error *error);
/* Reads what `base` holds, keeps what is written in an unlinked sparse file. Owns `base` when it
 * succeeds. NULL + error if the host has no room for such a file. */
struct layer *overlay_new(struct layer *base, struct error *error);

/* pread/pwrite of everything, across short transfers and signals: 0 or an errno value. */
int file_read(int fd, uint64_t offset, void *data, size_t length);
int file_write(int fd, uint64_t offset, const void *data, size_t length);

#endif
