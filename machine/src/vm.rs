//! A machine: built once, run until its guest switches off.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use devices::backend::chardev::{CharBackend, HostChardev, NullChardev};
use devices::intc::aclint::Mtimer;
use emu_core::device::PowerRequest;
use emu_core::exec::{BlockMap, Engine, Vcpu, VcpuParts};
use emu_core::interp::Interpreter;
use emu_core::mem::{Bus, BusBuilder, RamBuilder};
use emu_core::sync::{EventHandle, EventLoop, Group, Port, Timer};
use emu_core::time::Clock;
use firmware::sbi::Sbi;
use frontends::riscv::{self, HartTimer, MODELS, Model, Riscv};
use jit::{Jit, JitConfig, JitShared};
use parking_lot::Mutex;

use crate::boards::Built;
use crate::boards::riscv_virt::supervisor::{Harts, Hold};
use crate::boards::riscv_virt::{self as board, Wiring};
use crate::boot::Boot;
use crate::config::{Accel, Console, Firmware, MachineConfig};
use crate::debug::gate::{Gate, Over};
use crate::debug::gdb::Server;
use crate::debug::trace::Tracer;
use crate::error::Error;
use crate::hart::{self, Oversight};
use crate::power::{Ending, PowerSwitch};
use crate::stats::{Meters, Stats};

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
pub struct Machine {
    boot: Boot,
    no_reboot: bool,
    bus: Arc<Bus>,
    blocks: Arc<BlockMap>,
    /// Translated code; none for the interpreter.
    code: Option<Arc<JitShared>>,
    power: Arc<PowerSwitch>,
    meters: Arc<Meters>,
    consoles: Vec<Arc<dyn CharBackend>>,
    harts: Arc<Harts>,
    vcpus: Vec<Vcpu<Riscv>>,
    gate: Option<Arc<Gate<Riscv>>>,
    debugger: Option<Server>,
    tracer: Option<Arc<Tracer>>,
    /// Last, so that everything that posts events is gone before it.
    _events: EventLoop,
}

/// Looks at a running machine, and ends it, from another thread.
#[derive(Clone)]
pub struct Control {
    power: Arc<PowerSwitch>,
    meters: Arc<Meters>,
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
}

