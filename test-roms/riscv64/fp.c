/* Floating point where engines go wrong: every rounding mode, static and dynamic, halves in conversions, the signs of
 * the fused operations, NaNs, boxing, flags. Random comparison with an oracle covers the rest. */
#include "rt.h"

const char rom_name[] = "fp";

enum { RNE, RTZ, RDN, RUP, RMM, DYN = 7 };
enum { NX = 1, UF = 2, OF = 4, DZ = 8, NV = 16 };
enum { FS, FD, FH }; /* fmt */

/* Operands fa0, fa1, fa2; result fa0, or a0 for instructions that give an integer; a0 is also the integer operand. */
#define OPF(f5, fmt, rs2, rm) ((u32)(f5) << 27 | (u32)(fmt) << 25 | (u32)(rs2) << 20 | 10u << 15 | (u32)(rm) << 12 | 10u << 7 | 0x53u)
#define FADD(fmt, rm) OPF(0, fmt, 11, rm)
#define FSUB(fmt, rm) OPF(1, fmt, 11, rm)
#define FMUL(fmt, rm) OPF(2, fmt, 11, rm)
#define FDIV(fmt, rm) OPF(3, fmt, 11, rm)
#define FSQRT(fmt, rm) OPF(11, fmt, 0, rm)
#define FSGNJ(fmt, n) OPF(4, fmt, 11, n)
#define FMIN(fmt) OPF(5, fmt, 11, 0)
#define FMAX(fmt) OPF(5, fmt, 11, 1)
#define FCVT_F_F(to, from, rm) OPF(8, to, from, rm)
#define FLE(fmt) OPF(20, fmt, 11, 0)
#define FLT(fmt) OPF(20, fmt, 11, 1)
#define FEQ(fmt) OPF(20, fmt, 11, 2)
enum { TO_W, TO_WU, TO_L, TO_LU };
#define FCVT_X_F(kind, fmt, rm) OPF(24, fmt, kind, rm)
#define FCVT_F_X(fmt, kind, rm) OPF(26, fmt, kind, rm)
#define FMV_X(fmt) OPF(28, fmt, 0, 0)
#define FCLASS(fmt) OPF(28, fmt, 0, 1)
#define FMV_F(fmt) OPF(30, fmt, 0, 0)
#define FMA(op, fmt, rm) (12u << 27 | (u32)(fmt) << 25 | 11u << 20 | 10u << 15 | (u32)(rm) << 12 | 10u << 7 | (op))
#define FMADD 0x43u
#define FMSUB 0x47u
#define FNMSUB 0x4bu
#define FNMADD 0x4fu
/* Zfa. */
#define FLI(fmt, n) (30u << 27 | (u32)(fmt) << 25 | 1u << 20 | (u32)(n) << 15 | 10u << 7 | 0x53u)
#define FMINM(fmt) OPF(5, fmt, 11, 2)
#define FMAXM(fmt) OPF(5, fmt, 11, 3)
#define FROUND(fmt, rm) OPF(8, fmt, 4, rm)
#define FROUNDNX(fmt, rm) OPF(8, fmt, 5, rm)
#define FCVTMOD OPF(24, FD, 8, 1)
#define FLEQ(fmt) OPF(20, fmt, 11, 4)
#define FLTQ(fmt) OPF(20, fmt, 11, 5)

#define BOX(w) (0xffffffff00000000ul | (w))
#define BOXH(h) (0xffffffffffff0000ul | (h))
#define NEG (1ul << 63)

#define ONE 0x3ff0000000000000ul
#define TWO 0x4000000000000000ul
#define THREE 0x4008000000000000ul
#define FOUR 0x4010000000000000ul
#define HALF 0x3fe0000000000000ul
#define INF 0x7ff0000000000000ul
#define QNAN 0x7ff8000000000000ul
#define SNAN 0x7ff0000000000001ul
#define MAX 0x7feffffffffffffful
#define MIN_NORMAL 0x0010000000000000ul
#define TINY 1ul
#define ONE_S BOX(0x3f800000)
#define QNAN_S BOX(0x7fc00000)
#define SNAN_S BOX(0x7f800001)
#define INF_S BOX(0x7f800000)

struct vector {
    const char *name;
    u32 insn;
    u64 a, b, c;
    u64 result;
    u8 flags;
};

/* One operation in the five rounding modes, each static (frm says another) and dynamic. */
struct rounding {
    const char *name;
    u32 insn; /* with rm 0 */
    u64 a, b, c;
    u64 results[5];
    u8 flags[5];
};

