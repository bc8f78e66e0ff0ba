//! Scalar floating point (DDI 0487, C4.1.96, C7).
//!
//! A result is in the low bits of its register, zeros above. FPCR's modes are context bits: each operation has the rules of
//! the block in its attribute, and the flags of FPSR accrue in [`emu_core::exec::CpuState::fp_flags`].

use emu_core::ir::{Cc, FpAttr, Op, Sgnj, ToInt, Ty, Val};

use super::super::decode::args;
use super::super::immediate;
use super::Lifter;
use super::flags::{Flags, Test};
use super::simd::NAN_IS_ZERO;
use super::simd::{E64, ONE};

/// The number of the upper lane of 64 bits.
const HIGH_64: i32 = 1;

/// Where a rounding mode comes from.
#[derive(Clone, Copy)]
pub(super) enum Round {
    Nearest,
    Up,
    Down,
    Zero,
    Away,
    /// From FPCR.
    Mode,
}

/// The rounding modes as [`FpAttr::round`] has them.
const NEAREST: u8 = 0;
const ZERO: u8 = 1;
const DOWN: u8 = 2;
const UP: u8 = 3;
const AWAY: u8 = 4;

/// The bits of an operation's attribute that say by which rules it works.
fn known(op: Op) -> u16 {
    const RULES: u16 = 0x3f;
    let bits = |(shift, width, _): &(u32, u32, &[&str])| ((1u16 << width) - 1) << shift;
    op.info().attr.iter().map(bits).fold(0, |all, bits| all | bits) & RULES
}

