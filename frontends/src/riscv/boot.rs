//! How a hart enters S-mode with firmware beneath it that is not guest code.

use emu_core::mem::Flush;

use super::csr::csr_write_debug;
use super::state::Hart;
use super::{Privilege, X, trap};

/// Puts `hart` into S-mode at `pc` with `a0` and `a1` set, all other registers zero and `csrs` (number,
/// value) written in order as M-mode writes; what the hart's model lacks is left out.
///
/// Other CSRs stay as they are, for a hart that resumes; one that starts anew goes through [`super::reset`]
/// first. What a start needs, such as delegation, is up to `csrs`: without a program in M-mode, S-mode must
/// be given everything.
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
    trap::set_privilege(hart, Privilege::Supervisor, hart.state.retired);
    trap::interrupts_changed(hart);
}
