/*
 * Virtual time: nanoseconds of the machine's life. It stops when the machine is paused. No device
 * reads the host's clock; everything that happens later is a timer on this queue.
 *
 * Locking: clock_now() may be called from any thread. Timers are set, cancelled and fired under the
 * board lock (they fire on the event loop thread).
 */
#ifndef DOPPEL_HW_CLOCK_H
#define DOPPEL_HW_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_SECOND 1000000000ull
#define TIMER_NEVER UINT64_MAX

struct clock;

/* One pending event. Embed it in the device; timer_init before use. `deadline_ns` goes into the
 * device's state table (FIELD(struct x, timer.deadline_ns, 1)); post_load calls timer_rearm. While
 * `fire` runs the timer is idle and deadline_ns still tells when it was due (periodic timers add
 * their period to it); the timer must outlive its `fire`. */
struct timer {
    struct clock *clock;
    void (*fire)(void *opaque);
    void *opaque;
    uint64_t deadline_ns; /* virtual time, or TIMER_NEVER */
    int slot;             /* place in the heap, -1 when idle */
};

struct clock *clock_new(void);
void clock_free(struct clock *clock);

/* Virtual nanoseconds since power-on. Monotonic. */
uint64_t clock_now(const struct clock *clock);
/* Starts or stops the flow of virtual time. A new clock is stopped at 0. */
void clock_run(struct clock *clock, bool running);
bool clock_running(const struct clock *clock);
/* Sets the time of a stopped clock (loading a saved state; tests step a clock by hand with it). */
void clock_set(struct clock *clock, uint64_t now_ns);
/* Host seconds since the epoch that corresponds to virtual time now: for the RTC only. Flows with
 * virtual time and catches up with the host each time the clock starts to run, as a clock with a
 * battery would. */
int64_t clock_wall_seconds(const struct clock *clock);

/* (value * multiplier) / divisor without overflow: device ticks <-> nanoseconds. */
static inline uint64_t clock_scale(uint64_t value, uint64_t multiplier, uint64_t divisor)
{
    return (uint64_t)((unsigned __int128)value * multiplier / divisor);
}

void timer_init(struct timer *timer, struct clock *clock, void (*fire)(void *opaque), void *opaque);
/* Arms the timer; a deadline in the past fires at the loop's next turn. Replaces an earlier one. */
void timer_set(struct timer *timer, uint64_t deadline_ns);
void timer_cancel(struct timer *timer);
/* After deadline_ns was loaded from a saved state. */
void timer_rearm(struct timer *timer);
static inline bool timer_pending(const struct timer *timer)
{
    return timer->slot >= 0;
}

/* Earliest deadline (TIMER_NEVER if none), and firing of all that are due. Event loop only. */
uint64_t clock_next_deadline(const struct clock *clock);
void clock_fire_due(struct clock *clock);
/* The loop's hook: called when a timer set from another thread became the earliest. */
void clock_on_earlier(struct clock *clock, void (*wake)(void *opaque), void *opaque);

#endif
