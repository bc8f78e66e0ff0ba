//! How vCPUs are held back from running, and what the built-in firmware does with them: the same for all instruction sets.

use std::sync::Arc;

use emu_core::device::PowerRequest;
use emu_core::exec::{Isa, Vcpu};
use parking_lot::Mutex;

use crate::power::{Ending, PowerSwitch};
use crate::vcpu::Supervisor;

/// A firmware that is not guest code.
pub trait BuiltinFirmware<I: Isa>: Send + Sync {
    /// The state in which a vCPU begins, or begins anew.
    type Entry;

    /// Forgets everything, as at power-on: all vCPUs stopped.
    fn reset(&self);

    /// Makes vCPU 0 the one that boots, at `entry`, with the device tree at `fdt`.
    fn boot(&self, entry: u64, fdt: u64);

    /// What a stopped vCPU does: begin, or wait.
    fn poll_start(&self, index: usize) -> Option<Self::Entry>;

    /// How a vCPU that slept goes on: anew, or, if none, where it was.
    fn resume(&self, index: usize) -> Option<Self::Entry>;

    /// Puts a vCPU into the state in which it begins.
    fn enter(&self, vcpu: &mut Vcpu<I>, entry: &Self::Entry);

    /// The call that put a vCPU to sleep returns.
    fn returned(&self, vcpu: &mut Vcpu<I>);

    /// Whether a vCPU that sleeps has an interrupt to wake up for.
    fn wakes(&self, vcpu: &mut Vcpu<I>) -> bool;

    /// Serves the call that the vCPU has made.
    fn call(&self, vcpu: &mut Vcpu<I>) -> Next;
}

/// What a vCPU does after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    Go,
    /// It stops until the firmware starts it.
    Stop,
    /// It sleeps until an interrupt is pending.
    Suspend,
    /// The machine's power changes.
    Power(PowerRequest),
}

/// Whether a vCPU runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// It runs.
    None,
    /// It is stopped until the firmware starts it.
    Stopped,
    /// It is suspended until an interrupt is pending.
    Suspended,
}

/// The vCPUs of a machine with a built-in firmware, or without any.
pub struct Holds<F> {
    firmware: Option<F>,
    power: Arc<PowerSwitch>,
    holds: Vec<Mutex<Hold>>,
}

impl<F> Holds<F> {
    /// `count` vCPUs.
    pub fn new(firmware: Option<F>, power: Arc<PowerSwitch>, count: usize) -> Self {
        Self { firmware, power, holds: (0..count).map(|_| Mutex::new(Hold::None)).collect() }
    }

    /// The firmware.
    pub fn firmware(&self) -> Option<&F> {
        self.firmware.as_ref()
    }

    fn set(&self, index: usize, hold: Hold) {
        *self.holds[index].lock() = hold;
    }

    /// Puts all vCPUs into the state of power-on: with the built-in firmware all wait for their start.
    pub fn reset<I: Isa>(&self)
    where
        F: BuiltinFirmware<I>,
    {
        if let Some(firmware) = &self.firmware {
            firmware.reset();
        }
        for index in 0..self.holds.len() {
            self.set(index, if self.firmware.is_some() { Hold::Stopped } else { Hold::None });
        }
    }

    fn present(&self) -> &F {
        // Only a machine with built-in firmware holds vCPUs back or sends calls here.
        let absent = || unreachable!("firmware call on a machine without built-in firmware");
        self.firmware.as_ref().unwrap_or_else(absent)
    }
}

impl<I: Isa, F: BuiltinFirmware<I>> Supervisor<I> for Holds<F> {
    fn may_run(&self, vcpu: &mut Vcpu<I>) -> bool {
        let index = vcpu.index();
        let hold = *self.holds[index].lock();
        match hold {
            Hold::None => true,
            Hold::Stopped => {
                vcpu.port().clear_interrupt();
                let firmware = self.present();
                let Some(entry) = firmware.poll_start(index) else { return false };
                firmware.enter(vcpu, &entry);
                self.set(index, Hold::None);
                true
            }
            Hold::Suspended => {
                vcpu.port().clear_interrupt();
                let firmware = self.present();
                if !firmware.wakes(vcpu) {
                    return false;
                }
                match firmware.resume(index) {
                    Some(entry) => firmware.enter(vcpu, &entry),
                    None => firmware.returned(vcpu),
                }
                self.set(index, Hold::None);
                vcpu.port().interrupt();
                true
            }
        }
    }

    fn firmware_call(&self, vcpu: &mut Vcpu<I>) {
        match self.present().call(vcpu) {
            Next::Go => {}
            Next::Stop => self.set(vcpu.index(), Hold::Stopped),
            Next::Suspend => self.set(vcpu.index(), Hold::Suspended),
            Next::Power(request) => self.power.end(Ending::Power(request)),
        }
    }
}
