//! Exceptions: taking them, and returning from them (DDI 0487, D1.3 "Exceptions").

mod instruction;
pub(super) mod interrupt;
mod route;

use emu_core::exec::{Access, Exception, Stop};

use super::bits::{hcr, hcrx, mdscr, scr, sctlr, spsr};
use super::features::Feature;
use super::state::{Aarch64, Cpu, Pstate};
use super::syndrome::{
    ALIGNMENT_FAULT, EXTERNAL_ABORT, Interrupt, S1PTW, SYNDROME, UNDEFINED, WNR, class, syndrome,
};
use super::sysreg::Reg;
use super::{NZCV, SP, SP_EL, X};

pub use interrupt::is_waking;
pub(super) use interrupt::{interrupts_changed, pending_interrupt};

/// A register that each exception level from EL1 on has.
pub(super) fn banked(registers: [Reg; 3], el: u8) -> Reg {
    registers[usize::from(el.clamp(1, 3)) - 1]
}

const ELR: [Reg; 3] = [Reg::ELR_EL1, Reg::ELR_EL2, Reg::ELR_EL3];
const SPSR: [Reg; 3] = [Reg::SPSR_EL1, Reg::SPSR_EL2, Reg::SPSR_EL3];
const ESR: [Reg; 3] = [Reg::ESR_EL1, Reg::ESR_EL2, Reg::ESR_EL3];
const FAR: [Reg; 3] = [Reg::FAR_EL1, Reg::FAR_EL2, Reg::FAR_EL3];
const VBAR: [Reg; 3] = [Reg::VBAR_EL1, Reg::VBAR_EL2, Reg::VBAR_EL3];

