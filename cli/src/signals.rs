//! Signals that end or stop the process: the machine is ended as by Ctrl-A x, so that its disks are closed in order, and
//! the terminal is restored first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use machine::Control;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;

use crate::terminal;

/// What has been received.
pub struct Signals {
    /// The signal that the machine was ended for; zero if there was none.
    ending: Arc<AtomicI32>,
}

impl Signals {
    /// From here on signals end the machine that `control` is of. A second one ends the process at once.
    pub fn watch(control: Control) -> io::Result<Self> {
        let mut signals =
            signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT])?;
        let ending = Arc::new(AtomicI32::new(0));
        let on_thread = Arc::clone(&ending);
        let watch = move || {
            for signal in signals.forever() {
                match signal {
                    SIGTSTP => {
                        terminal::pause();
                        obey(signal);
                    }
                    SIGCONT => terminal::resume(),
                    _ if on_thread.swap(signal, Ordering::SeqCst) == 0 => control.quit(),
                    _ => {
                        terminal::restore();
                        obey(signal);
                    }
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(watch)?;
        Ok(Self { ending })
    }

    /// Does what the signal that has ended the machine does to a process: it does not return then.
    pub fn obey(&self) {
        match self.ending.load(Ordering::SeqCst) {
            0 => {}
            signal => obey(signal),
        }
    }
}

fn obey(signal: i32) {
    // It fails for numbers that are no signals.
    let _ = emulate_default_handler(signal);
}
