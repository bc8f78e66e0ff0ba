//! Lifting: what each instruction means, as IR.
//!
//! Each line of the tables has a method, named after it or as it says, in the file of its encoding class. `dispatch`, made from
//! the tables, calls it with the instruction's fields; a suffix that names a width (`.w`, `.x`) comes as an argument of
//! the same method.
//!
//! Register 31 is the zero register ([`Lifter::x`]) or the stack pointer ([`Lifter::xsp`]), as the instruction says.

mod branch;
mod bulk;
mod data;
mod exclusive;
mod flags;
mod fp;
mod memory;
mod pauth;
mod simd;
mod step;
mod system;

use emu_core::exec::{Exception, FetchCode};
use emu_core::ir::{Block, BlockBuilder, BlockKey, Op, Terminal, Ty, Val};

use self::flags::Flags;
use super::decode::{self, LENGTH};
use super::features::{Feature, FeatureSet};
use super::helper::Helper;
use super::pauth::Key;
use super::syndrome::{CONDITION, DEBUG_EXCEPTION, UNDEFINED, class, syndrome};
use super::{Context, NZCV, SP, V, X};
use crate::lift::{self, Flow, Guest, Lifted, Outcome, Refusal, Role, Sequence};

use emu_core::ir::{AesStep, AmoOp, Reduction, ShaStep, Shuffle, ToInt};
use fp::Round;
use memory::{Access, Order, Unit};
use simd::float_variant::*;
use simd::{Set, variant::*};

/// The number of the zero register where it is told apart from the stack pointer.
const ZERO: u8 = 32;

/// Lifts one block; the arguments are those of [`emu_core::exec::Isa::lift`], and the features that there are.
pub fn lift(
    features: FeatureSet,
    builder: &mut BlockBuilder,
    key: BlockKey,
    start: u32,
    code: &mut dyn FetchCode,
    limit: usize,
) -> Result<Block, Exception> {
    let (at, low) = (start & !3, start & 3);
    let ctx = Context::from_bits(key.ctx);
    if ctx.step == step::PENDING {
        let value = builder.imm(0);
        builder.mark(start as i32, LENGTH);
        let cause = syndrome(class::STEP, DEBUG_EXCEPTION);
        return Ok(builder.finish(key, Terminal::Exception { cause, value }));
    }
    if low != 0 {
        let cause = if !features.has(Feature::Bti) {
            Some(syndrome(class::PC_ALIGNMENT, 0))
        } else if ctx.guarded && !branch::lands(code, at, low, ctx.bt)? {
            Some(syndrome(class::BRANCH_TARGET, low))
        } else {
            None
        };
        if let Some(cause) = cause {
            // The value of a PC alignment fault is the program counter; nobody looks at that of the other.
            let value = builder.temp();
            builder.mark(start as i32, LENGTH);
            builder.pc_to(value, start as i32);
            return Ok(builder.finish(key, Terminal::Exception { cause, value }));
        }
    }
    let guest = A64 { features, ctx, flags: Flags::Unknown, sp_aligned: false };
    lift::lift(guest, builder, key, at, code, limit)
}

/// What the instructions' meaning depends on, and what is known in the block so far.
struct A64 {
    features: FeatureSet,
    ctx: Context,
    /// What the flags were last set from.
    flags: Flags,
    /// The stack pointer is known to be a multiple of 16.
    sp_aligned: bool,
}

type Lifter<'a> = lift::Lifter<'a, A64>;

/// What most methods return that may refuse an instruction.
type Done = Result<(), Refusal>;

impl Guest for A64 {
    fn length(_: u16) -> u8 {
        LENGTH
    }

    fn instruction(lifter: &mut Lifter<'_>) -> Lifted {
        if lifter.guest.ctx.illegal {
            return Err(Refusal::Raise(syndrome(class::ILLEGAL_STATE, 0), 0));
        }
        let Some(insn) = decode::decode(lifter.bits, lifter.guest.features) else {
            return Err(Refusal::Illegal);
        };
        if insn.is_vector() {
            lifter.fp_on()?;
        }
        if lifter.guest.ctx.step == step::ACTIVE {
            return lifter.stepped(insn);
        }
        lifter.dispatch(insn, lifter.bits)
    }

    /// Where instructions are stepped over, each is a block.
    fn context_changed(&self) -> bool {
        self.ctx.step == step::ACTIVE
    }

    fn illegal(_: u32) -> (u32, u64) {
        (UNDEFINED, 0)
    }

    fn role(&self, bits: u32) -> Role {
        decode::decode(bits, self.features).map_or(Role::Other, |insn| exclusive::role(bits, insn))
    }
}

include!(concat!(env!("OUT_DIR"), "/aarch64_lift.rs"));

