/* Interrupt sources: CLINT, timers, PLIC with the UART and the RTC behind it; wfi; interrupts out of tight loops. */
#include "rt.h"

const char rom_name[] = "interrupts";

#define wfi() __asm__ volatile("wfi" ::: "memory")
#define TICKS_PER_MS 10000ul /* mtime runs at 10 MHz */

/* Wait until mip & bits is `value`; a device may need a moment. False after two seconds. */
static bool pending_becomes(u64 bits, u64 value)
{
    u64 end = MTIME + 2000 * TICKS_PER_MS;
    while ((csr_read(MIP) & bits) != value)
        if (MTIME > end)
            return false;
    return true;
}

/* ---- CLINT ---- */

/* Ask for the machine timer interrupt `ticks` from now; it is not pending before. Gives the time. */
static u64 timer_in(u64 ticks)
{
    *mtimecmp(hart->id) = ~0ul;
    check("timer taken back", pending_becomes(MTI, 0));
    u64 at = MTIME + ticks;
    *mtimecmp(hart->id) = at;
    return at;
}

static void software(void)
{
    volatile u32 *mine = msip(hart->id);
    *mine = 0;
    check("msip off", pending_becomes(MSI, 0));
    *mine = ~0u;
    check("msip on", pending_becomes(MSI, MSI));
    check_eq("msip has one bit", *mine, 1);
    csr_clear(MIP, MSI);
    check_eq("MSIP cannot be cleared in mip", csr_read(MIP) & MSI, MSI);
    csr_write(MIE, MSI);
    csr_clear(MSTATUS, MSTATUS_MIE);
    wfi(); /* must end: it is pending and enabled, though MIE is off */
    run_insn(U, NOP, 0, 0);
    check_eq("software interrupt", hart->m.cause, INTERRUPT | 3);
    *mine = 0;
    check("msip off again", pending_becomes(MSI, 0));
    run_insn(U, NOP, 0, 0);
    check_eq("no software interrupt", hart->m.cause, ECALL_U);
    csr_write(MIE, 0);
}

static void timer(void)
{
    volatile u64 *cmp = mtimecmp(hart->id);
    u64 before = MTIME, time = csr_read(TIME), after = MTIME;
    check("time and mtime are one clock", before <= time && time <= after);
    for (u64 last = after, i = 0; i < 1000; i++) {
        u64 now = i & 1 ? csr_read(TIME) : MTIME;
        if (now < last) {
            check("time does not go back", false);
            break;
        }
        last = now;
    }
    *cmp = ~0ul;
    check("timer off", pending_becomes(MTI, 0));
    *cmp = MTIME;
    check("timer on", pending_becomes(MTI, MTI));
    csr_clear(MIP, MTI);
    check_eq("MTIP cannot be cleared in mip", csr_read(MIP) & MTI, MTI);
    *cmp = 0x123456789abcdef0;
    check("timer far away", pending_becomes(MTI, 0));
    check_eq("mtimecmp reads back", *cmp, 0x123456789abcdef0);
    volatile u32 *half = (volatile u32 *)cmp;
    check_eq("mtimecmp low half", half[0], 0x9abcdef0);
    check_eq("mtimecmp high half", half[1], 0x12345678);
    half[0] = 0x11111111;
    half[1] = 0x22222222;
    check_eq("mtimecmp by halves", *cmp, 0x2222222211111111);
    half[1] = 0;
    half[0] = 0;
    check("timer by halves", pending_becomes(MTI, MTI));

    /* wfi until the timer, with MIE off and on. */
    csr_write(MIE, MTI);
    csr_clear(MSTATUS, MSTATUS_MIE);
    for (u64 i = 0; i < 3; i++) {
        u64 at = timer_in(TICKS_PER_MS);
        while (!(csr_read(MIP) & MTI))
            wfi();
        check("timer with wfi: not early", MTIME >= at);
        check("timer with wfi: not late", MTIME < at + 5000 * TICKS_PER_MS); /* the host may be busy */
        at = timer_in(TICKS_PER_MS);
        csr_set(MSTATUS, MSTATUS_MPIE);
        u32 words[] = {WFI, JR(A0)};
        u64 loop = (u64)hart->code;
        run_insns(M, words, 2, loop, 0);
        check_eq("timer out of wfi", hart->m.cause, INTERRUPT | 7);
        check("timer out of wfi: epc", hart->m.epc == hart->probe + 4 || hart->m.epc == hart->probe);
        check("timer out of wfi: not early", MTIME >= at);
    }
    csr_clear(MSTATUS, MSTATUS_MPIE);
    *cmp = ~0ul;
    csr_write(MIE, 0);
}

