//! Random operands, mostly from where floating point goes wrong.

use emu_core::fp::{Env, Flags, Format, Round};
pub use emu_core::testing::Random;

/// Zeros, infinities, NaNs of both kinds with and without payload, and the ends of the normal and subnormal
/// ranges; positive.
fn corners<F: Format>() -> [u64; 12] {
    let one = (F::EMAX as u64) << F::FRACTION_BITS;
    [
        0,
        1,
        F::FRACTION,
        F::MIN_NORMAL,
        F::MIN_NORMAL + 1,
        one - 1,
        one,
        one + 1,
        F::INFINITY - 1,
        F::INFINITY,
        F::INFINITY + 1,
        F::DEFAULT_NAN,
    ]
}

/// A fraction field: anything, a few bits at either end, or runs of ones.
fn fraction<F: Format>(rng: &mut Random) -> u64 {
    let random = rng.bits();
    let shift = rng.below(u64::from(F::FRACTION_BITS)) as u32;
    let low = random >> (64 - 3);
    F::FRACTION
        & match rng.below(8) {
            0..3 => random,
            3 => low,
            4 => F::FRACTION - low,
            5 => 1 << shift,
            6 => !0 << shift,
            _ => low << shift,
        }
}

/// A number with the exponent field forced into the range of finite numbers.
fn with_exponent<F: Format>(rng: &mut Random, field: i64) -> u64 {
    let field = field.clamp(0, i64::from(F::EMAX) * 2) as u64;
    (rng.bits() & F::SIGN) | field << F::FRACTION_BITS | fraction::<F>(rng)
}

fn field<F: Format>(bits: u64) -> i64 {
    ((bits & F::INFINITY) >> F::FRACTION_BITS) as i64
}

/// Any operand.
pub fn operand<F: Format>(rng: &mut Random) -> u64 {
    let bias = i64::from(F::EMAX);
    let precision = i64::from(F::PRECISION);
    let near = |rng: &mut Random, middle: i64, reach: i64| {
        let field = middle - reach + rng.below(2 * reach as u64 + 1) as i64;
        with_exponent::<F>(rng, field)
    };
    match rng.below(16) {
        0 | 1 => corners::<F>()[rng.below(12) as usize] | rng.bits() & F::SIGN,
        2..6 => rng.bits() & (F::SIGN | (F::SIGN - 1)),
        6 => near(rng, 0, 3),
        7 => near(rng, 2 * bias, 2),
        8 | 9 => near(rng, bias, 2),
        10 => near(rng, bias / 2, precision),
        11 => near(rng, bias + bias / 2, precision),
        _ => near(rng, bias, precision + 3),
    }
}

/// Three operands, often such that a sum of the first two cancels or lies halfway, a product or quotient
/// lands on a range's edge, or the third almost cancels the product of the others.
pub fn triple<F: Format>(rng: &mut Random) -> [u64; 3] {
    let precision = i64::from(F::PRECISION);
    let bias = i64::from(F::EMAX);
    let a = operand::<F>(rng);
    let jitter = |rng: &mut Random, reach: i64| rng.below(2 * reach as u64 + 1) as i64 - reach;
    let b = match rng.below(8) {
        0 => a ^ (rng.bits() & F::SIGN) ^ rng.below(4),
        1 | 2 => {
            let field = field::<F>(a) + jitter(rng, precision + 3);
            with_exponent::<F>(rng, field)
        }
        // A product, or a quotient, about as large as the smallest normal number.
        3 => {
            let field =
                bias + 1 - field::<F>(a) + jitter(rng, 3) - rng.below(2) as i64 * rng.below(60) as i64;
            with_exponent::<F>(rng, field)
        }
        4 => {
            let field = field::<F>(a) + bias - 1 + jitter(rng, 3);
            with_exponent::<F>(rng, field)
        }
        // The same for the largest.
        5 => {
            let field = 3 * bias - field::<F>(a) + jitter(rng, 2);
            with_exponent::<F>(rng, field)
        }
        _ => operand::<F>(rng),
    };
    let c = match rng.below(4) {
        0 => {
            let env = Env::new(Round::NearestEven);
            let product = env.mul::<F>(F::truncate(a), F::truncate(b), &mut Flags::default());
            product.into() ^ F::SIGN ^ rng.below(4)
        }
        1 => {
            let field = field::<F>(a) + field::<F>(b) - bias + jitter(rng, 2 * precision + 3);
            with_exponent::<F>(rng, field)
        }
        _ => operand::<F>(rng),
    };
    [a, b, c]
}
