//! Floating-point operations, by the soft core.

use super::Run;
use crate::exec::CpuState;
use crate::fp::{self, Env, F16, F32, F64, Flags, Format, NanMode, NanToInt, Round, Tininess};
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

fn env(attr: u16) -> Env {
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

fn typed<F: Format>(inst: &Inst, src: [u64; 3], flags: &mut Flags) -> u64 {
    let env = env(inst.attr);
    let [a, b, c] = src.map(F::truncate);
    let selector = inst.attr >> 8;
    let negated = |value: F::Bits, bit: u16| {
        if selector & bit != 0 { F::truncate(value.into() ^ F::SIGN) } else { value }
    };
    let bits: F::Bits = match inst.op {
        Op::Fadd => env.add::<F>(a, b, flags),
        Op::Fsub => env.sub::<F>(a, b, flags),
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
        Op::Fclass => return fp::class::<F>(a).into(),
        Op::Fcvt => match selector & 3 {
            0 => env.convert::<F16, F>(F16::truncate(src[0]), flags),
            1 => env.convert::<F32, F>(F32::truncate(src[0]), flags),
            _ => env.convert::<F64, F>(src[0], flags),
        },
        Op::Ftoint => {
            let env =
                Env { nan_to_int: if selector & 4 != 0 { NanToInt::Zero } else { NanToInt::Max }, ..env };
            return match ToInt::from_bits(selector & 3) {
                ToInt::I32 => env.to_int::<F, i32>(a, flags) as u32 as u64,
                ToInt::U32 => env.to_int::<F, u32>(a, flags).into(),
                ToInt::I64 => env.to_int::<F, i64>(a, flags) as u64,
                ToInt::U64 => env.to_int::<F, u64>(a, flags),
            };
        }
        Op::Ffromint => match ToInt::from_bits(selector & 3) {
            ToInt::I32 => env.from_int::<F, i32>(src[0] as i32, flags),
            ToInt::U32 => env.from_int::<F, u32>(src[0] as u32, flags),
            ToInt::I64 => env.from_int::<F, i64>(src[0] as i64, flags),
            ToInt::U64 => env.from_int::<F, u64>(src[0], flags),
        },
        // The verifier knows no other.
        _ => return 0,
    };
    bits.into()
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
