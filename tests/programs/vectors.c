/*
 * A program of many vector loops, compiled with -O3 for x86-64-v3 (tests/boot/boot.sh vectors): the
 * compiler makes AVX2, FMA, gather and BMI code of plain C, and some is written with intrinsics. It
 * prints one checksum a loop, which must be the same in a guest as on the host.
 */
#include <immintrin.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 4096

static float f[4][N];
static double d[4][N];
static int32_t i32[4][N];
static uint32_t u32[4][N];
static uint16_t u16[4][N];
static uint8_t u8[4][N];
static uint64_t u64[4][N];

static uint64_t random_state = 88172645463325252;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fill(void)
{
    for (unsigned a = 0; a < 4; a++)
        for (unsigned i = 0; i < N; i++) {
            uint64_t random = next_random();
            f[a][i] = (float)(int32_t)random / 65536;
            d[a][i] = (double)(int64_t)random / 1e12;
            i32[a][i] = (int32_t)random;
            u32[a][i] = (uint32_t)(random >> 20);
            u16[a][i] = (uint16_t)random;
            u8[a][i] = (uint8_t)(random >> 9);
            u64[a][i] = random;
        }
}

static bool quiet;

static void report(const char *name, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t sum = 14695981039346656037u;
    if (quiet)
        return;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ bytes[i]) * 1099511628211u;
    printf("%-10s %016" PRIx64 "\n", name, sum);
}

#define NOINLINE __attribute__((noinline))

/* -- Floating point -- */

static NOINLINE void fma_float(float *to, const float *a, const float *b, const float *c,
                               unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = a[i] * b[i] + c[i];
}

static NOINLINE void fma_double(double *to, const double *a, const double *b, const double *c,
                                unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = a[i] * b[i] - c[i] * to[i];
}

static NOINLINE void roots(double *to, const double *a, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = sqrt(fabs(a[i])) / (1.0 + floor(a[i]) * floor(a[i]));
}

static NOINLINE void select_float(float *to, const float *a, const float *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = a[i] < b[i] ? a[i] * 2 : b[i] - 1;
}

static NOINLINE void convert(int32_t *to, const float *a, const double *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = (int32_t)a[i] + (int32_t)(b[i] / 16384);
}

static NOINLINE void halves(uint16_t *to, const float *a, unsigned n)
{
    for (unsigned i = 0; i < n; i += 8)
        _mm_storeu_si128((__m128i *)&to[i],
                         _mm256_cvtps_ph(_mm256_loadu_ps(&a[i]), _MM_FROUND_TO_NEAREST_INT));
}

static NOINLINE void unhalves(float *to, const uint16_t *a, unsigned n)
{
    for (unsigned i = 0; i < n; i += 8)
        _mm256_storeu_ps(&to[i], _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)&a[i])));
}

/* -- Integers -- */

static NOINLINE void gather(uint32_t *to, const uint32_t *table, const uint32_t *index, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = table[index[i] % N] + index[i];
}

static NOINLINE void gather_double(double *to, const double *table, const int32_t *index,
                                   unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = table[index[i] & (N - 1)];
}

static NOINLINE void gather_masked(uint32_t *to, const uint32_t *table, const int32_t *mask,
                                   const uint32_t *index, unsigned n)
{
    for (unsigned i = 0; i < n; i += 8) {
        __m256i m = _mm256_loadu_si256((const __m256i *)&mask[i]);
        __m256i at = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)&index[i]),
                                      _mm256_set1_epi32(N - 1));
        __m256i old = _mm256_loadu_si256((const __m256i *)&to[i]);
        _mm256_storeu_si256((__m256i *)&to[i],
                            _mm256_mask_i32gather_epi32(old, (const int *)table, at, m, 4));
    }
}

static NOINLINE void masked_moves(int32_t *to, const int32_t *a, const int32_t *mask, unsigned n)
{
    for (unsigned i = 0; i < n; i += 8) {
        __m256i m = _mm256_loadu_si256((const __m256i *)&mask[i]);
        _mm256_maskstore_epi32(&to[i], m, _mm256_maskload_epi32(&a[i ^ 8], m));
    }
}

static NOINLINE void saturate(uint8_t *to, const uint16_t *a, const uint8_t *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned value = (unsigned)a[i] / 3 + b[i];
        to[i] = value > 255 ? 255 : (uint8_t)value;
    }
}

