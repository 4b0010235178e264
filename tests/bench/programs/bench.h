/*
 * What the benchmark programs share. Each program does a fixed amount of work, given as a
 * percentage in its first argument, and prints one line: its name, a checksum of the results (the
 * same on every system), the seconds that the work took by CLOCK_MONOTONIC, and the CPU seconds of
 * the program and the children that it waited for.
 */
#ifndef BENCH_PROGRAMS_BENCH_H
#define BENCH_PROGRAMS_BENCH_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static inline double bench_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* `base` rounds of work at 100 %. */
static inline uint64_t bench_rounds(int argc, char **argv, uint64_t base)
{
    uint64_t percent = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    uint64_t rounds = base * percent / 100;
    return rounds ? rounds : 1;
}

static inline double bench_cpu(void)
{
    double seconds = 0;
    for (int i = 0; i < 2; i++) {
        struct rusage usage;
        getrusage(i ? RUSAGE_CHILDREN : RUSAGE_SELF, &usage);
        seconds += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    }
    return seconds;
}

struct bench_time {
    double now, cpu;
};

/* Marks the end of the preparation, also for those who measure from outside. */
static inline struct bench_time bench_start(void)
{
    printf("start\n");
    fflush(stdout);
    return (struct bench_time){bench_now(), bench_cpu()};
}

static inline void bench_report(const char *name, uint64_t checksum, struct bench_time start)
{
    double now = bench_now();
    printf("%s %016" PRIx64 " %.6f %.6f\n", name, checksum, now - start.now,
           bench_cpu() - start.cpu);
    fflush(stdout);
}

/* xorshift64: the same numbers everywhere. *state must not be 0. */
static inline uint64_t bench_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Adds a value to a checksum in which the order counts. */
static inline uint64_t bench_mix(uint64_t checksum, uint64_t value)
{
    checksum = (checksum ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return checksum ^ (checksum >> 29);
}

#endif
