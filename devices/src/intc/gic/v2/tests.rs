use super::*;
use crate::intc::gic::tests::{MAINTENANCE, PLAIN, Pins, disturb};
use crate::intc::gic::{Output, spec as map};
use crate::testing::hammer;

struct Rig {
    gic: GicV2,
    pins: Pins,
    security: Security,
}

impl Rig {
    fn new(cpus: usize, config: GicConfig) -> Self {
        let pins = Pins::new();
        let gic = GicV2::new(config, pins.outputs(cpus));
        Self { gic, pins, security: Security::Secure }
    }

    /// Everything enabled at priority 0x80 for CPU 0, as an operating system has it.
    fn running(cpus: usize) -> Self {
        let rig = Self::new(cpus, PLAIN);
        rig.start();
        rig
    }

    fn start(&self) {
        for cpu in 0..self.gic.gic.cpus {
            self.dist_write(cpu, map::ISENABLER, 0xffff_ffff);
            (0..8).for_each(|word| self.dist_write(cpu, map::IPRIORITYR + 4 * word, 0x8080_8080));
            self.cpu_write(cpu, gicc::PMR, 0xf0);
            self.cpu_write(cpu, gicc::CTLR, 1);
        }
        for word in 0..16 {
            self.dist_write(0, map::ITARGETSR + 32 + 4 * word, 0x0101_0101);
            self.dist_write(0, map::IPRIORITYR + 32 + 4 * word, 0x8080_8080);
        }
        (1..3).for_each(|word| self.dist_write(0, map::ISENABLER + 4 * word, 0xffff_ffff));
        self.dist_write(0, gicd::CTLR, 1);
    }

    fn secure(&mut self, secure: bool) -> &Self {
        self.security = if secure { Security::Secure } else { Security::NonSecure };
        self
    }

    fn dist(&self, cpu: usize, offset: u64) -> u32 {
        self.gic.distributor(cpu, self.security).read(offset, Width::Word).unwrap() as u32
    }

    fn dist_write(&self, cpu: usize, offset: u64, value: u32) {
        self.gic.distributor(cpu, self.security).write(offset, Width::Word, value.into()).unwrap();
    }

    fn cpu(&self, cpu: usize, offset: u64) -> u32 {
        self.gic.cpu_interface(cpu, self.security).read(offset, Width::Word).unwrap() as u32
    }

    fn cpu_write(&self, cpu: usize, offset: u64, value: u32) {
        self.gic.cpu_interface(cpu, self.security).write(offset, Width::Word, value.into()).unwrap();
    }

    fn line(&self, spi: u32, level: bool) {
        self.gic.inputs().set_line(spi, level);
    }
}

#[test]
fn identifies_itself() {
    let rig = Rig::new(4, PLAIN);
    assert_eq!(rig.dist(0, gicd::TYPER), 2 | 3 << 5);
    let secure = GicConfig { security: true, ..PLAIN };
    assert_eq!(Rig::new(1, secure).dist(0, gicd::TYPER), 2 | 1 << 10);
    assert_eq!(rig.dist(0, 0xfe8) >> 4 & 0xf, 2, "architecture version 2");
    assert_eq!([0xff0, 0xff4, 0xff8, 0xffc].map(|at| rig.dist(0, at)), [0x0d, 0xf0, 0x05, 0xb1]);
    assert_eq!(rig.cpu(0, gicc::IIDR) >> 16 & 0xf, 2);
    let distributor = rig.gic.distributor(0, Security::Secure);
    assert_eq!(distributor.read(0x102, Width::Word), Err(AccessError::Width));
    assert_eq!(distributor.read(0x100, Width::Byte), Err(AccessError::Width));
    assert_eq!(distributor.read(0x400, Width::Double), Err(AccessError::Width));
    assert_eq!(distributor.write(0x401, Width::Byte, 0xff), Ok(()));
    assert_eq!(rig.dist(0, 0x400), 0xf800, "five bits of priority");
}

