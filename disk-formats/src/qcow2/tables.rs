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

/// Checks the L1 and refcount tables of an image with `header` and a length of `file_len` bytes: where they
/// lead to is in the file, and not twice to the same place. Returns the clusters that the tables take.
pub(crate) fn check(file: &File, header: &Header, file_len: u64) -> Result<Vec<u64>, Fault> {
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
    match used.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Fault::corrupt(format!("two tables are in one place, {:#x}", pair[0]))),
        None => Ok(used),
    }
}

/// Checks that each of the clusters has a refcount: imago would use those that have none.
pub(crate) fn check_refcounts(file: &File, header: &Header, used: &[u64]) -> Result<(), Fault> {
    let cluster = header.cluster_size();
    let reftable = read_table(file, header.reftable_offset, header.reftable_bytes() / 8)?;
    let mut block = (u64::MAX, Vec::new());
    for &offset in used {
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

/// Sets a refcount in a block; false if it has no room for the value.
pub(crate) fn set_refcount(block: &mut [u8], order: u32, index: u64, value: u64) -> bool {
    let bits = 1u32 << order;
    if bits < 64 && value >> bits != 0 {
        return false;
    }
    let index = index as usize;
    if order < 3 {
        let per_byte = 8 / bits as usize;
        let shift = (index % per_byte) as u32 * bits;
        let mask = ((1u16 << bits) - 1) as u8;
        let Some(byte) = block.get_mut(index / per_byte) else { return false };
        *byte = *byte & !(mask << shift) | (value as u8) << shift;
        return true;
    }
    let bytes = bits as usize / 8;
    let Some(field) = block.get_mut(index * bytes..).and_then(|rest| rest.get_mut(..bytes)) else {
        return false;
    };
    field.copy_from_slice(&value.to_be_bytes()[8 - bytes..]);
    true
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

    #[test]
    fn refcounts_are_set() {
        for order in 0..=6 {
            let bits = 1u32 << order;
            let max = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            let mut block = [0x5a; 32];
            let before = block;
            for (n, value) in [(0, max), (2, 0), (3, 1)] {
                assert!(set_refcount(&mut block, order, n, value));
                assert_eq!(refcount_at(&block, order, n), value);
            }
            assert_eq!(refcount_at(&block, order, 1), refcount_at(&before, order, 1));
            assert!(max == u64::MAX || !set_refcount(&mut block, order, 0, max + 1));
            assert!(!set_refcount(&mut block, order, 1000, 0));
        }
    }
}
