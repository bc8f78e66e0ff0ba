//! Operations on vectors of integers, and moves of lanes.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{ConstantData, InstBuilder, Type, Value, types};
use emu_core::ir::{Halving, Inst, Op, Part, Reduction, Shuffle, Ty, Val, ValKind, VecCc, VecUnary};

use super::{Any, Gen, vec_float};

fn is_high(inst: &Inst) -> bool {
    inst.attr >> 5 & 1 != 0
}

const fn lanes(width: usize) -> Type {
    match width {
        0 => types::I8X16,
        1 => types::I16X8,
        2 => types::I32X4,
        _ => types::I64X2,
    }
}

/// What picks these bytes of two vectors; those beyond are their own.
fn order(bytes: impl Fn(usize) -> usize) -> [u8; 16] {
    std::array::from_fn(|i| bytes(i) as u8)
}

/// The same of lanes: `n` counts those of both vectors.
fn order_of_lanes(width: usize, n: impl Fn(usize) -> usize) -> [u8; 16] {
    order(|i| n(i >> width) << width | i & ((1 << width) - 1))
}

/// Whether the operation has a form here.
pub(super) fn supports(inst: &Inst) -> bool {
    let width = inst.lane_width();
    match inst.op {
        Op::Vmov | Op::Vlow | Op::Vpair | Op::Vget | Op::Vset | Op::Vdup | Op::Vsplat | Op::Vinsert => true,
        Op::Vand | Op::Vandn | Op::Vor | Op::Vxor | Op::Vselect => true,
        Op::Vadd | Op::Vsub | Op::Vmul | Op::Vcmp | Op::Vext | Op::Vnarrow | Op::Vwiden | Op::Vmull => true,
        Op::Vfromlow => matches!(inst.ty, Ty::F32 | Ty::F64),
        Op::Vmin | Op::Vmax => width < 3,
        Op::Vunary => {
            let function = VecUnary::from_bits(inst.attr >> 4 & 7);
            function == VecUnary::Abs || (function == VecUnary::Popcnt && width == 0)
        }
        Op::Vhalve => {
            let how = Halving::from_bits(inst.attr >> 5 & 3);
            !inst.is_signed() && how == Halving::Round && width < 2
        }
        Op::Vshl => (0..8 << width).contains(&inst.imm),
        Op::Vshr => (0..=8 << width).contains(&inst.imm),
        Op::Vshuffle => width < 3 || inst.part() == Part::All,
        Op::Vrev => width <= usize::from(inst.attr >> 4 & 3),
        Op::Vtbl => matches!(inst.imm, 0 | 16 | 32 | 48),
        Op::Vdot => true,
        Op::Vreduce => {
            let how = Reduction::from_bits(inst.attr >> 4 & 7);
            width < 3 && !matches!(how, Reduction::Adds | Reduction::Addu)
        }
        _ => false,
    }
}

/// The type of the number, or bits, that the operation makes with zeros above, if it makes that of slots that hold such, and
/// which.
pub(super) fn makes_low(inst: &Inst, lows: &HashMap<u16, Ty>) -> Option<Ty> {
    let low = |val: Val| match val.kind() {
        ValKind::Slot(n) => lows.get(&n).copied(),
        _ => None,
    };
    let both = low(inst.a).filter(|&ty| low(inst.b) == Some(ty));
    match inst.op {
        Op::Vfromlow => match (inst.ty, low(inst.a)) {
            (Ty::F32, Some(Ty::I32)) => Some(Ty::I32),
            (Ty::F64, Some(Ty::I64)) => Some(Ty::I64),
            (ty, _) => Some(ty),
        },
        Op::Vdup => bits_alone(inst),
        Op::Vand | Op::Vor | Op::Vxor => both,
        Op::Vadd | Op::Vsub => both.filter(|&ty| adds_bits(inst, ty)),
        op if vec_float::is_arithmetic(op) => (inst.float_part() == Part::One).then_some(inst.ty),
        _ => None,
    }
}

/// The type of one integer with zeros above, if the operation makes that of one.
fn bits_alone(inst: &Inst) -> Option<Ty> {
    match (inst.part(), inst.lane_width()) {
        (Part::One, 2) => Some(Ty::I32),
        (Part::One | Part::Half, 3) => Some(Ty::I64),
        _ => None,
    }
}

