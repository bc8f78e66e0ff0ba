use super::*;
use crate::testing::{Lines, Random, hammer};

const CONFIG: PlicConfig = PlicConfig { sources: 96, priority_bits: 3 };

struct Rig {
    plic: Arc<Plic>,
    lines: Arc<Lines>,
}

impl Rig {
    /// Two contexts; source n has priority n % 8; all are enabled for context 0.
    fn new() -> Self {
        let lines = Lines::new();
        let plic = Plic::new(CONFIG, vec![lines.line(0), lines.line(1)]);
        let rig = Self { plic, lines };
        for source in 1..96 {
            rig.write(4 * source, source % 8);
        }
        for word in 0..3 {
            rig.write(0x2000 + 4 * word, u64::MAX);
        }
        rig
    }

    fn read(&self, offset: u64) -> u64 {
        self.plic.read(offset, Width::Word).unwrap()
    }

    fn write(&self, offset: u64, value: u64) {
        self.plic.write(offset, Width::Word, value & 0xffff_ffff).unwrap();
    }

    fn claim(&self, context: u64) -> u64 {
        self.read(0x20_0004 + 0x1000 * context)
    }

    fn complete(&self, context: u64, source: u64) {
        self.write(0x20_0004 + 0x1000 * context, source);
    }
}

#[test]
fn registers_hold_only_what_exists() {
    let rig = Rig::new();
    rig.write(0, 7);
    assert_eq!(rig.read(0), 0, "source 0 does not exist");
    rig.write(4 * 96, 7);
    assert_eq!(rig.read(4 * 96), 0, "nor does source 96");
    rig.write(4, 0xff);
    assert_eq!(rig.read(4), 7, "three priority bits");
    assert_eq!(rig.read(0x2000), 0xffff_fffe);
    assert_eq!(rig.read(0x2008), 0xffff_ffff);
    rig.write(0x200c, u64::MAX);
    assert_eq!(rig.read(0x200c), 0);
    rig.write(0x2100, u64::MAX);
    assert_eq!(rig.read(0x2100), 0, "there is no context 2");
    rig.write(0x20_1000, 0xf);
    assert_eq!(rig.read(0x20_1000), 7);
    rig.write(0x1000, u64::MAX);
    assert_eq!(rig.read(0x1000), 0, "pending bits are read-only");
    assert_eq!(rig.read(0x20_0008), 0, "a gap");
    assert_eq!(rig.plic.read(0, Width::Byte), Err(AccessError::Width));
    assert_eq!(rig.plic.read(4, Width::Double), Err(AccessError::Width));
    assert_eq!(rig.plic.read(2, Width::Word), Err(AccessError::Width));
}

#[test]
fn claims_come_by_priority_then_number() {
    let rig = Rig::new();
    for source in [8, 3, 15, 7, 11, 16] {
        rig.plic.set_line(source, true);
    }
    assert!(rig.lines.level(0) && !rig.lines.level(1));
    assert_eq!(rig.read(0x1000), 1 << 8 | 1 << 3 | 1 << 15 | 1 << 7 | 1 << 11 | 1 << 16);
    // 8 and 16 have priority 0: never.
    assert_eq!((0..5).map(|_| rig.claim(0)).collect::<Vec<_>>(), [7, 15, 3, 11, 0]);
    assert!(!rig.lines.level(0));
    assert_eq!(rig.read(0x1000), 1 << 8 | 1 << 16);
    assert_eq!(rig.claim(1), 0, "nothing is enabled for context 1");
    assert_eq!(rig.claim(100), 0);
}

#[test]
fn the_threshold_masks_the_line_but_not_the_claim() {
    let rig = Rig::new();
    rig.write(0x20_0000, 3);
    rig.plic.set_line(3, true);
    assert!(!rig.lines.level(0), "a priority equal to the threshold is masked");
    rig.plic.set_line(4, true);
    assert!(rig.lines.level(0));
    assert_eq!(rig.claim(0), 4);
    assert!(!rig.lines.level(0));
    rig.write(0x20_0000, 2);
    assert!(rig.lines.level(0));
    rig.write(0x20_0000, 7);
    assert!(!rig.lines.level(0));
    assert_eq!(rig.claim(0), 3, "a claim is not affected by the threshold");
}

