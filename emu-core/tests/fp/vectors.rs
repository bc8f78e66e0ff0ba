//! Values worked out by hand from the specifications, for the choices that these leave to an architecture.

use emu_core::fp::{
    BF16, Env, F16, F32, F64, Flags, Format, NanMode, NanToInt, Round, Tininess, load_immediate,
};

use super::operands::{Random, operand, triple};
use super::{OPS, Op, soft};

/// RISC-V Zfa, table "Immediate constants".
#[test]
fn immediates_are_those_of_the_table() {
    #[rustfmt::skip]
    let half = [
        0xbc00, 0x0400, 0x0100, 0x0200, 0x1c00, 0x2000, 0x2c00, 0x3000,
        0x3400, 0x3500, 0x3600, 0x3700, 0x3800, 0x3900, 0x3a00, 0x3b00,
        0x3c00, 0x3d00, 0x3e00, 0x3f00, 0x4000, 0x4100, 0x4200, 0x4400,
        0x4800, 0x4c00, 0x5800, 0x5c00, 0x7800, 0x7c00, 0x7c00, 0x7e00,
    ];
    for (index, expected) in (0..).zip(half) {
        assert_eq!(load_immediate::<F16>(index), expected, "{index}");
        // Apart from the smallest normal number and what half precision cannot hold, all agree.
        if index != 1 && index != 29 {
            let mut flags = Flags::NONE;
            let env = Env::new(Round::NearestEven);
            assert_eq!(load_immediate::<F32>(index), env.convert::<F16, F32>(expected, &mut flags));
            assert_eq!(load_immediate::<F64>(index), env.convert::<F16, F64>(expected, &mut flags));
        }
    }
    assert_eq!((load_immediate::<F32>(1), load_immediate::<F32>(29)), (0x0080_0000, 0x4780_0000));
    let double = (0x0010_0000_0000_0000, 0x40f0_0000_0000_0000);
    assert_eq!((load_immediate::<F64>(1), load_immediate::<F64>(29)), double);
    assert_eq!(load_immediate::<F64>(255), load_immediate::<F64>(31));
}

/// The RISC-V environment with the bits of `fflags`.
#[test]
fn flags_have_the_bits_of_fflags() {
    let bits = [Flags::INEXACT, Flags::UNDERFLOW, Flags::OVERFLOW, Flags::DIV_BY_ZERO, Flags::INVALID];
    assert_eq!(bits.map(Flags::bits), [1, 2, 4, 8, 16]);
    assert_eq!(Flags::from_bits(0xff).bits(), 0x7f, "and two that other architectures have");
    let both = Flags::OVERFLOW | Flags::INEXACT;
    assert!(both.contains(Flags::INEXACT) && !Flags::INEXACT.contains(both));
}

/// RISC-V F, "Single-Precision Floating-Point Conversion and Move Instructions": ranges of valid inputs, and
/// unsigned conversions of negative numbers that round to zero, which are valid and inexact.
#[test]
fn conversions_to_integers_at_the_limits() {
    let convert = |round, a: f32| {
        let mut flags = Flags::NONE;
        (Env::new(round).to_int::<F32, u32>(a.to_bits(), &mut flags), flags)
    };
    assert_eq!(convert(Round::TowardZero, -0.9), (0, Flags::INEXACT));
    assert_eq!(convert(Round::NearestEven, -0.5), (0, Flags::INEXACT));
    assert_eq!(convert(Round::NearestMaxMagnitude, -0.5), (0, Flags::INVALID));
    assert_eq!(convert(Round::Down, -0.1), (0, Flags::INVALID));
    assert_eq!(convert(Round::Up, -0.9), (0, Flags::INEXACT));
    assert_eq!(convert(Round::TowardZero, -1.0), (0, Flags::INVALID));
    assert_eq!(convert(Round::TowardZero, -0.0), (0, Flags::NONE));
    assert_eq!(convert(Round::TowardZero, 4294967296.0), (u32::MAX, Flags::INVALID));
    assert_eq!(convert(Round::TowardZero, f32::NEG_INFINITY), (0, Flags::INVALID));
    assert_eq!(convert(Round::TowardZero, -f32::NAN), (u32::MAX, Flags::INVALID));
    let mut flags = Flags::NONE;
    let env = Env::new(Round::NearestEven);
    assert_eq!(env.to_int::<F64, i32>(2147483647.5f64.to_bits(), &mut flags), i32::MAX);
    assert_eq!(flags, Flags::INVALID);
    let mut flags = Flags::NONE;
    assert_eq!(env.to_int::<F64, i32>((-2147483648.5f64).to_bits(), &mut flags), i32::MIN);
    assert_eq!(flags, Flags::INEXACT);
}

