use std::collections::BTreeMap;

use emu_core::mem::Ram;
use vm_memory::Bytes;

use super::*;
use crate::testing::{Rng, memory};

const BASE: u64 = 0x8000_0000;
const MEMORY: u64 = 0x10_0000;

const TIME: u64 = 0x5449_4d45;
const IPI: u64 = 0x73_5049;
const RFENCE: u64 = 0x5246_4e43;
const HSM: u64 = 0x48_534d;
const SRST: u64 = 0x5352_5354;
const DBCN: u64 = 0x4442_434e;
const PMU: u64 = 0x50_4d55;
const SUSP: u64 = 0x5355_5350;
const FWFT: u64 = 0x4657_4654;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Timer(u64),
    Ipi(usize),
    Fence(Vec<usize>, Fence),
    Wake(usize),
}

/// A machine whose hart has the CSRs of the map and nothing behind them.
struct Mock {
    _ram: Ram,
    memory: GuestMemory,
    csrs: BTreeMap<u16, u64>,
    /// Bits of `menvcfg` that can be set.
    menvcfg_mask: u64,
    actions: Vec<Action>,
    written: Vec<u8>,
    /// How many bytes the console takes.
    room: usize,
    input: Vec<u8>,
}

impl Mock {
    fn new() -> Self {
        let (ram, memory) = memory(MEMORY);
        let csrs = [
            (csr::MVENDORID, 0x111),
            (csr::MARCHID, 0x222),
            (csr::MIMPID, 0x333),
            (csr::MIP, 0),
            (csr::MEDELEG, 0),
            (csr::MENVCFG, 0),
            (csr::MCOUNTINHIBIT, 0xffff_fff8),
            (csr::MCYCLE, 100),
            (csr::MCYCLE + 2, 200),
            (csr::MCYCLE + 3, 300),
            (csr::MCYCLE + 4, 400),
            (csr::MHPMEVENT + 3, 0),
            (csr::MHPMEVENT + 4, 0),
        ];
        Self {
            _ram: ram,
            memory,
            csrs: csrs.into(),
            menvcfg_mask: u64::MAX,
            actions: Vec::new(),
            written: Vec::new(),
            room: usize::MAX,
            input: Vec::new(),
        }
    }

    fn csr(&self, number: u16) -> u64 {
        self.csrs[&number]
    }

    fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}

impl Platform for Mock {
    fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    fn read_csr(&mut self, csr: u16) -> Option<u64> {
        self.csrs.get(&csr).copied()
    }

    fn write_csr(&mut self, csr: u16, value: u64) {
        let mask = if csr == csr::MENVCFG { self.menvcfg_mask } else { u64::MAX };
        if let Some(old) = self.csrs.get_mut(&csr) {
            *old = value & mask;
        }
    }

    fn set_timer(&mut self, deadline: u64) {
        self.actions.push(Action::Timer(deadline));
    }

    fn send_ipi(&mut self, hart: usize) {
        self.actions.push(Action::Ipi(hart));
    }

    fn remote_fence(&mut self, harts: HartSet, fence: Fence) {
        self.actions.push(Action::Fence(harts.iter().collect(), fence));
    }

    fn wake(&mut self, hart: usize) {
        self.actions.push(Action::Wake(hart));
    }

    fn console_write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.written.extend(&bytes[..taken]);
        taken
    }

    fn console_read(&mut self, buf: &mut [u8]) -> usize {
        let given = buf.len().min(self.input.len());
        buf[..given].copy_from_slice(&self.input[..given]);
        self.input.drain(..given);
        given
    }

    fn hpm_counters(&self) -> u32 {
        0b1_1111 // the low three do not count
    }

    fn event_selector(&self, event: HwEvent) -> Option<EventSelector> {
        let counters = 0b1_1111;
        match event {
            HwEvent::General(3) => Some(EventSelector { value: 0x77, counters: 0b1_0000 }),
            HwEvent::Cache(0) => Some(EventSelector { value: 0x1_0000, counters }),
            HwEvent::General(2) => Some(EventSelector { value: 0x66, counters: 0b1000 }),
            HwEvent::Raw(value) if value < 0x100 => Some(EventSelector { value, counters }),
            _ => None,
        }
    }

    fn read_virtual(&mut self, address: u64) -> Result<u64, MemoryFault> {
        let fault = MemoryFault { cause: 13, address };
        self.memory.read_obj(GuestAddress(address)).map_err(|_| fault)
    }
}

/// The firmware with hart 0 booted, and the machine.
struct Rig {
    sbi: Sbi,
    mock: Mock,
}

impl Rig {
    fn new(harts: usize) -> Self {
        let sbi = Sbi::new(Config { harts, hardware_ad_updates: false });
        assert!(sbi.boot(0, BASE, 0));
        assert!(sbi.poll_start(0).is_some());
        Self { sbi, mock: Mock::new() }
    }

    fn raw(&mut self, hart: usize, extension: u64, function: u64, args: &[u64]) -> Outcome {
        let mut registers = [0xdead; 8];
        registers[..args.len()].copy_from_slice(args);
        (registers[6], registers[7]) = (function, extension);
        self.sbi.call(hart, &registers, &mut self.mock)
    }

    /// A call from hart 0 that returns.
    fn call(&mut self, extension: u64, function: u64, args: &[u64]) -> Result<u64, i64> {
        match self.raw(0, extension, function, args) {
            Outcome::Return { a0: 0, a1 } => Ok(a1),
            Outcome::Return { a0, a1: 0 } => Err(a0 as i64),
            other => panic!("{other:?}"),
        }
    }

    fn start(&mut self, hart: usize) {
        assert_eq!(self.call(HSM, 0, &[hart as u64, BASE, 0]), Ok(0));
        assert!(self.sbi.poll_start(hart).is_some());
        self.mock.take_actions();
    }
}

