//! A read-only check of a QCOW2 image's structure.
//!
//! Every cluster that the header, the tables, the internal snapshots and the bitmaps refer to is counted,
//! and the counts are compared with the refcounts in the image: a refcount that is too low is an *error*
//! (the cluster could be given away while it is in use), one that is too high is a *leak* (it costs space
//! only). Entries that point outside the file, break alignment or carry a wrong "copied" flag are errors.
//!
//! Each table is read once, however often an image refers to it, and holes in the file are skipped, so the
//! time is bounded by what the file really holds.

use super::header::{AUTOCLEAR_BITMAPS, Header, incompatible};
use super::tables::{COPIED, OFFSET_MASK, read_table, refcount_at};
use super::{be32, be64};
use crate::error::{ErrorKind, Fault};
use crate::file::{next_data, read_some};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::rc::Rc;

/// Most problems that are described in words; all are counted.
const MAX_PROBLEMS: usize = 50;
/// Most L1 tables that are read, and longest table or directory of its kind, in bytes. QEMU's limits, but
/// for the first, for which it has none.
const MAX_L1_TOTAL: u64 = 1 << 30;
const MAX_L1: u64 = 32 << 20;
const MAX_BITMAP_DIRECTORY: u64 = 64 << 20;
const MAX_BITMAP_TABLE: u64 = 64 << 20;
/// Most memory for counting references, in pages of [`PAGE`] counts.
const MAX_PAGES: usize = 1 << 16;
const PAGE: usize = 4096;
/// Refcount blocks that are kept in memory.
const CACHED_REFBLOCKS: usize = 64;

const L2_COMPRESSED: u64 = 1 << 62;
const L2_ZERO: u64 = 1;
/// Bits 1 to 8 and 56 to 61 of a standard L2 entry.
const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Contradictions that can lose or already have lost data.
    pub errors: u64,
    /// Clusters that take space and are not in use.
    pub leaks: u64,
    /// Clusters of the guest's disk that have data of their own in the image.
    pub allocated_clusters: u64,
    /// How many of them are compressed.
    pub compressed_clusters: u64,
    /// Clusters of the guest's disk.
    pub total_clusters: u64,
    /// The image was not closed cleanly. Its refcounts are put right when it is opened for writing.
    pub dirty: bool,
    /// The first problems in words.
    pub problems: Vec<String>,
}

impl CheckReport {
    /// Whether there is neither error nor leak.
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.leaks == 0
    }

    fn error(&mut self, problem: impl FnOnce() -> String) {
        self.errors += 1;
        self.describe("error", problem);
    }

    fn leak(&mut self, problem: impl FnOnce() -> String) {
        self.leaks += 1;
        self.describe("leak", problem);
    }

    fn describe(&mut self, kind: &str, problem: impl FnOnce() -> String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("{kind}: {}", problem()));
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let more = (self.errors + self.leaks).saturating_sub(self.problems.len() as u64);
        if more > 0 {
            writeln!(f, "and {more} more")?;
        }
        if self.is_clean() {
            writeln!(f, "no errors were found")?;
        } else {
            writeln!(f, "{} errors, {} leaked clusters", self.errors, self.leaks)?;
            writeln!(f, "repair with `qemu-img check -r all` (errors) or `-r leaks`, on a copy if in doubt")?;
        }
        if self.dirty {
            writeln!(
                f,
                "the image was not closed cleanly; the next opening for writing puts refcounts right"
            )?;
        }
        write!(
            f,
            "{} of {} clusters allocated, {} of them compressed",
            self.allocated_clusters, self.total_clusters, self.compressed_clusters
        )
    }
}

/// Checks the image in `file`, which has `len` bytes.
pub(crate) fn check(file: &File, len: u64) -> Result<CheckReport, Fault> {
    let mut header = Header::read(file)?;
    let corrupt = header.incompatible & incompatible::CORRUPT != 0;
    header.incompatible &= !incompatible::CORRUPT;
    let mut checker = Checker::new(file, len, header)?;
    if corrupt {
        checker.report.error(|| "the image is marked as corrupt".into());
    }
    checker.count()?;
    checker.compare()?;
    checker.check_flags()?;
    Ok(checker.report)
}

