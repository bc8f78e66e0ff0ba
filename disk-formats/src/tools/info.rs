//! `ferry disk info`.

use crate::backing::referenced;
use crate::error::{Error, ErrorKind, Op, Result};
use crate::file::HostFile;
use crate::probe::{Format, Probe, probe};
use crate::qcow2::header::{AUTOCLEAR_BITMAPS, COMPATIBLE_LAZY_REFCOUNTS, Header, incompatible};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What an image says of itself. Nothing in it is checked beyond being readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImageInfo {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Size of the guest's disk in bytes.
    pub virtual_size: u64,
    /// Length of the file in bytes.
    pub file_size: u64,
    /// Space that the host has allocated for the file, in bytes.
    pub allocated_size: u64,
    /// The backing file, if the image has one.
    pub backing: Option<BackingInfo>,
    /// Version of the format (QCOW2: 2 or 3).
    pub version: Option<u32>,
    /// Size of a cluster in bytes (QCOW2).
    pub cluster_size: Option<u64>,
    /// Bits in a refcount (QCOW2).
    pub refcount_bits: Option<u32>,
    /// Number of internal snapshots (QCOW2).
    pub snapshots: u32,
    /// The encryption of the guest's data, if there is one (QCOW2).
    pub encryption: Option<&'static str>,
    /// Whether the image was not closed cleanly (QCOW2).
    pub dirty: bool,
    /// Whether the image is marked as corrupt (QCOW2).
    pub corrupt: bool,
    /// Names of further features that the image uses (QCOW2).
    pub features: Vec<String>,
}

/// The backing file that an image names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackingInfo {
    /// The reference as it stands in the image.
    pub reference: String,
    /// The path that it stands for, if it is one that is supported.
    pub path: Option<PathBuf>,
    /// The format that the image gives for it.
    pub format: Option<String>,
}

/// Describes the image at `path`, which may be in use.
///
/// # Errors
/// The file cannot be read, is of a format that is not supported, or has a header that makes no sense.
pub fn info(path: &Path, format: Option<Format>) -> Result<ImageInfo> {
    let host = HostFile::open(path, false, true, Op::Info)?;
    let mut info = ImageInfo {
        path: path.to_owned(),
        format: Format::Raw,
        virtual_size: host.len,
        file_size: host.len,
        allocated_size: host.allocated,
        backing: None,
        version: None,
        cluster_size: None,
        refcount_bits: None,
        snapshots: 0,
        encryption: None,
        dirty: false,
        corrupt: false,
        features: Vec::new(),
    };
    match (format, probe(&host.head(Op::Info)?)) {
        (Some(Format::Raw), _) | (None, Probe::Raw) => return Ok(info),
        (Some(Format::Qcow2), _) | (None, Probe::Qcow2) => {}
        (None, Probe::Foreign(name) | Probe::Compressed(name)) => {
            return Err(Error::new(path, Op::Info, ErrorKind::UnsupportedFormat(name)));
        }
    }
    let header = Header::read(&host.file).map_err(|fault| fault.of(path, Op::Info))?;
    info.format = Format::Qcow2;
    info.virtual_size = header.size;
    info.version = Some(header.version);
    info.cluster_size = Some(header.cluster_size());
    info.refcount_bits = Some(header.refcount_bits());
    info.snapshots = header.snapshots;
    info.encryption = header.encryption();
    info.dirty = header.is_dirty();
    info.corrupt = header.incompatible & incompatible::CORRUPT != 0;
    info.features = features(&header);
    info.backing = header.backing_file.map(|reference| BackingInfo {
        path: referenced(&reference, path).ok(),
        reference,
        format: header.backing_format,
    });
    Ok(info)
}

fn features(header: &Header) -> Vec<String> {
    use incompatible::{COMPRESSION, CORRUPT, DIRTY, EXTENDED_L2, EXTERNAL_DATA};
    let compression = if header.compression == 1 { "zstd compression" } else { "unknown compression" };
    let names = [
        (header.incompatible & EXTERNAL_DATA != 0, "external data file"),
        (header.incompatible & COMPRESSION != 0 || header.compression != 0, compression),
        (header.incompatible & EXTENDED_L2 != 0, "extended L2 entries"),
        (header.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0, "lazy refcounts"),
        (header.autoclear & AUTOCLEAR_BITMAPS != 0, "persistent bitmaps"),
    ];
    let mut list: Vec<_> = names.iter().filter(|(set, _)| *set).map(|(_, name)| name.to_string()).collect();
    let unknown = header.incompatible & !(COMPRESSION | CORRUPT | DIRTY | EXTENDED_L2 | EXTERNAL_DATA);
    if unknown != 0 {
        list.push(format!("unknown incompatible features {unknown:#x}"));
    }
    list
}

impl fmt::Display for ImageInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| format!("{} ({bytes} bytes)", Human(bytes));
        writeln!(f, "image: {}", self.path.display())?;
        writeln!(f, "format: {}", self.format)?;
        writeln!(f, "virtual size: {}", size(self.virtual_size))?;
        write!(f, "space on the host: {}", size(self.allocated_size))?;
        if let Some(cluster_size) = self.cluster_size {
            write!(f, "\ncluster size: {}", Human(cluster_size))?;
        }
        if let Some(backing) = &self.backing {
            write!(f, "\nbacking file: {}", backing.reference)?;
            if let Some(format) = &backing.format {
                write!(f, " ({format})")?;
            }
        }
        if self.snapshots > 0 {
            write!(f, "\ninternal snapshots: {}", self.snapshots)?;
        }
        if let Some(encryption) = self.encryption {
            write!(f, "\nencrypted: {encryption}")?;
        }
        if self.dirty {
            write!(f, "\ndirty: not closed cleanly")?;
        }
        if self.corrupt {
            write!(f, "\ncorrupt: marked so")?;
        }
        if !self.features.is_empty() {
            write!(f, "\nfeatures: {}", self.features.join(", "))?;
        }
        Ok(())
    }
}

/// A size in the largest binary unit that leaves at least 1.
struct Human(u64);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let order = self.0.checked_ilog2().map_or(0, |log| log / 10);
        let scaled = self.0 as f64 / (1u64 << (10 * order)) as f64;
        let digits = if scaled.fract() == 0.0 { 0 } else { 2 };
        write!(f, "{scaled:.digits$} {}", units.get(order as usize).unwrap_or(&"EiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.50 KiB"),
            (3 << 30, "3 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(Human(bytes).to_string(), text);
        }
    }
}
