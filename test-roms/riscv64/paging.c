/* Address translation in Sv39, Sv48 and Sv57: leaves, rights, faults, A and D, ASIDs, fences, Svnapot, Svpbmt. */
#include "rt.h"

const char rom_name[] = "paging";

#define PAGE 4096ul
#define V 1ul
#define R 2ul
#define W 4ul
#define X 8ul
#define USER 16ul
#define G 32ul
#define A 64ul
#define D 128ul
#define RWXAD (V | R | W | X | A | D)
#define PPN(pa) ((pa) >> 12 << 10)
#define PBMT(n) ((u64)(n) << 61)
#define N (1ul << 63)

#define TABLES 40
#define DATA_PAGES 4

/* Per hart: page tables; data pages with ecalls in them. */
static u64 tables[MAX_HARTS][TABLES][512] __attribute__((aligned(4096), section(".bss.page")));
static u64 pages[MAX_HARTS][DATA_PAGES][512] __attribute__((aligned(4096), section(".bss.page")));

/* Where things are in every address space: RAM in place for S, a test page, the program of U. */
#define TEST 0x1000000000ul
#define UCODE 0x2000000000ul

struct space {
    u64 levels; /* 3, 4 or 5 */
    u64 asid;
    volatile u64 *root;
};

static u64 used[MAX_HARTS];

static volatile u64 *new_table(void)
{
    u64 n = used[hart->id]++;
    if (n >= TABLES)
        die("out of tables");
    u64 *t = tables[hart->id][n];
    for (u64 i = 0; i < 512; i++)
        t[i] = 0;
    return t;
}

/* The entry for `va` at `level` (0: 4 KiB pages), making the tables above it. */
static volatile u64 *entry(const struct space *s, u64 va, u64 level)
{
    volatile u64 *t = s->root;
    for (u64 l = s->levels - 1; l > level; l--) {
        volatile u64 *e = &t[va >> (12 + 9 * l) & 511];
        if (!*e)
            *e = PPN((u64)new_table()) | V;
        t = (volatile u64 *)(*e >> 10 << 12);
    }
    return &t[va >> (12 + 9 * level) & 511];
}

static u64 page(u64 n) { return (u64)pages[hart->id][n]; }

static struct space new_space(u64 levels, u64 asid)
{
    struct space s = {levels, asid, 0};
    s.root = new_table();
    *entry(&s, RAM, 2) = PPN(RAM) | RWXAD;
    *entry(&s, UCODE, 0) = PPN((u64)hart->code & ~(PAGE - 1)) | V | R | X | USER | A;
    return s;
}

static u64 satp_of(const struct space *s) { return (s->levels + 5) << 60 | s->asid << 44 | (u64)s->root >> 12; }

static void enter(const struct space *s)
{
    csr_write(SATP, satp_of(s));
    sfence_all();
}

/* Forget all tables and go back to physical addresses. */
static void leave(void)
{
    csr_write(SATP, 0);
    sfence_all();
    used[hart->id] = 0;
}

/* ---- one access, from S, U, or M with MPRV ---- */

enum kind { READ, WRITE, FETCH };
#define VIA_M 8ul /* + U or S: M-mode with MPRV */

static const u8 page_fault[] = {LOAD_PAGE, STORE_PAGE, FETCH_PAGE};
static const u8 access_fault[] = {LOAD_ACCESS, STORE_ACCESS, FETCH_ACCESS};
static const char *const kinds[] = {"load", "store", "fetch"};

/* Runs words in S or U mode under translation. */
static u64 run_mapped(u64 mode, const u32 *words, u64 n, u64 a0, u64 a1)
{
    trap_clear();
    for (u64 i = 0; i < n; i++)
        hart->code[i] = words[i];
    hart->code[n] = ECALL;
    fence_i();
    hart->probe = mode == U ? UCODE + ((u64)hart->code & (PAGE - 1)) : (u64)hart->code;
    run(mode, (void *)hart->probe, a0, a1, 0, 0);
    return hart->x[A0];
}

static u64 run_one(u64 mode, u32 word, u64 a0, u64 a1) { return run_mapped(mode, &word, 1, a0, a1); }

#define TWO_ECALLS (ECALL * 0x100000001ul)

/* The exception that an access takes, 0 for none; that tval and epc are right is checked here. */
static u64 outcome(u64 mode, enum kind kind, u64 va)
{
    u64 end;
    if (mode >= VIA_M) {
        end = NO_CAUSE;
        if (kind == READ)
            mprv_load(mode - VIA_M, va);
        else
            mprv_store(mode - VIA_M, va, TWO_ECALLS);
    } else {
        end = ecall_from(mode);
        if (kind == READ)
            run_one(mode, LD(A0, A0), va, 0);
        else if (kind == WRITE)
            run_one(mode, SD(A1, A0), va, TWO_ECALLS);
        else {
            trap_clear();
            hart->probe = va;
            run(mode, (void *)va, 0, 0, 0, 0);
        }
    }
    if (hart->m.cause == end)
        return 0;
    check_trap(kinds[kind], hart->m.cause, va);
    return hart->m.cause;
}

