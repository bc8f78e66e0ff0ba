/* Which mode a trap goes to: medeleg, mideleg, the enables, the order of interrupts, and what sip and sie show. */
#include "rt.h"

const char rom_name[] = "delegation";

/* ---- exceptions ---- */

/* In S, with stvec on this: scause and sstatus of a trap and of the one that the handler itself takes. */
__asm__(".balign 4\n"
        "nested_first:\n"
        "    csrr s2, scause\n"
        "    csrr s3, sstatus\n"
        "    csrr s4, sepc\n"
        "    la s5, nested_second\n"
        "    csrw stvec, s5\n"
        "    .option push\n .option norvc\n"
        "nested_break: ebreak\n"
        "    .option pop\n"
        ".balign 4\n"
        "nested_second:\n"
        "    csrr s5, scause\n"
        "    csrr s6, sstatus\n"
        "    csrr s7, sepc\n"
        "    ecall\n");
extern const char nested_first[], nested_break[];

/* Ends a run from an S handler when ecalls from S are delegated: an instruction that only M handles. */
static enum action leave_by_illegal(void)
{
    __asm__ volatile("csrr zero, mscratch");
    return PASS;
}

static void exceptions(void)
{
    static const struct {
        u32 word;
        u8 cause;
        const char *name;
    } table[] = {
        {JR(A0), FETCH_ACCESS, "fetch access fault"},
        {0xffffffff, ILLEGAL, "illegal instruction"},
        {EBREAK, BREAKPOINT, "breakpoint"},
        {LD(A0, A0), LOAD_ACCESS, "load access fault"},
        {SD(A1, A0), STORE_ACCESS, "store access fault"},
        {AMO(0u, 3u, A0, A1, A0), STORE_ACCESS, "AMO access fault"},
        {ECALL, ECALL_U, "ecall"},
    };
    for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
        for (u64 mode = U; mode <= M; mode += mode == S ? 2 : 1) {
            u64 cause = table[i].cause == ECALL_U ? ecall_from(mode) : table[i].cause;
            u64 bit = 1ul << cause;

            /* Everything else delegated, this not: goes to M. */
            csr_write(MEDELEG, ~bit);
            csr_write(STVAL, 77);
            run_insn(mode, table[i].word, HOLE, 0);
            check_eq("not delegated: cause in M", hart->m.cause, cause);
            check_eq("not delegated: S sees nothing", hart->s.count, 0);
            check_eq("not delegated: stval stays", csr_read(STVAL), 77);

            /* Only this delegated: goes to S from U and S, to M from M. */
            csr_write(MEDELEG, bit);
            csr_write(MTVAL, 77);
            if (cause == ECALL_S)
                hart->s_hook = leave_by_illegal;
            for (u64 sie = 0; sie < 2; sie++) {
                csr_clear(MSTATUS, MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP);
                csr_set(MSTATUS, sie ? MSTATUS_SIE : 0);
                run_insn(mode, table[i].word, HOLE, 0);
                if (mode == M) {
                    check_eq("delegated: a trap in M stays in M", hart->m.cause, cause);
                    check_eq("delegated: a trap in M leaves S alone", hart->s.count, 0);
                    continue;
                }
                u64 epc = cause == FETCH_ACCESS ? HOLE : hart->probe;
                u64 tval = cause == ILLEGAL                           ? 0xffffffff
                           : cause == BREAKPOINT && hart->s.tval != 0 ? epc /* or zero */
                           : cause == BREAKPOINT || cause >= ECALL_U  ? 0
                                                                      : HOLE;
                check_eq(table[i].name, hart->s.cause, cause);
                check_eq("delegated: one trap to S", hart->s.count, 1);
                check_eq("delegated: stval", hart->s.tval, tval);
                check_eq("delegated: sepc", hart->s.epc, epc);
                check_eq("delegated: SPP, SPIE, SIE",
                         hart->s.status & (MSTATUS_SPP | MSTATUS_SPIE | MSTATUS_SIE),
                         (mode == S ? MSTATUS_SPP : 0) | (sie ? MSTATUS_SPIE : 0));
                check_eq("delegated: M sees only the end", hart->m.count, 1);
                check_eq("delegated: the end comes from S", hart->m.status & MSTATUS_MPP, MSTATUS_MPP_S);
            }
            hart->s_hook = 0;
        }
    }
    csr_clear(MSTATUS, MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP);

    /* Misaligned atomics: misaligned or access fault, so delegate both. */
    csr_write(MEDELEG, 1ul << STORE_MISALIGNED | 1ul << STORE_ACCESS);
    if (!has("zama16b")) {
        run_insn(U, AMO(0u, 3u, A0, A1, A0), (u64)hart->data + 4, 0);
        check_one_of("misaligned AMO delegated", hart->s.cause, STORE_MISALIGNED, STORE_ACCESS);
        check_eq("misaligned AMO delegated: stval", hart->s.tval, (u64)hart->data + 4);
    }

    /* A trap inside an S handler goes to S too: one level of the stack, the rest is lost. */
    csr_write(MEDELEG, 1ul << BREAKPOINT);
    csr_write(STVEC, nested_first);
    csr_set(MSTATUS, MSTATUS_SIE);
    run_insn(U, EBREAK, 0, 0);
    csr_write(STVEC, s_trap);
    const u64 stack = MSTATUS_SPP | MSTATUS_SPIE | MSTATUS_SIE;
    check_eq("nested: outer cause", hart->x[18], BREAKPOINT);
    check_eq("nested: outer sstatus", hart->x[19] & stack, MSTATUS_SPIE);
    check_eq("nested: outer sepc", hart->x[20], hart->probe);
    check_eq("nested: inner cause", hart->x[21], BREAKPOINT);
    check_eq("nested: inner sstatus", hart->x[22] & stack, MSTATUS_SPP);
    check_eq("nested: inner sepc", hart->x[23], (u64)nested_break);
    check_eq("nested: M sees only the end", hart->m.cause, ECALL_S);
    csr_clear(MSTATUS, stack);

    /* An M handler of a trap from an S handler of a trap from U: the S state is intact. */
    csr_write(MEDELEG, 1ul << ECALL_U);
    csr_write(SEPC, 0x1000);
    csr_write(SCAUSE, 12);
    run_insn(S, EBREAK, 0, 0);
    check_eq("M trap leaves sepc", csr_read(SEPC), 0x1000);
    check_eq("M trap leaves scause", csr_read(SCAUSE), 12);
    csr_write(MEDELEG, 0);
}

