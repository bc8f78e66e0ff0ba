//! Arm Generic Interrupt Controller Architecture Specification, GIC architecture version 3 and version 4, IHI 0069H: ITS
//! registers (§12.19), commands (§5.3).

/// Bytes of register space: the control frame and the translation frame.
pub const SIZE: u64 = 0x2_0000;

/// Control.
pub const CTLR: u64 = 0x0000;
/// Implementer.
pub const IIDR: u64 = 0x0004;
/// What there is; 64 bits.
pub const TYPER: u64 = 0x0008;
/// The command queue; 64 bits.
pub const CBASER: u64 = 0x0080;
/// Where software writes the next command.
pub const CWRITER: u64 = 0x0088;
/// Where the ITS reads the next command.
pub const CREADR: u64 = 0x0090;
/// The first table; 64 bits each.
pub const BASER: u64 = 0x0100;
/// How many table registers there are.
pub const BASERS: usize = 8;
/// The translation frame's register: devices write event numbers to it.
pub const TRANSLATER: u64 = 0x1_0040;

/// CTLR: the ITS translates and takes commands.
pub const ENABLED: u32 = 1 << 0;
/// CTLR: it is at rest.
pub const QUIESCENT: u32 = 1 << 31;

/// Bits of device numbers, event numbers and collection numbers.
pub const ID_BITS: u32 = 16;
/// Bytes of an entry of any table.
pub const ENTRY: u64 = 8;
/// TYPER: physical LPIs; 8-byte entries; 16 bits of event and device numbers; redistributors by their number.
pub const TYPER_VALUE: u64 = 1 | (ENTRY - 1) << 4 | (ID_BITS as u64 - 1) << 8 | (ID_BITS as u64 - 1) << 13;

/// CBASER and BASER: the address is valid.
pub const VALID: u64 = 1 << 63;
/// CBASER: the bits that are implemented.
pub const CBASER_BITS: u64 = 0xb8ef_ffff_ffff_fcff;
/// CBASER: the address.
pub const CBASER_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// CWRITER and CREADR: the offset of a command in the queue.
pub const QUEUE_OFFSET: u64 = 0xf_ffe0;
/// CREADR: the ITS has met a command that it cannot read.
pub const STALLED: u64 = 1 << 0;

/// BASER: the table has two levels.
pub const INDIRECT: u64 = 1 << 62;
/// BASER: the bits that software writes.
pub const BASER_BITS: u64 = 0xf8e0_ffff_ffff_ffff;
/// BASER: where the type of what is in the table begins.
pub const TYPE_SHIFT: u32 = 56;
/// BASER: where the size of an entry, less one, begins.
pub const ENTRY_SHIFT: u32 = 48;
/// Types of tables, in the order of their registers: devices, collections.
pub const TYPES: [u64; 2] = [1, 4];
/// The register of the table of devices.
pub const DEVICES: usize = 0;
/// The register of the table of collections.
pub const COLLECTIONS: usize = 1;

/// Bytes of a command.
pub const COMMAND: u64 = 32;

/// The numbers of commands.
pub mod command {
    /// Moves an event to a collection.
    pub const MOVI: u8 = 0x01;
    /// Makes an event happen.
    pub const INT: u8 = 0x03;
    /// Takes an event back.
    pub const CLEAR: u8 = 0x04;
    /// Waits until everything before has had its effect.
    pub const SYNC: u8 = 0x05;
    /// Gives a device its table of events.
    pub const MAPD: u8 = 0x08;
    /// Gives a collection its redistributor.
    pub const MAPC: u8 = 0x09;
    /// Gives an event an LPI and a collection.
    pub const MAPTI: u8 = 0x0a;
    /// The same, with the LPI of the event's own number.
    pub const MAPI: u8 = 0x0b;
    /// Says that an LPI's configuration has changed.
    pub const INV: u8 = 0x0c;
    /// The same of all of a collection.
    pub const INVALL: u8 = 0x0d;
    /// Moves what is pending from one redistributor to another.
    pub const MOVALL: u8 = 0x0e;
    /// Takes an event back and forgets it.
    pub const DISCARD: u8 = 0x0f;
}