/* All three kinds of access from S give `causes[kind]`. */
static void expect(const char *name, u64 va, const u8 *causes)
{
    for (enum kind kind = READ; kind <= FETCH; kind++) {
        u64 want = causes ? causes[kind] : 0;
        check_eq(name, outcome(S, kind, va), want);
    }
}

static void set(volatile u64 *e, u64 value)
{
    *e = value;
    sfence_all();
}

static void fill(void)
{
    for (u64 p = 0; p < DATA_PAGES; p++)
        for (u64 i = 0; i < 512; i++)
            pages[hart->id][p][i] = TWO_ECALLS;
    fence_i();
}

/* ---- leaves of every size, both halves ---- */

static void leaves(u64 levels)
{
    for (u64 level = 0; level < levels; level++) {
        for (u64 high = 0; high < 2; high++) {
            hart->item = 10 * level + high;
            struct space s = new_space(levels, 0);
            u64 shift = 12 + 9 * level;
            u64 mask = (1ul << shift) - 1;
            u64 va = high ? -(2ul << shift) : 5ul << shift;
            if (!high && level == 2)
                va = 70ul << shift;
            u64 pa = page(1);
            volatile u64 *e = entry(&s, va, level);
            enter(&s);
            expect("not mapped", va, page_fault);
            set(e, PPN(pa & ~mask) | RWXAD);
            u64 at = va | (pa & mask);
            *(volatile u64 *)(pa + 8) = 0x1122334455667788;
            check_eq("load through a leaf", run_one(S, LD(A0, A0), at + 8, 0), 0x1122334455667788);
            run_one(S, SD(A1, A0), at + 16, 0xabcdef + level);
            check_eq("store through a leaf", *(volatile u64 *)(pa + 16), 0xabcdef + level);
            expect("leaf", at, 0);
            fill();
            /* The software bits mean nothing. */
            set(e, PPN(pa & ~mask) | RWXAD | 3ul << 8);
            expect("RSW bits", at, 0);
            if (level) {
                set(e, (PPN(pa & ~mask) | RWXAD) + (1ul << 10));
                expect("misaligned superpage, lowest bit", at, page_fault);
                set(e, (PPN(pa & ~mask) | RWXAD) + (1ul << (10 + 9 * level - 1)));
                expect("misaligned superpage, highest bit", at, page_fault);
            }
            leave();
        }
    }
    hart->item = 0;
}

/* ---- rights: every combination of R, W, X, U, SUM, MXR, mode and access ---- */

static u64 expected_right(u64 mode, enum kind kind, u64 pte, bool sum, bool mxr)
{
    u64 who = mode & 3;
    if (!(pte & R) && (pte & W))
        return page_fault[kind];
    if (who == U && !(pte & USER))
        return page_fault[kind];
    if (who == S && (pte & USER) && (kind == FETCH || !sum))
        return page_fault[kind];
    bool ok = kind == READ ? (pte & R) || (mxr && (pte & X)) : pte & (kind == WRITE ? W : X);
    return ok ? 0 : page_fault[kind];
}

