/*
 * Runs the micro benchmark guest (micro/) under QEMU's TCG and doppel, and its unprivileged part
 * natively, and prints host cycles per operation side by side.
 *
 *   micro BUILD
 *
 * From the environment: SYSTEMS ("native qemu doppel"), DOPPEL_OPTIONS, QEMU_OPTIONS,
 * BENCH_VERBOSE. Exit status 1 when a system that is there does not come to the end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include "tests/bench/run.h"

#define MAX_RESULTS   64
#define SILENCE_LIMIT 60.0

enum system { NATIVE, QEMU, DOPPEL, SYSTEMS };
static const char *const system_names[SYSTEMS] = {"native", "qemu", "doppel"};

struct results {
    size_t count;
    char name[MAX_RESULTS][40];
    double cycles[MAX_RESULTS][SYSTEMS]; /* 0: not measured */
};

/* Thousands of host cycles a second; without a time stamp counter a cycle is a nanosecond. */
static double host_khz(void)
{
#ifdef __x86_64__
    double start = host_now(), seconds;
    uint64_t tsc = __rdtsc();
    usleep(100000);
    tsc = __rdtsc() - tsc;
    seconds = host_now() - start;
    return (double)tsc / seconds / 1000;
#else
    return 1e6;
#endif
}

static void note(struct results *results, enum system system, const char *name, double cycles)
{
    size_t i = 0;
    while (i < results->count && strcmp(results->name[i], name) != 0)
        i++;
    if (i == MAX_RESULTS)
        return;
    if (i == results->count) {
        snprintf(results->name[i], sizeof results->name[i], "%s", name);
        results->count++;
    }
    results->cycles[i][system] = cycles;
}

/* Runs a shell command whose output has the result lines. */
static bool measure(struct results *results, enum system system, const char *command, double khz)
{
    char line[256];
    double guest_khz = khz;
    bool ended = false;
    struct run run;
    char *argv[] = {"/bin/sh", "-c", (char *)(uintptr_t)command, NULL};
    if (!run_start(&run, argv, system == NATIVE))
        exit(2);
    while (!ended && run_line(&run, line, sizeof line, SILENCE_LIMIT)) {
        unsigned long long number;
        int length = 0;
        const char *text = strstr(line, "micro "); /* firmware may have moved the cursor before */
        if (!text)
            continue;
        if (sscanf(text, "micro tsc_khz %llu", &number) == 1)
            guest_khz = (double)number;
        else if (sscanf(text, "micro %llu %n", &number, &length) == 1 && length)
            note(results, system, text + length, (double)number / 100 * khz / guest_khz);
        else if (strcmp(text, "micro end") == 0)
            ended = true;
        else
            fprintf(stderr, "%s: %s\n", system_names[system], text);
    }
    int status = run_end(&run, ended ? 2 : 0);
    fprintf(stderr, "%s: %.1f s, exit status %d, time stamp counter at %.0f MHz\n",
            system_names[system], host_now() - run.start, status, guest_khz / 1000);
    /* The guest writes 0 to the exit port: status (0 << 1) | 1. */
    if (!ended || status != (system == NATIVE ? 0 : 1)) {
        printf("FAILED: the micro benchmark did not come to its end under %s\n",
               system_names[system]);
        return false;
    }
    return true;
}

static const char *setting(const char *name, const char *preset)
{
    const char *value = getenv(name);
    return value && *value ? value : preset;
}

int main(int argc, char **argv)
{
    static struct results results;
    const char *systems = setting("SYSTEMS", "native qemu doppel");
    char command[2048], path[512];
    bool good = true;
    if (argc != 2) {
        fprintf(stderr, "usage: micro BUILD\n");
        return 2;
    }
    double khz = host_khz();
    if (strstr(systems, "native")) {
        snprintf(command, sizeof command, "exec %s/tests/bench/micro-native", argv[1]);
        good &= measure(&results, NATIVE, command, khz);
    }
    if (strstr(systems, "qemu") && system("command -v qemu-system-x86_64 >/dev/null") != 0) {
        printf("QEMU is left out: install qemu-system-x86\n");
    } else if (strstr(systems, "qemu")) {
        snprintf(command, sizeof command,
                 "exec qemu-system-x86_64 -accel tcg -cpu max -m 64 -display none -monitor none "
                 "-serial stdio -nic none -device isa-debug-exit,iobase=0xf4,iosize=4 "
                 "-drive file=%s/tests/bench/micro.img,format=raw,snapshot=on %s",
                 argv[1], setting("QEMU_OPTIONS", ""));
        good &= measure(&results, QEMU, command, khz);
    }
    snprintf(path, sizeof path, "%s/doppel", argv[1]);
    if (strstr(systems, "doppel") && access(path, X_OK) != 0) {
        printf("doppel is left out: %s is not built\n", path);
    } else if (strstr(systems, "doppel")) {
        snprintf(command, sizeof command,
                 "exec %s run --memory 64M --headless --net none --exit-port "
                 "--disk %s/tests/bench/micro.img,temporary %s",
                 path, argv[1], setting("DOPPEL_OPTIONS", "--accel translator"));
        good &= measure(&results, DOPPEL, command, khz);
    }

    printf("\n%-28s %10s %10s %10s %10s\n", "host cycles per operation", "native", "QEMU", "doppel",
           "QEMU/doppel");
    for (size_t i = 0; i < results.count; i++) {
        const double *cycles = results.cycles[i];
        printf("%-28s", results.name[i]);
        for (int system = 0; system < SYSTEMS; system++)
            if (cycles[system] > 0)
                printf(" %10.2f", cycles[system]);
            else
                printf(" %10s", "-");
        if (cycles[QEMU] > 0 && cycles[DOPPEL] > 0)
            printf(" %9.2fx", cycles[QEMU] / cycles[DOPPEL]);
        printf("\n");
    }
    return good ? 0 : 1;
}