impl Machine {
    /// Builds a machine and loads what it boots.
    ///
    /// # Errors
    /// A setting is out of range, a file cannot be used, or the host does not give what is needed.
    pub fn new(mut config: MachineConfig) -> Result<Self, Error> {
        let model = check(&config)?;
        let clock = Clock::real_time();
        let events = EventLoop::start(clock.clone()).map_err(host("a thread"))?;
        let handle = events.handle();
        let group = Arc::new(Group::new(config.cpus));
        let power = PowerSwitch::new(Arc::clone(&group));
        let ram = RamBuilder::new()
            .region("reset ROM", board::ROM_BASE, board::ROM_SIZE, false)?
            .region("memory", board::DRAM_BASE, config.memory, true)?
            .build()?;
        let ram = Arc::new(ram);
        let memory = ram.guest_memory()?;
        if matches!((&config.console, &config.virtio_console), (Console::Stdio(_), Some(Console::Stdio(_)))) {
            let text = "the serial and the virtio console cannot both be standard input and output";
            return Err(Error::Config(text.into()));
        }
        let console = open_console(std::mem::replace(&mut config.console, Console::None), &handle)?;
        let virtio_console =
            config.virtio_console.take().map(|console| open_console(console, &handle)).transpose()?;
        let consoles = [&console].into_iter().chain(&virtio_console).map(Arc::clone).collect();
        let mtimer = board::mtimer_for(&group, &handle);
        let virtio_slots = crate::virtio::Slots::open(&config, virtio_console, &handle, &memory)?;
        let wiring = Wiring {
            group: Arc::clone(&group),
            events: handle.clone(),
            power: Arc::clone(&power) as Arc<_>,
            console: Arc::clone(&console),
            epoch_ns: epoch_ns(),
            aclint: config.aclint,
            mtimer: Arc::clone(&mtimer),
            virtio: Box::new(move |slot, irq| virtio_slots.make(slot, irq)),
        };
        let devices = board::build(&wiring);
        let serial = devices.iter().find(|device| device.name == board::SERIAL);
        let serial = serial.map(|device| Arc::clone(&device.device));
        let bus = Arc::new(map(&ram, &devices)?);
        let boot = Boot::prepare(&config, model, &devices)?;

        let builtin = config.firmware == Firmware::Builtin;
        let blocks = Arc::new(BlockMap::default());
        // Traces show each access and exception, which translated code does not report.
        let interpret = config.accel == Accel::Interp || config.trace.any();
        let code = match interpret {
            true => None,
            false => {
                let shared = JitShared::new::<Riscv>(JitConfig::default(), Arc::clone(&group), &blocks);
                Some(shared.map_err(host("memory for translated code"))?)
            }
        };
        let meters = Meters::new(Arc::clone(&group), code.clone());
        let vcpus = (0..config.cpus).map(|index| {
            let hart_config = riscv::Config {
                model: *model,
                hart_id: index as u64,
                timebase_hz: board::TIMEBASE_HZ,
                firmware_calls: builtin,
            };
            let timer = VirtTimer::new(&handle, group.port(index), &mtimer);
            let parts = VcpuParts {
                index,
                bus: Arc::clone(&bus),
                group: Arc::clone(&group),
                blocks: Arc::clone(&blocks),
                clock: clock.clone(),
            };
            Vcpu::new(Riscv::new(hart_config, Some(Box::new(timer))), parts)
        });
        let mut vcpus: Vec<Vcpu<Riscv>> = vcpus.collect();
        let tracer = Tracer::open(&config.trace)?;
        for vcpu in &mut vcpus {
            vcpu.probe = tracer.as_ref().map(Tracer::probe);
        }
        let (mut gate, mut debugger) = (None, None);
        if let (Some(address), Some(first)) = (&config.gdb, vcpus.first()) {
            let failed = |source| Error::Debugger { address: address.clone(), source };
            let new = Arc::new(Gate::new(Arc::clone(&group)).map_err(host("the debugger's gate"))?);
            let server = Server::listen(address, Arc::clone(&new), &first.isa, Arc::clone(&power));
            debugger = Some(server.map_err(failed)?);
            gate = Some(new);
        }
        let sbi_config = firmware::sbi::Config {
            harts: config.cpus,
            hardware_ad_updates: model.ext.has(riscv::ext::Ext::Svadu)
                && !model.ext.has(riscv::ext::Ext::Svade),
        };
        let harts = Arc::new(Harts {
            sbi: builtin.then(|| Sbi::new(sbi_config)),
            group,
            memory,
            console: Arc::clone(&console),
            serial,
            power: Arc::clone(&power),
            holds: (0..config.cpus).map(|_| Mutex::new(Hold::None)).collect(),
        });
        let no_reboot = config.no_reboot;
        Ok(Self {
            boot,
            no_reboot,
            bus,
            blocks,
            code,
            power,
            meters,
            consoles,
            harts,
            vcpus,
            gate,
            debugger,
            tracer,
            _events: events,
        })
    }

    /// A handle for other threads while the machine runs.
    pub fn control(&self) -> Control {
        Control { power: Arc::clone(&self.power), meters: Arc::clone(&self.meters) }
    }

    /// What the machine has done, in all its runs.
    pub fn stats(&self) -> Stats {
        self.meters.read()
    }

    /// Where the machine waits for a debugger, with the port that was chosen if [`MachineConfig::gdb`] names port zero.
    pub fn debugger_address(&self) -> Option<&str> {
        self.debugger.as_ref().map(Server::address)
    }

    /// Runs the machine until it ends; a guest that reboots starts again. With [`MachineConfig::gdb`] no instruction
    /// runs before a debugger says so.
    ///
    /// # Errors
    /// The emulator itself failed.
    pub fn run(&mut self) -> Result<Ended, Error> {
        let ended = self.run_on();
        if let Some(debugger) = &mut self.debugger {
            debugger.finish(match ended {
                Ok(Ended::Off { code }) => Over::Off(code),
                Ok(Ended::Quit) | Err(_) => Over::Quit,
            });
        }
        ended
    }

