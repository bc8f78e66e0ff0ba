/* The runtime that all ROMs share. See rt.h. */
#include "rt.h"

struct hart harts[MAX_HARTS];
const u64 hart_size = sizeof(struct hart);

#define OFFSET_IS(field, value)                                                                                  \
    _Static_assert(__builtin_offsetof(struct hart, field) == (value), "layout.h and struct hart differ: " #field)
OFFSET_IS(x, HART_X);
OFFSET_IS(sx, HART_SX);
OFFSET_IS(resume, HART_RESUME);
OFFSET_IS(probe, HART_PROBE);
OFFSET_IS(run_sp, HART_RUN_SP);
OFFSET_IS(trap_sp, HART_TRAP_SP);
OFFSET_IS(strap_sp, HART_STRAP_SP);
OFFSET_IS(low_sp, HART_LOW_SP);
OFFSET_IS(slot, HART_SLOT);
OFFSET_IS(spill, HART_SPILL);
OFFSET_IS(stacks, HART_STACK);

void put_char(char c)
{
    while (!(mmio8(UART + 5) & 0x20)) {
    }
    mmio8(UART) = c;
}

u64 checks_of(u64 id) { return harts[id].checks; }

void finish(u32 code)
{
    mmio32(FINISHER) = code ? code << 16 | 0x3333 : 0x5555;
    for (;;) {
    }
}

static void put_trap(const char *mode, const struct trap *t)
{
    put(mode);
    put(" count ");
    put_dec(t->count);
    put(" cause ");
    put_hex(t->cause);
    put(" tval ");
    put_hex(t->tval);
    put(" epc ");
    put_hex(t->epc);
    put(" status ");
    put_hex(t->status);
}

void put_traps(void)
{
    put_trap(", M:", &hart->m);
    put_trap(", S:", &hart->s);
}

/* ---- checks ---- */

static void trap_failure(const char *name, u64 cause, u64 tval)
{
    if (!begin_failure(name))
        return;
    put(": expected one trap, cause ");
    put_hex(cause);
    put(" tval ");
    put_hex(tval);
    put(" epc ");
    put_hex(hart->probe);
    put_trap(", found", &hart->m);
    end_failure();
}

static bool trap_is(u64 cause)
{
    hart->checks++;
    return hart->m.count == 1 && hart->m.cause == cause && hart->m.epc == hart->probe;
}

void check_trap(const char *name, u64 cause, u64 tval)
{
    if (!trap_is(cause) || hart->m.tval != tval)
        trap_failure(name, cause, tval);
}

void check_trap_or0(const char *name, u64 cause, u64 tval)
{
    if (!trap_is(cause) || (hart->m.tval != tval && hart->m.tval != 0))
        trap_failure(name, cause, tval);
}

void check_no_trap(const char *name)
{
    hart->checks++;
    if (hart->m.count == 0)
        return;
    if (!begin_failure(name))
        return;
    put_trap(": expected no trap, found", &hart->m);
    end_failure();
}

/* ---- traps ---- */

void trap_clear(void)
{
    hart->m = (struct trap){.cause = NO_CAUSE};
    hart->s = (struct trap){.cause = NO_CAUSE};
}

/* Called by m_trap, registers saved; returns true to end run(), false to mret. */
u64 m_trap_c(void)
{
    struct trap *t = &hart->m;
    t->count++;
    t->cause = csr_read(MCAUSE);
    t->tval = csr_read(MTVAL);
    t->epc = csr_read(MEPC);
    t->status = csr_read(MSTATUS);
    /* TRY may have been cut short between setting and clearing MPRV. */
    csr_clear(MSTATUS, MSTATUS_MPRV);
    if (hart->m_hook) {
        enum action action = hart->m_hook();
        if (action != PASS)
            return action == END_RUN;
    }
    if (hart->run_sp)
        return 1;
    if (!hart->resume)
        die("unexpected trap to M");
    csr_write(MEPC, hart->resume);
    hart->resume = 0;
    return 0;
}

/* Called by s_trap in S mode; returns true to end run() by an ecall, false to sret. */
u64 s_trap_c(void)
{
    struct trap *t = &hart->s;
    t->count++;
    t->cause = csr_read(SCAUSE);
    t->tval = csr_read(STVAL);
    t->epc = csr_read(SEPC);
    t->status = csr_read(SSTATUS);
    if (hart->s_hook) {
        enum action action = hart->s_hook();
        if (action != PASS)
            return action == END_RUN;
    }
    if (!hart->s_resume)
        return 1;
    csr_write(SEPC, hart->s_resume);
    hart->s_resume = 0;
    return 0;
}

u64 run_insns(u64 mode, const u32 *words, u64 n, u64 a0, u64 a1)
{
    trap_clear();
    for (u64 i = 0; i < n; i++)
        hart->code[i] = words[i];
    hart->code[n] = ECALL;
    hart->code[n + 1] = ECALL;
    fence_i();
    hart->probe = (u64)hart->code;
    run(mode, hart->code, a0, a1, (u64)hart->data, 0);
    return hart->x[A0];
}

u64 run_insn(u64 mode, u32 insn, u64 a0, u64 a1)
{
    if ((insn & 3) != 3)
        insn |= 0x0001u << 16; /* c.nop */
    return run_insns(mode, &insn, 1, a0, a1);
}

/* ---- the device tree ---- */

static const char *extensions;
static u64 extensions_len;
static const char *mmu = "";

void device_tree_property(const char *name, const char *value, u64 len)
{
    if (same(name, "mmu-type"))
        mmu = value;
    if (same(name, "riscv,isa-extensions")) {
        extensions = value;
        extensions_len = len;
    }
}

bool has(const char *ext)
{
    const char *end = extensions + extensions_len;
    for (const char *e = extensions; e && e < end; e++) {
        if (same(e, ext))
            return true;
        while (*e)
            e++;
    }
    return false;
}

u64 page_table_levels(void)
{
    return same(mmu, "riscv,sv57") ? 5 : same(mmu, "riscv,sv48") ? 4 : same(mmu, "riscv,sv39") ? 3 : 0;
}

/* ---- start ---- */

/* S and U mode reach nothing without a PMP entry: open everything with entry 15, the last that all harts with PMP have. */
static void open_pmp(void)
{
    csr_write(PMPADDR0 + 15, ~0ul);
    csr_write(PMPCFG0 + 2, 0x1ful << 56);
}

void hart_start(u64 id, const u8 *fdt)
{
    static u32 ready;
    hart->id = id;
    hart->checks = 0;
    trap_clear();
    open_pmp();
    *mtimecmp(id) = ~0ul;
    if (id == 0) {
        read_device_tree(fdt);
        __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
    }
    while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
    }
    barrier();
    rom_main();
    barrier();
    if (id)
        for (;;)
            __asm__ volatile("wfi");
    summary();
}
