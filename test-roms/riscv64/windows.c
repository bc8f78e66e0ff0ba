/* Programs in U-mode that compute any address: each access must do what the tables of its address space say, or fault and do
 * nothing. The same instructions run on good addresses many times before, as an emulator may have made something of them by
 * then. Parameters: rounds, how often; every, of so many addresses each program tries one. */
#include "rt.h"

const char rom_name[] = "windows";

#define PAGE 4096ul
#define V 1ul
#define R 2ul
#define W 4ul
#define X 8ul
#define USER 16ul
#define A 64ul
#define D 128ul
#define LEAF (V | USER | A | D)
#define PPN(pa) ((pa) >> 12 << 10)

/* In the scratch memory of a hart. */
#define TABLES SCRATCH
#define N_TABLES 40ul
#define POOL (SCRATCH + 0x40000)
#define SHADOW (SCRATCH + 0x50000)
#define CODE (SCRATCH + 0x60000)
#define CODE_PAGES 4ul
#define ARGS (SCRATCH + 0x70000)
#define N_POOL 7ul
/* The last page of the pool is for a program that changes itself. */
#define CHANGING (POOL + (N_POOL - 1) * PAGE)

/* Where things are in each address space. Nothing else is mapped. */
#define UCODE 0x10000000ul
#define UARGS 0x11000000ul
#define DEVICE 0x12000000ul
#define UCHANGING 0x13000000ul
#define UCHANGING_TOO 0x3012345000ul
#define LOW 0x400000ul
#define LOW2 0x500000ul
#define MIDDLE 0x2aaaaaa000ul
#define TOP_OF_LOW ((1ul << 38) - PAGE)
#define HIGH (-(1ul << 38))
#define LAST (-PAGE)

static const struct {
    u64 va;
    u8 page; /* of the pool, in the first space */
    u8 rights;
} mapped[] = {
    {LOW, 2, R | W}, {LOW + PAGE, 0, R | W}, /* side by side, memory is not */
    {LOW2, 3, R | W}, {LOW2 + PAGE, 1, R}, {LOW2 + 2 * PAGE, 4, R | W},
    {MIDDLE, 2, R | W}, /* LOW again */
    {TOP_OF_LOW, 5, R | W}, {HIGH, 3, R | W}, {LAST, 4, R | W},
};
#define N_MAPPED (sizeof mapped / sizeof *mapped)

struct access {
    u8 size;
    bool write;
    i64 at;
};

/* What a loop does with each base. */
struct program {
    const char *name;
    u8 n;
    bool index; /* a register is added */
    struct access a[6];
};

static const struct program programs[] = {
    {"lbu", 1, 0, {{1, 0, 0}}},
    {"lhu", 1, 0, {{2, 0, 0}}},
    {"lw", 1, 0, {{4, 0, 0}}},
    {"ld", 1, 0, {{8, 0, 0}}},
    {"sb", 1, 0, {{1, 1, 0}}},
    {"sh", 1, 0, {{2, 1, 0}}},
    {"sw", 1, 0, {{4, 1, 0}}},
    {"sd", 1, 0, {{8, 1, 0}}},
    {"ld, highest offset", 1, 0, {{8, 0, 2047}}},
    {"ld, lowest offset", 1, 0, {{8, 0, -2048}}},
    {"sd, highest offset", 1, 0, {{8, 1, 2047}}},
    {"sw, lowest offset", 1, 0, {{4, 1, -2048}}},
    {"ld, index", 1, 1, {{8, 0, 0}}},
    {"lw, index and offset", 1, 1, {{4, 0, 24}}},
    {"sd, index", 1, 1, {{8, 1, 0}}},
    {"loads", 6, 0, {{8, 0, 8}, {8, 0, -16}, {8, 0, 0}, {4, 0, 40}, {8, 0, -2000}, {1, 0, 2000}}},
    {"loads upwards", 4, 0, {{8, 0, 0}, {8, 0, 8}, {8, 0, 16}, {8, 0, 24}}},
    {"stores", 6, 0, {{8, 1, 8}, {8, 1, -16}, {8, 1, 0}, {4, 1, 40}, {2, 1, -2000}, {8, 1, 2000}}},
    {"stores downwards", 4, 0, {{8, 1, 24}, {8, 1, 16}, {8, 1, 8}, {8, 1, 0}}},
    {"loads and stores", 5, 0, {{8, 0, 8}, {4, 1, 8}, {2, 0, 16}, {8, 1, -24}, {1, 0, 1999}}},
    {"store, then load", 2, 0, {{8, 1, 0}, {8, 0, 8}}},
};
#define N_PROGRAMS (sizeof programs / sizeof *programs)
enum { LD_ = 3, SD_ = 7, STORE_LOAD = 20 };

