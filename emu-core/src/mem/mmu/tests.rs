//! Tests of cached translations.

use super::*;
use crate::mem::{Ram, RamBuilder, WINDOWED, WindowConfig};

fn mode(kernel: bool, asid: u32) -> Mode {
    let space = SpaceId { mode: u8::from(kernel), per_asid: !kernel, asid };
    Mode { ctx: 0, fetch: space, data: [space; View::ALL.len()], window: false }
}

fn fill(va: u64, offset: usize, global: bool, page_bits: u8) -> Fill {
    Fill { va, offset, read: true, write: true, global, page_bits, context: 0 }
}

fn read(mmu: &Mmu, va: u64) -> Option<usize> {
    mmu.lookup(View::Current, va, 8, Access::Read)
}

#[test]
fn address_spaces_keep_their_translations() {
    let mut mmu = Mmu::new(std::ptr::null());
    _ = mmu.switch(&mode(false, 1));
    mmu.fill(View::Current, false, fill(0x1234, 0x5234, false, 12));
    assert_eq!(read(&mmu, 0x1000), Some(0x5000));
    assert_eq!(read(&mmu, 0x1ffc), None, "crosses the page");
    _ = mmu.switch(&mode(false, 2));
    assert_eq!(read(&mmu, 0x1000), None);
    _ = mmu.switch(&mode(false, 1));
    assert_eq!(read(&mmu, 0x1000), Some(0x5000));
    for asid in 10..18 {
        _ = mmu.switch(&mode(false, asid));
    }
    _ = mmu.switch(&mode(false, 1));
    assert_eq!(read(&mmu, 0x1000), None, "the least recently used space made room");
}

#[test]
fn kernel_translations_survive_unless_local() {
    let mut mmu = Mmu::new(std::ptr::null());
    _ = mmu.switch(&mode(true, 1));
    mmu.fill(View::Current, false, fill(0x1000, 0x5000, true, 12));
    mmu.fill(View::Current, false, fill(0x2000, 0x6000, false, 12));
    _ = mmu.switch(&mode(true, 2));
    assert_eq!((read(&mmu, 0x1000), read(&mmu, 0x2000)), (Some(0x5000), None));
}

#[test]
fn flushes_are_selective() {
    let mut mmu = Mmu::new(std::ptr::null());
    _ = mmu.switch(&mode(false, 1));
    let refill = |mmu: &mut Mmu| {
        mmu.fill(View::Current, false, fill(0x1000, 0x5000, true, 12));
        mmu.fill(View::Current, false, fill(0x2000, 0x6000, false, 12));
        mmu.fill(View::Current, false, fill(0x3000, 0x7000, false, 12));
    };
    let left = |mmu: &Mmu| [0x1000, 0x2000, 0x3000].map(|va| read(mmu, va).is_some());
    refill(&mut mmu);
    mmu.flush(Flush { asid: Some(2), range: None });
    assert_eq!(left(&mmu), [true, true, true]);
    mmu.flush(Flush { asid: None, range: Some((0x2008, 0x2010)) });
    assert_eq!(left(&mmu), [true, false, true]);
    mmu.flush(Flush { asid: Some(1), range: None });
    assert_eq!(left(&mmu), [true, false, false]);
    refill(&mut mmu);
    mmu.flush(Flush { asid: None, range: Some((0x3000, u64::MAX)) });
    assert_eq!(left(&mmu), [true, true, false]);
    mmu.fill(View::Current, false, fill(0x20_1000, 0x5000, false, 21));
    mmu.flush(Flush { asid: None, range: Some((0x3f_f000, 0x3f_f000)) });
    assert_eq!(read(&mmu, 0x20_1000), None, "the flushed address lies in the same large page");
    assert_eq!(left(&mmu), [true, true, false], "others stay");
    mmu.fill(View::Current, false, fill(0x3000, 0x7000, false, 64));
    mmu.flush(Flush { asid: None, range: Some((0x50_0000, 0x50_0fff)) });
    assert_eq!(left(&mmu), [true, true, false], "any address may mean a page of all sizes");
    refill(&mut mmu);
    mmu.flush(Flush::ALL);
    assert_eq!(left(&mmu), [false, false, false]);
}

#[test]
fn protection_is_by_physical_page() {
    let mut mmu = Mmu::new(std::ptr::null());
    _ = mmu.switch(&mode(false, 1));
    mmu.fill(View::Current, false, fill(0x1000, 0x5000, true, 12));
    mmu.fill(View::Current, false, fill(0x2000, 0x6000, true, 12));
    mmu.protect(0x5008);
    assert_eq!(mmu.lookup(View::Current, 0x1000, 8, Access::Write), None);
    assert_eq!(read(&mmu, 0x1000), Some(0x5000));
    assert_eq!(mmu.lookup(View::Current, 0x2000, 8, Access::Write), Some(0x6000));
}

