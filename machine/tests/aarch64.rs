//! Small programs on the aarch64 board, before there is an operating system: console, PSCI, interrupts.

mod support;

use std::time::Duration;

use machine::{Accel, Arch, Console, Ended, Firmware, GicVersion, MachineConfig};
use support::{Outcome, Running, bytes};

/// How long a program may take, on a busy host.
const LIMIT: Duration = Duration::from_secs(60);

const UART: u32 = 0x0900_0000;
const SYSTEM_OFF: u32 = 0x8400_0008;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0xc400_0003;
const PSCI_VERSION: u32 = 0x8400_0000;
const HVC: u32 = 0xd400_0002;
const SMC: u32 = 0xd400_0003;

/// `MOVZ` and `MOVK`: a 32-bit number.
fn mov(register: u32, value: u32) -> [u32; 2] {
    [0xd280_0000 | (value & 0xffff) << 5 | register, 0xf2a0_0000 | (value >> 16) << 5 | register]
}

/// Stores a word at an address; uses x9 and x10.
fn store(address: u32, value: u32) -> Vec<u32> {
    [mov(9, value), mov(10, address)].concat().into_iter().chain([0xb900_0149]).collect()
}

fn print(text: &str) -> Vec<u32> {
    text.bytes().flat_map(|byte| store(UART, byte.into())).collect()
}

/// Runs a program, which is entered at its first word; what it printed.
fn run(program: &[u32], change: impl FnOnce(&mut MachineConfig)) -> String {
    let (mut config, dir) = support::program(Arch::Aarch64, &bytes(program));
    let text = dir.path().join("console");
    config.console = Console::File(text.clone());
    change(&mut config);
    let running = Running::start(config).unwrap_or_else(|error| panic!("no machine: {error}"));
    let outcome = running.wait(LIMIT);
    let text = std::fs::read_to_string(&text).expect("the console's file");
    assert!(matches!(outcome, Outcome::Ended(Ok(Ended::Off { code: 0 }))), "{outcome:?}: {text}");
    text
}

fn off(call: u32) -> Vec<u32> {
    mov(0, SYSTEM_OFF).into_iter().chain([call]).collect()
}

#[test]
fn prints_and_switches_off() {
    for accel in [Accel::Interp, Accel::Auto] {
        for gic in [GicVersion::V2, GicVersion::V3] {
            let program = [print("hello\n"), off(HVC)].concat();
            let text = run(&program, |config| (config.accel, config.gic) = (accel, Some(gic)));
            assert_eq!(text, "hello\n");
        }
    }
}

#[test]
fn virtualization_is_entered_at_el2_and_calls_by_smc() {
    // CurrentEL, in bits 3:2, as a letter.
    let level = [0xd538_4249, 0xd342_0d29, 0x9101_0129];
    let letter = [&level[..], &mov(10, UART), &[0xb900_0149]].concat();
    let program = |call| [letter.clone(), off(call)].concat();
    assert_eq!(run(&program(SMC), |config| config.virtualization = true), "B");
    assert_eq!(run(&program(HVC), |_| {}), "A");
}

#[test]
fn cpus_switch_each_other_on() {
    // CPU 0 switches on CPU 1 at `second`, with its own address plus 0x100 as argument, and itself off. The other prints its
    // argument's low byte and switches the machine off.
    let entry = 0x4008_0000_u32;
    let mut first = mov(0, PSCI_VERSION).to_vec();
    first.push(HVC);
    let second_at = 64;
    first.extend([mov(0, CPU_ON), mov(1, 1), mov(2, entry + 4 * second_at), mov(3, 0x141)].concat());
    first.push(HVC);
    first.extend(mov(0, CPU_OFF));
    first.push(HVC);
    first.resize(second_at as usize, 0xd503_201f);
    // x0 is the argument.
    let second = [&mov(10, UART)[..], &[0xb900_0140], &off(HVC)].concat();
    let program = [first, second].concat();
    for cpus in [2, 8] {
        assert_eq!(run(&program, |config| config.cpus = cpus), "A");
    }
}

#[test]
fn all_cpus_begin_without_a_firmware() {
    // Each takes a number and prints it as a letter. There is nobody to switch the machine off, so the test pulls the plug.
    // An atomic addition of one; the old value, as a letter, to the console; then a branch to itself.
    let (one, counter) = (mov(12, 1), mov(11, 0x4010_0000));
    let take = [0xb8ec_0169, 0x9101_0529];
    let program = [&one[..], &counter, &take, &mov(10, UART), &[0xb900_0149, 0x1400_0000]];
    let (mut config, dir) = support::program(Arch::Aarch64, &bytes(&program.concat()));
    let text = dir.path().join("console");
    config.cpus = 4;
    config.firmware = Firmware::None;
    config.console = Console::File(text.clone());
    let running = Running::start(config).unwrap_or_else(|error| panic!("no machine: {error}"));
    let start = std::time::Instant::now();
    let printed = loop {
        let mut letters: Vec<u8> = std::fs::read(&text).unwrap_or_default();
        letters.sort_unstable();
        if letters == b"ABCD" || start.elapsed() > LIMIT {
            break letters;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    running.quit();
    assert_eq!(String::from_utf8_lossy(&printed), "ABCD");
    assert!(matches!(running.wait(LIMIT), Outcome::Ended(Ok(Ended::Quit))));
}
