//! Cached translations of one vCPU: the soft TLB.
//!
//! Translations are kept in *banks*, one for each [`SpaceId`] in use: changing privilege or address space switches banks
//! and empties none. A bank is direct-mapped and holds 4 KiB entries that lead straight to an offset in the RAM mapping;
//! pages that are not memory are not cached. A bank for data has as many entries as it turns out to need. Nothing here is
//! shared between vCPUs: a remote flush is a request that the owner serves (see [`crate::sync`]).

mod windows;

use std::sync::Arc;

use self::windows::BankWindow;
use super::jumps::Jumps;
use super::window::{SEGMENT_BITS, SEGMENTS, Segment, Windows};
use super::{PAGE_SIZE, next_page};
use crate::exec::{Access, Mode, SpaceId};
use crate::ir::View;

/// Entries in a bank at first, and in one for fetches always: a page is cached in the entry that its number selects, modulo
/// the number of entries, a power of two.
pub const TLB_ENTRIES: usize = 4096;
/// Entries in a bank for data at most: for 128 MiB, in 1 MiB, half of a common second-level cache. Twice as many did not make
/// large programs (gcc, `xz -9`) faster, and all of them may have to be gone through.
const MOST_ENTRIES: usize = 8 * TLB_ENTRIES;
// Numbers of entries fit in `Bank::local`.
const _: () = assert!(MOST_ENTRIES.is_power_of_two() && MOST_ENTRIES <= 1 << u16::BITS);
/// Groups of entries in a bank: it is gone through by those that were used.
const GROUPS: usize = 64;
/// Banks of one mode that are kept per address space.
const SPACES_PER_MODE: usize = 8;
/// Modes whose banks are remembered.
const KNOWN: usize = 8;
/// No page has this tag.
const INVALID: u64 = u64::MAX;
const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

/// One cached translation of a 4 KiB page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TlbEntry {
    /// The page's virtual address if it may be read (in a fetch bank: fetched), else [`u64::MAX`].
    pub read: u64,
    /// The page's virtual address if it may be written without further ado, else [`u64::MAX`].
    pub write: u64,
    /// What to add to a virtual address to get the host address.
    pub addend: u64,
    /// Bit 0: valid in every address space. Bits 15 to 8: log2 of the mapping's size. Bits 63 to 32: the context of its
    /// code ([`crate::exec::Translation::context`]).
    pub flags: u64,
}

/// Where translated code finds the caches of the current mode, as host addresses. They are good until the next
/// [`Mmu::switch`], which may move entries.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Tables {
    /// The entries of each view.
    pub data: [u64; View::ALL.len()],
    /// The [`super::JUMP_ENTRIES`] entries of the jump cache.
    pub jumps: u64,
    /// The segments of the window of [`View::Current`].
    pub segments: [Segment; SEGMENTS],
    /// Addresses below this are in the first of them, if that is the lowest of all; else zero.
    pub low: u64,
    /// What the byte offset of an entry among those of each view is masked with.
    pub masks: [u64; View::ALL.len()],
}

impl TlbEntry {
    const EMPTY: Self = Self { read: INVALID, write: INVALID, addend: 0, flags: 0 };
    const GLOBAL: u64 = 1;

    fn is_global(&self) -> bool {
        self.flags & Self::GLOBAL != 0
    }

    fn page_bits(&self) -> u8 {
        (self.flags >> 8) as u8
    }

    /// Whether the mapping that it comes from has any of these addresses.
    fn meets(&self, first: u64, last: u64) -> bool {
        let within = !u64::MAX.checked_shl(self.page_bits().into()).unwrap_or(0);
        self.page() & !within <= last && first <= self.page() | within
    }

    fn page(&self) -> u64 {
        if self.read == INVALID { self.write } else { self.read }
    }
}

/// The mappings larger than 4 KiB of which a cache holds pages: a filter, which may take an address for one of theirs
/// that is not, but never the other way around.
pub(super) struct LargePages {
    /// Bit *n*: there are some of 2ⁿ bytes.
    sizes: u64,
    /// Two bits for each mapping.
    filter: [u64; Self::WORDS],
}

impl Default for LargePages {
    fn default() -> Self {
        Self { sizes: 0, filter: [0; Self::WORDS] }
    }
}

impl LargePages {
    /// Words of the filter: enough for the mappings of some gigabytes by pages of 2 MiB.
    const WORDS: usize = 128;
    /// A mapping of so many bits, or more, may have any address.
    const ANY: u8 = 63;
    /// Mappings of one size that are looked for one by one; a longer range of addresses may overlap any.
    const MOST: u64 = 16;