/* Loops in which a base moves on by itself, step by step. */
static const struct walk {
    const char *name;
    struct access a;
    i64 step;
} walks[] = {
    {"ld, step by step", {8, 0, 0}, 8},
    {"sd, step by step", {8, 1, 0}, 8},
    {"ld, back step by step", {8, 0, 2040}, -8},
    {"sb, back step by step", {1, 1, -2048}, -64},
    {"lw, in long steps", {4, 0, -2044}, 2044},
};
#define N_WALKS (sizeof walks / sizeof *walks)

struct space {
    u64 asid;
    u64 root;
};

/* Of a hart. */
static struct state {
    struct space spaces[2];
    struct space *space;     /* the current one */
    u64 tables;              /* made so far */
    u64 entry[N_PROGRAMS];   /* user addresses: of a program, of its loop's first access and of the others */
    u64 at[N_PROGRAMS][6];
    u64 changing;            /* of the program that changes itself */
    u64 walk[N_WALKS];       /* of the loops with a base that moves, and of their accesses */
    u64 walk_at[N_WALKS];
    u64 list[8], listed;     /* bases */
    u64 seed;
    bool asids;
} owns[MAX_HARTS];
#define own (&owns[hart->id])

static u64 rounds, every;

/* ---- address spaces ---- */

static u64 new_table(void)
{
    u64 t = TABLES + PAGE * own->tables++;
    if (own->tables > N_TABLES)
        die("out of tables");
    for (u64 i = 0; i < 512; i++)
        mmio64(t + 8 * i) = 0;
    return t;
}

static volatile u64 *entry(const struct space *s, u64 va)
{
    u64 t = s->root;
    for (u64 level = 2; level > 0; level--) {
        volatile u64 *e = &mmio64(t + (va >> (12 + 9 * level) & 511) * 8);
        if (!*e)
            *e = PPN(new_table()) | V;
        t = *e >> 10 << 12;
    }
    return &mmio64(t + (va >> 12 & 511) * 8);
}

static void map(const struct space *s, u64 va, u64 pa, u64 rights)
{
    *entry(s, va) = PPN(pa) | LEAF | rights;
}

static u64 pool(u64 n) { return POOL + n * PAGE; }

/* Space 1 has the same addresses, and other memory there. */
static void new_space(u64 n)
{
    struct space *s = &own->spaces[n];
    s->asid = 11 + n;
    s->root = new_table();
    for (u64 i = 0; i < N_MAPPED; i++)
        map(s, mapped[i].va, pool((mapped[i].page + 3 * n) % (N_POOL - 1)), mapped[i].rights);
    for (u64 i = 0; i < CODE_PAGES; i++)
        map(s, UCODE + i * PAGE, CODE + i * PAGE, R | X);
    map(s, UARGS, ARGS, R);
    map(s, DEVICE, (u64)mtimecmp(0) & ~(PAGE - 1), R);
    map(s, UCHANGING, CHANGING, R | W | X);
    map(s, UCHANGING_TOO, CHANGING, R | W);
}

static void switch_to(u64 n)
{
    struct space *s = &own->spaces[n];
    own->space = s;
    csr_write(SATP, 8ul << 60 | s->asid << 44 | s->root >> 12);
    if (!own->asids)
        sfence_all();
}

enum { FLUSH_ALL, FLUSH_VA, FLUSH_ASID, FLUSH_VA_ASID, FLUSHES };