/* ---- loops that only an interrupt ends ---- */

__asm__(".balign 4\n"
        ".option push\n.option norvc\n"
        "loop_jump: j loop_jump\n"
        "loop_branch: beqz zero, loop_branch\n"
        "loop_two: j 1f\n1: j loop_two\n"
        "loop_indirect: la a0, 1f\n1: jr a0\n"
        "loop_call: la a0, 2f\n1: jalr a0\n j 1b\n2: ret\n"
        "loop_count: addi a0, a0, 1\n bnez a0, loop_count\n"
        "loop_memory: ld a0, 0(a2)\n sd a0, 8(a2)\n j loop_memory\n"
        "loop_amo: amoadd.d a0, a1, (a2)\n j loop_amo\n"
        "loop_fence: fence\n fence.i\n j loop_fence\n"
        "loop_pause: la a0, 1f\n1: .word 0x0100000f\n jr a0\n"
        ".option pop\n"
        "loop_compressed: c.j loop_compressed\n"
        "loop_end:\n");
extern const char loop_jump[], loop_branch[], loop_two[], loop_indirect[], loop_call[], loop_count[], loop_memory[],
    loop_amo[], loop_fence[], loop_pause[], loop_compressed[], loop_end[];

static void loops(void)
{
    static const struct {
        const char *start;
        const char *name;
    } table[] = {
        {loop_jump, "j"},          {loop_branch, "beq"},   {loop_two, "two jumps"}, {loop_indirect, "jr"},
        {loop_call, "call, ret"},  {loop_count, "bne"},    {loop_memory, "memory"}, {loop_amo, "amo"},
        {loop_fence, "fence"},     {loop_pause, "pause"},   {loop_compressed, "c.j"},
    };
    csr_write(MIE, MTI);
    for (u64 mode = U; mode <= M; mode += mode == S ? 2 : 1)
        for (u64 i = 0; i < sizeof table / sizeof *table; i++) {
            hart->variant = table[i].name;
            hart->item = mode;
            timer_in(TICKS_PER_MS / 5);
            csr_set(MSTATUS, MSTATUS_MPIE);
            trap_clear();
            run(mode, table[i].start, 1, 1, (u64)hart->data, 0);
            check_eq("timer out of a loop", hart->m.cause, INTERRUPT | 7);
            u64 next = i + 1 < sizeof table / sizeof *table ? (u64)table[i + 1].start : (u64)loop_end;
            check("timer out of a loop: epc", hart->m.epc >= (u64)table[i].start && hart->m.epc < next);
        }
    hart->variant = 0;
    hart->item = 0;
    csr_clear(MSTATUS, MSTATUS_MPIE);
    *mtimecmp(hart->id) = ~0ul;
    csr_write(MIE, 0);
}

/* ---- Sstc ---- */

