//! The debug console extension (SBI 3.0, chapter 12).

use vm_memory::Bytes;

use super::{Call, Outcome, SbiError, SbiResult};

pub(super) const ID: u64 = 0x4442_434e;

/// The most bytes that one call moves. The specification allows partial transfers; this bounds the time that
/// a hart spends in one.
const LARGEST: u64 = 4096;

impl Call<'_> {
    pub(super) fn dbcn(mut self) -> Outcome {
        match self.function {
            0 => self.console_write().into(),
            1 => self.console_read().into(),
            2 => match self.platform.console_write(&[self.args[0] as u8]) {
                0 => Outcome::Retry,
                _ => Outcome::from(Ok(0)),
            },
            _ => Outcome::from(Err(SbiError::NotSupported)),
        }
    }

    fn console_write(&mut self) -> SbiResult {
        let [len, low, high, ..] = self.args;
        let at = self.memory_range(low, high, len).ok_or(SbiError::InvalidParam)?;
        let mut bytes = vec![0; len.min(LARGEST) as usize];
        self.platform.memory().read_slice(&mut bytes, at).map_err(|_| SbiError::Failed)?;
        Ok(self.platform.console_write(&bytes).min(bytes.len()) as u64)
    }

    fn console_read(&mut self) -> SbiResult {
        let [len, low, high, ..] = self.args;
        let at = self.memory_range(low, high, len).ok_or(SbiError::InvalidParam)?;
        let mut bytes = vec![0; len.min(LARGEST) as usize];
        let received = self.platform.console_read(&mut bytes).min(bytes.len());
        bytes.truncate(received);
        self.platform.memory().write_slice(&bytes, at).map_err(|_| SbiError::Failed)?;
        Ok(received as u64)
    }
}