/* ---- interrupts ---- */

/* One pending, enabled or not, delegated or not, in each mode with each setting of MIE and SIE. */
static void interrupt_truth(u64 number)
{
    u64 bit = 1ul << number;
    bool delegable = bit & (SSI | STI | SEI | LCOFI);
    for (u64 i = 0; i < 48; i++) {
        u64 mode = (u64[]){U, S, M}[i % 3];
        bool mie = i / 3 & 1, sie = i / 6 & 1, enabled = i / 12 & 1, delegated = i / 24 & 1;
        if (delegated && !delegable)
            continue;
        hart->item = 100 * number + i;
        csr_write(MIDELEG, delegated ? bit : 0);
        csr_write(MIE, enabled ? bit : ~bit);
        csr_clear(MSTATUS, MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP);
        csr_set(MSTATUS, (mie ? MSTATUS_MPIE : 0) | (sie ? MSTATUS_SIE : 0));
        run_insn(mode, NOP, 0, 0);
        u64 target = !enabled                               ? U
                     : !delegated && (mode < M || mie)      ? M
                     : delegated && (mode == U || (mode == S && sie)) ? S
                                                            : U;
        u64 m_cause = target == M ? INTERRUPT | number : ecall_from(target == S ? S : mode);
        check_eq("interrupt: cause in M", hart->m.cause, m_cause);
        check_eq("interrupt: traps to S", hart->s.count, target == S);
        if (target == M) {
            check_eq("interrupt to M: epc", hart->m.epc, hart->probe);
            check_eq("interrupt to M: tval", hart->m.tval, 0);
            check_eq("interrupt to M: MPP, MPIE, MIE",
                     hart->m.status & (MSTATUS_MPP | MSTATUS_MPIE | MSTATUS_MIE),
                     mode << 11 | (mie ? MSTATUS_MPIE : 0));
        } else if (target == S) {
            check_eq("interrupt to S: cause", hart->s.cause, INTERRUPT | number);
            check_eq("interrupt to S: epc", hart->s.epc, hart->probe);
            check_eq("interrupt to S: tval", hart->s.tval, 0);
            check_eq("interrupt to S: SPP, SPIE, SIE",
                     hart->s.status & (MSTATUS_SPP | MSTATUS_SPIE | MSTATUS_SIE),
                     (mode == S ? MSTATUS_SPP : 0) | (sie ? MSTATUS_SPIE : 0));
        }
    }
    hart->item = 0;
    csr_write(MIE, 0);
    csr_write(MIDELEG, 0);
    csr_clear(MSTATUS, MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP);
}

static void raise_s(u64 bits) { csr_set(MIP, bits); }
static void lower_s(u64 bits) { csr_clear(MIP, bits); }

static void raise_m(u64 bits)
{
    *msip(hart->id) = !!(bits & MSI);
    *mtimecmp(hart->id) = bits & MTI ? 0 : ~0ul;
    while ((csr_read(MIP) & (MSI | MTI)) != bits) {
    }
}