static void flush(u64 way, u64 va)
{
    u64 asid = csr_read(SATP) >> 44 & 0xffff;
    switch (way) {
    case FLUSH_ALL: sfence_all(); break;
    case FLUSH_VA: sfence_va(va); break;
    case FLUSH_ASID: sfence_asid(asid); break;
    case FLUSH_VA_ASID: sfence_va_asid(va, asid); break;
    }
}

/* ---- what should happen ---- */

/* The cause of the fault that an access to one byte takes, or 0; its physical address. */
static u64 translate(u64 va, bool write, u64 *pa)
{
    u64 fault = write ? STORE_PAGE : LOAD_PAGE, t = own->space->root, e = 0;
    if ((u64)((i64)(va << 25) >> 25) != va)
        return fault;
    for (u64 level = 3; level-- > 0;) {
        e = mmio64(t + (va >> (12 + 9 * level) & 511) * 8);
        if (!(e & V))
            return fault;
        t = e >> 10 << 12;
    }
    if (!(e & (write ? W : R)))
        return fault;
    *pa = t | (va & (PAGE - 1));
    return 0;
}

/* Where the contents of the pool should be. */
static u64 should(u64 pa) { return pa - POOL < N_POOL * PAGE ? pa - POOL + SHADOW : pa; }

/* Does an access in the shadow of the pool; 0 or the cause of the fault, then its address is in `tval`. */
static u64 model(struct access a, u64 va, u64 *value, u64 *tval)
{
    u64 last = va + a.size - 1, pa, end;
    u64 cause = translate(va, a.write, &pa);
    *tval = va;
    if (cause)
        return cause;
    end = pa + a.size - 1;
    if ((va ^ last) >= PAGE) {
        cause = translate(last, a.write, &end);
        *tval = last & ~(PAGE - 1);
        if (cause)
            return cause;
    }
    if (pa < RAM) {
        /* A device wants the access whole. */
        *value = a.size == 8 ? mmio64(pa) : (u64)(i64)(int)mmio32(pa);
        return 0;
    }
    u64 found = 0;
    for (u64 i = 0; i < a.size; i++) {
        bool first = (va ^ (va + i)) < PAGE;
        u64 byte = should(first ? pa + i : end - (a.size - 1 - i));
        if (a.write)
            mmio8(byte) = *value >> 8 * i;
        else
            found |= (u64)mmio8(byte) << 8 * i;
    }
    if (!a.write)
        *value = a.size == 4 ? (u64)(i64)(int)found : found;
    return 0;
}

/* ---- the programs ---- */

/* Registers: list, its end, sum, passes, the last base, the list's start, index, base, address, values. */
enum { LIST = 10, END = 11, SUM = 12, PASSES = 13, VICTIM = 14, START = 15, INDEX = 16, BASE = 5, ADDRESS = 28, STEPS = 28, VALUE = 18 };
#define ADDI(rd, rs, imm) ((u32)(imm) << 20 | (rs) << 15 | (rd) << 7 | 0x13u)
#define ADD(rd, rs1, rs2) ((rs2) << 20 | (rs1) << 15 | (rd) << 7 | 0x33u)
#define STORE_AT(f3, rs2, rs1, imm)                                                                              \
    (STORE(f3, rs2, rs1) | ((u32)(imm) >> 5 & 0x7f) << 25 | ((u32)(imm) & 0x1f) << 7)
#define BNE 1u
#define BLT 4u

static u32 branch(u32 f3, u32 rs1, u32 rs2, i64 by)
{
    u32 i = by;
    return (i >> 12 & 1) << 31 | (i >> 5 & 0x3f) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (i >> 1 & 15) << 8 |
           (i >> 11 & 1) << 7 | 0x63;
}

static u32 jump(u32 rd, i64 by)
{
    u32 i = by;
    return (i >> 20 & 1) << 31 | (i >> 1 & 0x3ff) << 21 | (i >> 11 & 1) << 20 | (i >> 12 & 0xff) << 12 | rd << 7 | 0x6f;
}