const NOT_SUPPORTED: Result<u64, i64> = Err(-2);
const INVALID_PARAM: Result<u64, i64> = Err(-3);
const DENIED: Result<u64, i64> = Err(-4);
const INVALID_ADDRESS: Result<u64, i64> = Err(-5);
const ALREADY_AVAILABLE: Result<u64, i64> = Err(-6);
const ALREADY_STARTED: Result<u64, i64> = Err(-7);
const ALREADY_STOPPED: Result<u64, i64> = Err(-8);
const NO_SHMEM: Result<u64, i64> = Err(-9);

#[test]
fn base() {
    let mut rig = Rig::new(1);
    let values: Vec<_> = (0..7).map(|function| rig.call(0x10, function, &[0x10])).collect();
    let id = u64::from(u32::from_be_bytes(*b"FRRY"));
    assert_eq!(values, [0x300_0000, id, IMPLEMENTATION_VERSION, 1, 0x111, 0x222, 0x333].map(Ok));
    for extension in [0x10, TIME, IPI, RFENCE, HSM, SRST, DBCN, PMU, SUSP, FWFT, 0, 1, 8] {
        assert_eq!(rig.call(0x10, 3, &[extension]), Ok(1), "{extension:#x}");
    }
    for extension in [9, 0xf, 0x11, 0x4e41_434c, u64::MAX, TIME | 1 << 32] {
        assert_eq!(rig.call(0x10, 3, &[extension]), Ok(0), "{extension:#x}");
        assert_eq!(rig.call(extension, 0, &[]), NOT_SUPPORTED, "{extension:#x}");
    }
    let functions = [
        (0x10, 7),
        (TIME, 1),
        (IPI, 1),
        (RFENCE, 7),
        (HSM, 4),
        (SRST, 1),
        (DBCN, 3),
        (PMU, 9),
        (SUSP, 1),
        (FWFT, 2),
    ];
    for (extension, first_absent) in functions {
        for function in [first_absent, u64::MAX] {
            assert_eq!(rig.call(extension, function, &[0, 0, 0]), NOT_SUPPORTED, "{extension:#x} {function}");
        }
    }
    rig.mock.csrs.clear();
    assert_eq!(rig.call(0x10, 4, &[]), Ok(0), "zero is always right");
    assert_eq!(rig.raw(5, 0x10, 0, &[]), Outcome::Return { a0: -1_i64 as u64, a1: 0 }, "no such hart");
}

#[test]
fn timer() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.call(TIME, 0, &[0x1234_5678_9abc]), Ok(0));
    assert_eq!(rig.call(TIME, 0, &[u64::MAX]), Ok(0));
    assert_eq!(rig.mock.take_actions(), [Action::Timer(0x1234_5678_9abc), Action::Timer(u64::MAX)]);
}