/* The UART's transmitter-empty interrupt at the M context of this hart; only hart 0 calls this. */
static void raise_mei(bool on)
{
    mmio32(PLIC + 4 * 10) = 1;
    mmio32(PLIC + 0x2000) = on ? 1u << 10 : 0;
    mmio32(PLIC + 0x200000) = 0;
    mmio8(UART + 1) = on ? 2 : 0;
    while (!!(csr_read(MIP) & MEI) != on) {
    }
}

static void truth(void)
{
    static const u8 s_interrupts[] = {1, 5, 9, 13};
    for (u64 i = 0; i < 4; i++) {
        u64 bit = 1ul << s_interrupts[i];
        if (bit == LCOFI && !has("sscofpmf"))
            continue;
        raise_s(bit);
        interrupt_truth(s_interrupts[i]);
        lower_s(bit);
    }
    raise_m(MSI);
    interrupt_truth(3);
    raise_m(MTI);
    interrupt_truth(7);
    raise_m(0);
}

/* With everything pending and enabled, the order in which interrupts are taken (Privileged, 3.1.9). QEMU 11 takes
 * the lowest number first unless it has Smaia. */
static void priority(void)
{
    static const u8 order[] = {11, 3, 7, 9, 1, 5, 13};
    u64 all = MSI | MTI | SEI | SSI | STI | (has("sscofpmf") ? LCOFI : 0);
    raise_m(MSI | MTI);
    raise_s(all & ~(MSI | MTI));
    if (hart->id == 0) {
        raise_mei(true);
        all |= MEI;
    }
    check_eq("everything is pending", csr_read(MIP) & 0x2aaa, all);

    u64 left = all;
    for (u64 i = 0; i < 7; i++) {
        if (!(all >> order[i] & 1))
            continue;
        csr_write(MIE, left);
        run_insn(U, NOP, 0, 0);
        check_eq("order of interrupts to M", hart->m.cause, INTERRUPT | order[i]);
        left &= ~(1ul << order[i]);
    }

    /* M interrupts come before S interrupts; then the S ones in their order. */
    const u64 s_all = all & (SEI | SSI | STI | LCOFI);
    csr_write(MIDELEG, s_all);
    csr_write(MIE, all);
    run_insn(S, NOP, 0, 0);
    check_eq("M interrupts before S interrupts", hart->m.cause, INTERRUPT | (hart->id == 0 ? 11 : 3));
    left = s_all;
    for (u64 i = 3; i < 7; i++) {
        if (!(all >> order[i] & 1))
            continue;
        csr_write(MIE, left);
        run_insn(U, NOP, 0, 0);
        check_eq("order of interrupts to S", hart->s.cause, INTERRUPT | order[i]);
        left &= ~(1ul << order[i]);
    }
    /* What goes to M wins, though in the list it comes after: STI to M before SEI to S. */
    csr_write(MIDELEG, s_all & ~STI);
    csr_write(MIE, s_all);
    run_insn(U, NOP, 0, 0);
    check_eq("an S interrupt kept by M comes first", hart->m.cause, INTERRUPT | 5);
    check_eq("and S sees none", hart->s.count, 0);

    csr_write(MIE, 0);
    csr_write(MIDELEG, 0);
    if (hart->id == 0)
        raise_mei(false);
    raise_m(0);
    lower_s(s_all);
    check_eq("nothing is pending", csr_read(MIP) & 0x2aaa, 0);
}

/* ---- the views ---- */

static void views(void)
{
    const u64 s_all = SEI | SSI | STI;
    raise_s(s_all);
    csr_write(MIE, MSI | MTI | s_all);
    csr_write(MIDELEG, 0);
    check_eq("sip without mideleg", csr_read(SIP), 0);
    check_eq("sie without mideleg", csr_read(SIE), 0);
    csr_write(SIE, ~0ul);
    csr_write(SIP, 0);
    check_eq("sie write without mideleg", csr_read(MIE), MSI | MTI | s_all);
    check_eq("sip write without mideleg", csr_read(MIP) & s_all, s_all);
    for (u64 subset = 0; subset < 8; subset++) {
        u64 mask = (subset & 1 ? SSI : 0) | (subset & 2 ? STI : 0) | (subset & 4 ? SEI : 0);
        csr_write(MIDELEG, mask);
        check_eq("sip shows what is delegated", csr_read(SIP), mask);
        check_eq("sie shows what is delegated", csr_read(SIE), mask);
        csr_write(SIE, 0);
        check_eq("sie clears what is delegated", csr_read(MIE), (MSI | MTI | s_all) & ~mask);
        csr_write(SIE, ~0ul);
        check_eq("sie sets what is delegated", csr_read(MIE), MSI | MTI | s_all);
        csr_write(SIP, 0);
        check_eq("sip can only clear SSIP", csr_read(MIP) & s_all, s_all & ~(mask & SSI));
        csr_set(SIP, ~0ul);
        check_eq("sip can only set SSIP", csr_read(MIP) & s_all, s_all);
    }
    csr_write(MIE, 0);
    lower_s(s_all);
    csr_write(MIDELEG, s_all);
    csr_write(SIP, ~0ul);
    check_eq("sip sets SSIP alone", csr_read(MIP) & s_all, SSI);
    lower_s(SSI);
    if (has("sscofpmf")) {
        csr_write(MIDELEG, LCOFI);
        csr_set(SIP, LCOFI);
        check_eq("sip can set LCOFIP", csr_read(MIP) & LCOFI, LCOFI);
        csr_clear(SIP, LCOFI);
        check_eq("sip can clear LCOFIP", csr_read(MIP) & LCOFI, 0);
    }
    csr_write(MIDELEG, 0);
}

