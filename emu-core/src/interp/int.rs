//! Integer operations on single values.

use super::compare;
use crate::ir::{Cc, Inst, NzcvCond, Op, Ty};

/// The result of a pure integer operation on the values of its operands.
#[inline(always)]
pub fn evaluate(inst: &Inst, [a, b, c]: [u64; 3]) -> u64 {
    let narrow = inst.ty == Ty::I32;
    let result = if narrow {
        narrow_op(inst, a as u32, b as u32, c as u32).map(u64::from)
    } else {
        wide_op(inst, a, b, c)
    };
    match result {
        Some(value) => value,
        None => any_width(inst, a, b, c),
    }
}

/// Operations whose meaning is the same text in both widths.
macro_rules! by_width {
    ($name:ident, $u:ty, $s:ty, $double_u:ty, $double_s:ty) => {
        #[inline(always)]
        fn $name(inst: &Inst, a: $u, b: $u, c: $u) -> Option<$u> {
            const BITS: u32 = <$u>::BITS;
            let (sa, sb) = (a as $s, b as $s);
            Some(match inst.op {
                Op::Mov => a,
                Op::Add => a.wrapping_add(b),
                Op::Sub => a.wrapping_sub(b),
                Op::Adc => a.wrapping_add(b).wrapping_add(c & 1),
                Op::And => a & b,
                Op::Or => a | b,
                Op::Xor => a ^ b,
                Op::Andn => a & !b,
                Op::Orn => a | !b,
                Op::Xnor => !(a ^ b),
                Op::Shl => a.wrapping_shl(b as u32),
                Op::Shr => a.wrapping_shr(b as u32),
                Op::Sar => sa.wrapping_shr(b as u32) as $u,
                Op::Rotl => a.rotate_left(b as u32 % BITS),
                Op::Rotr => a.rotate_right(b as u32 % BITS),
                Op::Mul => a.wrapping_mul(b),
                Op::Mulhs => ((sa as $double_s * sb as $double_s) >> BITS) as $u,
                Op::Mulhu => ((a as $double_u * b as $double_u) >> BITS) as $u,
                Op::Mulhsu => ((sa as $double_s * b as $double_s) >> BITS) as $u,
                Op::Divs => if b == 0 { <$u>::MAX } else { sa.wrapping_div(sb) as $u },
                Op::Divu => a.checked_div(b).unwrap_or(<$u>::MAX),
                Op::Rems => if b == 0 { a } else { sa.wrapping_rem(sb) as $u },
                Op::Remu => a.checked_rem(b).unwrap_or(a),
                Op::Mins => sa.min(sb) as $u,
                Op::Maxs => sa.max(sb) as $u,
                Op::Minu => a.min(b),
                Op::Maxu => a.max(b),
                Op::Clz => a.leading_zeros() as $u,
                Op::Ctz => a.trailing_zeros() as $u,
                Op::Popcnt => a.count_ones() as $u,
                Op::Bswap => a.swap_bytes(),
                Op::Bitrev => a.reverse_bits(),
                Op::Orcb => <$u>::from_le_bytes(a.to_le_bytes().map(|byte| if byte == 0 { 0 } else { 0xff })),
                Op::Clmul => clmul(a.into(), b.into()) as $u,
                Op::Clmulh => (clmul(a.into(), b.into()) >> BITS) as $u,
                Op::Clmulr => (clmul(a.into(), b.into()) >> (BITS - 1)) as $u,
                Op::Sext8 => a as i8 as $u,
                Op::Sext16 => a as i16 as $u,
                Op::Extract | Op::Extracts => {
                    let (lsb, len) = field(inst.imm, BITS);
                    let up = a << (BITS - lsb - len);
                    if inst.op == Op::Extract { up >> (BITS - len) } else { ((up as $s) >> (BITS - len)) as $u }
                }
                Op::Insert => {
                    let (lsb, len) = field(inst.imm, BITS);
                    let mask = (<$u>::MAX >> (BITS - len)) << lsb;
                    (a & !mask) | ((b << lsb) & mask)
                }
                Op::NzcvAdd => {
                    let (sum, carry_1) = a.overflowing_add(b);
                    let (sum, carry_2) = sum.overflowing_add(c & 1);
                    let overflow = (a ^ sum) & (b ^ sum);
                    nzcv(sum as $s < 0, sum == 0, carry_1 | carry_2, (overflow as $s) < 0) as $u
                }
                Op::NzcvSub => {
                    let b = !b;
                    let (sum, carry_1) = a.overflowing_add(b);
                    let (sum, carry_2) = sum.overflowing_add(c & 1);
                    let overflow = (a ^ sum) & (b ^ sum);
                    nzcv(sum as $s < 0, sum == 0, carry_1 | carry_2, (overflow as $s) < 0) as $u
                }
                Op::NzcvLogic => nzcv(sa < 0, a == 0, false, false) as $u,
                _ => return None,
            })
        }
    };
}
by_width!(narrow_op, u32, i32, u64, i64);
by_width!(wide_op, u64, i64, u128, i128);

/// Operations that look at whole containers, or come in one width only.
#[inline(always)]
fn any_width(inst: &Inst, a: u64, b: u64, c: u64) -> u64 {
    let narrow = |value: u64| if inst.ty == Ty::I32 { value & 0xffff_ffff } else { value };
    match inst.op {
        Op::Set => compare(Cc::from_bits(inst.attr), inst.ty, a, b).into(),
        Op::Select => {
            let chosen = if narrow(a) == 0 { c } else { b };
            narrow(chosen)
        }
        Op::Sext32 => a as i32 as u64,
        Op::Zext8 => a & 0xff,
        Op::Zext16 => a & 0xffff,
        Op::Zext32 => a & 0xffff_ffff,
        Op::NzcvTest => NzcvCond::from_bits(inst.attr).holds(a).into(),
        // The verifier knows no other.
        _ => 0,
    }
}

/// First bit and length of a bit field, from its immediate.
fn field(imm: i32, bits: u32) -> (u32, u32) {
    let lsb = (imm as u32 & 0xff).min(bits - 1);
    (lsb, (imm as u32 >> 8).clamp(1, bits - lsb))
}

fn clmul(a: u128, b: u64) -> u128 {
    (0..64).filter(|bit| b >> bit & 1 != 0).fold(0, |product, bit| product ^ a << bit)
}

fn nzcv(n: bool, z: bool, c: bool, v: bool) -> u32 {
    u32::from(n) << 31 | u32::from(z) << 30 | u32::from(c) << 29 | u32::from(v) << 28
}
