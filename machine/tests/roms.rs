//! Every test ROM passes on the `virt` boards, with each number of CPUs it is meant for.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use frontends::riscv;
use machine::{Accel, Arch, Console, Effort, Ended, Firmware, GicVersion, MachineConfig};
use support::{Outcome, Running};
use test_roms::{RAM_SIZE, Rom};

/// One run of a ROM.
#[derive(Clone, Copy, Debug)]
struct Run {
    model: &'static str,
    cpus: usize,
    accel: Accel,
    aclint: bool,
    gic: Option<GicVersion>,
    /// The exception level at which it is entered, for aarch64.
    level: Option<u8>,
    append: &'static str,
    limit: Duration,
    windows: Effort,
    regions: Effort,
}

impl Run {
    /// A run of `rom` with a number of CPUs, of the model that has everything.
    fn new(rom: &Rom, cpus: usize, accel: Accel) -> Self {
        let (append, limit) = (rom.append, rom.timeout);
        let (windows, regions) = (Effort::On, Effort::On);
        Self {
            model: "max",
            cpus,
            accel,
            aclint: false,
            gic: None,
            level: None,
            append,
            limit,
            windows,
            regions,
        }
    }

    /// Whether the program cannot switch the machine off: nobody is there to be asked.
    fn is_endless(&self) -> bool {
        self.level == Some(3)
    }
}

/// Boots a ROM; gives what it printed and how it ended.
fn boot(rom: &Rom, run: Run) -> (String, Outcome) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (elf, text) = (folder.path().join("rom.elf"), folder.path().join("console"));
    fs::write(&elf, rom.elf).expect("the ROM's file");
    let mut config = MachineConfig::new(if rom.arch == "riscv64" { Arch::Riscv64 } else { Arch::Aarch64 });
    config.cpus = run.cpus;
    config.memory = RAM_SIZE;
    config.cpu = Some(run.model.to_owned());
    // A level that is not the highest is entered by the built-in firmware.
    config.firmware = if matches!(run.level, Some(1 | 2)) { Firmware::Builtin } else { Firmware::None };
    config.virtualization = run.level.is_some_and(|level| level >= 2);
    config.secure = run.level == Some(3);
    config.gic = run.gic;
    config.kernel = Some(elf);
    config.append = run.append.to_owned();
    config.console = Console::File(text.clone());
    config.accel = run.accel;
    config.aclint = run.aclint;
    config.windows = run.windows;
    config.regions = run.regions;
    let read = || String::from_utf8_lossy(&fs::read(&text).unwrap_or_default()).into_owned();
    let running = Running::start(config).expect("a machine");
    if run.is_endless() {
        let start = Instant::now();
        while start.elapsed() < run.limit && !has_verdict(&read()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        running.quit();
    }
    let outcome = running.wait(run.limit);
    (read(), outcome)
}

/// Whether the line that says how the ROM did is there, all of it.
fn has_verdict(text: &str) -> bool {
    text.split_inclusive('\n').any(|line| line.starts_with("ROM ") && line.ends_with('\n'))
}

#[test]
fn half_a_line_is_no_verdict() {
    assert!(!has_verdict("") && !has_verdict("ROM s") && !has_verdict("a\nROM smp: 2 checks passed"));
    assert!(has_verdict("a\nROM smp: 2 checks passed\r\n") && has_verdict("ROM smp: 1 of 2 checks failed\n"));
}

fn check(rom: &Rom, run: Run) {
    let (text, outcome) = boot(rom, run);
    let ended = match outcome {
        Outcome::Ended(Ok(Ended::Quit)) => run.is_endless(),
        Outcome::Ended(Ok(Ended::Off { code: 0 })) => true,
        _ => false,
    };
    let good = ended && text.contains("checks passed");
    assert!(good, "{}, {run:?}, ended with {outcome:?}:\n{text}", rom.name);
}

