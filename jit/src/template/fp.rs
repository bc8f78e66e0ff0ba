//! Floating point on the host's SSE unit.
//!
//! Translated code runs with rounding to nearest and all exceptions masked; the sticky flags in MXCSR are the guest's,
//! together with those in [`emu_core::exec::CpuState::fp_flags`]. What the host does differently is left to the helper, and
//! decided before the host can raise a flag that the guest does not; a NaN result is made again by the helper, which knows
//! which one it must be, and so is one that may have underflowed without the host's notice. Other rounding modes of
//! arithmetic, half precision and flushing are the helper's, too.

#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers, of whatever type"
)]
#![allow(clippy::wrong_self_convention, reason = "named after the operations that they compile")]

use dynasmrt::{DynamicLabel, DynasmApi, dynasm};
use emu_core::ir::{Block, FpAttr, Inst, Op, Sgnj, ToInt, Ty, Val};

use super::asm::{Alu, At, Cond, Operand, Reg, Shift, XMM0, Xmm, x64};
use super::regs::AnyReg;
use super::vec_asm::{Packed, np, p3a, p66};
use super::vec_float::host_mode;
use super::{Cold, CompileError, Compiler, Done};
use crate::frame::{self, MarkAt, Site, arg};
use crate::stubs::Constant;

/// Rounding modes, as in [`FpAttr`]; the first four are the host's.
pub(crate) const NEAREST: u8 = 0;
pub(crate) const TOWARD_ZERO: u8 = 1;
pub(crate) const MOST_HOST_MODES: u8 = 3;

/// Opcodes of packed logic on single-precision vectors, which is the same on all (0F map).
const ANDPS: u8 = 0x54;
const ORPS: u8 = 0x56;
const XORPS: u8 = 0x57;

/// Scalar arithmetic in both formats: of three operands where the host has that, else of two.
macro_rules! scalar {
    ($s:expr, $single:expr, $dst:expr, $a:expr, $b:expr, $($ss:ident $sd:ident $vss:ident $vsd:ident)*) => {{
        let (dst, a, b) = ($dst.0, $a.0, $b.0);
        match ($s.features.avx, $single) {
            $((true, true) => x64!($s.asm, $vss Rx(dst), Rx(a), Rx(b)),
            (true, false) => x64!($s.asm, $vsd Rx(dst), Rx(a), Rx(b)),
            (false, true) => x64!($s.asm, movaps Rx(dst), Rx(a); $ss Rx(dst), Rx(b)),
            (false, false) => x64!($s.asm, movaps Rx(dst), Rx(a); $sd Rx(dst), Rx(b)),)*
        }
    }};
}

impl Compiler {
    pub(super) fn float(&mut self, block: &Block, inst: &Inst) -> Done {
        match inst.op {
            Op::Fmov => {
                let a = self.read_tight(inst.a)?;
                let dst = self.target_xmm()?;
                self.asm.mov_xmm(dst, a);
                return self.finish_xmm(inst.dst, dst);
            }
            Op::Fbits => {
                let a = self.read_tight(inst.a)?;
                let dst = self.target(inst.dst, &[])?;
                self.asm.movq_from_xmm(dst, a);
                return self.finish(inst.dst, dst);
            }
            Op::Ffrom if block.constant(inst.a) == Some(0) => {
                let dst = self.target_xmm()?;
                self.zero_xmm(dst);
                return self.finish_xmm(inst.dst, dst);
            }
            Op::Ffrom => {
                let a = self.read(block, inst.a)?;
                let dst = self.target_xmm()?;
                self.asm.movd_to_xmm(dst, a);
                return self.finish_xmm(inst.dst, dst);
            }
            _ => {}
        }
        let attr = FpAttr::from_bits(inst.attr);
        let selector = inst.attr >> 8;
        let single = match inst.ty {
            Ty::F32 => true,
            Ty::F64 => false,
            _ => return self.evaluate(block, inst),
        };
        // FpAttr's other rules only matter for results that the helper makes anyway.
        let nearest = !attr.flush && attr.round == NEAREST;
        match inst.op {
            Op::Fadd | Op::Fsub | Op::Fmul | Op::Fdiv | Op::Fsqrt if nearest => self.arithmetic(inst, single),
            Op::Fma if nearest && self.features.fma => self.fused(inst, single, selector),
            Op::Fmin | Op::Fmax if !attr.flush => self.extremum(inst, single),
            Op::Fround if !attr.flush && attr.round <= MOST_HOST_MODES => {
                self.round_float(inst, single, attr.round)
            }
            Op::Fcmp if !attr.flush => self.compare_floats(inst, single, selector),
            Op::Fnzcv if !attr.flush => self.compare_to_flags(inst, single, selector),
            Op::Fcvt if nearest && (selector & 3 == 1) != single && selector & 3 != 0 => {
                self.convert(inst, single)
            }
            Op::Ftoint if !attr.flush && attr.round <= MOST_HOST_MODES && inst.imm == 0 => {
                self.float_to_int(block, inst, single, attr.round)
            }
            Op::Ffromint if nearest && inst.imm == 0 => self.int_to_float(block, inst, single, selector),
            Op::Fsgnj if !self.regs.dies(inst.dst) => self.sign(inst, single, selector),
            Op::Fbox if !self.regs.dies(inst.dst) => self.box_float(inst, single),
            Op::Funbox if single && !self.regs.dies(inst.dst) => self.unbox(inst),
            _ => self.evaluate(block, inst),
        }
    }

