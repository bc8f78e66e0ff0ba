//! What we read of QCOW2 ourselves: enough to refuse what imago must not see, to describe an image,
//! and to check one.
//!
//! The format is described in QEMU's `docs/interop/qcow2` (version 3 of the format; version 2 is a
//! subset). All numbers in it are big-endian.

pub(crate) mod check;
pub(crate) mod header;
pub(crate) mod repair;
pub(crate) mod tables;

/// Reads a big-endian `u32`; beyond the end of `bytes` there are zeroes.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    if let Some(source) = bytes.get(at..).and_then(|rest| rest.get(..4)) {
        value.copy_from_slice(source);
    }
    u32::from_be_bytes(value)
}

/// Reads a big-endian `u64`; beyond the end of `bytes` there are zeroes.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    if let Some(source) = bytes.get(at..).and_then(|rest| rest.get(..8)) {
        value.copy_from_slice(source);
    }
    u64::from_be_bytes(value)
}
