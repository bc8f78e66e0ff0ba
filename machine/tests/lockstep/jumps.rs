//! A program for aarch64 whose indirect calls change where they go, so that regions are left where they do: the ways out of a
//! dispatch, recursion, conditional comparisons, more registers than regions keep in variables.

use emu_core::exec::Vcpu;
use frontends::aarch64::pauth::Algorithm;
use frontends::aarch64::{Aarch64, Config, MODELS, enter};

use crate::program::{BELL, CODE, DATA, END, RAM, RAM_LEN};
use crate::{Guest, Keep, run};

/// Rounds of the loop; each function is called in this many in turn.
const ROUNDS: u32 = 4096;
const ROUNDS_BITS: u32 = 7;

const RET: u32 = 0xd65f_03c0;
/// `stp x29, x30, [sp, #-16]!` and what takes it back.
const PUSH: u32 = 0xa9bf_7bfd;
const POP: u32 = 0xa8c1_7bfd;

/// An operation on three registers.
fn three(code: u32, [d, n, m]: [u32; 3]) -> u32 {
    code | m << 16 | n << 5 | d
}

fn add(registers: [u32; 3]) -> u32 {
    three(0x8b00_0000, registers)
}

fn eor(registers: [u32; 3]) -> u32 {
    three(0xca00_0000, registers)
}

fn movz(d: u32, value: u32) -> u32 {
    0xd280_0000 | value << 5 | d
}

/// `subs d, d, #1`
fn count_down(d: u32) -> u32 {
    0xf100_0400 | d << 5 | d
}

/// A branch of 26 or 19 bits, by instructions.
fn branch(code: u32, from: usize, to: usize) -> u32 {
    let by = (to as u32).wrapping_sub(from as u32);
    if code >> 24 == 0x54 { code | (by & 0x7_ffff) << 5 } else { code | by & 0x3ff_ffff }
}

struct Switching {
    image: Vec<u8>,
}

impl Guest for Switching {
    type Isa = Aarch64;

    const PINS: u64 = 0;

    fn new(_: u64) -> Self {
        let mut code: Vec<u32> = Vec::new();
        let mut functions = Vec::new();
        // Each leaves something else in x2.
        functions.push(code.len());
        code.extend([add([2, 2, 5]), RET]);
        functions.push(code.len());
        // cmp x2, x6; ccmp x5, x7, #4, hi; csel x8, x2, x5, le
        code.extend([0xeb06_005f, 0xfa47_80a4, 0x9a85_d048, eor([2, 2, 8]), RET]);
        functions.push(code.len());
        // cmp x2, x9; x2 changes before csel x10, x2, x10, cc.
        code.extend([0xeb09_005f, add([2, 2, 9]), 0x9a8a_304a, add([2, 2, 10]), RET]);
        let recursive = code.len();
        code.extend([PUSH, count_down(21)]);
        code.push(branch(0x5400_0000, code.len(), code.len() + 2));
        code.push(branch(0x9400_0000, code.len(), recursive));
        code.extend([add([2, 2, 21]), POP, RET]);
        functions.push(code.len());
        code.extend([PUSH, movz(21, 6)]);
        code.push(branch(0x9400_0000, code.len(), recursive));
        code.extend([POP, RET]);
        let start = code.len();
        code.push(movz(0, ROUNDS));
        let around = code.len();
        // lsr x3, x0, #ROUNDS_BITS; and x3, x3, #3; ldr x4, [x1, x3, lsl #3]; blr x4
        code.extend([0xd340_fc03 | ROUNDS_BITS << 16, 0x9240_0463, 0xf863_7824, 0xd63f_0080]);
        code.extend(
            (5..20).map(|n| if n % 2 == 0 { eor([n + 1, n + 1, n]) } else { add([n + 1, n + 1, n]) }),
        );
        code.extend([add([5, 5, 2]), count_down(0)]);
        code.push(branch(0x5400_0001, code.len(), around));
        // movz x9, BELL >> 16, lsl #16; str x2, [x9, #END]; b .
        code.extend([
            0xd2a0_0009 | ((BELL >> 16) as u32) << 5,
            0xf900_0122 | (END as u32 / 8) << 10,
            0x1400_0000,
        ]);
        let mut image = vec![0; RAM_LEN as usize];
        let mut put =
            |at: u64, bytes: &[u8]| image[(at - RAM) as usize..][..bytes.len()].copy_from_slice(bytes);
        for (at, word) in (CODE..).step_by(4).zip(&code) {
            put(at, &word.to_le_bytes());
        }
        for (at, &function) in (DATA..).step_by(8).zip(&functions) {
            put(at, &(CODE + 4 * function as u64).to_le_bytes());
        }
        put(DATA + 0x100, &(CODE + 4 * start as u64).to_le_bytes());
        Self { image }
    }

    fn isa(&self) -> Aarch64 {
        let pauth = Algorithm::Fast;
        Aarch64::new(Config { model: MODELS[0], mpidr: 0, conduit: None, pauth, el2: false, el3: false })
    }

    fn image(&self) -> &[u8] {
        &self.image
    }

    fn set_up(&self, cpu: &mut Vcpu<Aarch64>) {
        let start = self.image[(DATA + 0x100 - RAM) as usize..][..8].try_into().unwrap();
        enter(cpu, 1, u64::from_le_bytes(start), 0);
        for n in 0..21 {
            cpu.state.slots[n] = 0x1234_5678_9abc_def1u64.wrapping_mul(n as u64 + 3);
        }
        cpu.state.slots[1] = DATA;
        cpu.state.slots[31] = DATA + 0x8000;
    }
}

#[test]
fn aarch64_calls_that_change_where_they_go() {
    let mut regions = 0;
    for seed in 0..24 {
        for brief in [false, true] {
            let done = run::<Switching>(seed, brief, Keep::Nothing);
            let done = done.unwrap_or_else(|text| panic!("seed {seed}, brief: {brief}: {text}"));
            assert!(done.ended, "seed {seed}: the program has not come to its end");
            regions += done.regions;
        }
    }
    assert!(regions > 0, "no region was made");
}
