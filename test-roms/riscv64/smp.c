/* Several harts at once: IPIs, remote fences, AMOs, LR/SC, locks, and orders of memory accesses that must not be seen.
 *
 * Parameters: ops=N, operations on the LR/SC stack by all harts together; rounds=N, of everything else. */
#include "rt.h"

const char rom_name[] = "smp";

#define LINE __attribute__((aligned(64)))
#define load(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

static u64 rounds;

/* Die rather than hang: a lost interrupt or an endless SC loop shows as this. */
static void still_waiting(const char *what, u64 since)
{
    relax();
    if (csr_read(TIME) - since > 600000000ul) /* a minute */
        die(what);
}

#define WAIT(what, condition)                                                                                    \
    do {                                                                                                         \
        u64 since_ = csr_read(TIME);                                                                             \
        while (!(condition))                                                                                     \
            still_waiting(what, since_);                                                                         \
    } while (0)

/* ---- IPIs, from all to all, and fences carried by them ---- */

enum request { NOTHING, COUNT, SFENCE, FENCEI };

static struct {
    u64 sent, done;
    u32 what;
} LINE mail[MAX_HARTS][MAX_HARTS]; /* [from][to] */

static enum action on_ipi(void)
{
    if (hart->m.cause != (INTERRUPT | 3))
        return PASS;
    *msip(hart->id) = 0;
    fence();
    for (u64 from = 0; from < n_cpus; from++) {
        u64 sent = __atomic_load_n(&mail[from][hart->id].sent, __ATOMIC_ACQUIRE);
        if (sent == mail[from][hart->id].done)
            continue;
        switch (mail[from][hart->id].what) {
        case SFENCE:
            sfence_all();
            break;
        case FENCEI:
            fence_i();
            break;
        }
        __atomic_store_n(&mail[from][hart->id].done, sent, __ATOMIC_RELEASE);
    }
    return RESUME;
}

static void post(u64 to, enum request what)
{
    mail[hart->id][to].what = what;
    __atomic_add_fetch(&mail[hart->id][to].sent, 1, __ATOMIC_RELEASE);
    fence();
    *msip(to) = 1;
}

static void await(u64 to)
{
    WAIT("an IPI was lost", __atomic_load_n(&mail[hart->id][to].done, __ATOMIC_ACQUIRE) == mail[hart->id][to].sent);
}

static void ipis_on(void)
{
    hart->m_hook = on_ipi;
    csr_write(MIE, MSI);
    csr_set(MSTATUS, MSTATUS_MIE);
}

static void ipis_off(void)
{
    csr_clear(MSTATUS, MSTATUS_MIE);
    csr_write(MIE, 0);
    hart->m_hook = 0;
}

static void ipis(void)
{
    ipis_on();
    barrier();
    for (u64 i = 0; i < rounds; i++) {
        for (u64 to = 0; to < n_cpus; to++)
            post(to, COUNT);
        for (u64 to = 0; to < n_cpus; to++)
            await(to);
    }
    barrier();
    for (u64 from = 0; from < n_cpus; from++)
        check_eq("IPIs received", mail[from][hart->id].done, rounds);
    ipis_off();
    barrier();
    for (u64 to = 0; to < n_cpus; to++)
        mail[hart->id][to].sent = mail[hart->id][to].done = 0;
    barrier();
}

/* A token around a ring of harts that sleep in wfi: no wake-up may be lost. */
static void ring(void)
{
    csr_write(MIE, MSI);
    *msip(hart->id) = 0;
    barrier();
    u64 next = (hart->id + 1) % n_cpus;
    for (u64 i = 0; i < rounds; i++) {
        if (hart->id || i || n_cpus == 1) {
            if (n_cpus == 1)
                *msip(0) = 1;
            u64 since = csr_read(TIME);
            while (!(csr_read(MIP) & MSI)) {
                __asm__ volatile("wfi");
                still_waiting("a wake-up from wfi was lost", since);
            }
            *msip(hart->id) = 0;
            fence();
        }
        if (n_cpus > 1)
            *msip(next) = 1;
    }
    /* The last token stops at hart 0. */
    if (hart->id == 0 && n_cpus > 1) {
        WAIT("the token was lost", csr_read(MIP) & MSI);
        *msip(0) = 0;
    }
    csr_write(MIE, 0);
    check("ring of wfi", true);
    barrier();
}

