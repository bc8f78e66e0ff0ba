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
