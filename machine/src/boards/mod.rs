//! Boards: each one table, from which the bus, the interrupt wiring and the device tree are derived.
//!
//! [`Board`] is what an instruction set and its board add to a machine; everything else is the same for all.

pub mod aarch64_virt;
pub mod riscv_virt;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use devices::backend::chardev::CharBackend;
use devices::fw_cfg::{FwCfg, Items};
use devices::gpio::button::Button;
use emu_core::device::{IrqLine, IrqSink, Mmio, NodeDesc, PowerSink, PropValue};
use emu_core::exec::Vcpu;
use emu_core::mem::{Bus, BusBuilder, GuestMemory, MapError, Ram};
use emu_core::sync::{EventHandle, Group, Port, Timer};
use firmware::boot::rules::Rules;
use firmware::fdt::{Node, Tree};
use firmware::load;

use crate::config::MachineConfig;
use crate::debug::inspect::Inspect;
use crate::error::Error;
use crate::supervisor::BuiltinFirmware;

/// What an instruction set and its board add to a machine.
pub trait Board: Sized + Send + Sync + 'static {
    /// The instruction set.
    type Isa: Inspect;
    /// The firmware that is not guest code.
    type Firmware: BuiltinFirmware<Self::Isa>;

    /// What is fixed about the board.
    const LAYOUT: Layout;

    /// Builds the devices.
    ///
    /// # Errors
    /// A setting is not one of this board's.
    fn new(config: &MachineConfig, wiring: Wiring) -> Result<Self, Error>;

    /// The devices, in the order of the board's table.
    fn devices(&self) -> &[Built];

    /// The device tree, without what the loader adds.
    fn tree(&self, seeds: &Seeds) -> Tree;

    /// The state of vCPU `index`.
    fn vcpu(&self, index: usize) -> Self::Isa;

    /// Puts a vCPU into its reset state, with all privileges, at `entry`; what is started without a firmware finds the
    /// device tree at `fdt`.
    fn reset(&self, vcpu: &mut Vcpu<Self::Isa>, entry: u64, fdt: u64);

    /// The built-in firmware; none if the machine brings its own.
    fn firmware(&self) -> Option<Self::Firmware>;

    /// The power button, if there is one.
    fn power_button(&self) -> Option<Arc<Button>>;
}

/// Random numbers that a kernel is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeds {
    /// For its own random numbers.
    pub rng: [u8; 32],
    /// For where it puts itself, on boards whose boot protocol has that.
    pub kaslr: [u8; 8],
}

/// What is fixed about a board.
pub struct Layout {
    /// What images for it are made for.
    pub isa: load::Isa,
    /// The most CPUs that it takes.
    pub max_cpus: usize,
    /// Where memory begins.
    pub dram: u64,
    /// Its ROM: base and size.
    pub rom: (u64, u64),
    /// Where things go in memory, and how the CPUs start.
    pub rules: Rules,
    /// How many virtio devices fit.
    pub virtio_slots: usize,
}

/// Makes the virtio device of a slot, from its interrupt line.
pub type VirtioSlots = Box<dyn Fn(usize, IrqLine) -> Arc<dyn Mmio> + Send + Sync>;

/// What the devices of a board are connected to.
pub struct Wiring {
    /// All vCPUs.
    pub group: Arc<Group>,
    /// Guest memory.
    pub memory: GuestMemory,
    /// Clock, timers and asynchronous input.
    pub events: EventHandle,
    /// The power switch.
    pub power: Arc<dyn PowerSink>,
    /// The host's side of the serial port.
    pub console: Arc<dyn CharBackend>,
    /// Wall-clock time at machine time zero, in nanoseconds since 1970.
    pub epoch_ns: u64,
    /// No random numbers of the host's reach the guest.
    pub repeatable: bool,
    /// The virtio devices.
    pub virtio: VirtioSlots,
    /// What a firmware is told.
    pub fw_cfg: Items,
}

