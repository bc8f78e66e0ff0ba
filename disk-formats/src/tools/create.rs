//! `ferry disk create`.

use super::{check_cluster_size, check_size};
use crate::error::{Error, ErrorKind, Fault, Op, Result};
use crate::file::{parent, sync_parent};
use crate::image::{DiskOptions, Image, ImageDisk};
use crate::probe::Format;
use crate::storage::{ImageFile, Shared};
use crate::{Disk, lock};
use imago::DenyImplicitOpenGate;
use imago::FormatAccess;
use imago::format::builder::FormatCreateBuilder;
use imago::qcow2::Qcow2;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The image to make.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Its format.
    pub format: Format,
    /// Size of the guest's disk in bytes, rounded up to whole sectors of 512 bytes for QCOW2; `None` takes
    /// that of the backing image.
    pub size: Option<u64>,
    /// The backing image (QCOW2 only), as it will be written into the image: relative to its directory.
    pub backing: Option<PathBuf>,
    /// Format of the backing image; `None` finds out. The image will name it either way.
    pub backing_format: Option<Format>,
    /// Size of a cluster in bytes (QCOW2 only): a power of two from 512 to 2 MiB.
    pub cluster_size: u64,
}

impl CreateOptions {
    /// The usual size of a cluster in bytes.
    pub const DEFAULT_CLUSTER_SIZE: u64 = 64 << 10;

    /// An empty image of this format and size in bytes.
    pub fn new(format: Format, size: u64) -> Self {
        CreateOptions { size: Some(size), ..Self::new_like_backing(format) }
    }

    /// An overlay over `backing`, with its size.
    pub fn new_overlay(backing: impl Into<PathBuf>) -> Self {
        CreateOptions { backing: Some(backing.into()), ..Self::new_like_backing(Format::Qcow2) }
    }

    fn new_like_backing(format: Format) -> Self {
        CreateOptions {
            format,
            size: None,
            backing: None,
            backing_format: None,
            cluster_size: Self::DEFAULT_CLUSTER_SIZE,
        }
    }
}

/// Makes an image at `path`. An existing file is never overwritten; nothing is left behind on failure.
///
/// # Errors
/// The file exists or cannot be written, a parameter is out of range, or the backing image cannot be
/// opened (it has to be one that [`crate::open`] would accept).
pub fn create(path: &Path, options: &CreateOptions) -> Result<()> {
    let invalid = |kind| Error::new(path, Op::Create, kind);
    let backing = match &options.backing {
        None => None,
        Some(_) if options.format != Format::Qcow2 => {
            let text = format!("a {} image cannot have a backing file", options.format);
            return Err(invalid(ErrorKind::Invalid(text)));
        }
        Some(backing) => Some(Backing::open(path, backing, options.backing_format)?),
    };
    let size = match (options.size, &backing) {
        (Some(size), _) => size,
        (None, Some(backing)) => backing.size,
        (None, None) => return Err(invalid(ErrorKind::Invalid("the size of the disk is missing".into()))),
    };
    let size = check_size(options.format, size).map_err(invalid)?;
    if options.format == Format::Qcow2 {
        check_cluster_size(options.cluster_size, size).map_err(invalid)?;
    }

    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|source| Error::io(path, Op::Create, source))?;
    let fill = || -> Result<(), Fault> {
        if let Some(permission) = lock::acquire(&file, lock::Access::Exclusive)? {
            return Err(ErrorKind::InUse { permission }.into());
        }
        match options.format {
            Format::Raw => file.set_len(size)?,
            Format::Qcow2 => {
                let backing = backing.as_ref().map(|backing| (backing.reference.clone(), backing.format));
                let (image, _) = format_qcow2(file.try_clone()?, path, size, options.cluster_size, backing)?;
                image.flush()?;
            }
        }
        file.sync_all()?;
        sync_parent(path)?;
        Ok(())
    };
    fill().map_err(|fault| {
        // The file is ours: it did not exist before.
        let _ = std::fs::remove_file(path);
        fault.of(path, Op::Create)
    })
}

/// Writes an empty QCOW2 image into an empty file.
pub(crate) fn format_qcow2(
    file: File,
    path: &Path,
    size: u64,
    cluster_size: u64,
    backing: Option<(String, Format)>,
) -> Result<(Image, Arc<Shared>), Fault> {
    let shared = Shared::new(file, path, true)?;
    let cluster_size = usize::try_from(cluster_size).map_err(io::Error::other)?;
    let mut builder =
        Qcow2::<ImageFile>::create_builder(shared.metadata()).size(size).cluster_size(cluster_size);
    if let Some((reference, format)) = backing {
        builder = builder.backing(reference, format.to_string());
    }
    let qcow2 = builder
        .create_open(DenyImplicitOpenGate::default(), |file| Ok(Qcow2::builder(file).backing(None)))?;
    Ok((FormatAccess::new(qcow2), shared))
}

/// A backing image that was opened to see that it can be.
struct Backing {
    reference: String,
    format: Format,
    size: u64,
}

impl Backing {
    fn open(image: &Path, backing: &Path, format: Option<Format>) -> Result<Self> {
        let path = parent(image).join(backing);
        let usable = backing.to_str().filter(|name| {
            name.len() <= 1023 && crate::backing::referenced(name, image).is_ok_and(|found| found == path)
        });
        let Some(reference) = usable else {
            let reference = backing.to_string_lossy().into_owned();
            return Err(Error::new(image, Op::Create, ErrorKind::BackingUnsupported(reference)));
        };
        let disk = ImageDisk::open(&DiskOptions { format, ..DiskOptions::new_read_only(&path) })
            .map_err(|error| error.backing_of(image))?;
        Ok(Backing { reference: reference.to_owned(), format: disk.format(), size: disk.size() })
    }
}
