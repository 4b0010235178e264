/*
 * x87 work, as 32-bit programs and `long double` do it: bodies that attract each other in doubles
 * on the register stack, polynomials and continued fractions in extended precision, conversions to
 * integers that change the rounding mode, and the transcendental instructions.
 */
#include <math.h>
#include <string.h>

#include "bench.h"

#define X87 __attribute__((noinline, target("fpmath=387")))

X87 static uint64_t bodies(void)
{
    enum { BODIES = 5 };
    static double position[BODIES][3], velocity[BODIES][3];
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++) {
            position[i][k] = (double)(i * 3 + k * k) * 0.75 - 2.0;
            velocity[i][k] = (double)(k - i) * 0.05;
        }
    for (int step = 0; step < 100; step++) {
        for (int i = 0; i < BODIES; i++)
            for (int j = 0; j < i; j++) {
                double x = position[i][0] - position[j][0], y = position[i][1] - position[j][1],
                       z = position[i][2] - position[j][2];
                double square = x * x + y * y + z * z + 0.01;
                double force = 0.001 / (square * __builtin_sqrt(square));
                velocity[i][0] -= x * force;
                velocity[i][1] -= y * force;
                velocity[i][2] -= z * force;
                velocity[j][0] += x * force;
                velocity[j][1] += y * force;
                velocity[j][2] += z * force;
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

X87 static void multiply(const double a[16][16], const double b[16][16], double c[16][16])
{
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            double sum = 0;
            for (int k = 0; k < 16; k++)
                sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
}

static uint64_t matrix(uint64_t round)
{
    static double a[16][16], b[16][16], c[16][16];
    uint64_t random = round + 1, bits;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            a[i][j] = (double)(bench_random(&random) & 0xffff) * 0.125;
            b[i][j] = (double)(i - j) * 0.5;
        }
    multiply(a, b, c);
    multiply(c, a, b);
    memcpy(&bits, &b[3][5], sizeof bits);
    return bits;
}

static uint64_t extended(uint64_t round)
{
    static const long double coefficient[8] = {1.0L,        -0.5L,       0.25L,        -0.125L,
                                               1.0L / 3.0L, 1.0L / 7.0L, -1.0L / 9.0L, 0.01L};
    long double sum = 0, x = 0.5L + (long double)(round & 7) * 0.0625L;
    for (int i = 0; i < 300; i++) {
        long double value = 0;
        for (int k = 7; k >= 0; k--)
            value = value * x + coefficient[k];
        sum += value > 1.0L ? value - 1.0L : value;
        x = 1.0L / (1.0L + x + value * 0.01L);
    }
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    return bits;
}

X87 static uint64_t conversions(uint64_t round)
{
    double value = (double)(round & 1023) * 0.37;
    uint64_t checksum = 0;
    for (int i = 0; i < 200; i++) {
        checksum += (uint64_t)(int64_t)(value * 1000.0);
        checksum ^= (uint32_t)(int)value;
        value += 1.618;
    }
    return checksum;
}

static uint64_t transcendental(uint64_t round)
{
    long double angle = (long double)(round & 63) * 0.01L, sum = 0, sine, cosine;
    for (int i = 0; i < 20; i++) {
        __asm__("fsincos" : "=t"(cosine), "=u"(sine) : "0"(angle));
        sum += sine * cosine;
        angle += 0.1L;
    }
    int64_t scaled = (int64_t)(sum * 1e9L); /* these are not the same bits on all processors */
    return (uint64_t)scaled;
}

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 6000), checksum = 0;
    struct bench_time start = bench_start();
    for (uint64_t i = 0; i < rounds; i++) {
        checksum = bench_mix(checksum, bodies());
        checksum = bench_mix(checksum, matrix(i));
        checksum = bench_mix(checksum, extended(i));
        checksum = bench_mix(checksum, conversions(i));
        checksum = bench_mix(checksum, transcendental(i));
    }
    bench_report("x87", checksum, start);
    return 0;
}
