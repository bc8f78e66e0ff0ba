//! Which blocks make a region: what can be reached from a hot loop's head by direct jumps, through calls and back, and by the
//! indirect jumps that have been seen, as far as it leads back to a loop.

use std::collections::HashSet;

use emu_core::exec::{Isa, Vcpu};
use emu_core::ir::{Block, BlockKey, Hint, Inst, Mark, Op, Terminal};
use emu_core::mem::{PAGE_SIZE, WINDOWED};

use super::build;
use super::ways::{Reached, Ways};
use crate::shared::JitShared;
use crate::template::Features;
use crate::template::guess::{Guess, Likely};

/// Blocks in a region at most; measured: more seldom run, and are compiled all the same.
const MOST_NODES: usize = 96;
/// Guest instructions in it at most.
const MOST_INSTRUCTIONS: usize = 700;
/// Pages that it lies in at most.
const MOST_PAGES: usize = 6;
/// Calls that are followed from inside calls.
const MOST_CALLS: usize = 3;
/// Times that all is planned again because of calls that are found to be recursive.
const MOST_PASSES: usize = 8;
/// Places where it can be entered.
const MOST_ENTRIES: usize = 8;
/// Where an indirect jump is followed to at most.
const MOST_TARGETS: usize = 24;
/// Instructions of a block that is there a second time, for those who enter at it, at most.
const MOST_APART: usize = 64;
/// Rounds of a loop from which on its region is left each time that the loop around it begins another. Regions of shorter loops
/// are of both.
const MANY_ROUNDS: u32 = 16;

/// A page that a region lies in.
#[derive(Clone, Copy)]
pub(crate) struct PlannedPage {
    /// Its virtual address less that of the head's page.
    pub delta: i64,
    /// Where it lies in RAM.
    pub ram: usize,
    /// The context bits that its code has of it.
    pub context: u32,
}

/// Where a block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Edge {
    /// Out of the region.
    Out,
    /// To a node. `closes`: this closes a cycle of nodes, which is where the vCPU asks whether something wants its attention. Cycles
    /// through tier 1 come to where the region is entered, where it does so, too.
    To { node: usize, closes: bool },
}

/// A block of a region. One that is reached by different calls is there for each.
#[derive(Clone)]
pub(crate) struct Node {
    pub block: Block,
    pub page: usize,
    /// Where calls on the way here are expected to come back to, from the start of the head's page; the last one last.
    pub returns: Vec<i64>,
    /// Of a branch: taken, and not; of an indirect jump those to where it is expected to go, each to another place; else the
    /// only one.
    pub edges: Vec<Edge>,
    /// Where accesses have gone, each to the most frequent segment first.
    pub accesses: Vec<Reached>,
}

impl Node {
    fn goes_to(&self, number: usize) -> bool {
        self.targets().any(|node| node == number)
    }

    /// The nodes that it goes to.
    pub(crate) fn targets(&self) -> impl Iterator<Item = usize> {
        self.edges.iter().filter_map(|edge| match *edge {
            Edge::To { node, .. } => Some(node),
            Edge::Out => None,
        })
    }
}

/// Where a region is to begin.
pub(crate) struct Start<'a> {
    pub pc: u64,
    pub key: BlockKey,
    /// What the vCPU held there.
    pub seen: Guess,
    /// Where it went from there.
    pub ways: &'a Ways,
}

/// What is to be compiled.
pub(crate) struct Plan {
    /// Virtual address of the head's page.
    pub base: u64,
    pub pages: Vec<PlannedPage>,
    /// The head is the first.
    pub nodes: Vec<Node>,
    /// The nodes that can be entered from outside, which lie in the first page.
    pub entries: Vec<usize>,
    /// Accesses go through the window of the address space.
    pub windowed: bool,
    /// What the slots held when it was planned, if that was where it will be entered; and where they pointed to.
    pub seen: Option<Guess>,
    /// The slots that stay in the state: each block takes them out for itself.
    pub in_memory: Vec<u16>,
    /// Where the next loop around this one begins, if it has been seen: an offset in RAM.
    pub around: Option<u64>,
}

