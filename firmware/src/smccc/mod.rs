//! The built-in firmware of Arm machines: what `SMC` or `HVC` calls, by the SMC Calling Convention (DEN0028, version 1.2),
//! without a program at EL3.
//!
//! [`Smccc`] is the state that the calls act on, one for a machine and shared by its vCPU threads. A machine that runs it
//! does three things:
//!
//! - A CPU that makes a call hands its registers to [`Smccc::call`] and does what the [`Outcome`] says.
//! - [`Platform`] is the machine as seen from the calling CPU.
//! - A CPU that does not run asks [`Smccc::poll_start`] (after [`Outcome::Stop`], at power-on, and whenever
//!   [`Platform::wake`] named it) or [`Smccc::resume`] (after [`Outcome::Suspend`]) how to go on.
//!
//! Services: the architecture's own (versions, work-arounds), PSCI 1.1, TRNG 1.0. Anything else is "not supported", as
//! are, of PSCI, migration, the freezing of CPUs, the system's suspend, statistics and memory protection.

mod arch;
mod psci;
#[cfg(test)]
mod tests;
mod trng;

use emu_core::device::PowerRequest;
use emu_core::mem::GuestMemory;

use crate::lifecycle::{Lifecycle, Target, Wake};

pub use crate::lifecycle::RunState;
pub use psci::function;

/// How many CPUs there can be: PSCI knows them by affinity level 0 here.
pub const MAX_CPUS: usize = 16;

/// "No such function": what every service answers to what it does not know.
const NOT_SUPPORTED: i32 = -1;

/// The bit of a function identifier that says that the arguments have 64 bits.
const WIDE: u32 = 1 << 30;

/// What the calling CPU does next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Set `x0` and go on behind the call.
    Return(u64),
    /// Set `x0` to `x3` and go on behind the call.
    ReturnMany([u64; 4]),
    /// The CPU stops: it executes nothing until [`Smccc::poll_start`] yields where to begin.
    Stop,
    /// The CPU sleeps until an interrupt is pending, whatever PSTATE masks; then [`Smccc::resume`].
    Suspend,
    /// The whole machine goes off or starts anew; no CPU executes another instruction.
    Power(PowerRequest),
}

impl Outcome {
    /// A result or error code, of 32 bits with its sign.
    fn code(code: i32) -> Self {
        Self::Return(i64::from(code) as u64)
    }
}

/// How a CPU begins: at the exception level at which the machine enters software, with the MMU off, interrupts masked,
/// and all other registers zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// Where it begins: a physical address.
    pub pc: u64,
    /// `x0`: the address of the device tree, or what the caller of CPU_ON or CPU_SUSPEND wants passed.
    pub x0: u64,
}

impl From<Target> for EntryState {
    fn from(Target { address, opaque }: Target) -> Self {
        Self { pc: address, x0: opaque }
    }
}

/// How a CPU goes on after [`Outcome::Suspend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Nothing was lost: set `x0` to zero and go on behind the call.
    Return,
    /// The CPU's state was lost: begin anew.
    Enter(EntryState),
}

/// The machine as seen from the CPU that calls.
pub trait Platform {
    /// Guest memory, by physical address.
    fn memory(&self) -> &GuestMemory;

    /// Has a stopped CPU call [`Smccc::poll_start`].
    fn wake(&mut self, cpu: usize);

    /// Fills `bytes` with random ones; false if there are none.
    fn random(&mut self, bytes: &mut [u8]) -> bool;
}

/// The firmware's state.
#[derive(Debug)]
pub struct Smccc {
    cpus: Vec<Lifecycle>,
}

impl Smccc {
    /// All CPUs stopped. CPU n has affinity 0.0.0.n.
    ///
    /// # Panics
    /// If there are more than [`MAX_CPUS`].
    pub fn new(cpus: usize) -> Self {
        assert!(cpus <= MAX_CPUS, "{cpus} CPUs");
        Self { cpus: (0..cpus).map(|_| Lifecycle::default()).collect() }
    }

    /// Forgets everything, as at power-on: all CPUs stopped. Start the first with [`Smccc::boot`].
    pub fn reset(&self) {
        self.cpus.iter().for_each(Lifecycle::reset);
    }

    /// Makes `cpu` the one that boots: [`Smccc::poll_start`] will have it enter at `address` with `x0` = `fdt`. False if
    /// the CPU does not exist or is not stopped.
    pub fn boot(&self, cpu: usize, address: u64, fdt: u64) -> bool {
        let target = Target { address, opaque: fdt };
        self.cpus.get(cpu).is_some_and(|cpu| cpu.start(target).is_ok())
    }

    /// What a stopped CPU does: begin in the state that is returned, or wait for [`Platform::wake`]. The CPU's own thread
    /// calls this.
    pub fn poll_start(&self, cpu: usize) -> Option<EntryState> {
        self.cpus.get(cpu)?.poll_start().map(EntryState::from)
    }

    /// How the CPU of [`Outcome::Suspend`] goes on, once an interrupt is pending. The CPU's own thread calls this.
    pub fn resume(&self, cpu: usize) -> Resume {
        match self.cpus.get(cpu).map(Lifecycle::resume) {
            None | Some(Wake::Return) => Resume::Return,
            Some(Wake::Enter(target)) => Resume::Enter(target.into()),
        }
    }

    /// The state of a CPU; `None` if it does not exist.
    pub fn state(&self, cpu: usize) -> Option<RunState> {
        Some(self.cpus.get(cpu)?.state())
    }

    /// Handles a call with `x0` to `x3` as in `args` on `cpu`.
    pub fn call(&self, cpu: usize, args: &[u64; 4], platform: &mut dyn Platform) -> Outcome {
        let Some(state) = self.cpus.get(cpu) else { return Outcome::code(NOT_SUPPORTED) };
        let function = args[0] as u32;
        // Arguments of calls with 32 bits are the lower halves of their registers.
        let [_, a1, a2, a3] = if function & WIDE == 0 { args.map(|arg| arg & 0xffff_ffff) } else { *args };
        let call = Call { smccc: self, state, function, args: [a1, a2, a3], platform };
        match function & !WIDE {
            arch::FIRST..=arch::LAST => call.arch(),
            psci::FIRST..=psci::LAST => call.psci(),
            trng::FIRST..=trng::LAST => call.trng(),
            _ => Outcome::code(NOT_SUPPORTED),
        }
    }
}

/// One call in progress. Each service's file adds its functions.
struct Call<'a> {
    smccc: &'a Smccc,
    /// The calling CPU's.
    state: &'a Lifecycle,
    function: u32,
    /// `x1` to `x3`.
    args: [u64; 3],
    platform: &'a mut dyn Platform,
}

/// Whether a function exists, for the queries of other services.
fn exists(function: u32) -> bool {
    arch::FUNCTIONS.contains(&function)
        || psci::FUNCTIONS.contains(&function)
        || trng::FUNCTIONS.contains(&function)
}
