//! The metadata of a QCOW2 image on its way to the host's disk.
//!
//! imago writes metadata in an order that nearly suffices if only the process dies: it enters a new L2 table
//! into the L1 table before the table's refcount leaves its cache, and it asks for no barriers, so after a
//! power cut the host may have kept a later write and lost an earlier one. So nothing that imago writes as
//! metadata goes to the file at once. It is kept here, by clusters, and read from here, until a *commit*
//! brings it into the file in two steps, each durable before the next begins:
//!
//! 1. data; new L2 tables; new refcount blocks; a new L1 or refcount table; the mark that the image is dirty
//! 2. refcounts; then all that refers to what is new: the tables that the file has already, the header
//!
//! If something new comes to where the file still has something else, because imago has used a cluster
//! again, the L2 tables go before that.
//!
//! A commit follows a flush of imago's caches, while no access is under way. A power cut can leave any part
//! of step 2 in the file: nothing that was committed before is lost, as clusters that are given up are not
//! used again before the commit is complete, but refcounts may be wrong. The mark says so, and the next
//! opening repairs them ([`crate::qcow2::repair`]). It is taken away when the disk is closed. If the process
//! dies instead, refcounts are right unless it was just within step 2, which waits for nothing.
//!
//! imago's cache is small, and it frees and uses clusters again at once. So L2 tables or the header may get
//! here in between; then the file may refer to clusters that are about to be used otherwise. Before the next
//! data is written, both steps are done for all but new L2 tables and the L1 table (a *release*).
//!
//! A commit that finds data and tables to write, as most do, costs two `fdatasync`s, like in QEMU; with data
//! alone it costs one.

use crate::error::Fault;
use crate::file::read_zero_padded;
use crate::qcow2::header::{Header, incompatible};
use crate::qcow2::{be32, be64, tables};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The mark for dirty images: the last byte of the incompatible features in the header, and the bit in it.
pub(crate) const MARK_AT: usize = 79;
pub(crate) const MARK: u8 = incompatible::DIRTY as u8;

/// How metadata gets into the file.
pub(crate) trait Sink {
    /// Writes bytes at an offset.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes all that was written durable, data too. Does nothing if nothing was.
    fn sync(&self) -> io::Result<()>;
}

impl Sink for File {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// What a cluster of metadata is, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One that nothing in the file refers to, but a new L2 table.
    New,
    /// An L2 table that is about to be entered into the L1 table.
    NewL2,
    Refblock,
    RefTable,
    Header,
    /// An L2 table that the L1 table in the file leads to.
    L2,
    L1,
}

/// What refers to what is new, after its refcounts.
const REFERRING: [Kind; 5] = [Kind::Refblock, Kind::RefTable, Kind::Header, Kind::L2, Kind::L1];

/// Metadata that is not yet in the file.
#[derive(Debug)]
pub(crate) struct Metadata {
    cluster_size: u64,
    refcount_order: u32,
    /// Changed clusters by their offset.
    dirty: BTreeMap<u64, Vec<u8>>,
    /// The tables as imago sees them.
    tables: Tables,
    /// The tables in the file.
    file_tables: Tables,
    /// L2 tables that the L1 table in the file leads to.
    file_l2: HashSet<u64>,
    /// The file refers to clusters that imago may take for free.
    released: bool,
    /// Whether the format has a mark for dirty images, and the file has it.
    can_mark: bool,
    marked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tables {
    l1: Range<u64>,
    reftable: Range<u64>,
    refblocks: HashSet<u64>,
}

impl Metadata {
    pub(crate) fn new(file: &File, header: &Header) -> Result<Self, Fault> {
        let mut metadata = Metadata {
            cluster_size: header.cluster_size(),
            refcount_order: header.refcount_order,
            dirty: BTreeMap::new(),
            tables: Tables { l1: 0..0, reftable: 0..0, refblocks: HashSet::new() },
            file_tables: Tables { l1: 0..0, reftable: 0..0, refblocks: HashSet::new() },
            file_l2: HashSet::new(),
            released: false,
            can_mark: header.version >= 3,
            marked: false,
        };
        metadata.find_tables(file)?;
        metadata.file_tables.clone_from(&metadata.tables);
        metadata.find_file_l2(file)?;
        Ok(metadata)
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
            if !self.dirty.contains_key(&cluster) {
                let mut content = vec![0; self.cluster_size as usize];
                if piece.len() < content.len() {
                    read_zero_padded(file, &mut content, cluster)?;
                }
                self.dirty.insert(cluster, content);
            }
            if let Some(content) = self.dirty.get_mut(&cluster) {
                content[within..within + piece.len()].copy_from_slice(piece);
            }
            match self.kind(cluster) {
                Kind::Header => {
                    self.released = true;
                    self.find_tables(file)?;
                }
                Kind::RefTable => self.tables.refblocks.extend(targets(piece)),
                Kind::L2 => self.released = true,
                Kind::Refblock | Kind::L1 | Kind::New | Kind::NewL2 => {}
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
        }
    }

