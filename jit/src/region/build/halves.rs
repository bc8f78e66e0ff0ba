//! Which integer slots a region keeps the lower halves of alone: those that hold nothing but extensions of these by their signs,
//! as far as the region makes them, and of which nothing in it needs more.

use emu_core::ir::{Block, Class, Inst, MemAttr, Op, SlotInfo, Terminal, Ty, Val, ValKind};

use super::slots::SlotSet;
use crate::region::plan::Plan;
use crate::template::guess::Guess;

/// What is taken for true of values until it is found not to be.
struct Facts<'a> {
    block: &'a Block,
    slots: &'a SlotSet,
    temps: Vec<bool>,
}

impl Facts<'_> {
    /// Whether a value is the extension of its lower half.
    fn is_narrow(&self, val: Val) -> bool {
        match val.kind() {
            ValKind::Slot(n) => self.slots.contains(n),
            ValKind::Temp(n) => self.temps[usize::from(n)],
            ValKind::Const(_) => {
                self.block.constant(val).is_some_and(|value| i32::try_from(value as i64).is_ok())
            }
            ValKind::None => true,
        }
    }

    fn is_constant_in(&self, val: Val, range: std::ops::RangeInclusive<u64>) -> bool {
        self.block.constant(val).is_some_and(|value| range.contains(&value))
    }

    /// Whether an operation makes one.
    fn makes_narrow(&self, inst: &Inst) -> bool {
        let wide = inst.ty == Ty::I64;
        match inst.op {
            Op::Sext32 | Op::Zext8 | Op::Zext16 | Op::Set | Op::NzcvTest => true,
            Op::Sext8 | Op::Sext16 | Op::Mov if wide => inst.op != Op::Mov || self.is_narrow(inst.a),
            Op::Clz | Op::Ctz | Op::Popcnt => true,
            Op::And if wide && self.is_constant_in(inst.b, 0..=i32::MAX as u64) => true,
            Op::And | Op::Or | Op::Xor if wide => self.is_narrow(inst.a) && self.is_narrow(inst.b),
            Op::Shr if wide => self.is_constant_in(inst.b, 33..=63),
            Op::Sar if wide => self.is_constant_in(inst.b, 32..=63),
            Op::Load => match inst.ty {
                Ty::I8 | Ty::I16 => true,
                Ty::I32 => MemAttr::from_bits(inst.attr).signed,
                _ => false,
            },
            _ => false,
        }
    }

    /// Calls `needs` with each operand of which the operation needs more than the lower half.
    fn needed(&self, inst: &Inst, mut needs: impl FnMut(Val)) {
        let bitwise = matches!(inst.op, Op::And | Op::Or | Op::Xor);
        let compares = inst.op == Op::Set && self.is_narrow(inst.a) && self.is_narrow(inst.b);
        match inst.op {
            Op::Sext8 | Op::Sext16 | Op::Sext32 | Op::Zext8 | Op::Zext16 | Op::Zext32 => {}
            Op::Store => {
                needs(inst.a);
                if !matches!(inst.ty, Ty::I8 | Ty::I16 | Ty::I32) {
                    needs(inst.b);
                }
            }
            Op::Load => needs(inst.a),
            _ if inst.ty == Ty::I32 && (inst.op as u8) < Op::Load as u8 => {}
            _ if compares => {}
            _ if (bitwise || inst.op == Op::Mov) && self.makes_narrow(inst) => {}
            _ => [inst.a, inst.b, inst.c].into_iter().for_each(needs),
        }
    }
}

/// Those slots.
pub(super) fn halves(plan: &Plan, infos: &[SlotInfo]) -> SlotSet {
    let mut set = SlotSet::default();
    let mut written = SlotSet::default();
    for inst in plan.nodes.iter().flat_map(|node| &node.block.insts) {
        if let ValKind::Slot(n) = inst.dst.kind() {
            written.add(n);
        }
    }
    for info in infos {
        let holds_one = |seen: &Guess| i32::try_from(seen.slot(info.index) as i64).is_ok();
        let may_be = plan.seen.as_ref().is_none_or(holds_one);
        let is_held = written.contains(info.index) && !plan.in_memory.contains(&info.index);
        if info.class == Class::Int && is_held && may_be {
            set.add(info.index);
        }
    }
    loop {
        let mut wide = SlotSet::default();
        let mut exclude = |val: Val| {
            if let ValKind::Slot(n) = val.kind() {
                wide.add(n);
            }
        };
        for node in &plan.nodes {
            let block = &node.block;
            let mut facts = Facts { block, slots: &set, temps: vec![false; block.temps.into()] };
            for inst in &block.insts {
                facts.needed(inst, &mut exclude);
                let narrow = facts.makes_narrow(inst);
                match inst.dst.kind() {
                    ValKind::Temp(n) => facts.temps[usize::from(n)] = narrow,
                    ValKind::Slot(_) if !narrow => exclude(inst.dst),
                    _ => {}
                }
            }
            match block.terminal {
                Terminal::Branch { ty, a, b, .. }
                    if ty != Ty::I32 && !(facts.is_narrow(a) && facts.is_narrow(b)) =>
                {
                    [a, b].into_iter().for_each(&mut exclude);
                }
                Terminal::Indirect { target, .. } => exclude(target),
                _ => {}
            }
        }
        let less = set.without(wide);
        if less == set {
            return set;
        }
        set = less;
    }
}

#[cfg(test)]
mod tests {
    use emu_core::ir::{BlockBuilder, BlockKey};

    use super::*;

    #[test]
    fn what_is_copied_from_memory_is_as_wide_as_it_is_there() {
        let [from, mid, to] = [7, 5, 6].map(Val::slot);
        let mut builder = BlockBuilder::new();
        builder.mark(0, 4);
        builder.un_to(mid, Op::Sext32, Ty::I64, from);
        builder.un_to(to, Op::Mov, Ty::I64, mid);
        let block = builder.finish(BlockKey { pa: 0, ctx: 0 }, Terminal::Lookup { next: 4 });
        let infos = [5, 6, 7].map(|index| SlotInfo { name: "x", class: Class::Int, index });
        let mut plan = Plan::of_block(&block);
        let found = |plan: &Plan| halves(plan, &infos).iter().collect::<Vec<u16>>();
        assert_eq!(found(&plan), [5, 6]);
        // It is not looked at where the region is entered, and may be copied before it is written.
        plan.in_memory = vec![5];
        assert!(found(&plan).is_empty());
    }
}
