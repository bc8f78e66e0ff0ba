//! What only shows when instructions run: where blocks end, what they count, and how far they may reach.

use emu_core::exec::{Engine, Exit, HostRequest, Limits};
use emu_core::interp::Interpreter;

use super::*;

const NOP: u32 = 0x13;
const WFI: u32 = 0x1050_0073;
const EBREAK: u32 = 0x10_0073;

/// Writes instructions to memory.
fn place(hart: &Hart, at: u64, code: &[u32]) {
    let ram = hart.bus.ram();
    for (i, word) in code.iter().enumerate() {
        let bytes = word.to_le_bytes();
        for (j, byte) in bytes.into_iter().enumerate() {
            ram.store(ram.offset_of(at + 4 * i as u64 + j as u64, 1).unwrap(), byte);
        }
    }
}

/// Runs from `at` in M-mode's or the current mode until the hart waits, or for `steps` instructions.
fn run(hart: &mut Hart, at: u64, steps: Option<u64>) -> Exit {
    hart.state.pc = at;
    Interpreter::new().run(hart, Limits { steps, ..Limits::NONE })
}

/// `csrrs rd, csr, x0`.
fn csrr(rd: u32, csr: u32) -> u32 {
    csr << 20 | 2 << 12 | rd << 7 | 0x73
}

/// `csrrw x0, csr, rs1`.
fn csrw(csr: u32, rs1: u32) -> u32 {
    csr << 20 | rs1 << 15 | 1 << 12 | 0x73
}

#[test]
fn the_instruction_counter_is_exact_wherever_it_is_read() {
    for steps in [None, Some(9)] {
        let mut hart = hart();
        // x5 = 1000; minstret = x5; then reads among other instructions.
        let code = [
            0x3e80_0293,
            csrw(0xb02, 5),
            csrr(10, 0xb02),
            NOP,
            NOP,
            csrr(11, 0xb02),
            NOP,
            csrr(12, 0xc02),
            WFI,
        ];
        place(&hart, RAM, &code);
        run(&mut hart, RAM, steps);
        assert_eq!(hart.state.slots[10..13], [1000, 1003, 1005], "{steps:?}");
        assert_eq!(hart.state.retired, 9);
    }
}

#[test]
fn waiting_completes_the_instruction() {
    let mut hart = hart();
    place(&hart, RAM, &[NOP, WFI, NOP]);
    assert_eq!(run(&mut hart, RAM, None), Exit::Request(HostRequest::Wait { deadline: None }));
    assert_eq!((hart.state.pc, hart.state.retired), (RAM + 8, 2));
}

/// A hart in S-mode whose traps end in a `WFI` in M-mode.
fn trapping() -> Hart {
    let mut hart = hart();
    place(&hart, RAM, &[WFI]);
    set(&mut hart, 0x305, RAM);
    open_pmp(&mut hart);
    enter(&mut hart, S);
    hart
}

/// What the last trap to M-mode was.
fn trap(hart: &Hart) -> [u64; 3] {
    [get(hart, 0x342), get(hart, 0x343), get(hart, 0x341)]
}

#[test]
fn code_stops_at_the_edge_of_what_may_be_executed() {
    let at = RAM + 0x2000;
    let edge = at + 0x10;
    for steps in [None, Some(9)] {
        let mut hart = trapping();
        place(&hart, at, &[NOP; 16]);
        // All of the page, so that there is a block of the whole; then no further than the edge.
        place(&hart, at + 0x20, &[EBREAK]);
        run(&mut hart, at, steps);
        assert_eq!(trap(&hart), [3, at + 0x20, at + 0x20]);
        // 16 bytes for everything, then four that may not be executed, then nothing.
        set(&mut hart, 0x3b0, edge >> 2);
        set(&mut hart, 0x3b1, at >> 2 | 1);
        set(&mut hart, 0x3a0, 0x1f13);
        enter(&mut hart, S);
        run(&mut hart, at, steps);
        assert_eq!(trap(&hart), [1, edge, edge], "{steps:?}");
        // The same, with an instruction of which the first half may be executed.
        place(&hart, edge - 2, &[NOP]);
        place(&hart, edge - 4, &[0x0013_0001]); // c.nop and the first half of NOP
        hart.sync_code();
        enter(&mut hart, S);
        run(&mut hart, at, steps);
        assert_eq!(trap(&hart), [1, edge, edge - 2], "{steps:?}");
    }
}

#[test]
fn an_interrupt_is_taken_before_the_instruction_after_the_one_that_enables_it() {
    let mut hart = hart();
    place(&hart, RAM, &[0x3004_6073, NOP, NOP]); // csrsi mstatus, MIE
    place(&hart, RAM + 0x100, &[WFI]);
    for (number, value) in [(0x305, RAM + 0x100), (0x304, 2), (0x344, 2)] {
        set(&mut hart, number, value);
    }
    run(&mut hart, RAM, Some(1));
    run(&mut hart, RAM + 4, Some(1));
    assert_eq!(trap(&hart), [1 << 63 | 1, 0, RAM + 4]);
}

#[test]
fn code_of_each_context_is_its_own() {
    let mut hart = trapping();
    let at = RAM + 0x2000;
    // fadd.s with the dynamic rounding mode: illegal while the unit is off or the mode is reserved.
    place(&hart, at, &[0x0000_7053, EBREAK]);
    run(&mut hart, at, None);
    assert_eq!(trap(&hart), [2, 0x7053, at]);
    fp_on(&mut hart);
    enter(&mut hart, S);
    run(&mut hart, at, None);
    assert_eq!(trap(&hart)[0], 3);
    assert_eq!(get(&hart, 0x300) >> 13 & 3, 3, "dirty");
    set(&mut hart, 2, 5);
    enter(&mut hart, S);
    run(&mut hart, at, None);
    assert_eq!(trap(&hart), [2, 0x7053, at]);
}

#[test]
fn returns_count_in_the_mode_that_they_leave() {
    let mut hart = trapping();
    enter(&mut hart, M);
    let (at, user) = (RAM + 0x2000, RAM + 0x3000);
    place(&hart, at, &[NOP, NOP, 0x3020_0073]); // mret to U
    place(&hart, user, &[NOP, NOP, NOP, EBREAK]);
    set(&mut hart, 0x341, user);
    set(&mut hart, 0x323, 2 | 1 << 62); // not in M
    set(&mut hart, 0x324, 2 | 1 << 60); // not in U
    run(&mut hart, at, None);
    assert_eq!([get(&hart, 0xb03), get(&hart, 0xb04)], [3, 4], "with the WFI of the trap");
}
