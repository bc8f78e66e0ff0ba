//! Programs for aarch64.
//!
//! EL1 runs where memory lies, EL0 at the same addresses with bit 32 set, so that one piece of code runs at two addresses. A
//! window of small pages with random rights and attributes, and one of larger ones, lie elsewhere; programs change them.

use emu_core::exec::Vcpu;
use emu_core::testing::Random;
use frontends::aarch64::decode::{Insn, decode};
use frontends::aarch64::features::{Feature, FeatureSet};
use frontends::aarch64::gic::pin;
use frontends::aarch64::helper::sysreg;
use frontends::aarch64::pauth::Algorithm;
use frontends::aarch64::{Aarch64, Config, MODELS, SP_EL, V, enter, sysreg_write_debug};

use crate::Guest;
use crate::program::{
    self, BELL, CODE, CODE_END, DATA, DATA_PAGES, DEPTH, END, Function, Hole, LARGE, LARGE_PAGES, RAM,
    RAM_LEN, SPACE_TABLES, SPACES, TABLES, USER, WINDOW, WINDOW_PAGES, Writer,
};

/// Holds where a trap goes on.
const RESUME: i64 = 27;
/// Count loops, by depth.
const COUNTERS: [i64; DEPTH] = [26, 25];
/// Hold return addresses, by [`Function::link`].
const LINKS: [i64; 2] = [30, 24];
/// Hold addresses of data; the last is the stack pointer.
const POINTERS: [i64; 4] = [1, 8, 19, 31];
/// All that lies below this is mapped from here on, too: what does not change is accessed in two segments of a window.
const ALIAS: u64 = 1 << 39;
/// For use within a piece.
const T: [i64; 2] = [16, 17];

type Register = [i64; 5];

const TTBR0_EL1: Register = [3, 0, 2, 0, 0];
const SCTLR_EL1: Register = [3, 0, 1, 0, 0];
const SPSR_EL1: Register = [3, 0, 4, 0, 0];
const ELR_EL1: Register = [3, 0, 4, 0, 1];
const ESR_EL1: Register = [3, 0, 5, 2, 0];
const TPIDR_EL1: Register = [3, 0, 13, 0, 4];
const TPIDRRO_EL0: Register = [3, 3, 13, 0, 3];

/// `SCTLR_EL1`: translation, caches, and EL0 may maintain them; ones where there is nothing.
const SCTLR: u64 =
    1 | 1 << 2 | 1 << 12 | 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11 | 1 << 26 | 1 << 15;
/// What of it may be either: MSCEn, A, SA, SA0, DZE, nTWI, nTWE, the keys.
const SCTLR_FREE: u64 = 1 << 33
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 9
    | 1 << 14
    | 1 << 16
    | 1 << 18
    | 1 << 13
    | 1 << 27
    | 1 << 30
    | 1 << 31;

/// Registers that hold anything: and the bits of random values that are written.
const FREE: &[(Register, u64)] = &[
    ([3, 3, 4, 4, 0], u64::MAX),  // FPCR
    ([3, 3, 4, 4, 1], u64::MAX),  // FPSR
    ([3, 3, 4, 2, 0], u64::MAX),  // NZCV
    ([3, 3, 13, 0, 2], u64::MAX), // TPIDR_EL0
    (TPIDR_EL1, u64::MAX),
    (ESR_EL1, u64::MAX),
    ([3, 0, 6, 0, 0], u64::MAX),  // FAR_EL1
    ([3, 0, 13, 0, 1], u64::MAX), // CONTEXTIDR_EL1
    ([3, 0, 1, 0, 2], 3 << 20),   // CPACR_EL1
    ([3, 0, 2, 1, 0], u64::MAX),  // APIAKeyLo_EL1
    ([3, 0, 2, 2, 1], u64::MAX),  // APDAKeyHi_EL1
    ([3, 0, 4, 2, 2], 0),         // CurrentEL
    ([3, 3, 0, 0, 1], 0),         // CTR_EL0
    ([3, 3, 14, 0, 2], 0),        // CNTVCT_EL0
    ([3, 0, 0, 7, 1], 0),         // ID_AA64MMFR1_EL1
];

/// What instances of a line do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Compute,
    /// At the address in `rn`, if there is one.
    Memory,
    Other,
}

