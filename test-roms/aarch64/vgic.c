/* Virtual interrupts: list registers that EL2 fills, which EL1 takes, ends and masks as its own, and the maintenance
 * interrupts that tell EL2 of it. At EL2. */
#include "gic.h"

const char rom_name[] = "vgic";

#define GICH 0x08030000ul
#define GICV 0x08040000ul
#define MAINTENANCE 25
/* A private line of a timer that is off: the hardware's interrupt of a virtual one. */
#define PHYSICAL 26
#define VIRTUAL 40
#define OTHER 41

/* HCR. */
#define EN 1ul
#define UIE 2ul
#define LRENPIE 4ul
#define NPIE 8ul

/* ---- the hypervisor's side: list registers as version 3 has them ---- */

#define PENDING (1ul << 62)
#define ACTIVE_ (1ul << 63)
#define STATE (PENDING | ACTIVE_)
#define HARDWARE (1ul << 61)
#define TELL_END (1ul << 41)

static u64 lr(u64 n)
{
    if (!v3()) {
        u64 value = mmio32(GICH + 0x100 + 4 * n);
        return (value & 0x3ff) | (value >> 28 & 3) << 62 | (value >> 23 & 31) << 51;
    }
    switch (n) {
    case 0:
        return read_sys("s3_4_c12_c12_0");
    case 1:
        return read_sys("s3_4_c12_c12_1");
    case 2:
        return read_sys("s3_4_c12_c12_2");
    default:
        return read_sys("s3_4_c12_c12_3");
    }
}

/* Of group 1, or of group 0 in version 2, whose IAR takes no others. */
static void set_lr(u64 n, u64 intid, u64 priority, u64 rest)
{
    u64 value = intid | priority << 48 | 1ul << 60 | rest;
    if (!v3()) {
        u64 physical = rest & HARDWARE ? value >> 32 & 0x3ff : (rest & TELL_END ? 1ul << 9 : 0);
        mmio32(GICH + 0x100 + 4 * n) =
            intid | physical << 10 | priority >> 3 << 23 | (value >> 62 & 3) << 28 | (value >> 61 & 1) << 31;
        return;
    }
    switch (n) {
    case 0:
        write_sys("s3_4_c12_c12_0", value);
        break;
    case 1:
        write_sys("s3_4_c12_c12_1", value);
        break;
    case 2:
        write_sys("s3_4_c12_c12_2", value);
        break;
    default:
        write_sys("s3_4_c12_c12_3", value);
    }
}

#define CONTROL(name, sys, offset)                                                                               \
    static inline u64 name(void) { return v3() ? read_sys(sys) : mmio32(GICH + offset); }
CONTROL(misr, "s3_4_c12_c11_2", 0x10)
CONTROL(eisr, "s3_4_c12_c11_3", 0x20)
CONTROL(elrsr, "s3_4_c12_c11_5", 0x30)
CONTROL(ich_hcr, "s3_4_c12_c11_0", 0)

static void set_hcr(u64 value)
{
    if (v3())
        write_sys("s3_4_c12_c11_0", value);
    else
        mmio32(GICH) = value;
}

static void set_vmcr(u64 value)
{
    if (v3())
        write_sys("s3_4_c12_c11_7", value);
    else
        mmio32(GICH + 8) = (value & 0x3fffff) | value >> 27 << 27;
}
/* The guest's group is on. */
#define GROUP_ON (v3() ? 2ul : 1ul)
#define OPEN (0xf8ul << 24 | GROUP_ON)

static void clear(void)
{
    set_hcr(0);
    for (u64 n = 0; n < 4; n++) {
        if (v3())
            set_lr(n, 0, 0, 0);
        else
            mmio32(GICH + 0x100 + 4 * n) = 0;
    }
    if (v3())
        write_sys("s3_4_c12_c9_0", 0); /* ICH_AP1R0 */
    else
        mmio32(GICH + 0xf0) = 0;
    set_vmcr(OPEN);
    set_hcr(EN);
}

/* ---- the guest's side ---- */

static struct {
    u64 count, intid[4], states, maintenance, reasons, order;
    bool keep;
} guest[MAX_CPUS];
#define my guest[cpu->id]

static u64 guest_acknowledge(void) { return v3() ? read_sys("s3_0_c12_c12_0") : mmio32(GICV + 0xc); }

static void guest_end(u64 iar)
{
    if (v3())
        write_sys("s3_0_c12_c12_1", iar);
    else
        mmio32(GICV + 0x10) = iar;
}

