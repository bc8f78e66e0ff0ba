//! The ways that a vCPU goes from block to block: which are worth having in a region, where indirect jumps lead to, and to which
//! loop a place belongs that is in none of its own function.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use emu_core::exec::{Isa, Stop, Vcpu};
use emu_core::interp::Interpreter;
use emu_core::ir::{Block, BlockKey, Hint, Terminal};
use emu_core::mem::WINDOWED;

use super::plan::Plan;
use crate::stats::Counters;
use crate::template::guess::{Layout, Likely};

/// Instructions that a vCPU is watched for.
const MOST_INSTRUCTIONS: u64 = 4000;
/// Runs of a block after which it is known where it goes.
const ENOUGH: u32 = 32;

/// Ways of one block that are remembered at most.
const MOST_WAYS: usize = 64;
/// Blocks that are remembered at most.
const MOST_BLOCKS: usize = 1 << 14;

/// What blocks have done.
#[derive(Default)]
pub(crate) struct Ways {
    blocks: HashMap<BlockKey, Seen>,
    /// From where the vCPU was last watched.
    outward: Outward,
    /// The blocks that it has run then, and their instructions.
    trace: Vec<(BlockKey, u32)>,
}

/// The way from a place out of the functions that it is in, as far as a loop around the call of one.
#[derive(Default)]
struct Outward {
    /// Calls less returns since then, and the least that there have been.
    depth: i32,
    least: i32,
    /// Where the outermost return has led to.
    came_back: u64,
    /// The jump that has just been made is the one back in that loop.
    is_back: bool,
    head: Option<BlockKey>,
}

impl Outward {
    /// A block begins.
    fn at(&mut self, block: BlockKey) {
        if std::mem::take(&mut self.is_back) {
            self.head.get_or_insert(block);
        }
    }

    /// The block at one address has ended in this way, and gone to the other.
    fn gone(&mut self, terminal: Terminal, from: u64, to: u64) {
        match terminal {
            Terminal::Jump { call: Some(_), .. } | Terminal::Indirect { hint: Hint::Call(_), .. } => {
                self.depth += 1;
            }
            Terminal::Indirect { hint: Hint::Return, .. } => {
                self.depth -= 1;
                if self.depth < self.least {
                    (self.least, self.came_back) = (self.depth, to);
                }
            }
            Terminal::Jump { .. } | Terminal::Branch { .. } => {
                let is_around = to <= from && to <= self.came_back;
                self.is_back = is_around && self.depth == self.least && self.least < 0;
            }
            _ => {}
        }
    }
}

/// What one block has done.
#[derive(Default)]
struct Seen {
    /// Where it has gone on.
    ways: Vec<Way>,
    /// Where its accesses have gone in the window.
    accesses: Vec<Reached>,
}

/// Where in the window an access has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The number of its operation.
    pub at: usize,
    pub segment: Likely,
    pub times: u32,
}

/// A way out of a block, to a virtual address.
#[derive(Clone, Copy)]
struct Way {
    to: u64,
    times: u32,
}

impl Ways {
    /// Adds those that the vCPU goes next, as long as the context stays what it is. What wants its attention waits for so long.
    pub(crate) fn watch<I: Isa>(
        &mut self,
        interpreter: &mut Interpreter,
        vcpu: &mut Vcpu<I>,
        counters: &Counters,
    ) -> Result<(), Stop> {
        if self.blocks.len() > MOST_BLOCKS {
            self.blocks.clear();
        }
        self.blocks.values_mut().for_each(|seen| seen.accesses.clear());
        self.outward = Outward::default();
        self.trace.clear();
        let begun = vcpu.state.retired;
        let retired = |vcpu: &Vcpu<I>| vcpu.state.retired.wrapping_sub(begun);
        let mut outcome = Ok(true);
        while matches!(outcome, Ok(true)) && retired(vcpu) < MOST_INSTRUCTIONS {
            outcome = self.watch_block(interpreter, vcpu);
            counters.interpreted.fetch_add(u64::from(matches!(outcome, Ok(true))), Relaxed);
        }
        counters.interpreted_instructions.fetch_add(retired(vcpu), Relaxed);
        outcome.map(|_| ())
    }

