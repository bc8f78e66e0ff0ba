/* The GIC, version 2 or 3: shared, private and software generated interrupts, priorities, LPIs by the ITS; and the generic
 * timers. At the home level, as its own interrupts. */
#include "rt.h"

const char rom_name[] = "interrupts";

#define SPURIOUS 1023
/* Lines that nothing is connected to. */
#define SPI 90
#define SPI2 91
#define LPI 8192

static bool v3(void) { return gic_version == 3; }

/* ---- the CPU interface ---- */

static u64 acknowledge(void) { return v3() ? read_sys("s3_0_c12_c12_0") : mmio32(GICC + 0xc); }

static void end(u64 iar)
{
    if (v3())
        write_sys("s3_0_c12_c12_1", iar);
    else
        mmio32(GICC + 0x10) = iar;
}

static void mask(u64 priority)
{
    if (v3())
        write_sys("s3_0_c4_c6_0", priority);
    else
        mmio32(GICC + 4) = priority;
}

/* ---- the distributor and redistributors ---- */

static u64 frame(void) { return GICR + 0x20000 * cpu->id; }

/* Registers with a bit for each interrupt: private ones are in the CPU's own frame. */
static volatile u32 *bits(u64 offset, u64 intid)
{
    u64 base = v3() && intid < 32 ? frame() + 0x10000 : GICD;
    return (volatile u32 *)(base + offset + intid / 32 * 4);
}

#define GROUP 0x80
#define ENABLE 0x100
#define DISABLE 0x180
#define PEND 0x200
#define UNPEND 0x280
#define ACTIVE 0x300
#define INACTIVE 0x380

static bool get(u64 offset, u64 intid) { return *bits(offset, intid) >> (intid % 32) & 1; }
static void set(u64 offset, u64 intid) { *bits(offset, intid) = 1u << (intid % 32); }

static void priority(u64 intid, u8 value)
{
    u64 base = v3() && intid < 32 ? frame() + 0x10000 : GICD;
    mmio8(base + 0x400 + intid) = value;
}

static void edge(u64 intid)
{
    volatile u32 *config = (volatile u32 *)(GICD + 0xc00 + intid / 16 * 4);
    *config = (*config & ~(3u << (intid % 16 * 2))) | 2u << (intid % 16 * 2);
}

static void target(u64 intid, u64 id)
{
    if (v3())
        mmio64(GICD + 0x6000 + 8 * intid) = id;
    else
        mmio8(GICD + 0x800 + intid) = 1u << id;
}

static void software(u64 intid, u64 id)
{
    dsb();
    if (v3())
        write_sys("s3_0_c12_c11_5", intid << 24 | 1ul << id);
    else
        mmio32(GICD + 0xf00) = 1ul << (16 + id) | intid;
}

static void software_others(u64 intid)
{
    dsb();
    if (v3())
        write_sys("s3_0_c12_c11_5", 1ul << 40 | intid << 24);
    else
        mmio32(GICD + 0xf00) = 1ul << 24 | intid;
}

static void gic_on(void)
{
    if (cpu->id == 0)
        mmio32(GICD) = v3() ? 0x12 : 1;
    barrier();
    if (v3()) {
        mmio32(frame() + 0x14) &= ~2u;
        while (mmio32(frame() + 0x14) & 4) {
        }
        mmio32(frame() + 0x10080) = ~0u;
        if (cpu->home == 2)
            write_sys("s3_4_c12_c9_5", 15); /* ICC_SRE_EL2 */
        write_sys("s3_0_c12_c12_5", 7);     /* ICC_SRE_EL1 */
        write_sys("s3_0_c12_c12_3", 0);     /* ICC_BPR1_EL1 */
        write_sys("s3_0_c12_c12_4", 0);     /* ICC_CTLR_EL1 */
        write_sys("s3_0_c12_c12_7", 1);     /* ICC_IGRPEN1_EL1 */
    } else {
        mmio32(GICC + 8) = 0;
        mmio32(GICC) = 1;
    }
    mask(0xff);
    if (cpu->home == 2)
        /* Physical interrupts come to EL2. */
        write_sys("hcr_el2", read_sys("hcr_el2") | 7ul << 3);
}

/* ---- taking them ---- */

static struct {
    u64 count, intid, source, active;
    void (*then)(void);
} taken[MAX_CPUS];
#define mine taken[cpu->id]

