//! Exclusive sequences: load-reserved to store-conditional, load-exclusive to store-exclusive.
//!
//! The store must fail if another CPU has stored to the word since the load, even if the value is the same
//! again: programs rely on it when they follow a pointer in between (the ABA problem). Two ways are right, and used:
//!
//! - Where both instructions are in one sequence whose other instructions only compute in registers, the
//!   stored value is a function of the loaded value (and of registers that no other CPU can change). Then a
//!   compare-and-swap with the loaded value is exact: if the word holds that value at the swap, everything is
//!   as if load, computation and store had all happened at that moment. The whole sequence is lifted into one block.
//! - Elsewhere, helpers stop the other CPUs from the load to the store ([`crate::exclusive`]).
//!
//! A load that only a waiting instruction follows (how Linux waits for a word to change) reserves nothing: that instruction
//! looks whether the word still has the value that was loaded.

use emu_core::ir::{Ty, Val};

use super::{Guest, Lifter, PAGE};

/// A sequence in one block, of which the load has been lifted.
pub(crate) struct Sequence {
    /// Where it has loaded from.
    pub address: Val,
    /// What it has loaded.
    pub loaded: Val,
    /// The type of that.
    pub ty: Ty,
    /// Offset of the instruction that ends the sequence.
    end: u32,
}

/// The instructions that a sequence may have (RISC-V Unpriv., "Eventual Success of Store-Conditional Instructions"; Arm
/// names no number).
const MAX_SEQUENCE: usize = 16;

/// What an instruction is to a sequence. Registers are numbered as the front end likes.
pub(crate) enum Role {
    /// It computes a value for this register, from registers only; or it does nothing or is a barrier, and the register is
    /// none that there is.
    Compute(u8),
    /// It may go on this many bytes from itself.
    Branch(i32),
    /// It goes on this many bytes from itself, and does nothing else.
    Jump(i32),
    /// The load of another sequence.
    Load,
    /// The store of this type to the address in this register.
    Store(Ty, u8),
    /// It waits until somebody stores to what has been loaded, or for a while.
    Wait,
    /// Anything else.
    Other,
}

impl<G: Guest> Lifter<'_, G> {
    /// Begins the sequence of the load at hand, of type `ty` at `address`, which is in register `base`, if all of it can be
    /// in one block: the temporary that the load is to write. The load itself changes the registers `written`.
    pub fn reserve(&mut self, (base, address): (u8, Val), written: &[u8], ty: Ty) -> Option<Val> {
        if written.contains(&base) {
            return None;
        }
        let end = self.end_of_sequence(base, ty)?;
        let loaded = self.builder.temp();
        self.sequence = Some(Sequence { address, loaded, ty, end });
        Some(loaded)
    }

    /// The load of the sequence that ends with the instruction at hand; none if that is no part of one.
    pub fn take_sequence(&mut self) -> Option<Sequence> {
        self.sequence.take_if(|sequence| sequence.end == self.at)
    }

    /// Ends the sequence at hand by waiting for its word to change: the arguments of the helper that does it.
    pub fn take_waited(&mut self) -> Option<[Val; 3]> {
        let Sequence { address, loaded, ty, .. } = self.take_sequence()?;
        Some([address, loaded, self.builder.imm(ty.bytes() as u64)])
    }

    /// Where the store or the wait is that belongs to the load at hand, if all between them can be in one block.
    fn end_of_sequence(&mut self, base: u8, ty: Ty) -> Option<u32> {
        let start = self.at;
        let mut at = self.next() as u32;
        let mut exits = Vec::new();
        // The load counts, too.
        for _ in 2..=MAX_SEQUENCE.min(self.left) {
            let (role, len) = self.peek(at)?;
            match role {
                Role::Compute(to) if to != base => {}
                Role::Branch(imm) => exits.push(at as i32 + imm),
                Role::Store(store, address) if store != ty || address != base => return None,
                Role::Wait if ty.bytes() > 8 => return None,
                Role::Store(..) | Role::Wait => {
                    exits.push((at + len) as i32);
                    let leaves = |exit: &i32| *exit <= start as i32 || *exit > at as i32;
                    let waits = matches!(role, Role::Wait);
                    let fused = exits.iter().all(leaves)
                        && exits.into_iter().all(|exit| exit == start as i32 || !self.may_store(exit, waits));
                    return fused.then_some(at);
                }
                _ => return None,
            }
            at += len;
        }
        None
    }

    /// Whether a store of a sequence may follow at `at` without a load before it. After a sequence that was left in the
    /// middle, or that `waits`, it would never succeed; behind a store it could, by a reservation from before it.
    fn may_store(&mut self, at: i32, waits: bool) -> bool {
        let Ok(mut at) = u32::try_from(at) else { return true };
        for _ in 0..MAX_SEQUENCE {
            match self.peek(at) {
                Some((Role::Compute(_) | Role::Branch(_), len)) => at += len,
                Some((Role::Jump(imm), _)) => match at.checked_add_signed(imm) {
                    Some(target) if target < PAGE => at = target,
                    // Out of the code around a store it is most likely a call.
                    _ => return waits,
                },
                Some((Role::Load | Role::Wait | Role::Other, _)) => return false,
                Some((Role::Store(..), _)) | None => return true,
            }
        }
        false
    }

    /// The role and the length of the instruction at `at`, if it is wholly in this page.
    fn peek(&mut self, at: u32) -> Option<(Role, u32)> {
        if at + 2 > PAGE {
            return None;
        }
        let low = self.code.half(at).ok()?;
        let len = u32::from(G::length(low));
        if at + len > PAGE {
            return None;
        }
        let high = if len == 4 { self.code.half(at + 2).ok()? } else { 0 };
        Some((self.guest.role(u32::from(low) | u32::from(high) << 16), len))
    }
}
