//! The virtio block device (§5.2): a [`Disk`] with any number of queues, served by a pool of I/O threads.
//!
//! A thread takes one request at a time, from whichever queue has been kicked longest ago, so requests of one
//! queue run side by side and may complete out of order. Data moves through a buffer of the thread's own, a
//! piece at a time; a reset waits for no I/O, and a request that it overtakes ends at its next piece without
//! touching guest memory. The status byte and the used ring are written by the event queue's thread.
//!
//! Writes are durable on completion unless the driver has negotiated flushes and left the cache on
//! (§5.2.6.2). A last sector that the disk holds only part of is not shown.
//!
//! Not modelled: legacy geometry, secure erase, zones, lifetime, resizing while the machine runs.

pub mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use disk_formats::Disk;
use emu_core::sync::EventHandle;
use parking_lot::{Condvar, Mutex};
use tracing::warn;

use super::spec::device_id;
use super::{Activation, Chain, VirtQueue, VirtioDevice, copy_config};
use spec::{Status, config, feature, request};

/// Largest size of each queue.
const QUEUE_SIZE: u16 = 256;
/// Segments of a request: a queue's descriptors but for header and status.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Bytes moved between disk and guest memory at a time.
const PIECE: usize = 256 << 10;
/// Most sectors that one segment may discard or zero: 2 GiB.
const MAX_RANGE_SECTORS: u32 = 1 << 22;
/// Most segments of one discard or write-zeroes request.
const MAX_RANGES: u32 = 16;
/// Logarithm of the sectors per block that hosts and image formats work with: 4 KiB.
const PHYSICAL_BLOCK_EXP: u8 = 3;

/// What a user may choose about a disk's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlkConfig {
    /// The serial number, of which the first 20 bytes are shown.
    pub id: String,
    /// Number of queues, 1 to 64; one per vCPU is best.
    pub queues: u16,
    /// Number of I/O threads, 1 to 64: how many requests the host sees at a time.
    pub workers: usize,
}

impl Default for BlkConfig {
    fn default() -> Self {
        Self { id: String::new(), queues: 1, workers: 2 }
    }
}

/// A block device. Dropping it ends the I/O threads and makes the disk durable.
pub struct Blk {
    // Configuration.
    id: [u8; spec::ID_LEN],
    queue_sizes: Vec<u16>,
    // Glue.
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    // State.
    queues: Mutex<Vec<Option<Arc<VirtQueue>>>>,
}

/// What the I/O threads see.
struct Shared {
    disk: Arc<dyn Disk>,
    events: EventHandle,
    id: [u8; spec::ID_LEN],
    work: Mutex<Work>,
    more: Condvar,
    /// The `writeback` field.
    writeback: AtomicBool,
    /// Whether writes may wait for a flush at all: what was negotiated.
    may_cache: AtomicBool,
}

#[derive(Default)]
struct Work {
    /// Queues that may have chains, each once.
    kicked: VecDeque<Arc<VirtQueue>>,
    stopping: bool,
}

impl Blk {
    /// A block device for `disk`, and its threads. Queue and thread numbers beyond their range are brought
    /// into it.
    pub fn new(events: &EventHandle, disk: Arc<dyn Disk>, config: &BlkConfig) -> io::Result<Arc<Self>> {
        let mut id = [0; spec::ID_LEN];
        copy_config(config.id.as_bytes(), 0, &mut id);
        let shared = Arc::new(Shared {
            disk,
            events: events.clone(),
            id,
            work: Mutex::default(),
            more: Condvar::new(),
            writeback: AtomicBool::new(true),
            may_cache: AtomicBool::new(false),
        });
        let mut blk = Self {
            id,
            queue_sizes: vec![QUEUE_SIZE; config.queues.clamp(1, 64).into()],
            shared,
            workers: Vec::new(),
            queues: Mutex::default(),
        };
        for _ in 0..config.workers.clamp(1, 64) {
            let shared = Arc::clone(&blk.shared);
            // If one cannot be started, dropping `blk` ends those that were.
            blk.workers.push(std::thread::Builder::new().name("disk".into()).spawn(move || shared.run())?);
        }
        Ok(Arc::new(blk))
    }