#[test]
fn a_level_interrupt_from_line_to_end() {
    let rig = Rig::running(2);
    rig.line(3, true);
    assert_eq!((rig.pins.high(0), rig.pins.high(1)), (vec![Output::Irq], vec![]));
    assert_eq!(rig.dist(0, map::ISPENDR + 4), 1 << 3);
    assert_eq!((rig.cpu(0, gicc::HPPIR), rig.cpu(1, gicc::HPPIR)), (35, 1023));
    assert_eq!(rig.cpu(0, gicc::IAR), 35);
    assert!(!rig.pins.irq(0), "it runs");
    assert_eq!((rig.cpu(0, gicc::RPR), rig.cpu(0, gicc::IAR)), (0x80, 1023));
    assert_eq!((rig.dist(0, map::ISACTIVER + 4), rig.dist(0, map::ISPENDR + 4)), (1 << 3, 1 << 3));
    rig.cpu_write(0, gicc::EOIR, 35);
    assert!(rig.pins.irq(0), "the line is still up");
    assert_eq!(rig.cpu(0, gicc::IAR), 35);
    rig.line(3, false);
    rig.cpu_write(0, gicc::EOIR, 35);
    assert_eq!((rig.pins.irq(0), rig.cpu(0, gicc::RPR)), (false, 0xff));
    rig.line(3, true);
    rig.line(3, false);
    assert!(!rig.pins.irq(0), "a level that went away");
}

#[test]
fn an_edge_interrupt_is_remembered() {
    let rig = Rig::running(1);
    rig.dist_write(0, map::ICFGR + 8, 0b10 << 6);
    rig.line(3, true);
    rig.line(3, false);
    assert!(rig.pins.irq(0));
    assert_eq!(rig.cpu(0, gicc::IAR), 35);
    rig.line(3, true);
    rig.cpu_write(0, gicc::EOIR, 35);
    assert_eq!(rig.cpu(0, gicc::IAR), 35, "one that came while it was active");
    rig.cpu_write(0, gicc::EOIR, 35);
    assert!(!rig.pins.irq(0), "but a line that stays up is one edge");
    rig.dist_write(0, map::ISPENDR + 4, 1 << 3);
    assert!(rig.pins.irq(0));
    rig.dist_write(0, map::ICPENDR + 4, 1 << 3);
    assert!(!rig.pins.irq(0));
}

#[test]
fn priority_mask_group_and_enables_hold_interrupts_back() {
    let rig = Rig::running(1);
    rig.line(0, true);
    for (offset, hold, release) in [(gicc::PMR, 0x80, 0x88), (gicc::CTLR, 0, 1), (gicc::CTLR, 2, 3)] {
        rig.cpu_write(0, offset, hold);
        assert!(!rig.pins.irq(0), "{offset:#x}");
        rig.cpu_write(0, offset, release);
        assert!(rig.pins.irq(0), "{offset:#x}");
    }
    for (offset, hold) in [(map::ICENABLER + 4, 1), (gicd::CTLR, 0)] {
        rig.dist_write(0, offset, hold);
        assert!(!rig.pins.irq(0), "{offset:#x}");
        rig.dist_write(0, map::ISENABLER + 4, 1);
        rig.dist_write(0, gicd::CTLR, 3);
        assert!(rig.pins.irq(0), "{offset:#x}");
    }
    rig.dist_write(0, map::IGROUPR + 4, 1);
    assert!(rig.pins.irq(0), "of Group 1 now");
    assert_eq!((rig.cpu(0, gicc::IAR), rig.cpu(0, gicc::AHPPIR)), (1022, 32));
    rig.cpu_write(0, gicc::CTLR, 3 | 8);
    assert_eq!(rig.pins.high(0), [Output::Irq], "FIQs are of Group 0");
    rig.dist_write(0, map::IGROUPR + 4, 0);
    assert_eq!(rig.pins.high(0), [Output::Fiq]);
}

