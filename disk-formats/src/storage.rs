//! The host file under imago.
//!
//! imago gets two handles on the file of a QCOW2 image that is served to a guest, one of them as if it were
//! a separate data file. So it can be told here what is data, which goes to the file at once, and what is
//! metadata, which [`Metadata`] brings there in an order that survives a power cut.
#![allow(unsafe_code, reason = "imago declares the raw accesses of its Storage trait as unsafe")]

use crate::error::Fault;
use crate::file::read_zero_padded;
use crate::metadata::{MARK, MARK_AT, Metadata, Sink};
use crate::qcow2::header::Header;
use imago::file::File as InnerFile;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::storage::PreallocateMode;
use imago::storage::drivers::CommonStorageHelper;
use imago::{Storage, StorageExt, StorageOpenOptions};
use parking_lot::Mutex;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a handle is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Data,
    Metadata,
}

/// A handle on an image's host file, for imago.
#[derive(Debug)]
pub(crate) struct ImageFile {
    shared: Arc<Shared>,
    role: Role,
}

/// The host file itself.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: InnerFile,
    file: File,
    helper: CommonStorageHelper,
    /// Metadata on its way into the file, if it is kept in order.
    metadata: Option<Mutex<Metadata>>,
    /// imago would refuse an image with the mark for dirty ones, even for reading.
    hide_mark: bool,
    /// Length of the metadata that waits, at which a write of data has to look.
    held: AtomicU64,
    /// Number of writes to the file, and how many of them are known to be durable.
    writes: AtomicU64,
    durable: AtomicU64,
    /// A failed sync may have dropped what it should have written: nothing after it can be called durable.
    lost: AtomicBool,
    #[cfg(test)]
    pub(crate) log: Mutex<Option<Vec<power_cut::Event>>>,
}

impl Shared {
    /// Wraps a file that was opened, and stays locked, for an image.
    pub(crate) fn new(file: File, path: &Path, writable: bool) -> Result<Arc<Self>, Fault> {
        Self::with(file, path, writable, None, false)
    }

    /// The same for a QCOW2 image with this header. If `ordered`, its metadata is kept in order and is in the
    /// file only after [`Shared::commit`].
    pub(crate) fn new_qcow2(
        file: File,
        path: &Path,
        writable: bool,
        header: &Header,
        ordered: bool,
    ) -> Result<Arc<Self>, Fault> {
        let metadata = if ordered { Some(Mutex::new(Metadata::new(&file, header)?)) } else { None };
        Self::with(file, path, writable, metadata, header.version >= 3)
    }

    fn with(
        file: File,
        path: &Path,
        writable: bool,
        metadata: Option<Mutex<Metadata>>,
        hide_mark: bool,
    ) -> Result<Arc<Self>, Fault> {
        let options = StorageOpenOptions::new().filename(path).write(writable);
        Ok(Arc::new(Shared {
            inner: InnerFile::from_open_file(file.try_clone()?, options)?,
            file,
            helper: CommonStorageHelper::default(),
            metadata,
            hide_mark,
            held: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            #[cfg(test)]
            log: Mutex::new(None),
        }))
    }

    /// The handle for guest data.
    pub(crate) fn data(self: &Arc<Self>) -> ImageFile {
        ImageFile { shared: Arc::clone(self), role: Role::Data }
    }

    /// The handle for tables and headers, or for everything where the two are not told apart.
    pub(crate) fn metadata(self: &Arc<Self>) -> ImageFile {
        ImageFile { shared: Arc::clone(self), role: Role::Metadata }
    }

    /// The open file, for accesses beside imago.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Memory in which metadata waits for a commit, in bytes.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Makes everything durable that imago has written up to the time when it could not be used:
    /// `exclusive` is given up once what it protects is settled.
    pub(crate) fn commit<G>(&self, exclusive: G) -> io::Result<()> {
        let Some(metadata) = &self.metadata else {
            drop(exclusive);
            return self.sync();
        };
        let mut metadata = metadata.lock();
        drop(exclusive);
        let result = metadata.commit(&self.file, self);
        self.held.store(metadata.held(), Ordering::Release);
        result
    }

    /// Takes the mark for dirty images away, if everything has been committed.
    pub(crate) fn close(&self) -> io::Result<()> {
        match &self.metadata {
            Some(metadata) => metadata.lock().close(&self.file, self),
            None => Ok(()),
        }
    }

    /// Runs a change of data in the file.
    fn change_data(&self, offset: u64, len: u64, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if let Some(metadata) = &self.metadata
            && self.held.load(Ordering::Acquire) > 0
        {
            let mut metadata = metadata.lock();
            if metadata.released() {
                metadata.release(&self.file, self)?;
            }
            metadata.forget(offset, len);
            self.held.store(metadata.held(), Ordering::Release);
        }
        let result = change();
        // Even if it failed, something may have been written.
        self.writes.fetch_add(1, Ordering::Release);
        result
    }

