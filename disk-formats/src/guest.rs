//! Between a disk and guest memory.

use crate::disk::Disk;
use crate::error::{Op, Result};
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

/// How much is moved at a time, in bytes: large enough for the host, small enough for its L2 cache.
const CHUNK: usize = 256 << 10;

/// A buffer through which data moves between a disk and guest memory.
///
/// Guest memory changes while we look at it, so it is never lent out as a Rust slice; data is copied
/// through here instead, in pieces of at most 256 KiB. Each I/O thread keeps a buffer of its own.
#[derive(Debug, Default)]
pub struct Bounce {
    buffer: Vec<u8>,
}

impl Bounce {
    /// An empty buffer, which takes its memory when it is first used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads from `disk` at `offset` into guest memory, filling one slice after the other and marking them
    /// dirty. The whole access is checked first: beyond the end of the disk nothing is touched.
    pub fn read<B: BitmapSlice>(
        &mut self,
        disk: &dyn Disk,
        offset: u64,
        guest: &[VolatileSlice<'_, B>],
    ) -> Result<()> {
        disk.check_range(Op::Read, offset, total(guest))?;
        for (at, batch) in batches(offset, guest) {
            let buffer = self.buffer(&batch);
            disk.read_at(at, buffer)?;
            let mut rest = &*buffer;
            for slice in &batch {
                let (bytes, after) = rest.split_at(slice.len());
                slice.copy_from(bytes);
                rest = after;
            }
        }
        Ok(())
    }

    /// Writes guest memory, one slice after the other, to `disk` at `offset`. The whole access is checked
    /// first: if it is not allowed, nothing is written.
    pub fn write<B: BitmapSlice>(
        &mut self,
        disk: &dyn Disk,
        offset: u64,
        guest: &[VolatileSlice<'_, B>],
    ) -> Result<()> {
        disk.check_writable(Op::Write, offset, total(guest))?;
        for (at, batch) in batches(offset, guest) {
            let buffer = self.buffer(&batch);
            let mut rest = &mut *buffer;
            for slice in &batch {
                let (bytes, after) = rest.split_at_mut(slice.len());
                slice.copy_to(bytes);
                rest = after;
            }
            disk.write_at(at, buffer)?;
        }
        Ok(())
    }

    /// A buffer of exactly the length of a batch.
    fn buffer<B: BitmapSlice>(&mut self, batch: &[VolatileSlice<'_, B>]) -> &mut [u8] {
        self.buffer.resize(batch.iter().map(VolatileSlice::len).sum(), 0);
        &mut self.buffer
    }
}

/// Length of all slices, or what no disk has if that overflows.
fn total<B: BitmapSlice>(guest: &[VolatileSlice<'_, B>]) -> u64 {
    guest.iter().fold(0, |sum: u64, slice| sum.saturating_add(slice.len() as u64))
}

/// Cuts the slices into batches of at most [`CHUNK`] bytes, each with its place on the disk. The caller has
/// checked that all of it is on the disk.
fn batches<'a, B: BitmapSlice>(
    offset: u64,
    guest: &[VolatileSlice<'a, B>],
) -> impl Iterator<Item = (u64, Vec<VolatileSlice<'a, B>>)> {
    let mut at = offset;
    let mut slices = guest.iter().cloned();
    let mut left: Option<VolatileSlice<'a, B>> = None;
    std::iter::from_fn(move || {
        let mut batch = Vec::new();
        let mut space = CHUNK;
        while space > 0 {
            let Some(slice) = left.take().or_else(|| slices.next()) else { break };
            // Never out of bounds: the cut is at most at the end of the slice.
            let Ok((piece, rest)) = slice.split_at(slice.len().min(space)) else { break };
            space -= piece.len();
            batch.push(piece);
            left = (!rest.is_empty()).then_some(rest);
        }
        let len = (CHUNK - space) as u64;
        let this = at;
        at += len;
        (len > 0).then_some((this, batch))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, RamDisk};

    #[test]
    fn scattered_memory_round_trip() {
        let content: Vec<u8> = (0..700_000u32).map(|n| (n / 3) as u8).collect();
        let disk = RamDisk::new(content.clone());
        let mut memory = vec![0u8; 650_000];
        let mut bounce = Bounce::new();
        {
            let whole = VolatileSlice::from(&mut memory[..]);
            let (one, rest) = whole.split_at(1).unwrap();
            let (empty, rest) = rest.split_at(0).unwrap();
            let (two, three) = rest.split_at(300_000).unwrap();
            let slices = [one, empty, two, three];
            bounce.read(&disk, 50_000, &slices).unwrap();
            let error = bounce.read(&disk, 50_001, &slices).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::OutOfRange { length: 650_000, size: 700_000 });
            bounce.write(&disk, 0, &slices).unwrap();
            assert!(bounce.write(&disk, u64::MAX, &slices).is_err());
        }
        assert_eq!(memory, &content[50_000..]);
        let after = disk.into_bytes();
        assert_eq!(&after[..650_000], &content[50_000..]);
        assert_eq!(&after[650_000..], &content[650_000..]);
    }
}