#[test]
fn the_highest_priority_preempts() {
    let rig = Rig::running(1);
    rig.dist_write(0, map::IPRIORITYR + 32 + 4, 0x10_4020);
    rig.line(2, true);
    assert_eq!(rig.cpu(0, gicc::IAR), 34);
    rig.line(5, true);
    rig.line(4, true);
    assert_eq!(rig.cpu(0, gicc::IAR), 36, "priority 0x20 before 0x40");
    assert_eq!(rig.cpu(0, gicc::IAR), 1023, "0x40 waits for the end of 0x20");
    assert_eq!(rig.cpu(0, gicc::APR), 1 << 16 | 1 << 4);
    rig.line(6, true);
    assert_eq!(rig.cpu(0, gicc::IAR), 38, "but 0x10 does not");
    for intid in [38, 36] {
        rig.line(intid - 32, false);
        rig.cpu_write(0, gicc::EOIR, intid);
    }
    assert_eq!((rig.cpu(0, gicc::IAR), rig.cpu(0, gicc::RPR)), (37, 0x40));
}

#[test]
fn software_interrupts_have_sources() {
    let rig = Rig::running(4);
    // From CPUs 2 and 3 to CPU 1; from CPU 0 to the others; to itself.
    rig.dist_write(2, gicd::SGIR, 0b0010 << 16 | 5);
    rig.dist_write(3, gicd::SGIR, 0b0010 << 16 | 5);
    assert_eq!(rig.dist(1, gicd::SPENDSGIR + 4), 0b1100 << 8);
    assert_eq!(rig.dist(1, map::ISPENDR), 1 << 5);
    assert_eq!(rig.cpu(1, gicc::HPPIR), 5 | 2 << 10);
    assert_eq!(rig.cpu(1, gicc::IAR), 5 | 2 << 10);
    rig.cpu_write(1, gicc::EOIR, 5 | 2 << 10);
    assert_eq!(rig.cpu(1, gicc::IAR), 5 | 3 << 10);
    rig.cpu_write(1, gicc::EOIR, 5 | 3 << 10);
    assert!(!rig.pins.irq(1));
    rig.dist_write(0, gicd::SGIR, 1 << 24 | 7);
    assert_eq!((0..4).map(|cpu| rig.pins.irq(cpu)).collect::<Vec<_>>(), [false, true, true, true]);
    rig.dist_write(0, gicd::SGIR, 2 << 24 | 8);
    assert_eq!(rig.cpu(0, gicc::IAR), 8);
    rig.dist_write(1, gicd::CPENDSGIR + 4, 0xff << 24);
    assert!(!rig.pins.irq(1));
    let distributor = rig.gic.distributor(1, Security::Secure);
    distributor.write(gicd::SPENDSGIR + 3, Width::Byte, 0xff).unwrap();
    assert_eq!(distributor.read(gicd::CPENDSGIR + 3, Width::Byte), Ok(0xf), "four CPUs");
    rig.dist_write(1, map::ICPENDR, 1 << 3);
    assert!(rig.pins.irq(1), "not cleared by the general register");
}

#[test]
fn shared_interrupts_go_to_their_targets_and_the_first_takes_them() {
    let rig = Rig::running(2);
    assert_eq!((rig.dist(0, map::ITARGETSR), rig.dist(1, map::ITARGETSR)), (0x0101_0101, 0x0202_0202));
    rig.dist_write(0, map::ITARGETSR + 32, 0x03ff_0201);
    assert_eq!(rig.dist(0, map::ITARGETSR + 32), 0x0303_0201, "two CPUs");
    rig.line(1, true);
    assert_eq!((rig.pins.irq(0), rig.pins.irq(1)), (false, true));
    rig.line(1, false);
    rig.line(2, true);
    assert_eq!((rig.pins.irq(0), rig.pins.irq(1)), (true, true));
    assert_eq!((rig.cpu(1, gicc::IAR), rig.cpu(0, gicc::IAR)), (34, 1023));
    assert_eq!((rig.pins.irq(0), rig.pins.irq(1)), (false, false));
    rig.line(2, false);
    rig.cpu_write(1, gicc::EOIR, 34);
    // With one CPU there is nothing to choose.
    let one = Rig::running(1);
    assert_eq!((one.dist(0, map::ITARGETSR), one.dist(0, map::ITARGETSR + 32)), (0, 0));
    one.line(9, true);
    assert!(one.pins.irq(0));
}

