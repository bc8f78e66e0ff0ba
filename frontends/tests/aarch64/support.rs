//! What the tests of the AArch64 front end have in common.

#![allow(dead_code, reason = "each test uses its own part of it")]

use frontends::aarch64::decode::Insn;
use frontends::aarch64::features::{Feature, FeatureSet};
use frontends::aarch64::helper::sysreg;
use frontends::aarch64::pauth::Algorithm;
use frontends::aarch64::{Aarch64, Conduit, Config, Cpu, MODELS, sysreg_write_debug};

use crate::common::{assemble, machine, write};

/// Everything that there is.
pub const ALL: FeatureSet = FeatureSet::of(Feature::ALL);

pub const VBAR_EL1: u16 = sysreg(3, 0, 12, 0, 0);
pub const ESR_EL1: u16 = sysreg(3, 0, 5, 2, 0);
pub const FAR_EL1: u16 = sysreg(3, 0, 6, 0, 0);
pub const ELR_EL1: u16 = sysreg(3, 0, 4, 0, 1);

/// A processor that has everything, at EL1, with a writable region of memory. Exceptions taken to EL1 call the firmware at
/// once; `handler` is where their vectors are.
pub fn cpu(base: u64, len: u64, handler: u64) -> Cpu {
    let model = *MODELS.iter().find(|model| model.name == "max").unwrap();
    let config = Config { model, mpidr: 0, conduit: Some(Conduit::Hvc), pauth: Algorithm::Fast };
    let mut cpu = machine(Aarch64::new(config), base, len);
    assert!(sysreg_write_debug(&mut cpu, VBAR_EL1, handler));
    for vector in (0..0x800).step_by(0x80) {
        write(&cpu, handler + vector, &asm("hvc", &[]).to_le_bytes());
    }
    cpu
}

/// The instruction called `name`.
pub fn insn(name: &str) -> Insn {
    let found = Insn::ALL.iter().copied().find(|insn| insn.line().name == name);
    found.unwrap_or_else(|| panic!("no instruction `{name}`"))
}

/// Assembles: the fields that are not named are zero.
pub fn asm(name: &str, fields: &[(&str, i64)]) -> u32 {
    assemble(insn(name).line(), fields)
}
