use super::*;
use crate::testing::{Random, events, wait_for};
use crate::virtio::spec::feature as common;
use crate::virtio::testing::{Driver, Piece, RAM, RAM_LEN, hostile};
use disk_formats::{ErrorKind, Op, RamDisk};
use emu_core::device::{Mmio, Width};
use emu_core::sync::EventLoop;
use std::path::Path;
use std::sync::atomic::AtomicU32;

/// A disk that counts flushes, stops at a gate, and fails where it is told to.
struct TestDisk {
    disk: RamDisk,
    flushes: AtomicU32,
    /// Reads and writes wait while it is shut.
    shut: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicU32,
    /// The offset at which every access fails.
    bad: Option<u64>,
}

impl TestDisk {
    fn new(len: usize) -> Arc<Self> {
        Self::with(RamDisk::new((0..len).map(|i| (i / 512) as u8).collect()), None)
    }

    fn with(disk: RamDisk, bad: Option<u64>) -> Arc<Self> {
        let (flushes, waiting) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { disk, flushes, shut: Mutex::new(false), opened: Condvar::new(), waiting, bad })
    }

    fn open(&self) {
        *self.shut.lock() = false;
        self.opened.notify_all();
    }

    fn pass(&self, op: Op, offset: u64, len: usize) -> disk_formats::Result<()> {
        let mut shut = self.shut.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *shut {
            self.opened.wait(&mut shut);
        }
        match self.bad {
            Some(bad) if (offset..offset + len as u64).contains(&bad) => {
                Err(disk_formats::Error::new("test disk", op, ErrorKind::Io))
            }
            _ => Ok(()),
        }
    }

    fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.disk.read_at(offset, &mut bytes).unwrap();
        bytes
    }
}

impl Disk for TestDisk {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_only(&self) -> bool {
        self.disk.read_only()
    }

