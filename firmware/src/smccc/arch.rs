//! Calls of the architecture itself (DEN0028, chapter 7 "Arm Architecture Calls").

use super::{Call, NOT_SUPPORTED, Outcome, exists};

pub(super) const FIRST: u32 = 0x8000_0000;
pub(super) const LAST: u32 = 0x8000_ffff;

/// The version of the calling convention.
pub(super) const VERSION: u32 = 0x8000_0000;
const FEATURES: u32 = 0x8000_0001;
/// Branch target injection, speculative store bypass, and branch history injection.
const WORKAROUNDS: [u32; 3] = [0x8000_8000, 0x8000_7fff, 0x8000_3fff];

pub(super) const FUNCTIONS: [u32; 5] = [VERSION, FEATURES, WORKAROUNDS[0], WORKAROUNDS[1], WORKAROUNDS[2]];

/// Version 1.2.
const VERSION_1_2: i32 = 0x1_0002;
/// The CPU does not need the work-around; calling it does no harm.
const NOT_AFFECTED: i32 = 1;

impl Call<'_> {
    pub(super) fn arch(self) -> Outcome {
        Outcome::code(match self.function {
            VERSION => VERSION_1_2,
            FEATURES => match self.args[0] as u32 {
                workaround if WORKAROUNDS.contains(&workaround) => NOT_AFFECTED,
                function if exists(function) => 0,
                _ => NOT_SUPPORTED,
            },
            function if WORKAROUNDS.contains(&function) => 0,
            _ => NOT_SUPPORTED,
        })
    }
}
