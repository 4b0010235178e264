/*
 * The code cache: one memfd mapped twice, writable and executable (R8), split into parts for the
 * straight code of warm and of hot blocks and one for slow paths; and an arena for the descriptions
 * that code refers to by 32-bit offsets.
 *
 * Each is cut into regions, which are filled one after the other, and over again: what was
 * translated longest ago is dropped then, and what still runs is translated anew.
 */
#include "translator/engine.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK_HOST_MAX (32u << 10) /* room that must be left in each part to begin a block */
#define HOT_PIECE_MIN  (40u << 10) /* straight code of hot blocks grows by as much at least */
#define SHARED_PIECE   (4u << 10)  /* code that blocks share, and that at their exits */
#define SHARED_MAX     (TRACE_PAGES * GUARD_CODE_MAX) /* of one block */
#define REGION_MIN     (256u << 10)
#define ARENA_PER_CODE 2   /* arena bytes per byte of code cache */
#define ARENA_START    256 /* offset 0 stands for nothing */
#define CODE_PER_END   64  /* bytes of code cache per block: fewer do not occur on average */
#define REACH          (2000u << 20) /* of relative addresses */

static size_t all_ends(const struct cache *cache)
{
    return cache->ends_max * cache->regions;
}

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
    cache->regions = size / REGION_MIN < REGIONS_MAX ? (unsigned)(size / REGION_MIN) : REGIONS_MAX;
    cache->ends_max = size / CODE_PER_END / cache->regions;
    size_t counts = all_ends(cache) * sizeof *cache->countdown;
    cache->rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    /* Code reaches the counts of its executions: they are neighbours. */
    cache->rx = mmap(NULL, size + cache->arena_size + counts, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bool code = cache->rx != MAP_FAILED && mmap(cache->rx, size, PROT_READ | PROT_EXEC,
                                                MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
    cache->countdown = (int32_t *)(void *)(cache->rx + size);
    cache->arena = cache->rx + size + counts;
    cache->end = mmap(NULL, all_ends(cache) * sizeof *cache->end, PROT_READ | PROT_WRITE,
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
    cache->slow = cache->rw + size / 32 * 23; /* most blocks are warm, and have few slow paths */
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
    unmap(cache->rx, cache->size + cache->arena_size + all_ends(cache) * sizeof *cache->countdown);
    unmap(cache->end, all_ends(cache) * sizeof *cache->end);
    memset(cache, 0, sizeof *cache);
}

/* -- Regions -- */

static size_t straight_size(const struct cache *cache)
{
    return (size_t)(cache->slow - cache->rw) / cache->regions;
}

static size_t slow_size(const struct cache *cache)
{
    return (size_t)(cache->rw + cache->size - cache->slow) / cache->regions;
}

static size_t arena_share(const struct cache *cache)
{
    return cache->arena_size / cache->regions & ~(size_t)(BLOCK_ALIGNMENT - 1);
}

static void clear_region(struct cache *cache, unsigned index)
{
    struct cache_region *region = &cache->region[index];
    uint8_t *straight = cache->rw + index * straight_size(cache);
    uint8_t *straight_end = straight + straight_size(cache);
    uint8_t *slow = cache->slow + index * slow_size(cache);
    size_t arena = arena_share(cache);
    region->part[CODE_WARM].at = straight < cache->start ? cache->start : straight;
    region->part[CODE_WARM].end = straight_end;
    region->part[CODE_HOT].at = region->part[CODE_HOT].end = straight_end;
    region->part[CODE_GUARDS].at = region->part[CODE_GUARDS].end = straight_end;
    region->part[CODE_STORES].at = region->part[CODE_STORES].end = straight_end;
    region->part[CODE_SLOW].at = slow;
    region->part[CODE_SLOW].end = slow + slow_size(cache);
    region->arena_used = index ? index * arena : ARENA_START;
    region->arena_end = (index + 1) * arena;
    region->ends = 0;
    region->newest = 0;
}

void cache_reset(struct cache *cache)
{
    for (unsigned i = 0; i < cache->regions; i++)
        clear_region(cache, i);
    cache->period += cache->regions;
}

struct cache_region *cache_oldest(struct cache *cache)
{
    return cache->regions > 1 ? &cache->region[(cache->period + 1) % cache->regions] : NULL;
}

void cache_advance(struct cache *cache)
{
    cache->period++;
    clear_region(cache, cache->period % cache->regions);
}

bool cache_region_has(const struct cache *cache, const struct cache_region *region, uint32_t offset)
{
    return offset < region->arena_end && offset >= region->arena_end - arena_share(cache);
}

bool cache_region_has_code(const struct cache *cache, const struct cache_region *region,
                           const uint8_t *code)
{
    size_t index = (size_t)(region - cache->region);
    return (size_t)(code - cache->rx) - index * straight_size(cache) < straight_size(cache);
}

static size_t room(const struct cache_region *region, enum code_part part)
{
    return (size_t)(region->part[part].end - region->part[part].at);
}

size_t cache_hot_size(const struct cache *cache)
{
    size_t size = 0;
    for (unsigned i = 0; i < cache->regions; i++) {
        const uint8_t *end = cache->rw + (i + 1) * straight_size(cache);
        size += (size_t)(end - cache->region[i].part[CODE_WARM].end);
    }
    return size;
}

/* Bytes by which the part grows now, so that it has room for a block. */
static size_t growth(const struct cache *cache, const struct cache_region *region,
                     enum code_part part)
{
    if (part == CODE_GUARDS || part == CODE_STORES)
        return room(region, part) < SHARED_MAX ? SHARED_PIECE : 0;
    if (part != CODE_HOT || room(region, part) >= BLOCK_HOST_MAX)
        return 0;
    size_t piece = straight_size(cache) / 8;
    return piece > HOT_PIECE_MIN ? piece : HOT_PIECE_MIN;
}

bool cache_is_full(const struct cache *cache)
{
    const struct cache_region *region = &cache->region[cache->period % cache->regions];
    size_t pieces = 0;
    for (enum code_part part = CODE_HOT; part < CODE_SLOW; part++)
        pieces += growth(cache, region, part);
    return room(region, CODE_WARM) < BLOCK_HOST_MAX + pieces ||
           room(region, CODE_SLOW) < BLOCK_HOST_MAX ||
           region->arena_used + 4 * BLOCK_HOST_MAX > region->arena_end ||
           region->ends == cache->ends_max;
}

void cache_prepare(struct cache *cache, enum code_part part)
{
    struct cache_region *region = cache_region(cache);
    size_t piece = growth(cache, region, part);
    if (!piece)
        return;
    region->part[CODE_WARM].end -= piece;
    region->part[part].at = region->part[CODE_WARM].end;
    region->part[part].end = region->part[part].at + piece;
}

/* -- Blocks -- */

uint32_t cache_next_end(struct cache *cache)
{
    struct cache_region *region = cache_region(cache);
    return (uint32_t)((size_t)(region - cache->region) * cache->ends_max + region->ends);
}

bool cache_is_warm(const struct cache *cache, size_t offset)
{
    size_t number = offset / straight_size(cache);
    return number < cache->regions && cache->rw + offset < cache->region[number].part[CODE_WARM].at;
}

bool cache_note_block(struct cache *cache, struct block *block, const uint8_t *end)
{
    struct cache_region *region = cache_region(cache);
    if (region->ends == cache->ends_max)
        return false;
    cache->end[cache_next_end(cache)] =
        (struct code_end){(uint32_t)(end - cache->rw), cache_offset(cache, block)};
    region->ends++;
    return true;
}

struct block *cache_block_at(const struct cache *cache, uint32_t rx)
{
    uint32_t offset = rx - (uint32_t)(uintptr_t)cache->rx;
    size_t number = offset / straight_size(cache);
    const struct code_end *end = &cache->end[number * cache->ends_max];
    size_t low = 0, high = cache->region[number].ends;
    while (low < high) { /* the first that ends behind it */
        size_t middle = (low + high) / 2;
        if (end[middle].offset > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return cache_at(cache, end[low].block);
}

void *cache_allocate(struct cache *cache, size_t size, size_t alignment)
{
    struct cache_region *region = cache_region(cache);
    size_t at = (region->arena_used + alignment - 1) & ~(alignment - 1);
    if (at + size > region->arena_end)
        return NULL;
    region->arena_used = at + size;
    return memset(cache->arena + at, 0, size);
}