fn kind(insn: Insn) -> Kind {
    const MEMORY: &[&str] = &[
        "Ls",
        "LsPost",
        "LsPre",
        "LsReg",
        "LsUimm",
        "LsLit",
        "LsPair",
        "LsPairPost",
        "LsPairPre",
        "Prfm",
        "PrfmUimm",
        "PrfmReg",
        "PrfmLit",
        "Ordered",
        "OrderedImm",
        "Stxr",
        "Ldxp",
        "Stxp",
        "Cas",
        "Casp",
        "Atomic",
        "Ldra",
        "Multiple",
        "MultiplePost",
        "Lane",
        "LanePost",
        "Replicate",
        "ReplicatePost",
    ];
    const OTHER: &[&str] = &[
        "B", "Bcond", "Cb", "Tb", "Br", "Bra", "None", "Exc", "Hint", "Bti", "Barrier", "Isb", "Clrex",
        "MsrImm", "Msr", "Mrs", "Sys", "Sysl", "Udf", "Copy", "Set",
    ];
    match insn.format().name {
        name if MEMORY.contains(&name) => Kind::Memory,
        name if OTHER.contains(&name) => Kind::Other,
        _ => Kind::Compute,
    }
}

fn reserved(register: i64) -> bool {
    register == RESUME
        || COUNTERS.contains(&register)
        || LINKS.contains(&register)
        || POINTERS[..3].contains(&register)
}

pub struct Arm64 {
    image: Vec<u8>,
    start: u64,
    level: u8,
    registers: Vec<(u16, u64)>,
    slots: Vec<(usize, u64)>,
    model: &'static str,
}

struct Code {
    features: FeatureSet,
    bytes: Vec<u8>,
    compute: Vec<Insn>,
    memory: Vec<Insn>,
    /// The value of `TTBR0_EL1` for each address space.
    spaces: Vec<u64>,
    /// The addresses of the descriptors of pages in the windows that programs change, and the size of the page.
    entries: Vec<(u64, u64, u32)>,
}

fn insn(name: &str) -> Insn {
    let found = Insn::ALL.iter().copied().find(|insn| insn.line().name == name);
    found.unwrap_or_else(|| panic!("no instruction `{name}`"))
}

fn asm(name: &str, fields: &[(&str, i64)]) -> u32 {
    let line = insn(name).line();
    fields.iter().fold(line.value, |word, (field, value)| {
        let field = line.field(field).unwrap_or_else(|| panic!("no field `{field}` in `{name}`"));
        let word = field.put(word, *value);
        assert_eq!(field.get(word), *value, "`{name}` cannot hold {} = {value}", field.name);
        word
    })
}

/// A descriptor of a page of `bits` address bits, somewhere in the data, with random rights.
fn random_entry(random: &mut Random, bits: u32) -> u64 {
    let pa = match (random.below(12), bits) {
        (0, _) => 0x1000_0000 & !((1 << bits) - 1),
        (1, _) => 0x4000_0000,
        (_, 12) => DATA + 0x1000 * random.below(DATA_PAGES),
        _ => RAM,
    };
    let valid = match (random.below(10), bits) {
        (0, _) => 0,
        (_, 12) => 3,
        _ => 1,
    };
    let attribute = if random.below(16) == 0 { 1 << 2 } else { 0 };
    let rights = random.below(4) << 6;
    let accessed = if random.below(5) == 0 { 0 } else { 1 << 10 };
    // Those of a space are not global; the larger ones are the same everywhere.
    let local = if bits == 12 { 1 << 11 } else { 0 };
    let dirty = random.below(2) << 51;
    let never = random.below(4) << 53;
    pa | valid | attribute | rights | accessed | local | dirty | never | 3 << 8
}

