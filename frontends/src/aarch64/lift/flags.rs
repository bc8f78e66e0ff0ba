//! The condition flags.
//!
//! They are written to their slot by operations of their own, which executors drop where nobody reads the flags. What they
//! were computed from is remembered within the block, so that conditions become plain comparisons of that.

use emu_core::ir::{Cc, NzcvCond, Op, Ty, Val, ValKind};

use super::super::decode::args::{Rmif, Setf};
use super::Lifter;

const N: u32 = 31;
const Z: u32 = 30;
const C: u32 = 29;
const V: u32 = 28;

/// What the flags in the slot were computed from. A value that has been overwritten since is forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flags {
    Unknown,
    Sum(Sum),
    /// The sum, and this (0 or 1) added to it.
    Carried {
        sum: Sum,
        carry: Val,
    },
    /// The logical result.
    Logic {
        ty: Ty,
        result: Option<Val>,
    },
    /// The comparison of floating-point numbers by the instruction before the one at `next`. Vector registers are not followed,
    /// so it is known there only.
    Float {
        next: i32,
        ty: Ty,
        a: Val,
        b: Val,
    },
    /// Where `held` (0 or 1) is 1 those of the sum, else these.
    Compare {
        held: Val,
        sum: Sum,
        otherwise: u64,
    },
}

/// `a + b`, or `a − b` if `sub`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    pub sub: bool,
    pub ty: Ty,
    pub a: Option<Val>,
    pub b: Option<Val>,
    pub result: Option<Val>,
}

impl Flags {
    /// Notes where the sum stands now that they are those of.
    pub(super) fn stands_in(&mut self, dst: Val) {
        if let Self::Sum(sum) | Self::Carried { sum, .. } = self {
            sum.result = Some(dst);
        }
    }

    /// Forgets a value that is about to be overwritten.
    pub(super) fn forget(&mut self, val: Val) {
        let forget = |known: &mut Option<Val>| {
            if *known == Some(val) {
                *known = None;
            }
        };
        match self {
            Self::Unknown | Self::Float { .. } => {}
            Self::Logic { result, .. } => forget(result),
            Self::Sum(sum) | Self::Carried { sum, .. } | Self::Compare { sum, .. } => {
                for known in [&mut sum.a, &mut sum.b, &mut sum.result] {
                    forget(known);
                }
            }
        }
    }
}

/// A condition as a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    pub cc: Cc,
    pub ty: Ty,
    pub a: Val,
    pub b: Val,
}

/// Whether the condition always holds. Of the others, each two neighbours are opposites.
pub(super) fn always(cond: u8) -> bool {
    cond >= 14
}

