/* Programs at EL0 that compute any address: each access must do what the tables of its address space say, or fault and do
 * nothing. The same instructions run on good addresses many times before, as an emulator may have made something of them by
 * then. Parameters: rounds, how often; every, of so many addresses each program tries one. */
#include "rt.h"

const char rom_name[] = "windows";

#define SIZE 4096ul
#define USER (1ul << 6)
#define READ_ONLY (1ul << 7)
#define NOT_GLOBAL (1ul << 11)
#define PXN (1ul << 53)
#define UXN (1ul << 54)
#define LEAF (PAGE | AF | INNER | USER | NOT_GLOBAL | PXN)
#define RW UXN
#define RO (UXN | READ_ONLY)
#define ADDRESS_BITS 0xfffffffff000ul

/* In the scratch memory of a CPU. */
#define TABLES SCRATCH
#define N_TABLES 62ul
#define POOL (SCRATCH + 0x40000)
#define SHADOW (SCRATCH + 0x50000)
#define CODE (SCRATCH + 0x60000)
#define CODE_PAGES 4ul
#define ARGS (SCRATCH + 0x70000)
#define N_POOL 7ul
/* The last page of the pool is for a program that changes itself. */
#define CHANGING (POOL + (N_POOL - 1) * SIZE)

/* Where things are in each address space. Nothing else is mapped for EL0. */
#define UCODE 0x10000000ul
#define UARGS 0x11000000ul
#define DEVICE 0x12000000ul
#define UCHANGING 0x13000000ul
#define UCHANGING_TOO 0xbbb012345000ul
#define LOW 0x400000ul
#define LOW2 0x500000ul
#define MIDDLE 0x2aaaaaa000ul
#define SEAM (1ul << 39)
#define EXECUTABLE 0xaaaaaaaa0000ul
#define LIBRARY 0x555555550000ul
#define TOP ((1ul << 48) - SIZE)

static const struct {
    u64 va;
    u8 page; /* of the pool, in the first space */
    u64 rights;
} mapped[] = {
    {LOW, 2, RW}, {LOW + SIZE, 0, RW}, /* side by side, memory is not */
    {LOW2, 3, RW}, {LOW2 + SIZE, 1, RO}, {LOW2 + 2 * SIZE, 4, RW},
    {MIDDLE, 2, RW}, /* LOW again */
    {SEAM - SIZE, 5, RW}, {SEAM, 3, RW},
    {EXECUTABLE, 4, RW}, {LIBRARY, 1, RW}, {TOP, 0, RW},
};
#define N_MAPPED (sizeof mapped / sizeof *mapped)

/* How an address is formed. */
enum form { OFFSET, POST, PRE, INDEX, UXTW, SXTW };

struct access {
    u8 size; /* 16: a vector register */
    bool write;
    bool pair;
    u8 form;
    i64 at;
};

/* What a loop does with each base. */
struct program {
    const char *name;
    u8 n;
    struct access a[6];
};

static const struct program programs[] = {
    {"ldrb", 1, {{1, 0, 0, OFFSET, 0}}},
    {"ldrh", 1, {{2, 0, 0, OFFSET, 0}}},
    {"ldr w", 1, {{4, 0, 0, OFFSET, 0}}},
    {"ldr x", 1, {{8, 0, 0, OFFSET, 0}}},
    {"ldr q", 1, {{16, 0, 0, OFFSET, 0}}},
    {"strb", 1, {{1, 1, 0, OFFSET, 0}}},
    {"strh", 1, {{2, 1, 0, OFFSET, 0}}},
    {"str w", 1, {{4, 1, 0, OFFSET, 0}}},
    {"str x", 1, {{8, 1, 0, OFFSET, 0}}},
    {"str q", 1, {{16, 1, 0, OFFSET, 0}}},
    {"ldp w", 1, {{4, 0, 1, OFFSET, 4}}},
    {"ldp x", 1, {{8, 0, 1, OFFSET, 0}}},
    {"ldp x, lowest offset", 1, {{8, 0, 1, OFFSET, -512}}},
    {"ldp q", 1, {{16, 0, 1, OFFSET, 1008}}},
    {"stp w", 1, {{4, 1, 1, OFFSET, 0}}},
    {"stp x", 1, {{8, 1, 1, OFFSET, 504}}},
    {"stp q", 1, {{16, 1, 1, OFFSET, -1024}}},
    {"ldr x, highest offset", 1, {{8, 0, 0, OFFSET, 32760}}},
    {"ldr q, highest offset", 1, {{16, 0, 0, OFFSET, 65520}}},
    {"str q, highest offset", 1, {{16, 1, 0, OFFSET, 65520}}},
    {"ldur x, lowest offset", 1, {{8, 0, 0, OFFSET, -256}}},
    {"stur q, odd offset", 1, {{16, 1, 0, OFFSET, 253}}},
    {"ldr x, index", 1, {{8, 0, 0, INDEX, 0}}},
    {"ldr w, index", 1, {{4, 0, 0, INDEX, 0}}},
    {"str x, index", 1, {{8, 1, 0, INDEX, 0}}},
    {"str q, index", 1, {{16, 1, 0, INDEX, 0}}},
    {"ldr x, uxtw", 1, {{8, 0, 0, UXTW, 0}}},
    {"ldr x, sxtw", 1, {{8, 0, 0, SXTW, 0}}},
    {"str x, sxtw", 1, {{8, 1, 0, SXTW, 0}}},
    {"ldr x, post", 1, {{8, 0, 0, POST, 248}}},
    {"str x, pre", 1, {{8, 1, 0, PRE, -240}}},
    {"ldp x, pre", 1, {{8, 0, 1, PRE, 496}}},
    {"stp q, post", 1, {{16, 1, 1, POST, -64}}},
    {"loads", 6, {{8, 0, 0, OFFSET, 8}, {8, 0, 0, OFFSET, -16}, {16, 0, 0, OFFSET, 16}, {4, 0, 0, OFFSET, 40},
                  {8, 0, 1, OFFSET, -512}, {1, 0, 0, OFFSET, 2000}}},
    {"loads upwards", 4, {{8, 0, 0, OFFSET, 0}, {8, 0, 0, OFFSET, 8}, {8, 0, 0, OFFSET, 16}, {8, 0, 0, OFFSET, 24}}},
    {"stores", 6, {{8, 1, 0, OFFSET, 8}, {8, 1, 0, OFFSET, -16}, {16, 1, 0, OFFSET, 16}, {4, 1, 0, OFFSET, 40},
                   {2, 1, 0, OFFSET, -200}, {8, 1, 0, OFFSET, 2000}}},
    {"stores downwards", 4, {{8, 1, 0, OFFSET, 24}, {8, 1, 0, OFFSET, 16}, {8, 1, 0, OFFSET, 8}, {8, 1, 0, OFFSET, 0}}},
    {"loads and stores", 5, {{8, 0, 0, OFFSET, 8}, {4, 1, 0, OFFSET, 8}, {2, 0, 0, OFFSET, 16}, {16, 1, 0, OFFSET, -240},
                             {1, 0, 0, OFFSET, 1999}}},
    {"walk", 4, {{8, 0, 0, POST, 8}, {8, 0, 1, POST, 16}, {8, 1, 0, PRE, 8}, {4, 0, 0, PRE, -32}}},
    {"store, then load", 2, {{8, 1, 0, OFFSET, 0}, {8, 0, 0, OFFSET, 8}}},
};
#define N_PROGRAMS (sizeof programs / sizeof *programs)
enum { LDR_X = 3, STR_X = 8, STORE_LOAD = N_PROGRAMS - 1 };

