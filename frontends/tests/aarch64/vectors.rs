//! One-line instruction vectors, `vectors/*.ins`; their form is described in [`crate::common::vectors`].
//!
//! Names: `x0` to `x30`, `sp`, `nzcv` (bits 31 to 28), `v0` to `v31` (128 bits); thread pointers and pointer authentication
//! keys as the slots are called (`apia_lo`); `fpcr`, `fpsr`; `el`, the exception level (0); `pc`, relative to the first instruction; memory. After `=>` also `trap`, the syndrome (`ESR_EL1`) of an exception, `far`
//! with it (0), and `firmware=1`, a call of the firmware. The program counter of an exception is `ELR_EL1`.

use std::collections::BTreeMap;

use emu_core::exec::{Exit, HostRequest, Limits};
use emu_core::ir::Class;
use frontends::aarch64::decode::{Insn, decode};
use frontends::aarch64::disas::disassemble;
use frontends::aarch64::helper::sysreg;
use frontends::aarch64::{Cpu, SLOTS, SP, SP_EL, sysreg_read_debug, sysreg_write_debug};

use crate::common::vectors::{
    CODE, HANDLER, RAM, RAM_LEN, Values, Vector, check, check_coverage, check_text, compare, counts,
    memory_name, observe_memory, overlay, set_memory, vectors,
};
use crate::common::{run, write};
use crate::support::{ALL, ELR_EL1, ESR_EL1, FAR_EL1, PRIVILEGED, asm, cpu, enter};

const FPCR: u16 = sysreg(3, 3, 4, 4, 0);
const FPSR: u16 = sysreg(3, 3, 4, 4, 1);

/// The syndrome of the breakpoint that stands behind the instructions.
const BREAKPOINT: u64 = 0x3c << 26 | 1 << 25;

fn all() -> Vec<Vector> {
    vectors("aarch64/vectors", &[])
}

/// How many vectors each line of the tables has.
pub fn counts_by_line() -> BTreeMap<&'static str, usize> {
    counts(&all(), length, |word| decode(word, ALL).map(|insn| insn.line().name))
}

/// The registers that vectors name, with their slots.
fn registers() -> impl Iterator<Item = (&'static str, usize, Class)> {
    let named = |name: &str| !name.starts_with("sp_");
    SLOTS.iter().filter(move |slot| named(slot.name)).map(|slot| (slot.name, slot.index.into(), slot.class))
}

/// What there is to see of a processor and its memory. `banked` is the slot where the stack pointer is now.
fn observe(cpu: &Cpu, banked: u16) -> Values {
    let mut values = observe_memory(cpu);
    for (name, index, class) in registers() {
        let high = if class == Class::Vec { cpu.state.slots[index + 1] } else { 0 };
        values.insert(name.into(), u128::from(cpu.state.slots[index]) | u128::from(high) << 64);
    }
    values.insert("sp".into(), cpu.state.slots[usize::from(banked)].into());
    for (name, register) in [("fpcr", FPCR), ("fpsr", FPSR)] {
        values.insert(name.into(), sysreg_read_debug(cpu, register).unwrap().into());
    }
    values
}

fn run_vector(vector: &Vector, single_step: bool) -> Result<(), String> {
    let mut cpu = cpu(RAM, RAM_LEN, HANDLER);
    // Whatever comes after the instructions ends the run by a breakpoint, whose handler calls the firmware.
    let brk = asm("brk", &[]);
    write(&cpu, RAM, &brk.to_le_bytes().repeat((HANDLER - RAM) as usize / 4));
    write(&cpu, CODE, &vector.bytes);
    let mut before: BTreeMap<&str, u128> = set_memory(&cpu, &vector.before).into_iter().collect();
    let el = before.remove("el").unwrap_or(0) as u8;
    enter(&mut cpu, el, CODE);
    for (name, index, class) in registers() {
        if let Some(value) = before.remove(name) {
            cpu.state.slots[index] = value as u64;
            if class == Class::Vec {
                cpu.state.slots[index + 1] = (value >> 64) as u64;
            }
        }
    }
    for (name, register) in [("fpcr", FPCR), ("fpsr", FPSR)] {
        if let Some(value) = before.remove(name) {
            sysreg_write_debug(&mut cpu, register, value as u64);
        }
    }
    if let Some(name) = before.keys().next() {
        return Err(format!("`{name}` cannot be set"));
    }

    let mut expected = observe(&cpu, SP);
    overlay(&mut expected, &vector.after, |name| !matches!(name, "pc" | "trap" | "far" | "firmware"));
    if let Some(name) = vector.after.keys().find(|name| {
        !expected.contains_key(*name)
            && memory_name(name).is_none()
            && !matches!(name.as_str(), "pc" | "trap" | "far" | "firmware")
    }) {
        return Err(format!("`{name}` cannot be looked at"));
    }
    let limits = if single_step { Limits { steps: Some(1), ..Limits::NONE } } else { Limits::NONE };
    let mut left = 100;
    loop {
        match run(&mut cpu, limits) {
            Exit::Request(HostRequest::Firmware) => break,
            Exit::Stepped | Exit::Request(HostRequest::Wait { .. }) if left > 0 => left -= 1,
            exit => return Err(format!("stopped by {exit:?} at {:#x}", cpu.state.pc)),
        }
    }
    let [elr, esr, far] =
        [ELR_EL1, ESR_EL1, FAR_EL1].map(|register| sysreg_read_debug(&cpu, register).unwrap());
    let handled = (HANDLER..HANDLER + 0x800).contains(&cpu.state.pc.wrapping_sub(PRIVILEGED));
    let mut found = observe(&cpu, if handled && el == 0 { SP_EL } else { SP });
    let after = |name: &str| vector.after.get(name).map(|value| *value as u64);
    let trap = after("trap");
    let behind = CODE + vector.bytes.len() as u64;
    // An exception comes from the first instruction, unless the vector says otherwise.
    let usual = if trap.is_some() { CODE } else { behind };
    let wanted = after("pc").map_or(usual, |pc| CODE.wrapping_add(pc));
    let pc = if handled { elr } else { cpu.state.pc };
    for (name, wanted, is) in [
        ("pc", wanted.wrapping_sub(CODE), pc.wrapping_sub(CODE)),
        ("trap", trap.unwrap_or(if handled { BREAKPOINT } else { 0 }), esr),
        ("far", after("far").unwrap_or(0), far),
        ("firmware", after("firmware").unwrap_or(0), (!handled).into()),
    ] {
        expected.insert(name.into(), wanted.into());
        found.insert(name.into(), is.into());
    }
    compare(&expected, &found)
}

#[test]
fn vectors_hold() {
    check(&all(), run_vector);
}

fn length(_: u32) -> usize {
    4
}

#[test]
fn vectors_are_disassembled_as_they_say() {
    check_text(&all(), length, |word, pc| disassemble(word, pc, ALL).to_string());
}

/// Every line of the tables has a vector.
#[test]
fn every_line_is_covered() {
    check_coverage(&counts_by_line(), Insn::ALL.iter().map(|insn| insn.line().name));
}
