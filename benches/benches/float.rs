//! The soft floating-point core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emu_core::fp::{Env, F32, F64, Flags, Round};

/// Operands of one iteration.
const COUNT: usize = 256;

/// Ordinary numbers of both signs between 2⁻¹⁶ and 2¹⁶.
fn numbers(salt: u64) -> Vec<f64> {
    let number = |n: u64| {
        let bits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let exponent = 1007 + (bits >> 58) % 32;
        f64::from_bits(bits << 63 | exponent << 52 | bits >> 12)
    };
    (salt..salt + COUNT as u64).map(number).collect()
}

/// One iteration applies the operation to 256 operands or triples of them; an element is one operation.
fn operations(c: &mut Criterion) {
    let env = Env::new(Round::NearestEven);
    let (a, b, d) = (numbers(1), numbers(1 << 20), numbers(1 << 40));
    let mut group = c.benchmark_group("float");
    group.throughput(Throughput::Elements(COUNT as u64));
    macro_rules! operation {
        ($name:literal, $format:ty, |$x:ident, $y:ident, $z:ident, $flags:ident| $result:expr) => {
            group.bench_function($name, |bench| {
                let bits = |value: f64| <$format as Bits>::bits(value);
                let operands: Vec<_> = (0..COUNT).map(|i| [a[i], b[i], d[i]].map(bits)).collect();
                bench.iter(|| {
                    let mut flags = Flags::NONE;
                    for operands in &operands {
                        let ([$x, $y, $z], $flags) = (black_box(*operands), &mut flags);
                        black_box($result);
                    }
                    flags
                });
            });
        };
    }
    operation!("add.f64", F64, |x, y, _z, flags| env.add::<F64>(x, y, flags));
    operation!("mul.f64", F64, |x, y, _z, flags| env.mul::<F64>(x, y, flags));
    operation!("div.f64", F64, |x, y, _z, flags| env.div::<F64>(x, y, flags));
    operation!("sqrt.f64", F64, |x, _y, _z, flags| env.sqrt::<F64>(x & !(1 << 63), flags));
    operation!("fma.f64", F64, |x, y, z, flags| env.fma::<F64>(x, y, z, flags));
    operation!("to_i64.f64", F64, |x, _y, _z, flags| env.to_int::<F64, i64>(x, flags));
    operation!("add.f32", F32, |x, y, _z, flags| env.add::<F32>(x, y, flags));
    operation!("mul.f32", F32, |x, y, _z, flags| env.mul::<F32>(x, y, flags));
}

/// A number in a format's bits.
trait Bits: emu_core::fp::Format {
    fn bits(value: f64) -> Self::Bits;
}

impl Bits for F64 {
    fn bits(value: f64) -> u64 {
        value.to_bits()
    }
}

impl Bits for F32 {
    fn bits(value: f64) -> u32 {
        (value as f32).to_bits()
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
