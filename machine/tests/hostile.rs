//! Guests that mean harm, or make none: random code, nonsense in device registers, broken virtqueues.
//!
//! A guest may hurt itself as it likes. The emulator must neither panic nor hang, and must end when told to.

mod support;

use std::ops::Range;
use std::time::Duration;

use emu_core::testing::{Random, seeds};
use machine::{Arch, Console, Ended, Firmware, MachineConfig};
use support::asm::*;
use support::{Outcome, Running, bytes, program_with_devices};
use tempfile::TempDir;

/// Where memory begins, and with it the program.
const RAM: u64 = 0x8000_0000;
const RAM_SIZE: u64 = 32 << 20;
/// How long a program may take that ends by itself, on a busy host.
const LIMIT: Duration = Duration::from_secs(120);

/// A machine that enters `image` at its first byte on every hart, with a disk, a network, an entropy source and a
/// console in its first four virtio slots. What is in the directory is needed as long as it runs.
fn machine(image: &[u8], harts: usize) -> (MachineConfig, TempDir) {
    let (mut config, dir) = program_with_devices(Arch::Riscv64, image);
    config.cpus = harts;
    config.memory = RAM_SIZE;
    config.cpu = Some("max".into());
    config.firmware = Firmware::None;
    config.virtio_console = Some(Console::None);
    (config, dir)
}

/// A memory image under construction.
struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.0.resize(self.0.len().max(end), 0);
        self.0[offset..end].copy_from_slice(bytes);
    }

    fn put_code(&mut self, offset: usize, words: &[u32]) {
        self.put(offset, &bytes(words));
    }

    fn put_words(&mut self, offset: usize, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(offset, &bytes);
    }
}

/// A step of a program that a list describes.
#[derive(Clone, Copy)]
enum Step {
    /// Stores 2^size bytes.
    Store { size: u64, address: u64, value: u64 },
    /// Loads 2^size bytes.
    Load { size: u64, address: u64 },
    /// Goes round a loop so many times.
    Spin(u64),
    /// Waits until the 16-bit number at an address is this one.
    Await { address: u64, value: u16 },
}

impl Step {
    /// In the form that the program reads: operands and operation.
    fn encode(self) -> [u64; 3] {
        match self {
            Self::Store { size, address, value } => [address, value, 1 + size],
            Self::Load { size, address } => [address, 0, 5 + size],
            Self::Spin(times) => [0, times, 9],
            Self::Await { address, value } => [address, u64::from(value), 10],
        }
    }
}

/// Where the lists of the harts are, and what each may take.
const LISTS: usize = 0x10_0000;
const LIST_SHIFT: i32 = 19;
/// Where data for devices is: behind the program, which no device must reach.
const DATA: u64 = RAM + 0x40_0000;
/// Where the program counts the harts that have ended, with their number behind.
const ENDED: i32 = 0x400;

