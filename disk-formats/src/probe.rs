//! Image formats, and how to tell them apart by their first bytes.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A disk image format that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// The bytes of the disk as they are, or a block device.
    Raw,
    /// QCOW2, versions 2 and 3 (QEMU's `docs/interop/qcow2`).
    Qcow2,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "raw" => Ok(Format::Raw),
            "qcow2" => Ok(Format::Qcow2),
            _ => Err(format!("unknown image format {name:?}: expected raw or qcow2")),
        }
    }
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// No magic number is known: raw.
    Raw,
    /// QCOW2 of any version that is called so.
    Qcow2,
    /// A disk image of another program.
    Foreign(&'static str),
    /// A compressed file: hardly meant as a disk, but a guest may well have written one there.
    Compressed(&'static str),
}

/// How much of a file [`probe`] wants to see: the sector that holds every magic number below.
pub(crate) const PROBE_LEN: usize = 512;

struct Magic {
    offset: usize,
    bytes: &'static [u8],
    is: Probe,
}

const fn magic(offset: usize, bytes: &'static [u8], is: Probe) -> Magic {
    Magic { offset, bytes, is }
}

/// The first match wins.
const MAGICS: &[Magic] = &[
    magic(0, b"QFI\xfb\0\0\0\x02", Probe::Qcow2),
    magic(0, b"QFI\xfb\0\0\0\x03", Probe::Qcow2),
    magic(0, b"QFI\xfb\0\0\0\x01", Probe::Foreign("a QCOW version 1 image")),
    magic(0, b"QFI\xfb", Probe::Foreign("a QCOW image of an unknown version")),
    magic(0, b"QED\0", Probe::Foreign("a QED image")),
    magic(0, b"KDMV", Probe::Foreign("a VMDK image")),
    magic(0, b"COWD", Probe::Foreign("a VMDK image")),
    magic(0, b"# Disk DescriptorFile", Probe::Foreign("a VMDK image")),
    magic(0, b"vhdxfile", Probe::Foreign("a VHDX image")),
    magic(0, b"conectix", Probe::Foreign("a VHD image")),
    magic(64, b"\x7f\x10\xda\xbe", Probe::Foreign("a VDI image")),
    magic(0, b"WithoutFreeSpace", Probe::Foreign("a Parallels image")),
    magic(0, b"WithouFreSpacExt", Probe::Foreign("a Parallels image")),
    magic(0, b"Bochs Virtual HD Image", Probe::Foreign("a Bochs image")),
    magic(0, b"\xfd7zXZ\0", Probe::Compressed("an xz-compressed file")),
    magic(0, b"\x28\xb5\x2f\xfd", Probe::Compressed("a zstd-compressed file")),
    magic(0, b"\x1f\x8b\x08", Probe::Compressed("a gzip-compressed file")),
    magic(0, b"BZh", Probe::Compressed("a bzip2-compressed file")),
];

/// Looks for known magic numbers in the first [`PROBE_LEN`] bytes of a file, or fewer if it is shorter.
pub(crate) fn probe(head: &[u8]) -> Probe {
    MAGICS
        .iter()
        .find(|m| head.get(m.offset..).is_some_and(|rest| rest.starts_with(m.bytes)))
        .map_or(Probe::Raw, |m| m.is)
}

/// The disk image format, other than raw, that a sector with these bytes would be taken for.
///
/// Compressed files are not among them: a guest may write one to its disk, and opening that disk
/// later fails with a clear error at worst.
pub(crate) fn looks_like_image(head: &[u8]) -> Option<&'static str> {
    match probe(head) {
        Probe::Raw | Probe::Compressed(_) => None,
        Probe::Qcow2 => Some("a QCOW2 image"),
        Probe::Foreign(name) => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magics_are_found_at_their_place_only() {
        for m in MAGICS {
            let mut head = vec![0; PROBE_LEN];
            head[m.offset..m.offset + m.bytes.len()].copy_from_slice(m.bytes);
            assert_eq!(probe(&head), m.is);
            head.rotate_right(1);
            assert_eq!(probe(&head), Probe::Raw, "{:?} shifted", m.is);
        }
        assert_eq!(probe(&[]), Probe::Raw);
        assert_eq!(probe(b"QFI"), Probe::Raw);
    }
}
