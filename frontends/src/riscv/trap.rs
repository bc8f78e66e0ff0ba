//! Traps: taking exceptions and interrupts, and returning from them (Priv., "Machine-Level ISA" and
//! "Supervisor-Level ISA").

use emu_core::exec::Exception;

use super::Privilege;
use super::bits::{cause, mip, mstatus};
use super::state::{Hart, Riscv};

/// The interrupt pins of a hart's [`emu_core::sync::Port`]: each has the position of its bit in `mip`. All
/// are levels, but for SSIP: whoever makes an edge on that one sets the pin, and the hart clears it as it
/// takes over the edge.
pub const PINS: u64 = mip::SSIP | mip::MSIP | mip::MTIP | mip::SEIP | mip::MEIP;

/// Interrupts from the highest priority to the lowest.
const PRIORITY: [u64; 7] = [mip::MEIP, mip::MSIP, mip::MTIP, mip::SEIP, mip::SSIP, mip::STIP, mip::LCOFIP];

/// `mip`, with the pins as they are now and the supervisor timer as it was when last looked at.
fn pending(hart: &Hart) -> u64 {
    let timer = if hart.isa.stimer_due { mip::STIP } else { 0 };
    hart.port().pins() & PINS | hart.isa.csr.mip | timer
}

/// `mip` as software reads it.
pub(super) fn read_mip(hart: &Hart) -> u64 {
    let isa = &hart.isa;
    let due = isa.stce() && isa.time_at(hart.clock.now_ns()) >= isa.csr.stimecmp;
    pending(hart) & !if isa.stce() { mip::STIP } else { 0 } | if due { mip::STIP } else { 0 }
}

/// Takes over edges on the SSIP pin: call it before software clears the bit.
pub(super) fn latch_pins(hart: &mut Hart) {
    if hart.port().pins() & mip::SSIP != 0 {
        hart.port().set_pins(mip::SSIP, 0);
        hart.isa.csr.mip |= mip::SSIP;
    }
}

/// The interrupt that the hart takes before its next instruction, as a cause.
fn deliverable(hart: &Hart) -> Option<u64> {
    let isa = &hart.isa;
    let pending = pending(hart) & isa.csr.mie;
    if pending == 0 {
        return None;
    }
    let status = isa.csr.mstatus;
    let (machine, supervisor) = match isa.privilege {
        Privilege::Machine => (status & mstatus::MIE != 0, false),
        Privilege::Supervisor => (true, status & mstatus::SIE != 0),
        Privilege::User => (true, true),
    };
    let enabled = |on: bool, which: u64| if on { pending & which } else { 0 };
    let to_machine = enabled(machine, !isa.csr.mideleg);
    // Those for M-mode come first, whatever their number.
    let candidates = if to_machine != 0 { to_machine } else { enabled(supervisor, isa.csr.mideleg) };
    let first = PRIORITY.into_iter().find(|bit| candidates & bit != 0)?;
    Some(cause::INTERRUPT | u64::from(first.trailing_zeros()))
}

/// As [`emu_core::exec::Isa::pending_interrupt`] says.
pub(super) fn pending_interrupt(hart: &mut Hart) -> Option<Exception> {
    latch_pins(hart);
    latch_overflow(hart, hart.state.retired);
    if hart.isa.stce() || hart.isa.is_armed() {
        update_timer(hart);
    }
    deliverable(hart).map(|cause| Exception::new(cause, 0))
}

/// Whether an interrupt is pending and enabled in `mie`, whatever the global enables: `WFI` ends then.
pub(super) fn wakes(hart: &Hart) -> bool {
    read_mip(hart) & hart.isa.csr.mie != 0
}

/// Something that interrupts depend on has changed: makes the run loop look at them if one must be taken now.
pub(super) fn interrupts_changed(hart: &mut Hart) {
    if hart.isa.stce() && !hart.isa.has_timer() {
        update_timer(hart);
    }
    if deliverable(hart).is_some() {
        hart.port().interrupt();
    }
}

/// Looks at `time` again, and arms the timer for when that, or a counter, will be of interest next.
pub(super) fn update_timer(hart: &mut Hart) {
    let now = hart.clock.now_ns();
    hart.isa.update_timer(now, hart.state.retired);
}

fn latch_overflow(hart: &mut Hart, retired: u64) {
    if hart.isa.counters.take_overflow(retired) {
        hart.isa.csr.mip |= mip::LCOFIP;
    }
}

