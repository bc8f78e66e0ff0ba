//! Windows: guest address spaces on the host's MMU.
//!
//! A window mirrors one guest address space as one vCPU sees it, in *segments* of 2^[`SEGMENT_BITS`] addresses that each have a range
//! of host addresses: the page at guest virtual address *v* is mapped at its segment's addend + *v*, from the object that guest
//! memory lies in, with no more rights than the guest has there. So translated code needs to compare the address with its
//! segment, and one host instruction for an access that hits; one that does not faults, and takes the slow path, which may map
//! the page.
//!
//! To the guest a window is a larger soft TLB: it belongs to a bank of the [`super::Mmu`], what is mapped in it is what the bank
//! has held, and what flushes or protects the one does so to the other.
//!
//! On both sides of the addresses that code may name there is room that is never mapped, [`GUARD`] bytes: an access is checked by
//! its base register, and may lie that far from it.
#![allow(unsafe_code, reason = "the one module that maps guest memory at addresses of its own choice")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use super::PAGE_SIZE;
use super::reserved::{HUGE_PAGE, Reserved};

/// Set in [`crate::ir::BlockKey::ctx`] of code that runs where the current address space has a window.
pub const WINDOWED: u32 = 1 << 31;
/// Bytes from the base register of an access within which it may lie.
pub const GUARD: u64 = 64 << 10;
/// Bytes that may be added to a base before that, if the base itself is in a segment or near it: an index of 32 bits of units of
/// 8 bytes.
pub const FAR: u64 = 32 << 30;
/// Unmapped bytes on either side of a window: what may be added to a base, the guard, and more than the largest unit. Also, a window
/// begins at a huge page: where the guest's large pages lie in huge pages of the host's, these are mapped whole.
const MARGIN: usize = FAR as usize + HUGE_PAGE;
const _: () = assert!(MARGIN as u64 >= FAR + GUARD + PAGE_SIZE && MARGIN.is_multiple_of(HUGE_PAGE));

/// log2 of the bytes of a segment.
pub const SEGMENT_BITS: u8 = 39;
/// Segments that a window has at most: what a program uses lies in two, itself with its heap below, stack and libraries above;
/// or in three, if the guest places these two at random in a large range.
pub const SEGMENTS: usize = 3;

/// A segment as code sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The bits of its addresses above [`SEGMENT_BITS`].
    pub number: u64,
    /// What to add to them to get host addresses.
    pub addend: u64,
}

impl Default for Segment {
    fn default() -> Self {
        Self::NONE
    }
}

impl Segment {
    /// No address lies in this one.
    pub const NONE: Self = Self { number: u64::MAX, addend: 0 };

    /// Whether a host address is one of its own, or of the room on both sides that is never mapped.
    pub fn has_room_at(&self, host: u64) -> bool {
        let base = self.addend.wrapping_add(self.number << SEGMENT_BITS);
        let distance = host.wrapping_sub(base).wrapping_add(MARGIN as u64);
        *self != Self::NONE && distance < (1 << SEGMENT_BITS) + 2 * MARGIN as u64
    }
}

/// How the windows of a machine are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// Looks that find code running in an address space before it gets a window; none for zero.
    pub threshold: u32,
    /// Changes of mappings that all windows have room for. Each may take two of the host's mappings.
    pub mappings: usize,
    /// A window that takes too much time rests.
    pub rests: bool,
}

impl Default for WindowConfig {
    fn default() -> Self {
        // Looks are a millisecond apart, or not much more: by then its memory is there, for the most part. The host's limit, `vm.max_map_count`, is
        // 65530 by default.
        Self { threshold: 16, mappings: 24_000, rests: true }
    }
}

impl WindowConfig {
    /// For tests: a window for everyone, that is soon full.
    pub const EAGER: Self = Self { threshold: 0, mappings: 1000, rests: false };
}

/// What the windows of one machine have in common.
#[derive(Debug)]
pub struct Windows {
    /// The object that guest memory lies in, from its offset zero on.
    file: OwnedFd,
    config: WindowConfig,
    mappings: AtomicUsize,
}

impl Windows {
    /// Windows on the memory in `file`.
    pub fn new(file: OwnedFd, config: WindowConfig) -> Self {
        Self { file, config, mappings: AtomicUsize::new(0) }
    }

