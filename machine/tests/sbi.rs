//! What the built-in firmware gets from the machine: console input and counters, by programs in supervisor mode.

mod support;

use std::time::Duration;

use machine::{Accel, Arch, Console, Ended, MachineConfig};
use support::asm::*;
use support::serial::Serial;
use support::{Outcome, Running, bytes, program};
use tempfile::TempDir;

/// How long a program may take on a busy host.
const LIMIT: Duration = Duration::from_secs(60);

const A1: Reg = 11;
const A2: Reg = 12;
const A3: Reg = 13;
const A6: Reg = 16;
const A7: Reg = 17;

/// Extensions, by number (SBI 3.0).
const DBCN: u32 = 0x4442_434e;
const SRST: u32 = 0x5352_5354;
const PMU: u32 = 0x0050_4d55;

/// Control and status registers of supervisor mode, and the bits that are used.
const SIE: u32 = 0x104;
const STVEC: u32 = 0x105;
const SSTATUS: u32 = 0x100;
const SCAUSE: u32 = 0x142;
const COUNTER_OVERFLOW: i32 = 13;

/// `rd` = a number of 31 bits.
fn li(rd: Reg, value: u32) -> [u32; 2] {
    let low = (value << 20) as i32 >> 20;
    [lui(rd, value.wrapping_sub(low as u32) >> 12), addi(rd, rd, low)]
}

/// A call of function `function`, which the arguments have been made for.
fn call(extension: u32, function: i32) -> [u32; 4] {
    let [upper, lower] = li(A7, extension);
    [upper, lower, addi(A6, ZERO, function), ECALL]
}

/// Switches the machine off; it ends with success if `a1` is zero.
fn switch_off() -> Vec<u32> {
    [&[addi(A0, ZERO, 0)][..], &call(SRST, 0)].concat()
}

/// A machine with the built-in firmware that enters `code` in supervisor mode.
fn machine(code: &[u32], accel: Accel) -> (MachineConfig, TempDir) {
    let (mut config, dir) = program(Arch::Riscv64, &bytes(code));
    config.accel = accel;
    (config, dir)
}

fn expect_success(running: &Running) {
    let outcome = running.wait(LIMIT);
    assert!(matches!(outcome, Outcome::Ended(Ok(Ended::Off { code: 0 }))), "{outcome:?}");
}

#[test]
fn the_debug_console_reads_what_is_typed() {
    const BUFFER: i32 = 0x400;
    let back = |code: &Vec<u32>, to: usize| (to as i32 - code.len() as i32) * 4;
    let read_one =
        [&[addi(A0, ZERO, 1), addi(A1, S0, BUFFER), addi(A2, ZERO, 0)][..], &call(DBCN, 1)].concat();
    let write = |byte: u8| [&[addi(A0, ZERO, byte.into())][..], &call(DBCN, 2)].concat();
    let mut code = vec![here(S0)];
    // It asks now and then, until somebody answers.
    let ask = code.len();
    code.extend(write(b'?'));
    code.extend([lui(T0, 0x400), addi(T0, T0, -1), bne(T0, ZERO, -4)]);
    code.extend(&read_one);
    code.push(beq(A1, ZERO, back(&code, ask)));
    code.extend(write(b'>'));
    let read = code.len();
    code.extend(&read_one);
    code.push(beq(A1, ZERO, back(&code, read)));
    code.push(load(0, A0, S0, BUFFER));
    code.extend([addi(T0, A0, 0), addi(T1, ZERO, i32::from(b'.'))]);
    code.extend(call(DBCN, 2));
    code.push(bne(T0, T1, back(&code, read)));
    code.extend([addi(A1, ZERO, 0)]);
    code.extend(switch_off());

    let (mut config, dir) = machine(&code, Accel::Auto);
    let socket = dir.path().join("console");
    config.console = Console::Unix(socket.clone());
    let running = Running::start(config).expect("a machine");
    let mut serial = Serial::connect(&socket);
    // What is typed before the machine's power-on is lost, and so is what it says before somebody listens.
    serial.expect("?", LIMIT);
    serial.send_line("");
    serial.expect(">", LIMIT);
    // More than the serial port's own buffer holds.
    let text = "what is typed comes back, every character of it once and in order";
    serial.send_line(text);
    serial.expect(&format!("{text}\n"), LIMIT);
    serial.send_line(".");
    expect_success(&running);
}

#[test]
fn a_counter_interrupts_when_it_overflows() {
    const CLEAR: i32 = 1 << 1;
    const SET_INITIAL: i32 = 1 << 0;
    const HANDLER: i32 = 0x200;
    const INSTRUCTIONS: i32 = 2;
    for accel in [Accel::Interp, Accel::Auto] {
        let mut code = vec![here(S0), addi(T0, S0, HANDLER), csrw(STVEC, T0)];
        // Any of the counters from 3 to 18 that can count instructions.
        code.extend(li(A1, 0xffff));
        code.extend([
            addi(A0, ZERO, 3),
            addi(A2, ZERO, CLEAR),
            addi(A3, ZERO, INSTRUCTIONS),
            addi(14, ZERO, 0),
        ]);
        code.extend(call(PMU, 2));
        let refused = code.len();
        code.push(0);
        // It starts a few instructions before its end.
        code.extend([addi(A0, A1, 0), addi(A1, ZERO, 1), addi(A2, ZERO, SET_INITIAL), addi(A3, ZERO, -2000)]);
        code.extend(call(PMU, 3));
        code.extend([addi(T0, ZERO, 1), slli(T0, T0, COUNTER_OVERFLOW), csrw(SIE, T0)]);
        code.extend([addi(T0, ZERO, 1 << 1), csrw(SSTATUS, T0), jump(0)]);
        code.resize(HANDLER as usize / 4, 0);
        // Success is a cause of interrupt 13 alone.
        code.extend([csrr(A1, SCAUSE), addi(T0, ZERO, 1), slli(T0, T0, 63), addi(T0, T0, COUNTER_OVERFLOW)]);
        code.push(sub(A1, A1, T0));
        let off = code.len();
        code.extend(switch_off());
        code[refused] = bne(A0, ZERO, (off as i32 - refused as i32) * 4);
        let (config, _dir) = machine(&code, accel);
        expect_success(&Running::start(config).expect("a machine"));
    }
}
