use super::*;
use crate::testing::hammer;
use parking_lot::Mutex;

#[derive(Default)]
struct Requests(Mutex<Vec<PowerRequest>>);

impl PowerSink for Requests {
    fn request(&self, request: PowerRequest) {
        self.0.lock().push(request);
    }
}

#[test]
fn statuses_become_power_requests() {
    let requests = Arc::<Requests>::default();
    let finisher = TestFinisher::new(Arc::clone(&requests) as Arc<dyn PowerSink>);
    for (width, value) in [
        (Width::Word, 0x5555),
        (Width::Half, 0x5555),
        (Width::Word, 0x2a_3333),
        (Width::Half, 0x3333),
        (Width::Word, 0x7777),
        (Width::Word, 0x1234),
    ] {
        finisher.write(0, width, value).unwrap();
    }
    finisher.write(4, Width::Word, 0x5555).unwrap();
    assert_eq!(finisher.write(0, Width::Byte, 0x55), Err(AccessError::Width));
    assert_eq!(finisher.read(0, Width::Word), Ok(0));
    let off = |code| PowerRequest::Off { code };
    assert_eq!(*requests.0.lock(), [off(0), off(0), off(42), off(1), PowerRequest::Reset]);
}

#[test]
fn survives_random_accesses() {
    let requests = Arc::<Requests>::default();
    let finisher = TestFinisher::new(Arc::clone(&requests) as Arc<dyn PowerSink>);
    hammer(&*finisher, spec::SIZE, &[0], 200_000, 3);
}
