/* The runtime that all ROMs share. See rt.h. */
#include "rt.h"

struct hart harts[MAX_HARTS];
const u64 hart_size = sizeof(struct hart);
u64 n_harts;

/* Which sources this ROM was built from: `build.sh` passes the hash, a test of the crate reads it. */
__attribute__((section(".source"), used)) static const char source_hash[] = "source-sha256=" SOURCE_HASH;

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

static u32 text_lock;
static u64 failures;

/* ---- text and ending ---- */

void put(const char *text)
{
    for (; *text; text++) {
        while (!(mmio8(UART + 5) & 0x20)) {
        }
        mmio8(UART) = *text;
    }
}

void put_hex(u64 value)
{
    char text[19] = "0x";
    int n = 2;
    for (int shift = 60; shift >= 0; shift -= 4) {
        u64 digit = value >> shift & 15;
        if (digit || n > 2 || shift == 0)
            text[n++] = "0123456789abcdef"[digit];
    }
    text[n] = 0;
    put(text);
}

void put_dec(u64 value)
{
    char text[21];
    int n = 20;
    text[n] = 0;
    do
        text[--n] = '0' + value % 10;
    while (value /= 10);
    put(text + n);
}

void finish(u32 code)
{
    mmio32(FINISHER) = code ? code << 16 | 0x3333 : 0x5555;
    for (;;) {
    }
}

/* Print only so many failures: each further one only counts. */
#define MAX_PRINTED 40

static bool begin_failure(const char *name)
{
    lock(&text_lock);
    if (failures++ >= MAX_PRINTED) {
        unlock(&text_lock);
        return false;
    }
    put("FAIL ");
    put(rom_name);
    put(" hart ");
    put_dec(hart->id);
    put(": ");
    if (hart->variant) {
        put(hart->variant);
        put(": ");
    }
    if (hart->item) {
        put("case ");
        put_dec(hart->item);
        put(": ");
    }
    put(name);
    return true;
}

static void end_failure(void)
{
    put("\n");
    unlock(&text_lock);
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

void die(const char *what)
{
    failures = 0;
    begin_failure(what);
    put_trap(", M:", &hart->m);
    put_trap(", S:", &hart->s);
    put("\n");
    finish(2);
}

/* ---- checks ---- */

void check_eq(const char *name, u64 found, u64 expected)
{
    hart->checks++;
    if (found == expected)
        return;
    if (!begin_failure(name))
        return;
    put(": expected ");
    put_hex(expected);
    put(", found ");
    put_hex(found);
    end_failure();
}

void check_one_of(const char *name, u64 found, u64 a, u64 b)
{
    hart->checks++;
    if (found == a || found == b)
        return;
    if (!begin_failure(name))
        return;
    put(": expected ");
    put_hex(a);
    put(" or ");
    put_hex(b);
    put(", found ");
    put_hex(found);
    end_failure();
}

void check(const char *name, bool ok)
{
    hart->checks++;
    if (!ok && begin_failure(name))
        end_failure();
}

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

/* ---- many harts ---- */

void lock(u32 *l)
{
    while (__atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(l, __ATOMIC_RELAXED))
            relax();
    }
}

void unlock(u32 *l) { __atomic_store_n(l, 0, __ATOMIC_RELEASE); }

void barrier(void)
{
    static u64 arrived, round;
    u64 now = __atomic_load_n(&round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == n_harts) {
        __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&round, now + 1, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&round, __ATOMIC_ACQUIRE) == now)
        relax();
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

static const char *bootargs = "";
static const char *extensions;
static u64 extensions_len;
static const char *mmu = "";

static u32 be32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }

static bool same(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++) {
    }
    return *a == *b;
}

/* True if `text` begins with `prefix`; gives the rest. */
static const char *after(const char *text, const char *prefix)
{
    for (; *prefix; text++, prefix++)
        if (*text != *prefix)
            return 0;
    return text;
}

static void read_device_tree(const u8 *fdt)
{
    enum { BEGIN = 1, END = 2, PROPERTY = 3, NOTHING = 4 };
    if (be32(fdt) != 0xd00dfeed)
        die("a1 does not point to a device tree");
    const u8 *p = fdt + be32(fdt + 8);
    const char *strings = (const char *)fdt + be32(fdt + 12);
    for (;;) {
        u32 token = be32(p);
        p += 4;
        if (token == BEGIN) {
            const char *name = (const char *)p;
            if (after(name, "cpu@"))
                n_harts++;
            u64 len = 0;
            while (name[len])
                len++;
            p += (len + 4) & ~3ul;
        } else if (token == PROPERTY) {
            u32 len = be32(p);
            const char *name = strings + be32(p + 4);
            const char *value = (const char *)p + 8;
            if (same(name, "bootargs"))
                bootargs = value;
            if (same(name, "mmu-type"))
                mmu = value;
            if (same(name, "riscv,isa-extensions")) {
                extensions = value;
                extensions_len = len;
            }
            p += 8 + ((len + 3) & ~3u);
        } else if (token != END && token != NOTHING) {
            break;
        }
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

/* The text after NAME= in the bootargs. */
static const char *argument(const char *name)
{
    for (const char *p = bootargs; *p; p++) {
        const char *rest = p == bootargs || p[-1] == ' ' ? after(p, name) : 0;
        if (rest && *rest == '=')
            return rest + 1;
    }
    return 0;
}

u64 param(const char *name, u64 otherwise)
{
    const char *p = argument(name);
    u64 value = 0;
    if (!p)
        return otherwise;
    for (; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (*p - '0');
    return value;
}

bool on_qemu(void)
{
    const char *p = argument("peer");
    return p && after(p, "qemu");
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
    u64 checks = 0;
    for (u64 h = 0; h < n_harts; h++)
        checks += harts[h].checks;
    if (failures) {
        put("ROM ");
        put(rom_name);
        put(": ");
        put_dec(failures);
        put(" of ");
        put_dec(checks);
        put(" checks FAILED\n");
        finish(1);
    }
    put("ROM ");
    put(rom_name);
    put(": ");
    put_dec(checks);
    put(" checks passed\n");
    finish(0);
}

/* The compiler calls these for structures and arrays. */
void *memcpy(void *to, const void *from, u64 n)
{
    for (u64 i = 0; i < n; i++)
        ((u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}

void *memset(void *to, int value, u64 n)
{
    for (u64 i = 0; i < n; i++)
        ((u8 *)to)[i] = value;
    return to;
}
