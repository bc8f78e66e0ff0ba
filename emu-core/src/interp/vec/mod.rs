//! Vector operations.

mod crypto;
mod float;
mod lanes;
mod shuffle;

use super::Run;
use crate::exec::CpuState;
use crate::fp::Flags;
use crate::ir::op::Kind;
use crate::ir::{Inst, Op, Ty, VecKind};

/// The lanes of a vector that take part in an operation.
#[derive(Clone, Copy)]
struct Shape {
    /// Bits in a lane, 8 to 64.
    bits: u32,
    /// How many there are.
    count: u32,
}

impl Shape {
    /// As the attribute of an operation on integers says.
    fn of(attr: u16) -> Self {
        Self::with(8 << (attr & 3), attr >> 2 & 3)
    }

    /// Lanes of `bits` bits: all, those of the low half, or one.
    fn with(bits: u32, part: u16) -> Self {
        let count = match part {
            0 => 128 / bits,
            1 => 64 / bits,
            _ => 1,
        };
        Self { bits, count }
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// Lane `i` of `a`, zero-extended.
    fn get(self, a: u128, i: u32) -> u64 {
        (a >> (i * self.bits)) as u64 & self.mask()
    }

    /// The value of a lane as a signed or unsigned number.
    fn value(self, lane: u64, signed: bool) -> i128 {
        let unused = 64 - self.bits;
        if signed { ((lane << unused) as i64 >> unused).into() } else { (lane & self.mask()).into() }
    }

    /// The vector whose lanes are given by number; the rest is zero.
    fn make(self, mut lane: impl FnMut(u32) -> u64) -> u128 {
        let place = |i, value: u64| u128::from(value & self.mask()) << (i * self.bits);
        (0..self.count).fold(0, |all, i| all | place(i, lane(i)))
    }
}

/// The result of a vector operation; 64-bit operands and results are in the low half.
pub(super) fn evaluate(inst: &Inst, src: [u128; 3], flags: &mut Flags) -> u128 {
    let [a, b, _] = src;
    match inst.op {
        Op::Vmov => a,
        Op::Vpair => u128::from(a as u64) | b << 64,
        Op::Vlow => u128::from(a as u64),
        Op::Vfromlow if inst.ty == Ty::F64 => u128::from(a as u64),
        Op::Vfromlow => a & u128::from(inst.ty.mask()),
        Op::Vaes => crypto::aes(inst, a),
        Op::Vsha => crypto::sha(inst, src),
        op if (op as u8) >= Op::Vfadd as u8 => float::evaluate(inst, src, flags),
        _ => shuffle::evaluate(inst, src).unwrap_or_else(|| lanes::evaluate(inst, src, flags)),
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
        let mut flags = Flags::NONE;
        let value = evaluate(inst, src, &mut flags);
        state.fp_flags |= u64::from(flags.bits());
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