static const struct rounding rounded[] = {
#define ALL(f) {f, f, f, f, f}
    {"1/3", FDIV(FD, 0), ONE, THREE, 0,
     {0x3fd5555555555555, 0x3fd5555555555555, 0x3fd5555555555555, 0x3fd5555555555556, 0x3fd5555555555555}, ALL(NX)},
    {"-1/3", FDIV(FD, 0), ONE | NEG, THREE, 0,
     {0xbfd5555555555555, 0xbfd5555555555555, 0xbfd5555555555556, 0xbfd5555555555555, 0xbfd5555555555555}, ALL(NX)},
    {"1 + 2^-53, a tie", FADD(FD, 0), ONE, 0x3ca0000000000000, 0, {ONE, ONE, ONE, ONE + 1, ONE + 1}, ALL(NX)},
    {"-1 - 2^-53, a tie", FSUB(FD, 0), ONE | NEG, 0x3ca0000000000000, 0,
     {ONE | NEG, ONE | NEG, (ONE | NEG) + 1, ONE | NEG, (ONE | NEG) + 1}, ALL(NX)},
    {"1 + 2^-24, a tie, single", FADD(FS, 0), ONE_S, BOX(0x33800000), 0,
     {ONE_S, ONE_S, ONE_S, ONE_S + 1, ONE_S + 1}, ALL(NX)},
    {"x - x", FSUB(FD, 0), ONE, ONE, 0, {0, 0, NEG, 0, 0}, ALL(0)},
    {"sqrt 2", FSQRT(FD, 0), TWO, 0, 0,
     {0x3ff6a09e667f3bcd, 0x3ff6a09e667f3bcc, 0x3ff6a09e667f3bcc, 0x3ff6a09e667f3bcd, 0x3ff6a09e667f3bcd}, ALL(NX)},
    {"max + max", FADD(FD, 0), MAX, MAX, 0, {INF, MAX, MAX, INF, INF}, ALL(OF | NX)},
    {"-max - max", FSUB(FD, 0), MAX | NEG, MAX, 0,
     {INF | NEG, MAX | NEG, INF | NEG, MAX | NEG, INF | NEG}, ALL(OF | NX)},
    {"tiny * half", FMUL(FD, 0), TINY, HALF, 0, {0, 0, 0, TINY, TINY}, ALL(UF | NX)},
    {"-tiny * half", FMUL(FD, 0), TINY | NEG, HALF, 0, {NEG, NEG, NEG | 1, NEG, NEG | 1}, ALL(UF | NX)},
    {"min normal * half is exact", FMUL(FD, 0), MIN_NORMAL, HALF, 0, ALL(MIN_NORMAL / 2), ALL(0)},
    /* Tininess is found after rounding: 2^-1022 - 2^-1080 rounds up to a normal number, with no underflow, in three
     * modes; and to 2^-1022 - 2^-1074 with underflow in two. */
    {"just below the smallest normal", FMA(FNMSUB, FD, 0), 0x1e30000000000000, 0x1e30000000000000, MIN_NORMAL,
     {MIN_NORMAL, MIN_NORMAL - 1, MIN_NORMAL - 1, MIN_NORMAL, MIN_NORMAL}, {NX, UF | NX, UF | NX, NX, NX}},
    {"min normal * (1 - 2^-53)", FMUL(FD, 0), MIN_NORMAL, 0x3fefffffffffffff, 0,
     {MIN_NORMAL, MIN_NORMAL - 1, MIN_NORMAL - 1, MIN_NORMAL, MIN_NORMAL}, ALL(UF | NX)},
    /* (1 + 2^-52)^2 = 1 + 2^-51 + 2^-104, and its negative: direction is that of the final result. */
    {"fmadd direction", FMA(FMADD, FD, 0), ONE + 1, ONE + 1, 0, {ONE + 2, ONE + 2, ONE + 2, ONE + 3, ONE + 2}, ALL(NX)},
    {"fnmadd direction", FMA(FNMADD, FD, 0), ONE + 1, ONE + 1, 0,
     {(ONE + 2) | NEG, (ONE + 2) | NEG, (ONE + 3) | NEG, (ONE + 2) | NEG, (ONE + 2) | NEG}, ALL(NX)},
    {"fnmsub direction", FMA(FNMSUB, FD, 0), ONE + 1, ONE + 1, 0,
     {(ONE + 2) | NEG, (ONE + 2) | NEG, (ONE + 3) | NEG, (ONE + 2) | NEG, (ONE + 2) | NEG}, ALL(NX)},
    {"fnmadd direction, single", FMA(FNMADD, FS, 0), ONE_S + 1, ONE_S + 1, BOX(0),
     {BOX(0xbf800002), BOX(0xbf800002), BOX(0xbf800003), BOX(0xbf800002), BOX(0xbf800002)}, ALL(NX)},
    {"fused once: 1 + 2^-52 - 2^-105", FMA(FMADD, FD, 0), 0x3ca0000000000000, 0xbca0000000000000, ONE + 1,
     {ONE + 1, ONE, ONE, ONE + 1, ONE + 1}, ALL(NX)},
    {"fmadd to zero", FMA(FMADD, FD, 0), ONE, ONE, ONE | NEG, {0, 0, NEG, 0, 0}, ALL(0)},
    {"fnmadd to zero", FMA(FNMADD, FD, 0), ONE, ONE, ONE | NEG, {0, 0, NEG, 0, 0}, ALL(0)},
    {"fmsub to zero", FMA(FMSUB, FD, 0), ONE, ONE, ONE, {0, 0, NEG, 0, 0}, ALL(0)},
    /* Conversions to integers: halves both ways. */
    {"fcvt.w.d 0.5", FCVT_X_F(TO_W, FD, 0), HALF, 0, 0, {0, 0, 0, 1, 1}, ALL(NX)},
    {"fcvt.w.d 1.5", FCVT_X_F(TO_W, FD, 0), 0x3ff8000000000000, 0, 0, {2, 1, 1, 2, 2}, ALL(NX)},
    {"fcvt.w.d 2.5", FCVT_X_F(TO_W, FD, 0), 0x4004000000000000, 0, 0, {2, 2, 2, 3, 3}, ALL(NX)},
    {"fcvt.w.d -0.5", FCVT_X_F(TO_W, FD, 0), HALF | NEG, 0, 0, {0, 0, -1ul, 0, -1ul}, ALL(NX)},
    {"fcvt.l.d -2.5", FCVT_X_F(TO_L, FD, 0), 0xc004000000000000, 0, 0, {-2ul, -2ul, -3ul, -2ul, -3ul}, ALL(NX)},
    {"fcvt.l.s 2.5", FCVT_X_F(TO_L, FS, 0), BOX(0x40200000), 0, 0, {2, 2, 2, 3, 3}, ALL(NX)},
    {"fcvt.lu.d 0.75", FCVT_X_F(TO_LU, FD, 0), 0x3fe8000000000000, 0, 0, {1, 0, 0, 1, 1}, ALL(NX)},
    {"fcvt.wu.d -0.5", FCVT_X_F(TO_WU, FD, 0), HALF | NEG, 0, 0, ALL(0), {NX, NX, NV, NX, NV}},
    {"fcvt.w.d 2^31 - 0.5", FCVT_X_F(TO_W, FD, 0), 0x41dfffffffe00000, 0, 0, ALL(0x7fffffff), {NV, NX, NX, NV, NV}},
    {"fcvt.wu.d 2^32 - 0.5", FCVT_X_F(TO_WU, FD, 0), 0x41effffffff00000, 0, 0, ALL(~0ul), {NV, NX, NX, NV, NV}},
    {"fcvt.w.d -2^31 - 0.5", FCVT_X_F(TO_W, FD, 0), 0xc1e0000000100000, 0, 0, ALL(0xffffffff80000000),
     {NX, NX, NV, NX, NV}},
    /* From integers and between formats. */
    {"fcvt.s.l 2^24 + 1", FCVT_F_X(FS, TO_L, 0), 16777217, 0, 0,
     {BOX(0x4b800000), BOX(0x4b800000), BOX(0x4b800000), BOX(0x4b800001), BOX(0x4b800001)}, ALL(NX)},
    {"fcvt.s.w -2^24 - 1", FCVT_F_X(FS, TO_W, 0), -16777217ul, 0, 0,
     {BOX(0xcb800000), BOX(0xcb800000), BOX(0xcb800001), BOX(0xcb800000), BOX(0xcb800001)}, ALL(NX)},
    {"fcvt.d.lu 2^64 - 1", FCVT_F_X(FD, TO_LU, 0), ~0ul, 0, 0,
     {0x43f0000000000000, 0x43efffffffffffff, 0x43efffffffffffff, 0x43f0000000000000, 0x43f0000000000000}, ALL(NX)},
    {"fcvt.d.l 2^53 + 1", FCVT_F_X(FD, TO_L, 0), (1ul << 53) + 1, 0, 0,
     {0x4340000000000000, 0x4340000000000000, 0x4340000000000000, 0x4340000000000001, 0x4340000000000001}, ALL(NX)},
    {"fcvt.s.d 1 + 2^-24", FCVT_F_F(FS, FD, 0), 0x3ff0000010000000, 0, 0,
     {ONE_S, ONE_S, ONE_S, ONE_S + 1, ONE_S + 1}, ALL(NX)},
    {"fcvt.s.d too large", FCVT_F_F(FS, FD, 0), MAX, 0, 0,
     {INF_S, BOX(0x7f7fffff), BOX(0x7f7fffff), INF_S, INF_S}, ALL(OF | NX)},
    {"fcvt.s.d too small", FCVT_F_F(FS, FD, 0), 0x3690000000000000 /* 2^-150 */, 0, 0,
     {BOX(0), BOX(0), BOX(0), BOX(1), BOX(1)}, ALL(UF | NX)},
};

