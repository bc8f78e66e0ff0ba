//! Address translation (DDI 0487, chapter D8 "The AArch64 Virtual Memory System Architecture").
//!
//! Every cached translation is the outcome of both stages. It is kept by the regime, the rights and the stages that it depends
//! on ([`space`]) and, where an address space is the guest's own, by ASID and VMID. Memory attributes count only as far as they
//! tell devices from other memory: what stage 1 maps as a device refuses misaligned accesses, so it is not cached. There is
//! one physical address space: Secure state sees the same memory as Non-secure state.

pub(super) mod regime;
mod stage1;
mod stage2;
mod walk;

use emu_core::exec::{Access, Exception, Mode, Perms, SpaceId, Translation};
use emu_core::ir::View;

use self::regime::Regime;
use super::bits::{hcr, sctlr};
use super::debug;
use super::exception::abort;
use super::state::{Aarch64, Cpu};
use super::syndrome::{CM, S1PTW, SYNDROME, target};
use super::sysreg::Reg;

/// Sets of translations ([`SpaceId::mode`]).
mod space {
    /// No translation at all.
    pub const FLAT: u8 = 0;
    /// EL0 in EL1&0.
    pub const USER: u8 = 1;
    /// EL1, without PAN; with it, it is one more.
    pub const KERNEL: u8 = 2;
    /// The same three with stage 2.
    pub const GUEST: u8 = 3;
    /// Only stage 2, for EL1; for EL0 it is one more.
    pub const STAGE2: u8 = 7;
    /// EL2 of a hypervisor.
    pub const HYPERVISOR: u8 = 9;
    /// EL0 in EL2&0.
    pub const HOST_USER: u8 = 10;
    /// EL2 of a host, without PAN; with it, it is one more.
    pub const HOST_KERNEL: u8 = 11;
    /// EL3.
    pub const MONITOR: u8 = 13;
}

/// Whose rights an access has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub regime: Regime,
    /// It has those of EL0.
    pub unprivileged: bool,
    /// PAN applies.
    pub pan: bool,
}

impl Aarch64 {
    /// Whose rights an access with this view has.
    pub(super) fn rights(&self, view: View) -> Rights {
        let el = self.pstate.el;
        let regime = self.regime(el);
        // LDTR and STTR act as at EL0 where EL0 is in the same regime, unless UAO says otherwise.
        let lowered = view == View::Unprivileged && !self.pstate.uao && (el == 1 || el == 2 && self.host());
        let unprivileged = el == 0 || lowered;
        Rights { regime, unprivileged, pan: self.pstate.pan && !unprivileged && regime.has_two_ranges() }
    }

    /// `TTBR`'s ASID of a regime with two ranges.
    fn asid(&self, regime: Regime) -> u32 {
        let (control, bases) = if regime == Regime::El10 {
            (self.sys[Reg::TCR_EL1], [Reg::TTBR0_EL1, Reg::TTBR1_EL1])
        } else {
            (self.sys[Reg::TCR_EL2], [Reg::TTBR0_EL2, Reg::TTBR1_EL2])
        };
        let base = self.sys[bases[usize::from(control >> 22 & 1 != 0)]];
        let bits = if control >> 36 & 1 != 0 { 0xffff } else { 0xff };
        (base >> 48) as u32 & bits
    }

    /// The VMID in use.
    pub(super) fn vmid(&self) -> u32 {
        if !self.el2_enabled() {
            return 0;
        }
        let bits = if self.sys[Reg::VTCR_EL2] >> 19 & 1 != 0 { 0xffff } else { 0xff };
        (self.sys[Reg::VTTBR_EL2] >> 48) as u32 & bits
    }

    /// How address spaces are numbered: ASID and VMID.
    pub(super) fn space_number(asid: u32, vmid: u32) -> u32 {
        asid | vmid << 16
    }

