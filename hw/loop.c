/*
 * Event loop and worker threads.
 *
 * A turn: collect descriptors and the nearest deadline under the board lock; sleep without it;
 * then, under it again, run ready handlers, finished jobs, posted work and due timers. Whoever
 * changes what the loop waits for while it sleeps writes to an eventfd; `asleep` spares the write
 * when the loop is awake and will look anyway. It is set before the board lock is let go, so that
 * changes made under that lock are either seen or interrupt the sleep; wakes from elsewhere are
 * kept in `wanted`.
 *
 *     any thread --post--> queue --+
 *     worker ---finished job-------+--> turn: handlers, done callbacks, posted work, timers
 *     descriptors, timers ---------+
 *
 * Lock order: board lock, then `lock` of the queues. Neither a job nor anything else runs under the
 * latter.
 */
#include "hw/loop.h"
#include "hw/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define WORKERS 2

struct watch {
    struct watch *next;
    int fd;
    short events;
    int index; /* in this turn's poll set, -1 if it came later */
    bool removed;
    void (*ready)(void *opaque, int fd, short events);
    void *opaque;
};

struct task {
    struct task *next;
    void (*work)(void *opaque); /* the job of a worker; NULL for posted work */
    void (*done)(void *opaque);
    void *opaque;
};

struct task_queue {
    struct task *first;
    struct task **last;
};

struct loop_worker {
    struct loop_worker *next;
    struct loop *loop;
    void (*run)(void *opaque);
    void *opaque;
    pthread_t thread;
    pthread_cond_t wake; /* kicked or quit; with the board lock */
    bool started, kicked, running, quit;
};

struct loop {
    struct clock *clock;
    pthread_mutex_t *board_lock;
    int wake_fd;
    _Atomic bool asleep;
    _Atomic bool wanted; /* a wake since the last look */
    bool tuned;          /* the thread's timer slack was taken away */

    /* Under the board lock. */
    struct watch *watches;
    struct loop_source *sources;
    size_t source_count;
    struct pollfd *polled;
    size_t polled_count, polled_capacity;
    struct loop_worker *device_workers;
    pthread_cond_t worker_idle; /* a device's worker has come to a stand */

    pthread_mutex_t lock; /* the rest */
    struct task_queue posted;
    struct task_queue jobs;
    struct task_queue finished;
    unsigned unfinished;        /* jobs whose `done` did not return yet */
    pthread_cond_t jobs_change; /* a job came, or quit */
    pthread_cond_t done_change; /* a job was finished, or its done returned */
    pthread_t worker[WORKERS];
    unsigned workers;
    bool quit;
};

/* -- Queues -- */

