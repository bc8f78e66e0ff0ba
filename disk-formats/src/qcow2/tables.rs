//! The top-level tables, checked before imago works with them.
//!
//! imago trusts that tables do not overlap and that each refcount block is used once. Tables that break
//! this could be made to keep it busy for hours or to let it destroy the image, so they are refused here.

use super::be64;
use super::header::Header;
use crate::error::{ErrorKind, Fault};
use crate::file::read_zero_padded;
use std::fs::File;

/// Bits of an L1 or refcount table entry that hold a host offset.
pub(crate) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The entry is the only reference to what it points to.
pub(crate) const COPIED: u64 = 1 << 63;

/// Reads a table of 64-bit entries, whose place and size have been checked.
pub(crate) fn read_table(file: &File, offset: u64, entries: u64) -> Result<Vec<u64>, Fault> {
    let mut bytes = vec![0; usize::try_from(entries * 8).map_err(std::io::Error::other)?];
    read_zero_padded(file, &mut bytes, offset)?;
    Ok(bytes.chunks_exact(8).map(|entry| be64(entry, 0)).collect())
}

/// Checks the L1 and refcount tables of an image with `header` and a length of `file_len` bytes.
pub(crate) fn check(file: &File, header: &Header, file_len: u64) -> Result<(), Fault> {
    let cluster = header.cluster_size();
    let mut used = vec![0];
    let mut claim = |offset: u64, len: u64| {
        let clusters = len.div_ceil(cluster);
        used.extend((0..clusters).map(|n| offset + n * cluster));
    };
    claim(header.reftable_offset, header.reftable_bytes());
    claim(header.l1_offset, u64::from(header.l1_size) * 8);

    let reftable = read_table(file, header.reftable_offset, header.reftable_bytes() / 8)?;
    let l1 = read_table(file, header.l1_offset, header.l1_size.into())?;
    let tables = [("refcount block", reftable), ("L2 table", l1)];
    for (name, table) in &tables {
        for entry in table {
            let offset = entry & OFFSET_MASK;
            if offset != 0 {
                header.check_table(name, offset, 1, file_len)?;
                claim(offset, cluster);
            }
        }
    }
    used.sort_unstable();
    match used.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ErrorKind::Corrupt(format!("two tables are in one place, {:#x}", pair[0])).into()),
        None => Ok(()),
    }
}