static const struct rounding rounded_half[] = {
    {"1 + 2^-11, a tie, half", FADD(FH, 0), BOXH(0x3c00), BOXH(0x1000), 0,
     {BOXH(0x3c00), BOXH(0x3c00), BOXH(0x3c00), BOXH(0x3c01), BOXH(0x3c01)}, ALL(NX)},
    {"1/3, half", FDIV(FH, 0), BOXH(0x3c00), BOXH(0x4200), 0,
     {BOXH(0x3555), BOXH(0x3555), BOXH(0x3555), BOXH(0x3556), BOXH(0x3555)}, ALL(NX)},
    {"fcvt.h.s 65520", FCVT_F_F(FH, FS, 0), BOX(0x477ff000), 0, 0,
     {BOXH(0x7c00), BOXH(0x7bff), BOXH(0x7bff), BOXH(0x7c00), BOXH(0x7c00)}, {OF | NX, NX, NX, OF | NX, OF | NX}},
    /* 1 + 2^-11 + 2^-40: rounding to single on the way would make it a tie. */
    {"fcvt.h.d rounds once", FCVT_F_F(FH, FD, 0), 0x3ff0020000001000, 0, 0,
     {BOXH(0x3c01), BOXH(0x3c00), BOXH(0x3c00), BOXH(0x3c01), BOXH(0x3c01)}, ALL(NX)},
    {"fcvt.h.l 2049", FCVT_F_X(FH, TO_L, 0), 2049, 0, 0,
     {BOXH(0x6800), BOXH(0x6800), BOXH(0x6800), BOXH(0x6801), BOXH(0x6801)}, ALL(NX)},
    {"fcvt.w.h 2.5", FCVT_X_F(TO_W, FH, 0), BOXH(0x4100), 0, 0, {2, 2, 2, 3, 3}, ALL(NX)},
    {"fnmadd direction, half", FMA(FNMADD, FH, 0), BOXH(0x3c01), BOXH(0x3c01), BOXH(0),
     {BOXH(0xbc02), BOXH(0xbc02), BOXH(0xbc03), BOXH(0xbc02), BOXH(0xbc02)}, ALL(NX)},
};