    /// Notes that a page of a mapping of that size is cached.
    pub(super) fn add(&mut self, va: u64, bits: u8) {
        if bits >= Self::ANY {
            self.sizes |= 1 << Self::ANY;
        } else if bits > 12 {
            self.sizes |= 1 << bits;
            for bit in Self::places(va >> bits, bits) {
                self.filter[bit / 64] |= 1 << (bit % 64);
            }
        }
    }

    /// Whether any of them may overlap this range of addresses.
    pub(super) fn overlap(&self, first: u64, last: u64) -> bool {
        let mut sizes = self.sizes;
        if sizes >> Self::ANY != 0 {
            return true;
        }
        while sizes != 0 {
            let bits = sizes.trailing_zeros() as u8;
            sizes &= sizes - 1;
            let (from, to) = (first >> bits, last >> bits);
            if to.wrapping_sub(from) >= Self::MOST {
                return true;
            }
            let has = |number: u64| {
                Self::places(number, bits).iter().all(|bit| self.filter[bit / 64] >> (bit % 64) & 1 != 0)
            };
            if (from..=to).any(has) {
                return true;
            }
        }
        false
    }

    /// The bits of the mapping with this number among those of its size.
    fn places(number: u64, bits: u8) -> [usize; 2] {
        let hash = (number ^ u64::from(bits) << 58).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [hash >> 51, hash >> 38].map(|hash| hash as usize % (64 * Self::WORDS))
    }

    pub(super) fn clear(&mut self) {
        if self.sizes != 0 {
            *self = Self::default();
        }
    }
}

/// The translations of one space, for data or for fetches.
struct Bank {
    space: SpaceId,
    fetch: bool,
    /// Their number is a power of two.
    entries: Box<[TlbEntry]>,
    /// How many there are to be from the next [`Bank::resize`] on.
    wanted: usize,
    /// Entries filled since it was last emptied.
    fills: usize,
    /// Those of them, since the size last changed, that were another page's.
    conflicts: usize,
    /// One bit for each group of entries that is not empty.
    groups: u64,
    /// Larger mappings that entries come from.
    large: LargePages,
    /// Entries that are not global, in banks that several address spaces share; see [`Bank::MAX_LOCAL`].
    local: Vec<u16>,
    used: u64,
    /// The same on the host's MMU, if there is that; only of a bank for data.
    window: BankWindow,
}

/// Which translations a flush drops. Dropping more than asked for is always right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Only those that are not global and belong to this address space.
    pub asid: Option<u32>,
    /// Only those of pages in this range of virtual addresses: first byte and last byte.
    pub range: Option<(u64, u64)>,
}

impl Flush {
    /// Everything.
    pub const ALL: Self = Self { asid: None, range: None };
}

/// Which banks are those of a mode.
struct Known {
    mode: Mode,
    fetch: usize,
    data: [usize; View::ALL.len()],
    jumps: usize,
}

/// All cached translations of one vCPU.
pub struct Mmu {
    banks: Vec<Bank>,
    data: [usize; View::ALL.len()],
    fetch: usize,
    /// The banks of the modes that were current last; empty after a bank has changed its space.
    known: Vec<Known>,
    clock: u64,
    /// The host address of RAM offset zero.
    host_base: u64,
    windows: Option<Arc<Windows>>,
    jumps: Jumps,
    /// Translations filled in, for statistics.
    pub fills: u64,
    /// Flushes done, for statistics.
    pub flushes: u64,
    /// Mappings made in windows, for statistics.
    pub window_fills: u64,
    /// Times that all windows were emptied for want of mappings, for statistics.
    pub window_losses: u64,
}

/// What to fill in: see [`crate::exec::Translation`].
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Any virtual address in the page.
    pub va: u64,
    /// Offset of that byte in the RAM mapping.
    pub offset: usize,
    /// It may be read (or fetched).
    pub read: bool,
    /// It may be written with no slow path.
    pub write: bool,
    /// It is valid in every address space.
    pub global: bool,
    /// log2 of the mapping's size.
    pub page_bits: u8,
    /// Context bits of code in the page.
    pub context: u32,
}

impl Mmu {
    /// No translations, for memory that is mapped at `host_base`. [`Mmu::switch`] comes first.
    pub fn new(host_base: *const u8) -> Self {
        Self {
            banks: Vec::new(),
            data: [0; _],
            fetch: 0,
            known: Vec::with_capacity(KNOWN),
            clock: 0,
            host_base: host_base.addr() as u64,
            windows: None,
            jumps: Jumps::default(),
            fills: 0,
            window_fills: 0,
            window_losses: 0,
            flushes: 0,
        }
    }