/* ---- an interrupt is taken at once when an instruction makes it possible ---- */

static void at_once(void)
{
    u64 next = (u64)&hart->code[1];
    csr_write(MIDELEG, SSI);
    csr_clear(MSTATUS, MSTATUS_SIE);

    raise_s(SSI);
    csr_write(MIE, SSI);
    run_insn(S, CSRRSI(0, SSTATUS, 2u), 0, 0);
    check_eq("setting SIE: cause", hart->s.cause, INTERRUPT | 1);
    check_eq("setting SIE: epc", hart->s.epc, next);

    csr_write(MIE, 0);
    csr_set(MSTATUS, MSTATUS_SIE);
    run_insn(S, CSRRSI(0, SIE, 2u), 0, 0);
    check_eq("setting sie: cause", hart->s.cause, INTERRUPT | 1);
    check_eq("setting sie: epc", hart->s.epc, next);

    lower_s(SSI);
    csr_set(MSTATUS, MSTATUS_SIE);
    run_insn(S, CSRRSI(0, SIP, 2u), 0, 0);
    check_eq("setting sip: cause", hart->s.cause, INTERRUPT | 1);
    check_eq("setting sip: epc", hart->s.epc, next);

    /* sret to U, where S interrupts are always on. */
    csr_clear(MSTATUS, MSTATUS_SIE | MSTATUS_SPP | MSTATUS_SPIE);
    csr_write(SEPC, (u64)&hart->code[3]);
    u32 to_user[] = {NOP, SRET, NOP, NOP};
    run_insns(S, to_user, 4, 0, 0);
    check_eq("sret to U: cause", hart->s.cause, INTERRUPT | 1);
    check_eq("sret to U: epc", hart->s.epc, (u64)&hart->code[3]);
    check_eq("sret to U: SPP", hart->s.status & MSTATUS_SPP, 0);
    /* sret to S with SPIE. */
    csr_clear(MSTATUS, MSTATUS_SIE);
    csr_set(MSTATUS, MSTATUS_SPP | MSTATUS_SPIE);
    csr_write(SEPC, (u64)&hart->code[3]);
    run_insns(S, to_user, 4, 0, 0);
    check_eq("sret to S: epc", hart->s.epc, (u64)&hart->code[3]);
    check_eq("sret to S: SPP", hart->s.status & MSTATUS_SPP, MSTATUS_SPP);

    /* The same in M. */
    csr_write(MIDELEG, 0);
    csr_clear(MSTATUS, MSTATUS_MPIE);
    csr_write(MIE, SSI);
    run_insn(M, CSRRSI(0, MSTATUS, 8u), 0, 0);
    check_eq("setting MIE: cause", hart->m.cause, INTERRUPT | 1);
    check_eq("setting MIE: epc", hart->m.epc, next);
    csr_write(MIE, 0);
    csr_set(MSTATUS, MSTATUS_MPIE);
    run_insn(M, CSRRSI(0, MIE, 2u), 0, 0);
    check_eq("setting mie: epc", hart->m.epc, next);
    check_eq("setting mie: cause", hart->m.cause, INTERRUPT | 1);
    lower_s(SSI);
    csr_set(MSTATUS, MSTATUS_MPIE);
    run_insn(M, CSRRSI(0, MIP, 2u), 0, 0);
    check_eq("setting mip: cause", hart->m.cause, INTERRUPT | 1);
    check_eq("setting mip: epc", hart->m.epc, next);
    /* An interrupt comes before the exception of the instruction at the same address. */
    csr_set(MSTATUS, MSTATUS_MPIE);
    run_insn(U, 0xffffffff, 0, 0);
    check_eq("interrupt before exception", hart->m.cause, INTERRUPT | 1);
    csr_write(MIE, 0);
    lower_s(SSI);
    csr_clear(MSTATUS, MSTATUS_MPIE | MSTATUS_SIE | MSTATUS_SPP | MSTATUS_SPIE);
}

void rom_main(void)
{
    exceptions();
    truth();
    if (!on_qemu() || has("smaia"))
        priority();
    views();
    at_once();
}
