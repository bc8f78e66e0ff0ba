//! Physical memory protection.

use emu_core::exec::Access;

use super::*;
use crate::riscv::pmp::{ENTRIES, Pmp, permit};

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Fetch];

/// Writes an entry.
fn put(pmp: &mut Pmp, n: usize, addr: u64, cfg: u8) {
    let _ = pmp.set_cfg(n, 0);
    let _ = pmp.set_addr(n, addr);
    let _ = pmp.set_cfg(n, cfg);
}

/// What may be done with eight bytes at `pa`, as in `ls -l`.
fn rights(pmp: &Pmp, pa: u64, privilege: Privilege) -> String {
    let letter = |(access, letter)| if pmp.allows(pa, 8, access, privilege) { letter } else { '-' };
    ACCESSES.into_iter().zip("rwx".chars()).map(letter).collect()
}

#[test]
fn without_entries_machine_mode_may_do_everything() {
    let pmp = Pmp::default();
    assert_eq!(MODES.map(|mode| rights(&pmp, 0x1000, mode)), ["---", "---", "rwx"]);
}

/// The truth table of Smepmp 1.0, chapter 2, "Smepmp physical memory protection rules": L, R, W, X; what
/// M-mode may do; what S- and U-mode may do.
const LOCKDOWN: [(&str, &str, &str); 16] = [
    ("0000", "---", "---"),
    ("0001", "---", "--x"),
    ("0010", "rw-", "r--"),
    ("0011", "rw-", "rw-"),
    ("0100", "---", "r--"),
    ("0101", "---", "r-x"),
    ("0110", "---", "rw-"),
    ("0111", "---", "rwx"),
    ("1000", "---", "---"),
    ("1001", "--x", "---"),
    ("1010", "--x", "--x"),
    ("1011", "r-x", "--x"),
    ("1100", "r--", "---"),
    ("1101", "r-x", "---"),
    ("1110", "rw-", "---"),
    ("1111", "r--", "r--"),
];

/// L, R, W and X as digits in that order, as a `pmpcfg` with NAPOT.
fn cfg_of(lrwx: &str) -> u8 {
    let bit = |i: usize| u8::from(&lrwx[i..=i] == "1");
    bit(0) << 7 | bit(1) | bit(2) << 1 | bit(3) << 2 | 0x18
}

#[test]
fn machine_mode_lockdown() {
    for (lrwx, machine, others) in LOCKDOWN {
        let mut pmp = Pmp::default();
        assert!(pmp.set_mseccfg(5)); // RLB, so that any rule can be written
        put(&mut pmp, 0, u64::MAX, cfg_of(lrwx));
        assert_eq!(pmp.cfg(0), cfg_of(lrwx));
        assert_eq!(MODES.map(|mode| rights(&pmp, 0x1000, mode)), [others, others, machine], "{lrwx}");
    }
    let mut pmp = Pmp::default();
    assert!(pmp.set_mseccfg(1));
    assert_eq!(rights(&pmp, 0x1000, M), "rw-", "no entry matches: no code");
}

#[test]
fn no_lockdown() {
    for (lrwx, ..) in LOCKDOWN.iter().filter(|(lrwx, ..)| &lrwx[1..3] != "01") {
        let mut pmp = Pmp::default();
        put(&mut pmp, 0, u64::MAX, cfg_of(lrwx));
        let plain: String =
            "rwx".chars().zip(lrwx[1..].chars()).map(|(c, bit)| if bit == '1' { c } else { '-' }).collect();
        let machine = if lrwx.starts_with('1') { plain.as_str() } else { "rwx" };
        assert_eq!(MODES.map(|mode| rights(&pmp, 0x1000, mode)), [&plain, &plain, machine], "{lrwx}");
    }
}

#[test]
fn new_rules_under_lockdown() {
    for (lrwx, machine, _) in LOCKDOWN {
        let mut pmp = Pmp::default();
        assert!(pmp.set_mseccfg(1));
        put(&mut pmp, 0, u64::MAX, cfg_of(lrwx));
        let refused = lrwx.starts_with('1') && machine.ends_with('x');
        assert_eq!(pmp.cfg(0), if refused { 0 } else { cfg_of(lrwx) }, "{lrwx}");
    }
}

#[test]
fn allow_list_policy() {
    let mut pmp = Pmp::default();
    assert!(pmp.set_mseccfg(2));
    assert_eq!(rights(&pmp, 0x1000, M), "---");
    put(&mut pmp, 0, u64::MAX, 0x18);
    assert_eq!(rights(&pmp, 0x1000, M), "rwx", "an unlocked rule does not bind M-mode");
}

