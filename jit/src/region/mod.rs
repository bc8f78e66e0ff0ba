//! Tier 2: regions of many blocks around hot loops, compiled by Cranelift on a thread of their own.
//!
//! A vCPU that runs translated code is interrupted every now and then; where it comes back is a sample. What is sampled often
//! is the head of a loop that takes time. The vCPU gathers the blocks that can be reached from there ([`plan`]) and goes on in
//! tier 1; a worker makes one function of them ([`build`]), with the guest registers in host registers throughout, and
//! publishes it in the place of the loop's blocks ([`place`]). What a region has no form for is left to tier 1, block by block.

mod build;
mod listing;
pub(crate) mod place;
pub(crate) mod plan;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use emu_core::exec::{Isa, Vcpu};
use emu_core::ir::{Block, BlockKey};

use rustix::time::{ClockId, clock_gettime};

pub use self::listing::Dump;
use self::place::{Compiled, RegionCompiler};
use self::plan::Plan;
use crate::shared::JitShared;
use crate::template::Features;
use crate::warm;

/// How regions are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionConfig {
    /// Samples in one place that make it the head of a region.
    pub threshold: u32,
    /// Whether a worker compiles while the vCPU goes on, and what is not faster than tier 1 is given up; else the vCPU waits,
    /// and keeps everything.
    pub background: bool,
}

impl Default for RegionConfig {
    fn default() -> Self {
        Self { threshold: 4, background: true }
    }
}

/// Time between two samples.
const PERIOD: Duration = Duration::from_millis(1);
/// The same while no vCPU runs translated code.
const IDLE_PERIOD: Duration = Duration::from_millis(8);
/// Regions that wait for the worker at most; more are not planned.
const QUEUE: usize = 16;
/// How long code is looked at before a region is made of it, and how long that is, before it is judged. It takes the
/// worker as long to make one.
const TRIAL: Duration = Duration::from_millis(8);
/// Places that samples are counted for at most.
const MOST_PLACES: usize = 512;

/// A region to be compiled.
pub(crate) struct Job {
    head: BlockKey,
    plan: Plan,
    ticket: u64,
    host_base: u64,
    /// The guest's part of the listing that somebody wants.
    listing: Option<String>,
}

/// What one vCPU has been sampled at.
#[derive(Default)]
pub(crate) struct Samples {
    places: HashMap<BlockKey, Place>,
    last: Option<Sample>,
    /// Of a vCPU that compiles by itself.
    compiler: Option<RegionCompiler>,
}

/// When a vCPU was seen, and where.
#[derive(Clone, Copy)]
struct Sample {
    key: BlockKey,
    in_region: bool,
    /// CPU time of its thread.
    at: Duration,
    retired: u64,
}

/// What is known of a place where a vCPU has been seen.
#[derive(Default)]
struct Place {
    samples: u32,
    /// How fast it went from one sample to the next, in tier 1 and in a region.
    speeds: [Speed; 2],
    judged: bool,
}

/// Instructions over time.
#[derive(Clone, Copy, Default)]
struct Speed {
    instructions: u64,
    time: Duration,
}

impl Speed {
    /// Whether this is faster than `other` by what makes it worth while.
    fn pays_beside(self, other: Self) -> bool {
        let [mine, others] = [self, other]
            .map(|speed| u128::from(speed.instructions) * 1_000_000 / speed.time.as_nanos().max(1));
        mine * 100 >= others * 104
    }
}

/// The way to the worker.
pub(crate) struct Queue {
    jobs: SyncSender<Job>,
    /// How many wait.
    waiting: AtomicUsize,
}

impl Queue {
    fn is_full(&self) -> bool {
        self.waiting.load(Relaxed) >= QUEUE
    }
}

/// Starts the worker, if the configuration asks for it; it ends when the machine's JIT is gone.
pub(crate) fn start(shared: &Arc<JitShared>, config: RegionConfig) -> std::io::Result<()> {
    if config.background {
        let (sender, receiver) = sync_channel(QUEUE);
        let weak = Arc::downgrade(shared);
        thread::Builder::new().name("regions".into()).spawn(move || work(&weak, &receiver))?;
        let _ = shared.queue.set(Queue { jobs: sender, waiting: AtomicUsize::new(0) });
    }
    Ok(())
}