/// A place that is not the head of a loop that could be a region.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unfit {
    /// Where the loop begins that it is in, if it has been seen: an offset in RAM.
    pub around: Option<u64>,
}

/// What is known of something at a point of a region, whatever way has led there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known<T> {
    /// Nothing leads there.
    Never,
    Always(T),
    Varies,
}

impl<T: PartialEq> Known<T> {
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, known) | (known, Self::Never) => known,
            (a, b) if a == b => a,
            _ => Self::Varies,
        }
    }
}

impl Plan {
    /// The region of the loop that begins there, or what else is known of the place.
    pub(crate) fn new<I: Isa>(
        vcpu: &mut Vcpu<I>,
        shared: &JitShared,
        start: Start<'_>,
        features: Features,
    ) -> Result<Self, Unfit> {
        let Start { pc, key, seen, ways } = start;
        let (ram, context) = vcpu.mmu.lookup_code(pc).ok_or(Unfit::default())?;
        let page = ram & !(PAGE_SIZE as usize - 1);
        let pages = vec![PlannedPage { delta: 0, ram: page, context }];
        let windowed = shared.windows && key.ctx & WINDOWED != 0;
        let seen = Some(seen);
        let base = pc & !(PAGE_SIZE - 1);
        let mut planner = Planner {
            vcpu,
            shared,
            features,
            ctx: key.ctx,
            plan: Self { pages, windowed, seen, base, ..Self::empty() },
            ways,
            way: Vec::new(),
            recursive: Vec::new(),
            passes: 0,
            flat: Vec::new(),
            instructions: 0,
        };
        let start = (ram - page) as i64;
        planner.visit_all(start).ok_or(Unfit::default())?;
        let mut plan = planner.plan.trimmed(ways)?;
        plan.in_memory = build::in_memory(&plan, shared.slots, |node| ways.runs(node.block.key));
        let mut apart = build::entries_alone(&plan);
        // What comes behind one is moved on by it.
        apart.sort_unstable();
        apart.into_iter().rev().for_each(|node| plan.enter_apart(node));
        Ok(plan)
    }

    /// Where a node begins, from the start of the head's page; the way an indirect jump goes there.
    pub(crate) fn place(&self, node: usize) -> i64 {
        let Node { page, block, .. } = &self.nodes[node];
        self.pages[*page].delta + (block.key.pa & (PAGE_SIZE - 1)) as i64
    }

    /// The keys of the blocks where it can be entered.
    pub(crate) fn entry_keys(&self, ctx: u32) -> impl Iterator<Item = BlockKey> {
        let start = self.pages[0].ram as u64;
        self.entries.iter().map(move |&node| BlockKey { pa: start + self.place(node) as u64, ctx })
    }

    /// The segments where the access is expected to go that a node's operation `at` makes, the most likely first: those where it
    /// has gone, or all if it has not been seen.
    pub(crate) fn segments(&self, node: usize, at: usize) -> Vec<Likely> {
        let reached: Vec<Likely> = self.reached(node, at).collect();
        if !reached.is_empty() {
            return reached;
        }
        let Some(seen) = &self.seen else { return vec![Likely::In(0)] };
        let block = &self.nodes[node].block;
        let first = seen.of(block, block.insts[at].a, at);
        std::iter::once(first).chain(seen.segments().filter(|&other| other != first)).collect()
    }

    /// Whether it has gone to several.
    pub(crate) fn varies(&self, node: usize, at: usize) -> bool {
        self.reached(node, at).nth(1).is_some()
    }

    fn reached(&self, node: usize, at: usize) -> impl Iterator<Item = Likely> {
        let reached = self.nodes[node].accesses.iter().filter(move |reached| reached.at == at);
        reached.map(|reached| reached.segment)
    }

    /// Whether the instruction at `pc` is in it.
    pub(crate) fn covers(&self, pc: u64) -> bool {
        self.nodes.iter().any(|node| {
            let page = self.base.wrapping_add_signed(self.pages[node.page].delta);
            let at = |mark: &Mark| page.wrapping_add_signed(mark.offset.into());
            node.block.marks.iter().any(|mark| (at(mark)..at(mark) + u64::from(mark.len)).contains(&pc))
        })
    }

