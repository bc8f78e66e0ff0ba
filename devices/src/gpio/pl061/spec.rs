//! ARM PrimeCell General Purpose Input/Output (PL061) Technical Reference Manual, revision r1p0, DDI 0190B, chapter 3. One
//! bit for each of eight lines in each register.

/// Bytes of register space.
pub const SIZE: u64 = 0x1000;
/// How many lines there are.
pub const LINES: usize = 8;

/// Data: bits 9:2 of the address are a mask of the lines that are accessed.
pub const DATA: u64 = 0x000;
/// Behind the data registers: direction, set for outputs.
pub const DIR: u64 = 0x400;
/// Interrupt sense: set for levels, clear for edges.
pub const IS: u64 = 0x404;
/// Both edges.
pub const IBE: u64 = 0x408;
/// Interrupt event: set for high levels and rising edges.
pub const IEV: u64 = 0x40c;
/// Interrupt enable.
pub const IE: u64 = 0x410;
/// Interrupts, before the enable.
pub const RIS: u64 = 0x414;
/// Interrupts, after the enable.
pub const MIS: u64 = 0x418;
/// Clears edge interrupts.
pub const IC: u64 = 0x41c;
/// Alternate function select.
pub const AFSEL: u64 = 0x420;
/// The peripheral identification: PL061, revision r1p0.
pub const PERIPHERAL_ID: [u8; 4] = [0x61, 0x10, 0x04, 0x00];
