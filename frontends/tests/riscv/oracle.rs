//! Compares the lifter with QEMU's `qemu-riscv64`, as [`crate::common::oracle`] says: a thousand random instances of each line
//! of the tables. What user mode cannot run, and why, is in [`EXCLUDED`]; such lines have vectors (`vectors`).

use std::fmt::Write as _;

use emu_core::exec::{Exit, HostRequest, Limits};
use frontends::riscv::decode::{Insn, length};
use frontends::riscv::disas::disassemble;
use frontends::riscv::enter_supervisor;
use frontends::riscv::ext::{Ext, ExtSet};

use crate::common::oracle::{
    Assembler, CODE, DATA, MEMORY_LEN as ALL_MEMORY, Program, Target, compare_lines, compare_program, get,
    put,
};
use crate::common::{Operands, Random, run};
use crate::support::{OPEN, asm, hart, insn};
use crate::vectors::counts_by_line;

/// Random instances of each line.
const INSTANCES: usize = 1000;
/// Runs of [`SEQUENCE`] random instructions, and as many of load-reserved to store-conditional.
const SEQUENCES: usize = 2000;
const SEQUENCE: usize = 12;

/// Lines that are not run here, with the reason.
const EXCLUDED: &[(&str, &str)] = &[
    ("ecall", "a system call"),
    ("ebreak", "a signal in user mode"),
    ("c.ebreak", "a signal in user mode"),
    ("mret", "privileged"),
    ("sret", "privileged"),
    ("wfi", "privileged"),
    ("sfence.vma", "privileged"),
    ("sinval.vma", "privileged"),
    ("sfence.w.inval", "privileged"),
    ("sfence.inval.ir", "privileged"),
    ("cbo.inval", "not enabled by the oracle"),
    ("cbo.clean", "not enabled by the oracle"),
    ("cbo.flush", "not enabled by the oracle"),
];

/// Sections of the tables that older oracles do not know: there an illegal instruction means that this one
/// does not.
const RECENT: &[&str] = &["Zacas", "Zabha", "Zfa", "Zicond", "Zawrs", "Zicbom and Zicboz", "Zfh and Zfhmin"];

/// A record: `x0` to `x31`, `f0` to `f31`, `fcsr`, a mark that a taken branch clears, and memory to work on.
/// Its size lets page boundaries fall at each multiple of 64 sooner or later.
const RECORD: usize = 832;
const FCSR: usize = 512;
const MARK: usize = 520;
const MEMORY: usize = 576;
const MEMORY_LEN: usize = RECORD - MEMORY;

/// The register that holds the address of the record while its instance runs; instances do not name it.
const GP: i64 = 3;
/// The register that is loaded last and saved first.
const LAST: i64 = 31;

static TARGET: Target = Target {
    qemu: "qemu-riscv64",
    elf: (RISCV, DOUBLE_FLOAT_AND_C),
    record: RECORD,
    memory: MEMORY,
    name: |at| match at / 8 {
        n @ 0..32 => format!("x{n}"),
        n @ 32..64 => format!("f{}", n - 32),
        64 => "fcsr".into(),
        65 => "mark".into(),
        _ => format!("memory+{}", at as i64 - MEMORY as i64),
    },
    registers: operands,
};
const RISCV: u16 = 243;
const DOUBLE_FLOAT_AND_C: u32 = 5;

/// `rd` = a multiple of 4096 below 2³¹.
fn constant(program: &mut Program, rd: i64, value: u64) {
    program.emit(asm("lui", &[("rd", rd), ("imm", value as i64)]));
}

impl Assembler for Program {
    /// `addi x0, x0, 0`
    const NOP: u32 = 0x13;