/* ---- remote sfence.vma ---- */

#define TEST 0x1000000000ul
#define POISON 0x0bad0bad0bad0badul

static u64 roots[3][512] __attribute__((aligned(4096), section(".bss.page")));
static u64 generations[2][512] __attribute__((aligned(4096), section(".bss.page")));

/* In S: read the page at a0 until it says a1 or a2. */
__asm__(".balign 4\n"
        "read_until:\n"
        "1: ld a3, 0(a0)\n"
        "   beq a3, a1, 2f\n"
        "   bne a3, a2, 1b\n"
        "2: mv a0, a3\n"
        "   ecall\n");
extern const char read_until[];

static void remote_sfence(void)
{
    volatile u64 *leaf = &roots[2][0];
    if (hart->id == 0) {
        roots[0][2] = RAM >> 2 | 0xcf;
        roots[0][TEST >> 30] = (u64)roots[1] >> 2 | 1;
        roots[1][0] = (u64)roots[2] >> 2 | 1;
        *leaf = (u64)generations[0] >> 2 | 0xcf;
        generations[0][0] = 1;
    }
    ipis_on();
    barrier();
    csr_write(SATP, 8ul << 60 | (u64)roots[0] >> 12);
    sfence_all();
    barrier();
    if (hart->id == 0) {
        for (u64 g = 2; g <= rounds + 2; g++) {
            volatile u64 *next = generations[(g - 1) & 1], *last = generations[g & 1];
            *next = g;
            fence();
            *leaf = (u64)next >> 2 | 0xcf;
            sfence_all();
            for (u64 to = 1; to < n_cpus; to++)
                post(to, SFENCE);
            for (u64 to = 1; to < n_cpus; to++)
                await(to);
            /* Nobody may reach the old page from here on. */
            *last = POISON;
        }
    } else {
        csr_clear(MSTATUS, MSTATUS_MIE); /* run() uses mepc; below M, interrupts are on anyway */
        run(S, read_until, TEST, POISON, rounds + 2, 0);
        check_eq("remote sfence.vma: cause of the end", hart->m.cause, ECALL_S);
        check_eq("remote sfence.vma", hart->x[A0], rounds + 2);
        csr_set(MSTATUS, MSTATUS_MIE);
    }
    barrier();
    ipis_off();
    csr_write(SATP, 0);
    sfence_all();
    barrier();
}

/* ---- code that another hart writes ---- */

static u32 function[16] LINE;
static struct {
    u64 begun, done;
} LINE written;

#define CALL() (((u64(*)(void))function)())

/* All other harts run the function while hart 0 writes it. */
static void remote_fence_i(void)
{
    u64 last = rounds < 2000 ? rounds : 2000;
    if (hart->id == 0) {
        function[0] = A0 << 7 | 0x13u; /* li a0, 0 */
        function[1] = 0x00008067u;     /* ret */
    }
    barrier();
    fence_i();
    ipis_on();
    barrier();
    if (hart->id == 0) {
        for (u64 g = 1; g <= last; g++) {
            store(&written.begun, g);
            fence();
            store(&function[0], g << 20 | A0 << 7 | 0x13u);
            fence();
            fence_i();
            for (u64 to = 1; to < n_cpus; to++)
                post(to, FENCEI);
            for (u64 to = 1; to < n_cpus; to++)
                await(to);
            if (CALL() != g)
                check_eq("code that this hart wrote", CALL(), g);
            __atomic_store_n(&written.done, g, __ATOMIC_RELEASE);
        }
        check_eq("own code", CALL(), last);
    } else {
        u64 bad = 0, done;
        do {
            done = __atomic_load_n(&written.done, __ATOMIC_ACQUIRE);
            u64 got = CALL();
            fence();
            if (got < done || got > load(&written.begun))
                bad++;
        } while (done < last);
        check_eq("stale or early code seen after the remote fence.i", bad, 0);
    }
    barrier();
    ipis_off();
    barrier();
}

