/*
 * Runs one system under test as a child process and hands out what it prints, line by line, with
 * the host's clocks beside it.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RUN_LAST 16 /* lines that are kept for run_show() */

struct run {
    pid_t pid;
    int in, out, errors;
    unsigned lines;
    char last[RUN_LAST][160];
    clockid_t cpu_clock;
    size_t length;
    char buffer[4096];
    double start; /* of the process, by host_now() */
    double cpu;   /* CPU seconds of the process and its children, valid after run_end() */
};

/* Seconds of the host's monotonic clock. */
double host_now(void);

/* Starts argv (NULL-terminated); `pinned` keeps it on one processor. Its standard error is kept
 * for run_show(), or shown if BENCH_VERBOSE is set. False with a message on stderr. */
bool run_start(struct run *run, char *const argv[], bool pinned);

/* Waits up to `seconds` for a line; without its end, at most size - 1 characters. False if the
 * output ended or nothing came in time. */
bool run_line(struct run *run, char *line, size_t size, double seconds);

/* Prints the last lines and what the process wrote to its standard error, for failures. */
void run_show(const struct run *run);

/* Host CPU seconds that the process has used so far. */
double run_cpu(const struct run *run);

/* Waits up to `seconds` for the process to end, then ends it. Returns its exit status, or 128 plus
 * the signal. */
int run_end(struct run *run, double seconds);

#endif