    /// `dst` = the guest's flags: those that helpers have accrued, and the host's.
    fn accrued_flags(&mut self, dst: Reg) -> Done {
        const FLAGS: i32 = 0x3f;
        let table: Reg = self.regs.scratch(&mut self.asm)?;
        x64!(self.asm, stmxcsr[rsp + frame::STATUS.disp]);
        self.asm.lea_at(table, self.stubs.accrued());
        self.asm.load32(dst, frame::STATUS);
        self.asm.alu(Alu::And, false, dst, Operand::Imm(FLAGS));
        self.asm.load_unit(1, false, dst, At::Sum(table, dst));
        self.asm.alu(Alu::Or, true, dst, Operand::Mem(frame::FP_FLAGS));
        self.regs.unlock(table);
        Ok(())
    }

    pub(super) fn read_flags(&mut self, inst: &Inst) -> Done {
        let dst = self.target(inst.dst, &[])?;
        self.accrued_flags(dst)?;
        self.finish(inst.dst, dst)
    }

    /// Most guests write what they have read, to undo what a comparison may have raised: mostly nothing.
    pub(super) fn write_flags(&mut self, block: &Block, inst: &Inst) -> Done {
        let value = self.read(block, inst.a)?;
        let now: Reg = self.regs.scratch(&mut self.asm)?;
        self.accrued_flags(now)?;
        let same = self.asm.label();
        self.asm.alu(Alu::Cmp, true, now, Operand::Reg(value));
        self.asm.jcc(Cond::EQ, same);
        self.asm.store(frame::FP_FLAGS, value);
        x64!(self.asm, ldmxcsr[rsp + frame::CLEAN.disp]);
        self.asm.bind(same);
        Ok(())
    }

    /// A register that holds a number; of a single-precision one only the low half counts.
    fn read_float(&mut self, val: Val, single: bool) -> Result<Xmm, CompileError> {
        if single { self.read_xmm(val) } else { self.read_tight(val) }
    }

    fn box_float(&mut self, inst: &Inst, single: bool) -> Done {
        let a = self.read_float(inst.a, single)?;
        let dst = self.target_xmm()?;
        self.asm.mov_xmm(dst, a);
        if single {
            self.with(np(ORPS), dst, Constant::Box);
        }
        self.finish_xmm(inst.dst, dst)?;
        self.regs.set_boxed(inst.dst, single);
        Ok(())
    }

    fn unbox(&mut self, inst: &Inst) -> Done {
        let a = self.read_tight(inst.a)?;
        let dst = self.target_xmm()?;
        if self.regs.is_boxed(inst.a) {
            self.asm.mov_xmm(dst, a);
            return self.finish_loose(inst.dst, dst);
        }
        let upper: Reg = self.regs.scratch(&mut self.asm)?;
        self.regs.unlock(upper);
        self.asm.mov_xmm(dst, a);
        x64!(self.asm, pextrd Rd(upper.0), Rx(a.0), 1);
        self.asm.alu(Alu::Cmp, false, upper, Operand::Imm(-1));
        let (entry, back) = (self.asm.label(), self.asm.label());
        self.asm.jcc(Cond::NE, entry);
        self.asm.bind(back);
        self.cold.push(Cold::Unboxed { entry, back, dst });
        self.finish_loose(inst.dst, dst)
    }

    /// What an unboxed number is instead.
    pub(super) fn cold_unboxed(&mut self, dst: Xmm) {
        self.load_constant(dst, Constant::Nan32);
    }