impl Code {
    fn emit(&mut self, word: u32) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&word.to_le_bytes());
        at
    }

    fn op(&mut self, name: &str, fields: &[(&str, i64)]) -> usize {
        self.emit(asm(name, fields))
    }

    fn at_word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn patch(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// Lets the instruction at `at` mean what is here.
    fn reach(&mut self, at: usize) {
        let word = self.at_word(at);
        let imm = decode(word, self.features).and_then(|insn| insn.line().field("imm")).unwrap();
        let ahead = (self.bytes.len() - at) as i64;
        let word = imm.put(word, ahead);
        assert_eq!(imm.get(word), ahead);
        self.patch(at, word);
    }

    /// `rd` = `value`.
    fn constant(&mut self, rd: i64, value: u64) {
        self.op("movz.x", &[("rd", rd), ("imm16", (value & 0xffff) as i64)]);
        for hw in 1..4 {
            let part = value >> (16 * hw) & 0xffff;
            if part != 0 {
                self.op("movk.x", &[("rd", rd), ("imm16", part as i64), ("hw", hw)]);
            }
        }
    }

    fn pointer(&mut self, pointer: i64, address: u64) {
        if pointer == 31 {
            self.constant(T[0], address);
            self.op("add_imm.x", &[("rd", 31), ("rn", T[0])]);
        } else {
            self.constant(pointer, address);
        }
    }

    fn msr(&mut self, [o0, op1, crn, crm, op2]: Register, rt: i64) {
        let fields = [("o0", o0 - 2), ("op1", op1), ("crn", crn), ("crm", crm), ("op2", op2), ("rt", rt)];
        self.op("msr", &fields);
    }

    fn mrs(&mut self, [o0, op1, crn, crm, op2]: Register, rt: i64) {
        let fields = [("o0", o0 - 2), ("op1", op1), ("crn", crn), ("crm", crm), ("op2", op2), ("rt", rt)];
        self.op("mrs", &fields);
    }

    fn sys(&mut self, [op1, crn, crm, op2]: [i64; 4], rt: i64) {
        self.op("sys", &[("op1", op1), ("crn", crn), ("crm", crm), ("op2", op2), ("rt", rt)]);
    }

    fn barriers(&mut self) {
        self.op("dsb", &[("crm", 15)]);
        self.op("isb", &[("crm", 15)]);
    }

    /// A random word of `insn` that writes no register with a purpose.
    fn word(&self, insn: Insn, random: &mut Random) -> u32 {
        let line = insn.line();
        let stack = ["{rsp:rd}", "{xsp:rd}"].iter().any(|kind| insn.format().syntax.contains(kind));
        loop {
            let word = line.random(&mut || random.bits());
            if decode(word, self.features) != Some(insn) {
                continue; // another line of its group
            }
            let written = ["rd", "rt", "rt2", "rs"].into_iter().filter_map(|name| line.field(name));
            let pair = insn.format().name == "Casp";
            let mut written = written.map(|field| field.get(word));
            let kept = |n: i64| reserved(n) || pair && reserved(n + 1) || stack && n == 31;
            if !written.any(kept) {
                return word;
            }
        }
    }

    fn compute(&mut self, random: &mut Random) {
        let insn = random.pick(&self.compute);
        let word = self.word(insn, random);
        self.emit(word);
    }

    /// A sum of numbers of some words each, in few registers, so that some go into the next or are overwritten.
    fn words(&mut self, random: &mut Random) {
        let registers: Vec<i64> = (2..8).filter(|&n| !reserved(n)).chain([31]).collect();
        let first = random.pick(&["adds_imm.x", "subs_shift.x", "adds_shift.w", "adcs.x"]);
        for n in 0..2 + random.below(5) {
            let next = random.pick(&["adcs.x", "adcs.x", "adcs.x", "sbcs.x", "adcs.w", "adc.x"]);
            let word = self.word(insn(if n == 0 { first } else { next }), random);
            let line = decode(word, self.features).unwrap().line();
            let fields = ["rd", "rn", "rm"].into_iter().filter_map(|name| line.field(name));
            let word = fields.fold(word, |word, field| field.put(word, random.pick(&registers)));
            self.emit(word);
        }
    }

    fn memory(&mut self, random: &mut Random) {
        let insn = random.pick(&self.memory);
        let (mut word, line) = (self.word(insn, random), insn.line());
        let name = insn.format().name;
        let moves = name.ends_with("Post") || name.ends_with("Pre") || name == "Ldra";
        let Some(rn) = line.field("rn") else {
            self.emit(word);
            return;
        };
        let pointer = random.pick(&POINTERS);
        word = rn.put(word, pointer);
        if let Some(rm) = line.field("rm") {
            // An index is small; what is added to the base is a constant.
            let index = if name.ends_with("Post") { 31 } else { T[0] };
            word = rm.put(word, index);
            let low = [("rd", T[0]), ("rn", random.below(16) as i64), ("imms", 7)];
            self.op("ubfm.x", &low);
        }
        // A base that is also loaded is unpredictable where it is written back.
        let also =
            ["rt", "rt2", "rs"].into_iter().filter_map(|f| line.field(f)).any(|f| f.get(word) == pointer);
        if also && moves && pointer != 31 {
            return;
        }
        self.emit(word);
        if moves {
            self.point_at(pointer, random);
        }
    }

    /// Sets a pointer.
    fn point(&mut self, random: &mut Random) {
        let pointer = random.pick(&POINTERS);
        self.point_at(pointer, random);
    }

    fn point_at(&mut self, pointer: i64, random: &mut Random) {
        let user = if random.below(3) != 0 { USER } else { 0 };
        let inside = match random.below(4) {
            0 => 0x1000 * random.below(16) + 0xff0 + random.below(32),
            1 => 0x40 * random.below(0x400),
            2 => 16 * random.below(0x1000),
            _ => random.below(0x1_0000),
        };
        let address = match random.below(16) {
            0..=3 => (DATA + 0x1000 + inside) | user,
            4..=5 => (DATA + 0x1000 + inside) | user | ALIAS,
            6..=11 => WINDOW + 0x1000 * random.below(WINDOW_PAGES - 16) + inside,
            12..=13 => LARGE + (random.below(LARGE_PAGES) << 21) + (DATA - RAM) + 0x1000 + inside,
            14 => random.bits() | 1 << 55,
            _ => (BELL + random.below(0x800)) | user,
        };
        self.pointer(pointer, address);
    }

    /// Changes a descriptor, and invalidates what comes of it.
    fn page_table(&mut self, random: &mut Random) {
        let (entry, va, bits) = random.pick(&self.entries);
        let value = random_entry(random, bits);
        let [t, u] = T;
        self.constant(t, value);
        self.constant(u, entry);
        self.op("str_uimm.x", &[("rt", t), ("rn", u)]);
        self.op("dsb", &[("crm", 15)]);
        let crm = random.pick(&[3, 7]);
        match random.below(3) {
            0 => self.sys([0, 8, crm, 0], 31), // VMALLE1
            _ => {
                self.constant(t, va >> 12);
                self.sys([0, 8, crm, random.pick(&[3, 7])], t); // VAAE1, VAALE1
            }
        }
        self.barriers();
        if random.below(2) == 0 {
            let inside = if bits == 12 { 0 } else { DATA - RAM + 0x1000 };
            let pointer = random.pick(&POINTERS);
            self.pointer(pointer, va + inside + random.below(0x1000));
        }
    }

    fn control(&mut self, random: &mut Random) {
        let to = random.pick(&[2, 6, 10, 28]);
        match random.below(8) {
            0 => {
                let value = SCTLR | random.bits() & SCTLR_FREE;
                self.constant(T[0], value);
                self.msr(SCTLR_EL1, T[0]);
                self.barriers();
            }
            1 => {
                // PSTATE: UAO, PAN, SPSel, SSBS, DIT, DAIFSet, DAIFClr.
                let (op1, op2) = random.pick(&[(0, 3), (0, 4), (0, 5), (3, 1), (3, 2), (3, 6), (3, 7)]);
                let crm = if op1 == 3 && op2 >= 6 { random.below(16) } else { random.below(2) } as i64;
                let word = asm("msr_imm", &[("op1", op1), ("op2", op2), ("crm", crm)]);
                if decode(word, self.features).is_some() {
                    self.emit(word);
                }
            }
            2..=4 => {
                let (register, _) = random.pick(FREE);
                self.mrs(register, to);
            }
            _ => {
                let (register, mask) = random.pick(FREE);
                if mask != 0 {
                    let value = random.value() & mask;
                    self.constant(T[0], value);
                    self.msr(register, T[0]);
                    self.op("isb", &[("crm", 15)]);
                }
            }
        }
    }

    /// Goes to another exception level, where that is possible.
    fn privilege(&mut self, random: &mut Random) {
        let [t, u] = T;
        if random.below(2) == 0 {
            self.op("svc", &[("imm16", random.below(0x1_0000) as i64)]);
            return;
        }
        let to = random.pick(&[0, 0, 4, 5]);
        self.constant(t, to | (random.below(16) << 28));
        self.msr(SPSR_EL1, t);
        let target = self.op("adr", &[("rd", u)]);
        self.op("ubfm.x", &[("rd", u), ("rn", u), ("imms", 31)]);
        if to == 0 {
            self.op("movk.x", &[("rd", u), ("imm16", 1), ("hw", 2)]);
        }
        self.msr(ELR_EL1, u);
        self.op("eret", &[]);
        self.reach(target);
        // Traps are to go on in the new mode.
        self.op("adr", &[("rd", RESUME), ("imm", 4)]);
    }

    /// Makes what has been written at the address in `T[1]` visible to instruction fetches.
    fn sync(&mut self) {
        self.sys([3, 7, 11, 1], T[1]); // DC CVAU
        self.op("dsb", &[("crm", 11)]);
        self.sys([3, 7, 5, 1], T[1]); // IC IVAU
        self.barriers();
    }

    /// Writes one of two instructions to a place ahead, and runs it.
    fn modify(&mut self, random: &mut Random) {
        let [t, u] = T;
        let words = [0; 2].map(|_| {
            let insn = random.pick(&self.compute);
            u64::from(self.word(insn, random))
        });
        let branch = self.op("tbz", &[("rt", random.below(16) as i64)]);
        self.constant(t, words[0]);
        let jump = self.op("b", &[]);
        self.reach(branch);
        self.constant(t, words[1]);
        self.reach(jump);
        let place = self.op("adr", &[("rd", u)]);
        self.op("str_uimm.w", &[("rt", t), ("rn", u)]);
        self.sync();
        for _ in 0..random.below(4) {
            self.compute(random);
        }
        self.reach(place);
        self.op("nop", &[]);
    }

    /// Writes data that lies between instructions.
    fn scribble(&mut self, random: &mut Random) {
        let u = T[1];
        let place = self.op("adr", &[("rd", u)]);
        self.op("str_uimm.w", &[("rt", random.below(31) as i64), ("rn", u)]);
        self.compute(random);
        self.op("ldr_uimm.w", &[("rt", 10), ("rn", u), ("uimm", 4 * random.below(64) as i64)]);
        let over = self.op("b", &[]);
        self.reach(place);
        self.bytes.extend_from_slice(&[0; 4]);
        self.reach(over);
    }

    fn branch(&mut self, random: &mut Random, far: bool) -> usize {
        let rt = ("rt", random.below(24) as i64);
        match random.below(if far { 3 } else { 4 }) {
            0 | 1 => self.op("b_cond", &[("cond", random.below(14) as i64)]),
            2 => self.op(random.pick(&["cbz.w", "cbz.x", "cbnz.w", "cbnz.x"]), &[rt]),
            _ => self.op(random.pick(&["tbz", "tbnz"]), &[rt, ("bit", random.below(64) as i64)]),
        }
    }

    /// A load-exclusive and a store-exclusive, and perhaps something in between, until it succeeds.
    fn atomic(&mut self, random: &mut Random) {
        let pointer = random.pick(&POINTERS);
        let (load, store, width) =
            (random.pick(&["ldxr", "ldaxr"]), random.pick(&["stxr", "stlxr"]), random.pick(&["w", "x"]));
        let start = self.op(&format!("{load}.{width}"), &[("rt", T[0]), ("rn", pointer)]);
        for _ in 0..random.below(3) {
            self.compute(random);
        }
        self.op("add_imm.x", &[("rd", 9), ("rn", T[0]), ("imm12", random.below(100) as i64)]);
        let rt = random.pick(&[9, 10, T[0]]);
        self.op(&format!("{store}.{width}"), &[("rs", T[1]), ("rt", rt), ("rn", pointer)]);
        if random.below(2) == 0 {
            let back = start as i64 - self.bytes.len() as i64;
            // Never taken: it fails with 1 only.
            self.op("tbnz", &[("rt", T[1]), ("bit", 1), ("imm", back)]);
        }
    }

    /// A memory copy or memory set; now and then its main instruction alone, with whatever the flags are.
    fn range(&mut self, random: &mut Random) {
        const COUNT: i64 = 9;
        if !self.features.has(Feature::Mops) {
            return;
        }
        for rd in T {
            self.op("add_imm.x", &[("rd", rd), ("rn", random.pick(&POINTERS))]);
        }
        if random.below(4) == 0 {
            // They overlap.
            self.op("add_imm.x", &[("rd", T[0]), ("rn", T[1]), ("imm12", random.below(64) as i64)]);
        }
        let most = 1 << random.below(16);
        let count = random.below(most);
        let family = random.pick(&["cpyf", "cpy", "set"]);
        let options = [("options", random.below(4) as i64), ("rd", T[0]), ("rs", T[1]), ("rn", COUNT)];
        if random.below(4) == 0 {
            self.constant(COUNT, count.wrapping_neg());
            self.op(&format!("{family}m"), &options);
            return;
        }
        self.constant(COUNT, count);
        for stage in ["p", "m", "e"] {
            self.op(&format!("{family}{stage}"), &options);
        }
    }

    fn bell(&mut self, random: &mut Random) {
        self.constant(T[1], BELL | if random.below(3) != 0 { USER } else { 0 });
        let offset = ("uimm", 8 * random.below(8) as i64);
        let name = random.pick(&["ldr_uimm.w", "str_uimm.x"]);
        self.op(name, &[("rt", 10), ("rn", T[1]), offset]);
    }

    /// An instruction that is none.
    fn undefined(&mut self, random: &mut Random) {
        loop {
            let word = random.bits() as u32;
            if decode(word, self.features).is_none() {
                self.emit(word);
                return;
            }
        }
    }
}

