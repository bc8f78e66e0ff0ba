//! The riscv64 `virt` board.
//!
//! ```text
//! 0x0000_1000  reset ROM          0x0c00_0000  PLIC
//! 0x0010_0000  test finisher      0x1000_0000  UART (16550)
//! 0x0010_1000  RTC (goldfish)     0x1000_1000  8 virtio-mmio slots, 4 KiB each
//! 0x0200_0000  CLINT or ACLINT    0x1010_0000  fw_cfg
//! 0x02f0_0000  ACLINT SSWI        0x8000_0000  memory
//! ```
//!
//! Addresses and interrupt numbers are those of QEMU's `virt` machine, so that images made for it run unmodified.

use std::sync::{Arc, OnceLock};

use devices::gpio::button::Button;
use devices::intc::aclint::{Clint, Mswi, Mtimer, Sswi};
use devices::intc::plic::{Plic, PlicConfig};
use devices::rtc::goldfish::GoldfishRtc;
use devices::syscon::TestFinisher;
use devices::uart::ns16550::Ns16550;
use emu_core::device::{IrqLine, IrqSink, Mmio};
use emu_core::exec::Vcpu;
use emu_core::sync::Port;
use firmware::boot::rules::RISCV_VIRT;
use firmware::fdt::Tree;
use firmware::load;
use firmware::sbi::{self, Sbi};
use frontends::riscv::ext::Ext;
use frontends::riscv::{self, HartTimer, MODELS, Model, Riscv};

use self::supervisor::SbiFirmware;
use super::{Board, Built, Entry, Layout, Made, Seeds, Slot, WakeTimer, Wiring, build, shared};
use crate::config::{Firmware, MachineConfig, choose_model};
use crate::error::Error;

mod supervisor;
mod tree;

/// Where memory begins.
const DRAM_BASE: u64 = 0x8000_0000;
/// Where the reset ROM lies.
const ROM_BASE: u64 = 0x1000;
/// Bytes of reset ROM.
const ROM_SIZE: u64 = 0xf000;
/// Ticks of the time counter a second.
const TIMEBASE_HZ: u64 = 10_000_000;
/// The serial port's name in the table.
const SERIAL: &str = "serial";
/// How many virtio devices fit.
const VIRTIO_SLOTS: usize = 8;

/// Interrupt pins of a hart, numbered as in `mip` (Priv., "Machine Interrupt Registers").
mod pin {
    pub const SSI: u32 = 1;
    pub const MSI: u32 = 3;
    pub const MTI: u32 = 7;
    pub const SEI: u32 = 9;
    pub const MEI: u32 = 11;
}

const TABLE: &[Entry<Parts>] = &[
    Entry::device("plic", 0x0c00_0000, 0x60_0000, plic).cpu_pins(&[pin::MEI, pin::SEI]),
    Entry::device("clint", 0x0200_0000, 0x1_0000, clint).cpu_pins(&[pin::MSI, pin::MTI]),
    Entry::device("mswi", 0x0200_0000, 0x4000, mswi).cpu_pins(&[pin::MSI]),
    Entry::device("mtimer", 0x0200_4000, 0x8000, mtimer).cpu_pins(&[pin::MTI]),
    Entry::device("sswi", 0x02f0_0000, 0x4000, sswi).cpu_pins(&[pin::SSI]),
    Entry::device("test", 0x0010_0000, 0x1000, test_finisher),
    Entry::device("rtc", 0x0010_1000, 0x1000, rtc).irq(11),
    Entry::device(SERIAL, 0x1000_0000, 0x100, serial).irq(10),
    Entry::device("virtio", 0x1000_1000, 0x1000, virtio).irq(1).count(VIRTIO_SLOTS),
    Entry::device("fw-cfg", 0x1010_0000, devices::fw_cfg::spec::SIZE, |parts, _| {
        super::fw_cfg(&parts.wiring)
    }),
];

/// The board.
pub struct RiscvVirt {
    model: &'static Model,
    builtin_firmware: bool,
    memory: u64,
    parts: Parts,
    devices: Vec<Built>,
}

/// What the devices are built from, and of them what others need.
struct Parts {
    wiring: Wiring,
    /// An ACLINT instead of a CLINT.
    aclint: bool,
    /// The timer, which the harts' own `time` follows.
    mtimer: Arc<Mtimer>,
    /// The interrupt controller that the table's interrupts are inputs of: its first line.
    plic: OnceLock<Arc<Plic>>,
    serial: OnceLock<Arc<dyn Mmio>>,
}

impl Board for RiscvVirt {
    type Isa = Riscv;
    type Firmware = SbiFirmware;

    const LAYOUT: Layout = Layout {
        isa: load::Isa::Riscv64,
        max_cpus: 8,
        dram: DRAM_BASE,
        rom: (ROM_BASE, ROM_SIZE),
        rules: RISCV_VIRT,
        virtio_slots: VIRTIO_SLOTS,
    };

    fn new(config: &MachineConfig, wiring: Wiring) -> Result<Self, Error> {
        let model = choose_model(config, MODELS, |model| model.name)?;
        config.expect_no_arm_options()?;
        let mtimer = Mtimer::new(TIMEBASE_HZ, &wiring.events, wiring.cpu_pins(pin::MTI));
        let (plic, serial) = (OnceLock::new(), OnceLock::new());
        let parts = Parts { wiring, aclint: config.aclint, mtimer, plic, serial };
        let devices = build(TABLE, &parts);
        let builtin_firmware = config.firmware == Firmware::Builtin;
        Ok(Self { model, builtin_firmware, memory: config.memory, parts, devices })
    }

