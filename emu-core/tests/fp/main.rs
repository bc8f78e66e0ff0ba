//! Software floating point against independent models of it: the host's own unit, exact rounding by search,
//! another library, and values worked out by hand.

mod apfloat;
mod exhaustive;
#[cfg(target_arch = "x86_64")]
mod host;
mod integers;
mod nans;
mod operands;
mod reference;
mod vectors;

use emu_core::fp::{Env, Flags, Format, Round};

const ROUNDS: [Round; 6] =
    [Round::NearestEven, Round::TowardZero, Round::Down, Round::Up, Round::NearestMaxMagnitude, Round::ToOdd];

/// The arithmetic operations, so that a test can go through them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
    Fma,
}

const OPS: [Op; 6] = [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Sqrt, Op::Fma];

/// The operation under test, on as many of the operands as it takes.
fn soft<F: Format>(op: Op, env: Env, operands: [u64; 3]) -> (u64, Flags) {
    let [a, b, c] = operands.map(F::truncate);
    let mut flags = Flags::NONE;
    let result = match op {
        Op::Add => env.add::<F>(a, b, &mut flags),
        Op::Sub => env.sub::<F>(a, b, &mut flags),
        Op::Mul => env.mul::<F>(a, b, &mut flags),
        Op::Div => env.div::<F>(a, b, &mut flags),
        Op::Sqrt => env.sqrt::<F>(a, &mut flags),
        Op::Fma => env.fma::<F>(a, b, c, &mut flags),
    };
    (result.into(), flags)
}

fn is_nan<F: Format>(bits: u64) -> bool {
    bits & !F::SIGN > F::INFINITY
}

fn is_signaling<F: Format>(bits: u64) -> bool {
    is_nan::<F>(bits) && bits & F::QUIET == 0
}
