//! Advanced SIMD (DDI 0487, C4.1.96 "Data Processing -- Scalar Floating-Point and Advanced SIMD", C7).
//!
//! Most instructions are one vector operation of the IR, whose lanes and variant the tables name. A register is read and
//! written whole: a form that works on 64 bits, or on a scalar, leaves zeros above.

mod crypto;
mod element;
mod float;
mod moves;
mod shift;
mod structure;

use emu_core::ir::{Op, Reduction, Shuffle, Ty, Val, VecCc, VecUnary};

use super::super::decode::args;
use super::Lifter;

/// Variants of operations, as their attributes have them (`emu_core::ir::op`).
#[rustfmt::skip]
pub(super) mod variant {
    use super::{VecCc, VecUnary};

    pub const HALF: u16 = 1 << 2;
    pub const ONE: u16 = 2 << 2;
    pub const SIGNED: u16 = 0;
    pub const UNSIGNED: u16 = 1 << 4;
    pub const SIGNED_UNSIGNED: u16 = 2 << 4;
    pub const UNSIGNED_SIGNED: u16 = 3 << 4;
    pub const ROUND: u16 = 1 << 5;
    pub const SUBTRACT: u16 = 2 << 5;
    pub const ROUND_SATURATED: u16 = 1 << 6;
    pub const MINUS: u16 = 1 << 4;
    pub const HIGH: u16 = 1 << 5;
    pub const EQ: u16 = (VecCc::Eq as u16) << 4;
    pub const GTS: u16 = (VecCc::Gts as u16) << 4;
    pub const GES: u16 = (VecCc::Ges as u16) << 4;
    pub const GTU: u16 = (VecCc::Gtu as u16) << 4;
    pub const GEU: u16 = (VecCc::Geu as u16) << 4;
    pub const TEST: u16 = (VecCc::Test as u16) << 4;
    pub const ABS: u16 = (VecUnary::Abs as u16) << 4;
    pub const CLS: u16 = (VecUnary::Cls as u16) << 4;
    pub const CLZ: u16 = (VecUnary::Clz as u16) << 4;
    pub const POPCNT: u16 = (VecUnary::Popcnt as u16) << 4;
    pub const BITREV: u16 = (VecUnary::Bitrev as u16) << 4;
    pub const BY_16: u16 = 0;
    pub const BY_32: u16 = 1 << 4;
    pub const BY_64: u16 = 2 << 4;
    pub const E16: u16 = 1;
    pub const E32: u16 = 2;
    pub const E64: u16 = 3;
}
pub(super) use float::{NAN_IS_ZERO, variant as float_variant};
pub(super) use moves::Set;
pub(super) use variant::*;

/// The registers of an instruction, and its lanes: element width and part, as [`Op::Vadd`] and its like have them.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    rd: u8,
    rn: u8,
    rm: u8,
    attr: u16,
}

impl Lanes {
    /// Vectors: all lanes, or those of the low half.
    fn vector(rd: u8, rn: u8, rm: u8, size: u8, q: u8) -> Self {
        Self { rd, rn, rm, attr: u16::from(size) | if q == 0 { HALF } else { 0 } }
    }

    /// Scalars: the lowest lane.
    fn scalar(rd: u8, rn: u8, rm: u8, size: u8) -> Self {
        Self { rd, rn, rm, attr: u16::from(size) | ONE }
    }

    /// The element width alone.
    fn size(self) -> u16 {
        self.attr & 3
    }

    /// Bits in an element.
    fn bits(self) -> i32 {
        8 << self.size()
    }

    /// Lanes of twice the width: all of them, or the lowest.
    fn wide(self) -> u16 {
        (self.size() + 1) | self.attr & ONE
    }

    /// Whether the instruction works on 128 bits; of those that widen or narrow it means the upper half.
    fn full(self) -> bool {
        self.attr & (HALF | ONE) == 0
    }

    /// The upper half of narrower operands, if that is meant.
    fn high(self) -> u16 {
        if self.full() { HIGH } else { 0 }
    }

    /// The part as bitwise operations have it: scalars have zeros above anyway.
    fn half(self) -> u16 {
        self.attr & HALF
    }
}

