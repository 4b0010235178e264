/*
 * Scalar double precision as compilers make it from plain C: planets that attract each other, the
 * spectral norm of an endless matrix, and a logistic map in which each step waits for the last.
 */
#include <math.h>
#include <string.h>

#include "bench.h"

#define PLANETS 5
#define ORDER   60

struct planet {
    double position[3], velocity[3], mass;
};

static void planets_move(struct planet *planets, double step)
{
    for (int i = 0; i < PLANETS; i++)
        for (int j = i + 1; j < PLANETS; j++) {
            double d[3], square = 1e-3;
            for (int k = 0; k < 3; k++) {
                d[k] = planets[i].position[k] - planets[j].position[k];
                square += d[k] * d[k];
            }
            double magnitude = step / (square * sqrt(square));
            for (int k = 0; k < 3; k++) {
                planets[i].velocity[k] -= d[k] * planets[j].mass * magnitude;
                planets[j].velocity[k] += d[k] * planets[i].mass * magnitude;
            }
        }
    for (int i = 0; i < PLANETS; i++)
        for (int k = 0; k < 3; k++)
            planets[i].position[k] += step * planets[i].velocity[k];
}

static double element(int i, int j)
{
    return 1.0 / ((double)((i + j) * (i + j + 1)) / 2.0 + i + 1);
}

static void multiply(const double *vector, double *product, bool transposed)
{
    for (int i = 0; i < ORDER; i++) {
        double sum = 0;
        for (int j = 0; j < ORDER; j++)
            sum += (transposed ? element(j, i) : element(i, j)) * vector[j];
        product[i] = sum;
    }
}

static double spectral_norm(double *vector)
{
    double between[ORDER], next[ORDER], dot = 0, square = 0;
    multiply(vector, between, false);
    multiply(between, next, true);
    for (int i = 0; i < ORDER; i++) {
        dot += vector[i] * next[i];
        square += next[i] * next[i];
    }
    for (int i = 0; i < ORDER; i++)
        vector[i] = next[i] / sqrt(square);
    return dot;
}

static uint64_t mix_double(uint64_t checksum, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bench_mix(checksum, bits);
}

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 8000), checksum = 0;
    struct planet planets[PLANETS];
    double vector[ORDER], x = 0.3;
    for (int i = 0; i < PLANETS; i++) {
        planets[i].mass = 1.0 / (i + 1);
        for (int k = 0; k < 3; k++) {
            planets[i].position[k] = (i * 3 + k * k) * 0.75 - 2.0;
            planets[i].velocity[k] = (k - i) * 0.05;
        }
    }
    for (int i = 0; i < ORDER; i++)
        vector[i] = 1;
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        for (int step = 0; step < 500; step++)
            planets_move(planets, 0.001);
        checksum = mix_double(checksum, planets[round % PLANETS].position[0]);
        checksum = mix_double(checksum, spectral_norm(vector));
        for (int i = 0; i < 4000; i++)
            x = 3.9 * x * (1.0 - x);
        checksum = mix_double(checksum, x);
    }
    bench_report("scalar", checksum, start);
    return 0;
}
