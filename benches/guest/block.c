/* Moving and filling memory by the C library, in large and in small pieces. */
#include "bench.h"

enum { LARGE = 1 << 20, POOL = 64 << 10 };

PROGRAM(memcpy_1m, 5000, "copies of 1 MiB")
{
    uint8_t *from = allocate(LARGE), *to = allocate(LARGE);
    uint64_t sum = 0;
    for (int i = 0; i < LARGE; i++)
        from[i] = i * 7;
    begin();
    for (long round = 0; round < count; round++) {
        from[round % LARGE]++;
        memcpy(to, from, LARGE);
        sum = mix(sum, to[round * 4099 % LARGE]);
    }
    end();
    return sum;
}

PROGRAM(memcpy_small, 12000000, "copies of 1 to 256 bytes, at any alignment")
{
    uint8_t *from = allocate(POOL), *to = allocate(POOL);
    uint64_t random = 16, sum = 0;
    for (int i = 0; i < POOL; i++)
        from[i] = next_random(&random);
    begin();
    for (long round = 0; round < count; round++) {
        uint64_t r = next_random(&random);
        memcpy(to + (r & 0x7fff), from + (r >> 16 & 0x7fff), (r >> 32 & 255) + 1);
        sum += to[r >> 40 & 0x7fff];
    }
    end();
    return sum;
}

PROGRAM(memset_1m, 15000, "fillings of 1 MiB")
{
    uint8_t *area = allocate(LARGE);
    uint64_t sum = 0;
    begin();
    for (long round = 0; round < count; round++) {
        memset(area, round, LARGE);
        sum = mix(sum, area[round * 4099 % LARGE]);
    }
    end();
    return sum;
}
