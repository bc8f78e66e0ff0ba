//! What the lifters of all instruction sets have in common: the loop that makes a block of a run of instructions, and how
//! the instructions' methods tell it to go on.
//!
//! An instruction set is a [`Guest`]; its instructions are methods of `Lifter<'_, ThatGuest>`, which the tables call
//! (`decode_build::compile_dispatch`). A destination is written after everything in an instruction that can raise an
//! exception.

mod reserve;

pub(crate) use reserve::{Role, Sequence};

use emu_core::exec::{Exception, FetchCode};
use emu_core::ir::{Block, BlockBuilder, BlockKey, Terminal, Val};

/// Bytes in a page.
pub(crate) const PAGE: u32 = 4096;
/// Instructions in a block at most.
const MAX_LEN: usize = 64;

/// How lifting goes on after an instruction.
pub(crate) enum Flow {
    /// With the next one.
    Next,
    /// The block ends.
    End(Terminal),
}

/// Why an instruction is not lifted as what it says.
pub(crate) enum Refusal {
    /// It is undefined here.
    Illegal,
    /// It raises this exception: the front end's cause and the value that goes with it.
    Raise(u32, u64),
    /// It must be the first one of its block, and is not.
    NotFirst,
}

pub(crate) type Lifted = Result<Flow, Refusal>;

/// What a lift method returns: most always go on, so they return nothing.
pub(crate) trait Outcome {
    fn outcome(self) -> Lifted;
}

impl Outcome for () {
    fn outcome(self) -> Lifted {
        Ok(Flow::Next)
    }
}

impl Outcome for Terminal {
    fn outcome(self) -> Lifted {
        Ok(Flow::End(self))
    }
}

impl<T: Outcome> Outcome for Result<T, Refusal> {
    fn outcome(self) -> Lifted {
        self?.outcome()
    }
}

impl Outcome for Flow {
    fn outcome(self) -> Lifted {
        Ok(self)
    }
}

/// What an instruction set is to the loop: whatever its instructions' methods need besides the block.
pub(crate) trait Guest: Sized {
    /// The length in bytes, 2 or 4, of the instruction whose lowest 16 bits are `low`.
    fn length(low: u16) -> u8;

    /// Lifts the instruction in `lifter.bits`.
    fn instruction(lifter: &mut Lifter<'_, Self>) -> Lifted;

    /// The exception of an undefined instruction with these bits.
    fn illegal(bits: u32) -> (u32, u64);

    /// Whether the context has changed in this block, so that it must end after this instruction.
    fn context_changed(&self) -> bool {
        false
    }

    /// What the instruction with these bits is to an exclusive sequence.
    fn role(&self, bits: u32) -> Role;
}

/// A block being lifted.
pub(crate) struct Lifter<'a, G> {
    pub builder: &'a mut BlockBuilder,
    code: &'a mut dyn FetchCode,
    /// How many more instructions the block may get.
    left: usize,
    /// Offset of the instruction from the start of the page, its length, and its bits.
    pub at: u32,
    len: u8,
    pub bits: u32,
    /// The exclusive sequence whose end is yet to come.
    pub sequence: Option<Sequence>,
    pub guest: G,
}

/// Lifts one block; the arguments are those of [`emu_core::exec::Isa::lift`].
pub(crate) fn lift<G: Guest>(
    guest: G,
    builder: &mut BlockBuilder,
    key: BlockKey,
    start: u32,
    code: &mut dyn FetchCode,
    limit: usize,
) -> Result<Block, Exception> {
    let left = limit.clamp(1, MAX_LEN);
    let mut lifter = Lifter { builder, code, left, at: start, len: 0, bits: 0, sequence: None, guest };
    let terminal = lifter.block()?;
    Ok(builder.finish(key, terminal))
}

