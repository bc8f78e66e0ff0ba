//! Disassembly, in the syntax of the GNU tools without aliases.

use std::fmt;

use super::decode::{Insn, bitmask, decode};
use super::features::FeatureSet;
use crate::decode::write_operands;

/// The instruction `word` at virtual address `pc`, as a processor with these features sees it. Undefined ones are shown as
/// data.
pub fn disassemble(word: u32, pc: u64, features: FeatureSet) -> impl fmt::Display {
    Text { word, pc, insn: decode(word, features) }
}

pub(super) struct Text {
    word: u32,
    pc: u64,
    insn: Option<Insn>,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(insn) = self.insn else { return write!(f, ".inst {:#010x}", self.word) };
        f.write_str(insn.mnemonic())?;
        write_operands(f, insn.format().syntax, |f, kind, name| self.operand(f, insn, kind, name))
    }
}

const CONDITIONS: [&str; 16] =
    ["eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "nv"];

/// How memory copies access memory: unprivileged to write (bit 0) and to read (1), non-temporal
/// to write (2) and to read (3).
const ACCESSES: [&str; 16] =
    ["", "wt", "rt", "t", "wn", "wtwn", "rtwn", "twn", "rn", "wtrn", "rtrn", "trn", "n", "wtn", "rtn", "tn"];

/// A register by number. In a general one 31 is `zero`.
fn register(f: &mut fmt::Formatter<'_>, letter: char, n: i64, zero: &str) -> fmt::Result {
    match n {
        _ if !matches!(letter, 'w' | 'x') => write!(f, "{letter}{n}"),
        31 if letter == 'w' && zero == "sp" => f.write_str("wsp"),
        31 if zero == "sp" => f.write_str("sp"),
        31 => write!(f, "{letter}zr"),
        _ => write!(f, "{letter}{n}"),
    }
}

impl Text {
    pub(super) fn field(&self, insn: Insn, name: &str) -> i64 {
        insn.line().field(name).map_or(0, |field| field.get(self.word))
    }

    fn operand(&self, f: &mut fmt::Formatter<'_>, insn: Insn, kind: &str, name: &str) -> fmt::Result {
        let value = self.field(insn, name);
        let line = insn.line().name;
        // The letter of the instruction's width.
        let letter = match line.rsplit_once('.') {
            Some((_, width)) => width.chars().next().unwrap_or('x'),
            None => 'x',
        };
        match kind {
            "r" => register(f, letter, value, "zr"),
            "r1" => register(f, letter, value + 1, "zr"),
            "rsp" => register(f, letter, value, "sp"),
            "x" => register(f, 'x', value, "zr"),
            "w" => register(f, 'w', value, "zr"),
            "xsp" => register(f, 'x', value, "sp"),
            "d" => write!(f, "#{value}"),
            "h" => write!(f, "#{value:#x}"),
            "pc" => write!(f, "{:#x}", self.pc.wrapping_add_signed(value)),
            "page" => write!(f, "{:#x}", (self.pc & !0xfff).wrapping_add_signed(value << 12)),
            "lsl12" if value != 0 => f.write_str(", lsl #12"),
            "hw" if value != 0 => write!(f, ", lsl #{}", 16 * value),
            "lsl12" | "hw" => Ok(()),
            "mask" => {
                let mask = bitmask(value as u16).unwrap_or(0);
                write!(f, "#{:#x}", if letter == 'w' { mask & 0xffff_ffff } else { mask })
            }
            "cond" => f.write_str(CONDITIONS[(value & 15) as usize]),
            "shift" => match (value, self.field(insn, "amount")) {
                (0, 0) => Ok(()),
                (shift, amount) => {
                    write!(f, ", {} #{amount}", ["lsl", "lsr", "asr", "ror"][(shift & 3) as usize])
                }
            },
            "ext" => {
                let wide = letter == 'x' && self.field(insn, "option") & 3 == 3;
                register(f, if wide { 'x' } else { 'w' }, value, "zr")
            }
            "extend" => self.extend(f, insn, letter, value, self.field(insn, "imm3")),
            "index" => {
                let letter = if self.field(insn, "index") & 1 == 0 { 'w' } else { 'x' };
                register(f, letter, value, "zr")
            }
            "scale" => self.scale(f, insn, value),
            "offset" if value == 0 => Ok(()),
            "offset" => write!(f, ", #{value}"),
            "access" => f.write_str(ACCESSES[value as usize & 15]),
            "setting" => f.write_str(["", "t", "n", "tn"][value as usize & 3]),
            "acquire" if value != 0 => f.write_str("a"),
            "release" if value != 0 => f.write_str("l"),
            "acquire" | "release" => Ok(()),
            "unit" => {
                let unit = line.split(['_', '.']).nth(1).filter(|unit| matches!(*unit, "b" | "h"));
                f.write_str(unit.unwrap_or(""))
            }
            "key" => f.write_str(if value == 0 { "a" } else { "b" }),
            "writeback" if value != 0 => f.write_str("!"),
            "writeback" => Ok(()),
            "tb" => register(f, if self.field(insn, "bit") < 32 { 'w' } else { 'x' }, value, "zr"),
            "prfop" => {
                let value = value as usize;
                match (["pld", "pli", "pst"].get(value >> 3), value >> 1 & 3) {
                    (Some(kind), level @ 0..3) => {
                        write!(f, "{kind}l{}{}", level + 1, ["keep", "strm"][value & 1])
                    }
                    _ => write!(f, "#{value:#04x}"),
                }
            }
            "hint" => write!(f, "#{:#x}", self.field(insn, "crm") << 3 | value),
            "bti" => f.write_str(["", "c", "j", "jc"][(value & 3) as usize]),
            "barrier" => {
                const NAMES: [&str; 16] = [
                    "", "oshld", "oshst", "osh", "", "nshld", "nshst", "nsh", "", "ishld", "ishst", "ish",
                    "", "ld", "st", "sy",
                ];
                match NAMES[(value & 15) as usize] {
                    "" => write!(f, "#{value:#04x}"),
                    name => f.write_str(name),
                }
            }
            "isb" | "clrex" if value == 15 => Ok(()),
            "isb" | "clrex" => write!(f, " #{value:#x}"),
            "cr" => write!(f, "C{value}"),
            "xopt" if value == 31 => Ok(()),
            "xopt" => write!(f, ", x{value}"),
            "pstate" => {
                let name = match (self.field(insn, "op1"), value) {
                    (0, 3) => "uao",
                    (0, 4) => "pan",
                    (0, 5) => "spsel",
                    (3, 1) => "ssbs",
                    (3, 2) => "dit",
                    (3, 6) => "daifset",
                    _ => "daifclr",
                };
                f.write_str(name)
            }
            "sysreg" => {
                let of = |name| self.field(insn, name);
                let op0 = 2 + of("o0");
                write!(f, "s{op0}_{}_c{}_c{}_{}", of("op1"), of("crn"), of("crm"), of("op2"))
            }
            _ => self.vector_operand(f, insn, kind, value),
        }
    }

    /// A general register that is never the stack pointer.
    pub(super) fn general_register(f: &mut fmt::Formatter<'_>, letter: char, n: i64) -> fmt::Result {
        register(f, letter, n, "zr")
    }

    /// The extension of an extended register. With the stack pointer, the one that does nothing is `lsl` or left out.
    fn extend(
        &self,
        f: &mut fmt::Formatter<'_>,
        insn: Insn,
        letter: char,
        option: i64,
        shift: i64,
    ) -> fmt::Result {
        const NAMES: [&str; 8] = ["uxtb", "uxth", "uxtw", "uxtx", "sxtb", "sxth", "sxtw", "sxtx"];
        let plain = option == if letter == 'x' { 3 } else { 2 };
        let stack = self.field(insn, "rn") == 31
            || (self.field(insn, "rd") == 31 && matches!(insn.format().name, "AddExt"));
        match (plain && stack, shift) {
            (true, 0) => Ok(()),
            (true, shift) => write!(f, ", lsl #{shift}"),
            (false, 0) => write!(f, ", {}", NAMES[(option & 7) as usize]),
            (false, shift) => write!(f, ", {} #{shift}", NAMES[(option & 7) as usize]),
        }
    }

    /// The extension and scale of an index register.
    fn scale(&self, f: &mut fmt::Formatter<'_>, insn: Insn, scaled: i64) -> fmt::Result {
        let name = match self.field(insn, "index") {
            2 => "uxtw",
            3 => "lsl",
            6 => "sxtw",
            _ => "sxtx",
        };
        // Bits 31:30 are the size; with bits 26 and 23 set it is 16 bytes.
        let shift = if self.word & (1 << 26 | 1 << 23) == (1 << 26 | 1 << 23) { 4 } else { self.word >> 30 };
        match (name, scaled) {
            ("lsl", 0) => Ok(()),
            (name, 0) => write!(f, ", {name}"),
            (name, _) => write!(f, ", {name} #{shift}"),
        }
    }
}