/// Starts the thread that looks where the vCPUs are.
pub(crate) fn start_sampler(shared: &Arc<JitShared>) -> std::io::Result<()> {
    let weak = Arc::downgrade(shared);
    thread::Builder::new().name("sampler".into()).spawn(move || sample(&weak))?;
    Ok(())
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn sample(shared: &Weak<JitShared>) {
    let mut pause = PERIOD;
    loop {
        thread::sleep(pause);
        let Some(shared) = shared.upgrade() else { return };
        pause = if shared.interrupt_running() { PERIOD } else { IDLE_PERIOD };
    }
}

fn work(shared: &Weak<JitShared>, jobs: &Receiver<Job>) {
    let Some(mut compiler) = RegionCompiler::new(Features::of_host()) else { return };
    for job in jobs {
        let Some(shared) = shared.upgrade() else { return };
        if let Some(queue) = shared.queue.get() {
            queue.waiting.fetch_sub(1, Relaxed);
        }
        // A mistake in here, or in Cranelift, must not end what the guest does.
        if catch_unwind(AssertUnwindSafe(|| compile(&shared, &mut compiler, &job))).is_err() {
            shared.close_ticket(job.ticket);
            shared.counters.regions_refused.fetch_add(1, Relaxed);
            let Some(new) = RegionCompiler::new(Features::of_host()) else { return };
            compiler = new;
        }
    }
}

fn compile(shared: &JitShared, compiler: &mut RegionCompiler, job: &Job) {
    let begun = Instant::now();
    let Job { head, plan, ticket, host_base, listing } = job;
    let counters = &shared.counters;
    compiler.lists(listing.is_some());
    // One that somebody wants to see is compiled.
    let keeps = shared.warm.as_ref().filter(|_| listing.is_none());
    let identity = keeps.map(|_| warm::identity(plan, head.ctx));
    let mut kept = keeps.zip(identity.as_ref()).and_then(|(keeps, identity)| keeps.find_region(identity));
    let is_kept = kept.is_some();
    let compiled = kept.take().or_else(|| compiler.compile(plan, shared.slots));
    if let (Some(keeps), Some(identity), Some(compiled), false) = (keeps, identity, &compiled, is_kept) {
        keeps.keep_region(identity, compiled);
    }
    if let (Some(guest), Some(dump)) = (listing, &shared.dump) {
        let host = compiled.as_ref().and_then(|compiled| compiled.listing.as_deref());
        (dump.write)(&format!("region {:#x}\n{guest}{}\n", plan.base, host.unwrap_or("refused")));
    }
    if compiled
        .as_ref()
        .is_some_and(|region| shared.publish_region(plan, (head.ctx, *host_base), *ticket, region))
    {
        let counter = if is_kept { &counters.kept_regions } else { &counters.regions };
        counter.fetch_add(1, Relaxed);
        counters.region_blocks.fetch_add(plan.nodes.len() as u64, Relaxed);
    } else {
        shared.close_ticket(*ticket);
        counters.regions_refused.fetch_add(1, Relaxed);
        if compiled.is_some() {
            // The code has changed, or there was no room for this: it may be otherwise next time.
            shared.forget_election(*head);
        }
    }
    counters.region_ns.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
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
        let compiler = self.compiler(features)?;
        compiler.compile(&Plan::of_block(block), shared.slots)
    }

    fn compiler(&mut self, features: Features) -> Option<&mut RegionCompiler> {
        if self.compiler.is_none() {
            self.compiler = RegionCompiler::new(features);
        }
        self.compiler.as_mut()
    }

    /// The vCPU has come back at its program counter because something wanted attention.
    pub(crate) fn take<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, shared: &JitShared, features: Features) {
        let Some(config) = shared.regions else { return };
        let Some(key) = vcpu.cached_block_key() else { return };
        if self.places.len() >= MOST_PLACES {
            self.places.clear();
        }
        let in_region = shared.is_region(key);
        let now = Sample { key, in_region, at: thread_time(), retired: vcpu.state.retired };
        let last = self.last.replace(now);
        let place = self.places.entry(key).or_default();
        place.samples += 1;
        if let Some(last) = last
            && (last.key, last.in_region) == (key, in_region)
        {
            let speed = &mut place.speeds[usize::from(in_region)];
            speed.instructions += now.retired.wrapping_sub(last.retired);
            speed.time += now.at.saturating_sub(last.at);
        }
        let [before, after] = place.speeds;
        if in_region {
            if config.background && !place.judged && after.time >= TRIAL {
                place.judged = true;
                if !before.time.is_zero() && !after.pays_beside(before) {
                    shared.retire_region(key);
                }
            }
            return;
        }
        let known = before.time >= TRIAL || !config.background;
        let is_full = config.background && shared.queue.get().is_none_or(Queue::is_full);
        if place.samples < config.threshold || !known || is_full || !shared.elect(key) {
            return;
        }
        *place = Place { samples: 0, speeds: [before, Speed::default()], judged: false };
        let epoch = vcpu.blocks().epoch();
        let begun = Instant::now();
        let plan = Plan::new(vcpu, shared, key, features);
        shared.counters.plan_ns.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
        // Planning is none of the code's time.
        self.last = None;
        let Some(plan) = plan else {
            shared.counters.regions_unfit.fetch_add(1, Relaxed);
            return;
        };
        let Some(ticket) = shared.open_ticket(&plan, epoch) else { return shared.forget_election(key) };
        let host_base = vcpu.bus.ram().host_base().addr() as u64;
        let wanted = shared.dump.is_some_and(|dump| plan.covers(dump.pc));
        let listing = wanted.then(|| listing::guest::<I>(&plan, vcpu.bus.ram()));
        let job = Job { head: key, plan, ticket, host_base, listing };
        if config.background {
            let Some(queue) = shared.queue.get() else { return };
            queue.waiting.fetch_add(1, Relaxed);
            if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = queue.jobs.try_send(job) {
                queue.waiting.fetch_sub(1, Relaxed);
                shared.close_ticket(job.ticket);
            }
            return;
        }
        if let Some(compiler) = self.compiler(features) {
            compile(shared, compiler, &job);
        }
    }
}
