//! The remote fence extension (SBI 3.0, chapter 8).

use super::pmu::FwEvent;
use super::{Call, Fence, HartSet, SbiError, SbiResult};

pub(super) const ID: u64 = 0x5246_4e43;

impl Call<'_> {
    pub(super) fn rfence(mut self) -> SbiResult {
        let [mask, base, start, size, asid, ..] = self.args;
        let fence = match self.function {
            0 => Some(Fence::Instruction),
            1 => memory_fence(start, size, None)?,
            2 => memory_fence(start, size, Some(asid))?,
            // 3 to 6 are the hypervisor fences, which need a hart with the H extension.
            _ => return Err(SbiError::NotSupported),
        };
        let harts = self.harts(mask, base)?;
        if let Some(fence) = fence {
            self.fence(harts, fence);
        }
        Ok(0)
    }

    pub(super) fn fence(&mut self, harts: HartSet, fence: Fence) {
        let (sent, received) = match fence {
            Fence::Instruction => (FwEvent::FenceISent, FwEvent::FenceIReceived),
            Fence::Memory { asid: None, .. } => (FwEvent::SfenceVmaSent, FwEvent::SfenceVmaReceived),
            Fence::Memory { .. } => (FwEvent::SfenceVmaAsidSent, FwEvent::SfenceVmaAsidReceived),
        };
        for hart in harts.iter().filter(|&hart| hart != self.hart) {
            self.state.pmu.count(sent);
            self.sbi.harts[hart].pmu.count(received);
        }
        self.platform.remote_fence(harts, fence);
    }
}

/// The fence for the address range arguments; none if the range is empty.
pub(super) fn memory_fence(start: u64, size: u64, asid: Option<u64>) -> Result<Option<Fence>, SbiError> {
    // The instruction ignores the register's bits above the ASID as well.
    let asid = asid.map(|asid| asid as u16);
    if (start, size) == (0, 0) || size == u64::MAX {
        return Ok(Some(Fence::Memory { range: None, asid }));
    }
    let Some(last) = size.checked_sub(1) else { return Ok(None) };
    start.checked_add(last).ok_or(SbiError::InvalidAddress)?;
    Ok(Some(Fence::Memory { range: Some((start, size)), asid }))
}
