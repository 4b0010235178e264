/*
 * Access to guest physical memory by address: what backs a page, MMIO, DMA, and dirty logs.
 *
 * All of it goes by the flat view (memory_internal.h). An access whose bytes belong to different
 * segments is taken apart; a page shared by several segments has no host page and its RAM bytes are
 * reached through the MMIO calls.
 */
#include "hw/memory_internal.h"
#include "hw/access.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/* -- Looking up -- */

bool view_lookup(const struct view *view, uint64_t gpa, struct segment *segment)
{
    size_t low = 0, high = view->count; /* the answer, or the next one, lies in [low, high] */

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (gpa >= view->segments[middle].end)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < view->count && gpa >= view->segments[low].start) {
        *segment = view->segments[low];
        return true;
    }
    *segment = (struct segment){
        .start = gpa,
        .end = low < view->count ? view->segments[low].start : UINT64_MAX,
    };
    return false;
}

bool memory_lookup(struct memory *memory, uint64_t gpa, struct segment *segment)
{
    bool found = view_lookup(memory_read_begin(memory), gpa, segment);

    memory_read_end(memory);
    return found;
}

struct memory_page memory_find_page(struct memory *memory, uint64_t gpa)
{
    uint64_t page = gpa & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
    struct segment segment;

    /* Nearly all TLB fills end here: main RAM never moves, so no view needs to be held. */
    uint64_t plain = atomic_load_explicit(&memory->plain_ram, memory_order_relaxed);
    if (gpa >> GUEST_PAGE_SHIFT >= (uint32_t)plain && gpa >> GUEST_PAGE_SHIFT < plain >> 32)
        return (struct memory_page){memory->ram + main_ram_offset(memory, page), true, false};

    if (!memory_lookup(memory, page, &segment) || segment.kind == REGION_MMIO ||
        segment.end - page < GUEST_PAGE_SIZE)
        return (struct memory_page){NULL, false, false};
    return (struct memory_page){
        .host = segment.host + (page - segment.start),
        .writable = segment.kind == REGION_RAM,
        .log_dirty = segment.log != NULL,
    };
}

/* -- Dirty logs -- */

void dirty_log_mark(struct dirty_log *log, uint64_t offset, uint64_t length)
{
    uint64_t bytes = (uint64_t)log->pages << GUEST_PAGE_SHIFT;

    if (length == 0 || offset >= bytes)
        return;
    if (length > bytes - offset)
        length = bytes - offset;
    size_t last = (size_t)((offset + length - 1) >> GUEST_PAGE_SHIFT);
    for (size_t page = (size_t)(offset >> GUEST_PAGE_SHIFT); page <= last; page++) {
        _Atomic uint64_t *word = &log->words[page / 64];
        uint64_t bit = UINT64_C(1) << (page % 64);
        /* Mostly set already: a plain look keeps the cache line shared. */
        if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
            atomic_fetch_or(word, bit);
    }
}

static void tell_cleared(const struct region *region, size_t first_page, size_t pages)
{
    struct memory *memory = region->memory;
    uint64_t gpa = region->base + ((uint64_t)first_page << GUEST_PAGE_SHIFT);

    if (!region->enabled)
        return;
    for (size_t i = 0; i < memory->observer_count; i++) {
        if (memory->observers[i].dirty_cleared)
            memory->observers[i].dirty_cleared(memory->observers[i].opaque, gpa,
                                               (uint64_t)pages << GUEST_PAGE_SHIFT);
    }
}

/* Takes `count` (at most 64) bits from page `first` on. */
static uint64_t take_bits(struct dirty_log *log, size_t first, size_t count)
{
    uint64_t taken = 0;

    for (size_t done = 0; done < count;) {
        size_t shift = (first + done) % 64;
        size_t bits = 64 - shift < count - done ? 64 - shift : count - done;
        uint64_t mask = (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1) << shift;
        _Atomic uint64_t *word = &log->words[(first + done) / 64];
        if (atomic_load_explicit(word, memory_order_relaxed) & mask)
            taken |= (atomic_fetch_and(word, ~mask) & mask) >> shift << done;
        done += bits;
    }
    return taken;
}

