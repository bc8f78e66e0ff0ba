use super::spec::{ctlr, gicr, icc, ich};
use super::*;
use crate::intc::gic::tests::{MAINTENANCE, PLAIN, Pins, disturb};
use crate::intc::gic::{Output, spec as map};
use crate::testing::hammer;
use emu_core::mem::RamBuilder;
use vm_memory::{Bytes, GuestAddress};

/// Where guest memory begins, and where the tables of LPIs are in it.
const RAM: u64 = 0x4000_0000;
const PROPERTIES: u64 = RAM + 0x1_0000;
const PENDING: u64 = RAM + 0x10_0000;

/// Software at EL1 of a machine with one Security state.
const EL1: Requester = Requester { el: 1, secure: false, shifted: false, virt: false };
/// A guest's.
const GUEST: Requester = Requester { virt: true, ..EL1 };
const EL3: Requester = Requester { el: 3, secure: true, shifted: false, virt: false };
const SECURE_EL1: Requester = Requester { el: 1, secure: true, shifted: false, virt: false };
const NONSECURE_EL1: Requester = Requester { shifted: true, ..EL1 };

struct Rig {
    gic: GicV3,
    pins: Pins,
    memory: GuestMemory,
}

impl Rig {
    fn new(cpus: usize, config: GicConfig) -> Self {
        let ram = RamBuilder::new().region("dram", RAM, 8 << 20, true).and_then(RamBuilder::build).unwrap();
        let memory = ram.guest_memory().unwrap();
        let pins = Pins::new();
        let gic = GicV3::new(config, pins.outputs(cpus), Some(memory.clone()));
        Self { gic, pins, memory }
    }

    /// Everything enabled as Group 1 at priority 0xa0, as Linux has it.
    fn running(cpus: usize) -> Self {
        let rig = Self::new(cpus, PLAIN);
        rig.start();
        rig
    }

    fn start(&self) {
        for cpu in 0..self.gic.gic.cpus {
            self.redist_write(cpu, gicr::WAKER, 0);
            self.sgi_write(cpu, map::IGROUPR, u32::MAX);
            self.sgi_write(cpu, map::ISENABLER, u32::MAX);
            (0..8).for_each(|word| self.sgi_write(cpu, map::IPRIORITYR + 4 * word, 0xa0a0_a0a0));
            self.set(cpu, icc::PMR, EL1, 0xf0);
            self.set(cpu, icc::IGRPEN1, EL1, 1);
        }
        for word in 1..3 {
            self.dist_write(map::IGROUPR + 4 * word, u32::MAX);
            self.dist_write(map::ISENABLER + 4 * word, u32::MAX);
        }
        (8..24).for_each(|word| self.dist_write(map::IPRIORITYR + 4 * word, 0xa0a0_a0a0));
        self.dist_write(gicd::CTLR, gicd::ARE | gicd::ENABLE_1);
    }

    fn dist(&self, offset: u64) -> u32 {
        self.gic.distributor(Security::Secure).read(offset, Width::Word).unwrap() as u32
    }

    fn dist_write(&self, offset: u64, value: u32) {
        self.gic.distributor(Security::Secure).write(offset, Width::Word, value.into()).unwrap();
    }

    fn redist(&self, cpu: usize, offset: u64) -> u32 {
        let offset = cpu as u64 * spec::REDISTRIBUTOR_SIZE + offset;
        self.gic.redistributors(Security::Secure).read(offset, Width::Word).unwrap() as u32
    }

    fn redist_write(&self, cpu: usize, offset: u64, value: u32) {
        let offset = cpu as u64 * spec::REDISTRIBUTOR_SIZE + offset;
        self.gic.redistributors(Security::Secure).write(offset, Width::Word, value.into()).unwrap();
    }

    fn redist_write_64(&self, cpu: usize, offset: u64, value: u64) {
        let offset = cpu as u64 * spec::REDISTRIBUTOR_SIZE + offset;
        self.gic.redistributors(Security::Secure).write(offset, Width::Double, value).unwrap();
    }

