//! Virtual I/O Device (VIRTIO) Version 1.3, §5.2 "Block Device".

/// Bytes of a sector, the unit of all sector numbers.
pub const SECTOR: u64 = 512;
/// Bytes of a request's header: type, reserved, sector (§5.2.6).
pub const HEADER_LEN: u64 = 16;
/// Bytes of a segment of a discard or write-zeroes request: sector, number of sectors, flags.
pub const SEGMENT_LEN: u64 = 16;
/// Flag of a write-zeroes segment: the space may be given up.
pub const SEGMENT_UNMAP: u32 = 1;
/// Bytes of the answer to [`request::GET_ID`].
pub const ID_LEN: usize = 20;

/// Feature bits (§5.2.3).
pub mod feature {
    /// `seg_max` is there.
    pub const SEG_MAX: u32 = 2;
    /// The disk is read-only.
    pub const RO: u32 = 5;
    /// `blk_size` is there.
    pub const BLK_SIZE: u32 = 6;
    /// Flush requests.
    pub const FLUSH: u32 = 9;
    /// `topology` is there.
    pub const TOPOLOGY: u32 = 10;
    /// `writeback` is there, and can be written.
    pub const CONFIG_WCE: u32 = 11;
    /// Several queues.
    pub const MQ: u32 = 12;
    /// Discard requests.
    pub const DISCARD: u32 = 13;
    /// Write-zeroes requests.
    pub const WRITE_ZEROES: u32 = 14;
}

/// Request types (§5.2.6).
pub mod request {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// Make what was written durable.
    pub const FLUSH: u32 = 4;
    /// Ask for the serial number.
    pub const GET_ID: u32 = 8;
    /// Forget ranges.
    pub const DISCARD: u32 = 11;
    /// Zero ranges.
    pub const WRITE_ZEROES: u32 = 13;
}

/// The last byte of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// The request could not be done.
    IoErr = 1,
    /// The device does not know such requests.
    Unsupported = 2,
}

/// Offsets in configuration space (§5.2.4).
pub mod config {
    /// Size in sectors, 64 bits.
    pub const CAPACITY: usize = 0;
    /// Most segments of a request, 32 bits.
    pub const SEG_MAX: usize = 12;
    /// Bytes of a logical block, 32 bits.
    pub const BLK_SIZE: usize = 20;
    /// Logarithm of the number of logical blocks per physical one, 8 bits.
    pub const PHYSICAL_BLOCK_EXP: usize = 24;
    /// Suggested smallest I/O in logical blocks, 16 bits.
    pub const MIN_IO_SIZE: usize = 26;
    /// Zero: writes are durable when they complete. 8 bits.
    pub const WRITEBACK: usize = 32;
    /// Number of queues, 16 bits.
    pub const NUM_QUEUES: usize = 34;
    /// Most sectors of a discard segment, 32 bits.
    pub const MAX_DISCARD_SECTORS: usize = 36;
    /// Most segments of a discard request, 32 bits.
    pub const MAX_DISCARD_SEG: usize = 40;
    /// Alignment of a discard in sectors, 32 bits.
    pub const DISCARD_SECTOR_ALIGNMENT: usize = 44;
    /// Most sectors of a write-zeroes segment, 32 bits.
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    /// Most segments of a write-zeroes request, 32 bits.
    pub const MAX_WRITE_ZEROES_SEG: usize = 52;
    /// Whether write-zeroes may give up space, 8 bits.
    pub const WRITE_ZEROES_MAY_UNMAP: usize = 56;
    /// Bytes up to here and a little padding.
    pub const LEN: usize = 60;
}
