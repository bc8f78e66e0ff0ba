//! Guests of the aarch64 board that mean harm, or make none: nonsense in device registers, random code.
//!
//! A guest may hurt itself as it likes. The emulator must neither panic nor hang, and must end when told to.

mod support;

use std::ops::Range;
use std::time::Duration;

use emu_core::testing::{Random, seeds};
use machine::{Arch, Ended, GicVersion, MachineConfig};
use support::{Outcome, Running, bytes, program_with_devices};
use tempfile::TempDir;

/// Where memory begins, where programs are in it, and where data for devices is, which no device must leave.
const RAM: u64 = 0x4000_0000;
const RAM_SIZE: u64 = 64 << 20;
const ENTRY: u64 = RAM + 0x8_0000;
const DATA: u64 = RAM + 0x200_0000;
/// How long a program may take that ends by itself, on a busy host.
const LIMIT: Duration = Duration::from_secs(120);

/// Register space of all devices.
const DEVICES: &[Range<u64>] = &[
    0x0800_0000..0x0800_1000, // GIC distributor
    0x0800_6000..0x0800_6900, // its routes
    0x0801_0000..0x0801_0100, // GICv2 CPU interface
    0x0802_0000..0x0802_0050, // GICv2m
    0x0803_0000..0x0803_0110, // GICv2 virtual interface control
    0x0804_0000..0x0804_0100, // GICv2 virtual CPU interface
    0x0808_0000..0x0808_0140, // ITS
    0x0809_0000..0x0809_0050, // its translation frame
    0x080a_0000..0x080a_0080, // GICv3 redistributors
    0x080b_0000..0x080b_0d10,
    0x080c_0000..0x080e_0000,
    0x0900_0000..0x0900_0050, // UART
    0x0901_0000..0x0901_0020, // RTC
    0x0902_0000..0x0902_0018, // fw_cfg
    0x0903_0000..0x0903_0424, // GPIO
    0x0a00_0000..0x0a00_0800, // disk, network, entropy, an empty slot
];

/// A machine with a disk, a network and an entropy source that runs a program of these words.
fn machine(program: &[u32], cpus: usize, gic: GicVersion) -> (MachineConfig, TempDir) {
    let image = bytes(program);
    assert!(ENTRY + (image.len() as u64) < DATA, "{} bytes of program", image.len());
    let (mut config, dir) = program_with_devices(Arch::Aarch64, &image);
    config.cpus = cpus;
    config.memory = RAM_SIZE;
    config.gic = Some(gic);
    config.virtualization = true;
    (config, dir)
}

/// A 64-bit number in register `register`.
fn mov(register: u32, value: u64) -> [u32; 4] {
    std::array::from_fn(|part| {
        let opcode = if part == 0 { 0xd280_0000 } else { 0xf280_0000 };
        opcode | (part as u32) << 21 | ((value >> (16 * part)) as u32 & 0xffff) << 5 | register
    })
}

const SMC: u32 = 0xd400_0003;
const ERET: u32 = 0xd69f_03e0;

/// A PSCI call with these arguments.
fn call(function: u64, args: [u64; 3]) -> Vec<u32> {
    let registers = [function, args[0], args[1], args[2]].into_iter().zip(0..);
    registers.flat_map(|(value, register)| mov(register, value)).chain([SMC]).collect()
}

/// The access that `ldr` or `str` of 2^`size` bytes of `x1` at `x0` makes.
fn access(size: u64, load: bool) -> u32 {
    0x3900_0001 | (size as u32) << 30 | u32::from(load) << 22
}

/// Sixteen vectors at a 2 KiB boundary, each of which branches to `handler`, words behind their beginning.
fn vectors(handler: u32) -> Vec<u32> {
    let mut words = vec![0; 0x200];
    for entry in 0..16 {
        let at = entry * 0x20;
        words[at as usize] = 0x1400_0000 | (handler - at) & 0x3ff_ffff;
    }
    words
}

/// A program for one CPU: passes over what traps, accesses devices as told, and ends with `end`. `at` is its address, at
/// a 2 KiB boundary.
fn nonsense(rng: &mut Random, at: u64, count: usize, end: &[u32]) -> Vec<u32> {
    // A branch over the vectors, and the handler behind them.
    let mut program = vectors(0x204);
    program[0] = 0x1400_0210;
    program.resize(0x204, 0xd503_201f);
    // mrs x9, elr_el2; add x9, x9, #4; msr elr_el2, x9
    program.extend([0xd53c_4029, 0x9100_1129, 0xd51c_4029, ERET]);
    program.resize(0x210, 0xd503_201f);
    // msr vbar_el2, x0; isb
    program.extend(mov(0, at));
    program.extend([0xd51c_c000, 0xd503_3fdf]);
    for _ in 0..count {
        let range = &DEVICES[rng.below(DEVICES.len() as u64) as usize];
        let size = [0, 1, 2, 2, 2, 2, 2, 3][rng.below(8) as usize];
        let mut address = range.start + rng.below(range.end - range.start);
        if rng.below(8) != 0 {
            address &= !((1 << size) - 1);
        }
        program.extend(mov(0, address));
        program.extend(mov(1, value(rng)));
        program.push(access(size, rng.below(3) == 0));
    }
    program.extend(end);
    program
}

