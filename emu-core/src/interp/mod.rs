//! The interpreter: the definition of what the IR means, and the oracle of the compilers.

mod fast;
mod fp;
mod int;
mod jumps;
mod vec;

pub(crate) use fast::Code;
pub use vec::vlen;

use std::sync::atomic::{Ordering, fence};

use self::jumps::JumpCache;
use crate::exec::{CpuState, Engine, Exception, Exit, Isa, Limits, SLOTS, Stop, Vcpu};
use crate::fp::Flags;
use crate::ir::{AmoOp, Block, BulkAttr, Cc, Hint, Inst, MemAttr, Op, Terminal, Ty, Val, ValKind};
use crate::mem::PAGE_SIZE;

/// Rows of words for temporaries.
const FRAME: usize = 32;
/// Words for temporaries, two for each, so that a vector fits. The first pair stays zero.
type Frame = [[u64; SLOTS]; FRAME];

/// The first word of temporary `n`.
const fn temp_word(n: u16) -> usize {
    n as usize * 2 + 2
}

/// Interprets blocks.
pub struct Interpreter {
    frame: Box<Frame>,
    jumps: JumpCache,
}

impl Interpreter {
    /// An interpreter; each vCPU thread has its own.
    pub fn new() -> Self {
        Self { frame: Box::new([[0; SLOTS]; FRAME]), jumps: JumpCache::new() }
    }
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Isa> Engine<I> for Interpreter {
    fn run(&mut self, vcpu: &mut Vcpu<I>, limits: Limits<'_>) -> Exit {
        vcpu.enter_guest();
        let end = limits.steps.map(|steps| vcpu.state.retired.saturating_add(steps));
        let mut first = true;
        let exit = loop {
            vcpu.limit_exclusive();
            // A step ends before an interrupt that its instruction has let in. It does not end between a load-reserve and
            // its store-conditional: that could never succeed.
            if end.is_some_and(|end| vcpu.state.retired >= end) && (vcpu.is_alone() || !vcpu.is_exclusive()) {
                break Exit::Stepped;
            }
            if vcpu.port().wants_attention()
                && let Some(exit) = vcpu.attend()
            {
                break exit;
            }
            if limits.single_step() {
                if !first && limits.breakpoints.contains(&vcpu.state.pc) {
                    break Exit::Breakpoint;
                }
                first = false;
                if limits.observed {
                    vcpu.observe(|probe, vcpu| probe.instruction(vcpu));
                }
            }
            let ran = if !limits.single_step() {
                self.run_next(vcpu)
            } else if limits.steps.is_some() || limits.observed {
                self.step(vcpu)
            } else {
                self.run_to(vcpu, limits.breakpoints)
            };
            if let Err(stop) = ran {
                let trapped = matches!(stop, Stop::Exception(_));
                if let Some(exit) = vcpu.stopped_by(stop) {
                    break exit;
                }
                if trapped && limits.steps.is_some() {
                    break Exit::Stepped;
                }
            }
        };
        vcpu.leave_guest();
        exit
    }
}

impl Interpreter {
    /// Runs the block at the program counter.
    #[inline]
    pub fn run_next<I: Isa>(&mut self, vcpu: &mut Vcpu<I>) -> Result<(), Stop> {
        let (cached, code) = self.jumps.find(vcpu)?;
        execute(&mut self.frame, vcpu, cached.block(), |vcpu, run| code.run(vcpu, run))
    }

    /// Runs the block at the program counter, or only its first instruction if it has more than `most`.
    pub fn run_at_most<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, most: u64) -> Result<(), Stop> {
        self.run_unless(vcpu, |block| block.len() as u64 > most)
    }

