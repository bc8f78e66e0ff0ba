//! Small bare-metal programs as RISC-V code words, for guests that need no compiler.
//!
//! Only what those programs need is here. Formats and opcodes: RISC-V Unprivileged ISA, "RV32/64G Instruction Set
//! Listings".

/// A register number.
pub type Reg = u32;
/// `zero`.
pub const ZERO: Reg = 0;
/// `ra`.
pub const RA: Reg = 1;
/// `t0`.
pub const T0: Reg = 5;
/// `t1`.
pub const T1: Reg = 6;
/// `t2`.
pub const T2: Reg = 7;
/// `s0`.
pub const S0: Reg = 8;
/// `a0`, which holds the number of the hart at its start.
pub const A0: Reg = 10;
/// `t3`.
pub const T3: Reg = 28;
/// `t5`.
pub const T5: Reg = 30;
/// `t6`.
pub const T6: Reg = 31;

/// Numbers of control and status registers (Priv., "CSR Listing").
pub mod csr {
    #![allow(missing_docs, reason = "the names are the specification's")]

    pub const SATP: u32 = 0x180;
    pub const MSTATUS: u32 = 0x300;
    pub const MEDELEG: u32 = 0x302;
    pub const MIE: u32 = 0x304;
    pub const MTVEC: u32 = 0x305;
    pub const MEPC: u32 = 0x341;
    pub const PMPCFG0: u32 = 0x3a0;
    pub const PMPADDR0: u32 = 0x3b0;
}

/// Instructions with a register and a 12-bit immediate operand.
fn i_type(opcode: u32, funct3: u32, rd: Reg, rs1: Reg, imm: i32) -> u32 {
    assert!((-2048..2048).contains(&imm), "{imm}");
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn s_type(opcode: u32, funct3: u32, rs1: Reg, rs2: Reg, imm: i32) -> u32 {
    assert!((-2048..2048).contains(&imm), "{imm}");
    let imm = imm as u32;
    (imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 0x1f) << 7 | opcode
}

fn r_type(opcode: u32, funct3: u32, funct7: u32, rd: Reg, rs1: Reg, rs2: Reg) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub fn addi(rd: Reg, rs1: Reg, imm: i32) -> u32 {
    i_type(0x13, 0, rd, rs1, imm)
}

pub fn andi(rd: Reg, rs1: Reg, imm: i32) -> u32 {
    i_type(0x13, 7, rd, rs1, imm)
}

pub fn slli(rd: Reg, rs1: Reg, shift: i32) -> u32 {
    i_type(0x13, 1, rd, rs1, shift)
}

pub fn add(rd: Reg, rs1: Reg, rs2: Reg) -> u32 {
    r_type(0x33, 0, 0, rd, rs1, rs2)
}

pub fn lui(rd: Reg, upper: u32) -> u32 {
    upper << 12 | rd << 7 | 0x37
}

/// `rd` = the instruction's own address.
pub fn here(rd: Reg) -> u32 {
    rd << 7 | 0x17
}

/// A load of 2^`size` bytes, sign-extended.
pub fn load(size: u32, rd: Reg, rs1: Reg, offset: i32) -> u32 {
    i_type(0x03, size, rd, rs1, offset)
}

/// A zero-extended load of 2 bytes.
pub fn lhu(rd: Reg, rs1: Reg, offset: i32) -> u32 {
    i_type(0x03, 5, rd, rs1, offset)
}

/// A store of 2^`size` bytes.
pub fn store(size: u32, rs2: Reg, rs1: Reg, offset: i32) -> u32 {
    s_type(0x23, size, rs1, rs2, offset)
}

pub fn sub(rd: Reg, rs1: Reg, rs2: Reg) -> u32 {
    r_type(0x33, 0, 0x20, rd, rs1, rs2)
}

/// `amoadd.d`.
pub fn amoadd(rd: Reg, rs2: Reg, rs1: Reg) -> u32 {
    r_type(0x2f, 3, 0, rd, rs1, rs2)
}

pub fn jalr(rd: Reg, rs1: Reg, offset: i32) -> u32 {
    i_type(0x67, 0, rd, rs1, offset)
}

pub fn jump(offset: i32) -> u32 {
    assert!((-0x10_0000..0x10_0000).contains(&offset), "{offset}");
    let imm = offset as u32;
    (imm >> 20 & 1) << 31 | (imm >> 1 & 0x3ff) << 21 | (imm >> 11 & 1) << 20 | (imm >> 12 & 0xff) << 12 | 0x6f
}

fn branch(funct3: u32, rs1: Reg, rs2: Reg, offset: i32) -> u32 {
    assert!((-4096..4096).contains(&offset), "{offset}");
    let imm = offset as u32;
    let (high, low) = (imm >> 12 & 1, imm >> 11 & 1);
    high << 31
        | (imm >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (imm >> 1 & 0xf) << 8
        | low << 7
        | 0x63
}

pub fn beq(rs1: Reg, rs2: Reg, offset: i32) -> u32 {
    branch(0, rs1, rs2, offset)
}

pub fn bne(rs1: Reg, rs2: Reg, offset: i32) -> u32 {
    branch(1, rs1, rs2, offset)
}

pub fn csrw(number: u32, rs1: Reg) -> u32 {
    number << 20 | rs1 << 15 | 1 << 12 | 0x73
}

pub fn csrr(rd: Reg, number: u32) -> u32 {
    number << 20 | 2 << 12 | rd << 7 | 0x73
}

pub const ECALL: u32 = 0x0000_0073;
pub const MRET: u32 = 0x3020_0073;
pub const FENCE_I: u32 = 0x0000_100f;
