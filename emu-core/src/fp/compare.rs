//! Comparisons, minimum and maximum (IEEE 754-2019 §5.11, §9.6).

use std::cmp::Ordering;

use super::env::{Env, Flags};
use super::format::{Format, is_nan, is_signaling};

/// How [`Env::extremum`] treats NaNs.
#[derive(Copy, Clone, PartialEq, Eq)]
enum NanRule {
    /// Any NaN wins.
    Wins,
    /// Any NaN loses against a number.
    Loses,
    /// A quiet NaN loses, a signaling one wins.
    QuietLoses,
}

impl Env {
    /// The order of `a` and `b`, none if either is a NaN. Raises invalid for a signaling NaN only.
    pub fn compare_quiet<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> Option<Ordering> {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        if is_nan::<F>(a) || is_nan::<F>(b) {
            if is_signaling::<F>(a) || is_signaling::<F>(b) {
                *flags |= Flags::INVALID;
            }
            return None;
        }
        Some(order::<F>(a, b))
    }

    /// The order of `a` and `b`, none if either is a NaN. Raises invalid for any NaN.
    pub fn compare_signaling<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> Option<Ordering> {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        if is_nan::<F>(a) || is_nan::<F>(b) {
            *flags |= Flags::INVALID;
            return None;
        }
        Some(order::<F>(a, b))
    }

    /// `a` = `b`, quiet (RISC-V `feq`).
    pub fn eq<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> bool {
        self.compare_quiet::<F>(a, b, flags) == Some(Ordering::Equal)
    }

    /// `a` < `b`, signaling (RISC-V `flt`).
    pub fn lt<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> bool {
        self.compare_signaling::<F>(a, b, flags) == Some(Ordering::Less)
    }

    /// `a` ≤ `b`, signaling (RISC-V `fle`).
    pub fn le<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> bool {
        self.compare_signaling::<F>(a, b, flags).is_some_and(Ordering::is_le)
    }

    /// `a` < `b`, quiet (RISC-V Zfa `fltq`).
    pub fn lt_quiet<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> bool {
        self.compare_quiet::<F>(a, b, flags) == Some(Ordering::Less)
    }

    /// `a` ≤ `b`, quiet (RISC-V Zfa `fleq`).
    pub fn le_quiet<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> bool {
        self.compare_quiet::<F>(a, b, flags).is_some_and(Ordering::is_le)
    }

    /// IEEE 754-2019 `minimum`: −0 < +0, any NaN wins (RISC-V Zfa `fminm`, Arm `FMIN`).
    pub fn minimum<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        self.extremum::<F>(a, b, Ordering::Less, NanRule::Wins, flags)
    }

    /// IEEE 754-2019 `maximum`: −0 < +0, any NaN wins (RISC-V Zfa `fmaxm`, Arm `FMAX`).
    pub fn maximum<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        self.extremum::<F>(a, b, Ordering::Greater, NanRule::Wins, flags)
    }

    /// IEEE 754-2019 `minimumNumber`: −0 < +0, a number wins over any NaN, though a signaling one raises
    /// invalid (RISC-V `fmin`, F version 2.2).
    pub fn minimum_number<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        self.extremum::<F>(a, b, Ordering::Less, NanRule::Loses, flags)
    }

    /// IEEE 754-2019 `maximumNumber`: −0 < +0, a number wins over any NaN, though a signaling one raises
    /// invalid (RISC-V `fmax`, F version 2.2).
    pub fn maximum_number<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        self.extremum::<F>(a, b, Ordering::Greater, NanRule::Loses, flags)
    }

    /// IEEE 754-2008 `minNum`: −0 < +0, a number wins over a quiet NaN, a signaling NaN makes the result a
    /// NaN (Arm `FMINNM`).
    pub fn min_num<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        self.extremum::<F>(a, b, Ordering::Less, NanRule::QuietLoses, flags)
    }

    /// IEEE 754-2008 `maxNum`: −0 < +0, a number wins over a quiet NaN, a signaling NaN makes the result a
    /// NaN (Arm `FMAXNM`).
    pub fn max_num<F: Format>(self, a: F::Bits, b: F::Bits, flags: &mut Flags) -> F::Bits {
        self.extremum::<F>(a, b, Ordering::Greater, NanRule::QuietLoses, flags)
    }

    /// The operand that stands to the other as `wanted` says.
    #[inline]
    fn extremum<F: Format>(
        self,
        a: F::Bits,
        b: F::Bits,
        wanted: Ordering,
        rule: NanRule,
        flags: &mut Flags,
    ) -> F::Bits {
        let (a, b) = (self.read::<F>(a, flags), self.read::<F>(b, flags));
        let signaling = is_signaling::<F>(a) || is_signaling::<F>(b);
        let number_wins = match rule {
            NanRule::Wins => false,
            NanRule::Loses => true,
            NanRule::QuietLoses => !signaling,
        };
        F::truncate(match (is_nan::<F>(a), is_nan::<F>(b)) {
            (false, false) => {
                if total_key::<F>(a).cmp(&total_key::<F>(b)) == wanted {
                    a
                } else {
                    b
                }
            }
            (true, false) | (false, true) if number_wins => {
                if signaling {
                    *flags |= Flags::INVALID;
                }
                if is_nan::<F>(a) { b } else { a }
            }
            _ => self.propagate::<F>(&[a, b], flags),
        })
    }
}

/// The order of two numbers, in which the zeros are equal.
#[inline]
fn order<F: Format>(a: u64, b: u64) -> Ordering {
    if (a | b) & !F::SIGN == 0 {
        return Ordering::Equal;
    }
    total_key::<F>(a).cmp(&total_key::<F>(b))
}

/// An integer that orders numbers, and −0 below +0.
#[inline]
fn total_key<F: Format>(bits: u64) -> i64 {
    let magnitude = (bits & !F::SIGN) as i64;
    if bits & F::SIGN != 0 { !magnitude } else { magnitude }
}
