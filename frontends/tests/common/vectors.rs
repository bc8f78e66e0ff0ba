//! One-line instruction vectors, `vectors/*.ins` of each instruction set: decoding, disassembly and meaning in one line.
//!
//! ```text
//! [33 05 b5 00] "add a0,a0,a1" a0=5 a1=-7 => a0=-2;
//! ```
//!
//! Bytes, one instruction or several; their disassembly, several separated by `; `, branch targets relative
//! to an address of zero; then what is set before and what has changed after. Everything that is not named
//! must have stayed as it was, but for the program counter, which must be behind the instructions.
//!
//! Names are those of the instruction set, and `m1`, `m2`, `m4`, `m8` with an address, `m8[0x100]`, for memory, which
//! is relative to a region of two pages with a device-free hole behind, and which is zero at first.
//!
//! Values: decimal or hexadecimal numbers of up to 128 bits; `s(1.5)`, `d(-inf)`, `h(nan)` floating-point values, with ones
//! above; `@0x10` an address in the memory region; `^4` an address relative to the first instruction.
//!
//! Each vector runs twice: in blocks, and in single steps.

use std::collections::BTreeMap;
use std::path::Path;

use emu_core::exec::{Isa, Vcpu};
use emu_core::fp::{Env, F16, F64, Flags, Round};

use super::{read, write};

/// Where the memory is: code, the handler of exceptions, and the region of the vectors at its end.
pub const RAM: u64 = 0x8000_0000;
pub const RAM_LEN: u64 = 0x8000;
pub const CODE: u64 = RAM + 0x2000;
pub const HANDLER: u64 = RAM + 0x4000;
pub const REGION: u64 = RAM + 0x6000;
const REGION_LEN: usize = 0x2000;

/// Values by name.
pub type Values = BTreeMap<String, u128>;

pub struct Vector {
    /// File and line.
    pub place: String,
    pub bytes: Vec<u8>,
    pub text: String,
    pub before: Values,
    pub after: Values,
}

/// All vectors in this folder under `tests`. `letters` are values that have a name.
pub fn vectors(folder: &str, letters: &[(&str, u128)]) -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut vectors = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "ins")) {
        let text = std::fs::read_to_string(file).unwrap();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let place = format!("{}:{}", file.file_name().unwrap().display(), index + 1);
                let vector = parse(line, place.clone(), letters);
                vectors.push(vector.unwrap_or_else(|| panic!("{place} is no vector: {line}")));
            }
        }
    }
    vectors
}

fn parse(line: &str, place: String, letters: &[(&str, u128)]) -> Option<Vector> {
    let (bytes, rest) = line.strip_prefix('[')?.split_once(']')?;
    let bytes =
        bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<_>>()?;
    let (text, rest) = rest.trim().strip_prefix('"')?.split_once('"')?;
    let (before, after) = rest.trim().strip_suffix(';')?.split_once("=>")?;
    let values = |text: &str| {
        let one = |word: &str| {
            let (name, value) = word.split_once('=')?;
            let letter = letters.iter().find(|(letter, _)| *letter == value);
            Some((name.to_string(), letter.map(|(_, value)| *value).or_else(|| parse_value(value))?))
        };
        text.split_whitespace().map(one).collect::<Option<Values>>()
    };
    Some(Vector { place, bytes, text: text.into(), before: values(before)?, after: values(after)? })
}

fn parse_value(text: &str) -> Option<u128> {
    if let Some(offset) = text.strip_prefix('@') {
        return Some(REGION.wrapping_add(parse_value(offset)? as u64).into());
    }
    if let Some(offset) = text.strip_prefix('^') {
        return Some(CODE.wrapping_add(parse_value(offset)? as u64).into());
    }
    if let Some((format, value)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        return Some(u128::from(match format {
            "s" => u64::from(value.parse::<f32>().ok()?.to_bits()) | 0xffff_ffff << 32,
            "d" => value.parse::<f64>().ok()?.to_bits(),
            "h" => {
                let double = value.parse::<f64>().ok()?.to_bits();
                let env = Env::new(Round::NearestEven);
                u64::from(env.convert::<F64, F16>(double, &mut Flags::default())) | u64::MAX << 16
            }
            _ => return None,
        }));
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { (value as u64).wrapping_neg().into() } else { value })
}

/// `m4[0x10]`: length and address in the region.
pub fn memory_name(name: &str) -> Option<(usize, u64)> {
    let (len, address) = name.strip_prefix('m')?.strip_suffix(']')?.split_once('[')?;
    Some((len.parse().ok()?, parse_value(address)? as u64))
}

