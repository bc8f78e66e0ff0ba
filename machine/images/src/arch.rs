//! The architectures that packages come for.

use std::str::FromStr;

use crate::Error;

/// An architecture as Debian divides its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit Arm, which Debian calls `arm64`.
    Arm64,
    /// 64-bit x86: tools that run on the host.
    Amd64,
}

impl Arch {
    /// The name in Debian's archive.
    pub fn debian_name(self) -> &'static str {
        match self {
            Arch::Riscv64 => "riscv64",
            Arch::Arm64 => "arm64",
            Arch::Amd64 => "amd64",
        }
    }
}

impl FromStr for Arch {
    type Err = Error;

    /// Takes Debian's name and the one that `uname -m` gives.
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "riscv64" => Ok(Arch::Riscv64),
            "arm64" | "aarch64" => Ok(Arch::Arm64),
            "amd64" | "x86_64" => Ok(Arch::Amd64),
            _ => Err(Error::UnknownArch(name.to_owned())),
        }
    }
}
