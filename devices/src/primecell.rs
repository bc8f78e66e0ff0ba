//! Arm PrimeCells: the identification registers that all of them have at the end of their 4 KiB of registers.

/// Where they begin: PeriphID0 to 3, then PCellID0 to 3, one byte in each word.
const ID: u64 = 0xfe0;

/// The PrimeCell identification.
const CELL: [u8; 4] = [0x0d, 0xf0, 0x05, 0xb1];

/// The identification register at `offset` of a PrimeCell with this peripheral identification; none if there is none
/// at that offset.
pub(crate) fn id_register(offset: u64, peripheral: [u8; 4]) -> Option<u8> {
    let index = offset.checked_sub(ID).filter(|at| at.is_multiple_of(4))? as usize / 4;
    peripheral.iter().chain(&CELL).nth(index).copied()
}