    pub(super) fn load_constant(&mut self, dst: Xmm, constant: Constant) {
        const MOVAPS: u8 = 0x28;
        self.with(np(MOVAPS), dst, constant);
    }

    /// Makes `dst` the result, unless it is a NaN: then the helper does all again. So it does where a result that may have been
    /// `rounded` is the smallest normal number, for guests that look for underflow before they round.
    fn float_result(
        &mut self,
        inst: &Inst,
        single: bool,
        sources: [Option<Xmm>; 3],
        dst: Xmm,
        rounded: bool,
    ) -> Done {
        const UCOMI: u8 = 0x2e;
        let (entry, back) = (self.asm.label(), self.asm.label());
        let compare = if single { np(UCOMI) } else { p66(UCOMI) };
        if rounded && FpAttr::from_bits(inst.attr).tiny_before {
            let (magnitude, normal) = if single {
                (Constant::Magnitude32, Constant::Normal32)
            } else {
                (Constant::Magnitude64, Constant::Normal64)
            };
            self.asm.mov_xmm(XMM0, dst);
            self.with(np(ANDPS), XMM0, magnitude);
            self.with(compare, XMM0, normal);
            // The host says equal of what has no order, too.
            self.asm.jcc(Cond::EQ, entry);
        } else {
            self.asm.packed2(compare, dst, dst);
            self.asm.jcc(Cond::PARITY, entry);
        }
        self.asm.bind(back);
        self.cold_part_for(inst, (entry, back), sources, dst);
        if single { self.finish_loose(inst.dst, dst) } else { self.finish_xmm(inst.dst, dst) }
    }

    fn arithmetic(&mut self, inst: &Inst, single: bool) -> Done {
        let a = self.read_float(inst.a, single)?;
        let b = if inst.b.is_none() { a } else { self.read_float(inst.b, single)? };
        let dst = self.target_xmm()?;
        match inst.op {
            Op::Fadd => scalar!(self, single, dst, a, b, addss addsd vaddss vaddsd),
            Op::Fsub => scalar!(self, single, dst, a, b, subss subsd vsubss vsubsd),
            Op::Fmul => scalar!(self, single, dst, a, b, mulss mulsd vmulss vmulsd),
            Op::Fdiv => scalar!(self, single, dst, a, b, divss divsd vdivss vdivsd),
            _ => scalar!(self, single, dst, a, b, sqrtss sqrtsd vsqrtss vsqrtsd),
        }
        // No quotient lies so close to a power of two; sums there are exact.
        let rounded = inst.op == Op::Fmul;
        self.float_result(inst, single, [Some(a), Some(b), None], dst, rounded)
    }

    /// NaNs are the helper's. Of unlike zeros the host gives the second one: both ways around, combined, give the right one.
    fn extremum(&mut self, inst: &Inst, single: bool) -> Done {
        let (a, b) = (self.read_float(inst.a, single)?, self.read_float(inst.b, single)?);
        let dst = self.target_xmm()?;
        let (entry, back) = (self.asm.label(), self.asm.label());
        if single {
            x64!(self.asm, ucomiss Rx(a.0), Rx(b.0));
        } else {
            x64!(self.asm, ucomisd Rx(a.0), Rx(b.0));
        }
        self.asm.jcc(Cond::PARITY, entry);
        let combine = if inst.op == Op::Fmin {
            scalar!(self, single, dst, a, b, minss minsd vminss vminsd);
            scalar!(self, single, XMM0, b, a, minss minsd vminss vminsd);
            ORPS
        } else {
            scalar!(self, single, dst, a, b, maxss maxsd vmaxss vmaxsd);
            scalar!(self, single, XMM0, b, a, maxss maxsd vmaxss vmaxsd);
            ANDPS
        };
        self.asm.packed2(np(combine), dst, XMM0);
        self.asm.bind(back);
        self.cold_part_for(inst, (entry, back), [Some(a), Some(b), None], dst);
        if single { self.finish_loose(inst.dst, dst) } else { self.finish_xmm(inst.dst, dst) }
    }

    /// `dst` = `a` rounded to an integral number; `exact` raises inexact if that changes it.
    fn host_round(&mut self, single: bool, dst: Xmm, a: Xmm, round: u8, exact: bool) {
        const ROUNDSS: Packed = p3a(0x0a);
        const ROUNDSD: Packed = p3a(0x0b);
        const QUIET: u8 = 8;
        let mode = host_mode(round) | if exact { 0 } else { QUIET };
        self.packed_imm(if single { ROUNDSS } else { ROUNDSD }, dst, [a, a], mode);
    }

