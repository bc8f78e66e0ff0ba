//! Floating point on the host's SSE unit.
//!
//! Translated code runs with rounding to nearest and all exceptions masked; the sticky flags in MXCSR are the guest's,
//! together with those in [`emu_core::exec::CpuState::fp_flags`]. What the host does differently is left to the helper, and
//! decided before the host can raise a flag that the guest does not; a NaN result is made again by the helper, which knows
//! which one it must be. Other rounding modes, formats and rules are the helper's, too.

#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers, of whatever type"
)]
#![allow(clippy::wrong_self_convention, reason = "named after the operations that they compile")]

use dynasmrt::{DynasmApi, dynasm};
use emu_core::ir::{Block, FpAttr, Inst, Op, Sgnj, ToInt, Ty, Val};

use super::asm::{Alu, Cond, Operand, Reg, XMM0, Xmm, x64};
use super::regs::AnyReg;
use super::{Cold, CompileError, Compiler, Done};
use crate::frame::{self, MarkAt, Site, arg};
use crate::stubs::Constant;

/// RISC-V's encoding of rounding toward zero, as in [`FpAttr`].
const TOWARD_ZERO: u8 = 1;

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
        let plain = !attr.propagate_nan && !attr.tiny_before && !attr.flush;
        match inst.op {
            Op::Fadd | Op::Fsub | Op::Fmul | Op::Fdiv | Op::Fsqrt if plain && attr.round == 0 => {
                self.arithmetic(inst, single)
            }
            Op::Fma if plain && attr.round == 0 && self.features.fma => self.fused(inst, single, selector),
            Op::Fcmp if !attr.flush && selector & 3 != 3 => self.compare_floats(inst, single, selector),
            Op::Fcvt if plain && attr.round == 0 && (selector & 3 == 1) != single && selector & 3 != 0 => {
                self.convert(inst, single)
            }
            Op::Ftoint if !attr.flush && attr.round == TOWARD_ZERO => {
                self.float_to_int(block, inst, single, selector)
            }
            Op::Ffromint if attr.round == 0 => self.int_to_float(block, inst, single, selector),
            Op::Fsgnj if !self.regs.dies(inst.dst) => self.sign(inst, single, selector),
            Op::Fbox if !self.regs.dies(inst.dst) => self.box_float(inst, single),
            Op::Funbox if single && !self.regs.dies(inst.dst) => self.unbox(inst),
            _ => self.evaluate(block, inst),
        }
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
            self.with_constant(ORPS, dst, Constant::Box);
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

    fn with_constant(&mut self, opcode: u8, dst: Xmm, constant: Constant) {
        let at = self.stubs.constant(constant);
        self.asm.xmm_constant(opcode, dst, at);
    }

    fn load_constant(&mut self, dst: Xmm, constant: Constant) {
        const MOVAPS: u8 = 0x28;
        self.with_constant(MOVAPS, dst, constant);
    }

    /// Makes `dst` the result, unless it is a NaN: then the helper does all again.
    fn float_result(&mut self, inst: &Inst, single: bool, sources: [Option<Xmm>; 3], dst: Xmm) -> Done {
        let (entry, back) = (self.asm.label(), self.asm.label());
        if single {
            x64!(self.asm, ucomiss Rx(dst.0), Rx(dst.0));
        } else {
            x64!(self.asm, ucomisd Rx(dst.0), Rx(dst.0));
        }
        self.asm.jcc(Cond::PARITY, entry);
        self.asm.bind(back);
        let site = Site::new(inst.op, inst.ty, inst.attr);
        self.cold.push(Cold::Float { entry, back, site, sources, dst: AnyReg::Vec(dst) });
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
        self.float_result(inst, single, [Some(a), Some(b), None], dst)
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
        self.float_result(inst, single, [Some(a), Some(b), Some(c)], dst)
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
        self.float_result(inst, single, [Some(a), None, None], dst)
    }

    fn compare_floats(&mut self, inst: &Inst, single: bool, selector: u16) -> Done {
        let (a, b) = (self.read_float(inst.a, single)?, self.read_float(inst.b, single)?);
        let dst = self.target(inst.dst, &[])?;
        // Only `lt` and `le` signal on quiet NaNs.
        let quiet = selector & 3 == 0 || selector & 4 != 0;
        if selector & 3 == 0 {
            let unordered: Reg = self.regs.scratch(&mut self.asm)?;
            if single {
                x64!(self.asm, ucomiss Rx(a.0), Rx(b.0));
            } else {
                x64!(self.asm, ucomisd Rx(a.0), Rx(b.0));
            }
            self.asm.setcc(Cond::PARITY.inverted(), unordered);
            self.asm.setcc(Cond::EQ, dst);
            self.asm.alu(Alu::And, false, dst, Operand::Reg(unordered));
        } else {
            // b > a, b ≥ a: false if unordered.
            match (quiet, single) {
                (true, true) => x64!(self.asm, ucomiss Rx(b.0), Rx(a.0)),
                (true, false) => x64!(self.asm, ucomisd Rx(b.0), Rx(a.0)),
                (false, true) => x64!(self.asm, comiss Rx(b.0), Rx(a.0)),
                (false, false) => x64!(self.asm, comisd Rx(b.0), Rx(a.0)),
            }
            self.asm.setcc(if selector & 3 == 1 { Cond(7) } else { Cond(3) }, dst);
        }
        self.asm.movzx(1, dst, dst);
        self.finish(inst.dst, dst)
    }

    /// Toward zero. What the host cannot represent it answers with the smallest number and nothing but the invalid
    /// flag, which the guest raises then, too.
    fn float_to_int(&mut self, block: &Block, inst: &Inst, single: bool, selector: u16) -> Done {
        let wide = match ToInt::from_bits(selector & 3) {
            ToInt::I32 => false,
            ToInt::I64 => true,
            ToInt::U32 | ToInt::U64 => return self.evaluate(block, inst),
        };
        let a = self.read_float(inst.a, single)?;
        let dst = self.target(inst.dst, &[])?;
        let (entry, back) = (self.asm.label(), self.asm.label());
        match (single, wide) {
            (true, true) => x64!(self.asm, cvttss2si Rq(dst.0), Rx(a.0)),
            (true, false) => x64!(self.asm, cvttss2si Rd(dst.0), Rx(a.0)),
            (false, true) => x64!(self.asm, cvttsd2si Rq(dst.0), Rx(a.0)),
            (false, false) => x64!(self.asm, cvttsd2si Rd(dst.0), Rx(a.0)),
        }
        // Only the smallest number overflows when one is subtracted.
        self.asm.alu(Alu::Cmp, wide, dst, Operand::Imm(1));
        self.asm.jcc(Cond::OVERFLOW, entry);
        self.asm.bind(back);
        let site = Site::new(inst.op, inst.ty, inst.attr);
        let sources = [Some(a), None, None];
        self.cold.push(Cold::Float { entry, back, site, sources, dst: AnyReg::Int(dst) });
        self.finish(inst.dst, dst)
    }

    fn int_to_float(&mut self, block: &Block, inst: &Inst, single: bool, selector: u16) -> Done {
        let from = ToInt::from_bits(selector & 3);
        if from == ToInt::U64 {
            return self.evaluate(block, inst);
        }
        let mut a = self.read(block, inst.a)?;
        let dst = self.target_xmm()?;
        if from == ToInt::U32 {
            let low: Reg = self.regs.scratch(&mut self.asm)?;
            self.asm.mov32(low, a);
            a = low;
        }
        x64!(self.asm, xorps Rx(dst.0), Rx(dst.0));
        match (single, from != ToInt::I32) {
            (true, true) => x64!(self.asm, cvtsi2ss Rx(dst.0), Rq(a.0)),
            (true, false) => x64!(self.asm, cvtsi2ss Rx(dst.0), Rd(a.0)),
            (false, true) => x64!(self.asm, cvtsi2sd Rx(dst.0), Rq(a.0)),
            (false, false) => x64!(self.asm, cvtsi2sd Rx(dst.0), Rd(a.0)),
        }
        self.finish_xmm(inst.dst, dst)
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
            Sgnj::Not if inst.a == inst.b => self.with_constant(XORPS, dst, sign),
            Sgnj::Xor if inst.a == inst.b => self.with_constant(ANDPS, dst, rest),
            Sgnj::Xor => {
                self.asm.mov_xmm(XMM0, b);
                self.with_constant(ANDPS, XMM0, sign);
                x64!(self.asm, xorps Rx(dst.0), xmm0);
            }
            Sgnj::Copy | Sgnj::Not => {
                self.asm.mov_xmm(XMM0, b);
                self.with_constant(ANDPS, XMM0, sign);
                if kind == Sgnj::Not {
                    self.with_constant(XORPS, XMM0, sign);
                }
                self.with_constant(ANDPS, dst, rest);
                x64!(self.asm, orps Rx(dst.0), xmm0);
            }
        }
        if single { self.finish_loose(inst.dst, dst) } else { self.finish_xmm(inst.dst, dst) }
    }

    /// The slow path of an operation: the helper does it.
    pub(super) fn cold_float(&mut self, site: Site, sources: [Option<Xmm>; 3], dst: AnyReg) {
        for (n, source) in sources.into_iter().enumerate() {
            if let Some(source) = source {
                self.asm.store_xmm(arg(n), source, false);
            }
        }
        self.site(site, MarkAt(0), None);
        self.asm.call_out(self.stubs.operation);
        match dst {
            AnyReg::Int(dst) => self.asm.load(dst, frame::RESULT),
            AnyReg::Vec(dst) => self.asm.load_xmm(dst, frame::RESULT, false),
        }
    }
}
