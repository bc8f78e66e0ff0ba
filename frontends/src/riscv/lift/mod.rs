//! Lifting: what each instruction means, as IR.
//!
//! There is a method for each line of the tables, named after it: in [`i`] the base, in the other files the
//! extensions. `dispatch32` and `dispatch16`, made from the tables, call it with the instruction's fields; a
//! suffix that names a width or format (`fadd.s`) comes as an argument of the same method. 16-bit
//! instructions are lifted as what they are short for.
//!
//! `x0` reads as the constant zero and is never a destination. A destination is written after everything in
//! the instruction that can raise an exception. IALIGN is 16: jump targets are never misaligned.

mod a;
mod fd;
mod i;
mod m;
mod priv_;
mod reserve;
mod zb;
mod zicsr;

use emu_core::exec::{Exception, FetchCode};
use emu_core::ir::{Block, BlockBuilder, BlockKey, Op, Terminal, Ty, Val};

use self::reserve::Reservation;
use super::decode::{Insn, insn16, insn32, length};
use super::ext::ExtSet;
use super::helper::Helper;
use super::{Context, Privilege, X};

/// Bytes in a page.
const PAGE: u32 = 4096;
/// Instructions in a block at most.
const MAX_LEN: usize = 64;

/// Cause of an illegal-instruction exception (Priv., "Machine Cause Register").
const ILLEGAL_INSTRUCTION: u32 = 2;

/// How lifting goes on after an instruction.
enum Flow {
    /// With the next one.
    Next,
    /// The block ends.
    End(Terminal),
}

/// Why an instruction is not lifted as what it says.
enum Refusal {
    /// It is illegal here.
    Illegal,
    /// It must be the first one of its block, and is not.
    NotFirst,
}

type Lifted = Result<Flow, Refusal>;

/// What a lift method returns: most always go on, so they return nothing.
trait Outcome {
    fn outcome(self) -> Lifted;
}

impl Outcome for () {
    fn outcome(self) -> Lifted {
        Ok(Flow::Next)
    }
}

impl Outcome for Terminal {
    fn outcome(self) -> Lifted {
        Ok(Flow::End(self))
    }
}

impl<T: Outcome> Outcome for Result<T, Refusal> {
    fn outcome(self) -> Lifted {
        self?.outcome()
    }
}

impl Outcome for Flow {
    fn outcome(self) -> Lifted {
        Ok(self)
    }
}

/// Lifts one block; the arguments are those of [`emu_core::exec::Isa::lift`], and the extensions that there
/// are.
pub fn lift(
    ext: ExtSet,
    builder: &mut BlockBuilder,
    key: BlockKey,
    start: u32,
    code: &mut dyn FetchCode,
    limit: usize,
) -> Result<Block, Exception> {
    let mut lifter = Lifter {
        ext,
        ctx: Context::from_bits(key.ctx),
        builder,
        code,
        left: limit.clamp(1, MAX_LEN),
        at: start,
        len: 0,
        bits: 0,
        dirtied: false,
        reservation: None,
    };
    let terminal = lifter.block()?;
    Ok(builder.finish(key, terminal))
}

/// A block being lifted.
struct Lifter<'a> {
    ext: ExtSet,
    ctx: Context,
    builder: &'a mut BlockBuilder,
    code: &'a mut dyn FetchCode,
    /// How many more instructions the block may get.
    left: usize,
    /// Offset of the instruction from the start of the page, its length, and its bits.
    at: u32,
    len: u8,
    bits: u32,
    /// `mstatus.FS` has been made dirty in this block, which changes the context.
    dirtied: bool,
    /// The load-reserved whose store-conditional is in this block.
    reservation: Option<Reservation>,
}

include!(concat!(env!("OUT_DIR"), "/riscv_lift.rs"));

