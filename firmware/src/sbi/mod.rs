//! The built-in supervisor firmware: the RISC-V Supervisor Binary Interface, version 3.0, without an M-mode
//! program.
//!
//! [`Sbi`] is the state that the calls act on, one for a machine and shared by its vCPU threads. A machine
//! that runs it does four things:
//!
//! - A hart that executes `ecall` in S-mode hands its registers to [`Sbi::call`] and does what the
//!   [`Outcome`] says.
//! - [`Platform`] is the machine as seen from the calling hart.
//! - A hart that does not run asks [`Sbi::poll_start`] (after [`Outcome::Stop`], at power-on, and whenever
//!   [`Platform::wake`] named it) or [`Sbi::resume`] (after [`Outcome::Suspend`]) how to go on.
//! - A hart that enters S-mode anew is put into the [`EntryState`] that these give.
//!
//! Extensions: base, TIME, IPI, RFENCE, HSM, SRST, DBCN, PMU, SUSP, FWFT and the legacy calls. Not here:
//! hypervisor fences (no hart has the H extension), CPPC, NACL, STA, SSE, DBTR, MPXY.

mod base;
mod dbcn;
mod entry;
mod fwft;
mod hsm;
mod ipi;
mod legacy;
mod pmu;
mod rfence;
mod srst;
mod susp;
#[cfg(test)]
mod tests;
mod time;

use crate::lifecycle::Lifecycle;
use emu_core::device::PowerRequest;
use emu_core::mem::GuestMemory;
use vm_memory::{Address, GuestAddress, GuestMemoryBackend};

pub use base::{IMPLEMENTATION_ID, IMPLEMENTATION_VERSION, SPEC_VERSION};
pub use entry::{EntryState, csr};
pub use hsm::HartState;
pub use pmu::{EventSelector, HwEvent};
pub use srst::FAILURE_EXIT_CODE;

/// Why a call failed, as the guest sees it (SBI 3.0, chapter 3, "Standard SBI Errors").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum SbiError {
    /// Failed for a reason that has no code of its own.
    Failed = -1,
    /// No such extension or function, or not on this machine.
    NotSupported = -2,
    /// An argument has a value that the function does not define.
    InvalidParam = -3,
    /// Not allowed.
    Denied = -4,
    /// An address is not one of memory that the supervisor may use.
    InvalidAddress = -5,
    /// The hart is started already.
    AlreadyAvailable = -6,
    /// A counter is started already.
    AlreadyStarted = -7,
    /// A counter is stopped already.
    AlreadyStopped = -8,
    /// The shared memory that the call needs has not been set up.
    NoSharedMemory = -9,
    /// The object is in a state in which it cannot do this.
    InvalidState = -10,
    /// A range that is not one.
    BadRange = -11,
    /// The feature has been locked.
    DeniedLocked = -14,
}

/// What the calling hart does next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Set `a0` and `a1` and go on behind the `ecall`.
    Return {
        /// The error code, zero for success.
        a0: u64,
        /// The value.
        a1: u64,
    },
    /// As `Return` for a legacy call, which changes `a0` only.
    Legacy {
        /// The result.
        a0: u64,
    },
    /// The console takes no more bytes now: leave the registers alone and execute the same `ecall` again
    /// later.
    Retry,
    /// Raise this exception at the `ecall` (legacy calls with an argument in virtual memory).
    Trap(MemoryFault),
    /// The hart stops: it executes nothing until [`Sbi::poll_start`] yields a state to enter.
    Stop,
    /// The hart sleeps until an interrupt that `mie` enables is pending, whatever `sstatus.SIE` says; then
    /// [`Sbi::resume`].
    Suspend,
    /// The whole machine goes off or starts anew; no hart executes another instruction.
    Power(PowerRequest),
}

/// How a hart goes on after [`Outcome::Suspend`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Nothing was lost: set `a0` and `a1` to zero and go on behind the `ecall`.
    Return,
    /// The hart's state was lost: enter S-mode anew.
    Enter(EntryState),
}

