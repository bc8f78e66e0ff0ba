/* Every exception that a hart without paging can take, from M, S and U mode: cause, tval, epc and the mstatus stack. */
#include "rt.h"

const char rom_name[] = "traps";

static const u64 modes[] = {U, S, M};
static const char *const mode_names[] = {"U", "S", "", "M"};

/* ---- illegal instructions ---- */

struct encoding {
    u32 word;
    const char *name;
};

/* Not instructions in any mode, whatever the extensions of issue scope are present. */
static const struct encoding reserved[] = {
    {0x00000000, "C all zeros"},
    {0xffff0000, "C all zeros before other bits"},
    {0xffffffff, "all ones"},
    {0x0000001f, "48-bit prefix"},
    {0x0000003f, "64-bit prefix"},
    {0x0000007f, "long prefix"},
    /* Compressed. */
    {0x0004, "c.addi4spn with no immediate"},
    {0x9c00, "C quadrant 0 reserved"},
    {0x2001, "c.addiw to x0"},
    {0x6201, "c.lui with no immediate"},
    {0x6101, "c.addi16sp with no immediate"},
    {0x9c79, "C quadrant 1 reserved 6"},
    {0x9c7d, "C quadrant 1 reserved 7"},
    {0x4002, "c.lwsp to x0"},
    {0x6002, "c.ldsp to x0"},
    {0x8002, "c.jr x0"},
    /* Major opcodes. */
    {0x0000000b, "custom-0"},
    {0x0000002b, "custom-1"},
    {0x0000005b, "custom-2"},
    {0x0000007b, "custom-3"},
    {0x0000006b, "reserved opcode"},
    /* Integer. */
    {0x00007003, "load width 7"},
    {0x00004023, "store width 4"},
    {0x00007023, "store width 7"},
    {0x00002063, "branch 2"},
    {0x00003063, "branch 3"},
    {0x00001067, "jalr 1"},
    {0x0000300f, "misc-mem 3"},
    {0x0000700f, "misc-mem 7"},
    {0xfe000033, "op funct7 0x7f"},
    {0x02000033 | 1u << 26, "op funct7 3"},
    {0x02001013 | 1u << 26, "slli funct6 1"},
    {0x80005013, "srli funct6 32"},
    {0x0200101b, "slliw shamt 32"},
    {0x0200501b, "srliw shamt 32"},
    {0x0000201b, "op-imm-32 funct3 2"},
    {0x0200103b, "op-32 mul funct3 1"},
    {0x0000203b, "op-32 funct3 2"},
    /* Atomics. */
    {AMO(0u, 4u, A0, A1, A2), "amoadd width 4 (quad)"},
    {AMO(0u, 7u, A0, A1, A2), "amoadd width 7"},
    {AMO(2u, 3u, A0, 1u, A2), "lr.d with rs2"},
    {AMO(9u, 3u, A0, A1, A2), "amo funct5 9"},
    {AMO(31u, 3u, A0, A1, A2), "amo funct5 31"},
    /* Floating point (FS is on). */
    {0x06b50553, "fadd.q"},
    {0x00004007, "flq"},
    {0x00004027, "fsq"},
    {0x02b55553, "fadd.d rm 5"},
    {0x02b56553, "fadd.d rm 6"},
    {0x00b55553, "fadd.s rm 5"},
    {0x02b55543 | 1u << 27, "fmadd.d rm 5"},
    {0xfa050553, "fmv.d.x with rs2 0 but funct7 0x7d"},
    {0x22b53553, "fsgnj.d funct3 3"},
    {0xa2b53553, "fcmp.d funct3 3"},
    {0xd2450553, "fcvt.d.l with rs2 4"},
    {0x5a150553, "fsqrt.d with rs2"},
    /* System. */
    {0x00000073 | 1u << 7, "ecall with rd"},
    {0x00100073 | 1u << 15, "ebreak with rs1"},
    {0x00200073, "uret"},
    {0x00400073, "system funct12 4"},
    {0x7b200073, "dret outside debug mode"},
    {0x10500073 | 1u << 7, "wfi with rd"},
    {0x30200073 | 1u << 15, "mret with rs1"},
    {0x12000073 | 1u << 7, "sfence.vma with rd"},
    {0x00004073 | A1 << 7, "system funct3 4, no hypervisor"},
    {CSRRS(A0, 0x5c0, 0), "read of CSR 0x5c0"},
    {CSRRS(A0, 0x9ff, 0), "read of CSR 0x9ff"},
    {CSRRW(0, 0x5c0, A0), "write of CSR 0x5c0"},
    {CSRRS(A0, 0x7b0, 0), "dcsr outside debug mode"},
    {CSRRS(A0, 0x600, 0), "hstatus, no hypervisor"},
    /* Writes to read-only CSRs, in all their forms. */
    {CSRRW(0, CYCLE, A0), "csrw cycle"},
    {CSRRW(A0, INSTRET, 0), "csrrw instret from x0"},
    {CSRRS(A0, TIME, A1), "csrrs time with a register of zero"},
    {CSRRC(A0, CYCLE, A1), "csrrc cycle with a register of zero"},
    {CSRRSI(A0, CYCLE, 1u), "csrrsi cycle"},
    {CSRRW(0, MVENDORID, A0), "csrw mvendorid"},
    {CSRRS(A0, MHARTID, A1), "csrrs mhartid with a register of zero"},
};

