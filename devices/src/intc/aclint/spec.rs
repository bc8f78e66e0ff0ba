//! RISC-V Advanced Core Local Interruptor Specification, version 1.0-rc4, and the SiFive CLINT's layout,
//! which is an MSWI device followed by an MTIMER device (§1.1 "Backward Compatibility With SiFive CLINT").

/// Bytes of MSWI register space: 4095 MSIP registers of four bytes and a reserved word (§3.1).
pub const MSWI_SIZE: u64 = 0x4000;
/// Bytes of SSWI register space: 4095 SETSSIP registers of four bytes and a reserved word (§4.1).
pub const SSWI_SIZE: u64 = 0x4000;
/// Bytes of MTIMER register space where MTIME follows the 4095 MTIMECMP registers (§2.1, §2.2).
pub const MTIMER_SIZE: u64 = 0x8000;
/// MTIME, 64 bits, in an MTIMER whose registers are in one piece.
pub const MTIMER_MTIME: u64 = 0x7ff8;
/// Bytes per hart of MSIP and SETSSIP registers.
pub const SWI_STRIDE: u64 = 4;
/// Bytes per hart of MTIMECMP registers.
pub const MTIMECMP_STRIDE: u64 = 8;
/// The most harts that one device has registers for.
pub const MAX_HARTS: usize = 4095;

/// Where the MTIMER begins in a SiFive CLINT; the MSWI begins at zero.
pub const CLINT_MTIMER: u64 = 0x4000;
/// Bytes of register space of a SiFive CLINT.
pub const CLINT_SIZE: u64 = 0x1_0000;