impl Writer for Code {
    fn at(&self) -> usize {
        self.bytes.len()
    }

    fn piece(&mut self, random: &mut Random) {
        match random.below(64) {
            0..=28 => self.compute(random),
            29 => self.words(random),
            30..=44 => self.memory(random),
            45..=49 => self.point(random),
            50..=51 => {
                let at = self.branch(random, false);
                for _ in 0..random.below(4) {
                    self.compute(random);
                }
                self.reach(at);
            }
            52..=53 => self.atomic(random),
            54 => self.modify(random),
            55 => self.scribble(random),
            56..=57 => self.page_table(random),
            58 => {
                let space = random.pick(&self.spaces);
                self.constant(T[0], space);
                self.msr(TTBR0_EL1, T[0]);
                self.op("isb", &[("crm", 15)]);
            }
            59..=60 => self.control(random),
            61 => self.privilege(random),
            62 => self.bell(random),
            _ => match random.below(8) {
                4.. => self.range(random),
                0 => self.undefined(random),
                1 => {
                    // DC ZVA
                    let pointer = random.pick(&POINTERS[..3]);
                    self.sys([3, 7, 4, 1], pointer);
                }
                2 => {
                    self.op(random.pick(&["wfi", "wfe", "sevl", "brk", "clrex", "yield"]), &[]);
                }
                _ => {
                    self.sys([0, 8, 7, 0], 31);
                    self.barriers();
                }
            },
        }
    }

