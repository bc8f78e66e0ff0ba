//! What the tests of all devices share: recorded interrupt lines, an event loop that runs when told, random
//! accesses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use emu_core::device::{IrqLine, IrqSink, Mmio, Width};
use emu_core::sync::EventLoop;
pub use emu_core::testing::{Random, seeds};
use emu_core::time::Clock;
use parking_lot::Mutex;

/// Records the level of numbered lines, and how often each rose.
#[derive(Default)]
pub struct Lines {
    seen: Mutex<Vec<(bool, u32)>>,
}

impl Lines {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn line(self: &Arc<Self>, line: u32) -> IrqLine {
        IrqLine::new(Arc::clone(self) as Arc<dyn IrqSink>, line)
    }

    pub fn level(&self, line: u32) -> bool {
        self.seen.lock().get(line as usize).is_some_and(|seen| seen.0)
    }

    pub fn rises(&self, line: u32) -> u32 {
        self.seen.lock().get(line as usize).map_or(0, |seen| seen.1)
    }
}

impl IrqSink for Lines {
    fn set_line(&self, line: u32, level: bool) {
        let mut seen = self.seen.lock();
        let line = line as usize;
        if seen.len() <= line {
            seen.resize(line + 1, (false, 0));
        }
        seen[line].1 += u32::from(level && !seen[line].0);
        seen[line].0 = level;
    }
}

/// A running event queue on real time.
pub fn events() -> EventLoop {
    EventLoop::start(Clock::real_time()).unwrap()
}

/// Waits until `condition` holds; a test that would wait for ever fails instead.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The width of an access.
pub fn width(random: &mut Random) -> Width {
    random.pick(&[Width::Byte, Width::Half, Width::Word, Width::Word, Width::Double])
}

/// `count` random accesses within the `len` bytes of `device`, aligned or not, with a reset now and then. A
/// third of them go to the offsets in `hot`.
pub fn hammer(device: &dyn Mmio, len: u64, hot: &[u64], count: u32, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..count {
        let width = width(&mut random);
        let offset = match random.below(3) {
            0 if !hot.is_empty() => hot[random.below(hot.len() as u64) as usize],
            1 => random.below(len) & !(width.bytes() - 1),
            _ => random.below(len),
        };
        let offset = offset.min(len - width.bytes());
        if random.below(2) == 0 {
            if let Ok(value) = device.read(offset, width) {
                assert_eq!(value & !width.mask(), 0, "read {offset:#x} {width:?} is not zero-extended");
            }
        } else {
            // A refused access is an architectural fault, which is fine; panics and hangs are what this looks
            // for.
            let _ = device.write(offset, width, random.value() & width.mask());
        }
        if random.below(10_000) == 0 {
            device.reset();
        }
    }
}