    /// What holds where each node begins, however it is reached: `at_start`, what does so from outside, with what `after` makes of
    /// what holds where a node begins on the way out of it. `both` is what is left of two such facts.
    pub(crate) fn flow<T: Clone + PartialEq>(
        &self,
        mut at_start: Vec<T>,
        after: impl Fn(usize, T) -> T,
        both: impl Fn(T, T) -> T,
    ) -> Vec<T> {
        loop {
            let mut changed = false;
            for (n, node) in self.nodes.iter().enumerate() {
                let end = after(n, at_start[n].clone());
                for node in node.targets() {
                    let holds = both(at_start[node].clone(), end.clone());
                    changed |= holds != at_start[node];
                    at_start[node] = holds;
                }
            }
            if !changed {
                return at_start;
            }
        }
    }

    /// Whether one of the nodes from this on goes to it.
    pub(crate) fn leads_back_to(&self, number: usize) -> bool {
        self.nodes[number..].iter().any(|node| node.goes_to(number))
    }

    fn empty() -> Self {
        Self {
            base: 0,
            pages: Vec::new(),
            nodes: Vec::new(),
            entries: Vec::new(),
            windowed: false,
            seen: None,
            in_memory: Vec::new(),
            around: None,
        }
    }

    /// A block alone.
    pub(crate) fn of_block(block: &Block) -> Self {
        let ram = block.key.pa as usize & !(PAGE_SIZE as usize - 1);
        let node = Node {
            block: block.clone(),
            page: 0,
            returns: Vec::new(),
            edges: vec![Edge::Out; 2],
            accesses: Vec::new(),
        };
        let pages = vec![PlannedPage { delta: 0, ram, context: 0 }];
        Self { pages, nodes: vec![node], entries: vec![0], ..Self::empty() }
    }

    /// Only the innermost loop of the head: what lies behind it, with the calls made there, as far as it leads back without passing
    /// what lies before: the loops around this one begin there. More would only compete for registers.
    fn trimmed(self, ways: &Ways) -> Result<Self, Unfit> {
        let around = self.loop_around();
        let kept = self.innermost(ways).ok_or(Unfit { around })?;
        let mut plan = self.only(&kept);
        plan.entries = plan.entry_nodes();
        plan.around = around;
        Ok(plan)
    }

    /// Where the smallest loop begins, of those in the head's page, that the head's is a part of.
    fn loop_around(&self) -> Option<u64> {
        let place = |number: usize| {
            let node = &self.nodes[number];
            (node.page == 0 && node.returns.is_empty()).then_some(self.place(number))
        };
        let head = self.place(0);
        let jumps = self.nodes.iter().enumerate().flat_map(|(n, node)| node.targets().map(move |to| (n, to)));
        let starts = jumps.filter_map(|(from, to)| {
            let (from, to) = (place(from)?, place(to)?);
            (to < head && head <= from).then_some(to)
        });
        Some(self.pages[0].ram as u64 + starts.max()? as u64)
    }

    /// Which nodes are those of the loop; none if the head is not that of one.
    fn innermost(&self, ways: &Ways) -> Option<Vec<bool>> {
        let runs = |node: usize| ways.runs(self.nodes[node].block.key);
        let (start, rounds) = (self.place(0), runs(0));
        let is_often = |node| rounds > 1 && runs(node).saturating_mul(MANY_ROUNDS) >= rounds;
        let inside: Vec<bool> = (0..self.nodes.len())
            .map(|number| {
                let node = &self.nodes[number];
                !node.returns.is_empty() || node.page == 0 && self.place(number) >= start || is_often(number)
            })
            .collect();
        let back = |node: &Node| node.returns.is_empty() && node.goes_to(0);
        if !self.nodes.iter().zip(&inside).any(|(node, &inside)| inside && back(node)) {
            return None;
        }
        let targets = |node: &Node| -> Vec<usize> { node.targets().filter(|&node| inside[node]).collect() };
        let mut reached = vec![false; self.nodes.len()];
        let mut next = vec![0];
        while let Some(n) = next.pop() {
            if !std::mem::replace(&mut reached[n], true) {
                next.extend(targets(&self.nodes[n]));
            }
        }
        let mut kept: Vec<bool> =
            self.nodes.iter().zip(&reached).map(|(node, &reached)| reached && node.goes_to(0)).collect();
        loop {
            let mut changed = false;
            for n in 0..self.nodes.len() {
                let leads = targets(&self.nodes[n]).into_iter().any(|node| kept[node]);
                if !kept[n] && reached[n] && leads {
                    (kept[n], changed) = (true, true);
                }
            }
            if !changed {
                break;
            }
        }
        kept.first()?.then_some(kept)
    }

