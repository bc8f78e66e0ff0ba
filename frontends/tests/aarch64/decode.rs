//! The decoder and lifter against another disassembler, on all sorts of words, and on hostile ones. Encodings that are not
//! allocated are undefined, says the oracle.

use std::collections::BTreeSet;

use disarm64::format_insn::format_insn_pc;
use disarm64_defn::InsnFeatureSet;
use disarm64_defn::defn::InsnOpcode;
use emu_core::exec::FetchCode;
use emu_core::ir::{BlockBuilder, BlockKey, Terminal, verify};
use frontends::aarch64::decode::{Insn, decode};
use frontends::aarch64::disas::disassemble;
use frontends::aarch64::features::FeatureSet;
use frontends::aarch64::lift::lift;
use frontends::aarch64::syndrome::UNDEFINED;
use frontends::aarch64::{Context, Fpcr, SLOTS};

use crate::common::oracle::{Assembler, DATA, Oracle, Outside, Program};
use crate::common::{Code, Random};
use crate::oracle::{TARGET, constant, system_call};
use crate::support::{ALL, asm};

/// What the other disassembler makes of a word; none if that is not an instruction.
fn other(word: u32, pc: u64) -> Option<String> {
    let insn = disarm64::decoder::decode(word)?;
    let mut text = String::new();
    format_insn_pc(pc, &mut text, &insn).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text with all numbers decimal and without differences in spelling that are none in meaning.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let text = text.to_lowercase().replace(", lsl #0x0", "");
    for part in text.split_inclusive([' ', ',', '[', ']', '#']) {
        let digits = part.trim_end_matches([' ', ',', '[', ']', '#']);
        match digits.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            Some(value) => plain += &format!("{value}{}", &part[digits.len()..]),
            None => plain += part,
        }
    }
    plain
}

/// Whether both texts mean the same.
fn same(insn: Insn, ours: &str, other: &str) -> bool {
    let name = insn.line().name;
    plain(ours) == plain(other)
        // Hints of later versions have names there.
        || name == "hint"
        // Names of system registers.
        || (matches!(name, "mrs" | "msr") && (ours.contains("s3_") || ours.contains("s2_")))
        // The operand that is usual is shown there.
        || (name == "clrex" && other == "clrex #0xf")
        || ours.trim() == other
        || (name == "sys" && plain(&format!("{ours}, xzr")) == plain(other))
        // `uxtw` and `uxtx` are shown as shifts there where the destination is the zero register.
        || (insn.format().name == "AddsExt" && ours.contains("zr") && !other.contains("uxt"))
        // A range prefetch there.
        || (name == "prfm_reg" && other.starts_with("rprfm"))
        // Structures of all sizes are shown as those of four there.
        || (insn.format().name.starts_with("Multiple") && ours[3..] == other[3..])
        // Operands that the other one cannot show, or shows in another width or number than their encoding has; these were
        // compared with GNU objdump 2.44 instead.
        || (stem(ours) == stem(other) && (other.contains("<undefined>") || is_misread(insn)))
}

/// The name of the instruction, without the number of registers.
fn stem(text: &str) -> String {
    text.chars().take_while(|c| *c != ' ').filter(|c| !c.is_ascii_digit()).collect()
}

/// Lines of Advanced SIMD and floating point some of whose operands the other disassembler misreads.
fn is_misread(insn: Insn) -> bool {
    const FORMATS: &[&str] = &[
        "Replicate",
        "ReplicatePost",
        "InsGeneral",
        "DupScalar",
        "EDot",
        "FixedScalar",
        "FAcrossH",
        "FAcross",
        "FPair",
    ];
    let name = insn.line().name;
    FORMATS.contains(&insn.format().name) || matches!(name, "fcmla_e.s") || name.starts_with("fcvt.")
}

#[test]
fn random_instructions_read_alike_elsewhere() {
    let mut random = Random(1);
    let mut failures = Vec::new();
    for &insn in Insn::ALL {
        let line = insn.line();
        let (mut agreed, mut failed) = (0, false);
        for _ in 0..500 {
            let word = line.random(&mut || random.bits());
            if decode(word, ALL) != Some(insn) {
                continue; // another line of its group
            }
            let pc = random.bits() & 0xffff_fffc;
            let ours = disassemble(word, pc, ALL).to_string();
            if let Some(other) = other(word, pc) {
                // The first difference of each line.
                if !same(insn, &ours, &other) && !std::mem::replace(&mut failed, true) {
                    failures.push(format!("{word:08x}: `{ours}`, elsewhere `{other}`"));
                }
                agreed += 1;
            }
        }
        if agreed == 0 {
            failures.push(format!("`{}` cannot be compared", line.name));
        }
    }
    assert!(failures.is_empty(), "{} lines differ:\n{}", failures.len(), failures.join("\n"));
}