    /// The same for the block at the program counter; whether it is one that keeps the context, so that it has been run.
    fn watch_block<I: Isa>(
        &mut self,
        interpreter: &mut Interpreter,
        vcpu: &mut Vcpu<I>,
    ) -> Result<bool, Stop> {
        vcpu.limit_exclusive();
        let from = vcpu.block_key()?;
        let seen = self.blocks.entry(from).or_default();
        self.outward.at(from);
        let (pc, mut ended) = (vcpu.state.pc, None);
        let segments = (from.ctx & WINDOWED != 0).then(|| Layout::new(vcpu));
        let wanted = |block: &Block| {
            ended = Some((block.terminal, block.len()));
            keeps_context(block)
        };
        let ran = interpreter.watch_if(vcpu, wanted, |at, base| {
            if let Some(segment) = segments.and_then(|segments| segments.of(base)) {
                seen.reached(at, segment);
            }
        })?;
        if ran {
            seen.add(vcpu.state.pc);
            if let Some((terminal, len)) = ended {
                self.outward.gone(terminal, pc, vcpu.state.pc);
                self.trace.push((from, len as u32));
            }
        }
        Ok(ran)
    }

    /// Notes that the block has gone on there.
    #[cfg(test)]
    pub(super) fn add(&mut self, from: BlockKey, to: u64) {
        self.blocks.entry(from).or_default().add(to);
    }

    /// Where the loop begins from which the place was called where the vCPU was last watched from, if it has come to that.
    pub(crate) fn loop_outside(&self) -> Option<BlockKey> {
        self.outward.head
    }

    /// How often the block has run, as far as is remembered.
    pub(crate) fn runs(&self, from: BlockKey) -> u32 {
        self.blocks.get(&from).map_or(0, |seen| seen.ways.iter().map(|way| way.times).sum())
    }

    /// How often what has been watched last would have left the region, and instructions that it would have done there.
    pub(crate) fn in_region(&self, plan: &Plan) -> (u64, u64) {
        let is_at = |node: &usize, key| plan.nodes[*node].block.key == key;
        let (mut left, mut instructions) = (0, 0);
        let mut at = None;
        for &(key, len) in &self.trace {
            let goes_on = at.and_then(|node: usize| plan.nodes[node].targets().find(|node| is_at(node, key)));
            left += u64::from(at.is_some() && goes_on.is_none());
            at = goes_on.or_else(|| plan.entries.iter().copied().find(|node| is_at(node, key)));
            instructions += at.map_or(0, |_| u64::from(len));
        }
        (left, instructions)
    }

    /// Whether the block goes elsewhere, as far as is known.
    pub(crate) fn avoid(&self, from: BlockKey, to: u64) -> bool {
        self.blocks.get(&from).is_some_and(|seen| seen.ways.iter().all(|way| way.to != to))
            && self.runs(from) >= ENOUGH
    }

    /// Where the block has gone on, the most frequent first.
    pub(crate) fn targets(&self, from: BlockKey) -> Vec<u64> {
        let mut ways = self.blocks.get(&from).map_or(Vec::new(), |seen| seen.ways.clone());
        ways.sort_by_key(|way| std::cmp::Reverse(way.times));
        ways.into_iter().map(|way| way.to).collect()
    }

    /// Where the accesses of the block have gone since it was last begun to watch, the most frequent first.
    pub(crate) fn accesses(&self, block: BlockKey) -> Vec<Reached> {
        let mut reached = self.blocks.get(&block).map_or(Vec::new(), |seen| seen.accesses.clone());
        reached.sort_by_key(|reached| (reached.at, std::cmp::Reverse(reached.times)));
        reached
    }
}

impl Seen {
    fn add(&mut self, to: u64) {
        if let Some(way) = self.ways.iter_mut().find(|way| way.to == to) {
            way.times += 1;
        } else if self.ways.len() < MOST_WAYS {
            self.ways.push(Way { to, times: 1 });
        }
    }

    fn reached(&mut self, at: usize, segment: Likely) {
        let mut known = self.accesses.iter_mut();
        match known.find(|reached| (reached.at, reached.segment) == (at, segment)) {
            Some(reached) => reached.times += 1,
            None => self.accesses.push(Reached { at, segment, times: 1 }),
        }
    }
}

/// Whether the block goes on in the context that it runs in, unless it raises an exception.
fn keeps_context(block: &Block) -> bool {
    !matches!(
        block.terminal,
        Terminal::Exception { .. } | Terminal::Lookup { .. } | Terminal::Indirect { hint: Hint::Switch, .. }
    )
}

#[cfg(test)]
mod tests {
    use emu_core::ir::{BlockBuilder, Val};

