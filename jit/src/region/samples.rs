//! Where vCPUs have been seen, and what is made of it: the places that are seen often become heads of regions, and the regions
//! that do not pay are given up.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use emu_core::exec::{Isa, REGION_COUNTS, RegionCount, Stop, Vcpu};
use emu_core::interp::Interpreter;
use emu_core::ir::{Block, BlockKey};
use rustix::time::{ClockId, clock_gettime};

use super::place::{Compiled, RegionCompiler};
use super::plan::{Plan, Start};
use super::trials::{LOOK, Sample, Speed, Trials};
use super::ways::Ways;
use super::{Job, Queue, build, compile, listing};
use crate::shared::JitShared;
use crate::shared::regions::Flaw;
use crate::template::Features;
use crate::template::guess::Guess;

/// Samples that make a head of a place whose speed is not known: where short loops take turns, a vCPU is rarely seen at one
/// place twice in a row. Measured.
const PLENTY: u32 = 8;
/// Guest instructions of a region that are compiled between two samples: measured.
const COMPILED_IN_A_PERIOD: usize = 10;
/// Places that samples are counted for at most.
const MOST_PLACES: usize = 4096;
/// Regions that are watched at most.
const MOST_WATCHED: usize = 64;
/// Instructions from entry to exit, on average, that make a region pay: measured.
const LEAST_STAY: i64 = 100;
/// Entries after which it is known whether a region is left often.
const TRIED: u64 = 1000;
/// Instructions from entry to exit, on average, below which it is.
const SHORT_STAY: u64 = 1000;
/// Instructions that a region may fall short of that before it is given up: those of a thousand entries.
const MOST_DEBT: i64 = 1000 * LEAST_STAY;
/// Instructions beyond that which count against what comes later: a loop that pays may have times when it does not.
const MOST_CREDIT: i64 = 100 * MOST_DEBT;

/// What one vCPU has been sampled at.
#[derive(Default)]
pub(crate) struct Samples {
    places: HashMap<BlockKey, Place>,
    last: Option<Sample>,
    watched: Vec<Watched>,
    trials: Trials,
    ways: Ways,
    /// Of a vCPU that compiles by itself.
    compiler: Option<RegionCompiler>,
}

/// What is known of a place where a vCPU has been seen.
#[derive(Default)]
struct Place {
    /// Since it was last elected.
    samples: u32,
    /// In all.
    seen: u64,
    /// How many these have to be: see [`Samples::has_earned`].
    least: u64,
    /// How fast it went from one sample to the next, in tier 1 and in a region.
    speeds: [Speed; 2],
    judged: bool,
    /// Where the loop around the last region's begins.
    around: Option<BlockKey>,
    /// There is no need to look at it for long: a loop in this one is left too soon to pay, or it has only had to wait.
    promoted: bool,
    /// The region is left often: with what is known of its ways by now there may be a larger one.
    grows: bool,
}

impl Place {
    /// What has been seen there until now counts no more, but for how often, and how fast it went in tier 1.
    fn begin_anew(&mut self, before: Speed) {
        *self = Self { seen: self.seen, speeds: [before, Speed::default()], ..Self::default() };
    }

    /// Whether the region there turns out to be slower than tier 1 was; that is said once.
    fn is_too_slow(&mut self) -> bool {
        let [before, after] = self.speeds;
        if self.judged || after.time < LOOK {
            return false;
        }
        self.judged = true;
        before.time >= LOOK && !after.keeps_up_with(before)
    }
}

/// A region, and what it had done when it was last looked at.
struct Watched {
    head: BlockKey,
    number: u32,
    before: RegionCount,
    /// Instructions by which it has paid.
    credit: i64,
    /// What it has done since it was first looked at, until it is known whether it may grow.
    first: Option<RegionCount>,
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// How often a head is to have been seen for so many instructions to be worth compiling, if there have been too few samples in
/// all of them; of these the head has had a part.
fn samples_to_earn(instructions: usize, samples: u64, of_head: u64) -> Option<u64> {
    let wanted = (instructions / COMPILED_IN_A_PERIOD) as u64;
    (samples < wanted).then(|| of_head.max(1).saturating_mul(wanted).div_ceil(samples.max(1)))
}

impl Samples {
    /// The code of a block as a region of its own, if its operations have forms there, and it is to be made by the vCPU.
    pub(crate) fn block_alone(
        &mut self,
        shared: &JitShared,
        block: &Block,
        features: Features,
    ) -> Option<Compiled> {
        let by_itself = shared.regions.is_some_and(|regions| !regions.background);
        if !by_itself || block.crosses_page || !build::supports(block, features) {
            return None;
        }
        let mut plan = Plan::of_block(block);
        plan.in_memory = build::in_memory(&plan, shared.slots, |_| 1);
        self.compiler(features)?.compile(&plan, shared.slots)
    }

    fn compiler(&mut self, features: Features) -> Option<&mut RegionCompiler> {
        if self.compiler.is_none() {
            self.compiler = RegionCompiler::new(features);
        }
        self.compiler.as_mut()
    }