    fn name(&self) -> &Path {
        Path::new("test disk")
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> disk_formats::Result<()> {
        self.pass(Op::Read, offset, buffer.len())?;
        self.disk.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> disk_formats::Result<()> {
        self.pass(Op::Write, offset, data.len())?;
        self.disk.write_at(offset, data)
    }

    fn flush(&self) -> disk_formats::Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.disk.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> disk_formats::Result<()> {
        self.disk.write_zeroes(offset, len, true)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> disk_formats::Result<()> {
        self.disk.write_zeroes(offset, len, may_unmap)
    }
}

struct Rig {
    driver: Driver,
    disk: Arc<TestDisk>,
    _events: EventLoop,
}

const OK: u8 = Status::Ok as u8;
const IOERR: u8 = Status::IoErr as u8;
const UNSUPP: u8 = Status::Unsupported as u8;

impl Rig {
    /// A disk of 64 sectors, each full of its number.
    fn new() -> Self {
        Self::with(TestDisk::new(64 * 512), u64::MAX)
    }

    fn with(disk: Arc<TestDisk>, features: u64) -> Self {
        let (events, mut rig) =
            Self::stopped(disk, &BlkConfig { id: "serial".into(), ..BlkConfig::default() });
        rig.init(features, 1, 64);
        Self { driver: rig, disk: events.1, _events: events.0 }
    }

    fn stopped(disk: Arc<TestDisk>, config: &BlkConfig) -> ((EventLoop, Arc<TestDisk>), Driver) {
        let events = events();
        let blk = Blk::new(&events.handle(), Arc::clone(&disk) as Arc<dyn Disk>, config).unwrap();
        ((events, disk), Driver::new(Default::default(), blk))
    }

    /// Does a request with `data`; its status and used length.
    fn request(&mut self, kind: u32, sector: u64, data: &[Piece]) -> (u8, u32) {
        let status = self.submit(kind, sector, data);
        let (_, len) = self.driver.wait(0);
        (self.driver.bytes(status, 1)[0], len)
    }

    fn submit(&mut self, kind: u32, sector: u64, data: &[Piece]) -> u64 {
        submit(&mut self.driver, 0, kind, sector, data, false)
    }
}

/// Sends a request; the address of its status byte, which is 0xee until it is answered.
fn submit(driver: &mut Driver, queue: usize, kind: u32, sector: u64, data: &[Piece], indirect: bool) -> u64 {
    let header = driver.alloc_bytes(&[u64::from(kind).to_le_bytes(), sector.to_le_bytes()].concat());
    let status = driver.alloc_bytes(&[0xee]);
    let pieces = [&[(header, 16, false)], data, &[(status, 1, true)]].concat();
    if indirect {
        driver.send_indirect(queue, &pieces);
    } else {
        driver.send(queue, &pieces);
    }
    status
}

#[test]
fn configuration() {
    let (_events, mut driver) =
        Rig::stopped(TestDisk::new(100 * 512 + 5), &BlkConfig { queues: 4, ..BlkConfig::default() });
    driver.negotiate(u64::MAX);
    let bits = [2, 6, 9, 10, 11, 12, 13, 14, 28, 29, 32];
    assert_eq!(driver.features, bits.iter().fold(0, |all, bit| all | 1 << bit));
    let config = |offset: usize, width| driver.mmio.read(0x100 + offset as u64, width).unwrap();
    assert_eq!(config(config::CAPACITY, Width::Double), 100, "whole sectors");
    assert_eq!(config(config::SEG_MAX, Width::Word), 254);
    assert_eq!(config(config::BLK_SIZE, Width::Word), 512);
    assert_eq!(config(config::NUM_QUEUES, Width::Half), 4);
    assert_eq!(config(config::WRITEBACK, Width::Byte), 1);
    assert_eq!(config(config::WRITE_ZEROES_MAY_UNMAP, Width::Word), 1);

    let (_events, mut driver) =
        Rig::stopped(TestDisk::with(RamDisk::new_read_only(vec![0; 512]), None), &BlkConfig::default());
    driver.negotiate(u64::MAX);
    assert!(driver.has(feature::RO) && !driver.has(feature::DISCARD) && !driver.has(feature::MQ));
}

#[test]
fn reads_writes_and_says_its_name() {
    let mut rig = Rig::new();
    let data = rig.driver.alloc(2048);
    assert_eq!(rig.request(request::IN, 5, &[(data, 100, true), (data + 100, 924, true)]), (OK, 1025));
    assert_eq!(rig.driver.bytes(data, 1025), [[5; 512].as_slice(), &[6; 512], &[0]].concat());
    let source = rig.driver.alloc_bytes(&[[0xaa; 512], [0xbb; 512]].concat());
    assert_eq!(rig.request(request::OUT, 62, &[(source, 512, false), (source + 512, 512, false)]), (OK, 1));
    assert_eq!(rig.disk.bytes(61 * 512, 1536), [[61; 512], [0xaa; 512], [0xbb; 512]].concat());
    assert_eq!(rig.request(request::FLUSH, 0, &[]), (OK, 1));
    assert_eq!(rig.disk.flushes.load(Ordering::SeqCst), 1);
    let name = rig.driver.alloc(20);
    assert_eq!(rig.request(request::GET_ID, 0, &[(name, 20, true)]), (OK, 21));
    assert_eq!(&rig.driver.bytes(name, 20), b"serial\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(rig.request(77, 0, &[(name, 20, true)]), (UNSUPP, 0));
    assert_eq!(rig.request(request::IN, 0, &[]), (OK, 1), "nothing to read is no error");

    // The last byte of the writable part is the status, wherever descriptors begin and end.
    let header = rig.driver.alloc_bytes(&[0; 16]);
    let head = rig.driver.send(0, &[(header, 7, false), (header + 7, 9, false), (data, 513, true)]);
    assert_eq!(rig.driver.wait(0), (head, 513));
    assert_eq!(rig.driver.bytes(data, 513), [0; 513]);
}

#[test]
fn what_is_wrong_fails_alone() {
    let mut rig = Rig::new();
    let data = rig.driver.alloc_bytes(&[0xcc; 1024]);
    let read = |rig: &mut Rig, sector, pieces: &[Piece]| rig.request(request::IN, sector, pieces).0;
    for (sector, pieces) in [
        (64, &[(data, 512, true)][..]),
        (63, &[(data, 1024, true)]),
        (u64::MAX, &[(data, 512, true)]),
        (u64::MAX / 512 + 1, &[(data, 512, true)]),
        (0, &[(data, 511, true)]),
        (0, &[(RAM + RAM_LEN - 256, 512, true)]),
        (0, &[(u64::MAX - 10, 512, true)]),
        (0, &[(0, 512, true)]),
    ] {
        assert_eq!(read(&mut rig, sector, pieces), IOERR, "{sector:#x} {pieces:x?}");
        let pieces: Vec<Piece> = pieces.iter().map(|(addr, len, _)| (*addr, *len, false)).collect();
        assert_eq!(rig.request(request::OUT, sector, &pieces), (IOERR, 1));
    }
    assert_eq!(rig.driver.bytes(data, 1024), [0xcc; 1024]);
    for (sector, byte) in (0..64).map(|i| (i, i as u8)) {
        assert_eq!(rig.disk.bytes(sector * 512, 512), [byte; 512]);
    }
    // A header that is too short, or nowhere.
    let status = rig.driver.alloc(1);
    for header in [(data, 15, false), (0, 16, false)] {
        rig.driver.put_byte(status, 0xee);
        let head = rig.driver.send(0, &[header, (status, 1, true)]);
        assert_eq!(rig.driver.wait(0), (head, 1));
        assert_eq!(rig.driver.bytes(status, 1), [IOERR]);
    }
    assert!(!rig.driver.broken());
}

#[test]
fn without_a_place_for_the_status_it_needs_a_reset() {
    for last in [None, Some((RAM + RAM_LEN, 1, true)), Some((RAM, 0, true))] {
        let mut rig = Rig::new();
        let header = rig.driver.alloc_bytes(&[0; 16]);
        let pieces: Vec<Piece> = [Some((header, 16, false)), last].into_iter().flatten().collect();
        rig.driver.send(0, &pieces);
        wait_for("the device asks for a reset", || rig.driver.broken());
        rig.driver.init(u64::MAX, 1, 16);
        assert_eq!(rig.request(request::FLUSH, 0, &[]), (OK, 1));
    }
}

#[test]
fn discards_and_zeroes() {
    let mut rig = Rig::new();
    let segments = |rig: &mut Rig, segments: &[(u64, u32, u32)]| {
        let bytes: Vec<u8> = segments
            .iter()
            .flat_map(|(sector, count, flags)| {
                [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat()
            })
            .collect();
        (rig.driver.alloc_bytes(&bytes), bytes.len() as u32, false)
    };
    let piece = segments(&mut rig, &[(1, 2, 0), (10, 1, 1)]);
    assert_eq!(rig.request(request::DISCARD, 0, &[piece]), (UNSUPP, 1), "a discard has no flags");
    assert_eq!(rig.disk.bytes(512, 512), [1; 512], "and then does nothing at all");
    assert_eq!(rig.request(request::WRITE_ZEROES, 0, &[piece]), (OK, 1));
    let zeroed = |rig: &Rig| (0..64).filter(|i| rig.disk.bytes(i * 512, 512) == [0; 512]).collect::<Vec<_>>();
    assert_eq!(zeroed(&rig), [0, 1, 2, 10]);
    let piece = segments(&mut rig, &[(20, 1, 0), (63, 1, 0), (64, 0, 0)]);
    assert_eq!(rig.request(request::DISCARD, 0, &[piece]), (OK, 1));
    assert_eq!(zeroed(&rig), [0, 1, 2, 10, 20, 63]);
    for bad in [
        &[(64, 1, 0)][..],
        &[(30, 1, 0), (63, 2, 0)],
        &[(u64::MAX, 1, 0)],
        &[(0, u32::MAX, 0)],
        &[(30, 1, 0); 17],
        &[],
    ] {
        let piece = segments(&mut rig, bad);
        assert_eq!(rig.request(request::DISCARD, 0, &[piece]), (IOERR, 1), "{bad:x?}");
        assert_eq!(rig.request(request::WRITE_ZEROES, 0, &[piece]), (IOERR, 1), "{bad:x?}");
    }
    let piece = segments(&mut rig, &[(30, 1, 2)]);
    assert_eq!(rig.request(request::WRITE_ZEROES, 0, &[piece]), (UNSUPP, 1));
    let piece = segments(&mut rig, &[(30, 1, 0)]);
    assert_eq!(rig.request(request::WRITE_ZEROES, 0, &[(piece.0, 15, false)]), (IOERR, 1));
    assert_eq!(zeroed(&rig), [0, 1, 2, 10, 20, 63]);
}

#[test]
fn a_read_only_disk_stays_as_it_is() {
    let mut rig = Rig::with(TestDisk::with(RamDisk::new_read_only(vec![3; 4096]), None), u64::MAX);
    let data = rig.driver.alloc(512);
    assert_eq!(rig.request(request::OUT, 0, &[(data, 512, false)]), (IOERR, 1));
    assert_eq!(rig.request(request::WRITE_ZEROES, 0, &[(data, 16, false)]), (IOERR, 1));
    assert_eq!(rig.request(request::IN, 0, &[(data, 512, true)]), (OK, 513));
    assert_eq!(rig.request(request::FLUSH, 0, &[]), (OK, 1));
    assert_eq!(rig.disk.bytes(0, 4096), [3; 4096]);
}

#[test]
fn errors_of_the_disk_are_the_requests() {
    const LEN: usize = 2 << 20;
    let mut rig = Rig::with(TestDisk::with(RamDisk::new(vec![9; LEN]), Some(1 << 20)), u64::MAX);
    let data = rig.driver.alloc(LEN as u32);
    let (status, len) = rig.request(request::IN, 0, &[(data, LEN as u32, true)]);
    assert_eq!(status, IOERR);
    assert_eq!(
        rig.driver.bytes(data, len as usize),
        vec![9; len as usize],
        "what is said to be there is there"
    );
    assert!((1 << 19..=1 << 20).contains(&len));
    assert_eq!(rig.request(request::OUT, 0, &[(data, LEN as u32, false)]), (IOERR, 1));
    assert_eq!(rig.request(request::IN, 0, &[(data, 4096, true)]), (OK, 4097));
}

#[test]
fn writes_are_durable_unless_the_driver_can_flush() {
    let flushes = |rig: &mut Rig| {
        let before = rig.disk.flushes.load(Ordering::SeqCst);
        let data = rig.driver.alloc(512);
        assert_eq!(rig.request(request::OUT, 0, &[(data, 512, false)]), (OK, 1));
        rig.disk.flushes.load(Ordering::SeqCst) - before
    };
    let mut rig = Rig::with(TestDisk::new(4096), u64::MAX);
    assert_eq!(flushes(&mut rig), 0);
    rig.driver.mmio.write(0x100 + config::WRITEBACK as u64, Width::Byte, 0).unwrap();
    assert_eq!(rig.driver.mmio.read(0x100 + config::WRITEBACK as u64, Width::Byte), Ok(0));
    assert_eq!(flushes(&mut rig), 1, "the driver has switched the cache off");
    rig.driver.init(u64::MAX, 1, 16);
    assert_eq!(flushes(&mut rig), 0, "a reset switches it on");
    rig.driver.init(!(1 << feature::FLUSH), 1, 16);
    assert_eq!(flushes(&mut rig), 1, "the driver cannot flush");
    let Rig { driver, disk, _events } = rig;
    let before = disk.flushes.load(Ordering::SeqCst);
    drop(driver);
    wait_for("the device is gone, and has flushed", || disk.flushes.load(Ordering::SeqCst) == before + 1);
}

/// Random reads and writes on several queues at once; each queue has sectors of its own, and a model of them.
fn integrity(features: u64, queues: u16, workers: usize, rounds: u32, seed: u64) {
    const SECTORS: u64 = 4096;
    let disk = TestDisk::new(usize::from(queues) * SECTORS as usize * 512);
    let config = BlkConfig { queues, workers, ..BlkConfig::default() };
    let (held, mut driver) = Rig::stopped(Arc::clone(&disk), &config);
    driver.init(features, queues, 64);
    let mut random = Random(seed);
    let mut model: Vec<u8> = disk.bytes(0, disk.size() as usize);
    let buffers: Vec<Vec<u64>> =
        (0..queues).map(|_| (0..4).map(|_| driver.alloc(700 << 10)).collect()).collect();
    let scratch = driver.mark();
    for _ in 0..rounds {
        driver.release(scratch);
        let mut reads = Vec::new();
        let mut statuses = Vec::new();
        for (queue, buffers) in buffers.iter().enumerate() {
            // Requests that are out together must not touch the same sectors: each has a quarter.
            for (slot, buffer) in buffers.iter().enumerate() {
                let quarter = (queue as u64 * 4 + slot as u64) * (SECTORS / 4);
                let sectors =
                    if random.below(8) == 0 { 1 + random.below(1000) } else { 1 + random.below(16) };
                let sector = quarter + random.below(SECTORS / 4 - sectors);
                let (len, at) = (sectors as u32 * 512, (sector * 512) as usize);
                let write = random.below(2) == 0;
                if write {
                    let bytes: Vec<u8> = (0..len / 8).flat_map(|_| random.bits().to_le_bytes()).collect();
                    driver.put(*buffer, &bytes);
                    model[at..at + bytes.len()].copy_from_slice(&bytes);
                } else {
                    driver.put(*buffer, &vec![0xdd; len as usize]);
                    reads.push((*buffer, at, len as usize));
                }
                let cut = 1 + random.below(u64::from(len) - 1) as u32;
                let pieces = [(*buffer, cut, !write), (buffer + u64::from(cut), len - cut, !write)];
                let kind = if write { request::OUT } else { request::IN };
                let indirect = driver.has(common::INDIRECT_DESC) && random.below(2) == 0;
                statuses.push(submit(&mut driver, queue, kind, sector, &pieces, indirect));
            }
        }
        for queue in 0..usize::from(queues) {
            for _ in 0..4 {
                driver.wait(queue);
            }
        }
        for status in statuses {
            assert_eq!(driver.bytes(status, 1), [OK]);
        }
        for (buffer, at, len) in reads {
            assert!(driver.bytes(buffer, len) == model[at..at + len], "{len} bytes at {at:#x}");
        }
    }
    assert!(disk.bytes(0, model.len()) == model);
    drop(held);
}

#[test]
fn data_is_right_on_one_queue() {
    integrity(u64::MAX, 1, 1, 100, 1);
    integrity(1 << common::VERSION_1 | 1 << feature::FLUSH, 1, 4, 100, 2);
}

#[test]
fn data_is_right_on_four_queues() {
    integrity(u64::MAX, 4, 3, 60, 3);
    integrity(!(1 << common::EVENT_IDX), 4, 2, 60, 4);
}

#[test]
fn a_reset_overtakes_what_is_in_flight() {
    let mut rig = Rig::new();
    let data = rig.driver.alloc(1024);
    *rig.disk.shut.lock() = true;
    let statuses = [
        rig.submit(request::IN, 5, &[(data, 512, true)]),
        rig.submit(request::IN, 6, &[(data + 512, 512, true)]),
    ];
    let disk = Arc::clone(&rig.disk);
    wait_for("both are in the disk", || disk.waiting.load(Ordering::SeqCst) == 2);
    // Neither the reset nor the new driver waits for the disk.
    rig.driver.init(u64::MAX, 1, 16);
    rig.driver.put_byte(data, 0x77);
    rig.disk.open();
    let status = rig.driver.bytes(statuses[0], 1);
    assert_eq!(rig.request(request::FLUSH, 0, &[]), (OK, 1));
    assert_eq!(rig.request(request::FLUSH, 0, &[]), (OK, 1));
    // Two threads took the old requests; when two new reads have been through, those have ended.
    for sector in 0..8 {
        assert_eq!(rig.request(request::IN, sector, &[(data + 512, 512, true)]), (OK, 513));
    }
    assert_eq!(rig.driver.poll(0), None, "nothing but our own requests was used");
    assert_eq!(rig.driver.bytes(data, 1), [0x77], "the old request did not write to memory");
    assert_eq!((status, rig.driver.bytes(statuses[1], 1)), (vec![0xee], vec![0xee]));
}

#[test]
fn resets_at_any_moment_do_no_harm() {
    let mut rig = Rig::new();
    let mut random = Random(5);
    let mark = rig.driver.mark();
    for _ in 0..300 {
        rig.driver.release(mark);
        let canary = rig.driver.alloc(64 * 512);
        for _ in 0..random.below(8) {
            let sectors = 1 + random.below(32);
            rig.submit(request::IN, random.below(32), &[(canary, sectors as u32 * 512, true)]);
        }
        if random.below(2) == 0 {
            std::thread::yield_now();
        }
        rig.driver.init(u64::MAX, 1, 64);
        rig.driver.put(canary, &[0x55; 64 * 512]);
        assert_eq!(rig.request(request::FLUSH, 0, &[]), (OK, 1));
        assert!(rig.driver.bytes(canary, 64 * 512) == [0x55; 64 * 512]);
        assert_eq!(rig.driver.poll(0), None);
    }
}

#[test]
fn survives_a_hostile_driver() {
    for seed in crate::testing::seeds(3) {
        let disk = TestDisk::new(1 << 20);
        let events = events();
        let config = BlkConfig { queues: 3, ..BlkConfig::default() };
        let blk = Blk::new(&events.handle(), Arc::clone(&disk) as Arc<dyn Disk>, &config).unwrap();
        let mut driver = hostile(Arc::clone(&blk) as Arc<dyn VirtioDevice>, 200, seed);
        assert!(blk.workers.iter().all(|worker| !worker.is_finished()), "an I/O thread has died");
        let reached = disk.waiting.load(Ordering::SeqCst);
        assert!(reached > 50, "only {reached} accesses got as far as the disk");
        driver.init(u64::MAX, 1, 16);
        let mut rig = Rig { driver, disk, _events: events };
        assert_eq!(rig.request(request::FLUSH, 0, &[]), (OK, 1));
    }
}
