//! A vCPU's thread: runs guest code, and does what the guest asks of the host.

use std::time::Duration;

use emu_core::exec::{Engine, Exit, HostRequest, Isa, Limits, Vcpu};

use crate::debug::gate::Gate;
use crate::power::{Ending, PowerSwitch};
use crate::stats::{Meter, Meters};

/// What a board adds to the running of its vCPUs.
pub trait Supervisor<I: Isa>: Sync {
    /// Whether the vCPU may run. One that may not sleeps until something wants its attention, and is asked again.
    fn may_run(&self, vcpu: &mut Vcpu<I>) -> bool;

    /// Serves a call to the built-in firmware.
    fn firmware_call(&self, vcpu: &mut Vcpu<I>);
}

/// What looks over a vCPU's shoulder.
#[derive(Clone, Copy)]
pub struct Oversight<'a, I: Isa> {
    /// What it reports to.
    pub meters: &'a Meters,
    /// Where a debugger may hold it.
    pub gate: Option<&'a Gate<I>>,
    /// Its probe is to see every instruction.
    pub observed: bool,
}

/// Runs `vcpu` until the machine's run ends.
pub fn run<I: Isa>(
    vcpu: &mut Vcpu<I>,
    engine: &mut dyn Engine<I>,
    supervisor: &dyn Supervisor<I>,
    oversight: Oversight<'_, I>,
    power: &PowerSwitch,
) {
    // A bug of ours ends the machine with a message, instead of leaving the other threads to wait for ever.
    let mut meter = Meter::new(oversight.meters, vcpu);
    let run = || run_loop(vcpu, engine, supervisor, oversight, power, &mut meter);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    meter.finish(vcpu);
    vcpu.observe(|probe, vcpu| probe.ended(vcpu));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic");
        power.end(Ending::Failed(format!("internal error on a vCPU thread: {text}")));
    }
}

fn run_loop<I: Isa>(
    vcpu: &mut Vcpu<I>,
    engine: &mut dyn Engine<I>,
    supervisor: &dyn Supervisor<I>,
    oversight: Oversight<'_, I>,
    power: &PowerSwitch,
    meter: &mut Meter<'_>,
) {
    let mut turn = oversight.gate.map(|gate| gate.turn(vcpu.index()));
    loop {
        // Whoever asked for a stop has changed something that is looked at from here on.
        vcpu.port().clear_stop();
        meter.report(vcpu);
        if power.is_ending() {
            break;
        }
        let ready = supervisor.may_run(vcpu);
        let limits = match &mut turn {
            None => Limits::NONE,
            Some(turn) => match turn.pass(vcpu, ready) {
                Some(limits) => limits,
                None => continue,
            },
        };
        if !ready {
            vcpu.wait(None);
            continue;
        }
        let exit = engine.run(vcpu, Limits { observed: oversight.observed, ..limits });
        if let Some(turn) = &mut turn {
            turn.ran(vcpu, &exit);
        }
        match exit {
            Exit::Request(HostRequest::Wait { deadline }) => {
                meter.waits();
                let now = vcpu.clock.now_ns();
                vcpu.wait(deadline.map(|at| Duration::from_nanos(at.saturating_sub(now))));
            }
            Exit::Request(HostRequest::Yield) => std::thread::yield_now(),
            Exit::Request(HostRequest::Firmware) => {
                meter.calls_firmware();
                supervisor.firmware_call(vcpu);
            }
            Exit::Request(HostRequest::Power(request)) => power.end(Ending::Power(request)),
            Exit::Stopped | Exit::Breakpoint | Exit::Stepped => {}
        }
    }
}
