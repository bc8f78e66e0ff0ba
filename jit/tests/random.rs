//! Random valid blocks: the interpreter and translated code must do the same to registers, memory and counters.
//!
//! The blocks are made from the table of operations, so that every operation, type and attribute occurs.

use emu_core::exec::Isa;
use emu_core::exec::{Stop, Vcpu};
use emu_core::interp::Interpreter;
use emu_core::ir::{Block, BlockBuilder, BlockKey, Cc, Class, Effect, Hint, Op, Terminal, Ty, Val, verify};
use emu_core::mem::Flush;
use emu_core::testing::{MEMORY_BASE, MEMORY_LEN, Random, Toy, toy_machine};
use jit::{Jit, JitConfig, JitShared, RegionConfig};

/// What blocks are made of.
trait Choices {
    /// Once in `n` times.
    fn one_in(&mut self, n: u64) -> bool;

    /// Numbers that matter, and others.
    fn number(&mut self) -> u64;

    /// An address: mostly in memory, often near the end of a page, aligned or not.
    fn address(&mut self) -> u64;
}

impl Choices for Random {
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn number(&mut self) -> u64 {
        const CORNERS: &[u64] = &[
            0,
            1,
            2,
            7,
            31,
            32,
            33,
            63,
            64,
            0x7f,
            0x80,
            0xff,
            0x7fff,
            0x8000,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            0xffff_ffff_8000_0000,
            u64::MAX,
            u64::MAX - 1,
            0x3ff0_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0x7ff8_0000_0000_0000,
            0x7ff0_0000_0000_0001,
            0xffff_ffff_3f80_0000,
            0xffff_ffff_7fc0_0000,
            0xffff_ffff_ffff_7e00,
        ];
        match self.below(4) {
            0 => self.pick(CORNERS),
            1 => self.address(),
            2 => (self.bits() as i64 >> self.below(64)) as u64,
            _ => self.bits(),
        }
    }

    fn address(&mut self) -> u64 {
        let page = MEMORY_BASE + 0x1000 * self.below((MEMORY_LEN >> 12) + 1);
        let at = match self.below(3) {
            0 => page.wrapping_sub(self.below(20)),
            1 => page + 8 * self.below(512),
            _ => page + self.below(4096),
        };
        if self.one_in(12) { at & !15 } else { at }
    }
}

/// Of rules of floating point, as attributes have them.
const TOWARD_ZERO: u16 = 1;
const NAN_PROPAGATES: u16 = 1 << 3;
const TINY_BEFORE: u16 = 1 << 4;

struct Generator<'a> {
    random: &'a mut Random,
    builder: BlockBuilder,
    temps: Vec<(Val, Class)>,
    /// No instruction uses temporaries of another one, as it is with real code.
    apart: bool,
}

