/*
 * The file that keeps a machine's UEFI variables: mapped, so that what the guest programs into its
 * flash memory is in the file at once.
 */
#include "bios/bios.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLASH_BLOCK 4096u

static bool write_all(int fd, const uint8_t *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t count = write(fd, bytes + done, size - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        done += (size_t)count;
    }
    return true;
}

static bool map(struct flash *flash, int fd, int flags, size_t size, const char *path,
                struct error *error)
{
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (bytes == MAP_FAILED)
        return error_set(error, "cannot map the firmware variables '%s': %s", path,
                         strerror(errno));
    flash->bytes = bytes;
    flash->size = size;
    return true;
}

static bool open_file(struct flash *flash, int fd, const char *path, const struct blob *fresh,
                      struct error *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return error_set(error, "the firmware variables '%s' are no regular file", path);
    if (status.st_size == 0) {
        if (!write_all(fd, fresh->bytes, fresh->size))
            return error_set(error, "cannot write the firmware variables '%s': %s", path,
                             strerror(errno));
    } else if ((uint64_t)status.st_size != fresh->size) {
        return error_set(error,
                         "the firmware variables '%s' have %lld bytes where this firmware has "
                         "%zu; give another file, or remove it to start afresh",
                         path, (long long)status.st_size, fresh->size);
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES))
        return error_set(error, "the firmware variables '%s' are in use by another machine", path);
    return true;
}

bool flash_open(struct flash *flash, const char *path, const struct blob *fresh,
                struct error *error)
{
    *flash = (struct flash){.fd = -1};
    if (fresh->size % FLASH_BLOCK != 0)
        return error_set(error, "the firmware's variable store has %zu bytes, no multiple of 4 KiB",
                         fresh->size);
    if (!path) {
        if (!map(flash, -1, MAP_PRIVATE | MAP_ANONYMOUS, fresh->size, "", error))
            return false;
        memcpy(flash->bytes, fresh->bytes, fresh->size);
        return true;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set(error, "cannot open the firmware variables '%s': %s", path,
                         strerror(errno));
    if (open_file(flash, fd, path, fresh, error) &&
        map(flash, fd, MAP_SHARED, fresh->size, path, error)) {
        flash->fd = fd; /* stays open for its lock */
        return true;
    }
    close(fd);
    *flash = (struct flash){.fd = -1};
    return false;
}

void flash_close(struct flash *flash)
{
    if (!flash->bytes)
        return;
    munmap(flash->bytes, flash->size);
    if (flash->fd >= 0)
        close(flash->fd);
    *flash = (struct flash){.fd = -1};
}
