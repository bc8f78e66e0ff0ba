//! Taking wrappings off.

use std::io::{Error, Read};

use super::detect::{inner_kind, pe_isa, word};
use super::{Isa, KernelKind, LoadError, Packing};

/// How many wrappings may be inside each other: a zboot program in a packed file has three.
const MOST_WRAPPINGS: usize = 4;
/// The largest window of a zstd frame: what `zstd --ultra -22`, which kernels are packed with, uses.
const ZSTD_WINDOW: u64 = 128 << 20;
/// The memory that an xz decoder may take, in KiB: the dictionary of `xz -9` and its tables.
const XZ_MEMORY: u32 = 96 << 10;

/// A wrapping found at the beginning of a file.
pub(super) enum Wrapping<'a> {
    /// The whole file is one compressed stream.
    Stream(Packing),
    /// An EFI program around `payload`, a compressed stream.
    Zboot { payload: &'a [u8], isa: Option<Isa> },
}

impl Wrapping<'_> {
    pub(super) fn packing(&self) -> Packing {
        match self {
            Self::Stream(packing) => *packing,
            Self::Zboot { .. } => Packing::EfiZboot,
        }
    }
}

/// Magic numbers at the beginning of compressed streams.
const STREAMS: [(&[u8], Packing); 3] =
    [(b"\x1f\x8b", Packing::Gzip), (b"\x28\xb5\x2f\xfd", Packing::Zstd), (b"\xfd7zXZ\0", Packing::Xz)];

/// Wrappings that are recognised so that they are not taken for raw binaries.
const FOREIGN: [(&[u8], &str, &str); 7] = [
    (b"BZh", "a bzip2 file", REPACK),
    (b"\x02\x21\x4c\x18", "an lz4 file", REPACK),
    (b"\x04\x22\x4d\x18", "an lz4 file", REPACK),
    (b"\x5d\0\0", "an lzma file", REPACK),
    (b"\x89LZO\0", "an lzop file", REPACK),
    (b"\x27\x05\x19\x56", "a U-Boot uImage", "extract the kernel with dumpimage"),
    (b"\xd0\x0d\xfe\xed", "a device tree or a U-Boot FIT image", "give the kernel that goes with it"),
];
const REPACK: &str = "unpack it first";

/// The wrapping that `bytes` begin with, if any. `depth` is how many have been taken off before.
pub(super) fn wrapping(bytes: &[u8], depth: usize) -> Result<Option<Wrapping<'_>>, LoadError> {
    let wrapping = match STREAMS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some(&(_, packing)) => Some(Wrapping::Stream(packing)),
        None if bytes.starts_with(b"MZ") && bytes.get(4..8) == Some(b"zimg") => Some(zboot(bytes)?),
        None => None,
    };
    if let Some((_, what, advice)) = FOREIGN.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Err(LoadError::Unsupported { what: (*what).into(), advice });
    }
    if wrapping.is_some() && depth >= MOST_WRAPPINGS {
        return Err(LoadError::Unsupported { what: "a file packed again and again".into(), advice: REPACK });
    }
    Ok(wrapping)
}

/// The header of an EFI zboot program: payload offset and size at 8 and 12, the name of the compression at
/// 24.
fn zboot(bytes: &[u8]) -> Result<Wrapping<'_>, LoadError> {
    let damaged = |what: &str| LoadError::Damaged { format: "EFI zboot program", what: what.into() };
    let (offset, size) = word(bytes, 8).zip(word(bytes, 12)).ok_or(damaged("the header is cut off"))?;
    let (offset, size) = (offset as usize, size as usize);
    let name = bytes.get(24..56).ok_or(damaged("the header is cut off"))?;
    let name = String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned();
    let payload = offset.checked_add(size).and_then(|end| bytes.get(offset..end));
    let payload = payload.ok_or(damaged("the kernel inside is cut off"))?;
    let expected = match name.as_str() {
        "gzip" => Packing::Gzip,
        "zstd" | "zstd22" => Packing::Zstd,
        "xz" | "xzkern" => Packing::Xz,
        _ => {
            let what = format!("an EFI zboot program packed with {name:?}");
            return Err(LoadError::Unsupported { what, advice: "rebuild it with gzip, zstd or xz" });
        }
    };
    if !STREAMS.iter().any(|(magic, packing)| *packing == expected && payload.starts_with(magic)) {
        return Err(damaged("the kernel inside is not packed as the header says"));
    }
    Ok(Wrapping::Zboot { payload, isa: pe_isa(bytes) })
}

fn decoder<'a>(packing: Packing, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>, Error> {
    Ok(match packing {
        Packing::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
        Packing::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(bytes, ZSTD_WINDOW);
            Box::new(decoder.map_err(Error::other)?)
        }
        Packing::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(bytes, false, XZ_MEMORY)),
        Packing::EfiZboot => Box::new(bytes),
    })
}

/// The beginning of what is inside, as far as it can be unpacked.
pub(super) fn probe(packing: Packing, bytes: &[u8], len: u64) -> Vec<u8> {
    let mut unpacked = Vec::new();
    if let Ok(decoder) = decoder(packing, bytes) {
        // What came before an error stays in the vector, and is all that is asked for.
        let _ = decoder.take(len).read_to_end(&mut unpacked);
    }
    unpacked
}

fn unpack(packing: Packing, bytes: &[u8], limit: u64) -> Result<Vec<u8>, LoadError> {
    let damaged = |source| LoadError::Unpack { packing, source };
    let mut unpacked = Vec::new();
    let decoder = decoder(packing, bytes).map_err(damaged)?;
    decoder.take(limit.saturating_add(1)).read_to_end(&mut unpacked).map_err(damaged)?;
    if unpacked.len() as u64 > limit {
        return Err(LoadError::UnpacksTooLarge { limit });
    }
    Ok(unpacked)
}

/// Takes all wrappings off.
pub(super) fn unpack_all(mut bytes: Vec<u8>, limit: u64) -> Result<(KernelKind, Vec<u8>), LoadError> {
    let mut packing = Vec::new();
    let mut isa = None;
    while let Some(wrapping) = wrapping(&bytes, packing.len())? {
        packing.push(wrapping.packing());
        bytes = match wrapping {
            Wrapping::Stream(packing) => unpack(packing, &bytes, limit)?,
            Wrapping::Zboot { payload, isa: found } => {
                isa = found;
                payload.to_vec()
            }
        };
    }
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    let (format, found) = inner_kind(&bytes);
    Ok((KernelKind { isa: found.or(isa), format, packing }, bytes))
}
