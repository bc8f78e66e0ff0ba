//! The decoder made from the tables `a64/*.dec`.

use super::features::{Feature, FeatureSet};
use crate::decode::{Condition, Field, Format, Line, Part};

include!(concat!(env!("OUT_DIR"), "/aarch64_a64.rs"));

/// Bytes of every instruction.
pub const LENGTH: u8 = 4;

impl Insn {
    /// Its line in the tables.
    pub fn line(self) -> &'static Line<FeatureSet> {
        &LINES[self as usize]
    }

    /// Its format.
    pub fn format(self) -> &'static Format {
        &FORMATS[self.line().format]
    }

    /// Whether it is in the tables of Advanced SIMD and floating point, and so traps where these are off. (Loads and stores of
    /// single registers and pairs are elsewhere.)
    pub fn is_vector(self) -> bool {
        // The first of them, which come last.
        self >= Self::St44
    }

    /// Its name in assembly language, without what tells lines of one name apart.
    pub fn mnemonic(self) -> &'static str {
        let name = self.line().name;
        name.split(['_', '.']).next().unwrap_or(name)
    }
}

/// The constant of a logical immediate: `bits` is N:immr:imms, the result has the pattern in 64 bits (DDI 0487, J1
/// `DecodeBitMasks`). None if the encoding is reserved.
pub fn bitmask(bits: u16) -> Option<u64> {
    let (n, immr, imms) = (u32::from(bits >> 12 & 1), u32::from(bits >> 6 & 63), u32::from(bits & 63));
    // The element's size is told by the highest bit of N:NOT(imms).
    let len = 31u32.checked_sub((n << 6 | (!imms & 63)).leading_zeros()).filter(|len| *len >= 1)?;
    let size = 1u32 << len;
    let (ones, rotate) = ((imms & (size - 1)) + 1, immr & (size - 1));
    if ones == size {
        return None;
    }
    let element = u64::MAX >> (64 - ones);
    let field = u64::MAX >> (64 - size);
    let rotated =
        if rotate == 0 { element } else { (element >> rotate | element << (size - rotate)) & field };
    Some((0..64 / size).fold(0, |value, i| value | rotated << (i * size)))
}

/// Conditions that the tables name.
mod checks {
    fn bits(word: u32, low: u32, len: u32) -> u32 {
        word >> low & ((1 << len) - 1)
    }

    fn q(word: u32) -> bool {
        bits(word, 30, 1) != 0
    }

    /// The registers of a memory set are three, and only its value may be the zero register.
    pub(super) fn set_registers(word: u32) -> bool {
        let [d, n, s] = [0, 5, 16].map(|low| bits(word, low, 5));
        d != n && d != s && n != s && d != 31 && n != 31
    }

    /// Those of a memory copy are three general registers.
    pub(super) fn copy_registers(word: u32) -> bool {
        set_registers(word) && bits(word, 16, 5) != 31
    }

    /// A logical immediate that is not reserved.
    pub(super) fn bitmask(word: u32) -> bool {
        super::bitmask((word >> 10 & 0x1fff) as u16).is_some()
    }

    /// `MSR (immediate)` names a field of PSTATE: SPSel, DAIFSet, DAIFClr, and UAO, PAN, SSBS and DIT, whose features the lifter
    /// checks (C6.2 "MSR (immediate)").
    pub(super) fn pstate_field(word: u32) -> bool {
        let (op1, op2) = (word >> 16 & 7, word >> 5 & 7);
        matches!((op1, op2), (0, 3..=5) | (3, 1 | 2 | 6 | 7))
    }

    /// Vectors of 64 bits have more than one element; the width is in bits 23:22.
    pub(super) fn arrangement(word: u32) -> bool {
        q(word) || bits(word, 22, 2) != 3
    }

    /// The same for bits 11:10.
    pub(super) fn arrangement_low(word: u32) -> bool {
        q(word) || bits(word, 10, 2) != 3
    }

    /// The same for the lowest bit set in bits 20:16.
    pub(super) fn arrangement5(word: u32) -> bool {
        q(word) || bits(word, 16, 4) != 8
    }

    /// `SMOV` extends the element to the register.
    pub(super) fn smov(word: u32) -> bool {
        let size = bits(word, 16, 5).trailing_zeros();
        size < if q(word) { 3 } else { 2 }
    }

    /// `UMOV` takes a register as small as the element fits.
    pub(super) fn umov(word: u32) -> bool {
        let size = bits(word, 16, 5).trailing_zeros();
        if q(word) { size == 3 } else { size < 3 }
    }

    /// The place of `EXT` is in the vector.
    pub(super) fn ext(word: u32) -> bool {
        q(word) || bits(word, 14, 1) == 0
    }

    /// There are at least four elements.
    pub(super) fn across(word: u32) -> bool {
        q(word) || bits(word, 22, 2) != 2
    }

    /// A shift's element width is in `immh`, bits 22:19: any, as vectors have it.
    pub(super) fn shift_vector(word: u32) -> bool {
        bits(word, 19, 4) != 0 && (q(word) || bits(word, 22, 1) == 0)
    }

    /// Up to 32 bits.
    pub(super) fn shift_narrow(word: u32) -> bool {
        bits(word, 19, 4) != 0 && bits(word, 22, 1) == 0
    }

    /// Any, as scalars have it.
    pub(super) fn shift_scalar(word: u32) -> bool {
        bits(word, 19, 4) != 0
    }

    /// 64 bits.
    pub(super) fn shift_doubleword(word: u32) -> bool {
        bits(word, 22, 1) != 0
    }

    /// The element of `FCMLA` is in the vector.
    pub(super) fn fcmla_half(word: u32) -> bool {
        q(word) || bits(word, 11, 1) == 0
    }

    /// A number of 32 bits has at most so many fraction bits.
    pub(super) fn scale(word: u32) -> bool {
        bits(word, 15, 1) != 0
    }
}
