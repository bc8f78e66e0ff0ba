//! The cyclic redundancy checks of `CRC32` and `CRC32C` (DDI 0487, C6.2 "CRC32B, CRC32H, CRC32W, CRC32X" and "CRC32CB, …").

/// The polynomial of `CRC32`, without its leading term and in opposite order of bits.
const CRC32: [u32; 256] = table(0xedb8_8320);
/// That of `CRC32C`.
const CRC32C: [u32; 256] = table(0x82f6_3b78);

/// What each byte contributes.
const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = value >> 1 ^ if value & 1 != 0 { polynomial } else { 0 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

fn checksum(table: &[u32; 256], sum: u64, value: u64, bytes: u64) -> u64 {
    let bytes = value.to_le_bytes().into_iter().take(bytes as usize);
    // The sum is in 32 bits.
    bytes.fold(sum as u32, |sum, byte| sum >> 8 ^ table[usize::from(sum as u8 ^ byte)]).into()
}

/// The sum with the lowest bytes of `value` added.
pub(super) fn crc32(sum: u64, value: u64, bytes: u64) -> u64 {
    checksum(&CRC32, sum, value, bytes)
}

/// The same with the other polynomial.
pub(super) fn crc32c(sum: u64, value: u64, bytes: u64) -> u64 {
    checksum(&CRC32C, sum, value, bytes)
}
