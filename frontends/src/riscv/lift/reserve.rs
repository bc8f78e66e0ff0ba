//! Load-reserved and store-conditional (Unpriv., "Load-Reserved/Store-Conditional Instructions").
//!
//! A store-conditional must fail if another hart has stored to the word since the load-reserved, even if the
//! value is the same again: programs rely on it when they follow a pointer in between (the ABA problem). Two
//! ways are right, and used:
//!
//! - Where both instructions are in one sequence whose other instructions only compute in registers, the
//!   stored value is a function of the loaded value (and of registers that no other hart can change). Then a
//!   compare-and-swap with the loaded value is exact: if the word holds that value at the swap, everything is
//!   as if load-reserved, computation and store had all happened at that moment. The whole sequence is lifted
//!   into one block.
//! - Elsewhere, helpers stop the other harts from the load-reserved to the store-conditional.
//!
//! A load-reserved that only a `WRS` follows (how Linux waits for a word to change) reserves nothing: the `WRS` looks
//! whether the word still has the value that was loaded.

use emu_core::ir::{Cc, MemAttr, Op, Terminal, Ty, Val};

use super::super::decode::insn32::args::{Amo, Lr};
use super::super::decode::{Insn, insn32};
use super::super::helper::Helper;
use super::a::ordered;
use super::{Lifter, PAGE};

/// A load-reserved whose store-conditional, or `WRS`, is in the same block.
pub(super) struct Reservation {
    /// Where it has loaded from.
    address: Val,
    /// What it has loaded.
    loaded: Val,
    /// The type of that.
    ty: Ty,
    /// Offset of the instruction that ends it.
    end: u32,
}

/// The instructions that a constrained loop may have (Unpriv., "Eventual Success of Store-Conditional
/// Instructions").
const MAX_SEQUENCE: usize = 16;

/// What an instruction is to a sequence.
enum Role {
    /// It computes a value for this register, from registers only.
    Compute(u8),
    /// It may go on this many bytes from itself.
    Branch(i32),
    /// Load-reserved.
    Load,
    /// Store-conditional of this type to the address in this register.
    Store(Ty, u8),
    /// Wait-on-reservation-set.
    Wait,
    /// Anything else.
    Other,
}

fn role(word: u32, insn: Insn) -> Role {
    let field = |name| insn.line().field(name).map_or(0, |field| field.get(word));
    match insn {
        Insn::Long(insn32::Insn::LrW | insn32::Insn::LrD) => Role::Load,
        Insn::Long(insn32::Insn::ScW) => Role::Store(Ty::I32, field("rs1") as u8),
        Insn::Long(insn32::Insn::ScD) => Role::Store(Ty::I64, field("rs1") as u8),
        Insn::Long(insn32::Insn::WrsNto | insn32::Insn::WrsSto) => Role::Wait,
        _ => match insn.format().name {
            "R" | "I" | "U" | "Shift" | "Unary" => Role::Compute(field("rd") as u8),
            "Ciw" | "Ci" | "Ciu" | "Cshift" | "Cr" => Role::Compute(field("rd") as u8),
            "Nop" => Role::Compute(0),
            "Cisp" => Role::Compute(2),
            "B" | "Cb" => Role::Branch(field("imm") as i32),
            _ => Role::Other,
        },
    }
}

impl Lifter<'_> {
    pub(super) fn lr(&mut self, a: Lr, ty: Ty) {
        let rs1 = self.x(a.rs1);
        if let Some(end) = self.sequence(&a, ty) {
            let loaded = self.builder.temp();
            let attr = MemAttr { exclusive: true, ..ordered(a.aq, a.rl) };
            self.builder.load_to(loaded, ty, attr, rs1, 0);
            self.set_x(a.rd, loaded);
            self.reservation = Some(Reservation { address: rs1, loaded, ty, end });
        } else {
            let (dst, bytes) = (self.x_dst(a.rd), self.builder.imm(ty.bytes() as u64));
            self.builder.call_to(dst, Helper::LoadReserved as u16, &[rs1, bytes]);
        }
    }

    pub(super) fn sc(&mut self, a: Amo, ty: Ty) {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        let dst = self.x_dst(a.rd);
        match self.reservation.take_if(|reservation| reservation.end == self.at) {
            Some(Reservation { loaded, .. }) => {
                let old = self.builder.temp();
                let attr = ordered(a.aq, a.rl);
                self.builder.op(Op::Cas, ty, attr.bits(), old, [rs1, loaded, rs2], 0);
                self.builder.set_to(dst, Cc::Ne, ty, old, loaded);
            }
            None => {
                let bytes = self.builder.imm(ty.bytes() as u64);
                self.builder.call_to(dst, Helper::StoreConditional as u16, &[rs1, rs2, bytes]);
            }
        }
    }

    /// `WRS.NTO` (`short` = 0) and `WRS.STO` (`short` = 1).
    pub(super) fn wrs(&mut self, short: u64) -> Terminal {
        match self.reservation.take_if(|reservation| reservation.end == self.at) {
            Some(Reservation { address, loaded, ty, .. }) => {
                let bytes = self.builder.imm(ty.bytes() as u64);
                self.call_and_look_up(Helper::WaitWhile, &[address, loaded, bytes])
            }
            None => {
                let (bits, short) = (self.bits(), self.builder.imm(short));
                self.call_and_look_up(Helper::Wrs, &[bits, short])
            }
        }
    }

    /// Where the store-conditional or the `WRS` is that belongs to this load-reserved, if all between them can be in
    /// one block.
    fn sequence(&mut self, a: &Lr, ty: Ty) -> Option<u32> {
        let start = self.at;
        let mut at = self.next() as u32;
        let mut exits = Vec::new();
        if a.rd == a.rs1 && a.rd != 0 {
            return None;
        }
        // This instruction counts, too.
        for _ in 2..=MAX_SEQUENCE.min(self.left) {
            let (role, len) = self.peek(at)?;
            match role {
                Role::Compute(rd) if rd != a.rs1 || rd == 0 => {}
                Role::Branch(imm) => exits.push(at as i32 + imm),
                Role::Store(other, rs1) if other != ty || rs1 != a.rs1 => return None,
                Role::Store(..) | Role::Wait => {
                    exits.push((at + len) as i32);
                    let leaves = |exit: &i32| *exit <= start as i32 || *exit > at as i32;
                    let fused = exits.iter().all(leaves)
                        && exits.into_iter().all(|exit| exit == start as i32 || !self.may_store(exit));
                    return fused.then_some(at);
                }
                _ => return None,
            }
            at += len;
        }
        None
    }

    /// Whether a store-conditional may follow at `at` without a load-reserved before it. After a sequence that
    /// was left in the middle it would never succeed; behind one it could, by a reservation from before it.
    fn may_store(&mut self, at: i32) -> bool {
        let Ok(mut at) = u32::try_from(at) else { return true };
        for _ in 0..MAX_SEQUENCE {
            match self.peek(at) {
                Some((Role::Compute(_) | Role::Branch(_), len)) => at += len,
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
        let len = u32::from(super::length(low));
        if at + len > PAGE {
            return None;
        }
        let high = if len == 4 { self.code.half(at + 2).ok()? } else { 0 };
        let word = u32::from(low) | u32::from(high) << 16;
        let role = Insn::decode(word, self.ext).map_or(Role::Other, |insn| role(word, insn));
        Some((role, len))
    }
}
