//! The machine as the debugger's protocol sees it: CPUs are threads, numbered from one.

use std::convert::Infallible;
use std::sync::Arc;

use emu_core::exec::Vcpu;
use emu_core::mem::PAGE_SIZE;
use gdbstub::common::{Signal, Tid};
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, SwBreakpoint, SwBreakpointOps,
};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};

use super::registers::{Register, Registers, Target as IsaTarget, value_of};
use crate::debug::gate::{Action, Gate, Over, Reason};
use crate::debug::inspect::Inspect;

/// The most breakpoints of each kind.
const MAX_BREAKPOINTS: usize = 1024;

/// The machine, for one connection.
pub struct Debuggee<I: Inspect> {
    gate: Arc<Gate<I>>,
    description: Arc<str>,
    /// What each CPU does at the next resumption.
    actions: Vec<Option<Action>>,
    /// CPUs without an action stay halted.
    locked: bool,
    software: Vec<u64>,
    hardware: Vec<u64>,
    /// Memory has been written, and may hold code.
    written: bool,
}

impl<I: Inspect> Debuggee<I> {
    /// The machine behind `gate`.
    pub fn new(gate: Arc<Gate<I>>, description: Arc<str>) -> Self {
        let actions = vec![None; gate.vcpus()];
        let (software, hardware) = (Vec::new(), Vec::new());
        Self { gate, description, actions, locked: false, software, hardware, written: false }
    }

    /// What there is to tell the debugger while the machine runs. The CPUs are all halted then, unless it is over.
    pub fn news(&self) -> Option<MultiThreadStopReason<u64>> {
        if let Some(over) = self.gate.over() {
            return Some(match over {
                Over::Off(code) => MultiThreadStopReason::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
                Over::Quit => MultiThreadStopReason::Terminated(Signal::SIGKILL),
            });
        }
        let (index, reason) = self.gate.take_stop()?;
        self.gate.halt();
        let tid = tid(index)?;
        Some(match reason {
            Reason::Breakpoint(pc) if self.software.contains(&pc) => MultiThreadStopReason::SwBreak(tid),
            Reason::Breakpoint(pc) if self.hardware.contains(&pc) => MultiThreadStopReason::HwBreak(tid),
            Reason::Breakpoint(_) | Reason::Stepped => trapped(tid, Signal::SIGTRAP),
        })
    }

    /// Halts all CPUs on the user's word; what to tell the debugger.
    pub fn interrupt(&self) -> Option<MultiThreadStopReason<u64>> {
        self.gate.halt();
        tid(0).map(|tid| trapped(tid, Signal::SIGINT))
    }

    /// Leaves no trace of the debugger; then lets all CPUs run, if they are to.
    pub fn disconnect(&mut self, run: bool) {
        self.software.clear();
        self.hardware.clear();
        self.gate.set_breakpoints([].into_iter());
        self.show_code();
        if run {
            self.gate.resume(|_| Action::Run);
        }
    }

    /// Makes what was written to memory visible to instruction fetches.
    fn show_code(&mut self) {
        if std::mem::take(&mut self.written) {
            self.gate.sync_code();
        }
    }

    fn action(&mut self, tid: Tid, action: Action) {
        if let Some(slot) = self.actions.get_mut(tid.get() - 1) {
            *slot = Some(action);
        }
    }

    /// Has a CPU do something.
    fn with<R: Send + 'static>(
        &self,
        tid: Tid,
        job: impl FnOnce(&mut Vcpu<I>) -> R + Send + 'static,
    ) -> TargetResult<R, Self> {
        self.gate.with(tid.get() - 1, job).ok_or(TargetError::NonFatal)
    }

    fn add_breakpoint(&mut self, list: fn(&mut Self) -> &mut Vec<u64>, address: u64) -> bool {
        let list = list(self);
        let added = list.len() < MAX_BREAKPOINTS;
        if added {
            list.push(address);
            self.breakpoints_changed();
        }
        added
    }

    fn remove_breakpoint(&mut self, list: fn(&mut Self) -> &mut Vec<u64>, address: u64) -> bool {
        let list = list(self);
        let found = list.iter().position(|at| *at == address);
        if let Some(index) = found {
            list.swap_remove(index);
            self.breakpoints_changed();
        }
        found.is_some()
    }

    fn breakpoints_changed(&self) {
        self.gate.set_breakpoints(self.software.iter().chain(&self.hardware).copied());
    }
}

fn tid(index: usize) -> Option<Tid> {
    Tid::new(index + 1)
}

fn trapped(tid: Tid, signal: Signal) -> MultiThreadStopReason<u64> {
    MultiThreadStopReason::SignalWithThread { tid, signal }
}

/// The parts of `len` bytes from virtual `start` that lie in one page each, as RAM offsets; fewer if not all is memory.
/// None if the range goes beyond the end of the address space.
fn pieces<I: Inspect>(vcpu: &Vcpu<I>, start: u64, len: usize) -> Option<Vec<(usize, usize)>> {
    let end = start.checked_add(len as u64)?;
    let mut pieces = Vec::new();
    let mut at = start;
    while at < end {
        let part = (end - at).min(PAGE_SIZE - at % PAGE_SIZE);
        let offset = I::physical(vcpu, at).and_then(|pa| vcpu.bus.ram().offset_of(pa, part));
        match offset {
            Some(offset) => pieces.push((offset, part as usize)), // a page at most
            None => break,
        }
        at += part;
    }
    Some(pieces)
}

