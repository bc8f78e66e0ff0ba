//! Guest RAM and ROM: one mapping, in which every memory region of the board has its place.
//!
//! The host is asked for huge pages: it then clears and maps memory as the guest first touches it by 2 MiB at a time, and
//! finds it by fewer entries of its own TLB. Most hosts give them to private memory alone, which this is unless windows
//! ([`super::Windows`]) need an object that can be mapped twice.
//!
//! Guest memory is shared by vCPU threads, devices and translated code, all of which may write it at any time. So it
//! is never borrowed as a slice: all access goes through atomic loads and stores of single units ([`Ram::load`],
//! [`Ram::store`]) or through [`GuestMemory`], the view that devices use.
#![allow(
    unsafe_code,
    reason = "the one module that turns offsets into host memory accesses for the interpreter"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};
use thiserror::Error;
use vm_memory::bitmap::{Bitmap, BitmapSlice, WithBitmapSlice};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use super::huge::Gathering;
use super::reserved::{HUGE_PAGE, Reserved};
use super::{CodePages, PAGE_SIZE, WindowConfig, Windows};

/// The view of guest memory that devices and firmware use: guest-physical addresses, RAM regions only, every access
/// checked, every write reported to [`CodePages`].
pub type GuestMemory = GuestMemoryMmap<DmaTracker>;

/// Why RAM could not be set up.
#[derive(Debug, Error)]
pub enum RamError {
    /// The host gave no memory.
    #[error("cannot get {len} bytes of memory for the guest")]
    Host {
        /// The size asked for.
        len: usize,
        /// The host's answer.
        #[source]
        source: std::io::Error,
    },
    /// A region is empty, not made of whole pages, wraps around, or lies over another.
    #[error("memory region {name} at {base:#x}, {len:#x} bytes, is not valid here")]
    Region {
        /// The region's name.
        name: &'static str,
        /// Its guest-physical address.
        base: u64,
        /// Its size in bytes.
        len: u64,
    },
}

/// A contiguous piece of guest-physical memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamRegion {
    /// What the board calls it.
    pub name: &'static str,
    /// Guest-physical address of the first byte.
    pub base: u64,
    /// Size in bytes, a multiple of the page size.
    pub len: u64,
    /// Where it begins in the mapping.
    pub offset: usize,
    /// False for ROM: the guest's stores to it are access faults.
    pub writable: bool,
}

/// Collects the memory regions of a board.
#[derive(Default)]
pub struct RamBuilder {
    regions: Vec<RamRegion>,
    len: usize,
    windows: Option<WindowConfig>,
}

impl RamBuilder {
    /// No memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the memory where address spaces can have windows on it ([`Windows`]), if they are to be used.
    pub fn windows(mut self, config: Option<WindowConfig>) -> Self {
        self.windows = config;
        self
    }

    /// Adds a region; it must not overlap an earlier one.
    pub fn region(
        mut self,
        name: &'static str,
        base: u64,
        len: u64,
        writable: bool,
    ) -> Result<Self, RamError> {
        let invalid = RamError::Region { name, base, len };
        let pages = (base | len).is_multiple_of(PAGE_SIZE) && len > 0;
        let Some(end) = base.checked_add(len).filter(|_| pages) else { return Err(invalid) };
        if self.regions.iter().any(|r| base < r.base + r.len && r.base < end) {
            return Err(invalid);
        }
        let Ok(bytes) = usize::try_from(len) else { return Err(invalid) };
        // What is large enough for huge pages begins with one.
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { PAGE_SIZE as usize };
        let offset = self.len.checked_next_multiple_of(align);
        let Some((offset, next)) = offset.and_then(|at| Some((at, at.checked_add(bytes)?))) else {
            return Err(invalid);
        };
        self.regions.push(RamRegion { name, base, len, offset, writable });
        self.len = next;
        Ok(self)
    }