/* Loops in which a base moves on by itself, step by step: each access adds to its base. */
static const struct walk {
    const char *name;
    struct access a;
} walks[] = {
    {"ldr x, step by step", {8, 0, 0, POST, 8}},
    {"str x, step by step", {8, 1, 0, POST, 8}},
    {"ldr x, back step by step", {8, 0, 0, POST, -8}},
    {"strb, back in long steps", {1, 1, 0, POST, -256}},
    {"ldr x, ahead in long steps", {8, 0, 0, PRE, 248}},
};
#define N_WALKS (sizeof walks / sizeof *walks)

/* Loops with a base that stays, and indices of 32 bits: it is enough to know where the base is. */
static const struct index {
    const char *name;
    struct access a;
} indices[] = {
    {"ldr x, many uxtw", {8, 0, 0, UXTW, 0}},
    {"ldr x, many sxtw", {8, 0, 0, SXTW, 0}},
    {"str x, many sxtw", {8, 1, 0, SXTW, 0}},
};
#define N_INDICES (sizeof indices / sizeof *indices)

struct space {
    u64 asid;
    u64 root;
};

/* Of a CPU. */
static struct state {
    struct space spaces[2];
    struct space *space;     /* the current one */
    u64 tables;              /* made so far */
    u64 entry[N_PROGRAMS];   /* user addresses: of a program, of the accesses in it */
    u64 at[N_PROGRAMS][6];
    u64 changing;            /* of the program that changes itself */
    u64 walk[N_WALKS];       /* of the loops with a base that moves, and of their accesses */
    u64 walk_at[N_WALKS];
    u64 index[N_INDICES];    /* of the loops with a base that stays, and of their accesses */
    u64 index_at[N_INDICES];
    u64 list[12], listed;    /* bases */
    u64 seed;
} states[MAX_CPUS];
#define own (&states[cpu->id])

static u64 rounds, every;

/* ---- address spaces ---- */

static u64 new_table(void)
{
    u64 t = TABLES + SIZE * own->tables++;
    if (own->tables > N_TABLES)
        die("out of tables");
    for (u64 i = 0; i < 512; i++)
        mmio64(t + 8 * i) = 0;
    return t;
}

static u64 slot(u64 table, u64 va, u64 level) { return table + (va >> (39 - 9 * level) & 511) * 8; }

/* The entry for `va` at `level`, making the tables above it. */
static volatile u64 *entry(const struct space *s, u64 va, u64 level)
{
    u64 t = s->root;
    for (u64 l = 0; l < level; l++) {
        volatile u64 *e = &mmio64(slot(t, va, l));
        if (!*e)
            *e = new_table() | TABLE;
        t = *e & ADDRESS_BITS;
    }
    return &mmio64(slot(t, va, level));
}

static void map(const struct space *s, u64 va, u64 pa, u64 rights) { *entry(s, va, 3) = pa | LEAF | rights; }

static u64 pool(u64 n) { return POOL + n * SIZE; }

/* Space 1 has the same addresses, and other memory there. */
static void new_space(u64 n)
{
    struct space *s = &own->spaces[n];
    s->asid = 11 + n;
    s->root = new_table();
    /* For EL1: memory and the UART. */
    *entry(s, RAM, 1) = RAM | INNER | AF | VALID | UXN;
    *entry(s, UART, 2) = UART | DEVICE_MEMORY | AF | VALID | UXN | PXN;
    for (u64 i = 0; i < N_MAPPED; i++)
        map(s, mapped[i].va, pool((mapped[i].page + 3 * n) % (N_POOL - 1)), mapped[i].rights);
    for (u64 i = 0; i < CODE_PAGES; i++)
        map(s, UCODE + i * SIZE, CODE + i * SIZE, READ_ONLY);
    map(s, UARGS, ARGS, RO);
    map(s, DEVICE, UART, RO | DEVICE_MEMORY);
    map(s, UCHANGING, CHANGING, 0);
    map(s, UCHANGING_TOO, CHANGING, RW);
    dsb();
}

