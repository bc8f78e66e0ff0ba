//! How fast vCPUs go, and what that says of regions that would take the place of others.

use std::collections::HashSet;
use std::time::Duration;

use emu_core::ir::BlockKey;

use super::Job;
use crate::shared::JitShared;

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
    samples: u32,
}

enum Stage {
    /// It is to be compiled after that.
    Held(Box<Job>),
    /// It has been given to the worker, when this was the number of the region at its head.
    Ordered(Option<u32>),
    /// It has this number, and makes the vCPU as fast as that.
    There(u32, Speed),
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
        let (head, before) = (job.head, Speed::default());
        self.0.push(Trial { head, blocks, stage: Stage::Held(Box::new(job)), before, samples: 0 });
    }

    /// The vCPU has gone from one sample to the next.
    pub(super) fn go_on(&mut self, shared: &JitShared, last: Sample, now: Sample) {
        for mut trial in std::mem::take(&mut self.0) {
            trial.samples += 1;
            let is_in = trial.blocks.contains(&last.key) && trial.blocks.contains(&now.key);
            let region = || shared.region_at(trial.head);
            trial.stage = match trial.stage {
                Stage::Held(job) => {
                    if is_in {
                        trial.before.add(last, now);
                    }
                    if trial.before.time >= LOOK {
                        let old = region();
                        job.send(shared);
                        Stage::Ordered(old)
                    } else if trial.samples >= LONGEST_TRIAL {
                        shared.close_ticket(job.ticket);
                        shared.let_rest(trial.head);
                        continue;
                    } else {
                        Stage::Held(job)
                    }
                }
                Stage::Ordered(old) => match region() {
                    Some(number) if Some(number) != old => Stage::There(number, Speed::default()),
                    _ if trial.samples >= LONGEST_TRIAL => continue,
                    _ => Stage::Ordered(old),
                },
                Stage::There(number, mut after) => {
                    if is_in {
                        after.add(last, now);
                    }
                    if region() != Some(number) || trial.samples >= LONGEST_TRIAL {
                        continue;
                    }
                    if after.time >= LOOK {
                        if !after.keeps_up_with(trial.before) {
                            shared.retire_region(trial.head);
                        }
                        continue;
                    }
                    Stage::There(number, after)
                }
            };
            self.0.push(trial);
        }
    }
}