    /// Gets the memory from the host. It reads as zero and takes host memory only where it is touched.
    pub fn build(self) -> Result<Ram, RamError> {
        let Self { mut regions, len, windows } = self;
        regions.sort_by_key(|region| region.base);
        let host = |source| RamError::Host { len, source };
        // One page more than the guest can name: a unit that straddles the end is still inside the mapping.
        let mapped = len + PAGE_SIZE as usize;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = Reserved::new(mapped, prot).map_err(host)?;
        let base = mapping.base();
        let object = || {
            let file = memfd_create("ferry-memory", MemfdFlags::CLOEXEC).ok()?;
            ftruncate(&file, mapped as u64).ok()?;
            Some(file)
        };
        // Without such an object there are no windows.
        let windows = match windows.and_then(|config| Some((config, object()?))) {
            None => None,
            Some((config, file)) => {
                let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED;
                // SAFETY: it replaces a part of what has just been mapped, which nothing uses yet.
                unsafe { mmap(base.as_ptr().cast(), mapped, prot, flags, &file, 0) }
                    .map_err(|error| host(error.into()))?;
                Some(Arc::new(Windows::new(file, config)))
            }
        };
        for region in regions.iter().filter(|region| region.len as usize >= HUGE_PAGE) {
            // SAFETY: the range lies in the mapping; this changes how it is backed, not what it holds.
            let advised = unsafe {
                let at = base.as_ptr().add(region.offset).cast();
                madvise(at, region.len as usize, Advice::LinuxHugepage)
            };
            // A host without huge pages does as well.
            let _ = advised;
        }
        let gathering = Gathering::new(if windows.is_some() { len } else { 0 });
        let code = Arc::new(CodePages::new(len));
        Ok(Ram { mapping: Arc::new(mapping), regions, len, code, windows, gathering })
    }
}

/// An unsigned integer that guest memory is accessed in units of.
pub trait Scalar: Copy + Send + Sync + 'static + private::Sealed {
    /// Its size in bytes.
    const BYTES: usize;
    /// The value, zero-extended.
    fn to_u64(self) -> u64;
    /// The low bits of `value`.
    fn from_u64(value: u64) -> Self;
}

mod private {
    pub trait Sealed {
        type Atomic;
        /// # Safety
        /// `at` must be aligned for `Self` and valid for atomic access.
        unsafe fn load(at: *mut u8) -> Self;
        /// # Safety
        /// As `load`.
        unsafe fn store(at: *mut u8, value: Self);
        /// # Safety
        /// As `load`.
        unsafe fn compare_exchange(at: *mut u8, old: Self, new: Self) -> Self;
    }
}

macro_rules! scalar {
    ($($int:ty, $atomic:ty;)*) => {$(
        impl private::Sealed for $int {
            type Atomic = $atomic;
            unsafe fn load(at: *mut u8) -> Self {
                // SAFETY: the caller's promise.
                unsafe { <$atomic>::from_ptr(at.cast()) }.load(Ordering::Acquire)
            }
            unsafe fn store(at: *mut u8, value: Self) {
                // SAFETY: the caller's promise.
                unsafe { <$atomic>::from_ptr(at.cast()) }.store(value, Ordering::Release);
            }
            unsafe fn compare_exchange(at: *mut u8, old: Self, new: Self) -> Self {
                // SAFETY: the caller's promise.
                let cell = unsafe { <$atomic>::from_ptr(at.cast()) };
                match cell.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(seen) | Err(seen) => seen,
                }
            }
        }
        impl Scalar for $int {
            const BYTES: usize = size_of::<$int>();
            fn to_u64(self) -> u64 {
                self.into()
            }
            fn from_u64(value: u64) -> Self {
                value as $int // the low bits are what is asked for
            }
        }
    )*};
}
scalar! { u8, AtomicU8; u16, AtomicU16; u32, AtomicU32; u64, AtomicU64; }

/// All memory of one machine. Positions in it are *offsets* into the mapping, got from [`Ram::offset_of`].
#[derive(Debug)]
pub struct Ram {
    mapping: Arc<Reserved>,
    regions: Vec<RamRegion>,
    len: usize,
    code: Arc<CodePages>,
    windows: Option<Arc<Windows>>,
    /// By huge page, if there are windows.
    pub(super) gathering: Gathering,
}

impl Ram {
    /// The regions, by address.
    pub fn regions(&self) -> &[RamRegion] {
        &self.regions
    }

