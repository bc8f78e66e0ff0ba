//! The text form of blocks: what tests are written in and what dumps show. It round-trips.
//!
//! ```text
//! block 0x80000000 ctx 0x3 {
//!   @0x0 4                              ; a guest instruction: offset in its page, length
//!     %0 = add.i64 $a1, 0x10            ; temporaries are %n, slots $name, constants plain
//!     $a0 = load.i32.sext %0, #8        ; immediates have a #
//!   @0x4 2
//!     branch.ne.i64 $a0, 0x0 ? 0x10 : 0x6
//! }
//! ```
//!
//! Type and attribute fields follow the operation's name, each with a dot, in the order of the table.

use std::fmt;

use thiserror::Error;

use super::block::{Block, BlockKey, Hint, Inst, Mark, Terminal};
use super::op::{Kind, Op};
use super::types::{Cc, SlotInfo, Ty, Val, ValKind};
use super::verify::{VerifyError, verify};

impl Block {
    /// The block's text form, with the front end's slot names.
    pub fn display<'a>(&'a self, slots: &'a [SlotInfo]) -> impl fmt::Display + 'a {
        Printer { block: self, slots }
    }
}

struct Printer<'a> {
    block: &'a Block,
    slots: &'a [SlotInfo],
}

impl fmt::Display for Printer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let block = self.block;
        let crosses = if block.crosses_page { " crosses" } else { "" };
        writeln!(f, "block {:#x} ctx {:#x}{crosses} {{", block.key.pa, block.key.ctx)?;
        let mut marks = block.marks.iter().peekable();
        for (index, inst) in block.insts.iter().enumerate() {
            while let Some(mark) = marks.next_if(|mark| usize::from(mark.inst) <= index) {
                writeln!(f, "  @{} {}", Signed(mark.offset.into()), mark.len)?;
            }
            writeln!(f, "    {}", Line { printer: self, inst })?;
        }
        for mark in marks {
            writeln!(f, "  @{} {}", Signed(mark.offset.into()), mark.len)?;
        }
        writeln!(f, "    {}\n}}", End { printer: self })
    }
}

/// A hexadecimal number with its sign.
struct Signed(i64);

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

struct Line<'a> {
    printer: &'a Printer<'a>,
    inst: &'a Inst,
}

impl Printer<'_> {
    fn val(&self, f: &mut fmt::Formatter<'_>, val: Val) -> fmt::Result {
        match val.kind() {
            ValKind::Slot(n) => match self.slots.iter().find(|slot| slot.index == n) {
                Some(slot) => write!(f, "${}", slot.name),
                None => write!(f, "${n}"),
            },
            ValKind::Temp(n) => write!(f, "%{n}"),
            ValKind::Const(_) => write!(f, "{:#x}", self.block.constant(val).unwrap_or(0)),
            ValKind::None => f.write_str("_"),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { printer, inst } = self;
        let info = inst.op.info();
        if !inst.dst.is_none() {
            printer.val(f, inst.dst)?;
            f.write_str(" = ")?;
        }
        f.write_str(info.name)?;
        if inst.ty != Ty::None {
            write!(f, ".{}", inst.ty.name())?;
        }
        for (shift, width, names) in info.attr {
            let value = usize::from(inst.attr >> shift & ((1 << width) - 1));
            match names.get(value) {
                Some(&"") => {}
                Some(name) => write!(f, ".{name}")?,
                None => write!(f, ".?{value}")?,
            }
        }
        let mut separator = " ";
        let sources = info.src.into_iter().zip([inst.a, inst.b, inst.c]);
        for (_, val) in sources.filter(|(kind, _)| *kind != Kind::Absent) {
            f.write_str(separator)?;
            printer.val(f, val)?;
            separator = ", ";
        }
        if info.imm {
            write!(f, "{separator}#{}", Signed(inst.imm.into()))?;
        }
        Ok(())
    }
}

