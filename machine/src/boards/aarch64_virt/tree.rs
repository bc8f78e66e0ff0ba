//! The board's device tree, derived from its devices.

use emu_core::device::PropValue;
use firmware::fdt::{Cell, Node, Tree};
use firmware::smccc::function;
use frontends::aarch64::{Conduit, Timer};

use super::super::{Built, Seeds, cells_64, common_nodes};
use super::{Aarch64Virt, DRAM_BASE, Gic, POWER_BUTTON, ppi};

/// Interrupt specifiers of a GIC (the device tree bindings `arm,gic` and `arm,gic-v3`): kind, number, trigger.
const SPI: u32 = 0;
const PPI: u32 = 1;
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// The clock of all PrimeCells.
const CLOCK_HZ: u32 = 24_000_000;
/// The input event code of a power key.
const KEY_POWER: u32 = 116;

/// The board's device tree.
pub fn tree(board: &Aarch64Virt, seeds: &Seeds) -> Tree {
    let mut root = Node::new("")
        .prop("#address-cells", 2u32)
        .prop("#size-cells", 2u32)
        .prop("compatible", "linux,dummy-virt")
        .prop("model", "linux,dummy-virt")
        .prop("interrupt-parent", PropValue::Phandle("intc".into()))
        .prop("dma-coherent", PropValue::Empty);
    let uart = device(board, "uart").map(|uart| format!("/pl011@{:x}", uart.base));
    if let Some(uart) = &uart {
        root.push(Node::new("aliases").prop("serial0", uart.as_str()));
    }
    let [mut chosen, memory] = common_nodes(seeds, uart.as_deref(), &(DRAM_BASE..DRAM_BASE + board.memory));
    chosen.set("kaslr-seed", u64::from_le_bytes(seeds.kaslr));
    root.push(chosen);
    root.push(memory);
    if let Some(conduit) = board.conduit {
        root.push(psci(conduit));
    }
    root.push(cpus(board));
    root.push(timer(board));
    root.push(
        Node::new("pmu")
            .prop("compatible", "arm,armv8-pmuv3")
            .prop("interrupts", private(board, &[ppi::PMU])),
    );
    root.push(
        Node::new("apb-pclk")
            .label("clock")
            .prop("compatible", "fixed-clock")
            .prop("#clock-cells", 0u32)
            .prop("clock-frequency", CLOCK_HZ)
            .prop("clock-output-names", "clk24mhz"),
    );
    if let Some(intc) = interrupt_controller(board) {
        root.push(intc);
    }
    for built in &board.devices {
        if !matches!(built.name, "gicd" | "its" | "v2m")
            && let Some(node) = device_node(built)
        {
            root.push(node);
        }
    }
    let gpios: Vec<Cell> = vec!["gpio".into(), POWER_BUTTON.into(), 0.into()];
    let button = Node::new("poweroff")
        .prop("label", "GPIO Key Poweroff")
        .prop("linux,code", KEY_POWER)
        .prop("gpios", gpios);
    root.push(Node::new("gpio-keys").prop("compatible", "gpio-keys").child(button));
    Tree::new(root)
}

fn device<'a>(board: &'a Aarch64Virt, name: &str) -> Option<&'a Built> {
    board.devices.iter().find(|device| device.name == name)
}

/// Specifiers of private interrupts, which a GICv2 wants with the CPUs that they are for.
fn private(board: &Aarch64Virt, intids: &[u32]) -> PropValue {
    let cpus = match board.parts.gic {
        Gic::V2(_) => ((1 << board.parts.wiring.group.len()) - 1) << 8,
        Gic::V3(_) => 0,
    };
    PropValue::Cells(intids.iter().flat_map(|intid| [PPI, intid - 16, cpus | LEVEL_HIGH]).collect())
}

fn psci(conduit: Conduit) -> Node {
    let compatible = ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"].map(str::to_owned).to_vec();
    let method = match conduit {
        Conduit::Hvc => "hvc",
        Conduit::Smc => "smc",
    };
    Node::new("psci")
        .prop("compatible", PropValue::Strs(compatible))
        .prop("method", method)
        .prop("cpu_suspend", function::CPU_SUSPEND)
        .prop("cpu_off", function::CPU_OFF)
        .prop("cpu_on", function::CPU_ON)
        .prop("migrate", function::MIGRATE)
}

fn cpus(board: &Aarch64Virt) -> Node {
    let mut cpus = Node::new("cpus").prop("#address-cells", 1u32).prop("#size-cells", 0u32);
    let mut cluster = Node::new("cluster0");
    for cpu in 0..board.parts.wiring.group.len() {
        let label = format!("cpu{cpu}");
        let mut node = Node::new(format!("cpu@{cpu:x}"))
            .label(label.as_str())
            .prop("device_type", "cpu")
            .prop("compatible", "arm,armv8")
            .prop("reg", cpu as u32);
        if board.conduit.is_some() {
            node.set("enable-method", "psci");
        }
        cpus.push(node);
        cluster.push(Node::new(format!("core{cpu}")).prop("cpu", vec![Cell::from(label.as_str())]));
    }
    cpus.child(Node::new("cpu-map").child(Node::new("socket0").child(cluster)))
}

fn timer(board: &Aarch64Virt) -> Node {
    let mut timers = vec![Timer::Secure, Timer::Physical, Timer::Virtual, Timer::HypPhysical];
    if board.parts.virtualization {
        timers.push(Timer::HypVirtual);
    }
    let lines: Vec<u32> = timers.into_iter().map(Timer::interrupt).collect();
    let compatible = ["arm,armv8-timer", "arm,armv7-timer"].map(str::to_owned).to_vec();
    Node::new("timer")
        .prop("compatible", PropValue::Strs(compatible))
        .prop("interrupts", private(board, &lines))
        .prop("always-on", PropValue::Empty)
}

/// The node of the GIC has the addresses of all its parts, and the message controllers as children.
fn interrupt_controller(board: &Aarch64Virt) -> Option<Node> {
    const PARTS: [&str; 5] = ["gicd", "gicc", "gicr", "gich", "gicv"];
    let parts = PARTS.iter().filter_map(|name| device(board, name));
    let reg: Vec<u64> = parts.flat_map(|part| [part.base, part.size]).collect();
    let mut node = device(board, "gicd")?
        .tree_node()?
        .label("intc")
        .prop("reg", cells_64(&reg))
        .prop("#address-cells", 2u32)
        .prop("#size-cells", 2u32)
        .prop("ranges", PropValue::Empty);
    if board.parts.virtualization {
        node.set("interrupts", private(board, &[ppi::MAINTENANCE]));
    }
    for message_controller in ["its", "v2m"] {
        if let Some(child) = device(board, message_controller).and_then(Built::tree_node) {
            node.push(child);
        }
    }
    Some(node)
}

fn device_node(built: &Built) -> Option<Node> {
    let mut node = built.tree_node()?;
    if let Some(irq) = built.irq {
        let trigger = if built.name == "virtio" { EDGE_RISING } else { LEVEL_HIGH };
        node.set("interrupts", PropValue::Cells(vec![SPI, irq, trigger]));
    }
    // All are the same one.
    let clocks = match built.node.as_ref()?.props.iter().find(|(name, _)| *name == "clock-names") {
        Some((_, PropValue::Strs(names))) => names.len(),
        Some(_) => 1,
        None => 0,
    };
    if clocks > 0 {
        node.set("clocks", vec![Cell::from("clock"); clocks]);
    }
    Some(node)
}
