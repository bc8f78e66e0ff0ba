//! Conversions to and from integers, and rounding to integral numbers, against 128-bit integer arithmetic.

use std::fmt::Debug;

use emu_core::fp::{BF16, Env, F16, F32, F64, Flags, Format, Int, NanToInt, Round};

use super::operands::{Random, operand};
use super::reference::{Exact, decode, rounded};
use super::{ROUNDS, is_nan, is_signaling};

/// An integer type and its range.
trait Range: Int + PartialEq + Debug + TryFrom<i128> + Into<i128> {
    const RANGE: (i128, i128);
}

macro_rules! range {
    ($($int:ty),*) => {$(
        impl Range for $int {
            const RANGE: (i128, i128) = (<$int>::MIN as i128, <$int>::MAX as i128);
        }
    )*};
}

range!(i8, u8, i16, u16, i32, u32, i64, u64);

/// The finite number rounded to an integer, and whether that is inexact. From 2^70 on the result is any
/// number out of all ranges.
fn to_integer<F: Format>(round: Round, bits: u64) -> (i128, bool) {
    let negative = bits & F::SIGN != 0;
    let (m, e) = decode::<F>(bits & !F::SIGN);
    let (floor, twice_fraction) = match e {
        _ if m == 0 => (0, 0),
        0..70 => ((m << e) as i128, 0),
        70.. => (i128::MAX / 2, 0),
        // The fraction is not zero and less than a half.
        ..-100 => (0, 1),
        _ => {
            let (unit, half) = (1i128 << -e, 1i128 << (-e - 1));
            let m = m as i128;
            let rest = m % unit;
            (m / unit, if rest == 0 { 0 } else { 2 + rest.cmp(&half) as i128 })
        }
    };
    // 0 for none, then below, at and above a half.
    let up = match round {
        Round::NearestEven => twice_fraction == 3 || twice_fraction == 2 && floor % 2 == 1,
        Round::NearestMaxMagnitude => twice_fraction >= 2,
        Round::TowardZero => false,
        Round::Down => negative && twice_fraction > 0,
        Round::Up => !negative && twice_fraction > 0,
        Round::ToOdd => twice_fraction > 0 && floor % 2 == 0,
    };
    let magnitude = floor + i128::from(up);
    (if negative { -magnitude } else { magnitude }, twice_fraction > 0)
}

fn check_to_int<F: Format, I: Range>(a: u64) {
    for round in ROUNDS {
        let (smallest, largest) = I::RANGE;
        let (value, flags) = if is_nan::<F>(a) {
            (largest, Flags::INVALID)
        } else if a & !F::SIGN == F::INFINITY {
            (if a & F::SIGN != 0 { smallest } else { largest }, Flags::INVALID)
        } else {
            let (value, inexact) = to_integer::<F>(round, a);
            if value < smallest || value > largest {
                (value.clamp(smallest, largest), Flags::INVALID)
            } else {
                (value, if inexact { Flags::INEXACT } else { Flags::NONE })
            }
        };
        let mut raised = Flags::NONE;
        let result = Env::new(round).to_int::<F, I>(F::truncate(a), &mut raised);
        assert_eq!((result.into(), raised), (value, flags), "{round:?} {a:x} {}", std::any::type_name::<I>());
    }
}

fn check_all_to_int<F: Format>(a: u64) {
    check_to_int::<F, i8>(a);
    check_to_int::<F, u8>(a);
    check_to_int::<F, i16>(a);
    check_to_int::<F, u16>(a);
    check_to_int::<F, i32>(a);
    check_to_int::<F, u32>(a);
    check_to_int::<F, i64>(a);
    check_to_int::<F, u64>(a);
}

/// A number near a power of two, or a half, or the limit of some type.
fn near_limit<F: Format>(rng: &mut Random) -> u64 {
    let exponent = rng.below(67) as i32 - 2;
    let field = (exponent.min(F::EMAX) + F::EMAX) as u64;
    let power = field << F::FRACTION_BITS;
    let step = match rng.below(3) {
        0 => rng.below(4),
        1 => rng.below(4) << (F::FRACTION_BITS - 2),
        _ => rng.bits() & F::FRACTION & !0 << rng.below(u64::from(F::FRACTION_BITS)),
    };
    let magnitude = if rng.below(2) == 0 { power + step } else { power - step };
    rng.bits() & F::SIGN | magnitude
}

#[test]
fn every_half_converts_to_integers() {
    for a in 0..=u64::from(u16::MAX) {
        check_all_to_int::<F16>(a);
    }
}

#[test]
fn every_bfloat16_converts_to_integers() {
    for a in 0..=u64::from(u16::MAX) {
        check_all_to_int::<BF16>(a);
    }
}

#[test]
fn singles_and_doubles_convert_to_integers() {
    let mut rng = Random(20);
    for _ in 0..100_000 {
        check_all_to_int::<F32>(operand::<F32>(&mut rng));
        check_all_to_int::<F32>(near_limit::<F32>(&mut rng));
        check_all_to_int::<F64>(operand::<F64>(&mut rng));
        check_all_to_int::<F64>(near_limit::<F64>(&mut rng));
    }
}

#[test]
fn a_nan_becomes_zero_where_the_environment_says_so() {
    let env = Env { nan_to_int: NanToInt::Zero, ..Env::new(Round::NearestEven) };
    let mut flags = Flags::NONE;
    assert_eq!(env.to_int::<F32, i32>(0x7fc0_0000, &mut flags), 0);
    assert_eq!(env.to_int::<F64, u64>(0xfff0_0000_0000_0001, &mut flags), 0);
    assert_eq!(flags, Flags::INVALID);
    assert_eq!(env.to_int::<F32, i32>(0xff80_0000, &mut flags), i32::MIN);
}

