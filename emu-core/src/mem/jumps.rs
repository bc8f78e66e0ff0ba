//! Where jumps go in translated code, by virtual address: the jump cache.
//!
//! Translated code looks the target of an indirect jump, or of one into another page, up here by itself. An entry is valid
//! in one mode, so there is a bank for each fetch space and context in use, as there is for translations. It depends on how
//! the target's page is mapped, and, where an instruction straddles its end, on the next page: a flush of a page drops
//! the entries of that page and of the one before. Most pages that are flushed hold data: a filter tells so at once.

use super::PAGE_BITS;
use super::mmu::{Flush, LargePages};
use crate::exec::SpaceId;

/// A jump target and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct JumpEntry {
    /// The target's virtual address; in an empty entry, one that another entry is for.
    pub pc: u64,
    /// Host address of its code.
    pub code: u64,
}

/// log2 of the entries in a bank.
const INDEX_BITS: u32 = 13;
/// Entries in a bank; [`jump_index`] says which is whose.
pub const JUMP_ENTRIES: usize = 1 << INDEX_BITS;
/// Entries in a group: those are emptied together, so that only what was used has to be.
const GROUP: usize = 64;
/// Pages that are flushed one by one; for more the bank is emptied.
const MOST_PAGES: u64 = 64;
/// Words of the filter of pages.
const FILTER: usize = 8;
/// Banks that are kept.
const BANKS: usize = 12;

/// The entry that a jump to `pc` looks at. An instruction is a multiple of two bytes from the next; pages whose targets are
/// at the same places in them share no entries.
pub const fn jump_index(pc: u64) -> usize {
    ((pc ^ pc >> PAGE_BITS) >> 1) as usize % JUMP_ENTRIES
}

const fn group_of(pc: u64) -> usize {
    jump_index(pc) / GROUP
}

impl JumpEntry {
    /// What stands in entry `index` if nothing does: no jump that looks there has this target.
    const fn empty(index: usize) -> Self {
        Self { pc: if index == 0 { 2 } else { 0 }, code: 0 }
    }
}

struct Bank {
    space: SpaceId,
    ctx: u32,
    entries: Box<[JumpEntry]>,
    /// One bit for each group that is not empty.
    used: u128,
    /// One bit for each page that may have entries, by its number modulo the width.
    pages: [u64; FILTER],
    /// Not all entries are valid in every address space.
    local: bool,
    large: LargePages,
    last: u64,
}

/// The jump caches of one vCPU.
#[derive(Default)]
pub(super) struct Jumps {
    banks: Vec<Bank>,
    current: usize,
    clock: u64,
}

impl Jumps {
    /// The number of the current bank.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// Makes a bank the current one, by its number, when none has changed its space since it was last.
    pub(super) fn select(&mut self, bank: usize) {
        self.current = bank;
    }

    /// Makes the bank of this space and context the current one. True if a bank has changed its space for that.
    pub(super) fn switch(&mut self, space: SpaceId, ctx: u32) -> bool {
        self.clock += 1;
        let is_it = |bank: &Bank| {
            bank.ctx == ctx
                && bank.space.mode == space.mode
                && bank.space.per_asid == space.per_asid
                && (!space.per_asid || bank.space.asid == space.asid)
        };
        let hit = self.banks.iter().position(is_it);
        self.current = match hit {
            Some(index) => index,
            None if self.banks.len() < BANKS => {
                self.banks.push(Bank::new(space, ctx));
                self.banks.len() - 1
            }
            None => {
                let oldest = self.banks.iter().enumerate().min_by_key(|(_, bank)| bank.last);
                let index = oldest.map_or(0, |(index, _)| index);
                self.banks[index].clear();
                index
            }
        };
        let bank = &mut self.banks[self.current];
        if bank.space.asid != space.asid && bank.local {
            bank.clear();
        }
        let changed = (bank.space, bank.ctx) != (space, ctx);
        (bank.space, bank.ctx, bank.last) = (space, ctx, self.clock);
        changed
    }

    /// Host address of the current bank's entries.
    pub(super) fn address(&self) -> u64 {
        self.banks[self.current].entries.as_ptr().addr() as u64
    }

    /// Adds an entry to the current bank.
    pub(super) fn insert(&mut self, pc: u64, code: u64, global: bool, page_bits: u8) {
        let bank = &mut self.banks[self.current];
        bank.entries[jump_index(pc)] = JumpEntry { pc, code };
        bank.used |= 1 << group_of(pc);
        let page = (pc >> PAGE_BITS) as usize;
        bank.pages[page / 64 % FILTER] |= 1 << (page % 64);
        self.depends_on(pc, global, page_bits);
    }

    /// Notes that entries of the current bank depend on how this page is mapped.
    pub(super) fn depends_on(&mut self, page: u64, global: bool, page_bits: u8) {
        let bank = &mut self.banks[self.current];
        bank.local |= !global;
        bank.large.add(page, page_bits);
    }

    /// Drops the entries that may depend on what is flushed.
    pub(super) fn flush(&mut self, flush: Flush) {
        for bank in &mut self.banks {
            bank.flush(flush);
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.banks.iter_mut().for_each(Bank::clear);
    }
}

impl Bank {
    fn new(space: SpaceId, ctx: u32) -> Self {
        let entries = (0..JUMP_ENTRIES).map(JumpEntry::empty).collect();
        Self {
            space,
            ctx,
            entries,
            used: 0,
            pages: [0; FILTER],
            local: false,
            large: LargePages::default(),
            last: 0,
        }
    }

    fn clear(&mut self) {
        while self.used != 0 {
            self.clear_group(self.used.trailing_zeros() as usize);
        }
        self.pages = [0; FILTER];
        self.local = false;
        self.large.clear();
    }