    fn round_float(&mut self, inst: &Inst, single: bool, round: u8) -> Done {
        let a = self.read_float(inst.a, single)?;
        let dst = self.target_xmm()?;
        self.host_round(single, dst, a, round, inst.attr >> 8 & 1 != 0);
        self.float_result(inst, single, [Some(a), None, None], dst, false)
    }

    fn fused(&mut self, inst: &Inst, single: bool, selector: u16) -> Done {
        let (a, b, c) = (
            self.read_float(inst.a, single)?,
            self.read_float(inst.b, single)?,
            self.read_float(inst.c, single)?,
        );
        let dst = self.target_xmm()?;
        self.asm.mov_xmm(dst, a);
        // Negated product, negated addend.
        match (selector & 3, single) {
            (0, false) => x64!(self.asm, vfmadd213sd Rx(dst.0), Rx(b.0), Rx(c.0)),
            (0, true) => x64!(self.asm, vfmadd213ss Rx(dst.0), Rx(b.0), Rx(c.0)),
            (1, false) => x64!(self.asm, vfnmadd213sd Rx(dst.0), Rx(b.0), Rx(c.0)),
            (1, true) => x64!(self.asm, vfnmadd213ss Rx(dst.0), Rx(b.0), Rx(c.0)),
            (2, false) => x64!(self.asm, vfmsub213sd Rx(dst.0), Rx(b.0), Rx(c.0)),
            (2, true) => x64!(self.asm, vfmsub213ss Rx(dst.0), Rx(b.0), Rx(c.0)),
            (_, false) => x64!(self.asm, vfnmsub213sd Rx(dst.0), Rx(b.0), Rx(c.0)),
            (_, true) => x64!(self.asm, vfnmsub213ss Rx(dst.0), Rx(b.0), Rx(c.0)),
        }
        self.float_result(inst, single, [Some(a), Some(b), Some(c)], dst, true)
    }

    /// Converts to the format of the result: `single` or not.
    fn convert(&mut self, inst: &Inst, single: bool) -> Done {
        let a = self.read_float(inst.a, !single)?;
        let dst = self.target_xmm()?;
        // The upper part of the destination stays: without this, its old value would have to be waited for.
        x64!(self.asm, xorps Rx(dst.0), Rx(dst.0));
        if single {
            x64!(self.asm, cvtsd2ss Rx(dst.0), Rx(a.0));
        } else {
            x64!(self.asm, cvtss2sd Rx(dst.0), Rx(a.0));
        }
        self.float_result(inst, single, [Some(a), None, None], dst, single)
    }

    /// Compares two numbers: the host's flags.
    fn host_compare(&mut self, single: bool, quiet: bool, a: Xmm, b: Xmm) {
        match (quiet, single) {
            (true, true) => x64!(self.asm, ucomiss Rx(a.0), Rx(b.0)),
            (true, false) => x64!(self.asm, ucomisd Rx(a.0), Rx(b.0)),
            (false, true) => x64!(self.asm, comiss Rx(a.0), Rx(b.0)),
            (false, false) => x64!(self.asm, comisd Rx(a.0), Rx(b.0)),
        }
    }

    fn compare_floats(&mut self, inst: &Inst, single: bool, selector: u16) -> Done {
        let (a, b) = (self.read_float(inst.a, single)?, self.read_float(inst.b, single)?);
        let dst = self.target(inst.dst, &[])?;
        let quiet = selector & 4 != 0;
        match selector & 3 {
            // It never signals on quiet NaNs.
            0 => {
                let unordered: Reg = self.regs.scratch(&mut self.asm)?;
                self.host_compare(single, true, a, b);
                self.asm.setcc(Cond::PARITY.inverted(), unordered);
                self.asm.setcc(Cond::EQ, dst);
                self.asm.alu(Alu::And, false, dst, Operand::Reg(unordered));
            }
            3 => {
                self.host_compare(single, quiet, a, b);
                self.asm.setcc(Cond::PARITY, dst);
            }
            // b > a, b ≥ a: false if unordered.
            order => {
                self.host_compare(single, quiet, b, a);
                self.asm.setcc(if order == 1 { Cond::A } else { Cond::AE }, dst);
            }
        }
        self.asm.movzx(1, dst, dst);
        self.finish(inst.dst, dst)
    }