static bool take(struct trap *t, u64 level)
{
    if ((t->vector & 3) == 0)
        return false;
    u64 iar = acknowledge();
    u64 intid = iar & 0xffffff & (v3() ? ~0ul : 0x3ff);
    if (intid == SPURIOUS)
        return true;
    check_eq("level", level, cpu->home);
    check_eq("vector of an IRQ", t->vector & 3, 1);
    mine.intid = intid;
    mine.source = v3() ? 0 : iar >> 10 & 7;
    mine.active = intid < 1020 ? get(ACTIVE, intid) : 1;
    if (mine.then)
        mine.then();
    end(iar);
    __atomic_add_fetch(&mine.count, 1, __ATOMIC_SEQ_CST);
    return true;
}

static void unmask(void) { __asm__ volatile("msr daifclr, #2" ::: "memory"); }
static void remask(void) { __asm__ volatile("msr daifset, #2" ::: "memory"); }

static void forget(void)
{
    mine.count = mine.intid = 0;
    mine.then = 0;
}

/* Waits until `n` interrupts have been taken. */
static void await(u64 n)
{
    unmask();
    while (__atomic_load_n(&mine.count, __ATOMIC_SEQ_CST) < n)
        relax();
    remask();
}

/* Gives an interrupt that should not come some time. */
static void expect_none(const char *name)
{
    unmask();
    for (u64 i = 0; i < 1000; i++)
        relax();
    remask();
    check_eq(name, mine.count, 0);
}

/* ---- checks ---- */

static void shared(void)
{
    for (u64 id = 0; id < n_cpus; id++) {
        cpu->item = id + 1;
        barrier();
        forget();
        if (cpu->id == 0) {
            if (v3())
                *bits(GROUP, SPI) = ~0u;
            edge(SPI);
            priority(SPI, 0x80);
            target(SPI, id);
            set(DISABLE, SPI);
            set(PEND, SPI);
            check("pending", get(PEND, SPI));
        }
        barrier();
        expect_none("a disabled interrupt");
        barrier();
        if (cpu->id == 0)
            set(ENABLE, SPI);
        if (cpu->id == id) {
            await(1);
            check_eq("INTID", mine.intid, SPI);
            check_eq("active meanwhile", mine.active, 1);
            check("no longer active", !get(ACTIVE, SPI));
            check("no longer pending", !get(PEND, SPI));
            forget();
            expect_none("it comes once");
        }
        barrier();
    }
    cpu->item = 0;
    if (cpu->id == 0) {
        /* The other, more urgent one comes first; in its handler the first does not come. */
        if (v3())
            *bits(GROUP, SPI2) = ~0u;
        edge(SPI2);
        target(SPI, 0);
        target(SPI2, 0);
        priority(SPI2, 0x40);
        set(ENABLE, SPI2);
        forget();
        set(PEND, SPI);
        set(PEND, SPI2);
        u64 first = acknowledge();
        check_eq("the more urgent one", first & 0x3ff, SPI2);
        check_eq("the other waits", acknowledge() & 0x3ff, SPURIOUS);
        end(first);
        u64 second = acknowledge();
        check_eq("now the other", second & 0x3ff, SPI);
        /* A more urgent one may interrupt it. */
        set(PEND, SPI2);
        u64 nested = acknowledge();
        check_eq("nested", nested & 0x3ff, SPI2);
        end(nested);
        end(second);
        /* The mask lets through what is more urgent. */
        mask(0x60);
        set(PEND, SPI);
        check_eq("masked", acknowledge() & 0x3ff, SPURIOUS);
        set(UNPEND, SPI);
        check("taken back", !get(PEND, SPI));
        mask(0xff);
        check_eq("nothing is left", acknowledge() & 0x3ff, SPURIOUS);
        set(DISABLE, SPI);
        set(DISABLE, SPI2);
    }
    barrier();
}

