//! Opening images, and the disk that imago serves.

use crate::backing::{Allowed, MAX_CHAIN};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Fault, Op, Result};
use crate::file::HostFile;
use crate::lock::Access;
use crate::probe::{Format, PROBE_LEN, Probe, looks_like_image, probe};
use crate::qcow2::header::Header;
use crate::qcow2::repair::repair;
use crate::qcow2::tables;
use crate::storage::{ImageFile, Shared};
use crate::tools::create::CreateOptions;
use imago::format::builder::FormatCreateBuilder;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess};
use parking_lot::RwLock;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// imago's access to an image of any format on our files.
pub(crate) type Image = FormatAccess<ImageFile>;

/// How to open an image.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The image: a regular file, or a block device (raw).
    pub path: PathBuf,
    /// Its format; `None` finds out (see the crate's documentation on probing).
    pub format: Option<Format>,
    /// Refuse all writes. The image is then shared with other readers.
    pub read_only: bool,
    /// Let all writes go to a temporary file that vanishes with the disk. The image itself is opened for
    /// reading and shared with other readers.
    pub snapshot: bool,
    /// Files, or directories with all below them, where backing files may be, besides the directory of the
    /// image and all below it.
    pub allow_backing: Vec<PathBuf>,
    /// Where the temporary file of a `snapshot` goes; `None` is the system's directory for such files.
    /// It can become as large as the disk.
    pub temp_dir: Option<PathBuf>,
}

impl DiskOptions {
    /// Opens `path` for writing, whatever its format, with backing files from its own directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        DiskOptions {
            path: path.into(),
            format: None,
            read_only: false,
            snapshot: false,
            allow_backing: Vec::new(),
            temp_dir: None,
        }
    }

    /// The same, for reading only.
    pub fn new_read_only(path: impl Into<PathBuf>) -> Self {
        DiskOptions { read_only: true, ..Self::new(path) }
    }
}

/// Opens a disk.
///
/// # Errors
/// See [`ErrorKind`]: the path does not open or is no disk, the image is in use, damaged, encrypted, or
/// needs something that is not supported, or a backing file is not allowed.
pub fn open(options: &DiskOptions) -> Result<Box<dyn Disk>> {
    Ok(Box::new(ImageDisk::open(options)?))
}

/// What an image is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Write,
    /// Writes that do not survive a power cut.
    #[cfg(test)]
    Unordered,
}

/// An open image with what we know of it.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) image: Image,
    pub(crate) shared: Arc<Shared>,
    /// The format was found by looking at the image.
    pub(crate) probed: bool,
    /// Present for QCOW2.
    pub(crate) header: Option<Header>,
    /// Size of the backing image, if there is one.
    pub(crate) backing_size: Option<u64>,
    pub(crate) block_device: bool,
}

impl Layer {
    /// Opens an image and its chain of backing files.
    pub(crate) fn open(options: &DiskOptions, purpose: Purpose, op: Op) -> Result<Self> {
        let mut chain =
            Chain { allowed: Allowed::new(&options.path, &options.allow_backing)?, seen: Vec::new(), op };
        chain.open(&options.path, options.format, purpose)
    }
}

/// A chain of images that is being opened, from the top.
struct Chain {
    allowed: Allowed,
    /// Device and inode numbers of the images so far.
    seen: Vec<(u64, u64)>,
    op: Op,
}

impl Chain {
    fn open(&mut self, path: &Path, format: Option<Format>, purpose: Purpose) -> Result<Layer> {
        let writable = purpose != Purpose::Read;
        let host = HostFile::open(path, writable, self.seen.is_empty(), self.op)?;
        if self.seen.len() == MAX_CHAIN || self.seen.contains(&host.id) {
            return Err(Error::new(path, self.op, ErrorKind::BackingTooDeep(MAX_CHAIN)));
        }
        self.seen.push(host.id);
        host.lock(if writable { Access::Exclusive } else { Access::Shared }, self.op)?;

        let found = probe(&host.head(self.op)?);
        let probed = format.is_none();
        let format = match (format, found) {
            (Some(format), _) => format,
            (None, Probe::Raw) => Format::Raw,
            (None, Probe::Qcow2) => Format::Qcow2,
            (None, Probe::Foreign(name) | Probe::Compressed(name)) => {
                return Err(Error::new(path, self.op, ErrorKind::UnsupportedFormat(name)));
            }
        };
        match format {
            Format::Raw => self.open_raw(host, writable, probed),
            Format::Qcow2 => self.open_qcow2(host, purpose, probed),
        }
    }

    fn open_raw(&self, host: HostFile, writable: bool, probed: bool) -> Result<Layer> {
        let open = || -> Result<_, Fault> {
            let shared = Shared::new(host.file, &host.path, writable)?;
            Ok((FormatAccess::new(Raw::open_image(shared.data(), writable)?), shared))
        };
        let (image, shared) = open().map_err(|fault| fault.of(&host.path, self.op))?;
        let block_device = host.block_device;
        Ok(Layer { image, shared, probed, header: None, backing_size: None, block_device })
    }

