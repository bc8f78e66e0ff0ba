//! Test support: vCPUs on flat memory, a toy instruction set, golden files in the text form of the IR, and random numbers.
//!
//! It is public so that every executor of the IR, here and in other crates, runs the same files and machines.
//!
//! A golden file holds cases separated by lines of three dashes:
//!
//! ```text
//! in a0=0x5 a1=0x7                 ; slots before; the rest are zero
//! mem 0x10000=8877665544332211     ; bytes of memory before, in order of address
//! block 0x0 ctx 0x0 {
//!   @0x0 4
//!     $a2 = add.i64 $a0, $a1
//!     jump 0x4
//! }
//! out a2=0xc pc=0x4 retired=0x1    ; what has changed, written by the bless command
//! ```

mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::exec::{
    Access, BlockMap, Exception, FetchCode, Isa, Mode, Perms, SpaceId, Stop, Translation, Vcpu, VcpuParts,
};
use crate::ir::{Block, BlockBuilder, BlockKey, Class, SlotInfo, View, parse};
use crate::mem::{BusBuilder, RamBuilder};
use crate::sync::Group;
use crate::time::Clock;

pub use random::{Random, seeds};

/// First address of the toy machine's memory; virtual addresses are physical ones.
pub const MEMORY_BASE: u64 = 0x1_0000;
/// Bytes of memory.
pub const MEMORY_LEN: u64 = 0x1_0000;

/// The toy instruction set: registers, but no instructions. Blocks come from tests.
#[derive(Debug, Default)]
pub struct Toy;

impl Toy {
    /// Exception: nothing is at the address.
    pub const FAULT: u64 = 5;
    /// Exception: an atomic access is misaligned.
    pub const MISALIGNED: u64 = 6;
    /// Helper: the sum of its arguments.
    pub const HELPER_SUM: u16 = 1;
    /// Helper: raises exception 100 with its first argument.
    pub const HELPER_RAISE: u16 = 2;
}

const fn slot(name: &'static str, class: Class, index: u16) -> SlotInfo {
    SlotInfo { name, class, index }
}

/// The only mode of an instruction set whose virtual addresses are physical ones.
pub fn flat_mode() -> Mode {
    let space = SpaceId { mode: 0, per_asid: false, asid: 0 };
    Mode { ctx: 0, fetch: space, data: [space; View::ALL.len()], window: false }
}

/// How it translates an address: to itself, with all permissions.
pub fn flat(va: u64) -> Translation {
    let perms = Perms { read: true, write: true, fetch: true };
    Translation { pa: va, perms, page_bits: 12, global: true, cacheable: true, context: 0 }
}

impl Isa for Toy {
    const SLOTS: &'static [SlotInfo] = &[
        slot("a0", Class::Int, 0),
        slot("a1", Class::Int, 1),
        slot("a2", Class::Int, 2),
        slot("a3", Class::Int, 3),
        slot("a4", Class::Int, 4),
        slot("a5", Class::Int, 5),
        slot("a6", Class::Int, 6),
        slot("a7", Class::Int, 7),
        slot("f0", Class::Float, 8),
        slot("f1", Class::Float, 9),
        slot("f2", Class::Float, 10),
        slot("f3", Class::Float, 11),
        slot("v0", Class::Vec, 12),
        slot("v1", Class::Vec, 14),
        slot("v2", Class::Vec, 16),
        slot("v3", Class::Vec, 18),
    ];

    // Some are left out, so that tests meet both kinds.
    const HOT_SLOTS: &'static [u16] = &[0, 1, 3, 4, 6];

    fn lift(
        &self,
        _builder: &mut BlockBuilder,
        _key: BlockKey,
        _start: u32,
        _code: &mut dyn FetchCode,
        _limit: usize,
    ) -> Result<Block, Exception> {
        Err(Exception::new(2, 0))
    }

    fn mode(&self) -> Mode {
        flat_mode()
    }

    fn translate(
        _: &mut Vcpu<Self>,
        va: u64,
        _: usize,
        _: Access,
        _: View,
    ) -> Result<Translation, Exception> {
        if !(MEMORY_BASE..MEMORY_BASE + MEMORY_LEN).contains(&va) {
            return Err(Exception::new(Self::FAULT, va));
        }
        Ok(flat(va))
    }

    fn access_fault(&self, va: u64, _: Access) -> Exception {
        Exception::new(Self::FAULT, va)
    }

    fn misaligned(&self, va: u64, _: Access) -> Exception {
        Exception::new(Self::MISALIGNED, va)
    }

    fn raise(_: &mut Vcpu<Self>, _: Exception) {}

    fn pending_interrupt(_: &mut Vcpu<Self>) -> Option<Exception> {
        None
    }

    fn call(vcpu: &mut Vcpu<Self>, id: u16, args: [u64; 3]) -> Result<u64, Stop> {
        match id {
            Self::HELPER_SUM => Ok(args.into_iter().fold(0, u64::wrapping_add)),
            _ => Err(Exception { cause: 100, value: args[0], extra: vcpu.state.pc }.into()),
        }
    }
}

