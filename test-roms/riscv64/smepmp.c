/* Smepmp 1.0: mseccfg, and all sixteen meanings of L, R, W and X with machine-mode lockdown. */
#include "pmp.h"

const char rom_name[] = "smepmp";

/* The page whose rights change, full of ecalls, and the code that S and U run: nothing else is open to them. */
static u32 pages[MAX_HARTS][1024] __attribute__((aligned(4096), section(".bss.page")));
static u32 stubs[MAX_HARTS][1024] __attribute__((aligned(4096), section(".bss.page")));
extern const char _data[], _end[];

#define ALL (PMP_R | PMP_W | PMP_X)

static u64 page(void) { return (u64)pages[hart->id]; }

/* What `mode` may do with the page, as PMP_*. */
static u8 permissions(u64 mode)
{
    u64 at = page();
    u8 found = 0;
    if (mode == M) {
        u64 value = ECALL;
        TRY("lw t6, 0(%0)", "r"(at));
        if (hart->m.count == 0)
            found |= PMP_R;
        else
            check_trap("refused load in M", LOAD_ACCESS, at);
        TRY("sw %1, 0(%0)", "r"(at), "r"(value));
        if (hart->m.count == 0)
            found |= PMP_W;
        else
            check_trap("refused store in M", STORE_ACCESS, at);
    } else {
        u32 *code = stubs[hart->id];
        trap_clear();
        run(mode, code, at, 0, 0, 0);
        hart->probe = (u64)code;
        if (hart->m.cause == ecall_from(mode))
            found |= PMP_R;
        else
            check_trap("refused load", LOAD_ACCESS, at);
        trap_clear();
        run(mode, code + 2, at, ECALL, 0, 0);
        hart->probe = (u64)(code + 2);
        if (hart->m.cause == ecall_from(mode))
            found |= PMP_W;
        else
            check_trap("refused store", STORE_ACCESS, at);
    }
    trap_clear();
    run(mode, (void *)at, 0, 0, 0, 0);
    hart->probe = at;
    if (hart->m.cause == ecall_from(mode))
        found |= PMP_X;
    else
        check_trap("refused fetch", FETCH_ACCESS, at);
    return found;
}

static void expect(const char *name, u8 m, u8 su)
{
    hart->variant = name;
    check_eq("M", permissions(M), m);
    check_eq("S", permissions(S), su);
    check_eq("U", permissions(U), su);
    hart->variant = 0;
}

/* With MML: indexed by LRWX as written in the specification, L the highest bit. */
static const struct {
    u8 m, su;
    const char *name;
} meaning[16] = {
    {0, 0, "----"},
    {0, PMP_X, "---X"},
    {PMP_R | PMP_W, PMP_R, "--W-: shared, S and U read"},
    {PMP_R | PMP_W, PMP_R | PMP_W, "--WX: shared, all read and write"},
    {0, PMP_R, "-R--"},
    {0, PMP_R | PMP_X, "-R-X"},
    {0, PMP_R | PMP_W, "-RW-"},
    {0, ALL, "-RWX"},
    {0, 0, "L---"},
    {PMP_X, 0, "L--X"},
    {PMP_X, PMP_X, "L-W-: shared code"},
    {PMP_R | PMP_X, PMP_X, "L-WX: shared code, M reads"},
    {PMP_R, 0, "LR--"},
    {PMP_R | PMP_X, 0, "LR-X"},
    {PMP_R | PMP_W, 0, "LRW-"},
    {PMP_R, PMP_R, "LRWX: shared constants"},
};

static u8 cfg_of(u64 lrwx)
{
    return PMP_NAPOT | (lrwx & 8 ? PMP_L : 0) | (lrwx & 4 ? PMP_R : 0) | (lrwx & 2 ? PMP_W : 0) |
           (lrwx & 1 ? PMP_X : 0);
}

static void without(void)
{
    /* No Smepmp: mseccfg is absent, or there for another extension, without these bits. */
    u64 value = run_insn(M, CSRRSI(A0, MSECCFG, 7u), 0, 0);
    if (hart->m.cause == ILLEGAL)
        check_trap("mseccfg is absent", ILLEGAL, CSRRSI(A0, MSECCFG, 7u));
    else
        check_eq("mseccfg has no Smepmp bits", value | csr_read(MSECCFG), 0);
}