bool region_fetch_dirty(struct region *region, size_t first_page, size_t pages, uint64_t *bits)
{
    struct dirty_log *log = region->log;
    size_t first_dirty = SIZE_MAX, end_dirty = 0;

    memset(bits, 0, (pages + 63) / 64 * sizeof *bits);
    if (!log || first_page >= log->pages)
        return false;
    if (pages > log->pages - first_page)
        pages = log->pages - first_page;
    for (size_t done = 0; done < pages; done += 64) {
        uint64_t taken = take_bits(log, first_page + done, pages - done < 64 ? pages - done : 64);
        bits[done / 64] = taken;
        if (!taken)
            continue;
        if (first_dirty == SIZE_MAX)
            first_dirty = first_page + done + (size_t)__builtin_ctzll(taken);
        end_dirty = first_page + done + 64 - (size_t)__builtin_clzll(taken);
    }
    if (first_dirty == SIZE_MAX)
        return false;
    tell_cleared(region, first_dirty, end_dirty - first_dirty);
    return true;
}

void region_mark_dirty(struct region *region)
{
    region_note_write(region, 0, region->size);
}

void region_note_write(struct region *region, uint64_t offset, uint64_t length)
{
    if (region->log)
        dirty_log_mark(region->log, offset, length);
}

void memory_note_write(struct memory *memory, uint64_t gpa, unsigned size)
{
    const struct view *view = memory_read_begin(memory);

    for (uint64_t left = size; left > 0;) {
        struct segment segment;
        bool found = view_lookup(view, gpa, &segment);
        uint64_t step = segment.end - gpa < left ? segment.end - gpa : left;
        if (found && segment.log)
            dirty_log_mark(segment.log, segment.offset + (gpa - segment.start), step);
        if (step == 0)
            break; /* the last byte of the space */
        gpa += step;
        left -= step;
    }
    memory_read_end(memory);
}

/* -- A CPU's access -- */

static void tell_written(struct memory *memory, uint64_t gpa, uint64_t size)
{
    for (size_t i = 0; i < memory->observer_count; i++) {
        if (memory->observers[i].ram_written)
            memory->observers[i].ram_written(memory->observers[i].opaque, gpa, size);
    }
}

static uint64_t read_bytes(struct memory *memory, uint64_t gpa, unsigned size)
{
    struct segment segment;
    bool found = memory_lookup(memory, gpa, &segment);

    if (segment.end - gpa < size && size > 1) {
        uint64_t low = read_bytes(memory, gpa, size / 2);
        uint64_t high = read_bytes(memory, gpa + size / 2, size / 2);
        return low | high << (4 * size);
    }
    if (!found)
        return access_mask(size);
    uint64_t offset = gpa - segment.start;
    if (segment.kind == REGION_MMIO)
        return access_read(segment.ops, segment.opaque, segment.offset + offset, size);
    uint64_t value = 0;
    memcpy(&value, segment.host + offset, size);
    return value;
}

static void write_bytes(struct memory *memory, uint64_t gpa, uint64_t value, unsigned size)
{
    struct segment segment;
    bool found = memory_lookup(memory, gpa, &segment);

    if (segment.end - gpa < size && size > 1) {
        write_bytes(memory, gpa, value & access_mask(size / 2), size / 2);
        write_bytes(memory, gpa + size / 2, value >> (4 * size), size / 2);
        return;
    }
    if (!found || segment.kind == REGION_ROM)
        return;
    uint64_t offset = gpa - segment.start;
    if (segment.kind == REGION_MMIO) {
        access_write(segment.ops, segment.opaque, segment.offset + offset, value, size);
        return;
    }
    memcpy(segment.host + offset, &value, size);
    if (segment.log)
        dirty_log_mark(segment.log, segment.offset + offset, size);
    tell_written(memory, gpa, size);
}

uint64_t memory_mmio_read(struct memory *memory, uint64_t gpa, unsigned size)
{
    uint64_t value = read_bytes(memory, gpa, size);

    log_if(LOG_IO, "mmio read  %" PRIx64 ".%u -> %0*" PRIx64, gpa, size, (int)size * 2, value);
    return value;
}

void memory_mmio_write(struct memory *memory, uint64_t gpa, uint64_t value, unsigned size)
{
    log_if(LOG_IO, "mmio write %" PRIx64 ".%u <- %0*" PRIx64, gpa, size, (int)size * 2, value);
    write_bytes(memory, gpa, value, size);
}

/* -- DMA -- */

/* How many of `left` bytes from `gpa` on lie in the segment or gap. The last byte of the address
 * space belongs to no segment; it ends every transfer. */
