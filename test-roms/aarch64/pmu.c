/* The performance monitors: the cycle counter, event counters and their events, filters by exception level, who may access
 * what, and the overflow interrupt. Each CPU has its own. */
#include "gic.h"

const char rom_name[] = "pmu";

#define PPI 23
#define CYCLES 31

#define PMCR "pmcr_el0"
#define E 1ul
#define P 2ul
#define C 4ul
#define LC 0x40ul

/* Filters. */
#define NOT_EL1 (1ul << 31)
#define NOT_EL0 (1ul << 30)
#define EL2 (1ul << 27)
#define M (1ul << 26)
#define NOWHERE (NOT_EL1 | NOT_EL0)

/* Events. */
#define SW_INCR 0x00
#define INST_RETIRED 0x08
#define CPU_CYCLES 0x11
#define CHAIN 0x1e

static u64 counters(void) { return read_sys(PMCR) >> 11 & 31; }

static bool has_event(u64 event) { return read_sys("pmceid0_el0") >> event & 1; }

static void select(u64 n) { write_sys("pmselr_el0", n); }

static u64 count_of(u64 n)
{
    select(n);
    return read_sys("pmxevcntr_el0");
}

static void set_count(u64 n, u64 value)
{
    select(n);
    write_sys("pmxevcntr_el0", value);
}

/* Filters and event of a counter. */
static void type(u64 n, u64 value)
{
    select(n);
    write_sys("pmxevtyper_el0", value);
}

/* Everything off and zero; where the program runs, counters may count. */
static void reset(void)
{
    if (cpu->home == 3)
        write_sys("mdcr_el3", 1ul << 17); /* SPME */
    write_sys("pmcntenclr_el0", ~0ul);
    write_sys("pmintenclr_el1", ~0ul);
    write_sys("pmovsclr_el0", ~0ul);
    write_sys(PMCR, E | P | C | LC);
    write_sys("pmccfiltr_el0", EL2);
    write_sys("pmuserenr_el0", 0);
    for (u64 n = 0; n < counters(); n++)
        type(n, EL2 | INST_RETIRED);
}

#define SUBS_X0 0xf1000400u
#define BNE_BACK 0x54ffffe1u

static const u64 levels[] = {EL0T, EL1H, EL2H};

/* Runs 2 * n instructions at a level, and as many more each time. */
static void spin(u64 level, u64 n)
{
    static const u32 loop[] = {SUBS_X0, BNE_BACK};
    if (level != cpu->home)
        run_insns(levels[level], loop, 2, n, 0);
    else
        __asm__ volatile("1: subs %0, %0, #1\nb.ne 1b" : "+r"(n)::"cc");
}

/* How many more events counter n counts for 2000 iterations of two instructions. */
static u64 counted(u64 n, u64 level)
{
    u64 a = count_of(n);
    spin(level, 1000);
    u64 b = count_of(n);
    spin(level, 3000);
    u64 c = count_of(n);
    return (c - b) - (b - a);
}

/* ---- checks ---- */

