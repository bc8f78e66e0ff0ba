//! Which blocks make a region: what can be reached from a hot loop's head by direct jumps, through calls and back, as far as it
//! leads back to a loop.

use emu_core::exec::{Isa, Vcpu};
use emu_core::ir::{Block, BlockKey, Hint, Mark, Op, Terminal};
use emu_core::mem::{PAGE_SIZE, WINDOWED};

use super::build;
use crate::shared::JitShared;
use crate::template::Features;
use crate::template::guess::Guess;

/// Blocks in a region at most; measured: more seldom run, and are compiled all the same.
const MOST_NODES: usize = 96;
/// Guest instructions in it at most.
const MOST_INSTRUCTIONS: usize = 700;
/// Pages that it lies in at most.
const MOST_PAGES: usize = 6;
/// Calls that are followed from inside calls.
const MOST_CALLS: usize = 3;
/// Places where it can be entered.
const MOST_ENTRIES: usize = 8;

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
    /// There is no such way.
    None,
    /// Out of the region.
    Out,
    /// To a node. `closes`: this closes a cycle of nodes. `poll`: it is not a jump forward in its page, so that a cycle through
    /// here and tier 1 may have no other place to ask for attention.
    To { node: usize, closes: bool, poll: bool },
}

/// A block of a region. One that is reached by different calls is there for each.
pub(crate) struct Node {
    pub block: Block,
    pub page: usize,
    /// Where calls on the way here are expected to come back to, from the start of the head's page; the last one last.
    pub returns: Vec<i64>,
    /// Of a branch: taken, and not; else the only one, which of a return is that to where it is expected to go.
    pub edges: [Edge; 2],
}

impl Node {
    fn goes_to(&self, number: usize) -> bool {
        self.edges.iter().any(|edge| matches!(*edge, Edge::To { node, .. } if node == number))
    }
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
    /// Where the next loop around this one begins, if it has been seen: an offset in RAM.
    pub around: Option<u64>,
}

/// A place that is not the head of a loop that could be a region.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unfit {
    /// Where the loop begins that it is in, if it has been seen: an offset in RAM.
    pub around: Option<u64>,
}

