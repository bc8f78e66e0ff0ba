//! Two vCPUs that write, translate and run code at the same time, in a code cache that is much too small.

mod tiny;

use std::sync::Arc;
use std::thread;

use emu_core::exec::{BlockMap, Engine, Exit, HostRequest, Limits, Vcpu, VcpuParts};
use emu_core::mem::{BusBuilder, RamBuilder};
use emu_core::sync::Group;
use emu_core::time::Clock;
use jit::{Jit, JitConfig, JitShared, JitStats, RegionConfig};
use tiny::{ADD, ADDI, CALL, HALT, JNE, MEMORY, MOVI, RET, STB, SYNC, Tiny, back, put};

/// Runs a program on each of two vCPUs: it changes a function, synchronises, calls it, and counts in r6 how often the
/// result is not what it wrote. `r5` is where the function is, `r4` how often to do that.
fn stress(functions: [u64; 2], rounds: u64, config: JitConfig) -> ([Vcpu<Tiny>; 2], JitStats) {
    let ram = RamBuilder::new().region("memory", 0, MEMORY, true).and_then(RamBuilder::build).unwrap();
    for function in functions {
        // r2 = imm; r3 += r2, over some blocks; return
        put(&ram, function, &[[MOVI, 2, 0, 0], [JNE, 2, 2, 1], [ADD, 3, 2, 0], [RET, 0, 0, 0]]);
    }
    let main = [
        [ADDI, 1, 0, 1], // next value
        [STB, 5, 1, 3],  // into the function
        [SYNC, 0, 0, 0],
        [CALL, 5, 0, 0],
        [CALL, 5, 0, 0],
        [JNE, 1, 2, 6],
        [ADDI, 4, 0, back(1)],
        [JNE, 4, 0, 2],
        [HALT, 0, 0, 0],
        [JNE, 1, 3, back(9)], // r3 is always larger
        [HALT, 0, 0, 0],
        [ADDI, 6, 0, 1],
        [JNE, 6, 3, back(6)],
        [HALT, 0, 0, 0],
    ];
    let starts = [0x1000u64, 0x2000];
    starts.into_iter().for_each(|start| put(&ram, start, &main));
    let bus = Arc::new(BusBuilder::new(Arc::new(ram)).build());
    let (group, blocks) = (Arc::new(Group::new(2)), Arc::new(BlockMap::default()));
    let shared = JitShared::new::<Tiny>(config, group.clone(), &blocks).unwrap();
    let threads = [0, 1].map(|index| {
        let parts = VcpuParts {
            index,
            bus: bus.clone(),
            group: group.clone(),
            blocks: blocks.clone(),
            clock: Clock::real_time(),
        };
        let shared = shared.clone();
        thread::spawn(move || {
            let mut vcpu = Vcpu::new(Tiny, parts);
            vcpu.state.pc = starts[index];
            vcpu.state.slots[3] = 1 << 40;
            vcpu.state.slots[4] = rounds;
            vcpu.state.slots[5] = functions[index];
            let mut engine = Jit::new(shared);
            let exit = engine.run(&mut vcpu, Limits::NONE);
            assert_eq!(exit, Exit::Request(HostRequest::Firmware));
            (vcpu, engine.stats())
        })
    });
    let [(a, _), (b, stats)] = threads.map(|thread| thread.join().unwrap());
    ([a, b], stats)
}

/// Little memory for code; every other time loops become regions as soon as they are seen.
fn config(round: usize) -> JitConfig {
    let regions = RegionConfig { threshold: 1, background: false };
    let regions = (!round.is_multiple_of(2)).then_some(regions);
    JitConfig { code_bytes: 256 << 10, regions, ..JitConfig::default() }
}

/// What one vCPU writes, it runs, whatever the other does; retired instructions are exact.
#[test]
fn each_changes_its_own_function() {
    // The immediate is a signed byte, so that rounds up to 127 compare equal.
    for round in 0..40 {
        let (vcpus, stats) = stress([0x3000, 0x4000], 127, config(round));
        for vcpu in vcpus {
            assert_eq!(vcpu.state.slots[6], 0, "stale code ran");
            assert_eq!(vcpu.state.slots[4], 0);
            assert_eq!(vcpu.state.slots[3], (1 << 40) + 2 * (1..=127).sum::<u64>());
            assert_eq!(vcpu.state.retired, 127 * 17);
        }
        assert!(stats.blocks > 127 && stats.refused == 0, "{stats:?}");
    }
}

/// Both change a function of the same page; what each sees is its own function in some version not older than its own.
#[test]
fn both_change_one_page() {
    for round in 0..40 {
        let (vcpus, _) = stress([0x3000, 0x3800], 127, config(round));
        for vcpu in vcpus {
            assert_eq!(vcpu.state.slots[6], 0, "stale code ran");
            assert_eq!(vcpu.state.slots[3], (1 << 40) + 2 * (1..=127).sum::<u64>());
        }
    }
}

/// Memory for code is reused while both run.
#[test]
fn code_memory_is_reused() {
    for round in 0..2 {
        let (vcpus, stats) = stress([0x3000, 0x4000], 20_000, config(round));
        assert!(stats.evictions > 2, "{stats:?}");
        for vcpu in vcpus {
            assert_eq!(vcpu.state.slots[4], 0);
        }
    }
}
