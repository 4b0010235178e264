/*
 * The code cache: one memfd mapped twice, writable and executable (R8), split into parts for the
 * straight code of warm and of hot blocks and one for slow paths; and an arena for the descriptions
 * that code refers to by 32-bit offsets. All only grow, until everything is dropped.
 */
#include "translator/engine.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK_HOST_MAX (64u << 10) /* room that must be left in each part to begin a block */
#define HOT_PIECE_MAX  (1u << 20)  /* straight code of hot blocks grows by as much */
#define ARENA_PER_CODE 2           /* arena bytes per byte of code cache */
#define ARENA_START    256         /* offset 0 stands for nothing */
#define CODE_PER_END   64 /* bytes of code cache per block: fewer do not occur on average */
#define REACH          (2000u << 20) /* of relative addresses */

bool cache_create(struct cache *cache, size_t size, struct error *error)
{
    int fd = memfd_create("translations", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        if (fd >= 0)
            close(fd);
        return error_set(error, "cannot allocate %zu MiB for translated code", size >> 20);
    }
    *cache = (struct cache){.size = size, .arena_size = size * ARENA_PER_CODE};
    if (cache->arena_size > REACH - size)
        cache->arena_size = REACH - size;
    cache->ends_max = size / CODE_PER_END;
    size_t counts = cache->ends_max * sizeof *cache->countdown;
    cache->rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    /* Code reaches the counts of its executions: they are neighbours. */
    cache->rx = mmap(NULL, size + cache->arena_size + counts, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bool code = cache->rx != MAP_FAILED && mmap(cache->rx, size, PROT_READ | PROT_EXEC,
                                                MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
    cache->countdown = (int32_t *)(void *)(cache->rx + size);
    cache->arena = cache->rx + size + counts;
    cache->end = mmap(NULL, cache->ends_max * sizeof *cache->end, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    close(fd);
    if (cache->rw == MAP_FAILED || !code || cache->end == MAP_FAILED) {
        cache_destroy(cache);
        return error_set(error,
                         "cannot map %zu MiB of executable memory for translated code "
                         "(does a security policy forbid it?)",
                         size >> 20);
    }
    cache->start = cache->rw;
    cache->slow = cache->rw + size / 8 * 5; /* most blocks are warm, and have few slow paths */
    cache_reset(cache);
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
    unmap(cache->rx, cache->size + cache->arena_size + cache->ends_max * sizeof *cache->countdown);
    unmap(cache->end, cache->ends_max * sizeof *cache->end);
    memset(cache, 0, sizeof *cache);
}

void cache_reset(struct cache *cache)
{
    cache->part[CODE_WARM].at = cache->start;
    cache->part[CODE_WARM].end = cache->part[CODE_HOT].at = cache->part[CODE_HOT].end = cache->slow;
    cache->part[CODE_SLOW].at = cache->slow;
    cache->part[CODE_SLOW].end = cache->rw + cache->size;
    cache->arena_used = ARENA_START;
    cache->ends = 0;
}

static size_t hot_piece(const struct cache *cache)
{
    size_t piece = cache->size / 8;
    return piece < HOT_PIECE_MAX ? piece : HOT_PIECE_MAX;
}

static size_t room(const struct cache *cache, enum code_part part)
{
    return (size_t)(cache->part[part].end - cache->part[part].at);
}

bool cache_is_full(const struct cache *cache)
{
    return room(cache, CODE_WARM) < BLOCK_HOST_MAX + hot_piece(cache) ||
           room(cache, CODE_SLOW) < BLOCK_HOST_MAX ||
           cache->arena_used + 2 * BLOCK_HOST_MAX > cache->arena_size ||
           cache->ends == cache->ends_max;
}

void cache_prepare_hot(struct cache *cache)
{
    size_t piece = hot_piece(cache);
    if (room(cache, CODE_HOT) >= BLOCK_HOST_MAX)
        return;
    cache->part[CODE_WARM].end -= piece;
    cache->part[CODE_HOT].at = cache->part[CODE_WARM].end;
    cache->part[CODE_HOT].end = cache->part[CODE_HOT].at + piece;
}

bool cache_note_block(struct cache *cache, struct block *block, const uint8_t *end)
{
    if (cache->ends == cache->ends_max)
        return false;
    cache->end[cache->ends++] =
        (struct code_end){(uint32_t)(end - cache->rw), cache_offset(cache, block)};
    return true;
}

struct block *cache_block_at(const struct cache *cache, uint32_t rx)
{
    uint32_t offset = rx - (uint32_t)(uintptr_t)cache->rx;
    size_t low = 0, high = cache->ends;
    while (low < high) { /* the first that ends behind it */
        size_t middle = (low + high) / 2;
        if (cache->end[middle].offset > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return cache_at(cache, cache->end[low].block);
}

void *cache_allocate(struct cache *cache, size_t size, size_t alignment)
{
    size_t at = (cache->arena_used + alignment - 1) & ~(alignment - 1);
    if (at + size > cache->arena_size)
        return NULL;
    cache->arena_used = at + size;
    return memset(cache->arena + at, 0, size);
}
