/* Memory as one hart sees it: misaligned accesses, atomics and reservations, cache blocks, code that changes. */
#include "rt.h"

const char rom_name[] = "memory";

#define FA0 10u
#define FLOAD(f3, rs1) ((rs1) << 15 | (f3) << 12 | FA0 << 7 | 0x07u)
#define FSTORE(f3, rs1) (FA0 << 20 | (rs1) << 15 | (f3) << 12 | 0x27u)
#define FMV_X_D(rd) (0xe2000053u | FA0 << 15 | (rd) << 7)
#define FMV_D_X(rs1) (0xf2000053u | (rs1) << 15 | FA0 << 7)
#define RET 0x00008067u
#define LI_A0(n) ((u32)(n) << 20 | A0 << 7 | 0x13u)

static u64 sign_extend(u64 value, u64 bytes) { return (u64)((i64)(value << (64 - 8 * bytes)) >> (64 - 8 * bytes)); }

static u64 bytes_at(u64 at, u64 n)
{
    u64 value = 0;
    for (u64 i = 0; i < n; i++)
        value |= (u64)mmio8(at + i) << 8 * i;
    return value;
}

/* ---- misaligned loads and stores ---- */

static void misaligned(u64 mode)
{
    /* Around a cache line and around a page. */
    const u64 starts[] = {SCRATCH, SCRATCH + 56, SCRATCH + 4096 - 8};
    for (u64 s = 0; s < 3; s++)
        for (u64 offset = 0; offset < 16; offset++) {
            u64 at = starts[s] + offset;
            hart->item = 100 * s + offset + 1;
            for (u64 i = 0; i < 32; i++)
                mmio8(starts[s] - 4 + i) = 0x81 + 13 * i;
            for (u32 f3 = 0; f3 < 7; f3++) {
                u64 n = 1ul << (f3 & 3), raw = bytes_at(at, n);
                check_eq("load", run_insn(mode, LOAD(f3, A0, A0, 0), at, 0), f3 & 4 ? raw : sign_extend(raw, n));
            }
            u32 flw[] = {FLOAD(2u, A0), FMV_X_D(A0)}, fld[] = {FLOAD(3u, A0), FMV_X_D(A0)};
            check_eq("flw", run_insns(mode, flw, 2, at, 0), bytes_at(at, 4) | 0xffffffffull << 32);
            check_eq("fld", run_insns(mode, fld, 2, at, 0), bytes_at(at, 8));
            for (u32 f3 = 0; f3 < 6; f3++) {
                u64 n = f3 < 4 ? 1ul << f3 : 1ul << (f3 - 2); /* sb sh sw sd fsw fsd */
                u64 value = 0xf1e2d3c4b5a69788 + f3, before = bytes_at(at - 1, 1), after = bytes_at(at + n, 1);
                u32 words[] = {FMV_D_X(A1), f3 < 4 ? STORE(f3, A1, A0) : FSTORE(f3 - 2, A0)};
                run_insns(mode, words, 2, at, value);
                check_eq("store", bytes_at(at, n), n == 8 ? value : value & ((1ul << 8 * n) - 1));
                check_eq("store: the byte before", bytes_at(at - 1, 1), before);
                check_eq("store: the byte after", bytes_at(at + n, 1), after);
            }
        }
    hart->item = 0;
}

/* ---- what single AMOs give ---- */

