//! The top-level tables, checked before imago works with them.
//!
//! imago trusts that tables do not overlap and that each refcount block is used once. Tables that break
//! this could be made to keep it busy for hours or to let it destroy the image, so they are refused here.

use super::be64;
use super::header::Header;
use crate::error::Fault;
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

/// Checks the L1 and refcount tables of an image with `header` and a length of `file_len` bytes. For
/// writing, each cluster that they take must have a refcount: imago would use those that have none.
pub(crate) fn check(file: &File, header: &Header, file_len: u64, writable: bool) -> Result<(), Fault> {
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
    for (name, table) in [("refcount block", &reftable), ("L2 table", &l1)] {
        for entry in table {
            let offset = entry & OFFSET_MASK;
            if offset != 0 {
                header.check_table(name, offset, 1, file_len)?;
                claim(offset, cluster);
            }
        }
    }
    used.sort_unstable();
    if let Some(pair) = used.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Fault::corrupt(format!("two tables are in one place, {:#x}", pair[0])));
    }
    if !writable {
        return Ok(());
    }
    let mut block = (u64::MAX, Vec::new());
    for offset in used {
        let number = (offset >> header.cluster_bits) / header.refblock_entries();
        let index = (offset >> header.cluster_bits) % header.refblock_entries();
        if block.0 != number {
            let entry = usize::try_from(number).ok().and_then(|number| reftable.get(number));
            let place = entry.map_or(0, |entry| entry & OFFSET_MASK);
            block = (number, vec![0; if place == 0 { 0 } else { cluster as usize }]);
            read_zero_padded(file, &mut block.1, place)?;
        }
        if refcount_at(&block.1, header.refcount_order, index) == 0 {
            return Err(Fault::corrupt(format!("the table at {offset:#x} has no refcount")));
        }
    }
    Ok(())
}

/// A refcount in a block; those narrower than a byte start at its low bits.
pub(crate) fn refcount_at(block: &[u8], order: u32, index: u64) -> u64 {
    let index = index as usize;
    let byte = |at: usize| u64::from(block.get(at).copied().unwrap_or(0));
    match order {
        0..=2 => {
            let bits = 1 << order;
            let per_byte = 8 / bits;
            byte(index / per_byte) >> (index % per_byte * bits) & ((1 << bits) - 1)
        }
        order => {
            let bytes = 1 << (order - 3);
            (0..bytes).fold(0, |value, n| value << 8 | byte(index * bytes + n))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refcounts_of_all_widths() {
        let block = [0b1001_0110, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde];
        let all = |order, n| (0..n).map(|i| refcount_at(&block, order, i)).collect::<Vec<_>>();
        assert_eq!(all(0, 8), [0, 1, 1, 0, 1, 0, 0, 1]);
        assert_eq!(all(1, 4), [0b10, 0b01, 0b01, 0b10]);
        assert_eq!(all(2, 4), [0b0110, 0b1001, 2, 1]);
        assert_eq!(all(3, 2), [0b1001_0110, 0x12]);
        assert_eq!(all(4, 2), [0x9612, 0x3456]);
        assert_eq!(all(5, 2), [0x9612_3456, 0x789a_bcde]);
        assert_eq!(all(6, 2), [0x9612_3456_789a_bcde, 0]);
    }
}
