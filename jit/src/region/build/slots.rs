//! Guest register slots as the variables of a region.

use std::collections::HashMap;

use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use emu_core::exec::SLOTS;
use emu_core::ir::{Block, Class, Inst, Op, SlotInfo, Ty, Val, ValKind};

use super::halves::halves;
use super::{FLAGS, late, vec};
use crate::frame;
use crate::region::plan::{Node, Plan};
use crate::template::asm::Mem;

/// Slots of integers that a region can have in variables.
const MOST_HELD: usize = 14;
/// Those that it has in variables if there are more: the most used.
const HELD_OF_MANY: usize = 11;

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

/// All of what slot `n`, one of integers, holds where the region is entered.
pub(super) fn at_entry(f: &mut FunctionBuilder<'_>, state: Value, n: u16) -> Value {
    f.ins().load(types::I64, FLAGS, state, frame::slot(n).disp)
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
    /// A number, or the bits of one, if the type is that of an integer: the slot, one of vectors, holds nothing but such, with
    /// zeros above.
    Low(Ty),
}

impl Form {
    fn of(plan: &Plan, info: &SlotInfo, halves: &SlotSet, lows: &HashMap<u16, Ty>) -> Self {
        match info.class {
            Class::Int if halves.contains(info.index) => Self::Half,
            Class::Float if holds_singles(plan, info.index) => Self::Boxed,
            Class::Vec => lows.get(&info.index).map_or(Self::Whole, |&ty| Self::Low(ty)),
            _ => Self::Whole,
        }
    }

    fn ty(self, class: Class) -> Type {
        match self {
            Self::Whole => class_type(class),
            Self::Half => types::I32,
            Self::Boxed => types::F32,
            Self::Low(ty) => lanes_like(ty).lane_type(),
        }
    }
}

/// The vector of lanes of this type.
pub(super) const fn lanes_like(ty: Ty) -> Type {
    match ty {
        Ty::F32 => types::F32X4,
        Ty::I32 => types::I32X4,
        Ty::I64 => types::I64X2,
        _ => types::F64X2,
    }
}

/// The slots of vectors that the region makes hold nothing but numbers with zeros above, and the types of these.
fn lows(plan: &Plan, infos: &[SlotInfo]) -> HashMap<u16, Ty> {
    let is_vector = |n: &u16| infos.iter().any(|info| info.index == *n && info.class == Class::Vec);
    let written: Vec<(u16, &Inst)> = plan
        .nodes
        .iter()
        .flat_map(|node| &node.block.insts)
        .filter_map(|inst| match inst.dst.kind() {
            ValKind::Slot(n) => Some((n, inst)),
            _ => None,
        })
        .filter(|(n, _)| is_vector(n))
        .collect();
    // What is made of such numbers alone may be one: first all that may, then without those that are not.
    let mut found = HashMap::new();
    while written.iter().any(|&(n, inst)| {
        let new = !found.contains_key(&n);
        new && vec::makes_low(inst, &found).is_some_and(|ty| found.insert(n, ty).is_none())
    }) {}
    while written.iter().any(|&(n, inst)| {
        let Some(&ty) = found.get(&n) else { return false };
        let both = vec::makes_low(inst, &found).and_then(|made| number_of_both(ty, made));
        match both {
            Some(both) => found.insert(n, both) != Some(both),
            None => found.remove(&n).is_some(),
        }
    }) {}
    found
}

/// What two such numbers are: bits if both are nothing else.
fn number_of_both(a: Ty, b: Ty) -> Option<Ty> {
    match (a, b) {
        (Ty::F32, Ty::I32) | (Ty::I32, Ty::F32) => Some(Ty::F32),
        (Ty::F64, Ty::I64) | (Ty::I64, Ty::F64) => Some(Ty::F64),
        _ => (a == b).then_some(a),
    }
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
    block.terminal.operands().into_iter().for_each(&mut read);
    set
}

/// The slots that are to stay in memory: those of integers that are used least, if they are more than the host has registers for.
/// `runs` is how often each node runs.
pub(crate) fn in_memory(plan: &Plan, infos: &[SlotInfo], runs: impl Fn(&Node) -> u32) -> Vec<u16> {
    let mut uses: HashMap<u16, u64> = HashMap::new();
    for node in &plan.nodes {
        let times = u64::from(runs(node).max(1));
        let mut count = |val: Val| {
            if let ValKind::Slot(n) = val.kind() {
                *uses.entry(n).or_default() += times;
            }
        };
        node.block.insts.iter().flat_map(|inst| [inst.dst, inst.a, inst.b, inst.c]).for_each(&mut count);
        node.block.terminal.operands().into_iter().for_each(&mut count);
    }
    let flags = late::slot(plan);
    let mut slots: Vec<(u64, u16)> = infos
        .iter()
        .filter(|info| info.class == Class::Int && Some(info.index) != flags)
        .filter_map(|info| Some((*uses.get(&info.index)?, info.index)))
        .collect();
    if slots.len() <= MOST_HELD {
        return Vec::new();
    }
    slots.sort_by_key(|&(uses, n)| (std::cmp::Reverse(uses), n));
    slots.drain(HELD_OF_MANY..).map(|(_, n)| n).collect()
}

/// For each node the slots whose memory may be out of date when it begins.
pub(super) fn dirty_in(plan: &Plan) -> Vec<SlotSet> {
    let own: Vec<SlotSet> = plan.nodes.iter().map(|node| written(&node.block)).collect();
    plan.flow(vec![SlotSet::default(); plan.nodes.len()], |n, dirty| dirty.union(own[n]), SlotSet::union)
}

/// Loads the slots that the region uses, but for those that stay in memory; and what is zero if those that it keeps as less than all of them hold what it takes them
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
    let (halves, lows) = (halves(plan, infos), lows(plan, infos));
    let all = plan.nodes.iter().fold(SlotSet::default(), |set, node| set.union(used(&node.block)));
    for info in infos {
        if !all.contains(info.index) || plan.in_memory.contains(&info.index) {
            continue;
        }
        let form = Form::of(plan, info, &halves, &lows);
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
            Form::Low(Ty::F64 | Ty::I64) => Some(upper(types::I64, 8)),
            Form::Low(_) => {
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
