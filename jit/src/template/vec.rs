//! Vectors of 128 bits, in the host's vector registers.

#![allow(
    clippy::useless_conversion,
    reason = "the assembler's macro converts register numbers, of whatever type"
)]

use dynasmrt::{DynasmApi, dynasm};
use emu_core::ir::{Block, Inst, Op};

use super::asm::x64;
use super::{Compiler, Done};

/// An operation of two vectors, lane by lane, for the element width in the attribute.
macro_rules! lanes {
    ($s:expr, $attr:expr, $dst:expr, $b:expr, $e8:ident $e16:ident $e32:ident $e64:ident) => {
        match $attr & 3 {
            0 => x64!($s.asm, $e8 Rx($dst.0), Rx($b.0)),
            1 => x64!($s.asm, $e16 Rx($dst.0), Rx($b.0)),
            2 => x64!($s.asm, $e32 Rx($dst.0), Rx($b.0)),
            _ => x64!($s.asm, $e64 Rx($dst.0), Rx($b.0)),
        }
    };
}

impl Compiler {
    pub(super) fn vector(&mut self, block: &Block, inst: &Inst) -> Done {
        match inst.op {
            Op::Vmov | Op::Vfromlow | Op::Vlow => {
                let a = self.read_tight(inst.a)?;
                let dst = self.target_xmm()?;
                if inst.op == Op::Vmov {
                    self.asm.mov_xmm(dst, a);
                } else {
                    x64!(self.asm, movq Rx(dst.0), Rx(a.0));
                }
                self.finish_xmm(inst.dst, dst)
            }
            Op::Vand | Op::Vor | Op::Vxor | Op::Vadd | Op::Vsub => {
                let (a, b) = (self.read_xmm(inst.a)?, self.read_xmm(inst.b)?);
                let dst = self.target_xmm()?;
                self.asm.mov_xmm(dst, a);
                match inst.op {
                    Op::Vand => x64!(self.asm, pand Rx(dst.0), Rx(b.0)),
                    Op::Vor => x64!(self.asm, por Rx(dst.0), Rx(b.0)),
                    Op::Vxor => x64!(self.asm, pxor Rx(dst.0), Rx(b.0)),
                    Op::Vadd => lanes!(self, inst.attr, dst, b, paddb paddw paddd paddq),
                    _ => lanes!(self, inst.attr, dst, b, psubb psubw psubd psubq),
                }
                self.finish_xmm(inst.dst, dst)
            }
            Op::Vpair => {
                let (a, b) = (self.read(block, inst.a)?, self.read(block, inst.b)?);
                let dst = self.target_xmm()?;
                x64!(self.asm, movq Rx(dst.0), Rq(a.0); pinsrq Rx(dst.0), Rq(b.0), 1);
                self.finish_xmm(inst.dst, dst)
            }
            Op::Vget => {
                let a = self.read_xmm(inst.a)?;
                let dst = self.target(inst.dst, &[])?;
                let lane = inst.imm as i8;
                match inst.attr & 3 {
                    0 => x64!(self.asm, pextrb Rd(dst.0), Rx(a.0), BYTE lane & 15),
                    1 => x64!(self.asm, pextrw Rd(dst.0), Rx(a.0), BYTE lane & 7),
                    2 => x64!(self.asm, pextrd Rd(dst.0), Rx(a.0), BYTE lane & 3),
                    _ => x64!(self.asm, pextrq Rq(dst.0), Rx(a.0), BYTE lane & 1),
                }
                self.finish(inst.dst, dst)
            }
            Op::Vset => {
                let (a, b) = (self.read_xmm(inst.a)?, self.read(block, inst.b)?);
                let dst = self.target_xmm()?;
                self.asm.mov_xmm(dst, a);
                let lane = inst.imm as i8;
                match inst.attr & 3 {
                    0 => x64!(self.asm, pinsrb Rx(dst.0), Rd(b.0), BYTE lane & 15),
                    1 => x64!(self.asm, pinsrw Rx(dst.0), Rd(b.0), BYTE lane & 7),
                    2 => x64!(self.asm, pinsrd Rx(dst.0), Rd(b.0), BYTE lane & 3),
                    _ => x64!(self.asm, pinsrq Rx(dst.0), Rq(b.0), BYTE lane & 1),
                }
                self.finish_xmm(inst.dst, dst)
            }
            _ => self.evaluate(block, inst),
        }
    }
}