static void cycle_counter(void)
{
    reset();
    cpu->variant = "cycle counter";
    u64 a = read_sys("pmccntr_el0");
    spin(cpu->home, 100);
    check_eq("it is off", read_sys("pmccntr_el0"), a);
    write_sys("pmcntenset_el0", 1ul << CYCLES);
    check_eq("on", read_sys("pmcntenset_el0"), 1ul << CYCLES);
    check_eq("as the other register has it", read_sys("pmcntenclr_el0"), 1ul << CYCLES);
    a = read_sys("pmccntr_el0");
    spin(cpu->home, 100);
    u64 b = read_sys("pmccntr_el0");
    check("it counts", b > a);
    write_sys(PMCR, LC);
    a = read_sys("pmccntr_el0");
    spin(cpu->home, 100);
    check_eq("PMCR.E", read_sys("pmccntr_el0"), a);
    write_sys(PMCR, LC | C);
    check_eq("PMCR.C", read_sys("pmccntr_el0"), 0);
    check_eq("C reads as zero", read_sys(PMCR) & (E | P | C), 0);
    /* 64 bits with LC, else 32. */
    write_sys("pmccntr_el0", 0xffffffff);
    write_sys(PMCR, LC | E);
    spin(cpu->home, 100);
    check("it carries", read_sys("pmccntr_el0") >> 32 == 1);
    check_eq("no overflow of 64 bits", read_sys("pmovsset_el0"), 0);
    write_sys(PMCR, LC);
    write_sys("pmccntr_el0", ~0ul);
    write_sys(PMCR, LC | E);
    spin(cpu->home, 100);
    check_eq("overflow of 64 bits", read_sys("pmovsset_el0"), 1ul << CYCLES);
    check("goes on from zero", read_sys("pmccntr_el0") < 1ul << 32);
    write_sys("pmovsclr_el0", 1ul << CYCLES);
    check_eq("cleared", read_sys("pmovsclr_el0"), 0);
    write_sys("pmovsset_el0", 1ul << CYCLES);
    check_eq("set", read_sys("pmovsclr_el0"), 1ul << CYCLES);
    write_sys("pmovsclr_el0", 1ul << CYCLES);
    cpu->variant = 0;
}

static void event_counters(void)
{
    u64 n = counters();
    check("there are some", n >= 2 && n <= 31);
    check("events", has_event(SW_INCR) && has_event(INST_RETIRED) && has_event(CPU_CYCLES));
    for (u64 i = 0; i < n; i++) {
        cpu->item = i + 1;
        reset();
        check_eq("zero", count_of(i), 0);
        check_eq("type", (select(i), read_sys("pmxevtyper_el0")) & 0xffff, INST_RETIRED);
        check_eq("off", counted(i, cpu->home), 0);
        write_sys("pmcntenset_el0", 1ul << i);
        check_eq("instructions", counted(i, cpu->home), 4000);
        write_sys(PMCR, LC);
        check_eq("PMCR.E", counted(i, cpu->home), 0);
        check("it keeps its value", count_of(i) != 0);
        write_sys(PMCR, E | LC);
        type(i, EL2 | CPU_CYCLES);
        u64 a = count_of(i);
        spin(cpu->home, 100);
        check("cycles", count_of(i) > a);
        /* Its 32 bits. */
        type(i, EL2 | SW_INCR);
        set_count(i, 0xfffffffe);
        write_sys("pmswinc_el0", 1ul << i);
        check_eq("an increment", count_of(i), 0xffffffff);
        check_eq("no overflow", read_sys("pmovsset_el0"), 0);
        write_sys("pmswinc_el0", 1ul << i);
        check_eq("it wraps", count_of(i), 0);
        check_eq("overflow", read_sys("pmovsset_el0"), 1ul << i);
        write_sys("pmcntenclr_el0", 1ul << i);
        write_sys("pmswinc_el0", 1ul << i);
        check_eq("no increment when off", count_of(i), 0);
        set_count(i, 5);
        write_sys("pmccntr_el0", 7);
        write_sys(PMCR, LC | P);
        check_eq("PMCR.P", count_of(i), 0);
        check_eq("not the cycle counter", read_sys("pmccntr_el0"), 7);
    }
    cpu->item = 0;
    reset();
    /* By their own names. */
    set_count(0, 11);
    set_count(1, 12);
    check_eq("PMEVCNTR0", read_sys("pmevcntr0_el0"), 11);
    check_eq("PMEVCNTR1", read_sys("pmevcntr1_el0"), 12);
    write_sys("pmevtyper1_el0", NOT_EL0 | SW_INCR);
    check_eq("PMEVTYPER1", (select(1), read_sys("pmxevtyper_el0")), NOT_EL0 | SW_INCR);
    type(CYCLES, NOT_EL0);
    check_eq("the cycle counter's filter", read_sys("pmccfiltr_el0"), NOT_EL0);
    /* A pair counts 64 bits. */
    if (has_event(CHAIN)) {
        type(0, EL2 | SW_INCR);
        type(1, EL2 | CHAIN);
        set_count(0, 0xffffffff);
        set_count(1, 0xffffffff);
        write_sys("pmcntenset_el0", 3);
        write_sys("pmswinc_el0", 1);
        check_eq("chained, low", count_of(0), 0);
        check_eq("chained, high", count_of(1), 0);
        check_eq("both overflow", read_sys("pmovsset_el0"), 3);
        write_sys("pmswinc_el0", 1);
        check_eq("without a carry, low", count_of(0), 1);
        check_eq("without a carry, high", count_of(1), 0);
        /* The carry of a counter that counts by itself. */
        type(0, EL2 | INST_RETIRED);
        set_count(0, 0xffffff00);
        spin(cpu->home, 1000);
        check_eq("a carry of instructions", count_of(1), 1);
    }
    reset();
}