static void amo_values(void)
{
    static const u64 values[] = {0, 1, ~0ul, 0x7fffffff, 0x80000000, 0x7fffffffffffffff, 1ul << 63, 0x0123456789abcdef};
    static const u8 ops[] = {0, 1, 4, 8, 12, 16, 20, 24, 28};
    static const char *const names[] = {"amoadd", "amoswap", "amoxor", "amoor", "amoand", "amomin", "amomax", "amominu", "amomaxu"};
    u64 *cell = hart->data;
    for (u64 o = 0; o < 9; o++)
        for (u32 width = has("zabha") ? 0 : 2; width < 4; width++)
            for (u64 i = 0; i < 64; i++) {
                u64 n = 1ul << width, mask = n == 8 ? ~0ul : (1ul << 8 * n) - 1;
                u64 old = values[i / 8], operand = values[i % 8];
                u64 a = sign_extend(old & mask, n), b = sign_extend(operand & mask, n), result = 0;
                switch (ops[o]) {
                case 0: result = a + b; break;
                case 1: result = b; break;
                case 4: result = a ^ b; break;
                case 8: result = a | b; break;
                case 12: result = a & b; break;
                case 16: result = (i64)a < (i64)b ? a : b; break;
                case 20: result = (i64)a > (i64)b ? a : b; break;
                case 24: result = (a & mask) < (b & mask) ? a : b; break;
                case 28: result = (a & mask) > (b & mask) ? a : b; break;
                }
                hart->variant = names[o];
                hart->item = 1000 * width + i + 1;
                *cell = (old & mask) | (0x5a5a5a5a5a5a5a5a & ~mask);
                u64 got = run_insn(M, AMO((u32)ops[o], width, A0, A1, A0), (u64)cell, operand);
                check_eq("old value", got, a);
                check_eq("new value, and the bytes beside it", *cell, (result & mask) | (0x5a5a5a5a5a5a5a5a & ~mask));
            }
    hart->variant = 0;
    hart->item = 0;
    /* The destination is also the operand, or nothing. */
    *cell = 40;
    u32 same[] = {AMO(0u, 3u, A1, A1, A0)};
    run_insns(M, same, 1, (u64)cell, 2);
    check_eq("amoadd.d rd = rs2: old value", hart->x[A1], 40);
    check_eq("amoadd.d rd = rs2: new value", *cell, 42);
    run_insn(M, AMO(0u, 3u, 0u, A1, A0), (u64)cell, 3);
    check_eq("amoadd.d to x0", *cell, 45);
    run_insn(M, AMO(2u, 3u, 0u, 0u, A0), (u64)cell, 3);
    check_eq("lr.d to x0", hart->m.cause, ECALL_M);
}

/* ---- reservations ---- */