    /// Runs the block at the program counter, or only its first instruction if a breakpoint lies in it behind that.
    fn run_to<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, breakpoints: &[u64]) -> Result<(), Stop> {
        let pc = vcpu.state.pc;
        self.run_unless(vcpu, |block| {
            let behind = 1..block.code_len();
            breakpoints.iter().any(|at| behind.contains(&at.wrapping_sub(pc)))
        })
    }

    /// Runs the block at the program counter, or only its first instruction if `stop` says so.
    fn run_unless<I: Isa>(
        &mut self,
        vcpu: &mut Vcpu<I>,
        stop: impl FnOnce(&Block) -> bool,
    ) -> Result<(), Stop> {
        let (cached, code) = self.jumps.find(vcpu)?;
        if stop(cached.block()) {
            return self.step(vcpu);
        }
        execute(&mut self.frame, vcpu, cached.block(), |vcpu, run| code.run(vcpu, run))
    }

    /// Runs the block at the program counter operation by operation, if it is one that `wanted` wants; whether it was. `accesses`
    /// is told of each load and store before it is made, by its number, and what its base holds.
    pub fn watch_if<I: Isa>(
        &mut self,
        vcpu: &mut Vcpu<I>,
        wanted: impl FnOnce(&Block) -> bool,
        mut accesses: impl FnMut(usize, u64),
    ) -> Result<bool, Stop> {
        let (cached, _) = self.jumps.find(vcpu)?;
        let block = cached.block();
        if !wanted(block) {
            return Ok(false);
        }
        execute(&mut self.frame, vcpu, block, |vcpu, run| run.all(vcpu, &mut accesses))?;
        Ok(true)
    }

    /// Runs one instruction.
    pub fn step<I: Isa>(&mut self, vcpu: &mut Vcpu<I>) -> Result<(), Stop> {
        let block = vcpu.lift_one()?;
        self.execute(vcpu, &block)
    }

    /// Runs `block`, which lies at the program counter, operation by operation.
    pub fn execute<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, block: &Block) -> Result<(), Stop> {
        execute(&mut self.frame, vcpu, block, |vcpu, run| run.all(vcpu, |_, _| ()))
    }

    /// Does the same as [`Interpreter::execute`] by the handlers that blocks run with in [`Engine::run`].
    pub fn execute_handlers<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, block: &Block) -> Result<(), Stop> {
        let code = Code::new(block);
        execute(&mut self.frame, vcpu, block, |vcpu, run| code.run(vcpu, run))
    }
}

/// Runs `block`, which lies at the program counter; `run` does it all, and returns the operation that has left the block, or
/// their number.
#[inline(always)]
fn execute<I: Isa>(
    frame: &mut Frame,
    vcpu: &mut Vcpu<I>,
    block: &Block,
    run_all: impl FnOnce(&mut Vcpu<I>, &mut Run<'_>) -> usize,
) -> Result<(), Stop> {
    vcpu.state.page_base = vcpu.state.pc & !(PAGE_SIZE - 1);
    let mut run = Run { block, frame, left: None };
    let index = run_all(vcpu, &mut run);
    match run.left {
        None => Ok(()),
        Some(left) => leave(block, vcpu, index, left),
    }
}

/// Makes the state exact after operation `index`, or the terminal, has left the block.
#[cold]
fn leave<I: Isa>(
    block: &Block,
    vcpu: &mut Vcpu<I>,
    index: usize,
    left: Result<i32, Stop>,
) -> Result<(), Stop> {
    let number = block.mark_index(index);
    let mark = &block.marks[number];
    let (offset, retired) = match left {
        Err(Stop::Exception(_)) => (mark.offset, number),
        Err(Stop::Host(_)) => (mark.offset + i32::from(mark.len), number + 1),
        Ok(target) => (target, number + 1),
    };
    vcpu.state.pc = vcpu.state.page_base.wrapping_add_signed(i64::from(offset));
    vcpu.state.retired += retired as u64;
    left.map(|_| ())
}

/// One run of one block.
struct Run<'a> {
    block: &'a Block,
    frame: &'a mut Frame,
    /// Why an operation has left the block: for the code at this offset from the page's start, or because it stopped.
    left: Option<Result<i32, Stop>>,
}

