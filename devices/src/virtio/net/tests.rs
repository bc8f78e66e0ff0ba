use super::*;
use crate::backend::net::Offloads;
use crate::testing::{events, wait_for};
use crate::virtio::testing::{Driver, RAM, RAM_LEN, hostile};
use crate::virtio::transport::mmio::MmioVersion;
use emu_core::device::{Mmio, Width};
use emu_core::sync::EventLoop;
use std::sync::atomic::{AtomicU32, Ordering};

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

#[derive(Default)]
struct Wire {
    sink: Mutex<Option<Arc<dyn FrameSink>>>,
    sent: Mutex<Vec<Vec<u8>>>,
    ready: AtomicU32,
    detached: AtomicU32,
    offloads: Offloads,
}

impl NetBackend for Wire {
    fn send(&self, frame: &[u8]) {
        self.sent.lock().push(frame.to_vec());
    }

    fn attach(&self, sink: Arc<dyn FrameSink>) {
        *self.sink.lock() = Some(sink);
    }

    fn detach(&self) {
        *self.sink.lock() = None;
        self.detached.fetch_add(1, Ordering::SeqCst);
    }

    fn rx_ready(&self) {
        self.ready.fetch_add(1, Ordering::SeqCst);
    }

    fn mtu(&self) -> u16 {
        1500
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }
}

impl Wire {
    fn give(&self, frame: &[u8]) -> bool {
        let sink = self.sink.lock().clone();
        sink.unwrap().receive(frame)
    }
}

fn rig() -> (Arc<Net>, Arc<Wire>, EventLoop) {
    let (events, wire) = (events(), Arc::<Wire>::default());
    (Net::new(&events.handle(), Arc::clone(&wire) as Arc<dyn NetBackend>, MAC), wire, events)
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(7).wrapping_add(seed)).collect()
}

#[test]
fn configuration_and_offloads() {
    let (net, _wire, events) = rig();
    let driver = Driver::start(net, 2);
    assert_eq!(driver.features & 0xfff_ffff, 1 << 3 | 1 << 5 | 1 << 15 | 1 << 16);
    let config = |offset: u64, width| driver.mmio.read(0x100 + offset, width).unwrap();
    assert_eq!((0..6).map(|i| config(i, Width::Byte) as u8).collect::<Vec<_>>(), MAC);
    assert_eq!((config(6, Width::Half), config(10, Width::Half)), (1, 1500));

    let offloads = Offloads { tx_checksum: true, tx_tcp_segmentation: true, rx_checksum: true };
    let wire = Arc::new(Wire { offloads, ..Wire::default() });
    let net = Net::new(&events.handle(), Arc::clone(&wire) as Arc<dyn NetBackend>, MAC);
    let mut driver = Driver::start(net, 2);
    assert_eq!(driver.features & 0xfff, 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 11);
    let at = driver.alloc(100);
    driver.send(0, &[(at, 100, true)]);
    assert!(wire.give(&[1; 60]));
    driver.wait(0);
    assert_eq!(driver.bytes(at, 13), [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1], "checked, in one buffer");
}

#[test]
fn sends_frames_without_their_header() {
    let (net, wire, _events) = rig();
    let mut driver = Driver::start(net, 2);
    let first = frame(60, 1);
    let header = driver.alloc(12);
    let at = driver.alloc_bytes(&first);
    let head = driver.send(1, &[(header, 12, false), (at, 60, false)]);
    assert_eq!(driver.wait(1), (head, 0));
    let long = frame(MAX_FRAME, 2);
    let at = driver.alloc_bytes(&[&[0; 12], &long[..]].concat());
    driver.send(1, &[(at, 5, false), (at + 5, 12 + MAX_FRAME as u32 - 5, false)]);
    driver.wait(1);
    // Lost: too short, too long, no header, not in RAM.
    for pieces in [(at, 25), (at, 13 + MAX_FRAME as u32), (at, 7), (RAM + RAM_LEN - 20, 60)] {
        driver.send(1, &[(pieces.0, pieces.1, false)]);
        driver.wait(1);
    }
    assert!(*wire.sent.lock() == [first, long]);
    assert!(!driver.broken());
}

#[test]
fn receives_into_one_buffer_or_several() {
    let (net, wire, _events) = rig();
    assert!(wire.give(&[9; 60]), "without a driver frames are lost");
    let mut driver = Driver::start(net, 2);
    let at = driver.alloc(4096);
    let (small, big) = (frame(64, 3), frame(1514, 4));
    assert!(wire.give(&small) && wire.give(&big));
    let head = driver.send(0, &[(at, 1600, true)]);
    assert_eq!(driver.wait(0), (head, 76));
    assert_eq!(driver.bytes(at, 76), [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], &small[..]].concat());
    // The big one waits until there are enough buffers, and then takes them all at once.
    let heads: Vec<u16> = (0..2).map(|i| driver.send(0, &[(at + 600 * i, 600, true)])).collect();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(driver.poll(0), None);
    let last = driver.send(0, &[(at + 1200, 300, true), (at + 1500, 300, true)]);
    assert_eq!(
        [driver.wait(0), driver.wait(0), driver.wait(0)],
        [(heads[0], 600), (heads[1], 600), (last, 326)]
    );
    assert_eq!(driver.bytes(at, 1526), [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0], &big[..]].concat());
}

