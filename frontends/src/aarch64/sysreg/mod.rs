//! System registers and system instructions: one table of them all ([`table`]), and the rules of access (DDI 0487, D24.1
//! "About the AArch64 System registers").
//!
//! Which exception level an encoding needs follows from its `op1`. What a line of the table adds is the feature that it belongs
//! to, the controls by which it traps, what can be written, and what accesses do beyond storage. An encoding without a line is
//! undefined, but for the reserved ones of the identification space, which read as zero.

mod access;
mod control;
mod gic;
mod id;
mod state;
mod table;

use emu_core::exec::{Exception, Stop};

pub use self::table::Reg;

use self::table::LINES;
use super::bits::{hcr, mdcr};
use super::features::Feature;
use super::state::{Aarch64, Config, Cpu};
use super::syndrome::{class, syndrome, target};
use super::sysop::tlbi;

/// Which accesses a register takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Reads.
    R,
    /// Writes.
    W,
    /// Both.
    RW,
}

/// What the rules say to an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done.
    Allowed,
    /// The encoding is undefined.
    Undefined,
    /// It traps: to this exception level if it is 2 or 3, else to where exceptions go that are not routed.
    Trap(u8),
    /// It traps as the instructions of this exception class do.
    TrapAs(u32),
}

impl Verdict {
    pub(super) fn trap_unless(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Trap(1) }
    }

    /// This, or, if this allows the access, a trap to EL2 unless that is `allowed`.
    pub(super) fn and_el2(self, allowed: bool) -> Self {
        if self == Self::Allowed && !allowed { Self::Trap(2) } else { self }
    }
}

/// What a system instruction does.
type Run = fn(&mut Cpu, Reg, u64) -> Result<(), Stop>;

/// One register or system instruction.
struct Line {
    reg: Reg,
    encoding: u16,
    name: &'static str,
    kind: Kind,
    feature: Option<Feature>,
    /// Bits of `HCR_EL2` by which reads, and by which writes, from below trap.
    hcr: [u64; 2],
    /// Bits of `MDCR_EL2` and `MDCR_EL3` by which accesses from below trap.
    mdcr: u64,
    /// What else decides on an access; the flag tells that it is a write.
    gate: fn(&Aarch64, bool) -> Verdict,
    /// The register of EL2 that a host means with this one.
    host: Option<Reg>,
    /// Bits that can be written, bits that are one, and the others after a reset.
    mask: u64,
    ones: u64,
    reset: u64,
    /// A write may change what lifting depends on.
    context: bool,
    read: fn(&Cpu, Reg) -> u64,
    write: fn(&mut Cpu, Reg, u64),
    /// A system instruction does this and writes nothing.
    run: Option<Run>,
    /// The interrupt controller reads and writes it.
    gic: bool,
}

impl Line {
    const fn new(reg: Reg, name: &'static str, [op0, op1, crn, crm, op2]: [u16; 5], kind: Kind) -> Self {
        Self {
            reg,
            encoding: encoding(op0, op1, crn, crm, op2),
            name,
            kind,
            feature: None,
            hcr: [0; 2],
            mdcr: 0,
            gate: |_, _| Verdict::Allowed,
            host: None,
            mask: u64::MAX,
            ones: 0,
            reset: 0,
            context: false,
            read: |cpu, reg| cpu.isa.sys[reg],
            write: |cpu, reg, value| cpu.isa.sys.store(reg, value),
            run: None,
            gic: false,
        }
    }

    /// There only with this feature.
    const fn feature(self, feature: Feature) -> Self {
        Self { feature: Some(feature), ..self }
    }

    /// Reads and writes trap by these bits of `HCR_EL2`.
    const fn hcr(self, read: u64, write: u64) -> Self {
        Self { hcr: [read, write], ..self }
    }

    /// A control of virtual memory, which `TRVM` and `TVM` trap.
    const fn memory_control(self) -> Self {
        self.hcr(hcr::TRVM, hcr::TVM)
    }

    /// An identification register of group 3.
    const fn id(self) -> Self {
        Self { read: id::read, ..self.hcr(hcr::TID3, 0) }
    }

    /// Traps by these bits of `MDCR_EL2` and `MDCR_EL3`.
    const fn mdcr(self, bits: u64) -> Self {
        Self { mdcr: bits, ..self }
    }

    /// A register of the debug architecture.
    const fn debug(self) -> Self {
        self.mdcr(mdcr::TDA)
    }

    /// Accessible only where `gate` says so.
    const fn gate(self, gate: fn(&Aarch64, bool) -> Verdict) -> Self {
        Self { gate, ..self }
    }

    /// A host means `reg` with it, and reaches this one by an encoding with `op1` = 5.
    const fn host(self, reg: Reg) -> Self {
        Self { host: Some(reg), ..self }
    }

