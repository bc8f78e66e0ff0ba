/* Every synchronous exception that needs no translation, from EL0 to EL3: level, syndrome, return address, saved state,
 * vector. */
#include "rt.h"

const char rom_name[] = "exceptions";

/* Not instructions, whatever the features. */
static const u32 unallocated[] = {
    0x00000000, /* UDF */
    0x0000ffff, /* UDF #65535 */
    0x02000000, /* op0 1 */
    0x06000000, /* op0 3 */
    0x1e000000 | 1u << 29, /* fixed point conversion with S */
    0x5ac04000 | 0x3fu << 10, /* data processing with one source */
    0x9ac0fc00, /* data processing with two sources */
    0xd4000000, /* exception generation with LL 0 */
    0xd4000004, /* the same with op2 */
    0xd4200001, /* BRK with LL 1 */
    0xd5003000 | 0xffu << 5, /* no barrier */
    0xd69f0020, /* ERET with Rn 1 */
    0xd63f0001, /* BLR with op4 */
    0xb8000c00 | 3u << 22 | 1u << 26 | 0xc0000000u, /* vector load of no size */
    0xffffffff,
};

/* The level that a synchronous exception of code at `el` goes to. */
static u64 general(u64 el) { return el ? el : 1; }

static u64 pstate_of(u64 el) { return el ? DAIF | el << 2 | 1 : EL0T; }

/* The class for an exception from `el`, of a pair. */
static u64 paired(u64 class, u64 el) { return EC(class + (general(el) == el)); }

static void check_vector(u64 el, u64 to)
{
    /* From the same level with its own stack pointer, or from a lower level. */
    check_eq("vector", last_trap()->vector, to == el ? 4 : 8);
    check_eq("saved PSTATE", last_trap()->spsr & 0x3ff, pstate_of(el) & 0x3ff);
}

static void instructions(u64 el)
{
    u64 to = general(el), pstate = pstate_of(el);
    for (u64 i = 0; i < sizeof unallocated / sizeof *unallocated; i++) {
        cpu->item = unallocated[i];
        run_insn(pstate, unallocated[i], 0, 0);
        check_trap("unallocated", to, EC(UNKNOWN));
        check_vector(el, to);
    }
    cpu->item = 0;
    run_insn(pstate, SVC_(0x1234), 0, 0);
    check_trap("SVC", to, EC(SVC) | 0x1234);
    check_vector(el, to);
    run_insn(pstate, BRK_(0xabcd), 0, 0);
    check_trap("BRK", to, EC(BRK) | 0xabcd);
    check_vector(el, to);
    run_insn(pstate, 0xd4400000, 0, 0);
    check_trap("HLT, without a debugger", to, EC(UNKNOWN));
    /* No register, and none that can be accessed here. */
    run_insn(pstate, MRS_X0(3, 0, 15, 15, 7), 0, 0);
    check_trap("no such register", to, EC(UNKNOWN));
    run_insn(pstate, MSR_X0(3, 0, 0, 0, 5), 0, 0);
    check_trap("write of a read-only register", to, EC(UNKNOWN));
    static const u32 first_of_level[] = {
        0, MRS_X0(3, 0, 1, 0, 0), MRS_X0(3, 4, 1, 1, 0), MRS_X0(3, 6, 1, 1, 0), /* SCTLR_EL1, HCR_EL2, SCR_EL3 */
    };
    for (u64 level = el + 1; level <= 3; level++) {
        cpu->item = level;
        run_insn(pstate, first_of_level[level], 0, 0);
        check_trap("register of a higher level", to, EC(UNKNOWN));
    }
    cpu->item = 0;
    if (el == 0) {
        run_insn(pstate, 0xd69f03e0, 0, 0);
        check_trap("ERET at EL0", to, EC(UNKNOWN));
        run_insn(pstate, HVC_(1), 0, 0);
        check_trap("HVC at EL0", to, EC(UNKNOWN));
        run_insn(pstate, SMC_(1), 0, 0);
        check_trap("SMC at EL0", to, EC(UNKNOWN));
        /* SCTLR_EL1.{UCT, UCI, DZE, UMA, nTWI, nTWE} are zero here. */
        run_insn(pstate, MRS_X0(3, 3, 0, 0, 1), 0, 0);
        check_trap("CTR_EL0", to, EC(SYSTEM) | SYSTEM_ISS(3, 3, 0, 0, 1, 0, 1));
        run_insn(pstate, MSR_X0(3, 3, 4, 2, 1), 0, 0);
        check_trap("DAIF", to, EC(SYSTEM) | SYSTEM_ISS(3, 3, 4, 2, 1, 0, 0));
        run_insn(pstate, MSR_X0(1, 3, 7, 11, 1), (u64)cpu->data, 0);
        check_trap("DC CVAU", to, EC(SYSTEM) | SYSTEM_ISS(1, 3, 7, 11, 1, 0, 0));
        run_insn(pstate, MSR_X0(1, 3, 7, 4, 1), (u64)cpu->data, 0);
        check_trap("DC ZVA", to, EC(SYSTEM) | SYSTEM_ISS(1, 3, 7, 4, 1, 0, 0));
        run_insn(pstate, 0xd503207f, 0, 0);
        check_trap("WFI", to, EC(WFX) | 1ul << 24 | 14ul << 20);
        run_insn(pstate, MRS_X0(3, 3, 14, 0, 2), 0, 0);
        check_trap("CNTVCT_EL0", to, EC(SYSTEM) | SYSTEM_ISS(3, 3, 14, 0, 2, 0, 1));
        run_insn(pstate, MRS_X0(3, 3, 9, 13, 0), 0, 0);
        check_trap("PMCCNTR_EL0", to, EC(SYSTEM) | SYSTEM_ISS(3, 3, 9, 13, 0, 0, 1));
    }
}

