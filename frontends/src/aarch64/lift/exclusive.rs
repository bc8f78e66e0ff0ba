//! Exclusive loads and stores; how sequences of them are lifted is said in [`crate::lift`].

use emu_core::ir::{Cc, MemAttr, Op, Ty, Val};

use super::super::decode::args::{Ldxp, Ordered, Stxp, Stxr};
use super::super::decode::{Insn, LINES};
use super::super::helper::Helper;
use super::memory::Order;
use super::{Lifter, Role, Sequence, ZERO};

/// The type of both registers of a pair together.
fn pair_ty(ty: Ty) -> Ty {
    if ty == Ty::I64 { Ty::V128 } else { Ty::I64 }
}

/// What an instruction is to a sequence. The stack pointer is register 31.
pub(super) fn role(word: u32, insn: Insn) -> Role {
    let line = &LINES[insn as usize];
    let field = |name| line.field(name).map_or(0, |field| field.get(word));
    let base = || field("rn") as u8;
    match insn.format().name {
        "Adr" | "Adrp" | "AddsImm" | "AndsImm" | "MoveWide" | "Bitfield" | "Extract" | "Bin" | "Un"
        | "Shifted" | "AddsExt" | "Select" | "MulAdd" | "MulAddLong" => match field("rd") as u8 {
            31 => Role::Compute(ZERO),
            rd => Role::Compute(rd),
        },
        "AddImm" | "LogicImm" | "AddExt" => Role::Compute(field("rd") as u8),
        "Compare" | "CompareImm" => Role::Compute(ZERO),
        // Hints that do nothing, and barriers but `ISB`, which ends a block.
        "Hint" | "Bti" | "Barrier" => Role::Compute(ZERO),
        "None" if matches!(line.name, "nop" | "csdb" | "esb" | "sb") => Role::Compute(ZERO),
        "Bcond" | "Cb" | "Tb" => Role::Branch(field("imm") as i32),
        "B" if line.name == "b" => Role::Jump(field("imm") as i32),
        "Stxr" => Role::Store(
            match word >> 30 {
                0 => Ty::I8,
                1 => Ty::I16,
                2 => Ty::I32,
                _ => Ty::I64,
            },
            base(),
        ),
        "Stxp" => Role::Store(if word >> 30 & 1 == 0 { Ty::I64 } else { Ty::V128 }, base()),
        "Ldxp" => Role::Load,
        "None" if line.name == "wfe" => Role::Wait,
        "Ordered" if line.section == "Load/store exclusive register" => Role::Load,
        _ => Role::Other,
    }
}

impl Lifter<'_> {
    pub(super) fn load_exclusive(&mut self, a: Ordered, ty: Ty, order: Order) {
        let base = self.base(a.rn);
        let written = if a.rt == 31 { ZERO } else { a.rt };
        let attr = MemAttr { exclusive: true, ..order.attr() };
        if let Some(loaded) = self.reserve((a.rn, base), &[written], ty) {
            self.builder.load_to(loaded, ty, attr, base, 0);
            self.set_x(a.rt, Ty::I64, loaded);
        } else {
            let bytes = self.builder.imm(ty.bytes() as u64);
            let dst = self.x_dst(a.rt);
            self.builder.call_to(dst, Helper::LoadExclusive as u16, &[base, bytes]);
        }
    }

    pub(super) fn store_exclusive(&mut self, a: Stxr, ty: Ty, order: Order) {
        let (base, value) = (self.base(a.rn), self.x(a.rt));
        match self.take_sequence() {
            Some(Sequence { loaded, .. }) => {
                let old = self.builder.temp();
                self.builder.op(Op::Cas, ty, order.attr().bits(), old, [base, loaded, value], 0);
                let dst = self.x_dst(a.rs);
                self.builder.set_to(dst, Cc::Ne, Ty::I64, old, loaded);
            }
            None => {
                let bytes = self.builder.imm(ty.bytes() as u64);
                let dst = self.x_dst(a.rs);
                self.builder.call_to(dst, Helper::StoreExclusive as u16, &[base, value, bytes]);
            }
        }
    }

    /// A torn 16-byte load differs from what is there at the store, so it need not be atomic.
    pub(super) fn load_exclusive_pair(&mut self, a: Ldxp, ty: Ty, order: Order) {
        let base = self.base(a.rn);
        let both = pair_ty(ty);
        let written = [a.rt, a.rt2].map(|rt| if rt == 31 { ZERO } else { rt });
        if let Some(loaded) = self.reserve((a.rn, base), &written, both) {
            self.must_be_aligned(base, 0, both.bytes(), false);
            let attr = MemAttr { exclusive: true, ..order.attr() };
            self.builder.load_to(loaded, both, attr, base, 0);
            return self.split(ty, loaded, [a.rt, a.rt2]);
        }
        let bytes = self.builder.imm(both.bytes() as u64);
        let low = self.builder.call(Helper::LoadExclusive as u16, &[base, bytes]);
        if ty == Ty::I32 {
            return self.split(ty, low, [a.rt, a.rt2]);
        }
        let high = self.builder.call(Helper::LoadExclusiveHigh as u16, &[]);
        self.set_x(a.rt, ty, low);
        self.set_x(a.rt2, ty, high);
    }

    pub(super) fn store_exclusive_pair(&mut self, a: Stxp, ty: Ty, order: Order) {
        let (base, low, high) = (self.base(a.rn), self.x(a.rt), self.x(a.rt2));
        let reserved = self.take_sequence();
        let Some(Sequence { loaded, .. }) = reserved else {
            let (helper, args) = if ty == Ty::I64 {
                (Helper::StoreExclusivePair, [base, low, high])
            } else {
                (Helper::StoreExclusive, [base, self.join(ty, low, high), self.builder.imm(8)])
            };
            let dst = self.x_dst(a.rs);
            return self.builder.call_to(dst, helper as u16, &args);
        };
        let new = self.join(ty, low, high);
        let (op, op_ty) = if ty == Ty::I64 { (Op::Cas128, Ty::None) } else { (Op::Cas, Ty::I64) };
        let old = self.builder.temp();
        self.builder.op(op, op_ty, order.attr().bits(), old, [base, loaded, new], 0);
        let differs = if ty == Ty::I64 {
            let changed = self.builder.bin(Op::Vxor, Ty::None, old, loaded);
            let [low, high] = [0, 1].map(|half| {
                const LANES_64: u16 = 3;
                let dst = self.builder.temp();
                self.builder.op(Op::Vget, Ty::None, LANES_64, dst, [changed, Val::NONE, Val::NONE], half);
                dst
            });
            self.builder.bin(Op::Or, Ty::I64, low, high)
        } else {
            self.builder.bin(Op::Xor, Ty::I64, old, loaded)
        };
        let zero = self.builder.imm(0);
        let dst = self.x_dst(a.rs);
        self.builder.set_to(dst, Cc::Ne, Ty::I64, differs, zero);
    }
}
