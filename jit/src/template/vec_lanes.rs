//! Integer arithmetic, comparisons and shifts, lane by lane.

use emu_core::fp::Flags;
use emu_core::ir::{Halving, Inst, Op, Part, Signs, VecCc, VecUnary};

use super::asm::{Alu, Cond, Operand, Reg, XMM0, XMM1, Xmm};
use super::vec::Handled;
use super::vec_asm::{
    MOVQ, PABS, PADD, PADDS, PADDUS, PAND, PAVG, PCMPEQ, PCMPGT, PMAXS, PMAXU, PMINS, PMINU, PMULLD, PMULLW,
    POR, PSHUFB, PSHUFD, PSLLV, PSRAV, PSRLV, PSUB, PSUBS, PSUBUS, PTEST, PXOR, Packed, SHIFT_LEFT,
    SHIFT_RIGHT, SHIFT_RIGHT_SIGNED, np, p66,
};
use super::{CompileError, Compiler, Done};
use crate::frame;
use crate::stubs::Constant;

impl Compiler {
    /// Arithmetic and comparisons; whether the operation is one that is compiled.
    pub(super) fn lanes(&mut self, inst: &Inst) -> Handled {
        let width = inst.lane_width();
        let table: &[Packed] = match inst.op {
            Op::Vadd => &PADD,
            Op::Vsub => &PSUB,
            Op::Vmin if inst.is_signed() => &PMINS,
            Op::Vmin => &PMINU,
            Op::Vmax if inst.is_signed() => &PMAXS,
            Op::Vmax => &PMAXU,
            Op::Vhalve if !inst.is_signed() && Halving::from_bits(inst.attr >> 5 & 3) == Halving::Round => {
                &PAVG
            }
            Op::Vhalve => &[],
            Op::Vmul => return self.multiply(inst),
            Op::Vcmp => return self.compare_lanes(inst),
            Op::Vunary => return self.unary_lanes(inst),
            Op::Vqadd | Op::Vqsub => return self.saturating(inst),
            _ => return Ok(false),
        };
        match table.get(width) {
            Some(&insn) => self.two_operands(inst, insn),
            None => Ok(false),
        }
    }