    fn sgi(&self, cpu: usize, offset: u64) -> u32 {
        self.redist(cpu, spec::SGI_FRAME + offset)
    }

    fn sgi_write(&self, cpu: usize, offset: u64, value: u32) {
        self.redist_write(cpu, spec::SGI_FRAME + offset, value);
    }

    fn get(&self, cpu: usize, register: u16, by: Requester) -> u64 {
        self.gic.system_registers(cpu).read(register, by).unwrap()
    }

    fn set(&self, cpu: usize, register: u16, by: Requester, value: u64) {
        self.gic.system_registers(cpu).write(register, by, value).unwrap();
    }

    fn line(&self, spi: u32, level: bool) {
        self.gic.inputs().set_line(spi, level);
    }

    fn irqs(&self) -> Vec<bool> {
        (0..self.gic.gic.cpus).map(|cpu| self.pins.irq(cpu)).collect()
    }

    /// The raise of LPI `intid` on `cpu`, as an ITS does it.
    fn lpi(&self, cpu: usize, intid: u32) {
        self.gic.gic.state.lock().set_lpi(cpu, intid, true, &self.memory);
    }

    fn configure_lpi(&self, intid: u32, entry: u8) {
        self.memory.write_obj(entry, GuestAddress(PROPERTIES + u64::from(intid) - 8192)).unwrap();
    }

    /// Gives `cpu` its tables, of 14 bits, and enables LPIs.
    fn enable_lpis(&self, cpu: usize) {
        self.redist_write_64(cpu, gicr::PROPBASER, PROPERTIES | 13);
        self.redist_write_64(cpu, gicr::PENDBASER, PENDING + 0x1_0000 * cpu as u64);
        self.redist_write(cpu, gicr::CTLR, gicr::ENABLE_LPIS);
    }
}

#[test]
fn identifies_itself() {
    let rig = Rig::new(3, PLAIN);
    assert_eq!(rig.dist(gicd::TYPER), 2 | 1 << 17 | 15 << 19 | 1 << 25);
    assert_eq!(rig.dist(0xffe8) >> 4 & 0xf, 3, "architecture version 3");
    assert_eq!([0xfff0, 0xfff4, 0xfff8, 0xfffc].map(|at| rig.dist(at)), [0x0d, 0xf0, 0x05, 0xb1]);
    assert_eq!(rig.redist(2, 0xffe8) >> 4 & 0xf, 3);
    assert_eq!((rig.redist(1, gicr::TYPER), rig.redist(1, gicr::TYPER + 4)), (1 | 1 << 8, 1));
    assert_eq!(rig.redist(2, gicr::TYPER), 1 | 1 << 4 | 2 << 8, "the last one");
    assert_eq!(rig.dist(gicd::CTLR), gicd::ARE | gicd::DS);
    let redistributors = rig.gic.redistributors(Security::Secure);
    assert_eq!(redistributors.read(3 * spec::REDISTRIBUTOR_SIZE, Width::Word), Err(AccessError::Unmapped));
    assert_eq!(redistributors.read(gicr::TYPER, Width::Double), Ok(1));
    assert_eq!(redistributors.read(gicr::CTLR, Width::Double), Err(AccessError::Width));
    assert_eq!(rig.redist(0, gicr::WAKER), gicr::PROCESSOR_SLEEP | gicr::CHILDREN_ASLEEP);
    rig.redist_write(0, gicr::WAKER, 0);
    assert_eq!(rig.redist(0, gicr::WAKER), 0);
    assert_eq!(rig.get(0, icc::CTLR, EL1), ctlr::FIXED);
    assert_eq!((rig.get(0, icc::SRE, EL1), rig.get(0, icc::SRE_EL2, EL1)), (7, 15));
    let registers = rig.gic.system_registers(0);
    assert_eq!(registers.read(icc::EOIR1, EL1), None, "write-only");
    assert_eq!(registers.write(icc::IAR1, EL1, 0), None, "read-only");
    assert_eq!(registers.read(icc::AP0R0 + 1, EL1), None, "five bits of priority need one register");
    assert_eq!(registers.read(ich::HCR, EL1), None, "no virtual interface");
    let without = GicV3::new(PLAIN, Pins::new().outputs(1), None);
    let typer = without.distributor(Security::Secure).read(gicd::TYPER, Width::Word).unwrap();
    assert_eq!(typer, 2 | 9 << 19 | 1 << 25, "no LPIs");
}