    fn write_metadata(&self, metadata: &Mutex<Metadata>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut metadata = metadata.lock();
        let result = metadata.write(&self.file, offset, bytes);
        self.held.store(metadata.held(), Ordering::Release);
        result
    }

    /// Where metadata is kept, if this access belongs there.
    fn kept(&self, role: Role) -> Option<&Mutex<Metadata>> {
        self.metadata.as_ref().filter(|_| role == Role::Metadata)
    }

    #[cfg(test)]
    fn record(&self, event: impl FnOnce() -> power_cut::Event) {
        if let Some(log) = self.log.lock().as_mut() {
            log.push(event());
        }
    }
}

impl Sink for Shared {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.record(|| power_cut::Event::Write(offset, bytes.to_vec()));
        // Through imago's file, which keeps track of the length.
        let result = self.inner.write(bytes, offset);
        self.writes.fetch_add(1, Ordering::Release);
        result
    }

    fn sync(&self) -> io::Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier flush failed, so data may have been lost"));
        }
        let writes = self.writes.load(Ordering::Acquire);
        if writes == self.durable.load(Ordering::Acquire) {
            return Ok(());
        }
        #[cfg(test)]
        self.record(|| power_cut::Event::Sync);
        self.file.sync_data().inspect_err(|_| self.lost.store(true, Ordering::Relaxed))?;
        self.durable.fetch_max(writes, Ordering::Release);
        Ok(())
    }
}

impl fmt::Display for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.inner.fmt(f)
    }
}

impl Storage for ImageFile {
    fn mem_align(&self) -> usize {
        self.shared.inner.mem_align()
    }

    fn req_align(&self) -> usize {
        self.shared.inner.req_align()
    }

    fn zero_align(&self) -> usize {
        self.shared.inner.zero_align()
    }

    fn discard_align(&self) -> usize {
        self.shared.inner.discard_align()
    }

    fn size(&self) -> io::Result<u64> {
        self.shared.inner.size()
    }

    unsafe fn pure_readv(&self, mut bufv: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        let header = self.shared.hide_mark && offset <= MARK_AT as u64;
        if self.role == Role::Data || self.shared.metadata.is_none() && !header {
            return self.shared.inner.readv(bufv, offset);
        }
        let mut bytes = vec![0; usize::try_from(bufv.len()).map_err(io::Error::other)?];
        match &self.shared.metadata {
            Some(metadata) => metadata.lock().read(&self.shared.file, offset, &mut bytes)?,
            None => read_zero_padded(&self.shared.file, &mut bytes, offset)?,
        }
        if header && let Some(byte) = bytes.get_mut(MARK_AT - offset as usize) {
            *byte &= !MARK;
        }
        bufv.copy_from_slice(&bytes);
        Ok(())
    }

    unsafe fn pure_writev(&self, bufv: IoVector<'_>, offset: u64) -> io::Result<()> {
        if let Some(metadata) = self.shared.kept(self.role) {
            let mut bytes = vec![0; usize::try_from(bufv.len()).map_err(io::Error::other)?];
            bufv.copy_into_slice(&mut bytes);
            return self.shared.write_metadata(metadata, offset, &bytes);
        }
        self.shared.change_data(offset, bufv.len(), || {
            #[cfg(test)]
            self.shared.record(|| power_cut::Event::Write(offset, power_cut::bytes(&bufv)));
            self.shared.inner.writev(bufv, offset)
        })
    }

    unsafe fn pure_write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        if self.shared.kept(self.role).is_some() {
            // Only preallocation does that, which is for tools.
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.shared.change_data(offset, length, || {
            #[cfg(test)]
            self.shared.record(|| power_cut::Event::Write(offset, vec![0; length as usize]));
            self.shared.inner.write_zeroes(offset, length)
        })
    }

    unsafe fn pure_write_allocated_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        if self.shared.kept(self.role).is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.shared.change_data(offset, length, || self.shared.inner.write_allocated_zeroes(offset, length))
    }

    unsafe fn pure_discard(&self, offset: u64, length: u64) -> io::Result<()> {
        if self.shared.kept(self.role).is_some() {
            return Ok(());
        }
        self.shared.change_data(offset, length, || self.shared.inner.discard(offset, length))
    }

    fn flush(&self) -> io::Result<()> {
        self.shared.inner.flush()
    }

    /// Never called: [`Shared::commit`] is.
    fn sync(&self) -> io::Result<()> {
        self.shared.sync()
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.shared.helper
    }

    fn resize(&self, new_size: u64, mode: PreallocateMode) -> io::Result<()> {
        if self.shared.metadata.is_some() {
            // imago wants its data file to be as long as the disk; here it is the image itself.
            return Ok(());
        }
        self.shared.inner.resize(new_size, mode)
    }
}

#[cfg(test)]
#[path = "power_cut.rs"]
pub(crate) mod power_cut;
