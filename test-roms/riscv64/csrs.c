/* CSR fields that hold only legal values, what CSRs allow lower modes to do, and the return instructions. */
#include "rt.h"

const char rom_name[] = "csrs";

static bool allowed(u64 mode) { return hart->m.cause == ecall_from(mode); }

/* Write, read back, put the old value back. */
#define written(csr, value)                                                                                      \
    ({                                                                                                           \
        u64 old_ = csr_swap(csr, value);                                                                         \
        u64 new_ = csr_swap(csr, old_);                                                                          \
        new_;                                                                                                    \
    })

/* ---- WARL ---- */

static void trap_vectors(void)
{
    u64 base = (u64)m_trap;
    check_eq("mtvec direct", written(MTVEC, base), base);
    check_eq("mtvec vectored", written(MTVEC, base | 1), base | 1);
    check("mtvec mode 2 is reserved", (written(MTVEC, base | 2) & 3) < 2);
    check("mtvec mode 3 is reserved", (written(MTVEC, base | 3) & 3) < 2);
    check("mtvec all ones is reserved", (written(MTVEC, ~0ul) & 3) < 2);
    base = (u64)s_trap;
    check_eq("stvec direct", written(STVEC, base), base);
    check_eq("stvec vectored", written(STVEC, base | 1), base | 1);
    check("stvec mode 2 is reserved", (written(STVEC, base | 2) & 3) < 2);
    check("stvec mode 3 is reserved", (written(STVEC, base | 3) & 3) < 2);

    check_eq("mepc bit 0", written(MEPC, 0x80001001), 0x80001000);
    check_eq("mepc bit 1 is kept with C", written(MEPC, 0x80001003), 0x80001002);
    check_eq("mepc holds high addresses", written(MEPC, 0xffffffc000001002), 0xffffffc000001002);
    check_eq("sepc bit 0", written(SEPC, 0x80001001), 0x80001000);
    check_eq("sepc bit 1 is kept with C", written(SEPC, 0x80001003), 0x80001002);
    check_eq("sepc holds high addresses", written(SEPC, 0xffffffc000001002), 0xffffffc000001002);
    check_eq("mtval holds any value", written(MTVAL, 0xdeadbeefcafef00d), 0xdeadbeefcafef00d);
    check_eq("stval holds any value", written(STVAL, 0xdeadbeefcafef00d), 0xdeadbeefcafef00d);
    check_eq("sscratch holds any value", written(SSCRATCH, 0xdeadbeefcafef00d), 0xdeadbeefcafef00d);
    check_eq("mcause holds an interrupt", written(MCAUSE, INTERRUPT | 7), INTERRUPT | 7);
    check_eq("mcause holds an exception", written(MCAUSE, STORE_PAGE), STORE_PAGE);
    check_eq("scause holds an interrupt", written(SCAUSE, INTERRUPT | 9), INTERRUPT | 9);
    check_eq("scause holds an exception", written(SCAUSE, STORE_PAGE), STORE_PAGE);
}