/// A product just below the smallest normal number that rounds to it: the two ways to detect tininess.
#[test]
fn tininess_is_detected_where_the_environment_says() {
    // (2 − 2^−23) · 2^−127 = 2^−126 − 2^−150: below, and halfway to the next number of 24 bits.
    let (a, b) = (0x3fff_ffff, 0x0040_0000);
    let after = Env::new(Round::NearestEven);
    let before = Env { tininess: Tininess::BeforeRounding, ..after };
    let underflow = Flags::UNDERFLOW | Flags::INEXACT;
    assert_eq!(soft::<F32>(Op::Mul, after, [a, b, 0]), (0x0080_0000, underflow));
    assert_eq!(soft::<F32>(Op::Mul, before, [a, b, 0]), (0x0080_0000, underflow));
    // 2^−126 − 2^−152 rounds to 2^−126 in 24 bits too.
    let [a, b, c] = [0x0080_0000, 0x3f80_0000, 0x8000_0001];
    let quarter = soft::<F32>(Op::Fma, after, [c, 0x3e80_0000, a]);
    assert_eq!(quarter, (0x0080_0000, Flags::INEXACT));
    assert_eq!(soft::<F32>(Op::Fma, before, [c, 0x3e80_0000, a]), (0x0080_0000, underflow));
    // An exact subnormal raises nothing either way.
    assert_eq!(soft::<F32>(Op::Fma, before, [a, b, c]), (0x007f_ffff, Flags::NONE));
}

/// Arm `FPRound` with FZ: a result that is tiny before rounding becomes zero and raises underflow alone.
#[test]
fn tiny_results_are_flushed() {
    let env = Env { flush_outputs: true, ..Env::new(Round::Up) };
    let half = 0x3f00_0000;
    assert_eq!(soft::<F32>(Op::Mul, env, [0x0080_0000, half, 0]), (0, Flags::UNDERFLOW));
    assert_eq!(soft::<F32>(Op::Mul, env, [0x8080_0001, half, 0]), (0x8000_0000, Flags::UNDERFLOW));
    assert_eq!(soft::<F32>(Op::Mul, env, [0x0100_0000, half, 0]), (0x0080_0000, Flags::NONE));
    // A subnormal operand that is not flushed itself is a tiny result of adding nothing to it.
    assert_eq!(soft::<F32>(Op::Add, env, [0x0000_0001, 0, 0]), (0, Flags::UNDERFLOW));
}

fn check_flushed_inputs<F: Format>(seed: u64, signals: bool) {
    let mut rng = Random(seed);
    let plain = Env { nan: NanMode::Propagate, ..Env::new(Round::NearestEven) };
    let flushing = Env { flush_inputs: true, ..plain };
    for _ in 0..50_000 {
        let operands = triple::<F>(&mut rng);
        let is_subnormal = |x: u64| x & F::INFINITY == 0 && x & F::FRACTION != 0;
        let flushed = operands.map(|x| if is_subnormal(x) { x & F::SIGN } else { x });
        for op in OPS {
            let used = match op {
                Op::Sqrt => 1,
                Op::Fma => 3,
                _ => 2,
            };
            let (bits, mut flags) = soft::<F>(op, plain, flushed);
            if signals && operands[..used].iter().any(|&x| is_subnormal(x)) {
                flags |= Flags::INPUT_DENORMAL;
            }
            assert_eq!(soft::<F>(op, flushing, operands), (bits, flags), "{op:?} {operands:x?}");
        }
    }
}

