/* PSCI: versions and features, CPU_ON and CPU_OFF, affinity, suspending, a reset of the machine. By HVC or SMC, as the
 * device tree says. */
#include "gic.h"

const char rom_name[] = "psci";
bool rom_starts_all = false;

#define NOT_SUPPORTED (-1l)
#define INVALID_PARAMETERS (-2l)
#define ALREADY_ON (-4l)
#define ON 0
#define OFF 1

static u64 entered[MAX_CPUS], contexts[MAX_CPUS], levels[MAX_CPUS], states[MAX_CPUS];

/* Where the others begin: x0 is the context. The stack is below what it points to. */
void second(u64 context);
__asm__(".globl second_entry\nsecond_entry:\nmov sp, x0\nmrs x1, CurrentEL\nmrs x2, daif\nb second\n");
extern const u8 second_entry[];

static u64 stacks[MAX_CPUS][512] __attribute__((aligned(16)));
static u32 go_off;

void second(u64 context)
{
    register u64 level __asm__("x1");
    register u64 daif __asm__("x2");
    u64 found_level, found_daif;
    __asm__ volatile("mov %0, x1\nmov %1, x2" : "=r"(found_level), "=r"(found_daif) : "r"(level), "r"(daif));
    u64 id = read_sys("mpidr_el1") & 0xff;
    contexts[id] = context;
    levels[id] = found_level >> 2;
    states[id] = found_daif;
    __atomic_add_fetch(&entered[id], 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&go_off, __ATOMIC_SEQ_CST))
        relax();
    psci(PSCI_CPU_OFF, 0, 0, 0);
    die("CPU_OFF returned");
}

static void others(void)
{
    for (u64 round = 1; round <= 3; round++) {
        cpu->item = round;
        __atomic_store_n(&go_off, 0, __ATOMIC_SEQ_CST);
        for (u64 id = 1; id < n_cpus; id++) {
            check_eq("off", psci(PSCI_AFFINITY, id, 0, 0), OFF);
            check_eq("CPU_ON", psci(PSCI_CPU_ON, id, (u64)second_entry, (u64)stacks[id + 1 < MAX_CPUS ? id + 1 : 0]), 0);
            while (__atomic_load_n(&entered[id], __ATOMIC_SEQ_CST) < round)
                relax();
            check_eq("on", psci(PSCI_AFFINITY, id, 0, 0), ON);
            check_eq("CPU_ON of one that is on", psci(PSCI_CPU_ON, id, (u64)second_entry, 0), ALREADY_ON);
            check_eq("its context", contexts[id], (u64)stacks[id + 1 < MAX_CPUS ? id + 1 : 0]);
            check_eq("its level", levels[id], cpu->home);
            check_eq("its interrupts are masked", states[id], DAIF);
        }
        __atomic_store_n(&go_off, 1, __ATOMIC_SEQ_CST);
        for (u64 id = 1; id < n_cpus; id++)
            while (psci(PSCI_AFFINITY, id, 0, 0) != OFF)
                relax();
    }
    cpu->item = 0;
}

static bool woken(struct trap *t, u64 level)
{
    (void)t, (void)level;
    return false;
}

static void suspend(void)
{
    /* A pending interrupt, though masked, ends it: the virtual timer, or at EL2 its own. */
    cpu->hook = woken;
    u64 intid = cpu->home == 1 ? 27 : 26;
    if (gic_version == 3) {
        mmio32(GICD) = 0x12;
        wake_redistributor();
        mmio32(frame() + 0x10080) = ~0u;
        mmio32(frame() + 0x10100) = 1u << intid;
        write_sys("s3_0_c12_c12_5", 7); /* ICC_SRE_EL1 */
        write_sys("s3_0_c4_c6_0", 0xff);
        write_sys("s3_0_c12_c12_7", 1);
    } else {
        mmio32(GICD) = 3;
        mmio32(GICD + 0x100) = 1u << intid;
        mmio32(GICC + 4) = 0xff;
        mmio32(GICC) = 3;
    }
    if (cpu->home == 1) {
        write_sys("cntv_tval_el0", 1000000);
        write_sys("cntv_ctl_el0", 1);
    } else {
        write_sys("cnthp_tval_el2", 1000000);
        write_sys("cnthp_ctl_el2", 1);
    }
    check_eq("CPU_SUSPEND, standby", psci(PSCI_SUSPEND, 0, 0, 0), 0);
    /* QEMU's may return at once. */
    if (!on_qemu())
        check("the interrupt is pending", (read_sys("isr_el1") & (I_MASK | F_MASK)) != 0);
    write_sys("cntv_ctl_el0", 0);
    if (cpu->home == 2)
        write_sys("cnthp_ctl_el2", 0);
    cpu->hook = 0;
}

/* In RAM that no image reaches, so that a reset leaves it. */
#define MARK mmio64(RAM + (96ul << 20))
#define CHECKS mmio64(RAM + (96ul << 20) + 8)
#define MAGIC 0x5e5e7a6c0ffee123ul

void rom_main(void)
{
    if (!psci_conduit)
        return;
    if (MARK == MAGIC) {
        /* The second life. */
        MARK = 0;
        cpu->checks = CHECKS;
        check("the machine has been reset", true);
        return;
    }
    u64 version = psci(PSCI_VERSION, 0, 0, 0);
    check("version", version >= 0x10000 && version < 0x20000);
    static const u64 functions[] = {PSCI_VERSION, PSCI_SUSPEND, PSCI_CPU_OFF, PSCI_CPU_ON, PSCI_AFFINITY, PSCI_OFF, PSCI_RESET};
    for (u64 i = 0; i < sizeof functions / sizeof *functions; i++)
        check("feature", psci(PSCI_FEATURES, functions[i], 0, 0) >= 0);
    check_eq("no such feature", psci(PSCI_FEATURES, 0x840000ff, 0, 0), NOT_SUPPORTED);
    check_eq("no such function", (i64)psci(0x840000ff, 0, 0, 0), NOT_SUPPORTED);
    check_eq("CPU_ON of oneself", psci(PSCI_CPU_ON, 0, (u64)second_entry, 0), ALREADY_ON);
    check_eq("CPU_ON of nobody", psci(PSCI_CPU_ON, 0xff00, (u64)second_entry, 0), INVALID_PARAMETERS);
    check_eq("affinity of nobody", psci(PSCI_AFFINITY, 0xff00, 0, 0), INVALID_PARAMETERS);
    others();
    suspend();
    MARK = MAGIC;
    CHECKS = cpu->checks;
    psci(PSCI_RESET, 0, 0, 0);
    die("SYSTEM_RESET returned");
}