/// Writes the memory that `before` names; what else it names.
pub fn set_memory<'a, I: Isa>(vcpu: &Vcpu<I>, before: &'a Values) -> Vec<(&'a str, u128)> {
    let mut others = Vec::new();
    for (name, value) in before {
        match memory_name(name) {
            Some((len, address)) => write(vcpu, REGION + address, &value.to_le_bytes()[..len]),
            None => others.push((name.as_str(), *value)),
        }
    }
    others
}

/// The units of memory that are not zero.
pub fn observe_memory<I: Isa>(vcpu: &Vcpu<I>) -> Values {
    let mut values = Values::new();
    for (at, chunk) in read(vcpu, REGION, REGION_LEN).chunks(8).enumerate() {
        let value = u64::from_le_bytes(chunk.try_into().unwrap());
        if value != 0 {
            values.insert(format!("memory {:#06x}", at * 8), value.into());
        }
    }
    values
}

/// Overlays what the vector names, memory by units of eight bytes; other names only where `is_plain`.
pub fn overlay(values: &mut Values, named: &Values, is_plain: impl Fn(&str) -> bool) {
    for (name, value) in named {
        if let Some((len, address)) = memory_name(name) {
            for (i, byte) in value.to_le_bytes().into_iter().take(len).enumerate() {
                let at = address + i as u64;
                let key = format!("memory {:#06x}", at & !7);
                let unit = values.remove(&key).unwrap_or(0);
                let shift = 8 * (at & 7);
                let unit = unit & !(0xff << shift) | u128::from(byte) << shift;
                if unit != 0 {
                    values.insert(key, unit);
                }
            }
        } else if is_plain(name) {
            values.insert(name.clone(), *value);
        }
    }
}

/// Says what is not as expected.
pub fn compare(expected: &Values, found: &Values) -> Result<(), String> {
    let names = expected.keys().chain(found.keys());
    let differs = |name: &&String| expected.get(*name) != found.get(*name);
    let mut different: Vec<String> = names
        .filter(differs)
        .map(|name| {
            let show =
                |values: &Values| values.get(name).map_or("nothing".into(), |value| format!("{value:#x}"));
            format!("{name} is {}, expected {}", show(found), show(expected))
        })
        .collect();
    different.sort();
    different.dedup();
    if different.is_empty() { Ok(()) } else { Err(different.join(", ")) }
}

/// Runs each vector both ways.
pub fn check(vectors: &[Vector], run: impl Fn(&Vector, bool) -> Result<(), String>) {
    let mut failures = Vec::new();
    for vector in vectors {
        for single_step in [false, true] {
            if let Err(problem) = run(vector, single_step) {
                let how = if single_step { " (single step)" } else { "" };
                failures.push(format!("{}: {}{how}: {problem}", vector.place, vector.text));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), vectors.len(), failures.join("\n"));
}

/// The words of the instructions.
pub fn words(bytes: &[u8], length: fn(u32) -> usize) -> Vec<u32> {
    let (mut words, mut at) = (Vec::new(), 0);
    while at + 1 < bytes.len() {
        let len = length(u16::from_le_bytes([bytes[at], bytes[at + 1]]).into());
        let mut word = [0; 4];
        word[..len].copy_from_slice(&bytes[at..at + len]);
        words.push(u32::from_le_bytes(word));
        at += len;
    }
    words
}

/// Checks the vectors' disassembly.
pub fn check_text(vectors: &[Vector], length: fn(u32) -> usize, disassemble: fn(u32, u64) -> String) {
    for vector in vectors {
        let mut pc = 0;
        let text: Vec<String> = words(&vector.bytes, length)
            .into_iter()
            .map(|word| {
                let text = disassemble(word, pc);
                pc += length(word) as u64;
                text
            })
            .collect();
        assert_eq!(text.join("; "), vector.text, "{}", vector.place);
    }
}

/// How many vectors have each instruction, by the name of its line; `decode` tells which a word is of.
pub fn counts(
    vectors: &[Vector],
    length: fn(u32) -> usize,
    decode: fn(u32) -> Option<&'static str>,
) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for name in vectors.iter().flat_map(|vector| words(&vector.bytes, length)).filter_map(decode) {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Checks that each of `lines` has a vector.
pub fn check_coverage(counts: &BTreeMap<&'static str, usize>, lines: impl Iterator<Item = &'static str>) {
    let missing: Vec<&str> = lines.filter(|name| !counts.contains_key(name)).collect();
    assert!(missing.is_empty(), "no vector for {missing:?}");
}