    fn begin_run(&mut self) -> Hole {
        Hole(self.op("adr", &[("rd", RESUME)]))
    }

    fn end_run(&mut self, Hole(at): Hole) {
        self.reach(at);
    }

    fn begin_loop(&mut self, depth: usize, count: u64) -> usize {
        self.constant(COUNTERS[depth], count);
        self.bytes.len()
    }

    fn end_loop(&mut self, depth: usize, start: usize) {
        let counter = COUNTERS[depth];
        self.op("sub_imm.x", &[("rd", counter), ("rn", counter), ("imm12", 1)]);
        let back = start as i64 - self.bytes.len() as i64;
        self.op("cbnz.x", &[("rt", counter), ("imm", back)]);
    }

    fn skip(&mut self, random: &mut Random) -> Hole {
        Hole(self.branch(random, true))
    }

    fn jump(&mut self) -> Hole {
        Hole(self.op("b", &[]))
    }

    fn choose(&mut self, count: usize, random: &mut Random) -> Vec<Hole> {
        let [t, u] = T;
        let test = random.below(16) as i64;
        if count > 1 {
            let top = i64::from(count.trailing_zeros()) - 1;
            self.op("ubfm.x", &[("rd", t), ("rn", test), ("imms", top)]);
        } else {
            self.constant(t, 0);
        }
        self.op("adr", &[("rd", u), ("imm", 12)]);
        self.op("add_shift.x", &[("rd", u), ("rn", u), ("rm", t), ("amount", 2)]);
        self.op("br", &[("rn", u)]);
        (0..count).map(|_| self.jump()).collect()
    }

