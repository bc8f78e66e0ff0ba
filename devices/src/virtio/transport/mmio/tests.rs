use super::*;
use crate::testing::{Lines, hammer};
use crate::virtio::testing::{Driver, INDIRECT, NEXT, RAM, RAM_LEN, WRITE, memory, write_chain, write_desc};
use crate::virtio::{Chain, copy_config};
use spec::*;
use vm_memory::{Bytes, GuestAddress};

/// A device of two queues that does nothing by itself.
#[derive(Default)]
struct Probe {
    active: Mutex<Option<Activation>>,
    notified: Mutex<Vec<u16>>,
    resets: Mutex<u32>,
    written: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl VirtioDevice for Probe {
    fn id(&self) -> u32 {
        42
    }

    fn features(&self) -> u64 {
        1 << 3 | 1 << 40
    }

    fn queue_sizes(&self) -> &[u16] {
        &[16, 8]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&[1, 2, 3, 4, 5], offset, data);
    }

    fn write_config(&self, offset: u64, data: &[u8]) {
        self.written.lock().push((offset, data.to_vec()));
    }

    fn activate(&self, activation: Activation) {
        let old = self.active.lock().replace(activation);
        assert!(old.is_none(), "activated twice");
    }

    fn notify(&self, queue: u16) {
        self.notified.lock().push(queue);
    }

    fn reset(&self) {
        *self.resets.lock() += 1;
        *self.active.lock() = None;
    }
}

impl Probe {
    fn queue(&self, index: usize) -> Arc<VirtQueue> {
        self.active.lock().as_ref().unwrap().queue(index).unwrap()
    }
}

fn rig(version: MmioVersion) -> (Driver, Arc<Probe>) {
    let probe = Arc::<Probe>::default();
    (Driver::new(version, Arc::clone(&probe) as Arc<dyn VirtioDevice>), probe)
}

fn modern() -> (Driver, Arc<Probe>) {
    let (mut driver, probe) = rig(MmioVersion::Modern);
    driver.init(u64::MAX, 2, 16);
    (driver, probe)
}

