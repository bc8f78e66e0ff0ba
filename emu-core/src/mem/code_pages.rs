//! Which pages of memory hold translated code, and which of those have been written since.
//!
//! Every writer to guest memory asks here: CPU stores (through their slow path), device DMA, debuggers. A page goes
//! from *plain* to *marked* when something is to be translated from it, to *code* when every vCPU has been told, and to *stale*
//! at the first write after that. Both
//! guest architectures demand an explicit barrier (`fence.i`, `IC`) before changed code may be relied on, so a stale
//! page is open for writing again, and its translations are checked, by content, at the next barrier: a page that
//! mixes code and data costs one slow store per barrier, not one per store.
//!
//! Several vCPUs may be telling the others of one page at a time, and it may become stale, and marked again, meanwhile. It is code
//! when the last of them has done so: the others' word says nothing of fast write paths that there have been since they gave it.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering, fence};

use parking_lot::Mutex;

use super::PAGE_BITS;

/// The lower two bits of a page's state: what it is. Those above count who is telling the vCPUs of it.
const KIND: u16 = 3;
const PLAIN: u16 = 0;
const CODE: u16 = 1;
const STALE: u16 = 2;
/// To writers as [`CODE`]; but some vCPUs may still have fast write paths to it.
const MARKED: u16 = 3;
/// One vCPU that is telling the others.
const TELLS: u16 = 4;

/// Whether a write to a page in this state must be noted.
const fn is_watched(state: u16) -> bool {
    matches!(state & KIND, CODE | MARKED)
}

/// The state of a page, all else unchanged, as another kind.
const fn with_kind(state: u16, kind: u16) -> u16 {
    state & !KIND | kind
}

/// The state of every page of one machine's memory, by offset into the RAM mapping.
#[derive(Debug)]
pub struct CodePages {
    pages: Vec<AtomicU16>,
    stale: Mutex<Vec<u32>>,
    /// The list is not empty, or somebody who has taken it is still dropping translations.
    any_stale: AtomicBool,
}

impl CodePages {
    /// Tracking for `len` bytes of memory, all plain.
    pub fn new(len: usize) -> Self {
        let pages = len.div_ceil(1 << PAGE_BITS);
        let pages = (0..pages).map(|_| AtomicU16::new(PLAIN)).collect();
        Self { pages, stale: Mutex::default(), any_stale: AtomicBool::new(false) }
    }

    /// Whether a store to the page must take the slow path.
    pub fn is_code(&self, offset: usize) -> bool {
        self.page(offset).is_some_and(|page| is_watched(page.load(Ordering::SeqCst)))
    }

    /// Marks the page at `offset` as holding code. If true, the caller must make every fast write path to the page slow, on
    /// every vCPU, and then call [`CodePages::set_protected`], once, before it reads the page's bytes: so must everybody who
    /// comes here before that has been done. No more than 16 000 may be at it at a time, which more vCPUs than there can be are.
    pub fn mark_code(&self, offset: usize) -> bool {
        let mark = |state| (state != CODE).then(|| with_kind(state, MARKED) + TELLS);
        self.page(offset)
            .is_some_and(|page| page.fetch_update(Ordering::SeqCst, Ordering::SeqCst, mark).is_ok())
    }

    /// The caller has made all vCPUs drop their fast write paths to a page that it has marked. None has one any more if
    /// nobody else is at that, unless it has been written since.
    pub fn set_protected(&self, offset: usize) {
        let told = |state: u16| match state.checked_sub(TELLS)? {
            MARKED => Some(CODE),
            told => Some(told),
        };
        if let Some(page) = self.page(offset) {
            let _ = page.fetch_update(Ordering::SeqCst, Ordering::SeqCst, told);
        }
    }

