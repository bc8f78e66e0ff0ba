//! The binary interchange formats.

use std::fmt;

/// A binary floating-point format of at most 64 bits, laid out as IEEE 754-2019 §3.4 has it: sign, biased
/// exponent, fraction, from the top. Implemented by the marker types [`F16`], [`BF16`], [`F32`] and [`F64`].
///
/// The associated constants of type `u64` are encodings or masks in the low bits.
pub trait Format: sealed::Sealed + Copy + fmt::Debug + 'static {
    /// The integer that holds an encoding.
    type Bits: Copy + Eq + Into<u64> + fmt::Debug + fmt::LowerHex;

    /// Bits of the fraction field.
    const FRACTION_BITS: u32;
    /// Bits of the exponent field.
    const EXPONENT_BITS: u32;
    /// Whether flushing a subnormal operand of this format raises [`Flags::INPUT_DENORMAL`](super::Flags).
    const SIGNALS_INPUT_DENORMAL: bool;

    /// The low bits of `bits` as an encoding.
    fn truncate(bits: u64) -> Self::Bits;

    /// Bits of the significand, the implied one included (p of the standard).
    const PRECISION: u32 = Self::FRACTION_BITS + 1;
    /// The exponent of the largest finite number, and the bias of the exponent field.
    const EMAX: i32 = (1 << (Self::EXPONENT_BITS - 1)) - 1;
    /// The exponent of the smallest normal number.
    const EMIN: i32 = 1 - Self::EMAX;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::EXPONENT_BITS + Self::FRACTION_BITS);
    /// The fraction field.
    const FRACTION: u64 = (1 << Self::FRACTION_BITS) - 1;
    /// Positive infinity; also the exponent field.
    const INFINITY: u64 = Self::SIGN - 1 - Self::FRACTION;
    /// The fraction bit that makes a NaN quiet.
    const QUIET: u64 = 1 << (Self::FRACTION_BITS - 1);
    /// The canonical NaN: positive, quiet, no payload.
    const DEFAULT_NAN: u64 = Self::INFINITY | Self::QUIET;
    /// The smallest positive normal number.
    const MIN_NORMAL: u64 = 1 << Self::FRACTION_BITS;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! format {
    ($(#[$doc:meta])* $name:ident: $bits:ty, $exponent:literal, $fraction:literal, $signals:literal) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug)]
        pub struct $name;

        impl sealed::Sealed for $name {}

        impl Format for $name {
            type Bits = $bits;
            const EXPONENT_BITS: u32 = $exponent;
            const FRACTION_BITS: u32 = $fraction;
            const SIGNALS_INPUT_DENORMAL: bool = $signals;

            #[inline]
            fn truncate(bits: u64) -> $bits {
                bits as $bits
            }
        }
    };
}

format!(
    /// Half precision (binary16).
    F16: u16, 5, 10, false
);
format!(
    /// The upper half of a binary32, "bfloat16".
    BF16: u16, 8, 7, true
);
format!(
    /// Single precision (binary32).
    F32: u32, 8, 23, true
);
format!(
    /// Double precision (binary64).
    F64: u64, 11, 52, true
);

/// Whether the encoding is a NaN.
#[inline]
pub(super) fn is_nan<F: Format>(bits: u64) -> bool {
    bits & !F::SIGN > F::INFINITY
}

/// Whether the encoding is a signaling NaN.
#[inline]
pub(super) fn is_signaling<F: Format>(bits: u64) -> bool {
    is_nan::<F>(bits) && bits & F::QUIET == 0
}
