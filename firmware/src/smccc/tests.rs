use emu_core::mem::Ram;

use super::function::*;
use super::*;
use crate::testing::{Rng, memory};

const BASE: u64 = 0x8000_0000;
const MEMORY: u64 = 0x10_0000;

struct Mock {
    _ram: Ram,
    memory: GuestMemory,
    woken: Vec<usize>,
    entropy: bool,
}

impl Platform for Mock {
    fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    fn wake(&mut self, cpu: usize) {
        self.woken.push(cpu);
    }

    fn random(&mut self, bytes: &mut [u8]) -> bool {
        bytes.fill(0xa5);
        self.entropy
    }
}

struct Rig {
    smccc: Smccc,
    mock: Mock,
}

impl Rig {
    /// Four CPUs, the first of which runs.
    fn new() -> Self {
        let (ram, memory) = memory(MEMORY);
        let smccc = Smccc::new(4);
        assert!(smccc.boot(0, BASE, 0x77));
        assert_eq!(smccc.poll_start(0), Some(EntryState { pc: BASE, x0: 0x77 }));
        Self { smccc, mock: Mock { _ram: ram, memory, woken: Vec::new(), entropy: true } }
    }

    fn call(&mut self, cpu: usize, function: u32, args: [u64; 3]) -> Outcome {
        let [a1, a2, a3] = args;
        self.smccc.call(cpu, &[function.into(), a1, a2, a3], &mut self.mock)
    }

    /// The code that a call returns.
    fn code(&mut self, cpu: usize, function: u32, args: [u64; 3]) -> i64 {
        match self.call(cpu, function, args) {
            Outcome::Return(x0) => x0 as i64,
            other => panic!("{function:#x}: {other:?}"),
        }
    }
}

#[test]
fn versions_and_features() {
    let mut rig = Rig::new();
    assert_eq!(rig.code(0, VERSION, [0; 3]), 0x1_0001);
    assert_eq!(rig.code(0, 0x8000_0000, [0; 3]), 0x1_0002);
    assert_eq!(rig.code(0, 0x8400_0050, [0; 3]), 0x1_0000);
    assert_eq!(rig.code(0, MIGRATE_INFO_TYPE, [0; 3]), 2);
    for function in
        [CPU_SUSPEND, CPU_OFF, CPU_ON, 0x8400_0003, SYSTEM_OFF, SYSTEM_RESET2, FEATURES, 0x8000_0000]
    {
        assert_eq!(rig.code(0, FEATURES, [function.into(), 0, 0]), 0, "{function:#x}");
    }
    for function in [MIGRATE, 0x8400_0007, 0x8400_000b, 0xc400_000e, 0x8400_0050, 0] {
        assert_eq!(rig.code(0, FEATURES, [function.into(), 0, 0]), -1, "{function:#x}");
    }
    // No CPU needs a work-around.
    for function in [0x8000_8000, 0x8000_7fff, 0x8000_3fff] {
        assert_eq!(rig.code(0, 0x8000_0001, [function.into(), 0, 0]), 1, "{function:#x}");
        assert_eq!(rig.code(0, function, [0; 3]), 0);
    }
    assert_eq!(rig.code(0, 0x8000_0001, [0x8000_0001, 0, 0]), 0);
    for unknown in [0x8000_0002, 0x8400_001f, MIGRATE, 0xc400_0008, 0x8600_ff01, 0x0400_0003, 0, u32::MAX] {
        assert_eq!(rig.code(0, unknown, [0; 3]), -1, "{unknown:#x}");
        assert_eq!(rig.code(0, 0x8000_0001, [unknown.into(), 0, 0]), -1, "{unknown:#x}");
    }
    // Only the lower half of x0 names the function.
    assert_eq!(
        rig.smccc.call(0, &[1 << 32 | 0x8400_0000, 0, 0, 0], &mut rig.mock),
        Outcome::Return(0x1_0001)
    );
    assert_eq!(rig.code(9, VERSION, [0; 3]), -1, "no such CPU");
}