impl Generator<'_> {
    fn source(&mut self, class: Class) -> Val {
        // A vector stands for the number in its low bits.
        if class == Class::Float && self.random.one_in(4) {
            return self.source(Class::Vec);
        }
        let known: Vec<Val> = self.temps.iter().filter(|t| t.1 == class).map(|t| t.0).collect();
        if !known.is_empty() && self.random.one_in(2) {
            // Mostly recent ones.
            let from = if self.random.one_in(4) { 0 } else { known.len().saturating_sub(4) };
            return self.random.pick(&known[from..]);
        }
        if class == Class::Int && self.random.one_in(3) {
            let value = self.random.number();
            return self.builder.imm(value);
        }
        self.slot(class)
    }

    fn slot(&mut self, class: Class) -> Val {
        let slots: Vec<u16> = Toy::SLOTS.iter().filter(|s| s.class == class).map(|s| s.index).collect();
        Val::slot(self.random.pick(&slots))
    }

    fn address(&mut self) -> Val {
        if self.random.one_in(5) {
            return self.source(Class::Int);
        }
        let value = self.random.address();
        let constant = self.builder.imm(value);
        if self.random.one_in(2) {
            return constant;
        }
        let dst = if self.random.one_in(2) { self.slot(Class::Int) } else { self.builder.temp() };
        self.builder.un_to(dst, Op::Mov, Ty::I64, constant);
        if !matches!(dst.kind(), emu_core::ir::ValKind::Slot(_)) {
            self.temps.push((dst, Class::Int));
        }
        dst
    }

    fn op(&mut self, ops: &[Op]) {
        let op = self.random.pick(ops);
        let info = op.info();
        let types: Vec<Ty> = Ty::ALL.into_iter().filter(|&ty| info.types.contains(ty)).collect();
        let ty = self.random.pick(&types);
        let mut attr = 0;
        for &(shift, _, names) in info.attr {
            attr |= (self.random.below(names.len() as u64) as u16) << shift;
        }
        // Rounding to nearest or to zero, without flushing, is what is translated inline; by RISC-V's rules, or by Arm's.
        let rules: u16 = info
            .attr
            .iter()
            .filter(|(_, _, names)| {
                ["rne", "nanprop", "tinybefore", "flush"].iter().any(|n| names.contains(n))
            })
            .map(|(shift, width, _)| ((1 << width) - 1) << shift)
            .sum();
        let fixed = match self.random.below(6) {
            0 | 1 => Some(0),
            2 | 3 => Some(NAN_PROPAGATES | TINY_BEFORE),
            4 => Some(TOWARD_ZERO | attr & (NAN_PROPAGATES | TINY_BEFORE)),
            _ => None,
        };
        if let Some(fixed) = fixed {
            attr = attr & !rules | fixed & rules;
        }
        let memory = matches!(info.effect, Effect::Load | Effect::Store | Effect::Atomic);
        let mut src = [Val::NONE; 3];
        for (n, kind) in info.src.into_iter().enumerate() {
            if let Some(class) = kind.class(ty) {
                src[n] = if memory && n == 0 { self.address() } else { self.source(class) };
            }
        }
        let bits = 8 * ty.bytes() as i32;
        if matches!(op, Op::Copy | Op::Fill) {
            if op == Op::Copy {
                src[1] = self.address();
            }
            if self.apart && !self.random.one_in(4) {
                attr = 0;
            }
            // Both directions, small and large.
            let most = 1 << self.random.below(15);
            let len = self.random.below(most);
            let left = if self.random.one_in(4) { len } else { len.wrapping_neg() };
            src[2] = self.builder.imm(left);
        }
        let imm = match op {
            Op::Extract | Op::Extracts | Op::Insert => {
                let lsb = self.random.below(bits as u64) as i32;
                lsb | (1 + self.random.below((bits - lsb) as u64) as i32) << 8
            }
            Op::Call => {
                if self.random.one_in(8) {
                    2
                } else {
                    1
                }
            }
            Op::Vlen => 0,
            Op::Zero => 16 << self.random.below(9),
            Op::ExitIf => self.target(),
            Op::Ftoint | Op::Ffromint | Op::Vftoint | Op::Vffromint if !self.random.one_in(4) => 0,
            // Shifts that go somewhere, tables, lanes.
            _ if info.imm && self.random.one_in(2) => {
                self.random.pick(&[0, 1, 2, 3, 7, 8, 15, 16, 32, 48, 63, 64, 0x101, 0x302])
            }
            Op::Load | Op::Store => self.random.pick(&[0, 0, 1, 8, -8, 4095, -4096, 0x7ff, 1 << 20]),
            _ if info.imm => self.random.below(64) as i32,
            _ => 0,
        };
        if op == Op::Vlen {
            let value = self.random.bits() & 0x0030_0030_0030_0030;
            src[0] = self.builder.imm(value);
        }
        let dst = match info.dst.class(ty) {
            None => Val::NONE,
            Some(_) if info.dst == emu_core::ir::op::Kind::O && self.random.one_in(4) => Val::NONE,
            Some(class) if self.random.one_in(2) => self.slot(class),
            Some(class) => {
                let temp = self.builder.temp();
                self.temps.push((temp, class));
                temp
            }
        };
        self.builder.op(op, ty, attr, dst, src, imm);
    }

    fn target(&mut self) -> i32 {
        self.random.pick(&[0, 0x10, 0x20, 0xffe, 0x1000, 0x1004, -4, 0x12345, -0x2000])
    }

    fn block(mut self, ops: &[Op], offset: i32) -> Block {
        let most = if self.random.one_in(8) { 100 } else { 12 };
        let len = 1 + self.random.below(most);
        let mut at = offset;
        for _ in 0..len {
            let bytes = self.random.pick(&[2u8, 4]);
            self.builder.mark(at, bytes);
            at += i32::from(bytes);
            if self.apart {
                self.temps.clear();
            }
            for _ in 0..self.random.below(4) {
                self.op(ops);
            }
        }
        let terminal = match self.random.below(6) {
            0 => Terminal::Jump { target: self.target(), call: None },
            1 | 2 => Terminal::Branch {
                cc: self.random.pick(Cc::ALL),
                ty: self.random.pick(&[Ty::I32, Ty::I64]),
                a: self.source(Class::Int),
                b: self.source(Class::Int),
                taken: self.target(),
                fall: self.target(),
            },
            3 => Terminal::Indirect {
                target: self.source(Class::Int),
                hint: self.random.pick(&[Hint::Jump, Hint::Return, Hint::Switch, Hint::Call(8)]),
            },
            4 => Terminal::Lookup { next: self.target() },
            _ => Terminal::Exception { cause: 3, value: self.source(Class::Int) },
        };
        let key = BlockKey { pa: (0x1000 + offset) as u64, ctx: 0 };
        self.builder.finish(key, terminal)
    }
}