/// Entries of each view, as translated code has them.
fn sizes(tables: &Tables) -> [u64; View::ALL.len()] {
    tables.masks.map(|mask| mask / size_of::<TlbEntry>() as u64 + 1)
}

/// Pages that must take the place of others until a bank of the first size is to grow.
const CROWD: usize = TLB_ENTRIES / Bank::CROWDED + 1;

/// A page for which there is another, [`TLB_ENTRIES`] before it, that has the same entry in a bank of the first size; and its
/// place in memory.
fn second(n: usize) -> (u64, usize) {
    ((TLB_ENTRIES + n) as u64 * PAGE_SIZE, n * PAGE_SIZE as usize)
}

/// Fills the bank of `mode` with pages from zero on, and as many second ones over the first of these as it takes to make
/// it grow.
fn grow(mmu: &mut Mmu, mode: &Mode, global: bool) {
    let before = mmu.switch(mode);
    assert_eq!(sizes(&before), [TLB_ENTRIES as u64; _]);
    for n in 0..TLB_ENTRIES {
        mmu.fill(View::Current, false, fill(n as u64 * PAGE_SIZE, n * PAGE_SIZE as usize, global, 12));
    }
    for (va, offset) in (0..CROWD).map(second) {
        mmu.fill(View::Current, false, fill(va, offset, global, 12));
    }
    assert_eq!((mmu.tables().data, mmu.tables().masks), (before.data, before.masks), "not before the switch");
    let after = mmu.switch(mode);
    assert_eq!(sizes(&after), [2 * TLB_ENTRIES as u64; _]);
    assert_ne!(after.data, before.data);
}

#[test]
fn a_crowded_bank_grows_and_keeps_what_it_has() {
    let mut mmu = Mmu::new(std::ptr::null());
    _ = mmu.switch(&mode(false, 1));
    let fetch = mmu.fetch_table();
    grow(&mut mmu, &mode(false, 1), false);
    assert_eq!(mmu.fetch_table(), fetch, "code knows the size of this one");
    for n in 0..TLB_ENTRIES {
        let (va, offset) = second(n);
        assert_eq!(read(&mmu, va), (n < CROWD).then_some(offset));
        assert_eq!(read(&mmu, n as u64 * PAGE_SIZE), (n >= CROWD).then_some(offset), "its place was taken");
    }
    // Now there is room for both.
    mmu.fill(View::Current, false, fill(0, 0, false, 12));
    assert_eq!((read(&mmu, 0), read(&mmu, second(0).0)), (Some(0), Some(0)));
    // It grows up to a limit.
    for pages in 0..40 {
        for n in 0..TLB_ENTRIES {
            mmu.fill(View::Current, false, fill((pages * TLB_ENTRIES + n) as u64 * PAGE_SIZE, 0, false, 12));
        }
        _ = mmu.switch(&mode(false, 1));
    }
    assert_eq!(sizes(&mmu.tables()), [MOST_ENTRIES as u64; _]);
    let last = (40 * TLB_ENTRIES - 1) as u64 * PAGE_SIZE;
    assert_eq!(read(&mmu, last), Some(0));
    assert_eq!(read(&mmu, last - (MOST_ENTRIES as u64 - 1) * PAGE_SIZE), Some(0));
}

#[test]
fn fetches_and_pages_filled_again_do_not_make_a_bank_grow() {
    let mut mmu = Mmu::new(std::ptr::null());
    let before = mmu.switch(&mode(false, 1));
    let fetch = mmu.fetch_table();
    for n in 0..4 * TLB_ENTRIES as u64 {
        mmu.fill(View::Current, true, fill(n * PAGE_SIZE, 0, false, 12));
        mmu.fill(View::Current, false, fill(n % 8 * PAGE_SIZE, 0, false, 12));
    }
    let after = mmu.switch(&mode(false, 1));
    assert_eq!((after.data, after.masks, mmu.fetch_table()), (before.data, before.masks, fetch));
}

