//! Registers of M-mode.

use emu_core::mem::Flush;

use super::super::bits::{envcfg, mip, mstatus};
use super::super::ext::Ext;
use super::super::state::{Hart, Riscv};
use super::super::trap;
use super::supervisor::CAUSE;
use super::{Csr, ignore};

pub(super) const MIP: u16 = 0x344;

pub(super) const CSRS: &[Csr] = &[
    Csr::new(0xf11, "mvendorid", |_, _| 0, ignore),
    Csr::new(0xf12, "marchid", |_, _| 0, ignore),
    Csr::new(0xf13, "mimpid", |_, _| 0, ignore),
    Csr::new(0xf14, "mhartid", |hart, _| hart.isa.config.hart_id, ignore),
    Csr::new(0xf15, "mconfigptr", |_, _| 0, ignore),
    Csr::new(
        0x300,
        "mstatus",
        |hart, _| status_read(&hart.isa),
        |hart, _, value| status_write(hart, STATUS, value),
    ),
    Csr::new(0x301, "misa", |hart, _| hart.isa.config.model.misa(), ignore),
    Csr::new(
        0x302,
        "medeleg",
        |hart, _| hart.isa.csr.medeleg,
        |hart, _, value| hart.isa.csr.medeleg = value & MEDELEG,
    ),
    Csr::new(
        0x303,
        "mideleg",
        |hart, _| hart.isa.csr.mideleg,
        |hart, _, value| {
            hart.isa.csr.mideleg = value & supervisor_interrupts(&hart.isa);
            trap::interrupts_changed(hart);
        },
    ),
    Csr::new(
        0x304,
        "mie",
        |hart, _| hart.isa.csr.mie,
        |hart, _, value| {
            hart.isa.csr.mie = value & interrupts(&hart.isa);
            trap::interrupts_changed(hart);
        },
    ),
    Csr::new(
        0x305,
        "mtvec",
        |hart, _| hart.isa.csr.mtvec,
        |hart, _, value| hart.isa.csr.mtvec = tvec_value(value),
    ),
    Csr::new(0x30a, "menvcfg", |hart, _| hart.isa.csr.menvcfg, |hart, _, value| write_menvcfg(hart, value)),
    Csr::new(
        0x340,
        "mscratch",
        |hart, _| hart.isa.csr.mscratch,
        |hart, _, value| hart.isa.csr.mscratch = value,
    ),
    Csr::new(
        0x341,
        "mepc",
        |hart, _| hart.isa.csr.mepc,
        |hart, _, value| hart.isa.csr.mepc = value & epc_mask(&hart.isa),
    ),
    Csr::new(
        0x342,
        "mcause",
        |hart, _| hart.isa.csr.mcause,
        |hart, _, value| hart.isa.csr.mcause = value & CAUSE,
    ),
    Csr::new(0x343, "mtval", |hart, _| hart.isa.csr.mtval, |hart, _, value| hart.isa.csr.mtval = value),
    Csr::new(MIP, "mip", |hart, _| trap::read_mip(hart), |hart, _, value| write_mip(hart, value)),
    Csr::new(
        0x747,
        "mseccfg",
        |hart, _| hart.isa.pmp.mseccfg(),
        |hart, _, value| {
            let changed = hart.isa.pmp.set_mseccfg(value);
            protection_changed(hart, changed);
        },
    )
    .needs(Ext::Smepmp),
    Csr::new(PMPCFG0, "pmpcfg", read_pmpcfg, write_pmpcfg).run(PMPCFG0, PMPCFG0 + 15),
    Csr::new(
        PMPADDR0,
        "pmpaddr",
        |hart, number| hart.isa.pmp.addr(usize::from(number - PMPADDR0)),
        |hart, number, value| {
            let changed = hart.isa.pmp.set_addr(usize::from(number - PMPADDR0), value);
            protection_changed(hart, changed);
        },
    )
    .run(PMPADDR0, PMPADDR0 + 63),
];

const PMPCFG0: u16 = 0x3a0;
const PMPADDR0: u16 = 0x3b0;

/// Whether the table means this number where a run has gaps: on RV64 the odd `pmpcfg` do not exist.
pub(super) fn exists(number: u16) -> bool {
    !(PMPCFG0..PMPCFG0 + 16).contains(&number) || number.is_multiple_of(2)
}

/// The fields of `mstatus` that can be written.
const STATUS: u64 = mstatus::SIE
    | mstatus::MIE
    | mstatus::SPIE
    | mstatus::MPIE
    | mstatus::SPP
    | mstatus::MPP
    | mstatus::FS
    | mstatus::MPRV
    | mstatus::SUM
    | mstatus::MXR
    | mstatus::TVM
    | mstatus::TW
    | mstatus::TSR;
/// Those that lifted code or translations depend on.
const STATUS_MODE: u64 = mstatus::MPP | mstatus::FS | mstatus::MPRV | mstatus::SUM | mstatus::MXR;

/// Exceptions that can be delegated: all that there are but for calls from M-mode.
const MEDELEG: u64 = 0xb3ff;

