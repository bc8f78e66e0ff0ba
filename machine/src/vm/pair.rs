//! Two machines in lock step: [`Accel::Lockstep`](crate::Accel::Lockstep).
//!
//! Both are built alike and see the same time, which the instructions of the first make pass: a nanosecond each, and at once
//! to the next timer when it waits. Nothing else reaches them from outside. What they do must be the same then, and is
//! compared every few blocks.

use std::sync::Arc;

use devices::backend::chardev::{CharBackend, CharDevice, NullChardev};
use emu_core::exec::{Exit, HostRequest, Vcpu};
use emu_core::sync::EventLoop;
use emu_core::time::Clock;
use jit::Jit;

use super::{Control, Ended, Run, Vm, open_console};
use crate::boards::Board;
use crate::config::{Accel, Console, MachineConfig, NetConfig};
use crate::error::Error;
use crate::lockstep::{Lockstep, Stretch};
use crate::power::Ending;
use crate::stats::{Meter, Stats};
use crate::translations::Translations;
use crate::vcpu::Supervisor;

/// Instructions between two comparisons of memory.
const MEMORY_INTERVAL: u64 = 100_000_000;

/// The two: the first runs translated code.
pub(super) struct Pair<B: Board> {
    machines: [Vm<B>; 2],
    clock: Clock,
    /// The queue of the host's side of the console, which brings nothing. Last, as in [`Vm`].
    _host: EventLoop,
}

/// A console that says nothing to the guest: what a person types has no place in the order of instructions.
struct OutputOnly(Arc<dyn CharBackend>);

impl CharBackend for OutputOnly {
    fn attach(&self, _: std::sync::Weak<dyn CharDevice>) {}

    fn write(&self, bytes: &[u8]) -> usize {
        // What the host does not take is lost: the guest must not see that it is slow.
        self.0.write(bytes);
        bytes.len()
    }

    fn input_ready(&self) {}

    fn drain(&self, limit: std::time::Duration) -> bool {
        self.0.drain(limit)
    }
}

impl<B: Board> Pair<B> {
    /// Builds both machines.
    ///
    /// # Errors
    /// A setting lets in what cannot be the same for both; or as for one machine.
    pub(super) fn new(mut config: MachineConfig) -> Result<Self, Error> {
        let alone = config.cpus == 1
            && config.disks.is_empty()
            && config.net == NetConfig::None
            && config.virtio_console.is_none()
            && config.gdb.is_none()
            && !config.trace.any()
            && config.drop_code.is_none();
        if !alone {
            let text = "a machine in lock step has one CPU, no disks, no network, no virtio console, no debugger, no \
                        traces, and keeps its code"
                .to_owned();
            return Err(Error::Config(text));
        }
        let clock = Clock::manual();
        let events = EventLoop::manual(clock.clone());
        let console = std::mem::replace(&mut config.console, Console::None);
        let host = EventLoop::start(Clock::real_time()).map_err(super::host("a thread"))?;
        let console = Arc::new(OutputOnly(open_console(console, &host.handle())?));
        config.repeatable = true;
        config.console = Console::Backend(console);
        let leader = Vm::build(&mut config, clock.clone(), events)?;
        config.accel = Accel::Interp;
        config.console = Console::Backend(Arc::new(NullChardev));
        let follower = Vm::build(&mut config, clock.clone(), EventLoop::manual(clock.clone()))?;
        Ok(Self { machines: [leader, follower], clock, _host: host })
    }