static void status(void)
{
    const u64 fixed = MSTATUS_UXL | MSTATUS_SXL | MSTATUS_SD | MSTATUS_VS | 3ul << 15;
    /* What a hart without H, with any byte order, landing pads and double traps may have. */
    const u64 known = 0x007fffea | fixed | 3ul << 36 | 1ul << 23 | 1ul << 24 | 1ul << 41 | 1ul << 42;
    u64 found = written(MSTATUS, ~0ul & ~MSTATUS_MPRV);
    check_eq("mstatus reserved bits read 0", found & ~known & ~(has("h") ? 3ul << 38 : 0), 0);
    const u64 writable = MSTATUS_SIE | MSTATUS_MIE | MSTATUS_SPIE | MSTATUS_MPIE | MSTATUS_SPP | MSTATUS_MPP |
                         MSTATUS_FS | MSTATUS_SUM | MSTATUS_MXR | MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR;
    check_eq("mstatus bits that can be set", found & writable, writable);
    check_eq("mstatus SD with FS dirty", found & MSTATUS_SD, MSTATUS_SD);
    check_eq("mstatus bits that can be cleared", written(MSTATUS, 0) & (writable | MSTATUS_SD), 0);
    check_eq("mstatus MPRV", written(MSTATUS, MSTATUS_MPP | MSTATUS_MPRV) & MSTATUS_MPRV, MSTATUS_MPRV);
    check("mstatus MPP 2 is reserved", (written(MSTATUS, 2ul << 11) & MSTATUS_MPP) != 2ul << 11);
    check_eq("mstatus UXL, SXL are 64", csr_read(MSTATUS) & (MSTATUS_UXL | MSTATUS_SXL), 2ul << 32 | 2ul << 34);
    check("mstatus UXL 3 is reserved", (written(MSTATUS, 3ul << 32) & MSTATUS_UXL) != 3ul << 32);
    for (u64 fs = 0; fs < 4; fs++) {
        check_eq("mstatus FS", written(MSTATUS, fs << 13) & (MSTATUS_FS | MSTATUS_SD),
                 fs << 13 | (fs == 3 ? MSTATUS_SD : 0));
        check_eq("sstatus FS", written(SSTATUS, fs << 13) & (MSTATUS_FS | MSTATUS_SD),
                 fs << 13 | (fs == 3 ? MSTATUS_SD : 0));
    }

    /* sstatus is a view: it shows and changes nothing of M-mode's. */
    const u64 view = MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_UBE | MSTATUS_SPP | MSTATUS_VS | MSTATUS_FS | 3ul << 15 |
                     MSTATUS_SUM | MSTATUS_MXR | 1ul << 23 | 1ul << 24 | MSTATUS_UXL | MSTATUS_SD;
    u64 old = csr_swap(MSTATUS, ~0ul & ~MSTATUS_MPRV);
    u64 seen = csr_read(SSTATUS);
    csr_write(SSTATUS, 0);
    u64 after = csr_read(MSTATUS);
    csr_write(SSTATUS, ~0ul);
    csr_write(MSTATUS, old);
    const u64 kept =
        MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPP | MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR | MSTATUS_SXL;
    check_eq("sstatus shows only its own bits", seen & ~view, 0);
    check_eq("sstatus write keeps M bits", after & kept, (kept & ~MSTATUS_SXL) | 2ul << 34);
    check_eq("sstatus write clears S bits", after & (view & writable), 0);
}

static void identity(void)
{
    u64 misa = csr_read(MISA);
    check_eq("misa MXL", misa >> 62, 2);
#define LETTER(c) (1ul << (c - 'A'))
    const u64 must = LETTER('I') | LETTER('M') | LETTER('A') | LETTER('F') | LETTER('D') | LETTER('C') |
                     LETTER('S') | LETTER('U');
    check_eq("misa letters", misa & must, must);
    check_eq("misa reserved letters", misa & (LETTER('J') | LETTER('K') | LETTER('O') | LETTER('W') | LETTER('Z')), 0);
    check_eq("misa V follows the device tree", !!(misa & LETTER('V')), has("v"));
    check_eq("misa H follows the device tree", !!(misa & LETTER('H')), has("h"));
    check_eq("misa MXL cannot become 0", written(MISA, misa & ~(3ul << 62)) >> 62, 2);
    check_eq("misa reserved bits stay 0", written(MISA, misa | 0x3ffffffffc000000) & 0x3ffffffffc000000, 0);
    check_eq("misa was put back", csr_read(MISA), misa);
    check_eq("mhartid", csr_read(MHARTID), hart->id);
}

