//! The riscv64 `virt` board.
//!
//! ```text
//! 0x0000_1000  reset ROM          0x0c00_0000  PLIC
//! 0x0010_0000  test finisher      0x1000_0000  UART (16550)
//! 0x0010_1000  RTC (goldfish)     0x1000_1000  8 virtio-mmio slots, 4 KiB each
//! 0x0200_0000  CLINT or ACLINT    0x8000_0000  memory
//! 0x02f0_0000  ACLINT SSWI
//! ```
//!
//! Addresses and interrupt numbers are those of QEMU's `virt` machine, so that images made for it run unmodified.

use std::sync::{Arc, OnceLock};

use devices::backend::chardev::CharBackend;
use devices::intc::aclint::{Clint, Mswi, Mtimer, Sswi};
use devices::intc::plic::{Plic, PlicConfig};
use devices::rtc::goldfish::GoldfishRtc;
use devices::syscon::TestFinisher;
use devices::uart::ns16550::Ns16550;
use emu_core::device::{IrqLine, IrqSink, Mmio, NodeDesc, PowerSink};
use emu_core::sync::{EventHandle, Group};

use super::{Built, HartEdges, HartPins};

pub mod supervisor;
pub mod tree;

/// Where memory begins.
pub const DRAM_BASE: u64 = 0x8000_0000;
/// Where the reset ROM lies.
pub const ROM_BASE: u64 = 0x1000;
/// Bytes of reset ROM.
pub const ROM_SIZE: u64 = 0xf000;
/// The most harts that the board takes.
pub const MAX_HARTS: usize = 8;
/// Ticks of the time counter a second.
pub const TIMEBASE_HZ: u64 = 10_000_000;
/// The serial port's name in the table.
pub const SERIAL: &str = "serial";
/// How many virtio devices fit.
pub const VIRTIO_SLOTS: usize = 8;

/// Interrupt pins of a hart, numbered as in `mip` (Priv., "Machine Interrupt Registers").
mod pin {
    pub const SSI: u32 = 1;
    pub const MSI: u32 = 3;
    pub const MTI: u32 = 7;
    pub const SEI: u32 = 9;
    pub const MEI: u32 = 11;
}

/// What the devices are connected to.
pub struct Wiring {
    /// All harts.
    pub group: Arc<Group>,
    /// Clock, timers and asynchronous input.
    pub events: EventHandle,
    /// The power switch.
    pub power: Arc<dyn PowerSink>,
    /// The host's side of the serial port.
    pub console: Arc<dyn CharBackend>,
    /// Wall-clock time at machine time zero, in nanoseconds since 1970.
    pub epoch_ns: u64,
    /// An ACLINT instead of a CLINT.
    pub aclint: bool,
    /// The timer, which the harts' own `time` follows.
    pub mtimer: Arc<Mtimer>,
    /// Makes the virtio device of a slot, from its interrupt line.
    pub virtio: Box<dyn Fn(usize, IrqLine) -> Arc<dyn Mmio>>,
}