/* A barrier and a fence.i of one's own instead of an IPI. */
static void local_fence_i(void)
{
    if (hart->id == 0)
        function[1] = 0x00008067u;
    for (u64 g = 1; g <= 50; g++) {
        if (hart->id == g % n_cpus) {
            store(&function[0], (g + 100) << 20 | A0 << 7 | 0x13u);
            fence();
        }
        barrier();
        fence_i();
        check_eq("code written before a barrier and fence.i", CALL(), g + 100);
        barrier();
    }
}

/* ---- AMOs ---- */

static struct {
    u64 d[16];
    u32 w[16];
} LINE cells;

#define AMO_OP(name, at, value)                                                                                  \
    ({                                                                                                           \
        u64 old_;                                                                                                \
        __asm__ volatile(name " %0, %2, (%1)" : "=r"(old_) : "r"(at), "r"((u64)(value)) : "memory");             \
        old_;                                                                                                    \
    })

static void lr_sc_add_d(u64 *at, u64 value)
{
    u64 t, failed;
    __asm__ volatile("1: lr.d %0, (%2)\n add %0, %0, %3\n sc.d %1, %0, (%2)\n bnez %1, 1b"
                     : "=&r"(t), "=&r"(failed)
                     : "r"(at), "r"(value)
                     : "memory");
}

static void lr_sc_add_w(u32 *at, u64 value)
{
    u64 t, failed;
    __asm__ volatile("1: lr.w.aq %0, (%2)\n add %0, %0, %3\n sc.w.rl %1, %0, (%2)\n bnez %1, 1b"
                     : "=&r"(t), "=&r"(failed)
                     : "r"(at), "r"(value)
                     : "memory");
}

/* amocas: compares with a0, leaves the old value there. Assemblers of 2023 do not know it. */
static u64 amocas(u64 *at, u64 expected, u64 desired, bool word)
{
    register u64 a0 __asm__("a0") = expected;
    register u64 *a1 __asm__("a1") = at;
    register u64 a2 __asm__("a2") = desired;
    if (word)
        __asm__ volatile(".word 0x28c5a52f" : "+r"(a0) : "r"(a1), "r"(a2) : "memory"); /* amocas.w a0, a2, (a1) */
    else
        __asm__ volatile(".word 0x28c5b52f" : "+r"(a0) : "r"(a1), "r"(a2) : "memory"); /* amocas.d a0, a2, (a1) */
    return a0;
}

static void amoadd_b(u8 *at, u64 value)
{
    register u8 *a1 __asm__("a1") = at;
    register u64 a2 __asm__("a2") = value;
    __asm__ volatile(".word 0x00c5802f" ::"r"(a1), "r"(a2) : "memory"); /* amoadd.b x0, a2, (a1) */
}

static void amoadd_h(u16 *at, u64 value)
{
    register u16 *a1 __asm__("a1") = at;
    register u64 a2 __asm__("a2") = value;
    __asm__ volatile(".word 0x00c5902f" ::"r"(a1), "r"(a2) : "memory"); /* amoadd.h x0, a2, (a1) */
}

