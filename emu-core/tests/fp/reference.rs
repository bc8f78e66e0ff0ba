//! Arithmetic against exact rounding by search: the result is found among all encodings of the format by
//! comparing them with the exact value, which is never computed in the format's own terms.

use std::cmp::Ordering;

use emu_core::fp::{BF16, Env, F16, F32, F64, Flags, Format, NanMode, Round, Tininess};

use super::operands::{Random, operand, triple};
use super::{OPS, Op, ROUNDS, is_nan, is_signaling, soft};

/// An exact magnitude.
#[derive(Copy, Clone, Debug)]
pub enum Exact {
    /// m · 2^e.
    Dyadic(u128, i32),
    /// m · 2^e / d.
    Quotient(u128, i32, u128),
    /// √(m · 2^e).
    Root(u128, i32),
}

impl Exact {
    /// How it compares with m · 2^e, m below 2^56.
    fn cmp(self, m: u128, e: i32) -> Ordering {
        match self {
            Exact::Dyadic(a, ea) => compare_dyadic(a, ea, m, e),
            Exact::Quotient(a, ea, d) => compare_dyadic(a, ea, m * d, e),
            Exact::Root(a, ea) => compare_dyadic(a, ea, m * m, 2 * e),
        }
    }
}

fn compare_dyadic(a: u128, ea: i32, b: u128, eb: i32) -> Ordering {
    if a == 0 || b == 0 {
        return a.cmp(&b);
    }
    let (za, zb) = (a.leading_zeros(), b.leading_zeros());
    (ea - za as i32).cmp(&(eb - zb as i32)).then((a << za).cmp(&(b << zb)))
}

/// The magnitude of an encoding as m · 2^e, m below 2^53; that of infinity is the power of two it stands for
/// in rounding.
pub fn decode<F: Format>(magnitude: u64) -> (u128, i32) {
    let field = (magnitude >> F::FRACTION_BITS) as i32;
    let fraction = u128::from(magnitude & F::FRACTION);
    let lowest = F::EMIN - F::FRACTION_BITS as i32;
    if field == 0 { (fraction, lowest) } else { (fraction + u128::from(F::MIN_NORMAL), lowest + field - 1) }
}

/// Whether an inexact value between two neighbours goes to the upper one. `middle` is its order relative to
/// their mean, `upper_odd` whether the upper one's last bit is set.
fn goes_up(round: Round, negative: bool, middle: Ordering, upper_odd: bool) -> bool {
    match round {
        Round::NearestEven => middle.is_gt() || middle.is_eq() && !upper_odd,
        Round::NearestMaxMagnitude => middle.is_ge(),
        Round::TowardZero => false,
        Round::Down => negative,
        Round::Up => !negative,
        Round::ToOdd => upper_odd,
    }
}

/// The exact value rounded to the format, with the exceptions that this raises.
pub fn rounded<F: Format>(env: Env, negative: bool, exact: Exact) -> (u64, Flags) {
    let sign = if negative { F::SIGN } else { 0 };
    let is_tiny = exact.cmp(1, F::EMIN).is_lt() && !exact.cmp(0, 0).is_eq();
    if is_tiny && env.flush_outputs {
        return (sign, Flags::UNDERFLOW);
    }
    // The largest encoding not above the value.
    let (mut low, mut high) = (0, F::INFINITY + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let (m, e) = decode::<F>(middle);
        if exact.cmp(m, e).is_ge() {
            low = middle;
        } else {
            high = middle;
        }
    }
    let (m, e) = decode::<F>(low);
    let is_exact = exact.cmp(m, e).is_eq();
    let up = !is_exact && goes_up(env.round, negative, exact.cmp(2 * m + 1, e - 1), low & 1 == 0);
    let magnitude = low + u64::from(up);
    if magnitude >= F::INFINITY {
        let infinite = match env.round {
            Round::NearestEven | Round::NearestMaxMagnitude => true,
            Round::TowardZero | Round::ToOdd => false,
            Round::Down => negative,
            Round::Up => !negative,
        };
        return (sign | (F::INFINITY - u64::from(!infinite)), Flags::OVERFLOW | Flags::INEXACT);
    }
    if is_exact {
        return (sign | magnitude, Flags::NONE);
    }
    // With an unbounded exponent, the numbers just below the smallest normal one are half as far apart.
    let (m, e) = ((1 << F::PRECISION) - 1, F::EMIN - F::PRECISION as i32);
    let reaches_normal =
        exact.cmp(m, e).is_gt() && goes_up(env.round, negative, exact.cmp(2 * m + 1, e - 1), false);
    let underflows = is_tiny && (env.tininess == Tininess::BeforeRounding || !reaches_normal);
    (sign | magnitude, if underflows { Flags::UNDERFLOW | Flags::INEXACT } else { Flags::INEXACT })
}

