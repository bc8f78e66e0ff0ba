//! Copies, constants and permutations of lanes.

#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers, of whatever type"
)]

use dynasmrt::{DynasmApi, dynasm};
use emu_core::ir::{Block, Inst, Op, Part, Shuffle, Ty};

use super::asm::{Reg, XMM0, XMM1, Xmm, x64};
use super::vec::Handled;
use super::vec_asm::{
    INSERTPS, MOVDDUP, MOVQ, MOVSD, PACKUS, PADDUS, PALIGNR, PAND, PBLENDW, PCMPEQ, POR, PSHUFB, PSHUFD,
    PSHUFHW, PSHUFLW, PSUB, PUNPCKH, PUNPCKL, SHIFT_LEFT, SHIFT_RIGHT, SHIFT_RIGHT_BYTES, SHUFPD, SHUFPS,
};
use super::{Compiler, Done};
use crate::stubs::Constant;

impl Compiler {
    /// Moves; whether the operation is one of them.
    pub(super) fn moved(&mut self, block: &Block, inst: &Inst) -> Handled {
        match inst.op {
            Op::Vmov | Op::Vlow => {
                let a = self.read_tight(inst.a)?;
                let dst = self.over(inst, a)?;
                self.asm.mov_xmm(dst, a);
                self.finish_xmm(inst.dst, dst)?;
            }
            Op::Vfromlow => self.low_alone(inst)?,
            Op::Vpair => self.pair(block, inst)?,
            Op::Vdup => self.dup(block, inst)?,
            Op::Vget => self.get_lane(inst)?,
            Op::Vset => self.set_lane(block, inst)?,
            Op::Vsplat => self.splat(inst)?,
            Op::Vinsert => self.insert(inst)?,
            Op::Vshuffle => return self.shuffle(inst),
            Op::Vext => self.ext(inst)?,
            Op::Vrev => return self.reverse(inst),
            Op::Vtbl => return self.table(inst),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn low_alone(&mut self, inst: &Inst) -> Done {
        let a = if inst.ty == Ty::F64 { self.read_tight(inst.a)? } else { self.read_xmm(inst.a)? };
        let dst = self.over(inst, a)?;
        match inst.ty {
            Ty::F64 => self.asm.packed2(MOVQ, dst, a),
            Ty::F32 => self.packed_imm(INSERTPS, dst, [a, a], 0x0e),
            _ => {
                let low: Reg = self.regs.scratch(&mut self.asm)?;
                x64!(self.asm, pextrw Rd(low.0), Rx(a.0), 0; movd Rx(dst.0), Rd(low.0));
            }
        }
        self.finish_xmm(inst.dst, dst)
    }

    /// `dst` = 64 bits, zeros above.
    fn low_constant(&mut self, dst: Xmm, value: u64) -> Done {
        match value {
            0 => self.zero_xmm(dst),
            _ => {
                let reg: Reg = self.regs.scratch(&mut self.asm)?;
                self.asm.mov_imm(reg, value);
                self.asm.movd_to_xmm(dst, reg);
                self.regs.unlock(reg);
            }
        }
        Ok(())
    }

    /// `dst` = 64 bits twice.
    fn whole_constant(&mut self, dst: Xmm, value: u64) -> Done {
        match value {
            0 => self.zero_xmm(dst),
            u64::MAX => self.asm.packed2(PCMPEQ[2], dst, dst),
            _ if value >> 32 == value & 0xffff_ffff => {
                self.low_constant(dst, value & 0xffff_ffff)?;
                self.asm.packed2_imm(PSHUFD, dst, dst, 0);
            }
            _ => {
                self.low_constant(dst, value)?;
                self.asm.packed2(MOVDDUP, dst, dst);
            }
        }
        Ok(())
    }

    fn pair(&mut self, block: &Block, inst: &Inst) -> Done {
        let dst = self.target_xmm()?;
        match [inst.a, inst.b].map(|val| block.constant(val)) {
            [Some(low), Some(high)] if low == high => self.whole_constant(dst, low)?,
            [low, high] => {
                match low {
                    Some(low) => self.low_constant(dst, low)?,
                    None => {
                        let low = self.read(block, inst.a)?;
                        self.asm.movd_to_xmm(dst, low);
                    }
                }
                if high != Some(0) {
                    let high = self.read(block, inst.b)?;
                    x64!(self.asm, pinsrq Rx(dst.0), Rq(high.0), 1);
                }
            }
        }
        self.finish_xmm(inst.dst, dst)
    }

    fn dup(&mut self, block: &Block, inst: &Inst) -> Done {
        let (width, part) = (inst.lane_width(), inst.part());
        let mask = u64::MAX >> (64 - (8 << width));
        if let Some(value) = block.constant(inst.a) {
            let dst = self.target_xmm()?;
            let lane = value & mask;
            // One in the lowest bit of each lane.
            let all = lane.wrapping_mul(u64::MAX / mask);
            match part {
                Part::All => self.whole_constant(dst, all)?,
                Part::Half => self.low_constant(dst, all)?,
                Part::One => self.low_constant(dst, lane)?,
            }
            return self.finish_xmm(inst.dst, dst);
        }
        let a = self.read(block, inst.a)?;
        let dst = self.target_xmm()?;
        match (part, width) {
            (_, 3) => self.asm.movd_to_xmm(dst, a),
            (Part::One, 0 | 1) => {
                let low: Reg = self.regs.scratch(&mut self.asm)?;
                self.asm.movzx(1 << width, low, a);
                x64!(self.asm, movd Rx(dst.0), Rd(low.0));
            }
            _ => x64!(self.asm, movd Rx(dst.0), Rd(a.0)),
        }
        if part != Part::One {
            match width {
                0 => {
                    self.asm.packed2(PUNPCKL[0], dst, dst);
                    self.splat_half(dst, dst, 0);
                }
                1 => self.splat_half(dst, dst, 0),
                2 => self.asm.packed2_imm(PSHUFD, dst, dst, 0),
                _ if part == Part::All => self.asm.packed2(MOVDDUP, dst, dst),
                _ => {}
            }
            if width != 3 {
                self.clear_rest(part, width, dst);
            }
        }
        self.finish_xmm(inst.dst, dst)
    }

    /// `dst` = lane `n` of 16 bits of `src` in all lanes.
    fn splat_half(&mut self, dst: Xmm, src: Xmm, n: u8) {
        if n < 4 {
            self.asm.packed2_imm(PSHUFLW, dst, src, n * 0x55);
            self.asm.packed2_imm(PSHUFD, dst, dst, 0);
        } else {
            self.asm.packed2_imm(PSHUFHW, dst, src, (n - 4) * 0x55);
            self.asm.packed2_imm(PSHUFD, dst, dst, 0xaa);
        }
    }

    fn get_lane(&mut self, inst: &Inst) -> Done {
        let a = self.read_xmm(inst.a)?;
        let dst = self.target(inst.dst, &[])?;
        self.extract_lane(dst, a, inst.lane_width(), inst.imm as i8);
        self.finish(inst.dst, dst)
    }

    fn extract_lane(&mut self, dst: Reg, a: Xmm, width: usize, lane: i8) {
        match width {
            0 => x64!(self.asm, pextrb Rd(dst.0), Rx(a.0), BYTE lane & 15),
            1 => x64!(self.asm, pextrw Rd(dst.0), Rx(a.0), BYTE lane & 7),
            2 if lane & 3 == 0 => x64!(self.asm, movd Rd(dst.0), Rx(a.0)),
            2 => x64!(self.asm, pextrd Rd(dst.0), Rx(a.0), BYTE lane & 3),
            _ if lane & 1 == 0 => self.asm.movq_from_xmm(dst, a),
            _ => x64!(self.asm, pextrq Rq(dst.0), Rx(a.0), BYTE lane & 1),
        }
    }

    fn insert_lane(&mut self, dst: Xmm, b: Reg, width: usize, lane: i8) {
        match width {
            0 => x64!(self.asm, pinsrb Rx(dst.0), Rd(b.0), BYTE lane & 15),
            1 => x64!(self.asm, pinsrw Rx(dst.0), Rd(b.0), BYTE lane & 7),
            2 => x64!(self.asm, pinsrd Rx(dst.0), Rd(b.0), BYTE lane & 3),
            _ => x64!(self.asm, pinsrq Rx(dst.0), Rq(b.0), BYTE lane & 1),
        }
    }

    fn set_lane(&mut self, block: &Block, inst: &Inst) -> Done {
        let (a, b) = (self.read_xmm(inst.a)?, self.read(block, inst.b)?);
        let dst = self.over(inst, a)?;
        self.asm.mov_xmm(dst, a);
        self.insert_lane(dst, b, inst.lane_width(), inst.imm as i8);
        self.finish_xmm(inst.dst, dst)
    }

    fn splat(&mut self, inst: &Inst) -> Done {
        let (width, part) = (inst.lane_width(), inst.part());
        let lane = inst.imm as u8 & (15 >> width);
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        match (part, width) {
            (Part::One, 0 | 1) => {
                let low: Reg = self.regs.scratch(&mut self.asm)?;
                self.extract_lane(low, a, width, lane as i8);
                x64!(self.asm, movd Rx(dst.0), Rd(low.0));
                return self.finish_xmm(inst.dst, dst);
            }
            (Part::One, 2) => self.packed_imm(INSERTPS, dst, [a, a], lane << 6 | 0x0e),
            (_, 0) => {
                let unpack = if lane < 8 { PUNPCKL } else { PUNPCKH };
                self.packed(unpack[0], dst, a, a);
                self.splat_half(dst, dst, lane & 7);
            }
            (_, 1) => self.splat_half(dst, a, lane),
            (_, 2) => self.asm.packed2_imm(PSHUFD, dst, a, lane * 0x55),
            _ => self.asm.packed2_imm(PSHUFD, dst, a, if lane == 0 { 0x44 } else { 0xee }),
        }
        if (part, width) != (Part::One, 2) {
            self.clear_rest(part, width, dst);
        }
        self.finish_xmm(inst.dst, dst)
    }

    fn insert(&mut self, inst: &Inst) -> Done {
        let width = inst.lane_width();
        let most = 15 >> width;
        let [to, from] = [inst.imm as u8 & most, (inst.imm >> 8) as u8 & most];
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        match (width, to, from) {
            (2, ..) => self.packed_imm(INSERTPS, dst, [a, b], from << 6 | to << 4),
            (3, 0, 0) => self.packed(MOVSD, dst, a, b),
            (3, 0, _) => self.packed_imm(SHUFPD, dst, [b, a], 3),
            (3, _, 0) => self.packed(PUNPCKL[3], dst, a, b),
            (3, ..) => self.packed_imm(SHUFPD, dst, [a, b], 2),
            _ => {
                let lane: Reg = self.regs.scratch(&mut self.asm)?;
                self.extract_lane(lane, b, width, from as i8);
                self.asm.mov_xmm(dst, a);
                self.insert_lane(dst, lane, width, to as i8);
            }
        }
        self.finish_xmm(inst.dst, dst)
    }

    fn shuffle(&mut self, inst: &Inst) -> Handled {
        let (width, half) = (inst.lane_width(), inst.part() == Part::Half);
        if half && width == 3 {
            return Ok(false);
        }
        let kind = Shuffle::from_bits(inst.attr >> 4 & 7);
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        let (low, high) = (PUNPCKL[width], PUNPCKH[width]);
        match kind {
            Shuffle::Zip1 => self.packed(low, dst, a, b),
            Shuffle::Zip2 if half => {
                self.packed(low, dst, a, b);
                self.asm.packed_shift(3, SHIFT_RIGHT_BYTES, dst, 8);
            }
            Shuffle::Zip2 => self.packed(high, dst, a, b),
            Shuffle::Uzp1 | Shuffle::Uzp2 => {
                let odd = kind == Shuffle::Uzp2;
                if half {
                    self.packed(PUNPCKL[3], XMM1, a, b);
                    self.unzip(dst, [XMM1, XMM1], width, odd);
                } else {
                    self.unzip(dst, [a, b], width, odd);
                }
            }
            Shuffle::Trn1 | Shuffle::Trn2 => self.transpose(dst, [a, b], width, kind == Shuffle::Trn2),
        }
        if half {
            self.asm.packed2(MOVQ, dst, dst);
        }
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// `dst` = the lanes with even, or with odd numbers of one vector, then of the other. Needs [`XMM0`].
    fn unzip(&mut self, dst: Xmm, [a, b]: [Xmm; 2], width: usize, odd: bool) {
        match width {
            3 => self.packed(if odd { PUNPCKH } else { PUNPCKL }[3], dst, a, b),
            2 => self.packed_imm(SHUFPS, dst, [a, b], if odd { 0xdd } else { 0x88 }),
            _ => {
                // Each as a lane of twice the width that packing does not saturate.
                for (to, from) in [(dst, a), (XMM0, b)] {
                    self.asm.mov_xmm(to, from);
                    if odd {
                        self.asm.packed_shift(width + 1, SHIFT_RIGHT, to, 8 << width);
                    } else {
                        self.with(
                            PAND,
                            to,
                            if width == 0 { Constant::LowBytes } else { Constant::LowHalves },
                        );
                    }
                }
                self.packed(PACKUS[width & 1], dst, dst, XMM0);
            }
        }
    }

    /// `dst` = the lanes with even, or with odd numbers of both, alternately. Needs [`XMM0`].
    fn transpose(&mut self, dst: Xmm, [a, b]: [Xmm; 2], width: usize, odd: bool) {
        match (width, odd) {
            (3, _) => self.packed(if odd { PUNPCKH } else { PUNPCKL }[3], dst, a, b),
            (2, _) => {
                self.packed_imm(SHUFPS, dst, [a, b], if odd { 0xdd } else { 0x88 });
                self.asm.packed2_imm(PSHUFD, dst, dst, 0xd8);
            }
            (1, false) => {
                self.asm.mov_xmm(XMM0, b);
                self.asm.packed_shift(2, SHIFT_LEFT, XMM0, 16);
                self.packed_imm(PBLENDW, dst, [a, XMM0], 0xaa);
            }
            (1, true) => {
                self.asm.mov_xmm(dst, a);
                self.asm.packed_shift(2, SHIFT_RIGHT, dst, 16);
                self.packed_imm(PBLENDW, dst, [dst, b], 0xaa);
            }
            (_, false) => {
                self.asm.mov_xmm(XMM0, b);
                self.asm.packed_shift(1, SHIFT_LEFT, XMM0, 8);
                self.asm.mov_xmm(dst, a);
                self.with(PAND, dst, Constant::LowBytes);
                self.packed(POR, dst, dst, XMM0);
            }
            (_, true) => {
                self.asm.mov_xmm(XMM0, b);
                self.asm.packed_shift(1, SHIFT_RIGHT, XMM0, 8);
                self.asm.packed_shift(1, SHIFT_LEFT, XMM0, 8);
                self.asm.mov_xmm(dst, a);
                self.asm.packed_shift(1, SHIFT_RIGHT, dst, 8);
                self.packed(POR, dst, dst, XMM0);
            }
        }
    }

    fn ext(&mut self, inst: &Inst) -> Done {
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        if inst.part() == Part::Half {
            self.packed(PUNPCKL[3], dst, a, b);
            self.asm.packed_shift(3, SHIFT_RIGHT_BYTES, dst, inst.imm as u8 & 7);
            self.asm.packed2(MOVQ, dst, dst);
        } else {
            self.packed_imm(PALIGNR, dst, [b, a], inst.imm as u8 & 15);
        }
        self.finish_xmm(inst.dst, dst)
    }

    fn reverse(&mut self, inst: &Inst) -> Handled {
        let unit = inst.attr >> 4 & 3;
        let a = self.read_xmm(inst.a)?;
        let dst = match (inst.lane_width(), unit) {
            (0, _) => {
                let constant = [Constant::Reverse16, Constant::Reverse32, Constant::Reverse64];
                let dst = self.over(inst, a)?;
                self.asm.mov_xmm(dst, a);
                self.with(PSHUFB, dst, constant[usize::from(unit).min(2)]);
                dst
            }
            (1, 1 | 2) => {
                let order = if unit == 1 { 0xb1 } else { 0x1b };
                let dst = self.target_xmm()?;
                self.asm.packed2_imm(PSHUFLW, dst, a, order);
                self.asm.packed2_imm(PSHUFHW, dst, dst, order);
                dst
            }
            (2, 2) => {
                let dst = self.target_xmm()?;
                self.asm.packed2_imm(PSHUFD, dst, a, 0xb1);
                dst
            }
            _ => return Ok(false),
        };
        self.clear_rest(inst.part(), 0, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    fn table(&mut self, inst: &Inst) -> Handled {
        let less = match inst.imm {
            0 => None,
            16 => Some(Constant::Bytes16),
            32 => Some(Constant::Bytes32),
            48 => Some(Constant::Bytes48),
            _ => return Ok(false),
        };
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        self.asm.mov_xmm(XMM0, b);
        if let Some(less) = less {
            self.with(PSUB[0], XMM0, less);
        }
        self.with(PADDUS[0], XMM0, Constant::NotBelow16);
        self.packed(PSHUFB, dst, a, XMM0);
        self.clear_rest(inst.part(), 0, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }
}