    /// Makes the banks of `mode` the current ones. Where they are from now on is returned: this is the only place where
    /// entries move, so whoever uses [`Tables`] cannot be left with those of before.
    #[must_use]
    pub fn switch(&mut self, mode: &Mode) -> Tables {
        self.select(mode);
        for bank in self.data {
            self.banks[bank].resize();
        }
        self.tables()
    }

    fn select(&mut self, mode: &Mode) {
        // Traps go back and forth between few modes.
        if let Some(known) = self.known.iter().find(|known| known.mode == *mode) {
            (self.fetch, self.data) = (known.fetch, known.data);
            self.jumps.select(known.jumps);
            return;
        }
        self.clock += 1;
        self.fetch = self.bank_for(mode.fetch, true);
        self.data = mode.data.map(|space| self.bank_for(space, false));
        if self.windows.as_ref().is_some_and(|windows| windows.config().threshold == 0) {
            self.open_window(mode);
        }
        if self.jumps.switch(mode.fetch, mode.ctx | self.context()) {
            self.known.clear();
        }
        if self.known.len() >= KNOWN {
            self.known.remove(0);
        }
        let (fetch, data, jumps) = (self.fetch, self.data, self.jumps.current());
        self.known.push(Known { mode: *mode, fetch, data, jumps });
    }

    /// Where translated code finds the current banks.
    pub fn tables(&self) -> Tables {
        let banks = self.data.map(|bank| &self.banks[bank]);
        let segments = self.banks[self.data[View::Current as usize]].window.segments();
        Tables {
            data: banks.map(|bank| bank.entries.as_ptr().addr() as u64),
            jumps: self.jumps.address(),
            segments,
            low: if segments[0].number == 0 { 1 << SEGMENT_BITS } else { 0 },
            masks: banks.map(|bank| ((bank.entries.len() - 1) * size_of::<TlbEntry>()) as u64),
        }
    }

    /// Host address of the [`TLB_ENTRIES`] entries for fetches in the current mode: these do not move.
    pub fn fetch_table(&self) -> u64 {
        self.banks[self.fetch].entries.as_ptr().addr() as u64
    }

    /// Lets jumps to `pc` in the current mode go to the translated code at host address `code`, until the translation of its
    /// page or the next one changes or [`Mmu::clear_jumps`]. Does nothing unless the fetch translation of `pc` is cached.
    pub fn cache_jump(&mut self, pc: u64, code: u64) {
        let fetched = |va: u64| {
            let entry = self.banks[self.fetch].entry(va);
            (entry.read == va & PAGE_MASK).then_some((entry.is_global(), entry.page_bits()))
        };
        let (own, next) = (fetched(pc), fetched(next_page(pc)));
        let Some((global, page_bits)) = own else { return };
        self.jumps.insert(pc, code, global, page_bits);
        // The last instruction may reach into the next page; whoever has found it has looked that page up, too.
        if let Some((global, page_bits)) = next {
            self.jumps.depends_on(next_page(pc), global, page_bits);
        }
    }

    /// Forgets all jumps: translated code has been dropped.
    pub fn clear_jumps(&mut self) {
        self.jumps.clear();
    }

    fn bank_for(&mut self, space: SpaceId, fetch: bool) -> usize {
        let clock = self.clock;
        let same_mode = |bank: &Bank| bank.fetch == fetch && bank.space.mode == space.mode;
        let hit = self
            .banks
            .iter()
            .position(|bank| same_mode(bank) && (!space.per_asid || bank.space.asid == space.asid));
        let index = match hit {
            Some(index) => index,
            None if self.banks.iter().filter(|b| same_mode(b)).count() < SPACES_PER_MODE => {
                self.banks.push(Bank::new(space, fetch));
                self.banks.len() - 1
            }
            None => {
                let oldest =
                    self.banks.iter().enumerate().filter(|(_, b)| same_mode(b)).min_by_key(|(_, b)| b.used);
                let index = oldest.map_or(0, |(index, _)| index);
                self.banks[index].clear();
                // How large the next space is remains to be seen.
                self.banks[index].wanted = TLB_ENTRIES;
                index
            }
        };
        let bank = &mut self.banks[index];
        if bank.space != space {
            bank.window = BankWindow::default();
            self.known.clear();
            if !space.per_asid {
                bank.drop_local();
            }
        }
        bank.space = space;
        bank.used = clock;
        index
    }

