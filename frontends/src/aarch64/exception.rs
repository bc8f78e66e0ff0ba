//! Exceptions: taking them, and returning from them (DDI 0487, D1.3 "Exceptions").

use emu_core::exec::{Access, Exception};

use super::state::Cpu;
use super::syndrome::{ALIGNMENT_FAULT, EXTERNAL_ABORT, WNR, class, syndrome};
use super::{NZCV, SP, SP_EL, X};

/// The abort of an access to `va` with this fault status.
fn abort(va: u64, access: Access, status: u32) -> Exception {
    let cause = match access {
        Access::Fetch => syndrome(class::INSTRUCTION_ABORT, status),
        Access::Read => syndrome(class::DATA_ABORT, status),
        Access::Write => syndrome(class::DATA_ABORT, status | WNR),
    };
    Exception::new(cause.into(), va)
}

/// The exception for an access to `va` that no memory or device answers.
pub(super) fn external_abort(va: u64, access: Access) -> Exception {
    abort(va, access, EXTERNAL_ABORT)
}

/// The exception for an access to `va` that must be aligned and is not.
pub(super) fn alignment_fault(va: u64, access: Access) -> Exception {
    abort(va, access, ALIGNMENT_FAULT)
}

/// As [`emu_core::exec::Isa::raise`] says.
pub(super) fn raise(cpu: &mut Cpu, exception: Exception) {
    let from = cpu.isa.pstate;
    let class = (exception.cause >> 26) as u32; // six bits
    let same_el = from.el == 1;
    let after = matches!(class, class::SVC | class::HVC | class::SMC);
    let nzcv = cpu.state.slots[usize::from(NZCV)];
    let isa = &mut cpu.isa;
    isa.monitor.clear();
    isa.elr[0] = (cpu.state.pc & !3).wrapping_add(if after { 4 } else { 0 });
    isa.spsr[0] = nzcv
        | u64::from(from.daif) << 6
        | (cpu.state.pc & 3) << 10
        | u64::from(from.el) << 2
        | u64::from(from.sp_sel);
    let lower = matches!(class, class::INSTRUCTION_ABORT | class::DATA_ABORT);
    isa.esr[0] = exception.cause + if lower && same_el { 1 << 26 } else { 0 };
    isa.far[0] = exception.value;
    let vector = match (same_el, from.sp_sel) {
        (false, _) => 0x400,
        (true, false) => 0,
        (true, true) => 0x200,
    };
    cpu.state.pc = isa.vbar[0].wrapping_add(vector);
    select_sp(cpu, 1, true);
    cpu.isa.pstate.daif = 15;
    cpu.mode_changed();
}

/// Changes the exception level and the stack pointer in use.
pub(super) fn select_sp(cpu: &mut Cpu, el: u8, sp_sel: bool) {
    let bank = |el: u8, sel: bool| usize::from(SP_EL) + if sel { usize::from(el) } else { 0 };
    let from = cpu.isa.pstate;
    let slots = &mut cpu.state.slots;
    slots[bank(from.el, from.sp_sel)] = slots[usize::from(SP)];
    slots[usize::from(SP)] = slots[bank(el, sp_sel)];
    (cpu.isa.pstate.el, cpu.isa.pstate.sp_sel) = (el, sp_sel);
}

/// As [`emu_core::exec::Isa::pending_interrupt`] says.
pub(super) fn pending_interrupt(_: &mut Cpu) -> Option<Exception> {
    None
}

/// Puts `cpu` into exception level `el` at `pc`, with its own stack pointer there (at EL0: the only one), interrupts masked,
/// `x0` set and all other registers zero: what firmware does that is not guest code.
pub fn enter(cpu: &mut Cpu, el: u8, pc: u64, x0: u64) {
    cpu.state.slots.fill(0);
    cpu.state.slots[usize::from(X)] = x0;
    cpu.state.pc = pc;
    cpu.isa.monitor.clear();
    cpu.isa.pstate.el = el.min(3);
    cpu.isa.pstate.sp_sel = el > 0;
    cpu.isa.pstate.daif = 15;
    cpu.mode_changed();
}
