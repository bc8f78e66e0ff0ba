//! Putting refcounts right after a crash.
//!
//! An image that was not closed cleanly may have refcounts that do not agree with what refers to its clusters
//! (see [`crate::metadata`]); the tables themselves are in order. So before such an image is written to, all
//! references are counted and the refcounts set to that. Anything else that is wrong with the image is left
//! alone, and the image refused.

use super::check::Checker;
use super::header::Header;
use super::tables::{COPIED, OFFSET_MASK, read_table, set_refcount};
use crate::error::Fault;
use crate::file::read_zero_padded;
use crate::metadata::{Sink, set_mark};
use std::collections::BTreeSet;
use std::fs::File;

/// Puts all refcounts and copied flags of an image right, and takes the mark for dirty images from it.
/// `len` is the length of the file in bytes. Says whether anything was wrong.
///
/// Interrupted at any time, it can be done again.
pub(crate) fn repair(file: &File, len: u64, header: &Header) -> Result<bool, Fault> {
    let mut checker = Checker::new(file, len, header.clone())?;
    checker.count()?;
    if let Some(problem) = checker.report.problems.first() {
        return Err(Fault::corrupt(format!(
            "it was not closed cleanly, and more than refcounts is wrong: {problem}"
        )));
    }
    let mut changed = add_refblocks(&mut checker)?;
    for (number, entry) in checker.reftable.iter().enumerate() {
        if entry & OFFSET_MASK != 0 {
            changed |= write_refblock(file, &checker, number as u64, entry & OFFSET_MASK)?;
        }
    }
    file.sync()?;
    // Entries for new blocks.
    let reftable = read_table(file, header.reftable_offset, checker.reftable.len() as u64)?;
    write_changes(file, header.reftable_offset, &reftable, &checker.reftable)?;
    file.sync()?;
    for (_, offset, entries) in checker.flagged_tables() {
        if checker.is_hole(offset, entries * 8)? {
            continue;
        }
        let table = read_table(file, offset, entries)?;
        let flagged: Vec<_> = table
            .iter()
            .map(|&entry| match checker.flagged_cluster(entry).map(|cluster| checker.expected.get(cluster)) {
                None => entry,
                Some(1) => entry | COPIED,
                Some(_) => entry & !COPIED,
            })
            .collect();
        changed |= write_changes(file, offset, &table, &flagged)?;
    }
    file.sync()?;
    if header.version >= 3 {
        set_mark(file, file, false)?;
        file.sync()?;
    }
    Ok(changed)
}

/// Enters blocks into the refcount table (in memory) for clusters that have none, at the end of the file.
fn add_refblocks(checker: &mut Checker<'_>) -> Result<bool, Fault> {
    let entries = checker.header.refblock_entries();
    let mut missing: BTreeSet<_> = checker.expected.iter().map(|(cluster, _)| cluster / entries).collect();
    let mut next = checker.clusters;
    let mut changed = false;
    while let Some(number) = missing.pop_first() {
        let entry = usize::try_from(number).ok().and_then(|number| checker.reftable.get_mut(number));
        let entry = entry.ok_or_else(|| Fault::corrupt("its refcount table is too short"))?;
        if *entry & OFFSET_MASK == 0 {
            *entry = next << checker.header.cluster_bits;
            checker.expected.add(next, 1)?;
            missing.insert(next / entries);
            next += 1;
            changed = true;
        }
    }
    Ok(changed)
}

/// Writes a block as it should be, if it is not.
fn write_refblock(file: &File, checker: &Checker<'_>, number: u64, offset: u64) -> Result<bool, Fault> {
    let mut old = vec![0; checker.header.cluster_size() as usize];
    read_zero_padded(file, &mut old, offset)?;
    let mut new = vec![0; old.len()];
    let entries = checker.header.refblock_entries();
    let first = number * entries;
    for (cluster, count) in checker.expected.range(first..first + entries) {
        if !set_refcount(&mut new, checker.header.refcount_order, cluster - first, count) {
            return Err(Fault::corrupt(format!(
                "cluster {cluster} has more references than fit its refcount"
            )));
        }
    }
    if new != old {
        file.write(offset, &new)?;
    }
    Ok(new != old)
}

/// Writes the entries of a table that have changed.
fn write_changes(file: &File, offset: u64, old: &[u64], new: &[u64]) -> Result<bool, Fault> {
    let mut changed = false;
    for (at, (old, new)) in (offset..).step_by(8).zip(old.iter().zip(new)) {
        if old != new {
            file.write(at, &new.to_be_bytes())?;
            changed = true;
        }
    }
    Ok(changed)
}
