//! `fflags`, `frm` and `fcsr` (Unpriv., "Floating-Point Control and Status Register").

use super::super::bits::mstatus;
use super::super::ext::Ext;
use super::super::state::{Hart, Riscv};
use super::Csr;

const FLAGS: u64 = 0x1f;

pub(super) const CSRS: &[Csr] = &[
    Csr::new(0x001, "fflags", |hart, _| flags(hart), |hart, _, value| write(hart, frm(hart), value))
        .needs(Ext::F)
        .gated(on),
    Csr::new(0x002, "frm", |hart, _| frm(hart), |hart, _, value| write(hart, value, flags(hart)))
        .needs(Ext::F)
        .gated(on),
    Csr::new(
        0x003,
        "fcsr",
        |hart, _| frm(hart) << 5 | flags(hart),
        |hart, _, value| write(hart, value >> 5, value),
    )
    .needs(Ext::F)
    .gated(on),
];

fn on(isa: &Riscv, _: u16) -> bool {
    isa.csr.mstatus & mstatus::FS != 0
}

fn flags(hart: &Hart) -> u64 {
    hart.state.fp_flags & FLAGS
}

fn frm(hart: &Hart) -> u64 {
    hart.isa.csr.frm.into()
}

fn write(hart: &mut Hart, frm: u64, flags: u64) {
    hart.state.fp_flags = flags & FLAGS;
    let frm = (frm & 7) as u8;
    let changed = hart.isa.csr.frm != frm || hart.isa.csr.mstatus & mstatus::FS != mstatus::FS;
    hart.isa.csr.frm = frm;
    hart.isa.csr.mstatus |= mstatus::FS;
    if changed {
        hart.mode_changed();
    }
}
