/*
 * Sound between two clocks that differ, come in bursts and stop now and then: nothing is cut.
 */
#include "tests/hw/suite.h"
#include "ui/pace.h"

#include <stdlib.h>
#include <string.h>

#define PULL 1024 /* frames that the device takes at once */

static int16_t queue[1 << 20];
static size_t head, tail; /* frames */
static struct pace pace;
static unsigned gaps;

static void setup(void)
{
    head = tail = gaps = 0;
    memset(&pace, 0, sizeof pace);
}

static void teardown(void)
{
}

/* A wave whose neighbours differ little: a gap or a jump shows. */
static int16_t wave(size_t at)
{
    int phase = (int)(at % 400);
    return (int16_t)(1000 + 20 * (phase < 200 ? phase : 400 - phase));
}

static void push(size_t first, size_t count)
{
    int16_t frames[2 * PACE_PIECE], out[2 * PACE_OUT];
    for (size_t i = 0; i < count; i++)
        frames[2 * i] = frames[2 * i + 1] = wave(first + i);
    size_t made = pace_frames(&pace, tail - head, frames, count, out);
    for (size_t i = 0; i < made; i++, tail++)
        queue[tail % (sizeof queue / sizeof *queue)] = out[2 * i];
}

static void pull(bool sounding)
{
    static int16_t last;
    for (int i = 0; i < PULL; i++) {
        int16_t now = head < tail ? queue[head % (sizeof queue / sizeof *queue)] : 0;
        bool starts = last == 0 && now > 0;
        gaps += sounding && (head >= tail || (!starts && abs(now - last) > 50));
        head += head < tail;
        last = now;
    }
}

/* `millionths`: how much faster the machine's clock goes. Late by up to `late_ms`. */
static void run(int millionths, unsigned late_ms, unsigned seconds)
{
    uint32_t seed = 1;
    double now_ms = 0, pull_ms = 0, busy_until = 0;
    size_t given = 0, smallest = SIZE_MAX, largest = 0;
    setup();
    for (; now_ms < seconds * 1000.0; now_ms += 1) {
        seed = seed * 1664525 + 1013904223;
        if (late_ms && seed >> 16 & 1 && now_ms > busy_until)
            busy_until = now_ms + (seed >> 20) % late_ms;
        size_t due = (size_t)(now_ms * 48 * (1 + millionths / 1e6));
        while (now_ms >= busy_until && given < due) {
            size_t count = due - given < PACE_PIECE ? due - given : PACE_PIECE;
            push(given, count);
            given += count;
        }
        for (; pull_ms <= now_ms && tail; pull_ms += PULL / 48.0)
            pull(now_ms > 100);
        if (now_ms > 5000 && tail - head < smallest)
            smallest = tail - head;
        if (now_ms > 5000 && tail - head > largest)
            largest = tail - head;
    }
    ck_assert_uint_eq(gaps, 0);
    ck_assert_uint_gt(smallest, 0);
    ck_assert_uint_lt(largest, 2 * PACE_TARGET + PULL);
}

START_TEST(clocks_that_differ)
{
    static const int millionths[] = {0, 50, -50, 500, -500, 2000, -2000};
    for (size_t i = 0; i < sizeof millionths / sizeof *millionths; i++)
        run(millionths[i], 0, 60);
}
END_TEST

START_TEST(late_by_bursts)
{
    run(0, 30, 60);
    run(200, 30, 60);
    run(-200, 30, 60);
}
END_TEST

/* A short sound is heard whole, some time after it was made; a queue that is too long takes no
 * more. */
START_TEST(short_sounds_and_full_queues)
{
    push(0, 100);
    ck_assert_uint_ge(tail, PACE_TARGET + 99);
    ck_assert_int_eq(queue[0], 0);
    ck_assert_int_eq(queue[tail - 1], wave(98)); /* joined by lines: one frame later */
    for (int i = 0; i < 100; i++)
        push((size_t)i * PACE_PIECE, PACE_PIECE);
    ck_assert_uint_lt(tail, PACE_MAX + 2 * PACE_PIECE);
    head = tail;
    size_t before = tail;
    push(0, 1);
    ck_assert_uint_ge(tail - before, PACE_TARGET);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {clocks_that_differ, late_by_bursts, short_sounds_and_full_queues};
    return suite_main("pace", setup, teardown, tests, sizeof tests / sizeof *tests);
}
