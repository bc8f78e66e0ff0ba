//! Floating point, lane by lane, on the host's SSE unit: as `fp` does with numbers. A result with a NaN, or one that may have
//! underflowed by the guest's rules alone, is made again by the helper.

use emu_core::ir::{FpAttr, Inst, Op, Part, Ty};

use super::asm::{Cond, XMM0, XMM1, Xmm};
use super::fp::{NEAREST, TOWARD_ZERO};
use super::vec::Handled;
use super::vec_asm::{
    MOVDDUP, PAND, PCMPEQ, POR, PSHUFD, PTEST, Packed, SHIFT_LEFT, f2, f3, np, p3a, p38, p66,
};
use super::{CompileError, Compiler};
use crate::stubs::Constant;

/// An instruction on packed numbers, or on the lowest: the opcode is the same.
fn arithmetic(opcode: u8, single: bool, one: bool) -> Packed {
    match (single, one) {
        (true, false) => np(opcode),
        (false, false) => p66(opcode),
        (true, true) => f3(opcode),
        (false, true) => f2(opcode),
    }
}

const ADD: u8 = 0x58;
const MUL: u8 = 0x59;
const SUB: u8 = 0x5c;
const MIN: u8 = 0x5d;
const DIV: u8 = 0x5e;
const MAX: u8 = 0x5f;
const SQRT: u8 = 0x51;
const COMPARE: u8 = 0xc2;
/// Predicates of [`COMPARE`].
const EQUAL: u8 = 0;
const UNORDERED: u8 = 3;

/// What the lanes of an operation are.
#[derive(Clone, Copy)]
struct Lanes {
    single: bool,
    part: Part,
}

impl Lanes {
    fn one(self) -> bool {
        self.part == Part::One
    }

    /// The element width, 0 for bytes.
    fn width(self) -> usize {
        if self.single { 2 } else { 3 }
    }

    fn insn(self, opcode: u8) -> Packed {
        arithmetic(opcode, self.single, self.one())
    }
}

impl Compiler {
    /// Whether the operation is one that is compiled.
    pub(super) fn vector_float(&mut self, inst: &Inst) -> Handled {
        let attr = FpAttr::from_bits(inst.attr);
        let single = match inst.ty {
            Ty::F32 => true,
            Ty::F64 => false,
            _ => return Ok(false),
        };
        let part = inst.float_part();
        if attr.flush {
            return Ok(false);
        }
        let lanes = Lanes { single, part };
        let nearest = attr.round == NEAREST;
        match inst.op {
            Op::Vfadd if nearest => self.float_lanes(inst, lanes, ADD),
            Op::Vfsub if nearest => self.float_lanes(inst, lanes, SUB),
            Op::Vfmul if nearest && inst.attr >> 8 & 1 == 0 => self.float_lanes(inst, lanes, MUL),
            Op::Vfdiv if nearest => self.float_lanes(inst, lanes, DIV),
            Op::Vfsqrt if nearest => self.float_lanes(inst, lanes, SQRT),
            Op::Vfma if nearest && self.features.fma => self.fused_lanes(inst, lanes),
            Op::Vfmin => self.extremum_lanes(inst, lanes, MIN),
            Op::Vfmax => self.extremum_lanes(inst, lanes, MAX),
            Op::Vfcmp => self.compare_float_lanes(inst, lanes),
            Op::Vfround if attr.round <= 3 && inst.attr >> 9 & 3 == 0 => self.round_lanes(inst, lanes, attr),
            Op::Vftoint if inst.imm == 0 => self.lanes_to_int(inst, lanes, attr),
            Op::Vffromint if nearest && inst.imm == 0 => self.lanes_from_int(inst, lanes),
            Op::Vfcvt if nearest => self.convert_lanes(inst, lanes),
            _ => Ok(false),
        }
    }

    /// The operand with lanes that raise nothing but what those that take part do: of half a vector, the same twice.
    fn taking_part(&mut self, lanes: Lanes, src: Xmm, to: Xmm) -> Xmm {
        if lanes.part != Part::Half {
            return src;
        }
        self.asm.packed2(MOVDDUP, to, src);
        to
    }

