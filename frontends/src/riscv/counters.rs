//! Counters: `mcycle`, `minstret`, and the performance counters with their overflow interrupt (Sscofpmf).
//!
//! A cycle is an instruction here, so all counters follow the vCPU's count of retired instructions. The performance
//! counters know two events, cycles and instructions ([`event`]). Overflows are looked for when the privilege mode changes,
//! when interrupts are looked at, and at times that the hart has its timer set to as an overflow draws near: the interrupt
//! comes some tens of microseconds late at most, not at the instruction.

use super::Privilege;
use crate::tally::Tally;

/// Values of `mhpmevent*.event`; all others read back as [`event::NONE`].
pub mod event {
    /// Counts nothing.
    pub const NONE: u64 = 0;
    /// Cycles.
    pub const CYCLES: u64 = 1;
    /// Retired instructions.
    pub const INSTRUCTIONS: u64 = 2;
}

/// `mhpmevent*.OF`: the counter has overflowed; no interrupt until it is cleared.
pub const OVERFLOW: u64 = 1 << 63;
const M_INHIBIT: u64 = 1 << 62;
const S_INHIBIT: u64 = 1 << 61;
const U_INHIBIT: u64 = 1 << 60;
/// The fields that Sscofpmf adds and that exist without the hypervisor extension.
const SSCOFPMF: u64 = OVERFLOW | M_INHIBIT | S_INHIBIT | U_INHIBIT;
const EVENT: u64 = (1 << 56) - 1;

/// Number of `mcycle`.
pub const CYCLE: usize = 0;
/// Number of the `time` bit in the enable registers; there is no such counter.
pub const TIME: usize = 1;
/// Number of `minstret`.
pub const INSTRET: usize = 2;
/// Number of the first performance counter.
pub const FIRST_HPM: usize = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    tally: Tally,
    /// `mhpmevent`; unused for the fixed counters.
    event: u64,
}

/// The counters of one hart. Every method that takes `retired` needs the count of instructions at that
/// moment; where a CSR instruction changes something, that includes itself, since its write takes effect
/// after it.
#[derive(Clone, Debug)]
pub struct Counters {
    all: [Counter; 32],
    /// `mcountinhibit`.
    inhibit: u32,
    implemented: u32,
    filters: bool,
    privilege: Privilege,
    /// Performance counters with an event, as a mask: usually none.
    active: u32,
    overflowed: bool,
}

impl Counters {
    /// All counters zero and running. The performance counters in the mask `hpm` are there; with `filters` they
    /// have Sscofpmf's fields.
    pub fn new(hpm: u32, filters: bool, retired: u64) -> Self {
        let mut counters = Self {
            all: [Counter::default(); 32],
            inhibit: 0,
            implemented: hpm | 1 << CYCLE | 1 << INSTRET,
            filters,
            privilege: Privilege::Machine,
            active: 0,
            overflowed: false,
        };
        counters.settle(retired);
        counters
    }

    /// The counters that there are, as in `mcounteren` but for the `time` bit.
    pub fn implemented(&self) -> u32 {
        self.implemented
    }

    /// The value of counter `n`.
    pub fn read(&self, n: usize, retired: u64) -> u64 {
        self.all[n % 32].tally.read(retired)
    }

    /// Sets counter `n`, if it is there.
    pub fn write(&mut self, n: usize, value: u64, retired: u64) {
        if self.implemented >> (n % 32) & 1 != 0 {
            self.all[n % 32].tally.set(value, retired);
        }
    }

    /// `mhpmevent` of counter `n`.
    pub fn event(&self, n: usize) -> u64 {
        self.all[n % 32].event
    }

    /// Sets `mhpmevent` of counter `n`, if it is there.
    pub fn set_event(&mut self, n: usize, value: u64, retired: u64) {
        if n < FIRST_HPM || self.implemented >> (n % 32) & 1 == 0 {
            return;
        }
        self.sync(retired);
        let selected = match value & EVENT {
            known @ (event::CYCLES | event::INSTRUCTIONS) => known,
            _ => event::NONE,
        };
        self.all[n % 32].event = selected | if self.filters { value & SSCOFPMF } else { 0 };
        self.active &= !(1 << (n % 32));
        self.active |= u32::from(selected != event::NONE) << (n % 32);
        self.settle(retired);
    }

    /// `mcountinhibit`.
    pub fn inhibit(&self) -> u32 {
        self.inhibit
    }

    /// Sets `mcountinhibit`.
    pub fn set_inhibit(&mut self, value: u32, retired: u64) {
        self.sync(retired);
        self.inhibit = value & self.implemented;
        self.settle(retired);
    }

    /// The privilege mode changes.
    #[inline]
    pub fn set_privilege(&mut self, privilege: Privilege, retired: u64) {
        self.privilege = privilege;
        if self.active != 0 {
            self.change_mode(retired);
        }
    }

    #[cold]
    fn change_mode(&mut self, retired: u64) {
        self.sync(retired);
        self.settle(retired);
    }

    /// The `OF` bits, each at its counter's number.
    pub fn overflows(&self) -> u32 {
        let of = |n: &usize| self.all[*n].event & OVERFLOW != 0;
        (FIRST_HPM..32).filter(of).fold(0, |mask, n| mask | 1 << n)
    }

    /// How many instructions there are at least before a performance counter overflows and interrupts, if any
    /// may. Modes in which a counter stands still are not taken into account.
    #[inline]
    pub fn overflow_in(&self, retired: u64) -> Option<u64> {
        if self.active == 0 || !self.filters {
            return None;
        }
        let armed = self.active & !self.inhibit & !self.overflows();
        (FIRST_HPM..32).filter(|n| armed >> n & 1 != 0).map(|n| self.all[n].tally.left(64, retired)).min()
    }

    /// Whether a counter has newly overflowed since this was last asked; see the module for when that is
    /// noticed.
    #[inline]
    pub fn take_overflow(&mut self, retired: u64) -> bool {
        if self.active == 0 {
            return false;
        }
        self.sync(retired);
        std::mem::take(&mut self.overflowed)
    }

    /// Brings the running counters up to date.
    fn sync(&mut self, retired: u64) {
        for (n, counter) in self.all.iter_mut().enumerate() {
            if counter.tally.sync(64, retired)
                && self.filters
                && n >= FIRST_HPM
                && counter.event & OVERFLOW == 0
            {
                counter.event |= OVERFLOW;
                self.overflowed = true;
            }
        }
    }

    /// Starts and stops the counters as everything they depend on says. They are up to date.
    fn settle(&mut self, retired: u64) {
        let filter = match self.privilege {
            Privilege::Machine => M_INHIBIT,
            Privilege::Supervisor => S_INHIBIT,
            Privilege::User => U_INHIBIT,
        };
        for (n, counter) in self.all.iter_mut().enumerate() {
            let counts = match n {
                CYCLE | INSTRET => true,
                TIME => false,
                _ => counter.event & EVENT != event::NONE && counter.event & filter == 0,
            };
            counter.tally.run(counts && self.inhibit >> n & 1 == 0, retired);
        }
    }
}