static void rights(u64 levels)
{
    static const u64 modes[] = {U, S, VIA_M | U, VIA_M | S};
    struct space s = new_space(levels, 0);
    volatile u64 *e = entry(&s, TEST, 0);
    enter(&s);
    for (u64 i = 0; i < 16; i++) {
        u64 pte = PPN(page(0)) | V | A | D | (i << 1); /* R, W, X, U */
        set(e, pte);
        /* No fence from here on: SUM, MXR and MPRV act at once. */
        for (u64 j = 0; j < 4; j++) {
            csr_clear(MSTATUS, MSTATUS_SUM | MSTATUS_MXR);
            csr_set(MSTATUS, (j & 1 ? MSTATUS_SUM : 0) | (j & 2 ? MSTATUS_MXR : 0));
            for (u64 m = 0; m < 4; m++) {
                for (enum kind kind = READ; kind <= (m < 2 ? FETCH : WRITE); kind++) {
                    hart->item = 1000 + 100 * j + 10 * m + kind;
                    hart->variant = (const char *[]){"----", "R---", "-W--", "RW--", "--X-", "R-X-", "-WX-", "RWX-",
                                                     "---U", "R--U", "-W-U", "RW-U", "--XU", "R-XU", "-WXU", "RWXU"}[i];
                    check_eq("rights", outcome(modes[m], kind, TEST),
                             expected_right(modes[m], kind, pte, j & 1, j & 2));
                }
            }
        }
    }
    hart->item = 0;
    hart->variant = 0;
    csr_clear(MSTATUS, MSTATUS_SUM | MSTATUS_MXR);

    /* The same inside S, with no trap in between: sets SUM, loads, clears SUM, loads. */
    set(e, PPN(page(0)) | V | R | W | USER | A | D);
    u32 words[] = {CSRRS(0, SSTATUS, A1), LD(A2, A0), CSRRC(0, SSTATUS, A1), LD(A3, A0)};
    run_mapped(S, words, 4, TEST, MSTATUS_SUM);
    hart->probe += 12;
    check_trap("load after SUM was cleared", LOAD_PAGE, TEST);
    check_eq("load while SUM was set", hart->x[A2], TWO_ECALLS);
    set(e, PPN(page(0)) | V | X | A);
    run_mapped(S, words, 4, TEST, MSTATUS_MXR);
    hart->probe += 12;
    check_trap("load after MXR was cleared", LOAD_PAGE, TEST);
    check_eq("load while MXR was set", hart->x[A2], TWO_ECALLS);

    /* MPRV with MPP = M, and M without MPRV: physical addresses, though satp is on. */
    check_eq("MPRV with MPP M", mprv_load(M, page(0)), TWO_ECALLS);
    check_no_trap("MPRV with MPP M");
    mprv_load(M, TEST);
    check_trap("MPRV with MPP M does not translate", LOAD_ACCESS, TEST);

    /* Atomics: LR reads, SC and AMO write. */
    static const struct {
        u32 word;
        u8 unmapped, read_only;
        const char *name;
    } atomics[] = {
        {AMO(2u, 3u, A0, 0u, A0), LOAD_PAGE, 0, "lr.d"},
        {AMO(2u, 2u, A0, 0u, A0), LOAD_PAGE, 0, "lr.w"},
        {AMO(0u, 3u, A0, A1, A0), STORE_PAGE, STORE_PAGE, "amoadd.d"},
        {AMO(1u, 2u, A0, A1, A0), STORE_PAGE, STORE_PAGE, "amoswap.w"},
        {AMO(16u, 3u, A0, A1, A0), STORE_PAGE, STORE_PAGE, "amomin.d"},
    };
    for (u64 i = 0; i < sizeof atomics / sizeof *atomics; i++) {
        set(e, 0);
        run_one(S, atomics[i].word, TEST, 0);
        check_trap(atomics[i].name, atomics[i].unmapped, TEST);
        set(e, PPN(page(0)) | V | R | A | D);
        run_one(S, atomics[i].word, TEST, 0);
        if (atomics[i].read_only)
            check_trap(atomics[i].name, atomics[i].read_only, TEST);
        else
            check_eq(atomics[i].name, hart->m.cause, ECALL_S);
    }
    u32 pair[] = {AMO(2u, 3u, A2, 0u, A0), AMO(3u, 3u, A2, A1, A0)};
    run_mapped(S, pair, 2, TEST, 0);
    hart->probe += 4;
    check_trap("sc.d to a read-only page", STORE_PAGE, TEST);

    /* Cache-block operations are stores to the fault logic. */
    csr_write(MENVCFG, ENVCFG_CBZE | ENVCFG_CBCFE | ENVCFG_CBIE);
    csr_write(SENVCFG, ENVCFG_CBZE | ENVCFG_CBCFE | ENVCFG_CBIE);
    for (u32 op = 0; op <= CBO_ZERO; op++) {
        if (op == 3 || !has(op == CBO_ZERO ? "zicboz" : "zicbom"))
            continue;
        hart->item = op;
        set(e, 0);
        run_one(S, CBO(op, A0), TEST + 24, 0);
        /* The address in rs1, or that of the block. */
        if (hart->m.tval == TEST)
            hart->m.tval = TEST + 24;
        check_trap("cbo on an unmapped page", STORE_PAGE, TEST + 24);
        set(e, PPN(page(0)) | V | R | A | D);
        run_one(S, CBO(op, A0), TEST, 0);
        if (op == CBO_ZERO)
            check_trap("cbo.zero on a read-only page", STORE_PAGE, TEST);
        else
            check_eq("cbo on a readable page", hart->m.cause, ECALL_S);
    }
    hart->item = 0;
    csr_write(SENVCFG, 0);
    csr_write(MENVCFG, 0);
    leave();
}

/* ---- entries and addresses that are not allowed ---- */

