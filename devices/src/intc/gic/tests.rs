//! What the tests of both versions share, and tests of the parts that are not registers.

use std::sync::Arc;

use super::group::{Group, Groups};
use super::interface::{IDLE, Interface, Pending, from_shifted_view, shifted_view};
use super::spec::{Bit, Register};
use super::virt::ListRegister;
use super::*;
use crate::testing::{Lines, Random};

/// A configuration with 64 shared interrupts, one Security state and no virtual interface.
pub(super) const PLAIN: GicConfig =
    GicConfig { version: Version::V2, spis: 64, security: false, maintenance: None };
/// The maintenance interrupt of configurations that have one.
pub(super) const MAINTENANCE: u32 = 25;

/// Records the pins of several CPUs.
pub(super) struct Pins {
    lines: Arc<Lines>,
}

impl Pins {
    pub(super) fn new() -> Self {
        Self { lines: Lines::new() }
    }

    pub(super) fn outputs(&self, cpus: usize) -> Vec<Outputs> {
        let line = |cpu: usize, output: Output| self.lines.line((cpu * 8 + output as usize) as u32);
        (0..cpus).map(|cpu| Outputs::from_fn(|output| line(cpu, output))).collect()
    }

    /// The outputs of `cpu` that are high.
    pub(super) fn high(&self, cpu: usize) -> Vec<Output> {
        let level = |output: &Output| self.lines.level((cpu * 8 + *output as usize) as u32);
        Output::ALL.into_iter().filter(level).collect()
    }

    pub(super) fn irq(&self, cpu: usize) -> bool {
        self.high(cpu).contains(&Output::Irq)
    }
}

/// Random use of a GIC: input lines go up and down, and `access` does what it likes.
pub(super) fn disturb(inputs: &dyn IrqSink, ppi: &IrqLine, seed: u64, mut access: impl FnMut(&mut Random)) {
    let mut random = Random(seed);
    for _ in 0..200_000 {
        match random.below(8) {
            0 => inputs.set_line(random.below(70) as u32, random.below(2) == 0),
            1 => ppi.set(random.below(2) == 0),
            _ => access(&mut random),
        }
    }
}

#[test]
fn the_map_of_common_registers() {
    let bits = |bit, word| Some(Register::Bits(bit, word));
    assert_eq!(Register::at(0x7c), None);
    assert_eq!(Register::at(0x80), bits(Bit::Group, 0));
    assert_eq!(Register::at(0x104), bits(Bit::SetEnable, 1));
    assert_eq!(Register::at(0x1fc), bits(Bit::ClearEnable, 31));
    assert_eq!(Register::at(0x200), bits(Bit::SetPending, 0));
    assert_eq!(Register::at(0x284), bits(Bit::ClearPending, 1));
    assert_eq!(Register::at(0x308), bits(Bit::SetActive, 2));
    assert_eq!(Register::at(0x380), bits(Bit::ClearActive, 0));
    assert_eq!(Register::at(0x421), Some(Register::Priority(33)));
    assert_eq!(Register::at(0x820), Some(Register::Targets(32)));
    assert_eq!(Register::at(0xc08), Some(Register::Config(2)));
    assert_eq!(Register::at(0xd04), bits(Bit::GroupModifier, 1));
    assert_eq!(Register::at(0xe00), None);
}

#[test]
fn priorities_as_nonsecure_software_sees_them() {
    for (real, seen) in [(0x80, 0x00), (0x88, 0x10), (0xf8, 0xf0), (0x40, 0), (0, 0), (IDLE, IDLE)] {
        assert_eq!(shifted_view(real), seen, "{real:#x}");
    }
    for (written, real) in [(0, 0x80), (0x10, 0x88), (0xff, 0xf8), (0x0f, 0x80)] {
        assert_eq!(from_shifted_view(written), real, "{written:#x}");
    }
}

#[test]
fn binary_points_decide_about_preemption() {
    // Binary point, priority that runs, priority that comes, and whether that preempts (IHI 0069H, table 4-8).
    let zero =
        [(2, 0x80, 0x78, true), (2, 0x80, 0x80, false), (3, 0x80, 0x88, false), (3, 0x88, 0x80, false)];
    let more = [(4, 0x98, 0x80, false), (4, 0xa0, 0x98, true), (6, 0x80, 0x78, true), (7, 0xf8, 0, false)];
    for (point, runs, comes, preempts) in zero.into_iter().chain(more) {
        for group in [Group::Zero, Group::One] {
            let mut interface = Interface::new();
            interface.enabled = Groups::ALL;
            interface.set_mask(0xff);
            // Group 1's register says one more; at 7, that is what 6 is for Group 0.
            let value = if group == Group::One { point + 1 } else { point };
            if value > 7 {
                continue;
            }
            interface.set_binary_point(group, value);
            assert!(interface.signals(&Pending { intid: 40, priority: comes, group }), "nothing runs");
            interface.activate(&Pending { intid: 40, priority: runs, group });
            let signals = interface.signals(&Pending { intid: 41, priority: comes, group });
            assert_eq!(signals, preempts, "{point} {runs:#x} {comes:#x} {group:?}");
            interface.drop_priority(group);
            assert_eq!((interface.running(), interface.running_group()), (IDLE, None));
        }
    }
}

#[test]
fn nested_interrupts_run_and_end_in_order() {
    let mut interface = Interface::new();
    interface.enabled = Groups::ALL;
    interface.set_mask(0xf0);
    let pending = |priority, group| Pending { intid: 50, priority, group };
    assert!(!interface.signals(&pending(0xf0, Group::One)), "as low as the mask");
    for (priority, group) in [(0xa0, Group::One), (0x60, Group::Zero), (0x20, Group::OneSecure)] {
        assert!(interface.signals(&pending(priority, group)));
        interface.activate(&pending(priority, group));
        assert_eq!((interface.running(), interface.running_group()), (priority, Some(group)));
    }
    interface.drop_priority(Group::OneSecure);
    assert_eq!(interface.running_group(), Some(Group::Zero));
    interface.drop_priority(Group::Zero);
    assert_eq!((interface.running(), interface.running_group()), (0xa0, Some(Group::One)));
    interface.set_binary_point(Group::One, 0);
    assert_eq!(interface.binary_point(Group::One), 3, "five bits of priority");
}

#[test]
fn list_registers_are_the_same_in_both_layouts() {
    let mut random = Random(9);
    for _ in 0..10_000 {
        let value = random.bits() as u32;
        let entry = ListRegister::from_v2(value);
        let hardware = value >> 31 != 0;
        // Without a hardware interrupt, bits 18:13 mean nothing.
        let kept = if hardware { value } else { value & !(0x3f << 13) } & !(0x7 << 20);
        assert_eq!(entry.to_v2(), kept, "{value:#x}");
        assert_eq!(entry.intid(), value & 0x3ff);
        assert_eq!(entry.source(), if hardware { 0 } else { value >> 10 & 7 });
    }
    assert_eq!(ListRegister::from_v3(u64::MAX).0, 0xf0f8_1fff_0000_ffff);
    assert_eq!(
        ListRegister::from_v3(!(1 << 61)).0,
        0xd0f8_0200_0000_ffff,
        "a bit for the end, no hardware's"
    );
}