static const struct rounding rounded_zfa[] = {
    {"fround.d 2.5", FROUND(FD, 0), 0x4004000000000000, 0, 0, {TWO, TWO, TWO, THREE, THREE}, ALL(0)},
    {"froundnx.d 2.5", FROUNDNX(FD, 0), 0x4004000000000000, 0, 0, {TWO, TWO, TWO, THREE, THREE}, ALL(NX)},
    {"fround.d -0.5", FROUND(FD, 0), HALF | NEG, 0, 0, {NEG, NEG, ONE | NEG, NEG, ONE | NEG}, ALL(0)},
    {"froundnx.s 1.5", FROUNDNX(FS, 0), BOX(0x3fc00000), 0, 0,
     {BOX(0x40000000), ONE_S, ONE_S, BOX(0x40000000), BOX(0x40000000)}, ALL(NX)},
    {"froundnx.d of an integer", FROUNDNX(FD, 0), THREE, 0, 0, ALL(THREE), ALL(0)},
};

static const struct vector exact[] = {
    {"fmadd", FMA(FMADD, FD, 0), TWO, THREE, FOUR, 0x4024000000000000, 0},
    {"fmsub", FMA(FMSUB, FD, 0), TWO, THREE, FOUR, TWO, 0},
    {"fnmsub", FMA(FNMSUB, FD, 0), TWO, THREE, FOUR, TWO | NEG, 0},
    {"fnmadd", FMA(FNMADD, FD, 0), TWO, THREE, FOUR, 0xc024000000000000, 0},
    {"fnmadd of zeros", FMA(FNMADD, FD, 0), ONE, 0, 0, NEG, 0},
    {"fnmsub of zeros", FMA(FNMSUB, FD, 0), ONE, 0, 0, 0, 0},
    {"fmadd of -0", FMA(FMADD, FD, 0), ONE, NEG, NEG, NEG, 0},
    {"fnmadd of NaN has no sign", FMA(FNMADD, FD, 0), QNAN | NEG, ONE, ONE, QNAN, 0},
    {"fmadd inf * 0 + NaN is invalid", FMA(FMADD, FD, 0), INF, 0, QNAN, QNAN, NV},
    {"fmadd inf - inf", FMA(FMADD, FD, 0), INF, ONE, INF | NEG, QNAN, NV},
    {"1/0", FDIV(FD, 0), ONE, 0, 0, INF, DZ},
    {"-1/0", FDIV(FD, 0), ONE | NEG, 0, 0, INF | NEG, DZ},
    {"0/0", FDIV(FD, 0), 0, 0, 0, QNAN, NV},
    {"inf - inf", FSUB(FD, 0), INF, INF, 0, QNAN, NV},
    {"sqrt -1", FSQRT(FD, 0), ONE | NEG, 0, 0, QNAN, NV},
    {"sqrt -0", FSQRT(FD, 0), NEG, 0, 0, NEG, 0},
    {"sqrt 4", FSQRT(FD, 0), FOUR, 0, 0, TWO, 0},
    {"NaN + 1 is the canonical NaN", FADD(FD, 0), QNAN | NEG | 0x123, ONE, 0, QNAN, 0},
    {"signaling NaN + 1", FADD(FD, 0), SNAN, ONE, 0, QNAN, NV},
    {"NaN + 1, single", FADD(FS, 0), BOX(0xffc00123), ONE_S, 0, QNAN_S, 0},
    {"fmin -0, 0", FMIN(FD), NEG, 0, 0, NEG, 0},
    {"fmin 0, -0", FMIN(FD), 0, NEG, 0, NEG, 0},
    {"fmax -0, 0", FMAX(FD), NEG, 0, 0, 0, 0},
    {"fmax 0, -0", FMAX(FD), 0, NEG, 0, 0, 0},
    {"fmin NaN, 1", FMIN(FD), QNAN, ONE, 0, ONE, 0},
    {"fmax 1, NaN", FMAX(FD), ONE, QNAN, 0, ONE, 0},
    {"fmin signaling, 1", FMIN(FD), SNAN, ONE, 0, ONE, NV},
    {"fmin 1, signaling", FMIN(FD), ONE, SNAN, 0, ONE, NV},
    {"fmax of NaNs", FMAX(FD), QNAN | NEG | 5, QNAN | 7, 0, QNAN, 0},
    {"feq NaN", FEQ(FD), QNAN, ONE, 0, 0, 0},
    {"feq signaling", FEQ(FD), SNAN, ONE, 0, 0, NV},
    {"flt NaN", FLT(FD), QNAN, ONE, 0, 0, NV},
    {"fle NaN", FLE(FD), ONE, QNAN, 0, 0, NV},
    {"feq -0, 0", FEQ(FD), NEG, 0, 0, 1, 0},
    {"flt -0, 0", FLT(FD), NEG, 0, 0, 0, 0},
    {"fle -0, 0", FLE(FD), NEG, 0, 0, 1, 0},
    {"fclass -inf", FCLASS(FD), INF | NEG, 0, 0, 1 << 0, 0},
    {"fclass -1", FCLASS(FD), ONE | NEG, 0, 0, 1 << 1, 0},
    {"fclass -subnormal", FCLASS(FD), TINY | NEG, 0, 0, 1 << 2, 0},
    {"fclass -0", FCLASS(FD), NEG, 0, 0, 1 << 3, 0},
    {"fclass 0", FCLASS(FD), 0, 0, 0, 1 << 4, 0},
    {"fclass subnormal", FCLASS(FD), TINY, 0, 0, 1 << 5, 0},
    {"fclass 1", FCLASS(FD), ONE, 0, 0, 1 << 6, 0},
    {"fclass inf", FCLASS(FD), INF, 0, 0, 1 << 7, 0},
    {"fclass signaling", FCLASS(FD), SNAN, 0, 0, 1 << 8, 0},
    {"fclass NaN", FCLASS(FD), QNAN, 0, 0, 1 << 9, 0},
    {"fclass.s of what is not boxed", FCLASS(FS), 0x3f800000, 0, 0, 1 << 9, 0},
    /* Saturation. */
    {"fcvt.w.d NaN", FCVT_X_F(TO_W, FD, 0), QNAN | NEG, 0, 0, 0x7fffffff, NV},
    {"fcvt.wu.d NaN", FCVT_X_F(TO_WU, FD, 0), QNAN, 0, 0, ~0ul, NV},
    {"fcvt.l.d NaN", FCVT_X_F(TO_L, FD, 0), QNAN, 0, 0, 0x7fffffffffffffff, NV},
    {"fcvt.lu.d NaN", FCVT_X_F(TO_LU, FD, 0), QNAN, 0, 0, ~0ul, NV},
    {"fcvt.w.d -inf", FCVT_X_F(TO_W, FD, 0), INF | NEG, 0, 0, 0xffffffff80000000, NV},
    {"fcvt.wu.d -1", FCVT_X_F(TO_WU, FD, 0), ONE | NEG, 0, 0, 0, NV},
    {"fcvt.lu.d -1", FCVT_X_F(TO_LU, FD, 0), ONE | NEG, 0, 0, 0, NV},
    {"fcvt.l.d 2^63", FCVT_X_F(TO_L, FD, 0), 0x43e0000000000000, 0, 0, 0x7fffffffffffffff, NV},
    {"fcvt.l.d -2^63", FCVT_X_F(TO_L, FD, 0), 0xc3e0000000000000, 0, 0, NEG, 0},
    {"fcvt.lu.d 2^63", FCVT_X_F(TO_LU, FD, 0), 0x43e0000000000000, 0, 0, NEG, 0},
    {"fcvt.lu.d 2^64", FCVT_X_F(TO_LU, FD, 0), 0x43f0000000000000, 0, 0, ~0ul, NV},
    {"fcvt.wu.d 2^31", FCVT_X_F(TO_WU, FD, 0), 0x41e0000000000000, 0, 0, 0xffffffff80000000, 0},
    {"fcvt.wu.s inf", FCVT_X_F(TO_WU, FS, 0), INF_S, 0, 0, ~0ul, NV},
    {"fcvt.d.w uses 32 bits", FCVT_F_X(FD, TO_W, 0), 0x1234567800000001, 0, 0, ONE, 0},
    {"fcvt.d.wu -1", FCVT_F_X(FD, TO_WU, 0), ~0ul, 0, 0, 0x41efffffffe00000, 0},
    {"fcvt.d.s NaN", FCVT_F_F(FD, FS, 0), BOX(0xffc12345), 0, 0, QNAN, 0},
    {"fcvt.d.s signaling", FCVT_F_F(FD, FS, 0), SNAN_S, 0, 0, QNAN, NV},
    {"fcvt.s.d signaling", FCVT_F_F(FS, FD, 0), SNAN, 0, 0, QNAN_S, NV},
    {"fcvt.d.s subnormal", FCVT_F_F(FD, FS, 0), BOX(1), 0, 0, 0x36a0000000000000, 0},
    /* Boxes. */
    {"fadd.s of what is not boxed", FADD(FS, 0), 0x3f800000, ONE_S, 0, QNAN_S, 0},
    {"fsgnj.s of what is not boxed", FSGNJ(FS, 0), 0x3f800000, BOX(0x80000000), 0, BOX(0xffc00000), 0},
    {"fsgnjn.s", FSGNJ(FS, 1), ONE_S, ONE_S, 0, BOX(0xbf800000), 0},
    {"fsgnjx.d keeps a signaling NaN", FSGNJ(FD, 2), SNAN, NEG, 0, SNAN | NEG, 0},
    {"fmv.x.w takes the low half, boxed or not", FMV_X(FS), 0x12345678bf800000, 0, 0, 0xffffffffbf800000, 0},
    {"fmv.w.x boxes", FMV_F(FS), 0x12345678, 0, 0, BOX(0x12345678), 0},
    {"fmin.s of what is not boxed", FMIN(FS), 0, ONE_S, 0, ONE_S, 0},
    {"fcvt.w.s of what is not boxed", FCVT_X_F(TO_W, FS, 0), 0x3f800000, 0, 0, 0x7fffffff, NV},
};

