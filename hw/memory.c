/*
 * Guest physical memory: RAM, the list of regions, and the flat view made from it.
 *
 * RAM is a file in memory, so that the processor can map pages of it a second time (cpu/window.h),
 * without reservation: it costs the host only what the guest touches. The low part appears at 0, the
 * rest from 4 GiB up; each is an ordinary region of PRIORITY_RAM.
 */
#include "hw/memory_internal.h"
#include "hw/access.h"
#include "hw/alloc.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* -- Retiring what readers may still look at -- */

#define RETIRED_MAX 64

struct retired {
    struct retired *next;
    void *pointer;
};

static void retire(struct memory *memory, void *pointer)
{
    if (!pointer)
        return;
    struct retired *retired = alloc_zeroed(sizeof *retired);
    *retired = (struct retired){memory->retired, pointer};
    memory->retired = retired;
    memory->retired_count++;
}

static void free_retired(struct memory *memory)
{
    for (struct retired *retired = memory->retired, *next; retired; retired = next) {
        next = retired->next;
        free(retired->pointer);
        free(retired);
    }
    memory->retired = NULL;
    memory->retired_count = 0;
}

/* A reader that starts after the new view was published cannot hold an old one, so one moment
 * without readers is enough. Usually that is now; a guest that remaps in a loop makes us wait. */
static void collect(struct memory *memory)
{
    while (atomic_load(&memory->readers) != 0) {
        if (memory->retired_count < RETIRED_MAX)
            return;
        sched_yield();
    }
    free_retired(memory);
}

/* -- The flat view -- */

static bool visible(const struct region *region)
{
    return region->enabled && region->size > 0 && region->base <= UINT64_MAX - region->size;
}

