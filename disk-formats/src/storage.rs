//! The host file under imago, and the order in which writes reach the host's disk.
//!
//! imago writes refcounts before the table entries that depend on them, which is enough if the process
//! dies, but it asks for no barrier in between: after a power cut the host may have kept the later write
//! and lost the earlier. So this layer sits between imago and the file. It is told which accesses are to
//! metadata (imago gets two handles for one file, one of them as "data file") and puts an `fdatasync`
//! between writes that must not overtake each other:
//!
//! - a table (L2, mostly) refers to data and relies on refcounts: both must be durable before it;
//! - a refcount block that frees clusters relies on the table that no longer refers to them;
//! - a pointer (an L1 or refcount table entry, the header) relies on everything before it;
//! - data may go to a cluster that a table or pointer has just let go of.
//!
//! A flush with dirty metadata so costs two `fdatasync`s, like in QEMU; one without costs one.
#![allow(unsafe_code, reason = "imago declares the raw accesses of its Storage trait as unsafe")]

use crate::qcow2::header::Header;
use crate::qcow2::{be64, tables};
use imago::file::File as InnerFile;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::storage::PreallocateMode;
use imago::storage::drivers::CommonStorageHelper;
use imago::{Storage, StorageOpenOptions};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a handle is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Data,
    Metadata,
}

/// A handle on an image's host file.
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
    /// Present for a writable QCOW2 image whose writes must be ordered.
    order: Option<Order>,
    /// A failed `fdatasync` may have dropped dirty pages: nothing after it can be called durable.
    lost: AtomicBool,
    #[cfg(test)]
    pub(crate) log: Mutex<Option<Vec<power_cut::Event>>>,
}

impl Shared {
    /// Wraps a file that was opened, and stays locked, for an image. `order` is the header of a QCOW2
    /// image that will be written to, whose writes are then ordered.
    pub(crate) fn new(
        file: File,
        path: &Path,
        writable: bool,
        order: Option<&Header>,
    ) -> io::Result<Arc<Self>> {
        let options = StorageOpenOptions::new().filename(path).write(writable);
        let inner = InnerFile::from_open_file(file.try_clone()?, options)?;
        let order = match order {
            Some(header) => Some(Order::new(&file, header)?),
            None => None,
        };
        Ok(Arc::new(Shared {
            inner,
            file,
            order,
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

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match &self.order {
            Some(order) => order.sync(&mut order.state.lock(), || self.sync_file()),
            None => self.sync_file(),
        }
    }

    fn sync_file(&self) -> io::Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier flush failed, so data may have been lost"));
        }
        #[cfg(test)]
        self.record(|| power_cut::Event::Sync);
        self.file.sync_data().inspect_err(|_| self.lost.store(true, Ordering::Relaxed))
    }

    /// Runs a write of `len` bytes at `offset` by a handle with `role`, in its place in the order.
    fn ordered(
        &self,
        role: Role,
        offset: u64,
        len: u64,
        write: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match (&self.order, role) {
            (None, _) => write(),
            (Some(order), Role::Data) => {
                if order.released.load(Ordering::Acquire) {
                    order.sync(&mut order.state.lock(), || self.sync_file())?;
                }
                let result = write();
                // Even a failed write may have written something.
                order.data_writes.fetch_add(1, Ordering::Release);
                result
            }
            (Some(order), Role::Metadata) => {
                let mut state = order.state.lock();
                let class = state.classify(offset, len);
                if order.must_sync_before(&state, class) {
                    order.sync(&mut state, || self.sync_file())?;
                }
                state.pending = Some(class);
                if class != Class::Refblock {
                    order.released.store(true, Ordering::Release);
                }
                write()?;
                state.follow(&self.file, offset, len)
            }
        }
    }

    #[cfg(test)]
    fn record(&self, event: impl FnOnce() -> power_cut::Event) {
        if let Some(log) = self.log.lock().as_mut() {
            log.push(event());
        }
    }
}

/// Kinds of metadata writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// A refcount block.
    Refblock,
    /// A whole cluster of any other table.
    Table,
    /// An entry of a table, or the header.
    Pointer,
}

/// What has been written since the last `fdatasync`.
#[derive(Debug)]
struct Order {
    /// Number of data writes so far.
    data_writes: AtomicU64,
    /// A table or pointer has been written since the last sync, and may have let go of a cluster.
    released: AtomicBool,
    state: Mutex<OrderState>,
}

#[derive(Debug)]
struct OrderState {
    /// Value of `data_writes` that the last sync covers.
    synced_data: u64,
    /// Class of the metadata writes since the last sync; never two classes without one in between.
    pending: Option<Class>,
    cluster_size: u64,
    reftable: Range<u64>,
    refblocks: HashSet<u64>,
}