/// Enters another privilege mode, for a debugger.
pub fn privilege_write_debug(hart: &mut Hart, privilege: Privilege) {
    let retired = hart.state.retired;
    set_privilege(hart, privilege, retired);
    interrupts_changed(hart);
}

/// Enters another privilege mode, `retired` instructions after the beginning.
pub(super) fn set_privilege(hart: &mut Hart, privilege: Privilege, retired: u64) {
    hart.isa.privilege = privilege;
    hart.isa.counters.set_privilege(privilege, retired);
    latch_overflow(hart, retired);
    hart.mode_changed();
}

/// As [`emu_core::exec::Isa::raise`] says.
pub(super) fn raise(hart: &mut Hart, exception: Exception) {
    let interrupt = exception.cause & cause::INTERRUPT != 0;
    let code = exception.cause & !cause::INTERRUPT;
    let pc = hart.state.pc;
    let isa = &mut hart.isa;
    isa.monitor.clear();
    let delegated = if interrupt { isa.csr.mideleg } else { isa.csr.medeleg };
    let delegated = code < 64 && delegated >> code & 1 != 0;
    let from = isa.privilege;
    let csr = &mut isa.csr;
    let (to, vector) = if delegated && from != Privilege::Machine {
        csr.scause = exception.cause;
        csr.sepc = pc;
        csr.stval = exception.value;
        let enabled = csr.mstatus & mstatus::SIE != 0;
        csr.mstatus &= !(mstatus::SIE | mstatus::SPIE | mstatus::SPP);
        csr.mstatus |= if enabled { mstatus::SPIE } else { 0 };
        csr.mstatus |= if from == Privilege::Supervisor { mstatus::SPP } else { 0 };
        (Privilege::Supervisor, csr.stvec)
    } else {
        csr.mcause = exception.cause;
        csr.mepc = pc;
        csr.mtval = exception.value;
        let enabled = csr.mstatus & mstatus::MIE != 0;
        csr.mstatus &= !(mstatus::MIE | mstatus::MPIE | mstatus::MPP);
        csr.mstatus |= if enabled { mstatus::MPIE } else { 0 };
        csr.mstatus |= (from as u64) << mstatus::MPP_SHIFT;
        (Privilege::Machine, csr.mtvec)
    };
    let vectored = vector & 3 == 1 && interrupt;
    hart.state.pc = (vector & !3).wrapping_add(if vectored { 4 * code } else { 0 });
    set_privilege(hart, to, hart.state.retired);
}

/// What `MRET` does, `before` instructions into its block; the address to go on at.
pub(super) fn mret(hart: &mut Hart, before: u64) -> u64 {
    let status = &mut hart.isa.csr.mstatus;
    let to = Privilege::from_bits(*status >> mstatus::MPP_SHIFT);
    let enable = *status & mstatus::MPIE != 0;
    *status &= !(mstatus::MIE | mstatus::MPP);
    *status |= mstatus::MPIE | if enable { mstatus::MIE } else { 0 };
    let target = hart.isa.csr.mepc;
    finish_return(hart, to, before);
    target
}

/// What `SRET` does, `before` instructions into its block; the address to go on at.
pub(super) fn sret(hart: &mut Hart, before: u64) -> u64 {
    let status = &mut hart.isa.csr.mstatus;
    let to = if *status & mstatus::SPP != 0 { Privilege::Supervisor } else { Privilege::User };
    let enable = *status & mstatus::SPIE != 0;
    *status &= !(mstatus::SIE | mstatus::SPP);
    *status |= mstatus::SPIE | if enable { mstatus::SIE } else { 0 };
    let target = hart.isa.csr.sepc;
    finish_return(hart, to, before);
    target
}

fn finish_return(hart: &mut Hart, to: Privilege, before: u64) {
    if to != Privilege::Machine {
        hart.isa.csr.mstatus &= !mstatus::MPRV;
    }
    // The return itself still counts in the mode that it leaves.
    let retired = hart.state.retired.wrapping_add(before).wrapping_add(1);
    set_privilege(hart, to, retired);
    interrupts_changed(hart);
}

impl Riscv {
    /// Whether `stimecmp` drives `mip.STIP`.
    pub(super) fn stce(&self) -> bool {
        self.csr.menvcfg & super::bits::envcfg::STCE != 0
    }
}
