//! Translations that outlive the machine: what an earlier run has compiled is found again, and not compiled again.
//!
//! A translation is found by what it was made of: all that the lifter has read ([`emu_core::exec::CodeRead`]) is compared with
//! what lies in memory now, in the same context at the same place of a page. Whatever else it depends on (this program, how
//! the guest's CPU is configured, what the host can do) is the same for a whole set of translations; who keeps them sees to
//! that, with [`JitShared::fingerprint`](crate::JitShared::fingerprint). What is kept does not depend on where it lies
//! ([`record`]).
//!
//! A set comes from a file. Nothing in it is believed: it is gone through before it is used, and what does not fit is refused
//! as a whole.

mod record;
mod regions;
mod store;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use emu_core::exec::{CodePage, CodeRead};
use emu_core::ir::BlockKey;
use emu_core::mem::PAGE_SIZE;
use parking_lot::Mutex;

use self::record::Draft;
pub(crate) use self::record::Record;
use self::regions::Regions;
pub(crate) use self::regions::identity;
use self::store::Store;
use crate::region::place::Compiled;
use crate::stats::Counters;
use crate::template::Code;

/// Bytes that one set of translations may have.
const MOST_BYTES: usize = 64 << 20;
/// What is new is worth keeping if it is this part of the rest.
const WORTH: usize = 32;

/// What is kept does not have the form that it must have.
#[derive(Debug, thiserror::Error)]
#[error("the kept translations are damaged")]
pub struct Damaged;

/// The translations that one machine has found, and those that it has made itself.
#[derive(Default)]
pub(crate) struct Warm {
    loaded: OnceLock<Store>,
    made: Mutex<Made>,
    regions: Mutex<Regions>,
}

/// Those that have been made in this run.
#[derive(Default)]
struct Made {
    store: Store,
    /// The page of each, by RAM offset.
    pages: Vec<usize>,
    /// The groups of the loaded ones whose records were found in a page.
    homes: HashMap<usize, usize>,
}

/// What has been found: what was made of it, and the others of its page.
pub(crate) struct Finding<'a, T> {
    pub made: T,
    pub page: Option<PageRecords<'a>>,
}

/// The records of a page.
#[derive(Clone, Copy)]
pub(crate) struct PageRecords<'a> {
    store: &'a Store,
    group: usize,
}

impl<'a> PageRecords<'a> {
    pub(crate) fn records(self) -> impl Iterator<Item = Record<'a>> {
        self.store.group(self.group)
    }
}

/// What identifies a block among those of all pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub ctx: u32,
    /// In bytes, from the start of the page.
    pub offset: u16,
}

impl Place {
    pub(crate) fn of(key: BlockKey) -> Self {
        Self { ctx: key.ctx, offset: (key.pa & (PAGE_SIZE - 1)) as u16 }
    }

    /// A number for the store's table; `first` is what the code begins with.
    fn hash(self, first: &[u16]) -> u32 {
        let start = u64::from(self.ctx) << 16 | u64::from(self.offset);
        let mix = |mixed: u64, half: u64| (mixed.rotate_left(23) ^ half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = first.iter().fold(mix(first.len() as u64, start), |mixed, &half| mix(mixed, half.into()));
        ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
    }
}

/// Of how many half words at the start of code its number in the table is made: the largest that it has. Functions begin alike.
const FIRST: [usize; 4] = [8, 4, 2, 1];

/// The half words that code at `at` begins with, and how many of them count.
fn first(at: usize, half: impl Fn(usize) -> Option<u16>) -> ([u16; FIRST[0]], usize) {
    let mut first = [0; FIRST[0]];
    let mut known = 0;
    for (to, half) in first.iter_mut().zip((at..).step_by(2).map_while(half)) {
        *to = half;
        known += 1;
    }
    (first, FIRST.into_iter().find(|&len| len <= known).unwrap_or(0))
}

impl Warm {
    /// What `make` makes of the translation of the block with this key, which lies in `page`, if there is one.
    pub(crate) fn find<T>(
        &self,
        key: BlockKey,
        page: &CodePage<'_>,
        make: impl FnOnce(Record<'_>) -> T,
    ) -> Option<Finding<'_, T>> {
        let place = Place::of(key);
        let at = usize::from(place.offset);
        if at % 2 != 0 {
            return None;
        }
        let (first, len) = first(at, |at| page.half(at));
        let fits = |record: &Record<'_>| record.is_of(place, page);
        // Of some code no more than a part of that has been read.
        for hash in FIRST.into_iter().filter(|&n| n <= len).map(|n| place.hash(&first[..n])) {
            if let Some(store) = self.loaded.get()
                && let Some((record, group)) = store.find(hash, fits)
            {
                let page = group.map(|group| PageRecords { store, group });
                return Some(Finding { made: make(record), page });
            }
            if let Some((record, _)) = self.made.lock().store.find(hash, fits) {
                return Some(Finding { made: make(record), page: None });
            }
        }
        None
    }

