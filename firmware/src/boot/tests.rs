use super::rules::{AARCH64_VIRT, RISCV_VIRT};
use super::*;
use crate::load::tests::{elf, linux_image, riscv_image};
use crate::load::{Image, Isa};
use crate::testing::{Rng, memory};
use emu_core::mem::RamBuilder;

const BASE: u64 = 0x8000_0000;
const MIB: u64 = 1 << 20;

fn image(file: Vec<u8>) -> Image {
    Image::parse(file, Isa::Riscv64, 1 << 30).unwrap()
}

fn place(
    mib: u64,
    firmware: &Firmware,
    kernel: Option<&Image>,
    initrd: Option<u64>,
) -> Result<Placement, BootError> {
    let initrd = initrd.map(|len| vec![0x55; len as usize]);
    Placement::new(&RISCV_VIRT, BASE..BASE + mib * MIB, firmware, kernel, initrd)
}

fn plan(mib: u64, firmware: &Firmware, kernel: Option<&Image>, initrd: Option<u64>) -> BootPlan {
    place(mib, firmware, kernel, initrd).and_then(|placement| placement.finish(vec![0xfd; 5000])).unwrap()
}

fn word(rom: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(rom[at..at + 8].try_into().unwrap())
}

/// Start address, device tree and next address in a reset ROM.
fn rom(plan: &BootPlan) -> (u64, u64, u64) {
    assert_eq!(plan.start, Start::Reset { entry: 0x1000 });
    let rom = &plan.rom;
    assert_eq!(word(rom, 0x28), 0x4942_534f);
    assert_eq!([0x30, 0x40, 0x48, 0x50].map(|at| word(rom, at)), [2, 1, 0, 0]);
    (word(rom, 0x18), word(rom, 0x20), word(rom, 0x38))
}

#[test]
fn reset_rom_contents() {
    let rom = reset_rom(0x1122_3344_5566_7788, 0x99, &FwDynamicInfo { next_address: 0xabc });
    assert_eq!(rom.len(), 0x58);
    // Each instruction by its fields: the manual's formats, not the constants again.
    let code: Vec<u32> =
        rom[..0x18].as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let i_type = |word: u32| (word & 0x7f, word >> 7 & 31, word >> 12 & 7, word >> 15 & 31, word >> 20);
    assert_eq!(code[0], 0x17 | 5 << 7, "auipc t0, 0");
    assert_eq!(i_type(code[1]), (0x13, 12, 0, 5, 0x28), "addi a2, t0, 0x28");
    assert_eq!(i_type(code[2]), (0x73, 10, 2, 0, 0xf14), "csrrs a0, mhartid, zero");
    assert_eq!(i_type(code[3]), (0x03, 11, 3, 5, 0x20), "ld a1, 0x20(t0)");
    assert_eq!(i_type(code[4]), (0x03, 5, 3, 5, 0x18), "ld t0, 0x18(t0)");
    assert_eq!(i_type(code[5]), (0x67, 0, 0, 5, 0), "jalr zero, 0(t0)");
    assert_eq!([0x18, 0x20, 0x38].map(|at| word(&rom, at)), [0x1122_3344_5566_7788, 0x99, 0xabc]);
}

#[test]
fn built_in_firmware() {
    let kernel = image(riscv_image(100_000, 30 * MIB));
    let plan = plan(128, &Firmware::Builtin, Some(&kernel), Some(10 * MIB));
    assert_eq!(plan.fdt, 0x87e0_0000, "the example of the board's documentation");
    assert_eq!(plan.start, Start::Kernel { entry: 0x8020_0000 });
    let map: Vec<_> = plan.map().collect();
    assert_eq!(
        map,
        [
            ("the kernel", 0x8020_0000..0x8200_0000),
            ("the initrd", 0x8420_0000..0x84c0_0000),
            ("the device tree", 0x87e0_0000..0x87e0_1388),
        ]
    );
    let large = place(4096, &Firmware::Builtin, Some(&kernel), Some(1)).unwrap();
    assert_eq!(large.initrd(), Some(0xa020_0000..0xa020_0001), "at most 512 MiB above the kernel");
}