/// Arm `FPUnpack` with FZ, or FZ16, which does not raise input denormal.
#[test]
fn subnormal_operands_are_flushed() {
    check_flushed_inputs::<F16>(50, false);
    check_flushed_inputs::<BF16>(51, true);
    check_flushed_inputs::<F32>(52, true);
    check_flushed_inputs::<F64>(53, true);
    let env = Env { flush_inputs: true, ..Env::new(Round::Up) };
    let mut flags = Flags::NONE;
    assert!(env.eq::<F32>(0x0000_0001, 0x8000_0002, &mut flags));
    assert_eq!(flags, Flags::INPUT_DENORMAL);
    let mut flags = Flags::NONE;
    assert_eq!(env.to_int::<F64, i32>(1, &mut flags), 0);
    assert_eq!(env.round_to_integral_exact::<F64>(1, &mut flags), 0);
    assert_eq!(env.convert::<F64, F32>(F64::SIGN | 1, &mut flags), 0x8000_0000);
    assert_eq!(env.maximum::<F64>(1, F64::SIGN, &mut flags), 0);
    assert_eq!(env.to_i32_modular(1, &mut flags), 0);
    assert_eq!(flags, Flags::INPUT_DENORMAL);
}

/// The ends of the range in every direction.
#[test]
fn overflow_goes_where_the_direction_says() {
    let both = Flags::OVERFLOW | Flags::INEXACT;
    for (round, positive, negative) in [
        (Round::NearestEven, 0x7c00, 0xfc00),
        (Round::NearestMaxMagnitude, 0x7c00, 0xfc00),
        (Round::TowardZero, 0x7bff, 0xfbff),
        (Round::ToOdd, 0x7bff, 0xfbff),
        (Round::Down, 0x7bff, 0xfc00),
        (Round::Up, 0x7c00, 0xfbff),
    ] {
        let env = Env::new(round);
        assert_eq!(soft::<F16>(Op::Mul, env, [0x7bff, 0x4000, 0]), (positive, both), "{round:?}");
        assert_eq!(soft::<F16>(Op::Mul, env, [0x7bff, 0xc000, 0]), (negative, both), "{round:?}");
    }
}

/// Rounding to odd and then to nearest is rounding to nearest once.
#[test]
fn rounding_to_odd_is_safe_before_narrowing() {
    let mut rng = Random(54);
    let (odd, nearest) = (Env::new(Round::ToOdd), Env::new(Round::NearestEven));
    for _ in 0..200_000 {
        let a = operand::<F64>(&mut rng);
        let flags = &mut Flags::default();
        let twice = nearest.convert::<F32, F16>(odd.convert::<F64, F32>(a, flags), flags);
        assert_eq!(twice, nearest.convert::<F64, F16>(a, flags), "{a:x}");
    }
}

/// No operand makes an operation panic, whatever the environment.
#[test]
fn hostile_operands_are_harmless() {
    let mut rng = Random(55);
    let choose = |rng: &mut Random| rng.below(2) == 0;
    for _ in 0..200_000 {
        let env = Env {
            round: super::ROUNDS[rng.below(6) as usize],
            nan: if choose(&mut rng) { NanMode::Canonical } else { NanMode::Propagate },
            nan_to_int: if choose(&mut rng) { NanToInt::Max } else { NanToInt::Zero },
            tininess: if choose(&mut rng) { Tininess::BeforeRounding } else { Tininess::AfterRounding },
            flush_inputs: choose(&mut rng),
            flush_outputs: choose(&mut rng),
        };
        let [a, b, c] = [rng.bits(), rng.bits(), rng.bits()];
        for op in OPS {
            soft::<F16>(op, env, [a, b, c]);
            soft::<BF16>(op, env, [a, b, c]);
            soft::<F32>(op, env, [a, b, c]);
            soft::<F64>(op, env, [a, b, c]);
        }
        let flags = &mut Flags::default();
        env.to_int::<F64, u64>(a, flags);
        env.to_int::<BF16, i8>(a as u16, flags);
        env.from_int::<F16, u64>(a, flags);
        env.round_to_integral_exact::<F32>(a as u32, flags);
        env.to_i32_modular(a, flags);
        env.min_num::<F64>(a, b, flags);
        load_immediate::<F16>(a as u8);
    }
}