    fn land(&mut self, Hole(at): Hole) {
        self.reach(at);
    }

    fn call(&mut self, function: Function, random: &mut Random) {
        let ahead = |code: &Self| ("imm", function.start as i64 - code.bytes.len() as i64);
        match (function.link, random.below(3)) {
            (0, 0) => {
                let imm = ahead(self);
                self.op("adr", &[("rd", T[0]), imm]);
                self.op("blr", &[("rn", T[0])]);
            }
            (0, _) => {
                let imm = ahead(self);
                self.op("bl", &[imm]);
            }
            _ => {
                self.op("adr", &[("rd", LINKS[1]), ("imm", 8)]);
                let imm = ahead(self);
                self.op("b", &[imm]);
            }
        }
        (0..function.skips).for_each(|_| {
            self.op("nop", &[]);
        });
    }

    fn ret(&mut self, function: Function) {
        let link = LINKS[function.link];
        if function.skips > 0 {
            self.op("add_imm.x", &[("rd", link), ("rn", link), ("imm12", 4 * function.skips as i64)]);
        }
        self.op("ret", &[("rn", link)]);
    }

    fn has_room(&self) -> bool {
        self.bytes.len() < (CODE_END - CODE) as usize - 0x8000
    }

    fn end(&mut self) {
        let start = self.bytes.len();
        for user in [0, USER] {
            let resume = self.op("adr", &[("rd", RESUME)]);
            self.constant(T[1], BELL | user);
            self.op("str_uimm.x", &[("rt", T[1]), ("rn", T[1]), ("uimm", END as i64)]);
            self.reach(resume);
        }
        let back = start as i64 - self.bytes.len() as i64;
        self.op("b", &[("imm", back)]);
    }
}