/// References to each cluster, in pages that are made when they are needed.
#[derive(Default)]
pub(super) struct Counts {
    pages: BTreeMap<u64, Box<[u32]>>,
}

impl Counts {
    pub(super) fn add(&mut self, cluster: u64, count: u32) -> Result<(), Fault> {
        let room = self.pages.len() < MAX_PAGES;
        let page = self.pages.entry(cluster / PAGE as u64);
        if !room && matches!(page, std::collections::btree_map::Entry::Vacant(_)) {
            return Err(ErrorKind::Invalid("the image is too large to be checked".into()).into());
        }
        let page = page.or_insert_with(|| vec![0; PAGE].into());
        let slot = &mut page[(cluster % PAGE as u64) as usize];
        *slot = slot.saturating_add(count);
        Ok(())
    }

    pub(super) fn get(&self, cluster: u64) -> u64 {
        let page = self.pages.get(&(cluster / PAGE as u64));
        page.map_or(0, |page| page[(cluster % PAGE as u64) as usize].into())
    }

    /// All clusters with references, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.range(0..u64::MAX)
    }

    /// The clusters of a range that have references, in order.
    pub(super) fn range(&self, clusters: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
        let pages = clusters.start / PAGE as u64..=clusters.end / PAGE as u64;
        let counts = self.pages.range(pages).flat_map(|(page, counts)| {
            let first = page * PAGE as u64;
            (first..).zip(counts.iter().map(|&count| count.into()))
        });
        counts.filter(move |(cluster, count)| *count > 0 && clusters.contains(cluster))
    }
}

/// How the L1 tables of an image refer to one L2 table.
#[derive(Clone, Copy, Default)]
struct L2Use {
    references: u32,
    /// The image's own L1 table does, not only those of snapshots.
    active: bool,
}

