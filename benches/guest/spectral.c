/* The largest singular value of a matrix that is computed element by element: conversions from integers, and divisions. */
#include "bench.h"

#include <math.h>

enum { SIZE = 200 };

static double element(int i, int j)
{
    return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1);
}

NOINLINE static void multiply(double *out, const double *in, int transposed)
{
    for (int i = 0; i < SIZE; i++) {
        double sum = 0;
        for (int j = 0; j < SIZE; j++)
            sum += (transposed ? element(j, i) : element(i, j)) * in[j];
        out[i] = sum;
    }
}

PROGRAM(spectral, 2500, "power iterations on a 200 by 200 matrix")
{
    double u[SIZE], v[SIZE], t[SIZE], uv = 0, vv = 0;
    for (int i = 0; i < SIZE; i++)
        u[i] = 1, v[i] = 0;
    begin();
    for (long round = 0; round < count; round++) {
        multiply(t, u, 0);
        multiply(v, t, 1);
        uv = vv = 0;
        for (int i = 0; i < SIZE; i++)
            uv += u[i] * v[i], vv += v[i] * v[i];
        double length = sqrt(vv);
        for (int i = 0; i < SIZE; i++)
            u[i] = v[i] / length;
    }
    end();
    return mix(bits_of(uv), bits_of(vv));
}
