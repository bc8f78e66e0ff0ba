//! The gate between a debugger and the vCPU threads: each thread passes it before it runs guest code, and a halted one
//! stays in it. There, in host, it does what the debugger asks of its vCPU, so that nobody but its own thread ever
//! touches a vCPU.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use emu_core::exec::{Exit, Isa, Limits, Vcpu};
use emu_core::sync::{Group, Request};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::{EventfdFlags, eventfd};

/// What a vCPU is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stay in the gate.
    Halt,
    /// Run one instruction, then halt.
    Step,
    /// Run until a breakpoint.
    Run,
}

/// Why a vCPU has halted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its step is done.
    Stepped,
    /// It is about to run the instruction at this breakpoint.
    Breakpoint(u64),
}

/// How the machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The guest switched off with this code.
    Off(u16),
    /// Somebody pulled the plug.
    Quit,
}

type Job<I> = Box<dyn FnOnce(&mut Vcpu<I>) + Send>;

/// What the gate knows of a vCPU.
struct Seat<I: Isa> {
    action: Action,
    /// Its thread waits in the gate.
    halted: bool,
    job: Option<Job<I>>,
    /// Program counter and retired instructions where it last halted by itself.
    stop: Option<(u64, u64)>,
    /// The same, once the debugger has been told: the breakpoint there does not count when it goes on.
    reported: Option<(u64, u64)>,
}

struct State<I: Isa> {
    seats: Vec<Seat<I>>,
    breakpoints: Arc<[u64]>,
    /// At most one for each vCPU: it halts with it.
    stops: VecDeque<(usize, Reason)>,
    /// No thread is to stay in the gate: this run of the machine ends, or has not started.
    ending: bool,
    over: Option<Over>,
}

/// The gate.
pub struct Gate<I: Isa> {
    group: Arc<Group>,
    state: Mutex<State<I>>,
    changed: Condvar,
    /// Readable when there is news for the debugger's thread.
    news: OwnedFd,
}

impl<I: Isa> Gate<I> {
    /// A gate for the vCPUs of `group`, all of which are to halt before their first instruction.
    ///
    /// # Errors
    /// The host has no file descriptor left.
    pub fn new(group: Arc<Group>) -> io::Result<Self> {
        let seat = || Seat { action: Action::Halt, halted: false, job: None, stop: None, reported: None };
        let state = State {
            seats: group.ports().iter().map(|_| seat()).collect(),
            breakpoints: Arc::new([]),
            stops: VecDeque::new(),
            ending: true,
            over: None,
        };
        let news = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { group, state: Mutex::new(state), changed: Condvar::new(), news })
    }

    /// How many vCPUs there are.
    pub fn vcpus(&self) -> usize {
        self.group.len()
    }

    // What the debugger's thread does.

    /// Halts all vCPUs, and waits until they are. False if the machine is over.
    pub fn halt(&self) -> bool {
        let mut state = self.state.lock();
        for (seat, port) in state.seats.iter_mut().zip(self.group.ports()) {
            seat.action = Action::Halt;
            port.stop();
        }
        while state.over.is_none() && !state.seats.iter().all(|seat| seat.halted) {
            self.changed.wait(&mut state);
        }
        state.over.is_none()
    }

    /// Lets each vCPU do what `action` says. Stops that nobody has taken are forgotten: the vCPUs find them again.
    pub fn resume(&self, action: impl Fn(usize) -> Action) {
        let mut state = self.state.lock();
        state.stops.clear();
        for (index, seat) in state.seats.iter_mut().enumerate() {
            seat.action = action(index);
            seat.halted &= seat.action == Action::Halt;
        }
        self.changed.notify_all();
    }

    /// Replaces the breakpoints: virtual addresses, valid for every vCPU.
    pub fn set_breakpoints(&self, breakpoints: impl Iterator<Item = u64>) {
        self.state.lock().breakpoints = breakpoints.collect();
    }

    /// Does `job` on a halted vCPU's own thread. None if it is not halted, or the machine ends meanwhile.
    pub fn with<R: Send + 'static>(
        &self,
        index: usize,
        job: impl FnOnce(&mut Vcpu<I>) -> R + Send + 'static,
    ) -> Option<R> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        {
            let mut state = self.state.lock();
            let seat = state.seats.get_mut(index).filter(|seat| seat.halted)?;
            // Nobody listens any more only if this thread is gone.
            seat.job = Some(Box::new(move |vcpu| drop(sender.send(job(vcpu)))));
            self.changed.notify_all();
        }
        receiver.recv().ok()
    }

    /// Makes all vCPUs see code that the debugger has written; they are halted.
    pub fn sync_code(&self) {
        self.group.request(None, 0..self.group.len(), Request::SyncCode);
    }

    /// The first vCPU that has halted by itself, and why: the debugger is told now.
    pub fn take_stop(&self) -> Option<(usize, Reason)> {
        let mut state = self.state.lock();
        let (index, reason) = state.stops.pop_front()?;
        if let Some(seat) = state.seats.get_mut(index) {
            seat.reported = seat.stop;
        }
        Some((index, reason))
    }

    /// How the machine ended, if it has.
    pub fn over(&self) -> Option<Over> {
        self.state.lock().over
    }

    /// Becomes readable when [`Gate::take_stop`] or [`Gate::over`] may have something new.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// Marks the news as read; call it before looking at them.
    pub fn clear_news(&self) {
        let _ = rustix::io::read(&self.news, &mut [0; 8]); // fails only if there are none
    }

    fn tell(&self) {
        let _ = rustix::io::write(&self.news, &1u64.to_ne_bytes()); // fails only if there are plenty already
    }

    // What the machine does.

    /// The vCPU threads are about to start.
    pub fn starting(&self) {
        self.state.lock().ending = false;
    }

    /// This run of the machine ends: threads in the gate leave it.
    pub fn ending(&self) {
        let mut state = self.state.lock();
        state.ending = true;
        for seat in &mut state.seats {
            seat.halted = false;
            seat.job = None;
        }
        self.changed.notify_all();
    }

    /// The machine is over, and never starts again.
    pub fn finish(&self, over: Over) {
        let mut state = self.state.lock();
        state.over.get_or_insert(over);
        self.changed.notify_all();
        self.tell();
    }

    /// The side of the gate that the thread of vCPU `index` sees.
    pub fn turn(&self, index: usize) -> Turn<'_, I> {
        Turn { gate: self, index, breakpoints: Arc::new([]), action: Action::Halt, retired: 0 }
    }
}

