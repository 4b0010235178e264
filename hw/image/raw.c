/*
 * Raw images: byte n of the disk is byte n of the file or block device.
 */
#include "hw/image/format.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct raw {
    struct layer layer;
    int fd;
    atomic_bool always_waits; /* the file system cannot say that it would have to wait */
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

/* Skips `done` bytes of the vector at *iov; the rest of the piece that is cut is in *rest. */
static void advance(const struct iovec **iov, unsigned *count, size_t done, struct iovec *rest)
{
    rest->iov_len = 0;
    while (*count && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (done) {
        *rest = (struct iovec){(uint8_t *)(*iov)->iov_base + done, (*iov)->iov_len - done};
        (*iov)++;
        (*count)--;
    }
}

/* After a short transfer the piece that was cut is finished alone, then the rest goes on. */
static int raw_readv(struct layer *layer, uint64_t offset, const struct iovec *iov, unsigned count,
                     bool wait)
{
    struct raw *raw = (struct raw *)layer;
    while (count) {
        bool may_wait = wait || atomic_load_explicit(&raw->always_waits, memory_order_relaxed);
        unsigned part = count < IOV_MAX ? count : IOV_MAX;
        struct iovec rest;
        ssize_t got = preadv2(raw->fd, iov, (int)part, (off_t)offset, may_wait ? 0 : RWF_NOWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EOPNOTSUPP && !may_wait) {
            atomic_store(&raw->always_waits, true);
            continue;
        }
        if (got < 0)
            return errno;
        if (got == 0 && iov->iov_len)
            return may_wait ? EIO : EAGAIN;
        offset += (size_t)got;
        advance(&iov, &count, (size_t)got, &rest);
        if (rest.iov_len && !may_wait)
            return EAGAIN;
        int status = file_read(raw->fd, offset, rest.iov_base, rest.iov_len);
        if (status)
            return status;
        offset += rest.iov_len;
    }
    return 0;
}

static int raw_writev(struct layer *layer, uint64_t offset, const struct iovec *iov, unsigned count)
{
    struct raw *raw = (struct raw *)layer;
    while (count) {
        unsigned part = count < IOV_MAX ? count : IOV_MAX;
        struct iovec rest;
        ssize_t put = pwritev(raw->fd, iov, (int)part, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return errno;
        offset += (size_t)put;
        advance(&iov, &count, (size_t)put, &rest);
        int status = file_write(raw->fd, offset, rest.iov_base, rest.iov_len);
        if (status)
            return status;
        offset += rest.iov_len;
    }
    return 0;
}

static int punch(struct raw *raw, int mode, uint64_t offset, uint64_t length)
{
    while (fallocate(raw->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) != 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

static int raw_discard(struct layer *layer, uint64_t offset, uint64_t length)
{
    int status = punch((struct raw *)layer, FALLOC_FL_PUNCH_HOLE, offset, length);
    return status == EOPNOTSUPP || status == ENOSYS || status == EINVAL ? 0 : status; /* advice */
}

static int raw_write_zeroes(struct layer *layer, uint64_t offset, uint64_t length, bool unmap)
{
    int mode = unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
    int status = punch((struct raw *)layer, mode, offset, length);
    return status == ENOSYS || status == EINVAL ? EOPNOTSUPP : status;
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

static const struct layer_ops raw_ops = {
    .read = raw_read,
    .write = raw_write,
    .flush = raw_flush,
    .close = raw_close,
    .readv = raw_readv,
    .writev = raw_writev,
    .discard = raw_discard,
    .write_zeroes = raw_write_zeroes,
};

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
