//! Two vCPUs side by side: one runs translated code, the other does the same in the interpreter, and both are compared.
//!
//! The *leader* runs a stretch of translated code; then the *follower* is interpreted up to the same point. A point is how
//! many instructions have retired and how many traps have been taken, which names one state of a program exactly. Interrupts
//! are taken where the leader has taken them. Both vCPUs have a machine of their own, memory included, whose devices must
//! behave alike: what they do may depend on the accesses to them and on a clock that both share.

use std::fmt::Write as _;
use std::sync::Arc;

use emu_core::exec::{Exception, Exit, Isa, Probe, Vcpu};
use emu_core::interp::Interpreter;
use jit::Jit;
use parking_lot::Mutex;

pub use crate::debug::inspect::Inspect;

/// How many blocks before a difference are shown.
const SHOWN: usize = 12;
/// Instructions of a block that are shown.
const LONGEST: u64 = 64;

/// How long a stretch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Until translated code first looks whether it is wanted elsewhere: one block, or a few without a cycle.
    Brief,
    /// Until the machine, or whoever calls [`emu_core::sync::Port::stop`] on the leader's port, is to do something.
    Long,
}

/// The executions differ.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Difference(String);

/// A point in the execution of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Point {
    retired: u64,
    traps: u64,
}

/// A trap, and where it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trap {
    at: Point,
    exception: Exception,
    asynchronous: bool,
}

/// What is done whenever a trap has been taken.
pub type OnTrap<I> = Arc<dyn Fn(&Vcpu<I>, &Exception) + Send + Sync>;

#[derive(Default)]
struct Log {
    /// All that have been taken.
    taken: u64,
    /// Those of this stretch.
    traps: Vec<Trap>,
}

/// Writes down the traps of a vCPU.
struct Witness<I: Isa> {
    log: Arc<Mutex<Log>>,
    on_trap: Option<OnTrap<I>>,
}

impl<I: Inspect> Probe<I> for Witness<I> {
    fn instruction(&mut self, _: &Vcpu<I>) {}

    fn trapping(&mut self, _: &Vcpu<I>) {}

    fn trapped(&mut self, vcpu: &Vcpu<I>, exception: &Exception) {
        let asynchronous = I::describe(exception).asynchronous;
        let mut log = self.log.lock();
        let at = Point { retired: vcpu.state.retired, traps: log.taken };
        log.traps.push(Trap { at, exception: *exception, asynchronous });
        log.taken += 1;
        drop(log);
        if let Some(on_trap) = &self.on_trap {
            on_trap(vcpu, exception);
        }
    }

    fn device(&mut self, _: &Vcpu<I>, _: &emu_core::exec::DeviceAccess) {}

    fn ended(&mut self, _: &Vcpu<I>) {}
}

/// One of the two.
struct Side<I: Inspect> {
    log: Arc<Mutex<Log>>,
    seen: I::Seen,
    /// Changes of control registers since the last comparison.
    control: Vec<(String, u64)>,
}

impl<I: Inspect> Side<I> {
    fn new(vcpu: &mut Vcpu<I>, on_trap: Option<OnTrap<I>>) -> Self {
        let log = Arc::<Mutex<Log>>::default();
        vcpu.probe = Some(Box::new(Witness { log: Arc::clone(&log), on_trap }));
        Self { log, seen: I::Seen::default(), control: Vec::new() }
    }

    fn point(&self, vcpu: &Vcpu<I>) -> Point {
        Point { retired: vcpu.state.retired, traps: self.log.lock().taken }
    }

    fn look_at_control(&mut self, vcpu: &Vcpu<I>) {
        let Self { seen, control, .. } = self;
        control.clear();
        I::control_changes(vcpu, seen, &mut |name, value| control.push((name.to_owned(), value)));
    }
}

/// Runs two vCPUs in lock step. Both must be the only ones of their machines, and in the same state.
pub struct Lockstep<I: Inspect> {
    engine: Jit<I>,
    interpreter: Interpreter,
    leader: Side<I>,
    follower: Side<I>,
    /// Where the last blocks began that the follower has run in this stretch.
    trail: Vec<u64>,
    /// The program counter, and the instructions retired, when this stretch began.
    begun: (u64, u64),
}

impl<I: Inspect> Lockstep<I> {
    /// The leader will be run by `engine`. On each, `on_trap` is called whenever it has taken a trap.
    pub fn new(
        engine: Jit<I>,
        [leader, follower]: [&mut Vcpu<I>; 2],
        on_trap: [Option<OnTrap<I>>; 2],
    ) -> Self {
        let [leads, follows] = on_trap;
        Self {
            engine,
            interpreter: Interpreter::new(),
            leader: Side::new(leader, leads),
            follower: Side::new(follower, follows),
            trail: Vec::new(),
            begun: (0, 0),
        }
    }

    /// Runs one stretch on both, and compares them but for their memory. What is asked of the machine, if anything, is asked
    /// of both.
    ///
    /// # Errors
    /// They differ.
    pub fn run(
        &mut self,
        [leader, follower]: [&mut Vcpu<I>; 2],
        stretch: Stretch,
    ) -> Result<Option<Exit>, Difference> {
        self.trail.clear();
        self.begun = (leader.state.pc, leader.state.retired);
        let mut exit = match stretch {
            Stretch::Brief => self.engine.run_briefly(leader),
            Stretch::Long => {
                Some(emu_core::exec::Engine::run(&mut self.engine, leader, emu_core::exec::Limits::NONE))
            }
        };
        if exit == Some(Exit::Stopped) {
            exit = None;
        }
        let followed = self.follow(leader, follower);
        // What is latched when interrupts are looked at, is latched now.
        let _ = (I::pending_interrupt(leader), I::pending_interrupt(follower));
        let mut differences = self.differences(leader, follower);
        match followed {
            Ok(request) if request == exit => {}
            Ok(request) => differences
                .push(format!("asked of the machine: translated {exit:?}, interpreted {request:?}")),
            Err(text) => differences.push(text),
        }
        if differences.is_empty() {
            return Ok(exit);
        }
        Err(Difference(self.report(leader, follower, &differences)))
    }

