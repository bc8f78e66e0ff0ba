//! Kernel files: what they are, and what of them goes into memory.
//!
//! Taken are Linux `Image` files for RISC-V and Arm, ELF files, and, as a last resort, raw binaries; each
//! also packed with gzip, zstd or xz, or as an EFI zboot program. A file is hostile input: sizes are checked
//! before they are used, and nothing is unpacked beyond the limit that the caller gives, which is the size of
//! the machine's memory.

mod detect;
mod elf;
#[cfg(test)]
pub(crate) mod tests;
mod unpack;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

pub use detect::identify;

/// The largest file that is read, in bytes. Kernels with their debugging information stay below this.
pub const LARGEST_FILE: u64 = 2 << 30;

/// The instruction set of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 64-bit RISC-V.
    Riscv64,
    /// 32-bit RISC-V.
    Riscv32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm.
    Arm,
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// Another one, by its ELF machine number.
    Other(u16),
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Riscv64 => "riscv64",
            Self::Riscv32 => "riscv32",
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
            Self::X86_64 => "x86-64",
            Self::X86 => "x86",
            Self::Other(machine) => return write!(f, "foreign (ELF machine {machine})"),
        })
    }
}

/// What a kernel file is once it is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Linux `Image` with its 64-byte header.
    LinuxImage,
    /// An ELF file.
    Elf,
    /// An x86 `bzImage`, which is recognised only to say so.
    BzImage,
    /// A PE program for EFI firmware that is not a Linux image.
    EfiProgram,
    /// None of these: taken as it is.
    Raw,
}

/// A wrapping around a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// xz.
    Xz,
    /// A Linux EFI program that carries a packed kernel.
    EfiZboot,
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::EfiZboot => "EFI zboot",
        })
    }
}

/// What a kernel file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelKind {
    /// What it is for; not known for raw binaries.
    pub isa: Option<Isa>,
    /// What it is inside.
    pub format: Format,
    /// How it is packed, outermost first.
    pub packing: Vec<Packing>,
}

impl fmt::Display for KernelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(isa) = self.isa {
            write!(f, "{isa} ")?;
        }
        f.write_str(match self.format {
            Format::LinuxImage => "Linux image",
            Format::Elf => "ELF file",
            Format::BzImage => "Linux bzImage",
            Format::EfiProgram => "EFI program",
            Format::Raw => "raw binary",
        })?;
        match self.packing.as_slice() {
            [] => Ok(()),
            packing => {
                let names: Vec<_> = packing.iter().map(Packing::to_string).collect();
                write!(f, " ({})", names.join(", "))
            }
        }
    }
}

/// Why a kernel or firmware file cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// What went wrong with a named file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<LoadError>,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// The file is larger than [`LARGEST_FILE`].
    #[error("the file has {0} bytes, which is no kernel's size")]
    LargeFile(u64),
    /// It unpacks to more than the machine's memory.
    #[error(
        "it unpacks to more than {} MiB, which is all of the machine's memory: use --memory",
        limit >> 20
    )]
    UnpacksTooLarge {
        /// The limit that was given, in bytes.
        limit: u64,
    },
    /// It is not for this machine.
    #[error("this is {} {kind}, expected one for {expected}", article(kind.isa))]
    WrongIsa {
        /// What the file is.
        kind: KernelKind,
        /// What the machine is.
        expected: Isa,
    },
    /// A format that is recognised but cannot be loaded.
    #[error("this is {what}, which cannot be loaded directly: {advice}")]
    Unsupported {
        /// The format.
        what: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// The packed data is damaged.
    #[error("the {packing} data is damaged: {source}")]
    Unpack {
        /// How it is packed.
        packing: Packing,
        /// What the unpacker says.
        source: std::io::Error,
    },
    /// A header contradicts itself or the file.
    #[error("the {format} is damaged: {what}")]
    Damaged {
        /// What the file is.
        format: &'static str,
        /// What is wrong.
        what: String,
    },
}

fn article(isa: Option<Isa>) -> &'static str {
    match isa {
        Some(Isa::Aarch64 | Isa::Arm | Isa::X86_64 | Isa::X86) => "an",
        _ => "a",
    }
}

/// A part of an ELF file that goes into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfSegment {
    /// Its guest-physical address.
    pub address: u64,
    /// Where its bytes are in the file.
    pub file: Range<usize>,
    /// Its size in memory; what the file does not cover is zero.
    pub memory_size: u64,
}

/// How a kernel is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One piece, which may lie anywhere that the board's rules allow.
    Flat {
        /// The memory that it needs from its first byte on; at least its own size.
        memory_size: u64,
        /// The offset that its header asks for from a 2 MiB boundary; zero if it has none.
        text_offset: u64,
    },
    /// In segments, at the addresses that they name.
    Segments {
        /// By address; they do not overlap, and there is at least one.
        segments: Vec<ElfSegment>,
        /// Where it begins.
        entry: u64,
        /// Whether it may be moved, as a whole, if its addresses are not memory: it is position independent,
        /// or a Linux kernel that is linked at virtual addresses and finds out where it is.
        movable: bool,
    },
}

/// An unpacked kernel or firmware file.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it is.
    pub kind: KernelKind,
    /// The unpacked file.
    pub bytes: Arc<Vec<u8>>,
    /// What of it goes where.
    pub layout: Layout,
}

impl Image {
    /// Reads and unpacks a file for a machine with `expected` instructions and `limit` bytes of memory.
    pub fn open(path: &Path, expected: Isa, limit: u64) -> Result<Self, LoadError> {
        let image = read_file(path).and_then(|bytes| Self::parse(bytes, expected, limit));
        image.map_err(in_file(path))
    }

    /// Unpacks a file for a machine with `expected` instructions and `limit` bytes of memory.
    pub fn parse(bytes: Vec<u8>, expected: Isa, limit: u64) -> Result<Self, LoadError> {
        let (kind, bytes) = unpack::unpack_all(bytes, limit)?;
        if kind.isa.is_some_and(|isa| isa != expected) {
            return Err(LoadError::WrongIsa { kind, expected });
        }
        let layout = match kind.format {
            Format::Elf => elf::layout(&bytes)?,
            Format::LinuxImage => detect::image_layout(&bytes)?,
            Format::Raw => Layout::Flat { memory_size: bytes.len() as u64, text_offset: 0 },
            Format::BzImage | Format::EfiProgram => {
                let advice = "give a kernel, or start it through EFI firmware";
                return Err(LoadError::Unsupported { what: format!("{} {kind}", article(kind.isa)), advice });
            }
        };
        Ok(Self { kind, bytes: Arc::new(bytes), layout })
    }
}

/// Reads a whole file, at most [`LARGEST_FILE`] bytes.
pub fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(LoadError::Read)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(LoadError::Read)?;
    match bytes.len() as u64 {
        0 => Err(LoadError::Empty),
        len if len > LARGEST_FILE => Err(LoadError::LargeFile(len)),
        _ => Ok(bytes),
    }
}

/// Finds out what the file is; reads all of it but unpacks only its beginning.
pub fn identify_file(path: &Path) -> Result<KernelKind, LoadError> {
    read_file(path).and_then(|bytes| identify(&bytes)).map_err(in_file(path))
}

fn in_file(path: &Path) -> impl Fn(LoadError) -> LoadError {
    move |source| LoadError::File { path: path.to_owned(), source: Box::new(source) }
}
