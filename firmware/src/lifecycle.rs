//! Which of a machine's CPUs run, and how they start, stop and sleep: the states that the firmware interfaces of all
//! architectures have under names of their own.
//!
//! The states and who moves a CPU between them:
//!
//! ```text
//! STOPPED ──── start, by another CPU ────► START_PENDING ──── poll_start ────► STARTED
//! STARTED ──── stop, by itself ──────────► STOP_PENDING ───── poll_start ────► STOPPED
//! STARTED ──── suspend, by itself ───────► SUSPENDED
//! SUSPENDED ── resume, on an interrupt ──► STARTED
//! ```
//!
//! A CPU that is to stop can be started again only when its vCPU thread has left guest code, so that the pending states
//! end at that thread's next call. Of a CPU that sleeps nothing is asked but its state: SUSPEND_PENDING and
//! RESUME_PENDING, which the SBI permits, are not there.

use parking_lot::Mutex;

/// The state of a CPU, with the numbers of the SBI's hart states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RunState {
    /// Executing.
    Started = 0,
    /// Not executing.
    #[default]
    Stopped = 1,
    /// Told to start, and about to.
    StartPending = 2,
    /// Has asked to stop, and is about to.
    StopPending = 3,
    /// Asleep until an interrupt.
    Suspended = 4,
}

/// Where a CPU will begin to execute, and what it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: u64,
    pub(crate) opaque: u64,
}

/// How a CPU that slept goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Behind the call that put it to sleep.
    Return,
    /// Anew, because it had given its state up.
    Enter(Target),
}

#[derive(Debug, Default)]
struct State {
    state: RunState,
    /// Where START_PENDING leads, or a suspend that gives the CPU's state up.
    target: Option<Target>,
}

/// One CPU's life.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle(Mutex<State>);

impl Lifecycle {
    pub(crate) fn state(&self) -> RunState {
        self.0.lock().state
    }

    /// Stopped, as at power-on.
    pub(crate) fn reset(&self) {
        *self.0.lock() = State::default();
    }

    /// STOPPED to START_PENDING; the state that it is in if it is another.
    pub(crate) fn start(&self, target: Target) -> Result<(), RunState> {
        let mut cpu = self.0.lock();
        match cpu.state {
            RunState::Stopped => {
                *cpu = State { state: RunState::StartPending, target: Some(target) };
                Ok(())
            }
            other => Err(other),
        }
    }

    /// The calling CPU stops.
    pub(crate) fn stop(&self) {
        *self.0.lock() = State { state: RunState::StopPending, target: None };
    }

    /// The calling CPU sleeps; with a target it gives its state up.
    pub(crate) fn suspend(&self, target: Option<Target>) {
        *self.0.lock() = State { state: RunState::Suspended, target };
    }

    /// What a stopped CPU does: begin there, or wait. The CPU's own thread calls this.
    pub(crate) fn poll_start(&self) -> Option<Target> {
        let mut cpu = self.0.lock();
        match cpu.state {
            RunState::StopPending => cpu.state = RunState::Stopped,
            RunState::StartPending => {
                cpu.state = RunState::Started;
                return cpu.target.take();
            }
            _ => {}
        }
        None
    }

    /// The CPU wakes; its own thread calls this.
    pub(crate) fn resume(&self) -> Wake {
        let mut cpu = self.0.lock();
        if cpu.state != RunState::Suspended {
            return Wake::Return;
        }
        cpu.state = RunState::Started;
        cpu.target.take().map_or(Wake::Return, Wake::Enter)
    }
}
