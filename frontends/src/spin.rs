//! Hints that a vCPU spins: `PAUSE`, `YIELD`.

use emu_core::exec::{HostRequest, Stop};

/// How many hints go by before one lets another host thread run.
const HINTS_PER_YIELD: u32 = 32;

/// How many hints a vCPU has given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spins(u32);

impl Spins {
    /// Another hint. If the vCPU is `alone` there is nobody to wait for.
    pub fn hint(&mut self, alone: bool) -> Result<u64, Stop> {
        self.0 = self.0.wrapping_add(1);
        if alone || !self.0.is_multiple_of(HINTS_PER_YIELD) {
            return Ok(0);
        }
        Err(Stop::Host(HostRequest::Yield))
    }
}