static u64 illegal_tval(u32 word) { return (word & 3) == 3 ? word : word & 0xffff; }

static void illegal(u64 mode)
{
    for (u64 i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        run_insn(mode, reserved[i].word, 0, 0);
        check_trap(reserved[i].name, ILLEGAL, illegal_tval(reserved[i].word));
    }
    check_eq("illegal instructions: mpp", hart->m.status & MSTATUS_MPP, mode << 11);
}

/* Allowed from `least` upwards, illegal below. */
static void privileged(u64 mode)
{
    static const struct {
        u32 word;
        u8 least;
        const char *name;
    } table[] = {
        {CSRRS(A0, SSTATUS, 0), S, "read sstatus"},
        {CSRRS(0, SSCRATCH, 0), S, "read sscratch, no destination"},
        {CSRRW(0, STVAL, A0), S, "write stval"},
        {CSRRS(A0, SATP, 0), S, "read satp"},
        {CSRRS(A0, SENVCFG, 0), S, "read senvcfg"},
        {CSRRS(A0, SCOUNTEREN, 0), S, "read scounteren"},
        {CSRRS(A0, MSTATUS, 0), M, "read mstatus"},
        {CSRRS(A0, MHARTID, 0), M, "read mhartid"},
        {CSRRS(A0, MISA, 0), M, "read misa"},
        {CSRRW(0, MTVAL, A0), M, "write mtval"},
        {CSRRS(A0, MCYCLE, 0), M, "read mcycle"},
        {CSRRS(A0, PMPCFG0, 0), M, "read pmpcfg0"},
        {CSRRS(A0, PMPADDR0 + 63, 0), M, "read pmpaddr63"},
        {CSRRS(A0, MENVCFG, 0), M, "read menvcfg"},
        {CSRRS(A0, MCONFIGPTR, 0), M, "read mconfigptr"},
        {CSRRS(A0, MVENDORID, 0), M, "read mvendorid"},
        {CSRRS(A0, MARCHID, 0), M, "read marchid"},
        {CSRRS(A0, MIMPID, 0), M, "read mimpid"},
        {CSRRS(A0, MHARTID, 0), M, "csrrs of a read-only CSR with x0 does not write"},
        {CSRRSI(A0, MHARTID, 0), M, "csrrsi of a read-only CSR with 0 does not write"},
        {SFENCE_VMA(0, 0), S, "sfence.vma"},
    };
    for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
        run_insn(mode, table[i].word, 0, 0);
        if (mode >= table[i].least)
            check_eq(table[i].name, hart->m.cause, ecall_from(mode));
        else
            check_trap(table[i].name, ILLEGAL, table[i].word);
    }
    /* The return instructions: only the failing side here, csrs.c has the others. */
    if (mode < M) {
        run_insn(mode, MRET, 0, 0);
        check_trap("mret below M", ILLEGAL, MRET);
    }
    if (mode < S) {
        run_insn(mode, SRET, 0, 0);
        check_trap("sret below S", ILLEGAL, SRET);
        run_insn(mode, WFI, 0, 0);
        check_trap("wfi in U", ILLEGAL, WFI);
    }
}

/* ---- floating point switched off ---- */

