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

use super::asm::{Alu, Cond, Operand, Reg, Shift, x64};
use super::{Cold, Compiler, Done};
use crate::frame::{Site, arg};

const SIGN_64: u64 = 1 << 63;
const SIGN_32: u64 = 1 << 31;
/// RISC-V's encoding of rounding toward zero, as in [`FpAttr`].
const TOWARD_ZERO: u8 = 1;

impl Compiler {
    pub(super) fn float(&mut self, block: &Block, inst: &Inst) -> Done {
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
            Op::Fsgnj if !self.regs.dies(inst.dst) => self.sign(block, inst, single, selector),
            Op::Fbox if !self.regs.dies(inst.dst) => {
                let dst = self.target_over(inst.dst, inst.a, &[])?;
                self.copy(block, true, dst, inst.a);
                if single {
                    let ones = self.regs.scratch(&mut self.asm)?;
                    self.asm.mov_imm(ones, u64::from(u32::MAX) << 32);
                    self.asm.alu(Alu::Or, true, dst, Operand::Reg(ones));
                }
                self.finish(inst.dst, dst)
            }
            Op::Funbox if single && !self.regs.dies(inst.dst) => {
                let a = self.read(block, inst.a)?;
                let upper = self.regs.scratch(&mut self.asm)?;
                let dst = self.target(inst.dst, &[a])?;
                self.asm.mov(upper, a);
                self.asm.shift_imm(Shift::Sar, true, upper, 32);
                self.asm.mov32(dst, a);
                self.asm.alu(Alu::Cmp, true, upper, Operand::Imm(-1));
                self.asm.mov_imm_keep_flags(upper, 0x7fc0_0000);
                self.asm.cmov(Cond::NE, false, dst, upper);
                self.finish(inst.dst, dst)
            }
            _ => self.evaluate(block, inst),
        }
    }

    /// Loads a value into vector register `n`.
    fn load_xmm(&mut self, n: u8, from: Operand) {
        match from {
            Operand::Reg(reg) => x64!(self.asm, movq Rx(n), Rq(reg.0)),
            Operand::Mem(mem) => x64!(self.asm, movq Rx(n), QWORD [Rq(mem.base.0) + mem.disp]),
            Operand::Imm(_) => {}
        }
    }

    /// Makes vector register 0 the result, unless it is a NaN: then the helper does all again.
    fn float_result(&mut self, inst: &Inst, single: bool, sources: [Option<Operand>; 3]) -> Done {
        let regs: Vec<Reg> = sources
            .iter()
            .filter_map(|s| match s {
                Some(Operand::Reg(reg)) => Some(*reg),
                _ => None,
            })
            .collect();
        let (entry, back) = (self.asm.label(), self.asm.label());
        let dst = self.target(inst.dst, &regs)?;
        if single {
            x64!(self.asm, ucomiss xmm0, xmm0);
        } else {
            x64!(self.asm, ucomisd xmm0, xmm0);
        }
        self.asm.jcc(Cond::PARITY, entry);
        self.store_xmm(single, dst);
        self.asm.bind(back);
        let site = Site::new(inst.op, inst.ty, inst.attr);
        self.cold.push(Cold::Float { entry, back, site, sources, dst });
        self.finish(inst.dst, dst)
    }

    fn store_xmm(&mut self, single: bool, dst: Reg) {
        if single {
            x64!(self.asm, movd Rd(dst.0), xmm0);
        } else {
            x64!(self.asm, movq Rq(dst.0), xmm0);
        }
    }

    fn float_place(&mut self, val: Val) -> Operand {
        self.regs.place(val)
    }

    fn arithmetic(&mut self, inst: &Inst, single: bool) -> Done {
        let a = self.float_place(inst.a);
        let b = if inst.b.is_none() { a } else { self.float_place(inst.b) };
        self.load_xmm(0, a);
        self.load_xmm(1, b);
        match (inst.op, single) {
            (Op::Fadd, false) => x64!(self.asm, addsd xmm0, xmm1),
            (Op::Fadd, true) => x64!(self.asm, addss xmm0, xmm1),
            (Op::Fsub, false) => x64!(self.asm, subsd xmm0, xmm1),
            (Op::Fsub, true) => x64!(self.asm, subss xmm0, xmm1),
            (Op::Fmul, false) => x64!(self.asm, mulsd xmm0, xmm1),
            (Op::Fmul, true) => x64!(self.asm, mulss xmm0, xmm1),
            (Op::Fdiv, false) => x64!(self.asm, divsd xmm0, xmm1),
            (Op::Fdiv, true) => x64!(self.asm, divss xmm0, xmm1),
            (_, false) => x64!(self.asm, sqrtsd xmm0, xmm1),
            (_, true) => x64!(self.asm, sqrtss xmm0, xmm1),
        }
        self.float_result(inst, single, [Some(a), Some(b), None])
    }

    fn fused(&mut self, inst: &Inst, single: bool, selector: u16) -> Done {
        let [a, b, c] = [inst.a, inst.b, inst.c].map(|val| self.float_place(val));
        self.load_xmm(0, a);
        self.load_xmm(1, b);
        self.load_xmm(2, c);
        // Negated product, negated addend.
        match (selector & 3, single) {
            (0, false) => x64!(self.asm, vfmadd213sd xmm0, xmm1, xmm2),
            (0, true) => x64!(self.asm, vfmadd213ss xmm0, xmm1, xmm2),
            (1, false) => x64!(self.asm, vfnmadd213sd xmm0, xmm1, xmm2),
            (1, true) => x64!(self.asm, vfnmadd213ss xmm0, xmm1, xmm2),
            (2, false) => x64!(self.asm, vfmsub213sd xmm0, xmm1, xmm2),
            (2, true) => x64!(self.asm, vfmsub213ss xmm0, xmm1, xmm2),
            (_, false) => x64!(self.asm, vfnmsub213sd xmm0, xmm1, xmm2),
            (_, true) => x64!(self.asm, vfnmsub213ss xmm0, xmm1, xmm2),
        }
        self.float_result(inst, single, [Some(a), Some(b), Some(c)])
    }

    fn convert(&mut self, inst: &Inst, single: bool) -> Done {
        let a = self.float_place(inst.a);
        self.load_xmm(1, a);
        if single {
            x64!(self.asm, cvtsd2ss xmm0, xmm1);
        } else {
            x64!(self.asm, cvtss2sd xmm0, xmm1);
        }
        self.float_result(inst, single, [Some(a), None, None])
    }

    fn compare_floats(&mut self, inst: &Inst, single: bool, selector: u16) -> Done {
        let (a, b) = (self.float_place(inst.a), self.float_place(inst.b));
        let dst = self.target(inst.dst, &[])?;
        self.load_xmm(0, a);
        self.load_xmm(1, b);
        // Only `lt` and `le` signal on quiet NaNs.
        let quiet = selector & 3 == 0 || selector & 4 != 0;
        if selector & 3 == 0 {
            let unordered = self.regs.scratch(&mut self.asm)?;
            if single {
                x64!(self.asm, ucomiss xmm0, xmm1);
            } else {
                x64!(self.asm, ucomisd xmm0, xmm1);
            }
            self.asm.setcc(Cond::PARITY.inverted(), unordered);
            self.asm.setcc(Cond::EQ, dst);
            self.asm.alu(Alu::And, false, dst, Operand::Reg(unordered));
        } else {
            // b > a, b ≥ a: false if unordered.
            match (quiet, single) {
                (true, true) => x64!(self.asm, ucomiss xmm1, xmm0),
                (true, false) => x64!(self.asm, ucomisd xmm1, xmm0),
                (false, true) => x64!(self.asm, comiss xmm1, xmm0),
                (false, false) => x64!(self.asm, comisd xmm1, xmm0),
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
        let a = self.float_place(inst.a);
        let avoid = match a {
            Operand::Reg(reg) => Some(reg),
            _ => None,
        };
        let dst = self.target(inst.dst, avoid.as_slice())?;
        let (entry, back) = (self.asm.label(), self.asm.label());
        self.load_xmm(0, a);
        match (single, wide) {
            (true, true) => x64!(self.asm, cvttss2si Rq(dst.0), xmm0),
            (true, false) => x64!(self.asm, cvttss2si Rd(dst.0), xmm0),
            (false, true) => x64!(self.asm, cvttsd2si Rq(dst.0), xmm0),
            (false, false) => x64!(self.asm, cvttsd2si Rd(dst.0), xmm0),
        }
        // Only the smallest number overflows when one is subtracted.
        self.asm.alu(Alu::Cmp, wide, dst, Operand::Imm(1));
        self.asm.jcc(Cond::OVERFLOW, entry);
        self.asm.bind(back);
        let site = Site::new(inst.op, inst.ty, inst.attr);
        self.cold.push(Cold::Float { entry, back, site, sources: [Some(a), None, None], dst });
        self.finish(inst.dst, dst)
    }

    fn int_to_float(&mut self, block: &Block, inst: &Inst, single: bool, selector: u16) -> Done {
        let from = ToInt::from_bits(selector & 3);
        if from == ToInt::U64 {
            return self.evaluate(block, inst);
        }
        let mut a = self.read(block, inst.a)?;
        let dst = self.target(inst.dst, &[])?;
        if from == ToInt::U32 {
            let low = self.regs.scratch(&mut self.asm)?;
            self.asm.mov32(low, a);
            a = low;
        }
        x64!(self.asm, xorps xmm0, xmm0);
        match (single, from != ToInt::I32) {
            (true, true) => x64!(self.asm, cvtsi2ss xmm0, Rq(a.0)),
            (true, false) => x64!(self.asm, cvtsi2ss xmm0, Rd(a.0)),
            (false, true) => x64!(self.asm, cvtsi2sd xmm0, Rq(a.0)),
            (false, false) => x64!(self.asm, cvtsi2sd xmm0, Rd(a.0)),
        }
        self.store_xmm(single, dst);
        self.finish(inst.dst, dst)
    }

    fn sign(&mut self, block: &Block, inst: &Inst, single: bool, selector: u16) -> Done {
        let (sign, wide) = if single { (SIGN_32, false) } else { (SIGN_64, true) };
        let b = self.read(block, inst.b)?;
        let a = self.read(block, inst.a)?;
        let (bits, mask) = (self.regs.scratch(&mut self.asm)?, self.regs.scratch(&mut self.asm)?);
        self.asm.mov(bits, b);
        match Sgnj::from_bits(selector & 3) {
            Sgnj::Copy => {}
            Sgnj::Not => self.asm.not(true, bits),
            Sgnj::Xor => self.asm.alu(Alu::Xor, true, bits, Operand::Reg(a)),
        }
        // a with the bits in which it differs from the sign wanted, if that is the sign, flipped
        self.asm.alu(Alu::Xor, true, bits, Operand::Reg(a));
        self.asm.mov_imm(mask, sign);
        self.asm.alu(Alu::And, true, bits, Operand::Reg(mask));
        self.asm.alu(Alu::Xor, wide, bits, Operand::Reg(a));
        self.finish(inst.dst, bits)
    }

    /// The slow path of an operation: the helper does it.
    pub(super) fn cold_float(&mut self, site: Site, sources: [Option<Operand>; 3], dst: Reg) {
        for (n, source) in sources.into_iter().enumerate() {
            match source {
                Some(Operand::Reg(reg)) => self.asm.store(arg(n), reg),
                Some(from @ Operand::Mem(_)) => {
                    self.load_xmm(0, from);
                    let to = arg(n);
                    x64!(self.asm, movq QWORD [Rq(to.base.0) + to.disp], xmm0);
                }
                Some(Operand::Imm(_)) | None => {}
            }
        }
        self.site(site, crate::frame::MarkAt(0), None);
        self.asm.call_out(self.stubs.operation);
        self.asm.load(dst, crate::frame::RESULT);
    }
}
