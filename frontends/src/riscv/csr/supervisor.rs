//! Registers of S-mode.

use emu_core::mem::Flush;

use super::super::Privilege;
use super::super::bits::{cause, mip, mstatus};
use super::super::model::Paging;
use super::super::state::{Hart, Riscv};
use super::super::trap;
use super::Csr;
use super::machine::{envcfg_value, epc_mask, status_read, status_write, tvec_value};

/// The fields of `mstatus` that S-mode may write.
const STATUS: u64 = mstatus::SIE | mstatus::SPIE | mstatus::SPP | mstatus::FS | mstatus::SUM | mstatus::MXR;
/// What it sees besides.
const STATUS_READ: u64 = STATUS | 3 << 32 | mstatus::SD;

pub(super) const CSRS: &[Csr] = &[
    Csr::new(
        0x100,
        "sstatus",
        |hart, _| status_read(&hart.isa) & STATUS_READ,
        |hart, _, value| status_write(hart, STATUS, value),
    ),
    Csr::new(
        0x104,
        "sie",
        |hart, _| hart.isa.csr.mie & hart.isa.csr.mideleg,
        |hart, _, value| {
            let mask = hart.isa.csr.mideleg;
            hart.isa.csr.mie =
                hart.isa.csr.mie & !mask | value & mask & super::machine::interrupts(&hart.isa);
            trap::interrupts_changed(hart);
        },
    ),
    Csr::new(
        0x105,
        "stvec",
        |hart, _| hart.isa.csr.stvec,
        |hart, _, value| hart.isa.csr.stvec = tvec_value(value),
    ),
    Csr::new(
        0x10a,
        "senvcfg",
        |hart, _| hart.isa.csr.senvcfg,
        |hart, _, value| {
            hart.isa.csr.senvcfg = envcfg_value(&hart.isa, value, false);
            hart.mode_changed();
        },
    ),
    Csr::new(
        0x140,
        "sscratch",
        |hart, _| hart.isa.csr.sscratch,
        |hart, _, value| hart.isa.csr.sscratch = value,
    ),
    Csr::new(
        0x141,
        "sepc",
        |hart, _| hart.isa.csr.sepc,
        |hart, _, value| hart.isa.csr.sepc = value & epc_mask(&hart.isa),
    ),
    Csr::new(
        0x142,
        "scause",
        |hart, _| hart.isa.csr.scause,
        |hart, _, value| hart.isa.csr.scause = value & CAUSE,
    ),
    Csr::new(0x143, "stval", |hart, _| hart.isa.csr.stval, |hart, _, value| hart.isa.csr.stval = value),
    Csr::new(
        0x144,
        "sip",
        |hart, _| trap::read_mip(hart) & hart.isa.csr.mideleg,
        |hart, _, value| {
            trap::latch_pins(hart);
            let mask = hart.isa.csr.mideleg & (mip::SSIP | mip::LCOFIP);
            hart.isa.csr.mip = hart.isa.csr.mip & !mask | value & mask;
            trap::interrupts_changed(hart);
        },
    ),
    Csr::new(0x180, "satp", |hart, _| hart.isa.csr.satp, |hart, _, value| write_satp(hart, value))
        .gated(no_tvm),
];

/// The bits of `mcause` and `scause`: Interrupt, and codes up to 63.
pub(super) const CAUSE: u64 = cause::INTERRUPT | 0x3f;

fn no_tvm(isa: &Riscv, _: u16) -> bool {
    isa.privilege == Privilege::Machine || isa.csr.mstatus & mstatus::TVM == 0
}

/// A write with a mode that is not there has no effect at all.
fn write_satp(hart: &mut Hart, value: u64) {
    let paging = Paging::from_bits(value >> 60);
    let supported = match paging {
        Some(paging) => paging <= hart.isa.config.model.paging,
        None => value >> 60 == 0,
    };
    if !supported {
        return;
    }
    let before = hart.isa.paging();
    hart.isa.csr.satp = value;
    if before != paging && before.is_some() && paging.is_some() {
        // The banks are the same for all paging modes.
        hart.mmu.flush(Flush::ALL);
    }
    hart.mode_changed();
}