#[test]
fn security_configuration_is_sticky() {
    let mut pmp = Pmp::default();
    assert!(pmp.set_mseccfg(7));
    assert!(pmp.set_mseccfg(4) || pmp.mseccfg() == 7);
    assert_eq!(pmp.mseccfg(), 7, "MML and MMWP stay");
    assert!(pmp.set_mseccfg(0));
    assert_eq!(pmp.mseccfg(), 3, "RLB can go");
    assert!(pmp.set_mseccfg(4), "and come, as nothing is locked");
    assert!(!pmp.set_cfg(9, 0x80), "an entry that is off protects nothing");
    assert!(!pmp.set_mseccfg(4), "still set");
    assert!(pmp.set_mseccfg(0));
    assert!(!pmp.set_mseccfg(4), "an entry is locked, though it is off");
    assert_eq!(pmp.mseccfg(), 3);
}

#[test]
fn locks() {
    let mut pmp = Pmp::default();
    let _ = pmp.set_addr(3, 0x100);
    put(&mut pmp, 4, 0x200, 0x89);
    assert!(!pmp.set_cfg(4, 0) && !pmp.set_addr(4, 0x300) && !pmp.set_addr(3, 0x180));
    assert_eq!(
        (pmp.cfg(4), pmp.addr(4), pmp.addr(3)),
        (0x89, 0x200, 0x100),
        "TOR locks the address before it"
    );
    assert!(pmp.set_cfg(3, 0x11), "but not its configuration");
    put(&mut pmp, 6, 0x400, 0x91);
    assert!(!pmp.set_addr(5, 0x11), "NA4 does not");
    assert_eq!(pmp.addr(5), 0x11);

    let mut pmp = Pmp::default();
    assert!(pmp.set_mseccfg(4));
    put(&mut pmp, 4, 0x200, 0x89);
    assert!(pmp.set_cfg(4, 0x8), "RLB lifts the lock");
    assert_eq!(pmp.cfg(4), 0x8);
}

#[test]
fn reserved_configurations() {
    let mut pmp = Pmp::default();
    let _ = pmp.set_cfg(0, 0x1e);
    assert_eq!(pmp.cfg(0), 0x1c, "W without R");
    let _ = pmp.set_cfg(0, 0x7f);
    assert_eq!(pmp.cfg(0), 0x1f);
    assert!(!pmp.set_cfg(ENTRIES, 0x1f) && !pmp.set_addr(ENTRIES, 1));
}

#[test]
fn regions() {
    // First byte and last byte of what matches: all other bytes do not.
    let cases: &[(u64, u8, u64, u64)] = &[
        (0x400, 0x17, 0x1000, 0x1003),
        (0x400, 0x1f, 0x1000, 0x1007),
        (0x401, 0x1f, 0x1000, 0x100f),
        (0x5ff, 0x1f, 0x1000, 0x1fff),
        (0x7ff, 0x1f, 0, 0x3fff),
        ((1 << 54) - 1, 0x1f, 0, (1 << 57) - 1),
        ((1 << 53) - 1, 0x1f, 0, (1 << 56) - 1),
    ];
    for &(addr, cfg, first, last) in cases {
        let mut pmp = Pmp::default();
        put(&mut pmp, 0, addr, cfg);
        let allowed = |pa: u64| pmp.allows(pa, 1, Access::Read, U);
        assert!(allowed(first) && allowed(last), "{addr:#x}");
        assert!(!allowed(last + 1) && (first == 0 || !allowed(first - 1)), "{addr:#x}");
    }
    let mut pmp = Pmp::default();
    put(&mut pmp, 0, 0x400, 0x0f);
    put(&mut pmp, 1, 0x300, 0x0f);
    put(&mut pmp, 2, 0x500, 0x0f);
    for (pa, allowed) in [(0, true), (0xfff, true), (0x1000, true), (0x13ff, true), (0x1400, false)] {
        assert_eq!(
            pmp.allows(pa, 1, Access::Read, U),
            allowed,
            "{pa:#x}: entry 2 begins at entry 1's address"
        );
    }
    put(&mut pmp, 0, 0x400, 0);
    put(&mut pmp, 1, 0x300, 0x0f);
    assert!(!pmp.allows(0x800, 1, Access::Read, U), "from 0x1000 to 0xc00 is nothing");
}