    /// The region that holds the guest-physical address `pa`.
    pub fn region_at(&self, pa: u64) -> Option<&RamRegion> {
        let index = self.regions.partition_point(|region| region.base <= pa).checked_sub(1)?;
        self.regions.get(index).filter(|region| pa - region.base < region.len)
    }

    /// The offset of `len` bytes at guest-physical `pa`, if one region holds them all.
    pub fn offset_of(&self, pa: u64, len: u64) -> Option<usize> {
        let region = self.region_at(pa)?;
        let within = pa - region.base;
        (len <= region.len - within).then(|| region.offset + within as usize)
    }

    /// The guest-physical address of the byte at `offset`.
    pub fn address_of(&self, offset: usize) -> Option<u64> {
        let region =
            self.regions.iter().find(|r| r.offset <= offset && ((offset - r.offset) as u64) < r.len)?;
        Some(region.base + (offset - region.offset) as u64)
    }

    /// Bytes of the mapping that all regions lie in, with what lies between them.
    #[allow(clippy::len_without_is_empty, reason = "a machine without memory cannot be built")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What is known about translated code in this memory.
    pub fn code_pages(&self) -> &Arc<CodePages> {
        &self.code
    }

    /// What address spaces can have windows on it by, if they can.
    pub fn windows(&self) -> Option<&Arc<Windows>> {
        self.windows.as_ref()
    }

    /// The host address of offset zero, for translated code.
    pub fn host_base(&self) -> *mut u8 {
        self.mapping.base().as_ptr()
    }

    /// The devices' view: the writable regions, by guest-physical address.
    pub fn guest_memory(&self) -> Result<GuestMemory, RamError> {
        let mut views = Vec::new();
        for region in self.regions.iter().filter(|region| region.writable) {
            let invalid = || RamError::Region { name: region.name, base: region.base, len: region.len };
            let tracker = DmaTracker {
                code: Arc::clone(&self.code),
                base: region.offset,
                _mapping: Arc::clone(&self.mapping),
            };
            let builder = MmapRegionBuilder::new_with_bitmap(region.len as usize, tracker);
            // SAFETY: the range lies inside the mapping, which the tracker keeps alive as long as the view.
            let builder = unsafe { builder.with_raw_mmap_pointer(self.host_base().add(region.offset)) };
            let view = builder.build().map_err(|_| invalid())?;
            views.push(GuestRegionMmap::new(view, GuestAddress(region.base)).ok_or_else(invalid)?);
        }
        GuestMemory::from_regions(views)
            .map_err(|e| RamError::Host { len: self.len, source: std::io::Error::other(e) })
    }

    /// Reads the unit at `offset`. Atomic (acquire) where it is naturally aligned; otherwise its parts are.
    #[inline]
    pub fn load<T: Scalar>(&self, offset: usize) -> T {
        let at = self.at(offset, T::BYTES);
        if offset.is_multiple_of(T::BYTES) {
            // SAFETY: `at` checked the range; the mapping is page aligned, so the unit is aligned.
            return unsafe { T::load(at) };
        }
        self.load_split(offset)
    }

    #[cold]
    fn load_split<T: Scalar>(&self, offset: usize) -> T {
        let first = offset & !7;
        let shift = 8 * (offset - first) as u32;
        let low = self.load::<u64>(first) >> shift;
        let within = shift + 8 * T::BYTES as u32 <= 64;
        let high = if within { 0 } else { self.load::<u64>(first + 8) << (64 - shift) };
        T::from_u64(low | high)
    }

    /// Writes the unit at `offset`. Atomic (release) where it is naturally aligned; otherwise each byte is. The caller
    /// reports it to [`CodePages`] if the page may hold code.
    #[inline]
    pub fn store<T: Scalar>(&self, offset: usize, value: T) {
        let at = self.at(offset, T::BYTES);
        if offset.is_multiple_of(T::BYTES) {
            // SAFETY: `at` checked the range; the mapping is page aligned, so the unit is aligned.
            unsafe { T::store(at, value) };
        } else {
            for (i, byte) in value.to_u64().to_le_bytes().into_iter().take(T::BYTES).enumerate() {
                self.store::<u8>(offset + i, byte);
            }
        }
    }

