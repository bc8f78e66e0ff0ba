//! The hart state management extension (SBI 3.0, chapter 9).
//!
//! The states and who moves a hart between them:
//!
//! ```text
//! STOPPED ──── hart_start, by another hart ───► START_PENDING ──── poll_start ────► STARTED
//! STARTED ──── hart_stop, by itself ──────────► STOP_PENDING ───── poll_start ────► STOPPED
//! STARTED ──── hart_suspend, by itself ───────► SUSPEND_PENDING ── suspended ─────► SUSPENDED
//! SUSPENDED ── resume, on an interrupt ───────► RESUME_PENDING ── the same call ──► STARTED
//! ```
//!
//! What the guest asks of itself takes effect when its vCPU thread has left guest code, so the pending states
//! end at that thread's next call.

use parking_lot::Mutex;

use super::{Call, EntryState, Outcome, Resume, Sbi, SbiError, SbiResult, arg32};

pub(super) const ID: u64 = 0x48_534d;

const RETENTIVE: u32 = 0;
const NON_RETENTIVE: u32 = 0x8000_0000;

/// The state of a hart, with the numbers of the specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HartState {
    /// Executing.
    Started = 0,
    /// Not executing.
    #[default]
    Stopped = 1,
    /// Told to start, and about to.
    StartPending = 2,
    /// Has asked to stop, and is about to.
    StopPending = 3,
    /// Asleep until an interrupt.
    Suspended = 4,
    /// Has asked to sleep, and is about to.
    SuspendPending = 5,
    /// Has been woken, and is about to execute.
    ResumePending = 6,
}

/// Where a hart will begin to execute, and its `a1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    address: u64,
    opaque: u64,
}

#[derive(Debug, Default)]
struct State {
    state: HartState,
    /// Where START_PENDING leads, or a non-retentive suspend; a retentive suspend has none.
    target: Option<Target>,
}

/// One hart's part of the extension.
#[derive(Debug, Default)]
pub(super) struct Hsm(Mutex<State>);

impl Hsm {
    pub(super) fn state(&self) -> HartState {
        self.0.lock().state
    }

    pub(super) fn reset(&self) {
        *self.0.lock() = State::default();
    }

    /// STOPPED to START_PENDING.
    fn start(&self, target: Target) -> Result<(), SbiError> {
        let mut hart = self.0.lock();
        match hart.state {
            HartState::Stopped => {
                *hart = State { state: HartState::StartPending, target: Some(target) };
                Ok(())
            }
            // It will be stopped in a moment; the caller has to wait for that.
            HartState::StopPending => Err(SbiError::Failed),
            _ => Err(SbiError::AlreadyAvailable),
        }
    }

    /// The calling hart, which is STARTED, to a pending state.
    fn leave(&self, state: HartState, target: Option<Target>) {
        *self.0.lock() = State { state, target };
    }
}

impl Sbi {
    /// Makes `hart` the one that boots: [`Sbi::poll_start`] will have it enter at `address` with `a1` =
    /// `fdt`. False if the hart does not exist or is not stopped.
    pub fn boot(&self, hart: usize, address: u64, fdt: u64) -> bool {
        let target = Target { address, opaque: fdt };
        self.harts.get(hart).is_some_and(|hart| hart.hsm.start(target).is_ok())
    }

    /// What a stopped hart does: enter S-mode in the state that is returned, or wait for
    /// [`super::Platform::wake`]. The hart's own thread calls this.
    pub fn poll_start(&self, hart: usize) -> Option<EntryState> {
        let state = self.harts.get(hart)?;
        let mut hsm = state.hsm.0.lock();
        match hsm.state {
            HartState::StopPending => hsm.state = HartState::Stopped,
            HartState::StartPending => {
                hsm.state = HartState::Started;
                let target = hsm.target.take()?;
                state.fwft.reset();
                state.pmu.reset();
                let Target { address, opaque } = target;
                return Some(EntryState::start(hart, address, opaque, self.config.hardware_ad_updates));
            }
            _ => {}
        }
        None
    }

    /// Notes that the hart of [`Outcome::Suspend`] sleeps now. Calling it is optional: only
    /// `sbi_hart_get_status` on other harts sees the difference.
    pub fn suspended(&self, hart: usize) {
        let Some(state) = self.harts.get(hart) else { return };
        let mut hsm = state.hsm.0.lock();
        if hsm.state == HartState::SuspendPending {
            hsm.state = HartState::Suspended;
        }
    }

    /// How the hart of [`Outcome::Suspend`] goes on, once an interrupt is pending. The hart's own thread
    /// calls this.
    pub fn resume(&self, hart: usize) -> Resume {
        let Some(state) = self.harts.get(hart) else { return Resume::Return };
        let mut hsm = state.hsm.0.lock();
        if !matches!(hsm.state, HartState::SuspendPending | HartState::Suspended) {
            return Resume::Return;
        }
        // RESUME_PENDING lasts as long as this lock, so no other hart sees it.
        hsm.state = HartState::Started;
        let target = hsm.target.take();
        drop(hsm);
        match target {
            None => Resume::Return,
            Some(Target { address, opaque }) => Resume::Enter(EntryState::resume(hart, address, opaque)),
        }
    }

    /// The state of a hart; `None` if it does not exist.
    pub fn hart_state(&self, hart: usize) -> Option<HartState> {
        Some(self.harts.get(hart)?.hsm.state())
    }
}

impl Call<'_> {
    pub(super) fn hsm(mut self) -> Outcome {
        let [a0, a1, a2, ..] = self.args;
        match self.function {
            0 => self.hart_start().into(),
            1 => {
                self.state.hsm.leave(HartState::StopPending, None);
                Outcome::Stop
            }
            2 => self.hart_arg(a0).map(|(_, hart)| hart.hsm.state() as u64).into(),
            3 => match arg32(a0) {
                RETENTIVE => self.suspend(None),
                NON_RETENTIVE => self.suspend_to(a1, a2),
                // Reserved, or of a platform that this is not.
                _ => Outcome::from(Err(SbiError::InvalidParam)),
            },
            _ => Outcome::from(Err(SbiError::NotSupported)),
        }
    }

    fn hart_start(&mut self) -> SbiResult {
        let [id, address, opaque, ..] = self.args;
        let (id, hart) = self.hart_arg(id)?;
        self.check_entry(address)?;
        hart.hsm.start(Target { address, opaque })?;
        self.platform.wake(id);
        Ok(0)
    }

    /// A suspend that loses the hart's state and resumes at `address`.
    pub(super) fn suspend_to(&mut self, address: u64, opaque: u64) -> Outcome {
        match self.check_entry(address) {
            Ok(()) => self.suspend(Some(Target { address, opaque })),
            Err(error) => Err(error).into(),
        }
    }

    fn suspend(&mut self, target: Option<Target>) -> Outcome {
        self.state.hsm.leave(HartState::SuspendPending, target);
        Outcome::Suspend
    }
}
