/* Physical memory protection: matching, order, locks, every kind of access, and page-table walks. */
#include "pmp.h"

const char rom_name[] = "pmp";

#define SIZE 16384ul
static u64 tables[MAX_HARTS][2][512] __attribute__((aligned(4096), section(".bss.page")));

/* What the regions under test lie in: full of ecalls, so that it can be executed anywhere. */
static u64 area(void) { return SCRATCH; }

static void fill(void)
{
    for (u64 i = 0; i < SIZE; i += 4)
        mmio32(area() + i) = ECALL;
    fence_i();
}

/* What code in `mode` may do at `at`: R, W and X as PMP_*; each refusal must be the right access fault. */
static u8 permissions(u64 mode, u64 at)
{
    u8 found = 0;
    run_insn(mode, LOAD(2u, A0, A0, 0), at, 0);
    if (hart->m.cause == ecall_from(mode))
        found |= PMP_R;
    else
        check_trap("refused load", LOAD_ACCESS, at);
    run_insn(mode, STORE(2u, A1, A0), at, ECALL);
    if (hart->m.cause == ecall_from(mode))
        found |= PMP_W;
    else
        check_trap("refused store", STORE_ACCESS, at);
    fence_i();
    trap_clear();
    run(mode, (void *)at, 0, 0, 0, 0);
    hart->probe = at;
    if (hart->m.cause == ecall_from(mode))
        found |= PMP_X;
    else
        check_trap("refused fetch", FETCH_ACCESS, at);
    return found;
}

#define ALL (PMP_R | PMP_W | PMP_X)
static const u8 rwx[] = {0, PMP_R, PMP_R | PMP_W, PMP_X, PMP_R | PMP_X, ALL};

static void off(u64 first, u64 last)
{
    for (u64 i = first; i <= last; i++) {
        pmp_set_cfg(i, 0);
        pmp_set_addr(i, 0);
    }
}

/* ---- the registers ---- */

static void registers(void)
{
    u64 count = 0;
    for (u64 i = 0; i < 64; i++) {
        if (i == 15) {
            count = 16; /* in use by the runtime */
            continue;
        }
        hart->item = i;
        pmp_set_addr(i, 0x155555 + i);
        u64 back = pmp_addr(i);
        if (!back)
            continue;
        count = i + 1;
        check_eq("pmpaddr holds an address", back, 0x155555 + i);
        pmp_set_addr(i, ~0ul);
        check_eq("pmpaddr bits 54 up read 0", pmp_addr(i) >> 54, 0);
        for (u64 a = 0; a < 4; a++) {
            /* No entry may match anything we use: TOR below the next lower address, the rest at the top. */
            pmp_set_addr(i, a == 1 ? 0 : (1ul << 54) - 2);
            for (u64 p = 0; p < 6; p++) {
                pmp_set_cfg(i, a << 3 | rwx[p]);
                check_eq("pmpcfg holds a legal value", pmp_cfg(i), a << 3 | rwx[p]);
            }
            pmp_set_cfg(i, a << 3 | PMP_W);
            /* R, W and X are one WARL field (Privileged, 3.7.1). QEMU 11 keeps the reserved combination. */
            check("pmpcfg W without R is reserved", (pmp_cfg(i) & 3) != PMP_W || on_qemu());
            pmp_set_cfg(i, 0x60 | a << 3);
            check_eq("pmpcfg bits 5 and 6 read 0", pmp_cfg(i) & 0x60, 0);
        }
        pmp_set_cfg(i, 0);
        pmp_set_addr(i, 0);
    }
    hart->item = 0;
    check("0, 16 or 64 entries", count == 0 || count == 16 || count == 64);
    u64 wanted = param("pmp", 0);
    if (wanted)
        check_eq("number of PMP entries", count, wanted);
    run_insn(M, CSRRS(A0, PMPCFG0 + 1, 0), 0, 0);
    check_trap("pmpcfg1 does not exist on RV64", ILLEGAL, CSRRS(A0, PMPCFG0 + 1, 0));
    run_insn(M, CSRRW(0, PMPCFG0 + 15, A0), 0, 0);
    check_trap("pmpcfg15 does not exist on RV64", ILLEGAL, CSRRW(0, PMPCFG0 + 15, A0));
}

/* ---- matching ---- */

