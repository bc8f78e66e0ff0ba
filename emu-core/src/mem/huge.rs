//! Huge pages of the host for guest memory that lies in an object ([`super::Windows`]). Hosts give them to private memory when it
//! is first touched, but not to objects. So memory that has been in use for a while is gathered in them, 2 MiB at a time, on a
//! thread of its own, and a page of the guest's that is as large when a window gets it: random accesses to much memory are up to
//! half as fast again by it.
#![allow(unsafe_code, reason = "asks the host to put memory in other pages of its own")]

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};

use super::ram::Ram;
use super::reserved::HUGE_PAGE;

/// How long a machine runs before it is looked after: many end sooner.
const FIRST: Duration = Duration::from_secs(8);
/// Between two rounds: after one in which there was something to do, and at most.
const ROUNDS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(4)];
/// A range is gathered if so many bytes of it are in use: the rest takes memory of the host's, too.
const DENSE: u64 = HUGE_PAGE as u64 / 2;
/// Pauses are so many times as long as what has been done.
const EASE: u32 = 3;

/// What became of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Gathered,
    /// Not now: too little of it is in use, or the host has no such page left.
    Later,
    /// The host does not do this.
    Never,
}

/// How far each range has come, from the first on.
#[derive(Debug)]
pub(super) struct Gathering {
    ranges: Box<[AtomicU8]>,
    /// The host does not do this, or has no memory for it: vCPUs, which others wait for, do not ask any more.
    is_refused: AtomicBool,
}

/// What there is to know of a range: nothing, that a vCPU has tried, that it is gathered.
const NEW: u8 = 0;
const TRIED: u8 = 1;
const DONE: u8 = 2;

impl Gathering {
    /// For the ranges that lie whole in `len` bytes.
    pub(super) fn new(len: usize) -> Self {
        let ranges = (0..len / HUGE_PAGE).map(|_| AtomicU8::new(NEW)).collect();
        Self { ranges, is_refused: AtomicBool::new(false) }
    }
}

impl Ram {
    /// Gathers `len` bytes from `offset` on if they are one range, and no vCPU has tried: the guest uses them as one page.
    pub fn gather_page(&self, offset: usize, len: u64) {
        let is_one = len == HUGE_PAGE as u64 && offset.is_multiple_of(HUGE_PAGE);
        if is_one && !self.gathering.is_refused.load(Relaxed) {
            let number = offset / HUGE_PAGE;
            let state = self.gathering.ranges.get(number);
            if state.is_some_and(|state| state.compare_exchange(NEW, TRIED, Relaxed, Relaxed).is_ok()) {
                self.gather_range(number);
            }
        }
    }

    /// Gathers memory in huge pages as it comes into use, as long as there is the memory, on a thread of its own. Nothing happens
    /// if it need not be.
    pub fn gather(self: &Arc<Self>) {
        if self.windows().is_some() {
            let weak = Arc::downgrade(self);
            // Without such a thread the machine is slower, no more.
            let _ = thread::Builder::new().name("memory".into()).spawn(move || run(&weak));
        }
    }

    /// Gathers the range with this number.
    fn gather_range(&self, number: usize) -> Outcome {
        let (Some(windows), at) = (self.windows(), number * HUGE_PAGE) else { return Outcome::Never };
        if in_use(windows.file(), at as u64).is_none_or(|bytes| bytes < DENSE) {
            return Outcome::Later;
        }
        // Linux 6.1, <asm-generic/mman-common.h>.
        const MADV_COLLAPSE: i32 = 25;
        // SAFETY: the range is in the mapping, whole huge pages before its end; this changes how it is backed, not what it holds.
        let failed = unsafe { libc::madvise(self.host_base().add(at).cast(), HUGE_PAGE, MADV_COLLAPSE) != 0 };
        match failed.then(|| std::io::Error::last_os_error().raw_os_error()) {
            None => {
                self.gathering.ranges[number].store(DONE, Relaxed);
                Outcome::Gathered
            }
            // Somebody else uses a page of it just now.
            Some(Some(libc::EAGAIN | libc::EBUSY)) => Outcome::Later,
            Some(error) => {
                self.gathering.is_refused.store(true, Relaxed);
                if error == Some(libc::EINVAL) { Outcome::Never } else { Outcome::Later }
            }
        }
    }
}

/// How many bytes from `at` on, in a huge page, the object has memory for.
fn in_use(file: &std::os::fd::OwnedFd, at: u64) -> Option<u64> {
    let end = at + HUGE_PAGE as u64;
    let (mut from, mut bytes) = (at, 0);
    while from < end {
        // There is none from here on.
        let Ok(data) = seek(file, SeekFrom::Data(from)) else { break };
        let hole = seek(file, SeekFrom::Hole(data)).ok()?;
        bytes += hole.min(end).saturating_sub(data);
        from = hole;
    }
    Some(bytes)
}

fn run(ram: &Weak<Ram>) {
    thread::sleep(FIRST);
    let mut pause = ROUNDS[0];
    loop {
        thread::sleep(pause);
        pause = (2 * pause).min(ROUNDS[1]);
        let mut all_done = true;
        for number in 0.. {
            let Some(ram) = ram.upgrade() else { return };
            let Some(state) = ram.gathering.ranges.get(number) else { break };
            if state.load(Relaxed) == DONE {
                continue;
            }
            all_done = false;
            let begun = Instant::now();
            match ram.gather_range(number) {
                Outcome::Never => return,
                Outcome::Later => {}
                Outcome::Gathered => {
                    pause = ROUNDS[0];
                    drop(ram);
                    thread::sleep(EASE * begun.elapsed());
                }
            }
        }
        if all_done {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{PAGE_SIZE, RamBuilder, WindowConfig};

    #[test]
    fn memory_that_is_gathered_holds_what_it_held() {
        let builder = RamBuilder::new().windows(Some(WindowConfig::default()));
        let ram = builder.region("memory", 0x8000_0000, 4 << 20, true).unwrap().build().unwrap();
        let pages = HUGE_PAGE as u64 / PAGE_SIZE;
        let bytes = |number| in_use(ram.windows().unwrap().file(), number * HUGE_PAGE as u64);
        // Every page of the first range, and one in ten of the second.
        for page in (0..pages).chain((pages..2 * pages).step_by(10)) {
            ram.store::<u64>((page * PAGE_SIZE) as usize, page + 1);
        }
        assert_eq!(bytes(0), Some(HUGE_PAGE as u64));
        assert_eq!(bytes(1), Some(pages.div_ceil(10) * PAGE_SIZE));
        // Of the guest's pages, those that are one range each are tried, once.
        let states = || [0, 1].map(|number: usize| ram.gathering.ranges[number].load(Relaxed));
        ram.gather_page(HUGE_PAGE, PAGE_SIZE);
        ram.gather_page(PAGE_SIZE as usize, HUGE_PAGE as u64);
        ram.gather_page(2 * HUGE_PAGE, HUGE_PAGE as u64);
        assert_eq!(states(), [NEW, NEW]);
        ram.gather_page(HUGE_PAGE, HUGE_PAGE as u64);
        assert_eq!(states(), [NEW, TRIED], "too little of it is in use");
        // A host that does not do this is as well.
        assert!([Outcome::Gathered, Outcome::Never, Outcome::Later].contains(&ram.gather_range(0)));
        assert_eq!(ram.gather_range(1), Outcome::Later, "too little of it is in use");
        for page in 0..2 * pages {
            let held = if page < pages || (page - pages).is_multiple_of(10) { page + 1 } else { 0 };
            assert_eq!(ram.load::<u64>((page * PAGE_SIZE) as usize), held);
        }
    }
}
