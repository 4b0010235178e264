/*
 * Virtual clock: time stands and flows, timers fire in order, once, and never hold the loop.
 */
#include "hw/clock.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct clock *the_clock;
static char order[64];

static void setup(void)
{
    the_clock = clock_new();
    order[0] = '\0';
}

static void teardown(void)
{
    clock_free(the_clock);
}

struct named {
    struct timer timer;
    char name;
    uint64_t period;
    int fired;
    uint64_t seen_deadline;
};

static void note(void *opaque)
{
    struct named *named = opaque;
    size_t length = strlen(order);

    if (length + 1 < sizeof order) {
        order[length] = named->name;
        order[length + 1] = '\0';
    }
    named->fired++;
    named->seen_deadline = named->timer.deadline_ns;
    if (named->period)
        timer_set(&named->timer, named->timer.deadline_ns + named->period);
}

static void init(struct named *named, char name)
{
    *named = (struct named){.name = name};
    timer_init(&named->timer, the_clock, note, named);
}

START_TEST(time_stands_until_it_runs)
{
    ck_assert_uint_eq(clock_now(the_clock), 0);
    clock_set(the_clock, 5000);
    ck_assert_uint_eq(clock_now(the_clock), 5000);
    clock_run(the_clock, true);
    ck_assert(clock_running(the_clock));
    uint64_t first = clock_now(the_clock);
    ck_assert_uint_ge(first, 5000);
    nanosleep(&(struct timespec){0, 2000000}, NULL);
    uint64_t second = clock_now(the_clock);
    ck_assert_uint_ge(second, first + 2000000);
    clock_run(the_clock, false);
    uint64_t stopped = clock_now(the_clock);
    ck_assert_uint_ge(stopped, second);
    nanosleep(&(struct timespec){0, 1000000}, NULL);
    ck_assert_uint_eq(clock_now(the_clock), stopped);
    /* The pause does not count. */
    clock_run(the_clock, true);
    ck_assert_uint_lt(clock_now(the_clock) - stopped, NS_PER_SECOND);
}
END_TEST

START_TEST(wall_time_follows_virtual_time)
{
    int64_t now = (int64_t)time(NULL);

    ck_assert_int_le(llabs(clock_wall_seconds(the_clock) - now), 2);
    clock_set(the_clock, 100 * NS_PER_SECOND);
    ck_assert_int_le(llabs(clock_wall_seconds(the_clock) - now - 100), 2);
    /* Starting catches up with the host. */
    clock_run(the_clock, true);
    ck_assert_int_le(llabs(clock_wall_seconds(the_clock) - now), 2);
}
END_TEST

START_TEST(timers_fire_in_order_of_deadline_then_setting)
{
    struct named timer[5];

    for (int i = 0; i < 5; i++)
        init(&timer[i], (char)('a' + i));
    timer_set(&timer[0].timer, 300);
    timer_set(&timer[1].timer, 100);
    timer_set(&timer[2].timer, 200);
    timer_set(&timer[3].timer, 100);
    timer_set(&timer[4].timer, 400);
    ck_assert_uint_eq(clock_next_deadline(the_clock), 100);
    clock_set(the_clock, 300);
    clock_fire_due(the_clock);
    ck_assert_str_eq(order, "bdca");
    ck_assert(timer_pending(&timer[4].timer));
    ck_assert(!timer_pending(&timer[0].timer));
    ck_assert_uint_eq(timer[0].seen_deadline, 300);
    ck_assert_uint_eq(timer[0].timer.deadline_ns, TIMER_NEVER);
    ck_assert_uint_eq(clock_next_deadline(the_clock), 400);
    timer_cancel(&timer[4].timer);
    timer_cancel(&timer[4].timer);
    ck_assert_uint_eq(clock_next_deadline(the_clock), TIMER_NEVER);
}
END_TEST

START_TEST(setting_again_replaces)
{
    struct named timer;

    init(&timer, 'x');
    timer_set(&timer.timer, 100);
    timer_set(&timer.timer, 50);
    timer_set(&timer.timer, 70);
    clock_set(the_clock, 1000);
    clock_fire_due(the_clock);
    ck_assert_int_eq(timer.fired, 1);
    timer_set(&timer.timer, TIMER_NEVER);
    ck_assert(!timer_pending(&timer.timer));
    timer.timer.deadline_ns = 2000; /* as loaded from a saved state */
    timer_rearm(&timer.timer);
    ck_assert_uint_eq(clock_next_deadline(the_clock), 2000);
}
END_TEST

