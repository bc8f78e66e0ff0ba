//! Estimates of reciprocals and reciprocal square roots, and the steps that improve them, bit for bit as Arm defines them (Arm
//! Architecture Reference Manual, DDI 0487, J1 `FPRecipEstimate`, `FPRSqrtEstimate`, `FPRecpX`, `FPRecipStepFused`,
//! `FPRSqrtStepFused`, `UnsignedRecipEstimate`, `UnsignedRSqrtEstimate`).

use super::env::{Env, Flags};
use super::format::{Format, is_nan};
use super::unpacked::{Kind, sign, unpack};

/// An estimate of the reciprocal of `a` in 256..512, a number of 2^−9; it is in the same range, in 2^−8.
fn reciprocal(a: u64) -> u64 {
    let doubled = a * 2 + 1;
    ((1u64 << 19) / doubled).div_ceil(2)
}

/// An estimate of the reciprocal square root of `a` in 128..512, a number of 2^−9; it is in 256..512, in 2^−8.
fn reciprocal_root(a: u64) -> u64 {
    // The middle of the interval that `a` stands for; it is twice as wide in the upper half.
    let middle = if a < 256 { a * 2 + 1 } else { ((a & !1) + 1) * 2 };
    let mut b = 512;
    while middle * (b + 1) * (b + 1) < 1 << 28 {
        b += 1;
    }
    b.div_ceil(2)
}

/// The estimate of 1 / `a` for unsigned fixed-point numbers, `a` in 2^−32 and the result in 2^−31 (Arm `URECPE`).
pub fn reciprocal_u32(a: u32) -> u32 {
    if a >> 31 == 0 { u32::MAX } else { (reciprocal((a >> 23).into()) as u32) << 23 }
}

/// The estimate of 1 / √`a` for unsigned fixed-point numbers, `a` in 2^−32 and the result in 2^−31 (Arm `URSQRTE`).
pub fn reciprocal_root_u32(a: u32) -> u32 {
    if a >> 30 == 0 { u32::MAX } else { (reciprocal_root((a >> 23).into()) as u32) << 23 }
}

impl Env {
    /// An estimate of 1 / `a` to 8 bits (Arm `FRECPE`).
    pub fn reciprocal_estimate<F: Format>(self, a: F::Bits, flags: &mut Flags) -> F::Bits {
        let bits = self.read::<F>(a, flags);
        let x = unpack::<F>(bits);
        let sign = sign::<F>(x.negative);
        F::truncate(match x.kind {
            Kind::Nan => self.propagate::<F>(&[bits], flags),
            Kind::Infinity => sign,
            Kind::Zero => {
                *flags |= Flags::DIV_BY_ZERO;
                sign | F::INFINITY
            }
            Kind::Finite if x.exponent < -F::EMAX - 1 => {
                *flags |= Flags::OVERFLOW | Flags::INEXACT;
                let infinite = self.round.overflows_to_infinity(x.negative);
                sign | if infinite { F::INFINITY } else { F::INFINITY - 1 }
            }
            Kind::Finite if self.flush_outputs && x.exponent >= -F::EMIN => {
                *flags |= Flags::UNDERFLOW;
                sign
            }
            Kind::Finite => {
                let estimate = reciprocal(x.significand >> 55);
                // 1 / x is in (2^(−e−1), 2^(−e)].
                let field = -x.exponent - 1 + F::EMAX;
                let fraction = (estimate & 0xff) << (F::FRACTION_BITS - 8);
                let magnitude = match field {
                    1.. => (field as u64) << F::FRACTION_BITS | fraction,
                    // Subnormal: cut off, not rounded.
                    _ => (fraction | F::MIN_NORMAL) >> (1 - field),
                };
                sign | magnitude
            }
        })
    }

    /// An estimate of 1 / √`a` to 8 bits (Arm `FRSQRTE`).
    pub fn reciprocal_root_estimate<F: Format>(self, a: F::Bits, flags: &mut Flags) -> F::Bits {
        let bits = self.read::<F>(a, flags);
        let x = unpack::<F>(bits);
        F::truncate(match x.kind {
            Kind::Nan => self.propagate::<F>(&[bits], flags),
            Kind::Zero => {
                *flags |= Flags::DIV_BY_ZERO;
                sign::<F>(x.negative) | F::INFINITY
            }
            _ if x.negative => self.invalid::<F>(flags),
            Kind::Infinity => 0,
            Kind::Finite => {
                // x = m · 2^k with even k and m in [1/4, 1).
                let odd = x.exponent & 1 != 0;
                let scaled = x.significand >> if odd { 55 } else { 56 };
                let k = if odd { x.exponent + 1 } else { x.exponent + 2 };
                let field = (-k / 2 + F::EMAX) as u64;
                field << F::FRACTION_BITS | (reciprocal_root(scaled) & 0xff) << (F::FRACTION_BITS - 8)
            }
        })
    }

    /// A number with the sign of `a` and about the exponent of 1 / `a` (Arm `FRECPX`).
    pub fn reciprocal_exponent<F: Format>(self, a: F::Bits, flags: &mut Flags) -> F::Bits {
        let bits = self.read::<F>(a, flags);
        if is_nan::<F>(bits) {
            return F::truncate(self.propagate::<F>(&[bits], flags));
        }
        let exponent = match bits & F::INFINITY {
            0 => F::INFINITY - F::MIN_NORMAL,
            field => !field & F::INFINITY,
        };
        F::truncate(bits & F::SIGN | exponent)
    }

    /// 2 − `a` · `b`, rounded once; 2 for the product of zero and infinity (Arm `FRECPS`).
    pub fn reciprocal_step<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        self.step::<F>([a, b], 2, 0, flags)
    }

    /// (3 − `a` · `b`) / 2, rounded once; 1.5 for the product of zero and infinity (Arm `FRSQRTS`).
    pub fn reciprocal_root_step<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        self.step::<F>([a, b], 3, -1, flags)
    }

    /// (`addend` − `a` · `b`) · 2^`scale`, where the scale is 0 or −1.
    fn step<F: Format>(self, [a, b]: [F::Bits; 2], addend: u8, scale: i32, flags: &mut Flags) -> F::Bits {
        let (a, b) = (self.read::<F>(a, flags) ^ F::SIGN, self.read::<F>(b, flags));
        // Exact in every format.
        let addend: u64 = self.from_int::<F, u8>(addend, flags).into();
        let (x, y) = (unpack::<F>(a), unpack::<F>(b));
        F::truncate(match (x.kind, y.kind) {
            (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity) => {
                addend - u64::from(scale < 0) * F::MIN_NORMAL
            }
            _ => self.product_sum::<F>([a, b, addend], scale, flags),
        })
    }
}
