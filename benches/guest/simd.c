/* What vectorised libraries do, in the compiler's own vector types: for instruction sets whose compiler turns these into
 * vector instructions. */
#include "bench.h"

enum { LENGTH_BYTES = 64 << 10 };

typedef float f32x4 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));

PROGRAM(simd_axpy, 30000, "additions of a multiple of a vector of 16384 floats to another")
{
    enum { VECTORS = LENGTH_BYTES / 16 };
    f32x4 *x = allocate(LENGTH_BYTES), *y = allocate(LENGTH_BYTES);
    uint64_t sum = 0;
    for (int i = 0; i < VECTORS; i++)
        for (int lane = 0; lane < 4; lane++)
            x[i][lane] = (i * 4 + lane) % 1000 / 1000.0f;
    begin();
    for (long round = 0; round < count; round++) {
        float factor = (round & 3) - 1.25f;
        for (int i = 0; i < VECTORS; i++)
            y[i] += x[i] * factor;
        OPAQUE(y);
    }
    end();
    for (int i = 0; i < VECTORS; i++)
        for (int lane = 0; lane < 4; lane++)
            sum = mix(sum, bits_of(y[i][lane]));
    return sum;
}

PROGRAM(simd_blend, 25000, "averages of two rows of 65536 bytes where a third is below a threshold")
{
    enum { VECTORS = LENGTH_BYTES / 16 };
    u8x16 *a = allocate(LENGTH_BYTES), *b = allocate(LENGTH_BYTES), *mask = allocate(LENGTH_BYTES);
    uint64_t random = 18;
    for (int i = 0; i < LENGTH_BYTES; i++) {
        uint64_t r = next_random(&random);
        ((uint8_t *)a)[i] = r, ((uint8_t *)b)[i] = r >> 8, ((uint8_t *)mask)[i] = r >> 16;
    }
    begin();
    for (long round = 0; round < count; round++) {
        uint8_t threshold = round;
        for (int i = 0; i < VECTORS; i++) {
            u8x16 average = (a[i] & b[i]) + ((a[i] ^ b[i]) >> 1);
            u8x16 chosen = (u8x16)(mask[i] < threshold);
            a[i] = (average & chosen) | (a[i] & ~chosen);
        }
        b[round % VECTORS] += 3;
        OPAQUE(a);
    }
    end();
    return mix_bytes(0, a, LENGTH_BYTES);
}

PROGRAM(simd_hash, 20000, "hashes of 65536 bytes in four lanes")
{
    enum { VECTORS = LENGTH_BYTES / 16 };
    u32x4 *data = allocate(LENGTH_BYTES), hash = { 1, 2, 3, 4 };
    uint64_t sum = 0;
    for (int i = 0; i < VECTORS; i++)
        for (int lane = 0; lane < 4; lane++)
            data[i][lane] = i * 2654435761u + lane;
    begin();
    for (long round = 0; round < count; round++)
        for (int i = 0; i < VECTORS; i++) {
            hash = (hash ^ data[i]) * 2246822519u;
            hash = hash >> 13 | hash << 19;
        }
    end();
    for (int lane = 0; lane < 4; lane++)
        sum = mix(sum, hash[lane]);
    return sum;
}
