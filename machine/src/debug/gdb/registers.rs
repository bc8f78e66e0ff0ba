//! Registers as gdb's protocol moves them, for any instruction set.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

use emu_core::exec::Vcpu;

use crate::debug::inspect::Inspect;

/// An instruction set as the protocol names its registers.
pub struct Target<I>(PhantomData<I>);

impl<I: Inspect> gdbstub::arch::Arch for Target<I> {
    type Usize = u64;
    type Registers = Registers<I>;
    type BreakpointKind = usize;
    type RegId = Register<I>;
}

/// A register, by gdb's number.
pub struct Register<I> {
    /// The number.
    pub number: usize,
    /// Its size in bytes.
    pub bytes: usize,
    isa: PhantomData<I>,
}

impl<I> fmt::Debug for Register<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Register({})", self.number)
    }
}

impl<I: Inspect> gdbstub::arch::RegId for Register<I> {
    fn from_raw_id(number: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let bytes = I::register_bytes(number)?;
        Some((Self { number, bytes, isa: PhantomData }, NonZeroUsize::new(bytes)))
    }
}

/// What one packet moves.
pub struct Registers<I> {
    values: Vec<u128>,
    isa: PhantomData<fn() -> I>,
}

impl<I: Inspect> Default for Registers<I> {
    fn default() -> Self {
        Self { values: vec![0; I::GENERAL], isa: PhantomData }
    }
}

impl<I> Clone for Registers<I> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), isa: PhantomData }
    }
}

impl<I> fmt::Debug for Registers<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.values).finish()
    }
}

impl<I> PartialEq for Registers<I> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl<I: Inspect> Registers<I> {
    /// Those of `vcpu`; one that it does not have is zero.
    pub fn read(vcpu: &Vcpu<I>) -> Self {
        let values = (0..I::GENERAL).map(|number| I::read_register(vcpu, number).unwrap_or(0));
        Self { values: values.collect(), isa: PhantomData }
    }

    /// Gives them to `vcpu`.
    pub fn write(&self, vcpu: &mut Vcpu<I>) {
        for (number, value) in self.values.iter().enumerate() {
            // What has not changed is left alone: writing may have effects on other registers.
            if I::read_register(vcpu, number) != Some(*value) {
                I::write_register(vcpu, number, *value);
            }
        }
    }

    fn sizes() -> impl Iterator<Item = usize> {
        (0..I::GENERAL).map(|number| I::register_bytes(number).unwrap_or(0))
    }
}

impl<I: Inspect> gdbstub::arch::Registers for Registers<I> {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.values.get(I::PC).map_or(0, |pc| *pc as u64)
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        for (value, bytes) in self.values.iter().zip(Self::sizes()) {
            value.to_le_bytes().into_iter().take(bytes).for_each(|byte| write_byte(Some(byte)));
        }
    }

    fn gdb_deserialize(&mut self, mut packet: &[u8]) -> Result<(), ()> {
        for (value, bytes) in self.values.iter_mut().zip(Self::sizes()) {
            let (register, rest) = packet.split_at_checked(bytes).ok_or(())?;
            *value = value_of(register).ok_or(())?;
            packet = rest;
        }
        if packet.is_empty() { Ok(()) } else { Err(()) }
    }
}

/// The little-endian number; none if it has more than 16 bytes.
pub fn value_of(bytes: &[u8]) -> Option<u128> {
    let mut value = [0; 16];
    value.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u128::from_le_bytes(value))
}
