//! Instructions whose second operand is one element of a register (C7, "by element").

use emu_core::ir::{Op, Val};

use super::super::super::decode::args;
use super::super::Lifter;
use super::{E32, Lanes};

/// The shape of such an instruction, and the number of the element. The element's width is not in a field of its own.
pub(in super::super) trait ByElement {
    fn lanes(self, size: u8) -> (Lanes, u8);
}

macro_rules! by_element {
    ($($format:ident $($q:ident)?,)*) => {$(
        impl ByElement for args::$format {
            fn lanes(self, size: u8) -> (Lanes, u8) {
                (by_element!(@ self size $($q)?), self.idx)
            }
        }
    )*};
    (@ $a:ident $size:ident q) => { Lanes::vector($a.rd, $a.rn, $a.rm, $size, $a.q) };
    (@ $a:ident $size:ident) => { Lanes::scalar($a.rd, $a.rn, $a.rm, $size) };
}

by_element! {
    E3 q,
    E3Long q,
    EDot q,
    SE3,
    SE3Long,
}

impl Lifter<'_> {
    /// The first operand, and the element in every lane.
    fn with_element(&mut self, a: impl ByElement, size: u8) -> (Lanes, [Val; 2]) {
        let (a, index) = a.lanes(size);
        let from = self.v(a.rm);
        let element = self.vec_imm(Op::Vsplat, a.size(), &[from], index.into());
        (a, [self.v(a.rn), element])
    }

    pub(in super::super) fn by_element(&mut self, a: impl ByElement, size: u8, op: Op, variant: u16) {
        let (a, src) = self.with_element(a, size);
        self.set_v(a.rd, op, a.attr | variant, &src);
    }

    /// The destination is the first operand.
    pub(in super::super) fn by_element_to(&mut self, a: impl ByElement, size: u8, op: Op, variant: u16) {
        let (a, [n, m]) = self.with_element(a, size);
        let d = self.v(a.rd);
        self.set_v(a.rd, op, a.attr | variant, &[d, n, m]);
    }

    pub(in super::super) fn accumulate_element(&mut self, a: args::E3, size: u8, op: Op) {
        let (a, src) = self.with_element(a, size);
        let product = self.vec(Op::Vmul, a.attr, &src);
        let sum = self.v(a.rd);
        self.set_v(a.rd, op, a.attr, &[sum, product]);
    }

    pub(in super::super) fn widened_product_element(&mut self, a: args::E3Long, size: u8, sign: u16) {
        let (a, src) = self.with_element(a, size);
        self.set_v(a.rd, Op::Vmull, a.size() | a.high() | sign, &src);
    }

    pub(in super::super) fn accumulate_long_element(&mut self, a: args::E3Long, size: u8, op: Op, sign: u16) {
        let (a, src) = self.with_element(a, size);
        self.accumulate_product(a, op, sign, src);
    }

    pub(in super::super) fn multiply_doubled_element(&mut self, a: impl ByElement, size: u8) {
        let (a, src) = self.with_element(a, size);
        self.doubled_product(a, None, src);
    }

    pub(in super::super) fn accumulate_doubled_element(&mut self, a: impl ByElement, size: u8, op: Op) {
        let (a, src) = self.with_element(a, size);
        self.doubled_product(a, Some(op), src);
    }

    pub(in super::super) fn dot_element(&mut self, a: args::EDot, sign: u16) {
        let (a, [n, m]) = self.with_element(a, E32 as u8);
        let d = self.v(a.rd);
        self.set_v(a.rd, Op::Vdot, a.half() | sign, &[d, n, m]);
    }
}