#[test]
fn real_firmware() {
    let kernel = image(riscv_image(100_000, 0));
    let raw = |len: u64| Firmware::Image(image(vec![0x13; len as usize]));
    let fdt = 0x87e0_0000;
    assert_eq!(rom(&plan(128, &raw(270_000), Some(&kernel), None)), (BASE, fdt, 0x8020_0000));
    assert_eq!(rom(&plan(128, &raw(2 * MIB), Some(&kernel), None)), (BASE, fdt, 0x8020_0000));
    assert_eq!(rom(&plan(128, &raw(2 * MIB + 1), Some(&kernel), None)), (BASE, fdt, 0x8040_0000));
    assert_eq!(rom(&plan(128, &raw(1000), None, Some(100))), (BASE, fdt, 0), "a firmware with a payload");
    let fw_elf = |entry| Firmware::Image(image(elf(243, entry, &[(BASE, &[1; 64], 0x5_0000)])));
    assert_eq!(rom(&plan(128, &fw_elf(BASE + 8), Some(&kernel), None)), (BASE + 8, fdt, 0x8020_0000));
    assert_eq!(rom(&plan(128, &fw_elf(0), None, None)), (BASE, fdt, 0), "no entry point");
    // A kernel with addresses of its own is entered at the lowest.
    let kernel = image(elf(243, 0x8020_1000, &[(0x8020_1000, &[2; 16], 16), (0x8020_0000, &[1; 16], 16)]));
    assert_eq!(rom(&plan(128, &raw(1000), Some(&kernel), None)), (BASE, fdt, 0x8020_0000));
    assert_eq!(
        plan(128, &Firmware::Builtin, Some(&kernel), None).start,
        Start::Kernel { entry: 0x8020_0000 }
    );
}

#[test]
fn no_firmware() {
    let start = |file| rom(&plan(128, &Firmware::None, Some(&image(file)), None));
    assert_eq!(start(vec![0x13; 5000]), (BASE, 0x87e0_0000, 0));
    assert_eq!(start(elf(243, BASE + 0x40, &[(BASE, &[0x13; 0x80], 0x80)])).0, BASE + 0x40);
    assert_eq!(start(elf(243, 0, &[(BASE + 0x1000, &[0x13; 8], 8)])).0, BASE + 0x1000);
}

#[test]
fn kernels_linked_at_virtual_addresses_are_moved() {
    let virt = 0xffff_ffff_8000_0000;
    let file = elf(243, virt, &[(virt, &[0x13; 64], 0x1000), (virt + 0x10_0000, &[7; 8], 0x2000)]);
    let plan = plan(128, &Firmware::Builtin, Some(&image(file)), None);
    assert_eq!(plan.start, Start::Kernel { entry: 0x8020_0000 });
    let map: Vec<_> = plan.map().map(|(_, range)| range).take(2).collect();
    assert_eq!(map, [0x8020_0000..0x8020_1000, 0x8030_0000..0x8030_2000]);
    let huge = elf(243, virt, &[(virt, &[1], 1), (u64::MAX - 15, &[1; 16], 16)]);
    let error = place(64, &Firmware::Builtin, Some(&image(huge)), None).unwrap_err();
    assert!(matches!(error, BootError::NoRoom { what: "the kernel", .. }), "{error}");
}

#[test]
fn position_independent_firmware_is_moved() {
    let mut file = elf(243, 0, &[(0, &[0x13; 64], 0x1000), (0x4_0000, &[7; 8], 0x2000)]);
    file[16] = 3; // ET_DYN, as OpenSBI's are
    let firmware = Firmware::Image(image(file));
    let placed = plan(128, &firmware, None, None);
    assert_eq!(rom(&placed).0, BASE);
    let map: Vec<_> = placed.map().map(|(_, range)| range).take(2).collect();
    assert_eq!(map, [0x8000_0000..0x8000_1000, 0x8004_0000..0x8004_2000]);
    // One that is linked in memory stays where it is.
    let mut file = elf(243, 0x8100_0000, &[(0x8100_0000, &[0x13; 64], 64)]);
    file[16] = 3;
    assert_eq!(rom(&plan(128, &Firmware::Image(image(file)), None, None)).0, 0x8100_0000);
}

/// The base of memory of the aarch64 `virt` board.
const ARM_BASE: u64 = 0x4000_0000;

fn arm_image(file: Vec<u8>) -> Image {
    Image::parse(file, Isa::Aarch64, 1 << 30).unwrap()
}

fn arm_linux(text_offset: u64, memory: u64) -> Image {
    arm_image(linux_image(b"ARM\x64", 100_000, text_offset, memory))
}

