/*
 * The board's event loop: one thread that sleeps until a timer is due, a file descriptor is ready
 * or somebody wakes it, and runs the handlers under the board lock.
 */
#ifndef DOPPEL_HW_LOOP_H
#define DOPPEL_HW_LOOP_H

#include "hw/clock.h"

#include <pthread.h>

struct loop;

struct loop *loop_new(struct clock *clock, pthread_mutex_t *board_lock);
void loop_free(struct loop *loop);

/* Watches `fd` for POLLIN/POLLOUT `events`; the handler gets the ready set. Board lock held. */
void loop_watch(struct loop *loop, int fd, short events,
                void (*ready)(void *opaque, int fd, short events), void *opaque);
void loop_unwatch(struct loop *loop, int fd);

/* A source that fills its own poll set each turn (libslirp). `prepare` may add descriptors with
 * loop_poll_add and shorten *timeout_ns; `dispatch` reads results with loop_poll_result. */
struct loop_source {
    void (*prepare)(void *opaque, struct loop *loop, uint64_t *timeout_ns);
    void (*dispatch)(void *opaque, struct loop *loop);
    void *opaque;
};
void loop_add_source(struct loop *loop, const struct loop_source *source);
int loop_poll_add(struct loop *loop, int fd, short events); /* index of this turn */
short loop_poll_result(struct loop *loop, int index);

/* Runs `work` on the loop thread at its next turn. Any thread. */
void loop_post(struct loop *loop, void (*work)(void *opaque), void *opaque);
/* Makes a sleeping loop take a turn. Any thread. */
void loop_wake(struct loop *loop);

/* One turn: waits at most `max_ns`, then handles all that is ready. The caller does not hold the
 * board lock. */
void loop_turn(struct loop *loop, uint64_t max_ns);

/* -- Worker threads for blocking jobs (disk I/O) -- */

/* Runs `job` on a worker thread without the board lock, then `done` on the loop thread with it. */
void loop_work(struct loop *loop, void (*job)(void *opaque), void (*done)(void *opaque),
               void *opaque);
/* Waits until all submitted work is done and its `done` ran, and no worker below has anything to do
 * (reset, save, shutdown). Board lock held by the caller; it is released while waiting. Loop thread
 * or a CPU thread. */
void loop_drain(struct loop *loop);

/*
 * A thread of a device's own, for a data path that should not wait behind others' jobs (virtio
 * queues). `run` is called on it with the board lock held, once or more after each kick; around
 * long work that touches no device state it lets the lock go with loop_unlock and loop_lock.
 */
struct loop_worker;
struct loop_worker *loop_worker_new(struct loop *loop, void (*run)(void *opaque), void *opaque);
/* Board lock held; it is released while waiting for the thread. */
void loop_worker_free(struct loop_worker *worker);
/* Board lock held. */
void loop_worker_kick(struct loop_worker *worker);
/* Waits until `run` is not under way. Board lock held; it is released while waiting. */
void loop_worker_wait(struct loop_worker *worker);
void loop_unlock(struct loop *loop);
void loop_lock(struct loop *loop);

#endif
