//! Integer operations, lane by lane.

use super::Shape;
use crate::fp::{Flags, reciprocal_root_u32, reciprocal_u32};
use crate::ir::{Halving, Inst, Op, Reduction, Signs, VecCc, VecUnary};

/// The attribute's bits for what an operation has besides lanes.
const SIGN: u16 = 1 << 4;
const ROUND: u16 = 1 << 5;
const HIGH: u16 = 1 << 5;

/// The result of an operation on integers.
pub(super) fn evaluate(inst: &Inst, [a, b, c]: [u128; 3], flags: &mut Flags) -> u128 {
    let attr = inst.attr;
    let shape = Shape::of(attr);
    let signed = attr & SIGN == 0;
    let round = attr & ROUND != 0;
    let pairs = |f: &dyn Fn(u64, u64) -> u64| shape.make(|i| f(shape.get(a, i), shape.get(b, i)));
    let values = |f: &dyn Fn(i128, i128) -> i128| {
        pairs(&|x, y| f(shape.value(x, signed), shape.value(y, signed)) as u64)
    };
    match inst.op {
        Op::Vadd => pairs(&u64::wrapping_add),
        Op::Vsub => pairs(&u64::wrapping_sub),
        Op::Vmul => pairs(&u64::wrapping_mul),
        Op::Vpmul => pairs(&|x, y| carry_less(x, y) as u64),
        Op::Vmin => values(&i128::min),
        Op::Vmax => values(&i128::max),
        Op::Vcmp => {
            let cc = VecCc::from_bits(attr >> 4 & 7);
            pairs(&|x, y| if holds(shape, cc, x, y) { u64::MAX } else { 0 })
        }
        Op::Vunary => {
            let function = VecUnary::from_bits(attr >> 4 & 7);
            shape.make(|i| unary(shape, function, shape.get(a, i)))
        }
        Op::Vhalve => match Halving::from_bits(attr >> 5 & 3) {
            Halving::Add => values(&|x, y| (x + y) >> 1),
            Halving::Round => values(&|x, y| (x + y + 1) >> 1),
            Halving::Sub => values(&|x, y| (x - y) >> 1),
        },
        Op::Vshl => shape.make(|i| shifted(shape, shape.get(a, i).into(), inst.imm, false) as u64),
        Op::Vshr => {
            shape.make(|i| shifted(shape, shape.value(shape.get(a, i), signed), -inst.imm, round) as u64)
        }
        Op::Vshift => pairs(&|x, y| shifted(shape, shape.value(x, signed), amount(y), round) as u64),
        Op::Vqadd | Op::Vqsub | Op::Vqshift | Op::Vqdmulh | Op::Vqrdmla => {
            shape.make(|i| saturating(inst, [a, b, c].map(|v| shape.get(v, i)), flags))
        }
        Op::Vqnarrow => {
            let count = if attr >> 2 & 3 == 2 { 1 } else { 64 / shape.bits };
            let (wide, narrow) = (Shape { bits: 2 * shape.bits, count }, Shape { bits: shape.bits, count });
            let (from, to) = signs(attr);
            narrow.make(|i| saturate(narrow, wide.value(wide.get(a, i), from), to, flags))
        }
        Op::Vnarrow => {
            let count = 64 / shape.bits;
            let wide = Shape { bits: 2 * shape.bits, count };
            Shape { bits: shape.bits, count }.make(|i| wide.get(a, i))
        }
        Op::Vwiden => widened(attr, |lane| shape.value(shape.get(a, lane), signed)),
        Op::Vmull => widened(attr, |lane| {
            shape.value(shape.get(a, lane), signed) * shape.value(shape.get(b, lane), signed)
        }),
        Op::Vpmull => widened(attr, |lane| carry_less(shape.get(a, lane), shape.get(b, lane)) as i128),
        Op::Vdot => {
            let (words, bytes) = (Shape::with(32, attr >> 2 & 1), Shape { bits: 8, count: 16 });
            let product = |i| bytes.value(bytes.get(b, i), signed) * bytes.value(bytes.get(c, i), signed);
            words.make(|i| {
                let sum: i128 = (4 * i..4 * i + 4).map(product).sum();
                words.get(a, i).wrapping_add(sum as u64)
            })
        }
        Op::Vreduce => reduce(Shape::with(shape.bits, attr >> 2 & 1), attr, a),
        // Vestimate; the verifier knows no other.
        _ => {
            let words = Shape::with(32, attr >> 2 & 1);
            let estimate = if attr >> 8 & 1 == 0 { reciprocal_u32 } else { reciprocal_root_u32 };
            words.make(|i| estimate(words.get(a, i) as u32).into())
        }
    }
}

/// Whether the operand that the attribute names first is signed, and the other.
fn signs(attr: u16) -> (bool, bool) {
    match Signs::from_bits(attr >> 4 & 3) {
        Signs::Signed => (true, true),
        Signs::Unsigned => (false, false),
        Signs::SignedUnsigned => (true, false),
        Signs::UnsignedSigned => (false, true),
    }
}

