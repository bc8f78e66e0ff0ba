//! Maintenance of TLBs: what is dropped.

use emu_core::exec::Access;
use emu_core::ir::{MemAttr, Ty, View};

use super::super::bits::sctlr;
use super::*;

/// Tables: four levels of 4 KiB, one behind the other.
const ROOT: u64 = RAM + 0x10_0000;
const VA: u64 = 0x12_3456_7000;

fn poke(cpu: &mut Cpu, pa: u64, value: u64) {
    let ram = cpu.bus.ram();
    ram.store::<u64>(ram.offset_of(pa, 8).unwrap(), value);
}

/// Maps [`VA`] to one of two pages that hold their number, for one address space.
fn map(cpu: &mut Cpu, page: u64) {
    for level in 0..4 {
        let at = ROOT + level * 0x1000 + (VA >> (39 - 9 * level) & 511) * 8;
        let entry = if level < 3 { (ROOT + (level + 1) * 0x1000) | 3 } else { page | 1 << 11 | 1 << 10 | 3 };
        poke(cpu, at, entry);
    }
}

const PAGES: [u64; 2] = [RAM + 0x20_0000, RAM + 0x20_1000];

fn load(cpu: &mut Cpu, va: u64) -> u64 {
    cpu.load(Ty::I64, MemAttr::PLAIN, va).unwrap()
}

#[test]
fn every_instruction_drops_the_page() {
    let page = VA >> 12;
    for (instruction, operand) in [
        (Reg::TLBI_VMALLE1, 0),
        (Reg::TLBI_VAE1, 5 << 48 | page),
        (Reg::TLBI_ASIDE1, 5 << 48),
        (Reg::TLBI_VAAE1, page),
        (Reg::TLBI_VALE1, 5 << 48 | page),
        (Reg::TLBI_VAALE1, page),
        (Reg::TLBI_VMALLE1IS, 0),
        (Reg::TLBI_VAE1IS, 5 << 48 | page),
        (Reg::TLBI_ASIDE1IS, 5 << 48),
        (Reg::TLBI_RVAE1IS, 5 << 48 | 1 << 46 | page),
    ] {
        for tag in [0, 0x5a << 56] {
            let mut cpu = cpu_at(1);
            set(&mut cpu, Reg::MAIR_EL1, 0xff);
            set(&mut cpu, Reg::TCR_EL1, 16 | 16 << 16 | 2 << 30 | 5 << 32 | 1 << 37 | 1 << 36);
            set(&mut cpu, Reg::TTBR0_EL1, ROOT | 5 << 48);
            set(&mut cpu, Reg::SCTLR_EL1, sctlr::M);
            for (n, page) in PAGES.into_iter().enumerate() {
                poke(&mut cpu, page, n as u64);
            }
            map(&mut cpu, PAGES[0]);
            assert_eq!(load(&mut cpu, VA | tag), 0);
            map(&mut cpu, PAGES[1]);
            assert!(cpu.mmu.lookup(View::Current, VA | tag, 8, Access::Read).is_some());
            sys(&mut cpu, instruction, operand).unwrap();
            assert_eq!(load(&mut cpu, VA | tag), 1, "{instruction:?}");
        }
    }
}