    /// The translations that an access with these rights uses.
    fn space(&self, rights: Rights) -> SpaceId {
        let Rights { regime, unprivileged, pan } = rights;
        let (stage1, stage2) = (self.stage1_on(regime), self.stage2_on(regime));
        let shared = |mode| SpaceId { mode, per_asid: false, asid: 0 };
        if !stage1 && !stage2 {
            return shared(space::FLAT);
        }
        let pan = u8::from(pan);
        match regime {
            Regime::El3 => shared(space::MONITOR),
            Regime::El2 => shared(space::HYPERVISOR),
            Regime::El20 => {
                let asid = self.asid(regime);
                let mode = if unprivileged { space::HOST_USER } else { space::HOST_KERNEL + pan };
                SpaceId { mode, per_asid: unprivileged, asid }
            }
            Regime::El10 => {
                let vmid = self.vmid();
                if !stage1 {
                    let mode = space::STAGE2 + u8::from(unprivileged);
                    return SpaceId { mode, per_asid: true, asid: Self::space_number(0, vmid) };
                }
                let asid = Self::space_number(self.asid(regime), vmid);
                let mode = if unprivileged { space::USER } else { space::KERNEL + pan };
                let guest = if stage2 { space::GUEST } else { 0 };
                // What is global in one guest is not in another.
                SpaceId { mode: mode + guest, per_asid: unprivileged || stage2 || vmid != 0, asid }
            }
        }
    }
}

/// What blocks and cached translations depend on in the processor's state.
pub(super) fn mode(isa: &Aarch64) -> Mode {
    let data = View::ALL.iter().map(|&view| isa.space(isa.rights(view)));
    let mut spaces = [SpaceId { mode: space::FLAT, per_asid: false, asid: 0 }; View::ALL.len()];
    spaces.iter_mut().zip(data).for_each(|(space, id)| *space = id);
    // PAN says nothing about fetches: one set of translations serves both of its values.
    let fetch = isa.space(Rights { pan: false, ..isa.rights(View::Current) });
    let user = isa.rights(View::Current);
    let window = user.unprivileged && user.regime.has_two_ranges() && isa.stage1_on(user.regime);
    Mode { ctx: isa.context().bits(), fetch, data: spaces, window }
}

/// A fault of translation, before it is made an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abort {
    /// The fault status.
    pub status: u32,
    /// The intermediate physical address at which stage 2 has faulted, if it has.
    pub stage2: Option<u64>,
    /// Stage 2 has faulted for an access of stage 1's walk.
    pub on_walk: bool,
}

impl Abort {
    fn stage1(fault: walk::Fault) -> Self {
        Self { status: fault.kind.status(fault.level), stage2: None, on_walk: false }
    }

    /// The exception of an access to `va`.
    pub(super) fn exception(self, va: u64, access: Access) -> Exception {
        let mut exception = abort(va, access, self.status | if self.on_walk { S1PTW } else { 0 });
        if let Some(ipa) = self.stage2 {
            // Bit 0 tells an address of zero from none.
            exception.extra = ipa & !0xfff | 1;
            exception.cause = target((exception.cause & SYNDROME) as u32, 2);
        }
        exception
    }

    /// The exception of a cache maintenance or address translation instruction on `va`: whatever it wanted to do there, it is
    /// reported as a write (D24.2.40, `CM` and `WnR`).
    pub(super) fn of_maintenance(self, va: u64) -> Exception {
        let mut exception = self.exception(va, Access::Write);
        exception.cause |= u64::from(CM);
        exception
    }
}

/// Where an address leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub pa: u64,
    pub perms: Perms,
    pub page_bits: u32,
    pub global: bool,
    /// It is mapped as a device.
    pub device: bool,
    /// The attribute byte of stage 1, as in `MAIR_ELx`.
    pub attributes: u8,
    /// The shareability field.
    pub shareability: u8,
    /// Fetches by indirect branches need landing pads.
    pub guarded: bool,
}

/// Which stages a translation goes through, and whether it is one of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An access: entries are marked as used.
    Access,
    /// Address translation instructions: the first stage, and perhaps the second, without marks.
    Query {
        /// Both stages.
        both: bool,
    },
    /// As an access, but only if that needs no marks.
    Peek,
    /// A debugger: no rights are checked, no marks made.
    Debug,
}

/// Translates `va` for an access with these rights.
pub(super) fn find(
    cpu: &Cpu,
    va: u64,
    access: Access,
    rights: Rights,
    purpose: Purpose,
) -> Result<Found, Abort> {
    let isa = &cpu.isa;
    let stage2 = isa.stage2_on(rights.regime) && purpose != Purpose::Query { both: false };
    let first = if isa.stage1_on(rights.regime) {
        stage1::translate(cpu, va, access, rights, purpose)?
    } else {
        stage1::off(isa, va, access, rights)?
    };
    if !stage2 {
        return Ok(first);
    }
    let second = stage2::translate(cpu, first.pa, access, rights.unprivileged, purpose)
        .map_err(|fault| fault.abort(first.pa, false))?;
    Ok(Found {
        pa: second.pa,
        perms: Perms {
            read: first.perms.read && second.perms.read,
            write: first.perms.write && second.perms.write,
            fetch: first.perms.fetch && second.perms.fetch,
        },
        // What guests drop of stage 1 they drop by its entries; what is dropped of stage 2 is dropped whole.
        page_bits: if isa.stage1_on(rights.regime) { first.page_bits } else { second.page_bits },
        device: first.device || second.device,
        ..first
    })
}