static const struct vector exact_half[] = {
    {"fcvt.s.h", FCVT_F_F(FS, FH, 0), BOXH(0x3c00), 0, 0, ONE_S, 0},
    {"fcvt.d.h subnormal", FCVT_F_F(FD, FH, 0), BOXH(1), 0, 0, 0x3e70000000000000, 0},
    {"fcvt.s.h NaN", FCVT_F_F(FS, FH, 0), BOXH(0xfe01), 0, 0, QNAN_S, 0},
    {"fcvt.h.s NaN", FCVT_F_F(FH, FS, 0), BOX(0xffc00001), 0, 0, BOXH(0x7e00), 0},
    {"fmv.x.h extends the sign", FMV_X(FH), 0x8001, 0, 0, 0xffffffffffff8001, 0},
    {"fmv.h.x boxes", FMV_F(FH), 0x12345678, 0, 0, BOXH(0x5678), 0},
    {"fadd.h of what is not boxed", FADD(FH, 0), BOX(0x3c00), BOXH(0x3c00), 0, BOXH(0x7e00), 0},
    {"fclass.h subnormal", FCLASS(FH), BOXH(0x0001), 0, 0, 1 << 5, 0},
    {"fmax.h", FMAX(FH), BOXH(0x8000), BOXH(0), 0, BOXH(0), 0},
    {"fmul.h", FMUL(FH, 0), BOXH(0x4200), BOXH(0x4000), 0, BOXH(0x4600), 0},
    {"fle.h", FLE(FH), BOXH(0x3c00), BOXH(0x3c00), 0, 1, 0},
};

