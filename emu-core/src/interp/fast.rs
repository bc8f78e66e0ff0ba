//! The fast path of the interpreter: blocks as lists of specialised handlers.
//!
//! The frequent operations have a handler for each combination of type and operand kinds, made by the compiler from the
//! one definition of the operation ([`super::int::evaluate`], [`Vcpu::load`]). Everything else goes through
//! [`Run::inst`], by a handler like the others, so that a list covers its whole block.

use std::sync::Arc;

use super::{Run, compare, int};
use crate::exec::{Isa, SLOTS, Stop, Vcpu};
use crate::ir::{Block, Cc, Inst, MemAttr, Op, Terminal, Ty, Val, ValKind, View};
use crate::mem::Scalar;

/// A block as handlers, made at its first execution.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    steps: Arc<[Step]>,
}

/// A handler with its operands.
#[derive(Clone, Copy, Debug)]
struct Step {
    handler: u16,
    /// The operation's index in the block; in a terminal with a handler of its own, how many instructions the
    /// block holds.
    inst: u16,
    dst: Place,
    a: Place,
    b: Place,
    /// The constant right operand, or what is added to an address.
    imm: u64,
}

/// Where an operand is: a slot, or (with [`Place::TEMP`]) one of the first 256 words for temporaries, of which the first
/// is always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u16);

impl Place {
    const TEMP: u16 = 0x100;
    const ZERO: Self = Self(Self::TEMP);

    /// The place of a source; none if it is out of a handler's reach.
    fn of_source(block: &Block, val: Val) -> Option<Self> {
        match val.kind() {
            ValKind::Const(_) => (block.constant(val) == Some(0)).then_some(Self::ZERO),
            ValKind::None => Some(Self::ZERO),
            _ => Self::of_result(val),
        }
    }

    /// The place of a result; none if there is no result, or it is out of a handler's reach.
    fn of_result(val: Val) -> Option<Self> {
        match val.kind() {
            ValKind::Slot(n) => (usize::from(n) < SLOTS).then_some(Self(n)),
            ValKind::Temp(n) => {
                u8::try_from(super::temp_word(n)).ok().map(|word| Self(Self::TEMP | u16::from(word)))
            }
            ValKind::Const(_) | ValKind::None => None,
        }
    }

    #[inline(always)]
    fn file<'a>(self, slots: &'a [u64; SLOTS], temps: &'a [u64; SLOTS]) -> &'a [u64; SLOTS] {
        if self.0 & Self::TEMP == 0 { slots } else { temps }
    }

    #[inline(always)]
    fn get<I: Isa>(self, vcpu: &Vcpu<I>, run: &Run<'_>) -> u64 {
        self.file(&vcpu.state.slots, &run.frame[0])[usize::from(self.0 as u8)]
    }

    #[inline(always)]
    fn set<I: Isa>(self, vcpu: &mut Vcpu<I>, run: &mut Run<'_>, value: u64) {
        let temps = &mut run.frame[0];
        let file = if self.0 & Self::TEMP == 0 { &mut vcpu.state.slots } else { temps };
        file[usize::from(self.0 as u8)] = value;
    }
}

/// Whether the next step follows; if not, [`Run::left`] says what happened.
type GoOn = bool;
type Handler<I> = fn(&mut Vcpu<I>, &mut Run<'_>, &Step) -> GoOn;

/// In which type an integer handler works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Wide,
    Narrow,
    /// Narrow, with the result sign-extended: the operation and the [`Op::Sext32`] after it in one.
    NarrowSigned,
}

const WIDE: u8 = Form::Wide as u8;
const NARROW: u8 = Form::Narrow as u8;
const SIGNED: u8 = Form::NarrowSigned as u8;

