//! Address translation and protection (Priv., "Supervisor-Level ISA"): Sv39, Sv48 and Sv57 with Svnapot,
//! Svpbmt, Svade and Svadu.

use emu_core::exec::{Access, Exception, Mode, Perms, SpaceId, Translation};
use emu_core::ir::View;

use super::Privilege;
use super::bits::{cause, envcfg, mstatus};
use super::ext::Ext;
use super::model::Paging;
use super::pmp::permit;
use super::state::{Hart, Riscv};

const V: u64 = 1 << 0;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const G: u64 = 1 << 5;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
const PPN_SHIFT: u32 = 10;
const PPN_MASK: u64 = (1 << 44) - 1;
const RESERVED: u64 = 0x7f << 54;
const PBMT_SHIFT: u32 = 61;
const PBMT: u64 = 3 << PBMT_SHIFT;
const N: u64 = 1 << 63;

/// `satp.ASID`, all 16 bits of it.
pub(super) const ASID_MASK: u64 = 0xffff;
const ASID_SHIFT: u32 = 44;

/// Translation modes, for [`SpaceId::mode`]: whatever changes what a page-table entry allows.
mod space {
    /// M-mode: no translation.
    pub(super) const MACHINE: u8 = 0;
    /// S- and U-mode with `satp` Bare: PMP is the same for both.
    pub(super) const BARE: u8 = 1;
    /// U-mode; `MXR` in bit 0.
    pub(super) const USER: u8 = 2;
    /// S-mode; `MXR` in bit 0, `SUM` in bit 1.
    pub(super) const SUPERVISOR: u8 = 4;
}

/// What the page tables say of an address.
struct Leaf {
    pa: u64,
    perms: Perms,
    page_bits: u8,
    global: bool,
}

/// Why a walk ended without a leaf.
enum Fault {
    Page,
    Access,
}

impl Fault {
    fn exception(self, access: Access, va: u64) -> Exception {
        let cause = match (self, access) {
            (Self::Page, Access::Fetch) => cause::FETCH_PAGE,
            (Self::Page, Access::Read) => cause::LOAD_PAGE,
            (Self::Page, Access::Write) => cause::STORE_PAGE,
            (Self::Access, Access::Fetch) => cause::FETCH_ACCESS,
            (Self::Access, Access::Read) => cause::LOAD_ACCESS,
            (Self::Access, Access::Write) => cause::STORE_ACCESS,
        };
        Exception::new(cause, va)
    }
}

/// The exception for an `access` to `va` that physical memory or its protection refuses.
pub(super) fn access_fault(va: u64, access: Access) -> Exception {
    Fault::Access.exception(access, va)
}

/// What blocks and cached translations depend on in the hart's state.
pub(super) fn mode(isa: &Riscv) -> Mode {
    let data = space_of(isa, isa.data_privilege(), isa.csr.mstatus);
    // Neither MXR nor SUM changes what may be fetched: one bank serves all of their values.
    let fetch = space_of(isa, isa.privilege, 0);
    Mode { ctx: isa.context().bits(), fetch, data: [data; View::ALL.len()], window: data.per_asid }
}

fn space_of(isa: &Riscv, privilege: Privilege, status: u64) -> SpaceId {
    let untranslated = |mode| SpaceId { mode, per_asid: false, asid: 0 };
    if privilege == Privilege::Machine {
        return untranslated(space::MACHINE);
    }
    if isa.paging().is_none() {
        return untranslated(space::BARE);
    }
    let asid = (isa.csr.satp >> ASID_SHIFT & ASID_MASK) as u32; // 16 bits
    let mxr = u8::from(status & mstatus::MXR != 0);
    let sum = u8::from(status & mstatus::SUM != 0);
    match privilege {
        Privilege::User => SpaceId { mode: space::USER | mxr, per_asid: true, asid },
        _ => SpaceId { mode: space::SUPERVISOR | sum << 1 | mxr, per_asid: false, asid },
    }
}

/// What a translation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An access: entries are marked as used.
    Access,
    /// As an access, but only if that needs no marks.
    Peek,
    /// A debugger: no rights are checked (PMP among them), no marks made.
    Debug,
}

/// Translates an access to `bytes` bytes at `va`, all in one page.
pub(super) fn translate(
    hart: &Hart,
    va: u64,
    bytes: usize,
    access: Access,
    purpose: Purpose,
) -> Result<Translation, Exception> {
    let isa = &hart.isa;
    let privilege = if access == Access::Fetch { isa.privilege } else { isa.data_privilege() };
    let leaf = match isa.paging() {
        Some(paging) if privilege != Privilege::Machine => {
            let leaf = walk(hart, paging, va, access, purpose, privilege);
            leaf.map_err(|fault| fault.exception(access, va))?
        }
        _ => Leaf {
            pa: va,
            perms: Perms { read: true, write: true, fetch: true },
            page_bits: 12,
            global: true,
        },
    };
    let Leaf { pa, perms, page_bits, global } = leaf;
    let uniform = isa.pmp.page(pa, privilege);
    let allowed = match uniform {
        Some(rights) => permit(rights, access),
        None => isa.pmp.allows(pa, bytes, access, privilege),
    };
    if !allowed {
        return Err(access_fault(va, access));
    }
    let rights = uniform.unwrap_or_default();
    let perms = Perms {
        read: perms.read && rights.read,
        write: perms.write && rights.write,
        fetch: perms.fetch && rights.fetch,
    };
    Ok(Translation { pa, perms, page_bits, global, cacheable: uniform.is_some(), context: 0 })
}

