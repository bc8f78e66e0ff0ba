//! What the benchmarks share: a bare RISC-V machine, and programs for it.
//!
//! `cargo bench -p benches` measures parts, each benchmark saying what one iteration is; `cargo run --release -p benches
//! --bin compare` measures whole guests against QEMU and the host. Numbers from a busy host mean nothing: compare ratios.

pub mod code;

use std::sync::Arc;

use emu_core::exec::{BlockMap, Engine, Exit, HostRequest, Limits, Vcpu, VcpuParts};
use emu_core::mem::{BusBuilder, RamBuilder};
use emu_core::sync::Group;
use emu_core::time::Clock;
use frontends::riscv::{self, Config, Hart, MODELS, Riscv};

/// Where the bare machine's memory begins.
pub const RAM: u64 = 0x8000_0000;
/// Bytes of memory.
pub const RAM_LEN: u64 = 64 << 20;
/// Where programs keep data.
pub const DATA: u64 = RAM + (1 << 20);

/// Instructions as words, for the programs of the benchmarks.
pub mod asm {
    /// `wfi`: ends a run.
    pub const WFI: u32 = 0x1050_0073;
    /// `ret`
    pub const RET: u32 = 0x0000_8067;

    /// An instruction with two registers, by its opcode and function bits.
    const fn r(op: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
        op | rd << 7 | rs1 << 15 | rs2 << 20
    }

    const fn i(op: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
        op | rd << 7 | rs1 << 15 | (imm as u32) << 20
    }

    /// `add rd, rs1, rs2`
    pub const fn add(rd: u32, rs1: u32, rs2: u32) -> u32 {
        r(0x33, rd, rs1, rs2)
    }

    /// `addw rd, rs1, rs2`
    pub const fn addw(rd: u32, rs1: u32, rs2: u32) -> u32 {
        r(0x3b, rd, rs1, rs2)
    }

    /// `xor rd, rs1, rs2`
    pub const fn xor(rd: u32, rs1: u32, rs2: u32) -> u32 {
        r(0x4033, rd, rs1, rs2)
    }

    /// `mul rd, rs1, rs2`
    pub const fn mul(rd: u32, rs1: u32, rs2: u32) -> u32 {
        r(0x0200_0033, rd, rs1, rs2)
    }

    /// `addi rd, rs1, imm`
    pub const fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
        i(0x13, rd, rs1, imm)
    }

    /// `slli rd, rs1, shift`
    pub const fn slli(rd: u32, rs1: u32, shift: i32) -> u32 {
        i(0x1013, rd, rs1, shift)
    }

    /// `srli rd, rs1, shift`
    pub const fn srli(rd: u32, rs1: u32, shift: i32) -> u32 {
        i(0x5013, rd, rs1, shift)
    }

    /// `ld rd, imm(rs1)`
    pub const fn ld(rd: u32, rs1: u32, imm: i32) -> u32 {
        i(0x3003, rd, rs1, imm)
    }

    /// `lw rd, imm(rs1)`
    pub const fn lw(rd: u32, rs1: u32, imm: i32) -> u32 {
        i(0x2003, rd, rs1, imm)
    }

    /// `sd rs2, imm(rs1)`
    pub const fn sd(rs2: u32, rs1: u32, imm: i32) -> u32 {
        let imm = imm as u32;
        0x3023 | (imm & 0x1f) << 7 | rs1 << 15 | rs2 << 20 | (imm >> 5) << 25
    }

    /// `lui rd, upper`: the upper 20 bits.
    pub const fn lui(rd: u32, upper: u32) -> u32 {
        0x37 | rd << 7 | upper << 12
    }

    /// `bnez rs, offset`
    pub const fn bnez(rs: u32, offset: i32) -> u32 {
        let imm = offset as u32;
        0x1063
            | rs << 15
            | (imm >> 11 & 1) << 7
            | (imm >> 1 & 15) << 8
            | (imm >> 5 & 63) << 25
            | (imm >> 12) << 31
    }

    /// `jal rd, offset`
    pub const fn jal(rd: u32, offset: i32) -> u32 {
        let imm = offset as u32;
        let low = (imm >> 1 & 0x3ff) << 21 | (imm >> 11 & 1) << 20;
        0x6f | rd << 7 | (imm >> 12 & 0xff) << 12 | low | (imm >> 20) << 31
    }
}

/// The only hart of a machine that has memory and nothing else, in M-mode at the start of `program`, which lies at [`RAM`].
///
/// # Panics
/// If the host gives no memory, or the program does not fit.
pub fn bare_hart(program: &[u32]) -> Hart {
    let ram = RamBuilder::new().region("memory", RAM, RAM_LEN, true).and_then(RamBuilder::build);
    let ram = ram.unwrap_or_else(|error| panic!("{error}"));
    for (index, word) in program.iter().enumerate() {
        ram.store(index * 4, *word);
    }
    let config = Config { model: MODELS[0], hart_id: 0, timebase_hz: 10_000_000, firmware_calls: false };
    let parts = VcpuParts {
        index: 0,
        bus: Arc::new(BusBuilder::new(Arc::new(ram)).build()),
        group: Arc::new(Group::new(1)),
        blocks: Arc::new(BlockMap::default()),
        clock: Clock::real_time(),
    };
    let mut hart = Vcpu::new(Riscv::new(config, None), parts);
    riscv::reset(&mut hart);
    hart.state.pc = RAM;
    hart
}

