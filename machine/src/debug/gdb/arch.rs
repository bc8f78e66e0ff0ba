//! A RISC-V hart as gdb numbers it: `x0` to `x31`, `pc`, `f0` to `f31`, then 4096 CSRs, then `priv`.

use std::fmt::Write as _;
use std::num::NonZeroUsize;

use emu_core::exec::Vcpu;
use frontends::riscv::{
    F, Privilege, Riscv, SLOTS, X, csr_list, csr_read_debug, csr_write_debug, privilege_write_debug,
};

/// Bytes of every register.
const BYTES: usize = 8;
const NUMBER_PC: usize = 32;
const NUMBER_F: usize = 33;
const NUMBER_CSR: usize = 65;
const NUMBER_PRIV: usize = 4161;
/// `mstatus`, and the field of it that says whether the floating-point registers are on and in use.
const MSTATUS: u16 = 0x300;
const MSTATUS_FS: u64 = 3 << 13;

/// 64-bit RISC-V.
pub enum Rv64 {}

impl gdbstub::arch::Arch for Rv64 {
    type Usize = u64;
    type Registers = Registers;
    type BreakpointKind = usize;
    type RegId = Register;
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// An integer register.
    X(u8),
    /// The program counter.
    Pc,
    /// A floating-point register.
    F(u8),
    /// A control and status register.
    Csr(u16),
    /// The privilege mode.
    Priv,
}

impl gdbstub::arch::RegId for Register {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let register = match id {
            0..NUMBER_PC => Self::X(id as u8),
            NUMBER_PC => Self::Pc,
            NUMBER_F..NUMBER_CSR => Self::F((id - NUMBER_F) as u8),
            NUMBER_CSR..NUMBER_PRIV => Self::Csr((id - NUMBER_CSR) as u16),
            NUMBER_PRIV => Self::Priv,
            _ => return None,
        };
        Some((register, NonZeroUsize::new(BYTES)))
    }
}

impl Register {
    /// Its value; none if the hart does not have it.
    pub fn read(self, hart: &Vcpu<Riscv>) -> Option<u64> {
        match self {
            Self::X(n) => hart.state.slots.get(usize::from(X) + usize::from(n)).copied(),
            Self::F(n) => hart.state.slots.get(usize::from(F) + usize::from(n)).copied(),
            Self::Pc => Some(hart.state.pc),
            Self::Csr(number) => csr_read_debug(hart, number),
            Self::Priv => Some(hart.isa.privilege() as u64),
        }
    }

    /// Writes it; false if the hart does not have it, or it is read-only.
    pub fn write(self, hart: &mut Vcpu<Riscv>, value: u64) -> bool {
        match self {
            Self::X(0) => {}
            Self::X(n) => hart.state.slots[usize::from(X) + usize::from(n)] = value,
            Self::F(n) => {
                hart.state.slots[usize::from(F) + usize::from(n)] = value;
                // A guest that saves only what has changed must know.
                let status = csr_read_debug(hart, MSTATUS).filter(|status| status & MSTATUS_FS != 0);
                if let Some(status) = status {
                    csr_write_debug(hart, MSTATUS, status | MSTATUS_FS);
                }
            }
            Self::Pc => hart.state.pc = value & !1,
            Self::Csr(number) => return csr_write_debug(hart, number, value),
            Self::Priv if value == 2 || value > 3 => return false,
            Self::Priv => privilege_write_debug(hart, Privilege::from_bits(value)),
        }
        true
    }
}

/// What one packet moves: all but the CSRs.
#[derive(Clone, Debug, PartialEq)]
pub struct Registers([u64; NUMBER_CSR]);

impl Default for Registers {
    fn default() -> Self {
        Self([0; NUMBER_CSR])
    }
}

impl Registers {
    fn all() -> impl Iterator<Item = Register> {
        let number = |id| <Register as gdbstub::arch::RegId>::from_raw_id(id);
        (0..NUMBER_CSR).filter_map(number).map(|(register, _)| register)
    }

    /// Those of `hart`.
    pub fn read(hart: &Vcpu<Riscv>) -> Self {
        let mut registers = Self::default();
        for (value, register) in registers.0.iter_mut().zip(Self::all()) {
            *value = register.read(hart).unwrap_or(0);
        }
        registers
    }

    /// Gives them to `hart`.
    pub fn write(&self, hart: &mut Vcpu<Riscv>) {
        for (value, register) in self.0.iter().zip(Self::all()) {
            // What has not changed is left alone: writing has effects on mstatus.
            if register.read(hart) != Some(*value) {
                register.write(hart, *value);
            }
        }
    }
}

impl gdbstub::arch::Registers for Registers {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.0[NUMBER_PC]
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().flat_map(|value| value.to_le_bytes()).for_each(|byte| write_byte(Some(byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let (values, rest) = bytes.as_chunks::<BYTES>();
        if values.len() != self.0.len() || !rest.is_empty() {
            return Err(());
        }
        for (value, bytes) in self.0.iter_mut().zip(values) {
            *value = u64::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

/// The target description for gdb (GDB manual, "RISC-V Features").
pub fn description(isa: &Riscv) -> String {
    const DOUBLE: &str = "<union id=\"riscv_double\"><field name=\"float\" type=\"ieee_single\"/>\
                          <field name=\"double\" type=\"ieee_double\"/></union>\n";
    let name = |base: u16, n: usize| SLOTS[usize::from(base) + n].name.to_owned();
    let integer = |n| {
        let kind = match n {
            1 => "code_ptr",
            2..=4 | 8 => "data_ptr",
            _ => "int",
        };
        (name(X, n), n, kind)
    };
    let float = |n| (name(F, n), NUMBER_F + n, "riscv_double");
    let csr = |(number, name)| (name, NUMBER_CSR + usize::from(number), "int");
    // fflags, frm and fcsr belong to the floating-point unit.
    let (float_csrs, csrs): (Vec<_>, Vec<_>) =
        csr_list(isa).partition(|(number, _)| (1..=3).contains(number));
    let pc = ("pc".to_owned(), NUMBER_PC, "code_ptr");
    let privilege = ("priv".to_owned(), NUMBER_PRIV, "int");

    let mut xml = String::from(
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n\
         <target version=\"1.0\"><architecture>riscv:rv64</architecture>\n",
    );
    feature(&mut xml, "cpu", "", (0..NUMBER_PC).map(integer).chain([pc]));
    feature(&mut xml, "fpu", DOUBLE, (0..32).map(float).chain(float_csrs.into_iter().map(csr)));
    feature(&mut xml, "csr", "", csrs.into_iter().map(csr));
    feature(&mut xml, "virtual", "", [privilege].into_iter());
    xml.push_str("</target>\n");
    xml
}

fn feature(
    xml: &mut String,
    name: &str,
    types: &str,
    registers: impl Iterator<Item = (String, usize, &'static str)>,
) {
    // Writing to a string cannot fail.
    let _ = writeln!(xml, "<feature name=\"org.gnu.gdb.riscv.{name}\">\n{types}");
    for (name, number, kind) in registers {
        let _ = writeln!(xml, "<reg name=\"{name}\" bitsize=\"64\" regnum=\"{number}\" type=\"{kind}\"/>");
    }
    xml.push_str("</feature>\n");
}