    fn run_on(&mut self) -> Result<Ended, Error> {
        loop {
            self.power_on()?;
            self.meters.run_begins();
            let ending = self.run_once();
            self.meters.run_ends();
            self.power.rearm();
            for console in &self.consoles {
                console.drain(LAST_WORDS);
            }
            match ending {
                Ending::Power(PowerRequest::Off { code }) => return Ok(Ended::Off { code }),
                Ending::Power(PowerRequest::Reset) if self.no_reboot => return Ok(Ended::Off { code: 0 }),
                Ending::Power(PowerRequest::Reset) => {}
                Ending::Quit => return Ok(Ended::Quit),
                Ending::Failed(message) => return Err(Error::Failed(message)),
            }
        }
    }

    /// Puts everything into its power-on state, with the boot files in memory.
    fn power_on(&mut self) -> Result<(), Error> {
        self.bus.reset();
        self.blocks.clear();
        self.harts.reset();
        self.boot.load(self.bus.ram(), &self.harts.memory, self.harts.sbi.as_ref())?;
        for vcpu in &mut self.vcpus {
            riscv::reset(vcpu);
            vcpu.sync_code();
            vcpu.state.pc = board::ROM_BASE;
        }
        Ok(())
    }

    fn run_once(&mut self) -> Ending {
        let (harts, power, meters) = (&*self.harts, &*self.power, &*self.meters);
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
                    let mut engine: Box<dyn Engine<Riscv>> = match code {
                        Some(code) => Box::new(Jit::new(Arc::clone(code))),
                        None => Box::new(Interpreter::new()),
                    };
                    hart::run(vcpu, engine.as_mut(), harts, Oversight { meters, gate, observed }, power);
                });
                if let Err(error) = spawned {
                    power.end(Ending::Failed(format!("cannot start the thread of a vCPU: {error}")));
                }
            }
            let ending = power.wait();
            if let Some(gate) = gate {
                gate.ending();
            }
            ending
        })
    }
}

/// Checks what the pieces cannot check themselves; the CPU model.
fn check(config: &MachineConfig) -> Result<&'static Model, Error> {
    let invalid = |text: String| Err(Error::Config(text));
    if !(1..=board::MAX_HARTS).contains(&config.cpus) {
        return invalid(format!("{} CPUs: the virt board takes 1 to {}", config.cpus, board::MAX_HARTS));
    }
    const MIB: u64 = 1 << 20;
    if config.memory < 16 * MIB || !config.memory.is_multiple_of(2 * MIB) || config.memory > 1 << 40 {
        let memory = match config.memory % MIB {
            0 => format!("{} MiB", config.memory / MIB),
            _ => format!("{} bytes", config.memory),
        };
        return invalid(format!("{memory} of memory: expected 16 MiB to 1 TiB, in steps of 2 MiB"));
    }
    match &config.cpu {
        None => Ok(&MODELS[0]),
        Some(name) => match Model::named(name) {
            Some(model) => Ok(model),
            None => {
                let names: Vec<_> = MODELS.iter().map(|model| model.name).collect();
                invalid(format!("unknown CPU model {name:?}: expected one of {}", names.join(", ")))
            }
        },
    }
}

fn host(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Host { what, source }
}

fn epoch_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
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

fn map(ram: &Arc<emu_core::mem::Ram>, devices: &[Built]) -> Result<Bus, Error> {
    let mut bus = BusBuilder::new(Arc::clone(ram));
    for device in devices {
        bus.map(device.name, device.base, device.size, Arc::clone(&device.device))?;
    }
    Ok(bus.build())
}

/// A hart's timer: wakes it through its port.
struct VirtTimer {
    timer: Timer,
    mtimer: Arc<Mtimer>,
}

impl VirtTimer {
    fn new(events: &EventHandle, port: &Arc<Port>, mtimer: &Arc<Mtimer>) -> Self {
        let port = Arc::clone(port);
        Self { timer: events.timer(move || port.interrupt()), mtimer: Arc::clone(mtimer) }
    }
}

impl HartTimer for VirtTimer {
    fn offset(&self) -> u64 {
        self.mtimer.offset()
    }

    fn arm(&self, deadline: Option<u64>) {
        match deadline {
            Some(at) => self.timer.arm(at),
            None => self.timer.disarm(),
        }
    }
}
