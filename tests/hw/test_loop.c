/*
 * Event loop: it sleeps as long as it may, wakes when it must, and never runs a handler unlocked.
 */
#include "hw/loop.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LONG_NS (20 * NS_PER_SECOND)

static struct clock *the_clock;
static struct loop *loop;
static pthread_mutex_t board_lock;

static void setup(void)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&board_lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    the_clock = clock_new();
    clock_run(the_clock, true);
    loop = loop_new(the_clock, &board_lock);
}

static void teardown(void)
{
    loop_free(loop);
    clock_free(the_clock);
    pthread_mutex_destroy(&board_lock);
}

static void assert_locked(void)
{
    ck_assert_int_eq(pthread_mutex_trylock(&board_lock), EBUSY);
}

static int calls;

static void count_call(void *opaque)
{
    assert_locked();
    calls++;
}

static void post_again(void *opaque)
{
    count_call(opaque);
    loop_post(loop, count_call, NULL);
}

START_TEST(posted_work_runs_at_the_next_turn)
{
    calls = 0;
    loop_post(loop, count_call, NULL);
    loop_post(loop, post_again, NULL);
    loop_turn(loop, LONG_NS);
    ck_assert_int_eq(calls, 2);
    loop_turn(loop, LONG_NS);
    ck_assert_int_eq(calls, 3);
}
END_TEST

START_TEST(a_turn_ends_at_its_limit)
{
    uint64_t before = clock_now(the_clock);

    loop_turn(loop, 3000000);
    ck_assert_uint_ge(clock_now(the_clock) - before, 3000000);
    loop_turn(loop, 0);
}
END_TEST

static void fired(void *opaque)
{
    assert_locked();
    calls++;
}

START_TEST(timers_end_the_sleep)
{
    struct timer timer;

    calls = 0;
    timer_init(&timer, the_clock, fired, NULL);
    pthread_mutex_lock(&board_lock);
    timer_set(&timer, clock_now(the_clock) + 2000000);
    pthread_mutex_unlock(&board_lock);
    uint64_t before = clock_now(the_clock);
    while (calls == 0)
        loop_turn(loop, LONG_NS);
    ck_assert_uint_lt(clock_now(the_clock) - before, LONG_NS / 2);
}
END_TEST

START_TEST(a_stopped_clock_fires_nothing)
{
    struct timer timer;

    calls = 0;
    clock_run(the_clock, false);
    timer_init(&timer, the_clock, fired, NULL);
    timer_set(&timer, clock_now(the_clock) + 1000000);
    loop_turn(loop, 5000000);
    ck_assert_int_eq(calls, 0);
    timer_cancel(&timer);
}
END_TEST

/* -- Waking from other threads -- */

static struct timer remote_timer;

static void *set_timer_later(void *opaque)
{
    nanosleep(&(struct timespec){0, 5000000}, NULL);
    pthread_mutex_lock(&board_lock);
    timer_set(&remote_timer, clock_now(the_clock));
    pthread_mutex_unlock(&board_lock);
    return NULL;
}

START_TEST(an_earlier_timer_wakes_a_sleeping_loop)
{
    pthread_t thread;
    uint64_t before = clock_now(the_clock);

    calls = 0;
    timer_init(&remote_timer, the_clock, fired, NULL);
    pthread_create(&thread, NULL, set_timer_later, NULL);
    while (calls == 0)
        loop_turn(loop, LONG_NS);
    pthread_join(thread, NULL);
    ck_assert_uint_lt(clock_now(the_clock) - before, LONG_NS / 2);
}
END_TEST

static _Atomic bool flag;

static void *raise_flag(void *opaque)
{
    for (int i = 0; i < 500; i++) {
        while (atomic_load(&flag))
            sched_yield();
        atomic_store(&flag, true);
        loop_wake(loop);
    }
    return NULL;
}

/* A wake between the caller's look at its condition and the sleep must not be lost. */
START_TEST(no_wake_is_lost)
{
    pthread_t thread;
    uint64_t before = clock_now(the_clock);

    atomic_store(&flag, false);
    pthread_create(&thread, NULL, raise_flag, NULL);
    for (int seen = 0; seen < 500;) {
        if (atomic_load(&flag)) {
            seen++;
            atomic_store(&flag, false);
        } else {
            loop_turn(loop, LONG_NS);
        }
    }
    pthread_join(thread, NULL);
    ck_assert_uint_lt(clock_now(the_clock) - before, LONG_NS / 2);
}
END_TEST

START_TEST(a_wake_before_the_turn_counts)
{
    uint64_t before = clock_now(the_clock);

    loop_wake(loop);
    loop_turn(loop, LONG_NS);
    ck_assert_uint_lt(clock_now(the_clock) - before, LONG_NS / 2);
    /* Once. */
    before = clock_now(the_clock);
    loop_turn(loop, 2000000);
    ck_assert_uint_ge(clock_now(the_clock) - before, 2000000);
}
END_TEST

/* -- Descriptors -- */

static short last_events;

static void pipe_ready(void *opaque, int fd, short events)
{
    char byte;

    assert_locked();
    calls++;
    last_events = events;
    if (events & POLLIN)
        ck_assert_int_eq(read(fd, &byte, 1), 1);
    if (opaque)
        loop_unwatch(loop, *(int *)opaque);
}