/* [base, base + size) gives `p` to S and U, the words around it everything. */
static void expect_region(const char *name, u64 base, u64 size, u8 p)
{
    for (u64 mode = U; mode <= S; mode++) {
        check_eq(name, permissions(mode, base), p);
        check_eq(name, permissions(mode, base + size - 4), p);
        check_eq("before the region", permissions(mode, base - 4), ALL);
        check_eq("after the region", permissions(mode, base + size), ALL);
    }
    check_eq("M is not bound by an unlocked region", permissions(M, base), ALL);
}

static void matching(void)
{
    u64 base = area() + 8192;
    for (u64 i = 0; i < 6; i++) {
        hart->item = i;
        u8 p = rwx[i];
        pmp_set_addr(3, base >> 2);
        pmp_set_cfg(3, PMP_NA4 | p);
        expect_region("NA4", base, 4, p);
        off(3, 3);
        for (u64 size = 8; size <= 4096; size *= i == 1 ? 2 : 8) {
            pmp_napot(3, base, size, p);
            expect_region("NAPOT", base, size, p);
        }
        pmp_napot(3, base - 4096 - 4096, 8192, p);
        check_eq("NAPOT of two pages", permissions(S, base - 4096), p);
        check_eq("NAPOT of two pages, end", permissions(S, base - 4), p);
        check_eq("NAPOT of two pages, after", permissions(S, base), ALL);
        static const u16 ends[] = {4, 12, 2048, 4096, 4100};
        for (u64 e = 0; e < 5; e++) {
            pmp_tor(3, base - 8, base + ends[e], p);
            expect_region("TOR", base - 8, 8 + ends[e], p);
        }
        off(2, 3);
        /* An entry 0 with TOR begins at address 0. */
        pmp_set_addr(0, base >> 2);
        pmp_set_cfg(0, PMP_TOR | ALL);
        pmp_napot(1, base - 4096, 8192, p);
        check_eq("TOR entry 0", permissions(S, base - 4), ALL);
        check_eq("TOR entry 0, after", permissions(S, base), i == 5 ? ALL : p);
        off(0, 1);
    }
    hart->item = 0;

    /* TOR with nothing in it. */
    pmp_tor(3, base + 8, base + 8, 0);
    check_eq("TOR of nothing", permissions(S, base + 8), ALL);
    pmp_tor(3, base + 16, base + 8, 0);
    check_eq("TOR backwards", permissions(S, base + 8), ALL);
    check_eq("TOR backwards, base", permissions(S, base + 16), ALL);
    /* TOR takes its base from the entry before it, whatever that one matches. */
    pmp_napot(2, base, 8, PMP_R);
    pmp_set_addr(3, (base >> 2) + 8);
    pmp_set_cfg(3, PMP_TOR);
    check_eq("TOR above NAPOT, lower", permissions(S, base), PMP_R);
    check_eq("TOR above NAPOT, upper", permissions(S, base + 8), 0);
    check_eq("TOR above NAPOT, after", permissions(S, base + 32), ALL);
    off(2, 3);

    /* The lowest number that matches decides. */
    pmp_napot(4, base, 4096, 0);
    check_eq("denied by entry 4", permissions(S, base + 64), 0);
    pmp_napot(3, base + 64, 64, PMP_R | PMP_X);
    check_eq("granted in part by entry 3", permissions(S, base + 64), PMP_R | PMP_X);
    check_eq("still denied beside it", permissions(S, base + 128), 0);
    pmp_set_addr(2, (base + 68) >> 2);
    pmp_set_cfg(2, PMP_NA4 | PMP_R | PMP_W);
    check_eq("entry 2 before entry 3", permissions(U, base + 68), PMP_R | PMP_W);
    pmp_napot(1, base, 4096, ALL);
    check_eq("entry 1 hides all of them", permissions(U, base + 68), ALL);
    off(1, 1);
    check_eq("entry 1 off again", permissions(U, base + 68), PMP_R | PMP_W);
    off(2, 4);

    /* Nothing matches: S and U may do nothing, M everything. With no entry on at all, QEMU 11 blames the mret. */
    pmp_set_cfg(15, 0);
    for (u64 others = 0; others < 2; others++) {
        if (others)
            pmp_napot(3, base, 8, ALL);
        else if (on_qemu())
            continue;
        run_insn(S, NOP, 0, 0);
        check_trap("no entry matches, S", FETCH_ACCESS, hart->probe);
        run_insn(U, NOP, 0, 0);
        check_trap("no entry matches, U", FETCH_ACCESS, hart->probe);
        check_eq("no entry matches, M", permissions(M, base + 8), ALL);
    }
    off(3, 3);
    pmp_set_cfg(15, PMP_NAPOT | ALL);
}

