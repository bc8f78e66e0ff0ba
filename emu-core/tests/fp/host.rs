#![allow(unsafe_code, reason = "the host's unit under a chosen rounding mode is reachable by assembly only")]
//! Values and exceptions against the SSE unit of the host, in the four rounding directions that it has. Like
//! RISC-V it detects tininess after rounding. Its NaNs are its own, so any NaN matches any other.

use std::arch::asm;
use std::cmp::Ordering;

use emu_core::fp::{Env, F16, F32, F64, Flags, Format, Round};

use super::operands::{Random, operand, triple};
use super::{Op, is_nan, soft};

/// MXCSR with all exceptions masked and none raised, to nearest.
static MXCSR: u32 = 0x1f80;

/// The directions with their MXCSR.RC encodings.
const ROUNDS: [(Round, u32); 4] =
    [(Round::NearestEven, 0), (Round::Down, 1), (Round::Up, 2), (Round::TowardZero, 3)];

/// The exceptions that MXCSR says were raised. Its bit 1, for subnormal operands, has no counterpart.
fn raised(mxcsr: u32) -> Flags {
    let table = [
        (1, Flags::INVALID),
        (1 << 2, Flags::DIV_BY_ZERO),
        (1 << 3, Flags::OVERFLOW),
        (1 << 4, Flags::UNDERFLOW),
        (1 << 5, Flags::INEXACT),
    ];
    table.into_iter().filter(|(bit, _)| mxcsr & bit != 0).fold(Flags::NONE, |all, (_, flag)| all | flag)
}

/// A function that runs one instruction with `rc` as rounding control, on operands `a`, `b`, `c` in registers
/// `x`, `y`, `z`, and returns `x` or `r` with the exceptions.
macro_rules! host {
    ($name:ident, $insn:literal, $float:ty, $bits:ty) => {
        fn $name(rc: u32, [a, b, c]: [u64; 3]) -> (u64, Flags) {
            let mut mxcsr = MXCSR | rc << 13;
            let mut x = <$float>::from_bits(a as $bits);
            let y = <$float>::from_bits(b as $bits);
            let z = <$float>::from_bits(c as $bits);
            // SAFETY: reads and writes only its operands; MXCSR has its ordinary value again afterwards. The
            // tests that use an instruction check that the host has it.
            unsafe {
                asm!(
                    "ldmxcsr [{csr}]", $insn, "stmxcsr [{csr}]", "ldmxcsr [{ordinary}]", "/* {y} {z} */",
                    csr = in(reg) &raw mut mxcsr, ordinary = in(reg) &raw const MXCSR,
                    x = inout(xmm_reg) x, y = in(xmm_reg) y, z = in(xmm_reg) z, options(nostack),
                );
            }
            (u64::from(x.to_bits()), raised(mxcsr))
        }
    };
    ($name:ident, $insn:literal, $from:ty, $from_bits:ty => $to:ty) => {
        fn $name(rc: u32, a: u64) -> ($to, Flags) {
            let mut mxcsr = MXCSR | rc << 13;
            let x = <$from>::from_bits(a as $from_bits);
            let r: u64;
            // SAFETY: as above.
            unsafe {
                asm!(
                    "ldmxcsr [{csr}]", $insn, "stmxcsr [{csr}]", "ldmxcsr [{ordinary}]",
                    csr = in(reg) &raw mut mxcsr, ordinary = in(reg) &raw const MXCSR,
                    x = in(xmm_reg) x, r = out(reg) r, options(nostack),
                );
            }
            (r as $to, raised(mxcsr))
        }
    };
    ($name:ident, $insn:literal, $from:ty => $to:ty) => {
        fn $name(rc: u32, a: $from) -> (u64, Flags) {
            let mut mxcsr = MXCSR | rc << 13;
            let x: $to;
            // SAFETY: as above.
            unsafe {
                asm!(
                    "ldmxcsr [{csr}]", $insn, "stmxcsr [{csr}]", "ldmxcsr [{ordinary}]",
                    csr = in(reg) &raw mut mxcsr, ordinary = in(reg) &raw const MXCSR,
                    a = in(reg) a, x = out(xmm_reg) x, options(nostack),
                );
            }
            (u64::from(x.to_bits()), raised(mxcsr))
        }
    };
}

