//! Programs for riscv64.
//!
//! M-mode runs at physical addresses, S-mode at the same ones through global superpages, and U-mode at the same with bit
//! 32 set, so that one piece of code runs at three addresses. A window of small pages with random rights and attributes, and
//! one of larger ones, lie elsewhere; programs change them.

use emu_core::exec::Vcpu;
use emu_core::testing::Random;
use frontends::riscv::decode::{Insn, length};
use frontends::riscv::ext::ExtSet;
use frontends::riscv::{Config, MODELS, PINS, Riscv, csr_write_debug};

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
const LINKS: [i64; 2] = [1, 5];
/// Hold addresses of data. The compressed instructions know the first two.
const POINTERS: [i64; 4] = [2, 8, 15, 20];
/// For use within a piece.
const T: [i64; 2] = [30, 31];

/// Page tables, by page from [`TABLES`] on: each space has roots and its own small pages.
const SHARED_LARGE: u64 = 0;

mod csr {
    pub const SATP: u16 = 0x180;
    pub const MSTATUS: u16 = 0x300;
    pub const MEDELEG: u16 = 0x302;
    pub const MIDELEG: u16 = 0x303;
    pub const MIE: u16 = 0x304;
    pub const SIE: u16 = 0x104;
    pub const MTVEC: u16 = 0x305;
    pub const STVEC: u16 = 0x105;
    pub const MENVCFG: u16 = 0x30a;
    pub const SENVCFG: u16 = 0x10a;
    pub const MSCRATCH: u16 = 0x340;
    pub const SSCRATCH: u16 = 0x140;
    pub const MEPC: u16 = 0x341;
    pub const SEPC: u16 = 0x141;
    pub const MTVAL: u16 = 0x343;
    pub const STVAL: u16 = 0x143;
    pub const MCAUSE: u16 = 0x342;
    pub const SCAUSE: u16 = 0x142;
    pub const SSTATUS: u16 = 0x100;
    pub const PMPCFG0: u16 = 0x3a0;
    pub const PMPADDR0: u16 = 0x3b0;
}

/// Registers that hold anything: their numbers, and the bits of random values that are written.
const FREE_CSRS: &[(u16, u64)] = &[
    (0x001, u64::MAX), // fflags
    (0x002, u64::MAX), // frm
    (0x003, u64::MAX), // fcsr
    (csr::MSCRATCH, u64::MAX),
    (csr::SSCRATCH, u64::MAX),
    (csr::MTVAL, u64::MAX),
    (csr::STVAL, u64::MAX),
    (csr::MCAUSE, u64::MAX),
    (csr::SCAUSE, u64::MAX),
    (csr::MEPC, u64::MAX),
    (csr::SEPC, u64::MAX),
    (0x306, u64::MAX), // mcounteren
    (0x106, u64::MAX), // scounteren
    (csr::MIE, u64::MAX),
    (csr::SIE, u64::MAX),
    (0x344, u64::MAX), // mip
    (0x144, u64::MAX), // sip
    (csr::MEDELEG, u64::MAX),
    (csr::MIDELEG, u64::MAX),
    (csr::MSTATUS, 0x000e_79aa), // not TVM, which would keep S-mode from flushing what it has changed
    (csr::SSTATUS, 0x000c_6122),
    (0xc00, 0),        // cycle
    (0xc01, 0),        // time
    (0xc02, 0),        // instret
    (0xb02, u64::MAX), // minstret
    (0x14d, u64::MAX), // stimecmp
];

/// What instances of a line do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Compute,
    /// At the address in `rs1`, or in `sp`.
    Memory,
    Other,
}

fn kind(insn: Insn) -> Kind {
    match (insn.format().name, insn.line().name) {
        (_, "jalr" | "jal" | "c.addi16sp" | "lui" | "fence.i") => Kind::Other,
        ("Lr" | "Amo" | "Load" | "S" | "FpLoad" | "FpStore" | "Cbo" | "Prefetch", _) => Kind::Memory,
        ("Cl" | "Cfl" | "Cs" | "Cfs" | "Clsp" | "Cflsp" | "Css" | "Cfss", _) => Kind::Memory,
        ("None" | "B" | "J" | "Cb" | "Cj" | "Cjr" | "Csr" | "CsrImm" | "Vma", name) => {
            // These do not trap, jump or wait for ever.
            if name == "pause" || name == "fence.tso" { Kind::Compute } else { Kind::Other }
        }
        _ => Kind::Compute,
    }
}

