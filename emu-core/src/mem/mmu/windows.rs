//! The windows of the banks: when one is opened, used, and filled ([`super::super::Windows`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{INVALID, Mmu, PAGE_MASK};
use crate::exec::{Access, Mode};
use crate::ir::View;
use crate::mem::window::{Mapped, SEGMENT_BITS, Window};
use crate::mem::{Mapping, PAGE_SIZE, SEGMENTS, Segment, WINDOWED, Windows};

/// Looks after which what a window maps is forgotten.
const AGE: u32 = 1000;

/// How much time a window takes to fill. Memory that is new all the time is not for a window: it rests then, the longer the
/// more often, and code uses the soft TLB.
#[derive(Default)]
struct Pace {
    /// Work since code was last found running: mappings, and accesses that none was made for.
    work: u32,
    /// Times that code will be found running until the window is used again.
    suspended: u32,
    /// How long it was suspended last; zero after a time in which it was not.
    rest: u32,
}

impl Pace {
    /// Work in between that is no longer worth while. A piece takes some microseconds, where code is looked for each
    /// millisecond, or more often; less often only where nothing has been new for some time.
    const MOST: u32 = 64;
    const LONG: u32 = 256;

    /// Some work has been done; false if that was too much.
    fn count(&mut self, work: u32) -> bool {
        self.work += work;
        if self.work < Self::MOST || self.suspended != 0 {
            return true;
        }
        self.rest = (2 * self.rest).clamp(1, Self::LONG);
        // It is looked for at once, as the code is left.
        self.suspended = self.rest + 1;
        false
    }

    /// Code has been found running; true if that ends a rest.
    fn look(&mut self) -> bool {
        if self.suspended == 0 && self.work < Self::MOST / 4 {
            self.rest = 0;
        }
        self.work = 0;
        let rested = self.suspended == 1;
        self.suspended = self.suspended.saturating_sub(1);
        rested
    }
}

/// What a bank has of this.
#[derive(Default)]
pub(super) struct BankWindow {
    window: Option<Window>,
    pace: Pace,
    /// Times that code has been found running here.
    heat: u32,
}

impl BankWindow {
    /// What code is told of it.
    pub(super) fn segments(&self) -> [Segment; SEGMENTS] {
        self.window.as_ref().map_or([Segment::NONE; SEGMENTS], Window::segments)
    }

    /// Takes everything out of it.
    pub(super) fn clear(&mut self) {
        self.window.iter_mut().for_each(Window::clear);
    }

    /// Takes the pages with addresses from `first` to `last` out of it.
    pub(super) fn unmap(&mut self, first: u64, last: u64) {
        self.window.iter_mut().for_each(|window| window.unmap(first, last));
    }

    /// Takes the pages out of it through which the memory at `offset` may be written.
    pub(super) fn protect(&mut self, offset: usize) {
        self.window.iter_mut().for_each(|window| window.protect(offset));
    }
}

impl Mmu {
    /// Lets address spaces have windows.
    pub fn allow_windows(&mut self, windows: Option<Arc<Windows>>) {
        self.windows = windows;
    }

    /// What the current windows add to the context of code.
    pub fn context(&self) -> u32 {
        let BankWindow { window, pace, .. } = self.window();
        if window.is_some() && pace.suspended == 0 { WINDOWED } else { 0 }
    }

    /// Notes that code has been found running in `mode`, the current one. If true, its context has changed, and
    /// [`Mmu::switch`] is to follow.
    pub fn found_running(&mut self, mode: &Mode) -> bool {
        let BankWindow { window, pace, heat } = self.window_mut();
        *heat = heat.saturating_add(1);
        let Some(window) = window else { return self.open_window(mode) };
        // A page that is not used any more must be seen to be so; nor is a segment kept that others could have.
        let aged = heat.is_multiple_of(AGE);
        if aged {
            window.reset();
        }
        let changed = pace.look() || aged;
        if changed {
            self.known.clear();
        }
        changed
    }

    /// Gives the current bank a window, if it may have one by now.
    pub(super) fn open_window(&mut self, mode: &Mode) -> bool {
        let Some(windows) = &self.windows else { return false };
        let bank = &mut self.banks[self.data[View::Current as usize]];
        let BankWindow { window, heat, .. } = &bank.window;
        if !mode.window || window.is_some() || *heat < windows.config().threshold {
            return false;
        }
        let mut window = Window::new(Arc::clone(windows));
        // Guesses of where accesses go are made by its segments.
        let used = bank.used_entries().filter(|entry| entry.read != INVALID);
        let segments: BTreeSet<u64> = used.map(|entry| entry.read >> SEGMENT_BITS).collect();
        segments.into_iter().for_each(|number| _ = window.add_segment(number));
        bank.window.window = Some(window);
        self.known.clear();
        true
    }

    /// How the page of `va` is to be mapped in the current window, if it is cached for such an access by [`View::Current`], is not
    /// mapped so, and there is a segment for it; and the size of the guest's page.
    pub fn wanted_in_window(&mut self, va: u64, access: Access) -> Option<(Mapping, u8)> {
        let bank = &mut self.banks[self.data[View::Current as usize]];
        let (page, entry) = (va & PAGE_MASK, *bank.entry(va));
        let window = bank.window.window.as_mut()?;
        let write = entry.write == page;
        let may = if access == Access::Write { write } else { entry.read == page };
        if !may || window.mapped(page).is_some_and(|mapped| mapped || !write) {
            return None;
        }
        if !window.add_segment(page >> SEGMENT_BITS) {
            return None;
        }
        let offset = page.wrapping_add(entry.addend).wrapping_sub(self.host_base) as usize;
        Some((Mapping { page, offset, len: PAGE_SIZE, write }, entry.page_bits()))
    }

    /// How a page is mapped in the current window: whether it may be written.
    pub fn mapped_in_window(&self, page: u64) -> Option<bool> {
        self.window().window.as_ref()?.mapped(page)
    }

    /// Maps pages in the current window. If false, it is not to be used for a while, and [`Mmu::switch`] is to follow.
    pub fn map_in_window(&mut self, mapping: Mapping) -> bool {
        let BankWindow { window: Some(window), pace, .. } = self.window_mut() else { return true };
        if pace.suspended != 0 {
            return true;
        }
        let mapped = window.map(mapping);
        self.window_fills += 1;
        if mapped != Mapped::Full {
            return self.pace_window(1);
        }
        // All of them may be too many for the host.
        self.window_losses += 1;
        self.banks.iter_mut().for_each(|bank| bank.window.clear());
        if self.windows_rest() {
            self.window_mut().pace.suspended = Pace::LONG;
            self.known.clear();
            return false;
        }
        true
    }

    /// Counts work that the current window makes. If false, it is not to be used for a while, and [`Mmu::switch`] is
    /// to follow.
    pub fn pace_window(&mut self, work: u32) -> bool {
        let goes_on = !self.windows_rest() || self.window_mut().pace.count(work);
        if !goes_on {
            self.known.clear();
        }
        goes_on
    }

    /// The guest's address of a host address in the current window.
    pub fn guest_address(&self, host: u64) -> Option<u64> {
        self.window().window.as_ref()?.guest_address(host)
    }

    fn windows_rest(&self) -> bool {
        self.windows.as_ref().is_some_and(|windows| windows.config().rests)
    }

    fn window(&self) -> &BankWindow {
        &self.banks[self.data[View::Current as usize]].window
    }

    fn window_mut(&mut self) -> &mut BankWindow {
        &mut self.banks[self.data[View::Current as usize]].window
    }
}
