//! [`VirtQueue`]: a split virtqueue (§2.7) that several threads may work on, and that can be taken away from
//! them.
//!
//! A reset by the driver *retires* the queue. From then on no chain comes out of it and nothing goes back,
//! whoever still holds it: work in flight ends without touching guest memory, because all access goes through
//! the queue ([`VirtQueue::with_memory`], [`VirtQueue::complete`]). A driver that starts again gets a new
//! queue.

use std::fmt;
use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use emu_core::mem::GuestMemory;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tracing::warn;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryError};

use super::DriverSignal;
use super::spec::split;

/// Where the driver has put a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLayout {
    /// Number of descriptors.
    pub size: u32,
    /// Guest-physical address of the descriptor table.
    pub desc: u64,
    /// Guest-physical address of the available ring.
    pub avail: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
}

/// Why a queue cannot be used, or not any further. Any of these means that the driver has broken the rules.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The layout is not valid: size, alignment, or not in RAM.
    #[error("the virtqueue layout {0:x?} is not valid: size, alignment, or not in RAM")]
    Layout(QueueLayout),
    /// The available ring's index is too far ahead, or the rings are not in RAM.
    #[error("the available ring cannot be followed: {0}")]
    Ring(#[source] virtio_queue::Error),
    /// More chains are outstanding than the queue has descriptors.
    #[error("more chains are in flight than the queue has descriptors")]
    Overcommitted,
    /// A chain does not end, points outside its table, or mixes readable and writable parts.
    #[error("the descriptor chain at {0} loops, is cut off, or has a readable part after a writable one")]
    Chain(u16),
    /// A chain cannot hold what the device must at least answer.
    #[error("the descriptor chain at {0} has no room for an answer")]
    NoAnswer(u16),
    /// The used ring could not be written.
    #[error("the used ring cannot be written")]
    Used(#[source] GuestMemoryError),
}

/// Why the bytes of a chain could not be moved.
#[derive(Debug, Error)]
pub enum BufferError {
    /// Part of a buffer is not in RAM.
    #[error("part of a buffer is not in RAM")]
    Memory(#[from] GuestMemoryError),
    /// The buffers are shorter than what is asked for.
    #[error("the buffers are too short")]
    Short,
}

/// A piece of guest memory that a descriptor names. It need not be RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Guest-physical address.
    pub addr: GuestAddress,
    /// Length in bytes.
    pub len: u32,
}

/// A chain that the driver has made available, and that must be given back by [`VirtQueue::complete`].
#[derive(Debug)]
#[must_use = "a chain that is not completed is lost to the driver"]
pub struct Chain {
    head: u16,
    /// What the device reads, in order.
    pub readable: Vec<Buffer>,
    /// What the device writes, in order.
    pub writable: Vec<Buffer>,
}

impl Chain {
    /// Number of bytes for the device to read.
    pub fn readable_len(&self) -> u64 {
        total(&self.readable)
    }

    /// Number of bytes for the device to write.
    pub fn writable_len(&self) -> u64 {
        total(&self.writable)
    }

    /// The bytes to read.
    pub fn reader(&self) -> Cursor<'_> {
        Cursor::new(&self.readable)
    }

    /// The bytes to write.
    pub fn writer(&self) -> Cursor<'_> {
        Cursor::new(&self.writable)
    }
}

fn total(buffers: &[Buffer]) -> u64 {
    buffers.iter().map(|buffer| u64::from(buffer.len)).sum()
}

/// A position in a list of buffers, taken as one run of bytes.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    buffers: &'a [Buffer],
    within: u32,
}

impl<'a> Cursor<'a> {
    /// The beginning of `buffers`.
    pub fn new(buffers: &'a [Buffer]) -> Self {
        Self { buffers, within: 0 }
    }

