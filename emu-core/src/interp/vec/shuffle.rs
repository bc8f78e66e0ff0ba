//! Operations that move bits, and bitwise logic.

use super::Shape;
use crate::ir::{Inst, Op, Shuffle};

/// The result of an operation that does not compute; none for others.
pub(super) fn evaluate(inst: &Inst, [a, b, c]: [u128; 3]) -> Option<u128> {
    let shape = Shape::of(inst.attr);
    let half = inst.attr >> 2 & 1 != 0;
    let whole = if half { u128::from(u64::MAX) } else { u128::MAX };
    let bytes = if half { 8 } else { 16 };
    let in_part = Shape::with(shape.bits, half.into());
    // The number of a lane of a whole vector, and where it is.
    let lane = |number: i32| number as u32 & (128 / shape.bits - 1);
    let at = |number: i32| lane(number) * shape.bits;
    let mask = u128::from(shape.mask());
    Some(match inst.op {
        Op::Vand => a & b & whole,
        Op::Vandn => a & !b & whole,
        Op::Vor => (a | b) & whole,
        Op::Vxor => (a ^ b) & whole,
        Op::Vselect => (a & b | !a & c) & whole,
        Op::Vshuffle => shuffle(in_part, Shuffle::from_bits(inst.attr >> 4 & 7), a, b),
        Op::Vext => {
            let by = 8 * (inst.imm as u32 & (bytes - 1));
            let low = (a & whole) >> by;
            if by == 0 { low } else { (low | b << (8 * bytes - by)) & whole }
        }
        Op::Vrev => {
            let unit = 16u32 << (inst.attr >> 4 & 3);
            let last = (unit / shape.bits).saturating_sub(1);
            in_part.make(|i| shape.get(a, i ^ last))
        }
        Op::Vtbl => {
            let (table, indices) = (a.to_le_bytes(), b.to_le_bytes());
            let mut result = [0; 16];
            for (byte, index) in result.iter_mut().zip(indices).take(bytes as usize) {
                let index = usize::try_from(i32::from(index) - inst.imm).ok();
                *byte = index.and_then(|index| table.get(index)).copied().unwrap_or(0);
            }
            u128::from_le_bytes(result)
        }
        Op::Vsplat => shape.make(|_| shape.get(a, lane(inst.imm))),
        Op::Vdup => shape.make(|_| a as u64),
        Op::Vget => shape.get(a, lane(inst.imm)).into(),
        Op::Vset => a & !(mask << at(inst.imm)) | (b & mask) << at(inst.imm),
        Op::Vinsert => {
            let from = shape.get(b, lane(inst.imm >> 8));
            a & !(mask << at(inst.imm)) | u128::from(from) << at(inst.imm)
        }
        _ => return None,
    })
}

fn shuffle(shape: Shape, kind: Shuffle, a: u128, b: u128) -> u128 {
    let count = shape.count;
    let alternately = |i: u32, even: u32, odd: u32| {
        if i & 1 == 0 { shape.get(a, even) } else { shape.get(b, odd) }
    };
    let either = |n: u32| if n < count { shape.get(a, n) } else { shape.get(b, n - count) };
    shape.make(|i| match kind {
        Shuffle::Zip1 => alternately(i, i / 2, i / 2),
        Shuffle::Zip2 => alternately(i, (count + i) / 2, (count + i) / 2),
        Shuffle::Uzp1 => either(2 * i),
        Shuffle::Uzp2 => either(2 * i + 1),
        Shuffle::Trn1 => alternately(i, i, i & !1),
        Shuffle::Trn2 => alternately(i, i + 1, i),
    })
}