/// The exact sum, if it fits, as sign and magnitude.
fn sum(a: (bool, u128, i32), b: (bool, u128, i32)) -> Option<(bool, u128, i32)> {
    let e = match (a.1, b.1) {
        (0, _) => b.2,
        (_, 0) => a.2,
        _ => a.2.min(b.2),
    };
    let align = |(negative, m, ea): (bool, u128, i32)| -> Option<i128> {
        if m == 0 {
            return Some(0);
        }
        let shift = u32::try_from(ea - e).ok()?;
        if m.leading_zeros() < shift + 2 {
            return None;
        }
        let magnitude = (m << shift) as i128;
        Some(if negative { -magnitude } else { magnitude })
    };
    let total = align(a)? + align(b)?;
    Some((total < 0, total.unsigned_abs(), e))
}

/// The result of an operation on finite operands that is not zero; none if that is not the case, or the
/// exact value does not fit.
fn expected<F: Format>(op: Op, env: Env, operands: [u64; 3]) -> Option<(u64, Flags)> {
    let used = match op {
        Op::Sqrt => 1,
        Op::Fma => 3,
        _ => 2,
    };
    if operands[..used].iter().any(|x| x & F::INFINITY == F::INFINITY) {
        return None;
    }
    let [a, b, c] = operands.map(|x| {
        let (m, e) = decode::<F>(x & !F::SIGN);
        (x & F::SIGN != 0, m, e)
    });
    let product = (a.0 != b.0, a.1 * b.1, a.2 + b.2);
    let (negative, exact) = match op {
        Op::Add | Op::Sub => {
            let (negative, m, e) = sum(a, (b.0 != (op == Op::Sub), b.1, b.2))?;
            (negative, Exact::Dyadic(m, e))
        }
        Op::Mul => (product.0, Exact::Dyadic(product.1, product.2)),
        Op::Div if b.1 == 0 => return None,
        Op::Div => (product.0, Exact::Quotient(a.1, a.2 - b.2, b.1)),
        Op::Sqrt if a.0 => return None,
        Op::Sqrt => (false, Exact::Root(a.1, a.2)),
        Op::Fma => {
            let (negative, m, e) = sum(product, c)?;
            (negative, Exact::Dyadic(m, e))
        }
    };
    if exact.cmp(0, 0).is_eq() {
        return None;
    }
    Some(rounded::<F>(env, negative, exact))
}

/// The environments that change the rounding of finite values.
fn environments() -> impl Iterator<Item = Env> {
    ROUNDS.into_iter().flat_map(|round| {
        let plain = Env::new(round);
        [
            plain,
            Env { tininess: Tininess::BeforeRounding, ..plain },
            Env { tininess: Tininess::BeforeRounding, flush_outputs: true, ..plain },
        ]
    })
}

fn check_arithmetic<F: Format>(seed: u64, cases: usize) {
    let mut rng = Random(seed);
    for op in OPS {
        let mut checked = 0;
        while checked < cases {
            let operands = triple::<F>(&mut rng);
            for env in environments() {
                let Some(expected) = expected::<F>(op, env, operands) else { break };
                let actual = soft::<F>(op, env, operands);
                assert_eq!(actual, expected, "{op:?} {operands:x?} {env:?}");
                checked += 1;
            }
        }
    }
}

#[test]
fn half_arithmetic_is_exact_in_all_modes() {
    check_arithmetic::<F16>(1, 200_000);
}

#[test]
fn bfloat16_arithmetic_is_exact_in_all_modes() {
    check_arithmetic::<BF16>(2, 100_000);
}

#[test]
fn single_arithmetic_is_exact_in_all_modes() {
    check_arithmetic::<F32>(3, 200_000);
}

#[test]
fn double_arithmetic_is_exact_in_all_modes() {
    check_arithmetic::<F64>(4, 200_000);
}

