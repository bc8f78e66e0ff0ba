//! A small virtio driver for tests, as a guest would write it: MMIO registers on one side, guest memory on
//! the other.

use std::sync::Arc;

use emu_core::device::{Mmio, Width};
use emu_core::mem::{GuestMemory, RamBuilder};
use vm_memory::{Bytes, GuestAddress};

use super::VirtioDevice;
use super::spec::{feature, status};
use super::transport::mmio::{MmioVersion, VirtioMmio, spec};
use crate::testing::{Lines, Random, wait_for, width};

/// Where the guest's RAM begins.
pub const RAM: u64 = 0x8000_0000;
/// How much there is.
pub const RAM_LEN: u64 = 16 << 20;
/// Where [`Driver::alloc`] begins; the queues lie before.
const HEAP: u64 = RAM + (1 << 20);

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A piece of a chain: address, length, and whether the device writes it.
pub type Piece = (u64, u32, bool);

pub fn memory() -> GuestMemory {
    let ram = RamBuilder::new().region("dram", RAM, RAM_LEN, true).and_then(RamBuilder::build).unwrap();
    ram.guest_memory().unwrap()
}

pub struct Driver {
    pub mmio: Arc<VirtioMmio>,
    pub mem: GuestMemory,
    pub lines: Arc<Lines>,
    pub queues: Vec<DriverQueue>,
    pub features: u64,
    legacy: bool,
    heap: u64,
}

impl Driver {
    /// A slot with `device` behind it; nothing is set up yet.
    pub fn new(version: MmioVersion, device: Arc<dyn VirtioDevice>) -> Self {
        let (mem, lines) = (memory(), Lines::new());
        let mmio = VirtioMmio::new(version, Some(device), mem.clone(), lines.line(0));
        let legacy = version == MmioVersion::Legacy;
        Self { mmio, mem, lines, queues: Vec::new(), features: 0, legacy, heap: HEAP }
    }

    /// A modern device, up and running with all features and `queues` queues of at most 16.
    pub fn start(device: Arc<dyn VirtioDevice>, queues: u16) -> Self {
        let mut driver = Self::new(MmioVersion::Modern, device);
        driver.init(u64::MAX, queues, 16);
        driver
    }

    pub fn read(&self, register: u64) -> u32 {
        self.mmio.read(register, Width::Word).unwrap() as u32
    }

    pub fn write(&self, register: u64, value: u32) {
        self.mmio.write(register, Width::Word, value.into()).unwrap();
    }

    pub fn set_status(&self, bits: u32) {
        self.write(spec::STATUS, self.read(spec::STATUS) | bits);
    }

    pub fn broken(&self) -> bool {
        self.read(spec::STATUS) & status::DEVICE_NEEDS_RESET != 0
    }

    /// §3.1.1 of the specification, with those of the device's features that are in `wanted`.
    pub fn init(&mut self, wanted: u64, queues: u16, size: u16) {
        self.write(spec::STATUS, 0);
        self.set_status(status::ACKNOWLEDGE);
        self.set_status(status::DRIVER);
        self.negotiate(wanted);
        self.queues = (0..queues).map(|index| self.set_up_queue(index, size)).collect();
        self.set_status(status::DRIVER_OK);
    }

    pub fn negotiate(&mut self, wanted: u64) {
        self.features = 0;
        for sel in [0, 1] {
            self.write(spec::DEVICE_FEATURES_SEL, sel);
            let features = u64::from(self.read(spec::DEVICE_FEATURES)) << (32 * sel) & wanted;
            self.write(spec::DRIVER_FEATURES_SEL, sel);
            self.write(spec::DRIVER_FEATURES, (features >> (32 * sel)) as u32);
            self.features |= features;
        }
        self.set_status(status::FEATURES_OK);
        assert_ne!(self.read(spec::STATUS) & status::FEATURES_OK, 0);
    }

    pub fn has(&self, bit: u32) -> bool {
        self.features >> bit & 1 != 0
    }

    fn queue_base(index: u16) -> u64 {
        RAM + u64::from(index) * 0x1_0000
    }

