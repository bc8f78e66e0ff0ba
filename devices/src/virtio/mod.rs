//! Virtio devices (Virtual I/O Device Version 1.3): the parts that all of them share.
//!
//! A [`VirtioDevice`] is one device type: features, configuration space, what its queues mean. A transport
//! ([`transport`]) gives it registers and hands it [`VirtQueue`]s when the driver is ready. Devices process
//! queues on the event queue's thread or on threads of their own, never in the vCPU's register access, and
//! what they complete is posted to the event queue first.
//!
//! Everything in guest memory is hostile. A queue that cannot be followed any more (a wild index, a chain
//! that loops) is not served until the device is reset (§2.1.1 DEVICE_NEEDS_RESET); a request that is wrong
//! only in its meaning fails with its own status. After a reset nothing of the old queues' work reaches guest
//! memory: see [`VirtQueue`].
//!
//! Offered for all devices: VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, and VIRTIO_F_VERSION_1 where the
//! transport is not a legacy one. Not modelled: packed queues, queue reset, shared memory regions,
//! notification data.

pub mod blk;
pub mod console;
pub mod net;
pub mod queue;
pub mod rng;
pub mod spec;
#[cfg(test)]
mod testing;
pub mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use emu_core::sync::EventHandle;

pub use queue::{Buffer, BufferError, Chain, Cursor, VirtQueue};

/// One device type behind a transport.
pub trait VirtioDevice: Send + Sync {
    /// The device ID (§5).
    fn id(&self) -> u32;

    /// The device type's own feature bits; the transport adds those of queues and of itself.
    fn features(&self) -> u64;

    /// The largest size of each queue, a power of two; so also how many there are.
    fn queue_sizes(&self) -> &[u16];

    /// Reads configuration space at `offset`; what lies beyond its end is left as it is, zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes configuration space at `offset`. Fields that are read-only, or not there, ignore it.
    fn write_config(&self, _offset: u64, _data: &[u8]) {}

    /// The driver is ready. It is called once between resets.
    fn activate(&self, activation: Activation);

    /// The driver says that `queue` has new chains. It comes on a vCPU's thread, at any time, for any number
    /// below the number of queues: do little here.
    fn notify(&self, queue: u16);

    /// Forgets the driver: queues, and whatever it has set. The transport has retired the queues before.
    fn reset(&self);
}

/// What a device is given when its driver is ready.
pub struct Activation {
    /// The negotiated features.
    pub features: u64,
    /// The device's queues; none where the driver has not set one up.
    pub queues: Vec<Option<Arc<VirtQueue>>>,
    /// The way to the driver.
    pub signal: Arc<dyn DriverSignal>,
}

impl Activation {
    /// Whether feature bit `bit` was negotiated.
    pub fn has(&self, bit: u32) -> bool {
        self.features >> bit & 1 != 0
    }

    /// Queue number `index`, if the driver has set it up.
    pub fn queue(&self, index: usize) -> Option<Arc<VirtQueue>> {
        self.queues.get(index).cloned().flatten()
    }
}

/// What a device may tell its driver, through whichever transport there is. All of it may be called from any
/// thread.
pub trait DriverSignal: Send + Sync {
    /// Chains of `queue` have been used.
    fn used(&self, queue: u16);

    /// Configuration space has changed.
    fn config_changed(&self);

    /// The driver has broken the rules of a queue, which is not served any more until the device is reset.
    fn needs_reset(&self);
}

/// Runs work on the event queue's thread, once for any number of requests before it begins.
pub(crate) struct Deferred {
    events: EventHandle,
    pending: Arc<AtomicBool>,
}

impl Deferred {
    pub(crate) fn new(events: &EventHandle) -> Self {
        Self { events: events.clone(), pending: Arc::default() }
    }

    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        if !self.pending.swap(true, Ordering::SeqCst) {
            let pending = Arc::clone(&self.pending);
            self.events.post(move || {
                pending.store(false, Ordering::SeqCst);
                work();
            });
        }
    }
}

/// Answers a read of configuration space whose bytes are `config`.
pub(crate) fn copy_config(config: &[u8], offset: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)).unwrap_or(&[]);
    for (to, from) in data.iter_mut().zip(rest) {
        *to = *from;
    }
}
