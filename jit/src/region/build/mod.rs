//! A region as Cranelift's intermediate form. Guest registers are variables, which the region loads from the vCPU's state
//! where it is entered and writes back where it is left.
//!
//! The function is `(state, entry, places) -> exit`; the exits are numbered as [`super::place`] has it. Nothing here may be
//! optimised by Cranelift: what raises floating-point flags, or may be seen by other vCPUs, is to it a computation like any
//! other.

mod bases;
mod bounds;
mod carry;
mod exits;
mod flags;
mod float;
mod halves;
mod int;
mod jumps;
mod late;
mod mem;
mod narrow;
mod slots;
mod vec;
mod vec_float;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, Switch, Variable};
use emu_core::ir::{Block, Cc, Class, Inst, Op, SlotInfo, Terminal, Ty, Val, ValKind};

pub(crate) use self::bases::expected_at_entry;
use self::bases::{AtEntry, Fixed};
use self::carry::Sum;
use self::exits::Departure;
use self::jumps::Jumps;
use self::late::Late;
pub(crate) use self::late::entries_alone;
pub(crate) use self::mem::UNMAPPED;
use self::mem::{Group, Groups, PageCache, Window};
pub(crate) use self::slots::in_memory;
use self::slots::{Form, Slot, SlotSet, dirty_in};
use super::place::{EXIT_GO, EXIT_LINKS};
use super::plan::{Edge, Plan, ends_well};
use crate::frame;
use crate::template::Features;
use crate::template::asm::Mem;

/// Whether every operation of the block is one that regions have.
pub(crate) fn supports(block: &Block, features: Features) -> bool {
    ends_well(block)
        && block.insts.iter().all(|inst| match inst.op {
            Op::Load | Op::Store => mem::supports(inst),
            Op::Fence | Op::ExitIf | Op::RaiseIf | Op::Pc => true,
            Op::Copy | Op::Fill => inst.attr == 0,
            op if (op as u8) < Op::Load as u8 => int::supports(inst),
            op if (op as u8) > Op::Fence as u8 && (op as u8) < Op::Vmov as u8 => {
                float::supports(inst, features)
            }
            op if (op as u8) < Op::Vfadd as u8 => vec::supports(inst),
            _ => vec_float::supports(inst, features),
        })
        && is_restartable(block)
}

/// Which operations are those of each instruction.
fn instructions(block: &Block) -> impl Iterator<Item = Range<usize>> {
    block.marks.iter().enumerate().map(|(number, mark)| {
        let end = block.marks.get(number + 1).map_or(block.insts.len(), |next| next.inst.into());
        usize::from(mark.inst).min(end)..end
    })
}

/// Whether the instruction with these operations can be done again if this one of them fails. What it may have done is to fill
/// registers that it does not read; and to store, if it goes on doing so: several stores are not one access (DDI 0487, B2.2
/// "Atomicity in the Arm architecture"), and where the page of a later one is not there, be that a hypervisor's doing, a processor
/// begins with the first again, too.
fn repeats(own: &[Inst], failing: usize) -> bool {
    let is_read = |val: Val| own.iter().any(|inst| [inst.a, inst.b, inst.c].contains(&val));
    own[..failing].iter().all(|done| match done.op {
        Op::Store => own[failing].op == Op::Store,
        // What was read is not what is there now.
        Op::Copy | Op::Fill => false,
        _ => !(matches!(done.dst.kind(), ValKind::Slot(_)) && is_read(done.dst)),
    })
}

/// Whether each instruction can still be done again, by tier 1, when one of its operations may bail out.
fn is_restartable(block: &Block) -> bool {
    let (groups, group_of) = mem::groups(block, false);
    let mut checked = vec![false; groups.len()];
    instructions(block).all(|range| {
        let own = &block.insts[range.clone()];
        own.iter().enumerate().all(|(n, inst)| {
            let at = range.start + n;
            let may_bail_out = match inst.op {
                Op::Load | Op::Store => {
                    group_of[at].is_some_and(|group| !std::mem::replace(&mut checked[group], true))
                }
                Op::RaiseIf | Op::Copy | Op::Fill => true,
                op => float::may_bail_out(op) || vec_float::may_bail_out(op),
            };
            !may_bail_out || repeats(own, n)
        })
    })
}

