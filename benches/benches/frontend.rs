//! The front end: decoding and lifting.

use benches::code::CODE;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use emu_core::exec::{Exception, FetchCode};
use emu_core::ir::{BlockBuilder, BlockKey};
use frontends::riscv::decode::{Insn, length};
use frontends::riscv::{Context, MODELS, Privilege, lift};

/// A page of ordinary code: [`CODE`] as often as it fits.
fn page() -> Vec<u16> {
    let halves = CODE.iter().flat_map(|word| [*word as u16, (word >> 16) as u16]);
    halves.cycle().take(2048).collect()
}

/// The instructions of the page.
fn instructions(page: &[u16]) -> Vec<u32> {
    let mut words = Vec::new();
    let mut at = 0;
    while at + 1 < page.len() {
        words.push(u32::from(page[at]) | u32::from(page[at + 1]) << 16);
        at += usize::from(length(page[at])) / 2;
    }
    words
}

/// One random instruction of each line of the tables, twenty times over.
fn random_instructions() -> Vec<u32> {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..20)
        .flat_map(|_| Insn::all().map(|insn| insn.line().random(&mut random)).collect::<Vec<_>>())
        .collect()
}

/// One iteration decodes a page of compiled code, or twenty random words of each instruction.
fn decode(c: &mut Criterion) {
    let ext = MODELS[0].ext;
    let mut group = c.benchmark_group("decode");
    for (name, words) in [("compiled", instructions(&page())), ("random", random_instructions())] {
        group.throughput(Throughput::Elements(words.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| words.iter().filter(|word| Insn::decode(**word, ext).is_some()).count())
        });
    }
}

struct Page(Vec<u16>);

impl FetchCode for Page {
    fn half(&mut self, offset: u32) -> Result<u16, Exception> {
        self.0.get(offset as usize / 2).copied().ok_or(Exception::new(12, 4096))
    }
}

/// One iteration lifts a page of compiled code, block by block.
fn lift_page(c: &mut Criterion) {
    let ctx = Context { privilege: Privilege::User, fp_on: true, fp_dirty: true, frm: 0, zero: false };
    let mut page = Page(page());
    let mut builder = BlockBuilder::new();
    let mut lift_all = move || {
        let (mut start, mut instructions) = (0, 0);
        while start < 4096 {
            let key = BlockKey { pa: start.into(), ctx: ctx.bits() };
            let Ok(block) = lift::lift(MODELS[0].ext, &mut builder, key, start, &mut page, usize::MAX) else {
                break;
            };
            instructions += block.len() as u64;
            start += block.code_len() as u32;
        }
        instructions
    };
    let mut group = c.benchmark_group("lift");
    group.throughput(Throughput::Elements(lift_all()));
    group.bench_function("compiled", |b| b.iter_batched(|| (), |()| lift_all(), BatchSize::SmallInput));
}

criterion_group!(benches, decode, lift_page);
criterion_main!(benches);