static void reservations(void)
{
    u64 *a = &hart->data[0], *b = &hart->data[32];
    u64 first, second;
    *a = 1, *b = 1;
    __asm__ volatile("sc.d %0, %1, (%2)" : "=r"(first) : "r"(7), "r"(a) : "memory"); /* end any reservation */
    __asm__ volatile("sc.d %0, %1, (%2)" : "=r"(first) : "r"(7), "r"(a) : "memory");
    check("sc.d without lr.d fails", first);
    check_eq("and writes nothing", *a, 1);
    __asm__ volatile("lr.d t0, (%1)\n sc.d %0, %2, (%1)" : "=&r"(first) : "r"(a), "r"(7) : "t0", "memory");
    check_eq("lr.d, sc.d", first, 0);
    check_eq("lr.d, sc.d writes", *a, 7);
    /* Another address, with the same value in it: an SC that compares only values would succeed. */
    *b = 7;
    __asm__ volatile("lr.d t0, (%2)\n sc.d %0, %4, (%3)\n sc.d %1, %4, (%2)"
                     : "=&r"(first), "=&r"(second)
                     : "r"(a), "r"(b), "r"(9)
                     : "t0", "memory");
    check("sc.d to another address fails", first);
    check("and ends the reservation", second);
    check_eq("sc.d to another address writes nothing there", *b, 7);
    check_eq("nor here", *a, 7);
    /* The last LR counts. */
    __asm__ volatile("lr.d t0, (%2)\n lr.d t0, (%3)\n sc.d %0, %4, (%3)\n sc.d %1, %4, (%2)"
                     : "=&r"(first), "=&r"(second)
                     : "r"(a), "r"(b), "r"(10)
                     : "t0", "memory");
    check_eq("sc.d to the address of the last lr.d", first, 0);
    check("sc.d to an earlier one", second);
    check_eq("written", *b, 10);
    check_eq("not written", *a, 7);
    __asm__ volatile("lr.d t0, (%2)\n sc.d %0, %3, (%2)\n sc.d %1, %4, (%2)"
                     : "=&r"(first), "=&r"(second)
                     : "r"(a), "r"(11), "r"(12)
                     : "t0", "memory");
    check_eq("first of two sc.d", first, 0);
    check("second of two sc.d", second);
    check_eq("value of the first", *a, 11);
    /* Words: sign extension, and the other half is left alone. */
    *a = 0x1111111180000000;
    u64 loaded;
    __asm__ volatile("lr.w %0, (%2)\n sc.w %1, %3, (%2)"
                     : "=&r"(loaded), "=&r"(first)
                     : "r"(a), "r"(0xffffffff22222222)
                     : "memory");
    check_eq("lr.w extends the sign", loaded, 0xffffffff80000000);
    check_eq("sc.w", first, 0);
    check_eq("sc.w writes four bytes", *a, 0x1111111122222222);
    /* A trap and an xRET between LR and SC may end the reservation; a fence or other instructions do not matter. */
    for (u64 tries = 0; tries < 100; tries++) {
        __asm__ volatile("lr.d.aqrl t0, (%1)\n addi t0, t0, 1\n xor t0, t0, zero\n sc.d.aqrl %0, t0, (%1)"
                         : "=&r"(first)
                         : "r"(a)
                         : "t0", "memory");
        if (!first)
            break;
    }
    check_eq("a constrained LR/SC loop ends", first, 0);
    check_eq("and increments", *a, 0x1111111122222223);
}

static void compare_and_swap(void)
{
    u64 *cell = hart->data;
    if (!has("zacas")) {
        run_insn(M, AMO(5u, 3u, A0, A2, A1), 0, (u64)cell);
        check_trap("amocas.d without Zacas", ILLEGAL, AMO(5u, 3u, A0, A2, A1));
        return;
    }
    /* a0 compares and gets the old value; a2 holds hart->data, a fixed non-zero value, as the new one. */
    u64 desired = (u64)hart->data;
    for (u32 width = has("zabha") ? 0 : 2; width < 4; width++) {
        hart->item = width + 1;
        u64 n = 1ul << width, mask = n == 8 ? ~0ul : (1ul << 8 * n) - 1;
        u64 old = 0x8877665544332280 | 0x80ul << (8 * n - 8);
        *cell = old;
        u64 got = run_insn(M, AMO(5u, width, A0, A2, A1), old ^ (1ul << (8 * n - 1)), (u64)cell);
        check_eq("amocas, different", got, sign_extend(old & mask, n));
        check_eq("amocas, different: memory", *cell, old);
        /* Bits of the comparison value above the width do not matter. */
        got = run_insn(M, AMO(5u, width, A0, A2, A1), (old & mask) | (0x1234567812345678 & ~mask), (u64)cell);
        check_eq("amocas, equal", got, sign_extend(old & mask, n));
        check_eq("amocas, equal: memory", *cell, (desired & mask) | (old & ~mask));
        /* It is a store either way. */
        run_insn(M, AMO(5u, width, A0, A2, A1), 0, HOLE);
        check_trap("amocas nowhere", STORE_ACCESS, HOLE);
    }
    hart->item = 0;

    /* Quad: register pairs a0:a1 and a2:a3, the address in t0 (x5). */
    u32 quad = AMO(5u, 4u, A0, A2, 5u);
    u32 words[] = {LD(5u, A2), quad};
    cell[0] = (u64)&cell[4]; /* for t0: run_insns passes hart->data in a2 */
    cell[4] = 0x1111, cell[5] = 0x2222;
    run_insns(M, words, 2, 0x1111, 0x2223);
    check_eq("amocas.q, different: low", hart->x[A0], 0x1111);
    check_eq("amocas.q, different: high", hart->x[A1], 0x2222);
    check_eq("amocas.q, different: memory low", cell[4], 0x1111);
    check_eq("amocas.q, different: memory high", cell[5], 0x2222);
    run_insns(M, words, 2, 0x1111, 0x2222);
    check_eq("amocas.q, equal: low", hart->x[A0], 0x1111);
    check_eq("amocas.q, equal: high", hart->x[A1], 0x2222);
    check_eq("amocas.q, equal: memory low", cell[4], (u64)cell);
    check_eq("amocas.q, equal: memory high", cell[5], 0);
    cell[0] += 8;
    run_insns(M, words, 2, 0, 0);
    check_one_of("misaligned amocas.q", hart->m.cause, STORE_MISALIGNED, STORE_ACCESS);
    check_eq("misaligned amocas.q: tval", hart->m.tval, cell[0]);
    static const u32 odd[] = {AMO(5u, 4u, A1, A2, 5u), AMO(5u, 4u, A0, A3, 5u)};
    for (u64 i = 0; i < 2; i++) {
        run_insn(M, odd[i], 0, 0);
        check_trap("amocas.q with an odd register", ILLEGAL, odd[i]);
    }
    /* A pair that is x0 compares with zero and gives nothing. */
    cell[0] = (u64)&cell[4];
    cell[4] = cell[5] = 0;
    words[1] = AMO(5u, 4u, 0u, A2, 5u);
    run_insns(M, words, 2, 0, 77);
    check_eq("amocas.q with x0: memory", cell[4], (u64)cell);
    check_eq("amocas.q with x0: x1 is no part of it", hart->x[A1], 77);
}

