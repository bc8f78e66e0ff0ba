//! Accesses by instructions, and by debuggers.

use super::super::exception::undefined;
use super::super::syndrome::CONDITION;
use super::*;

/// Whether the processor has the register or instruction at all.
fn exists(isa: &Aarch64, line: &Line) -> bool {
    line.feature.is_none_or(|feature| isa.has(feature))
}

/// Whether an encoding lies in the space of identification registers, in which the reserved ones are zero
/// (DDI 0487, D24.1.2).
fn is_identification(encoding: u16) -> bool {
    const FIRST: u16 = super::encoding(3, 0, 0, 1, 0);
    const LAST: u16 = super::encoding(3, 0, 0, 7, 7);
    (FIRST..=LAST).contains(&encoding)
}

/// Whether EL0 may not read an encoding although that traps and is not undefined (`FEAT_IDST`).
fn traps_as_identification(isa: &Aarch64, encoding: u16) -> bool {
    const MASK: u16 = super::encoding(3, 6, 15, 8, 0);
    encoding & MASK == super::encoding(3, 0, 0, 0, 0) && isa.has(Feature::Idst)
}

/// The rules for an access to `line` by `encoding`, or to a reserved identification register.
fn verdict(isa: &Aarch64, line: Option<&Line>, encoding: u16, write: bool) -> Verdict {
    let el = isa.pstate.el;
    let lowest = match op1(encoding) {
        3 => 0,
        4 | 5 => 2,
        6 => 3,
        _ => 1,
    };
    let el2_traps = |hcr: u64| isa.el2_controls() && isa.hcr() & hcr != 0;
    let Some(line) = line else {
        return match is_identification(encoding) && !write {
            true if el == 0 && traps_as_identification(isa, encoding) => Verdict::Trap(1),
            true if el == 0 => Verdict::Undefined,
            true if el2_traps(hcr::TID3) => Verdict::Trap(2),
            true => Verdict::Allowed,
            false if is_implementation_defined(encoding) && el2_traps(hcr::TIDCP) => Verdict::Trap(2),
            false => Verdict::Undefined,
        };
    };
    let forbidden = if write { Kind::R } else { Kind::W };
    if el == 0 && !write && traps_as_identification(isa, encoding) {
        return Verdict::Trap(1);
    }
    let host_alias = op1(encoding) == 5;
    if el < lowest || line.kind == forbidden || host_alias && isa.sys[Reg::HCR_EL2] & hcr::E2H == 0 {
        return Verdict::Undefined;
    }
    match (line.gate)(isa, write) {
        Verdict::Allowed => {}
        refused => return refused,
    }
    let debug_trap = |reg: Reg| line.mdcr != 0 && isa.sys[reg] & line.mdcr != 0;
    if el2_traps(line.hcr[usize::from(write)]) || isa.below_el2() && debug_trap(Reg::MDCR_EL2) {
        return Verdict::Trap(2);
    }
    if isa.below_el3() && debug_trap(Reg::MDCR_EL3) {
        return Verdict::Trap(3);
    }
    Verdict::Allowed
}

/// Whether an encoding is left to implementations (D24.1.1).
fn is_implementation_defined(encoding: u16) -> bool {
    matches!(encoding >> 7 & 15, 11 | 15)
}

/// The syndrome of a trapped access: what `ESR_ELx` says of the instruction.
pub(crate) fn trapped(encoding: u16, rt: u32, write: bool) -> u32 {
    let field = |shift: u32, bits: u32| u32::from(encoding) >> shift & ((1 << bits) - 1);
    let iss = field(14, 2) << 20
        | field(0, 3) << 17
        | field(11, 3) << 14
        | field(7, 4) << 10
        | rt << 5
        | field(3, 4) << 1
        | u32::from(!write);
    syndrome(class::SYSTEM, iss)
}

/// The syndrome of a trapped access that is reported as one of an instruction of this class.
fn trapped_as(class: u32) -> u32 {
    syndrome(class, CONDITION)
}

/// Who is meant by an access that is allowed; none for a reserved identification register. `rt` is the register number in
/// the instruction.
fn check(isa: &Aarch64, encoding: u16, rt: u32, write: bool) -> Result<Option<&'static Line>, Stop> {
    let line = find(encoding).filter(|line| exists(isa, line));
    match verdict(isa, line, encoding, write) {
        Verdict::Allowed => {}
        Verdict::Undefined => return Err(undefined()),
        Verdict::TrapAs(class) => return Err(Exception::new(trapped_as(class).into(), 0).into()),
        Verdict::Trap(el) => {
            return Err(Exception::new(target(trapped(encoding, rt, write), el), 0).into());
        }
    }
    let host = isa.in_host();
    Ok(line.map(|line| match line.host {
        Some(reg) if host && op1(encoding) != 5 => &LINES[reg as usize],
        _ => line,
    }))
}

/// Reads register `encoding` for an instruction.
pub(crate) fn read(cpu: &mut Cpu, encoding: u16, rt: u32) -> Result<u64, Stop> {
    Ok(match check(&cpu.isa, encoding, rt, false)? {
        Some(line) if line.gic => gic::read(cpu, line.reg).ok_or_else(undefined)?,
        Some(line) => (line.read)(cpu, line.reg),
        None => 0,
    })
}

/// Writes register `encoding`, or runs the system instruction, for an instruction.
pub(crate) fn write(cpu: &mut Cpu, encoding: u16, rt: u32, value: u64) -> Result<(), Stop> {
    let Some(line) = check(&cpu.isa, encoding, rt, true)? else { return Ok(()) };
    if let Some(run) = line.run {
        return run(cpu, line.reg, value);
    }
    if line.gic {
        return gic::write(cpu, line.reg, value).ok_or_else(undefined);
    }
    (line.write)(cpu, line.reg, value);
    Ok(())
}

/// Whether a write of a register may change what lifting depends on.
pub(crate) fn changes_context(encoding: u16) -> bool {
    find(encoding).is_none_or(|line| line.context)
}

/// Reads a register for a debugger, whatever the rules of access say; none if there is no such register, or reading it does
/// something.
pub fn sysreg_read_debug(cpu: &Cpu, encoding: u16) -> Option<u64> {
    let line = find(encoding).filter(|line| exists(&cpu.isa, line))?;
    let plain = line.kind != Kind::W && !line.gic;
    plain.then(|| (line.read)(cpu, line.reg))
}

/// Writes a register for a debugger, whatever the rules of access say. False if there is no such register to write.
pub fn sysreg_write_debug(cpu: &mut Cpu, encoding: u16, value: u64) -> bool {
    let line = find(encoding).filter(|line| exists(&cpu.isa, line));
    let Some(line) = line.filter(|line| line.kind == Kind::RW && !line.gic) else { return false };
    (line.write)(cpu, line.reg, value);
    true
}

/// The name of the register or system instruction with this encoding, such as `SCTLR_EL1`, if any processor may have it.
pub fn sysreg_name(encoding: u16) -> Option<&'static str> {
    find(encoding).map(|line| line.name)
}

/// Encodings and names of the registers of a processor that a debugger can read.
pub fn sysreg_list(isa: &Aarch64) -> impl Iterator<Item = (u16, &'static str)> + '_ {
    let readable = |line: &&Line| exists(isa, line) && line.kind != Kind::W && !line.gic;
    LINES.iter().filter(readable).map(|line| (line.encoding, line.name))
}
