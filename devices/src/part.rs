//! 64-bit registers that are accessed as a whole or by halves.

use emu_core::device::{AccessError, Width};

/// All or half of a 64-bit register.
pub(crate) struct Part {
    /// The register's offset.
    pub(crate) register: u64,
    shift: u32,
    mask: u64,
}

impl Part {
    /// The part that an access is to.
    pub(crate) fn of(offset: u64, width: Width) -> Result<Self, AccessError> {
        width.expect_aligned(offset)?;
        if width < Width::Word {
            return Err(AccessError::Width);
        }
        Ok(Self { register: offset & !7, shift: (offset & 7) as u32 * 8, mask: width.mask() })
    }

    /// The part of the register's value that is read.
    pub(crate) fn get(&self, register: u64) -> u64 {
        register >> self.shift & self.mask
    }

    /// The register's value after `value` has been written to this part of it.
    pub(crate) fn set(&self, register: u64, value: u64) -> u64 {
        register & !(self.mask << self.shift) | (value & self.mask) << self.shift
    }
}