static NOINLINE void shifts(uint32_t *to, const uint32_t *a, const uint32_t *count, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = (a[i] << (count[i] & 31)) ^ (a[i] >> (count[i] >> 8 & 31));
}

static NOINLINE void widen(uint64_t *to, const int32_t *a, const uint8_t *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = (uint64_t)((int64_t)a[i] * (int8_t)b[i]);
}

static NOINLINE void minmax(int32_t *to, const int32_t *a, const int32_t *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = (a[i] > b[i] ? a[i] : b[i]) - (a[i] < b[i] ? a[i] : b[i]) * 3;
}

static NOINLINE void permutes(uint64_t *to, const uint64_t *a, unsigned n)
{
    for (unsigned i = 0; i < n; i += 4) {
        __m256i x = _mm256_loadu_si256((const __m256i *)&a[i]);
        __m256i y = _mm256_permute4x64_epi64(x, 0x1b);
        __m256i z = _mm256_permutevar8x32_epi32(y, x);
        z = _mm256_shuffle_epi8(z, _mm256_alignr_epi8(x, y, 5));
        z = _mm256_blend_epi32(z, _mm256_permute2x128_si256(x, y, 0x21), 0x5a);
        _mm256_storeu_si256((__m256i *)&to[i], _mm256_sad_epu8(z, _mm256_unpackhi_epi16(x, y)));
    }
}

/* -- General registers -- */

static NOINLINE void bits(uint64_t *to, const uint64_t *a, const uint64_t *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t x = _pdep_u64(a[i], b[i]) ^ _pext_u64(b[i], a[i]);
        unsigned long long high;
        x += _mulx_u64(a[i], b[i], &high) ^ high;
        x ^= _bzhi_u64(a[i], (unsigned)b[i] & 127) + (~a[i] & b[i]);
        x += (a[i] & (a[i] - 1)) ^ (b[i] & -b[i]) ^ (a[i] ^ (a[i] - 1));
        x ^= _bextr_u64(a[i], i & 63, b[i] & 63);
        x += x >> (b[i] & 63) | a[i] << (x & 63);
        x ^= (uint64_t)((int64_t)a[i] >> (i & 63)) + (a[i] >> 13 | a[i] << 51);
        to[i] = x + (uint64_t)__builtin_ctzll(a[i] | 1ull << 63) * 3 +
                (uint64_t)__builtin_clzll(b[i] | 1) + (uint64_t)__builtin_popcountll(x);
    }
}

static void run(void)
{
    fill();
    fma_float(f[3], f[0], f[1], f[2], N);
    report("fma", f[3], sizeof f[3]);
    fma_double(d[3], d[0], d[1], d[2], N);
    report("fnma", d[3], sizeof d[3]);
    roots(d[2], d[3], N);
    report("sqrt", d[2], sizeof d[2]);
    select_float(f[2], f[0], f[1], N);
    report("select", f[2], sizeof f[2]);
    convert(i32[2], f[0], d[0], N);
    report("convert", i32[2], sizeof i32[2]);
    halves(u16[3], f[0], N);
    report("f16", u16[3], sizeof u16[3]);
    unhalves(f[0], u16[2], N);
    report("f32", f[0], sizeof f[0]);
    gather(u32[3], u32[0], u32[1], N);
    report("gather", u32[3], sizeof u32[3]);
    gather_double(d[1], d[0], i32[0], N);
    report("gatherd", d[1], sizeof d[1]);
    gather_masked(u32[2], u32[3], i32[1], u32[0], N);
    report("gatherm", u32[2], sizeof u32[2]);
    masked_moves(i32[3], i32[0], i32[1], N);
    report("mask", i32[3], sizeof i32[3]);
    saturate(u8[3], u16[0], u8[0], N);
    report("saturate", u8[3], sizeof u8[3]);
    shifts(u32[1], u32[2], u32[3], N);
    report("shift", u32[1], sizeof u32[1]);
    widen(u64[3], i32[0], u8[1], N);
    report("widen", u64[3], sizeof u64[3]);
    minmax(i32[2], i32[0], i32[1], N);
    report("minmax", i32[2], sizeof i32[2]);
    permutes(u64[2], u64[0], N);
    report("permute", u64[2], sizeof u64[2]);
    bits(u64[3], u64[0], u64[1], N);
    report("bits", u64[3], sizeof u64[3]);
}

/* vectors [ROUNDS]: only the last round prints. */
int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    while (rounds > 0) {
        quiet = --rounds > 0;
        run();
    }
    return 0;
}
