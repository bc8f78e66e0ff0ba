//! The loop that runs a vCPU, and its safe points.

use super::exit::{Exception, Exit, Stop};
use super::isa::Isa;
use super::vcpu::Vcpu;
use crate::sync::Request;

/// When a run ends, besides what the guest does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits<'a> {
    /// After this many instructions, or later where the other vCPUs stand still for a load-reserve.
    pub steps: Option<u64>,
    /// Before an instruction at one of these virtual addresses, but for the first one of the run.
    pub breakpoints: &'a [u64],
    /// The probe sees every instruction; this alone ends no run.
    pub observed: bool,
}

impl Limits<'_> {
    /// No limits: the guest alone decides.
    pub const NONE: Limits<'static> = Limits { steps: None, breakpoints: &[], observed: false };

    /// Whether there is anything to look at between instructions.
    pub fn single_step(&self) -> bool {
        self.steps.is_some() || !self.breakpoints.is_empty() || self.observed
    }
}

/// Something that runs guest code.
pub trait Engine<I: Isa>: Send {
    /// Runs `vcpu` until something happens that the machine must deal with.
    fn run(&mut self, vcpu: &mut Vcpu<I>, limits: Limits<'_>) -> Exit;
}

impl<I: Isa> Vcpu<I> {
    /// Enters the guest, serving requests first.
    pub fn enter_guest(&mut self) {
        if self.exclusive.is_some() {
            return;
        }
        while !self.group.enter(self.index) {
            self.serve_requests();
        }
    }

    /// Leaves the guest: from here on nobody waits for this vCPU.
    pub fn leave_guest(&mut self) {
        self.end_exclusive();
        self.group.leave(self.index);
    }

    /// Deals with everything that wants attention, at a point where the state is exact. The run ends if it returns
    /// an exit.
    pub fn attend(&mut self) -> Option<Exit> {
        let attention = self.port.attention();
        if (attention.requests() || attention.pause()) && self.exclusive.is_none() {
            self.port.clear_pause();
            self.group.leave(self.index);
            self.enter_guest();
        }
        if attention.interrupt() {
            self.port.clear_interrupt();
            if let Some(interrupt) = I::pending_interrupt(self) {
                self.end_exclusive();
                self.raise(interrupt);
            }
        }
        if attention.stop() {
            self.port.clear_stop();
            return Some(Exit::Stopped);
        }
        None
    }

    /// Sleeps, in host, until something wants attention or `timeout` is over; serves requests, but does not look at
    /// interrupts. It may return early.
    pub fn wait(&mut self, timeout: Option<std::time::Duration>) {
        let attention = self.port.attention();
        if attention.requests() {
            self.serve_requests();
        }
        if attention.pause() {
            self.port.clear_pause();
        }
        self.port.sleep(timeout);
    }

    /// Takes over how an instruction stopped; the run ends if it returns an exit.
    pub fn stopped_by(&mut self, stop: Stop) -> Option<Exit> {
        match stop {
            Stop::Exception(exception) => {
                self.end_exclusive();
                self.raise(exception);
                None
            }
            Stop::Host(request) => Some(Exit::Request(request)),
        }
    }

    fn raise(&mut self, exception: Exception) {
        self.observe(|probe, vcpu| probe.trapping(vcpu));
        I::raise(self, exception);
        self.observe(|probe, vcpu| probe.trapped(vcpu, &exception));
    }

    /// Ends an exclusive stretch that has lasted long enough.
    #[inline]
    pub fn limit_exclusive(&mut self) {
        if self.exclusive.as_ref().is_some_and(|exclusive| self.state.retired >= exclusive.ends_at) {
            self.end_exclusive();
        }
    }

    /// Makes the vCPUs in `targets` serve `request`, this one too if it is among them, and waits until no access
    /// through the old state can follow.
    pub fn request(&mut self, targets: impl Iterator<Item = usize> + Clone, request: Request) {
        if !self.is_alone() {
            if self.exclusive.is_none() {
                self.group.leave(self.index);
            }
            self.group.request(Some(self.index), targets.clone(), request);
            self.enter_guest();
        }
        if targets.into_iter().any(|target| target == self.index) {
            self.serve(request);
        }
    }

    /// Serves what is in the mailbox.
    pub(super) fn serve_requests(&mut self) {
        let (requests, ticket) = self.group.take_requests(self.index);
        for request in requests {
            self.serve(request);
        }
        self.group.served(self.index, ticket);
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Flush(flush) => self.mmu.flush(flush),
            Request::Protect(offset) => self.mmu.protect(offset),
            Request::SyncCode => self.sync_code(),
        }
    }
}