#[test]
fn hart_masks() {
    let mut rig = Rig::new(70);
    (1..70).for_each(|hart| rig.start(hart));
    let mut sent = |mask, base| {
        let result = rig.call(IPI, 0, &[mask, base]);
        let harts = rig.mock.take_actions().into_iter();
        result.map(|_| {
            harts
                .map(|action| match action {
                    Action::Ipi(hart) => hart,
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(sent(0b1011, 0), Ok(vec![0, 1, 3]));
    assert_eq!(sent(0b11, 68), Ok(vec![68, 69]));
    assert_eq!(sent(1 << 63 | 1, 6), Ok(vec![6, 69]));
    assert_eq!(sent(0, 0), Ok(vec![]));
    assert_eq!(sent(0, u64::MAX), Ok((0..70).collect()), "a base of -1 is all harts");
    for (mask, base) in [(0b100, 68), (1 << 63, 7), (0, 70), (1, 70), (0, u64::MAX - 1), (1, 1 << 63)] {
        assert_eq!(sent(mask, base), Err(-3), "{mask:#x} {base:#x}");
    }
    let set = HartSet::Listed { base: 6, mask: 1 << 63 | 1 };
    assert!(set.contains(6) && set.contains(69) && !set.contains(5) && !set.contains(7) && !set.contains(70));
}

#[test]
fn stopped_harts_get_no_interrupts() {
    let mut rig = Rig::new(3);
    rig.start(2);
    assert_eq!(rig.call(IPI, 0, &[0, u64::MAX]), Ok(0));
    assert_eq!(rig.mock.take_actions(), [Action::Ipi(0), Action::Ipi(2)]);
}

#[test]
fn remote_fences() {
    let mut rig = Rig::new(4);
    let mut fence = |function, args: &[u64]| {
        let result = rig.call(RFENCE, function, args);
        let fences = rig.mock.take_actions().into_iter();
        result.map(|_| {
            fences
                .map(|action| match action {
                    Action::Fence(harts, fence) => (harts, fence),
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        })
    };
    let memory = |range, asid| Fence::Memory { range, asid };
    assert_eq!(fence(0, &[0b110, 0]), Ok(vec![(vec![1, 2], Fence::Instruction)]));
    assert_eq!(fence(0, &[0, u64::MAX]), Ok(vec![(vec![0, 1, 2, 3], Fence::Instruction)]));
    for (start, size, range) in [
        (0, 0, None),
        (0, u64::MAX, None),
        (0x1000, u64::MAX, None),
        (0x1000, 0x2000, Some((0x1000, 0x2000))),
        (0, 1, Some((0, 1))),
        (u64::MAX - 0xfff, 0x1000, Some((u64::MAX - 0xfff, 0x1000))),
    ] {
        assert_eq!(
            fence(1, &[1, 3, start, size]),
            Ok(vec![(vec![3], memory(range, None))]),
            "{start:#x} {size:#x}"
        );
        assert_eq!(fence(2, &[1, 3, start, size, 7]), Ok(vec![(vec![3], memory(range, Some(7)))]));
    }
    assert_eq!(fence(1, &[1, 0, 0x1000, 0]), Ok(vec![]), "an empty range");
    assert_eq!(fence(1, &[1, 0, u64::MAX, 2]), Err(-5), "a range that wraps");
    assert_eq!(fence(2, &[1, 0, 0x1000, u64::MAX - 1, 0]), Err(-5));
    for function in 0..3 {
        assert_eq!(fence(function, &[0b10, 3, 0, 0, 0]), Err(-3), "no hart 4");
        assert_eq!(fence(function, &[0b10, 3, 0x1000, 0, 0]), Err(-3), "no hart 4");
    }
    for function in 3..7 {
        assert_eq!(fence(function, &[1, 0, 0, 0, 0]), Err(-2), "no hypervisor extension");
    }
}

/// Every state against every event.
#[test]
fn hart_states() {
    use HartState::*;
    // Puts hart 1 into a state; its own calls and its thread's are made here as the machine makes them.
    let reach = |state: HartState| {
        let mut rig = Rig::new(2);
        if state != Stopped {
            assert_eq!(rig.call(HSM, 0, &[1, BASE + 0x100, 77]), Ok(0));
            assert_eq!(rig.mock.take_actions(), [Action::Wake(1)]);
        }
        if !matches!(state, Stopped | StartPending) {
            assert!(rig.sbi.poll_start(1).is_some());
        }
        match state {
            StopPending => assert_eq!(rig.raw(1, HSM, 1, &[]), Outcome::Stop),
            Suspended => {
                assert_eq!(rig.raw(1, HSM, 3, &[1 << 31, BASE + 0x200, 88]), Outcome::Suspend);
            }
            _ => {}
        }
        assert_eq!(rig.call(HSM, 2, &[1]), Ok(state as u64));
        assert_eq!(rig.sbi.hart_state(1), Some(state));
        rig
    };
    for state in [Started, Stopped, StartPending, StopPending, Suspended] {
        let mut rig = reach(state);
        let expected = match state {
            Stopped => Ok(0),
            StopPending => Err(-1),
            _ => ALREADY_AVAILABLE,
        };
        assert_eq!(rig.call(HSM, 0, &[1, BASE, 0]), expected, "start in {state:?}");
        let after = if state == Stopped { StartPending } else { state };
        assert_eq!(rig.sbi.hart_state(1), Some(after), "start in {state:?}");

        let rig = reach(state);
        let entry = rig.sbi.poll_start(1).map(|entry| (entry.pc, entry.a0, entry.a1));
        let (enters, after) = match state {
            StartPending => (Some((BASE + 0x100, 1, 77)), Started),
            StopPending => (None, Stopped),
            other => (None, other),
        };
        assert_eq!((entry, rig.sbi.hart_state(1)), (enters, Some(after)), "poll_start in {state:?}");
        assert_eq!(rig.sbi.poll_start(1), None, "a start is taken once");

        let rig = reach(state);
        let asleep = state == Suspended;
        match rig.sbi.resume(1) {
            Resume::Enter(entry) => assert_eq!((asleep, entry.pc, entry.a1), (true, BASE + 0x200, 88)),
            Resume::Return => assert!(!asleep, "resume in {state:?}"),
        }
        assert_eq!(rig.sbi.hart_state(1), Some(if asleep { Started } else { state }), "resume in {state:?}");

        let rig = reach(state);
        assert_eq!(rig.sbi.boot(1, BASE, 0), state == Stopped);
        rig.sbi.reset();
        assert_eq!((rig.sbi.hart_state(0), rig.sbi.hart_state(1)), (Some(Stopped), Some(Stopped)));
        assert_eq!(rig.sbi.poll_start(1), None);
    }
}

/// Of several harts that start one at the same time, one succeeds, and the hart starts once.
#[test]
fn starts_from_several_harts_at_once() {
    let sbi = Sbi::new(Config { harts: 5, hardware_ad_updates: false });
    for _ in 0..200 {
        sbi.reset();
        let start = &|caller: usize| {
            let registers = [4, BASE, caller as u64, 0, 0, 0, 0, HSM];
            sbi.call(caller, &registers, &mut Mock::new())
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|caller| scope.spawn(move || start(caller))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winner = outcomes.iter().position(|outcome| *outcome == Outcome::Return { a0: 0, a1: 0 });
        let refused = Outcome::Return { a0: -6_i64 as u64, a1: 0 };
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == refused).count(), 3, "{outcomes:?}");
        assert_eq!(sbi.poll_start(4).map(|entry| entry.a1), winner.map(|caller| caller as u64));
        assert_eq!(sbi.poll_start(4), None);
    }
}

#[test]
fn hart_arguments() {
    let mut rig = Rig::new(2);
    for hart in [2, u64::MAX, 1 << 32] {
        assert_eq!(rig.call(HSM, 0, &[hart, BASE, 0]), INVALID_PARAM);
        assert_eq!(rig.call(HSM, 2, &[hart]), INVALID_PARAM);
    }
    assert_eq!(rig.call(HSM, 0, &[0, BASE, 0]), ALREADY_AVAILABLE, "itself");
    for address in [0, 0x1000, BASE + 1, BASE - 2, BASE + MEMORY, u64::MAX - 1] {
        assert_eq!(rig.call(HSM, 0, &[1, address, 0]), INVALID_ADDRESS, "{address:#x}");
        assert_eq!(rig.call(HSM, 3, &[0x8000_0000, address, 0]), INVALID_ADDRESS, "{address:#x}");
        assert_eq!(rig.call(SUSP, 0, &[0, address, 0]), INVALID_ADDRESS, "{address:#x}");
    }
    assert_eq!(rig.sbi.hart_state(1), Some(HartState::Stopped));
    for reserved in [1, 0x0fff_ffff, 0x1000_0000, 0x7fff_ffff, 0x8000_0001, 0x9000_0000, 0xffff_ffff] {
        assert_eq!(rig.call(HSM, 3, &[reserved, BASE, 0]), INVALID_PARAM, "suspend type {reserved:#x}");
        assert_eq!(rig.call(SUSP, 0, &[reserved, BASE, 0]), INVALID_PARAM, "sleep type {reserved:#x}");
    }
    assert_eq!(rig.sbi.hart_state(0), Some(HartState::Started));
    assert!(rig.mock.take_actions().is_empty());
}

#[test]
fn suspend_and_resume() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.raw(0, HSM, 3, &[0, u64::MAX, 5]), Outcome::Suspend, "a retentive one needs no address");
    assert_eq!(rig.sbi.resume(0), Resume::Return);
    // The type is 32 bits wide, in a register that is sign-extended.
    assert_eq!(rig.raw(0, HSM, 3, &[0xffff_ffff_8000_0000, BASE + 4, 5]), Outcome::Suspend);
    let Resume::Enter(entry) = rig.sbi.resume(0) else { panic!("not entered") };
    assert_eq!((entry.pc, entry.a0, entry.a1), (BASE + 4, 0, 5));
    let touched: Vec<_> = entry.csrs.iter().map(|&(number, _)| number).collect();
    assert_eq!(touched, [csr::SATP, csr::MSTATUS], "the interrupt that woke it stays pending");
}

#[test]
fn system_suspend() {
    let mut rig = Rig::new(3);
    rig.start(1);
    assert_eq!(rig.call(SUSP, 0, &[0, BASE, 9]), DENIED, "another hart runs");
    assert_eq!(rig.raw(1, HSM, 1, &[]), Outcome::Stop);
    assert_eq!(rig.call(SUSP, 0, &[0, BASE, 9]), DENIED, "it has not stopped yet");
    assert_eq!(rig.sbi.poll_start(1), None);
    assert_eq!(rig.raw(0, SUSP, 0, &[0, BASE, 9]), Outcome::Suspend);
    let Resume::Enter(entry) = rig.sbi.resume(0) else { panic!("not entered") };
    assert_eq!((entry.pc, entry.a0, entry.a1), (BASE, 0, 9));
}

#[test]
fn entry_state() {
    let entry = |ad| {
        let sbi = Sbi::new(Config { harts: 4, hardware_ad_updates: ad });
        assert!(sbi.boot(3, BASE + 0x20_0000, 0x87e0_0000) && !sbi.boot(4, BASE, 0));
        sbi.poll_start(3).unwrap()
    };
    let state = entry(false);
    assert_eq!((state.pc, state.a0, state.a1), (BASE + 0x20_0000, 3, 0x87e0_0000));
    let value = |number| state.csrs.iter().find(|(n, _)| *n == number).unwrap().1;
    let delegated = value(csr::MEDELEG);
    assert_eq!([9, 11, 14, 16].map(|cause| delegated >> cause & 1), [0; 4], "calls of S-mode stay");
    assert_eq!([0, 2, 3, 4, 6, 7, 8, 12, 13, 15].map(|cause| delegated >> cause & 1), [1; 10]);
    assert_eq!(value(csr::MIDELEG), 0x2222);
    assert_eq!(value(csr::SATP), 0);
    assert_eq!(value(csr::MSTATUS) & 0b10, 0, "sstatus.SIE");
    assert_eq!((value(csr::PMPCFG0), value(csr::PMPADDR0)), (0x1f, 0x3f_ffff_ffff_ffff));
    assert_eq!(value(csr::MENVCFG), 0xc000_0000_0000_00f0);
    assert!(entry(true).csrs.contains(&(csr::MENVCFG, 0xe000_0000_0000_00f0)));
}

#[test]
fn system_reset() {
    let mut rig = Rig::new(1);
    let mut reset = |kind: u64, reason: u64| rig.raw(0, SRST, 0, &[kind, reason]);
    let off = |code| Outcome::Power(PowerRequest::Off { code });
    assert_eq!(reset(0, 0), off(0));
    assert_eq!(reset(0, 1), off(FAILURE_EXIT_CODE));
    for kind in [1, 2] {
        for reason in [0, 1] {
            assert_eq!(reset(kind, reason), Outcome::Power(PowerRequest::Reset));
        }
    }
    assert_eq!(reset(0xffff_ffff_0000_0000, 0), off(0), "the arguments are 32 bits wide");
    let invalid = Outcome::Return { a0: -3_i64 as u64, a1: 0 };
    for (kind, reason) in
        [(3, 0), (0xefff_ffff, 0), (0xf000_0000, 0), (0, 2), (0, 0xe000_0000), (1, u64::MAX)]
    {
        assert_eq!(reset(kind, reason), invalid, "{kind:#x} {reason:#x}");
    }
}

#[test]
fn debug_console() {
    let mut rig = Rig::new(1);
    rig.mock.memory.write_slice(b"hello", GuestAddress(BASE + 0x100)).unwrap();
    assert_eq!(rig.call(DBCN, 0, &[5, BASE + 0x100, 0]), Ok(5));
    rig.mock.room = 2;
    assert_eq!(rig.call(DBCN, 0, &[5, BASE + 0x100, 0]), Ok(2), "a part");
    assert_eq!(rig.call(DBCN, 0, &[5, BASE + 0x100, 0]), Ok(0), "nothing");
    assert_eq!(rig.raw(0, DBCN, 2, &[0x158]), Outcome::Retry);
    rig.mock.room = usize::MAX;
    assert_eq!(rig.call(DBCN, 2, &[0x158]), Ok(0));
    assert_eq!(rig.mock.written, b"hellohe\x58");
    assert_eq!(rig.call(DBCN, 0, &[MEMORY, BASE, 0]), Ok(4096), "one call moves a bounded number");

    rig.mock.input = b"abc".to_vec();
    assert_eq!(rig.call(DBCN, 1, &[2, BASE + MEMORY - 2, 0]), Ok(2));
    assert_eq!(rig.call(DBCN, 1, &[100, BASE + 0x200, 0]), Ok(1));
    assert_eq!(rig.call(DBCN, 1, &[100, BASE + 0x200, 0]), Ok(0));
    let mut bytes = [0; 2];
    rig.mock.memory.read_slice(&mut bytes, GuestAddress(BASE + MEMORY - 2)).unwrap();
    assert_eq!(&bytes, b"ab");

    rig.mock.input = b"kept".to_vec();
    for function in [0, 1] {
        assert_eq!(rig.call(DBCN, function, &[0, BASE, 0]), Ok(0));
        for (len, low, high) in [
            (1, 0, 0),
            (1, BASE, 1),
            (1, BASE, u64::MAX),
            (1, BASE + MEMORY, 0),
            (2, BASE + MEMORY - 1, 0),
            (2, BASE - 1, 0),
            (u64::MAX, BASE, 0),
            (u64::MAX - BASE + 1, BASE, 0),
            (2, u64::MAX, 0),
        ] {
            assert_eq!(
                rig.call(DBCN, function, &[len, low, high]),
                INVALID_PARAM,
                "{len:#x} {low:#x} {high:#x}"
            );
        }
    }
    assert_eq!(rig.mock.input, b"kept");
}

#[test]
fn legacy_calls() {
    let mut rig = Rig::new(70);
    (1..70).for_each(|hart| rig.start(hart));
    let done = Outcome::Legacy { a0: 0 };
    assert_eq!(rig.raw(0, 0, 99, &[1234]), done);
    assert_eq!(rig.mock.take_actions(), [Action::Timer(1234)]);

    assert_eq!(rig.raw(0, 1, 0, &[0x141]), done);
    rig.mock.room = 0;
    assert_eq!(rig.raw(0, 1, 0, &[0x41]), Outcome::Retry);
    assert_eq!(rig.mock.written, b"A");
    rig.mock.input = vec![0xff];
    assert_eq!(rig.raw(0, 2, 0, &[]), Outcome::Legacy { a0: 0xff });
    assert_eq!(rig.raw(0, 2, 0, &[]), Outcome::Legacy { a0: u64::MAX });

    rig.mock.csrs.insert(csr::MIP, 0x222);
    assert_eq!(rig.raw(0, 3, 0, &[]), Outcome::Legacy { a0: 1 });
    assert_eq!((rig.raw(0, 3, 0, &[]), rig.mock.csr(csr::MIP)), (done, 0x220));

    let at = BASE + 0x400;
    rig.mock.memory.write_obj(1_u64 << 3, GuestAddress(at)).unwrap();
    rig.mock.memory.write_obj(u64::MAX << 5, GuestAddress(at + 8)).unwrap();
    assert_eq!(rig.raw(0, 4, 0, &[at]), done);
    assert_eq!(
        rig.mock.take_actions(),
        [Action::Ipi(3), Action::Ipi(69)],
        "bits beyond the last hart do not count"
    );
    assert_eq!(rig.raw(0, 4, 0, &[0]), done);
    assert_eq!(rig.mock.take_actions().len(), 70, "null is all harts");

    let fence = |range, asid| Fence::Memory { range, asid };
    for (id, expected) in [
        (5, Fence::Instruction),
        (6, fence(Some((0x1000, 0x2000)), None)),
        (7, fence(Some((0x1000, 0x2000)), Some(5))),
    ] {
        assert_eq!(rig.raw(0, id, 0, &[at, 0x1000, 0x2000, 5]), done);
        let split = [vec![3], vec![69]].map(|harts| Action::Fence(harts, expected));
        assert_eq!(rig.mock.take_actions(), split);
        let fault = MemoryFault { cause: 13, address: BASE + MEMORY };
        assert_eq!(rig.raw(0, id, 0, &[BASE + MEMORY - 8, 0, 0, 0]), Outcome::Trap(fault));
        assert!(rig.mock.take_actions().is_empty(), "nothing half done");
    }
    assert_eq!(rig.raw(0, 6, 0, &[at, 0x1000, 0]), done);
    assert_eq!(rig.raw(0, 6, 0, &[at, u64::MAX, 2]), Outcome::Legacy { a0: -5_i64 as u64 });
    assert!(rig.mock.take_actions().is_empty());
    assert_eq!(rig.raw(0, 8, 0, &[]), Outcome::Power(PowerRequest::Off { code: 0 }));
}

#[test]
fn counters_that_exist() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.call(PMU, 0, &[]), Ok(5 + 16));
    let info = |csr: u64| Ok(csr | 63 << 12);
    let infos: Vec<_> = (0..5).map(|counter| rig.call(PMU, 1, &[counter])).collect();
    assert_eq!(
        infos,
        [info(0xc00), INVALID_PARAM, info(0xc02), info(0xc03), info(0xc04)],
        "the CSR's number is ours"
    );
    for counter in 5..21 {
        assert_eq!(rig.call(PMU, 1, &[counter]).unwrap() >> 63, 1, "firmware counter {counter}");
    }
    for counter in [21, 63, 64, u64::MAX] {
        assert_eq!(rig.call(PMU, 1, &[counter]), INVALID_PARAM);
    }
}

const SKIP_MATCH: u64 = 1;
const CLEAR: u64 = 2;
const AUTO_START: u64 = 4;
const CYCLES: u64 = 1;
const INSTRUCTIONS: u64 = 2;
const FW: u64 = 0xf_0000;
/// All counters of the mock but the hole.
const ALL: u64 = 0x1f_fffd;

#[test]
fn counters_are_matched() {
    let mut rig = Rig::new(1);
    let mut config = |mask, flags, event, data| rig.call(PMU, 2, &[0, mask, flags, event, data]);
    assert_eq!(config(ALL, 0, CYCLES, 0), Ok(0));
    assert_eq!(config(ALL, 0, CYCLES, 0), NOT_SUPPORTED, "taken until it is reset");
    assert_eq!(config(1, SKIP_MATCH, CYCLES, 0), Ok(0), "unless the caller knows better");
    assert_eq!(config(4, SKIP_MATCH, INSTRUCTIONS, 0), Ok(2), "as Linux does it");
    assert_eq!(config(4, SKIP_MATCH, CYCLES, 0), NOT_SUPPORTED);
    assert_eq!(config(ALL, 0, 3, 0), Ok(4), "only counter 4 can");
    assert_eq!(config(ALL, 0, INSTRUCTIONS, 0), Ok(3), "a programmable counter, though the fixed one can");
    assert_eq!(config(ALL, 0, 0x2_0000, 0x55), NOT_SUPPORTED, "none is left");
    assert_eq!(config(ALL, 0, 4, 0), NOT_SUPPORTED, "an event that nothing counts");
    assert_eq!(config(ALL, 0, 0, 0), NOT_SUPPORTED, "no event");
    for counter in 5..21 {
        assert_eq!(config(ALL, 0, FW + 5 + counter % 9, 0), Ok(counter));
    }
    assert_eq!(config(ALL, 0, FW + 5, 0), NOT_SUPPORTED);
    assert_eq!(config(1 << 20, SKIP_MATCH, CYCLES, 0), NOT_SUPPORTED, "a firmware counter");

    for (mask, flags) in
        [(0b10, 0), (1 << 21, 0), (ALL | 2, 0), (0, SKIP_MATCH), (ALL, 1 << 8), (ALL, 1 << 63)]
    {
        assert_eq!(config(mask, flags, CYCLES, 0), INVALID_PARAM, "{mask:#x} {flags:#x}");
    }
    for (event, data) in [
        (11, 0),
        (CYCLES, 1),
        (0x1_0000 | 7 << 3, 0),
        (0x1_0000 | 3 << 1, 0),
        (0x2_0001, 0),
        (0x2_0000, 1 << 48),
        (0x3_0001, 0),
        (0x3_0000, 1 << 58),
        (0x4_0000, 0),
        (0xe_0000, 0),
        (FW + 22, 0),
        (FW + 5, 1),
        (0x10_0001, 0),
        (1 << 32 | 1, 0),
    ] {
        assert_eq!(config(ALL, 0, event, data), INVALID_PARAM, "event {event:#x} {data:#x}");
    }
    for event in [FW, FW + 4, FW + 21, FW + 256, FW + 0xffff] {
        assert_eq!(config(ALL, 0, event, 0), NOT_SUPPORTED, "event {event:#x}");
    }
    assert_eq!(rig.call(PMU, 2, &[u64::MAX, 2, 0, CYCLES, 0]), INVALID_PARAM);
}

#[test]
fn hardware_counters() {
    let mut rig = Rig::new(1);
    let inhibited = |rig: &Rig| rig.mock.csr(csr::MCOUNTINHIBIT);
    assert_eq!(rig.call(PMU, 3, &[3, 1, 0, 0]), INVALID_PARAM, "it has no event");
    let filters = 0b10101 << 3; // M, U and VU
    assert_eq!(rig.call(PMU, 2, &[3, 0b11, CLEAR | filters, 0x3_0000, 0x42]), Ok(3));
    let event = csr::MHPMEVENT + 3;
    assert_eq!(rig.mock.csr(event), 0b10101 << 58 | 0x42);
    assert_eq!((rig.mock.csr(csr::MCYCLE + 3), rig.mock.csr(csr::MCYCLE + 4)), (0, 400));
    assert_eq!(inhibited(&rig), 0xffff_fff8, "not started");

    rig.mock.csrs.insert(event, 1 << 63 | 0x42);
    assert_eq!(rig.call(PMU, 3, &[3, 1, 1, 0xfff0]), Ok(0));
    assert_eq!((rig.mock.csr(csr::MCYCLE + 3), inhibited(&rig)), (0xfff0, 0xffff_fff0));
    assert_eq!(rig.mock.csr(event), 0x42, "ready for the next overflow");
    assert_eq!(rig.call(PMU, 3, &[3, 1, 1, 5]), ALREADY_STARTED);
    assert_eq!(rig.mock.csr(csr::MCYCLE + 3), 0xfff0);

    assert_eq!(rig.call(PMU, 4, &[0, ALL, 0]), ALREADY_STOPPED, "stops those that run all the same");
    assert_eq!((inhibited(&rig), rig.mock.csr(event)), (0xffff_fff8, 0x42));
    assert_eq!(rig.call(PMU, 3, &[3, 1, 0, 5]), Ok(0));
    assert_eq!(rig.mock.csr(csr::MCYCLE + 3), 0xfff0, "goes on from where it was");
    assert_eq!(rig.call(PMU, 4, &[3, 1, 1]), Ok(0));
    assert_eq!((inhibited(&rig), rig.mock.csr(event)), (0xffff_fff8, 0));
    assert_eq!(rig.call(PMU, 3, &[3, 1, 0, 0]), INVALID_PARAM, "its event has been taken away");

    // Fixed counters run from the start, but count as stopped until somebody configures them.
    assert_eq!(rig.call(PMU, 2, &[0, ALL, AUTO_START, CYCLES, 0]), Ok(0));
    assert_eq!(rig.call(PMU, 3, &[0, 1, 0, 0]), ALREADY_STARTED);
    assert_eq!(rig.call(PMU, 4, &[0, 1, 0]), Ok(0));
    assert_eq!((inhibited(&rig), rig.mock.csr(csr::MCYCLE)), (0xffff_fff9, 100));
    assert_eq!(rig.call(PMU, 4, &[0, 1, 1]), ALREADY_STOPPED, "and is reset nevertheless");
    assert_eq!(rig.call(PMU, 2, &[0, ALL, 0, CYCLES, 0]), Ok(0));

    for function in [3, 4] {
        assert_eq!(rig.call(PMU, function, &[0, 0b10, 0, 0]), INVALID_PARAM, "no counter 1");
        assert_eq!(rig.call(PMU, function, &[0, 1, 4, 0]), INVALID_PARAM, "a reserved flag");
        assert_eq!(rig.call(PMU, function, &[0, 1, 2, 0]), NO_SHMEM);
    }
    assert_eq!(rig.call(PMU, 7, &[BASE, 0, 0]), NOT_SUPPORTED, "no snapshots");
    for hardware in [0, 1, 3, 21, u64::MAX] {
        assert_eq!(rig.call(PMU, 5, &[hardware]), INVALID_PARAM);
        assert_eq!(rig.call(PMU, 6, &[hardware]), INVALID_PARAM);
    }
}

#[test]
fn firmware_counters() {
    let mut rig = Rig::new(3);
    rig.start(1);
    let counter = |rig: &mut Rig, event: u64| {
        let counter = rig.call(PMU, 2, &[0, ALL, CLEAR | AUTO_START, FW + event, 0]).unwrap();
        assert_eq!(rig.call(PMU, 6, &[counter]), Ok(0), "the upper half");
        counter
    };
    let counters: Vec<_> = (5..14).map(|event| counter(&mut rig, event)).collect();
    let read =
        |rig: &mut Rig| -> Vec<_> { counters.iter().map(|&c| rig.call(PMU, 5, &[c]).unwrap()).collect() };
    assert_eq!(read(&mut rig), [0; 9]);
    assert_eq!(rig.call(TIME, 0, &[1]), Ok(0));
    assert_eq!(rig.raw(0, 0, 0, &[1]), Outcome::Legacy { a0: 0 });
    assert_eq!(rig.call(IPI, 0, &[0, u64::MAX]), Ok(0)); // to 0 and 1; 2 is stopped
    assert_eq!(rig.raw(1, IPI, 0, &[1, 0]), Outcome::Return { a0: 0, a1: 0 });
    assert_eq!(rig.call(RFENCE, 0, &[0b111, 0]), Ok(0));
    assert_eq!(rig.call(RFENCE, 1, &[0b110, 0, 0, 0]), Ok(0));
    assert_eq!(rig.call(RFENCE, 2, &[0b010, 0, 0, 0, 0]), Ok(0));
    assert_eq!(rig.raw(1, RFENCE, 2, &[0b001, 0, 0, 0, 0]), Outcome::Return { a0: 0, a1: 0 });
    assert_eq!(read(&mut rig), [2, 2, 2, 2, 0, 2, 0, 1, 1]);

    let timer = counters[0];
    assert_eq!(rig.call(PMU, 4, &[timer, 1, 0]), Ok(0));
    assert_eq!(rig.call(TIME, 0, &[1]), Ok(0));
    assert_eq!(rig.call(PMU, 5, &[timer]), Ok(2), "stopped");
    assert_eq!(rig.call(PMU, 3, &[timer, 1, 0, 0]), Ok(0));
    assert_eq!(rig.call(TIME, 0, &[1]), Ok(0));
    assert_eq!(rig.call(PMU, 5, &[timer]), Ok(3));
    assert_eq!(rig.call(PMU, 3, &[timer, 1, 1, 0]), ALREADY_STARTED);
    assert_eq!(rig.call(PMU, 4, &[timer, 1, 0]), Ok(0));
    assert_eq!(rig.call(PMU, 3, &[timer, 1, 1, u64::MAX]), Ok(0));
    assert_eq!(rig.call(TIME, 0, &[1]), Ok(0));
    assert_eq!(rig.call(PMU, 5, &[timer]), Ok(0), "an initial value, and wrapping");
    assert_eq!(rig.call(PMU, 4, &[timer, 1, 1]), Ok(0));
    assert_eq!(rig.call(PMU, 3, &[timer, 1, 0, 0]), INVALID_PARAM, "its event has been taken away");
    assert_eq!(rig.raw(1, PMU, 5, &[counters[1]]), Outcome::Return { a0: 0, a1: 0 }, "each hart has its own");
}

#[test]
fn event_info() {
    let mut rig = Rig::new(1);
    let at = BASE + 0x100;
    let events: [(u32, u64, u32); 6] =
        [(1, 0, 1), (4, 0, 0), (0xf_0005, 0, 1), (0xf_0000, 0, 0), (0x2_0000, 0x42, 1), (0x2_0000, 0x142, 0)];
    for (i, (event, data, _)) in events.into_iter().enumerate() {
        let entry = at + 16 * i as u64;
        rig.mock.memory.write_obj(u64::from(event) | 0xffff_ffff << 32, GuestAddress(entry)).unwrap();
        rig.mock.memory.write_obj(data, GuestAddress(entry + 8)).unwrap();
    }
    assert_eq!(rig.call(PMU, 8, &[at, 0, 6, 0]), Ok(0));
    for (i, (event, _, supported)) in events.into_iter().enumerate() {
        let output: u32 = rig.mock.memory.read_obj(GuestAddress(at + 16 * i as u64 + 4)).unwrap();
        assert_eq!(output, supported, "event {event:#x}");
    }
    assert_eq!(rig.call(PMU, 8, &[at, 0, 0, 0]), Ok(0));
    assert_eq!(rig.call(PMU, 8, &[at + 8, 0, 1, 0]), INVALID_PARAM);
    assert_eq!(rig.call(PMU, 8, &[at, 0, 1, 1]), INVALID_PARAM);
    rig.mock.memory.write_obj(0x10_0001_u32, GuestAddress(at)).unwrap();
    assert_eq!(rig.call(PMU, 8, &[at, 0, 1, 0]), INVALID_PARAM, "reserved bits in the event");
    for (low, high, entries) in [(0, 0, 1), (at, 1, 1), (BASE + MEMORY - 16, 0, 2), (at, 0, 1 << 60)] {
        assert_eq!(rig.call(PMU, 8, &[low, high, entries, 0]), INVALID_ADDRESS);
    }
    assert_eq!(rig.call(PMU, 8, &[BASE, 0, MEMORY / 16, 0]), Err(-1), "more than one call is for");
}

#[test]
fn firmware_features() {
    let mut rig = Rig::new(1);
    let (misaligned, ad) = (0, 4);
    rig.mock.csrs.insert(csr::MEDELEG, 0xb1ff);
    assert_eq!(rig.call(FWFT, 1, &[misaligned]), Ok(1));
    assert_eq!(rig.call(FWFT, 0, &[misaligned, 1, 0]), Ok(0));
    assert_eq!(rig.call(FWFT, 0, &[misaligned, 0, 0]), DENIED);

    rig.mock.csrs.insert(csr::MENVCFG, 0xf0);
    assert_eq!(rig.call(FWFT, 1, &[ad]), Ok(0));
    assert_eq!(rig.mock.csr(csr::MENVCFG), 0xf0, "looking changes nothing");
    assert_eq!(rig.call(FWFT, 0, &[ad, 1, 0]), Ok(0));
    assert_eq!((rig.call(FWFT, 1, &[ad]), rig.mock.csr(csr::MENVCFG)), (Ok(1), 1 << 61 | 0xf0));
    assert_eq!(rig.call(FWFT, 0, &[ad, 0, 1]), Ok(0));
    assert_eq!(rig.mock.csr(csr::MENVCFG), 0xf0);
    assert_eq!(rig.call(FWFT, 0, &[ad, 1, 0]), Err(-14), "locked");
    assert_eq!(rig.call(FWFT, 0, &[misaligned, 1, 0]), Ok(0), "the other is not");
    assert_eq!(rig.raw(0, HSM, 1, &[]), Outcome::Stop);
    assert_eq!(rig.sbi.poll_start(0), None);
    rig.sbi.boot(0, BASE, 0);
    assert!(rig.sbi.poll_start(0).is_some());
    assert_eq!(rig.call(FWFT, 0, &[ad, 1, 0]), Ok(0), "a lock ends when the hart starts anew");

    for (value, flags) in [(2, 0), (u64::MAX, 0), (1, 2), (1, u64::MAX)] {
        assert_eq!(rig.call(FWFT, 0, &[ad, value, flags]), INVALID_PARAM);
    }
    (rig.mock.menvcfg_mask, rig.mock.csrs) = (0xff, [(csr::MENVCFG, 0)].into());
    for function in [0, 1] {
        assert_eq!(rig.call(FWFT, function, &[ad, 0, 0]), NOT_SUPPORTED, "a hart without Svadu");
        assert_eq!(rig.call(FWFT, function, &[3, 0, 0]), NOT_SUPPORTED);
        for reserved in [6, 0x3fff_ffff, 0x4000_0000, 0xc000_0000] {
            assert_eq!(rig.call(FWFT, function, &[reserved, 0, 0]), DENIED);
        }
    }
}

/// Any registers on any hart: no panic, and afterwards every hart is in a state that it can leave.
#[test]
fn hostile_calls() {
    let extensions = [0x10, TIME, IPI, RFENCE, HSM, DBCN, PMU, SUSP, FWFT, 1, 2, 4, 5, 6, 7];
    for seed in crate::testing::seeds(200) {
        let mut rng = Rng::new(seed);
        let mut rig = Rig::new(1 + rng.below(80));
        for _ in 0..300 {
            let harts = rig.sbi.harts.len();
            let hart = rng.below(harts);
            let address = |rng: &mut Rng| BASE.wrapping_add(rng.next() % (2 * MEMORY));
            let mut args: [u64; 8] = std::array::from_fn(|_| match rng.below(4) {
                0 => address(&mut rng),
                1 => rng.next() % 32,
                _ => rng.nasty(),
            });
            (args[6], args[7]) = (rng.next() % 10, extensions[rng.below(extensions.len())]);
            if rng.below(8) == 0 {
                args[7] = rng.nasty();
            }
            rig.mock.actions.clear();
            match rig.sbi.call(hart, &args, &mut rig.mock) {
                Outcome::Stop => assert_eq!(rig.sbi.poll_start(hart), None),
                Outcome::Suspend => drop(rig.sbi.resume(hart)),
                Outcome::Retry => panic!("the console takes all, seed {seed}"),
                _ => {}
            }
            for action in rig.mock.take_actions() {
                match action {
                    Action::Ipi(target) | Action::Wake(target) => assert!(target < harts, "seed {seed}"),
                    Action::Fence(set, _) => assert!(set.iter().all(|&hart| hart < harts), "seed {seed}"),
                    Action::Timer(_) => {}
                }
            }
        }
        for hart in 0..rig.sbi.harts.len() {
            rig.sbi.poll_start(hart);
            let state = rig.sbi.hart_state(hart);
            assert!(matches!(state, Some(HartState::Started | HartState::Stopped)), "seed {seed}: {state:?}");
        }
    }
}
