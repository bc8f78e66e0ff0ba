//! Debian's kernels boot in lock step: translated code does what the interpreter does.

mod support;

use std::time::{Duration, Instant};

use machine::{Accel, Arch, Console, Effort, Ended};
use support::guest::config_for;
use support::{Outcome, Running};

/// How long the part of a boot may take that is waited for, on a busy host.
const LIMIT: Duration = Duration::from_secs(900);

/// Boots until the console shows `text`, or until `FERRY_LOCKSTEP_TEXT` is shown.
fn boot(arch: Arch, text: &str) {
    let text = std::env::var("FERRY_LOCKSTEP_TEXT").unwrap_or_else(|_| text.into());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let console = folder.path().join("console");
    let mut config = config_for(arch, 1);
    config.accel = Accel::Lockstep;
    config.regions = Effort::Eager;
    config.windows = Effort::Eager;
    config.append = config.append.replace("quiet", "earlycon");
    config.console = Console::File(console.clone());
    let running = Running::start(config).unwrap_or_else(|error| panic!("no machine: {error}"));
    let said = || String::from_utf8_lossy(&std::fs::read(&console).unwrap_or_default()).into_owned();
    let deadline = Instant::now() + LIMIT;
    let mut outcome = None;
    while outcome.is_none() && !said().contains(&text) && Instant::now() < deadline {
        outcome = running.wait_for(Duration::from_millis(50));
    }
    let outcome = outcome.unwrap_or_else(|| {
        running.quit();
        running.wait(Duration::from_secs(60))
    });
    assert!(matches!(outcome, Outcome::Ended(Ok(Ended::Quit))), "{outcome:?}\nThe console said:\n{}", said());
    assert!(said().contains(&text), "{text:?} did not come. The console said:\n{}", said());
}

#[test]
fn riscv64() {
    boot(Arch::Riscv64, "Memory: ");
}

#[test]
fn aarch64() {
    boot(Arch::Aarch64, "Memory: ");
}