pub(super) fn status_read(isa: &Riscv) -> u64 {
    let status = isa.csr.mstatus | mstatus::UXL_64 | mstatus::SXL_64;
    if status & mstatus::FS == mstatus::FS { status | mstatus::SD } else { status }
}

/// Writes the fields of `mstatus` in `mask`.
pub(super) fn status_write(hart: &mut Hart, mask: u64, value: u64) {
    let old = hart.isa.csr.mstatus;
    let mut mask = mask;
    if value & mstatus::MPP == 2 << mstatus::MPP_SHIFT {
        mask &= !mstatus::MPP; // reserved: the field stays as it is
    }
    if !hart.isa.has(Ext::F) {
        mask &= !mstatus::FS;
    }
    let new = old & !mask | value & mask;
    hart.isa.csr.mstatus = new;
    if (old ^ new) & STATUS_MODE != 0 {
        hart.mode_changed();
    }
    if new & !old & (mstatus::SIE | mstatus::MIE) != 0 {
        trap::interrupts_changed(hart);
    }
}

/// A legal `mtvec` or `stvec`: of the reserved modes, the upper bit is ignored.
pub(super) fn tvec_value(value: u64) -> u64 {
    value & !2
}

/// The bits that an `mepc` or `sepc` has: instructions lie at multiples of two bytes with C, else four.
pub(super) fn epc_mask(isa: &Riscv) -> u64 {
    if isa.has(Ext::C) { !1 } else { !3 }
}

/// The interrupts that S-mode can get.
pub(super) fn supervisor_interrupts(isa: &Riscv) -> u64 {
    let overflow = if isa.has(Ext::Sscofpmf) { mip::LCOFIP } else { 0 };
    mip::SSIP | mip::STIP | mip::SEIP | overflow
}

/// All interrupts.
pub(super) fn interrupts(isa: &Riscv) -> u64 {
    supervisor_interrupts(isa) | mip::MSIP | mip::MTIP | mip::MEIP
}

/// `mip` without the external pin: what the modification of a read-modify-write works on.
pub(super) fn mip_to_modify(hart: &Hart, read: u64) -> u64 {
    read & !mip::SEIP | hart.isa.csr.mip & mip::SEIP
}

fn write_mip(hart: &mut Hart, value: u64) {
    trap::latch_pins(hart);
    let timer = if hart.isa.stce() { mip::STIP } else { 0 };
    let mask = supervisor_interrupts(&hart.isa) & !timer;
    hart.isa.csr.mip = hart.isa.csr.mip & !mask | value & mask;
    trap::interrupts_changed(hart);
}

/// A legal `menvcfg` (`machine`) or `senvcfg`.
pub(super) fn envcfg_value(isa: &Riscv, value: u64, machine: bool) -> u64 {
    let with = |ext, bits| if isa.has(ext) { bits } else { 0 };
    let mut mask =
        envcfg::FIOM | with(Ext::Zicbom, envcfg::CBIE | envcfg::CBCFE) | with(Ext::Zicboz, envcfg::CBZE);
    if machine {
        mask |=
            with(Ext::Svadu, envcfg::ADUE) | with(Ext::Svpbmt, envcfg::PBMTE) | with(Ext::Sstc, envcfg::STCE);
    }
    if value & envcfg::CBIE == 2 << 4 {
        mask &= !envcfg::CBIE; // reserved: taken for 0
    }
    value & mask
}

fn write_menvcfg(hart: &mut Hart, value: u64) {
    let old = hart.isa.csr.menvcfg;
    let new = envcfg_value(&hart.isa, value, true);
    hart.isa.csr.menvcfg = new;
    if (old ^ new) & (envcfg::ADUE | envcfg::PBMTE) != 0 {
        hart.mmu.flush(Flush::ALL);
    }
    if (old ^ new) & envcfg::STCE != 0 {
        // With STCE, mip.STIP is no storage any more.
        hart.isa.csr.mip &= !mip::STIP;
        trap::update_timer(hart);
        trap::interrupts_changed(hart);
    }
}

/// Cached translations hold what PMP allowed.
fn protection_changed(hart: &mut Hart, changed: bool) {
    if changed {
        hart.mmu.flush(Flush::ALL);
    }
}

/// The first of the eight entries that a `pmpcfg` configures.
fn pmpcfg_first(number: u16) -> usize {
    usize::from(number - PMPCFG0) * 4
}

fn read_pmpcfg(hart: &Hart, number: u16) -> u64 {
    let first = pmpcfg_first(number);
    u64::from_le_bytes(std::array::from_fn(|i| hart.isa.pmp.cfg(first + i)))
}

fn write_pmpcfg(hart: &mut Hart, number: u16, value: u64) {
    let first = pmpcfg_first(number);
    let mut changed = false;
    for (i, cfg) in value.to_le_bytes().into_iter().enumerate() {
        changed |= hart.isa.pmp.set_cfg(first + i, cfg);
    }
    protection_changed(hart, changed);
}
