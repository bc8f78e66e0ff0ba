//! Compares the lifter with QEMU's `qemu-aarch64`, as [`crate::common::oracle`] says: a thousand random instances of each line
//! of the tables, at EL0. What user mode cannot run, and why, is in [`EXCLUDED`]; such lines have vectors (`vectors`).

use std::fmt::Write as _;

use emu_core::exec::{Exit, HostRequest, Limits};
use frontends::aarch64::decode::{Insn, decode};
use frontends::aarch64::disas::disassemble;
use frontends::aarch64::features::Feature;
use frontends::aarch64::helper::sysreg;
use frontends::aarch64::{Fpcr, sysreg_read_debug};

use crate::common::oracle::{
    Assembler, CODE, DATA, MEMORY_LEN as ALL_MEMORY, Program, Target, compare_lines, compare_program, get,
    put,
};
use crate::common::{Operands, Random, run};
use crate::support::{ALL, ESR_EL1, asm, cpu, enter, insn};
use crate::vectors::counts_by_line;

/// Random instances of each line.
const INSTANCES: usize = 1000;
/// Runs of [`SEQUENCE`] random instructions, and as many of load-exclusive to store-exclusive.
const SEQUENCES: usize = 2000;
const SEQUENCE: usize = 12;

/// Lines that are not run here, with the reason.
const EXCLUDED: &[(&str, &str)] = &[
    ("udf", "a signal in user mode"),
    ("svc", "a system call"),
    ("hvc", "privileged"),
    ("smc", "privileged"),
    ("brk", "a signal in user mode"),
    ("hlt", "semihosting in the oracle"),
    ("dcps1", "undefined outside debug state"),
    ("dcps2", "undefined outside debug state"),
    ("dcps3", "undefined outside debug state"),
    ("eret", "privileged"),
    ("drps", "privileged"),
    ("eretaa", "privileged"),
    ("eretab", "privileged"),
    ("msr_imm", "privileged"),
    ("sys", "depends on the instruction; see system vectors"),
    ("pacga", "the oracle's key is random"),
    ("sysl", "there is none in user mode"),
    ("wfi", "waits in the oracle"),
];

/// Lines whose results depend on random keys, with those that undo them: both are run together.
const KEYED: &[(&str, &str)] = &[
    ("pacia", "autia"),
    ("pacib", "autib"),
    ("pacda", "autda"),
    ("pacdb", "autdb"),
    ("paciza", "autiza"),
    ("pacizb", "autizb"),
    ("pacdza", "autdza"),
    ("pacdzb", "autdzb"),
    ("pacia1716", "autia1716"),
    ("pacib1716", "autib1716"),
    ("paciaz", "autiaz"),
    ("paciasp", "autiasp"),
    ("pacibz", "autibz"),
    ("pacibsp", "autibsp"),
];

/// A record: `x0` to `x30`, flags, `v0` to `v31`, `FPCR`, `FPSR`, the stack pointer, a mark that a taken branch clears, and
/// memory to work on. Its size lets page boundaries fall at each multiple of 64 sooner or later.
const RECORD: usize = 1152;
const FLAGS: usize = 248;
const VECTORS: usize = 256;
const FPCR: usize = 768;
const FPSR: usize = 776;
const STACK: usize = 784;
const MARK: usize = 792;
const MEMORY: usize = 832;
const MEMORY_LEN: usize = RECORD - MEMORY;

pub static TARGET: Target = Target {
    qemu: "qemu-aarch64",
    elf: (AARCH64, 0),
    record: RECORD,
    memory: MEMORY,
    name: |at| match at / 8 {
        n @ 0..31 => format!("x{n}"),
        31 => "nzcv".into(),
        n @ 32..96 => format!("v{}.{}", (n - 32) / 2, if n % 2 == 0 { "low" } else { "high" }),
        96 => "fpcr".into(),
        97 => "fpsr".into(),
        98 => "sp".into(),
        99 => "mark".into(),
        _ => format!("memory+{}", at as i64 - MEMORY as i64),
    },
    registers,
};
const AARCH64: u16 = 183;

/// Where exceptions go here.
const HANDLER: u64 = CODE + ALL_MEMORY - 0x1000;