#[test]
fn a_shared_interrupt_goes_where_its_route_says() {
    let rig = Rig::running(3);
    rig.line(3, true);
    assert_eq!(rig.irqs(), [true, false, false]);
    let distributor = rig.gic.distributor(Security::Secure);
    let route = gicd::IROUTER + 8 * 35;
    distributor.write(route, Width::Double, 2).unwrap();
    assert_eq!(rig.irqs(), [false, false, true]);
    distributor.write(route + 4, Width::Word, 1).unwrap();
    assert_eq!((rig.irqs(), distributor.read(route, Width::Double)), (vec![false; 3], Ok(1 << 32 | 2)));
    distributor.write(route, Width::Double, 1 << 31 | 1).unwrap();
    assert_eq!(distributor.read(route, Width::Double), Ok(1), "no interrupts for one of several");
    assert_eq!(rig.irqs(), [false, true, false]);
    assert_eq!((rig.get(1, icc::HPPIR1, EL1), rig.get(1, icc::IAR0, EL1)), (35, 1023));
    assert_eq!((rig.get(0, icc::IAR1, EL1), rig.get(1, icc::IAR1, EL1)), (1023, 35));
    assert_eq!((rig.get(1, icc::RPR, EL1), rig.get(1, icc::AP1R0, EL1)), (0xa0, 1 << 20));
    rig.set(1, icc::EOIR0, EL1, 35);
    assert_eq!(rig.get(1, icc::RPR, EL1), 0xa0, "not of Group 0");
    rig.line(3, false);
    rig.set(1, icc::EOIR1, EL1, 35);
    assert_eq!((rig.get(1, icc::RPR, EL1), rig.dist(map::ISACTIVER + 4)), (0xff, 0));
    distributor.write(gicd::IROUTER, Width::Double, 1).unwrap();
    assert_eq!(distributor.read(gicd::IROUTER, Width::Double), Ok(0), "SGIs have no route");
    assert_eq!((rig.dist(map::ISENABLER), rig.dist(map::ITARGETSR + 32)), (0, 0));
    assert_eq!(rig.dist(map::ISENABLER + 12), 0, "interrupt 96 does not exist");
}

#[test]
fn software_interrupts() {
    let rig = Rig::running(3);
    rig.set(0, icc::SGI1R, EL1, 9 << 24 | 0b110);
    assert_eq!(rig.irqs(), [false, true, true]);
    assert_eq!(rig.sgi(1, map::ISPENDR), 1 << 9);
    assert_eq!(rig.get(1, icc::IAR1, EL1), 9);
    rig.set(1, icc::EOIR1, EL1, 9);
    assert_eq!(rig.irqs(), [false, false, true]);
    rig.sgi_write(2, map::ICPENDR, 1 << 9);
    assert_eq!(rig.irqs(), [false; 3]);
    rig.set(1, icc::SGI1R, EL1, 1 << 40 | 3 << 24);
    assert_eq!(rig.irqs(), [true, false, true]);
    rig.sgi_write(0, map::ICPENDR, u32::MAX);
    rig.sgi_write(2, map::ICPENDR, u32::MAX);
    // Nobody: other clusters, a range beyond, Group 0.
    for value in [1 << 16 | 1, 1 << 32 | 1, 1 << 48 | 1, 1 << 44 | 1, !(1 << 40)] {
        rig.set(1, icc::SGI1R, EL1, value);
    }
    rig.set(1, icc::SGI0R, EL1, 0b111);
    assert_eq!(rig.irqs(), [false; 3]);
    rig.sgi_write(0, map::ISPENDR, 1);
    assert_eq!(rig.irqs(), [true, false, false]);
}