    /// Fills `data` from guest memory and moves on.
    pub fn read(&mut self, mem: &GuestMemory, data: &mut [u8]) -> Result<(), BufferError> {
        let mut done = 0;
        while let Some(rest) = data.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let (addr, len) = self.next(rest.len())?;
            mem.read_slice(&mut rest[..len], addr)?;
            done += len;
        }
        Ok(())
    }

    /// Writes `data` to guest memory and moves on.
    pub fn write(&mut self, mem: &GuestMemory, mut data: &[u8]) -> Result<(), BufferError> {
        while !data.is_empty() {
            let (addr, len) = self.next(data.len())?;
            mem.write_slice(&data[..len], addr)?;
            data = &data[len..];
        }
        Ok(())
    }

    /// Moves on by `count` bytes.
    pub fn skip(&mut self, mut count: u64) -> Result<(), BufferError> {
        while count > 0 {
            let (_, len) = self.next(usize::try_from(count).unwrap_or(usize::MAX))?;
            count -= len as u64;
        }
        Ok(())
    }

    /// The next contiguous piece of at most `limit` bytes, not empty unless `limit` is zero.
    fn next(&mut self, limit: usize) -> Result<(GuestAddress, usize), BufferError> {
        loop {
            let (first, rest) = self.buffers.split_first().ok_or(BufferError::Short)?;
            let left = (first.len - self.within) as usize;
            if left == 0 {
                (self.buffers, self.within) = (rest, 0);
                continue;
            }
            let len = left.min(limit);
            let addr = first
                .addr
                .checked_add(self.within.into())
                .ok_or(GuestMemoryError::InvalidGuestAddress(first.addr))?;
            self.within += len as u32;
            return Ok((addr, len));
        }
    }
}

/// A queue in use by a driver.
pub struct VirtQueue {
    index: u16,
    mem: GuestMemory,
    signal: Arc<dyn DriverSignal>,
    /// Held for reading while guest memory is accessed on the queue's behalf, and for writing to retire it.
    /// It is taken before `ring`, and never twice by one thread.
    live: RwLock<bool>,
    ring: Mutex<Ring>,
}

struct Ring {
    queue: Queue,
    /// Chains that are out.
    in_flight: u16,
    /// The driver has been asked not to notify; only without EVENT_IDX, where that takes a write.
    quiet: bool,
}

impl fmt::Debug for VirtQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtQueue").field("index", &self.index).finish_non_exhaustive()
    }
}

impl VirtQueue {
    /// Takes queue number `index` into use, if its layout is valid and lies in RAM.
    pub fn new(
        index: u16,
        max_size: u16,
        layout: QueueLayout,
        event_idx: bool,
        mem: GuestMemory,
        signal: Arc<dyn DriverSignal>,
    ) -> Result<Arc<Self>, QueueError> {
        let invalid = || QueueError::Layout(layout);
        let mut queue = Queue::new(max_size).map_err(|_| invalid())?;
        let size = u16::try_from(layout.size).map_err(|_| invalid())?;
        queue
            .try_set_size(size)
            .and_then(|()| queue.try_set_desc_table_address(GuestAddress(layout.desc)))
            .and_then(|()| queue.try_set_avail_ring_address(GuestAddress(layout.avail)))
            .and_then(|()| queue.try_set_used_ring_address(GuestAddress(layout.used)))
            .map_err(|_| invalid())?;
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        if !queue.is_valid(&mem) {
            return Err(invalid());
        }
        let ring = Mutex::new(Ring { queue, in_flight: 0, quiet: false });
        Ok(Arc::new(Self { index, mem, signal, live: RwLock::new(true), ring }))
    }

    /// Which of its device's queues this is.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Takes the next available chain; none if there is none, or the queue is retired or broken.
    pub fn pop(&self) -> Option<Chain> {
        let live = self.live.read();
        if !*live {
            return None;
        }
        let popped = self.ring.lock().pop(&self.mem);
        drop(live);
        popped.unwrap_or_else(|error| {
            self.fail(&error);
            None
        })
    }

    /// Puts back the chain that was popped last, so that the next [`VirtQueue::pop`] gives it again. This is
    /// for a queue that only one thread pops from.
    pub fn unpop(&self, chain: Chain) {
        let _ = chain;
        let live = self.live.read();
        if *live {
            let mut ring = self.ring.lock();
            ring.in_flight = ring.in_flight.saturating_sub(1);
            ring.queue.go_to_previous_position();
        }
    }

    /// Asks the driver to notify again, and tells whether there is a chain already, for which it will not.
    pub fn rearm(&self) -> bool {
        let live = self.live.read();
        if !*live {
            return false;
        }
        let rearmed = self.ring.lock().rearm(&self.mem);
        drop(live);
        rearmed.unwrap_or_else(|error| {
            self.fail(&error);
            false
        })
    }

    /// Gives `chain` back, `written` bytes of its writable part having been written from its beginning on.
    pub fn complete(&self, chain: Chain, written: u32) {
        self.complete_all(vec![(chain, written)]);
    }

    /// Gives several chains back in one step: the driver sees all or none of them.
    pub fn complete_all(&self, chains: Vec<(Chain, u32)>) {
        let live = self.live.read();
        if !*live || chains.is_empty() {
            return;
        }
        let used = self.ring.lock().publish(&self.mem, &chains);
        match used {
            Ok(true) => self.signal.used(self.index),
            Ok(false) => {}
            Err(error) => {
                drop(live);
                self.fail(&error);
            }
        }
    }