static void reserved(u64 levels)
{
    struct space s = new_space(levels, 0);
    volatile u64 *e = entry(&s, TEST, 0);
    volatile u64 *above = entry(&s, TEST, 1);
    u64 good = PPN(page(0)) | RWXAD, good_above = *above;
    enter(&s);
    set(e, good);
    expect("good", TEST, 0);
    for (u64 bit = 54; bit < 64; bit++) {
        hart->item = bit;
        bool leaf_ok = bit >= 59 && bit <= 60 && has("svrsw60t59b");
        if (bit == 63 && has("svnapot"))
            continue; /* see extensions() */
        set(e, good | 1ul << bit);
        expect("leaf with a reserved bit", TEST, leaf_ok ? 0 : page_fault);
        set(e, good);
        set(above, good_above | 1ul << bit);
        expect("pointer with a reserved bit", TEST, leaf_ok ? 0 : page_fault);
        set(above, good_above);
    }
    /* D, A and U are reserved in pointers; G is not. */
    static const u8 bits[] = {D, A, USER};
    for (u64 i = 0; i < 3; i++) {
        hart->item = bits[i];
        set(above, good_above | bits[i]);
        expect("pointer with D, A or U", TEST, page_fault);
    }
    hart->item = 0;
    set(above, good_above | G);
    expect("pointer with G", TEST, 0);
    set(above, good_above & ~V);
    expect("pointer without V", TEST, page_fault);
    set(above, good_above);
    set(e, good & ~V);
    expect("leaf without V", TEST, page_fault);
    set(e, PPN(page(0)) | V);
    expect("pointer at the last level", TEST, page_fault);

    /* Addresses whose upper bits are not the sign. */
    set(e, good);
    u64 top = 1ul << (12 + 9 * levels - 1); /* the sign bit */
    const u64 wrong[] = {TEST | top, TEST | top << 1, TEST | 1ul << 63, ~(top - 1) ^ 1ul << 62, top, ~top};
    for (u64 i = 0; i < 6; i++) {
        hart->item = i;
        u64 va = wrong[i] & ~7ul;
        expect("non-canonical", va, page_fault);
        check_eq("non-canonical, U", outcome(U, READ, va), LOAD_PAGE);
        check_eq("non-canonical, MPRV", outcome(VIA_M | S, WRITE, va), STORE_PAGE);
    }
    hart->item = 0;

    /* A walk that leaves memory: an access fault of the kind of access. */
    set(e, PPN(HOLE) | RWXAD);
    expect("leaf to nowhere", TEST, access_fault);
    set(e, PPN((1ul << 56) - PAGE) | RWXAD);
    expect("leaf to the highest physical page", TEST, access_fault);
    set(e, good);
    set(above, PPN(HOLE) | V);
    expect("table nowhere", TEST, access_fault);
    run_one(S, AMO(0u, 3u, A0, A1, A0), TEST, 0);
    check_trap("table nowhere, AMO", STORE_ACCESS, TEST);
    run_one(S, AMO(2u, 3u, A0, 0u, A0), TEST, 0);
    check_trap("table nowhere, LR", LOAD_ACCESS, TEST);
    check_eq("table nowhere, U", outcome(U, READ, TEST), LOAD_ACCESS);
    check_eq("table nowhere, MPRV", outcome(VIA_M | S, WRITE, TEST), STORE_ACCESS);
    set(above, PPN((1ul << 56) - PAGE) | V);
    expect("table in the highest physical page", TEST, access_fault);
    set(above, good_above);
    csr_write(SATP, (levels + 5) << 60 | HOLE >> 12);
    sfence_all();
    trap_clear();
    hart->probe = (u64)hart->code;
    run(S, hart->code, 0, 0, 0, 0);
    check_trap("root nowhere", FETCH_ACCESS, hart->probe);
    leave();
}

/* ---- A and D ---- */

static void accessed_and_dirty(u64 levels)
{
    for (u64 level = 0; level < 3; level++) {
        hart->item = level;
        struct space s = new_space(levels, 0);
        u64 mask = (1ul << (12 + 9 * level)) - 1, pa = page(0);
        u64 at = TEST | (pa & mask);
        u64 bare = PPN(pa & ~mask) | V | R | W | X;
        volatile u64 *e = entry(&s, TEST, level);
        enter(&s);

        if (has("svadu") || has("svade")) {
            csr_clear(MENVCFG, MENVCFG_ADUE);
            sfence_all();
            set(e, bare);
            expect("Svade, A clear", at, page_fault);
            check_eq("Svade, A clear, MPRV", outcome(VIA_M | S, READ, at), LOAD_PAGE);
            set(e, bare | D);
            expect("Svade, only D", at, page_fault);
            set(e, bare | A);
            check_eq("Svade, D clear, load", outcome(S, READ, at), 0);
            check_eq("Svade, D clear, fetch", outcome(S, FETCH, at), 0);
            check_eq("Svade, D clear, store", outcome(S, WRITE, at), STORE_PAGE);
            run_one(S, AMO(0u, 3u, A0, 0u, A0), at, 0);
            check_trap("Svade, D clear, AMO", STORE_PAGE, at);
            check_eq("Svade leaves the entry alone", *e, bare | A);
        }
        if (!has("svadu")) {
            leave();
            continue;
        }
        csr_set(MENVCFG, MENVCFG_ADUE);
        static const struct {
            u32 word;
            u64 sets;
            const char *name;
        } table[] = {
            {LD(A0, A0), A, "Svadu, load"},
            {SD(A1, A0), A | D, "Svadu, store"},
            {AMO(2u, 3u, A0, 0u, A0), A, "Svadu, lr.d"},
            {AMO(0u, 3u, A0, 0u, A0), A | D, "Svadu, amoadd.d"},
            {JR(A0), A, "Svadu, fetch"},
        };
        for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
            set(e, bare);
            run_one(S, table[i].word, at, TWO_ECALLS);
            check_eq(table[i].name, hart->m.cause, ECALL_S);
            check_eq(table[i].name, *e, bare | table[i].sets);
        }
        /* D is set by the first store after a load filled whatever cache there is. */
        set(e, bare);
        u32 load_store[] = {LD(A2, A0), LD(A2, A0), SD(A2, A0)};
        run_mapped(S, load_store, 2, at, 0);
        check_eq("Svadu, two loads", *e, bare | A);
        run_mapped(S, load_store, 3, at, 0);
        check_eq("Svadu, store after loads", *e, bare | A | D);
        set(e, bare);
        check_eq("Svadu, MPRV store", outcome(VIA_M | S, WRITE, at), 0);
        check_eq("Svadu, MPRV store sets", *e, bare | A | D);
        /* An access that is refused sets nothing. */
        set(e, PPN(pa & ~mask) | V | R);
        check_eq("Svadu, refused store", outcome(S, WRITE, at), STORE_PAGE);
        check_eq("Svadu, refused fetch", outcome(S, FETCH, at), FETCH_PAGE);
        check_eq("Svadu, refused U load", outcome(U, READ, at), LOAD_PAGE);
        check_eq("Svadu, refused access sets nothing", *e, PPN(pa & ~mask) | V | R);
        csr_clear(MENVCFG, MENVCFG_ADUE);
        /* Back to Svade, after a fence. */
        sfence_all();
        set(e, bare);
        check_eq("Svade again", outcome(S, READ, at), LOAD_PAGE);
        leave();
    }
    hart->item = 0;
}

