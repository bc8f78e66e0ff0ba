//! Addition, multiplication, division, square root and fused multiply-add (IEEE 754-2019 §5.4.1).

use super::env::{Env, Flags};
use super::format::Format;
use super::unpacked::{
    Kind, Unpacked, shift_right_sticky, shift_right_sticky_wide, sign, unpack, upper_half_sticky,
};

impl Env {
    /// `a` + `b`.
    #[inline]
    pub fn add<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        F::truncate(self.sum::<F>(a, b, false, flags))
    }

    /// `a` − `b`.
    #[inline]
    pub fn sub<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        F::truncate(self.sum::<F>(a, b, true, flags))
    }

    /// `a` · `b`.
    pub fn mul<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        F::truncate(self.product::<F>(a, b, flags))
    }

    /// `a` · `b`, but the product of zero and infinity is 2 with the sign of the product (Arm `FMULX`).
    pub fn mul_extended<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        let (x, y) = (unpack::<F>(a), unpack::<F>(b));
        F::truncate(match (x.kind, y.kind) {
            (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity) => {
                let two = ((F::EMAX + 1) as u64) << F::FRACTION_BITS;
                sign::<F>(x.negative != y.negative) | two
            }
            _ => self.product::<F>(a, b, flags),
        })
    }

    /// `a` / `b`.
    pub fn div<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        F::truncate(self.quotient::<F>(a, b, flags))
    }

    /// √`a`.
    pub fn sqrt<F: Format>(self, a: F::Bits, flags: &mut Flags) -> F::Bits {
        let a = self.read::<F>(a, flags);
        F::truncate(self.root::<F>(a, flags))
    }

    /// `a` · `b` + `c`, rounded once. For the negated variants flip the sign bit of an operand beforehand.
    pub fn fma<F: Format>(self, a: F::Bits, b: F::Bits, c: F::Bits, flags: &mut Flags) -> F::Bits {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        let c = self.read::<F>(c, flags);
        F::truncate(self.product_sum::<F>([a, b, c], 0, flags))
    }

    fn sum<F: Format>(self, a: u64, b: u64, subtract: bool, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a);
        let y = unpack::<F>(b);
        if x.is(Kind::Nan) || y.is(Kind::Nan) {
            return self.propagate::<F>(&[a, b], flags);
        }
        let y = Unpacked { negative: y.negative ^ subtract, ..y };
        let b = b ^ sign::<F>(subtract);
        let unlike = x.negative != y.negative;
        match (x.kind, y.kind) {
            (Kind::Finite, Kind::Finite) => {}
            (Kind::Infinity, Kind::Infinity) if unlike => return self.invalid::<F>(flags),
            (Kind::Zero, Kind::Zero) if unlike => return sign::<F>(self.cancelled_sign()),
            (Kind::Infinity, _) => return a,
            (_, Kind::Infinity) => return b,
            // The other operand, exact, but a subnormal may have to be flushed.
            (Kind::Zero, Kind::Finite) => {
                return self.round_pack::<F>(y.negative, y.exponent, y.significand, flags);
            }
            (Kind::Finite, Kind::Zero) => {
                return self.round_pack::<F>(x.negative, x.exponent, x.significand, flags);
            }
            _ => return a,
        }
        let swap = (x.exponent, x.significand) < (y.exponent, y.significand);
        let (large, small) = if swap { (y, x) } else { (x, y) };
        // One place is made free at the top for the carry. At least ten remain free at the bottom, more than
        // the three that keep a sticky bit from mattering to the rounding of a difference.
        let distance = (large.exponent - small.exponent) as u32;
        let small_significand = shift_right_sticky(small.significand >> 1, distance);
        let total = if unlike {
            (large.significand >> 1) - small_significand
        } else {
            (large.significand >> 1) + small_significand
        };
        if total == 0 {
            return sign::<F>(self.cancelled_sign());
        }
        let leading = total.leading_zeros();
        let exponent = large.exponent + 1 - leading as i32;
        self.round_pack::<F>(large.negative, exponent, total << leading, flags)
    }

    fn product<F: Format>(self, a: u64, b: u64, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a);
        let y = unpack::<F>(b);
        let negative = x.negative != y.negative;
        match (x.kind, y.kind) {
            (Kind::Finite, Kind::Finite) => {}
            (Kind::Nan, _) | (_, Kind::Nan) => return self.propagate::<F>(&[a, b], flags),
            (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity) => return self.invalid::<F>(flags),
            (Kind::Infinity, _) | (_, Kind::Infinity) => return sign::<F>(negative) | F::INFINITY,
            (Kind::Zero, _) | (_, Kind::Zero) => return sign::<F>(negative),
        }
        let product = u128::from(x.significand) * u128::from(y.significand);
        let leading = product.leading_zeros();
        let exponent = x.exponent + y.exponent + 1 - leading as i32;
        self.round_pack::<F>(negative, exponent, upper_half_sticky(product << leading), flags)
    }

    fn quotient<F: Format>(self, a: u64, b: u64, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a);
        let y = unpack::<F>(b);
        let negative = x.negative != y.negative;
        match (x.kind, y.kind) {
            (Kind::Finite, Kind::Finite) => {}
            (Kind::Nan, _) | (_, Kind::Nan) => return self.propagate::<F>(&[a, b], flags),
            (Kind::Infinity, Kind::Infinity) | (Kind::Zero, Kind::Zero) => return self.invalid::<F>(flags),
            (Kind::Infinity, _) => return sign::<F>(negative) | F::INFINITY,
            (Kind::Finite, Kind::Zero) => {
                *flags |= Flags::DIV_BY_ZERO;
                return sign::<F>(negative) | F::INFINITY;
            }
            (Kind::Zero, _) | (_, Kind::Infinity) => return sign::<F>(negative),
        }
        // The quotient of the significands lies in (1/2, 2). Scaled by 2^`places`, with a sticky bit for the
        // remainder, it needs the precision and two bits.
        let (quotient, inexact, places) = if F::PRECISION <= 24 {
            let (dividend, divisor) = (x.significand >> 1, y.significand >> 40);
            (dividend / divisor, dividend % divisor != 0, 39)
        } else {
            let (dividend, divisor) = (u128::from(x.significand) << 63, u128::from(y.significand));
            let quotient = dividend / divisor;
            (quotient as u64, dividend != quotient * divisor, 63)
        };
        let leading = quotient.leading_zeros();
        let exponent = x.exponent - y.exponent + (63 - places) - leading as i32;
        // The last bit is below all that matter: 2^39 · (1/2, 2) leaves at least 14 of them, shifted or not.
        let significand = (quotient | u64::from(inexact)) << leading;
        self.round_pack::<F>(negative, exponent, significand, flags)
    }

    fn root<F: Format>(self, a: u64, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a);
        match x.kind {
            Kind::Nan => return self.propagate::<F>(&[a], flags),
            Kind::Zero => return a,
            _ if x.negative => return self.invalid::<F>(flags),
            Kind::Infinity => return a,
            Kind::Finite => {}
        }
        // The last bit of the significand counts 2^(e−63), an even power only if e is odd: an even e makes
        // room by halving, which loses nothing. Either way the radicand is at least 2^62.
        let radicand = if x.exponent & 1 == 0 { x.significand >> 1 } else { x.significand };
        let high = radicand.isqrt();
        let rest = radicand - high * high;
        let significand = if F::PRECISION <= 24 {
            // 32 bits of root.
            (high | u64::from(rest != 0)) << 32
        } else {
            // 30 bits more by one step of long division: with r = 2^30 · high + q,
            // 2^60 · radicand − r² = 2^60 · rest − 2^31 · high · q − q².
            let dividend = rest << 30;
            let divisor = high << 1;
            let (q, remainder) = (dividend / divisor, dividend % divisor);
            let (left, square) = (u128::from(remainder) << 30, u128::from(q) * u128::from(q));
            let root = (high << 30) + q;
            let (root, exact) = if left < square { (root - 1, false) } else { (root, left == square) };
            (root | u64::from(!exact)) << 2
        };
        self.round_pack::<F>(false, x.exponent >> 1, significand, flags)
    }

    /// (`a` · `b` + `c`) · 2^`scale`, rounded once.
    pub(super) fn product_sum<F: Format>(self, [a, b, c]: [u64; 3], scale: i32, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a);
        let y = unpack::<F>(b);
        let z = unpack::<F>(c);
        let undefined =
            matches!((x.kind, y.kind), (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity));
        let negative = x.negative != y.negative;
        let unlike = negative != z.negative;
        if x.is(Kind::Nan) || y.is(Kind::Nan) || z.is(Kind::Nan) {
            // Both architectures raise invalid for ∞ · 0 + a quiet NaN, and Arm then drops the NaN.
            if undefined && c & F::QUIET != 0 {
                return self.invalid::<F>(flags);
            }
            return self.propagate::<F>(&[c, a, b], flags);
        }
        if undefined {
            return self.invalid::<F>(flags);
        }
        if x.is(Kind::Infinity) || y.is(Kind::Infinity) {
            if z.is(Kind::Infinity) && unlike {
                return self.invalid::<F>(flags);
            }
            return sign::<F>(negative) | F::INFINITY;
        }
        if z.is(Kind::Infinity) {
            return c;
        }
        if x.is(Kind::Zero) || y.is(Kind::Zero) {
            if z.is(Kind::Finite) {
                return self.round_pack::<F>(z.negative, z.exponent + scale, z.significand, flags);
            }
            return sign::<F>(if unlike { self.cancelled_sign() } else { negative });
        }
        let product = u128::from(x.significand) * u128::from(y.significand);
        let leading = product.leading_zeros();
        let product = product << leading;
        let exponent = x.exponent + y.exponent + 1 - leading as i32;
        if z.is(Kind::Zero) {
            return self.round_pack::<F>(negative, exponent + scale, upper_half_sticky(product), flags);
        }
        let addend = u128::from(z.significand) << 64;
        // As in a sum. The product has 106 bits at most, so at least 21 are free at the bottom.
        let product_is_large = (exponent, product) >= (z.exponent, addend);
        let (large, small, large_exponent, distance, negative) = if product_is_large {
            (product >> 1, addend >> 1, exponent, exponent - z.exponent, negative)
        } else {
            (addend >> 1, product >> 1, z.exponent, z.exponent - exponent, z.negative)
        };
        let small = shift_right_sticky_wide(small, distance as u32);
        let total = if unlike { large - small } else { large + small };
        if total == 0 {
            return sign::<F>(self.cancelled_sign());
        }
        let leading = total.leading_zeros();
        let exponent = large_exponent + scale + 1 - leading as i32;
        self.round_pack::<F>(negative, exponent, upper_half_sticky(total << leading), flags)
    }
}
