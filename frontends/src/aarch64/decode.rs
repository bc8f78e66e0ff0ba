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
}
