use super::*;
use crate::testing::{Lines, events, hammer, wait_for};
use emu_core::sync::EventLoop;
use spec::*;

const EPOCH_S: u64 = 1_700_000_000;

struct Rig {
    rtc: Arc<Pl031>,
    lines: Arc<Lines>,
    _events: EventLoop,
}

impl Rig {
    fn new() -> Self {
        let (events, lines) = (events(), Lines::new());
        let rtc = Pl031::new(lines.line(2), &events.handle(), EPOCH_S * NS_PER_S);
        Self { rtc, lines, _events: events }
    }

    fn read(&self, offset: u64) -> u64 {
        self.rtc.read(offset, Width::Word).unwrap()
    }

    fn write(&self, offset: u64, value: u64) {
        self.rtc.write(offset, Width::Word, value).unwrap();
    }
}

#[test]
fn shows_and_sets_the_time() {
    let rig = Rig::new();
    assert!((EPOCH_S..EPOCH_S + 60).contains(&rig.read(DR)));
    assert_eq!([CR, MR, LR, IMSC, RIS, MIS].map(|at| rig.read(at)), [1, 0, 0, 0, 0, 0]);
    let id: Vec<u64> = (0..8).map(|i| rig.read(0xfe0 + 4 * i)).collect();
    assert_eq!(id, [0x31, 0x10, 0x04, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    rig.write(LR, 1000);
    assert!((1000..1060).contains(&rig.read(DR)) && rig.read(LR) == 1000);
    rig.write(CR, 0);
    assert_eq!(rig.read(CR), 1, "it runs for good");
    rig.write(LR, 0xffff_fff0);
    assert!(rig.read(DR) >= 0xffff_fff0 || rig.read(DR) < 60);
    rig.rtc.reset();
    assert!(rig.read(DR) >= EPOCH_S);
    assert_eq!(rig.rtc.read(DR, Width::Half), Err(AccessError::Width));
}

#[test]
fn the_alarm() {
    let rig = Rig::new();
    rig.write(IMSC, 1);
    rig.write(MR, rig.read(DR) + 1);
    let due = rig.read(MR);
    wait_for("the alarm", || rig.lines.level(2));
    assert!(rig.read(DR) >= due);
    assert_eq!((rig.read(RIS), rig.read(MIS)), (1, 1));
    rig.write(IMSC, 0);
    assert_eq!((rig.lines.level(2), rig.read(RIS), rig.read(MIS)), (false, 1, 0));
    rig.write(IMSC, 1);
    rig.write(ICR, 0);
    assert!(rig.lines.level(2));
    rig.write(ICR, 1);
    assert_eq!((rig.lines.level(2), rig.read(RIS)), (false, 0));
    // One of this second is raised at once, one of the past when the counter has been all the way round.
    rig.write(LR, 5000);
    rig.write(MR, 4000);
    assert_eq!(rig.read(RIS), 0);
    rig.write(LR, 4000);
    assert_eq!(rig.read(RIS), 1, "the time was set to the alarm's");
    rig.rtc.reset();
    assert_eq!((rig.read(RIS), rig.lines.level(2)), (0, false));
}

#[test]
fn survives_random_accesses() {
    let rig = Rig::new();
    hammer(&*rig.rtc, SIZE, &[DR, MR, LR, IMSC, ICR], 100_000, 3);
}