pub struct Riscv64 {
    image: Vec<u8>,
    start: u64,
    csrs: Vec<(u16, u64)>,
    registers: [u64; 64],
    model: &'static str,
}

struct Code {
    ext: ExtSet,
    bytes: Vec<u8>,
    compute: Vec<Insn>,
    memory: Vec<Insn>,
    /// The value of `satp` for each address space.
    spaces: Vec<u64>,
    /// The addresses of the entries of pages in the windows that programs change, and the size of the page.
    entries: Vec<(u64, u64, u32)>,
}

fn insn(name: &str) -> Insn {
    Insn::all().find(|insn| insn.line().name == name).unwrap_or_else(|| panic!("no instruction `{name}`"))
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

/// An entry that maps a page of `bits` address bits, somewhere in the data, with random rights.
fn random_entry(random: &mut Random, bits: u32) -> u64 {
    let pa = match (random.below(12), bits) {
        (0, _) => BELL,
        (1, _) => 0x4000_0000,
        (_, 12) => DATA + 0x1000 * random.below(DATA_PAGES),
        _ => RAM,
    };
    let rights = match random.below(8) {
        0 => match random.bits() & 0xf {
            // A pointer would make a table of code, which the walker writes to.
            1 if bits != 12 => 0,
            any => any,
        },
        1..=3 => 0b0111,
        4 => 0b0011,
        5 => 0b1001,
        _ => 0b1111,
    };
    let accessed = random.pick(&[0, 0x40, 0xc0, 0xc0, 0xc0]);
    let user = 0x10 * random.below(2);
    let mut entry = pa >> 12 << 10 | rights | accessed | user;
    entry |= match random.below(24) {
        0 => 1 << (54 + random.below(10)),
        // 64 KiB at once.
        1..=2 if bits == 12 => 1 << 63 | 0x8 << 10,
        _ => 0,
    };
    entry
}

impl Code {
    fn emit(&mut self, word: u32) -> usize {
        let at = self.bytes.len();
        let len = usize::from(length(word as u16));
        self.bytes.extend_from_slice(&word.to_le_bytes()[..len]);
        at
    }

    fn op(&mut self, name: &str, fields: &[(&str, i64)]) -> usize {
        self.emit(asm(name, fields))
    }

    fn patch(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// `rd` = `value`.
    fn constant(&mut self, rd: i64, value: u64) {
        let value = value as i64;
        if let Ok(small) = i32::try_from(value) {
            let low = i64::from(small) << 52 >> 52;
            let high = (i64::from(small).wrapping_sub(low)) as i32;
            if high == 0 {
                self.op("addi", &[("rd", rd), ("imm", low)]);
                return;
            }
            self.op("lui", &[("rd", rd), ("imm", i64::from(high))]);
            if low != 0 {
                self.op("addiw", &[("rd", rd), ("rs1", rd), ("imm", low)]);
            }
            return;
        }
        let low = value << 52 >> 52;
        let shift = 12 + (value.wrapping_sub(low) >> 12).trailing_zeros().min(51);
        self.constant(rd, (value.wrapping_sub(low) >> shift) as u64);
        self.op("slli", &[("rd", rd), ("rs1", rd), ("shamt", shift.into())]);
        if low != 0 {
            self.op("addi", &[("rd", rd), ("rs1", rd), ("imm", low)]);
        }
    }

    /// `rd` = the address of what is `ahead` bytes ahead.
    fn address(&mut self, rd: i64, ahead: i64) {
        self.op("auipc", &[("rd", rd)]);
        self.op("addi", &[("rd", rd), ("rs1", rd), ("imm", ahead)]);
    }

    /// A random word of `insn` that writes no register with a purpose.
    fn word(&self, insn: Insn, random: &mut Random) -> u32 {
        let line = insn.line();
        loop {
            let word = line.random(&mut || random.bits());
            if Insn::decode(word, self.ext) != Some(insn) {
                continue; // another line of its group
            }
            let writes = insn.format().syntax.contains("{x:rd}");
            let rd = line.field("rd").filter(|_| writes).map_or(0, |rd| rd.get(word));
            let reserved = |rd: i64| {
                rd == RESUME || COUNTERS.contains(&rd) || LINKS.contains(&rd) || POINTERS.contains(&rd)
            };
            let pair = line.name == "amocas.q";
            let kept = reserved(rd) || pair && reserved(rd + 1);
            if !kept {
                return word;
            }
        }
    }

    fn compute(&mut self, random: &mut Random) {
        let insn = random.pick(&self.compute);
        let word = self.word(insn, random);
        self.emit(word);
    }

    fn memory(&mut self, random: &mut Random) {
        let insn = random.pick(&self.memory);
        let mut word = self.word(insn, random);
        if let Some(rs1) = insn.line().field("rs1") {
            let known = if rs1.bits == 3 { &POINTERS[1..3] } else { &POINTERS[..] };
            word = rs1.put(word, random.pick(known));
        }
        self.emit(word);
    }

    /// Sets a pointer.
    fn point(&mut self, random: &mut Random) {
        let pointer = random.pick(&POINTERS);
        let user = if random.below(3) == 0 { USER } else { 0 };
        let inside = match random.below(4) {
            0 => 0x1000 * random.below(16) + 0xff0 + random.below(32),
            1 => 0x40 * random.below(0x400),
            2 => 8 * random.below(0x2000),
            _ => random.below(0x1_0000),
        };
        let address = match random.below(16) {
            0..=4 => (DATA + 0x1000 + inside) | user,
            5..=11 => WINDOW + 0x1000 * random.below(WINDOW_PAGES - 16) + inside,
            12..=13 => LARGE + (random.below(LARGE_PAGES) << 21) + (DATA - RAM) + 0x1000 + inside,
            14 => random.bits() | 1 << 63,
            _ => (BELL + random.below(0x800)) | user,
        };
        self.constant(pointer, address);
    }

    /// Changes an entry of a page table, and flushes it.
    fn page_table(&mut self, random: &mut Random) {
        let (entry, va, bits) = random.pick(&self.entries);
        let value = random_entry(random, bits);
        let [t, u] = T;
        self.constant(t, value);
        self.constant(u, entry);
        self.op("sd", &[("rs1", u), ("rs2", t)]);
        match random.below(3) {
            0 => {
                self.constant(u, va + random.below(0x1000));
                self.op("sfence.vma", &[("rs1", u)]);
            }
            1 => {
                self.op("sfence.vma", &[]);
            }
            _ => {
                self.constant(t, va);
                self.op("sfence.vma", &[("rs1", t), ("rs2", 0)]);
            }
        }
        if random.below(2) == 0 {
            let pointer = random.pick(&POINTERS);
            // A large page begins with code.
            let inside = if bits == 12 { 0 } else { DATA - RAM + 0x1000 };
            self.constant(pointer, va + inside + random.below(0x1000));
        }
    }

    /// Changes to another address space.
    fn space(&mut self, random: &mut Random) {
        let satp = random.pick(&self.spaces);
        self.constant(T[0], satp);
        self.op("csrrw", &[("csr", csr::SATP.into()), ("rs1", T[0])]);
    }

    fn control(&mut self, random: &mut Random) {
        let (number, mask) = random.pick(FREE_CSRS);
        let value = random.value() & mask;
        let name = random.pick(&["csrrw", "csrrs", "csrrc", "csrrs", "csrrc"]);
        // A whole new value would change what must stay.
        let name = if mask == u64::MAX || name != "csrrw" { name } else { "csrrs" };
        let source = if mask == 0 || random.below(4) == 0 { 0 } else { T[0] };
        let name = if source == 0 { "csrrs" } else { name };
        self.constant(T[0], value);
        self.op(name, &[("csr", number.into()), ("rs1", source), ("rd", random.pick(&[0, 6, 10, 28]))]);
    }

    /// Goes to another privilege mode, where that is possible.
    fn privilege(&mut self, random: &mut Random) {
        let [t, u] = T;
        let machine = random.below(2) == 0;
        if random.below(3) == 0 {
            self.op("ecall", &[]);
            return;
        }
        let to = if machine { random.pick(&[0, 0, 1, 1, 3]) } else { random.below(2) };
        let (status, epc, field, lowest) = if machine {
            (csr::MSTATUS, csr::MEPC, 3 << 11, 11)
        } else {
            (csr::SSTATUS, csr::SEPC, 1 << 8, 8)
        };
        self.constant(t, field);
        self.op("csrrc", &[("csr", status.into()), ("rs1", t)]);
        self.constant(t, to << lowest);
        self.op("csrrs", &[("csr", status.into()), ("rs1", t)]);
        self.op("auipc", &[("rd", u)]);
        let from = self.bytes.len() - 4;
        let hole = self.op("addi", &[("rd", u), ("rs1", u)]);
        self.op("slli", &[("rd", u), ("rs1", u), ("shamt", 32)]);
        self.op("srli", &[("rd", u), ("rs1", u), ("shamt", 32)]);
        if to == 0 {
            self.op("addi", &[("rd", t), ("imm", 1)]);
            self.op("slli", &[("rd", t), ("rs1", t), ("shamt", 32)]);
            self.op("or", &[("rd", u), ("rs1", u), ("rs2", t)]);
        }
        self.op("csrrw", &[("csr", epc.into()), ("rs1", u)]);
        self.op(if machine { "mret" } else { "sret" }, &[]);
        let ahead = (self.bytes.len() - from) as i64;
        self.patch(hole, asm("addi", &[("rd", u), ("rs1", u), ("imm", ahead)]));
        // Traps are to go on in the new mode.
        self.address(RESUME, 8);
    }

    /// Writes one of two instructions to a place ahead, and runs it.
    fn modify(&mut self, random: &mut Random) {
        let [t, u] = T;
        let full: Vec<Insn> =
            self.compute.iter().copied().filter(|insn| length(insn.line().value as u16) == 4).collect();
        let words = [0; 2].map(|_| {
            let insn = random.pick(&full);
            self.word(insn, random)
        });
        let test = random.pick(&[6, 7, 9, 10, 11, 12, 13, 14]);
        self.op("andi", &[("rd", t), ("rs1", test), ("imm", 1)]);
        let branch = self.op("beq", &[("rs1", t), ("rs2", 0)]);
        self.constant(t, words[0] as i32 as u64);
        let jump = self.op("jal", &[]);
        let second = self.bytes.len();
        self.patch(branch, asm("beq", &[("rs1", t), ("rs2", 0), ("imm", (second - branch) as i64)]));
        self.constant(t, words[1] as i32 as u64);
        let end = self.bytes.len();
        self.patch(jump, asm("jal", &[("imm", (end - jump) as i64)]));
        let from = self.op("auipc", &[("rd", u)]);
        let store = self.op("sw", &[("rs1", u), ("rs2", t)]);
        self.op("fence.i", &[]);
        for _ in 0..random.below(4) {
            self.compute(random);
        }
        let place = self.op("addi", &[]);
        self.patch(store, asm("sw", &[("rs1", u), ("rs2", t), ("imm", (place - from) as i64)]));
    }

    /// Writes data that lies between instructions.
    fn scribble(&mut self, random: &mut Random) {
        let u = T[1];
        let from = self.op("auipc", &[("rd", u)]);
        let store = self.op("sw", &[("rs1", u)]);
        self.compute(random);
        self.op("lw", &[("rs1", u), ("rd", random.pick(&[6, 10, 28])), ("imm", random.below(256) as i64)]);
        self.op("jal", &[("imm", 8)]);
        let place = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let source = random.below(32) as i64;
        self.patch(store, asm("sw", &[("rs1", u), ("rs2", source), ("imm", (place - from) as i64)]));
    }

    /// Jumps over a few instructions, or not.
    fn short_skip(&mut self, random: &mut Random) {
        let at = self.branch(random);
        for _ in 0..random.below(4) {
            self.compute(random);
        }
        let imm = insn("beq").line().field("imm").unwrap();
        let word = u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap());
        let word = imm.put(word, (self.bytes.len() - at) as i64);
        self.patch(at, word);
    }

    fn branch(&mut self, random: &mut Random) -> usize {
        let name = random.pick(&["beq", "bne", "blt", "bge", "bltu", "bgeu"]);
        let [rs1, rs2] = [0; 2].map(|_| random.below(25) as i64);
        self.op(name, &[("rs1", rs1), ("rs2", if random.below(4) == 0 { rs1 } else { rs2 })])
    }

    /// A load-reserved and a store-conditional, and perhaps something in between, until it succeeds.
    fn atomic(&mut self, random: &mut Random) {
        let pointer = random.pick(&POINTERS);
        let width = random.pick(&["w", "d"]);
        let order = |random: &mut Random| [("aq", random.below(2) as i64), ("rl", random.below(2) as i64)];
        let [aq, rl] = order(random);
        let start = self.op(&format!("lr.{width}"), &[("rd", T[0]), ("rs1", pointer), aq, rl]);
        for _ in 0..random.below(3) {
            self.compute(random);
        }
        self.op("addi", &[("rd", T[1]), ("rs1", T[0]), ("imm", random.below(100) as i64)]);
        let [aq, rl] = order(random);
        self.op(
            &format!("sc.{width}"),
            &[("rd", T[1]), ("rs1", pointer), ("rs2", random.pick(&[T[1], 10, T[0]])), aq, rl],
        );
        // Twice at most: in between anything may have happened.
        if random.below(2) == 0 {
            let back = start as i64 - self.bytes.len() as i64;
            self.op("blt", &[("rs1", T[1]), ("rs2", 0), ("imm", back)]);
        }
    }

    fn bell(&mut self, random: &mut Random) {
        self.constant(T[1], BELL | if random.below(2) == 0 { USER } else { 0 });
        let offset = ("imm", 8 * random.below(8) as i64);
        if random.below(2) == 0 {
            self.op("lw", &[("rd", 10), ("rs1", T[1]), offset]);
        } else {
            self.op("sd", &[("rs2", 10), ("rs1", T[1]), offset]);
        }
    }

    /// An instruction that is none.
    fn undefined(&mut self, random: &mut Random) {
        loop {
            let word = random.bits() as u32 | 3;
            if length(word as u16) == 4 && Insn::decode(word, self.ext).is_none() {
                self.emit(word);
                return;
            }
        }
    }

    /// Up to the last halfword of a page, so that the next instruction may straddle.
    fn straddle(&mut self) {
        let left = 0x1000 - self.bytes.len() % 0x1000;
        if left > 256 {
            return;
        }
        for _ in 0..left / 2 - 1 {
            self.op("c.nop", &[]);
        }
    }
}

impl Writer for Code {
    fn at(&self) -> usize {
        self.bytes.len()
    }

    fn piece(&mut self, random: &mut Random) {
        self.straddle();
        match random.below(64) {
            0..=27 => self.compute(random),
            28..=44 => self.memory(random),
            45..=50 => self.point(random),
            51..=52 => self.short_skip(random),
            53 => self.atomic(random),
            54 => self.modify(random),
            55 => self.scribble(random),
            56..=57 => self.page_table(random),
            58 => self.space(random),
            59..=60 => self.control(random),
            61 => self.privilege(random),
            62 => self.bell(random),
            _ => match random.below(4) {
                0 => {
                    self.undefined(random);
                }
                1 => {
                    self.op("fence.i", &[]);
                }
                2 => {
                    self.op(random.pick(&["wfi", "ebreak", "c.ebreak", "sret", "mret"]), &[]);
                }
                _ => {
                    self.op("sfence.vma", &[]);
                }
            },
        }
    }

    fn begin_run(&mut self) -> Hole {
        let at = self.op("auipc", &[("rd", RESUME)]);
        self.op("addi", &[("rd", RESUME), ("rs1", RESUME)]);
        Hole(at)
    }

    fn end_run(&mut self, Hole(at): Hole) {
        let ahead = self.bytes.len() as i64 - at as i64;
        let low = ahead << 52 >> 52;
        self.patch(at, asm("auipc", &[("rd", RESUME), ("imm", ahead - low)]));
        self.patch(at + 4, asm("addi", &[("rd", RESUME), ("rs1", RESUME), ("imm", low)]));
    }

    fn begin_loop(&mut self, depth: usize, count: u64) -> usize {
        self.constant(COUNTERS[depth], count);
        self.bytes.len()
    }

    fn end_loop(&mut self, depth: usize, start: usize) {
        let counter = COUNTERS[depth];
        self.op("addi", &[("rd", counter), ("rs1", counter), ("imm", -1)]);
        let back = start as i64 - self.bytes.len() as i64;
        if back >= -4096 {
            self.op("bne", &[("rs1", counter), ("imm", back)]);
        } else {
            self.op("beq", &[("rs1", counter), ("imm", 8)]);
            self.op("jal", &[("imm", back - 4)]);
        }
    }

    fn skip(&mut self, random: &mut Random) -> Hole {
        let at = self.branch(random);
        let imm = insn("beq").line().field("imm").unwrap();
        let word = u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap());
        self.patch(at, imm.put(word, 8));
        self.jump()
    }

    fn jump(&mut self) -> Hole {
        Hole(self.op("jal", &[]))
    }

    fn choose(&mut self, count: usize, random: &mut Random) -> Vec<Hole> {
        let [t, u] = T;
        let test = random.pick(&[6, 7, 9, 10, 11, 12, 13, 14]);
        self.op("andi", &[("rd", t), ("rs1", test), ("imm", count as i64 - 1)]);
        self.op("slli", &[("rd", t), ("rs1", t), ("shamt", 2)]);
        self.op("auipc", &[("rd", u)]);
        self.op("add", &[("rd", u), ("rs1", u), ("rs2", t)]);
        self.op("jalr", &[("rs1", u), ("imm", 12)]);
        (0..count).map(|_| self.jump()).collect()
    }

    fn land(&mut self, Hole(at): Hole) {
        let ahead = self.bytes.len() as i64 - at as i64;
        self.patch(at, asm("jal", &[("imm", ahead)]));
    }

    fn call(&mut self, function: Function, random: &mut Random) {
        let link = LINKS[function.link];
        let back = |code: &Self| function.start as i64 - code.bytes.len() as i64;
        if random.below(3) == 0 {
            let ahead = back(self);
            let low = ahead << 52 >> 52;
            self.op("auipc", &[("rd", T[0]), ("imm", ahead - low)]);
            self.op("jalr", &[("rd", link), ("rs1", T[0]), ("imm", low)]);
        } else {
            let ahead = back(self);
            self.op("jal", &[("rd", link), ("imm", ahead)]);
        }
        (0..function.skips).for_each(|_| {
            self.op("addi", &[]);
        });
    }

    fn ret(&mut self, function: Function) {
        let link = LINKS[function.link];
        self.op("jalr", &[("rs1", link), ("imm", 4 * function.skips as i64)]);
    }

    fn has_room(&self) -> bool {
        self.bytes.len() < (CODE_END - CODE) as usize - 0x8000
    }

    fn end(&mut self) {
        self.address(RESUME, 8);
        let start = self.bytes.len();
        for user in [0, USER] {
            self.address(RESUME, 8);
            let hole = self.bytes.len() - 4;
            let from = hole - 4;
            self.constant(T[1], (BELL + 0x800) | user);
            self.op("sd", &[("rs1", T[1]), ("imm", END as i64 - 0x800)]);
            let ahead = (self.bytes.len() - from) as i64;
            self.patch(hole, asm("addi", &[("rd", RESUME), ("rs1", RESUME), ("imm", ahead)]));
        }
        let back = start as i64 - self.bytes.len() as i64;
        self.op("jal", &[("imm", back)]);
    }
}