/* Code of EL1 between its interrupts: ends once as many have been taken as are waited for. */
static void guest_waits(u64 n)
{
    while (__atomic_load_n(&my.count, __ATOMIC_SEQ_CST) < n) {
    }
}

/* The same, but nothing should come. */
static void guest_idles(void)
{
    for (u64 i = 0; i < 1000; i++)
        relax();
}

static bool take_both(struct trap *t, u64 level)
{
    if ((t->vector & 3) != 1)
        return false;
    if (level == 1) {
        u64 iar = guest_acknowledge();
        if ((iar & 0x3ff) >= 1020)
            die("a spurious virtual interrupt");
        my.intid[my.count & 3] = iar & 0x3ff;
        if (!my.keep)
            guest_end(iar);
        __atomic_add_fetch(&my.count, 1, __ATOMIC_SEQ_CST);
        return true;
    }
    u64 iar = acknowledge();
    if ((iar & 0x3ff) == SPURIOUS)
        return true;
    check_eq("maintenance", iar & 0x3ff, MAINTENANCE);
    my.reasons = misr();
    my.maintenance++;
    set_hcr(EN);
    for (u64 n = 0; n < 4; n++)
        if (eisr() >> n & 1)
            set_lr(n, 0, 0, 0);
    end(iar);
    return true;
}

/* Runs EL1 with interrupts on until it has taken n; with 0, for a while. */
static void run_guest(u64 n)
{
    trap_clear();
    my.count = my.maintenance = my.reasons = 0;
    run(EL1H & ~I_MASK, n ? (void *)guest_waits : (void *)guest_idles, n, (u64)cpu, 0, 0);
    check_eq("taken", my.count, n);
}

/* ---- checks ---- */

static void deliver(void)
{
    clear();
    check_eq("all are free", elrsr() & 15, 15);
    run_guest(0);
    set_lr(0, VIRTUAL, 0x80, PENDING);
    check_eq("one is not", elrsr() & 15, 14);
    check_eq("it waits", lr(0) & STATE, PENDING);
    run_guest(1);
    check_eq("INTID", my.intid[0], VIRTUAL);
    check_eq("it has ended", lr(0) & STATE, 0);
    check_eq("free again", elrsr() & 15, 15);
    check_eq("no maintenance", my.maintenance, 0);
    run_guest(0);
    /* Active until its end. */
    set_lr(0, VIRTUAL, 0x80, PENDING);
    my.keep = true;
    run_guest(1);
    my.keep = false;
    check_eq("active", lr(0) & STATE, ACTIVE_);
    set_lr(1, OTHER, 0x80, PENDING);
    run_guest(0);
    set_lr(1, OTHER, 0x40, PENDING);
    run_guest(1);
    check_eq("a more urgent one", my.intid[0], OTHER);
    clear();
    /* By priority. */
    set_lr(2, VIRTUAL, 0x80, PENDING);
    set_lr(3, OTHER, 0x40, PENDING);
    run_guest(2);
    check_eq("the more urgent one first", my.intid[0], OTHER);
    check_eq("then the other", my.intid[1], VIRTUAL);
    /* What holds it back: the interface off, its group off, its mask, the routing of IRQs. */
    clear();
    set_lr(0, VIRTUAL, 0x80, PENDING);
    set_hcr(0);
    run_guest(0);
    set_hcr(EN);
    set_vmcr(0xf8ul << 24);
    run_guest(0);
    set_vmcr(0x80ul << 24 | GROUP_ON);
    run_guest(0);
    set_vmcr(OPEN);
    u64 hcr = read_sys("hcr_el2");
    write_sys("hcr_el2", hcr & ~(1ul << 4));
    run_guest(0);
    write_sys("hcr_el2", hcr);
    run_guest(1);
    /* One without list registers. */
    clear();
    write_sys("hcr_el2", hcr | 1ul << 7);
    check_eq("EL1 sees it pending", run_insn(EL1H, MRS_X0(3, 0, 12, 1, 0), 0, 0), I_MASK);
    check_no_trap("ISR_EL1");
    check_eq("EL2 does not", read_sys("isr_el1"), 0);
    write_sys("hcr_el2", hcr);
}

