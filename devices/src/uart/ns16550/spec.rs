//! National Semiconductor PC16550D, "Universal Asynchronous Receiver/Transmitter with FIFOs" (June 1995),
//! table II "Summary of Registers". Registers are one byte wide and one byte apart.

/// Bytes of register space that is decoded.
pub const SIZE: u64 = 8;
/// Bytes that each FIFO holds.
pub const FIFO_LEN: usize = 16;

/// Receiver buffer (read), transmitter holding register (write); the divisor latch's low byte if
/// [`lcr::DLAB`].
pub const RBR_THR_DLL: u64 = 0;
/// Interrupt enable; the divisor latch's high byte if [`lcr::DLAB`].
pub const IER_DLM: u64 = 1;
/// Interrupt identification (read), FIFO control (write).
pub const IIR_FCR: u64 = 2;
/// Line control.
pub const LCR: u64 = 3;
/// Modem control.
pub const MCR: u64 = 4;
/// Line status; read-only.
pub const LSR: u64 = 5;
/// Modem status; read-only.
pub const MSR: u64 = 6;
/// Scratch.
pub const SCR: u64 = 7;

/// Interrupt enable register.
pub mod ier {
    /// Received data available, and character timeout.
    pub const RDA: u8 = 1 << 0;
    /// Transmitter holding register empty.
    pub const THRE: u8 = 1 << 1;
    /// Receiver line status.
    pub const RLS: u8 = 1 << 2;
    /// Modem status.
    pub const MODEM: u8 = 1 << 3;
    /// All that exist.
    pub const ALL: u8 = 0x0f;
}

/// Interrupt identification register: the pending interrupt of the highest priority.
pub mod iir {
    /// Priority 1: receiver line status.
    pub const RLS: u8 = 0x06;
    /// Priority 2: received data available.
    pub const RDA: u8 = 0x04;
    /// Priority 2: characters have waited below the trigger level.
    pub const TIMEOUT: u8 = 0x0c;
    /// Priority 3: transmitter holding register empty.
    pub const THRE: u8 = 0x02;
    /// Priority 4: modem status.
    pub const MODEM: u8 = 0x00;
    /// None pending.
    pub const NONE: u8 = 0x01;
    /// The FIFOs are enabled.
    pub const FIFOS: u8 = 0xc0;
}

/// FIFO control register.
pub mod fcr {
    /// Enables both FIFOs; a change clears them.
    pub const ENABLE: u8 = 1 << 0;
    /// Clears the receiver FIFO.
    pub const CLEAR_RECEIVER: u8 = 1 << 1;
    /// Clears the transmitter FIFO.
    pub const CLEAR_TRANSMITTER: u8 = 1 << 2;
    /// Where the field of the receiver's trigger level begins.
    pub const TRIGGER_SHIFT: u8 = 6;
    /// The trigger levels that the field selects, in bytes.
    pub const TRIGGER_LEVELS: [usize; 4] = [1, 4, 8, 14];
}

/// Line control register.
pub mod lcr {
    /// Divisor latch access.
    pub const DLAB: u8 = 1 << 7;
}

/// Modem control register.
pub mod mcr {
    /// Data terminal ready.
    pub const DTR: u8 = 1 << 0;
    /// Request to send.
    pub const RTS: u8 = 1 << 1;
    /// Auxiliary output 1.
    pub const OUT1: u8 = 1 << 2;
    /// Auxiliary output 2.
    pub const OUT2: u8 = 1 << 3;
    /// Loopback.
    pub const LOOP: u8 = 1 << 4;
    /// All that exist.
    pub const ALL: u8 = 0x1f;
}

/// Line status register.
pub mod lsr {
    /// Data ready.
    pub const DATA_READY: u8 = 1 << 0;
    /// Overrun error; cleared by reading the register.
    pub const OVERRUN: u8 = 1 << 1;
    /// Transmitter holding register (or FIFO) empty.
    pub const THR_EMPTY: u8 = 1 << 5;
    /// Transmitter empty.
    pub const TRANSMITTER_EMPTY: u8 = 1 << 6;
}

/// Modem status register: four lines, and below each whether it has changed since the register was read.
pub mod msr {
    /// Clear to send has changed.
    pub const DELTA_CTS: u8 = 1 << 0;
    /// Data set ready has changed.
    pub const DELTA_DSR: u8 = 1 << 1;
    /// Ring indicator has gone away.
    pub const TRAILING_RI: u8 = 1 << 2;
    /// Data carrier detect has changed.
    pub const DELTA_DCD: u8 = 1 << 3;
    /// Clear to send.
    pub const CTS: u8 = 1 << 4;
    /// Data set ready.
    pub const DSR: u8 = 1 << 5;
    /// Ring indicator.
    pub const RI: u8 = 1 << 6;
    /// Data carrier detect.
    pub const DCD: u8 = 1 << 7;
}
