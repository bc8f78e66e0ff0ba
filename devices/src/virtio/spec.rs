//! Virtual I/O Device (VIRTIO) Version 1.3: what is common to all device types.

/// Device status field (§2.1).
pub mod status {
    /// The guest has noticed the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// The guest has a driver for it.
    pub const DRIVER: u32 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u32 = 4;
    /// Feature negotiation is complete.
    pub const FEATURES_OK: u32 = 8;
    /// The device cannot go on without a reset.
    pub const DEVICE_NEEDS_RESET: u32 = 64;
    /// The guest has given up on the device.
    pub const FAILED: u32 = 128;
}

/// Feature bits that are not a device type's own (§6, §6.3).
pub mod feature {
    /// Legacy: chains may be laid out in any way.
    pub const ANY_LAYOUT: u32 = 27;
    /// Indirect descriptors.
    pub const INDIRECT_DESC: u32 = 28;
    /// `used_event` and `avail_event`.
    pub const EVENT_IDX: u32 = 29;
    /// Not legacy.
    pub const VERSION_1: u32 = 32;
}

/// Device IDs (§5).
pub mod device_id {
    /// No device here.
    pub const NONE: u32 = 0;
    /// Network card.
    pub const NET: u32 = 1;
    /// Block device.
    pub const BLOCK: u32 = 2;
    /// Console.
    pub const CONSOLE: u32 = 3;
    /// Entropy source.
    pub const ENTROPY: u32 = 4;
}

/// Split virtqueues (§2.7).
pub mod split {
    /// Bytes of a descriptor.
    pub const DESC_SIZE: u64 = 16;
    /// Alignment of the descriptor table.
    pub const DESC_ALIGN: u64 = 16;
    /// Where the ring of heads begins in the available ring, after flags and idx.
    pub const AVAIL_RING: u64 = 4;
    /// Bytes of an element of the available ring.
    pub const AVAIL_ELEM_SIZE: u64 = 2;
    /// Available ring flag: the driver wants no notification of used buffers.
    pub const AVAIL_F_NO_INTERRUPT: u16 = 1;
    /// Where idx is in the used ring.
    pub const USED_IDX: u64 = 2;
    /// Where the ring of elements begins in the used ring.
    pub const USED_RING: u64 = 4;
    /// Bytes of an element of the used ring.
    pub const USED_ELEM_SIZE: u64 = 8;

    /// Bytes of the available ring of a queue of `size`, `used_event` included.
    pub const fn avail_len(size: u64) -> u64 {
        AVAIL_RING + AVAIL_ELEM_SIZE * size + 2
    }
}