impl Lifter<'_> {
    /// Sets the flags to those of a sum or difference, and remembers that.
    pub(super) fn set_flags(&mut self, sum: Sum) {
        let [a, b] = [sum.a, sum.b].map(|val| val.unwrap_or(Val::NONE));
        let (op, carry) = if sum.sub { (Op::NzcvSub, 1) } else { (Op::NzcvAdd, 0) };
        let carry = self.builder.imm(carry);
        let nzcv = self.nzcv();
        self.builder.op(op, sum.ty, 0, nzcv, [a, b, carry], 0);
        self.guest.flags = Flags::Sum(sum);
    }

    /// Sets the flags to those of a logical result, and remembers that.
    pub(super) fn set_logic_flags(&mut self, ty: Ty, result: Val) {
        let nzcv = self.nzcv();
        self.builder.un_to(nzcv, Op::NzcvLogic, ty, result);
        self.guest.flags = Flags::Logic { ty, result: Some(result) };
    }

    /// Sets the flags to a value of which nothing is known.
    pub(super) fn set_nzcv(&mut self, op: Op, a: Val, b: Val) {
        let nzcv = self.nzcv();
        self.builder.bin_to(nzcv, op, Ty::I64, a, b);
        self.guest.flags = Flags::Unknown;
    }

    /// The condition with this encoding as a comparison of what is there now; it may be one that always holds.
    pub(super) fn condition(&mut self, cond: u8) -> Test {
        let zero = self.builder.imm(0);
        if always(cond) {
            return Test { cc: Cc::Eq, ty: Ty::I64, a: zero, b: zero };
        }
        let cond = NzcvCond::from_bits(cond.into());
        let known = match self.guest.flags {
            Flags::Unknown => None,
            Flags::Sum(sum) => sum_test(sum, cond, zero),
            Flags::Carried { sum, carry } => self.carried_test(sum, carry, cond, zero),
            Flags::Logic { ty, result } => result.and_then(|result| logic_test(ty, result, cond, zero)),
            Flags::Float { next, ty, a, b } if next == self.at as i32 => {
                Some(self.float_test(ty, [a, b], cond))
            }
            Flags::Float { .. } => None,
            Flags::Compare { held, sum, otherwise } => {
                sum_test(sum, cond, zero).map(|test| self.either(held, test, cond.holds(otherwise)))
            }
        };
        known.unwrap_or_else(|| {
            let (dst, nzcv) = (self.builder.temp(), self.nzcv());
            self.builder.op(Op::NzcvTest, Ty::None, cond as u16, dst, [nzcv, Val::NONE, Val::NONE], 0);
            self.is_true(dst)
        })
    }

    /// The condition on the flags of a sum with a carry. That has made another if the result is less than one of the operands, or
    /// is that operand though 1 was added.
    fn carried_test(&mut self, sum: Sum, carry: Val, cond: NzcvCond, zero: Val) -> Option<Test> {
        let cc = match cond {
            NzcvCond::Cs => Cc::Ne,
            NzcvCond::Cc => Cc::Eq,
            // The others that are known look at the result alone.
            _ => return sum_test(sum, cond, zero),
        };
        let Sum { ty, a, b, result, .. } = sum;
        let (result, operand) = (result?, a.or(b)?);
        let less = self.truth(Test { cc: Cc::Ltu, ty, a: result, b: operand });
        let same = self.truth(Test { cc: Cc::Eq, ty, a: result, b: operand });
        let same = self.builder.bin(Op::And, Ty::I64, same, carry);
        let made = self.builder.bin(Op::Or, Ty::I64, less, same);
        Some(Test { cc, ..self.is_true(made) })
    }

    /// The condition on the flags of a comparison of numbers as a comparison of its own, which raises nothing that the other has
    /// not raised.
    fn float_test(&mut self, ty: Ty, [a, b]: [Val; 2], cond: NzcvCond) -> Test {
        const EQUAL: u16 = 0;
        const LESS: u16 = 1;
        const LESS_OR_EQUAL: u16 = 2;
        const UNORDERED: u16 = 3;
        const QUIET: u16 = 1 << 10;
        let (order, [a, b], holds) = match cond {
            NzcvCond::Eq => (EQUAL, [a, b], true),
            NzcvCond::Ne => (EQUAL, [a, b], false),
            NzcvCond::Cc | NzcvCond::Mi => (LESS, [a, b], true),
            NzcvCond::Cs | NzcvCond::Pl => (LESS, [a, b], false),
            NzcvCond::Ls => (LESS_OR_EQUAL, [a, b], true),
            NzcvCond::Hi => (LESS_OR_EQUAL, [a, b], false),
            NzcvCond::Gt => (LESS, [b, a], true),
            NzcvCond::Le => (LESS, [b, a], false),
            NzcvCond::Ge => (LESS_OR_EQUAL, [b, a], true),
            NzcvCond::Lt => (LESS_OR_EQUAL, [b, a], false),
            NzcvCond::Vs => (UNORDERED, [a, b], true),
            NzcvCond::Vc => (UNORDERED, [a, b], false),
        };
        let (dst, attr) = (self.builder.temp(), self.rules(Op::Fcmp, ty) | order << 8 | QUIET);
        self.builder.op(Op::Fcmp, ty, attr, dst, [a, b, Val::NONE], 0);
        Test { cc: if holds { Cc::Ne } else { Cc::Eq }, ..self.is_true(dst) }
    }

    /// Whether a value that is 0 or 1 is 1.
    fn is_true(&mut self, truth: Val) -> Test {
        Test { cc: Cc::Ne, ty: Ty::I64, a: truth, b: self.builder.imm(0) }
    }

    /// The test if `held` is 1, else `otherwise`.
    fn either(&mut self, held: Val, test: Test, otherwise: bool) -> Test {
        let result = self.truth(test);
        let one = self.builder.imm(1);
        let both = if otherwise {
            let not_held = self.builder.bin(Op::Xor, Ty::I64, held, one);
            self.builder.bin(Op::Or, Ty::I64, not_held, result)
        } else {
            self.builder.bin(Op::And, Ty::I64, held, result)
        };
        self.is_true(both)
    }

    /// 1 if the test holds, else 0.
    pub(super) fn truth(&mut self, test: Test) -> Val {
        if test.cc == Cc::Ne && self.builder.as_imm(test.b) == Some(0) && self.is_truth(test.a) {
            return test.a;
        }
        let dst = self.builder.temp();
        self.builder.set_to(dst, test.cc, test.ty, test.a, test.b);
        dst
    }

    /// Whether a temporary is known to be 0 or 1.
    fn is_truth(&self, val: Val) -> bool {
        if !matches!(val.kind(), ValKind::Temp(_)) {
            return false;
        }
        self.builder.insts().iter().rfind(|made| made.dst == val).is_some_and(|made| match made.op {
            Op::NzcvTest | Op::Set | Op::Fcmp => true,
            Op::And => self.is_truth(made.a) || self.is_truth(made.b),
            Op::Or => self.is_truth(made.a) && self.is_truth(made.b),
            _ => false,
        })
    }

    /// Whether the next instruction looks at the order of what is compared now, so that the operands should stay at hand.
    pub(super) fn order_is_wanted(&mut self) -> bool {
        let next = self.peek_bits().unwrap_or(0);
        let cond = match next {
            _ if next & 0xff00_0010 == 0x5400_0000 => next & 15, // B.cond
            // Conditional select and compare.
            _ if next & 0x1fe0_0000 == 0x1a80_0000 || next & 0x3fe0_0000 == 0x3a40_0000 => next >> 12 & 15,
            _ => return false,
        };
        matches!(cond, 2 | 3 | 8..=13)
    }

    pub(super) fn cfinv(&mut self) {
        let (nzcv, carry) = (self.nzcv(), self.builder.imm(1 << C));
        self.set_nzcv(Op::Xor, nzcv, carry);
    }

    /// N, Z, C and V as bits 0.
    fn each_flag(&mut self) -> [Val; 4] {
        let nzcv = self.nzcv();
        [N, Z, C, V].map(|bit| self.extract(nzcv, bit as i32, 1))
    }

    /// Sets the flags from the bits 0 of these.
    fn set_each_flag(&mut self, flags: &[(u32, Val)]) {
        let zero = self.builder.imm(0);
        let (mut all, mut last) = (zero, zero);
        for (bit, flag) in flags {
            if last != zero {
                all = if all == zero { last } else { self.builder.bin(Op::Or, Ty::I64, all, last) };
            }
            last = self.shl(Ty::I64, *flag, *bit as u8);
        }
        self.set_nzcv(Op::Or, all, last);
    }

    /// From the alternative format of floating-point comparisons.
    pub(super) fn xaflag(&mut self) {
        let [_, z, c, _] = self.each_flag();
        let either = self.builder.bin(Op::Or, Ty::I64, z, c);
        let one = self.builder.imm(1);
        let neither = self.builder.bin(Op::Xor, Ty::I64, either, one);
        let both = self.builder.bin(Op::And, Ty::I64, z, c);
        let only_z = self.builder.bin(Op::Andn, Ty::I64, z, c);
        self.set_each_flag(&[(N, neither), (Z, both), (C, either), (V, only_z)]);
    }

    /// To that format.
    pub(super) fn axflag(&mut self) {
        let [_, z, c, v] = self.each_flag();
        let equal = self.builder.bin(Op::Or, Ty::I64, z, v);
        let carry = self.builder.bin(Op::Andn, Ty::I64, c, v);
        self.set_each_flag(&[(Z, equal), (C, carry)]);
    }

    pub(super) fn rmif(&mut self, a: Rmif) {
        let (rn, amount) = (self.x(a.rn), self.builder.imm(a.amount.into()));
        let rotated = self.builder.bin(Op::Rotr, Ty::I64, rn, amount);
        let flags = self.shl(Ty::I64, rotated, V as u8);
        let mask = self.builder.imm(u64::from(a.mask) << V);
        let new = self.builder.bin(Op::And, Ty::I64, flags, mask);
        let nzcv = self.nzcv();
        let old = self.builder.bin(Op::Andn, Ty::I64, nzcv, mask);
        self.set_nzcv(Op::Or, old, new);
    }

    pub(super) fn setf8(&mut self, a: Setf) {
        self.set_from_narrow(a.rn, 8);
    }

    pub(super) fn setf16(&mut self, a: Setf) {
        self.set_from_narrow(a.rn, 16);
    }

    fn set_from_narrow(&mut self, rn: u8, bits: i32) {
        let rn = self.x(rn);
        let [_, _, c, _] = self.each_flag();
        let negative = self.extract(rn, bits - 1, 1);
        let above = self.extract(rn, bits, 1);
        let low = self.extract(rn, 0, bits);
        let zero = self.builder.imm(0);
        let is_zero = self.truth(Test { cc: Cc::Eq, ty: Ty::I64, a: low, b: zero });
        let overflow = self.builder.bin(Op::Xor, Ty::I64, negative, above);
        self.set_each_flag(&[(N, negative), (Z, is_zero), (C, c), (V, overflow)]);
    }
}

