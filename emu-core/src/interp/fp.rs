//! Floating-point operations, by the soft core.

use std::cmp::Ordering;

use super::Run;
use crate::exec::CpuState;
use crate::fp::{Env, F16, F32, F64, Flags, Format, NanMode, NanToInt, Round, Tininess};
use crate::ir::{FMinMax, FpAttr, Inst, Op, Sgnj, ToInt, Ty};

impl Run<'_> {
    pub(super) fn fp(&mut self, state: &mut CpuState, inst: &Inst) {
        let src = [inst.a, inst.b, inst.c].map(|val| self.get(state, val));
        let mut flags = Flags::NONE;
        let value = evaluate(inst, src, &mut flags);
        state.fp_flags |= u64::from(flags.bits());
        self.set(state, inst.dst, value);
    }
}

/// The result of a floating-point operation on the values of its operands; exceptions accumulate in `flags`.
pub fn evaluate(inst: &Inst, src: [u64; 3], flags: &mut Flags) -> u64 {
    match inst.op {
        Op::Fmov | Op::Fbits | Op::Ffrom => src[0],
        Op::Fcvtmod => env(inst.attr).to_i32_modular(src[0], flags) as i64 as u64,
        _ => match inst.ty {
            Ty::F16 => typed::<F16>(inst, src, flags),
            Ty::F32 => typed::<F32>(inst, src, flags),
            _ => typed::<F64>(inst, src, flags),
        },
    }
}

/// The environment that an attribute describes.
pub(super) fn env(attr: u16) -> Env {
    const ROUND: [Round; 8] = [
        Round::NearestEven,
        Round::TowardZero,
        Round::Down,
        Round::Up,
        Round::NearestMaxMagnitude,
        Round::ToOdd,
        Round::NearestEven,
        Round::NearestEven,
    ];
    let attr = FpAttr::from_bits(attr);
    Env {
        nan: if attr.propagate_nan { NanMode::Propagate } else { NanMode::Canonical },
        nan_to_int: NanToInt::Max,
        tininess: if attr.tiny_before { Tininess::BeforeRounding } else { Tininess::AfterRounding },
        flush_inputs: attr.flush,
        flush_outputs: attr.flush,
        ..Env::new(ROUND[usize::from(attr.round & 7)])
    }
}

