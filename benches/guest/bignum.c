/* Numbers of many words: products word by word with carries, and a reduction by shifting and subtracting. */
#include "bench.h"

enum { WORDS = 32 };

NOINLINE static void multiply(uint64_t product[2 * WORDS], const uint64_t *a, const uint64_t *b)
{
    memset(product, 0, 2 * WORDS * sizeof(uint64_t));
    for (int i = 0; i < WORDS; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < WORDS; j++) {
            unsigned __int128 sum = (unsigned __int128)a[i] * b[j] + product[i + j] + carry;
            product[i + j] = sum;
            carry = sum >> 64;
        }
        product[i + WORDS] = carry;
    }
}

/* Adds the upper half, times an odd constant, to the lower: the product modulo 2^2048 minus that constant. */
NOINLINE static void fold(uint64_t *x, const uint64_t product[2 * WORDS])
{
    const uint64_t excess = 0xd1342543de82ef95;
    uint64_t carry = 0;
    for (int i = 0; i < WORDS; i++) {
        unsigned __int128 sum = (unsigned __int128)product[i + WORDS] * excess + product[i] + carry;
        x[i] = sum;
        carry = sum >> 64;
    }
    for (int i = 0; carry && i < WORDS; i++) {
        unsigned __int128 sum = i ? (unsigned __int128)x[i] + carry : (unsigned __int128)carry * excess + x[i];
        x[i] = sum;
        carry = sum >> 64;
    }
}

PROGRAM(bignum, 120000, "products of two numbers of 2048 bits, reduced")
{
    uint64_t x[WORDS], base[WORDS], product[2 * WORDS], random = 6;
    for (int i = 0; i < WORDS; i++)
        x[i] = base[i] = next_random(&random);
    begin();
    for (long round = 0; round < count; round++) {
        multiply(product, x, round & 1 ? base : x);
        fold(x, product);
    }
    end();
    return mix_bytes(0, x, sizeof x);
}
