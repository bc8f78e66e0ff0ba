//! A RISC-V hart as debuggers and traces see it. gdb numbers `x0` to `x31`, `pc`, `f0` to `f31`, then 4096 CSRs, then
//! `priv`.

use emu_core::exec::{Exception, Vcpu};
use frontends::riscv::bits::cause::INTERRUPT;
use frontends::riscv::decode::length;
use frontends::riscv::disas::disassemble;
use frontends::riscv::{
    Csrs, F, Privilege, Riscv, SLOTS, X, csr_list, csr_name, csr_read_debug, csr_write_debug,
    privilege_write_debug, translate_debug,
};

use super::inspect::{Code, Event, Inspect, feature, fetch_half, target};

/// Bytes of every register.
const BYTES: usize = 8;
const NUMBER_PC: usize = 32;
const NUMBER_F: usize = 33;
const NUMBER_CSR: usize = 65;
const NUMBER_PRIV: usize = 4161;
/// `mstatus`, and the field of it that says whether the floating-point registers are on and in use.
const MSTATUS: u16 = 0x300;
const MSTATUS_FS: u64 = 3 << 13;

/// The CSRs whose changes an instruction's line shows: those that only instructions and traps change.
const CSRS: [u16; 22] = [
    0x001, 0x002, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142, 0x143, 0x14d, 0x180, 0x300, 0x302, 0x303, 0x304,
    0x305, 0x306, 0x30a, 0x340, 0x341, 0x342, 0x343,
];

/// Names of exceptions by number (Priv., "Machine Cause (mcause) Register").
const EXCEPTIONS: [&str; 16] = [
    "instruction_address_misaligned",
    "instruction_access_fault",
    "illegal_instruction",
    "breakpoint",
    "load_address_misaligned",
    "load_access_fault",
    "store_address_misaligned",
    "store_access_fault",
    "ecall_from_u",
    "ecall_from_s",
    "reserved",
    "ecall_from_m",
    "instruction_page_fault",
    "load_page_fault",
    "reserved",
    "store_page_fault",
];

/// Names of interrupts by number.
const INTERRUPTS: [&str; 14] = [
    "reserved",
    "supervisor_software",
    "reserved",
    "machine_software",
    "reserved",
    "supervisor_timer",
    "reserved",
    "machine_timer",
    "reserved",
    "supervisor_external",
    "reserved",
    "machine_external",
    "reserved",
    "counter_overflow",
];

/// Control and status registers that have been shown.
#[derive(Default)]
pub struct Seen {
    fp_flags: u64,
    raw: Csrs,
    csrs: [Option<u64>; CSRS.len()],
}

impl Inspect for Riscv {
    const PC: usize = NUMBER_PC;

    /// All but the CSRs.
    const GENERAL: usize = NUMBER_CSR;

    fn register_bytes(number: usize) -> Option<usize> {
        (number <= NUMBER_PRIV).then_some(BYTES)
    }

    fn read_register(hart: &Vcpu<Self>, number: usize) -> Option<u128> {
        let slot = |base: u16, n: usize| hart.state.slots.get(usize::from(base) + n).copied();
        let value = match number {
            0..NUMBER_PC => slot(X, number),
            NUMBER_PC => Some(hart.state.pc),
            NUMBER_F..NUMBER_CSR => slot(F, number - NUMBER_F),
            NUMBER_CSR..NUMBER_PRIV => csr_read_debug(hart, (number - NUMBER_CSR) as u16),
            NUMBER_PRIV => Some(Riscv::privilege(&hart.isa) as u64),
            _ => None,
        };
        value.map(u128::from)
    }

    fn write_register(hart: &mut Vcpu<Self>, number: usize, value: u128) -> bool {
        let value = value as u64;
        match number {
            0 => {}
            1..NUMBER_PC => hart.state.slots[usize::from(X) + number] = value,
            NUMBER_PC => hart.state.pc = value & !1,
            NUMBER_F..NUMBER_CSR => {
                hart.state.slots[usize::from(F) + number - NUMBER_F] = value;
                // A guest that saves only what has changed must know.
                let status = csr_read_debug(hart, MSTATUS).filter(|status| status & MSTATUS_FS != 0);
                if let Some(status) = status {
                    csr_write_debug(hart, MSTATUS, status | MSTATUS_FS);
                }
            }
            NUMBER_CSR..NUMBER_PRIV => return csr_write_debug(hart, (number - NUMBER_CSR) as u16, value),
            NUMBER_PRIV if value != 2 && value <= 3 => {
                privilege_write_debug(hart, Privilege::from_bits(value));
            }
            _ => return false,
        }
        true
    }