static int compare_points(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

static const struct region *topmost(const struct memory *memory, uint64_t gpa)
{
    for (const struct region *region = memory->regions; region; region = region->next) {
        if (visible(region) && gpa >= region->base && gpa - region->base < region->size)
            return region;
    }
    return NULL;
}

static struct segment make_segment(const struct region *region, uint64_t start, uint64_t end)
{
    uint64_t offset = start - region->base;

    return (struct segment){
        .start = start,
        .end = end,
        .kind = region->kind,
        .offset = offset,
        .host = region->kind == REGION_MMIO ? NULL : region->host + offset,
        .log = region->log,
        .ops = region->ops,
        .opaque = region->opaque,
    };
}

/* Cuts the space at every region's edges and asks for each piece who is on top. */
static struct view *make_view(const struct memory *memory)
{
    size_t regions = 0, points = 0;

    for (const struct region *region = memory->regions; region; region = region->next)
        regions++;

    uint64_t *point = alloc_zeroed(2 * regions * sizeof *point);
    struct view *view = alloc_zeroed(sizeof *view + 2 * regions * sizeof view->segments[0]);
    for (const struct region *region = memory->regions; region; region = region->next) {
        if (visible(region)) {
            point[points++] = region->base;
            point[points++] = region->base + region->size;
        }
    }
    qsort(point, points, sizeof *point, compare_points);

    const struct region *previous = NULL;
    for (size_t i = 0; i + 1 < points; i++) {
        if (point[i] == point[i + 1])
            continue;
        const struct region *top = topmost(memory, point[i]);
        if (top && top == previous)
            view->segments[view->count - 1].end = point[i + 1];
        else if (top)
            view->segments[view->count++] = make_segment(top, point[i], point[i + 1]);
        previous = top;
    }
    free(point);
    return view;
}

/* The page range of the largest piece of main RAM at its usual place (see memory_find_page). */
static uint64_t largest_ram(const struct memory *memory, const struct view *view)
{
    uint64_t first = 0, end = 0;
    for (size_t i = 0; i < view->count; i++) {
        const struct segment *segment = &view->segments[i];
        if (segment->kind == REGION_RAM && !segment->log &&
            segment->end - segment->start > end - first &&
            segment->host == memory->ram + main_ram_offset(memory, segment->start)) {
            first = segment->start;
            end = segment->end;
        }
    }
    return (first + GUEST_PAGE_SIZE - 1) >> GUEST_PAGE_SHIFT | end >> GUEST_PAGE_SHIFT << 32;
}

/* What a view shows from an address on, up to *next at least. */
static struct segment shown_from(const struct view *view, uint64_t gpa, uint64_t *next)
{
    for (size_t i = 0; view && i < view->count; i++) {
        struct segment segment = view->segments[i];
        if (segment.end <= gpa)
            continue;
        uint64_t edge = segment.start > gpa ? segment.start : segment.end;
        if (edge < *next)
            *next = edge;
        if (segment.start > gpa)
            break;
        if (segment.host)
            segment.host += gpa - segment.start;
        return segment;
    }
    return (struct segment){0};
}

/* Calls the observers: what is RAM or ROM differs between the views within one range at most. */
static void tell_of_change(const struct memory *memory, const struct view *old,
                           const struct view *view)
{
    uint64_t first = 0, end = 0, next;
    for (uint64_t gpa = 0; gpa != UINT64_MAX; gpa = next) {
        next = UINT64_MAX;
        struct segment a = shown_from(old, gpa, &next), b = shown_from(view, gpa, &next);
        if (a.host == b.host && (!a.host || a.kind == b.kind))
            continue;
        if (first == end)
            first = gpa;
        end = next;
    }
    for (size_t i = 0; i < memory->observer_count; i++) {
        if (memory->observers[i].layout_changed)
            memory->observers[i].layout_changed(memory->observers[i].opaque, first, end);
    }
}

static void layout_change(struct memory *memory)
{
    struct view *view = make_view(memory);
    atomic_store(&memory->plain_ram, largest_ram(memory, view));
    struct view *old = atomic_exchange(&memory->view, view);
    tell_of_change(memory, old, view);
    retire(memory, old);
    collect(memory);
}

/* -- Regions -- */

static struct region *add_region(struct memory *memory, const struct region *description)
{
    struct region *region = alloc_zeroed(sizeof *region);
    struct region **link = &memory->regions;

    *region = *description;
    region->memory = memory;
    region->enabled = true;
    while (*link && (*link)->priority > region->priority)
        link = &(*link)->next;
    region->next = *link;
    *link = region;
    layout_change(memory);
    return region;
}

static struct dirty_log *new_log(uint64_t size)
{
    size_t pages = (size_t)((size + GUEST_PAGE_SIZE - 1) >> GUEST_PAGE_SHIFT);
    struct dirty_log *log = alloc_zeroed(sizeof *log + (pages + 63) / 64 * sizeof log->words[0]);

    log->pages = pages;
    return log;
}

struct region *memory_add_mmio(struct memory *memory, uint64_t base, uint64_t size, int priority,
                               const struct access_ops *ops, void *opaque, const char *name)
{
    assert(access_fits(ops, size));
    return add_region(memory, &(struct region){.name = name,
                                               .kind = REGION_MMIO,
                                               .priority = priority,
                                               .base = base,
                                               .size = size,
                                               .ops = ops,
                                               .opaque = opaque});
}

struct region *memory_add_host(struct memory *memory, enum region_kind kind, uint64_t base,
                               uint64_t size, int priority, void *host, bool log_dirty,
                               const char *name)
{
    assert(kind != REGION_MMIO && ((uintptr_t)host & (GUEST_PAGE_SIZE - 1)) == 0);
    return add_region(memory, &(struct region){.name = name,
                                               .kind = kind,
                                               .priority = priority,
                                               .base = base,
                                               .size = size,
                                               .host = host,
                                               .log = log_dirty ? new_log(size) : NULL});
}

struct region *memory_add_ram_alias(struct memory *memory, enum region_kind kind, uint64_t base,
                                    uint64_t size, int priority, uint64_t ram_offset,
                                    const char *name)
{
    assert(size <= memory->ram_bytes && ram_offset <= memory->ram_bytes - size);
    return memory_add_host(memory, kind, base, size, priority, memory->ram + ram_offset, false,
                           name);
}

void region_place(struct region *region, uint64_t base, bool enabled)
{
    bool was_visible = region->enabled;

    if (was_visible == enabled && (region->base == base || !enabled)) {
        region->base = base;
        return;
    }
    region->base = base;
    region->enabled = enabled;
    layout_change(region->memory);
}

void region_set_kind(struct region *region, enum region_kind kind)
{
    assert(region->kind != REGION_MMIO && kind != REGION_MMIO);
    if (region->kind == kind)
        return;
    region->kind = kind;
    if (region->enabled)
        layout_change(region->memory);
}

void region_remove(struct region *region)
{
    if (!region)
        return;
    struct memory *memory = region->memory;
    struct region **link = &memory->regions;

    while (*link != region)
        link = &(*link)->next;
    *link = region->next;
    retire(memory, region->log);
    retire(memory, region);
    layout_change(memory);
}

/* -- Host memory -- */

static size_t whole_pages(size_t size)
{
    return (size + GUEST_PAGE_SIZE - 1) & ~(size_t)(GUEST_PAGE_SIZE - 1);
}

void *memory_alloc_host(size_t size)
{
    void *host =
        mmap(NULL, whole_pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (host == MAP_FAILED)
        alloc_failed(size);
    return host;
}

void memory_free_host(void *host, size_t size)
{
    if (host)
        munmap(host, whole_pages(size));
}

/* -- RAM -- */

static bool host_can_hold(uint64_t bytes, struct error *error)
{
    struct sysinfo host;

    if (sysinfo(&host) != 0)
        return true;
    uint64_t limit = ((uint64_t)host.totalram + host.totalswap) * host.mem_unit;
    if (bytes <= limit)
        return true;
    return error_set(error,
                     "%" PRIu64 " MiB of guest memory are more than this host has (%" PRIu64
                     " MiB with swap); choose less",
                     bytes >> 20, limit >> 20);
}

static bool map_ram(struct memory *memory, struct error *error)
{
    uint64_t bytes = memory->ram_bytes;

    void *ram = MAP_FAILED;
    memory->ram_fd = memfd_create("guest RAM", MFD_CLOEXEC);
    if (memory->ram_fd >= 0 && bytes <= SIZE_MAX && ftruncate(memory->ram_fd, (off_t)bytes) == 0)
        ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory->ram_fd,
                   0);
    if (ram == MAP_FAILED)
        return error_set(error, "cannot map %" PRIu64 " MiB of guest memory: %s", bytes >> 20,
                         strerror(errno));
    memory->ram = ram;
    return true;
}

struct memory *memory_new(uint64_t ram_bytes, struct error *error)
{
    return memory_new_split(ram_bytes, MEMORY_LOW_MAX, error);
}

struct memory *memory_new_split(uint64_t ram_bytes, uint64_t low_max, struct error *error)
{
    if (ram_bytes == 0 || ram_bytes % GUEST_PAGE_SIZE != 0) {
        error_set(error, "guest memory must be a multiple of %u bytes and not zero",
                  GUEST_PAGE_SIZE);
        return NULL;
    }
    if (!host_can_hold(ram_bytes, error))
        return NULL;

    struct memory *memory = alloc_zeroed(sizeof *memory);
    memory->ram_bytes = ram_bytes;
    memory->low_max = low_max;
    memory->ram_fd = -1;
    if (!map_ram(memory, error)) {
        memory_free(memory);
        return NULL;
    }
    memory_add_ram_alias(memory, REGION_RAM, 0, memory_ram_low(memory), PRIORITY_RAM, 0, "ram");
    if (memory_ram_high(memory))
        memory_add_ram_alias(memory, REGION_RAM, MEMORY_HIGH_BASE, memory_ram_high(memory),
                             PRIORITY_RAM, low_max, "ram above 4 GiB");
    return memory;
}

void memory_free(struct memory *memory)
{
    if (!memory)
        return;
    for (struct region *region = memory->regions, *next; region; region = next) {
        next = region->next;
        free(region->log);
        free(region);
    }
    free_retired(memory);
    free(atomic_load(&memory->view));
    if (memory->ram)
        munmap(memory->ram, memory->ram_bytes);
    if (memory->ram_fd >= 0)
        close(memory->ram_fd);
    free(memory);
}

uint64_t memory_ram_bytes(const struct memory *memory)
{
    return memory->ram_bytes;
}

uint8_t *memory_ram_host(const struct memory *memory)
{
    return memory->ram;
}

int memory_ram_file(const struct memory *memory)
{
    return memory->ram_fd;
}

uint64_t memory_ram_low(const struct memory *memory)
{
    return memory->ram_bytes < memory->low_max ? memory->ram_bytes : memory->low_max;
}

uint64_t memory_ram_high(const struct memory *memory)
{
    return memory->ram_bytes - memory_ram_low(memory);
}

void memory_observe(struct memory *memory, const struct memory_observer *observer)
{
    assert(memory->observer_count < OBSERVERS_MAX);
    memory->observers[memory->observer_count++] = *observer;
}