/* A timer that re-arms itself far behind the present fires once a turn, and others still fire. */
START_TEST(late_periodic_timer_cannot_hold_the_loop)
{
    struct named hog, other;

    init(&hog, 'h');
    init(&other, 'o');
    hog.period = 1;
    timer_set(&hog.timer, 1);
    timer_set(&other.timer, 500);
    clock_set(the_clock, 1000000);
    clock_fire_due(the_clock);
    ck_assert_str_eq(order, "ho");
    clock_set(the_clock, 1000001);
    clock_fire_due(the_clock);
    ck_assert_int_eq(hog.fired, 2);
    timer_cancel(&hog.timer);
}
END_TEST

static struct named *victim;

static void cancel_victim(void *opaque)
{
    timer_cancel(&victim->timer);
}

START_TEST(a_timer_may_cancel_another_that_is_due)
{
    struct named other;
    struct timer killer;

    init(&other, 'v');
    victim = &other;
    timer_init(&killer, the_clock, cancel_victim, NULL);
    timer_set(&killer, 10);
    timer_set(&other.timer, 11);
    clock_set(the_clock, 20);
    clock_fire_due(the_clock);
    ck_assert_int_eq(other.fired, 0);
}
END_TEST

/* The heap against a plain scan, under random setting and cancelling. */
START_TEST(heap_agrees_with_a_scan)
{
    enum { TIMERS = 200 };
    static struct named timer[TIMERS];

    srand(1);
    for (int i = 0; i < TIMERS; i++)
        init(&timer[i], '.');
    for (int step = 0; step < 20000; step++) {
        struct named *one = &timer[rand() % TIMERS];
        if (rand() % 3 == 0)
            timer_cancel(&one->timer);
        else
            timer_set(&one->timer, (uint64_t)(rand() % 10000) + 1);
        uint64_t earliest = TIMER_NEVER;
        for (int i = 0; i < TIMERS; i++) {
            if (timer[i].timer.deadline_ns < earliest)
                earliest = timer[i].timer.deadline_ns;
            ck_assert(timer_pending(&timer[i].timer) ==
                      (timer[i].timer.deadline_ns != TIMER_NEVER));
        }
        ck_assert_uint_eq(clock_next_deadline(the_clock), earliest);
    }
    clock_set(the_clock, 5000);
    clock_fire_due(the_clock);
    for (int i = 0; i < TIMERS; i++)
        ck_assert(timer[i].timer.deadline_ns > 5000);
}
END_TEST

static int wakes;

static void count_wake(void *opaque)
{
    wakes++;
}

START_TEST(hook_is_called_for_earlier_deadlines)
{
    struct named early, late;

    wakes = 0;
    init(&early, 'e');
    init(&late, 'l');
    clock_on_earlier(the_clock, count_wake, NULL);
    timer_set(&early.timer, 100);
    ck_assert_int_eq(wakes, 1);
    timer_set(&late.timer, 200);
    ck_assert_int_eq(wakes, 1);
    timer_set(&late.timer, 50);
    ck_assert_int_eq(wakes, 2);
    clock_run(the_clock, true);
    ck_assert_int_eq(wakes, 3);
}
END_TEST

static _Atomic bool stop_reading;

static void *reader(void *opaque)
{
    uint64_t last = 0;
    uintptr_t backwards = 0;

    while (!atomic_load(&stop_reading)) {
        uint64_t now = clock_now(the_clock);
        backwards += now < last;
        last = now;
    }
    return (void *)backwards;
}

START_TEST(never_runs_backwards_for_other_threads)
{
    pthread_t thread;
    void *backwards;

    pthread_create(&thread, NULL, reader, NULL);
    for (int i = 0; i < 20000; i++)
        clock_run(the_clock, i % 2 == 0);
    atomic_store(&stop_reading, true);
    pthread_join(thread, &backwards);
    ck_assert_ptr_null(backwards);
}
END_TEST

START_TEST(scaling_does_not_overflow)
{
    ck_assert_uint_eq(clock_scale(UINT64_MAX, 1000, 1000), UINT64_MAX);
    ck_assert_uint_eq(clock_scale(NS_PER_SECOND * 86400 * 365, 3579545, NS_PER_SECOND),
                      3579545ull * 86400 * 365);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock");
    TCase *tcase = tcase_create("clock");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, time_stands_until_it_runs);
    tcase_add_test(tcase, wall_time_follows_virtual_time);
    tcase_add_test(tcase, timers_fire_in_order_of_deadline_then_setting);
    tcase_add_test(tcase, setting_again_replaces);
    tcase_add_test(tcase, late_periodic_timer_cannot_hold_the_loop);
    tcase_add_test(tcase, a_timer_may_cancel_another_that_is_due);
    tcase_add_test(tcase, heap_agrees_with_a_scan);
    tcase_add_test(tcase, hook_is_called_for_earlier_deadlines);
    tcase_add_test(tcase, never_runs_backwards_for_other_threads);
    tcase_add_test(tcase, scaling_does_not_overflow);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
