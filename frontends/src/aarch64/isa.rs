//! AArch64 as the engine sees it.

use emu_core::exec::{Access, Exception, FetchCode, Isa, Mode, Stop, Translation};
use emu_core::ir::{Block, BlockBuilder, BlockKey, SlotInfo, View};

use super::state::{Aarch64, Cpu};
use super::{SLOTS, SP, call, exception, lift, mmu};

impl Isa for Aarch64 {
    const SLOTS: &'static [SlotInfo] = SLOTS;

    const HOT_SLOTS: &'static [u16] = &[0, 1, 2, 19, 3, SP, 20, 21, 4];

    fn lift(
        &self,
        builder: &mut BlockBuilder,
        key: BlockKey,
        start: u32,
        code: &mut dyn FetchCode,
        limit: usize,
    ) -> Result<Block, Exception> {
        lift::lift(self.config().model.features, builder, key, start, code, limit)
    }

    fn mode(&self) -> Mode {
        mmu::mode(self)
    }

    fn translate(
        cpu: &mut Cpu,
        va: u64,
        bytes: usize,
        access: Access,
        view: View,
    ) -> Result<Translation, Exception> {
        mmu::translate(cpu, va, bytes, access, view)
    }

    fn access_fault(&self, va: u64, access: Access) -> Exception {
        exception::external_abort(va, access)
    }

    fn misaligned(&self, va: u64, access: Access) -> Exception {
        exception::alignment_fault(va, access)
    }

    fn raise(cpu: &mut Cpu, exception: Exception) {
        exception::raise(cpu, exception);
    }

    fn pending_interrupt(cpu: &mut Cpu) -> Option<Exception> {
        exception::pending_interrupt(cpu)
    }

    fn call(cpu: &mut Cpu, id: u16, args: [u64; 3]) -> Result<u64, Stop> {
        call::call(cpu, id, args)
    }
}