/// The groups of a node's accesses. Through the window goes a group of which tier 1 can do each access's instruction again (see
/// [`repeats`]).
fn through_groups(plan: &Plan, outside: &Outside<'_>, node: usize) -> Groups {
    let block = &plan.nodes[node].block;
    let (mut groups, group_of) = mem::groups(block, plan.windowed);
    for range in instructions(block) {
        let own = &block.insts[range.clone()];
        for (n, at) in range.enumerate() {
            if let Some(group) = group_of[at] {
                groups[group].through &= repeats(own, n) && !outside.soft.contains(&mem::site(node, at));
            }
        }
    }
    (groups, group_of)
}

/// All accesses of a plan, as they are known by in [`Outside`].
pub(super) fn accesses(plan: &Plan) -> impl Iterator<Item = u32> {
    plan.nodes.iter().enumerate().flat_map(|(number, node)| {
        let insts = node.block.insts.iter().enumerate();
        insts
            .filter(|(_, inst)| matches!(inst.op, Op::Load | Op::Store))
            .map(move |(at, _)| mem::site(number, at))
    })
}

/// The bytes that an operation moves its destination by, if it does nothing else.
fn step(block: &Block, inst: &Inst) -> Option<i64> {
    let by = block.constant(inst.b)? as i64;
    let moves = inst.ty == Ty::I64 && inst.a == inst.dst;
    match inst.op {
        Op::Add if moves => Some(by),
        Op::Sub if moves => Some(by.wrapping_neg()),
        _ => None,
    }
}

/// What the code of a region needs to be told of the outside.
pub(crate) struct Outside<'a> {
    pub slots: &'a [SlotInfo],
    /// Accesses through a window that are to have their operands ready before their branch.
    pub firm: &'a HashSet<u32>,
    /// Accesses that are not to go through a window.
    pub soft: &'a HashSet<u32>,
}

/// A temporary's value, as what it was made.
#[derive(Clone, Copy)]
enum Any {
    Int(Value),
    Double(Value),
    Single(Value),
    /// The low bits of a vector, 32 or 64, with zeros above.
    Bits(Value),
    Vector(Value),
}

/// Exits by jumps that can be linked: their targets, from the start of the first page, and whether they go to code that shares no
/// checks.
pub(crate) type Links = Vec<(i32, bool)>;

struct Gen<'a, 'f> {
    f: FunctionBuilder<'f>,
    plan: &'a Plan,
    outside: &'a Outside<'a>,
    /// Those of integers that have none stay in the state.
    slots: Vec<Option<Slot>>,
    /// The nodes' blocks.
    heads: Vec<ir::Block>,
    /// Slots whose memory may be out of date when each node begins.
    dirty_in: Vec<SlotSet>,
    state: Value,
    /// Where the host addresses are that [`crate::region::place`] puts beside the code.
    places: Value,
    retired: Variable,
    /// Whether a page is known to be mapped as it was, by page; there is nothing to know of the first.
    known: Vec<Option<Variable>>,
    /// Parts of bases.
    fixed: Vec<Fixed>,
    /// Where all ways out come together; its parameter is the exit.
    out: ir::Block,
    window: Option<Window>,
    pages: Vec<PageCache>,
    jumps: Jumps,
    all_groups: Vec<Groups>,
    links: Links,
    departures: Vec<Departure>,
    // Of the block in hand.
    node: usize,
    number: usize,
    /// The way out for its instruction of this number.
    bails: Option<(usize, ir::Block)>,
    /// The way out at its end.
    ending: Option<ir::Block>,
    dirty: SlotSet,
    /// What slots without a variable hold, as far as the block has read or written them; and whether the state is yet to have it.
    at_hand: BTreeMap<u16, (Value, bool)>,
    temps: Vec<Option<Any>>,
    groups: Vec<Group>,
    group_of: Vec<Option<usize>>,
    sums: Vec<Sum>,
    /// The binary32 number in a container that is known to be boxed.
    boxed: HashMap<Value, Value>,
    /// What results of the smallest normal magnitude are found with, for binary32 and binary64 (see [`Self::tiny_lanes`]).
    tiny: [Option<(Value, Value)>; 2],
    late: Option<Late>,
}

/// Makes the function's body; the exits that can be linked.
pub(crate) fn build(
    f: FunctionBuilder<'_>,
    plan: &Plan,
    outside: &Outside<'_>,
    config: TargetFrontendConfig,
) -> Links {
    let mut generator = Gen::new(f, plan, outside);
    for node in 0..plan.nodes.len() {
        generator.node(node);
    }
    generator.depart();
    let out = generator.out;
    generator.f.switch_to_block(out);
    let exit = generator.f.block_params(out)[0];
    generator.make_late();
    generator.f.ins().return_(&[exit]);
    generator.f.seal_all_blocks();
    let Gen { f, links, .. } = generator;
    f.finalize(config);
    links
}