static size_t piece(const struct segment *segment, uint64_t gpa, size_t left)
{
    uint64_t here = segment->end - gpa;

    return here == 0 || here > left ? left : (size_t)here;
}

bool memory_dma_read(struct memory *memory, uint64_t gpa, void *data, size_t length)
{
    uint8_t *bytes = data;
    bool complete = true;

    while (length > 0) {
        struct segment segment;
        bool found = view_lookup(memory_read_begin(memory), gpa, &segment);
        size_t step = piece(&segment, gpa, length);
        if (found && segment.kind != REGION_MMIO) {
            memcpy(bytes, segment.host + (gpa - segment.start), step);
        } else {
            memset(bytes, 0xff, step);
            complete = false;
        }
        memory_read_end(memory);
        if (!found || segment.kind == REGION_MMIO)
            log_guest("DMA reads %s at %" PRIx64, found ? "device registers" : "nothing", gpa);
        gpa += step;
        bytes += step;
        length -= step;
    }
    return complete;
}

bool memory_dma_write(struct memory *memory, uint64_t gpa, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    bool complete = true;

    while (length > 0) {
        struct segment segment;
        bool found = view_lookup(memory_read_begin(memory), gpa, &segment);
        size_t step = piece(&segment, gpa, length);
        bool hit = found && segment.kind == REGION_RAM;
        if (hit) {
            uint64_t offset = gpa - segment.start;
            memcpy(segment.host + offset, bytes, step);
            if (segment.log)
                dirty_log_mark(segment.log, segment.offset + offset, step);
        }
        memory_read_end(memory);
        if (hit) {
            tell_written(memory, gpa, step);
        } else {
            log_guest("DMA writes to %s at %" PRIx64,
                      !found                       ? "nothing"
                      : segment.kind == REGION_ROM ? "ROM"
                                                   : "device registers",
                      gpa);
            complete = false;
        }
        gpa += step;
        bytes += step;
        length -= step;
    }
    return complete;
}

void *memory_dma_map(struct memory *memory, uint64_t gpa, size_t *length, bool write)
{
    struct segment segment;
    if (!memory_lookup(memory, gpa, &segment) || segment.kind == REGION_MMIO ||
        (write && segment.kind != REGION_RAM))
        return NULL;
    *length = piece(&segment, gpa, *length);
    return segment.host + (gpa - segment.start);
}

void memory_dma_written(struct memory *memory, uint64_t gpa, size_t length)
{
    while (length > 0) {
        struct segment segment;
        bool found = view_lookup(memory_read_begin(memory), gpa, &segment);
        size_t step = piece(&segment, gpa, length);
        if (found && segment.log)
            dirty_log_mark(segment.log, segment.offset + (gpa - segment.start), step);
        memory_read_end(memory);
        tell_written(memory, gpa, step);
        gpa += step;
        length -= step;
    }
}

void memory_discard(struct memory *memory, uint64_t gpa, uint64_t length)
{
    uint64_t first = (gpa + GUEST_PAGE_SIZE - 1) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
    uint64_t end = (gpa + length) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);

    if (gpa + length < gpa || first < gpa)
        return;
    while (first < end) {
        size_t step = end - first;
        uint8_t *host = memory_dma_map(memory, first, &step, true);
        step &= ~(size_t)(GUEST_PAGE_SIZE - 1);
        if (!host || !step || host < memory->ram || host >= memory->ram + memory->ram_bytes) {
            first += GUEST_PAGE_SIZE;
            continue;
        }
        if (madvise(host, step, MADV_REMOVE) != 0)
            memset(host, 0, step);
        memory_dma_written(memory, first, step);
        first += step;
    }
}

void memory_write_ram(struct memory *memory, uint64_t ram_offset, const void *data, size_t length)
{
    assert(length <= memory->ram_bytes && ram_offset <= memory->ram_bytes - length);
    memcpy(memory->ram + ram_offset, data, length);
    for (uint64_t done = 0; done < length;) {
        uint64_t offset = ram_offset + done;
        bool low = offset < memory->low_max;
        uint64_t gpa = low ? offset : MEMORY_HIGH_BASE + (offset - memory->low_max);
        uint64_t step = length - done;
        if (low && step > memory->low_max - offset)
            step = memory->low_max - offset;
        tell_written(memory, gpa, step);
        done += step;
    }
}
