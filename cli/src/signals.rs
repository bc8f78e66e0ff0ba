//! Signals that end or stop the process: the machine is ended as by Ctrl-A x, so that its disks are closed in order, and
//! the terminal is restored first. Those that whoever started the process has it ignore, as nohup(1) does, stay ignored.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use machine::Control;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;

use crate::terminal;

/// What ends the process, and what stops it and lets it go on.
const WATCHED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT];

/// What has been received.
pub struct Signals {
    /// The signal that the machine was ended for; zero if there was none.
    ending: Arc<AtomicI32>,
}

impl Signals {
    /// From here on signals end the machine that `control` is of. A second one ends the process at once.
    pub fn watch(control: Control) -> io::Result<Self> {
        // Without it nothing is known to be ignored.
        let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
        let watched = WATCHED.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let mut signals = signal_hook::iterator::Signals::new(watched)?;
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

/// The signals that a process ignores, number 1 in bit 0, by its status (proc(5), "/proc/pid/status"). None if it does not
/// say.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_is_ignored() {
        let status =
            "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000004\n";
        assert_eq!(ignored(status), 0x1001);
        assert_eq!(ignored("Name:\tx\n"), 0);
        assert_eq!(ignored("SigIgn:\tx\n"), 0);
    }
}
