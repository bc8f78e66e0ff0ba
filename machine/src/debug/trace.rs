//! Traces: what the guest does, a line of plain text for each event; `docs/debugging.md` describes the lines.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, LineWriter, Write};
use std::sync::Arc;

use emu_core::device::AccessError;
use emu_core::exec::{DeviceAccess, Exception, Probe, Vcpu};
use emu_core::ir::Class;
use parking_lot::Mutex;

use super::inspect::{Code, Inspect};
use crate::config::TraceConfig;
use crate::error::Error;

/// Writes the traces of all CPUs of a machine.
pub struct Tracer {
    config: TraceConfig,
    /// None once writing has failed.
    output: Mutex<Option<Box<dyn Write + Send>>>,
}

impl Tracer {
    /// A tracer for what `config` asks for; none if that is nothing.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn open(config: &TraceConfig) -> Result<Option<Arc<Self>>, Error> {
        if !config.any() {
            return Ok(None);
        }
        let output: Box<dyn Write + Send> = match &config.file {
            // Somebody is watching: every line goes out at once.
            None => Box::new(LineWriter::new(std::io::stderr())),
            Some(path) => {
                let failed = |source| Error::Write { what: "the trace", path: path.clone(), source };
                Box::new(BufWriter::with_capacity(1 << 16, File::create(path).map_err(failed)?))
            }
        };
        Ok(Some(Arc::new(Self { config: config.clone(), output: Mutex::new(Some(output)) })))
    }

    /// Whether instructions are traced, which must be run one at a time then.
    pub fn instructions(&self) -> bool {
        self.config.exec
    }

    /// What sees a CPU run.
    pub fn probe<I: Inspect>(self: &Arc<Self>) -> Box<dyn Probe<I>> {
        Box::new(CpuTrace {
            tracer: Arc::clone(self),
            line: String::new(),
            running: None,
            from: (0, ""),
            seen: Seen::<I>::default(),
        })
    }

    fn write(&self, line: &str) {
        self.try_to(|output| output.write_all(line.as_bytes()));
    }

    fn try_to(&self, act: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
        let mut output = self.output.lock();
        if let Some(open) = output.as_mut()
            && let Err(error) = act(open)
        {
            tracing::warn!("tracing ends here: {error}");
            *output = None;
        }
    }
}

/// The instruction that runs.
struct Running {
    pc: u64,
    privilege: &'static str,
    /// None if it cannot be fetched.
    code: Option<Code>,
}

/// Register values that have been shown, or were there from the start.
struct Seen<I: Inspect> {
    /// Of each register slot; those of vectors have a high half too.
    slots: Vec<[u64; 2]>,
    control: I::Seen,
}

impl<I: Inspect> Default for Seen<I> {
    fn default() -> Self {
        Self { slots: vec![[0; 2]; I::SLOTS.len()], control: I::Seen::default() }
    }
}

impl<I: Inspect> Seen<I> {
    /// Takes over the registers of `CPU`, telling `show` of each that differs, with the digits that it has.
    fn update(&mut self, vcpu: &Vcpu<I>, mut show: impl FnMut(&str, usize, u128)) {
        for (seen, info) in self.slots.iter_mut().zip(I::SLOTS) {
            let at = usize::from(info.index);
            let is_vector = info.class == Class::Vec;
            let value = [vcpu.state.slots[at], if is_vector { vcpu.state.slots[at + 1] } else { 0 }];
            if *seen != value {
                *seen = value;
                let digits = if is_vector { 32 } else { 16 };
                show(info.name, digits, u128::from(value[0]) | u128::from(value[1]) << 64);
            }
        }
        I::control_changes(vcpu, &mut self.control, &mut |name, value| show(name, 16, value.into()));
    }
}

/// The trace of one CPU.
struct CpuTrace<I: Inspect> {
    tracer: Arc<Tracer>,
    line: String,
    /// The instruction whose line is still to be written, when it is known what it changes.
    running: Option<Running>,
    /// Program counter and privilege before the trap that is being taken.
    from: (u64, &'static str),
    seen: Seen<I>,
}

impl<I: Inspect> CpuTrace<I> {
    /// Writes the line of the instruction that has run.
    fn finish_instruction(&mut self, vcpu: &Vcpu<I>) {
        let Some(Running { pc, privilege, code }) = self.running.take() else { return };
        let Self { line, seen, .. } = self;
        line.clear();
        // Writing to a string cannot fail, here and below.
        let _ = write!(line, "exec cpu={} priv={privilege} pc={pc:016x} insn=", vcpu.index());
        let _ = match code {
            Some(Code { bits, bytes }) => write!(line, "{bits:0digits$x}", digits = 2 * bytes),
            None => write!(line, "-"),
        };
        seen.update(vcpu, |name, digits, value| {
            let _ = write!(line, " {name}={value:0digits$x}");
        });
        if let Some(code) = code {
            let _ = write!(line, " # {}", vcpu.isa.disassemble(code, pc));
        }
        line.push('\n');
        self.tracer.write(&self.line);
    }
}

impl<I: Inspect> Probe<I> for CpuTrace<I> {
    fn instruction(&mut self, vcpu: &Vcpu<I>) {
        match self.running {
            Some(_) => self.finish_instruction(vcpu),
            // What the CPU starts with is no instruction's doing.
            None => self.seen.update(vcpu, |_, _, _| {}),
        }
        let pc = vcpu.state.pc;
        let (privilege, code) = (vcpu.isa.privilege_code(), I::instruction(vcpu, pc));
        self.running = Some(Running { pc, privilege, code });
    }

    fn trapping(&mut self, vcpu: &Vcpu<I>) {
        self.finish_instruction(vcpu);
        self.from = (vcpu.state.pc, vcpu.isa.privilege_code());
    }

    fn trapped(&mut self, vcpu: &Vcpu<I>, exception: &Exception) {
        // What the trap has changed is no instruction's doing.
        self.seen.update(vcpu, |_, _, _| {});
        if !self.tracer.config.exceptions {
            return;
        }
        let (epc, from) = self.from;
        let to = vcpu.isa.privilege_code();
        let event = I::describe(exception);
        self.line.clear();
        let _ = writeln!(
            self.line,
            "trap cpu={} async={} cause={:016x} epc={epc:016x} tval={:016x} from={from} to={to} # {}",
            vcpu.index(),
            u8::from(event.asynchronous),
            event.code,
            exception.value,
            event.name,
        );
        self.tracer.write(&self.line);
    }

    fn device(&mut self, vcpu: &Vcpu<I>, access: &DeviceAccess) {
        if !self.tracer.config.mmio {
            return;
        }
        let (name, offset) = vcpu.bus.name_at(access.pa).unwrap_or(("none", access.pa));
        let direction = if access.written.is_some() { "write" } else { "read" };
        self.line.clear();
        let _ = write!(
            self.line,
            "mmio cpu={} {direction} device={name} offset={offset:#x} width={} value=",
            vcpu.index(),
            access.width.bytes(),
        );
        let value = access.written.map_or(access.outcome, |value| access.outcome.map(|_| value));
        let _ = match value {
            Ok(value) => writeln!(self.line, "{:#x}", value & access.width.mask()),
            Err(AccessError::Unmapped) => writeln!(self.line, "unmapped"),
            Err(AccessError::Width) => writeln!(self.line, "bad-width"),
        };
        self.tracer.write(&self.line);
    }

    fn ended(&mut self, vcpu: &Vcpu<I>) {
        self.finish_instruction(vcpu);
        self.tracer.try_to(|output| output.flush());
    }
}