    /// The offset in the RAM mapping of `bytes` bytes at `va`, if they lie in one page that is cached for a data access.
    #[inline]
    pub fn lookup(&self, view: View, va: u64, bytes: usize, access: Access) -> Option<usize> {
        let bank = match access {
            Access::Fetch => self.fetch,
            _ => self.data[view as usize],
        };
        let entry = self.banks[bank].entry(va);
        let tag = if access == Access::Write { entry.write } else { entry.read };
        let fits = (va & !PAGE_MASK) + bytes as u64 <= PAGE_SIZE;
        (tag == va & PAGE_MASK && fits)
            .then(|| va.wrapping_add(entry.addend).wrapping_sub(self.host_base) as usize)
    }

    /// The offset in the RAM mapping of the code at `va`, and the context bits that it has of its page, if the page is cached
    /// for fetches.
    #[inline]
    pub fn lookup_code(&self, va: u64) -> Option<(usize, u32)> {
        let offset = self.lookup(View::Current, va, 1, Access::Fetch)?;
        Some((offset, (self.banks[self.fetch].entry(va).flags >> 32) as u32))
    }

    /// What to add to addresses in the page of `va` to get host addresses, if the page is cached for such a data access.
    pub fn addend(&self, view: View, va: u64, access: Access) -> Option<u64> {
        self.lookup(view, va, 1, access)?;
        Some(self.banks[self.data[view as usize]].entry(va).addend)
    }

    /// Caches a translation for the data accesses of `view`, or for fetches. A page that may be written but not read is
    /// cached for neither: what is cached for writing may be read without another check.
    pub fn fill(&mut self, view: View, fetch: bool, fill: Fill) {
        self.fills += 1;
        let bank = if fetch { self.fetch } else { self.data[view as usize] };
        self.banks[bank].fill(fill, self.host_base);
    }

    /// Drops translations.
    pub fn flush(&mut self, flush: Flush) {
        self.flushes += 1;
        for bank in &mut self.banks {
            bank.flush(flush);
        }
        self.jumps.flush(flush);
    }

    /// Makes the next write to the 4 KiB of memory at `offset` take the slow path.
    pub fn protect(&mut self, offset: usize) {
        let page = self.host_base.wrapping_add(offset as u64 & PAGE_MASK);
        for bank in self.banks.iter_mut().filter(|bank| !bank.fetch) {
            for entry in bank.used_entries() {
                if entry.write != INVALID && entry.write.wrapping_add(entry.addend) == page {
                    entry.write = INVALID;
                }
            }
            bank.window.protect(offset);
        }
    }
}

impl Bank {
    /// Entries that are not global and that a shared bank keeps track of; beyond that it is emptied whole.
    const MAX_LOCAL: usize = 128;
    /// A bank is to have twice the entries when more than one in so many of those it has were taken from other pages. A few
    /// such fills are no reason: more entries take longer to go through, and are cold. Measured: growing at half as
    /// many, or fourfold, made no difference beyond noise.
    const CROWDED: usize = 4;
    /// A bank emptied after fewer than one in so many entries had been filled is to have half of them. Fewer than make one of
    /// half the size grow, or it would go back and forth.
    const SPARSE: usize = 2 * Self::CROWDED;

    fn new(space: SpaceId, fetch: bool) -> Self {
        let entries = vec![TlbEntry::EMPTY; TLB_ENTRIES].into();
        Self {
            space,
            fetch,
            entries,
            wanted: TLB_ENTRIES,
            fills: 0,
            conflicts: 0,
            groups: 0,
            large: LargePages::default(),
            local: Vec::new(),
            used: 0,
            window: BankWindow::default(),
        }
    }

    #[inline]
    fn index(&self, va: u64) -> usize {
        (va / PAGE_SIZE) as usize & (self.entries.len() - 1)
    }

    #[inline]
    fn entry(&self, va: u64) -> &TlbEntry {
        &self.entries[self.index(va)]
    }

    /// Gives the bank the number of entries that it has turned out to need. Their address changes.
    #[inline]
    fn resize(&mut self) {
        if self.wanted != self.entries.len() {
            self.move_entries();
        }
    }

    #[cold]
    fn move_entries(&mut self) {
        let entries = vec![TlbEntry::EMPTY; self.wanted].into();
        let old = std::mem::replace(&mut self.entries, entries);
        (self.groups, self.conflicts) = (0, 0);
        self.local.clear();
        for entry in old.into_iter().filter(|entry| entry.page() != INVALID) {
            let index = self.index(entry.page());
            self.set(index, entry);
        }
    }

    /// Puts an entry in its place.
    fn set(&mut self, index: usize, entry: TlbEntry) {
        self.groups |= 1 << ((index * GROUPS) >> self.entries.len().trailing_zeros());
        self.entries[index] = entry;
        if !entry.is_global() && !self.space.per_asid && self.local.len() < Self::MAX_LOCAL {
            self.local.push(index as u16); // below MOST_ENTRIES
        }
    }

