#include "cpu/code.h"

#include <pthread.h>
#include <stdlib.h>

#define PAGE_SHIFT 12

/* Ranges noted by other threads; more than fit count as a drop of everything. */
#define QUEUE_RANGES 64

struct code_map {
    gpa_t limit;
    _Atomic bool untracked; /* code beyond the limit was cached */
    unsigned listeners;
    struct code_listener *listener;
    struct {
        pthread_mutex_t lock;
        unsigned count;
        bool drop_all;
        struct {
            gpa_t gpa;
            uint64_t size;
        } range[QUEUE_RANGES];
        gpa_t moved, moved_end;
    } queue;
    _Atomic uint64_t page[]; /* bit i: line i of the page holds cached code */
};

struct code_map *code_map_new(gpa_t limit)
{
    size_t pages = (size_t)((limit + 4095) >> PAGE_SHIFT);
    struct code_map *map = calloc(1, sizeof *map + pages * sizeof map->page[0]);
    if (!map)
        return NULL;
    map->limit = limit;
    pthread_mutex_init(&map->queue.lock, NULL);
    return map;
}

void code_map_free(struct code_map *map)
{
    if (!map)
        return;
    pthread_mutex_destroy(&map->queue.lock);
    free(map->listener);
    free(map);
}

void code_listen(struct code_map *map, const struct code_listener *listener)
{
    struct code_listener *grown =
        realloc(map->listener, (map->listeners + 1) * sizeof *map->listener);
    if (!grown)
        abort(); /* a few bytes at start-up */
    map->listener = grown;
    map->listener[map->listeners++] = *listener;
}

void code_unlisten(struct code_map *map, const void *opaque)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < map->listeners; i++)
        if (map->listener[i].opaque != opaque)
            map->listener[kept++] = map->listener[i];
    map->listeners = kept;
}

/* Lines of one page that [gpa, gpa + size) touches; the range does not leave the page. */
static uint64_t line_mask(gpa_t gpa, uint64_t size)
{
    unsigned first = (gpa & 0xfff) >> CODE_LINE_SHIFT;
    unsigned last = ((gpa & 0xfff) + size - 1) >> CODE_LINE_SHIFT;
    return ~0ull << first & ~0ull >> (63 - last);
}

bool code_mark(struct code_map *map, gpa_t gpa, unsigned size)
{
    if (!size)
        return false;
    if (!code_tracked(gpa, map->limit)) {
        atomic_store_explicit(&map->untracked, true, memory_order_relaxed);
        return false;
    }
    return atomic_fetch_or(&map->page[gpa >> PAGE_SHIFT], line_mask(gpa, size)) == 0;
}

const _Atomic uint64_t *code_lines(const struct code_map *map, gpa_t *limit)
{
    *limit = map->limit;
    return map->page;
}

bool code_page_marked(const struct code_map *map, gpa_t gpa)
{
    return code_tracked(gpa, map->limit) &&
           atomic_load_explicit(&map->page[gpa >> PAGE_SHIFT], memory_order_relaxed) != 0;
}

/* One page's part. Whole lines are reported, since their marks are gone afterwards. */
static bool written_in_page(struct code_map *map, gpa_t gpa, uint64_t size)
{
    _Atomic uint64_t *lines = &map->page[gpa >> PAGE_SHIFT];
    uint64_t mask = line_mask(gpa, size);
    if (!(atomic_load_explicit(lines, memory_order_relaxed) & mask))
        return false;
    uint64_t hit = atomic_fetch_and(lines, ~mask) & mask;
    if (!hit)
        return false;
    unsigned first = (unsigned)__builtin_ctzll(hit), last = 63u - (unsigned)__builtin_clzll(hit);
    gpa_t start = (gpa & ~0xfffull) + ((gpa_t)first << CODE_LINE_SHIFT);
    uint64_t length = (uint64_t)(last - first + 1) << CODE_LINE_SHIFT;
    for (unsigned i = 0; i < map->listeners; i++)
        map->listener[i].written(map->listener[i].opaque, start, length);
    return true;
}

bool code_written(struct code_map *map, gpa_t gpa, uint64_t size)
{
    bool hit = false;
    while (size && code_tracked(gpa, map->limit)) {
        uint64_t part = 4096 - (gpa & 0xfff);
        if (part > size)
            part = size;
        hit |= written_in_page(map, gpa, part);
        gpa += part;
        size -= part;
    }
    return hit;
}

void code_drop_all(struct code_map *map)
{
    size_t pages = (size_t)((map->limit + 4095) >> PAGE_SHIFT);
    for (size_t i = 0; i < pages; i++)
        if (atomic_load_explicit(&map->page[i], memory_order_relaxed))
            atomic_store(&map->page[i], 0);
    atomic_store(&map->untracked, false);
    for (unsigned i = 0; i < map->listeners; i++)
        map->listener[i].drop_all(map->listener[i].opaque);
}

/* -- From other threads -- */

static bool range_holds_code(const struct code_map *map, gpa_t gpa, uint64_t size)
{
    while (size && code_tracked(gpa, map->limit)) {
        uint64_t part = 4096 - (gpa & 0xfff);
        if (part > size)
            part = size;
        if (atomic_load(&map->page[gpa >> PAGE_SHIFT]) & line_mask(gpa, part))
            return true;
        gpa += part;
        size -= part;
    }
    return false;
}

bool code_queue_written(struct code_map *map, gpa_t gpa, uint64_t size)
{
    if (!range_holds_code(map, gpa, size))
        return false;
    pthread_mutex_lock(&map->queue.lock);
    if (map->queue.count == QUEUE_RANGES) {
        map->queue.drop_all = true;
    } else {
        map->queue.range[map->queue.count].gpa = gpa;
        map->queue.range[map->queue.count++].size = size;
    }
    pthread_mutex_unlock(&map->queue.lock);
    return true;
}

void code_queue_moved(struct code_map *map, gpa_t first, gpa_t end)
{
    if (first == end)
        return;
    pthread_mutex_lock(&map->queue.lock);
    bool empty = map->queue.moved == map->queue.moved_end;
    if (empty || first < map->queue.moved)
        map->queue.moved = first;
    if (empty || end > map->queue.moved_end)
        map->queue.moved_end = end;
    pthread_mutex_unlock(&map->queue.lock);
}

void code_run_queue(struct code_map *map)
{
    pthread_mutex_lock(&map->queue.lock);
    gpa_t moved = map->queue.moved, moved_end = map->queue.moved_end;
    if (moved_end > map->limit && atomic_load(&map->untracked))
        map->queue.drop_all = true;
    else if (moved < moved_end)
        code_written(map, moved, moved_end - moved);
    if (map->queue.drop_all)
        code_drop_all(map);
    else
        for (unsigned i = 0; i < map->queue.count; i++)
            code_written(map, map->queue.range[i].gpa, map->queue.range[i].size);
    map->queue.count = 0;
    map->queue.drop_all = false;
    map->queue.moved = map->queue.moved_end = 0;
    pthread_mutex_unlock(&map->queue.lock);
}