    /// Replaces the naturally aligned unit at `offset` by `new` if it equals `old`; the value it had. Sequentially
    /// consistent.
    ///
    /// # Panics
    /// If `offset` is not a multiple of the unit: callers raise the guest's alignment fault first.
    #[inline]
    pub fn compare_exchange<T: Scalar>(&self, offset: usize, old: T, new: T) -> T {
        let at = self.at(offset, T::BYTES);
        assert!(offset.is_multiple_of(T::BYTES), "misaligned atomic access at RAM offset {offset:#x}");
        // SAFETY: `at` checked the range, the assertion the alignment.
        unsafe { T::compare_exchange(at, old, new) }
    }

    /// Replaces the naturally aligned unit at `offset` by `f` of it, atomically; the value it had.
    pub fn fetch_update<T: Scalar + PartialEq>(&self, offset: usize, f: impl Fn(T) -> T) -> T {
        let mut seen = self.load::<T>(offset);
        loop {
            let found = self.compare_exchange(offset, seen, f(seen));
            if found == seen {
                return seen;
            }
            seen = found;
        }
    }

    /// As [`Ram::compare_exchange`], for 16 bytes.
    ///
    /// # Panics
    /// If `offset` is not a multiple of 16.
    pub fn compare_exchange_128(&self, offset: usize, old: u128, new: u128) -> u128 {
        let at = self.at(offset, 16);
        assert!(offset.is_multiple_of(16), "misaligned atomic access at RAM offset {offset:#x}");
        compare_exchange_128(at, old, new)
    }

    /// Copies `len` bytes, which may overlap. Not atomic; the caller reports it to [`CodePages`] if the page may hold code.
    pub fn copy(&self, to: usize, from: usize, len: usize) {
        let (to, from) = (self.range(to, len), self.range(from, len));
        // SAFETY: `range` checked both. Others may access the bytes meanwhile, as they may while a device copies them through
        // `guest_memory`: guest memory has no references into it, and what a racing copy reads is the guest's business.
        unsafe { std::ptr::copy(from, to, len) }
    }

    /// Fills `len` bytes. Not atomic; the caller reports it to [`CodePages`] if the page may hold code.
    pub fn fill(&self, to: usize, len: usize, byte: u8) {
        let to = self.range(to, len);
        // SAFETY: `range` checked it; as for races, see `copy`.
        unsafe { std::ptr::write_bytes(to, byte, len) }
    }

    #[inline]
    fn range(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.len && len <= self.len - offset, "RAM offset {offset:#x} is beyond the end");
        // SAFETY: inside the mapping, or at its end.
        unsafe { self.mapping.base().as_ptr().add(offset) }
    }

    #[inline]
    fn at(&self, offset: usize, bytes: usize) -> *mut u8 {
        // An offset beyond the end is a bug of ours, not of the guest's: translation never yields one.
        assert!(offset < self.len && bytes <= 16, "RAM offset {offset:#x} is beyond the end");
        // SAFETY: inside the mapping, which ends a page after `len`.
        unsafe { self.mapping.base().as_ptr().add(offset) }
    }
}

#[cfg(target_arch = "x86_64")]
fn compare_exchange_128(at: *mut u8, old: u128, new: u128) -> u128 {
    use std::arch::asm;
    let (mut low, mut high) = (old as u64, (old >> 64) as u64);
    // SAFETY: `Ram::compare_exchange_128` checked range and alignment; every x86-64 host that this project supports
    // (x86-64-v2) has the instruction. `rbx` is LLVM's own, so it is swapped in and restored.
    unsafe {
        asm!(
            "xchg {new_low}, rbx",
            "lock cmpxchg16b [{at}]",
            "mov rbx, {new_low}",
            at = in(reg) at,
            new_low = inout(reg) new as u64 => _,
            inout("rax") low,
            inout("rdx") high,
            in("rcx") (new >> 64) as u64,
            options(nostack),
        );
    }
    u128::from(low) | u128::from(high) << 64
}

#[cfg(not(target_arch = "x86_64"))]
compile_error!("16-byte guest atomics are written for x86-64 hosts only so far");

/// Tells [`CodePages`] of device writes; it is the `bitmap` of a [`GuestMemory`] region.
#[derive(Debug)]
pub struct DmaTracker {
    code: Arc<CodePages>,
    base: usize,
    /// Keeps the memory that the region points into.
    _mapping: Arc<Reserved>,
}