static void maintain(void)
{
    priority(MAINTENANCE, 0x80);
    set(ENABLE, MAINTENANCE);
    clear();
    set_lr(1, VIRTUAL, 0x80, PENDING | TELL_END);
    run_guest(1);
    check_eq("an end", my.maintenance, 1);
    check_eq("why", my.reasons, 1);
    check_eq("free again", elrsr() & 15, 15);
    /* At most one is valid. */
    clear();
    set_lr(0, VIRTUAL, 0x80, PENDING);
    set_lr(1, OTHER, 0x40, PENDING);
    set_hcr(EN | UIE);
    check_eq("not yet", misr(), 0);
    run_guest(2);
    check_eq("underflow", my.maintenance, 1);
    check_eq("why", my.reasons, 2);
    /* None is pending. */
    clear();
    set_lr(0, VIRTUAL, 0x80, PENDING);
    set_hcr(EN | NPIE);
    check_eq("not yet", misr(), 0);
    run_guest(1);
    check_eq("none pending", my.maintenance, 1);
    check_eq("why", my.reasons, 8);
    /* An end of what is in no list register. */
    clear();
    set_lr(0, VIRTUAL, 0x80, PENDING);
    my.keep = true;
    run_guest(1);
    my.keep = false;
    set_lr(0, 0, 0, 0);
    set_hcr(EN | LRENPIE);
    trap_clear();
    my.maintenance = my.reasons = 0;
    run(EL1H & ~I_MASK, (void *)guest_end, VIRTUAL, 0, 0, 0);
    unmask();
    remask();
    check_eq("no entry", my.maintenance, 1);
    check_eq("why", my.reasons, 4);
    set(DISABLE, MAINTENANCE);
    check_eq("nothing without the interface", (set_hcr(NPIE), get(PEND, MAINTENANCE)), 0);
    clear();
}

/* A virtual interrupt that stands for a physical one ends both. */
static void hardware(void)
{
    clear();
    priority(PHYSICAL, 0x80);
    set(ACTIVE, PHYSICAL);
    check("the physical one is active", get(ACTIVE, PHYSICAL));
    set_lr(0, VIRTUAL, 0x80, PENDING | HARDWARE | (u64)PHYSICAL << 32);
    run_guest(1);
    check_eq("INTID", my.intid[0], VIRTUAL);
    check("the physical one has ended", !get(ACTIVE, PHYSICAL));
    check_eq("the virtual one, too", lr(0) & STATE, 0);
    clear();
}

/* What a guest of version 3 may not do itself. */
static void traps(void)
{
    if (!v3())
        return;
    clear();
    run_insn(EL1H, MSR_X0(3, 0, 12, 11, 5), 0, 0);
    check_trap("ICC_SGI1R", 2, EC(SYSTEM) | SYSTEM_ISS(3, 0, 12, 11, 5, 0, 0));
    run_insn(EL1H, MRS_X0(3, 0, 12, 12, 2), 0, 0);
    check_no_trap("ICC_HPPIR1");
    set_hcr(EN | 1ul << 12); /* TALL1 */
    run_insn(EL1H, MRS_X0(3, 0, 12, 12, 2), 0, 0);
    check_trap("ICC_HPPIR1 with TALL1", 2, EC(SYSTEM) | SYSTEM_ISS(3, 0, 12, 12, 2, 0, 1));
    set_hcr(EN | 1ul << 10); /* TC */
    run_insn(EL1H, MRS_X0(3, 0, 4, 6, 0), 0, 0);
    check_trap("ICC_PMR with TC", 2, EC(SYSTEM) | SYSTEM_ISS(3, 0, 4, 6, 0, 0, 1));
    set_hcr(EN);
    check_eq("its own mask", run_insn(EL1H, MRS_X0(3, 0, 4, 6, 0), 0, 0), 0xf8);
    check_no_trap("ICC_PMR");
    run_insn(EL1H, MRS_X0(3, 4, 12, 11, 0), 0, 0);
    check_trap("ICH_HCR at EL1", 1, EC(UNKNOWN));
    clear();
}

void rom_main(void)
{
    if (cpu->home != 2)
        return;
    cpu->hook = take_both;
    gic_on();
    barrier();
    u64 registers = (v3() ? read_sys("s3_4_c12_c11_1") : mmio32(GICH + 4)) & 31;
    check("list registers", registers >= 3);
    check_eq("the control is its own", (set_hcr(EN), ich_hcr()), EN);
    deliver();
    maintain();
    hardware();
    traps();
    set_hcr(0);
    barrier();
    cpu->hook = 0;
}
