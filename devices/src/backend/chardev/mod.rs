//! Character streams between a device and the host: terminal, file, Unix socket, or nothing.
//!
//! Output goes into a bounded buffer that a thread of the backend's own empties, so a slow host end never
//! stops a vCPU. A full buffer is told to the device, which shows it to its driver as a busy transmitter.
//! Input is read by the same thread and enters the machine through the event queue, as much at a time as the
//! device has room for; a bounded buffer holds the rest, and the host end is not read while that is full.

mod host;
#[cfg(test)]
mod tests;

use std::sync::Weak;
use std::time::Duration;

pub use host::{HostChardev, InputFilter};

/// The host's side of a character device.
pub trait CharBackend: Send + Sync {
    /// Connects the device. Input that came before waits for it.
    fn attach(&self, device: Weak<dyn CharDevice>);

    /// Takes output, without blocking; how many of the bytes were taken. If that is less than all,
    /// [`CharDevice::output_ready`] is called when there is room again.
    fn write(&self, bytes: &[u8]) -> usize;

    /// The device, which has refused input, has room again.
    fn input_ready(&self);

    /// Waits until all output taken has reached the host, for at most `limit`; whether it has.
    fn drain(&self, limit: Duration) -> bool;
}

/// The device's side. Both calls come from the event queue's thread, one at a time.
pub trait CharDevice: Send + Sync {
    /// Takes input; how many of the bytes it had room for. If that is less than all, the device calls
    /// [`CharBackend::input_ready`] when there is room for more.
    fn receive(&self, bytes: &[u8]) -> usize;

    /// The backend, which has refused output, has room again.
    fn output_ready(&self);
}

/// No host end: output disappears, input never comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullChardev;

impl CharBackend for NullChardev {
    fn attach(&self, _device: Weak<dyn CharDevice>) {}

    fn write(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn input_ready(&self) {}

    fn drain(&self, _limit: Duration) -> bool {
        true
    }
}