static void switch_to(u64 n)
{
    struct space *s = &own->spaces[n];
    own->space = s;
    write_sys("ttbr0_el1", s->root | s->asid << 48);
}

enum { ALL, VA, LAST_LEVEL, ANY_ASID, ASID, ALL_IS, VA_IS, ASID_IS, FLUSHES };

static void flush(u64 way, u64 va, u64 asid)
{
    u64 page = va >> 12, space = asid << 48;
    switch (way) {
    case ALL: tlbi("vmalle1"); break;
    case VA: tlbi_va("vae1", space | page); break;
    case LAST_LEVEL: tlbi_va("vale1", space | page); break;
    case ANY_ASID: tlbi_va("vaae1", page); break;
    case ASID: tlbi_va("aside1", space); break;
    case ALL_IS: tlbi("vmalle1is"); break;
    case VA_IS: tlbi_va("vae1is", space | page); break;
    case ASID_IS: tlbi_va("aside1is", space); break;
    }
}

/* ---- what should happen ---- */

/* The fault status of an access to one byte, or 0; its physical address. */
static u64 translate(u64 va, bool write, u64 *pa)
{
    u64 t = own->space->root, e, level = 0;
    if (va >> 48)
        return TRANSLATION_FAULT;
    for (;; level++) {
        e = mmio64(slot(t, va, level));
        if (!(e & VALID))
            return TRANSLATION_FAULT | level;
        if (level == 3 || (e & 3) == VALID)
            break;
        t = e & ADDRESS_BITS;
    }
    if (!(e & USER) || (write && (e & READ_ONLY)))
        return PERMISSION_FAULT | level;
    *pa = (e & ADDRESS_BITS) | (va & (SIZE - 1));
    return 0;
}

/* Where the contents of the pool should be. */
static u64 should(u64 pa) { return pa - POOL < N_POOL * SIZE ? pa - POOL + SHADOW : pa; }

static u64 bytes_of(struct access a) { return (u64)a.size << a.pair; }

/* Does an access in the shadow of the pool, with `data`; 0 or the status of the fault, then its address is in `far`. */
static u64 model(struct access a, u64 va, u8 *data, u64 *far)
{
    u64 bytes = bytes_of(a), last = va + bytes - 1, pa, end;
    u64 status = translate(va, a.write, &pa);
    *far = va;
    if (status)
        return status;
    end = pa + bytes - 1;
    if ((va ^ last) >= SIZE) {
        status = translate(last, a.write, &end);
        *far = last & ~(SIZE - 1);
        if (status)
            return status;
    }
    if (pa < RAM) {
        /* A device wants the access whole. */
        u32 found = mmio32(pa);
        for (u64 i = 0; i < 4; i++)
            data[i] = found >> 8 * i;
        return 0;
    }
    for (u64 i = 0; i < bytes; i++) {
        bool first = (va ^ (va + i)) < SIZE;
        u64 byte = should(first ? pa + i : end - (bytes - 1 - i));
        if (a.write)
            mmio8(byte) = data[i];
        else
            data[i] = mmio8(byte);
    }
    return 0;
}

/* ---- the programs ---- */

/* Registers: list, its end, sum, passes, the last base, the list's start, index, base, values, one more. */
enum { LIST, END, SUM, PASSES, VICTIM, START, INDEX_REG, BASE, STEPS, VALUE = 9, SPARE = 17 };
/* Where vector registers are in what a program begins with. */
#define VECTORS 256ul
#define MAX_VALUES 8ul
#define ADD_(rd, rn, rm) (0x8b000000u | (rm) << 16 | (rn) << 5 | (rd))
#define ADDI(rd, rn, imm) (0x91000000u | (imm) << 10 | (rn) << 5 | (rd))
#define MOV(rd, rm) (0xaa0003e0u | (rm) << 16 | (rd))
#define MOVZ(rd) (0xd2800000u | (rd))
#define NE 1u
#define GT 12u
#define BRANCH_IF(cond, by) (0x54000000u | ((u32)(by) & 0x7ffff) << 5 | (cond))

static u32 encode(struct access a, u32 rt)
{
    static const u32 unscaled[] = {0x38000000, 0x78000000, 0xb8000000, 0xf8000000, 0x3c800000};
    static const u32 scaled[] = {0x39000000, 0x79000000, 0xb9000000, 0xf9000000, 0x3d800000};
    u32 log = 0, at = a.at;
    while (1u << log < a.size)
        log++;
    u32 word = (u32)BASE << 5 | rt | (a.write ? 0 : 1u << 22);
    if (a.pair) {
        word |= a.size == 16 ? 0xac000000 : a.size == 8 ? 0xa8000000 : 0x28000000;
        word |= a.form == POST ? 1u << 23 : a.form == PRE ? 3u << 23 : 2u << 23;
        return word | (rt + 1) << 10 | ((u32)(a.at >> log) & 0x7f) << 15;
    }
    switch (a.form) {
    case POST: return word | unscaled[log] | (at & 0x1ff) << 12 | 1u << 10;
    case PRE: return word | unscaled[log] | (at & 0x1ff) << 12 | 3u << 10;
    case INDEX: return word | unscaled[log] | (u32)INDEX_REG << 16 | 0x206800;
    case UXTW: return word | unscaled[log] | (u32)INDEX_REG << 16 | 0x205800;
    case SXTW: return word | unscaled[log] | (u32)INDEX_REG << 16 | 0x20d800;
    }
    if (a.at >= 0 && !(at & (a.size - 1u)))
        return word | scaled[log] | at >> log << 10;
    return word | unscaled[log] | (at & 0x1ff) << 12;
}

