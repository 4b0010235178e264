/*
 * SSE work: packed single precision (escape times of a Mandelbrot set), packed integers (blending
 * and comparing byte images, multiply-add of words) and scalar double precision (bodies that
 * attract each other, with square roots and divisions). Results are exact, so checksums compare.
 */
#include <math.h>
#include <string.h>
#include <smmintrin.h>

#include "bench.h"

static uint64_t packed_float(uint64_t round)
{
    const __m128 four = _mm_set1_ps(4.0f), one = _mm_set1_ps(1.0f);
    uint64_t checksum = round;
    for (int y = 0; y < 16; y++) {
        __m128 ci = _mm_set1_ps(-1.2f + 0.15f * (float)y);
        for (int x = 0; x < 16; x++) {
            __m128 cr = _mm_add_ps(_mm_set1_ps(-2.0f + 0.18f * (float)x),
                                   _mm_setr_ps(0.0f, 0.045f, 0.09f, 0.135f));
            __m128 zr = cr, zi = ci, count = _mm_setzero_ps();
            for (int i = 0; i < 40; i++) {
                __m128 r2 = _mm_mul_ps(zr, zr), i2 = _mm_mul_ps(zi, zi);
                __m128 inside = _mm_cmplt_ps(_mm_add_ps(r2, i2), four);
                if (!_mm_movemask_ps(inside))
                    break;
                count = _mm_add_ps(count, _mm_and_ps(inside, one));
                __m128 cross = _mm_mul_ps(zr, zi);
                zr = _mm_add_ps(_mm_sub_ps(r2, i2), cr);
                zi = _mm_add_ps(_mm_add_ps(cross, cross), ci);
            }
            uint64_t bits[2];
            memcpy(bits, &count, sizeof bits);
            checksum = bench_mix(checksum, bits[0] ^ bits[1] << 1);
        }
    }
    return checksum;
}

static uint64_t packed_integer(uint64_t round)
{
    static __m128i left[256], right[256];
    const __m128i reverse = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    uint64_t random = round + 1;
    for (size_t i = 0; i < 256; i++) {
        left[i] = _mm_set_epi64x((long long)bench_random(&random), (long long)random * 3);
        right[i] = _mm_set_epi64x((long long)random * 5, (long long)bench_random(&random));
    }
    __m128i sums = _mm_setzero_si128(), equal = sums, products = sums;
    for (int pass = 0; pass < 16; pass++)
        for (size_t i = 0; i < 256; i++) {
            __m128i turned = _mm_shuffle_epi8(right[i], reverse);
            __m128i blend = _mm_avg_epu8(left[i], turned);
            sums = _mm_add_epi64(sums, _mm_sad_epu8(blend, right[i]));
            equal = _mm_sub_epi8(equal, _mm_cmpeq_epi8(blend, left[i]));
            products = _mm_add_epi32(products, _mm_madd_epi16(blend, turned));
            left[i] = _mm_xor_si128(_mm_adds_epu8(left[i], _mm_srli_epi16(blend, 3)),
                                    _mm_unpacklo_epi8(turned, blend));
        }
    uint64_t checksum = 0;
    __m128i all = _mm_xor_si128(sums, _mm_xor_si128(equal, products));
    checksum = bench_mix(checksum, (uint64_t)_mm_cvtsi128_si64(all));
    return bench_mix(checksum, (uint64_t)_mm_extract_epi64(all, 1));
}

static uint64_t scalar_double(void)
{
    enum { BODIES = 5 };
    static double position[BODIES][3], velocity[BODIES][3];
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++) {
            position[i][k] = (double)(i * 3 + k * k) * 0.75 - 2.0;
            velocity[i][k] = (double)(k - i) * 0.05;
        }
    for (int step = 0; step < 150; step++) {
        for (int i = 0; i < BODIES; i++)
            for (int j = 0; j < i; j++) {
                double distance[3], square = 0.01;
                for (int k = 0; k < 3; k++) {
                    distance[k] = position[i][k] - position[j][k];
                    square += distance[k] * distance[k];
                }
                double force = 0.001 / (square * sqrt(square));
                for (int k = 0; k < 3; k++) {
                    velocity[i][k] -= distance[k] * force;
                    velocity[j][k] += distance[k] * force * 2.0;
                }
            }
        for (int i = 0; i < BODIES; i++)
            for (int k = 0; k < 3; k++)
                position[i][k] += velocity[i][k] * 0.01;
    }
    uint64_t checksum = 0, bits;
    for (int i = 0; i < BODIES; i++) {
        memcpy(&bits, &position[i][0], sizeof bits);
        checksum = bench_mix(checksum, bits);
    }
    return checksum;
}

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 3600), checksum = 0;
    struct bench_time start = bench_start();
    for (uint64_t i = 0; i < rounds; i++) {
        checksum = bench_mix(checksum, packed_float(i));
        checksum = bench_mix(checksum, packed_integer(i));
        checksum = bench_mix(checksum, scalar_double());
    }
    bench_report("sse", checksum, start);
    return 0;
}