    fn open_qcow2(&mut self, host: HostFile, purpose: Purpose, probed: bool) -> Result<Layer> {
        let op = self.op;
        let writable = purpose != Purpose::Read;
        let header = read_header(&host, writable).map_err(|fault| fault.of(&host.path, op))?;
        let backing = match &header.backing_file {
            Some(reference) => {
                Some(self.open_backing(reference, header.backing_format.as_deref(), &host.path)?)
            }
            None => None,
        };
        let backing_size = backing.as_ref().map(|layer| layer.image.size());

        let ordered = purpose == Purpose::Write;
        let open = || -> Result<_, Fault> {
            let shared = Shared::new_qcow2(host.file, &host.path, writable, &header, ordered)?;
            let mut qcow2 =
                Qcow2::<ImageFile>::open_image(shared.metadata(), writable).map_err(image_fault)?;
            // A second handle on the same file, so that data can be told from metadata.
            qcow2.set_data_file(ordered.then(|| shared.data()));
            qcow2.set_backing(backing.map(|layer| layer.image));
            Ok((FormatAccess::new(qcow2), shared))
        };
        let (image, shared) = open().map_err(|fault| fault.of(&host.path, op))?;
        Ok(Layer {
            image,
            shared,
            probed,
            header: Some(header),
            backing_size,
            block_device: host.block_device,
        })
    }

    fn open_backing(&mut self, reference: &str, format: Option<&str>, overlay: &Path) -> Result<Layer> {
        let path = self.allowed.resolve(reference, overlay)?;
        let format = match format {
            None => None,
            Some("raw" | "file") => Some(Format::Raw),
            Some("qcow2") => Some(Format::Qcow2),
            Some(other) => {
                let what = format!("a backing file of format {other:?}");
                return Err(Error::new(overlay, self.op, ErrorKind::UnsupportedFeature(what)));
            }
        };
        self.open(&path, format, Purpose::Read).map_err(|error| error.backing_of(overlay))
    }
}

/// Reads the header of a QCOW2 image and checks all that imago takes for granted. For writing, puts the
/// refcounts of one right that was not closed cleanly.
fn read_header(host: &HostFile, writable: bool) -> Result<Header, Fault> {
    let mut header = Header::read(&host.file)?;
    header.check_features()?;
    header.check_layout(host.len)?;
    let used = tables::check(&host.file, &header, host.len)?;
    if writable {
        // Version 2 has no mark that would tell.
        if header.is_dirty() || header.version == 2 {
            let changed = repair(&host.file, host.len, &header)?;
            tracing::debug!("{}: refcounts checked, changed: {changed}", host.path.display());
            header = Header::read(&host.file)?;
        }
        tables::check_refcounts(&host.file, &header, &used)?;
    }
    Ok(header)
}

/// What an error of imago means.
fn image_fault(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::InvalidData => Fault::corrupt(error.to_string()),
        _ => Fault::Io(error),
    }
}

/// A disk in an image.
#[derive(Debug)]
pub(crate) struct ImageDisk {
    path: PathBuf,
    format: Format,
    size: u64,
    read_only: bool,
    /// Writes are worth being made durable.
    durable: bool,
    /// The disk is smaller than a cluster, for which imago's zeroing miscalculates.
    tiny: bool,
    /// Raw by probing only: the first sector must not start to look like another format.
    guard_head: bool,
    /// Shared for what may run at the same time; exclusive for what frees clusters under the feet of it.
    image: RwLock<Image>,
    shared: Arc<Shared>,
}

/// Most that is zeroed or discarded under one exclusive lock, in bytes, to let other accesses in between.
const EXCLUSIVE_PIECE: u64 = 1 << 30;
/// Most metadata that waits in memory for a flush, in bytes.
const MAX_HELD: u64 = 32 << 20;
const ZEROES: &[u8] = &[0; 64 << 10];

impl ImageDisk {
    pub(crate) fn open(options: &DiskOptions) -> Result<Self> {
        let served = !options.read_only && !options.snapshot;
        Self::open_for(options, if served { Purpose::Write } else { Purpose::Read })
    }

    pub(crate) fn open_for(options: &DiskOptions, purpose: Purpose) -> Result<Self> {
        let served = purpose != Purpose::Read;
        let layer = Layer::open(options, purpose, Op::Open)?;
        let size = layer.image.size();
        let format = if layer.header.is_some() { Format::Qcow2 } else { Format::Raw };
        let guard_head = served && layer.probed && layer.header.is_none();
        let cluster_size = match &layer.header {
            _ if options.snapshot => CreateOptions::DEFAULT_CLUSTER_SIZE,
            Some(header) => header.cluster_size(),
            None => 1,
        };
        let (image, shared) = if options.snapshot && !options.read_only {
            throw_away_overlay(layer, options).map_err(|fault| match fault {
                Fault::Io(source) => {
                    let text = format!("the temporary file for the snapshot: {source}");
                    Error::io(&options.path, Op::Open, io::Error::new(source.kind(), text))
                }
                fault => fault.of(&options.path, Op::Open),
            })?
        } else {
            (layer.image, layer.shared)
        };
        Ok(ImageDisk {
            tiny: size < cluster_size,
            path: options.path.clone(),
            format,
            size,
            read_only: options.read_only,
            durable: served,
            guard_head,
            image: RwLock::new(image),
            shared,
        })
    }

