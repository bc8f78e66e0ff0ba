//! Debian's kernel with a busybox shell, on a machine of the test's own.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use images::{BootFiles, Options, Store};
use machine::{Arch, Console, Ended, MachineConfig, Stats};
use tempfile::TempDir;

use super::serial::Serial;
use super::{Outcome, Running};

/// How long a boot may take on a busy host, up to the shell's prompt.
pub const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// How long a command in the guest may take that has not much to do.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// What the shell asks with.
const PROMPT: &str = "root@ferry:~#";

/// Files that come from a Debian archive on first use, and from a cache after that.
fn fetched<T>(get: impl FnOnce(&Store) -> images::Result<T>) -> T {
    let mirror = std::env::var("FERRY_TEST_MIRROR").ok();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let options = Options { mirror, cache: Some(cache), ..Options::default() };
    let result = Store::open(options).and_then(|store| get(&store));
    result.unwrap_or_else(|error| {
        let mut why = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            why += &format!(": {error}");
            source = error.source();
        }
        panic!(
            "cannot get Debian's packages: {why}\nThe test needs a Debian archive once: the first of /etc/apt, or \
             the one whose URL is in FERRY_TEST_MIRROR."
        )
    })
}

/// Debian's kernel and an initramfs for it, for RISC-V.
pub fn debian() -> &'static BootFiles {
    debian_for(Arch::Riscv64)
}

/// The same for any architecture.
pub fn debian_for(arch: Arch) -> &'static BootFiles {
    static FILES: [OnceLock<BootFiles>; 2] = [const { OnceLock::new() }; 2];
    let (files, arch) = match arch {
        Arch::Riscv64 => (&FILES[0], images::Arch::Riscv64),
        Arch::Aarch64 => (&FILES[1], images::Arch::Arm64),
    };
    files.get_or_init(|| fetched(|store| store.image("debian", arch, &mut ())))
}

/// The forms of OpenSBI that are given a kernel: told where it is, or going to a fixed place.
#[derive(Clone, Copy)]
pub enum OpenSbi {
    Dynamic,
    Jump,
}

/// Debian's build of OpenSBI.
pub fn opensbi(form: OpenSbi) -> PathBuf {
    const PATHS: [&str; 2] = [
        "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin",
        "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_jump.bin",
    ];
    static FILES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let get =
        |store: &Store| store.package_files(images::Arch::Riscv64, "trixie", "opensbi", &PATHS, &mut ());
    let wanted = PATHS[form as usize];
    let file = FILES.get_or_init(|| fetched(get)).iter().find(|path| path.ends_with(wanted));
    file.expect("a file for each path").clone()
}

/// A machine that boots [`debian`].
pub fn config(cpus: usize) -> MachineConfig {
    config_for(Arch::Riscv64, cpus)
}

/// The same for any architecture.
pub fn config_for(arch: Arch, cpus: usize) -> MachineConfig {
    let files = debian_for(arch);
    let mut config = MachineConfig::new(arch);
    config.cpus = cpus;
    config.memory = 256 << 20;
    config.kernel = Some(files.kernel.clone());
    config.initrd = Some(files.initrd.clone());
    let console = match arch {
        Arch::Riscv64 => "ttyS0",
        Arch::Aarch64 => "ttyAMA0",
    };
    config.append = format!("console={console} quiet");
    config
}

/// A guest that runs, and its console.
pub struct Guest {
    /// What the guest writes and reads.
    pub console: Serial,
    running: Running,
    _dir: TempDir,
}

impl Guest {
    /// Starts the machine; its console is on a socket.
    pub fn start(mut config: MachineConfig) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("console");
        config.console = Console::Unix(socket.clone());
        let running = Running::start(config).unwrap_or_else(|error| panic!("no machine: {error}"));
        Self { console: Serial::connect(&socket), running, _dir: dir }
    }

    /// Starts the machine and waits for the shell.
    pub fn boot(config: MachineConfig) -> Self {
        let mut guest = Self::start(config);
        guest.expect_shell();
        guest
    }

    /// Waits for the guest to boot, or to boot again.
    pub fn expect_shell(&mut self) {
        self.console.expect(PROMPT, BOOT_LIMIT);
    }

    /// Waits for the machine to end, which must be by the guest's own will and without an error.
    pub fn expect_off(&mut self) {
        let outcome = self.running.wait(COMMAND_LIMIT);
        let off = matches!(outcome, Outcome::Ended(Ok(Ended::Off { code: 0 })));
        assert!(
            off,
            "expected the machine to go off: {outcome:?}; the console said:\n{}",
            self.console.log()
        );
    }

    /// What the machine has done so far.
    pub fn stats(&self) -> Stats {
        self.running.stats()
    }

    /// Has the guest switch off, and waits for that.
    pub fn power_off(mut self) {
        self.console.send_line("poweroff");
        self.expect_off();
    }
}
