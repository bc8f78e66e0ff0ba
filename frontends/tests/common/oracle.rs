//! Comparison with another implementation: QEMU's user-mode emulators, which must be in the `PATH`.
//!
//! A program runs many random instances of an instruction, each with registers and some memory of its own (a *record*), and
//! writes out what became of these. The same program runs here, and the outputs must be the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use emu_core::exec::{Isa, Vcpu};
use frontends::decode::Field;

use super::{Random, read, write};

/// Where programs lie: their code, and their records.
pub const CODE: u64 = 0x1000_0000;
pub const DATA: u64 = 0x2000_0000;
/// Bytes of memory from [`CODE`] on.
pub const MEMORY_LEN: u64 = 0x1800_0000;

/// What is peculiar to an instruction set.
pub struct Target {
    /// The other implementation.
    pub qemu: &'static str,
    /// `e_machine` and `e_flags` of its executables.
    pub elf: (u16, u32),
    /// Bytes of a record; of these, memory to work on from this offset to the end.
    pub record: usize,
    pub memory: usize,
    /// What the unit at this offset of a record is.
    pub name: fn(usize) -> String,
    /// Shows the registers in a record.
    pub registers: fn(&[u8]) -> String,
}

/// What programs of an instruction set are made of.
pub trait Assembler: Sized {
    /// Keeps the place of a jump until its target is known.
    const NOP: u32;

    /// A program that is to begin with the first record's instance.
    fn start() -> Self;
    /// Adds an instruction; its offset.
    fn emit(&mut self, word: u32) -> usize;
    /// Replaces the instruction at an offset.
    fn patch(&mut self, at: usize, word: u32);
    /// A jump of so many bytes.
    fn jump(offset: i64) -> u32;
    /// Adds the smallest instruction that does nothing.
    fn pad(&mut self);
    /// Begins an instance.
    fn begin(&mut self);
    /// Ends an instance, which has this record.
    fn end(&mut self, record: Vec<u8>, text: String);
    /// Adds the code that writes out the records and ends; then nothing may follow.
    fn finish(&mut self);
    /// What becomes of the records here.
    fn run_here(&self) -> Vec<u8>;
}

/// A program in the making.
#[derive(Default)]
pub struct Program {
    pub code: Vec<u8>,
    pub records: Vec<Vec<u8>>,
    /// What each record is for, as assembly text.
    pub texts: Vec<String>,
    /// Offset of the code that saves a record and loads the next one.
    pub common: usize,
}

impl Program {
    /// Adds an instruction of `len` bytes; its offset.
    pub fn emit_bytes(&mut self, word: u32, len: usize) -> usize {
        let at = self.code.len();
        self.code.extend(&word.to_le_bytes()[..len]);
        at
    }

    /// Replaces the instruction at an offset.
    pub fn patch_bytes(&mut self, at: usize, word: u32, len: usize) {
        self.code[at..at + len].copy_from_slice(&word.to_le_bytes()[..len]);
    }

    /// The address of what is added next.
    pub fn at(&self) -> u64 {
        CODE + self.code.len() as u64
    }

    /// The address of the record that is added next, which has this size.
    pub fn record_address(&self, size: usize) -> u64 {
        DATA + (self.records.len() * size) as u64
    }

    /// Bytes of all records.
    pub fn data_len(&self) -> u64 {
        self.records.iter().map(|record| record.len() as u64).sum()
    }

    /// A random address in the memory of the next record for an access to `bytes` bytes. Where a page ends in the record, half
    /// of those that need not be aligned go across.
    pub fn memory_address(&self, target: &Target, bytes: u64, aligned: bool, random: &mut Random) -> u64 {
        let start = self.record_address(target.record) + target.memory as u64;
        let len = (target.record - target.memory) as u64;
        let address = start + random.below(len - bytes + 1);
        let page = (start + 1).next_multiple_of(0x1000);
        if aligned {
            address & !(bytes - 1)
        } else if bytes > 1 && page < start + len - bytes && random.below(2) == 0 {
            page - 1 - random.below(bytes - 1)
        } else {
            address
        }
    }

