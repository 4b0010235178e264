/*
 * Speed side by side: the same programs natively, in a Linux guest under QEMU's TCG, and in the
 * same guest under doppel, on one machine in one run. Workloads are the programs in programs/ and
 * `boot`, the time from the start of the emulator to user space.
 *
 *   bench BUILD GUEST      BUILD: where doppel and the bench initrd are; GUEST: vmlinuz, initrd.gz
 *
 * From the environment: ROUNDS (3), SYSTEMS ("native qemu doppel"), ONLY (words; workloads whose
 * name contains one), SCALE (percent of work, 100), APPEND (more for the kernel's command line),
 * TIME (guest: the programs' own clock; host: wall time outside; cpu: host CPU time; default
 * guest), DOPPEL_OPTIONS and QEMU_OPTIONS (more options), BENCH_VERBOSE.
 * Exit status 1 when checksums differ or a workload fails.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/run.h"

#define MAX_ROUNDS    99
#define MAX_ARGUMENTS 64
#define SILENCE_LIMIT 180.0 /* seconds without a line: the guest hangs */
#define CLOCK_SLACK   0.05  /* how far a guest's clock may be from the host's */
#define CLOCK_SLACK_S 0.05
#define BOOTED        "user space after "
#define ARRAY_SIZE(a) (sizeof(a) / sizeof *(a))
#define NOT_MEASURED  (-1.0)

enum system { NATIVE, QEMU, DOPPEL, SYSTEMS };
static const char *const system_names[SYSTEMS] = {"native", "qemu", "doppel"};

enum clock { GUEST, HOST, CPU, CLOCKS };
static const char *const clock_names[CLOCKS] = {"guest", "host", "cpu"};

static const char *const workload_names[] = {
    "boot", "integer", "calls",     "memory", "sse",     "sha256",
    "sort", "memcpy",  "pagefault", "pipe",   "syscall", "forkexec",
};
#define WORKLOADS ARRAY_SIZE(workload_names)
#define BOOT      0

struct series {
    int count;
    double seconds[CLOCKS][MAX_ROUNDS];
    uint64_t checksum;
    bool failed;
};

struct bench {
    const char *build, *guest, *append;
    int rounds, scale;
    enum clock clock;
    bool use[SYSTEMS], wanted[WORKLOADS];
    struct series series[SYSTEMS][WORKLOADS];
};

static const char *setting(const char *name, const char *preset)
{
    const char *value = getenv(name);
    return value && *value ? value : preset;
}

/* -- Commands -- */

struct command {
    char *argv[MAX_ARGUMENTS];
    size_t count;
    char text[8192];
    size_t used;
};

static void add(struct command *command, const char *argument)
{
    size_t size = strlen(argument) + 1;
    if (command->count + 1 == MAX_ARGUMENTS || command->used + size > sizeof command->text) {
        fprintf(stderr, "bench: the command line is too long\n");
        exit(2);
    }
    command->argv[command->count++] = memcpy(command->text + command->used, argument, size);
    command->used += size;
}

static void add_words(struct command *command, const char *words)
{
    char word[512];
    int length;
    while (sscanf(words, "%511s%n", word, &length) == 1) {
        add(command, word);
        words += length;
    }
}

static void add_guest(struct command *command, const struct bench *bench, enum system system,
                      const char *initrd, const char *append)
{
    const bool qemu = system == QEMU;
    char path[512];
    if (qemu) {
        add_words(command, "qemu-system-x86_64 -accel tcg -cpu max -m 256 -display none "
                           "-monitor none -serial stdio -nic none -no-reboot");
        add_words(command, setting("QEMU_OPTIONS", ""));
    } else {
        snprintf(path, sizeof path, "%s/doppel", bench->build);
        add(command, path);
        add_words(command, "run --memory 256M --headless --net none --no-reboot");
        add_words(command, setting("DOPPEL_OPTIONS", "--accel translator"));
    }
    snprintf(path, sizeof path, "%s/vmlinuz", bench->guest);
    add(command, qemu ? "-kernel" : "--kernel");
    add(command, path);
    add(command, qemu ? "-initrd" : "--initrd");
    add(command, initrd);
    add(command, qemu ? "-append" : "--append");
    add(command, append);
}

/* -- Measuring -- */

