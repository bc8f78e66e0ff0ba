/* Square roots and divisions in both precisions, each waiting for the one before. */
#include "bench.h"

#include <math.h>

PROGRAM(sqrtdiv, 25000000, "rounds of a square root and a division in each precision")
{
    double x = 2;
    float y = 3;
    begin();
    for (long i = 0; i < count; i++) {
        x = sqrt(x + (double)(i & 1023)) / (1.5 + x);
        y = sqrtf(y + (float)(i & 255)) / (2.5f + y);
    }
    end();
    return mix(bits_of(x), bits_of(y));
}
