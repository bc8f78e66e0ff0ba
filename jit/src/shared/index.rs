//! The maps of blocks. What is near in time or in memory is near in them: a run asks for one after the other.

use emu_core::ir::BlockKey;
use emu_core::mem::PAGE_SIZE;

use super::{Found, Map, Variant};

/// Blocks by key, page by page.
#[derive(Default)]
pub(super) struct Keys {
    pages: Map<u64, Map<u64, (u32, Found)>>,
}

/// The page, and what a block is in it.
fn parts((key, variant): (BlockKey, Variant)) -> (u64, u64) {
    let offset = key.pa & (PAGE_SIZE - 1);
    (key.pa - offset, u64::from(key.ctx) << 32 | offset << 1 | u64::from(variant == Variant::Plain))
}

impl Keys {
    pub(super) fn get(&self, what: (BlockKey, Variant)) -> Option<&(u32, Found)> {
        let (page, within) = parts(what);
        self.pages.get(&page)?.get(&within)
    }

    /// Enters a block; what was there before.
    pub(super) fn insert(&mut self, what: (BlockKey, Variant), block: (u32, Found)) -> Option<(u32, Found)> {
        let (page, within) = parts(what);
        self.pages.entry(page).or_default().insert(within, block)
    }

    pub(super) fn remove(&mut self, what: (BlockKey, Variant)) {
        let (page, within) = parts(what);
        if let Some(blocks) = self.pages.get_mut(&page) {
            blocks.remove(&within);
            if blocks.is_empty() {
                self.pages.remove(&page);
            }
        }
    }
}

/// How many numbers are kept together.
const GROUP: usize = 64;

struct Group<T> {
    used: usize,
    places: Box<[Option<T>]>,
}

/// Things by numbers that are given out one after the other.
pub(super) struct Numbered<T> {
    groups: Map<u32, Group<T>>,
    len: usize,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { groups: Map::default(), len: 0 }
    }
}

fn split(id: u32) -> (u32, usize) {
    (id / GROUP as u32, id as usize % GROUP)
}

impl<T> Numbered<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: u32) -> Option<&T> {
        let (group, place) = split(id);
        self.groups.get(&group)?.places[place].as_ref()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let (group, place) = split(id);
        self.groups.get_mut(&group)?.places[place].as_mut()
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn insert(&mut self, id: u32, thing: T) {
        let (group, place) = split(id);
        let new = || Group { used: 0, places: (0..GROUP).map(|_| None).collect() };
        let group = self.groups.entry(group).or_insert_with(new);
        if group.places[place].replace(thing).is_none() {
            group.used += 1;
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let (number, place) = split(id);
        let group = self.groups.get_mut(&number)?;
        let thing = group.places[place].take()?;
        group.used -= 1;
        self.len -= 1;
        if group.used == 0 {
            self.groups.remove(&number);
        }
        Some(thing)
    }

    /// All numbers that there is something for.
    pub(super) fn ids(&self) -> Vec<u32> {
        let of_group = |(&number, group): (&u32, &Group<T>)| {
            let used = |place: &usize| group.places[*place].is_some();
            let id = move |place: usize| number * GROUP as u32 + place as u32;
            (0..GROUP).filter(used).map(id).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of_group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_and_go() {
        let mut all = Numbered::default();
        for id in [1, 63, 64, 1000, u32::MAX] {
            all.insert(id, id);
        }
        all.insert(64, 5);
        assert_eq!((all.len(), all.get(64), all.get(65)), (5, Some(&5), None));
        assert_eq!([all.remove(1), all.remove(1), all.remove(1000)], [Some(1), None, Some(1000)]);
        *all.get_mut(63).unwrap() = 7;
        let mut ids = all.ids();
        ids.sort_unstable();
        assert_eq!((ids, all.len(), all.groups.len()), (vec![63, 64, u32::MAX], 3, 3));
    }

    #[test]
    fn keys_differ_in_all_their_parts() {
        let mut keys = Keys::default();
        let key = |pa, ctx| BlockKey { pa, ctx };
        let all = [
            (key(0x1000, 1), Variant::Merged),
            (key(0x1000, 1), Variant::Plain),
            (key(0x1002, 1), Variant::Merged),
            (key(0x1000, 2), Variant::Merged),
            (key(0x2000, 1), Variant::Merged),
        ];
        let found = Found { code: 1, next_page: None };
        for (id, &what) in (1..).zip(&all) {
            assert_eq!(keys.insert(what, (id, found)), None);
        }
        for (id, &what) in (1..).zip(&all) {
            assert_eq!(keys.get(what), Some(&(id, found)));
        }
        all.iter().for_each(|&what| keys.remove(what));
        assert!(keys.pages.is_empty());
    }
}
