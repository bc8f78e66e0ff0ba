//! Where the interpreter finds the block at the program counter.

use std::sync::Arc;

use super::Code;
use crate::exec::{Cached, Exception, Isa, Vcpu};
use crate::ir::BlockKey;

/// A direct-mapped cache of the machine's blocks, for one vCPU.
pub(super) struct JumpCache {
    slots: Vec<Slot>,
}

/// One block. What a run needs to begin with is in one line of the host's cache.
#[repr(align(64))]
struct Slot {
    key: BlockKey,
    /// [`Vcpu::epoch`] when the slot was filled: it is valid in that one only.
    epoch: u64,
    /// Whether the last instruction reaches into the next page, which is to be checked before each run.
    straddles: bool,
    block: Option<(Arc<Cached>, Code)>,
}

impl JumpCache {
    /// Slots that are found by key. After them is one for a block that is not kept.
    const SLOTS: usize = 1 << 14;

    pub(super) fn new() -> Self {
        let empty = || Slot { key: Self::NO_KEY, epoch: 0, straddles: false, block: None };
        Self { slots: (0..=Self::SLOTS).map(|_| empty()).collect() }
    }

    /// No block lies there.
    const NO_KEY: BlockKey = BlockKey { pa: u64::MAX, ctx: 0 };

    #[inline]
    fn index(key: BlockKey) -> usize {
        key.hash() % Self::SLOTS
    }

    /// The block at the program counter, lifted if need be.
    #[inline]
    pub(super) fn find<I: Isa>(&mut self, vcpu: &mut Vcpu<I>) -> Result<(&Cached, &Code), Exception> {
        let hit = vcpu.cached_block_key().and_then(|key| {
            let index = Self::index(key);
            let slot = &self.slots[index];
            (slot.key == key && slot.epoch == vcpu.epoch).then_some(index)
        });
        let index = match hit {
            Some(index) if !self.slots[index].straddles => index,
            hit => self.find_slow(vcpu, hit)?,
        };
        match &self.slots[index].block {
            Some((cached, code)) => Ok((cached, code)),
            None => unreachable!("slots with a key hold a block"),
        }
    }

    /// The index of the block, which is not in the cache, or at `hit` but straddles.
    #[cold]
    fn find_slow<I: Isa>(&mut self, vcpu: &mut Vcpu<I>, hit: Option<usize>) -> Result<usize, Exception> {
        if let Some(index) = hit
            && let Some((cached, _)) = &self.slots[index].block
            && vcpu.same_next_page(cached)?
        {
            return Ok(index);
        }
        loop {
            // Lifting may serve a flush, after which the translation must not be used any more.
            let flushes = vcpu.mmu.flushes;
            let key = vcpu.block_key()?;
            let kept = vcpu.cached_block_key().is_some();
            let cached = if kept { vcpu.find_or_lift(key)? } else { Arc::new(vcpu.lift_alone()?) };
            if vcpu.mmu.flushes == flushes {
                let (index, key) = if kept { (Self::index(key), key) } else { (Self::SLOTS, Self::NO_KEY) };
                let straddles = cached.block().crosses_page;
                let code = cached.code().clone();
                self.slots[index] = Slot { key, epoch: vcpu.epoch, straddles, block: Some((cached, code)) };
                return Ok(index);
            }
        }
    }
}