static void queue_init(struct task_queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void queue_push(struct task_queue *queue, struct task *task)
{
    task->next = NULL;
    *queue->last = task;
    queue->last = &task->next;
}

static struct task *queue_pop(struct task_queue *queue)
{
    struct task *task = queue->first;

    if (task) {
        queue->first = task->next;
        if (!queue->first)
            queue->last = &queue->first;
    }
    return task;
}

static struct task *queue_take_all(struct task_queue *queue)
{
    struct task *first = queue->first;

    queue_init(queue);
    return first;
}

static void queue_free(struct task_queue *queue)
{
    for (struct task *task = queue->first, *next; task; task = next) {
        next = task->next;
        free(task);
    }
    queue_init(queue);
}

static struct task *new_task(void (*work)(void *opaque), void (*done)(void *opaque), void *opaque)
{
    struct task *task = alloc_zeroed(sizeof *task);

    *task = (struct task){NULL, work, done, opaque};
    return task;
}

/* -- Waking -- */

static void interrupt_sleep(void *opaque)
{
    struct loop *loop = opaque;
    uint64_t one = 1;

    if (atomic_exchange(&loop->asleep, false)) {
        ssize_t written = write(loop->wake_fd, &one, sizeof one);
        (void)written; /* it can only fail when a wake is pending already */
    }
}

void loop_wake(struct loop *loop)
{
    atomic_store(&loop->wanted, true);
    interrupt_sleep(loop);
}

void loop_post(struct loop *loop, void (*work)(void *opaque), void *opaque)
{
    pthread_mutex_lock(&loop->lock);
    queue_push(&loop->posted, new_task(NULL, work, opaque));
    pthread_mutex_unlock(&loop->lock);
    loop_wake(loop);
}

/* -- Construction -- */

struct loop *loop_new(struct clock *clock, pthread_mutex_t *board_lock)
{
    struct loop *loop = alloc_zeroed(sizeof *loop);

    loop->clock = clock;
    loop->board_lock = board_lock;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        fprintf(stderr, "doppel: cannot make an eventfd: %s\n", strerror(errno));
        abort();
    }
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->jobs_change, NULL);
    pthread_cond_init(&loop->done_change, NULL);
    pthread_cond_init(&loop->worker_idle, NULL);
    queue_init(&loop->posted);
    queue_init(&loop->jobs);
    queue_init(&loop->finished);
    clock_on_earlier(clock, interrupt_sleep, loop);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    clock_on_earlier(loop->clock, NULL, NULL);
    pthread_mutex_lock(&loop->lock);
    loop->quit = true;
    pthread_cond_broadcast(&loop->jobs_change);
    pthread_mutex_unlock(&loop->lock);
    for (unsigned i = 0; i < loop->workers; i++)
        pthread_join(loop->worker[i], NULL);

    queue_free(&loop->posted);
    queue_free(&loop->jobs);
    queue_free(&loop->finished);
    for (struct watch *watch = loop->watches, *next; watch; watch = next) {
        next = watch->next;
        free(watch);
    }
    free(loop->sources);
    free(loop->polled);
    pthread_cond_destroy(&loop->worker_idle);
    pthread_cond_destroy(&loop->done_change);
    pthread_cond_destroy(&loop->jobs_change);
    pthread_mutex_destroy(&loop->lock);
    close(loop->wake_fd);
    free(loop);
}

/* -- Descriptors -- */

void loop_watch(struct loop *loop, int fd, short events,
                void (*ready)(void *opaque, int fd, short events), void *opaque)
{
    loop_unwatch(loop, fd);

    struct watch *watch = alloc_zeroed(sizeof *watch);
    *watch = (struct watch){loop->watches, fd, events, -1, false, ready, opaque};
    loop->watches = watch;
    interrupt_sleep(loop);
}

void loop_unwatch(struct loop *loop, int fd)
{
    for (struct watch *watch = loop->watches; watch; watch = watch->next) {
        if (watch->fd == fd)
            watch->removed = true; /* freed by the next turn: a handler may be walking the list */
    }
}

static void forget_removed(struct loop *loop)
{
    for (struct watch **link = &loop->watches; *link;) {
        struct watch *watch = *link;
        if (watch->removed) {
            *link = watch->next;
            free(watch);
        } else {
            link = &watch->next;
        }
    }
}

void loop_add_source(struct loop *loop, const struct loop_source *source)
{
    loop->sources = alloc_grown(loop->sources, (loop->source_count + 1) * sizeof *loop->sources);
    loop->sources[loop->source_count++] = *source;
    interrupt_sleep(loop);
}

int loop_poll_add(struct loop *loop, int fd, short events)
{
    if (loop->polled_count == loop->polled_capacity) {
        loop->polled_capacity = loop->polled_capacity ? 2 * loop->polled_capacity : 16;
        loop->polled = alloc_grown(loop->polled, loop->polled_capacity * sizeof *loop->polled);
    }
    loop->polled[loop->polled_count] = (struct pollfd){.fd = fd, .events = events};
    return (int)loop->polled_count++;
}

short loop_poll_result(struct loop *loop, int index)
{
    if (index < 0 || (size_t)index >= loop->polled_count)
        return 0;
    return loop->polled[index].revents;
}

/* -- Jobs -- */

static void *worker_main(void *opaque)
{
    struct loop *loop = opaque;

    pthread_mutex_lock(&loop->lock);
    for (;;) {
        struct task *task = queue_pop(&loop->jobs);
        if (!task && loop->quit)
            break;
        if (!task) {
            pthread_cond_wait(&loop->jobs_change, &loop->lock);
            continue;
        }
        pthread_mutex_unlock(&loop->lock);
        task->work(task->opaque);
        pthread_mutex_lock(&loop->lock);
        queue_push(&loop->finished, task);
        pthread_cond_broadcast(&loop->done_change);
        pthread_mutex_unlock(&loop->lock);
        loop_wake(loop);
        pthread_mutex_lock(&loop->lock);
    }
    pthread_mutex_unlock(&loop->lock);
    return NULL;
}