/* ---- ASIDs and fences ---- */

static void switch_to(const struct space *s) { csr_write(SATP, satp_of(s)); }

static void address_spaces(u64 levels)
{
    csr_write(SATP, 8ul << 60 | 0xfffful << 44);
    u64 asids = csr_read(SATP) >> 44 & 0xffff;
    csr_write(SATP, 0);
    check("ASID bits are the low ones", (asids & (asids + 1)) == 0);
    for (u64 i = 0; i < DATA_PAGES; i++)
        pages[hart->id][i][0] = 100 + i;
    if (asids >= 3) {
        struct space s[3];
        for (u64 i = 0; i < 3; i++) {
            s[i] = new_space(levels, i + 1);
            *entry(&s[i], TEST, 0) = PPN(page(i)) | RWXAD;
        }
        sfence_all();
        for (u64 round = 0; round < 12; round++) {
            u64 i = (round * 5 + round / 3) % 3;
            switch_to(&s[i]);
            check_eq("each ASID sees its own page", run_one(S, LD(A0, A0), TEST, 0), 100 + i);
            run_one(S, SD(A1, A0), TEST + 8, 200 + round);
            check_eq("each ASID writes its own page", pages[hart->id][i][1], 200 + round);
        }
        /* The switch inside S, between two loads. */
        switch_to(&s[0]);
        u32 words[] = {LD(A2, A0), CSRRW(0, SATP, A1), LD(A3, A0)};
        run_mapped(S, words, 3, TEST, satp_of(&s[1]));
        check_eq("before the switch in S", hart->x[A2], 100);
        check_eq("after the switch in S", hart->x[A3], 101);
        /* Fences by ASID flush that one; the others go on being right. */
        *entry(&s[0], TEST, 0) = PPN(page(3)) | RWXAD;
        sfence_asid(s[0].asid);
        switch_to(&s[0]);
        check_eq("sfence.vma by ASID", run_one(S, LD(A0, A0), TEST, 0), 103);
        switch_to(&s[1]);
        check_eq("the other ASID", run_one(S, LD(A0, A0), TEST, 0), 101);
        *entry(&s[0], TEST, 0) = PPN(page(0)) | RWXAD;
        sfence_va_asid(TEST, s[0].asid);
        switch_to(&s[0]);
        check_eq("sfence.vma by address and ASID", run_one(S, LD(A0, A0), TEST, 0), 100);
        /* A global page, in all spaces; a fence by address without ASID covers it. */
        for (u64 i = 0; i < 3; i++)
            *entry(&s[i], TEST, 0) = PPN(page(2)) | RWXAD | G;
        sfence_va(TEST);
        for (u64 i = 0; i < 3; i++) {
            switch_to(&s[i]);
            check_eq("global page", run_one(S, LD(A0, A0), TEST, 0), 102);
        }
        for (u64 i = 0; i < 3; i++)
            *entry(&s[i], TEST, 0) = PPN(page(1)) | RWXAD | G;
        sfence_va(TEST);
        for (u64 i = 0; i < 3; i++) {
            switch_to(&s[i]);
            check_eq("global page after a fence by address", run_one(S, LD(A0, A0), TEST, 0), 101);
        }
        leave();
    }
    /* From translation to physical and back. */
    struct space s = new_space(levels, 0);
    *entry(&s, TEST, 0) = PPN(page(0)) | RWXAD;
    enter(&s);
    check_eq("translated", run_one(S, LD(A0, A0), TEST, 0), 100);
    csr_write(SATP, 0);
    check_eq("physical", run_one(S, LD(A0, A0), page(1), 0), 101);
    run_one(S, LD(A0, A0), TEST, 0);
    check_trap("physical, at the virtual address", LOAD_ACCESS, TEST);
    switch_to(&s);
    check_eq("translated again", run_one(S, LD(A0, A0), TEST, 0), 100);
    leave();
}

