/* Reads and writes that go through 32 MiB in steps of a page and a line, so that each is in another page than the last;
 * and updates at random in 16 MiB, which do not wait for each other. */
#include "bench.h"

PROGRAM(stride, 80, "passes over 32 MiB in steps of 4160 bytes, and of 64 bytes")
{
    enum { BYTES = 32 << 20, STEP = 4096 + 64 };
    uint8_t *area = allocate(BYTES);
    uint64_t sum = 0;
    begin();
    for (long round = 0; round < count; round++) {
        for (long start = 0; start < 16; start++)
            for (long at = start * 64; at < BYTES; at += STEP)
                sum += area[at] += start;
        for (long at = round % 64; at < BYTES; at += 64)
            sum += area[at];
    }
    end();
    return sum;
}

PROGRAM(update, 20000000, "updates at random within 16 MiB")
{
    enum { WORDS = (16 << 20) / 8 };
    uint64_t *area = allocate(WORDS * sizeof *area), random = 17, sum = 0;
    begin();
    for (long i = 0; i < count; i++) {
        uint64_t r = next_random(&random);
        area[r % WORDS] ^= r;
    }
    end();
    for (long i = 0; i < WORDS; i++)
        sum = mix(sum, area[i]);
    return sum;
}
