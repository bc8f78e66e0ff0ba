//! What a syndrome tells of the instruction that has raised an exception.

use emu_core::exec::Access;
use emu_core::ir::View;

use super::super::state::Cpu;
use super::super::syndrome::ISV;

/// The instruction at the program counter, if its page's translation is cached: it has just been executed.
pub(super) fn at_pc(cpu: &Cpu) -> Option<u32> {
    let offset = cpu.mmu.lookup(View::Current, cpu.state.pc & !3, 4, Access::Fetch)?;
    Some(cpu.bus.ram().load(offset))
}

/// What the syndrome of a stage 2 data abort says of a load or store of one general register, so that a hypervisor can
/// emulate it (D24.2.40, "ISS encoding for an exception from a Data Abort"): zero for any other instruction.
pub(super) fn access_syndrome(word: u32) -> u32 {
    let bits = |shift: u32, count: u32| word >> shift & ((1 << count) - 1);
    let size = bits(30, 2);
    // Load/store register: unsigned offset, unscaled, unprivileged, register offset. Those that write back are not told.
    let plain = bits(27, 3) == 7
        && bits(26, 1) == 0
        && matches!((bits(24, 2), bits(21, 1), bits(10, 2)), (1, _, _) | (0, 0, 0 | 2) | (0, 1, 2));
    // Load-acquire and store-release, with and without offset.
    let ordered = bits(24, 6) == 0b00_1000 && bits(23, 1) == 1 && bits(21, 1) == 0;
    let unscaled = bits(24, 6) == 0b01_1001 && bits(21, 1) == 0 && bits(10, 2) == 0;
    let (sign_extends, wide) = if ordered {
        (false, size == 3)
    } else if plain || unscaled {
        match bits(22, 2) {
            2 => (true, true),
            3 => (true, false),
            _ => (false, size == 3),
        }
    } else {
        return 0;
    };
    ISV | size << 22
        | u32::from(sign_extends) << 21
        | bits(0, 5) << 16
        | u32::from(wide) << 15
        | u32::from(ordered || unscaled) << 14
}
