/* memcpy() and memset() of a megabyte, by the C library's choice of instructions for the processor
 * that it finds. */
#include <string.h>

#include "bench.h"

#define SIZE (1u << 20)

int main(int argc, char **argv)
{
    static uint8_t source[SIZE], target[SIZE];
    uint64_t rounds = bench_rounds(argc, argv, 9000), checksum = 0;
    for (size_t i = 0; i < SIZE; i++)
        source[i] = (uint8_t)(i * 7 >> 3);
    memset(target, 1, SIZE);
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        source[round % SIZE] ^= (uint8_t)(round + 1);
        memcpy(target, source, SIZE);
        checksum = bench_mix(checksum, target[round * 37 % SIZE]);
        if (round % 4 == 3)
            memset(target, (int)round & 0xff, SIZE);
    }
    bench_report("memcpy", checksum, start);
    return 0;
}