impl Wiring {
    /// The wire to pin `pin` of each vCPU.
    pub fn cpu_pins(&self, pin: u32) -> Vec<IrqLine> {
        self.group.ports().iter().map(|port| cpu_pin(port, pin)).collect()
    }

    /// A timer that makes vCPU `index` look at its interrupts.
    pub fn wake_timer(&self, index: usize) -> WakeTimer {
        let port = Arc::clone(self.group.port(index));
        WakeTimer(self.events.timer(move || port.interrupt()))
    }
}

/// A vCPU's timer: wakes it through its port.
pub struct WakeTimer(Timer);

impl WakeTimer {
    /// Wakes the vCPU at this machine time (ns), in place of any earlier one.
    pub fn arm(&self, deadline: Option<u64>) {
        match deadline {
            Some(at) => self.0.arm(at),
            None => self.0.disarm(),
        }
    }
}

/// A line of a board's table; `B` is the board while it is built.
pub struct Entry<B> {
    /// The device's name.
    pub name: &'static str,
    /// Guest-physical address of its registers.
    pub base: u64,
    /// Bytes of register space.
    pub size: u64,
    /// Its input of the interrupt controller.
    pub irq: Option<u32>,
    /// The pins of each CPU that it drives, for controllers.
    pub cpu_pins: &'static [u32],
    /// How many of it there are, one behind the other, with ascending interrupts.
    pub count: usize,
    /// Makes one of them, by number; none if the board has it in another configuration only.
    pub make: fn(&B, &Slot) -> Option<Made>,
}

impl<B> Entry<B> {
    /// A device without interrupts.
    pub const fn device(
        name: &'static str,
        base: u64,
        size: u64,
        make: fn(&B, &Slot) -> Option<Made>,
    ) -> Self {
        Self { name, base, size, irq: None, cpu_pins: &[], count: 1, make }
    }

    /// The same with an interrupt.
    pub const fn irq(self, irq: u32) -> Self {
        Self { irq: Some(irq), ..self }
    }

    /// The same, which drives pins of each CPU.
    pub const fn cpu_pins(self, cpu_pins: &'static [u32]) -> Self {
        Self { cpu_pins, ..self }
    }

    /// So many of it.
    pub const fn count(self, count: usize) -> Self {
        Self { count, ..self }
    }
}

/// Which device a table's line makes now.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Its number, of those that the line is for.
    pub index: usize,
    /// Its input of the interrupt controller.
    pub irq: Option<u32>,
}

/// A device's registers.
#[derive(Clone)]
pub enum Registers {
    /// The same for every CPU.
    Shared(Arc<dyn Mmio>),
    /// Each CPU has its own; resetting the first resets all.
    PerCpu(Vec<Arc<dyn Mmio>>),
}

/// What a table's line makes: registers, and the device's own part of the device tree, if the guest is told of it.
pub type Made = (Registers, Option<NodeDesc>);

/// A device with registers that are the same for every CPU, and its part of the device tree.
pub fn shared(device: Arc<dyn Mmio>, node: NodeDesc) -> Option<Made> {
    Some((Registers::Shared(device), Some(node)))
}

/// The virtio device of a slot, on the interrupt line `irq`.
pub fn virtio(wiring: &Wiring, slot: &Slot, irq: IrqLine) -> (Registers, NodeDesc) {
    let device = (wiring.virtio)(slot.index, irq);
    (Registers::Shared(device), NodeDesc::new("virtio_mmio", &["virtio,mmio"]))
}

/// What a firmware is told.
pub fn fw_cfg(wiring: &Wiring) -> Option<Made> {
    let device = FwCfg::new(wiring.fw_cfg.clone(), wiring.memory.clone());
    let node = device.describe();
    shared(device, node)
}