    /// The serial number as the guest sees it, padded with zeroes.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    fn config(&self) -> [u8; config::LEN] {
        let mut bytes = [0; config::LEN];
        let mut put = |at: usize, value: &[u8]| copy_config(value, 0, &mut bytes[at..at + value.len()]);
        put(config::CAPACITY, &self.shared.sectors().to_le_bytes());
        put(config::SEG_MAX, &SEG_MAX.to_le_bytes());
        put(config::BLK_SIZE, &(spec::SECTOR as u32).to_le_bytes());
        put(config::PHYSICAL_BLOCK_EXP, &[PHYSICAL_BLOCK_EXP]);
        put(config::MIN_IO_SIZE, &(1u16 << PHYSICAL_BLOCK_EXP).to_le_bytes());
        put(config::WRITEBACK, &[self.shared.writeback.load(Ordering::SeqCst).into()]);
        put(config::NUM_QUEUES, &(self.queue_sizes.len() as u16).to_le_bytes());
        put(config::MAX_DISCARD_SECTORS, &MAX_RANGE_SECTORS.to_le_bytes());
        put(config::MAX_DISCARD_SEG, &MAX_RANGES.to_le_bytes());
        put(config::DISCARD_SECTOR_ALIGNMENT, &(1u32 << PHYSICAL_BLOCK_EXP).to_le_bytes());
        put(config::MAX_WRITE_ZEROES_SECTORS, &MAX_RANGE_SECTORS.to_le_bytes());
        put(config::MAX_WRITE_ZEROES_SEG, &MAX_RANGES.to_le_bytes());
        put(config::WRITE_ZEROES_MAY_UNMAP, &[1]);
        bytes
    }
}

impl Drop for Blk {
    fn drop(&mut self) {
        let mut work = self.shared.work.lock();
        work.stopping = true;
        work.kicked.clear();
        drop(work);
        self.shared.more.notify_all();
        for worker in self.workers.drain(..) {
            // A panic on the thread has been reported there already.
            let _ = worker.join();
        }
        if let Err(error) = self.shared.disk.flush() {
            warn!("{error}");
        }
    }
}

impl VirtioDevice for Blk {
    fn id(&self) -> u32 {
        device_id::BLOCK
    }

    fn features(&self) -> u64 {
        let mut features =
            [feature::SEG_MAX, feature::BLK_SIZE, feature::FLUSH, feature::TOPOLOGY, feature::CONFIG_WCE]
                .iter()
                .fold(0, |features, bit| features | 1 << bit);
        if self.queue_sizes.len() > 1 {
            features |= 1 << feature::MQ;
        }
        features |= match self.shared.disk.read_only() {
            true => 1 << feature::RO,
            false => 1 << feature::DISCARD | 1 << feature::WRITE_ZEROES,
        };
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&self.config(), offset, data);
    }

    fn write_config(&self, offset: u64, data: &[u8]) {
        if let (true, [writeback]) = (offset == config::WRITEBACK as u64, data) {
            self.shared.writeback.store(*writeback != 0, Ordering::SeqCst);
        }
    }

    fn activate(&self, activation: Activation) {
        self.shared.may_cache.store(activation.has(feature::FLUSH), Ordering::SeqCst);
        for queue in activation.queues.iter().flatten() {
            self.shared.kick(queue);
        }
        *self.queues.lock() = activation.queues;
    }

    fn notify(&self, queue: u16) {
        if let Some(Some(queue)) = self.queues.lock().get(usize::from(queue)) {
            self.shared.kick(queue);
        }
    }

    fn reset(&self) {
        self.queues.lock().clear();
        self.shared.work.lock().kicked.clear();
        self.shared.writeback.store(true, Ordering::SeqCst);
    }
}

/// How a request ended: its status, and how many bytes of the chain's writable part, from the beginning on,
/// hold an answer.
type Outcome = (Status, u64);

/// Why a request has no outcome: the queue was taken away under it.
struct Retired;

impl Shared {
    fn sectors(&self) -> u64 {
        self.disk.size() / spec::SECTOR
    }

