//! SHA-256 as the archive and the cache write it.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// A SHA-256 that prints and parses as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Hex([u8; 32]);

impl Sha256Hex {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Sha256Hex(Sha256::digest(bytes).into())
    }

    /// The hash and the size in bytes of all that `reader` gives.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut writer = HashWriter::new(io::sink());
        io::copy(&mut reader, &mut writer)?;
        let (hash, size, _) = writer.finish();
        Ok((hash, size))
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Sha256Hex {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or(());
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Sha256Hex(bytes))
    }
}

/// Passes bytes on while counting and hashing them.
pub struct HashWriter<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> HashWriter<W> {
    /// Passes bytes on to `inner`.
    pub fn new(inner: W) -> Self {
        HashWriter { inner, hasher: Sha256::new(), size: 0 }
    }

    /// Forgets what was written; `rewind` makes the inner writer forget it.
    pub fn restart(&mut self, rewind: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        self.hasher.reset();
        self.size = 0;
        rewind(&mut self.inner)
    }

    /// The hash and the number of the bytes written, and the inner writer back.
    pub fn finish(self) -> (Sha256Hex, u64, W) {
        (Sha256Hex(self.hasher.finalize().into()), self.size, self.inner)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256Hex::of(b"abc").to_string(), text);
        assert_eq!(text.parse(), Ok(Sha256Hex::of(b"abc")));
        assert_eq!(text.to_uppercase().parse(), Ok(Sha256Hex::of(b"abc")));
        assert_eq!(Sha256Hex::of_reader(&b"abc"[..]).unwrap(), (Sha256Hex::of(b"abc"), 3));
        for bad in ["", "ba", &text[1..], &format!("{text}0"), &format!("g{}", &text[1..]), &"é".repeat(32)]
        {
            assert_eq!(bad.parse::<Sha256Hex>(), Err(()), "{bad}");
        }
    }
}