/* Threads appear with the first job: boards of unit tests have none. */
static void start_workers(struct loop *loop)
{
    while (loop->workers < WORKERS &&
           pthread_create(&loop->worker[loop->workers], NULL, worker_main, loop) == 0)
        loop->workers++;
    if (loop->workers == 0) {
        fprintf(stderr, "doppel: the host gives no thread for disk work\n");
        abort();
    }
}

void loop_work(struct loop *loop, void (*job)(void *opaque), void (*done)(void *opaque),
               void *opaque)
{
    pthread_mutex_lock(&loop->lock);
    if (loop->workers == 0)
        start_workers(loop);
    queue_push(&loop->jobs, new_task(job, done, opaque));
    loop->unfinished++;
    pthread_cond_signal(&loop->jobs_change);
    pthread_mutex_unlock(&loop->lock);
}

/* Board lock held. */
static bool run_one_finished(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct task *task = queue_pop(&loop->finished);
    pthread_mutex_unlock(&loop->lock);
    if (!task)
        return false;

    task->done(task->opaque);
    free(task);
    pthread_mutex_lock(&loop->lock);
    loop->unfinished--;
    pthread_cond_broadcast(&loop->done_change);
    pthread_mutex_unlock(&loop->lock);
    return true;
}

/* Board lock held; true if it was let go and taken again. */
static bool wait_for_jobs(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    if (loop->unfinished == 0) {
        pthread_mutex_unlock(&loop->lock);
        return false;
    }
    /* Another thread may be inside a done and need the board lock: let it go while we wait. */
    pthread_mutex_unlock(loop->board_lock);
    while (loop->unfinished > 0 && !loop->finished.first)
        pthread_cond_wait(&loop->done_change, &loop->lock);
    pthread_mutex_unlock(&loop->lock);
    pthread_mutex_lock(loop->board_lock);
    return true;
}

static bool wait_for_workers(struct loop *loop)
{
    for (struct loop_worker *worker = loop->device_workers; worker; worker = worker->next) {
        if (worker->kicked || worker->running) {
            pthread_cond_wait(&loop->worker_idle, loop->board_lock);
            return true;
        }
    }
    return false;
}

void loop_drain(struct loop *loop)
{
    do
        while (run_one_finished(loop))
            ;
    while (wait_for_jobs(loop) || wait_for_workers(loop));
}

/* -- Workers of devices -- */

static void *device_worker_main(void *opaque)
{
    struct loop_worker *worker = opaque;
    struct loop *loop = worker->loop;

    pthread_mutex_lock(loop->board_lock);
    while (!worker->quit) {
        if (!worker->kicked) {
            pthread_cond_wait(&worker->wake, loop->board_lock);
            continue;
        }
        worker->kicked = false;
        worker->running = true;
        worker->run(worker->opaque);
        worker->running = false;
        pthread_cond_broadcast(&loop->worker_idle);
    }
    pthread_mutex_unlock(loop->board_lock);
    return NULL;
}

struct loop_worker *loop_worker_new(struct loop *loop, void (*run)(void *opaque), void *opaque)
{
    struct loop_worker *worker = alloc_zeroed(sizeof *worker);

    *worker = (struct loop_worker){
        .next = loop->device_workers, .loop = loop, .run = run, .opaque = opaque};
    loop->device_workers = worker;
    pthread_cond_init(&worker->wake, NULL);
    return worker;
}

void loop_worker_free(struct loop_worker *worker)
{
    struct loop *loop = worker->loop;
    struct loop_worker **link = &loop->device_workers;

    worker->quit = true;
    pthread_cond_signal(&worker->wake);
    if (worker->started) {
        pthread_mutex_unlock(loop->board_lock);
        pthread_join(worker->thread, NULL);
        pthread_mutex_lock(loop->board_lock);
    }
    while (*link != worker)
        link = &(*link)->next;
    *link = worker->next;
    pthread_cond_destroy(&worker->wake);
    free(worker);
}