/// A vCPU thread's way through the gate, again and again.
pub struct Turn<'a, I: Isa> {
    gate: &'a Gate<I>,
    index: usize,
    breakpoints: Arc<[u64]>,
    action: Action,
    /// Instructions retired when the vCPU was let through.
    retired: u64,
}

impl<I: Isa> Turn<'_, I> {
    /// Waits until the vCPU may go on, and how far; none if the machine's run ends. A vCPU that is not `ready` to run is
    /// at no breakpoint.
    pub fn pass(&mut self, vcpu: &mut Vcpu<I>, ready: bool) -> Option<Limits<'_>> {
        let mut state = self.gate.state.lock();
        loop {
            if state.ending {
                return None;
            }
            let pc = vcpu.state.pc;
            let at_breakpoint = ready && state.breakpoints.contains(&pc);
            let seat = &mut state.seats[self.index];
            let new = seat.reported != Some((pc, vcpu.state.retired));
            match seat.action {
                Action::Run if at_breakpoint && new => self.stop(&mut state, vcpu, Reason::Breakpoint(pc)),
                Action::Run | Action::Step => break,
                Action::Halt => match seat.job.take() {
                    Some(job) => MutexGuard::unlocked(&mut state, || job(vcpu)),
                    None => {
                        seat.halted = true;
                        self.gate.changed.notify_all();
                        self.gate.changed.wait(&mut state);
                    }
                },
            }
        }
        self.action = state.seats[self.index].action;
        self.retired = vcpu.state.retired;
        if self.action == Action::Step {
            // Guest time goes on while the debugger's user thinks: there would nearly always be an interrupt to step into.
            vcpu.port().clear_interrupt();
            return Some(Limits { steps: Some(1), ..Limits::NONE });
        }
        self.breakpoints = Arc::clone(&state.breakpoints);
        Some(Limits { breakpoints: &self.breakpoints, ..Limits::NONE })
    }

    /// Takes note of how the run that it was let through for ended.
    pub fn ran(&mut self, vcpu: &Vcpu<I>, exit: &Exit) {
        let nothing_ran = *exit == Exit::Stopped && vcpu.state.retired == self.retired;
        if self.action == Action::Step {
            vcpu.port().interrupt(); // to be looked at later
        }
        let reason = match exit {
            Exit::Breakpoint => Reason::Breakpoint(vcpu.state.pc),
            _ if self.action == Action::Step && !nothing_ran => Reason::Stepped,
            _ => return,
        };
        self.stop(&mut self.gate.state.lock(), vcpu, reason);
    }

    /// Halts the vCPU and says why, unless the debugger has halted it already.
    fn stop(&self, state: &mut State<I>, vcpu: &Vcpu<I>, reason: Reason) {
        let seat = &mut state.seats[self.index];
        if seat.action != Action::Halt {
            seat.action = Action::Halt;
            seat.stop = Some((vcpu.state.pc, vcpu.state.retired));
            state.stops.push_back((self.index, reason));
            self.gate.tell();
        }
    }
}