static void amos(void)
{
    u64 n = rounds * 20, id = hart->id, got = 0, put_in = 0;
    static u64 swapped LINE, bytes[2] LINE;
    if (id == 0) {
        cells.d[4] = cells.d[5] = 0x7fffffffffffffff;
        cells.d[6] = cells.d[7] = 0;
        cells.d[6] = 1ul << 63;
        cells.w[4] = 0x7fffffff;
        cells.w[5] = 0xffffffff;
        cells.w[6] = 0x80000000;
        cells.w[7] = 0;
        cells.d[3] = ~0ul;
    }
    barrier();
    for (u64 i = 0; i < n; i++) {
        AMO_OP("amoadd.d", &cells.d[0], 3);
        AMO_OP("amoadd.w.aqrl", &cells.w[0], 3);
        AMO_OP("amoxor.d", &cells.d[1], 0x0101010101010101ul << id);
        AMO_OP("amoxor.w", &cells.w[1], 0x01010101ul << id);
        AMO_OP("amoor.d", &cells.d[2], 1ul << (i % 16 + 16 * id));
        AMO_OP("amoand.d", &cells.d[3], ~(1ul << (i % 8 + 8 * id)));
        AMO_OP("amoor.w", &cells.w[2], 1ul << (i % 4 + 4 * id));
        AMO_OP("amomin.d", &cells.d[4], -(i64)(i * 8 + id));
        AMO_OP("amominu.d", &cells.d[5], (n - i) * 8 + id);
        AMO_OP("amomax.d", &cells.d[6], i * 8 + id);
        AMO_OP("amomaxu.d", &cells.d[7], -(n - i) * 8 + id);
        AMO_OP("amomin.w", &cells.w[4], -(i64)(i * 8 + id));
        AMO_OP("amominu.w", &cells.w[5], (n - i) * 8 + id);
        AMO_OP("amomax.w", &cells.w[6], i * 8 + id);
        AMO_OP("amomaxu.w", &cells.w[7], i * 8 + id);
        u64 mine = (i + 1) * 8 + id;
        put_in += mine;
        got += AMO_OP("amoswap.d", &cells.d[8], mine);
        lr_sc_add_d(&cells.d[9], 5);
        lr_sc_add_w(&cells.w[9], 5);
    }
    __atomic_add_fetch(&swapped, put_in - got, __ATOMIC_RELAXED);
    if (has("zacas"))
        for (u64 i = 0; i < n; i++) {
            u64 old = load(&cells.d[10]), seen;
            while ((seen = amocas(&cells.d[10], old, old + 7, false)) != old)
                old = seen;
            old = (i64)(int)load(&cells.w[12]);
            while ((seen = amocas((u64 *)&cells.w[12], old, old + 7, true)) != old)
                old = seen;
        }
    /* Neighbours in one doubleword: AMOs on bytes or halves, plain stores, and an AMO on the other word. */
    for (u64 i = 0; i < n; i++) {
        if (has("zabha")) {
            amoadd_b((u8 *)bytes + id % 4, 1);
            amoadd_h((u16 *)bytes + 4 + id % 2, 1);
        }
        if (id < 2)
            ((volatile u8 *)bytes)[12 + id] = i;
        if (id == 2)
            AMO_OP("amoadd.w", (u8 *)bytes + 4, 1);
    }
    barrier();
    u64 all = n_cpus * n, h = n_cpus;
    check_eq("amoadd.d", cells.d[0], 3 * all);
    check_eq("amoadd.w", cells.w[0], (u32)(3 * all));
    u64 odd = 0;
    for (u64 i = 0; i < h; i++)
        odd ^= n & 1 ? 0x0101010101010101ul << i : 0;
    check_eq("amoxor.d", cells.d[1], odd);
    check_eq("amoxor.w", cells.w[1], (u32)odd);
    if (h <= 4) {
        check_eq("amoor.d", cells.d[2], h == 4 ? ~0ul : (1ul << 16 * h) - 1);
        check_eq("amoand.d", cells.d[3], ~((1ul << 8 * h) - 1));
        check_eq("amoor.w", cells.w[2], (1u << 4 * h) - 1);
    }
    check_eq("amomin.d", cells.d[4], -((n - 1) * 8 + h - 1));
    check_eq("amominu.d", cells.d[5], 8);
    check_eq("amomax.d", cells.d[6], (n - 1) * 8 + h - 1);
    check_eq("amomaxu.d", cells.d[7], -8ul + h - 1);
    check_eq("amomin.w", cells.w[4], (u32) - ((n - 1) * 8 + h - 1));
    check_eq("amominu.w", cells.w[5], 8);
    check_eq("amomax.w", cells.w[6], (n - 1) * 8 + h - 1);
    check_eq("amomaxu.w", cells.w[7], (n - 1) * 8 + h - 1);
    check_eq("amoswap.d loses nothing", swapped, cells.d[8]);
    check_eq("lr.d, sc.d", cells.d[9], 5 * all);
    check_eq("lr.w, sc.w", cells.w[9], (u32)(5 * all));
    if (has("zacas")) {
        check_eq("amocas.d", cells.d[10], 7 * all);
        check_eq("amocas.w", cells.w[12], (u32)(7 * all));
    }
    if (has("zabha")) {
        u64 sum_b = 0, sum_h = 0;
        for (u64 i = 0; i < 4; i++)
            sum_b |= (u64)(u8)((h + 3 - i) / 4 * n) << 8 * i;
        for (u64 i = 0; i < 2; i++)
            sum_h |= (u64)(u16)((h + 1 - i) / 2 * n) << 16 * i;
        check_eq("amoadd.b beside others", bytes[0] & 0xffffffff, sum_b);
        check_eq("amoadd.h beside others", bytes[1] & 0xffffffff, sum_h);
    }
    check_eq("amoadd.w beside others", bytes[0] >> 32, h > 2 ? n : 0);
    check_eq("plain byte stores beside others", bytes[1] >> 32,
             ((n - 1) & 0xff) | (h > 1 ? ((n - 1) & 0xff) << 8 : 0));
    barrier();
}

