//! The aarch64 `virt` board.
//!
//! ```text
//! 0x0000_0000  flash, read-only          0x0900_0000  UART (PL011)
//! 0x0800_0000  GIC distributor           0x0901_0000  RTC (PL031)
//! 0x0801_0000  GICv2 CPU interface       0x0902_0000  fw_cfg
//! 0x0802_0000  GICv2m frame              0x0903_0000  GPIO (PL061): power button
//! 0x0803_0000  GICv2 virtual control     0x0a00_0000  32 virtio-mmio slots, 512 bytes each
//! 0x0804_0000  GICv2 virtual interface   0x4000_0000  memory
//! 0x0808_0000  GICv3 ITS
//! 0x080a_0000  GICv3 redistributors
//! ```
//!
//! Addresses and interrupt numbers are those of QEMU's `virt` machine, so that images made for it run unmodified. Not
//! here yet: flash that can be written, and PCIe. With Secure state there is EL3, but memory and
//! devices are the same in both states, and the GIC knows one only (GICD_CTLR.DS).

use std::sync::{Arc, OnceLock};

use devices::backend::entropy::{Entropy, HostEntropy};
use devices::gpio::button::Button;
use devices::gpio::pl061::Pl061;
use devices::intc::gic::its::Its;
use devices::intc::gic::v2::GicV2;
use devices::intc::gic::v2m::V2mFrame;
use devices::intc::gic::v3::{self, GicV3, SystemRegisters};
use devices::intc::gic::{GicConfig, Output, Outputs, Security, Version};
use devices::rtc::pl031::Pl031;
use devices::uart::pl011::Pl011;
use emu_core::device::{IrqLine, IrqSink, Mmio, PropValue};
use emu_core::exec::Vcpu;
use firmware::boot::rules::AARCH64_VIRT;
use firmware::fdt::Tree;
use firmware::load;
use firmware::smccc::Smccc;
use frontends::aarch64::gic::{CpuInterface, Requester, pin};
use frontends::aarch64::pauth::Algorithm;
use frontends::aarch64::{self, Aarch64, Alarm, Conduit, MODELS, Model, Timer, X};

use self::psci::PsciFirmware;
use super::{
    Board, Built, Entry, Layout, Made, Registers, Seeds, Slot, WakeTimer, Wiring, build, cpu_pin, shared,
};
use crate::config::{Firmware, GicVersion, MachineConfig, choose_model};
use crate::error::Error;

mod psci;
mod tree;

/// Where memory begins.
const DRAM_BASE: u64 = 0x4000_0000;
/// Bytes of each of two banks of flash at the beginning of the address space. Firmware is in the first, and looks for its
/// settings in the second, which is empty.
const FLASH_BANK: u64 = 64 << 20;
/// How many virtio devices fit.
const VIRTIO_SLOTS: usize = 32;
/// How many shared interrupts there are.
const SPIS: u32 = 256;
/// The shared interrupts of the GICv2m frame.
const MESSAGES: std::ops::Range<u32> = 48..112;
/// The GPIO line of the power button.
const POWER_BUTTON: u32 = 3;

/// Private interrupts besides the timers', by INTID (Arm Base System Architecture, DEN0094, §3.4).
mod ppi {
    pub const PMU: u32 = 23;
    pub const MAINTENANCE: u32 = 25;
}

const TABLE: &[Entry<Parts>] = &[
    Entry::device("gicd", 0x0800_0000, 0x1_0000, gicd),
    Entry::device("gicc", 0x0801_0000, 0x1_0000, gicc),
    Entry::device("v2m", 0x0802_0000, 0x1000, v2m),
    Entry::device("gich", 0x0803_0000, 0x1_0000, gich),
    Entry::device("gicv", 0x0804_0000, 0x1_0000, gicv),
    Entry::device("its", 0x0808_0000, 0x2_0000, its),
    Entry::device("gicr", 0x080a_0000, 0xf6_0000, gicr),
    Entry::device("uart", 0x0900_0000, 0x1000, uart).irq(1),
    Entry::device("rtc", 0x0901_0000, 0x1000, rtc).irq(2),
    Entry::device("fw-cfg", 0x0902_0000, devices::fw_cfg::spec::SIZE, |parts, _| {
        super::fw_cfg(&parts.wiring)
    }),
    Entry::device("gpio", 0x0903_0000, 0x1000, gpio).irq(7),
    Entry::device("virtio", 0x0a00_0000, 0x200, virtio).irq(16).count(VIRTIO_SLOTS),
];

/// The interrupt controller.
enum Gic {
    V2(GicV2),
    V3(GicV3),
}

impl Gic {
    fn inputs(&self) -> Arc<dyn IrqSink> {
        match self {
            Self::V2(gic) => gic.inputs(),
            Self::V3(gic) => gic.inputs(),
        }
    }