/* A loop over a list of bases, some times; then once more round the same instructions with the last base. */
static u32 *assemble(u32 *w, u64 n)
{
    const struct program *p = &programs[n];
    const u64 there = UCODE - CODE;
    own->entry[n] = (u64)w + there;
    for (u32 r = END; r < VALUE + 6; r++)
        if (r != SUM && r != 17)
            *w++ = LOAD(3u, r, (u32)LIST, 8 * r);
    *w++ = ADDI(SUM, 0u, 0);
    *w++ = ADDI(LIST, START, 0);
    u32 *loop = w;
    *w++ = LD(BASE, LIST);
    u32 *body = w;
    u32 base = BASE;
    if (p->index) {
        *w++ = ADD(ADDRESS, BASE, INDEX);
        base = ADDRESS;
    }
    for (u64 i = 0; i < p->n; i++) {
        const struct access *a = &p->a[i];
        u32 log = a->size == 8 ? 3 : a->size == 4 ? 2 : a->size == 2 ? 1 : 0;
        own->at[n][i] = (u64)w + there;
        /* The smaller ones without the sign. */
        *w++ = a->write ? STORE_AT(log, VALUE + (u32)i, base, a->at)
                        : LOAD(log < 2 ? log | 4 : log, VALUE + (u32)i, base, a->at);
    }
    for (u64 i = 0; i < p->n; i++)
        if (!p->a[i].write)
            *w++ = ADD(SUM, SUM, VALUE + (u32)i);
    *w++ = ADDI(LIST, LIST, 8);
    *w = branch(BNE, LIST, END, 4 * (loop - w));
    w++;
    *w++ = ADDI(LIST, START, 0);
    *w++ = ADDI(PASSES, PASSES, -1);
    *w = branch(BLT, 0, PASSES, 4 * (loop - w));
    w++;
    *w++ = branch(BNE, PASSES, 0, 16);
    *w++ = ADDI(BASE, VICTIM, 0);
    *w++ = ADDI(END, START, 8);
    *w = jump(0, 4 * (body - w));
    w++;
    *w++ = ECALL;
    return w;
}

/* Stores an instruction that adds to the sum, runs it, stores another one; and data beside it.
 * a0: where the instruction is run, a1: where it is stored, a2: the first one, a3: how many. */
static u32 *assemble_changing(u32 *w)
{
    own->changing = (u64)w + UCODE - CODE;
    *w++ = ADDI(6u, 12u, 0);
    *w++ = 0x100u << 12 | 15u << 7 | 0x37; /* lui a5: one in an immediate */
    *w++ = ADDI(12u, 0u, 0);
    *w++ = ADDI(14u, 0u, 0);
    u32 *loop = w;
    *w++ = STORE_AT(2u, 6u, 11u, 0);
    *w++ = STORE_AT(3u, 13u, 11u, 64);
    *w++ = FENCE_I;
    *w++ = 1u << 7 | JR(10u); /* jalr ra */
    *w++ = LOAD(3u, 7u, 11u, 64);
    *w++ = ADD(14u, 14u, 7u);
    *w++ = ADD(6u, 6u, 15u);
    *w++ = ADDI(13u, 13u, -1);
    *w = branch(BLT, 0, 13, 4 * (loop - w));
    w++;
    *w++ = ECALL;
    return w;
}

/* A walk over good addresses, some times; then one more by the same instructions from the last base. */
static u32 *assemble_walk(u32 *w, u64 n)
{
    const struct access *a = &walks[n].a;
    u32 log = a->size == 8 ? 3 : a->size == 4 ? 2 : 0;
    own->walk[n] = (u64)w + UCODE - CODE;
    for (u32 r = END; r <= VALUE; r++)
        if (r != SUM && r != 17)
            *w++ = LOAD(3u, r, (u32)LIST, 8 * r);
    *w++ = ADDI(SUM, 0u, 0);
    u32 *pass = w;
    *w++ = ADDI(BASE, START, 0);
    *w++ = ADDI(STEPS, END, 0);
    u32 *step = w;
    own->walk_at[n] = (u64)w + UCODE - CODE;
    *w++ = a->write ? STORE_AT(log, VALUE, BASE, a->at) : LOAD(log, VALUE, BASE, a->at);
    *w++ = ADD(SUM, SUM, VALUE);
    *w++ = ADDI(BASE, BASE, walks[n].step);
    *w++ = ADDI(STEPS, STEPS, -1);
    *w = branch(BLT, 0, STEPS, 4 * (step - w));
    w++;
    *w++ = ADDI(PASSES, PASSES, -1);
    *w = branch(BLT, 0, PASSES, 4 * (pass - w));
    w++;
    *w++ = branch(BNE, PASSES, 0, 16);
    *w++ = ADDI(BASE, VICTIM, 0);
    *w++ = ADDI(STEPS, INDEX, 0);
    *w = jump(0, 4 * (step - w));
    w++;
    *w++ = ECALL;
    return w;
}