    /// The object that guest memory lies in.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// How they are used.
    pub fn config(&self) -> &WindowConfig {
        &self.config
    }
}

/// Host addresses that nothing else uses, between two that are never mapped.
#[derive(Debug)]
struct Room {
    /// With the margins.
    range: Reserved,
    len: u64,
}

impl Room {
    /// Room for `len` bytes, inaccessible.
    fn new(len: u64) -> io::Result<Self> {
        Ok(Self { range: Reserved::new(len as usize + 2 * MARGIN, ProtFlags::empty())?, len })
    }

    /// Host address of its first byte.
    fn base(&self) -> u64 {
        self.place(0).addr() as u64
    }

    fn place(&self, at: u64) -> *mut c_void {
        self.range.base().as_ptr().wrapping_add(MARGIN + at as usize).cast()
    }

    /// How far the host address is from its first byte, if it is in or near it.
    fn distance(&self, host: u64) -> Option<i64> {
        let distance = host.wrapping_sub(self.base()) as i64;
        (-(MARGIN as i64)..(self.len as i64 + MARGIN as i64)).contains(&distance).then_some(distance)
    }

    /// Maps a part of `file` into it.
    fn map(&self, at: u64, mapping: Mapping, file: &OwnedFd) -> io::Result<()> {
        let Mapping { offset, len, write, .. } = mapping;
        assert!(at <= self.len && len <= self.len - at, "a mapping beyond the end of its room");
        let prot = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let flags = MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE;
        // SAFETY: the range lies in this room, as just checked, where no Rust value lives.
        unsafe { mmap(self.place(at), len as usize, prot, flags, file.as_fd(), offset as u64)? };
        Ok(())
    }

    /// Makes a part of it inaccessible again.
    fn vacate(&self, at: u64, len: u64) -> io::Result<()> {
        assert!(at <= self.len && len <= self.len - at, "a range beyond the end of its room");
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: as for `map`.
        unsafe { mmap_anonymous(self.place(at), len as usize, ProtFlags::empty(), flags)? };
        Ok(())
    }
}

/// Guest addresses, and the memory that they are mapped to: one or more pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first address.
    pub page: u64,
    /// Offset of that in the RAM mapping.
    pub offset: usize,
    /// Bytes.
    pub len: u64,
    /// Whether they may be written.
    pub write: bool,
}

impl Mapping {
    /// Whether `next` continues it.
    pub fn goes_on_with(&self, next: &Self) -> bool {
        let (len, offset) = (self.page.checked_add(self.len), self.offset.checked_add(self.len as usize));
        len == Some(next.page) && offset == Some(next.offset) && self.write == next.write
    }
}

/// Pages that are mapped one after the other, from an address on.
#[derive(Clone, Copy)]
struct Run {
    len: u64,
    offset: usize,
    write: bool,
}

/// What became of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    Yes,
    /// Its segment is one too many.
    NoSegment,
    /// The host or the budget does not allow it: the window has been emptied.
    Full,
}

/// The window of one address space.
pub(super) struct Window {
    windows: Arc<Windows>,
    /// The segments' numbers, and where they are.
    rooms: [Option<(u64, Room)>; SEGMENTS],
    /// What is mapped, by the first address.
    runs: BTreeMap<u64, Run>,
    /// RAM offsets of the runs that may be written, with their addresses.
    writable: BTreeSet<(usize, u64)>,
    /// Bytes of the longest run that there has been.
    longest: u64,
    /// Changes since it was last empty. Each may have made a mapping of the host's into two more.
    mappings: usize,
}

impl Window {
    /// A window with nothing mapped.
    pub(super) fn new(windows: Arc<Windows>) -> Self {
        let (rooms, runs, writable) = (Default::default(), BTreeMap::new(), BTreeSet::new());
        Self { windows, rooms, runs, writable, longest: 0, mappings: 0 }
    }

    /// What code is told of it.
    pub(super) fn segments(&self) -> [Segment; SEGMENTS] {
        self.rooms.each_ref().map(|room| match room {
            Some((number, room)) => {
                Segment { number: *number, addend: room.base().wrapping_sub(number << SEGMENT_BITS) }
            }
            None => Segment::NONE,
        })
    }

    fn room(&self, segment: u64) -> Option<&Room> {
        self.rooms.iter().flatten().find_map(|(number, room)| (*number == segment).then_some(room))
    }