impl Order {
    fn new(file: &File, header: &Header) -> io::Result<Self> {
        let mut state = OrderState {
            synced_data: 0,
            pending: None,
            cluster_size: header.cluster_size(),
            reftable: 0..0,
            refblocks: HashSet::new(),
        };
        state.load_reftable(file)?;
        Ok(Order {
            data_writes: AtomicU64::new(0),
            released: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    fn must_sync_before(&self, state: &OrderState, class: Class) -> bool {
        let data_pending = self.data_writes.load(Ordering::Acquire) != state.synced_data;
        match class {
            Class::Refblock => matches!(state.pending, Some(Class::Table | Class::Pointer)),
            Class::Table => data_pending || matches!(state.pending, Some(Class::Refblock | Class::Pointer)),
            Class::Pointer => data_pending || state.pending.is_some(),
        }
    }

    fn sync(&self, state: &mut OrderState, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let data = self.data_writes.load(Ordering::Acquire);
        sync()?;
        state.synced_data = data;
        state.pending = None;
        self.released.store(false, Ordering::Release);
        Ok(())
    }
}

impl OrderState {
    fn classify(&self, offset: u64, len: u64) -> Class {
        if self.refblocks.contains(&offset) && len == self.cluster_size {
            Class::Refblock
        } else if offset >= self.cluster_size
            && offset.is_multiple_of(self.cluster_size)
            && len >= self.cluster_size
        {
            Class::Table
        } else {
            Class::Pointer
        }
    }

    /// Learns of new refcount blocks from a write that has just been done.
    fn follow(&mut self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        if offset < self.cluster_size {
            return self.load_reftable(file);
        }
        let start = offset.max(self.reftable.start);
        let end = offset.saturating_add(len).min(self.reftable.end);
        if start >= end {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, start)?;
        self.refblocks.extend(
            bytes
                .chunks_exact(8)
                .map(|entry| be64(entry, 0) & tables::OFFSET_MASK)
                .filter(|&offset| offset != 0),
        );
        Ok(())
    }

    /// Reads the refcount table if it is not where it was.
    fn load_reftable(&mut self, file: &File) -> io::Result<()> {
        let fault = |fault: crate::error::Fault| {
            io::Error::other(fault.of(Path::new("image"), crate::error::Op::Write))
        };
        let header = Header::read(file).map_err(fault)?;
        let place = header.reftable_offset..header.reftable_offset.saturating_add(header.reftable_bytes());
        if place != self.reftable {
            self.refblocks = tables::refblocks(file, &header).map_err(fault)?;
            self.reftable = place;
        }
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

    unsafe fn pure_readv(&self, bufv: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        // SAFETY: the caller keeps the alignment that we report, which is that of `inner`.
        unsafe { self.shared.inner.pure_readv(bufv, offset) }
    }

    unsafe fn pure_writev(&self, bufv: IoVector<'_>, offset: u64) -> io::Result<()> {
        let len = bufv.len();
        #[cfg(test)]
        let data = power_cut::bytes(&bufv);
        self.shared.ordered(self.role, offset, len, || {
            #[cfg(test)]
            self.shared.record(|| power_cut::Event::Write(offset, data));
            // SAFETY: alignment as above; imago's write blockers of this range are held around the call,
            // and they are those of `inner`, which all handles share.
            unsafe { self.shared.inner.pure_writev(bufv, offset) }
        })
    }

    unsafe fn pure_write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.shared.ordered(self.role, offset, length, || {
            #[cfg(test)]
            self.shared.record(|| power_cut::Event::Write(offset, vec![0; length as usize]));
            // SAFETY: as for `pure_writev`.
            unsafe { self.shared.inner.pure_write_zeroes(offset, length) }
        })
    }

    unsafe fn pure_write_allocated_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.shared.ordered(self.role, offset, length, || {
            #[cfg(test)]
            self.shared.record(|| power_cut::Event::Write(offset, vec![0; length as usize]));
            // SAFETY: as for `pure_writev`.
            unsafe { self.shared.inner.pure_write_allocated_zeroes(offset, length) }
        })
    }

    unsafe fn pure_discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.shared.ordered(self.role, offset, length, || {
            #[cfg(test)]
            self.shared.record(|| power_cut::Event::Write(offset, vec![0; length as usize]));
            // SAFETY: as for `pure_writev`.
            unsafe { self.shared.inner.pure_discard(offset, length) }
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.shared.inner.flush()
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.sync()
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        // SAFETY: the caller vouches for the state of the file; there is no cache here.
        unsafe { self.shared.inner.invalidate_cache() }
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        self.shared.inner.get_storage_helper()
    }

    fn resize(&self, new_size: u64, mode: PreallocateMode) -> io::Result<()> {
        self.shared.inner.resize(new_size, mode)
    }
}

#[cfg(test)]
#[path = "power_cut.rs"]
pub(crate) mod power_cut;
