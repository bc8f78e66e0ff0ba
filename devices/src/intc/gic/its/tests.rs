use super::spec::*;
use super::*;
use crate::intc::gic::tests::{PLAIN, Pins};
use crate::intc::gic::v3::spec::{gicd, gicr, icc};
use crate::intc::gic::v3::{self, GicV3, Requester};
use crate::intc::gic::{Security, spec as map};
use crate::testing::{Random, events, hammer, wait_for};
use emu_core::mem::RamBuilder;
use emu_core::sync::EventLoop;

const RAM: u64 = 0x4000_0000;
const RAM_LEN: u64 = 8 << 20;
const QUEUE: u64 = RAM;
const DEVICES_TABLE: u64 = RAM + 0x10_0000;
const COLLECTIONS_TABLE: u64 = RAM + 0x20_0000;
const LPI_CONFIGURATION: u64 = RAM + 0x30_0000;
const LPI_PENDING: u64 = RAM + 0x40_0000;
const EVENTS: u64 = RAM + 0x60_0000;

const EL1: Requester = Requester { el: 1, secure: false, shifted: false, virt: false };

struct Rig {
    its: Arc<Its>,
    gic: GicV3,
    pins: Pins,
    memory: GuestMemory,
    /// Commands written so far.
    written: std::cell::Cell<u64>,
    _events: EventLoop,
}

/// Commands, in the order of their arguments in the specification.
fn mapd(device: u64, events: u64, bits: u64) -> [u64; 4] {
    [0x08 | device << 32, bits - 1, VALID | events, 0]
}

fn mapc(collection: u64, cpu: u64) -> [u64; 4] {
    [0x09, 0, VALID | cpu << 16 | collection, 0]
}

fn mapti(device: u64, event: u64, intid: u64, collection: u64) -> [u64; 4] {
    [0x0a | device << 32, intid << 32 | event, collection, 0]
}

fn on_event(command: u8, device: u64, event: u64) -> [u64; 4] {
    [u64::from(command) | device << 32, event, 0, 0]
}

impl Rig {
    /// Two CPUs with LPIs, all of them enabled at one priority; an enabled ITS with a queue of 4 KiB.
    fn new() -> Self {
        Self::with_queue(0)
    }

    fn with_queue(pages_less_one: u64) -> Self {
        let ram = RamBuilder::new().region("dram", RAM, RAM_LEN, true).and_then(RamBuilder::build).unwrap();
        let memory = ram.guest_memory().unwrap();
        let (pins, events) = (Pins::new(), events());
        let gic = GicV3::new(PLAIN, pins.outputs(2), Some(memory.clone()));
        let its = Its::new(&gic, &events.handle()).unwrap();
        let rig = Self { its, gic, pins, memory, written: 0.into(), _events: events };
        rig.memory.write_slice(&[0xa1; 0x1_0000], GuestAddress(LPI_CONFIGURATION)).unwrap();
        for cpu in 0..2 {
            let at = |offset| cpu * v3::spec::REDISTRIBUTOR_SIZE + offset;
            let redistributors = rig.gic.redistributors(Security::Secure);
            let write = |offset, value| redistributors.write(at(offset), Width::Word, value).unwrap();
            write(gicr::WAKER, 0);
            write(gicr::PROPBASER, LPI_CONFIGURATION | 15);
            write(gicr::PENDBASER, LPI_PENDING + cpu * 0x1_0000);
            write(gicr::CTLR, 1);
            let system = rig.gic.system_registers(cpu as usize);
            system.write(icc::PMR, EL1, 0xf0).unwrap();
            system.write(icc::IGRPEN1, EL1, 1).unwrap();
        }
        rig.gic.distributor(Security::Secure).write(gicd::CTLR, Width::Word, 2).unwrap();
        rig.write(BASER, VALID | DEVICES_TABLE);
        rig.write(BASER + 8, VALID | COLLECTIONS_TABLE);
        rig.write(CBASER, VALID | QUEUE | pages_less_one);
        rig.write(CTLR, 1);
        rig
    }

    fn read(&self, offset: u64) -> u64 {
        let width = if offset < 8 { Width::Word } else { Width::Double };
        self.its.read(offset, width).unwrap()
    }

    fn write(&self, offset: u64, value: u64) {
        let width = if offset < 8 { Width::Word } else { Width::Double };
        self.its.write(offset, width, value).unwrap();
    }

