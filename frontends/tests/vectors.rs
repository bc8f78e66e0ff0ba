//! One-line instruction vectors, `tests/vectors/*.ins`: decoding, disassembly and meaning in one line.
//!
//! ```text
//! [33 05 b5 00] "add a0,a0,a1" a0=5 a1=-7 => a0=-2;
//! ```
//!
//! Bytes, one instruction or several; their disassembly, several separated by `; `, branch targets relative
//! to an address of zero; then what is set before and what has changed after. Everything that is not named
//! must have stayed as it was, but for the program counter, which must be behind the instructions.
//!
//! Names: registers; `fflags` (0), `frm` (0), `fs` (3, dirty) and any CSR; `mode` (`m`; also `s`, `u`); `pc`,
//! relative to the first instruction; `m1`, `m2`, `m4`, `m8` with an address, `m8[0x100]`, for memory, which
//! is relative to a region of two pages with a device-free hole behind, and which is zero at first. After
//! `=>` also `trap`, a cause by number, with the instruction's address as `mepc`, and `tval` (0).
//!
//! Values: decimal or hexadecimal numbers; `s(1.5)`, `d(-inf)`, `h(nan)` floating-point values, boxed;
//! `@0x10` an address in the memory region; `^4` an address relative to the first instruction.
//!
//! Each vector runs twice: in blocks, and in single steps.

mod support;

use std::collections::BTreeMap;

use emu_core::exec::{Exit, HostRequest, Limits};
use emu_core::fp::{Env, F16, F64, Flags, Round};
use frontends::riscv::decode::{Insn, length};
use frontends::riscv::disas::disassemble;
use frontends::riscv::ext::{Ext, ExtSet};
use frontends::riscv::{Hart, SLOTS, csr_name, csr_read_debug, csr_write_debug};
use support::{OPEN, asm, hart, read, run, vector_bytes, vector_counts, vector_lines, words, write};

/// Where the memory is: code, the trap handler, and the region of the vectors at its end.
const RAM: u64 = 0x8000_0000;
const RAM_LEN: u64 = 0x8000;
const CODE: u64 = RAM + 0x2000;
const HANDLER: u64 = RAM + 0x4000;
const REGION: u64 = RAM + 0x6000;
const REGION_LEN: usize = 0x2000;

const BREAKPOINT: u64 = 3;
const MSTATUS: u16 = 0x300;
const MTVEC: u16 = 0x305;
const MEPC: u16 = 0x341;
const MCAUSE: u16 = 0x342;
const MTVAL: u16 = 0x343;
const FRM: u16 = 2;
const FS_SHIFT: u32 = 13;
const MPP_SHIFT: u32 = 11;

type Values = BTreeMap<String, u64>;

struct Vector {
    /// File and line.
    place: String,
    bytes: Vec<u8>,
    text: String,
    before: Values,
    after: Values,
}

fn vectors() -> Vec<Vector> {
    let vector = |(place, line): (String, String)| {
        parse(&line, place.clone()).unwrap_or_else(|| panic!("{place} is no vector: {line}"))
    };
    vector_lines().into_iter().map(vector).collect()
}

fn parse(line: &str, place: String) -> Option<Vector> {
    let (bytes, rest) = vector_bytes(line)?;
    let (text, rest) = rest.trim().strip_prefix('"')?.split_once('"')?;
    let (before, after) = rest.trim().strip_suffix(';')?.split_once("=>")?;
    Some(Vector { place, bytes, text: text.into(), before: values(before)?, after: values(after)? })
}

fn values(text: &str) -> Option<Values> {
    let one = |word: &str| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_string(), parse_value(value)?))
    };
    text.split_whitespace().map(one).collect()
}

