//! Random whole programs, in translated code and in the interpreter, side by side: registers, control registers, traps and
//! instruction counts are compared after every stretch, and memory at the end.
//!
//! Code memory is tiny, translations are dropped and translated addresses forgotten at random, and interrupts arrive at random
//! points. `HOSTILE_SEEDS=N` runs the first N programs of each test. A program that fails is run again, compared every
//! few blocks, so that the message shows the first block that differs.

mod aarch64;
mod jumps;
mod program;
mod riscv;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use emu_core::device::{AccessError, Mmio, Width};
use emu_core::exec::{BlockMap, Exception, Exit, HostRequest, Vcpu, VcpuParts};
use emu_core::mem::{BusBuilder, Flush, PAGE_SIZE, RamBuilder, WindowConfig};
use emu_core::sync::{Group, Port};
use emu_core::testing::{Random, seeds};
use emu_core::time::Clock;
use jit::{Jit, JitConfig, JitShared, RegionConfig};
use machine::lockstep::{Inspect, Lockstep, OnTrap, Stretch};
use program::{BELL, END, RAM, RAM_LEN};

/// Instructions after which a program is given up.
const MOST_INSTRUCTIONS: u64 = 150_000;
/// Traps after which it is.
const MOST_TRAPS: u64 = 4000;
/// How long a stretch may take: a program that has lost its way may be in a loop.
const PATIENCE: Duration = Duration::from_millis(500);

/// An instruction set whose programs are compared.
trait Guest {
    type Isa: Inspect;

    /// The program with this seed.
    fn new(seed: u64) -> Self;

    /// The state of a vCPU.
    fn isa(&self) -> Self::Isa;

    /// Contents of memory.
    fn image(&self) -> &[u8];

    /// Makes a vCPU ready to run.
    fn set_up(&self, vcpu: &mut Vcpu<Self::Isa>);

    /// Its interrupt pins.
    const PINS: u64;
}

/// The device.
#[derive(Default)]
struct Bell {
    accesses: AtomicU64,
    ended: AtomicBool,
    /// Whose stretch ends when it is accessed.
    port: Option<Arc<Port>>,
}

impl Bell {
    fn ring(&self) -> u64 {
        if let Some(port) = &self.port {
            port.stop();
        }
        self.accesses.fetch_add(1, SeqCst)
    }
}

impl Mmio for Bell {
    fn read(&self, _: u64, _: Width) -> Result<u64, AccessError> {
        Ok(self.ring())
    }

    fn write(&self, offset: u64, _: Width, _: u64) -> Result<(), AccessError> {
        if offset == END {
            self.ended.store(true, SeqCst);
        }
        self.ring();
        Ok(())
    }

    fn reset(&self) {}
}

/// A machine with one vCPU, which rings a bell.
fn machine<G: Guest>(guest: &G, clock: &Clock, leads: bool, windows: bool) -> (Vcpu<G::Isa>, Arc<Bell>) {
    let windows = windows.then_some(WindowConfig { mappings: 20, ..WindowConfig::EAGER });
    let ram =
        RamBuilder::new().region("memory", RAM, RAM_LEN, true).unwrap().windows(windows).build().unwrap();
    for (at, bytes) in guest.image().chunks_exact(8).enumerate() {
        ram.store(at * 8, u64::from_le_bytes(bytes.try_into().unwrap()));
    }
    let group = Arc::new(Group::new(1));
    let port = leads.then(|| Arc::clone(group.port(0)));
    let bell = Arc::new(Bell { port, ..Bell::default() });
    let mut bus = BusBuilder::new(Arc::new(ram));
    bus.map("bell", BELL, PAGE_SIZE, Arc::clone(&bell) as Arc<dyn Mmio>).unwrap();
    let parts = VcpuParts {
        index: 0,
        bus: Arc::new(bus.build()),
        group,
        blocks: Arc::new(BlockMap::default()),
        clock: clock.clone(),
    };
    let mut vcpu = Vcpu::new(guest.isa(), parts);
    guest.set_up(&mut vcpu);
    (vcpu, bell)
}

/// What is done when a trap has been taken: an interrupt has been served, and some traps end a stretch.
fn on_trap<G: Guest>(traps: Option<(Arc<AtomicU64>, u64)>) -> OnTrap<G::Isa> {
    Arc::new(move |vcpu: &Vcpu<G::Isa>, exception: &Exception| {
        if G::Isa::describe(exception).asynchronous {
            vcpu.port().set_pins(G::PINS, 0);
        }
        if let Some((traps, seed)) = &traps
            && Random(seed.wrapping_add(traps.fetch_add(1, SeqCst))).below(4) == 0
        {
            vcpu.port().stop();
        }
    })
}

/// What a program has done.
#[derive(Default)]
struct Done {
    instructions: u64,
    traps: u64,
    interrupts: u64,
    evictions: u64,
    regions: u64,
    ended: bool,
    /// Blocks that were not translated, but found among what was kept.
    kept: u64,
    /// What is kept.
    saved: Option<Vec<u8>>,
}

/// Translations of one run that the next one may use.
#[derive(Clone, Copy)]
enum Keep<'a> {
    Nothing,
    /// All that are made; these are there.
    All(Option<&'a [u8]>),
}