/// The abort of an access to `va` with this fault status.
pub(super) fn abort(va: u64, access: Access, status: u32) -> Exception {
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

/// Stops an instruction that is undefined here.
pub(super) fn undefined() -> Stop {
    Exception::new(UNDEFINED.into(), 0).into()
}

/// As [`emu_core::exec::Isa::raise`] says.
pub(super) fn raise(cpu: &mut Cpu, exception: Exception) {
    let isa = &cpu.isa;
    let from = isa.pstate;
    let stepped = isa.stepping;
    if let Some(interrupt) = Interrupt::from_cause(exception.cause) {
        let (to, vector) = interrupt::entry(isa, interrupt);
        let syndrome = (interrupt == Interrupt::VirtualSError).then(|| {
            cpu.isa.sys[Reg::HCR_EL2] &= !hcr::VSE;
            // The hypervisor has prepared what it reports.
            u64::from(syndrome(class::SERROR, 0)) | cpu.isa.sys[Reg::VSESR_EL2]
        });
        let pc = cpu.state.pc;
        return enter_handler(cpu, to, vector, pc & !3, pc & 3, from.ss, syndrome);
    }
    let (to, class) = route::synchronous(isa, exception.cause);
    let same_level = to == from.el;
    // The instruction has been executed, and what comes back goes on behind it; a trapped one is tried again.
    let executed = matches!(class, class::SVC | class::HVC | class::SMC)
        && !(class == class::SMC && super::syndrome::target_of(exception.cause).is_some());
    let mut syndrome = exception.cause & SYNDROME;
    match class {
        // What was meant for EL1 says nothing at EL2.
        class::UNKNOWN => syndrome = UNDEFINED.into(),
        // Nothing is told of an access that has not got as far as its own address.
        class::DATA_ABORT if exception.extra != 0 && to == 2 && syndrome & u64::from(S1PTW) == 0 => {
            syndrome |= u64::from(instruction::at_pc(cpu).map_or(0, instruction::access_syndrome));
        }
        class::STEP if stepped => syndrome |= 1 << 24,
        _ => {}
    }
    let paired = matches!(
        class,
        class::INSTRUCTION_ABORT | class::DATA_ABORT | class::BREAKPOINT | class::STEP | class::WATCHPOINT
    );
    if paired && same_level {
        syndrome += 1 << 26;
    }
    let has_address = matches!(
        class,
        class::INSTRUCTION_ABORT | class::DATA_ABORT | class::PC_ALIGNMENT | class::WATCHPOINT
    );
    if has_address {
        cpu.isa.sys[banked(FAR, to)] = exception.value;
    }
    if exception.extra != 0 && to == 2 {
        cpu.isa.sys[Reg::HPFAR_EL2] = exception.extra >> 12 << 4;
    }
    let pc = cpu.state.pc;
    let back = match class {
        class::PC_ALIGNMENT => exception.value,
        _ if executed => (pc & !3).wrapping_add(4),
        _ => pc & !3,
    };
    let btype = if class == class::PC_ALIGNMENT { 0 } else { pc & 3 };
    let vector = route::vector(from, to, 0);
    // An instruction that has raised an exception has not been stepped over.
    let step = from.ss || stepped && !executed && class != class::STEP;
    enter_handler(cpu, to, vector, back, btype, step, Some(syndrome));
}

/// Enters the handler at exception level `to`: saves where to go back to, the processor's state and the syndrome, and goes
/// to the vector.
fn enter_handler(
    cpu: &mut Cpu,
    to: u8,
    vector: u64,
    back: u64,
    btype: u64,
    step: bool,
    syndrome: Option<u64>,
) {
    let status = saved_state(cpu) & !spsr::SS | btype << spsr::BTYPE_SHIFT | if step { spsr::SS } else { 0 };
    let isa = &mut cpu.isa;
    isa.monitor.clear();
    isa.stepping = false;
    isa.sys[banked(ELR, to)] = back;
    isa.sys[banked(SPSR, to)] = status;
    if let Some(syndrome) = syndrome {
        isa.sys[banked(ESR, to)] = syndrome;
    }
    let control = isa.sys[banked([Reg::SCTLR_EL1, Reg::SCTLR_EL2, Reg::SCTLR_EL3], to)];
    let has_el0 = to == 1 || to == 2 && isa.host();
    let sets_pan = has_el0 && control & sctlr::SPAN == 0 && isa.has(Feature::Pan);
    let pc = isa.sys[banked(VBAR, to)].wrapping_add(vector);
    select_sp(cpu, to, true);
    let pstate = &mut cpu.isa.pstate;
    *pstate = Pstate {
        daif: 15,
        pan: pstate.pan || sets_pan,
        uao: false,
        ssbs: control & sctlr::DSSBS != 0,
        il: false,
        ss: false,
        ..*pstate
    };
    cpu.state.pc = pc;
    synchronize(cpu);
}

/// What follows a change of the exception level: it synchronizes the context.
fn synchronize(cpu: &mut Cpu) {
    let el = cpu.isa.pstate.el;
    cpu.isa.count_at(el, cpu.state.retired);
    cpu.mode_changed();
    cpu.sync_code();
}

/// PSTATE as an exception saves it, but for BTYPE.
fn saved_state(cpu: &Cpu) -> u64 {
    let pstate = &cpu.isa.pstate;
    let bit = |on: bool, bit: u64| if on { bit } else { 0 };
    cpu.state.slots[usize::from(NZCV)]
        | bit(pstate.dit, spsr::DIT)
        | bit(pstate.uao, spsr::UAO)
        | bit(pstate.pan, spsr::PAN)
        | bit(pstate.ss, spsr::SS)
        | bit(pstate.il, spsr::IL)
        | bit(pstate.ssbs, spsr::SSBS)
        | u64::from(pstate.daif) << spsr::DAIF_SHIFT
        | u64::from(pstate.el) << spsr::EL_SHIFT
        | bit(pstate.sp_sel, spsr::SP)
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

/// Whether a return to the state in `status` is illegal (DDI 0487, `AArch64.IllegalExceptionReturn`).
fn is_illegal(isa: &Aarch64, status: u64) -> bool {
    let to = (status >> spsr::EL_SHIFT & 3) as u8;
    let exists = match to {
        2 => isa.config.el2 && !isa.secure_below_el3(),
        3 => isa.config.el3,
        _ => true,
    };
    status & (spsr::N_RW | spsr::MODE_1) != 0
        || to > isa.pstate.el
        || !exists
        || to == 0 && status & spsr::SP != 0
        || to == 1 && isa.hcr() & hcr::TGE != 0
}

/// What `ERET` does: the address to go on at, with BTYPE in its low bits. `elr` is the authenticated `ELR`, if it was, and
/// `before` tells how many instructions of its block precede it.
pub(super) fn exception_return(cpu: &mut Cpu, elr: Option<u64>, before: u64) -> Result<u64, Stop> {
    let isa = &mut cpu.isa;
    let from = isa.pstate;
    if from.el == 0 {
        return Err(undefined());
    }
    let mut pc = elr.unwrap_or(isa.sys[banked(ELR, from.el)]);
    let status = isa.sys[banked(SPSR, from.el)];
    let illegal = is_illegal(isa, status);
    isa.monitor.clear();
    isa.event = true;
    let features = isa.config.model.features;
    let flag = |bit: u64, feature| status & bit != 0 && features.has(feature);
    let (to, sp_sel) = if illegal {
        (from.el, from.sp_sel)
    } else {
        ((status >> spsr::EL_SHIFT & 3) as u8, status & spsr::SP != 0)
    };
    let step = returned_step(isa, to, status);
    cpu.state.slots[usize::from(NZCV)] = status & spsr::NZCV;
    select_sp(cpu, to, sp_sel);
    let pstate = &mut cpu.isa.pstate;
    *pstate = Pstate {
        daif: (status >> spsr::DAIF_SHIFT & 0xf) as u8,
        pan: flag(spsr::PAN, Feature::Pan),
        il: illegal || status & spsr::IL != 0,
        ss: step,
        ..*pstate
    };
    if !illegal {
        pstate.uao = flag(spsr::UAO, Feature::Uao);
        pstate.dit = flag(spsr::DIT, Feature::Dit);
        pstate.ssbs = flag(spsr::SSBS, Feature::Ssbs);
    }
    if !illegal && features.has(Feature::Bti) && pc & 3 == 0 {
        pc |= status >> spsr::BTYPE_SHIFT & 3;
    }
    cpu.end_exclusive();
    // The return itself still counts where it is.
    cpu.isa.count_at(to, cpu.state.retired.wrapping_add(before).wrapping_add(1));
    cpu.mode_changed();
    cpu.sync_code();
    interrupts_changed(cpu);
    Ok(pc)
}

/// PSTATE.SS after a return to exception level `to` (DDI 0487, `DebugExceptionReturnSS`): it is taken over where the return
/// enables debug exceptions that were disabled.
fn returned_step(isa: &Aarch64, to: u8, status: u64) -> bool {
    if isa.sys[Reg::MDSCR_EL1] & mdscr::SS == 0 || status & spsr::SS == 0 {
        return false;
    }
    let there = Pstate { el: to, daif: (status >> spsr::DAIF_SHIFT & 0xf) as u8, ..isa.pstate };
    !isa.debug_exceptions() && isa.debug_exceptions_in(&there)
}

/// Puts `cpu` into exception level `el` at `pc`, with its own stack pointer there (at EL0: the only one), interrupts masked,
/// `x0` set and all other registers zero: what firmware does that is not guest code. The levels above it let it do whatever
/// an operating system expects to (Linux, "Booting AArch64 Linux").
pub fn enter(cpu: &mut Cpu, el: u8, pc: u64, x0: u64) {
    reset(cpu);
    let el = el.min(cpu.isa.config.highest_el());
    cpu.state.slots[usize::from(X)] = x0;
    cpu.state.pc = pc;
    let isa = &mut cpu.isa;
    isa.pstate.el = el;
    isa.pstate.sp_sel = el > 0;
    if el < 3 && isa.config.el3 {
        isa.sys[Reg::SCR_EL3] |=
            scr::NS | scr::HCE | scr::RW | scr::APK | scr::API | scr::EN_SCXT | scr::HX_EN;
        isa.sys[Reg::CPTR_EL3] = 0;
    }
    if el < 2 && isa.config.el2 {
        isa.sys[Reg::HCR_EL2] = hcr::RW | hcr::APK | hcr::API | hcr::EN_SCXT;
        isa.sys[Reg::HCRX_EL2] = hcrx::MSC_EN;
        // EL1 may read the physical counter and use its timer.
        isa.sys[Reg::CNTHCTL_EL2] = 3;
        isa.sys[Reg::CPTR_EL2] = super::bits::cptr::ONES;
    }
    synchronize(cpu);
}

/// Puts `cpu` into its reset state: the highest exception level at address zero, registers zero.
pub fn reset(cpu: &mut Cpu) {
    cpu.state.slots.fill(0);
    cpu.state.fp_flags = 0;
    cpu.state.pc = 0;
    cpu.isa.reset();
    cpu.mmu.flush(emu_core::mem::Flush::ALL);
    super::timer::update(cpu);
    super::pmu::update(cpu);
    synchronize(cpu);
}
