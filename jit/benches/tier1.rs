//! What translated code costs: time per guest instruction run, beside the interpreter's, and per guest instruction
//! translated. Compare the columns of one run; bare times say more about the host.

#[path = "../tests/tiny/mod.rs"]
mod tiny;

use std::sync::Arc;
use std::time::Instant;

use emu_core::exec::{BlockMap, Engine, Limits, Vcpu, VcpuParts};
use emu_core::interp::Interpreter;
use emu_core::mem::{BusBuilder, RamBuilder};
use emu_core::sync::Group;
use emu_core::time::Clock;
use jit::{Jit, JitConfig, JitShared};
use tiny::{ADD, ADDI, CALL, HALT, JNE, LD, MEMORY, RET, SD, Tiny, XOR, back, put};

/// Name, program, and what stands at 0x2000, which r5 points to; r6 points to data; r4 counts down.
type Program = (&'static str, &'static [[u8; 4]], &'static [[u8; 4]]);

const PROGRAMS: &[Program] = &[
    (
        "integers",
        &[
            [ADD, 1, 4, 0],
            [XOR, 2, 1, 0],
            [ADD, 3, 2, 0],
            [XOR, 1, 3, 0],
            [ADDI, 4, 0, 255],
            [JNE, 4, 0, back(5)],
            [HALT, 0, 0, 0],
        ],
        &[],
    ),
    (
        "memory",
        &[
            [LD, 1, 6, 0],
            [ADD, 1, 4, 0],
            [SD, 6, 1, 8],
            [LD, 2, 6, 16],
            [ADDI, 4, 0, 255],
            [JNE, 4, 0, back(5)],
            [HALT, 0, 0, 0],
        ],
        &[],
    ),
    (
        "calls",
        &[[CALL, 5, 0, 0], [ADDI, 4, 0, 255], [JNE, 4, 0, back(2)], [HALT, 0, 0, 0]],
        &[[ADD, 1, 4, 0], [RET, 0, 0, 0]],
    ),
];

fn machine() -> Vcpu<Tiny> {
    let ram = RamBuilder::new().region("memory", 0, MEMORY, true).and_then(RamBuilder::build);
    let ram = ram.unwrap_or_else(|error| panic!("{error}"));
    Vcpu::new(
        Tiny,
        VcpuParts {
            index: 0,
            bus: Arc::new(BusBuilder::new(Arc::new(ram)).build()),
            group: Arc::new(Group::new(1)),
            blocks: Arc::new(BlockMap::default()),
            clock: Clock::real_time(),
        },
    )
}

fn jit(vcpu: &Vcpu<Tiny>) -> Jit<Tiny> {
    let shared = JitShared::new::<Tiny>(JitConfig::default(), Arc::clone(vcpu.group()), vcpu.blocks());
    Jit::new(shared.unwrap_or_else(|error| panic!("{error}")))
}

fn run(engine: &mut impl Engine<Tiny>, vcpu: &mut Vcpu<Tiny>, program: &Program, rounds: u64) -> f64 {
    put(vcpu.bus.ram(), 0x1000, program.1);
    put(vcpu.bus.ram(), 0x2000, program.2);
    vcpu.sync_code();
    vcpu.state.pc = 0x1000;
    vcpu.state.slots[4] = rounds;
    vcpu.state.slots[5] = 0x2000;
    vcpu.state.slots[6] = 0x8000;
    let (begun, before) = (Instant::now(), vcpu.state.retired);
    engine.run(vcpu, Limits::NONE);
    begun.elapsed().as_nanos() as f64 / (vcpu.state.retired - before) as f64
}

fn main() {
    println!("{:<10} {:>12} {:>12}   ns per instruction", "", "interpreter", "tier 1");
    for program in PROGRAMS {
        let best = |engine: &mut dyn FnMut() -> f64| (0..5).map(|_| engine()).fold(f64::MAX, f64::min);
        let mut vcpu = machine();
        let mut interpreter = Interpreter::new();
        let slow = best(&mut || run(&mut interpreter, &mut vcpu, program, 1 << 20));
        let mut vcpu = machine();
        let mut engine = jit(&vcpu);
        let fast = best(&mut || run(&mut engine, &mut vcpu, program, 1 << 24));
        println!("{:<10} {slow:>12.2} {fast:>12.2}", program.0);
    }
    // Straight code, each block new.
    let mut vcpu = machine();
    let mut engine = jit(&vcpu);
    let block = [
        [LD, 1, 6, 0],
        [ADD, 1, 4, 0],
        [XOR, 2, 1, 0],
        [ADDI, 3, 0, 5],
        [SD, 6, 1, 8],
        [ADD, 3, 2, 0],
        [ADDI, 2, 0, 1],
        [JNE, 2, 2, 1],
    ];
    let end = MEMORY - 0x2000;
    for at in (0x1000..end).step_by(32).filter(|at| *at != 0x8000) {
        put(vcpu.bus.ram(), at, &block);
    }
    put(vcpu.bus.ram(), end, &[[HALT, 0, 0, 0]]);
    vcpu.state.slots[6] = end + 0x1000;
    let mut last = engine.stats();
    let mut best = f64::MAX;
    for _ in 0..20 {
        vcpu.state.pc = 0x9000;
        vcpu.blocks().clear();
        vcpu.sync_code();
        engine.run(&mut vcpu, Limits::NONE);
        let now = engine.stats();
        let count = now.instructions - last.instructions;
        best = best.min((now.translate_ns - last.translate_ns) as f64 / count as f64);
        last = now;
    }
    let bytes = last.code_bytes as f64 / last.instructions as f64;
    println!("translation: {best:.0} ns and {bytes:.1} bytes of host code per instruction");
}