/// A device of a board, as it was built.
pub struct Built {
    /// The name in the board's table.
    pub name: &'static str,
    /// Its number, of those that the table's line is for.
    pub index: usize,
    /// How many these are.
    pub count: usize,
    /// Guest-physical address of its registers.
    pub base: u64,
    /// Bytes of register space.
    pub size: u64,
    /// Its input of the interrupt controller.
    pub irq: Option<u32>,
    /// Its registers.
    pub registers: Registers,
    /// Its own part of the device tree; none if the guest is not told of it.
    pub node: Option<NodeDesc>,
    /// The interrupt pins of each CPU that it drives, for controllers.
    pub cpu_pins: &'static [u32],
}

impl Built {
    /// A name that no other device of the board has.
    pub fn label(&self) -> String {
        if self.count > 1 { format!("{}{}", self.name, self.index) } else { self.name.to_owned() }
    }

    /// Its addresses as a device tree has them.
    pub fn reg(&self) -> PropValue {
        cells_64(&[self.base, self.size])
    }

    /// Its node, with label and addresses; none if the guest is not told of it.
    pub fn tree_node(&self) -> Option<Node> {
        let node = Node::of_device(self.node.as_ref()?, self.base);
        Some(node.prop("reg", self.reg()).label(self.label()))
    }
}

/// Builds every device of a table.
pub fn build<B>(table: &[Entry<B>], board: &B) -> Vec<Built> {
    let mut built = Vec::new();
    for entry in table {
        let Entry { name, size, cpu_pins, count, .. } = *entry;
        for index in 0..count {
            let irq = entry.irq.map(|irq| irq + index as u32);
            if let Some((registers, node)) = (entry.make)(board, &Slot { index, irq }) {
                let base = entry.base + index as u64 * size;
                built.push(Built { name, index, count, base, size, irq, registers, node, cpu_pins });
            }
        }
    }
    built
}

/// The buses of `cpus` CPUs: one for all if they see the same devices.
///
/// # Errors
/// Devices lie over each other, or over memory.
pub fn buses(ram: &Arc<Ram>, devices: &[Built], cpus: usize) -> Result<Vec<Arc<Bus>>, MapError> {
    let differ = devices.iter().any(|device| matches!(device.registers, Registers::PerCpu(_)));
    let bus = |cpu: usize| {
        let mut bus = BusBuilder::new(Arc::clone(ram));
        for device in devices {
            let registers = match &device.registers {
                Registers::Shared(registers) => Some(registers),
                Registers::PerCpu(all) => all.get(cpu),
            };
            if let Some(registers) = registers {
                bus.map(device.label(), device.base, device.size, Arc::clone(registers))?;
            }
        }
        Ok(Arc::new(bus.build()))
    };
    if differ { (0..cpus).map(bus).collect() } else { Ok(vec![bus(0)?; cpus]) }
}

/// A CPU's interrupt pins as an interrupt sink: line n is pin n.
struct CpuPins(Arc<Port>);

impl IrqSink for CpuPins {
    fn set_line(&self, line: u32, level: bool) {
        let mask = 1u64.checked_shl(line).unwrap_or(0);
        self.0.set_pins(mask, if level { mask } else { 0 });
    }
}

/// The wire to pin `pin` of the CPU behind `port`.
pub fn cpu_pin(port: &Arc<Port>, pin: u32) -> IrqLine {
    IrqLine::new(Arc::new(CpuPins(Arc::clone(port))), pin)
}

/// A list of cells that hold 64-bit numbers, high half first.
pub fn cells_64(values: &[u64]) -> PropValue {
    PropValue::Cells(values.iter().flat_map(|v| [(v >> 32) as u32, *v as u32]).collect())
}

/// `/chosen` and `/memory`, which are the same on all boards.
pub fn common_nodes(seeds: &Seeds, stdout: Option<&str>, dram: &Range<u64>) -> [Node; 2] {
    let mut chosen = Node::new("chosen").prop("rng-seed", PropValue::Bytes(seeds.rng.to_vec()));
    if let Some(stdout) = stdout {
        chosen.set("stdout-path", stdout);
    }
    let memory = Node::new(format!("memory@{:x}", dram.start))
        .prop("device_type", "memory")
        .prop("reg", cells_64(&[dram.start, dram.end - dram.start]));
    [chosen, memory]
}
