//! The CPU interface as system registers: ICC_* for physical interrupts, ICV_* for virtual ones, ICH_* for the
//! hypervisor's control of those.

use std::sync::Arc;

use super::spec::{self, ctlr, icc, ich};
use super::{Gic, cpu_at};
use crate::intc::gic::block::bits;
use crate::intc::gic::group::{Group, Groups};
use crate::intc::gic::interface::{Interface, from_shifted_view, shifted_view};
use crate::intc::gic::state::{SPURIOUS, State};
use crate::intc::gic::virt::{LIST_REGISTERS, ListRegister, hcr};

/// Who accesses a register, and which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The exception level: 1, 2 or 3.
    pub el: u8,
    /// SCR_EL3.NS is zero: the Secure copies of banked registers, at EL3 too. Of no meaning where there is one
    /// Security state.
    pub secure: bool,
    /// Priorities are seen as Non-secure software sees them: SCR_EL3.FIQ and SCR_EL3.NS are set, and the access is not
    /// from EL3.
    pub shifted: bool,
    /// The access goes to the virtual interface.
    pub virt: bool,
}

/// One CPU's system registers.
pub struct SystemRegisters {
    gic: Arc<Gic>,
    cpu: usize,
}

/// Groups 0 and 1, as registers that come in pairs name them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Zero,
    One,
}

impl SystemRegisters {
    pub(super) fn new(gic: &Arc<Gic>, cpu: usize) -> Self {
        assert!(cpu < gic.cpus, "no CPU {cpu}");
        Self { gic: Arc::clone(gic), cpu }
    }

    /// Reads a register, by its [`spec::encoding`]; none if there is no such register, or it cannot be read.
    pub fn read(&self, register: u16, by: Requester) -> Option<u64> {
        let mut state = self.gic.state.lock();
        let mut access = Access { state: &mut state, cpu: self.cpu, by };
        Some(match register {
            icc::IAR0 => access.acknowledge(Which::Zero).into(),
            icc::IAR1 => access.acknowledge(Which::One).into(),
            icc::HPPIR0 => access.highest(Which::Zero).into(),
            icc::HPPIR1 => access.highest(Which::One).into(),
            icc::PMR => access.mask().into(),
            icc::RPR => access.running().into(),
            icc::BPR0 => access.interface().binary_point(Group::Zero).into(),
            icc::BPR1 => access.binary_point().into(),
            icc::AP0R0 => access.interface().active[Group::Zero as usize].into(),
            icc::AP1R0 => access.bank_active().into(),
            icc::CTLR => access.control(),
            icc::IGRPEN0 => access.interface().enabled.has(Group::Zero).into(),
            icc::IGRPEN1 => access.own_enabled().into(),
            icc::SRE => spec::SRE,
            icc::SRE_EL2 | icc::SRE_EL3 => spec::SRE | spec::SRE_ENABLE,
            icc::CTLR_EL3 => access.control_el3(),
            icc::IGRPEN1_EL3 => {
                let enabled = access.interface().enabled;
                u64::from(enabled.has(Group::One)) | u64::from(enabled.has(Group::OneSecure)) << 1
            }
            _ if self.gic.config.maintenance.is_some() => return access.read_hypervisor(register),
            _ => return None,
        })
    }

    /// Writes a register; none if there is no such register, or it cannot be written.
    pub fn write(&self, register: u16, by: Requester, value: u64) -> Option<()> {
        let mut state = self.gic.state.lock();
        let mut access = Access { state: &mut state, cpu: self.cpu, by };
        match register {
            icc::EOIR0 => access.end(Which::Zero, value as u32 & 0xff_ffff),
            icc::EOIR1 => access.end(Which::One, value as u32 & 0xff_ffff),
            icc::DIR => access.deactivate(value as u32 & 0xff_ffff),
            icc::PMR => access.set_mask(value as u8),
            icc::BPR0 => access.interface().set_binary_point(Group::Zero, value),
            icc::BPR1 => access.set_binary_point(value),
            icc::AP0R0 => access.interface().active[Group::Zero as usize] = value as u32,
            icc::AP1R0 => access.set_bank_active(value as u32),
            icc::CTLR => access.set_control(value),
            icc::IGRPEN0 => access.interface().enabled.set(Group::Zero, value & 1 != 0),
            icc::IGRPEN1 => {
                let own = access.own();
                access.interface().enabled.set(own, value & 1 != 0);
            }
            icc::SGI0R | icc::SGI1R | icc::ASGI1R => {
                let group = match (register, access.own()) {
                    (icc::SGI0R, _) => Group::Zero,
                    (icc::SGI1R, own) => own,
                    (_, Group::One) => Group::OneSecure,
                    _ => Group::One,
                };
                access.send(group, value);
                return Some(());
            }
            icc::SRE | icc::SRE_EL2 | icc::SRE_EL3 => return Some(()),
            icc::CTLR_EL3 => access.set_control_el3(value),
            icc::IGRPEN1_EL3 => {
                let enabled = &mut access.interface().enabled;
                enabled.set(Group::One, value & 1 != 0);
                enabled.set(Group::OneSecure, value & 2 != 0);
            }
            _ if self.gic.config.maintenance.is_some() => access.write_hypervisor(register, value)?,
            _ => return None,
        }
        state.update(self.cpu);
        Some(())
    }
}