    /// Adds an instance of the branch `word` up to its end: where it is taken `mark` runs, before the branch or behind it.
    /// `imm` is its offset. The branch and its address.
    pub fn branch(&mut self, word: u32, imm: &Field, mark: u32, random: &mut Random) -> (u32, u64) {
        let pads = random.below(5);
        let (at, exit, target);
        if random.below(2) == 0 {
            let over = self.emit(Self::NOP);
            target = self.emit(mark);
            exit = self.emit(Self::NOP);
            (0..pads).for_each(|_| self.pad());
            let here = self.code.len();
            self.patch(over, Self::jump((here - over) as i64));
            self.begin();
            at = self.emit(word);
        } else {
            self.begin();
            at = self.emit(word);
            exit = self.emit(Self::NOP);
            (0..pads).for_each(|_| self.pad());
            target = self.emit(mark);
        }
        let here = self.code.len();
        self.patch(exit, Self::jump((here - exit) as i64));
        let word = imm.put(word, target as i64 - at as i64);
        self.patch(at, word);
        (word, CODE + at as u64)
    }

    /// A static ELF executable: one segment of code, one of records.
    fn elf(&self, (machine, elf_flags): (u16, u32)) -> Vec<u8> {
        const HEADERS: u64 = 0x1000;
        let code_len = self.code.len() as u64;
        let data_at = HEADERS + code_len.next_multiple_of(0x1000);
        let data_len = self.data_len();
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
        let word = |elf: &mut Vec<u8>, value: u32| elf.extend(value.to_le_bytes());
        let long = |elf: &mut Vec<u8>, value: u64| elf.extend(value.to_le_bytes());
        const EXECUTABLE: u16 = 2;
        half(&mut elf, EXECUTABLE);
        half(&mut elf, machine);
        word(&mut elf, 1);
        for value in [CODE, 64, 0] {
            long(&mut elf, value);
        }
        word(&mut elf, elf_flags);
        for value in [64, 56, 2, 64, 0, 0] {
            half(&mut elf, value);
        }
        for (flags, offset, address, len) in [(5, HEADERS, CODE, code_len), (6, data_at, DATA, data_len)] {
            word(&mut elf, 1);
            word(&mut elf, flags);
            // Behind the last record one more is loaded.
            for value in [offset, address, address, len, len + 0x1000, 0x1000] {
                long(&mut elf, value);
            }
        }
        elf.resize(HEADERS as usize, 0);
        elf.extend(&self.code);
        elf.resize(data_at as usize, 0);
        elf.extend(self.records.iter().flatten());
        elf
    }

    /// Writes the program to the memory of a vCPU.
    pub fn load<I: Isa>(&self, vcpu: &Vcpu<I>) {
        write(vcpu, CODE, &self.code);
        write(vcpu, DATA, &self.records.concat());
    }

    /// The records in the memory of a vCPU.
    pub fn output<I: Isa>(&self, vcpu: &Vcpu<I>) -> Vec<u8> {
        read(vcpu, DATA, self.data_len() as usize)
    }
}

/// An outside run of a program.
pub enum Outside {
    Output(Vec<u8>),
    IllegalInstruction,
}

/// The other implementation.
pub struct Oracle {
    program: PathBuf,
    target: &'static Target,
}

