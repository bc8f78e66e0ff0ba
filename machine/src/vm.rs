//! A machine: built once, run until its guest switches off.

mod pair;

use std::sync::Arc;
use std::time::Duration;

use devices::backend::chardev::{CharBackend, HostChardev, NullChardev};
use devices::gpio::button::Button;
use devices::rtc::host_epoch;
use emu_core::device::PowerRequest;
use emu_core::exec::{BlockMap, Engine, Vcpu, VcpuParts};
use emu_core::interp::Interpreter;
use emu_core::mem::{Bus, GuestMemory, RamBuilder};
use emu_core::sync::{EventHandle, EventLoop, Group};
use emu_core::time::Clock;
use jit::{Jit, JitShared};

use self::pair::Pair;
use crate::boards::aarch64_virt::Aarch64Virt;
use crate::boards::riscv_virt::RiscvVirt;
use crate::boards::{self, Board, Wiring};
use crate::boot::{Boot, Files};
use crate::config::{Accel, Arch, Console, MachineConfig};
use crate::debug::gate::{Gate, Over};
use crate::debug::gdb::Server;
use crate::debug::trace::Tracer;
use crate::error::Error;
use crate::power::{Ending, PowerSwitch};
use crate::stats::{Meters, Stats};
use crate::supervisor::{BuiltinFirmware, Holds};
use crate::translations::{Keeper, Translations};
use crate::vcpu::{self, Oversight};

/// How long the last output may take to reach the host.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest switched off, or rebooted with [`MachineConfig::no_reboot`]; zero is success.
    Off {
        /// The guest's exit code.
        code: u16,
    },
    /// The user ended it.
    Quit,
}

/// A machine.
pub struct Machine(Box<dyn Run>);

/// A machine, whatever its board.
trait Run: Send {
    fn control(&self) -> Control;
    fn debugger_address(&self) -> Option<&str>;
    fn stats(&self) -> Stats;
    fn run(&mut self) -> Result<Ended, Error>;
    fn translations(&mut self) -> Translations;
}

/// A machine with its board.
struct Vm<B: Board> {
    board: B,
    boot: Boot,
    no_reboot: bool,
    drop_code: Option<Duration>,
    /// Each CPU's.
    buses: Vec<Arc<Bus>>,
    memory: GuestMemory,
    blocks: Arc<BlockMap>,
    /// Translated code; none for the interpreter.
    code: Option<Arc<JitShared>>,
    /// What is left of it for later runs.
    keeper: Option<Keeper>,
    power: Arc<PowerSwitch>,
    meters: Arc<Meters>,
    consoles: Vec<Arc<dyn CharBackend>>,
    holds: Holds<B::Firmware>,
    vcpus: Vec<Vcpu<B::Isa>>,
    gate: Option<Arc<Gate<B::Isa>>>,
    debugger: Option<Server<B::Isa>>,
    tracer: Option<Arc<Tracer>>,
    /// Last, so that everything that posts events is gone before it.
    events: EventLoop,
}

/// Looks at a running machine, and ends it, from another thread.
#[derive(Clone)]
pub struct Control {
    power: Arc<PowerSwitch>,
    meters: Arc<Meters>,
    button: Option<Arc<Button>>,
}

impl Control {
    /// Ends the machine as if its plug were pulled.
    pub fn quit(&self) {
        self.power.end(Ending::Quit);
    }

    /// What the machine has done so far. Its vCPUs are interrupted for that.
    pub fn stats(&self) -> Stats {
        self.meters.read()
    }

    /// Presses the machine's power button, which asks the guest to switch off; false if it has none.
    pub fn press_power_button(&self) -> bool {
        self.button.as_ref().inspect(|button| button.press()).is_some()
    }
}

