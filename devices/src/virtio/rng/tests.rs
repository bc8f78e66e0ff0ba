use super::*;
use crate::backend::entropy::HostEntropy;
use crate::testing::{events, wait_for};
use crate::virtio::testing::{Driver, RAM, RAM_LEN, hostile};

/// Counts up.
#[derive(Default)]
struct Counter(std::sync::atomic::AtomicU8);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) -> usize {
        for byte in bytes.iter_mut() {
            *byte = 1 + self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 255;
        }
        bytes.len()
    }
}

#[test]
fn fills_what_it_is_given() {
    let events = events();
    let mut driver = Driver::start(Rng::new(&events.handle(), Box::<Counter>::default()), 1);
    let (a, b) = (driver.alloc(16), driver.alloc(100));
    let head = driver.send(0, &[(a, 10, true), (b, 0, true), (b, 5, true)]);
    assert_eq!(driver.wait(0), (head, 15));
    assert_eq!(driver.bytes(a, 11), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
    assert_eq!(driver.bytes(b, 6), [11, 12, 13, 14, 15, 0]);
    wait_for("the interrupt is raised", || driver.lines.level(0));
    assert_eq!(driver.acknowledge(), 1);
    assert!(!driver.lines.level(0));

    let head = driver.send_indirect(0, &[(a, 1, true), (b, 1, true)]);
    assert_eq!(driver.wait(0), (head, 2));
    // Readable pieces are none of its business, and a chain without room gets nothing.
    let head = driver.send(0, &[(a, 10, false)]);
    assert_eq!(driver.wait(0), (head, 0));
}

#[test]
fn a_chain_gets_no_more_than_it_can_hold_and_the_limit() {
    let events = events();
    let mut driver = Driver::start(Rng::new(&events.handle(), Box::new(HostEntropy)), 1);
    let head = driver.send(0, &[(RAM + (2 << 20), 1 << 20, true), (RAM, u32::MAX - (1 << 20), true)]);
    assert_eq!(driver.wait(0), (head, 64 << 10));
    let random = driver.bytes(RAM + (2 << 20), 64 << 10);
    assert!(random.iter().filter(|byte| **byte == 0).count() < 1000);
    assert_eq!(driver.bytes(RAM + (2 << 20) + (64 << 10), 16), [0; 16]);
    // A buffer outside RAM fails that chain alone.
    let head = driver.send(0, &[(RAM + RAM_LEN - 4, 8, true)]);
    assert_eq!(driver.wait(0), (head, 0));
    assert!(!driver.broken());
}

#[test]
fn survives_a_hostile_driver() {
    let events = events();
    let rng = Rng::new(&events.handle(), Box::<Counter>::default());
    let mut driver = hostile(rng, 400, 11);
    driver.init(u64::MAX, 1, 16);
    let at = driver.alloc(4);
    let head = driver.send(0, &[(at, 4, true)]);
    assert_eq!(driver.wait(0), (head, 4));
}