#[test]
fn private_and_group_0_interrupts() {
    let rig = Rig::running(2);
    let timer = rig.gic.ppi(1, 27);
    timer.set(true);
    assert_eq!(rig.irqs(), [false, true]);
    rig.sgi_write(1, map::IGROUPR, 0);
    assert_eq!(rig.pins.high(1), [], "Group 0 is not enabled");
    rig.set(1, icc::IGRPEN0, EL1, 1);
    rig.dist_write(gicd::CTLR, gicd::ENABLE_0 | gicd::ENABLE_1);
    assert_eq!(rig.pins.high(1), [Output::Fiq]);
    assert_eq!((rig.get(1, icc::IAR1, EL1), rig.get(1, icc::IAR0, EL1)), (1023, 27));
    timer.set(false);
    rig.set(1, icc::EOIR0, EL1, 27);
    assert_eq!(rig.pins.high(1), []);
    timer.set(true);
    rig.redist_write(1, gicr::WAKER, gicr::PROCESSOR_SLEEP);
    assert_eq!(rig.pins.high(1), [], "asleep");
}

#[test]
fn the_end_can_be_in_two_steps() {
    let rig = Rig::running(1);
    rig.set(0, icc::CTLR, EL1, ctlr::EOI_MODE);
    rig.line(0, true);
    assert_eq!(rig.get(0, icc::IAR1, EL1), 32);
    rig.set(0, icc::EOIR1, EL1, 32);
    assert_eq!((rig.get(0, icc::RPR, EL1), rig.dist(map::ISACTIVER + 4), rig.pins.irq(0)), (0xff, 1, false));
    rig.set(0, icc::DIR, EL1, 32);
    assert_eq!((rig.dist(map::ISACTIVER + 4), rig.pins.irq(0)), (0, true));
}

#[test]
fn binary_points() {
    let rig = Rig::running(1);
    rig.set(0, icc::BPR0, EL1, 0);
    rig.set(0, icc::BPR1, EL1, 0);
    assert_eq!((rig.get(0, icc::BPR0, EL1), rig.get(0, icc::BPR1, EL1)), (2, 3));
    rig.set(0, icc::BPR0, EL1, 5);
    rig.set(0, icc::CTLR, EL1, ctlr::COMMON);
    rig.set(0, icc::BPR1, EL1, 3);
    assert_eq!(rig.get(0, icc::BPR1, EL1), 6, "Group 0's, and one more");
    // A running interrupt, and one of the same group priority.
    rig.dist_write(map::IPRIORITYR + 32, 0x80_a0);
    rig.line(0, true);
    assert_eq!(rig.get(0, icc::IAR1, EL1), 32);
    rig.line(1, true);
    assert_eq!((rig.pins.irq(0), rig.get(0, icc::AP1R0, EL1)), (false, 1 << 16));
    rig.set(0, icc::CTLR, EL1, 0);
    assert!(!rig.pins.irq(0), "what runs has its group priority");
    rig.set(0, icc::AP1R0, EL1, 1 << 20);
    assert!(rig.pins.irq(0));
}