/* ---- the LR/SC stack ---- */

struct node {
    struct node *next;
    u64 owned;
} LINE;

static struct node nodes[2 * MAX_HARTS + 2];
static struct node *head LINE;
static u64 corrupted LINE;

/* The load of `next` between LR and SC is what makes this wrong if SC only compares values. The first try spends
 * `delay` rounds of an empty loop between them, so that others get their chance. */
static struct node *pop(u64 delay)
{
    struct node *top, *next;
    u64 failed;
    __asm__ volatile("1: lr.d.aq %0, (%4)\n beqz %0, 2f\n ld %1, 0(%0)\n"
                     "3: beqz %3, 4f\n addi %3, %3, -1\n j 3b\n"
                     "4: sc.d %2, %1, (%4)\n bnez %2, 1b\n2:"
                     : "=&r"(top), "=&r"(next), "=&r"(failed), "+r"(delay)
                     : "r"(&head)
                     : "memory");
    return top;
}

static void push(struct node *n)
{
    u64 failed;
    do {
        struct node *top = load(&head), *seen;
        store(&n->next, top);
        __asm__ volatile("fence rw, w\n lr.d %0, (%2)\n li %1, 1\n bne %0, %3, 1f\n sc.d.rl %1, %4, (%2)\n1:"
                         : "=&r"(seen), "=&r"(failed)
                         : "r"(&head), "r"(top), "r"(n)
                         : "memory");
    } while (failed);
}

static struct node *take(u64 delay)
{
    struct node *n = pop(delay);
    if (n && __atomic_exchange_n(&n->owned, 1, __ATOMIC_RELAXED))
        __atomic_add_fetch(&corrupted, 1, __ATOMIC_RELAXED);
    return n;
}

static void give(struct node *n)
{
    store(&n->owned, 0);
    push(n);
}

static void stack(void)
{
    u64 total = 2 * n_cpus + 2, each = param("ops", 100000) / n_cpus / 4;
    if (hart->id == 0)
        for (u64 i = 0; i < total; i++)
            give(&nodes[i]);
    barrier();
    for (u64 i = 0; i < each && !load(&corrupted); i++) {
        struct node *a = take(i % 16 ? 0 : 40), *b = take(0);
        if (!a || !b) {
            __atomic_add_fetch(&corrupted, 1, __ATOMIC_RELAXED);
            break;
        }
        give(a);
        give(b);
    }
    barrier();
    check_eq("LR/SC stack: a node was taken twice", corrupted, 0);
    if (hart->id == 0 && !corrupted) {
        u64 left = 0;
        while (left <= total && take(0))
            left++;
        check_eq("LR/SC stack: nodes left", left, total);
    }
    barrier();
}

/* ---- reservations and other harts ---- */

static struct {
    u64 value;
    u64 step;
} LINE reservation;