static void note_failure(struct bench *bench, enum system system, size_t workload,
                         const char *reason)
{
    fprintf(stderr, "bench: %s under %s %s\n", workload_names[workload], system_names[system],
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
            workload_names[workload], seconds[GUEST], seconds[HOST], seconds[CPU]);
}

/* A program's own line: NAME CHECKSUM SECONDS. */
static bool parse_result(const char *line, const char *name, uint64_t *checksum, double *seconds)
{
    char word[32];
    return sscanf(line, "%31s %16" SCNx64 " %lf", word, checksum, seconds) == 3 &&
           strcmp(word, name) == 0;
}

static void measure_native(struct bench *bench, size_t workload)
{
    char path[512], percent[16], line[256];
    uint64_t checksum = 0;
    double seconds[CLOCKS] = {0};
    double host = 0, cpu = 0;
    bool found = false;
    struct run run;
    snprintf(path, sizeof path, "%s/tests/bench/programs/%s", bench->build,
             workload_names[workload]);
    snprintf(percent, sizeof percent, "%d", bench->scale);
    if (!run_start(&run, (char *[]){path, percent, NULL}, true))
        exit(2);
    while (!found && run_line(&run, line, sizeof line, SILENCE_LIMIT)) {
        if (strcmp(line, "start") == 0) {
            host = host_now();
            cpu = run_cpu(&run);
        }
        found = parse_result(line, workload_names[workload], &checksum, &seconds[GUEST]);
    }
    seconds[HOST] = host_now() - host;
    if (run_end(&run, 10) != 0 || !found) {
        note_failure(bench, NATIVE, workload, "failed");
        return;
    }
    seconds[CPU] = run.cpu - cpu; /* children included */
    note_sample(bench, NATIVE, workload, seconds, checksum);
}

static void measure_boot(struct bench *bench, enum system system)
{
    struct command command = {0};
    char initrd[512], append[512], line[512];
    struct run run;
    snprintf(initrd, sizeof initrd, "%s/initrd.gz", bench->guest);
    snprintf(append, sizeof append, "console=ttyS0 quiet %s", bench->append);
    add_guest(&command, bench, system, initrd, append);
    if (!run_start(&run, command.argv, false))
        exit(2);
    double seconds[CLOCKS] = {0};
    const char *found = NULL;
    while (!found && run_line(&run, line, sizeof line, SILENCE_LIMIT))
        found = strstr(line, BOOTED);
    seconds[HOST] = host_now() - run.start;
    seconds[CPU] = run_cpu(&run);
    run_end(&run, 0);
    if (!found) {
        note_failure(bench, system, BOOT, "did not reach user space");
        return;
    }
    seconds[GUEST] = strtod(found + strlen(BOOTED), NULL);
    note_sample(bench, system, BOOT, seconds, 0);
}

static size_t find_workload(const char *name)
{
    size_t i = 0;
    while (i < WORKLOADS && strcmp(workload_names[i], name) != 0)
        i++;
    return i;
}

/* All programs in one guest, one after the other. */
static void measure_guest(struct bench *bench, enum system system)
{
    struct command command = {0};
    char initrd[512], append[1024], line[512], word[64];
    struct run run;
    int length = snprintf(append, sizeof append, "console=ttyS0 quiet %s -- %d", bench->append,
                          bench->scale);
    bool any = false;
    for (size_t i = BOOT + 1; i < WORKLOADS; i++)
        if (bench->wanted[i]) {
            any = true;
            length +=
                snprintf(append + length, sizeof append - (size_t)length, " %s", workload_names[i]);
        }
    if (!any)
        return;
    snprintf(initrd, sizeof initrd, "%s/tests/bench/initrd", bench->build);
    add_guest(&command, bench, system, initrd, append);
    if (!run_start(&run, command.argv, false))
        exit(2);

    size_t current = WORKLOADS;
    double host = 0, cpu = 0;
    bool ended = false;
    while (!ended && run_line(&run, line, sizeof line, SILENCE_LIMIT)) {
        double seconds[CLOCKS];
        uint64_t checksum;
        if (sscanf(line, "begin %63s", word) == 1 && find_workload(word) < WORKLOADS) {
            current = find_workload(word);
        } else if (strcmp(line, "start") == 0) {
            host = host_now();
            cpu = run_cpu(&run);
        } else if (current < WORKLOADS && strncmp(line, "failed ", 7) == 0) {
            note_failure(bench, system, current, "failed in the guest");
            current = WORKLOADS;
        } else if (current < WORKLOADS &&
                   parse_result(line, workload_names[current], &checksum, &seconds[GUEST])) {
            seconds[HOST] = host_now() - host;
            seconds[CPU] = run_cpu(&run) - cpu;
            note_sample(bench, system, current, seconds, checksum);
            current = WORKLOADS;
        }
        ended = strcmp(line, "end") == 0;
    }
    run_end(&run, ended ? 1 : 0);
    if (!ended && current < WORKLOADS)
        note_failure(bench, system, current, "did not come to its end");
    for (size_t i = BOOT + 1; i < WORKLOADS; i++)
        if (bench->wanted[i] && !ended && !bench->series[system][i].count)
            bench->series[system][i].failed = true;
}