impl Lifter<'_> {
    fn has(&self, feature: Feature) -> bool {
        self.guest.features.has(feature)
    }

    /// Refuses the instruction where Advanced SIMD and floating point trap.
    fn fp_on(&self) -> Done {
        if self.guest.ctx.fp_on {
            Ok(())
        } else {
            Err(Refusal::Raise(syndrome(class::FP_ACCESS, CONDITION), 0))
        }
    }

    /// The value of general register `n`, or zero.
    fn x(&mut self, n: u8) -> Val {
        if n == 31 { self.builder.imm(0) } else { Val::slot(X + u16::from(n)) }
    }

    /// The value of general register `n`, or of the stack pointer.
    fn xsp(&mut self, n: u8) -> Val {
        Val::slot(if n == 31 { SP } else { X + u16::from(n) })
    }

    /// Where a value for general register `n` goes; none for the zero register. What is known of the old value is forgotten,
    /// so operands come first.
    fn x_to(&mut self, n: u8) -> Option<Val> {
        (n != 31).then(|| self.slot_to(X + u16::from(n)))
    }

    /// The same, but 31 is the stack pointer.
    fn xsp_to(&mut self, n: u8) -> Val {
        let slot = if n == 31 { SP } else { X + u16::from(n) };
        self.slot_to(slot)
    }

    /// Where an operation that must not be dropped puts the value of general register `n`.
    fn x_dst(&mut self, n: u8) -> Val {
        self.x_to(n).unwrap_or_else(|| self.builder.temp())
    }

    fn slot_to(&mut self, slot: u16) -> Val {
        self.guest.flags.forget(Val::slot(slot));
        if slot == SP {
            self.guest.sp_aligned = false;
        }
        Val::slot(slot)
    }

    /// Vector register `n`.
    fn v(&self, n: u8) -> Val {
        Val::slot(V + 2 * u16::from(n))
    }

    /// The flags.
    fn nzcv(&self) -> Val {
        Val::slot(NZCV)
    }

    /// `dst = a`
    fn copy_to(&mut self, dst: Val, ty: Ty, a: Val) {
        self.builder.un_to(dst, Op::Mov, ty, a);
    }

    /// Register `n` = `a`, of which only the low half counts in 32 bits.
    fn set_x(&mut self, n: u8, ty: Ty, a: Val) {
        if let Some(dst) = self.x_to(n) {
            self.copy_to(dst, ty, a);
        }
    }

    /// `dst = op(a, b)`, as a plain copy where that is what it is.
    fn bin_to(&mut self, dst: Val, op: Op, ty: Ty, a: Val, b: Val) {
        let is_zero = |val| self.builder.as_imm(val) == Some(0);
        match (op, is_zero(a), is_zero(b)) {
            (Op::Add | Op::Or | Op::Xor, true, _) => self.copy_to(dst, ty, b),
            (Op::Add | Op::Sub | Op::Or | Op::Xor | Op::Shl | Op::Shr | Op::Sar | Op::Rotr, _, true) => {
                self.copy_to(dst, ty, a);
            }
            _ => self.builder.bin_to(dst, op, ty, a, b),
        }
    }

    /// Register `n` = `op(a, b)`
    fn bin(&mut self, op: Op, ty: Ty, n: u8, a: Val, b: Val) {
        if let Some(dst) = self.x_to(n) {
            self.bin_to(dst, op, ty, a, b);
        }
    }

    /// Register `n` = `op(a)`
    fn un(&mut self, op: Op, ty: Ty, n: u8, a: Val) {
        if let Some(dst) = self.x_to(n) {
            self.builder.un_to(dst, op, ty, a);
        }
    }

    /// `a` shifted left by a constant.
    fn shl(&mut self, ty: Ty, a: Val, by: u8) -> Val {
        if by == 0 {
            return a;
        }
        let by = self.builder.imm(by.into());
        self.builder.same(Op::Shl, ty, a, by)
    }

    /// The field of `len` bits from bit `lsb` of `a`.
    fn extract(&mut self, a: Val, lsb: i32, len: i32) -> Val {
        let dst = self.builder.temp();
        self.builder.op(Op::Extract, Ty::I64, 0, dst, [a, Val::NONE, Val::NONE], lsb | len << 8);
        dst
    }

    /// Calls a helper and drops what it returns.
    fn call(&mut self, helper: Helper, args: &[Val]) {
        self.builder.call_to(Val::NONE, helper as u16, args);
    }

    /// Calls a helper that may change anything, and ends the block.
    fn call_and_look_up(&mut self, helper: Helper, args: &[Val]) -> Terminal {
        self.call(helper, args);
        self.lookup()
    }
}

/// Bits of a register of this type.
const fn width(ty: Ty) -> u8 {
    if matches!(ty, Ty::I64) { 64 } else { 32 }
}