/// One access under the lock.
struct Access<'a> {
    state: &'a mut State,
    cpu: usize,
    by: Requester,
}

impl Access<'_> {
    /// The interface that the access goes to.
    fn interface(&mut self) -> &mut Interface {
        let cpu = &mut self.state.cpus[self.cpu];
        if self.by.virt { &mut cpu.virt.interface } else { &mut cpu.interface }
    }

    /// The Group 1 of the copy of the registers that the access goes to.
    fn own(&self) -> Group {
        let secure = self.by.secure && !self.state.single_state && !self.by.virt;
        if secure { Group::OneSecure } else { Group::One }
    }

    fn own_enabled(&mut self) -> bool {
        let own = self.own();
        self.interface().enabled.has(own)
    }

    /// Whether the access is from Secure state, EL3 included, or there is no difference.
    fn is_secure(&self) -> bool {
        self.state.single_state || self.by.secure || self.by.el == 3
    }

    /// The groups whose interrupts a register shows (IHI 0069H, §4.6.3): Secure ones only in Secure state, Non-secure
    /// ones everywhere but at Secure EL1 and EL2.
    fn shown(&self, which: Which) -> Groups {
        let mut groups = Groups::NONE;
        if self.by.virt {
            return Groups::only(if which == Which::Zero { Group::Zero } else { Group::One });
        }
        match which {
            Which::Zero => groups.set(Group::Zero, self.is_secure()),
            Which::One => {
                let two = !self.state.single_state;
                groups.set(Group::OneSecure, two && self.is_secure());
                groups.set(Group::One, !two || self.by.el == 3 || !self.by.secure);
            }
        }
        groups
    }

    /// What a register of `which` says of a pending interrupt of `group` instead of its INTID.
    fn special(&self, which: Which, group: Group) -> Option<u32> {
        if self.shown(which).has(group) {
            return None;
        }
        let el3 = !self.by.virt && self.by.el == 3 && which == Which::Zero;
        Some(match group {
            Group::OneSecure if el3 => spec::SECURE_PENDING,
            Group::One if el3 => spec::NONSECURE_PENDING,
            _ => SPURIOUS,
        })
    }

    fn acknowledge(&mut self, which: Which) -> u32 {
        if self.by.virt {
            let virt = &mut self.state.cpus[self.cpu].virt;
            let Some((index, pending)) = virt.signalled() else { return SPURIOUS };
            if let Some(special) = self.special(which, pending.group) {
                return special;
            }
            self.state.cpus[self.cpu].virt.acknowledge(index, &pending);
            self.state.update(self.cpu);
            return pending.intid;
        }
        let Some(pending) = self.state.signalled(self.cpu) else { return SPURIOUS };
        if let Some(special) = self.special(which, pending.group) {
            return special;
        }
        self.state.acknowledge(self.cpu, &pending);
        pending.intid
    }

    fn highest(&self, which: Which) -> u32 {
        let cpu = &self.state.cpus[self.cpu];
        let highest = if self.by.virt { cpu.virt.highest().map(|(_, pending)| pending) } else { cpu.highest };
        highest.map_or(SPURIOUS, |pending| self.special(which, pending.group).unwrap_or(pending.intid))
    }

    /// Whether the end of an interrupt drops its priority only.
    fn split_end(&self) -> bool {
        let cpu = &self.state.cpus[self.cpu];
        match (self.by.virt, self.by.el, self.own()) {
            (true, ..) => cpu.virt.eoi_mode(),
            (_, 3, _) => cpu.split_end[2],
            (_, _, own) => cpu.split_end[usize::from(own == Group::One)],
        }
    }

    /// The running interrupt must be of a group that the register is for; its end is ignored otherwise.
    fn end(&mut self, which: Which, intid: u32) {
        if (1020..1024).contains(&intid) {
            return;
        }
        let split = self.split_end();
        let groups = self.shown(which);
        if self.by.virt {
            let virt = &mut self.state.cpus[self.cpu].virt;
            // An LPI has no deactivation of its own.
            if virt.drop_priority() && (!split || intid >= super::lpi::FIRST) {
                self.deactivate_virtual(intid, groups);
            }
            return;
        }
        let interface = &mut self.state.cpus[self.cpu].interface;
        if let Some(group) = interface.running_group().filter(|group| groups.has(*group)) {
            interface.drop_priority(group);
            if !split {
                self.deactivate_physical(intid);
            }
        }
    }

    fn deactivate(&mut self, intid: u32) {
        // Without the split, the end has done it already.
        if !self.split_end() {
            return;
        }
        match self.by.virt {
            true => self.deactivate_virtual(intid, Groups::ALL),
            false => self.deactivate_physical(intid),
        }
    }

    fn deactivate_physical(&mut self, intid: u32) {
        let groups = if self.is_secure() { Groups::ALL } else { Groups::only(Group::One) };
        self.state.deactivate(self.cpu, intid, groups);
    }

    fn deactivate_virtual(&mut self, intid: u32, groups: Groups) {
        if let Some(physical) = self.state.cpus[self.cpu].virt.deactivate(intid, groups) {
            self.state.deactivate(self.cpu, physical, Groups::ALL);
        }
    }

    fn mask(&mut self) -> u8 {
        let shifted = self.shifted();
        let mask = self.interface().mask;
        if shifted { shifted_view(mask) } else { mask }
    }

    fn set_mask(&mut self, value: u8) {
        let shifted = self.shifted();
        let interface = self.interface();
        if !shifted {
            interface.set_mask(value);
        } else if interface.mask >= 0x80 {
            // Non-secure software cannot lift a mask that keeps all of its interrupts out.
            interface.set_mask(from_shifted_view(value));
        }
    }

    fn shifted(&self) -> bool {
        self.by.shifted && !self.state.single_state && !self.by.virt
    }

    fn running(&mut self) -> u8 {
        let shifted = self.shifted();
        let running = self.interface().running();
        if shifted { shifted_view(running) } else { running }
    }

    /// Group 1's binary point: with a common one, what it amounts to.
    fn binary_point(&mut self) -> u8 {
        let own = self.own();
        let interface = self.interface();
        match (interface.is_common(own), own) {
            (true, Group::One) => (interface.binary_point(Group::Zero) + 1).min(7),
            (true, _) => interface.binary_point(Group::Zero),
            (false, own) => interface.binary_point(own),
        }
    }

    fn set_binary_point(&mut self, value: u64) {
        let own = self.own();
        let interface = self.interface();
        match (interface.is_common(own), own) {
            (true, Group::One) => {}
            (true, _) => interface.set_binary_point(Group::Zero, value),
            (false, own) => interface.set_binary_point(own, value),
        }
    }

    fn bank_active(&mut self) -> u32 {
        let own = self.own();
        self.interface().active[own as usize]
    }

    fn set_bank_active(&mut self, value: u32) {
        let own = self.own();
        self.interface().active[own as usize] = value;
    }

    fn control(&mut self) -> u64 {
        let own = self.own();
        let cpu = &self.state.cpus[self.cpu];
        let (common, split) = match (self.by.virt, own) {
            (true, _) => (cpu.virt.interface.common, cpu.virt.eoi_mode()),
            (false, own) => (cpu.interface.is_common(own), cpu.split_end[usize::from(own == Group::One)]),
        };
        ctlr::FIXED | if common { ctlr::COMMON } else { 0 } | if split { ctlr::EOI_MODE } else { 0 }
    }

    fn set_control(&mut self, value: u64) {
        let own = self.own();
        let (common, split) = (value & ctlr::COMMON != 0, value & ctlr::EOI_MODE != 0);
        let single_state = self.state.single_state;
        let cpu = &mut self.state.cpus[self.cpu];
        if self.by.virt {
            cpu.virt.interface.common = common;
            cpu.virt.set_eoi_mode(split);
            return;
        }
        cpu.split_end[usize::from(own == Group::One)] = split;
        // Where there are two Security states, the common binary point is EL3's to choose.
        if single_state {
            cpu.interface.common = common;
        }
    }

    fn control_el3(&mut self) -> u64 {
        let cpu = &self.state.cpus[self.cpu];
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        let [secure, nonsecure, el3] = cpu.split_end;
        let modes = [el3, secure, nonsecure].into_iter().zip(ctlr::EL3_EOI_MODES);
        ctlr::FIXED
            | bit(cpu.interface.common_secure, ctlr::COMMON)
            | bit(cpu.interface.common, ctlr::EL3_COMMON_NS)
            | modes.fold(0, |all, (on, mode)| all | bit(on, mode))
            | bit(!self.state.config.security, ctlr::EL3_NDS)
    }

    fn set_control_el3(&mut self, value: u64) {
        let has = |bit| value & bit != 0;
        let cpu = &mut self.state.cpus[self.cpu];
        let [el3, secure, nonsecure] = ctlr::EL3_EOI_MODES.map(has);
        cpu.split_end = [secure, nonsecure, el3];
        cpu.interface.common_secure = has(ctlr::COMMON);
        cpu.interface.common = has(ctlr::EL3_COMMON_NS);
    }

    /// Sends an SGI for `group` to the CPUs that `value` names (IHI 0069H, §12.2.18 "ICC_SGI1R_EL1"), but to those only
    /// where the SGI is of that group; Secure Group 1 SGIs also where it is of Group 0. Non-secure software sends to
    /// its own group alone.
    fn send(&mut self, group: Group, value: u64) {
        let sgi = (value >> 24 & 0xf) as usize;
        let cpus = self.state.cpus.len();
        let targets = match value >> 40 & 1 {
            0 => {
                let cluster = (value >> 16 & 0xff) | (value >> 32 & 0xff) << 8 | (value >> 48 & 0xff) << 16;
                // The list is of 16 CPUs of the cluster; the range selector says which.
                let first = (cluster << 8) as u32 + (value >> 44 & 0xf) as u32 * 16;
                let listed = bits(value as u32 & 0xffff).filter_map(|bit| cpu_at(cpus, first + bit as u32));
                listed.fold(0, |all, cpu| all | 1 << cpu)
            }
            _ => !(1u32 << self.cpu) & ((1 << cpus) - 1),
        };
        for cpu in bits(targets) {
            let configured = self.state.group_of(cpu, sgi as u32);
            let matches =
                configured == Some(group) || group == Group::OneSecure && configured == Some(Group::Zero);
            if matches && (self.is_secure() || configured == Some(Group::One)) {
                self.state.send_sgi(cpu, sgi, None);
            }
        }
    }

    /// The list register with a number.
    fn entry(register: u16) -> Option<usize> {
        let index = usize::from(register.checked_sub(ich::LR0)?);
        (index < LIST_REGISTERS).then_some(index)
    }

    fn read_hypervisor(&self, register: u16) -> Option<u64> {
        let virt = &self.state.cpus[self.cpu].virt;
        Some(match register {
            ich::HCR => virt.hcr(),
            ich::VTR => ich::VTR_VALUE | (LIST_REGISTERS as u64 - 1),
            ich::MISR => virt.reasons(),
            ich::EISR => virt.ended(),
            ich::ELRSR => virt.free(),
            ich::VMCR => virt.vmcr(),
            ich::AP0R0 => virt.interface.active[Group::Zero as usize].into(),
            ich::AP1R0 => virt.interface.active[Group::One as usize].into(),
            _ => virt.list[Self::entry(register)?].0,
        })
    }

    fn write_hypervisor(&mut self, register: u16, value: u64) -> Option<()> {
        let virt = &mut self.state.cpus[self.cpu].virt;
        match register {
            ich::HCR => virt.set_hcr(value, hcr::V3),
            ich::VMCR => virt.set_vmcr(value, true),
            ich::AP0R0 => virt.interface.active[Group::Zero as usize] = value as u32,
            ich::AP1R0 => virt.interface.active[Group::One as usize] = value as u32,
            _ => virt.list[Self::entry(register)?] = ListRegister::from_v3(value),
        }
        Some(())
    }
}