struct End<'a> {
    printer: &'a Printer<'a>,
}

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printer = self.printer;
        let at = |offset: i32| Signed(offset.into());
        match printer.block.terminal {
            Terminal::Jump { target, call: None } => write!(f, "jump {}", at(target)),
            Terminal::Jump { target, call: Some(back) } => write!(f, "jump {} call {}", at(target), at(back)),
            Terminal::Branch { cc, ty, a, b, taken, fall } => {
                write!(f, "branch.{}.{} ", ty.name(), Cc::NAMES[cc as usize])?;
                printer.val(f, a)?;
                f.write_str(", ")?;
                printer.val(f, b)?;
                write!(f, " ? {} : {}", at(taken), at(fall))
            }
            Terminal::Indirect { target, hint } => {
                f.write_str("indirect ")?;
                printer.val(f, target)?;
                match hint {
                    Hint::Jump => Ok(()),
                    Hint::Call(back) => write!(f, " call {}", at(back)),
                    Hint::Return => f.write_str(" return"),
                    Hint::Switch => f.write_str(" switch"),
                }
            }
            Terminal::Lookup { next } => write!(f, "lookup {}", at(next)),
            Terminal::Exception { cause, value } => {
                write!(f, "exception {cause:#x} ")?;
                printer.val(f, value)
            }
        }
    }
}

/// Why a text is not a block.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// A line cannot be understood.
    #[error("line {line}: {problem}")]
    Line {
        /// Number of the line, from one.
        line: usize,
        /// What was expected.
        problem: String,
    },
    /// The text ends too early.
    #[error("the block has no terminal")]
    NoTerminal,
    /// The block that it describes is not well formed.
    #[error(transparent)]
    Invalid(#[from] VerifyError),
}

/// Parses the text form of one block and verifies it. A `;` begins a comment.
pub fn parse(text: &str, slots: &[SlotInfo]) -> Result<Block, ParseError> {
    let mut parser = Parser {
        slots,
        key: BlockKey { pa: 0, ctx: 0 },
        insts: Vec::new(),
        consts: Vec::new(),
        marks: Vec::new(),
        temps: 0,
        crosses_page: false,
        terminal: None,
    };
    for (index, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or_default().trim();
        if !line.is_empty() && line != "}" {
            parser.line(line).map_err(|problem| ParseError::Line { line: index + 1, problem })?;
        }
    }
    let Parser { key, insts, consts, marks, temps, crosses_page, terminal, .. } = parser;
    let block = Block {
        key,
        insts: insts.into(),
        consts: consts.into(),
        marks: marks.into(),
        temps,
        crosses_page,
        terminal: terminal.ok_or(ParseError::NoTerminal)?,
    };
    verify(&block, slots)?;
    Ok(block)
}

struct Parser<'a> {
    slots: &'a [SlotInfo],
    key: BlockKey,
    insts: Vec<Inst>,
    consts: Vec<u64>,
    marks: Vec<Mark>,
    temps: u16,
    crosses_page: bool,
    terminal: Option<Terminal>,
}

type Parsed<T> = Result<T, String>;

fn number(text: &str) -> Parsed<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = i128::from(value.map_err(|_| format!("`{text}` is not a number"))?);
    Ok(if negative { -value } else { value })
}

fn fits<T: TryFrom<i128>>(text: &str) -> Parsed<T> {
    T::try_from(number(text)?).map_err(|_| format!("{text} is out of range"))
}

