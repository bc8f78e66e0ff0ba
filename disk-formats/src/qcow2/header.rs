//! The header, its extensions, and what of them we accept.

use super::{be32, be64};
use crate::error::{ErrorKind, Fault};
use crate::file::read_some;
use std::fs::File;

const MAGIC: u32 = u32::from_be_bytes(*b"QFI\xfb");

/// Length of the version 3 header without optional fields; version 2 has the first 72 bytes of it.
const V3_LEN: usize = 104;
const V2_LEN: usize = 72;

/// QEMU's limits, beyond which no image that works can be.
const MAX_L1_BYTES: u64 = 32 << 20;
const MAX_REFTABLE_BYTES: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65536;
const MAX_BACKING_NAME: usize = 1023;
/// Host offsets have 56 bits.
const MAX_FILE_LEN: u64 = 1 << 56;

/// Incompatible features: who does not know one must not touch the image.
pub(crate) mod incompatible {
    pub(crate) const DIRTY: u64 = 1 << 0;
    pub(crate) const CORRUPT: u64 = 1 << 1;
    pub(crate) const EXTERNAL_DATA: u64 = 1 << 2;
    pub(crate) const COMPRESSION: u64 = 1 << 3;
    pub(crate) const EXTENDED_L2: u64 = 1 << 4;
}
pub(crate) const COMPATIBLE_LAZY_REFCOUNTS: u64 = 1 << 0;
pub(crate) const AUTOCLEAR_BITMAPS: u64 = 1 << 0;

/// Header extension types.
mod extension {
    pub(super) const END: u32 = 0;
    pub(super) const BACKING_FORMAT: u32 = 0xe279_2aca;
    pub(super) const BITMAPS: u32 = 0x2385_2875;
}

/// The place of the persistent bitmaps in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bitmaps {
    pub(crate) count: u32,
    pub(crate) directory_offset: u64,
    pub(crate) directory_size: u64,
}

/// A decoded header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) backing_file: Option<String>,
    pub(crate) backing_format: Option<String>,
    pub(crate) cluster_bits: u32,
    /// Size of the guest's disk in bytes.
    pub(crate) size: u64,
    pub(crate) crypt_method: u32,
    /// Number of L1 entries.
    pub(crate) l1_size: u32,
    pub(crate) l1_offset: u64,
    pub(crate) reftable_offset: u64,
    pub(crate) reftable_clusters: u32,
    pub(crate) snapshots: u32,
    pub(crate) snapshots_offset: u64,
    pub(crate) incompatible: u64,
    pub(crate) compatible: u64,
    pub(crate) autoclear: u64,
    /// Refcounts have 2 to the power of this bits.
    pub(crate) refcount_order: u32,
    /// 0 is deflate, 1 is zstd.
    pub(crate) compression: u8,
    pub(crate) bitmaps: Option<Bitmaps>,
}