    /// Puts commands into the queue and rings; waits until they have been taken.
    fn run(&self, commands: &[[u64; 4]]) {
        let len = ((self.read(CBASER) & 0xff) + 1) * 4096;
        for command in commands {
            let at = self.written.get();
            for (i, word) in command.iter().enumerate() {
                self.memory.write_obj(word.to_le(), GuestAddress(QUEUE + at + 8 * i as u64)).unwrap();
            }
            self.written.set((at + COMMAND) % len);
        }
        self.write(CWRITER, self.written.get());
        wait_for("the commands are taken", || self.read(CREADR) == self.written.get());
    }

    /// What `cpu` takes, one after the other.
    fn take(&self, cpu: usize) -> Vec<u64> {
        let system = self.gic.system_registers(cpu);
        std::iter::from_fn(|| {
            let intid = system.read(icc::IAR1, EL1).unwrap();
            system.write(icc::EOIR1, EL1, intid).unwrap();
            (intid != 1023).then_some(intid)
        })
        .collect()
    }

    /// Device 3 with 32 events, collections 0 and 1 for the CPUs, events 0 to 3 as LPIs 8192 to 8195 for CPU 0.
    fn mapped() -> Self {
        let rig = Self::new();
        rig.run(&[mapd(3, EVENTS, 5), mapc(0, 0), mapc(1, 1)]);
        rig.run(&[0, 1, 2, 3].map(|event| mapti(3, event, 8192 + event, 0)));
        rig
    }
}

#[test]
fn identifies_itself() {
    let rig = Rig::new();
    assert_eq!(rig.read(TYPER), 1 | 7 << 4 | 15 << 8 | 15 << 13);
    assert_eq!(rig.its.read(0xffe8, Width::Word).unwrap() >> 4 & 0xf, 3);
    assert_eq!(rig.read(CTLR), u64::from(ENABLED | QUIESCENT));
    assert_eq!(rig.read(BASER) >> 48, 0x8107, "devices, 8 bytes");
    assert_eq!(rig.read(BASER + 8) >> 48, 0x8407, "collections, 8 bytes");
    assert_eq!(rig.read(BASER + 16), 0);
    rig.write(BASER, 0);
    rig.write(CBASER, 0);
    assert_eq!((rig.read(BASER) >> 63, rig.read(CBASER) >> 63), (1, 1), "fixed while it is enabled");
    rig.write(CTLR, 0);
    rig.write(BASER + 16, u64::MAX);
    assert_eq!(rig.read(BASER + 16), 0, "no such table");
    assert_eq!(rig.its.read(TYPER + 4, Width::Word), Ok(0));
    assert_eq!(rig.its.write(TRANSLATER, Width::Half, 1), Ok(()));
    assert_eq!(rig.its.write(TRANSLATER, Width::Byte, 1), Err(AccessError::Width));
    let without = GicV3::new(PLAIN, Pins::new().outputs(1), None);
    assert!(Its::new(&without, &rig._events.handle()).is_none());
}

#[test]
fn events_become_lpis() {
    let rig = Rig::mapped();
    rig.its.signal(3, 2);
    assert!(rig.pins.irq(0));
    rig.its.signal(3, 0);
    assert_eq!((rig.take(0), rig.take(1)), (vec![8192, 8194], vec![]));
    for (device, event) in [(3, 4), (3, 32), (3, u32::MAX), (2, 0), (512, 0), (u32::MAX, 0)] {
        rig.its.signal(device, event);
    }
    assert_eq!(rig.take(0), [0u64; 0], "nothing is there");
    rig.run(&[on_event(command::INT, 3, 1)]);
    assert_eq!(rig.take(0), [8193]);
    rig.run(&[on_event(command::INT, 3, 1), on_event(command::CLEAR, 3, 1)]);
    assert_eq!(rig.take(0), [0u64; 0]);
    // MAPI: the LPI is the event.
    rig.run(&[mapd(4, EVENTS + 0x1000, 14), [0x0b | 4 << 32, 8300, 1, 0], on_event(command::INT, 4, 8300)]);
    assert_eq!(rig.take(1), [8300]);
    rig.write(CTLR, 0);
    rig.its.signal(3, 2);
    assert_eq!(rig.take(0), [0u64; 0], "disabled");
}

