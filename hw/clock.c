/*
 * Virtual clock and timer queue.
 *
 * Virtual time is the host's CLOCK_MONOTONIC minus an offset while the clock runs, and a constant
 * while it stands. Both numbers are published together under a sequence counter, so that
 * clock_now() takes no lock: it is on the path of RDTSC, PM timer and PIT reads.
 *
 * Timers sit in a binary heap ordered by (due, sequence): equal deadlines fire in the order they
 * were set. `due` is a copy of the deadline except during clock_fire_due(), where a timer set into
 * the past becomes due just after the pass: a device that re-arms itself behind the present (a tiny
 * period programmed by a guest) gets one shot a turn and cannot hold the loop.
 */
#include "hw/clock.h"
#include "hw/alloc.h"

#include <assert.h>
#include <stdatomic.h>
#include <time.h>

struct heap_entry {
    uint64_t due;
    uint64_t sequence;
    struct timer *timer;
};

struct clock {
    /* Published under `version`: odd while a change is under way. */
    _Atomic uint32_t version;
    _Atomic bool running;
    _Atomic uint64_t offset_ns;  /* host time at virtual 0, while running */
    _Atomic uint64_t stopped_ns; /* virtual time, while stopped */
    _Atomic int64_t wall_ns;     /* host's wall time at virtual 0 */

    struct heap_entry *heap;
    size_t count, capacity;
    uint64_t next_sequence;
    bool firing;
    uint64_t firing_now;

    void (*wake)(void *opaque);
    void *wake_opaque;
};

