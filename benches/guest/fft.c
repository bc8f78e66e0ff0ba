/* The fast Fourier transform, there and back. */
#include "bench.h"

#include <math.h>

enum { BITS = 12, POINTS = 1 << BITS };

static double cosines[POINTS / 2], sines[POINTS / 2];

NOINLINE static void transform(double *re, double *im, double direction)
{
    for (unsigned i = 0; i < POINTS; i++) {
        unsigned j = 0;
        for (int bit = 0; bit < BITS; bit++)
            j |= (i >> bit & 1) << (BITS - 1 - bit);
        if (i < j) {
            double t = re[i];
            re[i] = re[j], re[j] = t;
            t = im[i];
            im[i] = im[j], im[j] = t;
        }
    }
    for (unsigned half = 1; half < POINTS; half *= 2)
        for (unsigned start = 0; start < POINTS; start += 2 * half)
            for (unsigned k = 0; k < half; k++) {
                unsigned a = start + k, b = a + half, angle = k * (POINTS / 2 / half);
                double c = cosines[angle], s = direction * sines[angle];
                double x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
                re[b] = re[a] - x, im[b] = im[a] - y;
                re[a] += x, im[a] += y;
            }
}

PROGRAM(fft, 1000, "transforms of 4096 complex points and back")
{
    double *re = allocate(POINTS * sizeof(double)), *im = allocate(POINTS * sizeof(double));
    uint64_t random = 13, sum = 0;
    for (int i = 0; i < POINTS / 2; i++) {
        cosines[i] = cos(i * (2 * M_PI / POINTS));
        sines[i] = sin(i * (2 * M_PI / POINTS));
    }
    for (int i = 0; i < POINTS; i++) {
        re[i] = (double)(int)(next_random(&random) % 2001 - 1000) / 1000;
        im[i] = (double)(int)(next_random(&random) % 2001 - 1000) / 1000;
    }
    begin();
    for (long round = 0; round < count; round++) {
        transform(re, im, 1);
        transform(re, im, -1);
        for (int i = 0; i < POINTS; i++)
            re[i] /= POINTS, im[i] /= POINTS;
    }
    end();
    for (int i = 0; i < POINTS; i++)
        sum = mix(mix(sum, bits_of(re[i])), bits_of(im[i]));
    return sum;
}
