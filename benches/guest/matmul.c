/* Dense matrix products in both precisions. */
#include "bench.h"

enum { SIDE = 96 };

#define MULTIPLY(name, type)                                                                                 \
    NOINLINE static void name(type *c, const type *a, const type *b)                                         \
    {                                                                                                        \
        for (int i = 0; i < SIDE; i++)                                                                       \
            for (int j = 0; j < SIDE; j++) {                                                                 \
                type sum = 0;                                                                                \
                for (int k = 0; k < SIDE; k++)                                                               \
                    sum += a[i * SIDE + k] * b[k * SIDE + j];                                                \
                c[i * SIDE + j] = sum;                                                                       \
            }                                                                                                \
    }

#define MATMUL(type, multiply)                                                                               \
    type *a = allocate(SIDE * SIDE * sizeof(type)), *b = allocate(SIDE * SIDE * sizeof(type));               \
    type *c = allocate(SIDE * SIDE * sizeof(type));                                                          \
    uint64_t random = 12, sum = 0;                                                                           \
    for (int i = 0; i < SIDE * SIDE; i++) {                                                                  \
        a[i] = (type)(int)(next_random(&random) % 2001 - 1000) / 1000;                                       \
        b[i] = (type)(int)(next_random(&random) % 2001 - 1000) / 1000;                                       \
    }                                                                                                        \
    begin();                                                                                                 \
    for (long round = 0; round < count; round++) {                                                           \
        multiply(c, a, b);                                                                                   \
        a[round % (SIDE * SIDE)] = c[round * 7 % (SIDE * SIDE)] / SIDE;                                      \
    }                                                                                                        \
    end();                                                                                                   \
    for (int i = 0; i < SIDE * SIDE; i++)                                                                    \
        sum = mix(sum, bits_of(c[i]));                                                                       \
    return sum

MULTIPLY(multiply_double, double)
MULTIPLY(multiply_float, float)

PROGRAM(matmul_f64, 400, "products of two 96 by 96 matrices of doubles")
{
    MATMUL(double, multiply_double);
}

PROGRAM(matmul_f32, 400, "products of two 96 by 96 matrices of floats")
{
    MATMUL(float, multiply_float);
}