    /// Ends an operation: the helper does it again if a result is a NaN; or, if it may have been rounded to the smallest normal
    /// number, which is an underflow for a guest that looks before it rounds.
    fn checked(
        &mut self,
        inst: &Inst,
        lanes: Lanes,
        sources: [Option<Xmm>; 3],
        dst: Xmm,
        rounds: bool,
    ) -> Handled {
        let full = Lanes { part: Part::All, ..lanes };
        if lanes.part != Part::All {
            self.clear_rest(lanes.part, lanes.width(), dst);
        }
        self.packed_imm(full.insn(COMPARE), XMM0, [dst, dst], UNORDERED);
        if rounds && FpAttr::from_bits(inst.attr).tiny_before {
            let (magnitude, normal) = if lanes.single {
                (Constant::Magnitude32, Constant::Normal32)
            } else {
                (Constant::Magnitude64, Constant::Normal64)
            };
            self.asm.mov_xmm(XMM1, dst);
            self.with(PAND, XMM1, magnitude);
            self.with(PCMPEQ[lanes.width()], XMM1, normal);
            self.asm.packed2(POR, XMM0, XMM1);
        }
        self.helper_if_any(XMM0, inst, sources, dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    fn float_lanes(&mut self, inst: &Inst, lanes: Lanes, opcode: u8) -> Handled {
        let a = self.read_xmm(inst.a)?;
        let insn = lanes.insn(opcode);
        if opcode == SQRT {
            let dst = self.target_xmm()?;
            let x = self.taking_part(lanes, a, XMM0);
            // The scalar form leaves what was in the rest of the destination.
            if lanes.one() {
                self.packed(insn, dst, x, x);
            } else {
                self.asm.packed2(insn, dst, x);
            }
            return self.checked(inst, lanes, [Some(a), None, None], dst, false);
        }
        let b = self.read_xmm(inst.b)?;
        let dst = self.target_xmm()?;
        let (x, y) = (self.taking_part(lanes, a, dst), self.taking_part(lanes, b, XMM1));
        self.packed(insn, dst, x, y);
        self.checked(inst, lanes, [Some(a), Some(b), None], dst, opcode == MUL)
    }

    fn fused_lanes(&mut self, inst: &Inst, lanes: Lanes) -> Handled {
        let [a, b, c] = [self.read_xmm(inst.a)?, self.read_xmm(inst.b)?, self.read_xmm(inst.c)?];
        let dst = self.target_xmm()?;
        let x = self.taking_part(lanes, a, dst);
        self.asm.mov_xmm(dst, x);
        let (y, z) = (self.taking_part(lanes, b, XMM0), self.taking_part(lanes, c, XMM1));
        // `dst = ±(dst · y) ± z`: forms "213".
        let opcode = match inst.attr >> 8 & 3 {
            0 => 0xa8,
            1 => 0xac,
            2 => 0xaa,
            _ => 0xae,
        } + u8::from(lanes.one());
        self.asm.packed3(p38(opcode), !lanes.single, dst, y, z);
        self.checked(inst, lanes, [Some(a), Some(b), Some(c)], dst, true)
    }

    /// NaNs are the helper's. Of unlike zeros the host gives the second one: both ways around, combined, give the right one.
    fn extremum_lanes(&mut self, inst: &Inst, lanes: Lanes, opcode: u8) -> Handled {
        let full = Lanes { part: Part::All, ..lanes };
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        let (x, y) = match lanes.part {
            Part::All => (a, b),
            Part::Half => (self.taking_part(lanes, a, dst), self.taking_part(lanes, b, XMM1)),
            Part::One => {
                self.asm.mov_xmm(dst, a);
                self.asm.mov_xmm(XMM1, b);
                self.clear_rest(Part::One, lanes.width(), dst);
                self.clear_rest(Part::One, lanes.width(), XMM1);
                (dst, XMM1)
            }
        };
        self.packed_imm(full.insn(COMPARE), XMM0, [x, y], UNORDERED);
        self.helper_before(inst, [Some(a), Some(b), None], dst, |this| {
            this.packed(full.insn(opcode), XMM0, y, x);
            this.packed(full.insn(opcode), dst, x, y);
            this.asm.packed2(if opcode == MIN { POR } else { PAND }, dst, XMM0);
            this.clear_rest(lanes.part, lanes.width(), dst);
        })?;
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// Has the helper do the operation if [`XMM0`] is not zero, else runs `body`.
    fn helper_before(
        &mut self,
        inst: &Inst,
        sources: [Option<Xmm>; 3],
        dst: Xmm,
        body: impl FnOnce(&mut Self),
    ) -> Result<(), CompileError> {
        let (entry, back) = (self.asm.label(), self.asm.label());
        self.asm.packed2(PTEST, XMM0, XMM0);
        self.asm.jcc(Cond::NE, entry);
        body(self);
        self.asm.bind(back);
        self.cold_part_for(inst, (entry, back), sources, dst);
        Ok(())
    }

    fn compare_float_lanes(&mut self, inst: &Inst, lanes: Lanes) -> Handled {
        let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
        let dst = self.target_xmm()?;
        let (x, y) = (self.taking_part(lanes, a, dst), self.taking_part(lanes, b, XMM1));
        // The host's predicates have the same numbers, and signal alike.
        let predicate = EQUAL + (inst.attr >> 8 & 3) as u8;
        self.packed_imm(lanes.insn(COMPARE), dst, [x, y], predicate);
        self.clear_rest(lanes.part, lanes.width(), dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    fn round_lanes(&mut self, inst: &Inst, lanes: Lanes, attr: FpAttr) -> Handled {
        const ROUNDPS: Packed = p3a(0x08);
        const ROUNDPD: Packed = p3a(0x09);
        const QUIET: u8 = 8;
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        let exact = inst.attr >> 8 & 1 != 0;
        let mode = host_mode(attr.round) | if exact { 0 } else { QUIET };
        let x = self.alone(lanes, a);
        self.asm.packed2_imm(if lanes.single { ROUNDPS } else { ROUNDPD }, dst, x, mode);
        self.checked(inst, lanes, [Some(a), None, None], dst, false)
    }

    /// The operand with lanes that raise nothing in place of those that do not take part, for instructions without a scalar
    /// form; in [`XMM0`] if it is not as it was.
    fn alone(&mut self, lanes: Lanes, src: Xmm) -> Xmm {
        if lanes.part == Part::All {
            return src;
        }
        self.asm.mov_xmm(XMM0, src);
        self.clear_rest(lanes.part, lanes.width(), XMM0);
        XMM0
    }

    /// Signed 32-bit integers. What the host cannot represent it answers with the smallest number.
    fn lanes_to_int(&mut self, inst: &Inst, lanes: Lanes, attr: FpAttr) -> Handled {
        const CVTPS2DQ: Packed = p66(0x5b);
        const CVTTPS2DQ: Packed = f3(0x5b);
        let unsigned = inst.attr >> 8 & 1 != 0;
        let convert = match attr.round {
            NEAREST => CVTPS2DQ,
            TOWARD_ZERO => CVTTPS2DQ,
            _ => return Ok(false),
        };
        if !lanes.single || unsigned {
            return Ok(false);
        }
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        let x = self.alone(lanes, a);
        self.asm.packed2(convert, dst, x);
        self.asm.packed2(PCMPEQ[2], XMM0, XMM0);
        self.asm.packed_shift(2, SHIFT_LEFT, XMM0, 31);
        self.asm.packed2(PCMPEQ[2], XMM0, dst);
        self.helper_if_any(XMM0, inst, [Some(a), None, None], dst);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    fn lanes_from_int(&mut self, inst: &Inst, lanes: Lanes) -> Handled {
        const CVTDQ2PS: Packed = np(0x5b);
        if !lanes.single || inst.attr >> 8 & 1 != 0 {
            return Ok(false);
        }
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        let x = self.alone(lanes, a);
        self.asm.packed2(CVTDQ2PS, dst, x);
        self.finish_xmm(inst.dst, dst)?;
        Ok(true)
    }

    /// Between single and double precision.
    fn convert_lanes(&mut self, inst: &Inst, lanes: Lanes) -> Handled {
        const CVTPS2PD: Packed = np(0x5a);
        const CVTPD2PS: Packed = p66(0x5a);
        const FROM_SINGLE: u16 = 1;
        const FROM_DOUBLE: u16 = 2;
        const HIGH: u16 = 1 << 10;
        const RAW: u16 = 1 << 12;
        let from = inst.attr >> 8 & 3;
        if inst.attr & RAW != 0 || inst.float_part() != Part::All {
            return Ok(false);
        }
        let a = self.read_xmm(inst.a)?;
        let dst = self.target_xmm()?;
        match (lanes.single, from) {
            (false, FROM_SINGLE) if inst.attr & HIGH != 0 => {
                self.asm.packed2_imm(PSHUFD, dst, a, 0xee);
                self.asm.packed2(CVTPS2PD, dst, dst);
            }
            (false, FROM_SINGLE) => self.asm.packed2(CVTPS2PD, dst, a),
            (true, FROM_DOUBLE) => self.asm.packed2(CVTPD2PS, dst, a),
            _ => return Ok(false),
        }
        self.checked(inst, lanes, [Some(a), None, None], dst, lanes.single)
    }
}

/// The host's number of a rounding mode, in instructions that name one.
pub(crate) fn host_mode(round: u8) -> u8 {
    match round {
        TOWARD_ZERO => 3,
        2 => 1,
        3 => 2,
        _ => 0,
    }
}