    /// The vCPU has come back at its program counter because something wanted attention. If that is to be the head of a region,
    /// the interpreter runs it on from there, for the region to be planned by.
    pub(crate) fn take<I: Isa>(
        &mut self,
        vcpu: &mut Vcpu<I>,
        interpreter: &mut Interpreter,
        shared: &JitShared,
        features: Features,
    ) -> Result<(), Stop> {
        let Some((key, before)) = self.elect(vcpu, shared) else { return Ok(()) };
        let begun = Instant::now();
        let (pc, seen) = (vcpu.state.pc, Guess::new(vcpu));
        let watched = self.ways.watch(interpreter, vcpu, &shared.counters);
        // None of that is the code's time.
        self.last = None;
        let is_there = vcpu.mmu.lookup_code(pc).is_some_and(|(ram, _)| ram as u64 == key.pa);
        if !is_there {
            shared.let_rest(key);
            return watched;
        }
        let epoch = vcpu.blocks().epoch();
        let start = Start { pc, key, seen, ways: &self.ways };
        let plan = Plan::new(vcpu, shared, start, features);
        shared.counters.plan_ns.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
        // Who makes regions by itself keeps everything.
        let chooses = shared.regions.is_some_and(|regions| regions.background);
        let around = match plan {
            Ok(plan) if chooses && self.is_left_soon(&plan) => {
                // It may be otherwise later.
                shared.let_rest(key);
                plan.around
            }
            Ok(plan) if chooses && !self.has_earned(shared, key, &plan) => {
                shared.end_rest(key);
                return watched;
            }
            Ok(plan) => {
                self.order(vcpu, shared, features, key, plan, epoch);
                return watched;
            }
            Err(unfit) => unfit.around,
        };
        shared.counters.regions_unfit.fetch_add(1, Relaxed);
        if let Some(around) = self.around(key, around) {
            self.promote(shared, around, before);
        }
        // What has stopped it has not been acted upon.
        watched
    }

    /// Whether it would have been left too soon to pay by what has been watched last.
    fn is_left_soon(&self, plan: &Plan) -> bool {
        let (left, instructions) = self.ways.in_region(plan);
        instructions < left * LEAST_STAY as u64
    }

    /// Whether the vCPU has been seen in it for as long as it takes to compile: as long as code runs for less, tier 1 is the better
    /// choice. If not, its head is to be seen as many times more often.
    fn has_earned(&mut self, shared: &JitShared, head: BlockKey, plan: &Plan) -> bool {
        let blocks: HashSet<BlockKey> = plan.nodes.iter().map(|node| node.block.key).collect();
        let seen: u64 = blocks.iter().filter_map(|key| Some(self.places.get(key)?.seen)).sum();
        let instructions: usize = plan.nodes.iter().map(|node| node.block.len()).sum();
        let place = self.places.entry(head).or_default();
        let Some(least) = samples_to_earn(instructions, seen, place.seen) else { return true };
        (place.promoted, place.least) = (true, least);
        // If there is a region already, this is to be a larger one.
        place.grows = shared.region_at(head).is_some();
        false
    }

    /// Where the loop begins that the place is in: in its function, at that offset in RAM, or else in one that has called that.
    fn around(&self, key: BlockKey, pa: Option<u64>) -> Option<BlockKey> {
        pa.map(|pa| BlockKey { pa, ..key }).or(self.ways.loop_outside())
    }

    /// Counts the place where the vCPU is, which may be elected as the head of a region.
    /// With it comes how fast the vCPU went there until now.
    fn elect<I: Isa>(&mut self, vcpu: &Vcpu<I>, shared: &JitShared) -> Option<(BlockKey, Speed)> {
        let config = shared.regions?;
        let key = vcpu.cached_block_key()?;
        if self.places.len() >= MOST_PLACES {
            self.places.clear();
        }
        let region = shared.region_at(key);
        if config.background {
            self.watch(vcpu, shared);
            if let Some(number) = region {
                self.watch_also(vcpu, key, number);
            }
        }
        let in_region = region.is_some();
        let now = Sample { key, in_region, at: thread_time(), retired: vcpu.state.retired };
        let last = self.last.replace(now);
        if let Some(last) = last {
            self.trials.go_on(shared, last, now);
        }
        let place = self.places.entry(key).or_default();
        place.samples += 1;
        place.seen += 1;
        if let Some(last) = last
            && (last.key, last.in_region) == (key, in_region)
        {
            place.speeds[usize::from(in_region)].add(last, now);
        }
        let before = place.speeds[0];
        let is_full = config.background && shared.queue.get().is_none_or(Queue::is_full);
        let is_due = place.seen >= place.least;
        let grows = in_region && !is_full && is_due && std::mem::take(&mut place.grows);
        shared.looks.found(vcpu.index(), in_region && !grows);
        if in_region && !grows {
            if config.background && place.is_too_slow() {
                shared.retire_region(key, Flaw::Slow);
            }
            return None;
        }
        if grows {
            shared.end_rest(key);
        }
        let at_once = place.promoted || grows;
        let is_timed = !config.background || before.time >= LOOK;
        let least = if is_timed { config.threshold } else { PLENTY };
        let is_wanted = is_due && (at_once || place.samples >= least);
        if !is_wanted || is_full || !shared.elect(key) {
            return None;
        }
        place.begin_anew(before);
        Some((key, before))
    }