/* ---- runs ---- */

#define INDEX_VALUE 0x7ffff0001230ul

static u64 random(void) { return next_random(&own->seed); }

/* The base with which the access number i of a program is to `va`. */
static u64 base_for(u64 n, u64 i, u64 va)
{
    const struct program *p = &programs[n];
    return va - p->a[i].at - (p->index ? INDEX_VALUE : 0);
}

static void add_base(u64 base) { own->list[own->listed++] = base; }

/* A base well inside a page. */
static u64 inside(u64 n, u64 page)
{
    u64 middle = page + 2016 + 8 * (random() % 8);
    return programs[n].n == 1 ? base_for(n, 0, middle) : middle;
}

/* Bases that are good for a program, in both halves. */
static void near_list(u64 n)
{
    own->listed = 0;
    add_base(inside(n, LOW));
    add_base(inside(n, TOP_OF_LOW));
    add_base(inside(n, HIGH));
    add_base(inside(n, LOW2));
    add_base(inside(n, LAST));
    add_base(inside(n, MIDDLE));
    add_base(inside(n, LOW + PAGE));
}

/* The same and a device. An emulator that is slow with these may do them in another way, so this is for a part of the checks
 * only. */
static void far_list(u64 n)
{
    near_list(n);
    /* It knows one kind of access only. */
    if (programs[n].n == 1 && !programs[n].a[0].write && programs[n].a[0].size >= 4)
        add_base(base_for(n, 0, DEVICE + ((u64)mtimecmp(hart->id) & (PAGE - 1))));
}

/* One pass over one base; the values end up in `value`, the sum grows. */
static u64 pass(u64 n, u64 base, u64 *value, u64 *sum, u64 *which, u64 *tval)
{
    const struct program *p = &programs[n];
    for (*which = 0; *which < p->n; ++*which) {
        struct access a = p->a[*which];
        u64 va = base + a.at + (p->index ? INDEX_VALUE : 0);
        u64 cause = model(a, va, &value[*which], tval);
        if (cause)
            return cause;
    }
    for (u64 i = 0; i < p->n; i++)
        if (!p->a[i].write)
            *sum += value[i];
    return 0;
}

/* Runs a program over the list, so many times, then with `victim`, and checks all that it leaves except memory. */
static void run_program(u64 n, u64 passes, u64 victim)
{
    const struct program *p = &programs[n];
    volatile u64 *args = (volatile u64 *)ARGS;
    u64 value[6], sum = 0, which, tval = 0, cause;
    hart->item++;
    hart->variant = p->name;
    for (u64 i = 0; i < 6; i++)
        args[VALUE + i] = value[i] = random() * 0x100000001ul;
    args[END] = UARGS + 512 + 8 * own->listed;
    args[PASSES] = passes;
    args[VICTIM] = victim;
    args[START] = UARGS + 512;
    args[INDEX] = INDEX_VALUE;
    for (u64 i = 0; i < own->listed; i++)
        args[64 + i] = own->list[i];

    /* What is stored does not change from pass to pass, so all from the second on are the same. */
    for (u64 round = 0; round < 2 && round < passes; round++) {
        u64 before = sum;
        for (u64 i = 0; i < own->listed; i++)
            if (pass(n, own->list[i], value, &sum, &which, &tval))
                die("a base in the list is not good");
        if (round == 1)
            sum += (passes - 2) * (sum - before);
    }
    cause = pass(n, victim, value, &sum, &which, &tval);
    u64 pc = cause ? own->at[n][which] : 0;

    trap_clear();
    run(U, (void *)own->entry[n], UARGS, 0, 0, 0);
    check_eq_at("cause", victim, hart->m.cause, cause ? cause : ECALL_U);
    if (cause) {
        check_eq_at("fault address", victim, hart->m.tval, tval);
        check_eq_at("pc", victim, hart->m.epc, pc);
        check_eq_at("passes", victim, hart->x[PASSES], 0);
    } else {
        check_eq_at("passes", victim, hart->x[PASSES], -1ul);
    }
    check_eq_at("base register", victim, hart->x[BASE], victim);
    check_eq_at("list register", victim, hart->x[LIST], UARGS + 512);
    if (p->index)
        check_eq_at("address register", victim, hart->x[ADDRESS], victim + INDEX_VALUE);
    for (u64 i = 0; i < p->n; i++)
        check_eq_at("value", victim, hart->x[VALUE + i], value[i]);
    check_eq_at("sum", victim, hart->x[SUM], sum);
}

