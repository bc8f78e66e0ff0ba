//! What a device model sees of the machine: register accesses, interrupt lines, power requests.
//!
//! A device never sees a vCPU or the machine. It is given, when it is built, a [`crate::mem::GuestMemory`] if it
//! does DMA, an [`IrqLine`] per interrupt output, and an [`crate::sync::EventHandle`] for clock, timers and
//! asynchronous input. Devices lock themselves: there is no global lock, and any vCPU thread may call in at any time.

mod descriptor;
mod irq;

pub use descriptor::{NodeDesc, PropValue};
pub use irq::{IrqLine, IrqSink};

use thiserror::Error;

/// The size of one register access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Half = 2,
    /// 32 bits.
    Word = 4,
    /// 64 bits.
    Double = 8,
}

impl Width {
    /// The width that is `bytes` long, if there is one.
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Half),
            4 => Some(Self::Word),
            8 => Some(Self::Double),
            _ => None,
        }
    }

    /// How many bytes an access of this width moves.
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// All bits that an access of this width moves.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self as u32)
    }

    /// An access of this width at `offset` must be aligned.
    ///
    /// # Errors
    /// It is not.
    pub const fn expect_aligned(self, offset: u64) -> Result<(), AccessError> {
        if offset.is_multiple_of(self.bytes()) { Ok(()) } else { Err(AccessError::Width) }
    }

    /// An access of this width at `offset` must be one of a whole 32-bit register.
    ///
    /// # Errors
    /// It is not.
    pub const fn expect_word(self, offset: u64) -> Result<(), AccessError> {
        if matches!(self, Self::Word) { self.expect_aligned(offset) } else { Err(AccessError::Width) }
    }

    /// An access of this width at `offset` must be one of the low part, or the whole, of a 32-bit register.
    ///
    /// # Errors
    /// It is not.
    pub const fn expect_low_part(self, offset: u64) -> Result<(), AccessError> {
        if matches!(self, Self::Double) { Err(AccessError::Width) } else { Self::Word.expect_aligned(offset) }
    }
}

/// Why a device refused an access. The bus turns it into the architecture's access fault (or bus error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccessError {
    /// Nothing answers at this address.
    #[error("no device register at this address")]
    Unmapped,
    /// The register exists, but not for an access of this width or alignment.
    #[error("the register cannot be accessed with this width or alignment")]
    Width,
}

/// A memory-mapped register file.
///
/// Offsets are relative to the device's base and always below the size it was mapped with; an access never
/// crosses that end. Values are little endian and zero-extended to 64 bits; a write's bits beyond its width are zero.
pub trait Mmio: Send + Sync {
    /// Reads `width` bytes at `offset`; reading may have side effects.
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError>;

    /// Writes the low `width` bytes of `value` at `offset`.
    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError>;

    /// Returns the device to its power-on state, its interrupt lines deasserted.
    fn reset(&self);
}

/// What a device, a hart or firmware asks of the machine's power supply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRequest {
    /// Switch off. The code is what the guest wants its user to see: zero is success.
    Off {
        /// The guest's exit code.
        code: u16,
    },
    /// Start again from the reset vector.
    Reset,
}

/// Where power requests go. The first request of a run wins; the vCPUs stop at their next safe point.
pub trait PowerSink: Send + Sync {
    /// Asks for `request`; returns at once.
    fn request(&self, request: PowerRequest);
}
