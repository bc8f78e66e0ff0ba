//! RISC-V as the engine sees it.

use emu_core::exec::{Access, Exception, FetchCode, Isa, Mode, Stop, Translation};
use emu_core::ir::{Block, BlockBuilder, BlockKey, SlotInfo, View};
use emu_core::mem::PAGE_SIZE;

use super::bits::cause;
use super::mmu::Purpose;
use super::state::{Hart, Riscv};
use super::{SLOTS, call, lift, mmu, trap};

impl Isa for Riscv {
    const SLOTS: &'static [SlotInfo] = SLOTS;

    /// a5, a4, a0, s0, a3, sp, a1, a2, s1: counted in compiled code, where these are more than half of all operands.
    const HOT_SLOTS: &'static [u16] = &[15, 14, 10, 8, 13, 2, 11, 12, 9];

    fn lift(
        &self,
        builder: &mut BlockBuilder,
        key: BlockKey,
        start: u32,
        code: &mut dyn FetchCode,
        limit: usize,
    ) -> Result<Block, Exception> {
        lift::lift(self.config.model.ext, builder, key, start, code, limit)
    }

    fn mode(&self) -> Mode {
        mmu::mode(self)
    }

    /// No instruction uses another view than [`View::Current`]: MPRV changes what that one means.
    fn translate(
        hart: &mut Hart,
        va: u64,
        bytes: usize,
        access: Access,
        _: View,
    ) -> Result<Translation, Exception> {
        mmu::translate(hart, va, bytes, access, Purpose::Access)
    }

    fn peek(hart: &Hart, va: u64) -> Option<Translation> {
        mmu::translate(hart, va, PAGE_SIZE as usize, Access::Read, Purpose::Peek).ok()
    }

    fn access_fault(&self, va: u64, access: Access) -> Exception {
        mmu::access_fault(va, access)
    }

    fn misaligned(&self, va: u64, access: Access) -> Exception {
        let cause = match access {
            Access::Fetch => cause::FETCH_MISALIGNED,
            Access::Read => cause::LOAD_MISALIGNED,
            Access::Write => cause::STORE_MISALIGNED,
        };
        Exception::new(cause, va)
    }

    fn raise(hart: &mut Hart, exception: Exception) {
        trap::raise(hart, exception);
    }

    fn pending_interrupt(hart: &mut Hart) -> Option<Exception> {
        trap::pending_interrupt(hart)
    }

    fn call(hart: &mut Hart, id: u16, args: [u64; 3]) -> Result<u64, Stop> {
        call::call(hart, id, args)
    }
}
