/* A compressor that replaces repetitions by references, found through a hash table, and its inverse. */
#include "bench.h"

enum { BYTES = 256 << 10, HASH_BITS = 13, WINDOW = 65535, SHORTEST = 4, LONGEST = 255 + SHORTEST };

static uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Each sequence: number of literals (a byte), literals, length of the match less SHORTEST (a byte), distance (two). */
NOINLINE static size_t pack(const uint8_t *in, size_t length, uint8_t *out)
{
    static uint32_t places[1 << HASH_BITS];
    uint8_t *o = out;
    size_t at = 0, literals = 0;
    memset(places, 0, sizeof places);
    while (at + SHORTEST <= length) {
        uint32_t *place = &places[load32(in + at) * 2654435761u >> (32 - HASH_BITS)];
        size_t from = *place - 1u;
        *place = at + 1;
        size_t matched = 0;
        if (from < at && at - from <= WINDOW)
            while (matched < LONGEST && at + matched < length && in[from + matched] == in[at + matched])
                matched++;
        if (matched < SHORTEST && at - literals < 255) {
            at++;
            continue;
        }
        if (matched < SHORTEST)
            matched = 0;
        *o++ = at - literals;
        memcpy(o, in + literals, at - literals);
        o += at - literals;
        *o++ = matched ? matched - SHORTEST : 0;
        size_t distance = matched ? at - from : 0;
        *o++ = distance, *o++ = distance >> 8;
        at += matched;
        literals = at;
    }
    size_t rest = length - literals;
    while (rest) {
        size_t part = rest < 255 ? rest : 255;
        *o++ = part;
        memcpy(o, in + length - rest, part);
        o += part, rest -= part;
        *o++ = 0, *o++ = 0, *o++ = 0;
    }
    return o - out;
}

NOINLINE static size_t unpack(const uint8_t *in, size_t length, uint8_t *out)
{
    const uint8_t *stop = in + length;
    uint8_t *o = out;
    while (in < stop) {
        for (unsigned literals = *in++; literals; literals--)
            *o++ = *in++;
        unsigned matched = in[0] + SHORTEST, distance = in[1] | in[2] << 8;
        in += 3;
        if (distance)
            for (const uint8_t *from = o - distance; matched; matched--)
                *o++ = *from++;
    }
    return o - out;
}

PROGRAM(lz, 120, "times that 256 KiB are packed and unpacked")
{
    static const char *const words[] = {
        "the ", "guest ", "of ", "a ", "page ", "and ", "fault ", "in ", "table ", "entry ", "code ", "block ",
        "translated ", "memory ", "register ", "to ", "is ", "not ", "cached, ", "until ", "interrupt. ", "\n",
    };
    uint8_t *text = allocate(BYTES + 64), *packed = allocate(2 * BYTES), *again = allocate(BYTES + 64);
    uint64_t random = 3, sum = 0;
    size_t length = 0;
    while (length < BYTES - 32) {
        uint64_t r = next_random(&random);
        if (r % 8 == 0)
            length += sprintf((char *)text + length, "%u ", (unsigned)(r >> 40));
        else
            length += strlen(strcpy((char *)text + length, words[r >> 8 & 255 ? (r >> 16) % LENGTH(words) : 0]));
    }
    begin();
    for (long round = 0; round < count; round++) {
        size_t size = pack(text, length, packed);
        size_t back = unpack(packed, size, again);
        sum = mix(mix(sum, size), back);
        sum += memcmp(text, again, length) != 0;
        text[round * 997 % length]++;
    }
    end();
    return mix_bytes(sum, again, length);
}