/// `dst = OP(a, b)`.
fn int<I: Isa, const OP: u8, const ATTR: u16, const FORM: u8, const IMM: bool>(
    vcpu: &mut Vcpu<I>,
    run: &mut Run<'_>,
    step: &Step,
) -> GoOn {
    let a = step.a.get(vcpu, run);
    let b = if IMM { step.imm } else { step.b.get(vcpu, run) };
    let op = const { Op::ALL[OP as usize] };
    let ty = const { if FORM == WIDE { Ty::I64 } else { Ty::I32 } };
    let inst = Inst { op, ty, attr: ATTR, dst: Val::NONE, a: Val::NONE, b: Val::NONE, c: Val::NONE, imm: 0 };
    let value = int::evaluate(&inst, [a, b, 0]);
    let value = if FORM == SIGNED { value as u32 as i32 as u64 } else { value };
    step.dst.set(vcpu, run, value);
    true
}

fn pc<I: Isa>(vcpu: &mut Vcpu<I>, run: &mut Run<'_>, step: &Step) -> GoOn {
    let value = vcpu.state.page_base.wrapping_add(step.imm);
    step.dst.set(vcpu, run, value);
    true
}

fn load<I: Isa, T: Scalar, const EXTEND: bool>(vcpu: &mut Vcpu<I>, run: &mut Run<'_>, step: &Step) -> GoOn {
    let va = step.a.get(vcpu, run).wrapping_add(step.imm);
    match vcpu.load_unit::<T>(View::Current, va) {
        Ok(value) => {
            let unused = 64 - 8 * T::BYTES as u32;
            let value = value.to_u64();
            let value = if EXTEND { ((value << unused) as i64 >> unused) as u64 } else { value };
            step.dst.set(vcpu, run, value);
            true
        }
        Err(stop) => stopped(run, stop),
    }
}

fn store<I: Isa, T: Scalar>(vcpu: &mut Vcpu<I>, run: &mut Run<'_>, step: &Step) -> GoOn {
    let va = step.a.get(vcpu, run).wrapping_add(step.imm);
    let value = T::from_u64(step.b.get(vcpu, run));
    match vcpu.store_unit(View::Current, va, value) {
        Ok(()) => true,
        Err(stop) => stopped(run, stop),
    }
}

#[cold]
fn stopped(run: &mut Run<'_>, stop: Stop) -> GoOn {
    run.left = Some(Err(stop));
    false
}

/// Any operation at all.
fn any<I: Isa>(vcpu: &mut Vcpu<I>, run: &mut Run<'_>, step: &Step) -> GoOn {
    let index = usize::from(step.inst);
    let block = run.block;
    match run.inst(vcpu, &block.insts[index], index) {
        Ok(None) => true,
        left => {
            run.left = left.transpose();
            false
        }
    }
}

/// Goes on at `imm` from the page's start.
fn jump<I: Isa>(vcpu: &mut Vcpu<I>, _: &mut Run<'_>, step: &Step) -> GoOn {
    vcpu.state.pc = vcpu.state.page_base.wrapping_add(step.imm);
    vcpu.state.retired += u64::from(step.inst);
    false
}

/// Goes on at the low half of `imm` if the comparison of `a` and `b` holds, else at the high half.
fn branch<I: Isa, const CC: u16>(vcpu: &mut Vcpu<I>, run: &mut Run<'_>, step: &Step) -> GoOn {
    let holds = compare(Cc::from_bits(CC), Ty::I64, step.a.get(vcpu, run), step.b.get(vcpu, run));
    let offset = if holds { step.imm as i32 } else { (step.imm >> 32) as i32 };
    vcpu.state.pc = vcpu.state.page_base.wrapping_add_signed(i64::from(offset));
    vcpu.state.retired += u64::from(step.inst);
    false
}

/// Goes on at `a`.
fn indirect<I: Isa>(vcpu: &mut Vcpu<I>, run: &mut Run<'_>, step: &Step) -> GoOn {
    vcpu.state.pc = step.a.get(vcpu, run);
    vcpu.state.retired += u64::from(step.inst);
    false
}

/// Any terminal at all.
fn end<I: Isa>(vcpu: &mut Vcpu<I>, run: &mut Run<'_>, _: &Step) -> GoOn {
    run.end(&mut vcpu.state);
    false
}

/// How many integer handlers an operation has: in each form, with two operands in places or one and a constant.
const INT_FORMS: usize = 6;

