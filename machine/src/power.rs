//! The machine's power switch: where requests of devices, firmware and users meet.

use std::sync::Arc;
use std::time::Duration;

use emu_core::device::{PowerRequest, PowerSink};
use emu_core::sync::Group;
use parking_lot::{Condvar, Mutex};

/// Why a run of the machine ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest switched off, or asked for a reset.
    Power(PowerRequest),
    /// The user wants out (Ctrl-A x, a signal).
    Quit,
    /// The emulator itself failed.
    Failed(String),
}

/// Takes the first reason to end a run, stops the vCPUs, and wakes whoever waits for the end.
pub struct PowerSwitch {
    group: Arc<Group>,
    ending: Mutex<Option<Ending>>,
    changed: Condvar,
}

impl PowerSwitch {
    /// A switch for the vCPUs of `group`.
    pub fn new(group: Arc<Group>) -> Arc<Self> {
        Arc::new(Self { group, ending: Mutex::new(None), changed: Condvar::new() })
    }

    /// Ends the run; later calls in the same run do nothing.
    pub fn end(&self, ending: Ending) {
        let mut current = self.ending.lock();
        if current.is_none() {
            *current = Some(ending);
            self.changed.notify_all();
            for port in self.group.ports() {
                port.stop();
            }
        }
    }

    /// Whether the run is ending.
    pub fn is_ending(&self) -> bool {
        self.ending.lock().is_some()
    }

    /// Waits for the end of the run.
    pub fn wait(&self) -> Ending {
        let mut ending = self.ending.lock();
        loop {
            if let Some(ending) = &*ending {
                return ending.clone();
            }
            self.changed.wait(&mut ending);
        }
    }

    /// The end of the run, unless it has not come after `time`.
    pub fn wait_for(&self, time: Duration) -> Option<Ending> {
        let mut ending = self.ending.lock();
        if ending.is_none() {
            self.changed.wait_for(&mut ending, time);
        }
        ending.clone()
    }

    /// Forgets the ending of the last run.
    pub fn rearm(&self) {
        *self.ending.lock() = None;
    }
}

impl PowerSink for PowerSwitch {
    fn request(&self, request: PowerRequest) {
        self.end(Ending::Power(request));
    }
}