/* How programs end: after all passes the two instructions prepare one more, from the body on. */
static u32 *assemble_end(u32 *w, u32 *pass, u32 *body, u32 first, u32 second)
{
    *w++ = 0xf1000400u | PASSES << 5 | PASSES; /* subs */
    *w = BRANCH_IF(GT, pass - w);
    w++;
    *w++ = BRANCH_IF(NE, 4);
    *w++ = first;
    *w++ = second;
    *w = 0x14000000u | ((u32)(body - w) & 0x3ffffff);
    w++;
    *w++ = SVC_(END_CALL);
    return w;
}

/* A loop over a list of bases, some times; then once more round the same instructions with the last base. */
static u32 *assemble(u32 *w, u64 n)
{
    const struct program *p = &programs[n];
    const u64 there = UCODE - CODE;
    own->entry[n] = (u64)w + there;
    for (u32 r = END; r < VALUE + MAX_VALUES; r++)
        *w++ = 0xf9400000u | r << 10 | r; /* ldr xr, [x0, #8 * r] */
    for (u32 r = 0; r < MAX_VALUES; r++)
        *w++ = 0x3dc00000u | ((u32)VECTORS / 16 + r) << 10 | r;
    *w++ = MOVZ(SUM);
    *w++ = MOV(LIST, START);
    u32 *loop = w;
    *w++ = 0xf9400000u | LIST << 5 | BASE;
    u32 *body = w, r = 0;
    for (u64 i = 0; i < p->n; i++) {
        own->at[n][i] = (u64)w + there;
        *w++ = encode(p->a[i], r + (p->a[i].size == 16 ? 0 : VALUE));
        r += 1 + p->a[i].pair;
    }
    r = 0;
    for (u64 i = 0; i < p->n; i++)
        for (u64 j = 0; j < 1u + p->a[i].pair; j++, r++) {
            if (p->a[i].write)
                continue;
            if (p->a[i].size != 16) {
                *w++ = ADD_(SUM, SUM, VALUE + r);
                continue;
            }
            *w++ = 0x9e660000u | r << 5 | SPARE; /* fmov x17, dr */
            *w++ = ADD_(SUM, SUM, SPARE);
            *w++ = 0x4e183c00u | r << 5 | SPARE; /* mov x17, vr.d[1] */
            *w++ = ADD_(SUM, SUM, SPARE);
        }
    *w++ = ADDI(LIST, LIST, 8);
    *w++ = 0xeb00001fu | END << 16 | LIST << 5; /* cmp */
    *w = BRANCH_IF(NE, loop - w);
    w++;
    *w++ = MOV(LIST, START);
    return assemble_end(w, loop, body, MOV(BASE, VICTIM), ADDI(END, START, 8));
}

/* Stores an instruction that adds to the sum, runs it, stores another one; and data beside it.
 * x0: where the instruction is run, x1: where it is stored, x2: the first one, x3: how many. */
static u32 *assemble_changing(u32 *w)
{
    static const u32 words[] = {
        0x2a0203e6, /* mov w6, w2 */
        MOVZ(2), MOVZ(14),
        0xb9000026, /* str w6, [x1] */
        0xf9002023, /* str x3, [x1, #64] */
        0xd50b7b21, 0xd5033b9f, /* dc cvau, x1; dsb ish */
        0xd50b7520, 0xd5033b9f, 0xd5033fdf, /* ic ivau, x0; dsb ish; isb */
        0xd63f0000, /* blr x0 */
        0xf9402027, /* ldr x7, [x1, #64] */
        ADD_(14, 14, 7),
        0x111000c6, /* add w6, w6, #1 << 10: one in the immediate */
        0xf1000463, /* subs x3, x3, #1 */
        BRANCH_IF(GT, -12),
        SVC_(END_CALL),
    };
    own->changing = (u64)w + UCODE - CODE;
    for (u64 i = 0; i < sizeof words / sizeof *words; i++)
        *w++ = words[i];
    return w;
}

/* A walk over good addresses, some times; then one more by the same instructions from the last base. */
static u32 *assemble_walk(u32 *w, u64 n)
{
    own->walk[n] = (u64)w + UCODE - CODE;
    for (u32 r = END; r <= VALUE; r++)
        *w++ = 0xf9400000u | r << 10 | r;
    *w++ = MOVZ(SUM);
    u32 *pass = w;
    *w++ = MOV(BASE, START);
    *w++ = MOV(STEPS, END);
    u32 *step = w;
    own->walk_at[n] = (u64)w + UCODE - CODE;
    *w++ = encode(walks[n].a, VALUE);
    *w++ = ADD_(SUM, SUM, VALUE);
    *w++ = 0xf1000400u | STEPS << 5 | STEPS; /* subs */
    *w = BRANCH_IF(GT, step - w);
    w++;
    return assemble_end(w, pass, step, MOV(BASE, VICTIM), MOV(STEPS, INDEX_REG));
}