    /// The guest's address of a host address in the window, or near it.
    pub(super) fn guest_address(&self, host: u64) -> Option<u64> {
        self.rooms.iter().flatten().find_map(|(segment, room)| {
            Some((segment << SEGMENT_BITS).wrapping_add_signed(room.distance(host)?))
        })
    }

    /// How a page is mapped: whether it may be written.
    pub(super) fn mapped(&self, page: u64) -> Option<bool> {
        let (start, run) = self.runs.range(..=page).next_back()?;
        (page - start < run.len).then_some(run.write)
    }

    /// Maps these pages, which lie in one segment.
    pub(super) fn map(&mut self, mapping: Mapping) -> Mapped {
        let Mapping { page, offset, len, write } = mapping;
        let (segment, at) = split(page);
        if !self.add_segment(segment) {
            return Mapped::NoSegment;
        }
        let is_counted = self.count();
        let room = self.room(segment).filter(|_| is_counted);
        if room.is_none_or(|room| room.map(at, mapping, &self.windows.file).is_err()) {
            self.clear();
            return Mapped::Full;
        }
        self.forget(page, page + (len - 1));
        self.keep(page, Run { len, offset, write });
        Mapped::Yes
    }

    /// Gets room for a segment, if there is any.
    pub(super) fn add_segment(&mut self, number: u64) -> bool {
        if self.room(number).is_some() {
            return true;
        }
        let mut places = std::iter::once(preferred_place(number)).chain(0..SEGMENTS);
        let Some(place) = places.find(|&place| self.rooms[place].is_none()) else { return false };
        self.rooms[place] = Room::new(1 << SEGMENT_BITS).ok().map(|room| (number, room));
        self.rooms[place].is_some()
    }

    /// Empties it, and gives its segments back. Code must not be in the middle of a block.
    pub(super) fn reset(&mut self) {
        self.clear();
        self.rooms = Default::default();
    }

    /// Counts a change; false if there have been too many.
    fn count(&mut self) -> bool {
        self.mappings += 1;
        self.windows.mappings.fetch_add(1, Relaxed) < self.windows.config.mappings
    }

    /// Takes away the pages with addresses from `first` to `last`.
    pub(super) fn unmap(&mut self, first: u64, last: u64) {
        let first = first & !(PAGE_SIZE - 1);
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        for (page, len) in self.forget(first, last) {
            match gaps.last_mut() {
                Some((from, gap)) if *from + *gap == page && split(*from).0 == split(page).0 => *gap += len,
                _ => gaps.push((page, len)),
            }
        }
        for (page, len) in gaps {
            let (segment, at) = split(page);
            // A hole may take two mappings more, too.
            if !self.count() || self.room(segment).is_some_and(|room| room.vacate(at, len).is_err()) {
                return self.clear();
            }
        }
    }

    /// Notes a run.
    fn keep(&mut self, page: u64, run: Run) {
        self.longest = self.longest.max(run.len);
        self.runs.insert(page, run);
        if run.write {
            self.writable.insert((run.offset, page));
        }
    }

    /// Makes two of the run that goes on at this page.
    fn cut(&mut self, page: u64) {
        let Some((&start, run)) = self.runs.range_mut(..page).next_back() else { return };
        let at = page - start;
        if at < run.len {
            let rest = Run { len: run.len - at, offset: run.offset + at as usize, ..*run };
            run.len = at;
            self.keep(page, rest);
        }
    }

    /// Forgets the pages with addresses from `first`, that of a page, to `last`, and returns which there were: addresses, and bytes.
    fn forget(&mut self, first: u64, last: u64) -> Vec<(u64, u64)> {
        if self.runs.is_empty() {
            return Vec::new();
        }
        self.cut(first);
        if let Some(next) = (last | (PAGE_SIZE - 1)).checked_add(1) {
            self.cut(next);
        }
        let gone: Vec<(u64, Run)> = self.runs.range(first..=last).map(|(&page, &run)| (page, run)).collect();
        for (page, run) in &gone {
            self.runs.remove(page);
            self.writable.remove(&(run.offset, *page));
        }
        gone.into_iter().map(|(page, run)| (page, run.len)).collect()
    }