impl Oracle {
    pub fn new(target: &'static Target, name: &str) -> Self {
        let found = Command::new(target.qemu).arg("--version").output();
        let output = found.unwrap_or_else(|error| {
            panic!(
                "the outside oracle `{}` is not in the PATH ({error}): \
                 install the package qemu-user of Debian trixie or newer",
                target.qemu
            )
        });
        println!("oracle: {}", String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = format!("{}-{name}-{}.elf", target.qemu, std::process::id());
        Self { program: folder.join(file), target }
    }

    /// Runs a program that is for `what`.
    pub fn run(&self, program: &Program, what: &str) -> Outside {
        std::fs::write(&self.program, program.elf(self.target.elf)).unwrap();
        std::fs::set_permissions(&self.program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(self.target.qemu);
        let mut child =
            command.args(["-cpu", "max"]).arg(&self.program).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        let status = child.wait().unwrap();
        const SIGILL: i32 = 4;
        if status.signal() == Some(SIGILL) || status.code() == Some(128 + SIGILL) {
            return Outside::IllegalInstruction;
        }
        assert!(status.success(), "the oracle ended with {status} for `{what}`");
        Outside::Output(output)
    }

    /// Describes the first records that differ; the number of those.
    pub fn differences(&self, program: &Program, ours: &[u8], theirs: &[u8], report: &mut String) -> usize {
        let size = self.target.record;
        assert_eq!(ours.len(), theirs.len(), "the oracle's output has another length");
        let records = ours.chunks(size).zip(theirs.chunks(size)).enumerate();
        let different: Vec<_> = records.filter(|(_, (ours, theirs))| ours != theirs).collect();
        for (index, (ours, theirs)) in different.iter().take(3) {
            let before = &program.records[*index];
            let _ = writeln!(report, "{}", program.texts[*index]);
            for at in (0..size).step_by(8) {
                let (ours, theirs) = (get(ours, at), get(theirs, at));
                let name = (self.target.name)(at);
                if ours != theirs {
                    let was = get(before, at);
                    let _ = writeln!(report, "    {name}: was {was:#x}, here {ours:#x}, oracle {theirs:#x}");
                }
            }
            if program.texts[*index].len() < 100 {
                let _ = writeln!(report, "    with {}", (self.target.registers)(before));
            }
        }
        different.len()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.program);
    }
}

/// Sets a unit of a record.
pub fn put(record: &mut [u8], at: usize, value: u64) {
    record[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// A unit of a record.
pub fn get(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(record[at..at + 8].try_into().unwrap())
}

/// Compares `instances` random instances of each of `lines` (name and section), which `add` adds by the line's index. `excluded`
/// are the names of lines that are not run, and why; `recent` the sections that some oracles do not know. With `LINES` set,
/// only lines whose names contain it.
pub fn compare_lines(
    target: &'static Target,
    lines: impl Iterator<Item = (&'static str, &'static str)>,
    excluded: &[(&str, &'static str)],
    recent: &[&str],
    vectors: &BTreeMap<&str, usize>,
    instances: usize,
    add: impl Fn(&mut Program, usize, &mut Random),
) {
    let oracle = Oracle::new(target, "lines");
    let only = std::env::var("LINES").unwrap_or_default();
    let (mut report, mut failures, mut counts) = (String::new(), 0, Vec::new());
    for (index, (name, section)) in lines.enumerate().filter(|(_, (name, _))| name.contains(&only)) {
        if let Some((_, reason)) = excluded.iter().find(|(excluded, _)| *excluded == name) {
            counts.push((name, section, 0, *reason));
            continue;
        }
        let mut random = Random(0x5eed_0000 + index as u64);
        let mut program = Program::start();
        (0..instances).for_each(|_| add(&mut program, index, &mut random));
        program.finish();
        match oracle.run(&program, name) {
            Outside::Output(theirs) => {
                failures += oracle.differences(&program, &program.run_here(), &theirs, &mut report);
                counts.push((name, section, instances, ""));
            }
            Outside::IllegalInstruction => {
                assert!(recent.contains(&section), "the oracle does not know `{name}`");
                counts.push((name, section, 0, "this oracle does not know it"));
            }
        }
    }
    report_counts(&counts, vectors);
    assert_eq!(failures, 0, "instances differ:\n{report}");
}

/// Compares what a program that is complete does.
pub fn compare_program(target: &'static Target, mut program: Program, name: &str) {
    program.finish();
    let oracle = Oracle::new(target, name);
    let Outside::Output(theirs) = oracle.run(&program, name) else { panic!("something is illegal there") };
    let mut report = String::new();
    let failures = oracle.differences(&program, &program.run_here(), &theirs, &mut report);
    assert_eq!(failures, 0, "{name} differ:\n{report}");
}

/// Prints how many instances of each line agreed, and how many vectors it has; both being zero is a failure.
fn report_counts(counts: &[(&str, &str, usize, &str)], vectors: &BTreeMap<&str, usize>) {
    println!("{:<16} {:<44} {:>9} {:>7}", "line", "section", "instances", "vectors");
    for (name, section, count, reason) in counts {
        let vectors = vectors.get(name).copied().unwrap_or(0);
        println!("{name:<16} {section:<44} {count:>9} {vectors:>7} {reason}");
        assert!(*count > 0 || vectors > 0, "`{name}` was not compared and has no vector");
    }
    let compared = counts.iter().filter(|(_, _, count, _)| *count > 0).count();
    println!("{compared} of {} lines compared, the others have vectors from the specification", counts.len());
}