static void supervisor_timer(void)
{
    if (!has("sstc"))
        return;
    csr_clear(MENVCFG, MENVCFG_STCE);
    csr_clear(MIP, STI);
    csr_write(STIMECMP, 0);
    check_eq("without STCE, stimecmp does nothing", csr_read(MIP) & STI, 0);
    csr_set(MIP, STI);
    check_eq("without STCE, M writes STIP", csr_read(MIP) & STI, STI);
    csr_clear(MIP, STI);
    check_eq("without STCE, M clears STIP", csr_read(MIP) & STI, 0);

    csr_set(MENVCFG, MENVCFG_STCE);
    csr_write(STIMECMP, ~0ul);
    check("stimecmp far away", pending_becomes(STI, 0));
    csr_set(MIP, STI);
    check_eq("with STCE, STIP cannot be set", csr_read(MIP) & STI, 0);
    csr_write(STIMECMP, csr_read(TIME));
    check("stimecmp now", pending_becomes(STI, STI));
    csr_clear(MIP, STI);
    check_eq("with STCE, STIP cannot be cleared", csr_read(MIP) & STI, STI);
    csr_write(STIMECMP, 0xfedcba9876543210);
    check_eq("stimecmp reads back", csr_read(STIMECMP), 0xfedcba9876543210);
    check("stimecmp far away again", pending_becomes(STI, 0));

    csr_write(MIDELEG, STI);
    csr_write(MIE, STI);
    csr_write(MCOUNTEREN, 2);
    csr_clear(MSTATUS, MSTATUS_SIE);
    for (u64 i = 0; i < 3; i++) {
        /* Out of a loop in U, to S. */
        u64 at = csr_read(TIME) + TICKS_PER_MS / 2;
        csr_write(STIMECMP, at);
        trap_clear();
        run(U, loop_jump, 0, 0, 0, 0);
        check_eq("S timer out of a loop: cause", hart->s.cause, INTERRUPT | 5);
        check_eq("S timer out of a loop: epc", hart->s.epc, (u64)loop_jump);
        check("S timer out of a loop: not early", csr_read(TIME) >= at);
        /* wfi in S with SIE off: goes on after it, no trap. */
        at = csr_read(TIME) + TICKS_PER_MS / 2;
        csr_write(STIMECMP, at);
        u32 words[] = {WFI, CSRRS(A0, SIP, 0), 0x02057513 /* andi a0, a0, 32 */, 0xfe050ae3 /* beqz a0, start */};
        run_insns(S, words, 4, 0, 0);
        check_eq("wfi in S with SIE off", hart->m.cause, ECALL_S);
        check_eq("wfi in S with SIE off: no trap", hart->s.count, 0);
        check("wfi in S: not early", csr_read(TIME) >= at);
        /* Writing stimecmp in S takes the interrupt away before SIE lets it in. */
        u32 disarm[] = {CSRRW(0, STIMECMP, A0), CSRRSI(0, SSTATUS, 2u), NOP, NOP};
        run_insns(S, disarm, 4, ~0ul, 0);
        check_eq("S timer disarmed in time", hart->s.count, 0);
        csr_clear(MSTATUS, MSTATUS_SIE);
    }
    csr_write(MIE, 0);
    csr_write(MIDELEG, 0);
    csr_write(MCOUNTEREN, 0);
    csr_clear(MENVCFG, MENVCFG_STCE);
    csr_clear(MIP, STI);
}

/* ---- PLIC; one hart at a time ---- */

#define UART_IRQ 10u
#define RTC_IRQ 11u
#define RTC 0x101000ul
#define PRIORITY(irq) mmio32(PLIC + 4ul * (irq))
#define PENDING mmio32(PLIC + 0x1000)
#define ENABLE(ctx) mmio32(PLIC + 0x2000 + 0x80 * (ctx))
#define THRESHOLD(ctx) mmio32(PLIC + 0x200000 + 0x1000 * (ctx))
#define CLAIM(ctx) mmio32(PLIC + 0x200004 + 0x1000 * (ctx))

/* The transmitter-empty interrupt comes when it is enabled, goes when IIR is read. */
static void uart_raise(void)
{
    mmio8(UART + 1) = 0;
    mmio8(UART + 1) = 2;
}

static void uart_lower(void) { mmio8(UART + 1) = 0; }

/* The alarm, set in the past, comes at once. */
static void rtc_raise(void)
{
    mmio32(RTC + 0x10) = 1;
    u32 low = mmio32(RTC);
    mmio32(RTC + 0xc) = mmio32(RTC + 4);
    mmio32(RTC + 8) = low;
}

static void rtc_lower(void) { mmio32(RTC + 0x1c) = 1; }

static bool source_pending(u32 irq, bool value)
{
    u64 end = MTIME + 2000 * TICKS_PER_MS;
    while ((PENDING >> irq & 1) != (u32)value)
        if (MTIME > end)
            return false;
    return true;
}

static void plic_registers(u64 ctx)
{
    PRIORITY(UART_IRQ) = ~0u;
    check_eq("PLIC priority has three bits", PRIORITY(UART_IRQ), 7);
    PRIORITY(UART_IRQ) = 0;
    check_eq("PLIC priority 0", PRIORITY(UART_IRQ), 0);
    PRIORITY(0) = 7;
    check_eq("PLIC source 0 has no priority", PRIORITY(0), 0);
    THRESHOLD(ctx) = 5;
    check_eq("PLIC threshold", THRESHOLD(ctx), 5);
    THRESHOLD(ctx) = 0;
    ENABLE(ctx) = 1u << UART_IRQ | 1u << RTC_IRQ;
    check_eq("PLIC enable", ENABLE(ctx), 1u << UART_IRQ | 1u << RTC_IRQ);
    ENABLE(ctx) = 0;
    check_eq("PLIC claim of nothing", CLAIM(ctx), 0);
}

