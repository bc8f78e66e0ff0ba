//! Steps of AES (FIPS 197) and of the secure hash algorithms (FIPS 180-4), cut as the Arm instructions have them (Arm
//! Architecture Reference Manual, DDI 0487, C7 `AESE` to `SHA512SU1`).

use crate::ir::{AesStep, Inst, ShaStep};

/// `x` times the polynomial x in the field of AES.
const fn double(x: u8) -> u8 {
    x << 1 ^ if x & 0x80 != 0 { 0x1b } else { 0 }
}

/// The product in the field of AES.
const fn multiply(mut x: u8, mut y: u8) -> u8 {
    let mut product = 0;
    while y != 0 {
        if y & 1 != 0 {
            product ^= x;
        }
        x = double(x);
        y >>= 1;
    }
    product
}

/// SubBytes, and its inverse: the multiplicative inverse in the field, then an affine map of the bits.
const SUBSTITUTES: [[u8; 256]; 2] = {
    let mut tables = [[0; 256]; 2];
    let mut x = 0;
    while x < 256 {
        // The inverse is the power of 254: the group has 255 members.
        let (mut inverse, mut n) = (1, 0);
        while n < 254 {
            inverse = multiply(inverse, x as u8);
            n += 1;
        }
        let i: u8 = inverse;
        let y = i ^ i.rotate_left(1) ^ i.rotate_left(2) ^ i.rotate_left(3) ^ i.rotate_left(4) ^ 0x63;
        tables[0][x] = y;
        tables[1][y as usize] = x as u8;
        x += 1;
    }
    tables
};

pub(super) fn aes(inst: &Inst, state: u128) -> u128 {
    let s = state.to_le_bytes();
    let mut out = [0; 16];
    match AesStep::from_bits(inst.attr & 3) {
        // Byte 4c + r is row r of column c; row r moves by r columns, to the left where it encrypts.
        AesStep::Encrypt => {
            for (i, byte) in out.iter_mut().enumerate() {
                *byte = SUBSTITUTES[0][usize::from(s[(i + 4 * (i % 4)) % 16])];
            }
        }
        AesStep::Decrypt => {
            for (i, byte) in out.iter_mut().enumerate() {
                *byte = SUBSTITUTES[1][usize::from(s[(i + 12 * (i % 4)) % 16])];
            }
        }
        AesStep::Mix => mix(&s, &mut out, [2, 3, 1, 1]),
        AesStep::Unmix => mix(&s, &mut out, [14, 11, 13, 9]),
    }
    u128::from_le_bytes(out)
}

fn mix(s: &[u8; 16], out: &mut [u8; 16], factors: [u8; 4]) {
    for (i, byte) in out.iter_mut().enumerate() {
        let (column, row) = (i / 4 * 4, i % 4);
        let term = |(k, factor): (usize, u8)| multiply(s[column + (row + k) % 4], factor);
        *byte = factors.into_iter().enumerate().map(term).fold(0, |sum, term| sum ^ term);
    }
}

fn words(v: u128) -> [u32; 4] {
    [0, 32, 64, 96].map(|shift| (v >> shift) as u32)
}

fn from_words(words: [u32; 4]) -> u128 {
    words.into_iter().rev().fold(0, |v, word| v << 32 | u128::from(word))
}

fn longs(v: u128) -> [u64; 2] {
    [v as u64, (v >> 64) as u64]
}

fn from_longs([low, high]: [u64; 2]) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

fn choose<T: Copy + std::ops::BitAnd<Output = T> + std::ops::BitXor<Output = T>>(x: T, y: T, z: T) -> T {
    (y ^ z) & x ^ z
}

fn majority<T: Copy + std::ops::BitAnd<Output = T> + std::ops::BitXor<Output = T>>(x: T, y: T, z: T) -> T {
    x & y ^ x & z ^ y & z
}