static void calls(u64 el)
{
    u64 pstate = pstate_of(el);
    if (el && cpu->home >= 2) {
        run_insn(pstate, HVC_(0x77), 0, 0);
        u64 to = el > 2 ? el : 2;
        check_trap("HVC", to, EC(HVC) | 0x77);
        check_vector(el, to);
    }
    if (el && cpu->home == 3) {
        run_insn(pstate, SMC_(0x88), 0, 0);
        check_trap("SMC", 3, EC(SMC) | 0x88);
        check_vector(el, 3);
    }
}

static void alignment(u64 el)
{
    u64 to = general(el), pstate = pstate_of(el);
    /* br x0 */
    u64 bad = (u64)cpu->data + 2;
    run_insn(pstate, 0xd61f0000, bad, 0);
    cpu->probe = bad;
    check_abort("misaligned PC", to, EC(PC_ALIGNMENT), bad);
    /* QEMU does not check the stack pointer. */
    if (el && el < cpu->home && !on_qemu()) {
        /* mov sp, x0; ldr x0, [sp]; the old stack pointer is put back by the handler's end. */
        static const u32 words[] = {0x9100001f, 0xf94003e0};
        run_insns(DAIF | el << 2, words, 2, (u64)cpu->data + 8, 0);
        cpu->probe += 4;
        check_trap("misaligned SP", to, EC(SP_ALIGNMENT));
        check_eq("vector", last_trap()->vector, 0);
    }
    /* Without translation all is device memory. */
    u64 at = (u64)cpu->data + 1;
    run_insn(pstate, LDR_X0_X0, at, 0);
    check_abort("misaligned load", to, paired(DABORT, el) | ALIGNMENT, at);
    run_insn(pstate, STR_X1_X0, at, 0);
    check_abort("misaligned store", to, paired(DABORT, el) | ALIGNMENT | WNR, at);
    run_insn(pstate, LDR_X0_X0, at + 7, 0);
    check_no_trap("aligned load");
    /* ldxr x0, [x0]; ldar; ldadd x1, x0, [x0] if there is LSE */
    run_insn(pstate, 0xc85f7c00, at, 0);
    check_abort("misaligned exclusive", to, paired(DABORT, el) | ALIGNMENT, at);
    run_insn(pstate, 0xc8dffc00, at, 0);
    check_abort("misaligned acquire", to, paired(DABORT, el) | ALIGNMENT, at);
    if (field(read_sys("id_aa64isar0_el1"), 20)) {
        run_insn(pstate, 0xf8210000, at, 0);
        /* An atomic operation that reads and writes: a fault of either says write, unless reading alone would fault. */
        check("misaligned atomic", last_trap()->count == 1 && (last_trap()->esr | WNR) == (paired(DABORT, el) | ALIGNMENT | WNR));
    }
}