host!(add32, "addss {x}, {y}", f32, u32);
host!(sub32, "subss {x}, {y}", f32, u32);
host!(mul32, "mulss {x}, {y}", f32, u32);
host!(div32, "divss {x}, {y}", f32, u32);
host!(sqrt32, "sqrtss {x}, {x}", f32, u32);
host!(fma32, "vfmadd213ss {x}, {y}, {z}", f32, u32);
host!(round32, "roundss {x}, {x}, 4", f32, u32);
host!(quiet32, "ucomiss {x}, {y}", f32, u32);
host!(signaling32, "comiss {x}, {y}", f32, u32);
host!(add64, "addsd {x}, {y}", f64, u64);
host!(sub64, "subsd {x}, {y}", f64, u64);
host!(mul64, "mulsd {x}, {y}", f64, u64);
host!(div64, "divsd {x}, {y}", f64, u64);
host!(sqrt64, "sqrtsd {x}, {x}", f64, u64);
host!(fma64, "vfmadd213sd {x}, {y}, {z}", f64, u64);
host!(round64, "roundsd {x}, {x}, 4", f64, u64);
host!(quiet64, "ucomisd {x}, {y}", f64, u64);
host!(signaling64, "comisd {x}, {y}", f64, u64);
host!(narrow, "cvtsd2ss {x}, {x}", f64, u64);
host!(widen, "cvtss2sd {x}, {x}", f64, u64);
// These two work on four lanes, of which all but the first are cleared beforehand.
host!(to_half, "insertps {x}, {x}, 14\nvcvtps2ph {x}, {x}, 4", f32, u32);
host!(from_half, "insertps {x}, {x}, 14\nvcvtph2ps {x}, {x}", f32, u32);
host!(i32_of_32, "cvtss2si {r:e}, {x}", f32, u32 => i32);
host!(i64_of_32, "cvtss2si {r}, {x}", f32, u32 => i64);
host!(i32_of_64, "cvtsd2si {r:e}, {x}", f64, u64 => i32);
host!(i64_of_64, "cvtsd2si {r}, {x}", f64, u64 => i64);
host!(i32_to_32, "cvtsi2ss {x}, {a:e}", i32 => f32);
host!(i64_to_32, "cvtsi2ss {x}, {a}", i64 => f32);
host!(i32_to_64, "cvtsi2sd {x}, {a:e}", i32 => f64);
host!(i64_to_64, "cvtsi2sd {x}, {a}", i64 => f64);

type Host = fn(u32, [u64; 3]) -> (u64, Flags);

fn same<F: Format>(a: (u64, Flags), b: (u64, Flags)) -> bool {
    a.1 == b.1 && (a.0 == b.0 || is_nan::<F>(a.0) && is_nan::<F>(b.0))
}

/// Goes through `cases` operands in each direction.
fn check<F: Format>(op: Op, host: Host, cases: usize) {
    let mut rng = Random(op as u64);
    for _ in 0..cases {
        let operands = triple::<F>(&mut rng);
        for (round, rc) in ROUNDS {
            let mut expected = host(rc, operands);
            let actual = soft::<F>(op, Env::new(round), operands);
            if op == Op::Fma && is_undefined_product::<F>(operands) {
                // The one difference: x86 does not raise invalid for ∞ · 0 plus a quiet NaN.
                expected.1 |= Flags::INVALID;
            }
            assert!(
                same::<F>(actual, expected),
                "{op:?} {round:?} {operands:x?}: {actual:x?}, host {expected:x?}"
            );
        }
    }
}

