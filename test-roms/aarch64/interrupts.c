/* The GIC, version 2 or 3: shared, private and software generated interrupts, priorities, LPIs by the ITS; and the generic
 * timers. At the home level, as its own interrupts. */
#include "gic.h"

const char rom_name[] = "interrupts";

/* Lines that nothing is connected to. */
#define SPI 90
#define SPI2 91
#define LPI 8192

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