/// The register that holds the address of the record while its instance runs; instances do not name it.
const GP: i64 = 28;
/// The register that is loaded last and saved first.
const LAST: i64 = 30;

/// Fields of `MRS` and `MSR` for registers of EL0.
const NZCV_REGISTER: [i64; 5] = [1, 3, 4, 2, 0];
const FPCR_REGISTER: [i64; 5] = [1, 3, 4, 4, 0];
const FPSR_REGISTER: [i64; 5] = [1, 3, 4, 4, 1];
const TPIDR_REGISTER: [i64; 5] = [1, 3, 13, 0, 2];

fn system(name: &str, register: [i64; 5], rt: i64) -> u32 {
    let [o0, op1, crn, crm, op2] = register;
    asm(name, &[("o0", o0), ("op1", op1), ("crn", crn), ("crm", crm), ("op2", op2), ("rt", rt)])
}

/// A load or store of a register of the record.
fn of_record(name: &str, rt: i64, at: usize) -> u32 {
    asm(name, &[("rt", rt), ("rn", GP), ("uimm", at as i64)])
}

/// `rd` = a number of 32 bits.
pub fn constant(program: &mut Program, rd: i64, value: u64) {
    program.emit(asm("movz.x", &[("rd", rd), ("imm16", value as i64 & 0xffff)]));
    program.emit(asm("movk.x", &[("rd", rd), ("imm16", (value >> 16) as i64), ("hw", 1)]));
}

/// A system call with these registers set.
pub fn system_call(program: &mut Program, number: u64, args: &[(i64, u64)]) {
    for (register, value) in args.iter().chain([&(8, number)]) {
        program.emit(asm("movz.x", &[("rd", *register), ("imm16", *value as i64)]));
    }
    program.emit(asm("svc", &[]));
}

impl Assembler for Program {
    const NOP: u32 = 0xd503_201f;

    fn start() -> Self {
        let mut program = Self::default();
        // Start: the first record, the first instance, and into the common code behind its saving part.
        constant(&mut program, GP, DATA);
        let adr = program.emit(Program::NOP);
        let jump = program.emit(Program::NOP);
        program.common = program.code.len();
        for n in (0..30).filter(|n| *n != GP) {
            program.emit(of_record("str_uimm.x", n, n as usize * 8));
        }
        program.emit(system("mrs", NZCV_REGISTER, 0));
        program.emit(of_record("str_uimm.x", 0, FLAGS));
        program.emit(asm("add_imm.x", &[("rd", 0), ("rn", 31)]));
        program.emit(of_record("str_uimm.x", 0, STACK));
        program.emit(system("mrs", FPCR_REGISTER, 0));
        program.emit(of_record("str_uimm.x", 0, FPCR));
        program.emit(system("mrs", FPSR_REGISTER, 0));
        program.emit(of_record("str_uimm.x", 0, FPSR));
        for n in 0..32 {
            program.emit(of_record("str_uimm.q", n, VECTORS + n as usize * 16));
        }
        program.emit(asm("add_imm.x", &[("rd", GP), ("rn", GP), ("imm12", RECORD as i64)]));
        let load = program.code.len();
        program.emit(of_record("ldr_uimm.x", 0, FPCR));
        program.emit(system("msr", FPCR_REGISTER, 0));
        program.emit(of_record("ldr_uimm.x", 0, FPSR));
        program.emit(system("msr", FPSR_REGISTER, 0));
        program.emit(of_record("ldr_uimm.x", 0, STACK));
        program.emit(asm("add_imm.x", &[("rd", 31), ("rn", 0)]));
        program.emit(of_record("ldr_uimm.x", 0, FLAGS));
        program.emit(system("msr", NZCV_REGISTER, 0));
        for n in 0..32 {
            program.emit(of_record("ldr_uimm.q", n, VECTORS + n as usize * 16));
        }
        for n in (0..30).filter(|n| *n != GP) {
            program.emit(of_record("ldr_uimm.x", n, n as usize * 8));
        }
        program.emit(asm("ret", &[("rn", LAST)]));
        let first = program.code.len() as i64;
        program.patch(adr, asm("adr", &[("rd", LAST), ("imm", first - adr as i64)]));
        program.patch(jump, Self::jump(load as i64 - jump as i64));
        program
    }

