//! The inter-processor interrupt extension (SBI 3.0, chapter 7).

use super::pmu::FwEvent;
use super::{Call, HartSet, HartState, SbiError, SbiResult};

pub(super) const ID: u64 = 0x73_5049;

impl Call<'_> {
    pub(super) fn ipi(mut self) -> SbiResult {
        match self.function {
            0 => {
                let harts = self.harts(self.args[0], self.args[1])?;
                self.send_ipis(harts);
                Ok(0)
            }
            _ => Err(SbiError::NotSupported),
        }
    }

    /// A stopped hart has nothing to interrupt, and starts without pending interrupts.
    pub(super) fn send_ipis(&mut self, harts: HartSet) {
        for hart in harts.iter() {
            let target = &self.sbi.harts[hart];
            if target.hsm.state() == HartState::Stopped {
                continue;
            }
            self.state.pmu.count(FwEvent::IpiSent);
            target.pmu.count(FwEvent::IpiReceived);
            self.platform.send_ipi(hart);
        }
    }
}