static void reservations(void)
{
    if (n_cpus < 2 || hart->id > 1) {
        barrier();
        return;
    }
    for (u64 i = 1; i <= 20; i++) {
        u64 *value = &reservation.value;
        if (hart->id == 0) {
            u64 got, failed;
            /* lr; tell the other to store; wait; sc. The loads that wait are between LR and SC. */
            __asm__ volatile("lr.d %0, (%2)\n sd %4, 0(%3)\n fence\n1: ld %1, 0(%3)\n beq %1, %4, 1b\n"
                             "sc.d %1, %5, (%2)"
                             : "=&r"(got), "=&r"(failed)
                             : "r"(value), "r"(&reservation.step), "r"(2 * i), "r"(1000 + i)
                             : "memory");
            check("SC fails after another hart's store", failed);
            check_eq("and the other's value stays", *value, i & 1 ? i : got);
        } else {
            WAIT("no LR", load(&reservation.step) == 2 * i);
            fence();
            /* Another value, or the same one again. */
            u64 now = load(value);
            store(value, i & 1 ? i : now);
            __atomic_store_n(&reservation.step, 2 * i + 1, __ATOMIC_RELEASE);
        }
    }
    barrier();
}

/* ---- waiting for a word to change, as Linux does (Zawrs) ---- */

