//! A disk in memory, for tests and benchmarks of whatever uses a disk.

use crate::disk::Disk;
use crate::error::{Op, Result};
use parking_lot::RwLock;
use std::ops::Range;
use std::path::Path;

/// A disk whose content is lost with it.
#[derive(Debug, Default)]
pub struct RamDisk {
    bytes: RwLock<Vec<u8>>,
    read_only: bool,
}

impl RamDisk {
    /// A disk with this content.
    pub fn new(bytes: Vec<u8>) -> Self {
        RamDisk { bytes: RwLock::new(bytes), read_only: false }
    }

    /// A disk with this content that refuses writes.
    pub fn new_read_only(bytes: Vec<u8>) -> Self {
        RamDisk { bytes: RwLock::new(bytes), read_only: true }
    }

    /// The content.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner()
    }

    fn range(offset: u64, len: u64) -> Range<usize> {
        // Within the vector, whose indices fit.
        offset as usize..(offset + len) as usize
    }
}

impl Disk for RamDisk {
    fn size(&self) -> u64 {
        self.bytes.read().len() as u64
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn name(&self) -> &Path {
        Path::new("RAM disk")
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.check_range(Op::Read, offset, buffer.len() as u64)?;
        buffer.copy_from_slice(&self.bytes.read()[Self::range(offset, buffer.len() as u64)]);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check_writable(Op::Write, offset, data.len() as u64)?;
        self.bytes.write()[Self::range(offset, data.len() as u64)].copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writable(Op::Discard, offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, _may_unmap: bool) -> Result<()> {
        self.check_writable(Op::WriteZeroes, offset, len)?;
        self.bytes.write()[Self::range(offset, len)].fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn ends_where_it_ends() {
        let disk = RamDisk::new(vec![7; 1000]);
        let mut buffer = [0; 10];
        disk.read_at(990, &mut buffer).unwrap();
        assert_eq!(buffer, [7; 10]);
        for offset in [991, 1000, u64::MAX] {
            let error = disk.write_at(offset, &buffer).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::OutOfRange { length: 10, size: 1000 });
            assert_eq!(error.offset(), Some(offset));
        }
        disk.read_at(1000, &mut []).unwrap();
        let fixed = RamDisk::new_read_only(vec![0; 8]);
        assert_eq!(fixed.write_zeroes(0, 8, true).unwrap_err().kind(), &ErrorKind::ReadOnly);
    }
}
