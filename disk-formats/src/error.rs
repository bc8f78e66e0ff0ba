//! What can go wrong with a disk image, with enough context to act on it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of a disk operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// Opening an image or one of its backing files.
    Open,
    /// Reading guest data.
    Read,
    /// Writing guest data.
    Write,
    /// Making what was written durable.
    Flush,
    /// Discarding a range of guest data.
    Discard,
    /// Writing zeroes to a range of guest data.
    WriteZeroes,
    /// Creating an image.
    Create,
    /// Reading the description of an image.
    Info,
    /// Converting an image to another format.
    Convert,
    /// Checking the structure of an image.
    Check,
    /// Changing the size of an image.
    Resize,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Open => "open",
            Op::Read => "read",
            Op::Write => "write",
            Op::Flush => "flush",
            Op::Discard => "discard",
            Op::WriteZeroes => "write zeroes",
            Op::Create => "create",
            Op::Info => "describe",
            Op::Convert => "convert",
            Op::Check => "check",
            Op::Resize => "resize",
        })
    }
}

/// Why it failed; match on this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The host refused or failed; the source says how.
    #[error("input/output error")]
    Io,
    /// The host file system is full.
    #[error("no space left on the host file system")]
    NoSpace,
    /// Another process, or another disk of this one, holds the image in a way that excludes this use.
    #[error("the image is in use (its \"{permission}\" lock is taken); stop the other user first")]
    InUse {
        /// The permission that collides, by QEMU's name for it.
        permission: &'static str,
    },
    /// The path is neither a regular file nor, where allowed, a block device.
    #[error("{0}; a disk image is a regular file or a block device")]
    NotADisk(&'static str),
    /// The file is of a known format that is not supported.
    #[error("the file is {0}, which is not supported; {advice}", advice = foreign_advice(.0))]
    UnsupportedFormat(&'static str),
    /// QCOW2 was asked for, but the file has no QCOW2 header.
    #[error("the file has no QCOW2 header; give its real format, or leave the format to be found out")]
    NotQcow2,
    /// The image uses a QCOW2 feature that is not supported.
    #[error("the image uses {0}, which is not supported; rewrite it with `qemu-img convert -O qcow2`")]
    UnsupportedFeature(String),
    /// The guest's data is encrypted in the image.
    #[error("the image is encrypted ({0}); decrypt it with `qemu-img convert`")]
    Encrypted(&'static str),
    /// Another program has found the image to be corrupt and marked it so.
    #[error("the image is marked as corrupt; repair it with `qemu-img check -r all`")]
    MarkedCorrupt,
    /// The structure of the image contradicts itself, or the file is cut short.
    #[error("the image is damaged: {0}; try `qemu-img check -r all` on a copy of it")]
    Corrupt(String),
    /// The access reaches beyond the end of the disk.
    #[error("{length} bytes from there reach beyond the end of the disk, which has {size} bytes")]
    OutOfRange {
        /// Length of the access in bytes.
        length: u64,
        /// Size of the disk in bytes.
        size: u64,
    },
    /// The disk was opened for reading only.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The write would make a raw image, whose format was only guessed, look like another format.
    #[error("the first sector would turn the raw image into {0}; open it with its format given as raw")]
    FormatChange(&'static str),
    /// The image names a backing file outside the directories that it may use.
    #[error(
        "its backing file {0:?} is outside the image's directory and was not allowed; \
         if you trust the image, say so with allow-backing and the path"
    )]
    BackingDenied(PathBuf),
    /// The image names a backing file in a way that is not supported.
    #[error("its backing file reference {0:?} is not supported (only plain paths to raw and qcow2 files)")]
    BackingUnsupported(String),
    /// The chain of backing files is too long, or a loop.
    #[error("its chain of backing files is longer than {0} or leads back to itself")]
    BackingTooDeep(usize),
    /// The file to be made is already there; nothing is ever overwritten.
    #[error("the file exists already and is not overwritten")]
    Exists,
    /// A parameter is out of range.
    #[error("{0}")]
    Invalid(String),
}

fn foreign_advice(name: &str) -> &'static str {
    if name.ends_with("compressed file") {
        "decompress it first, or give its format as raw to use it as it is"
    } else {
        "convert it with `qemu-img convert -O qcow2`, or give its format as raw to use it as it is"
    }
}

/// A failed disk operation: which image, what was tried, where, and why.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    overlay: Option<PathBuf>,
    op: Op,
    offset: Option<u64>,
    kind: ErrorKind,
    source: Option<io::Error>,
}

impl Error {
    /// A failure of `op` on the image at `path`.
    pub fn new(path: impl Into<PathBuf>, op: Op, kind: ErrorKind) -> Self {
        let path = path.into();
        Error(Box::new(Inner { path, overlay: None, op, offset: None, kind, source: None }))
    }

    /// A failure of `op` that the host reported as `source`.
    pub fn io(path: impl Into<PathBuf>, op: Op, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            _ => ErrorKind::Io,
        };
        let mut error = Error::new(path, op, kind);
        error.0.source = Some(source);
        error
    }

    /// Adds the offset in the guest's disk, in bytes.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// Adds that the image is a backing file of `overlay`.
    #[must_use]
    pub(crate) fn backing_of(mut self, overlay: &Path) -> Self {
        self.0.overlay.get_or_insert_with(|| overlay.to_owned());
        self
    }

    /// Why it failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The image.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What was tried.
    pub fn op(&self) -> Op {
        self.0.op
    }

    /// Where in the guest's disk, in bytes, if the operation has a place.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { path, overlay, op, offset, kind, source } = &*self.0;
        write!(f, "{}", path.display())?;
        if let Some(overlay) = overlay {
            write!(f, " (backing file of {})", overlay.display())?;
        }
        write!(f, ": cannot {op}")?;
        if let Some(offset) = offset {
            write!(f, " at offset {offset}")?;
        }
        match (kind, source) {
            // The host's own words say it all.
            (ErrorKind::Io, Some(source)) => write!(f, ": {source}"),
            _ => write!(f, ": {kind}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NoSpace => io::ErrorKind::StorageFull,
            ErrorKind::OutOfRange { .. } | ErrorKind::Invalid(_) => io::ErrorKind::InvalidInput,
            ErrorKind::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            ErrorKind::Corrupt(_) | ErrorKind::NotQcow2 => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// A failure inside an image whose path and operation the caller knows.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Kind(ErrorKind),
}

impl Fault {
    /// The image contradicts itself.
    pub(crate) fn corrupt(detail: impl Into<String>) -> Self {
        Fault::Kind(ErrorKind::Corrupt(detail.into()))
    }

    /// Completes the error.
    pub(crate) fn of(self, path: &Path, op: Op) -> Error {
        match self {
            Fault::Io(source) => Error::io(path, op, source),
            Fault::Kind(kind) => Error::new(path, op, kind),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<ErrorKind> for Fault {
    fn from(kind: ErrorKind) -> Self {
        Fault::Kind(kind)
    }
}
