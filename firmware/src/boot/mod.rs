//! Where firmware, kernel, initrd and device tree go in memory, and how the harts start.
//!
//! [`Placement::new`] decides where everything but the device tree goes, by the [`Rules`] of the board; the
//! device tree is then written, because it says where the initrd is; [`Placement::finish`] puts it in its
//! place. The [`BootPlan`] can be carried out again and again, for each reset.

mod reset_rom;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use emu_core::mem::GuestMemory;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use crate::load::{Image, Layout};

pub use reset_rom::{FwDynamicInfo, RESET_ROM_SIZE, reset_rom};

/// A board's rules. All sizes and offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How much memory the built-in firmware is taken to fill from the beginning of DRAM: it needs none, but
    /// what comes after it is linked for this address.
    pub builtin_firmware: u64,
    /// The boundary at which a kernel without addresses of its own goes, above the firmware.
    pub kernel_align: u64,
    /// The initrd goes half the memory's size above the kernel's beginning, but at most this far.
    pub initrd_offset_limit: u64,
    /// The boundary at which the device tree goes, below the end of DRAM.
    pub fdt_align: u64,
}

/// The rules of the riscv64 `virt` board.
pub const RISCV_VIRT: Rules = Rules {
    builtin_firmware: 2 << 20,
    kernel_align: 2 << 20,
    initrd_offset_limit: 512 << 20,
    fdt_align: 2 << 20,
};

/// The boundary at which an initrd goes when a kernel's end decides.
const PAGE: u64 = 4096;

/// What runs before the kernel.
#[derive(Clone, Debug)]
pub enum Firmware {
    /// The built-in SBI: the kernel is entered in S-mode.
    Builtin,
    /// Nothing: the kernel is entered in M-mode.
    None,
    /// A real one, entered in M-mode at the beginning of DRAM, or where its ELF file says.
    Image(Image),
}

/// Why a machine cannot be booted like this.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BootError {
    /// Neither a kernel nor a firmware of its own.
    #[error("there is nothing to boot: give a kernel with --kernel, or a firmware with --firmware")]
    NoKernel,
    /// Something is larger than the room for it.
    #[error(
        "{what} needs {} MiB of memory above {address:#x} but the machine has {} MiB: use --memory",
        needed.div_ceil(1 << 20), memory >> 20
    )]
    NoRoom {
        /// What does not fit.
        what: &'static str,
        /// Where it was to go.
        address: u64,
        /// How much it needs, in bytes.
        needed: u64,
        /// The machine's memory, in bytes.
        memory: u64,
    },
    /// A file names addresses that are not memory.
    #[error("{what} wants to be at {address:#x}, but memory is at {:#x} to {:#x}", dram.start, dram.end)]
    Outside {
        /// What has the wrong address.
        what: &'static str,
        /// The address.
        address: u64,
        /// The machine's memory.
        dram: Range<u64>,
    },
    /// Two files want the same memory.
    #[error("{what} at {:#x} to {:#x} lies over {other} at {:#x} to {:#x}",
        range.start, range.end, other_range.start, other_range.end)]
    Overlap {
        /// The one that came second.
        what: &'static str,
        /// Its place.
        range: Range<u64>,
        /// The one that was there first.
        other: &'static str,
        /// Its place.
        other_range: Range<u64>,
    },
    /// Guest memory refused a write that had been checked before.
    #[error("cannot write {what} to guest memory at {address:#x}")]
    Memory {
        /// What was being written.
        what: &'static str,
        /// Where.
        address: u64,
    },
}

/// How the harts start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the built-in firmware: the boot hart enters `entry` in S-mode with `a1` = `fdt`, by
    /// [`crate::sbi::Sbi::boot`]; the others are stopped.
    Supervisor {
        /// The kernel's first instruction.
        entry: u64,
        /// The device tree.
        fdt: u64,
    },
    /// All harts in M-mode at the reset vector, the beginning of this ROM.
    Machine {
        /// The contents of the reset ROM from its first byte on.
        rom: [u8; RESET_ROM_SIZE],
    },
}

/// Bytes that go to one place in memory.
#[derive(Clone, Debug)]
struct Segment {
    what: &'static str,
    address: u64,
    /// Its size in memory, at least that of its bytes; the rest is zero.
    size: u64,
    file: Arc<Vec<u8>>,
    bytes: Range<usize>,
}

impl Segment {
    fn range(&self) -> Range<u64> {
        self.address..self.address + self.size
    }
}

