//! Load-reserved and store-conditional (Unpriv., "Load-Reserved/Store-Conditional Instructions"); how sequences of them are
//! lifted is said in [`crate::lift`].

use emu_core::ir::{Cc, MemAttr, Op, Terminal, Ty};

use super::super::decode::insn32::args::{Amo, Lr};
use super::super::decode::{Insn, insn32};
use super::super::helper::Helper;
use super::a::ordered;
use super::{Lifter, Role, Sequence};

/// The register of [`Role::Compute`] where nothing is written.
const NOWHERE: u8 = 32;

/// What an instruction is to a sequence.
pub(super) fn role(word: u32, insn: Insn) -> Role {
    let field = |name| insn.line().field(name).map_or(0, |field| field.get(word));
    match insn {
        Insn::Long(insn32::Insn::LrW | insn32::Insn::LrD) => Role::Load,
        Insn::Long(insn32::Insn::ScW) => Role::Store(Ty::I32, field("rs1") as u8),
        Insn::Long(insn32::Insn::ScD) => Role::Store(Ty::I64, field("rs1") as u8),
        Insn::Long(insn32::Insn::WrsNto | insn32::Insn::WrsSto) => Role::Wait,
        _ => match insn.format().name {
            "R" | "I" | "U" | "Shift" | "Unary" | "Ciw" | "Ci" | "Ciu" | "Cshift" | "Cr" => {
                Role::Compute(match field("rd") as u8 {
                    0 => NOWHERE,
                    rd => rd,
                })
            }
            "Nop" | "Fence" => Role::Compute(NOWHERE),
            "None" if insn.line().name == "fence.tso" => Role::Compute(NOWHERE),
            "Cisp" => Role::Compute(2),
            "B" | "Cb" => Role::Branch(field("imm") as i32),
            "Cj" => Role::Jump(field("imm") as i32),
            "J" if field("rd") == 0 => Role::Jump(field("imm") as i32),
            _ => Role::Other,
        },
    }
}

impl Lifter<'_> {
    pub(super) fn lr(&mut self, a: Lr, ty: Ty) {
        let rs1 = self.x(a.rs1);
        let written = if a.rd == 0 { NOWHERE } else { a.rd };
        if let Some(loaded) = self.reserve((a.rs1, rs1), &[written], ty) {
            let attr = MemAttr { exclusive: true, ..ordered(a.aq, a.rl) };
            self.builder.load_to(loaded, ty, attr, rs1, 0);
            self.set_x(a.rd, loaded);
        } else {
            let (dst, bytes) = (self.x_dst(a.rd), self.builder.imm(ty.bytes() as u64));
            self.builder.call_to(dst, Helper::LoadReserved as u16, &[rs1, bytes]);
        }
    }

    pub(super) fn sc(&mut self, a: Amo, ty: Ty) {
        let (rs1, rs2) = (self.x(a.rs1), self.x(a.rs2));
        let dst = self.x_dst(a.rd);
        match self.take_sequence() {
            Some(Sequence { loaded, .. }) => {
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

    /// `WRS.NTO` and `WRS.STO`.
    pub(super) fn wrs(&mut self) -> Terminal {
        match self.take_waited() {
            Some(args) => self.call_and_look_up(Helper::WaitWhile, &args),
            None => self.call_and_look_up(Helper::Wrs, &[]),
        }
    }
}
