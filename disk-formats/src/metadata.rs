//! The metadata of a QCOW2 image on its way to the host's disk.
//!
//! imago writes metadata in an order that suffices, with one exception, if only the process dies: it asks
//! for no barriers, so after a power cut the host may have kept a later write and lost an earlier one; and
//! it enters a new L2 table into the L1 table before the table's refcount leaves its cache. So nothing that
//! imago writes as metadata goes to the file at once. It is kept here, by clusters, and read from here,
//! until a *commit* brings it into the file in steps that each are durable before the next begins:
//!
//! 1. data; refcounts, as far as they increase; new refcount blocks and a new refcount table
//! 2. the refcount table, or the header that leads to a new one
//! 3. L2 tables that the file's L1 table leads to
//! 4. new L2 tables, and then the L1 table
//! 5. refcounts that decrease
//!
//! At each point every reference has its refcount, and what is given up is only then marked as free. What
//! can be left over are leaks. A commit after a flush of imago's caches, while no access is under way, does
//! all steps. Where L2 tables or the header have changed in between (imago's cache is small, and it frees
//! and uses clusters again at once), clusters may be reused that the file still refers to: before the next
//! data is written, steps 1 to 3 are done.
//!
//! A commit that finds data and L2 tables to write, as most do, costs two `fdatasync`s, like in QEMU; with
//! data alone it costs one.

use crate::error::Fault;
use crate::file::read_zero_padded;
use crate::qcow2::header::Header;
use crate::qcow2::{be32, be64, tables};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;

/// How metadata gets into the file.
pub(crate) trait Sink {
    /// Writes bytes at an offset.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes all that was written durable, data too. Does nothing if nothing was.
    fn sync(&self) -> io::Result<()>;
}

/// What a cluster of metadata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Header,
    RefTable,
    Refblock,
    L1,
    /// An L2 table that the L1 table in the file leads to.
    L2,
    /// Any other: an L2 table that is about to be entered into the L1 table.
    New,
}

/// Metadata that is not yet in the file.
#[derive(Debug)]
pub(crate) struct Metadata {
    cluster_size: u64,
    refcount_order: u32,
    l1: Range<u64>,
    /// Changed clusters by their offset.
    dirty: BTreeMap<u64, Vec<u8>>,
    /// Clusters in `dirty` whose step has been done, and that are there for the refcounts that decrease.
    increased: HashSet<u64>,
    /// The refcount table and its blocks, as imago sees them.
    reftable: Range<u64>,
    refblocks: HashSet<u64>,
    /// The refcount table in the file, and the blocks that have been entered into it.
    file_reftable: Range<u64>,
    file_refblocks: HashSet<u64>,
    /// L2 tables that the L1 table in the file leads to.
    file_l2: HashSet<u64>,
    /// The file refers to clusters that imago may take for free.
    released: bool,
}

impl Metadata {
    pub(crate) fn new(file: &File, header: &Header) -> Result<Self, Fault> {
        let l1 = header.l1_offset..header.l1_offset.saturating_add(u64::from(header.l1_size) * 8);
        let reftable = header.reftable_offset..header.reftable_offset.saturating_add(header.reftable_bytes());
        let refblocks: HashSet<_> = targets(&read(file, &reftable)?).collect();
        Ok(Metadata {
            cluster_size: header.cluster_size(),
            refcount_order: header.refcount_order,
            dirty: BTreeMap::new(),
            increased: HashSet::new(),
            file_reftable: reftable.clone(),
            reftable,
            file_refblocks: refblocks.clone(),
            refblocks,
            file_l2: targets(&read(file, &l1)?).collect(),
            l1,
            released: false,
        })
    }

    /// Memory that is held, in bytes.
    pub(crate) fn held(&self) -> u64 {
        self.dirty.len() as u64 * self.cluster_size
    }

    /// Whether [`Metadata::release`] has something to do before data is written.
    pub(crate) fn released(&self) -> bool {
        self.released
    }

