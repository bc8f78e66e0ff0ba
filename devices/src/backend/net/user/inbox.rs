//! Frames on their way from the guest's threads to the network's thread.

use std::io;

use mio::{Registry, Token, Waker};
use parking_lot::Mutex;

use crate::backend::net::MAX_FRAME;

/// The token under which the network's thread is woken.
pub(super) const WAKER: Token = Token(usize::MAX);

/// How many bytes and frames may wait. Enough for the windows of a dozen busy TCP connections; what comes on
/// top is lost, as on a wire.
const MAX_BYTES: usize = 4 << 20;
const MAX_FRAMES: usize = 16 << 10;

/// Frames end to end in one buffer, so that a frame costs a copy and no allocation.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    lengths: Vec<u32>,
}

impl Batch {
    /// The frames, in order.
    pub(super) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        self.lengths.iter().map_while(move |length| {
            let (frame, tail) = rest.split_at_checked(*length as usize)?;
            rest = tail;
            Some(frame)
        })
    }

    /// Forgets the frames, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
    }

    fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    fn push(&mut self, frame: &[u8]) {
        if self.bytes.len() + frame.len() <= MAX_BYTES && self.lengths.len() < MAX_FRAMES {
            self.bytes.extend_from_slice(frame);
            self.lengths.push(frame.len() as u32);
        }
    }
}

/// What the callers have asked for besides sending frames.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// The card may have buffers again.
    pub(super) rx_ready: bool,
    /// The network is to end.
    pub(super) stop: bool,
}

#[derive(Default)]
struct State {
    batch: Batch,
    requests: Requests,
    /// The network's thread waits, or is about to: it needs a wake-up to see anything new.
    asleep: bool,
}

pub(super) struct Inbox {
    state: Mutex<State>,
    waker: Waker,
}

impl Inbox {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        Ok(Self { state: Mutex::default(), waker: Waker::new(registry, WAKER)? })
    }

    pub(super) fn push(&self, frame: &[u8]) {
        if frame.len() <= MAX_FRAME {
            self.change(|state| state.batch.push(frame));
        }
    }

    pub(super) fn rx_ready(&self) {
        self.change(|state| state.requests.rx_ready = true);
    }

    pub(super) fn stop(&self) {
        self.change(|state| state.requests.stop = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            // It fails only if the thread's event queue is gone, and then there is nobody to wake.
            let _ = self.waker.wake();
        }
    }

    /// Says that the network's thread is about to wait; false if there is something to do first.
    pub(super) fn may_sleep(&self) -> bool {
        let mut state = self.state.lock();
        state.asleep = state.batch.is_empty() && state.requests == Requests::default();
        state.asleep
    }

    /// Swaps the frames that have arrived for `empty`, and takes the requests.
    pub(super) fn take(&self, empty: &mut Batch) -> Requests {
        let mut state = self.state.lock();
        state.asleep = false;
        std::mem::swap(&mut state.batch, empty);
        std::mem::take(&mut state.requests)
    }
}