impl Plan {
    /// The region of the loop whose head is at the program counter, or what else is known of the place.
    pub(crate) fn new<I: Isa>(
        vcpu: &mut Vcpu<I>,
        shared: &JitShared,
        key: BlockKey,
        features: Features,
    ) -> Result<Self, Unfit> {
        let (ram, context) = vcpu.mmu.lookup_code(vcpu.state.pc).ok_or(Unfit::default())?;
        let page = ram & !(PAGE_SIZE as usize - 1);
        let pages = vec![PlannedPage { delta: 0, ram: page, context }];
        let windowed = shared.windows && key.ctx & WINDOWED != 0;
        let seen = Some(Guess::new(&vcpu.state.slots, &vcpu.state.tables));
        let base = vcpu.state.pc & !(PAGE_SIZE - 1);
        let mut planner = Planner {
            vcpu,
            shared,
            features,
            base,
            ctx: key.ctx,
            plan: Self { base, pages, nodes: Vec::new(), entries: Vec::new(), windowed, seen, around: None },
            way: Vec::new(),
            instructions: 0,
        };
        let start = (ram - page) as i64;
        planner.visit(start, &[]).ok_or(Unfit::default())?;
        planner.plan.trimmed()
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
    pub(crate) fn flow<T: Copy + PartialEq>(
        &self,
        mut at_start: Vec<T>,
        after: impl Fn(usize, T) -> T,
        both: impl Fn(T, T) -> T,
    ) -> Vec<T> {
        loop {
            let mut changed = false;
            for (n, node) in self.nodes.iter().enumerate() {
                let end = after(n, at_start[n]);
                for edge in node.edges {
                    let Edge::To { node, .. } = edge else { continue };
                    let holds = both(at_start[node], end);
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

    /// A block alone.
    pub(crate) fn of_block(block: &Block) -> Self {
        let ram = block.key.pa as usize & !(PAGE_SIZE as usize - 1);
        let node = Node { block: block.clone(), page: 0, returns: Vec::new(), edges: [Edge::Out; 2] };
        let pages = vec![PlannedPage { delta: 0, ram, context: 0 }];
        Self {
            base: 0,
            pages,
            nodes: vec![node],
            entries: vec![0],
            windowed: false,
            seen: None,
            around: None,
        }
    }

    /// Only the innermost loop of the head: what lies behind it, with the calls made there, as far as it leads back without passing
    /// what lies before: the loops around this one begin there. More would only compete for registers.
    fn trimmed(self) -> Result<Self, Unfit> {
        let around = self.loop_around();
        let kept = self.innermost().ok_or(Unfit { around })?;
        let mut plan = self.only(&kept);
        plan.entries = plan.entry_nodes();
        plan.around = around;
        Ok(plan)
    }

    /// Where the smallest loop begins, of those in the head's page, that the head's is a part of.
    fn loop_around(&self) -> Option<u64> {
        let place =
            |node: &Node| (node.page == 0 && node.returns.is_empty()).then_some(node.block.marks[0].offset);
        let head = self.nodes[0].block.marks[0].offset;
        let jumps = self.nodes.iter().flat_map(|node| node.edges.map(|edge| (node, edge)));
        let starts = jumps.filter_map(|(from, edge)| {
            let Edge::To { node, .. } = edge else { return None };
            let (from, to) = (place(from)?, place(&self.nodes[node])?);
            (to < head && head <= from).then_some(to)
        });
        Some(self.pages[0].ram as u64 + starts.max()? as u64)
    }

    /// Which nodes are those of the loop; none if the head is not that of one.
    fn innermost(&self) -> Option<Vec<bool>> {
        let start = self.nodes[0].block.marks[0].offset;
        let inside: Vec<bool> = self
            .nodes
            .iter()
            .map(|node| !node.returns.is_empty() || node.page == 0 && node.block.marks[0].offset >= start)
            .collect();
        let back = |node: &Node| node.page == 0 && node.returns.is_empty() && node.goes_to(0);
        if !self.nodes.iter().zip(&inside).any(|(node, &inside)| inside && back(node)) {
            return None;
        }
        let targets = |node: &Node| {
            node.edges.map(|edge| match edge {
                Edge::To { node, .. } if inside[node] => Some(node),
                _ => None,
            })
        };
        let mut reached = vec![false; self.nodes.len()];
        let mut next = vec![0];
        while let Some(n) = next.pop() {
            if !std::mem::replace(&mut reached[n], true) {
                next.extend(targets(&self.nodes[n]).into_iter().flatten());
            }
        }
        let mut kept: Vec<bool> =
            self.nodes.iter().zip(&reached).map(|(node, &reached)| reached && node.goes_to(0)).collect();
        loop {
            let mut changed = false;
            for n in 0..self.nodes.len() {
                let leads = targets(&self.nodes[n]).into_iter().flatten().any(|node| kept[node]);
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
            let edges = node.edges.map(|edge| match edge {
                Edge::To { node, closes, poll } => {
                    numbers[node].map_or(Edge::Out, |node| Edge::To { node, closes, poll })
                }
                edge => edge,
            });
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

    /// The head, and where else cycles close, as far as these can be entered.
    fn entry_nodes(&self) -> Vec<usize> {
        let mut entries = vec![0];
        for node in &self.nodes {
            for edge in node.edges {
                if let Edge::To { node, closes: true, .. } = edge
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
    /// Virtual address of the head's page.
    base: u64,
    ctx: u32,
    plan: Plan,
    /// The nodes on the way to the one in hand.
    way: Vec<usize>,
    instructions: usize,
}

impl<I: Isa> Planner<'_, I> {
    /// The page with that distance from the head's, if code may be fetched from it now, of the same context.
    fn page(&self, delta: i64) -> Option<PlannedPage> {
        if let Some(page) = self.plan.pages.iter().find(|page| page.delta == delta) {
            return Some(*page);
        }
        let (ram, context) = self.vcpu.mmu.lookup_code(self.base.wrapping_add_signed(delta))?;
        let same = context == self.plan.pages[0].context && self.plan.pages.len() < MOST_PAGES;
        same.then_some(PlannedPage { delta, ram, context })
    }

    /// The node for the block at `offset` from the start of the head's page, if there is to be one.
    fn visit(&mut self, offset: i64, returns: &[i64]) -> Option<usize> {
        let (delta, within) = (offset & !(PAGE_SIZE as i64 - 1), offset & (PAGE_SIZE as i64 - 1));
        let found = self.plan.nodes.iter().position(|node| {
            let at = self.plan.pages[node.page].delta + i64::from(node.block.marks[0].offset);
            at == offset && node.returns == returns
        });
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
        self.plan.nodes.push(Node { block, page, returns: returns.to_vec(), edges: [Edge::None; 2] });
        self.way.push(number);
        let edges = match terminal {
            Terminal::Jump { target, call: None } => {
                [self.edge(offset, delta + i64::from(target), returns), Edge::None]
            }
            Terminal::Jump { target, call: Some(back) } => {
                let (target, back) = (delta + i64::from(target), delta + i64::from(back));
                let edge = if returns.len() >= MOST_CALLS || returns.contains(&back) {
                    Edge::Out
                } else {
                    let deeper: Vec<i64> = returns.iter().copied().chain([back]).collect();
                    self.edge(offset, target, &deeper)
                };
                [edge, Edge::None]
            }
            Terminal::Branch { taken, fall, .. } => {
                let fall = self.edge(offset, delta + i64::from(fall), returns);
                [self.edge(offset, delta + i64::from(taken), returns), fall]
            }
            Terminal::Indirect { hint: Hint::Return, .. } => match returns.split_last() {
                Some((&back, rest)) => [self.edge(offset, back, rest), Edge::None],
                None => [Edge::Out, Edge::None],
            },
            _ => [Edge::Out, Edge::None],
        };
        self.plan.nodes[number].edges = edges;
        self.way.pop();
        Some(number)
    }

    fn edge(&mut self, from: i64, to: i64, returns: &[i64]) -> Edge {
        let forward = to > from && to.div_euclid(PAGE_SIZE as i64) == from.div_euclid(PAGE_SIZE as i64);
        match self.visit(to, returns) {
            Some(node) => {
                let closes = self.way.contains(&node);
                Edge::To { node, closes, poll: closes || !forward }
            }
            None => Edge::Out,
        }
    }
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
        let mut builder = BlockBuilder::new();
        builder.mark(offset, 4);
        let block = builder.finish(BlockKey { pa: offset as u64, ctx: 0 }, Terminal::Lookup { next: 0 });
        Node { block, page: 0, returns: Vec::new(), edges }
    }

    fn to(node: usize, closes: bool) -> Edge {
        Edge::To { node, closes, poll: true }
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
            node(0x80, [to(0, true), Edge::None]),
        ]
    }

    #[test]
    fn a_loop_has_its_parts_behind_it_but_not_the_loop_around_it() {
        let plan = plan(nested()).trimmed().unwrap();
        assert_eq!(places(&plan), [0x100, 0x140, 0x180]);
        assert_eq!((plan.entries.as_slice(), plan.around), (&[0][..], Some(0x80)));
        assert_eq!(plan.nodes[1].edges, [to(0, true), Edge::Out]);
    }

    #[test]
    fn a_loop_that_follows_is_none_of_its_parts() {
        let nodes = vec![
            node(0x100, [to(0, true), to(1, false)]),
            node(0x140, [to(1, true), to(2, false)]),
            node(0x180, [Edge::Out, Edge::None]),
        ];
        let plan = plan(nodes).trimmed().unwrap();
        assert_eq!((places(&plan), plan.entries), (vec![0x100], vec![0]));
    }

    #[test]
    fn a_place_in_a_loop_that_is_not_its_head_knows_where_it_begins() {
        let nodes = vec![
            node(0x180, [to(1, false), Edge::None]),
            node(0x1c0, [to(2, false), Edge::Out]),
            node(0x80, [to(0, true), Edge::None]),
        ];
        assert_eq!(plan(nodes).trimmed().err().map(|unfit| unfit.around), Some(Some(0x80)));
        let alone = vec![node(0x180, [Edge::Out; 2])];
        assert_eq!(plan(alone).trimmed().err().map(|unfit| unfit.around), Some(None));
    }
}