/// Whether the operation does with the lanes of two vectors what it would do with bits of this type that they have alone.
fn adds_bits(inst: &Inst, ty: Ty) -> bool {
    matches!((ty, inst.lane_width()), (Ty::I32, 2) | (Ty::I64, 3))
}

impl Gen<'_, '_> {
    pub(super) fn constant_vector(&mut self, bytes: [u8; 16]) -> Value {
        let data = self.f.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
        self.f.ins().vconst(types::I8X16, data)
    }

    /// The lane in all lanes.
    fn constant_lanes(&mut self, width: usize, lane: u64) -> Value {
        let bytes = lane.to_le_bytes();
        self.constant_vector(order(|i| usize::from(bytes[i & ((1 << width) - 1)])))
    }

    /// Some of the bytes of both, which are numbered in order.
    pub(super) fn shuffled(&mut self, a: Value, b: Value, order: [u8; 16]) -> Value {
        let (a, b) = (self.bits_as(types::I8X16, a), self.bits_as(types::I8X16, b));
        let order = self.f.func.dfg.immediates.push(ConstantData::from(&order[..]));
        self.f.ins().shuffle(a, b, order)
    }

    /// The vector, as bytes, without what does not take part.
    pub(super) fn cleared(&mut self, part: Part, width: usize, value: Value) -> Value {
        let value = match (part, width) {
            (Part::All, _) => value,
            (Part::Half, _) | (Part::One, 3) => {
                let mask = self.constant_vector(order(|i| if i < 8 { 0xff } else { 0 }));
                let value = self.bits_as(types::I8X16, value);
                self.f.ins().band(value, mask)
            }
            (Part::One, 2) => {
                let low = self.lane(value, types::F32X4, types::F32);
                self.f.ins().scalar_to_vector(types::F32X4, low)
            }
            (Part::One, _) => {
                let mask = self.constant_vector(order(|i| if i < 1 << width { 0xff } else { 0 }));
                let value = self.bits_as(types::I8X16, value);
                self.f.ins().band(value, mask)
            }
        };
        self.bits_as(types::I8X16, value)
    }

    pub(super) fn lanes_of(&mut self, ty: Type, val: Val) -> Value {
        let value = self.vector_of(val);
        self.bits_as(ty, value)
    }