/// A program that takes the steps of each hart's list, passes over those that trap, and switches the machine off when
/// all harts are through.
fn steps_image(lists: &[Vec<Step>]) -> Image {
    const HANDLER: i32 = 0x200;
    let mut code = vec![
        here(T6),
        addi(T0, T6, HANDLER),
        csrw(csr::MTVEC, T0),
        slli(T1, A0, LIST_SHIFT),
        lui(T2, LISTS as u32 >> 12),
        add(S0, T6, T2),
        add(S0, S0, T1),
    ];
    let next = code.len();
    let back = |code: &Vec<u32>| jump((next as i32 - code.len() as i32) * 4);
    code.extend([load(3, T0, S0, 0), load(3, T1, S0, 8), load(3, T2, S0, 16), addi(S0, S0, 24)]);
    // Operation n is the pair of instructions behind n others.
    code.extend([slli(T2, T2, 3), here(T3), add(T3, T3, T2), jalr(ZERO, T3, 12)]);
    let table = code.len();
    code.extend([jump((11 * 2 + 6) * 4), 0]);
    for size in 0..4 {
        code.push(store(size, T1, T0, 0));
        code.push(back(&code));
    }
    for size in 0..4 {
        code.push(load(size, T2, T0, 0));
        code.push(back(&code));
    }
    code.extend([jump(4 * 4), 0, jump(5 * 4), 0]);
    assert_eq!(code.len(), table + 11 * 2);
    code.extend([addi(T1, T1, -1), bne(T1, ZERO, -4)]);
    code.push(back(&code));
    code.extend([lhu(T2, T0, 0), bne(T2, T1, -4)]);
    code.push(back(&code));
    // The end: the last hart switches off.
    code.extend([addi(T0, T6, ENDED), addi(T1, ZERO, 1), amoadd(T1, T1, T0), addi(T1, T1, 1)]);
    code.extend([load(3, T2, T0, 8), bne(T1, T2, 5 * 4)]);
    code.extend([lui(T0, 0x100), lui(T1, 5), addi(T1, T1, 0x555), store(2, T1, T0, 0)]);
    code.push(jump(0));
    assert!(code.len() * 4 <= HANDLER as usize);

    let mut image = Image(Vec::new());
    image.put_code(0, &code);
    image.put_code(HANDLER as usize, &[csrr(T5, csr::MEPC), addi(T5, T5, 4), csrw(csr::MEPC, T5), MRET]);
    image.put_words(ENDED as usize, &[0, lists.len() as u64]);
    for (hart, list) in lists.iter().enumerate() {
        let words: Vec<u64> = list.iter().flat_map(|step| step.encode()).chain([0; 3]).collect();
        assert!(words.len() * 8 <= 1 << LIST_SHIFT, "a list of {} steps", list.len());
        image.put_words(LISTS + (hart << LIST_SHIFT), &words);
    }
    assert!(image.0.len() as u64 <= DATA - RAM);
    image
}

/// Runs a program that must come to its end.
fn expect_end(what: &str, config: MachineConfig) {
    let outcome = Running::start(config).expect("a machine").wait(LIMIT);
    assert!(matches!(outcome, Outcome::Ended(Ok(Ended::Off { code: 0 }))), "{what}: {outcome:?}");
}

#[test]
fn nonsense_in_every_register() {
    for seed in seeds(4) {
        let mut rng = Random(seed);
        let lists: Vec<_> = (0..2).map(|_| nonsense(&mut rng, 20_000)).collect();
        let mut image = steps_image(&lists);
        // What rings and buffers are made of, should a device find any.
        let data: Vec<u64> = (0..0x8000).map(|_| register_value(&mut rng)).collect();
        image.put_words((DATA - RAM) as usize, &data);
        let (mut config, _dir) = machine(&image.0, lists.len());
        config.virtio_legacy = seed & 1 != 0;
        config.aclint = seed & 2 != 0;
        expect_end(&format!("seed {seed}"), config);
    }
}

/// Register space of all devices but the test finisher, which would end the program.
const DEVICES: &[Range<u64>] = &[
    0x0010_1000..0x0010_1100, // RTC
    0x0200_0000..0x0200_0040, // software interrupts
    0x0200_4000..0x0200_4040, // timers
    0x0200_bff0..0x0200_c000, // time
    0x02f0_0000..0x02f0_0040, // supervisor software interrupts
    0x0c00_0000..0x0c00_0200, // PLIC: priorities
    0x0c00_1000..0x0c00_1020, // pending
    0x0c00_2000..0x0c00_2400, // enables
    0x0c20_0000..0x0c20_4010, // thresholds and claims
    0x0c00_0000..0x0c60_0000,
    0x1000_0000..0x1000_0100, // UART
    0x1000_1000..0x1000_1200, // disk
    0x1000_2000..0x1000_2200, // network
    0x1000_3000..0x1000_3200, // entropy
    0x1000_4000..0x1000_4200, // console
    0x1000_5000..0x1000_5200, // an empty slot
];

fn nonsense(rng: &mut Random, count: usize) -> Vec<Step> {
    let step = |rng: &mut Random| {
        let range = &DEVICES[rng.below(DEVICES.len() as u64) as usize];
        let size = [0, 1, 2, 2, 2, 2, 2, 3][rng.below(8) as usize];
        let mut address = range.start + rng.below(range.end - range.start);
        if rng.below(8) != 0 {
            address &= !((1 << size) - 1);
        }
        match rng.below(3) {
            0 => Step::Load { size, address },
            _ => Step::Store { size, address, value: register_value(rng) },
        }
    };
    (0..count).map(|_| step(rng)).collect()
}