/// The lanes that the fields of a format mean; what a format has no field for is given.
macro_rules! lanes {
    ($($format:ident $make:ident ($($arg:tt)*),)*) => {$(
        impl From<args::$format> for Lanes {
            fn from(a: args::$format) -> Self {
                lanes!(@ a $make () $($arg)*)
            }
        }
    )*};
    (@ $a:ident $make:ident ($($done:tt)*)) => { Self::$make($($done)*) };
    (@ $a:ident $make:ident ($($done:tt)*) $n:literal $($rest:tt)*) => {
        lanes!(@ $a $make ($($done)* $n,) $($rest)*)
    };
    (@ $a:ident $make:ident ($($done:tt)*) $field:ident $($rest:tt)*) => {
        lanes!(@ $a $make ($($done)* $a.$field,) $($rest)*)
    };
}

lanes! {
    V2 vector(rd rn 0 size q),
    V2Zero vector(rd rn 0 size q),
    V2Long vector(rd rn 0 size q),
    V2Narrow vector(rd rn 0 size q),
    V2Shll vector(rd rn 0 size q),
    V3 vector(rd rn rm size q),
    V3Long vector(rd rn rm size q),
    V3Wide vector(rd rn rm size q),
    V3Narrow vector(rd rn rm size q),
    B2 vector(rd rn 0 0 q),
    B3 vector(rd rn rm 0 q),
    Dot vector(rd rn rm 2 q),
    Across vector(rd rn 0 size q),
    AcrossLong vector(rd rn 0 size q),
    PmullB vector(rd rn rm 0 q),
    PmullD vector(rd rn rm 3 q),
    S2 scalar(rd rn 0 size),
    S2Zero scalar(rd rn 0 3),
    S2Narrow scalar(rd rn 0 size),
    S3 scalar(rd rn rm size),
    S3Long scalar(rd rn rm size),
    F2 scalar(rd rn 0 3),
    F3 scalar(rd rn rm 3),
    PairD scalar(rd rn 0 3),
}