/// A line of the board's table.
struct Entry {
    name: &'static str,
    base: u64,
    size: u64,
    irqs: &'static [u32],
    hart_pins: &'static [u32],
    make: fn(&Board<'_>, &Entry) -> Made,
}

const fn entry(
    name: &'static str,
    base: u64,
    size: u64,
    irqs: &'static [u32],
    make: fn(&Board<'_>, &Entry) -> Made,
) -> Entry {
    Entry { name, base, size, irqs, hart_pins: &[], make }
}

const fn controller(
    name: &'static str,
    base: u64,
    size: u64,
    hart_pins: &'static [u32],
    make: fn(&Board<'_>, &Entry) -> Made,
) -> Entry {
    Entry { name, base, size, irqs: &[], hart_pins, make }
}

const TABLE: &[Entry] = &[
    controller("plic", 0x0c00_0000, 0x60_0000, &[pin::MEI, pin::SEI], plic),
    controller("clint", 0x0200_0000, 0x1_0000, &[pin::MSI, pin::MTI], clint),
    controller("mswi", 0x0200_0000, 0x4000, &[pin::MSI], mswi),
    controller("mtimer", 0x0200_4000, 0x8000, &[pin::MTI], mtimer),
    controller("sswi", 0x02f0_0000, 0x4000, &[pin::SSI], sswi),
    entry("test", 0x0010_0000, 0x1000, &[], test_finisher),
    entry("rtc", 0x0010_1000, 0x1000, &[11], rtc),
    entry(SERIAL, 0x1000_0000, 0x100, &[10], serial),
    entry("virtio0", 0x1000_1000, 0x1000, &[1], virtio),
    entry("virtio1", 0x1000_2000, 0x1000, &[2], virtio),
    entry("virtio2", 0x1000_3000, 0x1000, &[3], virtio),
    entry("virtio3", 0x1000_4000, 0x1000, &[4], virtio),
    entry("virtio4", 0x1000_5000, 0x1000, &[5], virtio),
    entry("virtio5", 0x1000_6000, 0x1000, &[6], virtio),
    entry("virtio6", 0x1000_7000, 0x1000, &[7], virtio),
    entry("virtio7", 0x1000_8000, 0x1000, &[8], virtio),
];

/// The board while it is built.
struct Board<'a> {
    wiring: &'a Wiring,
    /// The interrupt controller that the table's `irqs` are inputs of: its first line.
    plic: OnceLock<Arc<Plic>>,
}

/// Builds every device of the table.
pub fn build(wiring: &Wiring) -> Vec<Built> {
    let board = Board { wiring, plic: OnceLock::new() };
    let mut built = Vec::new();
    for entry in TABLE {
        if let Some((device, node)) = (entry.make)(&board, entry) {
            let Entry { name, base, size, irqs, hart_pins, .. } = *entry;
            built.push(Built { name, base, size, irqs, device, node, hart_pins });
        }
    }
    built
}

impl Board<'_> {
    fn pins(&self, pin: u32) -> Vec<IrqLine> {
        hart_pins(&self.wiring.group, pin)
    }

    fn irq(&self, entry: &Entry) -> IrqLine {
        match (self.plic.get(), entry.irqs.first()) {
            (Some(plic), Some(&line)) => IrqLine::new(Arc::clone(plic) as Arc<dyn IrqSink>, line),
            _ => IrqLine::unconnected(),
        }
    }
}

/// The timer for the harts of `group`.
pub fn mtimer_for(group: &Group, events: &EventHandle) -> Arc<Mtimer> {
    Mtimer::new(TIMEBASE_HZ, events, hart_pins(group, pin::MTI))
}

/// The wire to pin `pin` of each hart.
fn hart_pins(group: &Group, pin: u32) -> Vec<IrqLine> {
    let ports = group.ports().iter();
    ports.map(|port| IrqLine::new(Arc::new(HartPins(Arc::clone(port))), pin)).collect()
}

type Made = Option<(Arc<dyn Mmio>, Option<NodeDesc>)>;

fn plic(board: &Board<'_>, _: &Entry) -> Made {
    let (machine, supervisor) = (board.pins(pin::MEI), board.pins(pin::SEI));
    let outputs = machine.into_iter().zip(supervisor).flat_map(|(m, s)| [m, s]).collect();
    let plic = Plic::new(PlicConfig { sources: 96, priority_bits: 3 }, outputs);
    let plic = board.plic.get_or_init(|| plic);
    Some((Arc::clone(plic) as Arc<dyn Mmio>, Some(plic.describe())))
}

fn clint(board: &Board<'_>, _: &Entry) -> Made {
    if board.wiring.aclint {
        return None;
    }
    let clint = Clint::new(Mswi::new(board.pins(pin::MSI)), Arc::clone(&board.wiring.mtimer));
    let node = clint.describe();
    Some((clint, Some(node)))
}

fn mswi(board: &Board<'_>, _: &Entry) -> Made {
    let device = board.wiring.aclint.then(|| Mswi::new(board.pins(pin::MSI)))?;
    let node = device.describe();
    Some((device, Some(node)))
}

fn mtimer(board: &Board<'_>, _: &Entry) -> Made {
    let device = board.wiring.aclint.then(|| Arc::clone(&board.wiring.mtimer))?;
    let node = device.describe();
    Some((device, Some(node)))
}

fn sswi(board: &Board<'_>, _: &Entry) -> Made {
    // Priv., "Supervisor Interrupt (sip and sie) Registers": SSIP is a bit of the hart's that an edge sets.
    let edge = |port| IrqLine::new(Arc::new(HartEdges(Arc::clone(port))), pin::SSI);
    let ports = board.wiring.group.ports().iter();
    let device = board.wiring.aclint.then(|| Sswi::new(ports.map(edge).collect()))?;
    let node = device.describe();
    Some((device, Some(node)))
}

fn test_finisher(board: &Board<'_>, _: &Entry) -> Made {
    let device = TestFinisher::new(Arc::clone(&board.wiring.power));
    let node = device.describe();
    Some((device, Some(node)))
}

fn rtc(board: &Board<'_>, entry: &Entry) -> Made {
    let device = GoldfishRtc::new(board.irq(entry), &board.wiring.events, board.wiring.epoch_ns);
    let node = device.describe();
    Some((device, Some(node)))
}

fn serial(board: &Board<'_>, entry: &Entry) -> Made {
    let device = Ns16550::new(board.irq(entry), Arc::clone(&board.wiring.console), 3_686_400);
    let node = device.describe();
    Some((device, Some(node)))
}

fn virtio(board: &Board<'_>, entry: &Entry) -> Made {
    let slot = entry.irqs.first().map_or(0, |irq| *irq as usize - 1);
    let device = (board.wiring.virtio)(slot, board.irq(entry));
    Some((device, Some(NodeDesc::new("virtio_mmio", &["virtio,mmio"]))))
}