impl Run<'_> {
    /// The integer or floating-point value of an operand.
    #[inline(always)]
    fn get(&self, state: &CpuState, val: Val) -> u64 {
        match val.kind() {
            ValKind::Slot(n) => state.slots[usize::from(n) % SLOTS],
            ValKind::Temp(n) => self.frame[temp_word(n) / SLOTS % FRAME][temp_word(n) % SLOTS],
            ValKind::Const(n) => self.block.consts.get(usize::from(n)).copied().unwrap_or(0),
            ValKind::None => 0,
        }
    }

    #[inline(always)]
    fn set(&mut self, state: &mut CpuState, val: Val, value: u64) {
        match val.kind() {
            ValKind::Slot(n) => state.slots[usize::from(n) % SLOTS] = value,
            ValKind::Temp(n) => self.frame[temp_word(n) / SLOTS % FRAME][temp_word(n) % SLOTS] = value,
            ValKind::Const(_) | ValKind::None => {}
        }
    }

    /// The vector value of an operand.
    fn get_vec(&self, state: &CpuState, val: Val) -> u128 {
        let (low, high) = match val.kind() {
            ValKind::Slot(n) => {
                (state.slots[usize::from(n) % SLOTS], state.slots[(usize::from(n) + 1) % SLOTS])
            }
            ValKind::Temp(n) => {
                let (row, at) = (&self.frame[temp_word(n) / SLOTS % FRAME], temp_word(n) % SLOTS);
                (row[at], row[at + 1])
            }
            ValKind::Const(_) | ValKind::None => (0, 0),
        };
        u128::from(low) | u128::from(high) << 64
    }

    fn set_vec(&mut self, state: &mut CpuState, val: Val, value: u128) {
        let (low, high) = (value as u64, (value >> 64) as u64);
        match val.kind() {
            ValKind::Slot(n) => {
                state.slots[usize::from(n) % SLOTS] = low;
                state.slots[(usize::from(n) + 1) % SLOTS] = high;
            }
            ValKind::Temp(n) => {
                let (row, at) = (&mut self.frame[temp_word(n) / SLOTS % FRAME], temp_word(n) % SLOTS);
                row[at] = low;
                row[at + 1] = high;
            }
            ValKind::Const(_) | ValKind::None => {}
        }
    }

    /// Runs the block; the operation that has left it, or their number. `accesses` is told of each load and store.
    fn all<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, mut accesses: impl FnMut(usize, u64)) -> usize {
        let block = self.block;
        for (index, inst) in block.insts.iter().enumerate() {
            if matches!(inst.op, Op::Load | Op::Store) {
                accesses(index, self.get(&vcpu.state, inst.a));
            }
            self.left = self.inst(vcpu, inst, index).transpose();
            if self.left.is_some() {
                return index;
            }
        }
        self.end(&mut vcpu.state);
        block.insts.len()
    }

    /// Runs the terminal.
    fn end(&mut self, state: &mut CpuState) {
        let page_base = state.page_base;
        let at = |offset: i32| page_base.wrapping_add_signed(i64::from(offset));
        state.pc = match self.block.terminal {
            Terminal::Jump { target, .. } => at(target),
            Terminal::Branch { cc, ty, a, b, taken, fall } => {
                let holds = compare(cc, ty, self.get(state, a), self.get(state, b));
                at(if holds { taken } else { fall })
            }
            Terminal::Indirect { target, hint: Hint::Jump | Hint::Call(_) | Hint::Return | Hint::Switch } => {
                self.get(state, target)
            }
            Terminal::Lookup { next } => at(next),
            Terminal::Exception { cause, value } => {
                let value = self.get(state, value);
                self.left = Some(Err(Exception::new(cause.into(), value).into()));
                return;
            }
        };
        state.retired += self.block.len() as u64;
    }

    /// Runs one operation; where to go on if it leaves the block.
    #[inline(always)]
    fn inst<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, inst: &Inst, index: usize) -> Result<Option<i32>, Stop> {
        match inst.op {
            Op::Load => {
                let va = self.get(&vcpu.state, inst.a).wrapping_add_signed(inst.imm.into());
                let attr = MemAttr::from_bits(inst.attr);
                if inst.ty == Ty::V128 {
                    let value = vcpu.load_128(attr.view, va)?;
                    self.set_vec(&mut vcpu.state, inst.dst, value);
                } else {
                    let value = vcpu.load(inst.ty, attr, va)?;
                    self.set(&mut vcpu.state, inst.dst, value);
                }
            }
            Op::Store => {
                let va = self.get(&vcpu.state, inst.a).wrapping_add_signed(inst.imm.into());
                let attr = MemAttr::from_bits(inst.attr);
                if inst.ty == Ty::V128 {
                    let value = self.get_vec(&vcpu.state, inst.b);
                    vcpu.store_128(attr.view, va, value)?;
                } else {
                    let value = self.get(&vcpu.state, inst.b);
                    vcpu.store(inst.ty, attr, va, value)?;
                }
                if attr.release {
                    // A release that is followed by an acquire stays before it (Arm's RCsc).
                    fence(Ordering::SeqCst);
                }
            }
            Op::ExitIf => {
                let (a, b) = (self.get(&vcpu.state, inst.a), self.get(&vcpu.state, inst.b));
                if compare(Cc::from_bits(inst.attr), inst.ty, a, b) {
                    return Ok(Some(inst.imm));
                }
            }
            Op::RaiseIf => {
                let [a, b, value] = [inst.a, inst.b, inst.c].map(|val| self.get(&vcpu.state, val));
                if compare(Cc::from_bits(inst.attr), inst.ty, a, b) {
                    return Err(Exception::new((inst.imm as u32).into(), value).into());
                }
            }
            Op::Amo => {
                let (va, b) = (self.get(&vcpu.state, inst.a), self.get(&vcpu.state, inst.b));
                let op = AmoOp::from_bits(inst.attr >> 8);
                let old = vcpu.amo(inst.ty, MemAttr::from_bits(inst.attr & 0xff), op, va, b)?;
                self.set(&mut vcpu.state, inst.dst, old);
            }
            Op::Cas => {
                let state = &vcpu.state;
                let (va, expected, new) =
                    (self.get(state, inst.a), self.get(state, inst.b), self.get(state, inst.c));
                let old = vcpu.cas(inst.ty, MemAttr::from_bits(inst.attr), va, expected, new)?;
                self.set(&mut vcpu.state, inst.dst, old);
            }
            Op::Cas128 => {
                let va = self.get(&vcpu.state, inst.a);
                let (expected, new) = (self.get_vec(&vcpu.state, inst.b), self.get_vec(&vcpu.state, inst.c));
                let old = vcpu.cas_128(MemAttr::from_bits(inst.attr).view, va, expected, new)?;
                self.set_vec(&mut vcpu.state, inst.dst, old);
            }
            Op::Zero => {
                let va = self.get(&vcpu.state, inst.a);
                vcpu.zero(MemAttr::from_bits(inst.attr).view, va, inst.imm as usize)?;
            }
            Op::Copy | Op::Fill => {
                let [a, b, c] = [inst.a, inst.b, inst.c].map(|val| self.get(&vcpu.state, val));
                let attr = BulkAttr::from_bits(inst.attr);
                let left = match inst.op {
                    Op::Copy => vcpu.copy(attr, a, b, c)?,
                    _ => vcpu.fill(attr, a, b as u8, c)?,
                };
                self.set(&mut vcpu.state, inst.dst, left);
            }
            // Only stores before loads need more than what the host's acquire-release fence orders.
            Op::Fence if inst.orders_stores_before_loads() => fence(Ordering::SeqCst),
            Op::Fence => fence(Ordering::AcqRel),
            Op::Call => {
                let mark = &self.block.marks[self.block.mark_index(index)];
                vcpu.state.pc = vcpu.state.page_base.wrapping_add_signed(i64::from(mark.offset));
                let args = [inst.a, inst.b, inst.c].map(|val| self.get(&vcpu.state, val));
                let value = I::call(vcpu, inst.imm as u16, args)?;
                self.set(&mut vcpu.state, inst.dst, value);
            }
            Op::Pc => {
                let value = vcpu.state.page_base.wrapping_add_signed(inst.imm.into());
                self.set(&mut vcpu.state, inst.dst, value);
            }
            Op::Vlen => self.vlen(&mut vcpu.state, inst),
            Op::Fpflags => {
                let value = vcpu.state.fp_flags;
                self.set(&mut vcpu.state, inst.dst, value);
            }
            Op::FpflagsSet => vcpu.state.fp_flags = self.get(&vcpu.state, inst.a),
            op if (op as u8) < Op::Fmov as u8 => {
                let state = &mut vcpu.state;
                let src = [inst.a, inst.b, inst.c].map(|val| self.get(state, val));
                let value = int::evaluate(inst, src);
                self.set(state, inst.dst, value);
            }
            op if (op as u8) < Op::Vmov as u8 => self.fp(&mut vcpu.state, inst),
            _ => self.vector(&mut vcpu.state, inst),
        }
        Ok(None)
    }
}

/// The result of an operation that reads and writes nothing but its operands and floating-point flags, on the values of its
/// operands: integers and floating-point values are in the low 64 bits.
pub fn evaluate(inst: &Inst, src: [u128; 3], flags: &mut Flags) -> u128 {
    let low = src.map(|value| value as u64);
    match inst.op {
        op if (op as u8) < Op::Fmov as u8 => int::evaluate(inst, low).into(),
        op if (op as u8) < Op::Vmov as u8 => fp::evaluate(inst, low, flags).into(),
        _ => vec::evaluate(inst, src, flags),
    }
}

/// Whether the comparison of `a` with `b` holds in integer type `ty`.
#[inline(always)]
pub fn compare(cc: Cc, ty: Ty, a: u64, b: u64) -> bool {
    let (a, b) = if ty == Ty::I32 { (a << 32, b << 32) } else { (a, b) };
    match cc {
        Cc::Eq => a == b,
        Cc::Ne => a != b,
        Cc::Lt => (a as i64) < b as i64,
        Cc::Ge => a as i64 >= b as i64,
        Cc::Ltu => a < b,
        Cc::Geu => a >= b,
    }
}
