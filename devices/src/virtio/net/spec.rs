//! Virtual I/O Device (VIRTIO) Version 1.3, §5.1 "Network Device".

/// Queue of frames to the guest.
pub const RECEIVE_QUEUE: usize = 0;
/// Queue of frames from the guest.
pub const TRANSMIT_QUEUE: usize = 1;

/// Feature bits (§5.1.3).
pub mod feature {
    /// Frames from the guest may lack checksums.
    pub const CSUM: u32 = 0;
    /// Frames to the guest may be marked as having correct checksums.
    pub const GUEST_CSUM: u32 = 1;
    /// `mtu` is there.
    pub const MTU: u32 = 3;
    /// `mac` is there.
    pub const MAC: u32 = 5;
    /// Frames from the guest may be long TCP segments over IPv4.
    pub const HOST_TSO4: u32 = 11;
    /// A frame to the guest may fill several chains.
    pub const MRG_RXBUF: u32 = 15;
    /// `status` is there.
    pub const STATUS: u32 = 16;
}

/// Offsets in configuration space (§5.1.4).
pub mod config {
    /// The card's address, 6 bytes.
    pub const MAC: usize = 0;
    /// Link status, 16 bits.
    pub const STATUS: usize = 6;
    /// [`STATUS`]: the link is up.
    pub const STATUS_LINK_UP: u16 = 1;
    /// Largest IP packet in bytes, 16 bits.
    pub const MTU: usize = 10;
    /// Bytes of configuration space.
    pub const LEN: usize = 12;
}

/// The header before each frame (§5.1.6): flags, gso_type, then five 16-bit fields of which only the last is
/// used here.
pub mod header {
    /// Bytes, `num_buffers` included.
    pub const LEN: usize = 12;
    /// Bytes without `num_buffers`, as legacy drivers without MRG_RXBUF have it.
    pub const LEGACY_LEN: usize = 10;
    /// Flags, 8 bits.
    pub const FLAGS: usize = 0;
    /// [`FLAGS`], to the guest: the checksums are correct.
    pub const FLAG_DATA_VALID: u8 = 2;
    /// How many chains the frame fills, 16 bits; 1 without MRG_RXBUF.
    pub const NUM_BUFFERS: usize = 10;
}
