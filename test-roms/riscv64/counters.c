/* cycle, time, instret and the programmable counters; mcountinhibit; overflow interrupts (Sscofpmf).
 *
 * Events, as in the device tree's `riscv,event-to-mhpmevent` of this board: mhpmevent 1 counts cycles, 2 instructions. */
#include "rt.h"

const char rom_name[] = "counters";

/* QEMU counts instructions only with -icount; say icount=1 in the bootargs if it runs so. */
static bool exact(void) { return !on_qemu() || param("icount", 0); }

/* ---- instret ---- */

#define C_NOP2 0x00010001u /* two compressed ones */

static void exact_counts(u64 mode)
{
    static const struct {
        u32 words[6];
        u32 n;       /* words */
        u32 retires; /* instructions in them, as executed with a0 = 5, a1 = 0 */
        const char *name;
    } table[] = {
        {{NOP}, 0, 0, "nothing"},
        {{NOP, NOP, NOP}, 3, 3, "nops"},
        {{C_NOP2, C_NOP2, C_NOP2}, 3, 6, "compressed nops"},
        {{0xfff50513 /* addi a0, a0, -1 */, 0xfe051ee3 /* bnez a0, -4 */}, 2, 10, "a loop"},
        {{0x0080006f /* j +8 */, NOP, NOP}, 3, 2, "a jump over one"},
        {{0x00058463 /* beqz a1, +8 */, NOP, NOP}, 3, 2, "a branch taken"},
        {{0x00059463 /* bnez a1, +8 */, NOP, NOP}, 3, 3, "a branch not taken"},
        {{0x00000697 /* auipc a3, 0 */, 0x00c68067 /* jr 12(a3) */, NOP, NOP}, 4, 3, "an indirect jump over one"},
        {{LD(A3, A2), SD(A3, A2), LOAD(0u, A3, A2, 3)}, 3, 3, "memory"},
        {{AMO(0u, 3u, A3, 0u, A2), AMO(2u, 3u, A3, 0u, A2), AMO(3u, 3u, 0u, A3, A2)}, 3, 3, "atomics"},
        {{0x0ff0000f /* fence */, FENCE_I, 0x0100000f /* pause */}, 3, 3, "fences"},
        {{0x02b57553 /* fadd.d */, 0xe2050053 /* fmv.x.d x0 */}, 2, 2, "floating point"},
        {{CSRRS(A3, FCSR, 0), CSRRW(0, FFLAGS, 0)}, 2, 2, "CSRs"},
        {{0x02b54533 /* div */, 0x02b50533 /* mul */}, 2, 2, "multiply, divide"},
    };
    u32 counter = mode == M ? MINSTRET : INSTRET;
    csr_write(MCOUNTEREN, 7);
    csr_write(SCOUNTEREN, 7);
    for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
        u32 words[10];
        u64 n = 0;
        words[n++] = CSRRS(13u + 1, counter, 0); /* a4 */
        for (u64 k = 0; k < table[i].n; k++)
            words[n++] = table[i].words[k];
        words[n++] = CSRRS(13u + 2, counter, 0); /* a5 */
        run_insns(mode, words, n, 5, 0);
        check_eq("the program ran", hart->m.cause, ecall_from(mode));
        /* The first read counts too, the second does not yet. */
        if (exact())
            check_eq(table[i].name, hart->x[15] - hart->x[14], table[i].retires + 1);
        else
            check(table[i].name, hart->x[15] >= hart->x[14]);
    }
    csr_write(MCOUNTEREN, 0);
    csr_write(SCOUNTEREN, 0);
}

/* In S: to U by sret; the ebreak there comes back to the stvec code, which reads instret again. */
__asm__(".option push\n.option norvc\n"
        ".balign 4\n"
        "count_start: la t0, count_handler\n"
        "  csrw stvec, t0\n"
        "  la t0, count_user\n"
        "  csrw sepc, t0\n"
        "  csrr a0, instret\n"
        "  sret\n"
        "count_user: nop\n"
        "  ebreak\n"
        ".balign 4\n"
        "count_handler: csrr a1, instret\n"
        "  ecall\n"
        ".option pop\n");
extern const char count_start[];

/* A trapping instruction does not retire, xRET does. */
static void traps_do_not_retire(void)
{
    if (!exact())
        return;
    csr_write(MCOUNTEREN, 7);
    csr_write(MEDELEG, 1ul << BREAKPOINT);
    csr_clear(MSTATUS, MSTATUS_SPP);
    trap_clear();
    run(S, count_start, 0, 0, 0, 0);
    check_eq("sret, nop, ebreak: the end", hart->m.cause, ECALL_S);
    check_eq("csrr, sret, nop retire, ebreak does not", hart->x[A1] - hart->x[A0], 3);
    csr_write(STVEC, s_trap);
    csr_write(MEDELEG, 0);
    csr_write(MCOUNTEREN, 0);
}

