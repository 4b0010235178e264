/* What there is to measure, and the guests that it runs in. */
#include "tests/bench/bench.h"

const struct set sets[] = {
    {"quick", "initrd", NULL, NULL, 256},
    {"debian", "initrd-disk", "bench/disk.img", "bench/root", 512},
    {"jit", "initrd-disk", "bench/disk.img", "bench/root", 512},
    {"code", "initrd-luajit", NULL, "luajit/root", 256},
    {0},
};

/* Names are those of programs/NAME.c, or of commands/NAME.sh for programs from Debian. */
const struct workload workloads[] = {
    {"boot", STARTUP, QUICK | DEBIAN, 3, 0},
    {"python", INTEGER, DEBIAN, 2.5, 0},
    {"sqlite", INTEGER, DEBIAN, 2.5, 0},
    {"gcc", INTEGER, DEBIAN, 2.5, 0},
    {"xz", INTEGER, DEBIAN, 2.5, 0},
    {"sha256sum", INTEGER, DEBIAN, 2.5, 0},
    {"openssl", INTEGER, DEBIAN, 2.5, 0},
    {"perl", INTEGER, DEBIAN, 2.5, 0},
    {"7z", INTEGER, DEBIAN, 2.5, 0},
    {"integer", INTEGER, QUICK | DEBIAN, 2.5, 0},
    {"calls", INTEGER, QUICK, 2.5, 0},
    {"memory", INTEGER, QUICK, 2.5, 0},
    {"sha256", INTEGER, QUICK, 2.5, 0},
    {"sort", INTEGER, QUICK, 2.5, 0},
    {"scalar", FLOATING, DEBIAN, 2.5, 0},
    {"matrix", FLOATING, DEBIAN, 2.5, 0},
    {"sse", FLOATING, QUICK, 2.5, 0},
    {"x87", FLOATING, QUICK | DEBIAN, 2.5, 0},
    {"shell", SYSTEM, DEBIAN, 2.5, 0},
    {"forkexec", SYSTEM, QUICK | DEBIAN, 2.5, 0},
    {"syscall", SYSTEM, QUICK | DEBIAN, 2.5, 0},
    {"pipe", SYSTEM, QUICK | DEBIAN, 1.5, 0},
    {"pagefault", SYSTEM, QUICK | DEBIAN, 2.5, 0},
    {"memcpy", SYSTEM, QUICK | DEBIAN, 1.5, 1.5},
    {"selfmod", SYSTEM, JIT | CODE, 0, 0},
    {"luajit", SYSTEM, JIT | CODE, 0, 0},
    {"node", SYSTEM, JIT, 0, 0},
};
const size_t workload_count = sizeof workloads / sizeof *workloads;
_Static_assert(sizeof workloads / sizeof *workloads <= MAX_WORKLOADS, "raise MAX_WORKLOADS");
