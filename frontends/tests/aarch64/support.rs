//! What the tests of the AArch64 front end have in common.

#![allow(dead_code, reason = "each test uses its own part of it")]

use frontends::aarch64::decode::Insn;
use frontends::aarch64::features::{Feature, FeatureSet};
use frontends::aarch64::helper::sysreg;
use frontends::aarch64::pauth::Algorithm;
use frontends::aarch64::{Aarch64, Conduit, Config, Cpu, MODELS, sysreg_read_debug, sysreg_write_debug};

use crate::common::{assemble, vcpu, write};

/// Everything that there is.
pub const ALL: FeatureSet = FeatureSet::of(Feature::ALL);

pub const VBAR_EL1: u16 = sysreg(3, 0, 12, 0, 0);
const SCTLR_EL1: u16 = sysreg(3, 0, 1, 0, 0);
const CPACR_EL1: u16 = sysreg(3, 0, 1, 0, 2);
const TTBR0_EL1: u16 = sysreg(3, 0, 2, 0, 0);
pub const TCR_EL1: u16 = sysreg(3, 0, 2, 0, 2);
const MAIR_EL1: u16 = sysreg(3, 0, 10, 2, 0);
const UAO: u16 = sysreg(3, 0, 4, 2, 4);

const SCTLR_M: u64 = 1;
/// EL0 may wait, copy memory, zero and maintain caches and read `CTR_EL0`.
const SCTLR_EL0: u64 = 1 << 33 | 1 << 26 | 1 << 18 | 1 << 16 | 1 << 15 | 1 << 14;
/// Pointer authentication with all keys.
const SCTLR_KEYS: u64 = 1 << 31 | 1 << 30 | 1 << 27 | 1 << 13;
/// 48 bits of addresses below a byte that is ignored, pages of 4 KiB, no upper half.
pub const TCR: u64 = 16 | 1 << 23 | 16 << 16 | 2 << 30 | 5 << 32 | 3 << 37;
/// Descriptors.
const VALID: u64 = 1;
const TABLE: u64 = 2;
const ACCESSED: u64 = 1 << 10;
/// EL0 has access, and so EL1 does not execute what is there.
const USER: u64 = 1 << 6;

/// From an address to where EL1 executes the same memory, whatever EL0 may.
pub const PRIVILEGED: u64 = 1 << 30;

pub const ESR_EL1: u16 = sysreg(3, 0, 5, 2, 0);
pub const FAR_EL1: u16 = sysreg(3, 0, 6, 0, 0);
pub const ELR_EL1: u16 = sysreg(3, 0, 4, 0, 1);

/// A processor that has everything, at EL1, with a writable region of memory. Exceptions taken to EL1 call the firmware at
/// once; `handler`, plus [`PRIVILEGED`], is where their vectors are.
pub fn cpu(base: u64, len: u64, handler: u64) -> Cpu {
    cpu_with(Algorithm::Fast, base, len, handler)
}

/// The same with another algorithm of pointer authentication.
pub fn cpu_with(pauth: Algorithm, base: u64, len: u64, handler: u64) -> Cpu {
    let model = *MODELS.iter().find(|model| model.name == "max").unwrap();
    let config = Config { model, mpidr: 0, conduit: Some(Conduit::Hvc), pauth, el2: false, el3: false };
    // Memory must be mapped to be other than a device's: two blocks of 1 GiB, by tables well behind the memory asked for.
    let tables = base + len.next_multiple_of(4096) + 0x1_0000;
    let mut cpu = vcpu(Aarch64::new(config), 1, &[(base, len, true), (tables, 0x2000, true)]);
    let block = (base & !((1 << 30) - 1)) | ACCESSED | VALID;
    write(&cpu, tables + (base >> 39) * 8, &((tables + 0x1000) | TABLE | VALID).to_le_bytes());
    for va in [base, base + PRIVILEGED] {
        write(&cpu, block_entry(tables, va), &u64::to_le_bytes(block));
    }
    for (register, value) in [
        (VBAR_EL1, handler + PRIVILEGED),
        (MAIR_EL1, 0xff),
        (TCR_EL1, TCR),
        (TTBR0_EL1, tables),
        (SCTLR_EL1, SCTLR_M | SCTLR_EL0 | SCTLR_KEYS),
        (CPACR_EL1, 3 << 20),
        // Unprivileged accesses have the rights of the others.
        (UAO, 1 << 23),
    ] {
        assert!(sysreg_write_debug(&mut cpu, register, value), "{register:#x}");
    }
    for vector in (0..0x800).step_by(0x80) {
        write(&cpu, handler + vector, &asm("hvc", &[]).to_le_bytes());
    }
    cpu
}

fn block_entry(tables: u64, va: u64) -> u64 {
    tables + 0x1000 + (va >> 30 & 511) * 8
}

/// Begins at `pc` with all registers zero, but for the system registers that [`cpu`] sets.
pub fn enter(cpu: &mut Cpu, el: u8, pc: u64) {
    let registers = [VBAR_EL1, MAIR_EL1, TCR_EL1, TTBR0_EL1, SCTLR_EL1, CPACR_EL1, UAO];
    let values = registers.map(|register| sysreg_read_debug(cpu, register).expect("a register"));
    frontends::aarch64::enter(cpu, el, pc, 0);
    for (register, value) in registers.into_iter().zip(values) {
        assert!(sysreg_write_debug(cpu, register, value), "{register:#x}");
    }
    let rights = if el == 0 { USER } else { 0 };
    let block = (pc & !((1 << 30) - 1)) | ACCESSED | VALID | rights;
    let tables = sysreg_read_debug(cpu, TTBR0_EL1).expect("a register");
    write(cpu, block_entry(tables, pc), &u64::to_le_bytes(block));
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