/// The other disassembler's names of what is implemented here.
const IMPLEMENTED: &[InsnFeatureSet] = &[
    InsnFeatureSet::V8,
    InsnFeatureSet::CRC,
    InsnFeatureSet::LSE,
    InsnFeatureSet::LOR,
    InsnFeatureSet::RCPC,
    InsnFeatureSet::RCPC2,
    InsnFeatureSet::PAUTH,
    InsnFeatureSet::FLAGM,
    InsnFeatureSet::FLAGMANIP,
    InsnFeatureSet::SB,
    InsnFeatureSet::FP,
    InsnFeatureSet::FP_F16,
    InsnFeatureSet::FP_16_V8_2A,
    InsnFeatureSet::FRINTTS,
    InsnFeatureSet::JSCVT,
    InsnFeatureSet::SIMD,
    InsnFeatureSet::SIMD_F16,
    InsnFeatureSet::COMPNUM,
    InsnFeatureSet::DOTPROD,
    InsnFeatureSet::RDMA,
    InsnFeatureSet::AES,
    InsnFeatureSet::SHA2,
    InsnFeatureSet::SHA3,
];

/// Words of all kinds: instructions, instructions with one bit wrong, and anything.
fn all_sorts(random: &mut Random) -> Vec<u32> {
    let mut words = Vec::new();
    for insn in Insn::ALL {
        let line = insn.line();
        for _ in 0..40 {
            let word = line.random(&mut || random.bits());
            words.push(word);
            words.extend((0..32).filter(|bit| line.mask >> bit & 1 != 0).map(|bit| word ^ 1 << bit));
            // With fields of any value, reserved ones too.
            words.push(line.value | random.bits() as u32 & !line.mask);
        }
    }
    words.extend((0..2_000_000).map(|_| random.bits() as u32));
    words
}

/// What is an instruction here is one elsewhere, too. Where others see one, but do not look at its operands, the oracle
/// raises the signal for undefined ones.
#[test]
fn unallocated_encodings_are_undefined() {
    let mut doubtful = BTreeSet::new();
    for word in all_sorts(&mut Random(2)) {
        let ours = decode(word, ALL);
        match (ours, disarm64::decoder::decode(word)) {
            (Some(_), None) => panic!("{word:08x} is {} here", disassemble(word, 0, ALL)),
            (None, Some(other)) if IMPLEMENTED.contains(&other.definition().feature_set) => {
                doubtful.insert(word);
            }
            _ => {}
        }
    }
    println!("{} words are instructions elsewhere", doubtful.len());
    assert!(doubtful.len() > 10_000);
    let oracle = Oracle::new(&TARGET, "undefined");
    let words: Vec<u32> = doubtful.into_iter().collect();
    for words in words.chunks(100_000) {
        match oracle.run(&undefined_program(words), "undefined instructions") {
            Outside::Output(bytes) if bytes.is_empty() => {}
            Outside::Output(bytes) => {
                let index = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
                let word = words[index];
                panic!(
                    "{word:08x} is undefined here; elsewhere {:?}, and the oracle runs it",
                    other(word, 0)
                );
            }
            Outside::IllegalInstruction => panic!("the signal handler is not right"),
        }
    }
}

/// A program that runs all `words` with a signal handler that steps over them. If one does not raise the signal, it writes out
/// the word's number.
fn undefined_program(words: &[u32]) -> Program {
    const SIGILL: u64 = 4;
    const SIGACTION: u64 = 134;
    const SA_SIGINFO: u64 = 4;
    /// Where the program counter is in what the handler gets, in `x2` (Linux, arm64 `struct ucontext`).
    const PC: i64 = 176 + 8 + 31 * 8 + 8;
    let mut program = Program::default();
    let over = program.emit(0);
    // The handler: on behind the word and the three instructions after it.
    let handler = program.at();
    program.emit(asm("ldr_uimm.x", &[("rt", 3), ("rn", 2), ("uimm", PC)]));
    program.emit(asm("add_imm.x", &[("rd", 3), ("rn", 3), ("imm12", 16)]));
    program.emit(asm("str_uimm.x", &[("rt", 3), ("rn", 2), ("uimm", PC)]));
    program.emit(asm("ret", &[("rn", 30)]));
    // What did not raise it: its number is in `x0`.
    let survived = program.code.len();
    constant(&mut program, 1, DATA);
    program.emit(asm("str_uimm.x", &[("rt", 0), ("rn", 1)]));
    system_call(&mut program, 64, &[(0, 1), (2, 4)]);
    system_call(&mut program, 93, &[(0, 0)]);
    let start = program.code.len();
    program.patch(over, asm("b", &[("imm", start as i64)]));
    constant(&mut program, 1, DATA);
    system_call(&mut program, SIGACTION, &[(0, SIGILL), (2, 0), (3, 8)]);
    for (index, word) in words.iter().enumerate() {
        // Whatever it is, it finds no addresses.
        program.emit(*word);
        constant(&mut program, 0, index as u64);
        let back = survived as i64 - program.code.len() as i64;
        let at = program.emit(0);
        program.patch(at, asm("b", &[("imm", back)]));
    }
    system_call(&mut program, 93, &[(0, 0)]);
    // `struct sigaction`: handler, flags, restorer, mask.
    let action = [handler, SA_SIGINFO, 0, 0];
    program.records.push(action.iter().flat_map(|value| value.to_le_bytes()).collect());
    program
}