void loop_worker_kick(struct loop_worker *worker)
{
    worker->kicked = true;
    if (!worker->started) { /* boards of unit tests have no such threads */
        if (pthread_create(&worker->thread, NULL, device_worker_main, worker) != 0) {
            fprintf(stderr, "doppel: the host gives no thread for a device\n");
            abort();
        }
        worker->started = true;
    } else if (!worker->running) {
        pthread_cond_signal(&worker->wake);
    }
}

void loop_worker_wait(struct loop_worker *worker)
{
    while (worker->running)
        pthread_cond_wait(&worker->loop->worker_idle, worker->loop->board_lock);
}

void loop_unlock(struct loop *loop)
{
    pthread_mutex_unlock(loop->board_lock);
}

void loop_lock(struct loop *loop)
{
    pthread_mutex_lock(loop->board_lock);
}

/* -- A turn -- */

static uint64_t timer_wait(const struct loop *loop)
{
    uint64_t deadline = clock_next_deadline(loop->clock);

    if (deadline == TIMER_NEVER)
        return UINT64_MAX;
    uint64_t now = clock_now(loop->clock);
    if (deadline <= now)
        return 0;
    return clock_running(loop->clock) ? deadline - now : UINT64_MAX;
}

/* How long the turn may sleep, with the poll set filled. */
static uint64_t prepare_turn(struct loop *loop, uint64_t max_ns)
{
    forget_removed(loop);
    loop->polled_count = 0;
    loop_poll_add(loop, loop->wake_fd, POLLIN);
    for (struct watch *watch = loop->watches; watch; watch = watch->next)
        watch->index = loop_poll_add(loop, watch->fd, watch->events);

    uint64_t timeout_ns = max_ns;
    for (size_t i = 0; i < loop->source_count; i++)
        loop->sources[i].prepare(loop->sources[i].opaque, loop, &timeout_ns);
    uint64_t until_timer = timer_wait(loop);
    return until_timer < timeout_ns ? until_timer : timeout_ns;
}

static void sleep_on_polled(struct loop *loop, uint64_t timeout_ns)
{
    struct timespec timeout = {
        .tv_sec = (time_t)(timeout_ns / NS_PER_SECOND),
        .tv_nsec = (long)(timeout_ns % NS_PER_SECOND),
    };

    if (ppoll(loop->polled, loop->polled_count, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL) <
        0) {
        /* Interrupted by a signal: nothing is ready. */
        for (size_t i = 0; i < loop->polled_count; i++)
            loop->polled[i].revents = 0;
    }
}

static void dispatch_ready(struct loop *loop)
{
    if (loop->polled[0].revents) {
        uint64_t count;
        ssize_t got = read(loop->wake_fd, &count, sizeof count);
        (void)got;
    }
    for (struct watch *watch = loop->watches; watch; watch = watch->next) {
        short events = loop_poll_result(loop, watch->index);
        if (events && !watch->removed)
            watch->ready(watch->opaque, watch->fd, events);
    }
    for (size_t i = 0; i < loop->source_count; i++)
        loop->sources[i].dispatch(loop->sources[i].opaque, loop);
}

static void run_posted(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct task *task = queue_take_all(&loop->posted);
    pthread_mutex_unlock(&loop->lock);

    /* Work posted meanwhile waits for the next turn. */
    for (struct task *next; task; task = next) {
        next = task->next;
        task->done(task->opaque);
        free(task);
    }
}

/* Host timers are 50 us late by default, to save power; guests count on better. */
static void tune_thread(struct loop *loop)
{
    if (!loop->tuned)
        prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
    loop->tuned = true;
}

void loop_turn(struct loop *loop, uint64_t max_ns)
{
    tune_thread(loop);
    pthread_mutex_lock(loop->board_lock);
    uint64_t timeout_ns = prepare_turn(loop, max_ns);
    atomic_store(&loop->asleep, true);
    if (atomic_exchange(&loop->wanted, false))
        timeout_ns = 0;
    pthread_mutex_unlock(loop->board_lock);

    sleep_on_polled(loop, timeout_ns);

    pthread_mutex_lock(loop->board_lock);
    atomic_store(&loop->asleep, false);
    dispatch_ready(loop);
    while (run_one_finished(loop))
        ;
    run_posted(loop);
    clock_fire_due(loop->clock);
    pthread_mutex_unlock(loop->board_lock);
}