/* One context: `bit` is the mip bit that it drives. */
static void plic_context(u64 ctx, u64 bit)
{
    PRIORITY(UART_IRQ) = 3;
    THRESHOLD(ctx) = 0;
    ENABLE(ctx) = 0;
    uart_raise();
    check("pending without enable", source_pending(UART_IRQ, true));
    check_eq("nothing is signalled without enable", csr_read(MIP) & bit, 0);
    ENABLE(ctx) = 1u << UART_IRQ;
    /* QEMU 11 looks at an enable only when something else changes. */
    if (!on_qemu())
        check("signalled with enable", pending_becomes(bit, bit));
    THRESHOLD(ctx) = 3;
    check("masked by an equal threshold", pending_becomes(bit, 0));
    THRESHOLD(ctx) = 2;
    check("not masked by a lower threshold", pending_becomes(bit, bit));
    PRIORITY(UART_IRQ) = 0;
    check("priority 0 never interrupts", pending_becomes(bit, 0));
    THRESHOLD(ctx) = 0;
    PRIORITY(UART_IRQ) = 1;
    check("signalled again", pending_becomes(bit, bit));

    check_eq("claim", CLAIM(ctx), UART_IRQ);
    check("claimed: not signalled", pending_becomes(bit, 0));
    check_eq("claimed: not pending", PENDING >> UART_IRQ & 1, 0);
    check_eq("claimed: nothing more to claim", CLAIM(ctx), 0);
    CLAIM(ctx) = RTC_IRQ;
    check_eq("completion of another source does nothing", csr_read(MIP) & bit, 0);
    ENABLE(ctx) = 0;
    CLAIM(ctx) = UART_IRQ;
    ENABLE(ctx) = 1u << UART_IRQ;
    check_eq("completion of a source that is not enabled does nothing", csr_read(MIP) & bit, 0);
    CLAIM(ctx) = UART_IRQ;
    /* The gateway of a level-triggered source asks again (PLIC 1.0.0, chapter 7). QEMU 11 waits for a new edge. */
    if (on_qemu())
        uart_raise();
    check("completed while the line is high: again", pending_becomes(bit, bit));

    /* Taken as an interrupt, handled. */
    csr_write(MIE, bit);
    u64 number = bit == MEI ? 11 : 9;
    if (bit == SEI)
        csr_write(MIDELEG, SEI);
    run_insn(U, NOP, 0, 0);
    check_eq("external interrupt: cause", bit == SEI ? hart->s.cause : hart->m.cause, INTERRUPT | number);
    check_eq("external interrupt: epc", bit == SEI ? hart->s.epc : hart->m.epc, hart->probe);
    check_eq("external interrupt: claim", CLAIM(ctx), UART_IRQ);
    check_eq("IIR says transmitter empty", mmio8(UART + 2) & 0xf, 2);
    check_eq("IIR then says none", mmio8(UART + 2) & 0xf, 1);
    CLAIM(ctx) = UART_IRQ;
    run_insn(U, NOP, 0, 0);
    check_eq("external interrupt handled", hart->m.cause, ECALL_U);
    csr_write(MIE, 0);
    csr_write(MIDELEG, 0);
    uart_lower();

    /* Two sources: priority first, then the lower number. */
    ENABLE(ctx) = 1u << UART_IRQ | 1u << RTC_IRQ;
    for (u32 rtc = 1; rtc <= 3; rtc++) {
        hart->item = rtc;
        PRIORITY(UART_IRQ) = 2;
        PRIORITY(RTC_IRQ) = rtc;
        uart_raise();
        rtc_raise();
        check("UART pending", source_pending(UART_IRQ, true));
        check("RTC pending", source_pending(RTC_IRQ, true));
        u32 first = CLAIM(ctx), second = CLAIM(ctx);
        check_eq("claimed first", first, rtc > 2 ? RTC_IRQ : UART_IRQ);
        check_eq("claimed second", second, rtc > 2 ? UART_IRQ : RTC_IRQ);
        uart_lower();
        rtc_lower();
        CLAIM(ctx) = first;
        CLAIM(ctx) = second;
        check_eq("nothing left", CLAIM(ctx), 0);
        /* A threshold lets only the higher one through. */
        uart_raise();
        rtc_raise();
        check("UART pending again", source_pending(UART_IRQ, true));
        check("RTC pending again", source_pending(RTC_IRQ, true));
        THRESHOLD(ctx) = 2;
        check("threshold 2", pending_becomes(bit, rtc > 2 ? bit : 0));
        THRESHOLD(ctx) = 0;
        uart_lower();
        rtc_lower();
        for (u32 irq; (irq = CLAIM(ctx));)
            CLAIM(ctx) = irq;
        check("all quiet", pending_becomes(bit, 0));
    }
    hart->item = 0;
    ENABLE(ctx) = 0;
    PRIORITY(RTC_IRQ) = 0;
}