#[test]
fn a_driver_without_mergeable_buffers() {
    let (net, wire, _events) = rig();
    let mut driver = Driver::new(MmioVersion::Modern, net);
    driver.init(!(1 << feature::MRG_RXBUF | 1 << common::VERSION_1), 2, 16);
    let at = driver.alloc(4096);
    let (small, big) = (frame(64, 3), frame(1514, 4));
    assert!(wire.give(&big) && wire.give(&small));
    let head = driver.send(0, &[(at, 100, true)]);
    assert_eq!(driver.wait(0), (head, 74), "the frame that does not fit is lost, its buffer is not");
    assert_eq!(driver.bytes(at, 74), [&[0; 10], &small[..]].concat());
    driver.send(1, &[(at, 74, false)]);
    driver.wait(1);
    assert_eq!(*wire.sent.lock(), [small]);

    driver.send(0, &[(at, 9, true)]);
    assert!(wire.give(&big));
    wait_for("a buffer without room for a header breaks the queue", || driver.broken());
    driver.init(u64::MAX, 2, 16);
    driver.send(0, &[(RAM + RAM_LEN, 2000, true)]);
    assert!(wire.give(&big));
    wait_for("and so does one that is not in RAM", || driver.broken());
}

#[test]
fn the_backend_waits_when_the_guest_does_not_take_frames() {
    let (net, wire, _events) = rig();
    let mut driver = Driver::start(net, 2);
    let taken = (0..1000u32).take_while(|i| wire.give(&[*i as u8; 60])).count();
    // One more may have been taken while the card had the first in hand.
    assert!((INBOX_LIMIT..=INBOX_LIMIT + 1).contains(&taken), "{taken}");
    assert_eq!(wire.ready.load(Ordering::SeqCst), 0);
    let at = driver.alloc(100);
    for i in 0..taken {
        driver.send(0, &[(at, 100, true)]);
        driver.wait(0);
        assert_eq!(driver.bytes(at + 12, 1), [i as u8], "in order");
    }
    assert_eq!(wire.ready.load(Ordering::SeqCst), 1);
    // A reset lets the backend go on as well.
    while wire.give(&[0; 60]) {}
    driver.init(u64::MAX, 2, 16);
    assert_eq!(wire.ready.load(Ordering::SeqCst), 2);
    driver.send(0, &[(at, 100, true)]);
    assert!(wire.give(&[0xee; 60]));
    driver.wait(0);
    assert_eq!(driver.bytes(at + 12, 1), [0xee], "what came before the reset is forgotten");
    drop(driver);
    wait_for("the card is off the network", || wire.detached.load(Ordering::SeqCst) == 1);
}

#[test]
fn the_user_mode_network_answers() {
    let events = events();
    let network = crate::backend::net::UserNet::start(Default::default()).unwrap();
    let mut driver = Driver::start(Net::new(&events.handle(), network, MAC), 2);
    // Who has 10.0.2.2?
    let mut request = vec![0xff; 6];
    request.extend(MAC);
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(MAC);
    request.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    let answer = driver.alloc(2000);
    driver.send(0, &[(answer, 2000, true)]);
    let at = driver.alloc_bytes(&[&[0; 12], &request[..]].concat());
    driver.send(1, &[(at, 12 + request.len() as u32, false)]);
    driver.wait(0);
    let reply = driver.bytes(answer + 12, 42);
    assert_eq!((&reply[..6], &reply[12..14], &reply[20..22]), (&MAC[..], &[8, 6][..], &[0, 2][..]));
    assert_eq!(reply[28..32], [10, 0, 2, 2]);
}

#[test]
fn survives_a_hostile_driver() {
    let (net, wire, _events) = rig();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let feeder = {
        let (wire, stop) = (Arc::clone(&wire), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                wire.give(&[1; 1514]);
                std::thread::yield_now();
            }
        })
    };
    let mut driver = hostile(net, 300, 31);
    stop.store(true, Ordering::Relaxed);
    feeder.join().unwrap();
    assert!(wire.sent.lock().len() > 20, "hardly a frame got through");
    driver.init(u64::MAX, 2, 16);
    let at = driver.alloc(100);
    driver.send(1, &[(at, 100, false)]);
    driver.wait(1);
    driver.send(0, &[(at, 100, true)]);
    assert!(wire.give(&[0xcd; 60]));
    driver.wait(0);
    assert_eq!(driver.bytes(at + 12, 1), [0xcd]);
}