impl Header {
    /// Reads the header. Fields that decide how to read on are checked; the rest is for
    /// [`Header::check_features`] and [`Header::check_layout`].
    pub(crate) fn read(file: &File) -> Result<Self, Fault> {
        let mut fixed = [0; V3_LEN + 8];
        let len = read_some(file, &mut fixed, 0)?;
        if len < 8 || be32(&fixed, 0) != MAGIC {
            return Err(ErrorKind::NotQcow2.into());
        }
        let version = be32(&fixed, 4);
        if !(2..=3).contains(&version) {
            return Err(ErrorKind::UnsupportedFeature(format!("QCOW version {version}")).into());
        }
        if len < if version == 2 { V2_LEN } else { V3_LEN } {
            return Err(Fault::corrupt("the file ends within the header"));
        }
        let cluster_bits = be32(&fixed, 20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(Fault::corrupt(format!(
                "the cluster size is 2^{cluster_bits}, it must be from 512 bytes to 2 MiB"
            )));
        }
        let v3 = |value: u64| if version == 2 { 0 } else { value };
        let header_length = if version == 2 { V2_LEN } else { be32(&fixed, 100) as usize };
        let mut header = Header {
            version,
            backing_file: None,
            backing_format: None,
            cluster_bits,
            size: be64(&fixed, 24),
            crypt_method: be32(&fixed, 32),
            l1_size: be32(&fixed, 36),
            l1_offset: be64(&fixed, 40),
            reftable_offset: be64(&fixed, 48),
            reftable_clusters: be32(&fixed, 56),
            snapshots: be32(&fixed, 60),
            snapshots_offset: be64(&fixed, 64),
            incompatible: v3(be64(&fixed, 72)),
            compatible: v3(be64(&fixed, 80)),
            autoclear: v3(be64(&fixed, 88)),
            refcount_order: if version == 2 { 4 } else { be32(&fixed, 96) },
            compression: if header_length > V3_LEN { fixed[V3_LEN] } else { 0 },
            bitmaps: None,
        };
        if header.refcount_order > 6 {
            let order = header.refcount_order;
            return Err(Fault::corrupt(format!(
                "the refcount width is 2^{order} bits, it must be at most 64"
            )));
        }

        // Extensions and the name of the backing file are in the first cluster.
        let mut first = vec![0; header.cluster_size() as usize];
        let len = read_some(file, &mut first, 0)?;
        first.truncate(len);
        header.read_extensions(&first, header_length)?;
        header.read_backing_name(&first, be64(&fixed, 8), be32(&fixed, 16))?;
        Ok(header)
    }

    fn read_extensions(&mut self, first: &[u8], header_length: usize) -> Result<(), Fault> {
        if self.version == 3 && (header_length < V3_LEN || header_length as u64 > self.cluster_size()) {
            return Err(Fault::corrupt(format!("the header claims a length of {header_length} bytes")));
        }
        let beyond = || Fault::corrupt("the header extensions do not end within the first cluster");
        let mut at = header_length;
        // A file that ends here has no more extensions.
        while at.saturating_add(8) <= first.len() {
            let kind = be32(first, at);
            let len = be32(first, at + 4) as usize;
            if kind == extension::END {
                return Ok(());
            }
            let data = first.get(at + 8..).and_then(|rest| rest.get(..len)).ok_or_else(beyond)?;
            match kind {
                extension::BACKING_FORMAT => {
                    let name = String::from_utf8(data.to_owned())
                        .map_err(|_| Fault::corrupt("the format of the backing file is not text"))?;
                    self.backing_format = Some(name);
                }
                extension::BITMAPS if len >= 24 => {
                    self.bitmaps = Some(Bitmaps {
                        count: be32(data, 0),
                        directory_size: be64(data, 8),
                        directory_offset: be64(data, 16),
                    });
                }
                _ => {}
            }
            // The length is less than a cluster here: no overflow.
            at += 8 + len.next_multiple_of(8);
        }
        if (first.len() as u64) < self.cluster_size() { Ok(()) } else { Err(beyond()) }
    }

    fn read_backing_name(&mut self, first: &[u8], offset: u64, len: u32) -> Result<(), Fault> {
        if offset == 0 || len == 0 {
            return Ok(());
        }
        let len = len as usize;
        let name = usize::try_from(offset)
            .ok()
            .filter(|_| len <= MAX_BACKING_NAME)
            .and_then(|offset| first.get(offset..)?.get(..len))
            .ok_or_else(|| Fault::corrupt("the name of the backing file is not in the first cluster"))?;
        let name = std::str::from_utf8(name)
            .map_err(|_| ErrorKind::BackingUnsupported(String::from_utf8_lossy(name).into_owned()))?;
        self.backing_file = Some(name.to_owned());
        Ok(())
    }

    /// Bytes in a cluster.
    pub(crate) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries in an L2 table.
    pub(crate) fn l2_entries(&self) -> u64 {
        self.cluster_size() / 8
    }

    /// Bits in a refcount.
    pub(crate) fn refcount_bits(&self) -> u32 {
        1 << self.refcount_order
    }

