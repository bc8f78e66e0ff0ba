//! Unpacking of operands, rounding and packing of results, and the choice of NaNs: what all operations share.

use super::env::{Env, Flags, NanMode, Round, Tininess};
use super::format::{Format, is_nan, is_signaling};

/// What an encoding stands for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Zero,
    /// A finite number other than zero, subnormals included.
    Finite,
    Infinity,
    Nan,
}

/// A decoded operand. If finite, its magnitude is `significand` · 2^(`exponent` − 63), and the top bit of the
/// significand is set; otherwise the two mean nothing.
#[derive(Copy, Clone, Debug)]
pub(super) struct Unpacked {
    pub kind: Kind,
    pub negative: bool,
    pub exponent: i32,
    pub significand: u64,
}

impl Unpacked {
    pub fn is(self, kind: Kind) -> bool {
        self.kind == kind
    }
}

/// Shifts right; bits that fall off are kept as a sticky bit 0.
#[inline]
pub(super) fn shift_right_sticky(value: u64, by: u32) -> u64 {
    match by {
        0 => value,
        1..64 => value >> by | u64::from(value << (64 - by) != 0),
        _ => u64::from(value != 0),
    }
}

/// As [`shift_right_sticky`], on twice the width.
#[inline]
pub(super) fn shift_right_sticky_wide(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..128 => value >> by | u128::from(value << (128 - by) != 0),
        _ => u128::from(value != 0),
    }
}

/// The upper half, its last bit sticky for the lower half.
#[inline]
pub(super) fn upper_half_sticky(value: u128) -> u64 {
    (value >> 64) as u64 | u64::from(value as u64 != 0)
}

/// The sign bit, if `negative`.
#[inline]
pub(super) fn sign<F: Format>(negative: bool) -> u64 {
    if negative { F::SIGN } else { 0 }
}

impl Env {
    /// The operand as this environment reads it: subnormals may be zeros.
    #[inline]
    pub(super) fn read<F: Format>(self, bits: F::Bits, flags: &mut Flags) -> u64 {
        let bits = bits.into();
        let magnitude = bits & !F::SIGN;
        if self.flush_inputs && magnitude != 0 && magnitude < F::MIN_NORMAL {
            if F::SIGNALS_INPUT_DENORMAL {
                *flags |= Flags::INPUT_DENORMAL;
            }
            return bits & F::SIGN;
        }
        bits
    }

    /// Rounds the magnitude `significand` · 2^(`exponent` − 63) to the format. The top bit of the significand
    /// must be set; its last bit may be sticky.
    #[inline]
    pub(super) fn round_pack<F: Format>(
        self,
        negative: bool,
        exponent: i32,
        significand: u64,
        flags: &mut Flags,
    ) -> u64 {
        debug_assert!(significand >> 63 == 1);
        let sign = sign::<F>(negative);
        if exponent > F::EMAX {
            return self.overflow::<F>(negative, flags);
        }
        let tiny = exponent < F::EMIN;
        if tiny && self.flush_outputs {
            *flags |= Flags::UNDERFLOW;
            return sign;
        }
        // A subnormal is rounded at the place of the smallest normal number's last bit. Its exponent field
        // then comes out as zero, or as one if rounding carries into the implied bit.
        let (field, aligned) = if tiny {
            (0, shift_right_sticky(significand, (F::EMIN - exponent) as u32))
        } else {
            ((exponent - F::EMIN) as u64, significand)
        };
        let (kept, fraction) = self.round_to_precision::<F>(negative, aligned);
        // The implied bit counts as one in the exponent field, so a carry out of the significand moves on.
        let magnitude = (field << F::FRACTION_BITS) + kept;
        if magnitude >= F::INFINITY {
            return self.overflow::<F>(negative, flags);
        }
        if fraction != 0 {
            *flags |= Flags::INEXACT;
            if tiny && self.stays_tiny::<F>(negative, exponent, significand) {
                *flags |= Flags::UNDERFLOW;
            }
        }
        sign | magnitude
    }

    /// Keeps the format's precision of a left-aligned significand, rounded. Returns it with what was cut off.
    #[inline]
    fn round_to_precision<F: Format>(self, negative: bool, significand: u64) -> (u64, u64) {
        let kept = significand >> (64 - F::PRECISION);
        let fraction = significand << F::PRECISION;
        let up = self.round.increments(negative, kept & 1 != 0, fraction);
        (kept + u64::from(up), fraction)
    }

    /// Whether a number that is tiny before rounding counts as tiny.
    fn stays_tiny<F: Format>(self, negative: bool, exponent: i32, significand: u64) -> bool {
        match self.tininess {
            Tininess::BeforeRounding => true,
            Tininess::AfterRounding => {
                let carries = self.round_to_precision::<F>(negative, significand).0 >> F::PRECISION != 0;
                exponent < F::EMIN - 1 || !carries
            }
        }
    }

    #[cold]
    fn overflow<F: Format>(self, negative: bool, flags: &mut Flags) -> u64 {
        *flags |= Flags::OVERFLOW | Flags::INEXACT;
        let largest = if self.round.overflows_to_infinity(negative) { F::INFINITY } else { F::INFINITY - 1 };
        sign::<F>(negative) | largest
    }

    /// The result of an operation with at least one NaN among its operands, which are in order of preference.
    #[cold]
    pub(super) fn propagate<F: Format>(self, operands: &[u64], flags: &mut Flags) -> u64 {
        let signaling = operands.iter().copied().find(|&x| is_signaling::<F>(x));
        if signaling.is_some() {
            *flags |= Flags::INVALID;
        }
        match self.nan {
            NanMode::Canonical => F::DEFAULT_NAN,
            NanMode::Propagate => signaling
                .or_else(|| operands.iter().copied().find(|&x| is_nan::<F>(x)))
                .map_or(F::DEFAULT_NAN, |nan| nan | F::QUIET),
        }
    }

    /// The result of an operation that is not defined for its operands.
    #[cold]
    pub(super) fn invalid<F: Format>(self, flags: &mut Flags) -> u64 {
        *flags |= Flags::INVALID;
        F::DEFAULT_NAN
    }

    /// The sign of an exact zero that is the sum of two numbers of unlike signs (IEEE 754-2019 §6.3).
    pub(super) fn cancelled_sign(self) -> bool {
        self.round == Round::Down
    }
}

/// Takes an encoding apart.
#[inline]
pub(super) fn unpack<F: Format>(bits: u64) -> Unpacked {
    let negative = bits & F::SIGN != 0;
    let fraction = bits & F::FRACTION;
    let field = (bits & F::INFINITY) >> F::FRACTION_BITS;
    if field == 0 {
        if fraction == 0 {
            return Unpacked { kind: Kind::Zero, negative, exponent: 0, significand: 0 };
        }
        let leading = fraction.leading_zeros();
        let exponent = F::EMIN + (63 - F::FRACTION_BITS as i32) - leading as i32;
        return Unpacked { kind: Kind::Finite, negative, exponent, significand: fraction << leading };
    }
    let kind = match (bits & F::INFINITY == F::INFINITY, fraction) {
        (false, _) => Kind::Finite,
        (true, 0) => Kind::Infinity,
        (true, _) => Kind::Nan,
    };
    let significand = (fraction | F::MIN_NORMAL) << (63 - F::FRACTION_BITS);
    Unpacked { kind, negative, exponent: field as i32 - F::EMAX, significand }
}
