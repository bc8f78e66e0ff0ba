//! What the tests of all instruction sets have in common: vCPUs that run, an assembler by table line, random
//! operands; [`oracle`], [`vectors`] and [`golden`] for what these tests are.

#![allow(dead_code, reason = "each test uses its own part of it")]

pub mod golden;
pub mod oracle;
pub mod vectors;

use emu_core::exec::{Engine, Exception, Exit, FetchCode, HostRequest, Isa, Limits, Vcpu};
use emu_core::interp::Interpreter;
pub use emu_core::testing::{Random, vcpu};
use frontends::decode::{Features, Line};

/// Writes bytes to guest-physical memory.
pub fn write<I: Isa>(vcpu: &Vcpu<I>, pa: u64, bytes: &[u8]) {
    let ram = vcpu.bus.ram();
    let offset = ram.offset_of(pa, bytes.len() as u64).expect("the test's own memory");
    bytes.iter().enumerate().for_each(|(i, byte)| ram.store::<u8>(offset + i, *byte));
    ram.code_pages().note_write(offset, bytes.len());
}

/// Reads bytes from guest-physical memory.
pub fn read<I: Isa>(vcpu: &Vcpu<I>, pa: u64, len: usize) -> Vec<u8> {
    let ram = vcpu.bus.ram();
    let offset = ram.offset_of(pa, len as u64).expect("the test's own memory");
    (0..len).map(|i| ram.load::<u8>(offset + i)).collect()
}

/// Runs until something other than a request to let others run.
pub fn run<I: Isa>(vcpu: &mut Vcpu<I>, limits: Limits<'_>) -> Exit {
    let mut interpreter = Interpreter::new();
    loop {
        match interpreter.run(vcpu, limits) {
            Exit::Request(HostRequest::Yield) => {}
            exit => return exit,
        }
    }
}

/// Assembles an instruction: the fields that are not named are zero.
pub fn assemble<F: Features>(line: &Line<F>, fields: &[(&str, i64)]) -> u32 {
    fields.iter().fold(line.value, |word, (field, value)| {
        let name = line.name;
        let field = line.field(field).unwrap_or_else(|| panic!("no field `{field}` in `{name}`"));
        let word = field.put(word, *value);
        assert_eq!(field.get(word), *value, "`{name}` cannot hold {} = {value}", field.name);
        word
    })
}

/// Code at the start of a page.
pub struct Code(pub Vec<u8>);

impl FetchCode for Code {
    fn half(&mut self, offset: u32) -> Result<u16, Exception> {
        let at = offset as usize;
        match self.0.get(at..at + 2) {
            Some(&[low, high]) => Ok(u16::from_le_bytes([low, high])),
            _ => Err(Exception::new(12, offset.into())),
        }
    }
}

/// Random operands.
pub trait Operands {
    /// An integer operand: as often as not a corner.
    fn int(&mut self) -> u64;

    /// A floating-point value of one of the formats, often a corner of it, with ones above it; rarely any bits.
    fn float(&mut self) -> u64;

    /// A value of format 0 (binary16), 1 or 2 (binary64), often a corner of it.
    fn float_in(&mut self, format: usize) -> u64;

    /// Lanes of 8, 16, 32 or 64 bits, often corners of them.
    fn lanes(&mut self, size: usize) -> u64;

    /// Lanes of floating-point values of a format.
    fn floats(&mut self, format: usize) -> u64;
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
        let format = self.below(3) as usize;
        let (value, bits) = (self.float_in(format), 16 << format);
        let boxed = if bits == 64 { value } else { value | u64::MAX << bits };
        if self.below(32) == 0 { self.bits() } else { boxed }
    }

    fn float_in(&mut self, format: usize) -> u64 {
        let random = self.bits();
        let (exponent, fraction) = [(5, 10), (8, 23), (11, 52)][format];
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
        (random >> 16 & 1) << (bits - 1) | exponent_bits << fraction | fraction_bits
    }

    fn lanes(&mut self, size: usize) -> u64 {
        let bits = 8 << size;
        (0..64 / bits).fold(0, |all, lane| {
            let random = self.bits();
            let sign = 1u64 << (bits - 1);
            let value = match random & 15 {
                0 | 1 => 0,
                2 => 1,
                3 => sign,
                4 => sign - 1,
                5 => u64::MAX,
                6 => u64::MAX - 1,
                7 => random >> 8 & 0x7f,
                8 => (random >> 8 & 0x7f).wrapping_neg(),
                _ => random >> 8 ^ random << 56,
            };
            all | (value & u64::MAX >> (64 - bits)) << (lane * bits)
        })
    }

    fn floats(&mut self, format: usize) -> u64 {
        let bits = 16 << format;
        (0..64 / bits).fold(0, |all, lane| all | self.float_in(format) << (lane * bits))
    }
}