#[test]
fn a_level_makes_one_request_until_it_is_completed() {
    let rig = Rig::new();
    rig.plic.set_line(5, true);
    assert_eq!(rig.claim(0), 5);
    assert_eq!(rig.claim(0), 0, "the line is still up, but its request is in flight");
    rig.plic.set_line(5, false);
    rig.plic.set_line(5, true);
    assert_eq!(rig.claim(0), 0, "so a second edge makes no request either");
    rig.complete(0, 5);
    assert!(rig.lines.level(0), "the line is up at completion: a new request");
    assert_eq!(rig.claim(0), 5);
    rig.plic.set_line(5, false);
    rig.complete(0, 5);
    assert_eq!((rig.claim(0), rig.lines.level(0)), (0, false));

    rig.plic.set_line(5, true);
    rig.plic.set_line(5, false);
    assert_eq!(rig.claim(0), 5, "a request outlives its line");
}

#[test]
fn completions_are_ignored_unless_the_source_is_enabled() {
    let rig = Rig::new();
    rig.plic.set_line(5, true);
    assert_eq!(rig.claim(0), 5);
    rig.complete(1, 5);
    rig.complete(0, 0);
    rig.complete(0, 6);
    rig.complete(0, 1 << 20);
    assert_eq!(rig.claim(0), 0);
    rig.write(0x2080, 1 << 5);
    rig.complete(1, 5);
    assert_eq!(rig.claim(1), 5, "any context that has it enabled may complete it");
}

#[test]
fn an_early_completion_lets_the_gateway_forward_after_the_claim() {
    let rig = Rig::new();
    rig.plic.set_line(5, true);
    rig.complete(0, 5);
    assert_eq!(rig.read(0x1000), 1 << 5);
    assert_eq!((rig.claim(0), rig.claim(0), rig.claim(0)), (5, 5, 0));
}

#[test]
fn reset_keeps_lines_and_drops_everything_else() {
    let rig = Rig::new();
    rig.plic.set_line(5, true);
    rig.plic.set_line(6, true);
    rig.plic.set_line(6, false);
    assert!(rig.lines.level(0));
    rig.plic.set_line(7, true);
    rig.plic.reset();
    assert!(!rig.lines.level(0));
    // The device behind source 7 is reset after the PLIC.
    rig.plic.set_line(7, false);
    assert_eq!((rig.read(0x2000), rig.read(4)), (0, 0));
    assert_eq!(rig.read(0x1000), 1 << 5);
}

#[test]
fn concurrent_claims_hand_out_each_request_once() {
    const ROUNDS: u32 = 20_000;
    let rig = Rig::new();
    for word in 0..3 {
        rig.write(0x2080 + 4 * word, u64::MAX);
    }
    let done = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for context in 0..2 {
            let (rig, done) = (&rig, &done);
            scope.spawn(move || {
                while done.load(std::sync::atomic::Ordering::Relaxed) < ROUNDS {
                    let source = rig.claim(context);
                    if source != 0 {
                        // The device's handler: it silences its device, then completes.
                        rig.plic.set_line(source as u32, false);
                        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        rig.complete(context, source);
                        rig.plic.set_line(source as u32, true);
                    }
                }
            });
        }
        for source in [1, 2, 3, 41, 95] {
            rig.plic.set_line(source, true);
        }
    });
    for source in 0..96 {
        rig.plic.set_line(source, false);
    }
    for _ in 0..96 {
        let source = rig.claim(0);
        rig.complete(0, source);
    }
    assert!(!rig.lines.level(0) && !rig.lines.level(1), "no line is left up");
    assert_eq!(rig.read(0x1000) | rig.read(0x1004) | rig.read(0x1008), 0);
}

#[test]
fn survives_random_accesses() {
    let rig = Rig::new();
    let mut random = Random(1);
    for seed in crate::testing::seeds(20) {
        hammer(&*rig.plic, Plic::size(2), &[0x20_0000, 0x20_0004, 0x20_1004, 0x2000, 0x2080], 10_000, seed);
        for _ in 0..100 {
            rig.plic.set_line(random.below(200) as u32, random.below(2) == 0);
        }
    }
}
