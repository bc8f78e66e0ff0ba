//! The terminal: raw while a guest has the console, restored whatever happens, and Ctrl-A as the way out.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use machine::{Control, InputFilter};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// What the terminal was like before; none while nothing is to be restored.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

const ESCAPE: u8 = 0x01; // Ctrl-A

const HELP: &str = "\r\n\
    Ctrl-A x  end the machine\r\n\
    Ctrl-A s  show what the machine has done (see --stats)\r\n\
    Ctrl-A h  show this help\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

/// A terminal in raw mode; dropping it restores it.
pub struct RawTerminal(());

impl RawTerminal {
    /// Puts standard input into raw mode if it is a terminal. It is restored when the value is dropped, and when the
    /// process panics.
    pub fn enter() -> std::io::Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let old = tcgetattr(stdin)?;
        let mut raw = old.clone();
        raw.make_raw();
        *lock() = Some(old);
        let restore_first = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            restore_first(info);
        }));
        tcsetattr(stdin, OptionalActions::Flush, &raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Restores the terminal if it is in raw mode.
pub fn restore() {
    if let Some(old) = lock().take() {
        // If that fails the terminal is gone, and there is nothing to restore.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &old);
    }
}

/// A filter for console input that acts on Ctrl-A sequences. The machine that they end is put into `control` once it
/// is built.
pub fn escape_filter(control: std::sync::Arc<std::sync::OnceLock<Control>>) -> InputFilter {
    let mut escaped = false;
    Box::new(move |bytes| {
        let mut passed = Vec::with_capacity(bytes.len());
        for &byte in bytes.iter() {
            match (std::mem::take(&mut escaped), byte) {
                (false, ESCAPE) => escaped = true,
                (false, byte) | (true, byte @ ESCAPE) => passed.push(byte),
                (true, b'x' | b'X') => match control.get() {
                    Some(control) => control.quit(),
                    None => {
                        restore();
                        std::process::exit(0);
                    }
                },
                (true, b's' | b'S') => {
                    if let Some(control) = control.get() {
                        // A raw terminal needs to be told to go back to the start of the line.
                        let text = format!("\n{}", control.stats()).replace('\n', "\r\n");
                        // What cannot be shown is not missed.
                        let _ = std::io::stderr().write_all(text.as_bytes());
                    }
                }
                (true, b'h' | b'H' | b'?') => {
                    let mut out = std::io::stdout();
                    // Help that cannot be shown is not missed.
                    let _ = out.write_all(HELP.as_bytes()).and_then(|()| out.flush());
                }
                (true, byte) => passed.extend([ESCAPE, byte]),
            }
        }
        *bytes = passed;
    })
}
