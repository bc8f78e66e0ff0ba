//! GICv2: distributor, CPU interfaces and virtual CPU interfaces as memory-mapped registers.
//!
//! Each register file differs by CPU, and where there are two Security states by that of the access: [`GicV2`] gives
//! one device for each view.
//!
//! Not modelled: bypass of the interface's signals, Non-secure access control (GICD_NSACR reads as zero), the
//! frames through which one CPU sees another's virtual interface control, power management.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use emu_core::device::{AccessError, IrqLine, IrqSink, Mmio, NodeDesc, PropValue, Width};

use super::distributor::{self, Frame};
use super::group::{Group, Groups};
use super::interface::{IDLE, Interface, from_shifted_view, shifted_view};
use super::spec::Register;
use super::state::{SGIS, SPURIOUS, State};
use super::virt::{LIST_REGISTERS, ListRegister, Virtual, hcr};
use super::{Gic, GicConfig, Outputs, Security, Version};
use spec::{ctlr, gicc, gicd, gich};

/// A GICv2.
pub struct GicV2 {
    gic: Arc<Gic>,
}

impl GicV2 {
    /// A GIC with a CPU for each of `outputs`.
    ///
    /// # Panics
    /// If there are no CPUs, more than [`super::MAX_CPUS`], or the number of shared interrupts is not a multiple of 32
    /// from 32 to [`super::MAX_SPIS`].
    pub fn new(config: GicConfig, outputs: Vec<Outputs>) -> Self {
        Self { gic: Gic::new(GicConfig { version: Version::V2, ..config }, outputs) }
    }

    /// The input lines of the shared interrupts: line n is INTID 32 + n.
    pub fn inputs(&self) -> Arc<dyn IrqSink> {
        Arc::clone(&self.gic) as Arc<dyn IrqSink>
    }

    /// The wire to the private peripheral interrupt `intid` (16 to 31) of `cpu`.
    pub fn ppi(&self, cpu: usize, intid: u32) -> IrqLine {
        self.gic.ppi(cpu, intid)
    }

    /// The distributor as `cpu` sees it. Resetting any view resets the whole GIC.
    pub fn distributor(&self, cpu: usize, security: Security) -> Arc<dyn Mmio> {
        Arc::new(Distributor { gic: Arc::clone(&self.gic), cpu, security })
    }

    /// The CPU interface of `cpu`.
    pub fn cpu_interface(&self, cpu: usize, security: Security) -> Arc<dyn Mmio> {
        Arc::new(CpuInterface { gic: Arc::clone(&self.gic), cpu, kind: Kind::Physical(security) })
    }

    /// The virtual CPU interface of `cpu`, for the guest of a hypervisor.
    pub fn virtual_interface(&self, cpu: usize) -> Arc<dyn Mmio> {
        Arc::new(CpuInterface { gic: Arc::clone(&self.gic), cpu, kind: Kind::Virtual })
    }

    /// The control of the virtual CPU interface of `cpu`, for the hypervisor.
    pub fn virtual_control(&self, cpu: usize) -> Arc<dyn Mmio> {
        Arc::new(VirtualControl { gic: Arc::clone(&self.gic), cpu })
    }

    /// The device-tree node; the board adds the addresses, and the maintenance interrupt.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("intc", &["arm,cortex-a15-gic"])
            .prop("#interrupt-cells", PropValue::Cells(vec![3]))
            .prop("interrupt-controller", PropValue::Empty)
    }
}

struct Distributor {
    gic: Arc<Gic>,
    cpu: usize,
    security: Security,
}

impl Distributor {
    fn frame(&self, state: &State) -> Frame {
        let restricted = Gic::restricted(state, self.security);
        Frame { cpu: self.cpu, words: 0..usize::MAX, restricted, v2: true }
    }

    fn typer(&self, state: &State) -> u32 {
        let lines = self.gic.config.spis / 32;
        let security = if state.single_state { 0 } else { gicd::TYPER_SECURITY };
        lines | (self.gic.cpus as u32 - 1) << 5 | security
    }