    pub(super) fn vector(&mut self, inst: &Inst) {
        let (width, part) = (inst.lane_width(), inst.part());
        let value = match inst.op {
            Op::Vlow => {
                let value = self.double_of(inst.a);
                return self.set(inst.dst, Any::Double(value));
            }
            Op::Vfromlow => {
                let value = match (inst.ty, self.any_of(inst.a)) {
                    (Ty::F32, value @ Any::Bits(_)) => Any::Bits(self.low_as(Ty::I32, value)),
                    (Ty::F64, value @ Any::Bits(_)) => Any::Bits(self.low_as(Ty::I64, value)),
                    (Ty::F32, value) => Any::Single(self.low_as(Ty::F32, value)),
                    (_, value) => Any::Double(self.low_as(Ty::F64, value)),
                };
                return self.set(inst.dst, value);
            }
            Op::Vget if inst.imm as usize & (15 >> width) == 0 && width >= 2 => {
                let value = self.any_of(inst.a);
                let low = self.low_as(if width == 2 { Ty::I32 } else { Ty::I64 }, value);
                let value = if width == 2 { self.f.ins().uextend(types::I64, low) } else { low };
                return self.set(inst.dst, Any::Int(value));
            }
            Op::Vget => {
                let a = self.lanes_of(lanes(width), inst.a);
                let value = self.f.ins().extractlane(a, inst.imm as u8 & (15 >> width));
                let value = if width == 3 { value } else { self.f.ins().uextend(types::I64, value) };
                return self.set(inst.dst, Any::Int(value));
            }
            Op::Vmov => self.vector_of(inst.a),
            Op::Vpair => {
                let (low, high) = (self.int_of(inst.a), self.int_of(inst.b));
                match [inst.a, inst.b].map(|val| self.block().constant(val)) {
                    [Some(low), Some(high)] => {
                        let all = u128::from(high) << 64 | u128::from(low);
                        self.constant_vector(all.to_le_bytes())
                    }
                    [_, high_constant] => {
                        let low = self.f.ins().scalar_to_vector(types::I64X2, low);
                        if high_constant == Some(0) { low } else { self.f.ins().insertlane(low, high, 1) }
                    }
                }
            }
            Op::Vdup if let Some(ty) = bits_alone(inst) => {
                let value = self.int_as(ty, inst.a);
                return self.set(inst.dst, Any::Bits(value));
            }
            Op::Vdup => self.dup(inst),
            Op::Vset => {
                let (a, b) = (self.lanes_of(lanes(width), inst.a), self.int_of(inst.b));
                let b = if width == 3 { b } else { self.f.ins().ireduce(lanes(width).lane_type(), b) };
                self.f.ins().insertlane(a, b, inst.imm as u8 & (15 >> width))
            }
            Op::Vsplat => {
                let lane = inst.imm as usize & (15 >> width);
                let a = self.vector_of(inst.a);
                let all = self.shuffled(a, a, order_of_lanes(width, |_| lane));
                self.cleared(part, width, all)
            }
            Op::Vinsert => self.insert(inst),
            Op::Vand | Op::Vor | Op::Vxor | Op::Vadd | Op::Vsub
                if let Some(value) = self.low_of_both(inst) =>
            {
                return self.set(inst.dst, value);
            }
            Op::Vand | Op::Vandn | Op::Vor | Op::Vxor | Op::Vselect => {
                let (a, b) = (self.vector_of(inst.a), self.vector_of(inst.b));
                let value = match inst.op {
                    Op::Vand => self.f.ins().band(a, b),
                    Op::Vandn => self.f.ins().band_not(a, b),
                    Op::Vor => self.f.ins().bor(a, b),
                    Op::Vxor => self.f.ins().bxor(a, b),
                    _ => {
                        let c = self.vector_of(inst.c);
                        self.f.ins().bitselect(a, b, c)
                    }
                };
                self.cleared(part, 0, value)
            }
            Op::Vshuffle => self.shuffle(inst),
            Op::Vext => {
                let (a, b) = (self.vector_of(inst.a), self.vector_of(inst.b));
                if part == Part::All {
                    let first = inst.imm as usize & 15;
                    self.shuffled(a, b, order(|i| first + i))
                } else {
                    let first = inst.imm as usize & 7;
                    let both = self.shuffled(a, b, order_of_lanes(3, |n| 2 * n));
                    let value = self.shuffled(both, both, order(|i| first + i));
                    self.cleared(part, 0, value)
                }
            }
            Op::Vrev => {
                let a = self.vector_of(inst.a);
                let unit = 2usize << (inst.attr >> 4 & 3);
                let last = (unit >> width) - 1;
                let value = self.shuffled(a, a, order_of_lanes(width, |n| n ^ last));
                self.cleared(part, 0, value)
            }
            Op::Vtbl => {
                let (a, mut b) = (self.vector_of(inst.a), self.vector_of(inst.b));
                if inst.imm != 0 {
                    let less = self.constant_lanes(0, inst.imm as u64);
                    b = self.f.ins().isub(b, less);
                }
                // The host looks at the sign and the low four bits.
                let beyond = self.constant_lanes(0, 0x70);
                let b = self.f.ins().uadd_sat(b, beyond);
                let value = self.f.ins().x86_pshufb(a, b);
                self.cleared(part, 0, value)
            }
            Op::Vnarrow => {
                let a = self.vector_of(inst.a);
                let zero = self.constant_lanes(0, 0);
                if width == 2 {
                    self.shuffled(a, zero, order_of_lanes(2, |n| 2 * n))
                } else {
                    let low = order(|i| match (i & 7) >> width << (width + 1) | i & ((1 << width) - 1) {
                        byte if i < 8 => byte,
                        _ => 0x80,
                    });
                    let low = self.constant_vector(low);
                    self.f.ins().x86_pshufb(a, low)
                }
            }
            Op::Vwiden => self.widened_half(inst, inst.a),
            Op::Vmull => {
                let (a, b) = (self.widened_half(inst, inst.a), self.widened_half(inst, inst.b));
                self.f.ins().imul(a, b)
            }
            Op::Vdot => self.dot(inst),
            Op::Vreduce => self.reduce(inst),
            _ => {
                let value = self.each_lane(inst);
                self.cleared(part, width, value)
            }
        };
        let value = self.bits_as(types::I8X16, value);
        self.set(inst.dst, Any::Vector(value));
    }

