//! What a machine has done: counters of its vCPUs, and of the translator.
//!
//! A vCPU's counters are its own thread's. They are added up here when its run ends, and in between when somebody asks: it
//! is then told to leave its run loop, and reports on its way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use emu_core::exec::{Isa, Vcpu};
use emu_core::sync::Group;
use jit::{JitShared, JitStats};
use parking_lot::{Condvar, Mutex};
use rustix::time::{ClockId, clock_gettime};

/// How long a running vCPU may take to report. One that a debugger holds does not; what is known of it is older then.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a machine has done since it was built. Prints as a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// How long the guest has been running.
    pub elapsed: Duration,
    /// Its vCPUs, in order.
    pub vcpus: Vec<VcpuStats>,
    /// The translator; none if the interpreter runs the guest.
    pub code: Option<JitStats>,
}

/// What a vCPU has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcpuStats {
    /// Instructions retired.
    pub instructions: u64,
    /// CPU time of its threads on the host, including translation and whatever else they do for it.
    pub cpu_time: Duration,
    /// Translations of addresses that the soft TLB has taken in. Each comes from a walk of the guest's page tables.
    pub tlb_fills: u64,
    /// Flushes of the soft TLB, selective ones too.
    pub tlb_flushes: u64,
    /// Mappings made in windows.
    pub window_fills: u64,
    /// Times that all windows were emptied, because there were too many mappings.
    pub window_losses: u64,
    /// Times that it has stopped the other vCPUs, for a load-reserved that no host atomic stands for.
    pub exclusive_stops: u64,
    /// Times that it had nothing to do and waited for an interrupt.
    pub waits: u64,
    /// Calls of the built-in firmware.
    pub firmware_calls: u64,
}

impl VcpuStats {
    /// What has been added since `before`, in the same run of the machine.
    fn since(&self, before: &Self) -> Self {
        Self {
            instructions: self.instructions.saturating_sub(before.instructions),
            cpu_time: self.cpu_time.saturating_sub(before.cpu_time),
            tlb_fills: self.tlb_fills.saturating_sub(before.tlb_fills),
            tlb_flushes: self.tlb_flushes.saturating_sub(before.tlb_flushes),
            window_fills: self.window_fills.saturating_sub(before.window_fills),
            window_losses: self.window_losses.saturating_sub(before.window_losses),
            exclusive_stops: self.exclusive_stops.saturating_sub(before.exclusive_stops),
            waits: self.waits.saturating_sub(before.waits),
            firmware_calls: self.firmware_calls.saturating_sub(before.firmware_calls),
        }
    }

    fn add(&mut self, more: &Self) {
        self.instructions += more.instructions;
        self.cpu_time += more.cpu_time;
        self.tlb_fills += more.tlb_fills;
        self.tlb_flushes += more.tlb_flushes;
        self.window_fills += more.window_fills;
        self.window_losses += more.window_losses;
        self.exclusive_stops += more.exclusive_stops;
        self.waits += more.waits;
        self.firmware_calls += more.firmware_calls;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "elapsed {:.3} s", self.elapsed.as_secs_f64())?;
        writeln!(
            f,
            "{:<4} {:>15} {:>9} {:>7} {:>10} {:>11} {:>12} {:>13} {:>15} {:>9} {:>14}",
            "vcpu",
            "instructions",
            "cpu_s",
            "mips",
            "tlb_fills",
            "tlb_flushes",
            "window_fills",
            "window_losses",
            "exclusive_stops",
            "waits",
            "firmware_calls"
        )?;
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            let seconds = vcpu.cpu_time.as_secs_f64();
            let mips = if seconds > 0.0 { vcpu.instructions as f64 / seconds / 1e6 } else { 0.0 };
            writeln!(
                f,
                "{index:<4} {:>15} {seconds:>9.3} {mips:>7.1} {:>10} {:>11} {:>12} {:>13} {:>15} {:>9} {:>14}",
                vcpu.instructions,
                vcpu.tlb_fills,
                vcpu.tlb_flushes,
                vcpu.window_fills,
                vcpu.window_losses,
                vcpu.exclusive_stops,
                vcpu.waits,
                vcpu.firmware_calls
            )?;
        }
        match &self.code {
            Some(code) => write!(f, "translated code\n{code}"),
            None => writeln!(f, "no translated code: the interpreter runs the guest"),
        }
    }
}

/// The counters of one vCPU as others see them.
#[derive(Default)]
struct Seat {
    totals: VcpuStats,
    /// It answers for requests up to this one; a vCPU that is not running has nothing to add to what it has said.
    answered: Option<u64>,
}

