//! Physical memory protection (Priv., "Physical Memory Protection", and the Smepmp extension).
//!
//! There are 64 entries of the finest grain, four bytes.

use emu_core::exec::{Access, Perms};

use super::Privilege;
use super::bits::mseccfg::{MML, MMWP, RLB};

/// How many entries there are.
pub const ENTRIES: usize = 64;

/// `pmpcfg.R`.
pub const R: u8 = 1;
/// `pmpcfg.W`.
pub const W: u8 = 2;
/// `pmpcfg.X`.
pub const X: u8 = 4;
/// `pmpcfg.A`, the address-matching mode.
pub const A: u8 = 3 << 3;
/// `pmpcfg.A`: from the address of the entry before to this one's.
pub const TOR: u8 = 1 << 3;
/// `pmpcfg.A`: four bytes.
pub const NA4: u8 = 2 << 3;
/// `pmpcfg.A`: a power of two of at least eight bytes, naturally aligned.
pub const NAPOT: u8 = 3 << 3;
/// `pmpcfg.L`: locked until reset, and enforced in M-mode.
pub const L: u8 = 1 << 7;

const ADDR_MASK: u64 = (1 << 54) - 1;
const PAGE: u64 = 4096;

/// An entry that is on: the bytes from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    cfg: u8,
}

/// The entries of one hart, and `mseccfg`.
#[derive(Clone, Debug)]
pub struct Pmp {
    cfg: [u8; ENTRIES],
    addr: [u64; ENTRIES],
    mseccfg: u64,
    /// The entries that are on and match anything, by number: what all checks use.
    ranges: Vec<Range>,
}

impl Default for Pmp {
    fn default() -> Self {
        Self { cfg: [0; ENTRIES], addr: [0; ENTRIES], mseccfg: 0, ranges: Vec::new() }
    }
}

impl Pmp {
    /// The configuration of entry `n`; zero if there is no such entry.
    pub fn cfg(&self, n: usize) -> u8 {
        self.cfg.get(n).copied().unwrap_or(0)
    }

    /// The address register of entry `n`; zero if there is no such entry.
    pub fn addr(&self, n: usize) -> u64 {
        self.addr.get(n).copied().unwrap_or(0)
    }

    /// `mseccfg`.
    pub fn mseccfg(&self) -> u64 {
        self.mseccfg
    }

    /// Writes the configuration of entry `n`. True if protection may have changed.
    #[must_use]
    pub fn set_cfg(&mut self, n: usize, value: u8) -> bool {
        if n >= ENTRIES || self.locked(n) {
            return false;
        }
        let mml = self.mseccfg & MML != 0;
        let mut value = value & (R | W | X | A | L);
        if !mml && value & (R | W) == W {
            value &= !W; // reserved
        }
        if mml && self.mseccfg & RLB == 0 && adds_machine_code(value) {
            return false;
        }
        self.cfg[n] = value;
        self.update()
    }

    /// Writes the address register of entry `n`. True if protection may have changed.
    #[must_use]
    pub fn set_addr(&mut self, n: usize, value: u64) -> bool {
        let next_is_locked_tor = n + 1 < ENTRIES && self.locked(n + 1) && self.cfg[n + 1] & A == TOR;
        if n >= ENTRIES || self.locked(n) || next_is_locked_tor {
            return false;
        }
        self.addr[n] = value & ADDR_MASK;
        self.update()
    }

    /// Writes `mseccfg`: MML and MMWP stay set, and RLB stays clear while any entry is locked. True if
    /// protection may have changed.
    #[must_use]
    pub fn set_mseccfg(&mut self, value: u64) -> bool {
        let rlb_fixed = self.mseccfg & RLB == 0 && self.cfg.iter().any(|cfg| cfg & L != 0);
        let rlb = if rlb_fixed { 0 } else { value & RLB };
        let new = (self.mseccfg | value) & (MML | MMWP) | rlb;
        let changed = new != self.mseccfg;
        self.mseccfg = new;
        changed
    }

    fn locked(&self, n: usize) -> bool {
        self.cfg[n] & L != 0 && self.mseccfg & RLB == 0
    }