static void between_cpus(void)
{
    priority(3, 0x80);
    priority(4, 0x80);
    set(ENABLE, 3);
    set(ENABLE, 4);
    /* In turn, each to each, itself too. */
    for (u64 from = 0; from < n_cpus; from++)
        for (u64 to = 0; to < n_cpus; to++) {
            barrier();
            forget();
            barrier();
            if (cpu->id == from)
                software(3, to);
            if (cpu->id == to) {
                await(1);
                check_eq("SGI", mine.intid, 3);
                check_eq("its source", mine.source, v3() ? 0 : from);
            }
            barrier();
            if (cpu->id != to)
                check_eq("SGI of another", mine.count, 0);
        }
    barrier();
    forget();
    barrier();
    if (cpu->id == 0)
        software_others(4);
    else
        await(1);
    barrier();
    check_eq("SGI to all others", mine.count, cpu->id ? 1 : 0);
    /* One that sleeps. */
    for (u64 i = 0; i < 20; i++) {
        barrier();
        forget();
        barrier();
        if (cpu->id == 0) {
            software_others(4);
        } else {
            /* A masked interrupt ends WFI, too. */
            while (!(read_sys("isr_el1") & I_MASK))
                wfi();
            await(1);
        }
    }
    barrier();
}

/* ---- timers ---- */

#define TIMER_CHECKS(name, ctl, cval, tval, counter, number)                                                      \
    do {                                                                                                         \
        cpu->variant = name;                                                                                     \
        forget();                                                                                                \
        mine.then = stop_timers;                                                                                 \
        priority(number, 0x80);                                                                                   \
        set(ENABLE, number);                                                                                      \
        u64 start = read_sys(counter);                                                                           \
        write_sys(tval, 200000);                                                                                 \
        check("TVAL", (int)read_sys(tval) <= 200000);                                                            \
        check("CVAL", read_sys(cval) - start >= 200000);                                                         \
        write_sys(ctl, 3);                                                                                       \
        while (!(read_sys(ctl) & 4)) {                                                                           \
        }                                                                                                        \
        check("not before its time", read_sys(counter) >= read_sys(cval));                                       \
        check("TVAL goes on below zero", (int)read_sys(tval) <= 0);                                              \
        expect_none("a masked timer");                                                                           \
        write_sys(ctl, 1);                                                                                       \
        await(1);                                                                                                \
        check_eq("INTID", mine.intid, number);                                                                    \
        check_eq("off", read_sys(ctl) & 5, 0);                                                                   \
        /* One that is not due yet, asleep. */                                                                   \
        forget();                                                                                                \
        mine.then = stop_timers;                                                                                 \
        write_sys(cval, read_sys(counter) + 2000000);                                                            \
        write_sys(ctl, 1);                                                                                       \
        while (!(read_sys("isr_el1") & I_MASK))                                                                  \
            wfi();                                                                                               \
        check("not before its time", read_sys(counter) >= read_sys(cval));                                       \
        await(1);                                                                                                \
        set(DISABLE, number);                                                                                     \
        cpu->variant = 0;                                                                                        \
    } while (0)

static void stop_timers(void)
{
    write_sys("cntv_ctl_el0", 0);
    write_sys("cntp_ctl_el0", 0);
    if (cpu->home == 2) {
        write_sys("cnthp_ctl_el2", 0);
        if (field(read_sys("id_aa64mmfr1_el1"), 8))
            write_sys("s3_4_c14_c3_1", 0);
    }
}

static void timers(void)
{
    u64 a = read_sys("cntpct_el0"), b = read_sys("cntpct_el0");
    check("the counter counts", b >= a);
    check("its frequency", read_sys("cntfrq_el0") >= 1000000);
    TIMER_CHECKS("virtual timer", "cntv_ctl_el0", "cntv_cval_el0", "cntv_tval_el0", "cntvct_el0", 27);
    TIMER_CHECKS("physical timer", "cntp_ctl_el0", "cntp_cval_el0", "cntp_tval_el0", "cntpct_el0", 30);
    if (cpu->home == 2) {
        TIMER_CHECKS("hypervisor's timer", "cnthp_ctl_el2", "cnthp_cval_el2", "cnthp_tval_el2", "cntpct_el0", 26);
        if (field(read_sys("id_aa64mmfr1_el1"), 8))
            TIMER_CHECKS("hypervisor's virtual timer", "s3_4_c14_c3_1", "s3_4_c14_c3_2", "s3_4_c14_c3_0", "cntpct_el0", 28);
        write_sys("cntvoff_el2", 1ul << 40);
        u64 physical = read_sys("cntpct_el0"), virt = read_sys("cntvct_el0");
        check("the virtual counter's offset", virt - (physical - (1ul << 40)) < 1ul << 36);
        write_sys("cntvoff_el2", 0);
    }
}

/* ---- LPIs ---- */

static u8 properties[16384] __attribute__((aligned(65536)));
static u8 pending[MAX_CPUS][65536] __attribute__((aligned(65536)));
static u8 tables[8][65536] __attribute__((aligned(65536)));
static u64 commands[8192] __attribute__((aligned(65536)));

