//! Pointer authentication: what the oracle's random keys cannot show.

use emu_core::exec::Limits;
use frontends::aarch64::pauth::Algorithm;
use frontends::aarch64::{Cpu, KEYS, sysreg_write_debug};

use crate::common::vectors::{CODE, HANDLER, RAM, RAM_LEN};
use crate::common::{Random, run, write};
use crate::support::{TCR, TCR_EL1, asm, cpu_with, enter};

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Fast, Algorithm::Qarma5];

/// `x0` after these instructions at EL0, with `x0`, `x1`, `x2` and all keys set.
fn result(algorithm: Algorithm, x: [u64; 3], keys: [u64; 2], code: &[u32]) -> u64 {
    run_with(&mut cpu_with(algorithm, RAM, RAM_LEN, HANDLER), x, keys, code)
}

fn run_with(cpu: &mut Cpu, x: [u64; 3], keys: [u64; 2], code: &[u32]) -> u64 {
    for (at, word) in code.iter().chain([&asm("svc", &[])]).enumerate() {
        write(cpu, CODE + 4 * at as u64, &word.to_le_bytes());
    }
    cpu.sync_code();
    enter(cpu, 0, CODE);
    cpu.state.slots[..3].copy_from_slice(&x);
    for (n, half) in cpu.state.slots[usize::from(KEYS)..][..10].iter_mut().enumerate() {
        *half = keys[n % 2] ^ (n as u64 / 2) << 20;
    }
    run(cpu, Limits::NONE);
    cpu.state.slots[0]
}

/// The test vector of R. Avanzi, *The QARMA Block Cipher Family*, appendix, for σ2 and five rounds: `PACGA` returns its upper
/// half.
#[test]
fn pacga_is_qarma() {
    let generic = 4 << 20;
    let keys = [0xec28_02d4_e0a4_88e9 ^ generic, 0x84be_85ce_9804_e94b ^ generic];
    let code = [asm("pacga", &[("rd", 0), ("rn", 1), ("rm", 2)])];
    let x = [0, 0xfb62_3599_da6e_8127, 0x477d_469d_ec0b_8762];
    assert_eq!(result(Algorithm::Qarma5, x, keys, &code), 0xc003_b939_0000_0000);
    assert_ne!(result(Algorithm::Fast, x, keys, &code), 0xc003_b939_0000_0000);
}

/// A code comes off with the same key and modifier; with another of these, the pointer gets the key's error code.
#[test]
fn codes_come_off_only_with_their_key_and_modifier() {
    let mut random = Random(1);
    let fields = |rn: i64| [("rd", 0), ("rn", rn)];
    for algorithm in ALGORITHMS {
        let (mut caught, mut signed) = (0, 0);
        for _ in 0..50 {
            let address = random.bits() & 0xffff_ffff_ffff;
            let keys = [random.bits(), random.bits()];
            let x = [address, random.bits(), random.bits()];
            for (pac, aut, other) in [
                ("pacia", "autia", "autib"),
                ("pacib", "autib", "autia"),
                ("pacda", "autda", "autdb"),
                ("pacdb", "autdb", "autda"),
            ] {
                let run = |code: &[u32]| result(algorithm, x, keys, code);
                let sign = asm(pac, &fields(1));
                signed += u32::from(run(&[sign]) != address);
                assert_eq!(run(&[sign, asm(aut, &fields(1))]), address, "{algorithm:?} {pac}");
                let strip = if pac.contains("pacd") { "xpacd" } else { "xpaci" };
                assert_eq!(run(&[sign, asm(strip, &[("rd", 0)])]), address);
                for (aut, rn) in [(other, 1), (aut, 2)] {
                    let wrong = run(&[sign, asm(aut, &fields(rn))]);
                    if wrong == address {
                        continue; // by chance, once in 128
                    }
                    caught += 1;
                    let error = if aut.ends_with('a') { 0b01 } else { 0b10 };
                    assert_eq!(wrong, address | error << 53, "{algorithm:?} {aut}");
                }
            }
        }
        assert!(
            caught > 380 && signed > 190,
            "{algorithm:?}: {caught} of 400 caught, {signed} of 200 signed"
        );
    }
}

/// What is no address gets a code that is found wrong.
#[test]
fn codes_of_what_is_no_address_are_wrong() {
    let mut random = Random(2);
    for algorithm in ALGORITHMS {
        let mut wrong = 0;
        for _ in 0..50 {
            let odd = random.bits() & 0xffff_ffff_ffff | 1 << (48 + random.below(7));
            let code = [asm("paciza", &[("rd", 0)]), asm("autiza", &[("rd", 0)])];
            let found = result(algorithm, [odd, 0, 0], [random.bits(), random.bits()], &code);
            wrong += u32::from(found >> 53 & 3 == 0b01);
        }
        assert_eq!(wrong, 50, "{algorithm:?}");
    }
}

/// Where addresses are usual the lifter emits the algorithm, else a helper computes it: both do the same with any bits.
#[test]
fn lifted_codes_are_those_of_the_helper() {
    const TBI: u64 = 3 << 37;
    /// A size of the upper half that is out of range, and counts as 48 bits, but is not usual.
    const T1SZ: [u64; 2] = [16 << 16, 15 << 16];
    let mut random = Random(3);
    let mut cpu = cpu_with(Algorithm::Fast, RAM, RAM_LEN, HANDLER);
    let mut failures = 0;
    for tbi in 0..16 {
        for _ in 0..100 {
            let sign = if random.below(2) == 0 { 0 } else { 0xffff << 48 };
            let pointer = match random.below(3) {
                0 => random.bits(),
                1 => random.bits() >> 16 | sign,
                _ => random.bits() >> 16 | sign ^ 1 << (48 + random.below(16)),
            };
            let x = [pointer, random.bits(), random.bits()];
            let keys = [random.bits(), random.bits()];
            let [pac, aut] = random.pick(&[["pacda", "autda"], ["pacdb", "autdb"], ["pacia", "autia"]]);
            let [pac, aut] = [pac, aut].map(|name| asm(name, &[("rd", 0), ("rn", 1)]));
            let spoiled = asm("eor_imm.x", &[("rd", 0), ("rn", 0), ("bits", 0b1_001010_000000)]);
            for code in [&[pac][..], &[aut], &[pac, aut], &[pac, spoiled, aut]] {
                let [lifted, helped] = T1SZ.map(|t1sz| {
                    let ignored = (tbi & 3) << 37 | (tbi >> 2) << 51;
                    sysreg_write_debug(&mut cpu, TCR_EL1, TCR & !TBI & !(0x3f << 16) | t1sz | ignored);
                    run_with(&mut cpu, x, keys, code)
                });
                assert_eq!(lifted, helped, "TBI {tbi}: {pointer:#x}");
                failures += u32::from(code.len() == 3 && lifted >> 53 & 3 != sign >> 53 & 3);
            }
        }
    }
    assert!(failures > 100, "{failures}");
}
