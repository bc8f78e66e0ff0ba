#include "bench.h"

NOINLINE static uint64_t fib(unsigned n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

PROGRAM(fib, 14, "recursive computations of the 32nd Fibonacci number")
{
    uint64_t sum = 0;
    begin();
    for (long round = 0; round < count; round++)
        sum = mix(sum, fib(32));
    end();
    return sum;
}