/// A machine with one toy vCPU.
pub fn toy_machine() -> Vcpu<Toy> {
    vcpu(Toy, 1, &[(MEMORY_BASE, MEMORY_LEN, true)])
}

/// The first of `count` vCPUs of a machine with these regions of memory: base, length, and whether it can be written.
///
/// # Panics
/// If there can be no such memory.
pub fn vcpu<I: Isa>(isa: I, count: usize, regions: &[(u64, u64, bool)]) -> Vcpu<I> {
    let all = regions.iter().try_fold(RamBuilder::new(), |builder, &(base, len, writable)| {
        builder.region(if writable { "ram" } else { "rom" }, base, len, writable)
    });
    let ram = all.and_then(RamBuilder::build).unwrap_or_else(|error| panic!("{error}"));
    let parts = VcpuParts {
        index: 0,
        bus: Arc::new(BusBuilder::new(Arc::new(ram)).build()),
        group: Arc::new(Group::new(count)),
        blocks: Arc::new(BlockMap::default()),
        clock: Clock::real_time(),
    };
    Vcpu::new(isa, parts)
}

/// Runs every case of the golden file at `path` on a fresh toy machine with `execute`, and compares what changed with what
/// the file says. With the environment variable `BLESS` set, writes the file instead.
///
/// # Panics
/// If the file cannot be read, a case cannot be parsed or does not round-trip, or an outcome is not the expected one.
pub fn run_golden(path: &Path, mut execute: impl FnMut(&mut Vcpu<Toy>, &Block) -> Result<(), Stop>) {
    let shown = path.display();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut blessed = Vec::new();
    let mut failures = String::new();
    for (number, case) in text.split("\n---\n").enumerate() {
        let outcome = run_case(case, &mut execute)
            .unwrap_or_else(|problem| panic!("{shown}, case {}: {problem}", number + 1));
        let body: Vec<&str> = case.lines().filter(|line| !line.starts_with("out")).collect();
        let body = body.join("\n");
        let fresh = format!("{}\n{outcome}", body.trim_end());
        if case.trim_end() != fresh.trim_end() {
            let _ = write!(failures, "\ncase {}: expected\n{case}\n-- got\n{fresh}\n", number + 1);
        }
        blessed.push(fresh);
    }
    if std::env::var_os("BLESS").is_some() {
        let text = blessed.join("\n---\n") + "\n";
        std::fs::write(path, text).unwrap_or_else(|error| panic!("{shown}: {error}"));
    } else {
        assert!(failures.is_empty(), "{shown}:{failures}\nRun with BLESS=1 if the new outcome is right.");
    }
}

