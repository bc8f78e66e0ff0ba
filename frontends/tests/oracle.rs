//! Compares the lifter with another implementation: QEMU's user-mode emulator `qemu-riscv64`, which must be
//! in the `PATH`.
//!
//! For each line of the tables, a program is made that runs a thousand random instances of it, each with
//! registers, `fcsr` and some memory of its own, and writes out what became of these. The same program runs
//! here, and the outputs must be the same. What user mode cannot run, and why, is in [`EXCLUDED`]; such lines
//! have vectors (`tests/vectors`).

mod support;

use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use emu_core::exec::{Exit, HostRequest, Limits};
use frontends::riscv::decode::{Insn, length};
use frontends::riscv::disas::disassemble;
use frontends::riscv::enter_supervisor;
use frontends::riscv::ext::{Ext, ExtSet};
use support::{OPEN, Operands, Random, asm, hart, insn, read, run, vector_counts, write};

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

/// Where programs lie: their code, and their records.
const CODE: u64 = 0x1000_0000;
const DATA: u64 = 0x2000_0000;

/// A record: `x0` to `x31`, `f0` to `f31`, `fcsr`, a mark that a taken branch clears, and memory to work on.
/// Its size lets page boundaries fall at each multiple of 64 sooner or later.
const RECORD: usize = 832;
const FCSR: usize = 512;
const MARK: usize = 520;
const MEMORY: usize = 576;
const MEMORY_LEN: usize = RECORD - MEMORY;

/// `addi x0, x0, 0`, which keeps the place of a jump until its target is known.
const NOP: u32 = 0x13;

/// The register that holds the address of the record while its instance runs; instances do not name it.
const GP: i64 = 3;
/// The register that is loaded last and saved first.
const LAST: i64 = 31;

#[derive(Default)]
struct Program {
    code: Vec<u8>,
    records: Vec<[u8; RECORD]>,
    /// What each record is for, as assembly text.
    texts: Vec<String>,
    /// Offset of the code that saves a record and loads the next one.
    common: usize,
}

impl Program {
    fn new() -> Self {
        let mut program = Self::default();
        // Start: the first record, the first instance, and into the common code behind its saving part.
        program.constant(GP, DATA);
        program.emit(asm("auipc", &[("rd", LAST)]));
        let start = program.emit(NOP);
        let jump = program.emit(NOP);
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
        let at = self.code.len();
        self.code.extend(&word.to_le_bytes()[..length(word as u16).into()]);
        at
    }

    fn patch(&mut self, at: usize, word: u32) {
        let len = usize::from(length(word as u16));
        self.code[at..at + len].copy_from_slice(&word.to_le_bytes()[..len]);
    }

    /// `rd` = a multiple of 4096 below 2³¹.
    fn constant(&mut self, rd: i64, value: u64) {
        self.emit(asm("lui", &[("rd", rd), ("imm", value as i64)]));
    }

    fn at(&self) -> u64 {
        CODE + self.code.len() as u64
    }

    fn record_address(&self) -> u64 {
        DATA + (self.records.len() * RECORD) as u64
    }

    fn begin(&mut self) {
        self.emit(asm("ld", &[("rd", LAST), ("rs1", GP), ("imm", LAST * 8)]));
    }

    fn end(&mut self, record: [u8; RECORD], text: String) {
        self.emit(asm("sd", &[("rs2", LAST), ("rs1", GP), ("imm", LAST * 8)]));
        let back = self.common as i64 - self.code.len() as i64;
        self.emit(asm("jal", &[("rd", LAST), ("imm", back)]));
        self.records.push(record);
        self.texts.push(text);
    }

