//! The system reset extension (SBI 3.0, chapter 10).

use emu_core::device::PowerRequest;

use super::{Call, Outcome, SbiError, arg32};

pub(super) const ID: u64 = 0x5352_5354;

/// The exit code of a guest that shuts down for the reason "system failure".
pub const FAILURE_EXIT_CODE: u16 = 1;

const SHUTDOWN: u32 = 0;
const COLD_REBOOT: u32 = 1;
const WARM_REBOOT: u32 = 2;

const NO_REASON: u32 = 0;
const SYSTEM_FAILURE: u32 = 1;

impl Call<'_> {
    pub(super) fn srst(self) -> Outcome {
        if self.function != 0 {
            return Outcome::from(Err(SbiError::NotSupported));
        }
        let code = match arg32(self.args[1]) {
            NO_REASON => 0,
            SYSTEM_FAILURE => FAILURE_EXIT_CODE,
            _ => return Outcome::from(Err(SbiError::InvalidParam)),
        };
        match arg32(self.args[0]) {
            SHUTDOWN => Outcome::Power(PowerRequest::Off { code }),
            COLD_REBOOT | WARM_REBOOT => Outcome::Power(PowerRequest::Reset),
            _ => Outcome::from(Err(SbiError::InvalidParam)),
        }
    }
}
