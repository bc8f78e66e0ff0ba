//! Guest memory: RAM, the physical address map, and address translation caches.

mod bus;
mod code_pages;
mod huge;
mod jumps;
mod mmu;
mod ram;
mod reserved;
mod window;

pub use bus::{Bus, BusBuilder, MapError};
pub use code_pages::CodePages;
pub use jumps::{JUMP_ENTRIES, JumpEntry, jump_index};
pub use mmu::{Fill, Flush, Mmu, TLB_ENTRIES, Tables, TlbEntry};
pub use ram::{DmaTracker, GuestMemory, Ram, RamBuilder, RamError, RamRegion, Scalar};
pub use window::{FAR, GUARD, Mapping, SEGMENT_BITS, SEGMENTS, Segment, WINDOWED, WindowConfig, Windows};

/// The granule of code tracking and of the smallest translation: 4 KiB.
pub const PAGE_BITS: u32 = 12;
/// Bytes in a [`PAGE_BITS`] page.
pub const PAGE_SIZE: u64 = 1 << PAGE_BITS;

/// The beginning of the page behind that of `va`.
pub const fn next_page(va: u64) -> u64 {
    (va | (PAGE_SIZE - 1)).wrapping_add(1)
}
