/* Runs one system with the wanted workloads and takes the samples (bench.h). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "tests/bench/run.h"

#define MAX_ARGUMENTS 64
#define BOOTED        "user space after "

const char *const system_names[SYSTEMS] = {"native", "qemu", "doppel"};
const char *const clock_names[CLOCKS] = {"guest", "host", "cpu"};

/* -- Commands -- */

struct command {
    char *argv[MAX_ARGUMENTS];
    size_t count;
    char text[8192];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct command *command, const char *format,
                                                      ...)
{
    char *argument = command->text + command->used;
    size_t left = sizeof command->text - command->used;
    va_list values;
    va_start(values, format);
    int length = vsnprintf(argument, left, format, values);
    va_end(values);
    if (command->count + 1 == MAX_ARGUMENTS || length < 0 || (size_t)length >= left) {
        fprintf(stderr, "bench: the command line is too long\n");
        exit(2);
    }
    command->argv[command->count++] = argument;
    command->used += (size_t)length + 1;
}

static void add_words(struct command *command, const char *words)
{
    char word[512];
    int length;
    while (sscanf(words, "%511s%n", word, &length) == 1) {
        add(command, "%s", word);
        words += length;
    }
}

static void add_option(struct command *command, enum system system, const char *name)
{
    add(command, "%s%s", system == QEMU ? "-" : "--", name);
}

static void add_guest(struct command *command, const struct bench *bench, enum system system,
                      int memory_mb)
{
    if (system == QEMU) {
        add_words(command, "qemu-system-x86_64 -accel tcg -cpu max -display none -monitor none "
                           "-serial stdio -nic none -no-reboot -m");
        add(command, "%d", memory_mb);
        add_words(command, setting("QEMU_OPTIONS", ""));
    } else {
        add(command, "%s/doppel", bench->build);
        add_words(command, "run --headless --net none --no-reboot --memory");
        add(command, "%dM", memory_mb);
        add_words(command, setting("DOPPEL_OPTIONS", "--accel translator"));
    }
    add_option(command, system, "kernel");
    add(command, "%s/amd64/vmlinuz", bench->guests);
}

/* Both have it on the first IDE channel; nothing that a guest writes is kept. */
static void add_disk(struct command *command, const struct bench *bench, enum system system)
{
    if (!bench->set->disk)
        return;
    add(command, system == QEMU ? "-drive" : "--disk");
    add(command, system == QEMU ? "file=%s/%s,format=raw,if=ide,snapshot=on" : "%s/%s,temporary",
        bench->guests, bench->set->disk);
}

/* The first process of the guests, as an ordinary program; in the set's root if it has one. */
static void add_native(struct command *command, const struct bench *bench)
{
    if (bench->set->root) {
        add(command, "tests/bench/native.sh");
        add(command, "%s/%s", bench->guests, bench->set->root);
        add(command, "%s/tests/bench/root/bench", bench->build);
        add(command, "/bench/init");
    } else {
        add(command, "%s/tests/bench/root/bench/init", bench->build);
    }
}

/* -- Samples -- */

static void note_failure(struct bench *bench, enum system system, size_t workload,
                         const char *reason)
{
    fprintf(stderr, "bench: %s under %s %s\n", workloads[workload].name, system_names[system],
            reason);
    bench->series[system][workload].failed = true;
}

static void note_sample(struct bench *bench, enum system system, size_t workload,
                        const double seconds[CLOCKS], uint64_t checksum)
{
    struct series *series = &bench->series[system][workload];
    if (series->count > 0 && series->checksum != checksum)
        note_failure(bench, system, workload, "gave two different checksums");
    series->checksum = checksum;
    for (int clock = 0; clock < CLOCKS; clock++)
        series->seconds[clock][series->count] = seconds[clock];
    series->count++;
    fprintf(stderr, "  %-8s %-10s %9.3f s (host %.3f s, CPU %.3f s)\n", system_names[system],
            workloads[workload].name, seconds[GUEST], seconds[HOST], seconds[CPU]);
}

/* A program's own line: NAME CHECKSUM SECONDS CPU-SECONDS. */
static bool parse_result(const char *line, const char *name, uint64_t *checksum, double *seconds,
                         double *cpu)
{
    char word[32];
    return sscanf(line, "%31s %16" SCNx64 " %lf %lf", word, checksum, seconds, cpu) == 4 &&
           strcmp(word, name) == 0;
}