    /// Bits 25:24 say who: those listed in bits 23:16, all others, or the sender itself. Secure software sends to CPUs
    /// whose SGI is of the group that bit 15 says; Non-secure software to those whose SGI is its own.
    fn send_sgi(&self, state: &mut State, value: u32, restricted: bool) {
        let sgi = value as usize & 0xf;
        let own = 1u32 << self.cpu;
        let targets = match value >> 24 & 3 {
            0 => value >> 16 & 0xff,
            1 => !own,
            2 => own,
            _ => 0,
        };
        let group = if restricted || value >> 15 & 1 != 0 { Group::One } else { Group::Zero };
        for target in (0..self.gic.cpus).filter(|cpu| targets >> cpu & 1 != 0) {
            if state.single_state || state.group_of(target, sgi as u32) == Some(group) {
                state.send_sgi(target, sgi, Some(self.cpu));
            }
        }
    }
}

impl Mmio for Distributor {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        width.expect_aligned(offset)?;
        let state = self.gic.state.lock();
        let frame = self.frame(&state);
        if let Some(register) = Register::at(offset) {
            return distributor::read(&state, &frame, register, width);
        }
        if let gicd::CPENDSGIR.. = offset
            && offset < gicd::SPENDSGIR + SGIS as u64
            && width <= Width::Word
        {
            let first = (offset as usize - gicd::CPENDSGIR as usize) % SGIS;
            return Ok(distributor::sgi_sources(&state, &frame, first, width.bytes() as usize));
        }
        width.expect_word(offset)?;
        let value = match offset {
            gicd::CTLR if frame.restricted => u32::from(state.enabled.has(Group::One)),
            gicd::CTLR => {
                u32::from(state.enabled.has(Group::Zero)) | u32::from(state.enabled.has(Group::One)) << 1
            }
            gicd::TYPER => self.typer(&state),
            gicd::IIDR => spec::IIDR,
            gicd::ID.. => gicd::ID_VALUES.get((offset - gicd::ID) as usize / 4).copied().unwrap_or(0).into(),
            _ => 0,
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_aligned(offset)?;
        let mut state = self.gic.state.lock();
        let state = &mut *state;
        let frame = self.frame(state);
        if let Some(register) = Register::at(offset) {
            distributor::write(state, &frame, register, width, value)?;
        } else if let gicd::CPENDSGIR.. = offset
            && offset < gicd::SPENDSGIR + SGIS as u64
            && width <= Width::Word
        {
            let first = (offset as usize - gicd::CPENDSGIR as usize) % SGIS;
            let bytes = &value.to_le_bytes()[..width.bytes() as usize];
            let change: fn(u8, u8) -> u8 = match offset {
                gicd::SPENDSGIR.. => |old, bits| old | bits,
                _ => |old, bits| old & !bits,
            };
            distributor::change_sgi_sources(state, &frame, first, bytes, change);
        } else {
            width.expect_word(offset)?;
            match offset {
                gicd::CTLR if frame.restricted => state.enabled.set(Group::One, value & 1 != 0),
                gicd::CTLR => {
                    state.enabled.set(Group::Zero, value & 1 != 0);
                    state.enabled.set(Group::One, value & 2 != 0);
                }
                gicd::SGIR => {
                    self.send_sgi(state, value as u32, frame.restricted);
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
        state.update_all();
        Ok(())
    }

    fn reset(&self) {
        self.gic.state.lock().reset();
    }
}

/// Whose interface.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Physical(Security),
    Virtual,
}

struct CpuInterface {
    gic: Arc<Gic>,
    cpu: usize,
    kind: Kind,
}

/// An interrupt that an interface could take.
struct Taken {
    intid: u32,
    source: u32,
}

impl Taken {
    fn register(&self) -> u32 {
        self.intid | self.source << 10
    }
}

impl CpuInterface {
    fn restricted(&self, state: &State) -> bool {
        match self.kind {
            Kind::Physical(security) => Gic::restricted(state, security),
            Kind::Virtual => false,
        }
    }

    fn interface<'a>(&self, state: &'a mut State) -> &'a mut Interface {
        let cpu = &mut state.cpus[self.cpu];
        if self.kind == Kind::Virtual { &mut cpu.virt.interface } else { &mut cpu.interface }
    }

    /// The groups that an access may take from: `alias` is one to the registers of Group 1.
    fn groups(&self, state: &State, alias: bool) -> Groups {
        if alias || self.restricted(state) { Groups::only(Group::One) } else { Groups::ALL }
    }

