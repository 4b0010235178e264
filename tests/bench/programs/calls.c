/* Integer work that is mostly calls and returns: recursion, and calls through pointers whose target
 * changes from call to call. */
#include "bench.h"

__attribute__((noinline)) static uint32_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

struct shape;
typedef uint64_t measure_fn(const struct shape *shape, uint64_t seed);
struct shape {
    measure_fn *measure;
    uint64_t a, b;
};

static uint64_t measure_sum(const struct shape *shape, uint64_t seed)
{
    return seed + shape->a + shape->b;
}

static uint64_t measure_product(const struct shape *shape, uint64_t seed)
{
    return seed * shape->a ^ shape->b;
}

static uint64_t measure_rotation(const struct shape *shape, uint64_t seed)
{
    return (seed << 7 | seed >> 57) + shape->a;
}

static uint64_t measure_difference(const struct shape *shape, uint64_t seed)
{
    return seed > shape->a ? seed - shape->a : shape->b - seed;
}

int main(int argc, char **argv)
{
    static measure_fn *const kinds[] = {measure_sum, measure_product, measure_rotation,
                                        measure_difference};
    static struct shape shapes[64];
    uint64_t rounds = bench_rounds(argc, argv, 1200), random = 99, checksum = 0;
    for (size_t i = 0; i < 64; i++) {
        uint64_t number = bench_random(&random);
        shapes[i] = (struct shape){kinds[number >> 20 & 3], number | 1, number >> 32};
    }
    struct bench_time start = bench_start();
    for (uint64_t i = 0; i < rounds; i++) {
        checksum = bench_mix(checksum, fibonacci(23));
        for (int turn = 0; turn < 1500; turn++)
            for (size_t j = 0; j < 64; j++)
                checksum = shapes[j].measure(&shapes[j], checksum);
    }
    bench_report("calls", checksum, start);
    return 0;
}