    /// Takes away everything. If the host refuses, the process cannot go on: the guest would use what is not its own.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.writable.clear();
        if self.mappings != 0 {
            self.windows.mappings.fetch_sub(std::mem::take(&mut self.mappings), Relaxed);
            for (_, room) in self.rooms.iter().flatten() {
                // All of it, with what is never mapped around it: that takes no mapping more than there is.
                room.range.empty().expect("the host takes back what it has mapped");
            }
        }
    }

    /// Takes away the pages through which the memory at `offset` may be written.
    pub(super) fn protect(&mut self, offset: usize) {
        let offset = offset & !(PAGE_SIZE as usize - 1);
        // Runs that begin at it, or so little before that they may reach it.
        let first = (offset + PAGE_SIZE as usize).saturating_sub(self.longest as usize);
        let near = self.writable.range((first.min(offset), 0)..=(offset, u64::MAX));
        let pages: Vec<u64> = near
            .filter_map(|&(start, page)| {
                let at = (offset - start) as u64;
                (at < self.runs[&page].len).then(|| page + at)
            })
            .collect();
        for page in pages {
            self.unmap(page, page);
        }
    }
}

/// The place of a segment, if that is free: by which third of 48 bits it is in. Code that is made for one address space runs in
/// others, too, and does not work well where what it uses has other places: so they do not depend on what is used first, or
/// at all.
const fn preferred_place(number: u64) -> usize {
    const BITS: u8 = 48 - SEGMENT_BITS;
    ((number & ((1 << BITS) - 1)) as usize * SEGMENTS) >> BITS
}

/// The segment of an address, and where it is there.
const fn split(page: u64) -> (u64, u64) {
    (page >> SEGMENT_BITS, page & ((1 << SEGMENT_BITS) - 1))
}