#[test]
fn lpis_come_from_tables_in_memory() {
    let rig = Rig::running(2);
    rig.lpi(0, 8200);
    rig.enable_lpis(0);
    assert_eq!(rig.redist(0, gicr::CTLR), gicr::ENABLE_LPIS | gicr::CES);
    rig.redist_write_64(0, gicr::PROPBASER, 0);
    assert_eq!(rig.redist(0, gicr::PROPBASER), PROPERTIES as u32 | 13, "fixed while they are enabled");
    assert_eq!(rig.irqs(), [false, false], "one that came before is lost");
    rig.configure_lpi(8200, 0xa0 | 1);
    rig.configure_lpi(8201, 0x60 | 1);
    for intid in [8200, 8201, 8202, 8191, 16384, u32::MAX] {
        rig.lpi(0, intid);
    }
    assert_eq!(rig.get(0, icc::IAR1, EL1), 8201);
    rig.set(0, icc::EOIR1, EL1, 8201);
    assert_eq!(rig.get(0, icc::IAR1, EL1), 8200);
    rig.set(0, icc::EOIR1, EL1, 8200);
    assert_eq!((rig.get(0, icc::IAR1, EL1), rig.irqs()), (1023, vec![false; 2]), "the third is not enabled");
    // A change of the table is seen when it is said to be one; then disabling writes what is pending.
    rig.configure_lpi(8202, 1);
    let mut state = rig.gic.gic.state.lock();
    state.cpus[0].lpis.refresh(8202, &rig.memory, false);
    state.update(0);
    drop(state);
    assert_eq!(rig.irqs(), [true, false]);
    rig.redist_write(0, gicr::CTLR, 0);
    assert_eq!(rig.irqs(), [false, false]);
    let byte = |at: u64| rig.memory.read_obj::<u8>(GuestAddress(PENDING + at)).unwrap();
    assert_eq!((byte(1024), byte(1025), byte(1026)), (0, 1 << 2, 0));
    // What the table says is pending when LPIs are enabled again.
    rig.memory.write_obj(0x80u8, GuestAddress(PENDING + 1030)).unwrap();
    rig.configure_lpi(8192 + 55, 1);
    rig.enable_lpis(0);
    assert_eq!([rig.get(0, icc::IAR1, EL1), rig.get(0, icc::HPPIR1, EL1)], [8202, 8247]);
    rig.redist_write(0, gicr::CTLR, 0);
    rig.redist_write_64(0, gicr::PENDBASER, PENDING | 1 << 62);
    rig.redist_write(0, gicr::CTLR, gicr::ENABLE_LPIS);
    assert_eq!(rig.get(0, icc::HPPIR1, EL1), 1023, "the table is said to be zero");
    // Tables that are not in memory.
    rig.redist_write_64(1, gicr::PROPBASER, u64::MAX);
    rig.redist_write_64(1, gicr::PENDBASER, !(1 << 62));
    rig.redist_write(1, gicr::CTLR, gicr::ENABLE_LPIS);
    rig.lpi(1, 8192);
    assert_eq!(rig.irqs(), [false, false]);
    rig.redist_write(1, gicr::CTLR, 0);
}

/// Two Security states: SPI 0 is of Group 0, SPI 1 of Secure Group 1, SPI 2 of Non-secure Group 1.
fn two_states() -> Rig {
    let rig = Rig::new(1, GicConfig { security: true, ..PLAIN });
    rig.redist_write(0, gicr::WAKER, 0);
    rig.dist_write(gicd::CTLR, gicd::ENABLE_0 | gicd::ENABLE_1 | gicd::ENABLE_1S);
    rig.dist_write(map::IGROUPR + 4, 0b100);
    rig.dist_write(map::IGRPMODR + 4, 0b010);
    rig.dist_write(map::IPRIORITYR + 32, 0xa0_40_20);
    rig.dist_write(map::ISENABLER + 4, 0b111);
    rig.set(0, icc::IGRPEN0, EL3, 1);
    rig.set(0, icc::IGRPEN1_EL3, EL3, 0b11);
    rig.set(0, icc::PMR, EL3, 0xf8);
    rig
}