/// The vectors of EL1: an interrupt has been served, an exception goes on where the program wants it, and an `svc` goes on
/// there at EL1.
fn vectors(code: &mut Code) {
    const SYNCHRONOUS: usize = 0x800;
    for vector in 0..16usize {
        code.bytes.resize(vector * 0x80, 0);
        if vector % 4 == 0 {
            let ahead = (SYNCHRONOUS - code.bytes.len()) as i64;
            code.op("b", &[("imm", ahead)]);
        } else {
            code.op("eret", &[]);
        }
    }
    code.bytes.resize(SYNCHRONOUS, 0);
    let [t, u] = T;
    const SVC: i64 = 0x15;
    code.msr(TPIDR_EL1, t);
    code.msr(TPIDRRO_EL0, u);
    code.mrs(ESR_EL1, t);
    code.op("ubfm.x", &[("rd", t), ("rn", t), ("immr", 26), ("imms", 31)]);
    code.op("subs_imm.x", &[("rd", 31), ("rn", t), ("imm12", SVC)]);
    code.mrs(SPSR_EL1, u);
    let other = code.op("b_cond", &[("cond", 1)]);
    code.constant(t, 5);
    code.op("bfm.x", &[("rd", u), ("rn", t), ("imms", 3)]);
    code.reach(other);
    // Whatever it was, the state is a legal one.
    code.op("bfm.x", &[("rd", u), ("rn", 31), ("immr", 64 - 20), ("imms", 0)]);
    code.msr(SPSR_EL1, u);
    // The address is that of the level that it goes on at.
    code.op("ubfm.x", &[("rd", t), ("rn", RESUME), ("imms", 31)]);
    code.op("ubfm.x", &[("rd", u), ("rn", u), ("immr", 2), ("imms", 3)]);
    let privileged = code.op("cbnz.x", &[("rt", u)]);
    code.op("movk.x", &[("rd", t), ("imm16", 1), ("hw", 2)]);
    code.reach(privileged);
    code.msr(ELR_EL1, t);
    code.mrs(TPIDRRO_EL0, u);
    code.mrs(TPIDR_EL1, t);
    code.op("eret", &[]);
}

