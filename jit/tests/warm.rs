//! Translations that are kept from one machine to the next.

mod tiny;

use std::sync::Arc;

use emu_core::exec::{BlockMap, Engine, Exit, HostRequest, Limits, Vcpu, VcpuParts};
use emu_core::mem::{BusBuilder, RamBuilder};
use emu_core::sync::Group;
use emu_core::time::Clock;
use jit::{Jit, JitConfig, JitShared, JitStats};
use tiny::{ADD, ADDI, CALL, HALT, JNE, MEMORY, MOVI, RET, STB, SYNC, Tiny, back, put};

/// Calls a function r4 times.
const MAIN: &[[u8; 4]] = &[[CALL, 5, 0, 0], [ADDI, 4, 0, back(1)], [JNE, 4, 0, back(2)], [HALT, 0, 0, 0]];
/// r3 += 1, over some blocks.
const FUNCTION: &[[u8; 4]] = &[[MOVI, 2, 0, 1], [JNE, 2, 2, 1], [ADD, 3, 2, 0], [RET, 0, 0, 0]];
/// The same, and r3 += 2 in another way.
const OTHER: &[[u8; 4]] = &[[MOVI, 2, 0, 2], [JNE, 2, 2, 1], [ADD, 3, 2, 0], [RET, 0, 0, 0]];
/// Changes the immediate of the function's first instruction, and calls it, r4 times; what it was last is 1.
const CHANGES: &[[u8; 4]] = &[
    [STB, 5, 4, 3],
    [SYNC, 0, 0, 0],
    [CALL, 5, 0, 0],
    [ADDI, 4, 0, back(1)],
    [JNE, 4, 0, back(4)],
    [HALT, 0, 0, 0],
];

const ROUNDS: u64 = 5;

/// Runs a program with what was kept of others: r3, what it has done, and what it keeps.
fn run(main: &[[u8; 4]], function: &[[u8; 4]], kept: Option<&[u8]>) -> (u64, JitStats, Option<Vec<u8>>) {
    let ram = RamBuilder::new().region("memory", 0, MEMORY, true).and_then(RamBuilder::build).unwrap();
    put(&ram, 0x1000, main);
    put(&ram, 0x2000, function);
    let (group, blocks) = (Arc::new(Group::new(1)), Arc::new(BlockMap::default()));
    let config = JitConfig { code_bytes: 1 << 20, regions: None, keeps: true, ..JitConfig::default() };
    let shared = JitShared::new::<Tiny>(config, group.clone(), &blocks).unwrap();
    if let Some(kept) = kept {
        shared.load(kept.to_vec()).unwrap();
    }
    let bus = Arc::new(BusBuilder::new(Arc::new(ram)).build());
    let parts = VcpuParts { index: 0, bus, group, blocks, clock: Clock::real_time() };
    let mut vcpu = Vcpu::new(Tiny, parts);
    vcpu.state.pc = 0x1000;
    vcpu.state.slots[4] = ROUNDS;
    vcpu.state.slots[5] = 0x2000;
    let exit = Jit::new(shared.clone()).run(&mut vcpu, Limits::NONE);
    assert_eq!(exit, Exit::Request(HostRequest::Firmware));
    (vcpu.state.slots[3], shared.stats(), shared.save())
}

#[test]
fn what_is_kept_is_not_translated_again() {
    let (sum, cold, kept) = run(MAIN, FUNCTION, None);
    assert_eq!((sum, cold.kept_blocks), (ROUNDS, 0), "{cold:?}");
    let kept = kept.unwrap();
    let (sum, warm, more) = run(MAIN, FUNCTION, Some(&kept));
    assert_eq!((sum, warm.blocks, warm.kept_misses), (ROUNDS, 0, 0), "{warm:?}");
    assert!(warm.kept_blocks >= cold.blocks && warm.kept_loaded == cold.blocks, "{warm:?}");
    assert_eq!(warm.kept_pages, 2, "MAIN's and the function's");
    assert_eq!(warm.kept_instructions, cold.instructions);
    assert_eq!(more, None, "nothing is new");
}

#[test]
fn another_code_at_the_same_place_is_translated() {
    let (.., kept) = run(MAIN, FUNCTION, None);
    let (sum, warm, more) = run(MAIN, OTHER, kept.as_deref());
    assert_eq!(sum, 2 * ROUNDS);
    // The first of the function's blocks.
    assert_eq!(warm.blocks, 1, "{warm:?}");
    for (function, each) in [(FUNCTION, 1), (OTHER, 2)] {
        let (sum, warm, _) = run(MAIN, function, more.as_deref());
        assert_eq!((sum, warm.blocks), (each * ROUNDS, 0), "{warm:?}");
        assert_eq!(warm.kept_pages, 2, "what is new belongs to the page where it was found");
    }
}

#[test]
fn code_that_changes_is_found_in_each_version() {
    let expected = (1..=ROUNDS).sum();
    let (sum, cold, kept) = run(CHANGES, FUNCTION, None);
    assert_eq!(sum, expected);
    // The block behind the one that changes is found again within this run.
    assert!(cold.kept_blocks >= ROUNDS - 1, "{cold:?}");
    let (sum, warm, _) = run(CHANGES, FUNCTION, kept.as_deref());
    assert_eq!((sum, warm.blocks), (expected, 0), "{warm:?}");
}

#[test]
fn damage_is_noticed_or_does_no_harm() {
    let (.., kept) = run(MAIN, FUNCTION, None);
    let kept = kept.unwrap();
    let load = |bytes: &[u8]| {
        let (group, blocks) = (Arc::new(Group::new(1)), Arc::new(BlockMap::default()));
        let config = JitConfig { regions: None, sampled: false, keeps: true, ..JitConfig::default() };
        JitShared::new::<Tiny>(config, group, &blocks).unwrap().load(bytes.to_vec())
    };
    assert!(load(&kept).is_ok());
    for len in 0..kept.len() {
        assert!(load(&kept[..len]).is_err(), "{len} bytes");
    }
    for at in 0..kept.len() {
        for bit in [0, 3, 7] {
            let mut damaged = kept.clone();
            damaged[at] ^= 1 << bit;
            // Whoever keeps it has to notice what this does not; here nothing may be out of range.
            let _ = load(&damaged);
        }
    }
    assert!(load(b"").is_err() && load(b"something else, which is no set").is_err());
}