/// The nearest number that a lane can hold.
fn saturate(shape: Shape, value: i128, signed: bool, flags: &mut Flags) -> u64 {
    let (least, largest) = if signed {
        (-(1i128 << (shape.bits - 1)), (1i128 << (shape.bits - 1)) - 1)
    } else {
        (0, (1i128 << shape.bits) - 1)
    };
    let nearest = value.clamp(least, largest);
    if nearest != value {
        *flags |= Flags::SATURATED;
    }
    nearest as u64
}

fn saturating(inst: &Inst, lanes: [u64; 3], flags: &mut Flags) -> u64 {
    let shape = Shape::of(inst.attr);
    let (first, second) = signs(inst.attr);
    let [x, y, z] = lanes.map(|lane| shape.value(lane, true));
    // Half of the place below the result's last, in products that are not doubled yet.
    let half = 1i128 << (shape.bits - 2);
    let high = |product: i128| product >> (shape.bits - 1);
    match inst.op {
        Op::Vqadd => {
            let sum = shape.value(lanes[0], first) + shape.value(lanes[1], second);
            saturate(shape, sum, first, flags)
        }
        Op::Vqsub => {
            let difference = shape.value(lanes[0], first) - shape.value(lanes[1], second);
            saturate(shape, difference, first, flags)
        }
        Op::Vqshift => {
            let value = shape.value(lanes[0], first);
            saturate(shape, shifted(shape, value, amount(lanes[1]), inst.attr >> 6 & 1 != 0), second, flags)
        }
        Op::Vqdmulh => {
            let round = if inst.attr & ROUND != 0 { half } else { 0 };
            saturate(shape, high(x * y + round), true, flags)
        }
        _ => {
            let product = if inst.attr & SIGN == 0 { y * z } else { -(y * z) };
            saturate(shape, high((x << (shape.bits - 1)) + product + half), true, flags)
        }
    }
}

/// The signed low byte of a lane.
fn amount(lane: u64) -> i32 {
    i32::from(lane as i8)
}

/// The value of a lane shifted left, or right if `by` is negative. What is shifted out to the left altogether leaves a
/// number that is too large for a lane.
fn shifted(shape: Shape, value: i128, by: i32, round: bool) -> i128 {
    match by {
        0.. if by >= shape.bits as i32 => value.signum() << 100,
        0.. => value << by,
        _ => {
            // Beyond twice a lane's width nothing changes any more.
            let by = by.unsigned_abs().min(66);
            let half = if round { 1i128 << (by - 1) } else { 0 };
            (value + half) >> by
        }
    }
}

fn holds(shape: Shape, cc: VecCc, x: u64, y: u64) -> bool {
    let [a, b] = [x, y].map(|lane| shape.value(lane, true));
    match cc {
        VecCc::Eq => x == y,
        VecCc::Gts => a > b,
        VecCc::Ges => a >= b,
        VecCc::Gtu => x > y,
        VecCc::Geu => x >= y,
        VecCc::Test => x & y != 0,
    }
}

fn unary(shape: Shape, function: VecUnary, x: u64) -> u64 {
    let top = x << (64 - shape.bits);
    match function {
        VecUnary::Abs => shape.value(x, true).unsigned_abs() as u64,
        VecUnary::Clz => top.leading_zeros().min(shape.bits).into(),
        VecUnary::Cls => {
            let differ = top ^ (top as i64 >> 1) as u64;
            u64::from((differ << 1).leading_zeros().min(shape.bits - 1))
        }
        VecUnary::Popcnt => x.count_ones().into(),
        VecUnary::Bitrev => top.reverse_bits(),
    }
}

/// The lanes in one half of the operands, by number, as lanes of twice the width.
fn widened(attr: u16, value: impl Fn(u32) -> i128) -> u128 {
    let bits = 8u32 << (attr & 3);
    let first = if attr & HIGH != 0 { 64 / bits } else { 0 };
    let mask = u128::MAX >> (128 - 2 * bits);
    (0..64 / bits).fold(0, |all, i| all | (value(first + i) as u128 & mask) << (2 * bits * i))
}

/// The product of polynomials over the field of two elements.
fn carry_less(x: u64, y: u64) -> u128 {
    (0..64).filter(|i| y >> i & 1 != 0).fold(0, |product, i| product ^ u128::from(x) << i)
}

fn reduce(shape: Shape, attr: u16, a: u128) -> u128 {
    let how = Reduction::from_bits(attr >> 4 & 7);
    let signed = matches!(how, Reduction::Adds | Reduction::Mins | Reduction::Maxs);
    let lanes = (0..shape.count).map(|i| shape.value(shape.get(a, i), signed));
    let (result, bits) = match how {
        Reduction::Add => (lanes.sum(), shape.bits),
        Reduction::Adds | Reduction::Addu => (lanes.sum(), 2 * shape.bits),
        Reduction::Mins | Reduction::Minu => (lanes.min().unwrap_or(0), shape.bits),
        Reduction::Maxs | Reduction::Maxu => (lanes.max().unwrap_or(0), shape.bits),
    };
    result as u128 & u128::MAX >> (128 - bits)
}
