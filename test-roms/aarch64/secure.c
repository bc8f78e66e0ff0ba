/* The timer of Secure EL1: who may use it, and its interrupt, of group 0, taken as FIQ at EL3. At EL3. */
#include "gic.h"

const char rom_name[] = "secure";

#define PPI 29
#define CTL "s3_7_c14_c2_1"
#define CVAL "s3_7_c14_c2_2"
#define TVAL "s3_7_c14_c2_0"

#define SCR_NS 1ul
#define SCR_FIQ 4ul
#define SCR_ST (1ul << 11)

static void scr(u64 clear, u64 set) { write_sys("scr_el3", (read_sys("scr_el3") & ~clear) | set); }

/* ---- who may use it ---- */

#define READ(op2) MRS_X0(3, 7, 14, 2, op2)
#define WRITE(op2) MSR_X0(3, 7, 14, 2, op2)
#define TRAPPED(op2, read) (EC(SYSTEM) | SYSTEM_ISS(3, 7, 14, 2, op2, 0, read))

static void access(void)
{
    static const u64 pstates[] = {EL0T, EL1H, EL2H};
    for (u64 op2 = 0; op2 < 3; op2++) {
        cpu->item = op2 + 1;
        scr(SCR_ST, SCR_NS);
        for (u64 st = 0; st < 2; st++) {
            scr(SCR_ST, st ? SCR_ST : 0);
            for (u64 level = 0; level < 3; level++) {
                run_insn(pstates[level], READ(op2), 0, 0);
                check_trap("Non-secure", level ? level : 1, EC(UNKNOWN));
            }
        }
        scr(SCR_NS | SCR_ST, 0);
        run_insn(EL0T, READ(op2), 0, 0);
        check_trap("Secure EL0", 1, EC(UNKNOWN));
        run_insn(EL1H, READ(op2), 0, 0);
        check_trap("Secure EL1 without ST", 3, TRAPPED(op2, 1));
        run_insn(EL1H, WRITE(op2), 0, 0);
        check_trap("Secure EL1 without ST, write", 3, TRAPPED(op2, 0));
        scr(0, SCR_ST);
        run_insn(EL1H, READ(op2), 0, 0);
        check_no_trap("Secure EL1 with ST");
        run_insn(EL1H, WRITE(op2), 0, 0);
        check_no_trap("Secure EL1 with ST, write");
        run_insn(EL0T, READ(op2), 0, 0);
        check_trap("Secure EL0 with ST", 1, EC(UNKNOWN));
    }
    cpu->item = 0;
    write_sys(CVAL, 0x1234567890ul);
    check_eq("EL1 sees what EL3 has written", run_insn(EL1H, READ(2), 0, 0), 0x1234567890ul);
    run_insn(EL1H, WRITE(2), 77, 0);
    check_eq("and the other way", read_sys(CVAL), 77);
    scr(SCR_ST, SCR_NS);
}

static void values(void)
{
    write_sys(CTL, 0);
    u64 start = read_sys("cntpct_el0");
    write_sys(TVAL, 200000);
    check("TVAL", (int)read_sys(TVAL) <= 200000);
    check("CVAL", read_sys(CVAL) - start >= 200000);
    write_sys(CVAL, ~0ul);
    write_sys(CTL, 3);
    check_eq("not due", read_sys(CTL), 3);
    write_sys(CVAL, 0);
    check_eq("due", read_sys(CTL), 7);
    write_sys(CTL, 2);
    check_eq("off", read_sys(CTL) & 3, 2);
    /* The other timers have registers of their own. */
    write_sys("cntp_cval_el0", 1);
    write_sys(CVAL, 2);
    check_eq("not the physical timer", read_sys("cntp_cval_el0"), 1);
    write_sys(CTL, 0);
}

/* ---- its interrupt ---- */

static u64 count[MAX_CPUS], from[MAX_CPUS];

