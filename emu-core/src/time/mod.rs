//! The machine's clock: nanoseconds of virtual time since the machine started.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The machine's one clock. Cloning gives another handle on the same clock.
///
/// All guest-visible counters derive from it, so that pausing, replaying or counting instructions instead of real
/// time is a change to this type alone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The host's clock, from this instant.
    Host(Instant),
    /// What somebody has set.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that starts at zero now and follows the host's monotonic clock.
    pub fn real_time() -> Self {
        Self(Source::Host(Instant::now()))
    }

    /// A clock that shows zero until [`Clock::set`].
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::default()))
    }

    /// Makes a manual clock show `ns`, which is no less than what it shows; does nothing to others.
    pub fn set(&self, ns: u64) {
        if let Source::Manual(now) = &self.0 {
            now.store(ns, Ordering::SeqCst);
        }
    }

    /// Nanoseconds since the machine started.
    pub fn now_ns(&self) -> u64 {
        match &self.0 {
            Source::Host(origin) => u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Source::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// The value of a counter that ticks `hz` times a second and was zero at the start.
    pub fn ticks(&self, hz: u64) -> u64 {
        ns_to_ticks(self.now_ns(), hz)
    }

    /// The host instant at which this clock shows `ns`; none if that is beyond what the host can express, or a manual clock.
    pub fn instant_at(&self, ns: u64) -> Option<Instant> {
        match &self.0 {
            Source::Host(origin) => origin.checked_add(Duration::from_nanos(ns)),
            Source::Manual(_) => None,
        }
    }
}

/// How often a counter of `hz` has ticked after `ns` nanoseconds.
pub fn ns_to_ticks(ns: u64, hz: u64) -> u64 {
    saturate(u128::from(ns) * u128::from(hz) / NS_PER_S)
}

/// The first nanosecond at which a counter of `hz` shows `ticks` or more; saturates at `u64::MAX`.
pub fn ticks_to_ns(ticks: u64, hz: u64) -> u64 {
    saturate((u128::from(ticks) * NS_PER_S).div_ceil(u128::from(hz.max(1))))
}

const NS_PER_S: u128 = 1_000_000_000;

fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_nanoseconds_agree() {
        for hz in [1, 10_000_000, 62_500_000, 1_000_000_000] {
            for ticks in [0, 1, 7, 12_345_678_901] {
                assert_eq!(ns_to_ticks(ticks_to_ns(ticks, hz), hz), ticks, "{ticks} at {hz} Hz");
            }
        }
        assert_eq!(ticks_to_ns(u64::MAX, 10_000_000), u64::MAX);
    }
}
