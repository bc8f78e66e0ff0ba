//! What the tests of several modules use.

use emu_core::mem::{GuestMemory, Ram, RamBuilder};
pub(crate) use emu_core::testing::{Random, seeds};

/// A repeatable generator of hostile input.
pub(crate) struct Rng(Random);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.bits()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// One of the values that break arithmetic, or any other.
    pub(crate) fn nasty(&mut self) -> u64 {
        let values = [0, 1, 2, 63, 64, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, i64::MAX as u64, u64::MAX];
        match self.below(3) {
            0 => values[self.below(values.len())],
            1 => self.next() >> self.below(64),
            _ => values[self.below(values.len())].wrapping_add(self.next() % 9).wrapping_sub(4),
        }
    }

    /// Damages a few places of `bytes`, sometimes its length.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 | 2 => {
                    let value = self.nasty().to_be_bytes();
                    let at = at & !3;
                    for (to, from) in bytes[at..].iter_mut().take(4).zip(&value[4..]) {
                        *to = *from;
                    }
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
            if bytes.is_empty() {
                return;
            }
        }
    }
}

/// Memory of the riscv64 `virt` board: `len` bytes at 0x8000_0000.
pub(crate) fn memory(len: u64) -> (Ram, GuestMemory) {
    let ram = RamBuilder::new().region("dram", 0x8000_0000, len, true).and_then(RamBuilder::build).unwrap();
    let memory = ram.guest_memory().unwrap();
    (ram, memory)
}