fn read_memory<I: Inspect>(vcpu: &Vcpu<I>, start: u64, len: usize) -> Option<Vec<u8>> {
    let ram = vcpu.bus.ram();
    let pieces = pieces(vcpu, start, len)?.into_iter();
    let bytes: Vec<u8> = pieces.flat_map(|(at, len)| at..at + len).map(|at| ram.load(at)).collect();
    (len == 0 || !bytes.is_empty()).then_some(bytes)
}

/// Writes all of `bytes`, or nothing and returns false.
fn write_memory<I: Inspect>(vcpu: &Vcpu<I>, start: u64, bytes: &[u8]) -> bool {
    let Some(pieces) = pieces(vcpu, start, bytes.len()) else { return false };
    if pieces.iter().map(|(_, len)| len).sum::<usize>() != bytes.len() {
        return false;
    }
    let ram = vcpu.bus.ram();
    let mut rest = bytes;
    for (offset, len) in pieces {
        let (part, after) = rest.split_at(len);
        part.iter().enumerate().for_each(|(i, byte)| ram.store(offset + i, *byte));
        ram.code_pages().note_write(offset, len);
        rest = after;
    }
    true
}

impl<I: Inspect> Target for Debuggee<I> {
    type Arch = IsaTarget<I>;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, IsaTarget<I>, Infallible> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl<I: Inspect> MultiThreadBase for Debuggee<I> {
    fn read_registers(&mut self, registers: &mut Registers<I>, tid: Tid) -> TargetResult<(), Self> {
        *registers = self.with(tid, |vcpu| Registers::read(vcpu))?;
        Ok(())
    }

    fn write_registers(&mut self, registers: &Registers<I>, tid: Tid) -> TargetResult<(), Self> {
        let registers = registers.clone();
        self.with(tid, move |vcpu| registers.write(vcpu))
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let len = data.len();
        let bytes = self.with(tid, move |vcpu| read_memory(vcpu, start, len))?;
        let bytes = bytes.ok_or(TargetError::NonFatal)?;
        data.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        Ok(bytes.len())
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let data = data.to_vec();
        let written = self.with(tid, move |vcpu| write_memory(vcpu, start, &data))?;
        self.written |= written;
        if written { Ok(()) } else { Err(TargetError::NonFatal) }
    }

    fn list_active_threads(&mut self, is_active: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        (0..self.gate.vcpus()).filter_map(tid).for_each(is_active);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl<I: Inspect> SingleRegisterAccess<Tid> for Debuggee<I> {
    fn read_register(
        &mut self,
        tid: Tid,
        register: Register<I>,
        data: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let Register { number, bytes, .. } = register;
        let value = self.with(tid, move |vcpu| I::read_register(vcpu, number))?;
        let value = value.ok_or(TargetError::NonFatal)?.to_le_bytes();
        data.iter_mut().zip(value).take(bytes).for_each(|(to, from)| *to = from);
        Ok(bytes)
    }

    fn write_register(&mut self, tid: Tid, register: Register<I>, data: &[u8]) -> TargetResult<(), Self> {
        let Register { number, bytes, .. } = register;
        let value = value_of(data).filter(|_| data.len() == bytes).ok_or(TargetError::NonFatal)?;
        let written = self.with(tid, move |vcpu| I::write_register(vcpu, number, value))?;
        if written { Ok(()) } else { Err(TargetError::NonFatal) }
    }
}

impl<I: Inspect> MultiThreadResume for Debuggee<I> {
    fn resume(&mut self) -> Result<(), Infallible> {
        self.show_code();
        let others = if self.locked { Action::Halt } else { Action::Run };
        self.gate.resume(|index| self.actions.get(index).copied().flatten().unwrap_or(others));
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.actions.fill(None);
        self.locked = false;
        Ok(())
    }

    /// CPUs take no signals: one that comes with an action is ignored.
    fn set_resume_action_continue(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        self.action(tid, Action::Run);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl<I: Inspect> MultiThreadSingleStep for Debuggee<I> {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        self.action(tid, Action::Step);
        Ok(())
    }
}

impl<I: Inspect> MultiThreadSchedulerLocking for Debuggee<I> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        self.locked = true;
        Ok(())
    }
}

impl<I: Inspect> Breakpoints for Debuggee<I> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl<I: Inspect> SwBreakpoint for Debuggee<I> {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_breakpoint(|this| &mut this.software, address))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(|this| &mut this.software, address))
    }
}

impl<I: Inspect> HwBreakpoint for Debuggee<I> {
    fn add_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_breakpoint(|this| &mut this.hardware, address))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(|this| &mut this.hardware, address))
    }
}

impl<I: Inspect> TargetDescriptionXmlOverride for Debuggee<I> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        data: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.description.as_bytes().get(start..).unwrap_or_default();
        let len = rest.len().min(length).min(data.len());
        data.iter_mut().zip(rest.iter().take(len)).for_each(|(to, from)| *to = *from);
        Ok(len)
    }
}

impl<I: Inspect> ThreadExtraInfo for Debuggee<I> {
    fn thread_extra_info(&self, tid: Tid, data: &mut [u8]) -> Result<usize, Infallible> {
        let privilege = self.gate.with(tid.get() - 1, |vcpu| vcpu.isa.privilege());
        let text = match privilege {
            Some(privilege) => format!("CPU {}, {privilege}", tid.get() - 1),
            None => format!("CPU {}", tid.get() - 1),
        };
        let len = text.len().min(data.len());
        data.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Ok(len)
    }
}
