/*
 * Opening disk images: every mistake a user can make with a file name ends in one sentence here.
 *
 * An image is used by one writing machine or by any number of reading ones. Open file description
 * locks (F_OFD_SETLK) say so between processes and between machines of one process: a shared lock
 * for reading (read_only, temporary, optical), an exclusive one for writing. They vanish with the
 * process, however it ends.
 */
#include "hw/image/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPTICAL_SECTOR_SIZE 2048u

struct image {
    struct layer *top;
    bool read_only;
    char *path;
};

/* Formats that would look like a disk full of rubbish if taken as raw. */
static const struct {
    const char *name;
    unsigned offset, length;
    const char *magic;
} foreign_formats[] = {
    {"qcow2", 0, 4, "QFI\xfb"}, {"vmdk", 0, 4, "KDMV"},    {"vdi", 64, 4, "\x7f\x10\xda\xbe"},
    {"vhdx", 0, 8, "vhdxfile"}, {"vpc", 0, 8, "conectix"},
};

static const char *foreign_format(int fd)
{
    char head[128] = {0};
    if (pread(fd, head, sizeof head, 0) < 0)
        return NULL;
    for (size_t i = 0; i < sizeof foreign_formats / sizeof *foreign_formats; i++)
        if (!memcmp(head + foreign_formats[i].offset, foreign_formats[i].magic,
                    foreign_formats[i].length))
            return foreign_formats[i].name;
    return NULL;
}

static bool open_failed(const char *path, bool writing, struct error *error)
{
    switch (errno) {
    case ENOENT:
        return error_set(error, "Image '%s' does not exist", path);
    case EISDIR:
        return error_set(error, "'%s' is a directory, not a disk image", path);
    case EACCES:
    case EPERM:
    case EROFS:
        if (writing && access(path, R_OK) == 0)
            return error_set(error,
                             "Image '%s' cannot be written (%s); add ',readonly' to use it as it "
                             "is, or ',temporary' to discard what the guest writes",
                             path, strerror(errno));
        return error_set(error, "Image '%s' cannot be read: %s", path, strerror(errno));
    default:
        return error_set(error, "Image '%s' cannot be opened: %s", path, strerror(errno));
    }
}

