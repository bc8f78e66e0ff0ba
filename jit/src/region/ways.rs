//! The ways that a vCPU goes from block to block: which are worth having in a region, where indirect jumps lead to, and to which
//! loop a place belongs that is in none of its own function.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use emu_core::exec::{Isa, Stop, Vcpu};
use emu_core::interp::Interpreter;
use emu_core::ir::{Block, BlockKey, Hint, Op, Terminal};
use emu_core::mem::WINDOWED;

use super::plan::Plan;
use crate::stats::Counters;
use crate::template::guess::{Guess, Likely};

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
    /// Where its accesses through a window have gone, by operation.
    accesses: Option<Vec<(usize, Likely)>>,
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
        self.blocks.values_mut().for_each(|seen| seen.accesses = None);
        self.outward = Outward::default();
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
        let (pc, mut terminal) = (vcpu.state.pc, None);
        let ran = interpreter.run_if(vcpu, |vcpu, block| {
            terminal = Some(block.terminal);
            if from.ctx & WINDOWED != 0 && seen.accesses.is_none() {
                seen.accesses = Some(accesses(vcpu, block));
            }
            keeps_context(block)
        })?;
        if ran {
            seen.add(vcpu.state.pc);
            if let Some(terminal) = terminal {
                self.outward.gone(terminal, pc, vcpu.state.pc);
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

    /// How often what has been seen would have entered the region, and instructions that it would have done there.
    pub(crate) fn in_region(&self, plan: &Plan) -> (u64, u64) {
        let lengths: HashMap<BlockKey, usize> =
            plan.nodes.iter().map(|node| (node.block.key, node.block.len())).collect();
        let entries: Vec<u64> =
            plan.entries.iter().map(|&node| plan.base.wrapping_add_signed(plan.place(node))).collect();
        // The same code in another context goes to the same addresses, but not into this region.
        let ctx = plan.nodes.first().map(|node| node.block.key.ctx);
        let outside =
            self.blocks.iter().filter(|(key, _)| Some(key.ctx) == ctx && !lengths.contains_key(key));
        let ways = outside.flat_map(|(_, seen)| &seen.ways).filter(|way| entries.contains(&way.to));
        let entered = ways.map(|way| u64::from(way.times)).sum();
        let runs = lengths.iter().map(|(&key, &len)| u64::from(self.runs(key)) * len as u64);
        (entered, runs.sum())
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

    /// Where the accesses of the block have gone, by operation.
    pub(crate) fn accesses(&self, block: BlockKey) -> Vec<(usize, Likely)> {
        self.blocks.get(&block).and_then(|seen| seen.accesses.clone()).unwrap_or_default()
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
}

/// Where the accesses of the block at the program counter will go.
fn accesses<I: Isa>(vcpu: &Vcpu<I>, block: &Block) -> Vec<(usize, Likely)> {
    let guess = Guess::of_block(vcpu, block);
    let accesses = block.insts.iter().enumerate().filter(|(_, inst)| matches!(inst.op, Op::Load | Op::Store));
    accesses.map(|(at, inst)| (at, guess.of(block, inst.a, at))).collect()
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
    fn how_long_a_region_would_have_been_stayed_in_is_what_its_blocks_did_by_the_ways_into_it() {
        let [before, inside, after] = [0x80, 0x100, 0x180].map(|pa| BlockKey { pa, ctx: 0 });
        let mut builder = BlockBuilder::new();
        [0x100, 0x104, 0x108].into_iter().for_each(|offset| builder.mark(offset, 4));
        let plan = Plan::of_block(&builder.finish(inside, Terminal::Lookup { next: 0 }));
        let mut ways = Ways::default();
        for _ in 0..3 {
            ways.add(before, 0x100);
            (0..5).for_each(|_| ways.add(inside, 0x100));
            ways.add(inside, 0x180);
            ways.add(after, 0x80);
        }
        // The same code in another context.
        (0..5).for_each(|_| ways.add(BlockKey { ctx: 1, ..inside }, 0x100));
        // Into it, and not back to its head: 3 times 6 rounds of 3 instructions.
        assert_eq!(ways.in_region(&plan), (3, 54));
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
