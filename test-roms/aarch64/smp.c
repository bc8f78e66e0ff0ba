/* Several CPUs: exclusives, WFE and SEV, TLB maintenance for all, code that another CPU has changed, memory order.
 * Parameters: rounds=N, changes of code that others run meanwhile. */
#include "tables.h"

const char rom_name[] = "smp";

#define ROUNDS 2000

static u64 counter, lock_word, guarded[2];

static void add_exclusive(u64 *at, u64 n)
{
    u64 old, failed;
    __asm__ volatile("1: ldxr %0, [%2]\nadd %0, %0, %3\nstxr %w1, %0, [%2]\ncbnz %w1, 1b"
                     : "=&r"(old), "=&r"(failed)
                     : "r"(at), "r"(n)
                     : "memory");
}

/* A lock whose waiters sleep until the exclusive monitor is cleared by the unlocking store. */
static void take(u64 *at)
{
    u64 value, failed;
    __asm__ volatile("sevl\n1: wfe\n2: ldaxr %0, [%2]\ncbnz %0, 1b\nstxr %w1, %3, [%2]\ncbnz %w1, 2b"
                     : "=&r"(value), "=&r"(failed)
                     : "r"(at), "r"(1ul)
                     : "memory");
}

static void give(u64 *at) { __asm__ volatile("stlr xzr, [%0]" ::"r"(at) : "memory"); }

static void exclusives(void)
{
    if (cpu->id == 0)
        counter = guarded[0] = guarded[1] = lock_word = 0;
    barrier();
    for (u64 i = 0; i < ROUNDS; i++)
        add_exclusive(&counter, 1);
    barrier();
    check_eq("LDXR and STXR", counter, n_cpus * ROUNDS);
    for (u64 i = 0; i < ROUNDS; i++) {
        take(&lock_word);
        u64 n = ++guarded[0];
        check("nobody else is inside", guarded[1] + 1 == n);
        guarded[1] = n;
        give(&lock_word);
    }
    barrier();
    check_eq("a lock with WFE", guarded[0], n_cpus * ROUNDS);
    if (field(read_sys("id_aa64isar0_el1"), 20) >= 2) {
        barrier();
        for (u64 i = 0; i < ROUNDS; i++)
            __asm__ volatile(".arch_extension lse\nldadd %0, %1, [%2]" ::"r"(1ul), "r"(0ul), "r"(&counter) : "memory");
        barrier();
        check_eq("LDADD", counter, 2 * n_cpus * ROUNDS);
    }
    /* A reservation that another's store, or one's own exception return, has taken away. */
    u64 failed, value;
    __asm__ volatile("ldxr %0, [%2]\nclrex\nstxr %w1, %0, [%2]" : "=&r"(value), "=&r"(failed) : "r"(cpu->data) : "memory");
    check_eq("CLREX", failed, 1);
    if (n_cpus > 1) {
        static u64 word, turn;
        barrier();
        if (cpu->id == 0) {
            word = 5;
            turn = 0;
        }
        barrier();
        if (cpu->id == 0) {
            __asm__ volatile("ldxr %0, [%1]" : "=r"(value) : "r"(&word) : "memory");
            __atomic_store_n(&turn, 1, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != 2)
                relax();
            __asm__ volatile("stxr %w0, %1, [%2]" : "=&r"(failed) : "r"(9ul), "r"(&word) : "memory");
            check_eq("a store of another CPU in between", failed, 1);
            check_eq("the other's value stays", word, 7);
        } else if (cpu->id == 1) {
            while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != 1)
                relax();
            __atomic_store_n(&word, 7, __ATOMIC_SEQ_CST);
            __atomic_store_n(&turn, 2, __ATOMIC_SEQ_CST);
        }
        barrier();
    }
}

/* A token that goes around by SEV; whoever has not got it sleeps. */
static void events(void)
{
    static u64 token;
    if (cpu->id == 0)
        token = 0;
    barrier();
    for (u64 i = 0; i < 200; i++) {
        while (__atomic_load_n(&token, __ATOMIC_ACQUIRE) % n_cpus != cpu->id)
            wfe();
        __atomic_add_fetch(&token, 1, __ATOMIC_RELEASE);
        dsb();
        sev();
    }
    barrier();
    check_eq("the token's way", token, 200 * n_cpus);
}

#define TABLES (RAM + (80ul << 20))
#define PAGES (RAM + (84ul << 20))
#define VA 0xffff812345670000ul

/* CPU 0 maps a page anew and tells all TLBs; the others must see it from then on. */
static void maintenance(void)
{
    const struct granule *g = granules;
    static u64 identity[512] __attribute__((aligned(4096)));
    if (cpu->id == 0) {
        identity[0] = DEVICE_MEMORY | AF | VALID;
        identity[1] = RAM | INNER | AF | VALID;
        for (u64 i = 0; i < 0x40000 / 8; i++)
            ((volatile u64 *)TABLES)[i] = 0;
        for (u64 i = 0; i < 64; i++)
            mmio64(PAGES + 0x1000 * i) = i;
        map(g, TABLES, 0, 3, VA, 0, PAGES | AF | INNER | PAGE);
    }
    barrier();
    if (cpu->home == 1) {
        write_sys("mair_el1", MAIR);
        write_sys("tcr_el1", 25ul | 16ul << 16 | 2ul << 30 | 2ul << 32);
        write_sys("ttbr0_el1", (u64)identity);
        write_sys("ttbr1_el1", TABLES);
        tlbi("vmalle1");
        write_sys("sctlr_el1", read_sys("sctlr_el1") | 1);
        for (u64 i = 1; i < 64; i++) {
            barrier();
            check_eq("the page before", mmio64(VA), i - 1);
            barrier();
            if (cpu->id == i % n_cpus) {
                *entry_of(g, TABLES, 0, 3, VA) = 0;
                if (i & 1)
                    tlbi_va("vaae1is", VA >> 12 & 0xffffffffffful);
                else
                    tlbi("vmalle1is");
                *entry_of(g, TABLES, 0, 3, VA) = (PAGES + 0x1000 * i) | AF | INNER | PAGE;
                dsb();
                isb();
            }
            barrier();
            check_eq("the page after", mmio64(VA), i);
        }
        barrier();
        write_sys("sctlr_el1", read_sys("sctlr_el1") & ~1ul);
    }
}