    /// Interprets the follower up to where the leader is; what it asks of the machine there.
    fn follow(&mut self, leader: &Vcpu<I>, follower: &mut Vcpu<I>) -> Result<Option<Exit>, String> {
        let target = self.leader.point(leader);
        let expected = std::mem::take(&mut self.leader.log.lock().traps);
        let interrupts: Vec<Trap> = expected.iter().filter(|trap| trap.asynchronous).copied().collect();
        let mut interrupts = interrupts.into_iter().peekable();
        let mut request = None;
        loop {
            let at = self.follower.point(follower);
            if interrupts.next_if(|trap| trap.at == at).is_some() {
                follower.port().interrupt();
                let _ = follower.attend();
                if self.follower.point(follower).traps == at.traps {
                    return Err(format!("the interpreter does not take the interrupt at {at:?}"));
                }
                continue;
            }
            if at == target {
                break;
            }
            if at.retired > target.retired || at.traps > target.traps || request.is_some() {
                return Err(format!("translated code is at {target:?}, the interpreter at {at:?}"));
            }
            if self.trail.len() == SHOWN {
                self.trail.remove(0);
            }
            self.trail.push(follower.state.pc);
            let next = interrupts.peek().map_or(target.retired, |trap| trap.at.retired);
            let most = next.saturating_sub(at.retired);
            let ran = self.interpreter.run_at_most(follower, most);
            request = ran.err().and_then(|stop| follower.stopped_by(stop));
        }
        let taken = std::mem::take(&mut self.follower.log.lock().traps);
        match expected.iter().zip(&taken).find(|(a, b)| a != b) {
            Some((a, b)) => Err(format!("trap: translated {a:x?}, interpreted {b:x?}")),
            None => Ok(request),
        }
    }

    /// Everything in which the two differ, but for their memory.
    fn differences(&mut self, leader: &Vcpu<I>, follower: &Vcpu<I>) -> Vec<String> {
        let mut found = Vec::new();
        let (a, b) = (&leader.state, &follower.state);
        let mut check = |name: &str, translated: u64, interpreted: u64| {
            if translated != interpreted {
                found.push(format!("{name}: translated {translated:#x}, interpreted {interpreted:#x}"));
            }
        };
        check("pc", a.pc, b.pc);
        check("instructions retired", a.retired, b.retired);
        check("floating-point flags", a.fp_flags, b.fp_flags);
        if a.slots != b.slots {
            for info in I::SLOTS {
                let words = 1 + usize::from(info.class == emu_core::ir::Class::Vec);
                for word in 0..words {
                    let index = usize::from(info.index) + word;
                    check(info.name, a.slots[index], b.slots[index]);
                }
            }
            // The scratch slots of no name are compared too.
            if found.is_empty() {
                found.push("a register slot without a name".to_owned());
            }
        }
        if a.vectors != b.vectors {
            found.push("the vector file".to_owned());
        }
        if leader.isa.privilege_code() != follower.isa.privilege_code() {
            let (a, b) = (leader.isa.privilege(), follower.isa.privilege());
            found.push(format!("privilege: translated {a}, interpreted {b}"));
        }
        self.leader.look_at_control(leader);
        self.follower.look_at_control(follower);
        if self.leader.control != self.follower.control {
            let (a, b) = (&self.leader.control, &self.follower.control);
            found.push(format!("control registers: translated {a:x?}, interpreted {b:x?}"));
        }
        found
    }

    /// The first 64-bit word of memory that differs: its address, and its translated and interpreted values.
    pub fn memory_difference(&self, [leader, follower]: [&Vcpu<I>; 2]) -> Option<(u64, u64, u64)> {
        let (a, b) = (leader.bus.ram(), follower.bus.ram());
        let differs = |&at: &usize| a.load::<u64>(at) != b.load::<u64>(at);
        let at = (0..a.len()).step_by(8).find(differs)?;
        Some((a.address_of(at).unwrap_or(0), a.load(at), b.load(at)))
    }

    fn report(&self, leader: &Vcpu<I>, follower: &mut Vcpu<I>, differences: &[String]) -> String {
        // Writing to a string cannot fail.
        let mut text = String::new();
        let (pc, retired) = self.begun;
        let _ = writeln!(text, "translated code and the interpreter differ");
        for difference in differences {
            let _ = writeln!(text, "  {difference}");
        }
        let count = leader.state.retired.wrapping_sub(retired);
        let _ =
            writeln!(text, "since pc {pc:#x}, {retired} instructions after the start; {count} since then");
        let _ = writeln!(text, "the last blocks, as the interpreter runs them:");
        for &pc in &self.trail {
            let _ = writeln!(text, "- block at {pc:#x}");
            let kept = std::mem::replace(&mut follower.state.pc, pc);
            let key = follower.cached_block_key();
            if let Some(key) = key
                && let Ok((block, _)) = follower.lift_block(key)
            {
                let mut at = pc;
                let end = pc.wrapping_add(block.code_len());
                for _ in 0..LONGEST {
                    let Some(code) = I::instruction(follower, at).filter(|_| at < end) else { break };
                    let _ = writeln!(text, "    {at:#x}  {}", follower.isa.disassemble(code, at));
                    at = at.wrapping_add(code.bytes as u64);
                }
                let _ = writeln!(text, "{}", block.display(I::SLOTS));
            }
            follower.state.pc = kept;
        }
        text
    }
}