static void waits(void)
{
    static u32 turn LINE;
    if (!has("zawrs"))
        return;
    for (u64 i = 0; i < rounds; i++) {
        u32 mine = i * n_cpus + hart->id, now;
        u64 since = csr_read(TIME);
        while ((now = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != mine) {
            u64 seen;
            if (i & 1)
                __asm__ volatile("lr.w %0, (%1)\n bne %0, %2, 1f\n .word 0x00d00073\n1:" /* wrs.nto */
                                 : "=&r"(seen)
                                 : "r"(&turn), "r"((i64)(int)now)
                                 : "memory");
            else
                __asm__ volatile("lr.w %0, (%1)\n xor %0, %0, %2\n bnez %0, 1f\n .word 0x01d00073\n1:" /* wrs.sto */
                                 : "=&r"(seen)
                                 : "r"(&turn), "r"((i64)(int)now)
                                 : "memory");
            if (csr_read(TIME) - since > 600000000ul)
                die("a word did not change");
        }
        __atomic_store_n(&turn, mine + 1, __ATOMIC_RELEASE);
    }
    barrier();
    check_eq("turns by WRS", turn, rounds * n_cpus);
    barrier();
}

/* ---- locks ---- */

static void locks(void)
{
    static u32 swap_lock LINE, sc_lock LINE;
    static struct {
        u32 next, serving;
    } ticket LINE;
    static u64 counters[3] LINE;
    u64 n = rounds * 4;
    for (u64 i = 0; i < n; i++) {
        lock(&swap_lock);
        store(&counters[0], load(&counters[0]) + 1);
        unlock(&swap_lock);

        u64 t;
        __asm__ volatile("1: lr.w.aq %0, (%1)\n bnez %0, 1b\n sc.w %0, %2, (%1)\n bnez %0, 1b"
                         : "=&r"(t)
                         : "r"(&sc_lock), "r"(1)
                         : "memory");
        store(&counters[1], load(&counters[1]) + 1);
        __asm__ volatile("amoswap.w.rl zero, zero, (%0)" ::"r"(&sc_lock) : "memory");

        u32 mine = __atomic_fetch_add(&ticket.next, 1, __ATOMIC_RELAXED);
        while (__atomic_load_n(&ticket.serving, __ATOMIC_ACQUIRE) != mine)
            relax();
        store(&counters[2], load(&counters[2]) + 1);
        __atomic_store_n(&ticket.serving, mine + 1, __ATOMIC_RELEASE);
    }
    barrier();
    check_eq("amoswap lock", counters[0], n * n_cpus);
    check_eq("LR/SC lock", counters[1], n * n_cpus);
    check_eq("ticket lock", counters[2], n * n_cpus);
    barrier();
}

/* ---- litmus tests: pairs of harts over many fresh cells; outcomes that RVWMO forbids are counted ---- */

#define CELLS 128
static struct {
    u64 x LINE, y LINE, a, b, c, d;
} cell[MAX_HARTS / 2][CELLS];

#define FENCE(pred, succ) __asm__ volatile("fence " pred ", " succ ::: "memory")

/* Each test is two (or four) small programs; `me` is which, and the cell is zero at the start. */
enum litmus { MP, MP_AQ_RL, MP_DEPENDENCY, SB, SB_AMO, LB, R_TEST, S_TEST, TWO_PLUS_TWO, CO_RR, IRIW, N_LITMUS };

static void litmus_step(enum litmus test, u64 me, typeof(&cell[0][0]) c, u64 zero)
{
    u64 r, s;
    switch (test) {
    case MP: /* writes in order, reads in order */
        if (me == 0) {
            store(&c->x, 1);
            FENCE("w", "w");
            store(&c->y, 1);
        } else {
            r = load(&c->y);
            FENCE("r", "r");
            s = load(&c->x);
            c->a = r, c->b = s;
        }
        break;
    case MP_AQ_RL:
        if (me == 0) {
            store(&c->x, 1);
            __asm__ volatile("amoswap.d.rl zero, %0, (%1)" ::"r"(1ul), "r"(&c->y) : "memory");
        } else {
            __asm__ volatile("lr.d.aq %0, (%1)" : "=r"(r) : "r"(&c->y) : "memory");
            s = load(&c->x);
            c->a = r, c->b = s;
        }
        break;
    case MP_DEPENDENCY:
        if (me == 0) {
            store(&c->x, 1);
            FENCE("w", "w");
            store(&c->y, 1);
        } else {
            __asm__ volatile("ld %0, 0(%2)\n and %1, %0, %4\n add %1, %1, %3\n ld %1, 0(%1)"
                             : "=&r"(r), "=&r"(s)
                             : "r"(&c->y), "r"(&c->x), "r"(zero)
                             : "memory");
            c->a = r, c->b = s;
        }
        break;
    case SB: /* each reads what the other may not have written yet; not both */
        if (me == 0) {
            store(&c->x, 1);
            FENCE("rw", "rw");
            c->a = load(&c->y);
        } else {
            store(&c->y, 1);
            FENCE("rw", "rw");
            c->b = load(&c->x);
        }
        break;
    case SB_AMO: {
        u64 *first = me == 0 ? &c->x : &c->y, *second = me == 0 ? &c->y : &c->x;
        __asm__ volatile("amoswap.d.aqrl zero, %1, (%2)\n lr.d.aqrl %0, (%3)"
                         : "=&r"(r)
                         : "r"(1ul), "r"(first), "r"(second)
                         : "memory");
        *(me == 0 ? &c->a : &c->b) = r;
        break;
    }
    case LB: /* no value out of thin air */
        __asm__ volatile("ld %0, 0(%1)\n and t0, %0, %3\n addi t0, t0, 1\n sd t0, 0(%2)"
                         : "=&r"(r)
                         : "r"(me == 0 ? &c->x : &c->y), "r"(me == 0 ? &c->y : &c->x), "r"(zero)
                         : "t0", "memory");
        *(me == 0 ? &c->a : &c->b) = r;
        break;
    case R_TEST:
        if (me == 0) {
            store(&c->x, 1);
            FENCE("rw", "rw");
            store(&c->y, 1);
        } else {
            store(&c->y, 2);
            FENCE("rw", "rw");
            c->a = load(&c->x);
        }
        break;
    case S_TEST:
        if (me == 0) {
            store(&c->x, 2);
            FENCE("w", "w");
            store(&c->y, 1);
        } else {
            r = load(&c->y);
            FENCE("r", "w");
            store(&c->x, 1);
            c->a = r;
        }
        break;
    case TWO_PLUS_TWO:
        if (me == 0) {
            store(&c->x, 1);
            FENCE("w", "w");
            store(&c->y, 2);
        } else {
            store(&c->y, 1);
            FENCE("w", "w");
            store(&c->x, 2);
        }
        break;
    case CO_RR: /* one location never goes back; loads of one and of two words agree */
        if (me == 0) {
            store(&c->x, 1);
            store(&c->x, 2);
        } else {
            c->a = load(&c->x);
            c->b = load(&c->x);
        }
        break;
    case IRIW:
        if (me == 0)
            store(&c->x, 1);
        else if (me == 1)
            store(&c->y, 1);
        else {
            r = load(me == 2 ? &c->x : &c->y);
            FENCE("rw", "rw");
            s = load(me == 2 ? &c->y : &c->x);
            *(me == 2 ? &c->a : &c->c) = r;
            *(me == 2 ? &c->b : &c->d) = s;
        }
        break;
    case N_LITMUS:
        break;
    }
}

static bool forbidden(enum litmus test, typeof(&cell[0][0]) c)
{
    switch (test) {
    case MP:
    case MP_AQ_RL:
    case MP_DEPENDENCY:
        return c->a == 1 && c->b == 0;
    case SB:
    case SB_AMO:
        return c->a == 0 && c->b == 0;
    case LB:
        return c->a == 1 && c->b == 1;
    case R_TEST:
        return c->y == 2 && c->a == 0;
    case S_TEST:
        return c->a == 1 && c->x == 2;
    case TWO_PLUS_TWO:
        return c->x == 1 && c->y == 1;
    case CO_RR:
        return c->a > c->b;
    case IRIW:
        return c->a == 1 && c->b == 0 && c->c == 1 && c->d == 0;
    case N_LITMUS:
        break;
    }
    return false;
}

static void litmus(void)
{
    static const char *const names[] = {"MP", "MP+aq+rl", "MP+addr", "SB", "SB+amo", "LB", "R", "S", "2+2W", "CoRR", "IRIW"};
    for (enum litmus test = MP; test < N_LITMUS; test++) {
        u64 players = test == IRIW ? 4 : 2, group = hart->id / players, me = hart->id % players;
        bool plays = (group + 1) * players <= n_cpus;
        u64 bad = 0;
        for (u64 round = 0; round < rounds / 8 + 1; round++) {
            typeof(&cell[0][0]) c = cell[group];
            if (plays && me == 0)
                for (u64 i = 0; i < CELLS; i++)
                    c[i].x = c[i].y = c[i].a = c[i].b = c[i].c = c[i].d = 0;
            barrier();
            if (plays)
                for (u64 i = 0; i < CELLS; i++)
                    litmus_step(test, (me + round) % players, &c[i], 0);
            barrier();
            if (plays && me == 0)
                for (u64 i = 0; i < CELLS; i++)
                    bad += forbidden(test, &c[i]);
        }
        if (plays && me == 0)
            check_eq(names[test], bad, 0);
    }
    barrier();
}

/* ---- A and D set by hardware while software changes the same entry ---- */

static void hardware_updates(void)
{
    if (!has("svadu"))
        return;
    volatile u64 *leaf = &roots[2][1];
    const u64 at = TEST + 4096;
    if (hart->id == 0)
        *leaf = (u64)generations[1] >> 2 | 0x0f;
    csr_set(MENVCFG, MENVCFG_ADUE);
    csr_write(SATP, 8ul << 60 | (u64)roots[0] >> 12);
    sfence_all();
    barrier();
    u64 n = rounds * 2, lost = 0;
    for (u64 i = 0; i < n; i++) {
        if (hart->id & 1) {
            /* Flip a bit that belongs to software. */
            AMO_OP("amoxor.d", leaf, 0x100);
        } else {
            /* Take A and D away and let the hardware set them again. */
            AMO_OP("amoand.d", leaf, ~0xc0ul);
            sfence_all();
            mprv_store(S, at, i);
            lost += hart->m.count;
        }
    }
    barrier();
    check_eq("a store under hardware A and D never faults", lost, 0);
    if (hart->id == 0) {
        u64 flips = n * (n_cpus / 2);
        check_eq("no update of the entry is lost", *leaf & 0x300, flips & 1 ? 0x100 : 0);
        sfence_all();
        mprv_store(S, at, 0);
        check_eq("A and D are set", *leaf & 0xff, 0xcf);
    }
    csr_write(SATP, 0);
    csr_clear(MENVCFG, MENVCFG_ADUE);
    sfence_all();
    barrier();
}

void rom_main(void)
{
    rounds = param("rounds", 200);
    barrier();
    ipis();
    ring();
    remote_sfence();
    local_fence_i();
    amos();
    waits();
    locks();
    litmus();
    hardware_updates();
    /* QEMU 11 compares values in SC: a stored equal value goes unnoticed, and the stack suffers ABA. And when one hart
     * translates code while another writes it, it can keep the old code for good. */
    if (!on_qemu()) {
        remote_fence_i();
        reservations();
        stack();
    }
}