impl<G: Guest> Lifter<'_, G> {
    fn block(&mut self) -> Result<Terminal, Exception> {
        loop {
            let first = self.builder.marks() == 0;
            let go_on = Terminal::Jump { target: self.at as i32, call: None };
            if !first && (self.at >= PAGE || self.is_full()) {
                return Ok(go_on);
            }
            let (bits, len) = match self.fetch(self.at) {
                Ok((_, len)) if !first && self.at + u32::from(len) > PAGE => return Ok(go_on),
                Ok(fetched) => fetched,
                Err(exception) if first => return Err(exception),
                // It will be the first of its own block.
                Err(_) => return Ok(go_on),
            };
            (self.bits, self.len) = (bits, len);
            self.builder.mark(self.at as i32, len);
            if self.at + u32::from(len) > PAGE {
                self.builder.set_crosses_page();
            }
            match G::instruction(self) {
                Ok(Flow::Next) if self.guest.context_changed() => return Ok(self.lookup()),
                Ok(Flow::Next) => {}
                Ok(Flow::End(terminal)) => return Ok(terminal),
                Err(Refusal::Illegal) => {
                    let (cause, value) = G::illegal(bits);
                    return Ok(self.raise(cause, value));
                }
                Err(Refusal::Raise(cause, value)) => return Ok(self.raise(cause, value)),
                Err(Refusal::NotFirst) => {
                    self.builder.unmark();
                    return Ok(go_on);
                }
            }
            self.at += u32::from(len);
            self.left = self.left.saturating_sub(1);
        }
    }

    /// Whether the block must end before the next instruction. In an exclusive sequence it cannot; it was checked before
    /// that there is room for these few.
    fn is_full(&self) -> bool {
        (self.left == 0 || self.builder.is_full()) && self.sequence.is_none()
    }

    /// Replaces what has been emitted for this instruction by an exception.
    fn raise(&mut self, cause: u32, value: u64) -> Terminal {
        self.builder.unmark();
        self.builder.mark(self.at as i32, self.len);
        let value = self.builder.imm(value);
        Terminal::Exception { cause, value }
    }

    /// The instruction at `at` and its length. The second half of one that straddles the page is only read if
    /// it is the first of its block.
    fn fetch(&mut self, at: u32) -> Result<(u32, u8), Exception> {
        let low = self.code.half(at)?;
        let len = G::length(low);
        if len == 2 {
            return Ok((low.into(), len));
        }
        if at + 2 >= PAGE && self.builder.marks() != 0 {
            return Ok((0, len));
        }
        let high = self.code.half(at + 2)?;
        Ok((u32::from(low) | u32::from(high) << 16, len))
    }

    /// The bits of the next instruction, if it is in this page: they only tell what is likely, since another vCPU may write
    /// them.
    pub fn peek_bits(&mut self) -> Option<u32> {
        let at = self.at + u32::from(self.len);
        if at + 4 > PAGE {
            return None;
        }
        let (low, high) = (self.code.half(at).ok()?, self.code.half(at + 2).ok()?);
        Some(u32::from(low) | u32::from(high) << 16)
    }

    /// Offset of the next instruction.
    pub fn next(&self) -> i32 {
        (self.at + u32::from(self.len)) as i32
    }

    /// Offset of the instruction `imm` bytes from this one.
    pub fn target(&self, imm: i32) -> i32 {
        self.at as i32 + imm
    }

    /// Ends the block after this instruction: context, translation or code may have changed.
    pub fn lookup(&self) -> Terminal {
        Terminal::Lookup { next: self.next() }
    }

    /// Refuses the instruction unless it is the first one of its block.
    pub fn must_be_first(&self) -> Result<(), Refusal> {
        if self.builder.marks() > 1 { Err(Refusal::NotFirst) } else { Ok(()) }
    }

    /// The sign-extended constant.
    pub fn imm(&mut self, value: i32) -> Val {
        self.builder.imm(i64::from(value) as u64)
    }

    /// The instruction's bits, as helpers want them.
    pub fn bits(&mut self) -> Val {
        self.builder.imm(self.bits.into())
    }
}
