/* Two threads on the same words: fetch-and-add, compare-and-swap, and a spin lock. */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static _Atomic uint64_t added, swapped, lock;
static uint64_t guarded;
static long each;

static void *work(void *argument)
{
    for (long i = 0; i < each; i++) {
        atomic_fetch_add(&added, 1);
        uint64_t seen = atomic_load_explicit(&swapped, memory_order_relaxed);
        while (!atomic_compare_exchange_weak(&swapped, &seen, seen + 3))
            ;
        if (i % 8)
            continue;
        for (int spins = 0; atomic_exchange_explicit(&lock, 1, memory_order_acquire); spins++)
            if (spins % 64 == 63)
                sched_yield();
        guarded++;
        atomic_store_explicit(&lock, 0, memory_order_release);
    }
    return argument;
}

PROGRAM(atomics, 3000000, "additions and exchanges by two threads")
{
    pthread_t other;
    each = count / 2;
    begin();
    if (pthread_create(&other, NULL, work, NULL))
        fail("pthread_create");
    work(NULL);
    pthread_join(other, NULL);
    end();
    return mix(mix(added, swapped), guarded);
}