    /// All or nearly all entries have been dropped: a bank that did not need its size has cost more time than it has saved.
    fn emptied(&mut self) {
        let len = self.entries.len();
        if self.fills < len / Self::SPARSE {
            self.wanted = (len / 2).max(TLB_ENTRIES);
        }
        (self.fills, self.conflicts) = (0, 0);
    }

    fn clear(&mut self) {
        self.emptied();
        self.used_groups().for_each(|group| group.fill(TlbEntry::EMPTY));
        self.groups = 0;
        self.large.clear();
        self.local.clear();
        self.window.clear();
    }

    /// The groups that may have entries.
    fn used_groups(&mut self) -> impl Iterator<Item = &mut [TlbEntry]> {
        let (groups, len) = (self.groups, self.entries.len() / GROUPS);
        let is_used = move |(number, _): &(usize, _)| groups >> number & 1 != 0;
        self.entries.chunks_exact_mut(len).enumerate().filter(is_used).map(|(_, group)| group)
    }

    /// The entries that may be there.
    fn used_entries(&mut self) -> impl Iterator<Item = &mut TlbEntry> {
        self.used_groups().flatten()
    }

    /// Drops what is not global.
    fn drop_local(&mut self) {
        self.window.clear();
        if self.space.per_asid {
            self.emptied();
            for entry in self.used_entries().filter(|e| !e.is_global()) {
                *entry = TlbEntry::EMPTY;
            }
        } else if self.local.len() >= Self::MAX_LOCAL {
            self.clear();
        } else {
            for index in self.local.drain(..) {
                self.entries[usize::from(index)] = TlbEntry::EMPTY;
            }
        }
    }

    fn fill(&mut self, fill: Fill, host_base: u64) {
        let page = fill.va & PAGE_MASK;
        let index = self.index(fill.va);
        let old = self.entries[index];
        let addend = host_base.wrapping_add(fill.offset as u64 & PAGE_MASK).wrapping_sub(page);
        let same = old.page() == page && old.addend == addend;
        let readable = fill.read || (same && old.read == page);
        self.count(![page, INVALID].contains(&old.page()));
        let entry = TlbEntry {
            read: if readable { page } else { INVALID },
            write: if readable && (fill.write || (same && old.write == page)) { page } else { INVALID },
            addend,
            flags: (u64::from(fill.global) * TlbEntry::GLOBAL)
                | u64::from(fill.page_bits) << 8
                | u64::from(fill.context) << 32,
        };
        self.set(index, entry);
        self.large.add(page, fill.page_bits);
    }

    /// Counts a fill, and whether it takes the place of another page.
    fn count(&mut self, conflict: bool) {
        self.fills += 1;
        self.conflicts += usize::from(conflict);
        let len = self.entries.len();
        if self.conflicts > len / Self::CROWDED && !self.fetch {
            self.wanted = (2 * len).min(MOST_ENTRIES);
        }
    }

    /// Drops what comes from mappings of any size that have these addresses.
    fn drop_meeting(&mut self, first: u64, last: u64) {
        let mut left = LargePages::default();
        for entry in self.used_entries().filter(|entry| **entry != TlbEntry::EMPTY) {
            if entry.meets(first, last) {
                *entry = TlbEntry::EMPTY;
            } else {
                left.add(entry.page(), entry.page_bits());
            }
        }
        self.large = left;
        self.window.clear();
    }

    fn flush(&mut self, flush: Flush) {
        let local_only = match flush.asid {
            Some(asid) if asid != self.space.asid => return,
            asid => asid.is_some(),
        };
        let Some((first, last)) = flush.range else {
            return if local_only { self.drop_local() } else { self.clear() };
        };
        if self.large.overlap(first, last) {
            return self.drop_meeting(first, last);
        }
        self.window.unmap(first, last);
        let (first, last) = (first & PAGE_MASK, last & PAGE_MASK);
        if (last.wrapping_sub(first) / PAGE_SIZE) < self.entries.len() as u64 {
            let mut page = first;
            loop {
                let index = self.index(page);
                let entry = &mut self.entries[index];
                if entry.page() == page {
                    *entry = TlbEntry::EMPTY;
                }
                if page == last {
                    break;
                }
                page = page.wrapping_add(PAGE_SIZE);
            }
        } else {
            for entry in self.used_entries().filter(|e| (first..=last).contains(&e.page())) {
                *entry = TlbEntry::EMPTY;
            }
        }
    }
}

#[cfg(test)]
mod tests;