/// Where `va` lies in physical memory for instructions at the hart's privilege, for a debugger: it may see and change
/// whatever is mapped, and the page tables stay as they are. None if nothing is mapped there. PMP does not count.
pub fn translate_debug(hart: &Hart, va: u64) -> Option<u64> {
    let privilege = hart.isa.privilege;
    match hart.isa.paging() {
        Some(paging) if privilege != Privilege::Machine => {
            walk(hart, paging, va, Access::Read, Purpose::Debug, privilege).ok().map(|leaf| leaf.pa)
        }
        _ => Some(va),
    }
}

/// Walks the page tables (Priv., "Virtual Address Translation Process").
fn walk(
    hart: &Hart,
    paging: Paging,
    va: u64,
    access: Access,
    purpose: Purpose,
    privilege: Privilege,
) -> Result<Leaf, Fault> {
    let unused = 64 - (12 + 9 * paging.levels());
    if ((va << unused) as i64 >> unused) as u64 != va {
        return Err(Fault::Page);
    }
    let ram = hart.bus.ram();
    let pmp = &hart.isa.pmp;
    'walk: loop {
        let mut table = (hart.isa.csr.satp & PPN_MASK) << 12;
        let mut global = false;
        for level in (0..paging.levels()).rev() {
            let shift = 12 + 9 * level;
            let at = table + (va >> shift & 0x1ff) * 8;
            if purpose != Purpose::Debug && !pmp.allows(at, 8, Access::Read, Privilege::Supervisor) {
                return Err(Fault::Access);
            }
            let offset = ram.offset_of(at, 8).ok_or(Fault::Access)?;
            let pte: u64 = ram.load(offset);
            if pte & V == 0 || pte & (R | W) == W || reserved(&hart.isa, pte) {
                return Err(Fault::Page);
            }
            global |= pte & G != 0;
            let ppn = pte >> PPN_SHIFT & PPN_MASK;
            if pte & (R | X) == 0 {
                if pte & (D | A | U | PBMT | N) != 0 {
                    return Err(Fault::Page);
                }
                table = ppn << 12;
                continue;
            }

            let mut page_bits = shift;
            if ppn & ((1 << (shift - 12)) - 1) != 0 {
                return Err(Fault::Page); // a superpage must be aligned
            }
            if pte & N != 0 {
                // 64 KiB is the only size of a contiguous range that is defined (Svnapot).
                if level != 0 || ppn & 0xf != 8 {
                    return Err(Fault::Page);
                }
                page_bits = 16;
            }
            let mut wanted = pte;
            if purpose != Purpose::Debug {
                check_leaf(&hart.isa, pte, access, privilege)?;
                wanted |= A | if access == Access::Write { D } else { 0 };
            }
            if wanted != pte {
                if purpose == Purpose::Peek || hart.isa.csr.menvcfg & envcfg::ADUE == 0 {
                    return Err(Fault::Page);
                }
                let writable = ram.region_at(at).is_some_and(|region| region.writable);
                if !writable || !pmp.allows(at, 8, Access::Write, Privilege::Supervisor) {
                    return Err(Fault::Access);
                }
                if ram.compare_exchange(offset, pte, wanted) != pte {
                    continue 'walk; // somebody else changed it meanwhile
                }
                ram.code_pages().note_write(offset, 8);
            }
            let within = (1u64 << page_bits) - 1;
            let perms = Perms {
                read: readable(&hart.isa, pte),
                write: wanted & (W | D) == W | D,
                fetch: pte & X != 0,
            };
            let page_bits = page_bits as u8; // 48 at most
            return Ok(Leaf { pa: ppn << 12 & !within | va & within, perms, page_bits, global });
        }
        return Err(Fault::Page); // the last level has no leaf
    }
}

/// Whether any bit or encoding of an entry is reserved.
fn reserved(isa: &Riscv, pte: u64) -> bool {
    let memory_type = pte & PBMT;
    let typed = isa.csr.menvcfg & envcfg::PBMTE != 0;
    pte & RESERVED != 0
        || pte & N != 0 && !isa.has(Ext::Svnapot)
        || memory_type != 0 && (!typed || memory_type == PBMT)
}

fn readable(isa: &Riscv, pte: u64) -> bool {
    pte & R != 0 || pte & X != 0 && isa.csr.mstatus & mstatus::MXR != 0
}

fn check_leaf(isa: &Riscv, pte: u64, access: Access, privilege: Privilege) -> Result<(), Fault> {
    let user_page = pte & U != 0;
    let sum = isa.csr.mstatus & mstatus::SUM != 0;
    let mode_fits = match privilege {
        Privilege::User => user_page,
        _ => !user_page || access != Access::Fetch && sum,
    };
    let kind_fits = match access {
        Access::Read => readable(isa, pte),
        Access::Write => pte & W != 0,
        Access::Fetch => pte & X != 0,
    };
    if mode_fits && kind_fits { Ok(()) } else { Err(Fault::Page) }
}
