//! The goldfish RTC: 32-bit registers, as "Goldfish Virtual Hardware" of the Android emulator documents them,
//! "Goldfish real-time clock". Times are 64-bit nanoseconds since 1970-01-01 00:00 UTC.

/// Low half of the time. Reading it latches the high half; writing it sets the low half of the time.
pub const TIME_LOW: u64 = 0x00;
/// High half of the time, as latched; writing it sets the high half of the time.
pub const TIME_HIGH: u64 = 0x04;
/// Low half of the alarm's time. Writing it sets the alarm.
pub const ALARM_LOW: u64 = 0x08;
/// High half of the alarm's time; written before the low half.
pub const ALARM_HIGH: u64 = 0x0c;
/// Bit 0: let the alarm raise the interrupt line.
pub const IRQ_ENABLED: u64 = 0x10;
/// Writing it cancels the alarm.
pub const CLEAR_ALARM: u64 = 0x14;
/// Read-only, bit 0: an alarm is set and has not gone off.
pub const ALARM_STATUS: u64 = 0x18;
/// Writing it lowers the interrupt.
pub const CLEAR_INTERRUPT: u64 = 0x1c;
/// Bytes of register space.
pub const SIZE: u64 = 0x1000;