    fn set_up_queue(&self, index: u16, size: u16) -> DriverQueue {
        let base = Self::queue_base(index);
        self.write(spec::QUEUE_SEL, index.into());
        let size = size.min(self.read(spec::QUEUE_SIZE_MAX) as u16);
        assert!(size > 0, "no queue {index}");
        if self.legacy {
            // One piece of memory with the used ring at a page of its own (§2.7.2).
            let avail = base + 16 * u64::from(size);
            let queue = DriverQueue::new(size, base, avail, base + 0x1000, self);
            self.write(spec::GUEST_PAGE_SIZE, 4096);
            self.write(spec::QUEUE_SIZE, size.into());
            self.write(spec::QUEUE_ALIGN, 4096);
            self.write(spec::QUEUE_PFN, (base / 4096) as u32);
            return queue;
        }
        let queue = DriverQueue::new(size, base, base + 0x4000, base + 0x8000, self);
        self.write(spec::QUEUE_SIZE, size.into());
        for (register, address) in [
            (spec::QUEUE_DESC_LOW, queue.desc),
            (spec::QUEUE_DRIVER_LOW, queue.avail),
            (spec::QUEUE_DEVICE_LOW, queue.used),
        ] {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
        self.write(spec::QUEUE_READY, 1);
        queue
    }

    /// `len` bytes of guest memory, zeroed. They are never given back.
    pub fn alloc(&mut self, len: u32) -> u64 {
        let at = self.heap;
        self.heap += u64::from(len).next_multiple_of(64);
        assert!(self.heap <= RAM + RAM_LEN, "out of guest memory");
        at
    }

    pub fn alloc_bytes(&mut self, bytes: &[u8]) -> u64 {
        let at = self.alloc(bytes.len() as u32);
        self.mem.write_slice(bytes, GuestAddress(at)).unwrap();
        at
    }

    /// Where [`Driver::release`] may go back to.
    pub fn mark(&self) -> u64 {
        self.heap
    }

    /// Gives back everything that was allocated after `mark`.
    pub fn release(&mut self, mark: u64) {
        self.heap = mark;
    }

    pub fn put(&self, at: u64, bytes: &[u8]) {
        self.mem.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub fn put_byte(&self, at: u64, byte: u8) {
        self.put(at, &[byte]);
    }

    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.mem.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// Makes a chain available and notifies the device if it wants that.
    pub fn send(&mut self, queue: usize, pieces: &[Piece]) -> u16 {
        let head = self.queues[queue].add(&self.mem, pieces);
        self.kick(queue);
        head
    }

    /// As `send`, with the pieces in an indirect table.
    pub fn send_indirect(&mut self, queue: usize, pieces: &[Piece]) -> u16 {
        let table = self.alloc(16 * pieces.len() as u32);
        write_chain(&self.mem, table, 0..pieces.len() as u16, pieces);
        let head = self.queues[queue].add_raw(&self.mem, table, 16 * pieces.len() as u32, INDIRECT);
        self.kick(queue);
        head
    }

    pub fn kick(&mut self, queue: usize) {
        if self.queues[queue].wants_kick(&self.mem) {
            self.write(spec::QUEUE_NOTIFY, queue as u32);
        }
    }

    /// The next used chain: its head, and how many bytes were written.
    pub fn poll(&mut self, queue: usize) -> Option<(u16, u32)> {
        self.queues[queue].take_used(&self.mem)
    }

    /// Waits for the next used chain, as a driver that sleeps until the interrupt does.
    pub fn wait(&mut self, queue: usize) -> (u16, u32) {
        let mut used = None;
        wait_for("a chain is used", || {
            used = self.poll(queue);
            used.is_some()
        });
        used.unwrap()
    }

    /// Acknowledges whatever the interrupt line stands for.
    pub fn acknowledge(&self) -> u32 {
        let status = self.read(spec::INTERRUPT_STATUS);
        self.write(spec::INTERRUPT_ACK, status);
        status
    }
}

/// Writes `pieces` as a chain through descriptors `at` of the table at `table`.
pub fn write_chain(
    mem: &GuestMemory,
    table: u64,
    at: impl IntoIterator<Item = u16> + Clone,
    pieces: &[Piece],
) {
    let following = at.clone().into_iter().skip(1).map(Some).chain([None]);
    for ((index, next), (i, (addr, len, write))) in
        at.into_iter().zip(following).zip(pieces.iter().enumerate())
    {
        let last = i + 1 == pieces.len();
        let flags = if last { 0 } else { NEXT } | if *write { WRITE } else { 0 };
        write_desc(mem, table, index, (*addr, *len, flags, if last { 0 } else { next.unwrap() }));
    }
}

/// Writes one descriptor: address, length, flags, next.
pub fn write_desc(mem: &GuestMemory, table: u64, index: u16, (addr, len, flags, next): (u64, u32, u16, u16)) {
    let second = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
    let at = GuestAddress(table + 16 * u64::from(index));
    mem.write_obj(u128::from(addr) | u128::from(second) << 64, at).unwrap();
}

pub struct DriverQueue {
    pub size: u16,
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    event_idx: bool,
    free: Vec<u16>,
    chains: Vec<Vec<u16>>,
    next_avail: u16,
    kicked: u16,
    pub last_used: u16,
}

impl DriverQueue {
    pub fn new(size: u16, desc: u64, avail: u64, used: u64, driver: &Driver) -> Self {
        let queue = Self {
            size,
            desc,
            avail,
            used,
            event_idx: driver.has(feature::EVENT_IDX),
            free: (0..size).rev().collect(),
            chains: vec![Vec::new(); size.into()],
            next_avail: 0,
            kicked: 0,
            last_used: 0,
        };
        for (at, len) in
            [(desc, 16 * u64::from(size)), (avail, 6 + 2 * u64::from(size)), (used, 6 + 8 * u64::from(size))]
        {
            driver.mem.write_slice(&vec![0; len as usize], GuestAddress(at)).unwrap();
        }
        queue
    }

    fn add(&mut self, mem: &GuestMemory, pieces: &[Piece]) -> u16 {
        let at: Vec<u16> = (0..pieces.len()).map(|_| self.free.pop().expect("no free descriptors")).collect();
        write_chain(mem, self.desc, at.iter().copied(), pieces);
        self.publish(mem, at)
    }

    pub fn add_raw(&mut self, mem: &GuestMemory, addr: u64, len: u32, flags: u16) -> u16 {
        let index = self.free.pop().expect("no free descriptors");
        write_desc(mem, self.desc, index, (addr, len, flags, 0));
        self.publish(mem, vec![index])
    }

    /// Makes the chain through `at` available.
    pub fn publish(&mut self, mem: &GuestMemory, at: Vec<u16>) -> u16 {
        let head = at[0];
        self.chains[usize::from(head)] = at;
        let slot = u64::from(self.next_avail % self.size);
        mem.write_obj(head, GuestAddress(self.avail + 4 + 2 * slot)).unwrap();
        self.next_avail = self.next_avail.wrapping_add(1);
        mem.store(self.next_avail, GuestAddress(self.avail + 2), std::sync::atomic::Ordering::SeqCst)
            .unwrap();
        head
    }

    fn wants_kick(&mut self, mem: &GuestMemory) -> bool {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let (old, new) = (std::mem::replace(&mut self.kicked, self.next_avail), self.next_avail);
        if self.event_idx {
            let event: u16 = mem.read_obj(GuestAddress(self.used + 4 + 8 * u64::from(self.size))).unwrap();
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            mem.read_obj::<u16>(GuestAddress(self.used)).unwrap() & 1 == 0
        }
    }

    fn take_used(&mut self, mem: &GuestMemory) -> Option<(u16, u32)> {
        let idx: u16 = mem.load(GuestAddress(self.used + 2), std::sync::atomic::Ordering::SeqCst).unwrap();
        if idx == self.last_used {
            return None;
        }
        let slot = u64::from(self.last_used % self.size);
        let element: u64 = mem.read_obj(GuestAddress(self.used + 4 + 8 * slot)).unwrap();
        self.last_used = self.last_used.wrapping_add(1);
        if self.event_idx {
            mem.write_obj(self.last_used, GuestAddress(self.avail + 4 + 2 * u64::from(self.size))).unwrap();
        }
        let head = element as u32 as u16;
        let chain = std::mem::take(&mut self.chains[usize::from(head)]);
        assert!(!chain.is_empty(), "chain {head} was not outstanding");
        self.free.extend(chain);
        Some((head, (element >> 32) as u32))
    }
}

/// A guest that means harm: random register accesses and random rings, descriptors and chains, `rounds`
/// times, by the legacy layout of the registers and then as many times by the modern one. What it looks for is a panic,
/// a hang, or a device that cannot be used after a reset.
pub fn hostile(device: Arc<dyn VirtioDevice>, rounds: u32, seed: u64) -> Driver {
    let mut random = Random(seed);
    attack(&mut Driver::new(MmioVersion::Legacy, Arc::clone(&device)), rounds / 2, &mut random);
    let mut driver = Driver::new(MmioVersion::Modern, device);
    attack(&mut driver, rounds, &mut random);
    driver
}

fn attack(driver: &mut Driver, rounds: u32, random: &mut Random) {
    let queues = driver.mmio_queues();
    for _ in 0..rounds {
        if random.below(4) != 0 {
            driver.init(if random.below(2) == 0 { u64::MAX } else { random.bits() | 1 << 32 }, queues, 8);
        } else {
            driver.init_with_nonsense(random, queues);
        }
        for _ in 0..random.below(30) {
            let queue = random.below(u64::from(queues));
            driver.offer_nonsense(random, queue as usize);
            driver.write(spec::QUEUE_NOTIFY, queue as u32);
            for _ in 0..random.below(3) {
                let offset = random.below(0x140) & !3;
                if random.below(2) == 0 {
                    let _ = driver.mmio.read(offset, width(random));
                } else if offset != spec::STATUS || random.below(16) == 0 {
                    let _ = driver.mmio.write(offset, Width::Word, random.value() & 0xffff_ffff);
                }
            }
            if random.below(4) == 0 {
                // Let the device catch up now and then, so that not everything ends at the next reset.
                std::thread::sleep(std::time::Duration::from_micros(20));
            }
        }
    }
    // The device is free for the next driver.
    driver.write(spec::STATUS, 0);
}

impl Driver {
    fn mmio_queues(&self) -> u16 {
        let exists = |index: &u16| {
            self.write(spec::QUEUE_SEL, (*index).into());
            self.read(spec::QUEUE_SIZE_MAX) != 0
        };
        (0..64).take_while(exists).count() as u16
    }

    /// Sets queues up anywhere, with any size.
    fn init_with_nonsense(&mut self, random: &mut Random, queues: u16) {
        self.write(spec::STATUS, 0);
        for register in [spec::DRIVER_FEATURES_SEL, spec::DRIVER_FEATURES] {
            self.write(register, random.value() as u32);
        }
        self.write(spec::STATUS, status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
        self.queues.clear();
        self.write(
            spec::GUEST_PAGE_SIZE,
            [0, 1, 4096, 4096, random.value() as u32][random.below(5) as usize],
        );
        for index in 0..queues {
            self.write(spec::QUEUE_SEL, index.into());
            self.write(spec::QUEUE_SIZE, [0, 1, 3, 8, 16, 0xffff_ffff][random.below(6) as usize]);
            if self.legacy {
                self.write(
                    spec::QUEUE_ALIGN,
                    [0, 3, 4096, 4096, random.value() as u32][random.below(5) as usize],
                );
                let page = (RAM + random.below(RAM_LEN)) / 4096;
                self.write(spec::QUEUE_PFN, [page, page, random.value()][random.below(3) as usize] as u32);
                continue;
            }
            for register in [spec::QUEUE_DESC_LOW, spec::QUEUE_DRIVER_LOW, spec::QUEUE_DEVICE_LOW] {
                let address = match random.below(8) {
                    0 => random.bits(),
                    1 => RAM + RAM_LEN - random.below(64),
                    _ => RAM + (random.below(RAM_LEN) & !15),
                };
                self.write(register, address as u32);
                self.write(register + 4, (address >> 32) as u32);
            }
            self.write(spec::QUEUE_READY, 1);
        }
        self.set_status(status::DRIVER_OK);
    }

    /// Makes one chain available that looks like a request, or nearly, or not at all.
    fn offer_nonsense(&mut self, random: &mut Random, queue: usize) {
        let base = Self::queue_base(queue as u16);
        let avail = self.queues.get(queue).map_or(base + 0x4000, |queue| queue.avail);
        let (table, indirect) = (base, base + 0x2000);
        let place = |random: &mut Random| HEAP + 512 * random.below(128);
        let count = 2 + random.below(4) as u16;
        let readable = match random.below(16) {
            0 => random.below(u64::from(count) + 1) as u16,
            _ => 1 + random.below(u64::from(count) - 1) as u16,
        };
        let start = random.below(u64::from(8 - count + 1)) as u16;
        let header = place(random);
        let kind = [random.below(16), random.below(2)][random.below(2) as usize];
        let sector = [random.below(100), random.value()][random.below(2) as usize];
        self.mem.write_obj(u128::from(kind) | u128::from(sector) << 64, GuestAddress(header)).unwrap();
        let in_table = if random.below(4) == 0 { indirect } else { table };
        let first = if in_table == indirect { 0 } else { start };
        for i in 0..count {
            let addr = if i == 0 { header } else { place(random) };
            let len = if i == 0 {
                16
            } else if i + 1 == count {
                1
            } else {
                [512, 1024, 4096, 512, 16, 48, 1526, 1][random.below(8) as usize]
            };
            let flags = if i >= readable { WRITE } else { 0 } | if i + 1 < count { NEXT } else { 0 };
            let mut desc = (addr, len, flags, first + i + 1);
            if random.below(20) == 0 {
                match random.below(4) {
                    0 => {
                        desc.0 = [random.value(), RAM + RAM_LEN - random.below(600)][random.below(2) as usize]
                    }
                    1 => desc.1 = random.value() as u32,
                    2 => desc.2 = random.below(8) as u16,
                    _ => desc.3 = random.below(20) as u16,
                }
            }
            write_desc(&self.mem, in_table, first + i, desc);
        }
        if in_table == indirect {
            write_desc(&self.mem, table, start, (indirect, 16 * u32::from(count), INDIRECT, 0));
        }
        // The ring's size is whatever the set-up made of it.
        for slot in 0..16 {
            self.mem.write_obj(start, GuestAddress(avail + 4 + 2 * slot)).unwrap();
        }
        let idx: u16 = self.mem.read_obj(GuestAddress(avail + 2)).unwrap();
        let step = if random.below(64) == 0 { random.bits() as u16 } else { 1 };
        self.mem.write_obj(idx.wrapping_add(step), GuestAddress(avail + 2)).unwrap();
    }
}