static void external(u64 el)
{
    u64 to = general(el), pstate = pstate_of(el);
    run_insn(pstate, LDR_X0_X0, HOLE, 0);
    u64 esr = last_trap()->esr;
    /* EA is implementation defined. */
    check_eq("external abort of a load", esr & ~(1ul << 9), paired(DABORT, el) | EXTERNAL);
    check_eq("its address", last_trap()->far, HOLE);
    run_insn(pstate, STR_X1_X0, HOLE + 8, 0);
    check_eq("external abort of a store", last_trap()->esr & ~(1ul << 9), paired(DABORT, el) | EXTERNAL | WNR);
    run_insn(pstate, 0xd61f0000, HOLE, 0);
    check_eq("external abort of a fetch", last_trap()->esr & ~(1ul << 9), paired(IABORT, el) | EXTERNAL);
    check_eq("its level", cpu->last, to);
    check_eq("its address", last_trap()->far, HOLE);
    check_eq("where it returns", last_trap()->pc, HOLE);
}

static void size(u64 el)
{
    u64 to = general(el), far = 1ul << 52, pstate = pstate_of(el);
    run_insn(pstate, LDR_X0_X0, far, 0);
    check_abort("address beyond the physical size", to, paired(DABORT, el) | SIZE_FAULT, far);
}

static void floating_point(u64 el)
{
    if (el > 1)
        return;
    u64 to = general(el), pstate = pstate_of(el);
    u64 old = read_sys("cpacr_el1");
    static const u64 values[] = {0, 1, 2, 3};
    for (u64 i = 0; i < 4; i++) {
        cpu->item = i + 1;
        write_sys("cpacr_el1", values[i] << 20);
        run_insn(pstate, 0x1e604000, 0, 0); /* fmov d0, d0 */
        bool traps = values[i] == 0 || values[i] == 2 || (values[i] == 1 && el == 0);
        if (traps)
            check_trap("FP access", to, EC(FP_ACCESS) | 1ul << 24 | 14ul << 20);
        else
            check_no_trap("FP access");
    }
    cpu->item = 0;
    write_sys("cpacr_el1", old);
}

/* Returns with PSTATE values that cannot be: PSTATE.IL is set, and the next instruction raises an exception at home. */
static void illegal_returns(void)
{
    static const struct {
        const char *name;
        u64 pstate;
    } cases[] = {
        {"AArch32", 0x1d3},      {"bit 1", DAIF | 6}, {"EL0 with its own stack pointer", DAIF | 1},
        {"to a higher level", 0}, {"IL itself", 0},
    };
    for (u64 i = 0; i < sizeof cases / sizeof *cases; i++) {
        u64 home = cpu->home, pstate = cases[i].pstate;
        if (i == 3) {
            if (home == 3)
                continue;
            pstate = DAIF | (home + 1) << 2 | 1;
        }
        if (i == 4)
            pstate = EL0T | 1ul << 20;
        trap_clear();
        cpu->code[0] = NOP;
        cpu->code[1] = SVC_(END_CALL);
        sync_code(cpu->code, 8);
        cpu->probe = (u64)cpu->code;
        run(pstate, cpu->code, 0, 0, 0, 0);
        u64 to = i == 4 ? 1 : home;
        check_trap(cases[i].name, to, EC(ILLEGAL_STATE));
        check_eq("IL is saved", last_trap()->spsr >> 20 & 1, 1);
        check_eq("level stays", last_trap()->spsr >> 2 & 3, i == 4 ? 0 : home);
    }
}

