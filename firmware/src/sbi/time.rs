//! The timer extension (SBI 3.0, chapter 6).

use super::pmu::FwEvent;
use super::{Call, SbiError, SbiResult};

pub(super) const ID: u64 = 0x5449_4d45;

impl Call<'_> {
    pub(super) fn time(mut self) -> SbiResult {
        match self.function {
            0 => {
                self.set_timer(self.args[0]);
                Ok(0)
            }
            _ => Err(SbiError::NotSupported),
        }
    }

    pub(super) fn set_timer(&mut self, deadline: u64) {
        self.state.pmu.count(FwEvent::SetTimer);
        self.platform.set_timer(deadline);
    }
}