START_TEST(descriptors_are_watched_and_forgotten)
{
    int pair[2];

    calls = 0;
    ck_assert_int_eq(pipe(pair), 0);
    loop_watch(loop, pair[0], POLLIN, pipe_ready, NULL);
    loop_turn(loop, 0);
    ck_assert_int_eq(calls, 0);
    ck_assert_int_eq(write(pair[1], "ab", 2), 2);
    loop_turn(loop, LONG_NS);
    ck_assert_int_eq(calls, 1);
    ck_assert_int_eq(last_events, POLLIN);
    loop_unwatch(loop, pair[0]);
    loop_turn(loop, 0);
    ck_assert_int_eq(calls, 1);
    /* Watching again after unwatching, and replacing. */
    loop_watch(loop, pair[0], POLLIN, pipe_ready, NULL);
    loop_watch(loop, pair[0], POLLIN, pipe_ready, NULL);
    loop_turn(loop, LONG_NS);
    ck_assert_int_eq(calls, 2);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

START_TEST(a_handler_may_unwatch_the_others)
{
    int first[2], second[2];

    calls = 0;
    ck_assert_int_eq(pipe(first), 0);
    ck_assert_int_eq(pipe(second), 0);
    loop_watch(loop, first[0], POLLIN, pipe_ready, &second[0]);
    loop_watch(loop, second[0], POLLIN, pipe_ready, &first[0]);
    ck_assert_int_eq(write(first[1], "x", 1), 1);
    ck_assert_int_eq(write(second[1], "x", 1), 1);
    loop_turn(loop, LONG_NS);
    ck_assert_int_eq(calls, 1);
    for (int i = 0; i < 2; i++) {
        close(first[i]);
        close(second[i]);
    }
}
END_TEST

struct source_test {
    int fd, index, dispatched;
    short result;
};

static void source_prepare(void *opaque, struct loop *the_loop, uint64_t *timeout_ns)
{
    struct source_test *test = opaque;

    test->index = loop_poll_add(the_loop, test->fd, POLLIN);
    if (*timeout_ns > 1000000)
        *timeout_ns = 1000000;
}

static void source_dispatch(void *opaque, struct loop *the_loop)
{
    struct source_test *test = opaque;

    assert_locked();
    test->dispatched++;
    test->result = loop_poll_result(the_loop, test->index);
}

START_TEST(sources_add_their_own)
{
    int pair[2];

    ck_assert_int_eq(pipe(pair), 0);
    struct source_test test = {.fd = pair[0]};
    loop_add_source(loop, &(struct loop_source){source_prepare, source_dispatch, &test});
    loop_turn(loop, LONG_NS); /* shortened by the source */
    ck_assert_int_ge(test.dispatched, 1);
    ck_assert_int_eq(test.result, 0);
    ck_assert_int_eq(write(pair[1], "x", 1), 1);
    loop_turn(loop, LONG_NS);
    ck_assert_int_eq(test.result, POLLIN);
    ck_assert_int_eq(loop_poll_result(loop, 99), 0);
    ck_assert_int_eq(loop_poll_result(loop, -1), 0);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* -- Jobs -- */

struct job {
    _Atomic int worked;
    int done;
    bool again;
    pthread_t worker;
};

static void job_work(void *opaque)
{
    struct job *job = opaque;

    nanosleep(&(struct timespec){0, 1000000}, NULL);
    job->worker = pthread_self();
    atomic_fetch_add(&job->worked, 1);
}

static void job_done(void *opaque)
{
    struct job *job = opaque;

    assert_locked();
    ck_assert_int_eq(atomic_load(&job->worked), job->done + 1);
    job->done++;
    if (job->again) {
        job->again = false;
        loop_work(loop, job_work, job_done, job);
    }
}

START_TEST(jobs_run_elsewhere_and_finish_here)
{
    struct job job = {0};

    loop_work(loop, job_work, job_done, &job);
    while (!job.done)
        loop_turn(loop, LONG_NS);
    ck_assert(!pthread_equal(job.worker, pthread_self()));
}
END_TEST

START_TEST(drain_waits_for_chains)
{
    struct job job[10] = {0};

    pthread_mutex_lock(&board_lock);
    for (int i = 0; i < 10; i++) {
        job[i].again = i % 2;
        loop_work(loop, job_work, job_done, &job[i]);
    }
    loop_drain(loop);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(job[i].done, 1 + i % 2);
    loop_drain(loop);
    pthread_mutex_unlock(&board_lock);
}
END_TEST

static _Atomic bool stop_turning;

static void *turn_until_stopped(void *opaque)
{
    while (!atomic_load(&stop_turning))
        loop_turn(loop, 1000000);
    return NULL;
}

/* A CPU thread drains while the loop thread takes turns. */
START_TEST(drain_beside_a_running_loop)
{
    pthread_t thread;
    struct job job[50] = {0};

    atomic_store(&stop_turning, false);
    pthread_create(&thread, NULL, turn_until_stopped, NULL);
    pthread_mutex_lock(&board_lock);
    for (int i = 0; i < 50; i++)
        loop_work(loop, job_work, job_done, &job[i]);
    loop_drain(loop);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(job[i].done, 1);
    pthread_mutex_unlock(&board_lock);
    atomic_store(&stop_turning, true);
    loop_wake(loop);
    pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tcase = tcase_create("loop");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, posted_work_runs_at_the_next_turn);
    tcase_add_test(tcase, a_turn_ends_at_its_limit);
    tcase_add_test(tcase, timers_end_the_sleep);
    tcase_add_test(tcase, a_stopped_clock_fires_nothing);
    tcase_add_test(tcase, an_earlier_timer_wakes_a_sleeping_loop);
    tcase_add_test(tcase, no_wake_is_lost);
    tcase_add_test(tcase, a_wake_before_the_turn_counts);
    tcase_add_test(tcase, descriptors_are_watched_and_forgotten);
    tcase_add_test(tcase, a_handler_may_unwatch_the_others);
    tcase_add_test(tcase, sources_add_their_own);
    tcase_add_test(tcase, jobs_run_elsewhere_and_finish_here);
    tcase_add_test(tcase, drain_waits_for_chains);
    tcase_add_test(tcase, drain_beside_a_running_loop);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
