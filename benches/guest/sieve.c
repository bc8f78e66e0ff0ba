#include "bench.h"

enum { LIMIT = 1 << 20 };

PROGRAM(sieve, 100, "sieves of the first 2^20 numbers")
{
    uint8_t *composite = allocate(LIMIT);
    uint64_t sum = 0;
    begin();
    for (long round = 0; round < count; round++) {
        memset(composite, 0, LIMIT);
        for (uint32_t i = 2; i * i < LIMIT; i++)
            if (!composite[i])
                for (uint32_t j = i * i; j < LIMIT; j += i)
                    composite[j] = 1;
        uint64_t primes = 0;
        for (uint32_t i = 2; i < LIMIT; i++)
            primes += !composite[i];
        sum = mix(sum, primes);
    }
    end();
    return sum;
}
