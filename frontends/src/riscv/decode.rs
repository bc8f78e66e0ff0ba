//! The decoders made from the tables `insn32.dec` and `insn16.dec`.

use super::ext::{Ext, ExtSet};
use crate::decode::{Condition, Field, Format, Line, Part};

/// Instructions of 32 bits.
pub mod insn32 {
    use super::*;
    include!(concat!(env!("OUT_DIR"), "/riscv_insn32.rs"));
}

/// Instructions of 16 bits.
pub mod insn16 {
    use super::*;
    include!(concat!(env!("OUT_DIR"), "/riscv_insn16.rs"));
}

/// The length in bytes of the instruction whose lowest 16 bits are `low`. Longer encodings are all reserved;
/// the manual lets them be four bytes.
pub const fn length(low: u16) -> u8 {
    if low & 3 == 3 { 4 } else { 2 }
}

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insn {
    /// Of 32 bits.
    Long(insn32::Insn),
    /// Of 16 bits.
    Short(insn16::Insn),
}

impl Insn {
    /// The instruction that `word` encodes with the extensions `ext`: the lower half of `word` if its length
    /// is two.
    pub fn decode(word: u32, ext: ExtSet) -> Option<Self> {
        if length(word as u16) == 4 {
            insn32::decode(word, ext).map(Self::Long)
        } else {
            insn16::decode(word & 0xffff, ext).map(Self::Short)
        }
    }

    /// Its line in the tables.
    pub fn line(self) -> &'static Line<ExtSet> {
        match self {
            Self::Long(insn) => &insn32::LINES[insn as usize],
            Self::Short(insn) => &insn16::LINES[insn as usize],
        }
    }

    /// Its format.
    pub fn format(self) -> &'static Format {
        match self {
            Self::Long(insn) => &insn32::FORMATS[insn32::LINES[insn as usize].format],
            Self::Short(insn) => &insn16::FORMATS[insn16::LINES[insn as usize].format],
        }
    }

    /// All instructions of both tables.
    pub fn all() -> impl Iterator<Item = Self> {
        let long = insn32::Insn::ALL.iter().map(|insn| Self::Long(*insn));
        long.chain(insn16::Insn::ALL.iter().map(|insn| Self::Short(*insn)))
    }
}