/// Everything that a block can change. The upper half of the page base is not part of it.
fn differences(a: &Vcpu<Toy>, b: &Vcpu<Toy>, memory: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |name: String, a: u64, b: u64| {
        if a != b {
            found.push(format!("{name}: interpreted {a:#x}, translated {b:#x}"));
        }
    };
    for slot in 0..20 {
        check(format!("slot {slot}"), a.state.slots[slot], b.state.slots[slot]);
    }
    check("pc".into(), a.state.pc, b.state.pc);
    check("retired".into(), a.state.retired, b.state.retired);
    check("flags".into(), a.state.fp_flags, b.state.fp_flags);
    for unit in 0..if memory { MEMORY_LEN / 8 } else { 0 } {
        let at = unit as usize * 8;
        check(format!("memory {:#x}", MEMORY_BASE + unit * 8), a.bus.ram().load(at), b.bus.ram().load(at));
    }
    for (n, (x, y)) in a.state.vectors.iter().zip(&b.state.vectors).enumerate() {
        check(format!("file byte {n}"), (*x).into(), (*y).into());
    }
    found
}

/// Floating-point numbers of 64 or boxed 32 bits, many of which have results worth looking at.
fn float(random: &mut Random) -> u64 {
    let bits = random.bits();
    // Few bits in the significand make exact results and ties.
    let fraction = if random.one_in(2) { bits & 0x000f_f000_0000_0000 } else { bits & 0x000f_ffff_ffff_ffff };
    let fraction = fraction >> random.pick(&[0, 0, 20, 29]);
    let exponent = match random.below(8) {
        0 => random.pick(&[0, 1, 0x7fe, 0x7ff, 0x3ff - 1022, 0x3ff + 1023]),
        1 => random.below(0x800),
        2 => 0x3ff - 127 + random.below(4),
        3 => 0x3ff + 28 + random.below(40),
        _ => 0x3ff - 4 + random.below(8),
    };
    let wide = bits & 1 << 63 | exponent << 52 | fraction;
    if random.one_in(2) {
        return wide;
    }
    let narrow = match random.below(6) {
        0 => random.pick(&[0, 1, 0x7f_ffff, 0x80_0000, 0x7f7f_ffff, 0x7f80_0000, 0x7fa0_0000, 0x7fc0_0000]),
        _ => (f64::from_bits(wide) as f32).to_bits(),
    };
    u64::from(narrow) | random.pick(&[0xffff_ffff_0000_0000, 0])
}