    /// The result, if it is that of the low bits of both operands alone, which have zeros above.
    fn low_of_both(&mut self, inst: &Inst) -> Option<Any> {
        let (a, b, any): (_, _, fn(Value) -> Any) = match (self.any_of(inst.a), self.any_of(inst.b)) {
            (Any::Single(a), Any::Single(b)) => (a, b, Any::Single),
            (Any::Double(a), Any::Double(b)) => (a, b, Any::Double),
            (Any::Bits(a), Any::Bits(b)) => (a, b, Any::Bits),
            _ => return None,
        };
        let [ty, other] = [a, b].map(|value| self.f.func.dfg.value_type(value));
        let bits = if ty == types::I32 { Ty::I32 } else { Ty::I64 };
        let adds = ty.is_int() && adds_bits(inst, bits);
        Some(any(match inst.op {
            _ if ty != other => return None,
            Op::Vand => self.f.ins().band(a, b),
            Op::Vor => self.f.ins().bor(a, b),
            Op::Vxor => self.f.ins().bxor(a, b),
            Op::Vadd if adds => self.f.ins().iadd(a, b),
            Op::Vsub if adds => self.f.ins().isub(a, b),
            _ => return None,
        }))
    }

    fn dup(&mut self, inst: &Inst) -> Value {
        let (width, part) = (inst.lane_width(), inst.part());
        let taking = match part {
            Part::All => 16,
            Part::Half => 8,
            Part::One => 1 << width,
        };
        if let Some(value) = self.block().constant(inst.a) {
            let bytes = value.to_le_bytes();
            let byte = |i| if i < taking { usize::from(bytes[i & ((1 << width) - 1)]) } else { 0 };
            return self.constant_vector(order(byte));
        }
        let a = self.int_of(inst.a);
        let lane = lanes(width).lane_type();
        let low = if width == 3 { a } else { self.f.ins().ireduce(lane, a) };
        match part {
            Part::One => {
                let low = self.f.ins().uextend(types::I32, low);
                self.f.ins().scalar_to_vector(types::I32X4, low)
            }
            _ => {
                let all = self.f.ins().splat(lanes(width), low);
                self.cleared(part, width, all)
            }
        }
    }

    fn insert(&mut self, inst: &Inst) -> Value {
        let width = inst.lane_width();
        let most = 15 >> width;
        let [to, from] = [inst.imm, inst.imm >> 8].map(|n| n as usize & most);
        let (a, b) = (self.vector_of(inst.a), self.vector_of(inst.b));
        if width == 3 || to == from {
            let both = |n| if n == to { from + most + 1 } else { n };
            return self.shuffled(a, b, order_of_lanes(width, both));
        }
        let ty = if width == 2 { types::F32X4 } else { lanes(width) };
        let (a, b) = (self.bits_as(ty, a), self.bits_as(ty, b));
        let lane = self.f.ins().extractlane(b, from as u8);
        self.f.ins().insertlane(a, lane, to as u8)
    }