/// Everything placed but the device tree.
#[derive(Clone, Debug)]
pub struct Placement {
    space: Space,
    initrd: Option<Range<u64>>,
    mode: Mode,
}

/// How the harts start, as far as it is known without the device tree.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Supervisor { entry: u64 },
    Machine { start: u64, info: FwDynamicInfo },
}

/// What goes where: the result, ready to be carried out.
#[derive(Clone, Debug)]
pub struct BootPlan {
    segments: Vec<Segment>,
    /// How the harts start.
    pub start: Start,
    /// Where the device tree is.
    pub fdt: u64,
}

impl Placement {
    /// Places the files in `dram`.
    pub fn new(
        rules: &Rules,
        dram: Range<u64>,
        firmware: &Firmware,
        kernel: Option<&Image>,
        initrd: Option<Vec<u8>>,
    ) -> Result<Self, BootError> {
        let base = dram.start;
        let mut space = Space { rules: *rules, dram, segments: Vec::new() };

        let (first, firmware_end) = match firmware {
            Firmware::Builtin => (None, base.saturating_add(rules.builtin_firmware)),
            Firmware::None => (None, base),
            Firmware::Image(image) => {
                let placed = space.place_image("the firmware", image, base)?;
                let end = placed.end;
                (Some(placed), end)
            }
        };
        let kernel_base = firmware_end.checked_next_multiple_of(rules.kernel_align).unwrap_or(u64::MAX);
        let kernel = kernel.map(|kernel| space.place_image("the kernel", kernel, kernel_base)).transpose()?;

        // A firmware enters a kernel at its lowest address, whatever its ELF entry point: firmwares that
        // carry their kernel with them do so too, and kernels are built for that.
        let mode = match (first, &kernel) {
            (Some(firmware), kernel) => {
                let next_address = kernel.as_ref().map_or(0, |kernel| kernel.low);
                Mode::Machine { start: firmware.entry, info: FwDynamicInfo { next_address } }
            }
            (None, Some(kernel)) if matches!(firmware, Firmware::Builtin) => {
                Mode::Supervisor { entry: kernel.low }
            }
            (None, Some(kernel)) => {
                Mode::Machine { start: kernel.entry, info: FwDynamicInfo { next_address: 0 } }
            }
            (None, None) => return Err(BootError::NoKernel),
        };
        let initrd = initrd.map(|initrd| {
            let (low, end) = kernel.map_or((kernel_base, kernel_base), |kernel| (kernel.low, kernel.end));
            space.place_initrd(initrd, low, end)
        });
        Ok(Self { initrd: initrd.transpose()?, space, mode })
    }

    /// Where the initrd is, for `/chosen`.
    pub fn initrd(&self) -> Option<Range<u64>> {
        self.initrd.clone()
    }

    /// Puts the device tree into its place: below the end of DRAM, above everything else.
    pub fn finish(self, fdt: Vec<u8>) -> Result<BootPlan, BootError> {
        let Self { mut space, mode, .. } = self;
        let fdt = space.place_fdt(fdt)?;
        let start = match mode {
            Mode::Supervisor { entry } => Start::Supervisor { entry, fdt },
            Mode::Machine { start, info } => Start::Machine { rom: reset_rom(start, fdt, &info) },
        };
        Ok(BootPlan { segments: space.segments, start, fdt })
    }
}

impl BootPlan {
    /// Writes everything to memory.
    pub fn load(&self, memory: &GuestMemory) -> Result<(), BootError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        for segment in &self.segments {
            let what = segment.what;
            let mut at = segment.address;
            let mut write = |bytes: &[u8]| {
                let address = at;
                at += bytes.len() as u64;
                let written = memory.write_slice(bytes, GuestAddress(address));
                written.map_err(|_| BootError::Memory { what, address })
            };
            let bytes = segment.file.get(segment.bytes.clone()).unwrap_or_default();
            write(bytes)?;
            let mut left = segment.size.saturating_sub(bytes.len() as u64);
            while left > 0 {
                let zeros = &ZEROS[..left.min(ZEROS.len() as u64) as usize];
                write(zeros)?;
                left -= zeros.len() as u64;
            }
        }
        Ok(())
    }

    /// What is where, for messages: name, first address and the address behind it, in the order of placement.
    pub fn map(&self) -> impl Iterator<Item = (&'static str, Range<u64>)> {
        self.segments.iter().map(|segment| (segment.what, segment.range()))
    }
}

/// The memory, and what is in it so far.
#[derive(Clone, Debug)]
struct Space {
    rules: Rules,
    dram: Range<u64>,
    segments: Vec<Segment>,
}