macro_rules! handlers {
    (int: $($int:ident)*; unary: $($unary:ident)*; set: $($cc:ident)*;) => {
        /// Operations with [`INT_FORMS`] handlers each.
        const INT: &[Op] = &[$(Op::$int),*];
        /// Operations on one 64-bit operand.
        const UNARY: &[Op] = &[$(Op::$unary),*];

        impl<I: Isa> Handlers<I> {
            const ALL: &'static [Handler<I>] = &[
                any::<I>,
                end::<I>,
                jump::<I>,
                indirect::<I>,
                $(branch::<I, { Cc::$cc as u16 }>,)*
                pc::<I>,
                load::<I, u8, false>,
                load::<I, u16, false>,
                load::<I, u32, false>,
                load::<I, u64, false>,
                load::<I, u8, true>,
                load::<I, u16, true>,
                load::<I, u32, true>,
                load::<I, u64, true>,
                store::<I, u8>,
                store::<I, u16>,
                store::<I, u32>,
                store::<I, u64>,
                $(
                    int::<I, { Op::$int as u8 }, 0, WIDE, false>,
                    int::<I, { Op::$int as u8 }, 0, WIDE, true>,
                    int::<I, { Op::$int as u8 }, 0, NARROW, false>,
                    int::<I, { Op::$int as u8 }, 0, NARROW, true>,
                    int::<I, { Op::$int as u8 }, 0, SIGNED, false>,
                    int::<I, { Op::$int as u8 }, 0, SIGNED, true>,
                )*
                $(int::<I, { Op::$unary as u8 }, 0, WIDE, false>,)*
                $(
                    int::<I, { Op::Set as u8 }, { Cc::$cc as u16 }, WIDE, false>,
                    int::<I, { Op::Set as u8 }, { Cc::$cc as u16 }, WIDE, true>,
                )*
            ];
        }
    };
}

handlers! {
    int: Mov Add Sub And Or Xor Shl Shr Sar Mul;
    unary: Sext8 Sext16 Sext32 Zext8 Zext16 Zext32;
    set: Eq Ne Lt Ge Ltu Geu;
}

/// The first handlers of each group in [`Handlers::ALL`].
const ANY: usize = 0;
const END: usize = 1;
const JUMP: usize = 2;
const INDIRECT: usize = 3;
const BRANCH: usize = 4;
const PC: usize = BRANCH + Cc::ALL.len();
const LOAD: usize = PC + 1;
const STORE: usize = LOAD + 8;
const INT_START: usize = STORE + 4;
const UNARY_START: usize = INT_START + INT.len() * INT_FORMS;
const SET_START: usize = UNARY_START + UNARY.len();

/// The handlers for instruction set `I`.
struct Handlers<I>(std::marker::PhantomData<I>);

impl Code {
    /// The handlers for `block`.
    pub(crate) fn new(block: &Block) -> Self {
        let mut steps = Vec::with_capacity(block.insts.len() + 1);
        let mut insts = block.insts.iter().enumerate();
        while let Some((index, inst)) = insts.next() {
            let mut step = special(block, inst).unwrap_or(Step::new(ANY));
            if let Some(next) = block.insts.get(index + 1)
                && let Some(fused) = fuse(block, inst, &step, next)
            {
                step = fused;
                insts.next();
            }
            step.inst = index as u16; // `BlockBuilder::MAX_INSTS` bounds it
            steps.push(step);
        }
        let end = Step { inst: block.insts.len() as u16, ..Step::new(END) };
        steps.push(terminal(block).unwrap_or(end));
        Self { steps: steps.into() }
    }

    /// Runs all of `run`'s block; the operation that has left it, or their number.
    #[inline]
    pub(super) fn run<I: Isa>(&self, vcpu: &mut Vcpu<I>, run: &mut Run<'_>) -> usize {
        for step in self.steps.iter() {
            if !Handlers::<I>::ALL[usize::from(step.handler)](vcpu, run, step) {
                return step.inst.into();
            }
        }
        self.steps.len()
    }
}

impl Step {
    fn new(handler: usize) -> Self {
        let zero = Place::ZERO;
        // There are some hundred handlers.
        Self { handler: handler as u16, inst: 0, dst: zero, a: zero, b: zero, imm: 0 }
    }
}