    fn ack_ctl(&self, state: &State) -> bool {
        let cpu = &state.cpus[self.cpu];
        if self.kind == Kind::Virtual { cpu.virt.ack_ctl() } else { cpu.ack_ctl }
    }

    /// The answer of an acknowledge register, or instead of one: nothing that the access may see, or something of
    /// Group 1 that it must ask for elsewhere.
    fn special(&self, state: &State, group: Option<Group>, alias: bool) -> Option<u32> {
        match group {
            Some(group) if !self.groups(state, alias).has(group) => Some(SPURIOUS),
            Some(Group::One) if !alias && !self.restricted(state) && !self.ack_ctl(state) => {
                Some(spec::GROUP_1_PENDING)
            }
            Some(_) => None,
            None => Some(SPURIOUS),
        }
    }

    fn acknowledge(&self, state: &mut State, alias: bool) -> u32 {
        if self.kind == Kind::Virtual {
            let signalled = state.cpus[self.cpu].virt.signalled();
            if let Some(special) = self.special(state, signalled.map(|(_, pending)| pending.group), alias) {
                return special;
            }
            let Some((index, pending)) = signalled else { return SPURIOUS };
            let virt = &mut state.cpus[self.cpu].virt;
            virt.acknowledge(index, &pending);
            let taken = Taken { intid: pending.intid, source: virt.list[index].source() };
            state.update(self.cpu);
            return taken.register();
        }
        let signalled = state.signalled(self.cpu);
        if let Some(special) = self.special(state, signalled.map(|pending| pending.group), alias) {
            return special;
        }
        let Some(pending) = signalled else { return SPURIOUS };
        let source = state.acknowledge(self.cpu, &pending);
        Taken { intid: pending.intid, source }.register()
    }

    fn highest(&self, state: &State, alias: bool) -> u32 {
        let cpu = &state.cpus[self.cpu];
        let (pending, source) = if self.kind == Kind::Virtual {
            let highest = cpu.virt.highest();
            (highest.map(|(_, pending)| pending), highest.map(|(index, _)| cpu.virt.list[index].source()))
        } else {
            let source = cpu.highest.and_then(|pending| cpu.sgi_sources.get(pending.intid as usize));
            (cpu.highest, source.map(|sources| sources.trailing_zeros()))
        };
        match (self.special(state, pending.map(|pending| pending.group), alias), pending) {
            (None, Some(pending)) => Taken { intid: pending.intid, source: source.unwrap_or(0) }.register(),
            (special, _) => special.unwrap_or(SPURIOUS),
        }
    }

    fn split_end(&self, state: &State) -> bool {
        let cpu = &state.cpus[self.cpu];
        match self.kind {
            Kind::Virtual => cpu.virt.eoi_mode(),
            Kind::Physical(_) => cpu.split_end[usize::from(self.restricted(state))],
        }
    }

    fn end(&self, state: &mut State, value: u32, alias: bool) {
        let intid = value & 0x3ff;
        if intid >= 1020 {
            return;
        }
        let groups = self.groups(state, alias);
        let split = self.split_end(state);
        if self.kind == Kind::Virtual {
            let dropped = state.cpus[self.cpu].virt.drop_priority();
            if dropped && !split {
                self.deactivate(state, intid, Groups::ALL);
            }
            state.update(self.cpu);
            return;
        }
        let group = state.group_of(self.cpu, intid).filter(|group| groups.has(*group));
        if let Some(group) = group {
            state.cpus[self.cpu].interface.drop_priority(group);
            if !split {
                state.deactivate(self.cpu, intid, groups);
            }
            state.update(self.cpu);
        }
    }

    fn deactivate(&self, state: &mut State, intid: u32, groups: Groups) {
        match self.kind {
            Kind::Physical(_) => state.deactivate(self.cpu, intid, groups),
            Kind::Virtual => {
                if let Some(physical) = state.cpus[self.cpu].virt.deactivate(intid, groups) {
                    state.deactivate(self.cpu, physical, Groups::ALL);
                }
            }
        }
    }