impl Parser<'_> {
    fn line(&mut self, line: &str) -> Parsed<()> {
        if self.terminal.is_some() {
            return Err("nothing may follow the terminal".into());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["block", pa, "ctx", ctx, rest @ .., "{"] => {
                self.key = BlockKey { pa: fits(pa)?, ctx: fits(ctx)? };
                self.crosses_page = rest == ["crosses"];
                Ok(())
            }
            [offset, len] if offset.starts_with('@') => {
                let inst = u16::try_from(self.insts.len()).map_err(|_| "the block is too long")?;
                self.marks.push(Mark { inst, len: fits(len)?, offset: fits(&offset[1..])? });
                Ok(())
            }
            ["jump", target] => self.end(Terminal::Jump { target: fits(target)?, call: None }),
            ["jump", target, "call", back] => {
                self.end(Terminal::Jump { target: fits(target)?, call: Some(fits(back)?) })
            }
            ["lookup", next] => self.end(Terminal::Lookup { next: fits(next)? }),
            ["exception", cause, value] => {
                let value = self.val(value)?;
                self.end(Terminal::Exception { cause: fits(cause)?, value })
            }
            ["indirect", target, rest @ ..] => {
                let hint = match rest {
                    [] => Hint::Jump,
                    ["call", back] => Hint::Call(fits(back)?),
                    ["return"] => Hint::Return,
                    ["switch"] => Hint::Switch,
                    _ => return Err("expected `call OFFSET`, `return` or `switch`".into()),
                };
                let target = self.val(target)?;
                self.end(Terminal::Indirect { target, hint })
            }
            [name, a, b, "?", taken, ":", fall] if name.starts_with("branch.") => {
                let mut parts = name.split('.').skip(1);
                let ty = parts.next().and_then(type_named).ok_or("expected a type after `branch.`")?;
                let cc = parts.next().and_then(cc_named).ok_or("expected a comparison after the type")?;
                let (a, b) = (self.val(a.trim_end_matches(','))?, self.val(b)?);
                self.end(Terminal::Branch { cc, ty, a, b, taken: fits(taken)?, fall: fits(fall)? })
            }
            [dst, "=", rest @ ..] => {
                let dst = self.val(dst)?;
                self.inst(dst, rest)
            }
            rest => self.inst(Val::NONE, rest),
        }
    }

    fn end(&mut self, terminal: Terminal) -> Parsed<()> {
        self.terminal = Some(terminal);
        Ok(())
    }

    fn inst(&mut self, dst: Val, words: &[&str]) -> Parsed<()> {
        let (name, operands) = words.split_first().ok_or("expected an operation")?;
        let (op, suffix) = operation(name).ok_or_else(|| format!("there is no operation `{name}`"))?;
        let info = op.info();
        let mut parts = suffix.split('.').filter(|part| !part.is_empty()).peekable();
        let ty = parts.peek().and_then(|part| type_named(part));
        // `fcvt.f64.f32` names its type first; operations of one form have none.
        let ty = match ty {
            Some(ty) if info.types.contains(ty) => {
                parts.next();
                ty
            }
            _ => Ty::None,
        };
        let mut attr = 0u16;
        for (shift, _, names) in info.attr {
            let Some(part) = parts.peek() else { break };
            if let Some(value) = names.iter().position(|name| name == part) {
                attr |= (value as u16) << shift;
                parts.next();
            }
        }
        if let Some(part) = parts.next() {
            return Err(format!("`{}` has no attribute `{part}` there", info.name));
        }
        let mut operands = operands.iter().map(|word| word.trim_end_matches(','));
        let mut src = [Val::NONE; 3];
        for (slot, kind) in src.iter_mut().zip(info.src) {
            if kind != Kind::Absent {
                *slot = self.val(operands.next().ok_or("an operand is missing")?)?;
            }
        }
        let mut imm = 0;
        if info.imm {
            let word = operands.next().and_then(|word| word.strip_prefix('#'));
            imm = fits(word.ok_or("expected an immediate: #NUMBER")?)?;
        }
        if operands.next().is_some() {
            return Err("there are more operands than the operation has".into());
        }
        let [a, b, c] = src;
        self.insts.push(Inst { op, ty, attr, dst, a, b, c, imm });
        Ok(())
    }

    fn val(&mut self, word: &str) -> Parsed<Val> {
        if word == "_" {
            return Ok(Val::NONE);
        }
        if let Some(name) = word.strip_prefix('$') {
            let slot = self.slots.iter().find(|slot| slot.name == name);
            return slot.map(|s| Val::slot(s.index)).ok_or_else(|| format!("there is no slot `{name}`"));
        }
        if let Some(n) = word.strip_prefix('%') {
            let n: u16 = fits(n)?;
            if n >= 4096 {
                return Err("a block has at most 4096 temporaries".into());
            }
            self.temps = self.temps.max(n + 1);
            return Ok(Val::temp(n));
        }
        let value = fits::<u64>(word)?;
        let index = self.consts.iter().position(|&c| c == value).unwrap_or_else(|| {
            self.consts.push(value);
            self.consts.len() - 1
        });
        if index >= usize::from(Val::LIMIT) {
            return Err("the block has too many constants".into());
        }
        Ok(Val::constant(index as u16))
    }
}

/// The operation whose name begins `name`, the longest such, and what follows it.
fn operation(name: &str) -> Option<(Op, &str)> {
    let candidates = Op::ALL.iter().filter_map(|op| {
        let rest = name.strip_prefix(op.info().name)?;
        (rest.is_empty() || rest.starts_with('.')).then_some((*op, rest))
    });
    candidates.max_by_key(|(op, _)| op.info().name.len())
}

fn type_named(name: &str) -> Option<Ty> {
    Ty::ALL.into_iter().find(|ty| ty.name() == name && *ty != Ty::None)
}

fn cc_named(name: &str) -> Option<Cc> {
    Cc::NAMES.iter().position(|cc| *cc == name).map(|index| Cc::ALL[index])
}