/* Indices from a list, some times; then one more by the same instructions. */
static u32 *assemble_index(u32 *w, u64 n)
{
    own->index[n] = (u64)w + UCODE - CODE;
    for (u32 r = END; r <= VALUE; r++)
        *w++ = 0xf9400000u | r << 10 | r;
    *w++ = MOVZ(SUM);
    u32 *pass = w;
    *w++ = MOV(LIST, START);
    u32 *next = w;
    *w++ = 0xf8408400u | LIST << 5 | INDEX_REG; /* ldr x6, [x0], #8 */
    own->index_at[n] = (u64)w + UCODE - CODE;
    *w++ = encode(indices[n].a, VALUE);
    *w++ = ADD_(SUM, SUM, VALUE);
    *w++ = 0xeb00001fu | END << 16 | LIST << 5; /* cmp */
    *w = BRANCH_IF(NE, next - w);
    w++;
    return assemble_end(w, pass, next, MOV(LIST, VICTIM), ADDI(END, VICTIM, 8));
}

/* ---- runs ---- */

/* As a word it has the sign. */
#define INDEX_VALUE 0x7fff87654320ul

static u64 random(void) { return next_random(&own->seed); }

/* What the form of an access adds to its base. */
static u64 offset_of(struct access a)
{
    switch (a.form) {
    case POST: return 0;
    case INDEX: return INDEX_VALUE;
    case UXTW: return (u64)(u32)INDEX_VALUE << 3;
    case SXTW: return (u64)((i64)(int)(u32)INDEX_VALUE * 8);
    default: return a.at;
    }
}

/* The base with which the access number i of a program is to `va`. */
static u64 base_for(u64 n, u64 i, u64 va) { return va - offset_of(programs[n].a[i]); }

static void add_base(u64 base) { own->list[own->listed++] = base; }

/* A base well inside a page. */
static u64 inside(u64 n, u64 page)
{
    u64 middle = page + 2016 + 8 * (random() % 8);
    return programs[n].n == 1 ? base_for(n, 0, middle) : middle;
}

/* Bases that are good for a program, in two ranges of 512 GiB. */
static void near_list(u64 n)
{
    own->listed = 0;
    add_base(inside(n, LOW));
    add_base(inside(n, LIBRARY));
    add_base(inside(n, LOW2));
    add_base(inside(n, MIDDLE));
    add_base(inside(n, LOW + SIZE));
    add_base(inside(n, SEAM - SIZE));
}

/* The same in all ranges, and a device. An emulator that has only so many of them at hand, or is slow with devices, may do these
 * in another way, so this is for a part of the checks only. */
static void far_list(u64 n)
{
    const struct access *a = programs[n].a;
    near_list(n);
    add_base(inside(n, EXECUTABLE));
    add_base(inside(n, TOP));
    add_base(inside(n, SEAM));
    /* It knows one kind of access only. */
    if (programs[n].n == 1 && !a->write && !a->pair && a->size == 4)
        add_base(base_for(n, 0, DEVICE + 0xfe0 + 4 * (random() % 8)));
}

/* Registers as they should be. */
struct registers {
    u64 x[MAX_VALUES], v[MAX_VALUES][2];
    u64 sum, base;
};

/* One pass over one base; gives the status of the fault, its address and which access it was. */
static u64 pass(u64 n, u64 base, struct registers *regs, u64 *which, u64 *far)
{
    const struct program *p = &programs[n];
    u64 r = 0;
    regs->base = base;
    for (*which = 0; *which < p->n; ++*which) {
        struct access a = p->a[*which];
        u8 data[32];
        for (u64 i = 0; i < bytes_of(a); i++) {
            u64 k = r + i / a.size, part = i % a.size;
            u64 from = a.size == 16 ? regs->v[k][part / 8] : regs->x[k];
            data[i] = from >> part % 8 * 8;
        }
        u64 status = model(a, regs->base + offset_of(a), data, far);
        if (status)
            return status;
        for (u64 i = 0; !a.write && i < bytes_of(a); i++) {
            u64 k = r + i / a.size, part = i % a.size;
            u64 *to = a.size == 16 ? &regs->v[k][part / 8] : &regs->x[k];
            *to = (part % 8 ? *to : 0) | (u64)data[i] << part % 8 * 8;
        }
        if (a.form == POST || a.form == PRE)
            regs->base += a.at;
        r += 1 + a.pair;
    }
    r = 0;
    for (u64 i = 0; i < p->n; i++)
        for (u64 j = 0; j < 1u + p->a[i].pair; j++, r++)
            if (!p->a[i].write)
                regs->sum += p->a[i].size == 16 ? regs->v[r][0] + regs->v[r][1] : regs->x[r];
    return 0;
}

/* A pair is two accesses: the first part may have been stored, as a whole, when the second one has faulted. */
static void maybe_stored(struct access a, u64 va, u64 far, const struct registers *regs, u64 r)
{
    u64 pa;
    if (far < va + a.size || translate(va, true, &pa))
        return;
    const u64 *data = a.size == 16 ? regs->v[r] : &regs->x[r];
    bool same = true;
    for (u64 i = 0; i < a.size; i++)
        same &= mmio8(pa + i) == (u8)(data[i / 8] >> i % 8 * 8);
    for (u64 i = 0; same && i < a.size; i++)
        mmio8(should(pa + i)) = mmio8(pa + i);
}

