//! The True Random Number Generator firmware interface (DEN0098, version 1.0).

use super::{Call, NOT_SUPPORTED, Outcome};

pub(super) const FIRST: u32 = 0x8400_0050;
pub(super) const LAST: u32 = 0x8400_005f;

const VERSION: u32 = 0x8400_0050;
const FEATURES: u32 = 0x8400_0051;
const GET_UUID: u32 = 0x8400_0052;
const RND_32: u32 = 0x8400_0053;
const RND_64: u32 = 0xc400_0053;

pub(super) const FUNCTIONS: [u32; 5] = [VERSION, FEATURES, GET_UUID, RND_32, RND_64];

const VERSION_1_0: i32 = 0x1_0000;
const INVALID_PARAMETERS: i32 = -2;
const NO_ENTROPY: i32 = -3;

/// Which implementation this is: ferry's own.
const UUID: [u32; 4] = [0x6b3f_0d52, 0x4c0e_97a1, 0xb7d4_52fe, 0x19c8_e036];

impl Call<'_> {
    pub(super) fn trng(self) -> Outcome {
        match self.function {
            VERSION => Outcome::code(VERSION_1_0),
            FEATURES => {
                let known = FUNCTIONS.contains(&(self.args[0] as u32));
                Outcome::code(if known { 0 } else { NOT_SUPPORTED })
            }
            GET_UUID => Outcome::ReturnMany(UUID.map(u64::from)),
            RND_32 => self.random(32),
            RND_64 => self.random(64),
            _ => Outcome::code(NOT_SUPPORTED),
        }
    }

    /// As many random bits as asked for in three results of `width` bits, the last of which has the lowest bits.
    fn random(self, width: u32) -> Outcome {
        let Some(bits) = u32::try_from(self.args[0]).ok().filter(|bits| (1..=3 * width).contains(bits))
        else {
            return Outcome::code(INVALID_PARAMETERS);
        };
        let mut bytes = [0; 24];
        if !self.platform.random(&mut bytes) {
            return Outcome::code(NO_ENTROPY);
        }
        let (words, _) = bytes.as_chunks::<8>();
        let mut results = [0; 4];
        for (i, word) in words.iter().enumerate() {
            let kept = bits.saturating_sub(i as u32 * width).min(width);
            let mask = u64::MAX.checked_shr(64 - kept).unwrap_or(0);
            results[3 - i] = u64::from_le_bytes(*word) & mask;
        }
        Outcome::ReturnMany(results)
    }
}
