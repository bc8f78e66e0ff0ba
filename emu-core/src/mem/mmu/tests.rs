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
    mmu.switch(&mode(false, 1));
    mmu.fill(View::Current, false, fill(0x1234, 0x5234, false, 12));
    assert_eq!(read(&mmu, 0x1000), Some(0x5000));
    assert_eq!(read(&mmu, 0x1ffc), None, "crosses the page");
    mmu.switch(&mode(false, 2));
    assert_eq!(read(&mmu, 0x1000), None);
    mmu.switch(&mode(false, 1));
    assert_eq!(read(&mmu, 0x1000), Some(0x5000));
    for asid in 10..18 {
        mmu.switch(&mode(false, asid));
    }
    mmu.switch(&mode(false, 1));
    assert_eq!(read(&mmu, 0x1000), None, "the least recently used space made room");
}

#[test]
fn kernel_translations_survive_unless_local() {
    let mut mmu = Mmu::new(std::ptr::null());
    mmu.switch(&mode(true, 1));
    mmu.fill(View::Current, false, fill(0x1000, 0x5000, true, 12));
    mmu.fill(View::Current, false, fill(0x2000, 0x6000, false, 12));
    mmu.switch(&mode(true, 2));
    assert_eq!((read(&mmu, 0x1000), read(&mmu, 0x2000)), (Some(0x5000), None));
}

#[test]
fn flushes_are_selective() {
    let mut mmu = Mmu::new(std::ptr::null());
    mmu.switch(&mode(false, 1));
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
    mmu.switch(&mode(false, 1));
    mmu.fill(View::Current, false, fill(0x1000, 0x5000, true, 12));
    mmu.fill(View::Current, false, fill(0x2000, 0x6000, true, 12));
    mmu.protect(0x5008);
    assert_eq!(mmu.lookup(View::Current, 0x1000, 8, Access::Write), None);
    assert_eq!(read(&mmu, 0x1000), Some(0x5000));
    assert_eq!(mmu.lookup(View::Current, 0x2000, 8, Access::Write), Some(0x6000));
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
    mmu.switch(&mode(true, 1));
    assert_eq!(mmu.context(), 0, "the kernel has none");
    mmu.switch(&user(1));
    assert_eq!(mmu.context(), WINDOWED);
    let there = |mmu: &Mmu| [0x1000, 0x2000, 0x3000].map(|page| mmu.is_in_window(page));
    assert!(
        touch(&mut mmu, 0x1000, 0x5000) && touch(&mut mmu, 0x2000, 0x6000) && touch(&mut mmu, 0x3000, 0x7000)
    );
    assert_eq!(there(&mmu), [true; 3]);
    assert_eq!(mmu.tables().low, 1 << SEGMENT_BITS);
    mmu.protect(0x6000);
    assert_eq!(there(&mmu), [true, false, true]);
    mmu.flush(Flush { asid: Some(1), range: Some((0x3000, 0x3000)) });
    assert_eq!(there(&mmu), [true, false, false]);
    mmu.switch(&user(2));
    assert_eq!(there(&mmu), [false; 3], "another space has a window of its own");
    mmu.flush(Flush { asid: Some(1), range: None });
    mmu.switch(&user(1));
    assert_eq!(there(&mmu), [false; 3], "it is flushed from afar");
    assert!(touch(&mut mmu, 0x1000, 0x5000));
    for asid in 10..18 {
        mmu.switch(&user(asid));
    }
    mmu.switch(&user(1));
    assert_eq!(there(&mmu), [false; 3], "the least recently used space made room");
}

#[test]
fn a_page_that_holds_code_is_not_mapped_for_writing() {
    let (_ram, mut mmu) = windowed(WindowConfig::EAGER);
    mmu.switch(&user(1));
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
    mmu.switch(&mode);
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
