/*
 * The code cache: one memfd mapped twice, writable and executable (R8), split into a hot part for
 * the straight code and a cold one for slow paths; and an arena for the descriptions that code
 * refers to by 32-bit offsets. Both only grow, until everything is dropped.
 */
#include "translator/engine.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK_HOST_MAX (64u << 10) /* room that must be left in each part to begin a block */
#define ARENA_PER_CODE 3           /* arena bytes per byte of code cache */

bool cache_create(struct cache *cache, size_t size, struct error *error)
{
    int fd = memfd_create("translations", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        if (fd >= 0)
            close(fd);
        return error_set(error, "cannot allocate %zu MiB for translated code", size >> 20);
    }
    *cache = (struct cache){.size = size, .arena_size = size * ARENA_PER_CODE};
    cache->rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cache->rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    cache->arena = mmap(NULL, cache->arena_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    close(fd);
    if (cache->rw == MAP_FAILED || cache->rx == MAP_FAILED || cache->arena == MAP_FAILED) {
        cache_destroy(cache);
        return error_set(error,
                         "cannot map %zu MiB of executable memory for translated code "
                         "(does a security policy forbid it?)",
                         size >> 20);
    }
    size_t hot = size / 2;
    cache->hot = cache->hot_start = cache->rw;
    cache->hot_end = cache->rw + hot;
    cache->cold = cache->cold_start = cache->hot_end;
    cache->cold_end = cache->rw + size;
    cache->arena_used = 64; /* offset 0 stands for nothing */
    return true;
}

static void unmap(void *memory, size_t size)
{
    if (memory && memory != MAP_FAILED)
        munmap(memory, size);
}

void cache_destroy(struct cache *cache)
{
    unmap(cache->rw, cache->size);
    unmap(cache->rx, cache->size);
    unmap(cache->arena, cache->arena_size);
    memset(cache, 0, sizeof *cache);
}

void cache_reset(struct cache *cache)
{
    cache->hot = cache->hot_start;
    cache->cold = cache->cold_start;
    cache->arena_used = 64;
}

bool cache_is_full(const struct cache *cache)
{
    return cache->hot + BLOCK_HOST_MAX > cache->hot_end ||
           cache->cold + BLOCK_HOST_MAX > cache->cold_end ||
           cache->arena_used + 2 * BLOCK_HOST_MAX > cache->arena_size;
}

void *cache_allocate(struct cache *cache, size_t size)
{
    size_t alignment = size < 256 ? 16 : 64;
    size_t at = (cache->arena_used + alignment - 1) & ~(alignment - 1);
    if (at + size > cache->arena_size)
        return NULL;
    cache->arena_used = at + size;
    return memset(cache->arena + at, 0, size);
}