    /// Format of the image (not of the overlay that a snapshot has).
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn error(&self, op: Op, offset: u64, source: io::Error) -> Error {
        image_fault(source).of(&self.path, op).at(offset)
    }

    /// Flushes if much metadata waits in memory for that.
    fn limit_memory(&self) -> Result<()> {
        if self.shared.held() > MAX_HELD { self.flush() } else { Ok(()) }
    }

    /// Writes zeroes as data, for images that have no other way.
    fn write_plain_zeroes(&self, mut offset: u64, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let piece = len.min(ZEROES.len() as u64);
            self.image.read().write(&ZEROES[..piece as usize], offset)?;
            offset += piece;
            len -= piece;
        }
        Ok(())
    }

    /// Writes to the first sector of an image that is raw by probing only.
    fn write_head(&self, offset: u64, data: &[u8]) -> Result<()> {
        // Exclusive, so that two writes cannot each bring half a magic number.
        let image = self.image.write();
        let mut head = [0; PROBE_LEN];
        image.read(&mut head[..], 0).map_err(|source| self.error(Op::Write, offset, source))?;
        for (new, at) in data.iter().zip(offset as usize..PROBE_LEN) {
            head[at] = *new;
        }
        if let Some(format) = looks_like_image(&head) {
            return Err(Error::new(&self.path, Op::Write, ErrorKind::FormatChange(format)).at(offset));
        }
        image.write(data, offset).map_err(|source| self.error(Op::Write, offset, source))
    }
}

/// Puts an overlay in an unlinked temporary file over an image.
fn throw_away_overlay(base: Layer, options: &DiskOptions) -> Result<(Image, Arc<Shared>), Fault> {
    let file = match &options.temp_dir {
        Some(dir) => tempfile::tempfile_in(dir)?,
        None => tempfile::tempfile()?,
    };
    let shared = Shared::new(file, Path::new("snapshot"), true)?;
    let size = base.image.size();
    let overlay = Qcow2::<ImageFile>::create_builder(shared.metadata())
        .size(size)
        .create_open(DenyImplicitOpenGate::default(), |file| {
            Ok(Qcow2::builder(file).backing(Some(base.image)))
        })?;
    Ok((FormatAccess::new(overlay), shared))
}

impl Drop for ImageDisk {
    fn drop(&mut self) {
        let close = |()| self.shared.close().map_err(|source| Error::io(&self.path, Op::Flush, source));
        if let Err(error) = self.flush().and_then(close) {
            tracing::error!("{error}");
        }
    }
}

impl Disk for ImageDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn name(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.check_range(Op::Read, offset, buffer.len() as u64)?;
        self.image.read().read(buffer, offset).map_err(|source| self.error(Op::Read, offset, source))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check_writable(Op::Write, offset, data.len() as u64)?;
        if self.guard_head && offset < PROBE_LEN as u64 {
            return self.write_head(offset, data);
        }
        self.image.read().write(data, offset).map_err(|source| self.error(Op::Write, offset, source))?;
        self.limit_memory()
    }

    fn flush(&self) -> Result<()> {
        if !self.durable {
            return Ok(());
        }
        let flush = || {
            let image = self.image.write();
            image.flush()?;
            self.shared.commit(image)
        };
        flush().map_err(|source| image_fault(source).of(&self.path, Op::Flush))
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writable(Op::Discard, offset, len)?;
        for (offset, len) in pieces(offset, len) {
            match self.image.write().discard_to_any(offset, len) {
                // Version 2 of QCOW2 has no safe way; doing nothing is allowed.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
                result => result.map_err(|source| self.error(Op::Discard, offset, source))?,
            }
        }
        self.limit_memory()
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<()> {
        self.check_writable(Op::WriteZeroes, offset, len)?;
        for (offset, len) in pieces(offset, len) {
            let result = if self.tiny {
                self.write_plain_zeroes(offset, len)
            } else if may_unmap {
                self.image.write().discard_to_zero(offset, len)
            } else {
                self.image.read().write_zeroes(offset, len)
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.write_plain_zeroes(offset, len)
                }
                result => result,
            }
            .map_err(|source| self.error(Op::WriteZeroes, offset, source))?;
        }
        self.limit_memory()
    }
}

/// Cuts a range into pieces of at most [`EXCLUSIVE_PIECE`] bytes.
fn pieces(offset: u64, len: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..len.div_ceil(EXCLUSIVE_PIECE)).map(move |n| {
        let done = n * EXCLUSIVE_PIECE;
        (offset + done, EXCLUSIVE_PIECE.min(len - done))
    })
}
