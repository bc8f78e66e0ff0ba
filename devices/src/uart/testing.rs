//! The other end of the line, for the tests of serial ports.

use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;

use crate::backend::chardev::{CharBackend, CharDevice};

/// A backend with as much room as the test says.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) output: Mutex<Vec<u8>>,
    pub(super) full: Mutex<bool>,
    /// How often it was asked for input that it was refused.
    pub(super) asked: Mutex<u32>,
}

impl CharBackend for Wire {
    fn attach(&self, _device: Weak<dyn CharDevice>) {}

    fn write(&self, bytes: &[u8]) -> usize {
        if *self.full.lock() {
            return 0;
        }
        self.output.lock().extend(bytes);
        bytes.len()
    }

    fn input_ready(&self) {
        *self.asked.lock() += 1;
    }

    fn drain(&self, _limit: Duration) -> bool {
        true
    }
}