    /// Runs both from power-on until they end.
    fn run_once(&mut self) -> Result<Ending, Error> {
        let Self { machines: [a, b], clock, .. } = self;
        let (Some(leader), Some(follower)) = (a.vcpus.first_mut(), b.vcpus.first_mut()) else {
            return Err(Error::Failed("a machine without CPUs".into()));
        };
        let Some(code) = &a.code else {
            return Err(Error::Failed("a leader without translated code".into()));
        };
        let mut lockstep =
            Lockstep::new(Jit::new(Arc::clone(code)), [&mut *leader, &mut *follower], [None, None]);
        let mut meter = Meter::new(&a.meters, leader);
        let mut time = Time { clock, waited: clock.now_ns(), begun: leader.state.retired };
        let mut memory_at = leader.state.retired.saturating_add(MEMORY_INTERVAL);
        let outcome = loop {
            leader.port().clear_stop();
            meter.report(leader);
            if a.power.is_ending() {
                break Ok(());
            }
            if leader.state.retired >= memory_at {
                memory_at = memory_at.saturating_add(MEMORY_INTERVAL);
                if let Some(difference) = memory_difference(&lockstep, [leader, follower]) {
                    break Err(difference);
                }
            }
            let ready = [a.holds.may_run(leader), b.holds.may_run(follower)];
            if ready == [false; 2] {
                // A single CPU that is held back waits for a timer.
                meter.waits();
                if !time.pass_to(a.events.next_deadline()) {
                    break Err("both machines wait for ever".into());
                }
                a.events.turn();
                b.events.turn();
                continue;
            }
            let exit = match lockstep.run([leader, follower], Stretch::Brief) {
                Ok(exit) if ready == [true; 2] => exit,
                Ok(_) => break Err("one machine's CPU is held back, the other's is not".into()),
                Err(difference) => break Err(difference.to_string()),
            };
            time.pass(leader);
            match exit {
                Some(Exit::Request(HostRequest::Wait { deadline })) => {
                    meter.waits();
                    let next = [deadline, a.events.next_deadline()].into_iter().flatten().min();
                    if !leader.port().wants_attention() && !time.pass_to(next) {
                        break Err("both machines wait for ever".into());
                    }
                }
                Some(Exit::Request(HostRequest::Firmware)) => {
                    meter.calls_firmware();
                    a.holds.firmware_call(leader);
                    b.holds.firmware_call(follower);
                }
                Some(Exit::Request(HostRequest::Power(request))) => {
                    a.power.end(Ending::Power(request));
                    b.power.end(Ending::Power(request));
                }
                _ => {}
            }
            a.events.turn();
            b.events.turn();
        };
        meter.finish(leader);
        outcome.map_err(Error::Failed)?;
        if let Some(difference) = memory_difference(&lockstep, [leader, follower]) {
            return Err(Error::Failed(difference));
        }
        let ending = a.power.wait();
        if b.power.is_ending() && b.power.wait() != ending {
            return Err(Error::Failed("the two machines end differently".into()));
        }
        Ok(ending)
    }
}

/// The time of both.
struct Time<'a> {
    clock: &'a Clock,
    /// Nanoseconds in which nothing ran.
    waited: u64,
    /// Instructions retired before that.
    begun: u64,
}

impl Time<'_> {
    /// Lets the time pass that the instructions have taken.
    fn pass<I: emu_core::exec::Isa>(&mut self, leader: &Vcpu<I>) {
        let run = leader.state.retired.saturating_sub(self.begun);
        self.clock.set(self.waited.saturating_add(run));
    }

    /// Lets time pass up to `deadline`; false if there is none.
    fn pass_to(&mut self, deadline: Option<u64>) -> bool {
        if let Some(deadline) = deadline {
            let now = self.clock.now_ns();
            self.waited = self.waited.saturating_add(deadline.saturating_sub(now));
            self.clock.set(now.max(deadline));
        }
        deadline.is_some()
    }
}

fn memory_difference<I: crate::lockstep::Inspect>(
    lockstep: &Lockstep<I>,
    [leader, follower]: [&Vcpu<I>; 2],
) -> Option<String> {
    let (at, a, b) = lockstep.memory_difference([leader, follower])?;
    let retired = leader.state.retired;
    Some(format!(
        "memory at {at:#x} differs after {retired} instructions: translated {a:#x}, interpreted {b:#x}"
    ))
}

impl<B: Board> Run for Pair<B> {
    fn control(&self) -> Control {
        self.machines[0].control()
    }

    fn debugger_address(&self) -> Option<&str> {
        None
    }

    fn stats(&self) -> Stats {
        self.machines[0].stats()
    }

    fn translations(&mut self) -> Translations {
        self.machines[0].translations()
    }

    fn run(&mut self) -> Result<Ended, Error> {
        loop {
            for machine in &mut self.machines {
                machine.power_on()?;
            }
            self.machines[0].meters.run_begins();
            let ending = self.run_once();
            self.machines[0].meters.run_ends();
            let ending = ending?;
            let [leader, follower] = &self.machines;
            let ended = leader.over(ending.clone())?;
            follower.over(ending)?;
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }
}