impl Machine {
    /// Builds a machine and loads what it boots.
    ///
    /// # Errors
    /// A setting is out of range, a file cannot be used, or the host does not give what is needed.
    pub fn new(config: MachineConfig) -> Result<Self, Error> {
        Ok(Self(match (config.arch, config.accel) {
            (Arch::Riscv64, Accel::Lockstep) => Box::new(Pair::<RiscvVirt>::new(config)?),
            (Arch::Aarch64, Accel::Lockstep) => Box::new(Pair::<Aarch64Virt>::new(config)?),
            (Arch::Riscv64, _) => Box::new(Vm::<RiscvVirt>::new(config)?),
            (Arch::Aarch64, _) => Box::new(Vm::<Aarch64Virt>::new(config)?),
        }))
    }

    /// A handle for other threads while the machine runs.
    pub fn control(&self) -> Control {
        self.0.control()
    }

    /// What the machine has done, in all its runs.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// Ends it: its disks are closed. What it leaves to later runs.
    pub fn end(mut self) -> Translations {
        self.0.translations()
    }

    /// Where the machine waits for a debugger, with the port that was chosen if [`MachineConfig::gdb`] names port zero.
    pub fn debugger_address(&self) -> Option<&str> {
        self.0.debugger_address()
    }

    /// Runs the machine until it ends; a guest that reboots starts again. With [`MachineConfig::gdb`] no instruction
    /// runs before a debugger says so.
    ///
    /// # Errors
    /// The emulator itself failed.
    pub fn run(&mut self) -> Result<Ended, Error> {
        self.0.run()
    }
}

impl<B: Board> Run for Vm<B> {
    fn control(&self) -> Control {
        let (power, meters) = (Arc::clone(&self.power), Arc::clone(&self.meters));
        Control { power, meters, button: self.board.power_button() }
    }

    fn debugger_address(&self) -> Option<&str> {
        self.debugger.as_ref().map(Server::address)
    }

    fn stats(&self) -> Stats {
        self.meters.read()
    }

    fn translations(&mut self) -> Translations {
        Translations(self.keeper.take())
    }

    fn run(&mut self) -> Result<Ended, Error> {
        let ended = self.run_on();
        if let Some(debugger) = &mut self.debugger {
            debugger.finish(match ended {
                Ok(Ended::Off { code }) => Over::Off(code),
                Ok(Ended::Quit) | Err(_) => Over::Quit,
            });
        }
        ended
    }
}

impl<B: Board> Vm<B> {
    fn new(mut config: MachineConfig) -> Result<Self, Error> {
        let clock = Clock::real_time();
        let events = EventLoop::start(clock.clone()).map_err(host("a thread"))?;
        Self::build(&mut config, clock, events)
    }