    /// The plan with these nodes only, and the pages that they are in.
    fn only(mut self, kept: &[bool]) -> Self {
        let mut number = 0;
        let numbers: Vec<Option<usize>> = kept
            .iter()
            .map(|&kept| {
                number += usize::from(kept);
                kept.then(|| number - 1)
            })
            .collect();
        let mut nodes = Vec::with_capacity(number);
        for (node, number) in self.nodes.into_iter().zip(&numbers) {
            if number.is_none() {
                continue;
            }
            let renumbered = |edge| match edge {
                Edge::To { node, closes } => {
                    numbers[node].map_or(Edge::Out, |node| Edge::To { node, closes })
                }
                Edge::Out => Edge::Out,
            };
            let edges = node.edges.into_iter().map(renumbered).collect();
            nodes.push(Node { edges, ..node });
        }
        self.nodes = nodes;
        let used: Vec<bool> =
            (0..self.pages.len()).map(|page| self.nodes.iter().any(|node| node.page == page)).collect();
        for node in &mut self.nodes {
            node.page = used[..node.page].iter().filter(|&&used| used).count();
        }
        let mut used = used.into_iter();
        self.pages.retain(|_| used.next() == Some(true));
        self
    }

    /// Has those who enter at a node do so at one of their own, which goes where that does: what comes round again has less to
    /// keep then.
    fn enter_apart(&mut self, node: usize) {
        if self.nodes[node].block.len() > MOST_APART {
            return;
        }
        let copy = self.nodes[node].clone();
        self.nodes.insert(node, copy);
        for edge in self.nodes.iter_mut().flat_map(|node| &mut node.edges) {
            if let Edge::To { node: to, .. } = edge {
                *to += usize::from(*to >= node);
            }
        }
        self.entries.iter_mut().for_each(|entry| *entry += usize::from(*entry > node));
    }

    /// How many blocks are in it, but for those that others are entered by.
    pub(crate) fn blocks(&self) -> usize {
        let reached: HashSet<usize> = self.nodes.iter().flat_map(Node::targets).collect();
        reached.len()
    }

    /// The head, and where else cycles close, as far as these can be entered.
    fn entry_nodes(&self) -> Vec<usize> {
        let mut entries = vec![0];
        for node in &self.nodes {
            for edge in &node.edges {
                if let Edge::To { node, closes: true, .. } = *edge
                    && self.nodes[node].page == 0
                    && self.nodes[node].returns.is_empty()
                    && !entries.contains(&node)
                    && entries.len() < MOST_ENTRIES
                {
                    entries.push(node);
                }
            }
        }
        entries
    }
}

struct Planner<'a, I: Isa> {
    vcpu: &'a mut Vcpu<I>,
    shared: &'a JitShared,
    features: Features,
    ctx: u32,
    plan: Plan,
    ways: &'a Ways,
    /// The nodes on the way to the one in hand.
    way: Vec<usize>,
    /// Where calls come back to that are made while they are being made.
    recursive: Vec<i64>,
    /// Times that all has been planned.
    passes: usize,
    /// Those calls, as far as they are followed: where they come back to, with which returns.
    flat: Vec<(i64, Vec<i64>)>,
    instructions: usize,
}

