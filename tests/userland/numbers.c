/*
 * Plain C on numbers of every type, for a compiler to vectorise as it likes: loops with reductions,
 * conversions, long double and the C library's functions. It prints a checksum a loop.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define N 2000

static double x[N], y[N], z[N];
static float fx[N], fz[N];
static long double lx[N], lz[N];
static int64_t ix[N], iz[N];
static uint8_t bx[N], bz[N];

static uint64_t checksum(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t sum = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ bytes[i]) * 1099511628211u;
    return sum;
}

#define TELL(name, array) printf("%-12s %016" PRIx64 "\n", name, checksum(array, sizeof array))
#define LOOP(name, array, expression)                                                              \
    for (unsigned i = 0; i < N; i++)                                                               \
        (array)[i] = (expression);                                                                 \
    TELL(name, array)

/* 80 bits of the 128 that a long double takes. */
static void tell_long(const char *name)
{
    static uint8_t bytes[N][10];
    for (unsigned i = 0; i < N; i++)
        memcpy(bytes[i], &lz[i], 10);
    TELL(name, bytes);
}

int main(void)
{
    uint64_t random = 88172645463325252;
    for (unsigned i = 0; i < N; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        ix[i] = (int64_t)random;
        bx[i] = (uint8_t)(random >> 40);
        x[i] = (double)(int64_t)random / 3e15;
        y[i] = (double)(random >> 11) / 7e15 + 0.001;
        fx[i] = (float)x[i];
        lx[i] = (long double)(int64_t)random / 3;
    }
    LOOP("add", z, x[i] + y[i]);
    LOOP("muladd", z, x[i] * y[i] + 1.5);
    LOOP("divide", z, x[i] / y[i]);
    LOOP("root", z, sqrt(y[i]));
    LOOP("select", z, x[i] > y[i] ? x[i] : -y[i]);
    LOOP("float", fz, fx[i] * 3 - 1 / fx[i]);
    LOOP("narrow", fz, (float)x[i]);
    LOOP("truncate", iz, (int64_t)x[i]);
    LOOP("widen", z, (double)ix[i]);
    LOOP("shift", iz, ix[i] << (i & 63) ^ ix[i] >> 7);
    LOOP("multiply", iz, ix[i] * ix[N - 1 - i]);
    LOOP("high", iz, (int64_t)((__int128)ix[i] * ix[N - 1 - i] >> 64));
    LOOP("remainder", iz, ix[i] % (ix[N - 1 - i] | 1));
    LOOP("bits", iz,
         __builtin_popcountll((uint64_t)ix[i]) + __builtin_ctzll((uint64_t)ix[i] | 1 << 20));
    LOOP("saturate", bz, (uint8_t)(bx[i] + bx[N - 1 - i] > 255 ? 255 : bx[i] + bx[N - 1 - i]));
    LOOP("sin", z, sin(x[i]));
    LOOP("exp", z, exp(x[i] / 10));
    LOOP("pow", z, pow(y[i], x[i]));
    LOOP("round", z, rint(x[i]) + floor(y[i]) + trunc(x[i]));
    LOOP("fma", z, fma(x[i], y[i], z[i]));
    for (unsigned i = 0; i < N; i++)
        lz[i] = lx[i] * 3 + 1 / lx[i];
    tell_long("long");
    for (unsigned i = 0; i < N; i++)
        lz[i] = sinl(lx[i]) + sqrtl(fabsl(lx[i])) + logl(fabsl(lx[i]));
    tell_long("long sin");
    for (unsigned i = 0; i < N; i++)
        lz[i] = fmodl(lx[i], 1e5L) + ldexpl(lx[i], 5) + rintl(lx[i]);
    tell_long("long mod");
    return 0;
}