/* A function that the CPUs change in turn, and all of them call then. */
static void code(void)
{
    static u32 function[2] __attribute__((aligned(64)));
    static u64 version;
    if (cpu->id == 0)
        version = 0;
    barrier();
    for (u32 i = 1; i < 200; i++) {
        if (cpu->id == i % n_cpus) {
            function[0] = 0xd2800000 | i << 5; /* mov x0, #i */
            function[1] = RET;
            sync_code(function, sizeof function);
            __atomic_store_n(&version, i, __ATOMIC_RELEASE);
        }
        while (__atomic_load_n(&version, __ATOMIC_ACQUIRE) != i)
            relax();
        isb();
        check_eq("changed code", ((u64(*)(void))function)(), i);
        barrier();
    }
}

/* A branch that CPU 0 changes while all others run it: they may run the old one or the new one, but no older one than the last
 * that they know to be done (Arm ARM, "Concurrent modification and execution of instructions"). */
static void code_meanwhile(void)
{
    enum { WAYS = 64 };
    /* What is written beside the code, in its page, keeps the page open for writing. */
    static struct {
        u32 entry[2];
        u32 ways[WAYS][2];
        u8 pad[64];
        u64 begun, done;
    } page __attribute__((aligned(4096)));
    u64 (*run)(void) = (u64(*)(void))page.entry;
    u64 last = param("rounds", 200);
    if (cpu->id == 0) {
        for (u32 way = 0; way < WAYS; way++) {
            page.ways[way][0] = 0xd2800000 | way << 5; /* mov x0, #way */
            page.ways[way][1] = RET;
        }
        page.entry[0] = 0x14000000 | 2; /* b ways[0] */
        sync_code(&page, sizeof page);
        page.begun = page.done = 0;
    }
    barrier();
    isb();
    if (cpu->id == 0) {
        u64 bad = 0;
        for (u64 g = 1; g <= last; g++) {
            __atomic_store_n(&page.begun, g, __ATOMIC_RELAXED);
            dsb();
            __atomic_store_n(&page.entry[0], 0x14000000 | (2 + 2 * (g % WAYS)), __ATOMIC_RELAXED);
            sync_code(page.entry, 4);
            bad += run() != g % WAYS;
            __atomic_store_n(&page.done, g, __ATOMIC_RELEASE);
        }
        check_eq("own changes that were not seen", bad, 0);
    } else {
        u64 bad = 0, done;
        do {
            done = __atomic_load_n(&page.done, __ATOMIC_ACQUIRE);
            isb();
            u64 way = run();
            dsb();
            u64 begun = __atomic_load_n(&page.begun, __ATOMIC_RELAXED);
            bad += (way - done) % WAYS > begun - done;
        } while (done < last);
        check_eq("changes that were seen late or early", bad, 0);
    }
    barrier();
}

/* Two words written in order are seen in order; and each sees its own store or the other's (with DMB). */
static void order(void)
{
    static struct {
        u64 a;
        u8 pad[120];
        u64 b;
    } shared;
    static u64 r[2];
    if (n_cpus < 2)
        return;
    for (u64 i = 1; i <= 2000; i++) {
        barrier();
        if (cpu->id == 0) {
            __asm__ volatile("str %0, [%1]\nstlr %0, [%2]" ::"r"(i), "r"(&shared.a), "r"(&shared.b) : "memory");
        } else if (cpu->id == 1) {
            u64 b, a;
            __asm__ volatile("ldar %0, [%3]\nldr %1, [%2]" : "=&r"(b), "=&r"(a) : "r"(&shared.a), "r"(&shared.b) : "memory");
            check("release and acquire", b != i || a == i);
        }
        barrier();
        if (cpu->id == 0)
            shared.a = shared.b = 0;
        barrier();
        if (cpu->id < 2) {
            u64 *mine = cpu->id ? &shared.a : &shared.b, *other = cpu->id ? &shared.b : &shared.a;
            u64 value;
            __asm__ volatile("str %1, [%2]\ndmb ish\nldr %0, [%3]" : "=&r"(value) : "r"(1ul), "r"(mine), "r"(other) : "memory");
            r[cpu->id] = value;
        }
        barrier();
        check("store buffering with DMB", r[0] | r[1]);
    }
}

void rom_main(void)
{
    mmu_on();
    exclusives();
    events();
    code();
    /* When one CPU translates code while another writes it, QEMU 11 can keep the old code. */
    if (!on_qemu())
        code_meanwhile();
    order();
    barrier();
    maintenance();
}
