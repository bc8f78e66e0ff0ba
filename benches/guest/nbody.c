/* Bodies that attract each other: square roots, divisions, and sums that depend on each other. */
#include "bench.h"

#include <math.h>

enum { BODIES = 6 };

struct body {
    double place[3], speed[3], mass;
};

NOINLINE static void advance(struct body *bodies, double dt)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            struct body *a = &bodies[i], *b = &bodies[j];
            double d[3], square = 1e-3;
            for (int axis = 0; axis < 3; axis++) {
                d[axis] = a->place[axis] - b->place[axis];
                square += d[axis] * d[axis];
            }
            double pull = dt / (square * sqrt(square));
            for (int axis = 0; axis < 3; axis++) {
                a->speed[axis] -= d[axis] * b->mass * pull;
                b->speed[axis] += d[axis] * a->mass * pull;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int axis = 0; axis < 3; axis++)
            bodies[i].place[axis] += dt * bodies[i].speed[axis];
}

PROGRAM(nbody, 900000, "steps of six bodies")
{
    struct body bodies[BODIES];
    uint64_t random = 11, sum = 0;
    for (int i = 0; i < BODIES; i++) {
        for (int axis = 0; axis < 3; axis++) {
            bodies[i].place[axis] = (double)(next_random(&random) % 4096) / 64 - 32;
            bodies[i].speed[axis] = (double)(next_random(&random) % 4096) / 4096 - 0.5;
        }
        bodies[i].mass = 1.0 / (1 + i);
    }
    begin();
    for (long step = 0; step < count; step++)
        advance(bodies, 0.001);
    end();
    for (int i = 0; i < BODIES; i++)
        for (int axis = 0; axis < 3; axis++)
            sum = mix(sum, bits_of(bodies[i].place[axis]));
    return sum;
}