/* ---- cache blocks ---- */

static void cache_blocks(void)
{
    u8 *bytes = (u8 *)hart->data;
    static const struct {
        u32 op;
        const char *ext, *name;
    } table[] = {
        {CBO_ZERO, "zicboz", "cbo.zero"}, {CBO_CLEAN, "zicbom", "cbo.clean"}, {CBO_FLUSH, "zicbom", "cbo.flush"}};
    for (u64 t = 0; t < 3; t++) {
        if (!has(table[t].ext))
            continue;
        for (u64 offset = 0; offset < 64; offset += 21) {
            for (u64 i = 0; i < 192; i++)
                bytes[i] = i | 1;
            run_insn(M, CBO(table[t].op, A0), (u64)bytes + 64 + offset, 0);
            u64 wrong = 0;
            for (u64 i = 0; i < 192; i++)
                wrong += bytes[i] != (table[t].op == CBO_ZERO && i / 64 == 1 ? 0 : (i | 1));
            check_eq(table[t].name, wrong, 0);
        }
    }
}

/* ---- Zawrs ---- */

static void wait_on_reservation(void)
{
    const u32 nto = 0x00d00073, sto = 0x01d00073;
    if (!has("zawrs")) {
        run_insn(M, nto, 0, 0);
        check_trap("wrs.nto without Zawrs", ILLEGAL, nto);
        return;
    }
    /* Without a reservation neither waits; with one, sto ends by itself, and nto by a pending interrupt. */
    for (u64 mode = U; mode <= M; mode += mode == S ? 2 : 1) {
        u32 words[] = {AMO(3u, 3u, 0u, A0, A2), sto, nto};
        run_insns(mode, words, 3, 0, 0);
        check_eq("wrs without a reservation", hart->m.cause, ecall_from(mode));
        u32 reserved[] = {AMO(2u, 3u, A0, 0u, A2), sto};
        run_insns(mode, reserved, 2, 0, 0);
        check_eq("wrs.sto", hart->m.cause, ecall_from(mode));
    }
    csr_set(MIP, SSI);
    csr_write(MIE, SSI);
    csr_clear(MSTATUS, MSTATUS_MPIE);
    u32 reserved[] = {AMO(2u, 3u, A0, 0u, A2), nto};
    run_insns(M, reserved, 2, 0, 0);
    check_eq("wrs.nto with a pending interrupt", hart->m.cause, ECALL_M);
    csr_write(MIE, 0);
    csr_clear(MIP, SSI);
}

