//! Address translation.

use emu_core::exec::{Access, Exception, Mode, Perms, SpaceId, Translation};
use emu_core::ir::View;

use super::state::{Aarch64, Cpu};

/// What blocks and cached translations depend on in the processor's state.
pub(super) fn mode(isa: &Aarch64) -> Mode {
    let space = SpaceId { mode: 0, per_asid: false, asid: 0 };
    Mode { ctx: isa.context().bits(), fetch: space, data: [space; View::ALL.len()] }
}

/// Translates an access to `bytes` bytes at `va`, all in one page.
pub(super) fn translate(
    _: &mut Cpu,
    va: u64,
    _: usize,
    _: Access,
    _: View,
) -> Result<Translation, Exception> {
    let perms = Perms { read: true, write: true, fetch: true };
    Ok(Translation { pa: va, perms, page_bits: 12, global: true, cacheable: true })
}
