//! What a vCPU sees of a GICv3 interrupt controller: its CPU interface, which system registers reach, and the pins
//! through which the controller interrupts it.
//!
//! Specification: *Arm Generic Interrupt Controller Architecture Specification, GIC architecture version 3 and
//! version 4*, IHI 0069H, chapter 12 (cited as "GIC"). The front end decides who may access a register and which
//! of the physical (`ICC_*`) and the virtual interface (`ICV_*`) an access goes to; what registers there are and what
//! they do is the controller's business. A machine with a GICv2 has no such interface, only the pins.

/// The interrupt pins of a vCPU's [`emu_core::sync::Port`], by bit number. All are levels.
pub mod pin {
    /// A physical IRQ.
    pub const IRQ: u32 = 0;
    /// A physical FIQ.
    pub const FIQ: u32 = 1;
    /// A virtual IRQ; `HCR_EL2.VI` is another source of the same exception.
    pub const VIRQ: u32 = 2;
    /// A virtual FIQ; `HCR_EL2.VF` is another source of the same exception.
    pub const VFIQ: u32 = 3;
    /// A Non-secure Group 1 interrupt of a controller with two Security states: an IRQ while the vCPU is in
    /// Non-secure state, an FIQ in Secure state and at EL3 (GIC §4.6.2 "Interrupt assignment to IRQ and FIQ signals").
    pub const GROUP1_NONSECURE: u32 = 4;
    /// A Secure Group 1 interrupt: an IRQ while the vCPU is in Secure state but not at EL3, an FIQ otherwise.
    pub const GROUP1_SECURE: u32 = 5;
}

/// Who accesses a register of the CPU interface, and which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The exception level: 1, 2 or 3.
    pub el: u8,
    /// `SCR_EL3.NS` is zero: the Secure copies of banked registers, at EL3 too. Of no meaning without EL3.
    pub secure: bool,
    /// Priorities are seen as Non-secure software sees them, in the lower half of their range: EL3 exists,
    /// `SCR_EL3.FIQ` and `SCR_EL3.NS` are set, and the access is not from EL3.
    pub shifted: bool,
    /// The access goes to the virtual interface: it comes from EL1, and `HCR_EL2.IMO` (for Group 1), `HCR_EL2.FMO`
    /// (for Group 0) or either of them (for registers of both groups) is set.
    pub virt: bool,
}

/// One vCPU's interface to its GICv3. A register that the controller does not have is UNDEFINED.
pub trait CpuInterface: Send {
    /// Reads a register, named by [`super::helper::sysreg`]; none if there is no such register.
    fn read(&self, register: u16, by: Requester) -> Option<u64>;

    /// Writes a register; none if there is no such register.
    fn write(&self, register: u16, by: Requester, value: u64) -> Option<()>;
}