    /// Keeps `code`, which has been made at `start` in the code memory of what has been read.
    pub(crate) fn keep(
        &self,
        key: BlockKey,
        read: &CodeRead,
        instructions: usize,
        code: &Code,
        start: usize,
    ) {
        let place = Place::of(key);
        let at = usize::from(place.offset);
        let Some(runs) = read.runs() else { return };
        let (first, len) = first(at, |at| read.half(at));
        if at % 2 != 0 || len == 0 {
            return;
        }
        let draft = Draft { place, runs: &runs, instructions, code, start };
        let Made { store, pages, .. } = &mut *self.made.lock();
        if store.len() < MOST_BYTES && store.push(place.hash(&first[..len]), |to| draft.write(to)) {
            pages.push(key.pa as usize - at);
        }
    }

    /// Notes that these records belong to the page at this RAM offset: what is made of it from now on joins them.
    pub(crate) fn settle(&self, page: usize, records: PageRecords<'_>) {
        self.made.lock().homes.insert(page, records.group);
    }

    /// The region of this [`identity`], if there is one.
    pub(crate) fn find_region(&self, identity: &[u8]) -> Option<Compiled> {
        self.regions.lock().find(identity)
    }

    /// Keeps a region.
    pub(crate) fn keep_region(&self, identity: Vec<u8>, region: &Compiled) {
        self.regions.lock().keep(identity, region);
    }

    /// Takes over what an earlier run has kept; how many translations that are. Only the first time has an effect.
    pub(crate) fn load(&self, mut saved: Vec<u8>, counters: &Counters) -> Result<usize, Damaged> {
        let bytes = saved.len() as u64;
        let blocks = *saved.last_chunk().ok_or(Damaged)?;
        let blocks = usize::try_from(u64::from_le_bytes(blocks)).map_err(|_| Damaged)?;
        saved.truncate(saved.len() - size_of::<u64>());
        let regions = saved.get(blocks..).ok_or(Damaged)?;
        let mut loaded = Regions::default();
        loaded.load(regions)?;
        saved.truncate(blocks);
        let store = Store::load(saved)?;
        let count = store.count();
        let regions = std::mem::replace(&mut *self.regions.lock(), loaded);
        self.regions.lock().merge(regions);
        counters.kept_loaded.fetch_add(count as u64, Relaxed);
        counters.kept_bytes.fetch_add(bytes, Relaxed);
        let _ = self.loaded.set(store);
        Ok(count)
    }

    /// What the next run should find; none if that is hardly more than this one has. If there is too much, the pages go that
    /// this one had no use for.
    pub(crate) fn save(&self, counters: &Counters) -> Option<Vec<u8>> {
        let Made { store, pages, homes } = &*self.made.lock();
        let nothing = Store::default();
        let loaded = self.loaded.get().unwrap_or(&nothing);
        let new: Vec<_> = store.records().zip(pages).filter(|(record, _)| !loaded.contains(record)).collect();
        let bytes: usize = new.iter().map(|(record, _)| record.size()).sum();
        let regions = self.regions.lock();
        let new_bytes = bytes + regions.new_bytes();
        if new_bytes == 0 || new_bytes * WORTH < loaded.len() {
            return None;
        }
        let (mut groups, used): (Vec<_>, Vec<_>) = loaded.groups().unzip();
        let known = groups.len();
        let mut homes = homes.clone();
        for (record, page) in new {
            let home = *homes.entry(*page).or_insert(groups.len());
            if home == groups.len() {
                groups.push(Vec::new());
            }
            groups[home].push(record);
        }
        let new_groups = groups.split_off(known);
        let (in_use, rest): (Vec<_>, Vec<_>) = groups.into_iter().zip(used).partition(|(_, used)| *used);
        let mut saved = Store::begin(loaded.len() + bytes);
        let old_groups = in_use.into_iter().chain(rest).map(|(group, _)| group);
        for group in new_groups.into_iter().chain(old_groups) {
            let mut is_first = true;
            for record in group {
                if saved.len() + record.size() <= MOST_BYTES {
                    record.append(&mut saved, is_first);
                    is_first = false;
                    counters.kept_saved.fetch_add(1, Relaxed);
                }
            }
        }
        let blocks = saved.len() as u64;
        regions.save(&mut saved);
        counters.kept_saved.fetch_add(regions.count() as u64, Relaxed);
        saved.extend(blocks.to_le_bytes());
        Some(saved)
    }
}

/// Code that was made at `start` in the code memory, as it is if it is kept and found again for another place and number; none if
/// it cannot be kept.
#[cfg(debug_assertions)]
pub(crate) fn moved(code: &Code, start: usize, (to, id): (usize, u32)) -> Option<Code> {
    let place = Place { ctx: 0, offset: 0 };
    let mut bytes = Vec::new();
    Draft { place, runs: &[(0, &[0])], instructions: 1, code, start }.write(&mut bytes)?;
    let record = Record::read(&bytes).unwrap_or_else(|error| panic!("{error}"));
    record.check().unwrap_or_else(|error| panic!("{error}"));
    Some(record.whole_code(to, id))
}
