/*
 * Temporary overlay: a layer over an image that is only read. Written clusters go to a sparse file
 * that has no name, so that nothing is left behind however the process ends; a bitmap in memory
 * tells which clusters they are.
 *
 *     overlay file  |  . . w w . . . w .   (same offsets as the disk; "." is a hole)
 *     base image    |  b b b b b b b b b
 *     guest sees    |  b b w w b b b w b
 *
 * A write that covers part of a cluster not yet in the overlay copies the rest from the base.
 */
#include "hw/image/format.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER 4096u

struct overlay {
    struct layer layer;
    struct layer *base;
    int fd;
    pthread_mutex_t lock; /* bitmap, and the copy of a cluster's other part */
    uint64_t *written;    /* one bit per cluster */
};

static bool is_written(const struct overlay *overlay, uint64_t cluster)
{
    return overlay->written[cluster / 64] >> (cluster % 64) & 1;
}

/* Bytes from `offset` on, at most `length`, that lie in clusters of the same state. */
static size_t run_length(const struct overlay *overlay, uint64_t offset, size_t length)
{
    uint64_t end = (offset / CLUSTER + 1) * CLUSTER;
    bool written = is_written(overlay, offset / CLUSTER);
    while (end < offset + length && is_written(overlay, end / CLUSTER) == written)
        end += CLUSTER;
    return end - offset < length ? (size_t)(end - offset) : length;
}

static int overlay_read(struct layer *layer, uint64_t offset, void *data, size_t length)
{
    struct overlay *overlay = (struct overlay *)layer;
    uint8_t *to = data;
    int status = 0;

    pthread_mutex_lock(&overlay->lock);
    while (length && !status) {
        size_t count = run_length(overlay, offset, length);
        status = is_written(overlay, offset / CLUSTER)
                     ? file_read(overlay->fd, offset, to, count)
                     : overlay->base->ops->read(overlay->base, offset, to, count);
        to += count;
        offset += count;
        length -= count;
    }
    pthread_mutex_unlock(&overlay->lock);
    return status;
}

/* Brings a cluster into the overlay file; the caller then writes over part of it. */
static int copy_cluster(struct overlay *overlay, uint64_t cluster)
{
    uint8_t data[CLUSTER] = {0};
    uint64_t start = cluster * CLUSTER;
    uint64_t left = overlay->layer.bytes - start;
    int status = overlay->base->ops->read(overlay->base, start, data,
                                          left < CLUSTER ? (size_t)left : CLUSTER);
    /* The last cluster is written whole even if the disk ends inside it: reads never see that. */
    return status ? status : file_write(overlay->fd, start, data, CLUSTER);
}

static int overlay_write(struct layer *layer, uint64_t offset, const void *data, size_t length)
{
    struct overlay *overlay = (struct overlay *)layer;
    if (length == 0)
        return 0;
    uint64_t first = offset / CLUSTER, last = (offset + length - 1) / CLUSTER;
    bool first_partial = offset % CLUSTER != 0;
    bool last_partial = (offset + length) % CLUSTER != 0;
    int status = 0;

    pthread_mutex_lock(&overlay->lock);
    if ((first_partial || (first == last && last_partial)) && !is_written(overlay, first))
        status = copy_cluster(overlay, first);
    if (!status && last != first && last_partial && !is_written(overlay, last))
        status = copy_cluster(overlay, last);
    if (!status)
        status = file_write(overlay->fd, offset, data, length);
    if (!status)
        for (uint64_t cluster = first; cluster <= last; cluster++)
            overlay->written[cluster / 64] |= 1ull << (cluster % 64);
    pthread_mutex_unlock(&overlay->lock);
    return status;
}

static int overlay_flush(struct layer *layer)
{
    return 0; /* the overlay dies with the process: there is nothing to make durable */
}

static void overlay_close(struct layer *layer)
{
    struct overlay *overlay = (struct overlay *)layer;
    overlay->base->ops->close(overlay->base);
    if (overlay->fd >= 0)
        close(overlay->fd);
    pthread_mutex_destroy(&overlay->lock);
    free(overlay->written);
    free(overlay);
}

static const struct layer_ops overlay_ops = {
    .read = overlay_read,
    .write = overlay_write,
    .flush = overlay_flush,
    .close = overlay_close,
};

/* An open file without a name. Returns -1 and errno if there can be none. */
static int unnamed_file(const char *directory)
{
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return fd;

    char path[4096];
    snprintf(path, sizeof path, "%s/doppel-overlay-XXXXXX", directory);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

struct layer *overlay_new(struct layer *base, struct error *error)
{
    const char *directory = getenv("TMPDIR");
    if (!directory || !*directory)
        directory = "/var/tmp"; /* not the default /tmp, which is often kept in memory */

    struct overlay *overlay = calloc(1, sizeof *overlay);
    uint64_t clusters = (base->bytes + CLUSTER - 1) / CLUSTER;
    uint64_t *written = calloc((size_t)(clusters + 63) / 64, sizeof *written);
    int fd = overlay && written ? unnamed_file(directory) : -1;
    if (fd < 0) {
        if (!overlay || !written)
            error_set(error, "Not enough memory for a temporary overlay");
        else
            error_set(error,
                      "Cannot make a file for temporary writes in '%s': %s; set TMPDIR to a folder "
                      "with free space",
                      directory, strerror(errno));
        free(overlay);
        free(written);
        return NULL;
    }
    overlay->layer.ops = &overlay_ops;
    overlay->layer.bytes = base->bytes;
    overlay->base = base;
    overlay->fd = fd;
    overlay->written = written;
    pthread_mutex_init(&overlay->lock, NULL);
    return &overlay->layer;
}
