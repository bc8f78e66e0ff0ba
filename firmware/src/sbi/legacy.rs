//! The legacy extensions (SBI 3.0, chapter 5): one extension id per function, a result in `a0` alone.

use emu_core::device::PowerRequest;

use super::rfence::memory_fence;
use super::{Call, Fence, HartSet, MemoryFault, Outcome, SbiError};

pub(super) const FIRST: u64 = 0;
pub(super) const LAST: u64 = 8;

impl Call<'_> {
    pub(super) fn legacy(mut self) -> Outcome {
        let [a0, start, size, asid, ..] = self.args;
        let done = Outcome::Legacy { a0: 0 };
        match self.args[7] {
            0 => {
                self.set_timer(a0);
                done
            }
            1 => match self.platform.console_write(&[a0 as u8]) {
                0 => Outcome::Retry,
                _ => done,
            },
            2 => {
                let mut byte = [0];
                let received = self.platform.console_read(&mut byte) != 0;
                Outcome::Legacy { a0: if received { byte[0].into() } else { u64::MAX } }
            }
            3 => Outcome::Legacy { a0: self.clear_ipi().into() },
            4 => self.with_mask(a0, |call, harts| call.send_ipis(harts)),
            5 => self.with_mask(a0, |call, harts| call.fence(harts, Fence::Instruction)),
            6 => self.legacy_sfence(a0, memory_fence(start, size, None)),
            7 => self.legacy_sfence(a0, memory_fence(start, size, Some(asid))),
            _ => Outcome::Power(PowerRequest::Off { code: 0 }),
        }
    }

    fn legacy_sfence(&mut self, mask: u64, fence: Result<Option<Fence>, SbiError>) -> Outcome {
        match fence {
            Ok(Some(fence)) => self.with_mask(mask, |call, harts| call.fence(harts, fence)),
            Ok(None) => Outcome::Legacy { a0: 0 },
            Err(error) => Outcome::Legacy { a0: error as i64 as u64 },
        }
    }

    /// Does `action` to the harts of the bit vector at virtual `address`, 64 at a time. Bits beyond the last
    /// hart do not count; a null address is all harts, as kernels before SBI 0.2 have it. Reads the whole
    /// vector first: a fault leaves nothing half done.
    fn with_mask(&mut self, address: u64, action: impl Fn(&mut Self, HartSet)) -> Outcome {
        let sets = match self.read_mask(address) {
            Ok(sets) => sets,
            Err(fault) => return Outcome::Trap(fault),
        };
        for set in sets {
            action(self, set);
        }
        Outcome::Legacy { a0: 0 }
    }

    fn read_mask(&mut self, address: u64) -> Result<Vec<HartSet>, MemoryFault> {
        let count = self.sbi.harts.len();
        if address == 0 {
            return Ok(vec![HartSet::All { count }]);
        }
        let word = |base: usize| {
            let mask = self.platform.read_virtual(address.wrapping_add(base as u64 / 8))?;
            let beyond = 64_u32.saturating_sub((count - base).min(64) as u32);
            Ok(HartSet::Listed { base, mask: mask & u64::MAX.checked_shr(beyond).unwrap_or(0) })
        };
        (0..count).step_by(64).map(word).collect()
    }

    fn clear_ipi(&mut self) -> bool {
        use super::csr;
        let pending = self.platform.read_csr(csr::MIP).unwrap_or(0);
        if pending & csr::MIP_SSIP != 0 {
            self.platform.write_csr(csr::MIP, pending & !csr::MIP_SSIP);
        }
        pending & csr::MIP_SSIP != 0
    }
}
