//! What a file is, from its first bytes.

use super::unpack::{self, Wrapping};
use super::{Format, Isa, KernelKind, Layout, LoadError};

/// How much is unpacked to look at the kernel inside.
const PROBE: u64 = 64 << 10;

/// Size of the header of a Linux `Image` (Documentation/arch/riscv/boot-image-header.rst and
/// arm64/booting.rst).
const IMAGE_HEADER: usize = 64;
/// An arm64 `Image` without a size (before Linux 3.17) is loaded at this offset.
const ARM64_OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// Finds out what a kernel file is. A damaged file is identified as far as it can be.
pub fn identify(bytes: &[u8]) -> Result<KernelKind, LoadError> {
    let mut packing = Vec::new();
    let mut isa = None;
    let mut unpacked;
    let mut bytes = bytes;
    while let Some(wrapping) = unpack::wrapping(bytes, packing.len())? {
        packing.push(wrapping.packing());
        match wrapping {
            Wrapping::Stream(packing) => {
                unpacked = unpack::probe(packing, bytes, PROBE);
                bytes = &unpacked;
            }
            Wrapping::Zboot { payload, isa: found } => {
                isa = found;
                bytes = payload;
            }
        }
    }
    let (format, found) = inner_kind(bytes);
    Ok(KernelKind { isa: found.or(isa), format, packing })
}

/// The kind of a file that is not packed.
pub(super) fn inner_kind(bytes: &[u8]) -> (Format, Option<Isa>) {
    if bytes.starts_with(b"\x7fELF") {
        return (Format::Elf, elf_isa(bytes));
    }
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let pe = pe_isa(bytes);
    if at(56, b"RSC\x05") || at(48, b"RISCV\0\0\0") {
        return (
            Format::LinuxImage,
            Some(if pe == Some(Isa::Riscv32) { Isa::Riscv32 } else { Isa::Riscv64 }),
        );
    }
    if at(56, b"ARM\x64") {
        return (Format::LinuxImage, Some(Isa::Aarch64));
    }
    if at(0x202, b"HdrS") {
        // `xloadflags` bit 0: there is a 64-bit entry point (Documentation/arch/x86/boot.rst).
        let long = bytes.get(0x236).is_some_and(|flags| flags & 1 != 0);
        return (Format::BzImage, Some(if long { Isa::X86_64 } else { Isa::X86 }));
    }
    match pe {
        Some(_) => (Format::EfiProgram, pe),
        None => (Format::Raw, None),
    }
}

fn elf_isa(bytes: &[u8]) -> Option<Isa> {
    let class64 = *bytes.get(4)? == 2;
    let machine = match *bytes.get(5)? {
        2 => u16::from_be_bytes([*bytes.get(18)?, *bytes.get(19)?]),
        _ => u16::from_le_bytes([*bytes.get(18)?, *bytes.get(19)?]),
    };
    Some(match (machine, class64) {
        (243, true) => Isa::Riscv64,
        (243, false) => Isa::Riscv32,
        (183, _) => Isa::Aarch64,
        (40, _) => Isa::Arm,
        (62, _) => Isa::X86_64,
        (3, _) => Isa::X86,
        (other, _) => Isa::Other(other),
    })
}

/// What a PE program is for (Microsoft PE Format, "Machine Types"); `None` if it is not one.
pub(super) fn pe_isa(bytes: &[u8]) -> Option<Isa> {
    if !bytes.starts_with(b"MZ") {
        return None;
    }
    let at = word(bytes, 0x3c)? as usize;
    let header = bytes.get(at..at.checked_add(6)?)?;
    let machine = u16::from_le_bytes(header.strip_prefix(b"PE\0\0")?.try_into().ok()?);
    Some(match machine {
        0x5064 => Isa::Riscv64,
        0x5032 => Isa::Riscv32,
        0xaa64 => Isa::Aarch64,
        0x01c0 | 0x01c2 | 0x01c4 => Isa::Arm,
        0x8664 => Isa::X86_64,
        0x014c => Isa::X86,
        other => Isa::Other(other),
    })
}

/// The layout that the header of a Linux `Image` asks for.
pub(super) fn image_layout(bytes: &[u8]) -> Result<Layout, LoadError> {
    let damaged = |what: &str| LoadError::Damaged { format: "Linux image", what: what.into() };
    if bytes.len() < IMAGE_HEADER {
        return Err(damaged("the header is cut off"));
    }
    let field = |at| double(bytes, at).unwrap_or_default();
    let (text_offset, image_size, flags) = (field(8), field(16), field(24));
    let (arm, file_size) = (bytes.get(56..60) == Some(b"ARM\x64"), bytes.len() as u64);
    if flags & 1 != 0 {
        return Err(damaged("it is for a big-endian machine"));
    }
    let (text_offset, image_size) = match image_size {
        0 if arm => (ARM64_OLD_TEXT_OFFSET, file_size),
        _ => (text_offset, image_size.max(file_size)),
    };
    Ok(Layout::Flat { memory_size: image_size, text_offset })
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn double(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
