//! TLB maintenance (DDI 0487, C5.5). What an instruction drops follows from its encoding: `op1` names the regime, `op2` what of
//! it, `CRm` where, and whether it is a range of addresses.
//!
//! Cached translations are the outcome of both stages, so that what concerns stage 2 alone drops all of a guest's. Dropping
//! more than asked for is always right. Maintenance is complete when the instruction is: `DSB` need not wait.

use emu_core::exec::Stop;
use emu_core::mem::Flush;
use emu_core::sync::Request;

use super::super::bits::hcr;
use super::super::state::{Aarch64, Cpu};
use super::super::sysreg::Reg;

/// What an instruction drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Everything.
    All,
    /// What belongs to an address space: not the global translations.
    Space,
    /// The translation of an address, in one address space or in all.
    Address,
    /// Those of a range of addresses.
    Range,
}

/// What an encoding says: what is dropped, and whether on all processors.
fn decode(encoding: u16) -> (What, bool) {
    let (op1, crm, op2) = (encoding >> 11 & 7, encoding >> 3 & 15, encoding & 7);
    let el2_only_stage2 = op1 == 4 && matches!(crm, 0 | 4);
    if el2_only_stage2 {
        let local = crm == 4 && matches!(op2, 1 | 2 | 5 | 6);
        return (What::All, !local);
    }
    // Domains: 1 and 5 outer shareable, 2 and 3 inner shareable, 6 and 7 this processor; 2, 5 and 6 are ranges.
    let broadcast = matches!(crm, 1 | 2 | 3 | 5);
    let what = match (crm, op2) {
        (2 | 5 | 6, _) => What::Range,
        (_, 1 | 3 | 5 | 7) => What::Address,
        (_, 2) => What::Space,
        _ => What::All,
    };
    (what, broadcast)
}

/// The virtual page that an operand names, with its sign.
fn page(value: u64) -> u64 {
    ((value << 20) as i64 >> 8) as u64
}

/// The range of virtual addresses that an operand names: base, scale, number and granule; none if the granule is reserved, so
/// that everything is meant.
fn range(value: u64, two_ranges: bool) -> Option<(u64, u64)> {
    let granule = match value >> 46 & 3 {
        1 => 12,
        2 => 14,
        3 => 16,
        _ => return None,
    };
    let (scale, number) = (value >> 44 & 3, value >> 39 & 0x1f);
    let pages = (number + 1) << (5 * scale + 1);
    // 37 bits, with sign where there are two ranges.
    let base = if two_ranges { ((value << 27) as i64 >> 27) as u64 } else { value & 0x1f_ffff_ffff };
    let first = base << granule;
    Some((first, first.wrapping_add((pages << granule) - 1)))
}

/// The flush that an instruction asks for.
fn flush(isa: &Aarch64, what: What, encoding: u16, value: u64) -> Flush {
    match what {
        What::All => Flush::ALL,
        What::Space => {
            let asid = (value >> 48) as u32; // 16 bits
            let host = isa.host() && encoding >> 11 & 7 == 0;
            let vmid = if host { 0 } else { isa.vmid() };
            Flush { asid: Some(Aarch64::space_number(asid, vmid)), range: None }
        }
        What::Address => {
            // The mapping may be larger than 4 KiB: whoever caches parts of it knows.
            let first = page(value);
            Flush { asid: None, range: Some((first, first | 0xfff)) }
        }
        What::Range => {
            let two_ranges = encoding >> 11 & 7 == 0 || isa.hcr() & hcr::E2H != 0;
            Flush { asid: None, range: range(value, two_ranges).filter(|(first, last)| first <= last) }
        }
    }
}

/// Runs a TLBI instruction.
pub(in super::super) fn run(cpu: &mut Cpu, register: Reg, value: u64) -> Result<(), Stop> {
    let encoding = register.encoding();
    let (what, everywhere) = decode(encoding);
    let flush = flush(&cpu.isa, what, encoding, value);
    let forced = cpu.isa.pstate.el == 1 && cpu.isa.hcr() & hcr::FB != 0;
    if everywhere || forced {
        cpu.request(0..cpu.group().len(), Request::Flush(flush));
    } else {
        cpu.mmu.flush(flush);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::helper::sysreg;
    use super::*;

    #[test]
    fn operands_name_pages_and_ranges() {
        assert_eq!(page(0x1234_0fff_ffff_ffff), 0xffff_ffff_ffff_f000);
        assert_eq!(page(0x0000_0000_0012_3456), 0x1_2345_6000);
        // Granule 4 KiB, scale 0, number 0: two pages.
        assert_eq!(range(1 << 46 | 5, true), Some((0x5000, 0x6fff)));
        assert_eq!(
            range(1 << 46 | 1 << 44 | 3 << 39 | 0x1f_ffff_ff00, true),
            Some((0xffff_ffff_fff0_0000, 0xffff_ffff_fff0_0000_u64.wrapping_add((4 << 18) - 1)))
        );
        assert_eq!(range(5, true), None);
    }

    #[test]
    fn encodings_say_what_and_where() {
        let decoded = |op1, crm, op2| decode(sysreg(1, op1, 8, crm, op2));
        assert_eq!(decoded(0, 3, 0), (What::All, true));
        assert_eq!(decoded(0, 7, 1), (What::Address, false));
        assert_eq!(decoded(0, 3, 2), (What::Space, true));
        assert_eq!(decoded(0, 1, 7), (What::Address, true));
        assert_eq!(decoded(0, 6, 5), (What::Range, false));
        assert_eq!(decoded(0, 2, 1), (What::Range, true));
        assert_eq!(decoded(4, 7, 6), (What::All, false));
        assert_eq!(decoded(4, 3, 4), (What::All, true));
        assert_eq!(decoded(4, 0, 1), (What::All, true));
        assert_eq!(decoded(4, 4, 1), (What::All, false));
        assert_eq!(decoded(4, 4, 0), (What::All, true));
        assert_eq!(decoded(6, 3, 5), (What::Address, true));
    }
}