fn is_undefined_product<F: Format>([a, b, _]: [u64; 3]) -> bool {
    let (a, b) = (a & !F::SIGN, b & !F::SIGN);
    (a, b) == (0, F::INFINITY) || (a, b) == (F::INFINITY, 0)
}

const CASES: usize = 1_000_000;

#[test]
fn single_add_matches_the_host() {
    check::<F32>(Op::Add, add32, CASES);
}

#[test]
fn single_sub_matches_the_host() {
    check::<F32>(Op::Sub, sub32, CASES);
}

#[test]
fn single_mul_matches_the_host() {
    check::<F32>(Op::Mul, mul32, CASES);
}

#[test]
fn single_div_matches_the_host() {
    check::<F32>(Op::Div, div32, CASES);
}

#[test]
fn single_sqrt_matches_the_host() {
    check::<F32>(Op::Sqrt, sqrt32, CASES);
}

#[test]
fn single_fma_matches_the_host() {
    if std::arch::is_x86_feature_detected!("fma") {
        check::<F32>(Op::Fma, fma32, CASES);
    }
}

#[test]
fn double_add_matches_the_host() {
    check::<F64>(Op::Add, add64, CASES);
}

#[test]
fn double_sub_matches_the_host() {
    check::<F64>(Op::Sub, sub64, CASES);
}

#[test]
fn double_mul_matches_the_host() {
    check::<F64>(Op::Mul, mul64, CASES);
}

#[test]
fn double_div_matches_the_host() {
    check::<F64>(Op::Div, div64, CASES);
}

#[test]
fn double_sqrt_matches_the_host() {
    check::<F64>(Op::Sqrt, sqrt64, CASES);
}

#[test]
fn double_fma_matches_the_host() {
    if std::arch::is_x86_feature_detected!("fma") {
        check::<F64>(Op::Fma, fma64, CASES);
    }
}

/// Checks a conversion between formats, or to an integral number.
fn check_unary<From: Format, To: Format>(
    host: Host,
    soft: fn(Env, From::Bits, &mut Flags) -> To::Bits,
    cases: usize,
) {
    let mut rng = Random(7);
    for _ in 0..cases {
        let a = operand::<From>(&mut rng);
        for (round, rc) in ROUNDS {
            let (bits, raised) = host(rc, [a, 0, 0]);
            let expected = (To::truncate(bits).into(), raised);
            let mut flags = Flags::NONE;
            let actual = (soft(Env::new(round), From::truncate(a), &mut flags).into(), flags);
            assert!(same::<To>(actual, expected), "{round:?} {a:x}: {actual:x?}, host {expected:x?}");
        }
    }
}

#[test]
fn conversions_between_formats_match_the_host() {
    check_unary::<F64, F32>(narrow, Env::convert::<F64, F32>, CASES);
    check_unary::<F32, F64>(widen, Env::convert::<F32, F64>, CASES);
    if std::arch::is_x86_feature_detected!("f16c") {
        check_unary::<F32, F16>(to_half, Env::convert::<F32, F16>, CASES);
        check_unary::<F16, F32>(from_half, Env::convert::<F16, F32>, CASES);
    }
}

#[test]
fn rounding_to_integral_matches_the_host() {
    if std::arch::is_x86_feature_detected!("sse4.1") {
        check_unary::<F32, F32>(round32, Env::round_to_integral_exact::<F32>, CASES);
        check_unary::<F64, F64>(round64, Env::round_to_integral_exact::<F64>, CASES);
    }
}

