//! The interpreter: the definition of what the IR means, and the oracle of the compilers.

mod fp;
mod int;
mod vec;

pub use vec::vlen;

use std::sync::atomic::{Ordering, fence};

use crate::exec::{CpuState, Engine, Exception, Exit, Isa, Limits, SLOTS, Stop, Vcpu};
use crate::fp::Flags;
use crate::ir::{AmoOp, Block, Cc, Hint, Inst, MemAttr, Op, Terminal, Ty, Val, ValKind};

/// Words for temporaries: two for each, so that a vector fits.
const FRAME: usize = 2 * 4096;

/// Interprets blocks.
pub struct Interpreter {
    frame: Box<[u64; FRAME]>,
}

impl Interpreter {
    /// An interpreter; each vCPU thread has its own.
    pub fn new() -> Self {
        Self { frame: Box::new([0; FRAME]) }
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
            if vcpu.port().wants_attention()
                && let Some(exit) = vcpu.attend()
            {
                break exit;
            }
            vcpu.limit_exclusive();
            if limits.single_step() {
                // A step does not end between a load-reserve and its store-conditional: that could never succeed.
                let may_end = vcpu.is_alone() || !vcpu.is_exclusive();
                if may_end && end.is_some_and(|end| vcpu.state.retired >= end) {
                    break Exit::Stepped;
                }
                if !first && limits.breakpoints.contains(&vcpu.state.pc) {
                    break Exit::Breakpoint;
                }
                first = false;
                if limits.observed {
                    vcpu.observe(|probe, vcpu| probe.instruction(vcpu));
                }
            }
            let ran = if limits.single_step() { self.step(vcpu) } else { self.run_next(vcpu) };
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
        let (cached, epoch) = vcpu.take_block()?;
        let ran = self.execute(vcpu, cached.block());
        vcpu.return_block(cached, epoch);
        ran
    }

    /// Runs one instruction.
    pub fn step<I: Isa>(&mut self, vcpu: &mut Vcpu<I>) -> Result<(), Stop> {
        let block = vcpu.lift_one()?;
        self.execute(vcpu, &block)
    }

    /// Runs `block`, which lies at the program counter.
    pub fn execute<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, block: &Block) -> Result<(), Stop> {
        let page_base = vcpu.state.pc & !0xfff;
        vcpu.state.page_base = page_base;
        let mut run = Run { block, frame: &mut self.frame };
        for (index, inst) in block.insts.iter().enumerate() {
            match run.inst(vcpu, inst, index) {
                Ok(None) => {}
                Ok(Some(target)) => {
                    vcpu.state.retired += block.mark_index(index) as u64 + 1;
                    vcpu.state.pc = page_base.wrapping_add_signed(i64::from(target));
                    return Ok(());
                }
                Err(stop) => return Err(run.stopped(vcpu, index, stop)),
            }
        }
        let state = &mut vcpu.state;
        let at = |offset: i32| page_base.wrapping_add_signed(i64::from(offset));
        let (pc, count) = match block.terminal {
            Terminal::Jump { target, .. } => (at(target), block.len()),
            Terminal::Branch { cc, ty, a, b, taken, fall } => {
                let holds = compare(cc, ty, run.get(state, a), run.get(state, b));
                (at(if holds { taken } else { fall }), block.len())
            }
            Terminal::Indirect { target, hint: Hint::Jump | Hint::Call(_) | Hint::Return | Hint::Switch } => {
                (run.get(state, target), block.len())
            }
            Terminal::Lookup { next } => (at(next), block.len()),
            Terminal::Exception { cause, value } => {
                let value = run.get(state, value);
                state.retired += block.len() as u64 - 1;
                state.pc = at(block.marks.last().map_or(0, |mark| mark.offset));
                return Err(Stop::Exception(Exception::new(cause.into(), value)));
            }
        };
        state.pc = pc;
        state.retired += count as u64;
        Ok(())
    }
}

/// One run of one block.
struct Run<'a> {
    block: &'a Block,
    frame: &'a mut [u64; FRAME],
}

impl Run<'_> {
    /// The integer or floating-point value of an operand.
    #[inline(always)]
    fn get(&self, state: &CpuState, val: Val) -> u64 {
        match val.kind() {
            ValKind::Slot(n) => state.slots[usize::from(n) % SLOTS],
            ValKind::Temp(n) => self.frame[usize::from(n) * 2 % FRAME],
            ValKind::Const(n) => self.block.consts.get(usize::from(n)).copied().unwrap_or(0),
            ValKind::None => 0,
        }
    }

    #[inline(always)]
    fn set(&mut self, state: &mut CpuState, val: Val, value: u64) {
        match val.kind() {
            ValKind::Slot(n) => state.slots[usize::from(n) % SLOTS] = value,
            ValKind::Temp(n) => self.frame[usize::from(n) * 2 % FRAME] = value,
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
                let at = usize::from(n) * 2 % FRAME;
                (self.frame[at], self.frame[at + 1])
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
                let at = usize::from(n) * 2 % FRAME;
                self.frame[at] = low;
                self.frame[at + 1] = high;
            }
            ValKind::Const(_) | ValKind::None => {}
        }
    }

    /// Makes the state exact for how operation `index` stopped.
    #[cold]
    fn stopped<I: Isa>(&self, vcpu: &mut Vcpu<I>, index: usize, stop: Stop) -> Stop {
        let number = self.block.mark_index(index);
        let mark = &self.block.marks[number];
        let (offset, retired) = match stop {
            Stop::Exception(_) => (mark.offset, number),
            Stop::Host(_) => (mark.offset + i32::from(mark.len), number + 1),
        };
        vcpu.state.pc = vcpu.state.page_base.wrapping_add_signed(i64::from(offset));
        vcpu.state.retired += retired as u64;
        stop
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
            Op::Fence => fence(Ordering::SeqCst),
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
        _ => vec::evaluate(inst, src),
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
