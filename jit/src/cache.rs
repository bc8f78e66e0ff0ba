//! Code memory: one memory object, mapped twice, so that no page is ever both writable and executable.
#![allow(unsafe_code, reason = "the one module that maps and writes memory that is executed")]

use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The two views of the code memory.
#[derive(Debug)]
pub(crate) struct CodeMemory {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    len: usize,
}

// SAFETY: plain shared memory that lives as long as the value; who may write where is the allocator's business, and a
// mistake there corrupts code, not Rust's view of it: the memory is only ever written through raw pointers.
unsafe impl Send for CodeMemory {}
// SAFETY: as above.
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    /// `len` bytes, a multiple of the page size.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let fd = memfd_create("ferry-code", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, len as u64)?;
        let map = |prot| {
            // SAFETY: a new mapping at an address of the kernel's choice; nothing else can refer to it yet.
            let at = unsafe { mmap(null_mut(), len, prot, MapFlags::SHARED | MapFlags::NORESERVE, &fd, 0)? };
            NonNull::new(at.cast::<u8>()).ok_or_else(|| io::Error::other("the mapping is at address zero"))
        };
        let writable = map(ProtFlags::READ | ProtFlags::WRITE)?;
        match map(ProtFlags::READ | ProtFlags::EXEC) {
            Ok(executable) => Ok(Self { writable, executable, len }),
            Err(error) => {
                // SAFETY: exactly what was mapped above, and nobody has the address.
                let _ = unsafe { munmap(writable.as_ptr().cast(), len) };
                Err(error)
            }
        }
    }

    /// Where the byte at `offset` is executed.
    pub(crate) fn address(&self, offset: usize) -> usize {
        self.executable.as_ptr().addr() + offset
    }

    /// Writes code that nothing can be executing: the caller has allocated the range and published no address in it.
    pub(crate) fn write(&self, offset: usize, code: &[u8]) {
        assert!(offset <= self.len && code.len() <= self.len - offset, "code beyond the end of its memory");
        // SAFETY: the range is inside the mapping, as just checked, and `code` is ordinary memory elsewhere.
        unsafe { self.writable.as_ptr().add(offset).copy_from_nonoverlapping(code.as_ptr(), code.len()) };
    }

    /// Replaces the displacement at `offset`, which may be executed at the same time: other threads see the old or the
    /// new one.
    pub(crate) fn patch(&self, offset: usize, displacement: i32) {
        assert!(offset.is_multiple_of(4) && offset < self.len - 3, "not a displacement's place");
        // SAFETY: inside the mapping and aligned, as just checked; all later writes to it are atomic ones like this.
        let place = unsafe { AtomicI32::from_ptr(self.writable.as_ptr().add(offset).cast()) };
        place.store(displacement, Ordering::Release);
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; whoever executes code holds a reference to this value.
        unsafe {
            let _ = munmap(self.writable.as_ptr().cast(), self.len);
            let _ = munmap(self.executable.as_ptr().cast(), self.len);
        }
    }
}
