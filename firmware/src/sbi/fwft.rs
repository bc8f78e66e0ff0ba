//! The firmware features extension (SBI 3.0, chapter 18): the two features that this machine has.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Call, SbiError, SbiResult, arg32, csr};

pub(super) const ID: u64 = 0x4657_4654;

const MISALIGNED_EXC_DELEG: u32 = 0;
const PTE_AD_HW_UPDATING: u32 = 4;
/// Landing pads, shadow stacks, double traps and pointer masking: defined, and not on this machine.
const ABSENT: [u32; 4] = [1, 2, 3, 5];

const FLAG_LOCK: u64 = 1 << 0;

const MISALIGNED: u64 = 1 << csr::CAUSE_MISALIGNED_LOAD | 1 << csr::CAUSE_MISALIGNED_STORE;

/// One hart's part of the extension: which features are locked. Their values are in the hart's CSRs.
#[derive(Debug, Default)]
pub(super) struct Fwft {
    misaligned_locked: AtomicBool,
    ad_updating_locked: AtomicBool,
}

impl Fwft {
    pub(super) fn reset(&self) {
        let Self { misaligned_locked, ad_updating_locked } = self;
        misaligned_locked.store(false, Ordering::Relaxed);
        ad_updating_locked.store(false, Ordering::Relaxed);
    }
}

impl Call<'_> {
    pub(super) fn fwft(mut self) -> SbiResult {
        let feature = arg32(self.args[0]);
        if self.function > 1 || ABSENT.contains(&feature) {
            return Err(SbiError::NotSupported);
        }
        let lock = match feature {
            MISALIGNED_EXC_DELEG => &self.state.fwft.misaligned_locked,
            PTE_AD_HW_UPDATING => &self.state.fwft.ad_updating_locked,
            _ => return Err(SbiError::Denied),
        };
        if self.function == 1 {
            return Ok(self.feature(feature)?.into());
        }
        let [_, value, flags, ..] = self.args;
        if value > 1 || flags & !FLAG_LOCK != 0 {
            return Err(SbiError::InvalidParam);
        }
        if lock.load(Ordering::Relaxed) {
            return Err(SbiError::DeniedLocked);
        }
        self.set_feature(feature, value == 1)?;
        lock.store(flags & FLAG_LOCK != 0, Ordering::Relaxed);
        Ok(0)
    }

    fn feature(&mut self, feature: u32) -> Result<bool, SbiError> {
        if feature == MISALIGNED_EXC_DELEG {
            let delegated = self.platform.read_csr(csr::MEDELEG).ok_or(SbiError::NotSupported)?;
            return Ok(delegated & MISALIGNED == MISALIGNED);
        }
        let value = self.platform.read_csr(csr::MENVCFG).ok_or(SbiError::NotSupported)?;
        let on = value & csr::MENVCFG_ADUE != 0;
        // On a hart without Svadu the bit is read-only zero.
        if on || self.set_menvcfg(value | csr::MENVCFG_ADUE) {
            self.set_menvcfg(value);
            return Ok(on);
        }
        Err(SbiError::NotSupported)
    }

    fn set_feature(&mut self, feature: u32, on: bool) -> Result<(), SbiError> {
        if self.feature(feature)? == on {
            return Ok(());
        }
        if feature == MISALIGNED_EXC_DELEG {
            // They are delegated from the start, and there is no M-mode program to take them back.
            return Err(SbiError::Denied);
        }
        let value = self.platform.read_csr(csr::MENVCFG).unwrap_or(0);
        let done = self.set_menvcfg(value ^ csr::MENVCFG_ADUE);
        done.then_some(()).ok_or(SbiError::Failed)
    }

    /// Whether `menvcfg` took the value.
    fn set_menvcfg(&mut self, value: u64) -> bool {
        self.platform.write_csr(csr::MENVCFG, value);
        self.platform.read_csr(csr::MENVCFG) == Some(value)
    }
}