    /// Makes sure that the file refers to no cluster that imago takes for free, but for those that only its
    /// L1 table leads to.
    pub(crate) fn release(&mut self, file: &File, sink: &dyn Sink) -> io::Result<()> {
        // A new L1 table comes with the header, so it needs all that it leads to.
        let moved = self.tables.l1 != self.file_tables.l1;
        self.bring(file, sink, |kind| moved || !matches!(kind, Kind::NewL2 | Kind::L1))?;
        self.released = false;
        if moved { self.find_file_l2(file) } else { Ok(()) }
    }

    /// Brings everything into the file. What imago has in its caches must have come here before, and no
    /// access may have been under way when it did.
    pub(crate) fn commit(&mut self, file: &File, sink: &dyn Sink) -> io::Result<()> {
        let l1_changed = self.tables.l1 != self.file_tables.l1
            || self.dirty.keys().any(|&cluster| self.kind(cluster) == Kind::L1);
        self.bring(file, sink, |_| true)?;
        self.released = false;
        if l1_changed { self.find_file_l2(file) } else { Ok(()) }
    }

    /// Takes the mark away from an image all of whose metadata has been committed.
    pub(crate) fn close(&mut self, file: &File, sink: &dyn Sink) -> io::Result<()> {
        if self.marked && self.dirty.is_empty() {
            set_mark(file, sink, false)?;
            sink.sync()?;
            self.marked = false;
        }
        Ok(())
    }

    /// Does both steps for some kinds.
    fn bring(&mut self, file: &File, sink: &dyn Sink, which: impl Fn(Kind) -> bool) -> io::Result<()> {
        let is_new = |kind| matches!(kind, Kind::New | Kind::NewL2);
        for &cluster in self.dirty.keys() {
            let kind = self.kind(cluster);
            if is_new(kind) && which(kind) && self.is_used_in_file(file, cluster)? {
                self.write_both(file, sink, |kind| kind == Kind::L2)?;
                break;
            }
        }
        self.write_both(file, sink, &which)?;
        let done: Vec<_> = self.dirty.keys().copied().filter(|&cluster| which(self.kind(cluster))).collect();
        for cluster in done {
            self.dirty.remove(&cluster);
        }
        self.file_tables.clone_from(&self.tables);
        Ok(())
    }

    /// Writes the clusters of some kinds in both steps.
    fn write_both(&mut self, file: &File, sink: &dyn Sink, which: impl Fn(Kind) -> bool) -> io::Result<()> {
        // Step 1.
        for kind in [Kind::New, Kind::NewL2].into_iter().filter(|kind| which(*kind)) {
            self.of_kind(kind).try_for_each(|(cluster, content)| sink.write(cluster, content))?;
        }
        let kinds = REFERRING.into_iter().filter(|kind| which(*kind));
        let referring: Vec<_> = kinds.flat_map(|kind| self.of_kind(kind)).collect();
        let mark = self.can_mark && !self.marked && !referring.is_empty();
        if mark {
            set_mark(file, sink, true)?;
        }
        if !referring.is_empty() {
            sink.sync()?;
        }
        // Step 2.
        for (cluster, content) in referring {
            if cluster == 0 && self.can_mark {
                let mut content = content.to_owned();
                content[MARK_AT] |= MARK;
                sink.write(cluster, &content)?;
            } else {
                sink.write(cluster, content)?;
            }
        }
        sink.sync()?;
        self.marked |= mark;
        Ok(())
    }

