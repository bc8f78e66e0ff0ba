/* The hash of FIPS 180-4, whose constants are computed from their definition. */
#include "bench.h"

enum { BYTES = 64 << 10 };

static uint32_t k[64], initial[8];

/* The first 32 bits behind the point of the square root (power 2) or cube root (power 3) of `value`. */
static uint32_t root_fraction(unsigned value, int power)
{
    unsigned __int128 target = (unsigned __int128)value << 32 * power;
    uint64_t root = 0;
    for (int bit = 36; bit >= 0; bit--) {
        uint64_t next = root | (uint64_t)1 << bit;
        unsigned __int128 raised = (unsigned __int128)next * next;
        if (power == 3) {
            if (raised >> 90) /* too large by far, and its cube would not fit */
                continue;
            raised *= next;
        }
        if (raised <= target)
            root = next;
    }
    return (uint32_t)root;
}

static void make_constants(void)
{
    for (unsigned found = 0, n = 2; found < 64; n++) {
        unsigned d = 2;
        while (d < n && n % d)
            d++;
        if (d < n)
            continue;
        if (found < 8)
            initial[found] = root_fraction(n, 2);
        k[found++] = root_fraction(n, 3);
    }
}

static inline uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

NOINLINE static void compress(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + k[i] + w[i];
        uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

PROGRAM(sha256, 500, "hashes of 64 KiB")
{
    uint8_t *data = allocate(BYTES);
    uint64_t random = 1, sum = 0;
    make_constants();
    for (int i = 0; i < BYTES; i++)
        data[i] = next_random(&random);
    begin();
    for (long round = 0; round < count; round++) {
        uint32_t state[8];
        memcpy(state, initial, sizeof state);
        for (int at = 0; at < BYTES; at += 64)
            compress(state, data + at);
        uint8_t last[64] = { 0x80 };
        for (int i = 0; i < 8; i++)
            last[63 - i] = (uint64_t)BYTES * 8 >> 8 * i;
        compress(state, last);
        data[round % BYTES] = state[0];
        for (int i = 0; i < 8; i++)
            sum = mix(sum, state[i]);
    }
    end();
    return sum;
}
