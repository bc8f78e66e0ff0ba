/* What the benchmark programs share.
 *
 * A program is one PROGRAM(...) { ... }: it prepares its data, calls begin(), does `count` units of work, calls end(),
 * and returns a checksum of all it has computed. Its work depends on `count` alone. All programs are linked into one
 * executable, whose main function (main.c) runs the one that it is asked for. */
#ifndef BENCH_H
#define BENCH_H

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct program {
    const char *name;
    /* What a unit of work is. */
    const char *unit;
    /* Units that a run does unless told otherwise. */
    long count;
    uint64_t (*run)(long count);
    struct program *next;
};

void add_program(struct program *program);

#define PROGRAM(id, standard_count, unit_of_work)                                                            \
    static uint64_t run_##id(long count);                                                                    \
    static struct program program_##id = { #id, unit_of_work, standard_count, run_##id, NULL };              \
    __attribute__((constructor)) static void add_##id(void) { add_program(&program_##id); }                  \
    static uint64_t run_##id(long count)

#define NOINLINE __attribute__((noinline))
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* The timed part of a program. */
void begin(void);
void end(void);

/* Reports the failed call with its errno and exits. */
_Noreturn void fail(const char *what);

/* Zeroed memory at a multiple of 64. */
void *allocate(size_t bytes);

/* Pseudo-random numbers (splitmix64), the same in each run. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Adds a value to a checksum (a step of FNV-1a, on 64 bits at a time). */
static inline uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 0x100000001b3;
}

static inline uint64_t mix_bytes(uint64_t sum, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < length; i++)
        sum = mix(sum, at[i]);
    return sum;
}

/* The bits of a floating-point number, for checksums. */
static inline uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Keeps the compiler from knowing a value, or from doing without it. */
#define OPAQUE(value) __asm__ volatile("" : "+r"(value) : : "memory")

#endif