impl Drop for Window {
    fn drop(&mut self) {
        self.windows.mappings.fetch_sub(self.mappings, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    const PAGE: usize = PAGE_SIZE as usize;

    /// A window on memory whose pages are filled with their numbers from 1 on.
    fn window(mappings: usize) -> Window {
        let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        ftruncate(&file, 8 * PAGE_SIZE).unwrap();
        for page in 0..8 {
            file.write_all_at(&vec![page + 1; PAGE], u64::from(page) * PAGE_SIZE).unwrap();
        }
        let config = WindowConfig { mappings, ..WindowConfig::EAGER };
        Window::new(Arc::new(Windows::new(file.into(), config)))
    }

    fn mapping(page: u64, number: usize, pages: u64, write: bool) -> Mapping {
        Mapping { page, offset: number * PAGE, len: pages * PAGE_SIZE, write }
    }

    /// What is at a guest address, by the host address that code would make of it; zero: nothing.
    fn at(window: &Window, va: u64) -> u8 {
        let segments = window.segments();
        let Some(segment) = segments.iter().find(|segment| segment.number == va >> SEGMENT_BITS) else {
            return 0;
        };
        let host = va.wrapping_add(segment.addend);
        assert_eq!(window.guest_address(host), Some(va));
        let mut byte = [0];
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut byte, host).map_or(0, |()| byte[0])
    }

    #[test]
    fn pages_are_where_the_guest_has_them() {
        let mut window = window(100);
        assert!(window.map(mapping(0x1000, 2, 2, true)) == Mapped::Yes);
        assert!(window.map(mapping(0xaaaa_0000_0000, 5, 1, false)) == Mapped::Yes);
        let found =
            [0x1000, 0x2fff, 0x3000, 0xfff, 0xaaaa_0000_0fff, 0xaaaa_0000_1000].map(|va| at(&window, va));
        assert_eq!(found, [3, 4, 0, 0, 6, 0]);
        assert_eq!(
            [0x1000, 0x3000, 0xaaaa_0000_0000].map(|va| window.mapped(va)),
            [Some(true), None, Some(false)]
        );
        let numbers = |window: &Window| window.segments().map(|segment| segment.number);
        assert_eq!(numbers(&window), [0, 0x155, u64::MAX]);
        // A fourth segment is not to be had; the others stay.
        assert!(window.map(mapping(0xffff_0000_0000, 7, 1, true)) == Mapped::Yes);
        assert!(window.map(mapping(0x5555_0000_0000, 0, 1, true)) == Mapped::NoSegment);
        assert_eq!([0x5555_0000_0000, 0xffff_0000_0000, 0x1000].map(|va| at(&window, va)), [0, 8, 3]);
        assert_eq!(numbers(&window), [0, 0x155, 0x1ff]);
        // Where they are does not depend on which was first.
        window.reset();
        assert_eq!(numbers(&window), [u64::MAX; SEGMENTS]);
        assert!([0x1ff, 0x155, 0].into_iter().all(|number| window.add_segment(number)));
        assert_eq!(numbers(&window), [0, 0x155, 0x1ff]);
    }

    #[test]
    fn segments_lie_apart() {
        let mut window = window(100);
        let end = 1 << SEGMENT_BITS;
        assert!(
            window.map(mapping(end - PAGE_SIZE, 0, 1, true)) == Mapped::Yes
                && window.map(mapping(end, 1, 1, true)) == Mapped::Yes
        );
        let [low, high, _] = window.segments();
        assert_eq!((low.number, high.number), (0, 1));
        let distance =
            (end.wrapping_add(high.addend) as i64).wrapping_sub((end - 1).wrapping_add(low.addend) as i64);
        assert!(distance.unsigned_abs() > GUARD, "what is near the end of one is not in the other");
        let beyond = end.wrapping_add(low.addend) + GUARD;
        assert_eq!(window.guest_address(beyond), Some(end + GUARD));
    }

    #[test]
    fn what_is_taken_away_is_gone() {
        let mut window = window(100);
        assert!(
            window.map(mapping(0, 0, 4, true)) == Mapped::Yes
                && window.map(mapping(0x10_0000, 1, 1, true)) == Mapped::Yes
        );
        window.unmap(0x1234, 0x2000);
        assert_eq!([0, 0x1000, 0x2000, 0x3000].map(|va| at(&window, va)), [1, 0, 0, 4]);
        window.protect(PAGE + 5);
        assert_eq!([at(&window, 0x10_0000), at(&window, 0)], [0, 1], "it is by the place in memory");
        assert!(window.map(mapping(0x10_0000, 1, 1, false)) == Mapped::Yes);
        window.protect(PAGE);
        assert_eq!(at(&window, 0x10_0000), 2, "it cannot be written anyway");
        window.clear();
        assert_eq!([0, 0x3000, 0x10_0000].map(|va| at(&window, va)), [0; 3]);
        assert_eq!(window.mapped(0), None);
    }

    #[test]
    fn parts_of_a_long_mapping_go_and_change() {
        let mut window = window(100);
        let there = |window: &Window| [0, 1, 2, 3, 4, 5, 6].map(|page| at(window, page << 12));
        assert!(window.map(mapping(0, 1, 7, true)) == Mapped::Yes);
        assert_eq!(there(&window), [2, 3, 4, 5, 6, 7, 8]);
        // By the place in memory, in the middle of it; and again, where it is no longer.
        window.protect(4 * PAGE);
        window.protect(4 * PAGE + 1);
        assert_eq!(there(&window), [2, 3, 4, 0, 6, 7, 8]);
        // What is mapped over it takes the place of what was there.
        assert!(window.map(mapping(0x2000, 0, 3, false)) == Mapped::Yes);
        assert_eq!(there(&window), [2, 3, 1, 2, 3, 7, 8]);
        let rights = |window: &Window| [0, 1, 2, 4, 5, 6, 7].map(|page| window.mapped(page << 12));
        let (read, write) = (Some(false), Some(true));
        assert_eq!(rights(&window), [write, write, read, read, write, write, None]);
        window.protect(3 * PAGE);
        window.protect(5 * PAGE);
        assert_eq!(there(&window), [2, 3, 1, 2, 3, 7, 8], "these were not writable any more");
        window.protect(7 * PAGE);
        assert_eq!(there(&window), [2, 3, 1, 2, 3, 7, 0]);
        window.unmap(0x1800, 0x2000);
        assert_eq!(there(&window), [2, 0, 0, 2, 3, 7, 0]);
        window.unmap(0, u64::MAX);
        assert_eq!((there(&window), window.writable.len()), ([0; 7], 0));
    }

    #[test]
    fn a_full_window_is_empty_again() {
        let mut window = window(3);
        assert!((0..3).all(|page| window.map(mapping(page << 16, 0, 1, true)) == Mapped::Yes));
        assert!(window.map(mapping(3 << 16, 0, 1, true)) == Mapped::Full);
        assert_eq!(at(&window, 0), 0);
        assert!(window.map(mapping(3 << 16, 0, 1, true)) == Mapped::Yes, "there is room now");
    }
}
