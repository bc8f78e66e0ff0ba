//! The virtio console (§5.3): one port on a character backend.
//!
//! Queues are served by the event queue's thread. Output that the backend has no room for keeps its chain
//! until there is room; input that the guest has no buffer for stays in the backend.
//!
//! Not modelled: several ports, and a console size (it would not be the real one).

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use emu_core::sync::{EventHandle, weakly};
use parking_lot::Mutex;

use super::spec::device_id;
use super::{Activation, Chain, Deferred, VirtQueue, VirtioDevice};
use crate::backend::chardev::{CharBackend, CharDevice};

const QUEUE_SIZES: [u16; 2] = [128, 128];
/// Bytes given to the backend at a time.
const PIECE: usize = 4096;
/// Pieces and chains of output before other events have their turn.
const BATCH: usize = 64;

/// A console.
pub struct Console {
    this: Weak<Self>,
    backend: Arc<dyn CharBackend>,
    transmitting: Deferred,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    receive: Option<Arc<VirtQueue>>,
    transmit: Option<Arc<VirtQueue>>,
    /// The chain that is being output, and how much of it has been.
    sending: Option<(Chain, u64)>,
}

impl Console {
    /// A console on `backend`.
    pub fn new(events: &EventHandle, backend: Arc<dyn CharBackend>) -> Arc<Self> {
        let console = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            backend,
            transmitting: Deferred::new(events),
            state: Mutex::default(),
        });
        let device: Weak<Self> = Arc::downgrade(&console);
        console.backend.attach(device);
        console
    }

    fn transmit_later(&self) {
        self.transmitting.run(weakly(&self.this, Self::transmit));
    }

    fn transmit(&self) {
        let mut state = self.state.lock();
        let Some(queue) = state.transmit.clone() else { return };
        for _ in 0..BATCH {
            let (chain, sent) = match state.sending.take().or_else(|| Some((queue.pop()?, 0))) {
                Some(sending) => sending,
                None if queue.rearm() => continue,
                None => return,
            };
            let left = chain.readable_len().saturating_sub(sent);
            let mut bytes = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
            let mut reader = chain.reader();
            let read = queue.with_memory(|mem| reader.skip(sent).and_then(|()| reader.read(mem, &mut bytes)));
            let Some(Ok(())) = read else {
                // What cannot be read is not output.
                queue.complete(chain, 0);
                continue;
            };
            let taken = self.backend.write(&bytes);
            if taken as u64 == left {
                queue.complete(chain, 0);
                continue;
            }
            state.sending = Some((chain, sent + taken as u64));
            if taken < bytes.len() {
                return; // `output_ready` goes on from here
            }
        }
        drop(state);
        self.transmit_later();
    }
}

impl CharDevice for Console {
    fn receive(&self, bytes: &[u8]) -> usize {
        let Some(queue) = self.state.lock().receive.clone() else { return 0 };
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let Some(chain) = queue.pop() else {
                if queue.rearm() {
                    continue;
                }
                break;
            };
            let room = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX);
            let piece = &rest[..rest.len().min(room)];
            match queue.with_memory(|mem| chain.writer().write(mem, piece)) {
                Some(Ok(())) if !piece.is_empty() => {
                    taken += piece.len();
                    queue.complete(chain, piece.len() as u32);
                }
                Some(_) => queue.fail_unanswerable(&chain),
                None => break,
            }
        }
        taken
    }

    fn output_ready(&self) {
        self.transmit();
    }
}

impl VirtioDevice for Console {
    fn id(&self) -> u32 {
        device_id::CONSOLE
    }

    fn features(&self) -> u64 {
        1 << spec::feature::EMERG_WRITE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// All of it is zero.
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn write_config(&self, offset: u64, data: &[u8]) {
        if let (true, Some(byte)) = (offset == spec::config::EMERG_WR as u64, data.first()) {
            // It is for a driver in distress: what the backend has no room for is lost.
            self.backend.write(&[*byte]);
        }
    }

    fn activate(&self, activation: Activation) {
        {
            let mut state = self.state.lock();
            state.receive = activation.queue(spec::RECEIVE_QUEUE);
            state.transmit = activation.queue(spec::TRANSMIT_QUEUE);
        }
        self.transmit_later();
        self.backend.input_ready();
    }

    fn notify(&self, queue: u16) {
        if usize::from(queue) == spec::TRANSMIT_QUEUE {
            self.transmit_later();
        } else {
            self.backend.input_ready();
        }
    }

    fn reset(&self) {
        *self.state.lock() = State::default();
    }
}
