/* Products of single-precision matrices, four cells at a time, as numeric libraries compute them.
 */
#include <string.h>

#include "bench.h"

#define ORDER 128
#define LANES 4

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

static lanes a[ORDER][ORDER / LANES], b[ORDER][ORDER / LANES], c[ORDER][ORDER / LANES];

/* c = a * b, two rows by four times four columns at once. */
static void multiply(void)
{
    for (int i = 0; i < ORDER; i += 2)
        for (int j = 0; j < ORDER / LANES; j += 4) {
            lanes sum[2][4] = {0};
            for (int k = 0; k < ORDER; k++)
                for (int row = 0; row < 2; row++) {
                    float left = a[i + row][k / LANES][k % LANES];
                    for (int column = 0; column < 4; column++)
                        sum[row][column] += left * b[k][j + column];
                }
            for (int row = 0; row < 2; row++)
                for (int column = 0; column < 4; column++)
                    c[i + row][j + column] = sum[row][column];
        }
}

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 900), random = 0x3a7, checksum = 0;
    for (int i = 0; i < ORDER; i++)
        for (int j = 0; j < ORDER; j++) {
            a[i][j / LANES][j % LANES] = (float)(bench_random(&random) % 1000) / 1000 - 0.5f;
            b[i][j / LANES][j % LANES] = (float)(bench_random(&random) % 1000) / 1000 - 0.5f;
        }
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        multiply();
        for (int i = 0; i < ORDER; i++)
            for (int j = 0; j < ORDER / LANES; j++)
                a[i][j] = c[i][j] * 0.09f + (lanes){0.1f, -0.2f, 0.3f, -0.1f};
        uint64_t bits[2];
        memcpy(bits, &a[round % ORDER][round % (ORDER / LANES)], sizeof bits);
        checksum = bench_mix(bench_mix(checksum, bits[0]), bits[1]);
    }
    bench_report("matrix", checksum, start);
    return 0;
}