    fn devices(&self) -> &[Built] {
        &self.devices
    }

    fn tree(&self, seeds: &Seeds) -> Tree {
        tree::tree(self, seeds)
    }

    fn vcpu(&self, index: usize) -> Riscv {
        let config = riscv::Config {
            model: *self.model,
            hart_id: index as u64,
            timebase_hz: TIMEBASE_HZ,
            firmware_calls: self.builtin_firmware,
        };
        let Parts { wiring, mtimer, .. } = &self.parts;
        let (timer, mtimer) = (wiring.wake_timer(index), Arc::clone(mtimer));
        Riscv::new(config, Some(Box::new(VirtTimer { timer, mtimer })))
    }

    fn reset(&self, hart: &mut Vcpu<Riscv>, entry: u64, _fdt: u64) {
        riscv::reset(hart);
        hart.state.pc = entry;
    }

    fn firmware(&self) -> Option<SbiFirmware> {
        if !self.builtin_firmware {
            return None;
        }
        let (ext, Parts { wiring, serial, .. }) = (&self.model.ext, &self.parts);
        let config = sbi::Config {
            harts: wiring.group.len(),
            hardware_ad_updates: ext.has(Ext::Svadu) && !ext.has(Ext::Svade),
        };
        Some(SbiFirmware {
            sbi: Sbi::new(config),
            group: Arc::clone(&wiring.group),
            memory: wiring.memory.clone(),
            console: Arc::clone(&wiring.console),
            serial: Arc::clone(serial.get()?),
        })
    }

    fn power_button(&self) -> Option<Arc<Button>> {
        None
    }
}

/// A hart's timer.
struct VirtTimer {
    timer: WakeTimer,
    mtimer: Arc<Mtimer>,
}

impl HartTimer for VirtTimer {
    fn offset(&self) -> u64 {
        self.mtimer.offset()
    }

    fn arm(&self, deadline: Option<u64>) {
        self.timer.arm(deadline);
    }
}

/// A hart's interrupt pins where an interrupt is an edge: the hart itself takes the level away again.
struct HartEdges(Arc<Port>);

impl IrqSink for HartEdges {
    fn set_line(&self, line: u32, level: bool) {
        if level {
            let mask = 1u64.checked_shl(line).unwrap_or(0);
            self.0.set_pins(mask, mask);
        }
    }
}

impl Parts {
    fn irq(&self, slot: &Slot) -> IrqLine {
        match (self.plic.get(), slot.irq) {
            (Some(plic), Some(line)) => IrqLine::new(Arc::clone(plic) as Arc<dyn IrqSink>, line),
            _ => IrqLine::unconnected(),
        }
    }
}

fn plic(parts: &Parts, _: &Slot) -> Option<Made> {
    let (machine, supervisor) = (parts.wiring.cpu_pins(pin::MEI), parts.wiring.cpu_pins(pin::SEI));
    let outputs = machine.into_iter().zip(supervisor).flat_map(|(m, s)| [m, s]).collect();
    let plic = Plic::new(PlicConfig { sources: 96, priority_bits: 3 }, outputs);
    let plic = parts.plic.get_or_init(|| plic);
    shared(Arc::clone(plic) as Arc<dyn Mmio>, plic.describe())
}

fn clint(parts: &Parts, _: &Slot) -> Option<Made> {
    if parts.aclint {
        return None;
    }
    let clint = Clint::new(Mswi::new(parts.wiring.cpu_pins(pin::MSI)), Arc::clone(&parts.mtimer));
    let node = clint.describe();
    shared(clint, node)
}

fn mswi(parts: &Parts, _: &Slot) -> Option<Made> {
    let device = parts.aclint.then(|| Mswi::new(parts.wiring.cpu_pins(pin::MSI)))?;
    let node = device.describe();
    shared(device, node)
}

fn mtimer(parts: &Parts, _: &Slot) -> Option<Made> {
    let device = parts.aclint.then(|| Arc::clone(&parts.mtimer))?;
    let node = device.describe();
    shared(device, node)
}

fn sswi(parts: &Parts, _: &Slot) -> Option<Made> {
    // Priv., "Supervisor Interrupt (sip and sie) Registers": SSIP is a bit of the hart's that an edge sets.
    let edge = |port| IrqLine::new(Arc::new(HartEdges(Arc::clone(port))), pin::SSI);
    let ports = parts.wiring.group.ports().iter();
    let device = parts.aclint.then(|| Sswi::new(ports.map(edge).collect()))?;
    let node = device.describe();
    shared(device, node)
}

fn test_finisher(parts: &Parts, _: &Slot) -> Option<Made> {
    let device = TestFinisher::new(Arc::clone(&parts.wiring.power));
    let node = device.describe();
    shared(device, node)
}

fn rtc(parts: &Parts, slot: &Slot) -> Option<Made> {
    let device = GoldfishRtc::new(parts.irq(slot), &parts.wiring.events, parts.wiring.epoch_ns);
    let node = device.describe();
    shared(device, node)
}

fn serial(parts: &Parts, slot: &Slot) -> Option<Made> {
    let device = Ns16550::new(parts.irq(slot), Arc::clone(&parts.wiring.console), 3_686_400);
    let node = device.describe();
    parts.serial.get_or_init(|| Arc::clone(&device) as Arc<dyn Mmio>);
    shared(device, node)
}

fn virtio(parts: &Parts, slot: &Slot) -> Option<Made> {
    let (registers, node) = super::virtio(&parts.wiring, slot, parts.irq(slot));
    Some((registers, Some(node)))
}