/// Memory that is there.
const FLAGS: MemFlagsData = MemFlagsData::trusted();

impl<'a, 'f> Gen<'a, 'f> {
    fn new(mut f: FunctionBuilder<'f>, plan: &'a Plan, outside: &'a Outside<'a>) -> Self {
        let entry = f.create_block();
        f.append_block_params_for_function_params(entry);
        f.switch_to_block(entry);
        let &[state, number, places] = f.block_params(entry) else { unreachable!("three parameters") };
        let load = |f: &mut FunctionBuilder<'_>, ty, base, mem: Mem| f.ins().load(ty, FLAGS, base, mem.disp);
        let retired = f.declare_var(types::I64);
        let count = load(&mut f, types::I64, state, frame::RETIRED);
        f.def_var(retired, count);
        let (slots, mut beyond) = slots::load(&mut f, plan, outside.slots, state);
        let tiny = [Ty::F32, Ty::F64].map(|ty| {
            let mut insts = plan.nodes.iter().flat_map(|node| &node.block.insts);
            insts.any(|inst| inst.ty == ty && float::looks_for_tiny(inst)).then(|| float::tiny(&mut f, ty))
        });
        let late = Late::of(&mut f, plan, &slots);
        let mut known = Vec::new();
        for page in 0..plan.pages.len() {
            let var = (page > 0).then(|| f.declare_var(types::I32));
            if let Some(var) = var {
                let no = f.ins().iconst(types::I32, 0);
                f.def_var(var, no);
            }
            known.push(var);
        }
        let window = plan.windowed.then(|| Window::load(&mut f, state));
        let mut all_groups: Vec<Groups> =
            (0..plan.nodes.len()).map(|n| through_groups(plan, outside, n)).collect();
        let mut fixed = Vec::new();
        for looked_at in bases::find(plan, &mut all_groups) {
            fixed.extend(window.and_then(|window| looked_at.fixed(&mut f, plan, (state, window))));
            let AtEntry { base, likely, .. } = looked_at;
            let address = base.at_entry(&mut f, state);
            let is_outside = mem::is_outside(&mut f, state, address, likely);
            let is_outside = f.ins().uextend(types::I64, is_outside);
            beyond = Some(beyond.map_or(is_outside, |other| f.ins().bor(other, is_outside)));
        }
        let jumps = Jumps::of(plan);
        if let Some(low) = jumps.look(&mut f, state) {
            beyond = Some(beyond.map_or(low, |other| f.ins().bor(other, low)));
        }
        let pages = mem::plan_caches(&mut f, plan, &mut all_groups);
        let heads: Vec<ir::Block> = plan.nodes.iter().map(|_| f.create_block()).collect();
        let out = f.create_block();
        f.append_block_param(out, types::I32);
        f.set_cold_block(out);
        let mut links = Links::new();
        if let Some(beyond) = beyond {
            // Something else than such values is tier 1's.
            let (boxed, other) = (f.create_block(), f.create_block());
            f.set_cold_block(other);
            f.ins().brif(beyond, other, &[], boxed, &[]);
            f.switch_to_block(other);
            let mut exit = f.ins().iconst(types::I32, i64::from(EXIT_LINKS));
            for (n, &node) in plan.entries.iter().enumerate() {
                links.push((plan.place(node) as i32, true));
                let own = f.ins().iconst(types::I32, i64::from(EXIT_LINKS) + n as i64);
                let this = f.ins().icmp_imm_u(IntCC::Equal, number, n as i64);
                exit = f.ins().select(this, own, exit);
            }
            f.ins().jump(out, &[exit.into()]);
            f.switch_to_block(boxed);
        }
        match plan.entries.as_slice() {
            [only] => {
                f.ins().jump(heads[*only], &[]);
            }
            entries => {
                let mut switch = Switch::new();
                for (n, &node) in entries.iter().enumerate().skip(1) {
                    switch.set_entry(n as u128, heads[node]);
                }
                switch.emit(&mut f, number, heads[entries[0]]);
            }
        }
        Self {
            f,
            plan,
            outside,
            slots,
            heads,
            dirty_in: dirty_in(plan),
            state,
            places,
            retired,
            known,
            fixed,
            out,
            window,
            pages,
            jumps,
            all_groups,
            links,
            node: 0,
            number: 0,
            departures: Vec::new(),
            bails: None,
            ending: None,
            dirty: SlotSet::default(),
            at_hand: BTreeMap::new(),
            temps: Vec::new(),
            sums: Vec::new(),
            groups: Vec::new(),
            group_of: Vec::new(),
            boxed: HashMap::new(),
            tiny,
            late,
        }
    }

