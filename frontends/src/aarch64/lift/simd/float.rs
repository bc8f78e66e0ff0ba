//! Advanced SIMD on floating-point numbers.

use emu_core::ir::{Estimate, FMinMax, Op, Shuffle, Ty, Val};

use super::super::super::decode::args;
use super::super::Lifter;
use super::super::fp::Round;
use super::{BY_32, BY_64, E16, E32, E64, HALF, ONE};

/// Variants of floating-point operations, as their attributes have them.
#[rustfmt::skip]
pub(in super::super) mod variant {
    use super::{Estimate, FMinMax};

    pub const NUMBER: u16 = (FMinMax::Num2008 as u16) << 8;
    pub const PROPAGATE: u16 = (FMinMax::Propagate as u16) << 8;
    pub const EQUAL: u16 = 0;
    pub const LESS: u16 = 1 << 8;
    pub const LESS_OR_EQUAL: u16 = 2 << 8;
    pub const EXTENDED: u16 = 1 << 8;
    pub const NEGATED: u16 = 1 << 8;
    pub const ADDEND_NEGATED: u16 = 2 << 8;
    pub const RECIPROCAL: u16 = (Estimate::Reciprocal as u16) << 8;
    pub const ROOT: u16 = (Estimate::ReciprocalRoot as u16) << 8;
    pub const EXPONENT: u16 = (Estimate::Exponent as u16) << 8;
    /// The rounding of `FCVTXN`.
    pub const ODD: u16 = 5;
}
use variant::*;

/// All lanes, those of the low half, or one: as integer operations have it, and as floating-point ones have it.
#[derive(Clone, Copy)]
struct Part(u16);

impl Part {
    fn vector(q: u8) -> Self {
        Self(if q == 0 { HALF } else { 0 })
    }

    fn float(self) -> u16 {
        self.0 << 4
    }

    /// The part of bitwise operations: a scalar has zeros above anyway.
    fn half(self) -> u16 {
        self.0 & HALF
    }
}

/// The registers and lanes of an instruction.
#[derive(Clone, Copy)]
pub(in super::super) struct Lanes {
    rd: u8,
    rn: u8,
    rm: u8,
    part: Part,
}

macro_rules! lanes {
    ($($format:ident $a:ident ($rm:expr, $part:expr),)*) => {$(
        impl From<args::$format> for Lanes {
            fn from($a: args::$format) -> Self {
                Self { rd: $a.rd, rn: $a.rn, rm: $rm, part: $part }
            }
        }
    )*};
}

lanes! {
    FV2 a (0, Part::vector(a.q)),
    FV2D a (0, Part(0)),
    FV2Zero a (0, Part::vector(a.q)),
    FV2ZeroD a (0, Part(0)),
    FV3 a (a.rm, Part::vector(a.q)),
    FV3D a (a.rm, Part(0)),
    F2 a (0, Part(ONE)),
    F3 a (a.rm, Part(ONE)),
    FS2Zero a (0, Part(ONE)),
    Fp1 a (0, Part(ONE)),
    Mlal a (a.rm, Part::vector(a.q)),
    MlalElement a (a.rm, Part::vector(a.q)),
    Rotated a (a.rm, Part::vector(a.q)),
    RotatedD a (a.rm, Part(0)),
    RotatedElement a (a.rm, Part::vector(a.q)),
    RotatedElementS a (a.rm, Part(0)),
    Add90 a (a.rm, Part::vector(a.q)),
    Add90D a (a.rm, Part(0)),
    FE3 a (a.rm, Part::vector(a.q)),
    FE3D a (a.rm, Part(0)),
    FSE3 a (a.rm, Part(ONE)),
}

/// A small field of some formats, which tells of their lanes besides.
pub(in super::super) trait With<const NAME: char> {
    fn field(&self) -> u8;
}

macro_rules! with {
    ($($name:literal $field:ident: $($format:ident)*;)*) => {$($(
        impl With<$name> for args::$format {
            fn field(&self) -> u8 {
                self.$field
            }
        }
    )*)*};
}

with! {
    'r' rot: Rotated RotatedD RotatedElement RotatedElementS Add90 Add90D;
    'i' idx: MlalElement RotatedElement RotatedElementS FE3 FE3D FSE3;
}

/// The element width.
fn size(ty: Ty) -> u16 {
    match ty {
        Ty::F16 => E16,
        Ty::F32 => E32,
        _ => E64,
    }
}

fn sign_bit(ty: Ty) -> u64 {
    1 << (8 * ty.bytes() - 1)
}

