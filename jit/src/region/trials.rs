//! How fast vCPUs go, and what that says of regions that would take the place of others.

use std::collections::HashSet;
use std::time::Duration;

use emu_core::ir::BlockKey;

use super::Job;
use crate::shared::JitShared;
use crate::shared::regions::Flaw;

/// How long code is looked at before a region is made of it, and how long that is, before it is judged. It takes the
/// worker as long to make one.
pub(super) const LOOK: Duration = Duration::from_millis(8);
/// Trials at a time at most.
const MOST_TRIALS: usize = 8;
/// Samples that a trial has to come to an end.
const LONGEST_TRIAL: u32 = 2000;

/// When a vCPU was seen, and where.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub key: BlockKey,
    pub in_region: bool,
    /// CPU time of its thread.
    pub at: Duration,
    pub retired: u64,
}

/// Instructions over time.
#[derive(Clone, Copy, Default)]
pub(super) struct Speed {
    pub instructions: u64,
    pub time: Duration,
}

impl Speed {
    /// The vCPU has gone from one sample to the next.
    pub(super) fn add(&mut self, last: Sample, now: Sample) {
        self.instructions += now.retired.wrapping_sub(last.retired);
        self.time += now.at.saturating_sub(last.at);
    }

    /// Whether this is as fast as `other`, as far as can be measured.
    pub(super) fn keeps_up_with(self, other: Self) -> bool {
        let [mine, others] = [self, other]
            .map(|speed| u128::from(speed.instructions) * 1_000_000 / speed.time.as_nanos().max(1));
        mine * 100 >= others * 97
    }
}

/// A region that would take the place of others. How fast the vCPU goes from one sample to the next, both anywhere in it, is
/// measured before it is compiled, and after that.
struct Trial {
    head: BlockKey,
    blocks: HashSet<BlockKey>,
    stage: Stage,
    before: Speed,
    after: Speed,
    samples: u32,
}

enum Stage {
    /// It is to be compiled when it is known how fast the code is without.
    Held(Box<Job>),
    /// It has been given to the worker, when this was the number of the region at its head.
    Ordered(Option<u32>),
    /// It is there, with this number.
    There(u32),
}

impl Trial {
    /// The vCPU has gone from one sample to the next. False if the trial is over.
    fn go_on(&mut self, shared: &JitShared, last: Sample, now: Sample) -> bool {
        self.samples += 1;
        let expires = self.samples >= LONGEST_TRIAL;
        let is_in = self.blocks.contains(&last.key) && self.blocks.contains(&now.key);
        let region = shared.region_at(self.head);
        match &self.stage {
            Stage::Held(job) => {
                if is_in {
                    self.before.add(last, now);
                }
                if self.before.time < LOOK && expires {
                    shared.close_ticket(job.ticket);
                    shared.let_rest(self.head);
                } else if self.before.time >= LOOK
                    && let Stage::Held(job) = std::mem::replace(&mut self.stage, Stage::Ordered(region))
                {
                    job.send(shared);
                }
            }
            Stage::Ordered(old) => {
                if let Some(number) = region.filter(|_| region != *old) {
                    self.stage = Stage::There(number);
                }
            }
            Stage::There(number) => {
                if region != Some(*number) {
                    return false;
                }
                if is_in {
                    self.after.add(last, now);
                }
                if self.after.time >= LOOK {
                    if !self.after.keeps_up_with(self.before) {
                        shared.retire_region(self.head, Flaw::Left);
                    }
                    return false;
                }
            }
        }
        !expires
    }
}

/// Those of one vCPU.
#[derive(Default)]
pub(super) struct Trials(Vec<Trial>);

impl Trials {
    /// Has a region compiled after it is known how fast the code is without.
    pub(super) fn begin(&mut self, shared: &JitShared, job: Job) {
        if self.0.len() >= MOST_TRIALS || self.0.iter().any(|trial| trial.head == job.head) {
            shared.close_ticket(job.ticket);
            return shared.let_rest(job.head);
        }
        let blocks = job.plan.nodes.iter().map(|node| node.block.key).collect();
        let (head, stage) = (job.head, Stage::Held(Box::new(job)));
        let (before, after) = (Speed::default(), Speed::default());
        self.0.push(Trial { head, blocks, stage, before, after, samples: 0 });
    }

    /// The vCPU has gone from one sample to the next.
    pub(super) fn go_on(&mut self, shared: &JitShared, last: Sample, now: Sample) {
        self.0.retain_mut(|trial| trial.go_on(shared, last, now));
    }
}
