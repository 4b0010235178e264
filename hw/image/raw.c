/*
 * Raw images: byte n of the disk is byte n of the file or block device.
 */
#include "hw/image/format.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct raw {
    struct layer layer;
    int fd;
};

int file_read(int fd, uint64_t offset, void *data, size_t length)
{
    uint8_t *to = data;
    while (length) {
        ssize_t got = pread(fd, to, length, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            return EIO; /* the file became shorter since it was opened */
        to += got;
        offset += (size_t)got;
        length -= (size_t)got;
    }
    return 0;
}

int file_write(int fd, uint64_t offset, const void *data, size_t length)
{
    const uint8_t *from = data;
    while (length) {
        ssize_t put = pwrite(fd, from, length, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return errno;
        from += put;
        offset += (size_t)put;
        length -= (size_t)put;
    }
    return 0;
}

static int raw_read(struct layer *layer, uint64_t offset, void *data, size_t length)
{
    return file_read(((struct raw *)layer)->fd, offset, data, length);
}

static int raw_write(struct layer *layer, uint64_t offset, const void *data, size_t length)
{
    return file_write(((struct raw *)layer)->fd, offset, data, length);
}

static int raw_flush(struct layer *layer)
{
    return fdatasync(((struct raw *)layer)->fd) ? errno : 0;
}

static void raw_close(struct layer *layer)
{
    close(((struct raw *)layer)->fd);
    free(layer);
}

static const struct layer_ops raw_ops = {raw_read, raw_write, raw_flush, raw_close};

struct layer *raw_new(int fd, uint64_t bytes, struct error *error)
{
    struct raw *raw = calloc(1, sizeof *raw);
    if (!raw) {
        close(fd);
        error_set(error, "Out of memory");
        return NULL;
    }
    raw->layer.ops = &raw_ops;
    raw->layer.bytes = bytes;
    raw->fd = fd;
    return &raw->layer;
}