impl<I: Isa> Planner<'_, I> {
    /// The page with that distance from the head's, if code may be fetched from it now, of the same context.
    fn page(&self, delta: i64) -> Option<PlannedPage> {
        if let Some(page) = self.plan.pages.iter().find(|page| page.delta == delta) {
            return Some(*page);
        }
        let (ram, context) = self.vcpu.mmu.lookup_code(self.plan.base.wrapping_add_signed(delta))?;
        let same = context == self.plan.pages[0].context && self.plan.pages.len() < MOST_PAGES;
        same.then_some(PlannedPage { delta, ram, context })
    }

    /// Plans what can be reached from `start`; again with each recursion that is found on the way.
    fn visit_all(&mut self, start: i64) -> Option<()> {
        loop {
            let known = self.recursive.len();
            self.passes += 1;
            self.plan.nodes.clear();
            self.plan.pages.truncate(1);
            self.flat.clear();
            self.instructions = 0;
            self.visit(start, &[])?;
            self.follow_returns();
            if self.recursive.len() == known {
                return Some(());
            }
        }
    }

    /// The node for the block at `offset` from the start of the head's page, if there is to be one.
    fn visit(&mut self, offset: i64, returns: &[i64]) -> Option<usize> {
        let (delta, within) = (offset & !(PAGE_SIZE as i64 - 1), offset & (PAGE_SIZE as i64 - 1));
        let is_it = |&n: &usize| self.plan.place(n) == offset && self.plan.nodes[n].returns == returns;
        let found = (0..self.plan.nodes.len()).find(is_it);
        if found.is_some() {
            return found;
        }
        if self.plan.nodes.len() >= MOST_NODES {
            return None;
        }
        let page = self.page(delta)?;
        let key = BlockKey { pa: page.ram as u64 + within as u64, ctx: self.ctx };
        // Only what has run; or is taken over from an earlier run, together with its page.
        if !self.shared.is_translated(key) {
            return None;
        }
        let block = self.vcpu.lift_within_page(key)?;
        let fits = self.instructions + block.len() <= MOST_INSTRUCTIONS;
        if !fits || block.crosses_page || !build::supports(&block, self.features) {
            return None;
        }
        let terminal = block.terminal;
        self.instructions += block.len();
        let page = match self.plan.pages.iter().position(|known| known.delta == delta) {
            Some(page) => page,
            None => {
                self.plan.pages.push(page);
                self.plan.pages.len() - 1
            }
        };
        let number = self.plan.nodes.len();
        let (returns_here, accesses) = (returns.to_vec(), self.ways.accesses(key));
        self.plan.nodes.push(Node { block, page, returns: returns_here, edges: Vec::new(), accesses });
        self.way.push(number);
        let edges = match terminal {
            Terminal::Jump { target, call: None } => {
                vec![self.edge(delta + i64::from(target), returns)]
            }
            Terminal::Jump { target, call: Some(back) } => {
                vec![self.call(delta + i64::from(target), delta + i64::from(back), returns)]
            }
            Terminal::Branch { taken, fall, .. } => {
                let ways = [taken, fall].map(|to| delta + i64::from(to));
                let mut avoided = ways.map(|to| self.ways.avoid(key, self.plan.base.wrapping_add_signed(to)));
                if avoided == [true; 2] {
                    // It has run at other addresses.
                    avoided = [false; 2];
                }
                // An instruction that copies or fills leaves nothing to do once more in a region.
                let Block { insts, marks, .. } = &self.plan.nodes[number].block;
                let once_more = marks.last().is_some_and(|mark| mark.offset == taken);
                avoided[0] |= once_more && insts.last().is_some_and(is_bulk);
                let mut follow = |n: usize| match avoided[n] {
                    true => Edge::Out,
                    false => self.edge(ways[n], returns),
                };
                let fall = follow(1);
                vec![follow(0), fall]
            }
            Terminal::Indirect { hint: Hint::Return, .. } => match returns.split_last() {
                Some((&back, rest)) => vec![self.edge(back, rest)],
                None => vec![Edge::Out],
            },
            Terminal::Indirect { hint: Hint::Jump, .. } => {
                let targets = self.targets(key).into_iter();
                targets.map(|target| self.edge(target, returns)).collect()
            }
            Terminal::Indirect { hint: Hint::Call(back), .. } => {
                let (back, targets) = (delta + i64::from(back), self.targets(key).into_iter());
                targets.map(|target| self.call(target, back, returns)).collect()
            }
            _ => vec![Edge::Out],
        };
        self.plan.nodes[number].edges = edges;
        self.way.pop();
        Some(number)
    }

    /// Where the indirect jump of the block has gone.
    fn targets(&self, block: BlockKey) -> Vec<i64> {
        let targets = self.ways.targets(block).into_iter().take(MOST_TARGETS);
        targets.map(|target| target.wrapping_sub(self.plan.base) as i64).collect()
    }

    /// The way along a call, which is expected to come back to `back`. One that is made while it is being made is a jump: its
    /// returns go to several places.
    fn call(&mut self, target: i64, back: i64, returns: &[i64]) -> Edge {
        if self.recursive.contains(&back) {
            let flat = (back, returns.to_vec());
            if !self.flat.contains(&flat) {
                self.flat.push(flat);
            }
            return self.edge(target, returns);
        }
        let mut outer =
            self.way.iter().map(|&node| (self.plan.place(node), self.plan.nodes[node].returns.len()));
        let again = outer.rfind(|&(place, depth)| place == target && depth <= returns.len());
        let begun = returns.iter().position(|&other| other == back).or(again.map(|(_, depth)| depth));
        if let Some(begun) = begun.filter(|_| self.passes < MOST_PASSES) {
            self.recursive.extend(returns[begun..].iter().copied().chain([back]));
            return Edge::Out;
        }
        if begun.is_some() || returns.len() >= MOST_CALLS {
            return Edge::Out;
        }
        let deeper: Vec<i64> = returns.iter().copied().chain([back]).collect();
        self.edge(target, &deeper)
    }

    /// Has functions that call themselves return to where they do so.
    fn follow_returns(&mut self) {
        let mut places = Vec::new();
        let mut followed = 0;
        while let Some((back, returns)) = self.flat.get(followed).cloned() {
            followed += 1;
            places.extend(self.visit(back, &returns));
        }
        for number in 0..self.plan.nodes.len() {
            for &to in &places {
                let node = &self.plan.nodes[number];
                let is_return = matches!(node.block.terminal, Terminal::Indirect { hint: Hint::Return, .. });
                let is_known = node.targets().any(|node| self.plan.place(node) == self.plan.place(to));
                if is_return && node.returns == self.plan.nodes[to].returns && !is_known {
                    self.plan.nodes[number].edges.push(Edge::To { node: to, closes: true });
                }
            }
        }
    }

    fn edge(&mut self, to: i64, returns: &[i64]) -> Edge {
        match self.visit(to, returns) {
            Some(node) => {
                let closes = self.way.contains(&node);
                Edge::To { node, closes }
            }
            None => Edge::Out,
        }
    }
}

