//! Host files: opened so that a strange path can neither hang nor surprise.

use crate::error::{Error, ErrorKind, Op, Result};
use crate::lock::{self, Access};
use crate::probe::PROBE_LEN;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open host file that holds a disk image.
#[derive(Debug)]
pub(crate) struct HostFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    /// Device and inode number.
    pub(crate) id: (u64, u64),
    pub(crate) block_device: bool,
    /// Length in bytes when it was opened.
    pub(crate) len: u64,
    /// Bytes that the host has allocated for it.
    pub(crate) allocated: u64,
}

impl HostFile {
    /// Opens a regular file, or a block device if `devices` says so.
    pub(crate) fn open(path: &Path, writable: bool, devices: bool, op: Op) -> Result<Self> {
        let fail = |source| Error::io(path, op, source);
        let file = OpenOptions::new()
            .read(true)
            .write(writable)
            // A FIFO would otherwise wait for its other end.
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        let kind = metadata.file_type();
        let block_device = kind.is_block_device();
        if !(kind.is_file() || block_device && devices) {
            let what = match () {
                () if kind.is_dir() => "it is a directory",
                () if block_device => "it is a block device, which may not be a backing file",
                () => "it is a special file",
            };
            return Err(Error::new(path, op, ErrorKind::NotADisk(what)));
        }
        let len = match block_device {
            true => (&file).seek(SeekFrom::End(0)).map_err(fail)?,
            false => metadata.len(),
        };
        Ok(HostFile {
            path: path.to_owned(),
            id: (metadata.dev(), metadata.ino()),
            block_device,
            len,
            allocated: metadata.blocks().saturating_mul(512),
            file,
        })
    }

    /// Takes QEMU's image locks; they live as long as the open file.
    pub(crate) fn lock(&self, access: Access, op: Op) -> Result<()> {
        match lock::acquire(&self.file, access) {
            Ok(None) => Ok(()),
            Ok(Some(permission)) => Err(Error::new(&self.path, op, ErrorKind::InUse { permission })),
            Err(source) => {
                let text =
                    format!("the file system does not support the locks that protect images: {source}");
                Err(Error::io(&self.path, op, io::Error::new(source.kind(), text)))
            }
        }
    }

    /// The first [`PROBE_LEN`] bytes, or fewer if the file is shorter.
    pub(crate) fn head(&self, op: Op) -> Result<Vec<u8>> {
        let mut head = vec![0; PROBE_LEN];
        let len = read_some(&self.file, &mut head, 0).map_err(|source| Error::io(&self.path, op, source))?;
        head.truncate(len);
        Ok(head)
    }
}

/// Reads until `buffer` is full or the file ends; returns how much was read.
pub(crate) fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Reads `buffer`; what lies beyond the end of the file is zero.
pub(crate) fn read_zero_padded(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let done = read_some(file, buffer, offset)?;
    if let Some(rest) = buffer.get_mut(done..) {
        rest.fill(0);
    }
    Ok(())
}

/// The next range at or after `offset` that may hold data, as the host file system knows it.
pub(crate) fn next_data(file: &File, offset: u64, len: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    if offset >= len {
        return Ok(None);
    }
    match seek(file, SeekFrom::Data(offset)) {
        Ok(start) if start >= len => Ok(None),
        Ok(start) => {
            let end = seek(file, SeekFrom::Hole(start)).unwrap_or(len).clamp(start + 1, len);
            Ok(Some(start..end))
        }
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // The file system does not know: all of it may be data.
        Err(_) => Ok(Some(offset..len)),
    }
}

/// Makes the directory entry of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