static void delegation_masks(void)
{
    u64 medeleg = written(MEDELEG, ~0ul);
    check_eq("medeleg: no ecall from M, no reserved causes", medeleg & (1ul << 11 | 1ul << 14 | 1ul << 17), 0);
    /* Cause 0 cannot happen with C, so its bit may be absent. */
    const u64 all = 0xb3fe;
    check_eq("medeleg: what S can handle", medeleg & all, all);
    check_eq("medeleg can be cleared", written(MEDELEG, 0) & ~(has("h") ? 0xf00400ul : 0), 0);
    u64 mideleg = written(MIDELEG, ~0ul);
    check_eq("mideleg: S interrupts", mideleg & (SSI | STI | SEI), SSI | STI | SEI);
    check_eq("mideleg: M interrupts stay", mideleg & (MSI | MTI | MEI), 0);
    check_eq("mideleg: LCOFI with Sscofpmf", !!(mideleg & LCOFI), has("sscofpmf"));
    u64 mie = written(MIE, ~0ul);
    check_eq("mie: standard interrupts", mie & 0xaaa, 0xaaa);
    check_eq("mie: LCOFI with Sscofpmf", !!(mie & LCOFI), has("sscofpmf"));
    check_eq("mie: reserved bits", mie & (has("h") ? 0x111 : 0x1555), 0);
    u64 old = csr_swap(MIP, ~0ul);
    u64 mip = csr_swap(MIP, old & ~(SSI | STI | SEI | LCOFI));
    check_eq("mip: M bits are read-only", mip & (MSI | MEI), 0);
    check_eq("mip: S bits are writable", mip & (SSI | STI | SEI), SSI | STI | SEI);
    csr_write(MIP, 0);
}

static void enables(void)
{
    u64 v = written(MCOUNTEREN, ~0ul);
    check_eq("mcounteren CY TM IR", v & 7, 7);
    check_eq("mcounteren is 32 bits", v >> 32, 0);
    check_eq("mcounteren clears", written(MCOUNTEREN, 0), 0);
    v = written(SCOUNTEREN, ~0ul);
    check_eq("scounteren CY TM IR", v & 7, 7);
    check_eq("scounteren is 32 bits", v >> 32, 0);
    v = written(MCOUNTINHIBIT, ~0ul);
    check_eq("mcountinhibit CY TM IR: time never stops", v & 7, 5);
    v = written(MENVCFG, ~0ul);
    check_eq("menvcfg FIOM", v & MENVCFG_FIOM, MENVCFG_FIOM);
    check_eq("menvcfg CBCFE", !!(v & ENVCFG_CBCFE), has("zicbom"));
    check_eq("menvcfg CBIE", !!(v & ENVCFG_CBIE), has("zicbom"));
    check_eq("menvcfg CBZE", !!(v & ENVCFG_CBZE), has("zicboz"));
    check_eq("menvcfg STCE", !!(v & MENVCFG_STCE), has("sstc"));
    check_eq("menvcfg PBMTE", !!(v & MENVCFG_PBMTE), has("svpbmt"));
    check_eq("menvcfg ADUE", !!(v & MENVCFG_ADUE), has("svadu"));
    /* QEMU 11 keeps 2, which the CMO specification (1.0, section 5.3) reserves. */
    if (has("zicbom") && !on_qemu())
        check("menvcfg CBIE 2 is reserved", (written(MENVCFG, 2ul << 4) & ENVCFG_CBIE) != 2ul << 4);
    check_eq("menvcfg clears", written(MENVCFG, 0), 0);
    v = written(SENVCFG, ~0ul);
    check_eq("senvcfg CBCFE", !!(v & ENVCFG_CBCFE), has("zicbom"));
    check_eq("senvcfg CBZE", !!(v & ENVCFG_CBZE), has("zicboz"));
    check_eq("senvcfg has no STCE, PBMTE, ADUE", v >> 61, 0);
    v = written(SATP, 0xful << 60);
    check_eq("satp with a reserved mode is not written", v, csr_read(SATP));
}

/* ---- counters seen from below ---- */

