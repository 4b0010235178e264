#include "tests/bench/run.h"

#include <poll.h>
#include <sched.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(struct timespec time)
{
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

double host_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return seconds_of(time);
}

static void become(char *const argv[], const int in[2], const int out[2], int errors, bool pinned)
{
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    if (!getenv("BENCH_VERBOSE"))
        dup2(errors, STDERR_FILENO);
    if (pinned) {
        cpu_set_t allowed, one;
        CPU_ZERO(&one);
        if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
            for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
                if (CPU_ISSET(cpu, &allowed)) {
                    CPU_SET(cpu, &one);
                    sched_setaffinity(0, sizeof one, &one);
                    break;
                }
    }
    execvp(argv[0], argv);
    perror(argv[0]);
    _exit(127);
}

bool run_start(struct run *run, char *const argv[], bool pinned)
{
    int in[2], out[2];
    *run = (struct run){.start = host_now()};
    run->errors = memfd_create("errors", MFD_CLOEXEC);
    if (run->errors < 0 || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ||
        (run->pid = fork()) < 0) {
        perror("bench");
        return false;
    }
    if (run->pid == 0)
        become(argv, in, out, run->errors, pinned);
    close(in[0]);
    close(out[1]);
    run->in = in[1];
    run->out = out[0];
    if (clock_getcpuclockid(run->pid, &run->cpu_clock) != 0)
        run->cpu_clock = CLOCK_MONOTONIC;
    return true;
}

/* Takes the first line out of the buffer. */
static bool take_line(struct run *run, char *line, size_t size)
{
    char *end = memchr(run->buffer, '\n', run->length);
    if (!end && run->length < sizeof run->buffer)
        return false;
    size_t length = end ? (size_t)(end - run->buffer) : run->length;
    size_t taken = end ? length + 1 : length;
    size_t copied = 0;
    for (size_t i = 0; i < length && copied < size - 1; i++)
        if (run->buffer[i] != '\r' && run->buffer[i] != 0)
            line[copied++] = run->buffer[i];
    line[copied] = 0;
    run->length -= taken;
    memmove(run->buffer, run->buffer + taken, run->length);
    return true;
}

bool run_line(struct run *run, char *line, size_t size, double seconds)
{
    double end = host_now() + seconds;
    while (!take_line(run, line, size)) {
        struct pollfd ready = {run->out, POLLIN, 0};
        double left = end - host_now();
        if (left <= 0 || poll(&ready, 1, (int)(left * 1000) + 1) <= 0)
            return false;
        ssize_t got = read(run->out, run->buffer + run->length, sizeof run->buffer - run->length);
        if (got <= 0)
            return false;
        run->length += (size_t)got;
    }
    if (getenv("BENCH_VERBOSE"))
        fprintf(stderr, "| %s\n", line);
    snprintf(run->last[run->lines++ % RUN_LAST], sizeof run->last[0], "%s", line);
    return true;
}

void run_show(const struct run *run)
{
    char text[16384];
    unsigned first = run->lines > RUN_LAST ? run->lines - RUN_LAST : 0;
    if (getenv("BENCH_VERBOSE"))
        return; /* seen already */
    fprintf(stderr, "Its last lines, and its messages:\n");
    for (unsigned i = first; i < run->lines; i++)
        fprintf(stderr, "  | %s\n", run->last[i % RUN_LAST]);
    if (run->length)
        fprintf(stderr, "  | %.*s\n", (int)run->length, run->buffer);
    ssize_t got = pread(run->errors, text, sizeof text, 0);
    if (got > 0)
        fprintf(stderr, "%.*s\n", (int)got, text);
}

double run_cpu(const struct run *run)
{
    struct timespec time;
    if (run->cpu_clock == CLOCK_MONOTONIC || clock_gettime(run->cpu_clock, &time) < 0)
        return 0;
    return seconds_of(time);
}

int run_end(struct run *run, double seconds)
{
    int status = 0;
    struct rusage usage;
    pid_t ended = 0;
    close(run->out);
    for (double end = host_now() + seconds; ended == 0;) {
        ended = wait4(run->pid, &status, WNOHANG, &usage);
        if (ended == 0 && host_now() > end) {
            kill(run->pid, end + 3 < host_now() ? SIGKILL : SIGTERM);
            usleep(50000);
        }
        if (ended == 0)
            usleep(2000);
    }
    close(run->in);
    close(run->errors);
    if (ended == run->pid)
        run->cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
