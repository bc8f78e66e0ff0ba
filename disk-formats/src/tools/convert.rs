//! `ferry disk convert`.

use super::create::format_qcow2;
use super::{check_cluster_size, check_size};
use crate::error::{Error, ErrorKind, Fault, Op, Result};
use crate::file::{next_data, parent, sync_parent};
use crate::image::{DiskOptions, Image, Layer, Purpose};
use crate::probe::Format;
use crate::storage::Shared;
use crate::tools::create::CreateOptions;
use imago::format::builder::FormatDriverBuilder;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, Mapping};
use std::fs::Permissions;
use std::io;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// Data is copied in pieces of this many bytes; the progress is told after each.
const PIECE: u64 = 2 << 20;
/// Runs of zeroes of at least this many bytes are left out.
const GRAIN: usize = 4096;

/// The image to make of another.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// Its format.
    pub format: Format,
    /// Size of a cluster in bytes (QCOW2 only): a power of two from 512 to 2 MiB.
    pub cluster_size: u64,
}

impl ConvertOptions {
    /// An image of this format, the rest as usual.
    pub fn new(format: Format) -> Self {
        ConvertOptions { format, cluster_size: CreateOptions::DEFAULT_CLUSTER_SIZE }
    }
}

/// Copies the disk in the image `source`, with all that shows through from its backing files, into a new
/// image at `target`. Zeroes take no space there. A QCOW2 image is rounded up to whole sectors.
///
/// `progress` is called with the bytes done and the size of the disk. The copy is made under a temporary
/// name in the directory of `target` and gets its name when it is complete and durable; on failure it is
/// removed, and an existing `target` is never overwritten. The source is shared with other readers.
///
/// # Errors
/// The source cannot be opened or read, the target exists or cannot be written, or a parameter is out of
/// range.
pub fn convert(
    source: &DiskOptions,
    target: &Path,
    options: &ConvertOptions,
    mut progress: impl FnMut(u64, u64),
) -> Result<()> {
    let fail = |error| Error::io(target, Op::Convert, error);
    let layer = Layer::open(source, Purpose::Read, Op::Convert)?;
    let size = layer.image.size();
    let invalid = |kind| Error::new(target, Op::Convert, kind);
    let new_size = check_size(options.format, size).map_err(invalid)?;
    if options.format == Format::Qcow2 {
        check_cluster_size(options.cluster_size, new_size).map_err(invalid)?;
    }
    if target.symlink_metadata().is_ok() {
        return Err(invalid(ErrorKind::Exists));
    }

    let temporary = tempfile::Builder::new()
        .prefix(".ferry-convert-")
        // As for any new file: less what the umask takes.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(parent(target))
        .map_err(fail)?;
    let file = temporary.as_file().try_clone().map_err(fail)?;
    let (copy, shared) = match options.format {
        Format::Raw => open_raw(file, target, new_size),
        Format::Qcow2 => format_qcow2(file, target, new_size, options.cluster_size, None),
    }
    .map_err(|fault| fault.of(target, Op::Convert))?;

    let mut buffer = Vec::new();
    let mut at = 0;
    progress(0, size);
    while let Some(data) =
        next_piece(&layer, at).map_err(|error| Error::io(&source.path, Op::Convert, error).at(at))?
    {
        buffer.resize((data.end - data.start) as usize, 0);
        layer
            .image
            .read(&mut buffer[..], data.start)
            .map_err(|error| Error::io(&source.path, Op::Convert, error).at(data.start))?;
        copy_data(&copy, &buffer, data.start).map_err(fail)?;
        at = data.end;
        progress(at, size);
    }
    let finish = || {
        copy.flush()?;
        drop(copy);
        shared.file().sync_all()?;
        temporary.persist_noclobber(target).map_err(|failed| failed.error)?;
        sync_parent(target)
    };
    finish().map_err(fail)?;
    progress(size, size);
    Ok(())
}

fn open_raw(file: std::fs::File, path: &Path, size: u64) -> Result<(Image, Arc<Shared>), Fault> {
    file.set_len(size)?;
    let shared = Shared::new(file, path, true)?;
    let raw = Raw::builder(shared.data()).write(true).open(DenyImplicitOpenGate::default())?;
    Ok((FormatAccess::new(raw), shared))
}

/// The next range at or after `at`, of at most [`PIECE`] bytes, that may be other than zero.
fn next_piece(layer: &Layer, mut at: u64) -> io::Result<Option<Range<u64>>> {
    let size = layer.image.size();
    while at < size {
        if layer.header.is_none() {
            let data = next_data(layer.shared.file(), at, size)?;
            return Ok(data.map(|data| data.start..data.end.min(data.start.saturating_add(PIECE))));
        }
        let (mapping, len) = layer.image.get_mapping(at, size - at)?;
        match mapping {
            Mapping::Eof { .. } => break,
            Mapping::Zero { .. } => at = at.saturating_add(len.max(1)),
            _ => return Ok(Some(at..at + len.clamp(1, PIECE))),
        }
    }
    Ok(None)
}

/// Writes what is not zero.
fn copy_data(copy: &Image, data: &[u8], offset: u64) -> io::Result<()> {
    let is_zero = |grain: &[u8]| grain.iter().all(|&byte| byte == 0);
    let mut start = 0;
    for run in data.chunks(GRAIN).collect::<Vec<_>>().chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let len: usize = run.iter().map(|grain| grain.len()).sum();
        if !run.first().is_none_or(|grain| is_zero(grain)) {
            copy.write(&data[start..start + len], offset + start as u64)?;
        }
        start += len;
    }
    Ok(())
}
