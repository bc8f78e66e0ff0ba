//! RV64M (Unpriv., "M Extension for Integer Multiplication and Division"). The IR's division has the manual's
//! results for division by zero and overflow.

use emu_core::ir::Op;

use super::super::decode::insn32::args::R;
use super::Lifter;

impl Lifter<'_> {
    pub(super) fn mul(&mut self, a: R) {
        self.alu(Op::Mul, a);
    }

    pub(super) fn mulh(&mut self, a: R) {
        self.alu(Op::Mulhs, a);
    }

    pub(super) fn mulhsu(&mut self, a: R) {
        self.alu(Op::Mulhsu, a);
    }

    pub(super) fn mulhu(&mut self, a: R) {
        self.alu(Op::Mulhu, a);
    }

    pub(super) fn div(&mut self, a: R) {
        self.alu(Op::Divs, a);
    }

    pub(super) fn divu(&mut self, a: R) {
        self.alu(Op::Divu, a);
    }

    pub(super) fn rem(&mut self, a: R) {
        self.alu(Op::Rems, a);
    }

    pub(super) fn remu(&mut self, a: R) {
        self.alu(Op::Remu, a);
    }

    pub(super) fn mulw(&mut self, a: R) {
        self.aluw(Op::Mul, a);
    }

    pub(super) fn divw(&mut self, a: R) {
        self.aluw(Op::Divs, a);
    }

    pub(super) fn divuw(&mut self, a: R) {
        self.aluw(Op::Divu, a);
    }

    pub(super) fn remw(&mut self, a: R) {
        self.aluw(Op::Rems, a);
    }

    pub(super) fn remuw(&mut self, a: R) {
        self.aluw(Op::Remu, a);
    }
}
