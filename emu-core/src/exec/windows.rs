//! What a vCPU puts into its windows ([`crate::mem::Windows`]), and when.

use super::isa::{Access, Isa};
use super::vcpu::Vcpu;
use crate::ir::View;
use crate::mem::{Mapping, PAGE_BITS, PAGE_SIZE, WINDOWED};

/// Pages that are looked at together: those of an aligned range of so many bits. A larger page of the guest's counts whole, up
/// to the second.
const AROUND_BITS: u8 = 16;
const MOST_AROUND_BITS: u8 = 21;

impl<I: Isa> Vcpu<I> {
    /// Notes that translated code has been found running: an address space that takes time may get a window.
    pub fn found_running(&mut self) {
        if self.mmu.found_running(&self.mode) {
            self.mode_changed();
        }
    }

    /// Maps what an access that has just been made by the soft TLB has touched, and what lies around it, in the window of the
    /// current address space if it has one.
    pub fn map_window(&mut self, view: View, va: u64, bytes: usize, access: Access) {
        if view != View::Current || self.mode.ctx & WINDOWED == 0 {
            return;
        }
        let last = va.wrapping_add(bytes as u64 - 1);
        let mut goes_on = self.map_around(va, access);
        if (va ^ last) >= PAGE_SIZE {
            goes_on &= self.map_around(last, access);
        }
        // It may have got another segment.
        self.state.tables = self.mmu.tables();
        if !goes_on {
            self.mode_changed();
            // Code for windows goes from block to block without asking; it is to be left.
            self.port.interrupt();
        }
    }

    /// False if the window is not to be used for a while.
    fn map_around(&mut self, va: u64, access: Access) -> bool {
        let Some((own, page_bits)) = self.mmu.wanted_in_window(va, access) else {
            // A device, a page that holds code, a segment too many: it will come here again.
            return self.mmu.pace_window(1);
        };
        let bits = page_bits.clamp(AROUND_BITS, MOST_AROUND_BITS);
        let (first, pages) = (own.page & !((1 << bits) - 1), 1 << bits >> PAGE_BITS);
        let mut run: Option<Mapping> = None;
        for page in (0..pages).map(|n| first + n * PAGE_SIZE) {
            let next = match self.mmu.mapped_in_window(page) {
                _ if page == own.page => Some(own),
                Some(true) => None,
                mapped => self.peek(page).filter(|next| mapped.is_none() || next.write),
            };
            run = match (run, next) {
                (Some(run), Some(next)) if run.goes_on_with(&next) => {
                    Some(Mapping { len: run.len + next.len, ..run })
                }
                (None, next) => next,
                (Some(run), next) => {
                    if !self.mmu.map_in_window(run) {
                        return false;
                    }
                    next
                }
            };
        }
        // A large page of the guest's is all of one run, the last.
        if let Some(run) = run {
            self.bus.ram().gather_page(run.offset, run.len);
        }
        run.is_none_or(|run| self.mmu.map_in_window(run)) && self.mmu.pace_window((pages / 64) as u32)
    }

    /// How a page may be mapped that no access has asked for.
    fn peek(&self, page: u64) -> Option<Mapping> {
        let translation = I::peek(self, page)?;
        let ram = self.bus.ram();
        let offset = ram.offset_of(translation.pa, PAGE_SIZE)?;
        let is_writable = ram.region_at(translation.pa).is_some_and(|region| region.writable);
        let write = translation.perms.write && is_writable && !ram.code_pages().is_code(offset);
        (translation.cacheable && translation.perms.read).then_some(Mapping {
            page,
            offset,
            len: PAGE_SIZE,
            write,
        })
    }
}
