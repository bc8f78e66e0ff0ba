//! An A64 processor as debuggers and traces see it. gdb numbers `x0` to `x30`, `sp`, `pc`, `cpsr`, `v0` to `v31`.

use emu_core::exec::{Exception, Vcpu};
use frontends::aarch64::disas::disassemble;
use frontends::aarch64::helper::sysreg;
use frontends::aarch64::syndrome::class;
use frontends::aarch64::{Aarch64, NZCV, SP, V, X, sysreg_name, sysreg_read_debug, translate_debug};

use super::inspect::{Code, Event, Inspect, feature, fetch_half, target};

const NUMBER_SP: usize = 31;
const NUMBER_PC: usize = 32;
const NUMBER_CPSR: usize = 33;
const NUMBER_V: usize = 34;
const NUMBERS: usize = 66;

/// The control registers that only instructions and exceptions change.
const CONTROL: [u16; 14] = [
    sysreg(3, 3, 4, 4, 0),  // FPCR
    sysreg(3, 3, 4, 4, 1),  // FPSR
    sysreg(3, 0, 4, 0, 0),  // SPSR_EL1
    sysreg(3, 0, 4, 0, 1),  // ELR_EL1
    sysreg(3, 0, 5, 2, 0),  // ESR_EL1
    sysreg(3, 0, 6, 0, 0),  // FAR_EL1
    sysreg(3, 0, 1, 0, 0),  // SCTLR_EL1
    sysreg(3, 0, 1, 0, 2),  // CPACR_EL1
    sysreg(3, 0, 2, 0, 0),  // TTBR0_EL1
    sysreg(3, 0, 2, 0, 1),  // TTBR1_EL1
    sysreg(3, 0, 2, 0, 2),  // TCR_EL1
    sysreg(3, 0, 12, 0, 0), // VBAR_EL1
    sysreg(3, 0, 13, 0, 1), // CONTEXTIDR_EL1
    sysreg(3, 0, 7, 4, 0),  // PAR_EL1
];

/// Control registers that have been shown.
#[derive(Default)]
pub struct Seen([Option<u64>; CONTROL.len()]);

/// The condition flags, as the slot and CPSR have them.
const FLAGS: u64 = 0xf << 28;

/// Names of exception classes.
const CLASSES: [(u32, &str); 14] = [
    (class::UNKNOWN, "unknown"),
    (class::WFX, "wfx"),
    (class::FP_ACCESS, "fp_access"),
    (class::PAUTH, "pauth"),
    (class::BRANCH_TARGET, "branch_target"),
    (class::ILLEGAL_STATE, "illegal_state"),
    (class::SVC, "svc"),
    (class::HVC, "hvc"),
    (class::SMC, "smc"),
    (class::SYSTEM, "system"),
    (class::INSTRUCTION_ABORT, "instruction_abort"),
    (class::PC_ALIGNMENT, "pc_alignment"),
    (class::DATA_ABORT, "data_abort"),
    (class::SP_ALIGNMENT, "sp_alignment"),
];

impl Inspect for Aarch64 {
    const PC: usize = NUMBER_PC;

    const GENERAL: usize = NUMBERS;

    fn register_bytes(number: usize) -> Option<usize> {
        match number {
            NUMBER_CPSR => Some(4),
            0..NUMBER_V => Some(8),
            NUMBER_V..NUMBERS => Some(16),
            _ => None,
        }
    }

    fn read_register(cpu: &Vcpu<Self>, number: usize) -> Option<u128> {
        let slot = |slot: u16, n: usize| u128::from(cpu.state.slots[usize::from(slot) + n]);
        Some(match number {
            0..NUMBER_SP => slot(X, number),
            NUMBER_SP => slot(SP, 0),
            // BTYPE is in the low bits.
            NUMBER_PC => (cpu.state.pc & !3).into(),
            NUMBER_CPSR => {
                let pstate = cpu.isa.pstate();
                let mode = u64::from(pstate.el) << 2 | u64::from(pstate.sp_sel);
                slot(NZCV, 0) | u128::from(u64::from(pstate.daif) << 6 | mode)
            }
            NUMBER_V..NUMBERS => {
                let n = 2 * (number - NUMBER_V);
                slot(V, n) | slot(V, n + 1) << 64
            }
            _ => return None,
        })
    }