impl Lifter<'_> {
    /// Register `n` = `op(src)` by the rules of FPCR; `rest` is what the operation's attribute has besides.
    fn set_f(&mut self, n: u8, op: Op, ty: Ty, rest: u16, src: &[Val]) {
        let dst = self.v(n);
        self.float_to(dst, op, ty, rest, src, 0);
    }

    fn float_to(&mut self, dst: Val, op: Op, ty: Ty, rest: u16, src: &[Val], imm: i32) {
        let arg = |n: usize| src.get(n).copied().unwrap_or(Val::NONE);
        let attr = self.rules(op, ty) | rest;
        self.builder.op(op, ty, attr, dst, [arg(0), arg(1), arg(2)], imm);
    }

    fn float(&mut self, op: Op, ty: Ty, rest: u16, src: &[Val]) -> Val {
        let dst = self.builder.temp();
        self.float_to(dst, op, ty, rest, src, 0);
        dst
    }

    /// The same with a rounding mode of the instruction's own.
    fn set_rounded(&mut self, a: Lanes, op: Op, ty: Ty, (round, rest): (Round, u16), imm: i32) {
        let (dst, src) = (self.v(a.rd), self.v(a.rn));
        let attr = self.rounded(op, ty, round) | a.part.float() | rest;
        self.builder.op(op, ty, attr, dst, [src, Val::NONE, Val::NONE], imm);
    }

    pub(in super::super) fn float3(&mut self, a: impl Into<Lanes>, op: Op, ty: Ty, variant: u16) {
        let a = a.into();
        let src = [self.v(a.rn), self.v(a.rm)];
        self.set_f(a.rd, op, ty, a.part.float() | variant, &src);
    }

    pub(in super::super) fn float2(&mut self, a: impl Into<Lanes>, op: Op, ty: Ty, variant: u16) {
        let a = a.into();
        let src = self.v(a.rn);
        self.set_f(a.rd, op, ty, a.part.float() | variant, &[src]);
    }

    pub(in super::super) fn float_accumulate(&mut self, a: impl Into<Lanes>, ty: Ty, variant: u16) {
        let a = a.into();
        let src = [self.v(a.rn), self.v(a.rm), self.v(a.rd)];
        self.set_f(a.rd, Op::Vfma, ty, a.part.float() | variant, &src);
    }

    pub(in super::super) fn float_pairwise(&mut self, a: impl Into<Lanes>, op: Op, ty: Ty, variant: u16) {
        let a = a.into();
        let (n, m) = (self.v(a.rn), self.v(a.rm));
        let src = self.pairs(ty, a.part, n, m);
        self.set_f(a.rd, op, ty, a.part.float() | variant, &src);
    }

    /// The even and the odd lanes of two vectors one after the other.
    fn pairs(&mut self, ty: Ty, part: Part, n: Val, m: Val) -> [Val; 2] {
        let attr = size(ty) | part.half();
        [Shuffle::Uzp1, Shuffle::Uzp2].map(|kind| self.shuffle(kind, attr, n, m))
    }

    /// The two lowest lanes of a register combined.
    pub(in super::super) fn float_pair(&mut self, a: args::FPair, op: Op, ty: Ty, variant: u16) {
        let low = self.v(a.rn);
        let high = self.vec_imm(Op::Vsplat, size(ty) | ONE, &[low], 1);
        self.set_f(a.rd, op, ty, Part(ONE).float() | variant, &[low, high]);
    }

    /// All lanes combined, neighbours first (J1 `Reduce`).
    pub(in super::super) fn float_reduce(&mut self, a: impl Reduced, op: Op, ty: Ty, variant: u16) {
        let (rd, rn, full) = a.fields();
        let mut value = self.v(rn);
        let mut part = Part(if full { 0 } else { HALF });
        let mut lanes = if full { 16 } else { 8 } / ty.bytes();
        while lanes > 1 {
            let src = self.pairs(ty, part, value, value);
            lanes /= 2;
            if lanes == 1 {
                return self.set_f(rd, op, ty, Part(ONE).float() | variant, &src);
            }
            // What stands in the half besides the lanes that are left only repeats them.
            part = Part(HALF);
            value = self.float(op, ty, part.float() | variant, &src);
        }
    }

    /// Clears the signs.
    fn absolute(&mut self, ty: Ty, src: Val) -> Val {
        let mask = self.dup(size(ty), sign_bit(ty) - 1);
        self.vec(Op::Vand, 0, &[src, mask])
    }

    /// The second operand compared with the first; or their absolute values.
    pub(in super::super) fn float_compare(
        &mut self,
        a: impl Into<Lanes>,
        ty: Ty,
        order: u16,
        absolute: bool,
    ) {
        let a = a.into();
        let mut src = [self.v(a.rm), self.v(a.rn)];
        if absolute {
            src = src.map(|src| self.absolute(ty, src));
        }
        self.set_f(a.rd, Op::Vfcmp, ty, a.part.float() | order, &src);
    }

    pub(in super::super) fn float_compare_zero(
        &mut self,
        a: impl Into<Lanes>,
        ty: Ty,
        order: u16,
        zero_first: bool,
    ) {
        let (a, zero) = (a.into(), self.zeros());
        let src = self.v(a.rn);
        let src = if zero_first { [zero, src] } else { [src, zero] };
        self.set_f(a.rd, Op::Vfcmp, ty, a.part.float() | order, &src);
    }

    pub(in super::super) fn float_difference(&mut self, a: impl Into<Lanes>, ty: Ty) {
        let a = a.into();
        let src = [self.v(a.rn), self.v(a.rm)];
        let difference = self.float(Op::Vfsub, ty, a.part.float(), &src);
        let mask = self.dup(size(ty), sign_bit(ty) - 1);
        self.set_v(a.rd, Op::Vand, 0, &[difference, mask]);
    }

    pub(in super::super) fn float_absolute(&mut self, a: impl Into<Lanes>, ty: Ty) {
        let a = a.into();
        let (src, mask) = (self.v(a.rn), self.dup(size(ty), sign_bit(ty) - 1));
        self.set_v(a.rd, Op::Vand, a.part.half(), &[src, mask]);
    }

    pub(in super::super) fn float_negate(&mut self, a: impl Into<Lanes>, ty: Ty) {
        let a = a.into();
        let (src, mask) = (self.v(a.rn), self.dup(size(ty), sign_bit(ty)));
        self.set_v(a.rd, Op::Vxor, a.part.half(), &[src, mask]);
    }

    pub(in super::super) fn float_round(&mut self, a: impl Into<Lanes>, ty: Ty, round: Round, exact: bool) {
        self.set_rounded(a.into(), Op::Vfround, ty, (round, u16::from(exact) << 8), 0);
    }

    /// `FRINT32X` and its like: to integers of so many bits.
    pub(in super::super) fn float_round_sized(
        &mut self,
        a: impl Into<Lanes>,
        ty: Ty,
        round: Round,
        bits: u16,
    ) {
        self.set_rounded(a.into(), Op::Vfround, ty, (round, (bits / 32) << 9), 0);
    }

    pub(in super::super) fn float_to_int(&mut self, a: impl Into<Lanes>, ty: Ty, round: Round, sign: u16) {
        self.set_rounded(a.into(), Op::Vftoint, ty, (round, sign << 4 | NAN_IS_ZERO), 0);
    }

    pub(in super::super) fn int_to_float(&mut self, a: impl Into<Lanes>, ty: Ty, sign: u16) {
        self.set_rounded(a.into(), Op::Vffromint, ty, (Round::Mode, sign << 4), 0);
    }

    pub(in super::super) fn float_to_int_fixed(&mut self, a: impl Fixed, ty: Ty, sign: u16) {
        let (a, fraction) = a.fields(ty);
        self.set_rounded(a, Op::Vftoint, ty, (Round::Zero, sign << 4 | NAN_IS_ZERO), fraction);
    }

    pub(in super::super) fn int_to_float_fixed(&mut self, a: impl Fixed, ty: Ty, sign: u16) {
        let (a, fraction) = a.fields(ty);
        self.set_rounded(a, Op::Vffromint, ty, (Round::Mode, sign << 4), fraction);
    }

    /// The lanes of a register in the format of half the width.
    pub(in super::super) fn float_narrow(&mut self, a: args::Narrow, ty: Ty, round: Option<u16>) {
        let wide = if ty == Ty::F16 { Ty::F32 } else { Ty::F64 };
        let attr = self.conversion(Op::Vfcvt, ty, wide, round);
        let (dst, src) = (self.v(a.rd), self.v(a.rn));
        if a.q == 0 {
            return self.builder.op(Op::Vfcvt, ty, attr, dst, [src, Val::NONE, Val::NONE], 0);
        }
        let narrow = self.builder.temp();
        self.builder.op(Op::Vfcvt, ty, attr, narrow, [src, Val::NONE, Val::NONE], 0);
        self.set_upper_half(a.rd, narrow);
    }

    /// `FCVTXN (scalar)`
    pub(in super::super) fn float_narrow_scalar(&mut self, a: args::NarrowScalar) {
        let attr = self.conversion(Op::Vfcvt, Ty::F32, Ty::F64, Some(ODD)) | Part(ONE).float();
        let (dst, src) = (self.v(a.rd), self.v(a.rn));
        self.builder.op(Op::Vfcvt, Ty::F32, attr, dst, [src, Val::NONE, Val::NONE], 0);
    }

    /// The lanes of half a register in the format of twice the width.
    pub(in super::super) fn float_widen(&mut self, a: args::Widen, ty: Ty) {
        const HIGH: u16 = 1 << 10;
        let narrow = if ty == Ty::F32 { Ty::F16 } else { Ty::F32 };
        let attr = self.conversion(Op::Vfcvt, ty, narrow, None) | if a.q != 0 { HIGH } else { 0 };
        let (dst, src) = (self.v(a.rd), self.v(a.rn));
        self.builder.op(Op::Vfcvt, ty, attr, dst, [src, Val::NONE, Val::NONE], 0);
    }

    /// `URECPE` and `URSQRTE`
    pub(in super::super) fn estimate(&mut self, a: args::FV2, what: u16) {
        let a = Lanes::from(a);
        let src = self.v(a.rn);
        self.set_v(a.rd, Op::Vestimate, a.part.half() | what, &[src]);
    }

    /// The element that a format names in every lane.
    fn element(&mut self, a: &(impl With<'i'> + Into<Lanes> + Copy), size: u16) -> Val {
        let from = self.v((*a).into().rm);
        self.vec_imm(Op::Vsplat, size, &[from], a.field().into())
    }

    pub(in super::super) fn float_multiply_element<A>(&mut self, a: A, ty: Ty, variant: u16)
    where
        A: With<'i'> + Into<Lanes> + Copy,
    {
        let (element, a) = (self.element(&a, size(ty)), a.into());
        let n = self.v(a.rn);
        self.set_f(a.rd, Op::Vfmul, ty, a.part.float() | variant, &[n, element]);
    }

    pub(in super::super) fn float_accumulate_element<A>(&mut self, a: A, ty: Ty, variant: u16)
    where
        A: With<'i'> + Into<Lanes> + Copy,
    {
        let (element, a) = (self.element(&a, size(ty)), a.into());
        let (n, d) = (self.v(a.rn), self.v(a.rd));
        self.set_f(a.rd, Op::Vfma, ty, a.part.float() | variant, &[n, element, d]);
    }

    /// Half of the half-precision numbers in what the part is of a register, in single precision.
    fn halves(&mut self, part: Part, high: bool, src: Val) -> Val {
        const RAW: u16 = 1 << 12;
        let src = if high {
            let by = if part.half() != 0 { 4 } else { 8 };
            self.vec_imm(Op::Vext, 0, &[src, src], by)
        } else {
            src
        };
        // Read as operands of half precision are: flushed as FZ16 says.
        let attr = self.rules(Op::Vfcvt, Ty::F16) | part.float() | RAW;
        let dst = self.builder.temp();
        self.builder.op(Op::Vfcvt, Ty::F32, attr, dst, [src, Val::NONE, Val::NONE], 0);
        dst
    }

    /// `FMLAL` and its like.
    pub(in super::super) fn half_accumulate(&mut self, a: args::Mlal, negated: bool, high: bool) {
        let a = Lanes::from(a);
        let src = [self.v(a.rn), self.v(a.rm)];
        let [n, m] = src.map(|src| self.halves(a.part, high, src));
        self.add_halves(a, negated, n, m);
    }

    pub(in super::super) fn half_accumulate_element(
        &mut self,
        a: args::MlalElement,
        negated: bool,
        high: bool,
    ) {
        let (element, a) = (self.element(&a, E16), Lanes::from(a));
        let n = self.v(a.rn);
        let n = self.halves(a.part, high, n);
        let m = self.halves(a.part, false, element);
        self.add_halves(a, negated, n, m);
    }

    fn add_halves(&mut self, a: Lanes, negated: bool, n: Val, m: Val) {
        let d = self.v(a.rd);
        let variant = if negated { NEGATED } else { 0 };
        self.set_f(a.rd, Op::Vfma, Ty::F32, a.part.float() | variant, &[n, m, d]);
    }

    /// Real and imaginary parts exchanged.
    fn exchanged(&mut self, ty: Ty, src: Val) -> Val {
        match ty {
            Ty::F16 => self.vec(Op::Vrev, E16 | BY_32, &[src]),
            Ty::F32 => self.vec(Op::Vrev, E32 | BY_64, &[src]),
            _ => self.vec_imm(Op::Vext, 0, &[src, src], 8),
        }
    }

    /// The signs of real parts, imaginary parts, or both, turned.
    fn turned(&mut self, ty: Ty, [real, imaginary]: [bool; 2], src: Val) -> Val {
        let sign = |turned: bool| if turned { sign_bit(ty) } else { 0 };
        let mask = match ty {
            Ty::F16 => self.dup(E32, sign(real) | sign(imaginary) << 16),
            Ty::F32 => self.dup(E64, sign(real) | sign(imaginary) << 32),
            _ => {
                let parts = [real, imaginary].map(|turned| self.builder.imm(sign(turned)));
                self.vec(Op::Vpair, 0, &parts)
            }
        };
        self.vec(Op::Vxor, 0, &[src, mask])
    }

    /// `FCADD`: a quarter or three of a turn.
    pub(in super::super) fn complex_add(&mut self, a: impl With<'r'> + Into<Lanes>, ty: Ty) {
        let (three_quarters, a) = (a.field() != 0, a.into());
        let (n, m) = (self.v(a.rn), self.v(a.rm));
        let exchanged = self.exchanged(ty, m);
        let turned = self.turned(ty, [!three_quarters, three_quarters], exchanged);
        self.set_f(a.rd, Op::Vfadd, ty, a.part.float(), &[n, turned]);
    }

    pub(in super::super) fn complex_accumulate(&mut self, a: impl With<'r'> + Into<Lanes>, ty: Ty) {
        let (quarters, a) = (a.field(), a.into());
        let m = self.v(a.rm);
        self.add_rotated(a, ty, quarters, m);
    }

    pub(in super::super) fn complex_accumulate_element<A>(&mut self, a: A, ty: Ty)
    where
        A: With<'r'> + With<'i'> + Into<Lanes> + Copy,
    {
        let element = self.element(&a, size(ty) + 1);
        let quarters = With::<'r'>::field(&a);
        self.add_rotated(a.into(), ty, quarters, element);
    }

    /// `FCMLA`: the real or the imaginary parts of the first operand times the second one, turned by so many quarters.
    fn add_rotated(&mut self, a: Lanes, ty: Ty, quarters: u8, m: Val) {
        let (n, d) = (self.v(a.rn), self.v(a.rd));
        let kind = if quarters & 1 == 0 { Shuffle::Trn1 } else { Shuffle::Trn2 };
        let parts = self.shuffle(kind, size(ty) | a.part.half(), n, n);
        let factor = match quarters & 3 {
            0 => m,
            2 => self.turned(ty, [true, true], m),
            odd => {
                let exchanged = self.exchanged(ty, m);
                self.turned(ty, [odd == 1, odd == 3], exchanged)
            }
        };
        self.set_f(a.rd, Op::Vfma, ty, a.part.float(), &[parts, factor, d]);
    }
}