    fn multiply(&mut self, inst: &Inst) -> Handled {
        match inst.lane_width() {
            0 => {}
            1 => return self.two_operands(inst, PMULLW),
            2 => return self.two_operands(inst, PMULLD),
            _ => return Ok(false),
        }
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        // Of words: the product of the low bytes, and that of the high bytes.
        self.packed(PMULLW, dst, a, b);
        self.with(PAND, dst, Constant::LowBytes);
        for (to, from) in [(XMM0, a), (XMM1, b)] {
            self.asm.mov_xmm(to, from);
            self.asm.packed_shift(1, SHIFT_RIGHT, to, 8);
        }
        self.asm.packed2(PMULLW, XMM0, XMM1);
        self.asm.packed_shift(1, SHIFT_LEFT, XMM0, 8);
        self.asm.packed2(POR, dst, XMM0);
        self.clear_rest(inst.part(), 0, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    fn compare_lanes(&mut self, inst: &Inst) -> Handled {
        let width = inst.lane_width();
        let cc = VecCc::from_bits(inst.attr >> 4 & 7);
        if cc == VecCc::Eq {
            return self.two_operands(inst, PCMPEQ[width]);
        }
        if cc == VecCc::Gts {
            return self.two_operands(inst, PCMPGT[width]);
        }
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        match cc {
            VecCc::Test => {
                self.packed(PAND, dst, a, b);
                self.zero_xmm(XMM0);
                self.asm.packed2(PCMPEQ[width], dst, XMM0);
                self.invert(dst);
            }
            // The larger one is `a`.
            VecCc::Ges | VecCc::Geu if width < 3 => {
                let larger = if cc == VecCc::Ges { PMAXS } else { PMAXU };
                self.packed(larger[width], dst, a, b);
                self.asm.packed2(PCMPEQ[width], dst, a);
            }
            // The larger one is not `b`.
            VecCc::Gtu if width < 3 => {
                self.packed(PMAXU[width], dst, a, b);
                self.asm.packed2(PCMPEQ[width], dst, b);
                self.invert(dst);
            }
            VecCc::Ges => {
                self.packed(PCMPGT[3], dst, b, a);
                self.invert(dst);
            }
            _ => {
                // In the order of signed numbers.
                let (x, y) = if cc == VecCc::Gtu { (a, b) } else { (b, a) };
                self.asm.mov_xmm(dst, x);
                self.with(PXOR, dst, Constant::Signs64);
                self.asm.mov_xmm(XMM0, y);
                self.with(PXOR, XMM0, Constant::Signs64);
                self.asm.packed2(PCMPGT[3], dst, XMM0);
                if cc == VecCc::Geu {
                    self.invert(dst);
                }
            }
        }
        self.clear_rest(inst.part(), width, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    fn unary_lanes(&mut self, inst: &Inst) -> Handled {
        let width = inst.lane_width();
        let function = VecUnary::from_bits(inst.attr >> 4 & 7);
        if !matches!((function, width), (VecUnary::Abs, _) | (VecUnary::Popcnt, 0)) {
            return Ok(false);
        }
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        match PABS.get(width) {
            _ if function == VecUnary::Popcnt => {
                let counts = self.target_xmm()?;
                self.asm.mov_xmm(XMM0, a);
                self.with(PAND, XMM0, Constant::LowNibbles);
                self.asm.mov_xmm(XMM1, a);
                self.asm.packed_shift(1, SHIFT_RIGHT, XMM1, 4);
                self.with(PAND, XMM1, Constant::LowNibbles);
                self.load_constant(dst, Constant::NibbleCounts);
                self.asm.mov_xmm(counts, dst);
                self.asm.packed2(PSHUFB, dst, XMM0);
                self.asm.packed2(PSHUFB, counts, XMM1);
                self.asm.packed2(PADD[0], dst, counts);
            }
            Some(&abs) => self.asm.packed2(abs, dst, a),
            None => {
                self.zero_xmm(XMM0);
                self.asm.packed2(PCMPGT[3], XMM0, a);
                self.packed(PXOR, dst, a, XMM0);
                self.asm.packed2(PSUB[3], dst, XMM0);
            }
        }
        self.clear_rest(inst.part(), width, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// Notes that something has saturated unless the host's flags say equal.
    pub(super) fn saturated_if(&mut self, cond: Cond) {
        let over = self.asm.label();
        self.asm.jcc(cond.inverted(), over);
        self.asm.or_mem8(frame::FP_FLAGS, Flags::SATURATED.bits());
        self.asm.bind(over);
    }

    fn saturating(&mut self, inst: &Inst) -> Handled {
        let (width, part) = (inst.lane_width(), inst.part());
        let subtract = inst.op == Op::Vqsub;
        let signs = Signs::from_bits(inst.attr >> 4 & 3);
        if part == Part::One {
            return Ok(false);
        }
        let table = match (signs, subtract) {
            (Signs::Signed, false) => PADDS,
            (Signs::Signed, true) => PSUBS,
            (Signs::Unsigned, false) => PADDUS,
            (Signs::Unsigned, true) => PSUBUS,
            _ => return Ok(false),
        };
        let wrapping = if subtract { PSUB } else { PADD }[width];
        if let Some(&insn) = table.get(width) {
            let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
            let dst = self.target_xmm()?;
            self.packed(insn, dst, a, b);
            self.packed(wrapping, XMM0, a, b);
            self.asm.packed2(PXOR, XMM0, dst);
            if part == Part::Half {
                self.asm.packed2(MOVQ, XMM0, XMM0);
                self.asm.packed2(MOVQ, dst, dst);
            }
            self.asm.packed2(PTEST, XMM0, XMM0);
            self.saturated_if(Cond::NE);
            self.finish_xmm(inst.dst, dst)?;
            return Ok(true);
        }
        if signs != Signs::Signed {
            return Ok(false);
        }
        // Overflow is where the signs of the operands and that of the result do not fit; then the helper does it.
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        self.packed(wrapping, dst, a, b);
        self.packed(PXOR, XMM0, a, dst);
        self.packed(PXOR, XMM1, b, if subtract { a } else { dst });
        self.asm.packed2(PAND, XMM0, XMM1);
        if part == Part::Half {
            self.asm.packed2(MOVQ, XMM0, XMM0);
            self.asm.packed2(MOVQ, dst, dst);
        }
        self.signs(width, XMM0)?;
        self.otherwise_helper(Cond::NE, inst, [Some(a), Some(b), None], dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// Compares the signs of lanes of 32 or 64 bits with none.
    fn signs(&mut self, width: usize, reg: Xmm) -> Done {
        const MOVMSKPS: Packed = np(0x50);
        const MOVMSKPD: Packed = p66(0x50);
        let mask: Reg = self.regs.scratch(&mut self.asm)?;
        self.regs.unlock(mask);
        self.asm.packed2(if width == 2 { MOVMSKPS } else { MOVMSKPD }, Xmm(mask.0), reg);
        self.asm.alu(Alu::Test, false, mask, Operand::Reg(mask));
        Ok(())
    }

    /// Shifts; whether the operation is one that is compiled.
    pub(super) fn shifted(&mut self, inst: &Inst) -> Handled {
        let bits = 8 << inst.lane_width();
        let by = u8::try_from(inst.imm).ok().filter(|by| *by <= bits);
        let kind = match (inst.op, by) {
            (Op::Vshl, Some(by)) if by < bits => SHIFT_LEFT,
            (Op::Vshr, Some(_)) if inst.is_signed() => SHIFT_RIGHT_SIGNED,
            (Op::Vshr, Some(_)) => SHIFT_RIGHT,
            (Op::Vshift, _) => return self.shift_by_lanes(inst),
            _ => return Ok(false),
        };
        let (width, by) = (inst.lane_width(), by.unwrap_or(0));
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        let round = inst.op == Op::Vshr && inst.attr >> 5 & 1 != 0 && by != 0;
        if round {
            // The last bit that is shifted out.
            let rest = self.target_xmm()?;
            self.shift_lanes(width, SHIFT_RIGHT, rest, a, by - 1)?;
            self.shift_lanes(width, SHIFT_LEFT, rest, rest, bits - 1)?;
            self.shift_lanes(width, SHIFT_RIGHT, rest, rest, bits - 1)?;
            self.shift_lanes(width, kind, dst, a, by)?;
            self.asm.packed2(PADD[width], dst, rest);
        } else {
            self.shift_lanes(width, kind, dst, a, by)?;
        }
        self.clear_rest(inst.part(), width, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// `dst` = each lane of `src` shifted by 0 to the width; needs [`XMM0`] and [`XMM1`].
    fn shift_lanes(&mut self, width: usize, kind: u8, dst: Xmm, src: Xmm, by: u8) -> Done {
        let bits = 8 << width;
        match (width, kind) {
            // By as much as there is, only the sign is left.
            (3, SHIFT_RIGHT_SIGNED) => {
                self.zero_xmm(XMM0);
                self.asm.packed2(PCMPGT[3], XMM0, src);
                self.asm.mov_xmm(dst, src);
                self.asm.packed_shift(3, SHIFT_RIGHT, dst, by);
                self.asm.packed_shift(3, SHIFT_LEFT, XMM0, bits - by);
                self.asm.packed2(POR, dst, XMM0);
            }
            (0, _) => return self.shift_bytes(kind, dst, src, by),
            _ => {
                self.asm.mov_xmm(dst, src);
                self.asm.packed_shift(width, kind, dst, by);
            }
        }
        Ok(())
    }

    /// The same for bytes, as words without what comes from the neighbour.
    fn shift_bytes(&mut self, kind: u8, dst: Xmm, src: Xmm, by: u8) -> Done {
        let by = by.min(if kind == SHIFT_RIGHT_SIGNED { 7 } else { 8 });
        let kept = if kind == SHIFT_LEFT { 0xff << by } else { 0xff >> by };
        self.splat_byte(XMM0, kept as u8)?;
        self.asm.mov_xmm(dst, src);
        self.asm.packed_shift(1, if kind == SHIFT_LEFT { SHIFT_LEFT } else { SHIFT_RIGHT }, dst, by);
        self.asm.packed2(PAND, dst, XMM0);
        if kind == SHIFT_RIGHT_SIGNED && by != 0 {
            // What was the sign is made one again.
            self.splat_byte(XMM0, 0x80 >> by)?;
            self.asm.packed2(PXOR, dst, XMM0);
            self.asm.packed2(PSUB[0], dst, XMM0);
        }
        Ok(())
    }

    /// `dst` = the byte in every lane.
    fn splat_byte(&mut self, dst: Xmm, byte: u8) -> Result<(), CompileError> {
        let reg: Reg = self.regs.scratch(&mut self.asm)?;
        self.regs.unlock(reg);
        self.asm.mov_imm(reg, u64::from(byte) * 0x0101_0101);
        self.asm.movd_to_xmm(dst, reg);
        self.asm.packed2_imm(PSHUFD, dst, dst, 0);
        Ok(())
    }

    /// Shifts of 32 and 64-bit lanes by lanes, where the host has them: the signed low byte of each says how far. Out of
    /// range the host's shifts give zero, so that only one of those to the left and to the right gives anything.
    fn shift_by_lanes(&mut self, inst: &Inst) -> Handled {
        let (width, sign) = (inst.lane_width(), inst.is_signed());
        let round = inst.attr >> 5 & 1 != 0;
        if !self.features.avx2 || round || width < 2 || (sign && width == 3) {
            return Ok(false);
        }
        let wide = width == 3;
        let bits = 8 << width;
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        // The low byte of each lane, and its negative.
        self.asm.mov_xmm(XMM0, b);
        self.asm.packed_shift(width, SHIFT_LEFT, XMM0, bits - 8);
        self.zero_xmm(XMM1);
        self.packed(PSUB[width], XMM1, XMM1, XMM0);
        self.asm.packed_shift(width, SHIFT_RIGHT, XMM1, bits - 8);
        if sign {
            let left = self.target_xmm()?;
            // The sign of the distance tells which of both it is.
            self.asm.packed_shift(width, SHIFT_RIGHT_SIGNED, XMM0, bits - 8);
            self.asm.packed3(PSLLV, false, left, a, XMM0);
            self.asm.packed3(PSRAV, false, dst, a, XMM1);
            self.asm.blendv(dst, left, dst, XMM0);
        } else {
            self.asm.packed_shift(width, SHIFT_RIGHT, XMM0, bits - 8);
            self.asm.packed3(PSLLV, wide, dst, a, XMM0);
            self.asm.packed3(PSRLV, wide, XMM1, a, XMM1);
            self.asm.packed2(POR, dst, XMM1);
        }
        self.clear_rest(inst.part(), width, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }
}