/// The host's result for anything that is out of range is the smallest integer.
fn check_to_int<F: Format, I: emu_core::fp::Int + PartialEq + std::fmt::Debug>(
    host: fn(u32, u64) -> (I, Flags),
    smallest: I,
) {
    let mut rng = Random(8);
    for _ in 0..CASES {
        let a = operand::<F>(&mut rng);
        for (round, rc) in ROUNDS {
            let (expected, raised) = host(rc, a);
            let mut flags = Flags::NONE;
            let actual = Env::new(round).to_int::<F, I>(F::truncate(a), &mut flags);
            assert_eq!(flags, raised, "{round:?} {a:x}");
            assert!(
                actual == expected || flags == Flags::INVALID && expected == smallest,
                "{round:?} {a:x}: {actual:?}"
            );
        }
    }
}

#[test]
fn conversions_to_integers_match_the_host() {
    check_to_int::<F32, i32>(i32_of_32, i32::MIN);
    check_to_int::<F32, i64>(i64_of_32, i64::MIN);
    check_to_int::<F64, i32>(i32_of_64, i32::MIN);
    check_to_int::<F64, i64>(i64_of_64, i64::MIN);
}

#[test]
fn conversions_from_integers_match_the_host() {
    let mut rng = Random(9);
    for _ in 0..CASES {
        let shift = rng.below(64) as u32;
        let wide = (rng.bits() as i64 >> shift).wrapping_add(rng.below(3) as i64 - 1);
        let wide = if rng.below(2) == 0 { wide & (-1 << rng.below(64)) } else { wide };
        let narrow = wide as i32;
        for (round, rc) in ROUNDS {
            let env = Env::new(round);
            let mut flags = [Flags::NONE; 4];
            let results: [u64; 4] = [
                env.from_int::<F32, i32>(narrow, &mut flags[0]).into(),
                env.from_int::<F32, i64>(wide, &mut flags[1]).into(),
                env.from_int::<F64, i32>(narrow, &mut flags[2]),
                env.from_int::<F64, i64>(wide, &mut flags[3]),
            ];
            let expected =
                [i32_to_32(rc, narrow), i64_to_32(rc, wide), i32_to_64(rc, narrow), i64_to_64(rc, wide)];
            assert_eq!(results, expected.map(|(bits, _)| bits), "{round:?} {wide}");
            assert_eq!(flags, expected.map(|(_, raised)| raised), "{round:?} {wide}");
        }
    }
}

fn check_compare<F: Format>(quiet: Host, signaling: Host, order: fn(u64, u64) -> Option<Ordering>) {
    let mut rng = Random(10);
    let env = Env::new(Round::NearestEven);
    for _ in 0..CASES {
        let [a, b, _] = triple::<F>(&mut rng);
        let (x, y) = (F::truncate(a), F::truncate(b));
        let mut flags = Flags::NONE;
        assert_eq!(env.compare_quiet::<F>(x, y, &mut flags), order(a, b), "{a:x} {b:x}");
        assert_eq!(flags, quiet(0, [a, b, 0]).1, "{a:x} {b:x}");
        let mut flags = Flags::NONE;
        assert_eq!(env.compare_signaling::<F>(x, y, &mut flags), order(a, b), "{a:x} {b:x}");
        assert_eq!(flags, signaling(0, [a, b, 0]).1, "{a:x} {b:x}");
        let ignored = &mut Flags::default();
        assert_eq!(env.eq::<F>(x, y, ignored), order(a, b) == Some(Ordering::Equal));
        assert_eq!(env.lt::<F>(x, y, ignored), order(a, b) == Some(Ordering::Less));
        assert_eq!(env.le::<F>(x, y, ignored), order(a, b).is_some_and(Ordering::is_le));
        assert_eq!(env.lt_quiet::<F>(x, y, ignored), env.lt::<F>(x, y, &mut Flags::default()));
        assert_eq!(env.le_quiet::<F>(x, y, ignored), env.le::<F>(x, y, &mut Flags::default()));
    }
}

#[test]
fn comparisons_match_the_host() {
    check_compare::<F32>(quiet32, signaling32, |a, b| {
        f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32))
    });
    check_compare::<F64>(quiet64, signaling64, |a, b| f64::from_bits(a).partial_cmp(&f64::from_bits(b)));
}
