/* A switch over unpredictable values: jumps through a table, and short unpredictable branches. */
#include "bench.h"

enum { TOKENS = 1 << 14 };

NOINLINE static uint64_t consume(const uint8_t *tokens, uint64_t x)
{
    uint64_t y = x >> 7 | 1;
    int depth = 0;
    for (int i = 0; i < TOKENS; i++)
        switch (tokens[i]) {
        case 0: x += y; break;
        case 1: x ^= y << 3; break;
        case 2: y = y * 5 + x; break;
        case 3: depth++; break;
        case 4: depth -= depth > 0; break;
        case 5: if (x & 64) x -= 3; else y += 7; break;
        case 6: x = x >> 5 | x << 59; break;
        case 7: y ^= x; break;
        case 8: if (depth & 1) x += depth; break;
        case 9: x -= y >> 9; break;
        case 10: y |= 1; break;
        case 11: if ((int64_t)x < 0) x = ~x; break;
        case 12: x *= 3; break;
        case 13: if (x > y) y += x; else x += 11; break;
        case 14: y = y << 1 | y >> 63; break;
        default: x += tokens[i]; break;
        }
    return x ^ y ^ depth;
}

PROGRAM(dispatch, 1600, "passes over 16384 random tokens of 18 kinds")
{
    uint8_t *tokens = allocate(TOKENS);
    uint64_t random = 9, x = 1;
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = next_random(&random) % 18;
    begin();
    for (long round = 0; round < count; round++)
        x = consume(tokens, x);
    end();
    return x;
}
