/* Two threads that take turns, each waking the other through a condition variable. */
#include "bench.h"

#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long turn, last;

static void take_turns(long parity)
{
    pthread_mutex_lock(&mutex);
    for (;;) {
        while (turn < last && turn % 2 != parity)
            pthread_cond_wait(&changed, &mutex);
        if (turn >= last)
            break;
        turn++;
        pthread_cond_signal(&changed);
    }
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
}

static void *odd(void *argument)
{
    take_turns(1);
    return argument;
}

PROGRAM(mutex, 30000, "turns of two threads")
{
    pthread_t other;
    last = count;
    begin();
    if (pthread_create(&other, NULL, odd, NULL))
        fail("pthread_create");
    take_turns(0);
    pthread_join(other, NULL);
    end();
    return turn;
}