    /// Builds a machine with this clock, and a queue of events that follows it. It takes the consoles out of the settings.
    fn build(config: &mut MachineConfig, clock: Clock, events: EventLoop) -> Result<Self, Error> {
        let layout = B::LAYOUT;
        check(config, layout.max_cpus)?;
        let jit = config.jit()?;
        let mut files = Files::read(config, &layout)?;
        let handle = events.handle();
        let group = Arc::new(Group::new(config.cpus));
        let power = PowerSwitch::new(Arc::clone(&group));
        let (rom, rom_size) = layout.rom;
        let ram = RamBuilder::new()
            .region("ROM", rom, rom_size, false)?
            .region("memory", layout.dram, config.memory, true)?
            .windows(config.window_config())
            .build()?;
        let ram = Arc::new(ram);
        ram.gather();
        let memory = ram.guest_memory()?;
        let console = open_console(std::mem::replace(&mut config.console, Console::None), &handle)?;
        let virtio_console =
            config.virtio_console.take().map(|console| open_console(console, &handle)).transpose()?;
        let consoles = [&console].into_iter().chain(&virtio_console).map(Arc::clone).collect();
        let virtio_slots =
            crate::virtio::Slots::open(config, layout.virtio_slots, virtio_console, &handle, &memory)?;
        let wiring = Wiring {
            group: Arc::clone(&group),
            memory: memory.clone(),
            events: handle.clone(),
            power: Arc::clone(&power) as Arc<_>,
            console: Arc::clone(&console),
            epoch_ns: if config.repeatable { 0 } else { host_epoch(&handle) },
            repeatable: config.repeatable,
            virtio: Box::new(move |slot, irq| virtio_slots.make(slot, irq)),
            fw_cfg: files.fw_cfg(config, &layout),
        };
        let board = B::new(config, wiring)?;
        let buses = boards::buses(&ram, board.devices(), config.cpus)?;
        let boot = Boot::prepare(config, files, &board)?;

        let blocks = Arc::new(BlockMap::default());
        // Traces show each access and exception, which translated code does not report.
        let interpret = config.accel == Accel::Interp || config.trace.any();
        let code = match interpret {
            true => None,
            false => {
                let shared = JitShared::new::<B::Isa>(jit, Arc::clone(&group), &blocks);
                Some(shared.map_err(host("memory for translated code"))?)
            }
        };
        let keeper = match (&config.cache, &code) {
            (Some(directory), Some(code)) => {
                // What is repeated must not depend on how fast that is.
                let keeper = Keeper::start(directory, config.cpus_as_text(), code, !config.repeatable);
                // Without it the machine starts cold, no more.
                keeper.ok()
            }
            _ => None,
        };
        let meters = Meters::new(Arc::clone(&group), code.clone());
        let tracer = Tracer::open(&config.trace)?;
        let vcpus = buses.iter().enumerate().map(|(index, bus)| {
            let parts = VcpuParts {
                index,
                bus: Arc::clone(bus),
                group: Arc::clone(&group),
                blocks: Arc::clone(&blocks),
                clock: clock.clone(),
            };
            let mut vcpu = Vcpu::new(board.vcpu(index), parts);
            vcpu.probe = tracer.as_ref().map(Tracer::probe);
            vcpu
        });
        let vcpus: Vec<Vcpu<B::Isa>> = vcpus.collect();
        let (mut gate, mut debugger) = (None, None);
        if let (Some(address), Some(first)) = (&config.gdb, vcpus.first()) {
            let failed = |source| Error::Debugger { address: address.clone(), source };
            let new = Arc::new(Gate::new(Arc::clone(&group)).map_err(host("the debugger's gate"))?);
            let server = Server::listen(address, Arc::clone(&new), &first.isa, Arc::clone(&power));
            debugger = Some(server.map_err(failed)?);
            gate = Some(new);
        }
        let holds = Holds::new(board.firmware(), Arc::clone(&power), config.cpus);
        let no_reboot = config.no_reboot;
        Ok(Self {
            board,
            boot,
            no_reboot,
            drop_code: config.drop_code,
            buses,
            memory,
            blocks,
            code,
            keeper,
            power,
            meters,
            consoles,
            holds,
            vcpus,
            gate,
            debugger,
            tracer,
            events,
        })
    }

    fn run_on(&mut self) -> Result<Ended, Error> {
        loop {
            self.power_on()?;
            self.meters.run_begins();
            let ending = self.run_once();
            self.meters.run_ends();
            if let Some(ended) = self.over(ending)? {
                return Ok(ended);
            }
        }
    }

    /// A run is over: how the machine has ended, if it does not start again.
    fn over(&self, ending: Ending) -> Result<Option<Ended>, Error> {
        self.power.rearm();
        for console in &self.consoles {
            console.drain(LAST_WORDS);
        }
        match ending {
            Ending::Power(PowerRequest::Off { code }) => Ok(Some(Ended::Off { code })),
            Ending::Power(PowerRequest::Reset) if self.no_reboot => Ok(Some(Ended::Off { code: 0 })),
            Ending::Power(PowerRequest::Reset) => Ok(None),
            Ending::Quit => Ok(Some(Ended::Quit)),
            Ending::Failed(message) => Err(Error::Failed(message)),
        }
    }

