//! Virtual I/O Device (VIRTIO) Version 1.3, §5.3 "Console Device".

/// Queue of characters to the guest, port 0.
pub const RECEIVE_QUEUE: usize = 0;
/// Queue of characters from the guest, port 0.
pub const TRANSMIT_QUEUE: usize = 1;

/// Feature bits (§5.3.3).
pub mod feature {
    /// `cols` and `rows` are there.
    pub const SIZE: u32 = 0;
    /// `emerg_wr` is there.
    pub const EMERG_WRITE: u32 = 2;
}

/// Offsets in configuration space (§5.3.4).
pub mod config {
    /// Width in characters, 16 bits.
    pub const COLS: usize = 0;
    /// Height in characters, 16 bits.
    pub const ROWS: usize = 2;
    /// A character written here (32 bits) is output at once, queues or not.
    pub const EMERG_WR: usize = 8;
    /// Bytes of configuration space.
    pub const LEN: usize = 12;
}