fn check_from_int<F: Format, I: Range>(value: I) {
    for round in ROUNDS {
        let wide: i128 = value.into();
        let expected = if wide == 0 {
            (0, Flags::NONE)
        } else {
            rounded::<F>(Env::new(round), wide < 0, Exact::Dyadic(wide.unsigned_abs(), 0))
        };
        let mut flags = Flags::NONE;
        let result = Env::new(round).from_int::<F, I>(value, &mut flags).into();
        assert_eq!((result, flags), expected, "{round:?} {value:?}");
    }
}

fn check_all_from_int<F: Format>(value: u64) {
    check_from_int::<F, i8>(value as i8);
    check_from_int::<F, u16>(value as u16);
    check_from_int::<F, i32>(value as i32);
    check_from_int::<F, u32>(value as u32);
    check_from_int::<F, i64>(value as i64);
    check_from_int::<F, u64>(value);
}

#[test]
fn integers_convert_exactly_rounded() {
    let mut rng = Random(21);
    for value in [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 31, (1 << 31) - 1, u64::from(u32::MAX)] {
        check_all_from_int::<F16>(value);
        check_all_from_int::<F32>(value);
        check_all_from_int::<F64>(value);
    }
    for _ in 0..15_000 {
        let bits = rng.below(64);
        let value = match rng.below(3) {
            0 => rng.bits() >> bits,
            1 => (1u64 << bits).wrapping_add(rng.below(3)).wrapping_sub(1) | 1u64 << rng.below(64),
            _ => rng.bits() & !0 << bits,
        };
        check_all_from_int::<F16>(value);
        check_all_from_int::<BF16>(value);
        check_all_from_int::<F32>(value);
        check_all_from_int::<F64>(value);
    }
}

fn check_integral<F: Format>(a: u64) {
    for round in ROUNDS {
        let env = Env::new(round);
        let (expected, flags) = if is_nan::<F>(a) {
            (F::DEFAULT_NAN, if is_signaling::<F>(a) { Flags::INVALID } else { Flags::NONE })
        } else if a & F::INFINITY == F::INFINITY || decode::<F>(a & !F::SIGN).1 >= 0 {
            (a, Flags::NONE)
        } else {
            let (value, inexact) = to_integer::<F>(round, a);
            let magnitude = if value == 0 {
                0
            } else {
                rounded::<F>(env, false, Exact::Dyadic(value.unsigned_abs(), 0)).0
            };
            (a & F::SIGN | magnitude, if inexact { Flags::INEXACT } else { Flags::NONE })
        };
        let mut raised = Flags::NONE;
        let result: u64 = env.round_to_integral_exact::<F>(F::truncate(a), &mut raised).into();
        assert_eq!((result, raised), (expected, flags), "{round:?} {a:x}");
        let mut raised = Flags::NONE;
        let result: u64 = env.round_to_integral::<F>(F::truncate(a), &mut raised).into();
        let flags = if flags == Flags::INEXACT { Flags::NONE } else { flags };
        assert_eq!((result, raised), (expected, flags), "{round:?} {a:x}");
    }
}

#[test]
fn numbers_round_to_integral_ones() {
    for a in 0..=u64::from(u16::MAX) {
        check_integral::<F16>(a);
        check_integral::<BF16>(a);
    }
    let mut rng = Random(22);
    for _ in 0..50_000 {
        check_integral::<F32>(operand::<F32>(&mut rng));
        check_integral::<F32>(near_limit::<F32>(&mut rng));
        check_integral::<F64>(operand::<F64>(&mut rng));
        check_integral::<F64>(near_limit::<F64>(&mut rng));
    }
}

/// The low 32 bits of a truncated double, by long shifting.
fn modular(a: u64) -> (i32, Flags) {
    if a & F64::INFINITY == F64::INFINITY {
        return (0, Flags::INVALID);
    }
    let (m, e) = decode::<F64>(a & !F64::SIGN);
    let (low, is_large) = if e >= 0 {
        ((0..e).fold(m as u32, |low, _| low.wrapping_mul(2)), m != 0)
    } else {
        let integer = m.checked_shr(-e as u32).unwrap_or(0);
        (integer as u32, integer > i32::MAX as u128 + u128::from(a & F64::SIGN != 0))
    };
    let inexact = e < 0 && m & 1u128.checked_shl(-e as u32).map_or(u128::MAX, |unit| unit - 1) != 0;
    let flags = match (is_large, inexact) {
        (true, _) => Flags::INVALID,
        (false, true) => Flags::INEXACT,
        (false, false) => Flags::NONE,
    };
    (if a & F64::SIGN != 0 { low.wrapping_neg() } else { low } as i32, flags)
}

#[test]
fn modular_conversion_keeps_the_low_bits() {
    let mut rng = Random(23);
    for case in 0..200_000 {
        let a = match case % 3 {
            0 => operand::<F64>(&mut rng),
            1 => near_limit::<F64>(&mut rng),
            // Where the significand leaves the low 32 bits.
            _ => rng.bits() & (F64::SIGN | F64::FRACTION) | (1023 + 28 + rng.below(62)) << F64::FRACTION_BITS,
        };
        let mut flags = Flags::NONE;
        let result = Env::new(Round::Up).to_i32_modular(a, &mut flags);
        assert_eq!((result, flags), modular(a), "{a:x}");
    }
}