/// An exact sum of zero, which the search leaves out, is −0 if both terms are or the direction is down.
#[test]
fn zero_sums_have_the_sign_that_the_direction_gives() {
    let one = F32::truncate((F32::EMAX as u64) << F32::FRACTION_BITS);
    let (plus, minus) = (0, F32::SIGN as u32);
    for round in ROUNDS {
        let env = Env::new(round);
        let mut flags = Flags::NONE;
        let cancelled = if round == Round::Down { minus } else { plus };
        assert_eq!(env.sub::<F32>(one, one, &mut flags), cancelled);
        assert_eq!(env.add::<F32>(plus, minus, &mut flags), cancelled);
        assert_eq!(env.sub::<F32>(plus, plus, &mut flags), cancelled);
        assert_eq!(env.add::<F32>(minus, minus, &mut flags), minus);
        assert_eq!(env.add::<F32>(plus, plus, &mut flags), plus);
        assert_eq!(env.fma::<F32>(one, one, one | minus, &mut flags), cancelled);
        assert_eq!(env.fma::<F32>(one, plus, minus, &mut flags), cancelled);
        assert_eq!(env.fma::<F32>(one, minus, minus, &mut flags), minus);
        assert_eq!(env.fma::<F32>(one, plus, plus, &mut flags), plus);
        assert!(flags.is_empty());
    }
}

fn check_conversion<From: Format, To: Format>(seed: u64, cases: usize) {
    let mut rng = Random(seed);
    for _ in 0..cases {
        let a = operand::<From>(&mut rng);
        // Rounding to the narrow format is most delicate just beside its own numbers and their means.
        let a = if rng.below(2) == 0 && From::PRECISION > To::PRECISION {
            a & !(F64::FRACTION >> (53 - (From::PRECISION - To::PRECISION) + 1)) ^ rng.below(2)
        } else {
            a
        };
        for env in environments() {
            let negative = a & From::SIGN != 0;
            let sign = if negative { To::SIGN } else { 0 };
            let magnitude = a & !From::SIGN;
            let expected = match magnitude {
                0 => (sign, Flags::NONE),
                _ if magnitude == From::INFINITY => (sign | To::INFINITY, Flags::NONE),
                _ if is_signaling::<From>(a) => (To::DEFAULT_NAN, Flags::INVALID),
                _ if is_nan::<From>(a) => (To::DEFAULT_NAN, Flags::NONE),
                _ => {
                    let (m, e) = decode::<From>(magnitude);
                    rounded::<To>(env, negative, Exact::Dyadic(m, e))
                }
            };
            let mut flags = Flags::NONE;
            let result = env.convert::<From, To>(From::truncate(a), &mut flags).into();
            assert_eq!((result, flags), expected, "{a:x} {env:?}");
        }
    }
}

#[test]
fn conversions_between_formats_are_exact_in_all_modes() {
    check_conversion::<F64, F32>(10, 60_000);
    check_conversion::<F64, F16>(11, 60_000);
    check_conversion::<F64, BF16>(12, 30_000);
    check_conversion::<F32, F16>(13, 60_000);
    check_conversion::<F32, BF16>(14, 30_000);
    check_conversion::<F32, F64>(15, 30_000);
    check_conversion::<F16, BF16>(16, 30_000);
    check_conversion::<BF16, F16>(17, 30_000);
    check_conversion::<F16, F32>(18, 30_000);
    check_conversion::<F16, F64>(19, 30_000);
}

/// A NaN that is propagated keeps its sign and as much of its payload as fits, from the top.
#[test]
fn conversions_keep_propagated_nans() {
    let env = Env { nan: NanMode::Propagate, ..Env::new(Round::NearestEven) };
    let mut flags = Flags::NONE;
    assert_eq!(env.convert::<F32, F16>(0xffd5_5fff, &mut flags), 0xfeaa);
    assert_eq!(env.convert::<F16, F32>(0xfeab, &mut flags), 0xffd5_6000);
    assert_eq!(env.convert::<F32, F64>(0x7fc0_0001, &mut flags), 0x7ff8_0000_2000_0000);
    assert_eq!(env.convert::<F64, F32>(0x7ff8_0000_1fff_ffff, &mut flags), 0x7fc0_0000);
    assert!(flags.is_empty());
    assert_eq!(env.convert::<F64, F32>(0xfff0_0000_0000_0001, &mut flags), 0xffc0_0000);
    assert_eq!(flags, Flags::INVALID);
}
