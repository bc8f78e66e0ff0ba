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
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::PAGE_SIZE;

/// Set in [`crate::ir::BlockKey::ctx`] of code that runs where the current address space has a window.
pub const WINDOWED: u32 = 1 << 31;
/// Bytes from the base register of an access within which it may lie.
pub const GUARD: u64 = 64 << 10;
/// Unmapped bytes on either side of a window: the guard, and more than the largest unit.
const MARGIN: usize = GUARD as usize + PAGE_SIZE as usize;

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
        // Looks are a millisecond apart: by then its memory is there, for the most part. The host's limit, `vm.max_map_count`, is
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
    start: NonNull<u8>,
    len: u64,
}

// SAFETY: the range belongs to this value alone, and nothing in it is accessed through it.
unsafe impl Send for Room {}
// SAFETY: as above.
unsafe impl Sync for Room {}

impl Room {
    /// Room for `len` bytes, inaccessible.
    fn new(len: u64) -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else can refer to it yet.
        let start =
            unsafe { mmap_anonymous(null_mut(), len as usize + 2 * MARGIN, ProtFlags::empty(), flags)? };
        let start =
            NonNull::new(start.cast()).ok_or_else(|| io::Error::other("the mapping is at address zero"))?;
        Ok(Self { start, len })
    }

    /// Host address of its first byte.
    fn base(&self) -> u64 {
        self.place(0).addr() as u64
    }

    fn place(&self, at: u64) -> *mut c_void {
        self.start.as_ptr().wrapping_add(MARGIN + at as usize).cast()
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

    /// Makes all of it inaccessible again.
    fn empty(&self) -> io::Result<()> {
        let (start, len) = (self.start.as_ptr().cast(), self.len as usize + 2 * MARGIN);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: exactly what `new` mapped, where no Rust value lives.
        unsafe { mmap_anonymous(start, len, ProtFlags::empty(), flags)? };
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

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; translated code accesses it only while its vCPU's tables name it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len as usize + 2 * MARGIN) };
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

#[derive(Clone, Copy)]
struct Page {
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
    /// By segment.
    rooms: BTreeMap<u64, Room>,
    /// What is mapped, by page address.
    pages: BTreeMap<u64, Page>,
    /// RAM offsets of the pages that may be written, with their addresses.
    writable: BTreeSet<(usize, u64)>,
    /// Changes since it was last empty. Each may have made a mapping of the host's into two more.
    mappings: usize,
}

impl Window {
    /// A window with nothing mapped.
    pub(super) fn new(windows: Arc<Windows>) -> Self {
        let (rooms, pages, writable) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { windows, rooms, pages, writable, mappings: 0 }
    }

    /// What code is told of it, the lower segment first.
    pub(super) fn segments(&self) -> [Segment; SEGMENTS] {
        let mut segments = [Segment::NONE; SEGMENTS];
        for (segment, (&number, room)) in segments.iter_mut().zip(&self.rooms) {
            *segment = Segment { number, addend: room.base().wrapping_sub(number << SEGMENT_BITS) };
        }
        segments
    }

    /// The guest's address of a host address in the window, or near it.
    pub(super) fn guest_address(&self, host: u64) -> Option<u64> {
        self.rooms.iter().find_map(|(segment, room)| {
            Some((segment << SEGMENT_BITS).wrapping_add_signed(room.distance(host)?))
        })
    }

    /// How a page is mapped: whether it may be written.
    pub(super) fn mapped(&self, page: u64) -> Option<bool> {
        self.pages.get(&page).map(|page| page.write)
    }

    /// Maps these pages, which lie in one segment.
    pub(super) fn map(&mut self, mapping: Mapping) -> Mapped {
        let Mapping { page, offset, len, write } = mapping;
        let (segment, at) = split(page);
        if !self.add_segment(segment) {
            return Mapped::NoSegment;
        }
        if !self.count() || self.rooms[&segment].map(at, mapping, &self.windows.file).is_err() {
            self.clear();
            return Mapped::Full;
        }
        for step in (0..len).step_by(PAGE_SIZE as usize) {
            let (page, offset) = (page + step, offset + step as usize);
            if let Some(old) = self.pages.insert(page, Page { offset, write })
                && old.write
            {
                self.writable.remove(&(old.offset, page));
            }
            if write {
                self.writable.insert((offset, page));
            }
        }
        Mapped::Yes
    }

    /// Gets room for a segment, if there is any.
    pub(super) fn add_segment(&mut self, number: u64) -> bool {
        if self.rooms.contains_key(&number) {
            return true;
        }
        let room = if self.rooms.len() < SEGMENTS { Room::new(1 << SEGMENT_BITS).ok() } else { None };
        room.map(|room| self.rooms.insert(number, room)).is_some()
    }

    /// Empties it, and gives its segments back. Code must not be in the middle of a block.
    pub(super) fn reset(&mut self) {
        self.clear();
        self.rooms.clear();
    }

    /// Counts a change; false if there have been too many.
    fn count(&mut self) -> bool {
        self.mappings += 1;
        self.windows.mappings.fetch_add(1, Relaxed) < self.windows.config.mappings
    }

    /// Takes away the pages with addresses from `first` to `last`.
    pub(super) fn unmap(&mut self, first: u64, last: u64) {
        if self.pages.is_empty() {
            return;
        }
        let first = first & !(PAGE_SIZE - 1);
        let gone: Vec<(u64, Page)> =
            self.pages.range(first..=last).map(|(&page, &what)| (page, what)).collect();
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (page, what) in gone {
            self.pages.remove(&page);
            if what.write {
                self.writable.remove(&(what.offset, page));
            }
            match runs.last_mut() {
                Some((from, len)) if *from + *len == page && split(*from).0 == split(page).0 => {
                    *len += PAGE_SIZE;
                }
                _ => runs.push((page, PAGE_SIZE)),
            }
        }
        for (page, len) in runs {
            let (segment, at) = split(page);
            // A hole may take two mappings more, too.
            if !self.count() || self.rooms.get(&segment).is_some_and(|room| room.vacate(at, len).is_err()) {
                return self.clear();
            }
        }
    }

    /// Takes away everything. If the host refuses, the process cannot go on: the guest would use what is not its own.
    pub(super) fn clear(&mut self) {
        self.pages.clear();
        self.writable.clear();
        if self.mappings != 0 {
            self.windows.mappings.fetch_sub(std::mem::take(&mut self.mappings), Relaxed);
            for room in self.rooms.values() {
                // All of it, with what is never mapped around it: that takes no mapping more than there is.
                room.empty().expect("the host takes back what it has mapped");
            }
        }
    }

    /// Takes away the pages through which the memory at `offset` may be written.
    pub(super) fn protect(&mut self, offset: usize) {
        let offset = offset & !(PAGE_SIZE as usize - 1);
        let pages: Vec<u64> =
            self.writable.range((offset, 0)..=(offset, u64::MAX)).map(|&(_, page)| page).collect();
        for page in pages {
            self.unmap(page, page);
        }
    }
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
        // A fourth segment is not to be had; the others stay.
        assert!(window.map(mapping(0xffff_0000_0000, 7, 1, true)) == Mapped::Yes);
        assert!(window.map(mapping(0x5555_0000_0000, 0, 1, true)) == Mapped::NoSegment);
        assert_eq!([0x5555_0000_0000, 0xffff_0000_0000, 0x1000].map(|va| at(&window, va)), [0, 8, 3]);
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
    fn a_full_window_is_empty_again() {
        let mut window = window(3);
        assert!((0..3).all(|page| window.map(mapping(page << 16, 0, 1, true)) == Mapped::Yes));
        assert!(window.map(mapping(3 << 16, 0, 1, true)) == Mapped::Full);
        assert_eq!(at(&window, 0), 0);
        assert!(window.map(mapping(3 << 16, 0, 1, true)) == Mapped::Yes, "there is room now");
    }
}
