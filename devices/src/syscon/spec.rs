//! The SiFive test finisher ("sifive,test1"): one write-only register at offset 0.

/// The finisher's register: status in bits 15:0, exit code in bits 31:16. It takes 16- and 32-bit writes.
pub const FINISHER: u64 = 0;
/// Status: switch off, the test has failed; the exit code says how.
pub const FAIL: u16 = 0x3333;
/// Status: switch off, the test has passed.
pub const PASS: u16 = 0x5555;
/// Status: reset the machine.
pub const RESET: u16 = 0x7777;
/// Bytes of register space.
pub const SIZE: u64 = 0x1000;