static void filters(void)
{
    static const struct {
        u64 level, filter;
    } only[] = {{0, NOT_EL1}, {1, NOT_EL0 | M}, {2, NOWHERE | EL2}, {3, NOWHERE | M}};
    reset();
    write_sys("pmcntenset_el0", 1 | 1ul << CYCLES);
    for (u64 level = 0; level <= cpu->home; level++) {
        cpu->item = level + 1;
        type(0, EL2 | INST_RETIRED);
        check_eq("everywhere", counted(0, level), 4000);
        type(0, NOWHERE | INST_RETIRED);
        u64 a = count_of(0);
        spin(level, 1000);
        check_eq("nowhere", count_of(0), a);
        for (u64 i = 0; i < 4; i++) {
            type(0, only[i].filter | INST_RETIRED);
            check_eq("at one level", counted(0, level), only[i].level == level ? 4000 : 0);
        }
        write_sys("pmccfiltr_el0", NOWHERE);
        a = read_sys("pmccntr_el0");
        spin(level, 1000);
        check_eq("no cycles", read_sys("pmccntr_el0"), a);
        write_sys("pmccfiltr_el0", only[level].filter);
        a = read_sys("pmccntr_el0");
        spin(level, 1000);
        check("cycles of a level", read_sys("pmccntr_el0") > a);
    }
    cpu->item = 0;
    if (cpu->home < 2)
        return;
    /* EL2 takes counters for itself, and switches them on by itself. */
    reset();
    u64 all = counters();
    write_sys("mdcr_el2", 1);
    check_eq("EL2 has all", counters(), all);
    write_sys("pmcntenset_el0", 3);
    u64 seen = run_insn(EL1H, MRS_X0(3, 3, 9, 12, 0), 0, 0);
    check_no_trap("PMCR at EL1");
    check_eq("HPMN", seen >> 11 & 31, 1);
    check_eq("EL1 sees its own", run_insn(EL1H, MRS_X0(3, 3, 9, 12, 1), 0, 0), 1);
    check_eq("EL1's counts", counted(0, 1), 4000);
    check_eq("EL2's does not", counted(1, 1), 0);
    write_sys("mdcr_el2", 1 | 1ul << 7); /* HPME */
    check_eq("EL2's does", counted(1, 1), 4000);
    write_sys(PMCR, LC);
    check_eq("EL1's is off", counted(0, 1), 0);
    check_eq("EL2's does not care", counted(1, 1), 4000);
    write_sys(PMCR, LC | E);
    if (field(read_sys("id_aa64dfr0_el1"), 8) >= 4) {
        write_sys("mdcr_el2", 1 | 1ul << 7 | 1ul << 17); /* HPMD */
        check_eq("EL1's counts at EL1", counted(0, 1), 4000);
        if (cpu->home == 2) {
            check_eq("EL1's does not at EL2", counted(0, 2), 0);
            check_eq("EL2's does", counted(1, 2), 4000);
        }
    }
    write_sys("mdcr_el2", all);
}

/* ---- who may access what ---- */

/* An access that must trap to a level. */
#define TRAPS(name, pstate, level, crm, op2)                                                                     \
    do {                                                                                                         \
        run_insn(pstate, MRS_X0(3, 3, 9, crm, op2), 0, 0);                                                       \
        check_trap(name, level, EC(SYSTEM) | SYSTEM_ISS(3, 3, 9, crm, op2, 0, 1));                               \
    } while (0)