    /// NZCV of a comparison.
    fn compare_to_flags(&mut self, inst: &Inst, single: bool, selector: u16) -> Done {
        const LESS: u64 = 0b1000 << 28;
        const OTHERS: [(Cond, u64); 3] =
            [(Cond::EQ, 0b0110 << 28), (Cond::A, 0b0010 << 28), (Cond::PARITY, 0b0011 << 28)];
        let (a, b) = (self.read_float(inst.a, single)?, self.read_float(inst.b, single)?);
        let dst = self.target(inst.dst, &[])?;
        let other: Reg = self.regs.scratch(&mut self.asm)?;
        self.asm.mov_imm(dst, LESS);
        self.host_compare(single, selector & 4 != 0, a, b);
        // What has no order is equal, too, to the host.
        for (cond, flags) in OTHERS {
            self.asm.mov_imm_keep_flags(other, flags);
            self.asm.cmov(cond, false, dst, other);
        }
        self.finish(inst.dst, dst)
    }

    /// What the host cannot represent as a signed integer it answers with the smallest number and nothing but the invalid flag,
    /// which the guest raises then, too.
    fn float_to_int(&mut self, block: &Block, inst: &Inst, single: bool, round: u8) -> Done {
        let int = ToInt::from_bits(inst.attr >> 8 & 3);
        let unsigned = matches!(int, ToInt::U32 | ToInt::U64);
        if unsigned && round != TOWARD_ZERO {
            return self.evaluate(block, inst);
        }
        let wide = int != ToInt::I32;
        let a = self.read_float(inst.a, single)?;
        let dst = self.target(inst.dst, &[])?;
        let (entry, back) = (self.asm.label(), self.asm.label());
        let first_rounded = !matches!(round, TOWARD_ZERO | NEAREST);
        // Numbers that fit no integer may have a fraction here; they are not inexact.
        let loses = first_rounded && !single && !wide;
        let from = if first_rounded { XMM0 } else { a };
        if first_rounded {
            self.host_round(single, XMM0, a, round, !loses);
        }
        if unsigned {
            self.unsigned_range(single, int, a, entry);
        }
        match (single, round == NEAREST, wide) {
            (true, false, true) => x64!(self.asm, cvttss2si Rq(dst.0), Rx(from.0)),
            (true, false, false) => x64!(self.asm, cvttss2si Rd(dst.0), Rx(from.0)),
            (false, false, true) => x64!(self.asm, cvttsd2si Rq(dst.0), Rx(from.0)),
            (false, false, false) => x64!(self.asm, cvttsd2si Rd(dst.0), Rx(from.0)),
            (true, true, true) => x64!(self.asm, cvtss2si Rq(dst.0), Rx(from.0)),
            (true, true, false) => x64!(self.asm, cvtss2si Rd(dst.0), Rx(from.0)),
            (false, true, true) => x64!(self.asm, cvtsd2si Rq(dst.0), Rx(from.0)),
            (false, true, false) => x64!(self.asm, cvtsd2si Rd(dst.0), Rx(from.0)),
        }
        if !unsigned {
            // Only the smallest number overflows when one is subtracted.
            self.asm.alu(Alu::Cmp, wide, dst, Operand::Imm(1));
            self.asm.jcc(Cond::OVERFLOW, entry);
        }
        if loses {
            // For its flag.
            self.host_round(single, XMM0, a, round, true);
        }
        self.asm.bind(back);
        let site = Site::new(inst.op, inst.ty, inst.attr);
        let sources = [Some(a), None, None];
        self.cold.push(Cold::Helper { entry, back, site, sources, dst: AnyReg::Int(dst) });
        self.finish(inst.dst, dst)
    }

    /// Goes to `outside` unless 0 ≤ `a` < 2^32, or 2^63: what lies above is rare.
    fn unsigned_range(&mut self, single: bool, int: ToInt, a: Xmm, outside: DynamicLabel) {
        let compare = if single { np(0x2e) } else { p66(0x2e) };
        let limit = match (int, single) {
            (ToInt::U32, false) => Constant::Two32,
            (ToInt::U32, true) => Constant::Two32Single,
            (_, false) => Constant::Two63,
            (_, true) => Constant::Two63Single,
        };
        self.zero_xmm(XMM0);
        self.host_compare(single, true, a, XMM0);
        self.asm.jcc(Cond::B, outside);
        self.with(compare, a, limit);
        self.asm.jcc(Cond::AE, outside);
    }

