/*
 * Files: firmware images of the distribution, kernels, initrds.
 */
#include "bios/bios.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const firmware_folders[] = {
    "/usr/share/seabios",       "/usr/share/qemu", "/usr/share/seavgabios",
    "/usr/local/share/seabios", "/usr/share/OVMF", "/usr/lib/ipxe/qemu",
};

void blob_free(struct blob *blob)
{
    free(blob->bytes);
    *blob = (struct blob){0};
}

static bool read_all(int fd, uint8_t *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(fd, bytes + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static bool check_file(size_t *size, int fd, const char *path, const char *what, size_t limit,
                       struct error *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(error, "cannot read the %s '%s': %s", what, path, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return error_set(error, "the %s '%s' is a directory; name a file", what, path);
    if (!S_ISREG(status.st_mode))
        return error_set(error, "the %s '%s' is no regular file", what, path);
    if (status.st_size == 0)
        return error_set(error, "the %s '%s' is empty", what, path);
    if ((uint64_t)status.st_size > limit)
        return error_set(error, "the %s '%s' is too large: %lld bytes, at most %zu fit", what, path,
                         (long long)status.st_size, limit);
    *size = (size_t)status.st_size;
    return true;
}

static bool read_open_file(struct blob *blob, int fd, const char *what, struct error *error)
{
    blob->bytes = malloc(blob->size);
    if (!blob->bytes)
        return error_set(error, "no memory to read the %s '%s' (%zu bytes)", what, blob->path,
                         blob->size);
    if (read_all(fd, blob->bytes, blob->size))
        return true;
    error_set(error, "cannot read the %s '%s': %s", what, blob->path,
              errno ? strerror(errno) : "it shrank while being read");
    blob_free(blob);
    return false;
}

static bool open_blob(struct blob *blob, const char *path, const char *what, size_t limit,
                      bool read_it, struct error *error)
{
    struct blob file = {.path = path};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, "cannot open the %s '%s': %s", what, path, strerror(errno));
    errno = 0;
    bool ok = check_file(&file.size, fd, path, what, limit, error) &&
              (!read_it || read_open_file(&file, fd, what, error));
    close(fd);
    if (ok)
        *blob = file;
    return ok;
}

bool blob_read(struct blob *blob, const char *path, const char *what, size_t limit,
               struct error *error)
{
    return open_blob(blob, path, what, limit, true, error);
}

bool blob_find(struct blob *blob, const char *path, const char *what, size_t limit,
               struct error *error)
{
    return open_blob(blob, path, what, limit, false, error);
}

static bool readable(const char *path)
{
    return access(path, R_OK) == 0;
}

const char *firmware_path(const char *name, char *buffer, size_t size)
{
    const char *folders = getenv("DOPPEL_FIRMWARE_PATH");
    while (folders && *folders) {
        int length = (int)strcspn(folders, ":");
        snprintf(buffer, size, "%.*s/%s", length, folders, name);
        if (length > 0 && readable(buffer))
            return buffer;
        folders += length + (folders[length] == ':');
    }
    for (size_t i = 0; i < sizeof firmware_folders / sizeof firmware_folders[0]; i++) {
        snprintf(buffer, size, "%s/%s", firmware_folders[i], name);
        if (readable(buffer))
            return buffer;
    }
    return NULL;
}

bool firmware_load(struct blob *blob, const char *name, const char *package, struct error *error)
{
    char path[1024];
    if (!firmware_path(name, path, sizeof path))
        return error_set(error,
                         "the firmware '%s' is not installed; install the package '%s' (or set "
                         "DOPPEL_FIRMWARE_PATH to the folder that has it)",
                         name, package);
    bool ok = blob_read(blob, path, "firmware", 16u << 20, error);
    blob->path = NULL;
    return ok;
}
