//! Tier 2: regions of many blocks around hot loops, compiled by Cranelift on a thread of their own.
//!
//! A vCPU that runs translated code is interrupted every now and then; where it comes back is a sample. What is sampled often
//! is the head of a loop that takes time. The vCPU watches which ways it goes from there ([`ways`]), gathers the blocks on them
//! ([`plan`]) and goes on in tier 1; a worker makes one function of them ([`build`]), with the guest registers in host registers throughout, and
//! publishes it in the place of the loop's blocks ([`place`]). What a region has no form for is left to tier 1, block by block.

mod build;
mod listing;
mod looks;
pub(crate) mod place;
pub(crate) mod plan;
mod samples;
mod trials;
mod ways;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use emu_core::ir::BlockKey;
use rustix::process::setpriority_process;
use rustix::thread::gettid;

pub(crate) use self::build::expected_at_entry;
pub use self::listing::Dump;
pub(crate) use self::looks::Looks;
use self::place::RegionCompiler;
use self::plan::Plan;
pub(crate) use self::samples::Samples;
use crate::shared::{JitShared, Publication};
use crate::template::Features;
use crate::warm;

/// How regions are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionConfig {
    /// Samples in one place that make it the head of a region.
    pub threshold: u32,
    /// Whether a worker compiles while the vCPU goes on, and what is slower than tier 1 is given up; else the vCPU waits,
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
/// The same while all vCPUs stay in regions: a sample takes some microseconds of the sampler's time, and of the vCPU's.
const SETTLED_PERIOD: Duration = Duration::from_millis(4);
/// The same while no vCPU runs translated code.
const IDLE_PERIOD: Duration = Duration::from_millis(8);
/// How much less of a CPU the worker is to have than a vCPU that wants the same.
const NICENESS: i32 = 10;
/// Regions that wait for the worker at most; more are not planned.
const QUEUE: usize = 16;

/// A region to be compiled.
pub(crate) struct Job {
    head: BlockKey,
    plan: Plan,
    ticket: u64,
    host_base: u64,
    /// The guest's part of the listing that somebody wants.
    listing: Option<String>,
}

impl Job {
    /// Has the worker compile it, if that is not too busy.
    pub(crate) fn send(self, shared: &JitShared) {
        let Some(queue) = shared.queue.get() else { return };
        queue.waiting.fetch_add(1, Relaxed);
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = queue.jobs.try_send(self) {
            queue.waiting.fetch_sub(1, Relaxed);
            shared.close_ticket(job.ticket);
            shared.end_rest(job.head);
        }
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

fn sample(shared: &Weak<JitShared>) {
    let mut pause = PERIOD;
    loop {
        thread::sleep(pause);
        let Some(shared) = shared.upgrade() else { return };
        pause = match shared.interrupt_running() {
            Some(false) => PERIOD,
            Some(true) => SETTLED_PERIOD,
            None => IDLE_PERIOD,
        };
    }
}

fn work(shared: &Weak<JitShared>, jobs: &Receiver<Job>) {
    // Where there are not enough CPUs for all, vCPUs come first; if the host refuses, it goes on as before.
    let _ = setpriority_process(Some(gettid()), NICENESS);
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
    let published =
        compiled.as_ref().map(|region| shared.publish_region(plan, (head.ctx, *host_base), *ticket, region));
    if published == Some(Publication::Done) {
        let counter = if is_kept { &counters.kept_regions } else { &counters.regions };
        counter.fetch_add(1, Relaxed);
        counters.region_blocks.fetch_add(plan.nodes.len() as u64, Relaxed);
    } else {
        shared.close_ticket(*ticket);
        counters.regions_refused.fetch_add(1, Relaxed);
        if published == Some(Publication::Outdated) {
            // It may be otherwise next time.
            shared.end_rest(*head);
        }
    }
    counters.region_ns.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
}
