/* Objects of several classes, called through tables of functions. */
#include "bench.h"

struct shape;

struct class {
    uint32_t (*area)(const struct shape *);
    void (*grow)(struct shape *, uint32_t);
    const struct shape *(*larger)(const struct shape *, const struct shape *);
};

struct shape {
    const struct class *class;
    uint32_t a, b;
};

static uint32_t square_area(const struct shape *s) { return s->a * s->a; }
static uint32_t oblong_area(const struct shape *s) { return s->a * s->b; }
static uint32_t triangle_area(const struct shape *s) { return s->a * s->b / 2; }
static uint32_t disk_area(const struct shape *s) { return s->a * s->a * 355u / 113; }
static void grow_side(struct shape *s, uint32_t by) { s->a = (s->a + by) & 1023; }
static void grow_both(struct shape *s, uint32_t by) { s->a = (s->a + by) & 1023, s->b = (s->b + 2 * by) & 1023; }

static const struct shape *by_area(const struct shape *s, const struct shape *t)
{
    return s->class->area(s) >= t->class->area(t) ? s : t;
}

static const struct shape *by_side(const struct shape *s, const struct shape *t)
{
    return s->a >= t->a ? s : t;
}

static const struct class classes[] = {
    { square_area, grow_side, by_area },
    { oblong_area, grow_both, by_area },
    { triangle_area, grow_both, by_side },
    { disk_area, grow_side, by_side },
};

PROGRAM(virtual, 5000, "passes over 2000 objects of four classes")
{
    enum { OBJECTS = 2000 };
    static struct shape shapes[OBJECTS];
    uint64_t random = 8, sum = 0;
    for (int i = 0; i < OBJECTS; i++) {
        uint64_t r = next_random(&random);
        shapes[i] = (struct shape){ &classes[r & 3], r >> 2 & 1023, r >> 12 & 1023 };
    }
    begin();
    for (long round = 0; round < count; round++) {
        const struct shape *best = &shapes[0];
        for (int i = 0; i < OBJECTS; i++) {
            struct shape *s = &shapes[i];
            s->class->grow(s, round & 15);
            best = s->class->larger(best, s);
        }
        sum = mix(sum, best->class->area(best));
    }
    end();
    return sum;
}