#[test]
fn private_interrupts_are_each_cpus_own() {
    let rig = Rig::running(2);
    rig.gic.ppi(1, 27).set(true);
    assert_eq!((rig.pins.irq(0), rig.pins.irq(1)), (false, true));
    assert_eq!((rig.dist(0, map::ISPENDR), rig.dist(1, map::ISPENDR)), (0, 1 << 27));
    rig.dist_write(1, map::ICENABLER, 1 << 27);
    assert!(!rig.pins.irq(1));
    assert_eq!(rig.dist(0, map::ISENABLER), 0xffff_ffff);
    assert_eq!(rig.dist(0, map::ICFGR), 0xaaaa_aaaa, "SGIs are edges");
    rig.dist_write(0, map::ICFGR, 0);
    assert_eq!(rig.dist(0, map::ICFGR), 0xaaaa_aaaa);
}

#[test]
fn the_end_can_be_in_two_steps() {
    let rig = Rig::running(1);
    rig.cpu_write(0, gicc::CTLR, 1 | ctlr::EOI_MODE);
    rig.line(0, true);
    rig.line(1, true);
    assert_eq!(rig.cpu(0, gicc::IAR), 32);
    rig.cpu_write(0, gicc::EOIR, 32);
    assert_eq!((rig.cpu(0, gicc::RPR), rig.dist(0, map::ISACTIVER + 4)), (0xff, 1));
    assert_eq!(rig.cpu(0, gicc::IAR), 33, "the first is still active");
    rig.cpu_write(0, gicc::DIR, 32);
    assert_eq!(rig.dist(0, map::ISACTIVER + 4), 2);
    rig.cpu_write(0, gicc::CTLR, 1);
    rig.cpu_write(0, gicc::DIR, 33);
    assert_eq!(rig.dist(0, map::ISACTIVER + 4), 2, "no second step without the split");
}

#[test]
fn nonsecure_software_sees_group_1_alone() {
    let mut rig = Rig::new(1, GicConfig { security: true, ..PLAIN });
    rig.start();
    rig.dist_write(0, map::IGROUPR + 4, 0b10);
    rig.dist_write(0, map::IPRIORITYR + 32, 0x9040);
    rig.dist_write(0, gicd::CTLR, 3);
    rig.cpu_write(0, gicc::CTLR, ctlr::ENABLE_0 | ctlr::ENABLE_1 | ctlr::FIQ);
    rig.line(0, true);
    rig.line(1, true);
    rig.secure(false);
    assert_eq!((rig.dist(0, map::ISPENDR + 4), rig.dist(0, map::IGROUPR + 4)), (0b10, 0));
    assert_eq!(rig.dist(0, map::IPRIORITYR + 32) & 0xffff, 0x2000);
    rig.dist_write(0, map::ICENABLER + 4, 0b11);
    rig.dist_write(0, map::IPRIORITYR + 32, 0x4010);
    rig.dist_write(0, gicd::CTLR, 0);
    rig.secure(true);
    assert_eq!(rig.dist(0, map::ISENABLER + 4), 0xffff_fffd);
    assert_eq!((rig.dist(0, map::IPRIORITYR + 32) & 0xffff, rig.dist(0, gicd::CTLR)), (0xa040, 1));
    rig.dist_write(0, map::ISENABLER + 4, 0b10);
    rig.dist_write(0, gicd::CTLR, 3);
    assert_eq!(rig.pins.high(0), [Output::Fiq]);
    assert_eq!(rig.secure(false).cpu(0, gicc::IAR), 1023, "not for Non-secure software");
    assert_eq!(rig.secure(true).cpu(0, gicc::IAR), 32);
    rig.line(0, false);
    rig.secure(false).cpu_write(0, gicc::EOIR, 32);
    assert_eq!(rig.cpu(0, gicc::RPR), 0, "the running priority is higher than any of its own");
    rig.secure(true).cpu_write(0, gicc::EOIR, 32);
    assert_eq!(rig.pins.high(0), [Output::Irq]);
    assert_eq!(rig.cpu(0, gicc::IAR), 1022, "of Group 1");
    rig.secure(false);
    assert_eq!(rig.cpu(0, gicc::IAR), 33);
    assert_eq!((rig.cpu(0, gicc::RPR), rig.cpu(0, gicc::APR)), (0x40, 1 << 4));
    rig.line(1, false);
    rig.cpu_write(0, gicc::EOIR, 33);
    // The mask: Non-secure software moves it in the lower half only.
    rig.secure(true).cpu_write(0, gicc::PMR, 0x40);
    rig.secure(false).cpu_write(0, gicc::PMR, 0xf0);
    assert_eq!((rig.cpu(0, gicc::PMR), rig.secure(true).cpu(0, gicc::PMR)), (0, 0x40));
    rig.cpu_write(0, gicc::PMR, 0xf0);
    rig.secure(false).cpu_write(0, gicc::PMR, 0x20);
    assert_eq!(rig.secure(true).cpu(0, gicc::PMR), 0x90);
    assert_eq!(rig.cpu(0, gicc::CTLR), 0b1011);
    assert_eq!(rig.secure(false).cpu(0, gicc::CTLR), 1);
    // An SGI that Secure software keeps.
    rig.dist_write(0, gicd::SGIR, 2 << 24 | 1);
    assert_eq!(rig.secure(true).dist(0, gicd::SPENDSGIR), 0);
    rig.dist_write(0, gicd::SGIR, 2 << 24 | 1);
    assert_eq!(rig.dist(0, gicd::SPENDSGIR), 1 << 8);
}