    fn control(&self, state: &State) -> u32 {
        let restricted = self.restricted(state);
        let cpu = &state.cpus[self.cpu];
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let interface = if self.kind == Kind::Virtual { &cpu.virt.interface } else { &cpu.interface };
        let one = interface.enabled.has(Group::One);
        if restricted {
            return bit(one, ctlr::NS_ENABLE) | bit(cpu.split_end[1], ctlr::EOI_MODE);
        }
        let (ack, fiq, split) = match self.kind {
            Kind::Virtual => (cpu.virt.ack_ctl(), cpu.virt.fiq(), cpu.virt.eoi_mode()),
            Kind::Physical(_) => (cpu.ack_ctl, cpu.fiq, cpu.split_end[0]),
        };
        bit(interface.enabled.has(Group::Zero), ctlr::ENABLE_0)
            | bit(one, ctlr::ENABLE_1)
            | bit(ack, ctlr::ACK_CTL)
            | bit(fiq, ctlr::FIQ)
            | bit(interface.common, ctlr::COMMON)
            | bit(split, ctlr::EOI_MODE)
            | bit(!state.single_state && self.kind != Kind::Virtual && cpu.split_end[1], ctlr::EOI_MODE_NS)
    }

    fn set_control(&self, state: &mut State, value: u32) {
        let has = |bit| value & bit != 0;
        if self.restricted(state) {
            let cpu = &mut state.cpus[self.cpu];
            cpu.interface.enabled.set(Group::One, has(ctlr::NS_ENABLE));
            cpu.split_end[1] = has(ctlr::EOI_MODE);
            return;
        }
        let interface = self.interface(state);
        interface.enabled.set(Group::Zero, has(ctlr::ENABLE_0));
        interface.enabled.set(Group::One, has(ctlr::ENABLE_1));
        interface.common = has(ctlr::COMMON);
        let cpu = &mut state.cpus[self.cpu];
        if self.kind == Kind::Virtual {
            cpu.virt.set_ack_ctl(has(ctlr::ACK_CTL));
            cpu.virt.set_fiq(has(ctlr::FIQ));
            cpu.virt.set_eoi_mode(has(ctlr::EOI_MODE));
        } else {
            cpu.ack_ctl = has(ctlr::ACK_CTL);
            cpu.fiq = has(ctlr::FIQ);
            cpu.split_end[0] = has(ctlr::EOI_MODE);
            if !state.single_state {
                cpu.split_end[1] = has(ctlr::EOI_MODE_NS);
            }
        }
    }

    fn mask(&self, state: &mut State) -> u8 {
        let restricted = self.restricted(state);
        let mask = self.interface(state).mask;
        if restricted { shifted_view(mask) } else { mask }
    }

    fn set_mask(&self, state: &mut State, value: u8) {
        let restricted = self.restricted(state);
        let interface = self.interface(state);
        if !restricted {
            interface.set_mask(value);
        } else if interface.mask >= 0x80 {
            // Non-secure software cannot lift a mask that keeps all of its interrupts out.
            interface.set_mask(from_shifted_view(value));
        }
    }

    /// Group 1's binary point; with a common one, what it amounts to.
    fn alias_binary_point(interface: &Interface) -> u8 {
        match interface.is_common(Group::One) {
            true => (interface.binary_point(Group::Zero) + 1).min(7),
            false => interface.binary_point(Group::One),
        }
    }

    fn running(&self, state: &mut State) -> u8 {
        let restricted = self.restricted(state);
        match self.interface(state).running() {
            IDLE => IDLE,
            running if restricted => shifted_view(running),
            running => running,
        }
    }

    /// Active priorities: the virtual interface and Non-secure software see but one set.
    fn active(&self, state: &mut State, group: Group) -> u32 {
        let restricted = self.restricted(state);
        let interface = self.interface(state);
        match (group, restricted) {
            (group, false) => interface.active[group as usize],
            (Group::Zero, true) => interface.active[Group::One as usize] >> 16,
            (_, true) => 0,
        }
    }

    fn set_active(&self, state: &mut State, group: Group, value: u32) {
        let restricted = self.restricted(state);
        let active = &mut self.interface(state).active;
        match (group, restricted) {
            (group, false) => active[group as usize] = value,
            (Group::Zero, true) => {
                let one = &mut active[Group::One as usize];
                *one = *one & 0xffff | value << 16;
            }
            (_, true) => {}
        }
    }
}

