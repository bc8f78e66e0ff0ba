/* The runtime that all ROMs share. See rt.h. */
#include "rt.h"

struct cpu cpus[MAX_CPUS];
const u64 cpu_size = sizeof(struct cpu);
u64 gic_version;
u8 psci_conduit;
__attribute__((weak)) bool rom_starts_all = true;

#define OFFSET_IS(type, field, value)                                                                            \
    _Static_assert(__builtin_offsetof(struct type, field) == (value), "layout.h and the structure differ: " #field)
OFFSET_IS(trap, sp0, TRAP_SP0);
OFFSET_IS(trap, cpu, TRAP_CPU);
OFFSET_IS(trap, stack, TRAP_STACK);
OFFSET_IS(trap, vector, TRAP_VECTOR);
OFFSET_IS(trap, esr, TRAP_ESR);
OFFSET_IS(trap, elr, TRAP_ELR);
OFFSET_IS(trap, far, TRAP_FAR);
OFFSET_IS(trap, spsr, TRAP_SPSR);
OFFSET_IS(trap, hpfar, TRAP_HPFAR);
_Static_assert(sizeof(struct trap) == TRAP_SIZE, "layout.h and struct trap differ in size");
OFFSET_IS(cpu, resume, CPU_RESUME);
OFFSET_IS(cpu, probe, CPU_PROBE);
OFFSET_IS(cpu, run_sp, CPU_RUN_SP);
OFFSET_IS(cpu, low_sp, CPU_LOW_SP);
OFFSET_IS(cpu, stacks, CPU_STACK);

void put_char(char c)
{
    while (mmio32(UART + 0x18) & 0x20) {
    }
    mmio32(UART) = c;
}

u64 checks_of(u64 id) { return cpus[id].checks; }

void finish(u32 code)
{
    (void)code;
    if (psci_conduit)
        psci(PSCI_OFF, 0, 0, 0);
    for (;;)
        wfi();
}

void put_traps(void)
{
    for (u64 level = 1; level <= 3; level++) {
        const struct trap *t = &cpu->t[level - 1];
        if (!t->count && level != cpu->last)
            continue;
        put(", EL");
        put_dec(level);
        put(" count ");
        put_dec(t->count);
        put(" vector ");
        put_dec(t->vector);
        put(" esr ");
        put_hex(t->esr);
        put(" elr ");
        put_hex(t->elr);
        put(" far ");
        put_hex(t->far);
        put(" spsr ");
        put_hex(t->spsr);
        put(" hpfar ");
        put_hex(t->hpfar);
    }
}

/* ---- exceptions ---- */

void trap_clear(void)
{
    for (u64 level = 0; level < 3; level++)
        cpu->t[level].count = 0;
    cpu->last = 0;
}

struct trap *last_trap(void) { return &cpu->t[cpu->last ? cpu->last - 1 : 0]; }

/* Called by the vectors, registers saved: 0 to go on at t->elr, 1 to end run(), 2 and 3 to have the home level do that. */
u64 trap_c(struct trap *t, u64 level)
{
    u64 class = t->esr >> 26;
    bool sync = (t->vector & 3) == 0;
    if (sync && level == cpu->home && cpu->run_sp && (class == HVC || class == SMC) && (t->esr & 0xffff) == END_CALL)
        return 1;
    if (cpu->hook && cpu->hook(t, level))
        return 0;
    t->count++;
    t->pc = t->elr;
    cpu->last = level;
    if (cpu->run_sp)
        return level == cpu->home ? 1 : cpu->home;
    if (!cpu->resume || level != cpu->home)
        die("unexpected exception");
    t->elr = cpu->resume;
    cpu->resume = 0;
    return 0;
}

void sync_code(const void *at, u64 bytes)
{
    for (u64 line = (u64)at & ~15ul; line < (u64)at + bytes; line += 16)
        __asm__ volatile("dc cvau, %0\ndsb ish\nic ivau, %0" ::"r"(line) : "memory");
    dsb();
    isb();
}

u64 run_insns(u64 pstate, const u32 *words, u64 n, u64 x0, u64 x1)
{
    trap_clear();
    for (u64 i = 0; i < n; i++)
        cpu->code[i] = words[i];
    cpu->code[n] = SVC_(END_CALL);
    sync_code(cpu->code, 4 * n + 4);
    cpu->probe = (u64)cpu->code;
    run(pstate, cpu->code, x0, x1, (u64)cpu->data, 0);
    return last_trap()->x[0];
}

u64 run_insn(u64 pstate, u32 word, u64 x0, u64 x1) { return run_insns(pstate, &word, 1, x0, x1); }

static void trap_failure(const char *name, u64 level, u64 esr, u64 far)
{
    if (!begin_failure(name))
        return;
    put(": expected one exception at EL");
    put_dec(level);
    put(" esr ");
    put_hex(esr);
    put(" far ");
    put_hex(far);
    put(" elr ");
    put_hex(cpu->probe);
    put("; found");
    put_traps();
    end_failure();
}

static u64 count(void) { return cpu->t[0].count + cpu->t[1].count + cpu->t[2].count; }

static bool trap_is(u64 level, u64 esr)
{
    const struct trap *t = last_trap();
    u64 class = esr >> 26;
    /* These have been executed; a trapped SMC has not. */
    u64 size = class == SVC || class == HVC || (class == SMC && level == 3) ? 4 : 0;
    cpu->checks++;
    return count() == 1 && cpu->last == level && t->esr == esr && t->pc == cpu->probe + size;
}

void check_trap(const char *name, u64 level, u64 esr)
{
    if (!trap_is(level, esr))
        trap_failure(name, level, esr, 0);
}

void check_abort(const char *name, u64 level, u64 esr, u64 far)
{
    if (!trap_is(level, esr) || last_trap()->far != far)
        trap_failure(name, level, esr, far);
}

void check_no_trap(const char *name)
{
    const struct trap *t = last_trap();
    cpu->checks++;
    bool ended = t->esr == (EC(SVC) | END_CALL) && t->count == 1;
    if (count() == 0 || (count() == 1 && ended))
        return;
    if (!begin_failure(name))
        return;
    put(": expected no exception, found");
    put_traps();
    end_failure();
}

/* ---- the machine ---- */

void device_tree_property(const char *name, const char *value, u64 len)
{
    (void)len;
    if (same(name, "method"))
        psci_conduit = value[0];
    if (same(name, "compatible")) {
        if (same(value, "arm,gic-v3"))
            gic_version = 3;
        if (same(value, "arm,cortex-a15-gic") || same(value, "arm,gic-400"))
            gic_version = 2;
    }
}

i64 psci(u64 function, u64 a, u64 b, u64 c)
{
    register u64 x0 __asm__("x0") = function;
    register u64 x1 __asm__("x1") = a;
    register u64 x2 __asm__("x2") = b;
    register u64 x3 __asm__("x3") = c;
    if (psci_conduit == 'h')
        __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
    else
        __asm__ volatile("smc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
    return x0;
}

void start_cpu(u64 id)
{
    if (psci(PSCI_CPU_ON, id, (u64)_start, 0))
        die("CPU_ON failed");
}

/* ---- translation ---- */

static u64 identity[512] __attribute__((aligned(4096)));

void mmu_on(void)
{
    /* 39 bits, in blocks of 1 GiB: devices, then memory. */
    identity[0] = DEVICE_MEMORY | AF | VALID;
    identity[1] = RAM | INNER | AF | VALID;
    dsb();
    u64 base = (u64)identity;
    if (cpu->home == 1) {
        write_sys("mair_el1", MAIR);
        write_sys("tcr_el1", 25 | 1ul << 23 | 2ul << 32);
        write_sys("ttbr0_el1", base);
        tlbi("vmalle1");
        write_sys("sctlr_el1", read_sys("sctlr_el1") | 1);
    } else if (cpu->home == 2) {
        write_sys("mair_el2", MAIR);
        write_sys("tcr_el2", 25 | 1ul << 23 | 1ul << 31 | 2ul << 16);
        write_sys("ttbr0_el2", base);
        tlbi("alle2");
        write_sys("sctlr_el2", read_sys("sctlr_el2") | 1);
    } else {
        write_sys("mair_el3", MAIR);
        write_sys("tcr_el3", 25 | 1ul << 23 | 1ul << 31 | 2ul << 16);
        write_sys("ttbr0_el3", base);
        tlbi("alle3");
        write_sys("sctlr_el3", read_sys("sctlr_el3") | 1);
    }
}

/* ---- start ---- */

void cpu_start(void)
{
    static u32 ready;
    u64 id = read_sys("mpidr_el1") & 0xff;
    cpu->id = id;
    cpu->home = read_sys("CurrentEL") >> 2;
    cpu->checks = cpu->resume = cpu->run_sp = 0;
    for (u64 level = 0; level < 3; level++) {
        cpu->t[level].cpu = cpu;
        cpu->t[level].stack = cpu->stacks + STACK_SIZE + (level + 1) * LEVEL_STACK;
    }
    cpu->low_sp = (u64)(cpu->stacks + STACK_SIZE + 4 * LEVEL_STACK);
    if (cpu->home == 3)
        /* Lower levels are Non-secure and have 64 bits; HVC, pointer authentication; no SMC trap. */
        write_sys("scr_el3", 1 | 1ul << 8 | 1ul << 10 | 3ul << 16 | 3ul << 4);
    if (cpu->home >= 2) {
        write_sys("hcr_el2", 1ul << 31);
        write_sys("sctlr_el1", 0x30d00800ul);
        write_sys("cnthctl_el2", 3);
        write_sys("cntvoff_el2", 0);
    }
    trap_clear();
    if (id == 0) {
        mmio32(UART + 0x30) = 0x301;
        read_device_tree((const u8 *)FDT);
        __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
        if (psci_conduit && rom_starts_all)
            for (u64 other = 1; other < n_cpus; other++)
                start_cpu(other);
    }
    while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
    }
    if (rom_starts_all)
        barrier();
    rom_main();
    if (rom_starts_all)
        barrier();
    if (id)
        for (;;)
            wfi();
    summary();
}