/// Every line decodes to itself where its features are there, and to nothing or to a hint where they are not.
#[test]
fn features_gate_instructions() {
    let mut random = Random(3);
    for &insn in Insn::ALL {
        let line = insn.line();
        for needs in line.needs {
            let word = (0..).map(|_| line.random(&mut || random.bits()));
            let word = word.take(100).find(|word| decode(*word, ALL) == Some(insn)).unwrap();
            assert_eq!(decode(word, *needs), Some(insn), "{}", line.name);
            for feature in needs.iter() {
                let found = decode(word, needs.without(FeatureSet::of(&[feature])));
                let hint = found.is_none_or(|found| found.line().name == "hint");
                assert!(hint, "{} without {feature:?}", line.name);
            }
        }
    }
}

fn contexts() -> impl Iterator<Item = Context> {
    (0..4).flat_map(|el| {
        [false, true].map(|checks| Context {
            el,
            fp_on: checks,
            fpcr: Fpcr::from_register(if el % 2 == 0 { Fpcr::MASK } else { 0 }),
            align: checks,
            sp_align: checks,
            pauth: if checks { 15 } else { 0 },
            pauth_trap: checks && el == 1,
            guarded: checks,
            bt: el == 2,
            ..Context::default()
        })
    })
}

/// Lifts the instruction `word` in all contexts, and checks that it is undefined if it does not decode.
fn lift_one(builder: &mut BlockBuilder, word: u32) {
    let mut code = Code(word.to_le_bytes().to_vec());
    for ctx in contexts() {
        for entry in 0..4 {
            let key = BlockKey { pa: entry.into(), ctx: ctx.bits() };
            let block = lift(ALL, builder, key, entry, &mut code, 1).expect("the code is there");
            let checked = verify(&block, SLOTS);
            checked.unwrap_or_else(|error| panic!("{word:#x}: {error}\n{}", block.display(SLOTS)));
            assert_eq!(block.len(), 1);
            if decode(word, ALL).is_none() {
                let undefined = matches!(block.terminal, Terminal::Exception { cause: UNDEFINED, .. });
                assert!((undefined || (ctx.guarded && entry != 0)) && block.insts.len() < 2, "{word:#x}");
            }
        }
    }
}

#[test]
fn random_words_lift_or_are_undefined() {
    let (mut builder, mut random) = (BlockBuilder::new(), Random(4));
    for &insn in Insn::ALL {
        for _ in 0..20 {
            lift_one(&mut builder, insn.line().random(&mut || random.bits()));
        }
    }
    for _ in 0..20_000 {
        lift_one(&mut builder, random.bits() as u32);
    }
}

/// Whole pages of random code: blocks stay in their page, and end.
#[test]
fn random_pages_lift_to_valid_blocks() {
    let (mut builder, mut random) = (BlockBuilder::new(), Random(5));
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while bytes.len() < 4096 {
            let insn = random.pick(Insn::ALL);
            let word = match random.below(8) {
                0 => random.bits() as u32,
                _ => insn.line().random(&mut || random.bits()),
            };
            bytes.extend(word.to_le_bytes());
        }
        let mut code = Code(bytes);
        assert!(code.half(4096).is_err());
        for ctx in contexts() {
            let key = BlockKey { pa: 0, ctx: ctx.bits() };
            for start in (0..4096).step_by(4) {
                let block = lift(ALL, &mut builder, key, start, &mut code, usize::MAX).unwrap();
                verify(&block, SLOTS).unwrap();
                assert!(u64::from(start) + block.code_len() <= 4096 && !block.crosses_page);
            }
        }
    }
}