#[test]
fn two_security_states() {
    let rig = two_states();
    assert_eq!(rig.dist(gicd::CTLR), 0b11_0111);
    assert_eq!(rig.dist(gicd::TYPER) >> 10 & 1, 1);
    assert_eq!((rig.get(0, icc::IGRPEN1, SECURE_EL1), rig.get(0, icc::IGRPEN1, NONSECURE_EL1)), (1, 1));
    rig.line(2, true);
    assert_eq!(rig.pins.high(0), [Output::Group1NonSecure]);
    rig.line(1, true);
    assert_eq!(rig.pins.high(0), [Output::Group1Secure]);
    rig.line(0, true);
    assert_eq!(rig.pins.high(0), [Output::Fiq]);
    // Who sees and takes what.
    for by in [NONSECURE_EL1, SECURE_EL1, EL3] {
        assert_eq!(rig.get(0, icc::HPPIR1, by), 1023, "{by:?}");
    }
    assert_eq!((rig.get(0, icc::IAR0, NONSECURE_EL1), rig.get(0, icc::IAR0, SECURE_EL1)), (1023, 32));
    rig.line(0, false);
    rig.set(0, icc::EOIR0, NONSECURE_EL1, 32);
    assert_eq!(rig.get(0, icc::RPR, EL3), 0x20);
    rig.set(0, icc::EOIR0, SECURE_EL1, 32);
    assert_eq!((rig.get(0, icc::HPPIR0, EL3), rig.get(0, icc::IAR1, NONSECURE_EL1)), (1020, 1023));
    assert_eq!(rig.get(0, icc::IAR1, SECURE_EL1), 33);
    assert_eq!(rig.get(0, icc::RPR, NONSECURE_EL1), 0, "higher than any of its own");
    rig.line(1, false);
    rig.set(0, icc::EOIR1, SECURE_EL1, 33);
    assert_eq!((rig.get(0, icc::HPPIR0, EL3), rig.get(0, icc::IAR1, SECURE_EL1)), (1021, 1023));
    assert_eq!(rig.get(0, icc::IAR1, NONSECURE_EL1), 34);
    assert_eq!((rig.get(0, icc::RPR, NONSECURE_EL1), rig.get(0, icc::RPR, EL3)), (0x40, 0xa0));
    assert_eq!((rig.get(0, icc::AP1R0, NONSECURE_EL1), rig.get(0, icc::AP1R0, SECURE_EL1)), (1 << 20, 0));
    rig.line(2, false);
    rig.set(0, icc::EOIR1, NONSECURE_EL1, 34);
    // The mask as Non-secure software sees it.
    rig.set(0, icc::PMR, NONSECURE_EL1, 0x40);
    assert_eq!((rig.get(0, icc::PMR, EL3), rig.get(0, icc::PMR, NONSECURE_EL1)), (0xa0, 0x40));
    rig.set(0, icc::PMR, EL3, 0x30);
    rig.set(0, icc::PMR, NONSECURE_EL1, 0xff);
    assert_eq!((rig.get(0, icc::PMR, EL3), rig.get(0, icc::PMR, NONSECURE_EL1)), (0x30, 0));
    // Control: each has its copy.
    rig.set(0, icc::CTLR_EL3, EL3, ctlr::EL3_COMMON_NS | ctlr::EL3_EOI_MODES[0]);
    rig.set(0, icc::CTLR, NONSECURE_EL1, ctlr::EOI_MODE);
    assert_eq!(rig.get(0, icc::CTLR, NONSECURE_EL1) & 3, 3);
    assert_eq!(rig.get(0, icc::CTLR, SECURE_EL1) & 3, 0);
    assert_eq!(rig.get(0, icc::CTLR_EL3, EL3) & 0x1f, 0b1_0110);
    // Non-secure accesses to the frames.
    let (distributor, redistributors) =
        (rig.gic.distributor(Security::NonSecure), rig.gic.redistributors(Security::NonSecure));
    assert_eq!(distributor.read(gicd::CTLR, Width::Word), Ok(0b1_0010));
    assert_eq!(distributor.read(map::ISENABLER + 4, Width::Word), Ok(0b100));
    distributor.write(map::ICENABLER + 4, Width::Word, 0b111).unwrap();
    distributor.write(gicd::IROUTER + 8 * 33, Width::Double, 0xff).unwrap();
    assert_eq!((rig.dist(map::ISENABLER + 4), rig.dist(gicd::IROUTER + 8 * 33)), (0b011, 0));
    redistributors.write(gicr::WAKER, Width::Word, 2).unwrap();
    assert_eq!((rig.redist(0, gicr::WAKER), redistributors.read(gicr::WAKER, Width::Word)), (0, Ok(0)));
}