static bool lock_file(int fd, const char *path, bool writing, struct error *error)
{
    struct flock lock = {.l_type = writing ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return true;
    if (errno == EAGAIN || errno == EACCES)
        return error_set(error,
                         "Image '%s' is in use by another machine; stop that machine%s, or use a "
                         "copy of the image",
                         path, writing ? ", or add ',readonly' or ',temporary' to both" : "");
    return true; /* a file system without locks: nothing can be promised, but it works */
}

/* Size and kind of the open file; false + error if it cannot be a disk of `sector` byte sectors. */
static bool check_file(int fd, const char *path, unsigned sector, uint64_t *bytes,
                       struct error *error)
{
    struct stat stat;
    if (fstat(fd, &stat) < 0)
        return error_set(error, "Image '%s' cannot be examined: %s", path, strerror(errno));
    if (S_ISDIR(stat.st_mode))
        return error_set(error, "'%s' is a directory, not a disk image", path);
    if (!S_ISREG(stat.st_mode) && !S_ISBLK(stat.st_mode))
        return error_set(error, "'%s' is neither a file nor a block device", path);

    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return error_set(error, "The size of '%s' cannot be found: %s", path, strerror(errno));
    if (end == 0)
        return error_set(error, "Image '%s' is empty", path);
    if (end % sector)
        return error_set(error,
                         "The size of image '%s' (%lld bytes) is not a multiple of %u: it is cut "
                         "off, or not a %s image",
                         path, (long long)end, sector, sector == SECTOR_SIZE ? "disk" : "CD-ROM");
    *bytes = (uint64_t)end;
    return true;
}

static struct layer *open_layers(const struct image_options *options, struct error *error)
{
    const char *path = options->path;
    bool writing = !options->read_only && !options->temporary && !options->optical;

    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    int fd = open(path, (writing ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        open_failed(path, writing, error);
        return NULL;
    }
    uint64_t bytes = 0;
    unsigned sector = options->optical ? OPTICAL_SECTOR_SIZE : SECTOR_SIZE;
    if (!check_file(fd, path, sector, &bytes, error) || !lock_file(fd, path, writing, error)) {
        close(fd);
        return NULL;
    }
    const char *foreign = options->format ? NULL : foreign_format(fd);
    if (foreign) {
        error_set(error,
                  "Image '%s' is of format %s, which is not built yet; convert it to raw, or add "
                  "',format=raw' if it really is",
                  path, foreign);
        close(fd);
        return NULL;
    }

    struct layer *layer = raw_new(fd, bytes, error);
    if (layer && options->temporary && !options->read_only && !options->optical) {
        struct layer *overlay = overlay_new(layer, error);
        if (!overlay)
            layer->ops->close(layer);
        layer = overlay;
    }
    return layer;
}

struct image *image_open(const struct image_options *options, struct error *error)
{
    if (!options->path || !*options->path) {
        error_set(error, "An image needs a file name");
        return NULL;
    }
    if (options->format && strcmp(options->format, "raw")) {
        error_set(error, "Image format '%s' of '%s' is not built yet; only 'raw' is",
                  options->format, options->path);
        return NULL;
    }
    struct layer *top = open_layers(options, error);
    if (!top)
        return NULL;

    struct image *image = calloc(1, sizeof *image);
    char *path = strdup(options->path);
    if (!image || !path) {
        error_set(error, "Out of memory");
        top->ops->close(top);
        free(image);
        free(path);
        return NULL;
    }
    image->top = top;
    image->read_only = options->read_only || options->optical;
    image->path = path;
    return image;
}

void image_close(struct image *image)
{
    if (!image)
        return;
    image->top->ops->close(image->top);
    free(image->path);
    free(image);
}

uint64_t image_bytes(const struct image *image)
{
    return image->top->bytes;
}

bool image_read_only(const struct image *image)
{
    return image->read_only;
}

const char *image_path(const struct image *image)
{
    return image->path;
}

static bool in_range(const struct image *image, uint64_t offset, uint64_t length)
{
    return offset <= image->top->bytes && length <= image->top->bytes - offset;
}

int image_read(struct image *image, uint64_t offset, void *data, size_t length)
{
    if (!in_range(image, offset, length))
        return EINVAL;
    return image->top->ops->read(image->top, offset, data, length);
}

int image_write(struct image *image, uint64_t offset, const void *data, size_t length)
{
    if (!in_range(image, offset, length))
        return EINVAL;
    if (image->read_only)
        return EROFS;
    return image->top->ops->write(image->top, offset, data, length);
}

int image_flush(struct image *image)
{
    return image->read_only ? 0 : image->top->ops->flush(image->top);
}

/* -- Several buffers -- */

static bool in_range_v(const struct image *image, uint64_t offset, const struct iovec *iov,
                       unsigned count)
{
    uint64_t length = 0;
    for (unsigned i = 0; i < count; i++)
        if (__builtin_add_overflow(length, iov[i].iov_len, &length))
            return false;
    return offset <= image->top->bytes && length <= image->top->bytes - offset;
}

int image_readv(struct image *image, uint64_t offset, const struct iovec *iov, unsigned count,
                bool wait)
{
    struct layer *layer = image->top;
    int status = 0;
    if (!in_range_v(image, offset, iov, count))
        return EINVAL;
    if (layer->ops->readv)
        return layer->ops->readv(layer, offset, iov, count, wait);
    for (unsigned i = 0; i < count && !status; offset += iov[i++].iov_len)
        status = layer->ops->read(layer, offset, iov[i].iov_base, iov[i].iov_len);
    return status;
}

int image_writev(struct image *image, uint64_t offset, const struct iovec *iov, unsigned count)
{
    struct layer *layer = image->top;
    int status = 0;
    if (!in_range_v(image, offset, iov, count))
        return EINVAL;
    if (image->read_only)
        return EROFS;
    if (layer->ops->writev)
        return layer->ops->writev(layer, offset, iov, count);
    for (unsigned i = 0; i < count && !status; offset += iov[i++].iov_len)
        status = layer->ops->write(layer, offset, iov[i].iov_base, iov[i].iov_len);
    return status;
}

/* -- Ranges without data -- */

int image_discard(struct image *image, uint64_t offset, uint64_t length)
{
    struct layer *layer = image->top;
    if (!in_range(image, offset, length))
        return EINVAL;
    if (image->read_only)
        return EROFS;
    return length && layer->ops->discard ? layer->ops->discard(layer, offset, length) : 0;
}

static int write_zero_bytes(struct layer *layer, uint64_t offset, uint64_t length)
{
    static const uint8_t zeros[65536];
    int status = 0;
    while (length && !status) {
        size_t part = length < sizeof zeros ? (size_t)length : sizeof zeros;
        status = layer->ops->write(layer, offset, zeros, part);
        offset += part;
        length -= part;
    }
    return status;
}

int image_write_zeroes(struct image *image, uint64_t offset, uint64_t length, bool unmap)
{
    struct layer *layer = image->top;
    if (!in_range(image, offset, length))
        return EINVAL;
    if (image->read_only)
        return EROFS;
    if (!length)
        return 0;
    int status = layer->ops->write_zeroes ? layer->ops->write_zeroes(layer, offset, length, unmap)
                                          : EOPNOTSUPP;
    return status == EOPNOTSUPP ? write_zero_bytes(layer, offset, length) : status;
}
