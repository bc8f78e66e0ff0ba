//! NaN propagation, minimum and maximum.

use emu_core::fp::{BF16, Env, F16, F32, F64, Flags, Format, NanMode, Round};

use super::operands::{Random, operand, triple};
use super::{OPS, Op, is_nan, is_signaling, soft};

/// The first signaling NaN, else the first quiet one, made quiet.
fn chosen<F: Format>(operands: &[u64]) -> u64 {
    let signaling = operands.iter().find(|&&x| is_signaling::<F>(x));
    signaling.or(operands.iter().find(|&&x| is_nan::<F>(x))).copied().expect("an operand is a NaN") | F::QUIET
}

/// A NaN as often as not.
fn nan_or_operand<F: Format>(rng: &mut Random) -> u64 {
    let payload = rng.bits() & F::FRACTION >> rng.below(u64::from(F::FRACTION_BITS));
    match rng.below(4) {
        0 => rng.bits() & F::SIGN | F::INFINITY | payload | F::QUIET,
        1 => rng.bits() & F::SIGN | F::INFINITY | (payload & !F::QUIET).max(1),
        _ => operand::<F>(rng),
    }
}

fn check_propagation<F: Format>(seed: u64) {
    let mut rng = Random(seed);
    let canonical = Env::new(Round::NearestEven);
    let propagate = Env { nan: NanMode::Propagate, ..canonical };
    for _ in 0..100_000 {
        let [a, b, c] = [(); 3].map(|()| nan_or_operand::<F>(&mut rng));
        for op in OPS {
            let used: &[u64] = match op {
                Op::Sqrt => &[a],
                Op::Fma => &[c, a, b],
                _ => &[a, b],
            };
            let plain = soft::<F>(op, canonical, [a, b, c]);
            let kept = soft::<F>(op, propagate, [a, b, c]);
            assert_eq!(plain.1, kept.1, "{op:?} {a:x} {b:x} {c:x}");
            if !used.iter().any(|&x| is_nan::<F>(x)) {
                assert_eq!(plain, kept);
                continue;
            }
            let signaling = used.iter().any(|&x| is_signaling::<F>(x));
            let product = [a & !F::SIGN, b & !F::SIGN];
            let undefined = op == Op::Fma && (product == [0, F::INFINITY] || product == [F::INFINITY, 0]);
            let flags = if signaling || undefined { Flags::INVALID } else { Flags::NONE };
            let nan = if undefined && !signaling { F::DEFAULT_NAN } else { chosen::<F>(used) };
            assert_eq!(plain, (F::DEFAULT_NAN, flags), "{op:?} {a:x} {b:x} {c:x}");
            assert_eq!(kept, (nan, flags), "{op:?} {a:x} {b:x} {c:x}");
        }
    }
}

#[test]
fn nans_come_out_as_the_environment_says() {
    check_propagation::<F16>(30);
    check_propagation::<BF16>(31);
    check_propagation::<F32>(32);
    check_propagation::<F64>(33);
}

#[test]
fn undefined_operations_give_the_canonical_nan() {
    let env = Env { nan: NanMode::Propagate, ..Env::new(Round::NearestEven) };
    let (zero, one, infinity) = (0, 0x3c00, 0x7c00);
    for (op, operands) in [
        (Op::Add, [infinity, infinity | 0x8000, 0]),
        (Op::Sub, [infinity, infinity, 0]),
        (Op::Mul, [zero, infinity, 0]),
        (Op::Div, [zero, 0x8000, 0]),
        (Op::Div, [infinity, infinity, 0]),
        (Op::Sqrt, [one | 0x8000, 0, 0]),
        (Op::Fma, [infinity, zero, one]),
        (Op::Fma, [infinity, one, infinity | 0x8000]),
    ] {
        assert_eq!(soft::<F16>(op, env, operands), (0x7e00, Flags::INVALID), "{op:?} {operands:x?}");
    }
    assert_eq!(soft::<F16>(Op::Div, env, [one, 0x8000, 0]), (0xfc00, Flags::DIV_BY_ZERO));
    assert_eq!(soft::<F16>(Op::Div, env, [infinity, 0x8000, 0]), (0xfc00, Flags::NONE));
    assert_eq!(soft::<F16>(Op::Sqrt, env, [0x8000, 0, 0]), (0x8000, Flags::NONE));
}

type Extremum<F> = fn(Env, <F as Format>::Bits, <F as Format>::Bits, &mut Flags) -> <F as Format>::Bits;

fn check_extremum<F: Format>(a: u64, b: u64, less: bool) {
    let canonical = Env::new(Round::NearestEven);
    let propagate = Env { nan: NanMode::Propagate, ..canonical };
    let run = |operation: Extremum<F>, env| {
        let mut flags = Flags::NONE;
        (operation(env, F::truncate(a), F::truncate(b), &mut flags).into(), flags)
    };
    let smaller: [Extremum<F>; 3] = [Env::minimum::<F>, Env::minimum_number::<F>, Env::min_num::<F>];
    let larger: [Extremum<F>; 3] = [Env::maximum::<F>, Env::maximum_number::<F>, Env::max_num::<F>];
    let (nan_a, nan_b) = (is_nan::<F>(a), is_nan::<F>(b));
    let signaling = is_signaling::<F>(a) || is_signaling::<F>(b);
    let flags = if signaling { Flags::INVALID } else { Flags::NONE };
    for (operations, wants_less) in [(smaller, true), (larger, false)] {
        let [any_nan_wins, number_wins, quiet_nan_loses] = operations;
        let number = match (nan_a, nan_b) {
            (false, false) => Some(if less == wants_less { a } else { b }),
            (true, false) => Some(b),
            (false, true) => Some(a),
            (true, true) => None,
        };
        for (env, nan) in [
            (canonical, if nan_a || nan_b { F::DEFAULT_NAN } else { 0 }),
            (propagate, if nan_a || nan_b { chosen::<F>(&[a, b]) } else { 0 }),
        ] {
            let case = format!("{a:x} {b:x} {env:?} {wants_less}");
            let number = number.unwrap_or(nan);
            let any = if nan_a || nan_b { nan } else { number };
            assert_eq!(run(any_nan_wins, env), (any, flags), "{case}");
            assert_eq!(run(number_wins, env), (number, flags), "{case}");
            let old = if signaling { nan } else { number };
            assert_eq!(run(quiet_nan_loses, env), (old, flags), "{case}");
        }
    }
}

#[test]
fn minimum_and_maximum_follow_the_order_and_their_nan_rule() {
    let mut rng = Random(34);
    for _ in 0..50_000 {
        // The host's total order is the numbers' own where they are ordered, with −0 below +0.
        let [a, b, _] = triple::<F32>(&mut rng);
        check_extremum::<F32>(a, b, f32::from_bits(a as u32).total_cmp(&f32::from_bits(b as u32)).is_le());
        let [a, b, _] = triple::<F64>(&mut rng);
        check_extremum::<F64>(a, b, f64::from_bits(a).total_cmp(&f64::from_bits(b)).is_le());
    }
    for (a, b) in [(0, 0x8000), (0x8000, 0), (0x7c01, 0x3c00), (0x3c00, 0xfe00), (0x7e01, 0xfc01)] {
        check_extremum::<F16>(a, b, a == 0x8000);
    }
}