#[test]
fn software_interrupts_between_security_states() {
    let rig = two_states();
    rig.sgi_write(0, map::IGROUPR, 0b1000);
    rig.sgi_write(0, map::IGRPMODR, 0b0100);
    let sent = |register: u16, by: Requester| {
        (0..4).for_each(|sgi| rig.set(0, register, by, sgi << 24 | 1));
        let pending = rig.sgi(0, map::ISPENDR);
        rig.sgi_write(0, map::ICPENDR, u32::MAX);
        pending
    };
    assert_eq!(sent(icc::SGI1R, NONSECURE_EL1), 0b1000);
    assert_eq!(sent(icc::ASGI1R, NONSECURE_EL1), 0);
    assert_eq!(sent(icc::SGI0R, NONSECURE_EL1), 0);
    assert_eq!(sent(icc::SGI1R, SECURE_EL1), 0b0111);
    assert_eq!(sent(icc::ASGI1R, SECURE_EL1), 0b1000);
    assert_eq!(sent(icc::SGI0R, EL3), 0b0011);
    // One Security state for good.
    rig.dist_write(gicd::CTLR, gicd::DS);
    rig.dist_write(gicd::CTLR, 0);
    assert_eq!(rig.dist(gicd::CTLR), gicd::DS | gicd::ARE);
    assert_eq!(sent(icc::SGI1R, NONSECURE_EL1), 0b1000);
    assert_eq!(sent(icc::SGI0R, NONSECURE_EL1), 0b0111);
}

#[test]
fn a_reset_leaves_the_lines() {
    let rig = Rig::running(1);
    rig.line(0, true);
    assert_eq!(rig.get(0, icc::IAR1, EL1), 32);
    rig.gic.distributor(Security::Secure).reset();
    assert_eq!((rig.pins.high(0), rig.get(0, icc::RPR, EL1)), (vec![], 0xff));
    rig.start();
    assert_eq!(rig.get(0, icc::IAR1, EL1), 32);
}

#[test]
fn the_virtual_interface() {
    let rig = Rig::new(1, GicConfig { maintenance: Some(MAINTENANCE), ..PLAIN });
    rig.start();
    assert_eq!(rig.get(0, ich::VTR, EL1) & 0x1f, 3);
    rig.set(0, icc::IGRPEN1, GUEST, 1);
    rig.set(0, icc::PMR, GUEST, 0xf0);
    assert_eq!(rig.get(0, ich::VMCR, EL1), 0xf0 << 24 | 2 << 21 | 3 << 18 | 1 << 3 | 1 << 1);
    let entry = |state: u64, group: u64, priority: u64, intid: u64| {
        state << 62 | group << 60 | priority << 48 | intid
    };
    rig.set(0, ich::LR0, EL1, entry(1, 1, 0x80, 40));
    rig.set(0, ich::LR0 + 3, EL1, entry(1, 0, 0x40, 41));
    rig.set(0, ich::HCR, EL1, 1);
    assert_eq!(rig.pins.high(0), [Output::Virq]);
    rig.set(0, icc::IGRPEN0, GUEST, 1);
    assert_eq!(rig.pins.high(0), [Output::Vfiq]);
    assert_eq!((rig.get(0, icc::IAR1, GUEST), rig.get(0, icc::HPPIR0, GUEST)), (1023, 41));
    assert_eq!(rig.get(0, icc::IAR0, GUEST), 41);
    assert_eq!((rig.get(0, icc::RPR, GUEST), rig.get(0, ich::AP0R0, EL1)), (0x40, 1 << 8));
    rig.set(0, icc::EOIR0, GUEST, 41);
    assert_eq!((rig.get(0, ich::ELRSR, EL1), rig.get(0, icc::IAR1, GUEST)), (0b1110, 40));
    // The physical interface is another one.
    assert_eq!((rig.get(0, icc::RPR, EL1), rig.get(0, icc::RPR, GUEST)), (0xff, 0x80));
    rig.set(0, icc::CTLR, GUEST, ctlr::EOI_MODE | ctlr::COMMON);
    assert_eq!(rig.get(0, icc::CTLR, GUEST) & 3, 3);
    rig.set(0, icc::EOIR1, GUEST, 40);
    assert_eq!((rig.get(0, ich::LR0, EL1) >> 62, rig.get(0, icc::RPR, GUEST)), (2, 0xff));
    rig.set(0, icc::DIR, GUEST, 40);
    assert_eq!(rig.get(0, ich::ELRSR, EL1), 0b1111);
    // An LPI ends at once; a hardware interrupt takes the physical one with it.
    rig.set(0, ich::LR0, EL1, entry(1, 1, 0x80, 9000));
    assert_eq!(rig.get(0, icc::IAR1, GUEST), 9000);
    rig.set(0, icc::EOIR1, GUEST, 9000);
    assert_eq!(rig.get(0, ich::ELRSR, EL1), 0b1111);
    rig.dist_write(map::ISACTIVER + 4, 1);
    rig.set(0, ich::LR0, EL1, entry(1, 1, 0x80, 50) | 1 << 61 | 32 << 32);
    assert_eq!(rig.get(0, icc::IAR1, GUEST), 50);
    rig.set(0, icc::EOIR1, GUEST, 50);
    rig.set(0, icc::DIR, GUEST, 50);
    assert_eq!(rig.dist(map::ISACTIVER + 4), 0);
    // Maintenance.
    rig.set(0, ich::HCR, EL1, 1 | 1 << 3);
    assert_eq!((rig.get(0, ich::MISR, EL1), rig.get(0, icc::HPPIR1, EL1)), (1 << 3, MAINTENANCE.into()));
    rig.set(0, ich::LR0, EL1, entry(1, 1, 0x80, 50));
    assert_eq!((rig.get(0, ich::MISR, EL1), rig.pins.irq(0)), (0, false));
    rig.set(0, ich::HCR, EL1, u64::MAX);
    assert_eq!(rig.get(0, ich::HCR, EL1), 0xf800_5cff);
}