static void counter_access(void)
{
    static const struct {
        u32 csr;
        u8 bit;
    } counters[] = {{CYCLE, 0}, {TIME, 1}, {INSTRET, 2}, {HPMCOUNTER3, 3}};
    for (u64 i = 0; i < 4; i++) {
        u64 bit = 1ul << counters[i].bit;
        u32 read = CSRRS(A0, counters[i].csr, 0);
        if (written(MCOUNTEREN, bit) != bit || written(SCOUNTEREN, bit) != bit)
            continue;
        for (u64 enables = 0; enables < 4; enables++) {
            csr_write(MCOUNTEREN, enables & 1 ? bit : ~bit);
            csr_write(SCOUNTEREN, enables & 2 ? bit : ~bit);
            run_insn(M, read, 0, 0);
            check("counter readable in M", allowed(M));
            run_insn(S, read, 0, 0);
            if (enables & 1)
                check("counter readable in S with mcounteren", allowed(S));
            else
                check_trap("counter in S without mcounteren", ILLEGAL, read);
            run_insn(U, read, 0, 0);
            if (enables == 3)
                check("counter readable in U with both", allowed(U));
            else
                check_trap("counter in U without one of both", ILLEGAL, read);
        }
    }
    csr_write(MCOUNTEREN, 0);
    csr_write(SCOUNTEREN, 0);

    if (!has("sstc"))
        return;
    const u32 read = CSRRS(A0, STIMECMP, 0);
    for (u64 enables = 0; enables < 4; enables++) {
        csr_write(MCOUNTEREN, enables & 1 ? 2 : 0);
        csr_clear(MENVCFG, MENVCFG_STCE);
        csr_set(MENVCFG, enables & 2 ? MENVCFG_STCE : 0);
        run_insn(S, read, 0, 0);
        if (enables == 3)
            check("stimecmp in S", allowed(S));
        else
            check_trap("stimecmp in S needs mcounteren.TM and menvcfg.STCE", ILLEGAL, read);
        run_insn(M, read, 0, 0);
        check("stimecmp in M", allowed(M));
        run_insn(U, read, 0, 0);
        check_trap("stimecmp in U", ILLEGAL, read);
    }
    csr_write(MCOUNTEREN, 0);
    csr_clear(MENVCFG, MENVCFG_STCE);
}

/* ---- cache-block operations ---- */

static void cache_blocks(void)
{
    static const struct {
        u32 op;
        u64 field, value;
        const char *ext, *name;
    } table[] = {
        {CBO_ZERO, ENVCFG_CBZE, ENVCFG_CBZE, "zicboz", "cbo.zero"},
        {CBO_CLEAN, ENVCFG_CBCFE, ENVCFG_CBCFE, "zicbom", "cbo.clean"},
        {CBO_FLUSH, ENVCFG_CBCFE, ENVCFG_CBCFE, "zicbom", "cbo.flush"},
        {CBO_INVAL, ENVCFG_CBIE, ENVCFG_CBIE_FLUSH, "zicbom", "cbo.inval as flush"},
        {CBO_INVAL, ENVCFG_CBIE, ENVCFG_CBIE, "zicbom", "cbo.inval"},
    };
    for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
        u32 word = CBO(table[i].op, A0);
        u64 block = (u64)hart->data;
        if (!has(table[i].ext)) {
            run_insn(M, word, block, 0);
            check_trap(table[i].name, ILLEGAL, word);
            continue;
        }
        for (u64 enables = 0; enables < 4; enables++) {
            csr_clear(MENVCFG, table[i].field);
            csr_clear(SENVCFG, table[i].field);
            csr_set(MENVCFG, enables & 1 ? table[i].value : 0);
            csr_set(SENVCFG, enables & 2 ? table[i].value : 0);
            run_insn(M, word, block, 0);
            check("cbo in M", allowed(M));
            run_insn(S, word, block, 0);
            if (enables & 1)
                check(table[i].name, allowed(S));
            else
                check_trap(table[i].name, ILLEGAL, word);
            run_insn(U, word, block, 0);
            if (enables == 3)
                check(table[i].name, allowed(U));
            else
                check_trap(table[i].name, ILLEGAL, word);
            /* Reserved operations and non-zero rd stay illegal. */
            run_insn(U, CBO(3, A0), block, 0);
            check_trap("cbo 3", ILLEGAL, CBO(3, A0));
            run_insn(M, CBO(5, A0), block, 0);
            check_trap("cbo 5", ILLEGAL, CBO(5, A0));
        }
        csr_clear(MENVCFG, table[i].field);
        csr_clear(SENVCFG, table[i].field);
        /* QEMU 11 does not look at the memory behind a physical address for the management operations. */
        if (table[i].op != CBO_ZERO && on_qemu())
            continue;
        run_insn(M, word, HOLE, 0);
        check_trap("cbo nowhere", STORE_ACCESS, HOLE);
    }
    /* Prefetches are hints: never a fault, whatever the address. ori x0, a0, 0/1/3. */
    for (u32 op = 0; op < 4; op++) {
        run_insn(U, op << 20 | A0 << 15 | 6u << 12 | 0x13u, HOLE, 0);
        check("prefetch", allowed(U));
    }
    /* fence with reserved fields is an ordinary fence; fence.tso and pause are fences too. */
    static const u32 fences[] = {0x0ff0000f, 0x8330000f, 0x0100000f, 0x0ff5050f, 0xfff0000f, FENCE_I, 0xfff5151f & ~16u};
    for (u64 i = 0; i < sizeof fences / sizeof *fences; i++) {
        run_insn(U, fences[i], 0, 0);
        check("fences with reserved fields are fences", allowed(U));
    }
}