    use super::super::plan::{Edge, Node};
    use super::*;

    #[test]
    fn the_loop_outside_is_that_of_the_first_caller_that_has_one() {
        let key = |pa| BlockKey { pa, ctx: 0 };
        let jump = Terminal::Jump { target: 0, call: None };
        let call = Terminal::Jump { target: 0, call: Some(4) };
        let back = Terminal::Indirect { target: Val::slot(30), hint: Hint::Return };
        let mut outward = Outward::default();
        let mut go = |terminal, from, to| {
            outward.gone(terminal, from, to);
            outward.at(key(to));
            outward.head
        };
        // The place's own loop, and then its caller.
        assert_eq!(go(jump, 0x840, 0x800), None);
        assert_eq!(go(back, 0x840, 0x180), None);
        // There a jump forward, a loop behind the call, and one in another function.
        assert_eq!(go(jump, 0x180, 0x1a0), None);
        assert_eq!(go(jump, 0x1c0, 0x1a0), None);
        assert_eq!([go(call, 0x1c0, 0x400), go(jump, 0x440, 0x400), go(back, 0x440, 0x1e0)], [None; 3]);
        assert_eq!(go(jump, 0x1e0, 0x100), Some(key(0x100)));
        // What comes later is around that.
        assert_eq!(go(back, 0x200, 0x2080), Some(key(0x100)));
        assert_eq!(go(jump, 0x2080, 0x2000), Some(key(0x100)));
    }

    #[test]
    fn how_long_a_region_would_have_been_stayed_in_is_seen_by_going_through_it() {
        let [before, head, inside, after] = [0x80, 0x100, 0x140, 0x180].map(|pa| BlockKey { pa, ctx: 0 });
        let block = |key| {
            let mut builder = BlockBuilder::new();
            (0..3).for_each(|n| builder.mark(4 * n, 4));
            builder.finish(key, Terminal::Lookup { next: 0 })
        };
        // A loop of two blocks; behind the second it may also go on.
        let mut plan = Plan::of_block(&block(head));
        plan.nodes.push(Node { block: block(inside), ..plan.nodes[0].clone() });
        let to = |node| Edge::To { node, closes: node == 0 };
        plan.nodes[0].edges = vec![to(1)];
        plan.nodes[1].edges = vec![to(0), Edge::Out];
        let mut ways = Ways::default();
        let mut ran = |keys: &[BlockKey]| ways.trace.extend(keys.iter().map(|&key| (key, 3)));
        ran(&[before, head, inside, head, inside, after]);
        // Not from its middle on; and there it is left for what it does not lead to.
        ran(&[inside, after, head, head, inside]);
        // The same code in another context.
        ran(&[BlockKey { ctx: 1, ..head }, BlockKey { ctx: 1, ..inside }]);
        assert_eq!(ways.in_region(&plan), (3, 3 * 7));
    }

    #[test]
    fn accesses_are_known_by_operation_the_most_frequent_segment_first() {
        let block = BlockKey { pa: 0x100, ctx: WINDOWED };
        let mut ways = Ways::default();
        let seen = ways.blocks.entry(block).or_default();
        for (at, segment) in [(3, Likely::In(1)), (1, Likely::In(2)), (3, Likely::Low), (3, Likely::Low)] {
            seen.reached(at, segment);
        }
        let accesses = ways.accesses(block);
        let accesses: Vec<_> = accesses.iter().map(|seen| (seen.at, seen.segment, seen.times)).collect();
        assert_eq!(accesses, [(1, Likely::In(2), 1), (3, Likely::Low, 2), (3, Likely::In(1), 1)]);
    }

    #[test]
    fn what_is_known_of_a_block_is_how_often_it_went_where() {
        let [block, other] = [0x100, 0x200].map(|pa| BlockKey { pa, ctx: 0 });
        let mut ways = Ways::default();
        (0..ENOUGH - 2).for_each(|_| ways.add(block, 0x200));
        ways.add(block, 0x300);
        assert_eq!((ways.runs(block), ways.runs(other)), (ENOUGH - 1, 0));
        assert_eq!(ways.targets(block), [0x200, 0x300]);
        // One run more, and it is known well enough.
        assert!(!ways.avoid(block, 0x400));
        ways.add(block, 0x300);
        assert!(ways.avoid(block, 0x400) && !ways.avoid(block, 0x300) && !ways.avoid(other, 0x400));
    }
}
