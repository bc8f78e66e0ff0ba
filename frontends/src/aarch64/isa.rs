//! AArch64 as the engine sees it.

use emu_core::exec::{Access, Exception, FetchCode, Isa, Mode, Stop, Translation};
use emu_core::ir::{Block, BlockBuilder, BlockKey, SlotInfo, View};

use super::features::Feature;
use super::state::{Aarch64, Cpu};
use super::syndrome::{class, syndrome};
use super::{SLOTS, SP, call, exception, lift, mmu};

impl Isa for Aarch64 {
    const SLOTS: &'static [SlotInfo] = SLOTS;

    /// Counted in compiled code (glibc, the kernel, programs), where these are seven of ten register operands.
    const HOT_SLOTS: &'static [u16] = &[0, 1, SP, 2, 19, 3, 20, 21, 4];
    const FETCH_UNIT: u8 = 4;

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

    fn peek(cpu: &Cpu, va: u64) -> Option<Translation> {
        mmu::peek(cpu, va)
    }

    fn translate(
        cpu: &mut Cpu,
        va: u64,
        bytes: usize,
        access: Access,
        view: View,
    ) -> Result<Translation, Exception> {
        if access == Access::Fetch && va & 3 != 0 {
            // BTYPE, if there is such a thing.
            if !cpu.isa.has(Feature::Bti) {
                return Err(Exception::new(syndrome(class::PC_ALIGNMENT, 0).into(), va));
            }
            return mmu::translate(cpu, va & !3, bytes, access, view)
                .map(|to| Translation { pa: to.pa | va & 3, ..to });
        }
        mmu::translate(cpu, va, bytes, access, view)
    }

    fn access_fault(&self, va: u64, access: Access) -> Exception {
        let va = if access == Access::Fetch { va & !3 } else { va };
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
