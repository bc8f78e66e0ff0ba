//! Accesses of translated code that the host may refuse: what they go on with then.
//!
//! An access through a window ([`emu_core::mem::Windows`]) is one host instruction with a slow path of its own. Where nothing
//! is mapped the host raises SIGSEGV. The handler looks the instruction up and goes on in its slow path, where all registers
//! are as they were before the access; it does nothing else. Any other fault goes to the handler that was there before: also one
//! of such an instruction at an address that is not in the window. That would be a way out of it, if there were one, and must
//! end the process.
#![allow(unsafe_code, reason = "the one module that handles the host's faults")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use emu_core::mem::Tables;
use parking_lot::Mutex;

/// An access that may fault, and its slow path: offsets in the code.
pub(crate) type Fault = (u32, u32);

/// The accesses in one machine's code memory that may fault.
pub(crate) struct Faults {
    /// Host addresses of the code memory.
    code: Range<usize>,
    /// Of each segment, by where the code begins.
    segments: Mutex<Vec<Segment>>,
}

type Segment = BTreeMap<usize, Box<[Fault]>>;

thread_local! {
    /// Of the machine whose code this thread runs; and the tables of the vCPU, which name its window.
    static CURRENT: Cell<(*const Faults, *const Tables)> = const { Cell::new((null(), null())) };
}

impl Faults {
    /// None yet, in code memory at these addresses, which has so many segments of the same size.
    pub(crate) fn new(code: Range<usize>, segments: usize) -> Self {
        let empty = std::iter::repeat_with(BTreeMap::new).take(segments);
        Self { code, segments: Mutex::new(empty.collect()) }
    }

    fn segment_of(&self, segments: &[Segment], pc: usize) -> usize {
        (pc - self.code.start) / (self.code.len() / segments.len())
    }

    /// Adds those of code at `start`, before anyone can run it.
    pub(crate) fn insert(&self, start: usize, mut faults: Vec<Fault>) {
        if !faults.is_empty() {
            faults.sort_unstable();
            let mut segments = self.segments.lock();
            let segment = self.segment_of(&segments, start);
            segments[segment].insert(start, faults.into());
        }
    }

    /// Forgets those of the code in a segment, which nobody can run any more.
    pub(crate) fn clear(&self, segment: usize) {
        let gone = std::mem::take(&mut self.segments.lock()[segment]);
        // What takes long is done without the lock.
        drop(gone);
    }

    /// Where to go on after the instruction at `pc` has faulted.
    fn slow_path(&self, pc: usize) -> Option<usize> {
        if !self.code.contains(&pc) {
            return None;
        }
        // Waiting for it properly takes more stack than a signal handler may have.
        let segments = loop {
            match self.segments.try_lock() {
                Some(segments) => break segments,
                None => std::thread::yield_now(),
            }
        };
        let (&start, faults) = segments[self.segment_of(&segments, pc)].range(..=pc).next_back()?;
        let offset = u32::try_from(pc - start).ok()?;
        let found = faults.binary_search_by_key(&offset, |&(at, _)| at).ok()?;
        Some(start + faults[found].1 as usize)
    }

    /// Runs `run`, which may run translated code with faults, of a vCPU with these tables, which outlive it.
    pub(crate) fn during<T>(&self, tables: *const Tables, run: impl FnOnce() -> T) -> T {
        /// Puts back what was there, even if `run` panics.
        struct Restore((*const Faults, *const Tables));
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace((self, tables)));
        run()
    }
}

/// What handled SIGSEGV before.
static PREVIOUS: OnceLock<Previous> = OnceLock::new();

struct Previous(libc::sigaction);

/// Takes over the handling of the host's faults, once for the process. False if it cannot be; then no code may have any.
pub(crate) fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle;
        // SAFETY: plain data, for which zeros are valid; the handler keeps to what may be done in one, see there; the
        // pointers are to locals.
        unsafe {
            let mut old = MaybeUninit::<libc::sigaction>::zeroed();
            if libc::sigaction(libc::SIGSEGV, null(), old.as_mut_ptr()) != 0 {
                return false;
            }
            // Before the new one is there: it needs this.
            if PREVIOUS.set(Previous(old.assume_init())).is_err() {
                return false;
            }
            let mut new = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            new.sa_sigaction = handler as usize;
            // On the alternate stack: an overflow of the normal one must reach whoever reports it.
            new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut new.sa_mask);
            libc::sigaction(libc::SIGSEGV, &raw const new, null_mut()) == 0
        }
    })
}

/// The handler. A fault in translated code is synchronous, and such code holds no lock: what is locked here is held by other
/// threads, briefly, if at all.
extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let (current, tables) = CURRENT.get();
    // SAFETY: the kernel passes what has happened. What somebody has sent is no fault.
    let (is_fault, at) = unsafe { ((*info).si_code > 0, (*info).si_addr().addr() as u64) };
    if is_fault && !current.is_null() {
        // SAFETY: the kernel passes the state of the interrupted thread, which it takes back from there afterwards; `current`
        // and `tables` are set only while their targets live, by a caller on this thread, and while translated code runs
        // nobody writes the latter.
        unsafe {
            if !(*tables).segments.iter().any(|segment| segment.has_room_at(at)) {
                return pass_on(signal, info, context, is_fault);
            }
            let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            let pc = &mut registers[libc::REG_RIP as usize];
            if let Some(slow) = (*current).slow_path(*pc as usize) {
                *pc = slow as i64;
                return;
            }
        }
    }
    pass_on(signal, info, context, is_fault);
}

/// Does what would have been done without the handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, is_fault: bool) {
    type Simple = extern "C" fn(c_int);
    type WithInfo = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    let previous = PREVIOUS.get().map(|Previous(action)| action);
    let action = previous.map_or(libc::SIG_DFL, |action| action.sa_sigaction);
    if action == libc::SIG_DFL || action == libc::SIG_IGN {
        // The instruction is tried again, and its fault ends the process; or the signal, which waits until this returns.
        // SAFETY: plain data and a pointer to a local.
        unsafe {
            let mut default = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &raw const default, null_mut());
            if !is_fault {
                libc::raise(signal);
            }
        }
        return;
    }
    let with_info = previous.is_some_and(|action| action.sa_flags & libc::SA_SIGINFO != 0);
    // SAFETY: whoever installed it has promised that it is a function of this kind.
    unsafe {
        if with_info {
            std::mem::transmute::<usize, WithInfo>(action)(signal, info, context);
        } else {
            std::mem::transmute::<usize, Simple>(action)(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_paths_are_found_by_the_address_of_the_access() {
        let faults = Faults::new(0x1000..0x3000, 2);
        faults.insert(0x1000, vec![(0x20, 0x80), (0x10, 0x60)]);
        faults.insert(0x1100, vec![(0, 0x40)]);
        faults.insert(0x1200, vec![]);
        faults.insert(0x2000, vec![(8, 0x20)]);
        assert_eq!(
            [0x1010, 0x1020, 0x1100].map(|pc| faults.slow_path(pc)),
            [0x1060, 0x1080, 0x1140].map(Some)
        );
        assert_eq!([0x1011, 0x1200, 0xfff, 0x3000].map(|pc| faults.slow_path(pc)), [None; 4]);
        faults.clear(0);
        assert_eq!([0x1010, 0x1100, 0x2008].map(|pc| faults.slow_path(pc)), [None, None, Some(0x2020)]);
    }
}