#[test]
fn cpus_go_on_and_off() {
    let mut rig = Rig::new();
    let entry = BASE + 0x1000;
    assert_eq!(rig.code(0, AFFINITY_INFO, [1, 0, 0]), 1);
    assert_eq!(rig.code(0, CPU_ON, [1, entry, 5]), 0);
    assert_eq!(rig.code(0, AFFINITY_INFO, [1, 0, 0]), 2);
    assert_eq!(rig.mock.woken, [1]);
    assert_eq!(rig.code(0, CPU_ON, [1, entry, 5]), -5);
    assert_eq!(rig.smccc.poll_start(1), Some(EntryState { pc: entry, x0: 5 }));
    assert_eq!((rig.smccc.poll_start(1), rig.code(0, AFFINITY_INFO, [1, 0, 0])), (None, 0));
    assert_eq!((rig.code(0, CPU_ON, [1, entry, 5]), rig.code(1, CPU_ON, [0, entry, 5])), (-4, -4));
    assert_eq!(rig.call(1, CPU_OFF, [0; 3]), Outcome::Stop);
    assert_eq!(rig.code(0, AFFINITY_INFO, [1, 0, 0]), 0, "it has not stopped yet");
    assert_eq!(rig.code(0, CPU_ON, [1, entry, 5]), -4);
    assert_eq!(rig.smccc.poll_start(1), None);
    assert_eq!(rig.code(0, AFFINITY_INFO, [1, 0, 0]), 1);
    // The 32-bit call sees the lower halves of its arguments.
    assert_eq!(rig.code(0, 0x8400_0003, [1 << 40 | 1, 1 << 33 | entry, u64::MAX]), 0);
    assert_eq!(rig.smccc.poll_start(1), Some(EntryState { pc: entry, x0: 0xffff_ffff }));
    for (target, address, code) in [
        (4, entry, -2),
        (1 << 8, entry, -2),
        (1 << 31 | 2, entry, -2),
        (u64::MAX, entry, -2),
        (2, 0, -9),
        (2, entry + 2, -9),
        (2, BASE + MEMORY, -9),
        (2, !3, -9),
    ] {
        assert_eq!(rig.code(0, CPU_ON, [target, address, 0]), code, "{target:#x} {address:#x}");
    }
    assert_eq!((rig.code(0, AFFINITY_INFO, [9, 0, 0]), rig.code(0, AFFINITY_INFO, [0, 1, 0])), (-2, -2));
    rig.smccc.reset();
    assert_eq!(
        (0..5).map(|cpu| rig.smccc.state(cpu)).collect::<Vec<_>>(),
        [
            Some(RunState::Stopped),
            Some(RunState::Stopped),
            Some(RunState::Stopped),
            Some(RunState::Stopped),
            None
        ]
    );
}

#[test]
fn cpus_sleep() {
    let mut rig = Rig::new();
    assert_eq!(rig.call(0, CPU_SUSPEND, [0x42, 0, 0]), Outcome::Suspend);
    assert_eq!((rig.code(0, AFFINITY_INFO, [0, 0, 0]), rig.smccc.resume(0)), (0, Resume::Return));
    assert_eq!(rig.call(0, CPU_SUSPEND, [1 << 24 | 1 << 16, BASE + 8, 9]), Outcome::Suspend);
    assert_eq!(rig.smccc.resume(0), Resume::Enter(EntryState { pc: BASE + 8, x0: 9 }));
    assert_eq!(rig.smccc.resume(0), Resume::Return, "it does not sleep any more");
    assert_eq!(rig.code(0, CPU_SUSPEND, [1 << 16, 3, 0]), -9);
    assert_eq!(rig.code(0, CPU_SUSPEND, [1 << 31, BASE, 0]), -2);
    assert_eq!(rig.smccc.state(0), Some(RunState::Started));
}