/* Runs a program over the list, so many times, then with `victim`, and checks all that it leaves except memory. */
static void run_program(u64 n, u64 passes, u64 victim)
{
    const struct program *p = &programs[n];
    volatile u64 *args = (volatile u64 *)ARGS;
    struct registers regs;
    u64 which, far = 0;
    u64 vectors[MAX_VALUES][2] __attribute__((aligned(16)));
    cpu->item++;
    cpu->variant = p->name;
    regs.sum = 0;
    for (u64 i = 0; i < MAX_VALUES; i++) {
        args[VALUE + i] = regs.x[i] = random() * 0x100000001ul;
        for (u64 j = 0; j < 2; j++)
            args[VECTORS / 8 + 2 * i + j] = regs.v[i][j] = random() * 0x100000001ul;
    }
    args[END] = UARGS + 512 + 8 * own->listed;
    args[PASSES] = passes;
    args[VICTIM] = victim;
    args[START] = UARGS + 512;
    args[INDEX_REG] = INDEX_VALUE;
    for (u64 i = 0; i < own->listed; i++)
        args[64 + i] = own->list[i];
    dsb();

    /* What is stored does not change from pass to pass, so all from the second on are the same. */
    for (u64 round = 0; round < 2 && round < passes; round++) {
        u64 before = regs.sum;
        for (u64 i = 0; i < own->listed; i++)
            if (pass(n, own->list[i], &regs, &which, &far))
                die("a base in the list is not good");
        if (round == 1)
            regs.sum += (passes - 2) * (regs.sum - before);
    }
    u64 status = pass(n, victim, &regs, &which, &far);

    trap_clear();
    run(EL0T, (void *)own->entry[n], UARGS, 0, 0, 0);
    /* Nothing here uses them. */
    __asm__ volatile(".arch_extension fp\n.arch_extension simd\nstp q0, q1, [%0]\nstp q2, q3, [%0, #32]\n"
                     "stp q4, q5, [%0, #64]\nstp q6, q7, [%0, #96]\n.arch_extension nosimd\n.arch_extension nofp" ::"r"(vectors)
                     : "memory");
    const struct trap *t = &cpu->t[0];
    /* Of a misaligned access to a device that is not allowed, QEMU tells first that it is misaligned. */
    if (on_qemu() && status && (t->esr & 0x3f) == ALIGNMENT)
        return;
    if (status) {
        check_eq_at("syndrome", victim, t->esr, EC(DABORT) | (p->a[which].write ? WNR : 0) | status);
        check_eq_at("fault address", victim, t->far, far);
        check_eq_at("pc", victim, t->pc, own->at[n][which]);
    } else {
        check_eq_at("syndrome", victim, t->esr, EC(SVC) | END_CALL);
    }
    check_eq_at("level of the exception", victim, t->count, 1);
    check_eq_at("passes", victim, t->x[PASSES], status ? 0 : -1ul);
    check_eq_at("base register", victim, t->x[BASE], regs.base);
    check_eq_at("list register", victim, t->x[LIST], UARGS + 512);
    check_eq_at("sum", victim, t->x[SUM], regs.sum);
    /* Those of a pair may have been loaded when the second part of it has faulted. */
    u64 unknown = 0, r = 0;
    for (u64 i = 0; status && i < which; i++)
        r += 1 + p->a[i].pair;
    if (status && p->a[which].pair) {
        if (p->a[which].write)
            maybe_stored(p->a[which], regs.base + offset_of(p->a[which]), far, &regs, r);
        else
            unknown = 3 << r;
    }
    bool same_x = true, same_v = true;
    for (u64 i = 0; i < MAX_VALUES; i++) {
        if (unknown >> i & 1)
            continue;
        same_x &= t->x[VALUE + i] == regs.x[i];
        same_v &= vectors[i][0] == regs.v[i][0] && vectors[i][1] == regs.v[i][1];
    }
    check_eq_at("values", victim, same_x, true);
    check_eq_at("vectors", victim, same_v, true);
}

/* Takes so many steps from `*base`, as far as there is no fault. */
static u64 steps(struct access a, u64 *base, u64 *left, u64 *value, u64 *sum, u64 *far)
{
    for (; *left; --*left, *base += a.at) {
        u64 status = model(a, *base + (a.form == PRE ? a.at : 0), (u8 *)value, far);
        if (status)
            return status;
        *sum += *value;
    }
    return 0;
}

/* Walks where nothing is in the way, some times, then from an address on; checks where that ends, and with what. */
static void run_walk(u64 n, u64 passes, u64 from, u64 count)
{
    const struct access a = walks[n].a;
    volatile u64 *args = (volatile u64 *)ARGS;
    u64 sum = 0, value = random() * 0x100000001ul, far = 0;
    u64 start = a.at < 0 ? LOW + 2 * SIZE - 512 : LOW + 64;
    u64 base = start, left = (2 * SIZE - 1024) / (a.at < 0 ? -a.at : a.at);
    cpu->item++;
    cpu->variant = walks[n].name;
    args[END] = left;
    args[PASSES] = passes;
    args[VICTIM] = from;
    args[START] = start;
    args[INDEX_REG] = count;
    args[VALUE] = value;
    dsb();
    if (steps(a, &base, &left, &value, &sum, &far))
        die("a walk over good addresses is not good");
    sum *= passes;
    base = from;
    left = count;
    u64 status = steps(a, &base, &left, &value, &sum, &far);
    trap_clear();
    run(EL0T, (void *)own->walk[n], UARGS, 0, 0, 0);
    const struct trap *t = &cpu->t[0];
    if (status) {
        check_eq_at("syndrome", from, t->esr, EC(DABORT) | (a.write ? WNR : 0) | status);
        check_eq_at("fault address", from, t->far, far);
        check_eq_at("pc", from, t->pc, own->walk_at[n]);
    } else {
        check_eq_at("syndrome", from, t->esr, EC(SVC) | END_CALL);
    }
    check_eq_at("base register", from, t->x[BASE], base);
    check_eq_at("sum", from, t->x[SUM], sum);
    check_eq_at("steps left", from, t->x[STEPS], left);
}

