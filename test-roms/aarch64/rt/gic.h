/* The GIC, version 2 or 3, of ROMs that take its interrupts as their own, at the home level. */
#ifndef GIC_H
#define GIC_H

#include "rt.h"

#define SPURIOUS 1023

static inline bool v3(void) { return gic_version == 3; }

/* ---- the CPU interface ---- */

static inline u64 acknowledge(void) { return v3() ? read_sys("s3_0_c12_c12_0") : mmio32(GICC + 0xc); }

static inline void end(u64 iar)
{
    if (v3())
        write_sys("s3_0_c12_c12_1", iar);
    else
        mmio32(GICC + 0x10) = iar;
}

static inline void mask(u64 priority)
{
    if (v3())
        write_sys("s3_0_c4_c6_0", priority);
    else
        mmio32(GICC + 4) = priority;
}

/* ---- the distributor and redistributors ---- */

static inline u64 frame(void) { return GICR + 0x20000 * cpu->id; }

/* Registers with a bit for each interrupt: private ones are in the CPU's own frame. */
static inline volatile u32 *bits(u64 offset, u64 intid)
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

static inline bool get(u64 offset, u64 intid) { return *bits(offset, intid) >> (intid % 32) & 1; }
static inline void set(u64 offset, u64 intid) { *bits(offset, intid) = 1u << (intid % 32); }

static inline void priority(u64 intid, u8 value)
{
    u64 base = v3() && intid < 32 ? frame() + 0x10000 : GICD;
    mmio8(base + 0x400 + intid) = value;
}

static inline void edge(u64 intid)
{
    volatile u32 *config = (volatile u32 *)(GICD + 0xc00 + intid / 16 * 4);
    *config = (*config & ~(3u << (intid % 16 * 2))) | 2u << (intid % 16 * 2);
}

static inline void target(u64 intid, u64 id)
{
    if (v3())
        mmio64(GICD + 0x6000 + 8 * intid) = id;
    else
        mmio8(GICD + 0x800 + intid) = 1u << id;
}

static inline void software(u64 intid, u64 id)
{
    dsb();
    if (v3())
        write_sys("s3_0_c12_c11_5", intid << 24 | 1ul << id);
    else
        mmio32(GICD + 0xf00) = 1ul << (16 + id) | intid;
}

static inline void software_others(u64 intid)
{
    dsb();
    if (v3())
        write_sys("s3_0_c12_c11_5", 1ul << 40 | intid << 24);
    else
        mmio32(GICD + 0xf00) = 1ul << 24 | intid;
}

static inline void wake_redistributor(void)
{
    mmio32(frame() + 0x14) &= ~2u; /* GICR_WAKER */
    while (mmio32(frame() + 0x14) & 4) {
    }
}

static inline void gic_on(void)
{
    if (cpu->id == 0)
        mmio32(GICD) = v3() ? 0x12 : 1;
    barrier();
    if (v3()) {
        wake_redistributor();
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

static inline bool take(struct trap *t, u64 level)
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

static inline void unmask(void) { __asm__ volatile("msr daifclr, #2" ::: "memory"); }
static inline void remask(void) { __asm__ volatile("msr daifset, #2" ::: "memory"); }

static inline void forget(void)
{
    mine.count = mine.intid = 0;
    mine.then = 0;
}

/* Waits until `n` interrupts have been taken. */
static inline void await(u64 n)
{
    unmask();
    while (__atomic_load_n(&mine.count, __ATOMIC_SEQ_CST) < n)
        relax();
    remask();
}

/* Gives an interrupt that should not come some time. */
static inline void expect_none(const char *name)
{
    unmask();
    for (u64 i = 0; i < 1000; i++)
        relax();
    remask();
    check_eq(name, mine.count, 0);
}

#endif
