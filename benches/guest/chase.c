/* Loads that each give the address of the next, at random within an area of some size. */
#include "bench.h"

struct line {
    struct line *next;
    uint64_t padding[7];
};

static uint64_t chase(size_t bytes, long count)
{
    size_t lines = bytes / sizeof(struct line);
    struct line *area = allocate(bytes);
    uint32_t *order = allocate(lines * sizeof(uint32_t));
    uint64_t random = 15;
    for (size_t i = 0; i < lines; i++)
        order[i] = i;
    /* One cycle through all of them (Sattolo). */
    for (size_t i = lines - 1; i > 0; i--) {
        size_t j = next_random(&random) % i;
        uint32_t t = order[i];
        order[i] = order[j], order[j] = t;
    }
    for (size_t i = 0; i < lines; i++)
        area[order[i]].next = &area[order[(i + 1) % lines]];
    const struct line *at = area;
    begin();
    for (long i = 0; i < count; i++)
        at = at->next;
    OPAQUE(at);
    end();
    return at - area;
}

PROGRAM(chase_64k, 60000000, "loads within 64 KiB")
{
    return chase(64 << 10, count);
}

PROGRAM(chase_8m, 4000000, "loads within 8 MiB")
{
    return chase(8 << 20, count);
}

PROGRAM(chase_64m, 2500000, "loads within 64 MiB")
{
    return chase(64 << 20, count);
}
