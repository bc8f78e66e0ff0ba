//! Traces: what the guest does, a line of plain text for each event; `docs/debugging.md` describes the lines.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, LineWriter, Write};
use std::sync::Arc;

use emu_core::device::AccessError;
use emu_core::exec::{DeviceAccess, Exception, Probe, Vcpu};
use frontends::riscv::bits::cause::INTERRUPT;
use frontends::riscv::decode::length;
use frontends::riscv::disas::disassemble;
use frontends::riscv::{Csrs, Privilege, Riscv, SLOTS, csr_name, csr_read_debug, translate_debug};
use parking_lot::Mutex;

use crate::config::TraceConfig;
use crate::error::Error;

/// The CSRs whose changes an instruction's line shows: those that only instructions and traps change.
const CSRS: [u16; 22] = [
    0x001, 0x002, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142, 0x143, 0x14d, 0x180, 0x300, 0x302, 0x303, 0x304,
    0x305, 0x306, 0x30a, 0x340, 0x341, 0x342, 0x343,
];

/// Names of exceptions by number (Priv., "Machine Cause (mcause) Register").
const EXCEPTIONS: [&str; 16] = [
    "instruction_address_misaligned",
    "instruction_access_fault",
    "illegal_instruction",
    "breakpoint",
    "load_address_misaligned",
    "load_access_fault",
    "store_address_misaligned",
    "store_access_fault",
    "ecall_from_u",
    "ecall_from_s",
    "reserved",
    "ecall_from_m",
    "instruction_page_fault",
    "load_page_fault",
    "reserved",
    "store_page_fault",
];

/// Names of interrupts by number.
const INTERRUPTS: [&str; 14] = [
    "reserved",
    "supervisor_software",
    "reserved",
    "machine_software",
    "reserved",
    "supervisor_timer",
    "reserved",
    "machine_timer",
    "reserved",
    "supervisor_external",
    "reserved",
    "machine_external",
    "reserved",
    "counter_overflow",
];

