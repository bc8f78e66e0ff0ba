//! The device trees of the boards, compared with files: `BLESS=1 cargo test -p machine --lib` writes them anew.

use std::path::Path;
use std::sync::Arc;

use devices::backend::chardev::NullChardev;
use devices::virtio::transport::mmio::{MmioVersion, VirtioMmio};
use emu_core::device::PowerRequest;
use emu_core::exec::Vcpu;
use emu_core::mem::RamBuilder;
use emu_core::sync::EventLoop;
use emu_core::time::Clock;
use firmware::fdt::{Tree, dump};

use super::aarch64_virt::Aarch64Virt;
use super::riscv_virt::RiscvVirt;
use super::*;
use crate::config::{Arch, Firmware, GicVersion};

struct NoPower;

impl PowerSink for NoPower {
    fn request(&self, _: PowerRequest) {}
}

/// The board, and the device tree that it gives a guest.
fn board<B: Board>(config: &MachineConfig) -> (B, Tree) {
    let events = EventLoop::start(Clock::real_time()).unwrap();
    let layout = B::LAYOUT;
    let ram = RamBuilder::new().region("memory", layout.dram, config.memory, true).unwrap().build().unwrap();
    let ram = Arc::new(ram);
    let memory = ram.guest_memory().unwrap();
    let slots = memory.clone();
    let wiring = Wiring {
        group: Arc::new(Group::new(config.cpus)),
        memory,
        events: events.handle(),
        power: Arc::new(NoPower),
        console: Arc::new(NullChardev),
        epoch_ns: 0,
        repeatable: true,
        virtio: Box::new(move |_, irq| VirtioMmio::new(MmioVersion::Modern, None, slots.clone(), irq)),
        fw_cfg: Items::new(config.cpus as u16),
    };
    let board = B::new(config, wiring).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(buses(&ram, board.devices(), config.cpus).unwrap().len(), config.cpus);
    let tree = board.tree(&Seeds::default());
    (board, tree)
}

/// Compares what the guest reads with a file.
fn check<B: Board>(file: &str, config: &MachineConfig) {
    let (_, tree) = board::<B>(config);
    let text = dump(&tree.to_blob().unwrap()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/boards").join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(golden.lines()).find(|(new, old)| new != old);
    assert!(text == golden, "{file} differs, first in {differs:?}: look at the difference, then set BLESS=1");
}

fn config(arch: Arch, cpus: usize) -> MachineConfig {
    MachineConfig { cpus, ..MachineConfig::new(arch) }
}

#[test]
fn riscv_virt() {
    check::<RiscvVirt>("riscv_virt/clint.dts", &config(Arch::Riscv64, 2));
    let aclint = MachineConfig { aclint: true, ..config(Arch::Riscv64, 1) };
    check::<RiscvVirt>("riscv_virt/aclint.dts", &aclint);
}

#[test]
fn aarch64_virt() {
    check::<Aarch64Virt>("aarch64_virt/gicv3.dts", &config(Arch::Aarch64, 2));
    let gic = Some(GicVersion::V2);
    check::<Aarch64Virt>("aarch64_virt/gicv2.dts", &MachineConfig { gic, ..config(Arch::Aarch64, 2) });
    let hypervisor = MachineConfig { virtualization: true, gic, ..config(Arch::Aarch64, 1) };
    check::<Aarch64Virt>("aarch64_virt/gicv2-virtualization.dts", &hypervisor);
    let bare = MachineConfig { firmware: Firmware::None, ..config(Arch::Aarch64, 1) };
    let (_, tree) = board::<Aarch64Virt>(&bare);
    assert!(tree.root.find("psci").is_none(), "nobody answers calls");
}

#[test]
fn settings_of_other_boards_are_refused() {
    let refused = |config: &MachineConfig| match config.arch {
        Arch::Riscv64 => config.expect_no_arm_options().is_err(),
        Arch::Aarch64 => config.expect_no_riscv_options().is_err(),
    };
    assert!(!refused(&config(Arch::Riscv64, 1)) && !refused(&config(Arch::Aarch64, 1)));
    assert!(refused(&MachineConfig { aclint: true, ..config(Arch::Aarch64, 1) }));
    assert!(refused(&MachineConfig { virtualization: true, ..config(Arch::Riscv64, 1) }));
    assert!(refused(&MachineConfig { gic: Some(GicVersion::V3), ..config(Arch::Riscv64, 1) }));
}

/// Every CPU's registers of a GICv2 are its own.
#[test]
fn a_gicv2_tells_cpus_apart() {
    use emu_core::device::Width;

    let gicv2 = MachineConfig { gic: Some(GicVersion::V2), ..config(Arch::Aarch64, 3) };
    let (board, _) = board::<Aarch64Virt>(&gicv2);
    let gicd = board.devices().iter().find(|device| device.name == "gicd").unwrap();
    let Registers::PerCpu(views) = &gicd.registers else { panic!("one view for all") };
    let targets: Vec<u64> = views.iter().map(|view| view.read(0x800, Width::Byte).unwrap()).collect();
    assert_eq!(targets, [1, 2, 4]);
}

/// A vCPU of a board can be made, and starts where it is told.
fn starts<B: Board>(arch: Arch) {
    let (board, _) = board::<B>(&config(arch, 1));
    let ram =
        Arc::new(RamBuilder::new().region("memory", B::LAYOUT.dram, 1 << 20, true).unwrap().build().unwrap());
    let parts = emu_core::exec::VcpuParts {
        index: 0,
        bus: Arc::new(BusBuilder::new(ram).build()),
        group: Arc::new(Group::new(1)),
        blocks: Arc::default(),
        clock: Clock::real_time(),
    };
    let mut vcpu = Vcpu::new(board.vcpu(0), parts);
    board.reset(&mut vcpu, B::LAYOUT.dram, 0);
    assert_eq!(vcpu.state.pc, B::LAYOUT.dram);
}

#[test]
fn vcpus_start_where_they_are_told() {
    starts::<RiscvVirt>(Arch::Riscv64);
    starts::<Aarch64Virt>(Arch::Aarch64);
}