#define WRITE_TRAPS(name, pstate, level, crm, op2)                                                               \
    do {                                                                                                         \
        run_insn(pstate, MSR_X0(3, 3, 9, crm, op2), 0, 0);                                                       \
        check_trap(name, level, EC(SYSTEM) | SYSTEM_ISS(3, 3, 9, crm, op2, 0, 0));                               \
    } while (0)
#define WORKS(name, pstate, crm, op2)                                                                            \
    do {                                                                                                         \
        run_insn(pstate, MRS_X0(3, 3, 9, crm, op2), 0, 0);                                                       \
        check_no_trap(name);                                                                                     \
    } while (0)
#define WRITE_WORKS(name, pstate, crm, op2)                                                                      \
    do {                                                                                                         \
        run_insn(pstate, MSR_X0(3, 3, 9, crm, op2), 0, 0);                                                       \
        check_no_trap(name);                                                                                     \
    } while (0)

static void access(void)
{
    reset();
    TRAPS("PMCR", EL0T, 1, 12, 0);
    TRAPS("PMCCNTR", EL0T, 1, 13, 0);
    TRAPS("PMXEVCNTR", EL0T, 1, 13, 2);
    TRAPS("PMSELR", EL0T, 1, 12, 5);
    WRITE_TRAPS("PMSWINC", EL0T, 1, 12, 4);
    WORKS("PMUSERENR", EL0T, 14, 0);
    run_insn(EL0T, MSR_X0(3, 3, 9, 14, 0), 0, 0);
    check_trap("write of PMUSERENR", 1, EC(UNKNOWN));
    write_sys("pmuserenr_el0", 2); /* SW */
    WRITE_WORKS("PMSWINC with SW", EL0T, 12, 4);
    TRAPS("PMCCNTR with SW", EL0T, 1, 13, 0);
    write_sys("pmuserenr_el0", 4); /* CR */
    WORKS("PMCCNTR with CR", EL0T, 13, 0);
    WRITE_TRAPS("write of PMCCNTR with CR", EL0T, 1, 13, 0);
    TRAPS("PMXEVCNTR with CR", EL0T, 1, 13, 2);
    write_sys("pmuserenr_el0", 8); /* ER */
    WRITE_WORKS("PMSELR with ER", EL0T, 12, 5);
    WORKS("PMXEVCNTR with ER", EL0T, 13, 2);
    WRITE_TRAPS("write of PMXEVCNTR with ER", EL0T, 1, 13, 2);
    TRAPS("PMCNTENSET with ER", EL0T, 1, 12, 1);
    write_sys("pmuserenr_el0", 1); /* EN */
    WORKS("PMCNTENSET with EN", EL0T, 12, 1);
    WRITE_WORKS("PMCCNTR with EN", EL0T, 13, 0);
    WORKS("PMCR with EN", EL0T, 12, 0);
    if (cpu->home >= 2) {
        u64 all = counters();
        write_sys("mdcr_el2", all | 1ul << 5); /* TPMCR */
        TRAPS("PMCR with TPMCR", EL1H, 2, 12, 0);
        TRAPS("PMCR at EL0 with TPMCR", EL0T, 2, 12, 0);
        WORKS("PMCCNTR with TPMCR", EL1H, 13, 0);
        write_sys("mdcr_el2", all | 1ul << 6); /* TPM */
        TRAPS("PMCCNTR with TPM", EL1H, 2, 13, 0);
        TRAPS("PMCR with TPM", EL1H, 2, 12, 0);
        TRAPS("PMUSERENR at EL0 with TPM", EL0T, 2, 14, 0);
        WRITE_TRAPS("PMSWINC with TPM", EL1H, 2, 12, 4);
        write_sys("mdcr_el2", all);
    }
    if (cpu->home == 3) {
        write_sys("mdcr_el3", 1ul << 17 | 1ul << 6); /* TPM */
        TRAPS("PMCCNTR with EL3's TPM", EL1H, 3, 13, 0);
        TRAPS("PMCCNTR at EL2 with EL3's TPM", EL2H, 3, 13, 0);
        TRAPS("PMCCNTR at EL0 with EL3's TPM", EL0T, 3, 13, 0);
        (void)read_sys("pmccntr_el0");
    }
    reset();
}

