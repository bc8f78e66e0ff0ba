/* The C library's sort and search, which call back for each comparison. */
#include "bench.h"

struct record {
    uint32_t key;
    char name[12];
};

static int by_key(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static int by_name(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    return strcmp(x->name, y->name);
}

PROGRAM(callback, 160, "times that 4000 records are sorted twice and searched")
{
    enum { RECORDS = 4000 };
    struct record *records = allocate(RECORDS * sizeof *records);
    uint64_t random = 10, sum = 0;
    begin();
    for (long round = 0; round < count; round++) {
        for (int i = 0; i < RECORDS; i++) {
            uint64_t r = next_random(&random);
            records[i].key = r;
            for (int c = 0; c < 11; c++)
                records[i].name[c] = 'a' + (r >> 5 * c) % 26;
        }
        qsort(records, RECORDS, sizeof *records, by_name);
        sum = mix(sum, records[RECORDS / 2].key);
        qsort(records, RECORDS, sizeof *records, by_key);
        for (int i = 0; i < RECORDS; i++) {
            struct record wanted = { .key = records[i].key + (i & 1) };
            const struct record *found = bsearch(&wanted, records, RECORDS, sizeof *records, by_key);
            sum += found ? found - records : 1;
        }
    }
    end();
    return sum;
}