/// A [`DmaTracker`] from some offset on.
#[derive(Clone, Copy, Debug)]
pub struct DmaSlice<'a> {
    code: &'a CodePages,
    base: usize,
}

impl<'a> WithBitmapSlice<'a> for DmaTracker {
    type S = DmaSlice<'a>;
}

impl Bitmap for DmaTracker {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.code.note_write(self.base.saturating_add(offset), len);
    }

    /// Nothing is tracked for readers of the view.
    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }

    fn slice_at(&self, offset: usize) -> DmaSlice<'_> {
        DmaSlice { code: &self.code, base: self.base.saturating_add(offset) }
    }
}

impl<'b> WithBitmapSlice<'b> for DmaSlice<'_> {
    type S = Self;
}

impl BitmapSlice for DmaSlice<'_> {}

impl Bitmap for DmaSlice<'_> {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.code.note_write(self.base.saturating_add(offset), len);
    }

    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }

    fn slice_at(&self, offset: usize) -> Self {
        Self { code: self.code, base: self.base.saturating_add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    fn ram() -> Ram {
        RamBuilder::new()
            .region("rom", 0x1000, 0x1000, false)
            .and_then(|b| b.region("dram", 0x8000_0000, 0x4000, true))
            .and_then(RamBuilder::build)
            .unwrap()
    }

    #[test]
    fn units_of_every_size_and_alignment() {
        let ram = ram();
        let base = ram.offset_of(0x8000_0000, 0x4000).unwrap();
        for i in 0..64usize {
            ram.store::<u8>(base + i, i as u8);
        }
        for at in 0..40usize {
            let expect: [u8; 8] = std::array::from_fn(|i| (at + i) as u8);
            assert_eq!(ram.load::<u64>(base + at), u64::from_le_bytes(expect), "at {at}");
            assert_eq!(ram.load::<u32>(base + at), u64::from_le_bytes(expect) as u32, "at {at}");
            assert_eq!(ram.load::<u16>(base + at), u64::from_le_bytes(expect) as u16, "at {at}");
        }
        ram.store::<u64>(base + 0x101, 0x1122_3344_5566_7788);
        assert_eq!(ram.load::<u64>(base + 0x101), 0x1122_3344_5566_7788);
        assert_eq!(ram.load::<u8>(base + 0x100), 0);
        assert_eq!(ram.compare_exchange_128(base + 0x200, 0, 5), 0);
        assert_eq!(ram.compare_exchange_128(base + 0x200, 0, 6), 5);
        assert_eq!(ram.fetch_update::<u32>(base + 0x200, |v| v + 1), 5);
        assert_eq!(ram.load::<u64>(base + 0x200), 6);
    }

    #[test]
    fn addresses_and_offsets() {
        let ram = ram();
        assert_eq!(ram.offset_of(0x1ff8, 8), Some(0xff8));
        assert_eq!(ram.offset_of(0x1ff8, 9), None);
        assert_eq!(ram.offset_of(0x8000_4000, 1), None);
        assert_eq!(ram.offset_of(u64::MAX, 1), None);
        assert_eq!(ram.address_of(0x1010), Some(0x8000_0010));
        assert_eq!(ram.address_of(0x5000), None);
        assert!(
            RamBuilder::new()
                .region("a", 0, 0x2000, true)
                .unwrap()
                .region("b", 0x1000, 0x1000, true)
                .is_err()
        );
        assert!(RamBuilder::new().region("a", u64::MAX - 0xfff, 0x2000, true).is_err());
    }

    #[test]
    fn device_writes_reach_the_code_pages() {
        let ram = ram();
        let view = ram.guest_memory().unwrap();
        ram.code_pages().mark_code(0x1000);
        assert!(view.write_obj(7u32, GuestAddress(0x1000)).is_err(), "ROM is not for DMA");
        view.write_obj(7u32, GuestAddress(0x8000_0008)).unwrap();
        assert_eq!(ram.load::<u32>(0x1008), 7);
        assert_eq!(ram.code_pages().take_stale(), [0x1000]);
    }
}