/* ---- TVM, TSR, TW ---- */

static void virtualisation_traps(void)
{
    static const u32 tvm[] = {CSRRS(A0, SATP, 0), CSRRW(0, SATP, A1), SFENCE_VMA(0, 0), SFENCE_VMA(A0, A1)};
    for (u64 on = 0; on < 2; on++) {
        csr_clear(MSTATUS, MSTATUS_TVM | MSTATUS_TSR | MSTATUS_TW);
        csr_set(MSTATUS, on ? MSTATUS_TVM : 0);
        for (u64 i = 0; i < sizeof tvm / sizeof *tvm; i++) {
            run_insn(S, tvm[i], 0, 0);
            if (on)
                check_trap("TVM", ILLEGAL, tvm[i]);
            else
                check("no TVM", allowed(S));
            run_insn(M, tvm[i], 0, 0);
            check("TVM in M", allowed(M));
        }
        if (has("svinval")) {
            run_insn(S, SINVAL_VMA(0, 0), 0, 0);
            if (on)
                check_trap("TVM sinval.vma", ILLEGAL, SINVAL_VMA(0, 0));
            else
                check("no TVM sinval.vma", allowed(S));
            run_insn(S, SFENCE_W_INVAL, 0, 0);
            check("TVM sfence.w.inval", allowed(S));
            run_insn(S, SFENCE_INVAL_IR, 0, 0);
            check("TVM sfence.inval.ir", allowed(S));
            run_insn(U, SFENCE_W_INVAL, 0, 0);
            check_trap("sfence.w.inval in U", ILLEGAL, SFENCE_W_INVAL);
            run_insn(U, SINVAL_VMA(0, 0), 0, 0);
            check_trap("sinval.vma in U", ILLEGAL, SINVAL_VMA(0, 0));
        }
    }
    csr_clear(MSTATUS, MSTATUS_TVM);

    csr_set(MSTATUS, MSTATUS_TSR);
    run_insn(S, SRET, 0, 0);
    check_trap("TSR", ILLEGAL, SRET);
    csr_clear(MSTATUS, MSTATUS_TSR);

    /* An enabled interrupt is pending, so that a wfi which is allowed ends at once; SIE is off, so it is not taken. */
    csr_write(MIDELEG, SSI);
    csr_write(MIE, SSI);
    csr_set(MIP, SSI);
    csr_clear(MSTATUS, MSTATUS_SIE);
    run_insn(S, WFI, 0, 0);
    check("wfi in S", allowed(S));
    run_insn(M, WFI, 0, 0);
    check("wfi in M", allowed(M));
    csr_write(MIE, 0);
    csr_clear(MIP, SSI);
    csr_write(MIDELEG, 0);
    csr_set(MSTATUS, MSTATUS_TW);
    run_insn(S, WFI, 0, 0);
    check_trap("TW", ILLEGAL, WFI);
    csr_clear(MSTATUS, MSTATUS_TW);
}

/* ---- mret and sret ---- */