/// Of conversions to integers: a NaN becomes zero.
pub(in super::super) const NAN_IS_ZERO: u16 = 1 << 10;

/// The registers of a reduction, and whether it is of 128 bits.
pub(in super::super) trait Reduced {
    fn fields(self) -> (u8, u8, bool);
}

impl Reduced for args::FAcrossH {
    fn fields(self) -> (u8, u8, bool) {
        (self.rd, self.rn, self.q != 0)
    }
}

impl Reduced for args::FAcross {
    fn fields(self) -> (u8, u8, bool) {
        (self.rd, self.rn, true)
    }
}

/// The lanes of a conversion from or to fixed-point numbers, and how many fraction bits those have.
pub(in super::super) trait Fixed {
    fn fields(self, ty: Ty) -> (Lanes, i32);
}

macro_rules! fixed {
    ($($format:ident $a:ident $part:expr,)*) => {$(
        impl Fixed for args::$format {
            fn fields(self, ty: Ty) -> (Lanes, i32) {
                let $a = self;
                let lanes = Lanes { rd: $a.rd, rn: $a.rn, rm: 0, part: $part };
                (lanes, 8 * ty.bytes() as i32 - i32::from($a.fb))
            }
        }
    )*};
}

fixed! {
    Fixed a Part::vector(a.q),
    FixedD a Part(0),
    FixedScalar a Part(ONE),
}
