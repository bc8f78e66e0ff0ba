//! Software step (DDI 0487, D2.12): an instruction that is stepped over is a block of its own, behind which the context is
//! another one, so that nothing may go on there without looking.

use emu_core::ir::{Hint, Op, Terminal, Ty};

use super::super::decode::Insn;
use super::super::helper::Helper;
use super::{Flow, Lifted, Lifter};

/// [`super::Context::step`]: the next instruction is stepped over.
pub(super) const ACTIVE: u8 = 1;
/// The step's exception is pending.
pub(super) const PENDING: u8 = 2;

impl Lifter<'_> {
    /// Lifts an instruction that is stepped over.
    pub(super) fn stepped(&mut self, insn: Insn) -> Lifted {
        self.call(Helper::Step, &[]);
        Ok(match self.dispatch(insn, self.bits)? {
            Flow::Next => Flow::Next,
            Flow::End(terminal) => Flow::End(self.unlinked(terminal)),
        })
    }

    /// A terminal that goes where this one does, but looks for the code there.
    fn unlinked(&mut self, terminal: Terminal) -> Terminal {
        match terminal {
            Terminal::Jump { target, .. } => Terminal::Lookup { next: target },
            Terminal::Branch { cc, ty, a, b, taken, fall } => {
                let [holds, to, next] = [(); 3].map(|()| self.builder.temp());
                self.builder.set_to(holds, cc, ty, a, b);
                self.builder.pc_to(to, taken);
                self.builder.pc_to(next, fall);
                let target = self.builder.temp();
                self.builder.op(Op::Select, Ty::I64, 0, target, [holds, to, next], 0);
                Terminal::Indirect { target, hint: Hint::Switch }
            }
            Terminal::Indirect { target, .. } => Terminal::Indirect { target, hint: Hint::Switch },
            other @ (Terminal::Lookup { .. } | Terminal::Exception { .. }) => other,
        }
    }
}
