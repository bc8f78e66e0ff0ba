/* Runs one benchmark program: NAME [COUNT].
 *
 * It prints `begin NAME` when the timed part begins, and then one line
 *
 *   NAME SECONDS SCORE cpu=SECONDS sum=CHECKSUM
 *
 * with the elapsed time, units of work per second, the CPU time of the process and the children it has waited for, and a
 * checksum that the same binary gives everywhere. Without arguments it lists the programs. */
#include "bench.h"

#include <sys/resource.h>
#include <time.h>

static struct program *programs;
static struct program *running;
static double begun, begun_cpu, elapsed, elapsed_cpu;

void add_program(struct program *program)
{
    struct program **at = &programs;
    while (*at && strcmp((*at)->name, program->name) < 0)
        at = &(*at)->next;
    program->next = *at;
    *at = program;
}

_Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

void *allocate(size_t bytes)
{
    bytes = (bytes + 63) & ~(size_t)63;
    void *memory = aligned_alloc(64, bytes);
    if (!memory)
        fail("aligned_alloc");
    return memset(memory, 0, bytes);
}

static double seconds(struct timeval t)
{
    return t.tv_sec + t.tv_usec * 1e-6;
}

static double cpu_now(void)
{
    struct timespec self;
    struct rusage children;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return self.tv_sec + self.tv_nsec * 1e-9 + seconds(children.ru_utime) + seconds(children.ru_stime);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

void begin(void)
{
    printf("begin %s\n", running->name);
    fflush(stdout);
    begun_cpu = cpu_now();
    begun = now();
}

void end(void)
{
    elapsed = now() - begun;
    elapsed_cpu = cpu_now() - begun_cpu;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        for (struct program *p = programs; p; p = p->next)
            printf("%-14s %10ld %s\n", p->name, p->count, p->unit);
        return 0;
    }
    /* What the program that starts processes starts. */
    if (!strcmp(argv[1], "--nothing"))
        return 0;
    for (running = programs; running && strcmp(running->name, argv[1]); running = running->next)
        ;
    if (!running) {
        fprintf(stderr, "%s: no program %s; run it without arguments for a list\n", argv[0], argv[1]);
        return 2;
    }
    long count = argc > 2 ? atol(argv[2]) : running->count;
    uint64_t sum = running->run(count);
    printf("%s %.6f %.6g cpu=%.6f sum=%016llx\n", running->name, elapsed, count / elapsed, elapsed_cpu,
           (unsigned long long)sum);
    return 0;
}
