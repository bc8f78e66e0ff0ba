//! Floating-point operations, lane by lane: those on scalars, in the lanes that take part.

use super::Shape;
use crate::fp::{F16, F32, F64, Flags, Format};
use crate::interp::fp;
use crate::ir::{Estimate, Inst, Op, Ty};

/// The result of a floating-point operation.
pub(super) fn evaluate(inst: &Inst, src: [u128; 3], flags: &mut Flags) -> u128 {
    match inst.ty {
        Ty::F16 => typed::<F16>(inst, src, flags),
        Ty::F32 => typed::<F32>(inst, src, flags),
        _ => typed::<F64>(inst, src, flags),
    }
}

/// What the attribute says of the lanes.
fn part(attr: u16) -> u16 {
    attr >> 6 & 3
}

fn typed<F: Format>(inst: &Inst, src: [u128; 3], flags: &mut Flags) -> u128 {
    let shape = Shape::with(8 * inst.ty.bytes() as u32, part(inst.attr));
    let scalar = match inst.op {
        Op::Vfadd => Op::Fadd,
        Op::Vfsub => Op::Fsub,
        Op::Vfmul => Op::Fmul,
        Op::Vfdiv => Op::Fdiv,
        Op::Vfsqrt => Op::Fsqrt,
        Op::Vfma => Op::Fma,
        Op::Vfmin => Op::Fmin,
        Op::Vfmax => Op::Fmax,
        Op::Vfround => Op::Fround,
        Op::Vfcmp => Op::Fcmp,
        Op::Vfcvt => return convert::<F>(inst, src[0], flags),
        _ => return shape.make(|i| other::<F>(inst, src.map(|v| shape.get(v, i)), flags)),
    };
    let scalar = Inst { op: scalar, ..*inst };
    shape.make(|i| {
        let lane = fp::typed::<F>(&scalar, src.map(|v| shape.get(v, i)), flags);
        if inst.op == Op::Vfcmp { lane.wrapping_neg() } else { lane }
    })
}

/// A lane of an operation that scalars do not have in this form.
fn other<F: Format>(inst: &Inst, [x, y, _]: [u64; 3], flags: &mut Flags) -> u64 {
    let env = fp::env(inst.attr);
    let unsigned = inst.attr >> 8 & 1 != 0;
    let (a, b, fraction) = (F::truncate(x), F::truncate(y), inst.imm as u32);
    let result: F::Bits = match inst.op {
        Op::Vfestimate => match Estimate::from_bits(inst.attr >> 8 & 3) {
            Estimate::Reciprocal => env.reciprocal_estimate::<F>(a, flags),
            Estimate::ReciprocalRoot => env.reciprocal_root_estimate::<F>(a, flags),
            Estimate::Exponent => env.reciprocal_exponent::<F>(a, flags),
        },
        Op::Vfstep if inst.attr >> 8 & 1 == 0 => env.reciprocal_step::<F>(a, b, flags),
        Op::Vfstep => env.reciprocal_root_step::<F>(a, b, flags),
        Op::Vffromint => match (inst.ty, unsigned) {
            (Ty::F16, false) => env.from_fixed::<F, i16>(x as i16, fraction, flags),
            (Ty::F16, true) => env.from_fixed::<F, u16>(x as u16, fraction, flags),
            (Ty::F32, false) => env.from_fixed::<F, i32>(x as i32, fraction, flags),
            (Ty::F32, true) => env.from_fixed::<F, u32>(x as u32, fraction, flags),
            (_, false) => env.from_fixed::<F, i64>(x as i64, fraction, flags),
            (_, true) => env.from_fixed::<F, u64>(x, fraction, flags),
        },
        // Vftoint; the verifier knows no other.
        _ => {
            let env = fp::for_integers(env, inst.attr);
            return match (inst.ty, unsigned) {
                (Ty::F16, false) => env.to_fixed::<F, i16>(a, fraction, flags) as u64,
                (Ty::F16, true) => env.to_fixed::<F, u16>(a, fraction, flags).into(),
                (Ty::F32, false) => env.to_fixed::<F, i32>(a, fraction, flags) as u64,
                (Ty::F32, true) => env.to_fixed::<F, u32>(a, fraction, flags).into(),
                (_, false) => env.to_fixed::<F, i64>(a, fraction, flags) as u64,
                (_, true) => env.to_fixed::<F, u64>(a, fraction, flags),
            };
        }
    };
    result.into()
}

/// Converts between formats: as many lanes as there are of the wider one.
fn convert<To: Format>(inst: &Inst, a: u128, flags: &mut Flags) -> u128 {
    const RAW: u16 = 1 << 12;
    const HIGH: u16 = 1 << 10;
    let from_bits = 16 << (inst.attr >> 8 & 3);
    let to_bits = 8 * inst.ty.bytes() as u32;
    let count = Shape::with(from_bits.max(to_bits), part(inst.attr)).count;
    let (from, to) = (Shape { bits: from_bits, count }, Shape { bits: to_bits, count });
    let a = if to_bits > from_bits && inst.attr & HIGH != 0 { a >> 64 } else { a };
    let raw = inst.attr & RAW != 0 && to_bits > from_bits;
    let (env, scalar) = (fp::env(inst.attr), Inst { op: Op::Fcvt, ..*inst });
    to.make(|i| {
        let lane = from.get(a, i);
        match from_bits {
            _ if !raw => fp::typed::<To>(&scalar, [lane, 0, 0], flags),
            16 => env.widen::<F16, To>(lane as u16, flags).into(),
            _ => env.widen::<F32, To>(lane as u32, flags).into(),
        }
    })
}
