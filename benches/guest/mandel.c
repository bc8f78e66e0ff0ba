/* The Mandelbrot set: few numbers, a branch that depends on them in each round. */
#include "bench.h"

NOINLINE static int escape(double x0, double y0, int limit)
{
    double x = 0, y = 0;
    int rounds = 0;
    while (rounds < limit && x * x + y * y <= 4) {
        double t = x * x - y * y + x0;
        y = 2 * x * y + y0;
        x = t;
        rounds++;
    }
    return rounds;
}

PROGRAM(mandel, 120, "pictures of 160 by 120 points, at most 200 rounds each")
{
    uint64_t sum = 0;
    begin();
    for (long picture = 0; picture < count; picture++)
        for (int row = 0; row < 120; row++)
            for (int column = 0; column < 160; column++)
                sum = mix(sum, escape(-2.2 + column * 0.02 + picture * 1e-3, -1.2 + row * 0.02, 200));
    end();
    return sum;
}
