/* A hash table with open addressing: insertions, searches, and removals that close the gap. */
#include "bench.h"

enum { SLOTS = 1 << 16, KEYS = SLOTS / 2 };

struct slot {
    uint64_t key; /* zero: free */
    uint64_t value;
};

static struct slot *slots;

static inline uint64_t home(uint64_t key)
{
    return key * 0x9e3779b97f4a7c15 >> 48;
}

NOINLINE static struct slot *find(uint64_t key)
{
    uint64_t at = home(key);
    while (slots[at].key && slots[at].key != key)
        at = (at + 1) % SLOTS;
    return &slots[at];
}

NOINLINE static void insert(uint64_t key, uint64_t value)
{
    struct slot *slot = find(key);
    slot->key = key;
    slot->value += value;
}

NOINLINE static int erase(uint64_t key)
{
    uint64_t gap = find(key) - slots;
    if (!slots[gap].key)
        return 0;
    for (uint64_t at = (gap + 1) % SLOTS; slots[at].key; at = (at + 1) % SLOTS) {
        uint64_t distance = (at - home(slots[at].key)) % SLOTS;
        if (distance >= (at - gap) % SLOTS) {
            slots[gap] = slots[at];
            gap = at;
        }
    }
    slots[gap] = (struct slot){ 0, 0 };
    return 1;
}

PROGRAM(hashtab, 120, "rounds of 32768 insertions, 65536 searches and 32768 removals")
{
    slots = allocate(SLOTS * sizeof(struct slot));
    uint64_t random = 4, sum = 0;
    uint64_t *keys = allocate(KEYS * sizeof(uint64_t));
    for (int i = 0; i < KEYS; i++)
        keys[i] = next_random(&random) | 1;
    begin();
    for (long round = 0; round < count; round++) {
        uint64_t found = 0, erased = 0;
        for (int i = 0; i < KEYS; i++)
            insert(keys[i], i);
        for (int i = 0; i < KEYS; i++) {
            found += find(keys[i])->value;
            found += find(keys[i] + 2)->value;
        }
        for (int i = KEYS; i-- > 0;)
            erased += erase(keys[i]);
        sum = mix(mix(sum, found), erased);
    }
    end();
    return sum;
}