static void written_counters(void)
{
    u64 before, after;
    __asm__ volatile("csrw minstret, %2\n csrr %0, minstret\n nop\n nop\n csrr %1, minstret"
                     : "=&r"(before), "=&r"(after)
                     : "r"(1000ul));
    /* The write is done instead of the increment (Zicsr); QEMU 11 does both. */
    if (exact() && !on_qemu()) {
        check_eq("the write of minstret is not counted in it", before, 1000);
        check_eq("what follows is", after, 1003);
    } else {
        check("minstret is writable", after - 1000 < 1ul << 40);
    }
    __asm__ volatile("csrw minstret, %1\n nop\n csrr %0, minstret" : "=&r"(after) : "r"(~0ul));
    if (exact() && !on_qemu())
        check_eq("minstret wraps", after, 0);
    csr_write(MCYCLE, 1ul << 40);
    u64 cycle = csr_read(MCYCLE);
    check("mcycle is writable", cycle >= 1ul << 40 && cycle < 1ul << 41);
    check("cycle is mcycle", csr_read(CYCLE) >= cycle);
    check("instret is minstret", csr_read(INSTRET) <= csr_read(MINSTRET));
    u64 bad = 0;
    for (u64 i = 0, last = csr_read(CYCLE); i < 1000; i++) {
        u64 now = csr_read(CYCLE);
        bad += now < last;
        last = now;
    }
    check_eq("cycle does not go back", bad, 0);
    u64 start = csr_read(MCYCLE);
    for (volatile u64 i = 0; i < 1000; i++) {
    }
    check("cycle advances", csr_read(MCYCLE) > start);
}

static void inhibit(void)
{
    csr_write(MCOUNTINHIBIT, 5);
    check_eq("mcountinhibit", csr_read(MCOUNTINHIBIT) & 7, 5);
    u64 cycle = csr_read(MCYCLE), instret = csr_read(MINSTRET), time = csr_read(TIME);
    while (csr_read(TIME) < time + 1000) {
    }
    check_eq("mcycle stands still", csr_read(MCYCLE), cycle);
    check_eq("minstret stands still", csr_read(MINSTRET), instret);
    check_eq("cycle too", csr_read(CYCLE), cycle);
    csr_write(MCYCLE, 500);
    csr_write(MINSTRET, 600);
    check_eq("mcycle can be written while it stands", csr_read(MCYCLE), 500);
    check_eq("minstret can be written while it stands", csr_read(MINSTRET), 600);
    csr_write(MCOUNTINHIBIT, 4);
    for (volatile u64 i = 0; i < 1000; i++) {
    }
    check("mcycle goes on", csr_read(MCYCLE) > 500);
    check_eq("minstret still stands", csr_read(MINSTRET), 600);
    csr_write(MCOUNTINHIBIT, 0);
    if (exact()) {
        u64 a, b;
        __asm__ volatile("csrw mcountinhibit, %2\n csrr %0, minstret\n nop\n csrw mcountinhibit, zero\n"
                         "nop\n nop\n csrr %1, minstret"
                         : "=&r"(a), "=&r"(b)
                         : "r"(4));
        /* Whether the two writes themselves count is open. */
        check("inhibit takes effect at once", b - a >= 2 && b - a <= 3);
    }
}

/* ---- programmable counters ---- */

#define OVERFLOW (1ul << 63)
#define MINH (1ul << 62)
#define SINH (1ul << 61)
#define UINH (1ul << 60)

static u64 csr_get(u32 csr) { return run_insn(M, CSRRS(A0, csr, 0), 0, 0); }
static void csr_put(u32 csr, u64 value) { run_insn(M, CSRRW(0, csr, A0), value, 0); }

static void programmable(void)
{
    u64 usable = 0;
    for (u32 i = 0; i < 29; i++) {
        hart->item = i + 3;
        csr_get(MHPMCOUNTER3 + i);
        check_eq("mhpmcounter exists", hart->m.cause, ECALL_M);
        csr_get(MHPMEVENT3 + i);
        check_eq("mhpmevent exists", hart->m.cause, ECALL_M);
        csr_put(MHPMEVENT3 + i, 0);
        check_eq("no event", csr_get(MHPMEVENT3 + i), 0);
        csr_put(MHPMCOUNTER3 + i, 0x123456789);
        u64 value = csr_get(MHPMCOUNTER3 + i);
        /* Either a counter, which without an event stands still, or zero. */
        check_one_of("mhpmcounter holds a value, or is zero", value, 0x123456789, 0);
        if (value) {
            usable++;
            csr_put(MHPMCOUNTER3 + i, 0);
            check_eq("mhpmcounter can be cleared", csr_get(MHPMCOUNTER3 + i), 0);
        }
    }
    hart->item = 0;
    if (has("sscofpmf"))
        check("Sscofpmf comes with counters", usable > 0);
}

