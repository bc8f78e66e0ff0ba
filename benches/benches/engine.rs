//! The engines: guest instructions per second, and address translation.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use benches::{DATA, RAM, bare_hart, programs, run_program};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emu_core::exec::{Access, Engine, Isa, Vcpu};
use emu_core::interp::Interpreter;
use emu_core::ir::View;
use emu_core::mem::Flush;
use frontends::riscv::{Hart, Riscv, enter_supervisor};
use jit::{Jit, JitConfig, JitShared, RegionConfig};
use rustix::time::{ClockId, clock_gettime};

/// An engine by name, for the machine of a hart.
type MakeEngine = fn(&Hart) -> Box<dyn Engine<Riscv>>;

const ENGINES: [(&str, MakeEngine); 3] = [
    ("interpreter", |_| Box::new(Interpreter::new())),
    ("tier1", |hart| Box::new(jit(hart, None))),
    // Loops are found while criterion warms up.
    ("tier2", |hart| Box::new(jit(hart, Some(RegionConfig::default())))),
];

fn jit(hart: &Hart, regions: Option<RegionConfig>) -> Jit<Riscv> {
    let config = JitConfig { code_bytes: 8 << 20, regions, ..JitConfig::default() };
    let shared = JitShared::new::<Riscv>(config, Arc::clone(hart.group()), hart.blocks());
    Jit::new(shared.expect("code memory"))
}

/// One iteration runs a loop a thousand times; an element is a guest instruction.
fn loops(c: &mut Criterion) {
    for (name, program) in
        [("integer", programs::integer()), ("memory", programs::memory()), ("calls", programs::calls())]
    {
        let mut group = c.benchmark_group(format!("run/{name}"));
        for (engine_name, make) in ENGINES {
            let mut hart = bare_hart(&program);
            let mut engine = make(&hart);
            group.throughput(Throughput::Elements(run_program(engine.as_mut(), &mut hart)));
            group.bench_function(engine_name, |b| b.iter(|| run_program(engine.as_mut(), &mut hart)));
        }
    }
}

/// One iteration lifts, translates and runs 800 blocks of five instructions that have not run before; an element is a guest
/// instruction.
fn first_run(c: &mut Criterion) {
    let mut group = c.benchmark_group("first_run");
    for &(engine_name, make) in &ENGINES[..2] {
        let mut hart = bare_hart(&programs::straight(800));
        let mut engine = make(&hart);
        group.throughput(Throughput::Elements(run_program(engine.as_mut(), &mut hart)));
        group.bench_function(engine_name, |b| {
            b.iter(|| {
                hart.blocks().clear();
                hart.sync_code();
                run_program(engine.as_mut(), &mut hart)
            })
        });
    }
}

/// One iteration runs 1200 blocks of ordinary code that have not run before, an element being a guest instruction. Next to
/// what lifting, translating, publishing and linking take, running them once is nothing. It is the thread's CPU time that is
/// measured, which a busy host disturbs less.
fn translate(c: &mut Criterion) {
    let cpu_time = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let mut hart = bare_hart(&programs::mixed(1200));
    let mut engine = jit(&hart, None);
    let mut group = c.benchmark_group("translate");
    group.throughput(Throughput::Elements(run_program(&mut engine, &mut hart)));
    group.bench_function("tier1", |b| {
        b.iter_custom(|iterations| {
            let mut time = Duration::ZERO;
            for _ in 0..iterations {
                hart.blocks().clear();
                hart.sync_code();
                let begun = cpu_time();
                run_program(&mut engine, &mut hart);
                time += cpu_time() - begun;
            }
            time
        })
    });
    assert_eq!(engine.stats().refused, 0, "blocks that are not translated cost nothing");
}

/// Pages that the tables of [`paged_hart`] map, one by one.
const PAGES: u64 = 4096;
/// Where.
const VA: u64 = 0x40_0000_0000 - (1 << 30);

/// A hart in S-mode with Sv39, and [`PAGES`] pages of 4 KiB mapped at [`VA`] to the memory from [`DATA`] on.
fn paged_hart() -> Hart {
    let mut hart = bare_hart(&[]);
    let root = RAM + 0x1_0000;
    let (middle, leaves) = (root + 0x1000, root + 0x2000);
    let store = |hart: &Vcpu<Riscv>, pa: u64, entry: u64| {
        let ram = hart.bus.ram();
        ram.store(ram.offset_of(pa, 8).expect("in memory"), entry);
    };
    const V: u64 = 1;
    const RWAD: u64 = 0xc7;
    store(&hart, root + (VA >> 30 & 511) * 8, middle >> 2 | V);
    for table in 0..PAGES / 512 {
        store(&hart, middle + table * 8, (leaves + table * 4096) >> 2 | V);
    }
    for page in 0..PAGES {
        store(&hart, leaves + page * 8, (DATA + page * 4096) >> 2 | RWAD);
    }
    const PMPADDR0: u16 = 0x3b0;
    const PMPCFG0: u16 = 0x3a0;
    const SATP: u16 = 0x180;
    let csrs = [(PMPADDR0, u64::MAX >> 10), (PMPCFG0, 0x1f), (SATP, 8 << 60 | root >> 12)];
    enter_supervisor(&mut hart, RAM, 0, 0, &csrs);
    hart
}

/// Address translation. One iteration of `walk` walks three levels of tables; of `miss`, loads from a page that is not in
/// the TLB, fill included; of `load_hit` and `store_hit`, accesses one that is.
fn translation(c: &mut Criterion) {
    let mut hart = paged_hart();
    let mut group = c.benchmark_group("translation");
    group.throughput(Throughput::Elements(1));
    group.bench_function("walk", |b| {
        let walk = |hart: &mut Hart, va| Riscv::translate(hart, va, 8, Access::Read, View::Current);
        assert_eq!(walk(&mut hart, VA + 8).map(|t| t.pa), Ok(DATA + 8));
        b.iter(|| walk(&mut hart, black_box(VA + 8)))
    });
    // Over all calls of the benchmark: one that began again at the first page would hit.
    let mut page = 0;
    group.bench_function("miss", |b| {
        let fills = hart.mmu.fills;
        let mut loads = 0;
        b.iter(|| {
            page = (page + 1) % PAGES;
            loads += 1;
            hart.load_unit::<u64>(View::Current, VA + page * 4096)
        });
        assert!(hart.mmu.fills - fills >= loads, "there were hits");
    });
    hart.mmu.flush(Flush::ALL);
    group.bench_function("load_hit", |b| b.iter(|| hart.load_unit::<u64>(View::Current, black_box(VA + 16))));
    group
        .bench_function("store_hit", |b| b.iter(|| hart.store_unit(View::Current, black_box(VA + 16), 1u64)));
}

criterion_group!(benches, loops, first_run, translate, translation);
criterion_main!(benches);