/* What EL2 can trap. */
static void hypervisor_traps(void)
{
    u64 old = read_sys("hcr_el2");
    static const struct {
        const char *name;
        u64 bit;
        u32 word;
        u64 esr;
        u64 el;
    } cases[] = {
        {"TSC", 1ul << 19, SMC_(5), EC(SMC) | 5, 1},
        {"TWI", 1ul << 13, 0xd503207f, EC(WFX) | 1ul << 24 | 14ul << 20, 1},
        {"TWE", 1ul << 14, 0xd503205f, EC(WFX) | 1ul << 24 | 14ul << 20 | 1, 1},
        {"TVM", 1ul << 26, MSR_X0(3, 0, 2, 0, 0), EC(SYSTEM) | SYSTEM_ISS(3, 0, 2, 0, 0, 0, 0), 1},
        {"TRVM", 1ul << 30, MRS_X0(3, 0, 2, 0, 2), EC(SYSTEM) | SYSTEM_ISS(3, 0, 2, 0, 2, 0, 1), 1},
        {"TID3", 1ul << 18, MRS_X0(3, 0, 0, 4, 0), EC(SYSTEM) | SYSTEM_ISS(3, 0, 0, 4, 0, 0, 1), 1},
        {"TID2", 1ul << 17, MRS_X0(3, 3, 0, 0, 1), EC(SYSTEM) | SYSTEM_ISS(3, 3, 0, 0, 1, 0, 1), 1},
        {"TID1", 1ul << 16, MRS_X0(3, 1, 0, 0, 7), EC(SYSTEM) | SYSTEM_ISS(3, 1, 0, 0, 7, 0, 1), 1},
        {"TACR", 1ul << 21, MRS_X0(3, 0, 1, 0, 1), EC(SYSTEM) | SYSTEM_ISS(3, 0, 1, 0, 1, 0, 1), 1},
        {"TTLB", 1ul << 25, 0xd508871f, EC(SYSTEM) | SYSTEM_ISS(1, 0, 8, 7, 0, 31, 0), 1},
        {"TPU", 1ul << 24, 0xd508751f, EC(SYSTEM) | SYSTEM_ISS(1, 0, 7, 5, 0, 31, 0), 1},
        {"TDZ", 1ul << 28, MSR_X0(1, 3, 7, 4, 1), EC(SYSTEM) | SYSTEM_ISS(1, 3, 7, 4, 1, 0, 0), 1},
        {"TGE: SVC", 1ul << 27, SVC_(9), EC(SVC) | 9, 0},
        {"TGE: UDF", 1ul << 27, 0, EC(UNKNOWN), 0},
    };
    for (u64 i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_sys("hcr_el2", old | cases[i].bit);
        cpu->item = i + 1;
        if (cases[i].word == 0xd503205f) {
            /* The first one takes the event, if there is any. */
            static const u32 words[] = {0xd503205f, 0xd503205f};
            run_insns(EL1H, words, 2, 0, 0);
            if (last_trap()->pc != cpu->probe)
                cpu->probe += 4;
        } else {
            run_insn(pstate_of(cases[i].el), cases[i].word, (u64)cpu->data, 0);
        }
        check_trap(cases[i].name, 2, cases[i].esr);
        write_sys("hcr_el2", old);
    }
    cpu->item = 0;
    /* CPTR_EL2.TFP and TCPAC, MDCR_EL2.TDE. */
    u64 cptr = read_sys("cptr_el2");
    write_sys("cpacr_el1", 3ul << 20);
    write_sys("cptr_el2", 0x33ff | 1ul << 10);
    run_insn(EL1H, 0x1e604000, 0, 0);
    check_trap("TFP", 2, EC(FP_ACCESS) | 1ul << 24 | 14ul << 20);
    write_sys("cptr_el2", (0x33ff & ~(1ul << 10)) | 1ul << 31);
    run_insn(EL1H, MRS_X0(3, 0, 1, 0, 2), 0, 0);
    check_trap("TCPAC", 2, EC(SYSTEM) | SYSTEM_ISS(3, 0, 1, 0, 2, 0, 1));
    write_sys("cptr_el2", cptr);
    u64 mdcr = read_sys("mdcr_el2");
    write_sys("mdcr_el2", mdcr | 1ul << 8);
    run_insn(EL1H, BRK_(3), 0, 0);
    check_trap("TDE", 2, EC(BRK) | 3);
    write_sys("mdcr_el2", mdcr);
}