__asm__(".balign 4\ncount_down: addi a0, a0, -1\n bnez a0, count_down\n ecall\n");
extern const char count_down[];

/* Count event `event` while `mode` runs a loop of 2 * n instructions. */
static u64 counted(u64 event, u64 mode, u64 n)
{
    csr_write(MCOUNTINHIBIT, 8);
    csr_put(MHPMEVENT3, event);
    csr_put(MHPMCOUNTER3, 0);
    csr_write(MCOUNTINHIBIT, 0);
    trap_clear();
    run(mode, count_down, n, 0, 0, 0);
    csr_write(MCOUNTINHIBIT, 8);
    return csr_get(MHPMCOUNTER3);
}

static void overflow(void)
{
    if (!has("sscofpmf")) {
        run_insn(S, CSRRS(A0, SCOUNTOVF, 0), 0, 0);
        check_trap("scountovf without Sscofpmf", ILLEGAL, CSRRS(A0, SCOUNTOVF, 0));
        return;
    }
    const u64 n = 100000;
    if (exact()) {
        u64 found = counted(2, U, n);
        check("instructions", found >= 2 * n && found < 2 * n + 500);
        found = counted(2 | UINH, U, n);
        check("instructions, not in U", found < 500);
        found = counted(2 | UINH, S, n);
        check("instructions, S but not U", found >= 2 * n);
        found = counted(2 | SINH, S, n);
        check("instructions, not in S", found < 500);
        found = counted(2 | MINH, U, n);
        check_one_of("instructions, not in M", found, 2 * n, 2 * n + 1); /* the mret between both may count */
        found = counted(2 | MINH | SINH | UINH, U, n);
        check_eq("instructions, nowhere", found, 0);
    }
    check("cycles", counted(1, U, n) > 0);

    /* Overflow sets OF and asks for an interrupt, once. */
    csr_write(MCOUNTINHIBIT, 8);
    csr_put(MHPMEVENT3, 2);
    csr_put(MHPMCOUNTER3, -(n / 2));
    csr_clear(MIP, LCOFI);
    check_eq("no overflow yet", csr_get(MHPMEVENT3) & OVERFLOW, 0);
    csr_write(MCOUNTINHIBIT, 0);
    u64 since = csr_read(TIME);
    while (!(csr_read(MIP) & LCOFI) && csr_read(TIME) - since < 50000000) {
        trap_clear();
        run(U, count_down, n, 0, 0, 0);
    }
    check_eq("overflow: LCOFIP", csr_read(MIP) & LCOFI, LCOFI);
    check_eq("overflow: OF", csr_get(MHPMEVENT3) & OVERFLOW, OVERFLOW);
    check("overflow: the counter went on from 0", csr_get(MHPMCOUNTER3) < 1ul << 40);
    check_eq("scountovf in M", csr_get(SCOUNTOVF), 8);
    csr_write(MCOUNTEREN, 8);
    check_eq("scountovf in S", run_insn(S, CSRRS(A0, SCOUNTOVF, 0), 0, 0), 8);
    csr_write(MCOUNTEREN, 0);
    check_eq("scountovf in S, without mcounteren", run_insn(S, CSRRS(A0, SCOUNTOVF, 0), 0, 0), 0);
    run_insn(M, CSRRW(0, SCOUNTOVF, A0), 0, 0);
    check_trap("scountovf is read-only", ILLEGAL, CSRRW(0, SCOUNTOVF, A0));
    /* While OF is set there is no further interrupt. */
    csr_clear(MIP, LCOFI);
    csr_put(MHPMCOUNTER3, -(n / 2));
    trap_clear();
    run(U, count_down, 2 * n, 0, 0, 0);
    check_eq("no second interrupt while OF is set", csr_read(MIP) & LCOFI, 0);

    /* Taken as an interrupt, out of the loop. */
    csr_write(MCOUNTINHIBIT, 8);
    csr_put(MHPMEVENT3, 2);
    csr_put(MHPMCOUNTER3, -(n / 2));
    csr_clear(MIP, LCOFI);
    csr_write(MIDELEG, LCOFI);
    csr_write(MIE, LCOFI);
    csr_write(MCOUNTINHIBIT, 0);
    trap_clear();
    run(U, count_down, 1000 * n, 0, 0, 0);
    check_eq("overflow interrupt", hart->s.cause, INTERRUPT | 13);
    csr_write(MIE, 0);
    csr_write(MIDELEG, 0);
    csr_put(MHPMEVENT3, 0);
    csr_clear(MIP, LCOFI);
}

void rom_main(void)
{
    csr_set(MSTATUS, MSTATUS_FS_INITIAL);
    for (u64 mode = U; mode <= M; mode += mode == S ? 2 : 1)
        exact_counts(mode);
    traps_do_not_retire();
    written_counters();
    inhibit();
    programmable();
    overflow();
}
