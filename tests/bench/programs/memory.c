/*
 * Memory-bound work: a chain of dependent loads through 64 MB in random order, one per cache line,
 * then streaming (add a constant, store elsewhere) over the same 64 MB.
 */
#include "bench.h"

#define LINES (UINT64_C(1) << 20)
#define WORDS 8

int main(int argc, char **argv)
{
    uint64_t steps = bench_rounds(argc, argv, 4000000), passes = bench_rounds(argc, argv, 24);
    uint64_t *area = malloc(LINES * WORDS * sizeof *area), random = 4711;
    if (!area)
        return 1;
    /* One cycle through all lines (Sattolo). */
    for (uint64_t i = 0; i < LINES; i++)
        area[i * WORDS] = i;
    for (uint64_t i = LINES - 1; i > 0; i--) {
        uint64_t j = bench_random(&random) % i, line = area[i * WORDS];
        area[i * WORDS] = area[j * WORDS];
        area[j * WORDS] = line;
    }

    struct bench_time start = bench_start();
    uint64_t line = 0;
    for (uint64_t i = 0; i < steps; i++)
        line = area[line * WORDS];
    uint64_t checksum = bench_mix(0, line);
    uint64_t *half = area + LINES * WORDS / 2;
    for (uint64_t pass = 0; pass < passes; pass++)
        for (size_t i = 0; i < LINES * WORDS / 2; i++)
            half[i] = area[i] + pass;
    for (size_t i = 0; i < LINES * WORDS / 2; i += 4096)
        checksum = bench_mix(checksum, half[i]);
    bench_report("memory", checksum, start);
    return 0;
}