/* From good addresses over the ends of what is mapped, of segments and of all. */
static void walk(u64 n)
{
    const i64 by = walks[n].a.at;
    static const u64 ends[] = {SEAM, SEAM - SIZE, TOP, LIBRARY, EXECUTABLE, MIDDLE, LOW, LOW2, 0, 1ul << 47, 1ul << 48, -SIZE};
    u64 step = by < 0 ? -by : by, start = by < 0 ? SIZE - 512 : 64;
    run_walk(n, rounds, TOP + start, 4 * SIZE / step);
    for (u64 i = 0; i < sizeof ends / sizeof *ends; i++)
        for (i64 before = 0; before < 3; before++)
            run_walk(n, 3, ends[i] + start - before * 50 * by, 4 * SIZE / step + 200);
    check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
}

static u64 indexed(struct access a, u64 base, u64 index)
{
    return base + 8 * (a.form == UXTW ? (u32)index : (u64)(i64)(int)(u32)index);
}

/* Indices with which nothing is in the way, some times, then `last`. */
static void run_index(u64 n, u64 passes, u64 base, u64 last)
{
    enum { LISTED = 8 };
    const struct access a = indices[n].a;
    volatile u64 *args = (volatile u64 *)ARGS;
    u64 sum = 0, value = random() * 0x100000001ul, far = 0, start = UARGS + 512;
    cpu->item++;
    cpu->variant = indices[n].name;
    args[END] = start + 8 * LISTED;
    args[PASSES] = passes;
    args[VICTIM] = start + 8 * LISTED;
    args[START] = start;
    args[BASE] = base;
    args[VALUE] = value;
    for (u64 i = 0; i < LISTED; i++) {
        /* What is above the 32 bits does not count. */
        u64 index = random() << 32 | i * 8;
        args[64 + i] = index;
        if (model(a, indexed(a, base, index), (u8 *)&value, &far))
            die("an index in the list is not good");
        sum += value;
    }
    args[64 + LISTED] = last;
    dsb();
    sum *= passes;
    u64 status = model(a, indexed(a, base, last), (u8 *)&value, &far);
    trap_clear();
    run(EL0T, (void *)own->index[n], UARGS, 0, 0, 0);
    const struct trap *t = &cpu->t[0];
    if (status) {
        check_eq_at("syndrome", last, t->esr, EC(DABORT) | (a.write ? WNR : 0) | status);
        check_eq_at("fault address", last, t->far, far);
        check_eq_at("pc", last, t->pc, own->index_at[n]);
    } else {
        check_eq_at("syndrome", last, t->esr, EC(SVC) | END_CALL);
        sum += value;
    }
    check_eq_at("sum", last, t->x[SUM], sum);
    check_eq_at("value", last, t->x[VALUE], value);
}

/* From the ends of segments over these, to what is mapped there, and as far as an index goes. */
static void index(u64 n)
{
    static const u64 bases[] = {SEAM - SIZE + 8, SEAM + 64, LOW + 64, TOP + 64};
    static const u64 to[] = {SEAM + 8, SEAM - SIZE + 512, LOW + 128, LOW2 + 64, TOP + 128};
    static const u32 far[] = {0xffffffff, 0x80000000, 0x7fffffff, 0x40000, -0x40000u, 0x200000, -0x200000u, 600, -600u};
    run_index(n, rounds, bases[0], 1);
    for (u64 b = 0; b < sizeof bases / sizeof *bases; b++) {
        for (u64 i = 0; i < sizeof to / sizeof *to; i++)
            run_index(n, 3, bases[b], (to[i] - bases[b]) / 8);
        for (u64 i = 0; i < sizeof far / sizeof *far; i++)
            run_index(n, 3, bases[b], random() << 32 | far[i]);
    }
    check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
}

/* Long enough to be compiled, and for what else may need time. */
static void warm(u64 n)
{
    near_list(n);
    run_program(n, rounds, own->list[0]);
    check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
}

#define PASSES_OF_A_CHECK 3

static void fill(void)
{
    for (u64 i = 0; i < N_POOL * SIZE; i += 8)
        mmio64(POOL + i) = mmio64(SHADOW + i) = random() * 0x100000001ul + i;
}

/* ---- any address ---- */