/* Takes so many steps from `*base`, as far as there is no fault. */
static u64 steps(const struct walk *walk, u64 *base, u64 *left, u64 *value, u64 *sum, u64 *tval)
{
    for (; *left; --*left, *base += walk->step) {
        u64 cause = model(walk->a, *base + walk->a.at, value, tval);
        if (cause)
            return cause;
        *sum += *value;
    }
    return 0;
}

/* Walks where nothing is in the way, some times, then from an address on; checks where that ends, and with what. */
static void run_walk(u64 n, u64 passes, u64 from, u64 count)
{
    const struct walk *walk = &walks[n];
    volatile u64 *args = (volatile u64 *)ARGS;
    u64 sum = 0, value = random() * 0x100000001ul, tval = 0;
    u64 start = (walk->step < 0 ? LOW + 2 * PAGE - 64 : LOW + 64) - walk->a.at;
    u64 base = start, left = (2 * PAGE - 128) / (walk->step < 0 ? -walk->step : walk->step);
    hart->item++;
    hart->variant = walk->name;
    args[END] = left;
    args[PASSES] = passes;
    args[VICTIM] = from;
    args[START] = start;
    args[INDEX] = count;
    args[VALUE] = value;
    if (steps(walk, &base, &left, &value, &sum, &tval))
        die("a walk over good addresses is not good");
    sum *= passes;
    base = from;
    left = count;
    u64 cause = steps(walk, &base, &left, &value, &sum, &tval);
    trap_clear();
    run(U, (void *)own->walk[n], UARGS, 0, 0, 0);
    check_eq_at("cause", from, hart->m.cause, cause ? cause : ECALL_U);
    if (cause) {
        check_eq_at("fault address", from, hart->m.tval, tval);
        check_eq_at("pc", from, hart->m.epc, own->walk_at[n]);
    }
    check_eq_at("base register", from, hart->x[BASE], base);
    check_eq_at("sum", from, hart->x[SUM], sum);
    check_eq_at("steps left", from, hart->x[STEPS], left);
}

/* From good addresses over the ends of what is mapped, of the canonical addresses, and of all. */
static void walk(u64 n)
{
    const struct walk *walk = &walks[n];
    static const u64 ends[] = {LAST, HIGH, TOP_OF_LOW, MIDDLE, LOW, LOW2, -(1ul << 39), 1ul << 39, 1ul << 38, 0, 1ul << 63};
    u64 step = walk->step < 0 ? -walk->step : walk->step, start = walk->step < 0 ? PAGE - 64 : 64;
    run_walk(n, rounds, LAST + start - walk->a.at, 4 * PAGE / step);
    for (u64 i = 0; i < sizeof ends / sizeof *ends; i++)
        for (i64 before = 0; before < 3; before++)
            run_walk(n, 3, ends[i] + start - walk->a.at - before * 50 * walk->step, 4 * PAGE / step + 200);
    check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
}

/* Long enough to be compiled, and for what else may need time. */
static void warm(u64 n)
{
    near_list(n);
    run_program(n, rounds, own->list[0]);
    check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
}

#define PASSES_OF_A_CHECK 3

