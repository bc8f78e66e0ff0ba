//! Linux with four CPUs under stress by `test-roms/linux/stress.c`, which checks its own results: code that changes, mappings,
//! processes, signals, pipes, threads and floating point, all at once.
//!
//! `FERRY_STRESS_SECONDS=N` makes it N seconds instead of ten for each kind of machine.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use images::CpioWriter;
use machine::{Arch, Effort, MachineConfig};
use support::guest::{COMMAND_LIMIT, Guest, config_for};

/// CPUs of the guest.
const CPUS: usize = 4;

/// The program for a guest.
fn build(arch: Arch, into: &Path) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-roms/linux/stress.c");
    let (default, variable, package) = match arch {
        Arch::Riscv64 => {
            ("riscv64-linux-gnu-gcc", "CC_RISCV64", "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross")
        }
        Arch::Aarch64 => {
            ("aarch64-linux-gnu-gcc", "CC_AARCH64", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
        }
    };
    let compiler = std::env::var(variable).unwrap_or_else(|_| default.into());
    let program = into.join("stress");
    let options = ["-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"];
    let built = Command::new(&compiler).args(options).arg(source).arg("-lm").arg("-o").arg(&program).status();
    let built = built.is_ok_and(|status| status.success());
    assert!(
        built,
        "{compiler} cannot compile test-roms/linux/stress.c: Debian's {package} can; {variable} names another"
    );
    std::fs::read(program).expect("the program")
}

/// `kept`: translations are kept, and those of this run found again.
fn stress(arch: Arch, kept: bool, change: impl FnOnce(&mut MachineConfig)) {
    let seconds =
        std::env::var("FERRY_STRESS_SECONDS").map_or(10, |text| text.parse().expect("a number of seconds"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let program = build(arch, folder.path());
    let mut config = config_for(arch, CPUS);
    let mut initrd =
        std::fs::read(config.initrd.as_ref().expect("an initial RAM disk")).expect("its contents");
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    // Linux unpacks an archive that is behind another one.
    let mut archive = CpioWriter::new(initrd);
    archive.file("stress", 0o755, &program).expect("an archive");
    let path = folder.path().join("initrd");
    std::fs::write(&path, archive.finish().expect("an archive")).expect("an initial RAM disk");
    config.initrd = Some(path);
    config.cache = kept.then(|| folder.path().join("translations"));
    change(&mut config);
    let mut guest = Guest::boot(config);
    // Each kind of work ends its last round, however slow the host is.
    let limit = COMMAND_LIMIT * 3 + Duration::from_secs(2 * seconds);
    let said = guest.console.check(&format!("/stress {seconds}"), limit);
    assert!(said.trim_end().ends_with("stress: passed"), "{said}");
    eprint!("{said}");
    guest.power_off();
}

#[test]
fn four_cpus() {
    stress(Arch::Riscv64, false, |_| {});
}

/// Code is translated again and again: there is little room for it, and it is dropped at random.
#[test]
fn four_cpus_that_forget_their_code() {
    stress(Arch::Riscv64, true, |config| {
        config.code_bytes = 2 << 20;
        config.windows = Effort::Eager;
        config.drop_code = Some(Duration::from_millis(50));
    });
}

/// Every loop that is seen is compiled as a whole, at once, and stays so.
#[test]
fn four_cpus_with_regions() {
    stress(Arch::Riscv64, true, |config| {
        config.regions = Effort::Eager;
        config.drop_code = Some(Duration::from_millis(500));
    });
}

#[test]
fn four_arm_cpus_with_regions() {
    stress(Arch::Aarch64, true, |config| {
        config.regions = Effort::Eager;
        config.windows = Effort::Eager;
    });
}
