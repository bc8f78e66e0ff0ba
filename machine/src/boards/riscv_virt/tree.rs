//! The board's device tree, derived from its devices.

use devices::syscon::TestFinisher;
use emu_core::device::PropValue;
use firmware::fdt::{Cell, Node, Tree};
use frontends::riscv::{Model, counters};

use super::super::{Built, Seeds, common_nodes};
use super::{DRAM_BASE, RiscvVirt, SERIAL, TIMEBASE_HZ};

/// The board's device tree.
pub fn tree(board: &RiscvVirt, seeds: &Seeds) -> Tree {
    let mut root = Node::new("")
        .prop("#address-cells", 2u32)
        .prop("#size-cells", 2u32)
        .prop("compatible", "riscv-virtio")
        .prop("model", "riscv-virtio,ferry");
    let serial = board.devices.iter().find(|d| d.name == SERIAL);
    let serial = serial.map(|d| format!("/soc/serial@{:x}", d.base));
    if let Some(serial) = &serial {
        root.push(Node::new("aliases").prop("serial0", serial.as_str()));
    }
    for node in common_nodes(seeds, serial.as_deref(), &(DRAM_BASE..DRAM_BASE + board.memory)) {
        root.push(node);
    }
    let harts = board.parts.wiring.group.len();
    root.push(cpus(board.model, harts));
    root.push(pmu(board.model));
    for node in TestFinisher::describe_power("test") {
        let compatible = PropValue::Strs(node.compatible.iter().map(|&s| s.to_owned()).collect());
        let fdt = Node::new(node.name).prop("compatible", compatible);
        root.push(node.props.into_iter().fold(fdt, |fdt, (name, value)| fdt.prop(name, value)));
    }
    let mut soc = Node::new("soc")
        .prop("#address-cells", 2u32)
        .prop("#size-cells", 2u32)
        .prop("compatible", "simple-bus")
        .prop("ranges", PropValue::Empty);
    for device in &board.devices {
        match (device_node(device, harts), device.name) {
            // Where firmware made for QEMU's board looks for it.
            (Some(node), "fw-cfg") => root.push(node),
            (Some(node), _) => soc.push(node),
            (None, _) => {}
        }
    }
    root.push(soc);
    Tree::new(root)
}

/// What the counters count, for firmware (the device tree binding `riscv,pmu`): events by their SBI numbers, the
/// counters that can count each, and the value of `mhpmevent` for it.
fn pmu(model: &Model) -> Node {
    const EVENTS: [(u32, u64, usize); 2] = [
        (1, counters::event::CYCLES, counters::CYCLE),
        (2, counters::event::INSTRUCTIONS, counters::INSTRET),
    ];
    let cells = |of: fn(u32, u32, u32) -> [u32; 3]| {
        let triple =
            EVENTS.map(|(event, value, fixed)| of(event, value as u32, model.hpm_mask() | 1 << fixed));
        PropValue::Cells(triple.concat())
    };
    Node::new("pmu")
        .prop("compatible", "riscv,pmu")
        .prop("riscv,event-to-mhpmevent", cells(|event, value, _| [event, 0, value]))
        .prop("riscv,event-to-mhpmcounters", cells(|event, _, counters| [event, event, counters]))
}

fn cpus(model: &Model, harts: usize) -> Node {
    let mut cpus = Node::new("cpus")
        .prop("#address-cells", 1u32)
        .prop("#size-cells", 0u32)
        .prop("timebase-frequency", TIMEBASE_HZ as u32);
    let extensions = model.isa_extensions().into_iter().map(str::to_owned).collect();
    for hart in 0..harts {
        let controller = Node::new("interrupt-controller")
            .label(hart_controller(hart))
            .prop("#interrupt-cells", 1u32)
            .prop("interrupt-controller", PropValue::Empty)
            .prop("compatible", "riscv,cpu-intc");
        let mut cpu = Node::new(format!("cpu@{hart:x}"))
            .label(format!("cpu{hart}"))
            .prop("device_type", "cpu")
            .prop("reg", hart as u32)
            .prop("status", "okay")
            .prop("compatible", "riscv")
            .prop("riscv,isa-base", "rv64i")
            .prop("riscv,isa-extensions", PropValue::Strs(Vec::clone(&extensions)))
            .prop("riscv,isa", model.isa_string().as_str())
            .prop("mmu-type", model.paging.mmu_type());
        for block in ["riscv,cbom-block-size", "riscv,cboz-block-size", "riscv,cbop-block-size"] {
            cpu.set(block, frontends::riscv::CACHE_BLOCK as u32);
        }
        cpus.push(cpu.child(controller));
    }
    let mut cluster = Node::new("cluster0");
    for hart in 0..harts {
        cluster.push(
            Node::new(format!("core{hart}")).prop("cpu", vec![Cell::from(format!("cpu{hart}").as_str())]),
        );
    }
    cpus.child(Node::new("cpu-map").child(cluster))
}

fn device_node(device: &Built, harts: usize) -> Option<Node> {
    let mut node = device.tree_node()?;
    if let Some(irq) = device.irq {
        node.set("interrupts", irq);
        node.set("interrupt-parent", PropValue::Phandle("plic".into()));
    }
    if !device.cpu_pins.is_empty() {
        let pins = (0..harts).flat_map(|hart| device.cpu_pins.iter().map(move |pin| (hart, *pin)));
        let cells =
            pins.flat_map(|(hart, pin)| [Cell::from(hart_controller(hart).as_str()), Cell::from(pin)]);
        node.set("interrupts-extended", cells.collect::<Vec<_>>());
    }
    Some(node)
}

fn hart_controller(hart: usize) -> String {
    format!("cpu{hart}_intc")
}
