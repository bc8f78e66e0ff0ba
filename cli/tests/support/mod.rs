//! What the tests of the command share: running it with a deadline, and files for it.

#![allow(dead_code, reason = "every test program compiles the whole module and uses some of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a command may take on a busy host, before it counts as hung.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The command, without input.
pub fn ferry() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.stdin(Stdio::null());
    command
}

/// How a command ended, and what it wrote.
pub struct Outcome {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

/// Runs the command in `directory` to its end, which must come within [`LIMIT`].
pub fn run(directory: &Path, args: &[&str]) -> Outcome {
    let files = ["output", "errors"].map(|name| directory.join(name));
    let [output, errors] = files.each_ref().map(|path| std::fs::File::create(path).expect("a file"));
    let mut command = ferry();
    command.args(args).current_dir(directory).stdout(output).stderr(errors);
    let status = wait(&mut command.spawn().expect("a process"));
    let [output, errors] = files.map(|path| std::fs::read(&path).expect("what it wrote"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { status, output: text(output), errors: text(errors) }
}

/// Waits for the end of a process, which must come within [`LIMIT`].
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("a status") {
            return status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            panic!("the command did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A directory of files that can be named on command lines.
pub struct Files(pub TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    pub fn add(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// Writes a program of RISC-V instructions for `--firmware none`.
    pub fn program(&self, name: &str, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.add(name, &bytes);
    }
}

/// An instruction that jumps to itself.
pub const SPIN: u32 = 0x0000_006f;

/// A program that stores `value` to the test finisher.
pub fn finish(value: u32) -> [u32; 5] {
    let low = (value << 20) as i32 >> 20;
    let lui = value.wrapping_sub(low as u32) & 0xffff_f000 | 0x337; // lui t1
    let addi = (low as u32) << 20 | 0x0003_0313; // addi t1, t1
    [0x0010_02b7, lui, addi, 0x0062_a023, SPIN] // lui t0, 0x100; …; sw t1, 0(t0); j .
}