#[test]
fn the_system_goes_off_or_starts_anew() {
    let mut rig = Rig::new();
    let (off, reset) = (PowerRequest::Off { code: 0 }, PowerRequest::Reset);
    assert_eq!(rig.call(0, SYSTEM_OFF, [0; 3]), Outcome::Power(off));
    assert_eq!(rig.call(0, SYSTEM_RESET, [0; 3]), Outcome::Power(reset));
    assert_eq!(rig.call(0, SYSTEM_RESET2, [0; 3]), Outcome::Power(reset));
    assert_eq!(rig.call(0, 0x8400_0012, [0; 3]), Outcome::Power(reset));
    assert_eq!(rig.code(0, SYSTEM_RESET2, [1, 0, 0]), -2);
    assert_eq!(rig.code(0, SYSTEM_RESET2, [1 << 31, 0, 0]), -2);
}

#[test]
fn random_numbers() {
    let mut rig = Rig::new();
    let (narrow, wide) = (0x8400_0053, 0xc400_0053);
    let all = 0xa5a5_a5a5_a5a5_a5a5;
    assert_eq!(rig.call(0, wide, [192, 0, 0]), Outcome::ReturnMany([0, all, all, all]));
    assert_eq!(rig.call(0, wide, [65, 0, 0]), Outcome::ReturnMany([0, 0, 1, all]));
    assert_eq!(rig.call(0, wide, [8, 0, 0]), Outcome::ReturnMany([0, 0, 0, 0xa5]));
    assert_eq!(
        rig.call(0, narrow, [96, 0, 0]),
        Outcome::ReturnMany([0, 0xa5a5_a5a5, 0xa5a5_a5a5, 0xa5a5_a5a5])
    );
    assert_eq!(rig.call(0, narrow, [36, 0, 0]), Outcome::ReturnMany([0, 0, 5, 0xa5a5_a5a5]));
    for (function, bits) in [(wide, 0), (wide, 193), (narrow, 97), (wide, u64::MAX)] {
        assert_eq!(rig.code(0, function, [bits, 0, 0]), -2, "{bits}");
    }
    rig.mock.entropy = false;
    assert_eq!(rig.code(0, wide, [64, 0, 0]), -3);
    assert_eq!(
        (rig.code(0, 0x8400_0051, [wide.into(), 0, 0]), rig.code(0, 0x8400_0051, [0x8400_0054, 0, 0])),
        (0, -1)
    );
    let Outcome::ReturnMany(uuid) = rig.call(0, 0x8400_0052, [0; 3]) else { panic!("no UUID") };
    assert!(uuid[0] != 0xffff_ffff && uuid.iter().all(|word| word >> 32 == 0));
}

#[test]
fn survives_random_calls() {
    let mut rig = Rig::new();
    let mut rng = Rng::new(5);
    for _ in 0..200_000 {
        let cpu = rng.below(5);
        let function = match rng.below(4) {
            0 => [0x8000_0000, 0x8000_0001, 0x8400_0051, 0x8400_0053, 0xc400_0053][rng.below(5)],
            1 => rng.nasty() as u32,
            _ => (0x8400_0000 | (rng.below(2) as u32) << 30) + rng.below(0x20) as u32,
        };
        let mut arg = || match rng.below(3) {
            0 => BASE + rng.nasty() % MEMORY,
            1 => rng.below(6) as u64,
            _ => rng.nasty(),
        };
        let args = [arg(), arg(), arg()];
        match rig.call(cpu, function, args) {
            Outcome::Stop => assert_eq!(rig.smccc.poll_start(cpu), None),
            Outcome::Suspend => {
                let (Resume::Return | Resume::Enter(_)) = rig.smccc.resume(cpu);
                assert_eq!(rig.smccc.state(cpu), Some(RunState::Started));
            }
            _ => {}
        }
        for woken in std::mem::take(&mut rig.mock.woken) {
            let entry = rig.smccc.poll_start(woken).unwrap();
            assert!((BASE..BASE + MEMORY).contains(&entry.pc) && entry.pc.is_multiple_of(4));
        }
    }
}