/// A value that a register may take seriously: small, all ones, an address, a bit, or anything. None leads a device
/// into the program.
fn register_value(rng: &mut Random) -> u64 {
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

/// Descriptor flags (Virtual I/O Device 1.2, section 2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A queue in a piece of memory of its own.
struct Queue {
    size: u64,
    table: u64,
    available: u64,
    used: u64,
}

/// Bytes of memory for each queue, and what is where in them.
const PIECE: u64 = 0x1_0000;
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x8000;
const BUFFER: u64 = 0xc000;

/// Something to put into memory before the program runs.
type Patch = (u64, Vec<u8>);

fn descriptor(address: u64, length: u32, flags: u16, next: u16) -> Vec<u8> {
    [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat()
}

/// An available ring with these heads, and an index that may say otherwise.
fn available(heads: &[u16], index: u16) -> Vec<u8> {
    [0, index].iter().chain(heads).flat_map(|value| value.to_le_bytes()).collect()
}

/// A queue of 8 in the piece of memory at `at` whose first entry is this chain.
fn queue(at: u64, descriptors: &[Vec<u8>]) -> (Queue, Vec<Patch>) {
    let queue = Queue { size: 8, table: at, available: at + AVAILABLE, used: at + USED };
    (queue, vec![(at, descriptors.concat()), (at + AVAILABLE, available(&[0], 1))])
}

/// Makes a queue in the piece of memory at the address given, and what is written there.
type Breaker = fn(u64) -> (Queue, Vec<Patch>);

/// Queues that break the rules.
const BROKEN: &[(&str, Breaker)] = &[
    ("descriptor follows itself", |at| queue(at, &[descriptor(at + BUFFER, 16, NEXT, 0)])),
    ("descriptor to write follows itself", |at| queue(at, &[descriptor(at + BUFFER, 16, NEXT | WRITE, 0)])),
    ("two in a circle", |at| {
        let first = descriptor(at + BUFFER, 16, NEXT, 1);
        queue(at, &[first, descriptor(at + BUFFER, 512, NEXT | WRITE, 0)])
    }),
    ("next is outside the table", |at| queue(at, &[descriptor(at + BUFFER, 16, NEXT, 0xffff)])),
    ("head is outside the table", |at| {
        let (queue, mut patches) = queue(at, &[]);
        patches.push((at + AVAILABLE, available(&[8, 0xffff], 2)));
        (queue, patches)
    }),
    ("index is far ahead", |at| {
        let (queue, mut patches) = queue(at, &[descriptor(at + BUFFER, 16, WRITE, 0)]);
        patches.push((at + AVAILABLE, available(&[0; 8], 0x8001)));
        (queue, patches)
    }),
    ("buffer at zero", |at| queue(at, &[descriptor(0, 64, 0, 0)])),
    ("buffer to write in the reset ROM", |at| queue(at, &[descriptor(0x1000, 64, WRITE, 0)])),
    ("buffer in device registers", |at| queue(at, &[descriptor(0x1000_1000, 64, WRITE, 0)])),
    ("buffer at the end of the address space", |at| queue(at, &[descriptor(u64::MAX - 7, 64, WRITE, 0)])),
    ("buffer over the end of memory", |at| queue(at, &[descriptor(RAM + RAM_SIZE - 8, 64, WRITE, 0)])),
    ("buffer of 4 GiB", |at| queue(at, &[descriptor(at + BUFFER, u32::MAX, WRITE, 0)])),
    ("4 GiB to read", |at| queue(at, &[descriptor(at + BUFFER, u32::MAX, 0, 0)])),
    ("many buffers as large as memory", |at| {
        let all = (0..8).map(|i| descriptor(DATA, (RAM + RAM_SIZE - DATA) as u32, NEXT, i + 1));
        queue(at, &all.collect::<Vec<_>>())
    }),
    ("empty buffer", |at| queue(at, &[descriptor(at + BUFFER, 0, 0, 0)])),
    ("empty buffer to write", |at| queue(at, &[descriptor(at + BUFFER, 0, WRITE, 0)])),
    ("one byte", |at| queue(at, &[descriptor(at + BUFFER, 1, 0, 0)])),
    ("read after write", |at| {
        let first = descriptor(at + BUFFER, 16, NEXT | WRITE, 1);
        queue(at, &[first, descriptor(at + BUFFER, 16, NEXT, 2), descriptor(at + BUFFER, 1, WRITE, 0)])
    }),
    ("request of no known type beyond the end", |at| {
        let (queue, mut patches) = queue(
            at,
            &[
                descriptor(at + BUFFER, 16, NEXT, 1),
                descriptor(at + BUFFER + 0x100, 512, NEXT | WRITE, 2),
                descriptor(at + BUFFER + 0x400, 1, WRITE, 0),
            ],
        );
        patches.push((at + BUFFER, vec![0xff; 16]));
        (queue, patches)
    }),
    ("read of the disk's last sectors and more", |at| {
        let (queue, mut patches) = queue(
            at,
            &[
                descriptor(at + BUFFER, 16, NEXT, 1),
                descriptor(at + BUFFER + 0x100, 4096, NEXT | WRITE, 2),
                descriptor(at + BUFFER + 0x2000, 1, WRITE, 0),
            ],
        );
        patches.push((at + BUFFER, [[0; 8], 2047_u64.to_le_bytes()].concat()));
        (queue, patches)
    }),
    ("indirect table of no length", |at| queue(at, &[descriptor(at + BUFFER, 0, INDIRECT, 0)])),
    ("indirect table of a length between", |at| queue(at, &[descriptor(at + BUFFER, 17, INDIRECT, 0)])),
    ("indirect table outside memory", |at| queue(at, &[descriptor(0x4000_0000, 64, INDIRECT, 0)])),
    ("indirect table of 4 GiB", |at| queue(at, &[descriptor(at + BUFFER, 0xffff_fff0, INDIRECT, 0)])),
    ("indirect table that goes on", |at| queue(at, &[descriptor(at + BUFFER, 32, INDIRECT | NEXT, 0)])),
    ("indirect table in itself", |at| {
        let (queue, mut patches) = queue(at, &[descriptor(at + BUFFER, 32, INDIRECT, 0)]);
        patches.push((at + BUFFER, descriptor(at + BUFFER, 32, INDIRECT, 0)));
        (queue, patches)
    }),
    ("circle in an indirect table", |at| {
        let (queue, mut patches) = queue(at, &[descriptor(at + BUFFER, 0x1000, INDIRECT, 0)]);
        patches.push((at + BUFFER, descriptor(at + BUFFER + 0x2000, 8, NEXT, 0)));
        (queue, patches)
    }),
    ("table outside memory", |at| (Queue { table: 0, ..queue(at, &[]).0 }, queue(at, &[]).1)),
    ("table over the end of memory", |at| {
        (Queue { table: RAM + RAM_SIZE - 16, ..queue(at, &[]).0 }, queue(at, &[]).1)
    }),
    ("available ring outside memory", |at| {
        (Queue { available: u64::MAX - 1, ..queue(at, &[]).0 }, queue(at, &[]).1)
    }),
    ("used ring in device registers", |at| {
        let (queue, patches) = queue(at, &[descriptor(at + BUFFER, 16, WRITE, 0)]);
        (Queue { used: 0x1000_0000, ..queue }, patches)
    }),
    ("used ring over the end of memory", |at| {
        let (queue, patches) = queue(at, &[descriptor(at + BUFFER, 16, WRITE, 0)]);
        (Queue { used: RAM + RAM_SIZE - 4, ..queue }, patches)
    }),
    ("all parts in one place", |at| {
        (Queue { table: at, available: at, used: at, size: 8 }, queue(at, &[]).1)
    }),
    ("odd addresses", |at| {
        (
            Queue { table: at + 1, available: at + AVAILABLE + 1, used: at + USED + 1, size: 8 },
            queue(at, &[]).1,
        )
    }),
    ("size zero", |at| (Queue { size: 0, ..queue(at, &[]).0 }, queue(at, &[]).1)),
    ("size no power of two", |at| (Queue { size: 7, ..queue(at, &[]).0 }, queue(at, &[]).1)),
    ("size beyond all", |at| (Queue { size: 0xffff_ffff, ..queue(at, &[]).0 }, queue(at, &[]).1)),
];

/// What a driver does with queue `number` of the device at `base`, from reset to the first notification (Virtual I/O
/// Device 1.2, section 4.2.2).
fn drive(base: u64, number: u64, queue: &Queue) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut write = |offset: u64, value: u64| {
        steps.push(Step::Store { size: 2, address: base + offset, value });
    };
    write(0x070, 0); // reset
    write(0x070, 1);
    write(0x070, 3); // acknowledged, with a driver
    write(0x024, 0);
    write(0x020, 1 << 28 | 1 << 29); // indirect descriptors, event indices
    write(0x024, 1);
    write(0x020, 1); // version 1
    write(0x070, 11); // features are chosen
    write(0x030, number);
    write(0x038, queue.size);
    for (offset, value) in [(0x080, queue.table), (0x090, queue.available), (0x0a0, queue.used)] {
        write(offset, value & 0xffff_ffff);
        write(offset + 4, value >> 32);
    }
    write(0x044, 1); // the queue is ready
    write(0x070, 15); // so is the driver
    write(0x050, number);
    steps
}

#[test]
fn broken_virtqueues() {
    // Each device with the queues that it has.
    let queues = [
        (0x1000_1000, 0),
        (0x1000_2000, 0),
        (0x1000_2000, 1),
        (0x1000_3000, 0),
        (0x1000_4000, 0),
        (0x1000_4000, 1),
    ];
    let mut patches = Vec::new();
    let mut steps = Vec::new();
    let mut piece = DATA;
    for (base, number) in queues {
        for (_, make) in BROKEN {
            let (queue, memory) = make(piece);
            piece += PIECE;
            patches.extend(memory);
            steps.extend(drive(base, number, &queue));
            steps.push(Step::Spin(3000));
        }
        assert!(piece < RAM + RAM_SIZE - PIECE);
    }
    // After all that, every device still does its work: the disk reads a sector, the entropy source fills a buffer.
    let (sector, mut memory) = queue(
        piece,
        &[
            descriptor(piece + BUFFER, 16, NEXT, 1),
            descriptor(piece + BUFFER + 0x100, 512, NEXT | WRITE, 2),
            descriptor(piece + BUFFER + 0x400, 1, WRITE, 0),
        ],
    );
    // In place of the status that the disk gives: none.
    memory.push((piece + BUFFER + 0x400, vec![0xff]));
    patches.extend(memory);
    steps.extend(drive(0x1000_1000, 0, &sector));
    steps.push(Step::Await { address: sector.used + 2, value: 1 });
    steps.push(Step::Await { address: piece + BUFFER + 0x100, value: 0x5a5a });
    steps.push(Step::Await { address: piece + BUFFER + 0x400, value: 0 });
    piece += PIECE;
    let (random, memory) = queue(piece, &[descriptor(piece + BUFFER, 64, WRITE, 0)]);
    patches.extend(memory);
    steps.extend(drive(0x1000_3000, 0, &random));
    steps.push(Step::Await { address: random.used + 2, value: 1 });

    let mut image = steps_image(&[steps]);
    for (address, bytes) in patches {
        image.put((address - RAM) as usize, &bytes);
    }
    let (config, _dir) = machine(&image.0, 1);
    expect_end("broken virtqueues", config);
}

/// How many random programs there are, and how long each may run.
const PROGRAMS: u64 = 60;
const PROGRAM_TIME: Duration = Duration::from_millis(150);

#[test]
fn random_code() {
    for seed in seeds(PROGRAMS) {
        let image = random_image(&mut Random(seed));
        let (config, _dir) = machine(&image.0, 1 + (seed % 2) as usize);
        match Running::start(config).expect("a machine").wait(PROGRAM_TIME) {
            Outcome::Ended(Ok(_)) | Outcome::Late => {}
            outcome => panic!("seed {seed}: {outcome:?}"),
        }
    }
}

/// 4 KiB of random code, with a trap handler that puts the machine into some order and goes on elsewhere in it, in some
/// privilege mode.
fn random_image(rng: &mut Random) -> Image {
    /// Where the code is; where the handler finds the values for the registers, and the number of traps.
    const CODE: u32 = 0x1000;
    const REGISTERS: i32 = 0x400;
    const TRAPS: i32 = 0x600;
    const HANDLER: i32 = 0x40;
    let mut image = Image(Vec::new());
    image.put_code(0, &[here(T6), addi(T0, T6, HANDLER), csrw(csr::MTVEC, T0), jump(HANDLER - 12)]);
    let mut handler = vec![
        // Loads are those of machine mode, with translation and protection as at reset where they are not locked.
        csrw(csr::MSTATUS, ZERO),
        csrw(csr::SATP, ZERO),
        csrw(csr::MEDELEG, ZERO),
        addi(T0, ZERO, -1),
        csrw(csr::PMPADDR0, T0),
        addi(T0, ZERO, 0x1f),
        csrw(csr::PMPCFG0, T0),
        here(T6),
    ];
    let base = -HANDLER - 4 * (handler.len() as i32 - 1);
    handler.extend([
        addi(T6, T6, base),
        addi(T0, T6, TRAPS),
        // An odd step takes the low bits through all values.
        addi(T1, ZERO, 1234 + 1),
        amoadd(T2, T1, T0),
        slli(T2, T2, 1),
        lui(T3, CODE >> 12),
        add(T3, T3, T6),
        andi(T1, T2, 0x7fe),
        slli(T1, T1, 1),
        add(T3, T3, T1),
        csrw(csr::MEPC, T3),
        // The previous mode, interrupt enables, floating point on or off: from the count too.
        slli(T2, T2, 4),
        csrw(csr::MSTATUS, T2),
        csrw(csr::MIE, ZERO),
    ]);
    handler.extend((RA..T6).map(|register| load(3, register, T6, REGISTERS + 8 * register as i32)));
    handler.extend([load(3, T6, T6, REGISTERS + 8 * T6 as i32), MRET]);
    assert!(HANDLER as usize + handler.len() * 4 <= REGISTERS as usize);
    image.put_code(HANDLER as usize, &handler);
    let registers: Vec<u64> = (0..32)
        .map(|_| match rng.below(4) {
            0 => RAM + u64::from(CODE) + rng.below(0x1000),
            1 => {
                let range = &DEVICES[rng.below(DEVICES.len() as u64) as usize];
                range.start + rng.below(range.end - range.start)
            }
            _ => register_value(rng),
        })
        .collect();
    image.put_words(REGISTERS as usize, &registers);
    let code: Vec<u32> = (0..1024).map(|_| random_instruction(rng)).collect();
    image.put_code(CODE as usize, &code);
    image
}

/// Half of them likely to mean something.
fn random_instruction(rng: &mut Random) -> u32 {
    /// The major opcodes with a length of 32 bits.
    const OPCODES: [u32; 16] =
        [0x03, 0x07, 0x0f, 0x13, 0x17, 0x1b, 0x23, 0x27, 0x2f, 0x33, 0x37, 0x3b, 0x43, 0x53, 0x63, 0x6f];
    let word = rng.bits() as u32;
    match rng.below(8) {
        // Short jumps keep the code in its page.
        0 => branch_within(rng, word),
        1 => [FENCE_I, MRET, 0x1020_0073, 0x0000_0073, 0x1200_0073][rng.below(5) as usize],
        2 => word & !0x7f | 0x73, // system
        3 => word,
        _ => word & !0x7f | OPCODES[rng.below(16) as usize],
    }
}

fn branch_within(rng: &mut Random, word: u32) -> u32 {
    let offset = (rng.below(64) as i32 - 32) * 4;
    if rng.below(2) == 0 { jump(offset) } else { beq(word & 31, word >> 5 & 31, offset) }
}
