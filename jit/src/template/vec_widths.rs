//! Operations whose results are wider or narrower than their operands, and those that combine lanes.

#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers, of whatever type"
)]

use dynasmrt::{DynasmApi, dynasm};
use emu_core::ir::{Inst, Op, Part, Reduction, Signs};

use super::asm::{Cond, Reg, XMM0, XMM1, Xmm, x64};
use super::vec::Handled;
use super::vec_asm::{
    MOVQ, PACKSS, PACKUS, PADD, PCLMULQDQ, PCMPEQ, PHADDD, PMADDWD, PMAXS, PMAXU, PMINS, PMINU, PMOVSX,
    PMOVZX, PMULDQ, PMULHRSW, PMULHUW, PMULHW, PMULLW, PMULUDQ, POR, PSADBW, PSHUFB, PSHUFD, PTEST, PUNPCKH,
    PUNPCKL, PXOR, Packed, SHIFT_LEFT, SHIFT_RIGHT,
};
use super::{Compiler, Done};
use crate::stubs::Constant;

/// The order of 32-bit lanes that brings the high half down.
const HIGH_HALF: u8 = 0xee;

impl Compiler {
    /// Whether the operation is one of these that is compiled.
    pub(super) fn widths(&mut self, inst: &Inst) -> Handled {
        match inst.op {
            Op::Vnarrow => self.narrow(inst)?,
            Op::Vwiden => self.widen(inst)?,
            Op::Vmull => self.multiply_long(inst)?,
            Op::Vdot => self.dot(inst)?,
            Op::Vqnarrow => return self.narrow_saturating(inst),
            Op::Vpmull => return self.multiply_polynomials(inst),
            Op::Vqdmulh => return self.multiply_high(inst),
            Op::Vreduce => return self.reduce(inst),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn narrow(&mut self, inst: &Inst) -> Done {
        let a = self.read_xmm(inst.a)?;
        let dst = self.over(inst, a)?;
        match inst.lane_width() {
            2 => {
                self.asm.packed2_imm(PSHUFD, dst, a, 0x08);
                self.asm.packed2(MOVQ, dst, dst);
            }
            width => {
                self.asm.mov_xmm(dst, a);
                let constant = if width == 0 { Constant::NarrowBytes } else { Constant::NarrowHalves };
                self.with(PSHUFB, dst, constant);
            }
        }
        self.finish_xmm(inst.dst, dst)
    }

    /// The lanes fit if they are what the result is when it is extended again.
    fn narrow_saturating(&mut self, inst: &Inst) -> Handled {
        let (width, signs) = (inst.lane_width(), Signs::from_bits(inst.attr >> 4 & 3));
        if width > 1 || inst.part() != Part::All || signs == Signs::UnsignedSigned {
            return Ok(false);
        }
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        let from = match signs {
            // The host takes signed lanes: what is above all is made the largest before.
            Signs::Unsigned => {
                let largest = if width == 0 { Constant::LowBytes } else { Constant::LowHalves };
                self.asm.mov_xmm(XMM1, a);
                self.with(PMINU[width + 1], XMM1, largest);
                XMM1
            }
            _ => a,
        };
        let (pack, extend) = match signs {
            Signs::Signed => (PACKSS[width], PMOVSX[width]),
            _ => (PACKUS[width], PMOVZX[width]),
        };
        self.zero_xmm(XMM0);
        self.packed(pack, dst, from, XMM0);
        self.asm.packed2(extend, XMM0, dst);
        self.asm.packed2(PXOR, XMM0, a);
        self.asm.packed2(PTEST, XMM0, XMM0);
        self.saturated_if(Cond::NE);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// `dst` = the lanes in one half of `src`, extended.
    fn extend_half(&mut self, inst: &Inst, dst: Xmm, src: Xmm) {
        let extend = if inst.is_signed() { PMOVSX } else { PMOVZX }[inst.lane_width().min(2)];
        if is_high(inst) {
            self.asm.packed2_imm(PSHUFD, dst, src, HIGH_HALF);
            self.asm.packed2(extend, dst, dst);
        } else {
            self.asm.packed2(extend, dst, src);
        }
    }

    fn widen(&mut self, inst: &Inst) -> Done {
        let a = self.read_xmm(inst.a)?;
        let dst = self.over(inst, a)?;
        self.extend_half(inst, dst, a);
        self.finish_xmm(inst.dst, dst)
    }

    fn multiply_long(&mut self, inst: &Inst) -> Done {
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        match inst.lane_width() {
            0 => {
                self.extend_half(inst, dst, a);
                self.extend_half(inst, XMM0, b);
                self.asm.packed2(PMULLW, dst, XMM0);
            }
            1 => {
                // Low and high halves of the products.
                self.packed(if inst.is_signed() { PMULHW } else { PMULHUW }, XMM0, a, b);
                self.packed(PMULLW, dst, a, b);
                self.asm.packed2(if is_high(inst) { PUNPCKH } else { PUNPCKL }[1], dst, XMM0);
            }
            _ => {
                // The host multiplies lanes 0 and 2.
                let order = if is_high(inst) { 0x32 } else { 0x10 };
                self.asm.packed2_imm(PSHUFD, dst, a, order);
                self.asm.packed2_imm(PSHUFD, XMM0, b, order);
                self.asm.packed2(if inst.is_signed() { PMULDQ } else { PMULUDQ }, dst, XMM0);
            }
        }
        self.finish_xmm(inst.dst, dst)
    }

    fn multiply_polynomials(&mut self, inst: &Inst) -> Handled {
        if inst.lane_width() != 3 || !self.features.pclmulqdq {
            return Ok(false);
        }
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        self.packed_imm(PCLMULQDQ, dst, [a, b], if is_high(inst) { 0x11 } else { 0 });
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// Of 16-bit lanes; what saturates, the helper does.
    fn multiply_high(&mut self, inst: &Inst) -> Handled {
        if inst.lane_width() != 1 || inst.part() == Part::One {
            return Ok(false);
        }
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        if inst.attr >> 5 & 1 != 0 {
            self.packed(PMULHRSW, dst, a, b);
        } else {
            self.packed(PMULHW, dst, a, b);
            self.packed(PMULLW, XMM0, a, b);
            self.asm.packed_shift(1, SHIFT_LEFT, dst, 1);
            self.asm.packed_shift(1, SHIFT_RIGHT, XMM0, 15);
            self.asm.packed2(POR, dst, XMM0);
        }
        self.clear_rest(inst.part(), 1, dst);
        // Only the product of the smallest number with itself is this.
        self.asm.packed2(PCMPEQ[1], XMM0, XMM0);
        self.asm.packed_shift(1, SHIFT_LEFT, XMM0, 15);
        self.asm.packed2(PCMPEQ[1], XMM0, dst);
        self.helper_if_any(XMM0, inst, [Some(a), Some(b), None], dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    fn dot(&mut self, inst: &Inst) -> Done {
        let [a, b, c] = [self.read_xmm(inst.a)?, self.read_xmm(inst.b)?, self.read_xmm(inst.c)?];
        let dst = self.target_xmm()?;
        let extend = if inst.is_signed() { PMOVSX } else { PMOVZX }[0];
        self.asm.packed2(extend, dst, b);
        self.asm.packed2(extend, XMM0, c);
        self.asm.packed2(PMADDWD, dst, XMM0);
        if inst.part() == Part::All {
            let high = self.target_xmm()?;
            for (to, from) in [(high, b), (XMM0, c)] {
                self.asm.packed2_imm(PSHUFD, to, from, HIGH_HALF);
                self.asm.packed2(extend, to, to);
            }
            self.asm.packed2(PMADDWD, high, XMM0);
            self.asm.packed2(PHADDD, dst, high);
        } else {
            self.asm.packed2(PHADDD, dst, dst);
        }
        self.asm.packed2(PADD[2], dst, a);
        self.clear_rest(inst.part(), 2, dst);
        self.finish_xmm(inst.dst, dst)
    }

    fn reduce(&mut self, inst: &Inst) -> Handled {
        let (width, half) = (inst.lane_width(), inst.part() == Part::Half);
        let how = Reduction::from_bits(inst.attr >> 4 & 7);
        let table: &[Packed] = match how {
            Reduction::Add => &PADD[..3],
            Reduction::Mins => &PMINS,
            Reduction::Maxs => &PMAXS,
            Reduction::Minu => &PMINU,
            Reduction::Maxu => &PMAXU,
            Reduction::Addu if width == 0 => &PADD,
            Reduction::Adds | Reduction::Addu => return Ok(false),
        };
        let Some(&combine) = table.get(width) else { return Ok(false) };
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        if width == 0 && matches!(how, Reduction::Add | Reduction::Addu) {
            // The host adds eight bytes each.
            self.zero_xmm(XMM0);
            if half {
                self.asm.packed2(MOVQ, dst, a);
                self.asm.packed2(PSADBW, dst, XMM0);
            } else {
                self.packed(PSADBW, dst, a, XMM0);
                self.asm.packed2_imm(PSHUFD, XMM0, dst, HIGH_HALF);
                self.asm.packed2(PADD[3], dst, XMM0);
            }
            if how == Reduction::Add {
                self.lowest(dst, 0)?;
            } else {
                self.asm.packed2(MOVQ, dst, dst);
            }
            self.finish_xmm(inst.dst, dst)?;
            return Ok(true);
        }
        if half {
            self.asm.packed2_imm(PSHUFD, XMM0, a, 0x55);
        } else {
            self.asm.packed2_imm(PSHUFD, XMM1, a, HIGH_HALF);
            self.packed(combine, dst, a, XMM1);
            self.asm.packed2_imm(PSHUFD, XMM0, dst, 0x55);
        }
        let first = if half { a } else { dst };
        self.packed(combine, dst, first, XMM0);
        for step in (width..2).rev() {
            // By one lane, whatever else is there.
            self.asm.mov_xmm(XMM0, dst);
            self.asm.packed_shift(step + 1, SHIFT_RIGHT, XMM0, 8 << step);
            self.asm.packed2(combine, dst, XMM0);
        }
        self.lowest(dst, width)?;
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// Leaves only the lowest lane.
    fn lowest(&mut self, reg: Xmm, width: usize) -> Done {
        if width >= 2 {
            self.clear_rest(Part::One, width, reg);
            return Ok(());
        }
        let low: Reg = self.regs.scratch(&mut self.asm)?;
        match width {
            0 => x64!(self.asm, pextrb Rd(low.0), Rx(reg.0), BYTE 0),
            _ => x64!(self.asm, pextrw Rd(low.0), Rx(reg.0), BYTE 0),
        }
        x64!(self.asm, movd Rx(reg.0), Rd(low.0));
        self.regs.unlock(low);
        Ok(())
    }
}

/// Whether the operands are in the high halves.
fn is_high(inst: &Inst) -> bool {
    inst.attr >> 5 & 1 != 0
}