/// [`evaluate`] in one format. The lanes of vectors come here, too, with selectors that scalar operations do not have.
pub(super) fn typed<F: Format>(inst: &Inst, src: [u64; 3], flags: &mut Flags) -> u64 {
    let env = env(inst.attr);
    let [a, b, c] = src.map(F::truncate);
    let selector = inst.attr >> 8;
    let negated = |value: F::Bits, bit: u16| {
        if selector & bit != 0 { F::truncate(value.into() ^ F::SIGN) } else { value }
    };
    let bits: F::Bits = match inst.op {
        Op::Fadd => env.add::<F>(a, b, flags),
        Op::Fsub => env.sub::<F>(a, b, flags),
        Op::Fmul if selector & 1 != 0 => env.mul_extended::<F>(a, b, flags),
        Op::Fmul => env.mul::<F>(a, b, flags),
        Op::Fdiv => env.div::<F>(a, b, flags),
        Op::Fsqrt => env.sqrt::<F>(a, flags),
        Op::Fma => env.fma::<F>(negated(a, 1), b, negated(c, 2), flags),
        Op::Fmin => match FMinMax::from_bits(selector & 3) {
            FMinMax::Number => env.minimum_number::<F>(a, b, flags),
            FMinMax::Propagate => env.minimum::<F>(a, b, flags),
            FMinMax::Num2008 => env.min_num::<F>(a, b, flags),
        },
        Op::Fmax => match FMinMax::from_bits(selector & 3) {
            FMinMax::Number => env.maximum_number::<F>(a, b, flags),
            FMinMax::Propagate => env.maximum::<F>(a, b, flags),
            FMinMax::Num2008 => env.max_num::<F>(a, b, flags),
        },
        Op::Fround if selector & 6 != 0 => {
            env.round_to_sized_integral::<F>(a, if selector & 2 != 0 { 32 } else { 64 }, flags)
        }
        Op::Fround if selector & 1 != 0 => env.round_to_integral_exact::<F>(a, flags),
        Op::Fround => env.round_to_integral::<F>(a, flags),
        Op::Fsgnj => {
            let (a, b) = (a.into(), b.into());
            let sign = match Sgnj::from_bits(selector & 3) {
                Sgnj::Copy => b,
                Sgnj::Not => !b,
                Sgnj::Xor => a ^ b,
            };
            F::truncate((a & !F::SIGN) | (sign & F::SIGN))
        }
        Op::Fbox => return src[0] | !inst.ty.mask(),
        Op::Funbox => {
            return if src[0] | inst.ty.mask() == u64::MAX { a.into() } else { canonical_nan(inst.ty) };
        }
        Op::Fcmp => return compare::<F>(env, selector, a, b, flags).into(),
        Op::Fnzcv => {
            let order = if selector & 4 != 0 {
                env.compare_quiet::<F>(a, b, flags)
            } else {
                env.compare_signaling::<F>(a, b, flags)
            };
            return match order {
                Some(Ordering::Less) => 0b1000 << 28,
                Some(Ordering::Equal) => 0b0110 << 28,
                Some(Ordering::Greater) => 0b0010 << 28,
                None => 0b0011 << 28,
            };
        }
        Op::Fcvt => match selector & 3 {
            0 => convert::<F16, F>(env, inst.attr, src[0], flags),
            1 => convert::<F32, F>(env, inst.attr, src[0], flags),
            _ => convert::<F64, F>(env, inst.attr, src[0], flags),
        },
        Op::Ftoint => {
            let (env, fraction) = (for_integers(env, inst.attr), inst.imm as u32);
            return match ToInt::from_bits(selector & 3) {
                ToInt::I32 => env.to_fixed::<F, i32>(a, fraction, flags) as u32 as u64,
                ToInt::U32 => env.to_fixed::<F, u32>(a, fraction, flags).into(),
                ToInt::I64 => env.to_fixed::<F, i64>(a, fraction, flags) as u64,
                ToInt::U64 => env.to_fixed::<F, u64>(a, fraction, flags),
            };
        }
        Op::Ffromint => {
            let fraction = inst.imm as u32;
            match ToInt::from_bits(selector & 3) {
                ToInt::I32 => env.from_fixed::<F, i32>(src[0] as i32, fraction, flags),
                ToInt::U32 => env.from_fixed::<F, u32>(src[0] as u32, fraction, flags),
                ToInt::I64 => env.from_fixed::<F, i64>(src[0] as i64, fraction, flags),
                ToInt::U64 => env.from_fixed::<F, u64>(src[0], fraction, flags),
            }
        }
        // The verifier knows no other.
        _ => return 0,
    };
    bits.into()
}

/// The environment of a conversion to integers.
pub(super) fn for_integers(env: Env, attr: u16) -> Env {
    Env { nan_to_int: if attr >> 10 & 1 != 0 { NanToInt::Zero } else { NanToInt::Max }, ..env }
}

/// Converts between formats. Binary16 numbers are never flushed there (DDI 0487, `FPConvert`).
fn convert<From: Format, To: Format>(env: Env, attr: u16, a: u64, flags: &mut Flags) -> To::Bits {
    const HALF: u32 = F16::FRACTION_BITS;
    let env = Env {
        flush_inputs: env.flush_inputs && From::FRACTION_BITS != HALF,
        flush_outputs: env.flush_outputs && To::FRACTION_BITS != HALF,
        ..env
    };
    let alternative = attr >> 11 & 1 != 0;
    match (From::FRACTION_BITS, To::FRACTION_BITS) {
        (HALF, HALF) => env.convert::<From, To>(From::truncate(a), flags),
        (HALF, _) if alternative => env.from_alternative_half::<To>(a as u16, flags),
        (_, HALF) if alternative => {
            To::truncate(env.to_alternative_half::<From>(From::truncate(a), flags).into())
        }
        _ => env.convert::<From, To>(From::truncate(a), flags),
    }
}

fn compare<F: Format>(env: Env, selector: u16, a: F::Bits, b: F::Bits, flags: &mut Flags) -> bool {
    let quiet = selector & 4 != 0;
    match (selector & 3, quiet) {
        (0, _) => env.eq::<F>(a, b, flags),
        (1, false) => env.lt::<F>(a, b, flags),
        (1, true) => env.lt_quiet::<F>(a, b, flags),
        (2, false) => env.le::<F>(a, b, flags),
        (2, true) => env.le_quiet::<F>(a, b, flags),
        (_, false) => env.compare_signaling::<F>(a, b, flags).is_none(),
        (_, true) => env.compare_quiet::<F>(a, b, flags).is_none(),
    }
}

/// The positive quiet NaN without payload.
pub fn canonical_nan(ty: Ty) -> u64 {
    match ty {
        Ty::F16 => 0x7e00,
        Ty::F32 => 0x7fc0_0000,
        _ => 0x7ff8_0000_0000_0000,
    }
}