/// Lanes of vectors: floating-point numbers of 64 or of 32 bits, or integers of which many are near a limit.
fn lanes(random: &mut Random, kind: u64) -> u64 {
    match kind {
        0 => loop {
            let value = float(random);
            if value >> 32 != 0xffff_ffff {
                return value;
            }
        },
        1 => {
            let mut single = || loop {
                let value = float(random);
                if value >> 32 == 0xffff_ffff {
                    return value << 32;
                }
            };
            single() >> 32 | single()
        }
        _ => {
            let bits = 8 << random.below(4);
            (0..64 / bits).fold(0, |all, lane| {
                let limit = 1u64 << (bits - 1);
                let value = match random.below(4) {
                    0 => random.pick(&[0, 1, limit, limit - 1, u64::MAX]),
                    1 => random.bits() & 0x7f,
                    _ => random.bits(),
                };
                all | (value & u64::MAX >> (64 - bits)) << (lane * bits)
            })
        }
    }
}

/// Compares blocks by themselves, then such as regions, where they can be that.
fn compare(seed: u64, rounds: usize, ops: &[Op]) {
    for regions in [None, Some(RegionConfig { threshold: 1, background: false })] {
        let rounds = if regions.is_some() { rounds / 10 } else { rounds };
        compare_with(
            JitConfig { code_bytes: 2 << 20, regions, sampled: false, ..JitConfig::default() },
            seed,
            rounds,
            ops,
        );
    }
}

fn compare_with(config: JitConfig, seed: u64, rounds: usize, ops: &[Op]) {
    let mut random = Random(seed);
    let (mut a, mut b) = (toy_machine(), toy_machine());
    let mut interpreter = Interpreter::new();
    let shared = JitShared::new::<Toy>(config, b.group().clone(), b.blocks());
    let mut jit = Jit::<Toy>::new(shared.unwrap());
    for vcpu in [&mut a, &mut b] {
        vcpu.state.vectors = vec![7; 128];
    }
    for round in 0..rounds {
        if round % 16 == 0 {
            for slot in 0..20 {
                let value = random.number();
                a.state.slots[slot] = value;
                b.state.slots[slot] = value;
            }
        }
        let floats = ops.iter().all(|op| !op.may_raise());
        for slot in (8..12).filter(|_| floats) {
            let value = float(&mut random);
            (a.state.slots[slot], b.state.slots[slot]) = (value, value);
        }
        let kind = random.below(4);
        for slot in (12..20).filter(|_| floats) {
            let value = lanes(&mut random, kind);
            (a.state.slots[slot], b.state.slots[slot]) = (value, value);
        }
        if random.one_in(4) {
            (a.state.fp_flags, b.state.fp_flags) = (0, 0);
        }
        if random.one_in(10) {
            a.mmu.flush(Flush::ALL);
            b.mmu.flush(Flush::ALL);
        }
        let offset = 2 * random.below(1024) as i32;
        let apart = config.regions.is_some();
        let builder = BlockBuilder::new();
        let generator = Generator { random: &mut random, builder, temps: Vec::new(), apart };
        let block = generator.block(ops, offset);
        let shown = || block.display(Toy::SLOTS).to_string();
        if let Err(error) = verify(&block, Toy::SLOTS) {
            panic!("seed {seed:#x}, round {round}: {error}\n{}", shown());
        }
        let pc = 0x4_0000_1000u64 + offset as u64;
        let before = a.state.slots;
        (a.state.pc, b.state.pc) = (pc, pc);
        let expected: Result<(), Stop> = interpreter.execute(&mut a, &block);
        let got = jit.execute(&mut b, &block);
        let differ = differences(&a, &b, round % 64 == 63 || round + 1 == rounds);
        assert!(
            expected == got && differ.is_empty(),
            "seed {seed:#x}, round {round}: interpreted {expected:?}, translated {got:?}\n{}\nbefore: {:x?}\n{}",
            differ.join("\n"),
            &before[..20],
            shown(),
        );
    }
}