static const struct vector exact_zfa[] = {
    {"fli.d -1", FLI(FD, 0), 0, 0, 0, ONE | NEG, 0},
    {"fli.d min", FLI(FD, 1), 0, 0, 0, MIN_NORMAL, 0},
    {"fli.d 2^-16", FLI(FD, 2), 0, 0, 0, 0x3ef0000000000000, 0},
    {"fli.d 0.3125", FLI(FD, 9), 0, 0, 0, 0x3fd4000000000000, 0},
    {"fli.d 1", FLI(FD, 16), 0, 0, 0, ONE, 0},
    {"fli.d 1.75", FLI(FD, 19), 0, 0, 0, 0x3ffc000000000000, 0},
    {"fli.d 3", FLI(FD, 22), 0, 0, 0, THREE, 0},
    {"fli.d 65536", FLI(FD, 29), 0, 0, 0, 0x40f0000000000000, 0},
    {"fli.d inf", FLI(FD, 30), 0, 0, 0, INF, 0},
    {"fli.d NaN", FLI(FD, 31), 0, 0, 0, QNAN, 0},
    {"fli.s min", FLI(FS, 1), 0, 0, 0, BOX(0x00800000), 0},
    {"fli.s 2.5", FLI(FS, 21), 0, 0, 0, BOX(0x40200000), 0},
    {"fminm NaN, 1", FMINM(FD), QNAN, ONE, 0, QNAN, 0},
    {"fmaxm 1, signaling", FMAXM(FD), ONE, SNAN, 0, QNAN, NV},
    {"fminm -0, 0", FMINM(FD), 0, NEG, 0, NEG, 0},
    {"fmaxm.s 1, 2", FMAXM(FS), ONE_S, BOX(0x40000000), 0, BOX(0x40000000), 0},
    {"fcvtmod.w.d 2^32 + 5", FCVTMOD, 0x41f0000000500000, 0, 0, 5, NV},
    {"fcvtmod.w.d -1.5", FCVTMOD, 0xbff8000000000000, 0, 0, -1ul, NX},
    {"fcvtmod.w.d 2^31", FCVTMOD, 0x41e0000000000000, 0, 0, 0xffffffff80000000, NV},
    {"fcvtmod.w.d NaN", FCVTMOD, QNAN, 0, 0, 0, NV},
    {"fcvtmod.w.d 2^80", FCVTMOD, 0x44f0000000000000, 0, 0, 0, NV},
    {"fleq NaN", FLEQ(FD), QNAN, ONE, 0, 0, 0},
    {"fltq signaling", FLTQ(FD), SNAN, ONE, 0, 0, NV},
    {"fleq 1, 1", FLEQ(FD), ONE, ONE, 0, 1, 0},
    {"fltq.s 1, 2", FLTQ(FS), ONE_S, BOX(0x40000000), 0, 1, 0},
    {"fround.d of a signaling NaN", FROUND(FD, 0), SNAN, 0, 0, QNAN, NV},
    {"fround.d 2^60", FROUND(FD, 0), 0x43b0000000000001, 0, 0, 0x43b0000000000001, 0},
};