static void measure_system(struct bench *bench, enum system system)
{
    if (system == NATIVE) {
        for (size_t i = BOOT + 1; i < WORKLOADS; i++)
            if (bench->wanted[i])
                measure_native(bench, i);
        return;
    }
    if (bench->wanted[BOOT])
        measure_boot(bench, system);
    measure_guest(bench, system);
}

/* -- Figures -- */

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* What a workload took on a system by a clock: the median, and (max - min) / median. */
static double median(const struct series *series, enum clock clock, double *spread)
{
    double sorted[MAX_ROUNDS];
    size_t count = (size_t)series->count;
    *spread = 0;
    if (count == 0)
        return NOT_MEASURED;
    memcpy(sorted, series->seconds[clock], count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    double middle = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    if (middle > 0)
        *spread = (sorted[count - 1] - sorted[0]) / middle;
    return middle;
}

struct mean {
    double logarithms;
    int count;
};

static void mean_add(struct mean *mean, double value)
{
    mean->logarithms += log(value);
    mean->count++;
}

static double mean_value(const struct mean *mean)
{
    return mean->count ? exp(mean->logarithms / mean->count) : NOT_MEASURED;
}

static void print_cell(double value, const char *unit, int decimals)
{
    if (value < 0)
        printf(" %10s", "-");
    else
        printf(" %*.*f%s", 10 - (int)strlen(unit), decimals, value, unit);
}

/* Quotient of two measured values, or NOT_MEASURED. */
static double ratio(double over, double under)
{
    return over > 0 && under > 0 ? over / under : NOT_MEASURED;
}

enum { QEMU_SLOWDOWN, DOPPEL_SLOWDOWN, SPEEDUP, RATIOS };

static void figures_of(const struct bench *bench, size_t workload, double seconds[SYSTEMS],
                       double ratios[RATIOS], double *spread)
{
    /* A boot has no native counterpart, and its clock starts late: the wall clock counts. */
    enum clock clock = workload == BOOT && bench->clock == GUEST ? HOST : bench->clock;
    *spread = 0;
    for (int system = 0; system < SYSTEMS; system++) {
        double own;
        seconds[system] = median(&bench->series[system][workload], clock, &own);
        *spread = own > *spread ? own : *spread;
    }
    ratios[QEMU_SLOWDOWN] = ratio(seconds[QEMU], seconds[NATIVE]);
    ratios[DOPPEL_SLOWDOWN] = ratio(seconds[DOPPEL], seconds[NATIVE]);
    ratios[SPEEDUP] = ratio(seconds[QEMU], seconds[DOPPEL]);
}

static void print_table(const struct bench *bench, struct mean means[RATIOS])
{
    printf("\n%-10s %10s %10s %10s %10s %10s %10s %8s\n", "", "native", "QEMU", "doppel", "QEMU /",
           "doppel /", "QEMU /", "");
    printf("%-10s %10s %10s %10s %10s %10s %10s %8s\n", "workload", "s", "s", "s", "native",
           "native", "doppel", "spread");
    for (size_t i = 0; i < WORKLOADS; i++) {
        double seconds[SYSTEMS], ratios[RATIOS], spread;
        if (!bench->wanted[i])
            continue;
        figures_of(bench, i, seconds, ratios, &spread);
        printf("%-10s", workload_names[i]);
        for (int system = 0; system < SYSTEMS; system++)
            print_cell(seconds[system], "", 3);
        for (int r = 0; r < RATIOS; r++) {
            print_cell(ratios[r], "x", 2);
            if (ratios[r] > 0 && i != BOOT)
                mean_add(&means[r], ratios[r]);
        }
        printf(" %7.0f%%\n", spread * 100);
    }
    printf("%-10s %10s %10s %10s", "mean", "", "", "");
    for (int r = 0; r < RATIOS; r++)
        print_cell(mean_value(&means[r]), "x", 2);
    printf("\n");
    if (bench->wanted[BOOT])
        for (int system = QEMU; system < SYSTEMS; system++) {
            double spread, uptime = median(&bench->series[system][BOOT], GUEST, &spread);
            if (uptime >= 0)
                printf("boot under %s: the guest's own clock says %.2f s\n", system_names[system],
                       uptime);
        }
    printf("Times are medians by the %s clock; spread is the largest (max - min) / median; the\n"
           "mean is geometric, without boot. Right column above 1: doppel is faster than QEMU.\n",
           clock_names[bench->clock]);
}

/* A guest whose clock runs differently from the host's would report wrong times. */
static void check_clocks(const struct bench *bench)
{
    for (int system = QEMU; system < SYSTEMS; system++)
        for (size_t i = BOOT + 1; i < WORKLOADS; i++) {
            const struct series *series = &bench->series[system][i];
            double spread, guest = median(series, GUEST, &spread);
            double host = median(series, HOST, &spread);
            if (fabs(guest - host) > host * CLOCK_SLACK + CLOCK_SLACK_S)
                printf("note: %s under %s: %.3f s by the guest's clock, %.3f s by the host's\n",
                       workload_names[i], system_names[system], guest, host);
        }
}

static bool check_results(const struct bench *bench)
{
    bool good = true;
    for (size_t i = 0; i < WORKLOADS; i++) {
        const struct series *first = NULL;
        for (int system = 0; system < SYSTEMS; system++) {
            const struct series *series = &bench->series[system][i];
            if (series->failed) {
                printf("FAILED: %s under %s\n", workload_names[i], system_names[system]);
                good = false;
            }
            if (series->count == 0)
                continue;
            if (!first)
                first = series;
            if (series->checksum != first->checksum) {
                printf("FAILED: checksum of %s under %s is %016" PRIx64 ", not %016" PRIx64 "\n",
                       workload_names[i], system_names[system], series->checksum, first->checksum);
                good = false;
            }
        }
    }
    return good;
}

/* -- JSON -- */

static void write_series(FILE *out, const struct series *series, const char *name)
{
    fprintf(out, "      \"%s\": {\"checksum\": \"%016" PRIx64 "\", \"failed\": %s", name,
            series->checksum, series->failed ? "true" : "false");
    for (int clock = 0; clock < CLOCKS; clock++) {
        fprintf(out, ", \"%s_s\": [", clock_names[clock]);
        for (int i = 0; i < series->count; i++)
            fprintf(out, "%s%.6f", i ? ", " : "", series->seconds[clock][i]);
        fprintf(out, "]");
    }
    fprintf(out, "}");
}

static void write_number(FILE *out, const char *name, double value, const char *end)
{
    if (value < 0)
        fprintf(out, "\"%s\": null%s", name, end);
    else
        fprintf(out, "\"%s\": %.4f%s", name, value, end);
}

static bool write_json(const struct bench *bench, const struct mean means[RATIOS], bool good)
{
    char path[512], date[64];
    time_t now = time(NULL);
    snprintf(path, sizeof path, "%s/bench.json", bench->build);
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return false;
    }
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    fprintf(out, "{\n  \"date\": \"%s\", \"rounds\": %d, \"scale\": %d, \"clock\": \"%s\",\n", date,
            bench->rounds, bench->scale, clock_names[bench->clock]);
    fprintf(out, "  \"good\": %s,\n  \"workloads\": {", good ? "true" : "false");
    const char *comma = "";
    for (size_t i = 0; i < WORKLOADS; i++) {
        double seconds[SYSTEMS], ratios[RATIOS], spread;
        if (!bench->wanted[i])
            continue;
        figures_of(bench, i, seconds, ratios, &spread);
        fprintf(out, "%s\n    \"%s\": {\n      ", comma, workload_names[i]);
        write_number(out, "qemu_over_native", ratios[QEMU_SLOWDOWN], ", ");
        write_number(out, "doppel_over_native", ratios[DOPPEL_SLOWDOWN], ", ");
        write_number(out, "qemu_over_doppel", ratios[SPEEDUP], ", ");
        write_number(out, "spread", spread, "");
        for (int system = 0; system < SYSTEMS; system++)
            if (bench->series[system][i].count || bench->series[system][i].failed) {
                fprintf(out, ",\n");
                write_series(out, &bench->series[system][i], system_names[system]);
            }
        fprintf(out, "\n    }");
        comma = ",";
    }
    fprintf(out, "\n  },\n  \"means\": {");
    write_number(out, "qemu_over_native", mean_value(&means[QEMU_SLOWDOWN]), ", ");
    write_number(out, "doppel_over_native", mean_value(&means[DOPPEL_SLOWDOWN]), ", ");
    write_number(out, "qemu_over_doppel", mean_value(&means[SPEEDUP]), "}\n}\n");
    return fclose(out) == 0;
}

