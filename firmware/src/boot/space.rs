//! The placing of files in memory.

use std::ops::Range;
use std::sync::Arc;

use super::rules::{FdtPlace, InitrdBase, KernelPlace, Reset, Rules};
use super::{BootError, FdtAt, Firmware, FwDynamicInfo, Placement, RomContents, Segment, Start};
use crate::load::{Format, Image, Layout};

/// The boundary at which an initrd goes when a kernel's end decides.
const PAGE: u64 = 4096;

/// The memory, and what is in it so far.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) rules: Rules,
    pub(super) dram: Range<u64>,
    pub(super) segments: Vec<Segment>,
}

/// Where an image has been placed.
#[derive(Clone, Copy)]
struct Placed {
    /// Its lowest address.
    low: u64,
    /// The address behind it.
    end: u64,
    /// Where it begins to execute.
    entry: u64,
}

impl Space {
    /// A firmware that is the board's ROM: it finds everything else itself.
    pub(super) fn beside_rom_firmware(
        self,
        image: &Image,
        base: u64,
        size: u64,
        others: bool,
    ) -> Result<Placement, BootError> {
        let len = image.bytes.len() as u64;
        if !matches!(image.layout, Layout::Flat { .. }) {
            return Err(BootError::FirmwareFormat { kind: image.kind.to_string() });
        }
        if len > size {
            return Err(BootError::LargeFirmware { len, size });
        }
        debug_assert!(!others, "kernel and initrd are the firmware's to find");
        let room = match self.rules.fdt {
            FdtPlace::BehindInitrd { room } => FdtAt::Base(room),
            FdtPlace::End => FdtAt::End,
        };
        let rom = RomContents::File(Arc::clone(&image.bytes));
        Ok(Placement { space: self, initrd: None, start: Start::Reset { entry: base }, fdt_at: room, rom })
    }

    /// Firmware, if it is a file, kernel and initrd in DRAM.
    pub(super) fn in_memory(
        mut self,
        firmware: &Firmware,
        kernel: Option<&Image>,
        initrd: Option<Vec<u8>>,
    ) -> Result<Placement, BootError> {
        let (rules, base) = (self.rules, self.dram.start);
        let (first, firmware_end) = match firmware {
            Firmware::Builtin => (None, base.saturating_add(rules.builtin_firmware)),
            Firmware::None => (None, base),
            Firmware::Image(image) => {
                let placed = self.place_image("the firmware", image, base)?;
                (Some(placed), placed.end)
            }
        };
        let kernel_base = match rules.kernel {
            KernelPlace::Above { align } => firmware_end.checked_next_multiple_of(align).unwrap_or(u64::MAX),
            KernelPlace::TextOffset { .. } if matches!(firmware, Firmware::None) => base,
            KernelPlace::TextOffset { least, step, raw } => {
                let offset = match kernel.map(|kernel| (kernel.kind.format, &kernel.layout)) {
                    Some((Format::LinuxImage, Layout::Flat { text_offset, .. })) => *text_offset,
                    Some((_, Layout::Flat { .. })) => raw,
                    _ => 0,
                };
                base.saturating_add(if offset < least { offset + step } else { offset })
            }
        };
        let has_addresses = kernel.is_some_and(|kernel| match &kernel.layout {
            Layout::Segments { segments, movable, .. } => {
                !movable || segments.first().is_some_and(|first| self.dram.contains(&first.address))
            }
            Layout::Flat { .. } => false,
        });
        let kernel = kernel.map(|kernel| self.place_image("the kernel", kernel, kernel_base)).transpose()?;
        let next = |kernel: &Placed| if rules.elf_entry { kernel.entry } else { kernel.low };

        let begin = match (first, &kernel) {
            (Some(firmware), _) => firmware.entry,
            (None, Some(kernel)) if matches!(firmware, Firmware::Builtin) => next(kernel),
            (None, Some(kernel)) => kernel.entry,
            (None, None) => return Err(BootError::NoKernel),
        };
        let (start, rom) = match (firmware, rules.reset) {
            (Firmware::Builtin, _) => (Start::Kernel { entry: begin }, RomContents::File(Arc::default())),
            (_, Reset::Direct { .. }) => (Start::Reset { entry: begin }, RomContents::File(Arc::default())),
            (_, Reset::Rom { base }) => {
                // Only a firmware has somewhere to go on.
                let next_address = first.and(kernel.as_ref()).map_or(0, next);
                let info = FwDynamicInfo { next_address };
                (Start::Reset { entry: base }, RomContents::Stub { start: begin, info })
            }
        };
        let (low, end) = kernel.map_or((kernel_base, kernel_base), |kernel| (kernel.low, kernel.end));
        let initrd = initrd.map(|initrd| self.place_initrd(initrd, low, end)).transpose()?;
        let fdt_at = match rules.fdt {
            FdtPlace::End => FdtAt::End,
            FdtPlace::BehindInitrd { room } if has_addresses && low - base >= room => FdtAt::Base(room),
            FdtPlace::BehindInitrd { .. } => {
                FdtAt::From(initrd.as_ref().map_or_else(|| self.initrd_place(low, end), |initrd| initrd.end))
            }
        };
        Ok(Placement { space: self, initrd, start, fdt_at, rom })
    }

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

    /// The usual place of an initrd, or the end of the kernel if that is above it.
    fn initrd_place(&self, low: u64, end: u64) -> u64 {
        let base = match self.rules.initrd_base {
            InitrdBase::Kernel => low,
            InitrdBase::Dram => self.dram.start,
        };
        let behind = end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        base.saturating_add(self.rules.initrd_offset_limit.min(self.memory() / 2)).max(behind)
    }

    /// Places the initrd at its usual place; where it does not fit there, right behind the kernel, which is at `low` to
    /// `end`.
    fn place_initrd(&mut self, initrd: Vec<u8>, low: u64, end: u64) -> Result<Range<u64>, BootError> {
        const WHAT: &str = "the initrd";
        let size = initrd.len() as u64;
        let behind = end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        // The last place for a device tree stays free.
        let limit = self.dram.end.saturating_sub(1) / self.rules.fdt_align * self.rules.fdt_align;
        let fits = |at: u64| at.checked_add(size).is_some_and(|end| end <= limit);
        let Some(at) = [self.initrd_place(low, end), behind].into_iter().find(|&at| fits(at)) else {
            return Err(self.no_room(WHAT, behind, size.saturating_add(self.dram.end - limit)));
        };
        let bytes = 0..initrd.len();
        self.add(WHAT, at, size, Arc::new(initrd), bytes)
    }

    pub(super) fn place_fdt(&mut self, fdt: Vec<u8>, place: FdtAt) -> Result<u64, BootError> {
        const WHAT: &str = "the device tree";
        let size = fdt.len() as u64;
        let align = self.rules.fdt_align;
        let taken = self.segments.iter().map(|segment| segment.range().end).max().unwrap_or(self.dram.start);
        let last = self.dram.end.checked_sub(size).map(|at| at / align * align).filter(|&at| at >= taken);
        let at = match place {
            FdtAt::Base(_) => Some(self.dram.start),
            FdtAt::End => last,
            FdtAt::From(at) => {
                let at = at.max(taken).checked_next_multiple_of(align);
                // In small memories the usual place of an initrd may be beyond the end.
                at.filter(|at| at.checked_add(size).is_some_and(|end| end <= self.dram.end)).or(last)
            }
        };
        let Some(at) = at else {
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
