//! Shifts by immediates (C7, "Advanced SIMD shift by immediate").

use emu_core::ir::{Op, Val};

use super::super::super::decode::args;
use super::super::Lifter;
use super::{HALF, Lanes, UNSIGNED};

/// A shift: its shape, and `immh:immb`, whose highest bit set names the element width.
pub(in super::super) trait Shift {
    fn fields(self) -> (Lanes, i32);
}

fn size(immhb: u8) -> u8 {
    (immhb >> 3).checked_ilog2().unwrap_or(0) as u8
}

macro_rules! shift {
    ($($format:ident $a:ident ($lanes:expr),)*) => {$(
        impl Shift for args::$format {
            fn fields(self) -> (Lanes, i32) {
                let $a = self;
                ($lanes, $a.immhb.into())
            }
        }
    )*};
}

shift! {
    ShiftR a (Lanes::vector(a.rd, a.rn, 0, size(a.immhb), a.q)),
    ShiftL a (Lanes::vector(a.rd, a.rn, 0, size(a.immhb), a.q)),
    ShiftN a (Lanes::vector(a.rd, a.rn, 0, size(a.immhb), a.q)),
    ShiftW a (Lanes::vector(a.rd, a.rn, 0, size(a.immhb), a.q)),
    SShiftR a (Lanes::scalar(a.rd, a.rn, 0, size(a.immhb))),
    SShiftL a (Lanes::scalar(a.rd, a.rn, 0, size(a.immhb))),
    SShiftN a (Lanes::scalar(a.rd, a.rn, 0, size(a.immhb))),
}

/// How far such a shift goes to the right: 1 to the width.
fn right(a: impl Shift) -> (Lanes, i32) {
    let (a, immhb) = a.fields();
    (a, 2 * a.bits() - immhb)
}

/// How far it goes to the left: 0 to one less than the width.
fn left(a: impl Shift) -> (Lanes, i32) {
    let (a, immhb) = a.fields();
    (a, immhb - a.bits())
}

impl Lifter<'_> {
    pub(in super::super) fn shift_right(&mut self, a: impl Shift, variant: u16) {
        let (a, by) = right(a);
        let (src, dst) = (self.v(a.rn), self.v(a.rd));
        self.vec_to(dst, Op::Vshr, a.attr | variant, &[src], by);
    }

    pub(in super::super) fn shift_right_add(&mut self, a: impl Shift, variant: u16) {
        let (a, by) = right(a);
        let src = self.v(a.rn);
        let shifted = self.vec_imm(Op::Vshr, a.attr | variant, &[src], by);
        let sum = self.v(a.rd);
        self.set_v(a.rd, Op::Vadd, a.attr, &[sum, shifted]);
    }

    pub(in super::super) fn shift_left(&mut self, a: impl Shift) {
        let (a, by) = left(a);
        let (src, dst) = (self.v(a.rn), self.v(a.rd));
        self.vec_to(dst, Op::Vshl, a.attr, &[src], by);
    }

    /// Puts `shifted` where these bits of each element are, leaving the others. Scalars are of 64 bits.
    fn insert_shifted(&mut self, a: Lanes, bits: u64, shifted: Val) {
        let mask = self.dup(a.size(), bits);
        let old = self.v(a.rd);
        let half = if a.full() { 0 } else { HALF };
        self.set_v(a.rd, Op::Vselect, half, &[mask, shifted, old]);
    }

    pub(in super::super) fn shift_right_insert(&mut self, a: impl Shift) {
        let (a, by) = right(a);
        let src = self.v(a.rn);
        let shifted = self.vec_imm(Op::Vshr, a.attr | UNSIGNED, &[src], by);
        let bits = (u64::MAX >> (64 - a.bits())).checked_shr(by as u32).unwrap_or(0);
        self.insert_shifted(a, bits, shifted);
    }

    pub(in super::super) fn shift_left_insert(&mut self, a: impl Shift) {
        let (a, by) = left(a);
        let src = self.v(a.rn);
        let shifted = self.vec_imm(Op::Vshl, a.attr, &[src], by);
        self.insert_shifted(a, u64::MAX << by, shifted);
    }

    pub(in super::super) fn shift_left_saturated(&mut self, a: impl Shift, signs: u16) {
        let (a, by) = left(a);
        let by = self.dup(a.size(), by as u64);
        let src = self.v(a.rn);
        self.set_v(a.rd, Op::Vqshift, a.attr | signs, &[src, by]);
    }

    /// The lanes of twice the width, shifted; then narrowed, saturating if there are signs for that.
    pub(in super::super) fn shift_narrow(&mut self, a: args::ShiftN, variant: u16, signs: Option<u16>) {
        let (a, by) = right(a);
        let src = self.v(a.rn);
        let shifted = self.vec_imm(Op::Vshr, (a.size() + 1) | variant, &[src], by);
        match signs {
            Some(signs) => self.set_narrowed(a, Op::Vqnarrow, signs, shifted),
            None => self.set_narrowed(a, Op::Vnarrow, 0, shifted),
        }
    }

    pub(in super::super) fn shift_narrow_scalar(&mut self, a: args::SShiftN, variant: u16, signs: u16) {
        let (a, by) = right(a);
        let src = self.v(a.rn);
        let shifted = self.vec_imm(Op::Vshr, a.wide() | variant, &[src], by);
        self.set_v(a.rd, Op::Vqnarrow, a.attr | signs, &[shifted]);
    }

    pub(in super::super) fn shift_long(&mut self, a: args::ShiftW, sign: u16) {
        let (a, by) = left(a);
        if by == 0 {
            let src = self.v(a.rn);
            return self.set_v(a.rd, Op::Vwiden, a.size() | a.high() | sign, &[src]);
        }
        let wide = self.widened(a, a.rn, sign);
        let dst = self.v(a.rd);
        self.vec_to(dst, Op::Vshl, a.size() + 1, &[wide], by);
    }
}