/// A check in progress.
pub(super) struct Checker<'a> {
    file: &'a File,
    /// Length of the file in bytes, and in clusters.
    len: u64,
    pub(super) clusters: u64,
    pub(super) header: Header,
    pub(super) reftable: Vec<u64>,
    pub(super) report: CheckReport,
    /// References to each cluster.
    pub(super) expected: Counts,
    /// The L2 tables that are in the file, by their offset.
    l2_tables: BTreeMap<u64, L2Use>,
    /// Refcount blocks that were needed lately, by their number; `None` is one that is all zero.
    refblocks: HashMap<u64, Option<Rc<[u8]>>>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(file: &'a File, len: u64, header: Header) -> Result<Self, Fault> {
        header.check_features()?;
        header.check_layout(len)?;
        let report = CheckReport {
            total_clusters: header.size.div_ceil(header.cluster_size()),
            dirty: header.incompatible & incompatible::DIRTY != 0,
            ..CheckReport::default()
        };
        Ok(Checker {
            file,
            len,
            clusters: len.div_ceil(header.cluster_size()),
            reftable: read_table(file, header.reftable_offset, header.reftable_bytes() / 8)?,
            header,
            report,
            expected: Counts::default(),
            l2_tables: BTreeMap::new(),
            refblocks: HashMap::new(),
        })
    }

    /// Counts all references.
    pub(super) fn count(&mut self) -> Result<(), Fault> {
        self.refer("header", 0, 1, 1)?;
        self.refer("refcount table", self.header.reftable_offset, self.header.reftable_bytes(), 1)?;
        for entry in self.reftable.clone() {
            let offset = entry & OFFSET_MASK;
            if entry & !OFFSET_MASK != 0 {
                self.report.error(|| format!("the refcount table entry {entry:#x} has reserved bits"));
            }
            if offset != 0 {
                self.refer("refcount block", offset, self.header.cluster_size(), 1)?;
            }
        }
        self.l1_tables()?;
        let l2_tables: Vec<_> = self.l2_tables.iter().map(|(&offset, usage)| (offset, *usage)).collect();
        for (offset, usage) in l2_tables {
            self.l2_table(offset, usage)?;
        }
        self.bitmaps()
    }

    /// Counts `count` references to a range that has to start at a cluster. Says whether it is in the file.
    fn refer(&mut self, what: &str, offset: u64, len: u64, count: u32) -> Result<bool, Fault> {
        if !offset.is_multiple_of(self.header.cluster_size()) {
            self.report.error(|| format!("the {what} at {offset:#x} does not start at a cluster"));
            return Ok(false);
        }
        self.refer_bytes(what, offset, len, count)
    }

    /// Counts references to the clusters that hold a range of bytes.
    fn refer_bytes(&mut self, what: &str, offset: u64, len: u64, count: u32) -> Result<bool, Fault> {
        let bits = self.header.cluster_bits;
        let first = offset >> bits;
        let end = offset.saturating_add(len.max(1) - 1) >> bits;
        if end >= self.clusters {
            self.report.error(|| format!("the {what} at {offset:#x} is beyond the end of the file"));
            return Ok(false);
        }
        for cluster in first..=end {
            self.expected.add(cluster, count)?;
        }
        Ok(true)
    }

    /// Reads all L1 tables, of the image and of its snapshots.
    fn l1_tables(&mut self) -> Result<(), Fault> {
        let snapshots = self.snapshots()?;
        let mut total = 0u64;
        let active = std::iter::once((self.header.l1_offset, self.header.l1_size, true));
        for (offset, entries, active) in active.chain(snapshots.into_iter().map(|(at, n)| (at, n, false))) {
            let bytes = u64::from(entries) * 8;
            if bytes > MAX_L1 {
                self.report.error(|| format!("the L1 table at {offset:#x} has {entries} entries"));
                continue;
            }
            total += bytes;
            if total > MAX_L1_TOTAL {
                return Err(
                    ErrorKind::Invalid("the image has too many snapshots to be checked".into()).into()
                );
            }
            if bytes == 0 || !self.refer("L1 table", offset, bytes, 1)? {
                continue;
            }
            for entry in read_table(self.file, offset, entries.into())? {
                let l2 = entry & OFFSET_MASK;
                if entry & !(OFFSET_MASK | COPIED) != 0 {
                    self.report.error(|| format!("the L1 entry {entry:#x} has reserved bits"));
                }
                if l2 == 0 || !self.refer("L2 table", l2, self.header.cluster_size(), 1)? {
                    continue;
                }
                let usage = self.l2_tables.entry(l2).or_default();
                usage.references = usage.references.saturating_add(1);
                if active {
                    usage.active = true;
                }
            }
        }
        Ok(())
    }

    /// Reads the table of internal snapshots: offset and entries of each one's L1 table.
    fn snapshots(&mut self) -> Result<Vec<(u64, u32)>, Fault> {
        let mut list = Vec::new();
        let start = self.header.snapshots_offset;
        let mut at = start;
        for n in 0..self.header.snapshots {
            let mut fixed = [0; 40];
            if read_some(self.file, &mut fixed, at)? < fixed.len() {
                self.report.error(|| format!("the file ends within snapshot {n}"));
                break;
            }
            list.push((be64(&fixed, 0), be32(&fixed, 8)));
            let id_and_name = u64::from(be32(&fixed, 12) >> 16) + u64::from(be32(&fixed, 12) & 0xffff);
            let len = fixed.len() as u64 + u64::from(be32(&fixed, 36)) + id_and_name;
            at = at.saturating_add(len.next_multiple_of(8));
        }
        if at > start {
            self.refer("snapshot table", start, at - start, 1)?;
        }
        Ok(list)
    }

    /// Whether a range of the file has nothing but zeroes because the host keeps nothing there.
    pub(super) fn is_hole(&self, offset: u64, len: u64) -> Result<bool, Fault> {
        let data = next_data(self.file, offset, self.len)?;
        Ok(data.is_none_or(|data| data.start >= offset.saturating_add(len)))
    }

    /// Counts what an L2 table refers to.
    fn l2_table(&mut self, offset: u64, usage: L2Use) -> Result<(), Fault> {
        if self.is_hole(offset, self.header.cluster_size())? {
            return Ok(());
        }
        for entry in read_table(self.file, offset, self.header.l2_entries())? {
            if entry & L2_COMPRESSED != 0 {
                self.compressed(entry, usage)?;
                continue;
            }
            let data = entry & OFFSET_MASK;
            let zero = self.header.version >= 3 && entry & L2_ZERO != 0;
            let reserved = if zero { L2_RESERVED } else { L2_RESERVED | L2_ZERO };
            if entry & reserved != 0 {
                self.report.error(|| format!("the L2 entry {entry:#x} has reserved bits"));
            }
            if data != 0 {
                self.report.allocated_clusters += u64::from(usage.active && !zero);
                self.refer("data cluster", data, self.header.cluster_size(), usage.references)?;
            }
        }
        Ok(())
    }

    fn compressed(&mut self, entry: u64, usage: L2Use) -> Result<(), Fault> {
        // The entry is split between offset and number of further 512-byte sectors by the cluster size.
        let shift = 62 - (self.header.cluster_bits - 8);
        let offset = entry & ((1 << shift) - 1);
        let sectors = ((entry & (L2_COMPRESSED - 1)) >> shift) + 1;
        self.report.allocated_clusters += u64::from(usage.active);
        self.report.compressed_clusters += u64::from(usage.active);
        if entry & COPIED != 0 {
            self.report.error(|| format!("the compressed L2 entry {entry:#x} has the copied flag"));
        }
        // The last sector may reach beyond the end of the file.
        let len = (sectors * 512 - offset % 512).min(self.len.saturating_sub(offset));
        self.refer_bytes("compressed cluster", offset, len, usage.references)?;
        Ok(())
    }

    /// The tables whose entries say whether a cluster has one reference only and can be written to in place:
    /// a name for their entries, their offset and how many they are.
    pub(super) fn flagged_tables(&self) -> Vec<(&'static str, u64, u64)> {
        let l2 = self.l2_tables.iter().filter(|(_, usage)| usage.active);
        let l2 = l2.map(|(&offset, _)| ("L2 entry", offset, self.header.l2_entries()));
        std::iter::once(("L1 entry", self.header.l1_offset, self.header.l1_size.into())).chain(l2).collect()
    }

    /// The cluster that such an entry leads to, if it leads to one.
    pub(super) fn flagged_cluster(&self, entry: u64) -> Option<u64> {
        let offset = entry & OFFSET_MASK;
        let usable = entry & L2_COMPRESSED == 0 && offset != 0;
        let cluster = offset >> self.header.cluster_bits;
        (usable && offset.is_multiple_of(self.header.cluster_size()) && cluster < self.clusters)
            .then_some(cluster)
    }

    fn check_flags(&mut self) -> Result<(), Fault> {
        for (what, offset, entries) in self.flagged_tables() {
            if self.is_hole(offset, entries * 8)? {
                continue;
            }
            for entry in read_table(self.file, offset, entries)? {
                let Some(cluster) = self.flagged_cluster(entry) else { continue };
                let refcount = self.refcount(cluster)?;
                if (entry & COPIED != 0) != (refcount == 1) {
                    let problem =
                        || format!("the copied flag of {what} {entry:#x} contradicts refcount {refcount}");
                    self.report.error(problem);
                }
            }
        }
        Ok(())
    }

    /// Counts the clusters of persistent bitmaps.
    fn bitmaps(&mut self) -> Result<(), Fault> {
        // Without the autoclear bit they are outdated, but still there.
        let Some(bitmaps) = self.header.bitmaps else {
            if self.header.autoclear & AUTOCLEAR_BITMAPS != 0 {
                self.report.error(|| "the bitmaps are said to be valid, but there are none".into());
            }
            return Ok(());
        };
        let place = (bitmaps.directory_offset, bitmaps.directory_size);
        if place.1 > MAX_BITMAP_DIRECTORY {
            self.report.error(|| format!("the bitmap directory has {} bytes", place.1));
            return Ok(());
        }
        if place.1 == 0 || !self.refer("bitmap directory", place.0, place.1, 1)? {
            return Ok(());
        }
        let end = place.0 + place.1;
        let mut at = place.0;
        for _ in 0..bitmaps.count {
            let mut fixed = [0; 24];
            if at.saturating_add(24) > end || read_some(self.file, &mut fixed, at)? < fixed.len() {
                self.report.error(|| "the bitmap directory is too short".into());
                break;
            }
            let (table, entries) = (be64(&fixed, 0), be32(&fixed, 8));
            let len = 24 + u64::from(be32(&fixed, 20)) + u64::from(be32(&fixed, 16) & 0xffff);
            at = at.saturating_add(len.next_multiple_of(8));
            let bytes = u64::from(entries) * 8;
            if bytes > MAX_BITMAP_TABLE {
                self.report.error(|| format!("the bitmap table at {table:#x} has {entries} entries"));
                continue;
            }
            if entries == 0 || !self.refer("bitmap table", table, bytes, 1)? {
                continue;
            }
            for entry in read_table(self.file, table, entries.into())? {
                let offset = entry & OFFSET_MASK;
                if offset != 0 {
                    self.refer("bitmap data", offset, self.header.cluster_size(), 1)?;
                }
            }
        }
        Ok(())
    }

    /// The refcount that the image has for a cluster.
    fn refcount(&mut self, cluster: u64) -> Result<u64, Fault> {
        let entries = self.header.refblock_entries();
        let block = self.refblock(cluster / entries)?;
        Ok(block.map_or(0, |bytes| refcount_at(&bytes, self.header.refcount_order, cluster % entries)))
    }

    /// The refcount block with this number, unless it is missing or all zero.
    fn refblock(&mut self, number: u64) -> Result<Option<Rc<[u8]>>, Fault> {
        if let Some(block) = self.refblocks.get(&number) {
            return Ok(block.clone());
        }
        let cluster_size = self.header.cluster_size();
        let entry = usize::try_from(number).ok().and_then(|number| self.reftable.get(number));
        let offset = entry.map_or(0, |entry| entry & OFFSET_MASK);
        let mut block = None;
        if offset != 0 && offset.is_multiple_of(cluster_size) && !self.is_hole(offset, cluster_size)? {
            let mut bytes = vec![0; cluster_size as usize];
            read_some(self.file, &mut bytes, offset)?;
            block = Some(bytes.into());
        }
        if self.refblocks.len() >= CACHED_REFBLOCKS {
            self.refblocks.clear();
        }
        self.refblocks.insert(number, block.clone());
        Ok(block)
    }

    /// Compares all refcounts with the references that were found.
    fn compare(&mut self) -> Result<(), Fault> {
        let entries = self.header.refblock_entries();
        let mut compared = HashSet::new();
        for number in 0..self.reftable.len() as u64 {
            let offset = self.reftable[number as usize] & OFFSET_MASK;
            // A block that is used twice has been counted as such.
            if offset == 0 || !compared.insert(offset) {
                continue;
            }
            let Some(block) = self.refblock(number)? else { continue };
            for n in 0..entries {
                let refcount = refcount_at(&block, self.header.refcount_order, n);
                let cluster = number.saturating_mul(entries).saturating_add(n);
                // References without a refcount are found below.
                let expected = if refcount == 0 { 0 } else { self.expected.get(cluster) };
                if refcount > expected {
                    let what = || format!("cluster {cluster} has refcount {refcount}, {expected} references");
                    self.report.leak(what);
                }
            }
        }
        let references = std::mem::take(&mut self.expected);
        for (cluster, expected) in references.iter() {
            let refcount = self.refcount(cluster)?;
            if refcount < expected {
                let what = || format!("cluster {cluster} has refcount {refcount}, {expected} references");
                self.report.error(what);
            }
        }
        Ok(())
    }
}
