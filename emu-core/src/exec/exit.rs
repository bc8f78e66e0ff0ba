//! Every way out of guest code. Guest exceptions, requests to the host, and what a run ends with are different types.

use crate::device::PowerRequest;

/// A guest exception or interrupt, in the front end's own terms. The engine only carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The cause: RISC-V `mcause`, Arm exception class and syndrome.
    pub cause: u64,
    /// What goes with it: RISC-V `mtval`, Arm `FAR`.
    pub value: u64,
    /// What else goes with it: RISC-V `mtval2`, Arm `HPFAR`.
    pub extra: u64,
}

impl Exception {
    /// An exception without an `extra`.
    pub const fn new(cause: u64, value: u64) -> Self {
        Self { cause, value, extra: 0 }
    }
}

/// Why an instruction did not go on to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It raised an exception; it has had no effect.
    Exception(Exception),
    /// It has completed, and the host must act before the next one.
    Host(HostRequest),
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

/// What guest code asks of the host. The program counter is already that of the next instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRequest {
    /// Sleep until an interrupt may be pending, or the deadline (machine time, ns).
    Wait {
        /// Wake at this time even without an interrupt.
        deadline: Option<u64>,
    },
    /// Let another thread run: the guest is spinning.
    Yield,
    /// A call to the built-in firmware.
    Firmware,
    /// The machine's power changes.
    Power(PowerRequest),
}

/// Why a vCPU's run loop returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest asked for something that the machine must do.
    Request(HostRequest),
    /// Somebody asked the vCPU to stop, or to have its state looked at.
    Stopped,
    /// A breakpoint was reached: the program counter is that of the instruction there, which has not run.
    Breakpoint,
    /// The number of instructions asked for have been retired.
    Stepped,
}