static void fill(void)
{
    for (u64 i = 0; i < N_POOL * PAGE; i += 8)
        mmio64(POOL + i) = mmio64(SHADOW + i) = random() * 0x100000001ul + i;
}

/* ---- any address ---- */

static const u64 anchors[] = {
    0, PAGE, 0x10000, LOW, LOW + PAGE, LOW + 2 * PAGE, LOW2, LOW2 + PAGE, LOW2 + 2 * PAGE, LOW2 + 3 * PAGE, MIDDLE,
    MIDDLE + PAGE, TOP_OF_LOW, 1ul << 38, (1ul << 38) + LOW, 1ul << 39, (1ul << 39) + LOW, (1ul << 39) + TOP_OF_LOW,
    2ul << 39, (2ul << 39) + LOW, 3ul << 39, (77ul << 39) + LOW, 1ul << 47, (1ul << 47) + LOW, 1ul << 48, (1ul << 48) + LOW,
    1ul << 62, 1ul << 63, (1ul << 63) + LOW, (1ul << 63) + (1ul << 39) - PAGE, 0x555555554000ul, 0x5555555a8000ul,
    0x7ffff7dd0000ul, 0x7fff12345000ul, 0x7fffffffe000ul, 0x7f0000000000ul, 0x7e8000000000ul, HIGH, HIGH + PAGE, LAST,
    HIGH - (1ul << 38), HIGH - (1ul << 39), HIGH ^ 1ul << 62, HIGH ^ 1ul << 39, LAST ^ 1ul << 38, LAST ^ 1ul << 39,
    LAST - (1ul << 39), -(1ul << 47), -(1ul << 48), UCODE, UARGS + PAGE, UCODE + (1ul << 39), RAM,
    RAM + (64ul << 20) + 0x40000,
};
static const i64 deltas[] = {-64, -17, -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 3, 8, 64};

static void any_address(u64 n)
{
    warm(n);
    u64 number = n;
    for (u64 i = 0; i < sizeof anchors / sizeof *anchors; i++) {
        for (u64 j = 0; j < sizeof deltas / sizeof *deltas; j++) {
            if (number++ % every)
                continue;
            u64 which = random() % programs[n].n;
            run_program(n, PASSES_OF_A_CHECK, base_for(n, which, anchors[i] + deltas[j]));
        }
        if (i % 8 == 7)
            check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
    }
    check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
    far_list(n);
    for (u64 i = 0; i < own->listed; i++) {
        run_program(n, rounds / 16 + PASSES_OF_A_CHECK, own->list[i]);
        run_program(n, PASSES_OF_A_CHECK, base_for(n, 0, anchors[random() % (sizeof anchors / sizeof *anchors)]));
    }
    check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
}

/* ---- mappings that change ---- */

/* The list without the page at LOW. */
static void list_without_low(u64 n)
{
    near_list(n);
    own->list[0] = own->list[1];
}

static void changes(u64 n)
{
    volatile u64 *e = entry(own->space, LOW);
    u64 was = *e;
    for (u64 way = 0; way < FLUSHES; way++) {
        warm(n);
        for (u64 to = 0; to < 2; to++) {
            *e = PPN(pool(to)) | LEAF | R | W;
            flush(way, LOW + 8 * random() % PAGE);
            near_list(n);
            run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        }
        *e = PPN(pool(1)) | LEAF | R;
        flush(way, LOW);
        list_without_low(n);
        run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        run_program(n, PASSES_OF_A_CHECK, base_for(n, 0, LOW + PAGE - 4));
        *e = 0;
        flush(way, LOW);
        run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        run_program(n, PASSES_OF_A_CHECK, base_for(n, 0, LOW + PAGE - 4));
        *e = PPN(pool(1)) | LEAF | R | W;
        flush(way, LOW);
        run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        *e = was;
        flush(way, LOW);
        near_list(n);
        run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
    }
}

/* ---- two spaces with the same addresses ---- */

