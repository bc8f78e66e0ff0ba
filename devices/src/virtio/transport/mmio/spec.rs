//! Virtual I/O Device (VIRTIO) Version 1.3, §4.2 "Virtio Over MMIO": registers are 32 bits wide; the
//! configuration space after them takes accesses of any width.

/// "virt"; read-only.
pub const MAGIC_VALUE: u64 = 0x000;
/// What [`MAGIC_VALUE`] reads as.
pub const MAGIC: u32 = 0x7472_6976;
/// [`VERSION_LEGACY`] or [`VERSION_MODERN`]; read-only.
pub const VERSION: u64 = 0x004;
/// Version of legacy devices.
pub const VERSION_LEGACY: u32 = 1;
/// Version of devices that follow virtio 1.0 and later.
pub const VERSION_MODERN: u32 = 2;
/// Device ID, zero for an empty slot; read-only.
pub const DEVICE_ID: u64 = 0x008;
/// Vendor ID; read-only.
pub const VENDOR_ID: u64 = 0x00c;
/// 32 of the features that the device offers; read-only.
pub const DEVICE_FEATURES: u64 = 0x010;
/// Which 32; write-only.
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
/// 32 of the features that the driver accepts; write-only.
pub const DRIVER_FEATURES: u64 = 0x020;
/// Which 32; write-only.
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
/// Legacy: page size that [`QUEUE_PFN`] counts in; write-only.
pub const GUEST_PAGE_SIZE: u64 = 0x028;
/// Which queue the queue registers mean; write-only.
pub const QUEUE_SEL: u64 = 0x030;
/// Largest size of the queue, zero if there is no such queue; read-only.
pub const QUEUE_SIZE_MAX: u64 = 0x034;
/// Size of the queue; write-only.
pub const QUEUE_SIZE: u64 = 0x038;
/// Legacy: alignment of the used ring in bytes; write-only.
pub const QUEUE_ALIGN: u64 = 0x03c;
/// Legacy: page number of the queue, zero while it is not in use.
pub const QUEUE_PFN: u64 = 0x040;
/// Whether the queue may be used.
pub const QUEUE_READY: u64 = 0x044;
/// The driver writes a queue's number here to say that it has new chains; write-only.
pub const QUEUE_NOTIFY: u64 = 0x050;
/// Why the interrupt line is up; read-only.
pub const INTERRUPT_STATUS: u64 = 0x060;
/// [`INTERRUPT_STATUS`]: chains have been used.
pub const INTERRUPT_USED: u32 = 1;
/// [`INTERRUPT_STATUS`]: the configuration has changed.
pub const INTERRUPT_CONFIG: u32 = 2;
/// Clears bits of the interrupt status; write-only.
pub const INTERRUPT_ACK: u64 = 0x064;
/// Device status; writing zero resets the device.
pub const STATUS: u64 = 0x070;
/// Descriptor table, low half of its address; write-only, as all of these.
pub const QUEUE_DESC_LOW: u64 = 0x080;
/// Descriptor table, high half.
pub const QUEUE_DESC_HIGH: u64 = 0x084;
/// Available ring, low half.
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
/// Available ring, high half.
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
/// Used ring, low half.
pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
/// Used ring, high half.
pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
/// Shared memory: length and base of the selected region, four registers; all ones as there is none;
/// read-only.
pub const SHM_LEN_LOW: u64 = 0x0b0;
/// The last of the four.
pub const SHM_BASE_HIGH: u64 = 0x0bc;
/// Changes whenever the configuration space has changed by itself; read-only.
pub const CONFIG_GENERATION: u64 = 0x0fc;
/// Device-specific configuration space.
pub const CONFIG: u64 = 0x100;
