/* What signal processing does besides arithmetic: conversions both ways, between the precisions, comparisons, minimum and
 * maximum, absolute values, signs, rounding. */
#include "bench.h"

#include <math.h>

enum { SAMPLES = 4096 };

NOINLINE static int32_t filter(const int16_t *in, int16_t *out, double gain)
{
    float slow = 0;
    double peak = 0;
    int32_t clipped = 0;
    for (int i = 0; i < SAMPLES; i++) {
        float sample = in[i] / 32768.0f;
        slow += (sample - slow) * 0.03f;
        double boosted = (double)(sample - slow) * gain;
        double size = fabs(boosted);
        peak = size > peak ? size : peak * 0.999;
        double limited = fmin(fmax(boosted, -0.9), 0.9);
        clipped += limited != boosted;
        out[i] = (int16_t)lrint(copysign(limited * 32767.0, sample < 0 ? -peak : limited));
    }
    return clipped;
}

PROGRAM(fpmix, 4000, "passes over 4096 samples")
{
    int16_t *in = allocate(SAMPLES * sizeof *in), *out = allocate(SAMPLES * sizeof *out);
    uint64_t random = 14, sum = 0;
    for (int i = 0; i < SAMPLES; i++)
        in[i] = next_random(&random);
    begin();
    for (long round = 0; round < count; round++) {
        sum = mix(sum, filter(in, out, 0.5 + (round & 7) * 0.25));
        sum = mix(sum, (uint16_t)out[round % SAMPLES]);
        in[round % SAMPLES] ^= out[(round + 1) % SAMPLES];
    }
    end();
    return sum;
}