#[test]
fn a_reset_leaves_the_lines() {
    let rig = Rig::running(1);
    rig.line(0, true);
    assert_eq!((rig.pins.high(0), rig.cpu(0, gicc::IAR)), (vec![Output::Irq], 32));
    rig.gic.distributor(0, Security::Secure).reset();
    assert_eq!((rig.pins.high(0), rig.dist(0, map::ISACTIVER + 4)), (vec![], 0));
    rig.start();
    assert!(rig.pins.irq(0), "a line that stayed up");
}

#[test]
fn the_virtual_interface() {
    let config = GicConfig { maintenance: Some(MAINTENANCE), ..PLAIN };
    let rig = Rig::new(2, config);
    rig.start();
    let (control, virt) = (rig.gic.virtual_control(0), rig.gic.virtual_interface(0));
    let set = |offset, value: u32| control.write(offset, Width::Word, value.into()).unwrap();
    let get = |offset| control.read(offset, Width::Word).unwrap() as u32;
    let guest = |offset| virt.read(offset, Width::Word).unwrap() as u32;
    let guest_set = |offset, value: u32| virt.write(offset, Width::Word, value.into()).unwrap();
    assert_eq!(get(gich::VTR) & 0x3f, 3);
    guest_set(gicc::CTLR, ctlr::ENABLE_0);
    guest_set(gicc::PMR, 0xf0);
    // An SGI from CPU 2 and a hardware interrupt, which the hypervisor has active.
    set(gich::LR, 1 << 28 | 0x10 << 23 | 2 << 10 | 6);
    set(gich::LR + 4, 1 << 31 | 1 << 28 | 0x12 << 23 | 33 << 10 | 60);
    assert_eq!((rig.pins.high(0), guest(gicc::IAR)), (vec![], 1023), "not enabled");
    set(gich::HCR, 1);
    assert_eq!(rig.pins.high(0), [Output::Virq]);
    guest_set(gicc::CTLR, ctlr::ENABLE_0 | ctlr::FIQ);
    assert_eq!(rig.pins.high(0), [Output::Vfiq]);
    assert_eq!((guest(gicc::HPPIR), guest(gicc::IAR)), (6 | 2 << 10, 6 | 2 << 10));
    assert_eq!((get(gich::LR) >> 28, guest(gicc::RPR), get(gich::APR)), (2, 0x80, 1 << 16));
    guest_set(gicc::EOIR, 6 | 2 << 10);
    assert_eq!((get(gich::LR) >> 28, get(gich::ELRSR)), (0, 0b1101));
    // The other ends with the physical one.
    rig.line(1, true);
    rig.cpu_write(0, gicc::CTLR, 1 | ctlr::EOI_MODE);
    assert_eq!(rig.cpu(0, gicc::IAR), 33);
    rig.cpu_write(0, gicc::EOIR, 33);
    rig.line(1, false);
    assert_eq!(guest(gicc::IAR), 60);
    assert_eq!(rig.dist(0, map::ISACTIVER + 4), 2);
    guest_set(gicc::EOIR, 60);
    assert_eq!((rig.dist(0, map::ISACTIVER + 4), get(gich::ELRSR)), (0, 0xf));
    // Maintenance: no more than one entry in use; an end that is to be told; an end without an entry.
    assert!(!rig.pins.irq(0));
    set(gich::HCR, 1 | 1 << 1);
    assert_eq!((get(gich::MISR), rig.pins.irq(0), rig.cpu(0, gicc::HPPIR)), (2, true, MAINTENANCE));
    set(gich::HCR, 1 | 1 << 2);
    assert!(!rig.pins.irq(0));
    set(gich::LR, 1 << 28 | 0x10 << 23 | 1 << 19 | 70);
    assert_eq!(guest(gicc::IAR), 70);
    guest_set(gicc::EOIR, 70);
    assert_eq!((get(gich::EISR), get(gich::MISR), get(gich::ELRSR)), (1, 1, 0b1110));
    set(gich::LR, 2 << 28 | 0x10 << 23 | 70);
    assert_eq!(get(gich::MISR), 0);
    set(gich::APR, 1 << 16);
    guest_set(gicc::EOIR, 71);
    assert_eq!((get(gich::HCR) >> 27, get(gich::MISR), rig.pins.irq(0)), (1, 4, true));
    // The state that a hypervisor saves and restores.
    guest_set(gicc::CTLR, 0x203);
    guest_set(gicc::BPR, 4);
    guest_set(gicc::ABPR, 5);
    let vmcr = get(gich::VMCR);
    assert_eq!(vmcr, 0xf0 << 24 | 4 << 21 | 5 << 18 | 0x203);
    set(gich::VMCR, 0);
    assert_eq!((guest(gicc::CTLR), guest(gicc::PMR), guest(gicc::BPR)), (0, 0, 2));
    set(gich::VMCR, vmcr);
    assert_eq!((guest(gicc::CTLR), guest(gicc::PMR), guest(gicc::BPR)), (0x203, 0xf0, 4));
}

