//! Records, one behind the other, and a table to find them by.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::Damaged;
use super::record::Record;

/// What a set of records begins with: what this form is called.
const MAGIC: [u8; 8] = *b"ferry-1\n";
/// Entries of the table that are looked at for one record: a guest that makes many that look alike loses what is beyond.
const MOST_PROBES: usize = 64;
/// Entries of the smallest table.
const LEAST: usize = 64;

/// An entry of the table.
#[derive(Default)]
struct Slot {
    hash: u32,
    /// Where the record is, in units of 4 bytes; zero if there is none.
    at: u32,
    used: AtomicBool,
}

/// A set of records.
#[derive(Default)]
pub(super) struct Store {
    data: Vec<u8>,
    /// A power of two, at least twice as many as there are records.
    table: Vec<Slot>,
    count: usize,
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
        let mut found = Vec::new();
        let mut at = MAGIC.len();
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            let record = Record::read(rest)?;
            record.check()?;
            found.push((record.hash(), (at / 4) as u32));
            at += record.size();
        }
        let mut store = Self { data, table: Vec::new(), count: found.len() };
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

    /// What `make` makes of the record with this hash that fits.
    pub(super) fn find<T>(
        &self,
        hash: u32,
        fits: impl Fn(&Record<'_>) -> bool,
        make: &mut impl FnMut(Record<'_>) -> T,
    ) -> Option<T> {
        for slot in self.slots(hash).filter(|slot| slot.hash == hash) {
            let Some(record) = self.record(slot) else { continue };
            if fits(&record) {
                if !slot.used.load(Relaxed) {
                    slot.used.store(true, Relaxed);
                }
                return Some(make(record));
            }
        }
        None
    }

    /// Whether there is one that is made of the same.
    pub(super) fn contains(&self, other: &Record<'_>) -> bool {
        let hash = other.hash();
        self.find(hash, |record| record.is_like(other), &mut |_| ()).is_some()
    }

    /// Adds what `write` appends, unless it says that there is none.
    pub(super) fn push(&mut self, hash: u32, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
        if self.data.is_empty() {
            self.data.extend(MAGIC);
        }
        if self.table.len() < (self.count + 1) * 2 {
            self.grow();
        }
        let begin = self.data.len();
        match (u32::try_from(begin / 4), write(&mut self.data)) {
            (Ok(at), Some(())) if self.insert(hash, at) => self.count += 1,
            _ => self.data.truncate(begin),
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
                *slot = Slot { hash, at, used: AtomicBool::new(false) };
                return true;
            }
        }
        false
    }

    /// All of them, as they were added: about in the order in which a run wants them, so that they lie close to each other then.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut at = MAGIC.len();
        std::iter::from_fn(move || {
            let record = Record::read(self.data.get(at..)?).ok()?;
            at += record.size();
            Some(record)
        })
    }

    /// Those that can be found, and whether each has been.
    pub(super) fn records_and_use(&self) -> impl Iterator<Item = (Record<'_>, bool)> {
        let mut at = MAGIC.len();
        self.records().filter_map(move |record| {
            let is_its = |slot: &&Slot| 4 * slot.at as usize == at;
            let slot = self.slots(record.hash()).find(is_its);
            at += record.size();
            Some((record, slot?.used.load(Relaxed)))
        })
    }
}
