//! Indirect jumps that stay in the region, and the checks of low bits of addresses that are made elsewhere or not at all.

use cranelift_codegen::ir::{self, InstBuilder, Value, types};
use cranelift_frontend::{FunctionBuilder, Switch};
use emu_core::ir::{Block, Cc, Hint, Inst, Op, Terminal, Ty, Val, ValKind};

use super::{Gen, Plan, slots, step};
use crate::frame;
use crate::region::plan::{Edge, Known, Node};

/// Targets of an indirect jump that are compared one after the other.
const FEW_TARGETS: usize = 4;
/// Places in a table of targets at most.
const MOST_NUMBERS: u64 = 2048;

/// What the region knows of its jumps.
pub(super) struct Jumps {
    /// By node: the place that its indirect jump goes to, if that is always the same.
    known: Vec<Option<i64>>,
    /// Low bits of registers that are zero throughout: it has been looked at where the region was entered.
    aligned: Vec<(Val, u64)>,
}

/// A value and the mask of its low bits, if the operation `at` raises an exception where one of them is set.
fn checked(block: &Block, at: usize) -> Option<(Val, u64)> {
    let inst = &block.insts[at];
    let raises = inst.op == Op::RaiseIf && Cc::from_bits(inst.attr) == Cc::Ne && inst.ty == Ty::I64;
    if !raises || block.constant(inst.b) != Some(0) || !matches!(inst.a.kind(), ValKind::Temp(_)) {
        return None;
    }
    let bits = block.made(inst.a, at).map(|made| &block.insts[made])?;
    if (bits.op, bits.ty) != (Op::And, Ty::I64) {
        return None;
    }
    let mask = block.constant(bits.b).filter(|mask| mask.wrapping_add(1).is_power_of_two())?;
    Some((bits.a, mask))
}

/// The target of the node's jump as it is before its low bits are set.
struct Target {
    raw: Val,
    /// These bits.
    mask: u64,
    /// The operation that checks that they are zero.
    check: usize,
}

/// The same, if the operations of the node end so, and each edge goes to where a jump with such a target does.
fn target(plan: &Plan, node: &Node) -> Option<Target> {
    let block = &node.block;
    let Terminal::Indirect { target, .. } = block.terminal else { return None };
    let begin = block.marks.last()?.inst.into();
    let check = (begin..block.insts.len()).rev().find(|&at| block.insts[at].op == Op::RaiseIf)?;
    let (raw, mask) = checked(block, check)?;
    let low = match block.made(target, block.insts.len()).map(|made| &block.insts[made]) {
        _ if target == raw => 0,
        Some(inst) if (inst.op, inst.ty, inst.a) == (Op::Or, Ty::I64, raw) => block.constant(inst.b)?,
        _ => return None,
    };
    let stays = block.insts[check..].iter().all(|inst| inst.dst != raw);
    let fits = node.targets().all(|to| plan.place(to) as u64 & mask == low);
    let goes_on = node.targets().next().is_some();
    (low & !mask == 0 && stays && fits && goes_on).then_some(Target { raw, mask, check })
}

impl Jumps {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut known = vec![None; plan.nodes.len()];
        if let Some(link) = plan.nodes.iter().find_map(|node| link_of(&node.block)) {
            // The place, from the start of the head's page, whose address the register holds.
            let after = |n: usize, before: Known<i64>| {
                let Node { block, page, .. } = &plan.nodes[n];
                block.insts.iter().rfind(|inst| inst.dst == link).map_or(before, |inst| match inst.op {
                    Op::Pc => Known::Always(plan.pages[*page].delta + i64::from(inst.imm)),
                    _ => Known::Varies,
                })
            };
            let mut at_start = vec![Known::Never; plan.nodes.len()];
            plan.entries.iter().for_each(|&node| at_start[node] = Known::Varies);
            let at_start = plan.flow(at_start, after, Known::or);
            for (n, node) in plan.nodes.iter().enumerate() {
                if let (Known::Always(place), Some(mask)) =
                    (after(n, at_start[n]), kept_of(&node.block, link))
                    && place as u64 & mask == place as u64
                {
                    known[n] = Some(place);
                }
            }
        }
        Self { known, aligned: aligned(plan) }
    }

    /// What is zero if the low bits of these registers are.
    pub(super) fn look(&self, f: &mut FunctionBuilder<'_>, state: Value) -> Option<Value> {
        let mut all = None;
        for &(slot, mask) in &self.aligned {
            let ValKind::Slot(n) = slot.kind() else { continue };
            let value = slots::at_entry(f, state, n);
            let low = f.ins().band_imm_s(value, mask as i64);
            all = Some(all.map_or(low, |all| f.ins().bor(all, low)));
        }
        all
    }
}

/// The register that the call at the end of the block leaves the address in where it is to come back to.
fn link_of(block: &Block) -> Option<Val> {
    let calls = matches!(
        block.terminal,
        Terminal::Jump { call: Some(_), .. } | Terminal::Indirect { hint: Hint::Call(_), .. }
    );
    let is_link = |inst: &&Inst| inst.op == Op::Pc && matches!(inst.dst.kind(), ValKind::Slot(_));
    block.insts.iter().rfind(is_link).filter(|_| calls).map(|inst| inst.dst)
}