    fn emit(&mut self, word: u32) -> usize {
        self.emit_bytes(word, 4)
    }

    fn patch(&mut self, at: usize, word: u32) {
        self.patch_bytes(at, word, 4);
    }

    fn jump(offset: i64) -> u32 {
        asm("b", &[("imm", offset)])
    }

    fn pad(&mut self) {
        self.emit(Self::NOP);
    }

    fn begin(&mut self) {
        self.emit(of_record("ldr_uimm.x", LAST, LAST as usize * 8));
    }

    fn end(&mut self, record: Vec<u8>, text: String) {
        self.emit(of_record("str_uimm.x", LAST, LAST as usize * 8));
        let back = self.common as i64 - self.code.len() as i64;
        self.emit(asm("bl", &[("imm", back)]));
        self.records.push(record);
        self.texts.push(text);
    }

    fn finish(&mut self) {
        constant(self, 1, DATA);
        constant(self, 2, self.data_len());
        let write = self.code.len();
        system_call(self, 64, &[(0, 1)]);
        self.emit(asm("add_shift.x", &[("rd", 1), ("rn", 1), ("rm", 0)]));
        self.emit(asm("sub_shift.x", &[("rd", 2), ("rn", 2), ("rm", 0)]));
        let back = write as i64 - self.code.len() as i64;
        self.emit(asm("cbnz.x", &[("rt", 2), ("imm", back)]));
        system_call(self, 93, &[(0, 0)]);
    }

    fn run_here(&self) -> Vec<u8> {
        let mut cpu = cpu(CODE, ALL_MEMORY, HANDLER);
        self.load(&cpu);
        enter(&mut cpu, 0, CODE);
        let exit = run(&mut cpu, Limits::NONE);
        let esr = sysreg_read_debug(&cpu, ESR_EL1).unwrap();
        const SVC: u64 = 0x15;
        if exit != Exit::Request(HostRequest::Firmware) || esr >> 26 != SVC {
            let elr = sysreg_read_debug(&cpu, sysreg(3, 0, 4, 0, 1)).unwrap();
            let at = elr.wrapping_sub(CODE) as usize & !3;
            let word = u32::from_le_bytes(self.code[at..at + 4].try_into().unwrap());
            panic!("{exit:?}, syndrome {esr:#x} at {elr:#x}: {}", disassemble(word, elr, ALL));
        }
        self.output(&cpu)
    }
}

/// A record with random contents.
fn random_record(random: &mut Random) -> Vec<u8> {
    let mut record = vec![0; RECORD];
    for n in 0..31 {
        put(&mut record, n * 8, random.int());
    }
    put(&mut record, FLAGS, random.below(16) << 28);
    // Mostly of one kind, so that operands meet their like.
    let (float, size) = (random.below(3) as usize, random.below(4) as usize);
    for n in 0..64 {
        let value = match random.below(8) {
            0 => random.int(),
            1 => {
                let format = random.below(3) as usize;
                random.floats(format)
            }
            2 | 3 => random.lanes(size),
            _ => random.floats(float),
        };
        put(&mut record, VECTORS + n * 8, value);
    }
    // RMode always; the others of FPCR more rarely.
    let bit = |random: &mut Random, n: u32| if random.below(4) == 0 { 1 << n } else { 0 };
    let modes = [19, 24, 25, 26].map(|n| bit(random, n));
    put(&mut record, FPCR, modes.iter().sum::<u64>() | random.below(4) << 22);
    put(&mut record, FPSR, random.below(32) | bit(random, 7) | bit(random, 27));
    put(&mut record, STACK, random.int());
    put(&mut record, MARK, 1);
    for at in (MEMORY..RECORD).step_by(8) {
        let value = if random.below(2) == 0 { random.int() } else { random.float() };
        put(&mut record, at, value);
    }
    record
}

