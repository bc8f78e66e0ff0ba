//! Immediates that stand for more bits than they have.

use emu_core::ir::Ty;

/// The floating-point constant of `FMOV (immediate)` (DDI 0487, J1 `VFPExpandImm`): a sign, three bits of exponent, four of
/// fraction.
pub fn float(imm8: u8, ty: Ty) -> u64 {
    let (exponent_bits, fraction_bits) = match ty {
        Ty::F16 => (5, 10),
        Ty::F32 => (8, 23),
        _ => (11, 52),
    };
    let [sign, inverted, low] = [imm8 >> 7, imm8 >> 6 & 1, imm8 >> 4 & 3].map(u64::from);
    // NOT(b):Replicate(b):cd
    let replicated = if inverted != 0 { (1u64 << (exponent_bits - 3)) - 1 } else { 0 };
    let exponent = (inverted ^ 1) << (exponent_bits - 1) | replicated << 2 | low;
    sign << (exponent_bits + fraction_bits)
        | exponent << fraction_bits
        | u64::from(imm8 & 15) << (fraction_bits - 4)
}

/// Each bit of `imm8` eight times.
pub fn byte_mask(imm8: u8) -> u64 {
    (0..8).filter(|bit| imm8 >> bit & 1 != 0).fold(0, |mask, bit| mask | 0xff << (8 * bit))
}