static const struct encoding fp[] = {
    {0x02b57553, "fadd.d"},
    {0x00b57553, "fadd.s"},
    {0x00053507, "fld"},
    {0x00053527, "fsd"},
    {0x00052507, "flw"},
    {0x00052527, "fsw"},
    {0xe2050553, "fmv.x.d"},
    {0xf2050553, "fmv.d.x"},
    {0xa2b52553, "feq.d"},
    {0x22b50553, "fsgnj.d"},
    {0x2108, "c.fld"},
    {0xa108, "c.fsd"},
    {0x2502, "c.fldsp"},
    {0xa02a, "c.fsdsp"},
    {CSRRS(A0, FCSR, 0), "read fcsr"},
    {CSRRS(A0, FRM, 0), "read frm"},
    {CSRRW(0, FFLAGS, 0), "write fflags"},
};

static void fp_off(u64 mode)
{
    csr_clear(MSTATUS, MSTATUS_FS);
    for (u64 i = 0; i < sizeof fp / sizeof *fp; i++) {
        run_insn(mode, fp[i].word, (u64)hart->data, 0);
        check_trap(fp[i].name, ILLEGAL, illegal_tval(fp[i].word));
    }
    check_eq("FS stays off", csr_read(MSTATUS) & (MSTATUS_FS | MSTATUS_SD), 0);
    /* Everything that writes FP state makes FS dirty. */
    static const struct encoding dirtying[] = {
        {0x02b57553, "fadd.d makes FS dirty"},  {0x00053507, "fld makes FS dirty"},
        {0xf2050553, "fmv.d.x makes FS dirty"}, {CSRRW(0, FCSR, 0), "csrw fcsr makes FS dirty"},
        {0x2108, "c.fld makes FS dirty"},
    };
    for (u64 i = 0; i < sizeof dirtying / sizeof *dirtying; i++) {
        csr_clear(MSTATUS, MSTATUS_FS);
        csr_set(MSTATUS, MSTATUS_FS_INITIAL);
        check_eq("SD off", csr_read(MSTATUS) & MSTATUS_SD, 0);
        run_insn(mode, dirtying[i].word, (u64)hart->data, 0);
        check_eq(dirtying[i].name, hart->m.status & (MSTATUS_FS | MSTATUS_SD), MSTATUS_FS | MSTATUS_SD);
        check_eq(dirtying[i].name, hart->m.cause, ecall_from(mode));
    }
    /* A reserved dynamic rounding mode. */
    for (u64 rm = 5; rm <= 7; rm++) {
        csr_write(FRM, rm);
        run_insn(mode, 0x02b57553, 0, 0);
        check_trap("fadd.d with reserved frm", ILLEGAL, 0x02b57553);
        run_insn(mode, 0x02b50553, 0, 0);
        check_eq("fadd.d rne with reserved frm", hart->m.cause, ecall_from(mode));
        run_insn(mode, 0x22b50553, 0, 0);
        check_eq("fsgnj.d with reserved frm", hart->m.cause, ecall_from(mode));
    }
    csr_write(FCSR, 0);
}

/* ---- calls, breakpoints ---- */

static void calls(u64 mode)
{
    run_insn(mode, ECALL, 0, 0);
    check_trap("ecall", ecall_from(mode), 0);
    run_insn(mode, EBREAK, 0, 0);
    check_trap_or0("ebreak", BREAKPOINT, hart->probe);
    run_insn(mode, C_EBREAK, 0, 0);
    check_trap_or0("c.ebreak", BREAKPOINT, hart->probe);
    check_eq("mpp", hart->m.status & MSTATUS_MPP, mode << 11);

    /* The interrupt-enable stack; MPIE becomes MIE at the mret inside run(), and comes back at the trap. */
    csr_write(MIE, 0);
    csr_clear(MSTATUS, MSTATUS_MIE | MSTATUS_MPIE);
    run_insn(mode, ECALL, 0, 0);
    check_eq("mie, mpie from 0", hart->m.status & (MSTATUS_MIE | MSTATUS_MPIE), 0);
    csr_set(MSTATUS, MSTATUS_MPIE);
    run_insn(mode, ECALL, 0, 0);
    check_eq("mie, mpie from 1", hart->m.status & (MSTATUS_MIE | MSTATUS_MPIE), MSTATUS_MPIE);
    csr_clear(MSTATUS, MSTATUS_MPIE);
}

