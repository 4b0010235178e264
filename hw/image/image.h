/*
 * Disk images. One interface over formats; `raw` is the first. Byte-addressed in 512-byte sectors.
 *
 * Locking: image_read/write/flush block and are called from worker threads (loop_work); an image
 * serializes itself. Everything else under the board lock.
 */
#ifndef DOPPEL_HW_IMAGE_H
#define DOPPEL_HW_IMAGE_H

#include "cpu/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SECTOR_SIZE 512u

struct image;

struct image_options {
    const char *path;
    bool read_only;
    bool temporary;     /* writes go to an unlinked overlay and are discarded */
    bool optical;       /* 2048-byte granularity, implies read_only */
    const char *format; /* NULL: raw; others are refused by name until built */
};

/* NULL + error (missing, directory, empty, unreadable, size no multiple of the sector, locked by
 * another machine) in a sentence that names the file. */
struct image *image_open(const struct image_options *options, struct error *error);
void image_close(struct image *image);

uint64_t image_bytes(const struct image *image);
bool image_read_only(const struct image *image);
const char *image_path(const struct image *image);

/* Return 0 or an errno value; ranges outside the image give EINVAL. */
int image_read(struct image *image, uint64_t offset, void *data, size_t length);
int image_write(struct image *image, uint64_t offset, const void *data, size_t length);
int image_flush(struct image *image);

/* The same between the image and several buffers. Without `wait`, EAGAIN says that the host would
 * have to wait for its disk: the caller hands the request to somebody who may (loop_work). */
int image_readv(struct image *image, uint64_t offset, const struct iovec *iov, unsigned count,
                bool wait);
int image_writev(struct image *image, uint64_t offset, const struct iovec *iov, unsigned count);
/* The guest needs these bytes no more; what they read as is undefined. */
int image_discard(struct image *image, uint64_t offset, uint64_t length);
/* They read as zeros afterwards; with `unmap` they may become a hole. */
int image_write_zeroes(struct image *image, uint64_t offset, uint64_t length, bool unmap);

#endif
