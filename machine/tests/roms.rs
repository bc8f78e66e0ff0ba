//! Every test ROM passes on the `virt` board, with each number of harts it is meant for.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use machine::{Arch, Console, Ended, Firmware, Machine, MachineConfig};
use test_roms::{RAM_SIZE, Rom};

/// Boots a ROM with no firmware; gives what it printed and how it ended.
fn boot(
    rom: &Rom,
    model: &str,
    harts: usize,
    aclint: bool,
    append: &str,
    limit: Duration,
) -> (String, Ended) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (elf, text) = (folder.path().join("rom.elf"), folder.path().join("console"));
    fs::write(&elf, rom.elf).expect("the ROM's file");
    let mut config = MachineConfig::new(Arch::Riscv64);
    config.cpus = harts;
    config.memory = RAM_SIZE;
    config.cpu = Some(model.to_owned());
    config.firmware = Firmware::None;
    config.kernel = Some(elf);
    config.append = append.to_owned();
    config.console = Console::File(text.clone());
    config.aclint = aclint;
    let mut machine = Machine::new(config).expect("a machine");
    let control = machine.control();
    let (done, ended) = mpsc::channel();
    let watchdog = thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            control.quit();
        }
    });
    let ended = machine.run().expect("a run");
    // The watchdog may have ended already.
    let _ = done.send(());
    watchdog.join().expect("the watchdog");
    let text = fs::read(&text).expect("the console's file");
    (String::from_utf8_lossy(&text).into_owned(), ended)
}

fn check(rom: &Rom, model: &str, harts: usize, aclint: bool, append: &str, limit: Duration) {
    let (text, ended) = boot(rom, model, harts, aclint, append, limit);
    let good = ended == Ended::Off { code: 0 } && text.contains("checks passed");
    assert!(good, "{}, {model}, {harts} harts, aclint {aclint}, ended with {ended:?}:\n{text}", rom.name);
}

fn named(name: &str) -> &'static Rom {
    test_roms::all().iter().find(|rom| rom.name == name).expect("a ROM of that name")
}

fn passes(name: &str) {
    let rom = named(name);
    for &harts in rom.harts {
        for aclint in [false, true] {
            check(rom, "max", harts, aclint, rom.append, rom.timeout);
        }
    }
    // What a model does not name must be absent.
    for model in frontends::riscv::MODELS {
        check(rom, model.name, 1, false, "", rom.timeout);
    }
}

/// The stack's operations, on all executors that are truly parallel.
#[test]
fn ten_million_operations_on_the_stack() {
    let rom = named("smp");
    let append = rom.thorough.expect("a thorough run");
    check(rom, "max", 4, false, append, rom.timeout * 10);
}

macro_rules! roms {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            passes(stringify!($name));
        })*

        #[test]
        fn every_rom_is_here() {
            let names: Vec<_> = test_roms::all().iter().map(|rom| rom.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

roms!(traps, csrs, delegation, pmp, smepmp, paging, interrupts, smp, memory, fp, counters);