pub(super) fn sha(inst: &Inst, [d, n, m]: [u128; 3]) -> u128 {
    match ShaStep::from_bits(inst.attr & 15) {
        ShaStep::Sha1C => sha1_rounds(d, n, m, choose),
        ShaStep::Sha1P => sha1_rounds(d, n, m, |x, y, z| x ^ y ^ z),
        ShaStep::Sha1M => sha1_rounds(d, n, m, majority),
        ShaStep::Sha1Su0 => (d >> 64 | n << 64) ^ d ^ m,
        ShaStep::Sha1Su1 => {
            let t = words(d ^ n >> 32);
            let mut result = t.map(|word| word.rotate_left(1));
            result[3] ^= t[0].rotate_left(2);
            from_words(result)
        }
        ShaStep::Sha1H => (n as u32).rotate_left(30).into(),
        ShaStep::Sha256H => sha256_rounds(d, n, m)[0],
        ShaStep::Sha256H2 => sha256_rounds(n, d, m)[1],
        ShaStep::Sha256Su0 => {
            let t = words(d >> 32 | n << 96);
            let sigma = t.map(|x| x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3);
            let d = words(d);
            from_words(std::array::from_fn(|i| sigma[i].wrapping_add(d[i])))
        }
        ShaStep::Sha256Su1 => {
            let sigma = |x: u32| x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10;
            let (d, t, m) = (words(d), words(n >> 32 | m << 96), words(m));
            let mut result = [0u32; 4];
            for i in 0..4 {
                let before = if i < 2 { m[i + 2] } else { result[i - 2] };
                result[i] = sigma(before).wrapping_add(d[i]).wrapping_add(t[i]);
            }
            from_words(result)
        }
        ShaStep::Sha512H => {
            let sigma = |x: u64| x.rotate_right(14) ^ x.rotate_right(18) ^ x.rotate_right(41);
            let ([w0, w1], [x0, x1], [y0, y1]) = (longs(d), longs(n), longs(m));
            let high = choose(y1, x0, x1).wrapping_add(sigma(y1)).wrapping_add(w1);
            let t = high.wrapping_add(y0);
            let low = choose(t, y1, x0).wrapping_add(sigma(t)).wrapping_add(w0);
            from_longs([low, high])
        }
        ShaStep::Sha512H2 => {
            let sigma = |x: u64| x.rotate_right(28) ^ x.rotate_right(34) ^ x.rotate_right(39);
            let ([w0, w1], [x0, _], [y0, y1]) = (longs(d), longs(n), longs(m));
            let high = majority(x0, y1, y0).wrapping_add(sigma(y0)).wrapping_add(w1);
            let low = majority(high, y0, y1).wrapping_add(sigma(high)).wrapping_add(w0);
            from_longs([low, high])
        }
        ShaStep::Sha512Su0 => {
            let sigma = |x: u64| x.rotate_right(1) ^ x.rotate_right(8) ^ x >> 7;
            let ([w0, w1], [x0, _]) = (longs(d), longs(n));
            from_longs([w0.wrapping_add(sigma(w1)), w1.wrapping_add(sigma(x0))])
        }
        ShaStep::Sha512Su1 => {
            let sigma = |x: u64| x.rotate_right(19) ^ x.rotate_right(61) ^ x >> 6;
            let (w, x, y) = (longs(d), longs(n), longs(m));
            from_longs([0, 1].map(|i| w[i].wrapping_add(sigma(x[i])).wrapping_add(y[i])))
        }
    }
}

/// Four rounds of SHA-1 on `abcd` and the low word of `e`, with words and constants `w`; the new `abcd`.
fn sha1_rounds(abcd: u128, e: u128, w: u128, f: fn(u32, u32, u32) -> u32) -> u128 {
    let (mut x, mut e) = (words(abcd), e as u32);
    for w in words(w) {
        let t = f(x[1], x[2], x[3]).wrapping_add(x[0].rotate_left(5)).wrapping_add(e).wrapping_add(w);
        (x, e) = ([t, x[0], x[1].rotate_left(30), x[2]], x[3]);
    }
    from_words(x)
}

/// Four rounds of SHA-256 on `abcd` and `efgh`, with words and constants `w`; both.
fn sha256_rounds(abcd: u128, efgh: u128, w: u128) -> [u128; 2] {
    let sigma0 = |x: u32| x.rotate_right(2) ^ x.rotate_right(13) ^ x.rotate_right(22);
    let sigma1 = |x: u32| x.rotate_right(6) ^ x.rotate_right(11) ^ x.rotate_right(25);
    let (mut x, mut y) = (words(abcd), words(efgh));
    for w in words(w) {
        let t = y[3].wrapping_add(sigma1(y[0])).wrapping_add(choose(y[0], y[1], y[2])).wrapping_add(w);
        let a = t.wrapping_add(sigma0(x[0])).wrapping_add(majority(x[0], x[1], x[2]));
        let e = x[3].wrapping_add(t);
        (x, y) = ([a, x[0], x[1], x[2]], [e, y[0], y[1], y[2]]);
    }
    [from_words(x), from_words(y)]
}