    fn ppi(&self, cpu: usize, intid: u32) -> IrqLine {
        match self {
            Self::V2(gic) => gic.ppi(cpu, intid),
            Self::V3(gic) => gic.ppi(cpu, intid),
        }
    }

    fn v2(&self) -> Option<&GicV2> {
        if let Self::V2(gic) = self { Some(gic) } else { None }
    }

    fn v3(&self) -> Option<&GicV3> {
        if let Self::V3(gic) = self { Some(gic) } else { None }
    }
}

/// The board.
pub struct Aarch64Virt {
    model: &'static Model,
    memory: u64,
    /// How the built-in firmware is called, if there is any.
    conduit: Option<Conduit>,
    secure: bool,
    parts: Parts,
    devices: Vec<Built>,
}

/// What the devices are built from, and of them what others need.
struct Parts {
    wiring: Wiring,
    gic: Gic,
    /// Set when the GPIO controller is built, which it is connected to.
    button: OnceLock<Arc<Button>>,
    virtualization: bool,
}

impl Board for Aarch64Virt {
    type Isa = Aarch64;
    type Firmware = PsciFirmware;

    const LAYOUT: Layout = Layout {
        isa: load::Isa::Aarch64,
        max_cpus: 8,
        dram: DRAM_BASE,
        rom: (0, 2 * FLASH_BANK),
        rules: AARCH64_VIRT,
        virtio_slots: VIRTIO_SLOTS,
    };

    fn new(config: &MachineConfig, wiring: Wiring) -> Result<Self, Error> {
        let model = choose_model(config, MODELS, |model| model.name)?;
        config.expect_no_riscv_options()?;
        let MachineConfig { virtualization, secure, .. } = *config;
        // Without a firmware, or with one at EL3, all CPUs begin at once.
        let conduit = match &config.firmware {
            Firmware::None => None,
            Firmware::File(_) if secure => None,
            _ if virtualization => Some(Conduit::Smc),
            _ => Some(Conduit::Hvc),
        };
        let gic = gic(config.gic.unwrap_or(GicVersion::V3), virtualization, &wiring);
        let parts = Parts { wiring, gic, button: OnceLock::new(), virtualization };
        let devices = build(TABLE, &parts);
        Ok(Self { model, memory: config.memory, conduit, secure, parts, devices })
    }

    fn devices(&self) -> &[Built] {
        &self.devices
    }

    fn tree(&self, seeds: &Seeds) -> Tree {
        tree::tree(self, seeds)
    }

    fn vcpu(&self, index: usize) -> Aarch64 {
        let Parts { wiring, gic, virtualization, .. } = &self.parts;
        let config = aarch64::Config {
            model: *self.model,
            pauth: Algorithm::default(),
            mpidr: index as u64,
            conduit: self.conduit,
            el2: *virtualization,
            el3: self.secure,
        };
        let registers = gic.v3().map(|gic| GicRegisters(gic.system_registers(index)));
        let wiring = aarch64::Wiring {
            gic: registers.map(|registers| Box::new(registers) as Box<dyn CpuInterface>),
            timers: Some(Timer::ALL.map(|timer| gic.ppi(index, timer.interrupt()))),
            pmu: Some(gic.ppi(index, ppi::PMU)),
            alarm: Some(Box::new(CpuAlarm(wiring.wake_timer(index)))),
            random: if wiring.repeatable { None } else { Some(Box::new(random)) },
        };
        Aarch64::connected(config, wiring)
    }

    fn reset(&self, cpu: &mut Vcpu<Aarch64>, entry: u64, fdt: u64) {
        aarch64::reset(cpu);
        cpu.state.pc = entry;
        cpu.state.slots[usize::from(X)] = fdt;
    }

    fn firmware(&self) -> Option<PsciFirmware> {
        self.conduit?;
        let Wiring { group, memory, .. } = &self.parts.wiring;
        let (smccc, group, memory) = (Smccc::new(group.len()), Arc::clone(group), memory.clone());
        let el = if self.parts.virtualization { 2 } else { 1 };
        let repeatable = self.parts.wiring.repeatable;
        Some(PsciFirmware { smccc, repeatable, group, memory, el })
    }

    fn power_button(&self) -> Option<Arc<Button>> {
        self.parts.button.get().cloned()
    }
}

/// What wakes a CPU when one of its timers is due.
struct CpuAlarm(WakeTimer);

impl Alarm for CpuAlarm {
    fn arm(&self, deadline: Option<u64>) {
        self.0.arm(deadline);
    }
}

/// A random number of the host's.
fn random() -> Option<u64> {
    let mut bytes = [0; 8];
    (HostEntropy.fill(&mut bytes) == bytes.len()).then(|| u64::from_ne_bytes(bytes))
}

/// The system registers of a GICv3, as a vCPU reaches them.
struct GicRegisters(SystemRegisters);

fn requester(Requester { el, secure, shifted, virt }: Requester) -> v3::Requester {
    v3::Requester { el, secure, shifted, virt }
}