/* ---- memory ---- */

static void access(u64 mode)
{
    static const struct {
        u32 word;
        u8 cause;
        const char *name;
    } table[] = {
        {LOAD(0u, A0, A0, 0), LOAD_ACCESS, "lb from nowhere"},
        {LOAD(1u, A0, A0, 0), LOAD_ACCESS, "lh from nowhere"},
        {LOAD(2u, A0, A0, 0), LOAD_ACCESS, "lw from nowhere"},
        {LOAD(3u, A0, A0, 0), LOAD_ACCESS, "ld from nowhere"},
        {LOAD(3u, 0u, A0, 0), LOAD_ACCESS, "ld to x0 from nowhere"},
        {LOAD(6u, A0, A0, 0), LOAD_ACCESS, "lwu from nowhere"},
        {0x00053507, LOAD_ACCESS, "fld from nowhere"},
        {0x6108, LOAD_ACCESS, "c.ld from nowhere"},
        {AMO(2u, 3u, A0, 0u, A0), LOAD_ACCESS, "lr.d from nowhere"},
        {AMO(2u, 2u, A0, 0u, A0), LOAD_ACCESS, "lr.w from nowhere"},
        {STORE(0u, A1, A0), STORE_ACCESS, "sb to nowhere"},
        {STORE(1u, A1, A0), STORE_ACCESS, "sh to nowhere"},
        {STORE(2u, A1, A0), STORE_ACCESS, "sw to nowhere"},
        {STORE(3u, A1, A0), STORE_ACCESS, "sd to nowhere"},
        {0x00a53027, STORE_ACCESS, "fsd to nowhere"},
        {0xe10c, STORE_ACCESS, "c.sd to nowhere"},
        {AMO(0u, 2u, A0, A1, A0), STORE_ACCESS, "amoadd.w nowhere"},
        {AMO(0u, 3u, A0, A1, A0), STORE_ACCESS, "amoadd.d nowhere"},
        {AMO(1u, 3u, A0, A1, A0), STORE_ACCESS, "amoswap.d nowhere"},
    };
    for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
        u64 a0 = run_insn(mode, table[i].word, HOLE, 0);
        check_trap(table[i].name, table[i].cause, HOLE);
        check_eq("a faulting access leaves its register", a0, HOLE);
    }
    /* Jumps: the fault belongs to the target. */
    run_insn(mode, JR(A0), HOLE, 0);
    hart->probe = HOLE;
    check_trap("fetch from nowhere", FETCH_ACCESS, HOLE);
    run_insn(mode, JR(A0), HOLE + 3, 0);
    hart->probe = HOLE + 2;
    check_trap("fetch from nowhere, odd target", FETCH_ACCESS, HOLE + 2);
    run_insn(mode, JR(A0), 0x7ffffffffffffffe, 0);
    check_eq("fetch from the end of the address space", hart->m.cause, FETCH_ACCESS);
    run_insn(mode, LOAD(3u, A0, A0, 0), ~7ul, 0);
    check_trap("ld from the end of the address space", LOAD_ACCESS, ~7ul);

    /* With C, jump targets need no more than two-byte alignment, and jalr clears bit 0. */
    u32 odd_jump[] = {JR(A0), ECALL, ECALL << 16 | 1u /* c.nop; ecall */, ECALL >> 16};
    run_insns(mode, odd_jump, 4, (u64)&hart->code[2] + 3, 0);
    check_eq("jump to an odd multiple of two: cause", hart->m.cause, ecall_from(mode));
    check_eq("jump to an odd multiple of two: epc", hart->m.epc, (u64)&hart->code[2] + 2);
}

