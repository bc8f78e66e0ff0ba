//! `ferry run debian --disk`: a Debian system from its installation on, and machines that are killed while it writes.
//!
//! How many kills there are can be said in `FERRY_TEST_KILLS`.

mod support;

#[path = "../../machine/tests/support/killed.rs"]
mod killed;
#[path = "../../machine/tests/support/serial.rs"]
mod serial;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use killed::{SyncedFiles, check_image, kills, work_time};
use serial::Serial;
use support::{ferry, wait};
use tempfile::TempDir;

/// How long an installation may take on a busy host, packages and all; a boot; and a command.
const INSTALL_LIMIT: Duration = Duration::from_secs(3600);
const BOOT_LIMIT: Duration = Duration::from_secs(900);
const COMMAND_LIMIT: Duration = Duration::from_secs(300);
/// No archive is here.
const NO_MIRROR: &str = "http://127.0.0.1:1/debian";

#[test]
fn a_riscv64_system_is_installed_and_survives_kills() {
    live("riscv64");
}

#[test]
#[ignore = "several minutes more, for the same script: run by hand, with --ignored"]
fn an_aarch64_system_is_installed_and_survives_kills() {
    live("aarch64");
}

/// The whole life of a system.
fn live(arch: &'static str) {
    let system = System::new(arch);
    // The first attempt is cut off at its beginning, the second in the middle.
    let mut first = system.install().stderr(Stdio::null()).spawn().expect("a process");
    system.wait_for_installation("Making the file system", &mut first);
    first.kill().and_then(|()| first.wait()).expect("a kill");
    assert!(!system.disk().exists(), "a disk that is not installed is in its place");
    let mut second = system.install().stderr(Stdio::piped()).spawn().expect("a process");
    system.wait_for_installation("Unpacking libc6", &mut second);
    second.kill().expect("a kill");
    let output = second.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("starting over"), "{said:?}");

    let mut machine = system.install_and_boot();
    machine.console.check("[ $(nproc) = 2 ] && systemctl is-system-running --wait", COMMAND_LIMIT);
    assert_eq!(ssh_banner(system.port), "SSH-2.0");
    machine.console.send_line("reboot");
    machine.log_in();
    let kills = kills();
    let mut files = SyncedFiles::default();
    for round in 0..kills {
        files.check(&mut machine.console, COMMAND_LIMIT);
        files.write(&mut machine.console, round, COMMAND_LIMIT);
        std::thread::sleep(work_time(round));
        machine.kill();
        check_image(&system.disk(), round + 1);
        machine = system.boot();
    }
    files.check(&mut machine.console, COMMAND_LIMIT);
    machine.console.check("systemctl is-system-running --wait", COMMAND_LIMIT);
    machine.console.send_line("poweroff");
    machine.expect_success();
    check_image(&system.disk(), kills);
}

/// The first bytes of what answers at a port.
fn ssh_banner(port: u16) -> String {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(COMMAND_LIMIT)).expect("a socket");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    line.chars().take(7).collect()
}

/// A directory with a disk.
struct System {
    directory: TempDir,
    arch: &'static str,
    /// What is forwarded to the system's ssh.
    port: u16,
}

impl System {
    fn new(arch: &'static str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { directory, arch, port: free.expect("a port").port() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn disk(&self) -> PathBuf {
        self.path("root.qcow2")
    }

    /// The one command that installs and boots.
    fn command(&self) -> Command {
        let mut command = ferry();
        // Where the other tests keep images, too.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        let net = format!("user,forward=tcp:127.0.0.1:{}-:22", self.port);
        command.args(["run", "debian", "--cpus", "2", "--cache-dir"]).arg(cache);
        command.args(["--net", &net, "--disk", "root.qcow2", "--console", "unix:console"]);
        command.current_dir(self.directory.path());
        command
    }

    fn install(&self) -> Command {
        let mut command = self.command();
        command.args(["--arch", self.arch]);
        if let Ok(mirror) = std::env::var("FERRY_TEST_MIRROR") {
            command.args(["--mirror", &mirror]);
        }
        command
    }

    /// Waits until the machine that installs has said this.
    fn wait_for_installation(&self, text: &str, process: &mut Child) {
        let log = self.path("root.qcow2.ferry/install.log");
        self.wait_until(text, process, || {
            std::fs::read(&log).is_ok_and(|log| String::from_utf8_lossy(&log).contains(text))
        });
    }

    fn wait_until(&self, what: &str, process: &mut Child, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + INSTALL_LIMIT;
        while !condition() {
            let ended = process.try_wait().expect("a status");
            if ended.is_some() || Instant::now() >= deadline {
                let _ = process.kill();
                let log = std::fs::read(self.path("root.qcow2.ferry/install.log")).unwrap_or_default();
                panic!("{what:?} did not come ({ended:?}):\n{}", String::from_utf8_lossy(&log));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn install_and_boot(&self) -> Booted {
        let started = Instant::now();
        let mut process = self.install().spawn().expect("a process");
        self.wait_until("the disk", &mut process, || self.disk().exists());
        println!("{} installed in {:?}", self.arch, started.elapsed());
        Booted::new(process, self)
    }

    /// Boots what is installed, which needs no archive, and nobody to say what it is for.
    fn boot(&self) -> Booted {
        Booted::new(self.command().args(["--mirror", NO_MIRROR]).spawn().expect("a process"), self)
    }
}

/// A machine with a shell of root's on its console.
struct Booted {
    process: Child,
    console: Serial,
}

impl Booted {
    fn new(process: Child, system: &System) -> Self {
        let mut machine = Self { process, console: Serial::connect(&system.path("console")) };
        machine.log_in();
        machine
    }

    fn log_in(&mut self) {
        self.console.expect("debian login: ", BOOT_LIMIT);
        self.console.send_line("root");
        self.console.expect("root@debian:~#", BOOT_LIMIT);
    }

    fn kill(mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("a kill");
    }

    fn expect_success(mut self) {
        let status = wait(&mut self.process);
        assert!(status.success(), "{status}; the console said:\n{}", self.console.log());
    }
}

impl Drop for Booted {
    /// A test that fails leaves no machine behind.
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
