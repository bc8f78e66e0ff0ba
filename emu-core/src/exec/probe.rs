//! How a trace sees what a vCPU does.

use super::exit::Exception;
use super::isa::Isa;
use super::vcpu::Vcpu;
use crate::device::{AccessError, Width};

/// An access of a vCPU to a device register, or to an address that nothing answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAccess {
    /// Guest-physical address.
    pub pa: u64,
    /// Bytes moved.
    pub width: Width,
    /// The value to be written; none for a read.
    pub written: Option<u64>,
    /// The value read, zero for a write; or why there was no access.
    pub outcome: Result<u64, AccessError>,
}

/// Sees what a vCPU does, on the vCPU's own thread. Without one, nothing is spent on it but a test on paths that are
/// slow anyway.
pub trait Probe<I: Isa>: Send {
    /// The instruction at the program counter is about to run. Called only in runs with [`super::Limits::observed`].
    fn instruction(&mut self, vcpu: &Vcpu<I>);

    /// The vCPU is about to take an exception or interrupt, at the program counter.
    fn trapping(&mut self, vcpu: &Vcpu<I>);

    /// The vCPU has taken it; its state is that in which the handler starts.
    fn trapped(&mut self, vcpu: &Vcpu<I>, exception: &Exception);

    /// The vCPU has accessed a device. The program counter need not be that of the instruction.
    fn device(&mut self, vcpu: &Vcpu<I>, access: &DeviceAccess);

    /// The vCPU's thread ends.
    fn ended(&mut self, vcpu: &Vcpu<I>);
}

impl<I: Isa> Vcpu<I> {
    /// Has the probe, if there is one, see something.
    #[inline]
    pub fn observe(&mut self, see: impl FnOnce(&mut dyn Probe<I>, &Self)) {
        if let Some(mut probe) = self.probe.take() {
            see(probe.as_mut(), self);
            self.probe = Some(probe);
        }
    }
}
