/*
 * What the benchmark programs share. Each program does a fixed amount of work, given as a
 * percentage in its first argument, and prints one line: its name, a checksum of the results (the
 * same on every system) and the seconds that the work took by CLOCK_MONOTONIC.
 */
#ifndef BENCH_PROGRAMS_BENCH_H
#define BENCH_PROGRAMS_BENCH_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

/* Marks the end of the preparation for those who measure from outside; returns the time. */
static inline double bench_start(void)
{
    printf("start\n");
    fflush(stdout);
    return bench_now();
}

/* `seconds`: the time since bench_start(). */
static inline void bench_report(const char *name, uint64_t checksum, double seconds)
{
    printf("%s %016" PRIx64 " %.6f\n", name, checksum, seconds);
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
