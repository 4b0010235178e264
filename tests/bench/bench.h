/*
 * Speed side by side: the same workloads natively, in a Linux guest under QEMU's TCG, and in the
 * same guest under doppel, on one machine in one run. bench.c reads the settings and runs the
 * rounds, workloads.c says what there is, measure.c runs a system, report.c makes the figures.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_ROUNDS    99
#define MAX_WORKLOADS 40
#define NOT_MEASURED  (-1.0)

enum system { NATIVE, QEMU, DOPPEL, SYSTEMS };
enum clock { GUEST, HOST, CPU, CLOCKS };
enum group { STARTUP, INTEGER, FLOATING, SYSTEM, GROUPS };

extern const char *const system_names[SYSTEMS];
extern const char *const clock_names[CLOCKS];
extern const char *const group_names[GROUPS];

/* A guest that runs some of the workloads. Paths are below the guests' folder, the initial RAM disk
 * below the build folder. */
struct set {
    const char *name;
    const char *initrd;
    const char *disk; /* the root file system, or NULL: all is in the initial RAM disk */
    const char *root; /* the same root as a folder for the native run; NULL: not needed */
    int memory_mb;
};
extern const struct set sets[];
enum { QUICK = 1 << 0, DEBIAN = 1 << 1, JIT = 1 << 2, CODE = 1 << 3 }; /* as in sets[] */

struct workload {
    const char *name;
    enum group group;
    unsigned sets; /* bit i: part of sets[i] */
    double least;  /* target: at least so many times faster than QEMU */
    double most;   /* target: at most so many times slower than native; 0: none of its own */
};
extern const struct workload workloads[];
extern const size_t workload_count; /* at most MAX_WORKLOADS */
#define BOOT 0                      /* the first workload */

struct series {
    int count;
    double seconds[CLOCKS][MAX_ROUNDS];
    uint64_t checksum;
    bool failed;
};

struct bench {
    const char *build, *guests, *append;
    const struct set *set;
    int rounds, scale;
    double patience; /* seconds without a line after which a guest is taken to hang */
    enum clock clock;
    bool use[SYSTEMS], wanted[MAX_WORKLOADS];
    struct series series[SYSTEMS][MAX_WORKLOADS];
};

/* The environment's value, or the preset if it is not set or empty. */
const char *setting(const char *name, const char *preset);

/* Runs all wanted workloads once on a system and adds the samples to its series. */
void measure_system(struct bench *bench, enum system system);

/* Prints the table, the means beside their targets, and clocks that disagree. */
void report_print(const struct bench *bench);

/* Prints what failed and which checksums differ; false if there is something. */
bool report_check(const struct bench *bench);

/* Writes all samples to BUILD/bench-SET.json; false with a message if that fails. */
bool report_json(const struct bench *bench, bool good);

#endif
