//! Constants that instructions load by number.

use super::env::{Env, Flags, Round};
use super::format::{F32, Format};

/// The constants of RISC-V Zfa `fli`, as binary32. The second stands for the smallest positive normal number
/// of the format at hand.
#[rustfmt::skip]
const CONSTANTS: [f32; 32] = [
    -1.0, f32::MIN_POSITIVE, 1.0 / 65536.0, 1.0 / 32768.0, 1.0 / 256.0, 1.0 / 128.0, 0.0625, 0.125,
    0.25, 0.3125, 0.375, 0.4375, 0.5, 0.625, 0.75, 0.875,
    1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0,
    8.0, 16.0, 128.0, 256.0, 32768.0, 65536.0, f32::INFINITY, f32::NAN,
];

/// The constant that RISC-V Zfa `fli.{s,d,h}` (version 1.0) loads for the low five bits of `index`, the
/// instruction's `rs1` field. Number 29, 2^16, is an infinity in half precision.
pub fn load_immediate<F: Format>(index: u8) -> F::Bits {
    let index = usize::from(index % 32);
    if index == 1 {
        return F::truncate(F::MIN_NORMAL);
    }
    Env::new(Round::NearestEven).convert::<F32, F>(CONSTANTS[index].to_bits(), &mut Flags::default())
}
