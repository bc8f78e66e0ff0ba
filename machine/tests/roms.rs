//! Every test ROM passes on the `virt` board, with each number of harts it is meant for.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use frontends::riscv;
use machine::{Accel, Arch, Console, Ended, Firmware, Machine, MachineConfig};
use test_roms::{RAM_SIZE, Rom};

/// One run of a ROM.
#[derive(Clone, Copy, Debug)]
struct Run {
    model: &'static str,
    harts: usize,
    accel: Accel,
    aclint: bool,
    append: &'static str,
    limit: Duration,
}

/// Boots a ROM with no firmware; gives what it printed and how it ended.
fn boot(rom: &Rom, run: Run) -> (String, Ended) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (elf, text) = (folder.path().join("rom.elf"), folder.path().join("console"));
    fs::write(&elf, rom.elf).expect("the ROM's file");
    let mut config = MachineConfig::new(Arch::Riscv64);
    config.cpus = run.harts;
    config.memory = RAM_SIZE;
    config.cpu = Some(run.model.to_owned());
    config.firmware = Firmware::None;
    config.kernel = Some(elf);
    config.append = run.append.to_owned();
    config.console = Console::File(text.clone());
    config.accel = run.accel;
    config.aclint = run.aclint;
    let mut machine = Machine::new(config).expect("a machine");
    let control = machine.control();
    let (done, ended) = mpsc::channel();
    let watchdog = thread::spawn(move || {
        if ended.recv_timeout(run.limit) == Err(mpsc::RecvTimeoutError::Timeout) {
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

fn check(rom: &Rom, run: Run) {
    let (text, ended) = boot(rom, run);
    let good = ended == Ended::Off { code: 0 } && text.contains("checks passed");
    assert!(good, "{}, {run:?}, ended with {ended:?}:\n{text}", rom.name);
}

fn named(name: &str) -> &'static Rom {
    test_roms::all().iter().find(|rom| rom.name == name).expect("a ROM of that name")
}

fn passes(name: &str) {
    let rom = named(name);
    let (append, limit) = (rom.append, rom.timeout);
    for &harts in rom.harts {
        for accel in [Accel::Interp, Accel::Auto] {
            check(rom, Run { model: "max", harts, accel, aclint: false, append, limit });
        }
    }
    let harts = rom.harts.last().copied().expect("a number of harts");
    check(rom, Run { model: "max", harts, accel: Accel::Auto, aclint: true, append, limit });
    // What a model does not name must be absent.
    for model in riscv::MODELS {
        check(rom, Run { model: model.name, harts: 1, accel: Accel::Auto, aclint: false, append: "", limit });
    }
}

/// Ten million operations of four harts on a stack that is lost if a store-conditional only compares values.
fn thorough(accel: Accel) {
    let rom = named("smp");
    let append = rom.thorough.expect("a thorough run");
    let limit = 10 * rom.timeout;
    check(rom, Run { model: "max", harts: 4, accel, aclint: false, append, limit });
}

#[test]
fn ten_million_operations_on_the_stack() {
    thorough(Accel::Auto);
}

#[test]
fn ten_million_operations_on_the_stack_interpreted() {
    thorough(Accel::Interp);
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