static void plic_both(u64 m_ctx, u64 s_ctx)
{
    PRIORITY(UART_IRQ) = 1;
    ENABLE(m_ctx) = ENABLE(s_ctx) = 1u << UART_IRQ;
    uart_raise();
    check("both contexts are signalled", pending_becomes(MEI | SEI, MEI | SEI));
    check_eq("the first to claim gets it", CLAIM(s_ctx), UART_IRQ);
    check_eq("the other gets nothing", CLAIM(m_ctx), 0);
    check("neither is signalled", pending_becomes(MEI | SEI, 0));
    uart_lower();
    CLAIM(s_ctx) = UART_IRQ;
    check_eq("quiet", csr_read(MIP) & (MEI | SEI), 0);

    /* mip.SEIP is a bit that M writes, or the line of the PLIC; csrrs and csrrc must not turn one into the other. */
    ENABLE(m_ctx) = 0;
    uart_raise();
    check("SEIP from the PLIC", pending_becomes(SEI, SEI));
    csr_set(MIP, SSI);
    csr_clear(MIP, SSI);
    uart_lower();
    for (u32 irq; (irq = CLAIM(s_ctx));)
        CLAIM(s_ctx) = irq;
    check("csrrs does not copy the line into SEIP", pending_becomes(SEI, 0));

    csr_set(MIP, SEI);
    check_eq("SEIP from M", csr_read(MIP) & SEI, SEI);
    csr_write(MIDELEG, SEI);
    check_eq("SEIP from M is seen in sip", csr_read(SIP), SEI);
    csr_write(MIDELEG, 0);
    uart_raise();
    check("the source is pending", source_pending(UART_IRQ, true));
    csr_clear(MIP, SEI);
    check("csrrc clears only M's bit", pending_becomes(SEI, SEI));
    uart_lower();
    for (u32 irq; (irq = CLAIM(s_ctx));)
        CLAIM(s_ctx) = irq;
    check("and the line goes by itself", pending_becomes(SEI, 0));
    csr_set(MIP, SEI);
    csr_write(MIP, 0);
    check_eq("csrw clears M's bit", csr_read(MIP) & SEI, 0);
    ENABLE(s_ctx) = 0;
    PRIORITY(UART_IRQ) = 0;
}

/* ---- ACLINT's supervisor software interrupts, where the board has them ---- */

static void supervisor_software(void)
{
    const u64 sswi = 0x2f00000ul + 4 * hart->id;
    TRY("lw t6, 0(%0)", "r"(sswi));
    if (hart->m.count)
        return;
    csr_clear(MIP, SSI);
    mmio32(sswi) = 0;
    check_eq("SSWI 0 does nothing", csr_read(MIP) & SSI, 0);
    mmio32(sswi) = 1;
    check("SSWI 1 sets SSIP", pending_becomes(SSI, SSI));
    check_eq("SSWI reads 0", mmio32(sswi), 0);
    csr_clear(MIP, SSI);
    check_eq("SSIP from SSWI is cleared in mip", csr_read(MIP) & SSI, 0);
}

void rom_main(void)
{
    software();
    timer();
    loops();
    supervisor_timer();
    supervisor_software();
    for (u64 h = 0; h < n_cpus; h++) {
        if (h == hart->id) {
            plic_registers(2 * h);
            plic_registers(2 * h + 1);
            plic_context(2 * h, MEI);
            plic_context(2 * h + 1, SEI);
            plic_both(2 * h, 2 * h + 1);
        }
        barrier();
    }
}