/// Puts a 64-bit word into an image.
fn put(image: &mut [u8], pa: u64, value: u64) {
    let at = (pa - RAM) as usize;
    image[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Builds the page tables: the values of `TTBR0_EL1`, and the descriptors that programs change.
fn tables(image: &mut [u8], random: &mut Random) -> (Vec<u64>, Vec<(u64, u64, u32)>) {
    let table = |n: u64| TABLES + 0x1000 * n;
    let pointer = |pa: u64| pa | 3;
    let index = |va: u64, level: u64| va >> (39 - 9 * level) & 511;
    let mut entries = Vec::new();
    for n in 0..LARGE_PAGES {
        let at = table(0) + 8 * n;
        put(image, at, random_entry(random, 21));
        entries.push((at, LARGE + (n << 21), 21));
    }
    let mut spaces = Vec::new();
    for space in 0..SPACES {
        let first = SPACE_TABLES * (1 + space);
        let [root, gigabytes, megabytes, small] = [0, 1, 2, 3].map(|n| table(first + n));
        for n in [0, index(ALIAS, 0)] {
            put(image, root + 8 * n, pointer(gigabytes));
        }
        // Accessed, inner shareable; EL0's with its rights. Devices come second among the attributes.
        for (user, flags) in [(0, 1 << 10 | 3 << 8 | 1), (USER, 1 << 10 | 3 << 8 | 1 << 6 | 1)] {
            put(image, gigabytes + 8 * index(user, 1), flags | 1 << 2);
            put(image, gigabytes + 8 * index(RAM | user, 1), RAM | flags);
        }
        put(image, gigabytes + 8 * index(WINDOW, 1), pointer(megabytes));
        put(image, gigabytes + 8 * index(LARGE, 1), pointer(table(0)));
        put(image, megabytes, pointer(small));
        for n in 0..WINDOW_PAGES {
            put(image, small + 8 * n, random_entry(random, 12));
            entries.push((small + 8 * n, WINDOW + 0x1000 * n, 12));
        }
        spaces.push((space + 1) << 48 | root);
    }
    (spaces, entries)
}

impl Guest for Arm64 {
    type Isa = Aarch64;

    const PINS: u64 = 1 << pin::IRQ | 1 << pin::FIQ;

    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0xa64);
        let model = if random.below(2) == 0 { &MODELS[0] } else { &MODELS[random.below(4) as usize] };
        let mut image = vec![0; RAM_LEN as usize];
        for pa in (DATA..DATA + 0x1000 * DATA_PAGES).step_by(8) {
            put(&mut image, pa, random.value());
        }
        let (spaces, entries) = tables(&mut image, &mut random);
        let allowed = |insn: &Insn| insn.line().allowed(model.features);
        let of = |wanted: Kind| {
            let all = Insn::ALL.iter().copied().filter(allowed);
            all.filter(|insn| kind(*insn) == wanted).collect::<Vec<Insn>>()
        };
        let (compute, memory) = (of(Kind::Compute), of(Kind::Memory));
        let space = random.pick(&spaces);
        let mut code = Code { features: model.features, bytes: Vec::new(), compute, memory, spaces, entries };
        vectors(&mut code);
        let handlers = std::mem::take(&mut code.bytes);
        image[..handlers.len()].copy_from_slice(&handlers);
        let start = program::write(&mut code, &mut random);
        assert!(code.bytes.len() <= (CODE_END - CODE) as usize, "{} bytes of code", code.bytes.len());
        let at = (CODE - RAM) as usize;
        image[at..at + code.bytes.len()].copy_from_slice(&code.bytes);

        let register = |[o0, op1, crn, crm, op2]: Register| {
            sysreg(o0 as u16, op1 as u16, crn as u16, crm as u16, op2 as u16)
        };
        // 48 bits of addresses below a byte that is perhaps ignored, no upper half; A and D bits by hardware, perhaps.
        let tcr = 16 | 1 << 23 | 16 << 16 | 2 << 30 | 2 << 32 | random.below(2) << 37 | random.below(4) << 39;
        let registers = vec![
            (register([3, 0, 12, 0, 0]), RAM),
            (register([3, 0, 10, 2, 0]), 0x00ff),
            (register([3, 0, 2, 0, 2]), tcr),
            (register(TTBR0_EL1), space),
            (register([3, 0, 1, 0, 2]), random.pick(&[0, 1, 3, 3]) << 20),
            (register(SCTLR_EL1), SCTLR | random.bits() & SCTLR_FREE),
        ];
        let level = random.below(2) as u8;
        let start = (CODE + start as u64) | if level == 0 { USER } else { 0 };
        let mut slots: Vec<(usize, u64)> = (0..31).map(|n| (n, random.value())).collect();
        slots[RESUME as usize].1 = start;
        let data = |random: &mut Random| DATA + 0x1000 + 16 * random.below(0x1000);
        for pointer in &POINTERS[..3] {
            slots[*pointer as usize].1 = data(&mut random);
        }
        for slot in [31, usize::from(SP_EL), usize::from(SP_EL) + 1] {
            slots.push((slot, data(&mut random)));
        }
        slots.extend((0..64).map(|n| (usize::from(V) + n, random.value())));
        Self { image, start, level, registers, slots, model: model.name }
    }

    fn isa(&self) -> Aarch64 {
        let model = *MODELS.iter().find(|model| model.name == self.model).unwrap();
        let pauth = if self.level == 0 { Algorithm::Fast } else { Algorithm::Qarma5 };
        Aarch64::new(Config { model, mpidr: 0, conduit: None, pauth, el2: false, el3: false })
    }

    fn image(&self) -> &[u8] {
        &self.image
    }

    fn set_up(&self, cpu: &mut Vcpu<Aarch64>) {
        enter(cpu, self.level, self.start, 0);
        for (register, value) in &self.registers {
            assert!(sysreg_write_debug(cpu, *register, *value), "{register:#x}");
        }
        for (slot, value) in &self.slots {
            cpu.state.slots[*slot] = *value;
        }
    }
}