    /// Adds the code that writes out the records and ends; then nothing may follow.
    fn finish(&mut self) {
        let len = (self.records.len() * RECORD) as u64;
        assert!(len < 1 << 31);
        self.constant(11, DATA);
        self.constant(12, (len + 0x800) & !0xfff);
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

    /// A static ELF executable: one segment of code, one of records.
    fn elf(&self) -> Vec<u8> {
        const HEADERS: u64 = 0x1000;
        let code_len = self.code.len() as u64;
        let data_at = HEADERS + code_len.next_multiple_of(0x1000);
        let data_len = (self.records.len() * RECORD) as u64;
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
        let word = |elf: &mut Vec<u8>, value: u32| elf.extend(value.to_le_bytes());
        let long = |elf: &mut Vec<u8>, value: u64| elf.extend(value.to_le_bytes());
        const EXECUTABLE: u16 = 2;
        const RISCV: u16 = 243;
        const DOUBLE_FLOAT_AND_C: u32 = 5;
        half(&mut elf, EXECUTABLE);
        half(&mut elf, RISCV);
        word(&mut elf, 1);
        for value in [CODE, 64, 0] {
            long(&mut elf, value);
        }
        word(&mut elf, DOUBLE_FLOAT_AND_C);
        for value in [64, 56, 2, 64, 0, 0] {
            half(&mut elf, value);
        }
        for (flags, offset, address, len) in [(5, HEADERS, CODE, code_len), (6, data_at, DATA, data_len)] {
            word(&mut elf, 1);
            word(&mut elf, flags);
            for value in [offset, address, address, len, len, 0x1000] {
                long(&mut elf, value);
            }
        }
        elf.resize(HEADERS as usize, 0);
        elf.extend(&self.code);
        elf.resize(data_at as usize, 0);
        elf.extend(self.records.iter().flatten());
        elf
    }

    /// What becomes of the records here.
    fn run_here(&self) -> Vec<u8> {
        let mut hart = hart(CODE, 0x1800_0000);
        write(&hart, CODE, &self.code);
        write(&hart, DATA, &self.records.concat());
        enter_supervisor(&mut hart, CODE, 0, 0, OPEN);
        let exit = run(&mut hart, Limits::NONE);
        assert_eq!(exit, Exit::Request(HostRequest::Firmware), "stopped at {:#x}", hart.state.pc);
        read(&hart, DATA, self.records.len() * RECORD)
    }
}

/// An outside run of a program.
enum Outside {
    Output(Vec<u8>),
    IllegalInstruction,
}

struct Oracle {
    program: PathBuf,
}

impl Oracle {
    fn new(name: &str) -> Self {
        let found = Command::new("qemu-riscv64").arg("--version").output();
        let output = found.expect(
            "the outside oracle `qemu-riscv64` is not in the PATH: \
             install the package qemu-user of Debian trixie or newer",
        );
        println!("oracle: {}", String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        Self { program: folder.join(format!("oracle-{name}-{}.elf", std::process::id())) }
    }

    fn run(&self, program: &Program) -> Outside {
        std::fs::write(&self.program, program.elf()).unwrap();
        std::fs::set_permissions(&self.program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("qemu-riscv64");
        let mut child =
            command.args(["-cpu", "max"]).arg(&self.program).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        let status = child.wait().unwrap();
        const SIGILL: i32 = 4;
        if status.signal() == Some(SIGILL) || status.code() == Some(128 + SIGILL) {
            return Outside::IllegalInstruction;
        }
        assert!(status.success(), "the oracle ended with {status}");
        Outside::Output(output)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.program);
    }
}

/// A record with random contents.
fn random_record(random: &mut Random) -> [u8; RECORD] {
    let mut record = [0; RECORD];
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

fn put(record: &mut [u8], at: usize, value: u64) {
    record[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(record[at..at + 8].try_into().unwrap())
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
            let start = program.record_address() + MEMORY as u64;
            let mut address = start + random.below(MEMORY_LEN as u64 - bytes + 1);
            // Where a page ends in the record, half of the accesses go across.
            let page = (start + 1).next_multiple_of(0x1000);
            if bytes > 1 && page < start + MEMORY_LEN as u64 - bytes && random.below(2) == 0 {
                address = page - 1 - random.below(bytes - 1);
            }
            if aligned {
                address &= !(bytes - 1);
            }
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
            let pads = random.below(5);
            let nops = |program: &mut Program| {
                (0..pads).for_each(|_| {
                    program.emit(asm("c.nop", &[]));
                })
            };
            let mark = asm("sd", &[("rs1", GP), ("imm", MARK as i64)]);
            let at;
            // Where it is taken the mark is cleared, before the branch or behind it.
            let (exits, target) = if random.below(2) == 0 {
                let over = program.emit(NOP);
                let target = program.emit(mark);
                let exit = program.emit(NOP);
                nops(program);
                let here = program.code.len();
                program.patch(over, asm("jal", &[("imm", (here - over) as i64)]));
                program.begin();
                at = program.emit(word);
                (vec![exit], target)
            } else {
                program.begin();
                at = program.emit(word);
                let exit = program.emit(NOP);
                nops(program);
                (vec![exit], program.emit(mark))
            };
            let here = program.code.len();
            for exit in exits {
                program.patch(exit, asm("jal", &[("imm", (here - exit) as i64)]));
            }
            word = imm.put(word, target as i64 - at as i64);
            program.patch(at, word);
            if insn.format().name == "B" && random.below(2) == 0 {
                let [rs1, rs2] = ["rs1", "rs2"].map(|name| field(insn, word, name) as usize * 8);
                let value = get(&record, rs1);
                put(&mut record, rs2, if rs2 == 0 { 0 } else { value });
            }
            program.end(record, text(word, CODE + at as u64));
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
    let address = program.record_address() + MEMORY as u64 + bytes * random.below(MEMORY_LEN as u64 / bytes);
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

/// Describes the first records that differ; the number of those.
fn differences(program: &Program, ours: &[u8], theirs: &[u8], report: &mut String) -> usize {
    assert_eq!(ours.len(), theirs.len(), "the oracle's output has another length");
    let records = ours.chunks(RECORD).zip(theirs.chunks(RECORD)).enumerate();
    let different: Vec<_> = records.filter(|(_, (ours, theirs))| ours != theirs).collect();
    for (index, (ours, theirs)) in different.iter().take(3) {
        let before = &program.records[*index];
        let _ = writeln!(report, "{}", program.texts[*index]);
        for at in (8..RECORD).step_by(8) {
            let (ours, theirs) = (get(ours, at), get(theirs, at));
            let name = match at / 8 {
                n @ 0..32 => format!("x{n}"),
                n @ 32..64 => format!("f{}", n - 32),
                64 => "fcsr".into(),
                65 => "mark".into(),
                _ => format!("memory+{}", at as i64 - MEMORY as i64),
            };
            if ours != theirs {
                let was = get(before, at);
                let _ = writeln!(report, "    {name}: was {was:#x}, here {ours:#x}, oracle {theirs:#x}");
            }
        }
        if program.texts[*index].len() < 100 {
            let _ = writeln!(report, "    with {}", operands(before));
        }
    }
    different.len()
}

fn operands(record: &[u8]) -> String {
    let value = |at: usize| format!("{:#x}", get(record, at));
    let x: Vec<String> = (1..32).map(|n| format!("x{n}={}", value(n * 8))).collect();
    let f: Vec<String> = (0..32).map(|n| format!("f{n}={}", value(256 + n * 8))).collect();
    format!("fcsr={} {} {}", value(FCSR), x.join(" "), f.join(" "))
}

#[test]
fn every_line_agrees() {
    let oracle = Oracle::new("lines");
    let (mut report, mut failures, mut counts) = (String::new(), 0, Vec::new());
    for (index, insn) in Insn::all().enumerate() {
        let line = insn.line();
        if let Some((_, reason)) = EXCLUDED.iter().find(|(name, _)| *name == line.name) {
            counts.push((line, 0, *reason));
            continue;
        }
        let mut random = Random(0x5eed_0000 + index as u64);
        let mut program = Program::new();
        (0..INSTANCES).for_each(|_| add_instance(&mut program, insn, &mut random));
        program.finish();
        match oracle.run(&program) {
            Outside::Output(theirs) => {
                failures += differences(&program, &program.run_here(), &theirs, &mut report);
                counts.push((line, INSTANCES, ""));
            }
            Outside::IllegalInstruction => {
                assert!(RECENT.contains(&line.section), "the oracle does not know `{}`", line.name);
                counts.push((line, 0, "this oracle does not know it"));
            }
        }
    }
    let vectors = vector_counts();
    let mut uncovered = Vec::new();
    println!("{:<14} {:<36} {:>9} {:>7}", "line", "section", "instances", "vectors");
    for (line, count, reason) in &counts {
        let vectors = vectors.get(line.name).copied().unwrap_or(0);
        println!("{:<14} {:<36} {count:>9} {vectors:>7} {reason}", line.name, line.section);
        if *count == 0 && vectors == 0 {
            uncovered.push(line.name);
        }
    }
    let compared = counts.iter().filter(|(_, count, _)| *count > 0).count();
    println!("{compared} of {} lines compared, the others have vectors from the specification", counts.len());
    assert!(uncovered.is_empty(), "neither compared nor with a vector: {uncovered:?}");
    let stale = EXCLUDED.iter().filter(|(name, _)| counts.iter().all(|(line, ..)| line.name != *name));
    assert_eq!(stale.count(), 0, "a line that is excluded does not exist");
    assert_eq!(failures, 0, "instances differ:\n{report}");
}

#[test]
fn sequences_agree() {
    let oracle = Oracle::new("sequences");
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
    let mut program = Program::new();
    (0..SEQUENCES).for_each(|_| add_sequence(&mut program, &plain, &mut random));
    (0..SEQUENCES).for_each(|_| add_atomic(&mut program, &compute, &mut random));
    program.finish();
    let Outside::Output(theirs) = oracle.run(&program) else { panic!("the oracle does not know something") };
    let mut report = String::new();
    let failures = differences(&program, &program.run_here(), &theirs, &mut report);
    assert_eq!(failures, 0, "sequences differ:\n{report}");
}