fn is_bulk(inst: &Inst) -> bool {
    matches!(inst.op, Op::Copy | Op::Fill)
}

/// Whether nothing keeps the block out of a region but its operations.
pub(crate) fn ends_well(block: &Block) -> bool {
    !matches!(block.terminal, Terminal::Exception { .. })
        && !block.insts.iter().any(|inst| inst.op == Op::Call)
}

#[cfg(test)]
mod tests {
    use emu_core::ir::{BlockBuilder, Terminal};

    use super::*;

    /// A node at that place in the first page.
    fn node(offset: i32, edges: [Edge; 2]) -> Node {
        let edges = edges.to_vec();
        let mut builder = BlockBuilder::new();
        builder.mark(offset, 4);
        let block = builder.finish(BlockKey { pa: offset as u64, ctx: 0 }, Terminal::Lookup { next: 0 });
        Node { block, page: 0, returns: Vec::new(), edges, accesses: Vec::new() }
    }

    fn to(node: usize, closes: bool) -> Edge {
        Edge::To { node, closes }
    }

    fn plan(nodes: Vec<Node>) -> Plan {
        let block = node(0, [Edge::Out; 2]).block;
        Plan { nodes, ..Plan::of_block(&block) }
    }

    fn places(plan: &Plan) -> Vec<i32> {
        plan.nodes.iter().map(|node| node.block.marks[0].offset).collect()
    }

