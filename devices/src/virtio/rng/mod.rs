//! The virtio entropy device (§5.4): fills whatever buffers it is given with random bytes, as fast as they
//! come.
//!
//! At most 64 KiB go into one chain, which the used length says; the driver asks again. The device has no
//! features and no configuration, so there is no `spec.rs`.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use emu_core::sync::{EventHandle, weakly};
use parking_lot::Mutex;

use super::spec::device_id;
use super::{Activation, Chain, Deferred, VirtQueue, VirtioDevice};
use crate::backend::entropy::Entropy;

const QUEUE_SIZES: [u16; 1] = [64];
/// Bytes for one chain.
const CHAIN_LIMIT: usize = 64 << 10;
/// Chains served before other events have their turn.
const BATCH: usize = 64;

/// An entropy device.
pub struct Rng {
    this: Weak<Self>,
    source: Box<dyn Entropy>,
    work: Deferred,
    queue: Mutex<Option<Arc<VirtQueue>>>,
}

impl Rng {
    /// An entropy device that gives out what `source` gives.
    pub fn new(events: &EventHandle, source: Box<dyn Entropy>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            source,
            work: Deferred::new(events),
            queue: Mutex::default(),
        })
    }

    fn kick(&self) {
        self.work.run(weakly(&self.this, Self::serve));
    }

    fn serve(&self) {
        let Some(queue) = self.queue.lock().clone() else { return };
        for _ in 0..BATCH {
            match queue.pop() {
                Some(chain) => self.fill(&queue, chain),
                None if queue.rearm() => {}
                None => return,
            }
        }
        self.kick();
    }

    fn fill(&self, queue: &VirtQueue, chain: Chain) {
        let len = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX).min(CHAIN_LIMIT);
        let mut bytes = vec![0; len];
        let filled = self.source.fill(&mut bytes);
        let written =
            queue.with_memory(|mem| chain.writer().write(mem, bytes.get(..filled).unwrap_or(&bytes)));
        let len = if let Some(Ok(())) = written { filled as u32 } else { 0 };
        queue.complete(chain, len);
    }
}

impl VirtioDevice for Rng {
    fn id(&self) -> u32 {
        device_id::ENTROPY
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn activate(&self, activation: Activation) {
        *self.queue.lock() = activation.queue(0);
        self.kick();
    }

    fn notify(&self, _queue: u16) {
        self.kick();
    }

    fn reset(&self) {
        *self.queue.lock() = None;
    }
}
