//! Values against rustc_apfloat, which has the direction to nearest with ties away and the 16-bit formats
//! that the host lacks. Of its exceptions, overflow is not raised when the result is the largest finite
//! number, and underflow sometimes not by a fused multiply-add (version 0.2), so those two are not compared.

use emu_core::fp::{BF16, Env, F16, F32, F64, Flags, Format, Round};
use rustc_apfloat::ieee::{BFloat, Double, Half, Single};
use rustc_apfloat::{Float, Round as ApRound, Status};

use super::operands::{Random, triple};
use super::{Op, is_nan, soft};

const ROUNDS: [(Round, ApRound); 5] = [
    (Round::NearestEven, ApRound::NearestTiesToEven),
    (Round::TowardZero, ApRound::TowardZero),
    (Round::Down, ApRound::TowardNegative),
    (Round::Up, ApRound::TowardPositive),
    (Round::NearestMaxMagnitude, ApRound::NearestTiesToAway),
];

/// All operations but the square root, which the library does not have.
const OPS: [Op; 5] = [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Fma];

fn check<F: Format, A: Float>(seed: u64, cases: usize) {
    let mut rng = Random(seed);
    for _ in 0..cases {
        let operands = triple::<F>(&mut rng);
        let [a, b, c] = operands.map(|x| A::from_bits(x.into()));
        for op in OPS {
            for (round, ap_round) in ROUNDS {
                let result = match op {
                    Op::Add => a.add_r(b, ap_round),
                    Op::Sub => a.sub_r(b, ap_round),
                    Op::Mul => a.mul_r(b, ap_round),
                    Op::Div => a.div_r(b, ap_round),
                    _ => a.mul_add_r(b, c, ap_round),
                };
                let expected = result.value.to_bits() as u64;
                let (bits, flags) = soft::<F>(op, Env::new(round), operands);
                let case =
                    format_args!("{op:?} {round:?} {operands:x?}: {bits:x}, not {expected:x}").to_string();
                assert!(bits == expected || is_nan::<F>(bits) && is_nan::<F>(expected), "{case}");
                if !is_nan::<F>(bits) {
                    let inexact = result.status.contains(Status::INEXACT);
                    assert_eq!(flags.contains(Flags::INEXACT), inexact, "{case}");
                    let by_zero = result.status.contains(Status::DIV_BY_ZERO);
                    assert_eq!(flags.contains(Flags::DIV_BY_ZERO), by_zero, "{case}");
                }
            }
        }
    }
}

#[test]
fn half_values_match_apfloat() {
    check::<F16, Half>(40, 100_000);
}

#[test]
fn bfloat16_values_match_apfloat() {
    check::<BF16, BFloat>(41, 50_000);
}

#[test]
fn single_values_match_apfloat() {
    check::<F32, Single>(42, 50_000);
}

#[test]
fn double_values_match_apfloat() {
    check::<F64, Double>(43, 50_000);
}
