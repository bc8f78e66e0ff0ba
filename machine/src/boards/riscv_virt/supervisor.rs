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
use parking_lot::Mutex;

use super::pin;
use crate::hart::Supervisor;
use crate::power::{Ending, PowerSwitch};

/// The size of an `ecall` instruction in bytes.
const ECALL: u64 = 4;

/// Runs the harts of a machine with the built-in firmware, or without any.
pub struct Harts {
    /// The firmware's state; none if the machine brings its own.
    pub sbi: Option<Sbi>,
    /// All harts.
    pub group: Arc<Group>,
    /// Guest memory.
    pub memory: GuestMemory,
    /// Where the firmware's console output goes.
    pub console: Arc<dyn CharBackend>,
    /// The serial port, where its input comes from.
    pub serial: Option<Arc<dyn Mmio>>,
    /// The power switch.
    pub power: Arc<PowerSwitch>,
    /// How each hart is held back from running.
    pub holds: Vec<Mutex<Hold>>,
}

/// Whether a hart runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It runs.
    None,
    /// It is stopped until the firmware starts it.
    Stopped,
    /// It is suspended until an interrupt is pending.
    Suspended,
}

impl Harts {
    /// Puts all harts into the state of power-on: with the built-in firmware all wait for their start.
    pub fn reset(&self) {
        if let Some(sbi) = &self.sbi {
            sbi.reset();
        }
        for hold in &self.holds {
            *hold.lock() = if self.sbi.is_some() { Hold::Stopped } else { Hold::None };
        }
    }

    fn sbi(&self) -> &Sbi {
        // Only a machine with built-in firmware holds harts back or sends calls here.
        self.sbi
            .as_ref()
            .unwrap_or_else(|| unreachable!("firmware call on a machine without built-in firmware"))
    }

    fn enter(&self, vcpu: &mut Vcpu<Riscv>, entry: &EntryState) {
        enter_supervisor(vcpu, entry.pc, entry.a0, entry.a1, &entry.csrs);
        *self.holds[vcpu.index()].lock() = Hold::None;
    }
}

impl Supervisor<Riscv> for Harts {
    fn may_run(&self, vcpu: &mut Vcpu<Riscv>) -> bool {
        let index = vcpu.index();
        let hold = *self.holds[index].lock();
        match hold {
            Hold::None => true,
            Hold::Stopped => {
                vcpu.port().clear_interrupt();
                if let Some(entry) = self.sbi().poll_start(index) {
                    self.enter(vcpu, &entry);
                }
                *self.holds[index].lock() == Hold::None
            }
            Hold::Suspended => {
                vcpu.port().clear_interrupt();
                let pending = csr_read_debug(vcpu, csr::MIP).zip(csr_read_debug(vcpu, csr::MIE));
                if pending.is_some_and(|(mip, mie)| mip & mie == 0) {
                    return false;
                }
                match self.sbi().resume(index) {
                    Resume::Enter(entry) => self.enter(vcpu, &entry),
                    Resume::Return => {
                        set_result(vcpu, 0, Some(0));
                        *self.holds[index].lock() = Hold::None;
                    }
                }
                vcpu.port().interrupt();
                true
            }
        }
    }

    fn firmware_call(&self, vcpu: &mut Vcpu<Riscv>) {
        let args: [u64; 8] = std::array::from_fn(|i| vcpu.state.slots[usize::from(X) + 10 + i]);
        let index = vcpu.index();
        let outcome = self.sbi().call(index, &args, &mut Calling { harts: self, vcpu });
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
            Outcome::Stop => *self.holds[index].lock() = Hold::Stopped,
            Outcome::Suspend => *self.holds[index].lock() = Hold::Suspended,
            Outcome::Power(request) => self.power.end(Ending::Power(request)),
        }
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
    harts: &'a Harts,
    vcpu: &'a mut Vcpu<Riscv>,
}

impl Platform for Calling<'_> {
    fn memory(&self) -> &GuestMemory {
        &self.harts.memory
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
        if let Some(port) = self.harts.group.ports().get(hart) {
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
        if let Some(port) = self.harts.group.ports().get(hart) {
            port.interrupt();
        }
    }

    fn console_write(&mut self, bytes: &[u8]) -> usize {
        self.harts.console.write(bytes)
    }

    /// Reads the serial port as a driver would that polls: whoever reads first gets a byte.
    fn console_read(&mut self, buf: &mut [u8]) -> usize {
        let Some(port) = &self.harts.serial else { return 0 };
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