static void two_spaces(u64 n)
{
    for (u64 i = 0; i < 2; i++) {
        switch_to(i);
        warm(n);
    }
    for (u64 i = 0; i < 16; i++) {
        switch_to((i ^ i >> 2) & 1);
        if (i % 8 == 7)
            far_list(n);
        else
            near_list(n);
        run_program(n, PASSES_OF_A_CHECK, own->list[i % own->listed]);
        run_program(n, PASSES_OF_A_CHECK, base_for(n, 0, anchors[random() % (sizeof anchors / sizeof *anchors)]));
        check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
    }
    /* What changes in one that is not current. */
    switch_to(0);
    volatile u64 *e = entry(&own->spaces[1], LOW);
    u64 was = *e;
    for (u64 i = 0; i < 2; i++) {
        *e = i ? was : 0;
        if (i)
            sfence_asid(own->spaces[1].asid);
        else
            sfence_va_asid(LOW, own->spaces[1].asid);
        for (u64 j = 0; j < 2; j++) {
            switch_to(j);
            list_without_low(n);
            run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        }
        switch_to(0);
    }
    check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
}

/* ---- one page at two addresses ---- */

static void aliases(void)
{
    for (u64 i = 0; i < 8; i++) {
        own->listed = 0;
        add_base(LOW + 256);
        add_base(MIDDLE + 248); /* loads what was stored through LOW */
        add_base(MIDDLE + 512);
        add_base(LOW + 504);
        add_base(LOW + PAGE + 512);
        run_program(STORE_LOAD, i == 4 ? rounds : PASSES_OF_A_CHECK, i & 1 ? LOW + 496 : MIDDLE + 240);
        check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
    }
}

/* ---- code that changes ---- */

static void changing(void)
{
    hart->variant = "code that changes";
    for (u64 i = 0; i < 8; i++) {
        /* So far it is a page like others. */
        near_list(SD_);
        own->list[1] = UCHANGING + 1024;
        own->list[3] = UCHANGING_TOO + 2048;
        run_program(SD_, i % 4 ? PASSES_OF_A_CHECK : rounds, UCHANGING_TOO + PAGE - 8);
        check_memory("memory", POOL, SHADOW, N_POOL * PAGE);
        mmio32(CHANGING + 4) = JR(1u);
        fence_i();
        u64 from = i & 1 ? UCHANGING_TOO : UCHANGING, count = 20 + i, first = random() % 1000;
        trap_clear();
        run(U, (void *)own->changing, UCHANGING, from, ADDI(12u, 12u, first), count);
        hart->variant = "code that changes";
        check_eq_at("cause", 0, hart->m.cause, ECALL_U);
        check_eq_at("what the code has added", 0, hart->x[12], count * first + count * (count - 1) / 2);
        check_eq_at("data beside it", 0, hart->x[14], count * (count + 1) / 2);
        for (u64 j = 0; j < PAGE; j += 8)
            mmio64(should(CHANGING + j)) = mmio64(CHANGING + j);
    }
}

void rom_main(void)
{
    *own = (struct state){.seed = hart->id + 1};
    rounds = param("rounds", 4);
    every = param("every", 7);
    check("translation", page_table_levels() >= 3);
    fill();
    u32 *w = (u32 *)CODE;
    for (u64 n = 0; n < N_PROGRAMS; n++)
        w = assemble(w, n);
    w = assemble_changing(w);
    for (u64 n = 0; n < N_WALKS; n++)
        w = assemble_walk(w, n);
    if ((u64)w > CODE + CODE_PAGES * PAGE)
        die("out of code pages");
    fence_i();
    csr_write(SATP, 8ul << 60 | 0xfffful << 44);
    own->asids = (csr_read(SATP) >> 44 & 0xffff) >= 12;
    csr_write(SATP, 0);
    for (u64 n = 0; n < 2; n++)
        new_space(n);
    sfence_all();
    for (u64 n = 0; n < N_PROGRAMS; n++) {
        switch_to(n & 1);
        any_address(n);
        changes(n);
        two_spaces(n);
        switch_to(0);
    }
    for (u64 n = 0; n < N_WALKS; n++) {
        switch_to(n & 1);
        walk(n);
    }
    switch_to(0);
    aliases();
    changing();
    hart->variant = 0;
    hart->item = 0;
    csr_write(SATP, 0);
    sfence_all();
}
