//! Operands of Advanced SIMD and floating-point instructions in assembly language.

use std::fmt;

use emu_core::ir::Ty;

use super::decode::Insn;
use super::disas::Text;
use super::immediate;

/// The letters of scalar registers and elements, by width.
const LETTERS: [char; 5] = ['b', 'h', 's', 'd', 'q'];

/// The width that such a letter means.
fn width(letter: char) -> Option<i64> {
    LETTERS.iter().position(|&l| l == letter).map(|at| at as i64)
}

impl Text {
    /// The first and the second letter behind the dot of a line's name.
    fn suffix(insn: Insn) -> (Option<char>, Option<char>) {
        let mut letters = insn.line().name.rsplit_once('.').map_or("", |(_, suffix)| suffix).chars();
        (letters.next(), letters.next())
    }

    /// The width of the elements, 0 for bytes: from the field that has it, or the name.
    fn element_width(&self, insn: Insn) -> i64 {
        let of = |name| insn.line().field(name).map(|_| self.field(insn, name));
        let from_name = || Self::suffix(insn).0.and_then(width);
        of("size")
            .or_else(|| of("imm5").map(|imm| i64::from((imm as u32 | 8).trailing_zeros())))
            .or_else(|| of("immhb").map(|imm| i64::from((imm as u32 >> 3 | 1).ilog2())))
            .or_else(from_name)
            .unwrap_or(0)
    }

    fn is_full(&self, insn: Insn) -> bool {
        insn.line().field("q").is_none() || self.field(insn, "q") != 0
    }

    /// Register `n` as elements of a width: all of them, or those in 64 bits.
    fn arranged(f: &mut fmt::Formatter<'_>, n: i64, width: i64, full: bool) -> fmt::Result {
        let count = (if full { 16 } else { 8 }) >> width;
        write!(f, "v{n}.{count}{}", LETTERS[(width & 7).min(4) as usize])
    }

    fn scalar(f: &mut fmt::Formatter<'_>, n: i64, width: i64) -> fmt::Result {
        write!(f, "{}{n}", LETTERS[(width & 7).min(4) as usize])
    }

    /// `count` registers from `first` on.
    fn list(
        f: &mut fmt::Formatter<'_>,
        first: i64,
        count: i64,
        register: impl Fn(&mut fmt::Formatter<'_>, i64) -> fmt::Result,
    ) -> fmt::Result {
        f.write_str("{ ")?;
        for i in 0..count {
            if i != 0 {
                f.write_str(", ")?;
            }
            register(f, (first + i) % 32)?;
        }
        f.write_str(" }")
    }

    /// How many registers a load or store of one lane has.
    fn lane_count(&self, insn: Insn) -> i64 {
        2 * self.field(insn, "n") + self.field(insn, "r") + 1
    }

    /// How many registers a load or store of whole registers has: the second number in the name.
    fn whole_count(insn: Insn) -> i64 {
        let count = insn.line().name.split('_').nth(1).and_then(|count| count.parse().ok());
        count.unwrap_or(1)
    }

    /// Bytes that a load or store of structures transfers.
    fn transferred(&self, insn: Insn) -> i64 {
        match insn.format().name {
            "MultiplePost" => Self::whole_count(insn) * if self.is_full(insn) { 16 } else { 8 },
            _ => self.lane_count(insn) << self.element_width(insn),
        }
    }

    pub(super) fn vector_operand(
        &self,
        f: &mut fmt::Formatter<'_>,
        insn: Insn,
        kind: &str,
        value: i64,
    ) -> fmt::Result {
        let (size, full) = (self.element_width(insn), self.is_full(insn));
        let (first, second) = Self::suffix(insn);
        let fixed = |letter: Option<char>| letter.and_then(width).unwrap_or(0);
        match kind {
            "2" if value != 0 => f.write_str("2"),
            "2" => Ok(()),
            // Vectors.
            "v" => Self::arranged(f, value, size, full),
            "vl" => Self::arranged(f, value, size + 1, true),
            "vw" => Self::arranged(f, value, size + 1, full),
            "b" => Self::arranged(f, value, 0, full),
            "vs" => Self::arranged(f, value, 2, full),
            "vd" => Self::arranged(f, value, 3, full),
            "v8h" => Self::arranged(f, value, 1, true),
            "v4s" => Self::arranged(f, value, 2, true),
            "v2d" => Self::arranged(f, value, 3, true),
            "v16b" => Self::arranged(f, value, 0, true),
            "v1q" => Self::arranged(f, value, 4, true),
            "v2" => write!(f, "v{value}.2{}", LETTERS[size as usize & 3]),
            // As many half-precision numbers as there are of single precision.
            "half" => write!(f, "v{value}.{}h", if full { 4 } else { 2 }),
            "vd1" => write!(f, "v{value}.d[1]"),
            "e" => write!(f, "v{value}.{}", LETTERS[size as usize & 3]),
            "e4b" => write!(f, "v{value}.4b"),
            // Scalars.
            "s" => Self::scalar(f, value, size),
            "l" => Self::scalar(f, value, size + 1),
            "f" => Self::scalar(f, value, fixed(first)),
            "from" => Self::scalar(f, value, fixed(second)),
            "q" => write!(f, "q{value}"),
            "s32" => write!(f, "s{value}"),
            // General registers.
            "g" => Self::general_register(f, if size == 3 { 'x' } else { 'w' }, value),
            "gr" => Self::general_register(f, second.unwrap_or('x'), value),
            "rq" => Self::general_register(f, if full { 'x' } else { 'w' }, value),
            "post" if value == 31 => write!(f, "#{}", self.transferred(insn)),
            "post" => write!(f, "x{value}"),
            // Lists.
            "nr" => write!(f, "{}", self.lane_count(insn)),
            "list" => Self::list(f, value, Self::whole_count(insn), |f, n| Self::arranged(f, n, size, full)),
            "lists" => Self::list(f, value, self.lane_count(insn), |f, n| Self::arranged(f, n, size, full)),
            "lanes" => {
                let letter = LETTERS[size as usize & 3];
                Self::list(f, value, self.lane_count(insn), |f, n| write!(f, "v{n}.{letter}"))
            }
            "table" => {
                let count = self.field(insn, "tables") + 1;
                Self::list(f, value, count, |f, n| Self::arranged(f, n, 0, true))
            }
            // Numbers.
            "i" => write!(f, "{value}"),
            "i5" => write!(f, "{}", value >> (size + 1)),
            "i4" => write!(f, "{}", value >> size),
            "bits" => write!(f, "#{}", 8 << value),
            "shr" => write!(f, "#{}", (16 << size) - value),
            "shl" => write!(f, "#{}", value - (8 << size)),
            "fb" => write!(f, "#{}", (8 << size) - value),
            "fbits" => write!(f, "#{}", 64 - value),
            "rot" => write!(f, "#{}", 90 * value),
            "rot90" => write!(f, "#{}", 90 + 180 * value),
            "lsl8" if value == 0 => Ok(()),
            "lsl8" => write!(f, ", lsl #{}", 8 * value),
            "msl" => write!(f, ", msl #{}", 8 + 8 * value),
            "mask8" => write!(f, "#{:#x}", immediate::byte_mask(value as u8)),
            "fimm" => {
                // The same number in all formats.
                write!(f, "#{}", f64::from_bits(immediate::float(value as u8, Ty::F64)))
            }
            _ => f.write_str("?"),
        }
    }
}