fn parse_value(text: &str) -> Option<u64> {
    match text {
        "m" => return Some(3),
        "s" => return Some(1),
        "u" => return Some(0),
        _ => {}
    }
    if let Some(offset) = text.strip_prefix('@') {
        return Some(REGION.wrapping_add(parse_value(offset)?));
    }
    if let Some(offset) = text.strip_prefix('^') {
        return Some(CODE.wrapping_add(parse_value(offset)?));
    }
    if let Some((format, value)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        return Some(match format {
            "s" => u64::from(value.parse::<f32>().ok()?.to_bits()) | 0xffff_ffff << 32,
            "d" => value.parse::<f64>().ok()?.to_bits(),
            "h" => {
                let double = value.parse::<f64>().ok()?.to_bits();
                let env = Env::new(Round::NearestEven);
                u64::from(env.convert::<F64, F16>(double, &mut Flags::default())) | u64::MAX << 16
            }
            _ => return None,
        });
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// `m4[0x10]`: length and address in the region.
fn memory_name(name: &str) -> Option<(usize, u64)> {
    let (len, address) = name.strip_prefix('m')?.strip_suffix(']')?.split_once('[')?;
    Some((len.parse().ok()?, parse_value(address)?))
}

fn slot(name: &str) -> Option<usize> {
    SLOTS.iter().position(|slot| slot.name == name)
}

fn csr(name: &str) -> Option<u16> {
    (0..4096).find(|number| csr_name(*number).as_deref() == Some(name))
}

/// What there is to see of a hart and its memory.
fn observe(hart: &Hart) -> Values {
    let mut values = Values::new();
    for slot in SLOTS {
        values.insert(slot.name.into(), hart.state.slots[usize::from(slot.index)]);
    }
    values.insert("fflags".into(), hart.state.fp_flags & 31);
    values.insert("frm".into(), csr_read_debug(hart, FRM).unwrap());
    values.insert("fs".into(), csr_read_debug(hart, MSTATUS).unwrap() >> FS_SHIFT & 3);
    for (at, chunk) in read(hart, REGION, REGION_LEN).chunks(8).enumerate() {
        let value = u64::from_le_bytes(chunk.try_into().unwrap());
        if value != 0 {
            values.insert(format!("memory {:#06x}", at * 8), value);
        }
    }
    values
}

/// Overlays what the vector names; memory by units of eight bytes.
fn overlay(values: &mut Values, named: &Values) {
    for (name, value) in named {
        if let Some((len, address)) = memory_name(name) {
            for (i, byte) in value.to_le_bytes().into_iter().take(len).enumerate() {
                let at = address + i as u64;
                let key = format!("memory {:#06x}", at & !7);
                let unit = values.remove(&key).unwrap_or(0);
                let shift = 8 * (at & 7);
                let unit = unit & !(0xff << shift) | u64::from(byte) << shift;
                if unit != 0 {
                    values.insert(key, unit);
                }
            }
        } else if !matches!(name.as_str(), "pc" | "trap" | "tval" | "mode")
            && csr(name).is_none_or(|_| values.contains_key(name))
        {
            values.insert(name.clone(), *value);
        }
    }
}

fn run_vector(vector: &Vector, single_step: bool) -> Result<(), String> {
    let mut hart = hart(RAM, RAM_LEN);
    // Whatever comes after the instructions ends the run by a breakpoint, the handler by waiting.
    let ebreak = asm("c.ebreak", &[]) as u16;
    write(&hart, RAM, &ebreak.to_le_bytes().repeat((HANDLER - RAM) as usize / 2));
    write(&hart, CODE, &vector.bytes);
    write(&hart, HANDLER, &asm("wfi", &[]).to_le_bytes());
    csr_write_debug(&mut hart, MTVEC, HANDLER);
    for (number, value) in OPEN {
        csr_write_debug(&mut hart, *number, *value);
    }
    let mode = vector.before.get("mode").copied().unwrap_or(3);
    let fs = vector.before.get("fs").copied().unwrap_or(3);
    let mut mstatus = fs << FS_SHIFT;
    for (name, value) in &vector.before {
        if let Some((len, address)) = memory_name(name) {
            write(&hart, REGION + address, &value.to_le_bytes()[..len]);
        } else if let Some(slot) = slot(name) {
            hart.state.slots[slot] = *value;
        } else if name == "fflags" {
            hart.state.fp_flags = *value;
        } else if name == "mstatus" {
            mstatus |= *value;
        } else if let Some(number) = csr(name) {
            csr_write_debug(&mut hart, number, *value);
        } else if !matches!(name.as_str(), "mode" | "fs") {
            return Err(format!("`{name}` cannot be set"));
        }
    }
    csr_write_debug(&mut hart, MSTATUS, mstatus);
    if mode != 3 {
        // Into the mode by MRET, whose own state is then set as if there had been none.
        csr_write_debug(&mut hart, MSTATUS, mstatus | mode << MPP_SHIFT);
        csr_write_debug(&mut hart, MEPC, CODE);
        write(&hart, RAM, &asm("mret", &[]).to_le_bytes());
        hart.state.pc = RAM;
        run(&mut hart, Limits { steps: Some(1), ..Limits::NONE });
        csr_write_debug(&mut hart, MSTATUS, mstatus);
        for name in ["mepc", "mcause", "mtval"] {
            csr_write_debug(&mut hart, csr(name).unwrap(), vector.before.get(name).copied().unwrap_or(0));
        }
    }
    hart.state.pc = CODE;

    let mut expected = observe(&hart);
    overlay(&mut expected, &vector.after);
    let limits = if single_step { Limits { steps: Some(1), ..Limits::NONE } } else { Limits::NONE };
    let mut left = 100;
    loop {
        match run(&mut hart, limits) {
            Exit::Request(HostRequest::Wait { .. }) if hart.state.pc == HANDLER + 4 => break,
            Exit::Stepped | Exit::Request(HostRequest::Wait { .. }) if left > 0 => left -= 1,
            exit => return Err(format!("stopped by {exit:?} at {:#x}", hart.state.pc)),
        }
    }
    let [cause, epc, tval] = [MCAUSE, MEPC, MTVAL].map(|number| csr_read_debug(&hart, number).unwrap());
    let trap = vector.after.get("trap").copied();
    let behind = CODE + vector.bytes.len() as u64;
    let mut found = observe(&hart);
    match trap {
        Some(trap) => {
            expected.insert("trap".into(), trap);
            found.insert("trap".into(), cause);
            expected.insert("tval".into(), vector.after.get("tval").copied().unwrap_or(0));
            found.insert("tval".into(), tval);
            let pc = vector.after.get("pc").map_or(CODE, |pc| CODE.wrapping_add(*pc));
            expected.insert("pc".into(), pc.wrapping_sub(CODE));
            found.insert("pc".into(), epc.wrapping_sub(CODE));
        }
        None => {
            expected.insert("trap".into(), BREAKPOINT);
            found.insert("trap".into(), cause);
            let pc = vector.after.get("pc").map_or(behind, |pc| CODE.wrapping_add(*pc));
            expected.insert("pc".into(), pc.wrapping_sub(CODE));
            found.insert("pc".into(), epc.wrapping_sub(CODE));
        }
    }
    if let Some(mode) = vector.after.get("mode") {
        expected.insert("mode".into(), *mode);
        found.insert("mode".into(), csr_read_debug(&hart, MSTATUS).unwrap() >> MPP_SHIFT & 3);
    }
    for (name, value) in &vector.after {
        if let Some(number) = csr(name)
            && !expected.contains_key(name)
        {
            expected.insert(name.clone(), *value);
            found.insert(name.clone(), csr_read_debug(&hart, number).unwrap());
        } else if csr(name).is_none() && !expected.contains_key(name) && memory_name(name).is_none() {
            return Err(format!("`{name}` cannot be looked at"));
        }
    }
    let names = expected.keys().chain(found.keys());
    let differs = |name: &&String| expected.get(*name) != found.get(*name);
    let mut different: Vec<String> = names
        .filter(differs)
        .map(|name| {
            let show =
                |values: &Values| values.get(name).map_or("nothing".into(), |value| format!("{value:#x}"));
            format!("{name} is {}, expected {}", show(&found), show(&expected))
        })
        .collect();
    different.dedup();
    if different.is_empty() { Ok(()) } else { Err(different.join(", ")) }
}

#[test]
fn vectors_hold() {
    let vectors = vectors();
    let mut failures = Vec::new();
    for vector in &vectors {
        for single_step in [false, true] {
            if let Err(problem) = run_vector(vector, single_step) {
                let how = if single_step { " (single step)" } else { "" };
                failures.push(format!("{}: {}{how}: {problem}", vector.place, vector.text));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), vectors.len(), failures.join("\n"));
}

#[test]
fn vectors_are_disassembled_as_they_say() {
    for vector in vectors() {
        let mut pc = 0;
        let text: Vec<String> = words(&vector.bytes)
            .into_iter()
            .map(|word| {
                let text = disassemble(word, pc, ExtSet::of(Ext::ALL)).to_string();
                pc += u64::from(length(word as u16));
                text
            })
            .collect();
        assert_eq!(text.join("; "), vector.text, "{}", vector.place);
    }
}

/// Every line of the tables has a vector.
#[test]
fn every_line_is_covered() {
    let counts = vector_counts();
    let missing: Vec<&str> =
        Insn::all().map(|insn| insn.line().name).filter(|name| !counts.contains_key(name)).collect();
    assert!(missing.is_empty(), "no vector for {missing:?}");
}
