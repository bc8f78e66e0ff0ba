//! Control and status registers: one table of them all, and the rules of access (Priv., "Control and Status
//! Registers (CSRs)").
//!
//! The lowest privilege and whether a register is read-only follow from its number. What a table line adds is
//! the extension it belongs to, the rights beyond privilege that reading and writing need, and what both do.

mod counter;
mod float;
mod machine;
mod supervisor;

use super::Privilege;
use super::ext::Ext;
use super::state::{Hart, Riscv};

/// One register, or a run of alike ones.
pub(super) struct Csr {
    first: u16,
    last: u16,
    /// The number that `name` with a zero appended would have, in a run.
    zero: u16,
    name: &'static str,
    ext: Option<Ext>,
    /// Whether the register may be accessed, given that it exists and privilege suffices.
    gate: fn(&Riscv, u16) -> bool,
    read: fn(&Hart, u16) -> u64,
    /// Takes any value and stores a legal one; called only for registers whose number says that they can be
    /// written.
    write: fn(&mut Hart, u16, u64),
}

impl Csr {
    const fn new(
        number: u16,
        name: &'static str,
        read: fn(&Hart, u16) -> u64,
        write: fn(&mut Hart, u16, u64),
    ) -> Self {
        Self { first: number, last: number, zero: 0, name, ext: None, gate: |_, _| true, read, write }
    }

    /// A run of registers from `first` to `last`.
    const fn run(self, zero: u16, last: u16) -> Self {
        Self { zero, last, ..self }
    }

    /// There only with `ext`.
    const fn needs(self, ext: Ext) -> Self {
        Self { ext: Some(ext), ..self }
    }

    /// Accessible only where `gate` says so.
    const fn gated(self, gate: fn(&Riscv, u16) -> bool) -> Self {
        Self { gate, ..self }
    }
}

/// The table's parts.
const TABLES: [&[Csr]; 4] = [float::CSRS, counter::CSRS, supervisor::CSRS, machine::CSRS];

/// For each number, where its line is: one more than the part, and the line; zero where there is no register.
static INDEX: [(u8, u8); 4096] = index();

const fn index() -> [(u8, u8); 4096] {
    let mut index = [(0, 0); 4096];
    let mut part = 0;
    while part < TABLES.len() {
        let mut line = 0;
        while line < TABLES[part].len() {
            let csr = &TABLES[part][line];
            let mut number = csr.first as usize;
            while number <= csr.last as usize {
                assert!(index[number].0 == 0, "two lines for one number");
                index[number] = (part as u8 + 1, line as u8);
                number += 1;
            }
            line += 1;
        }
        part += 1;
    }
    index
}

/// Writes of registers that ignore them all, and of those whose number makes them read-only.
fn ignore(_: &mut Hart, _: u16, _: u64) {}

/// The register with this number, if the hart has it.
fn find(isa: &Riscv, number: u16) -> Option<&'static Csr> {
    let (part, line) = *INDEX.get(usize::from(number))?;
    let csr = TABLES.get(usize::from(part).checked_sub(1)?)?.get(usize::from(line))?;
    let implemented = csr.ext.is_none_or(|ext| isa.has(ext)) && machine::exists(number);
    implemented.then_some(csr)
}

fn read_only(number: u16) -> bool {
    number >> 10 == 3
}

/// The register with this number, if an instruction may access it now.
#[inline]
fn accessible(hart: &Hart, number: u16, writes: bool) -> Option<&'static Csr> {
    let isa = &hart.isa;
    let enough = (number >> 8 & 3) as u8 <= isa.privilege as u8;
    let csr = find(isa, number).filter(|_| enough && !(writes && read_only(number)))?;
    (csr.gate)(isa, number).then_some(csr)
}

/// What an instruction does to a register besides reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Nothing.
    Read,
    /// Replaces it.
    Write(u64),
    /// Sets these bits.
    Set(u64),
    /// Clears these bits.
    Clear(u64),
}

/// Executes a CSR instruction: the old value, or none if it is illegal.
pub(super) fn execute(hart: &mut Hart, number: u16, op: Op) -> Option<u64> {
    let csr = accessible(hart, number, op != Op::Read)?;
    let old = (csr.read)(hart, number);
    // Of mip.SEIP, only the bit that software writes takes part in the modification.
    let base = || if number == machine::MIP { machine::mip_to_modify(hart, old) } else { old };
    let new = match op {
        Op::Read => return Some(old),
        Op::Write(value) => value,
        Op::Set(bits) => base() | bits,
        Op::Clear(bits) => base() & !bits,
    };
    (csr.write)(hart, number, new);
    Some(old)
}

/// The value of register `number` for a debugger: none if the hart does not have it.
pub fn csr_read_debug(hart: &Hart, number: u16) -> Option<u64> {
    find(&hart.isa, number).map(|csr| (csr.read)(hart, number))
}

/// Writes register `number` for a debugger, as M-mode would. False if the hart does not have it or it is
/// read-only.
pub fn csr_write_debug(hart: &mut Hart, number: u16, value: u64) -> bool {
    let Some(csr) = find(&hart.isa, number).filter(|_| !read_only(number)) else { return false };
    hart.isa.write_retires = false;
    (csr.write)(hart, number, value);
    hart.isa.write_retires = true;
    true
}

/// The name of register `number`, such as `mstatus` or `pmpaddr17`, if any hart may have it.
pub fn csr_name(number: u16) -> Option<String> {
    let (part, line) = *INDEX.get(usize::from(number))?;
    let csr = TABLES.get(usize::from(part).checked_sub(1)?)?.get(usize::from(line))?;
    if !machine::exists(number) {
        return None;
    }
    let single = csr.first == csr.last;
    Some(if single { csr.name.to_owned() } else { format!("{}{}", csr.name, number - csr.zero) })
}

/// Numbers and names of all registers that `isa` has.
pub fn csr_list(isa: &Riscv) -> impl Iterator<Item = (u16, String)> + '_ {
    (0..4096).filter(|&number| find(isa, number).is_some()).filter_map(|n| csr_name(n).map(|name| (n, name)))
}

/// Whether bit `n` of the counter-enable registers lets the hart's mode read counter `n`.
fn counter_enabled(isa: &Riscv, n: u16) -> bool {
    let machine = isa.csr.mcounteren >> (n & 31) & 1 != 0;
    let supervisor = isa.csr.scounteren >> (n & 31) & 1 != 0;
    match isa.privilege {
        Privilege::Machine => true,
        Privilege::Supervisor => machine,
        Privilege::User => machine && supervisor,
    }
}

/// The count of retired instructions when a write takes effect: once the CSR instruction has retired, if it
/// is one that writes.
fn after_this(hart: &Hart) -> u64 {
    hart.state.retired.wrapping_add(hart.isa.write_retires.into())
}
