//! Disassembly, in the syntax of the GNU tools without aliases.

use std::fmt;

use super::decode::{Insn, length};
use super::ext::ExtSet;
use super::{SLOTS, csr_name};
use crate::decode::write_operands;

/// The instruction in the low half or all of `word`, at virtual address `pc`, as a processor with the
/// extensions `ext` sees it. Undefined ones are shown as data.
pub fn disassemble(word: u32, pc: u64, ext: ExtSet) -> impl fmt::Display {
    let len = length(word as u16);
    let word = if len == 2 { word & 0xffff } else { word };
    Text { word, pc, insn: Insn::decode(word, ext) }
}

struct Text {
    word: u32,
    pc: u64,
    insn: Option<Insn>,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(insn) = self.insn else {
            let len = length(self.word as u16);
            return write!(f, ".{len}byte {:#x}", self.word);
        };
        f.write_str(insn.line().name)?;
        match (self.field("aq"), self.field("rl")) {
            (1, 1) => f.write_str(".aqrl")?,
            (1, _) => f.write_str(".aq")?,
            (_, 1) => f.write_str(".rl")?,
            _ => {}
        }
        let syntax = insn.format().syntax;
        if !syntax.is_empty() {
            f.write_str(" ")?;
        }
        write_operands(f, syntax, |f, kind, name| self.operand(f, kind, self.field(name)))
    }
}

impl Text {
    fn field(&self, name: &str) -> i64 {
        let field = self.insn.and_then(|insn| insn.line().field(name));
        field.map_or(0, |field| field.get(self.word))
    }

    fn operand(&self, f: &mut fmt::Formatter<'_>, kind: &str, value: i64) -> fmt::Result {
        let register = |base: usize| SLOTS[base + (value & 31) as usize].name;
        match kind {
            "x" => f.write_str(register(0)),
            "f" => f.write_str(register(32)),
            "d" => write!(f, "{value}"),
            "h" => write!(f, "{value:#x}"),
            "upper" => write!(f, "{:#x}", value >> 12 & 0xf_ffff),
            "pc" => write!(f, "{:#x}", self.pc.wrapping_add_signed(value)),
            "rm" => {
                const MODES: [&str; 8] = [",rne", ",rtz", ",rdn", ",rup", ",rmm", ",?5", ",?6", ""];
                f.write_str(MODES[(value & 7) as usize])
            }
            "fence" => {
                let letters = ['i', 'o', 'r', 'w'].into_iter().zip([8, 4, 2, 1]);
                let set: String =
                    letters.filter(|(_, bit)| value & bit != 0).map(|(letter, _)| letter).collect();
                f.write_str(if set.is_empty() { "0" } else { &set })
            }
            "csr" => match csr_name((value & 0xfff) as u16) {
                Some(name) => f.write_str(&name),
                None => write!(f, "{value:#x}"),
            },
            "fli" => f.write_str(FLI[(value & 31) as usize]),
            _ => f.write_str("?"),
        }
    }
}

/// The constants of `fli` as the assembler writes them (Unpriv., "Zfa Extension for Additional Floating-Point
/// Instructions").
#[rustfmt::skip]
const FLI: [&str; 32] = [
    "-1.0", "min", "1.52587890625e-05", "3.0517578125e-05", "0.00390625", "0.0078125", "0.0625", "0.125",
    "0.25", "0.3125", "0.375", "0.4375", "0.5", "0.625", "0.75", "0.875",
    "1.0", "1.25", "1.5", "1.75", "2.0", "2.5", "3.0", "4.0",
    "8.0", "16.0", "128.0", "256.0", "32768.0", "65536.0", "inf", "nan",
];