/// A fault of an access to virtual memory: the values for `scause` and `stval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFault {
    /// The exception code.
    pub cause: u64,
    /// The faulting address.
    pub address: u64,
}

/// The harts that a call names. All of them exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HartSet {
    /// Every hart.
    All {
        /// How many there are.
        count: usize,
    },
    /// Some harts.
    Listed {
        /// The hart of bit 0 of the mask.
        base: usize,
        /// A bit for each hart from `base` on.
        mask: u64,
    },
}

impl HartSet {
    /// The harts, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let range = match self {
            Self::All { count } => 0..count,
            Self::Listed { base, .. } => base..base.saturating_add(64),
        };
        range.filter(move |&hart| self.contains(hart))
    }

    /// Whether the hart is in the set.
    pub fn contains(self, hart: usize) -> bool {
        match self {
            Self::All { count } => hart < count,
            Self::Listed { base, mask } => {
                hart.checked_sub(base).is_some_and(|bit| bit < 64 && mask >> bit & 1 != 0)
            }
        }
    }
}

/// A fence that other harts execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// `fence.i`.
    Instruction,
    /// `sfence.vma` of some addresses of one or all address spaces.
    Memory {
        /// First address and size in bytes, which is not zero and does not wrap; all addresses if `None`.
        range: Option<(u64, u64)>,
        /// The address space; all of them, and global mappings too, if `None`.
        asid: Option<u16>,
    },
}

/// The machine as seen from the hart that calls.
pub trait Platform {
    /// Guest memory, by physical address.
    fn memory(&self) -> &GuestMemory;

    /// Reads a CSR of the calling hart as M-mode would; `None` if the hart does not have it.
    fn read_csr(&mut self, csr: u16) -> Option<u64>;

    /// Writes a CSR of the calling hart as M-mode would, WARL rules included; without effect if the hart does
    /// not have it.
    fn write_csr(&mut self, csr: u16, value: u64);

    /// Makes the calling hart's supervisor timer interrupt pending once `time` is at least `deadline`, and
    /// not pending until then.
    fn set_timer(&mut self, deadline: u64);

    /// Makes the supervisor software interrupt pending on a hart.
    fn send_ipi(&mut self, hart: usize);

    /// Has the harts execute a fence, the calling one too if it is among them; returns when all have.
    fn remote_fence(&mut self, harts: HartSet, fence: Fence);

    /// Has a stopped hart call [`Sbi::poll_start`].
    fn wake(&mut self, hart: usize);

    /// Writes to the console; how many bytes it took, without waiting. A machine without a console takes all.
    fn console_write(&mut self, bytes: &[u8]) -> usize;

    /// Reads bytes that the console has received; how many there were, without waiting.
    fn console_read(&mut self, buf: &mut [u8]) -> usize;

    /// The programmable counters (`mhpmcounter3` to `31`) that the hart has: bit *n* is counter *n*.
    fn hpm_counters(&self) -> u32;

    /// How the hart's programmable counters count an event; `None` if they cannot.
    fn event_selector(&self, event: HwEvent) -> Option<EventSelector>;

    /// Reads eight bytes at a virtual address, with the rights of the S-mode that called.
    fn read_virtual(&mut self, address: u64) -> Result<u64, MemoryFault>;
}

/// What the firmware is told about the machine.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many harts there are; their ids are 0 to `harts` - 1.
    pub harts: usize,
    /// Whether hardware updates the A and D bits of page table entries from the start: true if the device
    /// tree names Svadu but not Svade, so that a kernel will not ask for it.
    pub hardware_ad_updates: bool,
}

/// The firmware's state. Shared by all harts; each call locks what it needs.
#[derive(Debug)]
pub struct Sbi {
    config: Config,
    harts: Vec<Hart>,
}

#[derive(Debug, Default)]
struct Hart {
    hsm: Lifecycle,
    pmu: pmu::Pmu,
    fwft: fwft::Fwft,
}

/// The registers of a call: `a0` to `a7`.
type Args = [u64; 8];
type SbiResult = Result<u64, SbiError>;

