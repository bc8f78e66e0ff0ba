//! What the tests of the RISC-V front end have in common: a hart in flat memory, an assembler by table line,
//! random operands.

#![allow(dead_code, reason = "each test uses its own part of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use emu_core::exec::{BlockMap, Engine, Exit, HostRequest, Limits, Vcpu, VcpuParts};
use emu_core::interp::Interpreter;
use emu_core::mem::{BusBuilder, RamBuilder};
use emu_core::sync::Group;
pub use emu_core::testing::Random;
use emu_core::time::Clock;
use frontends::riscv::decode::{Insn, length};
use frontends::riscv::ext::{Ext, ExtSet};
use frontends::riscv::{Config, Hart, MODELS, Riscv};

/// A hart of the model that has everything, in M-mode, with a writable region of memory.
pub fn hart(base: u64, len: u64) -> Hart {
    let ram = RamBuilder::new().region("ram", base, len, true).and_then(RamBuilder::build).unwrap();
    let bus = Arc::new(BusBuilder::new(Arc::new(ram)).build());
    let model = *MODELS.iter().find(|model| model.name == "max").unwrap();
    let config = Config { model, hart_id: 0, timebase_hz: 10_000_000, firmware_calls: true };
    let group = Arc::new(Group::new(1));
    let blocks = Arc::new(BlockMap::default());
    let parts = VcpuParts { index: 0, bus, group, blocks, clock: Clock::real_time() };
    Vcpu::new(Riscv::new(config, None), parts)
}

/// CSRs that let the lower modes do everything: `pmpaddr0` and `pmpcfg0` for all of memory, `menvcfg` and
/// `senvcfg` for cache-block operations, and floating point on.
pub const OPEN: &[(u16, u64)] =
    &[(0x3b0, u64::MAX), (0x3a0, 0x1f), (0x30a, 0xf0), (0x10a, 0xf0), (0x300, 1 << 13)];

/// Writes bytes to guest-physical memory.
pub fn write(hart: &Hart, pa: u64, bytes: &[u8]) {
    let ram = hart.bus.ram();
    let offset = ram.offset_of(pa, bytes.len() as u64).expect("the test's own memory");
    bytes.iter().enumerate().for_each(|(i, byte)| ram.store::<u8>(offset + i, *byte));
}

/// Reads bytes from guest-physical memory.
pub fn read(hart: &Hart, pa: u64, len: usize) -> Vec<u8> {
    let ram = hart.bus.ram();
    let offset = ram.offset_of(pa, len as u64).expect("the test's own memory");
    (0..len).map(|i| ram.load::<u8>(offset + i)).collect()
}

/// Runs until something other than a request to let others run.
pub fn run(hart: &mut Hart, limits: Limits<'_>) -> Exit {
    let mut interpreter = Interpreter::new();
    loop {
        match interpreter.run(hart, limits) {
            Exit::Request(HostRequest::Yield) => {}
            exit => return exit,
        }
    }
}

/// The instruction called `name`.
pub fn insn(name: &str) -> Insn {
    Insn::all().find(|insn| insn.line().name == name).unwrap_or_else(|| panic!("no instruction `{name}`"))
}

/// Assembles: the fields that are not named are zero.
pub fn asm(name: &str, fields: &[(&str, i64)]) -> u32 {
    let line = insn(name).line();
    fields.iter().fold(line.value, |word, (field, value)| {
        let field = line.field(field).unwrap_or_else(|| panic!("no field `{field}` in `{name}`"));
        let word = field.put(word, *value);
        assert_eq!(field.get(word), *value, "`{name}` cannot hold {} = {value}", field.name);
        word
    })
}

/// The lines of all vector files (`tests/vectors.rs` says what is in them), each with its place.
pub fn vector_lines() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut lines = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "ins")) {
        let text = std::fs::read_to_string(file).unwrap();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                let place = format!("{}:{}", file.file_name().unwrap().display(), index + 1);
                lines.push((place, line.to_owned()));
            }
        }
    }
    lines
}

/// The instructions' bytes of a vector, and what follows them.
pub fn vector_bytes(line: &str) -> Option<(Vec<u8>, &str)> {
    let (bytes, rest) = line.strip_prefix('[')?.split_once(']')?;
    let bytes = bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok());
    Some((bytes.collect::<Option<_>>()?, rest))
}

/// How many vectors have each instruction, by the name of its line.
pub fn vector_counts() -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for (_, line) in vector_lines() {
        let (bytes, _) = vector_bytes(&line).unwrap_or_default();
        for insn in words(&bytes).into_iter().filter_map(|word| Insn::decode(word, ExtSet::of(Ext::ALL))) {
            *counts.entry(insn.line().name).or_default() += 1;
        }
    }
    counts
}

/// The instructions' words in a run of bytes.
pub fn words(bytes: &[u8]) -> Vec<u32> {
    let (mut words, mut at) = (Vec::new(), 0);
    while at + 1 < bytes.len() {
        let low = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let len = usize::from(length(low));
        let mut word = [0; 4];
        word[..len].copy_from_slice(&bytes[at..at + len]);
        words.push(u32::from_le_bytes(word));
        at += len;
    }
    words
}

/// Random operands.
pub trait Operands {
    /// An integer operand: as often as not a corner.
    fn int(&mut self) -> u64;

    /// The contents of a floating-point register: a value of one of the formats, often a corner of it, rarely
    /// not boxed.
    fn float(&mut self) -> u64;
}

impl Operands for Random {
    fn int(&mut self) -> u64 {
        const CORNERS: [u64; 16] = [
            0,
            1,
            2,
            u64::MAX,
            i64::MAX as u64,
            i64::MIN as u64,
            i32::MAX as u64,
            i32::MIN as u64,
            0x8000_0000,
            u32::MAX as u64,
            0x1_0000_0000,
            0x7f,
            0x80,
            0x7fff,
            0x8000,
            0xaaaa_5555_cccc_3333,
        ];
        let random = self.bits();
        match random % 8 {
            0..4 => self.pick(&CORNERS),
            4 => self.bits() >> (random >> 8 & 63),
            5 => (self.bits() as i64 >> (random >> 8 & 63)) as u64,
            6 => 1 << (random >> 8 & 63),
            _ => self.bits(),
        }
    }

    fn float(&mut self) -> u64 {
        let random = self.bits();
        let (exponent, fraction) = [(5, 10), (8, 23), (11, 52)][(random % 3) as usize];
        let bits = 1 + exponent + fraction;
        let ones = |n: u32| (1u64 << n) - 1;
        let fraction_bits = match random >> 8 & 7 {
            0 => 0,
            1 => 1,
            2 => ones(fraction),
            3 => 1 << (fraction - 1),
            4 => ones(fraction) ^ 1,
            _ => self.bits() & ones(fraction),
        };
        let bias = ones(exponent - 1);
        let exponent_bits = match random >> 12 & 15 {
            0 | 1 => 0,
            2 | 3 => ones(exponent),
            4 => 1,
            5 => ones(exponent) - 1,
            6 | 7 => bias + self.below(4) - 1,
            8 => bias + (31 + self.below(3)).min(bias),
            9 => bias + (63 + self.below(3)).min(bias),
            10 => bias - u64::from(fraction).min(bias - 1),
            _ => self.bits() & ones(exponent),
        };
        let value = (random >> 16 & 1) << (bits - 1) | exponent_bits << fraction | fraction_bits;
        let boxed = if bits == 64 { value } else { value | u64::MAX << bits };
        if random >> 20 & 31 == 0 { self.bits() } else { boxed }
    }
}
