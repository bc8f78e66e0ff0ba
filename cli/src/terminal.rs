//! The terminal: raw while a guest has the console, restored whatever happens, and Ctrl-A as the way out.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use machine::{Control, InputFilter};
use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// The modes of the terminal before and while the guest has it; none while it does not.
static MODES: Mutex<Option<Modes>> = Mutex::new(None);

struct Modes {
    before: Termios,
    raw: Termios,
}

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
    /// process panics; signals are the affair of [`crate::signals`].
    pub fn enter() -> std::io::Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *lock() = Some(Modes { before, raw: raw.clone() });
        let restore_first = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            restore_first(info);
        }));
        let terminal = Self(());
        tcsetattr(stdin, OptionalActions::Flush, &raw)?;
        Ok(Some(terminal))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Modes>> {
    MODES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// If that fails the terminal is gone, and there is nothing to set.
fn set(modes: &Termios) {
    let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, modes);
}

/// Restores the terminal for good, if it is in raw mode.
pub fn restore() {
    if let Some(modes) = lock().take() {
        set(&modes.before);
    }
}

/// Restores the terminal for as long as the process is stopped.
pub fn pause() {
    if let Some(modes) = &*lock() {
        set(&modes.before);
    }
}

/// Puts the terminal into raw mode again, if the process has it back.
pub fn resume() {
    let in_foreground = tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|group| group == getpgrp());
    if let Some(modes) = lock().as_ref().filter(|_| in_foreground) {
        set(&modes.raw);
    }
}

/// Standard error, whose lines begin at the left edge of a terminal in raw mode too.
#[derive(Default)]
pub struct Stderr(());

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut stderr = std::io::stderr();
        if lock().is_none() || !stderr.is_terminal() {
            return stderr.write(bytes);
        }
        let mut lines = bytes.split(|byte| *byte == b'\n');
        stderr.write_all(lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| stderr.write_all(&[b"\r\n", line].concat()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
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
