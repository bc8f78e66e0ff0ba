//! Conversions between formats and to and from integers (IEEE 754-2019 §5.4.2, §5.8, §5.9).

use super::env::{Env, Flags, NanMode, NanToInt, Round};
use super::format::{F16, F64, Format, is_nan, is_signaling};
use super::unpacked::{Kind, Unpacked, shift_right_sticky_wide, sign, unpack};

/// An integer type that numbers convert to and from: 8 to 64 bits, signed or not.
pub trait Int: sealed::Sealed + Copy {
    /// The magnitude of the largest value.
    const MAX_MAGNITUDE: u64;
    /// The magnitude of the smallest value: 0 if unsigned.
    const MIN_MAGNITUDE: u64;

    /// The value modulo 2 to the power of its bits.
    fn wrap(value: u64) -> Self;

    /// The sign and magnitude.
    fn split(self) -> (bool, u64);
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! int {
    ($($unsigned:ty, $signed:ty);*) => {$(
        impl sealed::Sealed for $unsigned {}
        impl sealed::Sealed for $signed {}

        impl Int for $unsigned {
            const MAX_MAGNITUDE: u64 = <$unsigned>::MAX as u64;
            const MIN_MAGNITUDE: u64 = 0;

            fn wrap(value: u64) -> $unsigned {
                value as $unsigned
            }

            fn split(self) -> (bool, u64) {
                (false, u64::from(self))
            }
        }

        impl Int for $signed {
            const MAX_MAGNITUDE: u64 = <$signed>::MAX as u64;
            const MIN_MAGNITUDE: u64 = Self::MAX_MAGNITUDE + 1;

            fn wrap(value: u64) -> $signed {
                value as $signed
            }

            fn split(self) -> (bool, u64) {
                (self < 0, u64::from(self.unsigned_abs()))
            }
        }
    )*};
}

int!(u8, i8; u16, i16; u32, i32; u64, i64);

impl Env {
    /// `a` in another format. A NaN that is propagated keeps its sign and the upper bits of its payload.
    pub fn convert<From: Format, To: Format>(self, a: From::Bits, flags: &mut Flags) -> To::Bits {
        let a = self.read::<From>(a, flags);
        let x = unpack::<From>(a);
        let sign = sign::<To>(x.negative);
        To::truncate(match x.kind {
            Kind::Finite => self.round_pack::<To>(x.negative, x.exponent, x.significand, flags),
            Kind::Zero => sign,
            Kind::Infinity => sign | To::INFINITY,
            Kind::Nan => {
                if is_signaling::<From>(a) {
                    *flags |= Flags::INVALID;
                }
                match self.nan {
                    NanMode::Canonical => To::DEFAULT_NAN,
                    NanMode::Propagate => {
                        let payload = (a & From::FRACTION) << (64 - From::FRACTION_BITS);
                        sign | To::DEFAULT_NAN | payload >> (64 - To::FRACTION_BITS)
                    }
                }
            }
        })
    }

    /// `a` in a wider format, exactly; a signaling NaN stays one. [`Env::flush_inputs`] applies even to [`F16`].
    pub fn widen<From: Format, To: Format>(self, a: From::Bits, flags: &mut Flags) -> To::Bits {
        let a = self.read::<From>(a, flags);
        if !is_nan::<From>(a) {
            return Env { flush_inputs: false, ..self }.convert::<From, To>(From::truncate(a), flags);
        }
        let shift = To::FRACTION_BITS.saturating_sub(From::FRACTION_BITS);
        let negative = a & From::SIGN != 0;
        To::truncate(sign::<To>(negative) | To::INFINITY | (a & From::FRACTION) << shift & To::FRACTION)
    }

    /// `a`, a binary16 number in Arm's alternative half-precision format (FPCR.AHP), which has neither infinities nor NaNs but
    /// numbers up to 131008, in another format. [`Env::flush_inputs`] does not apply.
    pub fn from_alternative_half<To: Format>(self, a: u16, flags: &mut Flags) -> To::Bits {
        let bits = u64::from(a);
        let x = unpack::<F16>(bits);
        let x = match x.kind {
            Kind::Infinity | Kind::Nan => Unpacked {
                kind: Kind::Finite,
                exponent: F16::EMAX + 1,
                significand: (bits & F16::FRACTION | F16::MIN_NORMAL) << (63 - F16::FRACTION_BITS),
                ..x
            },
            Kind::Zero | Kind::Finite => x,
        };
        To::truncate(match x.kind {
            Kind::Zero => sign::<To>(x.negative),
            _ => self.round_pack::<To>(x.negative, x.exponent, x.significand, flags),
        })
    }