static void fences(u64 levels)
{
    static const struct {
        u32 words[3];
        const char *name, *ext;
    } table[] = {
        {{SFENCE_VMA(0, 0), NOP, NOP}, "sfence.vma", "i"},
        {{SFENCE_VMA(A0, 0), NOP, NOP}, "sfence.vma address", "i"},
        {{SFENCE_VMA(0, A1), NOP, NOP}, "sfence.vma ASID", "i"},
        {{SFENCE_VMA(A0, A1), NOP, NOP}, "sfence.vma address, ASID", "i"},
        {{SFENCE_W_INVAL, SINVAL_VMA(0, 0), SFENCE_INVAL_IR}, "sinval.vma", "svinval"},
        {{SFENCE_W_INVAL, SINVAL_VMA(A0, 0), SFENCE_INVAL_IR}, "sinval.vma address", "svinval"},
        {{SFENCE_W_INVAL, SINVAL_VMA(0, A1), SFENCE_INVAL_IR}, "sinval.vma ASID", "svinval"},
        {{SFENCE_W_INVAL, SINVAL_VMA(A0, A1), SFENCE_INVAL_IR}, "sinval.vma address, ASID", "svinval"},
    };
    for (u64 i = 0; i < DATA_PAGES; i++)
        pages[hart->id][i][0] = 100 + i;
    csr_write(SATP, 8ul << 60 | 0xfffful << 44);
    u64 asid = csr_read(SATP) >> 44 & 0xffff;
    for (u64 level = 0; level < 3; level++) {
        struct space s = new_space(levels, asid);
        volatile u64 *e = entry(&s, TEST, level);
        u64 mask = (1ul << (12 + 9 * level)) - 1;
        enter(&s);
        for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
            if (!has(table[i].ext))
                continue;
            hart->variant = table[i].name;
            hart->item = level;
            /* A page that moves; superpages cannot move within so little RAM, so they become invalid instead. */
            u64 from = page(0), to = level == 0 ? page(1) : 0;
            set(e, PPN(from & ~mask) | RWXAD);
            u64 at = TEST | (from & mask);
            check_eq("before", run_one(S, LD(A0, A0), at, 0), 100);
            *e = to ? PPN(to) | RWXAD : 0;
            /* Any address in the page will do for the fence. */
            u32 words[] = {table[i].words[0], table[i].words[1], table[i].words[2], LD(A2, A0)};
            run_mapped(S, words, 4, at, asid);
            if (to) {
                check_eq("moved", hart->m.cause, ECALL_S);
                check_eq("moved: value", hart->x[A2], 101);
            } else {
                hart->probe += 12;
                check_trap("unmapped", LOAD_PAGE, at);
            }
            /* From invalid to valid. */
            set(e, 0);
            check_eq("invalid", outcome(S, READ, at), LOAD_PAGE);
            *e = PPN(from & ~mask) | RWXAD;
            run_mapped(S, words, 4, at, asid);
            check_eq("valid", hart->m.cause, ECALL_S);
            check_eq("valid: value", hart->x[A2], 100);
            /* Write permission that is taken away: code that wrote before must not after. */
            run_one(S, SD(A1, A0), at, 100);
            *e = PPN(from & ~mask) | V | R | X | A | D;
            words[3] = SD(A0, A0);
            run_mapped(S, words, 4, at, asid);
            hart->probe += 12;
            check_trap("write right taken away", STORE_PAGE, at);
            /* And a right to execute. */
            fill();
            pages[hart->id][0][0] = 100;
            set(e, PPN((from + 0) & ~mask) | RWXAD);
            check_eq("executable", outcome(S, FETCH, at + 16), 0);
            *e = PPN(from & ~mask) | V | R | W | A | D;
            words[3] = JR(A0);
            run_mapped(S, words, 4, at + 16, asid);
            hart->probe = at + 16;
            check_trap("right to execute taken away", FETCH_PAGE, at + 16);
            pages[hart->id][1][0] = 101;
        }
        hart->variant = 0;
        hart->item = 0;
        leave();
    }
    fill();
}

/* ---- accesses over the edge of a page ---- */

