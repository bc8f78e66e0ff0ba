//! The base extension (SBI 3.0, chapter 4).

use super::{Call, SbiError, SbiResult, csr, dbcn, fwft, hsm, ipi, legacy, pmu, rfence, srst, susp, time};

pub(super) const ID: u64 = 0x10;

/// The version of the specification: 3.0, as major in bits 30:24 and minor below.
pub const SPEC_VERSION: u64 = 3 << 24;

/// What tells this implementation from others: "FRRY". The specification's list ends at small numbers, and it
/// has no range for private use, so this is far from anything that will be assigned.
pub const IMPLEMENTATION_ID: u64 = 0x4652_5259;

/// Our own version: major in bits 23:16, minor in 15:8, patch in 7:0.
pub const IMPLEMENTATION_VERSION: u64 = version(env!("CARGO_PKG_VERSION"));

const EXTENSIONS: [u64; 10] =
    [ID, time::ID, ipi::ID, rfence::ID, hsm::ID, srst::ID, dbcn::ID, pmu::ID, susp::ID, fwft::ID];

const fn version(text: &str) -> u64 {
    let (mut packed, mut part, mut i) = (0, 0, 0);
    let bytes = text.as_bytes();
    while i < bytes.len() {
        if bytes[i] == b'.' {
            packed = (packed | part) << 8;
            part = 0;
        } else {
            part = part * 10 + (bytes[i] - b'0') as u64;
        }
        i += 1;
    }
    packed | part
}

impl Call<'_> {
    pub(super) fn base(self) -> SbiResult {
        let mut csr = |number| self.platform.read_csr(number).unwrap_or(0);
        Ok(match self.function {
            0 => SPEC_VERSION,
            1 => IMPLEMENTATION_ID,
            2 => IMPLEMENTATION_VERSION,
            3 => {
                let id = self.args[0];
                (id <= legacy::LAST || EXTENSIONS.contains(&id)).into()
            }
            4 => csr(csr::MVENDORID),
            5 => csr(csr::MARCHID),
            6 => csr(csr::MIMPID),
            _ => return Err(SbiError::NotSupported),
        })
    }
}