    /// `a` in Arm's alternative half-precision format. What is too large becomes the largest number and is invalid, not an
    /// overflow; so is a NaN, which becomes zero. [`Env::flush_outputs`] does not apply.
    pub fn to_alternative_half<From: Format>(self, a: From::Bits, flags: &mut Flags) -> u16 {
        const LARGEST: u64 = 0x7fff;
        let x = unpack::<From>(self.read::<From>(a, flags));
        let sign = sign::<F16>(x.negative);
        let env = Env { flush_outputs: false, ..self };
        let magnitude = match x.kind {
            Kind::Zero => 0,
            Kind::Nan => {
                *flags |= Flags::INVALID;
                0
            }
            Kind::Infinity => LARGEST + 1,
            Kind::Finite if x.exponent < F16::EMAX => {
                env.round_pack::<F16>(x.negative, x.exponent, x.significand, flags) & !F16::SIGN
            }
            Kind::Finite if x.exponent > F16::EMAX + 1 => LARGEST + 1,
            // Where the format of IEEE 754 has no room: rounded two places of the exponent lower.
            Kind::Finite => {
                let mut inexact = Flags::NONE;
                let low = env.round_pack::<F16>(x.negative, x.exponent - 2, x.significand, &mut inexact);
                let magnitude = (low & !F16::SIGN) + 2 * F16::MIN_NORMAL;
                if magnitude <= LARGEST {
                    *flags |= inexact;
                }
                magnitude
            }
        };
        if magnitude > LARGEST {
            *flags |= Flags::INVALID;
        }
        (sign | magnitude.min(LARGEST)) as u16
    }

    /// `a` rounded to an integer. If that is out of range or `a` is not a number, the result is the nearest
    /// value of the type ([`Env::nan_to_int`] for a NaN) with invalid and not inexact raised.
    pub fn to_int<F: Format, I: Int>(self, a: F::Bits, flags: &mut Flags) -> I {
        self.to_fixed::<F, I>(a, 0, flags)
    }

    /// As [`Env::to_int`], of `a` · 2^`fraction`: a fixed-point number with so many fraction bits, at most 64.
    pub fn to_fixed<F: Format, I: Int>(self, a: F::Bits, fraction: u32, flags: &mut Flags) -> I {
        let a = self.read::<F>(a, flags);
        let x = unpack::<F>(a);
        let x = Unpacked { exponent: x.exponent + fraction.min(64) as i32, ..x };
        let limit = if x.negative { I::MIN_MAGNITUDE } else { I::MAX_MAGNITUDE };
        let signed = |magnitude: u64| I::wrap(if x.negative { magnitude.wrapping_neg() } else { magnitude });
        match x.kind {
            Kind::Zero => return I::wrap(0),
            Kind::Nan => {
                *flags |= Flags::INVALID;
                return match self.nan_to_int {
                    NanToInt::Max => I::wrap(I::MAX_MAGNITUDE),
                    NanToInt::Zero => I::wrap(0),
                };
            }
            Kind::Finite if x.exponent < 64 => {
                let (magnitude, inexact) = self.round_to_integer(x);
                if magnitude <= u128::from(limit) {
                    if inexact {
                        *flags |= Flags::INEXACT;
                    }
                    return signed(magnitude as u64);
                }
            }
            Kind::Finite | Kind::Infinity => {}
        }
        *flags |= Flags::INVALID;
        signed(limit)
    }

    /// The integer `a` as a floating-point number.
    pub fn from_int<F: Format, I: Int>(self, a: I, flags: &mut Flags) -> F::Bits {
        self.from_fixed::<F, I>(a, 0, flags)
    }

    /// The fixed-point number `a` with `fraction` fraction bits, at most 64, as a floating-point number.
    pub fn from_fixed<F: Format, I: Int>(self, a: I, fraction: u32, flags: &mut Flags) -> F::Bits {
        let (negative, magnitude) = a.split();
        if magnitude == 0 {
            return F::truncate(0);
        }
        let leading = magnitude.leading_zeros();
        let exponent = 63 - leading as i32 - fraction.min(64) as i32;
        F::truncate(self.round_pack::<F>(negative, exponent, magnitude << leading, flags))
    }

