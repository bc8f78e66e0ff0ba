//! Copies and fills of ranges, against the same byte by byte: whatever the soft TLB holds, and where memory does not go on as
//! addresses do.

use emu_core::exec::Vcpu;
use emu_core::ir::{BulkAttr, View};
use emu_core::mem::Flush;
use emu_core::testing::{MEMORY_BASE, MEMORY_LEN, Random, Toy, vcpu};

const HALF: u64 = MEMORY_LEN / 2;
const ATTR: BulkAttr = BulkAttr { to: View::Current, from: View::Current };

/// Its second half lies before the first in memory.
fn machine() -> Vcpu<Toy> {
    vcpu(Toy, 1, &[(MEMORY_BASE + HALF, HALF, true), (MEMORY_BASE, HALF, true)])
}

fn fill_at_random(vcpu: &mut Vcpu<Toy>, mut random: Random) {
    for va in (MEMORY_BASE..MEMORY_BASE + MEMORY_LEN).step_by(8) {
        vcpu.store_unit(View::Current, va, random.bits()).unwrap();
    }
}

fn bytes(vcpu: &mut Vcpu<Toy>) -> Vec<u8> {
    let words = (MEMORY_BASE..MEMORY_BASE + MEMORY_LEN).step_by(8);
    words.flat_map(|va| vcpu.load_unit::<u64>(View::Current, va).unwrap().to_le_bytes()).collect()
}

/// The whole of a copy, as `left` says: upward if it is negative.
fn copy(vcpu: &mut Vcpu<Toy>, to: u64, from: u64, mut left: u64) {
    while left != 0 {
        left = vcpu.copy(ATTR, to, from, left).unwrap();
    }
}

#[test]
fn copies_are_those_of_the_bytes() {
    let mut random = Random(0xc0_91e5);
    for _ in 0..300 {
        let (mut warm, mut cold) = (machine(), machine());
        let start = random.clone();
        fill_at_random(&mut warm, start.clone());
        fill_at_random(&mut cold, start);
        let len = 1 + random.below(5 * MEMORY_LEN / 8);
        let [to, from] = [(); 2].map(|()| random.below(MEMORY_LEN - len + 1));
        let mut expected = bytes(&mut warm);
        // What only one of them has seen is not cached by the other.
        cold.mmu.flush(Flush::ALL);
        for _ in 0..random.below(16) {
            let va = MEMORY_BASE + random.below(MEMORY_LEN);
            cold.load_unit::<u8>(View::Current, va).unwrap();
        }
        let overlap = to > from && to < from + len;
        let downward =
            overlap && random.below(2) == 0 || random.below(8) == 0 && (to > from || to + len <= from);
        for vcpu in [&mut warm, &mut cold] {
            if downward {
                copy(vcpu, MEMORY_BASE + to, MEMORY_BASE + from, len);
            } else {
                copy(vcpu, MEMORY_BASE + to + len, MEMORY_BASE + from + len, len.wrapping_neg());
            }
        }
        let (warm, cold) = (bytes(&mut warm), bytes(&mut cold));
        assert!(warm == cold, "{len} bytes from {from:#x} to {to:#x}: by what is cached");
        if downward || !overlap {
            let [to, from, len] = [to, from, len].map(|n| n as usize);
            expected.copy_within(from..from + len, to);
            assert!(warm == expected, "{len} bytes from {from:#x} to {to:#x}");
        }
    }
}

#[test]
fn fills_are_those_of_the_bytes() {
    let mut random = Random(0xf1_11ed);
    for _ in 0..200 {
        let mut vcpu = machine();
        fill_at_random(&mut vcpu, random.clone());
        let mut expected = bytes(&mut vcpu);
        let (len, byte) = (1 + random.below(MEMORY_LEN), random.bits() as u8);
        let to = random.below(MEMORY_LEN - len + 1);
        let mut left = len.wrapping_neg();
        while left != 0 {
            left = vcpu.fill(ATTR, MEMORY_BASE + to + len, byte, left).unwrap();
        }
        expected[to as usize..(to + len) as usize].fill(byte);
        assert!(bytes(&mut vcpu) == expected, "{len} bytes at {to:#x}");
    }
}