impl Lifter<'_> {
    /// FPCR's rules for an operation on this format.
    fn fp_attr(&self, ty: Ty) -> FpAttr {
        let fpcr = self.guest.ctx.fpcr;
        FpAttr {
            round: [NEAREST, UP, DOWN, ZERO][usize::from(fpcr.round & 3)],
            propagate_nan: !fpcr.default_nan,
            tiny_before: true,
            flush: if ty == Ty::F16 { fpcr.flush16 } else { fpcr.flush },
        }
    }

    /// The attribute of an operation by FPCR's rules.
    pub(super) fn rules(&self, op: Op, ty: Ty) -> u16 {
        self.fp_attr(ty).bits() & known(op)
    }

    /// The same with a rounding mode.
    pub(super) fn rounded(&self, op: Op, ty: Ty, round: Round) -> u16 {
        let attr = self.fp_attr(ty);
        let round = match round {
            Round::Mode => attr.round,
            Round::Nearest => NEAREST,
            Round::Up => UP,
            Round::Down => DOWN,
            Round::Zero => ZERO,
            Round::Away => AWAY,
        };
        FpAttr { round, ..attr }.bits() & known(op)
    }

    /// The attribute of a conversion between formats. Half precision is never flushed there, whatever FZ16 says.
    pub(super) fn conversion(&self, op: Op, to: Ty, from: Ty, round: Option<u16>) -> u16 {
        const ROUND: u16 = 7;
        const ALTERNATIVE: u16 = 1 << 11;
        let format = match from {
            Ty::F16 => 0,
            Ty::F32 => 1 << 8,
            _ => 2 << 8,
        };
        let half = [to, from].contains(&Ty::F16) && self.guest.ctx.fpcr.alternative_half;
        let rules = self.rules(op, Ty::F64);
        let rules = round.map_or(rules, |round| rules & !ROUND | round);
        rules | format | if half { ALTERNATIVE } else { 0 }
    }

    /// A scalar operation, in a new temporary.
    fn fp(&mut self, op: Op, ty: Ty, attr: u16, src: &[Val]) -> Val {
        let dst = self.builder.temp();
        self.fp_to(dst, op, ty, attr, src, 0);
        dst
    }

    fn fp_to(&mut self, dst: Val, op: Op, ty: Ty, attr: u16, src: &[Val], imm: i32) {
        let arg = |n: usize| src.get(n).copied().unwrap_or(Val::NONE);
        self.builder.op(op, ty, attr, dst, [arg(0), arg(1), arg(2)], imm);
    }

    /// Register `n` = the number, zeros above.
    fn set_fp(&mut self, n: u8, ty: Ty, value: Val) {
        let dst = self.v(n);
        self.builder.un_to(dst, Op::Vfromlow, ty, value);
    }

    /// Register `rd` = `op(src)` by FPCR's rules.
    fn fp_result(&mut self, rd: u8, op: Op, ty: Ty, variant: u16, src: &[Val]) {
        let attr = self.rules(op, ty) | variant;
        let value = self.fp(op, ty, attr, src);
        self.set_fp(rd, ty, value);
    }

    pub(super) fn fp1(&mut self, a: args::Fp1, op: Op, ty: Ty) {
        let src = self.v(a.rn);
        self.fp_result(a.rd, op, ty, 0, &[src]);
    }

    pub(super) fn fp2(&mut self, a: args::Fp2, op: Op, ty: Ty, variant: u16) {
        let src = [self.v(a.rn), self.v(a.rm)];
        self.fp_result(a.rd, op, ty, variant, &src);
    }

    pub(super) fn fp3(&mut self, a: args::Fp3, ty: Ty, variant: u16) {
        let src = [self.v(a.rn), self.v(a.rm), self.v(a.ra)];
        self.fp_result(a.rd, Op::Fma, ty, variant, &src);
    }

    fn with_sign(&mut self, rd: u8, ty: Ty, sign: Sgnj, src: Val) {
        let value = self.fp(Op::Fsgnj, ty, (sign as u16) << 8, &[src, src]);
        self.set_fp(rd, ty, value);
    }

    pub(super) fn fnmul(&mut self, a: args::Fp2, ty: Ty) {
        let src = [self.v(a.rn), self.v(a.rm)];
        let product = self.fp(Op::Fmul, ty, self.rules(Op::Fmul, ty), &src);
        self.with_sign(a.rd, ty, Sgnj::Not, product);
    }

    pub(super) fn fmov(&mut self, a: args::Fp1, ty: Ty) {
        let src = self.v(a.rn);
        self.set_fp(a.rd, ty, src);
    }

    pub(super) fn fp_absolute(&mut self, a: args::Fp1, ty: Ty) {
        let src = self.v(a.rn);
        self.with_sign(a.rd, ty, Sgnj::Xor, src);
    }

    pub(super) fn fp_negate(&mut self, a: args::Fp1, ty: Ty) {
        let src = self.v(a.rn);
        self.with_sign(a.rd, ty, Sgnj::Not, src);
    }

    pub(super) fn fp_convert(&mut self, a: args::FpConvert, to: Ty, from: Ty) {
        let src = self.v(a.rn);
        let value = self.fp(Op::Fcvt, to, self.conversion(Op::Fcvt, to, from, None), &[src]);
        self.set_fp(a.rd, to, value);
    }

    pub(super) fn fp_round(&mut self, a: args::Fp1, ty: Ty, round: Round, exact: bool) {
        let src = self.v(a.rn);
        let attr = self.rounded(Op::Fround, ty, round) | u16::from(exact) << 8;
        let value = self.fp(Op::Fround, ty, attr, &[src]);
        self.set_fp(a.rd, ty, value);
    }

    pub(super) fn fmov_immediate(&mut self, a: args::FpImm, ty: Ty) {
        let (dst, value) = (self.v(a.rd), self.builder.imm(immediate::float(a.imm8, ty)));
        self.builder.op(Op::Vdup, Ty::None, E64 | ONE, dst, [value, Val::NONE, Val::NONE], 0);
    }

    // Comparisons.

    /// `dst` = the flags of a comparison.
    fn compare_to(&mut self, dst: Val, ty: Ty, [a, b]: [Val; 2], quiet: bool) {
        const QUIET: u16 = 1 << 10;
        let attr = self.rules(Op::Fnzcv, ty) | if quiet { QUIET } else { 0 };
        self.fp_to(dst, Op::Fnzcv, ty, attr, &[a, b], 0);
    }

    fn set_compared(&mut self, ty: Ty, [a, b]: [Val; 2], quiet: bool) {
        let nzcv = self.nzcv();
        self.compare_to(nzcv, ty, [a, b], quiet);
        self.guest.flags = Flags::Float { next: self.next(), ty, a, b };
    }

    pub(super) fn fcmp(&mut self, a: args::FpCompare, ty: Ty, quiet: bool) {
        let src = [self.v(a.rn), self.v(a.rm)];
        self.set_compared(ty, src, quiet);
    }

    pub(super) fn fcmp_zero(&mut self, a: args::FpCompareZero, ty: Ty, quiet: bool) {
        let (n, zero) = (self.v(a.rn), self.builder.imm(0));
        let zero = self.builder.un(Op::Ffrom, Ty::None, zero);
        self.set_compared(ty, [n, zero], quiet);
    }

    /// Where the condition does not hold zero is compared with itself, which raises nothing.
    pub(super) fn fccmp(&mut self, a: args::FpCondCompare, ty: Ty, quiet: bool) {
        let test = self.condition(a.cond);
        let (holds, zero) = (self.truth(test), self.builder.imm(0));
        let src = [a.rn, a.rm].map(|n| {
            let v = self.v(n);
            let bits = self.builder.un(Op::Fbits, Ty::None, v);
            let chosen = self.builder.temp();
            self.builder.select_to(chosen, Ty::I64, holds, bits, zero);
            self.builder.un(Op::Ffrom, Ty::None, chosen)
        });
        let (flags, otherwise) = (self.builder.temp(), self.builder.imm(u64::from(a.nzcv) << 28));
        self.compare_to(flags, ty, src, quiet);
        let nzcv = self.nzcv();
        self.builder.select_to(nzcv, Ty::I64, holds, flags, otherwise);
        self.guest.flags = Flags::Unknown;
    }

    pub(super) fn fcsel(&mut self, a: args::FpSelect, ty: Ty) {
        let test = self.condition(a.cond);
        let holds = self.truth(test);
        let [n, m] = [a.rn, a.rm].map(|n| {
            let v = self.v(n);
            self.builder.un(Op::Fbits, Ty::None, v)
        });
        let chosen = self.builder.temp();
        self.builder.select_to(chosen, Ty::I64, holds, n, m);
        let value = self.builder.un(Op::Ffrom, Ty::None, chosen);
        self.set_fp(a.rd, ty, value);
    }

    // Integers and fixed-point numbers.

    fn convert_to_int(&mut self, [rd, rn]: [u8; 2], ty: Ty, round: Round, int: ToInt, fraction: i32) {
        let (src, attr) = (self.v(rn), self.rounded(Op::Ftoint, ty, round));
        let dst = self.x_dst(rd);
        self.fp_to(dst, Op::Ftoint, ty, attr | (int as u16) << 8 | NAN_IS_ZERO, &[src], fraction);
    }

    fn convert_from_int(&mut self, [rd, rn]: [u8; 2], ty: Ty, int: ToInt, fraction: i32) {
        let (src, value) = (self.x(rn), self.builder.temp());
        let attr = self.rules(Op::Ffromint, ty) | (int as u16) << 8;
        self.fp_to(value, Op::Ffromint, ty, attr, &[src], fraction);
        self.set_fp(rd, ty, value);
    }

    pub(super) fn fp_to_int(&mut self, a: args::FpToInt, ty: Ty, round: Round, int: ToInt) {
        self.convert_to_int([a.rd, a.rn], ty, round, int, 0);
    }

    pub(super) fn int_to_fp(&mut self, a: args::IntToFp, ty: Ty, int: ToInt) {
        self.convert_from_int([a.rd, a.rn], ty, int, 0);
    }

    pub(super) fn fp_to_fixed(&mut self, a: args::FpToFixed, ty: Ty, int: ToInt) {
        self.convert_to_int([a.rd, a.rn], ty, Round::Zero, int, 64 - i32::from(a.scale));
    }

    pub(super) fn fixed_to_fp(&mut self, a: args::FixedToFp, ty: Ty, int: ToInt) {
        self.convert_from_int([a.rd, a.rn], ty, int, 64 - i32::from(a.scale));
    }

    /// The flags say whether the result, converted back, is the source.
    pub(super) fn fjcvtzs(&mut self, a: args::FpToInt) {
        let src = self.v(a.rn);
        let attr = self.rules(Op::Fcvtmod, Ty::F64);
        let value = self.builder.temp();
        self.fp_to(value, Op::Fcvtmod, Ty::None, attr, &[src], 0);
        let back = self.fp(Op::Ffromint, Ty::F64, (ToInt::I32 as u16) << 8, &[value]);
        let [back, bits] = [back, src].map(|f| self.builder.un(Op::Fbits, Ty::None, f));
        let equal = self.truth(Test { cc: Cc::Eq, ty: Ty::I64, a: back, b: bits });
        self.set_x(a.rd, Ty::I32, value);
        let bit = self.builder.imm(30);
        self.set_nzcv(Op::Shl, equal, bit);
    }

    // Moves between register files.

    pub(super) fn fmov_to_general(&mut self, a: args::FpToInt, ty: Ty) {
        let src = self.v(a.rn);
        if let Some(dst) = self.x_to(a.rd) {
            let size = ty.bytes().trailing_zeros() as u16;
            self.builder.op(Op::Vget, Ty::None, size, dst, [src, Val::NONE, Val::NONE], 0);
        }
    }

    pub(super) fn fmov_from_general(&mut self, a: args::IntToFp, ty: Ty) {
        let (src, dst) = (self.x(a.rn), self.v(a.rd));
        let size = ty.bytes().trailing_zeros() as u16;
        self.builder.op(Op::Vdup, Ty::None, size | ONE, dst, [src, Val::NONE, Val::NONE], 0);
    }

    pub(super) fn fmov_to_general_high(&mut self, a: args::FromHigh) {
        let src = self.v(a.rn);
        if let Some(dst) = self.x_to(a.rd) {
            self.builder.op(Op::Vget, Ty::None, E64, dst, [src, Val::NONE, Val::NONE], HIGH_64);
        }
    }

    pub(super) fn fmov_from_general_high(&mut self, a: args::ToHigh) {
        let (src, dst) = (self.x(a.rn), self.v(a.rd));
        self.builder.op(Op::Vset, Ty::None, E64, dst, [dst, src, Val::NONE], HIGH_64);
    }
}
