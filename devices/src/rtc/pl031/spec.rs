//! ARM PrimeCell Real Time Clock (PL031) Technical Reference Manual, revision r1p3, DDI 0224C, chapter 3. Times are 32-bit
//! numbers of seconds, since 1970 as operating systems use them.

/// Bytes of register space.
pub const SIZE: u64 = 0x1000;

/// The time; read-only.
pub const DR: u64 = 0x000;
/// The time of the alarm.
pub const MR: u64 = 0x004;
/// Sets the time.
pub const LR: u64 = 0x008;
/// Control: bit 0, the clock runs. Once set it stays.
pub const CR: u64 = 0x00c;
/// Interrupt mask: bit 0 set lets the interrupt through.
pub const IMSC: u64 = 0x010;
/// The interrupt, before the mask.
pub const RIS: u64 = 0x014;
/// The interrupt, after the mask.
pub const MIS: u64 = 0x018;
/// Clears the interrupt.
pub const ICR: u64 = 0x01c;
/// The peripheral identification: PL031, revision r1p0.
pub const PERIPHERAL_ID: [u8; 4] = [0x31, 0x10, 0x04, 0x00];