static void crossing(u64 levels)
{
    struct space s = new_space(levels, 0);
    /* Two virtual pages in the opposite physical order. */
    volatile u64 *first = entry(&s, TEST, 0), *second = entry(&s, TEST + PAGE, 0);
    u64 pa[2] = {page(2), page(0)}, edge = TEST + PAGE;
    u64 ok[2] = {PPN(pa[0]) | RWXAD, PPN(pa[1]) | RWXAD};
    enter(&s);
    static const u8 sizes[] = {2, 4, 8};
    for (u64 i = 0; i < 3; i++) {
        u64 size = sizes[i];
        u32 f3 = i + 1;
        for (u64 into = 1; into < size; into++) {
            hart->item = 10 * size + into;
            u64 va = edge - into, value = 0x8877665544332211 & (size == 8 ? ~0ul : (1ul << 8 * size) - 1);
            set(first, ok[0]);
            set(second, ok[1]);
            run_one(S, STORE(f3, A1, A0), va, value);
            check_eq("store over the edge", hart->m.cause, ECALL_S);
            u64 found = 0;
            for (u64 b = 0; b < size; b++) {
                u64 at = b < into ? pa[0] + PAGE - into + b : pa[1] + b - into;
                found |= (u64)mmio8(at) << 8 * b;
            }
            check_eq("store over the edge: bytes", found, value);
            u32 load = LOAD(size == 8 ? 3u : f3 | 4u, A0, A0, 0);
            check_eq("load over the edge", run_one(S, load, va, 0), value);
            set(second, 0);
            run_one(S, load, va, 0);
            check_trap("load, second page missing", LOAD_PAGE, edge);
            run_one(S, STORE(f3, A1, A0), va, 0);
            check_trap("store, second page missing", STORE_PAGE, edge);
            set(second, PPN(pa[1]) | V | R | A | D);
            run_one(S, STORE(f3, A1, A0), va, 0);
            check_trap("store, second page read-only", STORE_PAGE, edge);
            set(second, PPN(HOLE) | RWXAD);
            run_one(S, load, va, 0);
            check_trap("load, second page nowhere", LOAD_ACCESS, edge);
            set(second, ok[1]);
            set(first, 0);
            run_one(S, load, va, 0);
            check_trap("load, first page missing", LOAD_PAGE, va);
            run_one(S, STORE(f3, A1, A0), va, 0);
            check_trap("store, first page missing", STORE_PAGE, va);
            set(second, 0);
            run_one(S, load, va, 0);
            check_trap("load, both pages missing", LOAD_PAGE, va);
        }
    }
    hart->item = 0;
    if (has("svadu")) {
        csr_set(MENVCFG, MENVCFG_ADUE);
        set(first, PPN(pa[0]) | V | R | W);
        set(second, PPN(pa[1]) | V | R | W);
        run_one(S, SD(A1, A0), edge - 3, 0);
        check_eq("A and D over the edge: first", *first & 0xff, V | R | W | A | D);
        check_eq("A and D over the edge: second", *second & 0xff, V | R | W | A | D);
        csr_clear(MENVCFG, MENVCFG_ADUE);
    }

    /* An instruction of four bytes over the edge: li a0, 77. */
    const u32 word = 77u << 20 | A0 << 7 | 0x13u;
    fill();
    mmio16(pa[0] + PAGE - 2) = word & 0xffff;
    mmio16(pa[1]) = word >> 16;
    mmio16(pa[1] + 2) = ECALL & 0xffff;
    mmio16(pa[1] + 4) = ECALL >> 16;
    fence_i();
    set(first, ok[0]);
    set(second, ok[1]);
    trap_clear();
    run(S, (void *)(edge - 2), 0, 0, 0, 0);
    check_eq("instruction over the edge", hart->x[A0], 77);
    check_eq("instruction over the edge: next", hart->m.epc, edge + 2);
    set(second, 0);
    trap_clear();
    hart->probe = edge - 2;
    run(S, (void *)(edge - 2), 0, 0, 0, 0);
    check_trap("instruction over the edge, second page missing", FETCH_PAGE, edge);
    set(second, PPN(pa[1]) | V | R | W | A | D);
    trap_clear();
    run(S, (void *)(edge - 2), 0, 0, 0, 0);
    check_trap("instruction over the edge, second page not executable", FETCH_PAGE, edge);
    /* The same first page with another second page behind it. */
    mmio16(page(3)) = (word + (1u << 20)) >> 16;
    mmio16(page(3) + 2) = ECALL & 0xffff;
    mmio16(page(3) + 4) = ECALL >> 16;
    fence_i();
    set(second, PPN(page(3)) | RWXAD);
    trap_clear();
    run(S, (void *)(edge - 2), 0, 0, 0, 0);
    check_eq("instruction over the edge, other second page", hart->x[A0], 78);
    set(first, 0);
    trap_clear();
    run(S, (void *)(edge - 2), 0, 0, 0, 0);
    check_trap("instruction over the edge, first page missing", FETCH_PAGE, edge - 2);
    leave();
    fill();
}

/* ---- Svnapot, Svpbmt ---- */