impl Mmio for CpuInterface {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        width.expect_word(offset)?;
        let mut state = self.gic.state.lock();
        let state = &mut *state;
        let restricted = self.restricted(state);
        let value = match offset {
            gicc::CTLR => self.control(state),
            gicc::PMR => self.mask(state).into(),
            gicc::BPR if restricted => Self::alias_binary_point(self.interface(state)).into(),
            gicc::BPR => self.interface(state).binary_point(Group::Zero).into(),
            gicc::ABPR if !restricted => self.interface(state).binary_point(Group::One).into(),
            gicc::IAR => self.acknowledge(state, false),
            gicc::AIAR if !restricted => self.acknowledge(state, true),
            gicc::RPR => self.running(state).into(),
            gicc::HPPIR => self.highest(state, false),
            gicc::AHPPIR if !restricted => self.highest(state, true),
            gicc::APR => self.active(state, Group::Zero),
            gicc::NSAPR => self.active(state, Group::One),
            gicc::IIDR => spec::IIDR,
            _ => 0,
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_word(offset)?;
        let mut state = self.gic.state.lock();
        let state = &mut *state;
        let restricted = self.restricted(state);
        match offset {
            gicc::CTLR => self.set_control(state, value as u32),
            gicc::PMR => self.set_mask(state, value as u8),
            gicc::BPR if restricted => {
                let interface = self.interface(state);
                if !interface.is_common(Group::One) {
                    interface.set_binary_point(Group::One, value);
                }
            }
            gicc::BPR => self.interface(state).set_binary_point(Group::Zero, value),
            gicc::ABPR if !restricted => self.interface(state).set_binary_point(Group::One, value),
            gicc::EOIR => self.end(state, value as u32, false),
            gicc::AEOIR if !restricted => self.end(state, value as u32, true),
            gicc::APR => self.set_active(state, Group::Zero, value as u32),
            gicc::NSAPR => self.set_active(state, Group::One, value as u32),
            // Without the split, the end has deactivated the interrupt already.
            gicc::DIR if self.split_end(state) => {
                let groups = self.groups(state, false);
                self.deactivate(state, value as u32 & 0x3ff, groups);
            }
            _ => return Ok(()),
        }
        state.update(self.cpu);
        Ok(())
    }

    fn reset(&self) {}
}

struct VirtualControl {
    gic: Arc<Gic>,
    cpu: usize,
}

impl VirtualControl {
    fn entry(offset: u64) -> Option<usize> {
        let index = (offset.checked_sub(gich::LR)? / 4) as usize;
        (index < LIST_REGISTERS).then_some(index)
    }

    /// GICH_APR has one bit for each level; which group it is of is known here alone.
    fn active(virt: &Virtual) -> u32 {
        virt.interface.active.iter().fold(0, |all, levels| all | levels)
    }
}

impl Mmio for VirtualControl {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        width.expect_word(offset)?;
        let state = self.gic.state.lock();
        let virt = &state.cpus[self.cpu].virt;
        Ok(match offset {
            gich::HCR => virt.hcr(),
            gich::VTR => (gich::VTR_VALUE | (LIST_REGISTERS as u32 - 1)).into(),
            gich::VMCR => virt.vmcr(),
            gich::MISR => virt.reasons(),
            gich::EISR => virt.ended(),
            gich::ELRSR => virt.free(),
            gich::APR => Self::active(virt).into(),
            _ => Self::entry(offset).map_or(0, |index| virt.list[index].to_v2().into()),
        })
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_word(offset)?;
        let mut state = self.gic.state.lock();
        let virt = &mut state.cpus[self.cpu].virt;
        match offset {
            gich::HCR => virt.set_hcr(value, hcr::V2),
            gich::VMCR => virt.set_vmcr(value, false),
            gich::APR => virt.interface.active = [value as u32, 0, 0],
            _ => match Self::entry(offset) {
                Some(index) => virt.list[index] = ListRegister::from_v2(value as u32),
                None => return Ok(()),
            },
        }
        state.update(self.cpu);
        Ok(())
    }

    fn reset(&self) {}
}