/// Translates an access to `bytes` bytes at `va`, all in one page.
pub(super) fn translate(
    cpu: &mut Cpu,
    va: u64,
    bytes: usize,
    access: Access,
    view: View,
) -> Result<Translation, Exception> {
    let rights = cpu.isa.rights(view);
    let abort = |abort: Abort| abort.exception(va, access);
    let found = find(cpu, va, access, rights, Purpose::Access).map_err(abort)?;
    if found.device && access != Access::Fetch && !va.is_multiple_of(bytes as u64) && bytes.is_power_of_two()
    {
        return Err(super::exception::alignment_fault(va, access));
    }
    let mut cacheable = !(found.device && cpu.isa.stage1_on(rights.regime));
    if cpu.isa.points.cover(va) {
        let el = if rights.unprivileged { 0 } else { cpu.isa.pstate.el };
        if let Some(exception) = debug::check(cpu, va, bytes, access, el) {
            return Err(exception);
        }
        cacheable = false;
    }
    if access == Access::Fetch && is_tagged(va) {
        // A branch does not take the tag along: the program counter has none (D8.8 "Address tagging").
        cacheable = false;
        if cpu.state.pc & !3 == va & !3 {
            cpu.state.pc = untagged(va) | cpu.state.pc & 3;
        }
    }
    // Maintenance names addresses without tags, but drops translations by any of them.
    let page_bits = if is_tagged(va) { u64::BITS } else { found.page_bits.max(12) };
    Ok(Translation {
        pa: found.pa,
        perms: found.perms,
        page_bits: page_bits as u8,
        global: found.global,
        cacheable,
        context: if found.guarded { super::Context::GUARDED } else { 0 },
    })
}

/// What [`translate`] would say of a read, if the tables need no change for that.
pub(super) fn peek(cpu: &Cpu, va: u64) -> Option<Translation> {
    let rights = cpu.isa.rights(View::Current);
    let found = find(cpu, va, Access::Read, rights, Purpose::Peek).ok()?;
    if found.device || cpu.isa.points.cover(va) || is_tagged(va) {
        return None;
    }
    let Found { pa, perms, page_bits, global, .. } = found;
    Some(Translation { pa, perms, page_bits: page_bits.max(12) as u8, global, cacheable: true, context: 0 })
}

/// Whether bits 63 to 56 of an address that has been translated are a tag.
fn is_tagged(va: u64) -> bool {
    untagged(va) != va
}

/// The address without its tag.
fn untagged(va: u64) -> u64 {
    ((va << 8) as i64 >> 8) as u64
}

/// Where `va` lies in physical memory for instructions at the processor's exception level, for a debugger: it may see and
/// change whatever is mapped, and the tables stay as they are. None if nothing is mapped there.
pub fn translate_debug(cpu: &Cpu, va: u64) -> Option<u64> {
    let rights = Rights { pan: false, ..cpu.isa.rights(View::Current) };
    find(cpu, va, Access::Read, rights, Purpose::Debug).ok().map(|found| found.pa)
}

impl Aarch64 {
    /// Whether all data accesses in a regime are to devices: stage 1 is off, and `HCR_EL2.DC` does not make memory of it.
    pub(super) fn all_is_device(&self, regime: Regime) -> bool {
        let default_cacheable = regime == Regime::El10 && self.hcr() & hcr::DC != 0;
        !self.stage1_on(regime) && !default_cacheable
    }

    /// Whether what may be written cannot be executed.
    fn write_implies_no_fetch(&self, regime: Regime) -> bool {
        self.regime_control(regime) & sctlr::WXN != 0
    }
}

/// A fault of stage 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage2Fault(walk::Fault);

impl Stage2Fault {
    /// The abort of an access to `ipa`.
    fn abort(self, ipa: u64, on_walk: bool) -> Abort {
        Abort { status: self.0.kind.status(self.0.level), stage2: Some(ipa), on_walk }
    }
}