fn named(roms: &'static [Rom], name: &str) -> &'static Rom {
    roms.iter().find(|rom| rom.name == name).expect("a ROM of that name")
}

fn passes(name: &str) {
    let rom = named(test_roms::RISCV64, name);
    for &cpus in rom.harts {
        for accel in [Accel::Interp, Accel::Auto] {
            check(rom, Run::new(rom, cpus, accel));
        }
    }
    let cpus = rom.harts.last().copied().expect("a number of harts");
    check(rom, Run { aclint: true, ..Run::new(rom, cpus, Accel::Auto) });
    // What a model does not name must be absent.
    for model in riscv::MODELS {
        check(rom, Run { model: model.name, append: "", ..Run::new(rom, 1, Accel::Auto) });
    }
}

fn arm_passes(name: &str) {
    let rom = named(test_roms::AARCH64, name);
    for &level in rom.levels {
        for &cpus in rom.harts {
            for (accel, gic) in [
                (Accel::Interp, GicVersion::V3),
                (Accel::Auto, GicVersion::V2),
                (Accel::Auto, GicVersion::V3),
            ] {
                check(rom, Run { level: Some(level), gic: Some(gic), ..Run::new(rom, cpus, accel) });
            }
        }
    }
    for model in frontends::aarch64::MODELS {
        let level = rom.levels.first().copied();
        check(rom, Run { model: model.name, level, append: "", ..Run::new(rom, 1, Accel::Auto) });
    }
}

/// Ten million operations of four harts on a stack that is lost if a store-conditional only compares values.
fn thorough(accel: Accel) {
    let rom = named(test_roms::RISCV64, "smp");
    let append = rom.thorough.expect("a thorough run");
    check(rom, Run { append, limit: 10 * rom.timeout, ..Run::new(rom, 4, accel) });
}

#[test]
fn ten_million_operations_on_the_stack() {
    thorough(Accel::Auto);
}

#[test]
fn ten_million_operations_on_the_stack_interpreted() {
    thorough(Accel::Interp);
}

/// CPUs run code that one of them writes again and again. What goes wrong there does so once in thousands of times: when a
/// vCPU did not wait for the protection of a page, a fifth of the runs with two failed, all of them on riscv64. With four, one
/// may begin to protect a page while others are at it.
fn code_that_changes(list: &'static [Rom], append: &'static str, level: Option<u8>) {
    let rom = named(list, "smp");
    for (cpus, runs) in [(2, 16), (4, 6)] {
        for _ in 0..runs {
            check(rom, Run { append, level, ..Run::new(rom, cpus, Accel::Auto) });
        }
    }
}

#[test]
fn riscv64_code_that_changes() {
    code_that_changes(test_roms::RISCV64, "rounds=2000 ops=1000", None);
}

#[test]
fn aarch64_code_that_changes() {
    code_that_changes(test_roms::AARCH64, "rounds=2000", Some(1));
}

/// User programs that compute any address, with each way to make their accesses.
fn any_address(list: &'static [Rom]) {
    let rom = named(list, "windows");
    let append = rom.thorough.expect("a thorough run");
    for (cpus, windows, regions) in [
        (1, Effort::Off, Effort::Off),
        (1, Effort::Off, Effort::Eager),
        (1, Effort::Eager, Effort::Off),
        (1, Effort::Eager, Effort::Eager),
        // What one vCPU does to a page is done to the windows of all.
        (2, Effort::Eager, Effort::Eager),
    ] {
        let level = rom.levels.first().copied();
        let limit = 2 * rom.timeout;
        check(rom, Run { append, level, windows, regions, limit, ..Run::new(rom, cpus, Accel::Auto) });
    }
}

#[test]
fn riscv64_any_address() {
    any_address(test_roms::RISCV64);
}

#[test]
fn aarch64_any_address() {
    any_address(test_roms::AARCH64);
}

macro_rules! roms {
    ($list:ident, $passes:ident: $($name:ident),*) => {
        use super::$passes;

        $(#[test]
        fn $name() {
            $passes(stringify!($name));
        })*

        #[test]
        fn every_rom_is_here() {
            let names: Vec<_> = test_roms::$list.iter().map(|rom| rom.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

mod riscv64 {
    roms!(RISCV64, passes: traps, csrs, delegation, pmp, smepmp, paging, interrupts, smp, memory, fp, counters, windows);
}

mod aarch64 {
    roms!(AARCH64, arm_passes: exceptions, paging, stage2, interrupts, pmu, psci, secure, smp, vgic, windows);
}