/// Writes the traces of all harts of a machine.
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

    /// What sees a hart run.
    pub fn probe(self: &Arc<Self>) -> Box<dyn Probe<Riscv>> {
        Box::new(HartTrace {
            tracer: Arc::clone(self),
            line: String::new(),
            running: None,
            from: (0, Privilege::Machine),
            seen: Seen::default(),
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
    privilege: Privilege,
    /// Its bits; none if it cannot be fetched.
    bits: Option<u32>,
}

/// Register values that have been shown, or were there from the start.
struct Seen {
    slots: [u64; SLOTS.len()],
    fp_flags: u64,
    raw: Csrs,
    csrs: [Option<u64>; CSRS.len()],
}

impl Default for Seen {
    fn default() -> Self {
        Self { slots: [0; SLOTS.len()], fp_flags: 0, raw: Csrs::default(), csrs: [None; CSRS.len()] }
    }
}

impl Seen {
    /// Takes over the registers of `hart`, telling `show` of each that differs.
    fn update(&mut self, hart: &Vcpu<Riscv>, mut show: impl FnMut(&str, u64)) {
        for (slot, info) in SLOTS.iter().enumerate() {
            let value = hart.state.slots[slot];
            if self.slots[slot] != value {
                self.slots[slot] = value;
                show(info.name, value);
            }
        }
        if self.raw == *hart.isa.csrs() && self.fp_flags == hart.state.fp_flags {
            return;
        }
        self.raw = *hart.isa.csrs();
        self.fp_flags = hart.state.fp_flags;
        for (seen, number) in self.csrs.iter_mut().zip(CSRS) {
            let value = csr_read_debug(hart, number);
            if *seen != value {
                *seen = value;
                show(&csr_name(number).unwrap_or_default(), value.unwrap_or(0));
            }
        }
    }
}

/// The trace of one hart.
struct HartTrace {
    tracer: Arc<Tracer>,
    line: String,
    /// The instruction whose line is still to be written, when it is known what it changes.
    running: Option<Running>,
    /// Program counter and privilege before the trap that is being taken.
    from: (u64, Privilege),
    seen: Seen,
}

impl HartTrace {
    /// Writes the line of the instruction that has run.
    fn finish_instruction(&mut self, hart: &Vcpu<Riscv>) {
        let Some(Running { pc, privilege, bits }) = self.running.take() else { return };
        let Self { line, seen, .. } = self;
        line.clear();
        // Writing to a string cannot fail, here and below.
        let _ = write!(line, "exec hart={} priv={} pc={pc:016x} insn=", hart.index(), letter(privilege));
        let _ = match bits {
            Some(bits) if length(bits as u16) == 2 => write!(line, "{:04x}", bits & 0xffff),
            Some(bits) => write!(line, "{bits:08x}"),
            None => write!(line, "-"),
        };
        seen.update(hart, |name, value| {
            let _ = write!(line, " {name}={value:016x}");
        });
        if let Some(bits) = bits {
            let _ = write!(line, " # {}", disassemble(bits, pc, hart.isa.config().model.ext));
        }
        line.push('\n');
        self.tracer.write(&self.line);
    }
}

impl Probe<Riscv> for HartTrace {
    fn instruction(&mut self, hart: &Vcpu<Riscv>) {
        match self.running {
            Some(_) => self.finish_instruction(hart),
            // What the hart starts with is no instruction's doing.
            None => self.seen.update(hart, |_, _| {}),
        }
        let pc = hart.state.pc;
        self.running = Some(Running { pc, privilege: hart.isa.privilege(), bits: fetch(hart, pc) });
    }

    fn trapping(&mut self, hart: &Vcpu<Riscv>) {
        self.finish_instruction(hart);
        self.from = (hart.state.pc, hart.isa.privilege());
    }

    fn trapped(&mut self, hart: &Vcpu<Riscv>, exception: &Exception) {
        // What the trap has changed is no instruction's doing.
        self.seen.update(hart, |_, _| {});
        if !self.tracer.config.exceptions {
            return;
        }
        let (epc, from) = self.from;
        let to = hart.isa.privilege();
        let (names, kind): (&[_], _) = match exception.cause & INTERRUPT {
            0 => (&EXCEPTIONS, 0),
            _ => (&INTERRUPTS, 1),
        };
        let code = exception.cause & !INTERRUPT;
        let name = usize::try_from(code).ok().and_then(|code| names.get(code)).unwrap_or(&"custom");
        self.line.clear();
        let _ = writeln!(
            self.line,
            "trap hart={} async={kind} cause={code:016x} epc={epc:016x} tval={:016x} from={} to={} # {name}",
            hart.index(),
            exception.value,
            letter(from),
            letter(to),
        );
        self.tracer.write(&self.line);
    }

    fn device(&mut self, hart: &Vcpu<Riscv>, access: &DeviceAccess) {
        if !self.tracer.config.mmio {
            return;
        }
        let (name, offset) = hart.bus.name_at(access.pa).unwrap_or(("none", access.pa));
        let direction = if access.written.is_some() { "write" } else { "read" };
        self.line.clear();
        let _ = write!(
            self.line,
            "mmio hart={} {direction} device={name} offset={offset:#x} width={} value=",
            hart.index(),
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

    fn ended(&mut self, hart: &Vcpu<Riscv>) {
        self.finish_instruction(hart);
        self.tracer.try_to(|output| output.flush());
    }
}

fn letter(privilege: Privilege) -> char {
    match privilege {
        Privilege::User => 'U',
        Privilege::Supervisor => 'S',
        Privilege::Machine => 'M',
    }
}

/// The bits of the instruction at `pc`, if it is in memory.
fn fetch(hart: &Vcpu<Riscv>, pc: u64) -> Option<u32> {
    let half = |va| {
        let offset = hart.bus.ram().offset_of(translate_debug(hart, va)?, 2)?;
        Some(hart.bus.ram().load::<u16>(offset))
    };
    let low = half(pc)?;
    let high = if length(low) == 4 { half(pc.wrapping_add(2))? } else { 0 };
    Some(u32::from(low) | u32::from(high) << 16)
}