    /// Has a region compiled.
    fn order<I: Isa>(
        &mut self,
        vcpu: &Vcpu<I>,
        shared: &JitShared,
        features: Features,
        key: BlockKey,
        plan: Plan,
        epoch: u64,
    ) {
        let Some(config) = shared.regions else { return };
        if shared.is_outdone(&plan, key.ctx) {
            return shared.let_rest(key);
        }
        let Some(ticket) = shared.open_ticket(&plan, epoch) else { return shared.end_rest(key) };
        let around = self.around(key, plan.around);
        if let Some(place) = self.places.get_mut(&key) {
            place.around = around;
        }
        let host_base = vcpu.bus.ram().host_base().addr() as u64;
        let wanted = shared.dump.is_some_and(|dump| plan.covers(dump.pc));
        let listing = wanted.then(|| listing::guest::<I>(&plan, vcpu.bus.ram()));
        let takes_place = config.background && shared.has_regions_in(&plan);
        let job = Job { head: key, plan, ticket, host_base, listing };
        if takes_place {
            self.trials.begin(shared, job);
        } else if config.background {
            job.send(shared);
        } else if let Some(compiler) = self.compiler(features) {
            compile(shared, compiler, &job);
        }
    }

    /// Has the loop that begins there made a region as soon as it is seen: what is in it does not stay in regions of its own.
    fn promote(&mut self, shared: &JitShared, around: BlockKey, before: Speed) {
        if shared.may_be_elected(around) {
            let place = self.places.entry(around).or_default();
            place.begin_anew(before);
            place.promoted = true;
        }
    }

    /// Looks at the region with this number from now on.
    fn watch_also<I: Isa>(&mut self, vcpu: &Vcpu<I>, head: BlockKey, number: u32) {
        let known = self.watched.iter().any(|region| region.head == head);
        if !known && self.watched.len() < MOST_WATCHED {
            let before = vcpu.state.regions[number as usize % REGION_COUNTS];
            self.watched.push(Watched { head, number, before, credit: 0, first: Some(before) });
        }
    }

    /// Gives up the regions that are left too soon. What one does is counted together with what others do that have the same
    /// place for it, so that mistakes are possible; they cost no more than time.
    fn watch<I: Isa>(&mut self, vcpu: &Vcpu<I>, shared: &JitShared) {
        let places = &mut self.places;
        let mut around = Vec::new();
        self.watched.retain_mut(|region| {
            if shared.region_at(region.head) != Some(region.number) {
                return false;
            }
            let now = vcpu.state.regions[region.number as usize % REGION_COUNTS];
            let before = std::mem::replace(&mut region.before, now);
            let [entries, instructions] = [
                now.entries.wrapping_sub(before.entries),
                now.instructions.wrapping_sub(before.instructions),
            ]
            .map(|count| i64::try_from(count).unwrap_or(i64::MAX));
            let paid = instructions.saturating_sub(entries.saturating_mul(LEAST_STAY));
            if let Some(first) = region.first
                && let entries = now.entries.wrapping_sub(first.entries)
                && entries >= TRIED
            {
                region.first = None;
                if now.instructions.wrapping_sub(first.instructions) < entries * SHORT_STAY {
                    let place = places.entry(region.head).or_default();
                    place.grows = true;
                    around.extend(place.around.map(|around| (around, place.speeds[0])));
                }
            }
            region.credit = region.credit.saturating_add(paid).min(MOST_CREDIT);
            if region.credit > -MOST_DEBT {
                return true;
            }
            shared.retire_region(region.head, Flaw::Left);
            let place = places.entry(region.head).or_default();
            place.samples = 0;
            // A loop of few rounds; what is around it takes longer.
            around.extend(place.around.map(|around| (around, place.speeds[0])));
            false
        });
        around.into_iter().for_each(|(around, before)| self.promote(shared, around, before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_compiled_when_it_has_been_seen_for_as_long_as_that_takes() {
        let instructions = 30 * COMPILED_IN_A_PERIOD;
        assert_eq!([30, 31].map(|samples| samples_to_earn(instructions, samples, 1)), [None; 2]);
        // Twice as many in all are wanted, so twice as many of the head; at least one more.
        assert_eq!(samples_to_earn(instructions, 15, 6), Some(12));
        assert_eq!([1, 0].map(|of_head| samples_to_earn(instructions, 29, of_head)), [Some(2); 2]);
        assert_eq!(samples_to_earn(instructions, 0, 0), Some(30));
    }
}
