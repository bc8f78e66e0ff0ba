//! Pointer authentication (DDI 0487, D8.10 "Pointer authentication").

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    /// Instruction addresses, A.
    IA,
    /// Instruction addresses, B.
    IB,
    /// Data addresses, A.
    DA,
    /// Data addresses, B.
    DB,
}