    /// `a` rounded to an integral number in the same format, without raising inexact (RISC-V Zfa `fround`,
    /// Arm `FRINTI` and, with its rounding direction, `FRINT{N,P,M,Z,A}`).
    pub fn round_to_integral<F: Format>(self, a: F::Bits, flags: &mut Flags) -> F::Bits {
        self.integral::<F>(a, flags).0
    }

    /// As [`Env::round_to_integral`], raising inexact if the result differs from `a` (RISC-V Zfa `froundnx`,
    /// Arm `FRINTX`).
    pub fn round_to_integral_exact<F: Format>(self, a: F::Bits, flags: &mut Flags) -> F::Bits {
        let (result, inexact) = self.integral::<F>(a, flags);
        if inexact {
            *flags |= Flags::INEXACT;
        }
        result
    }

    /// As [`Env::round_to_integral_exact`], but a result that a signed integer of `bits` bits (2 to 64) cannot hold, an infinity
    /// or a NaN becomes the least such integer, with invalid and not inexact raised (Arm `FRINT32X`, `FRINT64Z`, …).
    pub fn round_to_sized_integral<F: Format>(self, a: F::Bits, bits: u32, flags: &mut Flags) -> F::Bits {
        let mut raised = Flags::NONE;
        let result = self.round_to_integral_exact::<F>(a, &mut raised);
        let x = unpack::<F>(result.into());
        let least = bits as i32 - 1;
        let fits = match x.kind {
            Kind::Zero => true,
            Kind::Finite => {
                x.exponent < least || (x.negative && x.exponent == least && x.significand == 1 << 63)
            }
            Kind::Infinity | Kind::Nan => false,
        };
        if fits {
            *flags |= raised;
            return result;
        }
        *flags |= Flags::INVALID;
        F::truncate(F::SIGN | ((least + F::EMAX) as u64) << F::FRACTION_BITS)
    }

    /// `a` truncated, modulo 2^32, as a signed number; zero for infinities and NaNs. Raises invalid if the
    /// truncated value is not the result, else inexact if `a` is not (RISC-V Zfa `fcvtmod.w.d`, Arm
    /// `FJCVTZS`).
    pub fn to_i32_modular(self, a: u64, flags: &mut Flags) -> i32 {
        let a = self.read::<F64>(a, flags);
        let x = unpack::<F64>(a);
        match x.kind {
            Kind::Zero => 0,
            Kind::Infinity | Kind::Nan => {
                *flags |= Flags::INVALID;
                0
            }
            Kind::Finite => {
                // From 2^84 on even the significand's last bit, the 53rd, counts 2^32 or more.
                let magnitude = match x.exponent {
                    ..0 => 0,
                    0..64 => x.significand >> (63 - x.exponent),
                    64..84 => x.significand << (x.exponent - 63),
                    _ => 0,
                };
                let result = if x.negative { magnitude.wrapping_neg() } else { magnitude } as i32;
                // The exceptions are those of the saturating conversion.
                let _saturated: i32 = self.with_round(Round::TowardZero).to_int::<F64, i32>(a, flags);
                result
            }
        }
    }

    fn integral<F: Format>(self, a: F::Bits, flags: &mut Flags) -> (F::Bits, bool) {
        let bits = self.read::<F>(a, flags);
        let x = unpack::<F>(bits);
        let (result, inexact) = match x.kind {
            Kind::Nan => (self.propagate::<F>(&[bits], flags), false),
            Kind::Finite if x.exponent < F::FRACTION_BITS as i32 => {
                let (magnitude, inexact) = self.round_to_integer(x);
                let magnitude = magnitude as u64;
                let leading = magnitude.leading_zeros();
                let rounded = if magnitude == 0 {
                    sign::<F>(x.negative)
                } else {
                    // Exact, and at least one: no flag can come of it.
                    self.round_pack::<F>(x.negative, 63 - leading as i32, magnitude << leading, flags)
                };
                (rounded, inexact)
            }
            _ => (bits, false),
        };
        (F::truncate(result), inexact)
    }

    /// The magnitude of a finite number below 2^64, rounded to an integer, and whether that changed it.
    fn round_to_integer(self, x: Unpacked) -> (u128, bool) {
        // The binary point is put between the halves.
        let fixed = shift_right_sticky_wide(u128::from(x.significand) << 64, (63 - x.exponent) as u32);
        let (integer, fraction) = (fixed >> 64, fixed as u64);
        let up = self.round.increments(x.negative, integer & 1 != 0, fraction);
        (integer + u128::from(up), fraction != 0)
    }
}
