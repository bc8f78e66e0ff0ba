//! Vector operations.

use super::Run;
use crate::exec::CpuState;
use crate::ir::op::Kind;
use crate::ir::{Inst, Op, VecKind};

/// The result of a vector operation; 64-bit operands and results are in the low half.
pub fn evaluate(inst: &Inst, [a, b, _]: [u128; 3]) -> u128 {
    let bits = 8u32 << (inst.attr & 3);
    let mask = u128::from(u64::MAX >> (64 - bits));
    let lanes = 128 / bits;
    let lane = bits * (inst.imm as u32 % lanes);
    let by_lane = |f: fn(u64, u64) -> u64| {
        (0..lanes).fold(0, |result, i| {
            let (x, y) = ((a >> (i * bits)) as u64, (b >> (i * bits)) as u64);
            result | (u128::from(f(x, y)) & mask) << (i * bits)
        })
    };
    match inst.op {
        Op::Vmov => a,
        Op::Vand => a & b,
        Op::Vor => a | b,
        Op::Vxor => a ^ b,
        Op::Vadd => by_lane(u64::wrapping_add),
        Op::Vsub => by_lane(u64::wrapping_sub),
        Op::Vdup => (0..lanes).fold(0, |result, i| result | (a & mask) << (i * bits)),
        Op::Vget => (a >> lane) & mask,
        Op::Vset => (a & !(mask << lane)) | (b & mask) << lane,
        Op::Vpair => u128::from(a as u64) | b << 64,
        // Vlow, Vfromlow; the verifier knows no other.
        _ => u128::from(a as u64),
    }
}

impl Run<'_> {
    pub(super) fn vector(&mut self, state: &mut CpuState, inst: &Inst) {
        let kinds = inst.op.info().src;
        let src =
            [(kinds[0], inst.a), (kinds[1], inst.b), (kinds[2], inst.c)].map(|(kind, val)| match kind {
                Kind::V => self.get_vec(state, val),
                _ => self.get(state, val).into(),
            });
        let value = evaluate(inst, src);
        match inst.op.info().dst {
            Kind::V => self.set_vec(state, inst.dst, value),
            _ => self.set(state, inst.dst, value as u64),
        }
    }

    /// The length-agnostic operations on the vector file.
    pub(super) fn vlen(&self, state: &mut CpuState, inst: &Inst) {
        let (places, length) = (self.get(state, inst.a), self.get(state, inst.b));
        vlen(&mut state.vectors, inst, places, length);
    }
}

/// [`Op::Vlen`] on a vector file, with the values of its operands.
pub fn vlen(file: &mut [u8], inst: &Inst, places: u64, length: u64) {
    let [dst, first, second, mask] = [0, 16, 32, 48].map(|shift| (places >> shift) as u16 as usize);
    let bytes = 1usize << (inst.attr & 3);
    let masked = inst.attr & 4 != 0;
    let kind = VecKind::from_bits(inst.attr >> 8 & 15);
    for i in 0..usize::try_from(length).unwrap_or(usize::MAX).min(file.len() / bytes) {
        let active = !masked || file.get(mask + i / 8).is_some_and(|bits| bits >> (i % 8) & 1 != 0);
        let read = |at: usize| -> u64 {
            let unit = file.get(at + i * bytes..at + (i + 1) * bytes).unwrap_or_default();
            unit.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
        };
        let (a, b) = (read(first), read(second));
        let value = match kind {
            VecKind::Add => a.wrapping_add(b),
            VecKind::Sub => a.wrapping_sub(b),
            VecKind::And => a & b,
            VecKind::Or => a | b,
            VecKind::Xor => a ^ b,
        };
        if active && let Some(unit) = file.get_mut(dst + i * bytes..dst + (i + 1) * bytes) {
            unit.copy_from_slice(&value.to_le_bytes()[..bytes]);
        }
    }
}