/// An entry's bytes by the definition of each matching mode, for one byte.
fn matches(pmp: &Pmp, n: usize, pa: u64) -> bool {
    let addr = pmp.addr(n);
    match pmp.cfg(n) >> 3 & 3 {
        0 => false,
        1 => (if n == 0 { 0 } else { pmp.addr(n - 1) } << 2..addr << 2).contains(&pa),
        2 => pa >> 2 == addr,
        _ => {
            let ones = addr.trailing_ones();
            pa >> (ones + 3) == addr << 2 >> (ones + 3)
        }
    }
}

/// Whether an access is allowed, byte by byte.
fn slow(pmp: &Pmp, pa: u64, bytes: u64, access: Access, privilege: Privilege) -> bool {
    let first_match = |pa| (0..ENTRIES).find(|&n| matches(pmp, n, pa));
    let found: Vec<_> = (pa..pa + bytes).map(first_match).collect();
    let Some(n) = found.iter().copied().flatten().min() else {
        let data = privilege == M && pmp.mseccfg() & 2 == 0;
        return data && (access != Access::Fetch || pmp.mseccfg() & 1 == 0);
    };
    // The lowest number that matches any byte must match all.
    if !(pa..pa + bytes).all(|pa| matches(pmp, n, pa)) {
        return false;
    }
    let cfg = pmp.cfg(n);
    let column = ACCESSES.iter().position(|&a| a == access).unwrap();
    let [r, w, x, l] = [cfg & 1, cfg >> 1 & 1, cfg >> 2 & 1, cfg >> 7].map(usize::from);
    if pmp.mseccfg() & 1 != 0 {
        let (_, machine, others) = LOCKDOWN[l << 3 | r << 2 | w << 1 | x];
        return &(if privilege == M { machine } else { others })[column..=column] != "-";
    }
    privilege == M && l == 0 || [r, w, x][column] == 1
}

#[test]
fn random_entries_against_the_definition() {
    let mut random = Random(0x706d_7031);
    for _ in 0..400 {
        let mut pmp = Pmp::default();
        let _ = pmp.set_mseccfg(random.below(8));
        for _ in 0..random.below(12) {
            let n = random.pick(&[0, 1, 2, 3, 4, 5, 62, 63]);
            // Around 0x1000 to 0x3000, with all sizes.
            let addr = (0x400 + random.below(0x800)) | ((1 << random.below(11)) - 1);
            put(&mut pmp, n, random.pick(&[addr, addr, 0x400, u64::MAX]), random.bits() as u8);
        }
        for _ in 0..200 {
            let pa = 0xff0 + random.below(0x2020);
            let bytes = random.pick(&[1, 2, 4, 8, 16, 64]);
            let (access, mode) = (random.pick(&ACCESSES), random.pick(&MODES));
            let found = pmp.allows(pa, bytes as usize, access, mode);
            assert_eq!(
                found,
                slow(&pmp, pa, bytes, access, mode),
                "{pa:#x} {bytes} {access:?} {mode:?} {pmp:?}"
            );
            if let Some(perms) = pmp.page(pa, mode) {
                let within = (pa & !0xfff) + random.below(0x1000 - bytes);
                let expected = slow(&pmp, within, bytes, access, mode);
                assert_eq!(permit(perms, access), expected, "the page of {pa:#x} is uniform {pmp:?}");
            }
        }
    }
}

#[test]
fn protection_finer_than_a_page_sees_the_size_of_an_access() {
    use emu_core::ir::{MemAttr, Ty};
    let mut hart = hart();
    open_pmp(&mut hart);
    set(&mut hart, 0x3b0, (RAM + 0x1008) >> 2);
    set(&mut hart, 0x3b1, u64::MAX);
    set(&mut hart, 0x3a0, 0x1f10); // four bytes denied, the rest allowed
    enter(&mut hart, S);
    for (ty, at, allowed) in [
        (Ty::I32, 0x1004, true),
        (Ty::I64, 0x1000, true),
        (Ty::I8, 0x1007, true),
        (Ty::I16, 0x1007, false),
        (Ty::I64, 0x1004, false),
        (Ty::I32, 0x1008, false),
        (Ty::I64, 0x1008, false),
        (Ty::I32, 0x100c, true),
    ] {
        let loaded = hart.load(ty, MemAttr::PLAIN, RAM + at);
        assert_eq!(loaded.is_ok(), allowed, "{ty:?} at {at:#x}");
        let stored = hart.store(ty, MemAttr::PLAIN, RAM + at, 0);
        assert_eq!(stored.is_ok(), allowed, "{ty:?} at {at:#x}");
    }
}
