//! What serial ports have in common: a receiver and a transmitter in front of a character backend.
//!
//! Input comes as fast as the receiver has room, so the line never overruns. Output goes through at once; what the backend
//! has no room for stays in the transmitter.

use std::collections::VecDeque;

use crate::backend::chardev::CharBackend;

/// The two buffers of a port.
#[derive(Default)]
pub(super) struct Line {
    pub(super) receiver: VecDeque<u8>,
    pub(super) transmitter: VecDeque<u8>,
    /// The backend has offered more than the receiver could take.
    starved: bool,
}

impl Line {
    /// The line after a reset: empty, and the backend is asked for what it was refused.
    pub(super) fn reset(&self, backend: &dyn CharBackend) -> Self {
        if self.starved {
            backend.input_ready();
        }
        Self::default()
    }

    /// Takes input, if the receiver holds at most `depth` bytes then; how much.
    pub(super) fn receive(&mut self, bytes: &[u8], depth: usize) -> usize {
        let taken = bytes.len().min(depth.saturating_sub(self.receiver.len()));
        self.receiver.extend(bytes.iter().take(taken));
        self.starved |= taken < bytes.len();
        taken
    }

    /// The next byte received.
    pub(super) fn read(&mut self, backend: &dyn CharBackend) -> Option<u8> {
        let byte = self.receiver.pop_front();
        if self.receiver.is_empty() {
            self.ask_for_input(backend);
        }
        byte
    }

    /// Has the backend offer again what it was refused.
    pub(super) fn ask_for_input(&mut self, backend: &dyn CharBackend) {
        if std::mem::take(&mut self.starved) {
            backend.input_ready();
        }
    }

    /// Sends a byte. A driver that writes to a full transmitter loses it, as on the wire.
    pub(super) fn write(&mut self, backend: &dyn CharBackend, byte: u8, depth: usize) {
        let through = self.transmitter.is_empty() && backend.write(&[byte]) == 1;
        if !through && self.transmitter.len() < depth {
            self.transmitter.push_back(byte);
        }
    }

    /// The byte goes to the port's own receiver; false if that is full.
    pub(super) fn loop_back(&mut self, byte: u8, depth: usize) -> bool {
        let room = self.receiver.len() < depth;
        if room {
            self.receiver.push_back(byte);
        }
        room
    }

    /// The backend has room again; whether there was anything for it.
    pub(super) fn flush(&mut self, backend: &dyn CharBackend) -> bool {
        if self.transmitter.is_empty() {
            return false;
        }
        let written = backend.write(self.transmitter.make_contiguous());
        self.transmitter.drain(..written);
        true
    }
}