    /// Lets `access` at guest memory, unless the queue is retired. A reset waits for it to return, so it must
    /// not wait for anything, and not call the queue.
    pub fn with_memory<R>(&self, access: impl FnOnce(&GuestMemory) -> R) -> Option<R> {
        let live = self.live.read();
        live.then(|| access(&self.mem))
    }

    /// The device cannot go on with this queue: retires it, and tells the driver that a reset is needed.
    pub fn fail(&self, error: &QueueError) {
        let mut live = self.live.write();
        if std::mem::take(&mut *live) {
            warn!(queue = self.index, "virtio device needs a reset: {error}");
            self.signal.needs_reset();
        }
    }

    /// As [`VirtQueue::fail`], for a chain that lacks room for the answer that it must get.
    pub fn fail_unanswerable(&self, chain: &Chain) {
        self.fail(&QueueError::NoAnswer(chain.head));
    }

    /// Ends the queue's use. When it returns, nothing of it touches guest memory any more or signals the
    /// driver.
    pub fn retire(&self) {
        *self.live.write() = false;
    }
}

impl Ring {
    fn pop(&mut self, mem: &GuestMemory) -> Result<Option<Chain>, QueueError> {
        let Some(descriptors) = self.queue.iter(mem).map_err(QueueError::Ring)?.next() else {
            return Ok(None);
        };
        if self.in_flight >= self.queue.size() {
            return Err(QueueError::Overcommitted);
        }
        let head = descriptors.head_index();
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new() };
        // The iterator stops at what it cannot follow as if the chain had ended; only the last flag shows it.
        let mut cut_off = true;
        for descriptor in descriptors {
            let buffer = Buffer { addr: descriptor.addr(), len: descriptor.len() };
            if descriptor.is_write_only() {
                chain.writable.push(buffer);
            } else if chain.writable.is_empty() {
                chain.readable.push(buffer);
            } else {
                return Err(QueueError::Chain(head));
            }
            cut_off = descriptor.has_next();
        }
        if cut_off {
            return Err(QueueError::Chain(head));
        }
        self.in_flight += 1;
        if !self.quiet && !self.queue.event_idx_enabled() {
            self.queue.disable_notification(mem).map_err(QueueError::Ring)?;
            self.quiet = true;
        }
        Ok(Some(chain))
    }

    fn rearm(&mut self, mem: &GuestMemory) -> Result<bool, QueueError> {
        self.quiet = false;
        self.queue.enable_notification(mem).map_err(QueueError::Ring)
    }

    /// Puts chains into the used ring; whether the driver wants to be told (§2.7.7, §2.7.8).
    fn publish(&mut self, mem: &GuestMemory, chains: &[(Chain, u32)]) -> Result<bool, QueueError> {
        let size = self.queue.size();
        let old = Wrapping(self.queue.next_used());
        let mut new = old;
        // The layout was checked to lie in RAM, so these additions do not overflow.
        let used = GuestAddress(self.queue.used_ring());
        for (chain, written) in chains {
            let slot = u64::from(new.0 % size) * split::USED_ELEM_SIZE;
            let element = u64::from(chain.head) | u64::from(*written) << 32;
            mem.write_obj(element.to_le(), used.unchecked_add(split::USED_RING + slot))
                .map_err(QueueError::Used)?;
            new += 1;
        }
        mem.store(new.0.to_le(), used.unchecked_add(split::USED_IDX), Ordering::Release)
            .map_err(QueueError::Used)?;
        self.queue.set_next_used(new.0);
        self.in_flight = self.in_flight.saturating_sub(chains.len() as u16);

        // The index must be out before the driver's wish is read: the driver does it the other way round.
        fence(Ordering::SeqCst);
        let avail = GuestAddress(self.queue.avail_ring());
        let load = |offset| {
            mem.load(avail.unchecked_add(offset), Ordering::Relaxed)
                .map(u16::from_le)
                .map_err(QueueError::Used)
        };
        if self.queue.event_idx_enabled() {
            let used_event = load(split::AVAIL_RING + split::AVAIL_ELEM_SIZE * u64::from(size))?;
            Ok(new - Wrapping(used_event) - Wrapping(1) < new - old)
        } else {
            Ok(load(0)? & split::AVAIL_F_NO_INTERRUPT == 0)
        }
    }
}