    fn start() -> Self {
        let mut program = Self::default();
        // Start: the first record, the first instance, and into the common code behind its saving part.
        constant(&mut program, GP, DATA);
        program.emit(asm("auipc", &[("rd", LAST)]));
        let start = program.emit(Program::NOP);
        let jump = program.emit(Program::NOP);
        program.common = program.code.len();
        for n in (1..31).filter(|n| *n != GP) {
            program.emit(asm("sd", &[("rs2", n), ("rs1", GP), ("imm", n * 8)]));
        }
        for n in 0..32 {
            program.emit(asm("fsd", &[("rs2", n), ("rs1", GP), ("imm", 256 + n * 8)]));
        }
        program.emit(asm("csrrs", &[("rd", 1), ("csr", 3)]));
        program.emit(asm("sd", &[("rs2", 1), ("rs1", GP), ("imm", FCSR as i64)]));
        program.emit(asm("addi", &[("rd", GP), ("rs1", GP), ("imm", RECORD as i64)]));
        let load = program.code.len();
        program.emit(asm("ld", &[("rd", 1), ("rs1", GP), ("imm", FCSR as i64)]));
        program.emit(asm("csrrw", &[("rs1", 1), ("csr", 3)]));
        for n in 0..32 {
            program.emit(asm("fld", &[("rd", n), ("rs1", GP), ("imm", 256 + n * 8)]));
        }
        for n in (1..31).filter(|n| *n != GP) {
            program.emit(asm("ld", &[("rd", n), ("rs1", GP), ("imm", n * 8)]));
        }
        program.emit(asm("jalr", &[("rs1", LAST)]));
        let first = program.code.len() as i64;
        let offset = first - (start as i64 - 4);
        program.patch(start, asm("addi", &[("rd", LAST), ("rs1", LAST), ("imm", offset)]));
        program.patch(jump, asm("jal", &[("imm", load as i64 - jump as i64)]));
        program
    }

    fn emit(&mut self, word: u32) -> usize {
        self.emit_bytes(word, length(word as u16).into())
    }

    fn patch(&mut self, at: usize, word: u32) {
        self.patch_bytes(at, word, length(word as u16).into());
    }

    fn jump(offset: i64) -> u32 {
        asm("jal", &[("imm", offset)])
    }

    fn pad(&mut self) {
        self.emit(asm("c.nop", &[]));
    }

    fn begin(&mut self) {
        self.emit(asm("ld", &[("rd", LAST), ("rs1", GP), ("imm", LAST * 8)]));
    }

    fn end(&mut self, record: Vec<u8>, text: String) {
        self.emit(asm("sd", &[("rs2", LAST), ("rs1", GP), ("imm", LAST * 8)]));
        let back = self.common as i64 - self.code.len() as i64;
        self.emit(asm("jal", &[("rd", LAST), ("imm", back)]));
        self.records.push(record);
        self.texts.push(text);
    }

    fn finish(&mut self) {
        let len = self.data_len();
        assert!(len < 1 << 31);
        constant(self, 11, DATA);
        constant(self, 12, (len + 0x800) & !0xfff);
        self.emit(asm("addi", &[("rd", 12), ("rs1", 12), ("imm", (len as i64) << 52 >> 52)]));
        let write = self.emit(asm("addi", &[("rd", 10), ("imm", 1)]));
        self.emit(asm("addi", &[("rd", 17), ("imm", 64)]));
        self.emit(asm("ecall", &[]));
        self.emit(asm("add", &[("rd", 11), ("rs1", 11), ("rs2", 10)]));
        self.emit(asm("sub", &[("rd", 12), ("rs1", 12), ("rs2", 10)]));
        let back = write as i64 - self.code.len() as i64;
        self.emit(asm("bne", &[("rs1", 12), ("imm", back)]));
        self.emit(asm("addi", &[("rd", 10)]));
        self.emit(asm("addi", &[("rd", 17), ("imm", 93)]));
        self.emit(asm("ecall", &[]));
    }

    fn run_here(&self) -> Vec<u8> {
        let mut hart = hart(CODE, ALL_MEMORY);
        self.load(&hart);
        enter_supervisor(&mut hart, CODE, 0, 0, OPEN);
        let exit = run(&mut hart, Limits::NONE);
        assert_eq!(exit, Exit::Request(HostRequest::Firmware), "stopped at {:#x}", hart.state.pc);
        self.output(&hart)
    }
}

/// A record with random contents.
fn random_record(random: &mut Random) -> Vec<u8> {
    let mut record = vec![0; RECORD];
    for n in 1..32 {
        put(&mut record, n * 8, random.int());
        put(&mut record, 256 + n * 8, random.float());
    }
    put(&mut record, 256, random.float());
    let (rounding, flags) = (random.below(5), random.below(32));
    put(&mut record, FCSR, rounding << 5 | flags);
    put(&mut record, MARK, 1);
    for at in (MEMORY..RECORD).step_by(8) {
        let value = if random.below(2) == 0 { random.int() } else { random.float() };
        put(&mut record, at, value);
    }
    record
}

/// The names of the fields that the operands' syntax shows as integer registers.
fn integer_fields(insn: Insn) -> impl Iterator<Item = &'static str> {
    insn.format().syntax.split("{x:").skip(1).filter_map(|rest| rest.split('}').next())
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
    Branch,
    /// To the address in `rs1`.
    Indirect,
    Csr,
}