    fn write_through(&self) -> bool {
        !self.may_cache.load(Ordering::SeqCst) || !self.writeback.load(Ordering::SeqCst)
    }

    fn kick(&self, queue: &Arc<VirtQueue>) {
        let mut work = self.work.lock();
        if !work.stopping && !work.kicked.iter().any(|kicked| Arc::ptr_eq(kicked, queue)) {
            work.kicked.push_back(Arc::clone(queue));
            self.more.notify_one();
        }
    }

    fn run(&self) {
        let mut buffer = Vec::new();
        loop {
            let mut work = self.work.lock();
            let queue = loop {
                if work.stopping {
                    return;
                }
                match work.kicked.pop_front() {
                    Some(queue) => break queue,
                    None => self.more.wait(&mut work),
                }
            };
            drop(work);
            let chain = queue.pop();
            // Whatever else there is, another thread may take at the same time.
            if queue.rearm() {
                self.kick(&queue);
            }
            if let Some(chain) = chain {
                self.serve(&queue, chain, &mut buffer);
            }
        }
    }

    fn serve(&self, queue: &Arc<VirtQueue>, chain: Chain, buffer: &mut Vec<u8>) {
        let Some(status_at) = chain.writable_len().checked_sub(1) else {
            queue.fail_unanswerable(&chain);
            return;
        };
        let Ok((status, written)) = self.execute(queue, &chain, status_at, buffer) else { return };
        // The status byte follows the data; it is part of the answer's beginning only if the data is all
        // there.
        let written = if written == status_at { written + 1 } else { written };
        let queue = Arc::clone(queue);
        self.events.post(move || {
            let answered = queue.with_memory(|mem| {
                let mut writer = chain.writer();
                writer.skip(status_at)?;
                writer.write(mem, &[status as u8])
            });
            match answered {
                Some(Ok(())) => queue.complete(chain, u32::try_from(written).unwrap_or(u32::MAX)),
                Some(Err(_)) => queue.fail_unanswerable(&chain),
                None => {}
            }
        });
    }