fn run_case(
    case: &str,
    execute: &mut impl FnMut(&mut Vcpu<Toy>, &Block) -> Result<(), Stop>,
) -> Result<String, String> {
    let mut vcpu = toy_machine();
    let mut body = String::new();
    for line in case.lines() {
        let plain = line.split(';').next().unwrap_or_default();
        let mut words = plain.split_whitespace();
        match words.next() {
            Some("in") => words.try_for_each(|word| set(&mut vcpu, word))?,
            Some("mem") => words.try_for_each(|word| fill(&mut vcpu, word))?,
            Some("out") => {}
            _ => {
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    let block = parse(&body, Toy::SLOTS).map_err(|error| error.to_string())?;
    let printed = block.display(Toy::SLOTS).to_string();
    let again = parse(&printed, Toy::SLOTS).map_err(|error| format!("{error} in\n{printed}"))?;
    if again.display(Toy::SLOTS).to_string() != printed {
        return Err(format!("does not round-trip:\n{printed}"));
    }
    let before = observe(&vcpu);
    let stop = execute(&mut vcpu, &block);
    let after = observe(&vcpu);
    let mut out = String::from("out");
    // Memory that is zero is not among what is observed.
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let value = after.get(name).copied().unwrap_or(0);
        if before.get(name).copied().unwrap_or(0) != value {
            let _ = write!(out, " {name}={value:#x}");
        }
    }
    match stop {
        Ok(()) => {}
        Err(Stop::Exception(e)) => {
            let _ = write!(out, " exception={:#x}:{:#x}", e.cause, e.value);
        }
        Err(Stop::Host(request)) => {
            let _ = write!(out, " host={request:?}");
        }
    }
    Ok(out)
}

/// Everything that a case can change, by name.
fn observe(vcpu: &Vcpu<Toy>) -> BTreeMap<String, u128> {
    let mut all = BTreeMap::new();
    let state = &vcpu.state;
    for slot in Toy::SLOTS {
        let at = usize::from(slot.index);
        let high = if slot.class == Class::Vec { state.slots[at + 1] } else { 0 };
        all.insert(slot.name.to_owned(), u128::from(state.slots[at]) | u128::from(high) << 64);
    }
    all.insert("pc".into(), state.pc.into());
    all.insert("retired".into(), state.retired.into());
    all.insert("fflags".into(), state.fp_flags.into());
    for unit in 0..(MEMORY_LEN / 8) as usize {
        let value: u64 = vcpu.bus.ram().load(unit * 8);
        if value != 0 {
            all.insert(format!("[{:#x}]", MEMORY_BASE + unit as u64 * 8), value.into());
        }
    }
    for (i, bytes) in state.vectors.chunks(16).enumerate() {
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte));
        all.insert(format!("file{i}"), value);
    }
    all
}

fn set(vcpu: &mut Vcpu<Toy>, word: &str) -> Result<(), String> {
    let (name, value) = word.split_once('=').ok_or_else(|| format!("expected NAME=VALUE, not `{word}`"))?;
    let value =
        u128::from_str_radix(value.trim_start_matches("0x"), 16).map_err(|e| format!("{word}: {e}"))?;
    if name == "pc" {
        vcpu.state.pc = value as u64;
        return Ok(());
    }
    if let Some(n) = name.strip_prefix("file") {
        let at = n.parse::<usize>().map_err(|e| format!("{word}: {e}"))? * 16;
        let len = vcpu.state.vectors.len().max(at + 16);
        vcpu.state.vectors.resize(len, 0);
        vcpu.state.vectors[at..at + 16].copy_from_slice(&value.to_le_bytes());
        return Ok(());
    }
    let slot = Toy::SLOTS.iter().find(|slot| slot.name == name).ok_or_else(|| format!("no slot `{name}`"))?;
    vcpu.state.slots[usize::from(slot.index)] = value as u64;
    if slot.class == Class::Vec {
        vcpu.state.slots[usize::from(slot.index) + 1] = (value >> 64) as u64;
    }
    Ok(())
}

fn fill(vcpu: &mut Vcpu<Toy>, word: &str) -> Result<(), String> {
    let bad = || format!("expected ADDRESS=BYTES, not `{word}`");
    let (address, bytes) = word.split_once('=').ok_or_else(bad)?;
    let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).map_err(|_| bad())?;
    let offset = vcpu.bus.ram().offset_of(address, bytes.len() as u64 / 2).ok_or_else(bad)?;
    for i in 0..bytes.len() / 2 {
        let byte = u8::from_str_radix(&bytes[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        vcpu.bus.ram().store(offset + i, byte);
    }
    Ok(())
}