fn kind(insn: Insn) -> Kind {
    let name = insn.line().name;
    let width = || match name.rsplit_once('.') {
        Some((_, "b")) => 1,
        Some((_, "h")) => 2,
        Some((_, "w")) => 4,
        Some((_, "q")) => 16,
        _ => 8,
    };
    let letters = name.trim_start_matches("c.").trim_end_matches("sp").trim_start_matches('f');
    let plain = match letters.as_bytes() {
        [_, b'b', ..] => 1,
        [_, b'h', ..] => 2,
        [_, b'w', ..] => 4,
        _ => 8,
    };
    match insn.format().name {
        _ if matches!(name, "jalr" | "c.jr" | "c.jalr") => Kind::Indirect,
        "Lr" | "Amo" => Kind::Memory { bytes: width(), aligned: true },
        "Cbo" => Kind::Memory { bytes: 1, aligned: false },
        "Load" | "S" | "FpLoad" | "FpStore" | "Cl" | "Cfl" | "Cs" | "Cfs" | "Clsp" | "Cflsp" | "Css"
        | "Cfss" => Kind::Memory { bytes: plain, aligned: false },
        "B" | "Cb" | "J" | "Cj" => Kind::Branch,
        "Csr" | "CsrImm" => Kind::Csr,
        _ => Kind::Plain,
    }
}

/// A random word of the line that can be run.
fn random_word(insn: Insn, random: &mut Random) -> u32 {
    loop {
        let mut word = insn.line().random(&mut || random.bits());
        let registers: Vec<i64> = integer_fields(insn).map(|name| field(insn, word, name)).collect();
        let pairs = insn.line().name == "amocas.q";
        if registers.contains(&GP) || (pairs && registers.contains(&(GP - 1))) {
            continue;
        }
        if Insn::decode(word, ExtSet::of(Ext::ALL)) != Some(insn) {
            continue; // another line of its group
        }
        match kind(insn) {
            Kind::Memory { .. } | Kind::Indirect
                if insn.line().field("rs1").is_some_and(|rs1| rs1.get(word) == 0) =>
            {
                continue;
            }
            Kind::Csr => {
                let csr = 1 + random.below(3) as i64;
                word = insn.line().field("csr").unwrap().put(word, csr);
            }
            _ => {}
        }
        return word;
    }
}

/// Adds one instance of `insn`.
fn add_instance(program: &mut Program, insn: Insn, random: &mut Random) {
    let mut word = random_word(insn, random);
    let mut record = random_record(random);
    let text = |word: u32, pc: u64| disassemble(word, pc, ExtSet::of(Ext::ALL)).to_string();
    match kind(insn) {
        Kind::Plain | Kind::Csr => {
            program.begin();
            program.emit(word);
            program.end(record, text(word, 0));
        }
        Kind::Memory { bytes, aligned } => {
            let base = if insn.line().field("rs1").is_some() { field(insn, word, "rs1") } else { 2 };
            let offset = field(insn, word, "imm") + field(insn, word, "uimm");
            let address = program.memory_address(&TARGET, bytes, aligned, random);
            put(&mut record, base as usize * 8, address.wrapping_add_signed(-offset));
            program.begin();
            if let Some(width) = insn.line().name.strip_prefix("sc.")
                && random.below(4) != 0
            {
                let sources = [base, field(insn, word, "rs2")];
                let rd = field(insn, word, "rd");
                let rd = if sources.contains(&rd) { 0 } else { rd };
                program.emit(asm(&format!("lr.{width}"), &[("rd", rd), ("rs1", base)]));
            }
            program.emit(word);
            program.end(record, text(word, 0));
        }
        Kind::Branch => {
            let imm = insn.line().field("imm").unwrap();
            let at;
            (word, at) = program.branch(word, imm, asm("sd", &[("rs1", GP), ("imm", MARK as i64)]), random);
            if insn.format().name == "B" && random.below(2) == 0 {
                let [rs1, rs2] = ["rs1", "rs2"].map(|name| field(insn, word, name) as usize * 8);
                let value = get(&record, rs1);
                put(&mut record, rs2, if rs2 == 0 { 0 } else { value });
            }
            program.end(record, text(word, at));
        }
        Kind::Indirect => {
            let imm = field(insn, word, "imm");
            program.begin();
            program.emit(word);
            program.emit(asm("sd", &[("rs1", GP), ("imm", MARK as i64)]));
            let odd = if insn.format().name == "Load" { random.below(2) } else { 0 };
            let target = program.at() - 4 * random.below(2);
            let rs1 = field(insn, word, "rs1") as usize * 8;
            put(&mut record, rs1, (target | odd).wrapping_add_signed(-imm));
            program.end(record, text(word, 0));
        }
    }
}

