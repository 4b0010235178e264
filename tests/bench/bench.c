/*
 * The benchmark's settings and rounds (bench.h).
 *
 *   bench BUILD GUESTS     BUILD: where doppel and the initial RAM disks are; GUESTS: what
 *                          tests/guests.sh made
 *
 * From the environment: SET (quick, debian, ...; workloads.c), ROUNDS (3), SYSTEMS ("native qemu
 * doppel"), ONLY (words; workloads whose name contains one), SCALE (percent of work, 100), APPEND
 * (more for the kernel's command line), TIME (guest: the programs' own clock; host: wall time
 * outside; cpu: host CPU time; default guest), LIMIT (seconds of silence, 180), DOPPEL_OPTIONS and
 * QEMU_OPTIONS (more options), BENCH_VERBOSE.
 * Exit status 1 when checksums differ or a workload fails.
 */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *setting(const char *name, const char *preset)
{
    const char *value = getenv(name);
    return value && *value ? value : preset;
}

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

static bool choose_set(struct bench *bench)
{
    const char *name = setting("SET", "debian");
    bench->set = sets;
    while (bench->set->name && strcmp(bench->set->name, name) != 0)
        bench->set++;
    if (bench->set->name)
        return true;
    fprintf(stderr, "bench: there is no set '%s'; there are", name);
    for (const struct set *set = sets; set->name; set++)
        fprintf(stderr, " %s", set->name);
    fprintf(stderr, "\n");
    return false;
}

static bool choose_workloads(struct bench *bench)
{
    const char *only = setting("ONLY", NULL);
    const unsigned bit = 1u << (bench->set - sets);
    bool any = false;
    for (size_t i = 0; i < workload_count; i++) {
        bench->wanted[i] =
            (workloads[i].sets & bit) && (!only || any_word_in(only, workloads[i].name));
        any |= bench->wanted[i];
    }
    if (any)
        return true;
    fprintf(stderr, "bench: no workload of the set is named like '%s'; there are", only);
    for (size_t i = 0; i < workload_count; i++)
        if (workloads[i].sets & bit)
            fprintf(stderr, " %s", workloads[i].name);
    fprintf(stderr, "\n");
    return false;
}

/* Can programs run in the set's root here? It takes namespaces, which containers may refuse. */
static bool can_enter_root(const struct bench *bench)
{
    char command[1024];
    if (!bench->set->root)
        return true;
    snprintf(command, sizeof command,
             "tests/bench/native.sh %s/%s %s/tests/bench/root/bench /bench/init >/dev/null 2>&1",
             bench->guests, bench->set->root, bench->build);
    return system(command) == 0;
}

static void choose_systems(struct bench *bench)
{
    const char *systems = setting("SYSTEMS", "native qemu doppel");
    char doppel[512];
    for (int system = 0; system < SYSTEMS; system++)
        bench->use[system] = any_word_in(systems, system_names[system]);
    if (bench->use[NATIVE] && !can_enter_root(bench)) {
        printf("native is left out: no namespaces of one's own here\n");
        bench->use[NATIVE] = false;
    }
    if (bench->use[QEMU] && !in_path("qemu-system-x86_64")) {
        printf("QEMU is left out: install qemu-system-x86\n");
        bench->use[QEMU] = false;
    }
    snprintf(doppel, sizeof doppel, "%s/doppel", bench->build);
    if (bench->use[DOPPEL] && access(doppel, X_OK) != 0) {
        printf("doppel is left out: %s is not built\n", doppel);
        bench->use[DOPPEL] = false;
    }
}

static bool read_settings(struct bench *bench)
{
    const char *clock = setting("TIME", "guest");
    bench->rounds = atoi(setting("ROUNDS", "3"));
    bench->scale = atoi(setting("SCALE", "100"));
    bench->patience = atof(setting("LIMIT", "180"));
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
    if (!choose_set(bench) || !choose_workloads(bench))
        return false;
    choose_systems(bench);
    return true;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    if (argc != 3) {
        fprintf(stderr, "usage: bench BUILD GUESTS\n");
        return 2;
    }
    bench.build = argv[1];
    bench.guests = argv[2];
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
    report_print(&bench);
    bool good = report_check(&bench);
    return report_json(&bench, good) && good ? 0 : 1;
}