fn arm_plan(
    mib: u64,
    firmware: &Firmware,
    kernel: Option<&Image>,
    initrd: Option<u64>,
) -> Result<BootPlan, BootError> {
    let initrd = initrd.map(|len| vec![0x55; len as usize]);
    let dram = ARM_BASE..ARM_BASE + mib * MIB;
    Placement::new(&AARCH64_VIRT, dram, firmware, kernel, initrd)?.finish(vec![0xfd; 5000])
}

/// Entry, device tree, and where everything but the device tree is.
fn arm(
    mib: u64,
    firmware: &Firmware,
    kernel: Option<&Image>,
    initrd: Option<u64>,
) -> (Start, u64, Vec<(u64, u64)>) {
    let plan = arm_plan(mib, firmware, kernel, initrd).unwrap();
    let map = plan
        .map()
        .filter(|(what, _)| *what != "the device tree")
        .map(|(_, range)| (range.start, range.end))
        .collect();
    (plan.start, plan.fdt, map)
}

#[test]
fn arm_linux_kernels() {
    let start = |entry| Start::Kernel { entry };
    let modern = arm_linux(0, 32 * MIB);
    assert_eq!(
        arm(1024, &Firmware::Builtin, Some(&modern), None),
        (start(0x4020_0000), 0x4800_0000, vec![(0x4020_0000, 0x4220_0000)])
    );
    assert_eq!(
        arm(1024, &Firmware::Builtin, Some(&modern), Some(10 * MIB + 1)),
        (start(0x4020_0000), 0x48c0_0000, vec![(0x4020_0000, 0x4220_0000), (0x4800_0000, 0x48a0_0001)])
    );
    let old = arm_linux(0x8_0000, 16 * MIB);
    assert_eq!(arm(1024, &Firmware::Builtin, Some(&old), None).0, start(0x4008_0000));
    let raw = arm_image(vec![0x1f; 5000]);
    assert_eq!(arm(1024, &Firmware::Builtin, Some(&raw), None).0, start(0x4008_0000), "no header");
    // Small memory, and a kernel in the way.
    assert_eq!(arm(128, &Firmware::Builtin, Some(&modern), Some(MIB)).2[1], (0x4400_0000, 0x4410_0000));
    let large = arm_linux(0, 140 * MIB);
    assert_eq!(arm(1024, &Firmware::Builtin, Some(&large), Some(MIB)).2[1], (0x48e0_0000, 0x48f0_0000));
    assert_eq!(arm(64, &Firmware::Builtin, Some(&modern), Some(28 * MIB)).1, 0x43e0_0000, "the last place");
    let error = arm_plan(64, &Firmware::Builtin, Some(&modern), Some(29 * MIB)).unwrap_err();
    assert!(matches!(error, BootError::NoRoom { what: "the initrd", .. }), "{error}");
    // Linux linked at virtual addresses.
    let virt = 0xffff_8000_8000_0000;
    let linked = arm_image(elf(183, virt + 64, &[(virt, &[0x1f; 128], 4096)]));
    assert_eq!(
        arm(1024, &Firmware::Builtin, Some(&linked), None),
        (start(0x4020_0040), 0x4800_0000, vec![(0x4020_0000, 0x4020_1000)])
    );
}

#[test]
fn arm_programs_with_addresses_of_their_own() {
    let program = |base: u64| arm_image(elf(183, base + 16, &[(base, &[0x1f; 128], 4096)]));
    for (firmware, start) in [
        (Firmware::Builtin, Start::Kernel { entry: 0x4010_0010 }),
        (Firmware::None, Start::Reset { entry: 0x4010_0010 }),
    ] {
        // With room below them, the device tree is there.
        let plan = arm_plan(128, &firmware, Some(&program(0x4010_0000)), None).unwrap();
        assert_eq!((plan.start, plan.fdt, plan.rom.len()), (start, ARM_BASE, 0));
        let tree = plan.map().find(|(what, _)| *what == "the device tree").unwrap();
        assert_eq!(tree.1, 0x4000_0000..0x4010_0000, "with room to grow");
        assert_eq!(arm(128, &firmware, Some(&program(0x400f_f000)), None).1, 0x4400_0000);
    }
    let raw = arm_image(vec![0x1f; 5000]);
    assert_eq!(
        arm(32, &Firmware::None, Some(&raw), None),
        (Start::Reset { entry: ARM_BASE }, 0x4100_0000, vec![(0x4000_0000, 0x4000_1388)])
    );
}