    /// A loop from 0x100 to 0x140, with a part at 0x180 that goes back into it, in one from 0x80 to 0x1c0.
    fn nested() -> Vec<Node> {
        vec![
            node(0x100, [to(1, false), to(2, false)]),
            node(0x140, [to(0, true), to(3, false)]),
            node(0x180, [to(1, false), Edge::Out]),
            node(0x1c0, [to(4, false), Edge::Out]),
            node(0x80, [to(0, true), Edge::Out]),
        ]
    }

    #[test]
    fn a_loop_has_its_parts_behind_it_but_not_the_loop_around_it() {
        let plan = plan(nested()).trimmed(&Ways::default()).unwrap();
        assert_eq!(places(&plan), [0x100, 0x140, 0x180]);
        assert_eq!((plan.entries.as_slice(), plan.around), (&[0][..], Some(0x80)));
        assert_eq!(plan.nodes[1].edges, [to(0, true), Edge::Out]);
    }

    #[test]
    fn a_loop_of_few_rounds_is_one_with_the_loop_around_it() {
        let plan = plan(nested());
        let keys: Vec<BlockKey> = plan.nodes.iter().map(|node| node.block.key).collect();
        for (rounds, parts) in [(MANY_ROUNDS, 5), (MANY_ROUNDS + 1, 3)] {
            let mut ways = Ways::default();
            (0..rounds).for_each(|_| ways.add(keys[0], 0x140));
            keys[1..].iter().for_each(|&key| ways.add(key, 0x100));
            assert_eq!(plan.innermost(&ways).unwrap().iter().filter(|&&kept| kept).count(), parts);
        }
    }

    #[test]
    fn a_loop_that_follows_is_none_of_its_parts() {
        let nodes = vec![
            node(0x100, [to(0, true), to(1, false)]),
            node(0x140, [to(1, true), to(2, false)]),
            node(0x180, [Edge::Out, Edge::Out]),
        ];
        let plan = plan(nodes).trimmed(&Ways::default()).unwrap();
        assert_eq!((places(&plan), plan.entries), (vec![0x100], vec![0]));
    }

    #[test]
    fn a_place_in_a_loop_that_is_not_its_head_knows_where_it_begins() {
        let nodes = vec![
            node(0x180, [to(1, false), Edge::Out]),
            node(0x1c0, [to(2, false), Edge::Out]),
            node(0x80, [to(0, true), Edge::Out]),
        ];
        assert_eq!(plan(nodes).trimmed(&Ways::default()).err().map(|unfit| unfit.around), Some(Some(0x80)));
        let alone = vec![node(0x180, [Edge::Out; 2])];
        assert_eq!(plan(alone).trimmed(&Ways::default()).err().map(|unfit| unfit.around), Some(None));
    }

    #[test]
    fn an_access_that_has_been_seen_is_expected_where_it_has_gone() {
        let mut plan = plan(nested());
        let reached = |at, segment| Reached { at, segment, times: 1 };
        plan.nodes[0].accesses =
            vec![reached(1, Likely::Low), reached(2, Likely::In(1)), reached(2, Likely::Low)];
        assert_eq!([1, 2].map(|at| plan.varies(0, at)), [false, true]);
        assert_eq!(plan.segments(0, 1), [Likely::Low]);
        assert_eq!(plan.segments(0, 2), [Likely::In(1), Likely::Low]);
        // Of a block alone nothing is known.
        assert_eq!((plan.segments(1, 1), plan.varies(1, 1)), (vec![Likely::In(0)], false));
    }

    #[test]
    fn an_entry_apart_goes_where_the_node_does_and_nothing_goes_there() {
        let mut plan = plan(nested());
        plan.entries = vec![0, 1, 4];
        plan.enter_apart(1);
        assert_eq!(places(&plan), [0x100, 0x140, 0x140, 0x180, 0x1c0, 0x80]);
        assert_eq!(plan.entries, [0, 1, 5]);
        for node in [1, 2] {
            assert_eq!(plan.nodes[node].edges, [to(0, true), to(4, false)]);
        }
        assert_eq!(plan.nodes[0].edges, [to(2, false), to(3, false)]);
        assert!(!plan.nodes.iter().any(|node| node.goes_to(1)));
        // The loop's five, and not the one apart.
        assert_eq!(plan.blocks(), 5);
    }
}
