//! Where firmware, kernel, initrd and device tree go in memory, and how the CPUs start.
//!
//! [`Placement::new`] decides where everything but the device tree goes, by the [`rules`] of the board; the
//! device tree is then written, because it says where the initrd is; [`Placement::finish`] puts it in its
//! place. The [`BootPlan`] can be carried out again and again, for each reset.

mod reset_rom;
pub mod rules;
mod space;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use emu_core::mem::GuestMemory;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use crate::load::Image;

pub use reset_rom::{FwDynamicInfo, RESET_ROM_SIZE, reset_rom};
use rules::{Reset, Rules};
use space::Space;

/// What runs before the kernel.
#[derive(Clone, Debug)]
pub enum Firmware {
    /// The built-in one: the kernel is entered as an operating system.
    Builtin,
    /// Nothing: the kernel is entered with all privileges.
    None,
    /// A real one, entered with all privileges where the board's rules or its ELF file say.
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
    /// The firmware is larger than the board's ROM.
    #[error("the firmware has {len} bytes, but the board's ROM {size}")]
    LargeFirmware {
        /// The firmware's size.
        len: u64,
        /// The ROM's.
        size: u64,
    },
    /// The firmware does not go into a ROM.
    #[error(
        "the firmware is a {kind}, but this board takes the contents of a ROM: give a raw image (objcopy -O binary)"
    )]
    FirmwareFormat {
        /// What it is.
        kind: String,
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

/// How the CPUs start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the built-in firmware ([`crate::sbi::Sbi::boot`], [`crate::smccc::Smccc::boot`]): the boot CPU enters
    /// `entry`, with the address of the device tree as the argument; the others are stopped.
    Kernel {
        /// The kernel's first instruction.
        entry: u64,
    },
    /// All CPUs as after a reset, with all privileges.
    Reset {
        /// Where they begin.
        entry: u64,
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
    start: Start,
    fdt_at: FdtAt,
    rom: RomContents,
}

/// What goes into the board's ROM.
#[derive(Clone, Debug)]
enum RomContents {
    /// A firmware, or nothing.
    File(Arc<Vec<u8>>),
    /// The code that jumps to `start`.
    Stub { start: u64, info: FwDynamicInfo },
}

/// Where the device tree is to go.
#[derive(Clone, Copy, Debug)]
enum FdtAt {
    /// Below the end of DRAM.
    End,
    /// From this address on.
    From(u64),
    /// At the beginning of DRAM, with this much room.
    Base(u64),
}

/// What goes where: the result, ready to be carried out.
#[derive(Clone, Debug)]
pub struct BootPlan {
    segments: Vec<Segment>,
    /// How the CPUs start.
    pub start: Start,
    /// Where the device tree is.
    pub fdt: u64,
    /// What the board's ROM holds, from its first byte on; it may be less than all of it.
    pub rom: Arc<Vec<u8>>,
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
        let space = Space { rules: *rules, dram, segments: Vec::new() };
        match (firmware, rules.reset) {
            (Firmware::Image(image), Reset::Direct { base, size }) => {
                space.beside_rom_firmware(image, base, size, kernel.is_some() || initrd.is_some())
            }
            _ => space.in_memory(firmware, kernel, initrd),
        }
    }

    /// Where the initrd is, for `/chosen`.
    pub fn initrd(&self) -> Option<Range<u64>> {
        self.initrd.clone()
    }

    /// Puts the device tree into its place.
    pub fn finish(self, mut fdt: Vec<u8>) -> Result<BootPlan, BootError> {
        let Self { mut space, start, fdt_at, rom, .. } = self;
        if let FdtAt::Base(room) = fdt_at {
            crate::fdt::make_room(&mut fdt, room as usize);
        }
        let fdt = space.place_fdt(fdt, fdt_at)?;
        let rom = match rom {
            RomContents::File(bytes) => bytes,
            RomContents::Stub { start, info } => Arc::new(reset_rom(start, fdt, &info).to_vec()),
        };
        Ok(BootPlan { segments: space.segments, start, fdt, rom })
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