    /// Only these bits can be written.
    const fn mask(self, mask: u64) -> Self {
        Self { mask, ..self }
    }

    /// These bits are always one.
    const fn ones(self, ones: u64) -> Self {
        Self { ones, ..self }
    }

    /// The value after a reset.
    const fn reset(self, reset: u64) -> Self {
        Self { reset, ..self }
    }

    /// Writes may change what lifting depends on.
    const fn context(self) -> Self {
        Self { context: true, ..self }
    }

    /// Reads are not plain.
    const fn read(self, read: fn(&Cpu, Reg) -> u64) -> Self {
        Self { read, ..self }
    }

    /// Writes are not plain.
    const fn write(self, write: fn(&mut Cpu, Reg, u64)) -> Self {
        Self { write, ..self }
    }

    /// What a system instruction does.
    const fn run(self, run: fn(&mut Cpu, Reg, u64) -> Result<(), Stop>) -> Self {
        Self { run: Some(run), ..self }
    }

    /// TLB maintenance; what exactly follows from the encoding.
    const fn tlbi(self) -> Self {
        let traps = if op1(self.encoding) == 0 { hcr::TTLB } else { 0 };
        self.hcr(0, traps).run(tlbi::run)
    }

    /// A register of the GICv3 CPU interface, which the controller reads and writes.
    const fn gic(self, gate: fn(&Aarch64, bool) -> Verdict) -> Self {
        Self { gic: true, ..self.gate(gate) }
    }
}

/// The encoding of a system register or instruction; see [`super::helper::sysreg`].
const fn encoding(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> u16 {
    super::helper::sysreg(op0, op1, crn, crm, op2)
}

/// `op1` of an encoding.
const fn op1(encoding: u16) -> u16 {
    encoding >> 11 & 7
}

/// The encoding by which a host reaches the register of EL1 with this one.
const fn el12(encoding: u16) -> u16 {
    encoding & !(7 << 11) | 5 << 11
}

/// For each encoding with `op0` from 1 on, one more than its line; zero where there is none.
static INDEX: [u16; 3 << 14] = index();

const fn index() -> [u16; 3 << 14] {
    let mut index = [0; 3 << 14];
    let mut i = 0;
    while i < LINES.len() {
        let line = &LINES[i];
        assert!(line.reg as usize == i);
        let at = line.encoding as usize - (1 << 14);
        assert!(index[at] == 0, "two lines for one encoding");
        index[at] = i as u16 + 1;
        if line.host.is_some() {
            let at = el12(line.encoding) as usize - (1 << 14);
            assert!(index[at] == 0, "two lines for one encoding");
            index[at] = i as u16 + 1;
        }
        i += 1;
    }
    index
}

/// The line of an encoding.
fn find(encoding: u16) -> Option<&'static Line> {
    let entry = INDEX.get(usize::from(encoding).checked_sub(1 << 14)?)?;
    LINES.get(usize::from(*entry).checked_sub(1)?)
}

/// The values of the registers that are storage.
#[derive(Clone, Debug)]
pub(super) struct Storage(Box<[u64; Reg::COUNT]>);

impl Storage {
    /// The values after a reset.
    pub(super) fn reset(config: &Config) -> Self {
        let mut values = Box::new([0; Reg::COUNT]);
        for (value, line) in values.iter_mut().zip(&LINES) {
            *value = line.reset | line.ones;
        }
        let mut storage = Self(values);
        control::reset(&mut storage, config);
        storage
    }

    /// Writes what can be written of a register.
    pub(super) fn store(&mut self, reg: Reg, value: u64) {
        let line = &LINES[reg as usize];
        self[reg] = value & line.mask | line.ones;
    }

    /// The value of register `n` of a family that begins with `first`.
    pub(super) fn of_family(&self, first: Reg, n: usize) -> u64 {
        self.0.get(first as usize + n).copied().unwrap_or(0)
    }
}

impl std::ops::Index<Reg> for Storage {
    type Output = u64;

    #[inline]
    fn index(&self, reg: Reg) -> &u64 {
        &self.0[reg as usize]
    }
}

impl std::ops::IndexMut<Reg> for Storage {
    #[inline]
    fn index_mut(&mut self, reg: Reg) -> &mut u64 {
        &mut self.0[reg as usize]
    }
}

impl Reg {
    /// The register `n` lines further down in the table: for families.
    pub(super) const fn plus(self, n: usize) -> Self {
        LINES[self as usize + n].reg
    }

    /// Its encoding; see [`super::helper::sysreg`].
    pub const fn encoding(self) -> u16 {
        LINES[self as usize].encoding
    }
}

pub(super) use self::access::{changes_context, read, trapped, write};
pub use self::access::{sysreg_list, sysreg_name, sysreg_read_debug, sysreg_write_debug};
pub(super) use self::state::set_daif;