static uint64_t host_ns(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* -- Time -- */

static void publish_begin(struct clock *clock)
{
    atomic_fetch_add_explicit(&clock->version, 1, memory_order_acq_rel);
    atomic_thread_fence(memory_order_release);
}

static void publish_end(struct clock *clock)
{
    atomic_fetch_add_explicit(&clock->version, 1, memory_order_release);
}

struct clock *clock_new(void)
{
    struct clock *clock = alloc_zeroed(sizeof *clock);

    clock->wall_ns = (int64_t)host_ns(CLOCK_REALTIME);
    return clock;
}

void clock_free(struct clock *clock)
{
    if (!clock)
        return;
    free(clock->heap);
    free(clock);
}

static uint64_t read_time(const struct clock *clock)
{
    if (!atomic_load_explicit(&clock->running, memory_order_relaxed))
        return atomic_load_explicit(&clock->stopped_ns, memory_order_relaxed);
    return host_ns(CLOCK_MONOTONIC) - atomic_load_explicit(&clock->offset_ns, memory_order_relaxed);
}

uint64_t clock_now(const struct clock *clock)
{
    for (;;) {
        uint32_t version = atomic_load_explicit(&clock->version, memory_order_acquire);
        uint64_t now = read_time(clock);
        atomic_thread_fence(memory_order_acquire);
        if (!(version & 1) &&
            version == atomic_load_explicit(&clock->version, memory_order_relaxed))
            return now;
    }
}

bool clock_running(const struct clock *clock)
{
    return atomic_load_explicit(&clock->running, memory_order_relaxed);
}

void clock_run(struct clock *clock, bool running)
{
    if (clock_running(clock) == running)
        return;

    publish_begin(clock);
    /* Read only now: from here on nobody else gets a time until the change is complete. */
    uint64_t now = read_time(clock);
    if (running) {
        clock->offset_ns = host_ns(CLOCK_MONOTONIC) - now;
        clock->wall_ns = (int64_t)(host_ns(CLOCK_REALTIME) - now);
    } else {
        clock->stopped_ns = now;
    }
    clock->running = running;
    publish_end(clock);
    if (running && clock->wake)
        clock->wake(clock->wake_opaque);
}

void clock_set(struct clock *clock, uint64_t now_ns)
{
    assert(!clock_running(clock));
    publish_begin(clock);
    clock->stopped_ns = now_ns;
    publish_end(clock);
}

int64_t clock_wall_seconds(const struct clock *clock)
{
    int64_t wall = clock->wall_ns + (int64_t)clock_now(clock);

    return wall / (int64_t)NS_PER_SECOND;
}

/* -- The heap -- */

static bool before(const struct heap_entry *a, const struct heap_entry *b)
{
    return a->due != b->due ? a->due < b->due : a->sequence < b->sequence;
}

static void put(struct clock *clock, size_t slot, struct heap_entry entry)
{
    clock->heap[slot] = entry;
    entry.timer->slot = (int)slot;
}

static void sift_up(struct clock *clock, size_t slot, struct heap_entry entry)
{
    while (slot > 0 && before(&entry, &clock->heap[(slot - 1) / 2])) {
        put(clock, slot, clock->heap[(slot - 1) / 2]);
        slot = (slot - 1) / 2;
    }
    put(clock, slot, entry);
}

static void sift_down(struct clock *clock, size_t slot, struct heap_entry entry)
{
    for (;;) {
        size_t child = 2 * slot + 1;
        if (child + 1 < clock->count && before(&clock->heap[child + 1], &clock->heap[child]))
            child++;
        if (child >= clock->count || !before(&clock->heap[child], &entry))
            break;
        put(clock, slot, clock->heap[child]);
        slot = child;
    }
    put(clock, slot, entry);
}

static void heap_remove(struct clock *clock, struct timer *timer)
{
    size_t slot = (size_t)timer->slot;
    struct heap_entry moved = clock->heap[--clock->count];

    timer->slot = -1;
    if (slot == clock->count)
        return;
    if (slot > 0 && before(&moved, &clock->heap[(slot - 1) / 2]))
        sift_up(clock, slot, moved);
    else
        sift_down(clock, slot, moved);
}

static void heap_insert(struct clock *clock, struct heap_entry entry)
{
    if (clock->count == clock->capacity) {
        clock->capacity = clock->capacity ? 2 * clock->capacity : 32;
        clock->heap = alloc_grown(clock->heap, clock->capacity * sizeof *clock->heap);
    }
    sift_up(clock, clock->count++, entry);
}

/* -- Timers -- */

void timer_init(struct timer *timer, struct clock *clock, void (*fire)(void *opaque), void *opaque)
{
    *timer = (struct timer){clock, fire, opaque, TIMER_NEVER, -1};
}

void timer_set(struct timer *timer, uint64_t deadline_ns)
{
    struct clock *clock = timer->clock;
    struct heap_entry entry = {deadline_ns, clock->next_sequence++, timer};

    timer_cancel(timer);
    if (deadline_ns == TIMER_NEVER)
        return;
    timer->deadline_ns = deadline_ns;
    if (clock->firing && entry.due <= clock->firing_now)
        entry.due = clock->firing_now + 1;
    heap_insert(clock, entry);
    if (timer->slot == 0 && clock->wake)
        clock->wake(clock->wake_opaque);
}

void timer_cancel(struct timer *timer)
{
    if (timer->slot >= 0)
        heap_remove(timer->clock, timer);
    timer->deadline_ns = TIMER_NEVER;
}

void timer_rearm(struct timer *timer)
{
    timer_set(timer, timer->deadline_ns);
}

uint64_t clock_next_deadline(const struct clock *clock)
{
    return clock->count ? clock->heap[0].due : TIMER_NEVER;
}

void clock_fire_due(struct clock *clock)
{
    clock->firing = true;
    clock->firing_now = clock_now(clock);
    while (clock->count && clock->heap[0].due <= clock->firing_now) {
        struct timer *timer = clock->heap[0].timer;
        heap_remove(clock, timer);
        timer->fire(timer->opaque);
        if (!timer_pending(timer))
            timer->deadline_ns = TIMER_NEVER;
    }
    clock->firing = false;
}

void clock_on_earlier(struct clock *clock, void (*wake)(void *opaque), void *opaque)
{
    clock->wake = wake;
    clock->wake_opaque = opaque;
}
