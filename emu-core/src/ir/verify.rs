//! Checks that a block is well formed. Lifted blocks are checked in debug builds, parsed ones always.

use thiserror::Error;

use super::block::{Block, Inst, Terminal};
use super::op::{Kind, Op};
use super::types::{Class, SlotInfo, Ty, Val, ValKind};

/// What is wrong with a block.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("operation {index}: {problem}")]
pub struct VerifyError {
    /// The operation's index; the number of operations stands for the terminal.
    pub index: usize,
    /// The rule that is broken.
    pub problem: &'static str,
}

/// Checks `block` against the operation table and the register slots of its front end.
pub fn verify(block: &Block, slots: &[SlotInfo]) -> Result<(), VerifyError> {
    let mut checker = Checker { block, slots, temps: vec![None; usize::from(block.temps)] };
    for (index, inst) in block.insts.iter().enumerate() {
        checker.inst(inst).map_err(|problem| VerifyError { index, problem })?;
    }
    let end = block.insts.len();
    checker.terminal().map_err(|problem| VerifyError { index: end, problem })?;
    let mut last = (0, i32::MIN);
    if block.marks.is_empty() {
        return Err(VerifyError { index: 0, problem: "a block holds at least one guest instruction" });
    }
    for mark in &block.marks {
        let position = (usize::from(mark.inst), mark.offset);
        if position.0 > end || position.0 < last.0 || position.1 <= last.1 {
            return Err(VerifyError { index: position.0, problem: "marks must be in order" });
        }
        last = position;
    }
    Ok(())
}

struct Checker<'a> {
    block: &'a Block,
    slots: &'a [SlotInfo],
    /// The class of each temporary that has been assigned.
    temps: Vec<Option<Class>>,
}

impl Checker<'_> {
    fn inst(&mut self, inst: &Inst) -> Result<(), &'static str> {
        let info = inst.op.info();
        if !info.types.contains(inst.ty) {
            return Err("the operation does not come in this type");
        }
        for (kind, val) in info.src.into_iter().zip([inst.a, inst.b, inst.c]) {
            match kind.class(inst.ty) {
                None if val.is_none() => {}
                None => return Err("the operation has fewer sources"),
                Some(class) => self.source(val, class)?,
            }
        }
        let mut known = 0u16;
        for (shift, width, names) in info.attr {
            let mask = (1u16 << width) - 1;
            known |= mask << shift;
            if usize::from(inst.attr >> shift & mask) >= names.len() {
                return Err("a field of the attribute has no such value");
            }
        }
        if inst.attr & !known != 0 {
            return Err("the attribute has bits that the operation does not know");
        }
        if !info.imm && inst.imm != 0 {
            return Err("the operation has no immediate");
        }
        if matches!(inst.op, Op::Extract | Op::Extracts | Op::Insert) {
            let bits = 8 * inst.ty.bytes() as i32;
            let (lsb, len) = (inst.imm & 0xff, inst.imm >> 8);
            if len < 1 || lsb + len > bits {
                return Err("the bit field does not fit the type");
            }
        }
        match info.dst.class(inst.ty) {
            None if inst.dst.is_none() => Ok(()),
            None => Err("the operation has no result"),
            Some(_) if info.dst == Kind::O && inst.dst.is_none() => Ok(()),
            Some(class) => self.destination(inst.dst, class),
        }
    }

    fn terminal(&self) -> Result<(), &'static str> {
        match self.block.terminal {
            Terminal::Jump { .. } | Terminal::Lookup { .. } => Ok(()),
            Terminal::Branch { ty, a, b, .. } => {
                if !matches!(ty, Ty::I32 | Ty::I64) {
                    return Err("branches compare 32-bit or 64-bit integers");
                }
                self.source(a, Class::Int)?;
                self.source(b, Class::Int)
            }
            Terminal::Indirect { target: value, .. } | Terminal::Exception { value, .. } => {
                self.source(value, Class::Int)
            }
        }
    }

    fn source(&self, val: Val, class: Class) -> Result<(), &'static str> {
        let found = match val.kind() {
            ValKind::Slot(n) => self.slot_class(n).ok_or("there is no such slot")?,
            ValKind::Temp(n) => {
                let temp = self.temps.get(usize::from(n)).ok_or("there is no such temporary")?;
                temp.ok_or("the temporary is used before it is assigned")?
            }
            ValKind::Const(n) if usize::from(n) < self.block.consts.len() => Class::Int,
            ValKind::Const(_) => return Err("there is no such constant"),
            ValKind::None => return Err("a source is missing"),
        };
        // A vector stands for the number in its low bits.
        let fits = found == class || (class == Class::Float && found == Class::Vec);
        if fits { Ok(()) } else { Err("a source is of the wrong class") }
    }

    fn destination(&mut self, val: Val, class: Class) -> Result<(), &'static str> {
        match val.kind() {
            ValKind::Slot(n) if self.slot_class(n) == Some(class) => Ok(()),
            ValKind::Slot(_) => Err("the destination slot is of the wrong class"),
            ValKind::Temp(n) => {
                let temp = self.temps.get_mut(usize::from(n)).ok_or("there is no such temporary")?;
                if temp.replace(class).is_some() { Err("the temporary is assigned twice") } else { Ok(()) }
            }
            ValKind::Const(_) | ValKind::None => Err("the destination must be a slot or a temporary"),
        }
    }

    fn slot_class(&self, index: u16) -> Option<Class> {
        self.slots.iter().find(|slot| slot.index == index).map(|slot| slot.class)
    }
}