    fn int_to_float(&mut self, block: &Block, inst: &Inst, single: bool, selector: u16) -> Done {
        let from = ToInt::from_bits(selector & 3);
        let mut a = self.read(block, inst.a)?;
        let dst = self.target_xmm()?;
        if matches!(from, ToInt::U32 | ToInt::U64) {
            let own: Reg = self.regs.scratch(&mut self.asm)?;
            if from == ToInt::U32 {
                self.asm.mov32(own, a)
            } else {
                self.asm.mov(own, a)
            }
            a = own;
        }
        if from != ToInt::U64 {
            self.host_from_int(single, from != ToInt::I32, dst, a);
            return self.finish_xmm(inst.dst, dst);
        }
        let last: Reg = self.regs.scratch(&mut self.asm)?;
        let (large, done) = (self.asm.label(), self.asm.label());
        self.asm.alu(Alu::Test, true, a, Operand::Reg(a));
        self.asm.jcc(Cond::SIGN, large);
        self.host_from_int(single, true, dst, a);
        self.asm.jmp(done);
        self.asm.bind(large);
        // Half of it, with a last bit that keeps what was cut off; then twice that, which is exact.
        self.asm.mov32(last, a);
        self.asm.alu(Alu::And, false, last, Operand::Imm(1));
        self.asm.shift_imm(Shift::Shr, true, a, 1);
        self.asm.alu(Alu::Or, true, a, Operand::Reg(last));
        self.host_from_int(single, true, dst, a);
        scalar!(self, single, dst, dst, dst, addss addsd vaddss vaddsd);
        self.asm.bind(done);
        self.finish_xmm(inst.dst, dst)
    }

    fn host_from_int(&mut self, single: bool, wide: bool, dst: Xmm, a: Reg) {
        // The upper part of the destination stays: without this, its old value would have to be waited for.
        x64!(self.asm, xorps Rx(dst.0), Rx(dst.0));
        match (single, wide) {
            (true, true) => x64!(self.asm, cvtsi2ss Rx(dst.0), Rq(a.0)),
            (true, false) => x64!(self.asm, cvtsi2ss Rx(dst.0), Rd(a.0)),
            (false, true) => x64!(self.asm, cvtsi2sd Rx(dst.0), Rq(a.0)),
            (false, false) => x64!(self.asm, cvtsi2sd Rx(dst.0), Rd(a.0)),
        }
    }

    fn sign(&mut self, inst: &Inst, single: bool, selector: u16) -> Done {
        let (sign, rest) =
            if single { (Constant::Sign32, Constant::Rest32) } else { (Constant::Sign64, Constant::Rest64) };
        let a = self.read_float(inst.a, single)?;
        let b = self.read_float(inst.b, single)?;
        let kind = Sgnj::from_bits(selector & 3);
        let dst = self.target_xmm()?;
        self.asm.mov_xmm(dst, a);
        match kind {
            Sgnj::Copy if inst.a == inst.b => {}
            Sgnj::Not if inst.a == inst.b => self.with(np(XORPS), dst, sign),
            Sgnj::Xor if inst.a == inst.b => self.with(np(ANDPS), dst, rest),
            Sgnj::Xor => {
                self.asm.mov_xmm(XMM0, b);
                self.with(np(ANDPS), XMM0, sign);
                x64!(self.asm, xorps Rx(dst.0), xmm0);
            }
            Sgnj::Copy | Sgnj::Not => {
                self.asm.mov_xmm(XMM0, b);
                self.with(np(ANDPS), XMM0, sign);
                if kind == Sgnj::Not {
                    self.with(np(XORPS), XMM0, sign);
                }
                self.with(np(ANDPS), dst, rest);
                x64!(self.asm, orps Rx(dst.0), xmm0);
            }
        }
        if single { self.finish_loose(inst.dst, dst) } else { self.finish_xmm(inst.dst, dst) }
    }

    /// The slow path of an operation, on numbers or on vectors of them: the helper does it.
    pub(super) fn cold_helper(&mut self, site: Site, sources: [Option<Xmm>; 3], dst: AnyReg) {
        for (n, source) in sources.into_iter().enumerate() {
            if let Some(source) = source {
                self.asm.store_xmm(arg(n), source, true);
            }
        }
        self.site(site, MarkAt(0), Some(0));
        self.asm.call_out(self.stubs.operation[1]);
        match dst {
            AnyReg::Int(dst) => self.asm.load(dst, frame::RESULT),
            AnyReg::Vec(dst) => self.asm.load_xmm(dst, frame::RESULT, true),
        }
    }
}
