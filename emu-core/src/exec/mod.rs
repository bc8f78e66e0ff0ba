//! How guest code runs: what an instruction set provides ([`Isa`]), what a vCPU is ([`Vcpu`]), and every way out of
//! guest code ([`Stop`], [`Exit`]).

mod access;
mod blocks;
mod bulk;
mod code;
mod exit;
mod isa;
mod probe;
mod run_loop;
mod vcpu;
mod windows;

pub(crate) use blocks::Cached;
pub use blocks::{BlockMap, Translations};
pub use bulk::MOST_BULK;
pub use code::{CodePage, CodeRead, CodeReader};
pub use exit::{Exception, Exit, HostRequest, Stop};
pub use isa::{Access, FetchCode, Isa, Mode, Perms, SpaceId, Translation};
pub use probe::{DeviceAccess, Probe};
pub use run_loop::{Engine, Limits};
pub use vcpu::{CpuState, REGION_COUNTS, RegionCount, SLOTS, Vcpu, VcpuParts};