/// Adds a run of random instructions that neither access memory nor jump.
fn add_sequence(program: &mut Program, plain: &[Insn], random: &mut Random) {
    let record = random_record(random);
    let mut text = String::new();
    program.begin();
    for _ in 0..SEQUENCE {
        let word = random_word(random.pick(plain), random);
        program.emit(word);
        let _ = write!(text, "{}; ", disassemble(word, 0, ExtSet::of(Ext::ALL)));
    }
    program.end(record, text);
}

/// Adds a load-reserved, some instructions that compute, perhaps a branch out, and a store-conditional.
fn add_atomic(program: &mut Program, compute: &[Insn], random: &mut Random) {
    let mut record = random_record(random);
    let (width, bytes) = random.pick(&[("w", 4), ("d", 8)]);
    let base = 5 + random.below(26) as i64;
    let register = |random: &mut Random| loop {
        let n = random.below(32) as i64;
        if n != GP && n != base {
            return n;
        }
    };
    let address =
        program.record_address(RECORD) + MEMORY as u64 + bytes * random.below(MEMORY_LEN as u64 / bytes);
    put(&mut record, base as usize * 8, address);
    let mut words = Vec::new();
    let order = [("aq", random.below(2) as i64), ("rl", random.below(2) as i64)];
    let loaded = register(random);
    words.push(asm(&format!("lr.{width}"), &[("rd", loaded), ("rs1", base), order[0]]));
    for _ in 0..random.below(4) {
        words.push(loop {
            let insn = random.pick(compute);
            let word = random_word(insn, random);
            if field(insn, word, "rd") != base {
                break word;
            }
        });
    }
    let leave = (random.below(2) == 0).then_some(words.len());
    if leave.is_some() {
        let branch = random.pick(&["beq", "bne", "blt", "bge", "bltu", "bgeu"]);
        words.push(asm(branch, &[("rs1", loaded), ("rs2", register(random))]));
        words.push(asm("c.nop", &[]));
    }
    let (done, stored) = (register(random), register(random));
    words.push(asm(&format!("sc.{width}"), &[("rd", done), ("rs1", base), ("rs2", stored), order[1]]));
    if let Some(at) = leave {
        let len: usize = words[at..].iter().map(|word| usize::from(length(*word as u16))).sum();
        let imm = insn("beq").line().field("imm").unwrap();
        words[at] = imm.put(words[at], len as i64);
    }
    program.begin();
    let mut text = String::new();
    for word in words {
        program.emit(word);
        let _ = write!(text, "{}; ", disassemble(word, 0, ExtSet::of(Ext::ALL)));
    }
    program.end(record, text);
}

fn operands(record: &[u8]) -> String {
    let value = |at: usize| format!("{:#x}", get(record, at));
    let x: Vec<String> = (1..32).map(|n| format!("x{n}={}", value(n * 8))).collect();
    let f: Vec<String> = (0..32).map(|n| format!("f{n}={}", value(256 + n * 8))).collect();
    format!("fcsr={} {} {}", value(FCSR), x.join(" "), f.join(" "))
}

#[test]
fn every_line_agrees() {
    let all: Vec<Insn> = Insn::all().collect();
    let lines = all.iter().map(|insn| (insn.line().name, insn.line().section));
    let add = |program: &mut Program, index: usize, random: &mut Random| {
        add_instance(program, all[index], random);
    };
    compare_lines(&TARGET, lines, EXCLUDED, RECENT, &counts_by_line(), INSTANCES, add);
}

#[test]
fn sequences_agree() {
    let mut random = Random(0x5eed);
    let usable = |insn: &Insn| {
        let line = insn.line();
        kind(*insn) == Kind::Plain
            && !RECENT.contains(&line.section)
            && EXCLUDED.iter().all(|(name, _)| *name != line.name)
    };
    let plain: Vec<Insn> = Insn::all().filter(usable).collect();
    let formats = ["R", "I", "U", "Shift", "Unary", "Ci", "Cr", "Cshift"];
    let compute: Vec<Insn> = plain.iter().copied().filter(|i| formats.contains(&i.format().name)).collect();
    assert!(plain.contains(&insn("fadd.d")) && compute.contains(&insn("add")));
    let mut program = Program::start();
    (0..SEQUENCES).for_each(|_| add_sequence(&mut program, &plain, &mut random));
    (0..SEQUENCES).for_each(|_| add_atomic(&mut program, &compute, &mut random));
    compare_program(&TARGET, program, "sequences");
}
