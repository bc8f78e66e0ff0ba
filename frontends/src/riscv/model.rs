//! Named CPU models, and what device trees say of them.

use super::counters::FIRST_HPM;
use super::ext::{Ext, ExtSet};

/// A paging mode of `satp` other than Bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Paging {
    /// 39-bit virtual addresses, three levels.
    Sv39 = 8,
    /// 48-bit virtual addresses, four levels.
    Sv48 = 9,
    /// 57-bit virtual addresses, five levels.
    Sv57 = 10,
}

impl Paging {
    /// The mode with this value of `satp.MODE`.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            8 => Some(Self::Sv39),
            9 => Some(Self::Sv48),
            10 => Some(Self::Sv57),
            _ => None,
        }
    }

    /// How many levels of tables there are.
    pub const fn levels(self) -> u32 {
        self as u32 - 5
    }

    /// The device tree's `mmu-type`.
    pub const fn mmu_type(self) -> &'static str {
        match self {
            Self::Sv39 => "riscv,sv39",
            Self::Sv48 => "riscv,sv48",
            Self::Sv57 => "riscv,sv57",
        }
    }
}

/// What a hart implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people who choose.
    pub summary: &'static str,
    /// The extensions beyond RV64I with M, S and U modes.
    pub ext: ExtSet,
    /// The largest paging mode; the smaller ones are there too.
    pub paging: Paging,
    /// How many of `mhpmcounter3` to `mhpmcounter31` are there, from the first: 0 to 29.
    pub hpm_counters: u8,
}

/// What the profile RVA22S64 demands (RISC-V Profiles 1.0, §5.2 and §5.3), but for Zkt: nobody can promise how long
/// instructions take here.
const RVA22: &[Ext] = {
    use Ext::*;
    &[
        M,
        A,
        F,
        D,
        C,
        Zicbom,
        Zicbop,
        Zicboz,
        Zicntr,
        Zicsr,
        Zifencei,
        Zihintpause,
        Zihpm,
        Zfhmin,
        Zba,
        Zbb,
        Zbs,
        Svade,
        Svinval,
        Svpbmt,
    ]
};

/// The models, the default first.
pub const MODELS: &[Model] = &[
    Model {
        name: "rv64",
        summary: "everything that today's systems use, with hardware updates of A and D bits",
        ext: ExtSet::of(Ext::ALL).without(ExtSet::of(&[Ext::Svade])),
        paging: Paging::Sv57,
        hpm_counters: 16,
    },
    Model {
        name: "rva22s64",
        summary: "what the profile RVA22S64 demands, with the options Sstc, Sscofpmf and Svnapot",
        ext: ExtSet::of(RVA22).union(ExtSet::of(&[Ext::Sstc, Ext::Sscofpmf, Ext::Svnapot])),
        paging: Paging::Sv39,
        hpm_counters: 16,
    },
    Model {
        name: "max",
        summary: "everything that is implemented; A and D bits fault until menvcfg.ADUE is set",
        ext: ExtSet::of(Ext::ALL),
        paging: Paging::Sv57,
        hpm_counters: 29,
    },
];

/// Properties that every model has and that have a name of their own (RISC-V Profiles 1.0, §4 and §5): facts
/// about memory, traps and translation rather than instructions.
const ALWAYS: &[&str] = &[
    "i",
    "zic64b",
    "ziccamoa",
    "ziccif",
    "zicclsm",
    "ziccrse",
    "za64rs",
    "ssccptr",
    "sscounterenw",
    "sstvala",
    "sstvecd",
    "ssu64xl",
    "svbare",
];

/// Names that a set of extensions implies.
const IMPLIED: &[(&[Ext], &[&str])] = &[
    (&[Ext::M], &["zmmul"]),
    (&[Ext::A], &["zaamo", "zalrsc"]),
    (&[Ext::C], &["zca"]),
    (&[Ext::C, Ext::D], &["zcd"]),
    (&[Ext::Zba, Ext::Zbb, Ext::Zbs], &["b"]),
];

impl Model {
    /// The model with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// The performance counters that there are: bit *n* is `mhpmcounter`*n*.
    pub fn hpm_mask(&self) -> u32 {
        let mask = (1u64 << self.hpm_counters.min(29)) - 1;
        (mask << FIRST_HPM) as u32 // 29 bits from bit 3 on
    }

    /// The extensions' names, for the device tree's `riscv,isa-extensions`, in canonical order (Unpriv., "ISA
    /// Extension Naming Conventions").
    pub fn isa_extensions(&self) -> Vec<&'static str> {
        let mut names = ALWAYS.to_vec();
        names.extend(self.ext.iter().map(Ext::name));
        for (of, implied) in IMPLIED {
            if of.iter().all(|&ext| self.ext.has(ext)) {
                names.extend_from_slice(implied);
            }
        }
        names.sort_by_key(|name| canonical(name));
        names.dedup();
        names
    }

    /// The ISA string, for the device tree's `riscv,isa`.
    pub fn isa_string(&self) -> String {
        let mut isa = "rv64".to_owned();
        for name in self.isa_extensions() {
            if name.len() > 1 {
                isa.push('_');
            }
            isa.push_str(name);
        }
        isa
    }

    /// `misa` (Priv., "Machine ISA (misa) Register"); it is read-only.
    pub fn misa(&self) -> u64 {
        let letters = self.isa_extensions().into_iter().filter(|name| name.len() == 1).chain(["s", "u"]);
        let bit = |name: &str| name.bytes().next().map_or(0, |letter| 1 << (letter - b'a'));
        letters.map(bit).fold(2 << 62, |misa, letter| misa | letter)
    }
}

/// The key that sorts extensions canonically: single letters in their own order, then `z` by the letter that
/// follows and by name, then `s` by name.
fn canonical(name: &'static str) -> (usize, usize, &'static str) {
    const ORDER: &[u8] = b"iemafdqlcbkjtpvnh";
    let rank = |letter: Option<&u8>| ORDER.iter().position(|l| Some(l) == letter).unwrap_or(ORDER.len());
    match name.as_bytes() {
        [letter] => (0, rank(Some(letter)), name),
        [b'z', rest @ ..] => (1, rank(rest.first()), name),
        _ => (2, 0, name),
    }
}