/// The condition on the flags of a sum as a comparison, if that can be said with what is still known.
fn sum_test(sum: Sum, cond: NzcvCond, zero: Val) -> Option<Test> {
    let Sum { sub, ty, a, b, result } = sum;
    let test = |cc, a: Option<Val>, b: Option<Val>| Some(Test { cc, ty, a: a?, b: b? });
    let of_result = |cc| test(cc, result, Some(zero));
    match (sub, cond) {
        (true, NzcvCond::Eq) => test(Cc::Eq, a, b).or(of_result(Cc::Eq)),
        (true, NzcvCond::Ne) => test(Cc::Ne, a, b).or(of_result(Cc::Ne)),
        (true, NzcvCond::Cs) => test(Cc::Geu, a, b),
        (true, NzcvCond::Cc) => test(Cc::Ltu, a, b),
        (true, NzcvCond::Hi) => test(Cc::Ltu, b, a),
        (true, NzcvCond::Ls) => test(Cc::Geu, b, a),
        (true, NzcvCond::Ge) => test(Cc::Ge, a, b),
        (true, NzcvCond::Lt) => test(Cc::Lt, a, b),
        (true, NzcvCond::Gt) => test(Cc::Lt, b, a),
        (true, NzcvCond::Le) => test(Cc::Ge, b, a),
        (false, NzcvCond::Eq) => of_result(Cc::Eq),
        (false, NzcvCond::Ne) => of_result(Cc::Ne),
        (false, NzcvCond::Cs) => test(Cc::Ltu, result, a.or(b)),
        (false, NzcvCond::Cc) => test(Cc::Geu, result, a.or(b)),
        (_, NzcvCond::Mi) => of_result(Cc::Lt),
        (_, NzcvCond::Pl) => of_result(Cc::Ge),
        _ => None,
    }
}

/// The same for a logical result: C and V are clear.
fn logic_test(ty: Ty, result: Val, cond: NzcvCond, zero: Val) -> Option<Test> {
    let (cc, a, b) = match cond {
        NzcvCond::Eq => (Cc::Eq, result, zero),
        NzcvCond::Ne => (Cc::Ne, result, zero),
        NzcvCond::Mi | NzcvCond::Lt => (Cc::Lt, result, zero),
        NzcvCond::Pl | NzcvCond::Ge => (Cc::Ge, result, zero),
        NzcvCond::Gt => (Cc::Lt, zero, result),
        NzcvCond::Le => (Cc::Ge, zero, result),
        NzcvCond::Cs | NzcvCond::Vs | NzcvCond::Hi => (Cc::Ne, zero, zero),
        NzcvCond::Cc | NzcvCond::Vc | NzcvCond::Ls => (Cc::Eq, zero, zero),
    };
    Some(Test { cc, ty, a, b })
}