static void command(u64 a, u64 b, u64 c, u64 d)
{
    u64 at = mmio64(GITS + 0x88);
    u64 *entry = commands + at / 8;
    entry[0] = a, entry[1] = b, entry[2] = c, entry[3] = d;
    dsb();
    u64 next = (at + 32) % 65536;
    mmio64(GITS + 0x88) = next;
    while ((mmio64(GITS + 0x90) & 0xfffe0) != next) {
        if (mmio64(GITS + 0x90) & 1)
            die("the ITS has stalled");
    }
}

static void its_on(void)
{
    for (u64 i = 0; i < 8; i++) {
        u64 baser = mmio64(GITS + 0x100 + 8 * i), type = baser >> 56 & 7;
        /* Flat, one 64 KiB page. */
        if (type)
            mmio64(GITS + 0x100 + 8 * i) = 1ul << 63 | (baser & 7ul << 56) | (u64)tables[i] | 2ul << 8;
    }
    mmio64(GITS + 0x80) = 1ul << 63 | (u64)commands | 15;
    mmio64(GITS + 0x88) = 0;
    mmio32(GITS) = 1;
}

static void messages(void)
{
    if (!v3())
        return;
    barrier();
    if (cpu->id == 0)
        for (u64 i = 0; i < 64; i++)
            properties[i] = 0xa0 | 3;
    barrier();
    if (cpu->home == 1 || cpu->home == 2) {
        mmio64(frame() + 0x70) = (u64)properties | 13;
        mmio64(frame() + 0x78) = (u64)pending[cpu->id] | 1ul << 62;
        mmio32(frame()) = 1;
    }
    barrier();
    u64 pta = mmio64(GITS + 8) >> 19 & 1;
    static u64 itt[512] __attribute__((aligned(256)));
    if (cpu->id == 0) {
        its_on();
        /* Collection n is CPU n; device 7 has 16 events. */
        for (u64 id = 0; id < n_cpus; id++) {
            u64 where = pta ? (GICR + 0x20000 * id) >> 16 : id;
            command(0x09, 0, 1ul << 63 | where << 16 | id, 0);
            command(0x05, 0, where << 16, 0);
        }
        command(0x08 | 7ul << 32, 3, 1ul << 63 | (u64)itt, 0);
        for (u64 event = 0; event < n_cpus; event++)
            command(0x0a | 7ul << 32, event | (LPI + event) << 32, event, 0);
        command(0x0d, 0, 0, 0);
    }
    for (u64 id = 0; id < n_cpus; id++) {
        cpu->item = id + 1;
        barrier();
        forget();
        barrier();
        if (cpu->id == 0)
            command(0x03 | 7ul << 32, id, 0, 0); /* INT */
        if (cpu->id == id) {
            await(1);
            check_eq("LPI", mine.intid, LPI + id);
        }
        barrier();
        check_eq("LPIs", mine.count, cpu->id == id);
    }
    /* Moved to another CPU; disabled by its property; dropped. */
    u64 to = n_cpus - 1;
    barrier();
    forget();
    barrier();
    if (cpu->id == 0) {
        command(0x01 | 7ul << 32, 0, to, 0); /* MOVI */
        command(0x03 | 7ul << 32, 0, 0, 0);
    }
    if (cpu->id == to) {
        await(1);
        check_eq("a moved LPI", mine.intid, LPI);
    }
    barrier();
    forget();
    barrier();
    if (cpu->id == 0) {
        properties[0] &= ~1;
        dsb();
        command(0x0c | 7ul << 32, 0, 0, 0); /* INV */
        command(0x03 | 7ul << 32, 0, 0, 0);
    }
    barrier();
    expect_none("a disabled LPI");
    barrier();
    if (cpu->id == 0) {
        command(0x04 | 7ul << 32, 0, 0, 0); /* CLEAR */
        properties[0] |= 1;
        dsb();
        command(0x0c | 7ul << 32, 0, 0, 0);
    }
    barrier();
    expect_none("a cleared LPI");
    barrier();
    cpu->item = 0;
}

void rom_main(void)
{
    if (cpu->home == 3)
        return;
    cpu->hook = take;
    gic_on();
    barrier();
    shared();
    between_cpus();
    timers();
    messages();
    barrier();
    cpu->hook = 0;
}
