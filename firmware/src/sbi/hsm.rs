//! The hart state management extension (SBI 3.0, chapter 9): [`crate::lifecycle`] under the SBI's names.

use super::{Call, EntryState, Outcome, Resume, Sbi, SbiError, SbiResult, arg32};
use crate::lifecycle::{RunState, Target, Wake};

pub use crate::lifecycle::RunState as HartState;

pub(super) const ID: u64 = 0x48_534d;

const RETENTIVE: u32 = 0;
const NON_RETENTIVE: u32 = 0x8000_0000;

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
        let Target { address, opaque } = state.hsm.poll_start()?;
        state.fwft.reset();
        state.pmu.reset();
        Some(EntryState::start(hart, address, opaque, self.config.hardware_ad_updates))
    }

    /// How the hart of [`Outcome::Suspend`] goes on, once an interrupt is pending. The hart's own thread
    /// calls this.
    pub fn resume(&self, hart: usize) -> Resume {
        match self.harts.get(hart).map(|state| state.hsm.resume()) {
            None | Some(Wake::Return) => Resume::Return,
            Some(Wake::Enter(Target { address, opaque })) => {
                Resume::Enter(EntryState::resume(hart, address, opaque))
            }
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
                self.state.hsm.stop();
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
        let started = hart.hsm.start(Target { address, opaque });
        started.map_err(|state| match state {
            // It will be stopped in a moment; the caller has to wait for that.
            RunState::StopPending => SbiError::Failed,
            _ => SbiError::AlreadyAvailable,
        })?;
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
        self.state.hsm.suspend(target);
        Outcome::Suspend
    }
}
