//! One-line instruction vectors, `vectors/*.ins`; their form is described in [`crate::common::vectors`].
//!
//! Names: registers; `fflags` (0), `frm` (0), `fs` (3, dirty) and any CSR; `mode` (`m`; also `s`, `u`); `pc`,
//! relative to the first instruction; memory. After `=>` also `trap`, a cause by number, with the instruction's address as
//! `mepc`, and `tval` (0).

use std::collections::BTreeMap;

use emu_core::exec::{Exit, HostRequest, Limits};
use frontends::riscv::decode::{Insn, length};
use frontends::riscv::disas::disassemble;
use frontends::riscv::ext::{Ext, ExtSet};
use frontends::riscv::{Hart, SLOTS, csr_name, csr_read_debug, csr_write_debug};

use crate::common::vectors::{
    CODE, HANDLER, RAM, RAM_LEN, Values, Vector, check, check_coverage, check_text, compare, counts,
    memory_name, observe_memory, overlay, set_memory, vectors,
};
use crate::common::{run, write};
use crate::support::{OPEN, asm, hart};

const BREAKPOINT: u64 = 3;
const MSTATUS: u16 = 0x300;
const MTVEC: u16 = 0x305;
const MEPC: u16 = 0x341;
const MCAUSE: u16 = 0x342;
const MTVAL: u16 = 0x343;
const FRM: u16 = 2;
const FS_SHIFT: u32 = 13;
const MPP_SHIFT: u32 = 11;

fn all() -> Vec<Vector> {
    vectors("riscv/vectors", &[("m", 3), ("s", 1), ("u", 0)])
}

/// How many vectors each line of the tables has.
pub fn counts_by_line() -> BTreeMap<&'static str, usize> {
    counts(&all(), len, |word| Insn::decode(word, ExtSet::of(Ext::ALL)).map(|insn| insn.line().name))
}

fn slot(name: &str) -> Option<usize> {
    SLOTS.iter().position(|slot| slot.name == name)
}

fn csr(name: &str) -> Option<u16> {
    (0..4096).find(|number| csr_name(*number).as_deref() == Some(name))
}

/// What there is to see of a hart and its memory.
fn observe(hart: &Hart) -> Values {
    let mut values = observe_memory(hart);
    for slot in SLOTS {
        values.insert(slot.name.into(), hart.state.slots[usize::from(slot.index)].into());
    }
    values.insert("fflags".into(), (hart.state.fp_flags & 31).into());
    values.insert("frm".into(), csr_read_debug(hart, FRM).unwrap().into());
    values.insert("fs".into(), (csr_read_debug(hart, MSTATUS).unwrap() >> FS_SHIFT & 3).into());
    values
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
    let before: BTreeMap<&str, u64> =
        set_memory(&hart, &vector.before).into_iter().map(|(name, value)| (name, value as u64)).collect();
    let after = |name: &str| vector.after.get(name).map(|value| *value as u64);
    let mode = before.get("mode").copied().unwrap_or(3);
    let fs = before.get("fs").copied().unwrap_or(3);
    let mut mstatus = fs << FS_SHIFT;
    for (name, value) in &before {
        if let Some(slot) = slot(name) {
            hart.state.slots[slot] = *value;
        } else if *name == "fflags" {
            hart.state.fp_flags = *value;
        } else if *name == "mstatus" {
            mstatus |= *value;
        } else if let Some(number) = csr(name) {
            csr_write_debug(&mut hart, number, *value);
        } else if !matches!(*name, "mode" | "fs") {
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
            csr_write_debug(&mut hart, csr(name).unwrap(), before.get(name).copied().unwrap_or(0));
        }
    }
    hart.state.pc = CODE;

    let mut expected = observe(&hart);
    let plain = |name: &str| {
        !matches!(name, "pc" | "trap" | "tval" | "mode")
            && (csr(name).is_none() || matches!(name, "fflags" | "frm"))
    };
    overlay(&mut expected, &vector.after, plain);
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
    let trap = after("trap");
    let behind = CODE + vector.bytes.len() as u64;
    let mut found = observe(&hart);
    match trap {
        Some(trap) => {
            expected.insert("trap".into(), (trap).into());
            found.insert("trap".into(), (cause).into());
            expected.insert("tval".into(), (after("tval").unwrap_or(0)).into());
            found.insert("tval".into(), (tval).into());
            let pc = after("pc").map_or(CODE, |pc| CODE.wrapping_add(pc));
            expected.insert("pc".into(), (pc.wrapping_sub(CODE)).into());
            found.insert("pc".into(), (epc.wrapping_sub(CODE)).into());
        }
        None => {
            expected.insert("trap".into(), (BREAKPOINT).into());
            found.insert("trap".into(), (cause).into());
            let pc = after("pc").map_or(behind, |pc| CODE.wrapping_add(pc));
            expected.insert("pc".into(), (pc.wrapping_sub(CODE)).into());
            found.insert("pc".into(), (epc.wrapping_sub(CODE)).into());
        }
    }
    if let Some(mode) = after("mode") {
        expected.insert("mode".into(), mode.into());
        found.insert("mode".into(), (csr_read_debug(&hart, MSTATUS).unwrap() >> MPP_SHIFT & 3).into());
    }
    for (name, value) in &vector.after {
        if let Some(number) = csr(name)
            && !expected.contains_key(name)
        {
            expected.insert(name.clone(), *value);
            found.insert(name.clone(), csr_read_debug(&hart, number).unwrap().into());
        } else if csr(name).is_none() && !expected.contains_key(name) && memory_name(name).is_none() {
            return Err(format!("`{name}` cannot be looked at"));
        }
    }
    compare(&expected, &found)
}

#[test]
fn vectors_hold() {
    check(&all(), run_vector);
}

fn len(word: u32) -> usize {
    length(word as u16).into()
}

#[test]
fn vectors_are_disassembled_as_they_say() {
    check_text(&all(), len, |word, pc| disassemble(word, pc, ExtSet::of(Ext::ALL)).to_string());
}

/// Every line of the tables has a vector.
#[test]
fn every_line_is_covered() {
    check_coverage(&counts_by_line(), Insn::all().map(|insn| insn.line().name));
}
