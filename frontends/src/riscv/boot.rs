//! How a hart enters S-mode with firmware beneath it that is not guest code.

use super::csr::csr_write_debug;
use super::state::{self, Hart};
use super::{Privilege, X};

/// Resets `hart` and puts it into S-mode at `pc`, `a0` and `a1` set, with these CSRs written in order as
/// M-mode writes them; what the hart's model lacks stays as it is.
pub fn enter_supervisor(hart: &mut Hart, pc: u64, a0: u64, a1: u64, csrs: &[(u16, u64)]) {
    state::reset(hart);
    for &(number, value) in csrs {
        csr_write_debug(hart, number, value);
    }
    hart.isa.privilege = Privilege::Supervisor;
    hart.isa.counters.set_privilege(Privilege::Supervisor, hart.state.retired);
    hart.state.pc = pc;
    hart.state.slots[usize::from(X) + 10] = a0;
    hart.state.slots[usize::from(X) + 11] = a1;
    hart.mode_changed();
}