#[test]
fn a_bank_that_has_grown_is_flushed() {
    let (first, last) = (second(5).0, second(CROWD - 5).0);
    let ends = |mmu: &Mmu| [0, 5, CROWD - 5, CROWD - 1].map(|n| read(mmu, second(n).0).is_some());
    let user = mode(false, 1);
    for range in [(first, last), (first + 8, last + 0xfff)] {
        let mut mmu = Mmu::new(std::ptr::null());
        grow(&mut mmu, &user, false);
        mmu.flush(Flush { asid: None, range: Some(range) });
        assert_eq!(ends(&mmu), [true, false, false, true]);
        mmu.flush(Flush { asid: Some(1), range: Some((last + PAGE_SIZE, u64::MAX)) });
        assert_eq!(ends(&mmu), [true, false, false, false]);
        assert!(read(&mmu, last - TLB_ENTRIES as u64 * PAGE_SIZE).is_none());
    }
    for flush in [Flush::ALL, Flush { asid: Some(1), range: None }] {
        let mut mmu = Mmu::new(std::ptr::null());
        grow(&mut mmu, &user, false);
        mmu.flush(flush);
        assert!((0..2 * TLB_ENTRIES as u64).all(|n| read(&mmu, n * PAGE_SIZE).is_none()));
    }
    // A large page that only entries from before know of.
    let mut mmu = Mmu::new(std::ptr::null());
    _ = mmu.switch(&user);
    mmu.fill(View::Current, false, fill(second(TLB_ENTRIES - 1).0, 0, false, 21));
    for n in 0..2 * CROWD {
        mmu.fill(View::Current, false, fill(n as u64 * PAGE_SIZE, 0, false, 12));
        mmu.fill(View::Current, false, fill(second(n).0, 0, false, 12));
    }
    assert_eq!(sizes(&mmu.switch(&user)), [2 * TLB_ENTRIES as u64; _]);
    assert!(read(&mmu, second(TLB_ENTRIES - 1).0).is_some());
    let page = second(TLB_ENTRIES - 2).0;
    mmu.flush(Flush { asid: None, range: Some((page, page)) });
    assert!(read(&mmu, second(TLB_ENTRIES - 1).0).is_none());
}

#[test]
fn protection_reaches_a_bank_that_has_grown() {
    let mut mmu = Mmu::new(std::ptr::null());
    grow(&mut mmu, &mode(false, 1), false);
    let (va, offset) = second(7);
    mmu.protect(offset);
    assert_eq!(mmu.lookup(View::Current, va, 8, Access::Write), None);
    assert_eq!(read(&mmu, va), Some(offset));
}

#[test]
fn a_shared_bank_knows_its_local_entries_after_it_has_grown() {
    let kernel = |asid| mode(true, asid);
    let mut mmu = Mmu::new(std::ptr::null());
    _ = mmu.switch(&kernel(1));
    let page = |n: usize| (2 * TLB_ENTRIES - 1 - n) as u64 * PAGE_SIZE;
    for n in 0..5 {
        mmu.fill(View::Current, false, fill(page(n), 0, false, 12));
    }
    for n in 0..CROWD {
        mmu.fill(View::Current, false, fill(n as u64 * PAGE_SIZE, 0, true, 12));
        mmu.fill(View::Current, false, fill(second(n).0, 0, true, 12));
    }
    assert_eq!(sizes(&mmu.switch(&kernel(1))), [2 * TLB_ENTRIES as u64; _]);
    assert!((0..5).all(|n| read(&mmu, page(n)).is_some()));
    _ = mmu.switch(&kernel(2));
    assert!((0..5).all(|n| read(&mmu, page(n)).is_none()));
    assert!((0..CROWD).all(|n| read(&mmu, second(n).0).is_some()));
    // With many local entries it is emptied whole.
    let mut mmu = Mmu::new(std::ptr::null());
    grow(&mut mmu, &kernel(1), false);
    _ = mmu.switch(&kernel(2));
    assert!((0..CROWD).all(|n| read(&mmu, second(n).0).is_none()));
}

#[test]
fn a_bank_that_does_not_need_its_size_shrinks() {
    let user = mode(false, 1);
    for flush in [Flush::ALL, Flush { asid: Some(1), range: None }] {
        let mut mmu = Mmu::new(std::ptr::null());
        grow(&mut mmu, &user, false);
        mmu.flush(flush);
        assert_eq!(sizes(&mmu.switch(&user)), [2 * TLB_ENTRIES as u64; _], "it was needed");
        mmu.fill(View::Current, false, fill(0x1000, 0x5000, false, 12));
        let before = mmu.tables();
        mmu.flush(flush);
        assert_eq!(mmu.tables().data, before.data, "not before the switch");
        mmu.fill(View::Current, false, fill(0x3000, 0x7000, false, 12));
        assert_eq!(sizes(&mmu.switch(&user)), [TLB_ENTRIES as u64; _]);
        assert_eq!((read(&mmu, 0x1000), read(&mmu, 0x3000)), (None, Some(0x7000)));
        mmu.flush(flush);
        assert_eq!(sizes(&mmu.switch(&user)), [TLB_ENTRIES as u64; _], "no further");
    }
    // Nor does the next space begin with the size of the last.
    let mut mmu = Mmu::new(std::ptr::null());
    grow(&mut mmu, &user, false);
    for asid in 10..18 {
        assert_eq!(sizes(&mmu.switch(&mode(false, asid))), [TLB_ENTRIES as u64; _]);
    }
}

