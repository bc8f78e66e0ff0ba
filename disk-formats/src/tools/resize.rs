//! `ferry disk resize`.

use super::{check_cluster_size, check_size};
use crate::error::{Error, ErrorKind, Op, Result};
use crate::image::{DiskOptions, Layer, Purpose};
use crate::probe::Format;
use imago::Mapping;
use imago::format::PreallocateMode;
use std::io;

/// The new size of a disk.
#[derive(Clone, Copy, Debug)]
pub struct ResizeOptions {
    /// Size in bytes, rounded up to whole sectors of 512 bytes for QCOW2.
    pub size: u64,
    /// Allow the disk to become smaller: what lies beyond its new end is lost.
    pub shrink: bool,
}

/// Changes the size of the disk in an image. What a disk gains reads as zeroes, even if a larger backing
/// image has data there. Options for read-only or snapshot use are ignored.
///
/// # Errors
/// The image cannot be opened for writing, the size is too large for it, or it would shrink and either
/// that was not allowed or it has internal snapshots.
pub fn resize(image: &DiskOptions, options: ResizeOptions) -> Result<()> {
    let mut layer = Layer::open(image, Purpose::Write, Op::Resize)?;
    let invalid = |text: &str| Err(Error::new(&image.path, Op::Resize, ErrorKind::Invalid(text.to_owned())));
    let old = layer.image.size();
    let check = || match &layer.header {
        Some(header) => {
            let new = check_size(Format::Qcow2, options.size)?;
            check_cluster_size(header.cluster_size(), new).and(Ok(new))
        }
        None => check_size(Format::Raw, options.size),
    };
    let new = check().map_err(|kind| Error::new(&image.path, Op::Resize, kind))?;
    if layer.block_device {
        return invalid("it is a block device, whose size is fixed");
    }
    if new < old && !options.shrink {
        return invalid("the disk would become smaller and lose data; pass --shrink if that is meant");
    }
    if let Some(header) = layer.header.as_ref().filter(|header| header.snapshots > 0 && new != old) {
        // Version 2 has no place for the size of a snapshot's disk.
        if header.version == 2 || new < old {
            return invalid("it has internal snapshots of the old size; delete them first");
        }
    }
    let result = if new < old { layer.image.resize_shrink(new) } else { grow(&layer, old, new) };
    result
        .and_then(|()| layer.image.flush())
        .and_then(|()| layer.shared.commit(()))
        .and_then(|()| layer.shared.close())
        .map_err(|source| Error::io(&image.path, Op::Resize, source))
}

fn grow(layer: &Layer, old: u64, new: u64) -> io::Result<()> {
    // What a longer backing image has beyond our old end must not appear.
    let shadowed = layer.backing_size.is_some_and(|backing| backing > old);
    let mode = if shadowed { PreallocateMode::Zero } else { PreallocateMode::None };
    layer.image.resize_grow(new, mode)?;
    // The last cluster may hold anything beyond the old end.
    let cluster_size = layer.header.as_ref().map_or(1, |header| header.cluster_size());
    let end = old.next_multiple_of(cluster_size).min(new);
    zero(layer, old, end)
}

/// Makes a range of less than a cluster read as zeroes.
fn zero(layer: &Layer, from: u64, to: u64) -> io::Result<()> {
    if from >= to || matches!(layer.image.get_mapping(from, to - from)?, (Mapping::Zero { .. }, _)) {
        return Ok(());
    }
    layer.image.write(&vec![0; (to - from) as usize][..], from)
}