static void extensions(u64 levels)
{
    struct space s = new_space(levels, 0);
    u64 base = SCRATCH;
    volatile u64 *block = (volatile u64 *)base;
    enter(&s);
    for (u64 i = 0; i < 16; i++) {
        block[512 * i] = 1000 + i;
        *entry(&s, TEST + PAGE * i, 0) = PPN(base + 0x8000) | RWXAD | N;
    }
    sfence_all();
    if (has("svnapot")) {
        for (u64 i = 0; i < 16; i++) {
            u64 at = TEST + PAGE * (i * 7 % 16);
            check_eq("Svnapot 64 KiB", run_one(S, LD(A0, A0), at, 0), 1000 + i * 7 % 16);
            run_one(S, SD(A1, A0), at + 8, i);
            check_eq("Svnapot 64 KiB store", block[512 * (i * 7 % 16) + 1], i);
        }
        for (u64 low = 0; low < 16; low++) {
            hart->item = low;
            set(entry(&s, TEST, 0), (PPN(base) | RWXAD | N) + (low << 10));
            if (low != 8)
                expect("Svnapot, reserved size", TEST, page_fault);
        }
        hart->item = 0;
        /* sfence.vma by an address in the range. */
        for (u64 i = 0; i < 16; i++)
            *entry(&s, TEST + PAGE * i, 0) = 0;
        sfence_va(TEST + 5 * PAGE);
        check_eq("Svnapot after a fence", outcome(S, READ, TEST + 5 * PAGE), LOAD_PAGE);
        *entry(&s, 80ul << 30, 1) = PPN(RAM) | RWXAD | N;
        *entry(&s, 81ul << 30, 1) = PPN(RAM + 0x8000) | RWXAD | N;
        sfence_all();
        expect("N in a superpage", 80ul << 30, page_fault);
        expect("N in a superpage, with a size", (81ul << 30) + 0x8000, page_fault);
    } else {
        expect("N without Svnapot", TEST, page_fault);
    }

    volatile u64 *e = entry(&s, TEST, 0), *above = entry(&s, TEST, 1);
    u64 good = PPN(page(0)) | RWXAD;
    for (u64 on = 0; on <= (u64)has("svpbmt"); on++) {
        csr_clear(MENVCFG, MENVCFG_PBMTE);
        csr_set(MENVCFG, on ? MENVCFG_PBMTE : 0);
        sfence_all();
        for (u64 type = 0; type < 4; type++) {
            hart->item = 10 * on + type;
            set(e, good | PBMT(type));
            expect("PBMT", TEST, type == 0 || (on && type < 3) ? 0 : page_fault);
        }
        set(e, good);
        u64 pointer = *above;
        set(above, pointer | PBMT(1));
        expect("PBMT in a pointer", TEST, page_fault);
        set(above, pointer);
        expect("no PBMT", TEST, 0);
    }
    hart->item = 0;
    csr_clear(MENVCFG, MENVCFG_PBMTE);
    leave();
    fill();
}

/* ---- delegated page faults ---- */

static void delegated(u64 levels)
{
    struct space s = new_space(levels, 0);
    *entry(&s, TEST, 0) = 0;
    enter(&s);
    csr_write(MEDELEG, 1ul << LOAD_PAGE | 1ul << STORE_PAGE | 1ul << FETCH_PAGE);
    static const u32 words[] = {LD(A0, A0), SD(A1, A0), JR(A0)};
    for (u64 mode = U; mode <= S; mode++)
        for (enum kind kind = READ; kind <= FETCH; kind++) {
            run_one(mode, words[kind], TEST + 8, 0);
            check_eq("delegated page fault: cause", hart->s.cause, page_fault[kind]);
            check_eq("delegated page fault: stval", hart->s.tval, TEST + 8);
            check_eq("delegated page fault: sepc", hart->s.epc, kind == FETCH ? TEST + 8 : hart->probe);
            check_eq("delegated page fault: SPP", hart->s.status & MSTATUS_SPP, mode == S ? MSTATUS_SPP : 0);
            check_eq("delegated page fault: M sees the end", hart->m.cause, ECALL_S);
        }
    mprv_load(S, TEST);
    check_trap("MPRV faults stay in M", LOAD_PAGE, TEST);
    csr_write(MEDELEG, 0);
    leave();
}

void rom_main(void)
{
    static const char *const names[] = {"Sv39", "Sv48", "Sv57"};
    check("the program of a hart lies in one page", ((u64)hart->code ^ (u64)(hart->code + 63)) < PAGE);
    check("the device tree names a translation mode", page_table_levels());
    fill();
    for (u64 levels = 3; levels <= 5; levels++) {
        bool there = levels <= page_table_levels();
        csr_write(SATP, (levels + 5) << 60 | 1);
        /* A write with a mode that is not there does nothing at all. */
        check_eq(names[levels - 3], csr_read(SATP), there ? (levels + 5) << 60 | 1 : 0);
        csr_write(SATP, 0);
        if (!there)
            continue;
        leaves(levels);
        rights(levels);
        reserved(levels);
        accessed_and_dirty(levels);
        address_spaces(levels);
        fences(levels);
        crossing(levels);
        extensions(levels);
        delegated(levels);
    }
}
