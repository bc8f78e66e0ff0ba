//! How a hart enters S-mode with the built-in firmware beneath it.

use emu_core::mem::Flush;

use super::csr::csr_write_debug;
use super::state::Hart;
use super::{Privilege, X, trap};

/// Puts `hart` into S-mode at `pc` with `a0` and `a1` set, all other registers zero and `csrs` (number, value) written in
/// order as M-mode would; those that the hart does not have are left out. What else a boot needs, such as delegation, is up
/// to `csrs`: without firmware in M-mode, S-mode must be given everything.
pub fn enter_supervisor(hart: &mut Hart, pc: u64, a0: u64, a1: u64, csrs: &[(u16, u64)]) {
    hart.state.slots.fill(0);
    hart.state.slots[usize::from(X) + 10] = a0;
    hart.state.slots[usize::from(X) + 11] = a1;
    hart.state.pc = pc;
    hart.isa.clear_reservation();
    for &(number, value) in csrs {
        csr_write_debug(hart, number, value);
    }
    hart.mmu.flush(Flush::ALL);
    trap::set_privilege(hart, Privilege::Supervisor);
    trap::interrupts_changed(hart);
}
