/* Signals that a process sends to itself, and page faults that end in a handler. */
#include "bench.h"

#include <signal.h>
#include <sys/mman.h>

static volatile uint64_t handled;
static uint8_t *page;

static void on_signal(int number)
{
    (void)number;
    handled++;
}

static void on_fault(int number)
{
    (void)number;
    handled++;
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

PROGRAM(signal, 40000, "signals handled, one in four of them a fault")
{
    struct sigaction action = { .sa_handler = on_signal };
    struct sigaction fault = { .sa_handler = on_fault };
    page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        fail("mmap");
    if (sigaction(SIGUSR1, &action, NULL) || sigaction(SIGSEGV, &fault, NULL))
        fail("sigaction");
    begin();
    for (long i = 0; i < count; i++) {
        if (i % 4) {
            raise(SIGUSR1);
            continue;
        }
        if (mprotect(page, 4096, PROT_READ))
            fail("mprotect");
        *(volatile uint8_t *)page = i;
    }
    end();
    return mix(handled, *page);
}
