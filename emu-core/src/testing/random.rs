//! Random numbers for tests: the same ones in every run.

use std::ops::Range;

/// A generator (SplitMix64) with this state, which is its seed at first.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`, which is not zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// One of `list`, which is not empty.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// A value of the kinds that find mistakes: none or all bits, one, few, a small number, any.
    pub fn value(&mut self) -> u64 {
        match self.below(7) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => self.below(256),
            4 => self.bits() & self.bits() & self.bits(),
            _ => self.bits(),
        }
    }
}

/// The seeds that a test of hostile input goes through: from zero, as many as usual, or as the environment variable
/// `HOSTILE_SEEDS` says.
///
/// # Panics
/// If that is no number.
pub fn seeds(usual: u64) -> Range<u64> {
    let wanted = std::env::var("HOSTILE_SEEDS").ok();
    0..wanted
        .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("HOSTILE_SEEDS={text} is no number")))
}