    /// Does what a request asks for. `room` is how many bytes it has for data to the driver.
    fn execute(
        &self,
        queue: &VirtQueue,
        chain: &Chain,
        room: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Outcome, Retired> {
        let mut header = [0; spec::HEADER_LEN as usize];
        let read = queue.with_memory(|mem| chain.reader().read(mem, &mut header)).ok_or(Retired)?;
        if read.is_err() {
            return Ok((Status::IoErr, 0));
        }
        let [kind, _reserved, sector_low, sector_high] = words(&header);
        let sector = u64::from(sector_high) << 32 | u64::from(sector_low);
        let data_len = chain.readable_len() - spec::HEADER_LEN;
        match kind {
            request::IN => self.read(queue, chain, sector, room, buffer),
            request::OUT => self.write(queue, chain, sector, data_len, buffer).map(|status| (status, 0)),
            request::FLUSH => Ok((self.status(self.disk.flush()), 0)),
            request::GET_ID => {
                let len = room.min(spec::ID_LEN as u64);
                let id = &self.id[..len as usize];
                match queue.with_memory(|mem| chain.writer().write(mem, id)).ok_or(Retired)? {
                    Ok(()) => Ok((Status::Ok, len)),
                    Err(_) => Ok((Status::IoErr, 0)),
                }
            }
            request::DISCARD | request::WRITE_ZEROES if self.disk.read_only() => Ok((Status::IoErr, 0)),
            request::DISCARD | request::WRITE_ZEROES => {
                self.change_ranges(queue, chain, kind, data_len).map(|status| (status, 0))
            }
            _ => Ok((Status::Unsupported, 0)),
        }
    }

    fn read(
        &self,
        queue: &VirtQueue,
        chain: &Chain,
        sector: u64,
        len: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Outcome, Retired> {
        let Some(start) = self.place(sector, len) else { return Ok((Status::IoErr, 0)) };
        let mut writer = chain.writer();
        let mut done = 0;
        while done < len {
            let piece = piece(buffer, len - done);
            let status = self.status(self.disk.read_at(start + done, piece));
            if status != Status::Ok {
                return Ok((status, done));
            }
            if queue.with_memory(|mem| writer.write(mem, piece)).ok_or(Retired)?.is_err() {
                return Ok((Status::IoErr, done));
            }
            done += piece.len() as u64;
        }
        Ok((Status::Ok, done))
    }

    fn write(
        &self,
        queue: &VirtQueue,
        chain: &Chain,
        sector: u64,
        len: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Status, Retired> {
        let start = self.place(sector, len).filter(|_| !self.disk.read_only());
        let mut reader = chain.reader();
        let (Some(start), Ok(())) = (start, reader.skip(spec::HEADER_LEN)) else { return Ok(Status::IoErr) };
        let mut done = 0;
        while done < len {
            let piece = piece(buffer, len - done);
            if queue.with_memory(|mem| reader.read(mem, piece)).ok_or(Retired)?.is_err() {
                return Ok(Status::IoErr);
            }
            let status = self.status(self.disk.write_at(start + done, piece));
            if status != Status::Ok {
                return Ok(status);
            }
            done += piece.len() as u64;
        }
        Ok(self.settle())
    }

    /// Discards or zeroes; all segments are looked at before the first is acted on.
    fn change_ranges(
        &self,
        queue: &VirtQueue,
        chain: &Chain,
        kind: u32,
        len: u64,
    ) -> Result<Status, Retired> {
        if len == 0
            || !len.is_multiple_of(spec::SEGMENT_LEN)
            || len > spec::SEGMENT_LEN * u64::from(MAX_RANGES)
        {
            return Ok(Status::IoErr);
        }
        let mut bytes = vec![0; len as usize];
        let mut reader = chain.reader();
        let read = queue
            .with_memory(|mem| reader.skip(spec::HEADER_LEN).and_then(|()| reader.read(mem, &mut bytes)));
        if read.ok_or(Retired)?.is_err() {
            return Ok(Status::IoErr);
        }
        let allowed_flags = if kind == request::WRITE_ZEROES { spec::SEGMENT_UNMAP } else { 0 };
        let mut ranges = Vec::new();
        for segment in bytes.as_chunks::<{ spec::SEGMENT_LEN as usize }>().0 {
            let [sector_low, sector_high, sectors, flags] = words(segment);
            if flags & !allowed_flags != 0 {
                return Ok(Status::Unsupported);
            }
            let len = u64::from(sectors) * spec::SECTOR;
            let start = self.place(u64::from(sector_high) << 32 | u64::from(sector_low), len);
            let Some(start) = start.filter(|_| sectors <= MAX_RANGE_SECTORS) else {
                return Ok(Status::IoErr);
            };
            ranges.push((start, len, flags & spec::SEGMENT_UNMAP != 0));
        }
        for (start, len, unmap) in ranges {
            queue.with_memory(|_| ()).ok_or(Retired)?;
            let status = self.status(match kind {
                request::DISCARD => self.disk.discard(start, len),
                _ => self.disk.write_zeroes(start, len, unmap),
            });
            if status != Status::Ok {
                return Ok(status);
            }
        }
        Ok(self.settle())
    }

    /// After a change: what makes it durable, if it must be.
    fn settle(&self) -> Status {
        if self.write_through() { self.status(self.disk.flush()) } else { Status::Ok }
    }

    /// Where `len` bytes at `sector` begin on the disk, if they are whole sectors of it.
    fn place(&self, sector: u64, len: u64) -> Option<u64> {
        let end = sector.checked_add(len / spec::SECTOR)?;
        (len.is_multiple_of(spec::SECTOR) && end <= self.sectors()).then(|| sector * spec::SECTOR)
    }

    fn status(&self, result: disk_formats::Result<()>) -> Status {
        match result {
            Ok(()) => Status::Ok,
            Err(error) => {
                warn!("{error}");
                Status::IoErr
            }
        }
    }
}

/// A buffer for the next `left` bytes or as many as are moved at a time.
fn piece(buffer: &mut Vec<u8>, left: u64) -> &mut [u8] {
    let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// Little-endian words.
fn words(bytes: &[u8; 16]) -> [u32; 4] {
    let all = u128::from_le_bytes(*bytes);
    [0, 32, 64, 96].map(|shift| (all >> shift) as u32)
}