static const u64 anchors[] = {
    0, SIZE, 0x10000, LOW, LOW + SIZE, LOW + 2 * SIZE, LOW2, LOW2 + SIZE, LOW2 + 2 * SIZE, LOW2 + 3 * SIZE, MIDDLE,
    MIDDLE + SIZE, SEAM - SIZE, SEAM, SEAM + SIZE, EXECUTABLE, EXECUTABLE + SIZE, LIBRARY, LIBRARY + SIZE, TOP, 1ul << 48,
    1ul << 38, (1ul << 38) + LOW, (1ul << 39) + LOW, 2ul << 39, (2ul << 39) + LOW, 3ul << 39, (77ul << 39) + LOW,
    1ul << 47, (1ul << 47) + LOW, (1ul << 48) + LOW, TOP + (1ul << 48), EXECUTABLE + (1ul << 48), EXECUTABLE - (1ul << 39),
    EXECUTABLE + (1ul << 39), LIBRARY + (1ul << 39), LIBRARY + (1ul << 63), SEAM + (1ul << 52), 1ul << 62, 1ul << 63,
    (1ul << 63) + LOW, (1ul << 56) + LOW, 0x555555554000ul, 0x5555555a8000ul, 0x7ffff7dd0000ul, 0x7fff12345000ul,
    0x7fffffffe000ul, 0x7f0000000000ul, 0x7e8000000000ul, -(1ul << 39), -(1ul << 39) + LOW, -(1ul << 47), -(1ul << 48),
    -SIZE, LOW - (1ul << 48), UCODE, UARGS + SIZE, UCODE + (1ul << 39), UART, RAM, RAM + (64ul << 20) + 0x40000,
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
            check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
    }
    check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
    far_list(n);
    for (u64 i = 0; i < own->listed; i++) {
        run_program(n, rounds / 16 + PASSES_OF_A_CHECK, own->list[i]);
        run_program(n, PASSES_OF_A_CHECK, base_for(n, 0, anchors[random() % (sizeof anchors / sizeof *anchors)]));
    }
    check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
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
    volatile u64 *e = entry(own->space, LOW, 3);
    u64 was = *e;
    for (u64 way = 0; way < FLUSHES; way++) {
        warm(n);
        for (u64 to = 0; to < 2; to++) {
            *e = pool(to) | LEAF | RW;
            flush(way, LOW, own->space->asid);
            near_list(n);
            run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        }
        *e = pool(1) | LEAF | RO;
        flush(way, LOW, own->space->asid);
        list_without_low(n);
        run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        run_program(n, PASSES_OF_A_CHECK, base_for(n, 0, LOW + SIZE - 4));
        *e = 0;
        flush(way, LOW, own->space->asid);
        run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        run_program(n, PASSES_OF_A_CHECK, base_for(n, 0, LOW + SIZE - 4));
        *e = pool(1) | LEAF | RW;
        flush(way, LOW, own->space->asid);
        run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        *e = was;
        flush(way, LOW, own->space->asid);
        near_list(n);
        run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
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
        check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
    }
    /* What changes in one that is not current. */
    switch_to(0);
    volatile u64 *e = entry(&own->spaces[1], LOW, 3);
    u64 was = *e;
    for (u64 i = 0; i < 2; i++) {
        *e = i ? was : 0;
        flush(i ? ASID : VA, LOW, own->spaces[1].asid);
        for (u64 j = 0; j < 2; j++) {
            switch_to(j);
            list_without_low(n);
            run_program(n, PASSES_OF_A_CHECK, inside(n, LOW));
        }
        switch_to(0);
    }
    check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
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
        add_base(LOW + SIZE + 512);
        run_program(STORE_LOAD, i == 4 ? rounds : PASSES_OF_A_CHECK, i & 1 ? LOW + 496 : MIDDLE + 240);
        check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
    }
}

/* ---- code that changes ---- */

static void changing(void)
{
    cpu->variant = "code that changes";
    for (u64 i = 0; i < 8; i++) {
        /* So far it is a page like others. */
        near_list(STR_X);
        own->list[1] = UCHANGING + 1024;
        own->list[3] = UCHANGING_TOO + 2048;
        run_program(STR_X, i % 4 ? PASSES_OF_A_CHECK : rounds, UCHANGING_TOO + SIZE - 8);
        check_memory("memory", POOL, SHADOW, N_POOL * SIZE);
        mmio32(CHANGING + 4) = RET;
        sync_code((void *)CHANGING, 8);
        u64 from = i & 1 ? UCHANGING_TOO : UCHANGING, count = 20 + i, first = random() % 1000;
        trap_clear();
        run(EL0T, (void *)own->changing, UCHANGING, from, ADDI(2u, 2u, first), count);
        cpu->variant = "code that changes";
        check_eq_at("syndrome", 0, cpu->t[0].esr, EC(SVC) | END_CALL);
        check_eq_at("what the code has added", 0, cpu->t[0].x[2], count * first + count * (count - 1) / 2);
        check_eq_at("data beside it", 0, cpu->t[0].x[14], count * (count + 1) / 2);
        for (u64 j = 0; j < SIZE; j += 8)
            mmio64(should(CHANGING + j)) = mmio64(CHANGING + j);
    }
}

void rom_main(void)
{
    *own = (struct state){.seed = cpu->id + 1};
    rounds = param("rounds", 4);
    every = param("every", 7);
    fill();
    u32 *w = (u32 *)CODE;
    for (u64 n = 0; n < N_PROGRAMS; n++)
        w = assemble(w, n);
    w = assemble_changing(w);
    for (u64 n = 0; n < N_WALKS; n++)
        w = assemble_walk(w, n);
    for (u64 n = 0; n < N_INDICES; n++)
        w = assemble_index(w, n);
    if ((u64)w > CODE + CODE_PAGES * SIZE)
        die("out of code pages");
    sync_code((void *)CODE, CODE_PAGES * SIZE);
    for (u64 n = 0; n < 2; n++)
        new_space(n);
    write_sys("mair_el1", MAIR);
    /* 48 bits below, nothing above. */
    write_sys("tcr_el1", 16 | 1ul << 23 | 2ul << 32);
    switch_to(0);
    tlbi("vmalle1");
    if (cpu->home == 3)
        write_sys("cptr_el3", 0);
    if (cpu->home >= 2)
        write_sys("cptr_el2", 0x33ff);
    write_sys("cpacr_el1", 3ul << 20);
    /* EL0 may maintain caches. */
    write_sys("sctlr_el1", 0x30d00800ul | 1ul << 26 | 1);
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
    for (u64 n = 0; n < N_INDICES; n++) {
        switch_to(n & 1);
        index(n);
    }
    switch_to(0);
    aliases();
    changing();
    cpu->variant = 0;
    cpu->item = 0;
}