#[test]
fn arm_firmware_is_the_rom() {
    let firmware = Firmware::Image(arm_image(vec![0x1f; 300_000]));
    let plan = arm_plan(128, &firmware, None, None).unwrap();
    assert_eq!((plan.start, plan.fdt, plan.rom.len()), (Start::Reset { entry: 0 }, ARM_BASE, 300_000));
    let ram = RamBuilder::new().region("dram", ARM_BASE, 2 * MIB, true).and_then(RamBuilder::build).unwrap();
    plan.load(&ram.guest_memory().unwrap()).unwrap();
    let size: u32 = ram.guest_memory().unwrap().read_obj(GuestAddress(ARM_BASE + 4)).unwrap();
    assert_eq!(u32::from_be(size), 1 << 20, "room to grow");
    let huge = Firmware::Image(Image::parse(vec![0x1f; 65 << 20], Isa::Aarch64, 1 << 30).unwrap());
    assert_eq!(
        arm_plan(128, &huge, None, None).unwrap_err().to_string(),
        "the firmware has 68157440 bytes, but the board's ROM 67108864"
    );
    let linked = Firmware::Image(arm_image(elf(183, 0, &[(0, &[0x1f; 8], 8)])));
    assert!(matches!(arm_plan(128, &linked, None, None), Err(BootError::FirmwareFormat { .. })));
}

#[test]
fn initrd_in_small_memory() {
    let kernel = image(riscv_image(100_000, 8 * MIB));
    let initrd =
        |mib, len| place(mib, &Firmware::Builtin, Some(&kernel), Some(len)).map(|p| p.initrd().unwrap());
    assert_eq!(initrd(64, MIB), Ok(0x8220_0000..0x8230_0000), "half the memory above the kernel");
    assert_eq!(initrd(64, 40 * MIB), Ok(0x80a0_0000..0x8320_0000), "does not fit there: behind the kernel");
    assert_eq!(initrd(14, MIB), Ok(0x80a0_0000..0x80b0_0000), "the kernel is in the way");
    assert_eq!(initrd(64, 52 * MIB), Ok(0x80a0_0000..0x83e0_0000), "up to the place of the device tree");
    assert_eq!(
        initrd(64, 52 * MIB + 1).unwrap_err().to_string(),
        "the initrd needs 55 MiB of memory above 0x80a00000 but the machine has 64 MiB: use --memory"
    );
    let empty = place(64, &Firmware::Builtin, Some(&kernel), Some(0)).unwrap();
    assert_eq!(empty.initrd(), Some(0x8220_0000..0x8220_0000));
}

#[test]
fn what_cannot_be_booted() {
    let error = |mib, firmware: &Firmware, kernel: Option<Vec<u8>>| {
        let kernel = kernel.map(image);
        let plan = place(mib, firmware, kernel.as_ref(), None).and_then(|p| p.finish(vec![0; 5000]));
        plan.unwrap_err().to_string()
    };
    let nothing = "there is nothing to boot: give a kernel with --kernel, or a firmware with --firmware";
    assert_eq!(error(64, &Firmware::Builtin, None), nothing);
    assert_eq!(error(64, &Firmware::None, None), nothing);
    assert_eq!(
        error(16, &Firmware::Builtin, Some(riscv_image(100, 30 * MIB))),
        "the kernel needs 30 MiB of memory above 0x80200000 but the machine has 16 MiB: use --memory"
    );
    assert_eq!(
        error(1, &Firmware::Builtin, Some(riscv_image(100, 0))),
        "the kernel needs 1 MiB of memory above 0x80200000 but the machine has 1 MiB: use --memory"
    );
    assert_eq!(
        error(64, &Firmware::Builtin, Some(riscv_image(100, u64::MAX))),
        "the kernel needs 17592186044416 MiB of memory above 0x80200000 but the machine has 64 MiB: \
         use --memory"
    );
    assert_eq!(
        error(64, &Firmware::None, Some(elf(243, 0, &[(0x1000, &[1; 8], 8)]))),
        "the kernel wants to be at 0x1000, but memory is at 0x80000000 to 0x84000000"
    );
    assert_eq!(
        error(64, &Firmware::None, Some(elf(243, 0, &[(0x8400_0000, &[1; 8], 8)]))),
        "the kernel wants to be at 0x84000000, but memory is at 0x80000000 to 0x84000000"
    );
    assert_eq!(
        error(64, &Firmware::None, Some(elf(243, 0, &[(BASE, &[1; 8], 65 * MIB)]))),
        "the kernel needs 65 MiB of memory above 0x80000000 but the machine has 64 MiB: use --memory"
    );
    let firmware = Firmware::Image(image(vec![0x13; 0x4_0000]));
    assert_eq!(
        error(64, &firmware, Some(elf(243, 0, &[(BASE + 0x1_0000, &[1; 8], 8)]))),
        "the kernel at 0x80010000 to 0x80010008 lies over the firmware at 0x80000000 to 0x80040000"
    );
    assert_eq!(
        error(4, &Firmware::Builtin, Some(riscv_image(100, 0))),
        "the device tree needs 2 MiB of memory above 0x80200064 but the machine has 4 MiB: use --memory"
    );
}