static void returns(void)
{
    /* mret to M: xIE from xPIE, xPIE becomes 1, xPP the least mode; MPRV is kept when going to M. */
    for (u64 bits = 0; bits < 4; bits++) {
        u64 before = csr_read(MSTATUS) & ~(MSTATUS_MIE | MSTATUS_MPIE);
        u64 status = before | MSTATUS_MPP | (bits & 1 ? MSTATUS_MPIE : 0) | (bits & 2 ? MSTATUS_MPRV : 0);
        u64 found;
        csr_write(MIE, 0);
        __asm__ volatile("la t0, 1f\ncsrw mepc, t0\ncsrw mstatus, %1\nmret\n1: csrr %0, mstatus\n"
                         "csrw mstatus, %2"
                         : "=&r"(found)
                         : "r"(status), "r"(before)
                         : "t0", "memory");
        check_eq("mret to M: MIE, MPIE, MPP", found & (MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPP),
                 (bits & 1 ? MSTATUS_MIE : 0) | MSTATUS_MPIE);
        check_eq("mret to M: MPRV stays", found & MSTATUS_MPRV, bits & 2 ? MSTATUS_MPRV : 0);
    }
    /* mret to a lower mode clears MPRV. */
    for (u64 mode = U; mode <= S; mode++) {
        csr_write(SSCRATCH, (u64)&hart->code[5]);
        u32 set_mepc[] = {CSRRS(A2, SSCRATCH, 0), CSRRW(0, MEPC, A2), CSRRC(0, MSTATUS, A0),
                          CSRRS(0, MSTATUS, A1),  MRET,               ECALL};
        run_insns(M, set_mepc, 6, MSTATUS_MPP, mode << 11 | MSTATUS_MPRV);
        csr_write(SSCRATCH, hart);
        check_eq("mret downwards: mode", hart->m.cause, ecall_from(mode));
        check_eq("mret downwards clears MPRV", hart->m.status & MSTATUS_MPRV, 0);
    }
}

/* sret in S: to U or S, the SIE stack, SPP. */
static void srets(void)
{
    for (u64 bits = 0; bits < 4; bits++) {
        u64 spp = bits & 1 ? MSTATUS_SPP : 0, spie = bits & 2 ? MSTATUS_SPIE : 0;
        csr_write(MIE, 0);
        csr_clear(MSTATUS, MSTATUS_SPP | MSTATUS_SPIE | MSTATUS_SIE);
        csr_set(MSTATUS, spp | spie);
        csr_write(SEPC, (u64)&hart->code[2]);
        u32 words[] = {SRET, NOP, ECALL};
        run_insns(S, words, 3, 0, 0);
        check_eq("sret: mode", hart->m.cause, ecall_from(bits & 1 ? S : U));
        check_eq("sret: epc", hart->m.epc, (u64)&hart->code[2]);
        check_eq("sret: SIE, SPIE, SPP", hart->m.status & (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP),
                 (spie ? MSTATUS_SIE : 0) | MSTATUS_SPIE);

        /* sret in M works the same, and clears MPRV. */
        csr_write(SEPC, (u64)&hart->code[2]);
        csr_clear(MSTATUS, MSTATUS_SPP | MSTATUS_SPIE | MSTATUS_SIE);
        csr_set(MSTATUS, spp | spie | MSTATUS_TSR);
        u32 from_m[] = {CSRRS(0, MSTATUS, A0), SRET, ECALL};
        run_insns(M, from_m, 3, MSTATUS_MPRV, 0);
        check_eq("sret in M: mode", hart->m.cause, ecall_from(bits & 1 ? S : U));
        check_eq("sret in M: SIE, SPIE, SPP", hart->m.status & (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP),
                 (spie ? MSTATUS_SIE : 0) | MSTATUS_SPIE);
        check_eq("sret in M clears MPRV", hart->m.status & MSTATUS_MPRV, 0);
        csr_clear(MSTATUS, MSTATUS_TSR);
    }
    csr_clear(MSTATUS, MSTATUS_SIE | MSTATUS_SPIE);
}

/* An sret with an xepc whose bit 0 was written 1 goes to the even address. */
static void odd_epc(void)
{
    csr_write(SEPC, (u64)&hart->code[2] + 1);
    csr_clear(MSTATUS, MSTATUS_SPP);
    u32 words[] = {SRET, NOP, ECALL};
    run_insns(S, words, 3, 0, 0);
    check_eq("sret to an odd sepc", hart->m.epc, (u64)&hart->code[2]);
}

void rom_main(void)
{
    trap_vectors();
    status();
    identity();
    delegation_masks();
    enables();
    counter_access();
    cache_blocks();
    virtualisation_traps();
    returns();
    srets();
    odd_epc();
}