#[derive(Default)]
struct State {
    seats: Vec<Seat>,
    /// Time of runs that are over.
    before: Duration,
    /// When the present run began.
    since: Option<Instant>,
}

/// Collects what the vCPUs of a machine report.
pub struct Meters {
    group: Arc<Group>,
    code: Option<Arc<JitShared>>,
    state: Mutex<State>,
    reported: Condvar,
    /// Counts the times that reports were asked for.
    wanted: AtomicU64,
}

impl Meters {
    /// For the vCPUs of `group`, and the translator that they share.
    pub fn new(group: Arc<Group>, code: Option<Arc<JitShared>>) -> Arc<Self> {
        let seats = group.ports().iter().map(|_| Seat::default()).collect();
        let state = Mutex::new(State { seats, ..State::default() });
        Arc::new(Self { group, code, state, reported: Condvar::new(), wanted: AtomicU64::new(0) })
    }

    /// A run of the machine begins.
    pub fn run_begins(&self) {
        self.state.lock().since = Some(Instant::now());
    }

    /// A run of the machine is over.
    pub fn run_ends(&self) {
        let mut state = self.state.lock();
        if let Some(since) = state.since.take() {
            state.before += since.elapsed();
        }
    }

    /// What the machine has done, as its vCPUs say when they are asked now.
    pub fn read(&self) -> Stats {
        let deadline = Instant::now() + PATIENCE;
        let wanted = self.wanted.fetch_add(1, SeqCst) + 1;
        for port in self.group.ports() {
            port.stop();
        }
        let mut state = self.state.lock();
        while state.seats.iter().any(|seat| seat.answered.is_some_and(|answered| answered < wanted)) {
            if self.reported.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        Stats {
            elapsed: state.before + state.since.map_or(Duration::ZERO, |since| since.elapsed()),
            vcpus: state.seats.iter().map(|seat| seat.totals).collect(),
            code: self.code.as_ref().map(|code| code.stats()),
        }
    }
}

/// What a vCPU's thread counts and reports with, during one run. Dropping it is its last word.
pub struct Meter<'a> {
    meters: &'a Meters,
    index: usize,
    /// What the counters were when they were last reported.
    last: VcpuStats,
    /// The last request that has been answered.
    answered: u64,
    waits: u64,
    firmware_calls: u64,
}

impl<'a> Meter<'a> {
    /// For the calling thread, which is about to run `vcpu`.
    pub fn new<I: Isa>(meters: &'a Meters, vcpu: &Vcpu<I>) -> Self {
        let index = vcpu.index();
        let answered = meters.wanted.load(SeqCst);
        let mut meter =
            Self { meters, index, last: VcpuStats::default(), answered, waits: 0, firmware_calls: 0 };
        meter.last = meter.counters(vcpu);
        meter.add(vcpu, Some(answered));
        meter
    }

    /// The vCPU has nothing to do.
    pub fn waits(&mut self) {
        self.waits += 1;
    }

    /// The vCPU calls the firmware.
    pub fn calls_firmware(&mut self) {
        self.firmware_calls += 1;
    }

    /// Reports, if somebody has asked. Whoever asks makes the vCPU leave its run loop after that.
    pub fn report<I: Isa>(&mut self, vcpu: &Vcpu<I>) {
        let wanted = self.meters.wanted.load(SeqCst);
        if self.answered != wanted {
            self.answered = wanted;
            self.add(vcpu, Some(wanted));
        }
    }

    /// Reports for the last time in this run.
    pub fn finish<I: Isa>(mut self, vcpu: &Vcpu<I>) {
        self.add(vcpu, None);
    }

    fn add<I: Isa>(&mut self, vcpu: &Vcpu<I>, answered: Option<u64>) {
        let now = self.counters(vcpu);
        let more = now.since(&self.last);
        self.last = now;
        if let Some(seat) = self.meters.state.lock().seats.get_mut(self.index) {
            seat.totals.add(&more);
            seat.answered = answered;
        }
        self.meters.reported.notify_all();
    }

    fn counters<I: Isa>(&self, vcpu: &Vcpu<I>) -> VcpuStats {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        VcpuStats {
            instructions: vcpu.state.retired,
            cpu_time: Duration::try_from(time).unwrap_or_default(),
            tlb_fills: vcpu.mmu.fills,
            tlb_flushes: vcpu.mmu.flushes,
            window_fills: vcpu.mmu.window_fills,
            window_losses: vcpu.mmu.window_losses,
            exclusive_stops: vcpu.exclusive_stops,
            waits: self.waits,
            firmware_calls: self.firmware_calls,
        }
    }
}