static size_t find_workload(const char *name)
{
    size_t i = 0;
    while (i < workload_count && strcmp(workloads[i].name, name) != 0)
        i++;
    return i;
}

/* -- Systems -- */

static void measure_boot(struct bench *bench, enum system system)
{
    struct command command = {0};
    char line[512];
    struct run run;
    add_guest(&command, bench, system, 256);
    add_option(&command, system, "initrd");
    add(&command, "%s/amd64/initrd.gz", bench->guests);
    add_option(&command, system, "append");
    add(&command, "console=ttyS0 quiet %s", bench->append);
    if (!run_start(&run, command.argv, false))
        exit(2);
    double seconds[CLOCKS] = {0};
    const char *found = NULL;
    while (!found && run_line(&run, line, sizeof line, bench->patience))
        found = strstr(line, BOOTED);
    seconds[HOST] = host_now() - run.start;
    seconds[CPU] = run_cpu(&run);
    if (!found) {
        note_failure(bench, system, BOOT, "did not reach user space");
        run_show(&run);
    }
    run_end(&run, 0);
    if (!found)
        return;
    seconds[GUEST] = strtod(found + strlen(BOOTED), NULL);
    note_sample(bench, system, BOOT, seconds, 0);
}

/* The program's own CPU time counts natively: run_cpu() does not see its children. */
static void take_sample(struct bench *bench, enum system system, size_t workload, struct run *run,
                        const char *line, double host, double cpu)
{
    double seconds[CLOCKS], own;
    uint64_t checksum;
    if (!parse_result(line, workloads[workload].name, &checksum, &seconds[GUEST], &own)) {
        note_failure(bench, system, workload, "printed something else");
        return;
    }
    seconds[HOST] = host_now() - host;
    seconds[CPU] = system == NATIVE ? own : run_cpu(run) - cpu;
    note_sample(bench, system, workload, seconds, checksum);
}

/* All workloads, one after the other, started by programs/init.c. */
static void measure_programs(struct bench *bench, enum system system)
{
    struct command command = {0};
    char list[512], line[512], word[64];
    struct run run;
    int length = snprintf(list, sizeof list, "%d", bench->scale);
    bool any = false;
    for (size_t i = BOOT + 1; i < workload_count; i++)
        if (bench->wanted[i]) {
            any = true;
            length +=
                snprintf(list + length, sizeof list - (size_t)length, " %s", workloads[i].name);
        }
    if (!any)
        return;
    if (system == NATIVE) {
        add_native(&command, bench);
        add_words(&command, list);
    } else {
        add_guest(&command, bench, system, bench->set->memory_mb);
        add_option(&command, system, "initrd");
        add(&command, "%s/tests/bench/%s", bench->build, bench->set->initrd);
        add_disk(&command, bench, system);
        add_option(&command, system, "append");
        add(&command, "console=ttyS0 quiet rdinit=/bench/init %s -- %s", bench->append, list);
    }
    if (!run_start(&run, command.argv, system == NATIVE))
        exit(2);

    size_t current = workload_count;
    double host = 0, cpu = 0;
    bool ended = false;
    while (!ended && run_line(&run, line, sizeof line, bench->patience)) {
        if (sscanf(line, "begin %63s", word) == 1) {
            current = find_workload(word);
        } else if (strcmp(line, "start") == 0) {
            host = host_now();
            cpu = run_cpu(&run);
        } else if (current < workload_count && strncmp(line, "failed ", 7) == 0) {
            note_failure(bench, system, current, "failed");
            run_show(&run);
            current = workload_count;
        } else if (current < workload_count &&
                   strncmp(line, workloads[current].name, strlen(workloads[current].name)) == 0) {
            take_sample(bench, system, current, &run, line, host, cpu);
            current = workload_count;
        }
        ended = strcmp(line, "end") == 0;
    }
    if (!ended) {
        fprintf(stderr, "bench: %s ended early or is silent\n", system_names[system]);
        run_show(&run);
    }
    run_end(&run, ended ? 10 : 0);
    if (!ended && current < workload_count)
        note_failure(bench, system, current, "did not come to its end");
    for (size_t i = BOOT + 1; i < workload_count; i++)
        if (bench->wanted[i] && !ended && !bench->series[system][i].count)
            bench->series[system][i].failed = true;
}

void measure_system(struct bench *bench, enum system system)
{
    if (bench->wanted[BOOT] && system != NATIVE)
        measure_boot(bench, system);
    measure_programs(bench, system);
}
