//! Vector operations.

use super::Run;
use crate::exec::{CpuState, Isa, Vcpu};
use crate::ir::{Inst, Op, VecKind};

impl Run<'_> {
    pub(super) fn vector(&mut self, state: &mut CpuState, inst: &Inst) {
        let bits = 8u32 << (inst.attr & 3);
        let mask = u128::from(u64::MAX >> (64 - bits));
        let lanes = 128 / bits;
        let lane = bits * (inst.imm as u32 % lanes);
        let (a, b) = (self.get_vec(state, inst.a), self.get_vec(state, inst.b));
        let by_lane = |f: fn(u64, u64) -> u64| {
            (0..lanes).fold(0, |result, i| {
                let (x, y) = ((a >> (i * bits)) as u64, (b >> (i * bits)) as u64);
                result | (u128::from(f(x, y)) & mask) << (i * bits)
            })
        };
        let value = match inst.op {
            Op::Vmov => a,
            Op::Vand => a & b,
            Op::Vor => a | b,
            Op::Vxor => a ^ b,
            Op::Vadd => by_lane(u64::wrapping_add),
            Op::Vsub => by_lane(u64::wrapping_sub),
            Op::Vdup => {
                let value = u128::from(self.get(state, inst.a)) & mask;
                (0..lanes).fold(0, |result, i| result | value << (i * bits))
            }
            Op::Vset => (a & !(mask << lane)) | (u128::from(self.get(state, inst.b)) & mask) << lane,
            Op::Vpair => u128::from(self.get(state, inst.a)) | u128::from(self.get(state, inst.b)) << 64,
            Op::Vfromlow => u128::from(self.get(state, inst.a)),
            Op::Vget => return self.set(state, inst.dst, ((a >> lane) & mask) as u64),
            // Vlow; the verifier knows no other.
            _ => return self.set(state, inst.dst, a as u64),
        };
        self.set_vec(state, inst.dst, value);
    }

    /// The length-agnostic operations on the vector file.
    pub(super) fn vlen<I: Isa>(&self, vcpu: &mut Vcpu<I>, inst: &Inst) {
        let places = self.get(&vcpu.state, inst.a);
        let length = self.get(&vcpu.state, inst.b);
        let [dst, first, second, mask] = [0, 16, 32, 48].map(|shift| (places >> shift) as u16 as usize);
        let file = &mut vcpu.state.vectors;
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
}
