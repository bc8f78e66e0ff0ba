//! The built-in firmware on this board: what the SBI asks of the harts and devices.

use std::sync::Arc;

use devices::backend::chardev::CharBackend;
use devices::uart::ns16550::spec as serial;
use emu_core::device::{Mmio, Width};
use emu_core::exec::{Exception, Stop, Vcpu};
use emu_core::ir::{MemAttr, Ty};
use emu_core::mem::{Flush, GuestMemory};
use emu_core::sync::{Group, Request};
use firmware::sbi::{
    EntryState, EventSelector, Fence, HartSet, HwEvent, MemoryFault, Outcome, Platform, Resume, Sbi, csr,
};
use frontends::riscv::counters::event as counter_event;
use frontends::riscv::{Riscv, X, csr_read_debug, csr_write_debug, enter_supervisor};

use super::pin;
use crate::supervisor::{BuiltinFirmware, Next};

/// The size of an `ecall` instruction in bytes.
const ECALL: u64 = 4;

/// The SBI, and what it acts on.
pub struct SbiFirmware {
    /// The firmware's state.
    pub sbi: Sbi,
    /// All harts.
    pub group: Arc<Group>,
    /// Guest memory.
    pub memory: GuestMemory,
    /// Where the firmware's console output goes.
    pub console: Arc<dyn CharBackend>,
    /// The serial port, where its input comes from.
    pub serial: Arc<dyn Mmio>,
}

impl BuiltinFirmware<Riscv> for SbiFirmware {
    type Entry = EntryState;

    fn reset(&self) {
        self.sbi.reset();
    }

    fn boot(&self, entry: u64, fdt: u64) {
        self.sbi.boot(0, entry, fdt);
    }

    fn poll_start(&self, index: usize) -> Option<EntryState> {
        self.sbi.poll_start(index)
    }

    fn resume(&self, index: usize) -> Option<EntryState> {
        match self.sbi.resume(index) {
            Resume::Enter(entry) => Some(entry),
            Resume::Return => None,
        }
    }

    fn enter(&self, vcpu: &mut Vcpu<Riscv>, entry: &EntryState) {
        enter_supervisor(vcpu, entry.pc, entry.a0, entry.a1, &entry.csrs);
    }

    fn returned(&self, vcpu: &mut Vcpu<Riscv>) {
        set_result(vcpu, 0, Some(0));
    }

    fn wakes(&self, vcpu: &mut Vcpu<Riscv>) -> bool {
        let pending = csr_read_debug(vcpu, csr::MIP).zip(csr_read_debug(vcpu, csr::MIE));
        pending.is_none_or(|(mip, mie)| mip & mie != 0)
    }

    fn call(&self, vcpu: &mut Vcpu<Riscv>) -> Next {
        let args: [u64; 8] = std::array::from_fn(|i| vcpu.state.slots[usize::from(X) + 10 + i]);
        let index = vcpu.index();
        let outcome = self.sbi.call(index, &args, &mut Calling { firmware: self, vcpu });
        match outcome {
            Outcome::Return { a0, a1 } => set_result(vcpu, a0, Some(a1)),
            Outcome::Legacy { a0 } => set_result(vcpu, a0, None),
            Outcome::Retry => {
                vcpu.state.pc = vcpu.state.pc.wrapping_sub(ECALL);
                std::thread::yield_now();
            }
            Outcome::Trap(fault) => {
                vcpu.state.pc = vcpu.state.pc.wrapping_sub(ECALL);
                vcpu.stopped_by(Stop::Exception(Exception::new(fault.cause, fault.address)));
            }
            Outcome::Stop => return Next::Stop,
            Outcome::Suspend => return Next::Suspend,
            Outcome::Power(request) => return Next::Power(request),
        }
        Next::Go
    }
}

fn set_result(vcpu: &mut Vcpu<Riscv>, a0: u64, a1: Option<u64>) {
    vcpu.state.slots[usize::from(X) + 10] = a0;
    if let Some(a1) = a1 {
        vcpu.state.slots[usize::from(X) + 11] = a1;
    }
}

/// The machine as the firmware sees it during a call.
struct Calling<'a> {
    firmware: &'a SbiFirmware,
    vcpu: &'a mut Vcpu<Riscv>,
}

impl Platform for Calling<'_> {
    fn memory(&self) -> &GuestMemory {
        &self.firmware.memory
    }

    fn read_csr(&mut self, csr: u16) -> Option<u64> {
        csr_read_debug(self.vcpu, csr)
    }

    fn write_csr(&mut self, csr: u16, value: u64) {
        csr_write_debug(self.vcpu, csr, value);
    }

    fn set_timer(&mut self, deadline: u64) {
        // Every model has Sstc, and the firmware has switched it on.
        csr_write_debug(self.vcpu, csr::STIMECMP, deadline);
    }

    fn send_ipi(&mut self, hart: usize) {
        if let Some(port) = self.firmware.group.ports().get(hart) {
            port.set_pins(1 << pin::SSI, 1 << pin::SSI);
        }
    }

    fn remote_fence(&mut self, harts: HartSet, fence: Fence) {
        let request = match fence {
            Fence::Instruction => Request::SyncCode,
            Fence::Memory { range, asid } => Request::Flush(Flush {
                asid: asid.map(u32::from),
                range: range.map(|(start, size)| (start, start.saturating_add(size - 1))),
            }),
        };
        let targets: Vec<usize> = harts.iter().collect();
        self.vcpu.enter_guest();
        self.vcpu.request(targets.iter().copied(), request);
        self.vcpu.leave_guest();
    }

    fn wake(&mut self, hart: usize) {
        if let Some(port) = self.firmware.group.ports().get(hart) {
            port.interrupt();
        }
    }

    fn console_write(&mut self, bytes: &[u8]) -> usize {
        self.firmware.console.write(bytes)
    }

    /// Reads the serial port as a driver would that polls: whoever reads first gets a byte.
    fn console_read(&mut self, buf: &mut [u8]) -> usize {
        let port = &self.firmware.serial;
        let read = |register| port.read(register, Width::Byte).unwrap_or(0) as u8;
        let mut bytes = buf.iter_mut();
        // Behind the divisor latch there are no characters.
        while read(serial::LCR) & serial::lcr::DLAB == 0 && read(serial::LSR) & serial::lsr::DATA_READY != 0 {
            let Some(byte) = bytes.next() else { break };
            *byte = read(serial::RBR_THR_DLL);
        }
        let left = bytes.len();
        buf.len() - left
    }

    fn hpm_counters(&self) -> u32 {
        self.vcpu.isa.hpm_counters()
    }

    fn event_selector(&self, event: HwEvent) -> Option<EventSelector> {
        let value = match event {
            HwEvent::General(1) => counter_event::CYCLES,
            HwEvent::General(2) => counter_event::INSTRUCTIONS,
            HwEvent::Raw(value @ (counter_event::CYCLES | counter_event::INSTRUCTIONS)) => value,
            _ => return None,
        };
        Some(EventSelector { value, counters: self.hpm_counters() })
    }

    fn read_virtual(&mut self, address: u64) -> Result<u64, MemoryFault> {
        self.vcpu.enter_guest();
        let read = self.vcpu.load(Ty::I64, MemAttr::PLAIN, address);
        self.vcpu.leave_guest();
        read.map_err(|stop| match stop {
            Stop::Exception(e) => MemoryFault { cause: e.cause, address: e.value },
            Stop::Host(_) => MemoryFault { cause: 5, address },
        })
    }
}
