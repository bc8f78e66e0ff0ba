//! A machine's serial console, driven as a person would: wait for a text, type one.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long the emulator may take to make its socket.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// The test's end of a serial console that is a Unix socket.
///
/// All that the guest writes is kept; a text is looked for behind the one that was found last, in the output
/// without escape sequences and carriage returns. A method that does not find what it waits for panics with
/// the whole output.
pub struct Serial {
    socket: UnixStream,
    received: Arc<Received>,
    /// Where in the cleaned output the next search begins.
    position: usize,
    /// Makes the marks around the output of each command differ.
    commands: usize,
}

#[derive(Default)]
struct Received {
    output: Mutex<Output>,
    changed: Condvar,
}

#[derive(Default)]
struct Output {
    text: String,
    cleaner: Cleaner,
    /// The other end is gone.
    ended: bool,
}

impl Serial {
    /// Connects to the socket at `path`, as soon as there is one.
    pub fn connect(path: &Path) -> Self {
        let deadline = Instant::now() + CONNECT_LIMIT;
        let socket = loop {
            match UnixStream::connect(path) {
                Ok(socket) => break socket,
                Err(error) if Instant::now() >= deadline => panic!("no console at {path:?}: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let received = Arc::new(Received::default());
        let on_thread = Arc::clone(&received);
        let reader = socket.try_clone().expect("a second handle of a socket");
        std::thread::spawn(move || on_thread.read_all(reader));
        Self { socket, received, position: 0, commands: 0 }
    }

    /// Types `line` and the return key.
    pub fn send_line(&mut self, line: &str) {
        if let Err(error) = self.socket.write_all(format!("{line}\n").as_bytes()) {
            panic!("cannot type {line:?}: {error}\n{}", self.log());
        }
    }

    /// Waits for `text`; the output from the last text found up to it.
    pub fn expect(&mut self, text: &str, limit: Duration) -> String {
        match self.find(text, limit) {
            Ok(before) => before,
            Err(why) => panic!("{why}: {text:?}; the console said:\n{}", self.log()),
        }
    }

    fn find(&mut self, text: &str, limit: Duration) -> Result<String, String> {
        let started = Instant::now();
        let mut output = self.received.output.lock();
        loop {
            if let Some(found) = output.text[self.position..].find(text) {
                let before = output.text[self.position..][..found].to_owned();
                self.position += found + text.len();
                return Ok(before);
            }
            if output.ended {
                return Err(format!("the machine ended after {:?} without", started.elapsed()));
            }
            if self.received.changed.wait_until(&mut output, started + limit).timed_out() {
                return Err(format!("not within {limit:?}"));
            }
        }
    }

    /// Has the guest's shell run `command`; what it writes, and its exit status.
    pub fn run(&mut self, command: &str, limit: Duration) -> (String, i32) {
        self.commands += 1;
        let n = self.commands;
        // The quotes keep the echo of what is typed from looking like the marks.
        self.send_line(&format!("echo 'be''gin'-{n}; {command}; echo 'e''nd'-{n}-$?."));
        self.expect(&format!("begin-{n}\n"), limit);
        let output = self.expect(&format!("end-{n}-"), limit);
        let status = self.expect(".", limit);
        let status = status.parse().unwrap_or_else(|_| panic!("status {status:?} of {command:?}"));
        (output, status)
    }

    /// As [`run`](Self::run), for a command that must succeed; what it writes.
    pub fn check(&mut self, command: &str, limit: Duration) -> String {
        let (output, status) = self.run(command, limit);
        assert!(status == 0, "status {status} of {command:?}; the console said:\n{}", self.log());
        output
    }

    /// Everything that the guest has written, without escape sequences.
    pub fn log(&self) -> String {
        self.received.output.lock().text.clone()
    }
}

impl Received {
    fn read_all(&self, mut from: UnixStream) {
        let mut bytes = [0; 4096];
        loop {
            let count = match from.read(&mut bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            let mut output = self.output.lock();
            let Output { text, cleaner, ended } = &mut *output;
            text.extend(bytes[..count].iter().filter_map(|byte| cleaner.keep(*byte)));
            *ended = count == 0;
            self.changed.notify_all();
            if count == 0 {
                return;
            }
        }
    }
}

/// Takes escape sequences and carriage returns out of a stream of bytes.
#[derive(Clone, Copy, Default)]
enum Cleaner {
    #[default]
    Text,
    /// Behind an escape character.
    Escape,
    /// In a control sequence: ESC `[`, parameters, a final byte (ECMA-48, section 5.4).
    Control,
}

impl Cleaner {
    /// The character to keep, if the byte is one.
    fn keep(&mut self, byte: u8) -> Option<char> {
        match (*self, byte) {
            (_, 0x1b) => *self = Self::Escape,
            (Self::Escape, b'[') => *self = Self::Control,
            (Self::Escape, _) | (Self::Control, 0x40..=0x7e) => *self = Self::Text,
            (Self::Control, _) | (Self::Text, b'\r' | 0x07) => {}
            (Self::Text, _) => return Some(if byte.is_ascii() { byte as char } else { '\u{fffd}' }),
        }
        None
    }
}

#[test]
fn escape_sequences_are_left_out() {
    let mut cleaner = Cleaner::default();
    let clean: String = b"a\x1b[6n\r\n\x1b[1;31mb\x1bcc".iter().filter_map(|b| cleaner.keep(*b)).collect();
    assert_eq!(clean, "a\nbc");
}
