//! Host addresses of one's own.
#![allow(unsafe_code, reason = "gets ranges of addresses from the host, and gives them back")]

use std::io;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Bytes in a huge page of the host.
pub(super) const HUGE_PAGE: usize = 2 << 20;

/// A range of addresses that begins at a huge page. What is mapped in it is its owner's business.
#[derive(Debug)]
pub(super) struct Reserved {
    /// What the host has given: enough to lose a part of a huge page at the beginning.
    start: NonNull<u8>,
    mapped: usize,
    base: NonNull<u8>,
}

// SAFETY: the value names a range that belongs to it alone; it accesses nothing there. Owners say how they do.
unsafe impl Send for Reserved {}
// SAFETY: as above.
unsafe impl Sync for Reserved {}

impl Reserved {
    /// `len` bytes of private memory that reads as zero, to be used as `prot` says; it takes memory only where it is touched.
    pub(super) fn new(len: usize, prot: ProtFlags) -> io::Result<Self> {
        let mapped = len.checked_add(HUGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else can refer to it yet.
        let start =
            unsafe { mmap_anonymous(null_mut(), mapped, prot, MapFlags::PRIVATE | MapFlags::NORESERVE)? };
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| io::Error::other("the mapping is at address zero"))?;
        let skip = start.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        // SAFETY: inside the mapping, which is longer than a huge page.
        let base = unsafe { start.add(skip) };
        Ok(Self { start, mapped, base })
    }

    /// Its first byte.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Makes all of it inaccessible, and gives back what was mapped there. The host needs no mapping more for that than there is.
    pub(super) fn empty(&self) -> io::Result<()> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: exactly what `new` mapped, where no Rust value lives.
        unsafe { mmap_anonymous(self.start.as_ptr().cast(), self.mapped, ProtFlags::empty(), flags)? };
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `new` mapped, and whoever points into it holds this value. A failure would leak the
        // range, no more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}