/// Memory with windows of that configuration.
fn windowed(config: WindowConfig) -> (Ram, Mmu) {
    let builder = RamBuilder::new().region("memory", 0, 1 << 20, true).unwrap();
    let ram = builder.windows(Some(config)).build().unwrap();
    let mut mmu = Mmu::new(ram.host_base());
    mmu.allow_windows(ram.windows().cloned());
    (ram, mmu)
}

fn user(asid: u32) -> Mode {
    Mode { window: true, ..mode(false, asid) }
}

/// Accesses the page, as the slow path does.
fn touch(mmu: &mut Mmu, va: u64, offset: usize) -> bool {
    mmu.fill(View::Current, false, fill(va, offset, false, 12));
    let (mapping, bits) = mmu.wanted_in_window(va, Access::Write).unwrap();
    assert_eq!((mapping.offset, mapping.len, mapping.write, bits), (offset, PAGE_SIZE, true, 12));
    let goes_on = mmu.map_in_window(mapping);
    assert_eq!(mmu.wanted_in_window(va, Access::Write), None);
    goes_on
}

#[test]
fn a_window_follows_its_bank() {
    let (_ram, mut mmu) = windowed(WindowConfig::EAGER);
    _ = mmu.switch(&mode(true, 1));
    assert_eq!(mmu.context(), 0, "the kernel has none");
    _ = mmu.switch(&user(1));
    assert_eq!(mmu.context(), WINDOWED);
    let there = |mmu: &Mmu| [0x1000, 0x2000, 0x3000].map(|page| mmu.mapped_in_window(page).is_some());
    assert!(
        touch(&mut mmu, 0x1000, 0x5000) && touch(&mut mmu, 0x2000, 0x6000) && touch(&mut mmu, 0x3000, 0x7000)
    );
    assert_eq!(there(&mmu), [true; 3]);
    assert_eq!(mmu.tables().low, 1 << SEGMENT_BITS);
    mmu.protect(0x6000);
    assert_eq!(there(&mmu), [true, false, true]);
    mmu.flush(Flush { asid: Some(1), range: Some((0x3000, 0x3000)) });
    assert_eq!(there(&mmu), [true, false, false]);
    _ = mmu.switch(&user(2));
    assert_eq!(there(&mmu), [false; 3], "another space has a window of its own");
    mmu.flush(Flush { asid: Some(1), range: None });
    _ = mmu.switch(&user(1));
    assert_eq!(there(&mmu), [false; 3], "it is flushed from afar");
    assert!(touch(&mut mmu, 0x1000, 0x5000));
    for asid in 10..18 {
        _ = mmu.switch(&user(asid));
    }
    _ = mmu.switch(&user(1));
    assert_eq!(there(&mmu), [false; 3], "the least recently used space made room");
}

#[test]
fn a_page_that_holds_code_is_not_mapped_for_writing() {
    let (_ram, mut mmu) = windowed(WindowConfig::EAGER);
    _ = mmu.switch(&user(1));
    mmu.fill(View::Current, false, Fill { write: false, ..fill(0x1000, 0x5000, false, 12) });
    assert_eq!(mmu.wanted_in_window(0x1000, Access::Write), None);
    let (mapping, _) = mmu.wanted_in_window(0x1000, Access::Read).unwrap();
    assert!(!mapping.write && mmu.map_in_window(mapping));
    assert_eq!(mmu.wanted_in_window(0x1000, Access::Read), None);
    // It may be written from now on.
    assert!(touch(&mut mmu, 0x1000, 0x5000));
}

#[test]
fn windows_are_for_those_that_run_long_and_rest_if_they_take_long() {
    let (_ram, mut mmu) = windowed(WindowConfig { threshold: 2, ..WindowConfig::default() });
    let mode = user(1);
    _ = mmu.switch(&mode);
    assert_eq!((mmu.found_running(&mode), mmu.context()), (false, 0));
    assert_eq!((mmu.found_running(&mode), mmu.context()), (true, WINDOWED));
    let mut page = 0;
    // Each rest is longer than the one before.
    for rest in [1, 2, 4] {
        while touch(&mut mmu, page, page as usize % (1 << 20)) {
            page += PAGE_SIZE;
            assert!(page < 1 << 22, "it never rests");
        }
        page += PAGE_SIZE;
        assert_eq!(mmu.context(), 0);
        for _ in 0..rest {
            assert!(!mmu.found_running(&mode));
        }
        assert!(mmu.found_running(&mode));
        assert_eq!(mmu.context(), WINDOWED);
    }
}