#[test]
fn all_operations() {
    for seed in 1..=4 {
        compare(seed * 0x9e37_79b9, 20_000, Op::ALL);
    }
}

/// Integer operations alone: dense, with much pressure on registers.
#[test]
fn integers() {
    let ops: Vec<Op> = Op::ALL.iter().copied().filter(|&op| (op as u8) < Op::Load as u8).collect();
    for seed in 1..=4 {
        compare(seed * 0x1234_5677, 20_000, &ops);
    }
}

#[test]
fn memory() {
    let ops =
        [Op::Load, Op::Store, Op::Load, Op::Store, Op::Add, Op::Amo, Op::Cas, Op::Cas128, Op::Zero, Op::Mov];
    for seed in 1..=4 {
        compare(seed * 0x0bad_cafe, 20_000, &ops);
    }
}

/// Ranges of memory that are copied and filled.
#[test]
fn ranges() {
    for seed in 1..=4 {
        compare(seed * 0x00b0_1d5e, 10_000, &[Op::Copy, Op::Fill, Op::Copy, Op::Fill, Op::Store, Op::Mov]);
    }
}

/// Floating point: results and flags, with operands near each other and near all limits.
#[test]
fn floats() {
    let ops: Vec<Op> = Op::ALL
        .iter()
        .copied()
        .filter(|&op| (Op::Fmov as u8..Op::Vmov as u8).contains(&(op as u8)))
        .chain([Op::Fpflags, Op::FpflagsSet])
        .collect();
    for seed in 1..=4 {
        compare(seed * 0x0f10_a7ed, 20_000, &ops);
    }
}

/// Vectors of integers.
#[test]
fn vectors() {
    let ops: Vec<Op> = Op::ALL
        .iter()
        .copied()
        .filter(|&op| (Op::Vmov as u8..Op::Vfadd as u8).contains(&(op as u8)))
        .collect();
    for seed in 1..=4 {
        compare(seed * 0x0ec7_0125, 6000, &ops);
    }
}

/// Vectors of floating-point numbers, and what they are made of and taken apart with.
#[test]
fn float_vectors() {
    let ops: Vec<Op> = Op::ALL
        .iter()
        .copied()
        .filter(|&op| (Op::Vfadd as u8..Op::Vlen as u8).contains(&(op as u8)))
        .collect();
    let moves = [Op::Vmov, Op::Vfromlow, Op::Vshuffle, Op::Vxor, Op::Vdup];
    let ops: Vec<Op> = ops.into_iter().chain(moves).collect();
    for seed in 1..=4 {
        compare(seed * 0x0f10_a7ec, 6000, &ops);
    }
}

/// Vectors of what regions have forms for: a block with anything else is none.
#[test]
fn vectors_in_regions() {
    use Op::*;
    let moves = [Vmov, Vget, Vset, Vdup, Vsplat, Vinsert, Vpair, Vext, Vrev, Vtbl, Vshuffle, Vnarrow, Vwiden];
    let lanes = [Vand, Vandn, Vor, Vxor, Vselect, Vadd, Vsub, Vmul, Vmin, Vmax, Vcmp, Vshl, Vshr, Vmull];
    let floats = [Vfadd, Vfsub, Vfmul, Vfdiv, Vfsqrt, Vfma, Vfmin, Vfmax, Vfcmp, Vftoint, Vffromint, Vfcvt];
    let scalars = [Vlow, Vfromlow, Fbits, Ffrom, Fadd, Fmul, Fma, Fcmp, Fnzcv, Ffromint, Vdot, Vreduce];
    let config = RegionConfig { threshold: 1, background: false };
    for seed in 1..=4 {
        for ops in
            [[moves.as_slice(), &lanes].concat(), [floats.as_slice(), &scalars].concat(), floats.to_vec()]
        {
            compare_with(
                JitConfig {
                    code_bytes: 2 << 20,
                    regions: Some(config),
                    sampled: false,
                    ..JitConfig::default()
                },
                seed * 0x0ec7_0124,
                4000,
                &ops,
            );
        }
    }
}