    fn clear_group(&mut self, group: usize) {
        if self.used >> group & 1 == 0 {
            return;
        }
        self.used &= !(1 << group);
        let first = group * GROUP;
        for (i, entry) in self.entries[first..first + GROUP].iter_mut().enumerate() {
            *entry = JumpEntry::empty(first + i);
        }
    }

    /// Empties the entries of the page with this number.
    fn clear_page(&mut self, page: u64) {
        if self.pages[page as usize / 64 % FILTER] >> (page % 64) & 1 == 0 {
            return;
        }
        let mut used = self.used;
        while used != 0 {
            let group = used.trailing_zeros() as usize * GROUP;
            for (i, entry) in self.entries[group..group + GROUP].iter_mut().enumerate() {
                if entry.pc >> PAGE_BITS == page {
                    *entry = JumpEntry::empty(group + i);
                }
            }
            used &= used - 1;
        }
    }

    fn flush(&mut self, flush: Flush) {
        if self.used == 0 || flush.asid.is_some_and(|asid| asid != self.space.asid || !self.local) {
            return;
        }
        match flush.range {
            Some((first, last)) if !self.large.overlap(first, last) => {
                let first = (first >> PAGE_BITS).wrapping_sub(1);
                let pages = (last >> PAGE_BITS).wrapping_sub(first);
                if pages < MOST_PAGES {
                    (0..=pages).for_each(|i| self.clear_page(first.wrapping_add(i)));
                } else {
                    self.clear();
                }
            }
            _ => self.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: SpaceId = SpaceId { mode: 0, per_asid: true, asid: 1 };
    const KERNEL: SpaceId = SpaceId { mode: 1, per_asid: false, asid: 1 };

    fn cached(jumps: &Jumps, pc: u64) -> Option<u64> {
        let entry = jumps.banks[jumps.current].entries[jump_index(pc)];
        (entry.pc == pc).then_some(entry.code)
    }

    #[test]
    fn an_empty_entry_is_nobodys() {
        let bank = Bank::new(USER, 0);
        for (index, entry) in bank.entries.iter().enumerate() {
            assert_ne!(jump_index(entry.pc), index);
        }
    }

    #[test]
    fn banks_are_by_space_and_context() {
        let mut jumps = Jumps::default();
        jumps.switch(USER, 0);
        jumps.insert(0x1000, 7, false, 12);
        for (space, ctx) in [(USER, 1), (KERNEL, 0), (SpaceId { asid: 2, ..USER }, 0)] {
            jumps.switch(space, ctx);
            assert_eq!(cached(&jumps, 0x1000), None);
        }
        jumps.switch(USER, 0);
        assert_eq!(cached(&jumps, 0x1000), Some(7));
        jumps.switch(KERNEL, 0);
        jumps.insert(0x2000, 8, true, 12);
        jumps.switch(SpaceId { asid: 2, ..KERNEL }, 0);
        assert_eq!(cached(&jumps, 0x2000), Some(8), "global");
        jumps.insert(0x4000, 9, false, 12);
        jumps.switch(KERNEL, 0);
        assert_eq!(cached(&jumps, 0x4000), None, "local");
        for ctx in 0..2 * BANKS as u32 {
            jumps.switch(USER, ctx);
            assert_eq!(cached(&jumps, 0x1000), (ctx == 0).then_some(7), "in context {ctx}");
        }
        jumps.switch(USER, 0);
        assert_eq!(cached(&jumps, 0x1000), None, "the oldest bank made room");
    }

    #[test]
    fn flushes_reach_the_page_and_the_one_before() {
        let mut jumps = Jumps::default();
        jumps.switch(USER, 0);
        let pages = [0x1000u64, 0x2000, 0x3000, 0x4000];
        let refill = |jumps: &mut Jumps| pages.iter().for_each(|&pc| jumps.insert(pc + 8, pc, false, 12));
        let left = |jumps: &Jumps| pages.map(|pc| cached(jumps, pc + 8).is_some());
        refill(&mut jumps);
        jumps.flush(Flush { asid: Some(2), range: None });
        assert_eq!(left(&jumps), [true; 4]);
        jumps.flush(Flush { asid: None, range: Some((0x3000, 0x3004)) });
        assert_eq!(left(&jumps), [true, false, false, true]);
        refill(&mut jumps);
        jumps.flush(Flush { asid: Some(1), range: None });
        assert_eq!(left(&jumps), [false; 4]);
        refill(&mut jumps);
        jumps.flush(Flush { asid: None, range: Some((0x10_0000, 0x20_0000)) });
        assert_eq!(left(&jumps), [false; 4], "a range longer than the table empties it");
        refill(&mut jumps);
        jumps.insert(0x20_1000, 1, false, 21);
        jumps.flush(Flush { asid: None, range: Some((0x3f_f000, 0x3f_f000)) });
        assert_eq!(cached(&jumps, 0x20_1000), None, "the flushed address lies in the same large page");
        refill(&mut jumps);
        jumps.clear();
        assert_eq!(left(&jumps), [false; 4]);
    }

    #[test]
    fn flushes_reach_what_the_last_instruction_lies_in() {
        let mut jumps = Jumps::default();
        jumps.switch(USER, 0);
        let straddling = 0x1f_fffe;
        let refill = |jumps: &mut Jumps| {
            jumps.insert(straddling, 7, true, 12);
            jumps.depends_on(0x20_0000, false, 21);
        };
        for flush in [
            Flush { asid: None, range: Some((0x3f_f000, 0x3f_f000)) },
            Flush { asid: Some(USER.asid), range: None },
        ] {
            refill(&mut jumps);
            jumps.flush(flush);
            assert_eq!(cached(&jumps, straddling), None, "{flush:?}");
        }
    }
}