/// A value that a register may take seriously: small, all ones, an address, a bit, or anything. None leads a device into
/// the program.
fn value(rng: &mut Random) -> u64 {
    let value = match rng.below(6) {
        0 => rng.below(16),
        1 => u64::MAX,
        2 => DATA + rng.below(0x2_0000),
        3 => 1 << rng.below(64),
        4 => RAM + RAM_SIZE - rng.below(64),
        _ => rng.bits(),
    };
    if (RAM..DATA).contains(&(value & 0xffff_ffff)) { DATA } else { value }
}

#[test]
fn nonsense_in_every_register() {
    const COUNT: usize = 10_000;
    for seed in seeds(4) {
        let mut rng = Random(seed);
        let gic = if seed % 2 == 0 { GicVersion::V3 } else { GicVersion::V2 };
        // The first CPU starts the second, which does the same and then stops; the first switches off.
        let second_at = ENTRY + 0x80_0000;
        let mut program = call(0xc400_0003, [1, second_at, 0]);
        program.resize(0x200, 0xd503_201f);
        program.extend(nonsense(&mut rng, ENTRY + 0x800, COUNT, &call(0x8400_0008, [0; 3])));
        program.resize(0x20_0000, 0);
        program.extend(nonsense(&mut rng, second_at, COUNT, &call(0x8400_0002, [0; 3])));
        let (config, _dir) = machine(&program, 2, gic);
        let outcome = Running::start(config).expect("a machine").wait(LIMIT);
        assert!(matches!(outcome, Outcome::Ended(Ok(Ended::Off { code: 0 }))), "seed {seed}: {outcome:?}");
    }
}

/// How many random programs there are, and how long each may run.
const PROGRAMS: u64 = 60;
const PROGRAM_TIME: Duration = Duration::from_millis(150);

#[test]
fn random_code() {
    for seed in seeds(PROGRAMS) {
        let program = random_program(&mut Random(seed));
        let gic = if seed % 4 < 2 { GicVersion::V3 } else { GicVersion::V2 };
        let (config, _dir) = machine(&program, 1 + (seed % 2) as usize, gic);
        match Running::start(config).expect("a machine").wait(PROGRAM_TIME) {
            Outcome::Ended(Ok(_)) | Outcome::Late => {}
            outcome => panic!("seed {seed}: {outcome:?}"),
        }
    }
}

/// 4 KiB of random code at 0x1000 bytes from the entry, with a handler of everything that gives the registers new values
/// and goes on elsewhere in it, at some exception level.
fn random_program(rng: &mut Random) -> Vec<u32> {
    const CODE: u64 = 0x1000;
    let (table, count) = (DATA, DATA + 0x100);
    let mut program = vectors(0x204);
    program[0] = 0x1400_0250;
    program.resize(0x204, 0xd503_201f);
    program.extend(mov(0, count));
    program.extend([
        0xf940_0001, // ldr x1, [x0]
        0x9101_7421, // add x1, x1, #93
        0xf900_0001, // str x1, [x0]
        0x927e_2022, // and x2, x1, #0x7fc
    ]);
    program.extend(mov(3, ENTRY + CODE));
    program.extend([
        0x8b03_0042, // add x2, x2, x3
        0xd51c_4022, // msr elr_el2, x2
        0x927c_0421, // and x1, x1, #0x30: EL0 or EL1 or EL2 by two bits of the count
        0xd344_fc21, // lsr x1, x1, #4
        0xd37e_f421, // lsl x1, x1, #2
        0xd51c_4001, // msr spsr_el2, x1
    ]);
    program.extend(mov(0, table));
    // ldr xN, [x0, #8 * N], the last x0 itself.
    program.extend((1..31).map(|n| 0xf940_0000 | n << 10 | n));
    program.extend([0xf940_0000, ERET]);
    assert!(program.len() <= 0x250, "{:#x}", program.len());
    program.resize(0x250, 0xd503_201f);
    program.extend(mov(0, ENTRY));
    program.extend([0xd51c_c000, 0xd503_3fdf]);
    // The table of register values.
    program.extend(mov(0, table));
    for n in 0..31 {
        let register = match rng.below(3) {
            0 => DATA + rng.below(0x1_0000),
            1 => {
                let range = &DEVICES[rng.below(DEVICES.len() as u64) as usize];
                range.start + rng.below(range.end - range.start)
            }
            _ => value(rng),
        };
        program.extend(mov(1, register));
        program.push(0xf900_0001 | n << 10); // str x1, [x0, #8 * n]
    }
    program.resize((CODE / 4) as usize, 0xd503_201f);
    program.extend((0..1024).map(|_| random_instruction(rng)));
    program
}

/// Half of them likely to mean something.
fn random_instruction(rng: &mut Random) -> u32 {
    let word = rng.bits() as u32;
    // Bits 28:25 are the major group (DDI 0487, C4.1).
    let group = |bits: u32| word & !(0xf << 25) | bits << 25;
    match rng.below(8) {
        0 => word,
        1 => 0xd500_0000 | word & 0x3f_ffff, // system
        2 => [ERET, 0xd503_203f, 0xd503_3fdf, 0xd400_0001, SMC][rng.below(5) as usize],
        3 => group(0b0100), // loads and stores
        4 => group(0b1100),
        5 => group(0b0101), // data processing
        6 => group(0b1000),
        _ => group([0b0111, 0b1111, 0b1010][rng.below(3) as usize]),
    }
}