impl Lifter<'_> {
    /// `dst = op(src)`
    fn vec_to(&mut self, dst: Val, op: Op, attr: u16, src: &[Val], imm: i32) {
        let arg = |n: usize| src.get(n).copied().unwrap_or(Val::NONE);
        self.builder.op(op, Ty::None, attr, dst, [arg(0), arg(1), arg(2)], imm);
    }

    /// `op(src)` in a new temporary.
    pub(super) fn vec(&mut self, op: Op, attr: u16, src: &[Val]) -> Val {
        self.vec_imm(op, attr, src, 0)
    }

    fn vec_imm(&mut self, op: Op, attr: u16, src: &[Val], imm: i32) -> Val {
        let dst = self.builder.temp();
        self.vec_to(dst, op, attr, src, imm);
        dst
    }

    /// Register `n` = `op(src)`
    fn set_v(&mut self, n: u8, op: Op, attr: u16, src: &[Val]) {
        let dst = self.v(n);
        self.vec_to(dst, op, attr, src, 0);
    }

    /// The constant in every lane of that width.
    fn dup(&mut self, size: u16, value: u64) -> Val {
        let value = self.builder.imm(value);
        self.vec(Op::Vdup, size, &[value])
    }

    fn zeros(&mut self) -> Val {
        self.dup(E64, 0)
    }

    fn ones(&mut self) -> Val {
        self.dup(E64, u64::MAX)
    }

    /// Some of the lanes of two vectors.
    fn shuffle(&mut self, kind: Shuffle, attr: u16, a: Val, b: Val) -> Val {
        self.vec(Op::Vshuffle, attr | (kind as u16) << 4, &[a, b])
    }

    /// The upper half of register `n` = the low half of `value`.
    fn set_upper_half(&mut self, n: u8, value: Val) {
        let old = self.v(n);
        self.set_v(n, Op::Vshuffle, E64 | (Shuffle::Zip1 as u16) << 4, &[old, value]);
    }

    /// `dst` = what each table has at its indices less an offset, all combined: of each byte only one table has it.
    fn look_up(&mut self, dst: Val, part: u16, tables: &[(Val, Val, i32)]) {
        let mut found = None;
        for (n, &(table, indices, offset)) in tables.iter().enumerate() {
            let to = if n + 1 == tables.len() { dst } else { self.builder.temp() };
            match found {
                None => self.vec_to(to, Op::Vtbl, part, &[table, indices], offset),
                Some(before) => {
                    let here = self.vec_imm(Op::Vtbl, part, &[table, indices], offset);
                    self.vec_to(to, Op::Vor, 0, &[before, here], 0);
                }
            }
            found = Some(to);
        }
    }

    // Three registers of the same shape.

    pub(super) fn three(&mut self, a: impl Into<Lanes>, op: Op, variant: u16) {
        let a = a.into();
        let src = [self.v(a.rn), self.v(a.rm)];
        self.set_v(a.rd, op, a.attr | variant, &src);
    }

    /// The destination is the first operand.
    pub(super) fn three_to(&mut self, a: impl Into<Lanes>, op: Op, variant: u16) {
        let a = a.into();
        let src = [self.v(a.rd), self.v(a.rn), self.v(a.rm)];
        self.set_v(a.rd, op, a.attr | variant, &src);
    }

    /// Bitwise logic, and what works on bytes.
    pub(super) fn bytes(&mut self, a: args::B3, op: Op) {
        self.three(a, op, 0);
    }

    pub(super) fn orn_v(&mut self, a: args::B3) {
        let (a, ones) = (Lanes::from(a), self.ones());
        let src = [self.v(a.rn), self.v(a.rm)];
        let inverted = self.vec(Op::Vxor, 0, &[src[1], ones]);
        self.set_v(a.rd, Op::Vor, a.half(), &[src[0], inverted]);
    }

    pub(super) fn not_v(&mut self, a: args::B2) {
        let (a, ones) = (Lanes::from(a), self.ones());
        let src = self.v(a.rn);
        self.set_v(a.rd, Op::Vxor, a.half(), &[src, ones]);
    }

    fn select(&mut self, a: args::B3, order: impl Fn([Val; 3]) -> [Val; 3]) {
        let a = Lanes::from(a);
        let src = order([self.v(a.rd), self.v(a.rn), self.v(a.rm)]);
        self.set_v(a.rd, Op::Vselect, a.half(), &src);
    }

    pub(super) fn bsl_v(&mut self, a: args::B3) {
        self.select(a, |[d, n, m]| [d, n, m]);
    }

    pub(super) fn bit_v(&mut self, a: args::B3) {
        self.select(a, |[d, n, m]| [m, n, d]);
    }

    pub(super) fn bif_v(&mut self, a: args::B3) {
        self.select(a, |[d, n, m]| [m, d, n]);
    }

    /// The larger and the smaller lanes of two vectors: their difference is the absolute one.
    fn ordered(&mut self, attr: u16, sign: u16, src: [Val; 2]) -> [Val; 2] {
        [Op::Vmax, Op::Vmin].map(|op| self.vec(op, attr | sign, &src))
    }

    /// Register `n` += the absolute difference.
    fn add_absolute_difference(&mut self, n: u8, attr: u16, sign: u16, src: [Val; 2]) {
        let ordered = self.ordered(attr, sign, src);
        let difference = self.vec(Op::Vsub, attr, &ordered);
        let sum = self.v(n);
        self.set_v(n, Op::Vadd, attr, &[sum, difference]);
    }

    pub(super) fn difference(&mut self, a: args::V3, sign: u16) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        let ordered = self.ordered(a.attr, sign, src);
        self.set_v(a.rd, Op::Vsub, a.attr, &ordered);
    }

    pub(super) fn add_difference(&mut self, a: args::V3, sign: u16) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        self.add_absolute_difference(a.rd, a.attr, sign, src);
    }

    /// The destination plus or minus the product.
    pub(super) fn accumulate(&mut self, a: impl Into<Lanes>, op: Op) {
        let a = a.into();
        let src = [self.v(a.rn), self.v(a.rm)];
        let product = self.vec(Op::Vmul, a.attr, &src);
        let sum = self.v(a.rd);
        self.set_v(a.rd, op, a.attr, &[sum, product]);
    }

    /// The even and the odd lanes of two registers one after the other.
    fn even_and_odd(&mut self, a: Lanes) -> [Val; 2] {
        let [n, m] = [self.v(a.rn), self.v(a.rm)];
        [Shuffle::Uzp1, Shuffle::Uzp2].map(|kind| self.shuffle(kind, a.attr, n, m))
    }

    pub(super) fn pairwise(&mut self, a: impl Into<Lanes>, op: Op, variant: u16) {
        let a = a.into();
        let src = self.even_and_odd(a);
        self.set_v(a.rd, op, a.attr | variant, &src);
    }

    /// `ADDP (scalar)`
    pub(super) fn add_pair(&mut self, a: args::PairD) {
        let a = Lanes::from(a);
        let low = self.v(a.rn);
        let high = self.vec_imm(Op::Vsplat, a.attr, &[low], 1);
        self.set_v(a.rd, Op::Vadd, a.attr, &[low, high]);
    }

    pub(super) fn dot(&mut self, a: args::Dot, sign: u16) {
        let a = Lanes::from(a);
        let src = [self.v(a.rd), self.v(a.rn), self.v(a.rm)];
        self.set_v(a.rd, Op::Vdot, a.half() | sign, &src);
    }

    // Two registers.

    pub(super) fn two(&mut self, a: impl Into<Lanes>, op: Op, variant: u16) {
        let a = a.into();
        let src = self.v(a.rn);
        self.set_v(a.rd, op, a.attr | variant, &[src]);
    }

    pub(super) fn bytes_unary(&mut self, a: args::B2, variant: u16) {
        self.two(a, Op::Vunary, variant);
    }

    /// A comparison with zero, which is the first operand if so said.
    pub(super) fn compare_zero(&mut self, a: impl Into<Lanes>, op: Op, cc: u16, zero_first: bool) {
        let (a, zero) = (a.into(), self.zeros());
        let src = self.v(a.rn);
        let src = if zero_first { [zero, src] } else { [src, zero] };
        self.set_v(a.rd, op, a.attr | cc, &src);
    }

    /// Zero minus the source.
    pub(super) fn negate(&mut self, a: impl Into<Lanes>, op: Op) {
        let (a, zero) = (a.into(), self.zeros());
        let src = self.v(a.rn);
        self.set_v(a.rd, op, a.attr, &[zero, src]);
    }

    pub(super) fn absolute_saturated(&mut self, a: impl Into<Lanes>) {
        let (a, zero) = (a.into(), self.zeros());
        let src = self.v(a.rn);
        let negated = self.vec(Op::Vqsub, a.attr, &[zero, src]);
        self.set_v(a.rd, Op::Vmax, a.attr, &[src, negated]);
    }

    /// `SUQADD` and `USQADD`
    pub(super) fn add_to_unlike(&mut self, a: impl Into<Lanes>, signs: u16) {
        let a = a.into();
        let src = [self.v(a.rd), self.v(a.rn)];
        self.set_v(a.rd, Op::Vqadd, a.attr | signs, &src);
    }

    /// The sums of neighbours, in lanes of twice the width.
    fn sums_of_pairs(&mut self, a: Lanes, sign: u16) -> (u16, [Val; 2]) {
        let wide = (a.size() + 1) | a.half();
        let src = self.v(a.rn);
        let odd = self.vec_imm(Op::Vshr, wide | sign, &[src], a.bits());
        let even = self.vec_imm(Op::Vshl, wide, &[src], a.bits());
        let even = self.vec_imm(Op::Vshr, wide | sign, &[even], a.bits());
        (wide, [even, odd])
    }

    pub(super) fn add_pairs(&mut self, a: args::V2Long, sign: u16) {
        let a = Lanes::from(a);
        let (wide, pair) = self.sums_of_pairs(a, sign);
        self.set_v(a.rd, Op::Vadd, wide, &pair);
    }

    pub(super) fn add_pairs_to(&mut self, a: args::V2Long, sign: u16) {
        let a = Lanes::from(a);
        let (wide, pair) = self.sums_of_pairs(a, sign);
        let sums = self.vec(Op::Vadd, wide, &pair);
        let old = self.v(a.rd);
        self.set_v(a.rd, Op::Vadd, wide, &[old, sums]);
    }

    pub(super) fn reduce(&mut self, a: impl Into<Lanes>, how: Reduction) {
        let a = a.into();
        let src = self.v(a.rn);
        self.set_v(a.rd, Op::Vreduce, a.attr | (how as u16) << 4, &[src]);
    }

    // Registers of different shapes.

    /// Sets the half of `a`'s destination that it means to the narrowed lanes of `value`.
    fn set_narrowed(&mut self, a: Lanes, op: Op, variant: u16, value: Val) {
        if a.full() {
            let narrow = self.vec(op, a.size() | variant, &[value]);
            self.set_upper_half(a.rd, narrow);
        } else {
            self.set_v(a.rd, op, a.size() | variant, &[value]);
        }
    }

    pub(super) fn narrow(&mut self, a: args::V2Narrow, op: Op, variant: u16) {
        let a = Lanes::from(a);
        let src = self.v(a.rn);
        self.set_narrowed(a, op, variant, src);
    }

    pub(super) fn narrow_scalar(&mut self, a: args::S2Narrow, signs: u16) {
        self.two(a, Op::Vqnarrow, signs);
    }

    fn widened(&mut self, a: Lanes, n: u8, sign: u16) -> Val {
        let src = self.v(n);
        self.vec(Op::Vwiden, a.size() | a.high() | sign, &[src])
    }

    pub(super) fn long(&mut self, a: args::V3Long, op: Op, sign: u16) {
        let a = Lanes::from(a);
        let src = [a.rn, a.rm].map(|n| self.widened(a, n, sign));
        self.set_v(a.rd, op, a.size() + 1, &src);
    }

    pub(super) fn wide(&mut self, a: args::V3Wide, op: Op, sign: u16) {
        let a = Lanes::from(a);
        let (first, second) = (self.v(a.rn), self.widened(a, a.rm, sign));
        self.set_v(a.rd, op, a.size() + 1, &[first, second]);
    }

    pub(super) fn long_difference(&mut self, a: args::V3Long, sign: u16) {
        let a = Lanes::from(a);
        let src = [a.rn, a.rm].map(|n| self.widened(a, n, sign));
        // Extended values differ alike as signed numbers.
        let ordered = self.ordered(a.size() + 1, SIGNED, src);
        self.set_v(a.rd, Op::Vsub, a.size() + 1, &ordered);
    }

    pub(super) fn add_long_difference(&mut self, a: args::V3Long, sign: u16) {
        let a = Lanes::from(a);
        let src = [a.rn, a.rm].map(|n| self.widened(a, n, sign));
        self.add_absolute_difference(a.rd, a.size() + 1, SIGNED, src);
    }

    pub(super) fn widened_product(&mut self, a: args::V3Long, sign: u16) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        self.set_v(a.rd, Op::Vmull, a.size() | a.high() | sign, &src);
    }

    pub(super) fn accumulate_long(&mut self, a: args::V3Long, op: Op, sign: u16) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        self.accumulate_product(a, op, sign, src);
    }

    fn accumulate_product(&mut self, a: Lanes, op: Op, sign: u16, src: [Val; 2]) {
        let product = self.vec(Op::Vmull, a.size() | a.high() | sign, &src);
        let sum = self.v(a.rd);
        self.set_v(a.rd, op, a.size() + 1, &[sum, product]);
    }

    /// Twice the products of two vectors, saturated; register `a.rd` is that, or plus or minus that.
    fn doubled_product(&mut self, a: Lanes, op: Option<Op>, src: [Val; 2]) {
        let product = self.vec(Op::Vmull, a.size() | a.high(), &src);
        let Some(op) = op else {
            return self.set_v(a.rd, Op::Vqadd, a.wide(), &[product, product]);
        };
        let doubled = self.vec(Op::Vqadd, a.wide(), &[product, product]);
        let sum = self.v(a.rd);
        self.set_v(a.rd, op, a.wide(), &[sum, doubled]);
    }

    pub(super) fn multiply_doubled(&mut self, a: args::V3Long) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        self.doubled_product(a, None, src);
    }

    pub(super) fn accumulate_doubled(&mut self, a: args::V3Long, op: Op) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        self.doubled_product(a, Some(op), src);
    }

    pub(super) fn multiply_doubled_scalar(&mut self, a: args::S3Long) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        self.doubled_product(a, None, src);
    }

    pub(super) fn accumulate_doubled_scalar(&mut self, a: args::S3Long, op: Op) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        self.doubled_product(a, Some(op), src);
    }

    /// The high halves of sums or differences.
    pub(super) fn narrow_high(&mut self, a: args::V3Narrow, op: Op, round: bool) {
        let a = Lanes::from(a);
        let wide = a.size() + 1;
        let src = [self.v(a.rn), self.v(a.rm)];
        let mut sum = self.vec(op, wide, &src);
        if round {
            let half = self.dup(wide, 1 << (a.bits() - 1));
            sum = self.vec(Op::Vadd, wide, &[sum, half]);
        }
        let high = self.vec_imm(Op::Vshr, wide | UNSIGNED, &[sum], a.bits());
        self.set_narrowed(a, Op::Vnarrow, 0, high);
    }

    pub(super) fn polynomial_bytes(&mut self, a: args::PmullB) {
        self.polynomial_long(a);
    }

    pub(super) fn polynomial_longs(&mut self, a: args::PmullD) {
        self.polynomial_long(a);
    }

    fn polynomial_long(&mut self, a: impl Into<Lanes>) {
        let a = a.into();
        let src = [self.v(a.rn), self.v(a.rm)];
        self.set_v(a.rd, Op::Vpmull, a.size() | a.high(), &src);
    }
}
