//! What the unit tests of all instruction sets have in common.

use std::sync::Arc;

use emu_core::exec::{BlockMap, Isa, Vcpu, VcpuParts};
use emu_core::mem::{BusBuilder, RamBuilder};
use emu_core::sync::Group;
use emu_core::time::Clock;

/// The first of `count` vCPUs of a machine with these regions of memory: base, length, and whether it can be written.
pub(crate) fn vcpu<I: Isa>(isa: I, count: usize, regions: &[(u64, u64, bool)]) -> Vcpu<I> {
    let all = regions.iter().try_fold(RamBuilder::new(), |builder, &(base, len, writable)| {
        builder.region(if writable { "ram" } else { "rom" }, base, len, writable)
    });
    let ram = all.and_then(RamBuilder::build).unwrap();
    let parts = VcpuParts {
        index: 0,
        bus: Arc::new(BusBuilder::new(Arc::new(ram)).build()),
        group: Arc::new(Group::new(count)),
        blocks: Arc::new(BlockMap::default()),
        clock: Clock::real_time(),
    };
    Vcpu::new(isa, parts)
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A value of the kinds that find mistakes: few bits, all bits, any bits.
    pub fn value(&mut self) -> u64 {
        match self.below(5) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => self.next() & self.next() & self.next(),
            _ => self.next(),
        }
    }
}
