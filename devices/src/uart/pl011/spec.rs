//! ARM PrimeCell UART (PL011) Technical Reference Manual, revision r1p4, DDI 0183F, chapter 3. Registers are words of which
//! at most 16 bits are used.

/// Bytes of register space.
pub const SIZE: u64 = 0x1000;
/// Bytes that each FIFO holds.
pub const FIFO_LEN: usize = 16;

/// Data: read a byte received (with its errors in bits 11:8), write one to send.
pub const DR: u64 = 0x000;
/// Receive status (read), error clear (write).
pub const RSR_ECR: u64 = 0x004;
/// Flags.
pub const FR: u64 = 0x018;
/// IrDA low-power counter.
pub const ILPR: u64 = 0x020;
/// Baud rate divisor, whole part.
pub const IBRD: u64 = 0x024;
/// Baud rate divisor, fraction.
pub const FBRD: u64 = 0x028;
/// Line control.
pub const LCR_H: u64 = 0x02c;
/// Control.
pub const CR: u64 = 0x030;
/// FIFO levels of the interrupts.
pub const IFLS: u64 = 0x034;
/// Interrupt mask: set bits let interrupts through.
pub const IMSC: u64 = 0x038;
/// Interrupts, before the mask.
pub const RIS: u64 = 0x03c;
/// Interrupts, after the mask.
pub const MIS: u64 = 0x040;
/// Clears interrupts.
pub const ICR: u64 = 0x044;
/// DMA control.
pub const DMACR: u64 = 0x048;
/// The peripheral identification: PL011, revision r1p4.
pub const PERIPHERAL_ID: [u8; 4] = [0x11, 0x10, 0x14, 0x00];

/// Flags.
pub mod fr {
    /// Clear to send.
    pub const CTS: u16 = 1 << 0;
    /// Data set ready.
    pub const DSR: u16 = 1 << 1;
    /// Data carrier detect.
    pub const DCD: u16 = 1 << 2;
    /// Sending.
    pub const BUSY: u16 = 1 << 3;
    /// The receiver is empty.
    pub const RXFE: u16 = 1 << 4;
    /// The transmitter is full.
    pub const TXFF: u16 = 1 << 5;
    /// The receiver is full.
    pub const RXFF: u16 = 1 << 6;
    /// The transmitter is empty.
    pub const TXFE: u16 = 1 << 7;
}

/// Line control.
pub mod lcr_h {
    /// The FIFOs are on.
    pub const FEN: u16 = 1 << 4;
}

/// Control.
pub mod cr {
    /// Loopback.
    pub const LBE: u16 = 1 << 7;
    /// After a reset: transmitter and receiver are on, the UART itself is off.
    pub const RESET: u16 = 0x0300;
}

/// FIFO levels: bytes of 16, by the field's value; the reserved ones are half.
pub mod ifls {
    /// Where the receiver's field begins; the transmitter's is at 0.
    pub const RX_SHIFT: u16 = 3;
    /// After a reset: both half.
    pub const RESET: u16 = 0x12;
    /// Levels.
    pub const LEVELS: [usize; 8] = [2, 4, 8, 12, 14, 8, 8, 8];
}

/// Interrupts.
pub mod int {
    /// The receiver has reached its level.
    pub const RX: u16 = 1 << 4;
    /// The transmitter has fallen to its level.
    pub const TX: u16 = 1 << 5;
    /// Bytes wait in the receiver, and no more come.
    pub const RT: u16 = 1 << 6;
    /// A byte was lost.
    pub const OE: u16 = 1 << 10;
    /// All that exist.
    pub const ALL: u16 = 0x7ff;
}

/// The overrun flag of [`DR`].
pub const DR_OE: u16 = 1 << 11;
/// The overrun flag of [`RSR_ECR`].
pub const RSR_OE: u16 = 1 << 3;