/// The names of the fields that the operands' syntax shows as general registers.
fn general_fields(insn: Insn) -> impl Iterator<Item = &'static str> {
    let kinds = ["r", "r1", "rsp", "x", "w", "xsp", "ext", "index", "tb", "xopt", "g", "gr", "rq", "post"];
    let operands = insn.format().syntax.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    operands
        .filter_map(|(operand, _)| operand.split_once(':'))
        .filter_map(move |(kind, name)| kinds.contains(&kind).then_some(name))
}

fn field(insn: Insn, word: u32, name: &str) -> i64 {
    insn.line().field(name).map_or(0, |field| field.get(word))
}

/// What the instances of a line are like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Plain,
    /// Accesses memory of this many bytes at the address in a register; aligned if it must be.
    Memory {
        bytes: u64,
        aligned: bool,
    },
    /// Accesses memory as the bits of the word say.
    Structure,
    /// Loads from near the code.
    Literal,
    Branch,
    /// To the address in `rn`.
    Indirect,
    System,
    /// Runs in this pair only.
    Keyed([&'static str; 2]),
    /// Runs with the two others of its sequence: how much each of them does is left open.
    Bulk,
}

/// Bytes that a load or store moves, by its name.
fn bytes(insn: Insn) -> u64 {
    let name = insn.line().name;
    let (stem, width) = name.split_once('.').unwrap_or((name, "x"));
    let first = stem.split('_').next().unwrap_or(stem);
    let byte = |stem: &str| stem.ends_with('b');
    let unit = match width {
        "q" => 16,
        "d" => 8,
        "s" => 4,
        "h" => 2,
        "b" => 1,
        _ if first == "ldra" => 8,
        _ if byte(first) || stem.ends_with("_b") => 1,
        _ if (first.ends_with('h') && first != "ldumah") || stem.ends_with("_h") => 2,
        _ if first.ends_with("sw") || width == "w" => 4,
        _ => 8,
    };
    let pair = first.ends_with('p') && !matches!(first, "swp") || matches!(first, "ldpsw");
    if pair { 2 * unit } else { unit }
}

/// Bytes that a load or store of structures moves.
fn structure_bytes(insn: Insn, word: u32) -> u64 {
    let name = insn.line().name;
    if insn.format().name.starts_with("Multiple") {
        let count: u64 = name.split('_').nth(1).unwrap().parse().unwrap();
        return count * if field(insn, word, "q") != 0 { 16 } else { 8 };
    }
    let unit = match name.split_once('.') {
        Some((_, letter)) => 1 << "bhsd".find(letter).unwrap(),
        None => 1 << field(insn, word, "size"),
    };
    unit * (2 * field(insn, word, "n") + field(insn, word, "r") + 1) as u64
}

fn kind(insn: Insn) -> Kind {
    let name = insn.line().name;
    if let Some((pac, aut)) = KEYED.iter().find(|(pac, aut)| [*pac, *aut].contains(&name)) {
        return Kind::Keyed([pac, aut]);
    }
    match insn.format().name {
        "Ls" | "LsPost" | "LsPre" | "LsReg" | "LsUimm" | "LsPair" | "LsPairPost" | "LsPairPre" => {
            Kind::Memory { bytes: bytes(insn), aligned: false }
        }
        "Prfm" | "PrfmUimm" | "PrfmReg" | "PrfmLit" => Kind::Plain,
        "Ordered" | "OrderedImm" | "Stxr" | "Ldxp" | "Stxp" | "Cas" | "Casp" | "Atomic" | "Ldra" => {
            Kind::Memory { bytes: bytes(insn), aligned: true }
        }
        "Multiple" | "MultiplePost" | "Lane" | "LanePost" | "Replicate" | "ReplicatePost" => Kind::Structure,
        "LsLit" => Kind::Literal,
        "Copy" | "Set" => Kind::Bulk,
        "B" | "Bcond" | "Cb" | "Tb" => Kind::Branch,
        "Br" | "Bra" => Kind::Indirect,
        _ if matches!(name, "retaa" | "retab") => Kind::Indirect,
        "Msr" | "Mrs" => Kind::System,
        _ => Kind::Plain,
    }
}

/// A random word of the line that can be run.
fn random_word(insn: Insn, random: &mut Random) -> u32 {
    loop {
        let mut word = insn.line().random(&mut || random.bits());
        if decode(word, ALL) != Some(insn) {
            continue; // another line of its group
        }
        let registers: Vec<i64> = general_fields(insn).map(|name| field(insn, word, name)).collect();
        // The second register of a pair is not named.
        let pair = insn.format().name == "Casp";
        if registers.contains(&GP) || (pair && registers.iter().any(|n| n + 1 == GP)) {
            continue;
        }
        let same = |a: &str, b: &str| {
            let fields = [a, b].map(|name| insn.line().field(name).map(|field| field.get(word)));
            fields[0].is_some() && fields[0] == fields[1]
        };
        let loads = insn.line().name.starts_with("ld");
        let writes_back = matches!(insn.format().name, "LsPost" | "LsPre" | "LsPairPost" | "LsPairPre");
        let general = matches!(insn.line().name.rsplit_once('.'), Some((_, "w" | "x")));
        // What the architecture leaves open: loads into the base that is written back, loads of two values into one
        // register, status registers that are also operands, an index that is the base (whose value cannot be chosen).
        let open = match insn.format().name {
            _ if writes_back && general && (same("rt", "rn") || same("rt2", "rn")) => true,
            "LsPair" | "LsPairPost" | "LsPairPre" | "Ldxp" if loads && same("rt", "rt2") => true,
            "Stxr" | "Stxp" => same("rs", "rt") || same("rs", "rn") || same("rs", "rt2"),
            "LsReg" => same("rm", "rn"),
            "Ldra" => same("rt", "rn") || field(insn, word, "rn") == 31,
            // Authentication of zero, or with a modifier that it has changed.
            "Pac" if matches!(kind(insn), Kind::Keyed(_)) => {
                same("rd", "rn") || field(insn, word, "rd") == 31
            }
            "Br" | "Bra" => field(insn, word, "rn") == 31 || same("rn", "rm"),
            "Pacz" if matches!(kind(insn), Kind::Keyed(_)) => field(insn, word, "rd") == 31,
            _ => false,
        };
        if open {
            continue;
        }
        if kind(insn) == Kind::System {
            let register = random.pick(&[NZCV_REGISTER, FPCR_REGISTER, FPSR_REGISTER, TPIDR_REGISTER]);
            // What becomes of the thread pointer can be seen only after it has been written.
            if register == TPIDR_REGISTER && insn.line().name == "mrs" {
                continue;
            }
            for (name, value) in ["o0", "op1", "crn", "crm", "op2"].into_iter().zip(register) {
                word = insn.line().field(name).unwrap().put(word, value);
            }
        }
        return word;
    }
}

fn text(word: u32, pc: u64) -> String {
    disassemble(word, pc, ALL).to_string()
}

/// Adds one instance of `insn`.
fn add_instance(program: &mut Program, insn: Insn, random: &mut Random) {
    let mut word = random_word(insn, random);
    let mut record = random_record(random);
    // Half of the comparisons are of equal values.
    if random.below(4) == 0
        && let [Some(rn), Some(rm)] = ["rn", "rm"].map(|name| insn.line().field(name))
        && rn.get(word) < 31
        && rm.get(word) < 31
    {
        let value = get(&record, rn.get(word) as usize * 8);
        put(&mut record, rm.get(word) as usize * 8, value);
    }
    let kind = match kind(insn) {
        Kind::Structure => Kind::Memory { bytes: structure_bytes(insn, word), aligned: false },
        kind => kind,
    };
    match kind {
        Kind::Structure => {}
        Kind::Plain => {
            if insn.line().name.starts_with("xpac") {
                // The upper half of the address space has other rules there.
                let rd = if insn.format().name == "None" { LAST } else { field(insn, word, "rd").min(LAST) };
                let at = rd as usize * 8;
                let value = get(&record, at) & !(1 << 55);
                put(&mut record, at, value);
            }
            program.begin();
            program.emit(word);
            if insn.format().name.starts_with("FpCompare") {
                // A condition right behind it is told from the operands.
                let (rd, cond) = (random.below(28) as i64, random.below(14) as i64);
                program.emit(asm("csinc.x", &[("rd", rd), ("rn", 31), ("rm", 31), ("cond", cond)]));
            }
            program.end(record, text(word, 0));
        }
        Kind::System => {
            if field(insn, word, "crm") == FPCR_REGISTER[3] && insn.line().name == "msr" {
                // Modes of later versions of the architecture.
                let at = field(insn, word, "rt").min(LAST) as usize * 8;
                let value = get(&record, at) & Fpcr::MASK;
                put(&mut record, at, value);
            }
            program.begin();
            program.emit(word);
            if field(insn, word, "crn") == TPIDR_REGISTER[2] {
                program.emit(system("mrs", TPIDR_REGISTER, 0));
            }
            program.end(record, text(word, 0));
        }
        Kind::Keyed(pair) => {
            // A canonical address, else the code does not come off.
            for n in [field(insn, word, "rd"), 17, LAST] {
                if n != 31 && n != GP {
                    let address = random.int() & 0x7f_ffff_ffff;
                    put(&mut record, n as usize * 8, address);
                }
            }
            program.begin();
            for name in pair {
                let line = crate::support::insn(name).line();
                let fields = ["rd", "rn"].into_iter().filter_map(|name| line.field(name));
                program.emit(fields.fold(line.value, |other, field| field.put(other, field.get(word))));
            }
            program.end(record, text(word, 0));
        }
        Kind::Bulk => {
            let start = program.record_address(RECORD) + MEMORY as u64;
            let most = 1 << random.below(9);
            let len = random.below(most);
            let [mut to, mut from] = [(); 2].map(|()| start + random.below(MEMORY_LEN as u64 - len));
            let family = &insn.line().name[..insn.line().name.len() - 1];
            // What goes upward only must not meet its source in front of it.
            if family == "cpyf" && (from..from + len).contains(&to) {
                std::mem::swap(&mut to, &mut from);
            }
            for (name, value) in [("rs", from), ("rd", to), ("rn", len)] {
                let n = field(insn, word, name);
                if n != 31 {
                    put(&mut record, n as usize * 8, value);
                }
            }
            program.begin();
            for stage in ["p", "m", "e"] {
                let line = crate::support::insn(&format!("{family}{stage}")).line();
                let fields = ["options", "rs", "rn", "rd"].into_iter().filter_map(|name| line.field(name));
                program.emit(fields.fold(line.value, |other, field| field.put(other, field.get(word))));
            }
            program.end(record, text(word, 0));
        }
        Kind::Memory { bytes, aligned } => {
            let base = field(insn, word, "rn");
            let start = program.record_address(RECORD) + MEMORY as u64;
            let address = program.memory_address(&TARGET, bytes, aligned, random);
            let name = insn.line().name;
            let offset = match insn.format().name {
                "LsPost" | "LsPairPost" | "MultiplePost" | "LanePost" | "ReplicatePost" => 0,
                "LsReg" => {
                    let rm = field(insn, word, "rm");
                    let value = if rm == 31 { 0 } else { get(&record, rm as usize * 8) };
                    let value = match field(insn, word, "index") {
                        2 => value & 0xffff_ffff,
                        6 => value as i32 as u64,
                        _ => value,
                    };
                    (value << if field(insn, word, "s") != 0 { bytes.trailing_zeros() } else { 0 }) as i64
                }
                _ => field(insn, word, "imm") + field(insn, word, "uimm"),
            };
            let at = if base == 31 { STACK } else { base as usize * 8 };
            let wanted = address.wrapping_sub(offset as u64);
            put(&mut record, at, wanted);
            // Where the value stored is the base, or the register compared is.
            program.begin();
            if insn.format().name == "Ldra" {
                // From an address with a code.
                let key = if field(insn, word, "m") == 0 { "pacdza" } else { "pacdzb" };
                program.emit(asm(key, &[("rd", base)]));
            }
            if matches!(insn.format().name, "Cas" | "Casp") && random.below(2) == 0 {
                // What is there is what is expected, unless registers get in the way.
                let rs = field(insn, word, "rs");
                let unit = if insn.format().name == "Casp" { bytes / 2 } else { bytes };
                for half in 0..bytes / unit {
                    let n = rs + half as i64;
                    if n < 31 && n != base {
                        let at = (address - start) as usize + MEMORY + (half * unit) as usize;
                        let mut value = [0; 8];
                        value[..unit as usize].copy_from_slice(&record[at..at + unit as usize]);
                        put(&mut record, n as usize * 8, u64::from_le_bytes(value));
                    }
                }
            }
            if let Some(load) = match insn.format().name {
                "Stxr" | "Stxp" => Some(name.replacen("stlx", "ldx", 1).replacen("stx", "ldx", 1)),
                _ => None,
            } && random.below(4) != 0
            {
                let names: &[&str] = if insn.format().name == "Stxp" { &["rt", "rt2"] } else { &["rt"] };
                let free = |n: i64| [base, field(insn, word, "rt"), field(insn, word, "rt2")].contains(&n);
                let spare: Vec<i64> = (0..28).filter(|n| !free(*n)).collect();
                let mut fields = vec![("rn", base)];
                fields.extend(names.iter().enumerate().map(|(i, name)| (*name, spare[i])));
                program.emit(asm(&load, &fields));
            }
            program.emit(word);
            if insn.format().name == "Ldra" && field(insn, word, "w") == 0 {
                let key = if field(insn, word, "m") == 0 { "autdza" } else { "autdzb" };
                program.emit(asm(key, &[("rd", base)]));
            }
            program.end(record, text(word, 0));
        }
        Kind::Literal => {
            let back = random.below(program.code.len().min(1 << 20) as u64 / 4 - 8) as i64 * 4 + 16;
            word = insn.line().field("imm").unwrap().put(word, -back);
            program.begin();
            program.emit(word);
            program.end(record, text(word, 0));
        }
        Kind::Branch => {
            let imm = insn.line().field("imm").unwrap();
            let at;
            (word, at) = program.branch(word, imm, of_record("str_uimm.x", 31, MARK), random);
            program.end(record, text(word, at));
        }
        Kind::Indirect => {
            let name = insn.line().name;
            let authenticated = insn.line().needs[0].has(Feature::PAuth);
            let rn = if insn.format().name == "None" { LAST } else { field(insn, word, "rn") };
            let stays = rn == LAST && name.starts_with("bl");
            program.begin();
            if authenticated {
                let plain = name.trim_end_matches('z');
                let (pac, zero) =
                    if plain.ends_with('a') { ("pacia", "paciza") } else { ("pacib", "pacizb") };
                program.emit(match insn.format().name {
                    "Br" => asm(zero, &[("rd", rn)]),
                    "Bra" => asm(pac, &[("rd", rn), ("rn", field(insn, word, "rm"))]),
                    _ => asm(pac, &[("rd", LAST), ("rn", 31)]),
                });
            }
            program.emit(word);
            program.emit(of_record("str_uimm.x", 31, MARK));
            let target = program.at() - 4 * random.below(2);
            if authenticated && !stays {
                program.emit(asm("xpaci", &[("rd", rn)]));
            }
            put(&mut record, rn as usize * 8, target);
            program.end(record, text(word, 0));
        }
    }
}

/// Adds a run of random instructions that neither access memory nor jump.
fn add_sequence(program: &mut Program, plain: &[Insn], random: &mut Random) {
    let record = random_record(random);
    let mut all = String::new();
    program.begin();
    for _ in 0..SEQUENCE {
        let word = random_word(random.pick(plain), random);
        program.emit(word);
        let _ = write!(all, "{}; ", text(word, 0));
    }
    program.end(record, all);
}

/// Adds a load-exclusive, some instructions that compute, perhaps a branch out, and a store-exclusive.
fn add_exclusive(program: &mut Program, compute: &[Insn], random: &mut Random) {
    let mut record = random_record(random);
    let pair = random.below(4) == 0;
    let (suffix, bytes) = if pair {
        random.pick(&[(".w", 8), (".x", 16)])
    } else {
        random.pick(&[("b.w", 1), ("h.w", 2), (".w", 4), (".x", 8)])
    };
    let base = random.pick(&[0, 1, 9, 17, 29, 31]);
    let register = |random: &mut Random, not: &[i64]| loop {
        let n = random.below(32) as i64;
        if n != GP && (n != base || n == 31) && !not.contains(&n) {
            return n;
        }
    };
    let address =
        program.record_address(RECORD) + MEMORY as u64 + bytes * random.below(MEMORY_LEN as u64 / bytes);
    put(&mut record, if base == 31 { STACK } else { base as usize * 8 }, address);
    let [load, store] = if pair {
        [["ldxp", "ldaxp"], ["stxp", "stlxp"]].map(|names| random.pick(&names))
    } else {
        [["ldxr", "ldaxr"], ["stxr", "stlxr"]].map(|names| random.pick(&names))
    };
    let mut words = Vec::new();
    let loaded = register(random, &[]);
    let mut fields = vec![("rt", loaded), ("rn", base)];
    if pair {
        fields.push(("rt2", register(random, &[loaded])));
    }
    words.push(asm(&format!("{load}{suffix}"), &fields));
    for _ in 0..random.below(4) {
        words.push(loop {
            let insn = random.pick(compute);
            let word = random_word(insn, random);
            if field(insn, word, "rd") != base {
                break word;
            }
        });
    }
    if random.below(2) == 0 {
        let after = 4 * (2 + random.below(2) as i64);
        words.push(match random.below(3) {
            0 => asm("b_cond", &[("cond", random.below(16) as i64), ("imm", after)]),
            1 => asm("cbnz.w", &[("rt", loaded), ("imm", after)]),
            _ => asm("tbz", &[("rt", loaded), ("bit", random.below(64) as i64), ("imm", after)]),
        });
        if after == 12 {
            words.push(Program::NOP);
        }
    }
    let stored = [register(random, &[]), register(random, &[])];
    let status = register(random, &stored);
    let mut fields = vec![("rs", status), ("rt", stored[0]), ("rn", base)];
    if pair {
        fields.push(("rt2", stored[1]));
    }
    words.push(asm(&format!("{store}{suffix}"), &fields));
    program.begin();
    let mut all = String::new();
    for word in words {
        program.emit(word);
        let _ = write!(all, "{}; ", text(word, 0));
    }
    // A reservation that was left is not to meet a later store.
    program.emit(asm("clrex", &[("crm", 15)]));
    program.end(record, all);
}

fn registers(record: &[u8]) -> String {
    let value = |at: usize| format!("{:#x}", get(record, at));
    let x: Vec<String> = (0..31).map(|n| format!("x{n}={}", value(n * 8))).collect();
    let v: Vec<String> = (0..32)
        .map(|n| VECTORS + n * 16)
        .enumerate()
        .map(|(n, at)| format!("v{n}={:#x}{:016x}", get(record, at + 8), get(record, at)))
        .collect();
    let [flags, fpcr, stack] = [FLAGS, FPCR, STACK].map(value);
    format!("nzcv={flags} fpcr={fpcr} sp={stack} {} {}", x.join(" "), v.join(" "))
}

#[test]
fn every_line_agrees() {
    let lines = Insn::ALL.iter().map(|insn| (insn.line().name, insn.line().section));
    let add = |program: &mut Program, index: usize, random: &mut Random| {
        add_instance(program, Insn::ALL[index], random);
    };
    compare_lines(&TARGET, lines, EXCLUDED, &[], &counts_by_line(), INSTANCES, add);
}

#[test]
fn sequences_agree() {
    let mut random = Random(0x5eed);
    let usable = |insn: &&Insn| {
        let name = insn.line().name;
        // Of any value, codes come off in another way there.
        let strips = name.starts_with("xpac");
        kind(**insn) == Kind::Plain && !strips && EXCLUDED.iter().all(|(line, _)| *line != name)
    };
    let plain: Vec<Insn> = Insn::ALL.iter().filter(usable).copied().collect();
    let computes = |insn: &&Insn| insn.line().field("rd").is_some();
    let compute: Vec<Insn> = plain.iter().filter(computes).copied().collect();
    assert!(plain.contains(&insn("ccmp.x")) && compute.contains(&insn("add_imm.w")));
    let mut program = Program::start();
    (0..SEQUENCES).for_each(|_| add_sequence(&mut program, &plain, &mut random));
    (0..SEQUENCES).for_each(|_| add_exclusive(&mut program, &compute, &mut random));
    compare_program(&TARGET, program, "sequences");
}
