//! The built-in firmware on this board: what PSCI asks of the CPUs.

use std::sync::Arc;

use devices::backend::entropy::{Entropy, HostEntropy};
use emu_core::exec::Vcpu;
use emu_core::mem::GuestMemory;
use emu_core::sync::Group;
use firmware::smccc::{EntryState, Outcome, Platform, Resume, Smccc};
use frontends::aarch64::{self, Aarch64, X};

use crate::supervisor::{BuiltinFirmware, Next};

/// PSCI and its like, and what it acts on.
pub struct PsciFirmware {
    /// The firmware's state.
    pub smccc: Smccc,
    /// There are no random numbers to be had.
    pub repeatable: bool,
    /// All CPUs.
    pub group: Arc<Group>,
    /// Guest memory.
    pub memory: GuestMemory,
    /// The exception level in which software is entered.
    pub el: u8,
}

impl BuiltinFirmware<Aarch64> for PsciFirmware {
    type Entry = EntryState;

    fn reset(&self) {
        self.smccc.reset();
    }

    fn boot(&self, entry: u64, fdt: u64) {
        self.smccc.boot(0, entry, fdt);
    }

    fn poll_start(&self, index: usize) -> Option<EntryState> {
        self.smccc.poll_start(index)
    }

    fn resume(&self, index: usize) -> Option<EntryState> {
        match self.smccc.resume(index) {
            Resume::Enter(entry) => Some(entry),
            Resume::Return => None,
        }
    }

    fn enter(&self, vcpu: &mut Vcpu<Aarch64>, entry: &EntryState) {
        aarch64::reset(vcpu);
        aarch64::enter(vcpu, self.el, entry.pc, entry.x0);
    }

    fn returned(&self, vcpu: &mut Vcpu<Aarch64>) {
        set_results(vcpu, &[0]);
    }

    fn wakes(&self, vcpu: &mut Vcpu<Aarch64>) -> bool {
        aarch64::is_waking(vcpu)
    }

    fn call(&self, vcpu: &mut Vcpu<Aarch64>) -> Next {
        let args: [u64; 4] = std::array::from_fn(|i| vcpu.state.slots[usize::from(X) + i]);
        let mut platform = Calling { firmware: self };
        match self.smccc.call(vcpu.index(), &args, &mut platform) {
            Outcome::Return(x0) => set_results(vcpu, &[x0]),
            Outcome::ReturnMany(results) => set_results(vcpu, &results),
            Outcome::Stop => return Next::Stop,
            Outcome::Suspend => return Next::Suspend,
            Outcome::Power(request) => return Next::Power(request),
        }
        Next::Go
    }
}

/// Sets `x0` and those that follow.
fn set_results(vcpu: &mut Vcpu<Aarch64>, results: &[u64]) {
    let slots = vcpu.state.slots.iter_mut().skip(usize::from(X));
    slots.zip(results).for_each(|(slot, result)| *slot = *result);
}

/// The machine as the firmware sees it during a call.
struct Calling<'a> {
    firmware: &'a PsciFirmware,
}

impl Platform for Calling<'_> {
    fn memory(&self) -> &GuestMemory {
        &self.firmware.memory
    }

    fn wake(&mut self, cpu: usize) {
        if let Some(port) = self.firmware.group.ports().get(cpu) {
            port.interrupt();
        }
    }

    fn random(&mut self, bytes: &mut [u8]) -> bool {
        !self.firmware.repeatable && HostEntropy.fill(bytes) == bytes.len()
    }
}
