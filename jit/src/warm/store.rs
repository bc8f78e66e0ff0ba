//! Records, one behind the other, in groups, and a table to find them by.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::Damaged;
use super::record::Record;

/// What a set of records begins with: what this form is called.
const MAGIC: [u8; 8] = *b"ferry-2\n";
/// Entries of the table that are looked at for one record: a guest that makes many that look alike loses what is beyond.
const MOST_PROBES: usize = 64;
/// Entries of the smallest table.
const LEAST: usize = 64;

/// An entry of the table.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u32,
    /// Where the record is, in units of 4 bytes; zero if there is none.
    at: u32,
}

/// A set of records.
#[derive(Default)]
pub(super) struct Store {
    data: Vec<u8>,
    /// A power of two, at least twice as many as there are records.
    table: Vec<Slot>,
    count: usize,
    groups: Vec<Group>,
}

/// The records of one page.
struct Group {
    /// Where they begin, in units of 4 bytes.
    begin: u32,
    /// Some have been found.
    used: AtomicBool,
}

impl Store {
    /// The beginning of a set for which there will be `room` bytes.
    pub(super) fn begin(room: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(room + MAGIC.len());
        data.extend(MAGIC);
        data
    }

    /// The set in `data`, as [`Store::begin`] begins it, with records behind.
    pub(super) fn load(data: Vec<u8>) -> Result<Self, Damaged> {
        if !data.starts_with(&MAGIC) || u32::try_from(data.len()).is_err() {
            return Err(Damaged);
        }
        let (mut found, mut groups) = (Vec::new(), Vec::new());
        let mut at = MAGIC.len();
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            let record = Record::read(rest)?;
            record.check()?;
            found.push((record.hash(), (at / 4) as u32));
            if record.is_first() {
                groups.push(Group { begin: (at / 4) as u32, used: AtomicBool::new(false) });
            }
            at += record.size();
        }
        let mut store = Self { data, table: Vec::new(), count: found.len(), groups };
        store.table.resize_with((found.len() * 2).next_power_of_two().max(LEAST), Slot::default);
        for (hash, at) in found {
            store.insert(hash, at);
        }
        Ok(store)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    fn record(&self, slot: &Slot) -> Option<Record<'_>> {
        if slot.at == 0 {
            return None;
        }
        Record::read(self.data.get(4 * slot.at as usize..)?).ok()
    }

    /// The entries where a record with this hash can be.
    fn slots(&self, hash: u32) -> impl Iterator<Item = &Slot> {
        let mask = self.table.len().wrapping_sub(1);
        let probes = MOST_PROBES.min(self.table.len());
        (0..probes).map(move |n| &self.table[(hash as usize + n) & mask]).take_while(|slot| slot.at != 0)
    }

    /// The record with this hash that fits, and the number of its group.
    pub(super) fn find(
        &self,
        hash: u32,
        fits: impl Fn(&Record<'_>) -> bool,
    ) -> Option<(Record<'_>, Option<usize>)> {
        let slot = self.slots(hash).filter(|slot| slot.hash == hash);
        let (record, at) =
            slot.filter_map(|slot| Some((self.record(slot)?, slot.at))).find(|(record, _)| fits(record))?;
        let group = self.groups.partition_point(|group| group.begin <= at).checked_sub(1);
        if let Some(group) = group {
            let used = &self.groups[group].used;
            if !used.load(Relaxed) {
                used.store(true, Relaxed);
            }
        }
        Some((record, group))
    }

    /// Whether there is one that is made of the same.
    pub(super) fn contains(&self, other: &Record<'_>) -> bool {
        let hash = other.hash();
        let slots = self.slots(hash).filter(|slot| slot.hash == hash);
        slots.filter_map(|slot| self.record(slot)).any(|record| record.is_like(other))
    }

    /// Where the records of a group are.
    fn range(&self, number: usize) -> Range<usize> {
        let end = self.data.len();
        let begin = |number| self.groups.get(number).map_or(end, |group: &Group| 4 * group.begin as usize);
        begin(number)..begin(number + 1)
    }

    /// The records of a group.
    pub(super) fn group(&self, number: usize) -> impl Iterator<Item = Record<'_>> {
        self.records_in(self.range(number)).map(|(_, record)| record)
    }

    /// The groups: those records of each that can be found, and whether any has been.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Vec<Record<'_>>, bool)> {
        self.groups.iter().enumerate().map(|(number, group)| {
            let records = self.records_in(self.range(number));
            let is_found = |at: usize, record: &Record<'_>| {
                self.slots(record.hash()).any(|slot| 4 * slot.at as usize == at)
            };
            let found = records.filter(|(at, record)| is_found(*at, record)).map(|(_, record)| record);
            (found.collect(), group.used.load(Relaxed))
        })
    }

    /// Adds what `write` appends; false if it says that there is none, or there are too many like it.
    pub(super) fn push(&mut self, hash: u32, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> bool {
        if self.data.is_empty() {
            self.data.extend(MAGIC);
        }
        if self.table.len() < (self.count + 1) * 2 {
            self.grow();
        }
        let begin = self.data.len();
        match (u32::try_from(begin / 4), write(&mut self.data)) {
            (Ok(at), Some(())) if self.insert(hash, at) => {
                self.count += 1;
                true
            }
            _ => {
                self.data.truncate(begin);
                false
            }
        }
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 2).max(LEAST);
        let old = std::mem::take(&mut self.table);
        self.table.resize_with(size, Slot::default);
        for slot in old.into_iter().filter(|slot| slot.at != 0) {
            self.insert(slot.hash, slot.at);
        }
    }

    /// Enters a record; false if there are too many like it.
    fn insert(&mut self, hash: u32, at: u32) -> bool {
        let mask = self.table.len() - 1;
        for n in 0..MOST_PROBES.min(self.table.len()) {
            let slot = &mut self.table[(hash as usize + n) & mask];
            if slot.at == 0 {
                *slot = Slot { hash, at };
                return true;
            }
        }
        false
    }

    /// All records, as they were added.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records_in(MAGIC.len()..self.data.len()).map(|(_, record)| record)
    }

    /// The records in a part of the set, and where each begins.
    fn records_in(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Record<'_>)> {
        let Range { start: mut at, end } = range;
        std::iter::from_fn(move || {
            let begin = at;
            let record = Record::read(self.data.get(begin..end)?).ok()?;
            at += record.size();
            Some((begin, record))
        })
    }
}
