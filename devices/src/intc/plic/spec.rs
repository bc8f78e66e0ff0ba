//! RISC-V Platform-Level Interrupt Controller Specification, version 1.0.0, chapter 3 "Memory Map".
//!
//! All registers are 32 bits wide and naturally aligned. Source 0 does not exist.

/// Interrupt source priorities, one register per source.
pub const PRIORITY: u64 = 0x00_0000;
/// Pending bits, read-only, 32 sources per register.
pub const PENDING: u64 = 0x00_1000;
/// Enable bits of context 0, 32 sources per register.
pub const ENABLE: u64 = 0x00_2000;
/// Bytes from one context's enable bits to the next one's.
pub const ENABLE_STRIDE: u64 = 0x80;
/// Threshold and claim/complete registers of context 0.
pub const CONTEXT: u64 = 0x20_0000;
/// Bytes from one context's registers to the next one's.
pub const CONTEXT_STRIDE: u64 = 0x1000;
/// Priority threshold, within a context's registers.
pub const THRESHOLD: u64 = 0x0;
/// Claim (read) and complete (write), within a context's registers.
pub const CLAIM_COMPLETE: u64 = 0x4;

/// The most sources that the memory map has room for, source 0 included.
pub const MAX_SOURCES: u32 = 1024;
/// The most contexts that the memory map has room for.
pub const MAX_CONTEXTS: usize = 15872;

/// A register of the map. Numbers may be beyond what an implementation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The priority of a source.
    Priority(u32),
    /// The pending bits of 32 sources.
    Pending(usize),
    /// The enable bits of 32 sources for a context.
    Enable(usize, usize),
    /// The priority threshold of a context.
    Threshold(usize),
    /// The claim/complete register of a context.
    ClaimComplete(usize),
}

impl Register {
    /// The register at `offset`, a multiple of four; none where the map has a gap.
    pub fn at(offset: u64) -> Option<Self> {
        let index = |bytes: u64| (bytes / 4) as usize;
        match offset {
            PRIORITY..PENDING => Some(Self::Priority(((offset - PRIORITY) / 4) as u32)),
            PENDING..ENABLE => Some(index(offset - PENDING)).filter(|word| *word < 32).map(Self::Pending),
            ENABLE..CONTEXT => {
                let within = offset - ENABLE;
                Some(Self::Enable((within / ENABLE_STRIDE) as usize, index(within % ENABLE_STRIDE)))
            }
            _ => {
                let within = offset - CONTEXT;
                let context = (within / CONTEXT_STRIDE) as usize;
                match within % CONTEXT_STRIDE {
                    THRESHOLD => Some(Self::Threshold(context)),
                    CLAIM_COMPLETE => Some(Self::ClaimComplete(context)),
                    _ => None,
                }
            }
        }
    }
}