    fn write_register(cpu: &mut Vcpu<Self>, number: usize, value: u128) -> bool {
        let slots = &mut cpu.state.slots;
        match number {
            0..NUMBER_SP => slots[usize::from(X) + number] = value as u64,
            NUMBER_SP => slots[usize::from(SP)] = value as u64,
            NUMBER_PC => cpu.state.pc = value as u64 & !3,
            // Of the others a debugger changes none.
            NUMBER_CPSR => slots[usize::from(NZCV)] = value as u64 & FLAGS,
            NUMBER_V..NUMBERS => {
                let at = usize::from(V) + 2 * (number - NUMBER_V);
                (slots[at], slots[at + 1]) = (value as u64, (value >> 64) as u64);
            }
            _ => return false,
        }
        true
    }

    /// GDB manual, "AArch64 Features".
    fn description(&self) -> String {
        const VECTOR: &str = "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>\
                              <vector id=\"v2u\" type=\"uint64\" count=\"2\"/>\
                              <vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>\
                              <vector id=\"v4u\" type=\"uint32\" count=\"4\"/>\
                              <union id=\"aarch64v\"><field name=\"d\" type=\"v2d\"/>\
                              <field name=\"u\" type=\"v2u\"/><field name=\"f\" type=\"v4f\"/>\
                              <field name=\"s\" type=\"v4u\"/></union>\n";
        let general = (0..NUMBER_SP).map(|n| (format!("x{n}"), n, 64, "int"));
        let special = [
            ("sp".to_owned(), NUMBER_SP, 64, "data_ptr"),
            ("pc".to_owned(), NUMBER_PC, 64, "code_ptr"),
            ("cpsr".to_owned(), NUMBER_CPSR, 32, "int"),
        ];
        let vectors = (0..32).map(|n| (format!("v{n}"), NUMBER_V + n, 128, "aarch64v"));
        let mut xml = String::new();
        feature(&mut xml, "aarch64.core", "", general.chain(special));
        feature(&mut xml, "aarch64.fpu", VECTOR, vectors);
        target("aarch64", &xml)
    }

    fn physical(cpu: &Vcpu<Self>, va: u64) -> Option<u64> {
        translate_debug(cpu, va)
    }

    fn privilege(&self) -> String {
        self.privilege_code().to_owned()
    }

    fn privilege_code(&self) -> &'static str {
        match self.pstate().el {
            0 => "EL0",
            1 => "EL1",
            2 => "EL2",
            _ => "EL3",
        }
    }

    fn instruction(cpu: &Vcpu<Self>, pc: u64) -> Option<Code> {
        let pc = pc & !3;
        let bits = fetch_half(cpu, pc)? | fetch_half(cpu, pc + 2)? << 16;
        Some(Code { bits, bytes: 4 })
    }

    fn disassemble(&self, code: Code, pc: u64) -> String {
        disassemble(code.bits, pc & !3, self.config().model.features).to_string()
    }

    type Seen = Seen;

    fn control_changes(cpu: &Vcpu<Self>, seen: &mut Seen, show: &mut dyn FnMut(&str, u64)) {
        for (seen, number) in seen.0.iter_mut().zip(CONTROL) {
            let value = sysreg_read_debug(cpu, number);
            if *seen != value {
                *seen = value;
                show(sysreg_name(number).unwrap_or_default(), value.unwrap_or(0));
            }
        }
    }

    fn describe(exception: &Exception) -> Event {
        let class = (exception.cause >> 26) as u32 & 0x3f;
        let name = CLASSES.iter().find(|(number, _)| *number == class).map_or("other", |(_, name)| name);
        // Syndromes have 32 bits; interrupts are beyond.
        let asynchronous = exception.cause >> 32 != 0;
        let name = if asynchronous { "interrupt" } else { name };
        Event { asynchronous, code: exception.cause, name }
    }
}