#[test]
fn survives_random_use() {
    let config = GicConfig { security: true, maintenance: Some(MAINTENANCE), ..PLAIN };
    let mut rig = Rig::new(3, config);
    rig.start();
    let hot = [0, 0x80, 0x100, 0x200, 0x400, 0x820, gicd::SGIR, gicd::SPENDSGIR];
    hammer(&*rig.gic.distributor(1, Security::Secure), spec::DISTRIBUTOR_SIZE, &hot, 100_000, 1);
    hammer(&*rig.gic.distributor(2, Security::NonSecure), spec::DISTRIBUTOR_SIZE, &hot, 100_000, 2);
    rig.secure(true).start();
    let views = [
        rig.gic.cpu_interface(0, Security::Secure),
        rig.gic.cpu_interface(0, Security::NonSecure),
        rig.gic.virtual_interface(0),
        rig.gic.virtual_control(0),
        rig.gic.distributor(0, Security::Secure),
    ];
    disturb(&*rig.gic.inputs(), &rig.gic.ppi(0, 30), 3, |random| {
        let view = &views[random.below(5) as usize];
        let offset =
            [random.below(0x44), random.below(0x120), random.below(0x1004)][random.below(3) as usize] & !3;
        if random.below(2) == 0 {
            view.read(offset, Width::Word).unwrap();
        } else {
            view.write(offset, Width::Word, random.value() & 0xffff_ffff).unwrap();
        }
    });
}
