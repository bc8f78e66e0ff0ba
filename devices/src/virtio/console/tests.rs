use super::*;
use crate::testing::{events, wait_for};
use crate::virtio::testing::{Driver, RAM, RAM_LEN, hostile};
use emu_core::device::{Mmio, Width};
use emu_core::sync::EventLoop;
use std::time::Duration;

/// The host's end: input that waits, output that is kept, as much room as the test says.
struct Wire {
    events: emu_core::sync::EventHandle,
    device: Mutex<Option<Weak<dyn CharDevice>>>,
    input: Mutex<Vec<u8>>,
    output: Mutex<Vec<u8>>,
    room: Mutex<usize>,
}

impl Wire {
    fn deliver(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.events.post(move || {
            let Some(device) = this.device.lock().as_ref().and_then(Weak::upgrade) else { return };
            let bytes = this.input.lock().clone();
            let taken = device.receive(&bytes);
            this.input.lock().drain(..taken);
        });
    }

    fn make_room(self: &Arc<Self>, room: usize) {
        *self.room.lock() = room;
        let this = Arc::clone(self);
        self.events.post(move || {
            let device = this.device.lock().as_ref().and_then(Weak::upgrade).unwrap();
            device.output_ready();
        });
    }
}

/// `input_ready` needs the `Arc` to post with.
struct End(Arc<Wire>);

impl CharBackend for End {
    fn attach(&self, device: Weak<dyn CharDevice>) {
        *self.0.device.lock() = Some(device);
    }

    fn write(&self, bytes: &[u8]) -> usize {
        let mut room = self.0.room.lock();
        let taken = bytes.len().min(*room);
        *room -= taken;
        self.0.output.lock().extend(&bytes[..taken]);
        taken
    }

    fn input_ready(&self) {
        self.0.deliver();
    }

    fn drain(&self, _limit: Duration) -> bool {
        true
    }
}

fn rig() -> (Arc<Console>, Arc<Wire>, EventLoop) {
    let events = events();
    let wire = Arc::new(Wire {
        events: events.handle(),
        device: Mutex::default(),
        input: Mutex::default(),
        output: Mutex::default(),
        room: Mutex::new(usize::MAX),
    });
    (Console::new(&events.handle(), Arc::new(End(Arc::clone(&wire)))), wire, events)
}

#[test]
fn output_goes_to_the_backend() {
    let (console, wire, _events) = rig();
    let mut driver = Driver::start(console, 2);
    let (a, b) = (driver.alloc_bytes(b"hello "), driver.alloc_bytes(b"world"));
    let head = driver.send(1, &[(a, 6, false), (b, 5, false)]);
    assert_eq!(driver.wait(1), (head, 0));
    let head = driver.send_indirect(1, &[(b, 0, false)]);
    assert_eq!(driver.wait(1), (head, 0));
    let head = driver.send(1, &[(RAM + RAM_LEN - 1, 2, false)]);
    assert_eq!(driver.wait(1), (head, 0));
    let long: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let at = driver.alloc_bytes(&long);
    driver.send(1, &[(at, 100_000, false)]);
    driver.wait(1);
    assert!(*wire.output.lock() == [b"hello world", &long[..]].concat());
    driver.mmio.write(0x108, Width::Word, u64::from(b'!')).unwrap();
    assert_eq!(wire.output.lock().last(), Some(&b'!'));
}

#[test]
fn output_waits_for_room() {
    let (console, wire, _events) = rig();
    let mut driver = Driver::start(console, 2);
    *wire.room.lock() = 3;
    let at = driver.alloc_bytes(b"abcdefgh");
    driver.send(1, &[(at, 8, false)]);
    driver.send(1, &[(at, 2, false)]);
    wait_for("three bytes are through", || wire.output.lock().len() == 3);
    assert_eq!(driver.poll(1), None);
    wire.make_room(6);
    driver.wait(1);
    wait_for("the rest is held back", || *wire.output.lock() == b"abcdefgha");
    assert_eq!(driver.poll(1), None);
    wire.make_room(100);
    driver.wait(1);
    assert_eq!(*wire.output.lock(), b"abcdefghab");

    // A reset forgets what has not been output.
    *wire.room.lock() = 1;
    driver.send(1, &[(at, 8, false)]);
    wait_for("one byte is through", || wire.output.lock().len() == 11);
    driver.init(u64::MAX, 2, 16);
    wire.make_room(100);
    driver.send(1, &[(at + 7, 1, false)]);
    driver.wait(1);
    assert_eq!(*wire.output.lock(), b"abcdefghabah");
}

#[test]
fn input_waits_for_buffers() {
    let (console, wire, _events) = rig();
    wire.input.lock().extend(b"early");
    wire.deliver();
    let mut driver = Driver::start(console, 2);
    let at = driver.alloc(16);
    driver.send(0, &[(at, 3, true)]);
    assert_eq!(driver.wait(0).1, 3);
    driver.send(0, &[(at + 3, 1, true), (at + 4, 9, true)]);
    assert_eq!(driver.wait(0).1, 2);
    assert_eq!(&driver.bytes(at, 6), b"early\0");
    assert!(wire.input.lock().is_empty());
    // Buffers first, characters later.
    driver.send(0, &[(at, 4, true)]);
    driver.send(0, &[(at + 4, 4, true)]);
    wire.input.lock().extend(b"later!");
    wire.deliver();
    assert_eq!((driver.wait(0).1, driver.wait(0).1), (4, 2));
    assert_eq!(&driver.bytes(at, 6), b"later!");

    driver.send(0, &[(at, 4, false)]);
    wire.input.lock().extend(b"x");
    wire.deliver();
    wait_for("a buffer without room breaks the queue", || driver.broken());
}

#[test]
fn survives_a_hostile_driver() {
    let (console, wire, _events) = rig();
    wire.input.lock().extend([b'i'; 5000]);
    let mut driver = hostile(console, 300, 21);
    assert!(wire.output.lock().len() > 1000, "hardly a byte got through");
    *wire.room.lock() = usize::MAX;
    driver.init(u64::MAX, 2, 16);
    let at = driver.alloc_bytes(b"alive");
    driver.send(1, &[(at, 5, false)]);
    driver.wait(1);
    assert!(wire.output.lock().ends_with(b"alive"));
}