    /// Reads what imago has written, or what the file has.
    pub(crate) fn read(&self, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_zero_padded(file, buffer, offset)?;
        let end = offset.saturating_add(buffer.len() as u64);
        for (&cluster, content) in self.dirty.range(self.cluster_of(offset)..end) {
            let start = cluster.max(offset);
            let end = end.min(cluster + self.cluster_size);
            if start < end {
                let source = &content[(start - cluster) as usize..(end - cluster) as usize];
                buffer[(start - offset) as usize..(end - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(())
    }

    /// Takes what imago writes.
    pub(crate) fn write(&mut self, file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let cluster = self.cluster_of(offset);
            let within = (offset - cluster) as usize;
            let (piece, rest) = bytes.split_at(bytes.len().min(self.cluster_size as usize - within));
            let content = match self.dirty.entry(cluster) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let mut content = vec![0; self.cluster_size as usize];
                    if piece.len() < content.len() {
                        read_zero_padded(file, &mut content, cluster)?;
                    }
                    entry.insert(content)
                }
            };
            content[within..within + piece.len()].copy_from_slice(piece);
            self.increased.remove(&cluster);
            match self.kind(cluster) {
                Kind::Header => {
                    self.released = true;
                    self.find_reftable(file)?;
                }
                Kind::RefTable => self.refblocks.extend(targets(piece)),
                Kind::L2 => self.released = true,
                Kind::Refblock | Kind::L1 | Kind::New => {}
            }
            offset += piece.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Forgets metadata in a range that is about to be used for data.
    pub(crate) fn forget(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        let used: Vec<_> =
            self.dirty.range(self.cluster_of(offset)..end).map(|(&cluster, _)| cluster).collect();
        for cluster in used {
            self.dirty.remove(&cluster);
            self.increased.remove(&cluster);
        }
    }

    /// Steps 1 to 3: makes sure that the file refers to no cluster that imago takes for free, but for those
    /// that its L1 table leads to.
    pub(crate) fn release(&mut self, file: &File, sink: &dyn Sink) -> io::Result<()> {
        let moved = self.reftable != self.file_reftable;
        // 1
        for (&cluster, content) in &self.dirty {
            match self.kind(cluster) {
                Kind::Refblock if self.increased.contains(&cluster) => {}
                Kind::Refblock if self.file_refblocks.contains(&cluster) => {
                    let mut old = vec![0; content.len()];
                    read_zero_padded(file, &mut old, cluster)?;
                    sink.write(cluster, &larger_refcounts(&old, content, self.refcount_order))?;
                }
                Kind::Refblock => sink.write(cluster, content)?,
                Kind::RefTable if moved => sink.write(cluster, content)?,
                _ => {}
            }
        }
        // 2
        self.step(sink, |kind| kind == Kind::Header || kind == Kind::RefTable && !moved)?;
        // 3
        self.step(sink, |kind| kind == Kind::L2)?;
        sink.sync()?;

        let (refblocks, rest): (Vec<_>, Vec<_>) =
            self.dirty.keys().copied().partition(|&cluster| self.kind(cluster) == Kind::Refblock);
        self.increased.extend(refblocks);
        for cluster in rest {
            if matches!(self.kind(cluster), Kind::Header | Kind::RefTable | Kind::L2) {
                self.dirty.remove(&cluster);
            }
        }
        self.file_reftable = self.reftable.clone();
        self.file_refblocks.clone_from(&self.refblocks);
        self.released = false;
        Ok(())
    }

    /// All steps. What imago has in its caches must have come here before, and no access may be under way
    /// when they did.
    pub(crate) fn commit(&mut self, file: &File, sink: &dyn Sink) -> io::Result<()> {
        self.release(file, sink)?;
        // 4
        self.step(sink, |kind| kind == Kind::New)?;
        self.step(sink, |kind| kind == Kind::L1)?;
        sink.sync()?;

        let mut entered = Vec::new();
        for (&cluster, content) in &self.dirty {
            if self.kind(cluster) == Kind::L1 {
                entered.extend(targets(self.part_of_l1(cluster, content)));
            }
        }
        self.file_l2.extend(entered);
        self.dirty.retain(|cluster, _| self.increased.contains(cluster));
        // 5
        let mut old = vec![0; self.cluster_size as usize];
        for (&cluster, content) in &self.dirty {
            read_zero_padded(file, &mut old, cluster)?;
            if old != *content {
                sink.write(cluster, content)?;
            }
        }
        self.dirty.clear();
        self.increased.clear();
        Ok(())
    }

    /// Writes all clusters of some kinds, after everything before is durable.
    fn step(&self, sink: &dyn Sink, which: impl Fn(Kind) -> bool) -> io::Result<()> {
        let clusters = || self.dirty.iter().filter(|(cluster, _)| which(self.kind(**cluster)));
        if clusters().next().is_some() {
            sink.sync()?;
        }
        clusters().try_for_each(|(&cluster, content)| sink.write(cluster, content))
    }

    fn kind(&self, cluster: u64) -> Kind {
        let end = cluster + self.cluster_size;
        let is_in = |range: &Range<u64>| cluster < range.end && end > range.start;
        match () {
            () if cluster == 0 => Kind::Header,
            () if is_in(&self.l1) => Kind::L1,
            () if is_in(&self.reftable) => Kind::RefTable,
            () if self.refblocks.contains(&cluster) => Kind::Refblock,
            () if self.file_l2.contains(&cluster) => Kind::L2,
            () => Kind::New,
        }
    }

    fn cluster_of(&self, offset: u64) -> u64 {
        offset & !(self.cluster_size - 1)
    }

    /// The part of a cluster that belongs to the L1 table.
    fn part_of_l1<'a>(&self, cluster: u64, content: &'a [u8]) -> &'a [u8] {
        let end = self.l1.end.saturating_sub(cluster).min(self.cluster_size) as usize;
        content.get(..end).unwrap_or(content)
    }

    /// Follows the refcount table if the header says that it has moved.
    fn find_reftable(&mut self, file: &File) -> io::Result<()> {
        let mut fields = [0; 12];
        self.read(file, 48, &mut fields)?;
        let start = be64(&fields, 0);
        let len = u64::from(be32(&fields, 8)).saturating_mul(self.cluster_size);
        let reftable = start..start.saturating_add(len);
        if reftable != self.reftable {
            let mut table = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            self.read(file, start, &mut table)?;
            self.refblocks = targets(&table).collect();
            self.reftable = reftable;
        }
        Ok(())
    }
}

fn read(file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
    read_zero_padded(file, &mut bytes, range.start)?;
    Ok(bytes)
}

/// What the entries of an L1 or refcount table lead to.
fn targets(table: &[u8]) -> impl Iterator<Item = u64> {
    table.chunks_exact(8).map(|entry| be64(entry, 0) & tables::OFFSET_MASK).filter(|&offset| offset != 0)
}

/// A refcount block with the larger of each two refcounts.
fn larger_refcounts(one: &[u8], other: &[u8], order: u32) -> Vec<u8> {
    if order >= 3 {
        // Big-endian numbers compare like strings.
        let width = 1 << (order - 3);
        let pairs = one.chunks(width).zip(other.chunks(width));
        return pairs.flat_map(|(one, other)| one.max(other)).copied().collect();
    }
    let width = 1 << order;
    let larger = |one: u8, other: u8| {
        (0..8 / width).fold(0, |byte, n| {
            let mask = ((1u16 << width) - 1) as u8;
            let field = |value: u8| value >> (n * width) & mask;
            byte | field(one).max(field(other)) << (n * width)
        })
    };
    one.iter().zip(other).map(|(&one, &other)| larger(one, other)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_of_refcounts_of_all_widths() {
        let (one, other) = ([0x12, 0xf0, 0x00, 0x80], [0x21, 0x0f, 0x01, 0x7f]);
        for (order, expected) in [
            (0, [0x33, 0xff, 0x01, 0xff]),
            (1, [0x22, 0xff, 0x01, 0xbf]),
            (2, [0x22, 0xff, 0x01, 0x8f]),
            (3, [0x21, 0xf0, 0x01, 0x80]),
            (4, [0x21, 0x0f, 0x01, 0x7f]),
            (5, [0x21, 0x0f, 0x01, 0x7f]),
        ] {
            assert_eq!(larger_refcounts(&one, &other, order), expected, "2^{order} bits");
            assert_eq!(larger_refcounts(&other, &one, order), expected, "2^{order} bits");
        }
    }
}
