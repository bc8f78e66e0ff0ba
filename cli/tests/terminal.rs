//! The terminal: raw while a guest has it, restored however the machine ends, with Ctrl-A as the way out.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};
use support::{Files, SPIN, wait, wait_until};

/// A machine on a terminal of its own. Its guest does nothing.
struct Session {
    files: Files,
    child: Child,
    /// The terminal as the process sees it.
    terminal: File,
    /// What a person types.
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    before: Termios,
}

impl Session {
    fn start() -> Self {
        Self::start_by(&[])
    }

    /// The command is run by another one, which makes way for it.
    fn start_by(launcher: &[&str]) -> Self {
        let files = Files::new();
        files.program("spin", &[SPIN]);
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&pty).and_then(|()| unlockpt(&pty)).expect("its other side");
        let name = ptsname(&pty, Vec::new()).expect("its name").into_string().expect("a text");
        let terminal = File::options().read(true).write(true).open(name).expect("the terminal");
        let before = tcgetattr(&terminal).expect("its modes");
        let keyboard = File::from(pty);
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut output, shown) = (keyboard.try_clone().expect("a handle"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 256];
            // It fails when the other side is closed.
            while let Ok(count) = output.read(&mut bytes) {
                shown.lock().expect("the screen").extend(&bytes[..count]);
            }
        });
        let handle = || terminal.try_clone().expect("a handle");
        // In a session of its own, whose terminal this is; whoever runs the tests may have signals ignored.
        let child = Command::new("env")
            .args(["--default-signal", "setsid", "--ctty"])
            .args(launcher)
            .arg(env!("CARGO_BIN_EXE_ferry"))
            .args(["run", "--arch", "riscv64", "--firmware", "none", "--kernel", "spin"])
            .current_dir(files.path())
            .stdin(handle())
            .stdout(handle())
            .stderr(handle())
            .spawn()
            .expect("a process, by setsid of util-linux");
        let session = Self { files, child, terminal, keyboard, screen, before };
        wait_until("the terminal is raw", || session.is_raw());
        session
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).expect("the terminal's modes")
    }

    fn is_raw(&self) -> bool {
        !self.modes().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn is_restored(&self) -> bool {
        let (now, before) = (self.modes(), &self.before);
        (now.local_modes, now.input_modes, now.output_modes)
            == (before.local_modes, before.input_modes, before.output_modes)
    }

    fn type_keys(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("a terminal to type at");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    fn shows(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.screen.lock().expect("the screen")).contains(text)
    }

    /// A set of signals, number 1 in bit 0, from the process's status (proc(5), "/proc/pid/status").
    fn signals(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        u64::from_str_radix(line.expect("a set").trim(), 16).expect("a number")
    }

    /// Whether the process is stopped, as by a shell's job control (proc(5), "/proc/pid/stat").
    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }
}

#[test]
fn control_a_is_the_way_out() {
    let mut session = Session::start();
    session.type_keys(b"\x01h");
    wait_until("there is help", || session.shows("Ctrl-A x"));
    // Keys that interrupt other programs belong to the guest.
    session.type_keys(b"\x03\x1c\x1a");
    session.type_keys(b"\x01\x01x\x01q");
    assert!(session.is_raw() && session.child.try_wait().expect("a status").is_none());
    session.type_keys(b"\x01x");
    assert_eq!(wait(&mut session.child).code(), Some(0));
    assert!(session.is_restored());
}

#[test]
fn signals_restore_the_terminal() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut session = Session::start();
        session.signal(signal);
        assert_eq!(wait(&mut session.child).signal(), Some(signal.as_raw()));
        assert!(session.is_restored(), "{signal:?}");
    }
}

/// As nohup(1) and shells do it.
#[test]
fn signals_that_were_ignored_stay_ignored() {
    let mut session = Session::start_by(&["sh", "-c", r#"trap '' HUP; exec "$0" "$@""#]);
    // A bit for each signal; those of hang-up and of termination.
    let (ignored, caught) = (session.signals("SigIgn"), session.signals("SigCgt"));
    assert_eq!((ignored & 1, caught & 1), (1, 0));
    assert_eq!((ignored >> 14 & 1, caught >> 14 & 1), (0, 1));
    session.signal(Signal::HUP);
    session.type_keys(b"\x01x");
    assert_eq!(wait(&mut session.child).code(), Some(0));
    assert!(session.is_restored());
}

#[test]
fn a_stopped_process_leaves_the_terminal_alone() {
    let mut session = Session::start();
    session.signal(Signal::TSTP);
    wait_until("the process is stopped", || session.is_stopped());
    assert!(session.is_restored());
    session.signal(Signal::CONT);
    wait_until("the terminal is raw again", || session.is_raw());
    session.type_keys(b"\x01x");
    assert_eq!(wait(&mut session.child).code(), Some(0));
    assert!(session.is_restored() && session.files.path().exists());
}
