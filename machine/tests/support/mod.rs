//! What the whole-machine tests share: machines with a deadline, and a serial console to talk to.

// Each test program uses its own part of this.
#![allow(dead_code, reason = "every test program compiles the whole module and uses some of it")]

pub mod asm;
pub mod guest;
pub mod killed;
pub mod serial;

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use disk_formats::{DiskOptions, Format};
use machine::{Arch, Control, Ended, Error, Machine, MachineConfig, NetConfig, Stats, net};
use tempfile::TempDir;

/// How long a machine may take to stop after it was told to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The bytes of instructions or other words.
pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A machine that boots the program `image`. What is in the directory is needed as long as it runs.
pub fn program(arch: Arch, image: &[u8]) -> (MachineConfig, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("program");
    std::fs::write(&path, image).expect("a program file");
    let mut config = MachineConfig::new(arch);
    config.memory = 64 << 20;
    config.kernel = Some(path);
    (config, dir)
}

/// The same with a disk, a network and an entropy source in its first virtio slots, that does not start again.
pub fn program_with_devices(arch: Arch, image: &[u8]) -> (MachineConfig, TempDir) {
    let (mut config, dir) = program(arch, image);
    let disk = dir.path().join("disk");
    std::fs::write(&disk, vec![0x5a; 1 << 20]).expect("a disk");
    config.disks = vec![DiskOptions { format: Some(Format::Raw), ..DiskOptions::new(disk) }];
    config.net = NetConfig::User(net::Config::default());
    config.no_reboot = true;
    (config, dir)
}

/// A machine that runs on a thread of its own.
pub struct Running {
    control: Control,
    ended: Receiver<Result<Ended, Error>>,
}

/// How a machine with a deadline ended.
#[derive(Debug)]
pub enum Outcome {
    /// By itself, or by [`Running::quit`].
    Ended(Result<Ended, Error>),
    /// It was told to stop at its deadline, and did.
    Late,
    /// It did not even stop when told to, or its thread panicked.
    Stuck,
}

impl Running {
    /// Builds the machine and lets it run.
    pub fn start(config: MachineConfig) -> Result<Self, Error> {
        let mut machine = Machine::new(config)?;
        let control = machine.control();
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            let result = machine.run();
            // What the machine holds, such as the locks of its disks, is free when the test hears of the end.
            machine.end().keep();
            let _ = sender.send(result);
        });
        Ok(Self { control, ended })
    }

    /// Pulls the plug.
    pub fn quit(&self) {
        self.control.quit();
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.control.stats()
    }

    /// Waits for the end for at most `limit`.
    pub fn wait_for(&self, limit: Duration) -> Option<Outcome> {
        match self.ended.recv_timeout(limit) {
            Ok(result) => Some(Outcome::Ended(result)),
            Err(RecvTimeoutError::Disconnected) => Some(Outcome::Stuck),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// Waits for the end; at the deadline pulls the plug.
    pub fn wait(&self, limit: Duration) -> Outcome {
        match self.ended.recv_timeout(limit) {
            Ok(result) => Outcome::Ended(result),
            Err(RecvTimeoutError::Disconnected) => Outcome::Stuck,
            Err(RecvTimeoutError::Timeout) => {
                self.quit();
                match self.ended.recv_timeout(STOP_LIMIT) {
                    Ok(Ok(Ended::Quit)) => Outcome::Late,
                    Ok(result) => Outcome::Ended(result),
                    Err(_) => Outcome::Stuck,
                }
            }
        }
    }
}