impl Sbi {
    /// All harts stopped.
    pub fn new(config: Config) -> Self {
        Self { config, harts: (0..config.harts).map(|_| Hart::default()).collect() }
    }

    /// Forgets everything, as at power-on: all harts stopped. Start the boot hart with [`Sbi::boot`].
    pub fn reset(&self) {
        self.harts.iter().for_each(Hart::reset);
    }

    /// Handles an `ecall` from S-mode with `a0` to `a7` as in `args` on `hart`.
    pub fn call(&self, hart: usize, args: &[u64; 8], platform: &mut dyn Platform) -> Outcome {
        let Some(state) = self.harts.get(hart) else {
            return Outcome::from(Err(SbiError::Failed));
        };
        let call = Call { sbi: self, hart, state, args: *args, function: args[6], platform };
        match args[7] {
            legacy::FIRST..=legacy::LAST => call.legacy(),
            base::ID => call.base().into(),
            time::ID => call.time().into(),
            ipi::ID => call.ipi().into(),
            rfence::ID => call.rfence().into(),
            hsm::ID => call.hsm(),
            srst::ID => call.srst(),
            dbcn::ID => call.dbcn(),
            pmu::ID => call.pmu().into(),
            susp::ID => call.susp(),
            fwft::ID => call.fwft().into(),
            _ => Outcome::from(Err(SbiError::NotSupported)),
        }
    }
}

impl Hart {
    fn reset(&self) {
        let Self { hsm, pmu, fwft } = self;
        hsm.reset();
        pmu.reset();
        fwft.reset();
    }
}

impl From<SbiResult> for Outcome {
    fn from(result: SbiResult) -> Self {
        match result {
            Ok(value) => Self::Return { a0: 0, a1: value },
            Err(error) => Self::Return { a0: error as i64 as u64, a1: 0 },
        }
    }
}

/// One call in progress. Each extension's file adds its functions.
struct Call<'a> {
    sbi: &'a Sbi,
    /// The calling hart.
    hart: usize,
    state: &'a Hart,
    args: Args,
    /// The function id, `a6`.
    function: u64,
    platform: &'a mut dyn Platform,
}

impl Call<'_> {
    /// A hart mask argument (SBI 3.0, §3.1): bits counted from a base, or a base of -1 for all harts.
    fn harts(&self, mask: u64, base: u64) -> Result<HartSet, SbiError> {
        let count = self.sbi.harts.len();
        if base == u64::MAX {
            return Ok(HartSet::All { count });
        }
        let base = usize::try_from(base).ok().filter(|&base| base < count).ok_or(SbiError::InvalidParam)?;
        let used = 64 - mask.leading_zeros() as usize;
        if used > count - base {
            return Err(SbiError::InvalidParam);
        }
        Ok(HartSet::Listed { base, mask })
    }

    /// A hart id argument.
    fn hart_arg(&self, id: u64) -> Result<(usize, &Hart), SbiError> {
        let id = usize::try_from(id).map_err(|_| SbiError::InvalidParam)?;
        Ok((id, self.sbi.harts.get(id).ok_or(SbiError::InvalidParam)?))
    }

    /// Whether `address` is one at which a hart can begin to execute in S-mode.
    fn check_entry(&self, address: u64) -> Result<(), SbiError> {
        let memory = self.platform.memory();
        let valid = address.is_multiple_of(2) && memory.address_in_range(GuestAddress(address));
        valid.then_some(()).ok_or(SbiError::InvalidAddress)
    }

    /// Whether a range of physical addresses is all memory. `high` is the upper half of a two-register
    /// address.
    fn memory_range(&self, low: u64, high: u64, len: u64) -> Option<GuestAddress> {
        let at = GuestAddress(low);
        let len_usize = usize::try_from(len).ok()?;
        at.checked_add(len)?;
        let valid = high == 0 && (len == 0 || self.platform.memory().check_range(at, len_usize));
        valid.then_some(at)
    }
}

/// A 32-bit argument: the calling convention sign-extends it, and its upper half carries nothing.
fn arg32(value: u64) -> u32 {
    value as u32
}