/* ---- code that changes ---- */

static u64 call(u64 at) { return ((u64(*)(void))at)(); }

/* The new code in a1, its address in a0: every instruction that can write memory. */
static void rewritten(void)
{
    static const struct {
        u32 words[3];
        const char *ext, *name;
    } writers[] = {
        {{STORE(0u, A1, A0), NOP, NOP}, "i", "sb"},
        {{STORE(1u, A1, A0), NOP, NOP}, "i", "sh"},
        {{STORE(2u, A1, A0), NOP, NOP}, "i", "sw"},
        {{STORE(3u, A1, A0), NOP, NOP}, "i", "sd"},
        {{0xe10c0001 /* c.nop; c.sd a1, 0(a0) */, NOP, NOP}, "c", "c.sd"},
        {{FMV_D_X(A1), FSTORE(3u, A0), NOP}, "d", "fsd"},
        {{FMV_D_X(A1), FSTORE(2u, A0), NOP}, "f", "fsw"},
        {{AMO(1u, 2u, A2, A1, A0), NOP, NOP}, "a", "amoswap.w"},
        {{AMO(1u, 3u, A2, A1, A0), NOP, NOP}, "a", "amoswap.d"},
        {{AMO(2u, 3u, A2, 0u, A0), AMO(3u, 3u, A2, A1, A0), NOP}, "a", "sc.d"},
        {{AMO(2u, 2u, A2, 0u, A0), AMO(3u, 2u, A2, A1, A0), NOP}, "a", "sc.w"},
        {{LD(A2, A0), AMO(5u, 3u, A2, A1, A0), NOP}, "zacas", "amocas.d"},
        {{0xfff50513 /* addi a0, a0, -1 */, 0x00859593 /* slli a1, a1, 8 */, STORE(3u, A1, A0)}, "i", "misaligned sd"},
    };
    u64 at = SCRATCH + 8192;
    for (u64 i = 0; i < sizeof writers / sizeof *writers; i++) {
        if (!has(writers[i].ext))
            continue;
        hart->variant = writers[i].name;
        for (u64 mode = U; mode <= M; mode += mode == S ? 2 : 1)
            for (u64 round = 0; round < 4; round++) {
                /* sb and sh turn li a0, 5 into lui a0, 0x500; the others change the immediate. */
                u32 to = i < 2 ? LI_A0(5) - 0x13 + 0x37 : LI_A0(6 + round);
                mmio32(at) = LI_A0(5);
                mmio32(at + 4) = RET;
                mmio32(at - 4) = NOP;
                fence_i();
                check_eq("before", call(at), 5);
                run_insns(mode, writers[i].words, 3, at, (u64)RET << 32 | to);
                check_eq("the writer ran", hart->m.cause, ecall_from(mode));
                fence_i();
                check_eq("after", call(at), i < 2 ? 0x500000 : 6 + round);
            }
    }
    hart->variant = 0;

    if (has("zicboz")) {
        /* A block of zeros is illegal instructions. */
        mmio32(at) = LI_A0(5);
        fence_i();
        check_eq("before cbo.zero", call(at), 5);
        run_insn(M, CBO(CBO_ZERO, A0), at, 0);
        fence_i();
        trap_clear();
        hart->probe = at;
        run(M, (void *)at, 0, 0, 0, 0);
        check_trap("after cbo.zero", ILLEGAL, 0);
    }
}