#[test]
fn loading_fills_memory_each_time() {
    let bss = elf(243, BASE, &[(BASE, &[0x11; 100], 100), (BASE + 0x3000, &[0x22; 5], 10_000)]);
    let plan = plan(8, &Firmware::None, Some(&image(bss)), Some(3));
    let (_ram, memory) = memory(8 * MIB);
    for _ in 0..2 {
        memory.write_slice(&vec![0xee; 4 * MIB as usize], GuestAddress(BASE)).unwrap();
        plan.load(&memory).unwrap();
        let read = |at, len: usize| {
            let mut bytes = vec![0; len];
            memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
            bytes
        };
        assert_eq!(read(BASE, 101), [vec![0x11; 100], vec![0xee]].concat());
        assert_eq!(read(BASE + 0x3000, 10_001), [vec![0x22; 5], vec![0; 9995], vec![0xee]].concat());
        assert_eq!(read(plan.fdt, 5001), [vec![0xfd; 5000], vec![0]].concat());
    }
    let (_small, small) = crate::testing::memory(MIB);
    assert_eq!(
        plan.load(&small).unwrap_err().to_string(),
        "cannot write the initrd to guest memory at 0x80400000"
    );
}

/// Whatever the sizes, either an error or a plan with everything inside memory and apart.
fn hostile_sizes(rules: &rules::Rules, base: u64, isa: Isa, machine: u16) {
    let mut placed = 0;
    let flat = |memory| match isa {
        Isa::Riscv64 => riscv_image(100, memory),
        _ => linux_image(b"ARM\x64", 100, memory % 3 * 0x8_0000, memory),
    };
    for seed in crate::testing::seeds(20_000) {
        let mut rng = Rng::new(seed);
        let dram = base..base + 4096 * (1 + rng.next() % 0x4000);
        let address = if rng.below(2) == 0 { base + rng.next() % (4 * MIB) } else { rng.nasty() };
        let segments = [(address, &[1_u8; 8][..], rng.nasty()), (rng.nasty(), &[2; 3], rng.nasty())];
        let file = match rng.below(3) {
            0 => flat(rng.nasty()),
            1 => elf(machine, rng.nasty(), &segments[..1]),
            _ => elf(machine, rng.nasty(), &segments),
        };
        let Ok(kernel) = Image::parse(file, isa, MIB) else { continue };
        let firmware = match rng.below(3) {
            0 => Firmware::Builtin,
            1 => Firmware::None,
            _ => Firmware::Image(Image::parse(vec![0x13; 1 + rng.below(100_000)], isa, MIB).unwrap()),
        };
        let initrd = (rng.below(2) == 0).then(|| vec![0; rng.below(100_000)]);
        let finds_itself =
            matches!((&firmware, rules.reset), (Firmware::Image(_), rules::Reset::Direct { .. }));
        let (kernel, initrd) = if finds_itself { (None, None) } else { (Some(&kernel), initrd) };
        let placement = Placement::new(rules, dram.clone(), &firmware, kernel, initrd);
        let Ok(plan) = placement.and_then(|placement| placement.finish(vec![0; rng.below(10_000)])) else {
            continue;
        };
        placed += 1;
        let mut ranges: Vec<_> = plan.map().map(|(_, range)| range).collect();
        ranges.sort_by_key(|range| (range.start, range.end));
        assert!(ranges.iter().all(|r| r.start >= dram.start && r.end <= dram.end), "seed {seed}");
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "seed {seed}");
    }
    assert!(placed > 1000, "{placed} of 20000 were placed");
}

#[test]
fn hostile_sizes_for_riscv() {
    hostile_sizes(&RISCV_VIRT, BASE, Isa::Riscv64, 243);
}

#[test]
fn hostile_sizes_for_arm() {
    hostile_sizes(&AARCH64_VIRT, ARM_BASE, Isa::Aarch64, 183);
}
