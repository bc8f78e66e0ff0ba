//! A vCPU as debuggers and traces see it: what each instruction set says of itself.

use std::fmt::Write as _;

use emu_core::exec::{Exception, Isa, Vcpu};

/// An instruction set whose vCPUs can be looked at.
pub trait Inspect: Isa {
    // For debuggers.

    /// gdb's number of the program counter.
    const PC: usize;

    /// How many registers one packet moves: those numbered from zero on, all of which exist.
    const GENERAL: usize;

    /// Bytes of the register with gdb's number `number`, at most 16; none if there is no such number.
    fn register_bytes(number: usize) -> Option<usize>;

    /// A register's value; none if the vCPU does not have it.
    fn read_register(vcpu: &Vcpu<Self>, number: usize) -> Option<u128>;

    /// Writes a register; false if the vCPU does not have it, or it is read-only.
    fn write_register(vcpu: &mut Vcpu<Self>, number: usize, value: u128) -> bool;

    /// The target description for gdb.
    fn description(&self) -> String;

    /// Where `va` lies in physical memory for instructions at the vCPU's privilege: whatever is mapped may be seen and
    /// changed. None if nothing is mapped there.
    fn physical(vcpu: &Vcpu<Self>, va: u64) -> Option<u64>;

    /// The privilege that the vCPU runs with, in words.
    fn privilege(&self) -> String;

    // For traces.

    /// The same in as few letters as possible.
    fn privilege_code(&self) -> &'static str;

    /// The instruction at `pc`, if it is in memory.
    fn instruction(vcpu: &Vcpu<Self>, pc: u64) -> Option<Code>;

    /// Its text.
    fn disassemble(&self, code: Code, pc: u64) -> String;

    /// Control registers that have been shown, or were there from the start.
    type Seen: Default + Send;

    /// Takes over the control registers, telling `show` of each that differs.
    fn control_changes(vcpu: &Vcpu<Self>, seen: &mut Self::Seen, show: &mut dyn FnMut(&str, u64));

    /// What an exception is.
    fn describe(exception: &Exception) -> Event;
}

/// An instruction as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its bits.
    pub bits: u32,
    /// How many bytes it has: 2 or 4.
    pub bytes: usize,
}

/// What an exception is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// It is an interrupt.
    pub asynchronous: bool,
    /// Its number.
    pub code: u64,
    /// Its name.
    pub name: &'static str,
}

/// The halfword at `va`, if it is in memory.
pub fn fetch_half<I: Inspect>(vcpu: &Vcpu<I>, va: u64) -> Option<u32> {
    let offset = vcpu.bus.ram().offset_of(I::physical(vcpu, va)?, 2)?;
    Some(vcpu.bus.ram().load::<u16>(offset).into())
}

/// A feature of a target description: its name, types that it defines, and registers by name, number, bits and type.
pub fn feature(
    xml: &mut String,
    name: &str,
    types: &str,
    registers: impl Iterator<Item = (String, usize, usize, &'static str)>,
) {
    // Writing to a string cannot fail.
    let _ = writeln!(xml, "<feature name=\"org.gnu.gdb.{name}\">\n{types}");
    for (name, number, bits, kind) in registers {
        let _ =
            writeln!(xml, "<reg name=\"{name}\" bitsize=\"{bits}\" regnum=\"{number}\" type=\"{kind}\"/>");
    }
    xml.push_str("</feature>\n");
}

/// A target description with these features.
pub fn target(architecture: &str, features: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n\
         <target version=\"1.0\"><architecture>{architecture}</architecture>\n{features}</target>\n"
    )
}
