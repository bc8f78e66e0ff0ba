//! A vCPU's thread: runs guest code, and does what the guest asks of the host.

use std::time::Duration;

use emu_core::exec::{Engine, Exit, HostRequest, Isa, Limits, Vcpu};

use crate::power::{Ending, PowerSwitch};

/// What a board adds to the running of its vCPUs.
pub trait Supervisor<I: Isa>: Sync {
    /// Whether the vCPU may run. One that may not sleeps until something wants its attention, and is asked again.
    fn may_run(&self, vcpu: &mut Vcpu<I>) -> bool;

    /// Serves a call to the built-in firmware.
    fn firmware_call(&self, vcpu: &mut Vcpu<I>);

    /// The single steps that a debugger or a trace wants, if any.
    fn limits(&self, vcpu: &Vcpu<I>) -> Limits<'_>;

    /// A run has ended with [`Exit::Stepped`] or [`Exit::Breakpoint`].
    fn stepped(&self, vcpu: &mut Vcpu<I>, exit: Exit);
}

/// Runs `vcpu` until the machine's run ends.
pub fn run<I: Isa>(
    vcpu: &mut Vcpu<I>,
    engine: &mut dyn Engine<I>,
    supervisor: &dyn Supervisor<I>,
    power: &PowerSwitch,
) {
    // A bug of ours ends the machine with a message, instead of leaving the other threads to wait for ever.
    let run = std::panic::AssertUnwindSafe(|| run_loop(vcpu, engine, supervisor, power));
    if let Err(panic) = std::panic::catch_unwind(run) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic");
        power.end(Ending::Failed(format!("internal error on a vCPU thread: {text}")));
    }
}

fn run_loop<I: Isa>(
    vcpu: &mut Vcpu<I>,
    engine: &mut dyn Engine<I>,
    supervisor: &dyn Supervisor<I>,
    power: &PowerSwitch,
) {
    while !power.is_ending() {
        if !supervisor.may_run(vcpu) {
            vcpu.wait(None);
            continue;
        }
        match engine.run(vcpu, supervisor.limits(vcpu)) {
            Exit::Request(HostRequest::Wait { deadline }) => {
                let now = vcpu.clock.now_ns();
                vcpu.wait(deadline.map(|at| Duration::from_nanos(at.saturating_sub(now))));
            }
            Exit::Request(HostRequest::Yield) => std::thread::yield_now(),
            Exit::Request(HostRequest::Firmware) => supervisor.firmware_call(vcpu),
            Exit::Request(HostRequest::Power(request)) => power.end(Ending::Power(request)),
            Exit::Stopped => {}
            exit @ (Exit::Breakpoint | Exit::Stepped) => supervisor.stepped(vcpu, exit),
        }
    }
}
