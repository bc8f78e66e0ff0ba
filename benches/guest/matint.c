#include "bench.h"

enum { SIDE = 64 };

NOINLINE static void multiply(int32_t c[SIDE][SIDE], const int16_t a[SIDE][SIDE], const int16_t b[SIDE][SIDE])
{
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int32_t sum = 0;
            for (int k = 0; k < SIDE; k++)
                sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
}

PROGRAM(matint, 3000, "products of two 64 by 64 matrices of 16-bit integers")
{
    static int16_t a[SIDE][SIDE], b[SIDE][SIDE];
    static int32_t c[SIDE][SIDE];
    uint64_t random = 5, sum = 0;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            a[i][j] = next_random(&random), b[i][j] = next_random(&random);
    begin();
    for (long round = 0; round < count; round++) {
        multiply(c, a, b);
        int i = round % SIDE;
        for (int j = 0; j < SIDE; j++)
            a[i][j] ^= c[j][i] >> 8;
        sum = mix(sum, (uint32_t)c[i][SIDE - 1 - i]);
    }
    end();
    return sum;
}