impl Lifter<'_> {
    fn block(&mut self) -> Result<Terminal, Exception> {
        loop {
            let first = self.builder.marks() == 0;
            let go_on = Terminal::Jump { target: self.at as i32, call: None };
            if !first && (self.at >= PAGE || self.is_full()) {
                return Ok(go_on);
            }
            let (bits, len) = match self.fetch(self.at) {
                Ok((_, len)) if !first && self.at + u32::from(len) > PAGE => return Ok(go_on),
                Ok(fetched) => fetched,
                Err(exception) if first => return Err(exception),
                // It will be the first of its own block.
                Err(_) => return Ok(go_on),
            };
            (self.bits, self.len) = (bits, len);
            self.builder.mark(self.at as i32, len);
            if self.at + u32::from(len) > PAGE {
                self.builder.set_crosses_page();
            }
            let lifted = match Insn::decode(bits, self.ext) {
                Some(Insn::Long(insn)) => self.dispatch32(insn, bits),
                Some(Insn::Short(insn)) => self.dispatch16(insn, bits),
                None => Err(Refusal::Illegal),
            };
            match lifted {
                Ok(Flow::Next) if self.dirtied => return Ok(Terminal::Lookup { next: self.next() }),
                Ok(Flow::Next) => {}
                Ok(Flow::End(terminal)) => return Ok(terminal),
                Err(Refusal::Illegal) => {
                    self.builder.unmark();
                    self.builder.mark(self.at as i32, len);
                    let value = self.builder.imm(bits.into());
                    return Ok(Terminal::Exception { cause: ILLEGAL_INSTRUCTION, value });
                }
                Err(Refusal::NotFirst) => {
                    self.builder.unmark();
                    return Ok(go_on);
                }
            }
            self.at += u32::from(len);
            self.left = self.left.saturating_sub(1);
        }
    }

    /// Whether the block must end before the next instruction. Between a load-reserved and its
    /// store-conditional it cannot; it was checked before that there is room for these few.
    fn is_full(&self) -> bool {
        (self.left == 0 || self.builder.is_full()) && self.reservation.is_none()
    }

    /// The instruction at `at` and its length. The second half of one that straddles the page is only read if
    /// it is the first of its block.
    fn fetch(&mut self, at: u32) -> Result<(u32, u8), Exception> {
        let low = self.code.half(at)?;
        let len = length(low);
        if len == 2 {
            return Ok((low.into(), len));
        }
        if at + 2 >= PAGE && self.builder.marks() != 0 {
            return Ok((0, len));
        }
        let high = self.code.half(at + 2)?;
        Ok((u32::from(low) | u32::from(high) << 16, len))
    }

    /// Offset of the next instruction.
    fn next(&self) -> i32 {
        (self.at + u32::from(self.len)) as i32
    }

    /// Offset of the instruction `imm` bytes from this one.
    fn target(&self, imm: i32) -> i32 {
        self.at as i32 + imm
    }

    /// Ends the block after this instruction: context, translation or code may have changed.
    fn lookup(&self) -> Terminal {
        Terminal::Lookup { next: self.next() }
    }

    /// Refuses the instruction unless it is the first one of its block.
    fn must_be_first(&self) -> Result<(), Refusal> {
        if self.builder.marks() > 1 { Err(Refusal::NotFirst) } else { Ok(()) }
    }

    /// Refuses the instruction in modes below `privilege`.
    fn must_be(&self, privilege: Privilege) -> Result<(), Refusal> {
        if self.ctx.privilege < privilege { Err(Refusal::Illegal) } else { Ok(()) }
    }

    /// The value of register `n`.
    fn x(&mut self, n: u8) -> Val {
        if n == 0 { self.builder.imm(0) } else { Val::slot(X + u16::from(n)) }
    }

    /// Where an operation that must not be dropped puts the value of register `rd`.
    fn x_dst(&mut self, rd: u8) -> Val {
        if rd == 0 { self.builder.temp() } else { Val::slot(X + u16::from(rd)) }
    }

    /// The sign-extended constant.
    fn imm(&mut self, value: i32) -> Val {
        self.builder.imm(i64::from(value) as u64)
    }

    /// The instruction's bits, as helpers want them.
    fn bits(&mut self) -> Val {
        self.builder.imm(self.bits.into())
    }

    /// `rd = a`
    fn set_x(&mut self, rd: u8, a: Val) {
        self.un(Op::Mov, Ty::I64, rd, a);
    }

    /// `rd = op(a)`
    fn un(&mut self, op: Op, ty: Ty, rd: u8, a: Val) {
        if rd != 0 {
            self.builder.un_to(Val::slot(X + u16::from(rd)), op, ty, a);
        }
    }

    /// `rd = op(a, b)`
    fn bin(&mut self, op: Op, rd: u8, a: Val, b: Val) {
        let is_zero = |val| self.builder.as_imm(val) == Some(0);
        match (op, is_zero(a), is_zero(b)) {
            _ if rd == 0 => {}
            // The usual ways to write moves and constants.
            (Op::Add | Op::Or | Op::Xor, true, _) => self.set_x(rd, b),
            (Op::Add | Op::Or | Op::Xor, _, true) => self.set_x(rd, a),
            _ => self.builder.bin_to(Val::slot(X + u16::from(rd)), op, Ty::I64, a, b),
        }
    }

    /// `rd = sext(op(a, b))`, in 32 bits.
    fn binw(&mut self, op: Op, rd: u8, a: Val, b: Val) {
        if rd == 0 {
            return;
        }
        let sum = if op == Op::Add && self.builder.as_imm(b) == Some(0) {
            a // sext.w
        } else {
            self.builder.bin(op, Ty::I32, a, b)
        };
        self.un(Op::Sext32, Ty::None, rd, sum);
    }

    /// Calls a helper and drops what it returns.
    fn call(&mut self, helper: Helper, args: &[Val]) {
        self.builder.call_to(Val::NONE, helper as u16, args);
    }
}
