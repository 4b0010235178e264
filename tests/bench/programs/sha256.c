/* SHA-256 (FIPS 180-4) over a running buffer: rotations, additions and a long straight loop body.
 */
#include <string.h>

#include "bench.h"

#define BUFFER 16384

static uint32_t constants[64];

/* The first 32 bits of the fractional part of the cube roots of the first 64 primes. */
static void make_constants(void)
{
    size_t count = 0;
    for (uint32_t n = 2; count < 64; n++) {
        bool prime = true;
        for (uint32_t d = 2; d * d <= n; d++)
            prime &= n % d != 0;
        if (!prime)
            continue;
        /* root = floor(cbrt(n) * 2^32), bit by bit in 128-bit arithmetic */
        uint64_t root = 0;
        for (int bit = 34; bit >= 0; bit--) {
            unsigned __int128 candidate = root | UINT64_C(1) << bit;
            /* candidate^3 <= n * 2^96, compared with one factor divided out to stay in range */
            unsigned __int128 square = candidate * candidate;
            unsigned __int128 limit = ((unsigned __int128)n << 96) / candidate;
            if (square <= limit)
                root = (uint64_t)candidate;
        }
        constants[count++] = (uint32_t)root;
    }
}

static uint32_t rotate(uint32_t value, int count)
{
    return value >> count | value << (32 - count);
}

static void hash_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[i * 4] << 24 | (uint32_t)block[i * 4 + 1] << 16 |
               (uint32_t)block[i * 4 + 2] << 8 | block[i * 4 + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t t1 = s[7] + s1 + choice + constants[i] + w[i];
        uint32_t s0 = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

int main(int argc, char **argv)
{
    static uint8_t buffer[BUFFER];
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint64_t rounds = bench_rounds(argc, argv, 3200), random = 31337;
    make_constants();
    for (size_t i = 0; i < BUFFER; i++)
        buffer[i] = (uint8_t)bench_random(&random);
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < BUFFER; i += 64)
            hash_block(state, buffer + i);
        memcpy(buffer + round * 32 % BUFFER, state, sizeof state);
    }
    bench_report("sha256", (uint64_t)state[0] << 32 | state[1], start);
    return 0;
}