/* What EL3 can trap. */
static void monitor_traps(void)
{
    u64 scr = read_sys("scr_el3");
    write_sys("scr_el3", scr | 1ul << 12);
    run_insn(EL1H, 0xd503207f, 0, 0);
    check_trap("SCR_EL3.TWI", 3, EC(WFX) | 1ul << 24 | 14ul << 20);
    write_sys("scr_el3", scr & ~(1ul << 8));
    run_insn(EL1H, HVC_(4), 0, 0);
    check_trap("no SCR_EL3.HCE", 1, EC(UNKNOWN));
    write_sys("scr_el3", scr | 1ul << 3);
    run_insn(EL1H, LDR_X0_X0, HOLE, 0);
    /* QEMU does not route synchronous ones. */
    if (!on_qemu()) {
        check_eq("SCR_EL3.EA", last_trap()->esr & ~(1ul << 9), EC(DABORT) | EXTERNAL);
        check_eq("its level", cpu->last, 3);
    }
    write_sys("scr_el3", scr);
    write_sys("cptr_el3", 1ul << 10);
    run_insn(EL1H, 0x1e604000, 0, 0);
    check_trap("CPTR_EL3.TFP", 3, EC(FP_ACCESS) | 1ul << 24 | 14ul << 20);
    write_sys("cptr_el3", 0);
}

/* A step, a breakpoint, a watchpoint. */
#define DEBUG_STATUS 0x22ul

static void debug(u64 el)
{
    /* At home, debug exceptions to EL1 cannot be. */
    if (el > 1 || (el == 1 && cpu->home == 1))
        return;
    u64 pstate = pstate_of(el) & ~D_MASK, to = 1;
    /* Those of EL1 itself need KDE. */
    u64 mdscr = el ? 1ul << 13 : 0;
    write_sys("oslar_el1", 0);
    for (u64 i = 0; i < 3; i++)
        cpu->code[i] = NOP;
    cpu->code[3] = SVC_(END_CALL);
    sync_code(cpu->code, 16);
    write_sys("mdscr_el1", mdscr | 1);
    trap_clear();
    run(pstate | 1ul << 21, cpu->code, 0, 0, 0, 0);
    cpu->probe = (u64)(cpu->code + 1);
    check_trap("one step", to, EC(STEP + el) | 1ul << 24 | DEBUG_STATUS);
    trap_clear();
    run(pstate, cpu->code, 0, 0, 0, 0);
    cpu->probe = (u64)cpu->code;
    check_trap("no step", to, EC(STEP + el) | DEBUG_STATUS);
    write_sys("dbgbvr1_el1", (u64)(cpu->code + 2));
    write_sys("dbgbcr1_el1", 1 | 3ul << 1 | 15ul << 5);
    write_sys("mdscr_el1", mdscr | 1ul << 15);
    trap_clear();
    run(pstate, cpu->code, 0, 0, 0, 0);
    cpu->probe = (u64)(cpu->code + 2);
    check_trap("breakpoint", to, EC(BREAKPOINT + el) | DEBUG_STATUS);
    write_sys("dbgbcr1_el1", 0);
    write_sys("dbgwvr0_el1", (u64)(cpu->data + 1));
    write_sys("dbgwcr0_el1", 1 | 3ul << 1 | 2ul << 3 | 0xf0ul << 5);
    run_insn(pstate, STR_X1_X0, (u64)(cpu->data + 1), 7);
    check_eq("watchpoint", last_trap()->esr, EC(WATCHPOINT + el) | WNR | DEBUG_STATUS);
    run_insn(pstate, 0xb9000001, (u64)(cpu->data + 1), 7);
    check_no_trap("store beside the watchpoint");
    run_insn(pstate, LDR_X0_X0, (u64)(cpu->data + 1), 7);
    check_no_trap("load of what is watched for stores");
    write_sys("dbgwcr0_el1", 0);
    write_sys("mdscr_el1", 0);
}

void rom_main(void)
{
    static const char *const names[] = {"EL0", "EL1", "EL2", "EL3"};
    u64 sctlr = 0x30d00800ul & ~(1ul << 23);
    write_sys("sctlr_el1", sctlr);
    write_sys("cntkctl_el1", 0);
    write_sys("pmuserenr_el0", 0);
    /* The stack pointer is checked. */
    write_sys("sctlr_el1", sctlr | 1ul << 3 | 1ul << 4);
    if (cpu->home == 3)
        write_sys("sctlr_el2", 0x30c50838);
    for (u64 el = 0; el <= cpu->home; el++) {
        cpu->variant = names[el];
        instructions(el);
        calls(el);
        alignment(el);
        external(el);
        size(el);
        floating_point(el);
        debug(el);
    }
    cpu->variant = 0;
    illegal_returns();
    if (cpu->home >= 2)
        hypervisor_traps();
    if (cpu->home == 3)
        monitor_traps();
    write_sys("sctlr_el1", sctlr);
}
