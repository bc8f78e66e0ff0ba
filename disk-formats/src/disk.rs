//! The trait that everything behind a guest's disk implements.

use crate::error::{Error, ErrorKind, Op, Result};
use std::path::Path;

/// A guest's disk: a range of bytes.
///
/// All methods can be called from several threads at once. Accesses that overlap in time and place have no
/// defined order, as on a real disk. Offsets and lengths are in bytes and need no alignment; an access
/// beyond the end is an error ([`ErrorKind::OutOfRange`]) and does nothing.
pub trait Disk: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Whether writes, discards and the like are refused with [`ErrorKind::ReadOnly`].
    fn read_only(&self) -> bool;

    /// Name of the disk for messages: the path of the image.
    fn name(&self) -> &Path;

    /// Reads `buffer.len()` bytes at `offset`. After an error the buffer may have been written to in part.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Writes `data` at `offset`. After an error some of it may have been written.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()>;

    /// Makes all writes, discards and zeroes that had returned before this call durable: they survive the
    /// death of the process and a power cut. Does nothing for a throw-away disk.
    fn flush(&self) -> Result<()>;

    /// Says that the guest needs a range no longer; what it reads afterwards is either the old data or
    /// zeroes, anywhere in the range. May do nothing.
    fn discard(&self, offset: u64, len: u64) -> Result<()>;

    /// Makes a range read as zeroes; `may_unmap` allows to give up the space that it takes.
    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<()>;

    /// Checks that an access of `len` bytes at `offset` is within the disk.
    fn check_range(&self, op: Op, offset: u64, len: u64) -> Result<()> {
        let size = self.size();
        if offset.checked_add(len).is_some_and(|end| end <= size) {
            return Ok(());
        }
        Err(Error::new(self.name(), op, ErrorKind::OutOfRange { length: len, size }).at(offset))
    }

    /// Checks that a changing access of `len` bytes at `offset` is allowed and within the disk.
    fn check_writable(&self, op: Op, offset: u64, len: u64) -> Result<()> {
        if self.read_only() {
            return Err(Error::new(self.name(), op, ErrorKind::ReadOnly).at(offset));
        }
        self.check_range(op, offset, len)
    }
}