/// The step for the block's terminal if there is a special handler for it.
fn terminal(block: &Block) -> Option<Step> {
    let place = |val| Place::of_source(block, val);
    let inst = block.len() as u16; // `BlockBuilder::MAX_INSTS` bounds it
    let step = |handler| Step { inst, ..Step::new(handler) };
    match block.terminal {
        Terminal::Jump { target, .. } | Terminal::Lookup { next: target } => {
            Some(Step { imm: i64::from(target) as u64, ..step(JUMP) })
        }
        Terminal::Branch { cc, ty: Ty::I64, a, b, taken, fall } => {
            let imm = u64::from(taken as u32) | u64::from(fall as u32) << 32;
            Some(Step { a: place(a)?, b: place(b)?, imm, ..step(BRANCH + cc as usize) })
        }
        Terminal::Indirect { target, .. } => Some(Step { a: place(target)?, ..step(INDIRECT) }),
        Terminal::Branch { .. } | Terminal::Exception { .. } => None,
    }
}

/// The step for `inst` if there is a special handler for it; its index in the block is still to be set.
fn special(block: &Block, inst: &Inst) -> Option<Step> {
    let place = |val| Place::of_source(block, val);
    let mut step = Step { a: place(inst.a)?, imm: i64::from(inst.imm) as u64, ..Step::new(ANY) };
    let attr = MemAttr::from_bits(inst.attr);
    let plain = |attr: MemAttr| attr.view == View::Current && !attr.exclusive && !attr.release;
    let size = inst.ty.bytes().trailing_zeros() as usize;
    let handler = match inst.op {
        Op::Pc => PC,
        Op::Load if plain(attr) && size < 4 => LOAD + size + if attr.signed { 4 } else { 0 },
        Op::Store if plain(attr) && size < 4 => {
            step.b = place(inst.b)?;
            STORE + size
        }
        Op::Set if inst.ty == Ty::I64 => {
            let by_const = right_operand(block, inst, &mut step)?;
            SET_START + usize::from(inst.attr) * 2 + usize::from(by_const)
        }
        op => match (INT.iter().position(|&o| o == op), UNARY.iter().position(|&o| o == op)) {
            (Some(at), _) => {
                let by_const = right_operand(block, inst, &mut step)?;
                let narrow = inst.ty == Ty::I32;
                INT_START + at * INT_FORMS + usize::from(narrow) * 2 + usize::from(by_const)
            }
            (None, Some(at)) if inst.ty != Ty::I32 => UNARY_START + at,
            _ => return None,
        },
    };
    if inst.op != Op::Store {
        step.dst = Place::of_result(inst.dst)?;
    }
    step.handler = handler as u16; // some hundred at most
    Some(step)
}

/// Puts `b` of `inst` into `step`: whether it is a constant.
fn right_operand(block: &Block, inst: &Inst, step: &mut Step) -> Option<bool> {
    match block.constant(inst.b) {
        Some(value) => {
            step.imm = value;
            Some(true)
        }
        None => {
            step.b = Place::of_source(block, inst.b)?;
            Some(false)
        }
    }
}

/// `inst`, for which there is `step`, and `next` as one step.
fn fuse(block: &Block, inst: &Inst, step: &Step, next: &Inst) -> Option<Step> {
    let position = usize::from(step.handler).checked_sub(INT_START)?;
    let narrow = position < INT.len() * INT_FORMS && inst.ty == Ty::I32;
    let only_for_next = matches!(inst.dst.kind(), ValKind::Temp(_)) && uses(block, inst.dst) == 1;
    if !(narrow && next.op == Op::Sext32 && next.a == inst.dst && only_for_next) {
        return None;
    }
    Some(Step { handler: step.handler + 2, dst: Place::of_result(next.dst)?, ..*step })
}

/// How many times `val` is used in `block`.
fn uses(block: &Block, val: Val) -> usize {
    let in_insts = block.insts.iter().flat_map(|inst| [inst.a, inst.b, inst.c]);
    in_insts.chain(block.terminal.operands()).filter(|&used| used == val).count()
}
