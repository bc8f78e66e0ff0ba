/* Puts a Linux guest under stress and checks every result: code that changes, address spaces that change, processes, signals
 * and timers, pipes, threads, floating point.
 *
 *   stress SECONDS [KIND...]
 *
 * Each kind of work is a process of its own, or several; all run at once, so that they compete for the CPUs. A line for each
 * says how many rounds it has done; the last line is `stress: passed` or `stress: failed`. Random numbers are the same in
 * every run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define NOINLINE __attribute__((noinline))

static const char *kind;
static double deadline;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int going_on(void)
{
    return now() < deadline;
}

static _Noreturn void wrong(const char *what, uint64_t got, uint64_t expected)
{
    printf("stress: %s: %s: got %#llx, expected %#llx\n", kind, what, (unsigned long long)got,
           (unsigned long long)expected);
    fflush(stdout);
    _exit(1);
}

static void check(const char *what, uint64_t got, uint64_t expected)
{
    if (got != expected)
        wrong(what, got, expected);
}

/* A call that must not fail. */
static long must(const char *what, long result)
{
    if (result == -1)
        wrong(what, errno, 0);
    return result;
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static void *map(size_t bytes, int rights)
{
    void *at = mmap(NULL, bytes, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        wrong("mmap", errno, 0);
    return at;
}

/* ---- Code that changes ---------------------------------------------------------------------------------------------- */

enum step { ADD, SHIFT_ADD, SHIFT_XOR, STEPS };

/* Writes code for a step on the first argument; its length in words. */
static int emit(uint32_t *at, enum step step, unsigned n)
{
#if defined(__riscv)
    switch (step) {
    case ADD: /* addi a0, a0, n */
        at[0] = n << 20 | 10 << 15 | 10 << 7 | 0x13;
        return 1;
    case SHIFT_ADD: /* slli t0, a0, n; add a0, a0, t0 */
        at[0] = n << 20 | 10 << 15 | 1 << 12 | 5 << 7 | 0x13;
        at[1] = 5 << 20 | 10 << 15 | 10 << 7 | 0x33;
        return 2;
    default: /* srli t0, a0, n; xor a0, a0, t0 */
        at[0] = n << 20 | 10 << 15 | 5 << 12 | 5 << 7 | 0x13;
        at[1] = 5 << 20 | 10 << 15 | 4 << 12 | 10 << 7 | 0x33;
        return 2;
    }
#elif defined(__aarch64__)
    switch (step) {
    case ADD: /* add x0, x0, #n */
        at[0] = 0x91000000 | n << 10;
        return 1;
    case SHIFT_ADD: /* add x0, x0, x0, lsl #n */
        at[0] = 0x8b000000 | n << 10;
        return 1;
    default: /* eor x0, x0, x0, lsr #n */
        at[0] = 0xca400000 | n << 10;
        return 1;
    }
#else
    (void)at, (void)step, (void)n;
    return 0;
#endif
}

#if defined(__riscv)
#define RETURN 0x00008067 /* jalr zero, 0(ra) */
#else
#define RETURN 0xd65f03c0 /* ret */
#endif

static uint64_t apply(uint64_t x, enum step step, unsigned n)
{
    switch (step) {
    case ADD:
        return x + n;
    case SHIFT_ADD:
        return x + (x << n);
    default:
        return x ^ x >> n;
    }
}

typedef uint64_t function(uint64_t);

/* Writes a function at `at` and makes it visible; what it makes of `x`. */
static uint64_t write_function(uint32_t *at, uint64_t x, uint64_t *random)
{
    uint32_t *next = at;
    for (int left = 1 + next_random(random) % 24; left; left--) {
        enum step step = next_random(random) % STEPS;
        unsigned n = step == ADD ? next_random(random) % 2048 : 1 + next_random(random) % 63;
        x = apply(x, step, n);
        next += emit(next, step, n);
    }
    *next++ = RETURN;
    __builtin___clear_cache((char *)at, (char *)next);
    return x;
}

/* What one thread has written, and another runs. */
static struct {
    _Atomic(function *) written;
    _Atomic uint64_t argument, result;
    _Atomic int done;
} handed;

static void *runs_what_others_write(void *unused)
{
    for (;;) {
        function *written = atomic_load(&handed.written);
        if (written == (function *)1)
            return unused;
        if (!written) {
            sched_yield();
            continue;
        }
#if defined(__aarch64__)
        __asm__ volatile("isb" ::: "memory");
#endif
        atomic_store(&handed.result, written(handed.argument));
        atomic_store(&handed.written, NULL);
        atomic_store(&handed.done, 1);
    }
}

static long changes_code(uint64_t random)
{
#if !defined(__riscv) && !defined(__aarch64__)
    return 0;
#endif
    enum { PAGES = 16, PAGE = 4096 };
    long rounds = 0;
    pthread_t other;
    must("pthread_create", -(pthread_create(&other, NULL, runs_what_others_write, NULL) != 0));
    while (going_on()) {
        uint8_t *code = map(PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
        for (int i = 0; i < 400; i++, rounds++) {
            /* Anywhere, over the edges of pages too; the data beside it changes all the time. */
            size_t offset = next_random(&random) % (PAGES * PAGE - 512) & ~(size_t)3;
            uint64_t x = next_random(&random);
            uint64_t expected = write_function((uint32_t *)(code + offset), x, &random);
            function *written = (function *)(code + offset);
            for (int again = next_random(&random) % 20; again >= 0; again--)
                check("a function just written", written(x), expected);
            if (i % 8 == 0) {
                atomic_store(&handed.done, 0);
                atomic_store(&handed.argument, x);
                atomic_store(&handed.written, written);
                while (!atomic_load(&handed.done))
                    sched_yield();
                check("a function that another thread has written", handed.result, expected);
            }
            if (i % 50 == 0) {
                /* The same code at another address, and its pages without the right to write. */
                must("mprotect", mprotect(code, PAGES * PAGE, PROT_READ | PROT_EXEC));
                check("a function in pages that cannot be written", written(x), expected);
                must("mprotect", mprotect(code, PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
            }
            uint8_t *data = code + (offset + 2048) % (PAGES * PAGE - 8);
            memset(data, i, 8);
            check("data beside code", data[7], (uint8_t)i);
        }
        must("munmap", munmap(code, PAGES * PAGE));
    }
    atomic_store(&handed.written, (function *)1);
    pthread_join(other, NULL);
    return rounds;
}

/* ---- Address spaces that change ----------------------------------------------------------------------------------- */

static sigjmp_buf after_fault;
static void *volatile faulted;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    faulted = info->si_addr;
    siglongjmp(after_fault, 1);
}

static NOINLINE void write_without_right(uint8_t *victim)
{
    faulted = NULL;
    if (sigsetjmp(after_fault, 1) == 0) {
        *(volatile uint8_t *)victim = 0;
        wrong("a write without the right", (uintptr_t)victim, 0);
    }
}

static void fill(uint64_t *at, size_t bytes, uint64_t seed)
{
    for (size_t i = 0; i < bytes / 8; i += 1 + i % 61)
        at[i] = seed + i;
}

static void check_filled(const char *what, uint64_t *at, size_t bytes, uint64_t seed)
{
    for (size_t i = 0; i < bytes / 8; i += 1 + i % 61)
        check(what, at[i], seed + i);
}

static long changes_mappings(uint64_t random)
{
    enum { MAPPINGS = 40, PAGE = 4096 };
    struct {
        uint8_t *at;
        size_t bytes;
        uint64_t seed;
    } mappings[MAPPINGS] = { 0 };
    long rounds = 0;
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    must("sigaction", sigaction(SIGSEGV, &action, NULL));
    for (; going_on(); rounds++) {
        int i = next_random(&random) % MAPPINGS;
        if (!mappings[i].at) {
            mappings[i].bytes = PAGE * (1 + next_random(&random) % (i == 0 ? 1024 : 60));
            mappings[i].at = map(mappings[i].bytes, PROT_READ | PROT_WRITE);
            mappings[i].seed = next_random(&random);
            for (size_t at = 0; at < mappings[i].bytes; at += PAGE * 3)
                check("a new mapping", *(uint64_t *)(mappings[i].at + at), 0);
            fill((uint64_t *)mappings[i].at, mappings[i].bytes, mappings[i].seed);
            continue;
        }
        uint8_t *at = mappings[i].at;
        size_t bytes = mappings[i].bytes;
        check_filled("a mapping", (uint64_t *)at, bytes, mappings[i].seed);
        switch (next_random(&random) % 5) {
        case 0:
            must("munmap", munmap(at, bytes));
            mappings[i].at = NULL;
            break;
        case 1: {
            /* What was written before is there, and now nothing can be written. */
            must("mprotect", mprotect(at, bytes, PROT_READ));
            check_filled("a mapping without the right to write", (uint64_t *)at, bytes, mappings[i].seed);
            uint8_t *victim = at + next_random(&random) % bytes;
            write_without_right(victim);
            check("the address of a fault", (uintptr_t)faulted, (uintptr_t)victim);
            must("mprotect", mprotect(at, bytes, PROT_READ | PROT_WRITE));
            break;
        }
        case 2:
            must("madvise", madvise(at, bytes, MADV_DONTNEED));
            check("a mapping whose contents have been dropped", *(uint64_t *)(at + bytes - 8), 0);
            mappings[i].seed = next_random(&random);
            fill((uint64_t *)at, bytes, mappings[i].seed);
            break;
        case 3: {
            void *moved = mremap(at, bytes, bytes + PAGE, MREMAP_MAYMOVE);
            if (moved == MAP_FAILED)
                wrong("mremap", errno, 0);
            check_filled("a mapping that has moved", moved, bytes, mappings[i].seed);
            must("munmap", munmap((uint8_t *)moved + bytes, PAGE));
            mappings[i].at = moved;
            break;
        }
        default:
            mappings[i].seed = next_random(&random);
            fill((uint64_t *)at, bytes, mappings[i].seed);
        }
    }
    return rounds;
}

/* ---- Processes --------------------------------------------------------------------------------------------------- */

static long makes_processes(uint64_t random)
{
    long rounds = 0;
    enum { BYTES = 64 << 10 };
    uint64_t *shared = map(BYTES, PROT_READ | PROT_WRITE);
    for (; going_on(); rounds++) {
        uint64_t seed = next_random(&random);
        fill(shared, BYTES, seed);
        unsigned number = seed % 200;
        pid_t child = must("fork", fork());
        if (child == 0) {
            check_filled("memory after a fork", shared, BYTES, seed);
            fill(shared, BYTES, seed + 1);
            check_filled("memory of a child", shared, BYTES, seed + 1);
            char text[16];
            snprintf(text, sizeof text, "%u", number);
            if (rounds % 2)
                execl("/proc/self/exe", "stress", "--exit", text, (char *)NULL);
            _exit(rounds % 2 ? 255 : number);
        }
        int status;
        check("the child", must("waitpid", waitpid(child, &status, 0)), child);
        check("a child's exit status", status, number << 8);
        check_filled("memory of a parent", shared, BYTES, seed);
    }
    return rounds;
}

/* ---- Signals and timers --------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t alarms;
static volatile double in_handler;

static void on_alarm(int signal)
{
    (void)signal;
    /* Uses registers that the interrupted code uses too. */
    double x = alarms;
    for (int i = 1; i < 20; i++)
        x = sqrt(x * x + i) / (1 + i * 0.25);
    in_handler = x;
    alarms++;
}

static NOINLINE uint64_t integers(uint64_t x, int count)
{
    for (int i = 0; i < count; i++)
        x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9 + (x >> 7) / (1 + (x & 0xff)) + i;
    return x;
}

/* Only operations that IEEE 754 fixes, so that the result is the same everywhere. */
static NOINLINE double floats(double x, int count)
{
    double a = x, b = 1.5, c = 0.75;
    float s = (float)x, t = 0.5f;
    for (int i = 0; i < count; i++) {
        double e = a * b;
        e = e + c;
        a = sqrt(e * e + 0.5) / (2 + (i & 31) * 0x1p-4);
        b = (b + a) / (2 + b * b);
        c = (double)(int64_t)(b * 1000) * 0x1p-9 - a / (1 + b * b);
        s = s * 1.25f;
        s = sqrtf(fabsf(s + t)) + (float)b / 4;
        t = t / (fabsf(s) + 1) + (float)(i & 7);
        a = a + (double)s * 0x1p-20;
    }
    return a + b + c + (double)s + (double)t;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

#define INTEGERS 0x4ee8547caa32ebaull /* integers(1, 20000) */
#define FLOATS 0x40295a16bb87f9d2ull /* the bits of floats(1, 20000) */

static void compute(void)
{
    check("integers", integers(1, 20000), INTEGERS);
    check("floating point", bits_of(floats(1, 20000)), FLOATS);
}

static long takes_signals(uint64_t random)
{
    long rounds = 0;
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    must("sigaction", sigaction(SIGALRM, &action, NULL));
    must("sigaction", sigaction(SIGUSR1, &action, NULL));
    struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
    must("setitimer", setitimer(ITIMER_REAL, &timer, NULL));
    for (; going_on(); rounds++) {
        compute();
        sig_atomic_t before = alarms;
        must("kill", kill(getpid(), SIGUSR1));
        if (alarms == before)
            wrong("a signal to itself", 0, 1);
        if (next_random(&random) % 16 == 0) {
            /* However it ends, it does. */
            struct timespec nap = { 0, 3000000 };
            nanosleep(&nap, NULL);
        }
    }
    timer = (struct itimerval){ 0 };
    must("setitimer", setitimer(ITIMER_REAL, &timer, NULL));
    if (!alarms)
        wrong("alarms", 0, 1);
    return rounds;
}

static long computes(uint64_t random)
{
    (void)random;
    long rounds = 0;
    for (; going_on(); rounds++)
        compute();
    return rounds;
}

/* ---- Pipes ---------------------------------------------------------------------------------------------------------- */

static void transfer(int file, void *buffer, size_t bytes, int writes)
{
    for (uint8_t *at = buffer; bytes;) {
        long moved = must(writes ? "write" : "read", writes ? write(file, at, bytes) : read(file, at, bytes));
        if (moved == 0)
            wrong("the end of a pipe", 0, bytes);
        at += moved;
        bytes -= moved;
    }
}

static long uses_pipes(uint64_t random)
{
    enum { MOST = 20000 };
    static uint8_t out[MOST], in[MOST];
    long rounds = 0;
    int to[2], from[2];
    must("pipe", pipe(to));
    must("pipe", pipe(from));
    pid_t child = must("fork", fork());
    if (child == 0) {
        close(to[1]);
        close(from[0]);
        for (;;) {
            uint32_t bytes;
            transfer(to[0], &bytes, sizeof bytes, 0);
            if (!bytes)
                _exit(0);
            transfer(to[0], in, bytes, 0);
            for (size_t i = 0; i < bytes; i++)
                in[i] ^= 0x5a;
            transfer(from[1], in, bytes, 1);
        }
    }
    for (; going_on(); rounds++) {
        uint32_t bytes = 1 + next_random(&random) % (rounds % 16 ? 256 : MOST);
        for (size_t i = 0; i < bytes; i++)
            out[i] = random >> i % 57;
        transfer(to[1], &bytes, sizeof bytes, 1);
        transfer(to[1], out, bytes, 1);
        transfer(from[0], in, bytes, 0);
        for (size_t i = 0; i < bytes; i++)
            check("a byte through two pipes", in[i], out[i] ^ 0x5a);
    }
    uint32_t end = 0;
    transfer(to[1], &end, sizeof end, 1);
    int status;
    must("waitpid", waitpid(child, &status, 0));
    check("the other end's exit status", status, 0);
    return rounds;
}

/* ---- Threads --------------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, STEPS_EACH = 4000 };

static struct {
    _Atomic uint64_t added, swapped;
    _Atomic uint32_t narrow;
    _Atomic uint8_t bytes[8];
    atomic_flag lock;
    uint64_t locked, guarded;
    pthread_mutex_t mutex;
    pthread_cond_t turn_changed;
    int turn;
} common;

static void *shares(void *argument)
{
    uintptr_t me = (uintptr_t)argument;
    for (int i = 0; i < STEPS_EACH; i++) {
        atomic_fetch_add(&common.added, me + 1);
        atomic_fetch_add(&common.bytes[(me + i) % 8], 1);
        atomic_fetch_xor(&common.narrow, 1u << me);
        uint64_t old = atomic_load(&common.swapped);
        while (!atomic_compare_exchange_weak(&common.swapped, &old, old * 2 + 1 - old)) {
        }
        while (atomic_flag_test_and_set_explicit(&common.lock, memory_order_acquire))
            if (i % 4 == 0)
                sched_yield();
        common.locked = common.locked + 1;
        atomic_flag_clear_explicit(&common.lock, memory_order_release);
        if (i % 8 == 0) {
            pthread_mutex_lock(&common.mutex);
            common.guarded++;
            pthread_mutex_unlock(&common.mutex);
        }
        if (i % 200 == 0) {
            pthread_mutex_lock(&common.mutex);
            while (common.turn != (int)me)
                pthread_cond_wait(&common.turn_changed, &common.mutex);
            common.turn = (common.turn + 1) % THREADS;
            pthread_cond_broadcast(&common.turn_changed);
            pthread_mutex_unlock(&common.mutex);
        }
    }
    return NULL;
}

static long uses_threads(uint64_t random)
{
    (void)random;
    long rounds = 0;
    for (; going_on(); rounds++) {
        memset(&common, 0, sizeof common);
        pthread_mutex_init(&common.mutex, NULL);
        pthread_cond_init(&common.turn_changed, NULL);
        pthread_t threads[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            must("pthread_create", -(pthread_create(&threads[i], NULL, shares, (void *)i) != 0));
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        check("atomic additions", common.added, STEPS_EACH * (uint64_t)(THREADS * (THREADS + 1) / 2));
        check("compare and swap", common.swapped, STEPS_EACH * THREADS);
        check("atomic exclusive or", common.narrow, 0);
        for (int i = 0; i < 8; i++)
            check("atomic bytes", common.bytes[i], (uint8_t)(STEPS_EACH * THREADS / 8));
        check("a spin lock", common.locked, STEPS_EACH * THREADS);
        check("a mutex", common.guarded, STEPS_EACH / 8 * THREADS);
    }
    return rounds;
}

/* ---- All together ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    long (*run)(uint64_t random);
    int processes;
} kinds[] = {
    { "code", changes_code, 2 },       { "mappings", changes_mappings, 1 }, { "processes", makes_processes, 1 },
    { "signals", takes_signals, 1 },   { "computation", computes, 1 },      { "pipes", uses_pipes, 1 },
    { "threads", uses_threads, 1 },
};

static int wanted(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return 1;
    return count == 0;
}

int main(int count, char **arguments)
{
    if (count == 3 && !strcmp(arguments[1], "--exit"))
        return atoi(arguments[2]);
    if (count == 2 && !strcmp(arguments[1], "--sums")) {
        printf("%#llx %#llx\n", (unsigned long long)integers(1, 20000), (unsigned long long)bits_of(floats(1, 20000)));
        return 0;
    }
    if (count < 2) {
        fprintf(stderr, "usage: stress SECONDS [KIND...]\n");
        return 2;
    }
    deadline = now() + atof(arguments[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int running = 0, failed = 0;
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        for (int n = 0; n < kinds[i].processes && wanted(kinds[i].name, count - 2, arguments + 2); n++) {
            kind = kinds[i].name;
            if (must("fork", fork()) == 0) {
                long rounds = kinds[i].run(i * 1000 + n);
                printf("stress: %s: %ld rounds\n", kind, rounds);
                fflush(stdout);
                _exit(0);
            }
            running++;
        }
    }
    for (; running; running--) {
        int status;
        must("wait", wait(&status));
        if (status) {
            printf("stress: a process ended with status %#x\n", status);
            failed = 1;
        }
    }
    printf("stress: %s\n", failed ? "failed" : "passed");
    return failed;
}
