//! Counts of retired instructions, which performance monitors are made of.
//!
//! A count that runs is what it was at some moment plus what has been retired since, so that it costs nothing while it
//! runs. Whoever owns it looks for overflows now and then, and at the times that [`overflow_wait`] says.

/// The most instructions that a processor is expected to run in a nanosecond, for when a count may overflow.
const INSTRUCTIONS_PER_NS: u64 = 4;
/// The shortest time, in nanoseconds, after which a count that nears its overflow is looked at.
const MIN_WAIT: u64 = 50_000;
/// The longest.
const MAX_WAIT: u64 = 1_000_000_000;

/// A count that can be stopped and set. Every method that takes `retired` needs the vCPU's count of instructions at that
/// moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Its value when `since` instructions had been retired.
    value: u64,
    since: u64,
    running: bool,
}

impl Tally {
    /// Its value.
    pub fn read(&self, retired: u64) -> u64 {
        let ran = if self.running { retired.saturating_sub(self.since) } else { 0 };
        self.value.wrapping_add(ran)
    }

    /// Sets it.
    pub fn set(&mut self, value: u64, retired: u64) {
        (self.value, self.since) = (value, retired);
    }

    /// Brings it up to date. Whether it has overflowed `bits` bits (at most 64) since it was last.
    pub fn sync(&mut self, bits: u32, retired: u64) -> bool {
        if !self.running {
            return false;
        }
        let ran = retired.saturating_sub(self.since);
        let before = self.value;
        (self.value, self.since) = (before.wrapping_add(ran), self.since.max(retired));
        ran > left(before, bits)
    }

    /// Lets it run or stand still from now on. It is up to date.
    pub fn run(&mut self, on: bool, retired: u64) {
        if on && !self.running {
            self.since = retired;
        }
        self.running = on;
    }

    /// How many instructions it can count without overflowing `bits` bits.
    pub fn left(&self, bits: u32, retired: u64) -> u64 {
        left(self.read(retired), bits)
    }
}

/// What a value of so many bits is short of its maximum.
fn left(value: u64, bits: u32) -> u64 {
    !value & u64::MAX >> (64 - bits.clamp(1, 64))
}

/// For how many nanoseconds a count need not be looked at that overflows after `left` instructions.
pub(crate) fn overflow_wait(left: u64) -> u64 {
    (left / INSTRUCTIONS_PER_NS).clamp(MIN_WAIT, MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_runs_stops_and_overflows() {
        let mut tally = Tally::default();
        tally.set(u64::from(u32::MAX) - 9, 100);
        assert_eq!((tally.read(1000), tally.left(32, 1000)), (u64::from(u32::MAX) - 9, 9));
        tally.run(true, 1000);
        assert_eq!((tally.read(1009), tally.left(32, 1004)), (u64::from(u32::MAX), 5));
        assert!(!tally.sync(32, 1009));
        assert!(tally.sync(32, 1010) && !tally.sync(32, 1010));
        tally.run(false, 1010);
        assert_eq!(tally.read(5000), 1 << 32);
        tally.set(u64::MAX, 5000);
        tally.run(true, 5000);
        assert!(tally.sync(64, 5001) && tally.read(5001) == 0);
    }
}
