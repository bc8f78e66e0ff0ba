//! What a machine says it has done is what it has done.

mod support;

use std::time::{Duration, Instant};

use machine::{Accel, Arch, Firmware, Machine, MachineConfig, Stats};
use support::asm::*;
use support::{Outcome, Running};
use tempfile::TempDir;

/// How often the loops of the programs go round.
const ROUNDS: u64 = 100_000;
/// How long a machine may take for that on a busy host.
const LIMIT: Duration = Duration::from_secs(120);

/// A machine that runs `program` on every hart.
fn machine(program: &[u32], harts: usize, accel: Accel) -> (MachineConfig, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("program");
    let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(&path, bytes).expect("a program file");
    let mut config = MachineConfig::new(Arch::Riscv64);
    config.cpus = harts;
    config.memory = 32 << 20;
    config.firmware = Firmware::None;
    config.kernel = Some(path);
    config.accel = accel;
    (config, dir)
}

/// Counts down from [`ROUNDS`], and switches off.
fn countdown() -> Vec<u32> {
    let upper = (ROUNDS >> 12) as u32;
    vec![
        lui(T0, upper),
        addi(T0, T0, (ROUNDS & 0xfff) as i32),
        addi(T0, T0, -1),
        bne(T0, ZERO, -4),
        lui(T1, 0x100),
        lui(T2, 0x5),
        addi(T2, T2, 0x555),
        store(2, T2, T1, 0),
        jump(0),
    ]
}

/// Instructions of [`countdown`] up to the store, which takes effect at the latest some turns of the last jump later.
const COUNTED: u64 = 2 + 2 * ROUNDS + 4;

fn run(accel: Accel) -> Stats {
    assert_eq!(ROUNDS & 0x800, 0, "addi would sign-extend");
    let (config, _dir) = machine(&countdown(), 1, accel);
    let mut machine = Machine::new(config).expect("a machine");
    assert_eq!(machine.stats().vcpus[0].instructions, 0);
    machine.run().expect("a run");
    let stats = machine.stats();
    assert!(stats.vcpus[0].instructions >= COUNTED, "{stats}");
    assert!(stats.vcpus[0].cpu_time > Duration::ZERO && stats.elapsed > Duration::ZERO, "{stats}");
    assert_eq!(machine.stats(), stats, "nothing is counted twice");
    stats
}

#[test]
fn instructions_are_counted_by_both_engines() {
    let interpreted = run(Accel::Interp);
    assert_eq!(interpreted.code, None);
    let translated = run(Accel::Jit);
    let code = translated.code.expect("a translator");
    assert!(code.blocks >= 2 && code.instructions >= 8 && code.code_bytes > 0, "{translated}");
    // What is printed is explained.
    let manual = include_str!("../../docs/debugging.md");
    let text = translated.to_string();
    let (vcpus, code) = text.split_once("translated code\n").expect("two parts");
    let columns = vcpus.lines().nth(1).into_iter().flat_map(str::split_whitespace).skip(1);
    let counters = code.lines().filter_map(|line| line.split_whitespace().next());
    for name in columns.chain(counters) {
        assert!(manual.contains(&format!("`{name}`")), "docs/debugging.md does not explain {name}");
    }
}

#[test]
fn what_an_earlier_run_has_translated_is_not_translated_again() {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let run = || {
        // In lock step it does not depend on how fast anything is.
        let (mut config, _dir) = machine(&countdown(), 1, Accel::Lockstep);
        config.cache = Some(cache.path().join("translations"));
        let mut machine = Machine::new(config).expect("a machine");
        machine.run().expect("a run");
        let control = machine.control();
        machine.end().keep();
        control.stats().code.expect("a translator")
    };
    let cold = run();
    assert!(cold.blocks > 0 && cold.kept_blocks == 0 && cold.kept_saved >= cold.blocks, "{cold}");
    let warm = run();
    assert_eq!((warm.blocks, warm.kept_misses), (0, 0), "{warm}");
    assert!(warm.kept_blocks >= cold.blocks && warm.kept_saved == 0, "{warm}");
}

/// Asks until the answer is as wanted.
fn until(running: &Running, wanted: impl Fn(&Stats) -> bool) -> Stats {
    let deadline = Instant::now() + LIMIT;
    loop {
        let stats = running.stats();
        if wanted(&stats) {
            return stats;
        }
        assert!(Instant::now() < deadline, "{stats}");
    }
}

#[test]
fn running_harts_report_when_asked() {
    // Hart 0 counts for ever, hart 1 waits for an interrupt that never comes.
    const WFI: u32 = 0x1050_0073;
    let program = [bne(A0, ZERO, 12), addi(T0, T0, 1), jump(-4), WFI, jump(-4)];
    let (config, _dir) = machine(&program, 2, Accel::Auto);
    let running = Running::start(config).expect("a machine");
    let mut last = 0;
    for _ in 0..3 {
        // It may not have come to its loop yet, or be slow: all that is asked is that it gets on.
        let stats =
            until(&running, |stats| stats.vcpus[0].instructions > last + 1000 && stats.vcpus[1].waits > 0);
        last = stats.vcpus[0].instructions;
        assert!(stats.vcpus[1].instructions < 1000 + 3 * stats.vcpus[1].waits, "{stats}");
    }
    running.quit();
    assert!(matches!(running.wait(LIMIT), Outcome::Ended(_)));
}

#[test]
fn stopping_the_others_is_counted() {
    // A load-reserved and a store-conditional with a branch on something else in between: no host atomic stands for them.
    let lr = 0x1000_302f | T1 << 15 | T0 << 7;
    let sc = 0x1800_302f | T2 << 20 | T1 << 15 | T5 << 7;
    let program =
        [bne(A0, ZERO, 0), here(T1), addi(T1, T1, 1020), lr, beq(T0, T6, 8), addi(T2, T0, 1), sc, jump(-16)];
    let (config, _dir) = machine(&program, 2, Accel::Auto);
    let running = Running::start(config).expect("a machine");
    until(&running, |stats| stats.vcpus[0].exclusive_stops >= 10);
    running.quit();
    assert!(matches!(running.wait(LIMIT), Outcome::Ended(_)));
}