impl CpuInterface for GicRegisters {
    fn read(&self, register: u16, by: Requester) -> Option<u64> {
        self.0.read(register, requester(by))
    }

    fn write(&self, register: u16, by: Requester, value: u64) -> Option<()> {
        self.0.write(register, requester(by), value)
    }
}

fn gic(version: GicVersion, virtualization: bool, wiring: &Wiring) -> Gic {
    let pin_of = |output| match output {
        Output::Irq => pin::IRQ,
        Output::Fiq => pin::FIQ,
        Output::Virq => pin::VIRQ,
        Output::Vfiq => pin::VFIQ,
        Output::Group1NonSecure => pin::GROUP1_NONSECURE,
        Output::Group1Secure => pin::GROUP1_SECURE,
    };
    let ports = wiring.group.ports().iter();
    let outputs = ports.map(|port| Outputs::from_fn(|output| cpu_pin(port, pin_of(output)))).collect();
    let config = |version| GicConfig {
        version,
        spis: SPIS,
        security: false,
        maintenance: virtualization.then_some(ppi::MAINTENANCE),
    };
    match version {
        GicVersion::V2 => Gic::V2(GicV2::new(config(Version::V2), outputs)),
        GicVersion::V3 => Gic::V3(GicV3::new(config(Version::V3), outputs, Some(wiring.memory.clone()))),
    }
}

impl Parts {
    fn irq(&self, slot: &Slot) -> IrqLine {
        slot.irq.map_or_else(IrqLine::unconnected, |line| IrqLine::new(self.gic.inputs(), line))
    }

    /// Registers of a GICv2 that differ by CPU, without a node of their own.
    fn per_cpu(&self, registers: impl Fn(usize) -> Arc<dyn Mmio>) -> Registers {
        Registers::PerCpu((0..self.wiring.group.len()).map(registers).collect())
    }
}

fn gicd(parts: &Parts, _: &Slot) -> Option<Made> {
    Some(match &parts.gic {
        Gic::V2(gic) => {
            let registers = parts.per_cpu(|cpu| gic.distributor(cpu, Security::Secure));
            (registers, Some(gic.describe()))
        }
        Gic::V3(gic) => (Registers::Shared(gic.distributor(Security::Secure)), Some(gic.describe())),
    })
}

fn gicc(parts: &Parts, _: &Slot) -> Option<Made> {
    let gic = parts.gic.v2()?;
    Some((parts.per_cpu(|cpu| gic.cpu_interface(cpu, Security::Secure)), None))
}

fn v2m(parts: &Parts, _: &Slot) -> Option<Made> {
    let device = V2mFrame::new(parts.gic.v2()?.inputs(), MESSAGES);
    let node = device.describe();
    shared(device, node)
}

fn gich(parts: &Parts, _: &Slot) -> Option<Made> {
    let gic = parts.gic.v2().filter(|_| parts.virtualization)?;
    Some((parts.per_cpu(|cpu| gic.virtual_control(cpu)), None))
}

fn gicv(parts: &Parts, _: &Slot) -> Option<Made> {
    let gic = parts.gic.v2().filter(|_| parts.virtualization)?;
    Some((parts.per_cpu(|cpu| gic.virtual_interface(cpu)), None))
}

fn its(parts: &Parts, _: &Slot) -> Option<Made> {
    let device = Its::new(parts.gic.v3()?, &parts.wiring.events)?;
    let node = device.describe();
    shared(device, node)
}

fn gicr(parts: &Parts, _: &Slot) -> Option<Made> {
    Some((Registers::Shared(parts.gic.v3()?.redistributors(Security::Secure)), None))
}

fn uart(parts: &Parts, slot: &Slot) -> Option<Made> {
    let device = Pl011::new(parts.irq(slot), Arc::clone(&parts.wiring.console));
    let node = device.describe();
    shared(device, node)
}

fn rtc(parts: &Parts, slot: &Slot) -> Option<Made> {
    let device = Pl031::new(parts.irq(slot), &parts.wiring.events, parts.wiring.epoch_ns);
    let node = device.describe();
    shared(device, node)
}

fn gpio(parts: &Parts, slot: &Slot) -> Option<Made> {
    let device = Pl061::new(parts.irq(slot), std::array::from_fn(|_| IrqLine::unconnected()));
    let pressed = IrqLine::new(Arc::clone(&device) as Arc<dyn IrqSink>, POWER_BUTTON);
    parts.button.get_or_init(|| Arc::new(Button::new(pressed, &parts.wiring.events)));
    let node = device.describe();
    shared(device, node)
}

fn virtio(parts: &Parts, slot: &Slot) -> Option<Made> {
    let (registers, node) = super::virtio(&parts.wiring, slot, parts.irq(slot));
    Some((registers, Some(node.prop("dma-coherent", PropValue::Empty))))
}