    /// GDB manual, "RISC-V Features".
    fn description(&self) -> String {
        const DOUBLE: &str = "<union id=\"riscv_double\"><field name=\"float\" type=\"ieee_single\"/>\
                              <field name=\"double\" type=\"ieee_double\"/></union>\n";
        let name = |base: u16, n: usize| SLOTS[usize::from(base) + n].name.to_owned();
        let register = |name, number, kind| (name, number, 8 * BYTES, kind);
        let integer = |n| {
            let kind = match n {
                1 => "code_ptr",
                2..=4 | 8 => "data_ptr",
                _ => "int",
            };
            register(name(X, n), n, kind)
        };
        let float = |n| register(name(F, n), NUMBER_F + n, "riscv_double");
        let csr = |(number, name)| register(name, NUMBER_CSR + usize::from(number), "int");
        // fflags, frm and fcsr belong to the floating-point unit.
        let (float_csrs, csrs): (Vec<(u16, String)>, Vec<_>) =
            csr_list(self).partition(|(number, _)| (1..=3).contains(number));
        let pc = register("pc".to_owned(), NUMBER_PC, "code_ptr");
        let privilege = register("priv".to_owned(), NUMBER_PRIV, "int");

        let mut xml = String::new();
        feature(&mut xml, "riscv.cpu", "", (0..NUMBER_PC).map(integer).chain([pc]));
        feature(&mut xml, "riscv.fpu", DOUBLE, (0..32).map(float).chain(float_csrs.into_iter().map(csr)));
        feature(&mut xml, "riscv.csr", "", csrs.into_iter().map(csr));
        feature(&mut xml, "riscv.virtual", "", [privilege].into_iter());
        target("riscv:rv64", &xml)
    }

    fn physical(hart: &Vcpu<Self>, va: u64) -> Option<u64> {
        translate_debug(hart, va)
    }

    fn privilege(&self) -> String {
        format!("{:?} mode", Riscv::privilege(self))
    }

    fn privilege_code(&self) -> &'static str {
        match Riscv::privilege(self) {
            Privilege::User => "U",
            Privilege::Supervisor => "S",
            Privilege::Machine => "M",
        }
    }

    fn instruction(hart: &Vcpu<Self>, pc: u64) -> Option<Code> {
        let low = fetch_half(hart, pc)?;
        let bytes = length(low as u16) as usize;
        let high = if bytes == 4 { fetch_half(hart, pc.wrapping_add(2))? } else { 0 };
        Some(Code { bits: low | high << 16, bytes })
    }

    fn disassemble(&self, code: Code, pc: u64) -> String {
        disassemble(code.bits, pc, self.config().model.ext).to_string()
    }

    type Seen = Seen;

    fn control_changes(hart: &Vcpu<Self>, seen: &mut Seen, show: &mut dyn FnMut(&str, u64)) {
        if seen.raw == *hart.isa.csrs() && seen.fp_flags == hart.state.fp_flags {
            return;
        }
        seen.raw = *hart.isa.csrs();
        seen.fp_flags = hart.state.fp_flags;
        for (seen, number) in seen.csrs.iter_mut().zip(CSRS) {
            let value = csr_read_debug(hart, number);
            if *seen != value {
                *seen = value;
                show(&csr_name(number).unwrap_or_default(), value.unwrap_or(0));
            }
        }
    }

    fn describe(exception: &Exception) -> Event {
        let asynchronous = exception.cause & INTERRUPT != 0;
        let names: &[_] = if asynchronous { &INTERRUPTS } else { &EXCEPTIONS };
        let code = exception.cause & !INTERRUPT;
        let name = usize::try_from(code).ok().and_then(|code| names.get(code)).unwrap_or(&"custom");
        Event { asynchronous, code, name }
    }
}