/* Group 0 has its own acknowledgement in version 3. */
static bool take_fiq(struct trap *t, u64 level)
{
    if ((t->vector & 3) != 2)
        return false;
    u64 iar = v3() ? read_sys("s3_0_c12_c8_0") : mmio32(GICC + 0xc);
    if ((iar & 0x3ff) == SPURIOUS)
        return true;
    check_eq("level", level, 3);
    check_eq("INTID", iar & 0x3ff, PPI);
    check_eq("active", get(ACTIVE, PPI), 1);
    check_eq("due", read_sys(CTL), 5);
    write_sys(CTL, 0);
    if (v3())
        write_sys("s3_0_c12_c8_1", iar);
    else
        mmio32(GICC + 0x10) = iar;
    check("no longer active", !get(ACTIVE, PPI));
    from[cpu->id] = t->spsr >> 2 & 3;
    __atomic_add_fetch(&count[cpu->id], 1, __ATOMIC_SEQ_CST);
    if (cpu->run_sp)
        t->elr = (u64)run_exit;
    return true;
}

static void group0_on(void)
{
    if (cpu->id == 0)
        mmio32(GICD) = v3() ? 0x11 : 1;
    barrier();
    if (v3()) {
        wake_redistributor();
        write_sys("s3_6_c12_c12_5", 15); /* ICC_SRE_EL3 */
        write_sys("s3_4_c12_c9_5", 15);  /* ICC_SRE_EL2 */
        write_sys("s3_0_c12_c12_5", 7);  /* ICC_SRE_EL1 */
        write_sys("s3_0_c12_c8_3", 0);   /* ICC_BPR0_EL1 */
        write_sys("s3_0_c12_c12_4", 0);  /* ICC_CTLR_EL1 */
        write_sys("s3_0_c12_c12_6", 1);  /* ICC_IGRPEN0_EL1 */
    } else {
        mmio32(GICC + 8) = 0;
        mmio32(GICC) = 9; /* group 0, as FIQ */
    }
    *bits(GROUP, PPI) &= ~(1u << PPI);
    mask(0xff);
    priority(PPI, 0x40);
    set(ENABLE, PPI);
}

static void unmask_fiq(void) { __asm__ volatile("msr daifclr, #1" ::: "memory"); }
static void remask_fiq(void) { __asm__ volatile("msr daifset, #1" ::: "memory"); }

#define mine_count __atomic_load_n(&count[cpu->id], __ATOMIC_SEQ_CST)

static void interrupt(void)
{
    static const u32 forever[] = {0x14000000};
    cpu->hook = take_fiq;
    group0_on();
    scr(0, SCR_FIQ);
    count[cpu->id] = 0;
    /* At EL3, by the masks. */
    write_sys(CVAL, 0);
    write_sys(CTL, 3);
    unmask_fiq();
    for (u64 i = 0; i < 1000; i++)
        relax();
    check_eq("a masked timer", mine_count, 0);
    remask_fiq();
    write_sys(CTL, 1);
    while (!get(PEND, PPI))
        relax();
    check_eq("as FIQ", read_sys("isr_el1"), F_MASK);
    check_eq("a masked exception", mine_count, 0);
    unmask_fiq();
    while (mine_count < 1)
        relax();
    remask_fiq();
    check_eq("from EL3", from[cpu->id], 3);
    check_eq("not pending", read_sys("isr_el1"), 0);
    /* One that is not due yet, asleep. */
    write_sys(CVAL, read_sys("cntpct_el0") + 1000000);
    write_sys(CTL, 1);
    while (!read_sys("isr_el1"))
        wfi();
    check("not before its time", read_sys("cntpct_el0") >= read_sys(CVAL));
    unmask_fiq();
    while (mine_count < 2)
        relax();
    remask_fiq();
    /* From below, whatever is masked there, in both states. */
    static const u64 pstates[] = {EL0T, EL1H, EL2H};
    for (u64 secure = 0; secure < 2; secure++)
        for (u64 level = 0; level < 3 - secure; level++)
            for (u64 later = 0; later < 2; later++) {
                cpu->item = level + 1;
                cpu->variant = secure ? "Secure" : "Non-secure";
                scr(SCR_NS, secure ? 0 : SCR_NS);
                count[cpu->id] = 0;
                write_sys(CVAL, later ? read_sys("cntpct_el0") + 1000000 : 0);
                write_sys(CTL, 1);
                run_insns(pstates[level], forever, 1, 0, 0);
                check_eq("one", mine_count, 1);
                check_eq("from", from[cpu->id], level);
            }
    cpu->item = 0;
    cpu->variant = 0;
    scr(SCR_FIQ, SCR_NS);
    set(DISABLE, PPI);
    cpu->hook = 0;
}

void rom_main(void)
{
    if (cpu->home != 3)
        return;
    access();
    values();
    interrupt();
}