void rom_main(void)
{
    if (!has("smepmp")) {
        without();
        return;
    }
    u32 *code = stubs[hart->id];
    for (u64 i = 0; i < 1024; i++)
        pages[hart->id][i] = code[i] = ECALL;
    code[0] = LOAD(2u, A0, A0, 0);
    code[2] = STORE(2u, A1, A0);
    fence_i();

    check_eq("mseccfg after reset", csr_read(MSECCFG) & 7, 0);

    /* Rule locking bypass: locked entries can be edited while it is set. */
    csr_set(MSECCFG, MSECCFG_RLB);
    check_eq("RLB can be set", csr_read(MSECCFG) & 7, MSECCFG_RLB);
    csr_clear(MSECCFG, MSECCFG_RLB);
    check_eq("RLB can be cleared with nothing locked", csr_read(MSECCFG) & 7, 0);
    csr_set(MSECCFG, MSECCFG_RLB);
    pmp_napot(0, page(), 4096, PMP_L | PMP_R);
    expect("locked R before MML", PMP_R, PMP_R);
    pmp_set_cfg(0, PMP_NAPOT | PMP_R);
    check_eq("RLB lets L be cleared", pmp_cfg(0), PMP_NAPOT | PMP_R);
    expect("unlocked R before MML", ALL, PMP_R);

    /* The program in M: constants and text; the data; the devices. The stubs for S and U. */
    pmp_tor(3, RAM, (u64)_data, PMP_L | PMP_R | PMP_X);
    pmp_napot(1, (u64)code, 4096, PMP_R | PMP_X);
    pmp_tor(5, (u64)_data, ((u64)_end + 0xffff) & ~0xfffful, PMP_L | PMP_R | PMP_W);
    pmp_tor(7, 0, RAM, PMP_L | PMP_R | PMP_W);
    pmp_set_cfg(15, 0);

    /* MMWP: nothing matches, so nothing is allowed, to M too. */
    u64 beyond = (((u64)_end + 0xffff) & ~0xfffful) + 64;
    TRY("ld t6, 0(%0)", "r"(beyond));
    check_no_trap("no entry matches, M, no MMWP");
    csr_set(MSECCFG, MSECCFG_MMWP);
    check_eq("MMWP can be set", csr_read(MSECCFG) & 7, MSECCFG_MMWP | MSECCFG_RLB);
    TRY("ld t6, 0(%0)", "r"(beyond));
    check_trap("no entry matches, MMWP, load", LOAD_ACCESS, beyond);
    TRY("sd zero, 0(%0)", "r"(beyond));
    check_trap("no entry matches, MMWP, store", STORE_ACCESS, beyond);
    trap_clear();
    hart->probe = beyond;
    run(M, (void *)beyond, 0, 0, 0, 0);
    check_trap("no entry matches, MMWP, fetch", FETCH_ACCESS, beyond);
    csr_clear(MSECCFG, MSECCFG_MMWP);
    check_eq("MMWP stays set", csr_read(MSECCFG) & 7, MSECCFG_MMWP | MSECCFG_RLB);
    expect("unlocked R with MMWP", ALL, PMP_R);

    csr_set(MSECCFG, MSECCFG_MML);
    check_eq("MML can be set", csr_read(MSECCFG) & 7, 7);
    csr_clear(MSECCFG, MSECCFG_MML);
    check_eq("MML stays set", csr_read(MSECCFG) & 7, 7);
    for (u64 i = 0; i < 16; i++) {
        pmp_napot(0, page(), 4096, 0);
        pmp_set_cfg(0, cfg_of(i));
        check_eq("MML: pmpcfg takes every combination", pmp_cfg(0), cfg_of(i));
        expect(meaning[i].name, meaning[i].m, meaning[i].su);
    }
    /* MPRV uses the rules of the mode it names. */
    pmp_set_cfg(0, cfg_of(6));
    mprv_load(U, page());
    check_no_trap("MML: MPRV load as U");
    mprv_load(M, page());
    check_trap("MML: MPRV load with MPP M", LOAD_ACCESS, page());

    /* Without RLB: locked entries stay, and no rule may be added that lets M execute. */
    pmp_set_cfg(0, PMP_NAPOT | PMP_R);
    csr_clear(MSECCFG, MSECCFG_RLB);
    check_eq("RLB can be cleared", csr_read(MSECCFG) & 7, 3);
    csr_set(MSECCFG, MSECCFG_RLB);
    check_eq("RLB cannot be set again with locked entries", csr_read(MSECCFG) & 7, 3);
    for (u64 i = 0; i < 8; i++) {
        pmp_set_cfg(0, cfg_of(i));
        check_eq("MML, no RLB: unlocked combinations", pmp_cfg(0), cfg_of(i));
    }
    static const u8 executable[] = {9, 10, 11, 13};
    for (u64 i = 0; i < 4; i++) {
        hart->item = executable[i];
        pmp_set_cfg(0, cfg_of(4));
        pmp_set_cfg(0, cfg_of(executable[i]));
        check_eq("MML, no RLB: no new rule executable in M", pmp_cfg(0), cfg_of(4));
    }
    hart->item = 0;
    expect("and the old rule is in force", 0, PMP_R);
    pmp_set_cfg(0, cfg_of(12));
    check_eq("MML, no RLB: a locked data rule", pmp_cfg(0), cfg_of(12));
    pmp_set_cfg(0, cfg_of(14));
    check_eq("MML, no RLB: it is locked", pmp_cfg(0), cfg_of(12));
    expect("locked for good", PMP_R, 0);
}
