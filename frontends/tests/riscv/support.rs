//! What the tests of the RISC-V front end have in common.

use frontends::riscv::decode::Insn;
use frontends::riscv::{Config, Hart, MODELS, Riscv};

use crate::common::{assemble, vcpu};

/// A hart of the model that has everything, in M-mode, with a writable region of memory.
pub fn hart(base: u64, len: u64) -> Hart {
    let model = *MODELS.iter().find(|model| model.name == "max").unwrap();
    let config = Config { model, hart_id: 0, timebase_hz: 10_000_000, firmware_calls: true };
    vcpu(Riscv::new(config, None), 1, &[(base, len, true)])
}

/// CSRs that let the lower modes do everything: `pmpaddr0` and `pmpcfg0` for all of memory, `menvcfg` and
/// `senvcfg` for cache-block operations, and floating point on.
pub const OPEN: &[(u16, u64)] =
    &[(0x3b0, u64::MAX), (0x3a0, 0x1f), (0x30a, 0xf0), (0x10a, 0xf0), (0x300, 1 << 13)];

/// The instruction called `name`.
pub fn insn(name: &str) -> Insn {
    Insn::all().find(|insn| insn.line().name == name).unwrap_or_else(|| panic!("no instruction `{name}`"))
}

/// Assembles: the fields that are not named are zero.
pub fn asm(name: &str, fields: &[(&str, i64)]) -> u32 {
    assemble(insn(name).line(), fields)
}