    fn shuffle(&mut self, inst: &Inst) -> Value {
        let (width, half) = (inst.lane_width(), inst.part() == Part::Half);
        let kind = Shuffle::from_bits(inst.attr >> 4 & 7);
        let (mut a, mut b) = (self.vector_of(inst.a), self.vector_of(inst.b));
        let count = 16 >> width;
        let odd = usize::from(matches!(kind, Shuffle::Zip2 | Shuffle::Uzp2 | Shuffle::Trn2));
        let alternately = |first: usize| move |n: usize| first + n / 2 + if n & 1 == 0 { 0 } else { count };
        let value = match kind {
            Shuffle::Zip1 => self.shuffled(a, b, order_of_lanes(width, alternately(0))),
            Shuffle::Zip2 if half => {
                let low = self.shuffled(a, b, order_of_lanes(width, alternately(0)));
                self.shuffled(low, low, order_of_lanes(3, |_| 1))
            }
            Shuffle::Zip2 => self.shuffled(a, b, order_of_lanes(width, alternately(count / 2))),
            Shuffle::Uzp1 | Shuffle::Uzp2 => {
                if half {
                    let both = self.shuffled(a, b, order_of_lanes(3, |n| 2 * n));
                    (a, b) = (both, both);
                }
                self.shuffled(a, b, order_of_lanes(width, |n| 2 * n + odd))
            }
            // The host has an instruction for the one order, and for the other one of one vector.
            Shuffle::Trn1 | Shuffle::Trn2 if width == 2 => {
                let apart = self.shuffled(a, b, order_of_lanes(2, |n| 2 * n + odd));
                self.shuffled(apart, apart, order_of_lanes(2, |n| [0, 2, 1, 3][n]))
            }
            Shuffle::Trn1 | Shuffle::Trn2 => {
                self.shuffled(a, b, order_of_lanes(width, |n| (n & !1) + odd + count * (n & 1)))
            }
        };
        self.cleared(inst.part(), 0, value)
    }

    /// The lanes in one half, extended.
    fn widened_half(&mut self, inst: &Inst, val: Val) -> Value {
        let value = self.lanes_of(lanes(inst.lane_width()), val);
        match (inst.is_signed(), is_high(inst)) {
            (true, false) => self.f.ins().swiden_low(value),
            (true, true) => self.f.ins().swiden_high(value),
            (false, false) => self.f.ins().uwiden_low(value),
            (false, true) => self.f.ins().uwiden_high(value),
        }
    }

    fn dot(&mut self, inst: &Inst) -> Value {
        let [a, b, c] = [
            self.lanes_of(types::I32X4, inst.a),
            self.lanes_of(types::I8X16, inst.b),
            self.lanes_of(types::I8X16, inst.c),
        ];
        let [low, high] = [false, true].map(|high| {
            let [b, c] = [b, c].map(|value| match (inst.is_signed(), high) {
                (true, false) => self.f.ins().swiden_low(value),
                (true, true) => self.f.ins().swiden_high(value),
                (false, false) => self.f.ins().uwiden_low(value),
                (false, true) => self.f.ins().uwiden_high(value),
            });
            // One instruction of the host: bytes of either kind are signed words.
            let [bl, cl] = [b, c].map(|value| self.f.ins().swiden_low(value));
            let [bh, ch] = [b, c].map(|value| self.f.ins().swiden_high(value));
            let (l, h) = (self.f.ins().imul(bl, cl), self.f.ins().imul(bh, ch));
            self.f.ins().iadd_pairwise(l, h)
        });
        let sums = self.f.ins().iadd_pairwise(low, high);
        let value = self.f.ins().iadd(a, sums);
        self.cleared(inst.part(), 2, value)
    }

    fn reduce(&mut self, inst: &Inst) -> Value {
        let (width, half) = (inst.lane_width(), inst.part() == Part::Half);
        let how = Reduction::from_bits(inst.attr >> 4 & 7);
        let ty = lanes(width);
        let mut value = self.vector_of(inst.a);
        let count = if half { 8 >> width } else { 16 >> width };
        let mut step = count / 2;
        while step > 0 {
            let other = self.shuffled(value, value, order(|i| (i + (step << width)) & 15));
            let (x, y) = (self.bits_as(ty, value), self.bits_as(ty, other));
            let both = match how {
                Reduction::Mins => self.f.ins().smin(x, y),
                Reduction::Maxs => self.f.ins().smax(x, y),
                Reduction::Minu => self.f.ins().umin(x, y),
                Reduction::Maxu => self.f.ins().umax(x, y),
                _ => self.f.ins().iadd(x, y),
            };
            value = self.bits_as(types::I8X16, both);
            step /= 2;
        }
        self.cleared(Part::One, width, value)
    }