/// Runs the program at [`RAM`] to its `wfi`; how many instructions that took.
///
/// # Panics
/// If it ends in any other way: a wrong program must not be measured.
pub fn run_program(engine: &mut dyn Engine<Riscv>, hart: &mut Hart) -> u64 {
    let before = hart.state.retired;
    hart.state.pc = RAM;
    match engine.run(hart, Limits::NONE) {
        Exit::Request(HostRequest::Wait { .. }) => hart.state.retired - before,
        exit => panic!("the program ended with {exit:?} at {:#x}", hart.state.pc),
    }
}

/// Programs, each with a name and how many instructions one run takes.
pub mod programs {
    use super::asm::*;

    /// Times that each loop goes round: small enough for the 12 bits of an immediate.
    const ROUNDS: i32 = 1000;

    /// Integer arithmetic: ten instructions and a branch back.
    pub fn integer() -> Vec<u32> {
        let body = [
            slli(11, 10, 13),
            xor(10, 10, 11),
            srli(11, 10, 7),
            xor(10, 10, 11),
            addi(12, 12, 3),
            add(10, 10, 12),
            mul(13, 10, 12),
            addw(14, 14, 13),
            xor(15, 14, 10),
            addi(5, 5, -1),
        ];
        looped(&[addi(5, 0, ROUNDS), addi(10, 0, 77)], &body)
    }

    /// Four loads and four stores in two pages that are always in the TLB, and a branch back.
    pub fn memory() -> Vec<u32> {
        let body = [
            ld(10, 6, 0),
            sd(10, 6, 8),
            ld(11, 6, 16),
            sd(11, 6, 24),
            lw(12, 7, 4),
            sd(12, 7, 8),
            ld(13, 7, 64),
            sd(13, 7, 72),
            addi(5, 5, -1),
        ];
        looped(&[addi(5, 0, ROUNDS), lui(6, 0x80100), lui(7, 0x80101)].map(zero_extended).concat(), &body)
    }

    /// A call of a small function, and a branch back.
    pub fn calls() -> Vec<u32> {
        let mut program = looped(&[addi(5, 0, ROUNDS)], &[jal(1, 16), addi(5, 5, -1)]);
        // The function: 16 bytes after the call.
        program.extend([addi(10, 10, 1), add(11, 11, 10), RET]);
        program
    }

    /// A kilobyte-long chain of short blocks that runs once: what it costs to meet new code.
    pub fn straight(blocks: usize) -> Vec<u32> {
        let block = [addi(10, 10, 1), xor(11, 11, 10), slli(12, 10, 3), add(13, 12, 11), jal(0, 4)];
        let mut program = block.repeat(blocks);
        program.push(WFI);
        program
    }

    /// Blocks that run once, one after the other, made like those of compiled code: loads, arithmetic with what was loaded,
    /// stores, and a branch that is not taken, in registers that change from block to block.
    pub fn mixed(blocks: usize) -> Vec<u32> {
        let mut program = [lui(6, 0x80100), lui(7, 0x80101)].map(zero_extended).concat();
        // The registers that compilers use most: a0 to a5, s0 and s1, t3 to t6.
        const REGISTERS: [u32; 12] = [10, 11, 12, 13, 14, 15, 8, 9, 28, 29, 30, 31];
        for block in 0..blocks {
            let reg = |n: usize| REGISTERS[(block * 5 + n) % REGISTERS.len()];
            let [a, b, c, d] = [reg(0), reg(1), reg(2), reg(3)];
            let near = (block % 64) as i32 * 8;
            program.extend(match block % 4 {
                0 => vec![ld(a, 6, near), ld(b, 6, near + 8), add(c, a, b), sd(c, 7, near), bnez(0, 8)],
                1 => vec![
                    lw(a, 7, near),
                    addi(a, a, 1),
                    slli(b, a, 2),
                    add(b, b, a),
                    addw(c, b, d),
                    bnez(0, 8),
                ],
                2 => vec![
                    addi(a, b, -16),
                    xor(d, a, c),
                    srli(d, d, 3),
                    ld(c, 7, near),
                    mul(d, d, c),
                    sd(d, 6, near),
                ],
                _ => vec![
                    sd(a, 7, near),
                    sd(b, 7, near + 8),
                    addi(d, 0, 7),
                    ld(a, 6, near),
                    add(a, a, d),
                    jal(0, 4),
                ],
            });
        }
        program.push(WFI);
        program
    }

    /// `lui` sign-extends: addresses from 2 GiB take two shifts more.
    fn zero_extended(word: u32) -> Vec<u32> {
        let rd = word >> 7 & 31;
        if word & 0x7f == 0x37 { vec![word, slli(rd, rd, 32), srli(rd, rd, 32)] } else { vec![word] }
    }

    /// `body`, which counts x5 down, until that is zero; then the end.
    fn looped(start: &[u32], body: &[u32]) -> Vec<u32> {
        let back = bnez(5, -4 * body.len() as i32);
        [start, body, &[back, WFI]].concat()
    }
}