    /// Whether the refcounts in the file say that a cluster is in use.
    fn is_used_in_file(&self, file: &File, cluster: u64) -> io::Result<bool> {
        let index = cluster / self.cluster_size;
        let per_block = (self.cluster_size * 8) >> self.refcount_order;
        let reftable = &self.file_tables.reftable;
        let at = reftable.start.saturating_add(index / per_block * 8);
        if at >= reftable.end {
            return Ok(false);
        }
        let mut entry = [0; 8];
        read_zero_padded(file, &mut entry, at)?;
        let block = be64(&entry, 0) & tables::OFFSET_MASK;
        if block == 0 {
            return Ok(false);
        }
        let mut refcounts = vec![0; self.cluster_size as usize];
        read_zero_padded(file, &mut refcounts, block)?;
        Ok(tables::refcount_at(&refcounts, self.refcount_order, index % per_block) != 0)
    }

    /// The clusters of a kind that wait.
    fn of_kind(&self, wanted: Kind) -> impl Iterator<Item = (u64, &[u8])> {
        let clusters = self.dirty.iter().map(|(&cluster, content)| (cluster, &content[..]));
        clusters.filter(move |(cluster, _)| self.kind(*cluster) == wanted)
    }

    fn kind(&self, cluster: u64) -> Kind {
        let end = cluster + self.cluster_size;
        let is_in = |range: &Range<u64>| cluster < range.end && end > range.start;
        let (now, file) = (&self.tables, &self.file_tables);
        match () {
            () if cluster == 0 => Kind::Header,
            () if is_in(&now.l1) => {
                if now.l1 == file.l1 {
                    Kind::L1
                } else {
                    Kind::New
                }
            }
            () if is_in(&now.reftable) => {
                if now.reftable == file.reftable {
                    Kind::RefTable
                } else {
                    Kind::New
                }
            }
            () if now.refblocks.contains(&cluster) => {
                if file.refblocks.contains(&cluster) {
                    Kind::Refblock
                } else {
                    Kind::New
                }
            }
            () if self.file_l2.contains(&cluster) => Kind::L2,
            () => Kind::NewL2,
        }
    }

    fn cluster_of(&self, offset: u64) -> u64 {
        offset & !(self.cluster_size - 1)
    }

    /// Finds the tables that the header leads to.
    fn find_tables(&mut self, file: &File) -> io::Result<()> {
        let mut header = [0; 60];
        self.read(file, 0, &mut header)?;
        let range = |start: u64, len: u64| start..start.saturating_add(len);
        self.tables.l1 = range(be64(&header, 40), u64::from(be32(&header, 36)) * 8);
        let reftable =
            range(be64(&header, 48), u64::from(be32(&header, 56)).saturating_mul(self.cluster_size));
        if reftable != self.tables.reftable {
            let mut table =
                vec![0; usize::try_from(reftable.end - reftable.start).map_err(io::Error::other)?];
            self.read(file, reftable.start, &mut table)?;
            self.tables.refblocks = targets(&table).collect();
            self.tables.reftable = reftable;
        }
        Ok(())
    }

    fn find_file_l2(&mut self, file: &File) -> io::Result<()> {
        let l1 = &self.file_tables.l1;
        let mut table = vec![0; usize::try_from(l1.end - l1.start).map_err(io::Error::other)?];
        read_zero_padded(file, &mut table, l1.start)?;
        self.file_l2 = targets(&table).collect();
        Ok(())
    }
}

/// Sets or clears the mark in the header of a version 3 image.
pub(crate) fn set_mark(file: &File, sink: &dyn Sink, set: bool) -> io::Result<()> {
    let mut byte = [0];
    read_zero_padded(file, &mut byte, MARK_AT as u64)?;
    sink.write(MARK_AT as u64, &[if set { byte[0] | MARK } else { byte[0] & !MARK }])
}

/// What the entries of an L1 or refcount table lead to.
fn targets(table: &[u8]) -> impl Iterator<Item = u64> {
    table.chunks_exact(8).map(|entry| be64(entry, 0) & tables::OFFSET_MASK).filter(|&offset| offset != 0)
}