/* ---- accesses that a region holds in part ---- */

static void partial(void)
{
    u64 base = area() + 8192;
    static const u8 loads[] = {0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
    /* An aligned doubleword of which an entry matches the upper or lower half fails, though all of it is allowed. */
    for (u64 half = 0; half < 2; half++) {
        pmp_set_addr(3, base / 4 + half);
        pmp_set_cfg(3, PMP_NA4 | ALL);
        run_insn(S, LD(A0, A0), base, 0);
        check_trap("ld of which NA4 matches half", LOAD_ACCESS, base);
        run_insn(S, SD(A1, A0), base, 0);
        check_trap("sd of which NA4 matches half", STORE_ACCESS, base);
        run_insn(S, AMO(0u, 3u, A0, A1, A0), base, 0);
        check_trap("amoadd.d of which NA4 matches half", STORE_ACCESS, base);
        run_insn(S, LOAD(2u, A0, A0, 0), base, 0);
        check_eq("lw beside it", hart->m.cause, ECALL_S);
    }
    off(3, 3);
    /* Misaligned accesses over the edge of a denied region, from each side. */
    pmp_napot(3, base, 64, 0);
    for (u64 i = 1; i < sizeof loads; i++) {
        u64 bytes = 1ul << loads[i];
        for (u64 into = 1; into < bytes; into++) {
            run_insn(S, LOAD((u32)loads[i], A0, A0, 0), base - into, 0);
            check_eq("load over the lower edge", hart->m.cause, LOAD_ACCESS);
            run_insn(U, STORE((u32)loads[i], A1, A0), base + 64 - into, 0);
            check_eq("store over the upper edge", hart->m.cause, STORE_ACCESS);
        }
    }
    run_insn(S, LD(A0, A0), base - 8, 0);
    check_eq("ld up to the lower edge", hart->m.cause, ECALL_S);
    run_insn(S, LD(A0, A0), base + 64, 0);
    check_eq("ld from the upper edge", hart->m.cause, ECALL_S);
    /* An instruction of four bytes, of which the second half is denied. */
    volatile u16 *across = (u16 *)(base - 2);
    across[0] = NOP & 0xffff;
    fence_i();
    trap_clear();
    hart->probe = base - 2;
    run(S, (void *)(base - 2), 0, 0, 0, 0);
    check_trap("fetch over the edge", FETCH_ACCESS, base);
    /* One of two bytes there is allowed; the next one is not. */
    across[0] = 0x0001;
    fence_i();
    trap_clear();
    hart->probe = base;
    run(S, (void *)(base - 2), 0, 0, 0, 0);
    check_trap("fetch up to the edge", FETCH_ACCESS, base);
    fill();
    off(3, 3);

    /* LR needs read, SC and AMO need write (and AMO read). */
    pmp_napot(3, base, 64, PMP_R);
    run_insn(U, AMO(2u, 3u, A0, 0u, A0), base, 0);
    check_eq("lr.d with R", hart->m.cause, ECALL_U);
    run_insn(U, AMO(1u, 3u, A0, A1, A0), base, 0);
    check_trap("amoswap.d with R", STORE_ACCESS, base);
    u32 pair[] = {AMO(2u, 3u, A2, 0u, A0), AMO(3u, 3u, A2, A1, A0)};
    run_insns(U, pair, 2, base, 0);
    hart->probe += 4;
    check_trap("sc.d with R", STORE_ACCESS, base);
    pmp_set_cfg(3, PMP_NAPOT | PMP_X);
    run_insn(U, AMO(2u, 3u, A0, 0u, A0), base, 0);
    check_trap("lr.d without R", LOAD_ACCESS, base);
    run_insn(U, AMO(0u, 3u, A0, A1, A0), base, 0);
    check_trap("amoadd.d without R", STORE_ACCESS, base);
    if (has("zicboz")) {
        csr_set(MENVCFG, ENVCFG_CBZE);
        run_insn(S, CBO(CBO_ZERO, A0), base, 0);
        check_trap("cbo.zero without W", STORE_ACCESS, base);
        csr_clear(MENVCFG, ENVCFG_CBZE);
    }
    off(3, 3);
}

/* ---- MPRV ---- */

static void mprv(void)
{
    u64 base = area() + 8192;
    *(u64 *)base = 0x1234;
    pmp_napot(3, base, 8, PMP_R);
    for (u64 mode = U; mode <= S; mode++) {
        check_eq("MPRV load", mprv_load(mode, base), 0x1234);
        check_no_trap("MPRV load");
        mprv_store(mode, base, 1);
        check_trap("MPRV store", STORE_ACCESS, base);
    }
    mprv_store(M, base, 0x5678);
    check_no_trap("MPRV store with MPP M");
    check_eq("MPRV store with MPP M", *(u64 *)base, 0x5678);
    pmp_napot(3, base, 8, 0);
    mprv_load(S, base);
    check_trap("MPRV load, none", LOAD_ACCESS, base);
    off(3, 3);
    /* Fetches go on in M-mode: with nothing for S anywhere, code with MPRV still runs. */
    pmp_set_cfg(15, 0);
    mprv_load(S, base);
    check_trap("MPRV load, no entry", LOAD_ACCESS, base);
    pmp_set_cfg(15, PMP_NAPOT | ALL);
    fill();
}

/* ---- page-table walks ---- */

static void walks(void)
{
    u64(*t)[512] = tables[hart->id];
    u64 leaf_table = (u64)t[1];
    u64 base = area();
    /* 1 GiB of RAM where it is, and one page of `area` at 4 GiB behind a table of two levels. */
    t[0][2] = RAM >> 2 | 0xcf;
    t[0][4] = leaf_table >> 2 | 1;
    t[1][0] = (base & ~0x1ffffful) >> 2 | 0xcf;
    u64 at = (4ul << 30) + (base & 0x1fffff);
    csr_write(SATP, 8ul << 60 | (u64)t[0] >> 12);
    sfence_all();
    run_insn(S, LD(A0, A0), at, 0);
    check_eq("walk allowed", hart->m.cause, ECALL_S);

    for (u64 level = 0; level < 2; level++) {
        hart->item = level;
        pmp_napot(3, (u64)t[level], 4096, PMP_W | PMP_R);
        sfence_all();
        run_insn(S, LD(A0, A0), at, 0);
        check_eq("walk through readable tables", hart->m.cause, ECALL_S);
        pmp_napot(3, (u64)t[level], 4096, PMP_X);
        sfence_all();
        if (level == 0) {
            /* Not even the code of S can be found now. */
            run_insn(S, NOP, 0, 0);
            check_trap("walk refused, any fetch", FETCH_ACCESS, hart->probe);
        } else {
            run_insn(S, LD(A0, A0), at, 0);
            check_trap("walk refused, load", LOAD_ACCESS, at);
            run_insn(S, SD(A0, A0), at, 0);
            check_trap("walk refused, store", STORE_ACCESS, at);
            run_insn(S, AMO(0u, 3u, A0, A1, A0), at, 0);
            check_trap("walk refused, AMO", STORE_ACCESS, at);
            run_insn(S, AMO(2u, 3u, A0, 0u, A0), at, 0);
            check_trap("walk refused, LR", LOAD_ACCESS, at);
            run_insn(S, JR(A0), at, 0);
            hart->probe = at;
            check_trap("walk refused, fetch", FETCH_ACCESS, at);
            mprv_load(S, at);
            check_trap("walk refused, MPRV load", LOAD_ACCESS, at);
        }
        off(3, 3);
    }
    hart->item = 0;

    /* Setting A needs a writable table. */
    if (has("svadu")) {
        csr_set(MENVCFG, MENVCFG_ADUE);
        t[1][0] &= ~0xc0ul;
        pmp_napot(3, leaf_table, 4096, PMP_R);
        sfence_all();
        run_insn(S, LD(A0, A0), at, 0);
        check_trap("A update in a read-only table", LOAD_ACCESS, at);
        run_insn(S, SD(A0, A0), at, 0);
        check_trap("D update in a read-only table", STORE_ACCESS, at);
        check_eq("the entry stays", t[1][0] & 0xc0, 0);
        pmp_napot(3, leaf_table, 4096, PMP_R | PMP_W);
        sfence_all();
        run_insn(S, LD(A0, A0), at, 0);
        check_eq("A update in a writable table", hart->m.cause, ECALL_S);
        check_eq("A is set", t[1][0] & 0xc0, 0x40);
        off(3, 3);
        csr_clear(MENVCFG, MENVCFG_ADUE);
    }
    t[1][0] |= 0xc0;
    /* The page itself: 64 bytes of it are read-only. */
    pmp_napot(3, base + 128, 64, PMP_R);
    sfence_all();
    run_insn(S, LD(A0, A0), at + 128, 0);
    check_eq("translated load, R", hart->m.cause, ECALL_S);
    run_insn(S, SD(A0, A0), at + 128, 0);
    check_trap("translated store, R", STORE_ACCESS, at + 128);
    run_insn(S, SD(A0, A0), at + 192, 0);
    check_eq("translated store beside it", hart->m.cause, ECALL_S);
    run_insn(S, SD(A0, A0), at + 120, 0);
    check_eq("translated store before it", hart->m.cause, ECALL_S);
    run_insn(S, JR(A0), at + 128, 0);
    hart->probe = at + 128;
    check_trap("translated fetch, R", FETCH_ACCESS, at + 128);
    /* A region that shrinks is seen after sfence.vma. */
    pmp_napot(3, base, 4096, 0);
    sfence_all();
    run_insn(S, LD(A0, A0), at + 192, 0);
    check_trap("translated load, whole page refused", LOAD_ACCESS, at + 192);
    off(3, 3);
    sfence_all();
    run_insn(S, LD(A0, A0), at + 192, 0);
    check_eq("translated load, allowed again", hart->m.cause, ECALL_S);
    csr_write(SATP, 0);
    sfence_all();
    fill();
}

/* ---- locks: these entries stay as they are until reset ---- */

static void locks(void)
{
    u64 base = area() + 4096;
    pmp_napot(8, base, 64, PMP_R | PMP_L);
    for (u64 mode = U; mode <= M; mode += mode == S ? 2 : 1)
        check_eq("locked R binds every mode", permissions(mode, base), PMP_R);
    u64 addr = pmp_addr(8);
    pmp_set_addr(8, 0);
    check_eq("locked pmpaddr stays", pmp_addr(8), addr);
    pmp_set_cfg(8, 0);
    check_eq("locked pmpcfg stays", pmp_cfg(8), PMP_NAPOT | PMP_R | PMP_L);
    pmp_set_cfg(8, PMP_L | PMP_NAPOT | ALL);
    check_eq("locked pmpcfg gets no more rights", pmp_cfg(8), PMP_NAPOT | PMP_R | PMP_L);
    /* The other bytes of the same register are not locked. */
    pmp_set_cfg(9, PMP_R);
    check_eq("pmpcfg9 is free", pmp_cfg(9), PMP_R);
    pmp_set_cfg(9, 0);
    /* An unlocked entry with a lower number goes before, for M as for others. */
    pmp_napot(7, base, 64, PMP_R | PMP_W);
    check_eq("unlocked entry before a locked one, M", permissions(M, base), ALL);
    check_eq("unlocked entry before a locked one, S", permissions(S, base), PMP_R | PMP_W);
    off(7, 7);

    /* A locked TOR also locks its base. */
    pmp_tor(11, base + 64, base + 128, PMP_L);
    check_eq("locked TOR, M", permissions(M, base + 64), 0);
    check_eq("locked TOR, end, M", permissions(M, base + 124), 0);
    check_eq("locked TOR, after, M", permissions(M, base + 128), ALL);
    pmp_set_addr(10, 0);
    check_eq("base of a locked TOR stays", pmp_addr(10), (base + 64) >> 2);
    pmp_set_addr(11, 0);
    check_eq("top of a locked TOR stays", pmp_addr(11), (base + 128) >> 2);
    pmp_set_cfg(10, PMP_R);
    check_eq("pmpcfg of the base is free", pmp_cfg(10), PMP_R);
    pmp_set_cfg(10, 0);

    /* Locked and off: stays off. */
    pmp_set_cfg(12, PMP_L);
    pmp_set_cfg(12, PMP_NAPOT);
    check_eq("locked off stays off", pmp_cfg(12), PMP_L);
    /* MPRV with a locked entry. */
    mprv_store(M, base, 1);
    check_trap("locked R refuses an M store", STORE_ACCESS, base);
    mprv_load(U, base + 64);
    check_trap("locked TOR refuses a load as U", LOAD_ACCESS, base + 64);
}

void rom_main(void)
{
    fill();
    registers();
    matching();
    partial();
    mprv();
    walks();
    locks();
}