    /// Works the ranges out again.
    fn update(&mut self) -> bool {
        let ranges = (0..ENTRIES).filter_map(|n| self.range(n)).collect();
        let changed = self.ranges != ranges;
        self.ranges = ranges;
        changed
    }

    fn range(&self, n: usize) -> Option<Range> {
        let (cfg, addr) = (self.cfg[n], self.addr[n]);
        let (first, last) = match cfg & A {
            TOR => {
                let bottom = if n == 0 { 0 } else { self.addr[n - 1] };
                (addr > bottom).then(|| (bottom << 2, (addr << 2) - 1))?
            }
            NA4 => (addr << 2, addr << 2 | 3),
            NAPOT => {
                let within = addr ^ (addr + 1); // the trailing ones and the zero above them
                ((addr & !within) << 2, (addr | within) << 2 | 3)
            }
            _ => return None,
        };
        Some(Range { first, last, cfg })
    }

    /// Whether an access to `bytes` bytes at `pa` is allowed: the first entry that matches any of them
    /// decides, and must match them all.
    pub fn allows(&self, pa: u64, bytes: usize, access: Access, privilege: Privilege) -> bool {
        let last = pa.saturating_add(bytes.max(1) as u64 - 1);
        let perms = match self.ranges.iter().find(|range| range.first <= last && pa <= range.last) {
            Some(range) if range.first <= pa && last <= range.last => self.rights(range.cfg, privilege),
            Some(_) => return false,
            None => self.default_rights(privilege),
        };
        permit(perms, access)
    }

    /// What is allowed alike in all of the 4 KiB page that holds `pa`; none if it is not the same everywhere.
    pub fn page(&self, pa: u64, privilege: Privilege) -> Option<Perms> {
        let (first, last) = (pa & !(PAGE - 1), pa | (PAGE - 1));
        match self.ranges.iter().find(|range| range.first <= last && first <= range.last) {
            Some(range) if range.first <= first && last <= range.last => {
                Some(self.rights(range.cfg, privilege))
            }
            Some(_) => None,
            None => Some(self.default_rights(privilege)),
        }
    }

    /// What is allowed where no entry matches.
    fn default_rights(&self, privilege: Privilege) -> Perms {
        let data = privilege == Privilege::Machine && self.mseccfg & MMWP == 0;
        Perms { read: data, write: data, fetch: data && self.mseccfg & MML == 0 }
    }

    /// What an entry that matches allows.
    fn rights(&self, cfg: u8, privilege: Privilege) -> Perms {
        let machine = privilege == Privilege::Machine;
        let rwx = if self.mseccfg & MML != 0 {
            lockdown_rights(cfg, machine)
        } else if machine && cfg & L == 0 {
            R | W | X
        } else {
            cfg
        };
        Perms { read: rwx & R != 0, write: rwx & W != 0, fetch: rwx & X != 0 }
    }
}

/// Whether an entry would add machine-mode code: while MML is set and RLB is clear that is refused.
fn adds_machine_code(cfg: u8) -> bool {
    cfg & L != 0 && lockdown_rights(cfg, true) & X != 0
}

/// R, W and X of an entry while MML is set (Smepmp 1.0, the truth table of `mseccfg.MML`).
fn lockdown_rights(cfg: u8, machine: bool) -> u8 {
    let rwx = cfg & (R | W | X);
    let locked = cfg & L != 0;
    match (locked, rwx) {
        // W without R, and everything at once where locked, name regions that both share.
        (false, W) if machine => R | W,
        (false, W) => R,
        (false, rwx) if rwx == W | X => R | W,
        (true, rwx) if rwx == W | X && machine => R | X,
        (true, rwx) if rwx & (R | W) == W => X,
        (true, rwx) if rwx == R | W | X => R,
        // All others belong to one side alone: locked ones to M-mode.
        (locked, rwx) if locked == machine => rwx,
        _ => 0,
    }
}

/// Whether `perms` has what `access` needs.
pub fn permit(perms: Perms, access: Access) -> bool {
    match access {
        Access::Read => perms.read,
        Access::Write => perms.write,
        Access::Fetch => perms.fetch,
    }
}