/* A program that changes the instructions ahead of it, in its own cache line, and the ones behind it. */
__asm__(".balign 64\n"
        ".option push\n.option norvc\n"
        "patch_ahead:\n" /* a0 = new instruction; returns what `patched` gives */
        "    la t0, patched\n"
        "    sw a0, 0(t0)\n"
        "    fence.i\n"
        "patched:\n"
        "    li a0, 0\n"
        "    ret\n"
        "patch_loop:\n" /* a0 = rounds; each changes the immediate of the addi that counts */
        "    li a1, 0\n"
        "    la t0, 1f\n"
        "    lw t1, 0(t0)\n"
        "    li t2, 1 << 20\n"
        "1:  addi a1, a1, 0\n"
        "    add t1, t1, t2\n"
        "    sw t1, 0(t0)\n"
        "    fence.i\n"
        "    addi a0, a0, -1\n"
        "    bnez a0, 1b\n"
        "    sub t1, t1, zero\n"
        "    mv a0, a1\n"
        "    ret\n"
        ".option pop\n");
extern const char patch_ahead[], patch_loop[];

static void self_modifying(void)
{
    /* Each hart has its own copy, since each changes it. */
    u64 copy = SCRATCH + 12288;
    for (u64 i = 0; i < 192; i += 4)
        mmio32(copy + i) = *(const u32 *)(patch_ahead + i);
    fence_i();
    u64 (*ahead)(u64) = (u64(*)(u64))copy;
    u64 (*loop)(u64) = (u64(*)(u64))(copy + (patch_loop - patch_ahead));
    u64 bad = 0;
    for (u64 i = 0; i < 1000; i++)
        bad += ahead(LI_A0(i)) != i;
    check_eq("an instruction changed just ahead", bad, 0);
    /* Two compressed instructions in its place: c.li a0, 5; c.addi a0, 3. */
    check_eq("two compressed ones in its place", ahead(0x4515 | 0x050du << 16), 8);
    check_eq("and back", ahead(LI_A0(9)), 9);
    check_eq("a loop that changes itself", loop(100), 99 * 100 / 2);

    /* Many small functions, each written, called and overwritten. */
    for (u64 i = 0; i < 2000; i++) {
        u64 at = SCRATCH + 16384 + (i * 40 % 8192);
        mmio32(at) = LI_A0(i % 2048);
        mmio32(at + 4) = RET;
        fence_i();
        bad += call(at) != i % 2048;
    }
    check_eq("written and called", bad, 0);
}

/* A four-byte instruction on the edge of two pages, either half of which changes. */
static void straddling(void)
{
    u64 edge = SCRATCH + 40960, at = edge - 2;
    mmio16(edge - 4) = 0x0001;
    mmio32(edge + 2) = RET;
    for (u64 i = 0; i < 200; i++) {
        u32 word = i & 1 ? LI_A0(i) : LI_A0(i) | 6u << 12; /* addi or ori a0, x0, i */
        mmio16(at) = word;
        mmio16(at + 2) = word >> 16;
        fence_i();
        check_eq("instruction over a page edge", call(edge - 4), i);
        mmio16(at + 2) = (word >> 16) ^ 0x400; /* only the second page changes: i ^ 64 */
        fence_i();
        check_eq("second half changed", call(edge - 4), i ^ 64);
        mmio16(at) = 0x4501; /* c.li a0, 0; then the second half is an instruction of its own: c.li a0, 7 */
        mmio16(at + 2) = 0x451d;
        fence_i();
        check_eq("two instructions instead", call(edge - 4), 7);
    }
}

void rom_main(void)
{
    csr_set(MSTATUS, MSTATUS_FS_INITIAL);
    for (u64 mode = U; mode <= M; mode += mode == S ? 2 : 1)
        misaligned(mode);
    amo_values();
    reservations();
    compare_and_swap();
    cache_blocks();
    wait_on_reservation();
    rewritten();
    self_modifying();
    straddling();
}
