//! A bounded map whose entries also have a small stable number, for use as an event token.

use std::collections::HashMap;
use std::hash::Hash;

/// Numbers stay below this whatever the limit is, so that they fit into a token.
pub(super) const MAX_ENTRIES: usize = 1 << 24;

pub(super) struct Table<K, V> {
    slots: Vec<Option<(K, V)>>,
    free: Vec<usize>,
    numbers: HashMap<K, usize>,
    limit: usize,
}

impl<K: Copy + Eq + Hash, V> Table<K, V> {
    /// An empty table for at most `limit` entries.
    pub(super) fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), numbers: HashMap::new(), limit: limit.min(MAX_ENTRIES) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.numbers.len() >= self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The number of the entry for `key`.
    pub(super) fn find(&self, key: &K) -> Option<usize> {
        self.numbers.get(key).copied()
    }

    /// The number that the next entry will get.
    pub(super) fn next_number(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    /// Adds an entry and returns its number, or nothing if the table is full or has the key already.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<usize> {
        if self.is_full() || self.numbers.contains_key(&key) {
            return None;
        }
        let number = self.next_number();
        match self.slots.get_mut(number) {
            Some(slot) => {
                self.free.pop();
                *slot = Some((key, value));
            }
            None => self.slots.push(Some((key, value))),
        }
        self.numbers.insert(key, number);
        Some(number)
    }

    pub(super) fn get(&self, number: usize) -> Option<&V> {
        self.slots.get(number)?.as_ref().map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<(&K, &mut V)> {
        self.slots.get_mut(number)?.as_mut().map(|(key, value)| (&*key, value))
    }

    pub(super) fn remove(&mut self, number: usize) -> Option<V> {
        let (key, value) = self.slots.get_mut(number)?.take()?;
        self.free.push(number);
        self.numbers.remove(&key);
        Some(value)
    }

    /// All entries with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &K, &V)> {
        self.slots.iter().enumerate().filter_map(|(number, slot)| {
            let (key, value) = slot.as_ref()?;
            Some((number, key, value))
        })
    }

    /// The number of each entry.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.iter().map(|(number, ..)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_numbers_and_numbers_are_used_again() {
        let mut table = Table::new(2);
        assert_eq!(
            (table.insert('a', 1), table.insert('a', 2), table.insert('b', 3)),
            (Some(0), None, Some(1))
        );
        assert!(table.is_full());
        assert_eq!(table.insert('c', 4), None);
        assert_eq!(table.remove(0), Some(1));
        assert_eq!((table.remove(0), table.find(&'a'), table.find(&'b')), (None, None, Some(1)));
        assert_eq!(table.next_number(), 0);
        assert_eq!(table.insert('c', 4), Some(0));
        assert_eq!(table.get_mut(1), Some((&'b', &mut 3)));
        assert_eq!(table.numbers().collect::<Vec<_>>(), [0, 1]);
    }
}
