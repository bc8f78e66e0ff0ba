//! The state in which S-mode software is entered.

/// The CSRs that the firmware touches (RISC-V Privileged Architecture, chapter "CSR Listing").
#[allow(missing_docs, reason = "the manual's own names")]
pub mod csr {
    pub const SCOUNTEREN: u16 = 0x106;
    pub const STIMECMP: u16 = 0x14d;
    pub const SATP: u16 = 0x180;
    pub const MSTATUS: u16 = 0x300;
    pub const MEDELEG: u16 = 0x302;
    pub const MIDELEG: u16 = 0x303;
    pub const MIE: u16 = 0x304;
    pub const MCOUNTEREN: u16 = 0x306;
    pub const MENVCFG: u16 = 0x30a;
    pub const MCOUNTINHIBIT: u16 = 0x320;
    pub const MCYCLECFG: u16 = 0x321;
    pub const MINSTRETCFG: u16 = 0x322;
    /// `mhpmevent0`, which does not exist: the base of the numbering.
    pub const MHPMEVENT: u16 = 0x320;
    pub const MIP: u16 = 0x344;
    pub const PMPCFG0: u16 = 0x3a0;
    pub const PMPADDR0: u16 = 0x3b0;
    /// `mcycle`, the first of the 32 counters.
    pub const MCYCLE: u16 = 0xb00;
    /// `cycle`, the first of the 32 user-level counters.
    pub const CYCLE: u16 = 0xc00;
    pub const MVENDORID: u16 = 0xf11;
    pub const MARCHID: u16 = 0xf12;
    pub const MIMPID: u16 = 0xf13;

    pub const MIP_SSIP: u64 = 1 << 1;
    /// Hardware updating of the A and D bits of page table entries.
    pub const MENVCFG_ADUE: u64 = 1 << 61;
    /// Exception code of a misaligned load.
    pub const CAUSE_MISALIGNED_LOAD: u64 = 4;
    /// Exception code of a misaligned store or AMO.
    pub const CAUSE_MISALIGNED_STORE: u64 = 6;
}

/// Exceptions that go to S-mode: all but `ecall` from S-mode (9), VS-mode's aside, and from M-mode (11).
/// Nothing in M-mode could handle them. Bits that the hart does not have are read-only zero.
const MEDELEG: u64 = 0b1111_1111      // 0-7: instruction, breakpoint, load and store exceptions
    | 1 << 8                          // ecall from U-mode
    | 1 << 10                         // ecall from VS-mode
    | 1 << 12 | 1 << 13 | 1 << 15     // page faults
    | 1 << 18 | 1 << 19               // software check, hardware error
    | 0b1111 << 20; // guest page faults, virtual instruction

/// Interrupts that go to S-mode: software, timer, external, counter overflow.
const MIDELEG: u64 = 1 << 1 | 1 << 5 | 1 << 9 | 1 << 13;

/// FS = VS = initial, so that the first use of these registers works in software that does not switch them
/// on; SXL and UXL 64 bits; SIE, SPIE, MPRV, SUM, MXR, TVM, TW and TSR clear.
const MSTATUS: u64 = 0b10 << 34 | 0b10 << 32 | 0b01 << 13 | 0b01 << 9;

/// STCE (63: `stimecmp`), PBMTE (62: page-based memory types), CBZE (7), CBCFE (6) and CBIE = 3 (5:4): the
/// cache block instructions work in S-mode and do what they say.
const MENVCFG: u64 = 1 << 63 | 1 << 62 | 1 << 7 | 1 << 6 | 0b11 << 4;

/// All counters readable.
const MCOUNTEREN: u64 = 0xffff_ffff;

/// `cycle`, `time` and `instret` readable in U-mode until the kernel decides: a kernel with no PMU driver
/// leaves it, and user programs read `time`.
const SCOUNTEREN: u64 = 0b111;

/// `mcycle` and `minstret` run, the programmable counters do not.
const MCOUNTINHIBIT: u64 = 0xffff_fff8;

/// PMP entry 0: NAPOT over all addresses, readable, writable, executable, not locked.
const PMPCFG0: u64 = 0b11 << 3 | 0b111;
const PMPADDR0: u64 = (1 << 54) - 1;

/// The state in which a hart enters S-mode: at boot, by `sbi_hart_start`, and after a non-retentive suspend.
///
/// To apply it: the privilege mode becomes S (V = 0), `pc`, `a0` and `a1` are set, and the CSRs are written
/// in order as M-mode writes, WARL rules included; a CSR that the hart does not have is left out. After that,
/// translations of earlier address spaces are forgotten. The other registers are undefined to the guest; zero
/// keeps runs repeatable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// Where it begins: a physical address.
    pub pc: u64,
    /// The hart's id.
    pub a0: u64,
    /// The address of the device tree, or what the caller of `sbi_hart_start` wants passed.
    pub a1: u64,
    /// CSR numbers and values.
    pub csrs: Vec<(u16, u64)>,
}

impl EntryState {
    /// The state of a hart that starts. `hardware_ad_updates` sets `menvcfg.ADUE`.
    pub(super) fn start(hart: usize, pc: u64, a1: u64, hardware_ad_updates: bool) -> Self {
        let menvcfg = if hardware_ad_updates { MENVCFG | csr::MENVCFG_ADUE } else { MENVCFG };
        let csrs = vec![
            (csr::SATP, 0),
            (csr::MSTATUS, MSTATUS),
            (csr::MIE, 0),
            (csr::MIP, 0),
            (csr::STIMECMP, u64::MAX),
            (csr::MEDELEG, MEDELEG),
            (csr::MIDELEG, MIDELEG),
            (csr::MENVCFG, menvcfg),
            (csr::MCOUNTEREN, MCOUNTEREN),
            (csr::SCOUNTEREN, SCOUNTEREN),
            (csr::MCOUNTINHIBIT, MCOUNTINHIBIT),
            (csr::PMPADDR0, PMPADDR0),
            (csr::PMPCFG0, PMPCFG0),
        ];
        Self { pc, a0: hart as u64, a1, csrs }
    }

    /// The state of a hart that comes out of a non-retentive suspend. What M-mode owns, pending interrupts,
    /// the timer and the counters are as they were.
    pub(super) fn resume(hart: usize, pc: u64, a1: u64) -> Self {
        Self { pc, a0: hart as u64, a1, csrs: vec![(csr::SATP, 0), (csr::MSTATUS, MSTATUS)] }
    }
}