/* ---- the overflow interrupt ---- */

static void stop(void)
{
    check("its overflow", (read_sys("pmovsset_el0") & read_sys("pmintenset_el1")) != 0);
    write_sys("pmovsclr_el0", ~0ul);
}

/* The same, of code that run() has started and that goes on for ever. */
static bool take_and_leave(struct trap *t, u64 level)
{
    if (!take(t, level))
        return false;
    if (mine.count)
        t->elr = (u64)run_exit;
    return true;
}

static void interrupt(void)
{
    if (cpu->home == 3)
        return;
    cpu->hook = take;
    gic_on();
    priority(PPI, 0x80);
    set(ENABLE, PPI);
    reset();
    /* What happens below happens by the instruction. */
    for (u64 n = 0; n <= counters(); n++) {
        u64 bit = n == counters() ? CYCLES : n;
        cpu->item = bit + 1;
        reset();
        forget();
        mine.then = stop;
        if (bit == CYCLES)
            write_sys("pmccntr_el0", -1000);
        else
            set_count(bit, 0xffffffff - 1000);
        write_sys("pmcntenset_el0", 1ul << bit);
        spin(cpu->home, 2000);
        check_eq("overflow", read_sys("pmovsset_el0"), 1ul << bit);
        expect_none("a masked overflow");
        write_sys("pmintenset_el1", 1ul << bit);
        check_eq("unmasked", read_sys("pmintenclr_el1"), 1ul << bit);
        await(1);
        check_eq("INTID", mine.intid, PPI);
        check("no longer pending", !get(PEND, PPI));
        forget();
        expect_none("it comes once");
        /* While nothing else happens. */
        forget();
        mine.then = stop;
        if (bit == CYCLES)
            write_sys("pmccntr_el0", -100000);
        else
            set_count(bit, 0xffffffff - 100000);
        unmask();
        while (!__atomic_load_n(&mine.count, __ATOMIC_SEQ_CST)) {
        }
        remask();
        check_eq("INTID", mine.intid, PPI);
        /* In lower levels, without an end: counted everywhere, and only there. */
        for (u64 level = 0; level < cpu->home; level++)
            for (u64 there = 0; there < 2; there++) {
                static const u32 forever[] = {0x14000000};
                u64 filter = !there ? EL2 : level ? NOT_EL0 : NOT_EL1;
                forget();
                mine.then = stop;
                if (bit == CYCLES) {
                    write_sys("pmccfiltr_el0", filter);
                    write_sys("pmccntr_el0", -100000);
                } else {
                    type(bit, filter | INST_RETIRED);
                    set_count(bit, 0xffffffff - 100000);
                }
                cpu->hook = take_and_leave;
                run_insns(levels[level] & ~I_MASK, forever, 1, 0, 0);
                cpu->hook = take;
                check_eq("one", mine.count, 1);
                check_eq("INTID", mine.intid, PPI);
            }
    }
    cpu->item = 0;
    /* Of software's. */
    reset();
    forget();
    mine.then = stop;
    type(0, EL2 | SW_INCR);
    set_count(0, 0xffffffff);
    write_sys("pmintenset_el1", 1);
    write_sys("pmcntenset_el0", 1);
    write_sys("pmswinc_el0", 1);
    await(1);
    check_eq("INTID", mine.intid, PPI);
    reset();
    set(DISABLE, PPI);
    cpu->hook = 0;
}

void rom_main(void)
{
    u64 version = field(read_sys("id_aa64dfr0_el1"), 8);
    check("there are performance monitors", version != 0);
    if (version == 0 || version == 15)
        return;
    cycle_counter();
    event_counters();
    filters();
    access();
    interrupt();
}
