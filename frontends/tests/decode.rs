//! The RISC-V decoder and lifter against other disassemblers, on all sorts of words, and on hostile ones.

mod support;

use disc_v::Isa;
use emu_core::exec::{Exception, FetchCode};
use emu_core::ir::{BlockBuilder, BlockKey, Terminal, ValKind, verify};
use frontends::riscv::decode::{Insn, insn16, insn32, length};
use frontends::riscv::disas::disassemble;
use frontends::riscv::ext::{Ext, ExtSet};
use frontends::riscv::lift::lift;
use frontends::riscv::{Context, Privilege, SLOTS};
use support::{Random, asm};

const ALL: ExtSet = ExtSet::of(Ext::ALL);

/// What the other disassembler makes of a word; none if that is not an instruction.
fn other(word: u32, pc: u64) -> Option<String> {
    let text = disc_v::decode(Isa::Rv64, pc, word.into()).without_aliases().to_string();
    let text = text.split(" #").next().unwrap_or_default().trim();
    (!text.starts_with('.')).then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Differences in spelling that are no difference in meaning.
fn same(name: &str, ours: &str, other: &str) -> bool {
    ours == other
        // Shown with the rounding mode even where the conversion is exact.
        || (matches!(name, "fcvt.d.s" | "fcvt.d.w" | "fcvt.d.wu" | "fcvt.s.h" | "fcvt.d.h")
            && (ours.starts_with(other) || other.strip_suffix(",dyn") == Some(ours)))
        // Hexadecimal there.
        || (name.starts_with("fli.") && ours.split(',').next() == other.split(',').next())
        || (name == "c.nop" && (other.starts_with("c.addi zero,") || other.starts_with("c.nop")))
        // Of compressed instructions, operands that are implied or repeated are shown there.
        || (name.starts_with("c.") && within(ours, other))
        // Names of registers that only RV32 or other extensions have; here numbers.
        || (name.starts_with("csrr") && ours.contains(",0x"))
        || (name == "pause" && other == "fence w,unknown")
        || (name == "fence" && ours.replace('0', "unknown") == other)
        || (name.starts_with("prefetch.") && other.starts_with("ori zero,"))
        // A landing pad where Zicfilp is known.
        || (name == "auipc" && other.starts_with("lpad"))
        // Shifts by zero.
        || (matches!(name, "c.slli" | "c.srli" | "c.srai") && ours.ends_with("0x0"))
}

/// Whether the words and operands of `part` are all in `whole`, in their order.
fn within(part: &str, whole: &str) -> bool {
    let mut rest = whole.split([' ', ',']);
    part.split([' ', ',']).all(|word| rest.any(|other| other == word))
}

#[test]
fn random_instructions_read_alike_elsewhere() {
    let mut random = Random(1);
    let mut compared = 0;
    for insn in Insn::all() {
        let line = insn.line();
        let mut agreed = 0;
        for _ in 0..500 {
            let word = line.random(&mut || random.bits());
            assert_eq!(
                Insn::decode(word, ALL).map(|i| i.line().mask & line.mask),
                Some(line.mask),
                "{word:#x}"
            );
            if Insn::decode(word, ALL) != Some(insn) {
                continue;
            }
            let pc = random.bits() & 0xffff_fffe;
            let ours = disassemble(word, pc, ALL).to_string();
            if let Some(other) = other(word, pc) {
                assert!(same(line.name, &ours, &other), "{word:08x}: `{ours}`, elsewhere `{other}`");
                agreed += 1;
            }
        }
        assert!(agreed > 0, "`{}` cannot be compared", line.name);
        compared += agreed;
    }
    assert!(compared > 400 * Insn::all().count(), "only {compared} compared");
}

/// Every line decodes to itself where its extensions are there, and to nothing else where they are not.
#[test]
fn extensions_gate_instructions() {
    let mut random = Random(2);
    for insn in Insn::all() {
        let line = insn.line();
        for needs in line.needs {
            let word = (0..).map(|_| line.random(&mut || random.bits()));
            let word = word.take(100).find(|word| Insn::decode(*word, ALL) == Some(insn)).unwrap();
            assert_eq!(Insn::decode(word, *needs), Some(insn), "{}", line.name);
            for ext in needs.iter() {
                let without = needs.without(ExtSet::of(&[ext]));
                let found = Insn::decode(word, without);
                // What prefetches and the pause would be without their extensions is in the base.
                let hint = matches!(ext, Ext::Zicbop | Ext::Zihintpause);
                assert!(found.is_none() || (hint && found != Some(insn)), "{} without {ext:?}", line.name);
            }
        }
    }
}

#[test]
fn reserved_encodings_are_illegal() {
    let illegal = |word: u32| {
        assert_eq!(Insn::decode(word, ALL), None, "{word:#x}: {}", disassemble(word, 0, ALL));
    };
    // Defined to be illegal; reserved compressed ones: c.addi4spn, c.addiw, c.lui, c.addi16sp, c.lwsp,
    // c.ldsp, c.jr with zero fields, the reserved quadrant-0 and c.sub rows.
    for word in [0x0000, 0x0004, 0x2001, 0x6081, 0x6101, 0x4002, 0x6002, 0x8002, 0x8000, 0x9c41, 0x9c61] {
        illegal(word);
    }
    let with = |name: &str, clear: u32, set: u32| illegal(asm(name, &[]) & !clear | set);
    const WIDTH: u32 = 7 << 12;
    illegal(u32::MAX);
    with("fadd.s", 0, 5 << 12); // reserved rounding modes
    with("fmadd.h", 0, 6 << 12);
    with("fcvtmod.w.d", WIDTH, 0); // its rounding mode is fixed
    with("fmv.x.d", 0, 1 << 20); // fmvh.x.d, which only RV32 has
    with("fadd.s", 0, 3 << 25); // quadruple precision
    with("lr.w", 0, 1 << 20); // a second source
    with("lr.w", WIDTH, 0); // bytes
    with("sc.d", WIDTH, 1 << 12);
    for width in [4, 5, 6, 7] {
        with("amoadd.w", WIDTH, width << 12);
    }
    with("amocas.q", 0, 1 << 7); // odd registers
    with("amocas.q", 0, 1 << 20);
    with("slli", 0, 1 << 26); // shifts by more than the width
    with("slliw", 0, 1 << 25);
    with("roriw", 0, 1 << 25);
    with("mret", 0, 1 << 7); // a destination
    with("sfence.vma", 0, 1 << 7);
    with("cbo.zero", 0, 1 << 7);
    with("cbo.zero", 0, 1 << 20);
    with("ld", 0, 4 << 12); // a load of 16 bytes
    with("sd", 0, 4 << 12);
    with("beq", 0, 2 << 12);
    with("ecall", 0, 4 << 12); // the hypervisor's loads
}

/// Code that repeats one instruction, or any bytes.
struct Code(Vec<u8>);

impl FetchCode for Code {
    fn half(&mut self, offset: u32) -> Result<u16, Exception> {
        let at = offset as usize;
        match self.0.get(at..at + 2) {
            Some(&[low, high]) => Ok(u16::from_le_bytes([low, high])),
            _ => Err(Exception::new(12, offset.into())),
        }
    }
}

fn contexts() -> impl Iterator<Item = Context> {
    [Privilege::User, Privilege::Supervisor, Privilege::Machine].into_iter().flat_map(|privilege| {
        [(false, false, 0), (true, false, 3), (true, true, 0), (true, true, 7)]
            .into_iter()
            .map(move |(fp_on, fp_dirty, frm)| Context { privilege, fp_on, fp_dirty, frm, zero: fp_on })
    })
}

/// Lifts the instruction `word` in all contexts, and checks that it is illegal exactly where it does not
/// decode.
fn lift_one(builder: &mut BlockBuilder, word: u32) {
    let len = usize::from(length(word as u16));
    let mut code = Code(word.to_le_bytes()[..len].to_vec());
    let decoded = Insn::decode(word, ALL);
    let mut legal = false;
    for ctx in contexts() {
        let key = BlockKey { pa: 0, ctx: ctx.bits() };
        let block = lift(ALL, builder, key, 0, &mut code, 1).expect("the code is there");
        verify(&block, SLOTS).unwrap_or_else(|error| panic!("{word:#x}: {error}\n{}", block.display(SLOTS)));
        assert_eq!((block.len(), block.code_len()), (1, len as u64));
        match block.terminal {
            Terminal::Exception { cause: 2, value } => {
                assert!(matches!(value.kind(), ValKind::Const(_)) && block.insts.is_empty());
                let bits = if len == 2 { word & 0xffff } else { word };
                assert_eq!(block.constant(value), Some(bits.into()));
            }
            _ => legal = true,
        }
    }
    assert_eq!(legal, decoded.is_some(), "{word:#x}");
}

#[test]
fn every_16_bit_word_lifts_or_is_illegal() {
    let mut builder = BlockBuilder::new();
    let mut legal = 0;
    for word in (0..0x1_0000u32).filter(|word| word & 3 != 3) {
        lift_one(&mut builder, word);
        legal += usize::from(insn16::decode(word, ALL).is_some());
        // Reserved compressed encodings are legal in the other disassembler where other extensions use them.
        if insn16::decode(word, ALL).is_some() {
            assert!(other(word, 0).is_some(), "{word:#x} is {} here", disassemble(word, 0, ALL));
        }
    }
    assert!(legal > 45_000, "{legal}");
}

#[test]
fn random_32_bit_words_lift_or_are_illegal() {
    let (mut builder, mut random) = (BlockBuilder::new(), Random(3));
    for _ in 0..200_000 {
        let word = random.bits() as u32 | 3;
        if insn32::decode(word, ALL).is_some() {
            let known = other(word, 0).is_some();
            let fence = word & 0x707f == 0x000f; // with fields that it is to ignore
            let exact = word & 0x7f == 0x53; // a rounding mode where the result is exact
            let fence_i = word & 0x707f == 0x100f;
            assert!(known || fence || fence_i || exact, "{word:#x} is {} here", disassemble(word, 0, ALL));
        }
    }
    for _ in 0..20_000 {
        lift_one(&mut builder, random.bits() as u32 | 3);
    }
}

/// Whole pages of random bytes: blocks stay in their page, but for one straddling instruction, and end.
#[test]
fn random_pages_lift_to_valid_blocks() {
    let (mut builder, mut random) = (BlockBuilder::new(), Random(4));
    for round in 0..20 {
        let mut bytes = Vec::new();
        while bytes.len() < 4100 {
            let insn = Insn::all().nth(random.below(Insn::all().count() as u64) as usize).unwrap();
            let word = if random.below(8) == 0 {
                random.bits() as u32
            } else {
                insn.line().random(&mut || random.bits())
            };
            bytes.extend(&word.to_le_bytes()[..length(word as u16).into()]);
        }
        bytes.truncate(4096 + 2 * (round % 2));
        let whole = bytes.len() > 4096;
        let mut code = Code(bytes);
        for ctx in contexts() {
            let key = BlockKey { pa: 0, ctx: ctx.bits() };
            for start in (0..4096).step_by(2) {
                let low = code.half(start).unwrap();
                let straddles = start == 4094 && length(low) == 4;
                match lift(ALL, &mut builder, key, start, &mut code, usize::MAX) {
                    Ok(block) => {
                        verify(&block, SLOTS).unwrap();
                        let end = u64::from(start) + block.code_len();
                        assert_eq!(block.crosses_page, end > 4096);
                        assert!(end <= 4096 || (straddles && block.len() == 1));
                    }
                    Err(exception) => {
                        assert!(straddles && !whole, "{start:#x}: {exception:?}");
                    }
                }
            }
        }
    }
}
