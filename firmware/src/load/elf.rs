//! ELF files: the segments to load.

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::PT_LOAD;
use goblin::elf::{Elf, ProgramHeader};

use super::{ElfSegment, Layout, LoadError};

/// The most segments that are loaded. Kernels have about four.
const MOST_SEGMENTS: usize = 256;

/// The segments of an ELF file at their physical addresses, and its entry point.
pub(super) fn layout(bytes: &[u8]) -> Result<Layout, LoadError> {
    let damaged = |what: String| LoadError::Damaged { format: "ELF file", what };
    let header = Elf::parse_header(bytes).map_err(|error| damaged(error.to_string()))?;
    if header.container().ok() != Some(Container::Big) || header.endianness().ok() != Some(Endian::Little) {
        return Err(damaged("it is not for a 64-bit little-endian machine".into()));
    }
    if !matches!(header.e_type, ET_EXEC | ET_DYN) {
        let what = "an ELF file that is not linked".into();
        return Err(LoadError::Unsupported { what, advice: "give an executable" });
    }
    let ctx = Ctx::new(Container::Big, Endian::Little);
    let table = usize::try_from(header.e_phoff).ok().filter(|&at| at <= bytes.len());
    let table = table.ok_or_else(|| damaged("the program headers are cut off".into()))?;
    let headers = ProgramHeader::parse(bytes, table, header.e_phnum.into(), ctx)
        .map_err(|error| damaged(error.to_string()))?;

    let mut segments = Vec::new();
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0) {
        let end = header.p_offset.checked_add(header.p_filesz).filter(|&end| end <= bytes.len() as u64);
        let end = end.ok_or_else(|| damaged("a segment is cut off".into()))?;
        let wraps = header.p_paddr.checked_add(header.p_memsz - 1).is_none();
        if wraps || header.p_filesz > header.p_memsz {
            return Err(damaged(format!("the segment at {:#x} has no valid size", header.p_paddr)));
        }
        // Both fit, because `end` is at most the length of a slice.
        let file = header.p_offset as usize..end as usize;
        segments.push(ElfSegment { address: header.p_paddr, file, memory_size: header.p_memsz });
    }
    if segments.len() > MOST_SEGMENTS {
        return Err(damaged(format!("it has {} segments, which is no kernel's number", segments.len())));
    }
    if segments.is_empty() {
        return Err(damaged("it has nothing to load".into()));
    }
    segments.sort_by_key(|segment| segment.address);
    if let Some([first, _]) = segments.array_windows().find(|[a, b]| b.address - a.address < a.memory_size) {
        return Err(damaged(format!("another segment lies over that at {:#x}", first.address)));
    }
    let virtual_addresses = segments.iter().all(|segment| segment.address >> 63 != 0);
    let movable = header.e_type == ET_DYN || virtual_addresses;
    Ok(Layout::Segments { segments, entry: header.e_entry, movable })
}
