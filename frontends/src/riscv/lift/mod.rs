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
use emu_core::ir::{Block, BlockBuilder, BlockKey, Op, Ty, Val};

use super::decode::{Insn, insn16, insn32, length};
use super::ext::ExtSet;
use super::helper::Helper;
use super::{Context, Privilege, X};
use crate::lift::{self, Flow, Guest, Lifted, Outcome, Refusal, Role, Sequence};

/// Cause of an illegal-instruction exception (Priv., "Machine Cause Register").
const ILLEGAL_INSTRUCTION: u32 = 2;

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
    let guest = Rv64 { ext, ctx: Context::from_bits(key.ctx), dirtied: false };
    lift::lift(guest, builder, key, start, code, limit)
}

/// What the instructions' meaning depends on.
struct Rv64 {
    ext: ExtSet,
    ctx: Context,
    /// `mstatus.FS` has been made dirty in this block, which changes the context.
    dirtied: bool,
}

type Lifter<'a> = lift::Lifter<'a, Rv64>;

impl Guest for Rv64 {
    fn length(low: u16) -> u8 {
        length(low)
    }

    fn instruction(lifter: &mut Lifter<'_>) -> Lifted {
        match Insn::decode(lifter.bits, lifter.guest.ext) {
            Some(Insn::Long(insn)) => lifter.dispatch32(insn, lifter.bits),
            Some(Insn::Short(insn)) => lifter.dispatch16(insn, lifter.bits),
            None => Err(Refusal::Illegal),
        }
    }

    fn illegal(bits: u32) -> (u32, u64) {
        (ILLEGAL_INSTRUCTION, bits.into())
    }

    fn context_changed(&self) -> bool {
        self.dirtied
    }

    fn role(&self, bits: u32) -> Role {
        Insn::decode(bits, self.ext).map_or(Role::Other, |insn| reserve::role(bits, insn))
    }
}

include!(concat!(env!("OUT_DIR"), "/riscv_lift.rs"));

impl Lifter<'_> {
    /// Refuses the instruction in modes below `privilege`.
    fn must_be(&self, privilege: Privilege) -> Result<(), Refusal> {
        if self.guest.ctx.privilege < privilege { Err(Refusal::Illegal) } else { Ok(()) }
    }

    /// The value of register `n`.
    fn x(&mut self, n: u8) -> Val {
        if n == 0 { self.builder.imm(0) } else { Val::slot(X + u16::from(n)) }
    }

    /// Where an operation that must not be dropped puts the value of register `rd`.
    fn x_dst(&mut self, rd: u8) -> Val {
        if rd == 0 { self.builder.temp() } else { Val::slot(X + u16::from(rd)) }
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