#[test]
fn registers_of_a_modern_device() {
    let (driver, probe) = rig(MmioVersion::Modern);
    assert_eq!(driver.read(MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!((driver.read(VERSION), driver.read(DEVICE_ID)), (2, 42));
    let features = |sel| {
        driver.write(DEVICE_FEATURES_SEL, sel);
        driver.read(DEVICE_FEATURES)
    };
    assert_eq!(features(0), 1 << 28 | 1 << 29 | 1 << 3);
    assert_eq!((features(1), features(2)), (1 << 8 | 1, 0));
    let size_max = |queue| {
        driver.write(QUEUE_SEL, queue);
        driver.read(QUEUE_SIZE_MAX)
    };
    assert_eq!((size_max(0), size_max(1), size_max(2), size_max(u32::MAX)), (16, 8, 0, 0));
    assert_eq!((driver.read(SHM_LEN_LOW), driver.read(SHM_BASE_HIGH)), (u32::MAX, u32::MAX));
    assert_eq!(driver.read(GUEST_PAGE_SIZE), 0);

    let config = |offset, width| driver.mmio.read(CONFIG + offset, width);
    assert_eq!(config(0, Width::Word), Ok(0x0403_0201));
    assert_eq!((config(1, Width::Byte), config(3, Width::Half)), (Ok(2), Ok(0x0504)));
    assert_eq!((config(0, Width::Double), config(0xe00, Width::Word)), (Ok(0x05_0403_0201), Ok(0)));
    driver.mmio.write(CONFIG + 2, Width::Half, 0xabcd).unwrap();
    assert_eq!(*probe.written.lock(), [(2, vec![0xcd, 0xab])]);
    assert_eq!(driver.mmio.read(0, Width::Byte), Err(AccessError::Width));
    assert_eq!(driver.mmio.read(2, Width::Word), Err(AccessError::Width));
    assert_eq!(driver.mmio.write(STATUS, Width::Double, 0), Err(AccessError::Width));
}

#[test]
fn an_empty_slot_has_no_device() {
    let lines = Lines::new();
    let slot = VirtioMmio::new(MmioVersion::Modern, None, memory(), lines.line(0));
    assert_eq!(slot.read(MAGIC_VALUE, Width::Word), Ok(MAGIC.into()));
    assert_eq!(slot.read(VERSION, Width::Word), Ok(2));
    for offset in [DEVICE_ID, STATUS, QUEUE_SIZE_MAX, CONFIG] {
        slot.write(offset, Width::Word, 1).unwrap();
        assert_eq!(slot.read(offset, Width::Word), Ok(0), "{offset:#x}");
    }
    hammer(&*slot, 0x1000, &[STATUS, QUEUE_NOTIFY], 20_000, 1);
}

#[test]
fn features_that_are_not_offered_are_refused() {
    let (driver, probe) = rig(MmioVersion::Modern);
    driver.write(STATUS, 3);
    driver.write(DRIVER_FEATURES_SEL, 0);
    driver.write(DRIVER_FEATURES, 1 << 4);
    driver.set_status(status::FEATURES_OK);
    assert_eq!(driver.read(STATUS), 3);
    driver.write(DRIVER_FEATURES, 1 << 3);
    driver.set_status(status::FEATURES_OK);
    assert_eq!(driver.read(STATUS), 11, "a driver need not accept VERSION_1");
    driver.write(DRIVER_FEATURES, 0);
    driver.set_status(status::DRIVER_OK);
    assert_eq!(probe.active.lock().as_ref().unwrap().features, 1 << 3, "features are fixed by FEATURES_OK");
}

#[test]
fn a_driver_gets_its_queues_at_driver_ok() {
    let (mut driver, probe) = rig(MmioVersion::Modern);
    driver.write(QUEUE_NOTIFY, 0);
    driver.init(u64::MAX, 1, 4);
    assert_eq!(driver.features, 1 << 3 | 1 << 28 | 1 << 29 | 1 << 32 | 1 << 40);
    assert!(probe.active.lock().as_ref().unwrap().queue(1).is_none(), "queue 1 was not set up");
    driver.write(QUEUE_NOTIFY, 1);
    driver.write(QUEUE_NOTIFY, 2);
    driver.write(QUEUE_NOTIFY, 0x1_0000);
    assert_eq!(*probe.notified.lock(), [1]);

    let queue = probe.queue(0);
    assert!(queue.pop().is_none() && !queue.rearm());
    let (a, b) = (driver.alloc_bytes(b"abcdef"), driver.alloc(8));
    let head = driver.send(0, &[(a, 2, false), (a + 2, 4, false), (b, 8, true)]);
    let chain = queue.pop().unwrap();
    assert_eq!((chain.readable_len(), chain.writable_len()), (6, 8));
    let mut bytes = [0; 5];
    let mut reader = chain.reader();
    queue
        .with_memory(|mem| reader.read(mem, &mut bytes[..1]).and_then(|()| reader.read(mem, &mut bytes[1..])))
        .unwrap()
        .unwrap();
    assert_eq!(&bytes, b"abcde");
    let mut writer = chain.writer();
    queue.with_memory(|mem| writer.skip(3).and_then(|()| writer.write(mem, b"xyz"))).unwrap().unwrap();
    assert!(queue.with_memory(|mem| writer.write(mem, b"too much")).unwrap().is_err());
    queue.complete(chain, 6);
    assert_eq!(driver.poll(0), Some((head, 6)));
    assert_eq!(&driver.bytes(b, 6), b"\0\0\0xyz");
    assert_eq!((driver.lines.level(0), driver.acknowledge(), driver.lines.level(0)), (true, 1, false));

    driver.write(QUEUE_SEL, 0);
    driver.write(QUEUE_SIZE, 2);
    driver.write(QUEUE_DESC_LOW, 0);
    driver.send(0, &[(a, 1, false)]);
    let chain = queue.pop().expect("a queue in use cannot be laid out anew");
    assert_eq!(driver.read(QUEUE_READY), 1);
    driver.write(QUEUE_READY, 0);
    assert_eq!(driver.read(QUEUE_READY), 0);
    queue.complete(chain, 0);
    assert_eq!(driver.poll(0), None, "the queue was withdrawn");
    driver.write(QUEUE_READY, 1);
    assert_eq!(driver.read(QUEUE_READY), 0, "and does not come back before a reset");
}

#[test]
fn several_chains_are_used_at_once_and_unpopped_ones_come_again() {
    let (mut driver, probe) = modern();
    let at = driver.alloc(64);
    let heads: Vec<u16> = (0..3).map(|i| driver.send(0, &[(at + i, 1, true)])).collect();
    let queue = probe.queue(0);
    let (first, second) = (queue.pop().unwrap(), queue.pop().unwrap());
    queue.unpop(second);
    assert!(queue.rearm());
    let second = queue.pop().unwrap();
    assert_eq!(second.writable[0].addr, GuestAddress(at + 1));
    queue.complete_all(vec![(first, 1), (second, 2)]);
    assert_eq!(
        (driver.poll(0), driver.poll(0), driver.poll(0)),
        (Some((heads[0], 1)), Some((heads[1], 2)), None)
    );
}

#[test]
fn notifications_are_suppressed_both_ways() {
    for features in [u64::MAX, !(1 << feature::EVENT_IDX)] {
        let (mut driver, probe) = rig(MmioVersion::Modern);
        driver.init(features, 1, 16);
        let queue = probe.queue(0);
        let at = driver.alloc(16);
        for _ in 0..40 {
            for _ in 0..3 {
                driver.send(0, &[(at, 1, true)]);
            }
            let first = queue.pop().unwrap();
            driver.send(0, &[(at, 1, true)]);
            let notified = std::mem::take(&mut *probe.notified.lock()).len();
            assert_eq!(notified, if driver.has(29) { 1 } else { 3 }, "none after the device has begun");
            queue.complete(first, 0);
            while let Some(chain) = queue.pop() {
                queue.complete(chain, 0);
            }
            assert_eq!(driver.acknowledge(), 1);
            assert!(!queue.rearm());
            while driver.poll(0).is_some() {}
        }
        // The driver wants to hear of the third only, or of nothing.
        let (wanted, index) = if driver.has(29) { (driver.queues[0].last_used + 2, 36) } else { (1, 0) };
        driver.mem.write_obj(wanted, GuestAddress(driver.queues[0].avail + index)).unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            driver.send(0, &[(at, 1, true)]);
            queue.complete(queue.pop().unwrap(), 0);
            seen.push(driver.acknowledge());
        }
        assert_eq!(seen, if driver.has(29) { [0, 0, 1, 0] } else { [0; 4] });
    }
}

#[test]
fn a_reset_takes_the_queues_away() {
    let (mut driver, probe) = modern();
    let at = driver.alloc(16);
    for _ in 0..3 {
        driver.send(0, &[(at, 1, true)]);
    }
    let old = probe.queue(0);
    let (one, two) = (old.pop().unwrap(), old.pop().unwrap());
    old.complete(one, 1);
    driver.write(STATUS, 0);
    assert_eq!((driver.read(STATUS), driver.read(INTERRUPT_STATUS), driver.lines.level(0)), (0, 0, false));
    assert_eq!(*probe.resets.lock(), 2, "one by the driver's own first step");
    driver.init(u64::MAX, 2, 16);
    old.complete(two, 1);
    assert!(old.pop().is_none() && !old.rearm());
    assert!(old.with_memory(|_| ()).is_none());
    old.fail(&QueueError::Overcommitted);
    assert_eq!((driver.poll(0), driver.lines.level(0), driver.broken()), (None, false, false));
    let head = driver.send(0, &[(at, 1, true)]);
    let new = probe.queue(0);
    new.complete(new.pop().unwrap(), 1);
    assert_eq!(driver.poll(0), Some((head, 1)));
    driver.mmio.reset();
    assert_eq!(driver.read(STATUS), 0);
}

#[test]
fn layouts_that_are_not_valid_need_a_reset() {
    let good = [8, RAM, RAM + 0x4000, RAM + 0x8000];
    let end = RAM + RAM_LEN;
    for bad in [
        [0, good[1], good[2], good[3]],
        [3, good[1], good[2], good[3]],
        [32, good[1], good[2], good[3]],
        [0x1_0008, good[1], good[2], good[3]],
        [8, RAM + 8, good[2], good[3]],
        [8, good[1], good[2] + 1, good[3]],
        [8, good[1], good[2], good[3] + 2],
        [8, end - 112, good[2], good[3]],
        [8, good[1], end - 20, good[3]],
        [8, good[1], good[2], end - 68],
        [8, 0, good[2], good[3]],
        [8, good[1], good[2], u64::MAX - 3],
        [8, u64::MAX - 15, good[2], good[3]],
    ] {
        let (driver, probe) = rig(MmioVersion::Modern);
        let set_up = |layout: [u64; 4]| {
            driver.write(STATUS, 0);
            driver.write(STATUS, 11);
            driver.write(QUEUE_SEL, 0);
            driver.write(QUEUE_SIZE, layout[0] as u32);
            for (register, address) in
                [QUEUE_DESC_LOW, QUEUE_DRIVER_LOW, QUEUE_DEVICE_LOW].into_iter().zip(&layout[1..])
            {
                driver.write(register, *address as u32);
                driver.write(register + 4, (*address >> 32) as u32);
            }
            driver.write(QUEUE_READY, 1);
            driver.set_status(status::DRIVER_OK);
        };
        set_up(bad);
        assert!(driver.broken() && probe.active.lock().is_none(), "{bad:x?}");
        assert_eq!(driver.acknowledge(), INTERRUPT_CONFIG);
        driver.write(QUEUE_NOTIFY, 0);
        set_up(good);
        assert!(!driver.broken() && probe.active.lock().is_some());
    }
}

/// What one hostile chain does: the descriptors at 0.. of the queue's table, then head 0 is made available.
fn pop_hostile(descriptors: &[(u64, u32, u16, u16)]) -> (Option<Chain>, bool) {
    let (mut driver, probe) = modern();
    for (index, descriptor) in descriptors.iter().enumerate() {
        write_desc(&driver.mem, driver.queues[0].desc, index as u16, *descriptor);
    }
    driver.queues[0].publish(&driver.mem, vec![0]);
    let chain = probe.queue(0).pop();
    (chain, driver.broken())
}

#[test]
fn chains_that_cannot_be_followed_need_a_reset() {
    let at = RAM + 0x10_0000;
    for bad in [
        &[(at, 1, NEXT, 0)][..],                                      // a loop of one
        &[(at, 1, NEXT, 1), (at, 1, NEXT, 0)],                        // of two
        &[(at, 1, NEXT, 16)],                                         // out of the table
        &[(at, 1, NEXT, 1), (at, 1, WRITE | NEXT, 2), (at, 1, 0, 0)], // readable after writable
        &[(at, u32::MAX, NEXT, 1), (at, 2, 0, 0)],                    // longer than 4 GiB
        &[(at, 16, INDIRECT, 0)],       // a table whose first one names itself: below
        &[(at, 17, INDIRECT, 0)],       // not a whole number of descriptors
        &[(at, 0, INDIRECT, 0)],        // an empty table
        &[(at, 16 << 16, INDIRECT, 0)], // too long a table
        &[(RAM + RAM_LEN, 16, INDIRECT, 0)], // outside RAM
        &[(u64::MAX - 7, 16, INDIRECT, 0)],
        &[(at, 1, NEXT, 1), (RAM - 16, 16, INDIRECT, 0)],
    ] {
        let (driver, probe) = {
            let (mut driver, probe) = modern();
            for (index, descriptor) in bad.iter().enumerate() {
                write_desc(&driver.mem, driver.queues[0].desc, index as u16, *descriptor);
            }
            write_desc(&driver.mem, at, 0, (at, 16, INDIRECT, 0));
            driver.queues[0].publish(&driver.mem, vec![0]);
            (driver, probe)
        };
        assert!(probe.queue(0).pop().is_none(), "{bad:x?}");
        assert!(driver.broken(), "{bad:x?}");
        assert!(driver.lines.level(0));
        assert!(probe.queue(0).pop().is_none() && !probe.queue(0).rearm());
    }
    let (chain, broken) = pop_hostile(&[(0, 1, NEXT, 1), (u64::MAX, u32::MAX - 1, WRITE, 0)]);
    assert!(!broken, "where a buffer lies matters only when it is used");
    let chain = chain.unwrap();
    let mem = memory();
    assert!(chain.reader().read(&mem, &mut [0]).is_err());
    assert!(chain.writer().write(&mem, &[0; 8]).is_err());
}

#[test]
fn rings_that_run_away_need_a_reset() {
    let (driver, probe) = modern();
    driver.mem.write_obj(17u16, GuestAddress(driver.queues[0].avail + 2)).unwrap();
    assert!(probe.queue(0).pop().is_none() && driver.broken());

    // The same head again and again, without waiting for it to be used.
    let (mut driver, probe) = modern();
    write_chain(&driver.mem, driver.queues[0].desc, [0], &[(RAM, 1, true)]);
    let mut out = Vec::new();
    for _ in 0..20 {
        driver.queues[0].publish(&driver.mem, vec![0]);
        out.extend(probe.queue(0).pop());
    }
    assert_eq!((out.len(), driver.broken()), (16, true));

    let (mut driver, probe) = modern();
    driver.queues[0].publish(&driver.mem, vec![0]);
    driver.mem.write_obj(16u16, GuestAddress(driver.queues[0].avail + 4)).unwrap();
    assert!(probe.queue(0).pop().is_none() && driver.broken(), "head 16 does not exist");
}

#[test]
fn a_legacy_driver() {
    let (mut driver, probe) = rig(MmioVersion::Legacy);
    assert_eq!((driver.read(VERSION), driver.read(DEVICE_ID)), (1, 42));
    // Linux says this before it resets the device.
    driver.write(GUEST_PAGE_SIZE, 4096);
    driver.write(STATUS, 0);
    driver.write(STATUS, 3);
    driver.write(DEVICE_FEATURES_SEL, 1);
    assert_eq!(driver.read(DEVICE_FEATURES), 0, "there are only 32 features");
    driver.write(DRIVER_FEATURES, 1 << 3);
    driver.write(QUEUE_SEL, 1);
    driver.write(QUEUE_SIZE, 8);
    driver.write(QUEUE_ALIGN, 4096);
    assert_eq!(driver.read(QUEUE_PFN), 0);
    driver.write(QUEUE_PFN, (RAM >> 12) as u32);
    assert_eq!(driver.read(QUEUE_PFN), (RAM >> 12) as u32);
    // Before DRIVER_OK, as old drivers do.
    driver.write(QUEUE_NOTIFY, 1);
    assert_eq!(*probe.notified.lock(), [1]);
    let queue = crate::virtio::testing::DriverQueue::new(8, RAM, RAM + 128, RAM + 4096, &driver);
    driver.queues = vec![queue];
    let at = driver.alloc(8);
    driver.send(0, &[(at, 8, true)]);
    let queue = probe.queue(1);
    queue.complete(queue.pop().unwrap(), 8);
    assert_eq!(driver.poll(0), Some((0, 8)));
    driver.set_status(status::DRIVER_OK);
    driver.write(QUEUE_PFN, 0);
    assert!(queue.with_memory(|_| ()).is_none());
    driver.write(STATUS, 0);

    for (page_size, pfn, align, size) in [
        (4096, u32::MAX, 4096, 8),
        (u32::MAX, u32::MAX, 4096, 8),
        (4096, 0x80000, 3, 8),
        (4096, 0x80000, 0, 8),
        (0, 1, 4096, 8),
        (4096, 0x80000, 4096, u32::MAX),
        (4096, 0x80000, 1 << 31, 8),
    ] {
        driver.write(STATUS, 0);
        driver.write(STATUS, 3);
        for (register, value) in [
            (GUEST_PAGE_SIZE, page_size),
            (QUEUE_SEL, 0),
            (QUEUE_SIZE, size),
            (QUEUE_ALIGN, align),
            (QUEUE_PFN, pfn),
        ] {
            driver.write(register, value);
        }
        driver.set_status(status::DRIVER_OK);
        assert!(driver.broken(), "{page_size:#x} {pfn:#x} {align:#x} {size:#x}");
    }
}

#[test]
fn configuration_changes_are_told() {
    let (driver, probe) = modern();
    let signal = Arc::clone(&probe.active.lock().as_ref().unwrap().signal);
    let generation = driver.read(CONFIG_GENERATION);
    signal.config_changed();
    assert_ne!(driver.read(CONFIG_GENERATION), generation);
    assert_eq!((driver.lines.level(0), driver.acknowledge()), (true, INTERRUPT_CONFIG));
}

#[test]
fn survives_random_accesses() {
    for (seed, version) in [MmioVersion::Modern, MmioVersion::Legacy].into_iter().enumerate() {
        let (driver, _) = rig(version);
        let hot = [
            STATUS,
            QUEUE_NOTIFY,
            QUEUE_READY,
            QUEUE_PFN,
            QUEUE_SEL,
            QUEUE_SIZE,
            QUEUE_DESC_LOW,
            DRIVER_FEATURES,
        ];
        hammer(&*driver.mmio, 0x1000, &hot, 200_000, seed as u64);
    }
}