    fn block(&self) -> &'a Block {
        &self.plan.nodes[self.node].block
    }

    fn delta(&self) -> i64 {
        self.plan.pages[self.plan.nodes[self.node].page].delta
    }

    fn node(&mut self, node: usize) {
        let head = self.heads[node];
        self.f.switch_to_block(head);
        if !self.plan.leads_back_to(node) {
            // All ways here are known: what comes by one of them alone keeps its origin.
            self.f.seal_block(head);
        }
        self.node = node;
        (self.bails, self.ending) = (None, None);
        self.start_late(node);
        self.dirty = self.dirty_in[node];
        self.at_hand.clear();
        self.sums.clear();
        let block = self.block();
        self.temps = vec![None; block.temps.into()];
        (self.groups, self.group_of) = std::mem::take(&mut self.all_groups[node]);
        self.number = 0;
        for (at, inst) in block.insts.iter().enumerate() {
            while block.marks.get(self.number + 1).is_some_and(|mark| usize::from(mark.inst) <= at) {
                self.number += 1;
            }
            match inst.op {
                Op::Load => self.load(inst, at),
                Op::Store => self.store(inst, at),
                Op::Copy | Op::Fill => self.bulk(inst),
                Op::Fence if inst.orders_stores_before_loads() => {
                    self.f.ins().fence();
                }
                Op::Fence => {}
                Op::ExitIf => self.exit_if(inst),
                Op::RaiseIf if self.needs_no_check(at) => {}
                Op::RaiseIf => self.raise_if(inst),
                op if (op as u8) < Op::Load as u8 => self.int(inst, at),
                op if (op as u8) < Op::Vmov as u8 => self.float(inst, at),
                op if (op as u8) < Op::Vfadd as u8 => self.vector(inst),
                _ => self.vector_float(inst),
            }
        }
        self.put_down();
        self.terminal(block);
    }

    /// Goes on in a block to which all jumps have been made.
    fn begin(&mut self, block: ir::Block) {
        self.f.seal_block(block);
        self.f.switch_to_block(block);
    }

    // Values.

    fn slot(&self, n: u16) -> Slot {
        self.slots[usize::from(n)]
            .unwrap_or_else(|| unreachable!("what is no integer has a variable if it is used"))
    }

    /// An integer operand, all 64 bits.
    fn int_of(&mut self, val: Val) -> Value {
        match val.kind() {
            ValKind::Const(_) => {
                let value = self.block().constant(val).unwrap_or(0);
                self.f.ins().iconst(types::I64, value as i64)
            }
            ValKind::Slot(n) => {
                let Some(slot) = self.slots[usize::from(n)] else { return self.taken_up(n) };
                let value = self.f.use_var(slot.var);
                match (slot.class, slot.form) {
                    (Class::Int, Form::Half) => self.f.ins().sextend(types::I64, value),
                    (Class::Int, _) => value,
                    _ => unreachable!("the verifier knows classes"),
                }
            }
            ValKind::Temp(n) => match self.temps[usize::from(n)] {
                Some(Any::Int(value)) => value,
                _ => unreachable!("the verifier knows classes"),
            },
            ValKind::None => self.f.ins().iconst(types::I64, 0),
        }
    }

    /// What a slot without a variable holds.
    fn taken_up(&mut self, n: u16) -> Value {
        if let Some(&(value, _)) = self.at_hand.get(&n) {
            return value;
        }
        let value = self.state_load(types::I64, frame::slot(n));
        self.at_hand.insert(n, (value, false));
        value
    }

    /// Writes what such slots hold to the state, at the end of a block.
    fn put_down(&mut self) {
        for (n, (value, changed)) in std::mem::take(&mut self.at_hand) {
            if changed {
                self.state_store(frame::slot(n), value);
            }
            self.at_hand.insert(n, (value, false));
        }
    }

    /// Its lower half if the operation works in 32 bits.
    fn int_as(&mut self, ty: Ty, val: Val) -> Value {
        if let (Ty::I32, Some(value)) = (ty, self.block().constant(val)) {
            return self.f.ins().iconst(types::I32, i64::from(value as i32));
        }
        let value = self.int_of(val);
        if ty == Ty::I32 { self.low(value) } else { value }
    }

    fn set(&mut self, val: Val, value: Any) {
        match val.kind() {
            ValKind::Slot(n) => {
                let Some(slot) = self.slots[usize::from(n)] else {
                    let Any::Int(value) = value else { unreachable!("integers alone stay in memory") };
                    self.at_hand.insert(n, (value, true));
                    return;
                };
                let value = match (slot.class, value) {
                    (_, Any::Single(value)) if slot.form == Form::Boxed => value,
                    (_, value) if let Form::Low(ty) = slot.form => self.low_as(ty, value),
                    (Class::Int, Any::Int(value)) if slot.form == Form::Half => self.low(value),
                    (Class::Vec, Any::Single(_) | Any::Double(_) | Any::Bits(_)) => self.whole(value),
                    (Class::Int, Any::Int(value))
                    | (Class::Float, Any::Double(value))
                    | (Class::Vec, Any::Vector(value)) => value,
                    (Class::Float, Any::Single(value)) => self.widened(value),
                    _ => unreachable!("the verifier knows classes"),
                };
                self.keep_compared(n);
                self.f.def_var(slot.var, value);
                self.dirty.add(n);
                self.no_longer_late(n);
            }
            ValKind::Temp(n) => self.temps[usize::from(n)] = Some(value),
            ValKind::Const(_) | ValKind::None => {}
        }
    }

    /// Sets an integer result; one of 32 bits is extended by zeros.
    fn set_int(&mut self, ty: Ty, val: Val, value: Value) {
        let value = if ty == Ty::I32 { self.f.ins().uextend(types::I64, value) } else { value };
        self.set(val, Any::Int(value));
    }

    fn state_load(&mut self, ty: Type, mem: Mem) -> Value {
        self.f.ins().load(ty, FLAGS, self.state, mem.disp)
    }

    fn state_store(&mut self, mem: Mem, value: Value) {
        self.f.ins().store(FLAGS, value, self.state, mem.disp);
    }

    /// The virtual address at `offset` from the start of the first page.
    fn address(&mut self, offset: i64) -> Value {
        let base = self.state_load(types::I64, frame::PAGE_BASE);
        self.f.ins().iadd_imm_s(base, offset)
    }

    fn compare(&mut self, cc: Cc, ty: Ty, a: Val, b: Val) -> Value {
        let cc = int::condition(cc);
        let (mut a, mut b) = (self.int_as(ty, a), self.int_as(ty, b));
        if ty == Ty::I64 {
            (a, b) = self.narrowed(a, b).unwrap_or((a, b));
        }
        if self.number(b) == Some(0)
            && let Some(truth) = self.truth(a)
        {
            match cc {
                IntCC::NotEqual => return truth,
                IntCC::Equal => return self.untruth(truth),
                _ => {}
            }
        }
        self.f.ins().icmp(cc, a, b)
    }

    fn terminal(&mut self, block: &Block) {
        let count = self.f.use_var(self.retired);
        let count = self.plus(count, block.len() as i64);
        let delta = self.delta();
        let at = |offset: i32| delta + i64::from(offset);
        let edges = &self.plan.nodes[self.node].edges;
        match block.terminal {
            Terminal::Jump { target, .. } => {
                self.f.def_var(self.retired, count);
                self.follow(edges[0], at(target));
            }
            Terminal::Branch { cc, ty, a, b, taken, fall } => {
                let holds = self.compare(cc, ty, a, b);
                self.f.def_var(self.retired, count);
                let (yes, no) = (self.f.create_block(), self.f.create_block());
                if edges[0] == Edge::Out {
                    self.f.set_cold_block(yes);
                }
                if edges[1] == Edge::Out {
                    self.f.set_cold_block(no);
                }
                self.f.ins().brif(holds, yes, &[], no, &[]);
                self.begin(no);
                self.follow(edges[1], at(fall));
                self.begin(yes);
                self.follow(edges[0], at(taken));
            }
            Terminal::Indirect { target, .. } => {
                self.jump_to(target, count);
            }
            Terminal::Lookup { next } => {
                self.f.def_var(self.retired, count);
                self.leave_for(at(next), EXIT_GO);
            }
            Terminal::Exception { .. } => unreachable!("no planned block ends so"),
        }
    }
}
