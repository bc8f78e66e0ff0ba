//! The system suspend extension (SBI 3.0, chapter 13).
//!
//! Suspend to RAM is the non-retentive suspend of the only hart that still runs: memory and devices keep
//! their state anyway, and any interrupt that the hart has left enabled wakes it.

use super::{Call, HartState, Outcome, SbiError, arg32};

pub(super) const ID: u64 = 0x5355_5350;

const SUSPEND_TO_RAM: u32 = 0;

impl Call<'_> {
    pub(super) fn susp(mut self) -> Outcome {
        let [sleep_type, address, opaque, ..] = self.args;
        if self.function != 0 {
            return Outcome::from(Err(SbiError::NotSupported));
        }
        if arg32(sleep_type) != SUSPEND_TO_RAM {
            return Outcome::from(Err(SbiError::InvalidParam));
        }
        let stopped = |hart: &super::Hart| hart.hsm.state() == HartState::Stopped;
        let others = self.sbi.harts.iter().enumerate().filter(|&(id, _)| id != self.hart);
        if !others.map(|(_, hart)| hart).all(stopped) {
            return Outcome::from(Err(SbiError::Denied));
        }
        self.suspend_to(address, opaque)
    }
}
