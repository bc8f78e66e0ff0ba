use super::*;
use crate::testing::{Lines, events, hammer, wait_for};
use spec::*;

const EPOCH: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

struct Rig {
    rtc: Arc<GoldfishRtc>,
    lines: Arc<Lines>,
    _events: emu_core::sync::EventLoop,
}

impl Rig {
    fn new() -> Self {
        let (events, lines) = (events(), Lines::new());
        Self { rtc: GoldfishRtc::new(lines.line(11), &events.handle(), EPOCH), lines, _events: events }
    }

    fn read(&self, offset: u64) -> u64 {
        self.rtc.read(offset, Width::Word).unwrap()
    }

    fn write(&self, offset: u64, value: u64) {
        self.rtc.write(offset, Width::Word, value & 0xffff_ffff).unwrap();
    }

    fn time(&self) -> u64 {
        let low = self.read(TIME_LOW);
        self.read(TIME_HIGH) << 32 | low
    }

    fn set_alarm(&self, time: u64) {
        self.write(ALARM_HIGH, time >> 32);
        self.write(ALARM_LOW, time);
    }
}

#[test]
fn shows_and_sets_the_time() {
    let rig = Rig::new();
    let shown = rig.time();
    assert!((EPOCH..EPOCH + 60 * SECOND).contains(&shown), "{shown}");
    assert!(rig.time() >= shown);
    let set = 1234 * SECOND;
    rig.write(TIME_HIGH, set >> 32);
    rig.write(TIME_LOW, set);
    assert!((set..set + 60 * SECOND).contains(&rig.time()));
    rig.rtc.reset();
    assert!(rig.time() >= EPOCH);
    assert_eq!(rig.rtc.read(0, Width::Double), Err(AccessError::Width));
    assert_eq!(rig.rtc.read(2, Width::Word), Err(AccessError::Width));
    assert_eq!(rig.read(0x20), 0);
    let epoch = crate::rtc::host_epoch(&rig._events.handle());
    assert!(epoch > EPOCH && epoch < EPOCH * 4);
}

#[test]
fn the_alarm_goes_off_once() {
    let rig = Rig::new();
    rig.write(IRQ_ENABLED, 1);
    let due = rig.time() + SECOND / 50;
    rig.set_alarm(due);
    assert_eq!(rig.read(ALARM_LOW), due & 0xffff_ffff);
    wait_for("the alarm goes off", || rig.lines.level(11));
    assert!(rig.time() >= due);
    assert_eq!(rig.read(ALARM_STATUS), 0);
    rig.write(IRQ_ENABLED, 0);
    assert!(!rig.lines.level(11));
    rig.write(IRQ_ENABLED, 1);
    assert!(rig.lines.level(11));
    rig.write(CLEAR_INTERRUPT, 1);
    assert!(!rig.lines.level(11));
}

#[test]
fn an_alarm_in_the_past_goes_off_at_once_and_one_can_be_cancelled() {
    let rig = Rig::new();
    rig.set_alarm(1);
    assert_eq!((rig.read(ALARM_STATUS), rig.lines.level(11)), (0, false), "the interrupt is not enabled");
    rig.write(IRQ_ENABLED, 1);
    assert!(rig.lines.level(11));
    rig.write(CLEAR_INTERRUPT, 1);
    rig.set_alarm(rig.time() + 1000 * SECOND);
    assert_eq!(rig.read(ALARM_STATUS), 1);
    rig.write(CLEAR_ALARM, 1);
    assert_eq!((rig.read(ALARM_STATUS), rig.lines.level(11)), (0, false));
    let far = 2 * EPOCH;
    rig.set_alarm(far);
    rig.write(TIME_HIGH, far >> 32);
    rig.write(TIME_LOW, far);
    assert!(rig.lines.level(11), "the time was set to the alarm's");
}

#[test]
fn survives_random_accesses() {
    let rig = Rig::new();
    hammer(&*rig.rtc, SIZE, &[0, 4, 8, 12, 16, 20, 24, 28], 200_000, 5);
}