    /// Arithmetic, comparisons and shifts, of all lanes.
    fn each_lane(&mut self, inst: &Inst) -> Value {
        let width = inst.lane_width();
        let a = self.lanes_of(lanes(width), inst.a);
        if matches!(inst.op, Op::Vshl | Op::Vshr) {
            return self.shifted_lanes(inst, a);
        }
        if inst.op == Op::Vunary {
            return match VecUnary::from_bits(inst.attr >> 4 & 7) {
                VecUnary::Abs => self.f.ins().iabs(a),
                _ => self.f.ins().popcnt(a),
            };
        }
        let b = self.lanes_of(lanes(width), inst.b);
        match inst.op {
            Op::Vadd => self.f.ins().iadd(a, b),
            Op::Vsub => self.f.ins().isub(a, b),
            Op::Vmul if width == 0 => self.multiplied_bytes(a, b),
            Op::Vmul => self.f.ins().imul(a, b),
            Op::Vmin if inst.is_signed() => self.f.ins().smin(a, b),
            Op::Vmin => self.f.ins().umin(a, b),
            Op::Vmax if inst.is_signed() => self.f.ins().smax(a, b),
            Op::Vmax => self.f.ins().umax(a, b),
            Op::Vhalve => self.f.ins().avg_round(a, b),
            _ => match VecCc::from_bits(inst.attr >> 4 & 7) {
                VecCc::Eq => self.f.ins().icmp(IntCC::Equal, a, b),
                VecCc::Gts => self.f.ins().icmp(IntCC::SignedGreaterThan, a, b),
                VecCc::Ges => self.f.ins().icmp(IntCC::SignedGreaterThanOrEqual, a, b),
                VecCc::Gtu => self.f.ins().icmp(IntCC::UnsignedGreaterThan, a, b),
                VecCc::Geu => self.f.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, a, b),
                VecCc::Test => {
                    let both = self.f.ins().band(a, b);
                    let zero = self.constant_lanes(0, 0);
                    let zero = self.bits_as(lanes(width), zero);
                    self.f.ins().icmp(IntCC::NotEqual, both, zero)
                }
            },
        }
    }

    /// The host multiplies words: the product of the low bytes, and that of the high bytes.
    fn multiplied_bytes(&mut self, a: Value, b: Value) -> Value {
        let (a, b) = (self.bits_as(types::I16X8, a), self.bits_as(types::I16X8, b));
        let low = self.f.ins().imul(a, b);
        let mask = self.constant_lanes(1, 0xff);
        let mask = self.bits_as(types::I16X8, mask);
        let low = self.f.ins().band(low, mask);
        let by = self.f.ins().iconst(types::I32, 8);
        let (a, b) = (self.f.ins().ushr(a, by), self.f.ins().ushr(b, by));
        let high = self.f.ins().imul(a, b);
        let high = self.f.ins().ishl(high, by);
        self.f.ins().bor(low, high)
    }

    fn shifted_lanes(&mut self, inst: &Inst, a: Value) -> Value {
        let width = inst.lane_width();
        let bits = 8i64 << width;
        let by = i64::from(inst.imm);
        let rounds = inst.op == Op::Vshr && inst.attr >> 5 & 1 != 0 && by != 0;
        let main = match inst.op {
            Op::Vshl => {
                let by = self.f.ins().iconst(types::I32, by);
                self.f.ins().ishl(a, by)
            }
            _ if inst.is_signed() => {
                let by = self.f.ins().iconst(types::I32, by.min(bits - 1));
                self.f.ins().sshr(a, by)
            }
            _ if by == bits => {
                let zero = self.constant_lanes(0, 0);
                self.bits_as(lanes(width), zero)
            }
            _ => {
                let by = self.f.ins().iconst(types::I32, by);
                self.f.ins().ushr(a, by)
            }
        };
        if !rounds {
            return main;
        }
        // The last bit that is shifted out.
        let [rest, top] = [by - 1, bits - 1].map(|by| self.f.ins().iconst(types::I32, by));
        let last = self.f.ins().ushr(a, rest);
        let last = self.f.ins().ishl(last, top);
        let last = self.f.ins().ushr(last, top);
        self.f.ins().iadd(main, last)
    }
}