/// The handlers of both privileged modes: an interrupt has been served, an exception goes on where the program wants it, and
/// an `ecall` goes on there with more rights.
fn handlers(code: &mut Code) -> [u64; 2] {
    let ([u, t], mut entries) = (T, [0; 2]);
    // What the trap value was is known when the handler starts; it keeps a register here.
    let modes = [
        ([csr::MSCRATCH, csr::MTVAL, csr::MCAUSE, csr::MEPC, csr::MSTATUS, csr::MIE], 11, 3, "mret"),
        ([csr::SSCRATCH, csr::STVAL, csr::SCAUSE, csr::SEPC, csr::SSTATUS, csr::SIE], 8, 1, "sret"),
    ];
    for (entry, ([scratch, tval, cause, epc, status, enable], lowest, highest, ret)) in
        entries.iter_mut().zip(modes)
    {
        let swap = |code: &mut Code, register: i64, csr: u16| {
            code.op("csrrw", &[("csr", csr.into()), ("rs1", register), ("rd", register)]);
        };
        code.bytes.resize(code.bytes.len().next_multiple_of(4), 0);
        *entry = RAM + code.bytes.len() as u64;
        swap(code, t, scratch);
        code.op("csrrs", &[("csr", cause.into()), ("rd", t)]);
        code.op("bge", &[("rs1", t), ("imm", 16)]);
        // Some stay pending when they have been served; the program may let them in again.
        code.op("csrrw", &[("csr", enable.into())]);
        swap(code, t, scratch);
        code.op(ret, &[]);
        swap(code, u, tval);
        code.op("addi", &[("rd", t), ("rs1", t), ("imm", -8)]);
        code.op("sltiu", &[("rd", t), ("rs1", t), ("imm", 4)]);
        let no_call = code.op("beq", &[]);
        code.constant(t, highest << lowest);
        code.op("csrrs", &[("csr", status.into()), ("rs1", t)]);
        let ahead = (code.bytes.len() - no_call) as i64;
        code.patch(no_call, asm("beq", &[("rs1", t), ("imm", ahead)]));
        // The address is that of the mode that it goes on in.
        code.op("slli", &[("rd", t), ("rs1", RESUME), ("shamt", 32)]);
        code.op("srli", &[("rd", t), ("rs1", t), ("shamt", 32)]);
        code.op("csrrs", &[("csr", status.into()), ("rd", u)]);
        code.op("srli", &[("rd", u), ("rs1", u), ("shamt", lowest)]);
        code.op("andi", &[("rd", u), ("rs1", u), ("imm", highest as i64)]);
        code.op("bne", &[("rs1", u), ("imm", 16)]);
        code.op("addi", &[("rd", u), ("imm", 1)]);
        code.op("slli", &[("rd", u), ("rs1", u), ("shamt", 32)]);
        code.op("or", &[("rd", t), ("rs1", t), ("rs2", u)]);
        code.op("csrrw", &[("csr", epc.into()), ("rs1", t)]);
        swap(code, u, tval);
        swap(code, t, scratch);
        code.op(ret, &[]);
    }
    entries
}

