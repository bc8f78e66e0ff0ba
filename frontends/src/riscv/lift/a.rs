//! Atomics: RV64A (Unpriv., "A Extension for Atomic Instructions"), Zacas, Zabha. Load-reserved and
//! store-conditional are in [`super::reserve`].

use emu_core::ir::{AmoOp, MemAttr, Op, Ty, Val};

use super::super::decode::insn32::args::Amo;
use super::Lifter;

/// A sign-extending access with the order that the bits `aq` and `rl` ask for.
pub(super) const fn ordered(aq: u8, rl: u8) -> MemAttr {
    MemAttr { acquire: aq != 0, release: rl != 0, ..MemAttr::SIGNED }
}

impl Lifter<'_> {
    fn amo(&mut self, op: AmoOp, ty: Ty, a: Amo) {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        let dst = if a.rd == 0 { Val::NONE } else { self.x_dst(a.rd) };
        self.builder.amo_to(dst, op, ty, ordered(a.aq, a.rl), rs1, rs2);
    }

    pub(super) fn amoswap(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::Swap, ty, a);
    }

    pub(super) fn amoadd(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::Add, ty, a);
    }

    pub(super) fn amoxor(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::Xor, ty, a);
    }

    pub(super) fn amoand(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::And, ty, a);
    }

    pub(super) fn amoor(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::Or, ty, a);
    }

    pub(super) fn amomin(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::Min, ty, a);
    }

    pub(super) fn amomax(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::Max, ty, a);
    }

    pub(super) fn amominu(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::Minu, ty, a);
    }

    pub(super) fn amomaxu(&mut self, a: Amo, ty: Ty) {
        self.amo(AmoOp::Maxu, ty, a);
    }

    pub(super) fn amocas(&mut self, a: Amo, ty: Ty) {
        let (rs1, rd, rs2) = (self.x(a.rs1), self.x(a.rd), self.x(a.rs2));
        let dst = self.x_dst(a.rd);
        self.builder.op(Op::Cas, ty, ordered(a.aq, a.rl).bits(), dst, [rs1, rd, rs2], 0);
    }

    /// Of a register pair the even one holds the low half; the pair of `x0` reads as zero and is not written.
    pub(super) fn amocas_q(&mut self, a: Amo) {
        let (rs1, expected, new) = (self.x(a.rs1), self.pair(a.rd), self.pair(a.rs2));
        let old = self.builder.temp();
        let attr = MemAttr { signed: false, ..ordered(a.aq, a.rl) };
        self.builder.op(Op::Cas128, Ty::None, attr.bits(), old, [rs1, expected, new], 0);
        if a.rd != 0 {
            for half in 0..2u8 {
                let dst = self.x_dst(a.rd + half);
                const LANES_64: u16 = 3;
                self.builder.op(Op::Vget, Ty::None, LANES_64, dst, [old, Val::NONE, Val::NONE], half.into());
            }
        }
    }

    fn pair(&mut self, even: u8) -> Val {
        let (low, high) = (self.x(even), self.x(if even == 0 { 0 } else { even + 1 }));
        self.builder.bin(Op::Vpair, Ty::None, low, high)
    }
}