    /// Refcounts in a refcount block.
    pub(crate) fn refblock_entries(&self) -> u64 {
        self.cluster_size() * 8 / u64::from(self.refcount_bits())
    }

    /// Length of the refcount table in bytes.
    pub(crate) fn reftable_bytes(&self) -> u64 {
        u64::from(self.reftable_clusters) << self.cluster_bits
    }

    /// Whether the image was not closed cleanly.
    pub(crate) fn is_dirty(&self) -> bool {
        self.incompatible & incompatible::DIRTY != 0
    }

    /// Name of the encryption, if the image is encrypted.
    pub(crate) fn encryption(&self) -> Option<&'static str> {
        match self.crypt_method {
            0 => None,
            1 => Some("AES"),
            2 => Some("LUKS"),
            _ => Some("an unknown method"),
        }
    }

    /// Refuses what we cannot serve: imago does not look at encryption at all, and its messages for the
    /// rest do not say what to do. That an image is dirty is no reason.
    pub(crate) fn check_features(&self) -> Result<(), ErrorKind> {
        use incompatible::{COMPRESSION, CORRUPT, DIRTY, EXTENDED_L2, EXTERNAL_DATA};
        let has = |bit| self.incompatible & bit != 0;
        let unsupported = |what: &str| Err(ErrorKind::UnsupportedFeature(what.to_owned()));
        if let Some(method) = self.encryption() {
            return Err(ErrorKind::Encrypted(method));
        }
        if has(CORRUPT) {
            return Err(ErrorKind::MarkedCorrupt);
        }
        if has(EXTERNAL_DATA) {
            return unsupported("an external data file");
        }
        if has(COMPRESSION) || self.compression != 0 {
            return unsupported(if self.compression == 1 {
                "zstd compression"
            } else {
                "an unknown compression"
            });
        }
        if has(EXTENDED_L2) {
            return unsupported("extended L2 entries (subclusters)");
        }
        let known = COMPRESSION | CORRUPT | DIRTY | EXTENDED_L2 | EXTERNAL_DATA;
        match self.incompatible & !known {
            0 => Ok(()),
            bits => Err(ErrorKind::UnsupportedFeature(format!("unknown incompatible features {bits:#x}"))),
        }
    }

    /// Checks sizes and places against the limits of the format and the length of the file.
    pub(crate) fn check_layout(&self, file_len: u64) -> Result<(), ErrorKind> {
        let corrupt = |what: String| Err(ErrorKind::Corrupt(what));
        if file_len >= MAX_FILE_LEN {
            return corrupt("the file is longer than the format can address".into());
        }
        let l1_bytes = u64::from(self.l1_size) * 8;
        if l1_bytes > MAX_L1_BYTES {
            return corrupt(format!(
                "the L1 table has {} entries, more than the format allows",
                self.l1_size
            ));
        }
        let covered = u128::from(self.l1_size) * u128::from(self.l2_entries() * self.cluster_size());
        if u128::from(self.size) > covered || self.size > i64::MAX as u64 {
            return corrupt(format!("the L1 table is too small for a disk of {} bytes", self.size));
        }
        if self.reftable_clusters == 0 || self.reftable_bytes() > MAX_REFTABLE_BYTES {
            return corrupt(format!("the refcount table has {} clusters", self.reftable_clusters));
        }
        if self.snapshots > MAX_SNAPSHOTS {
            return corrupt(format!("it has {} internal snapshots", self.snapshots));
        }
        self.check_table("L1 table", self.l1_offset, l1_bytes, file_len)?;
        self.check_table("refcount table", self.reftable_offset, self.reftable_bytes(), file_len)
    }

    /// Checks that a table starts at a cluster other than the first and is within the file.
    pub(crate) fn check_table(
        &self,
        name: &str,
        offset: u64,
        len: u64,
        file_len: u64,
    ) -> Result<(), ErrorKind> {
        if len == 0 {
            return Ok(());
        }
        if offset == 0 || !offset.is_multiple_of(self.cluster_size()) {
            return Err(ErrorKind::Corrupt(format!(
                "the {name} is at {offset:#x}, which is no place for it"
            )));
        }
        // The host may not have kept zeroes at the end of the last cluster.
        let end = file_len.next_multiple_of(self.cluster_size());
        if offset.checked_add(len).is_none_or(|table_end| table_end > end) {
            return Err(ErrorKind::Corrupt(format!(
                "the {name} at {offset:#x} lies beyond the end of the file, which has only {file_len} bytes"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A plausible header, padded to a cluster, to be damaged by the tests.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; 65536];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, b"QFI\xfb");
        put(4, &3u32.to_be_bytes());
        put(20, &16u32.to_be_bytes());
        put(24, &(1u64 << 30).to_be_bytes());
        put(36, &2u32.to_be_bytes());
        put(40, &0x30000u64.to_be_bytes());
        put(48, &0x10000u64.to_be_bytes());
        put(56, &1u32.to_be_bytes());
        put(96, &4u32.to_be_bytes());
        put(100, &104u32.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Header, ErrorKind> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        match Header::read(&file) {
            Ok(header) => Ok(header),
            Err(Fault::Kind(kind)) => Err(kind),
            Err(Fault::Io(error)) => panic!("{error}"),
        }
    }

    fn with(at: usize, value: &[u8]) -> Result<Header, ErrorKind> {
        let mut bytes = sample();
        bytes[at..at + value.len()].copy_from_slice(value);
        read(&bytes)
    }

    #[test]
    fn fields_and_features() {
        let header = read(&sample()).unwrap();
        assert_eq!((header.size, header.cluster_size(), header.refcount_bits()), (1 << 30, 65536, 16));
        assert_eq!(header.check_features(), Ok(()));
        assert_eq!(header.check_layout(0x40000), Ok(()));

        let feature = |at, value: &[u8]| with(at, value).unwrap().check_features().unwrap_err();
        assert_eq!(feature(32, &1u32.to_be_bytes()), ErrorKind::Encrypted("AES"));
        assert_eq!(feature(32, &2u32.to_be_bytes()), ErrorKind::Encrypted("LUKS"));
        assert_eq!(with(79, &[1]).unwrap().check_features(), Ok(()));
        assert_eq!(feature(79, &[2]), ErrorKind::MarkedCorrupt);
        for bits in [4, 8, 16, 32] {
            assert!(matches!(feature(79, &[bits]), ErrorKind::UnsupportedFeature(_)));
        }
    }

    #[test]
    fn damage_is_refused() {
        let corrupt = |result: Result<(), ErrorKind>| assert!(matches!(result, Err(ErrorKind::Corrupt(_))));
        for bad in [8, 22, u32::MAX] {
            corrupt(with(20, &bad.to_be_bytes()).map(drop));
        }
        corrupt(with(96, &7u32.to_be_bytes()).map(drop));
        corrupt(with(100, &96u32.to_be_bytes()).map(drop));
        corrupt(with(100, &u32::MAX.to_be_bytes()).map(drop));
        corrupt(with(104, &[1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff]).map(drop));
        corrupt(read(&sample()[..90]).map(drop));
        assert_eq!(read(&sample()[..7]), Err(ErrorKind::NotQcow2));

        let layout = |at, value: &[u8]| with(at, value).unwrap().check_layout(0x40000);
        corrupt(layout(24, &(1u64 << 40).to_be_bytes())); // larger than the L1 table covers
        corrupt(layout(36, &u32::MAX.to_be_bytes()));
        corrupt(layout(40, &0x30200u64.to_be_bytes()));
        corrupt(layout(40, &0u64.to_be_bytes()));
        corrupt(layout(40, &(u64::MAX << 16).to_be_bytes()));
        corrupt(layout(48, &0x40000u64.to_be_bytes()));
        corrupt(layout(56, &0u32.to_be_bytes()));
        corrupt(layout(56, &u32::MAX.to_be_bytes()));
        corrupt(layout(60, &u32::MAX.to_be_bytes()));
    }
}