/* The result is in an integer register: comparison, classification, move or conversion to one. */
static bool gives_integer(u32 insn)
{
    u32 f5 = insn >> 27;
    return (insn & 0x7f) == 0x53 && (f5 == 20 || f5 == 24 || f5 == 28);
}

/* Executes it with fcsr = frm << 5; checks value, flags. */
static void try(const char *name, u32 insn, u64 a, u64 b, u64 c, u64 frm, u64 result, u8 flags)
{
    u32 words[] = {
        0xf2000053u | A0 << 15 | 10u << 7, /* fmv.d.x fa0, a0 */
        0xf2000053u | A1 << 15 | 11u << 7,
        LD(A2, A2),
        0xf2000053u | A2 << 15 | 12u << 7,
        insn,
        CSRRS(A1, FCSR, 0),
        0xe2000053u | 10u << 15 | A2 << 7, /* fmv.x.d a2, fa0 */
    };
    hart->data[0] = c;
    csr_write(FCSR, frm << 5);
    run_insns(U, words, 7, a, b);
    check_eq(name, hart->m.cause, ECALL_U);
    check_eq(name, gives_integer(insn) ? hart->x[A0] : hart->x[A2], result);
    check_eq(name, hart->x[A1], frm << 5 | flags);
}

static void try_rounding(const struct rounding *v, u64 n)
{
    for (; n--; v++)
        for (u32 rm = RNE; rm <= RMM; rm++) {
            hart->variant = "static";
            hart->item = rm;
            /* frm asks for something else, in the end something reserved: it must not matter. */
            try(v->name, v->insn | rm << 12, v->a, v->b, v->c, (rm + 2) % 8, v->results[rm], v->flags[rm]);
            hart->variant = "dynamic";
            try(v->name, v->insn | DYN << 12, v->a, v->b, v->c, rm, v->results[rm], v->flags[rm]);
        }
    hart->variant = 0;
    hart->item = 0;
}