/// Where an image has been placed.
struct Placed {
    /// Its lowest address.
    low: u64,
    /// The address behind it.
    end: u64,
    /// Where it begins to execute.
    entry: u64,
}

impl Space {
    /// Places a kernel or firmware; one without addresses of its own goes to `base`.
    fn place_image(&mut self, what: &'static str, image: &Image, base: u64) -> Result<Placed, BootError> {
        let bytes = &image.bytes;
        let (segments, entry, movable) = match &image.layout {
            Layout::Flat { memory_size, .. } => {
                let range = self.add(what, base, *memory_size, Arc::clone(bytes), 0..bytes.len())?;
                return Ok(Placed { low: range.start, end: range.end, entry: base });
            }
            Layout::Segments { segments, entry, movable } => (segments, *entry, *movable),
        };
        let low = segments.first().map_or(base, |segment| segment.address);
        let move_it = movable && !self.dram.contains(&low);
        let shift = if move_it { base.wrapping_sub(low) } else { 0 };
        let (low, entry) = (low.wrapping_add(shift), entry.wrapping_add(shift));
        // A linker that was told of no entry point writes one that is nowhere: then it is the beginning.
        let mut placed = Placed { low, end: low, entry: low };
        for segment in segments {
            let address = segment.address.wrapping_add(shift);
            if !move_it && !self.dram.contains(&address) {
                return Err(BootError::Outside { what, address, dram: self.dram.clone() });
            }
            let file = segment.file.clone();
            let range = self.add(what, address, segment.memory_size, Arc::clone(bytes), file)?;
            if range.contains(&entry) {
                placed.entry = entry;
            }
            placed.end = range.end;
        }
        Ok(placed)
    }

    /// Places the initrd at its usual place above `low`, the kernel's beginning; where it does not fit there,
    /// or the kernel is in the way, right behind the kernel's `end`.
    fn place_initrd(&mut self, initrd: Vec<u8>, low: u64, end: u64) -> Result<Range<u64>, BootError> {
        const WHAT: &str = "the initrd";
        let size = initrd.len() as u64;
        let behind = end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        let usual = low.saturating_add(self.rules.initrd_offset_limit.min(self.memory() / 2)).max(behind);
        // The last place for a device tree stays free.
        let limit = self.dram.end.saturating_sub(1) / self.rules.fdt_align * self.rules.fdt_align;
        let fits = |at: u64| at.checked_add(size).is_some_and(|end| end <= limit);
        let Some(at) = [usual, behind].into_iter().find(|&at| fits(at)) else {
            return Err(self.no_room(WHAT, behind, size.saturating_add(self.dram.end - limit)));
        };
        let bytes = 0..initrd.len();
        self.add(WHAT, at, size, Arc::new(initrd), bytes)
    }

    fn place_fdt(&mut self, fdt: Vec<u8>) -> Result<u64, BootError> {
        const WHAT: &str = "the device tree";
        let size = fdt.len() as u64;
        let align = self.rules.fdt_align;
        let taken = self.segments.iter().map(|segment| segment.range().end).max().unwrap_or(self.dram.start);
        let place = self.dram.end.checked_sub(size).map(|at| at / align * align).filter(|&at| at >= taken);
        let Some(at) = place else {
            return Err(self.no_room(WHAT, taken, size.next_multiple_of(align)));
        };
        let bytes = 0..fdt.len();
        Ok(self.add(WHAT, at, size, Arc::new(fdt), bytes)?.start)
    }

    fn add(
        &mut self,
        what: &'static str,
        address: u64,
        size: u64,
        file: Arc<Vec<u8>>,
        bytes: Range<usize>,
    ) -> Result<Range<u64>, BootError> {
        let end = address.checked_add(size).filter(|&end| address >= self.dram.start && end <= self.dram.end);
        let Some(end) = end else { return Err(self.no_room(what, address, size)) };
        let range = address..end;
        let overlap = |other: &&Segment| other.range().start < end && address < other.range().end;
        if let Some(other) = self.segments.iter().find(overlap) {
            return Err(BootError::Overlap { what, range, other: other.what, other_range: other.range() });
        }
        self.segments.push(Segment { what, address, size, file, bytes });
        Ok(range)
    }

    fn memory(&self) -> u64 {
        self.dram.end - self.dram.start
    }

    fn no_room(&self, what: &'static str, address: u64, needed: u64) -> BootError {
        BootError::NoRoom { what, address, needed, memory: self.memory() }
    }
}