#[test]
fn events_move_and_end() {
    let rig = Rig::mapped();
    rig.its.signal(3, 0);
    rig.run(&[[u64::from(command::MOVI) | 3 << 32, 0, 1, 0]]);
    assert_eq!((rig.take(0), rig.take(1)), (vec![], vec![8192]), "it was pending, and moved");
    rig.its.signal(3, 0);
    assert_eq!(rig.take(1), [8192]);
    rig.its.signal(3, 1);
    rig.its.signal(3, 2);
    rig.run(&[[u64::from(command::MOVALL), 0, 0, 1 << 16]]);
    assert_eq!((rig.take(0), rig.take(1)), (vec![], vec![8193, 8194]));
    rig.its.signal(3, 3);
    rig.run(&[on_event(command::DISCARD, 3, 3)]);
    rig.its.signal(3, 3);
    assert_eq!(rig.take(0), [0u64; 0]);
    // Neither a collection nor a device is there any more.
    rig.run(&[[0x09, 0, 0, 0]]);
    rig.its.signal(3, 1);
    assert_eq!(rig.take(0), [0u64; 0]);
    rig.run(&[mapc(0, 0), [0x08 | 3 << 32, 0, 0, 0]]);
    rig.its.signal(3, 1);
    assert_eq!(rig.take(0), [0u64; 0]);
}

#[test]
fn changes_of_the_configuration_are_seen_when_told() {
    let rig = Rig::mapped();
    let configure = |intid: u64, entry: u8| {
        rig.memory.write_obj(entry, GuestAddress(LPI_CONFIGURATION + intid - 8192)).unwrap();
    };
    configure(8192, 0xa0);
    configure(8193, 0xa0);
    rig.its.signal(3, 0);
    rig.its.signal(3, 1);
    assert_eq!(rig.take(0), [0u64; 0], "not enabled");
    configure(8192, 0xa1);
    configure(8193, 0x81);
    rig.run(&[on_event(command::INV, 3, 0)]);
    assert_eq!(rig.take(0), [8192]);
    rig.its.signal(3, 0);
    rig.run(&[[u64::from(command::INVALL), 0, 0, 0], [u64::from(command::SYNC), 0, 0, 0]]);
    assert_eq!(rig.take(0), [8193, 8192], "by priority");
}

#[test]
fn tables_of_two_levels() {
    let rig = Rig::new();
    rig.write(CTLR, 0);
    // Pages of 64 KiB: 8192 devices each. The first is in memory, the second is not, the third is not there.
    rig.write(BASER, VALID | INDIRECT | 2 << 8 | DEVICES_TABLE);
    let second = DEVICES_TABLE + 0x1_0000;
    rig.memory.write_obj((VALID | second).to_le(), GuestAddress(DEVICES_TABLE)).unwrap();
    rig.memory.write_obj((VALID | 0x1000_0000_0000).to_le(), GuestAddress(DEVICES_TABLE + 8)).unwrap();
    rig.write(CTLR, 1);
    rig.run(&[mapc(0, 1)]);
    for (device, works) in [(0, true), (8191, true), (8192, false), (16384, false)] {
        rig.run(&[mapd(device, EVENTS, 1), mapti(device, 1, 9000, 0), on_event(command::INT, device, 1)]);
        assert_eq!(rig.take(1), if works { vec![9000] } else { vec![] }, "device {device}");
    }
    assert_ne!(rig.memory.read_obj::<u64>(GuestAddress(second + 8191 * 8)).unwrap(), 0);
}

#[test]
fn commands_that_make_no_sense_are_passed_over() {
    let rig = Rig::mapped();
    rig.run(&[
        [0; 4],
        [0xff; 4],
        [u64::MAX; 4],
        mapd(0x1_0000, EVENTS, 5),
        mapd(5, EVENTS, 32),
        mapc(0, 2),
        mapti(3, 5, 1, 0),
        mapti(3, 5, 0x1_0000, 0),
        mapti(3, 5, u64::from(u32::MAX), 0),
        mapd(6, 0x000f_ffff_ffff_ff00, 16),
        mapti(6, 1, 8192, 0),
        [u64::from(command::MOVALL), 0, 7 << 16, 0],
        on_event(command::INT, 3, 1),
    ]);
    assert_eq!(rig.take(0), [8193], "the last one works");
    assert_eq!((rig.read(CREADR) & 1, rig.read(CTLR)), (0, u64::from(ENABLED | QUIESCENT)));
    // What a guest puts into the tables itself.
    for entry in [u64::MAX, VALID, VALID | 7 << 32 | 3, VALID | u64::from(u32::MAX)] {
        rig.memory.write_obj(entry.to_le(), GuestAddress(EVENTS + 8)).unwrap();
        rig.run(&[on_event(command::INT, 3, 1), on_event(command::DISCARD, 3, 1)]);
        rig.memory.write_obj((VALID | 0x7fff).to_le(), GuestAddress(COLLECTIONS_TABLE + 8)).unwrap();
    }
    assert_eq!(rig.take(0), [0u64; 0]);
}

