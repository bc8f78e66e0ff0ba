//! The tools of `ferry disk`.

pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod create;
pub(crate) mod info;
pub(crate) mod resize;

use crate::error::ErrorKind;
use crate::probe::Format;

/// Largest disk that is made, in bytes: what a signed 64-bit file offset holds, rounded to a sector.
const MAX_DISK: u64 = i64::MAX as u64 & !511;

/// Checks the size of a disk to be made. QCOW2 images have whole sectors (QEMU cuts off what is beyond the
/// last one), so their size is rounded up.
fn check_size(format: Format, size: u64) -> Result<u64, ErrorKind> {
    if size <= MAX_DISK {
        return Ok(if format == Format::Qcow2 { size.next_multiple_of(512) } else { size });
    }
    Err(ErrorKind::Invalid(format!("a disk of {size} bytes is too large, the limit is {MAX_DISK}")))
}

/// Checks the cluster size of a QCOW2 image to be made, and that its tables can cover `size` bytes.
fn check_cluster_size(cluster_size: u64, size: u64) -> Result<(), ErrorKind> {
    if !cluster_size.is_power_of_two() || !(512..=2 << 20).contains(&cluster_size) {
        return Err(ErrorKind::Invalid(format!(
            "a cluster size of {cluster_size} bytes is not a power of two from 512 to 2097152"
        )));
    }
    // An L1 table has at most 2^22 entries; each covers a cluster full of L2 entries.
    let limit = (u128::from(cluster_size / 8) * u128::from(cluster_size)) << 22;
    if u128::from(size) > limit {
        return Err(ErrorKind::Invalid(format!(
            "clusters of {cluster_size} bytes are too small for a disk of {size} bytes"
        )));
    }
    Ok(())
}