static void try_exact(const struct vector *v, u64 n)
{
    for (; n--; v++)
        try(v->name, v->insn, v->a, v->b, v->c, RNE, v->result, v->flags);
}

#define COUNT(table) (sizeof(table) / sizeof *(table))

static void absent(const struct vector *v, u64 n)
{
    for (; n--; v++) {
        run_insn(U, v->insn, 0, 0);
        check_trap(v->name, ILLEGAL, v->insn);
    }
}

/* Reserved rounding modes are illegal instructions, in every operation that rounds. */
static void reserved_modes(void)
{
    for (u64 i = 0; i < COUNT(rounded); i++)
        for (u32 rm = 5; rm <= 7; rm++) {
            hart->item = rm;
            u32 insn = rounded[i].insn | rm << 12;
            for (u64 frm = 5; frm <= 7; frm++) {
                csr_write(FCSR, frm << 5);
                run_insn(U, insn, 0, 0);
                check_trap(rounded[i].name, ILLEGAL, insn);
            }
        }
    hart->item = 0;
    csr_write(FCSR, 0);
}

/* Flags stick until they are written; fflags, frm and fcsr are one register. */
static void status_register(void)
{
    csr_write(FCSR, 0);
    csr_write(FFLAGS, ~0ul);
    check_eq("fflags has five bits", csr_read(FCSR), 0x1f);
    csr_write(FRM, 4);
    check_eq("frm beside fflags", csr_read(FCSR), 0x9f);
    check_eq("frm", csr_read(FRM), 4);
    csr_write(FFLAGS, 0);
    check_eq("frm stays", csr_read(FCSR), 0x80);
    csr_write(FCSR, ~0ul);
    check_eq("fcsr has eight bits", csr_read(FCSR), 0xff);
    csr_write(FCSR, 0);
    u32 words[] = {
        0xf2000053u | A0 << 15 | 10u << 7, 0xf2000053u | A1 << 15 | 11u << 7,
        FDIV(FD, RNE),      /* 1 / 0: DZ */
        CSRRS(A0, FFLAGS, 0),
        FDIV(FD, RNE),      /* inf / 0: nothing new */
        FSUB(FD, RNE),      /* inf - 0 */
        CSRRSI(A1, FFLAGS, 1u),
        CSRRW(A2, FFLAGS, 0),
        CSRRS(A3, FFLAGS, 0),
    };
    run_insns(U, words, 9, ONE, 0);
    check_eq("DZ", hart->x[A0], DZ);
    check_eq("DZ sticks", hart->x[A1], DZ);
    check_eq("a bit set by hand", hart->x[A2], DZ | NX);
    check_eq("cleared", hart->x[A3], 0);
    /* A loop of inexact operations, flags cleared in each round. */
    u64 bad = 0;
    for (u64 i = 0; i < 100; i++) {
        csr_write(FCSR, 0);
        run_insns(U, words, 4, i & 1 ? ONE : 0x3ff8000000000000, i & 1 ? THREE : TWO);
        bad += hart->x[A0] != (i & 1 ? NX : 0);
    }
    check_eq("flags do not leak from earlier operations", bad, 0);
}

void rom_main(void)
{
    csr_set(MSTATUS, MSTATUS_FS_INITIAL);
    try_rounding(rounded, COUNT(rounded));
    try_exact(exact, COUNT(exact));
    if (has("zfh")) {
        try_rounding(rounded_half, COUNT(rounded_half));
        try_exact(exact_half, COUNT(exact_half));
    } else if (!has("zfhmin")) {
        absent(exact_half, COUNT(exact_half));
    }
    if (has("zfa")) {
        try_rounding(rounded_zfa, COUNT(rounded_zfa));
        try_exact(exact_zfa, COUNT(exact_zfa));
    } else {
        absent(exact_zfa, COUNT(exact_zfa));
    }
    reserved_modes();
    status_register();
}