#[test]
fn long_queues_are_taken_in_batches() {
    let rig = Rig::with_queue(31);
    rig.run(&[mapd(3, EVENTS, 5), mapc(0, 0), mapti(3, 0, 8192, 0)]);
    let mut commands = vec![on_event(command::CLEAR, 3, 0); 4000];
    commands.push(on_event(command::INT, 3, 0));
    rig.run(&commands);
    assert_eq!(rig.take(0), [8192]);
    assert_eq!(rig.written.get(), (3 + 4001) * COMMAND % 0x2_0000);
    // A queue that is not all in memory stalls there.
    rig.write(CTLR, 0);
    rig.write(CBASER, VALID | (RAM + RAM_LEN - 0x1000) | 1);
    rig.write(CTLR, 1);
    rig.write(CWRITER, 0x1020);
    assert_eq!(rig.read(CREADR), 0x1000 | STALLED);
    // One whose end is beyond the queue is not taken at all.
    rig.write(CTLR, 0);
    rig.write(CBASER, VALID | QUEUE);
    rig.write(CTLR, 1);
    rig.write(CWRITER, 0x1000);
    assert_eq!((rig.read(CREADR), rig.read(CWRITER)), (0, 0x1000));
    rig.its.reset();
    assert_eq!([CTLR, CBASER, CWRITER, CREADR].map(|at| rig.read(at)), [QUIESCENT.into(), 0, 0, 0]);
}

#[test]
fn survives_random_use() {
    let rig = Rig::mapped();
    hammer(&*rig.its, SIZE, &[0, 0x80, 0x88, 0x90, 0x100, 0x108, TRANSLATER], 100_000, 5);
    rig.its.reset();
    rig.write(BASER, VALID | DEVICES_TABLE);
    rig.write(BASER + 8, VALID | COLLECTIONS_TABLE);
    rig.write(CBASER, VALID | QUEUE);
    rig.write(CTLR, 1);
    rig.written.set(0);
    let mut random = Random(6);
    for _ in 0..500 {
        let commands: Vec<[u64; 4]> = (0..100)
            .map(|_| {
                let collection = random.below(3);
                let (device, event, cpu) = (random.below(4), random.below(40), random.below(3));
                match random.below(8) {
                    0 => mapd(device, EVENTS + random.below(4) * 0x100, 1 + random.below(16)),
                    1 => mapc(collection, cpu),
                    2 => mapti(device, event, 8190 + random.below(100), collection),
                    3 => on_event(command::INT, device, event),
                    4 => [u64::from(command::MOVI) | device << 32, event, collection, 0],
                    5 => [u64::from(command::MOVALL), 0, cpu << 16, random.below(3) << 16],
                    6 => [random.below(16) | device << 32, event, collection | random.value() << 63, 0],
                    _ => [random.value(), random.value(), random.value(), random.value()],
                }
            })
            .collect();
        rig.run(&commands);
        rig.take(random.below(2) as usize);
        let scribble =
            [DEVICES_TABLE, COLLECTIONS_TABLE, EVENTS][random.below(3) as usize] + 8 * random.below(16);
        rig.memory.write_obj(random.value(), GuestAddress(scribble)).unwrap();
    }
    let redistributors = rig.gic.redistributors(Security::Secure);
    redistributors.write(v3::spec::SGI_FRAME + map::ICENABLER, Width::Word, 0xffff_ffff).unwrap();
}

#[test]
fn message_frames_make_edges() {
    use crate::intc::gic::v2m::*;
    use crate::testing::Lines;

    let lines = Lines::new();
    let frame = V2mFrame::new(Arc::clone(&lines) as Arc<dyn emu_core::device::IrqSink>, 48..112);
    assert_eq!(frame.read(MSI_TYPER, Width::Word), Ok(80 << 16 | 64));
    for (value, line, rises) in [(80, 48, 1), (143, 111, 1), (79, 47, 0), (144, 112, 0), (0, 0, 0)] {
        frame.write(MSI_SETSPI_NS, Width::Word, value).unwrap();
        assert_eq!((lines.rises(line), lines.level(line)), (rises, false), "{value}");
    }
    hammer(&*frame, crate::intc::gic::v2m::SIZE, &[MSI_SETSPI_NS], 10_000, 7);
}