fn run<G: Guest>(seed: u64, brief: bool, keep: Keep<'_>) -> Result<Done, String> {
    let guest = G::new(seed);
    let mut random = Random(seed ^ 0x10c5_7e9a);
    let clock = Clock::manual();
    let (mut a, bell) = machine(&guest, &clock, true, false);
    let (mut b, _) = machine(&guest, &clock, false, !seed.is_multiple_of(3));
    let code_bytes = if seed.is_multiple_of(4) { 64 << 20 } else { 256 << 10 };
    let regions = (!seed.is_multiple_of(2))
        .then_some(RegionConfig { threshold: 1 + seed as u32 % 3, background: false });
    let keeps = matches!(keep, Keep::All(_));
    let config = JitConfig { code_bytes, regions, sampled: false, keeps, ..JitConfig::default() };
    let code = JitShared::new::<G::Isa>(config, Arc::clone(a.group()), a.blocks()).unwrap();
    if let Keep::All(Some(saved)) = keep {
        code.load(saved.to_vec()).unwrap();
    }
    let traps = Arc::new(AtomicU64::new(0));
    let hooks = [on_trap::<G>(Some((Arc::clone(&traps), seed))), on_trap::<G>(None)];
    let mut lockstep = Lockstep::new(Jit::new(Arc::clone(&code)), [&mut a, &mut b], hooks.map(Some));
    // One kind of program has its translations dropped now and then.
    let (drops, interrupts, briefs) = (random.below(2) == 0, random.below(3) != 0, random.below(3));
    let mut done = Done::default();
    loop {
        let stretch = if brief || random.below(4) < briefs { Stretch::Brief } else { Stretch::Long };
        let (ready, watch) = mpsc::channel::<()>();
        let port = Arc::clone(a.port());
        let overdue = std::thread::scope(|scope| {
            let watchdog = (stretch == Stretch::Long).then(|| {
                scope.spawn(move || {
                    let late = watch.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
                    if late {
                        port.stop();
                    }
                    late
                })
            });
            let ran = lockstep.run([&mut a, &mut b], stretch);
            drop(ready);
            let late = watchdog.is_some_and(|watchdog| watchdog.join().unwrap());
            ran.map(|exit| (exit, late))
        });
        let (exit, overdue) = overdue.map_err(|difference| difference.to_string())?;
        match exit {
            None | Some(Exit::Request(HostRequest::Wait { .. } | HostRequest::Yield)) => {}
            exit => return Err(format!("unexpected {exit:?}")),
        }
        a.port().clear_stop();
        done.instructions = a.state.retired;
        done.traps = traps.load(SeqCst);
        done.ended = bell.ended.load(SeqCst);
        let given_up = done.instructions > MOST_INSTRUCTIONS || done.traps > MOST_TRAPS || overdue;
        if done.ended || given_up {
            break;
        }
        clock.set(a.state.retired * 10);
        if interrupts && random.below(3) == 0 {
            let pin = 1 << random.below(12) & G::PINS;
            a.port().set_pins(pin, pin);
            b.port().set_pins(pin, pin);
            done.interrupts += 1;
        }
        if drops && random.below(3) == 0 {
            code.drop_some(random.bits());
        }
        if random.below(8) == 0 {
            let side = if random.below(2) == 0 { &mut a } else { &mut b };
            side.mmu.flush(Flush::ALL);
        }
    }
    done.evictions = code.stats().evictions;
    done.regions = code.stats().regions;
    done.kept = code.stats().kept_blocks;
    done.saved = code.save();
    match lockstep.memory_difference([&a, &b]) {
        None => Ok(done),
        Some((at, x, y)) => Err(format!("memory at {at:#x}: translated {x:#x}, interpreted {y:#x}")),
    }
}

/// Compares programs, from seed `first` on.
fn compare<G: Guest>(first: u64, usual: u64) {
    let (mut all, mut ended) = (Done::default(), 0);
    for seed in seeds(usual).map(|n| first + n) {
        match run::<G>(seed, false, Keep::Nothing) {
            Ok(done) => {
                all.instructions += done.instructions;
                all.traps += done.traps;
                all.interrupts += done.interrupts;
                all.evictions += done.evictions;
                ended += u64::from(done.ended);
            }
            Err(text) => {
                let again = run::<G>(seed, true, Keep::Nothing).err();
                let again = again.unwrap_or_else(|| "compared every few blocks, it does not differ".into());
                panic!("seed {seed:#x}: {text}\nagain, in brief stretches: {again}");
            }
        }
    }
    let Done { instructions, traps, interrupts, evictions, .. } = all;
    eprintln!(
        "{instructions} instructions, {traps} traps, {interrupts} interrupts, {evictions} evictions, {ended} to the end"
    );
    assert!(instructions > 0 && traps > 0 && interrupts > 0, "the programs test too little");
}

/// Compares programs that run with what an earlier run of them, and of all before, has translated.
fn compare_kept<G: Guest>(first: u64, usual: u64) {
    let (mut cold, mut warm) = (0, 0);
    let mut saved: Option<Vec<u8>> = None;
    for seed in seeds(usual).map(|n| first + n) {
        for again in [false, true] {
            let done = run::<G>(seed, false, Keep::All(saved.as_deref()));
            let done = done.unwrap_or_else(|text| panic!("seed {seed:#x}, again: {again}: {text}"));
            *if again { &mut warm } else { &mut cold } += done.kept;
            saved = done.saved.or(saved);
        }
    }
    eprintln!("{cold} blocks were known from before, and {warm} when all was done again");
    assert!(warm > cold, "what is kept is not found");
}

#[test]
fn riscv64_programs_with_kept_translations() {
    compare_kept::<riscv::Riscv64>(0, 60);
}

#[test]
fn aarch64_programs_with_kept_translations() {
    compare_kept::<aarch64::Arm64>(0, 60);
}

#[test]
fn riscv64_programs() {
    compare::<riscv::Riscv64>(0, 150);
}

#[test]
fn aarch64_programs() {
    compare::<aarch64::Arm64>(0, 150);
}
