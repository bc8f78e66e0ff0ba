//! Guest register slots as the variables of a region.

use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use emu_core::exec::SLOTS;
use emu_core::ir::{Block, Class, Op, SlotInfo, Terminal, Ty, Val, ValKind};

use super::halves::halves;
use super::{FLAGS, vec_float};
use crate::frame;
use crate::region::plan::Plan;
use crate::template::asm::Mem;

/// A set of slots.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SlotSet([u64; SLOTS / 64]);

impl SlotSet {
    pub(super) fn add(&mut self, slot: u16) {
        self.0[usize::from(slot) / 64] |= 1 << (slot % 64);
    }

    pub(super) fn contains(&self, slot: u16) -> bool {
        self.0[usize::from(slot) / 64] >> (slot % 64) & 1 != 0
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u16> {
        (0..SLOTS as u16).filter(move |&slot| self.contains(slot))
    }
}

/// A guest register slot in the region.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub var: Variable,
    pub class: Class,
    pub form: Form,
}

/// What the variable of a slot is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// All of it.
    Whole,
    /// Its lower half: the slot, one of integers, holds nothing but extensions of such by their signs.
    Half,
    /// A binary32 number: the slot, one of numbers, holds nothing but such, boxed.
    Boxed,
    /// A binary32 number: the slot, one of vectors, holds nothing but such, with zeros above.
    LowSingle,
    /// The same with 64 bits.
    LowDouble,
}

impl Form {
    fn of(plan: &Plan, info: &SlotInfo, halves: &SlotSet) -> Self {
        match info.class {
            Class::Int if halves.contains(info.index) => Self::Half,
            Class::Float if holds_singles(plan, info.index) => Self::Boxed,
            Class::Vec => match holds_lows(plan, info.index) {
                Some(Ty::F32) => Self::LowSingle,
                Some(_) => Self::LowDouble,
                None => Self::Whole,
            },
            _ => Self::Whole,
        }
    }

    fn ty(self, class: Class) -> Type {
        match self {
            Self::Whole => class_type(class),
            Self::Half => types::I32,
            Self::Boxed | Self::LowSingle => types::F32,
            Self::LowDouble => types::F64,
        }
    }
}

/// The type of the numbers that a slot of vectors holds, with zeros above, if the region makes it hold nothing else.
fn holds_lows(plan: &Plan, slot: u16) -> Option<Ty> {
    let slot = Val::slot(slot);
    let mut found = None;
    for inst in plan.nodes.iter().flat_map(|node| &node.block.insts) {
        if inst.dst == slot {
            let ty = vec_float::makes_low(inst)?;
            if *found.get_or_insert(ty) != ty {
                return None;
            }
        }
    }
    found
}

/// Whether a slot of numbers holds nothing but boxed binary32 numbers, as far as the region is concerned.
fn holds_singles(plan: &Plan, slot: u16) -> bool {
    let slot = Val::slot(slot);
    let mut boxes = false;
    for inst in plan.nodes.iter().flat_map(|node| &node.block.insts) {
        if inst.dst == slot {
            if (inst.op, inst.ty) != (Op::Fbox, Ty::F32) {
                return false;
            }
            boxes = true;
        }
        let read = [inst.a, inst.b, inst.c].contains(&slot);
        if read && !(inst.ty == Ty::F32 && matches!(inst.op, Op::Funbox | Op::Store)) {
            return false;
        }
        boxes |= read && inst.op == Op::Funbox;
    }
    boxes
}

const fn class_type(class: Class) -> Type {
    match class {
        Class::Int => types::I64,
        Class::Float => types::F64,
        Class::Vec => types::I8X16,
    }
}

fn written(block: &Block) -> SlotSet {
    let mut set = SlotSet::default();
    for inst in &block.insts {
        if let ValKind::Slot(n) = inst.dst.kind() {
            set.add(n);
        }
    }
    set
}

/// The slots that a block reads or writes.
fn used(block: &Block) -> SlotSet {
    let mut set = written(block);
    let mut read = |val: Val| {
        if let ValKind::Slot(n) = val.kind() {
            set.add(n);
        }
    };
    for inst in &block.insts {
        [inst.a, inst.b, inst.c].into_iter().for_each(&mut read);
    }
    match block.terminal {
        Terminal::Branch { a, b, .. } => [a, b].into_iter().for_each(&mut read),
        Terminal::Indirect { target, .. } => read(target),
        _ => {}
    }
    set
}

/// For each node the slots whose memory may be out of date when it begins.
pub(super) fn dirty_in(plan: &Plan) -> Vec<SlotSet> {
    let own: Vec<SlotSet> = plan.nodes.iter().map(|node| written(&node.block)).collect();
    plan.flow(vec![SlotSet::default(); plan.nodes.len()], |n, dirty| dirty.union(own[n]), SlotSet::union)
}

/// Loads the slots that the region uses; and what is zero if those that it keeps as less than all of them hold what it takes them
/// for.
pub(super) fn load(
    f: &mut FunctionBuilder<'_>,
    plan: &Plan,
    infos: &[SlotInfo],
    state: Value,
) -> (Vec<Option<Slot>>, Option<Value>) {
    let at_state = |f: &mut FunctionBuilder<'_>, ty, at: Mem| f.ins().load(ty, FLAGS, state, at.disp);
    let mut slots = vec![None; SLOTS];
    let mut uppers: Option<Value> = None;
    let halves = halves(plan, infos);
    let all = plan.nodes.iter().fold(SlotSet::default(), |set, node| set.union(used(&node.block)));
    for info in infos {
        if !all.contains(info.index) {
            continue;
        }
        let form = Form::of(plan, info, &halves);
        let ty = form.ty(info.class);
        let at = frame::slot(info.index);
        let var = f.declare_var(ty);
        let value = at_state(f, ty, at);
        f.def_var(var, value);
        let mut upper = |ty, by| at_state(f, ty, Mem { disp: at.disp + by, ..at });
        // Zero, if the slot is what the region takes it for.
        let beyond = match form {
            Form::Whole => None,
            Form::Half => {
                let upper = upper(types::I32, 4);
                let sign = f.ins().sshr_imm_u(value, 31);
                let differs = f.ins().bxor(upper, sign);
                Some(f.ins().uextend(types::I64, differs))
            }
            Form::Boxed => {
                let upper = upper(types::I32, 4);
                let inverted = f.ins().bnot(upper);
                Some(f.ins().uextend(types::I64, inverted))
            }
            Form::LowDouble => Some(upper(types::I64, 8)),
            Form::LowSingle => {
                let (next, last) = (upper(types::I32, 4), upper(types::I64, 8));
                let next = f.ins().uextend(types::I64, next);
                Some(f.ins().bor(next, last))
            }
        };
        if let Some(beyond) = beyond {
            uppers = Some(match uppers {
                Some(all) => f.ins().bor(all, beyond),
                None => beyond,
            });
        }
        slots[usize::from(info.index)] = Some(Slot { var, class: info.class, form });
    }
    (slots, uppers)
}
