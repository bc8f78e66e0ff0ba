//! Every half-precision operand.

use emu_core::fp::{BF16, Env, F16, F32, F64, Flags, Format};

use super::reference::{Exact, decode, rounded};
use super::{Op, ROUNDS, is_nan, is_signaling, soft};

fn check_sqrt<F: Format>() {
    for a in 0..=u64::from(u16::MAX) {
        for round in ROUNDS {
            let env = Env::new(round);
            let expected = match a {
                _ if is_signaling::<F>(a) => (F::DEFAULT_NAN, Flags::INVALID),
                _ if is_nan::<F>(a) => (F::DEFAULT_NAN, Flags::NONE),
                _ if a & !F::SIGN == 0 || a == F::INFINITY => (a, Flags::NONE),
                _ if a & F::SIGN != 0 => (F::DEFAULT_NAN, Flags::INVALID),
                _ => {
                    let (m, e) = decode::<F>(a);
                    rounded::<F>(env, false, Exact::Root(m, e))
                }
            };
            assert_eq!(soft::<F>(Op::Sqrt, env, [a, 0, 0]), expected, "{round:?} {a:x}");
        }
    }
}

#[test]
fn square_roots_of_every_16_bit_number() {
    check_sqrt::<F16>();
    check_sqrt::<BF16>();
}

/// Widening is exact, raises nothing and is undone by narrowing, whatever the direction.
#[test]
fn every_half_survives_widening() {
    for a in (0..=u16::MAX).filter(|&a| !is_nan::<F16>(a.into())) {
        let (m, e) = decode::<F16>((a & 0x7fff).into());
        let value = m as f64 * 2f64.powi(e) * if a >> 15 != 0 { -1.0 } else { 1.0 };
        let value = if a & 0x7fff == 0x7c00 { f64::INFINITY.copysign(value) } else { value };
        for round in ROUNDS {
            let env = Env::new(round);
            let mut flags = Flags::NONE;
            let single = env.convert::<F16, F32>(a, &mut flags);
            let double = env.convert::<F16, F64>(a, &mut flags);
            assert_eq!((f64::from(f32::from_bits(single)), f64::from_bits(double)), (value, value));
            assert_eq!(double >> 63, u64::from(a >> 15));
            assert_eq!(env.convert::<F32, F16>(single, &mut flags), a);
            assert_eq!(env.convert::<F64, F16>(double, &mut flags), a);
            assert!(flags.is_empty());
        }
    }
}

/// Some operands against every other.
#[test]
fn selected_halves_against_every_half() {
    let selected = [0x0000, 0x8001, 0x03ff, 0x8400, 0x0401, 0x3bff, 0x3c01, 0xb955, 0x7bff, 0xfbfe];
    for a in selected {
        let (ma, ea) = decode::<F16>(a & 0x7fff);
        for b in (0..=u64::from(u16::MAX)).filter(|b| b & 0x7c00 != 0x7c00 && b & 0x7fff != 0) {
            let (mb, eb) = decode::<F16>(b & 0x7fff);
            let negative = (a ^ b) & 0x8000 != 0;
            if a == 0 {
                continue;
            }
            for round in ROUNDS {
                let env = Env::new(round);
                let product = rounded::<F16>(env, negative, Exact::Dyadic(ma * mb, ea + eb));
                assert_eq!(soft::<F16>(Op::Mul, env, [a, b, 0]), product, "{round:?} {a:x} * {b:x}");
                let quotient = rounded::<F16>(env, negative, Exact::Quotient(ma, ea - eb, mb));
                assert_eq!(soft::<F16>(Op::Div, env, [a, b, 0]), quotient, "{round:?} {a:x} / {b:x}");
            }
        }
    }
}