    /// Puts everything into its power-on state, with the boot files in memory.
    fn power_on(&mut self) -> Result<(), Error> {
        let (entry, fdt) = (self.boot.entry(), self.boot.fdt());
        if let Some(bus) = self.buses.first() {
            bus.reset();
            self.blocks.clear();
            self.holds.reset();
            self.boot.load(bus.ram(), &self.memory)?;
        }
        for vcpu in &mut self.vcpus {
            self.board.reset(vcpu, entry, fdt);
            vcpu.sync_code();
        }
        if let Some(firmware) = self.holds.firmware() {
            firmware.boot(entry, fdt);
        }
        Ok(())
    }

    fn run_once(&mut self) -> Ending {
        let (holds, power, meters) = (&self.holds, &*self.power, &*self.meters);
        let code = self.code.as_ref();
        let gate = self.gate.as_deref();
        let observed = self.tracer.as_ref().is_some_and(|tracer| tracer.instructions());
        if let Some(gate) = gate {
            gate.starting();
        }
        std::thread::scope(|scope| {
            for (index, vcpu) in self.vcpus.iter_mut().enumerate() {
                let builder = std::thread::Builder::new().name(format!("vcpu{index}"));
                let spawned = builder.spawn_scoped(scope, move || {
                    let mut engine: Box<dyn Engine<B::Isa>> = match code {
                        Some(code) => Box::new(Jit::new(Arc::clone(code))),
                        None => Box::new(Interpreter::new()),
                    };
                    vcpu::run(vcpu, engine.as_mut(), holds, Oversight { meters, gate, observed }, power);
                });
                if let Err(error) = spawned {
                    power.end(Ending::Failed(format!("cannot start the thread of a vCPU: {error}")));
                }
            }
            let ending = match (self.drop_code, code) {
                (Some(period), Some(code)) => drop_code(period, code, power),
                _ => power.wait(),
            };
            if let Some(gate) = gate {
                gate.ending();
            }
            ending
        })
    }
}

/// Drops translated code at random until the run ends.
fn drop_code(period: Duration, code: &JitShared, power: &PowerSwitch) -> Ending {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        if let Some(ending) = power.wait_for(period) {
            return ending;
        }
        // Xorshift (Marsaglia 2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        code.drop_some(random);
    }
}

/// Checks what the pieces cannot check themselves.
fn check(config: &MachineConfig, max_cpus: usize) -> Result<(), Error> {
    let invalid = |text: String| Err(Error::Config(text));
    if !(1..=max_cpus).contains(&config.cpus) {
        return invalid(format!("{} CPUs: the virt board takes 1 to {max_cpus}", config.cpus));
    }
    const MIB: u64 = 1 << 20;
    if config.memory < 16 * MIB || !config.memory.is_multiple_of(2 * MIB) || config.memory > 1 << 40 {
        let memory = match config.memory % MIB {
            0 => format!("{} MiB", config.memory / MIB),
            _ => format!("{} bytes", config.memory),
        };
        return invalid(format!("{memory} of memory: expected 16 MiB to 1 TiB, in steps of 2 MiB"));
    }
    if matches!((&config.console, &config.virtio_console), (Console::Stdio(_), Some(Console::Stdio(_)))) {
        return invalid("the serial and the virtio console cannot both be standard input and output".into());
    }
    Ok(())
}

fn host(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Host { what, source }
}

fn open_console(console: Console, events: &EventHandle) -> Result<Arc<dyn CharBackend>, Error> {
    let opened = match console {
        Console::Stdio(filter) => HostChardev::stdio(events, filter).map_err(host("the console"))?,
        Console::File(path) => {
            let failed = |source| Error::Write { what: "console file", path: path.clone(), source };
            HostChardev::file(events, &path).map_err(failed)?
        }
        Console::Unix(path) => {
            let failed = |source| Error::Write { what: "console socket", path: path.clone(), source };
            HostChardev::unix_socket(events, &path).map_err(failed)?
        }
        Console::None => return Ok(Arc::new(NullChardev)),
        Console::Backend(backend) => return Ok(backend),
    };
    Ok(Arc::new(opened))
}