/// The bits of the register that are those of the target of the block's jump, if it is one to where the register points then.
fn kept_of(block: &Block, link: Val) -> Option<u64> {
    let Terminal::Indirect { target, .. } = block.terminal else { return None };
    if target == link {
        return Some(u64::MAX);
    }
    let made = block.made(target, block.insts.len())?;
    let (inst, rest) = block.insts[made..].split_first()?;
    let is_part = (inst.op, inst.ty, inst.a) == (Op::And, Ty::I64, link);
    let stays = rest.iter().all(|inst| inst.dst != link);
    block.constant(inst.b).filter(|_| is_part && stays)
}

/// The registers with low bits that are checked in the region, and that it does not change.
fn aligned(plan: &Plan) -> Vec<(Val, u64)> {
    let mut found: Vec<(Val, u64)> = Vec::new();
    for block in plan.nodes.iter().map(|node| &node.block) {
        for at in 0..block.insts.len() {
            if let Some((val, mask)) = checked(block, at)
                && matches!(val.kind(), ValKind::Slot(_))
                && !found.contains(&(val, mask))
            {
                found.push((val, mask));
            }
        }
    }
    found.retain(|&(val, mask)| {
        plan.nodes.iter().all(|node| {
            let keeps = |inst: &Inst| step(&node.block, inst).is_some_and(|by| by as u64 & mask == 0);
            node.block.insts.iter().all(|inst| inst.dst != val || keeps(inst))
        })
    });
    found
}

impl Gen<'_, '_> {
    /// Whether what the operation checks is known to hold, or is found out by where the node's jump goes.
    pub(super) fn needs_no_check(&self, at: usize) -> bool {
        let node = &self.plan.nodes[self.node];
        checked(&node.block, at).is_some_and(|checked| self.jumps.aligned.contains(&checked))
            || target(self.plan, node).is_some_and(|target| target.check == at)
    }

    /// Ends the node by the jump to where `to` points: along the edge that leads there, or out. `count` instructions have been
    /// retired then.
    pub(super) fn jump_to(&mut self, to: Val, count: Value) {
        let node = &self.plan.nodes[self.node];
        let edge_to = |place| {
            let is_it =
                |edge: &&Edge| matches!(**edge, Edge::To { node, .. } if self.plan.place(node) == place);
            node.edges.iter().find(is_it)
        };
        if let Some(place) = self.jumps.known[self.node]
            && let Some(&edge) = edge_to(place)
        {
            self.f.def_var(self.retired, count);
            return self.follow(edge, place);
        }
        let end = target(self.plan, node);
        // It may be misaligned: tier 1 does a jump to somewhere else, which has not been counted then.
        let again = end.as_ref().map(|_| self.again());
        self.f.def_var(self.retired, count);
        let (raw, mask) = end.as_ref().map_or((to, 0), |target| (target.raw, target.mask));
        let address = self.int_of(raw);
        if node.targets().next().is_some() {
            let base = self.state_load(types::I64, frame::PAGE_BASE);
            let distance = self.f.ins().isub(address, base);
            self.dispatch(&node.edges, distance, mask);
        }
        match again {
            Some(again) => {
                self.f.ins().jump(again, &[]);
            }
            None => self.leave_to(address),
        }
    }

    /// Goes along the edge to the place at this distance from the head's page, of which the bits of `mask` do not count; stays
    /// where none leads there.
    fn dispatch(&mut self, edges: &[Edge], distance: Value, mask: u64) {
        let other = self.f.create_block();
        self.f.set_cold_block(other);
        let mut ways = Vec::new();
        for &edge in edges {
            let Edge::To { node, .. } = edge else { continue };
            ways.push((edge, self.plan.place(node), self.f.create_block()));
        }
        let places = ways.iter().map(|&(_, place, way)| (place & !(mask as i64), way)).collect();
        self.choose(distance, places, other);
        for (edge, place, way) in ways {
            self.begin(way);
            self.follow(edge, place);
        }
        self.begin(other);
    }

    /// Goes to the block of the place that `distance` is.
    fn choose(&mut self, distance: Value, places: Vec<(i64, ir::Block)>, other: ir::Block) {
        let first = places.iter().map(|&(place, _)| place).min().unwrap_or(0);
        let behind = |place: i64| (place - first) as u64;
        let shift = places.iter().map(|&(place, _)| behind(place).trailing_zeros()).min().unwrap_or(0);
        let number = |place| behind(place).checked_shr(shift).unwrap_or(0);
        let last = places.iter().map(|&(place, _)| number(place)).max().unwrap_or(0);
        let (mut switch, mut index) = (Switch::new(), distance);
        if places.len() < FEW_TARGETS || last > MOST_NUMBERS {
            places.iter().for_each(|&(place, way)| switch.set_entry(u128::from(place as u64), way));
        } else {
            // By a table: what is between them rotates to a number that is none.
            index = self.f.ins().iadd_imm_s(distance, first.wrapping_neg());
            index = self.f.ins().rotr_imm_u(index, i64::from(shift));
            for n in 0..=last {
                let way = places.iter().find(|&&(place, _)| number(place) == n);
                switch.set_entry(u128::from(n), way.map_or(other, |&(_, way)| way));
            }
        }
        switch.emit(&mut self.f, index, other);
    }
}