static void misaligned_atomics(u64 mode)
{
    static const struct {
        u32 word;
        u8 offset, cause;
        const char *name;
    } table[] = {
        {AMO(0u, 2u, A0, A1, A0), 2, STORE_MISALIGNED, "misaligned amoadd.w"},
        {AMO(0u, 3u, A0, A1, A0), 4, STORE_MISALIGNED, "misaligned amoadd.d"},
        {AMO(1u, 3u, A0, A1, A0), 1, STORE_MISALIGNED, "misaligned amoswap.d"},
        {AMO(2u, 2u, A0, 0u, A0), 1, LOAD_MISALIGNED, "misaligned lr.w"},
        {AMO(2u, 3u, A0, 0u, A0), 4, LOAD_MISALIGNED, "misaligned lr.d"},
        {AMO(3u, 2u, A0, A1, A0), 2, STORE_MISALIGNED, "misaligned sc.w"},
        {AMO(3u, 3u, A0, A1, A0), 4, STORE_MISALIGNED, "misaligned sc.d"},
    };
    if (has("zama16b"))
        return;
    hart->data[0] = 0x1122334455667788;
    for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
        u64 at = (u64)hart->data + table[i].offset;
        run_insn(mode, table[i].word, at, 1);
        /* Misaligned or access fault, as the implementation likes: both mean that it is not emulated. */
        check_one_of(table[i].name, hart->m.cause, table[i].cause, table[i].cause + 1);
        check_trap(table[i].name, hart->m.cause, at);
    }
    check_eq("misaligned atomics write nothing", hart->data[0], 0x1122334455667788);
}

/* ---- vectored mode ---- */

static void vectored(void)
{
    csr_write(MTVEC, (u64)m_vectors | 1);
    check_eq("mtvec takes vectored mode", csr_read(MTVEC), (u64)m_vectors | 1);
    hart->slot = NO_CAUSE;
    run_insn(U, ECALL, 0, 0);
    check_trap("ecall in vectored mode", ECALL_U, 0);
    check_eq("exceptions use entry 0", hart->slot, 0);

    csr_write(MIE, MSI);
    *msip(hart->id) = 1;
    while (!(csr_read(MIP) & MSI)) {
    }
    run_insn(S, NOP, 0, 0);
    check_eq("software interrupt: cause", hart->m.cause, INTERRUPT | 3);
    check_eq("software interrupt: entry", hart->slot, 3);
    check_eq("software interrupt: epc is the first instruction", hart->m.epc, hart->probe);
    check_eq("software interrupt: tval", hart->m.tval, 0);
    *msip(hart->id) = 0;
    while (csr_read(MIP) & MSI) {
    }

    csr_write(MIE, MTI);
    *mtimecmp(hart->id) = 0;
    while (!(csr_read(MIP) & MTI)) {
    }
    run_insn(S, NOP, 0, 0);
    check_eq("timer interrupt: cause", hart->m.cause, INTERRUPT | 7);
    check_eq("timer interrupt: entry", hart->slot, 7);
    *mtimecmp(hart->id) = ~0ul;
    csr_write(MIE, 0);

    csr_write(MTVEC, m_trap);
    check_eq("mtvec takes direct mode", csr_read(MTVEC), (u64)m_trap);

    /* stvec: a delegated software interrupt and a delegated exception. */
    csr_write(STVEC, (u64)s_vectors | 1);
    check_eq("stvec takes vectored mode", csr_read(STVEC), (u64)s_vectors | 1);
    csr_write(MEDELEG, 1ul << ECALL_U);
    csr_write(MIDELEG, SSI);
    hart->slot = NO_CAUSE;
    run_insn(U, ECALL, 0, 0);
    check_eq("delegated ecall: cause", hart->s.cause, ECALL_U);
    check_eq("delegated ecall: entry", hart->slot, 0);
    csr_set(MIP, SSI);
    csr_write(SIE, SSI);
    run_insn(U, NOP, 0, 0);
    check_eq("delegated software interrupt: cause", hart->s.cause, INTERRUPT | 1);
    check_eq("delegated software interrupt: entry", hart->slot, 1);
    check_eq("delegated software interrupt: epc", hart->s.epc, hart->probe);
    csr_write(SIE, 0);
    csr_clear(MIP, SSI);
    csr_write(MIDELEG, 0);
    csr_write(MEDELEG, 0);
    csr_write(STVEC, s_trap);
}

void rom_main(void)
{
    for (u64 i = 0; i < 3; i++) {
        u64 mode = modes[i];
        hart->variant = mode_names[mode];
        csr_set(MSTATUS, MSTATUS_FS_INITIAL);
        csr_write(FCSR, 0);
        illegal(mode);
        privileged(mode);
        calls(mode);
        access(mode);
        misaligned_atomics(mode);
        fp_off(mode);
    }
    hart->variant = 0;
    vectored();
}