/* -- Settings -- */

static bool in_path(const char *program)
{
    char path[1024];
    for (const char *folder = setting("PATH", "/bin"); *folder;) {
        size_t length = strcspn(folder, ":");
        snprintf(path, sizeof path, "%.*s/%s", (int)length, folder, program);
        if (access(path, X_OK) == 0)
            return true;
        folder += length + (folder[length] == ':');
    }
    return false;
}

/* Whether one of the words in `words` occurs in `text`. */
static bool any_word_in(const char *words, const char *text)
{
    char word[64];
    int length;
    for (; sscanf(words, " %63[^ ,]%n", word, &length) == 1;
         words += length + (words[length] == ','))
        if (strstr(text, word))
            return true;
    return false;
}

static bool read_settings(struct bench *bench)
{
    const char *only = getenv("ONLY"), *systems = setting("SYSTEMS", "native qemu doppel");
    const char *clock = setting("TIME", "guest");
    char doppel[512];
    bool any = false;
    bench->rounds = atoi(setting("ROUNDS", "3"));
    bench->scale = atoi(setting("SCALE", "100"));
    bench->append = setting("APPEND", "");
    if (bench->rounds < 1 || bench->rounds > MAX_ROUNDS || bench->scale < 1) {
        fprintf(stderr, "bench: ROUNDS is 1 to %d, SCALE at least 1\n", MAX_ROUNDS);
        return false;
    }
    while (bench->clock < CLOCKS && strcmp(clock, clock_names[bench->clock]) != 0)
        bench->clock++;
    if (bench->clock == CLOCKS) {
        fprintf(stderr, "bench: TIME is guest, host or cpu\n");
        return false;
    }
    for (size_t i = 0; i < WORKLOADS; i++)
        any |= bench->wanted[i] = !only || !*only || any_word_in(only, workload_names[i]);
    if (!any) {
        fprintf(stderr, "bench: no workload is named like '%s'; there are", only);
        for (size_t i = 0; i < WORKLOADS; i++)
            fprintf(stderr, " %s", workload_names[i]);
        fprintf(stderr, "\n");
        return false;
    }
    for (int system = 0; system < SYSTEMS; system++)
        bench->use[system] = any_word_in(systems, system_names[system]);
    if (bench->use[QEMU] && !in_path("qemu-system-x86_64")) {
        printf("QEMU is left out: install qemu-system-x86\n");
        bench->use[QEMU] = false;
    }
    snprintf(doppel, sizeof doppel, "%s/doppel", bench->build);
    if (bench->use[DOPPEL] && access(doppel, X_OK) != 0) {
        printf("doppel is left out: %s is not built\n", doppel);
        bench->use[DOPPEL] = false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    struct mean means[RATIOS] = {{0, 0}};
    if (argc != 3) {
        fprintf(stderr, "usage: bench BUILD GUEST\n");
        return 2;
    }
    bench.build = argv[1];
    bench.guest = argv[2];
    if (!read_settings(&bench))
        return 2;
    /* Each round starts with another system, so that slow drifts of the host hit all of them. */
    for (int round = 0; round < bench.rounds; round++) {
        fprintf(stderr, "round %d of %d\n", round + 1, bench.rounds);
        for (int i = 0; i < SYSTEMS; i++) {
            enum system system = (enum system)((round + i) % SYSTEMS);
            if (bench.use[system])
                measure_system(&bench, system);
        }
    }
    print_table(&bench, means);
    check_clocks(&bench);
    bool good = check_results(&bench);
    return write_json(&bench, means, good) && good ? 0 : 1;
}