/// Puts a 64-bit word into an image.
fn put(image: &mut [u8], pa: u64, value: u64) {
    let at = (pa - RAM) as usize;
    image[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Builds the page tables: the values of `satp`, and the entries that programs change.
fn tables(image: &mut [u8], random: &mut Random) -> (Vec<u64>, Vec<(u64, u64, u32)>) {
    let mode = random.pick(&[8, 9, 10]);
    let levels = mode - 5;
    let table = |n: u64| TABLES + 0x1000 * n;
    let pointer = |pa: u64| pa >> 12 << 10 | 1;
    let leaf = |pa: u64, flags: u64| pa >> 12 << 10 | flags;
    let index = |va: u64, level: u64| va >> (12 + 9 * level) & 511;
    let mut entries = Vec::new();
    // The larger pages are the same in every space, global or not.
    for n in 0..LARGE_PAGES {
        let at = table(SHARED_LARGE) + 8 * n;
        let entry = random_entry(random, 21) | random.below(2) << 5;
        put(image, at, entry);
        entries.push((at, LARGE + (n << 21), 21));
    }
    let mut spaces = Vec::new();
    for space in 0..SPACES {
        let mut next = SPACE_TABLES * (1 + space);
        let root = next;
        let mut top = root;
        // Down to the table of gigabytes.
        for level in (3..levels).rev() {
            next += 1;
            put(image, table(top) + 8 * index(0, level), pointer(table(next)));
            top = next;
        }
        let gigabytes = table(top);
        for (user, flags) in [(0, 0xef), (USER, 0xdf)] {
            for pa in [0, 0x8000_0000] {
                put(image, gigabytes + 8 * index(pa | user, 2), leaf(pa, flags));
            }
        }
        let (megabytes, small) = (table(next + 1), table(next + 2));
        put(image, gigabytes + 8 * index(WINDOW, 2), pointer(megabytes));
        put(image, gigabytes + 8 * index(LARGE, 2), pointer(table(SHARED_LARGE)));
        put(image, megabytes, pointer(small));
        for n in 0..WINDOW_PAGES {
            put(image, small + 8 * n, random_entry(random, 12));
            entries.push((small + 8 * n, WINDOW + 0x1000 * n, 12));
        }
        // Two of them share an address-space number only if they are the same space.
        spaces.push(mode << 60 | space << 44 | table(root) >> 12);
    }
    (spaces, entries)
}

impl Guest for Riscv64 {
    type Isa = Riscv;

    const PINS: u64 = PINS;

    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let model = random.pick(MODELS);
        let mut image = vec![0; RAM_LEN as usize];
        for pa in (DATA..DATA + 0x1000 * DATA_PAGES).step_by(8) {
            put(&mut image, pa, random.value());
        }
        let (spaces, entries) = tables(&mut image, &mut random);
        let allowed = |insn: &Insn| insn.line().allowed(model.ext);
        let of = |wanted: Kind| Insn::all().filter(allowed).filter(|insn| kind(*insn) == wanted).collect();
        let (compute, memory) = (of(Kind::Compute), of(Kind::Memory));
        let satp = random.pick(&spaces);
        let mut code = Code { ext: model.ext, bytes: Vec::new(), compute, memory, spaces, entries };
        let [mtvec, stvec] = handlers(&mut code);
        let handler_bytes = std::mem::take(&mut code.bytes);
        image[..handler_bytes.len()].copy_from_slice(&handler_bytes);
        let start = program::write(&mut code, &mut random);
        assert!(code.bytes.len() <= (CODE_END - CODE) as usize, "{} bytes of code", code.bytes.len());
        let at = (CODE - RAM) as usize;
        image[at..at + code.bytes.len()].copy_from_slice(&code.bytes);

        let mut csrs = vec![(csr::MTVEC, mtvec), (csr::STVEC, stvec), (csr::SATP, satp)];
        csrs.push((csr::MSTATUS, random.bits() & 0xe_7988));
        csrs.push((csr::MENVCFG, random.bits() & (7 << 61 | 0xf0)));
        csrs.push((csr::SENVCFG, random.bits() & 0xf0));
        csrs.push((csr::MEDELEG, random.pick(&[0, u64::MAX, random.clone().bits()])));
        csrs.push((csr::MIDELEG, random.bits()));
        csrs.push((csr::MIE, random.bits()));
        if random.below(4) == 0 {
            // Protection that is finer than a page, somewhere in the data; the rest is open.
            let size = 8u64 << random.below(10);
            let base = (DATA + random.below(0x1000 * DATA_PAGES)) & !(size - 1);
            csrs.push((csr::PMPADDR0, (base >> 2) | ((size >> 3) - 1)));
            csrs.push((csr::PMPADDR0 + 1, u64::MAX));
            let rights = random.pick(&[0, 1, 3, 4, 5]);
            csrs.push((csr::PMPCFG0, 0x1f << 8 | 0x18 | rights));
        } else {
            csrs.push((csr::PMPADDR0, u64::MAX));
            csrs.push((csr::PMPCFG0, 0x1f));
        }
        let mut registers = [0; 64].map(|_: u64| random.value());
        registers[RESUME as usize] = CODE + start as u64;
        for pointer in POINTERS {
            registers[pointer as usize] = DATA + 0x1000 + random.below(0x1_0000);
        }
        Self { image, start: CODE + start as u64, csrs, registers, model: model.name }
    }

    fn isa(&self) -> Riscv {
        let model = *MODELS.iter().find(|model| model.name == self.model).unwrap();
        Riscv::new(Config { model, hart_id: 0, timebase_hz: 10_000_000, firmware_calls: false }, None)
    }

    fn image(&self) -> &[u8] {
        &self.image
    }

    fn set_up(&self, hart: &mut Vcpu<Riscv>) {
        for (slot, value) in hart.state.slots[1..64].iter_mut().zip(&self.registers[1..]) {
            *slot = *value;
        }
        hart.state.pc = self.start;
        for (number, value) in &self.csrs {
            csr_write_debug(hart, *number, *value);
        }
    }
}