#[test]
fn survives_random_use() {
    let config = GicConfig { security: true, maintenance: Some(MAINTENANCE), ..PLAIN };
    let rig = Rig::new(2, config);
    rig.start();
    let hot = [0, 0x84, 0x104, 0x204, 0x420, 0xd04, 0x6100, 0x6104];
    hammer(&*rig.gic.distributor(Security::NonSecure), spec::DISTRIBUTOR_SIZE, &hot, 100_000, 1);
    hammer(&*rig.gic.distributor(Security::Secure), spec::DISTRIBUTOR_SIZE, &hot, 100_000, 2);
    let hot = [0, 0x14, 0x70, 0x78, 0x1_0080, 0x1_0100, 0x1_0200, 0x2_0000];
    let size = 3 * spec::REDISTRIBUTOR_SIZE;
    hammer(&*rig.gic.redistributors(Security::Secure), size, &hot, 100_000, 3);
    rig.start();
    rig.enable_lpis(0);
    (0..64).for_each(|at| rig.configure_lpi(8192 + at, 1 | (at as u8) << 2));
    let registers: Vec<u16> = (0..=u16::MAX)
        .filter(|&register| {
            let system = rig.gic.system_registers(0);
            system.read(register, EL3).is_some() || system.write(register, EL3, 0).is_some()
        })
        .collect();
    assert_eq!(registers.len(), 24 + 8 + 4, "ICC registers, ICH registers, list registers");
    rig.start();
    disturb(&*rig.gic.inputs(), &rig.gic.ppi(0, 30), 4, |random| {
        let by = Requester {
            el: 1 + random.below(3) as u8,
            secure: random.below(2) == 0,
            shifted: random.below(2) == 0,
            virt: random.below(2) == 0,
        };
        let register = registers[random.below(registers.len() as u64) as usize];
        let system = rig.gic.system_registers(random.below(2) as usize);
        match random.below(5) {
            0 => rig.lpi(0, 8192 + random.below(70) as u32),
            1 | 2 => drop(system.read(register, by)),
            _ => drop(system.write(register, by, random.value())),
        }
    });
}