    /// Notes a write that has been done to `len` bytes at `offset`. Call it after the write.
    pub fn note_write(&self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        // The write above must be visible before the state below is read: a translator does the reverse.
        fence(Ordering::SeqCst);
        let last = offset.saturating_add(len - 1) >> PAGE_BITS;
        for index in offset >> PAGE_BITS..=last.min(self.pages.len().saturating_sub(1)) {
            let page = &self.pages[index];
            if is_watched(page.load(Ordering::Relaxed)) {
                // Whoever finds the page stale must find that something is.
                let mut stale = self.stale.lock();
                self.any_stale.store(true, Ordering::SeqCst);
                let stales = |state| is_watched(state).then_some(with_kind(state, STALE));
                if page.fetch_update(Ordering::SeqCst, Ordering::SeqCst, stales).is_ok() {
                    stale.push(u32::try_from(index).unwrap_or(u32::MAX));
                }
            }
        }
    }

    /// Whether there may be translations of stale pages: [`CodePages::dropped`] has not been called for all of them.
    pub fn any_stale(&self) -> bool {
        self.any_stale.load(Ordering::SeqCst)
    }

    /// Takes the list of pages that have become stale since the last call, as offsets. Duplicates are possible. Call
    /// [`CodePages::dropped`] when their translations are gone: until then a barrier of another vCPU must wait.
    pub fn take_stale(&self) -> Vec<usize> {
        let stale = std::mem::take(&mut *self.stale.lock());
        stale.into_iter().map(|index| (index as usize) << PAGE_BITS).collect()
    }

    /// No translation is left of the pages that were taken.
    pub fn dropped(&self) {
        let list = self.stale.lock();
        if list.is_empty() {
            self.any_stale.store(false, Ordering::SeqCst);
        }
    }

    fn page(&self, offset: usize) -> Option<&AtomicU16> {
        self.pages.get(offset >> PAGE_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_to_code_is_reported_once_per_marking() {
        let pages = CodePages::new(4 << PAGE_BITS);
        assert!(pages.mark_code(0x1000));
        assert!(pages.mark_code(0x1ff0), "nobody has protected it yet");
        assert!(pages.is_code(0x1000));
        pages.set_protected(0x1000);
        pages.set_protected(0x1ff0);
        assert!(pages.is_code(0x1000) && !pages.mark_code(0x1ff0));
        pages.note_write(0xffc, 8);
        pages.note_write(0x1008, 8);
        assert!(!pages.is_code(0x1000));
        assert_eq!(pages.take_stale(), [0x1000]);
        assert!(pages.any_stale(), "their translations are still there");
        pages.dropped();
        assert!(!pages.any_stale());
        assert!(pages.mark_code(0x1000), "a stale page must be protected again");
        pages.note_write(0x1000, 1);
        pages.set_protected(0x1000);
        assert!(!pages.is_code(0x1000), "it has been written since it was marked");
        assert_eq!(pages.take_stale(), [0x1000]);
        assert!(pages.mark_code(0x1000));
        pages.note_write(0x3fff, usize::MAX);
        pages.note_write(usize::MAX, usize::MAX);
        assert!(pages.take_stale().is_empty() && pages.is_code(0x1000));
    }

    #[test]
    fn a_page_is_protected_by_those_alone_who_have_marked_it_since_the_last_write() {
        let pages = CodePages::new(1 << PAGE_BITS);
        assert!(pages.mark_code(0));
        // The writer has a fast write path from now on, which the second, but not the first, will take away.
        pages.note_write(0, 4);
        assert!(pages.mark_code(0));
        pages.set_protected(0);
        assert!(pages.is_code(0) && pages.mark_code(0), "the second is still at it");
        pages.set_protected(0);
        pages.set_protected(0);
        assert!(pages.is_code(0) && !pages.mark_code(0));
        assert_eq!(pages.take_stale(), [0]);
        // Whoever comes too late protects nothing.
        pages.note_write(0, 4);
        assert!(pages.mark_code(0));
        pages.note_write(0, 4);
        pages.set_protected(0);
        assert!(!pages.is_code(0) && pages.mark_code(0));
    }
}
