//! Vectors of 128 bits, in the host's vector registers.
//!
//! What the host has instructions for is compiled: see the families in `vec_lanes`, `vec_widths`, `vec_moves` and `vec_float`.
//! The rest goes to the helper.

use dynasmrt::DynamicLabel;
use emu_core::ir::{Block, Effect, Inst, Op, Part};

use super::asm::{Cond, XMM0, XMM1, Xmm};
use super::regs::AnyReg;
use super::vec_asm::{
    INSERTPS, MOVQ, PAND, PANDN, PCMPEQ, POR, PTEST, PXOR, Packed, SHIFT_LEFT_BYTES, SHIFT_RIGHT_BYTES,
};
use super::{Cold, CompileError, Compiler, Done};
use crate::frame::Site;
use crate::stubs::Constant;

/// Whether a template has done the operation; if not, its result has not been touched.
pub(super) type Handled = Result<bool, CompileError>;

impl Compiler {
    pub(super) fn vector(&mut self, block: &Block, inst: &Inst) -> Done {
        let info = inst.op.info();
        if info.effect == Effect::Pure && self.regs.dies(inst.dst) {
            return Ok(());
        }
        let handled = match inst.op {
            Op::Vand | Op::Vandn | Op::Vor | Op::Vxor | Op::Vselect => self.bitwise(inst)?,
            Op::Vaes if self.features.aes => self.aes(inst)?,
            Op::Vsha if self.features.sha => self.sha(inst)?,
            op if (op as u8) >= Op::Vfadd as u8 => self.vector_float(inst)?,
            _ => self.moved(block, inst)? || self.lanes(inst)? || self.shifted(inst)? || self.widths(inst)?,
        };
        if handled { Ok(()) } else { self.evaluate(block, inst) }
    }

    /// `dst = insn(a, b)`; without AVX `dst` must not be `b`, unless it is `a`, too.
    pub(super) fn packed(&mut self, insn: Packed, dst: Xmm, a: Xmm, b: Xmm) {
        if self.features.avx {
            self.asm.packed3(insn, false, dst, a, b);
        } else {
            debug_assert!(dst == a || dst != b, "the second operand would be lost");
            self.asm.mov_xmm(dst, a);
            self.asm.packed2(insn, dst, b);
        }
    }

    /// The same with an immediate.
    pub(super) fn packed_imm(&mut self, insn: Packed, dst: Xmm, [a, b]: [Xmm; 2], imm: u8) {
        self.packed(insn, dst, a, b);
        self.asm.ops_push(&[imm]);
    }

    /// `reg = insn(reg, constant)`
    pub(super) fn with(&mut self, insn: Packed, reg: Xmm, constant: Constant) {
        let at = self.stubs.constant(constant);
        self.asm.packed2_at(insn, reg, at);
    }

    /// A register for a result that one instruction makes of the operands: that of `a` if it is not needed any more.
    pub(super) fn over(&mut self, inst: &Inst, a: Xmm) -> Result<Xmm, CompileError> {
        if self.regs.dies(inst.a) { Ok(a) } else { self.target_xmm() }
    }

    /// Clears what does not take part.
    pub(super) fn clear_rest(&mut self, part: Part, width: usize, reg: Xmm) {
        match (part, width) {
            (Part::All, _) => {}
            (Part::Half, _) | (Part::One, 3) => self.asm.packed2(MOVQ, reg, reg),
            (Part::One, 2) => self.packed_imm(INSERTPS, reg, [reg, reg], 0x0e),
            (Part::One, _) => {
                let by = 16 - (1 << width);
                self.asm.packed_shift(3, SHIFT_LEFT_BYTES, reg, by);
                self.asm.packed_shift(3, SHIFT_RIGHT_BYTES, reg, by);
            }
        }
    }

    /// `reg` = zero
    pub(super) fn zero_xmm(&mut self, reg: Xmm) {
        self.asm.packed2(PXOR, reg, reg);
    }

    /// Turns all bits of `reg`; needs [`XMM1`].
    pub(super) fn invert(&mut self, reg: Xmm) {
        self.asm.packed2(PCMPEQ[2], XMM1, XMM1);
        self.asm.packed2(PXOR, reg, XMM1);
    }

    /// Ends an operation of two vectors that is one instruction.
    pub(super) fn two_operands(&mut self, inst: &Inst, insn: Packed) -> Handled {
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.over(inst, a)?;
        self.packed(insn, dst, a, b);
        self.clear_rest(inst.part(), inst.lane_width(), dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// Goes to the helper's way of doing `inst` if the condition holds; its result comes back in `dst`. The sources must still
    /// be in their registers.
    pub(super) fn otherwise_helper(&mut self, cond: Cond, inst: &Inst, sources: [Option<Xmm>; 3], dst: Xmm) {
        let (entry, back) = (self.asm.label(), self.asm.label());
        self.asm.jcc(cond, entry);
        self.asm.bind(back);
        self.cold_part_for(inst, (entry, back), sources, dst);
    }

    /// Has the helper do `inst` at `entry`, going on at `back`.
    pub(super) fn cold_part_for(
        &mut self,
        inst: &Inst,
        (entry, back): (DynamicLabel, DynamicLabel),
        sources: [Option<Xmm>; 3],
        dst: Xmm,
    ) {
        let site = Site::new(inst.op, inst.ty, inst.attr);
        self.cold.push(Cold::Helper { entry, back, site, sources, dst: AnyReg::Vec(dst) });
    }

    /// Goes there if `reg` is not zero.
    pub(super) fn helper_if_any(&mut self, reg: Xmm, inst: &Inst, sources: [Option<Xmm>; 3], dst: Xmm) {
        self.asm.packed2(PTEST, reg, reg);
        self.otherwise_helper(Cond::NE, inst, sources, dst);
    }

    fn bitwise(&mut self, inst: &Inst) -> Handled {
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = match inst.op {
            Op::Vandn => {
                let dst = self.target_xmm()?;
                self.packed(PANDN, dst, b, a);
                dst
            }
            Op::Vselect => {
                let (c, dst) = (self.read_xmm(inst.c)?, self.target_xmm()?);
                self.packed(PAND, XMM0, a, b);
                self.packed(PANDN, dst, a, c);
                self.packed(POR, dst, dst, XMM0);
                dst
            }
            op => {
                let insn = match op {
                    Op::Vand => PAND,
                    Op::Vor => POR,
                    _ => PXOR,
                };
                let dst = self.over(inst, a)?;
                self.packed(insn, dst, a, b);
                dst
            }
        };
        self.clear_rest(inst.part(), 0, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }
}
